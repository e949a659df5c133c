package drive

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// tokens keeps the access token for one host, and sees to it that there is one.
type tokens struct {
	scope    string // empty: Graph's
	mu       sync.Mutex
	value    string
	refused  time.Time // when one was last renewed because it was refused
	until    time.Time // when it is to be renewed
	ends     time.Time // when it is no longer valid
	renewing *renewal  // the one under way, if there is one
}

// A renewal is one request for a token, which many may wait for.
type renewal struct {
	done  chan struct{} // closed when it is over
	value string        // then: the token, or
	err   *Error        // why there is none
}

const (
	// renewBefore is how long before its end a token is renewed.
	renewBefore = 5 * time.Minute
	// renewAgain is how long nothing is asked after a renewal failed while the
	// old token is valid, or after one because the old token was refused.
	renewAgain = 30 * time.Second
	// renewCall and renewAll are how long one try of a renewal may take, and all.
	renewCall = 30 * time.Second
	renewAll  = 5 * time.Minute
	// maxToken is more than any token has: it goes with each request.
	maxToken = 64 << 10
)

// The hosts of the service itself, each of which is a resource of its own. Any
// other host stands in for the first.
var graphHosts = []string{"graph.microsoft.com", "graph.microsoft.us", "dod-graph.microsoft.us", "microsoftgraph.chinacloudapi.cn"}

// files keeps the tokens for the hosts at which SharePoint has files.
type files struct {
	mu sync.Mutex
	of map[string]*tokens // by origin
}

// maxHosts is at how many hosts a tenant may have files: more are none of its.
const maxHosts = 100

// sharePoint are the domains of SharePoint, in all clouds.
var sharePoint = []string{".sharepoint.com", ".sharepoint.us", ".sharepoint-mil.us", ".sharepoint.cn"}

// tokensFor returns the keeper of the tokens that a request to u carries: Graph's
// for Graph, and one of their own for the hosts of files. It is nil for others,
// and where the address speaks for itself: no token goes to who it is not for.
func (c *Client) tokensFor(u *url.URL) *tokens {
	switch {
	case c.graph == nil || u.Query().Has("tempauth"):
		return nil
	case sameOrigin(u, c.graph):
		return &c.token
	case !hostOfFiles(u, c.graph):
		return nil
	}
	origin := u.Scheme + "://" + strings.ToLower(u.Host)
	c.files.mu.Lock()
	defer c.files.mu.Unlock()
	t := c.files.of[origin]
	if t == nil && len(c.files.of) < maxHosts {
		if c.files.of == nil {
			c.files.of = map[string]*tokens{}
		}
		t = &tokens{scope: origin + "/.default"}
		c.files.of[origin] = t
	}
	return t
}

// hostOfFiles reports whether u is at SharePoint; or, where this machine stands in
// for Graph, at its other name.
func hostOfFiles(u, graph *url.URL) bool {
	if u.Scheme == "https" && slices.ContainsFunc(sharePoint, func(domain string) bool { return strings.HasSuffix(strings.ToLower(u.Hostname()), domain) }) {
		return true
	}
	here := []string{"localhost", "127.0.0.1"}
	return u.Scheme == graph.Scheme && port(u) == port(graph) &&
		slices.Contains(here, strings.ToLower(u.Hostname())) && slices.Contains(here, strings.ToLower(graph.Hostname()))
}

func (c *Client) scope() string {
	if slices.Contains(graphHosts, c.graph.Hostname()) {
		return "https://" + c.graph.Hostname() + "/.default"
	}
	return "https://" + graphHosts[0] + "/.default"
}

// accessToken returns a token of t's other than refused. As long as there is
// a valid one nobody waits for the authority, which is asked for the next one
// in the background; without one, callers wait until their contexts end.
func (c *Client) accessToken(ctx context.Context, t *tokens, op, refused string) (string, error) {
	t.mu.Lock()
	now := c.cfg.Clock()
	valid := t.value != "" && t.value != refused && now.Before(t.ends)
	if t.renewing == nil && !(valid && now.Before(t.until)) {
		t.renewing = &renewal{done: make(chan struct{})}
		go c.renew(context.WithoutCancel(ctx), t, t.renewing)
	}
	value, r := t.value, t.renewing
	t.mu.Unlock()
	if valid {
		return value, nil
	}
	select {
	case <-r.done:
		if r.err != nil {
			failed := *r.err // each has its own to change
			return "", &failed
		}
		// What came is as good as it gets, even if it has ended on its way.
		return r.value, nil
	case <-ctx.Done():
		return "", during(ctx, op)
	}
}

// renew asks the authority for a token and tells those who wait.
func (c *Client) renew(ctx context.Context, t *tokens, r *renewal) {
	ctx, cancel := context.WithTimeout(ctx, renewAll)
	defer cancel()
	asked := c.cfg.Clock()
	value, life, err := c.askToken(ctx, cmp.Or(t.scope, c.scope()), false)
	if err != nil {
		e, ok := errors.AsType[*Error](err)
		if !ok {
			e = noAnswer("sign in to tenant "+string(c.cfg.Tenant), errors.New("no answer in time"))
		}
		e.again = false // it was tried often enough
		r.err = e
		c.cfg.Log.WarnContext(ctx, "no new access token", "err", e)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.err == nil {
		// A token that lives shorter than our margin is used for half its life.
		t.value, r.value = value, value
		t.until, t.ends = asked.Add(max(life-renewBefore, life/2)), asked.Add(life)
	} else {
		t.until = c.cfg.Clock().Add(max(renewAgain, r.err.RetryAfter))
	}
	t.renewing = nil
	close(r.done)
}

// signsIn asks the authority once for a token, unless there is a valid one, and returns
// why it gives none.
func (c *Client) signsIn(ctx context.Context) error {
	t := &c.token
	t.mu.Lock()
	valid := t.value != "" && c.cfg.Clock().Before(t.ends)
	t.mu.Unlock()
	if valid {
		return nil
	}
	_, _, err := c.askToken(ctx, c.scope(), true)
	return err
}

// askToken asks the authority for a token, as often as is worth it or once, and says how
// long it is valid.
func (c *Client) askToken(ctx context.Context, scope string, once bool) (string, time.Duration, error) {
	form := url.Values{
		"grant_type": {"client_credentials"},
		"client_id":  {c.cfg.ClientID},
		"scope":      {scope},
	}
	op := "sign in to tenant " + string(c.cfg.Tenant) + " as application " + c.cfg.ClientID
	endpoint := c.cfg.Authority + "/" + url.PathEscape(string(c.cfg.Tenant)) + "/oauth2/v2.0/token"
	if err := c.cfg.Credential.prove(form, c.cfg.ClientID, endpoint, c.cfg.Clock()); err != nil {
		return "", 0, &Error{Op: op, Err: err, kind: ErrDenied}
	}
	k := &call{
		op:        op,
		method:    http.MethodPost,
		url:       endpoint,
		header:    http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
		json:      []byte(form.Encode()),
		limit:     renewCall,
		anonymous: true,
		single:    once,
	}
	var answer struct {
		AccessToken string          `json:"access_token"`
		ExpiresIn   json.RawMessage `json:"expires_in"` // a number, or one in quotes
	}
	if _, err := c.do(ctx, k, &answer); err != nil {
		return "", 0, err
	}
	if answer.AccessToken == "" || len(answer.AccessToken) > maxToken {
		return "", 0, &Error{Op: k.op, Err: errors.New("the answer holds no token"), kind: ErrDenied}
	}
	var seconds json.Number
	json.Unmarshal(answer.ExpiresIn, &seconds)
	life, err := seconds.Int64()
	if err != nil || life <= 0 {
		life = 5 * 60 // it does not say, but it is one
	}
	return answer.AccessToken, time.Duration(min(life, 24*60*60)) * time.Second, nil
}

// cured reports whether another token may do where value was refused. If that
// was tried a moment ago, the refusal is about what was asked for.
func (c *Client) cured(t *tokens, value string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := c.cfg.Clock()
	if t.value != value || t.renewing != nil {
		return true
	}
	if !t.refused.IsZero() && now.Sub(t.refused) < renewAgain {
		return false
	}
	t.refused = now
	return true
}
