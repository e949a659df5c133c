package simtenant

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// The versions of an item of a list are those of its file. What another program
// overwrites leaves none.

func listVersionRoutes(onItems func(func(*Service, *request, place) error) func(*Service, *request) error) []Route {
	const (
		at     = "{list}/items/{listItem}/versions"
		does   = "What an item was before clients changed it, the newest first, with expand=fields(select=…)."
		doesnt = "What other programs overwrote on disk. Of a library's items, what their columns were."
	)
	return []Route{
		{"GET", at, does, doesnt, "select expand", readSites, onItems((*Service).listItemVersions)},
		{"GET", at + "/{version}", "One of them.", "", "select expand", readSites, onItems((*Service).getItemVersion)},
		{"GET", at + "/{version}/fields", "Its fields.", "", ofOne, readSites, onItems((*Service).getVersionFields)},
		{"POST", at + "/{version}/restoreVersion", "Makes an earlier version the current one.", "", "", writeSites, onItems((*Service).restoreItemVersion)},
	}
}

// versionsOf are what an item is and was, the newest first. Of a library's items
// only the present one has columns.
func (l *list) versionsOf(it *item) (out []listed, err error) {
	now, ok := l.read(it)
	if !ok {
		return nil, noItem()
	}
	now.etag = max(it.ctag, 1)
	out = append(out, now)
	for at, old := range slices.Backward(it.extra().versions) {
		one := now
		one.etag, one.size, one.noticed, one.raw = old.N, old.Size, old.At, object{}
		if l.d.place.in == listsPart {
			f, err := l.d.openVersion(it, at)
			if notFound(err) {
				continue
			}
			if err != nil {
				return nil, err
			}
			data, err := io.ReadAll(io.LimitReader(f, maxTeamFile))
			f.Close()
			if err != nil {
				return nil, onDisk(err)
			}
			if json.Unmarshal(data, &one.raw) != nil || one.raw == nil {
				one.raw = object{} // it held no object
			}
		}
		out = append(out, one)
	}
	return out, nil
}

// itemVersions finds the versions of the item that the address names.
func (s *Service) itemVersions(r *request, p place) (all []listed, x schema, err error) {
	_, x, err = s.withItem(r, p, func(l *list, it *item) (err error) {
		all, err = l.versionsOf(it)
		return err
	})
	return all, x, err
}

// versionViews are versions of an item as a list shows them.
func (s *Service) versionViews(r *request, p place, x *schema, list []listed) ([]any, error) {
	want, err := expanded(option(r.query, "expand"))
	if err == nil {
		err = onlyExpand(want, "fields")
	}
	if err != nil {
		return nil, err
	}
	fields, expand := want["fields"]
	names := selected(r.query)
	var shown map[string]map[int32]object
	if expand {
		if names != nil {
			names["fields"] = true
		}
		if err := x.checkThreshold(fields.selected); err != nil {
			return nil, err
		}
		if shown, err = s.lookedUp(r, p, x, list, fields.selected); err != nil {
			return nil, err
		}
	}
	out := make([]any, 0, len(list))
	for i := range list {
		one := &list[i]
		v := object{"id": versionID(one.etag), "lastModifiedDateTime": stamp(one.noticed), "lastModifiedBy": x.itemView(p, one)["lastModifiedBy"]}
		if expand {
			v["fields"] = x.fieldsOf(p, one, fields.selected, shown)
		}
		out = append(out, project(v, names))
	}
	return out, nil
}

func versionsContext(r *request, p place) string {
	return itemsContext(r, p) + "('" + url.PathEscape(r.vars["listItem"]) + "')/versions"
}

func (s *Service) listItemVersions(r *request, p place) error {
	all, x, err := s.itemVersions(r, p)
	if err != nil {
		return err
	}
	list, err := s.versionViews(r, p, &x, all)
	if err != nil {
		return err
	}
	return replyGraph(r.w, http.StatusOK, object{"@odata.context": versionsContext(r, p), "value": list})
}

// itemVersion finds the version that the address names.
func (s *Service) itemVersion(r *request, p place) (listed, schema, error) {
	all, x, err := s.itemVersions(r, p)
	if err != nil {
		return listed{}, x, err
	}
	for i, one := range all {
		if id := r.vars["version"]; id == versionID(one.etag) || i == 0 && strings.EqualFold(id, "current") {
			return one, x, nil
		}
	}
	return listed{}, x, fail(http.StatusNotFound, "itemNotFound", "The item has no such version.")
}

func (s *Service) getItemVersion(r *request, p place) error {
	one, x, err := s.itemVersion(r, p)
	if err != nil {
		return err
	}
	list, err := s.versionViews(r, p, &x, []listed{one})
	if err != nil {
		return err
	}
	if v, ok := list[0].(object); ok {
		v["@odata.context"] = versionsContext(r, p) + "/$entity"
	}
	return replyGraph(r.w, http.StatusOK, list[0])
}

func (s *Service) getVersionFields(r *request, p place) error {
	one, x, err := s.itemVersion(r, p)
	if err != nil {
		return err
	}
	return s.answerFields(r, p, one, x)
}

func (s *Service) restoreItemVersion(r *request, p place) error {
	one, _, err := s.itemVersion(r, p)
	if err != nil {
		return err
	}
	return s.restoreVersion(r, p, target{id: one.id})
}
