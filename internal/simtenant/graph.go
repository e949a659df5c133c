package simtenant

import (
	"net/http"
	"net/url"
	"strings"
	"time"
)

// request is a call to Graph with what its handlers need.
type request struct {
	*http.Request
	w       http.ResponseWriter
	who     caller
	query   url.Values
	base    string // origin and version, as in https://host/v1.0
	arrived time.Time
	status  int // of the answer
	answer  any // what it holds
}

// on runs fn on a drive and answers with what fn left in r, once the journal
// knows of it: nobody is told of a change that a crash could undo.
func (s *Service) on(r *request, p place, fn func(*drive) error) error {
	if err := s.with(p, fn); err != nil {
		return err
	}
	if r.answer == nil {
		r.w.WriteHeader(r.status)
		return nil
	}
	return replyGraph(r.w, r.status, r.answer)
}

// where pre-authenticated URLs lead.
const (
	downloadPrefix = "/_sharepoint/download/"
	uploadPrefix   = "/_sharepoint/upload/"
)

func (s *Service) serve(w http.ResponseWriter, r *http.Request) {
	mark(w, r)
	if f := s.faults.hit(r); f != nil {
		if f.Status != 0 {
			f.answer(w)
			return
		}
		if f.Truncate > 0 {
			w = &truncated{w, f.Truncate}
		}
	}
	var err error
	switch path := r.URL.Path; {
	case strings.HasPrefix(path, downloadPrefix):
		err = s.download(w, r)
	case strings.HasPrefix(path, uploadPrefix):
		err = s.fragment(w, r)
	case s.entra(w, r):
	default:
		err = s.graph(w, r)
	}
	if err != nil {
		s.refuse(w, r, err)
	}
}

// graph serves the paths below /v1.0 and its equals.
func (s *Service) graph(w http.ResponseWriter, r *http.Request) error {
	rest, base := r.URL.EscapedPath(), ""
	for _, prefix := range []string{"/v1.0/", "/beta/", "/_api/v2.0/", "/_api/v2.1/"} {
		if len(rest) >= len(prefix) && strings.EqualFold(rest[:len(prefix)], prefix) {
			base, rest = strings.TrimSuffix(prefix, "/"), rest[len(prefix):]
			break
		}
	}
	if base == "" {
		return noRoute()
	}
	who, err := s.authenticate(r)
	if err != nil {
		return err
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return badRequest("The query is not well formed.")
	}
	return s.route(&request{Request: r, w: w, who: who, query: q, base: originOf(r) + base, arrived: time.Now()}, rest)
}

// take splits the first segment off an escaped path and decodes it. A key in
// parentheses, as in users('x'), is a segment of its own.
func take(rest string) (segment, remain string) {
	segment, remain, _ = strings.Cut(rest, "/")
	if i := strings.Index(segment, "("); i > 0 {
		name, key := segment[:i], segment[i:]
		switch strings.ToLower(name) {
		case "users", "drives", "items", "groups", "sites", "lists":
			if text, err := url.PathUnescape(key); err == nil && strings.HasPrefix(text, "('") {
				key, tail := text[2:], ""
				if i := strings.LastIndex(key, "')"); i >= 0 {
					key, tail = key[:i], key[i+2:]
				}
				key = url.PathEscape(strings.ReplaceAll(key, "''", "'")) + tail
				return strings.ToLower(name), strings.TrimSuffix(key+"/"+remain, "/")
			}
		}
	}
	return segment, remain
}

// word is take for a segment that is part of the grammar, not a value.
func word(rest string) (segment, remain string) {
	segment, remain = take(rest)
	segment = strings.ToLower(segment)
	if i := strings.LastIndex(segment, "microsoft.graph."); i == 0 {
		segment = segment[len("microsoft.graph."):]
	}
	return strings.TrimSuffix(segment, "()"), remain
}

// value is take for a segment that is a value.
func value(rest string) (segment, remain string, err error) {
	segment, remain = take(rest)
	if segment, err = url.PathUnescape(segment); err != nil {
		return "", "", badRequest("The address is not well formed.")
	}
	return segment, remain, nil
}

func (s *Service) route(r *request, rest string) error {
	first, rest := word(rest)
	switch first {
	case "users":
		return s.routeUsers(r, rest)
	case "groups":
		return s.routeGroups(r, rest)
	case "sites":
		return s.routeSites(r, rest)
	case "drives":
		id, rest, err := value(rest)
		if err != nil || id == "" {
			return noRoute()
		}
		p, err := s.placeByID(r.who, id)
		if err != nil {
			return err
		}
		return s.routeDrive(r, p, rest)
	case "me":
		if r.who.user == nil {
			return badRequest("/me is only valid with delegated authentication.")
		}
		return s.routeUser(r, r.who.user, rest)
	}
	return noRoute()
}

func (s *Service) routeUsers(r *request, rest string) error {
	if rest == "" {
		return s.only(r, http.MethodGet, s.listUsers)
	}
	if first, tail := word(rest); first == "delta" && tail == "" {
		return s.only(r, http.MethodGet, s.usersDelta)
	}
	name, rest, err := value(rest)
	if err != nil {
		return err
	}
	u := r.who.tenant.users[strings.ToLower(name)]
	if u == nil {
		if err := r.who.need(permission{readUsers.code, append(readUsers.roles, readFiles.roles...)}); err != nil {
			return err
		}
		return fail(http.StatusNotFound, "Request_ResourceNotFound", "There is no user "+quoted(name)+" in the directory.")
	}
	return s.routeUser(r, u, rest)
}

func (s *Service) routeUser(r *request, u *User, rest string) error {
	here := site{r.who.tenant, u}
	first, rest := word(rest)
	switch first {
	case "":
		return s.only(r, http.MethodGet, func(r *request) error { return s.getUser(r, u) })
	case "drive":
		return s.routeDrive(r, place{here, documents}, rest)
	case "drives":
		if rest == "" {
			return s.only(r, http.MethodGet, func(r *request) error { return s.listDrives(r, here) })
		}
		id, rest, err := value(rest)
		if err != nil {
			return err
		}
		p, err := s.placeByID(r.who, id)
		if err != nil || p.user != u {
			return noItem()
		}
		return s.routeDrive(r, p, rest)
	}
	return noRoute()
}

func (s *Service) routeGroups(r *request, rest string) error {
	if rest == "" {
		return s.only(r, http.MethodGet, s.listGroups)
	}
	id, rest, err := value(rest)
	if err != nil {
		return err
	}
	if err := r.who.need(readGroups); err != nil {
		return err
	}
	g := r.who.tenant.groups[strings.ToLower(id)]
	if g == nil {
		return fail(http.StatusNotFound, "Request_ResourceNotFound", "There is no group "+quoted(id)+" in the directory.")
	}
	switch first, tail := word(rest); first {
	case "":
		return s.only(r, http.MethodGet, func(r *request) error { return s.getGroup(r, g) })
	case "members", "transitivemembers":
		if tail == "" || strings.EqualFold(tail, "microsoft.graph.user") {
			path := first
			if tail != "" {
				path += "/" + tail
			}
			return s.only(r, http.MethodGet, func(r *request) error { return s.listMembers(r, g, path, tail != "") })
		}
	}
	return noRoute()
}

func (s *Service) routeSites(r *request, rest string) error {
	name, rest, err := value(rest)
	if err != nil {
		return err
	}
	id := name
	if parts := strings.Split(name, ","); len(parts) == 3 {
		id = parts[1]
	}
	here, ok := s.sites[strings.ToLower(id)]
	if !ok || here.tenant != r.who.tenant {
		return noItem()
	}
	first, rest := word(rest)
	switch {
	case first == "":
		return s.only(r, http.MethodGet, func(r *request) error { return s.getSite(r, here) })
	case first == "drive":
		return s.routeDrive(r, place{here, documents}, rest)
	case first == "drives" && rest == "":
		return s.only(r, http.MethodGet, func(r *request) error { return s.listDrives(r, here) })
	case first == "lists" && rest == "":
		if r.Method == http.MethodGet {
			return s.listLists(r, here)
		}
		return s.only(r, http.MethodPost, func(r *request) error { return s.createList(r, here) })
	case first == "lists":
		id, rest, err := value(rest)
		if err != nil {
			return err
		}
		p, err := s.placeByList(here, id)
		if err != nil {
			return err
		}
		switch first, rest := word(rest); first {
		case "":
			return s.only(r, http.MethodGet, func(r *request) error { return s.getList(r, p) })
		case "drive":
			return s.routeDrive(r, p, rest)
		}
	}
	return noRoute()
}

// only runs handle if the method is right.
func (s *Service) only(r *request, method string, handle func(*request) error) error {
	if r.Method != method && !(method == http.MethodGet && r.Method == http.MethodHead) {
		return wrongMethod(method)
	}
	return handle(r)
}

func wrongMethod(allow ...string) error {
	e := fail(http.StatusMethodNotAllowed, "notAllowed", "The method is not allowed here.")
	e.header = http.Header{"Allow": {strings.Join(allow, ", ")}}
	return e
}

// target is an item as an address names it.
type target struct {
	id     string   // empty is the root
	path   []string // decoded names below it
	byPath bool
	action string // lower case; empty is the item itself
	arg    string // of a function: what is between the parentheses
}

// actions are what may follow an item in an address.
var actions = map[string]bool{
	"children": true, "delta": true, "content": true, "contentstream": true, "createuploadsession": true,
	"permanentdelete": true, "copy": true, "versions": true, "permissions": true, "invite": true,
	"createlink": true, "retentionlabel": true, "listitem": true, "checkout": true, "checkin": true,
	"restore": true, "thumbnails": true, "search": true, "follow": true, "unfollow": true, "preview": true,
	"analytics": true, "subscriptions": true, "workbook": true,
}

func isAction(escaped string) bool {
	first, _ := word(escaped)
	name, _, _ := strings.Cut(first, "(")
	return actions[name]
}

// plainColons undoes what official SDKs do to an address by path: they put it
// in an item's place and encode it as one segment, colons and slashes included.
func plainColons(rest string) string {
	segment := rest
	if first, after := take(rest); strings.EqualFold(first, "items") {
		rest, segment = first+"/"+after, after
	}
	segment, _, _ = strings.Cut(segment, "/")
	segment = strings.ToUpper(segment)
	encoded, plain := strings.Index(segment, "%3A"), strings.Index(segment, ":")
	if whole := encoded >= 0 && (plain < 0 || encoded < plain); !whole && !strings.Contains(segment, ":%2F") {
		return rest
	}
	return strings.NewReplacer("%3A", ":", "%3a", ":", "%2F", "/", "%2f", "/").Replace(rest)
}

// parseTarget reads the part of an address that follows a drive: root or
// items/{id}, by path or not, and what is done with it.
func parseTarget(rest string) (t target, err error) {
	rest = plainColons(rest)
	first, rest := take(rest)
	colon := strings.HasSuffix(first, ":")
	switch strings.ToLower(strings.TrimSuffix(first, ":")) {
	case "root":
	case "items":
		if colon {
			return t, noRoute()
		}
		var id string
		id, rest = take(rest)
		id, colon = strings.CutSuffix(id, ":")
		if id, err = url.PathUnescape(id); err != nil || id == "" {
			return t, noRoute()
		}
		if !strings.EqualFold(id, "root") {
			t.id = id
		}
	default:
		return t, noRoute()
	}
	if colon {
		t.byPath = true
		where := rest
		rest = ""
		if trimmed, ok := strings.CutSuffix(where, ":"); ok {
			where = trimmed
		} else if i := strings.LastIndex("/"+where, ":/"); i > 0 && isAction(where[i+1:]) {
			// The last colon decides: a name may hold one too.
			where, rest = where[:i-1], where[i+1:]
		} else if i == 0 && isAction(where) {
			where, rest = "", where
		}
		for name := range strings.SplitSeq(where, "/") {
			if name, err = url.PathUnescape(name); err != nil {
				return t, badRequest("The address is not well formed.")
			}
			for part := range strings.SplitSeq(name, "/") { // an encoded slash divides as well
				switch part {
				case "", ".":
				case "..":
					return t, badRequest("A path may not go up.").because("invalidPath")
				default:
					t.path = append(t.path, part)
				}
			}
		}
	}
	action, rest := take(rest)
	if rest != "" {
		// What lies below an action is not served, but is named in the answer.
		action += "/" + rest
	}
	name, arg, call := strings.Cut(action, "(")
	if call {
		t.arg = strings.TrimSuffix(arg, ")")
	}
	name = strings.ToLower(name)
	t.action = strings.TrimPrefix(name, "microsoft.graph.")
	return t, nil
}

func (s *Service) routeDrive(r *request, p place, rest string) error {
	if strings.Trim(rest, "/") == "" {
		return s.only(r, http.MethodGet, func(r *request) error { return s.getDrive(r, p) })
	}
	if first, tail := word(rest); first == "list" && tail == "" {
		return s.only(r, http.MethodGet, func(r *request) error { return s.getList(r, p) })
	}
	t, err := parseTarget(strings.TrimSuffix(rest, "/"))
	if err != nil {
		return err
	}
	write := r.Method != http.MethodGet && r.Method != http.MethodHead
	need := readFiles
	if write {
		need = writeFiles
	}
	if err := r.who.need(need); err != nil {
		return err
	}
	switch t.action {
	case "":
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			return s.getItem(r, p, t)
		case http.MethodPatch:
			return s.patchItem(r, p, t)
		case http.MethodDelete:
			return s.deleteItem(r, p, t, false)
		}
		return wrongMethod("GET", "PATCH", "DELETE")
	case "children":
		if r.Method == http.MethodPost {
			return s.createFolder(r, p, t)
		}
		return s.only(r, http.MethodGet, func(r *request) error { return s.listChildren(r, p, t) })
	case "delta":
		return s.only(r, http.MethodGet, func(r *request) error { return s.delta(r, p, t) })
	case "content":
		if r.Method == http.MethodPut {
			return s.putContent(r, p, t)
		}
		return s.only(r, http.MethodGet, func(r *request) error { return s.getContent(r, p, t) })
	case "contentstream":
		return s.only(r, http.MethodGet, func(r *request) error { return s.streamContent(r, p, t) })
	case "createuploadsession":
		return s.only(r, http.MethodPost, func(r *request) error { return s.createUpload(r, p, t) })
	case "permanentdelete":
		return s.only(r, http.MethodPost, func(r *request) error { return s.deleteItem(r, p, t, true) })
	}
	name, _, _ := strings.Cut(t.action, "/")
	if actions[name] {
		return notSupported("'" + name + "' yet")
	}
	return noRoute()
}
