package graphapi

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/odata"
)

// pageOfPoints is how many points one answer lists.
const pageOfPoints = 5

// maxSearchUnits is how many units one search may name.
const maxSearchUnits = 20

// pointView shows a restorePoint, with its unit if there is one to show.
func pointView(p backup.Point, unit *backup.Unit) odata.Entity {
	e := odata.Entity{Type: restorePoint, Path: root + "/" + pointSet + "('" + string(p.ID) + "')"}
	e.Add("id", p.ID)
	e.Add("protectionDateTime", odata.FormatTime(p.At))
	e.Add("expirationDateTime", odata.FormatTime(p.Expires))
	e.Add("tags", p.Tags)
	// Ours; clients pass over annotations that they do not know.
	e.Add("@holdfast.fileCount", p.Files)
	e.Add("@holdfast.size", p.Bytes)
	tag := sha256.Sum256([]byte(p.Tree))
	e.Add("@holdfast.contentTag", hex.EncodeToString(tag[:8])) // the same where two points of a drive hold the same
	if p.Unread > 0 {
		e.Add("@holdfast.unreadItemCount", p.Unread)
	}
	if !p.Verified.IsZero() {
		e.Add("@holdfast.verifiedDateTime", odata.FormatTime(p.Verified))
	}
	if p.Lost {
		e.Add("@holdfast.isLost", true)
	}
	if unit != nil {
		w := wordsOf(unit.Workload)
		u := odata.Entity{Type: w.units.name, Path: root + "/" + unitSet + "('" + string(unit.ID) + "')"}
		u.Add("id", unit.ID)
		u.Add(w.subject, cmp.Or(unit.SourceID, string(unit.Subject)))
		addText(&u, "policyId", string(unit.Policy))
		e.Add("protectionUnit", u)
	}
	return e
}

// A pointsWanted is what a listing of points asks for.
type pointsWanted struct {
	unit  backup.UnitID
	query catalog.PointQuery
}

func invalidSearch(message, target string) *backup.Error {
	return backup.Fail(backup.InvalidSearchRequest, message).On(target)
}

// parsePoints reads the options that a listing of points must have: whose, and
// of which time.
func parsePoints(o odata.Options) (pointsWanted, error) {
	var w pointsWanted
	property, filter, ok := odata.ParseExpand(o.Expand)
	if !ok || !strings.EqualFold(property, "protectionUnit") {
		return w, invalidSearch("Say whose points to list: $expand=protectionUnit($filter=id eq '…').", "$expand")
	}
	terms, err := odata.ParseComparisons(filter, backup.InvalidSearchRequest, "$expand")
	if err != nil {
		return w, err
	}
	if len(terms) != 1 || !strings.EqualFold(terms[0].Property, "id") || terms[0].Operator != "eq" {
		return w, invalidSearch("The filter on protectionUnit must be \"id eq '…'\".", "$expand")
	}
	id, ok := backup.ParseGUID(terms[0].Literal)
	if !ok {
		return w, backup.Fail(backup.InvalidProtectionUnitID, "The id of a unit is a GUID.").On("$expand")
	}
	w.unit = backup.UnitID(id)
	w.query.Unit = w.unit
	if !o.Has(odata.Filter) {
		return w, invalidSearch("Say which time to list: $filter=protectionDateTime lt 2026-01-31T12:00:00Z.", "$filter")
	}
	if terms, err = odata.ParseComparisons(o.Filter, backup.InvalidSearchRequest, "$filter"); err != nil {
		return w, err
	}
	for _, t := range terms {
		at, ok := odata.ParseTime(t.Literal)
		if !ok || t.Quoted || t.Operator == "ne" || !strings.EqualFold(t.Property, "protectionDateTime") {
			return w, invalidSearch("Points are filtered by protectionDateTime with lt, le, gt, ge or eq and a time such as 2026-01-31T12:00:00Z, without quotes.", "$filter")
		}
		w.bound(t.Operator, at)
	}
	switch words := strings.Fields(o.OrderBy); {
	case !o.Has(odata.OrderBy):
	case len(words) == 0 || len(words) > 2 || !strings.EqualFold(words[0], "protectionDateTime"):
		return w, invalidSearch("Points are ordered by protectionDateTime only.", "$orderby")
	case len(words) == 1 || words[1] == "asc":
		w.query.Oldest = true
	case words[1] != "desc":
		return w, invalidSearch("The order is asc or desc.", "$orderby")
	}
	return w, nil
}

// bound narrows the time that is asked for.
func (w *pointsWanted) bound(operator string, at time.Time) {
	q := &w.query
	if at.IsZero() { // to the catalog that is no bound
		at = at.Add(1)
	}
	if operator == "lt" || operator == "le" || operator == "eq" {
		if incl := operator != "lt"; q.To.IsZero() || at.Before(q.To) || at.Equal(q.To) && !incl {
			q.To, q.ToIncl = at, incl
		}
	}
	if operator == "gt" || operator == "ge" || operator == "eq" {
		if incl := operator != "gt"; q.From.IsZero() || at.After(q.From) || at.Equal(q.From) && !incl {
			q.From, q.FromIncl = at, incl
		}
	}
}

// listPoints serves restorePoints, of one unit and one span of time.
func (s *Server) listPoints(x *exchange) (reply, error) {
	fetch, unit, err := s.pointsOf(x)
	if err != nil {
		return reply{}, err
	}
	return list(s, x, listing[backup.Point]{
		set: pointSet, size: pageOfPoints, fetch: fetch,
		view: func(p backup.Point) (odata.Entity, error) { return pointView(p, unit), nil },
	})
}

// countPoints serves their number, of the same options.
func (s *Server) countPoints(x *exchange) (reply, error) {
	fetch, _, err := s.pointsOf(x)
	if err != nil {
		return reply{}, err
	}
	return count(x, fetch)
}

// pointsOf returns what reads the points that a request asks for, and their
// unit.
func (s *Server) pointsOf(x *exchange) (func(catalog.Page) (catalog.List[backup.Point], error), *backup.Unit, error) {
	w, err := parsePoints(x.options)
	if err != nil {
		return nil, nil, err
	}
	units, err := s.catalog.UnitsByID(x.ctx(), x.tenant(), []backup.UnitID{w.unit})
	if err != nil {
		return nil, nil, err
	}
	unit, known := units[w.unit]
	return func(p catalog.Page) (catalog.List[backup.Point], error) {
		if !known {
			return catalog.List[backup.Point]{}, nil
		}
		w.query.Page = p
		return s.catalog.Points(x.ctx(), x.tenant(), w.query)
	}, &unit, nil
}

// point returns the point of the address, and its unit if that was asked for
// by $expand.
func (s *Server) point(x *exchange) (backup.Point, *backup.Unit, error) {
	if x.options.Has(odata.Expand) && !strings.EqualFold(strings.TrimSpace(x.options.Expand), "protectionUnit") {
		return backup.Point{}, nil, backup.Fail(backup.InvalidRequest, "A restore point can be expanded by protectionUnit only.").On("$expand")
	}
	id, ok := backup.ParseGUID(x.r.PathValue("id"))
	if !ok {
		return backup.Point{}, nil, unknown()
	}
	p, err := s.catalog.Point(x.ctx(), x.tenant(), backup.PointID(id))
	if errors.Is(err, backup.InvalidRestorePoint) {
		err = unknown()
	}
	if err != nil || !x.options.Has(odata.Expand) {
		return p, nil, err
	}
	u, err := s.catalog.Unit(x.ctx(), x.tenant(), p.Unit)
	return p, &u, err
}

func (s *Server) getPoint(x *exchange) (reply, error) {
	p, unit, err := s.point(x)
	if err != nil {
		return reply{}, err
	}
	return show(x, http.StatusOK, pointSet, pointView(p, unit))
}

// listUnread serves holdfast.unread, a function of ours on a restore point: what
// the point does not hold as it was.
func (s *Server) listUnread(x *exchange) (reply, error) {
	p, _, err := s.point(x)
	if err != nil {
		return reply{}, err
	}
	unread, err := s.cfg.Browser.Unread(x.ctx(), p)
	if err != nil {
		return reply{}, err
	}
	return list(s, x, listing[backup.Unread]{
		set: "holdfast.unread",
		fetch: func(page catalog.Page) (catalog.List[backup.Unread], error) {
			from, _ := strconv.Atoi(page.After)
			from = min(max(from, page.Skip, 0), len(unread))
			end := min(from+page.Limit, len(unread))
			l := catalog.List[backup.Unread]{Items: unread[from:end], Total: int64(len(unread))}
			if end < len(unread) {
				l.Next = strconv.Itoa(end)
			}
			return l, nil
		},
		view: func(u backup.Unread) (odata.Entity, error) {
			var e odata.Entity
			e.Add("path", u.Path)
			e.Add("code", u.Code)
			e.Add("message", u.Message)
			addTime(&e, "sinceDateTime", u.Since)
			e.Add("isHeld", u.Held)
			if u.Beside {
				e.Add("isNote", true)
			}
			addText(&e, "itemId", string(u.Item))
			return e, nil
		},
	})
}

// getPointUnit serves the protectionUnit of a point.
func (s *Server) getPointUnit(x *exchange) (reply, error) {
	p, _, err := s.point(x)
	if err != nil {
		return reply{}, err
	}
	u, err := s.catalog.Unit(x.ctx(), x.tenant(), p.Unit)
	if err != nil {
		return reply{}, err
	}
	return show(x, http.StatusOK, unitSet, s.unitView(x, u, ""))
}

// searchPoints serves restorePoint: search. For each unit it finds one point.
func (s *Server) searchPoints(x *exchange) (reply, error) {
	search, query, err := s.parseSearch(x)
	if err != nil {
		return reply{}, err
	}
	if query != nil {
		return s.searchMail(x, search, *query)
	}
	found, err := s.catalog.SearchPoints(x.ctx(), x.tenant(), search)
	if err != nil {
		return reply{}, err
	}
	points := found.Points[:min(len(found.Points), s.cfg.RestoreSearchLimit)]
	var ids []backup.UnitID
	for _, p := range points {
		ids = append(ids, p.Unit)
	}
	units, err := s.catalog.UnitsByID(x.ctx(), x.tenant(), ids)
	if err != nil {
		return reply{}, err
	}
	results := make([]odata.Entity, len(points))
	for i, p := range points {
		unit := units[p.Unit]
		results[i].Add("restorePoint", pointView(p, &unit))
	}
	return searched(x, backup.NewID[string](), results, found.Missing, "")
}

// searched answers a search; note is what a person should know of it.
func searched(x *exchange, id string, results []odata.Entity, missing []backup.UnitID, note string) (reply, error) {
	var e odata.Entity
	e.Add(searchResponse, id)
	e.Add("searchResults", results)
	if len(missing) > 0 {
		e.Add("noResultProtectionUnitIds", missing)
	}
	addText(&e, "@holdfast.note", note)
	body, err := x.form().Entity(x.base+"/$metadata#microsoft.graph.restorePointSearchResponse", e)
	return reply{status: http.StatusOK, body: body}, err
}

// A mailFound is what the id of a search of a mailbox stands for.
type mailFound struct {
	Unit  backup.UnitID
	Point backup.PointID
	Hits  int64
	Query string // as ParseMailQuery reads it
}

// searchPath is what ids of searches are bound to, besides their tenant.
const searchPath = pointSet + "/search"

// openSearch returns what the id of a search of a mailbox stands for. It is of this
// tenant, or none.
func (s *Server) openSearch(x *exchange, id string) (found mailFound, err error) {
	text, err := s.tokens.Open(string(x.tenant()), searchPath, odata.Options{SkipToken: id})
	parts := strings.SplitN(text, " ", 4)
	if err != nil || len(parts) < 4 {
		return found, backup.Fail(backup.InvalidArtifactRequest, "The searchResponseId is not one that a search of a mailbox with an artifactQuery gave within 24 hours. Search again, and send the id of that answer; or name items and folders of the point by "+itemKeys+".").On(searchResponse)
	}
	found = mailFound{Unit: backup.UnitID(parts[0]), Point: backup.PointID(parts[1]), Query: parts[3]}
	found.Hits, err = strconv.ParseInt(parts[2], 10, 64)
	return found, err
}

// sealSearch returns the id of a search.
func (s *Server) sealSearch(x *exchange, f mailFound) string {
	return s.tokens.Seal(string(x.tenant()), searchPath, odata.Options{}, fmt.Sprint(f.Unit, " ", f.Point, " ", f.Hits, " ", f.Query))
}

// searchMail serves a search with an artifactQuery: it finds the point of a mailbox
// that holds any of the items, and an id by which they are restored.
func (s *Server) searchMail(x *exchange, search catalog.PointSearch, expression string) (reply, error) {
	query, err := backup.ParseMailQuery(expression)
	if err != nil {
		return reply{}, err
	}
	if len(search.Units) != 1 {
		return reply{}, invalidSearch("An artifactQuery searches one mailbox: name one unit.", "protectionUnitIds")
	}
	unit := search.Units[0]
	units, err := s.catalog.UnitsByID(x.ctx(), x.tenant(), search.Units)
	if err != nil {
		return reply{}, err
	}
	of, known := units[unit]
	switch {
	case !known:
		return searched(x, backup.NewID[string](), []odata.Entity{}, search.Units, "")
	case !wordsOf(of.Workload).searched:
		return reply{}, invalidSearch("An artifactQuery searches mailboxes; this unit is a "+of.Workload.Thing()+". Look for what is in it with a browse session.", "artifactQuery")
	}
	// What somebody's mailbox is searched for is in the audit log, as what is downloaded is.
	err = s.catalog.Record(x.ctx(), backup.Activity{Tenant: x.tenant(), Workload: of.Workload, By: x.caller.Identities(), Operation: string(x.route.op),
		Target: printable(x.path()+" ("+expression+")", 1024), Object: string(unit), Request: x.id}, unit)
	if err != nil {
		return reply{}, err
	}
	found, err := s.catalog.SearchMail(x.ctx(), x.tenant(), catalog.MailSearch{PointSearch: search, Query: query})
	if err != nil {
		return reply{}, err
	}
	note := ""
	if found.Unsearched {
		note = "Of this mailbox there are restore points that cannot be searched, since they were made before its mail was indexed. They can be restored in whole."
	}
	results, missing := []odata.Entity{}, search.Units
	if found.Items > 0 {
		var e odata.Entity
		e.Add("artifactHitCount", min(found.Items, math.MaxInt32))
		e.Add("restorePoint", pointView(found.Point, &of))
		results, missing = append(results, e), nil
	}
	return searched(x, s.sealSearch(x, mailFound{unit, found.Point.ID, found.Items, expression}), results, missing, note)
}

// parseSearch reads a search, and the expression of its artifactQuery if it has one.
func (s *Server) parseSearch(x *exchange) (search catalog.PointSearch, expression *string, err error) {
	b := x.body
	if err := b.Only("", "protectionUnitIds", "protectionTimePeriod", "restorePointPreference", "tags", "artifactQuery"); err != nil {
		return search, nil, err
	}
	ids, _, err := b.Strings("protectionUnitIds")
	if err != nil {
		return search, nil, err
	}
	period, given, err := b.Object("protectionTimePeriod")
	if err != nil {
		return search, nil, err
	}
	if !given {
		return search, nil, invalidSearch("Say of which time: protectionTimePeriod, with startDateTime, endDateTime or both.", "protectionTimePeriod")
	}
	if err := period.Only("timePeriod", "startDateTime", "endDateTime"); err != nil {
		return search, nil, err
	}
	if search.From, err = period.Time("startDateTime"); err != nil {
		return search, nil, err
	}
	if search.To, err = period.Time("endDateTime"); err != nil {
		return search, nil, err
	}
	preference, err := enum(b, "restorePointPreference", "latest", "oldest")
	if err != nil {
		return search, nil, err
	}
	search.Oldest = preference == "oldest"
	tagged := false
	if search.Tags, tagged, err = pointTags(x, b); err != nil {
		return search, nil, err
	}
	search.Tags, search.Oldest = search.Tags.Search(search.Oldest)
	query, queried, err := b.Object("artifactQuery")
	if err != nil {
		return search, nil, err
	}
	if queried && query != nil {
		if expression, err = s.parseArtifactQuery(x, query); err != nil {
			return search, nil, err
		}
	}
	switch {
	case !tagged:
		return search, nil, invalidSearch("The tags must be none or fastRestore.", "tags")
	case len(ids) == 0:
		return search, nil, invalidSearch("Say of which units: protectionUnitIds.", "protectionUnitIds")
	case len(ids) > maxSearchUnits:
		return search, nil, invalidSearch("One search may name at most 20 units.", "protectionUnitIds")
	case search.From.IsZero() && search.To.IsZero():
		return search, nil, invalidSearch("The protectionTimePeriod has neither startDateTime nor endDateTime.", "protectionTimePeriod")
	case !search.To.IsZero() && search.From.After(search.To):
		return search, nil, invalidSearch("The protectionTimePeriod ends before it starts.", "protectionTimePeriod")
	}
	for _, id := range ids {
		id, ok := backup.ParseGUID(id)
		if !ok {
			return search, nil, backup.Fail(backup.InvalidProtectionUnitID, "The id of a unit is a GUID.").On("protectionUnitIds")
		}
		if u := backup.UnitID(id); !slices.Contains(search.Units, u) {
			search.Units = append(search.Units, u)
		}
	}
	return search, expression, nil
}

// parseArtifactQuery returns the expression of an artifactQuery.
func (s *Server) parseArtifactQuery(x *exchange, q *odata.Object) (*string, error) {
	if !slices.ContainsFunc(s.workloads, func(w *workload) bool { return w.searched }) {
		return nil, invalidSearch("An artifactQuery searches mailboxes, and this server protects none.", "artifactQuery")
	}
	members := []string{"artifactType", "queryExpression"}
	if x.inBeta() {
		members = append(members, structuredQuery)
	}
	if err := q.Only("artifactQuery", members...); err != nil {
		return nil, err
	}
	if _, err := enum(q, "artifactType", "message"); err != nil {
		return nil, err
	}
	expression, given, err := q.String("queryExpression")
	if err != nil || !q.Has(structuredQuery) {
		return &expression, err
	}
	structured, ok, err := q.Object(structuredQuery)
	switch {
	case err != nil || !ok:
		return &expression, err
	case given:
		return nil, invalidSearch("An artifactQuery has a queryExpression or a structuredQueryExpression. Send one of them.", structuredQuery)
	}
	return structuredExpression(structured)
}

// structuredQuery is the member of an artifactQuery that says in lists what a
// queryExpression says in a text.
const structuredQuery = "structuredQueryExpression"

// structuredExpression returns a structuredQueryExpression as a queryExpression: of
// each list one is to be met, and of the lists each.
func structuredExpression(q *odata.Object) (*string, error) {
	if err := q.Only("restoreSearchArtifactQueryExpression", "senders", "recipients", "subjects", "items", "hasAttachment"); err != nil {
		return nil, err
	}
	var all []string
	for _, list := range []struct {
		member   string
		property backup.MailProperty
	}{{"subjects", backup.MailSubject}, {"senders", backup.MailSender}, {"recipients", backup.MailParticipants}} {
		texts, _, err := q.Strings(list.member)
		if err != nil {
			return nil, err
		}
		var any []string
		for _, text := range texts {
			any = append(any, fmt.Sprintf("%s -like '%s'", list.property, strings.ReplaceAll(text, "'", "''")))
		}
		if len(any) > 0 {
			all = append(all, "("+strings.Join(any, " -or ")+")")
		}
	}
	items, _, err := q.Strings("items")
	if err != nil {
		return nil, err
	}
	var kinds []string
	for _, item := range items {
		if !slices.ContainsFunc([]string{"email", "note", "contact", "task", "calendar"}, func(known string) bool { return strings.EqualFold(item, known) }) {
			return nil, invalidSearch("The items are of email, note, contact, task and calendar.", "items")
		}
		kinds = append(kinds, fmt.Sprintf("%s -eq '%s'", backup.MailMessageKind, item))
	}
	if len(kinds) > 0 {
		all = append(all, "("+strings.Join(kinds, " -or ")+")")
	}
	if q.Has("hasAttachment") {
		has, given, err := q.Bool("hasAttachment")
		if err != nil {
			return nil, err
		}
		if given {
			all = append(all, fmt.Sprintf("%s -eq '%t'", backup.MailHasAttachment, has))
		}
	}
	if len(all) == 0 {
		return nil, invalidSearch("The structuredQueryExpression asks for nothing: send senders, recipients, subjects, items or hasAttachment.", structuredQuery)
	}
	expression := strings.Join(all, " -and ")
	return &expression, nil
}

// enum returns a member that is one of values, in any case, or "" for one that
// is absent or null.
func enum(b *odata.Object, name string, values ...string) (string, error) {
	v, ok, err := b.String(name)
	if err != nil || !ok {
		return "", err
	}
	for _, known := range values {
		if strings.EqualFold(v, known) {
			return known, nil
		}
	}
	quoted, _ := json.Marshal(values)
	return "", invalidSearch("The member '"+name+"' must be one of "+string(quoted)+".", name)
}
