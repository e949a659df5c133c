package catalog_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/jobs"
)

// user is the directory's entry of an owner.
func user(n int) backup.Subject {
	return backup.Subject{ID: owner(n), DisplayName: fmt.Sprint("User ", n),
		Address: fmt.Sprintf("User%d@Contoso.com", n), Mail: fmt.Sprintf("mail%d@contoso.com", n)}
}

// people puts users from to and on into the mirror.
func (w *world) people(from, to int) {
	w.t.Helper()
	var users []backup.Subject
	for n := from; n <= to; n++ {
		users = append(users, user(n))
	}
	ok(w.t, w.ApplyDirectory(w.t.Context(), contoso, catalog.DirectoryChange{Users: users}))
}

// bulk makes a bulk job and its work, and does it.
func (w *world) bulk(p backup.PolicyID, drives, ids []string) backup.BulkJob {
	w.t.Helper()
	b := must[backup.BulkJob](w.t)(w.CreateBulkJob(w.t.Context(), contoso, p, catalog.NewBulkJob{DisplayName: "j", Addresses: drives, IDs: ids, By: w.by()}))
	ok(w.t, w.EnrollBulk(w.t.Context(), w.claim(jobs.BulkAdd)[string(b.ID)], b, nil))
	return must[backup.BulkJob](w.t)(w.BulkJob(w.t.Context(), contoso, p, b.ID))
}

func TestBulkJob(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.people(1, 9)
		p, other := w.policy("p", owner(7)), w.policy("other", owner(8), owner(9))
		w.units("")
		_, _, err := w.UpdatePolicy(ctx, contoso, other.ID, catalog.PolicyPatch{By: w.by(), Units: []catalog.UnitChange{{Remove: w.units("")[owner(9)].ID}}})
		ok(t, err)
		w.settle()
		detached := w.units("")[owner(9)].ID

		drives := []string{"USER1@contoso.COM", "nobody@contoso.com", "user1@contoso.com", "Mail2@contoso.com", "no address", "user8@contoso.com", "user9@contoso.com", "", "x@\x00"}
		ids := []string{strings.ToUpper(string(owner(1))), string(owner(3)), string(owner(99)), "not-an-id", string(owner(7)), string(owner(8)), ""}
		created := must[backup.BulkJob](t)(w.CreateBulkJob(ctx, contoso, p.ID, catalog.NewBulkJob{DisplayName: "drives-I", Addresses: drives, IDs: ids, By: w.by()}))
		if diff := cmp.Diff(created, must[backup.BulkJob](t)(w.BulkJobForWork(ctx, contoso, created.ID))); diff != "" {
			t.Errorf("bulk job (-created +read):\n%s", diff)
		}
		unknown, err := w.UnresolvedBulk(ctx, created)
		ok(t, err)
		if diff := cmp.Diff([]string{"nobody@contoso.com", string(owner(99))}, unknown); diff != "" {
			t.Errorf("unresolved (-want +got):\n%s", diff)
		}
		j := w.claim(jobs.BulkAdd)[string(created.ID)]
		w.pass(time.Second)
		ok(t, w.EnrollBulk(ctx, j, created, nil))
		ok(t, w.EnrollBulk(ctx, j, created, nil)) // again, as after a crash before the job was done

		got := must[backup.BulkJob](t)(w.BulkJob(ctx, contoso, p.ID, created.ID))
		if got.Status != backup.BulkJobCompletedWithErrors || !cmp.Equal(got.Addresses, drives) || !cmp.Equal(got.IDs, ids) {
			t.Errorf("bulk job = %+v", got)
		}
		if got.Problem == nil || got.Problem.Code != backup.ProtectionResourcesNotFound || got.Problem.Message == "" {
			t.Fatalf("problem = %+v", got.Problem)
		}
		var details []string
		for _, d := range got.Problem.Details {
			if d.Message == "" {
				t.Errorf("detail without a message: %+v", d)
			}
			details = append(details, string(d.Code)+" "+d.Target)
		}
		if diff := cmp.Diff([]string{
			"EmailNotFound nobody@contoso.com",
			"EmailNotFound no address",
			"ProtectionUnitAlreadyExists user8@contoso.com",
			"EmailNotFound ",
			"EmailNotFound x@\x00",
			"DirectoryObjectNotFound " + string(owner(99)),
			"DirectoryObjectNotFound not-an-id",
			"ProtectionUnitAlreadyExists " + string(owner(8)),
			"DirectoryObjectNotFound ",
		}, details); diff != "" {
			t.Errorf("details (-want +got):\n%s", diff)
		}
		units := w.units(p.ID)
		if len(units) != 5 { // 1, 2, 3, 7 and 9
			t.Errorf("the policy has %d units, want 5: %v", len(units), units)
		}
		if u := units[owner(9)]; u.ID != detached {
			t.Errorf("a detached owner got unit %q, want its own, %s", u.ID, detached)
		}
		u := units[owner(2)]
		if u.Status != backup.UnitUnprotected || u.Sources != backup.SourceManual || u.Name != "User 2" || u.Address != "mail2@contoso.com" {
			t.Errorf("unit = %+v", u)
		}

		// In a policy in force they are to be protected, each with its job.
		must[backup.Policy](t)(w.ActivatePolicy(ctx, contoso, p.ID, w.by()))
		w.backUp()
		w.people(10, 12)
		if got := w.bulk(p.ID, []string{"user10@contoso.com", "user1@contoso.com"}, []string{string(owner(11))}); got.Status != backup.BulkJobCompleted || got.Problem != nil {
			t.Errorf("bulk job = %+v, want completed", got)
		}
		units = w.units(p.ID)
		work := w.claim(jobs.Backup)
		for _, o := range []backup.SubjectID{owner(10), owner(11)} {
			if u := units[o]; u.Status != backup.UnitProtectRequested || work[string(u.ID)] == nil {
				t.Errorf("owner %s = %s, job %v", o, u.Status, work[string(u.ID)])
			}
		}
		if u := units[owner(1)]; u.Status != backup.UnitProtected {
			t.Errorf("a unit that was in the policy is %s, want protected as before", u.Status)
		}

		// Listings leave the lists out; a job of another policy is unknown.
		l := must[catalog.List[backup.BulkJob]](t)(w.BulkJobs(ctx, contoso, p.ID, backup.ToProtect, catalog.Page{Limit: 1}))
		if len(l.Items) != 1 || l.Items[0].ID != created.ID || l.Items[0].Addresses != nil || l.Items[0].Problem == nil || l.Next == "" {
			t.Errorf("bulk jobs = %+v", l)
		}
		_, err = w.BulkJob(ctx, contoso, other.ID, created.ID)
		fails(t, "bulk job of another policy", err, backup.ItemNotFound)

		// They go with their policy, also while at work.
		b := must[backup.BulkJob](t)(w.CreateBulkJob(ctx, contoso, p.ID, catalog.NewBulkJob{Addresses: []string{"user12@contoso.com"}, By: w.by()}))
		j = w.claim(jobs.BulkAdd)[string(b.ID)]
		w.free()
		w.backUp()
		must[backup.Policy](t)(w.DeactivatePolicy(ctx, contoso, p.ID, w.by()))
		w.settle()
		ok(t, w.DeletePolicy(ctx, contoso, p.ID))
		fails(t, "work of a deleted policy's bulk job", w.EnrollBulk(ctx, j, b, nil), jobs.ErrLost)
		if len(w.claim(jobs.BulkAdd)) != 0 || len(w.units("")) != 8 {
			t.Errorf("after deletion: units %v", w.units(""))
		}
	})
}

// A worker is killed after each transaction of a job of three; each time
// another goes on from there.
func TestBulkJobResumes(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		const batch = 50
		const n = 2*batch + 1
		w.SetBatch(batch)
		w.people(1, n)
		p := w.policy("p")
		var drives []string
		for i := range n {
			drives = append(drives, fmt.Sprintf("user%d@contoso.com", i+1))
		}
		b := must[backup.BulkJob](t)(w.CreateBulkJob(ctx, contoso, p.ID, catalog.NewBulkJob{Addresses: drives, IDs: []string{string(owner(1))}, By: w.by()}))
		for _, want := range []int{batch, 2 * batch} {
			j := w.claim(jobs.BulkAdd)[string(b.ID)]
			dying, kill := context.WithCancel(ctx)
			batches := 0
			w.tick = func() { // asked once in each transaction
				if batches++; batches == 2 {
					kill()
				}
			}
			fails(t, "a killed worker", w.EnrollBulk(dying, j, b, nil), context.Canceled)
			w.tick = nil
			if got := w.count(`SELECT count(*) FROM unit`); got != want {
				t.Fatalf("%d units after the worker was killed, want %d", got, want)
			}
			w.free()
			fails(t, "the dead worker's next transaction", w.EnrollBulk(ctx, j, b, nil), jobs.ErrLost)
		}
		// What was acknowledged meanwhile stays so.
		_, _, err := w.UpdatePolicy(ctx, contoso, p.ID, catalog.PolicyPatch{By: w.by(), Units: []catalog.UnitChange{{Remove: w.units(p.ID)[owner(2)].ID}}})
		ok(t, err)
		w.settle()
		ok(t, w.EnrollBulk(ctx, w.claim(jobs.BulkAdd)[string(b.ID)], b, nil))
		got := must[backup.BulkJob](t)(w.BulkJob(ctx, contoso, p.ID, b.ID))
		if got.Status != backup.BulkJobCompleted || got.Problem != nil {
			t.Errorf("bulk job is %s, %+v; want completed", got.Status, got.Problem)
		}
		if got := len(w.units(p.ID)); got != n-1 {
			t.Errorf("the policy has %d units, want %d: one was removed meanwhile", got, n-1)
		}
	})
}

func (w *world) count(query string, args ...any) (n int) {
	w.t.Helper()
	ok(w.t, w.db.Read().QueryRowContext(w.t.Context(), query, args...).Scan(&n))
	return n
}
