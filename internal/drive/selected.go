package drive

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// An application that has Sites.Selected only may read the sites that it was granted,
// each by itself, and cannot list the tenant's.

// SiteAt returns the site at an address. One that the source does not know is
// ErrNotFound.
func (c *Client) SiteAt(ctx context.Context, address string) (Site, error) {
	at, err := url.Parse(address)
	if err != nil || at.Host == "" {
		return Site{}, &Error{Op: "find site " + address, Err: errors.New("it is no address"), kind: ErrNotFound}
	}
	where := c.at("sites", at.Host)
	if path := strings.Trim(at.EscapedPath(), "/"); path != "" {
		where += ":/" + path
	}
	return c.siteOf(ctx, address, where)
}

// GrantCall is the request by which an administrator lets this application read and
// restore a site.
func (c *Client) GrantCall(site string) string {
	return fmt.Sprintf(`POST %s/sites/%s/permissions with the body {"roles":["manage"],"grantedToIdentities":[{"application":{"id":"%s","displayName":"Holdfast"}}]}`, c.cfg.Graph, site, c.cfg.ClientID)
}

// rolesOf are the permissions that an access token says it has; nil where it does not
// say so in a way that can be read.
func rolesOf(token string) []string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil
	}
	var claims struct{ Roles []string }
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(text, &claims) != nil {
		return nil
	}
	return claims.Roles
}

// CheckSites asks whether the tenant's sites can be listed, and returns what stands in
// the way, nil if nothing; or, of an application that has only the sites that it was
// granted, a sentence on what that means.
func (c *Client) CheckSites(ctx context.Context) (note string, wrong error) {
	k := &call{op: "look whether sites can be listed", method: http.MethodGet, url: c.cfg.Graph + "/sites/getAllSites?$top=1&$select=id", cost: costGet, single: true}
	_, err := c.do(ctx, k, nil)
	if !errors.Is(err, ErrDenied) {
		return "", err
	}
	token, tokenErr := c.accessToken(ctx, &c.token, k.op, "")
	if tokenErr == nil && slices.Contains(rolesOf(token), "Sites.Selected") {
		return "the application has the sites that it was granted (Sites.Selected), and cannot list the others: add sites by their addresses or ids, " +
			"not by rules, and have an administrator grant each: " + c.GrantCall("SITE"), nil
	}
	return "", fmt.Errorf("the application may not list sites; grant it the application permission Sites.ReadWrite.All on Microsoft Graph, with an administrator's consent, "+
		"or Sites.Selected and each site by itself: %w", err)
}
