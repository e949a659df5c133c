package simtenant

import (
	"compress/gzip"
	"errors"
	"io"
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

	// What the address names, as far as it was read.
	user    *User
	group   *Group
	site    site
	place   place
	target  target
	special []string          // the names that lead to the special folder that the address begins at
	vars    map[string]string // of the route's path
	arg     string            // of a function: what is between the parentheses

	about func(*mailbox) []*item // what single files it is about, as far as they are known; or nil

	content []byte     // of the body, where that is read beforehand
	sent    []SentMail // what leaves the mailbox once the call is done
	status  int        // of the answer
	answer  any        // what it holds
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
		if f.Delay > 0 {
			wait := time.NewTimer(f.Delay)
			defer wait.Stop()
			select {
			case <-wait.C:
			case <-r.Context().Done():
				return
			}
		}
		if f.Status != 0 {
			f.answer(w)
			return
		}
		if f.Truncate > 0 {
			w = &truncated{w, f.Truncate}
		}
	}
	if err := unpack(r); err != nil {
		s.refuse(w, r, err)
		return
	}
	path := r.URL.Path
	base, isBatch := isBatch(path)
	if !isBatch { // whose requests each come by themselves
		s.gate.RLock()
		defer s.gate.RUnlock()
	}
	var err error
	switch {
	case strings.HasPrefix(path, downloadPrefix):
		err = s.download(w, r)
	case strings.HasPrefix(path, thumbnailPrefix):
		err = s.thumbnail(w, r)
	case strings.HasPrefix(path, monitorPrefix):
		err = s.progress(w, r)
	case strings.HasPrefix(path, uploadPrefix), strings.HasPrefix(path, attachPrefix):
		err = s.fragment(w, r)
	case strings.HasPrefix(path, importPrefix):
		err = s.importItem(w, r)
	case s.entra(w, r):
	case isBatch:
		if _, err = s.authenticate(r); err == nil {
			err = batch(w, r, base, http.HandlerFunc(s.serve))
		}
	default:
		err = s.graph(w, r)
	}
	if err != nil {
		// A client that is still sending would find its connection closed, and no answer.
		io.CopyN(io.Discard, r.Body, maxPut)
		s.refuse(w, r, err)
	}
}

// unpack has a body that was sent compressed, as Microsoft's Go client sends each, be
// read as what it was.
func unpack(r *http.Request) error {
	switch how := r.Header.Get("Content-Encoding"); {
	case how == "" || strings.EqualFold(how, "identity"):
		return nil
	case !strings.EqualFold(how, "gzip") && !strings.EqualFold(how, "x-gzip"):
		return fail(http.StatusUnsupportedMediaType, "invalidRequest", "A body may be compressed with gzip only.")
	}
	plain, err := gzip.NewReader(r.Body)
	if errors.Is(err, io.EOF) {
		return nil // there is no body, though its encoding was announced
	}
	if err != nil {
		return badRequest("The body is not what its Content-Encoding says.")
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{plain, r.Body}
	r.ContentLength = -1
	r.Header.Del("Content-Encoding")
	return nil
}

// graph serves the paths below /v1.0 and its equals.
func (s *Service) graph(w http.ResponseWriter, r *http.Request) error {
	rest, base := r.URL.EscapedPath(), ""
	for _, prefix := range []string{"/v1.0/", "/beta/", "/_api/v2.0/", "/_api/v2.1/"} {
		if len(rest) >= len(prefix) && strings.EqualFold(rest[:len(prefix)], prefix) {
			base, rest = strings.TrimSuffix(prefix, "/"), strings.TrimLeft(rest[len(prefix):], "/")
			break
		}
	}
	if base == "" {
		return noRoute()
	}
	who, err := s.authenticate(r)
	if err == nil && onSharePoint(r) {
		err = s.certified(who)
	}
	if err != nil {
		return err
	}
	if err := s.limits.enter(w, s, who.tenant.ID, unitsOf(r, rest)); err != nil {
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
		case "users", "drives", "items", "groups", "sites", "lists", "mailboxes", "folders", "childfolders", "mailfolders", "messages",
			"attachments", "calendars", "events", "contactfolders", "contacts", "tasks":
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

// route reads the resource that an address begins with, and serves what is
// wanted of it.
func (s *Service) route(r *request, rest string) error {
	first, below := word(rest)
	switch first {
	case "users":
		if name, _, _ := strings.Cut(below, "("); below != "" && literal(name) != "delta" && name != "$count" {
			return s.routeUsers(r, below)
		}
	case "groups":
		if name, _, _ := strings.Cut(below, "("); below != "" && literal(name) != "delta" && name != "$count" {
			return s.routeGroups(r, below)
		}
	case "sites":
		switch name, _ := word(below); name {
		case "", "delta", "getallsites":
		default:
			if !strings.HasPrefix(name, "delta(") {
				return s.routeSites(r, below)
			}
		}
	case "drives":
		id, below, err := value(below)
		if err != nil || id == "" {
			return noRoute()
		}
		if r.place, err = s.placeByID(r.who, id); err != nil {
			return err
		}
		return s.routeDrive(r, below)
	case "admin":
		return s.routeAdmin(r, below)
	case "me":
		if r.who.user == nil {
			return badRequest("/me is only valid with delegated authentication.")
		}
		return s.routeUser(r, r.who.user, below)
	}
	return s.dispatch(r, "", rest)
}

func (s *Service) routeUsers(r *request, rest string) error {
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
	r.user, r.site = u, site{tenant: r.who.tenant, user: u}
	switch first, below := word(rest); first {
	case "drive":
		r.place = place{site: r.site, library: documents}
		return s.routeDrive(r, below)
	case "drives":
		if below != "" {
			return s.routeDrives(r, below)
		}
	}
	return s.dispatch(r, "{user}", segments(rest))
}

// routeDrives serves a drive that is named below its user or site.
func (s *Service) routeDrives(r *request, rest string) error {
	id, rest, err := value(rest)
	if err != nil {
		return err
	}
	if r.place, err = s.placeByID(r.who, id); err != nil || r.place.site != r.site {
		return noItem()
	}
	return s.routeDrive(r, rest)
}

func (s *Service) routeGroups(r *request, rest string) error {
	id, rest, err := value(rest)
	if err != nil {
		return err
	}
	if err := r.who.need(readGroups); err != nil {
		return err
	}
	if r.group = r.who.tenant.groups[strings.ToLower(id)]; r.group == nil {
		return fail(http.StatusNotFound, "Request_ResourceNotFound", "There is no group "+quoted(id)+" in the directory.")
	}
	switch first, below := word(rest); first {
	case "drive", "drives", "sites":
		return s.routeGroupSite(r, first, below)
	}
	return s.dispatch(r, "{group}", rest)
}

// routeGroupSite serves what is of a group's site.
func (s *Service) routeGroupSite(r *request, first, below string) error {
	if !r.group.unified() {
		return fail(http.StatusNotFound, "ResourceNotFound", "The group has no site: it is a security group.")
	}
	here, ok, err := s.siteByNames(r.who.tenant, r.group.MailNickname)
	if err != nil {
		return err
	}
	if !ok {
		return noSite()
	}
	switch next, rest := word(below); {
	case first != "sites":
		return s.routeSite(r, here, strings.TrimSuffix(first+"/"+below, "/"))
	case next == "root":
		return s.routeSite(r, here, rest)
	}
	return noRoute()
}

// routeDrive serves r.place and what is in it.
func (s *Service) routeDrive(r *request, rest string) (err error) {
	rest = strings.TrimSuffix(rest, "/")
	switch first, below := word(rest); first {
	case "special":
		if rest, err = r.atSpecial(below); err != nil {
			return err
		}
	case "list":
		return s.dispatch(r, "{list}", segments(below))
	}
	first, _, _ := strings.Cut(strings.ToLower(rest), "/")
	if !strings.HasPrefix(first, "root") && !strings.HasPrefix(first, "items") {
		return s.dispatch(r, "{drive}", rest)
	}
	if r.target, rest, err = parseTarget(rest); err != nil {
		return err
	}
	return s.dispatch(r, "{item}", rest)
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
}

// actions are what may follow an item in an address: what is served, and what
// Microsoft documents beyond that.
var actions = map[string]bool{
	"retentionlabel": true, "follow": true, "unfollow": true, "preview": true,
	"analytics": true, "subscriptions": true, "workbook": true, "assignsensitivitylabel": true,
	"extractsensitivitylabels": true, "validatepermission": true, "getactivitiesbyinterval": true,
	"copy": true, "versions": true, "permissions": true, "invite": true, "createlink": true,
	"checkout": true, "checkin": true, "restore": true, "thumbnails": true, "search": true,
}

func isAction(escaped string) bool {
	first, _ := word(escaped)
	name, _, _ := strings.Cut(first, "(")
	return actions[literal(name)]
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
// items/{id}, by path or not. It returns what of the address comes behind.
func parseTarget(address string) (t target, rest string, err error) {
	rest = plainColons(address)
	first, rest := take(rest)
	colon := strings.HasSuffix(first, ":")
	switch strings.ToLower(strings.TrimSuffix(first, ":")) {
	case "root":
	case "items":
		if colon {
			return t, "", noRoute()
		}
		var id string
		id, rest = take(rest)
		id, colon = strings.CutSuffix(id, ":")
		if id, err = url.PathUnescape(id); err != nil || id == "" {
			return t, "", noRoute()
		}
		if !strings.EqualFold(id, "root") {
			t.id = id
		}
	default:
		return t, "", noRoute()
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
				return t, "", badRequest("The address is not well formed.")
			}
			for part := range strings.SplitSeq(name, "/") { // an encoded slash divides as well
				switch part {
				case "", ".":
				case "..":
					return t, "", badRequest("A path may not go up.").because("invalidPath")
				default:
					t.path = append(t.path, part)
				}
			}
		}
	}
	return t, rest, nil
}
