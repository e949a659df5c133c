package simtenant

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
)

// A Hostile is a source that misleads. It stands before a service, whose drives and
// mailboxes stay what they are: only what is told of them, and what is asked of them, is
// spoiled on its way, as the profile says that plays. While none plays it
// passes everything on and learns of the items it hears of, so that a profile
// can single them out by name, or tell tomorrow what was true today.
//
// It may be used by many goroutines.
type Hostile struct {
	next http.Handler

	mu       sync.Mutex
	spoil    spoiler
	isVictim func(name string) bool
	hits     int
	counts   map[string]int    // of what happened since Play, by what it was
	names    map[string]string // of items, by id; of unfinished uploads, by address
	items    map[string]object // as they were told before Play, by id
	contents map[string][]byte // as they were handed out before Play, by id
	learnt   int               // bytes of them
	drives   map[string][]byte // answers that describe a user's drive, by path
	links    map[string]string // where deltas went on before Play, by drive
	pages    map[string][]byte // the first page of the deltas of some drives before Play
	paged    int               // how long those are
	sent     map[string]int    // to where a content is, by its path, and not come there yet
}

// NewHostile returns a Hostile before a service, with no profile playing.
func NewHostile(next http.Handler) *Hostile {
	return &Hostile{
		next: next, names: map[string]string{}, items: map[string]object{}, contents: map[string][]byte{},
		drives: map[string][]byte{}, links: map[string]string{}, pages: map[string][]byte{}, sent: map[string]int{},
	}
}

// A Profile is one way in which a source misleads who reads or writes it.
type Profile struct {
	Name      string // by which people choose it
	Imitates  string // in one line, what it imitates
	Restoring bool   // it misleads those who write; the others, those who read
	Mail      bool   // it is about mailboxes; the others, about drives
	spoil     spoiler
}

// Play has a profile begin, in place of the one that plays. Profiles that hit
// single items hit those whose name victim reports true for.
func (h *Hostile) Play(p Profile, victim func(name string) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.spoil, h.isVictim, h.hits, h.counts = p.spoil, victim, 0, map[string]int{}
}

// Stop ends the profile that plays. It returns how many exchanges it spoiled.
func (h *Hostile) Stop() (hits int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.spoil = nil
	return h.hits
}

// An ask is what a request wants.
type ask int

const (
	anything  ask = iota
	aDrive        // which drive a user has
	aRoot         // a drive's root
	aDelta        // a page of changes
	anItem        // an item by id
	aName         // an item by its folder and name
	aListing      // a page of what a folder holds
	aContent      // where a content is, or the content
	someBytes     // a content from where it is
	aFolder       // to make a folder
	aChange       // to rename, move or date an item
	aDelete       // to delete an item
	aSession      // to begin an upload
	aFragment     // to upload a part
	aProgress     // how far an upload is
	aWrite        // to upload a whole content
	aLibrary      // to make or find a library
	aToken        // a token

	aMailbox         // which mailbox a user has
	aMailFolders     // a page of the folders in a mailbox or folder
	aMailFolderDelta // a page of changes among folders
	aMailFolder      // a folder
	aMailDelta       // a page of changes in a folder
	aMailList        // a page of what a folder holds
	aMailItem        // an item
	aMIME            // a message's bytes
	anExport         // exports of items
	anImportSession  // an address to import to
	anImport         // to import an item
	aMailFolderMade  // to make a folder
	aMailChange      // to rename, mark or move
	aMailDelete      // to delete an item or folder
)

// ofMail reports whether it is asked of a mailbox.
func (a ask) ofMail() bool { return a >= aMailbox }

// anyMail are all asks of mailboxes.
var anyMail = func() (list []ask) {
	for a := aMailbox; a <= aMailDelete; a++ {
		list = append(list, a)
	}
	return list
}()

// listing reports whether the answer is a page of items.
func (a ask) listing() bool {
	switch a {
	case aDelta, aListing, aMailFolders, aMailFolderDelta, aMailDelta, aMailList:
		return true
	}
	return false
}

// An exchange is one request and its answer.
type exchange struct {
	h    *Hostile
	r    *http.Request
	ask  ask
	id   string   // of the item it is about, or empty
	ids  []string // of the items that an export names
	name string   // of that item, as far as it is known
	// listed says that a content is read where a listing said that it is, so that
	// it was not asked for by its id: this is all there is to be spoiled of it.
	listed bool

	answered bool
	status   int
	header   http.Header
	body     []byte
	cut      bool // the connection breaks in the middle of the body
	length   int  // that the answer says it has; 0 for that of the body
}

// A spoiler spoils an exchange, and reports whether it did.
type spoiler func(*exchange) bool

// An object is a JSON object.
type object = map[string]any

func (h *Hostile) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	spoil := h.spoil
	h.mu.Unlock()
	if _, ok := isBatch(r.URL.Path); ok && spoil != nil {
		// What is asked for in a batch is asked for all the same.
		Batch(http.HandlerFunc(h.serve)).ServeHTTP(w, r)
		return
	}
	h.serve(w, r)
}

// serve serves what is no batch.
func (h *Hostile) serve(w http.ResponseWriter, r *http.Request) {
	x := h.exchange(r)
	h.mu.Lock()
	spoil := h.spoil
	h.mu.Unlock()
	if spoil == nil {
		switch x.ask {
		case anything:
			h.next.ServeHTTP(w, r)
			return
		case aMIME, anExport, anImport: // of any length as well
			h.next.ServeHTTP(w, x.told())
			return
		case someBytes: // of any length, so they pass as they come
			out := &copied{watched: watched{ResponseWriter: w}}
			h.next.ServeHTTP(out, r)
			h.keep(x.id, out)
			return
		}
	}
	if spoil != nil && spoil(x) {
		h.mu.Lock()
		h.hits++
		h.mu.Unlock()
	}
	x.pass()
	if spoil == nil {
		h.learn(x)
	}
	maps.Copy(w.Header(), x.header)
	if r.Method != http.MethodHead && x.status != http.StatusNoContent && x.status != http.StatusNotModified {
		if x.length == 0 {
			x.length = len(x.body)
		}
		w.Header().Set("Content-Length", strconv.Itoa(x.length))
	}
	w.WriteHeader(x.status)
	if !x.cut {
		w.Write(x.body)
		return
	}
	w.Write(x.body[:len(x.body)/2])
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
	panic(http.ErrAbortHandler)
}

// exchange reads off a request what it wants.
func (h *Hostile) exchange(r *http.Request) *exchange {
	x := &exchange{h: h, r: r}
	path := r.URL.Path
	rest, graph := strings.CutPrefix(path, "/v1.0/")
	switch {
	case strings.HasPrefix(path, downloadPrefix):
		x.ask, x.id = someBytes, path[strings.LastIndex(path, "/")+1:]
	case strings.HasPrefix(path, uploadPrefix):
		x.ask, x.id = aFragment, path
		if r.Method == http.MethodGet {
			x.ask = aProgress
		} else if r.Method == http.MethodDelete {
			x.ask = anything
		}
	case strings.HasSuffix(path, "/oauth2/v2.0/token"):
		x.ask = aToken
	case strings.HasPrefix(path, importPrefix):
		x.ask = anImport
	case !graph:
	case strings.HasPrefix(rest, "admin/exchange/mailboxes"):
		x.inMailbox(2)
	case strings.HasPrefix(rest, "users/") && strings.HasSuffix(rest, "/settings/exchange"):
		x.ask = aMailbox
	case strings.HasPrefix(rest, "users/") && (strings.Contains(rest, "/mailFolders") || strings.Contains(rest, "/messages")):
		x.inMailbox(0)
	case strings.HasPrefix(rest, "users/") && strings.HasSuffix(rest, "/drive"):
		x.ask = aDrive
	case strings.HasPrefix(rest, "sites/"), strings.HasSuffix(rest, "/lists"):
		x.ask = aLibrary
	case strings.HasPrefix(rest, "drives/"):
		x.below(rest)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if x.name == "" {
		x.name = h.names[x.id]
	}
	if x.name == "" && x.ask.ofMail() {
		x.name = x.id // a well-known folder
	}
	if x.ask == someBytes {
		if x.listed = h.sent[path] == 0; !x.listed {
			h.sent[path]--
		}
	}
	return x
}

// below is exchange for what is below a drive.
func (x *exchange) below(rest string) {
	_, rest, _ = strings.Cut(strings.TrimPrefix(rest, "drives/"), "/")
	method := x.r.Method
	switch what, tail, _ := strings.Cut(rest, "/"); what {
	case "root":
		switch {
		case tail == "" && method == http.MethodGet:
			x.ask = aRoot
		case strings.HasPrefix(tail, "delta"):
			x.ask = aDelta
		}
	case "items":
		id, action, _ := strings.Cut(tail, "/")
		if strings.HasSuffix(id, ":") {
			// items/{folder}:/{name} or items/{folder}:/{name}:/{action}
			x.name, action, _ = strings.Cut(action, ":/")
			switch {
			case action == "" && method == http.MethodGet:
				x.ask = aName
			case action == "content":
				x.ask = aWrite
			case action == "createUploadSession":
				x.ask = aSession
			}
			return
		}
		x.id = id
		switch {
		case action == "" && method == http.MethodGet:
			x.ask = anItem
		case action == "" && method == http.MethodPatch:
			x.ask = aChange
		case action == "" && method == http.MethodDelete:
			x.ask = aDelete
		case action == "children" && method == http.MethodGet:
			x.ask = aListing
		case action == "children":
			x.ask = aFolder
			x.id = ""
			var folder struct{ Name string }
			json.Unmarshal(x.read(), &folder)
			x.name = folder.Name
		case action == "content" && method == http.MethodGet:
			x.ask = aContent
		case action == "content":
			x.ask = aWrite
		case action == "createUploadSession":
			x.ask = aSession
		}
	}
}

// inMailbox is exchange for what is in a mailbox, which is named by the segments up
// to skip and one more.
func (x *exchange) inMailbox(skip int) {
	_, rest, _ := strings.Cut(strings.TrimPrefix(x.r.URL.EscapedPath(), "/"), "/")
	path := strings.Split(segments(rest), "/")
	for i := range path {
		path[i], _ = url.PathUnescape(path[i])
		path[i] = strings.TrimSuffix(strings.TrimPrefix(path[i], "microsoft.graph."), "()")
	}
	if len(path) < skip+3 {
		return
	}
	path = path[skip+2:] // behind the mailbox or user
	id := func() (id string) {
		if len(path) > 1 && path[1] != "delta" {
			id, path = path[1], path[1:]
		}
		path = path[1:]
		return id
	}
	method, first := x.r.Method, path[0]
	switch first {
	case "exportItems":
		x.ask = anExport
		var in struct{ ItemIDs []string }
		json.Unmarshal(x.read(), &in)
		x.ids = in.ItemIDs
		return
	case "createImportSession":
		x.ask = anImportSession
		return
	case "folders", "mailFolders":
		x.id = id()
		if len(path) > 0 && path[0] == "childFolders" {
			path = path[1:]
			first = "childFolders"
		}
		switch {
		case len(path) > 0 && (path[0] == "items" || path[0] == "messages"):
			folder := x.id
			if x.id = id(); x.id == "" {
				x.id = folder
				switch {
				case len(path) > 0:
					x.ask = aMailDelta
				case method == http.MethodGet:
					x.ask = aMailList
				}
				return
			}
		case len(path) > 0 && path[0] == "delta":
			x.ask = aMailFolderDelta
			return
		case method == http.MethodPost && len(path) == 0:
			x.ask = aMailFolderMade
			var in struct{ DisplayName string }
			json.Unmarshal(x.read(), &in)
			x.id, x.name = "", in.DisplayName
			return
		case method == http.MethodGet && (x.id == "" || first == "childFolders"):
			x.ask = aMailFolders
			return
		case method == http.MethodGet:
			x.ask = aMailFolder
			return
		}
	case "messages":
		x.id = id()
	default:
		return
	}
	switch {
	case method == http.MethodDelete:
		x.ask = aMailDelete
	case method != http.MethodGet:
		x.ask = aMailChange
	case len(path) > 0 && path[0] == "$value":
		x.ask = aMIME
	case len(path) == 0:
		x.ask = aMailItem
	}
}

// read reads the request's body, and leaves it to be read.
func (x *exchange) read() []byte {
	b, _ := io.ReadAll(x.r.Body)
	x.r.Body = io.NopCloser(bytes.NewReader(b))
	return b
}

// told is the request, such that the service tells the names of the files that
// the items of a mailbox are: on the wire they have none.
func (x *exchange) told() *http.Request {
	if !x.ask.ofMail() {
		return x.r
	}
	h := x.h
	return x.r.WithContext(context.WithValue(x.r.Context(), namesKey{}, func(id, name string) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.hasRoom(id) {
			h.names[id] = name
		}
	}))
}

// namesKey is where a request's context holds who wants to be told the names of
// the files that items of a mailbox are.
type namesKey struct{}

// pass has the service answer, once, unless something else has.
func (x *exchange) pass() {
	if x.answered {
		return
	}
	rec := httptest.NewRecorder()
	x.h.next.ServeHTTP(rec, x.told())
	x.answered, x.status, x.header, x.body = true, rec.Code, rec.Header(), rec.Body.Bytes()
	x.header.Del("Content-Length")
	if x.ask == aContent && x.status == http.StatusFound {
		if u, err := url.Parse(x.header.Get("Location")); err == nil {
			x.h.mu.Lock()
			x.h.sent[u.Path]++
			x.h.mu.Unlock()
		}
	}
	x.h.hear(x)
}

// hasRoom reports whether a name is to be kept: all that are told while a profile
// plays, and before that no more than many. Callers hold h.mu.
func (h *Hostile) hasRoom(id string) bool {
	return h.spoil != nil || len(h.names) < learnNames || h.names[id] != ""
}

// hear takes up the names that an answer tells, whether or not a profile plays.
func (h *Hostile) hear(x *exchange) {
	if x.status >= 300 {
		return
	}
	switch x.ask {
	case aSession:
		var s struct{ UploadURL string }
		if json.Unmarshal(x.body, &s) == nil {
			if u, err := url.Parse(s.UploadURL); err == nil {
				h.mu.Lock()
				h.names[u.Path] = x.name
				h.mu.Unlock()
			}
		}
		return
	case aDelta, aListing, anItem, aName, aRoot, aFolder, aChange, aWrite, aFragment:
	case aMailFolders, aMailFolderDelta, aMailFolder, aMailFolderMade:
	default:
		return
	}
	type named struct{ ID, Name, DisplayName string }
	var answer struct {
		named
		Value []named
	}
	if json.Unmarshal(x.body, &answer) != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, item := range append(answer.Value, answer.named) {
		if name := item.Name + item.DisplayName; item.ID != "" && name != "" && h.hasRoom(item.ID) {
			h.names[item.ID] = name
		}
	}
}

// How much is learnt of what may be told again later.
const (
	learnItems    = 5_000
	learnNames    = 200_000
	learnContent  = 1 << 20 // bytes of one content
	learnContents = 64 << 20
	learnPages    = 16 << 20
)

// wants reports whether an answer tells something that is to be learnt: when as
// many items are known as are kept, little does, and large drives have many pages.
func (h *Hostile) wants(x *exchange) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.items) < learnItems || bytes.Contains(x.body, []byte(`"@odata.deltaLink"`)) || h.wantsPage(x) {
		return true
	}
	var answer struct {
		ID    string
		Value []struct{ ID string }
	}
	json.Unmarshal(x.body, &answer)
	known := h.items[answer.ID] != nil
	for _, item := range answer.Value {
		known = known || h.items[item.ID] != nil
	}
	return known
}

// wantsPage reports whether an answer is the first page of a drive that is to be learnt.
// Callers hold h.mu.
func (h *Hostile) wantsPage(x *exchange) bool {
	return x.ask == aDelta && h.pages[driveOf(x.r)] == nil && h.paged < learnPages
}

// firstPage is the first page of a drive's delta, or nil.
func (h *Hostile) firstPage(drive string) object {
	h.mu.Lock()
	defer h.mu.Unlock()
	if b := h.pages[drive]; b != nil {
		return decode(b)
	}
	return nil
}

// copied is an answer of which a copy is kept, unless it is long.
type copied struct {
	watched
	copy bytes.Buffer
	long bool
}

func (c *copied) Write(p []byte) (int, error) {
	if c.long = c.long || c.copy.Len()+len(p) > learnContent; !c.long {
		c.copy.Write(p)
	}
	return c.watched.Write(p)
}

// keep keeps a content that was handed out whole.
func (h *Hostile) keep(id string, of *copied) {
	if of.long || of.status != http.StatusOK {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.learnt+of.copy.Len() <= learnContents {
		h.learnt += of.copy.Len() - len(h.contents[id])
		h.contents[id] = of.copy.Bytes()
	}
}

// learn keeps what may be told again later.
func (h *Hostile) learn(x *exchange) {
	if x.status != http.StatusOK {
		return
	}
	switch x.ask {
	case aDelta, aListing, anItem, aMailDelta:
		if !h.wants(x) {
			return
		}
		answer := decode(x.body)
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, item := range itemsOf(x.ask, answer) {
			if id, _ := item["id"].(string); item["deleted"] == nil && (item["name"] != nil || item["changeKey"] != nil) && (len(h.items) < learnItems || h.items[id] != nil) {
				h.items[id] = item
			}
		}
		link, ok := answer["@odata.deltaLink"].(string)
		switch x.ask {
		case aDelta:
			d := driveOf(x.r)
			if ok {
				h.links[d] = link
			}
			if h.wantsPage(x) {
				h.pages[d] = bytes.Clone(x.body)
				h.paged += len(x.body)
			}
		case aMailDelta:
			if ok {
				h.links[x.r.URL.Path] = link
			}
		}
	case aDrive:
		h.mu.Lock()
		defer h.mu.Unlock()
		h.drives[x.r.URL.Path] = bytes.Clone(x.body)
	}
}

// victim reports whether the exchange is about an item to be hit.
func (x *exchange) victim() bool { return x.name != "" && x.h.isVictim(x.name) }

// count returns how often it was called with these words since Play began, this
// time included.
func (x *exchange) count(words ...string) int {
	x.h.mu.Lock()
	defer x.h.mu.Unlock()
	key := strings.Join(words, " ")
	x.h.counts[key]++
	return x.h.counts[key]
}

// counted returns how often that was, without counting once more.
func (x *exchange) counted(words ...string) int {
	x.h.mu.Lock()
	defer x.h.mu.Unlock()
	return x.h.counts[strings.Join(words, " ")]
}

// refuse answers in the service's place, in Graph's form.
func (x *exchange) refuse(status int, code string) {
	x.reply(status, object{"error": object{"code": code, "message": "It is so by request.", "innerError": object{"code": code}}})
}

func (x *exchange) reply(status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // of our own making
	}
	// A name that is to hold a byte which is no UTF-8 has this rune in its place.
	b = bytes.ReplaceAll(b, []byte(string(noUTF8)), []byte{0xff})
	x.answered, x.status, x.body = true, status, b
	x.header = http.Header{"Content-Type": {"application/json"}}
}

const noUTF8 = '\uE0FF'

func decode(b []byte) object {
	var v object
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	if dec.Decode(&v) != nil {
		return nil
	}
	return v
}

// itemsOf returns the items that an answer holds.
func itemsOf(a ask, answer object) []object {
	switch {
	case a.listing():
		var out []object
		list, _ := answer["value"].([]any)
		for _, v := range list {
			if item, ok := v.(object); ok {
				out = append(out, item)
			}
		}
		return out
	case answer["id"] != nil && (a == anItem || a == aName || a == aRoot || a == aMailItem || a == aMailFolder):
		return []object{answer}
	}
	return nil
}

// replaceItems puts list in the place of the items that answer holds.
func replaceItems(a ask, answer object, list []object) object {
	if !a.listing() {
		if len(list) == 0 {
			return nil
		}
		return list[0]
	}
	value := make([]any, len(list))
	for i, item := range list {
		value[i] = item
	}
	answer["value"] = value
	return answer
}

// clone returns a copy of an item that shares nothing with it.
func clone(item object) object {
	out := make(object, len(item))
	for k, v := range item {
		if below, ok := v.(object); ok {
			v = clone(below)
		}
		out[k] = v
	}
	return out
}
