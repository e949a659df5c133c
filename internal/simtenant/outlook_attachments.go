package simtenant

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

func attachmentRoutes() []Route {
	at := onUserMail
	return []Route{
		{"GET", "{user}/messages/{message}/attachments", "What is attached to a message, and what is shown within it.", "contentBytes if $select names others; reference attachments.", "select", readMail, at((*Service).listAttachments)},
		{"GET", "{user}/messages/{message}/attachments/{attachment}", "An attachment with its bytes: a file, or an item for a message in the message.", "The item of an item attachment by $expand: it is had by $value.", "select", readMail, at((*Service).getAttachment)},
		{"GET", "{user}/messages/{message}/attachments/{attachment}/$value", "Its bytes.", "", "", readMail, (*Service).getAttachmentBytes},
	}
}

// partsOfMessage reads the parts of the message that the address names.
func (m *mailbox) partsOfMessage(r *request) (*mailItem, []mailPart, error) {
	it, err := m.message(r)
	if err != nil {
		return nil, nil, err
	}
	f, err := m.open(it)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxMail))
	if err != nil {
		return nil, nil, onDisk(err)
	}
	return it, partsOf(data), nil
}

// attachmentID is a part's, which stays as long as the message is what it is.
func attachmentID(message string, n int) string {
	sum := derive("attachment", message, strconv.Itoa(n))
	return base64.URLEncoding.EncodeToString(append([]byte{2, 3, 0x24, 0}, sum[:]...))
}

func attachmentView(message string, n int, p mailPart, it *mailItem) map[string]any {
	v := map[string]any{
		"@odata.type": "#microsoft.graph.fileAttachment", "@odata.mediaContentType": p.kind, "id": attachmentID(message, n), "name": p.name, "contentType": p.kind,
		"size": len(p.data), "isInline": p.inline, "lastModifiedDateTime": it.changed.second(), "contentId": orNull(p.contentID),
		"contentBytes": base64.StdEncoding.EncodeToString(p.data), "contentLocation": nil,
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
	names, message := selected(r.query), m.stayID(it.at, true)
	list := []any{}
	for n, p := range attachmentsOf(parts) {
		list = append(list, project(attachmentView(message, n, p, it), names))
	}
	context := r.outlookContext("messages('" + url.PathEscape(r.vars["message"]) + "')/attachments")
	r.status, r.answer = http.StatusOK, map[string]any{"@odata.context": r.base + "/$metadata#" + context, "value": list}
	return nil
}

// attachment finds the attachment that the address names.
func (m *mailbox) attachment(r *request) (p mailPart, n int, it *mailItem, err error) {
	it, parts, err := m.partsOfMessage(r)
	if err != nil {
		return p, 0, nil, err
	}
	for n, p := range attachmentsOf(parts) {
		if attachmentID(m.stayID(it.at, true), n) == r.vars["attachment"] {
			return p, n, it, nil
		}
	}
	return p, 0, nil, fail(http.StatusNotFound, "ErrorItemNotFound", "The specified attachment was not found in the message.")
}

func (s *Service) getAttachment(r *request, m *mailbox) error {
	p, n, it, err := m.attachment(r)
	if err != nil {
		return err
	}
	v := attachmentView(m.stayID(it.at, true), n, p, it)
	v["@odata.context"] = r.base + "/$metadata#" + r.outlookContext("messages('"+url.PathEscape(r.vars["message"])+"')/attachments/$entity")
	r.status, r.answer = http.StatusOK, project(v, selected(r.query))
	return nil
}

func (s *Service) getAttachmentBytes(r *request) error {
	r.place = mailboxOf(r.site)
	return s.admitted(r, func() error {
		var p mailPart
		err := s.withMailbox(r, r.place, func(m *mailbox) (err error) {
			p, _, _, err = m.attachment(r)
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
