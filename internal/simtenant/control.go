package simtenant

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"holdfast/internal/backup"
)

// controlPrefix is where a tenant is controlled, by calls that are no
// Microsoft's.
const controlPrefix = "/_holdfast/"

// A Control stands before a service and lets a test have its way with it: move
// its clock, have things go wrong, put its state away and back, and see what was
// asked of it. It is an http.Handler: what is below /_holdfast/ is for itself,
// and answered to this machine only; all else goes to the service.
//
// Its methods may be called from many goroutines.
type Control struct {
	svc     *Service
	hostile *Hostile
	log     requestLog

	mu      sync.Mutex
	profile string // that plays
	last    string // the state that was saved or loaded last; empty for none
}

// NewControl returns a control of s, whose Handler is not to be used beside. A
// tenant whose drives are all empty can be reset to that at any time.
func NewControl(s *Service) (*Control, error) {
	c := &Control{svc: s, hostile: NewHostile(s.Handler())}
	empty, err := s.empty()
	if err != nil {
		return nil, err
	}
	if empty {
		if err := c.Save("start"); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Tenant serves what a Control does, but for what is below /_holdfast/: things
// go wrong as they were made to, and nothing is logged.
func (c *Control) Tenant() http.Handler { return c.hostile }

// movable is a clock that can be moved.
type movable struct {
	mu    sync.Mutex
	real  backup.Clock
	ahead time.Duration
}

func (m *movable) now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.real().Add(m.ahead)
}

// Now returns the time that the tenant has.
func (c *Control) Now() time.Time { return c.svc.clock() }

// Advance moves the tenant's clock by d, which may be negative. Tokens, upload
// sessions and URLs expire by it.
func (c *Control) Advance(d time.Duration) time.Time {
	m := c.svc.time
	m.mu.Lock()
	m.ahead += d
	m.mu.Unlock()
	return c.Now()
}

// A Trouble is what goes wrong on purpose: a profile by its name, habits of the
// service, and single faults.
type Trouble struct {
	Profile string      `json:"profile,omitempty"`
	Victim  string      `json:"victim,omitempty"` // of a profile that hits single items: a pattern of their names, as in *.txt; empty is all
	Options *Options    `json:"options,omitempty"`
	Faults  []FaultRule `json:"faults,omitempty"`
}

// A FaultRule is a Fault in words.
type FaultRule struct {
	Method   string            `json:"method,omitempty"`   // empty is any
	Path     string            `json:"path,omitempty"`     // a text that the URL's path contains; empty is any
	Skip     int               `json:"skip,omitempty"`     // so many matching requests pass first
	Times    int               `json:"times,omitempty"`    // how many requests are hit; 0 is without end
	Status   int               `json:"status,omitempty"`   // answered instead of the service's answer, unless zero
	Header   map[string]string `json:"header,omitempty"`   // of that answer, as in {"Retry-After": "1"}
	Body     string            `json:"body,omitempty"`     // of that answer; empty is none
	Truncate int64             `json:"truncate,omitempty"` // if not zero, the connection breaks after so many bytes of the answer's body
	DelayMS  int               `json:"delayMs,omitempty"`  // how many milliseconds the answer takes longer
}

// ParseTrouble reads a profile file.
func ParseTrouble(r io.Reader) (Trouble, error) {
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	var t Trouble
	if err := dec.Decode(&t); err != nil {
		return t, fmt.Errorf("profile file: %w", err)
	}
	return t, t.check()
}

// check says what is wrong with t.
func (t Trouble) check() error {
	if _, ok := profileNamed(t.Profile); !ok && t.Profile != "" {
		return fmt.Errorf("there is no profile %q; see docs/tenant.md for those there are", t.Profile)
	}
	if t.Options != nil {
		if err := t.Options.check(); err != nil {
			return err
		}
	}
	if _, err := path.Match(t.Victim, "x"); err != nil {
		return fmt.Errorf("victim: %q is no pattern of names, such as *.txt", t.Victim)
	}
	for i, f := range t.Faults {
		if f.Status != 0 && (f.Status < 200 || f.Status > 599) {
			return fmt.Errorf("faults[%d]: status %d is none", i, f.Status)
		}
		if f.Status == 0 && f.Truncate == 0 && f.DelayMS == 0 {
			return fmt.Errorf("faults[%d] does nothing: give a status, truncate or delayMs", i)
		}
		if f.Skip < 0 || f.Times < 0 || f.Truncate < 0 || f.DelayMS < 0 {
			return fmt.Errorf("faults[%d]: a number is less than nothing", i)
		}
	}
	return nil
}

func profileNamed(name string) (Profile, bool) {
	for _, p := range AllProfiles() {
		if strings.EqualFold(p.Name, name) {
			return p, true
		}
	}
	return Profile{}, false
}

// Make has t go wrong from now on, beside the faults that there are already. A
// profile takes the place of the one that plays.
func (c *Control) Make(t Trouble) error {
	if err := t.check(); err != nil {
		return err
	}
	if p, ok := profileNamed(t.Profile); ok {
		c.mu.Lock()
		c.profile = p.Name
		c.mu.Unlock()
		c.hostile.Play(p, func(name string) bool {
			hit, _ := path.Match(t.Victim, name)
			return hit || t.Victim == ""
		})
	}
	if t.Options != nil {
		c.svc.faults.Set(func(o *Options) { *o = *t.Options })
	}
	for _, f := range t.Faults {
		fault := Fault{Skip: f.Skip, Times: f.Times, Status: f.Status, Body: f.Body, Truncate: f.Truncate, Delay: time.Duration(f.DelayMS) * time.Millisecond, Header: http.Header{}}
		for k, v := range f.Header {
			fault.Header.Set(k, v)
		}
		fault.Match = func(r *http.Request) bool {
			return (f.Method == "" || strings.EqualFold(f.Method, r.Method)) && strings.Contains(strings.ToLower(r.URL.Path), strings.ToLower(f.Path))
		}
		c.svc.faults.Add(fault)
	}
	return nil
}

// Calm ends all that goes wrong. It returns how many exchanges the profile
// spoiled that played.
func (c *Control) Calm() (hits int) {
	c.svc.faults.Clear()
	c.svc.faults.Set(func(o *Options) { *o = Options{} })
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.profile != "" {
		hits = c.hostile.Stop()
	}
	c.profile = ""
	return hits
}

// A ControlRoute is a call below /_holdfast/.
type ControlRoute struct {
	Method, Path, Does string
	serve              func(*Control, http.ResponseWriter, *http.Request) error
}

// ControlRoutes returns the calls that a Control answers itself.
func ControlRoutes() []ControlRoute {
	named := func(do func(*Control, string) error) func(*Control, http.ResponseWriter, *http.Request) error {
		return func(c *Control, w http.ResponseWriter, r *http.Request) error {
			var in struct {
				Name string `json:"name"`
			}
			if err := body(w, r, &in); err != nil {
				return err
			}
			if err := do(c, in.Name); err != nil {
				return err
			}
			return c.status(w, r)
		}
	}
	return []ControlRoute{
		{"GET", "", "Tells the time, the profile that plays, the options, the saved states and how many requests are logged.", (*Control).status},
		{"POST", "clock", `Moves the clock: {"advance":"90d"} or {"set":"2027-04-01T00:00:00Z"}.`, (*Control).moveClock},
		{"GET", "profiles", "Lists the profiles by name, each with what it imitates.", (*Control).listProfiles},
		{"POST", "trouble", "Has things go wrong: the body is what a profile file holds.", (*Control).makeTrouble},
		{"DELETE", "trouble", "Ends all that goes wrong; the answer says how many exchanges the profile spoiled.", (*Control).endTrouble},
		{"POST", "save", `Puts the tenant's state away: {"name":"seeded"}. Files, ids, delta tokens and the clock.`, named((*Control).Save)},
		{"POST", "load", `Puts a saved state back: {"name":"seeded"}. What the drives held since is destroyed.`, named((*Control).Load)},
		{"POST", "reset", "Puts the state back that was saved or loaded last, ends all that goes wrong, empties the request log and forgets the mail that was sent.", named(func(c *Control, _ string) error { return c.Reset() })},
		{"POST", "churn", `Changes so many things in a tenant that was made up from a seed: {"changes":100}.`, (*Control).churn},
		{"GET", "requests", "Tells what was asked of the tenant, oldest first; of ?method=, ?path= (contained), ?status= and ?after= (a number) those that are given must fit.", (*Control).listRequests},
		{"DELETE", "requests", "Empties the request log.", (*Control).forgetRequests},
		{"GET", "mail", "Tells what mail and invitations were sent, oldest first, each with its MIME content and with the users of the tenant that have it now. The last thousand, of 64 MB at most, are kept.", (*Control).listMail},
		{"DELETE", "mail", "Forgets what was sent.", (*Control).forgetMail},
		{"POST", "replay", `Asks again what is logged, in order: {"from":1,"to":20} or all. The answer tells each status, then and now.`, (*Control).replayRequests},
	}
}

func (c *Control) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rest, ok := strings.CutPrefix(r.URL.Path, strings.TrimSuffix(controlPrefix, "/"))
	if !ok || rest != "" && rest[0] != '/' {
		c.log.serve(w, r, c.hostile, c.svc.clock)
		return
	}
	mark(w, r)
	if err := c.control(w, r, strings.Trim(rest, "/")); err != nil {
		if _, ok := errors.AsType[*refusal](err); !ok {
			err = fail(http.StatusConflict, "conflict", err.Error())
		}
		c.svc.refuse(w, r, err)
	}
}

func (c *Control) control(w http.ResponseWriter, r *http.Request, rest string) error {
	if !fromHere(r) {
		return fail(http.StatusForbidden, "accessDenied", "A tenant is controlled from the machine that it runs on only, and by no web page.")
	}
	var allow []string
	for _, route := range ControlRoutes() {
		if route.Path != rest {
			continue
		}
		if route.Method == r.Method {
			return route.serve(c, w, r)
		}
		allow = append(allow, route.Method)
	}
	if allow != nil {
		return wrongMethod(allow...)
	}
	return noRoute()
}

// fromHere reports whether r comes from this machine, and from a program that
// meant to send it: a browser can be made to call any address by any page.
func fromHere(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	ip := net.ParseIP(host)
	if err != nil || ip == nil || !ip.IsLoopback() || r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "" {
		return false
	}
	name := r.Host
	if h, _, err := net.SplitHostPort(name); err == nil {
		name = h
	}
	ip = net.ParseIP(strings.Trim(name, "[]"))
	return strings.EqualFold(name, "localhost") || ip != nil && ip.IsLoopback()
}

func (c *Control) status(w http.ResponseWriter, _ *http.Request) error {
	c.mu.Lock()
	profile := c.profile
	c.mu.Unlock()
	states, err := c.svc.states()
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, map[string]any{
		"now": c.Now().UTC(), "profile": profile, "options": c.svc.faults.options(), "states": states, "requests": c.log.size(),
	})
}

// duration reads a duration as Go writes it, or in days.
func duration(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n > -100_000 && n < 100_000 {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	return time.ParseDuration(text)
}

func (c *Control) moveClock(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Advance string     `json:"advance"`
		Set     *time.Time `json:"set"`
	}
	if err := body(w, r, &in); err != nil {
		return err
	}
	switch {
	case in.Set != nil:
		c.Advance(in.Set.Sub(c.Now()))
	default:
		d, err := duration(in.Advance)
		if err != nil {
			return badRequest(`Give how far to move the clock, as in {"advance":"90d"} or {"advance":"1h30m"}, or where to, as in {"set":"2027-04-01T00:00:00Z"}.`)
		}
		c.Advance(d)
	}
	return c.status(w, r)
}

// Churn changes n things in a tenant that was made up from a seed.
func (c *Control) Churn(n int) error {
	return c.svc.Churn(n)
}

func (c *Control) churn(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Changes int `json:"changes"`
	}
	if err := body(w, r, &in); err != nil {
		return err
	}
	if in.Changes < 1 || in.Changes > 1_000_000 {
		return badRequest("changes is a number between 1 and 1,000,000.")
	}
	if err := c.Churn(in.Changes); err != nil {
		return err
	}
	return c.status(w, r)
}

func (c *Control) listProfiles(w http.ResponseWriter, _ *http.Request) error {
	list := []any{}
	for _, p := range AllProfiles() {
		list = append(list, map[string]any{"name": p.Name, "imitates": p.Imitates, "restoring": p.Restoring, "mail": p.Mail})
	}
	return reply(w, http.StatusOK, map[string]any{"profiles": list})
}

func (c *Control) makeTrouble(w http.ResponseWriter, r *http.Request) error {
	t, err := ParseTrouble(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		return badRequest(err.Error())
	}
	if err := c.Make(t); err != nil {
		return badRequest(err.Error())
	}
	return c.status(w, r)
}

func (c *Control) endTrouble(w http.ResponseWriter, _ *http.Request) error {
	return reply(w, http.StatusOK, map[string]any{"hits": c.Calm()})
}

// How much of what was asked is kept.
const (
	keepRequests = 10_000
	keepBody     = 256 << 10 // of one request
	keepBodies   = 64 << 20
)

// A Request is one that was asked of a tenant.
type Request struct {
	N       int64               `json:"n"`                 // its number, from 1
	At      time.Time           `json:"at"`                // when it came, by the tenant's clock
	Method  string              `json:"method"`            // GET and so on
	URL     string              `json:"url"`               // path and query
	Header  map[string][]string `json:"header"`            // what it came with, without tokens
	Body    []byte              `json:"body,omitempty"`    // in base64
	BodyCut bool                `json:"bodyCut,omitempty"` // the body was too long to be kept
	Status  int                 `json:"status"`            // 0 while it is under way
	token   string
	host    string
}

// requestLog keeps the latest requests.
type requestLog struct {
	mu    sync.Mutex
	n     int64
	list  []*Request
	bytes int
}

func (l *requestLog) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.list)
}

// seen is a body of which a copy is kept.
type seen struct {
	io.ReadCloser
	copy bytes.Buffer
	cut  bool
}

func (b *seen) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	keep := min(n, keepBody-b.copy.Len())
	b.copy.Write(p[:keep])
	b.cut = b.cut || keep < n
	return n, err
}

// watched notes the status of an answer.
type watched struct {
	http.ResponseWriter
	status int
}

func (w *watched) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *watched) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

func (w *watched) Flush() {
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// serve has next serve r, and takes down both.
func (l *requestLog) serve(w http.ResponseWriter, r *http.Request, next http.Handler, now backup.Clock) {
	entry := &Request{At: now().UTC(), Method: r.Method, URL: r.URL.RequestURI(), Header: r.Header.Clone(), token: r.Header.Get("Authorization"), host: r.Host}
	if entry.token != "" {
		kind, _, _ := strings.Cut(entry.token, " ")
		entry.Header["Authorization"] = []string{kind + " (not shown)"}
	}
	l.mu.Lock()
	l.n++
	entry.N = l.n
	l.list = append(l.list, entry)
	if extra := len(l.list) - keepRequests; extra > 0 {
		l.drop(extra)
	}
	l.mu.Unlock()
	b, out := &seen{ReadCloser: r.Body}, &watched{ResponseWriter: w}
	r.Body = b
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		entry.Status, entry.Body, entry.BodyCut = out.status, b.copy.Bytes(), b.cut
		l.bytes += len(entry.Body)
		for n := 1; l.bytes > keepBodies && len(l.list) > 1; n++ {
			l.drop(1)
		}
	}()
	next.ServeHTTP(out, r)
}

// drop lets go of the n oldest. Callers hold l.mu.
func (l *requestLog) drop(n int) {
	for _, old := range l.list[:n] {
		l.bytes -= len(old.Body)
	}
	l.list = slices.Delete(l.list, 0, n)
}

// Requests returns what was asked of the tenant and is still known, oldest
// first.
func (c *Control) Requests() []Request {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	out := make([]Request, len(c.log.list))
	for i, r := range c.log.list {
		out[i] = *r
	}
	return out
}

// Forget empties the request log.
func (c *Control) Forget() {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	c.log.list, c.log.bytes = nil, 0
}

func (c *Control) listRequests(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	for name := range q {
		if !slices.Contains([]string{"method", "path", "status", "after"}, name) {
			return badRequest("Requests are chosen by method, path, status and after, not by " + quoted(name) + ".")
		}
	}
	after, status := int64(0), 0
	var err, err2 error
	if text := q.Get("after"); text != "" {
		after, err = strconv.ParseInt(text, 10, 64)
	}
	if text := q.Get("status"); text != "" {
		status, err2 = strconv.Atoi(text)
	}
	if err != nil || err2 != nil {
		return badRequest("after and status are whole numbers.")
	}
	list := slices.DeleteFunc(c.Requests(), func(e Request) bool {
		return e.N <= after || status != 0 && e.Status != status ||
			q.Get("method") != "" && !strings.EqualFold(q.Get("method"), e.Method) || !strings.Contains(e.URL, q.Get("path"))
	})
	return reply(w, http.StatusOK, map[string]any{"requests": list})
}

func (c *Control) forgetRequests(w http.ResponseWriter, r *http.Request) error {
	c.Forget()
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// A Replayed is a request that was asked once more.
type Replayed struct {
	N      int64  `json:"n"`
	Method string `json:"method"`
	URL    string `json:"url"`
	Was    int    `json:"was"`           // the status at first
	Is     int    `json:"is"`            // the status now; 0 if it was not asked, or the answer broke off
	Why    string `json:"why,omitempty"` // it was not asked
}

// Replay asks again for those requests whose numbers are from and to or between,
// one after another, as those who asked. What it asks is not logged.
func (c *Control) Replay(from, to int64) []Replayed {
	out := []Replayed{}
	for _, e := range c.Requests() {
		if e.N < from || e.N > to {
			continue
		}
		one := Replayed{N: e.N, Method: e.Method, URL: e.URL, Was: e.Status}
		if e.BodyCut {
			one.Why = "its body was too long to be kept"
		} else {
			one.Is = e.again(c.hostile)
		}
		out = append(out, one)
	}
	return out
}

func (c *Control) replayRequests(w http.ResponseWriter, r *http.Request) error {
	in := struct {
		From int64 `json:"from"`
		To   int64 `json:"to"`
	}{0, 1 << 62}
	if err := body(w, r, &in); err != nil {
		return err
	}
	return reply(w, http.StatusOK, map[string]any{"replayed": c.Replay(in.From, in.To)})
}

// again has h serve the request once more, and returns the status.
func (e Request) again(h http.Handler) (status int) {
	r := httptest.NewRequest(e.Method, "http://tenant"+e.URL, bytes.NewReader(e.Body))
	r.Host, r.Header = e.host, http.Header(e.Header).Clone()
	r.Header.Del("Authorization")
	if e.token != "" {
		r.Header.Set("Authorization", e.token)
	}
	w := httptest.NewRecorder()
	defer func() {
		if what := recover(); what == http.ErrAbortHandler {
			status = 0
		} else if what != nil {
			panic(what)
		}
	}()
	h.ServeHTTP(w, r)
	return w.Code
}
