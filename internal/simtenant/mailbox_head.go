package simtenant

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"io"
	"mime"
	"net/mail"
	"path"
	"strings"
	"time"
)

// headSize is how much of a file is read to learn what it is.
const headSize = 64 << 10

// mailHead is what a file says of itself.
type mailHead struct {
	class      string
	subject    string
	from       *mail.Address
	to, cc     []*mail.Address
	bcc        []*mail.Address
	replyTo    []*mail.Address
	sent       time.Time
	received   moment
	messageID  string
	references string // message ids of what it answers
	thread     string // the message id that a conversation began with
	importance string
	receipts   []string // which are asked for: delivery, read
	attached   bool     // it has attachments
	start, end time.Time
	uid        string
	categories []string
}

// classByName is the class of a file that cannot be read.
func classByName(name, folder string) string {
	switch strings.ToLower(path.Ext(name)) {
	case ".ics":
		if folder == "IPF.Task" {
			return "IPM.Task"
		}
		return "IPM.Appointment"
	case ".vcf":
		return "IPM.Contact"
	case ".txt":
		return "IPM.StickyNote"
	}
	return "IPM.Note"
}

// head reads what it's file says of it.
func (m *mailbox) head(it *mailItem) (*mailHead, error) {
	f, err := m.open(it)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text := make([]byte, headSize)
	n, err := io.ReadFull(f, text)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, onDisk(err)
	}
	h := readHead(text[:n], classByName(it.file.name, it.at.in.class()))
	if h.received == (moment{}) {
		h.received = it.mtime
	}
	return h, nil
}

// readHead reads the beginning of a file of a class that its name gave it.
func readHead(text []byte, class string) *mailHead {
	h := &mailHead{class: class}
	switch class {
	case "IPM.Appointment", "IPM.Task", "IPM.Contact":
		h.readLines(text)
	case "IPM.StickyNote":
		line, _, _ := bytes.Cut(text, []byte("\n"))
		h.subject = strings.ToValidUTF8(strings.TrimSpace(string(line)), "\uFFFD")
	default:
		h.readMail(text)
	}
	return h
}

// readMail reads a message in the form of RFC 5322, however badly it is made.
func (h *mailHead) readMail(text []byte) {
	fields, body := splitHead(text)
	first := func(name string) string {
		if v := fields[name]; len(v) > 0 {
			return v[0]
		}
		return ""
	}
	h.subject = decodeWords(first("subject"))
	h.from = firstOf(addresses(first("from")))
	if h.from == nil {
		h.from = firstOf(addresses(first("sender")))
	}
	h.to, h.cc, h.bcc, h.replyTo = addresses(first("to")), addresses(first("cc")), addresses(first("bcc")), addresses(first("reply-to"))
	h.messageID = first("message-id")
	h.references, h.thread = cmp.Or(first("references"), first("in-reply-to")), h.messageID
	if before := strings.Fields(h.references); len(before) > 0 {
		h.thread = before[0]
	}
	for field, what := range map[string]string{"return-receipt-to": "delivery", "disposition-notification-to": "read"} {
		if first(field) != "" {
			h.receipts = append(h.receipts, what)
		}
	}
	h.sent, _ = mail.ParseDate(first("date"))
	if trace := first("received"); trace != "" {
		if i := strings.LastIndexByte(trace, ';'); i >= 0 {
			if at, err := mail.ParseDate(strings.TrimSpace(trace[i+1:])); err == nil {
				h.received = momentOf(at)
			}
		}
	}
	if h.received == (moment{}) && !h.sent.IsZero() {
		h.received = momentOf(h.sent)
	}
	h.importance = "normal"
	switch strings.ToLower(first("importance")) {
	case "high", "low":
		h.importance = strings.ToLower(first("importance"))
	}
	h.categories = splitList(decodeWords(first("keywords")))
	kind, params, _ := mime.ParseMediaType(first("content-type"))
	lower := bytes.ToLower(body)
	h.attached = strings.EqualFold(first("x-ms-has-attach"), "yes") || kind == "multipart/mixed" && bytes.Contains(lower, []byte("content-disposition: attachment")) ||
		strings.HasPrefix(strings.ToLower(first("content-disposition")), "attachment")
	switch kind {
	case "application/pkcs7-mime", "application/x-pkcs7-mime":
		h.class, h.attached = "IPM.Note.SMIME", true
	case "multipart/signed":
		h.class = "IPM.Note.SMIME.MultipartSigned"
	case "multipart/report":
		switch strings.ToLower(params["report-type"]) {
		case "delivery-status":
			h.class = "REPORT.IPM.Note.NDR"
		case "disposition-notification":
			h.class = "REPORT.IPM.Note.IPNRN"
		}
	case "text/calendar":
		h.meeting(params["method"], lower)
	case "multipart/alternative", "multipart/mixed":
		if i := bytes.Index(lower, []byte("content-type: text/calendar")); i >= 0 {
			line, _, _ := bytes.Cut(unfold(lower[i:]), []byte("\n"))
			_, params, _ := mime.ParseMediaType(strings.TrimSpace(strings.TrimPrefix(string(line), "content-type:")))
			h.meeting(params["method"], lower[i:])
		}
	}
}

// meeting gives a message about a meeting its class.
func (h *mailHead) meeting(method string, body []byte) {
	switch strings.ToLower(method) {
	case "request":
		h.class = "IPM.Schedule.Meeting.Request"
	case "cancel":
		h.class = "IPM.Schedule.Meeting.Canceled"
	case "reply":
		switch {
		case bytes.Contains(body, []byte("partstat=declined")):
			h.class = "IPM.Schedule.Meeting.Resp.Neg"
		case bytes.Contains(body, []byte("partstat=tentative")):
			h.class = "IPM.Schedule.Meeting.Resp.Tent"
		default:
			h.class = "IPM.Schedule.Meeting.Resp.Pos"
		}
	}
}

// splitHead splits a message into its fields, by name in lower case, and what
// follows.
func splitHead(text []byte) (fields map[string][]string, body []byte) {
	fields = map[string][]string{}
	name := ""
	for len(text) > 0 {
		line, rest, _ := bytes.Cut(text, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		text = rest
		if len(line) == 0 {
			break
		}
		if (line[0] == ' ' || line[0] == '\t') && name != "" {
			v := fields[name]
			v[len(v)-1] += " " + strings.TrimSpace(string(line))
			continue
		}
		key, value, ok := strings.Cut(string(line), ":")
		if !ok {
			continue // such as mbox's own first line
		}
		name = strings.ToLower(strings.TrimSpace(key))
		fields[name] = append(fields[name], strings.TrimSpace(value))
	}
	return fields, text
}

var words = mime.WordDecoder{}

// decodeWords decodes what RFC 2047 encodes, where the character set is known.
func decodeWords(s string) string {
	if out, err := words.DecodeHeader(s); err == nil {
		s = out
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

var addressParser = mail.AddressParser{WordDecoder: &words}

// addresses reads a list of addresses. What is none of them is left out.
func addresses(s string) []*mail.Address {
	if s == "" {
		return nil
	}
	if list, err := addressParser.ParseList(s); err == nil {
		return list
	}
	var list []*mail.Address
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		if a, err := addressParser.Parse(part); err == nil {
			list = append(list, a)
		} else if part != "" {
			list = append(list, &mail.Address{Name: decodeWords(part)})
		}
	}
	return list
}

func firstOf(list []*mail.Address) *mail.Address {
	if len(list) == 0 {
		return nil
	}
	return list[0]
}

func splitList(s string) (out []string) {
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// unfold joins the lines that are continued.
func unfold(text []byte) []byte {
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	text = bytes.ReplaceAll(text, []byte("\n "), nil)
	return bytes.ReplaceAll(text, []byte("\n\t"), nil)
}

// readLines reads an iCalendar or a vCard.
func (h *mailHead) readLines(text []byte) {
	plain := strings.NewReplacer(`\,`, ",", `\;`, ";", `\n`, "\n", `\N`, "\n", `\\`, `\`)
	depth, done := 0, false
	lines := bufio.NewScanner(bytes.NewReader(unfold(text)))
	lines.Buffer(nil, headSize+1)
	for lines.Scan() {
		key, value, ok := strings.Cut(strings.TrimRight(lines.Text(), "\r"), ":")
		if !ok {
			continue
		}
		value = strings.ToValidUTF8(value, "\uFFFD")
		name, params, _ := strings.Cut(strings.ToUpper(key), ";")
		switch name {
		case "BEGIN":
			switch kind := strings.ToUpper(value); {
			case kind == "VALARM" || kind == "VTIMEZONE" || done:
				depth++
			case kind == "VTODO":
				h.class = "IPM.Task"
			case kind == "VJOURNAL":
				h.class = "IPM.Activity"
			}
			continue
		case "END":
			switch kind := strings.ToUpper(value); {
			case depth > 0:
				depth--
			case kind == "VEVENT" || kind == "VTODO" || kind == "VCARD":
				done = true // what follows are exceptions of a series
			}
			continue
		}
		if depth > 0 || done {
			continue
		}
		switch name {
		case "SUMMARY", "FN":
			h.subject = plain.Replace(value)
		case "UID":
			h.uid = value
		case "KIND":
			if strings.EqualFold(value, "group") {
				h.class = "IPM.DistList"
			}
		case "ORGANIZER":
			h.from = &mail.Address{Address: value}
			if rest, ok := cutFold(value, "mailto:"); ok {
				h.from.Address = rest
			}
		case "ATTACH":
			h.attached = true
		case "DTSTART":
			h.start = calendarTime(params, value)
		case "DTEND", "DUE":
			h.end = calendarTime(params, value)
		case "CATEGORIES":
			h.categories = append(h.categories, splitList(plain.Replace(value))...)
		}
	}
}

func cutFold(s, prefix string) (rest string, ok bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// calendarTime reads a time of an iCalendar. One of a zone that is not known
// here is taken for UTC.
func calendarTime(params, value string) time.Time {
	return paperLine{raw: params}.time(value).UTC()
}

// zoneName gives the name of a zone, which was made upper case, its usual form.
func zoneName(name string) string {
	b := []byte(strings.Trim(name, `"`))
	for i := range b {
		if i > 0 && b[i-1] != '/' && b[i-1] != '_' && b[i-1] != '-' && 'A' <= b[i] && b[i] <= 'Z' {
			b[i] += 'a' - 'A'
		}
	}
	return string(b)
}
