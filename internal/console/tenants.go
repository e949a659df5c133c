package console

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/client"
)

// A provider's people work in the tenants of many customers, in each as who they are
// there. The browser has one session for each of them, with tokens of its own, and every
// address names its tenant: /console/ID/units. So a page, its links and its forms are of
// one tenant whatever is looked at in another window; a form bears the mark of its
// tenant's session besides, and is refused by any other.

// rowTime is how long one tenant may take to answer, where others are waited for as well.
const rowTime = 4 * time.Second

const (
	rowsAtOnce  = 8   // tenants that one page asks at a time
	inSwitch    = 15  // tenants that the switch names; the page of all has the others
	maxRemember = 150 // tenants; a cookie has no room for more
	rememberFor = 90 * 24 * time.Hour
)

type tenantKey struct{}

// inTenant takes the tenant out of a request's address into its context.
func inTenant(r *http.Request) *http.Request {
	id, below, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/console/"), "/")
	tenant, ok := backup.ParseGUID(id)
	if !ok || !strings.HasPrefix(r.URL.Path, "/console/") {
		return r
	}
	in := r.WithContext(context.WithValue(r.Context(), tenantKey{}, tenant))
	u := *r.URL
	u.Path = "/console/" + below
	if u.RawPath != "" { // it has the same beginning, in which nothing is to be escaped
		_, raw, _ := strings.Cut(strings.TrimPrefix(u.RawPath, "/console/"), "/")
		u.RawPath = "/console/" + raw
	}
	in.URL = &u
	return in
}

// tenantOf is the tenant that the address of a request names, "" for none.
func tenantOf(r *http.Request) string {
	tenant, _ := r.Context().Value(tenantKey{}).(string)
	return tenant
}

// at is an address of the console in a tenant. One that names a tenant stays.
func at(tenant, to string) string {
	below, ours := strings.CutPrefix(to, "/console/")
	id, _, _ := strings.Cut(strings.NewReplacer("?", "/", "#", "/").Replace(below), "/")
	if _, named := backup.ParseGUID(id); !ours || named || slices.Contains(ofNoTenant, id) {
		return to
	}
	return "/console/" + tenant + "/" + below
}

// ofNoTenant are the pages outside of all tenants.
var ofNoTenant = []string{"static", "sign-in", "signed-in", "signed-out"}

var ownLink = regexp.MustCompile(` (?:href|action|formaction|src|data)="/console/[^"/?#]*`)

// linkedWithin has all links of a page lead to its tenant, so that none can forget it.
func linkedWithin(tenant string, page []byte) []byte {
	return ownLink.ReplaceAllFunc(page, func(link []byte) []byte {
		attribute, address, _ := strings.Cut(string(link), `"`)
		return []byte(attribute + `"` + at(tenant, address))
	})
}

// many reports whether people of many tenants may sign in.
func (c *Console) many() bool {
	return slices.Contains([]string{"organizations", "common"}, strings.ToLower(c.signIn().Tenant))
}

var domainName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$`)

// isTenant reports whether a text may name a tenant: its id, or a domain.
func isTenant(text string) bool {
	_, ok := backup.ParseGUID(text)
	return ok || len(text) <= 253 && domainName.MatchString(text)
}

var notATenant = &problem{http.StatusBadRequest, "That names no tenant", "Give the tenant's domain, such as contoso.com, or its id."}

// remembered are the tenants that the browser was signed in to, the last first. It has
// their ids only: who sits before it need not be who did that.
func (c *Console) remembered(r *http.Request) (ids []string) {
	cookie, err := r.Cookie(c.cookieName(r, tenantCookie))
	if err != nil {
		return nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(cookie.Value)
	for ; err == nil && len(raw) >= 16 && len(ids) < maxRemember; raw = raw[16:] {
		id := fmt.Sprintf("%x-%x-%x-%x-%x", raw[0:4], raw[4:6], raw[6:8], raw[8:10], raw[10:16])
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// remember has the browser know that it was signed in to tenants, besides those that it
// knows.
func (c *Console) remember(w http.ResponseWriter, r *http.Request, tenants ...string) {
	c.keepRemembered(w, r, append(tenants, slices.DeleteFunc(c.remembered(r), func(id string) bool { return slices.Contains(tenants, id) })...))
}

func (c *Console) keepRemembered(w http.ResponseWriter, r *http.Request, ids []string) {
	var raw []byte
	for _, id := range ids[:min(len(ids), maxRemember)] {
		one, err := hex.DecodeString(strings.ReplaceAll(id, "-", ""))
		if err == nil && len(one) == 16 {
			raw = append(raw, one...)
		}
	}
	c.setCookie(w, r, tenantCookie, base64.RawURLEncoding.EncodeToString(raw), rememberFor)
}

// A tenantSwitch leads from a page to other tenants.
type tenantSwitch struct {
	Here   string
	Others []tenantLink
	More   int
}

type tenantLink struct{ ID, Name string }

func (v *visit) tenantSwitch() *tenantSwitch {
	if !v.many() {
		return nil
	}
	s := &tenantSwitch{Here: v.s.tenant}
	for _, other := range v.byName() {
		if other != v.s {
			s.Others = append(s.Others, tenantLink{other.person.Tenant, other.tenant})
		}
	}
	s.More = max(0, len(s.Others)-inSwitch)
	s.Others = s.Others[:len(s.Others)-s.More]
	return s
}

// byName are the visitor's sessions in the order of their tenants' names.
func (v *visit) byName() []*session {
	return slices.SortedFunc(slices.Values(v.all), func(a, b *session) int {
		return cmp.Or(cmp.Compare(strings.ToLower(a.tenant), strings.ToLower(b.tenant)), cmp.Compare(a.person.Tenant, b.person.Tenant))
	})
}

type tenantsPage struct {
	Text        string // that names contain
	Rows        []tenantRow
	Total       int
	First, Next string
	Before      []string // that were signed in to before, and are not
	Ask         string   // the tenant that one cannot be signed in to without being asked
}

// A tenantRow is how one tenant is.
type tenantRow struct {
	ID, Name, Person              string
	Here                          bool
	Wrong                         string // why there is nothing else
	Again                         bool   // signing in again may help
	Protected, Failing, Left, Old int64  // units; Old are those with a newest point older than promised
	Oldest, Last                  time.Time
	First                         *need
	More                          int // needs beyond
}

// listTenants shows how the tenants are that the visitor is signed in to, each as its own
// token sees it. A page asks a few of them, and one that does not answer says so itself.
func listTenants(v *visit) error { return v.showTenants(tenantsPage{}) }

func (v *visit) showTenants(page tenantsPage) error {
	if !v.many() {
		return errNoPage
	}
	q := v.r.URL.Query()
	page.Text = strings.TrimSpace(q.Get("q"))
	all := slices.DeleteFunc(v.byName(), func(s *session) bool {
		return !strings.Contains(strings.ToLower(s.tenant+" "+s.person.Tenant), strings.ToLower(page.Text))
	})
	page.Total = len(all)
	from, _ := strconv.Atoi(q.Get("after"))
	from = min(max(0, from), len(all))
	here := func(after int) string {
		return "/console/tenants?" + url.Values{"q": {page.Text}, "after": {strconv.Itoa(after)}}.Encode()
	}
	if from > 0 {
		page.First = here(0)
	}
	if len(all)-from > pageSize {
		page.Next = here(from + pageSize)
	}
	all = all[from:min(from+pageSize, len(all))]
	page.Rows = make([]tenantRow, len(all))
	each(len(all), func(i int) { page.Rows[i] = v.row(all[i]) })
	for _, id := range v.remembered(v.r) {
		if in(id, v.all) == nil {
			page.Before = append(page.Before, id)
		}
	}
	return v.show("tenants", "Tenants", page)
}

// each does something n times, rowsAtOnce at a time.
func each(n int, do func(int)) {
	var work sync.WaitGroup
	turns := make(chan struct{}, rowsAtOnce)
	for i := range n {
		turns <- struct{}{}
		work.Go(func() {
			defer func() { <-turns }()
			do(i)
		})
	}
	work.Wait()
}

// row asks how one tenant is, with that one's token.
func (v *visit) row(s *session) (row tenantRow) {
	row = tenantRow{ID: s.person.Tenant, Name: s.tenant, Person: firstLine(s.person.Username, s.person.Name), Here: s == v.s}
	defer func() {
		if why := recover(); why != nil {
			v.cfg.Log.Error("a row of the tenants panicked", "tenant", s.person.Tenant, "why", why, "stack", string(debug.Stack()))
			row.Wrong = "The server could not find out. Its log says why."
		}
	}()
	ctx, cancel := context.WithTimeout(v.ctx(), v.patience)
	defer cancel()
	api, err := v.client(ctx, s)
	if err != nil {
		if row.Wrong = "No token could be had for it now."; ctx.Err() == nil && isSignedOut(err) {
			row.Wrong, row.Again = "The sign-in has ended.", true
		}
		return row
	}
	there := &visit{Console: v.Console, w: v.w, r: v.r.WithContext(ctx), who: v.who, all: v.all, s: s, api: api}
	is, err := there.standing()
	if err == nil {
		row.Left, err = there.unprotected()
	}
	if err != nil {
		p := explain(err)
		if row.Wrong = p.title + ". " + p.text; ctx.Err() != nil {
			row.Wrong = "It did not answer within " + v.patience.String() + "."
		}
		return row
	}
	for _, p := range is.Policies {
		row.Failing += int64(p.ProtectionPolicyArtifactCount.Failed)
	}
	row.Protected, row.Old, row.Last = is.RPO.ProtectedUnitCount, is.RPO.MissedUnitCount, is.RPO.LastDateTime
	if len(is.RPO.Worst) > 0 {
		row.Oldest = is.RPO.Worst[0].NewestDateTime
	}
	if row.Protected == 0 && len(is.Hidden) == 0 {
		is.Needs = append(is.Needs, unprotectedNeed)
		is.sort()
	}
	if len(is.Needs) > 0 {
		row.First, row.More = &is.Needs[0], len(is.Needs)-1
		row.First.Link = at(row.ID, row.First.Link)
	}
	return row
}

// unprotected counts the units that were protected and are no more.
func (v *visit) unprotected() (int64, error) {
	n, err := count(v.ctx(), v.api, anyUnit, "status eq '"+string(backup.UnitUnprotected)+"'")
	if forbidden(err) {
		err = nil
	}
	return int64(n), err
}

// changeTenants signs in to another tenant, or to those of before, or out of one.
func changeTenants(v *visit) error {
	if !v.many() {
		return errNoPage
	}
	tenant := strings.ToLower(strings.TrimSpace(v.r.PostFormValue("tenant")))
	switch v.r.PathValue("do") {
	case "add":
		if !isTenant(tenant) {
			v.say("bad", notATenant.text)
			return v.redirect("/console/tenants")
		}
		who, got, err := v.join(tenant)
		var fresh *session
		if err == nil {
			fresh, err = v.admit(v.ctx(), who, tenant, got)
		}
		if err == nil {
			err = v.joined(fresh)
		}
		if p, ok := asProblem(err); ok {
			v.say("bad", p.title+". "+p.text)
			return v.redirect("/console/tenants")
		}
		if err != nil { // who asks is to be asked
			return v.showTenants(tenantsPage{Ask: tenant})
		}
		v.letIn(v.w, v.r, v.who, who.Tenant)
		http.Redirect(v.w, v.r, at(who.Tenant, "/console/"), http.StatusSeeOther)
		return nil
	case "again":
		return v.signInAgain()
	case "sign-out":
		over := in(tenant, v.all)
		if over == nil {
			return v.redirect("/console/tenants")
		}
		if err := v.end(v.ctx(), over); err != nil {
			return v.noSessions(err)
		}
		v.keepRemembered(v.w, v.r, slices.DeleteFunc(v.remembered(v.r), func(id string) bool { return id == tenant }))
		if over != v.s {
			v.say("good", "You are signed out of "+over.tenant+".")
			return v.redirect("/console/tenants")
		}
		to := "/console/signed-out"
		for _, other := range v.all {
			if other != over {
				to = at(other.person.Tenant, "/console/tenants")
			}
		}
		http.Redirect(v.w, v.r, to, http.StatusSeeOther)
		return nil
	}
	return errNoPage
}

// signInAgain signs in to those tenants that the browser was signed in to before.
func (v *visit) signInAgain() error {
	var before []string
	for _, id := range v.remembered(v.r) {
		if in(id, v.all) == nil {
			before = append(before, id)
		}
	}
	all := make([]*session, len(before))
	each(len(before), func(i int) {
		if who, got, err := v.join(before[i]); err == nil {
			all[i], _ = v.admit(v.ctx(), who, before[i], got)
		}
	})
	all = slices.DeleteFunc(all, func(s *session) bool { return s == nil })
	n := len(all)
	if err := v.joined(all...); err != nil {
		return err
	}
	v.letIn(v.w, v.r, v.who)
	kind, text := "good", "You are signed in to "+plural(n, "more tenant", "more tenants")+"."
	if n < len(before) {
		kind, text = "bad", text+" "+plural(len(before)-n, "wants", "want")+" to be signed in to by itself."
	}
	v.say(kind, text)
	return v.redirect("/console/tenants")
}

// joined has the visitor be signed in by further sessions.
func (v *visit) joined(fresh ...*session) error {
	who, all, err := v.begin(v.ctx(), v.who, v.all, fresh...)
	if err == nil {
		v.who, v.all = who, all
	}
	return err
}

// join gets tokens of another tenant for the person of this one, whom Entra knows, without
// asking them. It fails where Entra wants to.
func (v *visit) join(tenant string) (who person, got tokens, err error) {
	ctx, cancel := context.WithTimeout(v.ctx(), v.patience)
	defer cancel()
	v.s.mu.Lock()
	err = v.readHolds(ctx, v.s)
	var token client.Secret
	if err == nil {
		token = v.s.holds.API.Refresh
	}
	v.s.mu.Unlock()
	if err == nil && token == "" {
		err = errSignedOut
	}
	if err != nil {
		return who, got, err
	}
	if got, err = v.refresh(ctx, tenant, token, v.signIn().Scope); err == nil {
		who, err = v.whoIs(got.ID, tenant, nil)
	}
	return who, got, err
}
