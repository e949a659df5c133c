package drive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"holdfast/internal/backup"
)

// A Permission is one of an item's: who may do what with it. What opens the item by
// itself, a link's address and what it is made of, is never read.
type Permission struct {
	ID         string        `json:"-"` // by which the source knows it now
	Roles      []string      `json:"roles"`
	To         *Grantee      `json:"grantedToV2,omitempty"`
	ToSeveral  []Grantee     `json:"grantedToIdentitiesV2,omitempty"` // of a link
	Link       *SharingLink  `json:"link,omitempty"`
	Invitation *InvitationTo `json:"invitation,omitempty"`
	Expires    string        `json:"expirationDateTime,omitempty"`
	Password   bool          `json:"hasPassword,omitempty"`
	Inherited  bool          `json:"inherited,omitempty"` // where the source says so
}

// A Grantee is who was given a permission, by each name that the source has for it.
type Grantee struct {
	User        *Identity `json:"user,omitempty"`
	Group       *Identity `json:"group,omitempty"`
	Application *Identity `json:"application,omitempty"`
	Device      *Identity `json:"device,omitempty"`
	SiteUser    *Identity `json:"siteUser,omitempty"`
	SiteGroup   *Identity `json:"siteGroup,omitempty"`
}

// An Identity is one of them.
type Identity struct {
	ID      string `json:"id,omitempty"`
	Name    string `json:"displayName,omitempty"`
	Email   string `json:"email,omitempty"`
	Address string `json:"userPrincipalName,omitempty"`
	Login   string `json:"loginName,omitempty"`
}

// A SharingLink is what a link gives whom, without its address.
type SharingLink struct {
	Type       string `json:"type,omitempty"`  // view, edit, …
	Scope      string `json:"scope,omitempty"` // anonymous, organization, users, …
	NoDownload bool   `json:"preventsDownload,omitempty"`
}

// An InvitationTo is the address that somebody outside was invited by.
type InvitationTo struct {
	Email  string `json:"email,omitempty"`
	SignIn bool   `json:"signInRequired,omitempty"`
}

type wirePermission struct {
	Permission
	ID            string          `json:"id"`
	GrantedTo     *Grantee        `json:"grantedTo"`
	Identities    []Grantee       `json:"grantedToIdentities"`
	InheritedFrom json.RawMessage `json:"inheritedFrom"`

	wrong bool
}

func (w *wirePermission) key() string { return w.ID }
func (w *wirePermission) malformed()  { w.wrong = true }

func (w *wirePermission) permission() Permission {
	p := w.Permission
	p.ID = w.ID
	if p.To == nil {
		p.To = w.GrantedTo
	}
	if p.ToSeveral == nil {
		p.ToSeveral = w.Identities
	}
	if p.To != nil && *p.To == (Grantee{}) {
		p.To = nil
	}
	p.ToSeveral = slices.DeleteFunc(p.ToSeveral, func(g Grantee) bool { return g == Grantee{} })
	p.Inherited = len(w.InheritedFrom) > 0 && string(w.InheritedFrom) != "null"
	if strings.HasPrefix(p.Expires, "0001-01-01") {
		p.Expires = ""
	}
	return p
}

// costPermissions is what any call about permissions costs.
const costPermissions = 5

// Permissions lists who may do what with an item, those permissions included that it has
// by the folders above. An item that the source tells no permission of is ErrDenied: each
// has one at least, which the source keeps from who may not see it.
func (c *Client) Permissions(ctx context.Context, d backup.DriveID, id backup.ItemID) ([]Permission, error) {
	first := call{op: onItem("list the permissions of item", d, id), url: c.at("drives", string(d), "items", string(id), "permissions"), cost: costPermissions, itemOf: d}
	all := []Permission{}
	for p, err := range pages[wirePermission](ctx, c, first) {
		if err != nil {
			return nil, err
		}
		for i := range p.Value {
			if p.Value[i].wrong {
				return nil, &Error{Op: first.op, Err: errors.New("one of them cannot be understood"), kind: ErrContent}
			}
			all = append(all, p.Value[i].permission())
		}
	}
	if len(all) == 0 {
		return nil, &Error{Op: first.op, Err: errors.New("it tells of none"), kind: ErrDenied}
	}
	return all, nil
}

// A Recipient is whom an item is shared with: by an id of the directory or, where none is
// known, an address.
type Recipient struct {
	ID    string `json:"objectId,omitempty"`
	Email string `json:"email,omitempty"`
}

// Invite lets somebody read or write an item, as the role says, until a time or, if none
// is given, for good. What they may already is not taken away, and no mail is sent. It may
// be asked for again. One who is not known is ErrNobody.
func (c *Client) Invite(ctx context.Context, d backup.DriveID, id backup.ItemID, to Recipient, role, until string) error {
	body := map[string]any{"recipients": []Recipient{to}, "roles": []string{role}, "requireSignIn": true, "sendInvitation": false}
	if until != "" {
		body["expirationDateTime"] = until
	}
	k := &call{op: onItem("share item", d, id), method: http.MethodPost, url: c.at("drives", string(d), "items", string(id), "invite"), cost: costPermissions, itemOf: d,
		json: body, about: onItem("share item", d, id)}
	_, err := c.do(ctx, k, nil)
	if e, ok := errors.AsType[*Error](err); ok && e.Status == http.StatusBadRequest && (e.has("noResolvedUsers") || strings.Contains(e.Message, "could not be resolved")) {
		e.kind = ErrNobody
	}
	return err
}

// ItemPermissions are an item's permissions as they are kept.
type ItemPermissions struct {
	Item        backup.ItemID `json:"item"`
	Permissions []Permission  `json:"permissions"`
}

// Encode returns f as it is kept: the same for the same permissions, in whichever order,
// and however often, the source tells of them.
func (f ItemPermissions) Encode() ([]byte, error) {
	type one struct {
		Permission
		text []byte
	}
	all := make([]one, len(f.Permissions))
	for i, p := range f.Permissions {
		p.Roles = slices.Sorted(slices.Values(p.Roles))
		var several []string
		for _, g := range p.ToSeveral {
			text, err := encode(g)
			if err != nil {
				return nil, err
			}
			several = append(several, string(text))
		}
		slices.Sort(several)
		p.ToSeveral = nil
		for _, text := range slices.Compact(several) {
			var g Grantee
			if err := json.Unmarshal([]byte(text), &g); err != nil {
				return nil, err
			}
			p.ToSeveral = append(p.ToSeveral, g)
		}
		text, err := encode(p)
		if err != nil {
			return nil, err
		}
		all[i] = one{p, text}
	}
	slices.SortFunc(all, func(a, b one) int { return bytes.Compare(a.text, b.text) })
	all = slices.CompactFunc(all, func(a, b one) bool { return bytes.Equal(a.text, b.text) })
	f.Permissions = make([]Permission, len(all))
	for i := range all {
		f.Permissions[i] = all[i].Permission
	}
	return encode(f)
}

// A SharedItem is an item of a drive as a scan of permissions tells of it.
type SharedItem struct {
	ID            backup.ItemID // "" where the source does not say which it is
	Name          string
	Root, Deleted bool
	Own           bool // it has permissions of its own, and not only its folder's
}

type wireShared struct {
	ID, Name                          string
	Root, Deleted, Shared, RemoteItem *struct{}

	wrong bool
}

func (w *wireShared) key() string { return w.ID }
func (w *wireShared) malformed()  { w.wrong = true }

// shared is the item. What is not understood may be shared: it is then asked for.
func (w *wireShared) shared() SharedItem {
	it := SharedItem{ID: backup.ItemID(w.ID), Name: w.Name, Root: w.Root != nil, Deleted: w.Deleted != nil && !w.wrong, Own: w.wrong || w.Shared != nil && w.RemoteItem == nil}
	if isAlias(w.ID) || !isName(w.ID) {
		it.ID = ""
	}
	if !isName(w.Name) {
		it.Name = ""
	}
	return it
}

// scanning are the preferences by which the source tells of permissions: of all that
// changes in them, and with what has its own only.
const scanning = "hierarchicalsharing, deltashowsharingchanges, deltashowremovedasdeleted, deltatraversepermissiongaps, deltaExcludeParent"

// SharingDelta is Delta for permissions: it tells of each item that changed, its
// permissions or anything else, whether it has permissions of its own. The source tells
// of all changes of permissions to who may see them: see SeesPermissions.
func (c *Client) SharingDelta(ctx context.Context, d backup.DriveID, cursor string) *Changes[SharedItem] {
	first := call{op: "scan the permissions in drive " + string(d), header: http.Header{"Prefer": {scanning}}, cost: costGet,
		url: c.at("drives", string(d), "root", "delta", "?$select=id,name,remoteItem,root,deleted,shared")}
	if cursor == "" {
		first.cost = costList
	} else {
		address, ok := c.resume(cursor)
		if ok {
			ok = c.foreign(address, c.at("drives", string(d))) == ""
		}
		if !ok {
			return failed[SharedItem](&Error{Op: first.op, Err: errors.New("the cursor is no address in this drive"), kind: ErrResync})
		}
		first.url = address
	}
	x := deltaOf(ctx, c, first, func(in []wireShared) ([]SharedItem, error) {
		out := make([]SharedItem, len(in))
		for i := range in {
			out[i] = in[i].shared()
		}
		return out, nil
	})
	if cursor != "" {
		x.all = noCursor(first.op, x.all, func() bool {
			_, err := c.Root(ctx, d)
			return err == nil
		})
	}
	return x
}

// SeesPermissions reports whether the application is told of all permissions, as far as
// its token says: who may not control sites is told of some.
func (c *Client) SeesPermissions(ctx context.Context) (bool, error) {
	token, err := c.accessToken(ctx, &c.token, "look which permissions the application has", "")
	if err != nil {
		return false, err
	}
	roles := rolesOf(token)
	return roles == nil || slices.Contains(roles, "Sites.FullControl.All") || slices.Contains(roles, "Sites.Selected"), nil
}
