package simtenant

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// A list's folder holds list.json, which says what the list is and what columns it
// has, and its items: a file NAME.json for each, which holds an object of the item's
// fields, and may be a row of items.csv, whose first line names the columns. What
// list.json says of a list, the file NAME.json beside a library says of the library.
//
// A lookup's file holds what the wire does: NAMELookupId, the id of an item or of a
// person, or a list of them.
const (
	listJSON = "list.json"
	itemsCSV = "items.csv"
)

// listFile is what list.json may say. Columns and content types are as Graph has
// them, and only their names are required.
type listFile struct {
	DisplayName  string   `json:"displayName,omitempty"`
	Description  string   `json:"description,omitempty"`
	Template     string   `json:"template,omitempty"` // default genericList
	Hidden       bool     `json:"hidden,omitempty"`   // told on demand only
	ContentTypes []object `json:"contentTypes,omitempty"`
	Columns      []object `json:"columns,omitempty"`
}

// facets are the kinds of columns. Those that are false are kinds that the wire does
// not tell.
var facets = map[string]bool{
	"boolean": true, "calculated": true, "choice": true, "currency": true, "dateTime": true, "geolocation": true, "lookup": true, "number": true,
	"personOrGroup": true, "text": true, "hyperlinkOrPicture": false, "term": false, "thumbnail": false, "contentApprovalStatus": false,
}

// column is a column of a list.
type column struct {
	name                      string
	facet                     string // its kind, or empty
	readOnly, hidden, indexed bool
	builtin                   bool
	multiple                  bool
	listID, of                string // of a lookup: the list, and its column that is shown
	view                      object
}

func (c column) isLookup() bool { return c.facet == "lookup" || c.facet == "personOrGroup" }

// schema is what is known of a list.
type schema struct {
	listFile
	columns []column
	types   []object
	strict  bool // what is no column is refused
}

func (x *schema) column(name string) (column, bool) {
	at := slices.IndexFunc(x.columns, func(c column) bool { return strings.EqualFold(c.name, name) })
	if at < 0 {
		return column{}, false
	}
	return x.columns[at], true
}

// schemaPath is the file that says what a list is; empty for the pages.
func (p place) schemaPath() string {
	switch p.in {
	case listsPart:
		return path.Join(p.folder(), listJSON)
	case librariesPart:
		return p.folder() + ".json"
	}
	return ""
}

func builtin(name, display, facet string, readOnly bool) object {
	return object{"name": name, "displayName": display, facet: object{}, "readOnly": readOnly}
}

// schemaOf reads what a list is.
func (s *Service) schemaOf(p place) schema {
	var x schema
	if where := p.schemaPath(); where != "" {
		if err := s.readTeamFile(where, &x.listFile); err != nil {
			x.listFile = listFile{}
		}
	}
	all := []object{builtin("Title", "Title", "text", false), builtin("ContentType", "Content Type", "choice", true)}
	if p.in != listsPart {
		all = append(all, builtin("FileLeafRef", "Name", "text", false), builtin("FileSizeDisplay", "File Size", "text", true))
	}
	own := len(all) + 6
	all = append(all,
		builtin("ID", "ID", "number", true), builtin("Modified", "Modified", "dateTime", true), builtin("Created", "Created", "dateTime", true),
		builtin("Author", "Created By", "personOrGroup", true), builtin("Editor", "Modified By", "personOrGroup", true), builtin("_UIVersionString", "Version", "text", true))
	for i, raw := range append(all, x.Columns...) {
		if c, ok := columnOf(p, raw, i < own); ok {
			if at := slices.IndexFunc(x.columns, func(other column) bool { return other.name == c.name }); at >= 0 {
				c.builtin = c.builtin || x.columns[at].builtin
				x.columns[at] = c
				continue
			}
			x.columns = append(x.columns, c)
		}
	}
	for i := range x.columns {
		s.aim(p, &x.columns[i])
	}
	x.strict = len(x.Columns) > 0
	name, id := "Item", "0x01"
	if p.in != listsPart {
		name, id = "Document", "0x0101"
	}
	for i, raw := range append([]object{{"name": name, "id": id + "00" + strings.ToUpper(strings.ReplaceAll(guidText(derive("contentType", guidText(p.key), name)), "-", ""))}}, x.ContentTypes...) {
		name, _ := raw["name"].(string)
		if name == "" {
			continue
		}
		t := object{"name": name, "description": "", "group": "List Content Types", "hidden": false, "readOnly": false, "sealed": false, "order": object{"default": i == 0}}
		for k, v := range raw {
			t[k] = v
		}
		if _, ok := t["id"].(string); !ok {
			t["id"] = id + "00" + strings.ToUpper(strings.ReplaceAll(guidText(derive("contentType", guidText(p.key), name)), "-", ""))
		}
		x.types = append(x.types, t)
	}
	return x
}

// aim has a lookup whose list is given by its name tell that list's id, as the wire
// does.
func (s *Service) aim(p place, c *column) {
	if _, known := guidBytes(c.listID); c.facet != "lookup" || c.listID == "" || known {
		return
	}
	to, err := s.placeByList(p.site, c.listID)
	if err != nil {
		return
	}
	facet, _ := c.view["lookup"].(map[string]any)
	facet = maps.Clone(facet)
	c.listID = guidText(to.list())
	facet["listId"] = c.listID
	c.view["lookup"] = facet
}

// columnOf makes a column of what Graph says of one.
func columnOf(p place, raw object, own bool) (c column, ok bool) {
	c.name, _ = raw["name"].(string)
	if c.name == "" {
		return c, false
	}
	c.builtin = own
	c.view = object{
		"id": guidText(derive("column", guidText(p.key), c.name)), "displayName": c.name, "description": "", "columnGroup": "Custom Columns",
		"enforceUniqueValues": false, "hidden": false, "indexed": false, "readOnly": false, "required": false,
	}
	for k, v := range raw {
		if shown, known := facets[k]; known {
			c.facet = k
			facet, _ := v.(map[string]any)
			c.multiple = facet["allowMultipleValues"] == true || facet["allowMultipleSelection"] == true || facet["displayAs"] == "checkBoxes" && k == "choice"
			c.listID, _ = facet["listId"].(string)
			c.of, _ = facet["columnName"].(string)
			if !shown {
				continue
			}
		}
		c.view[k] = v
	}
	c.readOnly = c.view["readOnly"] == true || c.facet == "calculated"
	c.hidden, c.indexed = c.view["hidden"] == true, c.view["indexed"] == true || own && (c.name == "ID" || c.name == "Modified" || c.name == "Created")
	if c.facet == "lookup" && c.of == "" {
		c.of = "Title"
	}
	return c, true
}

// writeSchema writes what a list is.
func (s *Service) writeSchema(p place, x listFile) error {
	data, err := json.MarshalIndent(x, "", "  ")
	if err != nil {
		return fmt.Errorf("write a list's schema: %w", err)
	}
	root, name := s.rootOf(p), p.schemaPath()
	tmp := path.Join(path.Dir(name), "."+path.Base(name)+".new")
	if err := root.WriteFile(tmp, append(data, '\n'), 0o666); err != nil {
		return onDisk(fmt.Errorf("write a list's schema: %w", err))
	}
	if err := root.Rename(tmp, name); err != nil {
		return onDisk(fmt.Errorf("write a list's schema: %w", err))
	}
	return nil
}

// templates are those of lists that can be made.
var templates = map[string]bool{
	"genericList": true, "documentLibrary": true, "announcements": true, "contacts": true, "events": true, "issueTracking": true, "links": true,
	"survey": true, "tasks": true, "tasksWithTimelineAndHierarchy": true, "pictureLibrary": true, "gridList": true,
}

// checkColumns says what is wrong with columns that a client wants.
func checkColumns(all []object) error {
	for _, raw := range all {
		name, _ := raw["name"].(string)
		kinds := 0
		for k := range raw {
			if _, known := facets[k]; known {
				kinds++
			}
		}
		if name == "" || kinds != 1 {
			return badRequest("A column needs a name, and one facet that says its kind.")
		}
	}
	return nil
}

// createTeamList makes a list or library of a team site: a folder among its like.
func (s *Service) createTeamList(r *request, p place, x listFile) error {
	if !templates[x.Template] {
		return badRequest("list.template must name a template, such as genericList.")
	}
	taken := fail(http.StatusConflict, "nameAlreadyExists", "There is a list of that name already.")
	if x.Template != "documentLibrary" && x.Template != "pictureLibrary" {
		p.in = listsPart
	}
	if err := checkColumns(x.Columns); err != nil {
		return err
	}
	all, err := s.lists(p.site)
	if err != nil {
		return err
	}
	for _, other := range all {
		if strings.EqualFold(other.library, p.library) {
			return taken
		}
	}
	root := s.rootOf(p)
	if err := root.MkdirAll(path.Dir(p.folder()), 0o755); err != nil {
		return onDisk(fmt.Errorf("make list: %w", err))
	}
	err = root.Mkdir(p.folder(), 0o755)
	if errors.Is(err, fs.ErrExist) {
		return taken
	}
	if err != nil {
		return onDisk(fmt.Errorf("make list: %w", err))
	}
	if p.in == listsPart || len(x.Columns) > 0 || x.Description != "" {
		if err := s.writeSchema(p, x); err != nil {
			return err
		}
	}
	if p, err = s.placeByList(p.site, p.library); err != nil {
		return err
	}
	v := s.listView(p, s.schemaOf(p))
	v["@odata.context"] = r.base + "/$metadata#sites('" + p.fullID() + "')/lists/$entity"
	return replyGraph(r.w, http.StatusCreated, v)
}

// listView describes a list.
func (s *Service) listView(p place, x schema) object {
	v := object{
		"id": guidText(p.list()), "name": p.library, "displayName": p.library, "webUrl": p.url(), "description": "",
		"list":            object{"template": "documentLibrary", "hidden": false, "contentTypesEnabled": false},
		"parentReference": object{"siteId": p.fullID()},
	}
	if p.user != nil {
		return v
	}
	template := cmp.Or(x.Template, "genericList")
	switch p.in {
	case librariesPart:
		template = "documentLibrary"
	case pagesPart:
		template, v["name"] = "webPageLibrary", "SitePages"
	}
	v["displayName"], v["description"] = cmp.Or(x.DisplayName, p.library), x.Description
	v["list"] = object{"template": template, "hidden": x.Hidden, "contentTypesEnabled": len(x.ContentTypes) > 0}
	v["createdBy"], v["lastModifiedBy"] = p.owner(), p.owner()
	if x.Hidden {
		v["system"] = object{}
	}
	s.teams.mu.Lock()
	st, err := s.teams.stat(p.folder())
	s.teams.mu.Unlock()
	if err == nil {
		v["lastModifiedDateTime"], v["createdDateTime"] = st.mtime.stamp(), st.mtime.stamp()
		if st.birth != 0 {
			v["createdDateTime"] = stamp(st.birth)
		}
		v["eTag"] = fmt.Sprintf("\"%s,%d\"", guidText(p.list()), st.mtime.sec&math.MaxInt32)
	}
	return v
}

func (x *schema) columnViews(names map[string]bool) []any {
	list := []any{}
	for _, c := range x.columns {
		if !c.hidden || names["hidden"] {
			list = append(list, project(c.view, names))
		}
	}
	return list
}

func (x *schema) typeViews(names map[string]bool) []any {
	list := []any{}
	for _, t := range x.types {
		list = append(list, project(t, names))
	}
	return list
}

func (s *Service) listColumns(r *request, p place) error {
	x := s.schemaOf(p)
	return replyGraph(r.w, http.StatusOK, object{"@odata.context": r.base + "/$metadata#columns", "value": x.columnViews(selected(r.query))})
}

func (s *Service) listContentTypes(r *request, p place) error {
	x := s.schemaOf(p)
	return replyGraph(r.w, http.StatusOK, object{"@odata.context": r.base + "/$metadata#contentTypes", "value": x.typeViews(selected(r.query))})
}

// createColumn adds a column to a list.
func (s *Service) createColumn(r *request, p place) error {
	var in object
	if err := body(r.w, r.Request, &in); err != nil {
		return err
	}
	if p.schemaPath() == "" {
		return notSupported("columns of the pages' library or of personal sites")
	}
	if err := checkColumns([]object{in}); err != nil {
		return err
	}
	x := s.schemaOf(p)
	name, _ := in["name"].(string)
	if _, ok := x.column(name); ok {
		return fail(http.StatusConflict, "nameAlreadyExists", "The list has a column of that name already.")
	}
	delete(in, "id")
	x.Columns = append(x.Columns, in)
	if err := s.writeSchema(p, x.listFile); err != nil {
		return err
	}
	c, _ := columnOf(p, in, false)
	return replyGraph(r.w, http.StatusCreated, c.view)
}

// createContentType adds a content type to a list.
func (s *Service) createContentType(r *request, p place) error {
	var in object
	if err := body(r.w, r.Request, &in); err != nil {
		return err
	}
	name, _ := in["name"].(string)
	if p.schemaPath() == "" {
		return notSupported("content types of the pages' library or of personal sites")
	}
	x := s.schemaOf(p)
	if name == "" || slices.ContainsFunc(x.types, func(t object) bool { return t["name"] == name }) {
		return badRequest("A content type needs a name that no other has.")
	}
	x.ContentTypes = append(x.ContentTypes, in)
	if err := s.writeSchema(p, x.listFile); err != nil {
		return err
	}
	x = s.schemaOf(p)
	return replyGraph(r.w, http.StatusCreated, x.types[len(x.types)-1])
}

// patchList gives a list another name on show, or a description.
func (s *Service) patchList(r *request, p place) error {
	var in struct {
		DisplayName *string `json:"displayName"`
		Description *string `json:"description"`
	}
	if err := body(r.w, r.Request, &in); err != nil {
		return err
	}
	if p.schemaPath() == "" {
		return notSupported("a change of the pages' library or of a personal site's")
	}
	x := s.schemaOf(p)
	if in.DisplayName != nil {
		x.DisplayName = *in.DisplayName
	}
	if in.Description != nil {
		x.Description = *in.Description
	}
	if err := s.writeSchema(p, x.listFile); err != nil {
		return err
	}
	return replyGraph(r.w, http.StatusOK, s.listView(p, x))
}

// deleteList puts a list with all that is in it into the recycle bin, from where
// people can take it out by hand.
func (s *Service) deleteList(r *request, p place) error {
	if p.user != nil || p.in == pagesPart {
		return fail(http.StatusForbidden, "accessDenied", "This list can not be deleted.")
	}
	root := s.rootOf(p)
	bin := path.Join(recycleBin, p.folder()+" "+s.clock().UTC().Format(binTime))
	err := root.MkdirAll(path.Dir(bin), 0o755)
	if err == nil {
		err = root.Rename(p.folder(), bin)
	}
	if err == nil && p.in == librariesPart {
		if rerr := root.Rename(p.schemaPath(), bin+".json"); !errors.Is(rerr, os.ErrNotExist) {
			err = rerr
		}
	}
	if err != nil {
		return onDisk(fmt.Errorf("delete a list: %w", err))
	}
	r.w.WriteHeader(http.StatusNoContent)
	return nil
}

// expansion is one thing that $expand asks for, with its options.
type expansion struct {
	selected map[string]bool
	expand   map[string]expansion
}

// expanded reads $expand, as in  columns,items($expand=fields($select=a,b)).
func expanded(text string) (map[string]expansion, error) {
	out := map[string]expansion{}
	for _, part := range splitTop(text, ",") {
		name, options, nested := strings.Cut(strings.TrimSpace(part), "(")
		one := expansion{}
		if nested {
			options, ok := strings.CutSuffix(options, ")")
			if !ok {
				return nil, badRequest("$expand is not well formed.")
			}
			for _, option := range splitTop(options, ";") {
				key, value, _ := strings.Cut(option, "=")
				switch strings.ToLower(strings.TrimPrefix(strings.TrimSpace(key), "$")) {
				case "select":
					one.selected = selected(map[string][]string{"$select": {value}})
				case "expand":
					below, err := expanded(value)
					if err != nil {
						return nil, err
					}
					one.expand = below
				default:
					return nil, badRequest("$expand takes $select and $expand in its parentheses here.").because("notSupported")
				}
			}
		}
		if name != "" {
			out[strings.ToLower(name)] = one
		}
	}
	return out, nil
}

// splitTop splits text where it is in no parentheses.
func splitTop(text, by string) (out []string) {
	depth, from := 0, 0
	for i := range len(text) {
		switch {
		case text[i] == '(':
			depth++
		case text[i] == ')':
			depth--
		case depth == 0 && text[i] == by[0]:
			out, from = append(out, text[from:i]), i+1
		}
	}
	return append(out, text[from:])
}

// onlyExpand refuses what an expansion asks for that is none of names.
func onlyExpand(all map[string]expansion, names ...string) error {
	for name := range all {
		if !slices.Contains(names, name) {
			return badRequest("$expand=" + name + " is not supported here; it takes " + strings.Join(names, ", ") + ".").because("notSupported")
		}
	}
	return nil
}

// checkField says what is wrong with a value that a client gives a column.
func (c column) checkField(name string, v any) error {
	wrong := func(what string) error {
		return badRequest("The field '" + name + "' takes " + what + ".")
	}
	if v == nil {
		return nil
	}
	if c.isLookup() {
		if !strings.HasSuffix(name, "LookupId") {
			return wrong("no value by this name; give " + c.name + "LookupId")
		}
		if ids, ok := v.([]any); ok && c.multiple {
			for _, id := range ids {
				if _, ok := lookupID(id); !ok {
					return wrong("a list of whole numbers")
				}
			}
			return nil
		}
		if _, ok := lookupID(v); !ok || c.multiple {
			return wrong("a whole number, or a list of them where there may be several")
		}
		return nil
	}
	text, isText := v.(string)
	switch c.facet {
	case "boolean":
		if _, ok := v.(bool); !ok {
			return wrong("true or false")
		}
	case "number", "currency":
		if _, ok := v.(float64); !ok {
			return wrong("a number")
		}
	case "dateTime":
		if _, err := time.Parse(time.RFC3339Nano, text); err != nil || !isText {
			return wrong("a time in the form 2027-04-01T00:00:00Z")
		}
	case "text":
		facet, _ := c.view["text"].(map[string]any)
		if lines := facet["allowMultipleLines"]; !isText || len([]rune(text)) > 255 && lines != true {
			return wrong("a text of at most 255 characters")
		}
	case "choice":
		list, isList := v.([]any)
		if !isText && !(isList && c.multiple) || slices.ContainsFunc(list, func(one any) bool { _, ok := one.(string); return !ok }) {
			return wrong("a text, or a list of them where there may be several")
		}
	case "hyperlinkOrPicture", "term", "geolocation", "thumbnail", "contentApprovalStatus":
		return wrong("no value: columns of its kind cannot be written")
	}
	return nil
}

// lookupID reads the id that a lookup has.
func lookupID(v any) (int32, bool) {
	switch v := v.(type) {
	case float64:
		return int32(v), v == math.Trunc(v) && v > 0 && v <= math.MaxInt32
	case string:
		var n int32
		_, err := fmt.Sscan(v, &n)
		return n, err == nil && n > 0
	}
	return 0, false
}
