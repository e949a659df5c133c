package console

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"holdfast/internal/backup"
)

const (
	maxItems      = 500      // of a folder that a page shows
	maxText       = 64 << 10 // of a text that a preview shows
	maxPDF        = 64 << 20 // of a PDF that a preview shows
	maxRemembered = 5000     // things of a kind, of all people
)

// A browsed is what is remembered of a browse session: the library or the site
// that it shows, with whose key those of all that is in it begin, and of what unit
// it is.
type browsed struct {
	Library itemAnswer
	Owner   unitAnswer
	Point   string
	At      time.Time
}

// A memory is what this process has been told of things that do not change, each time for
// one session of the console. It spares requests; another process asks anew.
type memory[T any] struct {
	mu  sync.Mutex
	all map[[2]string]T // by the session's mark of forms and the thing's id
}

func (m *memory[T]) get(s *session, id string) (T, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	known, ok := m.all[[2]string{s.csrf, id}]
	return known, ok
}

func (m *memory[T]) put(s *session, id string, known T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil || len(m.all) >= maxRemembered {
		m.all = map[[2]string]T{}
	}
	m.all[[2]string{s.csrf, id}] = known
}

// browseUnit looks into the newest point of a unit that can be looked into now.
func browseUnit(v *visit) error {
	var answer searchAnswer
	err := v.api.Ask(v.ctx(), pointSet+"/search", map[string]any{
		"protectionUnitIds": []string{v.r.PathValue("id")}, "protectionTimePeriod": map[string]string{"startDateTime": "2000-01-01T00:00:00Z"},
		"restorePointPreference": "latest", "tags": backup.TagFastRestore,
	}, &answer)
	if err != nil {
		return err
	}
	if len(answer.SearchResults) == 0 {
		return &problem{http.StatusNotFound, "There is nothing to browse", "It has no point that can be looked into. It has one after its first backup."}
	}
	return v.browsePoint(answer.SearchResults[0].RestorePoint)
}

func browsePoint(v *visit) error {
	at := pointSet + "/"
	p, err := get[pointAnswer](v.ctx(), v.api, at+url.PathEscape(v.r.PathValue("id"))+"?$expand=protectionUnit")
	if err != nil {
		return err
	}
	if path := v.r.PostFormValue("path"); path != "" && !p.Browsable() {
		// It could be looked into when it was named: since then another can be instead.
		other, err := v.browsableWith(p.ProtectionUnit, path)
		if err != nil {
			return err
		}
		if p, err = get[pointAnswer](v.ctx(), v.api, at+url.PathEscape(other)+"?$expand=protectionUnit"); err != nil {
			return err
		}
	}
	return v.browsePoint(p)
}

// browsePoint makes a browse session of a point, or finds the one that there is.
func (v *visit) browsePoint(p pointAnswer) error {
	of := v.unitOfPoint(p).Of()
	if of.Browses == "" {
		return v.redirect("/console/points/" + p.ID + "/mail")
	}
	// Sessions are not found by their points, so the newest are looked through.
	sessions, _, err := take[browseAnswer](v.api.All(v.ctx(), anyBrowse+"?$top=100&"+query("$filter", "status ne 'failed'")+"&"+query("$orderby", "createdDateTime desc")), 100)
	if err != nil {
		return err
	}
	for _, s := range sessions {
		if s.RestorePointID == p.ID && s.ExpirationDateTime.Sub(v.cfg.Clock()) > time.Hour {
			return v.redirect("/console/browse/" + s.ID + v.found())
		}
	}
	var made browseAnswer
	if err := v.api.Create(v.ctx(), of.Browses, map[string]string{"restorePointId": p.ID}, &made); err != nil {
		return err
	}
	return v.redirect("/console/browse/" + made.ID + v.found())
}

// A crumb is a folder on the way to a place, as addresses have it: the part of
// its key that is its own, and its name.
type crumb struct{ Part, Name string }

// crumbs read those of an address.
func crumbs(q url.Values) (all []crumb) {
	for _, text := range q["t"] {
		if part, name, ok := strings.Cut(text, ":"); ok {
			all = append(all, crumb{part, name})
		}
	}
	return all
}

func trail(all []crumb) string { return url.Values{"t": values(all)}.Encode() }

// at is the address of a place in a session, which is looked at in the same order.
func (o ordered) at(here string, all []crumb) string {
	q := url.Values{"t": values(all)}
	if o.Sort != "" {
		q.Set("sort", o.Sort)
	}
	if len(q["t"]) == 0 && o.Sort == "" {
		return here
	}
	return here + "?" + q.Encode()
}

// An ordered says in which order a folder is shown: the path of one of orders, "" for that of the API.
type ordered struct{ Sort string }

// orders are those of a folder, by what addresses call them. The first is folders before files, by name.
var orders = []struct{ Path, Name, member, value string }{
	{"", "Folders first, by name", "", ""},
	{"-name", "Name, backwards", "orderBy", "nameDsc"},
	{"-size", "Largest first", "@holdfast.orderBy", "sizeDsc"},
	{"size", "Smallest first", "@holdfast.orderBy", "sizeAsc"},
	{"-changed", "Last changed first", "@holdfast.orderBy", "lastModifiedDateTimeDsc"},
	{"changed", "Longest unchanged first", "@holdfast.orderBy", "lastModifiedDateTimeAsc"},
}

// orderedBy is the order that an address asks for.
func orderedBy(q url.Values) (o ordered) {
	for _, known := range orders {
		if known.Path == q.Get("sort") {
			o.Sort = known.Path
		}
	}
	return o
}

func values(all []crumb) (texts []string) {
	for _, c := range all {
		texts = append(texts, c.Part+":"+c.Name)
	}
	return texts
}

// A row is an item of a folder as the page shows it.
type row struct {
	itemAnswer
	Part string // of its key, its own
	Link string
	Zip  string // where all of a folder is to be had
}

type browsePage struct {
	ordered
	Session browseAnswer
	Owner   unitAnswer
	Point   string
	Ready   bool
	Crumbs  []link
	Items   []row
	More    bool
	Text    string // filter
	Trail   []crumb
	Chosen  string // the part of the item that is chosen from the start
	Wrong   string
}

// Choosable reports whether something of the page can be restored by itself.
func (p browsePage) Choosable() bool {
	return slices.ContainsFunc(p.Items, func(r row) bool { return r.Type != "documentLibrary" })
}

// Dated reports whether it is known of something of the page when it was made or changed.
func (p browsePage) Dated() bool {
	return slices.ContainsFunc(p.Items, func(r row) bool { return !r.Modified.IsZero() || !r.Created.IsZero() })
}

type link struct{ To, Name string }

// Query is the address' trail, for forms that come back to it.
func (p browsePage) Query() []string {
	var all []string
	for _, c := range p.Trail {
		all = append(all, c.Part+":"+c.Name)
	}
	return all
}

// look opens a browse session for looking, and remembers what it shows.
func (v *visit) look() (browseAnswer, browsed, error) {
	id := v.r.PathValue("session")
	s, err := get[browseAnswer](v.ctx(), v.api, anyBrowse+"/"+url.PathEscape(id))
	if err != nil || s.Status != string(backup.BrowseCreated) {
		return s, browsed{}, err
	}
	known, ok := v.browses.get(v.s, id)
	if ok {
		return s, known, nil
	}
	top, _, err := take[itemAnswer](v.api.AllAsked(v.ctx(), anyBrowse+"/"+url.PathEscape(id)+"/browse", map[string]string{}), 1)
	if err != nil {
		return s, known, err
	}
	if len(top) == 0 {
		return s, known, &problem{http.StatusNotFound, "The point is empty", "It holds no files and no folders."}
	}
	known = browsed{Library: top[0], Point: s.RestorePointID, At: s.RestorePointDateTime, Owner: s.unit()}
	of := known.Owner.Of()
	units, _, err := take[unitAnswer](v.api.All(v.ctx(), of.Units+"?"+query("$filter", of.Subject+" eq "+text(known.Owner.Subject()))), 1)
	if err != nil && !forbidden(err) {
		return s, known, err
	}
	if len(units) > 0 {
		known.Owner = units[0]
	}
	v.browses.put(v.s, id, known)
	return s, known, nil
}

// unit is the unit of a session, as far as that says it.
func (s browseAnswer) unit() unitAnswer {
	if s.SiteID != "" {
		return unitAnswer{Type: "#microsoft.graph.siteProtectionUnit", SiteID: s.SiteID}
	}
	return unitAnswer{DirectoryObjectID: s.DirectoryObjectID}
}

// keyOf is the key of an item of a library or a site.
func (b browsed) keyOf(part string) string { return b.Library.ItemKey + "," + part }

// browse shows what is in a folder of a point.
func browse(v *visit) error {
	s, known, err := v.look()
	if err != nil {
		return err
	}
	q := v.r.URL.Query()
	v.ofUnit(known.Owner)
	page := browsePage{ordered: orderedBy(q), Session: s, Owner: known.Owner, Point: known.Point, Ready: s.Status == string(backup.BrowseCreated), Trail: crumbs(q), Text: strings.TrimSpace(q.Get("q"))}
	if page.Owner.Subject() == "" {
		page.Owner, page.Point = s.unit(), s.RestorePointID
	}
	if !page.Ready {
		if s.Status == string(backup.BrowseFailed) {
			page.Wrong = "The point cannot be looked into."
			if s.Error != nil {
				page.Wrong = s.Error.Message
			}
		}
		return v.show("browse", "Browse "+page.Owner.Name(), page)
	}
	if path := q.Get("path"); path != "" {
		return v.locate(s, known, path)
	}
	chosen, _ := chosenOf(q)
	page.Chosen = chosen.Part
	body := map[string]string{"browseLocationItemKey": known.Library.ItemKey}
	here := "/console/browse/" + s.ID
	page.Crumbs = []link{{page.at(here, nil), known.Library.Name}}
	for i, c := range page.Trail {
		body["browseLocationItemKey"] = known.keyOf(c.Part)
		page.Crumbs = append(page.Crumbs, link{page.at(here, page.Trail[:i+1]), c.Name})
	}
	for _, o := range orders {
		if o.Path == page.Sort && o.member != "" {
			body[o.member] = o.value
		}
	}
	if page.Text != "" && !strings.ContainsAny(page.Text, `'"\*?`) {
		body["filter"] = "(name -contains '" + page.Text + "')" // fewer to read; what is meant is sorted out below
	}
	for value, err := range v.api.AllAsked(v.ctx(), anyBrowse+"/"+url.PathEscape(s.ID)+"/browse", body) {
		if err != nil {
			return err
		}
		var item itemAnswer
		if err := json.Unmarshal(value, &item); err != nil {
			return err
		}
		if !strings.Contains(strings.ToLower(item.Name), strings.ToLower(page.Text)) {
			continue
		}
		if len(page.Items) == maxItems {
			page.More = true
			break
		}
		page.Items = append(page.Items, known.rowOf(here, page.Trail, item, page.ordered))
	}
	if page.More && page.Chosen != "" && page.Text == "" && !slices.ContainsFunc(page.Items, func(r row) bool { return r.Part == page.Chosen }) {
		return v.redirect(v.with("q", chosen.Name)) // it is among those that are not shown
	}
	return v.show("browse", "Browse "+page.Owner.Name(), page)
}

func (b browsed) rowOf(here string, at []crumb, item itemAnswer, o ordered) row {
	r := row{itemAnswer: item, Part: strings.TrimPrefix(item.ItemKey, b.Library.ItemKey+",")}
	below := append(at[:len(at):len(at)], crumb{r.Part, item.Name})
	if item.Type == "file" {
		r.Link = o.at(here+"/preview", below)
	} else {
		r.Link = o.at(here, below)
		r.Zip = here + "/zip?" + url.Values{"t": values(at), "item": {r.Part + ":" + item.Name}}.Encode()
	}
	return r
}

// pictures are the media types that a browser shows and does not run.
var pictures = map[string]string{".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp", ".bmp": "image/bmp", ".avif": "image/avif"}

type previewPage struct {
	Owner   unitAnswer
	Point   string
	At      time.Time
	Session string
	Crumbs  []link
	Name    string
	Part    string
	Picture bool
	PDF     bool
	Text    string
	Cut     bool
	Why     string // there is nothing to show
	Size    string
}

// What a browser may do with the page that shows a PDF, and with the PDF. Its viewer is a plugin and
// a frame to the page around it, which a page of the console alone may be. The programs in a PDF run
// in the viewer, if at all, which is of another origin than the console and knows nothing of it. What
// is served as a PDF is never taken for a page.
const (
	showsPDF = policy + "; object-src 'self'; frame-src 'self'"
	isPDF    = "default-src 'none'; frame-ancestors 'self'"
)

// previewFile shows a file of a point: a picture, a PDF, or the beginning of a text.
func previewFile(v *visit) error {
	s, known, err := v.look()
	if err != nil {
		return err
	}
	at := crumbs(v.r.URL.Query())
	if len(at) == 0 || s.Status != string(backup.BrowseCreated) {
		return errNoPage
	}
	file := at[len(at)-1]
	here := "/console/browse/" + s.ID
	order := orderedBy(v.r.URL.Query())
	v.ofUnit(known.Owner)
	page := previewPage{Owner: known.Owner, Point: known.Point, At: known.At, Session: s.ID, Name: file.Name, Part: file.Part, Crumbs: []link{{order.at(here, nil), known.Library.Name}}}
	for i, c := range at[:len(at)-1] {
		page.Crumbs = append(page.Crumbs, link{order.at(here, at[:i+1]), c.Name})
	}
	res, err := v.api.Open(v.ctx(), v.contentPath(known, file.Part), "bytes=0-"+strconv.Itoa(maxText-1))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	total := res.Header.Get("Content-Range")
	page.Size = total[strings.LastIndexByte(total, '/')+1:]
	if pictures[strings.ToLower(path.Ext(file.Name))] != "" {
		page.Picture = true
		return v.show("preview", file.Name, page)
	}
	head, err := io.ReadAll(io.LimitReader(res.Body, maxText))
	if err != nil {
		return err
	}
	if len(head) == 0 { // the server sends the whole, which is nothing
		page.Why, page.Size = "The file is empty.", "0"
		return v.show("preview", file.Name, page)
	}
	page.Cut = strconv.Itoa(len(head)) != page.Size
	for i := 0; page.Cut && i < utf8.UTFMax-1 && len(head) > 0 && !utf8.Valid(head); i++ {
		head = head[:len(head)-1] // a character may be cut in two
	}
	if bytes.Contains(head[:min(len(head), 1024)], []byte("%PDF-")) {
		size, err := strconv.ParseInt(page.Size, 10, 64)
		switch {
		case !namesPDF(file.Name):
			page.Why = "This is a PDF of another name. Download it to see it."
		case err != nil || size > maxPDF:
			page.Why = "This PDF is too large to be shown here. Download it to see it."
		default:
			page.PDF = true
			v.w.Header().Set("Content-Security-Policy", showsPDF)
		}
		return v.show("preview", file.Name, page)
	}
	if !utf8.Valid(head) || strings.ContainsRune(string(head), 0) {
		page.Why = "This kind of file cannot be shown here. Download it, or restore it."
		return v.show("preview", file.Name, page)
	}
	page.Text = string(head)
	return v.show("preview", file.Name, page)
}

func (v *visit) contentPath(b browsed, part string) string {
	return anyBrowse + "/" + url.PathEscape(v.r.PathValue("session")) + "/holdfast.content/" + url.PathEscape(b.keyOf(part))
}

// sendFile sends a file of a point: to be kept, or a picture to be shown.
func sendFile(v *visit) error {
	s, known, err := v.look()
	if err != nil {
		return err
	}
	if s.Status != string(backup.BrowseCreated) {
		return errNoPage
	}
	q := v.r.URL.Query()
	return v.pass(v.contentPath(known, q.Get("part")), "file", q.Has("show"))
}

func namesPDF(name string) bool { return strings.EqualFold(path.Ext(name), ".pdf") }

// sendPDF sends a PDF of a point to the viewer of a browser, as a whole, so that the audit log has
// one reading of it and not one for each part that the viewer wants.
func sendPDF(v *visit) error {
	s, known, err := v.look()
	if err != nil {
		return err
	}
	if s.Status != string(backup.BrowseCreated) {
		return errNoPage
	}
	res, err := v.api.Open(v.ctx(), v.contentPath(known, v.r.URL.Query().Get("part")), "")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, params, err := mime.ParseMediaType(res.Header.Get("Content-Disposition"))
	if err != nil || !namesPDF(params["filename"]) {
		return errNoPage
	}
	size, err := strconv.ParseInt(res.Header.Get("Content-Length"), 10, 64)
	if err != nil || size > maxPDF {
		return &problem{http.StatusRequestEntityTooLarge, "It is too large to be shown", "Go back and download it."}
	}
	h := v.w.Header()
	h.Set("Content-Security-Policy", isPDF)
	h.Set("X-Frame-Options", "SAMEORIGIN")
	h.Set("Content-Type", "application/pdf")
	h.Set("Content-Disposition", mime.FormatMediaType("inline", params))
	h.Set("Content-Length", strconv.FormatInt(size, 10))
	if _, err := io.Copy(v.w, res.Body); err != nil {
		panic(http.ErrAbortHandler) // a part must not look like the whole
	}
	return nil
}

// pass sends what the API has at an address: to be kept, by the name that the API gives it
// or else by name, or a picture to be shown.
func (v *visit) pass(at, name string, show bool) error {
	res, err := v.api.Open(v.ctx(), at, v.r.Header.Get("Range"))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	h := v.w.Header()
	for _, name := range []string{"Content-Length", "Content-Range", "Accept-Ranges"} {
		if value := res.Header.Get(name); value != "" {
			h.Set(name, value)
		}
	}
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	_, params, err := mime.ParseMediaType(res.Header.Get("Content-Disposition"))
	if err != nil {
		params = map[string]string{"filename": name}
	}
	picture := pictures[strings.ToLower(path.Ext(params["filename"]))]
	if show && picture != "" {
		h.Set("Content-Type", picture)
	} else {
		h.Set("Content-Type", "application/octet-stream")
		h.Set("Content-Disposition", mime.FormatMediaType("attachment", params))
	}
	v.w.WriteHeader(res.StatusCode)
	if _, err := io.Copy(v.w, res.Body); err != nil {
		panic(http.ErrAbortHandler) // a part must not look like the whole
	}
	return nil
}
