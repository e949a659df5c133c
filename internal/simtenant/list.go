package simtenant

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
)

// A list is a folder as a drive is, and the drive's knowledge of it is what the list
// is made of: its files keep the ids of the items that they are, and its log is that
// of the list's changes. The items of a library are its files and folders.

// How many items a page of a list holds, and from how many on a list may be filtered
// by indexed columns only.
const (
	listPage      = 200
	listPageMax   = 5000
	listThreshold = 5000
	maxLookups    = 12
)

func listRoutes() []Route {
	onList := func(serve func(*Service, *request, place) error) func(*Service, *request) error {
		return func(s *Service, r *request) error { return serve(s, r, r.place) }
	}
	onItems := func(serve func(*Service, *request, place) error) func(*Service, *request) error {
		return func(s *Service, r *request) error {
			if r.place.user != nil {
				return notSupported("the list items of personal sites")
			}
			return serve(s, r, r.place)
		}
	}
	const team = "Of personal sites."
	return append([]Route{
		{"GET", "{list}", "A list or library: its columns, contentTypes, items and drive by $expand.", "Views, forms, and who may see it.", "select expand", readFiles, onList((*Service).getList)},
		{"PATCH", "{list}", "Gives it another displayName or description.", team, "", manageSites, onList((*Service).patchList)},
		{"DELETE", "{list}", "Deletes it with its items.", team + " It is taken out of the recycle bin by hand.", "", manageSites, onList((*Service).deleteList)},
		{"GET", "{list}/columns", "The columns; hidden ones if $select names hidden.", "", ofOne, readSites, onItems((*Service).listColumns)},
		{"POST", "{list}/columns", "Adds a column.", team, "", manageSites, onItems((*Service).createColumn)},
		{"GET", "{list}/contentTypes", "The content types.", "Their columns.", ofOne, readSites, onItems((*Service).listContentTypes)},
		{"POST", "{list}/contentTypes", "Adds a content type.", team, "", manageSites, onItems((*Service).createContentType)},
		{"GET", "{list}/items", "The items page by page, with expand=fields(select=…); of libraries driveItem, too.", team + " Attachments. Of $filter only comparisons of fields and startswith, joined by and.", ofList + " expand filter", readSites, onItems((*Service).listListItems)},
		{"POST", "{list}/items", "Makes an item.", team + " Folders, and a library's files: they are uploaded.", "", writeSites, onItems((*Service).createListItem)},
		{"GET", "{list}/items/delta", "What changed in a list since a token, or all of it; with fields and driveItem by $expand.", team, ofList + " deltatoken expand", readSites, onItems((*Service).listDelta)},
		{"GET", "{list}/items/{listItem}", "An item, by its number.", team, "select expand", readSites, onItems((*Service).getListItem)},
		{"PATCH", "{list}/items/{listItem}", "Changes what fields holds.", team, "", writeSites, onItems((*Service).patchListItem)},
		{"DELETE", "{list}/items/{listItem}", "Deletes an item.", team, "", writeSites, onItems((*Service).deleteListItem)},
		{"GET", "{list}/items/{listItem}/fields", "An item's fields.", team, ofOne, readSites, onItems((*Service).getFields)},
		{"PATCH", "{list}/items/{listItem}/fields", "Changes them.", team, "", writeSites, onItems((*Service).patchFields)},
		{"GET", "{list}/items/{listItem}/driveItem", "The file or folder that an item of a library is.", team, ofOne, readFiles, onItems((*Service).getDriveItem)},
		{"GET", "{item}/listItem", "The item of the library's list that a file or folder is.", team, "select expand", readFiles, onItems((*Service).getListItemOf)},
		{"GET", "{item}/listItem/fields", "Its columns.", team, ofOne, readFiles, onItems((*Service).getFieldsOf)},
		{"PATCH", "{item}/listItem/fields", "Changes them.", team, "", writeFiles, onItems((*Service).patchFieldsOf)},
	}, listVersionRoutes(onItems)...)
}

// isListItem reports whether it, at its place, is an item of the list that p is.
func (p place) isListItem(it *item) bool {
	switch {
	case it.parent == nil:
		return false
	case p.in == listsPart:
		return it.kind == isFile && it.parent.parent == nil && strings.HasSuffix(it.name, ".json") && it.name != listJSON
	}
	return true
}

// list is a list for the time of a request.
type list struct {
	s *Service
	d *drive
	schema
}

// listed is an item of a list, as it was while its list was held.
type listed struct {
	item
	parent *item // of a library's: what is above it, if that is not the root
	raw    object
}

// onList runs fn on a list, which is brought up to date if fresh is set.
func (s *Service) onList(r *request, p place, fresh bool, fn func(*list) error) error {
	x := s.schemaOf(p)
	return s.with(p, func(d *drive) error {
		if fresh || d.scanned.IsZero() {
			if err := d.fresh(r.Context(), r.arrived); err != nil {
				return err
			}
		}
		return fn(&list{s, d, x})
	})
}

// find returns the item that a request names by its number.
func (l *list) find(ctx context.Context, text string) (*item, error) {
	unknown := fail(http.StatusNotFound, "itemNotFound", "There is no such item in the list.")
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return nil, unknown
	}
	it := l.d.numbers[int32(n)]
	if it == nil || it.gone {
		return nil, unknown
	}
	if err := l.d.visit(ctx, it, false); err != nil {
		return nil, err
	}
	if !l.d.place.isListItem(it) {
		return nil, unknown
	}
	return it, nil
}

// read takes down what an item is; it reports false if it is gone meanwhile.
func (l *list) read(it *item) (listed, bool) {
	out := listed{item: *it, raw: object{}}
	if l.d.place.in != listsPart {
		maps.Copy(out.raw, it.extra().columns)
		if it.parent != l.d.root {
			out.parent = it.parent
		}
		return out, true
	}
	f, err := l.d.openContent(it)
	if vanished(err) {
		return out, false
	}
	var data []byte
	if err == nil {
		data, err = io.ReadAll(io.LimitReader(f, maxTeamFile))
		f.Close()
	}
	if err == nil && json.Unmarshal(data, &out.raw) != nil || out.raw == nil {
		err = errors.New("it holds no JSON object")
		out.raw = object{}
	}
	if err != nil {
		l.d.warn(it.path(), "an item of a list cannot be read, and is shown without its fields", err)
	}
	return out, true
}

// lookups are the ids that an item has in a column of lookups.
func lookups(raw object, c column) (ids []int32) {
	v, ok := raw[c.name+"LookupId"]
	if !ok {
		return nil
	}
	all, ok := v.([]any)
	if !ok {
		all = []any{v}
	}
	for _, one := range all {
		if id, ok := lookupID(one); ok {
			ids = append(ids, id)
		}
	}
	return ids
}

// lookedUp finds what lookups show, by column and id. No list is held.
func (s *Service) lookedUp(r *request, p place, x *schema, items []listed, names map[string]bool) (map[string]map[int32]object, error) {
	out := map[string]map[int32]object{}
	for _, c := range x.columns {
		if !c.isLookup() || c.builtin || names != nil && !names[strings.ToLower(c.name)] || names == nil && !c.multiple {
			continue
		}
		want := map[int32]object{}
		for _, one := range items {
			for _, id := range lookups(one.raw, c) {
				want[id] = nil
			}
		}
		out[c.name] = want
		if len(want) == 0 {
			continue
		}
		if c.facet == "personOrGroup" {
			for i := range p.tenant.Users {
				u := &p.tenant.Users[i]
				if id, _ := lookupID(siteUserID(u)); id > 0 {
					if _, ok := want[id]; ok {
						want[id] = object{"LookupId": id, "LookupValue": u.DisplayName, "Email": u.Mail}
					}
				}
			}
			continue
		}
		err := s.lookInto(r, p, c, func(l *list, id int32, it *item) {
			if _, ok := want[id]; ok {
				if other, ok := l.read(it); ok {
					want[id] = object{"LookupId": id, "LookupValue": other.raw[c.of]}
				}
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// lookInto runs fn on all items of the list that a lookup looks into. It is no error
// if there is none.
func (s *Service) lookInto(r *request, p place, c column, fn func(l *list, id int32, it *item)) error {
	other, err := s.placeByList(p.site, c.listID)
	if err == nil {
		err = s.onList(r, other, true, func(l *list) error {
			for id, it := range l.d.numbers {
				if !it.gone {
					fn(l, id, it)
				}
			}
			return nil
		})
	}
	if notFound(err) {
		return nil
	}
	return err
}

// checkThreshold refuses a look at more lookups than a list answers in one request.
func (x *schema) checkThreshold(names map[string]bool) error {
	n := 0
	for _, c := range x.columns {
		if c.isLookup() && !c.builtin && (names == nil || names[strings.ToLower(c.name)] || names[strings.ToLower(c.name)+"lookupid"]) {
			n++
		}
	}
	if n > maxLookups {
		return badRequest(fmt.Sprintf("The query cannot be completed because the number of lookup columns it contains, %d, exceeds the lookup column threshold of %d.", n, maxLookups)).because("lookupColumnThresholdExceeded")
	}
	return nil
}

// fieldsOf is what the wire tells of an item's fields.
func (x *schema) fieldsOf(p place, one *listed, names map[string]bool, shown map[string]map[int32]object) object {
	f := object{
		"id": strconv.Itoa(int(one.num)), "ContentType": x.typeOf(one)["name"], "Created": one.created.stamp(), "Modified": stamp(one.noticed),
		"AuthorLookupId": "1073741823", "EditorLookupId": "1073741823", "_UIVersionString": versionID(one.etag), "Attachments": false, "Edit": "",
		"ItemChildCount": "0", "FolderChildCount": "0",
	}
	if p.in != listsPart {
		f["FileLeafRef"], f["FileSizeDisplay"], f["DocIcon"] = one.name, strconv.FormatInt(one.size, 10), strings.TrimPrefix(path.Ext(one.name), ".")
	}
	for k, v := range one.raw {
		base, lookup := strings.CutSuffix(k, "LookupId")
		c, known := x.column(k)
		if lookup {
			if c, known = x.column(base); known && !c.builtin && c.isLookup() {
				continue
			}
		}
		if known && c.readOnly && c.builtin || strings.Contains(k, "@") || k == "id" {
			continue // nobody says what they are but the list itself
		}
		f[k] = v
	}
	for _, c := range x.columns {
		if !c.isLookup() || c.builtin {
			continue
		}
		ids := lookups(one.raw, c)
		if len(ids) == 0 {
			continue
		}
		values := []any{}
		for _, id := range ids {
			if v := shown[c.name][id]; v != nil {
				values = append(values, v)
			}
		}
		switch asked := names[strings.ToLower(c.name)]; {
		case c.multiple:
			f[c.name] = values
		default:
			f[c.name+"LookupId"] = strconv.Itoa(int(ids[0]))
			if asked && len(values) > 0 {
				f[c.name] = values[0].(object)["LookupValue"]
				if c.facet == "personOrGroup" {
					f[c.name] = values[0]
				}
			}
		}
	}
	if title, ok := f["Title"].(string); ok {
		f["LinkTitle"], f["LinkTitleNoMenu"] = title, title
	}
	if names != nil {
		for k := range f {
			// The id of a lookup comes with it.
			if low := strings.ToLower(k); !names[low] && k != "id" && !names[strings.TrimSuffix(low, "lookupid")] {
				delete(f, k)
			}
		}
	}
	f["@odata.etag"] = one.eTag()
	return f
}

// typeOf is the content type that an item is of.
func (x *schema) typeOf(one *listed) object {
	if one.kind == isFolder {
		return object{"id": "0x0120", "name": "Folder"}
	}
	name, _ := one.raw["ContentType"].(string)
	for _, t := range x.types {
		if t["name"] == name {
			return object{"id": t["id"], "name": t["name"]}
		}
	}
	return object{"id": x.types[0]["id"], "name": x.types[0]["name"]}
}

// itemView is what the wire tells of an item.
func (x *schema) itemView(p place, one *listed) object {
	v := object{
		"@odata.etag": one.eTag(), "id": strconv.Itoa(int(one.num)), "eTag": one.eTag(), "createdDateTime": one.created.stamp(), "lastModifiedDateTime": stamp(one.noticed),
		"webUrl": p.url() + "/" + strconv.Itoa(int(one.num)) + "_.000", "createdBy": p.owner(), "lastModifiedBy": p.owner(),
		"parentReference": object{"id": guidText(p.list()), "siteId": p.fullID()}, "contentType": x.typeOf(one),
	}
	if by := p.tenant.identityBy(one.extra().maker); by != nil {
		if by.Application != nil {
			by.User = object{"displayName": "SharePoint App"}
		}
		v["createdBy"], v["lastModifiedBy"] = by, by
	}
	if p.in != listsPart {
		where := escapePath(p.library)
		parent := object{"id": guidText(p.list()), "siteId": p.fullID(), "path": where}
		if one.parent != nil {
			below := escapePath(one.parent.path())
			parent["id"], parent["path"] = strings.ToLower(one.parent.guid()), where+"/"+below
			v["webUrl"] = p.url() + "/" + below + "/" + escapePath(one.name)
		} else {
			v["webUrl"] = p.url() + "/" + escapePath(one.name)
		}
		v["parentReference"] = parent
	}
	return v
}

// wantedOf reads what a request for items wants of their fields.
func (x *schema) wantedOf(r *request) (names map[string]bool, expand bool, err error) {
	all, err := expanded(option(r.query, "expand"))
	if err != nil {
		return nil, false, err
	}
	if err := onlyExpand(all, "fields", "driveitem"); err != nil {
		return nil, false, err
	}
	fields, expand := all["fields"]
	if expand {
		err = x.checkThreshold(fields.selected)
	}
	return fields.selected, expand, err
}

// itemViews are what the wire tells of items. No list is held.
func (s *Service) itemViews(r *request, p place, x *schema, items []listed, names map[string]bool, expand bool) ([]any, error) {
	var shown map[string]map[int32]object
	if expand {
		var err error
		if shown, err = s.lookedUp(r, p, x, items, names); err != nil {
			return nil, err
		}
	}
	list := make([]any, 0, len(items))
	wanted, err := expanded(option(r.query, "expand"))
	if err != nil {
		return nil, err
	}
	file, files := wanted["driveitem"]
	for i := range items {
		v := x.itemView(p, &items[i])
		own := selected(r.query)
		if files && p.in != listsPart {
			v["driveItem"] = project(driveItemView(p, &items[i], v), file.selected)
			if own != nil {
				own["driveitem"] = true
			}
		}
		if expand {
			v["fields"] = x.fieldsOf(p, &items[i], names, shown)
			if own != nil {
				own["fields"] = true
			}
		}
		list = append(list, project(v, own))
	}
	return list, nil
}

// driveItemView is what an item of a library tells of the file or folder that it is, whose
// own view is v.
func driveItemView(p place, one *listed, v object) object {
	file := object{
		"id": one.id, "name": one.name, "size": one.size, "eTag": one.eTag(), "webUrl": v["webUrl"], "createdDateTime": v["createdDateTime"],
		"lastModifiedDateTime": v["lastModifiedDateTime"], "parentReference": object{"driveId": p.id(), "driveType": p.driveType(), "siteId": p.fullID()},
	}
	if tag := one.cTag(); tag != "" {
		file["cTag"] = tag
	}
	return file
}

func itemsContext(r *request, p place) string {
	return r.base + "/$metadata#sites('" + p.fullID() + "')/lists('" + guidText(p.list()) + "')/items"
}

func listAddress(p place) string { return "/sites/" + p.fullID() + "/lists/" + guidText(p.list()) }

// listListItems serves a list page by page, in the order of the items' numbers.
func (s *Service) listListItems(r *request, p place) error {
	size, err := s.pageSize(r.query, listPage, listPageMax)
	if err != nil {
		return err
	}
	after := 0
	if token := option(r.query, "skiptoken"); token != "" {
		if after, err = strconv.Atoi(token); err != nil || after < 0 {
			return badRequest("Invalid paging token.")
		}
	}
	var x schema
	var items []listed
	var names map[string]bool
	var expand, more bool
	err = s.onList(r, p, after == 0, func(l *list) (err error) {
		x = l.schema
		if names, expand, err = x.wantedOf(r); err != nil {
			return err
		}
		keep, err := l.filter(r)
		if err != nil {
			return err
		}
		var all []*item
		for n, it := range l.d.numbers {
			if int(n) > after && !it.gone && p.isListItem(it) {
				all = append(all, it)
			}
		}
		slices.SortFunc(all, func(a, b *item) int { return cmp.Compare(a.num, b.num) })
		for len(all) > 0 && len(items) <= size {
			n := min(len(all), size+1-len(items))
			if err := l.d.settle(r.Context(), all[:n]...); err != nil {
				return err
			}
			for _, it := range all[:n] {
				if it.gone {
					continue
				}
				if one, ok := l.read(it); ok && keep(&one) {
					items = append(items, one)
				}
			}
			all = all[n:]
		}
		if more = len(items) > size; more {
			items = items[:size]
		}
		return nil
	})
	if err != nil {
		return err
	}
	list, err := s.itemViews(r, p, &x, items, names, expand)
	if err != nil {
		return err
	}
	out := object{"@odata.context": itemsContext(r, p), "value": list}
	if more {
		out["@odata.nextLink"] = r.link(listAddress(p)+"/items", "$skiptoken", strconv.Itoa(int(items[len(items)-1].num)))
	}
	return replyGraph(r.w, http.StatusOK, out)
}

// listDelta tells the changes of a list since a token.
func (s *Service) listDelta(r *request, p place) error {
	size, err := s.pageSize(r.query, listPage, listPageMax)
	if err != nil {
		return err
	}
	opts := s.faults.options()
	here := listAddress(p) + "/items/delta"
	out := object{"@odata.context": r.base + "/$metadata#Collection(listItem)"}
	var x schema
	var items []listed
	var gone []any
	var names map[string]bool
	var expand bool
	err = s.onList(r, p, false, func(l *list) (err error) {
		x = l.schema
		if names, expand, err = x.wantedOf(r); err != nil {
			return err
		}
		c, err := l.d.cursor(r.Context(), r, deltaToken(r), here)
		if err != nil {
			return err
		}
		page, more, err := l.d.nextPage(r.Context(), &c, size)
		if err != nil {
			return err
		}
		for _, it := range page {
			if it.num == 0 {
				continue // the list itself, or what is no item
			}
			if one, ok := l.read(it); !it.gone && ok && p.isListItem(it) {
				items = append(items, one)
				continue
			}
			name := "Item"
			if p.in != listsPart {
				name = "Document"
			}
			gone = append(gone, object{
				"id": strconv.Itoa(int(it.num)), "parentReference": object{"siteId": p.fullID()},
				"contentType": object{"id": x.types[0]["id"], "name": name}, "deleted": object{"state": "deleted"},
			})
		}
		c.link(r, out, here, more, opts.EmptyPages && len(page) > 0)
		return nil
	})
	if err != nil {
		return err
	}
	list, err := s.itemViews(r, p, &x, items, names, expand)
	if err != nil {
		return err
	}
	for _, v := range list {
		if m, ok := v.(object); ok {
			delete(m, "lastModifiedBy") // as at the service
		}
	}
	if opts.Repeat && len(list) > 1 {
		list = append(list, list[0])
	}
	list = append(list, gone...)
	if opts.Shuffle {
		s.faults.shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	out["value"] = list
	return replyGraph(r.w, http.StatusOK, out)
}

// filter reads $filter: comparisons of fields, joined by and.
func (l *list) filter(r *request) (func(*listed) bool, error) {
	text := option(r.query, "filter")
	if text == "" {
		return func(*listed) bool { return true }, nil
	}
	wrong := badRequest("Of $filter, lists understand here: fields/NAME eq 'text' (or ne, lt, le, gt, ge, and numbers), and startswith(fields/NAME,'text'), joined by and.").because("notSupported")
	var terms []func(*listed) bool
	p := filterParser{rest: text}
	for {
		starts := p.keyword("startswith(")
		if !p.keyword("fields/") {
			return nil, wrong
		}
		end := strings.IndexAny(p.rest, " ,)")
		if end <= 0 {
			return nil, wrong
		}
		name := p.rest[:end]
		p.rest = p.rest[end:]
		c, known := l.column(name)
		if !known && l.strict {
			return nil, badRequest("Field '" + name + "' is not recognized.")
		}
		// What is not indexed is refused, but to who takes the risk.
		if !c.indexed {
			if !strings.Contains(strings.ToLower(r.Header.Get("Prefer")), "honornonindexedquerieswarningmayfailrandomly") {
				return nil, badRequest("Field '" + name + "' cannot be referenced in filter or orderby as it is not indexed. Provide the 'Prefer: HonorNonIndexedQueriesWarningMayFailRandomly' header to allow this, but be warned that such queries may fail on large lists.")
			}
			if len(l.d.items)-l.d.dead > listThreshold {
				return nil, badRequest("The attempted operation is prohibited because it exceeds the list view threshold.").because("listViewThresholdExceeded")
			}
		}
		op := "startswith"
		if starts {
			if !p.keyword(",") {
				return nil, wrong
			}
		} else {
			if op, p.rest, _ = strings.Cut(strings.TrimSpace(p.rest), " "); !slices.Contains([]string{"eq", "ne", "lt", "le", "gt", "ge"}, op) {
				return nil, wrong
			}
		}
		want := ""
		if strings.HasPrefix(strings.TrimSpace(p.rest), "'") {
			var ok bool
			if want, ok = p.text(); !ok {
				return nil, wrong
			}
		} else {
			want, p.rest, _ = strings.Cut(strings.TrimSpace(p.rest), " ")
		}
		if starts && !p.keyword(")") {
			return nil, wrong
		}
		terms = append(terms, func(one *listed) bool {
			return compares(op, l.fieldsOf(l.d.place, one, nil, nil)[c.nameOr(name)], want)
		})
		if p.rest = strings.TrimSpace(p.rest); p.rest == "" {
			break
		}
		if !p.keyword("and ") {
			return nil, wrong
		}
	}
	return func(one *listed) bool {
		return !slices.ContainsFunc(terms, func(term func(*listed) bool) bool { return !term(one) })
	}, nil
}

func (c column) nameOr(name string) string { return cmp.Or(c.name, name) }

// compares reports whether a field's value fits a term of a filter.
func compares(op string, have any, want string) bool {
	if have == nil {
		return op == "ne"
	}
	text := fmt.Sprint(have)
	by := cmp.Compare(strings.ToLower(text), strings.ToLower(want))
	if a, err := strconv.ParseFloat(text, 64); err == nil {
		if b, err := strconv.ParseFloat(want, 64); err == nil {
			by = cmp.Compare(a, b)
		}
	}
	switch op {
	case "eq":
		return by == 0
	case "ne":
		return by != 0
	case "lt":
		return by < 0
	case "le":
		return by <= 0
	case "gt":
		return by > 0
	case "ge":
		return by >= 0
	}
	return strings.HasPrefix(strings.ToLower(text), strings.ToLower(want))
}

// withItem reads one item: that of a number, or, of a library, that which t names.
func (s *Service) withItem(r *request, p place, fn func(l *list, it *item) error) (one listed, x schema, err error) {
	err = s.onList(r, p, false, func(l *list) (err error) {
		x = l.schema
		var it *item
		if text := r.vars["listItem"]; text != "" {
			it, err = l.find(r.Context(), text)
		} else if it, err = l.d.find(r.Context(), r.target); err == nil && it.parent == nil {
			err = noItem()
		}
		if err == nil {
			err = fn(l, it)
		}
		if err != nil {
			return err
		}
		var ok bool
		if one, ok = l.read(it); !ok {
			return noItem()
		}
		return nil
	})
	return one, x, err
}

func (s *Service) answerListItem(r *request, p place, one listed, x schema, status int) error {
	names, expand, err := x.wantedOf(r)
	if err != nil {
		return err
	}
	if r.Method != http.MethodGet {
		expand = true
	}
	list, err := s.itemViews(r, p, &x, []listed{one}, names, expand)
	if err != nil {
		return err
	}
	if v, ok := list[0].(object); ok {
		v["@odata.context"] = itemsContext(r, p) + "/$entity"
	}
	return replyGraph(r.w, status, list[0])
}

func (s *Service) answerFields(r *request, p place, one listed, x schema) error {
	names := selected(r.query)
	if err := x.checkThreshold(names); err != nil {
		return err
	}
	shown, err := s.lookedUp(r, p, &x, []listed{one}, names)
	if err != nil {
		return err
	}
	v := x.fieldsOf(p, &one, names, shown)
	v["@odata.context"] = itemsContext(r, p) + "('" + strconv.Itoa(int(one.num)) + "')/fields/$entity"
	return replyGraph(r.w, http.StatusOK, v)
}

func (s *Service) getListItem(r *request, p place) error {
	one, x, err := s.withItem(r, p, func(*list, *item) error { return nil })
	if err != nil {
		return err
	}
	return s.answerListItem(r, p, one, x, http.StatusOK)
}

func (s *Service) getListItemOf(r *request, p place) error { return s.getListItem(r, p) }

func (s *Service) getFields(r *request, p place) error {
	one, x, err := s.withItem(r, p, func(*list, *item) error { return nil })
	if err != nil {
		return err
	}
	return s.answerFields(r, p, one, x)
}

func (s *Service) getFieldsOf(r *request, p place) error { return s.getFields(r, p) }

// getDriveItem tells which file an item of a library is.
func (s *Service) getDriveItem(r *request, p place) error {
	if p.in == listsPart {
		return fail(http.StatusNotFound, "itemNotFound", "The list is no document library: its items are no files.")
	}
	return s.on(r, p, func(d *drive) error {
		it, err := (&list{s: s, d: d}).find(r.Context(), r.vars["listItem"])
		if err != nil {
			return err
		}
		s.answerItem(r, d, it, http.StatusOK)
		return nil
	})
}

// fields checks what a client wants fields to be, and that what its lookups name is
// there. No list is held.
func (s *Service) checkFields(r *request, p place, x *schema, fields object) error {
	for name, v := range fields {
		if strings.Contains(name, "@") {
			continue // says of what type a value is
		}
		c, ok := x.column(name)
		base, lookup := strings.CutSuffix(name, "LookupId")
		if !ok && lookup {
			c, ok = x.column(base)
			ok = ok && c.isLookup()
		}
		switch {
		case !ok && (x.strict || p.in != listsPart || strings.EqualFold(name, "id")):
			return badRequest("Field '" + name + "' is not recognized.")
		case !ok:
			continue
		case c.readOnly && c.name != "ContentType", c.name == "FileLeafRef":
			return badRequest("Field '" + name + "' is read-only.")
		}
		if err := c.checkField(name, v); err != nil {
			return err
		}
		if c.facet != "lookup" || v == nil {
			continue
		}
		missing := map[int32]bool{}
		for _, id := range lookups(object{c.name + "LookupId": v}, c) {
			missing[id] = true
		}
		err := s.lookInto(r, p, c, func(_ *list, id int32, _ *item) { delete(missing, id) })
		if err != nil {
			return err
		}
		for id := range missing {
			return badRequest(fmt.Sprintf("Field '%s' looks up the item %d, which is not there.", name, id))
		}
	}
	return nil
}

// merge puts fields into what an item holds.
func merge(raw, fields object) {
	for name, v := range fields {
		if strings.Contains(name, "@") {
			continue
		}
		if v == nil {
			delete(raw, name)
			continue
		}
		raw[name] = v
	}
}

// write puts fields into an item.
func (l *list) write(r *request, it *item, fields object) error {
	if err := it.expected(r.Header.Get("If-Match")); err != nil {
		return err
	}
	if l.d.place.in != listsPart {
		columns := maps.Clone(it.extra().columns)
		if columns == nil {
			columns = object{}
		}
		merge(columns, fields)
		it.extend(func(x *extras) { x.columns = columns })
		it.etag++
		l.d.touch(it)
		return nil
	}
	one, ok := l.read(it)
	if !ok {
		return noItem()
	}
	merge(one.raw, fields)
	_, err := l.put(r, it.name, onConflictReplace, one.raw)
	return err
}

// put writes an item's file.
func (l *list) put(r *request, name string, how behaviour, raw object) (*item, error) {
	data, err := json.MarshalIndent(raw, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write list item: %w", err)
	}
	stage := newStageName()
	up, err := l.s.stageFile(stage, bytes.NewReader(append(data, '\n')))
	if err != nil {
		return nil, onDisk(err)
	}
	defer l.s.unstage(stage)
	it, _, err := l.s.put(r.Context(), l.d, wish{name: name, how: how, by: r.who.key()}, up)
	return it, err
}

// fieldsIn reads the fields, and the content type, that a body gives an item.
func fieldsIn(r *request, x *schema, inside bool) (object, error) {
	var in object
	if err := body(r.w, r.Request, &in); err != nil {
		return nil, err
	}
	fields := in
	if inside {
		fields, _ = in["fields"].(map[string]any)
		if in["fields"] != nil && fields == nil {
			return nil, badRequest("fields must be an object.")
		}
		if fields == nil {
			fields = object{}
		}
		if t, ok := in["contentType"].(map[string]any); ok {
			at := slices.IndexFunc(x.types, func(other object) bool { return other["id"] == t["id"] || t["id"] == nil && other["name"] == t["name"] })
			if at < 0 {
				return nil, badRequest("The list has no such content type.")
			}
			fields["ContentType"] = x.types[at]["name"]
		}
	}
	return fields, nil
}

func (s *Service) createListItem(r *request, p place) error {
	if p.in != listsPart {
		return badRequest("The items of a document library are files: they are uploaded to its drive.")
	}
	x := s.schemaOf(p)
	fields, err := fieldsIn(r, &x, true)
	if err != nil {
		return err
	}
	if err := s.checkFields(r, p, &x, fields); err != nil {
		return err
	}
	var one listed
	err = s.onList(r, p, false, func(l *list) error {
		raw := object{}
		merge(raw, fields)
		it, err := l.put(r, strconv.Itoa(int(l.d.last)+1)+".json", onConflictRename, raw)
		if err != nil {
			return err
		}
		it.extend(func(x *extras) { x.maker = r.who.key() })
		l.d.write(it)
		one, _ = l.read(it)
		return nil
	})
	if err != nil {
		return err
	}
	return s.answerListItem(r, p, one, x, http.StatusCreated)
}

func (s *Service) changeFields(r *request, p place, inside bool) (listed, schema, error) {
	x := s.schemaOf(p)
	fields, err := fieldsIn(r, &x, inside)
	if err != nil {
		return listed{}, x, err
	}
	if err := s.checkFields(r, p, &x, fields); err != nil {
		return listed{}, x, err
	}
	return s.withItem(r, p, func(l *list, it *item) error { return l.write(r, it, fields) })
}

func (s *Service) patchListItem(r *request, p place) error {
	one, x, err := s.changeFields(r, p, true)
	if err != nil {
		return err
	}
	return s.answerListItem(r, p, one, x, http.StatusOK)
}

func (s *Service) patchFields(r *request, p place) error {
	one, x, err := s.changeFields(r, p, false)
	if err != nil {
		return err
	}
	return s.answerFields(r, p, one, x)
}

func (s *Service) patchFieldsOf(r *request, p place) error { return s.patchFields(r, p) }

func (s *Service) deleteListItem(r *request, p place) error {
	err := s.onList(r, p, false, func(l *list) error {
		it, err := l.find(r.Context(), r.vars["listItem"])
		if err != nil {
			return err
		}
		if err := it.expected(r.Header.Get("If-Match")); err != nil {
			return err
		}
		return s.recycle(l.d, it)
	})
	if err != nil {
		return err
	}
	r.w.WriteHeader(http.StatusNoContent)
	return nil
}

// getList tells what a list is, with what is asked for beside it.
func (s *Service) getList(r *request, p place) error {
	names := selected(r.query)
	want, err := expanded(option(r.query, "expand"))
	if err != nil {
		return err
	}
	if err := onlyExpand(want, "columns", "contenttypes", "items", "drive"); err != nil {
		return err
	}
	x := s.schemaOf(p)
	v := s.listView(p, x)
	for name := range want {
		if names != nil {
			names[name] = true
		}
	}
	if one, ok := want["columns"]; ok {
		v["columns"] = x.columnViews(one.selected)
	}
	if one, ok := want["contenttypes"]; ok {
		v["contentTypes"] = x.typeViews(one.selected)
	}
	if one, ok := want["drive"]; ok && p.in != listsPart {
		drive, err := s.describe(r.Context(), p, one.selected)
		if err != nil {
			return err
		}
		v["drive"] = project(drive, one.selected)
	}
	if one, ok := want["items"]; ok && p.user == nil {
		if err := onlyExpand(one.expand, "fields"); err != nil {
			return err
		}
		items, next, err := s.expandItems(r, p, &x, one)
		if err != nil {
			return err
		}
		v["items"] = items
		if next != "" {
			v["items@odata.nextLink"] = next
		}
	}
	v["@odata.context"] = r.base + "/$metadata#sites('" + p.fullID() + "')/lists/$entity"
	return replyGraph(r.w, http.StatusOK, project(v, names))
}

// expandItems is the first page of a list's items, as part of the list.
func (s *Service) expandItems(r *request, p place, x *schema, one expansion) ([]any, string, error) {
	inner := *r
	inner.query = map[string][]string{}
	fields, expand := one.expand["fields"]
	if expand {
		if err := x.checkThreshold(fields.selected); err != nil {
			return nil, "", err
		}
	}
	var items []listed
	more := false
	err := s.onList(&inner, p, true, func(l *list) error {
		var all []*item
		for _, it := range l.d.numbers {
			if !it.gone && p.isListItem(it) {
				all = append(all, it)
			}
		}
		slices.SortFunc(all, func(a, b *item) int { return cmp.Compare(a.num, b.num) })
		more = len(all) > listPage
		all = all[:min(len(all), listPage)]
		if err := l.d.settle(r.Context(), all...); err != nil {
			return err
		}
		for _, it := range all {
			if got, ok := l.read(it); ok && !it.gone {
				items = append(items, got)
			}
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	list, err := s.itemViews(&inner, p, x, items, fields.selected, expand)
	next := ""
	if more && len(items) > 0 {
		set := []string{"$skiptoken", strconv.Itoa(int(items[len(items)-1].num))}
		if expand {
			set = append(set, "$expand", "fields")
		}
		next = inner.link(listAddress(p)+"/items", set...)
	}
	return list, next, err
}
