package drive

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// SecretEnds asks when the secret ends by which the application signs in. It reports
// false where that is nobody's to know: the application signs in otherwise, may not read
// itself (Application.Read.All), or has no secret that begins as this one.
func (c *Client) SecretEnds(ctx context.Context) (at time.Time, known bool) {
	secret, ok := c.cfg.Credential.(Secret)
	if !ok {
		return at, false
	}
	var app struct {
		PasswordCredentials []struct {
			Hint        string // the first characters of the secret
			EndDateTime time.Time
		}
	}
	k := &call{op: "look when the application's secret ends", method: http.MethodGet, cost: costGet, single: true,
		url: c.cfg.Graph + "/applications(appId='" + url.PathEscape(c.cfg.ClientID) + "')?$select=passwordCredentials"}
	if _, err := c.do(ctx, k, &app); err != nil {
		return at, false
	}
	for _, p := range app.PasswordCredentials { // of two that begin alike it may be the one that ends later
		if p.Hint != "" && strings.HasPrefix(string(secret), p.Hint) && p.EndDateTime.After(at) {
			at, known = p.EndDateTime, true
		}
	}
	return at, known
}
