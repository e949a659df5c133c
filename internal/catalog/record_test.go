package catalog_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/jobs"
)

// export is a tenant's record as texts.
func (w *world) export(tenant backup.TenantID) map[string]string {
	w.t.Helper()
	files := map[string]string{}
	for name, write := range must[map[string]func(io.Writer) error](w.t)(w.ExportTenant(w.t.Context(), tenant)) {
		var b bytes.Buffer
		ok(w.t, write(&b))
		files[name] = b.String()
	}
	return files
}

// readers are the files of a record, to be read once.
func readers(files map[string]string) map[string]io.Reader {
	all := map[string]io.Reader{}
	for name, text := range files {
		all[name] = strings.NewReader(text)
	}
	return all
}

// furnish gives contoso something of all that makes a record.
func (w *world) furnish() (active, idle backup.Policy) {
	w.t.Helper()
	ctx, t := w.t.Context(), w.t
	w.people(0, 5)
	active, idle = w.policy("Äctive", owner(1), owner(2), owner(3)), w.policy("idle", owner(4))
	must[backup.Policy](t)(w.ActivatePolicy(ctx, contoso, active.ID, w.by()))
	w.backUp()
	w.rule(active.ID, ofA, true)
	w.rule(idle.ID, ofA, false)
	j := w.claim(jobs.Backup)
	u := w.units(active.ID)[owner(2)].ID
	ok(t, w.FailUnit(ctx, j[string(u)], u, &backup.Problem{Code: backup.DriveUnavailable, Message: "a \"quoted\" \\ message\n"}))
	w.free()
	_, _, err := w.UpdatePolicy(ctx, contoso, active.ID, catalog.PolicyPatch{Units: []catalog.UnitChange{{Remove: w.units(active.ID)[owner(3)].ID}}, By: w.by()})
	ok(t, err)
	all := must[backup.Policy](t)(w.CreatePolicy(ctx, contoso, catalog.NewPolicy{Workload: backup.SharePoint, DisplayName: "all", FullService: true, By: w.by()}))
	_, _, err = w.UpdateExclusions(ctx, contoso, all.ID, catalog.ExclusionPatch{Exclusions: []catalog.ExclusionChange{{Add: owner(5), SourceID: "host,a,b"}}, By: w.by()})
	ok(t, err)
	w.hold(active.ID, true)
	w.hold(active.ID, false) // it waits
	w.retain("", "PT1H", "P1Y")
	must[backup.Service](t)(w.EnableService(ctx, contoso, w.by()))
	must[backup.ServiceApp](t)(w.RegisterServiceApp(ctx, contoso, backup.Identity{ID: "app", DisplayName: "App"}, w.by()))
	must[backup.EmailSetting](t)(w.ChangeEmailSetting(ctx, contoso, func(e *backup.EmailSetting) { e.Recipients = []backup.Identity{{ID: "r"}} }))
	return active, idle
}

// A catalog is made again from its tenant's record, and goes on with the work.
func TestRecord(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		from := newWorld(t, db, 0)
		active, idle := from.furnish()
		record := from.export(contoso)
		for name, text := range record {
			if text == "" {
				t.Errorf("the file %s is empty", name)
			}
		}

		w := newWorld(t, dbtest.Open(t, db.Dialect()), 0)
		if !must[bool](t)(w.Empty(ctx, contoso)) {
			t.Error("a new catalog is not empty")
		}
		ok(t, w.ImportTenant(ctx, contoso, readers(record)))
		if diff := cmp.Diff(record, w.export(contoso)); diff != "" {
			t.Errorf("exported again (-first +second):\n%s", diff)
		}
		for _, id := range []backup.PolicyID{active.ID, idle.ID} {
			before, after := must[backup.Policy](t)(from.Policy(ctx, contoso, id)), must[backup.Policy](t)(w.Policy(ctx, contoso, id))
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("policy (-before +after):\n%s", diff)
			}
		}
		for kind, want := range map[jobs.Kind]int{jobs.Backup: 2, jobs.Settle: 3, jobs.Rule: 2, jobs.All: 1} {
			if got := w.claim(kind); len(got) != want {
				t.Errorf("%d %s jobs, want %d", len(got), kind, want)
			}
		}
		w.free()
		w.settle()
		w.backUp()

		if must[bool](t)(w.Empty(ctx, contoso)) || !must[bool](t)(w.Empty(ctx, fabrikam)) {
			t.Error("a catalog that was made again is empty, or another's is not")
		}
		fails(t, "import into what is there", w.ImportTenant(ctx, contoso, readers(record)), catalog.ErrNotEmpty)
		if err := w.ImportTenant(ctx, fabrikam, readers(record)); err == nil {
			t.Error("the same ids became another tenant's")
		}
		if got := w.units(active.ID); len(got) != 2 {
			t.Errorf("units after another tenant's import: %+v", got)
		}
	})
}

// broken is a reader that ends in the middle, as one whose process is killed.
type broken struct{ io.Reader }

func (b broken) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		err = errors.New("killed")
	}
	return n, err
}

// An import that is cut off anywhere is done again, and comes to the same.
func TestImportIsRepeated(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		from := newWorld(t, db, 0)
		from.furnish()
		record := from.export(contoso)
		w := newWorld(t, dbtest.Open(t, db.Dialect()), 0)
		for _, name := range []string{"policies", "units", "rules", "retention", "service", "email"} {
			files := readers(record)
			half := record[name][:len(record[name])/2]
			if name != "policies" && name != "service" && name != "email" { // whole lines, then the end
				half = record[name][:strings.Index(record[name], "\n")+1]
			}
			files[name] = broken{strings.NewReader(half)}
			if err := w.ImportTenant(ctx, contoso, files); err == nil {
				t.Fatalf("%s: the end was not missed", name)
			}
			if !must[bool](t)(w.Empty(ctx, contoso)) {
				t.Errorf("%s: what was cut off passes for a whole", name)
			}
			_, err := w.ExportTenant(ctx, contoso)
			fails(t, "an export of half a record", err, catalog.ErrImporting)
		}
		ok(t, w.ImportTenant(ctx, contoso, readers(record)))
		if diff := cmp.Diff(record, w.export(contoso)); diff != "" {
			t.Errorf("exported again (-first +second):\n%s", diff)
		}
	})
}

// A record that cannot be right is refused with the place; one that is of
// before is filled in; what somebody has set before stays, and holds are added.
func TestImportBelievesNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		const id = "aaaaaaaa-1111-4111-8111-111111111111"
		line := func(more string) map[string]string {
			return map[string]string{"policies": `{"id":"` + id + `","workload":"oneDriveForBusiness","display_name":"p","enabled":1,"created":1,"created_by":"{}","modified":1,"modified_by":"{}"` + more + "}\n"}
		}
		for what, files := range map[string]map[string]string{
			"an unknown file":   {"others": ""},
			"an unknown member": line(`,"colour":"red"`),
			"another tenant":    line(`,"tenant":"` + string(fabrikam) + `"`),
			"a text for a time": line(`,"created":"now"`),
			"a fraction":        line(`,"created":1.5`),
			"no id":             line(`,"id":"p1"`),
			"no JSON":           line(`,"created_by":"{"`),
			"no line":           {"policies": "\x00\x01"},
			"a list":            {"policies": "[]"},
			"a bad retention":   {"retention": `{"policy":"","kept":"{\"settings\":[{\"interval\":\"x\",\"period\":\"y\"}]}","modified_by":"{}"}`},
			"a bad next one":    {"retention": `{"policy":"","kept":"{}","pending":"{\"settings\":[{\"interval\":\"x\",\"period\":\"y\"}]}","modified_by":"{}"}`},
		} {
			if err := w.ImportTenant(ctx, contoso, readers(files)); err == nil {
				t.Errorf("%s was taken in", what)
			}
		}
		w.retain("", "PT1H", "P2Y")
		files := line("")
		files["retention"] = `{"policy":"","kept":"{\"legalHold\":true}","modified_by":"{}"}
{"policy":"` + id + `","kept":"{\"settings\":[{\"interval\":\"R/P1D\",\"period\":\"P3Y\"}]}","modified_by":"{}"}`
		files["rules"] = `{"id":"` + id + `","policy":"bbbbbbbb-1111-4111-8111-111111111111","expression":"x","status":"active","created_by":"{}","modified_by":"{}"}`
		files["units"] = `{"id":"` + id + `","policy":"bbbbbbbb-1111-4111-8111-111111111111","directory":"` + string(owner(1)) + `","status":"protected","sources":1,"created_by":"{}","modified_by":"{}"}`
		ok(t, w.ImportTenant(ctx, contoso, readers(files)))
		r := must[[]catalog.Retention](t)(w.Retentions(ctx, contoso))
		if len(r) != 2 || !r[0].Kept.LegalHold || r[0].Kept.Settings[0].Period != "P2Y" || r[1].Kept.Settings[0].Period != "P3Y" {
			t.Errorf("retention = %+v", r)
		}
		// Their policy came to be after the policies had been written.
		if u := must[backup.Unit](t)(w.Unit(ctx, contoso, id)); u.Status != backup.UnitUnprotected || u.Policy != "" {
			t.Errorf("unit = %+v", u)
		}
		if l := must[catalog.List[backup.Rule]](t)(w.Rules(ctx, contoso, id, catalog.Page{})); len(l.Items) != 0 {
			t.Errorf("rules = %+v", l.Items)
		}
	})
}

// A record of any size is written and read in parts.
func TestRecordInParts(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		from := newWorld(t, db, 0)
		p := from.policy("p")
		const n = 3001
		bareInsert(from, p.ID, 0, n)
		record := from.export(contoso)
		if got := strings.Count(record["units"], "\n"); got != n {
			t.Errorf("%d units are written, want %d", got, n)
		}
		w := newWorld(t, dbtest.Open(t, db.Dialect()), 0)
		w.pass(time.Hour)
		ok(t, w.ImportTenant(t.Context(), contoso, readers(record)))
		if again := w.export(contoso); !maps.Equal(record, again) {
			t.Errorf("exported again there are %s", fmt.Sprint(strings.Count(again["units"], "\n")))
		}
	})
}

// A record has each of very many units once, whenever they were created, and each part of
// it is found where the one before has ended.
func TestTheRecordOfManyUnits(t *testing.T) {
	const units = 2500
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w := newWorld(t, db, 0)
		fill(w, units, 0)
		exec(t, db, `UPDATE unit SET created = created - created % 700`)
		ok(t, w.AdoptRetention(t.Context(), contoso))
		checkPlans(t, db, "a record", func(ctx context.Context) error {
			files, err := w.ExportTenant(ctx, contoso)
			if err != nil {
				return err
			}
			var b bytes.Buffer
			if err := files["units"](&b); err != nil {
				return err
			}
			ids := map[string]bool{}
			for line := range strings.Lines(b.String()) {
				var u struct{ ID string }
				if err := json.Unmarshal([]byte(line), &u); err != nil {
					return err
				}
				ids[u.ID] = true
			}
			if n := strings.Count(b.String(), "\n"); n != units || len(ids) != units {
				t.Errorf("%d lines of %d units, want %d", n, len(ids), units)
			}
			return nil
		}, 3)
	})
}
