package engine

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// First backups that take for ever hold up no drive that has points: its changes
// come into a point. What would take long there waits for them: the drive is
// enumerated as a whole, as it is time for, once there is room.
func TestFirstBackupsHoldUpNoChanges(t *testing.T) {
	w := newWorld(t, "known", "slow", "slower")
	units := w.protectAll()
	w.put(w.home(0), map[string]string{"a.txt": "one"})
	w.backUp(units[0])
	w.must(w.db.Tx(w.ctx, func(tx *database.Tx) error { // as a runner does when it succeeded
		_, err := tx.ExecContext(w.t.Context(), `UPDATE job SET patient = 0 WHERE key = $1`, string(units[0].ID))
		return err
	}))
	w.skew.Store(int64(9 * 24 * time.Hour)) // it is late for an enumeration
	w.must(os.WriteFile(filepath.Join(w.home(0), "a.txt"), []byte("two"), 0o644))

	held, let := make(chan bool, 9), make(chan bool)
	w.onRequest(func(r *http.Request) {
		if strings.Contains(r.URL.Path, string(units[1].Subject)) || strings.Contains(r.URL.Path, string(units[2].Subject)) {
			held <- true
			select {
			case <-let:
			case <-r.Context().Done():
			}
		}
	})
	w.engine.Workers = 2
	work := w.engine.Work()[jobs.Backup]
	handler, ended := work.Handler, make(chan string, 9)
	work.Handler = func(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
		defer func() { ended <- j.Key }()
		if j.Key == string(units[0].ID) {
			<-held // a first backup is at work by then
		}
		return handler(ctx, j)
	}
	ctx, cancel := context.WithCancel(w.ctx)
	done := make(chan error)
	runner := jobs.NewRunner(jobs.RunnerConfig{Queue: w.queue, Tenants: []backup.TenantID{w.tenant}, Work: map[jobs.Kind]jobs.Work{jobs.Backup: work}, Log: w.engine.Log})
	go func() { done <- runner.Run(ctx) }()

	if first := <-ended; first != string(units[0].ID) {
		t.Fatalf("a first backup ended while the source held it: %s\n%s", first, w.log)
	}
	w.same("the changed drive's point", w.look(w.home(0)), w.kept(w.latest(units[0]).Tree))
	enumerated := strings.Count(w.log.String(), "enumerated=true")
	w.must(w.catalog.BackUpNow(w.ctx, w.tenant, units[0].ID))
	held <- true
	<-ended
	if got := strings.Count(w.log.String(), "enumerated=true"); got != enumerated {
		t.Error("the drive was enumerated although first backups had all the room for that")
	}
	// It is late by now: the place of the first that ends is kept for it.
	close(let)
	<-ended
	for full := false; !full; { // the runner may learn a little later that the first has ended
		w.must(w.catalog.BackUpNow(w.ctx, w.tenant, units[0].ID))
		held <- true
		if next := <-ended; next != string(units[0].ID) {
			t.Fatal("another first backup had the place that was kept")
		}
		_, state, err := w.catalog.UnitForBackup(w.ctx, w.tenant, units[0].ID)
		w.must(err)
		full = w.engine.Clock().Sub(state.Full) < time.Hour
	}
	<-ended
	cancel()
	w.must(<-done)
}
