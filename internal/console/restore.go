package console

import (
	"net/http"
	"net/url"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/client"
)

type restoreUnitPage struct {
	Point   pointAnswer
	Unit    unitAnswer
	To      string
	Target  string // to whom, or into which site, if that is toOther
	Whose   string // who that is
	Unknown bool   // the directory does not know them
	Confirm bool   // it was asked what will happen
	Wrong   string
	Items   []chosen // of a mailbox, what alone is restored: items and folders by their keys; none for all
	Trail   []string // where they were chosen
}

// Back is the page that the restore was begun on.
func (p restoreUnitPage) Back() string {
	if len(p.Items) == 0 {
		return "/console/units/" + p.Unit.ID
	}
	return "/console/points/" + p.Point.ID + "/mail?" + url.Values{"t": p.Trail}.Encode()
}

// toOther is a destination that the API says otherwise: a new place beside what is
// somebody else's. elsewhere is the member of an artifact that says whose.
const toOther = "other"

var elsewhere = map[*client.Workload]string{client.Drives: "@holdfast.targetDrive", client.Mailboxes: "@holdfast.targetMailbox"}

// Elsewhere reports whether a unit can be restored to somebody else.
func (u unitAnswer) Elsewhere() bool { return elsewhere[u.Of()] != "" }

// IntoSite reports whether it is restored into a site.
func (p restoreUnitPage) IntoSite() bool { return strings.HasPrefix(p.Target, "https://") }

// restoreUnit restores a whole drive, site or mailbox, or what was chosen of a mailbox: first
// where to, then it is said what will change, and then it is done.
func restoreUnit(v *visit) error {
	id := v.r.PathValue("id")
	p, err := get[pointAnswer](v.ctx(), v.api, pointSet+"/"+url.PathEscape(id)+"?$expand=protectionUnit")
	if err != nil {
		return err
	}
	page := restoreUnitPage{Point: p, Unit: v.unitOfPoint(p), To: v.r.FormValue("to"), Target: strings.TrimSpace(v.r.FormValue("target"))}
	of, title := page.Unit.Of(), "Restore "+page.Unit.Called()
	artifact, set := map[string]any{"restorePoint": map[string]string{"id": p.ID}, "destinationType": page.To}, of.Artifacts
	page.Trail = v.r.Form["t"]
	for _, c := range crumbs(url.Values{"t": v.r.Form["item"]}) {
		page.Items = append(page.Items, chosen(c))
	}
	switch {
	case len(page.Items) > 0 && of != client.Mailboxes:
		return errNoPage // those of others are restored by browsing
	case len(page.Items) > backup.MaxPickedMail:
		v.say("bad", "Choose at most "+strconv.Itoa(backup.MaxPickedMail)+" at a time, or a folder that holds them.")
		return v.redirect(page.Back())
	case len(page.Items) > 0:
		title, set = "Restore from "+page.Unit.Called(), of.Granular
		keys := make([]string, len(page.Items))
		for i, c := range page.Items {
			keys[i] = c.Part
		}
		artifact["@holdfast.itemKeys"] = keys
	case v.r.Form.Has("pick"):
		v.say("bad", "Choose what to restore first.")
		return v.redirect("/console/points/" + p.ID + "/mail?" + url.Values{"t": page.Trail}.Encode())
	}
	switch {
	case page.To == string(backup.DestinationInPlace), page.To == string(backup.DestinationNew):
		page.Confirm = true
	case page.To == toOther && page.Unit.Elsewhere():
		if page.Confirm = page.Target != ""; !page.Confirm {
			page.Wrong = "Say to whom: the address of a user" + map[bool]string{true: ", or of a site."}[of == client.Drives]
		}
		artifact["destinationType"], artifact[elsewhere[of]] = backup.DestinationNew, page.Target
	}
	if v.r.PostFormValue("step") == "where" {
		page.Confirm, page.Wrong = false, ""
	}
	if !page.Confirm {
		return v.show("restore-unit", title, page)
	}
	if v.r.Method != http.MethodPost || v.r.PostFormValue("step") == "look" {
		if page.To == toOther && !page.IntoSite() {
			page.Whose, page.Unknown = v.whoIsAt(page.Target)
		}
		return v.show("restore-unit", title, page)
	}
	if page.To == string(backup.DestinationInPlace) && v.r.PostFormValue("understood") == "" {
		page.Wrong = "Tick the box first: this changes the live " + of.Noun + "."
		return v.show("restore-unit", title, page)
	}
	err = v.restore(of, map[string]any{set[1:]: []any{artifact}})
	if p := explain(err); err != nil && page.To == toOther && p.status == http.StatusBadRequest {
		page.Confirm, page.Wrong = false, p.text
		return v.show("restore-unit", title, page)
	}
	return err
}

// whoIsAt is who in the directory has an address, by name; and whether it is known to be
// nobody's.
func (v *visit) whoIsAt(address string) (name string, nobody bool) {
	people, err := v.search(address)
	if err != nil {
		return "", false
	}
	for _, p := range people {
		if strings.EqualFold(p.UserPrincipalName, address) || strings.EqualFold(p.Mail, address) {
			return p.DisplayName, false
		}
	}
	_, isID := backup.ParseGUID(address)
	return "", !isID
}

// unitOfPoint is the unit of a point with its owner's names, as far as they may
// be seen.
func (v *visit) unitOfPoint(p pointAnswer) unitAnswer {
	if u, err := get[unitAnswer](v.ctx(), v.api, anyUnit+"/"+p.ProtectionUnit.ID); err == nil {
		return u
	}
	return p.ProtectionUnit
}

// restore makes a session and starts it.
func (v *visit) restore(of *client.Workload, body any) error {
	var s sessionAnswer
	if err := v.api.Create(v.ctx(), of.Sessions, body, &s); err != nil {
		return err
	}
	return v.start(s.ID)
}

func (v *visit) start(session string) error {
	if err := v.api.Act(v.ctx(), anySession+"/"+url.PathEscape(session)+"/activate", nil, nil); err != nil {
		v.say("bad", "The restore was prepared and could not be started: "+explain(err).text)
	}
	return v.redirect("/console/restores/" + session)
}

type restoreItemsPage struct {
	Session string
	Owner   unitAnswer
	At      time.Time
	Items   []chosen
	Trail   []string
	Back    string
}

type chosen struct{ Part, Name string }

// Folder reports whether something chosen of a mailbox is a folder, whose names here end so.
func (c chosen) Folder() bool { return strings.HasSuffix(c.Name, "/") }

// restoreItems restores files and folders of a point into a new folder.
func restoreItems(v *visit) error {
	s, known, err := v.look()
	if err != nil {
		return err
	}
	form := v.r.PostForm
	if v.r.Method != http.MethodPost {
		form = v.r.URL.Query()
	}
	page := restoreItemsPage{Session: s.ID, Owner: known.Owner, At: known.At, Trail: form["t"]}
	page.Back = "/console/browse/" + s.ID + "?" + url.Values{"t": page.Trail}.Encode()
	for _, c := range crumbs(url.Values{"t": form["item"]}) {
		page.Items = append(page.Items, chosen(c))
	}
	switch {
	case s.Status != string(backup.BrowseCreated):
		return errNoPage
	case len(page.Items) == 0:
		v.say("bad", "Choose the files and folders to restore first.")
		return v.redirect(page.Back)
	case len(page.Items) > backup.MaxArtifactsPerRequest:
		v.say("bad", "Choose at most "+strconv.Itoa(backup.MaxArtifactsPerRequest)+" at a time, or a folder that holds them.")
		return v.redirect(page.Back)
	case v.r.PostFormValue("step") != "go":
		return v.show("restore-items", "Restore from "+known.Owner.Called(), page)
	}
	var items []any
	for _, c := range page.Items {
		items = append(items, map[string]string{"browseSessionId": s.ID, "id": known.keyOf(c.Part)})
	}
	of := known.Owner.Of()
	return v.restore(of, map[string]any{of.Granular[1:]: items})
}

type restoresPage struct {
	Sessions list[sessionAnswer]
	Status   string
	Statuses []string
	Whose    map[string]string // what each is of, by id
}

// whose finds out what restores are of: the first of each, and how many more there are.
// Those of which it cannot be known are absent.
func (v *visit) whose(all []sessionAnswer) map[string]string {
	names := make([]string, len(all))
	each(len(all), func(i int) {
		defer func() {
			if why := recover(); why != nil {
				v.cfg.Log.Error("what a restore is of could not be found out", "why", why, "stack", string(debug.Stack()))
			}
		}()
		s := all[i]
		known, ok := v.restored.get(v.s, s.ID)
		if !ok {
			if known = v.first(s); known != "" && s.Status != string(backup.SessionDraft) {
				v.restored.put(v.s, s.ID, known)
			}
		}
		if n := s.RestoreSessionArtifactCount.Total; known != "" && n > 1 {
			known += " and " + plural(n-1, "other", "others")
		}
		names[i] = known
	})
	whose := map[string]string{}
	for i, s := range all {
		whose[s.ID] = names[i]
	}
	return whose
}

// first is what the first artifact of a restore is called: whose it is, or the file or folder.
func (v *visit) first(s sessionAnswer) string {
	set := s.Of().Sessions + "/" + url.PathEscape(s.ID) + s.Of().Artifacts + "?$top=1"
	granular := s.RestoreJobType == string(backup.RestoreGranular)
	if granular { // of which no fewer can be asked for
		set = s.Of().Sessions + "/" + url.PathEscape(s.ID) + s.Of().Granular
	}
	if granular && s.Of() != client.Mailboxes {
		items, err := get[struct{ Value []granularAnswer }](v.ctx(), v.api, set)
		if err != nil || len(items.Value) == 0 {
			return ""
		}
		return path.Base(place(items.Value[0].WebURL))
	}
	artifacts, err := get[struct{ Value []artifactAnswer }](v.ctx(), v.api, set)
	if err != nil || len(artifacts.Value) == 0 {
		return ""
	}
	u, err := get[unitAnswer](v.ctx(), v.api, pointSet+"/"+url.PathEscape(artifacts.Value[0].RestorePoint.ID)+"/protectionUnit")
	if err != nil {
		return ""
	}
	return u.Name()
}

func listRestores(v *visit) error {
	page := restoresPage{Status: v.r.URL.Query().Get("status")}
	for _, s := range []backup.SessionStatus{backup.SessionDraft, backup.SessionActivating, backup.SessionActive, backup.SessionCompleted, backup.SessionCompletedWithError, backup.SessionFailed} {
		page.Statuses = append(page.Statuses, string(s))
	}
	options := []string{query("$orderby", "createdDateTime desc")}
	if page.Status != "" {
		options = append(options, query("$filter", "status eq "+text(page.Status)))
	}
	var err error
	if page.Sessions, err = rows[sessionAnswer](v, anySession, options...); err != nil {
		return err
	}
	page.Whose = v.whose(page.Sessions.Items)
	return v.show("restores", "Restores", page)
}

type restorePage struct {
	Session  sessionAnswer
	Running  bool
	Done     int // of the artifacts, in percent
	Units    []restoredUnit
	Items    []granularAnswer
	Total    int
	First    string
	Next     string
	Failures []failure
	More     int
}

type restoredUnit struct {
	artifactAnswer
	Unit     unitAnswer
	Failures []failure
	More     int
}

// showRestore shows a session while it runs and when it is over.
func showRestore(v *visit) error {
	id := url.PathEscape(v.r.PathValue("id"))
	s, err := get[sessionAnswer](v.ctx(), v.api, anySession+"/"+id)
	if err != nil {
		return err
	}
	v.of = anySession + "/" + id
	n := s.RestoreSessionArtifactCount
	page := restorePage{Session: s, Running: s.Status == string(backup.SessionActive) || s.Status == string(backup.SessionActivating)}
	if n.Total > 0 {
		page.Done = 100 * (n.Completed + n.Failed) / n.Total
	}
	page.Failures, page.More = failuresOf(s.Error)
	set := s.Of().Sessions + "/" + id
	if s.RestoreJobType == string(backup.RestoreGranular) && s.Of() != client.Mailboxes {
		l, _, err := take[granularAnswer](v.api.All(v.ctx(), set+s.Of().Granular), maxItems)
		if err != nil && !forbidden(err) {
			return err
		}
		page.Items, page.Total = l, len(l)
		return v.show("restore", "Restore", page)
	}
	set += s.Of().Artifacts
	if s.RestoreJobType == string(backup.RestoreGranular) {
		set = s.Of().Sessions + "/" + id + s.Of().Granular
	}
	artifacts, err := read[artifactAnswer](v, set)
	if err != nil {
		return err
	}
	page.Total, page.First, page.Next = artifacts.Total, artifacts.First, artifacts.Next
	for _, a := range artifacts.Items {
		d := restoredUnit{artifactAnswer: a}
		if u, err := get[unitAnswer](v.ctx(), v.api, pointSet+"/"+a.RestorePoint.ID+"/protectionUnit"); err == nil {
			d.Unit = u
		}
		d.Failures, d.More = failuresOf(a.Error)
		page.Units = append(page.Units, d)
	}
	return v.show("restore", "Restore", page)
}

// failuresOf are the items that a problem names, and how many more it does.
func failuresOf(p *problemAnswer) (all []failure, more int) {
	if p == nil {
		return nil, 0
	}
	for i, d := range p.Details {
		if i == maxFailures {
			return all, len(p.Details) - i
		}
		all = append(all, failure{d.Target, firstLine(d.Message, d.Code)})
	}
	return all, 0
}

// changeRestore starts or deletes a restore that was only prepared, and has one that
// is at work pause, go on, or end.
func changeRestore(v *visit) error {
	id := v.r.PathValue("id")
	switch v.r.PathValue("do") {
	case "start":
		return v.start(id)
	case "delete":
		if err := v.api.Delete(v.ctx(), anySession+"/"+url.PathEscape(id)); err != nil {
			return err
		}
		v.say("good", "The restore is deleted. Nothing was changed.")
		return v.redirect("/console/restores")
	case "pause", "resume", "cancel":
		if err := v.api.Act(v.ctx(), anySession+"/"+url.PathEscape(id)+"/holdfast."+v.r.PathValue("do"), nil, nil); err != nil {
			v.say("bad", explain(err).text)
		}
		return v.redirect("/console/restores/" + url.PathEscape(id))
	}
	return errNoPage
}
