package graphapi

import (
	"cmp"
	"errors"
	"net/http"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/odata"
)

// granularView shows a file or folder that a session restores. What is not known of one
// is an empty text or the time that stands for none. names are those of inFull.
func granularView(w *workload, a backup.GranularArtifact, names map[unitID]string, contentID string) odata.Entity {
	e := odata.Entity{Type: w.granular.name, Path: root + "/" + w.granular.of(w.sessions, string(a.Session)) + "('" + string(a.Key) + "')"}
	addContentID(&e, contentID)
	at := func(t time.Time) string {
		if t.IsZero() {
			return odata.UnsetTime
		}
		return odata.FormatTime(t)
	}
	e.Add("id", a.Key)
	e.Add("browseSessionId", a.Browse)
	e.Add(w.subject, cmp.Or(names[a.Point.Unit], string(a.Owner)))
	e.Add("webUrl", a.WebURL)
	e.Add("status", a.Status)
	e.Add("restoredItemKey", a.RestoredKey)
	e.Add("restoredItemPath", a.RestoredPath)
	e.Add("restoredItemWebUrl", a.RestoredWebURL)
	e.Add("restorePointDateTime", at(a.Point.At))
	e.Add("startDateTime", at(a.Started))
	e.Add("completionDateTime", at(a.Finished))
	addInPart(&e, a.Short)
	return e
}

func (w *workload) granularMembers() []string {
	return append(readOnly, "browseSessionId", "itemKey", w.subject, "webUrl", "restoredItemKey", "restoredItemPath", "restoredItemWebUrl",
		"restorePointDateTime", "startDateTime", "completionDateTime")
}

// A granularWanted is a file or folder as a request names it.
type granularWanted struct {
	browse browseID
	key    backup.ItemKey
}

// parseGranular reads a file or folder that a request adds.
func (w *workload) parseGranular(o *odata.Object) (g granularWanted, err error) {
	if err := o.Only(w.granular.name, w.granularMembers()...); err != nil {
		return g, err
	}
	if yes, _, err := o.Bool(withPermissions); err != nil || yes {
		return g, cmp.Or(err, error(backup.Fail(backup.InvalidArtifactRequest, "Permissions are restored with the whole site that they are of, and not of single files and folders.").On(withPermissions)))
	}
	browse, _, err := o.String("browseSessionId")
	if err != nil {
		return g, err
	}
	id, _ := backup.ParseGUID(browse)
	g.browse = browseID(id)
	g.key, err = itemKey(o)
	return g, err
}

// itemKey reads a key, which is called id in some of Microsoft's pages and
// itemKey in others.
func itemKey(o *odata.Object) (backup.ItemKey, error) {
	text, given, err := o.String("id")
	if err == nil && !given {
		text, _, err = o.String("itemKey")
	}
	if err != nil {
		return "", err
	}
	k, ok := backup.ParseItemKey(text)
	if !ok {
		return "", backup.Fail(backup.InvalidArtifactRequest, "A file or folder is named by its key, as browsing shows it: send it as id.").On("id")
	}
	return k, nil
}

// findGranular finds out what a request names.
func (s *Server) findGranular(x *exchange, w *workload, g granularWanted, known map[browseID]backup.BrowseSession) (n catalog.NewGranular, err error) {
	b, ok := known[g.browse]
	if !ok {
		b, err = s.catalog.BrowseSession(x.ctx(), x.tenant(), g.browse)
		if isUnknown(err) {
			return n, backup.Fail(backup.InvalidArtifactRequest, "There is no such browse session, or its 72 hours are over. Create another and choose the file or folder there.").On("browseSessionId")
		}
		if err != nil {
			return n, err
		}
		known[g.browse] = b
	}
	if b.Workload != w.kind {
		return n, backup.Fail(backup.InvalidArtifactRequest, "The browse session is not one of "+w.things+". Choose the file or folder in one that is.").On("browseSessionId")
	}
	unknown := backup.Fail(backup.InvalidArtifactRequest, "The browse session's restore point holds no file or folder of that key. Keys are those that browsing it shows; a whole library is restored with '"+w.artifacts.set+"'.").On("id")
	ref, ok := g.key.Below(backup.LibraryKey(b.Tenant, b.Point.Drive))
	if !ok {
		return n, unknown
	}
	item, err := s.cfg.Browser.Item(x.ctx(), b.Point, ref)
	if isUnknown(err) || err == nil && item.Parent == "" {
		return n, unknown
	}
	return catalog.NewGranular{Browse: b, Key: g.key, Item: item, WebURL: backup.WebURL(b.WebURL, item.Path)}, err
}

// createGranular serves POST of a restore session of files and folders.
func (s *Server) createGranular(x *exchange, w *workload) (reply, error) {
	if err := s.mayBrowse(x.caller); err != nil {
		return reply{}, err
	}
	items, _, err := x.body.Objects(w.granular.set)
	if err != nil {
		return reply{}, err
	}
	switch {
	case x.body.Has(w.artifacts.set):
		return reply{}, w.notBoth()
	case len(items) == 0:
		return reply{}, backup.Fail(backup.InvalidArtifactRequest, "The list of artifacts is empty. Leave it out to create an empty session.").On(w.granular.set)
	case len(items) > backup.MaxArtifactsPerRequest:
		return reply{}, backup.Fail(backup.RestoreArtifactsLimitBreached, "One request may name at most 50 artifacts. Add the others with PATCH.").On(w.granular.set)
	}
	found := make([]catalog.NewGranular, len(items))
	sessions := map[browseID]backup.BrowseSession{}
	for i, item := range items {
		g, err := w.parseGranular(item)
		if err != nil {
			return reply{}, err
		}
		if found[i], err = s.findGranular(x, w, g, sessions); err != nil {
			return reply{}, err
		}
	}
	v, err := s.catalog.CreateGranularSession(x.ctx(), x.tenant(), w.kind, found, s.stamp(x))
	if err != nil {
		return reply{}, err
	}
	return created(x, w.sessions.set, w.sessions.set+"/"+string(v.ID), s.sessionView(x, v))
}

// updateGranular serves PATCH of a restore session: files and folders to add
// and remove.
func (s *Server) updateGranular(x *exchange, w *workload, id sessionID) (reply, error) {
	if err := s.mayBrowse(x.caller); err != nil {
		return reply{}, err
	}
	items, changes, err := s.granularChanges(x, w)
	if err != nil {
		return reply{}, cmp.Or(s.editable(x, id), err)
	}
	v, outcomes, err := s.catalog.PatchGranular(x.ctx(), x.tenant(), id, changes, s.stamp(x))
	if err != nil {
		return reply{}, err
	}
	names, err := inFull(s, x, outcomes, func(o catalog.GranularResult) (*workload, unitID) { return w, o.Artifact.Point.Unit })
	if err != nil {
		return reply{}, err
	}
	results := make([]odata.Entity, len(outcomes))
	for i, o := range outcomes {
		c, ch := items[i], changes[i]
		switch {
		case o.Err != nil:
			results[i] = failed(c, o.Err)
			results[i].Add("id", cmp.Or(ch.Remove, ch.Add.Key))
		case c.Removed:
			addContentID(&results[i], c.ContentID)
			results[i].Add("id", ch.Remove)
			results[i].Add("@removed", map[string]string{"reason": "changed"})
		default:
			results[i] = granularView(w, o.Artifact, names, c.ContentID)
		}
	}
	e := s.sessionView(x, v)
	e.Add("@context", "#$delta")
	e.Add(w.granular.delta(), results)
	r, err := show(x, http.StatusOK, x.set(), e)
	r.wrote = !x.prefer.Minimal
	return r, err
}

// granularChanges reads the delta of a PATCH and finds out what it names.
func (s *Server) granularChanges(x *exchange, w *workload) ([]odata.Change, []catalog.GranularChange, error) {
	granularDelta := w.granular.delta()
	if x.body.Has(w.artifacts.delta()) {
		return nil, nil, w.notBoth()
	}
	if err := x.body.Only(w.sessions.name, append(readOnly, "restoreJobType", "restoreSessionArtifactCount", "completedDateTime", granularDelta)...); err != nil {
		return nil, nil, err
	}
	items, _, err := x.body.Changes(granularDelta)
	if err != nil {
		return nil, nil, err
	}
	if len(items) > backup.MaxArtifactsPerRequest {
		return nil, nil, backup.Fail(artifactsLimitOnUpdate, "One request may name at most 50 artifacts. Send several.").On(granularDelta)
	}
	changes := make([]catalog.GranularChange, len(items))
	sessions := map[browseID]backup.BrowseSession{}
	removed := map[backup.ItemKey]bool{}
	for i, c := range items {
		if !c.Removed {
			g, err := w.parseGranular(c.Object)
			if err != nil {
				return nil, nil, err
			}
			if changes[i].Add, err = s.findGranular(x, w, g, sessions); err != nil {
				return nil, nil, err
			}
			continue
		}
		k, err := removedKey(c)
		if err != nil {
			return nil, nil, err
		}
		if removed[k] {
			return nil, nil, backup.Fail(backup.DuplicateArtifactInList, "The same artifact is named twice. Name each once; nothing was changed.").On("id")
		}
		removed[k] = true
		changes[i].Remove = k
	}
	return items, changes, nil
}

func removedKey(c odata.Change) (backup.ItemKey, error) {
	if k, ok := backup.ParseItemKey(c.ID); ok {
		return k, nil
	}
	return itemKey(c.Object)
}

func (s *Server) granular(x *exchange) func(catalog.Page) (catalog.List[backup.GranularArtifact], error) {
	return func(p catalog.Page) (catalog.List[backup.GranularArtifact], error) {
		return s.catalog.GranularArtifacts(x.ctx(), x.tenant(), guid[sessionID](x, "id"), p)
	}
}

func (x *exchange) ofGranular(a backup.GranularArtifact) (*workload, unitID) {
	return x.route.of, a.Point.Unit
}

// listGranular serves the files and folders that a session restores.
func (s *Server) listGranular(x *exchange) (reply, error) {
	var names map[unitID]string
	return list(s, x, listing[backup.GranularArtifact]{
		set: ofSession(x, x.route.of.granular),
		fetch: func(p catalog.Page) (catalog.List[backup.GranularArtifact], error) {
			l, err := s.granular(x)(p)
			if err == nil {
				names, err = inFull(s, x, l.Items, x.ofGranular)
			}
			return l, err
		},
		view: func(a backup.GranularArtifact) (odata.Entity, error) {
			return granularView(x.route.of, a, names, ""), nil
		},
	})
}

func (s *Server) countGranular(x *exchange) (reply, error) { return count(x, s.granular(x)) }

func (s *Server) getGranular(x *exchange) (reply, error) {
	k, _ := backup.ParseItemKey(x.r.PathValue("artifact")) // what is none is unknown, too
	a, err := s.catalog.GranularArtifact(x.ctx(), x.tenant(), guid[sessionID](x, "id"), k)
	if errors.Is(err, backup.ItemNotFound) {
		return reply{}, unknown()
	}
	if err != nil {
		return reply{}, err
	}
	names, err := inFull(s, x, []backup.GranularArtifact{a}, x.ofGranular)
	if err != nil {
		return reply{}, err
	}
	return show(x, http.StatusOK, ofSession(x, x.route.of.granular), granularView(x.route.of, a, names, ""))
}
