package letter

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
)

type message struct{ *strings.Reader }

func (message) Close() error { return nil }

func lines(text string) string { return strings.ReplaceAll(text, "\n", "\r\n") }

// full is a message with alternatives, umlauts in its head, and attachments: one with a name
// that leads out of a folder, an invitation and a message.
var full = lines(`From: =?UTF-8?B?SsO8cmdlbiBNw7xsbGVy?= <juergen@contoso.com>
To: "Rao, Amala" <amala@contoso.com>,
	conrad@contoso.com
Cc: =?iso-8859-1?Q?Ren=E9e?= <renee@contoso.com>
Date: Fri, 27 Nov 2026 10:00:00 +0100
Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?= aus
 =?utf-8?Q?_K=C3=B6ln?=
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=out

--out
Content-Type: multipart/alternative; boundary=in

--in
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

Gr=FC=DFe, wie besprochen.
--in
Content-Type: text/html; charset=utf-8

<p>As <b>HTML</b></p>
--in--
--out
Content-Type: application/pdf; name="x.pdf"
Content-Disposition: attachment; filename*=utf-8''..%2F%C3%9Cbersicht.pdf
Content-Transfer-Encoding: base64

` + strings.Repeat("QUJD\n", 30000) + `
--out
Content-Type: text/calendar; method=REQUEST

BEGIN:VCALENDAR
--out
Content-Type: message/rfc822

Subject: inner

Hello
--out--
`)

func TestRead(t *testing.T) {
	for name, c := range map[string]struct {
		message, want string
	}{
		"whole": {full, `[Jürgen Müller <juergen@contoso.com>] [Rao, Amala <amala@contoso.com> conrad@contoso.com] [Renée <renee@contoso.com>] "Grüße aus Köln" 09:00 "Grüße, wie besprochen." [{_Übersicht.pdf application/pdf 90000} {attachment 2.ics text/calendar 15} {attachment 3.eml message/rfc822 23}] false`},
		"HTML": {lines("Subject: x\nContent-Type: text/html; charset=windows-1252\n\n<html><head><title>no</title><style>p{}</style></head><body><script>alert(1)</script><h1>One\xfc</h1><p>two\n  three<br>four<img src=http://evil/x.png></p><ul><li>a<li>b</ul>&lt;script&gt; </body>"),
			`[] [] [] "x" 00:00 "Oneü\n\ntwo three\nfour\n\n- a\n- b\n\n<script>" [] false`},
		"raw umlauts, no type": {"From: J\xfcrgen\r\nSubject: Gr\xfc\xdfe\r\n\r\nK\xf6ln", `[Jürgen] [] [] "Grüße" 00:00 "Köln" [] false`},
		"no end":               {lines("Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nhere\n--b\nContent-Disposition: attachment; filename=a.txt\n\nhalf"), `[] [] [] "x" 00:00 "here" [{a.txt text/plain 4}] true`},
		"no base64":            {lines("Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: a/b\nContent-Transfer-Encoding: base64\n\nQUJDx\n--b--"), `[] [] [] "x" 00:00 "" [{attachment 1 a/b 3}] true`},
		"no boundary":          {lines("Subject: x\nContent-Type: multipart/mixed\n\ntext"), `[] [] [] "x" 00:00 "text" [] false`},
		"unknown charset":      {lines("Subject: =?x-none?Q?a?=\nContent-Type: text/plain; charset=x-none\n\nt\xfcxt"), `[] [] [] "=?x-none?Q?a?=" 00:00 "tüxt" [] false`},
		"turned around":        {lines("Subject: a\u202egpj.exe\x1b[2J\n\nx"), `[] [] [] "agpj.exe[2J" 00:00 "x" [] false`},
		"nothing":              {"", `[] [] [] "" 00:00 "" [] false`},
		"no head":              {"\r\nbody", `[] [] [] "" 00:00 "body" [] false`},
	} {
		l, err := Read(strings.NewReader(c.message))
		got := fmt.Sprint(l.From, " ", l.To, " ", l.Cc, " ", fmt.Sprintf("%q", l.Subject), " ", l.Date.UTC().Format("15:04"), " ", fmt.Sprintf("%q", strings.TrimSpace(strings.ReplaceAll(l.Text, "\r", ""))), " ", l.Attachments, " ", l.Broken)
		if err != nil || got != c.want {
			t.Errorf("%s:\n%s, %v, want\n%s", name, got, err, c.want)
		}
	}
	long, err := Read(io.MultiReader(strings.NewReader("Subject: x\r\n\r\n"), strings.NewReader(strings.Repeat("line\r\n", 100000))))
	if err != nil || !long.Cut || len(long.Text) > maxText {
		t.Errorf("of a long message %d bytes are shown, cut %t, %v", len(long.Text), long.Cut, err)
	}
}

// What cannot be read is an error, wherever that is; what is broken is none.
func TestReadFails(t *testing.T) {
	gone := errors.New("gone")
	for _, n := range []int{0, 100, 600, 2000, len(full) - 50} {
		r := io.MultiReader(strings.NewReader(full[:n]), failing{gone})
		if _, err := Read(r); !errors.Is(err, gone) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// An attachment is read as it is, from any place of it.
func TestOpen(t *testing.T) {
	pdf, a, err := Open(message{strings.NewReader(full)}, 0)
	if err != nil || a.Name != "_Übersicht.pdf" {
		t.Fatal(a, err)
	}
	want := strings.Repeat("ABC", 30000)
	for _, at := range []int64{0, 89999, 40000, 40001, 3, 90000} {
		if _, err := pdf.Seek(at, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(pdf); err != nil || string(got) != want[at:] {
			t.Errorf("from %d on there are %d bytes, %v", at, len(got), err)
		}
	}
	if err := pdf.Close(); err != nil {
		t.Error(err)
	}
	inner, _, err := Open(message{strings.NewReader(full)}, 2)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(inner); err != nil || string(got) != "Subject: inner\r\n\r\nHello" {
		t.Errorf("the message in it is %q, %v", got, err)
	}
	if err := inner.Close(); err != nil {
		t.Error(err)
	}
	for _, n := range []int{-1, 3} {
		if _, _, err := Open(message{strings.NewReader(full)}, n); !errors.Is(err, ErrNone) {
			t.Errorf("attachment %d: %v", n, err)
		}
	}
}

// A message that is made to be large where messages are small takes little memory, and what is
// shown of it is bounded.
func TestBombs(t *testing.T) {
	const size = 10 << 20
	endless := func(s string) io.Reader { return io.LimitReader(&again{s: s}, size) }
	head := func(s string) io.Reader { return strings.NewReader(s) }
	for name, c := range map[string]struct {
		message io.Reader
		cut     bool
	}{
		"a head line":             {io.MultiReader(head("Subject: "), endless("a")), true},
		"a head without an end":   {endless("A: b\r\n"), true},
		"words in it":             {head("Subject: " + strings.Repeat("=?x?q?", 150_000) + "?=\r\n\r\nx"), false},
		"people":                  {head("To: " + strings.Repeat("a@b,", 200_000) + "c@d\r\n\r\nx"), false},
		"heads of a part":         {io.MultiReader(head("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"), endless("A: b\r\n")), false},
		"HTML without a text":     {io.MultiReader(head("Content-Type: text/html\r\n\r\n"), endless("<p><b>")), true},
		"one tag":                 {io.MultiReader(head("Content-Type: text/html\r\n\r\n<"), endless("a")), false},
		"texts":                   {io.MultiReader(head("Content-Type: multipart/mixed; boundary=b\r\n\r\n"), endless("--b\r\n\r\n"+strings.Repeat("x", 200<<10)+"\r\n")), true},
		"messages in messages":    {head(strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 10_000)), false},
		"an attachment in base64": {io.MultiReader(head("Content-Type: a/b\r\nContent-Transfer-Encoding: base64\r\n\r\n"), endless("QUJDREVGR0hJSktM\r\n")), false},
		"half of UTF-16":          {io.MultiReader(head("Content-Type: text/plain; charset=utf-16\r\n\r\n"), endless("\xd8")), true},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		l, err := Read(c.message)
		runtime.ReadMemStats(&after)
		if used := (after.TotalAlloc - before.TotalAlloc) >> 20; used > 100 {
			t.Errorf("%s: %d MB were made", name, used)
		}
		if err != nil || l.Cut != c.cut || len(l.Text) > maxText || len(l.Subject) > maxLine+3 || len(l.To) > maxPeople+1 || len(l.Attachments) > maxParts {
			t.Errorf("%s: %v, cut %t, %d bytes, %d people, %d attachments", name, err, l.Cut, len(l.Text), len(l.To), len(l.Attachments))
		}
	}
	l, err := Read(strings.NewReader("To: " + strings.Repeat("a@b,", maxPeople+4) + "c@d\r\n\r\nx"))
	if err != nil || len(l.To) != maxPeople+1 || l.To[maxPeople] != "and 5 more" {
		t.Errorf("of many people there are %d, %v", len(l.To), err)
	}
}

// again reads the same again and again.
type again struct {
	s string
	n int
}

func (a *again) Read(b []byte) (n int, err error) {
	for n < len(b) {
		k := copy(b[n:], a.s[a.n:])
		n, a.n = n+k, (a.n+k)%len(a.s)
	}
	return n, nil
}

// Whatever a message is, reading it comes to an end and gives text.
func FuzzRead(f *testing.F) {
	for _, s := range []string{full, full[:700], "Content-Type: text/html\r\n\r\n<p", strings.Repeat("--b\r\n", 2000)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := Read(strings.NewReader(s))
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(l.Attachments, func(a Attachment) bool { return a.Name == "" || strings.ContainsAny(a.Name, "/\\\n") }) {
			t.Errorf("attachments %v", l.Attachments)
		}
	})
}
