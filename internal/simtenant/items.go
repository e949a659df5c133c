package simtenant

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/text/unicode/norm"
)

type parentReference struct {
	DriveID   string `json:"driveId"`
	DriveType string `json:"driveType"`
	ID        string `json:"id,omitempty"`
	Name      string `json:"name,omitempty"`
	Path      string `json:"path,omitempty"`
	SiteID    string `json:"siteId,omitempty"`
}

type timesView struct {
	Created  string `json:"createdDateTime"`
	Modified string `json:"lastModifiedDateTime"`
}

type fileView struct {
	MimeType string            `json:"mimeType,omitempty"`
	Hashes   map[string]string `json:"hashes,omitzero"`
}

type folderView struct {
	ChildCount int `json:"childCount"`
}

type itemView struct {
	Context        string           `json:"@odata.context,omitempty"`
	DownloadURL    string           `json:"@microsoft.graph.downloadUrl,omitempty"`
	SharedChanged  string           `json:"@microsoft.graph.sharedChanged,omitempty"`
	ID             string           `json:"id"`
	Name           string           `json:"name,omitempty"`
	Size           *int64           `json:"size,omitempty"`
	ETag           string           `json:"eTag,omitempty"`
	CTag           string           `json:"cTag,omitempty"`
	WebURL         string           `json:"webUrl,omitempty"`
	Created        string           `json:"createdDateTime,omitempty"`
	Modified       string           `json:"lastModifiedDateTime,omitempty"`
	CreatedBy      *identityView    `json:"createdBy,omitempty"`
	LastModifiedBy *identityView    `json:"lastModifiedBy,omitempty"`
	Parent         *parentReference `json:"parentReference,omitempty"`
	FileSystemInfo *timesView       `json:"fileSystemInfo,omitempty"`
	File           *fileView        `json:"file,omitempty"`
	Folder         *folderView      `json:"folder,omitempty"`
	SpecialFolder  *specialView     `json:"specialFolder,omitempty"`
	Root           *struct{}        `json:"root,omitempty"`
	Deleted        *deletedView     `json:"deleted,omitempty"`
	Shared         *sharedView      `json:"shared,omitempty"`
	SharePointIDs  *sharepointIDs   `json:"sharepointIds,omitempty"`
	Publication    *publicationView `json:"publication,omitempty"`
}

type specialView struct {
	Name string `json:"name"`
}

type deletedView struct {
	State string `json:"state"`
}

// viewer writes items of one drive for one request.
type viewer struct {
	d        *drive
	driveID  string
	siteID   string
	url      string
	owner    *identityView
	names    map[string]bool    // selected; nil is all
	download func(*item) string // makes a URL
	opts     Options
	delta    bool

	hierarchical bool  // only items with shares of their own have the facet
	reshared     int64 // files whose sharing changed after that are marked; 0 marks none
}

func (s *Service) viewer(r *request, d *drive) *viewer {
	id := d.place.id()
	owner := d.place.owner()
	return &viewer{
		d: d, driveID: id, siteID: d.place.fullID(), url: d.place.url(), owner: &owner,
		names: selected(r.query), opts: s.faults.options(),
		download: func(it *item) string { return s.downloadURL(r.Request, r.base, d.place, it) },
	}
}

// wantsURL reports whether files are to carry download URLs. In a delta they
// do only on demand.
func (v *viewer) wantsURL() bool {
	return v.names == nil && !v.delta || v.names["@microsoft.graph.downloadurl"] || v.names["content.downloadurl"]
}

// only leaves out what was not selected.
func (v *itemView) only(names map[string]bool) {
	if names == nil {
		return
	}
	drop(names["name"], &v.Name)
	drop(names["size"], &v.Size)
	drop(names["etag"], &v.ETag)
	drop(names["ctag"], &v.CTag)
	drop(names["weburl"], &v.WebURL)
	drop(names["createddatetime"], &v.Created)
	drop(names["lastmodifieddatetime"], &v.Modified)
	drop(names["createdby"], &v.CreatedBy)
	drop(names["lastmodifiedby"], &v.LastModifiedBy)
	drop(names["parentreference"], &v.Parent)
	drop(names["filesysteminfo"], &v.FileSystemInfo)
	drop(names["file"], &v.File)
	drop(names["folder"], &v.Folder)
	drop(names["specialfolder"], &v.SpecialFolder)
	drop(names["root"], &v.Root)
	drop(names["deleted"], &v.Deleted)
	drop(names["shared"], &v.Shared)
}

// drop empties a member that is not kept.
func drop[T any](keep bool, member *T) {
	if !keep {
		*member = *new(T)
	}
}

func (it *item) eTag() string { return `"{` + it.guid() + `},` + strconv.Itoa(int(it.etag)) + `"` }

// cTag changes with the content. Folders have none, nor has a file whose
// content could not be read yet.
func (it *item) cTag() string {
	if it.kind != isFile || it.ctag == 0 {
		return ""
	}
	return `"c:{` + it.guid() + `},` + strconv.Itoa(int(it.ctag)) + `"`
}

// escapePath encodes each name of a path for a URL.
func escapePath(p string) string {
	names := strings.Split(p, "/")
	for i, name := range names {
		names[i] = url.PathEscape(name)
	}
	return strings.Join(names, "/")
}

// misstated is the hash of no file, nearly.
const misstated = "AQIDBAUGBwgJCgsMDQ4PEBESExQ="

func (v *viewer) view(it *item) *itemView {
	p := v.d.place
	if it.gone {
		out := &itemView{
			ID: it.id, Size: new(int64(0)), Deleted: &deletedView{"deleted"},
			Parent: &parentReference{DriveID: v.driveID, DriveType: p.driveType(), ID: it.from},
		}
		switch {
		case v.opts.BareTombstones:
		case it.kind == isFolder:
			out.Folder = &folderView{}
		case it.kind == isFile:
			out.File = &fileView{}
		}
		out.only(v.names)
		return out
	}
	out := &itemView{
		ID: it.id, Name: it.name, Size: new(it.size), ETag: it.eTag(), CTag: it.cTag(), WebURL: v.url,
		Created: it.created.stamp(), Modified: stamp(it.noticed), CreatedBy: v.owner, LastModifiedBy: v.owner,
		Parent:         &parentReference{DriveID: v.driveID, DriveType: p.driveType(), SiteID: v.siteID},
		FileSystemInfo: &timesView{it.created.stamp(), it.mtime.stamp()},
	}
	if it.parent == nil {
		out.Root = &struct{}{}
	} else {
		where := it.parent.path()
		out.Parent.ID, out.Parent.Name = it.parent.id, it.parent.name
		out.Parent.Path = "/drives/" + v.driveID + "/root:"
		if where != "." {
			where = escapePath(where)
			out.Parent.Path += "/" + where
			out.WebURL += "/" + where
		}
		out.WebURL += "/" + url.PathEscape(it.name)
		if v.delta && v.opts.OmitPath {
			out.Parent.Path = ""
		}
	}
	if v.delta && v.opts.OmitCTag {
		out.CTag = ""
	}
	switch it.kind {
	case isFolder:
		out.Folder, out.SpecialFolder = &folderView{len(it.children)}, p.specialFacet(it)
	case isFile:
		out.File = &fileView{MimeType: mimeType(it.name), Hashes: map[string]string{}}
		hash := it.hash
		if v.opts.Misstate != "" && strings.HasSuffix(it.name, v.opts.Misstate) {
			out.Size = new(it.size / 2)
			hash = misstated
		}
		if hash != "" && !v.opts.OmitHash {
			out.File.Hashes["quickXorHash"] = hash
		}
		if v.wantsURL() {
			out.DownloadURL = v.download(it)
		}
	}
	out.Shared = v.sharedView(it)
	if v.reshared > 0 && it.kind == isFile && it.sharing != nil && it.sharing.seq > v.reshared {
		out.SharedChanged = "True"
	}
	if v.names["sharepointids"] {
		ids := p.sharepointIDs()
		ids.ListItemUniqueID = strings.ToLower(it.guid())
		out.SharePointIDs = &ids
	}
	if v.names["publication"] && it.kind == isFile {
		out.Publication = it.publication(p.tenant)
	}
	out.only(v.names)
	return out
}

// mimeType guesses from the name, as the service does.
func mimeType(name string) string {
	if t, _, err := mime.ParseMediaType(mime.TypeByExtension(strings.ToLower(path.Ext(name)))); err == nil {
		return t
	}
	return "application/octet-stream"
}

// fold makes names equal that differ only in case or in Unicode's spelling.
func fold(name string) string { return strings.ToLower(norm.NFC.String(name)) }

// base is the item that an address starts from.
func (d *drive) base(t target) (*item, error) {
	if t.id == "" {
		return d.root, nil
	}
	it := d.items[t.id]
	if it == nil || it.gone {
		return nil, noItem()
	}
	return it, nil
}

// find returns the item that an address names, up to date.
func (d *drive) find(ctx context.Context, t target) (*item, error) {
	return d.findTo(ctx, t, true)
}

// findTo is find; of a folder, what is in it counts only when inside is set.
func (d *drive) findTo(ctx context.Context, t target, inside bool) (*item, error) {
	it, err := d.base(t)
	if err != nil {
		return nil, err
	}
	for _, name := range t.path {
		if it, err = d.step(ctx, it, name); err != nil {
			return nil, err
		}
	}
	if err := d.visit(ctx, it, inside); err != nil {
		return nil, err
	}
	return it, nil
}

// step goes down by one name. The exact name comes before one that differs in
// case.
func (d *drive) step(ctx context.Context, folder *item, name string) (*item, error) {
	it, err := d.child(ctx, folder, name)
	if e, ok := errors.AsType[*refusal](err); ok && e.status == http.StatusConflict {
		return nil, noItem() // a link, a device: not shown
	}
	if it != nil || err != nil {
		return it, err
	}
	want := fold(name)
	for have, it := range folder.children {
		if fold(have) == want {
			return it, nil
		}
	}
	return nil, noItem()
}

// child returns what lies in folder under this name: nil if nothing does, an
// error if it is nothing that a drive shows.
func (d *drive) child(ctx context.Context, folder *item, name string) (*item, error) {
	it, err := d.spelt(ctx, folder, name)
	if it != nil || err != nil || !d.svc.faults.options().folds() {
		return it, err
	}
	for have, it := range folder.children {
		if fold(have) == fold(name) {
			return it, nil
		}
	}
	return nil, nil
}

// spelt is child by the very name.
func (d *drive) spelt(ctx context.Context, folder *item, name string) (*item, error) {
	if folder.kind != isFolder || folder.gone {
		return nil, noItem()
	}
	st, err := d.statChild(folder, name)
	missing := vanished(err)
	if err != nil && !missing {
		return nil, onDisk(fmt.Errorf("look up a name: %w", err))
	}
	known := folder.children[name]
	if missing == (known == nil) && (missing || known.kind == st.kind) {
		return known, nil
	}
	if err := d.scan(ctx); err != nil {
		return nil, err
	}
	known = folder.children[name]
	if known == nil && !missing {
		if st, err := d.statChild(folder, name); err == nil {
			// Some file systems find a file under other spellings of its name.
			for have, it := range folder.children {
				if it.inode == st.inode && fold(have) == fold(name) {
					return it, nil
				}
			}
			return nil, fail(http.StatusConflict, "nameAlreadyExists", "The name is that of something which is no file or folder of the drive.")
		}
	}
	return known, nil
}

// statChild looks at a name in a folder. Of what was made and is not on disk, it is
// what was made.
func (d *drive) statChild(folder *item, name string) (st stat, err error) {
	dir, err := d.openFolder(folder.path())
	if err == nil {
		defer dir.Close()
		st, err = statAt(dir, name)
	}
	if tooLong(err) {
		return st, fs.ErrNotExist
	}
	if known := folder.children[name]; known != nil && known.made > 0 && vanished(err) {
		return known.unreal(), nil
	}
	return st, err
}

func (s *Service) getItem(r *request, p place, t target) error {
	return s.on(r, p, func(d *drive) error {
		it, err := d.find(r.Context(), t)
		if err != nil {
			return err
		}
		s.answerItem(r, d, it, http.StatusOK)
		return nil
	})
}

// answerItem answers with an item as it now is.
func (s *Service) answerItem(r *request, d *drive, it *item, status int) {
	v := s.viewer(r, d).view(it)
	v.Context = r.base + "/$metadata#drives('" + url.PathEscape(d.place.id()) + "')/items/$entity"
	r.w.Header().Set("ETag", it.eTag())
	r.status, r.answer = status, v
}

// How many items a page of children or of a delta holds.
const (
	itemsPage    = 200
	itemsPageMax = 1000
)

// order is how a listing is sorted: by a key that is a text, and by name where
// that is the same.
type order struct {
	key  func(*item) string
	down bool
}

// orderOf reads $orderby.
func orderOf(text string) (order, error) {
	name, way, _ := strings.Cut(strings.TrimSpace(text), " ")
	o := order{down: strings.EqualFold(strings.TrimSpace(way), "desc")}
	switch strings.ToLower(name) {
	case "", "name":
		o.key = func(it *item) string { return it.name }
	case "size":
		o.key = func(it *item) string { return fmt.Sprintf("%020d", it.size) }
	case "lastmodifieddatetime":
		o.key = func(it *item) string { return fmt.Sprintf("%020d", it.noticed) }
	default:
		return o, badRequest("$orderby takes name, size or lastModifiedDateTime here, with or without asc or desc.").because("notSupported")
	}
	if !o.down && way != "" && !strings.EqualFold(strings.TrimSpace(way), "asc") {
		return o, badRequest("$orderby takes one property, with or without asc or desc.").because("notSupported")
	}
	return o, nil
}

// mark is an item's place in the order.
func (o order) mark(it *item) string { return o.key(it) + "\x00" + it.name }

func (o order) compare(a, b string) int {
	if o.down {
		a, b = b, a
	}
	return cmp.Compare(a, b)
}

// listChildren serves a folder page by page. It is no snapshot: what is renamed
// while it is read may be missed, as at the real service.
func (s *Service) listChildren(r *request, p place, t target) error {
	size, err := s.pageSize(r.query, itemsPage, itemsPageMax)
	if err != nil {
		return err
	}
	by, err := orderOf(option(r.query, "orderby"))
	if err != nil {
		return err
	}
	after, paging := "", false
	if token := option(r.query, "skiptoken"); token != "" {
		mark, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil {
			return badRequest("Invalid paging token.")
		}
		after, paging = string(mark), true
	}
	return s.on(r, p, func(d *drive) error {
		folder, err := d.find(r.Context(), t)
		if err != nil {
			return err
		}
		if folder.kind != isFolder {
			return fail(http.StatusNotFound, "itemNotFound", "A file has no children.")
		}
		type entry struct {
			mark string
			it   *item
		}
		var entries []entry
		var page []*item
		next := ""
		for range 3 {
			entries = entries[:0]
			for _, it := range folder.children {
				if mark := by.mark(it); !paging || by.compare(mark, after) > 0 {
					entries = append(entries, entry{mark, it})
				}
			}
			slices.SortFunc(entries, func(a, b entry) int { return by.compare(a.mark, b.mark) })
			next, page = "", page[:0]
			for _, e := range entries[:min(size, len(entries))] {
				page = append(page, e.it)
			}
			if len(entries) > size {
				next = base64.RawURLEncoding.EncodeToString([]byte(entries[size-1].mark))
			}
			again, err := d.recheck(r.Context(), folder, page)
			if err != nil {
				return err
			}
			if folder.gone {
				return noItem()
			}
			if !again {
				break
			}
		}
		page = slices.DeleteFunc(page, func(it *item) bool { return it.gone })
		if err := d.settle(r.Context(), page...); err != nil {
			return err
		}
		v := s.viewer(r, d)
		list := make([]any, 0, len(page))
		for _, it := range page {
			list = append(list, v.view(it))
		}
		out := map[string]any{
			"@odata.context": r.base + "/$metadata#drives('" + url.PathEscape(v.driveID) + "')/items('" + folder.id + "')/children",
			"value":          list,
		}
		if option(r.query, "count") != "" {
			out["@odata.count"] = len(folder.children)
		}
		if next != "" {
			out["@odata.nextLink"] = r.link("/drives/"+v.driveID+"/items/"+folder.id+"/children", "$skiptoken", next)
		}
		r.status, r.answer = http.StatusOK, out
		return nil
	})
}

// recheck looks at children of folder anew. It reports true if one was not as
// expected and the drive was scanned instead.
func (d *drive) recheck(ctx context.Context, folder *item, children []*item) (again bool, err error) {
	if len(children) == 0 {
		return false, nil
	}
	dir, err := d.openFolder(folder.path())
	if folder.made > 0 && vanished(err) {
		return false, nil
	}
	if err != nil {
		return true, d.scan(ctx)
	}
	defer dir.Close()
	var unsure []*item
	for _, it := range children {
		st, err := statAt(dir, it.name)
		if it.made > 0 && vanished(err) {
			continue
		}
		if err != nil || st.kind != it.kind || st.kind == isFolder && (st.mtime != it.mtime || it.unsure) {
			return true, d.scan(ctx)
		}
		if d.look(it, st) {
			unsure = append(unsure, it)
		}
	}
	return false, d.read(ctx, unsure)
}
