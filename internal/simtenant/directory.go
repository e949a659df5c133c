package simtenant

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/odata"
)

// How many directory objects a page holds.
const (
	usersPage    = 100
	usersPageMax = 999
)

func userView(u *User) map[string]any {
	given, surname, _ := strings.Cut(u.DisplayName, " ")
	return map[string]any{
		"id": u.ID, "displayName": u.DisplayName, "userPrincipalName": u.UserPrincipalName, "mail": orNull(u.Mail),
		"givenName": given, "surname": orNull(surname), "businessPhones": []string{},
		"jobTitle": nil, "mobilePhone": nil, "officeLocation": nil, "preferredLanguage": nil,
	}
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// selectedUser is a user with the members that were asked for; some are given
// only then.
func selectedUser(u *User, names map[string]bool) any {
	v := userView(u)
	if names == nil {
		return v
	}
	v["accountEnabled"], v["userType"] = u.enabled(), "Member"
	v["assignedLicenses"] = u.licenses(func(sku, _ string) any { return object{"skuId": sku, "disabledPlans": []any{}} })
	return project(v, names)
}

// licenses are those of a user: who has a drive has one license with all in it, and
// who has none has no license.
func (u *User) licenses(view func(sku, part string) any) []any {
	if u.NoDrive {
		return []any{}
	}
	return []any{view("06ebc4ee-1bb5-47dd-8120-11324bc54e06", "SPE_E5")}
}

// licenseDetails tells a user's licenses.
func (s *Service) licenseDetails(r *request) error {
	names := selected(r.query)
	list := r.user.licenses(func(sku, part string) any {
		return project(object{"id": guidText(derive("license", string(r.user.ID), sku)), "skuId": sku, "skuPartNumber": part, "servicePlans": []any{}}, names)
	})
	return replyGraph(r.w, http.StatusOK, object{"@odata.context": r.base + "/$metadata#users('" + url.PathEscape(string(r.user.ID)) + "')/licenseDetails", "value": list})
}

// answerCount answers with how many there are. The directory counts for those only
// who take a number that may be a little old.
func (r *request) answerCount(n int) error {
	if !strings.EqualFold(r.Header.Get("ConsistencyLevel"), "eventual") {
		return fail(http.StatusBadRequest, "Request_BadRequest", "$count is not currently supported without the header ConsistencyLevel: eventual.")
	}
	text := strconv.Itoa(n)
	h := r.w.Header()
	h.Set("Content-Type", "text/plain")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	r.w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		io.WriteString(r.w, text)
	}
	return nil
}

func (s *Service) countUsers(r *request) error {
	users, err := r.filteredUsers()
	if err != nil {
		return err
	}
	return r.answerCount(len(users))
}

func (s *Service) countGroups(r *request) error {
	groups, err := r.filteredGroups()
	if err != nil {
		return err
	}
	return r.answerCount(len(groups))
}

func (s *Service) getUser(r *request, u *User) error {
	names := selected(r.query)
	v := selectedUser(u, names)
	if m, ok := v.(map[string]any); ok {
		m["@odata.context"] = r.base + "/$metadata#users/$entity"
	}
	return replyGraph(r.w, http.StatusOK, v)
}

// page cuts a page out of n things that begins at $skiptoken. next is the token
// of the following page, or empty.
func (s *Service) page(r *request, n int) (from, to int, next string, err error) {
	size, err := s.pageSize(r.query, usersPage, usersPageMax)
	if err != nil {
		return 0, 0, "", err
	}
	if token := option(r.query, "skiptoken"); token != "" {
		if from, err = strconv.Atoi(token); err != nil || from < 0 {
			return 0, 0, "", badRequest("Invalid paging token.")
		}
	}
	from = min(from, n)
	to = min(from+size, n)
	if to < n {
		next = strconv.Itoa(to)
	}
	return from, to, next, nil
}

// short answers with a list that is short as a rule, and goes on one page unless $top
// says otherwise.
func (s *Service) short(r *request, context string, list []any) error {
	out := object{"@odata.context": r.base + "/$metadata#" + context, "value": list}
	if option(r.query, "top") != "" || option(r.query, "skiptoken") != "" {
		from, to, next, err := s.page(r, len(list))
		if err != nil {
			return err
		}
		out["value"] = list[from:to]
		if next != "" {
			out["@odata.nextLink"] = r.link(strings.TrimPrefix(originOf(r.Request)+r.URL.EscapedPath(), r.base), "$skiptoken", next)
		}
	}
	return replyGraph(r.w, http.StatusOK, out)
}

// link is the request's own address with the query options changed as set says.
func (r *request) link(path string, set ...string) string {
	q := url.Values{}
	for k, v := range r.query {
		switch strings.ToLower(strings.TrimPrefix(k, "$")) {
		case "skiptoken", "token", "deltatoken":
		default:
			q[k] = v
		}
	}
	for i := 0; i < len(set); i += 2 {
		q.Set(set[i], set[i+1])
	}
	return r.base + path + "?" + q.Encode()
}

// What $filter and $orderby may name of users and groups.
var (
	userProperties  = slices.Concat(askable(odata.Folded, "displayName", "userPrincipalName", "mail", "givenName", "surname", "userType"), askable(odata.Bool, "accountEnabled"), []odata.Property{directoryID})
	groupProperties = slices.Concat(askable(odata.Folded, "displayName", "mail", "mailNickname"), askable(odata.Bool, "mailEnabled", "securityEnabled"),
		[]odata.Property{directoryID, {Name: "groupTypes", Type: odata.Folded, Many: true, Filters: true}})
	directoryID = odata.Property{Name: "id", Type: odata.Folded, Filters: true}
)

// directoryQuery reads $filter and $orderby of users or groups. Some of it the directory
// does only for those who take an answer that may be a little old.
func (r *request) directoryQuery(of []odata.Property) (listQuery, error) {
	q, err := listQueryOf(r, of, false)
	if e, ok := errors.AsType[*refusal](err); ok {
		e.code = "Request_UnsupportedQuery"
		return q, e
	}
	lazy := strings.EqualFold(r.Header.Get("ConsistencyLevel"), "eventual") && (strings.EqualFold(option(r.query, "count"), "true") || strings.HasSuffix(r.URL.Path, "/$count"))
	if !lazy && (advanced(q.filter) || q.filter != nil && q.order != nil) {
		return q, fail(http.StatusBadRequest, "Request_UnsupportedQuery", "Filters with ne, not and endswith, and an order beside a filter, need the header ConsistencyLevel: eventual and $count=true.")
	}
	return q, err
}

// advanced reports whether a filter is one that the directory calls advanced.
func advanced(e odata.Expr) bool {
	switch e := e.(type) {
	case odata.And:
		return slices.ContainsFunc(e, advanced)
	case odata.Or:
		return slices.ContainsFunc(e, advanced)
	case odata.Not:
		return true
	case odata.Compare:
		return e.Op == "ne"
	case odata.Match:
		return e.Func == "endswith"
	}
	return false
}

// filteredUsers are the users that $filter lets through, in the order of $orderby.
func (r *request) filteredUsers() ([]*User, error) {
	q, err := r.directoryQuery(userProperties)
	if err != nil {
		return nil, err
	}
	all := r.who.tenant.present
	if in, ok := q.filter.(odata.In); ok && in.Property.Name == directoryID.Name {
		all = r.who.tenant.named(in.Values) // of 100,000 users, the few that can be meant
	}
	return apply(r.Context(), q, all, func(u *User) (members, error) {
		v := userView(u)
		v["accountEnabled"], v["userType"], v["id"] = u.enabled(), "Member", string(u.ID)
		return func(name string) any { return readMember(v, name) }, nil
	})
}

// named are the users who have one of some ids.
func (t *tenant) named(ids []odata.Value) (users []*User) {
	for _, v := range ids {
		id := strings.ToLower(v.Text)
		if u := t.users[id]; u != nil && string(u.ID) == id && !slices.Contains(users, u) {
			users = append(users, u)
		}
	}
	return users
}

func (s *Service) listUsers(r *request) error {
	users, err := r.filteredUsers()
	if err != nil {
		return err
	}
	from, to, next, err := s.page(r, len(users))
	if err != nil {
		return err
	}
	names := selected(r.query)
	list := make([]any, 0, to-from)
	for _, u := range users[from:to] {
		list = append(list, selectedUser(u, names))
	}
	out := map[string]any{"@odata.context": r.base + "/$metadata#users", "value": list}
	if strings.EqualFold(option(r.query, "count"), "true") {
		out["@odata.count"] = len(users)
	}
	if next != "" {
		out["@odata.nextLink"] = r.link("/users", "$skiptoken", next)
	}
	return replyGraph(r.w, http.StatusOK, out)
}

// usersDelta lists the users, and then says that nothing has changed: a
// tenant's file is read at the start. A token of another file must start anew.
func (s *Service) usersDelta(r *request) error {
	t := r.who.tenant
	names := selected(r.query)
	return s.directoryDelta(r, "users", t.generation, len(t.present), func(i int) any { return selectedUser(t.present[i], names) })
}

// groupsDelta is the same of the groups, each with its members.
func (s *Service) groupsDelta(r *request) error {
	t := r.who.tenant
	names := selected(r.query)
	if names["members"] {
		names["members@delta"] = true
	}
	return s.directoryDelta(r, "groups", t.groupsGeneration, len(t.Groups), func(i int) any {
		g := &t.Groups[i]
		v := groupView(t, g)
		members := []any{}
		for _, m := range t.members(g, false) {
			members = append(members, object{"@odata.type": m.kind(), "id": m.id()})
		}
		v["members@delta"] = members
		return project(v, names)
	})
}

func (s *Service) directoryDelta(r *request, what, current string, n int, view func(i int) any) error {
	out := map[string]any{"@odata.context": r.base + "/$metadata#" + what}
	here := "/" + what + "/delta"
	token := option(r.query, "deltatoken")
	generation, at, paging := strings.Cut(option(r.query, "skiptoken"), "_")
	if generation != "" && !paging {
		return badRequest("Invalid paging token.")
	}
	if token == "" && paging {
		token = generation
	}
	if token != "" && token != "latest" && token != current {
		e := fail(http.StatusGone, "resyncRequired", "The directory was replaced since this token was given. Start anew without one.")
		e.header = http.Header{"Location": {r.base + here}}
		return e.because("syncStateNotFound")
	}
	if token != "" && !paging {
		out["value"] = []any{}
		out["@odata.deltaLink"] = r.link(here, "$deltatoken", current)
		return replyGraph(r.w, http.StatusOK, out)
	}
	size, err := s.pageSize(r.query, usersPage, usersPageMax)
	if err != nil {
		return err
	}
	from := 0
	if paging {
		if from, err = strconv.Atoi(at); err != nil || from < 0 {
			return badRequest("Invalid paging token.")
		}
	}
	from = min(from, n)
	to := min(from+size, n)
	list := make([]any, 0, to-from)
	for i := from; i < to; i++ {
		list = append(list, view(i))
	}
	out["value"] = list
	if to < n {
		out["@odata.nextLink"] = r.link(here, "$skiptoken", current+"_"+strconv.Itoa(to))
	} else {
		out["@odata.deltaLink"] = r.link(here, "$deltatoken", current)
	}
	return replyGraph(r.w, http.StatusOK, out)
}

// member is a user or a group.
type member struct {
	user  *User
	group *Group
}

func (m member) kind() string {
	if m.user != nil {
		return "#microsoft.graph.user"
	}
	return "#microsoft.graph.group"
}

func (m member) id() backup.ObjectID {
	if m.user != nil {
		return m.user.ID
	}
	return m.group.ID
}

func (m member) view(t *tenant) object {
	if m.user == nil {
		return groupView(t, m.group)
	}
	v := userView(m.user)
	v["accountEnabled"] = m.user.enabled()
	return v
}

// members returns who is in a group, or also who is in the groups that are in it,
// each once. Groups may be in each other.
func (t *tenant) members(g *Group, all bool) (out []member) {
	seen := map[backup.ObjectID]bool{g.ID: true}
	var add func(g *Group)
	add = func(g *Group) {
		for _, id := range g.Members {
			if seen[id] {
				continue
			}
			seen[id] = true
			if u := t.users[string(id)]; u != nil {
				out = append(out, member{user: u})
			} else if below := t.groups[string(id)]; below != nil {
				out = append(out, member{group: below})
				if all {
					add(below)
				}
			}
		}
	}
	add(g)
	return out
}

// memberOf returns the groups that a user or group is in, or also those that they
// are in.
func (t *tenant) memberOf(id backup.ObjectID, all bool) (out []member) {
	seen := map[backup.ObjectID]bool{id: true}
	wanted := []backup.ObjectID{id}
	for len(wanted) > 0 {
		id, wanted = wanted[0], wanted[1:]
		for i := range t.Groups {
			if g := &t.Groups[i]; !seen[g.ID] && slices.Contains(g.Members, id) {
				seen[g.ID] = true
				out = append(out, member{group: g})
				if all {
					wanted = append(wanted, g.ID)
				}
			}
		}
	}
	return out
}

func groupView(t *tenant, g *Group) map[string]any {
	types := []string{}
	if g.unified() {
		types = append(types, "Unified")
	}
	return map[string]any{
		"id": g.ID, "displayName": g.DisplayName, "mail": orNull(g.mail(t)), "mailEnabled": g.unified(), "mailNickname": orNull(g.MailNickname),
		"securityEnabled": !g.unified(), "groupTypes": types, "membershipRule": nil,
	}
}

func (s *Service) getGroup(r *request, g *Group) error {
	return replyGraph(r.w, http.StatusOK, project(groupView(r.who.tenant, g), selected(r.query)))
}

// filteredGroups are the groups that $filter lets through, in the order of $orderby.
func (r *request) filteredGroups() ([]*Group, error) {
	q, err := r.directoryQuery(groupProperties)
	if err != nil {
		return nil, err
	}
	t := r.who.tenant
	all := make([]*Group, 0, len(t.Groups))
	for i := range t.Groups {
		all = append(all, &t.Groups[i])
	}
	return apply(r.Context(), q, all, func(g *Group) (members, error) {
		v := groupView(t, g)
		v["id"] = string(g.ID)
		return func(name string) any { return readMember(v, name) }, nil
	})
}

func (s *Service) listGroups(r *request) error {
	groups, err := r.filteredGroups()
	if err != nil {
		return err
	}
	from, to, next, err := s.page(r, len(groups))
	if err != nil {
		return err
	}
	names := selected(r.query)
	list := make([]any, 0, to-from)
	for _, g := range groups[from:to] {
		list = append(list, project(groupView(r.who.tenant, g), names))
	}
	out := map[string]any{"@odata.context": r.base + "/$metadata#groups", "value": list}
	if strings.EqualFold(option(r.query, "count"), "true") {
		out["@odata.count"] = len(groups)
	}
	if next != "" {
		out["@odata.nextLink"] = r.link("/groups", "$skiptoken", next)
	}
	return replyGraph(r.w, http.StatusOK, out)
}

// listMembers lists users and groups, of which a cast leaves one kind.
func (s *Service) listMembers(r *request, all []member, path string, oneKind bool) error {
	from, to, next, err := s.page(r, len(all))
	if err != nil {
		return err
	}
	names := selected(r.query)
	list := make([]any, 0, to-from)
	for _, m := range all[from:to] {
		v := m.view(r.who.tenant)
		if !oneKind {
			v["@odata.type"] = m.kind()
		}
		list = append(list, project(v, names))
	}
	out := map[string]any{"@odata.context": r.base + "/$metadata#directoryObjects", "value": list}
	if strings.EqualFold(option(r.query, "count"), "true") {
		out["@odata.count"] = len(all)
	}
	if next != "" {
		out["@odata.nextLink"] = r.link(path, "$skiptoken", next)
	}
	return replyGraph(r.w, http.StatusOK, out)
}

// deletedUsers lists who is deleted.
func (s *Service) deletedUsers(r *request) error {
	var gone []*User
	for i := range r.who.tenant.Users {
		if u := &r.who.tenant.Users[i]; u.Deleted != nil {
			gone = append(gone, u)
		}
	}
	from, to, next, err := s.page(r, len(gone))
	if err != nil {
		return err
	}
	list := []any{}
	for _, u := range gone[from:to] {
		v := userView(u)
		v["deletedDateTime"] = u.Deleted.UTC().Format(time.RFC3339)
		list = append(list, project(v, selected(r.query)))
	}
	out := object{"@odata.context": r.base + "/$metadata#users", "value": list}
	if next != "" {
		out["@odata.nextLink"] = r.link("/directory/deletedItems/microsoft.graph.user", "$skiptoken", next)
	}
	return replyGraph(r.w, http.StatusOK, out)
}

// organization is the tenant.
func (s *Service) organization(r *request) error {
	t := r.who.tenant
	v := project(object{
		"id": t.ID, "displayName": t.DisplayName, "tenantType": "AAD", "countryLetterCode": nil, "preferredLanguage": "en", "createdDateTime": "2016-01-01T00:00:00Z",
		"verifiedDomains": []any{object{"name": t.Domain, "isDefault": true, "isInitial": true, "capabilities": "Email, OfficeCommunicationsOnline", "type": "Managed"}},
	}, selected(r.query))
	if id := r.vars["organization"]; id != "" {
		if !strings.EqualFold(id, string(t.ID)) {
			return fail(http.StatusNotFound, "Request_ResourceNotFound", "There is no organization "+quoted(id)+" in the directory.")
		}
		return replyGraph(r.w, http.StatusOK, v)
	}
	return replyGraph(r.w, http.StatusOK, object{"@odata.context": r.base + "/$metadata#organization", "value": []any{v}})
}

// filterParser reads a filter of a list from rest.
type filterParser struct{ rest string }

func (p *filterParser) keyword(w string) bool {
	p.rest = strings.TrimSpace(p.rest)
	if len(p.rest) < len(w) || !strings.EqualFold(p.rest[:len(w)], w) {
		return false
	}
	p.rest = p.rest[len(w):]
	return true
}

// text reads a quoted text, in which a quote is doubled.
func (p *filterParser) text() (string, bool) {
	if !p.keyword("'") {
		return "", false
	}
	var b strings.Builder
	for i := 0; i < len(p.rest); i++ {
		if p.rest[i] != '\'' {
			b.WriteByte(p.rest[i])
			continue
		}
		if i+1 < len(p.rest) && p.rest[i+1] == '\'' {
			b.WriteByte('\'')
			i++
			continue
		}
		p.rest = p.rest[i+1:]
		return strings.ToLower(b.String()), true
	}
	return "", false
}
