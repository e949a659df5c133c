package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/jobs"
)

// person is somebody at work now, by an application.
func (w *world) person(id, app string) backup.Stamp {
	return backup.Stamp{At: w.clock(), By: backup.IdentitySet{Application: backup.Identity{ID: app}, User: backup.Identity{ID: id, Email: id + "@contoso.com"}}}
}

// approving is each in a world whose tenant lets nobody do alone what rule says.
func approving(t *testing.T, rule *backup.ApprovalRule, fn func(t *testing.T, w *world)) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w := newWorld(t, db, 0)
		w.Catalog = catalog.New(db, w.queue, catalog.Config{Clock: w.clock, Approval: func(backup.TenantID) backup.ApprovalRule { return *rule }})
		fn(t, w)
	})
}

// pointOf makes a point of a unit of a workload.
func (w *world) pointOf(kind backup.Workload, subject backup.SubjectID) backup.Point {
	w.t.Helper()
	p := must[backup.Policy](w.t)(w.CreatePolicy(w.t.Context(), contoso, catalog.NewPolicy{Workload: kind, DisplayName: "p", Units: []backup.SubjectID{subject}, By: w.by()}))
	must[backup.Policy](w.t)(w.ActivatePolicy(w.t.Context(), contoso, p.ID, w.by()))
	return w.backUp()[w.units(p.ID)[subject].ID]
}

// working are how many jobs of restores there are.
func (w *world) working() int {
	return w.count(`SELECT count(*) FROM job WHERE kind IN ('restore', 'restoreItem', 'bulkRestore')`)
}

func (w *world) waiting(s backup.SessionID) backup.Approval {
	w.t.Helper()
	v := must[backup.Session](w.t)(w.Session(w.t.Context(), contoso, s))
	if v.Approval == nil {
		w.t.Fatalf("no approval of %+v", v)
	}
	return must[backup.Approval](w.t)(w.Approval(w.t.Context(), contoso, v.Approval.ID))
}

// Sessions of each kind: those that change what is there wait, where that is the rule,
// and begin with the approval; all others begin at once, and so do all without the rule.
func TestApprovalOfEveryKindOfSession(t *testing.T) {
	rule := backup.ApprovalRule{}
	approving(t, &rule, func(t *testing.T, w *world) {
		ctx := t.Context()
		points := map[backup.Workload]backup.Point{}
		for _, kind := range []backup.Workload{backup.OneDrive, backup.SharePoint, backup.Exchange} {
			points[kind] = w.pointOf(kind, owner(1))
		}
		session := func(kind backup.Workload, job backup.RestoreJobType, n catalog.NewArtifact) func() backup.SessionID {
			return func() backup.SessionID {
				n.Point = points[kind].ID
				if n.Query != "" {
					n.Unit = points[kind].Unit
				}
				return must[backup.Session](t)(w.CreateSession(ctx, contoso, kind, job, []catalog.NewArtifact{n}, w.person("asker", "app"))).ID
			}
		}
		bulk := func(kind backup.Workload, to backup.Destination) func() backup.SessionID {
			return func() backup.SessionID {
				s := must[backup.Session](t)(w.CreateSession(ctx, contoso, kind, backup.RestoreStandard, nil, w.person("asker", "app")))
				must[backup.BulkRequest](t)(w.CreateBulkRestore(ctx, contoso, backup.BulkRequest{Session: s.ID, DisplayName: "B", IDs: []string{string(owner(1))}, Destination: to}, w.person("asker", "app")))
				return s.ID
			}
		}
		const inPlace, anew = backup.DestinationInPlace, backup.DestinationNew
		kinds := map[string]struct {
			make  func() backup.SessionID
			waits bool
		}{
			"what was searched for, in place": {session(backup.Exchange, backup.RestoreGranular, catalog.NewArtifact{Destination: inPlace, Query: "Subject -like 'a'", Search: "s"}), true},
			"what was searched for, anew":     {session(backup.Exchange, backup.RestoreGranular, catalog.NewArtifact{Destination: anew, Query: "Subject -like 'b'", Search: "s"}), false},
			"into another's mailbox":          {session(backup.Exchange, backup.RestoreStandard, catalog.NewArtifact{Destination: anew, Target: "conrad@contoso.com"}), false},
			"into another's drive":            {session(backup.OneDrive, backup.RestoreStandard, catalog.NewArtifact{Destination: anew, Target: "conrad@contoso.com"}), false},
			"with permissions, in place":      {session(backup.SharePoint, backup.RestoreStandard, catalog.NewArtifact{Destination: inPlace, Permissions: true}), true},
			"files and folders": {func() backup.SessionID {
				b := must[backup.BrowseSession](t)(w.CreateBrowseSession(ctx, contoso, backup.OneDrive, points[backup.OneDrive].ID, w.by()))
				return must[backup.Session](t)(w.CreateGranularSession(ctx, contoso, backup.OneDrive, []catalog.NewGranular{{Browse: b, Key: "k", Item: backup.Item{ID: "i", Name: "n"}}}, w.by())).ID
			}, false},
		}
		for kind := range points {
			for _, to := range []backup.Destination{inPlace, anew} {
				add := func(what string, make func() backup.SessionID) {
					kinds[fmt.Sprint(what, " of ", kind, ", ", to)] = struct {
						make  func() backup.SessionID
						waits bool
					}{make, to == inPlace}
				}
				add("all", session(kind, backup.RestoreStandard, catalog.NewArtifact{Destination: to}))
				add("bulk", bulk(kind, to))
			}
		}
		for name, kind := range kinds {
			for _, rule.RestoreInPlace = range []bool{false, true} {
				before, waits := w.working(), kind.waits && rule.RestoreInPlace
				id := kind.make()
				s := must[backup.Session](t)(w.ActivateSession(ctx, contoso, id, w.person("asker", "app")))
				if s.Status != backup.SessionActivating || s.Waits() != waits || (w.working() == before) != waits {
					t.Errorf("%s, with the rule %t: %+v, %d jobs", name, rule.RestoreInPlace, s, w.working()-before)
				}
				if !waits {
					if s.Approval != nil {
						t.Errorf("%s has an approval: %+v", name, s.Approval)
					}
					continue
				}
				// Nothing that may be asked of it meanwhile begins it.
				for _, ask := range []func(context.Context, backup.TenantID, backup.SessionID, backup.Stamp) (backup.Session, error){w.PauseSession, w.ResumeSession} {
					must[backup.Session](t)(ask(ctx, contoso, id, w.person("asker", "app")))
				}
				fails(t, "activated again", second(w.ActivateSession(ctx, contoso, id, w.person("boss", "app"))), backup.RestoreSessionActionNotAllowed)
				_, _, err := w.PatchSession(ctx, contoso, id, s.JobType, nil, w.person("asker", "app"))
				fails(t, "changed while it waits", err, backup.RestoreSessionActionNotAllowed)
				if w.working() != before {
					t.Fatalf("%s began without an approval", name)
				}
				if a := w.waiting(id); !strings.HasPrefix(a.What, "Restore in place") || a.Asked.By.User.ID != "asker" || !a.Expires.Equal(a.Asked.At.Add(backup.ApprovalLife)) {
					t.Errorf("%s: %+v", name, a)
				}
				must[backup.Approval](t)(w.Approve(ctx, contoso, w.waiting(id).ID, "", w.person("boss", "app")))
				if s := must[backup.Session](t)(w.Session(ctx, contoso, id)); w.working() != before+1 || s.Waits() || s.Approval.State != backup.ApprovalApproved {
					t.Errorf("%s, approved: %+v, %d jobs", name, s, w.working()-before)
				}
			}
			exec(t, w.db, `UPDATE restore_session SET status = 'completed' WHERE status = 'activating'`) // no more may be at work than so many
		}
	})
}

// Who may approve what a session restores, and what becomes of one that is not.
func TestWhoApproves(t *testing.T) {
	rule := backup.ApprovalRule{RestoreInPlace: true, Expires: time.Hour}
	approving(t, &rule, func(t *testing.T, w *world) {
		ctx := t.Context()
		points := w.points(3)
		ask := func(maker, asker backup.Stamp) backup.Approval {
			t.Helper()
			s := must[backup.Session](t)(w.CreateSession(ctx, contoso, backup.OneDrive, backup.RestoreStandard, []catalog.NewArtifact{{Point: points[0].ID, Destination: backup.DestinationInPlace}}, maker))
			must[backup.Session](t)(w.ActivateSession(ctx, contoso, s.ID, asker))
			return w.waiting(s.ID)
		}
		app := w.by // without a person
		a := ask(w.person("maker", "app"), w.person("asker", "app"))
		for name, row := range map[string]struct {
			tenant backup.TenantID
			by     backup.Stamp
			want   backup.Code
		}{
			"who asked":                  {contoso, w.person("asker", "app"), backup.AccessDenied},
			"the same by another app":    {contoso, w.person("ASKER", "another"), backup.AccessDenied},
			"who made it":                {contoso, w.person("maker", "app"), backup.AccessDenied},
			"an application":             {contoso, app(), backup.AuthorizationDenied},
			"somebody of another tenant": {fabrikam, w.person("boss", "app"), backup.ItemNotFound},
		} {
			fails(t, name, second(w.Approve(ctx, row.tenant, a.ID, "", row.by)), row.want)
		}
		scope := catalog.WithScope(ctx, &catalog.Scope{Owners: []string{string(owner(2))}, Caller: "boss"})
		fails(t, "who is limited to others", second(w.Approve(scope, contoso, a.ID, "", w.person("boss", "app"))), backup.ItemNotFound)
		if n := len(must[catalog.List[backup.Approval]](t)(w.Approvals(scope, contoso, catalog.Page{})).Items); n != 0 {
			t.Errorf("%d are shown to who is limited to others", n)
		}
		if w.working() != 0 {
			t.Fatal("it began")
		}
		scope = catalog.WithScope(ctx, &catalog.Scope{Owners: []string{string(owner(1))}, Caller: "boss"})
		if n := len(must[catalog.List[backup.Approval]](t)(w.Approvals(scope, contoso, catalog.Page{})).Items); n != 1 {
			t.Errorf("%d are shown to who is limited to its owner", n)
		}
		must[backup.Approval](t)(w.Approve(scope, contoso, a.ID, "fine", w.person("boss", "app")))
		w.pass(2 * time.Hour)
		again := must[backup.Approval](t)(w.Approve(ctx, contoso, a.ID, "again", w.person("boss", "another")))
		if again.State != backup.ApprovalApproved || again.Comment != "fine" || w.working() != 1 {
			t.Errorf("approved again: %+v, %d jobs", again, w.working())
		}
		fails(t, "denied when it was approved", second(w.Deny(ctx, contoso, a.ID, "", w.person("boss", "app"))), backup.ApprovalNotWaiting)
		fails(t, "approved by another when it was", second(w.Approve(ctx, contoso, a.ID, "", w.person("third", "app"))), backup.ApprovalNotWaiting)

		// What was asked for by an application is for any person.
		a = ask(app(), app())
		must[backup.Approval](t)(w.Approve(ctx, contoso, a.ID, "", w.person("asker", "app")))

		// It ends, and says why.
		ended := func(what string, a backup.Approval, state backup.ApprovalState, code backup.Code, says string) {
			t.Helper()
			s := must[backup.Session](t)(w.Session(ctx, contoso, backup.SessionID(a.Object)))
			of := w.artifacts(s.ID)[0]
			if s.Status != backup.SessionFailed || s.Counts.Failed != 1 || s.Completed.IsZero() || s.Problem == nil || s.Problem.Code != code || !strings.Contains(s.Problem.Message, says) ||
				of.Status != backup.ArtifactFailed || of.Problem.Message != s.Problem.Message || s.Approval.State != state || w.working() != 2 {
				t.Errorf("%s: %+v, %+v, %+v", what, s, s.Problem, of)
			}
		}
		a = ask(app(), app())
		must[backup.Approval](t)(w.Deny(ctx, contoso, a.ID, "not today", w.person("boss", "app")))
		ended("denied", a, backup.ApprovalDenied, backup.RestoreNotApproved, "denied by boss@contoso.com, who says: not today")
		a = ask(app(), w.person("asker", "app"))
		must[backup.Session](t)(w.CancelSession(ctx, contoso, backup.SessionID(a.Object), w.person("asker", "app")))
		ended("cancelled", a, backup.ApprovalWithdrawn, backup.RestoreCancelled, "cancelled while it waited")
		fails(t, "approved when it was cancelled", second(w.Approve(ctx, contoso, a.ID, "", w.person("boss", "app"))), backup.ApprovalNotWaiting)

		// Past its time, whoever comes first: who would approve it, or the job, which may be
		// killed and done again.
		a = ask(app(), app())
		w.pass(time.Hour)
		fails(t, "approved too late", second(w.Approve(ctx, contoso, a.ID, "", w.person("boss", "app"))), backup.ApprovalNotWaiting)
		ended("past its time", a, backup.ApprovalExpired, backup.RestoreNotApproved, "Nobody approved")
		a = ask(app(), app())
		if _, early := w.claim(jobs.Approval)[string(a.ID)]; early {
			t.Error("its job is due at once")
		}
		w.free()
		w.pass(time.Hour)
		for range 2 {
			if next, err := w.ExpireApproval(ctx, w.claim(jobs.Approval)[string(a.ID)]); err != nil || !next.IsZero() {
				t.Errorf("expired, %v, %v", next, err)
			}
			w.free()
		}
		ended("past its time", a, backup.ApprovalExpired, backup.RestoreNotApproved, "Nobody approved")

		// What has changed, however that came about, is not what was asked for.
		for what, change := range map[string]string{
			"another point":       `UPDATE restore_artifact SET point = '` + string(points[1].ID) + `' WHERE session = $1`,
			"another destination": `UPDATE restore_artifact SET target = 'x' WHERE session = $1`,
		} {
			a = ask(app(), app())
			exec(t, w.db, change, a.Object)
			fails(t, what, second(w.Approve(ctx, contoso, a.ID, "", w.person("boss", "app"))), backup.ApprovalNotWaiting)
			ended(what, a, backup.ApprovalVoided, backup.RestoreNotApproved, "is not as it was")
		}

		log := map[string]int{}
		for _, a := range w.activities() {
			log[a.Operation]++
		}
		if log[backup.ApprovalAskedActivity] != 8 || log[backup.ApprovalExpiredActivity] != 2 || log[backup.ApprovalWithdrawnActivity] != 1 || log[backup.ApprovalVoidedActivity] != 2 {
			t.Errorf("log = %v", log)
		}
	})
}

// Of several who decide at once one is the first, and what is begun is begun once.
func TestApproversAtOnce(t *testing.T) {
	rule := backup.ApprovalRule{RestoreInPlace: true}
	approving(t, &rule, func(t *testing.T, w *world) {
		s := w.session(w.points(3)...)
		must[backup.Session](t)(w.ActivateSession(t.Context(), contoso, s.ID, w.by()))
		a := w.waiting(s.ID)
		won := 0
		for i, err := range together(6, func(i int) error {
			decide := []func(context.Context, backup.TenantID, backup.ApprovalID, string, backup.Stamp) (backup.Approval, error){w.Approve, w.Deny}[i%2]
			return second(decide(t.Context(), contoso, a.ID, "", w.person(fmt.Sprint("boss", i), "app")))
		}) {
			switch {
			case err == nil:
				won++
			case !errors.Is(err, backup.ApprovalNotWaiting):
				t.Errorf("%d: %v", i, err)
			}
		}
		a = must[backup.Approval](t)(w.Approval(t.Context(), contoso, a.ID))
		want := map[backup.ApprovalState]int{backup.ApprovalApproved: 3, backup.ApprovalDenied: 0}[a.State]
		if won != 1 || w.working() != want {
			t.Errorf("%d won, %+v, %d jobs", won, a, w.working())
		}
	})
}

// Killed at any statement, a session waits or does not, and is begun or is not, with all of
// its jobs or none.
func TestAnApprovalIsWholeOrNot(t *testing.T) {
	rule := backup.ApprovalRule{RestoreInPlace: true}
	approving(t, &rule, func(t *testing.T, w *world) {
		s := w.session(w.points(3)...)
		killed := func(do func(context.Context) error, as func() string) {
			t.Helper()
			before := as()
			for n := 1; ; n++ {
				ctx, kill := context.WithCancel(t.Context())
				seen := 0
				err := do(database.Observe(ctx, func(string, []any) {
					if seen++; seen == n {
						kill()
					}
				}))
				kill()
				if err == nil {
					if n < 5 {
						t.Errorf("it was not killed at %d statements", n)
					}
					return
				}
				if now := as(); now != before {
					t.Fatalf("killed at statement %d: %s, %v", n, now, err)
				}
			}
		}
		as := func() string {
			v := must[backup.Session](t)(w.Session(t.Context(), contoso, s.ID))
			return fmt.Sprint(v.Status, v.Approval, w.working(), w.count(`SELECT count(*) FROM job WHERE kind = 'approval'`), w.count(`SELECT count(*) FROM audit`))
		}
		killed(func(ctx context.Context) error { return second(w.ActivateSession(ctx, contoso, s.ID, w.by())) }, as)
		a := w.waiting(s.ID)
		if w.working() != 0 {
			t.Errorf("%d jobs of what waits", w.working())
		}
		killed(func(ctx context.Context) error {
			return second(w.Approve(ctx, contoso, a.ID, "", w.person("boss", "app")))
		}, func() string { a := w.waiting(s.ID); return fmt.Sprint(a, w.working()) })
		if a := w.waiting(s.ID); a.State != backup.ApprovalApproved || w.working() != 3 {
			t.Errorf("%+v, %d jobs", a, w.working())
		}
	})
}

// More sessions may wait than may be at work, and those that wait keep nobody from it.
func TestWhatWaitsIsNotAtWork(t *testing.T) {
	rule := backup.ApprovalRule{RestoreInPlace: true}
	approving(t, &rule, func(t *testing.T, w *world) {
		ctx, points := t.Context(), w.points(1)
		for range backup.MaxActiveSessions {
			must[backup.Session](t)(w.ActivateSession(ctx, contoso, w.session(points...).ID, w.by()))
		}
		var last backup.SessionID
		for range backup.MaxActiveSessions {
			rule.RestoreInPlace = false
			last = w.session(points...).ID
			must[backup.Session](t)(w.ActivateSession(ctx, contoso, last, w.by()))
		}
		rule.RestoreInPlace = true
		all := must[catalog.List[backup.Approval]](t)(w.Approvals(ctx, contoso, catalog.Page{Limit: 10, Count: true}))
		if all.Total != backup.MaxActiveSessions || len(all.Items) != 10 || !slices.IsSortedFunc(all.Items, func(a, b backup.Approval) int { return b.Asked.At.Compare(a.Asked.At) }) {
			t.Errorf("%d of %d are shown", len(all.Items), all.Total)
		}
		a := all.Items[0]
		fails(t, "approved while as many are at work as may be", second(w.Approve(ctx, contoso, a.ID, "", w.person("boss", "app"))), backup.TooManyActiveRestoreSessions)
		exec(t, w.db, `UPDATE restore_session SET status = 'completed' WHERE id = $1`, string(last))
		must[backup.Approval](t)(w.Approve(ctx, contoso, a.ID, "", w.person("boss", "app")))
	})
}

// What makes backups go earlier waits for an approval, and then as long as without; and
// what was changed meanwhile is asked for again.
func TestApprovalOfRetention(t *testing.T) {
	rule := backup.ApprovalRule{Retention: true}
	approving(t, &rule, func(t *testing.T, w *world) {
		rule.Retention = true
		ctx := t.Context()
		u := w.protect(owner(1))
		p := u.Policy
		boss := func() backup.Stamp { return w.person("boss", "app") }
		kept := func() catalog.Retention {
			t.Helper()
			all := must[[]catalog.Retention](t)(w.Retentions(ctx, contoso))
			return all[slices.IndexFunc(all, func(r catalog.Retention) bool { return r.Policy == p })]
		}
		if r := w.retain(p, "PT10M", "P5W", "P1W", "P2Y"); r.Approval != nil || r.Waits {
			t.Errorf("longer: %+v", r)
		}
		r := w.retain(p, "PT10M", "P1W")
		if r.Approval == nil || r.Pending != nil || kept().Pending != nil || !strings.Contains(r.Approval.What, "R/PT10M for P1W") || !strings.Contains(r.Approval.What, "R/PT10M for P5W") {
			t.Errorf("shorter: %+v", r)
		}
		if same := w.retain(p, "PT10M", "P1W"); same.Approval == nil || same.Approval.ID != r.Approval.ID {
			t.Errorf("asked again: %+v", same.Approval)
		}
		other := w.retain(p, "PT10M", "P3W") // in its place
		fails(t, "what another took the place of", second(w.Approve(ctx, contoso, r.Approval.ID, "", boss())), backup.ApprovalNotWaiting)
		w.pass(time.Hour)
		must[backup.Approval](t)(w.Approve(ctx, contoso, other.Approval.ID, "", boss()))
		if k := kept(); k.Pending == nil || k.Pending.String() != "R/PT10M for P3W" || !k.Effective.Equal(w.clock().Add(week)) || k.Kept.String() == k.Pending.String() {
			t.Errorf("approved: %+v", k)
		}
		if r := w.retain(p, "PT10M", "P4W"); r.Approval != nil || r.Pending == nil {
			t.Errorf("longer than what was approved: %+v", r)
		}
		soon := must[catalog.RetentionChange](t)(w.ChangeRetention(ctx, contoso, p, aDay, func(r *backup.Retention) {}, w.by()))
		if soon.Approval != nil || !soon.Effective.Equal(w.clock().Add(week)) {
			t.Errorf("sooner than was approved: %+v", soon)
		}
		r = w.retain(p, "PT10M", "P1D")
		if r.Approval == nil || r.Pending == nil || r.Pending.String() != "R/PT10M for P4W" {
			t.Errorf("shorter than what was approved: %+v", r)
		}
		// A change takes its place, and does not bring along what nobody has approved.
		if r := w.hold(p, true); r.Approval != nil || r.Kept.String() != "R/PT10M for P4W, and everything under a legal hold" {
			t.Errorf("a hold: %+v", r)
		}
		if r := w.hold(p, false); r.Approval == nil {
			t.Errorf("the end of a hold: %+v", r)
		}
		must[catalog.Retention](t)(w.CancelRetention(ctx, contoso, p, w.by()))
		if _, err := w.CancelRetention(ctx, contoso, p, w.by()); !errors.Is(err, catalog.ErrNothingWaits) {
			t.Errorf("called off twice: %v", err)
		}
		r = w.hold(p, false)
		exec(t, w.db, `UPDATE retention SET kept = '{}' WHERE policy = $1`, string(p))
		fails(t, "of what is otherwise now", second(w.Approve(ctx, contoso, r.Approval.ID, "", boss())), backup.ApprovalNotWaiting)

		// An offboarding.
		exec(t, w.db, `UPDATE unit SET policy = '', sources = 0, status = 'unprotected' WHERE id = $1`, string(u.ID))
		ask := func() *backup.Approval {
			t.Helper()
			got := must[backup.Unit](t)(w.OffboardUnit(ctx, contoso, u.ID, w.person("asker", "app")))
			if got.Status != backup.UnitUnprotected || got.Approval == nil {
				t.Fatalf("an offboarding waits: %+v", got)
			}
			return got.Approval
		}
		a := ask()
		if again := ask(); again.ID != a.ID {
			t.Errorf("asked again: %+v", again)
		}
		fails(t, "who asked", second(w.Approve(ctx, contoso, a.ID, "", w.person("asker", "other"))), backup.AccessDenied)
		if got := must[backup.Unit](t)(w.CancelOffboardUnit(ctx, contoso, u.ID, w.person("asker", "app"))); got.Status != backup.UnitUnprotected || got.Approval != nil {
			t.Errorf("called off: %+v", got)
		}
		fails(t, "called off again", second(w.CancelOffboardUnit(ctx, contoso, u.ID, w.by())), backup.OperationNotAllowed)
		a = ask()
		exec(t, w.db, `UPDATE unit SET modified = modified + 1 WHERE id = $1`, string(u.ID))
		fails(t, "of a unit that is otherwise now", second(w.Approve(ctx, contoso, a.ID, "", boss())), backup.ApprovalNotWaiting)
		must[backup.Approval](t)(w.Approve(ctx, contoso, ask().ID, "", boss()))
		if got := must[backup.Unit](t)(w.Unit(ctx, contoso, u.ID)); got.Status != backup.UnitOffboardRequested || !got.OffboardRequested.Equal(w.clock()) || got.Modified.By.User.ID != "asker" {
			t.Errorf("approved: %+v", got)
		}
		rule.Retention = false
		must[backup.Unit](t)(w.CancelOffboardUnit(ctx, contoso, u.ID, w.by()))
	})
}

// Approvals are found by an index, and what is to be approved costs one that asks for none
// nothing.
func TestApprovalsReadAnIndex(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w := newWorld(t, db, 0)
		many(w.t, w.db, 20_000, `INSERT INTO approval (id, tenant, kind, object, session, what, request, hash, actors, asked, asked_by, expires, state, decided)`,
			`SELECT `+sqlID("a")+`, '`+string(contoso)+`', 'restoreInPlace', `+sqlID("b")+`, `+sqlID("b")+`, 'w', '{}', 'h', '[]', n.i, '{}', n.i,
				CASE WHEN n.i % 1000 = 1 THEN 'waiting' ELSE 'approved' END, CASE WHEN n.i % 1000 = 1 THEN 0 ELSE 1 END FROM n`)
		for _, filter := range []string{"", "state eq 'waiting'", "id eq '" + manyID("a", 7) + "'"} {
			page := pageOf(t, filter, "", catalog.ApprovalProperties)
			checkPlans(t, db, "approvals, "+filter, func(ctx context.Context) error { _, err := w.Approvals(ctx, contoso, page); return err }, 1)
		}
		checkPlans(t, db, "an approval", func(ctx context.Context) error {
			_, err := w.Approval(ctx, contoso, backup.ApprovalID(manyID("a", 7)))
			return err
		}, 1)
		checkPlans(t, db, "what waits", func(ctx context.Context) error {
			_, err := w.ApprovalsWaiting(ctx, contoso, backup.ApprovalRetention, 5)
			return err
		}, 1)
		checkPlans(t, db, "alerts", func(ctx context.Context) error {
			found, err := w.Conditions(ctx, contoso, catalog.AlertTimes{}, nil)
			if len(found) != 1 || found[0].Kind != backup.AlertApprovalWaits || found[0].Count != 20 || len(found[0].Examples) != 5 {
				t.Errorf("conditions = %+v", found)
			}
			return err
		}, 1)
	})
}
