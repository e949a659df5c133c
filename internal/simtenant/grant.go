package simtenant

import (
	"net/http"
	"slices"
	"strings"

	"holdfast/internal/backup"
)

// A grant is what an application may do in one site collection. It counts for those
// that have Sites.Selected.
type grant struct {
	ID   string   `json:"i"`
	App  string   `json:"a"`
	Name string   `json:"n,omitempty"`
	May  []string `json:"r"`
}

// grantRoles are what may be granted, each of which has those before.
var grantRoles = []string{"read", "write", "manage", "fullcontrol"}

// rank is a role's place among them; owner is what fullcontrol is called at times.
func rank(role string) int {
	if strings.EqualFold(role, "owner") {
		role = "fullcontrol"
	}
	return slices.Index(grantRoles, strings.ToLower(role))
}

// granted reports whether an application was granted a site for what needs a
// permission.
func (s *Service) granted(here site, app string, need permission) bool {
	if here.user != nil {
		return false
	}
	least := len(grantRoles)
	for i, role := range []string{"Sites.Read.All", "Sites.ReadWrite.All", "Sites.Manage.All", "Sites.FullControl.All"} {
		if slices.Contains(need.roles, role) {
			least = min(least, i)
		}
	}
	g := &s.teams
	g.mu.Lock()
	defer g.mu.Unlock()
	k := s.collection(here)
	return k != nil && slices.ContainsFunc(k.grants, func(one grant) bool {
		return strings.EqualFold(one.App, app) && slices.ContainsFunc(one.May, func(role string) bool { return rank(role) >= least })
	})
}

// collection is the folder of the site collection that a team site is in. Callers
// hold the mutex of teams.
func (s *Service) collection(here site) *known {
	first, _, _ := strings.Cut(here.team.names, "/")
	return s.teams.in[s.teamsOf(here.tenant)][first]
}

func (g grant) view() object {
	who := object{"application": object{"id": g.App, "displayName": g.Name}}
	return object{"id": g.ID, "roles": g.May, "grantedToIdentitiesV2": []any{who}, "grantedToIdentities": []any{who}}
}

// withGrants lets fn see and change the grants of a site's collection.
func (s *Service) withGrants(here site, fn func(*known) error) error {
	if here.user != nil {
		return badRequest("Personal sites are not granted to applications here.").because("notSupported")
	}
	g := &s.teams
	g.mu.Lock()
	defer g.mu.Unlock()
	k := s.collection(here)
	if k == nil {
		return noSite()
	}
	return fn(k)
}

func (s *Service) listGrants(r *request, here site) error {
	list := []any{}
	err := s.withGrants(here, func(k *known) error {
		for _, g := range k.grants {
			list = append(list, project(g.view(), selected(r.query)))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.short(r, "sites('"+here.fullID()+"')/permissions", list)
}

// rolesOf reads the roles of a grant.
func rolesOf(roles []string) error {
	if len(roles) == 0 || slices.ContainsFunc(roles, func(role string) bool { return rank(role) < 0 }) {
		return badRequest("roles must hold one or more of read, write, manage, fullcontrol.")
	}
	return nil
}

func (s *Service) createGrant(r *request, here site) error {
	type identity struct {
		Application struct {
			ID          string `json:"id"`
			DisplayName string `json:"displayName"`
		} `json:"application"`
	}
	var in struct {
		Roles []string   `json:"roles"`
		To    []identity `json:"grantedToIdentities"`
		ToV2  []identity `json:"grantedToIdentitiesV2"`
		One   *identity  `json:"grantedTo"`
		OneV2 *identity  `json:"grantedToV2"`
	}
	if err := body(r.w, r.Request, &in); err != nil {
		return err
	}
	if err := rolesOf(in.Roles); err != nil {
		return err
	}
	to := append(in.To, in.ToV2...)
	for _, one := range []*identity{in.One, in.OneV2} {
		if one != nil {
			to = append(to, *one)
		}
	}
	if len(to) != 1 {
		return badRequest("grantedToIdentities must name one application.")
	}
	app, ok := backup.ParseGUID(to[0].Application.ID)
	if !ok {
		return badRequest("grantedToIdentities must name an application by its id.")
	}
	g := grant{backup.NewID[string](), app, to[0].Application.DisplayName, in.Roles}
	err := s.withGrants(here, func(k *known) error {
		k.grants = append(slices.Clip(k.grants), g)
		return s.teams.write(k)
	})
	if err != nil {
		return err
	}
	return replyGraph(r.w, http.StatusCreated, g.view())
}

// grantAt lets fn have the grant that a request names.
func (s *Service) grantAt(r *request, here site, fn func(k *known, at int) error) error {
	return s.withGrants(here, func(k *known) error {
		at := slices.IndexFunc(k.grants, func(g grant) bool { return g.ID == r.vars["permission"] })
		if at < 0 {
			return fail(http.StatusNotFound, "itemNotFound", "The site has no such permission.")
		}
		return fn(k, at)
	})
}

func (s *Service) getGrant(r *request, here site) error {
	var v object
	if err := s.grantAt(r, here, func(k *known, at int) error { v = k.grants[at].view(); return nil }); err != nil {
		return err
	}
	return replyGraph(r.w, http.StatusOK, project(v, selected(r.query)))
}

func (s *Service) patchGrant(r *request, here site) error {
	var in struct {
		Roles []string `json:"roles"`
	}
	if err := body(r.w, r.Request, &in); err != nil {
		return err
	}
	if err := rolesOf(in.Roles); err != nil {
		return err
	}
	var v object
	err := s.grantAt(r, here, func(k *known, at int) error {
		k.grants = slices.Clone(k.grants)
		k.grants[at].May = in.Roles
		v = k.grants[at].view()
		return s.teams.write(k)
	})
	if err != nil {
		return err
	}
	return replyGraph(r.w, http.StatusOK, v)
}

func (s *Service) deleteGrant(r *request, here site) error {
	err := s.grantAt(r, here, func(k *known, at int) error {
		k.grants = slices.Delete(slices.Clone(k.grants), at, at+1)
		return s.teams.write(k)
	})
	if err != nil {
		return err
	}
	r.w.WriteHeader(http.StatusNoContent)
	return nil
}
