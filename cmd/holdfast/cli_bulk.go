package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"holdfast/internal/backup"
)

// restoreBulk restores what a CSV names or a policy holds by bulk restore
// requests, each in a session of its own, one after another.
func (c *cli) restoreBulk(ctx context.Context, r restoration, in io.Reader) error {
	wanted, err := r.search()
	if err != nil {
		return err
	}
	switch {
	case len(r.drives)+len(r.sites)+len(r.mailboxes)+len(r.points) > 0 || r.toMailbox+r.other() != "" || r.permissions || r.mail != "" || len(r.items) > 0 || r.csv != "" && r.policy != "":
		return usageError{errors.New("say what to restore in one way: --drive, --site, --mailbox and --point, --from-csv, or --policy")}
	case r.noWait:
		return usageError{errors.New("a restore of many is waited for; leave --no-wait out")}
	}
	w, err := workloadNamed(r.of)
	if err != nil {
		return err
	}
	var entries []entry
	if r.csv != "" {
		if entries, err = readEntries(r.csv, r.column, w); err != nil {
			return err
		}
	} else {
		p, err := c.policy(ctx, r.policy)
		if err != nil {
			return err
		}
		w = workloadOf(p.Type)
		units, _, err := read[unitAnswer](c.api.All(ctx, w.policies+"/"+p.ID+w.units+"?$top=999"))
		if err != nil {
			return err
		}
		for _, u := range units {
			entries = append(entries, entry{text: u.idOf()})
		}
	}
	total := len(entries)
	var failures []failedEntry
	entries = slices.DeleteFunc(entries, func(e entry) bool {
		if w.is(e.text) {
			return false
		}
		failures = append(failures, failedEntry{e, "InvalidEntry", "This is not " + w.column + "."})
		return true
	})
	if total == 0 {
		return fail(exitFailed, "there is no %s to restore", w.noun)
	}
	if r.dry {
		return c.bulkPlan(ctx, w, r, wanted, entries, failures)
	}
	if r.to == toInPlace && !r.yes {
		if err := c.agree(in, fmt.Sprintf("This changes %s that people work in.", number(len(entries), "live "+w.noun))); err != nil {
			return err
		}
	}
	var sessions []sessionAnswer
	var values []json.RawMessage
	asked := 0
	for part := range slices.Chunk(entries, backup.MaxBulkRestoreEntries) {
		s, value, unresolved, err := c.bulkSession(ctx, w, r, wanted, part)
		if err != nil {
			if asked > 0 {
				fmt.Fprintf(c.errs, "The first %d %ss were restored; the rest was not all begun.\n", asked, w.entry)
			}
			return err
		}
		asked += len(part)
		sessions, values, failures = append(sessions, s), append(values, value), append(failures, unresolved...)
	}
	slices.SortStableFunc(failures, func(a, b failedEntry) int { return a.line - b.line })
	if err := c.printRestored(ctx, w, sessions, values, failures); err != nil {
		return err
	}
	failed, inPart := len(failures), 0
	for _, s := range sessions {
		if n := s.RestoreSessionArtifactCount.Failed; n > 0 {
			failed += n
			told, err := c.inPart(ctx, s)
			if err != nil {
				return err
			}
			inPart += len(told)
		}
	}
	if inPart > 0 {
		return fail(exitPartial, "%d of %s could not be restored whole, of which %d came back in part; 'holdfast restore show SESSION' says what is missing, and why", failed, number(total, w.noun), inPart)
	}
	return partly(failed, total, w.noun, "restored")
}

// bulkPlan shows what a restore of many would do.
func (c *cli) bulkPlan(ctx context.Context, w *workload, r restoration, wanted search, entries []entry, failures []failedEntry) error {
	var units []string
	c.drives = map[string]string{}
	called := map[string]string{}
	for _, e := range entries {
		u, _, err := c.unitOf(ctx, w, e.text)
		if code := exitCode(err); err != nil && code == exitNotFound {
			failures = append(failures, failedEntry{e, "ProtectionUnitNotFound", "There is no such " + w.noun + " here."})
			continue
		} else if err != nil {
			return err
		}
		if called[u.ID] == "" {
			units, called[u.ID] = append(units, u.ID), e.text
		}
	}
	found, raw, err := c.points(ctx, wanted, units)
	if err != nil {
		return err
	}
	var points []pointAnswer
	var values []json.RawMessage
	for _, u := range units {
		p, ok := found[u]
		if !ok {
			failures = append(failures, failedEntry{entry{text: called[u]}, "ArtifactNotFound", "There is no restore point of that time."})
			continue
		}
		points, values = append(points, p), append(values, raw[u])
		c.drives[p.ID] = called[u]
	}
	if err := c.printPlan(ctx, w, r, points, values); err != nil || len(failures) == 0 || c.script() {
		return errors.Join(err, partly(len(failures), len(entries), w.noun, "found"))
	}
	if err := c.printFailures(w, failures); err != nil {
		return err
	}
	return partly(len(failures), len(failures)+len(points), w.noun, "found")
}

// bulkSession restores a part of the owners, and returns the session as it ended
// with those it could not resolve.
func (c *cli) bulkSession(ctx context.Context, w *workload, r restoration, wanted search, part []entry) (s sessionAnswer, value json.RawMessage, unresolved []failedEntry, err error) {
	if err := c.api.Create(ctx, w.sessions, map[string]any{}, &s); err != nil {
		return s, nil, nil, err
	}
	period := map[string]string{"startDateTime": wire(wanted.from)}
	if !wanted.to.IsZero() {
		period["endDateTime"] = wire(wanted.to)
	}
	body := map[string]any{"displayName": "holdfast restore run", "protectionTimePeriod": period, "destinationType": r.to, "restorePointPreference": "latest"}
	var addresses, ids []string
	for _, e := range part {
		if w.isID(e.text) {
			ids = append(ids, e.text)
		} else {
			addresses = append(addresses, e.text)
		}
	}
	for member, list := range map[string][]string{w.addresses: addresses, w.ids: ids} {
		if len(list) > 0 {
			body[member] = list
		}
	}
	var request struct {
		ID    string
		Error *problemAnswer
	}
	err = c.api.Create(ctx, w.sessions+"/"+segment(s.ID)+w.bulkRestores(), body, &request)
	if err == nil {
		err = c.api.Act(ctx, "/restoreSessions/"+segment(s.ID)+"/activate", nil, nil)
	}
	if err != nil {
		// A session that was not begun helps nobody.
		return s, nil, nil, errors.Join(err, c.api.Delete(context.WithoutCancel(ctx), "/restoreSessions/"+segment(s.ID)))
	}
	if s, value, err = c.restoreEnd(ctx, s.ID); err != nil {
		return s, nil, nil, err
	}
	if err = c.api.Get(ctx, w.sessions+"/"+segment(s.ID)+w.bulkRestores()+"/"+segment(request.ID), &request); err != nil {
		return s, nil, nil, err
	}
	return s, value, blamed(part, request.Error), nil
}

// blamed finds the entries that a problem names, in the order of entries.
func blamed(entries []entry, p *problemAnswer) []failedEntry {
	if p == nil {
		return nil
	}
	why := map[string]int{}
	for i, d := range p.Details {
		why[strings.ToLower(d.Target)] = i
	}
	var failures []failedEntry
	for _, e := range entries {
		if i, ok := why[strings.ToLower(e.text)]; ok {
			failures = append(failures, failedEntry{e, p.Details[i].Code, p.Details[i].Message})
		}
	}
	return failures
}

func (c *cli) printRestored(ctx context.Context, w *workload, sessions []sessionAnswer, values []json.RawMessage, failures []failedEntry) error {
	if c.script() {
		return printList(c, values, sessions, func(s sessionAnswer) string { return s.ID }, nil, nil, "")
	}
	for i, s := range sessions {
		if err := c.printAll(ctx, s, values[i]); err != nil {
			return err
		}
	}
	if len(failures) == 0 {
		return nil
	}
	c.say("")
	return c.printFailures(w, failures)
}
