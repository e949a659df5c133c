package graphapi

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/odata"
)

type (
	sessionID  = backup.SessionID
	artifactID = backup.ArtifactID
)

// What a restore did bring back that failed is no status of Microsoft's: a session has how
// many of its artifacts lack some of their items only, and these have that they do.
const (
	inPartCount = "@holdfast.inPartCount"
	isInPart    = "@holdfast.isInPart"
)

func addInPart(e *odata.Entity, s *backup.Shortfall) {
	if s != nil {
		e.Add(isInPart, true)
		addShortfall(e, *s)
	}
}

// addShortfall adds how many items are missing, and of how many, as far as it is known.
func addShortfall(e *odata.Entity, s backup.Shortfall) {
	if s.Failed > 0 {
		e.Add("@holdfast.failedItemCount", s.Failed)
		if s.Of > 0 {
			e.Add("@holdfast.itemCount", s.Of)
		}
	}
}

// sessionView shows a restore session.
func (s *Server) sessionView(x *exchange, v backup.Session) odata.Entity {
	e := odata.Entity{Type: wordsOf(v.Workload).sessions.name, Path: root + "/" + sessionSet + "('" + string(v.ID) + "')"}
	e.Add("id", v.ID)
	e.Add("status", evolved(s, x, v.Status, backup.SessionFailed))
	e.Add("restoreJobType", evolved(s, x, v.JobType, backup.RestoreGranular))
	e.Add("restoreSessionArtifactCount", map[string]int{
		"total": v.Counts.Total, "completed": v.Counts.Completed, "inProgress": v.Counts.InProgress, "failed": v.Counts.Failed,
	})
	e.Add("error", v.Problem)
	addTime(&e, "completedDateTime", v.Completed)
	if v.Counts.InPart > 0 {
		e.Add(inPartCount, v.Counts.InPart)
		addShortfall(&e, v.Counts.Short)
	}
	switch v.Wish {
	case backup.WishPause:
		addTime(&e, "@holdfast.pausedDateTime", v.Wished)
	case backup.WishCancel:
		addTime(&e, "@holdfast.cancelledDateTime", v.Wished)
	}
	addStamps(&e, v.Created, v.Modified, identities)
	addApproval(&e, v.Approval)
	return e
}

// artifactView shows a restore artifact.
func artifactView(w *workload, a backup.Artifact, contentID string) odata.Entity {
	c := w.artifacts
	if a.Query != "" {
		c = w.granular
	}
	e := odata.Entity{Type: c.name, Path: root + "/" + c.of(w.sessions, string(a.Session)) + "('" + string(a.ID) + "')"}
	addContentID(&e, contentID)
	e.Add("id", a.ID)
	e.Add("destinationType", a.Destination)
	e.Add("status", a.Status)
	addTime(&e, "startDateTime", a.Started)
	addTime(&e, "completionDateTime", a.Completed)
	where := []string{a.RestoredSiteID, a.RestoredSiteName, a.RestoredSiteWebURL}
	for i, name := range w.restored {
		addText(&e, name, where[i])
	}
	if w.counted != "" && (a.Status.Final() || a.RestoredItems > 0) {
		e.Add(w.counted, min(a.RestoredItems, math.MaxInt32))
	}
	addText(&e, targetMember[w.kind], a.Target)
	if a.Permissions {
		e.Add(withPermissions, true)
	}
	if a.Query != "" {
		if refs, picked := backup.PickedOf(a.Query); picked {
			keys := make([]backup.ItemKey, len(refs))
			for i, r := range refs {
				keys[i] = r.Key(a.Tenant, a.Point.Drive)
			}
			e.Add(itemKeys, keys)
			e.Add("@holdfast.itemNames", a.Search)
		} else {
			e.Add(searchResponse, a.Search)
		}
		if a.Hits > 0 {
			e.Add("artifactCount", min(a.Hits, math.MaxInt32))
		}
	}
	if a.Problem != nil {
		e.Add("error", a.Problem)
	}
	addInPart(&e, a.Short)
	e.Add("restorePoint", pointView(a.Point, nil))
	return e
}

func (s *Server) sessions(x *exchange) func(catalog.Page) (catalog.List[backup.Session], error) {
	return func(p catalog.Page) (catalog.List[backup.Session], error) {
		p.Workload = x.workload()
		return s.catalog.Sessions(x.ctx(), x.tenant(), p)
	}
}

// listSessions serves restoreSessions and its sets by workload.
func (s *Server) listSessions(x *exchange) (reply, error) {
	return list(s, x, listing[backup.Session]{
		set: x.set(), fetch: s.sessions(x),
		view: func(v backup.Session) (odata.Entity, error) { return s.sessionView(x, v), nil },
	})
}

func (s *Server) countSessions(x *exchange) (reply, error) { return count(x, s.sessions(x)) }

func (s *Server) getSession(x *exchange) (reply, error) {
	v, err := s.catalog.Session(x.ctx(), x.tenant(), guid[sessionID](x, "id"))
	if err != nil {
		return reply{}, err
	}
	return show(x, http.StatusOK, x.set(), s.sessionView(x, v))
}

// createSession serves POST of a restore session. It begins as a draft.
func (s *Server) createSession(x *exchange) (reply, error) {
	b := x.body
	w, err := s.posted(x, sessionsOf, backup.InvalidRequest)
	if err != nil {
		return reply{}, err
	}
	if err := b.Only(w.sessions.name, append(readOnly, "restoreJobType", "restoreSessionArtifactCount", "completedDateTime", w.artifacts.set, w.granular.set)...); err != nil {
		return reply{}, err
	}
	c, kind := w.artifacts, backup.RestoreStandard
	if b.Has(w.granular.set) {
		if !w.searched {
			return s.createGranular(x, w)
		}
		if b.Has(c.set) {
			return reply{}, w.notBoth()
		}
		c, kind = w.granular, backup.RestoreGranular
	}
	items, given, err := b.Objects(c.set)
	if err != nil {
		return reply{}, err
	}
	switch {
	case given && len(items) == 0:
		return reply{}, backup.Fail(backup.InvalidArtifactRequest, "The list of artifacts is empty. Leave it out to create an empty session.").On(c.set)
	case len(items) > backup.MaxArtifactsPerRequest:
		return reply{}, backup.Fail(backup.RestoreArtifactsLimitBreached, "One request may name at most 50 artifacts. Add the others with PATCH.").On(c.set)
	}
	artifacts := make([]catalog.NewArtifact, len(items))
	for i, item := range items {
		if artifacts[i], err = s.newArtifact(x, w, c, item); err != nil {
			return reply{}, err
		}
	}
	if err := checkArtifacts(artifacts); err != nil {
		return reply{}, err
	}
	v, err := s.catalog.CreateSession(x.ctx(), x.tenant(), w.kind, kind, artifacts, s.stamp(x))
	if err != nil {
		return reply{}, err
	}
	return created(x, w.sessions.set, w.sessions.set+"/"+string(v.ID), s.sessionView(x, v))
}

// notBoth refuses a request that restores units in whole and in part.
func (w *workload) notBoth() error {
	return backup.Fail(backup.InvalidArtifactRequest, "A session restores whole "+w.things+", or "+w.parts()+", not both. Make a session for each.").On(w.granular.set)
}

// parts says of what a granular restore is.
func (w *workload) parts() string {
	if w.searched {
		return "what searches of them found"
	}
	return "files and folders"
}

// newArtifact reads an artifact of c that a request adds.
func (s *Server) newArtifact(x *exchange, w *workload, c collection, o *odata.Object) (catalog.NewArtifact, error) {
	var n catalog.NewArtifact
	if err := o.Only(c.name, slices.Concat(readOnly, c.properties)...); err != nil {
		return n, err
	}
	point, err := pointReference(o)
	if err != nil {
		return n, err
	}
	id, ok := backup.ParseGUID(point)
	if !ok {
		return n, backup.Fail(backup.InvalidRestorePoint, "The artifact does not name a restore point: send restorePoint with its id.").On("restorePoint")
	}
	n.Point = backup.PointID(id)
	if n.Destination, err = destinationOf(o); err != nil {
		return n, err
	}
	if n.Permissions, err = w.permissionsOf(o); err != nil {
		return n, err
	}
	if n.Target, err = s.targetOf(x, w, o, n.Destination); err != nil || c.set == w.artifacts.set {
		return n, err
	}
	if keys, given, err := o.Strings(itemKeys); err != nil || given {
		return n, cmp.Or(err, s.pickMail(x, o, &n, keys))
	}
	if n.Search, _, err = o.String(searchResponse); err != nil {
		return n, err
	}
	found, err := s.openSearch(x, n.Search)
	if err != nil {
		return n, err
	}
	n.Unit, n.Query = found.Unit, found.Query
	if found.Point == n.Point {
		n.Hits = found.Hits
	}
	return n, nil
}

// itemKeys is a member of ours: which items and folders of a mailbox's point are restored,
// by the keys that holdfast.mail shows.
const itemKeys = "@holdfast.itemKeys"

// pickMail has an artifact restore what keys name in its point: it is looked for there,
// which is looking into a backup, and the audit log has what it is called.
func (s *Server) pickMail(x *exchange, o *odata.Object, n *catalog.NewArtifact, keys []string) error {
	if err := s.mayBrowse(x.caller); err != nil {
		return err
	}
	wrong := func(message string) error { return backup.Fail(backup.InvalidArtifactRequest, message).On(itemKeys) }
	switch {
	case o.Has(searchResponse):
		return wrong("An artifact restores what a search found, or what is named by keys. Make one for each.")
	case len(keys) == 0 || len(keys) > backup.MaxPickedMail:
		return wrong("An artifact names " + strconv.Itoa(backup.MaxPickedMail) + " items and folders at most, and one at least. Name a folder for all that is in it, or add an artifact.")
	}
	p, err := s.catalog.Point(x.ctx(), x.tenant(), n.Point)
	if err == nil {
		err = p.Restorable()
	}
	if err != nil {
		return err
	}
	refs := make([]backup.ItemRef, len(keys))
	held := make([]backup.MailHeld, len(keys))
	var items []backup.ItemID
	for i, text := range keys {
		if refs[i], held[i], err = s.heldOf(x, p, text); isUnknown(err) || err == nil && held[i].Parent == "" {
			err = wrong("The restore point holds nothing of such a key. Keys are those of items and folders that holdfast.mail shows; all of a mailbox is restored with 'mailboxRestoreArtifacts'.")
		}
		if err != nil {
			return err
		}
		if held[i].Kind == backup.File {
			items = append(items, held[i].ID)
		}
	}
	known, err := s.catalog.MailItems(x.ctx(), x.tenant(), p, items)
	if err != nil {
		return err
	}
	n.Unit, n.Query, n.Search = p.Unit, backup.PickedMail(refs), pickedInWords(held, known)
	if picked, _ := backup.PickedOf(n.Query); len(items) == len(keys) {
		n.Hits = int64(len(picked))
	}
	return nil
}

// pickedInWords is what was picked of a mailbox: the first of it by folder and subject, and
// how many more there are.
func pickedInWords(all []backup.MailHeld, known map[backup.ItemID]backup.MailItem) string {
	const most = 5
	var names []string
	for _, held := range all[:min(len(all), most)] {
		name := held.Path + "/"
		if held.Kind == backup.File {
			name += mailSubject(known[held.ID], held)
		}
		names = append(names, printable(name, 200))
	}
	text := strings.Join(names, "; ")
	if more := len(all) - len(names); more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return text
}

// targetMember is a member of ours: whose mailbox, or drive, an artifact is restored into,
// where that is not the owner's.
var targetMember = map[backup.Workload]string{backup.Exchange: "@holdfast.targetMailbox", backup.OneDrive: "@holdfast.targetDrive"}

// targetOf returns into whose mailbox, or into which drive or site, an artifact is
// restored, if it says so. What was somebody's becomes another's to read, so that it takes
// what looking into backups does, and the audit log has where it goes.
func (s *Server) targetOf(x *exchange, w *workload, o *odata.Object, to backup.Destination) (target string, err error) {
	for kind, member := range targetMember {
		text, given, err := o.String(member)
		switch {
		case err != nil:
			return "", err
		case !given:
			continue
		case kind != w.kind:
			return "", backup.Fail(backup.InvalidArtifactRequest, "Only what is of a mailbox can be restored into another mailbox, and only drives into another drive or a site.").On(member)
		case to != backup.DestinationNew:
			return "", backup.Fail(backup.InvalidArtifactRequest, "Into another place than the owner's it is restored as something new: the destinationType must be new.").On(member)
		case isPerson(text), kind == backup.OneDrive && isSite(text):
		case kind == backup.OneDrive:
			return "", backup.Fail(backup.InvalidArtifactRequest, "The drive to restore into is named by its user's id or address, a site by its address, such as https://contoso.sharepoint.com/sites/team.").On(member)
		default:
			return "", backup.Fail(backup.InvalidArtifactRequest, "The mailbox to restore into is named by its user's id or address.").On(member)
		}
		target = text
	}
	if target == "" {
		return "", nil
	}
	catalog.AuditedInto(x.ctx(), target)
	if err := s.catalog.MayRestoreInto(x.ctx(), x.tenant(), target); err != nil {
		return "", err
	}
	return target, s.mayBrowse(x.caller)
}

// isPerson reports whether a text can be the id or the address of a user.
func isPerson(text string) bool {
	if _, isID := backup.ParseGUID(text); isID {
		return true
	}
	name, domain, isAddress := strings.Cut(text, "@")
	return isAddress && name != "" && domain != "" && len(text) <= 320 && !strings.ContainsAny(text, "/?#%\\ \"'<>") && !strings.ContainsFunc(text, unicode.IsControl)
}

// isSite reports whether a text can be the address of a site.
func isSite(text string) bool {
	u, err := url.Parse(text)
	return err == nil && len(text) <= 400 && u.Scheme == "https" && u.Hostname() != "" && u.Port() == "" && u.User == nil && u.RawQuery == "" && u.Fragment == "" && !strings.ContainsFunc(text, unicode.IsControl)
}

// withPermissions is a member of ours: whether those who could read and write the files of
// a site at the point are let do so again.
const withPermissions = "@holdfast.restorePermissions"

// permissionsOf returns whether an artifact brings permissions back.
func (w *workload) permissionsOf(o *odata.Object) (bool, error) {
	yes, _, err := o.Bool(withPermissions)
	if err == nil && yes && w.kind != backup.SharePoint {
		return false, backup.Fail(backup.InvalidArtifactRequest, "Only of sites who may do what with files is kept, and can be restored.").On(withPermissions)
	}
	return yes, err
}

// destinationOf returns the destinationType of an artifact or a request, which
// must be there.
func destinationOf(o *odata.Object) (backup.Destination, error) {
	given, _, err := o.String("destinationType")
	if err != nil {
		return "", err
	}
	for _, d := range []backup.Destination{backup.DestinationNew, backup.DestinationInPlace} {
		if strings.EqualFold(given, string(d)) {
			return d, nil
		}
	}
	return "", backup.Fail(backup.InvalidPathType, "The destinationType must be new or inPlace.").On("destinationType")
}

// pointReference returns the restore point that an artifact names, in any of
// the ways that OData and Microsoft's older pages have.
func pointReference(o *odata.Object) (string, error) {
	point, ok, err := o.Object("restorePoint")
	if err != nil {
		return "", err
	}
	if ok {
		id, _, err := point.Reference()
		return id, err
	}
	link, _, err := o.String("restorePoint@odata.bind")
	return odata.LastSegment(link), err
}

// checkArtifacts refuses what no one request may mix or repeat.
func checkArtifacts(list []catalog.NewArtifact) error {
	type artifact struct {
		point backup.PointID
		query string
	}
	seen := map[artifact]bool{}
	for _, a := range list {
		if a.Destination != list[0].Destination {
			return backup.Fail(backup.DifferentRestoreDestination, "All artifacts of a session must have the same destinationType.").On("destinationType")
		}
		if seen[artifact{a.Point, a.Query}] {
			return backup.Fail(backup.DuplicateArtifactInList, "The same restore point is named twice. Name each once.").On("restorePoint")
		}
		seen[artifact{a.Point, a.Query}] = true
	}
	return nil
}

// updateSession serves PATCH of a restore session: artifacts to add and remove.
func (s *Server) updateSession(x *exchange) (reply, error) {
	id := guid[sessionID](x, "id")
	w, err := s.wordsOfSession(x, id)
	if err != nil {
		return reply{}, err
	}
	c, kind := w.artifacts, backup.RestoreStandard
	if x.body.Has(w.granular.delta()) {
		if !w.searched {
			return s.updateGranular(x, w, id)
		}
		if x.body.Has(c.delta()) {
			return reply{}, w.notBoth()
		}
		c, kind = w.granular, backup.RestoreGranular
	}
	items, err := w.sessionEdit(x.body, c)
	if err != nil {
		return reply{}, err
	}
	changes, err := s.artifactChanges(x, w, c, items)
	if err != nil {
		return reply{}, cmp.Or(s.editable(x, id), err)
	}
	v, outcomes, err := s.catalog.PatchSession(x.ctx(), x.tenant(), id, kind, changes, s.stamp(x))
	if err != nil {
		return reply{}, err
	}
	results := make([]odata.Entity, len(outcomes))
	for i, o := range outcomes {
		item := items[i]
		switch {
		case o.Err != nil:
			results[i] = failed(item, o.Err)
			if item.Removed {
				results[i].Add("id", item.ID)
			} else {
				results[i].Add("restorePoint", odata.Entity{Type: restorePoint, Members: []odata.Member{{Name: "id", Value: changes[i].Add.Point}}})
			}
		case item.Removed:
			addContentID(&results[i], item.ContentID)
			results[i].Add("id", item.ID)
			results[i].Add("@removed", map[string]string{"reason": "changed"})
		default:
			results[i] = artifactView(w, o.Artifact, item.ContentID)
			results[i].Add("createdDateTime", odata.FormatTime(o.Artifact.Created))
		}
	}
	e := s.sessionView(x, v)
	e.Add(c.delta(), results)
	r, err := show(x, http.StatusOK, x.set(), e)
	r.wrote = !x.prefer.Minimal
	return r, err
}

// editable reports, as an error, why a session may not be changed: that it is
// unknown or no draft comes before what is wrong with the change.
func (s *Server) editable(x *exchange, id sessionID) error {
	v, err := s.catalog.Session(x.ctx(), x.tenant(), id)
	if err != nil {
		return err
	}
	return v.Editable()
}

// sessionEdit reads the delta of a PATCH, which is of the artifacts of.
func (w *workload) sessionEdit(b *odata.Object, of collection) ([]odata.Change, error) {
	for _, c := range []collection{w.artifacts, w.granular} {
		if b.Has(c.set) {
			return nil, backup.Fail(backup.InvalidPatchRequest, "The artifacts of a session are changed with '"+c.delta()+"', which says what to add and what to remove.").On(c.set)
		}
	}
	artifactDelta := of.delta()
	if err := b.Only(w.sessions.name, append(readOnly, "restoreJobType", "restoreSessionArtifactCount", "completedDateTime", artifactDelta)...); err != nil {
		return nil, err
	}
	items, given, err := b.Changes(artifactDelta)
	if err == nil && !given {
		err = backup.Fail(backup.InvalidPatchRequest, "The request changes nothing: send '"+artifactDelta+"'.")
	}
	return items, err
}

// artifactChanges finds out what each item of a delta means.
func (s *Server) artifactChanges(x *exchange, w *workload, of collection, items []odata.Change) ([]catalog.ArtifactChange, error) {
	if len(items) > backup.MaxArtifactsPerRequest {
		return nil, backup.Fail(artifactsLimitOnUpdate, "One request may name at most 50 artifacts. Send several.").On(of.delta())
	}
	out := make([]catalog.ArtifactChange, len(items))
	var added []catalog.NewArtifact
	removed := map[backup.ArtifactID]bool{}
	for i, c := range items {
		if !c.Removed {
			n, err := s.newArtifact(x, w, of, c.Object)
			if err != nil {
				return nil, err
			}
			out[i].Add, added = n, append(added, n)
			continue
		}
		id, ok := backup.ParseGUID(c.ID)
		if !ok {
			return nil, backup.Fail(backup.InvalidArtifactRequest, "An artifact is removed by its id, a GUID.").On("id")
		}
		if removed[artifactID(id)] {
			return nil, backup.Fail(backup.DuplicateArtifactInList, "The same artifact is named twice. Name each once; nothing was changed.").On("id")
		}
		out[i].Remove = artifactID(id)
		removed[artifactID(id)] = true
	}
	return out, checkArtifacts(added)
}

func (s *Server) deleteSession(x *exchange) (reply, error) {
	if err := s.catalog.DeleteSession(x.ctx(), x.tenant(), guid[sessionID](x, "id")); err != nil {
		return reply{}, err
	}
	return s.deleted(x)
}

// activateSession serves restoreSessionBase: activate.
func (s *Server) activateSession(x *exchange) (reply, error) {
	return s.askedSession(x, s.catalog.ActivateSession)
}

// pauseSession, resumeSession and cancelSession serve holdfast.pause, holdfast.resume
// and holdfast.cancel of a session at work. They are ours.
func (s *Server) pauseSession(x *exchange) (reply, error) {
	return s.askedSession(x, s.catalog.PauseSession)
}

func (s *Server) resumeSession(x *exchange) (reply, error) {
	return s.askedSession(x, s.catalog.ResumeSession)
}

func (s *Server) cancelSession(x *exchange) (reply, error) {
	return s.askedSession(x, s.catalog.CancelSession)
}

// askedSession serves what is asked of a session, and shows how it stands then.
func (s *Server) askedSession(x *exchange, ask func(context.Context, backup.TenantID, sessionID, backup.Stamp) (backup.Session, error)) (reply, error) {
	v, err := ask(x.ctx(), x.tenant(), guid[sessionID](x, "id"), s.stamp(x))
	if err != nil {
		return reply{}, err
	}
	r, err := show(x, http.StatusOK, x.set(), s.sessionView(x, v))
	r.content = root + "/" + sessionSet + "('" + string(v.ID) + "')"
	return r, err
}

// artifactsAsked is the collection of artifacts that the address names.
func (x *exchange) artifactsAsked() collection {
	if w := x.route.of; strings.Contains(x.route.path, "/"+w.granular.set) {
		return w.granular
	}
	return x.route.of.artifacts
}

// holds reports whether the artifacts of a session are those that the address names:
// a session has one kind of them.
func (s *Server) holds(x *exchange) (bool, error) {
	v, err := s.catalog.Session(x.ctx(), x.tenant(), guid[sessionID](x, "id"))
	return (v.JobType == backup.RestoreGranular) == (x.artifactsAsked().set == x.route.of.granular.set), err
}

func (s *Server) artifacts(x *exchange) func(catalog.Page) (catalog.List[backup.Artifact], error) {
	return func(p catalog.Page) (catalog.List[backup.Artifact], error) {
		if holds, err := s.holds(x); err != nil || !holds {
			return catalog.List[backup.Artifact]{}, err
		}
		return s.catalog.Artifacts(x.ctx(), x.tenant(), guid[sessionID](x, "id"), p)
	}
}

// ofSession is a collection of the session of the address, as contexts name it.
func ofSession(x *exchange, c collection) string {
	return c.of(x.route.of.sessions, x.r.PathValue("id"))
}

// listArtifacts serves the artifacts of a session, each with its restore point.
func (s *Server) listArtifacts(x *exchange) (reply, error) {
	return list(s, x, listing[backup.Artifact]{
		set: ofSession(x, x.artifactsAsked()), fetch: s.artifacts(x),
		view: func(a backup.Artifact) (odata.Entity, error) { return artifactView(x.route.of, a, ""), nil },
	})
}

func (s *Server) countArtifacts(x *exchange) (reply, error) { return count(x, s.artifacts(x)) }

func (s *Server) artifact(x *exchange) (backup.Artifact, error) {
	holds, err := s.holds(x)
	if err == nil && !holds {
		err = unknown()
	}
	if err != nil {
		return backup.Artifact{}, err
	}
	return s.catalog.Artifact(x.ctx(), x.tenant(), guid[sessionID](x, "id"), guid[artifactID](x, "artifact"))
}

func (s *Server) getArtifact(x *exchange) (reply, error) {
	a, err := s.artifact(x)
	if err != nil {
		return reply{}, err
	}
	return show(x, http.StatusOK, ofSession(x, x.artifactsAsked()), artifactView(x.route.of, a, ""))
}

// getArtifactPoint serves the restorePoint of an artifact.
func (s *Server) getArtifactPoint(x *exchange) (reply, error) {
	a, err := s.artifact(x)
	if err != nil {
		return reply{}, err
	}
	return show(x, http.StatusOK, pointSet, pointView(a.Point, nil))
}
