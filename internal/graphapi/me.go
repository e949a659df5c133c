package graphapi

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/identity"
	"holdfast/internal/odata"
)

// getMe serves holdfast.me, a function of ours on backupRestoreRoot: who is asking, and
// which operations they may do, somewhere in the tenant at least. What enforces it says
// it. It asks for no permission: who has none may know that.
func (s *Server) getMe(x *exchange) (reply, error) {
	if x.caller.Tenant == identity.PersonalTenant {
		return reply{}, backup.Fail(backup.AuthorizationDenied, "A personal account is of no tenant, and may do nothing here.")
	}
	if err := s.throttle.take(x.w, x.tenant(), x.caller.AppID); err != nil {
		return reply{}, err
	}
	return s.me(x, nil)
}

// These serve the same of one thing: what may be done with it.

func (s *Server) getMeOfPolicy(x *exchange) (reply, error) {
	return s.me(x, func(ctx context.Context) error {
		_, err := s.catalog.Policy(ctx, x.tenant(), guid[policyID](x, "id"))
		return err
	})
}

func (s *Server) getMeOfUnit(x *exchange) (reply, error) {
	return s.me(x, func(ctx context.Context) error {
		_, err := s.catalog.Unit(ctx, x.tenant(), guid[unitID](x, "id"))
		return err
	})
}

func (s *Server) getMeOfSession(x *exchange) (reply, error) {
	return s.me(x, func(ctx context.Context) error {
		_, err := s.catalog.Session(ctx, x.tenant(), guid[sessionID](x, "id"))
		return err
	})
}

// me says what the caller may do, with what there looks for if it is not nil.
func (s *Server) me(x *exchange, there func(context.Context) error) (reply, error) {
	if there != nil {
		if err := there(x.ctx()); err != nil {
			return reply{}, err
		}
	}
	var operations []odata.Entity
	seen := map[string]error{} // by scopes
	for _, op := range slices.Sorted(maps.Keys(s.operations)) {
		may := s.mayDo(x.caller, op)
		scopes, limited := x.caller.Scopes(op)
		if limited = limited && identity.Reaches[op] != identity.OfTheTenant; !limited {
			scopes = nil
		}
		if may == nil && limited && there != nil {
			key := strings.Join(scopes, "\x00")
			err, known := seen[key]
			if !known {
				err = there(catalog.WithScope(x.ctx(), s.scope(x, scopes)))
				if _, said := errors.AsType[*backup.Error](err); err != nil && !said {
					return reply{}, err
				}
				seen[key] = err
			}
			if err != nil {
				may = backup.Fail(backup.AuthorizationDenied, "Your role for this is limited to "+strings.Join(scopes, " and ")+", and this is no part of it.")
			}
		}
		var e odata.Entity
		e.Add("operation", op)
		e.Add("isAllowed", may == nil)
		if said, _ := errors.AsType[*backup.Error](may); said != nil {
			e.Add("reason", said.Message)
		} else if len(scopes) > 0 {
			e.Add("scopes", scopes)
		}
		operations = append(operations, e)
	}
	e := odata.Entity{}
	e.Add("tenantId", x.tenant())
	if s.cfg.TenantName != nil {
		e.Add("tenantDisplayName", s.cfg.TenantName(x.tenant()))
	}
	e.Add("application", map[string]string{"id": x.caller.AppID, "displayName": x.caller.AppName})
	if x.caller.Delegated {
		e.Add("user", map[string]string{"id": x.caller.UserID, "displayName": x.caller.UserName, "email": x.caller.Email})
	}
	roles := []string{}
	for _, r := range x.caller.Roles {
		roles = append(roles, string(r))
	}
	for _, l := range x.caller.Limited {
		roles = append(roles, string(l.Role)+" of "+l.Scope)
	}
	e.Add("hasRoles", x.caller.Narrowed)
	e.Add("roles", roles)
	e.Add("operations", operations)
	f := x.form()
	body, err := f.Entity(f.Context("holdfast.me", false), e)
	return reply{status: http.StatusOK, body: body}, err
}

// mayDo says why a caller may not do an operation by any route; nil if they may.
func (s *Server) mayDo(c identity.Caller, op identity.Operation) (err error) {
	for _, r := range s.operations[op] {
		if err = s.permit(c, r); err == nil {
			return nil
		}
	}
	return err
}
