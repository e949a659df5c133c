package simtenant

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"time"
)

// owner returns the user to whom a folder below Config.Drives belongs, and the
// library that it is. A user's name may begin with another's: the longest that
// fits is the owner.
func (s *Service) owner(folder string) (place, bool) {
	if here, ok := s.folders[folder]; ok {
		return place{here, documents}, true
	}
	for i := len(folder) - 1; i > 0; i-- {
		if folder[i] != '.' {
			continue
		}
		if here, ok := s.folders[folder[:i]]; ok {
			return place{here, folder[i+1:]}, folder[i+1:] != ""
		}
	}
	return place{}, false
}

// libraries returns the drives that a site has: the user's own first, where its
// folder is there, and then the libraries beside it, by name.
func (s *Service) libraries(here site) ([]place, error) {
	dir, err := s.root.Open(".")
	if err != nil {
		return nil, fmt.Errorf("open the folder of drives: %w", err)
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return nil, fmt.Errorf("list the folder of drives: %w", err)
	}
	var out []place
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), here.user.UserPrincipalName) {
			continue
		}
		if p, ok := s.owner(e.Name()); ok && p.site == here {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b place) int {
		if (a.library == documents) != (b.library == documents) {
			if a.library == documents {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.library, b.library)
	})
	return out, nil
}

// placeByID returns the drive of an id, if the caller's tenant has it.
func (s *Service) placeByID(who caller, id string) (place, error) {
	unknown := fail(http.StatusNotFound, "itemNotFound", "There is no such drive.")
	siteID, ok := siteOf(id)
	if !ok {
		return place{}, unknown
	}
	here, ok := s.sites[siteID]
	if !ok || here.tenant != who.tenant {
		return place{}, unknown
	}
	if p := (place{here, documents}); p.id() == id {
		return p, nil
	}
	s.mu.Lock()
	p, ok := s.known[id]
	s.mu.Unlock()
	if ok {
		return p, nil
	}
	all, err := s.libraries(here)
	if err != nil {
		return place{}, err
	}
	for _, p := range all {
		if p.id() == id {
			s.mu.Lock()
			s.known[id] = p
			s.mu.Unlock()
			return p, nil
		}
	}
	return place{}, unknown
}

// placeByList returns the library that a list's id or name means.
func (s *Service) placeByList(here site, id string) (place, error) {
	all, err := s.libraries(here)
	if err != nil {
		return place{}, err
	}
	for _, p := range all {
		if strings.EqualFold(id, guidText(p.list())) || strings.EqualFold(id, p.library) {
			return p, nil
		}
	}
	return place{}, noItem()
}

// totalQuota is what a drive is said to hold where the habits set no limit; nothing
// enforces it but the disk.
const totalQuota = 1 << 40

type identityView struct {
	User        map[string]any `json:"user,omitempty"`
	Application map[string]any `json:"application,omitempty"`
}

func identityOf(u *User) identityView {
	return identityView{User: map[string]any{"id": u.ID, "displayName": u.DisplayName, "email": u.Mail}}
}

type sharepointIDs struct {
	ListID           string `json:"listId"`
	ListItemUniqueID string `json:"listItemUniqueId,omitempty"`
	SiteID           string `json:"siteId"`
	SiteURL          string `json:"siteUrl"`
	TenantID         string `json:"tenantId"`
	WebID            string `json:"webId"`
}

func (p place) sharepointIDs() sharepointIDs {
	return sharepointIDs{
		ListID: guidText(p.list()), SiteID: p.site.id(), SiteURL: p.site.url(),
		TenantID: string(p.tenant.ID), WebID: guidText(p.web()),
	}
}

func (p place) driveType() string {
	if p.library == documents {
		return "business"
	}
	return "documentLibrary"
}

// driveView describes a drive, which the caller holds.
func (d *drive) driveView(names map[string]bool) map[string]any {
	p := d.place
	name := p.library
	if name == documents {
		name = "OneDrive"
	}
	v := map[string]any{
		"id": p.id(), "driveType": p.driveType(), "name": name, "description": "", "webUrl": p.url(),
		"createdDateTime": d.root.created.stamp(), "lastModifiedDateTime": stamp(d.root.noticed),
		"owner": identityOf(p.user), "createdBy": identityOf(p.user), "lastModifiedBy": identityOf(p.user),
		"quota": d.quotaView(),
	}
	if names["sharepointids"] {
		v["sharePointIds"] = p.sharepointIDs()
	}
	return v
}

// stamp writes Unix nanoseconds as the service writes times.
func stamp(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }

// describe returns the view of a drive.
func (s *Service) describe(ctx context.Context, p place, names map[string]bool) (v map[string]any, err error) {
	err = s.with(p, func(d *drive) error {
		if d.scanned.IsZero() && (names == nil || names["quota"]) && d.root.size == 0 {
			// Nothing is known yet of a drive that nobody has looked at.
			if err := d.scan(ctx); err != nil {
				return err
			}
		}
		v = d.driveView(names)
		return nil
	})
	return v, err
}

func (s *Service) getDrive(r *request, p place) error {
	names := selected(r.query)
	v, err := s.describe(r.Context(), p, names)
	if err != nil {
		return err
	}
	v["@odata.context"] = r.base + "/$metadata#drives/$entity"
	return replyGraph(r.w, http.StatusOK, project(v, names))
}

func (s *Service) listDrives(r *request, here site) error {
	all, err := s.libraries(here)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return noDrive()
	}
	names := selected(r.query)
	list := []any{}
	for _, p := range all {
		v, err := s.describe(r.Context(), p, names)
		if notFound(err) {
			continue // removed meanwhile
		}
		if err != nil {
			return err
		}
		list = append(list, project(v, names))
	}
	return replyGraph(r.w, http.StatusOK, map[string]any{"@odata.context": r.base + "/$metadata#drives", "value": list})
}

func (s *Service) getSite(r *request, here site) error {
	return replyGraph(r.w, http.StatusOK, project(map[string]any{
		"@odata.context": r.base + "/$metadata#sites/$entity",
		"id":             here.fullID(), "displayName": here.user.DisplayName, "name": here.user.UserPrincipalName, "webUrl": here.url(),
		"siteCollection": map[string]any{"hostname": here.host()},
	}, selected(r.query)))
}

func listView(p place) map[string]any {
	return map[string]any{
		"id": guidText(p.list()), "name": p.library, "displayName": p.library, "webUrl": p.url(),
		"list":            map[string]any{"template": "documentLibrary", "hidden": false, "contentTypesEnabled": false},
		"parentReference": map[string]any{"siteId": p.fullID()},
	}
}

func (s *Service) getList(r *request, p place) error {
	return replyGraph(r.w, http.StatusOK, project(listView(p), selected(r.query)))
}

func (s *Service) listLists(r *request, here site) error {
	all, err := s.libraries(here)
	if err != nil {
		return err
	}
	names := selected(r.query)
	list := []any{}
	for _, p := range all {
		list = append(list, project(listView(p), names))
	}
	return replyGraph(r.w, http.StatusOK, map[string]any{"@odata.context": r.base + "/$metadata#lists", "value": list})
}

// createList makes a document library: a drive of its own beside the user's,
// and a folder beside the user's folder.
func (s *Service) createList(r *request, here site) error {
	var in struct {
		DisplayName string `json:"displayName"`
		List        struct {
			Template string `json:"template"`
		} `json:"list"`
	}
	if err := body(r.w, r.Request, &in); err != nil {
		return err
	}
	if in.List.Template != "documentLibrary" {
		return notSupported("lists other than document libraries")
	}
	p := place{here, in.DisplayName}
	if !safeName(in.DisplayName) || len(p.folder()) > 255 {
		return badRequest("A library's displayName is also a folder's name here: it must not be empty, begin with a dot, or hold a slash, a backslash or a colon.").because("badArgument")
	}
	taken := fail(http.StatusConflict, "nameAlreadyExists", "There is a library of that name already.")
	if owned, ok := s.owner(p.folder()); !ok || owned != p {
		return taken // the folder would be another user's
	}
	all, err := s.libraries(here)
	if err != nil {
		return err
	}
	for _, other := range append(all, place{here, documents}) {
		if strings.EqualFold(other.library, p.library) {
			return taken
		}
	}
	err = s.root.Mkdir(p.folder(), 0o755)
	if errors.Is(err, fs.ErrExist) {
		return taken
	}
	if err != nil {
		return fmt.Errorf("make library: %w", err)
	}
	v := listView(p)
	v["@odata.context"] = r.base + "/$metadata#sites('" + p.fullID() + "')/lists/$entity"
	return replyGraph(r.w, http.StatusCreated, v)
}
