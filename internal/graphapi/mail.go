package graphapi

import (
	"cmp"
	"errors"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/letter"
	"holdfast/internal/odata"
)

// maxMailPage is how much of a folder a page of holdfast.mail has at most.
const maxMailPage = 200

// mailPoint is the point of the address, which is one of a mailbox and may be looked into.
func (s *Server) mailPoint(x *exchange) (backup.Point, error) {
	p, _, err := s.point(x)
	if err != nil {
		return p, err
	}
	unit, err := s.catalog.Unit(x.ctx(), x.tenant(), p.Unit)
	if err != nil {
		return p, err
	}
	catalog.AuditedUnits(x.ctx(), p.Unit)
	if unit.Workload != backup.Exchange {
		return p, backup.Fail(backup.InvalidRequest, "This restore point is of a "+unit.Workload.Thing()+". Look into it with a browse session.")
	}
	return p, p.Restorable()
}

// mailHeld is what the key of the address names in a point of a mailbox.
func (s *Server) mailHeld(x *exchange, p backup.Point) (backup.MailHeld, error) {
	text := x.r.PathValue("itemKey")
	if text == "" {
		return s.cfg.Browser.MailHeld(x.ctx(), p, backup.ItemRef{}) // the mailbox itself
	}
	_, held, err := s.heldOf(x, p, text)
	return held, err
}

// heldOf is what a key names in a point of a mailbox. ItemNotFound.
func (s *Server) heldOf(x *exchange, p backup.Point, text string) (ref backup.ItemRef, held backup.MailHeld, err error) {
	none := backup.Fail(backup.ItemNotFound, "The restore point holds nothing of that key. Keys are those that holdfast.mail shows.").On("itemKey")
	key, ok := backup.ParseItemKey(text)
	if ok {
		ref, ok = key.Below(backup.LibraryKey(x.tenant(), p.Drive))
	}
	if !ok {
		return ref, held, none
	}
	if held, err = s.cfg.Browser.MailHeld(x.ctx(), p, ref); isUnknown(err) {
		err = none
	}
	return ref, held, err
}

// listMail serves holdfast.mail, a function of ours on a restore point: what a folder of a
// mailbox's point holds, page by page.
func (s *Server) listMail(x *exchange) (reply, error) {
	p, err := s.mailPoint(x)
	if err != nil {
		return reply{}, err
	}
	at, err := s.mailHeld(x, p)
	if err != nil {
		return reply{}, err
	}
	x.named = at.Path
	if at.Kind != backup.Folder {
		return reply{}, backup.Fail(backup.ItemNotFound, "That key is not a folder's. holdfast.message reads an item.").On("itemKey")
	}
	if p.Unread > 0 {
		x.note = "The restore point lacks something, or holds it as it was before. holdfast.unread of it lists all."
	}
	var known map[backup.ItemID]backup.MailItem
	return list(s, x, listing[backup.MailHeld]{
		set: "holdfast.mail", size: maxMailPage,
		fetch: func(page catalog.Page) (l catalog.List[backup.MailHeld], err error) {
			if page.Bare {
				return l, nil
			}
			part, err := s.cfg.Browser.Mail(x.ctx(), p, at.ID, page.After, page.Limit)
			if err != nil {
				return l, err
			}
			var ids []backup.ItemID
			for _, held := range part.All {
				if held.Kind == backup.File {
					ids = append(ids, held.ID)
				}
			}
			known, err = s.catalog.MailItems(x.ctx(), x.tenant(), p, ids)
			l.Items, l.Next = part.All, part.Next
			return l, err
		},
		view: func(held backup.MailHeld) (odata.Entity, error) { return mailView(x, p, held, known), nil },
	})
}

// mailView shows a folder or an item of a mailbox's point: an item by what the index of the
// mailbox has of it, if it knows it. What the point does not hold at all has no key.
func mailView(x *exchange, p backup.Point, held backup.MailHeld, known map[backup.ItemID]backup.MailItem) (e odata.Entity) {
	absent := held.Lack != nil && !held.Lack.Held && held.Kind == backup.File
	if !absent {
		e.Add("itemKey", backup.KeyOf(x.tenant(), p.Drive, held.ID))
	}
	if held.Lack != nil {
		lack := map[string]any{"code": held.Lack.Code, "message": held.Lack.Message, "isHeld": held.Lack.Held}
		if !held.Lack.Since.IsZero() {
			lack["sinceDateTime"] = odata.FormatTime(held.Lack.Since)
		}
		e.Add("unread", lack)
	}
	if held.Kind == backup.Folder {
		e.Add("type", "folder")
		e.Add("name", held.Name)
		e.Add("path", held.Path)
		if held.Items >= 0 {
			e.Add("itemsCount", held.Items)
		}
		return e
	}
	m, indexed := known[held.ID]
	kind := string(m.Kind)
	switch {
	case indexed:
	case held.MIME:
		kind = string(backup.MailEmail)
	default:
		kind = "item"
	}
	e.Add("type", kind)
	e.Add("name", mailSubject(m, held))
	e.Add("path", held.Path)
	addText(&e, "sender", m.Sender.String())
	at := m.At
	if at.IsZero() {
		at = held.Made
	}
	addTime(&e, "itemDateTime", at)
	if !absent {
		e.Add("sizeInBytes", strconv.FormatInt(held.Size, 10))
	}
	if indexed {
		e.Add("hasAttachments", m.Attachment)
	}
	e.Add("isReadable", held.MIME)
	return e
}

// mailSubject is what an item is called.
func mailSubject(m backup.MailItem, held backup.MailHeld) string {
	if m.ID == "" {
		return held.Name
	}
	return cmp.Or(m.Subject, "(no subject)")
}

// mailItem is the item of the address, and what the index of its mailbox has of it.
func (s *Server) mailItem(x *exchange) (p backup.Point, held backup.MailHeld, known map[backup.ItemID]backup.MailItem, err error) {
	if p, err = s.mailPoint(x); err == nil {
		held, err = s.mailHeld(x, p)
	}
	if err != nil {
		return p, held, nil, err
	}
	x.named = held.Path
	if held.Kind != backup.File {
		return p, held, nil, backup.Fail(backup.ItemNotFound, "That key is a folder's. holdfast.mail lists what is in it.").On("itemKey")
	}
	known, err = s.catalog.MailItems(x.ctx(), x.tenant(), p, []backup.ItemID{held.ID})
	x.named = path.Join(held.Path, mailSubject(known[held.ID], held))
	return p, held, known, err
}

// noMIME says why an item cannot be read here: what the point notes of it, if it does.
func (s *Server) noMIME(x *exchange, p backup.Point, held backup.MailHeld) string {
	why := "The restore point holds it as Exchange exports it, and not as MIME (.eml): only a restore shows what is in it."
	if unread, err := s.cfg.Browser.Unread(x.ctx(), p); err == nil {
		i := slices.IndexFunc(unread, func(u backup.Unread) bool {
			return u.Item == held.ID || strings.HasPrefix(string(u.Item), string(held.ID)+",")
		})
		if i >= 0 {
			why += " " + unread[i].Message
		}
	}
	return why
}

// readMessage serves holdfast.message, a function of ours on a restore point: an item of a
// mailbox as a person reads it, in plain text.
func (s *Server) readMessage(x *exchange) (reply, error) {
	p, held, known, err := s.mailItem(x)
	if err != nil {
		return reply{}, err
	}
	e := mailView(x, p, held, known)
	if !held.MIME {
		if x.note = s.noMIME(x, p, held); held.Lack != nil && !strings.Contains(x.note, held.Lack.Message) {
			x.note += " " + held.Lack.Message
		}
		return ours(x, "holdfast.message", e)
	}
	content, err := s.cfg.Browser.OpenMail(x.ctx(), p, held.ID)
	if err != nil {
		return reply{}, err
	}
	defer content.Close()
	l, err := letter.Read(content)
	if err != nil {
		return reply{}, err
	}
	if held.Lack != nil {
		x.note = "It is shown as it was last readable. " + held.Lack.Message
	} else if held.Old {
		x.note = "The message changed since it was read as MIME: it is shown as it was before."
	}
	e.Add("subject", l.Subject)
	for _, line := range []struct {
		name   string
		people []string
	}{{"from", l.From}, {"toRecipients", l.To}, {"ccRecipients", l.Cc}} {
		e.Add(line.name, append([]string{}, line.people...))
	}
	addTime(&e, "sentDateTime", l.Date)
	e.Add("text", l.Text)
	e.Add("isTextCut", l.Cut)
	if l.Broken {
		e.Add("isBroken", true)
	}
	attachments := make([]odata.Entity, len(l.Attachments))
	for i, a := range l.Attachments {
		attachments[i].Add("id", strconv.Itoa(i+1))
		attachments[i].Add("name", a.Name)
		attachments[i].Add("contentType", a.Type)
		attachments[i].Add("sizeInBytes", strconv.FormatInt(a.Size, 10))
	}
	e.Add("attachments", attachments)
	return ours(x, "holdfast.message", e)
}

// ours answers with what a function of ours returns.
func ours(x *exchange, function string, e odata.Entity) (reply, error) {
	if x.note != "" {
		e.Add("@holdfast.note", x.note)
	}
	f := x.form()
	body, err := f.Entity(f.Context(function, false), e)
	return reply{status: http.StatusOK, body: body}, err
}

// readMIME serves holdfast.mime, a function of ours on a restore point: a message of a
// mailbox as other programs read it, byte for byte as the source gave it.
func (s *Server) readMIME(x *exchange) (reply, error) {
	p, held, known, err := s.mailItem(x)
	if err != nil {
		return reply{}, err
	}
	if !held.MIME {
		return reply{}, backup.Fail(backup.ItemNotFound, s.noMIME(x, p, held)).On("itemKey")
	}
	content, err := s.cfg.Browser.OpenMail(x.ctx(), p, held.ID)
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusOK, stream: content, name: letter.FileName(strings.TrimSuffix(mailSubject(known[held.ID], held), ".fts")) + ".eml"}, nil
}

// readAttachment serves holdfast.attachment, a function of ours on a restore point: an
// attachment of a message, by the id that holdfast.message gives it.
func (s *Server) readAttachment(x *exchange) (reply, error) {
	p, held, _, err := s.mailItem(x)
	if err != nil {
		return reply{}, err
	}
	none := backup.Fail(backup.ItemNotFound, "The message has no attachment of that id. Ids are those that holdfast.message shows.").On("attachmentId")
	number, err := strconv.Atoi(x.r.PathValue("attachmentId"))
	if err != nil || !held.MIME {
		return reply{}, none
	}
	message, err := s.cfg.Browser.OpenMail(x.ctx(), p, held.ID)
	if err != nil {
		return reply{}, err
	}
	content, a, err := letter.Open(message, number-1)
	if err != nil {
		message.Close()
		if errors.Is(err, letter.ErrNone) {
			err = none
		}
		return reply{}, err
	}
	x.named += " (" + a.Name + ")"
	return reply{status: http.StatusOK, stream: content, name: a.Name}, nil
}
