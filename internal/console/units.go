package console

import (
	"context"
	"net/url"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/client"
)

// A unitsPage is a list of units, of all or of one policy.
type unitsPage struct {
	Units    list[unitAnswer]
	Points   map[string]pointAnswer // the newest, by unit
	Policies map[string]string      // names, by id
	Search   unitSearch
	Statuses []string
	Action   string           // where the search goes
	Of       *client.Workload // those shown; nil for all
	Pick     bool             // the workload may be chosen
}

// Noun and Nouns are what is listed.
func (p unitsPage) Noun() string {
	if p.Of == nil {
		return "unit"
	}
	return p.Of.Noun
}

func (p unitsPage) Nouns() string {
	if p.Of == nil {
		return "units"
	}
	return p.Of.Nouns
}

// Workloads is what can be chosen.
func (unitsPage) Workloads() []*client.Workload { return client.Workloads }

// A unitSearch is which units are wanted, as the address says it.
type unitSearch struct {
	Text, Status, Sort string
	Failing            bool
}

// Any reports whether not all are wanted.
func (s unitSearch) Any() bool { return s.Text != "" || s.Status != "" || s.Failing }

// unitSorts are the orders of a list of units, by their names in the address.
var unitSorts = map[string]string{"": "createdDateTime", "name": "displayName", "-name": "displayName desc", "changed": "lastModifiedDateTime desc", "added": "createdDateTime desc"}

var unitStatuses = []string{
	string(backup.UnitProtected), string(backup.UnitProtectRequested), string(backup.UnitUnprotectRequested), string(backup.UnitUnprotected),
	string(backup.UnitRemoveRequested), string(backup.UnitOffboardRequested), string(backup.UnitOffboarded), string(backup.UnitCancelOffboardRequested),
}

func unitSearchOf(q url.Values) unitSearch {
	return unitSearch{Text: strings.TrimSpace(q.Get("q")), Status: q.Get("status"), Sort: q.Get("sort"), Failing: q.Get("failing") != ""}
}

// options are the search as the API wants it.
func (s unitSearch) options() []string {
	var terms []string
	if s.Text != "" {
		if id, ok := backup.ParseGUID(s.Text); ok {
			terms = append(terms, "(directoryObjectId eq "+text(id)+" or id eq "+text(id)+")")
		} else {
			terms = append(terms, "(contains(displayName,"+text(s.Text)+") or contains(email,"+text(s.Text)+"))")
		}
	}
	if s.Status != "" {
		terms = append(terms, "status eq "+text(s.Status))
	}
	if s.Failing {
		terms = append(terms, "error ne null")
	}
	var options []string
	if len(terms) > 0 {
		options = append(options, query("$filter", strings.Join(terms, " and ")))
	}
	if by := unitSorts[s.Sort]; by != "" {
		options = append(options, query("$orderby", by))
	}
	return options
}

// units reads the page of units at path, of one workload or of all, that the visit's
// address asks for.
func (v *visit) units(path string, of *client.Workload) (page unitsPage, err error) {
	page.Of = of
	page.Search, page.Statuses, page.Action = unitSearchOf(v.r.URL.Query()), unitStatuses, v.r.URL.Path
	if page.Units, err = rows[unitAnswer](v, path, page.Search.options()...); err != nil {
		return page, err
	}
	ids := make([]string, len(page.Units.Items))
	for i, u := range page.Units.Items {
		ids[i] = u.ID
	}
	page.Points, err = v.newest(ids)
	if forbidden(err) {
		err = nil
	}
	return page, err
}

// newest finds the newest point of each of units. Those without one are absent.
func (v *visit) newest(units []string) (map[string]pointAnswer, error) {
	points := map[string]pointAnswer{}
	const most = 5 // that one search answers with
	for len(units) > 0 {
		part := units[:min(most, len(units))]
		units = units[len(part):]
		var answer searchAnswer
		err := v.api.Ask(v.ctx(), pointSet+"/search", map[string]any{
			"protectionUnitIds": part, "protectionTimePeriod": map[string]string{"startDateTime": "2000-01-01T00:00:00Z"}, "restorePointPreference": "latest",
		}, &answer)
		if err != nil {
			return points, err
		}
		for _, r := range answer.SearchResults {
			points[r.RestorePoint.ProtectionUnit.ID] = r.RestorePoint
		}
	}
	return points, nil
}

// policyNames returns what the policies are called, as far as it is known.
func (v *visit) policyNames() (map[string]string, error) {
	all, _, err := take[policyAnswer](v.api.All(v.ctx(), anyPolicy+"?$select=id,displayName"), maxPolicies)
	names := make(map[string]string, len(all))
	for _, p := range all {
		names[p.ID] = p.DisplayName
	}
	return names, err
}

func listUnits(v *visit) error {
	set, of := anyUnit, workloadNamed(v.r.URL.Query().Get("of"))
	if of != nil {
		set = of.Units
	}
	page, err := v.units(set, of)
	if err != nil {
		return err
	}
	page.Pick = true
	if page.Policies, err = v.policyNames(); err != nil {
		return err
	}
	return v.show("units", "Units", page)
}

// subjectOf finds the id of what a text means: an address, an id, or the id of a
// unit.
func (v *visit) subjectOf(of *client.Workload, who string) (subject string, err error) {
	filter := "email eq " + text(who)
	if id, ok := backup.ParseGUID(who); ok {
		who = id
	}
	if of.IsID(who) {
		filter = of.Subject + " eq " + text(who)
		if _, ok := backup.ParseGUID(who); ok {
			filter += " or id eq " + text(who)
		}
		subject = who
	}
	units, _, err := take[unitAnswer](v.api.All(v.ctx(), of.Units+"?"+query("$filter", filter)), 1)
	switch {
	case err != nil:
		return "", err
	case len(units) > 0:
		return units[0].Subject(), nil
	case subject != "" || of == client.Sites:
		return subject, nil
	}
	directory, err := v.directory()
	if err == nil {
		ctx, cancel := context.WithTimeout(v.ctx(), 5*time.Second)
		defer cancel()
		if id, ok, err := directory.User(ctx, who); err == nil && ok {
			return string(id), nil
		}
	}
	return "", nil
}
