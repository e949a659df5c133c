package letter

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
	"golang.org/x/net/html/charset"
)

// A source is what a message is read from. It remembers that it could not be.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// A walk goes through the parts of a message.
type walk struct {
	letter *Letter
	parts  int
	wanted int // the number of the attachment that to gets, from 1 on; 0 for none
	to     io.Writer
	over   bool // nothing more is wanted
}

// A text is a part of the body, as far as it is shown.
type text struct {
	text string
	cut  bool
}

// begin reads the head of a message. Lines that are none are passed over.
func begin(r io.Reader) (textproto.MIMEHeader, io.Reader) {
	in := bufio.NewReaderSize(r, 64<<10)
	head := textproto.MIMEHeader{}
	name, read := "", 0
	var value []byte // grows by what is folded into it
	keep := func() {
		if name != "" {
			name = textproto.CanonicalMIMEHeaderKey(name)
			head[name] = append(head[name], strings.TrimSpace(string(value)))
		}
		name = ""
	}
	for read < maxHead {
		whole, err := headLine(in, maxHead-read)
		read += len(whole)
		line := strings.TrimRight(whole, "\r\n")
		if line == "" {
			break
		}
		if line[0] == ' ' || line[0] == '\t' {
			value = append(append(value, ' '), strings.TrimSpace(line)...)
		} else {
			keep()
			if before, after, ok := strings.Cut(line, ":"); ok && !strings.ContainsAny(before, " \t") {
				name, value = before, append(value[:0], after...)
			}
		}
		if err != nil {
			break
		}
	}
	keep()
	return head, in
}

// headLine reads a line, and no more of one that is longer than most.
func headLine(in *bufio.Reader, most int) (string, error) {
	var line []byte
	for {
		some, err := in.ReadSlice('\n')
		if line = append(line, some...); err != bufio.ErrBufferFull {
			return string(line), err
		}
		if len(line) >= most {
			return string(line), nil
		}
	}
}

// entity goes through a part and what is in it, and returns what of it is the body, if
// anything is.
func (w *walk) entity(head textproto.MIMEHeader, body io.Reader, depth int) *text {
	if w.parts++; w.parts > maxParts {
		w.letter.Broken, w.over = true, true
		return nil
	}
	typ, params, err := mime.ParseMediaType(head.Get("Content-Type"))
	if typ == "" || err != nil && params == nil && !strings.Contains(typ, "/") {
		typ = "text/plain"
	}
	if strings.HasPrefix(typ, "multipart/") && params["boundary"] != "" && depth < maxNested {
		return w.multi(typ, multipart.NewReader(body, params["boundary"]), depth)
	}
	switch strings.ToLower(strings.TrimSpace(head.Get("Content-Transfer-Encoding"))) {
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, &coded{r: body})
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	}
	placed, placing, _ := mime.ParseMediaType(head.Get("Content-Disposition"))
	name := placing["filename"]
	if name == "" {
		name = params["name"]
	}
	if (typ == "text/plain" || typ == "text/html" || strings.HasPrefix(typ, "multipart/")) && placed != "attachment" && name == "" {
		return w.read(typ, head.Get("Content-Type"), body)
	}
	w.attach(Attachment{Name: nameOf(name, typ, len(w.letter.Attachments)+1), Type: typ}, body)
	return nil
}

// multi goes through what is in a part. Of alternatives plain text is read, if there is any.
func (w *walk) multi(typ string, parts *multipart.Reader, depth int) *text {
	var all []*text // as much of them as is shown
	size, more := 0, false
	for !w.over {
		part, err := parts.NextRawPart()
		if err != nil {
			w.letter.Broken = w.letter.Broken || err != io.EOF
			break
		}
		t := w.entity(part.Header, part, depth+1)
		switch {
		case t == nil || strings.TrimSpace(t.text) == "", len(all) > 0 && typ == "multipart/alternative":
		case len(all) > 0 && size+len(t.text) > maxText:
			more = true
		case !more:
			all, size = append(all, t), size+len(t.text)
		}
	}
	if len(all) == 0 {
		return nil
	}
	if typ == "multipart/alternative" {
		return all[0] // the plainest comes first
	}
	one := text{cut: more}
	texts := make([]string, len(all))
	for i, t := range all {
		texts[i], one.cut = t.text, one.cut || t.cut
	}
	one.text = strings.Join(texts, "\n\n")
	return &one
}

func (w *walk) read(typ, label string, body io.Reader) *text {
	if w.wanted > 0 {
		return nil
	}
	r, err := charset.NewReader(body, label)
	if err != nil {
		w.letter.Broken = w.letter.Broken || err != io.EOF
		return nil
	}
	if typ == "text/html" {
		return plain(r)
	}
	data, err := io.ReadAll(io.LimitReader(r, maxText+1))
	w.letter.Broken = w.letter.Broken || err != nil
	t := &text{text: string(data[:min(len(data), maxText)]), cut: len(data) > maxText}
	return t
}

func (w *walk) attach(a Attachment, body io.Reader) {
	var to io.Writer = io.Discard
	if w.wanted == len(w.letter.Attachments)+1 {
		to = w.to
	}
	if w.wanted == 0 || to != io.Discard {
		var err error
		if a.Size, err = io.Copy(to, body); err != nil {
			w.letter.Broken = true
		}
	}
	w.letter.Attachments = append(w.letter.Attachments, a)
	w.over = w.over || w.wanted == len(w.letter.Attachments)
}

// A coded passes over what does not belong into base64.
type coded struct{ r io.Reader }

func (c *coded) Read(b []byte) (int, error) {
	for {
		n, err := c.r.Read(b)
		kept := 0
		for _, x := range b[:n] {
			if ofBase64[x] {
				b[kept] = x
				kept++
			}
		}
		if kept > 0 || err != nil || len(b) == 0 {
			return kept, err
		}
	}
}

var ofBase64 = func() (is [256]bool) {
	for _, x := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=") {
		is[x] = true
	}
	return is
}()

// nameOf is what an attachment is called: never a path, and never nothing.
func nameOf(name, typ string, number int) string {
	if name = decode(name); strings.Trim(name, ". ") != "" {
		return FileName(name)
	}
	end := map[string]string{"message/rfc822": ".eml", "text/calendar": ".ics", "text/vcard": ".vcf", "application/pdf": ".pdf",
		"image/png": ".png", "image/jpeg": ".jpg", "image/gif": ".gif", "text/html": ".html", "text/plain": ".txt"}[typ]
	return fmt.Sprintf("attachment %d%s", number, end)
}

var words = mime.WordDecoder{CharsetReader: charset.NewReaderLabel}

// decode returns a head line as it is meant.
func decode(s string) string {
	if !utf8.ValidString(s) {
		if r, err := charset.NewReaderLabel("windows-1252", strings.NewReader(s)); err == nil {
			if data, err := io.ReadAll(r); err == nil {
				s = string(data)
			}
		}
	}
	if meant, err := words.DecodeHeader(s); err == nil {
		return meant
	}
	return s
}

// people are who head lines name; those that are not as they should be are one, as it is.
func people(lines []string) (all []string) {
	defer func() {
		if more := len(all) - maxPeople; more > 0 {
			all = append(all[:maxPeople:maxPeople], fmt.Sprintf("and %d more", more))
		}
	}()
	parser := mail.AddressParser{WordDecoder: &words}
	for _, of := range lines {
		if known, err := parser.ParseList(of); err == nil {
			for _, a := range known {
				if a.Name == "" {
					all = append(all, line(a.Address))
				} else {
					all = append(all, line(a.Name+" <"+a.Address+">"))
				}
			}
		} else if is := line(decode(of)); is != "" {
			all = append(all, is)
		}
	}
	return all
}

// line is a text in one line.
func line(s string) string {
	s = strings.Join(strings.Fields(clean(s)), " ")
	if len(s) > maxLine {
		s = strings.ToValidUTF8(s[:maxLine], "") + "…"
	}
	return s
}

// clean takes out of a text what is no text: what controls a terminal, or turns what comes
// after it around.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case unicode.IsControl(r), r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0x200e, r == 0x200f:
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// plain is what a person reads of HTML. Nothing that it refers to is looked at.
func plain(r io.Reader) *text {
	bounded := &io.LimitedReader{R: r, N: maxHTML}
	z := html.NewTokenizer(bounded)
	z.SetMaxBuf(1 << 20)
	var b strings.Builder
	unseen, lines, space := 0, 2, false // open elements that are not shown, line ends at the end, and whether a space is due
	end := func(n int) {
		for space = false; lines < n; lines++ {
			b.WriteByte('\n')
		}
	}
	for b.Len() <= maxText {
		kind := z.Next()
		if kind == html.ErrorToken {
			break
		}
		if kind == html.TextToken {
			if unseen > 0 {
				continue
			}
			for _, c := range string(z.Text()) {
				switch {
				case unicode.IsSpace(c):
					space = lines == 0
					continue
				case space:
					b.WriteByte(' ')
				}
				b.WriteRune(c)
				space, lines = false, 0
			}
			continue
		}
		t := z.Token()
		switch t.DataAtom {
		case atom.Script, atom.Style, atom.Head, atom.Title, atom.Template, atom.Noscript, atom.Svg, atom.Object:
			switch {
			case kind == html.StartTagToken:
				unseen++
			case kind == html.EndTagToken && unseen > 0:
				unseen--
			}
		case atom.Body:
			unseen = 0
		case atom.Br:
			if unseen == 0 {
				b.WriteByte('\n')
				lines, space = lines+1, false
			}
		case atom.P, atom.H1, atom.H2, atom.H3, atom.H4, atom.Table, atom.Ul, atom.Ol, atom.Blockquote, atom.Hr:
			end(2)
		case atom.Div, atom.Tr, atom.Li:
			end(1)
			if t.DataAtom == atom.Li && kind == html.StartTagToken {
				b.WriteString("- ")
			}
		case atom.Td, atom.Th:
			if kind == html.EndTagToken && lines == 0 {
				b.WriteByte('\t')
			}
		}
	}
	s := b.String()
	if len(s) > maxText {
		return &text{strings.ToValidUTF8(s[:maxText], ""), true}
	}
	return &text{strings.TrimSpace(s), bounded.N == 0}
}

// FileName is a text as a name of a file, which may be used in any folder.
func FileName(s string) string {
	s = strings.Map(func(r rune) rune {
		if strings.ContainsRune(`/\:*?"<>|`, r) {
			return '_'
		}
		return r
	}, line(s))
	if runes := []rune(s); len(runes) > 100 {
		s = string(runes[:100])
	}
	if s = strings.Trim(s, ". "); s == "" {
		return "message"
	}
	return s
}
