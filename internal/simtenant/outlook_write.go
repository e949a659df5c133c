package simtenant

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"html"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/mail"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/backup"
)

// sendMail is what calls that send mail ask of their caller.
var sendMail = permission{"ErrorAccessDenied", []string{"Mail.Send"}}

// maxMIME is how long the body of a call may be that makes or changes a message.
const maxMIME = 4 << 20

// onUserContent is onUserMail for a call that brings content: it is read before the
// mailbox is kept from others, and counts as an upload.
func onUserContent(fn func(*Service, *request, *mailbox) error) func(*Service, *request) error {
	return func(s *Service, r *request) error {
		r.place = mailboxOf(r.site)
		return s.admitted(r, func() error {
			text, err := io.ReadAll(http.MaxBytesReader(r.w, r.Body, maxMIME))
			if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
				return fail(http.StatusRequestEntityTooLarge, "ErrorMessageSizeExceeded", "The message is larger than 4 MB.")
			}
			if err != nil {
				return badRequest("The body ended early.")
			}
			if err := s.mailLimits.upload(s, r.who.app.AppID, r.place, int64(len(text))); err != nil {
				return err
			}
			if s.faults.options().Mail.Full {
				return mailboxFull()
			}
			r.content = text
			return s.onMail(r, func(m *mailbox) error { return fn(s, r, m) })
		})
	}
}

// mimeContent is a message that was sent in base64, as text/plain.
func (r *request) mimeContent() (data []byte, ok bool, err error) {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "text/plain" {
		return nil, false, nil
	}
	data, err = base64.StdEncoding.DecodeString(string(bytes.TrimSpace(r.content)))
	if err != nil || len(data) == 0 {
		return nil, true, fail(http.StatusBadRequest, "ErrorMimeContentInvalidBase64String", "The MIME content is not base64.")
	}
	return data, true, nil
}

// decodeContent reads a JSON object, and refuses members that have no meaning: those
// that are known, beside annotations and those that only the service writes.
func decodeContent(text []byte, what string, known, readOnly []string, v any) (names map[string]bool, err error) {
	var fields map[string]json.RawMessage
	if len(bytes.TrimSpace(text)) == 0 {
		text = []byte("{}")
	}
	if err := json.Unmarshal(text, &fields); err != nil || fields == nil {
		return nil, badRequest("The body is not the JSON object that this call takes.")
	}
	names = map[string]bool{}
	for name := range fields {
		switch {
		case strings.Contains(name, "@odata."), slices.Contains(readOnly, name):
		case !slices.Contains(known, name):
			return nil, fail(http.StatusBadRequest, "RequestBodyRead", "The property "+quoted(name)+" does not exist on type 'microsoft.graph."+what+"', or is not kept here.")
		default:
			names[name] = true
		}
	}
	if err := json.Unmarshal(text, v); err != nil {
		return nil, badRequest("The body is not the JSON object that this call takes.")
	}
	return names, nil
}

// addressee is somebody, as clients write people.
type addressee struct {
	EmailAddress struct {
		Name    string `json:"name"`
		Address string `json:"address"`
	} `json:"emailAddress"`
}

// addressList checks people whom a client names.
func addressList(list ...addressee) (out []*mail.Address, err error) {
	for _, one := range list {
		a := &mail.Address{Name: one.EmailAddress.Name, Address: strings.TrimSpace(one.EmailAddress.Address)}
		if at := strings.LastIndexByte(a.Address, '@'); at < 1 || at == len(a.Address)-1 || strings.ContainsFunc(a.Address, func(c rune) bool { return c <= ' ' || strings.ContainsRune(`<>,;"`, c) }) {
			return nil, fail(http.StatusBadRequest, "ErrorInvalidRecipients", "The address "+quoted(a.Address)+" is none.")
		}
		if a.Name == a.Address {
			a.Name = ""
		}
		out = append(out, a)
	}
	return out, nil
}

// letterBody is what a client says of a message.
type letterBody struct {
	Subject *string `json:"subject"`
	Body    *struct {
		Type    string `json:"contentType"`
		Content string `json:"content"`
	} `json:"body"`
	To         *[]addressee `json:"toRecipients"`
	Cc         *[]addressee `json:"ccRecipients"`
	Bcc        *[]addressee `json:"bccRecipients"`
	ReplyTo    *[]addressee `json:"replyTo"`
	From       *addressee   `json:"from"`
	Sender     *addressee   `json:"sender"`
	MessageID  *string      `json:"internetMessageId"`
	Importance *string      `json:"importance"`
	Read       *bool        `json:"isReadReceiptRequested"`
	Delivery   *bool        `json:"isDeliveryReceiptRequested"`

	// Only of a new message.
	Headers []struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	} `json:"internetMessageHeaders"`
	Attachments []attachmentBody `json:"attachments"`
	Extended    []struct {
		ID    string `json:"id"`
		Value string `json:"value"`
	} `json:"singleValueExtendedProperties"`

	markBody
}

var (
	// letterMarks may change on every message; the rest only on drafts.
	letterMarks    = []string{"isRead", "flag", "categories", "importance"}
	letterContent  = []string{"subject", "body", "toRecipients", "ccRecipients", "bccRecipients", "replyTo", "from", "sender", "internetMessageId", "isReadReceiptRequested", "isDeliveryReceiptRequested"}
	letterOnce     = []string{"internetMessageHeaders", "attachments", "singleValueExtendedProperties"}
	letterReadOnly = []string{
		"id", "changeKey", "createdDateTime", "lastModifiedDateTime", "receivedDateTime", "sentDateTime", "hasAttachments", "parentFolderId", "conversationId",
		"conversationIndex", "isDraft", "webLink", "bodyPreview", "uniqueBody",
	}
)

func decodeLetter(text []byte) (in letterBody, err error) {
	_, err = decodeContent(text, "message", slices.Concat(letterMarks, letterContent, letterOnce), letterReadOnly, &in)
	return in, err
}

// write gives a message what the client says. Parts are the message's own.
func (in *letterBody) write(message []byte, me *User) ([]byte, error) {
	var fields []headField
	people := func(name string, list *[]addressee) error {
		if list == nil {
			return nil
		}
		out, err := addressList(*list...)
		fields = append(fields, headField{name, addressField(out)})
		return err
	}
	single := func(name string, one *addressee) error {
		if one == nil || *one == (addressee{}) {
			return nil
		}
		return people(name, &[]addressee{*one})
	}
	if err := errors.Join(people("To", in.To), people("Cc", in.Cc), people("Bcc", in.Bcc), people("Reply-To", in.ReplyTo), single("From", in.From), single("Sender", in.Sender)); err != nil {
		first, _ := errors.AsType[*refusal](err)
		return nil, first
	}
	if in.Subject != nil {
		fields = append(fields, headField{"Subject", encodeWords(*in.Subject)})
	}
	if in.MessageID != nil {
		if strings.ContainsFunc(*in.MessageID, func(c rune) bool { return c <= ' ' || c > '~' }) {
			return nil, fail(http.StatusBadRequest, "ErrorInvalidProperty", "The internetMessageId is none.")
		}
		fields = append(fields, headField{"Message-ID", *in.MessageID})
	}
	if in.Importance != nil {
		level := strings.ToLower(*in.Importance)
		if !slices.Contains([]string{"low", "normal", "high"}, level) {
			return nil, fail(http.StatusBadRequest, "ErrorInvalidRequest", "importance is low, normal or high.")
		}
		fields = append(fields, headField{"Importance", level})
	}
	for name, wanted := range map[string]*bool{"Disposition-Notification-To": in.Read, "Return-Receipt-To": in.Delivery} {
		if wanted != nil {
			f := headField{name: name}
			if *wanted {
				f.value = (&mail.Address{Address: me.Mail}).String()
			}
			fields = append(fields, f)
		}
	}
	for _, h := range in.Headers {
		if len(h.Name) < 3 || !strings.EqualFold(h.Name[:2], "x-") || strings.ContainsFunc(h.Name, func(c rune) bool { return c <= ' ' || c > '~' || c == ':' }) {
			return nil, fail(http.StatusBadRequest, "InvalidInternetMessageHeader", "The internet message header name "+quoted(h.Name)+" should start with 'x-' or 'X-'.")
		}
		fields = append(fields, headField{h.Name, encodeWords(h.Value)})
	}
	message = setHead(message, fields...)
	if in.Body == nil && len(in.Attachments) == 0 {
		return message, nil
	}
	parts := partsOf(message)
	if in.Body != nil {
		kind := map[string]string{"": "text/plain", "text": "text/plain", "html": "text/html"}[strings.ToLower(in.Body.Type)]
		if kind == "" {
			return nil, fail(http.StatusBadRequest, "ErrorInvalidRequest", "A body's contentType is text or html.")
		}
		parts = withBody(parts, kind, in.Body.Content)
	}
	for _, a := range in.Attachments {
		p, err := a.part(me)
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	return setParts(message, parts), nil
}

// newLetter is a message that nobody has written yet.
func (s *Service) newLetter(r *request) []byte {
	me := r.place.user
	return joinMessage(nil, []headField{
		{"From", (&mail.Address{Name: me.DisplayName, Address: me.Mail}).String()}, {"Date", s.clock().UTC().Format(time.RFC1123Z)},
		{"Message-ID", "<" + backup.NewID[string]() + "@" + r.place.tenant.Domain + ">"}, {"MIME-Version", "1.0"}, {"Content-Type", "text/plain; charset=utf-8"},
	}, nil)
}

// letter is a message of r's content, and what the item is to be that holds it.
func (s *Service) letter(r *request, text []byte) (data []byte, g mailGift, err error) {
	in, err := decodeLetter(text)
	if err != nil {
		return nil, g, err
	}
	g = mailGift{ext: extMail, received: s.clock(), flags: isDraft | isRead}
	message := s.newLetter(r)
	for _, p := range in.Extended {
		t := taggedID.FindStringSubmatch(p.ID)
		when, timed := time.Parse(time.RFC3339, p.Value)
		n, counted := strconv.Atoi(p.Value)
		id := ""
		if t != nil {
			id = strings.ToLower(t[1] + " " + t[2])
		}
		switch {
		case id == "integer e07" && counted == nil: // PidTagMessageFlags: 1 is read, 8 is never sent
			g.flags = 0
			if n&1 != 0 {
				g.flags |= isRead
			}
			if n&8 != 0 {
				g.flags |= isDraft
			}
		case id == "systemtime e06" && timed == nil: // PidTagMessageDeliveryTime
			g.received = when
		case id == "systemtime 39" && timed == nil: // PidTagClientSubmitTime
			message = setHead(message, headField{"Date", when.UTC().Format(time.RFC1123Z)})
		default:
			return nil, g, fail(http.StatusBadRequest, "ErrorInvalidProperty", "Of extended properties, Integer 0x0E07, SystemTime 0x0E06 and SystemTime 0x0039 are kept here.")
		}
	}
	if data, err = in.write(message, r.place.user); err != nil {
		return nil, g, err
	}
	if g.flags, err = in.flags(g.flags); err != nil {
		return nil, g, err
	}
	g.class = readHead(data[:min(len(data), headSize)], "IPM.Note").class
	if in.Categories != nil {
		g.categories = *in.Categories
	}
	return data, g, nil
}

// giveData puts a new item of some content into a folder.
func (m *mailbox) giveData(data []byte, g mailGift, f *mailFolder) (*mailItem, error) {
	if m.d.room(int64(len(data))) != nil {
		return nil, mailboxFull()
	}
	if len(data) > maxMail {
		return nil, fail(http.StatusBadRequest, "ErrorMessageSizeExceeded", "The item is larger than one may be.")
	}
	stage, err := m.d.svc.stageMail(data)
	if err != nil {
		return nil, err
	}
	defer m.d.svc.unstageMail(stage)
	g.stage = stage
	return m.give(g, f)
}

// rewrite gives an item another content, and leaves the rest of it as it is.
func (m *mailbox) rewrite(r *request, it *mailItem, data []byte, flags mailFlags) error {
	if m.d.room(max(0, int64(len(data))-it.size)) != nil {
		return mailboxFull()
	}
	if len(data) > maxMail {
		return fail(http.StatusBadRequest, "ErrorMessageSizeExceeded", "The item is larger than one may be.")
	}
	stage, err := m.d.svc.stageMail(data)
	if err != nil {
		return err
	}
	defer m.d.svc.unstageMail(stage)
	h := readHead(data[:min(len(data), headSize)], classByName(it.file.name, it.at.in.class()))
	return m.replace(r.Context(), it, mailGift{stage: stage, ext: itemExt(it.file.name), class: h.class, received: it.received.time(), flags: flags, categories: it.categories})
}

// draftsFolder is where new messages go that name no folder.
func (m *mailbox) draftsFolder(r *request) (*mailFolder, error) {
	f, err := m.folder(cmp.Or(r.vars["folder"], "drafts"))
	if err == nil && !f.ofMail() {
		err = noMailFolder()
	}
	return f, err
}

// createMessage makes a draft of JSON or of MIME content.
func (s *Service) createMessage(r *request, m *mailbox) error {
	f, err := m.draftsFolder(r)
	if err != nil {
		return err
	}
	data, isMIME, err := r.mimeContent()
	var g mailGift
	switch {
	case err != nil:
	case isMIME:
		h := readHead(data[:min(len(data), headSize)], "IPM.Note")
		g = mailGift{ext: extMail, class: h.class, received: s.clock(), flags: isDraft | isRead, categories: h.categories}
	default:
		data, g, err = s.letter(r, r.content)
	}
	if err != nil {
		return err
	}
	it, err := m.giveData(data, g, f)
	if err != nil {
		return err
	}
	return r.answerWhole(m, it, http.StatusCreated)
}

// answerWhole answers with a message and its body.
func (r *request) answerWhole(m *mailbox, it *mailItem, status int) error {
	if err := m.settle(r.Context(), it); err != nil {
		return err
	}
	data, err := m.bytes(it)
	if err != nil {
		return err
	}
	return r.answerMessage(m, it, status, bodyView(it.mime(data)))
}

// bytes is all that an item's file holds.
func (m *mailbox) bytes(it *mailItem) ([]byte, error) {
	f, err := m.open(it)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxMail+1))
	if err != nil {
		return nil, onDisk(err)
	}
	return data, nil
}

// asMatched refuses a change of an item that is no longer what the caller knows.
func (r *request) asMatched(it *mailItem) error {
	if match := r.Header.Get("If-Match"); match != "" && match != "*" && match != `W/"`+it.at.changeKey()+`"` {
		return fail(http.StatusPreconditionFailed, "ErrorIrresolvableConflict", "The change key that was passed does not match the current change key of the item.")
	}
	return nil
}

func (s *Service) patchMessage(r *request, m *mailbox) error {
	var in letterBody
	names, err := decodeContent(r.content, "message", slices.Concat(letterMarks, letterContent), slices.Concat(letterReadOnly, letterOnce), &in)
	if err != nil {
		return err
	}
	it, err := m.message(r)
	if err != nil {
		return err
	}
	if err := r.asMatched(it); err != nil {
		return err
	}
	if it.isNote() && names["importance"] {
		return fail(http.StatusBadRequest, "ErrorInvalidPropertySet", "A note has no importance.")
	}
	written := names["importance"]
	for _, name := range letterContent {
		if names[name] && (!it.draft() || it.isNote()) {
			return fail(http.StatusBadRequest, "ErrorInvalidPropertySet", "The property "+quoted(name)+" can be changed of drafts only.")
		}
		written = written || names[name]
	}
	flags, err := in.flags(it.flags)
	if err != nil {
		return err
	}
	if written {
		data, err := m.bytes(it)
		if err != nil {
			return err
		}
		if data, err = in.write(data, r.place.user); err != nil {
			return err
		}
		if err := m.rewrite(r, it, data, flags); err != nil {
			return err
		}
	}
	if in.Categories != nil && !slices.Equal(*in.Categories, it.categories) {
		it.categories = *in.Categories
		m.touchItem(it)
	}
	if err := m.setFlags(r.Context(), it, flags); err != nil {
		return err
	}
	return r.answerWhole(m, it, http.StatusOK)
}

// destroyMessage deletes a message for good.
func (s *Service) destroyMessage(r *request, m *mailbox) error {
	it, err := m.message(r)
	if err != nil {
		return err
	}
	r.status = http.StatusNoContent
	return m.destroy(it.file)
}

// recipients are those whom a message goes to.
func (h *mailHead) recipients() (out []string) {
	for _, a := range slices.Concat(h.to, h.cc, h.bcc) {
		if strings.Contains(a.Address, "@") {
			out = append(out, a.Address)
		}
	}
	return out
}

// post has a message leave the mailbox, and returns it as it was sent.
func (s *Service) post(r *request, data []byte) ([]byte, error) {
	h := readHead(data[:min(len(data), headSize)], "IPM.Note")
	to := h.recipients()
	if len(to) == 0 {
		return nil, fail(http.StatusBadRequest, "ErrorInvalidRecipients", "At least one recipient is not valid.")
	}
	now := s.clock().UTC().Format(time.RFC1123Z)
	fields := []headField{{"Date", now}}
	if h.from == nil {
		fields = append(fields, headField{"From", (&mail.Address{Name: r.place.user.DisplayName, Address: r.place.user.Mail}).String()})
	}
	if h.messageID == "" {
		fields = append(fields, headField{"Message-ID", "<" + backup.NewID[string]() + "@" + r.place.tenant.Domain + ">"})
	}
	data = setHead(data, fields...)
	r.sent = append(r.sent, SentMail{From: r.place.user.Mail, To: to, Subject: h.subject, Kind: "mail", MIME: string(setHead(data, headField{name: "Bcc"}))})
	return data, nil
}

// sendDraft sends a draft: it goes to Sent Items.
func (s *Service) sendDraft(r *request, m *mailbox) error {
	it, err := m.message(r)
	if err != nil {
		return err
	}
	if !it.draft() {
		return fail(http.StatusBadRequest, "ErrorInvalidOperation", "Only a draft can be sent.")
	}
	r.status = http.StatusAccepted
	return s.dispatchDraft(r, m, it)
}

func (s *Service) dispatchDraft(r *request, m *mailbox, it *mailItem) error {
	to := m.well["sentitems"]
	if to == nil {
		return noMailFolder()
	}
	data, err := m.bytes(it)
	if err != nil {
		return err
	}
	if data, err = s.post(r, data); err != nil {
		return err
	}
	it.received = momentOf(s.clock())
	if err := m.rewrite(r, it, data, it.flags&^isDraft|isRead); err != nil {
		return err
	}
	return m.move(r.Context(), it, to)
}

// sendNew sends a message that was never a draft.
func (s *Service) sendNew(r *request, m *mailbox) error {
	data, isMIME, err := r.mimeContent()
	if err != nil {
		return err
	}
	in := struct {
		Message json.RawMessage `json:"message"`
		Save    *bool           `json:"saveToSentItems"`
	}{}
	g := mailGift{ext: extMail, class: "IPM.Note", received: s.clock()}
	if !isMIME {
		if _, err := decodeContent(r.content, "sendMail", []string{"message", "saveToSentItems"}, nil, &in); err != nil {
			return err
		}
		if len(in.Message) == 0 {
			return fail(http.StatusBadRequest, "ErrorInvalidRequest", "The body needs a message.")
		}
		if data, g, err = s.letter(r, in.Message); err != nil {
			return err
		}
	}
	if data, err = s.post(r, data); err != nil {
		return err
	}
	r.status = http.StatusAccepted
	if in.Save != nil && !*in.Save {
		return nil
	}
	f := m.well["sentitems"]
	if f == nil {
		return noMailFolder()
	}
	g.flags = g.flags&^isDraft | isRead
	_, err = m.giveData(data, g, f)
	return err
}

// answerKind is one of the ways to answer a message.
type answerKind struct {
	prefix       string
	all, forward bool
	mark         mailFlags // of what was answered, once the answer is sent
	send         bool
}

var (
	replyTo    = answerKind{prefix: "RE: ", mark: isReplied}
	replyToAll = answerKind{prefix: "RE: ", all: true, mark: isReplied}
	forwardOn  = answerKind{prefix: "FW: ", forward: true, mark: isForwarded}
)

// now is the kind whose answers are sent at once.
func (k answerKind) now() answerKind { k.send = true; return k }

// answering makes an answer of a message: a draft, or what is sent at once.
func answering(k answerKind) func(*Service, *request) error {
	return onUserContent(func(s *Service, r *request, m *mailbox) error {
		it, err := m.message(r)
		if err != nil {
			return err
		}
		data, err := m.bytes(it)
		if err != nil {
			return err
		}
		if data, err = s.answerTo(r, k, it.mime(data)); err != nil {
			return err
		}
		drafts := m.well["drafts"]
		if drafts == nil {
			return noMailFolder()
		}
		made, err := m.giveData(data, mailGift{ext: extMail, class: "IPM.Note", received: s.clock(), flags: isDraft | isRead}, drafts)
		if err != nil {
			return err
		}
		if !k.send {
			return r.answerWhole(m, made, http.StatusCreated)
		}
		if err := s.dispatchDraft(r, m, made); err != nil {
			return errors.Join(err, m.destroy(made.file))
		}
		r.status = http.StatusAccepted
		return m.setFlags(r.Context(), it, it.flags|k.mark)
	})
}

// answerTo is an answer to a message, as r says it.
func (s *Service) answerTo(r *request, k answerKind, to []byte) ([]byte, error) {
	in := struct {
		Comment *string         `json:"comment"`
		Message json.RawMessage `json:"message"`
		To      *[]addressee    `json:"toRecipients"`
	}{}
	known := []string{"comment", "message"}
	if k.forward {
		known = append(known, "toRecipients")
	}
	if names, err := decodeContent(capitalised(r.content, "comment", "message", "toRecipients"), "message", known, nil, &in); err != nil {
		return nil, err
	} else if names["toRecipients"] && strings.Contains(string(in.Message), `"toRecipients"`) {
		return nil, fail(http.StatusBadRequest, "ErrorInvalidRequest", "Recipients are given in toRecipients or in the message, not in both.")
	}
	edit := letterBody{}
	if len(in.Message) > 0 {
		var err error
		if edit, err = decodeLetter(in.Message); err != nil {
			return nil, err
		}
		if edit.Body != nil && in.Comment != nil && *in.Comment != "" {
			return nil, fail(http.StatusBadRequest, "ErrorInvalidRequest", "Either a comment is given or the message's body, not both.")
		}
	}
	if in.To != nil {
		edit.To = in.To
	}
	h, parts := readHead(to[:min(len(to), headSize)], "IPM.Note"), partsOf(to)
	subject := h.subject
	if len(subject) < 4 || !strings.EqualFold(subject[:4], k.prefix) {
		subject = k.prefix + subject
	}
	fields := []headField{{"Subject", encodeWords(subject)}}
	if h.messageID != "" {
		fields = append(fields, headField{"In-Reply-To", h.messageID}, headField{"References", strings.TrimSpace(h.references + " " + h.messageID)})
	}
	if !k.forward {
		answerTo := h.replyTo
		if answerTo == nil && h.from != nil {
			answerTo = []*mail.Address{h.from}
		}
		mine := func(a *mail.Address) bool { return strings.EqualFold(a.Address, r.place.user.Mail) }
		if k.all {
			answerTo = slices.DeleteFunc(slices.Concat(answerTo, h.to), mine)
			fields = append(fields, headField{"Cc", addressField(slices.DeleteFunc(slices.Clone(h.cc), mine))})
		}
		fields = append(fields, headField{"To", addressField(answerTo)})
	}
	kind, text := bodyOf(parts)
	comment := ""
	if in.Comment != nil {
		comment = *in.Comment
	}
	about := []string{"From: " + namesOf(listOf(h.from)), "Sent: " + h.sent.UTC().Format(time.RFC1123), "To: " + namesOf(h.to), "Subject: " + h.subject}
	mediaType := "text/plain"
	if kind == "html" {
		mediaType = "text/html"
		for i := range about {
			about[i] = html.EscapeString(about[i])
		}
		text = html.EscapeString(comment) + "<hr>" + strings.Join(about, "<br>") + "<br><br>" + text
	} else {
		text = comment + "\r\n\r\n________________________________\r\n" + strings.Join(about, "\r\n") + "\r\n\r\n" + text
	}
	answer := []mailPart{{kind: mediaType, data: []byte(text)}}
	for _, p := range attachmentsOf(parts) {
		if k.forward || p.inline && kind == "html" {
			answer = append(answer, p)
		}
	}
	return edit.write(setParts(setHead(s.newLetter(r), fields...), answer), r.place.user)
}

// capitalised gives the members of an action's body the names they have in OData's
// own spelling: the service takes Comment for comment.
func capitalised(text []byte, names ...string) []byte {
	var fields map[string]json.RawMessage
	if json.Unmarshal(text, &fields) != nil || fields == nil {
		return text
	}
	for key, value := range maps.Clone(fields) {
		for _, name := range names {
			if key != name && strings.EqualFold(key, name) {
				delete(fields, key)
				fields[name] = value
			}
		}
	}
	out, err := json.Marshal(fields)
	if err != nil {
		return text
	}
	return out
}

// listOf is a list of somebody, or of nobody.
func listOf(a *mail.Address) []*mail.Address {
	if a == nil {
		return nil
	}
	return []*mail.Address{a}
}
