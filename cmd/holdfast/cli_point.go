package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/client"
)

func (c *cli) pointCommand() *cobra.Command {
	var from, to string
	var limit int
	var mail bool
	// in is of what the owners' addresses are.
	in := func() *workload {
		if mail {
			return mailboxes
		}
		return drives
	}
	list := &cobra.Command{Use: "list DRIVE", Short: "List the restore points of a drive, a site or a mailbox, the newest first", Args: args(1, 1),
		RunE: c.run(func(ctx context.Context, args []string) error {
			return c.pointList(ctx, in(), args[0], from, to, limit)
		})}
	times := func(cmd *cobra.Command) {
		cmd.Flags().StringVar(&from, "from", "", "only points of this `TIME` or later")
		cmd.Flags().StringVar(&to, "to", "", "only points of this `TIME` or earlier")
		cmd.Flags().BoolVar(&mail, "mailbox", false, "of the owner's mailbox, and not of the drive")
	}
	times(list)
	list.Flags().IntVar(&limit, "limit", 20, "how many at most; 0 for all")

	var oldest, fast bool
	search := &cobra.Command{Use: "search DRIVE...", Short: "Find the newest restore point of each of several drives", Args: args(1, -1),
		RunE: c.run(func(ctx context.Context, args []string) error {
			s, err := newSearch(from, to)
			if err != nil {
				return err
			}
			s.oldest, s.fast = oldest, fast
			return c.pointSearch(ctx, in(), s, args)
		})}
	times(search)
	search.Flags().BoolVar(&oldest, "oldest", false, "find the oldest instead")
	search.Flags().BoolVar(&fast, "fast", false, "only points that can be browsed")

	show := &cobra.Command{Use: "show POINT", Short: "Show a restore point, and what it does not hold", Args: args(1, 1), RunE: c.run(c.pointShow)}
	var most int
	diff := &cobra.Command{Use: "diff DRIVE|SITE|MAILBOX TIME [TIME]", Short: "Show what changed between two restore points", Args: args(2, 3),
		Long: `Show how the newest restore point up to the second TIME differs from the newest up to the
first: what was added, deleted, changed, or moved, which a new name is too. Without a
second TIME it is the newest there is. What is in a folder that was moved moved with it.
Items of a mailbox are named by their folder and subject; one that was read or
flagged has changed.`,
		RunE: c.run(func(ctx context.Context, args []string) error {
			return c.pointDiff(ctx, in(), args[0], args[1:], most)
		})}
	diff.Flags().BoolVar(&mail, "mailbox", false, "of the owner's mailbox, and not of the drive")
	diff.Flags().IntVar(&most, "limit", 1000, "how many at most; 0 for all")
	return group("point", "List and find restore points",
		"A restore point is a drive as it was at a time. A TIME is 2026-01-31, 2026-01-31\n15:04 (both of this machine's time zone), or 2026-01-31T15:04:05Z.", list, search, show, diff)
}

// parseTime reads a time as a person writes it. A day alone is its first moment,
// or its last where end says so.
func parseTime(text string, end bool) (time.Time, error) {
	given := text
	text = strings.ToUpper(strings.TrimSpace(text))
	for _, form := range []string{time.RFC3339Nano, timeForm, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04"} {
		if t, err := time.ParseInLocation(form, text, time.Local); err == nil {
			if fraction := strings.Contains(text, "."); end && !fraction && strings.Contains(form, ":05") { // any moment of that second
				t = t.Add(time.Second - time.Millisecond)
			} else if end && len(form) == len("2006-01-02 15:04") { // any moment of that minute
				t = t.Add(time.Minute - time.Millisecond)
			}
			return t.UTC(), nil
		}
	}
	if t, err := time.ParseInLocation(time.DateOnly, text, time.Local); err == nil {
		if end {
			t = t.AddDate(0, 0, 1).Add(-time.Millisecond)
		}
		return t.UTC(), nil
	}
	return time.Time{}, usageError{fmt.Errorf("%q is not a time; write 2026-01-31, '2026-01-31 15:04' or 2026-01-31T15:04:05Z", given)}
}

func wire(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.999Z07:00") }

// printPoints prints points; before has, of those of which it is known, the point
// of the drive that came before.
func (c *cli) printPoints(ctx context.Context, points []pointAnswer, values []json.RawMessage, before map[string]pointAnswer, none string) error {
	return printList(c, values, points, func(p pointAnswer) string { return p.ID }, []string{"POINT", "TIME", "FILES", "SIZE", "CHANGED", "EXPIRES", "BROWSABLE", "STATE", "VERIFIED", "UNIT", "OWNER"},
		func(p pointAnswer) []string {
			return []string{p.ID, clock(p.ProtectionDateTime), p.files(), p.size(), p.changed(before[p.ID]), clock(p.ExpirationDateTime), map[bool]string{true: "yes", false: "no"}[p.Tags == "fastRestore"],
				p.state(), p.verified(), p.ProtectionUnit.ID, c.ownerOf(ctx, p.ProtectionUnit)}
		}, none, func(p pointAnswer) map[string]any {
			return map[string]any{"owner": c.ownerOf(ctx, p.ProtectionUnit), "changed": strings.Trim(p.changed(before[p.ID]), "-")}
		})
}

// state says in a word or two whether a point is all that it should be.
func (p pointAnswer) state() string {
	switch {
	case p.Lost:
		return "lost"
	case p.Lacks > 0:
		return "lacks " + number(p.Lacks, "item")
	}
	return "complete"
}

// files and size are how much a point holds, where the server tells.
func (p pointAnswer) files() string {
	if p.Files == nil {
		return "-"
	}
	return fmt.Sprint(*p.Files)
}

func (p pointAnswer) size() string {
	if p.Bytes == nil {
		return "-"
	}
	return size(fmt.Sprint(*p.Bytes))
}

// changed says whether a point holds something else than the one before it.
func (p pointAnswer) changed(before pointAnswer) string {
	switch {
	case p.Tag == "" || before.Tag == "":
		return "-"
	case p.Tag == before.Tag:
		return "no"
	}
	return "yes"
}

func (p pointAnswer) verified() string {
	if p.Verified.IsZero() {
		return "not yet"
	}
	return clock(p.Verified)
}

func (c *cli) pointList(ctx context.Context, in *workload, name, from, to string, limit int) error {
	if limit < 0 {
		return usageError{errors.New("--limit must not be negative")}
	}
	s, err := newSearch(from, to)
	if err != nil {
		return err
	}
	u, _, err := c.unitIn(ctx, in, name)
	if err != nil {
		return err
	}
	filter := "protectionDateTime ge " + wire(s.from)
	if !s.to.IsZero() {
		filter += " and protectionDateTime le " + wire(s.to)
	}
	var points []pointAnswer
	var values []json.RawMessage
	before := map[string]pointAnswer{}
	for value, err := range c.api.All(ctx, "/restorePoints?"+query("$expand", "protectionUnit($filter=id eq '"+u.ID+"')")+"&"+query("$filter", filter)+"&"+query("$orderby", "protectionDateTime desc")) {
		if err != nil {
			return err
		}
		var p pointAnswer
		if err := json.Unmarshal(value, &p); err != nil {
			return err
		}
		if len(points) > 0 {
			before[points[len(points)-1].ID] = p
		}
		if len(points) == limit && limit > 0 {
			break
		}
		points, values = append(points, p), append(values, value)
	}
	return c.printPoints(ctx, points, values, before, noPoints(name, u))
}

// noPoints says why a drive may have no point to show.
func noPoints(drive string, u unitAnswer) string {
	return fmt.Sprintf("There is no such restore point of %s; the drive is %s.", drive, u.Status)
}

// A search says which point of a drive is wanted.
type search struct {
	from, to     time.Time // from is never zero; to may be
	oldest, fast bool
}

func newSearch(from, to string) (s search, err error) {
	s.from = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	if from != "" {
		s.from, err = parseTime(from, false)
	}
	if to != "" && err == nil {
		s.to, err = parseTime(to, true)
	}
	if to != "" && err == nil && s.to.Before(s.from) {
		err = usageError{fmt.Errorf("--to %s is before --from %s", to, cmp.Or(from, "2000-01-01"))}
	}
	return s, err
}

// period is the time that s asks for, as the API has it.
func (s search) period() map[string]string {
	period := map[string]string{"startDateTime": wire(s.from)}
	if !s.to.IsZero() {
		period["endDateTime"] = wire(s.to)
	}
	return period
}

// points finds one point for each of units. Those without one are absent.
func (c *cli) points(ctx context.Context, s search, units []string) (map[string]pointAnswer, map[string]json.RawMessage, error) {
	type found struct {
		SearchResults []struct{ RestorePoint json.RawMessage }
		Missing       []string `json:"noResultProtectionUnitIds"`
	}
	period := s.period()
	points, values := map[string]pointAnswer{}, map[string]json.RawMessage{}
	// A search answers with five points at most, however many units it names.
	for part := range slices.Chunk(units, 5) {
		body := map[string]any{"protectionUnitIds": part, "protectionTimePeriod": period, "restorePointPreference": "latest"}
		if s.oldest {
			body["restorePointPreference"] = "oldest"
		}
		if s.fast {
			body["tags"] = "fastRestore"
		}
		var answer found
		if err := c.api.Ask(ctx, "/restorePoints/search", body, &answer); err != nil {
			return nil, nil, err
		}
		for _, r := range answer.SearchResults {
			var p pointAnswer
			if err := json.Unmarshal(r.RestorePoint, &p); err != nil {
				return nil, nil, err
			}
			points[p.ProtectionUnit.ID], values[p.ProtectionUnit.ID] = p, r.RestorePoint
		}
	}
	return points, values, nil
}

func (c *cli) pointSearch(ctx context.Context, in *workload, s search, names []string) error {
	var units []string
	named := map[string]string{}
	for _, d := range names {
		u, _, err := c.unitIn(ctx, in, d)
		if err != nil {
			return err
		}
		if _, twice := named[u.ID]; !twice {
			units = append(units, u.ID)
		}
		named[u.ID] = d
	}
	byUnit, raw, err := c.points(ctx, s, units)
	if err != nil {
		return err
	}
	var points []pointAnswer
	var values []json.RawMessage
	var missing []string
	for _, u := range units {
		if p, ok := byUnit[u]; ok {
			points, values = append(points, p), append(values, raw[u])
		} else {
			missing = append(missing, named[u])
		}
	}
	if err := c.printPoints(ctx, points, values, nil, "There is no such restore point."); err != nil {
		return err
	}
	for _, d := range missing {
		fmt.Fprintf(c.errs, "%s has no such restore point.\n", d)
	}
	switch len(missing) {
	case 0:
		return nil
	case len(units):
		return fail(exitNotFound, "nothing was found")
	}
	return fail(exitPartial, "%s without such a restore point", number(len(missing), "drive"))
}

// A changeAnswer is what the API says of an item that differs in two points.
type changeAnswer struct {
	Change, Type, Path, PreviousPath       string
	SizeInBytes, PreviousSizeInBytes, Name string
	ItemKey                                string
	IsContentChanged                       bool
}

func (c *cli) pointDiff(ctx context.Context, in *workload, of string, times []string, limit int) error {
	if limit < 0 {
		return usageError{errors.New("--limit must not be negative")}
	}
	u, _, err := c.unitIn(ctx, in, of)
	if err != nil {
		return err
	}
	var pair [2]pointAnswer
	for i := range pair {
		at := "" // the newest
		if i < len(times) {
			at = times[i]
		}
		s, err := newSearch("", at)
		if err != nil {
			return err
		}
		found, _, err := c.points(ctx, s, []string{u.ID})
		if err != nil {
			return err
		}
		p, ok := found[u.ID]
		if !ok {
			return fail(exitNotFound, "%s has no restore point%s. 'holdfast point list %s' shows those there are", of, map[bool]string{true: " up to " + clock(s.to)}[at != ""], shellQuote(of))
		}
		pair[i] = p
	}
	var changes []changeAnswer
	var values []json.RawMessage
	more := false
	for value, err := range c.api.All(ctx, "/restorePoints/"+segment(pair[1].ID)+"/holdfast.changes/"+segment(pair[0].ID)+"?$top=1000") {
		if err != nil {
			return err
		}
		if more = limit > 0 && len(changes) == limit; more {
			break
		}
		var v changeAnswer
		if err := json.Unmarshal(value, &v); err != nil {
			return err
		}
		changes, values = append(changes, v), append(values, value)
	}
	if !c.script() {
		fmt.Fprintf(c.errs, "From %s to %s:\n", clock(pair[0].ProtectionDateTime), clock(pair[1].ProtectionDateTime))
	}
	err = printList(c, values, changes, func(v changeAnswer) string { return v.ItemKey }, []string{"WHAT", "TYPE", "PATH", "SIZE", "BEFORE"}, func(v changeAnswer) []string {
		before := v.PreviousPath
		if v.IsContentChanged {
			before = strings.TrimSpace(before + " " + size(v.PreviousSizeInBytes))
		}
		return []string{v.Change, v.Type, v.Path, size(v.SizeInBytes), before}
	}, "Nothing: both hold the same.")
	if err == nil && more {
		fmt.Fprintln(c.errs, "There is more; --limit shows it.")
	}
	return err
}

func (c *cli) pointShow(ctx context.Context, args []string) error {
	at := "/restorePoints/" + segment(args[0])
	p, value, err := get[pointAnswer](ctx, c, at+"?$expand=protectionUnit")
	if err != nil {
		return err
	}
	policy := p.ProtectionUnit.PolicyID
	if !c.script() {
		policy = c.policyWhole(ctx, policy)
	}
	err = c.printOne(value, p.ID, "Point", p.ID, "Time", clock(p.ProtectionDateTime), "Expires", clock(p.ExpirationDateTime), "Tags", p.Tags,
		"Files", p.files(), "Size", p.size(), "State", p.state(), "Verified", p.verified(),
		"Unit", p.ProtectionUnit.ID, "Owner", c.ownerOf(ctx, p.ProtectionUnit), "Policy", policy)
	if err != nil || c.script() || p.Lacks == 0 && client.WorkloadOf(p.ProtectionUnit.Type) != client.Mailboxes {
		return err
	}
	return c.pointLacks(ctx, at)
}

// pointLacks lists what a point does not hold as it was, and what it lacks beside items
// that it holds.
func (c *cli) pointLacks(ctx context.Context, at string) error {
	var notes []unreadAnswer
	said := false
	for value, err := range c.api.All(ctx, at+"/holdfast.unread") {
		if err != nil {
			return err
		}
		var u unreadAnswer
		if err := json.Unmarshal(value, &u); err != nil {
			return err
		}
		if u.IsNote {
			notes = append(notes, u)
			continue
		}
		if !said {
			said = true
			fmt.Fprintf(c.out, "\nThe point does not hold these items as they were at its time:\n")
		}
		held := "not held"
		if u.IsHeld {
			held = "held as it was last readable"
		}
		fmt.Fprintf(c.out, "  %s\n    %s (%s, since %s): %s\n", u.Path, u.Code, held, clock(u.SinceDateTime), u.Message)
	}
	if len(notes) > 0 {
		fmt.Fprintf(c.out, "\nThe point holds all that these are of, and can restore it:\n")
	}
	for _, u := range notes {
		fmt.Fprintf(c.out, "  %s\n    %s (since %s): %s\n", u.Path, u.Code, clock(u.SinceDateTime), u.Message)
	}
	return nil
}
