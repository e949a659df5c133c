package simtenant

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/textproto"
	"strings"
	"unicode/utf8"
)

// mailPart is a part of a message that is no other parts' cover.
type mailPart struct {
	kind      string // such as text/html
	name      string // of a file
	contentID string
	location  string // Content-Location
	inline    bool
	data      []byte
	line      string // of what an event's file holds: as it stands there
}

// isBody reports whether it is text that is shown as the message.
func (p mailPart) isBody() bool {
	return p.name == "" && !strings.HasPrefix(p.kind, "message/") && (p.kind == "text/plain" || p.kind == "text/html")
}

// maxMailParts and maxNested bound what is read of a message that means harm.
const (
	maxMailParts = 500
	maxNested    = 20
)

// partsOf takes a message apart. What is badly made is a part as it is.
func partsOf(message []byte) []mailPart {
	fields, body := splitHead(message)
	head := textproto.MIMEHeader{}
	for name, values := range fields {
		for _, v := range values {
			head.Add(name, v)
		}
	}
	return appendParts(nil, head, body, 0)
}

func appendParts(list []mailPart, head textproto.MIMEHeader, body []byte, depth int) []mailPart {
	if len(list) >= maxMailParts {
		return list
	}
	kind, params, err := mime.ParseMediaType(head.Get("Content-Type"))
	if err != nil || kind == "" {
		kind = "text/plain"
	}
	if strings.HasPrefix(kind, "multipart/") && params["boundary"] != "" && depth < maxNested {
		r := multipart.NewReader(bytes.NewReader(body), params["boundary"])
		for {
			part, err := r.NextRawPart()
			if err != nil {
				return list
			}
			data, _ := io.ReadAll(part)
			list = appendParts(list, part.Header, data, depth+1)
		}
	}
	p := mailPart{kind: kind, data: body, contentID: strings.Trim(head.Get("Content-Id"), "<>"), location: head.Get("Content-Location")}
	disposition, more, _ := mime.ParseMediaType(head.Get("Content-Disposition"))
	p.inline = disposition == "inline"
	for _, name := range []string{more["filename"], params["name"]} {
		if p.name == "" {
			p.name = decodeWords(name)
		}
	}
	switch {
	case p.name != "":
	case kind == "message/rfc822":
		inner, _ := splitHead(body)
		if subject := inner["subject"]; len(subject) > 0 {
			p.name = decodeWords(subject[0])
		}
		p.name += extMail
	case disposition == "attachment", !p.isBody():
		p.name = "attachment"
		if ends, _ := mime.ExtensionsByType(kind); len(ends) > 0 {
			p.name += ends[0]
		}
	}
	switch strings.ToLower(strings.TrimSpace(head.Get("Content-Transfer-Encoding"))) {
	case "base64":
		if data, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, bytes.NewReader(body))); err == nil || len(data) > 0 {
			p.data = data
		}
	case "quoted-printable":
		if data, err := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(body))); err == nil {
			p.data = data
		}
	}
	if p.isBody() {
		p.data = decodeCharset(p.data, params["charset"])
	}
	return append(list, p)
}

// decodeCharset has a text be UTF-8, of the character sets that mail is mostly in.
func decodeCharset(text []byte, charset string) []byte {
	switch strings.ToLower(charset) {
	case "iso-8859-1", "windows-1252", "latin1":
		var b strings.Builder
		for _, c := range text {
			b.WriteRune(rune(c))
		}
		return []byte(b.String())
	}
	if !utf8.Valid(text) {
		return bytes.ToValidUTF8(text, []byte("\uFFFD"))
	}
	return text
}

// bodyOf is the text that is shown, HTML before plain text, and its kind.
func bodyOf(parts []mailPart) (kind, text string) {
	kind = "text"
	for _, p := range parts {
		if !p.isBody() {
			continue
		}
		if html := p.kind == "text/html"; html && kind != "html" || text == "" {
			text = string(p.data)
			if html {
				kind = "html"
			}
		}
	}
	return kind, text
}

// withoutMarks is a text without the marks of HTML.
func withoutMarks(kind, text string) string {
	if kind != "html" {
		return text
	}
	var b strings.Builder
	tag := false
	for _, c := range text {
		switch {
		case c == '<':
			tag = true
		case c == '>' && tag:
			tag = false
			b.WriteByte(' ')
		case !tag:
			b.WriteRune(c)
		}
	}
	return b.String()
}

// preview is the beginning of a text, without the marks of HTML.
func preview(kind, text string) string {
	text = strings.Join(strings.Fields(withoutMarks(kind, text)), " ")
	if runes := []rune(text); len(runes) > 255 {
		text = string(runes[:255])
	}
	return text
}

// attachmentsOf are the parts that are attached.
func attachmentsOf(parts []mailPart) (list []mailPart) {
	for _, p := range parts {
		if !p.isBody() {
			list = append(list, p)
		}
	}
	return list
}
