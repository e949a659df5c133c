package drive

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// tokens keeps the access token. Whoever holds the lock may ask for a new one;
// the others wait for it.
type tokens struct {
	lock  chan struct{}
	value string
	until time.Time // when it is to be renewed
}

// renewBefore is how long before its end a token is no longer used.
const renewBefore = 5 * time.Minute

// The hosts of the service itself, each of which is a resource of its own. Any
// other host stands in for the first.
var graphHosts = []string{"graph.microsoft.com", "graph.microsoft.us", "dod-graph.microsoft.us", "microsoftgraph.chinacloudapi.cn"}

func (c *Client) scope() string {
	if slices.Contains(graphHosts, c.graph.Hostname()) {
		return "https://" + c.graph.Hostname() + "/.default"
	}
	return "https://" + graphHosts[0] + "/.default"
}

// accessToken returns a token for Graph, asking the authority for one when
// there is none that will last.
func (c *Client) accessToken(ctx context.Context, op string) (string, error) {
	select {
	case c.token.lock <- struct{}{}:
		defer func() { <-c.token.lock }()
	case <-ctx.Done():
		return "", during(ctx, op)
	}
	if c.token.value != "" && c.cfg.Clock().Before(c.token.until) {
		return c.token.value, nil
	}
	form := url.Values{
		"grant_type":    {"client_credentials"},
		"client_id":     {c.cfg.ClientID},
		"client_secret": {string(c.cfg.Secret)},
		"scope":         {c.scope()},
	}
	k := &call{
		op:        "sign in to tenant " + string(c.cfg.Tenant) + " as application " + c.cfg.ClientID,
		method:    http.MethodPost,
		url:       c.cfg.Authority + "/" + url.PathEscape(string(c.cfg.Tenant)) + "/oauth2/v2.0/token",
		header:    http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
		json:      []byte(form.Encode()),
		anonymous: true,
	}
	var answer struct {
		AccessToken string          `json:"access_token"`
		ExpiresIn   json.RawMessage `json:"expires_in"` // a number, or one in quotes
	}
	asked := c.cfg.Clock()
	if _, err := c.do(ctx, k, &answer); err != nil {
		return "", err
	}
	if answer.AccessToken == "" {
		return "", &Error{Op: k.op, Err: errors.New("the answer holds no token"), kind: ErrDenied}
	}
	var seconds json.Number
	json.Unmarshal(answer.ExpiresIn, &seconds)
	life, _ := seconds.Int64()
	// A token that lives shorter than our margin is used for half its life.
	d := time.Duration(life) * time.Second
	c.token.value, c.token.until = answer.AccessToken, asked.Add(max(d-renewBefore, d/2))
	return answer.AccessToken, nil
}

// dropToken forgets value, which was refused, unless a newer one is there.
func (c *Client) dropToken(ctx context.Context, value string) {
	select {
	case c.token.lock <- struct{}{}:
		if c.token.value == value {
			c.token.value = ""
		}
		<-c.token.lock
	case <-ctx.Done():
	}
}
