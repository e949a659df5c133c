package simtenant

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"holdfast/internal/backup"
)

// A share is a permission that was given on one item: to a user of the tenant,
// to somebody outside, or to whoever has a link. It holds for all that is below
// the item as well. The owner of the drive may do everything, without a share.
type share struct {
	ID       string `json:"i"`
	Role     string `json:"r"`           // read or write
	User     string `json:"u,omitempty"` // id of a user of the tenant
	Group    string `json:"g,omitempty"` // id of a group of the tenant
	Email    string `json:"e,omitempty"` // of somebody outside
	Link     string `json:"k,omitempty"` // type of a link: view, edit, …
	Scope    string `json:"s,omitempty"` // of a link: anonymous, organization or users
	Expires  string `json:"x,omitempty"`
	Password bool   `json:"w,omitempty"`
	At       int64  `json:"a"` // Unix nanoseconds, by the service's clock
}

// sharing is what is known of who may see an item.
type sharing struct {
	Shares []share `json:"l,omitempty"`
	Alone  bool    `json:"b,omitempty"` // nothing is inherited from the folders above

	seq int64 // of the last change of it, since the process began
}

// shared returns the shares that hold for it, its own first, and how many of
// them are its own.
func (it *item) shared() (all []share, own int) {
	for at := it; at != nil; at = at.parent {
		if at.sharing == nil {
			continue
		}
		all = append(all, at.sharing.Shares...)
		if at == it {
			own = len(all)
		}
		if at.sharing.Alone {
			break
		}
	}
	return all, own
}

// share lets fn change an item's own sharing, and has the item be told again:
// its eTag stays.
func (d *drive) share(it *item, fn func(*sharing)) {
	next := sharing{}
	if it.sharing != nil {
		next = sharing{Shares: slices.Clone(it.sharing.Shares), Alone: it.sharing.Alone}
	}
	fn(&next)
	it.sharing = &next
	if len(next.Shares) == 0 && !next.Alone {
		it.sharing = nil
	}
	d.touch(it)
	next.seq = it.seq
}

type sharedView struct {
	Scope    string        `json:"scope,omitempty"`
	Owner    *identityView `json:"owner,omitempty"`
	SharedBy *identityView `json:"sharedBy,omitempty"`
	At       string        `json:"sharedDateTime,omitempty"`
}

// sharedView is the facet of an item that others may see, or nil. With
// hierarchical sharing, as scans of permissions ask for it, only items with
// shares of their own have one.
func (v *viewer) sharedView(it *item) *sharedView {
	all, own := it.shared()
	if v.hierarchical {
		all = all[:own]
		if own == 0 && it.sharing != nil {
			return &sharedView{} // alone, and not shared
		}
	}
	if len(all) == 0 {
		return nil
	}
	out := &sharedView{Scope: "users", Owner: v.owner, SharedBy: v.owner, At: stamp(all[0].At)}
	for _, s := range all {
		if s.Scope == "anonymous" || s.Scope == "organization" && out.Scope == "users" {
			out.Scope = s.Scope
		}
	}
	return out
}

// ownerShare is the id of the entry that every item has.
const ownerShare = "owner"

// siteUserID is the number by which a site knows a user.
func siteUserID(u *User) string {
	g := derive("siteUser", string(u.ID))
	return fmt.Sprint(10 + (int(g[0])<<8|int(g[1]))%9000)
}

func grantedTo(u *User) object {
	user := object{"id": u.ID, "displayName": u.DisplayName, "email": u.Mail}
	return object{"user": user, "siteUser": object{
		"id": siteUserID(u), "displayName": u.DisplayName, "email": u.Mail, "loginName": "i:0#.f|membership|" + u.UserPrincipalName,
	}}
}

// grantedToOwner names who owns a site: its user, or its group of owners.
func grantedToOwner(s site) object {
	if s.user != nil {
		return grantedTo(s.user)
	}
	group := object{"id": guidText(derive("owners", string(s.tenant.ID), s.id())), "displayName": s.team.name() + " Owners"}
	return object{"group": group, "siteGroup": object{"id": "3", "displayName": s.team.name() + " Owners", "loginName": s.team.name() + " Owners"}}
}

// permissionViews are all the permissions of an item, as the service lists them:
// the owner's, then those of its own and those inherited, which look alike.
func permissionViews(p place, it *item) []any {
	list := []any{object{
		"id": ownerShare, "roles": []string{"owner"}, "grantedToV2": grantedToOwner(p.site),
		"grantedTo": object{"user": grantedToOwner(p.site)["user"]}, "shareId": shareID(p, it, ownerShare),
	}}
	all, _ := it.shared()
	for _, s := range all {
		list = append(list, s.view(p, it))
	}
	return list
}

func shareID(p place, it *item, id string) string {
	g := derive("share", p.id(), it.id, id)
	return "u!" + base64.RawURLEncoding.EncodeToString(g[:])
}

func (s share) view(p place, it *item) object {
	v := object{"id": s.ID, "roles": []string{s.Role}, "shareId": shareID(p, it, s.ID), "hasPassword": s.Password}
	if s.Expires != "" {
		v["expirationDateTime"] = s.Expires
	}
	if s.User != "" {
		if u := p.tenant.users[s.User]; u != nil {
			v["grantedToV2"], v["grantedTo"] = grantedTo(u), object{"user": grantedTo(u)["user"]}
		} else {
			v["grantedToV2"] = object{"user": object{"id": s.User}} // of a tenant file of before
		}
		return v
	}
	if s.Group != "" {
		group := object{"id": s.Group}
		if g := p.tenant.groups[s.Group]; g != nil {
			group["displayName"] = g.DisplayName
		}
		v["grantedToV2"] = object{"group": group, "siteUser": object{"id": siteUserID(&User{ID: backup.ObjectID(s.Group)}), "displayName": group["displayName"], "loginName": "c:0t.c|tenant|" + s.Group}}
		return v
	}
	kind := "f"
	if it.kind == isFile {
		kind = "u"
	}
	v["link"] = object{
		"type": s.Link, "scope": s.Scope, "preventsDownload": s.Link == "blocksDownload",
		"webUrl": "https://" + p.host() + "/:" + kind + ":/g" + strings.TrimPrefix(p.site.url(), "https://"+p.host()) + "/" + base64.RawURLEncoding.EncodeToString([]byte(s.ID)),
	}
	v["grantedToIdentitiesV2"], v["grantedToIdentities"] = []any{}, []any{}
	if s.Email != "" {
		who := []any{object{"user": object{"displayName": s.Email, "email": s.Email}}}
		v["grantedToIdentitiesV2"], v["grantedToIdentities"] = who, who
		v["invitation"] = object{"email": s.Email, "signInRequired": true}
	}
	return v
}

func (s *Service) listPermissions(r *request, p place, t target) error {
	var list []any
	err := s.with(p, func(d *drive) error {
		it, err := d.findTo(r.Context(), t, false)
		if err != nil {
			return err
		}
		list = permissionViews(p, it)
		for i := range list {
			list[i] = project(list[i], selected(r.query))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.short(r, "permissions", list)
}

// ownPermission finds the permission that the address names.
func (d *drive) ownPermission(r *request, t target) (it *item, at int, err error) {
	if it, err = d.findTo(r.Context(), t, false); err != nil {
		return nil, 0, err
	}
	id := r.vars["permission"]
	all, own := it.shared()
	at = slices.IndexFunc(all, func(s share) bool { return s.ID == id })
	switch {
	case id == ownerShare:
		return it, -1, nil
	case at < 0:
		return nil, 0, fail(http.StatusNotFound, "itemNotFound", "The item has no such permission.")
	case at >= own && r.Method != http.MethodGet:
		return nil, 0, fail(http.StatusForbidden, "accessDenied", "The permission is inherited: change it where it was given.")
	}
	return it, at, nil
}

func (s *Service) getPermission(r *request, p place, t target) error {
	return s.on(r, p, func(d *drive) error {
		it, at, err := d.ownPermission(r, t)
		if err != nil {
			return err
		}
		r.status, r.answer = http.StatusOK, project(permissionViews(p, it)[at+1], selected(r.query))
		return nil
	})
}

// roleOf returns the one role of a list of roles.
func roleOf(roles []string) (string, error) {
	role := ""
	for _, name := range roles {
		switch name = strings.ToLower(name); {
		case name != "read" && name != "write":
			return "", badRequest("A role that can be given is read or write, not " + quoted(name) + ".").because("badArgument")
		case role != "write":
			role = name
		}
	}
	if role == "" {
		return "", badRequest("roles must name read or write.").because("badArgument")
	}
	return role, nil
}

func (s *Service) patchPermission(r *request, p place, t target) error {
	var in struct {
		Roles   []string `json:"roles"`
		Expires *string  `json:"expirationDateTime"`
	}
	if err := body(r.w, r.Request, &in); err != nil {
		return err
	}
	role := ""
	var err error
	if in.Roles != nil {
		if role, err = roleOf(in.Roles); err != nil {
			return err
		}
	}
	expires, err := expiry(in.Expires)
	if err != nil {
		return err
	}
	return s.on(r, p, func(d *drive) error {
		it, at, err := d.ownPermission(r, t)
		if err != nil {
			return err
		}
		if at < 0 {
			return fail(http.StatusForbidden, "accessDenied", "The owner's permission cannot be changed.")
		}
		d.share(it, func(own *sharing) {
			if role != "" {
				own.Shares[at].Role = role
			}
			if in.Expires != nil {
				own.Shares[at].Expires = expires
			}
			if one := &own.Shares[at]; one.Link != "" && one.Email != "" {
				one.Link = linkOf(one.Role)
			}
		})
		r.status, r.answer = http.StatusOK, permissionViews(p, it)[at+1]
		return nil
	})
}

func (s *Service) deletePermission(r *request, p place, t target) error {
	return s.on(r, p, func(d *drive) error {
		it, at, err := d.ownPermission(r, t)
		if err != nil {
			return err
		}
		if at < 0 {
			return fail(http.StatusForbidden, "accessDenied", "The owner's permission cannot be taken away.")
		}
		d.share(it, func(own *sharing) { own.Shares = slices.Delete(own.Shares, at, at+1) })
		r.status = http.StatusNoContent
		return nil
	})
}

// expiry reads when a permission ends; empty is never.
func expiry(text *string) (string, error) {
	if text == nil || *text == "" || strings.HasPrefix(*text, "0001-01-01") {
		return "", nil
	}
	at, err := time.Parse(time.RFC3339Nano, *text)
	if err != nil {
		return "", badRequest("expirationDateTime is no time in the form 2027-04-01T00:00:00Z.")
	}
	return at.UTC().Format(time.RFC3339), nil
}

func linkOf(role string) string {
	if role == "write" {
		return "edit"
	}
	return "view"
}

type recipient struct {
	Email    string `json:"email"`
	Alias    string `json:"alias"`
	ObjectID string `json:"objectId"`
}

// resolve returns the share that a recipient is to have. Whoever is not of the
// tenant is known by an address.
func (t *tenant) resolve(who recipient) (share, error) {
	name := strings.ToLower(who.ObjectID)
	for _, other := range []string{who.Email, who.Alias} {
		if name == "" {
			name = strings.ToLower(other)
		}
	}
	if u := t.users[name]; u != nil {
		return share{User: string(u.ID)}, nil
	}
	for i := range t.Users {
		if u := &t.Users[i]; strings.EqualFold(u.Mail, name) && name != "" {
			return share{User: string(u.ID)}, nil
		}
	}
	if g := t.groups[name]; g != nil {
		return share{Group: string(g.ID)}, nil
	}
	if local, domain, ok := strings.Cut(who.Email, "@"); !ok || local == "" || domain == "" || who.ObjectID != "" {
		return share{}, badRequest("One or more users could not be resolved: " + quoted(name) + ".").because("noResolvedUsers")
	}
	return share{Email: who.Email, Scope: "users"}, nil
}

func (s *Service) invite(r *request, p place, t target) error {
	var in struct {
		Recipients     []recipient `json:"recipients"`
		Roles          []string    `json:"roles"`
		RequireSignIn  bool        `json:"requireSignIn"`
		SendInvitation bool        `json:"sendInvitation"`
		Message        string      `json:"message"`
		Retain         *bool       `json:"retainInheritedPermissions"`
		Expires        *string     `json:"expirationDateTime"`
		Password       string      `json:"password"`
	}
	if err := body(r.w, r.Request, &in); err != nil {
		return err
	}
	role, err := roleOf(in.Roles)
	if err != nil {
		return err
	}
	expires, err := expiry(in.Expires)
	if err != nil {
		return err
	}
	switch {
	case len(in.Recipients) == 0:
		return badRequest("recipients must name somebody.").because("badArgument")
	case len(in.Message) > 2000:
		return badRequest("The message is longer than 2,000 characters.").because("badArgument")
	}
	var wanted []share
	for _, who := range in.Recipients {
		one, err := p.tenant.resolve(who)
		if err != nil {
			return err
		}
		one.Role, one.Expires, one.Password, one.At = role, expires, in.Password != "", s.clock().UnixNano()
		if one.Email != "" {
			one.Link = linkOf(role)
		}
		wanted = append(wanted, one)
	}
	return s.on(r, p, func(d *drive) error {
		it, err := d.findTo(r.Context(), t, false)
		if err != nil {
			return err
		}
		list := []any{}
		d.share(it, func(own *sharing) {
			if in.Retain != nil && !*in.Retain && len(own.Shares) == 0 {
				own.Alone = true
			}
			for _, one := range wanted {
				if p.user != nil && one.User == string(p.user.ID) { // who may do everything as it is
					list = append(list, permissionViews(p, it)[0])
					continue
				}
				at := slices.IndexFunc(own.Shares, func(s share) bool {
					return s.User == one.User && s.Group == one.Group && strings.EqualFold(s.Email, one.Email) && (one.User+one.Group != "" || s.Email != "")
				})
				if at >= 0 {
					one.ID = own.Shares[at].ID
					own.Shares[at] = one
				} else {
					one.ID = backup.NewID[string]()
					own.Shares = append(own.Shares, one)
				}
				list = append(list, one.view(p, it))
			}
		})
		r.status, r.answer = http.StatusOK, object{"@odata.context": r.base + "/$metadata#Collection(permission)", "value": list}
		return nil
	})
}

func (s *Service) createLink(r *request, p place, t target) error {
	var in struct {
		Type       string      `json:"type"`
		Scope      string      `json:"scope"`
		Expires    *string     `json:"expirationDateTime"`
		Password   string      `json:"password"`
		Recipients []recipient `json:"recipients"`
		Retain     *bool       `json:"retainInheritedPermissions"`
	}
	if err := body(r.w, r.Request, &in); err != nil {
		return err
	}
	kind, scope := strings.ToLower(in.Type), strings.ToLower(in.Scope)
	role := map[string]string{"": "read", "view": "read", "embed": "read", "blocksdownload": "read", "review": "write", "edit": "write"}[kind]
	if role == "" {
		return badRequest("The type of a link is view, edit, review, blocksDownload or embed.").because("badArgument")
	}
	switch kind {
	case "":
		kind = "view"
	case "blocksdownload":
		kind = "blocksDownload"
	}
	switch scope {
	case "":
		scope = "organization"
	case "anonymous", "organization", "users":
	default:
		return badRequest("The scope of a link is anonymous, organization or users.").because("badArgument")
	}
	expires, err := expiry(in.Expires)
	if err != nil {
		return err
	}
	if len(in.Recipients) > 0 {
		return badRequest("Recipients of a link are not supported here: invite them.").because("notSupported")
	}
	return s.on(r, p, func(d *drive) error {
		it, err := d.findTo(r.Context(), t, false)
		if err != nil {
			return err
		}
		r.status = http.StatusOK
		var one share
		all, own := it.shared()
		at := slices.IndexFunc(all[:own], func(s share) bool {
			return s.Link == kind && s.Scope == scope && s.Email == "" && s.Expires == expires && s.Password == (in.Password != "")
		})
		if at >= 0 {
			one = all[at]
		} else {
			one = share{ID: backup.NewID[string](), Role: role, Link: kind, Scope: scope, Expires: expires, Password: in.Password != "", At: s.clock().UnixNano()}
			d.share(it, func(own *sharing) {
				if in.Retain != nil && !*in.Retain && len(own.Shares) == 0 {
					own.Alone = true
				}
				own.Shares = append(own.Shares, one)
			})
			r.status = http.StatusCreated
		}
		v := one.view(p, it)
		v["@odata.context"] = r.base + "/$metadata#permission"
		r.answer = v
		return nil
	})
}
