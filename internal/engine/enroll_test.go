package engine

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/jobs"
	"holdfast/internal/simtenant"
)

func TestBulkAdditionResolvesAgainstTheDirectory(t *testing.T) {
	w := newWorld(t, "ann", "bob", "cid", "dee")
	p, err := w.catalog.CreatePolicy(w.ctx, w.tenant, catalog.NewPolicy{Workload: backup.OneDrive, DisplayName: "Bulk"})
	w.must(err)
	add := func(drives, ids []string) backup.BulkJob {
		t.Helper()
		job, err := w.catalog.CreateBulkJob(w.ctx, w.tenant, p.ID, catalog.NewBulkJob{DisplayName: "Bulk", Addresses: drives, IDs: ids})
		w.must(err)
		w.run(jobs.BulkAdd, string(job.ID), w.engine.bulkAdd)
		w.run(jobs.BulkAdd, string(job.ID), w.engine.bulkAdd) // begun anew after its end
		job, err = w.catalog.BulkJob(w.ctx, w.tenant, p.ID, job.ID)
		w.must(err)
		return job
	}
	job := add([]string{"ANN@Example.com", "bob@example.com"}, []string{string(w.users[2].ID), string(w.users[0].ID)})
	if job.Status != backup.BulkJobCompleted || job.Problem != nil {
		t.Errorf("the job is %s, %+v", job.Status, job.Problem)
	}
	// The directory's token is refused: it is read from the beginning.
	w.faults.Add(simtenant.Fault{Times: 1, Status: 410, Body: `{"error":{"code":"syncStateNotFound","message":"again"}}`, Match: isUsersDelta})
	job = add([]string{"nobody@example.com", "dee@example.com"}, []string{"99999999-0000-4000-8000-000000000000"})
	if job.Status != backup.BulkJobCompletedWithErrors || job.Problem == nil || len(job.Problem.Details) != 2 {
		t.Fatalf("the job is %s, %+v", job.Status, job.Problem)
	}
	if job.Problem.Details[0].Target != "nobody@example.com" || job.Problem.Details[1].Target != "99999999-0000-4000-8000-000000000000" {
		t.Errorf("the job's details are %+v", job.Problem.Details)
	}
	units, err := w.catalog.Units(w.ctx, w.tenant, catalog.UnitQuery{Policy: p.ID})
	w.must(err)
	if len(units.Items) != 4 {
		t.Errorf("%d units, want one for each owner", len(units.Items))
	}
	for _, u := range units.Items {
		if !strings.HasSuffix(u.Address, "@example.com") {
			t.Errorf("unit of %s has the address %q", u.Subject, u.Address)
		}
	}
}

func isUsersDelta(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/v1.0/users/delta") }

func TestStartEnqueuesWhatRecurs(t *testing.T) {
	w := newWorld(t)
	for range 2 {
		w.must(w.engine.Start(w.ctx))
	}
	stats, err := w.queue.Stats(w.ctx)
	w.must(err)
	for _, kind := range []jobs.Kind{jobs.Expire, jobs.Maintain} {
		if s := stats[kind]; s.Waiting+s.Due != 1 {
			t.Errorf("%d jobs of kind %s, want 1", s.Waiting+s.Due, kind)
		}
	}
	for kind, work := range w.engine.Work() {
		if work.Handler == nil || work.Workers < 1 {
			t.Errorf("nobody does jobs of kind %s", kind)
		}
	}
}

// What units are of that were added by id alone is called by name as soon as they are
// there, also in a policy that is not in force; that nobody can be asked stops nothing.
func TestUnitsAddedByIDAreNamed(t *testing.T) {
	for _, workload := range []backup.Workload{backup.OneDrive, backup.Exchange} {
		t.Run(string(workload), func(t *testing.T) {
			w := newWorld(t, "ann", "bob")
			nobody := backup.SubjectID("99999999-0000-4000-8000-000000000000")
			p, err := w.catalog.CreatePolicy(w.ctx, w.tenant, catalog.NewPolicy{Workload: workload, DisplayName: "P", Units: []backup.SubjectID{backup.SubjectID(w.users[0].ID), backup.SubjectID(w.users[1].ID), nobody}})
			w.must(err)
			units := func() map[backup.SubjectID]backup.Unit {
				t.Helper()
				all := map[backup.SubjectID]backup.Unit{}
				list, err := w.catalog.Units(w.ctx, w.tenant, catalog.UnitQuery{Policy: p.ID})
				w.must(err)
				for _, u := range list.Items {
					all[u.Subject] = u
				}
				return all
			}
			w.faults.Add(simtenant.Fault{Times: 1, Status: 403, Match: func(r *http.Request) bool { return r.URL.Path == "/v1.0/users" }})
			w.run(jobs.Settle, string(p.ID), w.engine.settle)
			if u := units()[backup.SubjectID(w.users[0].ID)]; u.Status != backup.UnitUnprotected || u.Name != "" {
				t.Errorf("while the directory says nothing, the unit is %+v", u)
			}
			by := backup.Stamp{At: w.engine.Clock()}
			_, _, err = w.catalog.UpdatePolicy(w.ctx, w.tenant, p.ID, catalog.PolicyPatch{Units: []catalog.UnitChange{{Add: "99999999-0000-4000-8000-000000000001"}}, By: by})
			w.must(err)
			w.run(jobs.Settle, string(p.ID), w.engine.settle)
			for i := range 2 {
				if u := units()[backup.SubjectID(w.users[i].ID)]; u.Name == "" || !strings.HasSuffix(u.Address, "@example.com") {
					t.Errorf("the unit of %s is called %q, %q", u.Subject, u.Name, u.Address)
				}
			}
			if u := units()[nobody]; u.Name != "" || u.Status != backup.UnitUnprotected {
				t.Errorf("nobody's unit is %+v", u)
			}
		})
	}
}

// Those that were brought in by id alone are asked for together, however many these are,
// also where some are nobody's; those that the source does not know are not looked for
// through all the policy each time.
func TestAllAreCalledByName(t *testing.T) {
	var owners []string
	for i := range 650 {
		owners = append(owners, fmt.Sprintf("user%d", i))
	}
	w := newWorld(t, owners...)
	w.users = append(w.users, simtenant.User{ID: "00000000-dead-0000-0000-000000000000"})
	policy, _ := w.activateAll()
	asked := w.asked("all")
	units := 0
	for page := (catalog.Page{Limit: 100}); ; {
		list, err := w.catalog.Units(w.ctx, w.tenant, catalog.UnitQuery{Policy: policy.ID, Page: page})
		w.must(err)
		for _, u := range list.Items {
			if units++; u.Name == "" && !strings.Contains(string(u.Subject), "dead") {
				t.Fatalf("%s is not called by name", u.Subject)
			}
		}
		if page.After = list.Next; page.After == "" {
			break
		}
	}
	if units != 651 || asked > 651/5 {
		t.Errorf("%d units were looked up with %d requests", units, asked)
	}
	w.run(jobs.Settle, string(policy.ID), w.engine.settle)
	if again := w.asked("all") - asked; again > 2 {
		t.Errorf("for one that is nobody's it took %d requests", again)
	}
}
