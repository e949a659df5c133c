package simtenant

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/mail"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What calls to mail ask of their caller.
var (
	readMail  = permission{"ErrorAccessDenied", []string{"Mail.Read", "Mail.ReadWrite"}}
	writeMail = permission{"ErrorAccessDenied", []string{"Mail.ReadWrite"}}
)

// outlookRoutes are the calls to mail as Outlook has it: folders of mail and the
// messages in them.
func outlookRoutes() []Route {
	const (
		list     = "select top skip count"
		delta    = "select top skiptoken deltatoken"
		extended = "select expand"
	)
	at := onUserMail
	return []Route{
		{"GET", "{user}/mailFolders", "The folders of mail at the top.", "Search folders and hidden ones.", list, readMail, at((*Service).listMailFolders)},
		{"GET", "{user}/mailFolders/delta", "What changed among all folders of mail since a token, or all of them.", "", delta, readMail, at((*Service).mailFoldersDelta)},
		{"GET", "{user}/mailFolders/{folder}", "A folder, by its id or well-known name.", "", "select", readMail, at((*Service).getMailFolder)},
		{"GET", "{user}/mailFolders/{folder}/childFolders", "The folders in a folder.", "", list, readMail, at((*Service).listMailFolders)},
		{"POST", "{user}/mailFolders", "Makes a folder at the top: a directory.", "", "", writeMail, at((*Service).createMailFolder)},
		{"POST", "{user}/mailFolders/{folder}/childFolders", "Makes a folder in a folder.", "", "", writeMail, at((*Service).createMailFolder)},
		{"PATCH", "{user}/mailFolders/{folder}", "Renames a folder that is not well-known.", "", "", writeMail, at((*Service).patchMailFolder)},
		{"POST", "{user}/mailFolders/{folder}/move", "Puts a folder into another.", "", "", writeMail, at((*Service).moveMailFolder)},
		{"DELETE", "{user}/mailFolders/{folder}", "Deletes a folder: it goes to Deleted Items, from there for good.", "", "", writeMail, at((*Service).deleteMailboxFolder)},

		{"GET", "{user}/mailFolders/{folder}/messages", "The messages in a folder.", "body, which one message has, and conversationId. Of $filter only receivedDateTime.", list + " filter orderby expand", readMail, at((*Service).listMessages)},
		{"GET", "{user}/mailFolders/{folder}/messages/delta", "What changed among the messages in a folder since a token, or all of them.", "changeType.", delta + " filter orderby", readMail, at((*Service).messagesDelta)},
		{"GET", "{user}/mailFolders/{folder}/messages/{message}", "A message.", "", extended, readMail, at((*Service).getMessage)},
		{"GET", "{user}/messages/{message}", "A message.", "", extended, readMail, at((*Service).getMessage)},
		{"GET", "{user}/messages/{message}/$value", "Its MIME content, byte for byte.", "", "", readMail, (*Service).getMIME},
		{"POST", "{user}/messages", "Makes a draft of MIME content: text/plain, in base64, of 4 MB at most.", "JSON.", "", writeMail, (*Service).createMessage},
		{"PATCH", "{user}/messages/{message}", "Marks a message: isRead, flag.flagStatus, categories.", "All else.", "", writeMail, at((*Service).patchMessage)},
		{"POST", "{user}/messages/{message}/move", "Puts a message into the folder destinationId; its default id becomes another.", "", "", writeMail, at((*Service).moveMessage)},
		{"POST", "{user}/messages/{message}/copy", "Copies a message into the folder destinationId.", "", "", writeMail, at((*Service).copyMessage)},
		{"DELETE", "{user}/messages/{message}", "Deletes a message: it goes to Deleted Items, from there to Recoverable Items, from there for good.", "", "", writeMail, at((*Service).deleteMessage)},
	}
}

// onUserMail serves a call to the mailbox of the user that the address names.
func onUserMail(fn func(*Service, *request, *mailbox) error) func(*Service, *request) error {
	serve := onMailbox(fn)
	return func(s *Service, r *request) error {
		r.place = mailboxOf(r.site)
		return serve(s, r)
	}
}

// outlook is a path below the user, as links name it.
func (r *request) outlook(parts ...string) string {
	b := "/users/" + string(r.place.user.ID)
	for _, p := range parts {
		b += "/" + url.PathEscape(p)
	}
	return b
}

// outlookContext is what an answer's context says behind $metadata.
func (r *request) outlookContext(what string) string {
	return "users('" + url.PathEscape(string(r.place.user.ID)) + "')/" + what
}

// ofMail reports whether a folder is one of mail.
func (f *mailFolder) ofMail() bool {
	class := f.class()
	return strings.EqualFold(class, "IPF.Note") || len(class) > 9 && strings.EqualFold(class[:9], "IPF.Note.")
}

// isMessage reports whether an item is mail.
func (it *mailItem) isMessage() bool { return it.file != nil && itemExt(it.file.name) == extMail }

// mailFolderView is a folder as Outlook shows it.
func (m *mailbox) mailFolderView(f *mailFolder, children map[*mailFolder]int, unread map[*mailFolder]int) map[string]any {
	v := map[string]any{
		"id": m.folderID(f), "displayName": f.name, "parentFolderId": nil, "childFolderCount": children[f],
		"totalItemCount": f.count, "unreadItemCount": unread[f], "isHidden": f.hidden,
	}
	if f.parent != nil {
		v["parentFolderId"] = m.folderID(f.parent)
	}
	return v
}

// unread counts the items that nobody read in each folder.
func (m *mailbox) unread() map[*mailFolder]int {
	out := map[*mailFolder]int{}
	for _, it := range m.items {
		if it.at != nil && it.flags&isRead == 0 {
			out[it.at.in]++
		}
	}
	return out
}

// mailChildren counts the folders of mail in each folder.
func (m *mailbox) mailChildren() map[*mailFolder]int {
	out := map[*mailFolder]int{}
	for _, f := range m.folders {
		if f.parent != nil && f.ofMail() {
			out[f.parent]++
		}
	}
	return out
}

func (s *Service) listMailFolders(r *request, m *mailbox) error {
	parent, path := m.top, r.outlook("mailFolders")
	if id := r.vars["folder"]; id != "" {
		var err error
		if parent, err = m.folder(id); err != nil {
			return err
		}
		path = r.outlook("mailFolders", id, "childFolders")
	}
	list := m.list(func(f *mailFolder) bool { return f.parent == parent && f.ofMail() })
	children, unread := m.mailChildren(), m.unread()
	return s.answerList(r, r.outlookContext("mailFolders"), path, len(list), func(i int) any { return m.mailFolderView(list[i], children, unread) })
}

func (s *Service) mailFoldersDelta(r *request, m *mailbox) error {
	children, unread := m.mailChildren(), m.unread()
	return s.folderDelta(r, m, nil, r.outlookContext("mailFolders/$delta"), r.outlook("mailFolders", "delta"), (*mailFolder).ofMail,
		func(f *mailFolder) any { return m.mailFolderView(f, children, unread) })
}

// answerMailFolder answers with a folder.
func (r *request) answerMailFolder(m *mailbox, f *mailFolder, status int) {
	v := m.mailFolderView(f, m.mailChildren(), m.unread())
	v["@odata.context"] = r.base + "/$metadata#" + r.outlookContext("mailFolders/$entity")
	r.status, r.answer = status, project(v, selected(r.query))
}

func (s *Service) getMailFolder(r *request, m *mailbox) error {
	f, err := m.folder(r.vars["folder"])
	if err != nil {
		return err
	}
	r.answerMailFolder(m, f, http.StatusOK)
	return nil
}

func (s *Service) createMailFolder(r *request, m *mailbox) error {
	var in folderBody
	if err := body(r.w, r.Request, &in); err != nil {
		return err
	}
	parent := m.top
	if id := r.vars["folder"]; id != "" {
		var err error
		if parent, err = m.folder(id); err != nil {
			return err
		}
	}
	f, err := m.makeFolder(r.Context(), parent, in.DisplayName, "IPF.Note")
	if err != nil {
		return err
	}
	r.answerMailFolder(m, f, http.StatusCreated)
	return nil
}

func (s *Service) patchMailFolder(r *request, m *mailbox) error {
	var in folderBody
	if err := body(r.w, r.Request, &in); err != nil {
		return err
	}
	f, err := m.folder(r.vars["folder"])
	if err == nil {
		err = m.renameFolder(r.Context(), f, f.parent, cmp.Or(in.DisplayName, f.name))
	}
	if err != nil {
		return err
	}
	r.answerMailFolder(m, f, http.StatusOK)
	return nil
}

// destination is the folder that a call names in its body.
func (m *mailbox) destination(r *request) (*mailFolder, error) {
	var in struct {
		ID string `json:"destinationId"`
	}
	if err := body(r.w, r.Request, &in); err != nil {
		return nil, err
	}
	if in.ID == "" {
		return nil, fail(http.StatusBadRequest, "ErrorInvalidRequest", "The body needs destinationId.")
	}
	return m.folder(in.ID)
}

func (s *Service) moveMailFolder(r *request, m *mailbox) error {
	to, err := m.destination(r)
	if err != nil {
		return err
	}
	f, err := m.folder(r.vars["folder"])
	if err == nil {
		err = m.renameFolder(r.Context(), f, to, f.name)
	}
	if err != nil {
		return err
	}
	r.answerMailFolder(m, f, http.StatusCreated)
	return nil
}

// messageView is a message as Outlook shows it.
func (m *mailbox) messageView(st *stay, immutable bool) map[string]any {
	it := st.it
	h, err := m.head(it)
	if err != nil {
		h = &mailHead{class: it.class, importance: "normal"} // the rest is known without the file
	}
	v := m.itemView(st, immutable)
	delete(v, "type")
	delete(v, "size")
	delete(v, "@odata.type")
	flag := "notFlagged"
	switch {
	case it.flags&isComplete != 0:
		flag = "complete"
	case it.flags&isFlagged != 0:
		flag = "flagged"
	}
	v["receivedDateTime"], v["sentDateTime"] = it.received.second(), it.received.second()
	if !h.sent.IsZero() {
		v["sentDateTime"] = h.sent.UTC().Format(time.RFC3339)
	}
	v["subject"], v["importance"], v["hasAttachments"], v["internetMessageId"] = h.subject, h.importance, h.attached, orNull(h.messageID)
	v["parentFolderId"], v["isRead"], v["isDraft"] = m.folderID(st.in), it.flags&isRead != 0, it.draft()
	v["flag"] = object{"flagStatus": flag}
	v["from"], v["sender"] = person(h.from), person(h.from)
	v["toRecipients"], v["ccRecipients"] = people(h.to), people(h.cc)
	v["bccRecipients"], v["replyTo"] = people(h.bcc), people(h.replyTo)
	if strings.HasPrefix(it.class, "IPM.Schedule.Meeting.") {
		v["@odata.type"] = "#microsoft.graph.eventMessage"
	}
	return v
}

// person is somebody, as Outlook shows people; nobody is null.
func person(a *mail.Address) any {
	if a == nil {
		return nil
	}
	return object{"emailAddress": object{"name": cmp.Or(a.Name, a.Address), "address": a.Address}}
}

func people(list []*mail.Address) []any {
	out := make([]any, 0, len(list))
	for _, a := range list {
		out = append(out, person(a))
	}
	return out
}

// properties adds extended properties to a view.
func (m *mailbox) properties(v map[string]any, it *mailItem, immutable bool, wanted []string) (map[string]any, error) {
	with, err := m.extendedView(it, immutable, wanted)
	if list := with["singleValueExtendedProperties"]; list != nil {
		v[extendedProperties] = list
	}
	return v, err
}

func (s *Service) listMessages(r *request, m *mailbox) error {
	f, err := m.folder(r.vars["folder"])
	if err != nil {
		return err
	}
	wanted, err := extended(r)
	if err != nil {
		return err
	}
	immutable := r.immutable()
	return s.listItems(r, m, f, r.outlookContext("mailFolders('"+url.PathEscape(r.vars["folder"])+"')/messages"), r.outlook("mailFolders", r.vars["folder"], "messages"), (*mailItem).isMessage,
		func(it *mailItem) (any, error) {
			if it.at == nil {
				return nil, noMailItem()
			}
			return m.properties(m.messageView(it.at, immutable), it, immutable, wanted)
		})
}

func (s *Service) messagesDelta(r *request, m *mailbox) error {
	f, err := m.folder(r.vars["folder"])
	if err != nil {
		return err
	}
	immutable := r.immutable()
	return s.itemsDelta(r, m, f, "Collection(message)", r.outlook("mailFolders", r.vars["folder"], "messages", "delta"), (*mailItem).isMessage,
		func(st *stay) (any, error) { return m.messageView(st, immutable), nil })
}

// message finds the message that the address names.
func (m *mailbox) message(r *request) (*mailItem, error) {
	it, err := m.item(r.vars["message"])
	if err != nil {
		return nil, err
	}
	if !it.isMessage() {
		return nil, noMailItem()
	}
	if id := r.vars["folder"]; id != "" {
		if f, err := m.folder(id); err != nil || f != it.at.in {
			return nil, errors.Join(err, noMailItem())
		}
	}
	if err := m.settle(r.Context(), it); err != nil {
		return nil, err
	}
	if m.d.svc.corrupt(it) {
		return nil, corruptItem()
	}
	return it, nil
}

// answerMessage answers with a message, and more that is known of it.
func (r *request) answerMessage(m *mailbox, it *mailItem, status int, more ...map[string]any) error {
	wanted, err := extended(r)
	if err != nil {
		return err
	}
	immutable := r.immutable()
	v, err := m.properties(m.messageView(it.at, immutable), it, immutable, wanted)
	if err != nil {
		return err
	}
	for _, one := range more {
		maps.Copy(v, one)
	}
	v["@odata.context"] = r.base + "/$metadata#" + r.outlookContext("messages/$entity")
	r.status, r.answer = status, project(v, selected(r.query))
	return nil
}

func (s *Service) getMessage(r *request, m *mailbox) error {
	it, parts, err := m.partsOfMessage(r)
	if err != nil {
		return err
	}
	kind, text := bodyOf(parts)
	return r.answerMessage(m, it, http.StatusOK, map[string]any{"body": object{"contentType": kind, "content": text}, "bodyPreview": preview(kind, text)})
}

// getMIME answers with a message's bytes.
func (s *Service) getMIME(r *request) error {
	r.place = mailboxOf(r.site)
	return s.admitted(r, func() error {
		var f content
		var size int64
		err := s.withMailbox(r, r.place, func(m *mailbox) error {
			it, err := m.message(r)
			if err != nil {
				return err
			}
			if f, err = m.open(it); err != nil {
				return err
			}
			size, err = sizeOf(f)
			return err
		})
		if f != nil {
			defer f.Close()
		}
		if err != nil {
			return err
		}
		h := r.w.Header()
		h.Set("Content-Type", "text/plain")
		h.Set("Content-Length", strconv.FormatInt(size, 10))
		r.w.WriteHeader(http.StatusOK)
		if r.Method != http.MethodHead {
			io.CopyN(r.w, f, size)
		}
		return nil
	})
}

// maxMIME is how long the body of a call may be that makes a message.
const maxMIME = 4 << 20

// createMessage makes a draft of MIME content.
func (s *Service) createMessage(r *request) error {
	r.place = mailboxOf(r.site)
	return s.admitted(r, func() error {
		if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "text/plain" {
			return notSupported("messages of JSON; send MIME content as text/plain")
		}
		text, err := io.ReadAll(http.MaxBytesReader(r.w, r.Body, maxMIME))
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return fail(http.StatusRequestEntityTooLarge, "ErrorMessageSizeExceeded", "The message is larger than 4 MB.")
		}
		if err != nil {
			return badRequest("The body ended early.")
		}
		data, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(text)))
		if err != nil || len(data) == 0 {
			return fail(http.StatusBadRequest, "ErrorMimeContentInvalidBase64String", "The MIME content is not base64.")
		}
		if err := s.mailLimits.upload(s, r.who.app.AppID, r.place, int64(len(text))); err != nil {
			return err
		}
		if s.faults.options().Mail.Full {
			return mailboxFull()
		}
		stage, err := s.stageMail(data)
		if err != nil {
			return err
		}
		defer s.unstageMail(stage)
		h := readHead(data[:min(len(data), headSize)], "IPM.Note")
		g := mailGift{stage: stage, ext: extMail, class: h.class, received: s.clock(), flags: isDraft | isRead, categories: h.categories}
		return s.onMail(r, func(m *mailbox) error {
			drafts := m.well["drafts"]
			if drafts == nil {
				return noMailFolder()
			}
			if err := m.d.room(int64(len(data))); err != nil {
				return mailboxFull()
			}
			it, err := m.give(g, drafts)
			if err != nil {
				return err
			}
			return r.answerMessage(m, it, http.StatusCreated)
		})
	})
}

// markBody is what a client says of a message.
type markBody struct {
	IsRead *bool `json:"isRead"`
	Flag   *struct {
		Status string `json:"flagStatus"`
	} `json:"flag"`
	Categories *[]string `json:"categories"`
}

// flags are an item's once it is marked.
func (b markBody) flags(have mailFlags) (mailFlags, error) {
	set := func(f mailFlags, on bool) {
		if have &^= f; on {
			have |= f
		}
	}
	if b.IsRead != nil {
		set(isRead, *b.IsRead)
	}
	if b.Flag != nil {
		status := strings.ToLower(b.Flag.Status)
		if !slices.Contains([]string{"notflagged", "flagged", "complete"}, status) {
			return have, fail(http.StatusBadRequest, "ErrorInvalidRequest", "flagStatus is notFlagged, flagged or complete.")
		}
		set(isFlagged, status == "flagged")
		set(isComplete, status == "complete")
	}
	return have, nil
}

func (s *Service) patchMessage(r *request, m *mailbox) error {
	var fields map[string]json.RawMessage
	if err := body(r.w, r.Request, &fields); err != nil {
		return err
	}
	var in markBody
	for name := range fields {
		if !slices.Contains([]string{"isRead", "flag", "categories"}, name) && !strings.HasPrefix(name, "@odata.") {
			return fail(http.StatusBadRequest, "ErrorInvalidPropertySet", "The property "+quoted(name)+" cannot be changed here; isRead, flag and categories can.")
		}
	}
	text, err := json.Marshal(fields)
	if err == nil {
		err = json.Unmarshal(text, &in)
	}
	if err != nil {
		return badRequest("The body is not the JSON object that this call takes.")
	}
	it, err := m.message(r)
	if err != nil {
		return err
	}
	if match := r.Header.Get("If-Match"); match != "" && match != "*" && match != `W/"`+it.at.changeKey()+`"` {
		return fail(http.StatusPreconditionFailed, "ErrorIrresolvableConflict", "The change key that was passed does not match the current change key of the item.")
	}
	flags, err := in.flags(it.flags)
	if err != nil {
		return err
	}
	if in.Categories != nil && !slices.Equal(*in.Categories, it.categories) {
		it.categories = *in.Categories
		m.touchItem(it)
	}
	if err := m.setFlags(r.Context(), it, flags); err != nil {
		return err
	}
	return r.answerMessage(m, it, http.StatusOK)
}

func (s *Service) moveMessage(r *request, m *mailbox) error {
	to, err := m.destination(r)
	if err != nil {
		return err
	}
	it, err := m.message(r)
	if err == nil {
		err = m.move(r.Context(), it, to)
	}
	if err != nil {
		return err
	}
	return r.answerMessage(m, it, http.StatusCreated)
}

func (s *Service) copyMessage(r *request, m *mailbox) error {
	to, err := m.destination(r)
	if err != nil {
		return err
	}
	it, err := m.message(r)
	if err != nil {
		return err
	}
	f, err := m.open(it)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := sizeOf(f)
	if err == nil && m.d.room(size) != nil {
		err = mailboxFull()
	}
	if err == nil && size > maxMail {
		err = fail(http.StatusBadRequest, "ErrorMessageSizeExceeded", "The message is larger than one may be.")
	}
	if err != nil {
		return err
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return onDisk(err)
	}
	stage, err := s.stageMail(data)
	if err != nil {
		return err
	}
	defer s.unstageMail(stage)
	g := mailGift{stage: stage, ext: extMail, class: it.class, received: it.received.time(), flags: it.flags, categories: it.categories, search: it.search[:]}
	made, err := m.give(g, to)
	if err != nil {
		return err
	}
	return r.answerMessage(m, made, http.StatusCreated)
}

func (s *Service) deleteMessage(r *request, m *mailbox) error {
	it, err := m.message(r)
	if err != nil {
		return err
	}
	r.status = http.StatusNoContent
	return m.remove(r.Context(), it)
}
