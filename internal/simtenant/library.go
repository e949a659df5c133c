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
		return place{site: here, library: documents}, true
	}
	for i := len(folder) - 1; i > 0; i-- {
		if folder[i] != '.' {
			continue
		}
		if here, ok := s.folders[folder[:i]]; ok {
			return place{site: here, library: folder[i+1:]}, folder[i+1:] != ""
		}
	}
	return place{}, false
}

// libraries returns the drives that a site has: the user's own first, where its
// folder is there, and then the libraries beside it, by name.
func (s *Service) libraries(here site) ([]place, error) {
	if here.user == nil {
		return s.teamPlaces(here, librariesPart)
	}
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
	parts, ok := driveParts(id)
	if !ok {
		return place{}, unknown
	}
	here, ok := s.sites[guidText(parts[0])]
	if !ok {
		here, ok, err := s.teamSite(who.tenant, parts[1])
		if err != nil {
			return place{}, err
		}
		if ok {
			p, ok, err := s.teamPlace(here, parts[2])
			if err != nil || ok && p.in != listsPart && p.id() == id {
				return p, err
			}
		}
		return place{}, unknown
	}
	if here.tenant != who.tenant {
		return place{}, unknown
	}
	if p := (place{site: here, library: documents}); p.id() == id {
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

// tenantOfDrive returns the tenant that a drive is of, or nil.
func (s *Service) tenantOfDrive(driveID string) *tenant {
	parts, _ := driveParts(driveID)
	if here, ok := s.sites[guidText(parts[0])]; ok {
		return here.tenant
	}
	for _, t := range s.byOrder {
		if _, ok, err := s.teamSite(t, parts[1]); ok && err == nil {
			return t
		}
	}
	return nil
}

// placeByList returns the library or list that a list's id or name means.
func (s *Service) placeByList(here site, id string) (place, error) {
	if key, ok := guidBytes(id); ok && here.user == nil {
		if p, ok, err := s.teamPlace(here, key); err != nil || ok {
			return p, err
		}
	}
	all, err := s.lists(here)
	if err != nil {
		return place{}, err
	}
	for _, p := range all {
		if strings.EqualFold(id, guidText(p.list())) || strings.EqualFold(id, p.library) {
			return p, nil
		}
	}
	return place{}, noList()
}

func noList() error {
	return fail(http.StatusNotFound, "itemNotFound", "There is no such list in the site.")
}

// lists returns the lists of a site, its libraries first.
func (s *Service) lists(here site) ([]place, error) {
	all, err := s.libraries(here)
	if err != nil || here.user != nil {
		return all, err
	}
	others, err := s.teamPlaces(here, listsPart)
	return append(all, others...), err
}

// drive is a site's drive: the user's own, or the first of a team site's libraries.
func (s *Service) drive(here site) (place, error) {
	if here.user != nil {
		return place{site: here, library: documents}, nil
	}
	all, err := s.libraries(here)
	if err != nil {
		return place{}, err
	}
	if len(all) == 0 || all[0].in != librariesPart {
		return place{}, fail(http.StatusNotFound, "itemNotFound", "The site has no document library.")
	}
	return all[0], nil
}

// totalQuota is what a drive is said to hold where the habits set no limit; nothing
// enforces it but the disk.
const totalQuota = 1 << 40

type identityView struct {
	User        map[string]any `json:"user,omitempty"`
	Application map[string]any `json:"application,omitempty"`
	Group       map[string]any `json:"group,omitempty"`
}

func identityOf(u *User) identityView {
	return identityView{User: map[string]any{"id": u.ID, "displayName": u.DisplayName, "email": u.Mail}}
}

// owner is the user whose site it is, or a team site's group of owners.
func (s site) owner() identityView {
	if s.user != nil {
		return identityOf(s.user)
	}
	if g := s.group(); g != nil {
		return identityView{Group: map[string]any{"id": g.ID, "displayName": g.DisplayName + " Owners", "email": g.mail(s.tenant)}}
	}
	return identityView{Group: map[string]any{"id": guidText(derive("owners", string(s.tenant.ID), s.id())), "displayName": s.team.name() + " Owners"}}
}

// group is the group whose site it is, or nil.
func (s site) group() *Group {
	if s.user == nil {
		for i := range s.tenant.Groups {
			if g := &s.tenant.Groups[i]; g.unified() && g.MailNickname == s.team.names {
				return g
			}
		}
	}
	return nil
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
	if p.library == documents && p.user != nil {
		return "business"
	}
	return "documentLibrary"
}

// driveView describes a drive, which the caller holds.
func (d *drive) driveView(names map[string]bool) map[string]any {
	p := d.place
	name := p.library
	if p.driveType() == "business" {
		name = "OneDrive"
	}
	v := map[string]any{
		"id": p.id(), "driveType": p.driveType(), "name": name, "description": "", "webUrl": p.url(),
		"createdDateTime": d.root.created.stamp(), "lastModifiedDateTime": stamp(d.root.noticed),
		"owner": p.owner(), "createdBy": p.owner(), "lastModifiedBy": p.owner(),
		"quota": d.quotaView(),
	}
	if names["sharepointids"] {
		v["sharePointIds"] = p.sharepointIDs()
	}
	if names["system"] && p.in == pagesPart {
		v["system"] = object{}
	}
	return v
}

// stamp writes Unix nanoseconds as the service writes times.
func stamp(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339) }

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
	if len(all) == 0 && here.user != nil {
		return noDrive()
	}
	names := selected(r.query)
	if !names["system"] { // what belongs to the site itself is told on demand
		all = slices.DeleteFunc(all, func(p place) bool { return p.in == pagesPart })
	}
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
	return s.short(r, "drives", list)
}

func (s *Service) listLists(r *request, here site) error {
	all, err := s.lists(here)
	if err != nil {
		return err
	}
	names := selected(r.query)
	list := []any{}
	for _, p := range all {
		x := s.schemaOf(p)
		if !x.Hidden || names["system"] {
			list = append(list, project(s.listView(p, x), names))
		}
	}
	return s.short(r, "lists", list)
}

// createList makes a document library: a drive of its own beside the user's,
// and a folder beside the user's folder.
func (s *Service) createList(r *request, here site) error {
	var in struct {
		DisplayName string   `json:"displayName"`
		Description string   `json:"description"`
		Columns     []object `json:"columns"`
		List        struct {
			Template string `json:"template"`
		} `json:"list"`
	}
	if err := body(r.w, r.Request, &in); err != nil {
		return err
	}
	p := place{site: here, library: in.DisplayName, in: librariesPart}
	if here.user != nil {
		p.in = ""
		if in.List.Template != "documentLibrary" {
			return notSupported("lists of personal sites other than document libraries")
		}
	}
	if !safeName(in.DisplayName) || len(p.folder()) > 255 {
		return badRequest("A library's displayName is also a folder's name here: it must not be empty, begin with a dot, or hold a slash, a backslash or a colon.").because("badArgument")
	}
	taken := fail(http.StatusConflict, "nameAlreadyExists", "There is a library of that name already.")
	if here.user == nil {
		return s.createTeamList(r, p, listFile{Description: in.Description, Template: cmp.Or(in.List.Template, "genericList"), Columns: in.Columns})
	}
	if owned, ok := s.owner(p.folder()); !ok || owned != p {
		return taken // the folder would be another user's
	}
	all, err := s.libraries(here)
	if err != nil {
		return err
	}
	for _, other := range append(all, place{site: here, library: documents}) {
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
	v := s.listView(p, schema{})
	v["@odata.context"] = r.base + "/$metadata#sites('" + p.fullID() + "')/lists/$entity"
	return replyGraph(r.w, http.StatusCreated, v)
}
