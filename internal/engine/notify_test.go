package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/drive"
	"holdfast/internal/jobs"
)

// notifying has the source of w tell this process of changes. What it was sent
// comes from the channel, once it was answered.
func notifying(t *testing.T, w *world) (url string, sent chan string) {
	sent = make(chan string, 99)
	w.engine.Notify = Notifications{Key: []byte("for tests only"), Moment: time.Millisecond}
	handler := w.engine.ServeNotifications()
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		handler.ServeHTTP(rw, r)
		if len(body) > 0 {
			sent <- string(body)
		}
	}))
	t.Cleanup(server.Close)
	w.engine.Notify.URL = server.URL
	return server.URL + NotifyPath + string(w.tenant), sent
}

// runs has the runner do the backups and subscriptions of w until the test ends,
// and returns which jobs came to an end.
func runs(t *testing.T, w *world) (ended chan string) {
	ended = make(chan string, 999)
	work := map[jobs.Kind]jobs.Work{}
	for kind, one := range w.engine.Work() {
		if kind != jobs.Backup && kind != jobs.Subscribe {
			continue
		}
		handler := one.Handler
		one.Handler = func(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
			result, err := handler(ctx, j)
			ended <- string(j.Kind) + " " + j.Key
			return result, err
		}
		work[kind] = one
	}
	ctx, cancel := context.WithCancel(w.ctx)
	done := make(chan error)
	runner := jobs.NewRunner(jobs.RunnerConfig{Queue: w.queue, Tenants: []backup.TenantID{w.tenant}, Work: work, Log: w.engine.Log})
	go func() { done <- runner.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return ended
}

// until waits until a job has come to an end.
func until(ended chan string, kind jobs.Kind, key string) {
	for <-ended != string(kind)+" "+key {
	}
}

// stored returns the subscription of a unit.
func stored(w *world, u backup.Unit) (id, nonce string) {
	w.t.Helper()
	w.must(w.db.Read().QueryRowContext(w.t.Context(), `SELECT id, nonce FROM subscription WHERE unit = $1`, string(u.ID)).Scan(&id, &nonce))
	return id, nonce
}

// A change in a drive comes into a point when the source tells of it, although the
// next visit is an hour away.
func TestNotifiedChangeIsBackedUp(t *testing.T) {
	w := newWorld(t, "anna")
	w.engine.Interval, w.engine.RPO = time.Hour, 2*time.Hour
	_, sent := notifying(t, w)
	u := w.protectAll()[0]
	w.put(w.home(0), map[string]string{"a.txt": "one"})
	ended := runs(t, w)
	until(ended, jobs.Backup, string(u.ID))
	w.subscribeNow()
	until(ended, jobs.Backup, string(u.ID)) // of what may have changed before it was subscribed to
	w.skew.Store(int64(10 * time.Minute))   // the least there is between two visits
	w.must(os.WriteFile(filepath.Join(w.home(0), "a.txt"), []byte("two and more"), 0o644))
	if body := <-sent; strings.Contains(body, "a.txt") {
		t.Errorf("the source told what changed: %s", body)
	}
	until(ended, jobs.Backup, string(u.ID))
	w.same("the point after the change", w.look(w.home(0)), w.kept(w.latest(u).Tree))
	if strings.Contains(w.log.String(), string(w.engine.Notify.state(w.tenant, catalog.Told{Unit: u.ID}))) {
		t.Error("the secret is in the log")
	}
}

// subscribeNow has the tenant's drives be subscribed to by the job for that.
func (w *world) subscribeNow() {
	w.t.Helper()
	w.must(w.db.Tx(w.ctx, func(tx *database.Tx) error {
		return w.queue.Enqueue(w.ctx, tx, jobs.Spec{Kind: jobs.Subscribe, Key: string(w.tenant), Tenant: w.tenant})
	}))
}

// Who does not know a subscription's secret can have it do nothing, whatever else
// is right; who does can have the drive visited, once for any number of times.
func TestForgedNotificationsDoNothing(t *testing.T) {
	w := newWorld(t, "anna", "ben")
	w.engine.Interval, w.engine.RPO = time.Hour, 2*time.Hour
	url, _ := notifying(t, w)
	units := w.protectAll()
	for _, u := range units {
		w.backUp(u)
	}
	w.run(jobs.Subscribe, string(w.tenant), w.engine.subscribe)
	id, nonce := stored(w, units[0])
	if id == "" {
		t.Fatalf("the drive is not subscribed to\n%s", w.log)
	}
	_, other := stored(w, units[1])
	far := w.engine.Clock().Add(1000 * time.Hour)
	w.must(w.db.Tx(w.ctx, func(tx *database.Tx) error {
		_, err := tx.ExecContext(w.t.Context(), `UPDATE job SET run_at = $1, wake_at = 0, lease = ''`, database.Micros(far))
		return err
	}))
	due := func() (n int) {
		w.must(w.db.Read().QueryRowContext(w.t.Context(), `SELECT count(*) FROM job WHERE run_at <> $1`, database.Micros(far)).Scan(&n))
		return n
	}
	tell := func(state any, event string) int {
		t.Helper()
		body, err := json.Marshal(map[string]any{"value": []any{map[string]any{"subscriptionId": id, "clientState": state, "changeType": "updated", "lifecycleEvent": event,
			"resource": "drives/x/root", "tenantId": w.tenant}}})
		w.must(err)
		resp, err := http.Post(url, "application/json", strings.NewReader(string(body)))
		w.must(err)
		resp.Body.Close()
		return resp.StatusCode
	}
	state := func(u backup.Unit, nonce string) string {
		return string(w.engine.Notify.state(w.tenant, catalog.Told{Unit: u.ID, Nonce: nonce}))
	}
	right := state(units[0], nonce)
	otherKey := Notifications{Key: []byte("another")}
	for what, forged := range map[string]any{
		"none": nil, "empty": "", "another's part": right[:len(right)-1] + "_", "without secret": right[:strings.LastIndexByte(right, '.')+1],
		"of another unit": string(units[1].ID) + right[36:], "yesterday's": state(units[0], other), "longer": right + "x",
		"another key's":    string(otherKey.state(w.tenant, catalog.Told{Unit: units[0].ID, Nonce: nonce})),
		"another tenant's": string(w.engine.Notify.state("other", catalog.Told{Unit: units[0].ID, Nonce: nonce})),
	} {
		for _, event := range []string{"", "subscriptionRemoved", "missed", "reauthorizationRequired"} {
			if status := tell(forged, event); status != http.StatusAccepted {
				t.Errorf("%s was answered %d", what, status)
			}
			if n := due(); n != 0 {
				t.Fatalf("by a state that is %s, %q made %d jobs due", what, event, n)
			}
		}
	}
	if status := tell(5, ""); status != http.StatusBadRequest {
		t.Errorf("a state that is no text was answered %d", status)
	}
	for range 3 {
		if status := tell(right, ""); status != http.StatusAccepted {
			t.Errorf("the source was answered %d", status)
		}
	}
	if n := due(); n != 1 {
		t.Errorf("three notifications of a drive made %d jobs due", n)
	}
	var at int64
	w.must(w.db.Read().QueryRowContext(w.t.Context(), `SELECT run_at FROM job WHERE kind = 'backup' AND key = $1`, string(units[0].ID)).Scan(&at))
	if gap := database.Time(at).Sub(w.latest(units[0]).At); gap < w.engine.Interval/visitShare {
		t.Errorf("it may be visited %v after its newest point", gap)
	}

	for _, request := range []struct {
		method, path string
		want         int
	}{
		{http.MethodGet, url, http.StatusMethodNotAllowed},
		{http.MethodGet, url + "?validationToken=x", http.StatusMethodNotAllowed},
		{http.MethodPost, url, http.StatusBadRequest},
	} {
		r, err := http.NewRequest(request.method, request.path, nil)
		w.must(err)
		resp, err := http.DefaultClient.Do(r)
		w.must(err)
		resp.Body.Close()
		if resp.StatusCode != request.want {
			t.Errorf("%s %s was answered %d, want %d", request.method, request.path, resp.StatusCode, request.want)
		}
	}
	if strings.Contains(w.log.String(), right[40:]) {
		t.Error("a secret is in the log")
	}
}

// A subscription is renewed before it ends; one that the source does not know any
// more is made again, whether or not it says so; and that of a drive which is not
// backed up any more is ended.
func TestSubscriptionsAreKept(t *testing.T) {
	w := newWorld(t, "anna")
	notifying(t, w)
	u := w.protectAll()[0]
	w.backUp(u)
	round := func() (id string) {
		t.Helper()
		w.run(jobs.Subscribe, string(w.tenant), w.engine.subscribe)
		id, _ = stored(w, u)
		return id
	}
	first := round()
	if first == "" {
		t.Fatalf("the drive is not subscribed to\n%s", w.log)
	}
	w.reset()
	if id := round(); id != first || w.asked("all") != 0 {
		t.Errorf("nothing was to be done, and the source was asked %d times", w.asked("all"))
	}
	w.skew.Store(int64(26 * time.Hour))
	if id := round(); id != first || w.asked("all") != 1 {
		t.Errorf("it was to be renewed, and %s is %s; the source was asked %d times", first, id, w.asked("all"))
	}

	w.must(w.source.Unsubscribe(w.ctx, first)) // by somebody else
	w.skew.Store(int64(52 * time.Hour))
	second := round()
	if second == first || second == "" {
		t.Fatalf("one that was gone was not made again: %q\n%s", second, w.log)
	}

	w.must(w.source.Unsubscribe(w.ctx, second))
	_, nonce := stored(w, u)
	told := drive.Notification{State: string(w.engine.Notify.state(w.tenant, catalog.Told{Unit: u.ID, Nonce: nonce})), Fate: drive.Removed}
	w.must(w.engine.notified(w.ctx, w.tenant, []drive.Notification{told}))
	third := round()
	if third == second || third == "" {
		t.Fatalf("one that the source said was removed was not made again: %q\n%s", third, w.log)
	}
	if err := fmt.Sprint(w.source.Unsubscribe(w.ctx, second)); err != "<nil>" {
		t.Errorf("to end what has ended: %s", err)
	}

	unit := w.unit(u.ID)
	_, _, err := w.catalog.UpdatePolicy(w.ctx, w.tenant, unit.Policy, catalog.PolicyPatch{Units: []catalog.UnitChange{{Remove: u.ID}}})
	w.must(err)
	w.run(jobs.Settle, string(unit.Policy), w.engine.settle)
	w.skew.Store(int64(80 * time.Hour))
	w.run(jobs.Subscribe, string(w.tenant), w.engine.subscribe)
	var left int
	w.must(w.db.Read().QueryRowContext(w.t.Context(), `SELECT count(*) FROM subscription`).Scan(&left))
	if left != 0 {
		t.Error("the drive of a unit that has left is still subscribed to")
	}
	if _, err := w.source.Renew(w.ctx, third, w.engine.Clock().Add(time.Hour)); err == nil {
		t.Error("at the source as well")
	}
}
