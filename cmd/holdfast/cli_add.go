package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"holdfast/internal/backup"
	"holdfast/internal/owners"
)

// jobSize is how many entries one bulk addition job may hold.
const jobSize = 50_000

// addition is what 'drive add' and 'site add' are asked for.
type addition struct {
	policy, csv, column, report, name string
	noWait                            bool
}

// An entry is one owner or site, and where it was named.
type entry struct {
	line int    // of the CSV; 0 for an argument
	text string // empty: the line names nobody
}

func (c *cli) unitAdd(ctx context.Context, w *workload, a addition, args []string) error {
	if a.policy == "" {
		return usageError{errors.New("say to which policy: --policy POLICY")}
	}
	if (a.csv == "") == (len(args) == 0) {
		return usageError{fmt.Errorf("name the %ss, or a CSV file by --from-csv", w.entry)}
	}
	if a.report != "" && a.noWait {
		return usageError{errors.New("there is nothing to report without waiting: give --report or --no-wait")}
	}
	var entries []entry
	for _, text := range args {
		entries = append(entries, entry{text: text})
	}
	if a.csv != "" {
		var err error
		if entries, err = readEntries(a.csv, a.column, w); err != nil {
			return err
		}
	}
	if a.name == "" {
		a.name = "holdfast " + w.noun + " add"
		if a.csv != "" && a.csv != "-" {
			a.name = filepath.Base(a.csv)
		}
	}
	var report *os.File // opened first: a report that cannot be written is no report
	if a.report != "" {
		var err error
		if report, err = os.Create(a.report); err != nil {
			return fail(exitFailed, "make the report: %w", err)
		}
		defer report.Close()
	}
	p, err := c.policyFor(ctx, w, a.policy)
	if err != nil {
		return err
	}
	total, named := len(entries), entries[:0:0]
	var failures []failedEntry
	for _, e := range entries {
		if e.text == "" {
			failures = append(failures, failedEntry{e, "Empty", w.nobody})
			continue
		}
		named = append(named, e)
	}
	entries = named
	jobs, err := c.sendJobs(ctx, w, p, a.name, entries)
	if err != nil {
		return err
	}
	if a.noWait {
		return c.printJobs(jobs)
	}
	jobs, err = c.waitJobs(ctx, jobs)
	if err != nil {
		return err
	}
	failures = append(failures, whatFailed(entries, jobs)...)
	slices.SortStableFunc(failures, func(a, b failedEntry) int { return a.line - b.line })
	if report != nil {
		if err := writeReport(report, w, failures); err != nil {
			return fail(exitFailed, "write the report: %w", err)
		}
	}
	if c.script() {
		if err := c.printJobs(jobs); err != nil {
			return err
		}
	} else if len(failures) > 0 {
		if err := c.printFailures(w, failures); err != nil {
			return err
		}
	}
	added := total - len(failures)
	if added > 0 {
		c.say("%s %s in %s.", number(added, w.entry), map[bool]string{true: "is", false: "are"}[added == 1], p.DisplayName)
		if p.Status == string(backup.PolicyInactive) {
			c.say("The policy is inactive: 'holdfast policy activate %s' starts the backups.", p.ID)
		}
	}
	if broken := slices.IndexFunc(jobs, func(j sentJob) bool {
		return j.Status != string(backup.BulkJobCompleted) && j.Status != string(backup.BulkJobCompletedWithErrors)
	}); broken >= 0 {
		return fail(exitFailed, "the job %s ended %s. %s", jobs[broken].ID, jobs[broken].Status, blame(jobs[broken].Error))
	}
	return partly(len(failures), total, w.entry, "added")
}

// A sentJob is a bulk addition job, and which entries it holds.
type sentJob struct {
	bulkJobAnswer
	w        *workload
	value    json.RawMessage
	from, to int
}

// sendJobs makes the jobs, all of them before the first is waited for: what was
// asked for is then with the server, whatever happens here.
func (c *cli) sendJobs(ctx context.Context, w *workload, p policyAnswer, name string, entries []entry) ([]sentJob, error) {
	var jobs []sentJob
	var bar *progress
	if len(entries) > jobSize && !c.quiet {
		bar = newProgress(c.errs, "entries sent", len(entries))
		defer bar.close()
	}
	for from := 0; from < len(entries); from += jobSize {
		j := sentJob{w: w, from: from, to: min(from+jobSize, len(entries))}
		body := map[string]any{"displayName": name}
		if len(entries) > jobSize {
			body["displayName"] = fmt.Sprintf("%s (%d of %d)", name, len(jobs)+1, (len(entries)+jobSize-1)/jobSize)
		}
		var addresses, ids []string
		for _, e := range entries[j.from:j.to] {
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
		err := c.api.Create(ctx, w.version+w.policies+"/"+p.ID+w.jobs, body, &j.value)
		if err == nil {
			err = json.Unmarshal(j.value, &j.bulkJobAnswer)
		}
		if err != nil {
			if len(jobs) > 0 {
				fmt.Fprintf(c.errs, "The entries up to %d are with the server, the rest is not. Adding all of them again does no harm.\n", from)
			}
			return nil, err
		}
		jobs = append(jobs, j)
		if bar != nil {
			bar.set(j.to)
		}
	}
	return jobs, nil
}

// bulkJobSet is the jobs that add drives.
const bulkJobSet = "/driveProtectionUnitsBulkAdditionJobs"

// waitJobs waits until the last of jobs is over, and returns them as they are
// then.
func (c *cli) waitJobs(ctx context.Context, jobs []sentJob) ([]sentJob, error) {
	total, next, ids := 0, 0, []string{}
	for _, j := range jobs {
		total += max(1, j.to-j.from)
		ids = append(ids, j.ID)
	}
	done := 0
	err := c.wait(ctx, "entries", "the server goes on adding. See 'holdfast job show "+strings.Join(ids, " ")+"'",
		func(ctx context.Context) (int, int, bool, error) {
			for ; next < len(jobs); next++ {
				// The lists of a job are long; only its end is worth them.
				j, _, err := get[bulkJobAnswer](ctx, c, jobs[next].w.version+jobs[next].w.jobs+"/"+segment(jobs[next].ID)+"?$select=id,status")
				if err != nil {
					return done, total, false, err
				}
				if j.Status == string(backup.BulkJobActive) {
					return done, total, false, nil
				}
				if jobs[next].bulkJobAnswer, jobs[next].value, err = get[bulkJobAnswer](ctx, c, jobs[next].w.version+jobs[next].w.jobs+"/"+segment(jobs[next].ID)); err != nil {
					return done, total, false, err
				}
				done += max(1, jobs[next].to-jobs[next].from)
			}
			return done, total, true, nil
		})
	return jobs, err
}

func (c *cli) printJobs(jobs []sentJob) error {
	var list []bulkJobAnswer
	var values []json.RawMessage
	for _, j := range jobs {
		list, values = append(list, j.bulkJobAnswer), append(values, j.value)
	}
	return printJobs(c, list, values)
}

// A failedEntry is an entry that was not added, and why.
type failedEntry struct {
	entry
	code, message string
}

func (f failedEntry) row() []string {
	line := ""
	if f.line > 0 {
		line = strconv.Itoa(f.line)
	}
	return []string{line, f.text, f.code, f.message}
}

// whatFailed finds the entries that the jobs could not add, in the order in
// which they were named.
func whatFailed(entries []entry, jobs []sentJob) []failedEntry {
	var failures []failedEntry
	for _, j := range jobs {
		failures = append(failures, blamed(entries[j.from:j.to], j.Error)...)
	}
	return failures
}

func (c *cli) printFailures(w *workload, failures []failedEntry) error {
	var rows [][]string
	for _, f := range failures {
		rows = append(rows, f.row())
	}
	return c.table([]string{"LINE", strings.ToUpper(w.entry), "CODE", "WHY"}, rows)
}

func writeReport(f *os.File, w *workload, failures []failedEntry) error {
	to := csv.NewWriter(f)
	rows := [][]string{{"line", w.entry, "code", "message"}}
	for _, failure := range failures {
		rows = append(rows, failure.row())
	}
	if err := to.WriteAll(rows); err != nil {
		return err
	}
	return f.Close()
}

// readEntries reads the owners or sites of a CSV file, or of standard input for "-".
func readEntries(file, column string, w *workload) ([]entry, error) {
	in := io.Reader(os.Stdin)
	if file != "-" {
		f, err := os.Open(file)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fail(exitNotFound, "read the CSV: %w", err)
		}
		if err != nil {
			return nil, fail(exitFailed, "read the CSV: %w", err)
		}
		defer f.Close()
		in = f
	}
	named, err := owners.Read(in, column, w.is)
	if err == nil && len(named) == 0 {
		err = errors.New("it names nobody")
	}
	if wrong, ok := errors.AsType[owners.ColumnError](err); ok {
		return nil, usageError{fmt.Errorf("--column: %w", wrong)}
	}
	if err != nil {
		return nil, fail(exitFailed, "%s: %w", file, err)
	}
	entries := make([]entry, len(named))
	for i, o := range named {
		entries[i] = entry{o.Line, o.Text}
	}
	return entries, nil
}
