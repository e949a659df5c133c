package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"holdfast/internal/backup"
	"holdfast/internal/client"
	"holdfast/internal/owners"
)

// A workload is how the commands, and the API that they call, speak of one of the
// services that are protected. What is the same for all of them is written once,
// and takes its words and its sets from here.
type workload struct {
	api         *client.Workload
	kind        backup.Workload
	noun, nouns string // what is protected, and the command that is for it
	entry       string // what an addition names
	addresses   string // the list of a job that names subjects by their addresses
	ids         string // the list that names them by their ids
	example     string // an addition's entries, in a message
	named       string // how one is named
	column      string // what a CSV's column of them holds
	nobody      string // what a line says that names none

	// The sets of the API.
	policies, units, jobs                  string
	sessions, artifacts, granular, browses string

	version string // the beginning of what these are below of, where it is not v1.0's
}

// rules is the inclusion rules of w.
func (w *workload) rules() string { return "/" + w.noun + "InclusionRules" }

// expression is the member of a rule that says what it matches.
func (w *workload) expression() string { return w.noun + "Expression" }

// bulkRestores is, of a session of w, its bulk restore requests.
func (w *workload) bulkRestores() string {
	return "/" + w.noun + "RestoreArtifactsBulkAdditionRequests"
}

// exclusions is what is excluded of w.
func (w *workload) exclusions() string { return client.Beta + "/" + w.noun + "ExclusionUnits" }

// excluding is w as additions speak of it that exclude.
func (w *workload) excluding() *workload {
	x := *w
	x.version, x.jobs = client.Beta, "/"+w.noun+"ExclusionUnitsBulkAdditionJobs"
	return &x
}

// idOf is the id of what a unit of any workload is of.
func (u unitAnswer) idOf() string { return cmp.Or(u.DirectoryObjectID, u.SiteID) }

var (
	drives = of(client.Drives, workload{entry: "owner", example: "ADDRESS...",
		named:  "A drive is named by its owner's address, by the owner's directory object id, or\nby the id of its protection unit.",
		column: "an address or an object id", nobody: "This line names nobody."})
	sites = of(client.Sites, workload{entry: "site", example: "URL...",
		named:  "A site is named by its address, such as https://contoso.sharepoint.com/sites/team,\nby its id (host, collection and web), or by the id of its protection unit.",
		column: "an address or an id of a site", nobody: "This line names no site."})
	mailboxes = of(client.Mailboxes, workload{entry: "owner", example: "ADDRESS...",
		named:  "A mailbox is named by its owner's address, by the owner's directory object id, or\nby the id of its protection unit.",
		column: "an address or an object id", nobody: "This line names nobody."})
	workloads = []*workload{drives, sites, mailboxes} // as the client has them
)

// of is the words w, and those that the API has.
func of(api *client.Workload, w workload) *workload {
	w.api = api
	w.kind, w.noun, w.nouns, w.addresses, w.ids = api.Kind, api.Noun, api.Nouns, api.Addresses, api.IDs
	w.policies, w.units, w.jobs = api.Policies, api.Units, api.Jobs
	w.sessions, w.artifacts, w.granular, w.browses = api.Sessions, api.Artifacts, api.Granular, api.Browses
	return &w
}

// workloadOf says by the @odata.type of an answer of which workload it is. A
// server that does not say it has drives only.
func workloadOf(odataType string) *workload {
	return workloads[slices.Index(client.Workloads, client.WorkloadOf(odataType))]
}

// workloadNamed finds a workload by its name in the API, or by what it protects.
func workloadNamed(name string) (*workload, error) {
	var all []string
	for _, w := range workloads {
		if strings.EqualFold(name, string(w.kind)) || strings.EqualFold(name, w.nouns) {
			return w, nil
		}
		all = append(all, string(w.kind))
	}
	_, err := oneOf(name, all...)
	return nil, usageError{fmt.Errorf("--workload: %w", err)}
}

// nounOf is what a workload of the API protects. A server that does not say it has
// drives only.
func nounOf(kind string) string {
	for _, w := range workloads {
		if string(w.kind) == kind {
			return w.noun
		}
	}
	return drives.noun
}

// notServed reports whether err says that a server does not have a set: it may
// serve one workload only.
func notServed(err error) bool {
	e, ok := errors.AsType[*client.Error](err)
	return ok && (e.Status == http.StatusNotFound || e.Status == http.StatusBadRequest)
}

// isID reports whether an entry names what a unit is of by its id.
func (w *workload) isID(entry string) bool { return w.api.IsID(entry) }

// siteAddress parts the address of a site into its host and its path.
func siteAddress(text string) (host, path string, ok bool) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return "", "", false
	}
	return u.Host, strings.Trim(u.EscapedPath(), "/"), true
}

// site is the id of a site's address, or of an id.
func (c *cli) site(ctx context.Context, name string) (string, error) {
	if sites.isID(name) {
		return name, nil
	}
	host, path, ok := siteAddress(name)
	if !ok {
		return "", usageError{errors.New(oneLine(name) + " is neither the address of a site, such as https://contoso.sharepoint.com/sites/team, nor an id")}
	}
	id, known, err := c.api.Site(ctx, host, path)
	if err != nil {
		err = fmt.Errorf("look the site up at Graph: %w", err)
	}
	if err == nil && !known {
		err = fail(exitNotFound, "Graph does not know the site %s, or does not answer. Name it by its id, as in 'holdfast site list'", name)
	}
	return id, err
}

// is reports whether a cell of a CSV looks like an entry.
func (w *workload) is(cell string) bool {
	if w != sites {
		return owners.Is(cell)
	}
	_, _, address := siteAddress(strings.TrimSpace(cell))
	return address || w.isID(strings.TrimSpace(cell))
}

func upperFirst(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
