package simtenant

import (
	"bytes"
	"encoding/base64"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"slices"
	"strings"

	"holdfast/internal/backup"
)

// headField is a line of a message's head. One without a value is to go.
type headField struct{ name, value string }

// setHead gives a message's head other lines: all of their names go, and those with
// a value come to the end. Lines that it does not name stay as they are.
func setHead(message []byte, fields ...headField) []byte {
	head, body := withoutFields(message, fields)
	return joinMessage(head, fields, body)
}

// withoutFields splits a message, and leaves lines out of its head.
func withoutFields(message []byte, fields []headField) (head, body []byte) {
	dropping := false
	for len(message) > 0 {
		line, rest, _ := bytes.Cut(message, []byte("\n"))
		message = rest
		if line = bytes.TrimRight(line, "\r"); len(line) == 0 {
			break
		}
		if line[0] != ' ' && line[0] != '\t' {
			name, _, ok := strings.Cut(string(line), ":")
			dropping = ok && slices.ContainsFunc(fields, func(f headField) bool { return strings.EqualFold(f.name, strings.TrimSpace(name)) })
		}
		if !dropping {
			head = append(append(head, line...), "\r\n"...)
		}
	}
	return head, message
}

func joinMessage(head []byte, fields []headField, body []byte) []byte {
	out := slices.Clone(head)
	for _, f := range fields {
		if f.value != "" {
			out = append(out, f.name+": "+f.value+"\r\n"...)
		}
	}
	return append(append(out, "\r\n"...), body...)
}

// encodeWords is a text as a head may hold it.
func encodeWords(s string) string { return mime.QEncoding.Encode("utf-8", s) }

// addressField is a list of people as a head has them, a line each.
func addressField(list []*mail.Address) string {
	lines := make([]string, len(list))
	for i, a := range list {
		lines[i] = a.String()
	}
	return strings.Join(lines, ",\r\n ")
}

// entity is a part of a message as it is written.
type entity struct {
	head []headField
	body []byte
}

// contentFields are the lines of a head that say what the content is.
var contentFields = []headField{{name: "MIME-Version"}, {name: "Content-Type"}, {name: "Content-Transfer-Encoding"}, {name: "Content-Disposition"}, {name: "Content-Id"}, {name: "X-MS-Has-Attach"}}

// setParts gives a message another content.
func setParts(message []byte, parts []mailPart) []byte {
	head, _ := withoutFields(message, contentFields)
	fields := []headField{{"MIME-Version", "1.0"}}
	if slices.ContainsFunc(attachmentsOf(parts), func(p mailPart) bool { return !p.inline }) {
		fields = append(fields, headField{"X-MS-Has-Attach", "yes"})
	}
	e := entityOf(parts)
	return joinMessage(head, append(fields, e.head...), e.body)
}

// entityOf puts parts together: what is read, in all its forms; with that what is
// shown within it; and beside them what is attached.
func entityOf(parts []mailPart) entity {
	var bodies, within, beside []entity
	for _, p := range parts {
		switch {
		case p.isBody():
			bodies = append(bodies, p.entity())
		case p.inline && p.contentID != "":
			within = append(within, p.entity())
		default:
			beside = append(beside, p.entity())
		}
	}
	if len(bodies) == 0 {
		bodies = []entity{mailPart{kind: "text/plain"}.entity()}
	}
	e := bodies[0]
	if len(bodies) > 1 {
		e = together("alternative", bodies)
	}
	if len(within) > 0 {
		e = together("related", append([]entity{e}, within...))
	}
	if len(beside) > 0 {
		e = together("mixed", append([]entity{e}, beside...))
	}
	return e
}

func together(how string, list []entity) entity {
	boundary := "_" + backup.NewID[string]() + "_"
	var b bytes.Buffer
	for _, e := range list {
		b.WriteString("--" + boundary + "\r\n")
		for _, f := range e.head {
			b.WriteString(f.name + ": " + f.value + "\r\n")
		}
		b.WriteString("\r\n")
		b.Write(e.body)
		b.WriteString("\r\n")
	}
	b.WriteString("--" + boundary + "--\r\n")
	return entity{[]headField{{"Content-Type", `multipart/` + how + `; boundary="` + boundary + `"`}}, b.Bytes()}
}

// entity writes a part. Text is quoted-printable, all else base64, and a message in
// the message is as it is.
func (p mailPart) entity() entity {
	params := map[string]string{}
	if p.isBody() {
		params["charset"] = "utf-8"
	} else if p.name != "" && p.kind != "message/rfc822" {
		params["name"] = p.name
	}
	kind := mime.FormatMediaType(p.kind, params)
	if kind == "" {
		kind = mime.FormatMediaType("application/octet-stream", params)
	}
	e := entity{head: []headField{{"Content-Type", kind}}}
	if !p.isBody() {
		how := "attachment"
		if p.inline {
			how = "inline"
		}
		e.head = append(e.head, headField{"Content-Disposition", mime.FormatMediaType(how, map[string]string{"filename": p.name})})
		if p.contentID != "" {
			e.head = append(e.head, headField{"Content-Id", "<" + p.contentID + ">"})
		}
		if p.location != "" {
			e.head = append(e.head, headField{"Content-Location", p.location})
		}
	}
	var b bytes.Buffer
	switch {
	case p.isBody():
		e.head = append(e.head, headField{"Content-Transfer-Encoding", "quoted-printable"})
		w := quotedprintable.NewWriter(&b)
		w.Write(p.data) // into memory
		w.Close()
	case p.kind == "message/rfc822":
		b.Write(p.data)
	default:
		e.head = append(e.head, headField{"Content-Transfer-Encoding", "base64"})
		text := base64.StdEncoding.EncodeToString(p.data)
		for len(text) > 76 {
			b.WriteString(text[:76] + "\r\n")
			text = text[76:]
		}
		b.WriteString(text)
	}
	e.body = b.Bytes()
	return e
}

// withBody is what of the parts remains when the text is another.
func withBody(parts []mailPart, kind, text string) []mailPart {
	return append([]mailPart{{kind: kind, data: []byte(text)}}, attachmentsOf(parts)...)
}
