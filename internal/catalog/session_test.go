package catalog_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

func enqueue(w *world, specs ...jobs.Spec) error {
	return w.db.Tx(w.t.Context(), func(tx *database.Tx) error { return w.queue.Enqueue(w.t.Context(), tx, specs...) })
}

// points makes n units with one point each.
func (w *world) points(n int) []backup.Point {
	w.t.Helper()
	var owners []backup.SubjectID
	for i := range n {
		owners = append(owners, owner(i+1))
	}
	p := w.policy("p", owners...)
	must[backup.Policy](w.t)(w.ActivatePolicy(w.t.Context(), contoso, p.ID, w.by()))
	byUnit, units := w.backUp(), w.units(p.ID)
	var points []backup.Point
	for _, o := range owners {
		points = append(points, byUnit[units[o].ID])
	}
	return points
}

func (w *world) session(points ...backup.Point) backup.Session {
	w.t.Helper()
	var artifacts []catalog.NewArtifact
	for _, p := range points {
		artifacts = append(artifacts, catalog.NewArtifact{Point: p.ID, Destination: backup.DestinationInPlace})
	}
	return must[backup.Session](w.t)(w.CreateSession(w.t.Context(), contoso, backup.OneDrive, backup.RestoreStandard, artifacts, w.by()))
}

func (w *world) artifacts(s backup.SessionID) []backup.Artifact {
	w.t.Helper()
	return must[catalog.List[backup.Artifact]](w.t)(w.Artifacts(w.t.Context(), contoso, s, catalog.Page{})).Items
}

func TestSession(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		points := w.points(3)
		s := w.session(points...)
		if want := (backup.ArtifactCounts{Total: 3}); s.Status != backup.SessionDraft || s.Counts != want {
			t.Errorf("a new session = %+v", s)
		}
		if diff := cmp.Diff(s, must[backup.Session](t)(w.Session(ctx, contoso, s.ID))); diff != "" {
			t.Errorf("session (-created +read):\n%s", diff)
		}
		artifacts := w.artifacts(s.ID)
		for i, a := range artifacts {
			want := backup.Artifact{ID: a.ID, Session: s.ID, Tenant: contoso, Point: points[i], Destination: backup.DestinationInPlace,
				Status: backup.ArtifactAdded, Created: s.Created.At.Add(time.Duration(i) * time.Microsecond)}
			if diff := cmp.Diff(want, a); diff != "" {
				t.Errorf("artifact %d (-want +got):\n%s", i, diff)
			}
			if one := must[backup.Artifact](t)(w.Artifact(ctx, contoso, s.ID, a.ID)); !cmp.Equal(one, a) {
				t.Errorf("artifact %d alone = %+v", i, one)
			}
		}
		w.pass(time.Second)
		active := must[backup.Session](t)(w.ActivateSession(ctx, contoso, s.ID, w.by()))
		if want := (backup.ArtifactCounts{Total: 3, InProgress: 3}); active.Status != backup.SessionActivating || active.Counts != want {
			t.Errorf("activated session = %+v", active)
		}
		for name, err := range map[string]error{
			"activate": second(w.ActivateSession(ctx, contoso, s.ID, w.by())),
			"delete":   w.DeleteSession(ctx, contoso, s.ID),
			"patch": func() error {
				_, _, err := w.PatchSession(ctx, contoso, s.ID, backup.RestoreStandard, []catalog.ArtifactChange{{Remove: artifacts[0].ID}}, w.by())
				return err
			}(),
		} {
			fails(t, name+" of a session at work", err, backup.RestoreSessionActionNotAllowed)
		}

		work := w.claim(jobs.Restore)
		begun := w.clock()
		for range 2 { // the second time as after a crash
			ok(t, w.StartArtifact(ctx, work[string(artifacts[0].ID)], artifacts[0].ID))
			w.pass(time.Second)
		}
		ok(t, w.NoteArtifact(ctx, work[string(artifacts[0].ID)], artifacts[0].ID, catalog.Restored{SiteName: "noted"}))
		if a := w.artifacts(s.ID)[0]; a.RestoredSiteName != "noted" || a.Status != backup.ArtifactInProgress || !a.Started.Equal(begun) {
			t.Errorf("started artifact = %+v", a)
		}
		if got := must[backup.Session](t)(w.Session(ctx, contoso, s.ID)); got.Status != backup.SessionActive || !got.Completed.IsZero() {
			t.Errorf("session with a started artifact = %+v", got)
		}
		ok(t, w.FinishArtifact(ctx, work[string(artifacts[0].ID)], artifacts[0].ID, catalog.Restored{SiteID: "id", SiteName: "n", SiteWebURL: "u"}, nil))
		ok(t, w.FinishArtifact(ctx, work[string(artifacts[0].ID)], artifacts[0].ID, catalog.Restored{}, &backup.Problem{Code: backup.UnknownError}))
		if a := w.artifacts(s.ID)[0]; a.Status != backup.ArtifactSucceeded || a.Problem != nil || a.Completed.IsZero() || a.RestoredSiteID+a.RestoredSiteName+a.RestoredSiteWebURL != "idnu" {
			t.Errorf("finished artifact = %+v", a)
		}

		// The last two end at once; one fails, and one has remarks, which are no
		// failure.
		remarks := &backup.Problem{Code: backup.RestoredWithRemarks, Message: "r"}
		problem := &backup.Problem{Code: backup.ArtifactCannotBeRestored, Message: "m"}
		for _, err := range together(2, func(i int) error {
			a := artifacts[i+1].ID
			return w.FinishArtifact(ctx, work[string(a)], a, catalog.Restored{}, []*backup.Problem{remarks, problem}[i])
		}) {
			ok(t, err)
		}
		got := must[backup.Session](t)(w.Session(ctx, contoso, s.ID))
		if want := (backup.ArtifactCounts{Total: 3, Completed: 2, Failed: 1}); got.Status != backup.SessionCompletedWithError || got.Counts != want || !got.Completed.Equal(w.clock()) {
			t.Errorf("finished session = %+v", got)
		}
		if a := w.artifacts(s.ID)[1]; a.Status != backup.ArtifactSucceeded || !cmp.Equal(a.Problem, remarks) {
			t.Errorf("artifact with remarks = %+v", a)
		}
		if a := w.artifacts(s.ID)[2]; a.Status != backup.ArtifactFailed || !cmp.Equal(a.Problem, problem) {
			t.Errorf("failed artifact = %+v", a)
		}
		w.free()
		fails(t, "finish by a worker that lost its lease",
			w.FinishArtifact(ctx, work[string(artifacts[1].ID)], artifacts[1].ID, catalog.Restored{}, nil), jobs.ErrLost)
	})
}

func second[T any](_ T, err error) error { return err }

func TestSessionRefused(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		points := w.points(3)
		w.pass(time.Hour)
		later := w.backUpOne(points[0].Unit)
		in, beside := backup.DestinationInPlace, backup.DestinationNew
		for name, tc := range map[string]struct {
			artifacts []catalog.NewArtifact
			want      error
		}{
			"unknown point":      {[]catalog.NewArtifact{{Point: points[0].ID, Destination: in}, {Point: "x", Destination: in}}, backup.InvalidRestorePoint},
			"one point twice":    {[]catalog.NewArtifact{{Point: points[0].ID, Destination: in}, {Point: points[0].ID, Destination: in}}, backup.DuplicateArtifactInList},
			"one unit twice":     {[]catalog.NewArtifact{{Point: points[0].ID, Destination: in}, {Point: later.ID, Destination: in}}, backup.DuplicateArtifactInList},
			"mixed destinations": {[]catalog.NewArtifact{{Point: points[0].ID, Destination: in}, {Point: points[1].ID, Destination: beside}}, backup.DifferentRestoreDestination},
		} {
			_, err := w.CreateSession(ctx, contoso, backup.OneDrive, backup.RestoreStandard, tc.artifacts, w.by())
			fails(t, "create with "+name, err, tc.want)
		}
		if n := len(must[catalog.List[backup.Session]](t)(w.Sessions(ctx, contoso, catalog.Page{})).Items); n != 0 {
			t.Errorf("%d sessions after refused creations", n)
		}

		s := w.session(points[0], points[1])
		held := w.artifacts(s.ID)
		for name, tc := range map[string]struct {
			changes []catalog.ArtifactChange
			want    error
		}{
			"unknown point":         {[]catalog.ArtifactChange{{Remove: held[0].ID}, {Add: catalog.NewArtifact{Point: "x", Destination: in}}}, backup.InvalidRestorePoint},
			"other point of a unit": {[]catalog.ArtifactChange{{Add: catalog.NewArtifact{Point: later.ID, Destination: in}}}, backup.DuplicateArtifactInList},
			"other destination":     {[]catalog.ArtifactChange{{Add: catalog.NewArtifact{Point: points[2].ID, Destination: beside}}}, backup.DifferentRestoreDestination},
		} {
			_, _, err := w.PatchSession(ctx, contoso, s.ID, backup.RestoreStandard, tc.changes, w.by())
			fails(t, "patch with "+name, err, tc.want)
		}
		if diff := cmp.Diff(held, w.artifacts(s.ID)); diff != "" {
			t.Errorf("refused patches changed the session:\n%s", diff)
		}
		got, results, err := w.PatchSession(ctx, contoso, s.ID, backup.RestoreStandard, []catalog.ArtifactChange{
			{Add: catalog.NewArtifact{Point: later.ID, Destination: in}},
			{Remove: held[0].ID},
			{Remove: "x"},
			{Add: catalog.NewArtifact{Point: points[1].ID, Destination: in}},
			{Add: catalog.NewArtifact{Point: points[2].ID, Destination: in}},
		}, w.by())
		ok(t, err)
		var summary []string
		for _, r := range results {
			if r.Err != nil {
				summary = append(summary, string(r.Err.Code))
			} else {
				summary = append(summary, string(r.Artifact.Point.Unit))
			}
		}
		if diff := cmp.Diff([]string{string(points[0].Unit), string(points[0].Unit), "Invalid", "DuplicateArtifactRestoreRequest", string(points[2].Unit)}, summary); diff != "" {
			t.Errorf("results (-want +got):\n%s", diff)
		}
		if got.Counts.Total != 3 || len(w.artifacts(s.ID)) != 3 || must[backup.Session](t)(w.Session(ctx, contoso, s.ID)).Counts.Total != 3 {
			t.Errorf("patched session = %+v", got)
		}
		ok(t, w.DeleteSession(ctx, contoso, s.ID))
		_, err = w.Session(ctx, contoso, s.ID)
		fails(t, "a deleted session", err, backup.RestoreSessionNotFound)

		empty := w.session()
		_, err = w.ActivateSession(ctx, contoso, empty.ID, w.by())
		fails(t, "activate an empty session", err, backup.RestoreSessionActionNotAllowed)

		// A point that expired, and is gone, before its restore began.
		s = w.session(later)
		w.pass(15 * 24 * time.Hour)
		must[backup.Session](t)(w.ActivateSession(ctx, contoso, s.ID, w.by()))
		exec(t, w.db, `DELETE FROM restore_point WHERE id = $1`, string(later.ID))
		a := w.artifacts(s.ID)[0].ID
		fails(t, "start without a point", w.StartArtifact(ctx, w.claim(jobs.Restore)[string(a)], a), backup.InvalidRestoreTime)
	})
}

// What is asked of a session at work is kept, and wakes the jobs that it concerns.
func TestSessionIsPausedAndCancelled(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		points := w.points(2)
		s := w.session(points...)
		ask := map[string]func(context.Context, backup.TenantID, backup.SessionID, backup.Stamp) (backup.Session, error){
			"pause": w.PauseSession, "resume": w.ResumeSession, "cancel": w.CancelSession}
		for name, ask := range ask {
			fails(t, name+" of a draft", second(ask(ctx, contoso, s.ID, w.by())), backup.RestoreSessionActionNotAllowed)
			fails(t, name+" of another tenant's", second(ask(ctx, fabrikam, s.ID, w.by())), backup.RestoreSessionNotFound)
		}
		must[backup.Session](t)(w.ActivateSession(ctx, contoso, s.ID, w.by()))
		if wish := must[backup.Wish](t)(w.Wish(ctx, contoso, s.ID)); wish != backup.WishNone {
			t.Errorf("nothing was asked, and it is %q", wish)
		}
		w.pass(time.Second)
		at := w.clock()
		for range 2 {
			got := must[backup.Session](t)(w.PauseSession(ctx, contoso, s.ID, w.by()))
			if got.Wish != backup.WishPause || !got.Wished.Equal(at) || got.Problem != nil || got.Status != backup.SessionActivating {
				t.Errorf("paused = %+v", got)
			}
			w.pass(time.Second)
		}
		if wish := must[backup.Wish](t)(w.Wish(ctx, contoso, s.ID)); wish != backup.WishPause {
			t.Errorf("it is to %q, want pause", wish)
		}
		work := w.claim(jobs.Restore)
		if len(work) != 2 {
			t.Fatalf("%d jobs", len(work))
		}
		if got := must[backup.Session](t)(w.ResumeSession(ctx, contoso, s.ID, w.by())); got.Wish != backup.WishNone || !got.Wished.IsZero() {
			t.Errorf("resumed = %+v", got)
		}
		artifacts := w.artifacts(s.ID)
		first, last := artifacts[0].ID, artifacts[1].ID
		ok(t, w.StartArtifact(ctx, work[string(first)], first))
		ok(t, w.FinishArtifact(ctx, work[string(first)], first, catalog.Restored{}, nil))
		w.pass(time.Second)
		for range 2 {
			got := must[backup.Session](t)(w.CancelSession(ctx, contoso, s.ID, w.by()))
			if got.Wish != backup.WishCancel || got.Problem == nil || got.Problem.Code != backup.RestoreCancelled || got.Status != backup.SessionActive {
				t.Errorf("cancelled = %+v", got)
			}
		}
		for _, name := range []string{"pause", "resume"} {
			fails(t, name+" of what was cancelled", second(ask[name](ctx, contoso, s.ID, w.by())), backup.RestoreSessionActionNotAllowed)
		}
		ok(t, w.FinishArtifact(ctx, work[string(last)], last, catalog.Restored{}, &backup.Problem{Code: backup.RestoreCancelled}))
		got := must[backup.Session](t)(w.Session(ctx, contoso, s.ID))
		if got.Status != backup.SessionCompletedWithError || got.Problem == nil || got.Problem.Code != backup.RestoreCancelled {
			t.Errorf("at its end = %+v", got)
		}
		fails(t, "cancel of what has ended", second(w.CancelSession(ctx, contoso, s.ID, w.by())), backup.RestoreSessionActionNotAllowed)
	})
}

// backUpOne makes a point of one unit and returns it.
func (w *world) backUpOne(u backup.UnitID) backup.Point {
	w.t.Helper()
	w.backUp2(u)
	return must[catalog.List[backup.Point]](w.t)(w.Points(w.t.Context(), contoso, catalog.PointQuery{Unit: u, Page: catalog.Page{Limit: 1}})).Items[0]
}

func TestActiveSessions(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		points := w.points(1)
		var sessions []backup.Session
		for range backup.MaxActiveSessions + 2 {
			sessions = append(sessions, w.session(points...))
		}
		refused := 0
		for _, err := range together(len(sessions), func(i int) error {
			_, err := w.ActivateSession(ctx, contoso, sessions[i].ID, w.by())
			return err
		}) {
			if err != nil {
				fails(t, "activate", err, backup.TooManyActiveRestoreSessions)
				refused++
			}
		}
		if refused != 2 {
			t.Errorf("%d activations were refused, want 2", refused)
		}
	})
}

// Whatever is asked with another tenant's id is answered as if it were unknown.
func TestTenants(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.people(1, 9)
		points := w.points(1)
		u := w.units("")[owner(1)]
		s := w.session(points...)
		a := w.artifacts(s.ID)[0]
		b := w.bulk(u.Policy, []string{"user1@contoso.com"}, nil)
		before := w.everything()
		p := u.Policy
		page := catalog.Page{Count: true}

		for name, tc := range map[string]struct{ got, want error }{
			"Policy":           {second(w.Policy(ctx, fabrikam, p)), backup.PolicyNotFound},
			"PolicyUnitCounts": {second(w.PolicyUnitCounts(ctx, fabrikam, p)), backup.PolicyNotFound},
			"UpdatePolicy": {func() error {
				_, _, err := w.UpdatePolicy(ctx, fabrikam, p, catalog.PolicyPatch{DisplayName: new("x"), By: w.by()})
				return err
			}(), backup.PolicyNotFound},
			"ActivatePolicy":   {second(w.ActivatePolicy(ctx, fabrikam, p, w.by())), backup.PolicyNotFound},
			"DeactivatePolicy": {second(w.DeactivatePolicy(ctx, fabrikam, p, w.by())), backup.PolicyNotFound},
			"DeletePolicy":     {w.DeletePolicy(ctx, fabrikam, p), backup.PolicyNotFound},
			"Units":            {second(w.Units(ctx, fabrikam, catalog.UnitQuery{Policy: p})), backup.PolicyNotFound},
			"Unit":             {second(w.Unit(ctx, fabrikam, u.ID)), backup.ProtectionUnitNotFound},
			"CreateBulkJob":    {second(w.CreateBulkJob(ctx, fabrikam, p, catalog.NewBulkJob{By: w.by()})), backup.PolicyNotFound},
			"BulkJob":          {second(w.BulkJob(ctx, fabrikam, p, b.ID)), backup.PolicyNotFound},
			"BulkJob of any":   {second(w.BulkJob(ctx, fabrikam, "", b.ID)), backup.ItemNotFound},
			"BulkJobForWork":   {second(w.BulkJobForWork(ctx, fabrikam, b.ID)), backup.ItemNotFound},
			"BulkJobs":         {second(w.BulkJobs(ctx, fabrikam, p, backup.ToProtect, page)), backup.PolicyNotFound},
			"UnitForBackup": {func() error {
				_, _, err := w.UnitForBackup(ctx, fabrikam, u.ID)
				return err
			}(), catalog.ErrNotWanted},
			"UnitForRestore": {func() error {
				_, _, err := w.UnitForRestore(ctx, fabrikam, u.ID)
				return err
			}(), backup.ProtectionUnitNotFound},
			"Point": {second(w.Point(ctx, fabrikam, points[0].ID)), backup.InvalidRestorePoint},
			"CreateSession": {second(w.CreateSession(ctx, fabrikam, backup.OneDrive, backup.RestoreStandard,
				[]catalog.NewArtifact{{Point: points[0].ID, Destination: backup.DestinationNew}}, w.by())), backup.InvalidRestorePoint},
			"Session": {second(w.Session(ctx, fabrikam, s.ID)), backup.RestoreSessionNotFound},
			"PatchSession": {func() error {
				_, _, err := w.PatchSession(ctx, fabrikam, s.ID, backup.RestoreStandard, []catalog.ArtifactChange{{Remove: a.ID}}, w.by())
				return err
			}(), backup.RestoreSessionNotFound},
			"DeleteSession":   {w.DeleteSession(ctx, fabrikam, s.ID), backup.RestoreSessionNotFound},
			"ActivateSession": {second(w.ActivateSession(ctx, fabrikam, s.ID, w.by())), backup.RestoreSessionNotFound},
			"Artifacts":       {second(w.Artifacts(ctx, fabrikam, s.ID, page)), backup.RestoreSessionNotFound},
			"Artifact":        {second(w.Artifact(ctx, fabrikam, s.ID, a.ID)), backup.RestoreSessionNotFound},
			"ArtifactForWork": {second(w.ArtifactForWork(ctx, fabrikam, a.ID)), backup.ItemNotFound},
		} {
			fails(t, name, tc.got, tc.want)
		}

		empty := map[string]int64{
			"Policies": must[catalog.List[backup.Policy]](t)(w.Policies(ctx, fabrikam, page)).Total,
			"Units":    must[catalog.List[backup.Unit]](t)(w.Units(ctx, fabrikam, catalog.UnitQuery{Page: page})).Total,
			"UnitsByID": int64(len(must[map[backup.UnitID]backup.Unit](t)(
				w.UnitsByID(ctx, fabrikam, []backup.UnitID{u.ID})))),
			"BulkJobs":     must[catalog.List[backup.BulkJob]](t)(w.BulkJobs(ctx, fabrikam, "", backup.ToProtect, page)).Total,
			"Points":       must[catalog.List[backup.Point]](t)(w.Points(ctx, fabrikam, catalog.PointQuery{Unit: u.ID, Page: page})).Total,
			"SearchPoints": int64(len(must[catalog.PointsFound](t)(w.SearchPoints(ctx, fabrikam, catalog.PointSearch{Units: []backup.UnitID{u.ID}})).Points)),
			"Sessions":     must[catalog.List[backup.Session]](t)(w.Sessions(ctx, fabrikam, page)).Total,
			"Roots":        int64(len(must[map[backup.DriveID]string](t)(w.Roots(ctx, backup.FirstVault(fabrikam))))),
			"LiveTrees":    int64(len(must[[]string](t)(w.LiveTrees(ctx, fabrikam, u.ID, points[0].Drive)))),
			"DrivesToTrim": int64(len(must[[]catalog.DriveRoot](t)(w.DrivesToTrim(ctx, fabrikam)))),
			"UnresolvedBulk": 1 - int64(len(must[[]string](t)(w.UnresolvedBulk(ctx,
				backup.BulkJob{Tenant: fabrikam, Addresses: []string{"user1@contoso.com"}})))),
		}
		for name, n := range empty {
			if n != 0 {
				t.Errorf("%s shows %d of another tenant", name, n)
			}
		}
		if _, found, err := w.DirectoryUser(ctx, fabrikam, owner(1)); found || err != nil {
			t.Errorf("DirectoryUser of another tenant: %v, %v", found, err)
		}

		// A unit of the one is no unit of the other's policy; the owner may be
		// an owner of both.
		q := must[backup.Policy](t)(w.CreatePolicy(ctx, fabrikam, catalog.NewPolicy{Workload: backup.OneDrive, DisplayName: "f", By: w.by()}))
		_, results, err := w.UpdatePolicy(ctx, fabrikam, q.ID, catalog.PolicyPatch{By: w.by(), Units: []catalog.UnitChange{{Remove: u.ID}, {Add: owner(1)}}})
		ok(t, err)
		if results[0].Err == nil || results[0].Err.Code != backup.InvalidUnit || results[1].Err != nil || results[1].Unit.ID == u.ID {
			t.Errorf("results = %+v", results)
		}

		// A worker of the one tenant writes nothing of the other.
		ok(t, enqueue(w, jobs.Spec{Kind: jobs.Expire, Key: string(fabrikam), Tenant: fabrikam}, jobs.Spec{Kind: jobs.Settle, Key: string(p), Tenant: fabrikam}))
		w.pass(400 * 24 * time.Hour)
		j := w.claim(jobs.Expire)[string(fabrikam)]
		if n := must[int64](t)(w.ExpirePoints(ctx, j)); n != 0 {
			t.Errorf("%d points of another tenant expired", n)
		}
		fails(t, "FailUnit", w.FailUnit(ctx, j, u.ID, &backup.Problem{}), catalog.ErrNotWanted)
		fails(t, "CommitPoint", second(w.CommitPoint(ctx, j, catalog.Commit{Unit: u.ID, State: catalog.DriveState{Drive: "d"}})), catalog.ErrNotWanted)
		ok(t, w.NoteArtifact(ctx, j, a.ID, catalog.Restored{SiteName: "x"}))
		ok(t, w.NoteDetails(ctx, j, a.ID, []backup.Detail{{Message: "x"}}))
		if must[bool](t)(w.ReserveLibrary(ctx, j, a.ID, "x")) {
			t.Error("a library was reserved for another tenant's artifact")
		}
		fails(t, "KeepPoint", second(w.KeepPoint(ctx, j, catalog.Commit{Unit: u.ID, PrevRoot: "r", State: catalog.DriveState{Drive: points[0].Drive}})), catalog.ErrMoved)
		fails(t, "Checkpoint", w.Checkpoint(ctx, j, catalog.Commit{Unit: u.ID, State: catalog.DriveState{Drive: points[0].Drive}}), catalog.ErrMoved)
		fails(t, "CommitTrim", w.CommitTrim(ctx, j, catalog.DriveRoot{Unit: u.ID, Drive: points[0].Drive}, "x"), catalog.ErrMoved)
		fails(t, "StartArtifact", w.StartArtifact(ctx, j, a.ID), backup.ItemNotFound)
		ok(t, w.FinishArtifact(ctx, j, a.ID, catalog.Restored{}, nil))
		ok(t, w.SettlePolicy(ctx, w.claim(jobs.Settle)[string(p)]))
		ok(t, w.ApplyDirectory(ctx, fabrikam, catalog.DirectoryChange{Removed: []backup.SubjectID{owner(1)}, Since: w.clock()}))
		if diff := cmp.Diff(before, w.everything()); diff != "" {
			t.Errorf("another tenant changed what is Contoso's:\n%s", diff)
		}
	})
}

// A library's name belongs to one restore of a drive at a time.
func TestReserveLibrary(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		points := w.points(2)
		var all []backup.Artifact
		for _, p := range []backup.Point{points[0], points[0], points[1]} {
			s := must[backup.Session](t)(w.CreateSession(ctx, contoso, backup.OneDrive, backup.RestoreStandard,
				[]catalog.NewArtifact{{Point: p.ID, Destination: backup.DestinationNew}}, w.by()))
			must[backup.Session](t)(w.ActivateSession(ctx, contoso, s.ID, w.by()))
			all = append(all, w.artifacts(s.ID)...)
		}
		work := w.claim(jobs.Restore)
		for _, step := range []struct {
			artifact int
			name     string
			want     bool
		}{
			{0, "DocumentsR0", true}, {0, "DocumentsR0", true}, // the second time as after a crash
			{1, "documentsr0", false}, {1, "DocumentsR1", true}, {0, "DocumentsR1", false},
			{2, "DocumentsR0", true}, // beside another drive
		} {
			a := all[step.artifact]
			ok(t, w.StartArtifact(ctx, work[string(a.ID)], a.ID))
			if got := must[bool](t)(w.ReserveLibrary(ctx, work[string(a.ID)], a.ID, step.name)); got != step.want {
				t.Errorf("artifact %d reserves %s: %v", step.artifact, step.name, got)
			}
		}
		if a := w.artifacts(all[1].Session)[0]; a.RestoredSiteName != "DocumentsR1" {
			t.Errorf("the second artifact has %q", a.RestoredSiteName)
		}
		ok(t, w.FinishArtifact(ctx, work[string(all[0].ID)], all[0].ID, catalog.Restored{}, nil))
		if !must[bool](t)(w.ReserveLibrary(ctx, work[string(all[1].ID)], all[1].ID, "DocumentsR0")) {
			t.Error("the name of what has ended is not free")
		}
		w.free()
		w.claim(jobs.Restore)
		fails(t, "with a lease that was lost", second(w.ReserveLibrary(ctx, work[string(all[1].ID)], all[1].ID, "x")), jobs.ErrLost)
	})
}

// everything returns Contoso's rows in some form, to be compared.
func (w *world) everything() map[string]string {
	w.t.Helper()
	all := map[string]string{}
	for _, column := range []string{"subject.id", "policy.display_name", "policy.enabled", "unit.status", "unit.policy", "bulk_job.status",
		"drive_state.root", "restore_point.tree", "restore_session.status", "restore_session.total", "restore_artifact.status", "restore_artifact.site_name"} {
		table, name, _ := strings.Cut(column, ".")
		rows, err := w.db.Read().QueryContext(w.t.Context(), `SELECT CAST(`+name+` AS TEXT) FROM `+table+` WHERE tenant = $1 ORDER BY 1`, string(contoso))
		ok(w.t, err)
		for rows.Next() {
			var v string
			ok(w.t, rows.Scan(&v))
			all[column] += v + "\n"
		}
		ok(w.t, rows.Err())
		rows.Close()
	}
	return all
}

func TestSeed(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		seed := []catalog.SeedPolicy{
			{ID: "61633878-8321-4950-bfaf-ed285bdd1461", DisplayName: "first", Units: []catalog.SeedUnit{{ID: "70fe0001-0000-4000-8000-000000000001", Subject: owner(1)}}},
			{ID: "61633878-8321-4950-bfaf-ed285bdd1462", DisplayName: "second"},
		}
		ok(t, w.Seed(ctx, contoso, seed, w.by()))
		ok(t, w.Seed(ctx, fabrikam, seed, w.by()))
		l := must[catalog.List[backup.Policy]](t)(w.Policies(ctx, contoso, catalog.Page{}))
		if len(l.Items) != 2 || l.Items[0].ID != seed[0].ID || l.Items[1].DisplayName != "second" || l.Items[0].Status != backup.PolicyInactive {
			t.Errorf("policies = %+v", l.Items)
		}
		if u := w.units(seed[0].ID)[owner(1)]; u.ID != seed[0].Units[0].ID || u.Status != backup.UnitUnprotected {
			t.Errorf("unit = %+v", u)
		}
	})
}

func TestPages(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		var owners []backup.SubjectID
		for i := range 7 {
			owners = append(owners, owner(i))
		}
		p := w.policy("p", owners...)
		for _, of := range []backup.PolicyID{"", p.ID} {
			q := catalog.UnitQuery{Policy: of, Page: catalog.Page{Limit: 3, Count: true}}
			var got []backup.SubjectID
			for {
				l := must[catalog.List[backup.Unit]](t)(w.Units(ctx, contoso, q))
				if l.Total != 7 {
					t.Errorf("total = %d, want 7", l.Total)
				}
				for _, u := range l.Items {
					got = append(got, u.Subject)
				}
				if q.After = l.Next; l.Next == "" {
					break
				}
				// What comes later does not move the pages.
				w.pass(time.Hour)
			}
			if diff := cmp.Diff(owners, got); diff != "" {
				t.Errorf("pages of %q (-want +got):\n%s", of, diff)
			}
			l := must[catalog.List[backup.Unit]](t)(w.Units(ctx, contoso, catalog.UnitQuery{Policy: of, Page: catalog.Page{Limit: 2, Skip: 4}}))
			if len(l.Items) != 2 || l.Items[0].Subject != owner(4) || l.Next == "" {
				t.Errorf("after skipping 4: %+v", l)
			}
		}
		for _, bad := range []string{"x", "1", "x,y"} {
			_, err := w.Units(ctx, contoso, catalog.UnitQuery{Page: catalog.Page{After: bad}})
			fails(t, "a place "+bad, err, backup.InvalidRequest)
		}
	})
}

// A session says how many of what failed came back in part, and how much these lack, as far
// as that is known of all; and the log that it has not failed altogether.
func TestSessionsInPart(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx, points := t.Context(), w.points(2)
		lacks := func(failed, of int) *backup.Problem {
			return &backup.Problem{Code: backup.ArtifactCannotBeRestored, Message: "No.", Short: &backup.Shortfall{Failed: failed, Of: of}}
		}
		for _, c := range []struct {
			name     string
			problems []*backup.Problem
			counts   backup.ArtifactCounts
			status   backup.SessionStatus
			result   backup.ActivityResult
		}{
			{"all in part", []*backup.Problem{lacks(12, 3400), lacks(1, 2)}, backup.ArtifactCounts{Total: 2, Failed: 2, InPart: 2, Short: backup.Shortfall{Failed: 13, Of: 3402}}, backup.SessionFailed, backup.ActivityPartiallySucceeded},
			{"one in vain", []*backup.Problem{{Code: backup.UnknownError}, lacks(12, 0)}, backup.ArtifactCounts{Total: 2, Failed: 2, InPart: 1, Short: backup.Shortfall{Failed: 12, Of: -1}}, backup.SessionFailed, backup.ActivityPartiallySucceeded},
			{"not known of one", []*backup.Problem{lacks(0, 0), lacks(12, 3400)}, backup.ArtifactCounts{Total: 2, Failed: 2, InPart: 2, Short: backup.Shortfall{Failed: -1, Of: -1}}, backup.SessionFailed, backup.ActivityPartiallySucceeded},
			{"in vain", []*backup.Problem{{Code: backup.UnknownError}}, backup.ArtifactCounts{Total: 1, Failed: 1}, backup.SessionFailed, backup.ActivityFailed},
			{"remarks", []*backup.Problem{{Code: backup.RestoredWithRemarks, Short: &backup.Shortfall{Failed: 1}}}, backup.ArtifactCounts{Total: 1, Completed: 1}, backup.SessionCompleted, backup.ActivitySucceeded},
		} {
			s := w.session(points[:len(c.problems)]...)
			must[backup.Session](t)(w.ActivateSession(ctx, contoso, s.ID, w.by()))
			work := w.claim(jobs.Restore)
			for i, a := range w.artifacts(s.ID) {
				ok(t, w.StartArtifact(ctx, work[string(a.ID)], a.ID))
				ok(t, w.FinishArtifact(ctx, work[string(a.ID)], a.ID, catalog.Restored{}, c.problems[i]))
			}
			if got := must[backup.Session](t)(w.Session(ctx, contoso, s.ID)); got.Counts != c.counts || got.Status != c.status {
				t.Errorf("%s: %s %+v, want %s %+v", c.name, got.Status, got.Counts, c.status, c.counts)
			}
			if log := w.activities(); log[len(log)-1].Result != c.result {
				t.Errorf("%s: the log says %s, want %s", c.name, log[len(log)-1].Result, c.result)
			}
			for i, a := range w.artifacts(s.ID) {
				want := c.problems[i].Short
				if a.Status == backup.ArtifactSucceeded {
					want = nil
				}
				if (a.Short == nil) != (want == nil) || want != nil && *a.Short != *want {
					t.Errorf("%s: an artifact lacks %+v, want %+v", c.name, a.Short, want)
				}
			}
			w.now = w.now.Add(time.Hour)
		}
	})
}
