package graphapi

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/odata"
)

// maxShown is how many bytes of an entry that is none are told again.
const maxShown = 100

type requestID = backup.BulkRequestID

// bulkRestoreView shows a bulk restore request. Its lists are never told again.
func (s *Server) bulkRestoreView(x *exchange, w *workload, b backup.BulkRequest) odata.Entity {
	e := odata.Entity{Type: w.bulkRestore.name, Path: root + "/" + w.bulkRestore.of(w.sessions, string(b.Session)) + "('" + string(b.ID) + "')"}
	e.Add("id", b.ID)
	e.Add("displayName", b.DisplayName)
	e.Add("destinationType", b.Destination)
	period := odata.Entity{}
	addTime(&period, "startDateTime", b.From)
	addTime(&period, "endDateTime", b.To)
	e.Add("protectionTimePeriod", period)
	preference := "latest"
	if b.Oldest {
		preference = "oldest"
	}
	e.Add("restorePointPreference", preference)
	if b.Tags != "" {
		e.Add("tags", evolved(s, x, b.Tags, backup.TagNewerItems, backup.TagFastRestore+","+backup.TagNewerItems))
	}
	e.Add(w.addresses, []string{})
	e.Add(w.ids, []string{})
	e.Add("status", b.Status)
	e.Add("error", b.Problem)
	addStamps(&e, b.Created, b.Modified, identities)
	return e
}

// createBulkRestore serves POST of a bulk restore request. What its entries mean is found out once the session is activated.
func (s *Server) createBulkRestore(x *exchange) (reply, error) {
	w, session := x.route.of, guid[sessionID](x, "id")
	n, err := w.parseBulkRestore(x)
	if err != nil {
		// Whether the session exists and may have a request comes before what is
		// wrong with that.
		v, err2 := s.catalog.Session(x.ctx(), x.tenant(), session)
		if err2 == nil {
			err2 = v.TakeBulk()
		}
		if err2 != nil {
			return reply{}, err2
		}
		return reply{}, err
	}
	n.Session = session
	b, err := s.catalog.CreateBulkRestore(x.ctx(), x.tenant(), n, s.stamp(x))
	if err != nil {
		return reply{}, err
	}
	return created(x, ofSession(x, w.bulkRestore), w.sessions.set+"/"+string(session)+"/"+w.bulkRestore.set+"/"+string(b.ID), s.bulkRestoreView(x, w, b))
}

// parseBulkRestore reads a bulk restore request.
func (w *workload) parseBulkRestore(x *exchange) (n backup.BulkRequest, err error) {
	o := x.body
	wrong := func(message, target string) error {
		return backup.Fail(backup.BulkRestoreInvalidCreate, message).On(target)
	}
	if err := o.Only(w.bulkRestore.name, append(readOnly, "displayName", w.addresses, w.ids, "protectionUnitIds", "protectionTimePeriod",
		"destinationType", "tags", "restorePointPreference")...); err != nil {
		return n, err
	}
	name, named, err := o.String("displayName")
	if err != nil {
		return n, err
	}
	if n.DisplayName = name; named && checkDisplayName(name) != nil {
		return n, wrong("The displayName must have 1 to 1,024 characters.", "displayName")
	}
	if n.Addresses, _, err = o.Strings(w.addresses); err != nil {
		return n, err
	}
	if n.IDs, _, err = o.Strings(w.ids); err != nil {
		return n, err
	}
	units, _, err := o.Strings("protectionUnitIds")
	if err != nil {
		return n, err
	}
	period, given, err := o.Object("protectionTimePeriod")
	if err != nil {
		return n, err
	}
	entries := len(n.Addresses) + len(n.IDs)
	switch {
	case len(units) > 0:
		return n, wrong(upperFirst(w.owner)+"s are named by "+w.addresses+" and "+w.ids+"; protectionUnitIds is not implemented.", "protectionUnitIds")
	case entries == 0:
		return n, wrong("The request names no "+w.owner+": send "+w.addresses+", "+w.ids+", or both.", w.addresses)
	case entries > backup.MaxBulkRestoreEntries:
		return n, backup.Fail(backup.BulkRestoreTooManyEntries, "One request may name at most 10,000 "+w.owner+"s in both of its lists together. Send several, each in a session of its own.").On(w.addresses)
	case !given:
		return n, wrong("Say of which time to restore: protectionTimePeriod, with startDateTime, endDateTime or both.", "protectionTimePeriod")
	}
	for i, address := range n.Addresses {
		if _, ok := w.kind.ParseAddress(address); !ok || address != strings.TrimSpace(address) {
			return n, backup.Fail(w.badAddress, fmt.Sprintf("Entry %d of %s, %q, is not %s. Correct it; nothing was created.", i+1, w.addresses, printable(address, maxShown), w.address)).On(w.addresses)
		}
	}
	for i, id := range n.IDs {
		if _, ok := w.kind.ParseSubject(id); !ok {
			return n, wrong(fmt.Sprintf("Entry %d of %s, %q, is not %s. Correct it; nothing was created.", i+1, w.ids, printable(id, maxShown), w.meaning), w.ids)
		}
	}
	if err := period.Only("timePeriod", "startDateTime", "endDateTime"); err != nil {
		return n, err
	}
	if n.From, err = period.Time("startDateTime"); err != nil {
		return n, err
	}
	if n.To, err = period.Time("endDateTime"); err != nil {
		return n, err
	}
	switch {
	case n.From.IsZero() && n.To.IsZero():
		return n, wrong("The protectionTimePeriod has neither startDateTime nor endDateTime.", "protectionTimePeriod")
	case !n.To.IsZero() && n.From.After(n.To):
		return n, wrong("The protectionTimePeriod ends before it starts.", "protectionTimePeriod")
	}
	if n.Destination, err = destinationOf(o); errors.Is(err, backup.InvalidPathType) {
		return n, wrong("The destinationType must be new or inPlace.", "destinationType")
	} else if err != nil {
		return n, err
	}
	preference, _, err := o.String("restorePointPreference")
	if err != nil {
		return n, err
	}
	switch {
	case strings.EqualFold(preference, "oldest"):
		n.Oldest = true
	case preference != "" && !strings.EqualFold(preference, "latest"):
		return n, wrong("The restorePointPreference must be latest or oldest.", "restorePointPreference")
	}
	var ok bool
	if n.Tags, ok, err = pointTags(x, o); err == nil && !ok {
		err = wrong("The tags must be none or fastRestore.", "tags")
	}
	return n, err
}

// pointTags reads a restorePointTags: flags, with or without a blank between
// them. Both are as good as none: every point fits. It reports false for what
// is neither.
func pointTags(x *exchange, o *odata.Object) (tags backup.PointTags, ok bool, err error) {
	text, given, err := o.String("tags")
	if err != nil || !given {
		return "", true, err
	}
	newer, any := false, false
	for flag := range strings.SplitSeq(text, ",") {
		var t backup.PointTags
		switch flag = strings.TrimSpace(flag); {
		case x.inBeta() && strings.EqualFold(flag, string(backup.TagNewerItems)):
			newer = true
			continue
		case strings.EqualFold(flag, string(backup.TagNone)):
			t = backup.TagNone
		case strings.EqualFold(flag, string(backup.TagFastRestore)):
			t = backup.TagFastRestore
		default:
			return "", false, nil
		}
		if any = any || tags != "" && tags != t; !any {
			tags = t
		}
	}
	switch {
	case newer && tags == backup.TagFastRestore && !any:
		return tags + "," + backup.TagNewerItems, true, nil
	case newer:
		return backup.TagNewerItems, true, nil
	case any:
		return "", true, nil
	}
	return tags, true, nil
}

func (s *Server) bulkRestores(x *exchange) func(catalog.Page) (catalog.List[backup.BulkRequest], error) {
	return func(p catalog.Page) (catalog.List[backup.BulkRequest], error) {
		return s.catalog.BulkRestores(x.ctx(), x.tenant(), guid[sessionID](x, "id"), p)
	}
}

// listBulkRestores serves the bulk restore requests of a session.
func (s *Server) listBulkRestores(x *exchange) (reply, error) {
	return list(s, x, listing[backup.BulkRequest]{
		set: ofSession(x, x.route.of.bulkRestore), fetch: s.bulkRestores(x),
		view: func(b backup.BulkRequest) (odata.Entity, error) { return s.bulkRestoreView(x, x.route.of, b), nil },
	})
}

func (s *Server) countBulkRestores(x *exchange) (reply, error) { return count(x, s.bulkRestores(x)) }

func (s *Server) getBulkRestore(x *exchange) (reply, error) {
	b, err := s.catalog.BulkRestore(x.ctx(), x.tenant(), guid[sessionID](x, "id"), guid[requestID](x, "request"))
	if err != nil {
		return reply{}, err
	}
	return show(x, http.StatusOK, ofSession(x, x.route.of.bulkRestore), s.bulkRestoreView(x, x.route.of, b))
}

func (s *Server) deleteBulkRestore(x *exchange) (reply, error) {
	if err := s.catalog.DeleteBulkRestore(x.ctx(), x.tenant(), guid[sessionID](x, "id"), guid[requestID](x, "request")); err != nil {
		return reply{}, err
	}
	return s.deleted(x)
}
