package simtenant

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"errors"
	"io"
	"maps"
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
	routes := []Route{
		{"GET", "{user}/mailFolders", "The folders of mail at the top.", "Search folders and hidden ones.", list + " filter orderby", readMail, at((*Service).listMailFolders)},
		{"GET", "{user}/mailFolders/delta", "What changed among all folders of mail since a token, or all of them.", "", delta, readMail, at((*Service).mailFoldersDelta)},
		{"GET", "{user}/mailFolders/{folder}", "A folder, by its id or well-known name.", "", "select", readMail, at((*Service).getMailFolder)},
		{"GET", "{user}/mailFolders/{folder}/childFolders", "The folders in a folder.", "", list + " filter orderby", readMail, at((*Service).listMailFolders)},
		{"POST", "{user}/mailFolders", "Makes a folder at the top: a directory.", "", "", writeMail, at((*Service).createMailFolder)},
		{"POST", "{user}/mailFolders/{folder}/childFolders", "Makes a folder in a folder.", "", "", writeMail, at((*Service).createMailFolder)},
		{"PATCH", "{user}/mailFolders/{folder}", "Renames a folder that is not well-known.", "", "", writeMail, at((*Service).patchMailFolder)},
		{"POST", "{user}/mailFolders/{folder}/move", "Puts a folder into another.", "", "", writeMail, at((*Service).moveMailFolder)},
		{"DELETE", "{user}/mailFolders/{folder}", "Deletes a folder: it goes to Deleted Items, from there for good.", "", "", writeMail, at((*Service).deleteMailboxFolder)},
	}
	const many = "conversationIndex. Other properties in $filter, $orderby and $search than the table of queries names."
	routes = append(routes,
		Route{"GET", "{user}/messages", "The messages in all folders, with attachments and extended properties by $expand.", many, list + " filter orderby search expand", readMail, at((*Service).listMessages)},
		Route{"GET", "{user}/mailFolders/{folder}/messages", "The messages in a folder. In the folder notes these are the notes, of the class IPM.StickyNote: files NAME.txt.", many, list + " filter orderby search expand", readMail, at((*Service).listMessages)},
		Route{"GET", "{user}/mailFolders/{folder}/messages/delta", "What changed among the messages in a folder since a token, or all of them.", "changeType; $orderby: what changed last comes last.", delta + " filter", readMail, at((*Service).messagesDelta)},
		Route{"POST", "{user}/messages", "Makes a draft, of JSON or of MIME content: text/plain, in base64; the body is 4 MB at most. The extended properties of the message's flags and times are taken.", "Other extended properties.", "", writeMail, onUserContent((*Service).createMessage)},
		Route{"POST", "{user}/mailFolders/{folder}/messages", "The same in a folder.", "", "", writeMail, onUserContent((*Service).createMessage)},
		Route{"POST", "{user}/sendMail", "Sends a message of JSON or of MIME content: it lies in Sent Items, unless saveToSentItems is false, and in the inboxes of the tenant's users that it is for. None leaves the simulated tenant.", "", "", sendMail, onUserContent((*Service).sendNew)},
	)
	for _, one := range []string{"{user}/messages/{message}", "{user}/mailFolders/{folder}/messages/{message}"} {
		routes = append(routes,
			Route{"GET", one, "A message, with attachments and extended properties by $expand.", "", extended, readMail, at((*Service).getMessage)},
			Route{"GET", one + "/$value", "Its MIME content, byte for byte.", "", "", readMail, (*Service).getMIME},
			Route{"PATCH", one, "Marks a message: isRead, flag.flagStatus, categories, importance; writes a draft: subject, body, people.", "Extended properties.", "", writeMail, onUserContent((*Service).patchMessage)},
			Route{"POST", one + "/move", "Puts a message into the folder destinationId; its default id becomes another.", "", "", writeMail, at((*Service).moveMessage)},
			Route{"POST", one + "/copy", "Copies a message into the folder destinationId.", "", "", writeMail, at((*Service).copyMessage)},
			Route{"DELETE", one, "Deletes a message: it goes to Deleted Items, from there to Recoverable Items, from there for good.", "", "", writeMail, at((*Service).deleteMessage)},
			Route{"POST", one + "/permanentDelete", "Deletes a message for good.", "", "", writeMail, at((*Service).destroyMessage)},
			Route{"POST", one + "/send", "Sends a draft, which goes to Sent Items.", "", "", sendMail, at((*Service).sendDraft)},
			Route{"POST", one + "/createReply", "Makes a draft that answers a message, with a comment or what message says.", "", "", writeMail, answering(replyTo)},
			Route{"POST", one + "/createReplyAll", "The same to all.", "", "", writeMail, answering(replyToAll)},
			Route{"POST", one + "/createForward", "Makes a draft that forwards a message with what is attached.", "", "", writeMail, answering(forwardOn)},
			Route{"POST", one + "/reply", "Answers a message at once, and marks it.", "", "", sendMail, answering(replyTo.now())},
			Route{"POST", one + "/replyAll", "The same to all.", "", "", sendMail, answering(replyToAll.now())},
			Route{"POST", one + "/forward", "Forwards a message at once, and marks it.", "", "", sendMail, answering(forwardOn.now())},
		)
	}
	return routes
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

// isMessage reports whether an item is mail, or a note, which is a message of a class
// of its own.
func (it *mailItem) isMessage() bool {
	return it.file != nil && (itemExt(it.file.name) == extMail || it.isNote())
}

func (it *mailItem) isNote() bool { return itemExt(it.file.name) == extNote }

// mime is a message's MIME content: a note's is made of its text.
func (it *mailItem) mime(data []byte) []byte {
	if !it.isNote() {
		return data
	}
	subject := readHead(data[:min(len(data), headSize)], "IPM.StickyNote").subject
	return joinMessage(nil, []headField{{"Subject", encodeWords(subject)}, {"Date", it.received.time().UTC().Format(time.RFC1123Z)}, {"MIME-Version", "1.0"},
		{"X-Message-Class", "IPM.StickyNote"}, {"Content-Type", "text/plain; charset=utf-8"}, {"Content-Transfer-Encoding", "8bit"}}, data)
}

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
	return s.answerFolders(r, r.outlookContext("mailFolders"), path, list, mailFolderProperties, func(f *mailFolder) map[string]any { return m.mailFolderView(f, children, unread) })
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
	conversation := derive("conversation", cmp.Or(h.thread, h.subject))
	v["conversationId"] = base64.URLEncoding.EncodeToString(append([]byte{4, 3, 0x24, 0}, conversation[:]...))
	v["isReadReceiptRequested"], v["isDeliveryReceiptRequested"] = slices.Contains(h.receipts, "read"), slices.Contains(h.receipts, "delivery")
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

// bodyView is what a message says, as Outlook shows it.
func bodyView(data []byte) map[string]any {
	kind, text := bodyOf(partsOf(data))
	return map[string]any{"body": object{"contentType": kind, "content": text}, "bodyPreview": preview(kind, text)}
}

// listedBody is how much of a message is read to show its body among others.
const listedBody = 1 << 20

// wholeView is messageView with the body, if that is asked for.
func (m *mailbox) wholeView(st *stay, immutable bool, names map[string]bool) map[string]any {
	v := m.messageView(st, immutable)
	if names != nil && !names["body"] && !names["bodypreview"] {
		return v
	}
	f, err := m.open(st.it)
	if err != nil {
		return v // the rest is known without the file
	}
	defer f.Close()
	if data, err := io.ReadAll(io.LimitReader(f, listedBody)); err == nil {
		maps.Copy(v, bodyView(st.it.mime(data)))
	}
	return v
}

// beside is what $expand wants of messages beside their own properties.
type beside struct {
	properties []string // the ids of extended ones
	files      bool
	of         map[string]bool // what of files was selected
}

// besides reads $expand of messages.
func besides(r *request) (b beside, err error) {
	var rest []string
	for _, part := range splitTop(option(r.query, "expand"), ",") {
		if name, _, _ := strings.Cut(strings.TrimSpace(part), "("); !strings.EqualFold(strings.TrimSpace(name), "attachments") {
			rest = append(rest, part)
			continue
		}
		all, err := expanded(part)
		if err == nil {
			err = onlyExpand(all["attachments"].expand)
		}
		if err != nil {
			return b, err
		}
		b.files, b.of = true, all["attachments"].selected
	}
	b.properties, err = extendedIn(strings.Join(rest, ","), "attachments and ")
	return b, err
}

// names are the properties that $select and $expand name together.
func (b beside) names(r *request) map[string]bool {
	names := selected(r.query)
	if names != nil && b.files {
		names["attachments"] = true
	}
	return names
}

// with adds to the view of a message what is wanted beside.
func (m *mailbox) with(v map[string]any, it *mailItem, immutable bool, b beside) (map[string]any, error) {
	v, err := m.properties(v, it, immutable, b.properties)
	if err != nil || !b.files {
		return v, err
	}
	data, err := m.bytes(it)
	if err != nil {
		return nil, err
	}
	v["attachments"] = m.views(it, partsOf(it.mime(data)), b.of)
	return v, nil
}

func (s *Service) listMessages(r *request, m *mailbox) error {
	wanted, err := besides(r)
	if err != nil {
		return err
	}
	var all []*mailItem
	context, path := "messages", r.outlook("messages")
	if id := r.vars["folder"]; id != "" {
		f, err := m.folder(id)
		if err != nil {
			return err
		}
		all, context, path = f.items(), "mailFolders('"+url.PathEscape(id)+"')/messages", r.outlook("mailFolders", id, "messages")
	} else {
		all = slices.DeleteFunc(m.itemsWithin(m.top), func(it *mailItem) bool { return !it.at.in.ofMail() })
	}
	immutable, names := r.immutable(), wanted.names(r)
	search, err := searchOf(r, s.clock())
	if err != nil {
		return err
	}
	return s.listItems(r, m, all, itemList{
		context: r.outlookContext(context), path: path, names: names, show: (*mailItem).isMessage,
		view: func(it *mailItem) (any, error) {
			if it.at == nil {
				return nil, noMailItem()
			}
			return m.with(m.wholeView(it.at, immutable, names), it, immutable, wanted)
		},
		of: messageProperties, asFiltered: true, search: search, searched: m.readSearched,
		read: func(it *mailItem) members {
			return m.readItem(it, func() map[string]any { return m.messageView(it.at, immutable) })
		},
	})
}

func (s *Service) messagesDelta(r *request, m *mailbox) error {
	f, err := m.folder(r.vars["folder"])
	if err != nil {
		return err
	}
	immutable, names := r.immutable(), selected(r.query)
	return s.itemsDelta(r, m, f, "Collection(message)", r.outlook("mailFolders", r.vars["folder"], "messages", "delta"), (*mailItem).isMessage,
		func(st *stay) (any, error) { return m.wholeView(st, immutable, names), nil })
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
	wanted, err := besides(r)
	if err != nil {
		return err
	}
	immutable := r.immutable()
	v, err := m.with(m.messageView(it.at, immutable), it, immutable, wanted)
	if err != nil {
		return err
	}
	for _, one := range more {
		maps.Copy(v, one)
	}
	v["@odata.context"] = r.base + "/$metadata#" + r.outlookContext("messages/$entity")
	r.status, r.answer = status, project(v, wanted.names(r))
	return nil
}

func (s *Service) getMessage(r *request, m *mailbox) error {
	it, err := m.message(r)
	if err != nil {
		return err
	}
	return r.answerWhole(m, it, http.StatusOK)
}

// getMIME answers with a message's bytes.
func (s *Service) getMIME(r *request) error {
	r.place = mailboxOf(r.site)
	return s.admitted(r, func() error {
		var f content
		r.aboutItems(r.vars["message"])
		err := s.withMailbox(r, r.place, func(m *mailbox) error {
			it, err := m.message(r)
			if err != nil {
				return err
			}
			if it.isNote() {
				data, err := m.bytes(it)
				f = inMemory{bytes.NewReader(it.mime(data))}
				return err
			}
			f, err = m.open(it)
			return err
		})
		if err != nil {
			return err
		}
		defer f.Close()
		size, err := sizeOf(f)
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

// inMemory is a content that is no file.
type inMemory struct{ *bytes.Reader }

func (inMemory) Close() error { return nil }

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
	data, err := m.bytes(it)
	if err != nil {
		return err
	}
	made, err := m.giveData(data, mailGift{ext: itemExt(it.file.name), class: it.class, received: it.received.time(), flags: it.flags, categories: it.categories, search: it.search[:]}, to)
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
