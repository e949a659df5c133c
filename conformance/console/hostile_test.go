package console

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// Whoever reads backed up mail reads what strangers wrote. Nothing of it runs, loads
// anything, leads anywhere, or is drawn over the page; and all of it can be read.
func TestHostileMailInABrowser(t *testing.T) {
	var asked []string // the connections of the browser come one after another
	outside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked = append(asked, r.URL.Path) }))
	defer outside.Close()
	page := strings.NewReplacer("OUT", outside.URL, "\n", "\r\n").Replace(`<html><head><title>Harmless</title><base href="OUT/base/"><meta http-equiv="refresh" content="0; url=OUT/refresh">
<link rel="stylesheet" href="OUT/style.css"><style>@import url(OUT/import.css); * { display: none } body { position: fixed; inset: 0; z-index: 99999; background: url(OUT/body.png) }</style>
<script>window.taken = "script"; document.title = "taken"; fetch("OUT/fetch")</script><script src="OUT/script.js"></script></head>
<body onload="window.taken = 'onload'" background="OUT/background.png"></pre></section></main><script>window.taken = "closed"</script>
<img src="OUT/pixel.png" onerror="window.taken = 'onerror'"><svg onload="window.taken = 'svg'"><image href="OUT/svg.png"/></svg><iframe src="OUT/frame" srcdoc="<script>parent.taken = 'srcdoc'</script>"></iframe>
<form action="OUT/form" id="f"><input name="csrf" autofocus onfocus="window.taken = 'focus'"></form><object data="OUT/object"></object><video src="OUT/video" autoplay></video>
<div style="position: fixed; inset: 0; z-index: 99999; background: red">Your session has ended.</div>
<p>Pay by <a href="javascript:window.taken='link'">this link</a> or <a href="data:text/html,<script>alert(1)</script>">that</a>.</p>
<!--[if mso]><script>window.taken = "mso"</script><![endif]--><p>The last line.</p><p>` + strings.Repeat("unbreakable", 400) + `</p></body></html>`)
	plain := "A line \x1b[2J of \u202egpj.exe\u2066\n<script>window.taken = 'plain'</script> <img src=" + outside.URL + "/plain.png onerror=taken=1> " + outside.URL + "/address\nThe last line.\n"
	head := func(from, subject, more string) string {
		return "From: " + from + "\r\nTo: boss@contoso.com\r\nSubject: " + subject + "\r\nDate: Fri, 27 Nov 2026 10:00:00 +0100\r\nMIME-Version: 1.0\r\n" + more + "\r\n"
	}
	const html, mixed = "Content-Type: text/html; charset=utf-8\r\n", "Content-Type: multipart/mixed; boundary=b\r\n"
	inbox := filepath.Join(dev.Mail, "mira@contoso.com", "Inbox", "\u202e<b onmouseover=taken=1>folder<b>")
	mails := map[string]struct{ letter, says string }{
		"html":    {head(`"\" onmouseover=\"taken='from'" <x@example.com>`, `<script>window.taken = 'subject'</script> paid`, html) + page, "The last line."},
		"turned":  {head("=?utf-8?Q?=E2=80=AEmoc.oslotnoc=40arim?= <x@example.com>", "=?utf-8?Q?A_bill_=E2=80=AEfdp.exe"+strings.Repeat("=F0=9F=92=A3", 5)+"?= "+strings.Repeat("endless", 900), "") + plain, "The last line."},
		"charset": {head("x@example.com", "=?utf-16?B?//4?= =?nonsense?Q?=ff=fe?= caf\xe9 broken", "Content-Type: text/html; charset=\"utf-7\"\r\n") + "+ADw-script+AD4-window.taken=1+ADw-/script+AD4- caf\xe9 \xff\xfe <scr\x00ipt>window.taken='nul'</script><p>The last line.</p>", "The last line."},
		"files": {head("x@example.com", "files attached", mixed) + "--b\r\nContent-Type: text/plain\r\n\r\nThe last line.\r\n" +
			"--b\r\nContent-Type: text/html; name=\"../../\xe2\x80\xaefdp.<img src=x onerror=taken=1>.html\"\r\nContent-Disposition: inline; filename=\"../../\xe2\x80\xaefdp.<img src=x onerror=taken=1>.html\"\r\n\r\n<script>window.taken = 'file'</script>\r\n" +
			"--b\r\nContent-Type: image/svg+xml\r\nContent-Disposition: inline; filename=\"" + strings.Repeat("long", 60) + ".svg\"\r\n\r\n<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"window.taken = 1\"/>\r\n--b--\r\n", "The last line."},
	}
	if err := os.MkdirAll(inbox, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, mail := range mails {
		if err := os.WriteFile(filepath.Join(inbox, name+".eml"), []byte(mail.letter), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	b := newBrowser(t)
	b.open("/console/")
	b.leaves(func() { b.do(chromedp.Click(`button[value="lothar@contoso.com"]`)) })
	b.open("/console/policies/new")
	b.do(chromedp.SendKeys(`input[name=name]`, "Mail of strangers"), chromedp.Click(`input[value=mailboxes]`))
	b.leaves(func() { b.click("Make it") })
	b.leaves(func() { b.click("Add people") })
	b.do(chromedp.SendKeys(`textarea[name=text]`, "mira@contoso.com"))
	b.leaves(func() { b.click("Show what will happen") })
	b.click("Add 1")
	b.says("Completed")
	b.open("/console/policies")
	b.leaves(func() { b.click("Mail of strangers") })
	b.click("Activate")
	b.until("it is protected", `document.querySelector("#live-units .status.protected") !== null`)
	b.leaves(func() { b.click("Mira Solano") })
	b.says("Complete")

	// tame is what each page has to be, whatever the mail says.
	tame := func(name string) {
		t.Helper()
		b.check("hostile-" + name)
		if got := eval[string](b, `String(window.taken)`); got != "undefined" {
			t.Errorf("%s: something ran: %s", name, got)
		}
		for _, foreign := range eval[[]string](b, `[
			...performance.getEntriesByType("resource").map((e) => e.name), location.href, document.baseURI,
			...[...document.querySelectorAll("[href], [src], [action], [data]")].flatMap((e) => ["href", "src", "action", "data"].filter((a) => e.hasAttribute(a)).map((a) => new URL(e.getAttribute(a), location.href).href)),
		].filter((at) => new URL(at).origin !== location.origin)`) {
			t.Errorf("%s: the page has to do with %s", name, foreign)
		}
		for _, made := range eval[[]string](b, `[...document.querySelectorAll("main :is(script, style, link, meta, base, iframe, object, embed, img, svg, video, b[onmouseover], [onerror], [onload], [onfocus], [style])")].map((e) => e.outerHTML.slice(0, 200))`) {
			t.Errorf("%s: what was written into a mail became a part of the page: %s", name, made)
		}
		// The head of the page is where it was, and can be clicked on.
		if got := eval[string](b, `(window.scrollTo(0, 0), (() => { const r = document.querySelector("header a").getBoundingClientRect(); return document.elementFromPoint(r.x + r.width / 2, r.y + r.height / 2)?.closest("header, body").tagName })())`); got != "HEADER" {
			t.Errorf("%s: over the head of the page is %s", name, got)
		}
		// What is turned around, and not undone, turns what the page says beside it.
		for _, turned := range eval[[]string](b, `(() => { const all = [], w = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
			while (w.nextNode()) if (/[\u202a-\u202e\u2066-\u2069]/.test(w.currentNode.data)) all.push(w.currentNode.parentElement.outerHTML.slice(0, 200));
			return all })()`) {
			t.Errorf("%s: what follows is turned around: %q", name, turned)
		}
	}
	b.leaves(func() { b.click("Look into the newest") })
	b.leaves(func() { b.click("Inbox") })
	tame("folders")
	b.leaves(func() {
		b.do(chromedp.Click(`nav.folders li li a`))
	})
	b.until("all messages are listed", `document.querySelectorAll("tbody th a").length === `+fmt.Sprint(len(mails)))
	tame("list")
	if high := eval[int](b, `Math.round(Math.max(...[...document.querySelectorAll("tbody tr")].map((r) => r.getBoundingClientRect().height)))`); high > 300 {
		t.Errorf("a subject without end makes a row %d high", high)
	}
	list := eval[string](b, `location.pathname + location.search`)
	seen := map[string]bool{}
	for i := range len(mails) {
		b.open(list)
		b.leaves(func() { b.do(chromedp.Click(fmt.Sprintf(`//tbody/tr[%d]/th/a`, i+1))) })
		subject := eval[string](b, `document.querySelector("#subject").textContent`)
		for name, part := range map[string]string{"html": "paid", "turned": "A bill", "charset": "broken", "files": "attached"} {
			if !strings.Contains(subject, part) {
				continue
			}
			seen[name] = true
			b.says(mails[name].says)
			tame("message-" + name)
		}
	}
	if len(seen) != len(mails) {
		t.Errorf("of the messages only %v were read", seen)
	}

	// What is attached is kept, and never shown.
	b.open(list)
	b.leaves(func() { b.do(chromedp.Click(`//tbody//a[contains(., "files attached")]`)) })
	for _, file := range eval[[][]string](b, `Promise.all([...document.querySelectorAll('a[download]')].map((a) => fetch(a.href).then((r) => [a.textContent, r.headers.get("Content-Disposition"), r.headers.get("Content-Security-Policy"), r.headers.get("Content-Type")])))`) {
		if !strings.HasPrefix(file[1], "attachment") || !strings.Contains(file[2], "sandbox") || file[3] != "application/octet-stream" || strings.ContainsAny(strings.TrimPrefix(file[1], "attachment; filename="), `/\‮`) {
			t.Errorf("an attachment comes as %q", file)
		}
	}
	b.leaves(func() { b.click("Restore this message") })
	tame("where-to")
	b.leaves(func() { b.click("Show what will happen") })
	tame("restore")
	b.open("/console/audit?what=looks")
	tame("audit")
	b.open("/console/units?of=mailboxes")
	b.leaves(func() { b.click("Mira Solano") })
	b.leaves(func() { b.click("Find mail") })
	b.do(chromedp.SendKeys(`main input[name=q]`, "from:example.com"))
	b.leaves(func() { b.click("Find") })
	tame("found")
	if len(asked) > 0 {
		t.Errorf("somebody outside was asked for %v", asked)
	}
}
