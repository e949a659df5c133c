package catalog_test

import (
	"cmp"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/jobs"
)

// versions are those that a database may have come with.
var versions = []int64{1, 2, 3, 4, 5, 6, 8}

// fixtures are the statements that fill a database of a version.
func fixtures(t *testing.T, version int64) (statements []string) {
	t.Helper()
	for _, v := range versions {
		if v > version {
			break
		}
		text, err := os.ReadFile(filepath.Join("testdata", "upgrade", fmt.Sprintf("v%d.sql", v)))
		ok(t, err)
		for _, s := range strings.Split(string(text), ";\n") {
			if s = strings.TrimSpace(s); s != "" {
				statements = append(statements, s)
			}
		}
	}
	return statements
}

// tables lists the tables that hold something of ours.
func tables(t *testing.T, db *database.DB) (names []string) {
	t.Helper()
	query := `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'`
	if db.Dialect() == database.Postgres {
		query = `SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()`
	}
	rows, err := db.Read().QueryContext(t.Context(), query)
	ok(t, err)
	defer rows.Close()
	for rows.Next() {
		var name string
		ok(t, rows.Scan(&name))
		if !strings.HasPrefix(name, "goose_") {
			names = append(names, name)
		}
	}
	ok(t, rows.Err())
	return sorted(names)
}

// renamed is what tables and columns are called that had other names once.
var renamed = map[string]string{
	"directory_user": "subject", "directory_user.upn": "address", "directory_user.upn_key": "address_key",
	"unit.directory": "subject", "unit.email_key": "address_key",
	"bulk_list.drives": "addresses", "bulk_list.object_ids": "ids", "bulk_restore_list.drives": "addresses", "bulk_restore_list.object_ids": "ids",
}

// dump returns the rows of tables, each with the columns named, by the names that
// they had; nil for all that there are, which it then names.
func dump(t *testing.T, db *database.DB, names []string, columns map[string][]string) (map[string][]string, map[string][]string) {
	t.Helper()
	all, of := map[string][]string{}, map[string][]string{}
	for _, table := range names {
		what, from := "*", table
		if columns != nil {
			from = cmp.Or(renamed[table], table)
			var now []string
			for _, column := range columns[table] {
				now = append(now, cmp.Or(renamed[table+"."+column], column)+" AS "+column)
			}
			what = strings.Join(now, ", ")
		}
		rows, err := db.Read().QueryContext(t.Context(), `SELECT `+what+` FROM `+from)
		ok(t, err)
		of[table], err = rows.Columns()
		ok(t, err)
		all[table] = []string{}
		for rows.Next() {
			values := make([]any, len(of[table]))
			into := make([]any, len(values))
			for i := range values {
				into[i] = &values[i]
			}
			ok(t, rows.Scan(into...))
			line := ""
			for i, v := range values {
				if b, isBytes := v.([]byte); isBytes {
					v = string(b)
				}
				line += fmt.Sprintf("%s=%v|", of[table][i], v)
			}
			all[table] = append(all[table], line)
		}
		ok(t, rows.Err())
		rows.Close()
		slices.Sort(all[table])
	}
	return all, of
}

// A database of any version before keeps all that it holds, and the catalog
// reads it.
func TestUpgradeKeepsEverything(t *testing.T) {
	for _, d := range dbtest.Dialects(t) {
		for _, version := range versions {
			t.Run(fmt.Sprintf("%s from %d", d, version), func(t *testing.T) {
				ctx := t.Context()
				u := dbtest.EmptyURL(t, d)
				old := must[*database.DB](t)(database.OpenAt(ctx, u, version))
				for _, s := range fixtures(t, version) {
					exec(t, old, s)
				}
				names := tables(t, old)
				before, columns := dump(t, old, names, nil)
				for _, table := range names {
					if len(before[table]) == 0 {
						t.Errorf("no fixture fills the table %s of version %d", table, version)
					}
				}
				ok(t, old.Close())

				db := must[*database.DB](t)(database.Open(ctx, u))
				defer db.Close()
				after, _ := dump(t, db, names, columns)
				// What an upgrade changes on purpose.
				for i, line := range before["tenant"] {
					if version < 6 {
						before["tenant"][i] = strings.Replace(line, "directory_cursor=https://graph.example/users/delta?token=a|", "directory_cursor=|", 1)
					}
				}
				for i, line := range before["drive_state"] {
					line = strings.Replace(line, "tree=t-killed|cursor=c0|", "tree=t0|cursor=|", 1)
					before["drive_state"][i] = strings.Replace(line, "tree=t-first|", "tree=|", 1)
				}
				slices.Sort(before["drive_state"])
				if r, ok := before["retention"]; ok {
					after["retention"] = slices.DeleteFunc(after["retention"], func(line string) bool { return !slices.Contains(r, line) })
				}
				if diff := gocmp.Diff(before, after); diff != "" {
					t.Errorf("rows (-before +after):\n%s", diff)
				}
				if version >= 2 {
					readUpgraded(t, db, version)
				}
			})
		}
	}
}

// readUpgraded reads through the catalog what the fixtures hold.
func readUpgraded(t *testing.T, db *database.DB, version int64) {
	ctx := t.Context()
	w := newWorld(t, db, 0)
	w.now = time.UnixMicro(1795000000000100).UTC()
	const (
		sales = backup.PolicyID("b0000000-0000-4000-8000-000000000001")
		held  = backup.PolicyID("b0000000-0000-4000-8000-000000000002")
		unit  = backup.UnitID("c0000000-0000-4000-8000-000000000001")
		fresh = backup.UnitID("c0000000-0000-4000-8000-000000000002")
	)
	count := func(what string, got, want int) {
		t.Helper()
		if got != want {
			t.Errorf("%d %s, want %d", got, what, want)
		}
	}
	policies := must[catalog.List[backup.Policy]](t)(w.Policies(ctx, contoso, catalog.Page{})).Items
	count("policies", len(policies), 2)
	count("units", len(must[catalog.List[backup.Unit]](t)(w.Units(ctx, contoso, catalog.UnitQuery{})).Items), 3)
	count("units of a policy", len(w.units(sales)), 2)
	points := func() []backup.Point {
		return must[catalog.List[backup.Point]](t)(w.Points(ctx, contoso, catalog.PointQuery{Unit: unit, Oldest: true})).Items
	}
	before := points()
	count("points", len(before), 3)
	if p := before[2]; p.Tree != "t2" || p.Unread != 0 || p.Lost || !p.Verified.IsZero() || p.Bytes != 6 {
		t.Errorf("point = %+v", p)
	}
	job := must[backup.BulkJob](t)(w.BulkJob(ctx, contoso, sales, "d0000000-0000-4000-8000-000000000001"))
	count("entries of a bulk job", len(job.Addresses)+len(job.IDs), 2)
	count("sessions", len(must[catalog.List[backup.Session]](t)(w.Sessions(ctx, contoso, catalog.Page{})).Items), 3)
	artifacts := w.artifacts("f0000000-0000-4000-8000-000000000001")
	if len(artifacts) != 1 || artifacts[0].Problem == nil || artifacts[0].RestoredSiteName != "DocumentsR0" {
		t.Errorf("artifacts = %+v", artifacts)
	}
	_, s, err := w.UnitForBackup(ctx, contoso, unit)
	ok(t, err)
	if s.Drive != "d1" || s.Tree != "t2" || s.Cursor != "c1" || s.Checkpoint != "" || len(s.Pending) != 1 || s.Pending[0].Attempts != 2 {
		t.Errorf("drive = %+v", s)
	}
	_, s, err = w.UnitForBackup(ctx, contoso, fresh)
	ok(t, err)
	if s.Tree != "" || s.Checkpoint != "t-first" || s.Root != "r2" {
		t.Errorf("drive of a first run that was killed = %+v", s)
	}
	live := must[[]string](t)(w.LiveTrees(ctx, contoso, unit, "d0"))
	if !slices.Equal(live, []string{"t-killed", "t0"}) {
		t.Errorf("live trees = %v", live)
	}
	if version >= 3 {
		rules := must[catalog.List[backup.Rule]](t)(w.Rules(ctx, contoso, sales, catalog.Page{})).Items
		count("rules", len(rules), 1)
	}
	if version >= 4 {
		count("apps", len(must[backup.Service](t)(w.Service(ctx, contoso)).Apps), 1)
		count("activities", len(w.activities()), 1)
		r := must[[]catalog.Retention](t)(w.Retentions(ctx, contoso))
		if len(r) != 3 || r[0].Policy != "" || r[0].Kept.LegalHold || !r[2].Kept.LegalHold || r[2].Policy != held {
			t.Errorf("retentions = %+v", r)
		}
	}
	if version >= 5 {
		count("browse sessions", len(must[catalog.List[backup.BrowseSession]](t)(w.BrowseSessions(ctx, contoso, catalog.Page{})).Items), 1)
		files := must[catalog.List[backup.GranularArtifact]](t)(w.GranularArtifacts(ctx, contoso, "f0000000-0000-4000-8000-000000000002", catalog.Page{})).Items
		count("files to restore", len(files), 1)
		count("bulk restores", len(must[catalog.List[backup.BulkRequest]](t)(w.BulkRestores(ctx, contoso, "f0000000-0000-4000-8000-000000000003", catalog.Page{})).Items), 1)
	}

	// A round of expiry shortens nothing, and a hold holds.
	must[int64](t)(w.expire(w.Catalog))
	for i, p := range points() {
		if p.ID != before[i].ID || p.Expires.Before(before[i].Expires) {
			t.Errorf("a point expires %v, before the upgrade %v", p.Expires, before[i].Expires)
		}
	}
	if version >= 4 {
		w.pass(4000 * aDay)
		must[int64](t)(w.expire(w.process(backup.RetentionPlan{})))
		if p := points(); len(p) != 1 || p[0].Drive != "d0" {
			t.Errorf("points after years = %+v, want the one under a hold", p)
		}
	}
}

// A database that was made before version 9, by the methods of the catalog as
// they were then, is read: policies in force, one of them under a hold, backed
// up three times; a failed backup, a rule, a session at work, a browse session.
func TestReleasedDatabase(t *testing.T) {
	f := must[*os.File](t)(os.Open(filepath.Join("testdata", "upgrade", "release.db.gz")))
	defer f.Close()
	packed := must[*gzip.Reader](t)(gzip.NewReader(f))
	path := filepath.Join(t.TempDir(), "catalog.db")
	ok(t, os.WriteFile(path, must[[]byte](t)(io.ReadAll(packed)), 0o600))
	ctx := t.Context()
	db := must[*database.DB](t)(database.Open(ctx, "sqlite:"+path))
	defer db.Close()
	w := newWorld(t, db, 0)
	w.now = time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)

	policies := must[catalog.List[backup.Policy]](t)(w.Policies(ctx, contoso, catalog.Page{})).Items
	if len(policies) != 2 || policies[0].DisplayName != "Sales" || policies[0].Status != backup.PolicyActiveWithErrors || !policies[1].Retention.LegalHold {
		t.Fatalf("policies = %+v", policies)
	}
	units := w.units(policies[0].ID)
	var states []string
	for n := range 4 {
		u := units[owner(n)]
		l := must[catalog.List[backup.Point]](t)(w.Points(ctx, contoso, catalog.PointQuery{Unit: u.ID}))
		states = append(states, fmt.Sprint(u.Status, " ", len(l.Items), " ", u.Problem != nil))
	}
	if want := []string{"protected 3 true", "protected 3 false", "protected 3 false", " 0 false"}; !slices.Equal(states, want) {
		t.Errorf("units = %v, want %v", states, want)
	}
	if n := len(w.artifacts(must[catalog.List[backup.Session]](t)(w.Sessions(ctx, contoso, catalog.Page{})).Items[0].ID)); n != 2 {
		t.Errorf("%d artifacts, want 2", n)
	}
	if n := len(w.activities()); n == 0 {
		t.Error("the audit log is empty")
	}
	// The work goes on where it stood.
	for _, p := range w.backUp() {
		if p.Unit == "" {
			t.Errorf("point = %+v", p)
		}
	}
	if due := w.claim(jobs.Restore); len(due) != 2 {
		t.Errorf("%d restores are due, want 2", len(due))
	}
	if n := w.expired(); n != 0 {
		t.Errorf("%d points expired", n)
	}
}
