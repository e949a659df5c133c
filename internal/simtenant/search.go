package simtenant

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
)

// The ways to find items other than by their place: by name, by when they
// changed, by who shared them, and by what they are for.

// specialFolders are the folders that have a name of their own in every
// language, and what they are called here.
var specialFolders = map[string]string{
	"documents": "Documents", "photos": "Pictures", "cameraroll": "Pictures/Camera Roll", "music": "Music",
	"attachments": "Attachments", "recordings": "Recordings",
}

// atSpecial turns an address that begins at a special folder into one that begins
// at the root. Such a folder is made for whoever asks for it and may write.
func (r *request) atSpecial(rest string) (string, error) {
	name, below, err := value(rest)
	if err != nil {
		return "", err
	}
	name, byPath := strings.CutSuffix(name, ":")
	folder := specialFolders[strings.ToLower(name)]
	if strings.EqualFold(name, "approot") && r.who.app != nil {
		folder = "Apps/" + strings.Map(func(c rune) rune {
			if strings.ContainsRune(`"*:<>?/\|`, c) {
				return '_'
			}
			return c
		}, cmp.Or(r.who.app.DisplayName, r.who.app.AppID))
	}
	r.special = strings.Split(folder, "/")
	switch folder = escapePath(folder); {
	case folder == "":
		return "", fail(http.StatusNotFound, "itemNotFound", "There is no special folder "+quoted(name)+".")
	case byPath:
		return "root:/" + folder + "/" + below, nil
	case below == "":
		return "root:/" + folder, nil
	}
	return "root:/" + folder + ":/" + below, nil
}

// makeSpecial makes the special folder that the address begins at, unless it is there.
func (s *Service) makeSpecial(r *request) error {
	if r.special == nil || r.Method == http.MethodDelete {
		return nil
	}
	return s.with(r.place, func(d *drive) error {
		at := d.root
		for _, name := range r.special {
			next, err := d.child(r.Context(), at, name)
			if err != nil {
				return err
			}
			if next == nil {
				if err := r.who.need(writeFiles); err != nil {
					return err
				}
				if next, _, err = d.makeFolder(r.Context(), at, name, onConflictReplace); err != nil {
					return err
				}
			}
			at = next
		}
		return nil
	})
}

// specialFacet says which special folder of a user's drive a folder is, if any.
func (p place) specialFacet(it *item) *specialView {
	if p.user == nil || p.library != documents || it.kind != isFolder {
		return nil
	}
	for name, folder := range specialFolders {
		if strings.HasSuffix(folder, it.name) && folder == it.path() {
			return &specialView{name}
		}
	}
	return nil
}

// argument is the text that a function in an address takes by a name, as in
// search(q='a text').
func (r *request) argument(name string) (string, bool) {
	have, text, ok := strings.Cut(r.arg, "=")
	text, err := url.PathUnescape(text)
	if !ok || err != nil || !strings.EqualFold(strings.TrimSpace(have), name) {
		return "", false
	}
	text = strings.TrimSpace(text)
	if len(text) < 2 || text[0] != '\'' || text[len(text)-1] != '\'' {
		return "", false
	}
	return strings.ReplaceAll(text[1:len(text)-1], "''", "'"), true
}

// search finds items below a folder by their names: those that hold every word
// that is asked for.
func (s *Service) search(r *request, p place, t target) error {
	text, ok := r.argument("q")
	words := strings.Fields(fold(text))
	if !ok || len(words) == 0 {
		return badRequest("A search says what for, as in search(q='a text').")
	}
	size, err := s.pageSize(r.query, itemsPage, itemsPageMax)
	if err != nil {
		return err
	}
	after := option(r.query, "skiptoken")
	return s.on(r, p, func(d *drive) error {
		if err := d.fresh(r.Context(), r.arrived); err != nil {
			return err
		}
		folder, err := d.find(r.Context(), t)
		if err != nil {
			return err
		}
		if after != "" && d.items[after] == nil {
			return badRequest("The page's token is none of this drive's. Search anew without it.")
		}
		var hits []*item
		for id, it := range d.items {
			if it.gone || it == folder || id <= after {
				continue
			}
			name := fold(it.name)
			if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(name, word) }) && it.below(folder) {
				hits = append(hits, it)
			}
		}
		slices.SortFunc(hits, func(a, b *item) int { return cmp.Compare(a.id, b.id) })
		next := ""
		if len(hits) > size {
			next = hits[size-1].id
			hits = hits[:size]
		}
		if err := s.answerItems(r, d, hits); err != nil || next == "" {
			return err
		}
		r.answer.(object)["@odata.nextLink"] = r.link(fmt.Sprintf("/drives/%s/items/%s/search(q='%s')", p.id(), folder.id, url.PathEscape(strings.ReplaceAll(text, "'", "''"))), "$skiptoken", next)
		return nil
	})
}

// answerItems answers with a list of items as they now are.
func (s *Service) answerItems(r *request, d *drive, items []*item) error {
	if err := d.settle(r.Context(), items...); err != nil {
		return err
	}
	v := s.viewer(r, d)
	list := make([]any, 0, len(items))
	for _, it := range items {
		list = append(list, v.view(it))
	}
	r.status, r.answer = http.StatusOK, object{"@odata.context": r.base + "/$metadata#Collection(driveItem)", "value": list}
	return nil
}

// recent lists the files that changed last, the latest first.
func (s *Service) recent(r *request, p place) error {
	size, err := s.pageSize(r.query, 50, itemsPage)
	if err != nil {
		return err
	}
	return s.on(r, p, func(d *drive) error {
		if err := d.fresh(r.Context(), r.arrived); err != nil {
			return err
		}
		var files []*item
		for _, c := range slices.Backward(d.log) {
			if c.it.seq == c.seq && !c.it.gone && c.it.kind == isFile {
				if files = append(files, c.it); len(files) == size {
					break
				}
			}
		}
		return s.answerItems(r, d, files)
	})
}

// sharedWithMe lists what others shared with the owner of a drive. Only drives
// that somebody looked at have anything shared.
func (s *Service) sharedWithMe(r *request, p place) error {
	if p.user == nil {
		return badRequest("A team site's drive is nobody's: nothing is shared with it.")
	}
	entries, err := os.ReadDir(s.cfg.Drives)
	if err != nil {
		return fmt.Errorf("list the folder of drives: %w", err)
	}
	list := []any{}
	names := selected(r.query)
	for _, e := range entries {
		other, ok := s.owner(e.Name())
		if !ok || other.tenant != p.tenant || other.user == p.user {
			continue
		}
		if _, err := os.Stat((&drive{svc: s, place: other}).journalPath()); err != nil {
			continue
		}
		err := s.with(other, func(d *drive) error {
			var shared []*item
			for _, it := range d.items {
				if it.sharing != nil && slices.ContainsFunc(it.sharing.Shares, func(one share) bool { return one.User == string(p.user.ID) }) {
					shared = append(shared, it)
				}
			}
			slices.SortFunc(shared, func(a, b *item) int { return cmp.Compare(a.id, b.id) })
			v := s.viewer(r, d)
			v.names = nil
			for _, it := range shared {
				if err := d.visit(r.Context(), it, false); err != nil {
					if notFound(err) {
						continue
					}
					return err
				}
				one := v.view(it)
				list = append(list, project(object{
					"id": it.id, "name": one.Name, "size": one.Size, "webUrl": one.WebURL, "file": one.File, "folder": one.Folder,
					"createdDateTime": one.Created, "lastModifiedDateTime": one.Modified, "createdBy": one.CreatedBy, "lastModifiedBy": one.LastModifiedBy,
					"remoteItem": one,
				}, names))
			}
			return nil
		})
		if notFound(err) { // the folder is gone
			continue
		}
		if err != nil {
			return err
		}
	}
	return s.short(r, "Collection(driveItem)", list)
}
