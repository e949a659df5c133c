package simtenant

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
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
	v["accountEnabled"], v["userType"] = true, "Member"
	return project(v, names)
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

func (s *Service) listUsers(r *request) error {
	t := r.who.tenant
	users := make([]*User, 0, len(t.Users))
	keep := func(*User) bool { return true }
	if text := option(r.query, "filter"); text != "" {
		var err error
		if keep, err = parseFilter(text, userProperties); err != nil {
			return err
		}
	}
	for i := range t.Users {
		if keep(&t.Users[i]) {
			users = append(users, &t.Users[i])
		}
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
	out := map[string]any{"@odata.context": r.base + "/$metadata#users"}
	token := option(r.query, "deltatoken")
	generation, at, paging := strings.Cut(option(r.query, "skiptoken"), "_")
	if token == "" && paging {
		token = generation
	}
	if token != "" && token != "latest" && token != t.generation {
		e := fail(http.StatusGone, "resyncRequired", "The directory was replaced since this token was given. Start anew without one.")
		e.header = http.Header{"Location": {r.base + "/users/delta"}}
		return e.because("syncStateNotFound")
	}
	if token != "" && !paging {
		out["value"] = []any{}
		out["@odata.deltaLink"] = r.link("/users/delta", "$deltatoken", t.generation)
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
	from = min(from, len(t.Users))
	to := min(from+size, len(t.Users))
	names := selected(r.query)
	list := make([]any, 0, to-from)
	for i := range t.Users[from:to] {
		list = append(list, selectedUser(&t.Users[from+i], names))
	}
	out["value"] = list
	if to < len(t.Users) {
		out["@odata.nextLink"] = r.link("/users/delta", "$skiptoken", t.generation+"_"+strconv.Itoa(to))
	} else {
		out["@odata.deltaLink"] = r.link("/users/delta", "$deltatoken", t.generation)
	}
	return replyGraph(r.w, http.StatusOK, out)
}

func groupView(g *Group) map[string]any {
	return map[string]any{
		"id": g.ID, "displayName": g.DisplayName, "mail": nil, "mailEnabled": false,
		"securityEnabled": true, "groupTypes": []string{}, "membershipRule": nil,
	}
}

func (s *Service) getGroup(r *request, g *Group) error {
	return replyGraph(r.w, http.StatusOK, project(groupView(g), selected(r.query)))
}

func (s *Service) listGroups(r *request) error {
	groups := make([]*Group, 0, len(r.who.tenant.Groups))
	keep := func(*Group) bool { return true }
	if text := option(r.query, "filter"); text != "" {
		var err error
		if keep, err = parseFilter(text, groupProperties); err != nil {
			return err
		}
	}
	for i := range r.who.tenant.Groups {
		if g := &r.who.tenant.Groups[i]; keep(g) {
			groups = append(groups, g)
		}
	}
	from, to, next, err := s.page(r, len(groups))
	if err != nil {
		return err
	}
	names := selected(r.query)
	list := make([]any, 0, to-from)
	for _, g := range groups[from:to] {
		list = append(list, project(groupView(g), names))
	}
	out := map[string]any{"@odata.context": r.base + "/$metadata#groups", "value": list}
	if next != "" {
		out["@odata.nextLink"] = r.link("/groups", "$skiptoken", next)
	}
	return replyGraph(r.w, http.StatusOK, out)
}

// listMembers lists a group's users. Groups hold no groups here, so direct and
// transitive members are the same.
func (s *Service) listMembers(r *request, g *Group, path string, cast bool) error {
	from, to, next, err := s.page(r, len(g.Members))
	if err != nil {
		return err
	}
	names := selected(r.query)
	list := make([]any, 0, to-from)
	for _, id := range g.Members[from:to] {
		v := userView(r.who.tenant.users[string(id)])
		v["accountEnabled"] = true
		if !cast {
			v["@odata.type"] = "#microsoft.graph.user"
		}
		list = append(list, project(v, names))
	}
	out := map[string]any{"@odata.context": r.base + "/$metadata#directoryObjects", "value": list}
	if next != "" {
		out["@odata.nextLink"] = r.link("/groups/"+string(g.ID)+"/"+path, "$skiptoken", next)
	}
	return replyGraph(r.w, http.StatusOK, out)
}

// parseFilter compiles the filters that are needed to find users and groups: terms
// joined by or, each one of  id in ('a','b'),  mail eq 'x',  startswith(mail,'x').
// Comparison ignores case.
func parseFilter[T any](text string, properties map[string]func(*T) string) (func(*T) bool, error) {
	p := filterParser[T]{rest: text, properties: properties, equal: map[string]map[string]bool{}, prefix: map[string][]string{}}
	for p.term() {
		if p.rest = strings.TrimSpace(p.rest); p.rest == "" {
			return p.matches, nil
		}
		if !p.keyword("or") {
			break
		}
	}
	return nil, fail(http.StatusBadRequest, "Request_UnsupportedQuery",
		"The simulated tenant understands filters of the forms \"id in ('…','…')\", \"mail eq '…'\" and \"startswith(displayName,'…')\", joined by \"or\".")
}

// userProperties are those that a filter may name.
var userProperties = map[string]func(*User) string{
	"userprincipalname": func(u *User) string { return u.UserPrincipalName },
	"displayname":       func(u *User) string { return u.DisplayName },
	"mail":              func(u *User) string { return u.Mail },
	"id":                func(u *User) string { return string(u.ID) },
}

// groupProperties are the same of groups.
var groupProperties = map[string]func(*Group) string{
	"displayname": func(g *Group) string { return g.DisplayName },
	"id":          func(g *Group) string { return string(g.ID) },
}

// filterParser reads a filter from rest, and keeps what its terms ask for: a
// property that equals one of several texts, or begins with one.
type filterParser[T any] struct {
	rest       string
	properties map[string]func(*T) string
	equal      map[string]map[string]bool
	prefix     map[string][]string
}

func (p *filterParser[T]) matches(of *T) bool {
	for name, texts := range p.equal {
		if texts[strings.ToLower(p.properties[name](of))] {
			return true
		}
	}
	for name, prefixes := range p.prefix {
		have := strings.ToLower(p.properties[name](of))
		if slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(have, prefix) }) {
			return true
		}
	}
	return false
}

func (p *filterParser[T]) keyword(w string) bool {
	p.rest = strings.TrimSpace(p.rest)
	if len(p.rest) < len(w) || !strings.EqualFold(p.rest[:len(w)], w) {
		return false
	}
	p.rest = p.rest[len(w):]
	return true
}

// text reads a quoted text, in which a quote is doubled.
func (p *filterParser[T]) text() (string, bool) {
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

func (p *filterParser[T]) property() (string, bool) {
	for name := range p.properties {
		if p.keyword(name) {
			return name, true
		}
	}
	return "", false
}

func (p *filterParser[T]) term() bool {
	if p.keyword("startswith") {
		if !p.keyword("(") {
			return false
		}
		name, ok := p.property()
		if !ok || !p.keyword(",") {
			return false
		}
		prefix, ok := p.text()
		p.prefix[name] = append(p.prefix[name], prefix)
		return ok && p.keyword(")")
	}
	name, ok := p.property()
	if !ok {
		return false
	}
	if p.equal[name] == nil {
		p.equal[name] = map[string]bool{}
	}
	if p.keyword("eq") {
		want, ok := p.text()
		p.equal[name][want] = true
		return ok
	}
	if !p.keyword("in") || !p.keyword("(") {
		return false
	}
	for {
		want, ok := p.text()
		if !ok {
			return false
		}
		p.equal[name][want] = true
		if p.keyword(")") {
			return true
		}
		if !p.keyword(",") {
			return false
		}
	}
}
