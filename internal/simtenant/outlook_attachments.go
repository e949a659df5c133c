package simtenant

import (
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

func attachmentRoutes() (list []Route) {
	at := onUserMail
	for _, below := range []string{"{user}/messages/{message}", "{user}/mailFolders/{folder}/messages/{message}"} {
		list = append(list,
			Route{"GET", below + "/attachments", "What is attached to a message, and what is shown within it.", "contentBytes if $select names others; reference attachments.", "select", readMail, at((*Service).listAttachments)},
			Route{"POST", below + "/attachments", "Attaches a file, or a message in the message, of less than 3 MB. The message is written anew.", "Items other than messages; reference attachments.", "", writeMail, onUserContent((*Service).createAttachment)},
			Route{"POST", below + "/attachments/createUploadSession", "An address to which a file of 3 to 150 MB is sent in fragments of less than 4 MB, in order; the last answer's Location names the attachment.", "", "", writeMail, at((*Service).createAttachmentUpload)},
			Route{"GET", below + "/attachments/{attachment}", "An attachment with its bytes: a file, or an item for a message in the message.", "The item of an item attachment by $expand: it is had by $value.", "select", readMail, at((*Service).getAttachment)},
			Route{"GET", below + "/attachments/{attachment}/$value", "Its bytes.", "", "", readMail, (*Service).getAttachmentBytes},
			Route{"DELETE", below + "/attachments/{attachment}", "Takes it out of the message.", "", "", writeMail, at((*Service).deleteAttachment)},
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

// partsOfMessage reads the parts of the message that the address names.
func (m *mailbox) partsOfMessage(r *request) (*mailItem, []mailPart, error) {
	it, err := m.message(r)
	if err != nil {
		return nil, nil, err
	}
	data, err := m.bytes(it)
	if err != nil {
		return nil, nil, err
	}
	return it, partsOf(it.mime(data)), nil
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
		for _, name := range []string{"contentBytes", "contentId", "contentLocation", "@odata.mediaContentType"} {
			delete(v, name)
		}
	}
	return v
}

func (s *Service) listAttachments(r *request, m *mailbox) error {
	it, parts, err := m.partsOfMessage(r)
	if err != nil {
		return err
	}
	names, list := selected(r.query), []any{}
	for _, p := range m.held(it, parts) {
		list = append(list, project(p.view(it), names))
	}
	context := r.outlookContext("messages('" + url.PathEscape(r.vars["message"]) + "')/attachments")
	r.status, r.answer = http.StatusOK, map[string]any{"@odata.context": r.base + "/$metadata#" + context, "value": list}
	return nil
}

// attachment finds the attachment that the address names.
func (m *mailbox) attachment(r *request) (p heldPart, it *mailItem, err error) {
	it, parts, err := m.partsOfMessage(r)
	if err != nil {
		return p, nil, err
	}
	for _, p := range m.held(it, parts) {
		if p.id == r.vars["attachment"] {
			return p, it, nil
		}
	}
	return p, nil, noAttachment()
}

func noAttachment() error {
	return fail(http.StatusNotFound, "ErrorItemNotFound", "The specified attachment was not found in the message.")
}

// answerAttachment answers with an attachment.
func (r *request) answerAttachment(p heldPart, it *mailItem, status int) {
	v := p.view(it)
	v["@odata.context"] = r.base + "/$metadata#" + r.outlookContext("messages('"+url.PathEscape(r.vars["message"])+"')/attachments/$entity")
	r.status, r.answer = status, project(v, selected(r.query))
}

func (s *Service) getAttachment(r *request, m *mailbox) error {
	p, it, err := m.attachment(r)
	if err != nil {
		return err
	}
	r.answerAttachment(p, it, http.StatusOK)
	return nil
}

// attach puts another part into a message.
func (m *mailbox) attach(r *request, p mailPart) (held heldPart, it *mailItem, err error) {
	it, err = m.message(r)
	if err == nil && it.isNote() {
		err = fail(http.StatusBadRequest, "ErrorInvalidRequest", "Nothing can be attached to a note.")
	}
	if err != nil {
		return held, nil, err
	}
	data, err := m.bytes(it)
	if err != nil {
		return held, nil, err
	}
	if len(p.data) > maxMail-len(data) {
		return held, nil, fail(http.StatusRequestEntityTooLarge, "ErrorMessageSizeExceeded", "The message is larger than one may be.")
	}
	parts := append(partsOf(data), p)
	if err := m.rewrite(r, it, setParts(data, parts), it.flags); err != nil {
		return held, nil, err
	}
	all := m.held(it, parts)
	return all[len(all)-1], it, nil
}

func (s *Service) createAttachment(r *request, m *mailbox) error {
	var in attachmentBody
	known := []string{"name", "contentType", "contentBytes", "isInline", "contentId", "contentLocation", "item", "size"}
	if _, err := decodeContent(r.content, "attachment", known, []string{"id", "lastModifiedDateTime"}, &in); err != nil {
		return err
	}
	p, err := in.part(r.place.user)
	if err != nil {
		return err
	}
	held, it, err := m.attach(r, p)
	if err != nil {
		return err
	}
	r.answerAttachment(held, it, http.StatusCreated)
	return nil
}

func (s *Service) deleteAttachment(r *request, m *mailbox) error {
	it, parts, err := m.partsOfMessage(r)
	if err != nil {
		return err
	}
	data, err := m.bytes(it)
	if err != nil {
		return err
	}
	n := slices.IndexFunc(m.held(it, parts), func(p heldPart) bool { return p.id == r.vars["attachment"] })
	if n < 0 {
		return noAttachment()
	}
	for i, p := range parts {
		if p.isBody() {
			continue
		}
		if n--; n < 0 {
			parts = slices.Delete(parts, i, i+1)
			break
		}
	}
	r.status = http.StatusNoContent
	return m.rewrite(r, it, setParts(data, parts), it.flags)
}

// attachPrefix is where attachments are sent, on a host of Outlook's.
const attachPrefix = "/_outlook/api/gv1.0/attachmentUpload/"

// The sizes of attachments that are sent in fragments.
const (
	minAttachment = 3 << 20
	maxAttachment = 150 << 20
)

func (s *Service) createAttachmentUpload(r *request, m *mailbox) error {
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
	it, err := m.message(r)
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
	app, message, immutable := r.who.app.AppID, m.stayID(it.at, true), r.immutable()
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
		req := &request{Request: call, w: w, site: up.place.site, place: up.place, base: up.base, arrived: time.Now(), query: url.Values{}, vars: map[string]string{"message": message}}
		return s.onMail(req, func(m *mailbox) error {
			held, it, err := m.attach(req, p)
			if err != nil {
				return err
			}
			w.Header().Set("Location", req.base+req.outlook("messages", m.stayID(it.at, immutable), "attachments", held.id))
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

func (s *Service) getAttachmentBytes(r *request) error {
	r.place = mailboxOf(r.site)
	return s.admitted(r, func() error {
		var p heldPart
		err := s.withMailbox(r, r.place, func(m *mailbox) (err error) {
			p, _, err = m.attachment(r)
			return err
		})
		if err != nil {
			return err
		}
		h := r.w.Header()
		h.Set("Content-Type", p.kind)
		h.Set("Content-Length", strconv.Itoa(len(p.data)))
		r.w.WriteHeader(http.StatusOK)
		if r.Method != http.MethodHead {
			r.w.Write(p.data)
		}
		return nil
	})
}
