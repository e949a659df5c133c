package simtenant

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"holdfast/internal/backup"
)

// A Tenant is one organisation: who is in it and which applications may act in
// it. Tenants know nothing of each other.
type Tenant struct {
	ID          backup.TenantID `json:"id"`
	DisplayName string          `json:"displayName"`
	Domain      string          `json:"domain"`
	Users       []User          `json:"users"`
	Groups      []Group         `json:"groups"`
	Apps        []App           `json:"apps"`
}

// A User owns a drive: the folder named by UserPrincipalName.
type User struct {
	ID                backup.ObjectID `json:"id"`
	UserPrincipalName string          `json:"userPrincipalName"`
	Mail              string          `json:"mail"`
	DisplayName       string          `json:"displayName"`

	AccountEnabled *bool      `json:"accountEnabled,omitempty"`  // if it is false, the user cannot sign in
	Deleted        *time.Time `json:"deletedDateTime,omitempty"` // the user is gone from the directory; the drive is there
	NoDrive        bool       `json:"noDrive,omitempty"`         // there is no drive until somebody makes its folder
}

func (u *User) enabled() bool { return u.AccountEnabled == nil || *u.AccountEnabled }

// A Group is a set of users and of other groups.
type Group struct {
	ID          backup.ObjectID   `json:"id"`
	DisplayName string            `json:"displayName"`
	Members     []backup.ObjectID `json:"members"` // users, and groups
	// MailNickname is the name of a Microsoft 365 group's site. A group without one is
	// a security group, and has none.
	MailNickname string `json:"mailNickname,omitempty"`
}

// unified reports whether g is a Microsoft 365 group.
func (g *Group) unified() bool { return g.MailNickname != "" }

// mail is the address of a Microsoft 365 group.
func (g *Group) mail(t *tenant) string {
	if !g.unified() {
		return ""
	}
	return g.MailNickname + "@" + t.Domain
}

// An App is an application with the permissions it was granted, and what it
// proves by who it is: a secret, a certificate, or, where it runs on people's own
// machines, nothing.
type App struct {
	AppID        string   `json:"appId"`
	Secret       string   `json:"secret,omitempty"`
	Certificates []string `json:"certificates,omitempty"` // in PEM
	Public       bool     `json:"public,omitempty"`       // it may sign people in without a proof
	DisplayName  string   `json:"displayName"`
	Roles        []string `json:"roles"`
	// Exposes are the permissions of an application that is an API of its own. Others
	// that have them among their roles get them in tokens for it, and no more.
	Exposes []string `json:"exposes,omitempty"`
	// AppIDURI is its name as an API, api:// and its id by default.
	AppIDURI string `json:"appIdUri,omitempty"`
	// TokenVersion is of the tokens for it: 2, or 1 as Entra has it by default.
	TokenVersion int `json:"requestedAccessTokenVersion,omitempty"`
	// GroupClaims has people's tokens for it tell which groups they are in, as
	// groupMembershipClaims SecurityGroup does at Entra.
	GroupClaims bool `json:"groupClaims,omitempty"`

	foreign bool // it is another publisher's
}

// ParseTenants reads a tenant file. Its error names all that is wrong, one
// line each.
func ParseTenants(r io.Reader) ([]Tenant, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read tenant file: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var file struct {
		Tenants []Tenant `json:"tenants"`
	}
	if err := dec.Decode(&file); err != nil {
		at := dec.InputOffset()
		if e, ok := errors.AsType[*json.SyntaxError](err); ok {
			at = e.Offset
		} else if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			at = e.Offset
		}
		line := 1 + bytes.Count(data[:min(int(at), len(data))], []byte("\n"))
		return nil, fmt.Errorf("tenant file: near line %d: %w", line, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("tenant file: there is more after the closing brace")
	}
	canonical(file.Tenants)
	if err := validate(file.Tenants); err != nil {
		return nil, err
	}
	return file.Tenants, nil
}

// canonical puts the GUIDs into lower case, where they are GUIDs.
func canonical(tenants []Tenant) {
	for i := range tenants {
		t := &tenants[i]
		lower(&t.ID)
		for j := range t.Users {
			lower(&t.Users[j].ID)
		}
		for j := range t.Groups {
			lower(&t.Groups[j].ID)
			for k := range t.Groups[j].Members {
				lower(&t.Groups[j].Members[k])
			}
		}
		for j := range t.Apps {
			lower(&t.Apps[j].AppID)
		}
	}
}

func lower[T ~string](id *T) {
	if g, ok := backup.ParseGUID(string(*id)); ok {
		*id = T(g)
	}
}

// validate returns all that is wrong with tenants, joined.
func validate(tenants []Tenant) error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(tenants) == 0 {
		wrong("there is no tenant")
	}
	guid := func(seen map[string]string, id, what string) {
		g, ok := backup.ParseGUID(id)
		switch {
		case !ok:
			wrong("%s: id %q is not a GUID", what, id)
		case g != id:
			wrong("%s: id %q must be in lower case", what, id)
		case seen[id] != "":
			wrong("%s: id %s is already that of %s", what, id, seen[id])
		}
		seen[id] = what
	}
	tenantIDs, domains, folders := map[string]string{}, map[string]string{}, map[string]string{}
	for i, t := range tenants {
		what := fmt.Sprintf("tenants[%d]", i)
		guid(tenantIDs, string(t.ID), what)
		if d := strings.ToLower(t.Domain); d == "" || !safeName(t.Domain) {
			wrong("%s: domain %q is not a domain name", what, t.Domain)
		} else if other := domains[d]; other != "" {
			wrong("%s: domain %s is already that of %s", what, t.Domain, other)
		} else {
			domains[d] = what
		}
		objects, members, nicknames := map[string]string{}, map[backup.ObjectID]bool{}, map[string]string{}
		for j, u := range t.Users {
			what := fmt.Sprintf("%s.users[%d]", what, j)
			guid(objects, string(u.ID), what)
			members[u.ID] = true
			switch upn := strings.ToLower(u.UserPrincipalName); {
			case !safeName(upn) || !strings.Contains(upn, "@"):
				wrong("%s: userPrincipalName %q cannot name a folder: it needs the form name@domain, without slashes, and not beginning with a dot", what, u.UserPrincipalName)
			case folders[upn] != "":
				wrong("%s: userPrincipalName %s is already that of %s", what, u.UserPrincipalName, folders[upn])
			default:
				folders[upn] = what
			}
		}
		for j, g := range t.Groups {
			what := fmt.Sprintf("%s.groups[%d]", what, j)
			guid(objects, string(g.ID), what)
			members[g.ID] = true
			switch nick := strings.ToLower(g.MailNickname); {
			case !g.unified():
			case !safeName(nick) || nick == rootSite:
				wrong("%s: mailNickname %q cannot name a site's folder", what, g.MailNickname)
			case nicknames[nick] != "":
				wrong("%s: mailNickname %s is already that of %s", what, g.MailNickname, nicknames[nick])
			default:
				nicknames[nick] = what
			}
		}
		for j, g := range t.Groups {
			for k, m := range g.Members {
				if !members[m] {
					wrong("%s.groups[%d].members[%d]: %q is no user or group of the tenant", what, j, k, m)
				}
			}
		}
		apps := map[string]string{}
		for j, a := range t.Apps {
			what := fmt.Sprintf("%s.apps[%d]", what, j)
			guid(apps, a.AppID, what)
			if a.Secret == "" && len(a.Certificates) == 0 && !a.Public {
				wrong("%s: secret is empty", what)
			}
			for k, text := range a.Certificates {
				if cert, err := certificate(text); err != nil {
					wrong("%s.certificates[%d]: %w", what, k, err)
				} else if _, ok := cert.PublicKey.(*rsa.PublicKey); !ok {
					wrong("%s.certificates[%d]: its key is not an RSA key", what, k)
				}
			}
		}
	}
	return errors.Join(errs...)
}

// safeName reports whether s can name a folder beside others.
func safeName(s string) bool {
	return s != "" && len(s) <= 200 && s[0] != '.' && utf8.ValidString(s) &&
		!strings.ContainsAny(s, "/\\:\x00") && strings.TrimSpace(s) == s
}

// tenant is a Tenant with what is derived from it.
type tenant struct {
	Tenant
	name       string           // the first label of the domain, as SharePoint's host begins
	present    []*User          // who is not deleted
	users      map[string]*User // they, by id and by userPrincipalName, lower case
	groups     map[string]*Group
	apps       map[string]*App
	generation string // of the users: changes when the file does

	groupsGeneration string // the same of the groups
}

// site holds document libraries. Each user has a personal one, where the user's
// drive is; all others are team sites.
type site struct {
	tenant *tenant
	user   *User // of a personal site
	team   team  // of a team site
}

func (s *Service) addTenant(in Tenant) {
	t := &tenant{Tenant: in, users: map[string]*User{}, groups: map[string]*Group{}, apps: map[string]*App{}}
	t.name, _, _ = strings.Cut(strings.ToLower(in.Domain), ".")
	sum, groups := sha256.New(), sha256.New()
	for i := range t.Users {
		u := &t.Users[i]
		if u.Deleted == nil {
			t.present = append(t.present, u)
			t.users[string(u.ID)] = u
			t.users[strings.ToLower(u.UserPrincipalName)] = u
		}
		here := site{tenant: t, user: u}
		s.sites[here.id()] = here
		s.folders[u.UserPrincipalName] = here
		fmt.Fprintf(sum, "%q %q %q %q\n", u.ID, u.UserPrincipalName, u.Mail, u.DisplayName)
		if !u.enabled() || u.Deleted != nil {
			fmt.Fprintf(sum, "%v %v\n", u.enabled(), u.Deleted)
		}
	}
	for i := range t.Groups {
		g := &t.Groups[i]
		t.groups[string(g.ID)] = g
		fmt.Fprintf(groups, "%q %q %q %q\n", g.ID, g.DisplayName, g.MailNickname, g.Members)
	}
	t.groupsGeneration = hex.EncodeToString(groups.Sum(nil)[:12])
	for i := range t.Apps {
		t.apps[t.Apps[i].AppID] = &t.Apps[i]
	}
	t.generation = hex.EncodeToString(sum.Sum(nil)[:12])
	s.tenants[string(t.ID)] = t
	s.tenants[strings.ToLower(t.Domain)] = t
	s.byOrder = append(s.byOrder, t)
}

// derive returns 16 bytes that follow from the parts and from nothing else.
func derive(parts ...string) (g [16]byte) {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	copy(g[:], h.Sum(nil))
	g[6] = g[6]&0x0f | 0x50
	g[8] = g[8]&0x3f | 0x80
	return g
}

func guidText(g [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", g[0:4], g[4:6], g[6:8], g[8:10], g[10:16])
}

// guid is that of the site collection that s is, or is in.
func (s site) guid() [16]byte {
	if s.user == nil {
		return s.team.top
	}
	return derive("site", string(s.tenant.ID), string(s.user.ID))
}

func (s site) id() string { return guidText(s.guid()) }

// web tells a site from the others of its site collection.
func (s site) web() [16]byte {
	if s.user == nil {
		return s.team.key
	}
	return derive("web", string(s.tenant.ID), string(s.user.ID))
}

// host is that of the tenant's sites, or of its personal ones.
func (s site) host() string {
	if s.user == nil {
		return s.tenant.name + ".sharepoint.com"
	}
	return s.tenant.name + "-my.sharepoint.com"
}

// fullID is how Graph names a site.
func (s site) fullID() string { return s.host() + "," + s.id() + "," + guidText(s.web()) }

func (s site) url() string {
	if s.user == nil {
		return "https://" + s.host() + escapePath(s.team.address())
	}
	name := strings.Map(func(r rune) rune {
		if r == '@' || r == '.' || r == '#' {
			return '_'
		}
		return r
	}, strings.ToLower(s.user.UserPrincipalName))
	return "https://" + s.host() + "/personal/" + name
}

// documents is the library that a user's drive is.
const documents = "Documents"

// place is a drive: a library of a site, and the folder that it is.
type place struct {
	site
	library string
	in      string   // of a team site: the folder that it is in, one of its parts
	key     [16]byte // of a team site: the list's GUID
}

func (p place) list() [16]byte {
	if p.user == nil {
		return p.key
	}
	return derive("list", string(p.tenant.ID), string(p.user.ID), p.library)
}

// id is the drive's.
func (p place) id() string {
	site, web, list := p.guid(), p.web(), p.list()
	b := append(append(append([]byte(nil), site[:]...), web[:]...), list[:]...)
	return "b!" + base64.RawURLEncoding.EncodeToString(b)
}

// driveParts are the GUIDs that a drive id is made of: the site collection's, the
// web's and the list's.
func driveParts(driveID string) (parts [3][16]byte, ok bool) {
	rest, ok := strings.CutPrefix(driveID, "b!")
	if !ok {
		return parts, false
	}
	b, err := base64.RawURLEncoding.DecodeString(rest)
	if err != nil || len(b) != 48 {
		return parts, false
	}
	for i := range parts {
		parts[i] = [16]byte(b[16*i:])
	}
	return parts, true
}

// folder is the path of the place's folder below Config.Drives, or below
// Config.Sites.
func (p place) folder() string {
	switch {
	case p.user == nil && p.in == pagesPart:
		return path.Join(p.team.path, p.in)
	case p.user == nil:
		return path.Join(p.team.path, p.in, p.library)
	}
	if p.library == documents || p.isMailbox() {
		return p.user.UserPrincipalName
	}
	return p.user.UserPrincipalName + "." + p.library
}

func (p place) url() string {
	switch p.in {
	case pagesPart:
		return p.site.url() + "/SitePages"
	case listsPart:
		return p.site.url() + "/Lists/" + escapePath(p.library)
	}
	return p.site.url() + "/" + escapePath(p.library)
}

// Sample returns the built-in tenant, Contoso. Its application, owners and
// object ids are those in the examples of Microsoft's pages, so that their
// requests can be sent as they stand.
func Sample() []Tenant {
	user := func(id backup.ObjectID, name, display string) User {
		return User{ID: id, UserPrincipalName: name + "@contoso.com", Mail: name + "@contoso.com", DisplayName: display}
	}
	t := Tenant{
		ID:          "c0ffee00-5a3e-4d7b-9c1f-365365365365",
		DisplayName: "Contoso",
		Domain:      "contoso.com",
		Users: []User{
			user("a3a1a000-4f6b-4c55-8f0e-c0a7050a0001", "amala", "Amala Rao"),
			user("c09dad00-4f6b-4c55-8f0e-c0a7050a0002", "conrad", "Conrad Nuber"),
			user("1fec4e78-bce4-4aaf-ab1b-5451cc387264", "lothar", "Lothar Brandt"),
			user("1b014d8c-71fe-4d00-a01a-31850bc5b32c", "mira", "Mira Solano"),
			user("2b014d8c-71fe-4d00-a01a-31850bc5b32c", "noor", "Noor Haddad"),
			user("5767e382-71a9-4c07-bef7-bda97e09c0d2", "pavel", "Pavel Novák"),
			user("845457dc-4bb2-4815-bef3-8628ebd1952e", "User1", "User1"),
		},
		Apps: []App{{
			AppID:       "1fec8e78-bce4-4aaf-ab1b-5451cc387264",
			Secret:      "holdfast-dev-secret",
			DisplayName: "Microsoft Enhanced Restore",
			Roles:       slices.Concat(backupRoles(), []string{"Files.ReadWrite.All", "User.Read.All", "GroupMember.Read.All", "Sites.Manage.All", "Sites.FullControl.All", "Mail.Send", "Calendars.ReadWrite", "Contacts.ReadWrite", "Tasks.ReadWrite.All", "MailboxSettings.ReadWrite"}, MailRoles()),
		}},
	}
	t.Groups = []Group{{
		ID: "6a0de200-4f6b-4c55-8f0e-c0a7050a0100", DisplayName: "Research",
		Members: []backup.ObjectID{t.Users[0].ID, t.Users[1].ID, t.Users[2].ID},
	}}
	return []Tenant{t}
}

// MailRoles returns the names of the permissions that reading and restoring
// mailboxes takes.
func MailRoles() []string {
	return []string{"MailboxSettings.Read", "MailboxFolder.ReadWrite.All", "MailboxItem.Read.All", "MailboxItem.ImportExport.All", "Mail.ReadWrite"}
}

// backupRoles returns the names of the Backup Storage API's own permissions.
func backupRoles() []string {
	return []string{
		"BackupRestore-Configuration.Read.All", "BackupRestore-Configuration.ReadWrite.All",
		"BackupRestore-Control.Read.All", "BackupRestore-Control.ReadWrite.All",
		"BackupRestore-Monitor.Read.All",
		"BackupRestore-Restore.Read.All", "BackupRestore-Restore.ReadWrite.All",
		"BackupRestore-Search.Read.All",
	}
}
