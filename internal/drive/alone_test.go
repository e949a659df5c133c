package drive_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
)

// However many items fail for ever, each costs a few requests, and all of them
// together half a minute of waiting; nobody else waits at all.
func TestItemsThatFailForEverHoldNobodyUp(t *testing.T) {
	const items = 200
	for name, answer := range map[string]http.HandlerFunc{
		"500": status(500), "503": status(503), "503 with a pause": status(503, "Retry-After", "5"),
		"503 with a long pause": status(503, "Retry-After", "600"), "no answer": broken, "nonsense": with200(signIn),
	} {
		t.Run(name, func(t *testing.T) {
			s, clk := newSource(t), newClock()
			s.on(rootPath, rootJSON)
			c := s.client(clk)
			for i := range items {
				s.on(fmt.Sprintf("GET /v1.0/drives/D/items/I%d", i), answer)
				if _, err := c.Item(t.Context(), "D", idOf(i)); !errors.Is(err, drive.ErrUnavailable) || errors.Is(err, drive.ErrPaused) {
					t.Fatalf("err = %v, want ErrUnavailable", err)
				}
			}
			most := 3 * items
			if name == "no answer" {
				most += 2 * items // the transport itself asks again over a new connection
			}
			if n := s.requestsBut(rootPath); n > most {
				t.Errorf("%d requests, want %d at most", n, most)
			}
			if n := s.count(rootPath); n > items {
				t.Errorf("the root was asked for %d times, want once for each item at most", n)
			}
			if d := clk.total(); d > 40*time.Second {
				t.Errorf("waited %v", d)
			}
		})
	}
}

func (s *source) requestsBut(route string) int { return len(s.requests()) - s.count(route) }

func TestContentsThatFailForEverHoldNobodyUp(t *testing.T) {
	s, clk := newSource(t), newClock()
	s.on(itemPath, reply("%s", fileJSON("F", "c1", content(10))))
	s.on(contentPath, status(503))
	c := s.client(clk)
	for range 100 {
		if _, _, err := download(t, c); !errors.Is(err, drive.ErrUnavailable) {
			t.Fatalf("err = %v, want ErrUnavailable", err)
		}
	}
	if n := s.count(contentPath); n > 300 {
		t.Errorf("%d requests for 100 contents", n)
	}
	if d := clk.total(); d > 40*time.Second {
		t.Errorf("waited %v", d)
	}
}

// When nothing answers, it is not the item.
func TestAnOutageIsWaitedFor(t *testing.T) {
	s, clk := newSource(t), newClock()
	s.on(rootPath, status(502))
	s.answers(itemPath, status(502), status(502), status(502), status(502), status(502), reply("%s", fileJSON("F", "c1", nil)))
	if it, err := s.client(clk).Item(t.Context(), "D", "F"); err != nil || it.ID != "F" {
		t.Errorf("Item = %+v, %v; want it after the outage", it, err)
	}
	if d := clk.total(); d < 5*time.Second {
		t.Errorf("waited %v, want waits that grow", d)
	}
}

func TestABusySourcePausesAllCalls(t *testing.T) {
	busy := status(503, "Retry-After", "20")
	for _, tt := range []struct {
		name string
		call func(ctx context.Context, c *drive.Client)
		want bool
	}{
		{"one drive", func(ctx context.Context, c *drive.Client) { c.Root(ctx, "D1") }, false},
		{"two drives, one after the other", func(ctx context.Context, c *drive.Client) { c.Root(ctx, "D1"); c.Root(ctx, "D2") }, true},
		{"two drives, with an answer in between", func(ctx context.Context, c *drive.Client) {
			c.Root(ctx, "D1")
			c.Root(ctx, "D")
			c.Root(ctx, "D2")
		}, false},
		{"an item, and its drive's root", func(ctx context.Context, c *drive.Client) { c.Item(ctx, "D1", "I") }, false},
		{"a drive's root, its changes and its items", func(ctx context.Context, c *drive.Client) {
			c.Root(ctx, "D1")
			for range c.Delta(ctx, "D1", "").All() {
			}
			c.Item(ctx, "D1", "I")
		}, false},
		{"an item of a drive that answers", func(ctx context.Context, c *drive.Client) { c.Item(ctx, "D", "I") }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, clk := newSource(t), newClock()
			for _, path := range []string{"D1/root", "D1/root/delta", "D2/root", "D1/items/I", "D/items/I"} {
				s.on("GET /v1.0/drives/"+path, busy)
			}
			c := s.client(clk, func(cfg *drive.Config) {
				cfg.Tries = 2
				cfg.Sleep = func(ctx context.Context, d time.Duration) error { return errStop }
			})
			tt.call(t.Context(), c)
			// Whoever is not to wait gets an answer at once.
			_, err := c.Root(t.Context(), "D")
			if paused := err != nil; paused != tt.want {
				t.Errorf("another call waits: %v, want %v (%v)", paused, tt.want, err)
			}
		})
	}
}

var errStop = errors.New("nobody waits here")

// How long a few bad drives ask for is not for all; what many drives are told is.
func TestALongPauseOfBusyDrivesIsTheirOwn(t *testing.T) {
	s, clk := newSource(t), newClock()
	c := s.client(clk)
	for n := 1; n <= 4; n++ {
		id := fmt.Sprint("D", n)
		s.on("GET /v1.0/drives/"+id+"/root", status(503, "Retry-After", "3600"))
		for err := error(nil); ; {
			// Who had to wait for the others asks again.
			if _, err = c.Root(t.Context(), backup.DriveID(id)); !errors.Is(err, drive.ErrPaused) {
				t.Fatalf("drive %d: %v, want ErrPaused", n, err)
			}
			if e, _ := errors.AsType[*drive.Error](err); e.RetryAfter == time.Hour {
				break
			}
			clk.Sleep(t.Context(), time.Minute)
		}
	}
	if _, err := c.Root(t.Context(), "D"); !errors.Is(err, drive.ErrPaused) {
		t.Errorf("after four drives: %v, want ErrPaused", err)
	}
	clk.Sleep(t.Context(), time.Hour)
	c.Root(t.Context(), "D") // is answered
	for _, id := range []backup.DriveID{"D1", "D2"} {
		c.Root(t.Context(), id)
	}
	before := clk.total()
	if _, err := c.Root(t.Context(), "D"); err != nil || clk.total()-before > 30*time.Second {
		t.Errorf("after two drives: %v after %v, want an answer within half a minute", err, clk.total()-before)
	}
}

// What is throttled for ever while all else is answered holds up the others
// twice, and then itself.
func TestAThrottleOfOneThingIsItsOwn(t *testing.T) {
	for name, tt := range map[string]struct {
		path  string
		call  func(ctx context.Context, c *drive.Client) error
		final error
	}{
		"a drive": {"D1/root", func(ctx context.Context, c *drive.Client) error { _, err := c.Root(ctx, "D1"); return err }, drive.ErrPaused},
		"an item": {"D/items/I", func(ctx context.Context, c *drive.Client) error { _, err := c.Item(ctx, "D", "I"); return err }, drive.ErrUnavailable},
	} {
		s, clk := newSource(t), newClock()
		s.on("GET /v1.0/drives/"+tt.path, status(429, "Retry-After", "3000"))
		c := s.client(clk)
		held := 0
		for range 6 {
			if err := tt.call(t.Context(), c); !errors.Is(err, drive.ErrUnavailable) {
				t.Errorf("%s: err = %v, want ErrUnavailable", name, err)
			}
			if _, err := c.Root(t.Context(), "D"); errors.Is(err, drive.ErrPaused) {
				held++
				clk.Sleep(t.Context(), time.Hour)
				if _, err := c.Root(t.Context(), "D"); err != nil {
					t.Errorf("%s: another, after the pause: %v", name, err)
				}
			}
		}
		if held != 2 {
			t.Errorf("%s: the others were held up %d times, want 2", name, held)
		}
		if err := tt.call(t.Context(), c); !errors.Is(err, tt.final) || tt.final != drive.ErrPaused && errors.Is(err, drive.ErrPaused) {
			t.Errorf("%s: in the end %v, want %v", name, err, tt.final)
		}
		// Once it is answered, it is as any other.
		s.answers("GET /v1.0/drives/"+tt.path, reply("%s", fileJSON("I", "c", nil)), status(429, "Retry-After", "3000"))
		if err := tt.call(t.Context(), c); err != nil {
			t.Errorf("%s: answered: %v", name, err)
		}
		for range 1100 { // much has been asked for since
			c.Root(t.Context(), "D")
		}
		if err := tt.call(t.Context(), c); !errors.Is(err, drive.ErrPaused) {
			t.Errorf("%s: throttled anew: %v, want ErrPaused", name, err)
		}
	}
}

// Of many things that are throttled, each alone, the others hear no more than of
// one.
func TestThrottlesOfManyThingsAreTheirOwn(t *testing.T) {
	s, clk := newSource(t), newClock()
	c := s.client(clk)
	held := 0
	for i := range 20 {
		id := backup.ItemID(fmt.Sprint("I", i))
		s.on("GET /v1.0/drives/D/items/"+string(id), status(429, "Retry-After", "3000"))
		for range 3 {
			if _, err := c.Item(t.Context(), "D", id); !errors.Is(err, drive.ErrUnavailable) {
				t.Errorf("%s: %v", id, err)
			}
			if _, err := c.Root(t.Context(), "D"); errors.Is(err, drive.ErrPaused) {
				held++
				clk.Sleep(t.Context(), time.Hour)
				if _, err := c.Root(t.Context(), "D"); err != nil {
					t.Errorf("another, after the pause: %v", err)
				}
			}
		}
	}
	if held != 2 {
		t.Errorf("the others were held up %d times, want 2", held)
	}
	// When it is about all of the tenant, all wait as before.
	s.on("GET /v1.0/drives/D/root", status(429, "Retry-After", "3000"))
	s.on("GET /v1.0/drives/D/items/J", status(429, "Retry-After", "3000"))
	if _, err := c.Item(t.Context(), "D", "J"); !errors.Is(err, drive.ErrPaused) {
		t.Errorf("all is throttled: %v, want ErrPaused", err)
	}
}

func TestALongPauseHoldsNoWorker(t *testing.T) {
	s, clk := newSource(t), newClock()
	s.on(rootPath, status(429, "Retry-After", "120"))
	s.on(itemPath, reply("%s", fileJSON("F", "c1", nil)))
	c := s.client(clk)
	_, err := c.Root(t.Context(), "D")
	e, _ := errors.AsType[*drive.Error](err)
	if !errors.Is(err, drive.ErrPaused) || !errors.Is(err, drive.ErrUnavailable) || e.RetryAfter != 2*time.Minute || !strings.Contains(err.Error(), "2m0s") {
		t.Fatalf("err = %v, want ErrPaused of two minutes", err)
	}
	clk.Sleep(t.Context(), 80*time.Second)
	if _, err = c.Item(t.Context(), "D", "F"); !errors.Is(err, drive.ErrPaused) {
		t.Fatalf("another call meanwhile: %v, want ErrPaused", err)
	}
	if e, _ = errors.AsType[*drive.Error](err); e.RetryAfter != 40*time.Second {
		t.Errorf("RetryAfter = %v, want what is left", e.RetryAfter)
	}
	clk.Sleep(t.Context(), 20*time.Second)
	before := clk.total()
	if _, err = c.Item(t.Context(), "D", "F"); err != nil || clk.total()-before != 20*time.Second {
		t.Errorf("near the end: %v after %v, want an answer after 20 s", err, clk.total()-before)
	}
	if n := len(s.requests()); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
	// One call of one drive pauses only that.
	s.on("GET /v1.0/drives/D1/root", status(503, "Retry-After", "600"))
	if _, err = c.Root(t.Context(), "D1"); !errors.Is(err, drive.ErrPaused) {
		t.Errorf("a busy drive: %v, want ErrPaused", err)
	}
	if _, err = c.Item(t.Context(), "D", "F"); err != nil {
		t.Errorf("another drive: %v", err)
	}
}

func TestReasonsAreForPeople(t *testing.T) {
	long := strings.Repeat("é", 400)
	for _, tt := range []struct {
		answer http.HandlerFunc
		want   string
	}{
		{refuse(400, "invalidRequest", "pathIsTooLong", "The path is too long."), "The source says: The path is too long (pathIsTooLong)."},
		{refuse(403, "accessDenied", "", "A retention label is applied"), "The source says: A retention label is applied (accessDenied)."},
		{refuse(403, "accessDenied", "", "See https://x/?tempauth=secret for\nmore."), "The source says: See (address) for more (accessDenied)."},
		{refuse(403, "accessDenied", "", long), "The source says: " + strings.Repeat("é", 300) + "… (accessDenied)."},
		{refuse(403, "accessDenied", "", ""), "The source says accessDenied."},
		{status(403), ""},
	} {
		s := newSource(t)
		s.on(itemPath, tt.answer)
		_, err := s.client(newClock()).Item(t.Context(), "D", "F")
		if e, ok := errors.AsType[*drive.Error](err); !ok || e.Reason() != tt.want {
			t.Errorf("Reason of %v = %q, want %q", err, e.Reason(), tt.want)
		}
	}
}

// slowTokens makes the authority wait for free before it answers for the second
// time, and tells when it was asked.
func slowTokens(s *source, expires string) (asked, free chan struct{}) {
	asked, free = make(chan struct{}, 9), make(chan struct{})
	var mu sync.Mutex
	n := 0
	s.on("POST /"+tenant+"/oauth2/v2.0/token", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		n++
		mine := n
		mu.Unlock()
		if mine > 1 {
			asked <- struct{}{}
			<-free
		}
		fmt.Fprintf(w, `{"expires_in":%s,"access_token":"token-%d"}`, expires, mine)
	})
	return asked, free
}

func TestWhoeverHasATokenNeverWaitsForTheNext(t *testing.T) {
	s, clk := newSource(t), newClock()
	asked, free := slowTokens(s, "3600")
	c := s.client(clk)
	root := func() error {
		_, err := c.Root(t.Context(), "D")
		return err
	}
	if err := root(); err != nil {
		t.Fatal(err)
	}
	clk.Sleep(t.Context(), 56*time.Minute)
	for range 3 {
		if err := root(); err != nil {
			t.Errorf("while the next token is asked for: %v", err)
		}
	}
	<-asked
	if len(asked) != 0 {
		t.Error("the next token is asked for more than once")
	}

	// One item that is refused is not the end of the token for the others.
	answered := make(chan struct{}, 9)
	s.on(itemPath, func(w http.ResponseWriter, r *http.Request) {
		refuse(401, "InvalidAuthenticationToken", "", "no")(w, r)
		answered <- struct{}{}
	})
	ctx, cancel := context.WithCancel(t.Context())
	refused := make(chan error)
	go func() {
		_, err := c.Item(ctx, "D", "F")
		refused <- err
	}()
	<-answered
	if err := root(); err != nil {
		t.Errorf("while one item is refused: %v", err)
	}
	cancel()
	if err := <-refused; !errors.Is(err, context.Canceled) {
		t.Errorf("whoever waits for another token = %v, want the end of its context", err)
	}

	// Without a valid one, everybody waits as long as it may.
	clk.Sleep(t.Context(), 5*time.Minute)
	ctx, cancel = context.WithCancel(t.Context())
	go func() {
		_, err := c.Root(ctx, "D")
		refused <- err
	}()
	cancel()
	if err := <-refused; !errors.Is(err, context.Canceled) {
		t.Errorf("without a token = %v, want the end of its context", err)
	}
	close(free)
	if err := root(); err != nil {
		t.Errorf("once the next token is there: %v", err)
	}
}

func TestTokensOfNoStatedLifeAreUsed(t *testing.T) {
	for _, life := range []string{"null", `"soon"`, "-1", "0", "1e99", `"3600"`, "99999999999999"} {
		s, clk := newSource(t), newClock()
		_, free := slowTokens(s, life)
		close(free)
		c := s.client(clk)
		for range 3 {
			if _, err := c.Root(t.Context(), "D"); err != nil {
				t.Errorf("expires_in %s: %v", life, err)
			}
		}
	}
}

// An issuer that is throttled does not stop Graph, and its refusals are not
// Graph's.
func TestTheIssuersPausesAreItsOwn(t *testing.T) {
	s, clk := newSource(t), newClock()
	c := s.client(clk)
	if _, err := c.Root(t.Context(), "D"); err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{}, 9)
	s.on("POST /"+tenant+"/oauth2/v2.0/token", func(w http.ResponseWriter, r *http.Request) {
		status(429, "Retry-After", "600")(w, r)
		asked <- struct{}{}
	})
	clk.Sleep(t.Context(), 57*time.Minute)
	for range 3 {
		if _, err := c.Root(t.Context(), "D"); err != nil {
			t.Errorf("with a valid token: %v", err)
		}
	}
	<-asked
	clk.Sleep(t.Context(), 5*time.Minute)
	if _, err := c.Root(t.Context(), "D"); !errors.Is(err, drive.ErrPaused) {
		t.Errorf("without one: %v, want ErrPaused", err)
	}
	s.on("POST /"+tenant+"/oauth2/v2.0/token", refuse(400, "invalid_grant", "", "no"))
	if _, _, err := pass(t, c, s.URL+"/v1.0/drives/D/root/delta?token=1"); errors.Is(err, drive.ErrResync) || err == nil {
		t.Errorf("a refused sign-in = %v, want no word of the cursor", err)
	}
}

func TestUsersWithoutIDAreLeftOut(t *testing.T) {
	s := newSource(t)
	s.on("GET /v1.0/groups/G", reply(`{"id":"g"}`))
	s.on("GET /v1.0/groups/G/members/microsoft.graph.user", reply(`{"value":[{"userPrincipalName":"a@x"},7,{"id":"B","displayName":{"no":"text"}},{"id":[]}]}`))
	s.on("GET /v1.0/users/delta", reply(`{"value":[{"displayName":"nobody"},{"id":"B"}],"@odata.deltaLink":"%s/v1.0/x"}`, s.URL))
	c := s.client(newClock())
	got, err := membersOf(t, c)
	if !errors.Is(err, drive.ErrUnavailable) {
		t.Errorf("a group with members that have no id: %v, want ErrUnavailable", err)
	}
	for u, err := range c.Users(t.Context(), "").All() {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(u.User.ID))
	}
	if fmt.Sprint(got) != "[b b]" {
		t.Errorf("users = %v, want b twice", got)
	}
}

func membersOf(t *testing.T, c *drive.Client) (ids []string, err error) {
	t.Helper()
	for u, err := range c.GroupMembers(t.Context(), "G") {
		if err != nil {
			return ids, err // the last there is
		}
		ids = append(ids, string(u.ID))
	}
	return ids, nil
}

// An empty list may be of a group that is gone, and a link may lead to another.
func TestGroupIsAskedForItself(t *testing.T) {
	const list = "GET /v1.0/groups/G/members/microsoft.graph.user"
	for name, group := range map[string]struct {
		itself, list string
		want         error
	}{
		"there":            {`{"id":"g"}`, `{"value":[]}`, nil},
		"gone":             {"", `{"value":[]}`, drive.ErrNotFound},
		"another":          {`{"id":"h"}`, `{"value":[]}`, drive.ErrUnavailable},
		"list of another":  {`{"id":"g"}`, `{"value":[],"@odata.nextLink":"%s/v1.0/groups/H/members"}`, drive.ErrUnavailable},
		"list in a circle": {`{"id":"g"}`, `{"value":[],"@odata.nextLink":"%s/v1.0/groups/G/members/microsoft.graph.user?a"}`, drive.ErrEndless},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSource(t)
			s.on(list, reply("%s", strings.Replace(group.list, "%s", s.URL, 1)))
			if s.on("GET /v1.0/groups/G", reply("%s", group.itself)); group.itself == "" {
				s.on("GET /v1.0/groups/G", refuse(404, "Request_ResourceNotFound", "", "no"))
			}
			if _, err := membersOf(t, s.client(newClock())); !errors.Is(err, group.want) {
				t.Errorf("its members: %v, want %v", err, group.want)
			}
		})
	}
}

func idOf(i int) backup.ItemID { return backup.ItemID(fmt.Sprintf("I%d", i)) }
