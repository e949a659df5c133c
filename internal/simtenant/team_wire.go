package simtenant

import (
	"cmp"
	"net/http"
	"net/url"
	"path"
	"slices"
	"sort"
	"strings"
)

// The permissions that sites ask for beyond those that their drives do.
var (
	readSites    = permission{"accessDenied", []string{"Sites.Read.All", "Sites.ReadWrite.All", "Sites.Manage.All", "Sites.FullControl.All"}}
	writeSites   = permission{"accessDenied", []string{"Sites.ReadWrite.All", "Sites.Manage.All", "Sites.FullControl.All"}}
	controlSites = permission{"accessDenied", []string{"Sites.FullControl.All"}}
)

func siteRoutes() []Route {
	onSite := func(serve func(*Service, *request, site) error) func(*Service, *request) error {
		return func(s *Service, r *request) error { return serve(s, r, r.site) }
	}
	return []Route{
		{"GET", "/sites", "The team sites whose names or addresses hold what search says; * is all.", "Of $filter only siteCollection/root ne null. Personal sites.", ofList + " search filter", readSites, (*Service).searchSites},
		{"GET", "/sites/getAllSites", "All sites of the tenant, personal ones as well. Only for applications.", "", ofList, readSites, (*Service).allSites},
		{"GET", "/sites/delta", "The team sites, and those that are new or renamed since a token.", "Sites that are gone, as at the service. Personal sites.", ofList + " deltatoken", readSites, (*Service).sitesDelta},
		{"GET", "{site}", "A site.", "", ofOne, readFiles, onSite((*Service).getSite)},
		{"GET", "{site}/sites", "The sites right below a site.", "", ofList, readSites, onSite((*Service).listSubsites)},
		{"GET", "{site}/permissions", "Which applications were granted the site, that have Sites.Selected only.", "", ofList, controlSites, onSite((*Service).listGrants)},
		{"POST", "{site}/permissions", "Grants the site to an application: read, write, manage or fullcontrol.", "", "", controlSites, onSite((*Service).createGrant)},
		{"GET", "{site}/permissions/{permission}", "One of them.", "", ofOne, controlSites, onSite((*Service).getGrant)},
		{"PATCH", "{site}/permissions/{permission}", "Changes its roles.", "", "", controlSites, onSite((*Service).patchGrant)},
		{"DELETE", "{site}/permissions/{permission}", "Takes it away.", "", "", controlSites, onSite((*Service).deleteGrant)},
	}
}

func noSite() error {
	return fail(http.StatusNotFound, "itemNotFound", "The provided path or id is that of no site.")
}

// routeSites serves a site by its id, its host, or its host and path.
func (s *Service) routeSites(r *request, rest string) error {
	segment, below := take(rest)
	name, err := url.PathUnescape(segment)
	if err != nil {
		return badRequest("The address is not well formed.")
	}
	where, byPath := "", false
	if host, encoded, ok := strings.Cut(name, ":/"); ok { // as official SDKs send it: in one segment
		name, byPath = host, true
		where = strings.TrimSuffix(encoded, ":")
	} else if host, ok := strings.CutSuffix(name, ":"); ok {
		name, byPath = host, true
		if where, below, ok = strings.Cut(below, ":"); ok {
			below = strings.TrimPrefix(below, "/")
		}
		if where, err = url.PathUnescape(where); err != nil {
			return badRequest("The address is not well formed.")
		}
	}
	here, ok, err := s.siteByID(r.who.tenant, name)
	if ok && byPath {
		here, ok, err = s.siteBelow(here, where)
	}
	if err != nil {
		return err
	}
	if !ok {
		return noSite()
	}
	return s.routeSite(r, here, below)
}

// siteByID finds a site by its id, by the GUID of its site collection, or by its
// host.
func (s *Service) siteByID(t *tenant, name string) (here site, ok bool, err error) {
	id := strings.ToLower(name)
	switch {
	case id == rootSite, id == t.name+".sharepoint.com":
		return s.siteByNames(t, rootSite)
	case id == t.name+"-my.sharepoint.com" && len(t.Users) > 0:
		return site{tenant: t, user: &t.Users[0]}, true, nil // for the paths below it
	}
	web := [16]byte{}
	if parts := strings.Split(id, ","); len(parts) == 3 {
		id = parts[1]
		if web, ok = guidBytes(parts[2]); !ok {
			return here, false, nil
		}
	} else if len(parts) == 2 {
		id = parts[0]
		if web, ok = guidBytes(parts[1]); !ok {
			return here, false, nil
		}
	}
	if here, ok = s.sites[id]; ok {
		return here, here.tenant == t, nil
	}
	if web != ([16]byte{}) {
		here, ok, err = s.teamSite(t, web)
		return here, ok && here.id() == id, err
	}
	all, err := s.teamSites(t)
	at := slices.IndexFunc(all, func(other site) bool { return other.id() == id })
	if err != nil || at < 0 {
		return here, false, err
	}
	return all[at], true, nil
}

// siteByNames finds a team site by its name, behind those of the sites that it is
// below.
func (s *Service) siteByNames(t *tenant, names string) (site, bool, error) {
	all, err := s.teamSites(t)
	at := slices.IndexFunc(all, func(other site) bool { return other.team.names == names })
	if err != nil || at < 0 {
		return site{}, false, err
	}
	return all[at], true, nil
}

// siteBelow finds a site by the path of its URL, at the host of another.
func (s *Service) siteBelow(from site, where string) (site, bool, error) {
	where = strings.ToLower("/" + strings.Trim(where, "/"))
	if from.user != nil {
		for i := range from.tenant.Users {
			here := site{tenant: from.tenant, user: &from.tenant.Users[i]}
			if strings.HasSuffix(here.url(), where) && "https://"+here.host()+where == here.url() {
				return here, true, nil
			}
		}
		return site{}, false, nil
	}
	all, err := s.teamSites(from.tenant)
	at := slices.IndexFunc(all, func(other site) bool { return strings.ToLower("/"+strings.Trim(other.team.address(), "/")) == where })
	if err != nil || at < 0 {
		return site{}, false, err
	}
	return all[at], true, nil
}

// routeSite serves what is wanted of a site.
func (s *Service) routeSite(r *request, here site, rest string) (err error) {
	r.site = here
	switch first, below := word(rest); {
	case first == "drive":
		if r.place, err = s.drive(here); err != nil {
			return err
		}
		return s.routeDrive(r, below)
	case first == "drives" && below != "":
		return s.routeDrives(r, below)
	case first == "lists" && below != "":
		id, below, err := value(below)
		if err != nil {
			return err
		}
		if r.place, err = s.placeByList(here, id); err != nil {
			return err
		}
		if first, below := word(below); first == "drive" {
			if r.place.in == listsPart {
				return fail(http.StatusNotFound, "itemNotFound", "The list is no document library, and has no drive.")
			}
			return s.routeDrive(r, below)
		}
		return s.dispatch(r, "{list}", segments(below))
	}
	return s.dispatch(r, "{site}", segments(rest))
}

// inSite is the site that a request is about; of a request about none, it is empty.
func (r *request) inSite() site {
	if r.place.tenant != nil {
		return r.place.site
	}
	return r.site
}

// allowed refuses a request that its caller may not make, or that its site does not
// take.
func (s *Service) allowed(r *request, route *Route) error {
	here := r.inSite()
	err := r.who.need(route.need)
	if err != nil && here.tenant != nil && route.need.code == readSites.code && r.who.has("Sites.Selected") {
		if s.granted(here, r.who.app.AppID, route.need) {
			err = nil
		} else {
			err = fail(http.StatusForbidden, "accessDenied", "The application was not granted the site "+here.url()+" for this.")
		}
	}
	if err != nil || here.tenant == nil || here.user != nil || s.teams.root == nil || route.Path == "{site}" {
		return err
	}
	switch about := s.about(here); {
	case about.Archived != "":
		return fail(http.StatusLocked, "notAllowed", "The site "+here.url()+" is archived.").because("resourceLocked")
	case about.Locked:
		return fail(http.StatusLocked, "resourceLocked", "Access to the site "+here.url()+" has been blocked.")
	}
	return nil
}

func (c caller) has(role string) bool {
	return slices.ContainsFunc(c.may, func(have string) bool { return strings.EqualFold(have, role) })
}

// siteView describes a site.
func (s *Service) siteView(here site, names map[string]bool) object {
	v := object{
		"id": here.fullID(), "webUrl": here.url(), "isPersonalSite": here.user != nil,
		"siteCollection": object{"hostname": here.host()},
	}
	if here.user != nil {
		v["displayName"], v["name"], v["root"] = here.user.DisplayName, path.Base(here.url()), object{}
		return v
	}
	about := s.about(here)
	name := here.team.name()
	v["displayName"], v["name"], v["description"] = cmp.Or(about.DisplayName, name), name, about.Description
	if g := here.group(); g != nil && about.DisplayName == "" {
		v["displayName"] = g.DisplayName
	}
	s.teams.mu.Lock()
	st, err := s.teams.stat(here.team.path)
	s.teams.mu.Unlock()
	if err == nil {
		v["lastModifiedDateTime"], v["createdDateTime"] = st.mtime.stamp(), st.mtime.stamp()
		if st.birth != 0 {
			v["createdDateTime"] = stamp(st.birth)
		}
	}
	collection := object{"hostname": here.host()}
	if !strings.Contains(here.team.names, "/") {
		v["root"] = object{}
	}
	if here.team.names == rootSite {
		v["name"], collection["root"] = "", object{}
	}
	if about.Archived != "" {
		collection["archivalDetails"] = object{"archiveStatus": about.Archived}
	}
	v["siteCollection"] = collection
	if above, _, ok := strings.Cut(here.team.path, "/"+subsitesPart+"/"+name); ok {
		s.teams.mu.Lock()
		if k := s.teams.in[path.Dir(above)][path.Base(above)]; k != nil {
			v["parentReference"] = object{"siteId": s.site(here.tenant, k).fullID()}
		}
		s.teams.mu.Unlock()
	}
	if names["sharepointids"] {
		v["sharepointIds"] = object{"siteId": here.id(), "siteUrl": here.url(), "tenantId": here.tenant.ID, "webId": guidText(here.web())}
	}
	return v
}

func (s *Service) getSite(r *request, here site) error {
	names := selected(r.query)
	v := s.siteView(here, names)
	v["@odata.context"] = r.base + "/$metadata#sites/$entity"
	return replyGraph(r.w, http.StatusOK, project(v, names))
}

// replySites answers with a page of sites.
func (s *Service) replySites(r *request, at string, sites []site) error {
	from, to, next, err := s.page(r, len(sites))
	if err != nil {
		return err
	}
	names := selected(r.query)
	list := make([]any, 0, to-from)
	for _, here := range sites[from:to] {
		list = append(list, project(s.siteView(here, names), names))
	}
	out := object{"@odata.context": r.base + "/$metadata#sites", "value": list}
	if next != "" {
		out["@odata.nextLink"] = r.link(at, "$skiptoken", next)
	}
	return replyGraph(r.w, http.StatusOK, out)
}

func (s *Service) listSubsites(r *request, here site) error {
	below, err := s.sitesBelow(here)
	if err != nil {
		return err
	}
	return s.replySites(r, "/sites/"+here.fullID()+"/sites", below)
}

func (s *Service) allSites(r *request) error {
	if r.who.user != nil {
		return fail(http.StatusForbidden, "accessDenied", "getAllSites is for applications that act for themselves.")
	}
	all, err := s.teamSites(r.who.tenant)
	if err != nil {
		return err
	}
	for i := range r.who.tenant.Users {
		all = append(all, site{tenant: r.who.tenant, user: &r.who.tenant.Users[i]})
	}
	return s.replySites(r, "/sites/getAllSites", all)
}

// searchSites lists the sites whose names or addresses hold each word of search.
func (s *Service) searchSites(r *request) error {
	all, err := s.teamSites(r.who.tenant)
	if err != nil {
		return err
	}
	search, filter := option(r.query, "search"), strings.ToLower(strings.Join(strings.Fields(option(r.query, "filter")), " "))
	switch {
	case filter == "sitecollection/root ne null":
		all = slices.DeleteFunc(all, func(here site) bool { return here.team.names != rootSite })
	case filter != "":
		return badRequest("Of $filter, only siteCollection/root ne null is served here.").because("notSupported")
	case search == "":
		return badRequest("Say which sites: search=, where * is all.")
	}
	words := strings.Fields(fold(strings.ReplaceAll(strings.Trim(search, `"'`), "*", " ")))
	all = slices.DeleteFunc(all, func(here site) bool {
		text := fold(here.url() + " " + here.team.name() + " " + s.about(here).DisplayName)
		return slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(text, word) })
	})
	return s.replySites(r, "/sites", all)
}

// sitesDelta lists the team sites, and then those that are new or have another name
// or place. It does not tell which are gone: nor does the service, so that who wants
// to know compares with all.
func (s *Service) sitesDelta(r *request) error {
	all, err := s.teamSites(r.who.tenant)
	if err != nil {
		return err
	}
	size, err := s.pageSize(r.query, usersPage, usersPageMax)
	if err != nil {
		return err
	}
	g := &s.teams
	g.mu.Lock()
	seq := make(map[[16]byte]int64, len(all))
	for _, here := range all {
		seq[here.team.key] = g.byKey[here.team.key].seq
	}
	c := cursor{generation: g.generation}
	last := g.seq
	g.mu.Unlock()
	switch token := deltaToken(r); token {
	case "":
	case "latest":
		c.after = last
	default:
		was, ok := parseCursor(token)
		if !ok {
			return badRequest("The token is not one that this tenant gave. Start anew without one.").because("syncStateInvalid")
		}
		if was.generation != c.generation || was.after > last {
			e := fail(http.StatusGone, "resyncRequired", "The changes since this token are no longer known. Start anew without one.")
			e.header = http.Header{"Location": {r.base + "/sites/delta"}}
			return e.because("resyncChangesApplyDifferences")
		}
		c.after = was.after
	}
	slices.SortFunc(all, func(a, b site) int { return cmp.Compare(seq[a.team.key], seq[b.team.key]) })
	all = all[sort.Search(len(all), func(i int) bool { return seq[all[i].team.key] > c.after }):]
	more := len(all) > size
	if more {
		all = all[:size]
	}
	names := selected(r.query)
	list := make([]any, 0, len(all))
	for _, here := range all {
		list = append(list, project(s.siteView(here, names), names))
		c.after = seq[here.team.key]
	}
	out := object{"@odata.context": r.base + "/$metadata#sites", "value": list}
	if more {
		out["@odata.nextLink"] = r.link("/sites/delta", "$skiptoken", c.String())
	} else {
		c.after = last
		out["@odata.deltaLink"] = r.link("/sites/delta", "$deltatoken", c.String())
	}
	return replyGraph(r.w, http.StatusOK, out)
}
