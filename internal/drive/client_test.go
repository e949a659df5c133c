package drive_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/budget"
	"holdfast/internal/drive"
)

const rootPath = "GET /v1.0/drives/D/root"

var rootJSON = reply(`{"id":"R","name":"root","root":{},"folder":{"childCount":3},"parentReference":{"driveId":"D","siteId":"S"}}`)

func TestASecretIsNeverPrinted(t *testing.T) {
	cfg := drive.Config{Credential: drive.Secret(secret)}
	var b strings.Builder
	slog.New(slog.NewJSONHandler(&b, nil)).Info("settings", "cfg", cfg, "secret", cfg.Credential)
	fmt.Fprintf(&b, "%v %+v %#v %s", cfg, cfg, cfg, cfg.Credential)
	if strings.Contains(b.String(), secret) {
		t.Errorf("printed: %s", b.String())
	}
}

func TestOneTokenServesAllUntilItEnds(t *testing.T) {
	s, clk := newSource(t), newClock()
	s.on(rootPath, rootJSON)
	c := s.client(clk)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := c.Root(t.Context(), "D"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if s.tokens != 1 {
		t.Errorf("tokens asked for = %d, want 1", s.tokens)
	}
	clk.Sleep(t.Context(), time.Hour)
	if _, err := c.Root(t.Context(), "D"); err != nil || s.tokens != 2 {
		t.Errorf("after its end: tokens = %d, err = %v; want a second one", s.tokens, err)
	}
}

func TestARefusedTokenIsRenewedOnce(t *testing.T) {
	s, clk := newSource(t), newClock()
	c := s.client(clk)
	root := func() error {
		clk.Sleep(t.Context(), time.Minute)
		_, err := c.Root(t.Context(), "D")
		return err
	}
	if err := root(); err != nil {
		t.Fatal(err)
	}
	s.on(rootPath, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer token-2" {
			refuse(401, "InvalidAuthenticationToken", "", "expired")(w, r)
			return
		}
		rootJSON(w, r)
	})
	if err := root(); err != nil || s.tokens != 2 {
		t.Errorf("revoked: err = %v after %d tokens, want the second to do", err, s.tokens)
	}
	s.on(rootPath, refuse(401, "InvalidAuthenticationToken", "", "no"))
	if err := root(); !errors.Is(err, drive.ErrDenied) || s.tokens != 3 {
		t.Errorf("always refused: err = %v after %d tokens, want ErrDenied after 3", err, s.tokens)
	}
	// A fresh one will be refused as well: it is the call.
	if _, err := c.Root(t.Context(), "D"); !errors.Is(err, drive.ErrDenied) || s.tokens != 3 {
		t.Errorf("refused again: err = %v after %d tokens, want ErrDenied at once", err, s.tokens)
	}
}

func TestAWrongSecretIsDeniedAndNamesTheApplication(t *testing.T) {
	s := newSource(t)
	s.on("POST /"+tenant+"/oauth2/v2.0/token", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(401)
		fmt.Fprint(w, `{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret","error_codes":[7000215]}`)
	})
	_, err := s.client(newClock()).Root(t.Context(), "D")
	if !errors.Is(err, drive.ErrDenied) {
		t.Fatalf("err = %v, want ErrDenied", err)
	}
	for _, want := range []string{"application app", tenant, "AADSTS7000215"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	if strings.Contains(err.Error(), secret) {
		t.Errorf("%q tells the secret", err)
	}
}

func TestAnErrorSaysWhatWhereAndWhich(t *testing.T) {
	s := newSource(t)
	s.on("GET /v1.0/drives/D/items/I", refuse(403, "accessDenied", "finer", "Not yours."))
	_, err := s.client(newClock()).Item(t.Context(), "D", "I")
	for _, want := range []string{"look at item I of drive D", "403", "accessDenied", "finer", "Not yours.", "req-7"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	e, ok := errors.AsType[*drive.Error](err)
	if !ok || e.Status != 403 || e.Code != "accessDenied" || e.Inner != "finer" || e.RequestID != "req-7" {
		t.Errorf("error = %+v", e)
	}
}

func TestFailuresHaveKinds(t *testing.T) {
	for _, tt := range []struct {
		answer http.HandlerFunc
		want   error
	}{
		{status(404), drive.ErrNotFound},
		{refuse(404, "itemNotFound", "", ""), drive.ErrNotFound},
		{refuse(403, "accessDenied", "", ""), drive.ErrDenied},
		{refuse(403, "malwareDetected", "", ""), drive.ErrMalware},
		{status(403, "X-Virus-Infected", "yes"), drive.ErrMalware},
		{refuse(409, "nameAlreadyExists", "", ""), drive.ErrExists},
		{refuse(412, "resourceModified", "", ""), drive.ErrChanged},
		{refuse(423, "notAllowed", "resourceLocked", ""), drive.ErrLocked},
		{refuse(507, "quotaLimitReached", "", ""), drive.ErrQuota},
		{refuse(410, "resyncRequired", "", ""), drive.ErrResync},
		{status(503), drive.ErrUnavailable},
		{refuse(429, "activityLimitReached", "throttledRequest", ""), drive.ErrUnavailable},
		{broken, drive.ErrUnavailable},
		{reply("<html>"), drive.ErrUnavailable},
	} {
		s := newSource(t)
		s.on("GET /v1.0/drives/D/items/I", tt.answer)
		_, err := s.client(newClock()).Item(t.Context(), "D", "I")
		if !errors.Is(err, tt.want) {
			t.Errorf("err = %v, want %v", err, tt.want)
		}
	}
}

func TestWhatPassesIsTriedAgain(t *testing.T) {
	half := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "500")
		fmt.Fprint(w, `{"id":`)
	}
	s, clk := newSource(t), newClock()
	s.answers(rootPath, status(500), status(503), status(504), broken, half, reply("<html>busy</html>"), status(509), rootJSON)
	it, err := s.client(clk).Root(t.Context(), "D")
	if err != nil || it.ID != "R" {
		t.Fatalf("Root = %+v, %v", it, err)
	}
	if n := len(s.requests()); n != 8 {
		t.Errorf("requests = %d, want 8", n)
	}
	for i, d := range clk.slept {
		if d < 500*time.Millisecond || d > 2*time.Minute {
			t.Errorf("wait %d = %v", i, d)
		}
	}
}

func TestTriesAreBounded(t *testing.T) {
	s := newSource(t)
	s.on(rootPath, status(503, "Retry-After", "17"))
	_, err := s.client(newClock(), func(c *drive.Config) { c.Tries = 3 }).Root(t.Context(), "D")
	e, _ := errors.AsType[*drive.Error](err)
	if !errors.Is(err, drive.ErrUnavailable) || e.RetryAfter != 17*time.Second || len(s.requests()) != 3 {
		t.Errorf("err = %+v after %d requests, want ErrUnavailable after 3", err, len(s.requests()))
	}
}

func TestAPauseStopsAllCallsOfTheTenant(t *testing.T) {
	s, clk := newSource(t), newClock()
	s.answers(rootPath, status(429, "Retry-After", "120"), rootJSON)
	sleeping, wake := make(chan time.Duration), make(chan struct{})
	c := s.client(clk, func(cfg *drive.Config) {
		cfg.MaxPause = 5 * time.Minute
		cfg.Sleep = func(ctx context.Context, d time.Duration) error {
			sleeping <- d
			<-wake
			return nil
		}
	})
	var wg sync.WaitGroup
	root := func() {
		if _, err := c.Root(t.Context(), "D"); err != nil {
			t.Error(err)
		}
	}
	wg.Go(root)
	first := <-sleeping
	wg.Go(root)
	second := <-sleeping
	if first != 2*time.Minute || second != 2*time.Minute {
		t.Errorf("waits = %v and %v, want 2m0s each", first, second)
	}
	if n := len(s.requests()); n != 1 {
		t.Errorf("requests during the pause = %d, want only the one refused", n)
	}
	clk.Sleep(t.Context(), 2*time.Minute)
	close(wake)
	wg.Wait()
	if n := len(s.requests()); n != 3 {
		t.Errorf("requests = %d, want 3", n)
	}
}

func TestAWaitEndsWithItsContext(t *testing.T) {
	s := newSource(t)
	s.on(rootPath, status(429, "Retry-After", "20"))
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the job was taken away")
	c := s.client(newClock(), func(cfg *drive.Config) {
		cfg.Sleep = func(ctx context.Context, d time.Duration) error {
			cancel(why)
			return ctx.Err()
		}
	})
	if _, err := c.Root(ctx, "D"); !errors.Is(err, why) {
		t.Errorf("err = %v, want the cause", err)
	}
}

func TestCallsStayWithinTheBudget(t *testing.T) {
	s, clk := newSource(t), newClock()
	s.on(rootPath, rootJSON)
	c := s.client(clk, func(cfg *drive.Config) {
		cfg.Budget = budget.New(budget.Config{Clock: clk.Now, Sleep: clk.Sleep, Limits: func(context.Context) (budget.Limits, error) { return budget.PerMinute(60), nil }})
	})
	for range 70 {
		if _, err := c.Root(t.Context(), "D"); err != nil {
			t.Fatal(err)
		}
	}
	if got := clk.total(); got < 65*time.Second || got > 80*time.Second {
		t.Errorf("70 units at 60 a minute took %v, want a little more than a minute", got)
	}
}

// What an answer says of how much is left of a minute is obeyed by all.
func TestWhatIsLeftOfTheLimitIsNotExceeded(t *testing.T) {
	for _, tt := range []struct {
		limit, left, reset string
		want               time.Duration
	}{
		{"1200", "120", "5", 0}, // the pace takes longer to spend it
		{"1200", "0", "20", 20 * time.Second},
		{"1200", "200", "20", 10 * time.Second},
		{"1200", "0", "45", 45 * time.Second}, // longer than anybody waits
		{"1200", "x", "20", 0}, {"1200", "-1", "20", 0}, {"0", "0", "20", 0}, {"1200", "0", "86400", 0}, {"10", "20", "20", 0},
	} {
		s, clk := newSource(t), newClock()
		s.on(rootPath, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("RateLimit-Limit", tt.limit)
			w.Header().Set("RateLimit-Remaining", tt.left)
			w.Header().Set("RateLimit-Reset", tt.reset)
			rootJSON(w, r)
		})
		shared := budget.New(budget.Config{Clock: clk.Now, Sleep: clk.Sleep})
		one, other := s.client(clk, func(cfg *drive.Config) { cfg.Budget = shared }), s.client(clk, func(cfg *drive.Config) { cfg.Budget = shared })
		if _, err := one.Root(t.Context(), "D"); err != nil {
			t.Fatal(err)
		}
		before := clk.total()
		_, err := other.Root(t.Context(), "D")
		waited := clk.total() - before
		if e, ok := errors.AsType[*drive.Error](err); ok && errors.Is(err, drive.ErrPaused) {
			waited, err = e.RetryAfter, nil
		}
		if err != nil || waited != tt.want {
			t.Errorf("%s/%s/%s: another client waited %v, %v; want %v", tt.limit, tt.left, tt.reset, waited, err, tt.want)
		}
	}
}

func TestTheTokenGoesToGraphAlone(t *testing.T) {
	body := content(1000)
	var seen http.Header
	files := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header.Clone()
		w.Write(body)
	}))
	defer files.Close()
	s := newSource(t)
	s.on("GET /v1.0/drives/D/items/F", reply("%s", fileJSON("F", "c1", body)))
	s.on("GET /v1.0/here", func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header.Clone()
		w.Write(body)
	})
	c := s.client(newClock())
	for _, tt := range []struct {
		to   string
		want string
	}{
		{files.URL + "/f?x=1", ""},
		{s.URL + "/v1.0/here?tempauth=abc", ""},
		{s.URL + "/v1.0/here", "Bearer token-1"},
	} {
		s.on("GET /v1.0/drives/D/items/F/content", status(302, "Location", tt.to))
		x, err := c.Download(t.Context(), "D", "F")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := readAll(t, x); err != nil || len(got) != len(body) {
			t.Errorf("%s: read %d bytes, %v", tt.to, len(got), err)
		}
		if got := seen.Get("Authorization"); got != tt.want {
			t.Errorf("%s: Authorization = %q, want %q", tt.to, got, tt.want)
		}
	}
}

func TestUserDrive(t *testing.T) {
	const path = "GET /v1.0/users/u/drive"
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   error
	}{
		{"empty", status(404), drive.ErrNoDrive},
		{"unprovisioned", refuse(404, "ResourceNotFound", "", "User's mysite not found."), drive.ErrNoDrive},
		{"newer", refuse(404, "itemNotFound", "", "404 FILE NOT FOUND"), drive.ErrNoDrive},
		{"unable", refuse(500, "UnknownError", "", "Unable to retrieve user's mysite URL."), drive.ErrNoDrive},
		{"licence", refuse(400, "BadRequest", "", "Tenant does not have a SPO license."), drive.ErrNoDrive},
		{"no user", refuse(404, "Request_ResourceNotFound", "", "Resource 'u' does not exist"), drive.ErrNotFound},
		{"locked", refuse(423, "notAllowed", "resourceLocked", ""), drive.ErrLocked},
	} {
		s := newSource(t)
		s.on(path, tt.answer)
		_, err := s.client(newClock()).UserDrive(t.Context(), "u")
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: err = %v, want %v", tt.name, err, tt.want)
		}
		if n := len(s.requests()); n != 1 {
			t.Errorf("%s: requests = %d, want 1: probing is throttled", tt.name, n)
		}
	}
	s := newSource(t)
	s.on(path, reply(`{"id":"b!D","name":"OneDrive","webUrl":"https://x/Documents","owner":{"user":{"id":"ABCD"}},
		"quota":{"total":10,"used":3,"remaining":7,"state":"normal"},"sharePointIds":{"siteId":"S"}}`))
	got, err := s.client(newClock()).UserDrive(t.Context(), "u")
	want := drive.Drive{ID: "b!D", Name: "OneDrive", WebURL: "https://x/Documents", SiteID: "S", Owner: "abcd",
		Quota: drive.Quota{Total: 10, Used: 3, Remaining: 7, State: "normal"}}
	if err != nil || got != want {
		t.Errorf("UserDrive = %+v, %v; want %+v", got, err, want)
	}
}

func TestFindUsersAsksInBatches(t *testing.T) {
	s := newSource(t)
	var filters []string
	s.on("GET /v1.0/users", func(w http.ResponseWriter, r *http.Request) {
		f := r.URL.Query().Get("$filter")
		filters = append(filters, f)
		if strings.Contains(f, "o''neil@x") {
			fmt.Fprint(w, `{"value":[{"id":"AA","userPrincipalName":"O'Neil@x","mail":"on@x","displayName":"O"},
				{"id":"bb","userPrincipalName":"other@x","mail":"o'neil@x","displayName":null}]}`)
			return
		}
		fmt.Fprint(w, `{"value":[]}`)
	})
	entries := []string{"o'neil@x", "0000000A-0000-0000-0000-000000000000"}
	for i := range 20 {
		entries = append(entries, fmt.Sprintf("u%d@x", i))
	}
	got, err := s.client(newClock()).FindUsers(t.Context(), entries)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got["o'neil@x"].ID != "aa" {
		t.Errorf("found %+v, want the one whose principal name it is", got)
	}
	for _, f := range filters {
		if n := strings.Count(f, " eq "); n > 15 {
			t.Errorf("a filter of %d clauses", n)
		}
	}
	if len(filters) != 4 {
		t.Errorf("filters = %d, want 4", len(filters))
	}
}

func TestUserChangesHoldWholeUsers(t *testing.T) {
	s := newSource(t)
	const gone = "00000000-0000-0000-0000-00000000000c"
	s.answers("GET /v1.0/users/delta",
		reply(`{"value":[{"id":"00000000-0000-0000-0000-00000000000A","userPrincipalName":"a@x","displayName":"A"}],"@odata.deltaLink":"%s/v1.0/users/delta?$deltatoken=1"}`, s.URL),
		reply(`{"value":[{"id":"00000000-0000-0000-0000-00000000000a","displayName":"A2"},{"id":"00000000-0000-0000-0000-00000000000b","@removed":{"reason":"deleted"}},
			{"id":"%s","mail":null}],"@odata.deltaLink":"%s/v1.0/users/delta?$deltatoken=2"}`, gone, s.URL))
	s.on("GET /v1.0/users", reply(`{"value":[{"id":"00000000-0000-0000-0000-00000000000a","userPrincipalName":"a@x","mail":"m@x","displayName":"A2"}]}`))
	c := s.client(newClock())

	pass := func(cursor string) ([]drive.UserChange, string) {
		x := c.Users(t.Context(), cursor)
		var got []drive.UserChange
		for u, err := range x.All() {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, u)
		}
		return got, x.Cursor()
	}
	first, cursor := pass("")
	if len(first) != 1 || first[0].User != (backup.Subject{ID: "00000000-0000-0000-0000-00000000000a", Address: "a@x", DisplayName: "A"}) {
		t.Errorf("first pass = %+v", first)
	}
	second, _ := pass(cursor)
	want := []drive.UserChange{
		{User: backup.Subject{ID: "00000000-0000-0000-0000-00000000000a", Address: "a@x", Mail: "m@x", DisplayName: "A2"}},
		{User: backup.Subject{ID: "00000000-0000-0000-0000-00000000000b"}, Removed: true},
		{User: backup.Subject{ID: gone}, Removed: true},
	}
	if !slices.Equal(second, want) {
		t.Errorf("second pass = %+v, want %+v", second, want)
	}
}

func TestWithoutATestClockItReallyWaits(t *testing.T) {
	s := newSource(t)
	s.answers(rootPath, status(429, "Retry-After", "1"), rootJSON)
	begin := time.Now()
	c := drive.New(drive.Config{Graph: s.URL + "/v1.0/", Authority: s.URL + "/", Tenant: tenant, ClientID: "app", Credential: drive.Secret(secret)})
	if _, err := c.Root(t.Context(), "D"); err != nil || time.Since(begin) < time.Second {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
	s.on(rootPath, status(429, "Retry-After", "20"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Root(ctx, "D"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("err = %v, want the context's", err)
	}
}

func TestARefusedDirectoryCursorMeansEnumerateAgain(t *testing.T) {
	s := newSource(t)
	s.on("GET /v1.0/users/delta", refuse(400, "Directory_ResyncRequired", "", ""))
	for _, cursor := range []string{s.URL + "/v1.0/users/delta?$deltatoken=1", "no cursor"} {
		for _, err := range s.client(newClock()).Users(t.Context(), cursor).All() {
			if !errors.Is(err, drive.ErrResync) {
				t.Errorf("%s: err = %v, want ErrResync", cursor, err)
			}
		}
	}
}
