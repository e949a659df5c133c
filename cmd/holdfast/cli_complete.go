package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"holdfast/internal/backup"
)

// unitStatuses are those that a unit may have.
var unitStatuses = []string{string(backup.UnitProtectRequested), string(backup.UnitProtected), string(backup.UnitUnprotectRequested), string(backup.UnitUnprotected),
	string(backup.UnitRemoveRequested), string(backup.UnitCancelOffboardRequested),
	string(backup.UnitOffboardRequested), string(backup.UnitOffboarded)}

// A completer offers what an argument or a flag may be, of what begins as it does so far.
type completer func(ctx context.Context, begun string) []string

// completion is what is asked of a server, which a shell does not wait for long, and how
// much of it is offered.
const (
	completionTime = 3 * time.Second
	completions    = 100
)

// completes has shells offer names where a command takes them, and no files where it
// takes ids: what an argument is its use line says, what a flag is the word in its help.
func (c *cli) completes(cmd *cobra.Command) {
	var words []string
	last, ofFlag := false, false
	for word := range strings.FieldsSeq(cmd.Use) {
		word, more := strings.CutSuffix(strings.Trim(word, "[]()"), "...")
		if word == strings.ToUpper(word) && word != "|" && !ofFlag {
			words, last = append(words, word), more
		}
		ofFlag = strings.HasPrefix(word, "--")
	}
	if cmd.ValidArgsFunction == nil {
		cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
			i := len(args)
			if last {
				i = min(i, len(words)-1)
			}
			if i < 0 || i >= len(words) {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return c.offered(cmd, words[i], begun)
		}
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		name, _ := pflag.UnquoteUsage(f)
		if f.Name == "policy" {
			name = "POLICY"
		}
		if _, there := cmd.GetFlagCompletionFunc(f.Name); there || len(c.completers(cmd, name)) == 0 {
			return
		}
		err := cmd.RegisterFlagCompletionFunc(f.Name, func(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
			return c.offered(cmd, name, begun)
		})
		if err != nil {
			panic(err) // the flag is one of the command's
		}
	})
	for _, below := range cmd.Commands() {
		c.completes(below)
	}
}

// completers are those for a word of a use line, or of a flag's help.
func (c *cli) completers(cmd *cobra.Command, word string) (all []completer) {
	for word := range strings.SplitSeq(word, "|") {
		switch word {
		case "POLICY":
			all = append(all, c.policyNames)
		case "DRIVE", "MAILBOX", "SITE":
			w := map[string]*workload{"DRIVE": drives, "MAILBOX": mailboxes, "SITE": sites}[word]
			all = append(all, func(ctx context.Context, begun string) []string { return c.unitNames(ctx, w, begun) })
		case "OWNER":
			all = append(all, c.people)
		case "POINT":
			all = append(all, c.pointNames)
		case "SESSION":
			if cmd.Parent() != nil && cmd.Parent().Name() == "browse" || cmd.Name() == "browse" {
				all = append(all, c.browseNames)
			} else {
				all = append(all, c.sessionNames)
			}
		case "RULE":
			all = append(all, c.ruleNames)
		case "APPROVAL":
			all = append(all, c.approvalNames)
		case "JOB":
			all = append(all, c.jobNames)
		case "WORKLOAD":
			all = append(all, func(context.Context, string) (names []string) {
				for _, w := range workloads {
					names = append(names, string(w.kind))
				}
				return names
			})
		case "STATUS":
			all = append(all, func(context.Context, string) []string { return unitStatuses })
		}
	}
	return all
}

// offered is what a shell is offered, if a server answers soon.
func (c *cli) offered(cmd *cobra.Command, word, begun string) (names []string, what cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	all := c.completers(cmd, word)
	if len(all) == 0 || c.connect(ctx) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	for _, complete := range all {
		for _, name := range complete(ctx, begun) {
			if len(begun) <= len(name) && strings.EqualFold(name[:len(begun)], begun) && len(names) < completions && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (c *cli) approvalNames(ctx context.Context, _ string) (names []string) {
	for _, a := range some[approvalAnswer](ctx, c, waitingApprovals) {
		names = append(names, cobra.CompletionWithDesc(a.ID, a.What))
	}
	return names
}

func (c *cli) policyNames(ctx context.Context, _ string) (names []string) {
	policies, _, _ := read[policyAnswer](c.api.All(ctx, allPolicies+"?$select=id,displayName,status&$top=100"))
	for _, p := range policies {
		names = append(names, cobra.CompletionWithDesc(p.DisplayName, p.ID+", "+p.Status))
	}
	return names
}

// some are the first of a list.
func some[T any](ctx context.Context, c *cli, path string) (items []T) {
	var page struct{ Value []T }
	if c.api.Get(ctx, path, &page) != nil {
		return nil
	}
	return page.Value
}

func (c *cli) unitNames(ctx context.Context, w *workload, begun string) (names []string) {
	for _, u := range some[unitAnswer](ctx, c, w.units+"?$top=100") {
		names = append(names, cobra.CompletionWithDesc(c.ownerOf(ctx, u), w.noun+", "+u.Status))
	}
	if w != sites && begun != "" && len(names) == completions { // there are more than are listed
		names = append(names, c.people(ctx, begun)...)
	}
	return names
}

func (c *cli) people(ctx context.Context, begun string) (names []string) {
	people, _ := c.api.People(ctx, begun, completions)
	for _, p := range people {
		names = append(names, cobra.CompletionWithDesc(p.UserPrincipalName, p.DisplayName))
	}
	return names
}

// pointNames are the newest points of the first units there are.
func (c *cli) pointNames(ctx context.Context, _ string) (names []string) {
	s, err := newSearch("", "")
	if err != nil {
		return nil
	}
	owners := map[string]string{}
	var ids []string
	for _, w := range workloads {
		for _, u := range some[unitAnswer](ctx, c, w.units+"?$top=20") {
			ids, owners[u.ID] = append(ids, u.ID), c.ownerOf(ctx, u)
		}
	}
	points, _, _ := c.points(ctx, s, ids)
	for _, id := range ids {
		if p, ok := points[id]; ok {
			names = append(names, cobra.CompletionWithDesc(p.ID, owners[id]+", "+clock(p.ProtectionDateTime)))
		}
	}
	return names
}

func (c *cli) sessionNames(ctx context.Context, _ string) (names []string) {
	for _, s := range some[sessionAnswer](ctx, c, allSessions+"?$top=50&"+query("$orderby", "createdDateTime desc")) {
		names = append(names, cobra.CompletionWithDesc(s.ID, s.state()+", "+clock(s.CreatedDateTime)))
	}
	return names
}

func (c *cli) browseNames(ctx context.Context, _ string) (names []string) {
	for _, w := range workloads {
		for _, s := range some[browseAnswer](ctx, c, w.browses+"?$top=50") {
			names = append(names, cobra.CompletionWithDesc(s.ID, c.ownerOf(ctx, unitAnswer{DirectoryObjectID: s.DirectoryObjectID, SiteID: s.SiteID})+", "+clock(s.RestorePointDateTime)))
		}
	}
	return names
}

func (c *cli) ruleNames(ctx context.Context, _ string) (names []string) {
	for _, w := range workloads {
		for _, r := range some[ruleAnswer](ctx, c, w.rules()+"?$top=50") {
			names = append(names, cobra.CompletionWithDesc(r.ID, w.noun+" rule, "+r.Status))
		}
	}
	return names
}

func (c *cli) jobNames(ctx context.Context, _ string) (names []string) {
	for _, w := range workloads {
		for _, j := range some[bulkJobAnswer](ctx, c, w.jobs+"?$top=50&"+query("$orderby", "createdDateTime desc")) {
			names = append(names, cobra.CompletionWithDesc(j.ID, j.DisplayName+", "+j.Status))
		}
	}
	return names
}
