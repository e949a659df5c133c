package drive

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"holdfast/internal/backup"
	"holdfast/internal/budget"
)

// A Client speaks to one tenant's source. It may be used by many goroutines.
type Client struct {
	cfg   Config
	graph *url.URL // parsed from cfg.Graph; nil when that is not a URL
	http  *http.Client
	token tokens // for Graph
	files files  // for the hosts of files
	mail  mailboxes

	pulse   atomic.Uint64 // counts what the source answered, be it no
	probing chan struct{} // held by who asks whether the source is there at all
	// How long single items may be waited for, in units of patienceUnit: those
	// that are read, and those that are written.
	patience struct{ reading, writing *rate.Limiter }

	addresses addresses
	ranges    chan struct{} // one in it for each range of a content that is held

	gate   sync.Mutex
	closed time.Time // until when the source asked us to be still
	busy   struct {  // what the source was too busy for, and has answered nothing since
		pulse uint64
		of    map[string]bool // by subject
	}
	throttled map[string]throttle // by what was asked for, until that is answered
	hasty     struct {            // throttles that followed on few answers
		times int
		pulse uint64 // at the last throttle of any kind
	}
	witness backup.DriveID // of which something was answered last
}

// A throttle is what came of asking for one thing: 429, so many times that other
// things were answered in between.
type throttle struct {
	times int
	pulse uint64 // at the last
}

// transport is what all clients speak through that are given no other: connections bear
// nothing of a tenant, and a thousand tenants have one host in common.
var transport = sync.OnceValue(func() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 32
	t.WriteBufferSize = 64 << 10 // a small file goes out with its header
	t.ReadBufferSize = 16 << 10  // and comes in with it
	t.ResponseHeaderTimeout = 2 * time.Minute
	return t
})

// New returns a client for cfg. It asks nothing of the source: wrong settings
// show in the first call.
func New(cfg Config) *Client {
	def := func(p *string, v string) {
		if *p == "" {
			*p = v
		}
		*p = strings.TrimRight(*p, "/")
	}
	def(&cfg.Graph, "https://graph.microsoft.com/v1.0")
	def(&cfg.Authority, "https://login.microsoftonline.com")
	def(&cfg.UserAgent, "NONISV|Holdfast|Holdfast/1.0")
	if cfg.HTTP == nil {
		cfg.HTTP = &http.Client{Transport: transport()}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Tries <= 0 {
		cfg.Tries = 8
	}
	if cfg.MaxPause <= 0 {
		cfg.MaxPause = 30 * time.Second
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Sleep == nil {
		cfg.Sleep = backup.Sleep
	}
	if cfg.Budget == nil {
		cfg.Budget = budget.New(budget.Config{Tenant: cfg.Tenant, Clock: cfg.Clock, Sleep: cfg.Sleep})
	}
	c := &Client{
		cfg: cfg, http: new(*cfg.HTTP), probing: make(chan struct{}, 1), ranges: make(chan struct{}, rangesHeld),
	}
	c.patience.reading = rate.NewLimiter(rate.Every(10*patienceUnit), int(time.Second/patienceUnit))
	c.patience.writing = rate.NewLimiter(rate.Every(10*patienceUnit), int(30*time.Second/patienceUnit))
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.http.Jar = nil
	c.http.Transport = traced{c.http.Transport}
	c.graph, _ = url.Parse(cfg.Graph)
	return c
}

// What calls cost, in the source's resource units.
const (
	costGet   = 1 // one item, a page of changes since a token, a download
	costList  = 2 // a page of anything else
	costWrite = 2
)

// How long one try of a call may take.
const (
	shortCall = 2 * time.Minute
	longCall  = 15 * time.Minute // carries a fragment of content
	probeCall = 30 * time.Second
)

// maxPage is more than any page of the source has; what is longer is not a page.
const maxPage = 64 << 20

// A call is one request and all that is needed to send it again.
type call struct {
	op     string // what it does, for errors
	method string
	url    string
	header http.Header
	json   any           // the body, or
	body   *section      // the body
	cost   int           // in resource units; 0 does not count
	limit  time.Duration // for one try; default shortCall

	// itemOf is given when the call is about a single item of that drive, or of a
	// list (see ListRef.itemOf): its failing says nothing of the rest.
	itemOf backup.DriveID
	// mailbox is given when the call is to one, which has limits of its own.
	mailbox backup.DriveID
	tries   int     // of a single item; default itemTries
	direct  address // where a listing said that the answer is, tried once, before url
	about   string  // tells what is asked for from all else, where neither op nor url does; see thing

	anonymous bool // not to Graph: never carries a token, and Graph's pauses are not for it
	single    bool // is not tried again here
	once      bool // is not tried again once it may have taken effect

	// When stop is given, the answer's body is the caller's to read and to
	// close, and stop ends the call's context if the answer does not begin.
	stop context.CancelFunc

	// Set by a try that got no clear answer: it may have taken effect.
	unclear bool
}

// thing tells what k asks for from what other calls ask for.
func (k *call) thing() string {
	switch {
	case k.about != "":
		return k.about
	case k.method == http.MethodGet:
		return k.op // the address of a list's page changes
	}
	return k.method + " " + k.url
}

// do sends k until it is answered, and decodes the answer into out if that is
// not nil. With k.stop the response is returned instead, its body open.
func (c *Client) do(ctx context.Context, k *call, out any) (*http.Response, error) {
	if k.mailbox != "" {
		leave, err := c.mail.enter(ctx, k.mailbox)
		if err != nil {
			return nil, during(ctx, k.op)
		}
		defer leave()
	}
	var since uint64
	for try := 1; ; try++ {
		if k.mailbox != "" {
			if err := c.passMail(ctx, k); err != nil {
				return nil, err
			}
		}
		resp, err := c.try(ctx, k, out)
		if err == nil {
			return resp, nil
		}
		if ctx.Err() != nil {
			return nil, during(ctx, k.op)
		}
		e, ok := errors.AsType[*Error](err)
		if ok && c.cfg.Refused != nil && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden || e.Status == http.StatusTooManyRequests || e.Status >= 500) {
			c.cfg.Refused(e.Status)
		}
		if ok && k.direct.url != "" {
			if e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden {
				c.addresses.bar(k.direct.given)
			}
			k.direct = address{}
			if e.Status != http.StatusTooManyRequests {
				try = 0 // it says nothing of url
				continue
			}
		}
		if !ok || !e.again {
			return nil, err
		}
		if e.Status != http.StatusTooManyRequests {
			k.unclear = true
		}
		if try == 1 {
			since = c.pulse.Load()
		}
		if k.single || k.once && k.unclear {
			return nil, err
		}
		if err := c.again(ctx, k, e, try, since); err != nil {
			return nil, err
		}
	}
}

const (
	// itemTries is how often a single item is tried that fails while the rest
	// of the source does not.
	itemTries = 3
	// patienceUnit is the grain of the waiting for single items. A second of it
	// may come at once, half a minute for those that are written, and it comes back at a tenth of the time.
	patienceUnit = 100 * time.Millisecond
)

// shortly is how long a single item is waited for after so many tries.
func shortly(try int) time.Duration {
	d := time.Second << min(try-1, 3) / 2
	return d/2 + rand.N(d/2+1)
}

// spend takes d from the patience for single items, if as much is left: however
// many of them fail, together they hold nobody up for long.
func (c *Client) spend(k *call, d time.Duration) bool {
	left := c.patience.reading
	if k.method != http.MethodGet {
		left = c.patience.writing
	}
	return left.AllowN(c.cfg.Clock(), int(d/patienceUnit))
}

// rest waits for a single item as long as there is patience.
func (c *Client) rest(ctx context.Context, k *call, d time.Duration) error {
	if !c.spend(k, d) {
		return nil
	}
	return c.sleep(ctx, k.op, d)
}

// again decides what follows when k has failed with e for so many tries: nil,
// after a wait, when it is to be tried once more, else the error to return.
// Since is the client's pulse after the first of the failures.
//
// What fails is either one item, or the source. It is the item when the source
// has answered anything else since, or does so when it is asked for the drive's
// root: then there are few tries, shortly one after the other, at once if patience
// with single items has run out, and nobody else waits; whoever works on many
// items tries those that failed once more at the end. When it is the source,
// waits grow. All of the client's calls wait after a 429, and when calls to two
// drives get 503 with no answer to anything in between: for as long as the source
// asks once as many as maxBusy drives did, before that for MaxPause at most. What
// calls to a single drive get they wait for alone, for it may be that drive which
// is bad. So does one that gets 429 again and again while others are answered;
// and any that is asked for a long pause while the source answers for something
// else, when throttle has followed on throttle with few answers in between: that
// is no matter of how much was asked for. Nobody waits here for longer than
// Config.MaxPause.
func (c *Client) again(ctx context.Context, k *call, e *Error, try int, since uint64) error {
	if try >= c.cfg.Tries {
		return e
	}
	if again, paused := c.throttledMail(ctx, k, e); again || paused != nil {
		return paused
	}
	throttled := e.Status == http.StatusTooManyRequests
	own := throttled && (c.alone(k.thing()) || e.RetryAfter > c.cfg.MaxPause && c.elsewhere(ctx, k))
	if own && k.itemOf != "" {
		return e
	}
	if k.itemOf != "" && !throttled {
		switch {
		case try == 1 && e.RetryAfter == 0:
			return c.rest(ctx, k, shortly(try))
		case !c.alive(ctx, k.itemOf, since):
			if ctx.Err() != nil {
				return during(ctx, k.op)
			}
		case try >= max(k.tries, itemTries):
			return e
		default:
			if e.RetryAfter == 0 {
				return c.rest(ctx, k, shortly(try))
			}
			if e.RetryAfter > 10*time.Second || !c.spend(k, e.RetryAfter) {
				return e
			}
			return c.sleep(ctx, k.op, e.RetryAfter)
		}
	}
	d, most := time.Second, time.Minute
	busy := throttled || e.Status == http.StatusServiceUnavailable
	if busy {
		d, most = 10*time.Second, 2*time.Minute
	}
	least := d / 2
	if busy {
		least = d
	}
	d = min(d<<min(try-1, 10), most)
	d = min(max(d/2+rand.N(d/2+1), least), c.cfg.MaxPause)
	if e.RetryAfter > 0 {
		d = e.RetryAfter
	}
	c.cfg.Log.InfoContext(ctx, "source call failed, will be tried again", "err", e, "in", d, "try", try)
	everyone := !k.anonymous && !own && throttled
	all := d // how long everyone waits
	if busy && !throttled && !k.anonymous {
		n := c.crowd(k)
		everyone = n > 1
		if n < maxBusy {
			all = min(d, c.cfg.MaxPause)
		}
	}
	if everyone {
		c.pause(ctx, c.cfg.Clock().Add(all))
	}
	switch {
	case d > c.cfg.MaxPause:
		long := *e
		long.kind, long.again, long.RetryAfter = ErrPaused, false, d
		return &long
	case everyone:
		return nil // try waits at the gate
	}
	return c.sleep(ctx, k.op, d)
}

func (c *Client) sleep(ctx context.Context, op string, d time.Duration) error {
	if c.cfg.Sleep(ctx, d) != nil {
		return during(ctx, op)
	}
	return nil
}

// alive reports whether the source has answered anything since, or else answers
// now when it is asked for a drive's root.
func (c *Client) alive(ctx context.Context, d backup.DriveID, since uint64) bool {
	if c.pulse.Load() != since {
		return true
	}
	select {
	case c.probing <- struct{}{}:
		defer func() { <-c.probing }()
	case <-ctx.Done():
		return false
	}
	if c.pulse.Load() != since {
		return true
	}
	k := &call{
		op:     "look whether drive " + string(d) + " answers",
		method: http.MethodGet,
		url:    c.topOf(d),
		cost:   costGet,
		limit:  probeCall,
		single: true,
	}
	c.do(ctx, k, nil)
	return c.pulse.Load() != since
}

// topOf is the address of what every drive, every mailbox and every list has.
func (c *Client) topOf(d backup.DriveID) string {
	if strings.HasPrefix(string(d), "sites/") {
		return c.at(append(strings.Split(string(d), "/"), "?$select=id")...)
	}
	if strings.HasPrefix(string(d), "MBX:") {
		return c.inMailbox(d, "folders", string(MailRoot))
	}
	return c.at("drives", string(d), "root", "?$select=id")
}

// maxBusy is how many drives have to find the source busy until what it says of
// one, that it be left alone for long, is taken to be for all.
const maxBusy = 4

// crowd notes that a call found the source busy, and returns for how many drives
// it was, with no answer to anything in between: no more than maxBusy.
func (c *Client) crowd(k *call) int {
	c.gate.Lock()
	defer c.gate.Unlock()
	if now := c.pulse.Load(); c.busy.pulse != now || c.busy.of == nil {
		c.busy.pulse, c.busy.of = now, map[string]bool{}
	}
	if len(c.busy.of) < maxBusy {
		c.busy.of[k.subject()] = true
	}
	return len(c.busy.of)
}

// subject is what a call is about: the drive, or whatever else it names.
func (k *call) subject() string {
	if u, err := url.Parse(k.url); err == nil {
		if k.mailbox != "" {
			return "mailbox " + string(k.mailbox)
		}
		for _, kind := range []string{"drive", "user", "group", "site"} {
			if id := idIn(u, kind); id != "" {
				return kind + " " + strings.ToLower(id)
			}
		}
	}
	return k.op
}

const (
	// maxThrottled is how often one thing may have all calls wait while others
	// are answered in between.
	maxThrottled = 2
	// fewAnswers is how many answers between two throttles are too few to have
	// brought on the second.
	fewAnswers = 1000
	// maxThrottles is of how many things it is noted.
	maxThrottles = 10_000
)

// alone notes that a call was throttled, and reports whether that is about what
// it asks for, and not about the tenant.
func (c *Client) alone(thing string) bool {
	c.gate.Lock()
	defer c.gate.Unlock()
	now := c.pulse.Load()
	t, known := c.throttled[thing]
	if !known || t.pulse != now {
		t.times++
	}
	t.pulse = now
	if c.throttled == nil || !known && len(c.throttled) == maxThrottles {
		c.throttled = map[string]throttle{}
	}
	c.throttled[thing] = t
	return t.times > maxThrottled
}

// elsewhere notes that a call was throttled, and reports whether throttles come
// without much having been asked for, and the source answers for something else.
func (c *Client) elsewhere(ctx context.Context, k *call) bool {
	c.gate.Lock()
	now := c.pulse.Load()
	switch came := now - c.hasty.pulse; {
	case came > fewAnswers, c.hasty.times == 0:
		c.hasty.times = 1
	case came > 0:
		c.hasty.times++
	}
	c.hasty.pulse = now
	hasty := c.hasty.times > maxThrottled
	d := cmp.Or(k.itemOf, c.witness)
	c.gate.Unlock()
	return hasty && d != "" && c.alive(ctx, d, now)
}

// enter waits until the source may be asked again, and takes cost from the
// budget.
func (c *Client) enter(ctx context.Context, op string, cost int) error {
	for cost > 0 {
		paused, err := c.cfg.Budget.Take(ctx, cost)
		if err != nil {
			return c.broke(ctx, op, err)
		}
		if paused.IsZero() {
			break
		}
		// Another process was asked for a pause.
		c.close(paused)
		if err := c.pass(ctx, op); err != nil {
			return err
		}
	}
	return c.pass(ctx, op)
}

// pass waits until the source no longer asks to be left alone.
func (c *Client) pass(ctx context.Context, op string) error {
	for {
		c.gate.Lock()
		d := c.closed.Sub(c.cfg.Clock())
		c.gate.Unlock()
		switch {
		case d <= 0:
			return nil
		case d > c.cfg.MaxPause:
			return &Error{Op: op, RetryAfter: d, kind: ErrPaused}
		}
		if err := c.sleep(ctx, op, d); err != nil {
			return err
		}
	}
}

// close has all calls of this client wait until a time.
func (c *Client) close(until time.Time) {
	c.gate.Lock()
	defer c.gate.Unlock()
	if until.After(c.closed) {
		c.closed = until
	}
}

// pause has all calls of all processes wait until a time.
func (c *Client) pause(ctx context.Context, until time.Time) {
	c.close(until)
	if err := c.cfg.Budget.Pause(ctx, until); err != nil && ctx.Err() == nil {
		c.cfg.Log.WarnContext(ctx, "other processes do not know that the source asks for a pause", "err", err)
	}
}

// traced is a transport whose calls are seen in traces: to which host, and what was
// answered; not for what, since addresses name people and files.
type traced struct{ http.RoundTripper }

func (t traced) RoundTrip(r *http.Request) (*http.Response, error) {
	next := t.RoundTripper
	if next == nil {
		next = http.DefaultTransport
	}
	if !backup.Tracing() {
		return next.RoundTrip(r)
	}
	ctx, span := backup.BeginStep(r.Context(), "source "+r.Method)
	span.Note("server.address", r.URL.Hostname())
	resp, err := next.RoundTrip(r.WithContext(ctx))
	if err == nil {
		span.Note("http.response.status_code", resp.StatusCode)
	}
	span.End(err != nil || resp.StatusCode >= http.StatusBadRequest)
	return resp, err
}

// broke is what it comes to when the budget gives nothing.
func (c *Client) broke(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil {
		return during(ctx, op)
	}
	if e, ok := errors.AsType[*budget.Exhausted](err); ok {
		return &Error{Op: op, RetryAfter: max(e.Until.Sub(c.cfg.Clock()), time.Second), Err: e, kind: ErrPaused}
	}
	return fmt.Errorf("%s: %w", op, err)
}

// moved counts bytes that were read and written, and waits where an hour allows no
// more.
func (c *Client) moved(ctx context.Context, op string, read, written int64) error {
	if c.cfg.Moved != nil {
		c.cfg.Moved(read, written)
	}
	if err := c.cfg.Budget.Move(ctx, read, written); err != nil {
		return c.broke(ctx, op, err)
	}
	return nil
}

// leastLimit is less than any limit of a minute.
const leastLimit = 60

// told obeys what an answer says of how much of the limit is left: where that is
// less than the pace would take until there is more, all wait.
func (c *Client) told(ctx context.Context, h http.Header) {
	limit, _ := strconv.Atoi(h.Get("RateLimit-Limit"))
	left, err := strconv.Atoi(h.Get("RateLimit-Remaining"))
	reset, _ := strconv.Atoi(h.Get("RateLimit-Reset"))
	if err != nil || limit < leastLimit || left < 0 || left > limit || reset <= 0 || reset > 60 {
		return
	}
	if err := c.cfg.Budget.Told(ctx, limit); err != nil && ctx.Err() == nil {
		c.cfg.Log.WarnContext(ctx, "the source's word on its limit is not kept", "err", err)
	}
	wait := time.Duration(reset)*time.Second - time.Duration(left)*time.Minute/time.Duration(limit)
	until := c.cfg.Clock().Add(wait)
	c.gate.Lock()
	known := !until.After(c.closed.Add(time.Second))
	c.gate.Unlock()
	if wait >= time.Second && !known {
		c.pause(ctx, until)
	}
}

// try sends k once: with a fresh token if the first was refused, and to where
// the answer redirects.
func (c *Client) try(ctx context.Context, k *call, out any) (*http.Response, error) {
	if !k.anonymous {
		if err := c.enter(ctx, k.op, k.cost); err != nil {
			return nil, err
		}
	}
	parent := ctx
	cancel := context.CancelFunc(func() {})
	if k.stop != nil {
		late := time.AfterFunc(shortCall, k.stop)
		defer late.Stop()
	} else {
		limit := k.limit
		if limit == 0 {
			limit = shortCall
		}
		ctx, cancel = context.WithTimeout(ctx, limit)
	}
	defer cancel()

	target, err := url.Parse(cmp.Or(k.direct.url, k.url))
	if err != nil || target.Host == "" {
		return nil, &Error{Op: k.op, Err: errors.New("the address is not a URL")}
	}
	refused, hops := "", 0
	for {
		var token string
		keeper := c.tokensFor(target)
		if keeper != nil && !k.anonymous {
			if token, err = c.accessToken(parent, keeper, k.op, refused); err != nil {
				return nil, err
			}
		}
		resp, err := c.send(ctx, k, target, token)
		if err != nil {
			if ctx.Err() != nil && parent.Err() == nil {
				err = errors.New("no answer in time")
			}
			return nil, noAnswer(k.op, err)
		}
		if c.graph != nil && sameOrigin(target, c.graph) {
			c.told(ctx, resp.Header)
		}
		if resp.StatusCode < 300 {
			if k.stop == nil {
				err = c.receive(k, resp, out)
			}
			c.answered(k, err == nil)
			return resp, err
		}
		body, _ := io.ReadAll(io.LimitReader(resp.Body, maxError))
		resp.Body.Close()

		if resp.StatusCode == http.StatusUnauthorized && token != "" && refused == "" && c.cured(keeper, token) {
			refused = token // there is only one other to try
			continue
		}
		if to := resp.Header.Get("Location"); to != "" && k.follows(resp.StatusCode) && hops < 5 {
			next, err := target.Parse(to)
			if err != nil || next.Host == "" {
				return nil, &Error{Op: k.op, Status: resp.StatusCode, Err: errors.New("the redirection is not a URL")}
			}
			if k.method != http.MethodGet && next.Scheme != "https" && !sameOrigin(next, target) {
				return nil, &Error{Op: k.op, Status: resp.StatusCode, Err: errors.New("the redirection would send what is written elsewhere without TLS")}
			}
			target = next
			hops++
			if !k.anonymous {
				c.cfg.Budget.Charge(k.cost) // a call more than was known
			}
			continue
		}
		e := refusal(k.op, resp, body, c.cfg.Clock())
		if hops > 0 && e.kind != ErrMalware && e.Status >= 401 && e.Status <= 404 {
			// An address that was handed out a moment ago has expired: the call
			// as a whole gets another.
			e.again = true
		}
		c.answered(k, !e.again)
		return nil, e
	}
}

// follows reports whether k goes on where an answer of that status sends it: what
// writes does so, with all that it carries, where the status says that it may.
func (k *call) follows(status int) bool {
	if k.method == http.MethodGet {
		return status < 400
	}
	return status == http.StatusTemporaryRedirect || status == http.StatusPermanentRedirect
}

// answered counts what the source said for good, be it no.
func (c *Client) answered(k *call, so bool) {
	if !so || k.anonymous {
		return
	}
	c.pulse.Add(1)
	c.gate.Lock()
	delete(c.throttled, k.thing())
	if k.itemOf != "" {
		c.witness = k.itemOf
	}
	c.gate.Unlock()
}

func (c *Client) send(ctx context.Context, k *call, target *url.URL, token string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, k.method, "", nil)
	if err != nil {
		return nil, err
	}
	req.URL, req.Host = target, target.Host
	for name, v := range k.header {
		req.Header[name] = v
	}
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	switch {
	case k.body != nil:
		k.body.attach(req)
	case k.json != nil:
		b, ok := k.json.([]byte)
		if !ok {
			var err error
			if b, err = json.Marshal(k.json); err != nil {
				return nil, err
			}
			req.Header.Set("Content-Type", "application/json")
		}
		if len(b) > 0 {
			req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
			req.Body, _ = req.GetBody()
			req.ContentLength = int64(len(b))
		}
	}
	return c.http.Do(req)
}

// receive reads a whole answer into out.
func (c *Client) receive(k *call, resp *http.Response, out any) error {
	defer resp.Body.Close()
	if read, ok := out.(streamed); ok {
		err := read(resp.Body)
		if ours, ok := errors.AsType[*local](err); ok {
			return fmt.Errorf("%s: %w", k.op, ours.error)
		}
		if err != nil {
			return noAnswer(k.op, err)
		}
		return nil
	}
	var b bytes.Buffer
	if n := resp.ContentLength; n > 0 && n <= maxPage {
		b.Grow(int(n) + bytes.MinRead)
	}
	_, err := b.ReadFrom(io.LimitReader(resp.Body, maxPage+1))
	body := b.Bytes()
	switch {
	case err != nil:
		return noAnswer(k.op, err)
	case len(body) > maxPage:
		return &Error{Op: k.op, Status: resp.StatusCode, Err: errors.New("the answer is too long")}
	case out == nil || len(body) == 0 && resp.StatusCode == http.StatusNoContent:
		return nil
	}
	take := func(body []byte) error { return json.Unmarshal(body, out) }
	if t, ok := out.(interface{ take([]byte) error }); ok {
		take = t.take
	}
	if err := take(body); err != nil {
		// A proxy's page, half an answer, or an error that calls itself none.
		e := noAnswer(k.op, fmt.Errorf("the answer is not what was asked for: %w", err))
		e.Status, e.RequestID = resp.StatusCode, resp.Header.Get("request-id")
		return e
	}
	return nil
}

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" || u.Scheme != "https" {
		return p
	}
	return "443"
}

// at returns the address below Graph's base of a path given in segments, which
// may be followed by a query in a last segment beginning with "?".
func (c *Client) at(segments ...string) string {
	var b strings.Builder
	b.Grow(len(c.cfg.Graph) + 160)
	b.WriteString(c.cfg.Graph)
	for _, s := range segments {
		if strings.HasPrefix(s, "?") {
			b.WriteString(s)
			break
		}
		b.WriteByte('/')
		b.WriteString(url.PathEscape(s))
	}
	return b.String()
}
