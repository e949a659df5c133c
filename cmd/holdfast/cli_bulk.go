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
	"holdfast/internal/owners"
)

const bulkRestoreSet = "/driveRestoreArtifactsBulkAdditionRequests"

// restoreBulk restores the drives of a CSV or of a policy by bulk restore
// requests, each in a session of its own, one after another.
func (c *cli) restoreBulk(ctx context.Context, r restoration, in io.Reader) error {
	wanted, err := r.search()
	if err != nil {
		return err
	}
	switch {
	case len(r.drives)+len(r.sites)+len(r.mailboxes)+len(r.points) > 0 || r.csv != "" && r.policy != "":
		return usageError{errors.New("say what to restore in one way: --drive, --site, --mailbox and --point, --from-csv, or --policy")}
	case r.noWait:
		return usageError{errors.New("a restore of many drives is waited for; leave --no-wait out")}
	}
	var entries []entry
	if r.csv != "" {
		if entries, err = readEntries(r.csv, r.column, drives); err != nil {
			return err
		}
	} else {
		p, err := c.policyFor(ctx, drives, r.policy)
		if err != nil {
			return err
		}
		units, _, err := read[unitAnswer](c.api.All(ctx, policySet+"/"+p.ID+unitSet+"?$top=999"))
		if err != nil {
			return err
		}
		for _, u := range units {
			entries = append(entries, entry{text: u.DirectoryObjectID})
		}
	}
	total := len(entries)
	var failures []failedEntry
	entries = slices.DeleteFunc(entries, func(e entry) bool {
		if owners.Is(e.text) {
			return false
		}
		failures = append(failures, failedEntry{e, "InvalidEntry", "This is neither an address nor an object id."})
		return true
	})
	if total == 0 {
		return fail(exitFailed, "there is no drive to restore")
	}
	if r.dry {
		return c.bulkPlan(ctx, r, wanted, entries, failures)
	}
	if r.to == toInPlace && !r.yes {
		if err := c.agree(in, fmt.Sprintf("This changes %s that people work in.", number(len(entries), "live drive"))); err != nil {
			return err
		}
	}
	var sessions []sessionAnswer
	var values []json.RawMessage
	asked := 0
	for part := range slices.Chunk(entries, backup.MaxBulkRestoreEntries) {
		s, value, unresolved, err := c.bulkSession(ctx, r, wanted, part)
		if err != nil {
			if asked > 0 {
				fmt.Fprintf(c.errs, "The first %d owners were restored; the rest was not all begun.\n", asked)
			}
			return err
		}
		asked += len(part)
		sessions, values, failures = append(sessions, s), append(values, value), append(failures, unresolved...)
	}
	slices.SortStableFunc(failures, func(a, b failedEntry) int { return a.line - b.line })
	if err := c.printRestored(ctx, sessions, values, failures); err != nil {
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
		return fail(exitPartial, "%d of %s could not be restored whole, of which %d came back in part; 'holdfast restore show SESSION' says what is missing, and why", failed, number(total, "drive"), inPart)
	}
	return partly(failed, total, "drive", "restored")
}

// bulkPlan shows what a restore of many drives would do.
func (c *cli) bulkPlan(ctx context.Context, r restoration, wanted search, entries []entry, failures []failedEntry) error {
	var units []string
	c.drives = map[string]string{}
	called := map[string]string{}
	for _, e := range entries {
		u, _, err := c.unit(ctx, e.text)
		if code := exitCode(err); err != nil && code == exitNotFound {
			failures = append(failures, failedEntry{e, "ProtectionUnitNotFound", "There is no such drive here."})
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
	if err := c.printPlan(ctx, drives, r, points, values); err != nil || len(failures) == 0 || c.script() {
		return errors.Join(err, partly(len(failures), len(entries), "drive", "found"))
	}
	if err := c.printFailures(drives, failures); err != nil {
		return err
	}
	return partly(len(failures), len(failures)+len(points), "drive", "found")
}

// bulkSession restores a part of the owners, and returns the session as it ended
// with those it could not resolve.
func (c *cli) bulkSession(ctx context.Context, r restoration, wanted search, part []entry) (s sessionAnswer, value json.RawMessage, unresolved []failedEntry, err error) {
	if err := c.api.Create(ctx, sessionSet, map[string]any{}, &s); err != nil {
		return s, nil, nil, err
	}
	period := map[string]string{"startDateTime": wire(wanted.from)}
	if !wanted.to.IsZero() {
		period["endDateTime"] = wire(wanted.to)
	}
	body := struct {
		Name        string            `json:"displayName"`
		Drives      []string          `json:"drives,omitempty"`
		IDs         []string          `json:"directoryObjectIds,omitempty"`
		Period      map[string]string `json:"protectionTimePeriod"`
		Destination string            `json:"destinationType"`
		Preference  string            `json:"restorePointPreference"`
	}{Name: "holdfast restore run", Period: period, Destination: r.to, Preference: "latest"}
	for _, e := range part {
		if _, ok := backup.ParseGUID(e.text); ok {
			body.IDs = append(body.IDs, e.text)
		} else {
			body.Drives = append(body.Drives, e.text)
		}
	}
	var request struct {
		ID    string
		Error *problemAnswer
	}
	err = c.api.Create(ctx, sessionSet+"/"+segment(s.ID)+bulkRestoreSet, body, &request)
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
	if err = c.api.Get(ctx, sessionSet+"/"+segment(s.ID)+bulkRestoreSet+"/"+segment(request.ID), &request); err != nil {
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

func (c *cli) printRestored(ctx context.Context, sessions []sessionAnswer, values []json.RawMessage, failures []failedEntry) error {
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
	return c.printFailures(drives, failures)
}
