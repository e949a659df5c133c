package drive

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"holdfast/internal/backup"
)

// Check asks the source for one of each kind of thing that backups and restores
// need, and returns what stands in their way, in sentences for whoever runs the
// server: nothing if all is well. It changes nothing.
func (c *Client) Check(ctx context.Context) (wrong []error) {
	ask := func(what, permission, path string, out any) (again bool) {
		k := &call{op: "look whether " + what + " can be read", method: http.MethodGet, url: c.cfg.Graph + path, cost: costGet, single: true}
		_, err := c.do(ctx, k, out)
		e, known := errors.AsType[*Error](err)
		switch {
		case err == nil:
			return true
		case !known:
			wrong = append(wrong, fmt.Errorf("%s gives no answer in time: %w", c.graph.Host, err))
		case e.Op != k.op && e.Status == 0 && !errors.Is(e, ErrDenied):
			wrong = append(wrong, fmt.Errorf("the authority %s gives no answer; check its address and the network: %w", c.cfg.Authority, e))
		case e.Op != k.op:
			wrong = append(wrong, fmt.Errorf("the application cannot sign in; check clientId, its secret or certificate, and the tenant's id: %w", e))
		case e.Status == 0:
			wrong = append(wrong, fmt.Errorf("there is no answer from Graph at %s; check its address and the network: %w", c.cfg.Graph, e))
		case e.Status == http.StatusForbidden:
			wrong = append(wrong, fmt.Errorf("the application may not read %s; grant it the application permission %s on Microsoft Graph, with an administrator's consent: %w", what, permission, e))
			return true
		case e.Status == http.StatusNotFound:
			wrong = append(wrong, fmt.Errorf("there is no Graph at %s; its address ends in /v1.0: %w", c.cfg.Graph, e))
		default:
			wrong = append(wrong, e)
		}
		return false
	}
	// The authority first, and once: whoever waits for a token waits for many tries.
	if err := c.signsIn(ctx); err != nil {
		e, known := errors.AsType[*Error](err)
		switch {
		case !known || e.Status == 0 && !errors.Is(e, ErrDenied):
			return []error{fmt.Errorf("the authority %s gives no answer; check its address and the network: %w", c.cfg.Authority, err)}
		case e.Status != http.StatusTooManyRequests && e.Status < 500: // which passes
			return []error{fmt.Errorf("the application cannot sign in; check clientId, its secret or certificate, and the tenant's id: %w", err)}
		}
	}
	var users struct {
		Value []struct{ ID backup.ObjectID }
	}
	if !ask("users", "User.Read.All", "/users?$top=1&$select=id", &users) ||
		!ask("groups", "GroupMember.Read.All", "/groups?$top=1&$select=id", nil) {
		return wrong
	}
	for _, u := range users.Value {
		if _, err := c.UserDrive(ctx, u.ID); errors.Is(err, ErrDenied) {
			wrong = append(wrong, fmt.Errorf("the application may not read drives; grant it the application permission Files.ReadWrite.All on Microsoft Graph, with an administrator's consent: %w", err))
		}
	}
	return wrong
}

// A Need is a permission on Graph that something asks of the application.
type Need struct {
	What string   // that asks for it, as in "the application may not …"
	Name string   // of the permission
	Or   []string // others that will do
}

// Lacks returns those of some permissions that the application was not granted, as its
// token says; none where the token does not say so in a way that can be read.
func (c *Client) Lacks(ctx context.Context, needs []Need) ([]Need, error) {
	token, err := c.accessToken(ctx, &c.token, "look which permissions there are", "")
	if err != nil {
		return nil, err
	}
	granted := rolesOf(token)
	if len(granted) == 0 {
		return nil, nil
	}
	return slices.DeleteFunc(slices.Clone(needs), func(n Need) bool {
		return slices.ContainsFunc(append([]string{n.Name}, n.Or...), func(name string) bool { return slices.Contains(granted, name) })
	}), nil
}
