package graphapi

import (
	"cmp"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/identity"
	"holdfast/internal/odata"
)

type browseID = backup.BrowseSessionID

// mayBrowse refuses a user without the directory role that looking into
// backups needs. Of an application its permission is enough.
func (s *Server) mayBrowse(c identity.Caller) error {
	if s.cfg.BrowseRole == "" || !c.Delegated || slices.Contains(c.DirectoryRoles, s.cfg.BrowseRole) {
		return nil
	}
	return backup.Fail(backup.AccessDenied, "Only users with the directory role SharePoint Backup Administrator may browse backups and restore parts of them. Ask an administrator for the role, and get a new token.")
}

// browseView shows a browse session; names are those of inFull.
func browseView(b backup.BrowseSession, names map[unitID]string) odata.Entity {
	w := wordsOf(b.Workload)
	e := odata.Entity{Type: w.browses.name, Path: root + "/" + browseSet + "('" + string(b.ID) + "')"}
	e.Add("id", b.ID)
	e.Add("restorePointId", b.Point.ID)
	e.Add("restorePointDateTime", odata.FormatTime(b.Point.At))
	e.Add("status", b.Status)
	e.Add("createdDateTime", odata.FormatTime(b.Created))
	e.Add("expirationDateTime", odata.FormatTime(b.Expires))
	e.Add("backupSizeInBytes", strconv.FormatInt(b.Point.Bytes, 10))
	e.Add("error", b.Problem)
	e.Add(w.subject, cmp.Or(names[b.Point.Unit], string(b.Owner)))
	return e
}

// inFull returns what the source calls in full what the units of items are of,
// where a workload has such names and they are known.
func inFull[T any](s *Server, x *exchange, items []T, of func(T) (*workload, unitID)) (map[unitID]string, error) {
	var units []unitID
	for _, item := range items {
		if w, u := of(item); w.longNames && !slices.Contains(units, u) {
			units = append(units, u)
		}
	}
	known, err := s.catalog.UnitsByID(x.ctx(), x.tenant(), units)
	names := make(map[unitID]string, len(known))
	for id, u := range known {
		names[id] = u.SourceID
	}
	return names, err
}

func browsed(b backup.BrowseSession) (*workload, unitID) { return wordsOf(b.Workload), b.Point.Unit }

// showBrowse shows one browse session.
func (s *Server) showBrowse(x *exchange, b backup.BrowseSession) (odata.Entity, error) {
	names, err := inFull(s, x, []backup.BrowseSession{b}, browsed)
	return browseView(s.withLacks(x, b), names), err
}

func (s *Server) browseSessions(x *exchange) func(catalog.Page) (catalog.List[backup.BrowseSession], error) {
	return func(p catalog.Page) (catalog.List[backup.BrowseSession], error) {
		p.Workload = x.workload()
		return s.catalog.BrowseSessions(x.ctx(), x.tenant(), p)
	}
}

// listBrowseSessions serves browseSessions and its sets by workload.
func (s *Server) listBrowseSessions(x *exchange) (reply, error) {
	var names map[unitID]string
	return list(s, x, listing[backup.BrowseSession]{
		set: x.set(),
		fetch: func(p catalog.Page) (catalog.List[backup.BrowseSession], error) {
			l, err := s.browseSessions(x)(p)
			if err == nil {
				names, err = inFull(s, x, l.Items, browsed)
			}
			return l, err
		},
		view: func(b backup.BrowseSession) (odata.Entity, error) { return browseView(withLacking(b), names), nil },
	})
}

func (s *Server) countBrowseSessions(x *exchange) (reply, error) {
	return count(x, s.browseSessions(x))
}

// createBrowseSession serves POST of a browse session.
func (s *Server) createBrowseSession(x *exchange) (reply, error) {
	w := x.route.of
	if err := x.body.Only(w.browses.name, slices.Concat(readOnly, w.browses.properties)...); err != nil {
		return reply{}, err
	}
	text, _, err := x.body.String("restorePointId")
	if err != nil {
		return reply{}, err
	}
	id, ok := backup.ParseGUID(text)
	if !ok {
		return reply{}, backup.Fail(backup.InvalidRestorePoint, "The request does not name a restore point: send restorePointId.").On("restorePointId")
	}
	b, err := s.catalog.CreateBrowseSession(x.ctx(), x.tenant(), w.kind, backup.PointID(id), s.stamp(x))
	if err != nil {
		return reply{}, err
	}
	e, err := s.showBrowse(x, b)
	if err != nil {
		return reply{}, err
	}
	return created(x, w.browses.set, w.browses.set+"/"+string(b.ID), e)
}

// browseSession is the browse session of the address.
func (s *Server) browseSession(x *exchange) (backup.BrowseSession, error) {
	id, _ := backup.ParseGUID(x.r.PathValue("id")) // what is none is unknown, too
	return s.catalog.BrowseSession(x.ctx(), x.tenant(), browseID(id))
}

func (s *Server) getBrowseSession(x *exchange) (reply, error) {
	b, err := s.browseSession(x)
	if err != nil {
		return reply{}, err
	}
	e, err := s.showBrowse(x, b)
	if err != nil {
		return reply{}, err
	}
	return show(x, http.StatusOK, x.set(), e)
}

// withLacks has a session say what its point does not hold as it was, if nothing
// else stands against it: item by item if the vault can tell now.
func (s *Server) withLacks(x *exchange, b backup.BrowseSession) backup.BrowseSession {
	b = withLacking(b)
	if b.Problem != nil && b.Problem.Code == backup.ItemsNotBackedUp {
		if unread, err := s.cfg.Browser.Unread(x.ctx(), b.Point); err == nil {
			b.Problem = backup.Lacks(unread)
		}
	}
	return b
}

// withLacking is withLacks for lists, which do not ask the vault for each session.
func withLacking(b backup.BrowseSession) backup.BrowseSession {
	if b.Problem == nil && b.Status == backup.BrowseCreated {
		b.Problem = backup.LacksSome(b.Point.Unread)
	}
	return b
}

func (s *Server) deleteBrowseSession(x *exchange) (reply, error) {
	id, _ := backup.ParseGUID(x.r.PathValue("id"))
	if err := s.catalog.DeleteBrowseSession(x.ctx(), x.tenant(), browseID(id)); err != nil {
		return reply{}, err
	}
	return s.deleted(x)
}

// A browsing is a place in a restore point and how it is looked at. It is what
// the token of a next page stands for.
type browsing struct {
	Key    backup.ItemKey `json:"k,omitempty"`
	Filter string         `json:"f,omitempty"`
	Order  string         `json:"o,omitempty"` // orderBy, or ours
	From   int64          `json:"n,omitempty"` // the place of the page's first item; 0 for the first page
	Tree   string         `json:"t,omitempty"` // that places are of, where From is one
	Size   int            `json:"s,omitempty"` // of a page, where it was asked for
}

// ourOrder is the member of a browse request that asks for an order which orderBy has no word for.
const ourOrder = "@holdfast.orderBy"

// browse serves browseSessionBase: browse, its first page.
func (s *Server) browse(x *exchange) (reply, error) {
	at, resource, err := parseBrowse(x.body)
	b, err2 := s.browseSession(x)
	switch {
	case err2 != nil: // that there is no such session comes first
		return reply{}, err2
	case err != nil:
		return reply{}, err
	}
	return s.browsePage(x, b, at, resource)
}

// browseOn serves the other pages, by their tokens.
func (s *Server) browseOn(x *exchange) (reply, error) {
	o := odata.Options{SkipToken: x.r.PathValue("nextFetchToken")}
	if o.SkipToken == "" {
		o.SkipToken = x.options.SkipToken
	}
	b, err := s.browseSession(x)
	if err != nil {
		return reply{}, err
	}
	if o.SkipToken == "" {
		return reply{}, backup.Fail(backup.InvalidRequest, "To begin browsing, send POST. GET goes on from the @odata.nextLink of an answer.").On("$skiptoken")
	}
	text, err := s.tokens.Open(string(x.tenant()), browsePath(b.ID), o)
	if err != nil {
		return reply{}, err
	}
	var at browsing
	if err := json.Unmarshal([]byte(text), &at); err != nil {
		return reply{}, err
	}
	return s.browsePage(x, b, at, "")
}

// browsePath is what tokens of a browse session are bound to, however it is
// addressed.
func browsePath(id browseID) string { return "/" + browseSet + "/" + string(id) + "/browse" }

func parseBrowse(o *odata.Object) (at browsing, resource string, err error) {
	if o == nil {
		return at, "", nil
	}
	text, given, err := o.String("browseLocationItemKey")
	if err != nil {
		return at, "", err
	}
	if given && text != "" {
		ok := false
		if at.Key, ok = backup.ParseItemKey(text); !ok {
			return at, "", unknownKey()
		}
	}
	if resource, err = choice(o, "browseResourceType", "none", "site", "documentLibrary", "folder"); err != nil {
		return at, "", err
	}
	if at.Order, err = choice(o, "orderBy", "pathAsc", "pathDsc", "nameAsc", "nameDsc"); err != nil {
		return at, "", err
	}
	ours, err := choice(o, ourOrder, "sizeAsc", "sizeDsc", "lastModifiedDateTimeAsc", "lastModifiedDateTimeDsc")
	switch {
	case err != nil:
		return at, "", err
	case ours != "" && at.Order != "":
		return at, "", backup.Fail(backup.InvalidRequest, "Items come in one order: send either orderBy or "+ourOrder+".").On(ourOrder)
	}
	at.Order += ours
	if at.Filter, _, err = o.String("filter"); err != nil {
		return at, "", err
	}
	_, err = odata.ParseNameFilter(at.Filter)
	return at, resource, err
}

// choice returns a member that is one of values, in any case, or "" for one
// that is absent or null.
func choice(o *odata.Object, name string, values ...string) (string, error) {
	v, ok, err := o.String(name)
	if err != nil || !ok {
		return "", err
	}
	for _, known := range values {
		if strings.EqualFold(v, known) {
			return known, nil
		}
	}
	return "", backup.Fail(backup.InvalidRequest, "The member '"+name+"' must be one of "+strings.Join(values, ", ")+".").On(name)
}

func unknownKey() error {
	return backup.Fail(backup.InvalidRequest, "The restore point holds nothing of that key. Keys are those of items that browsing this session shows.").On("browseLocationItemKey")
}

// browsePage answers with one page of what is at a place.
func (s *Server) browsePage(x *exchange, b backup.BrowseSession, at browsing, resource string) (reply, error) {
	if err := b.Browsable(); err != nil {
		return reply{}, err
	}
	items, is, err := s.itemsAt(x, b, at.Key)
	if err != nil {
		return reply{}, err
	}
	if resource != "" && resource != "none" && resource != is {
		return reply{}, backup.Fail(backup.InvalidRequest, "The browseResourceType is not that of the location, which is a "+is+".").On("browseResourceType")
	}
	if at.From > 0 && at.Tree != b.Point.Tree {
		return reply{}, backup.Fail(backup.InvalidRequest, "What the restore point holds was written anew since the page before. Browse this place from its first page.").On("$skiptoken")
	}
	filter, err := odata.ParseNameFilter(at.Filter)
	if err != nil {
		return reply{}, err
	}
	at.Size = cmp.Or(x.prefer.PageSize, at.Size)
	size := cmp.Or(at.Size, backup.BrowsePage)
	page, err := pageOf(items, at.From, size+1, filter.Match, comparing(at.Order))
	if err != nil {
		return reply{}, err
	}
	next := ""
	if len(page) > size {
		at.From, at.Tree, page = page[size].At, b.Point.Tree, page[:size]
		text, err := json.Marshal(at)
		if err != nil {
			return reply{}, err
		}
		token := s.tokens.Seal(string(x.tenant()), browsePath(b.ID), odata.Options{}, string(text))
		set, _, _ := strings.Cut(x.route.path, "/")
		next = x.base + "/" + root + "/" + set + "/" + string(b.ID) + "/browse?$skiptoken=" + url.QueryEscape(token)
	}
	views := make([]odata.Entity, len(page))
	for i, item := range page {
		views[i] = item.view(b)
	}
	body, err := x.form().Collection(x.base+"/$metadata#Collection(microsoft.graph.browseQueryResponseItem)", int64(len(views)), next, views)
	return reply{status: http.StatusOK, body: body, paged: true}, err
}

// readContent serves holdfast.content, a function of ours on a browse session:
// the bytes of a file, by its key.
func (s *Server) readContent(x *exchange) (reply, error) {
	b, err := s.browseSession(x)
	if err != nil {
		return reply{}, err
	}
	if err := b.Browsable(); err != nil {
		return reply{}, err
	}
	none := backup.Fail(backup.ItemNotFound, "The restore point holds no file of that key. Keys are those of files that browsing this session shows.").On("itemKey")
	key, ok := backup.ParseItemKey(x.r.PathValue("itemKey"))
	if !ok {
		return reply{}, none
	}
	ref, ok := key.Below(backup.LibraryKey(b.Tenant, b.Point.Drive))
	if !ok {
		return reply{}, none
	}
	catalog.AuditedUnits(x.ctx(), b.Point.Unit)
	item, err := s.cfg.Browser.Item(x.ctx(), b.Point, ref)
	if isUnknown(err) || err == nil && item.Kind != backup.File {
		return reply{}, none
	}
	if err != nil {
		return reply{}, err
	}
	x.named = item.Path
	content, err := s.cfg.Browser.Open(x.ctx(), b.Point, item.ID)
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusOK, stream: content, name: item.Name}, nil
}

// A shown is an item as browsing shows it. Those of a folder, which may be very many, have no key
// and no address before they are viewed.
type shown struct {
	backup.Item
	key    backup.ItemKey
	webURL string
	kind   string
}

// view shows a browseQueryResponseItem of a session.
func (i shown) view(b backup.BrowseSession) odata.Entity {
	if i.key == "" {
		i.key, i.webURL = backup.KeyOf(b.Tenant, b.Point.Drive, i.ID), backup.WebURL(b.WebURL, i.Path)
	}
	var e odata.Entity
	e.Add("itemKey", i.key)
	e.Add("name", i.Name)
	e.Add("webUrl", i.webURL)
	e.Add("type", i.kind)
	if i.kind == "site" { // has neither number, as documented
		return e
	}
	if i.kind != "file" {
		e.Add("itemsCount", min(i.Items, 1<<31-1))
	}
	e.Add("sizeInBytes", strconv.FormatInt(i.Size, 10))
	addTime(&e, "@holdfast.createdDateTime", i.Created)
	addTime(&e, "@holdfast.lastModifiedDateTime", i.Modified)
	return e
}

// itemsFrom yields what is at a place, from the place of one of its items on, or all from 0 on.
type itemsFrom func(from int64) iter.Seq2[shown, error]

// only is of a place where there is one item.
func only(item shown) itemsFrom {
	return func(int64) iter.Seq2[shown, error] {
		return func(yield func(shown, error) bool) { yield(item, nil) }
	}
}

// itemsAt returns what is at a place, and of which kind that is. Above a drive's
// root folder there is nothing but its library; a site is the folder of its
// libraries.
func (s *Server) itemsAt(x *exchange, b backup.BrowseSession, k backup.ItemKey) (items itemsFrom, is string, err error) {
	library, site := backup.LibraryKey(b.Tenant, b.Point.Drive), backup.SiteKey(b.Tenant, b.Point.Drive)
	ofSite := wordsOf(b.Workload).libraries
	if k == "" || k == site && !ofSite {
		item, err := s.cfg.Browser.Item(x.ctx(), b.Point, backup.ItemRef{})
		if err != nil {
			return nil, "", err
		}
		if ofSite {
			item.Name = siteName(b.WebURL)
			return only(shown{Item: item, key: site, webURL: b.WebURL, kind: "site"}), "none", nil
		}
		item.Name = libraryName(b.WebURL)
		return only(shown{Item: item, key: library, webURL: b.WebURL, kind: "documentLibrary"}), "site", nil
	}
	var ref backup.ItemRef
	switch {
	case ofSite && k == site:
		is = "site"
	case !ofSite && k == library:
		is = "documentLibrary"
	default:
		var ok bool
		if ref, ok = k.Below(library); !ok {
			return nil, "", unknownKey()
		}
		is = "folder"
	}
	at, err := s.cfg.Browser.Item(x.ctx(), b.Point, ref)
	if isUnknown(err) || err == nil && at.Kind != backup.Folder {
		return nil, "", unknownKey()
	}
	if err != nil {
		return nil, "", err
	}
	if ofSite && at.Parent == backup.ItemID(b.Point.Drive) {
		is = "documentLibrary"
	}
	return func(from int64) iter.Seq2[shown, error] {
		return func(yield func(shown, error) bool) {
			for item, err := range s.cfg.Browser.Children(x.ctx(), b.Point, at.ID, from) {
				i := shown{Item: item, kind: string(item.Kind)}
				if is == "site" {
					i.kind = "documentLibrary"
				}
				if !yield(i, err) {
					return
				}
			}
		}
	}, is, nil
}

// pageOf returns the items that a name filter lets through from that at a place on, at most so
// many, in an order; nil is that in which they come: folders first, each kind by name. In any
// other all must be looked at for each page, but no more is kept of them than that.
func pageOf(items itemsFrom, from int64, most int, match func(name string) bool, compare func(a, b *shown) int) (page []shown, err error) {
	if compare == nil {
		for item, err := range items(from) {
			if err != nil {
				return nil, err
			}
			if !match(item.Name) {
				continue
			}
			if page = append(page, item); len(page) == most {
				break
			}
		}
		return page, nil
	}
	var first *shown
	if from > 0 {
		for item, err := range items(from) {
			if err != nil {
				return nil, err
			}
			first = &item
			break
		}
	}
	sort := func() {
		slices.SortFunc(page, func(a, b shown) int { return compare(&a, &b) })
		page = page[:min(most, len(page))]
	}
	for item, err := range items(0) {
		if err != nil {
			return nil, err
		}
		if !match(item.Name) || first != nil && compare(&item, first) < 0 {
			continue
		}
		if page = append(page, item); len(page) == 2*most {
			sort()
		}
	}
	sort()
	return page, nil
}

// comparing returns how items compare in the order that was asked for, nil for that in which
// they come. What is equal stays in that, either way.
func comparing(by string) func(a, b *shown) int {
	compare := map[string]func(a, b *shown) int{
		"path":                 func(a, b *shown) int { return strings.Compare(a.Path, b.Path) },
		"name":                 func(a, b *shown) int { return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)) },
		"size":                 func(a, b *shown) int { return cmp.Compare(a.Size, b.Size) },
		"lastModifiedDateTime": func(a, b *shown) int { return a.Modified.Compare(b.Modified) },
	}[strings.TrimSuffix(strings.TrimSuffix(by, "Asc"), "Dsc")]
	if compare == nil {
		return nil
	}
	return func(a, b *shown) int {
		c := compare(a, b)
		if strings.HasSuffix(by, "Dsc") {
			c = -c
		}
		return cmp.Or(c, cmp.Compare(a.At, b.At))
	}
}

// siteName is what a site is called in its address, by its host if it is that of
// the root.
func siteName(webURL string) string {
	u, err := url.Parse(webURL)
	if err != nil {
		return webURL
	}
	name := strings.TrimRight(u.Path, "/")
	return cmp.Or(name[strings.LastIndexByte(name, '/')+1:], u.Host)
}

// libraryName is what the library of a drive is called in its address.
func libraryName(webURL string) string {
	u, err := url.Parse(webURL)
	if err != nil {
		return "Documents"
	}
	name := strings.TrimRight(u.Path, "/")
	if name = name[strings.LastIndexByte(name, '/')+1:]; name == "" {
		return "Documents"
	}
	return name
}
