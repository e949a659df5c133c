package engine

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/budget"
	"holdfast/internal/catalog"
	"holdfast/internal/drive"
	"holdfast/internal/jobs"
)

// Notifications are how the source tells of changes, where it can reach us. What
// it says is believed in one thing only: that a drive may be visited now. All that
// is not told is found by the visits that come anyway.
type Notifications struct {
	// URL is the origin at which the source reaches this server; "" for none.
	URL string
	// Key makes the secrets by which notifications are known. All processes have
	// the same.
	Key []byte
	// Moment is how long a visit waits for more notifications; default 2 seconds.
	Moment time.Duration
}

// NotifyPath is the path below which notifications come; the tenant's id follows.
const NotifyPath = "/notifications/"

const (
	subscriptionLife = 3 * 24 * time.Hour // if nobody renews it
	renewEvery       = 24 * time.Hour     // which also shows whether it is there
	subscribeEvery   = 10 * time.Minute   // how often drives are looked for that have none
	subscribeRound   = 100                // subscriptions that are looked after in one go
	subscribeFails   = 5                  // in a row, after which the round ends
	maxNotification  = 1 << 20            // bytes of a request
	maxNotifying     = 16                 // requests that are worked on at a time
	visitShare       = 10                 // of the interval passes between visits at least, whatever is told
)

// state is the secret by which the notifications of a subscription are known.
func (n *Notifications) state(t backup.TenantID, told catalog.Told) drive.Secret {
	mac := hmac.New(sha256.New, n.Key)
	io.WriteString(mac, "subscription\x00"+string(t)+"\x00"+string(told.Unit)+"\x00"+told.Nonce)
	return drive.Secret(string(told.Unit) + "." + told.Nonce + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)))
}

// told reads the state of a notification, and reports whether it is one of ours.
func (n *Notifications) told(t backup.TenantID, state string) (told catalog.Told, ok bool) {
	parts := strings.Split(state, ".")
	if len(parts) != 3 {
		return told, false
	}
	told = catalog.Told{Unit: backup.UnitID(parts[0]), Nonce: parts[1]}
	return told, hmac.Equal([]byte(state), []byte(n.state(t, told)))
}

// ServeNotifications answers what comes below NotifyPath. Whoever does not know a
// subscription's secret can have it do nothing.
func (e *Engine) ServeNotifications() http.Handler {
	room := make(chan struct{}, maxNotifying)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tenant := backup.TenantID(strings.TrimPrefix(r.URL.Path, NotifyPath))
		if _, err := e.Sources(tenant); err != nil || e.Notify.URL == "" {
			http.NotFound(w, r)
			return
		}
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "notifications are posted", http.StatusMethodNotAllowed)
			return
		}
		if token := r.URL.Query().Get("validationToken"); token != "" && len(token) <= 1024 {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.Header().Set("X-Content-Type-Options", "nosniff")
			io.WriteString(w, token)
			return
		}
		select {
		case room <- struct{}{}:
			defer func() { <-room }()
		default:
			w.Header().Set("Retry-After", "5")
			http.Error(w, "too much is told at a time", http.StatusServiceUnavailable)
			return
		}
		all, err := drive.ReadNotifications(http.MaxBytesReader(w, r.Body, maxNotification))
		if err != nil {
			http.Error(w, "these are no notifications", http.StatusBadRequest)
			return
		}
		if err := e.notified(r.Context(), tenant, all); err != nil {
			e.Log.ErrorContext(r.Context(), "notifications could not be noted", "tenant", tenant, "err", err)
			http.Error(w, "they could not be noted", http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusAccepted) // whether or not they were ours: nobody learns that
	})
}

// notified notes what was told.
func (e *Engine) notified(ctx context.Context, tenant backup.TenantID, all []drive.Notification) error {
	changed, fates := map[catalog.Told]bool{}, map[catalog.Told]bool{}
	for _, n := range all {
		told, ok := e.Notify.told(tenant, n.State)
		if !ok {
			continue
		}
		if n.Fate == "" || n.Fate == drive.Missed {
			changed[told] = true
		}
		if n.Fate != "" {
			fates[told] = true
		}
	}
	return errors.Join(
		e.Catalog.NotifyChanges(ctx, tenant, keys(changed), e.Notify.Moment, e.Interval/visitShare),
		e.Catalog.NotifyFates(ctx, tenant, keys(fates)))
}

func keys(m map[catalog.Told]bool) (all []catalog.Told) {
	for k := range m {
		all = append(all, k)
	}
	return all
}

// subscribe is the job of one tenant: it has the drives that are backed up be
// subscribed to, and looks after their subscriptions. It is in less of a hurry than
// all that asks the source for anything else.
func (e *Engine) subscribe(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
	if e.Notify.URL == "" {
		return jobs.Done, nil
	}
	ctx = budget.For(ctx, budget.Verification)
	source, err := e.Sources(j.Tenant)
	if err != nil {
		return jobs.Result{}, err
	}
	if err := e.Catalog.WantSubscriptions(ctx, j); err != nil {
		return jobs.Result{}, err
	}
	failed := 0
	for failed < subscribeFails {
		due, err := e.Catalog.DueSubscriptions(ctx, j.Tenant, subscribeRound)
		if err != nil || len(due) == 0 {
			return jobs.Again(e.next(subscribeEvery, "subscribe "+j.Key)), err
		}
		for _, s := range due {
			err := e.keepSubscription(ctx, j, source, s)
			switch {
			case err == nil:
				failed = 0
				continue
			case stopped(ctx, err):
				return jobs.Result{}, err
			}
			if failed++; failed == 1 {
				e.Log.WarnContext(ctx, "a drive could not be subscribed to; its changes are found at its next visits", "tenant", j.Tenant, "unit", s.Unit, "err", err)
			}
			if err := e.Catalog.SaveSubscription(ctx, j, s, e.next(time.Hour, string(s.Unit))); err != nil {
				return jobs.Result{}, err
			}
			if failed == subscribeFails {
				break
			}
		}
	}
	return jobs.Again(e.next(subscribeEvery, "subscribe "+j.Key)), nil
}

// keepSubscription makes, renews or ends a subscription.
func (e *Engine) keepSubscription(ctx context.Context, j *jobs.Job, source *drive.Client, s catalog.Subscription) error {
	until := e.Clock().Add(subscriptionLife)
	if s.ID != "" && s.Current == s.Drive {
		_, err := source.Renew(ctx, s.ID, until)
		if err == nil {
			return e.Catalog.SaveSubscription(ctx, j, s, e.next(renewEvery, string(s.Unit)))
		}
		if !errors.Is(err, drive.ErrNotFound) {
			return err
		}
		s.ID = ""
	}
	if s.ID != "" {
		if err := source.Unsubscribe(ctx, s.ID); err != nil {
			return err
		}
	}
	if s.Current == "" {
		return e.Catalog.DropSubscription(ctx, j, s.Unit)
	}
	// What its notifications are known by is stored before any can come.
	s = catalog.Subscription{Unit: s.Unit, Drive: s.Current, Nonce: rand.Text()}
	if err := e.Catalog.SaveSubscription(ctx, j, s, e.Clock()); err != nil {
		return err
	}
	told := catalog.Told{Unit: s.Unit, Nonce: s.Nonce}
	made, err := source.Subscribe(ctx, s.Drive, strings.TrimRight(e.Notify.URL, "/")+NotifyPath+string(j.Tenant), e.Notify.state(j.Tenant, told), until)
	if err != nil {
		return err
	}
	s.ID = made.ID
	if err := e.Catalog.SaveSubscription(ctx, j, s, e.next(renewEvery, string(s.Unit))); err != nil {
		return err
	}
	// What changed before is not told.
	return e.Catalog.NotifyChanges(ctx, j.Tenant, []catalog.Told{told}, e.Notify.Moment, 0)
}
