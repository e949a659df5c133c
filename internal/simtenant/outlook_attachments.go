package simtenant

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// attached are the parts of an item that something can be attached to.
type attached struct {
	it    *mailItem
	parts []mailPart
	size  int64
	write func(parts []mailPart) error // gives the item other parts
	event *card                        // what an event's file says
}

// holder is a kind of items with attachments.
type holder struct {
	what string // as in addresses
	of   func(m *mailbox, r *request) (attached, error)
}

var (
	messagesHold = holder{"messages", (*mailbox).messageAttached}
	eventsHold   = holder{"events", (*mailbox).eventAttached}
)

func attachmentRoutes() (list []Route) {
	at := func(h holder, serve func(*Service, *request, *mailbox, holder) error) func(*Service, *request) error {
		return onUserMail(func(s *Service, r *request, m *mailbox) error { return serve(s, r, m, h) })
	}
	content := func(h holder, serve func(*Service, *request, *mailbox, holder) error) func(*Service, *request) error {
		return onUserContent(func(s *Service, r *request, m *mailbox) error { return serve(s, r, m, h) })
	}
	for _, of := range []struct {
		below       string
		h           holder
		read, write permission
		item        string
		also, not   string
	}{
		{"{user}/messages/{message}", messagesHold, readMail, writeMail, "a message", ", and what is shown within it", "; reference attachments"},
		{"{user}/mailFolders/{folder}/messages/{message}", messagesHold, readMail, writeMail, "a message", ", and what is shown within it", "; reference attachments"},
		{"{user}/events/{message}", eventsHold, readCalendars, writeCalendars, "an event", ": ATTACH in its file", ""},
		{"{user}/calendar/events/{message}", eventsHold, readCalendars, writeCalendars, "an event", ": ATTACH in its file", ""},
		{"{user}/calendars/{folder}/events/{message}", eventsHold, readCalendars, writeCalendars, "an event", ": ATTACH in its file", ""},
	} {
		list = append(list,
			Route{"GET", of.below + "/attachments", "What is attached to " + of.item + of.also + ".", "contentBytes if $select names others" + of.not + ".", "select", of.read, at(of.h, (*Service).listAttachments)},
			Route{"POST", of.below + "/attachments", "Attaches a file, or a message in the item, of less than 3 MB. The item is written anew.", "Items other than messages; reference attachments.", "", of.write, content(of.h, (*Service).createAttachment)},
			Route{"POST", of.below + "/attachments/createUploadSession", "An address to which a file of 3 to 150 MB is sent in fragments of less than 4 MB, in order; the last answer's Location names the attachment.", "", "", of.write, at(of.h, (*Service).createAttachmentUpload)},
			Route{"GET", of.below + "/attachments/{attachment}", "An attachment with its bytes: a file, or an item for a message.", "The item of an item attachment by $expand: it is had by $value.", "select", of.read, at(of.h, (*Service).getAttachment)},
			Route{"GET", of.below + "/attachments/{attachment}/$value", "Its bytes.", "", "", of.read, func(s *Service, r *request) error { return s.getAttachmentBytes(r, of.h) }},
			Route{"DELETE", of.below + "/attachments/{attachment}", "Takes it out of the item.", "", "", of.write, at(of.h, (*Service).deleteAttachment)},
		)
	}
	return list
}

// attachmentBody is what a client says of an attachment.
type attachmentBody struct {
	Type        string          `json:"@odata.type"`
	Name        string          `json:"name"`
	ContentType string          `json:"contentType"`
	Bytes       []byte          `json:"contentBytes"`
	Inline      bool            `json:"isInline"`
	ContentID   string          `json:"contentId"`
	Location    string          `json:"contentLocation"`
	Item        json.RawMessage `json:"item"`
}

// part is the part of a message that the attachment becomes.
func (a attachmentBody) part(me *User) (p mailPart, err error) {
	p = mailPart{kind: a.ContentType, name: a.Name, contentID: strings.Trim(a.ContentID, "<>"), location: a.Location, inline: a.Inline, data: a.Bytes}
	if kind, _, err := mime.ParseMediaType(a.ContentType); err == nil {
		p.kind = kind
	} else if p.kind = mime.TypeByExtension(path.Ext(a.Name)); p.kind == "" {
		p.kind = "application/octet-stream"
	} else if kind, _, err := mime.ParseMediaType(p.kind); err == nil {
		p.kind = kind
	}
	odd := func(c rune) bool { return c < ' ' || c > '~' }
	switch kind := strings.TrimPrefix(a.Type, "#"); {
	case p.name == "":
		return p, fail(http.StatusBadRequest, "ErrorInvalidRequest", "An attachment needs a name.")
	case strings.ContainsFunc(p.contentID, odd), strings.ContainsFunc(p.location, odd):
		return p, fail(http.StatusBadRequest, "ErrorInvalidProperty", "An attachment's contentId or contentLocation is none.")
	case kind == "microsoft.graph.fileAttachment":
		if p.kind == "message/rfc822" {
			p.kind = "application/octet-stream" // it is a file all the same
		}
		return p, nil
	case kind == "microsoft.graph.itemAttachment":
		var what struct {
			Type string `json:"@odata.type"`
		}
		if json.Unmarshal(a.Item, &what) != nil || strings.TrimPrefix(what.Type, "#") != "microsoft.graph.message" {
			return p, fail(http.StatusBadRequest, "ErrorInvalidRequest", "Of items, messages can be attached here: item needs the @odata.type microsoft.graph.message.")
		}
		in, err := decodeLetter(a.Item)
		if err != nil {
			return p, err
		}
		subject := []headField{{"Subject", encodeWords(a.Name)}, {"Content-Type", "text/plain; charset=utf-8"}}
		p.kind = "message/rfc822"
		p.data, err = in.write(joinMessage(nil, subject, nil), me)
		return p, err
	}
	return p, fail(http.StatusBadRequest, "ErrorInvalidRequest", "An attachment needs the @odata.type #microsoft.graph.fileAttachment or #microsoft.graph.itemAttachment; others are not kept here.")
}

// messageAttached reads the parts of the message that the address names.
func (m *mailbox) messageAttached(r *request) (a attached, err error) {
	if a.it, err = m.message(r); err != nil {
		return a, err
	}
	data, err := m.bytes(a.it)
	if err != nil {
		return a, err
	}
	a.parts, a.size = partsOf(a.it.mime(data)), int64(len(data))
	a.write = func(parts []mailPart) error {
		if a.it.isNote() {
			return fail(http.StatusBadRequest, "ErrorInvalidRequest", "Nothing can be attached to a note.")
		}
		return m.rewrite(r, a.it, setParts(data, parts), a.it.flags)
	}
	return a, nil
}

// eventAttached reads what is attached to the event that the address names, or to one of
// a series' occurrences.
func (m *mailbox) eventAttached(r *request) (a attached, err error) {
	it, root, o, err := m.occurrence(r)
	if err == nil && o == nil {
		if it, err = m.paper(r, calendarKind); err == nil {
			root, err = m.cards(it)
		}
	}
	if err != nil {
		return a, err
	}
	one := calendarKind.of(root)
	if o != nil && o.exception != nil {
		one = o.exception
	}
	if one == nil {
		return a, corruptItem()
	}
	a.it, a.size, a.parts, a.event = it, it.size, one.attachments(), one
	a.write = func(parts []mailPart) error {
		if o != nil {
			one = root.except(*o)
		}
		one.attach(parts)
		m.d.svc.stamp(one)
		return m.rewrite(r, it, root.text(), it.flags)
	}
	return a, nil
}

// attachments are what is attached to an event.
func (c *card) attachments() (list []mailPart) {
	for _, line := range c.lines {
		if lineName(line) != "ATTACH" {
			continue
		}
		l := (&card{lines: []string{line}}).paper()["ATTACH"]
		if len(l) == 0 {
			continue
		}
		p := mailPart{kind: l[0].param("FMTTYPE"), contentID: l[0].param("X-CONTENT-ID"), inline: strings.EqualFold(l[0].param("X-INLINE"), "TRUE"), line: line}
		for _, name := range []string{"FILENAME", "X-FILENAME", "X-APPLE-FILENAME", "X-ORACLE-FILENAME"} {
			p.name = cmp.Or(p.name, l[0].param(name))
		}
		if strings.EqualFold(l[0].param("ENCODING"), "BASE64") {
			data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(l[0].value), ""))
			if err != nil {
				data = []byte(l[0].value) // as it stands there
			}
			p.data, p.kind, p.name = data, cmp.Or(p.kind, "application/octet-stream"), cmp.Or(p.name, "attachment")
		} else {
			p.location, p.kind = l[0].value, ""
			p.name = cmp.Or(p.name, path.Base(l[0].value))
		}
		list = append(list, p)
	}
	return list
}

// attach gives an event what is attached to it.
func (c *card) attach(parts []mailPart) {
	c.set("ATTACH")
	for _, p := range parts {
		if p.line == "" {
			p.line = "ATTACH;FMTTYPE=" + p.kind + ";ENCODING=BASE64;VALUE=BINARY;FILENAME=" + escapeParam(p.name)
			if p.contentID != "" {
				p.line += ";X-CONTENT-ID=" + escapeParam(p.contentID)
			}
			if p.inline {
				p.line += ";X-INLINE=TRUE"
			}
			p.line += ":" + base64.StdEncoding.EncodeToString(p.data)
		}
		c.lines = append(c.lines, p.line)
	}
}

// heldPart is a part with its id.
type heldPart struct {
	id string
	mailPart
}

// held are the parts that are attached to a message. Their ids stay when others come
// and go.
func (m *mailbox) held(it *mailItem, parts []mailPart) (list []heldPart) {
	message, seen := m.stayID(it.at, true), map[[16]byte]int{}
	for _, p := range attachmentsOf(parts) {
		sum := derive("attachment", message, p.name, p.kind, p.contentID, string(p.data))
		seen[sum]++
		id := derive(string(sum[:]), strconv.Itoa(seen[sum]))
		list = append(list, heldPart{base64.URLEncoding.EncodeToString(append([]byte{2, 3, 0x24, 0, 0}, id[:]...)), p})
	}
	return list
}

func (p heldPart) view(it *mailItem) map[string]any {
	v := map[string]any{
		"@odata.type": "#microsoft.graph.fileAttachment", "@odata.mediaContentType": p.kind, "id": p.id, "name": p.name, "contentType": p.kind,
		"size": len(p.data), "isInline": p.inline, "lastModifiedDateTime": it.changed.second(), "contentId": orNull(p.contentID),
		"contentBytes": base64.StdEncoding.EncodeToString(p.data), "contentLocation": orNull(p.location),
	}
	if p.kind == "message/rfc822" {
		v["@odata.type"] = "#microsoft.graph.itemAttachment"
		withoutBytes(v)
	}
	if p.reference() {
		v["@odata.type"], v["contentType"], v["size"] = "#microsoft.graph.referenceAttachment", nil, len(p.location)
		withoutBytes(v)
	}
	return v
}

// reference reports whether it is an address, and no file.
func (p mailPart) reference() bool { return p.line != "" && p.kind == "" }

// withoutBytes takes out of a view what only files have.
func withoutBytes(v map[string]any) {
	for _, name := range []string{"contentBytes", "contentId", "contentLocation", "@odata.mediaContentType"} {
		delete(v, name)
	}
}

// views are what is attached, as Outlook shows it.
func (m *mailbox) views(it *mailItem, parts []mailPart, names map[string]bool) []any {
	list := []any{}
	for _, p := range m.held(it, parts) {
		list = append(list, project(p.view(it), names))
	}
	return list
}

func (s *Service) listAttachments(r *request, m *mailbox, h holder) error {
	a, err := h.of(m, r)
	if err != nil {
		return err
	}
	list := m.views(a.it, a.parts, selected(r.query))
	context := r.outlookContext(h.what + "('" + url.PathEscape(r.vars["message"]) + "')/attachments")
	r.status, r.answer = http.StatusOK, map[string]any{"@odata.context": r.base + "/$metadata#" + context, "value": list}
	return nil
}

// attachment finds the attachment that the address names.
func (m *mailbox) attachment(r *request, h holder) (p heldPart, it *mailItem, err error) {
	a, err := h.of(m, r)
	if err != nil {
		return p, nil, err
	}
	for _, p := range m.held(a.it, a.parts) {
		if p.id == r.vars["attachment"] {
			return p, a.it, nil
		}
	}
	return p, nil, noAttachment()
}

func noAttachment() error {
	return fail(http.StatusNotFound, "ErrorItemNotFound", "The specified attachment was not found.")
}

// answerAttachment answers with an attachment.
func (r *request) answerAttachment(h holder, p heldPart, it *mailItem, status int) {
	v := p.view(it)
	v["@odata.context"] = r.base + "/$metadata#" + r.outlookContext(h.what+"('"+url.PathEscape(r.vars["message"])+"')/attachments/$entity")
	r.status, r.answer = status, project(v, selected(r.query))
}

func (s *Service) getAttachment(r *request, m *mailbox, h holder) error {
	p, it, err := m.attachment(r, h)
	if err != nil {
		return err
	}
	r.answerAttachment(h, p, it, http.StatusOK)
	return nil
}

// attach puts another part into an item.
func (m *mailbox) attach(r *request, h holder, p mailPart) (held heldPart, it *mailItem, err error) {
	a, err := h.of(m, r)
	if err != nil {
		return held, nil, err
	}
	if int64(len(p.data)) > maxMail-a.size {
		return held, nil, fail(http.StatusRequestEntityTooLarge, "ErrorMessageSizeExceeded", "The item is larger than one may be.")
	}
	parts := append(a.parts, p)
	if err := a.write(parts); err != nil {
		return held, nil, err
	}
	all := m.held(a.it, parts)
	return all[len(all)-1], a.it, nil
}

func (s *Service) createAttachment(r *request, m *mailbox, h holder) error {
	var in attachmentBody
	known := []string{"name", "contentType", "contentBytes", "isInline", "contentId", "contentLocation", "item", "size"}
	if _, err := decodeContent(r.content, "attachment", known, []string{"id", "lastModifiedDateTime"}, &in); err != nil {
		return err
	}
	p, err := in.part(r.place.user)
	if err != nil {
		return err
	}
	held, it, err := m.attach(r, h, p)
	if err != nil {
		return err
	}
	r.answerAttachment(h, held, it, http.StatusCreated)
	return nil
}

func (s *Service) deleteAttachment(r *request, m *mailbox, h holder) error {
	a, err := h.of(m, r)
	if err != nil {
		return err
	}
	n := slices.IndexFunc(m.held(a.it, a.parts), func(p heldPart) bool { return p.id == r.vars["attachment"] })
	if n < 0 {
		return noAttachment()
	}
	for i, p := range a.parts {
		if p.isBody() {
			continue
		}
		if n--; n < 0 {
			a.parts = slices.Delete(a.parts, i, i+1)
			break
		}
	}
	r.status = http.StatusNoContent
	return a.write(a.parts)
}

// attachPrefix is where attachments are sent, on a host of Outlook's.
const attachPrefix = "/_outlook/api/gv1.0/attachmentUpload/"

// The sizes of attachments that are sent in fragments.
const (
	minAttachment = 3 << 20
	maxAttachment = 150 << 20
)

func (s *Service) createAttachmentUpload(r *request, m *mailbox, h holder) error {
	var in struct {
		Item struct {
			attachmentBody
			Kind string `json:"attachmentType"`
			Size int64  `json:"size"`
		} `json:"AttachmentItem"`
	}
	if err := body(r.w, r.Request, &in); err != nil {
		return err
	}
	a, err := h.of(m, r)
	if err != nil {
		return err
	}
	in.Item.Type = "#microsoft.graph.fileAttachment"
	p, err := in.Item.part(r.place.user)
	switch {
	case err != nil:
		return err
	case !strings.EqualFold(in.Item.Kind, "file"):
		return fail(http.StatusBadRequest, "ErrorInvalidRequest", "The attachmentType that can be uploaded is file.")
	case in.Item.Size < minAttachment:
		return fail(http.StatusBadRequest, "ErrorAttachmentSizeShouldNotBeLessThanMinimumSize", "The attachment size must be greater than the minimum size of 3 MB.")
	case in.Item.Size > maxAttachment:
		return fail(http.StatusBadRequest, "ErrorAttachmentSizeLimitExceeded", "The attachment is larger than one may be.")
	}
	app, item, immutable := r.who.app.AppID, m.stayID(a.it.at, true), r.immutable()
	if kind, _, _, ok := m.parseID(r.vars["message"]); ok && kind == occurrenceID {
		item = r.vars["message"]
	}
	up := &upload{base: r.base, place: r.place, kind: attachmentUpload, total: in.Item.Size}
	up.end = func(w http.ResponseWriter, call *http.Request) error {
		data, err := os.ReadFile(filepath.Join(s.staging, up.stage))
		if err != nil {
			return onDisk(err)
		}
		if err := s.mailLimits.upload(s, app, up.place, int64(len(data))); err != nil {
			return err
		}
		p.data = data
		req := &request{Request: call, w: w, site: up.place.site, place: up.place, base: up.base, arrived: time.Now(), query: url.Values{}, vars: map[string]string{"message": item}}
		return s.onMail(req, func(m *mailbox) error {
			held, it, err := m.attach(req, h, p)
			if err != nil {
				return err
			}
			shown := item
			if item == m.stayID(it.at, true) {
				shown = m.stayID(it.at, immutable)
			}
			w.Header().Set("Location", req.base+req.outlook(h.what, shown, "attachments", held.id))
			req.status = http.StatusCreated
			return nil
		})
	}
	if err := s.beginUpload(up); err != nil {
		return err
	}
	out := up.view()
	out["@odata.context"] = r.base + "/$metadata#microsoft.graph.uploadSession"
	out["uploadUrl"] = originOf(r.Request) + attachPrefix + up.id + "?authtoken=" + url.QueryEscape(s.tempauth("attach "+up.id, s.clock().Add(24*time.Hour)))
	r.status, r.answer = http.StatusCreated, out
	return nil
}

func (s *Service) getAttachmentBytes(r *request, h holder) error {
	r.place = mailboxOf(r.site)
	return s.admitted(r, func() error {
		var p heldPart
		err := s.withMailbox(r, r.place, func(m *mailbox) (err error) {
			p, _, err = m.attachment(r, h)
			if err == nil && p.reference() {
				err = fail(http.StatusBadRequest, "ErrorInvalidRequest", "A reference attachment has no content.")
			}
			return err
		})
		if err != nil {
			return err
		}
		return replyBytes(r, p.kind, p.data)
	})
}
