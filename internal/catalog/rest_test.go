package catalog_test

import (
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/jobs"
)

// A catalog that was put back from a backup neither goes on with a restore nor destroys
// backups by itself: restores wait until somebody says so, and who was offboarded has the
// whole grace again. What else was under way may be done at once.
func TestWhatWasUnderWayRests(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		points := w.points(3)
		if got := must[[]catalog.VaultPoint](t)(w.NewestPoints(ctx, contoso, 2)); len(got) != 2 || got[0].Tree == "" || got[0].At.IsZero() || got[0].Vault != backup.FirstVault(contoso) {
			t.Errorf("the newest points are %+v", got)
		}
		draft, s, cancelled := w.session(points[:1]...), w.session(points[1:2]...), w.session(points[2:]...)
		must[backup.Session](t)(w.ActivateSession(ctx, contoso, s.ID, w.by()))
		must[backup.Session](t)(w.ActivateSession(ctx, contoso, cancelled.ID, w.by()))
		must[backup.Session](t)(w.CancelSession(ctx, contoso, cancelled.ID, w.by()))
		work := w.claim(jobs.Restore)
		if len(work) != 2 {
			t.Fatalf("%d restores", len(work))
		}
		var u backup.Unit
		for _, of := range w.units(w.policy("gone", owner(77)).ID) {
			u = of
		}
		exec(t, w.db, `UPDATE unit SET policy = '', sources = 0, status = 'unprotected' WHERE id = $1`, string(u.ID))
		ok(t, second(w.OffboardUnit(ctx, contoso, u.ID, w.by())))

		w.pass(89 * 24 * time.Hour)
		r := must[catalog.Rested](t)(w.Rest(ctx))
		if r.Restores != 1 || r.Offboardings != 1 {
			t.Errorf("%+v rest", r)
		}
		for id, want := range map[backup.SessionID]backup.Wish{draft.ID: backup.WishNone, s.ID: backup.WishPause, cancelled.ID: backup.WishCancel} {
			if got := must[backup.Wish](t)(w.Wish(ctx, contoso, id)); got != want {
				t.Errorf("of session %s it is asked to %q, want %q", id, got, want)
			}
		}
		if again := w.claim(jobs.Restore); len(again) != 2 {
			t.Errorf("%d restores may be looked at, want 2", len(again))
		}
		if got := must[backup.Unit](t)(w.Unit(ctx, contoso, u.ID)); got.Status != backup.UnitOffboardRequested || !got.OffboardRequested.Equal(w.clock()) {
			t.Errorf("the unit is %s since %v", got.Status, got.OffboardRequested)
		}
		if r := must[catalog.Rested](t)(w.Rest(ctx)); r.Restores != 0 {
			t.Errorf("once more %+v", r)
		}
		must[backup.Session](t)(w.ResumeSession(ctx, contoso, s.ID, w.by()))
	})
}
