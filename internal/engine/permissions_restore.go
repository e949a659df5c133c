package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
	"holdfast/internal/jobs"
	"holdfast/internal/spill"
	"holdfast/internal/vault"
)

// Permissions are restored only where an artifact asks for it, after the files: who could
// read or write a file at the point, and cannot now, by whichever way, is let do so again.
// Nothing is taken from anybody, nobody is sent mail, and no link is made: what a link gave
// to people by name they are given themselves, and every other is named. Folders come
// before what is in them, so that nobody is given for each file what the folder gives. Each
// item is asked who may what before and after, so that a restore that is killed, or done
// twice, gives nothing twice, and what did not come about is named.
type permissionRestore struct {
	e       *Engine
	source  *drive.Client
	vault   *vault.Vault
	library vault.Part // of the point
	part    vault.Part // its permissions
	into    backup.DriveID
	files   *filesOf
	exact   bool // the library is the one that the point was taken of
	now     time.Time

	mu       sync.Mutex // guards what follows
	given    int
	failures []backup.Detail
	remarks  []backup.Detail
	more     int // failures and remarks that are not named one by one
	failed   int
}

// restorePermissions lets those into what was restored of a site's libraries who could go
// there at the point.
func (e *Engine) restorePermissions(ctx context.Context, j *jobs.Job, a backup.Artifact, to reachedSite, beside newPlaces, all *outcomes) error {
	if !a.Permissions {
		return nil
	}
	for _, library := range to.libraries() {
		problem, err := e.restorePermissionsOf(ctx, j, to, library, beside)
		if endsAll(ctx, err) {
			return err
		}
		if problem != nil || err != nil {
			all.add(library, problem, err)
		}
	}
	return nil
}

func (e *Engine) restorePermissionsOf(ctx context.Context, j *jobs.Job, to reachedSite, library vault.Part, beside newPlaces) (*backup.Problem, error) {
	i := slices.IndexFunc(to.parts, func(p vault.Part) bool {
		return p.Kind == backup.FilePermissions && p.Library == library.Drive
	})
	if i < 0 {
		return remark("The restore point does not hold who may do what with the files: that was not kept then."), nil
	}
	into, elsewhere := beside.libraries[library.Drive]
	if !elsewhere {
		var err error
		if into, err = e.liveLibrary(ctx, j.Tenant, to, library); errors.Is(err, drive.ErrNotFound) {
			return nil, nil // which is named
		} else if err != nil {
			return nil, err
		}
	}
	r := &permissionRestore{e: e, source: to.source, vault: to.vault, library: library, part: to.parts[i], into: into.ID,
		files: &filesOf{part: library, into: into.ID}, exact: into.ID == library.Drive, now: e.Clock()}
	if err := r.run(ctx); err != nil {
		return nil, err
	}
	if to.stale(r.part.Name) {
		r.remark("", "The restore point holds who may do what with the files as it was before the point, since it could not be read then.")
	}
	return r.problem(ctx), nil
}

// remark is what a restore that succeeded has to say.
func remark(message string) *backup.Problem {
	return &backup.Problem{Code: backup.RestoredWithRemarks, Message: "All is as it was at the restore point. " + remarked(1), Details: []backup.Detail{{Code: backup.RestoredChanged, Message: message}}}
}

// run restores the permissions of one library. It returns only what must end the restore.
func (r *permissionRestore) run(ctx context.Context) error {
	// A library has 50,000 items with permissions of their own at most.
	found := spill.New(r.vault.Scratch())
	defer found.Close()
	type place struct{ depth, i int }
	var order []place
	for n, err := range r.vault.Walk(ctx, r.part.Tree) {
		item, ok := itemWith(n.ID)
		switch {
		case isDamage(err):
			r.fail(n.Path, "", err)
			continue
		case err != nil:
			return fmt.Errorf("list the point: %w", err)
		case n.Kind == backup.Folder || !ok:
			continue
		}
		_, at, ok, err := r.files.node(ctx, r.vault, item)
		if err != nil && !isDamage(err) {
			return err
		}
		if err == nil && ok {
			order = append(order, place{strings.Count(at, "/"), found.Put(string(item), n.Content)})
		} // else the library was restored without it
	}
	slices.SortFunc(order, func(a, b place) int { return cmp.Or(cmp.Compare(a.depth, b.depth), cmp.Compare(a.i, b.i)) })
	for at := 0; at < len(order); {
		next := at
		group, inGroup := newGroup(ctx)
		group.SetLimit(r.e.Transfers)
		for ; next < len(order) && order[next].depth == order[at].depth; next++ {
			item, content := found.Get(order[next].i)
			group.Go(func() error { return r.item(inGroup, backup.ItemID(item), content) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
		at = next
	}
	return found.Err()
}

// item restores the permissions of one item.
func (r *permissionRestore) item(ctx context.Context, id backup.ItemID, content string) error {
	node, at, ok, err := r.files.node(ctx, r.vault, id)
	if err != nil || !ok {
		return err
	}
	kept, err := readContent(ctx, r.vault, content)
	if isDamage(err) {
		r.fail(at, "", err)
		return nil
	}
	if err != nil {
		return err
	}
	var f drive.ItemPermissions
	if err := json.Unmarshal(kept, &f); err != nil {
		r.fail(at, "", fmt.Errorf("%w: the permissions of %s: %w", vault.ErrDamaged, at, err))
		return nil
	}
	live, now, err := r.live(ctx, id, node, at)
	switch {
	case errors.Is(err, drive.ErrNotFound):
		r.remark(at, "Who may do what with it was not restored: it is not there, or is another.")
		return nil
	case err != nil:
		return r.failing(ctx, at, "", err)
	}
	was := grantsOf(f.Permissions)
	var asked []grant
	for _, g := range was {
		switch why := g.unfit(); {
		case g.inherited, g.over(r.now), holds(now, g):
		case why != "":
			r.remark(at, why)
		default:
			err := r.source.Invite(ctx, r.into, live, drive.Recipient{ID: g.who.id, Email: map[bool]string{true: g.who.address}[g.who.id == ""]}, g.role(), g.until)
			if errors.Is(err, drive.ErrNobody) {
				r.remark(at, g.who.String()+" is not known any more, and was not let in again.")
			} else if err != nil {
				if err := r.failing(ctx, at, g.who.String()+" was not let in again: ", err); err != nil {
					return err
				}
			} else {
				asked = append(asked, g)
			}
		}
	}
	if len(asked) > 0 {
		after, err := r.source.Permissions(ctx, r.into, live)
		if err != nil {
			return r.failing(ctx, at, "", err)
		}
		now = grantsOf(after)
	}
	r.wider(at, was, now)
	for _, g := range asked {
		if !holds(now, g) {
			r.fail(at, g.who.String()+" was to be let in again, and is not, although the source did not refuse it.", nil)
		}
	}
	r.mu.Lock()
	r.given += len(asked)
	r.mu.Unlock()
	return nil
}

// wider names those who may do something with an item now, and could not at the point: what
// is made anew is as its folder, and what was given since stays.
func (r *permissionRestore) wider(at string, was, now []grant) {
	var who []string
	for _, g := range now {
		if !holds(was, g) {
			who = append(who, cmp.Or(g.who, someone{name: "whoever has a link"}).String()+" can "+g.may())
		}
	}
	if len(who) == 0 {
		return
	}
	slices.Sort(who)
	more := ""
	if n := len(who) - maxWider; n > 0 {
		who, more = who[:maxWider], fmt.Sprintf(", and %d more", n)
	}
	r.remark(at, strings.Join(who, ", ")+more+", which was not so at the restore point. It was left so.")
}

// maxWider is how many are named of one item.
const maxWider = 10

// live finds the item that one of the point is now, and who may do what with it.
func (r *permissionRestore) live(ctx context.Context, id backup.ItemID, node vault.Node, at string) (backup.ItemID, []grant, error) {
	all, err := []drive.Permission(nil), drive.ErrNotFound
	if r.exact {
		all, err = r.source.Permissions(ctx, r.into, id)
	}
	if errors.Is(err, drive.ErrNotFound) {
		var is drive.Item
		if is, err = r.source.ItemAt(ctx, r.into, at); err == nil && !isTheFile(is, node.Entry) {
			err = drive.ErrNotFound
		}
		if err == nil {
			id = is.ID
			all, err = r.source.Permissions(ctx, r.into, id)
		}
	}
	return id, grantsOf(all), err
}

// failing notes that something failed of one item. It returns what must end the restore.
func (r *permissionRestore) failing(ctx context.Context, at, what string, err error) error {
	if stopped(ctx, err) || !isSource(err) || errors.Is(err, drive.ErrPaused) {
		return err
	}
	r.fail(at, what, err)
	return nil
}

func (r *permissionRestore) fail(at, what string, err error) {
	code, why := backup.ArtifactCannotBeRestored, ""
	if err != nil {
		code, why = notWritten(err)
		if errors.Is(err, drive.ErrDenied) {
			why = "The source refused it; sharing may be restricted there."
		}
		if says := sourceSays(err); says != "" {
			why += " " + says
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed++
	r.add(&r.failures, backup.Detail{Code: code, Target: at, Message: what + why})
}

func (r *permissionRestore) remark(at, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.add(&r.remarks, backup.Detail{Code: backup.RestoredChanged, Target: at, Message: message})
}

func (r *permissionRestore) add(to *[]backup.Detail, d backup.Detail) {
	if len(*to) == maxDetails {
		r.more++
		return
	}
	*to = append(*to, d)
}

func (r *permissionRestore) problem(ctx context.Context) *backup.Problem {
	all := slices.Concat(r.failures, r.remarks)
	slices.SortFunc(all, func(a, b backup.Detail) int {
		return cmp.Or(strings.Compare(a.Target, b.Target), strings.Compare(a.Message, b.Message))
	})
	if r.more > 0 {
		all = append(all, backup.Detail{Code: backup.RestoredChanged, Message: fmt.Sprintf("Also not restored as they were: the permissions of %s.", count(r.more, "item"))})
	}
	r.e.Log.InfoContext(ctx, "permissions restored", "library", r.library.Name, "given", r.given, "failed", r.failed, "remarks", len(r.remarks))
	switch {
	case r.failed > 0:
		return &backup.Problem{Code: backup.ArtifactCannotBeRestored, Details: all, Short: &backup.Shortfall{Failed: r.failed},
			Message: fmt.Sprintf("Permissions of %s could not be restored; all else is as it was at the restore point.", count(r.failed, "item"))}
	case len(all) > 0:
		return &backup.Problem{Code: backup.RestoredWithRemarks, Details: all, Message: "All is as it was at the restore point. " + remarked(len(all))}
	}
	return nil
}

// Kinds of those who may do something.
const (
	aUser      = "user"
	aGroup     = "group"
	aSiteGroup = "site group"
	aProgram   = "application"
)

// A someone is who may do something: somebody of the directory, or of the site.
type someone struct {
	kind, id, address, name string
}

func (s someone) String() string {
	name := cmp.Or(s.name, s.address, s.id, "Somebody")
	if s.address != "" && s.address != name {
		name += " (" + s.address + ")"
	}
	return name
}

// is reports whether two are the same. An address may be another's by now: where ids are
// known, they decide.
func (s someone) is(other someone) bool {
	switch {
	case s.kind != other.kind:
		return false
	case s.id != "" && other.id != "":
		return strings.EqualFold(s.id, other.id)
	case s.id+s.address+other.id+other.address == "": // such as everyone
		return s.name != "" && s.name == other.name
	}
	return s.address != "" && strings.EqualFold(s.address, other.address)
}

// groupLogins begin the names under which a site has groups of the directory.
var groupLogins = []string{"c:0t.c|tenant|", "c:0o.c|federateddirectoryclaimprovider|"}

// someoneOf is who a grantee is.
func someoneOf(g drive.Grantee) someone {
	address := func(all ...*drive.Identity) string {
		for _, i := range all {
			if i == nil {
				continue
			}
			login := i.Login[strings.LastIndexByte(i.Login, '|')+1:]
			for _, text := range []string{i.Email, i.Address, login, i.Name} {
				if name, domain, ok := strings.Cut(text, "@"); ok && name != "" && domain != "" && !strings.ContainsAny(text, " <>") {
					return text
				}
			}
		}
		return ""
	}
	switch {
	case g.SiteGroup != nil:
		return someone{aSiteGroup, g.SiteGroup.ID, "", cmp.Or(g.SiteGroup.Name, g.SiteGroup.Login)}
	case g.Group != nil:
		return someone{aGroup, guidOf(g.Group.ID), address(g.Group), g.Group.Name}
	case g.SiteUser != nil && (g.User == nil || guidOf(g.User.ID) == ""):
		for _, login := range groupLogins {
			if id, ok := strings.CutPrefix(strings.ToLower(g.SiteUser.Login), login); ok {
				return someone{aGroup, guidOf(strings.TrimSuffix(id, "_o")), "", g.SiteUser.Name}
			}
		}
		return someone{aUser, "", address(g.User, g.SiteUser), g.SiteUser.Name}
	case g.User != nil:
		return someone{aUser, guidOf(g.User.ID), address(g.User, g.SiteUser), g.User.Name}
	case g.Application != nil:
		return someone{aProgram, g.Application.ID, "", g.Application.Name}
	case g.Device != nil:
		return someone{aProgram, g.Device.ID, "", g.Device.Name}
	}
	return someone{}
}

func guidOf(id string) string {
	guid, _ := backup.ParseGUID(id)
	return guid
}

// What a role lets its holder do.
const (
	mayElse = iota // what only the site knows
	mayRead
	mayWrite
	mayOwn
)

// rankOf is what roles let their holder do, together.
func rankOf(roles []string) int {
	rank := mayElse
	for _, role := range roles {
		i := slices.Index([]string{"read", "write", "owner"}, role)
		if i < 0 {
			return mayElse
		}
		rank = max(rank, mayRead+i)
	}
	return rank
}

// A grant is what one permission gives one grantee, or whoever has a link.
type grant struct {
	who       someone // zero of a link that is nobody's
	roles     []string
	link      *drive.SharingLink
	until     string
	password  bool
	inherited bool
}

func grantsOf(all []drive.Permission) (grants []grant) {
	for _, p := range all {
		g := grant{roles: p.Roles, link: p.Link, until: p.Expires, password: p.Password, inherited: p.Inherited}
		to := p.ToSeveral
		if p.To != nil {
			to = append(slices.Clone(to), *p.To)
		}
		if len(to) == 0 && p.Invitation != nil && p.Invitation.Email != "" {
			to = []drive.Grantee{{User: &drive.Identity{Email: p.Invitation.Email}}}
		}
		if p.Link != nil && p.Link.Scope != "users" {
			to = nil // whoever has used it
		}
		if len(to) == 0 {
			grants = append(grants, g)
		}
		for _, one := range to {
			g.who = someoneOf(one)
			grants = append(grants, g)
		}
	}
	return grants
}

func (g grant) role() string {
	if rankOf(g.roles) == mayWrite {
		return "write"
	}
	return "read"
}

// over reports whether it has ended.
func (g grant) over(now time.Time) bool {
	until, err := time.Parse(time.RFC3339, g.until)
	return err == nil && until.Before(now)
}

// special reports whether a link lets people do something else than to read or to write.
func (g grant) special() bool {
	return g.link != nil && (g.link.NoDownload || g.password || g.link.Type != "view" && g.link.Type != "edit")
}

// unfit says why it cannot be given again, "" if it can.
func (g grant) unfit() string {
	switch {
	case g.link != nil && g.link.Scope == "existingAccess":
		return "" // see holds
	case g.link != nil && g.link.Scope == "anonymous":
		return "There was a link for everybody to " + g.may() + ". It is never made again by a restore."
	case g.link != nil && g.link.Scope != "users":
		return "There was a link for everybody in the organization to " + g.may() + ". It would be another by now: whoever needs it has to make it."
	case g.who == someone{}:
		return "There was a link for certain people to " + g.may() + ". The source did not tell who they are."
	case g.special():
		return g.who.String() + " had a link to " + g.may() + ", in a way that a permission cannot give. It was not made again."
	case g.who.kind == aSiteGroup:
		return "The site's group " + g.who.String() + " could " + g.may() + ". Graph does not let a restore give that to groups of sites: do so in SharePoint."
	case g.who.kind == aProgram:
		return "The application or device " + g.who.String() + " could " + g.may() + ". Graph lets nobody invite it."
	case rankOf(g.roles) != mayRead && rankOf(g.roles) != mayWrite:
		return g.who.String() + " had another role than Graph lets one give: " + cmp.Or(strings.Join(g.roles, ", "), "one of the site's own") + "."
	case g.who.id == "" && g.who.address == "":
		return g.who.String() + " could " + g.may() + ", and is known by no id or address. That was not given again."
	}
	return ""
}

// may says what it lets its holder do.
func (g grant) may() string {
	if g.link != nil && (g.link.NoDownload || g.link.Type == "blocksDownload") {
		return "see the item without taking it"
	}
	return map[int]string{mayElse: "do something of the site's own with the item", mayRead: "read the item", mayWrite: "change the item", mayOwn: "do everything with the item"}[rankOf(g.roles)]
}

// holds reports whether what a grant gives is given now, by whichever way.
func holds(now []grant, g grant) bool {
	if g.link != nil && g.link.Scope == "existingAccess" {
		return true // it gives nothing
	}
	return slices.ContainsFunc(now, func(is grant) bool {
		if is.who != (someone{}) || g.who != (someone{}) {
			if !is.who.is(g.who) {
				return false
			}
			if g.special() || is.special() {
				return g.special() && is.link != nil && is.link.Type == g.link.Type
			}
			want, have := rankOf(g.roles), rankOf(is.roles)
			return want != mayElse && have >= want || slices.Equal(slices.Sorted(slices.Values(is.roles)), slices.Sorted(slices.Values(g.roles)))
		}
		return is.link != nil && g.link != nil && is.link.Type == g.link.Type && is.link.Scope == g.link.Scope
	})
}
