package simtenant

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"

	"holdfast/internal/backup"
)

// A site's pages are the files of the folder pages, which is the library Site Pages
// as well: NAME.json holds a page as Graph has it, whose name is NAME.aspx, and
// NAME.aspx is a page of which nobody but SharePoint knows what is on it.

// webParts are the parts that a page may be made with, by the first group of their
// type's GUID.
var webParts = map[string]string{
	"e377ea37": "Bing Maps", "0f087d7f": "Button", "df8e44e7": "Call to Action", "2161a1c6": "Divider", "b7dd04e1": "Document Embed",
	"d1d91016": "Image", "af8be689": "Image Gallery", "6410b3b6": "Link Preview", "e84a8ca2": "Org Chart", "7f718435": "People",
	"c70391ea": "Quick Links", "8654b779": "Spacer", "544dd15b": "YouTube", "cbe7b0a9": "Title Area",
}

const sitePageType = "#microsoft.graph.sitePage"

func pageRoutes() []Route {
	onSite := func(serve func(*Service, *request, site) error) func(*Service, *request) error {
		return func(s *Service, r *request) error {
			if r.site.user != nil {
				return notSupported("the pages of personal sites")
			}
			return serve(s, r, r.site)
		}
	}
	return []Route{
		{"GET", "{site}/pages", "The site's pages.", "Pages of personal sites; news that are videos, and pages of lists.", ofList, readSites, onSite((*Service).listPages)},
		{"GET", "{site}/pages/microsoft.graph.sitePage", "The same, with canvasLayout by $expand.", "", ofList + " expand", readSites, onSite((*Service).listPages)},
		{"POST", "{site}/pages", "Makes a page, checked out and unpublished, of text and of the fourteen parts that the service takes.", "", "", writeSites, onSite((*Service).createPage)},
		{"GET", "{site}/pages/{page}", "A page.", "", ofOne, readSites, onSite((*Service).getPage)},
		{"DELETE", "{site}/pages/{page}", "Puts a page into the recycle bin.", "", "", writeSites, onSite((*Service).deletePage)},
		{"GET", "{site}/pages/{page}/microsoft.graph.sitePage", "A page, with canvasLayout by $expand.", "webParts.", "select expand", readSites, onSite((*Service).getPage)},
		{"PATCH", "{site}/pages/{page}/microsoft.graph.sitePage", "Changes a page, which is a draft from then on.", "Files NAME.aspx.", "", writeSites, onSite((*Service).patchPage)},
		{"POST", "{site}/pages/{page}/microsoft.graph.sitePage/publish", "Publishes it.", "Approval.", "", writeSites, onSite((*Service).publishPage)},
	}
}

// onPages runs fn on the library of a site's pages. Without one, there are no pages.
func (s *Service) onPages(r *request, here site, fn func(d *drive) error) error {
	p, err := s.placeByList(here, sitePages)
	if err != nil {
		return err
	}
	return s.with(p, func(d *drive) error {
		if err := d.fresh(r.Context(), r.arrived); err != nil {
			return err
		}
		return fn(d)
	})
}

// isPage reports whether a file is a page.
func isPage(it *item) bool {
	return it.kind == isFile && !it.gone && it.parent != nil && it.parent.parent == nil && (strings.HasSuffix(it.name, ".json") || strings.HasSuffix(it.name, ".aspx"))
}

// pageName is what a page is called.
func pageName(it *item) string { return strings.TrimSuffix(it.name, path.Ext(it.name)) + ".aspx" }

// readPage takes down what a page's file says.
func (d *drive) readPage(it *item) object {
	raw := object{}
	if strings.HasSuffix(it.name, ".json") {
		f, err := d.openContent(it)
		if err == nil {
			var data []byte
			data, err = io.ReadAll(io.LimitReader(f, maxTeamFile))
			f.Close()
			if err == nil && (json.Unmarshal(data, &raw) != nil || raw == nil) {
				raw, err = object{}, errors.New("it holds no JSON object")
			}
		}
		if err != nil && !vanished(err) {
			d.warn(it.path(), "a page cannot be read, and is shown as if empty", err)
		}
	}
	return raw
}

// pageView is what the wire tells of a page.
func (d *drive) pageView(it *item, layout bool) object {
	p, raw := d.place, d.readPage(it)
	name := pageName(it)
	v := object{
		"title": strings.TrimSuffix(name, ".aspx"), "description": "", "pageLayout": "article", "promotionKind": "page", "showComments": true, "showRecommendedPages": false,
		"publishingState": object{"level": "published", "versionId": "1.0"},
	}
	for k, was := range raw {
		if !strings.HasPrefix(k, "@") && k != "canvasLayout" && was != nil {
			v[k] = was
		}
	}
	if layout {
		v["canvasLayout"] = raw["canvasLayout"]
	}
	maps.Copy(v, object{
		"@odata.type": sitePageType, "@odata.etag": it.eTag(), "id": strings.ToLower(it.guid()), "eTag": it.eTag(), "name": name, "webUrl": p.url() + "/" + escapePath(name),
		"createdDateTime": it.created.stamp(), "lastModifiedDateTime": stamp(it.noticed), "createdBy": p.owner(), "lastModifiedBy": p.owner(),
		"parentReference": object{"siteId": p.fullID()}, "contentType": object{"id": "0x0101009D1CB255DA76424F860D91F20E6C4118", "name": "Site Page"},
	})
	return v
}

// layoutWanted reads whether canvasLayout is asked for.
func layoutWanted(r *request) (bool, error) {
	all, err := expanded(option(r.query, "expand"))
	if err == nil {
		err = onlyExpand(all, "canvaslayout")
	}
	_, ok := all["canvaslayout"]
	return ok, err
}

func (s *Service) listPages(r *request, here site) error {
	layout, err := layoutWanted(r)
	if err != nil {
		return err
	}
	list, next := []any{}, ""
	if _, _, _, err := s.page(r, 0); err != nil {
		return err // also where there are no pages
	}
	names := selected(r.query)
	if names != nil && layout {
		names["canvaslayout"] = true
	}
	err = s.onPages(r, here, func(d *drive) error {
		var all []*item
		for _, it := range d.root.children {
			if isPage(it) {
				all = append(all, it)
			}
		}
		slices.SortFunc(all, func(a, b *item) int { return cmp.Compare(a.num, b.num) })
		from, to, token, err := s.page(r, len(all))
		if err != nil {
			return err
		}
		next = token
		if err := d.settle(r.Context(), all[from:to]...); err != nil {
			return err
		}
		for _, it := range all[from:to] {
			list = append(list, project(d.pageView(it, layout), names))
		}
		return nil
	})
	if err != nil && !notFound(err) {
		return err
	}
	at := "/sites/" + here.fullID() + "/pages"
	out := object{"@odata.context": r.base + "/$metadata#sites('" + here.fullID() + "')/pages", "value": list}
	if next != "" {
		if layout {
			at += "/microsoft.graph.sitePage"
		}
		out["@odata.nextLink"] = r.link(at, "$skiptoken", next)
	}
	return replyGraph(r.w, http.StatusOK, out)
}

// onPage runs fn on the page that a request names.
func (s *Service) onPage(r *request, here site, fn func(d *drive, it *item) error) error {
	return s.onPages(r, here, func(d *drive) error {
		for _, it := range d.root.children {
			if isPage(it) && strings.EqualFold(it.guid(), r.vars["page"]) {
				if err := d.visit(r.Context(), it, false); err != nil {
					return err
				}
				return fn(d, it)
			}
		}
		return fail(http.StatusNotFound, "itemNotFound", "The site has no such page.")
	})
}

func (s *Service) getPage(r *request, here site) error {
	layout, err := layoutWanted(r)
	if err != nil {
		return err
	}
	var v object
	err = s.onPage(r, here, func(d *drive, it *item) error {
		v = d.pageView(it, layout)
		return nil
	})
	if err != nil {
		return err
	}
	names := selected(r.query)
	if names != nil && layout {
		names["canvaslayout"] = true
	}
	// What a client asked for without metadata can be posted back as it is.
	if accept := strings.ToLower(r.Header.Get("Accept")); !strings.Contains(accept, "odata.metadata=none") {
		v["@odata.context"] = r.base + "/$metadata#sites('" + here.fullID() + "')/pages/$entity"
	}
	return replyGraph(r.w, http.StatusOK, project(v, names))
}

// checkLayout refuses a page with parts that the service cannot make.
func checkLayout(in object) error {
	layout, _ := in["canvasLayout"].(map[string]any)
	var parts []any
	sections, _ := layout["horizontalSections"].([]any)
	for _, section := range sections {
		one, _ := section.(map[string]any)
		columns, _ := one["columns"].([]any)
		for _, column := range columns {
			one, _ := column.(map[string]any)
			these, _ := one["webparts"].([]any)
			parts = append(parts, these...)
		}
	}
	if one, ok := layout["verticalSection"].(map[string]any); ok {
		these, _ := one["webparts"].([]any)
		parts = append(parts, these...)
	}
	for _, part := range parts {
		one, _ := part.(map[string]any)
		kind, _ := one["webPartType"].(string)
		guid, ok := backup.ParseGUID(kind)
		switch one["@odata.type"] {
		case "#microsoft.graph.textWebPart":
			continue
		case "#microsoft.graph.standardWebPart":
			if first, _, _ := strings.Cut(guid, "-"); ok && webParts[first] != "" {
				continue
			}
		}
		return badRequest("The web part " + quoted(kind) + " is not supported.")
	}
	return nil
}

// pageIn reads a page from a request.
func pageIn(r *request) (object, error) {
	var in object
	if err := body(r.w, r.Request, &in); err != nil {
		return nil, err
	}
	if in["@odata.type"] != sitePageType {
		return nil, badRequest("The body must say that it is a page: \"@odata.type\": \"" + sitePageType + "\".")
	}
	for k := range in {
		switch k {
		case "id", "eTag", "webUrl", "createdBy", "createdDateTime", "lastModifiedBy", "lastModifiedDateTime", "parentReference", "contentType", "publishingState", "reactions":
			delete(in, k) // what the service says of it
		default:
			if strings.Contains(k, "@") {
				delete(in, k)
			}
		}
	}
	return in, checkLayout(in)
}

// putPage writes a page's file.
func (s *Service) putPage(r *request, d *drive, name string, how behaviour, raw object) (*item, error) {
	it, err := (&list{s: s, d: d}).put(r, name, how, raw)
	if e, ok := errors.AsType[*refusal](err); ok && e.status == http.StatusConflict {
		return nil, fail(http.StatusConflict, "nameAlreadyExists", "The site has a page of that name already.")
	}
	return it, err
}

func (s *Service) createPage(r *request, here site) error {
	in, err := pageIn(r)
	if err != nil {
		return err
	}
	title, _ := in["title"].(string)
	name, _ := in["name"].(string)
	name = strings.TrimSuffix(cmp.Or(name, title), ".aspx")
	if title == "" || !safeName(name) {
		return badRequest("A page needs a title, and a name that a file may have.")
	}
	delete(in, "name")
	in["publishingState"] = object{"level": "checkout", "versionId": "0.1"}
	if _, err := s.placeByList(here, sitePages); notFound(err) {
		if err := s.teams.root.MkdirAll(path.Join(here.team.path, pagesPart), 0o755); err != nil {
			return onDisk(fmt.Errorf("make the folder of pages: %w", err))
		}
	}
	var v object
	err = s.onPages(r, here, func(d *drive) error {
		if d.root.children[name+".aspx"] != nil {
			return nameTaken()
		}
		it, err := s.putPage(r, d, name+".json", onConflictFail, in)
		if err != nil {
			return err
		}
		v = d.pageView(it, true)
		return nil
	})
	if err != nil {
		return err
	}
	v["@odata.context"] = r.base + "/$metadata#sites('" + here.fullID() + "')/pages/$entity"
	return replyGraph(r.w, http.StatusCreated, v)
}

// pageVersion reads what version a page is of.
func pageVersion(raw object) (major, minor int) {
	state, _ := raw["publishingState"].(map[string]any)
	text, _ := state["versionId"].(string)
	if n, err := fmt.Sscanf(text, "%d.%d", &major, &minor); n != 2 || err != nil {
		return 1, 0
	}
	return major, minor
}

// changePage lets fn change a page that is a file NAME.json.
func (s *Service) changePage(r *request, here site, fn func(raw object)) (v object, err error) {
	err = s.onPage(r, here, func(d *drive, it *item) error {
		if !strings.HasSuffix(it.name, ".json") {
			return badRequest("The page is a file that only SharePoint can change.").because("notSupported")
		}
		if err := it.expected(r.Header.Get("If-Match")); err != nil {
			return err
		}
		raw := d.readPage(it)
		fn(raw)
		if it, err = s.putPage(r, d, it.name, onConflictReplace, raw); err != nil {
			return err
		}
		v = d.pageView(it, true)
		return nil
	})
	return v, err
}

func (s *Service) patchPage(r *request, here site) error {
	in, err := pageIn(r)
	if err != nil {
		return err
	}
	delete(in, "name")
	v, err := s.changePage(r, here, func(raw object) {
		major, minor := pageVersion(raw)
		maps.Copy(raw, in)
		raw["publishingState"] = object{"level": "checkout", "versionId": fmt.Sprintf("%d.%d", major, minor+1)}
	})
	if err != nil {
		return err
	}
	return replyGraph(r.w, http.StatusOK, v)
}

func (s *Service) publishPage(r *request, here site) error {
	_, err := s.changePage(r, here, func(raw object) {
		major, minor := pageVersion(raw)
		if minor > 0 || raw["publishingState"] == nil {
			major++
		}
		raw["publishingState"] = object{"level": "published", "versionId": fmt.Sprintf("%d.0", major)}
	})
	if err != nil {
		return err
	}
	r.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) deletePage(r *request, here site) error {
	err := s.onPage(r, here, func(d *drive, it *item) error { return s.recycle(d, it) })
	if err != nil {
		return err
	}
	r.w.WriteHeader(http.StatusNoContent)
	return nil
}
