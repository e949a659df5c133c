// Package console opens the web pages of a running `holdfast dev` in a real
// browser, and does what people do there.
package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"holdfast/conformance/devserver"
)

var (
	dev    devserver.Server
	binary string // of the program
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "holdfast-console-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "holdfast")
	var stop func()
	dev, stop, err = devserver.Start("../..", dir)
	if stop != nil {
		defer stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "start holdfast dev:", err)
		return 1
	}
	return m.Run()
}

// axe returns the script of axe-core, which it installs.
func axe(t *testing.T) string {
	t.Helper()
	install := exec.CommandContext(t.Context(), "npm", "ci", "--no-audit", "--no-fund")
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	script, err := os.ReadFile(filepath.Join("node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		t.Fatal(err)
	}
	return string(script)
}

// A browser is Chromium at the console, with a person before it. What goes wrong
// in it ends the test.
type browser struct {
	t     *testing.T
	ctx   context.Context
	at    string // the origin of the console
	axe   string // the script of axe-core
	shots string // folder of screenshots; empty for none
	n     int    // screenshots so far
}

// newBrowser starts Chromium. Where there is none the test is skipped; if the
// environment variable CI is set, it fails instead. HOLDFAST_SCREENSHOTS names a
// folder that gets a picture of each page.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil && path == "" {
			path = found
		}
	}
	if path == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("the console was not tested in a browser: Chromium is missing (Debian: apt-get install chromium)")
		}
		t.Skip("the console was not tested in a browser: Chromium is missing (Debian: apt-get install chromium)")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &browser{t: t, ctx: ctx, at: dev.HTTP, axe: axe(t), shots: os.Getenv("HOLDFAST_SCREENSHOTS")}
	b.do(chromedp.EmulateViewport(1200, 800))
	go func() {
		for m, err := range chromedp.Console(ctx) {
			if err != nil {
				return
			}
			// What the page asks for while it is left is cut off, and no fault.
			if (m.IsException() || m.Type == "error") && !strings.Contains(m.Text, "net::ERR_ABORTED") {
				t.Errorf("the browser says of %s: %s", m.URL, m)
			}
		}
	}()
	return b
}

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.fail("%v", err)
	}
}

func (b *browser) fail(format string, args ...any) {
	b.t.Helper()
	if text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText`)); err == nil {
		b.t.Logf("the page is %s", text)
	}
	if b.shots != "" {
		b.shoot("failed")
	}
	b.t.Fatalf(format, args...)
}

func (b *browser) open(path string) { b.t.Helper(); b.do(chromedp.Navigate(b.at + path)) }

// click clicks on the first link or button of a name.
func (b *browser) click(name string) {
	b.t.Helper()
	b.do(chromedp.Click(`//main//*[self::a or self::button][starts-with(normalize-space(.),` + quoteXPath(name) + `)]`))
}

// leaves does what leads to another page, and waits until that is there.
func (b *browser) leaves(do func()) {
	b.t.Helper()
	eval[bool](b, `window.isBefore = true`)
	do()
	b.until("another page comes", `!window.isBefore && document.readyState === "complete"`)
}

func quoteXPath(s string) string { return `"` + s + `"` }

// says waits until the page says a text.
func (b *browser) says(text string) {
	b.t.Helper()
	b.until("the page says "+text, `document.body.innerText.includes(`+js(text)+`)`)
}

// until waits for a condition, on whatever page comes.
func (b *browser) until(what, condition string) {
	b.t.Helper()
	for begun := time.Now(); time.Since(begun) < 30*time.Second; time.Sleep(50 * time.Millisecond) {
		ok, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](condition))
		if ok || errors.Is(err, context.DeadlineExceeded) {
			if err != nil {
				b.fail("%s: %v", what, err)
			}
			return
		}
	}
	b.fail("after half a minute, still not true: %s", what)
}

func js(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // it is a text
	}
	return string(data)
}

func eval[T any](b *browser, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.fail("%.100s: %.1000v", expression, err)
	}
	return v
}

// check looks at a page as people with different eyes and screens do: wide and
// narrow, light and dark. axe finds nothing to complain of, and nothing has to be
// scrolled sideways.
func (b *browser) check(name string) {
	b.t.Helper()
	b.do(chromedp.WaitVisible("h1"))
	for _, look := range []struct {
		name, scheme  string
		width, height int64
		ask           string // of axe
	}{
		{"wide", "light", 1200, 800, `["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]`},
		{"narrow", "dark", 390, 844, `{type: "rule", values: ["color-contrast", "target-size", "scrollable-region-focusable"]}`}, // what looks decide
	} {
		b.do(chromedp.EmulateViewport(look.width, look.height), scheme(look.scheme))
		eval[bool](b, `document.activeElement.blur(), true`)
		faults := eval[[]string](b, b.axe+`;axe.run(document, {runOnly: `+look.ask+`}).then((r) =>
			r.violations.flatMap((v) => v.nodes.map((n) => v.id + ": " + v.help + ": " + n.html)))`)
		for _, f := range faults {
			b.t.Errorf("%s, %s: %s", name, look.name, f)
		}
		if wide := eval[int](b, `document.documentElement.scrollWidth`); wide > int(look.width) {
			b.t.Errorf("%s is %d wide on a screen of %d", name, wide, look.width)
		}
		for _, wide := range eval[[]string](b, `[...document.querySelectorAll(".scroll")].filter((s) => s.checkVisibility() && s.scrollWidth > s.clientWidth).map((s) => s.getAttribute("aria-label") || s.id)`) {
			b.t.Errorf("%s, %s: a table has to be scrolled: %s", name, look.name, wide)
		}
		b.shoot(name + "-" + look.name)
	}
	b.do(chromedp.EmulateViewport(1200, 800), scheme("light"))
}

func scheme(name string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}})
		return err
	})
}

func (b *browser) shoot(name string) {
	b.t.Helper()
	if b.shots == "" {
		return
	}
	b.n++
	picture, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.MkdirAll(b.shots, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(b.shots, fmt.Sprintf("%02d-%s.png", b.n, name)), picture, 0o644)
	}
	if err != nil {
		b.t.Error(err)
	}
}

// An administrator protects a person, finds a file that was lost, and gets the
// drive back, all with a mouse.
func TestConsoleInABrowser(t *testing.T) {
	b := newBrowser(t)
	drive := filepath.Join(dev.Drives, "mira@contoso.com")
	report, picture := filepath.Join(drive, "Reports", "2026", "Q3 & Q4.txt"), filepath.Join(drive, "Reports", "picture.png")
	if err := os.MkdirAll(filepath.Dir(report), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(report, []byte("What was earned <b>in autumn</b>.\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(picture, onePixel, 0o644); err != nil {
		t.Fatal(err)
	}

	// Sign in, with one click.
	b.open("/console/")
	b.do(chromedp.Click(`button[value="lothar@contoso.com"]`))
	b.says("What needs a person")
	b.says("Lothar Brandt")

	// A policy, and Mira in it.
	b.open("/console/policies")
	b.check("policies")
	b.leaves(func() { b.click("New policy") })
	b.check("new-policy")
	b.do(chromedp.SendKeys(`input[name=name]`, "The browser's policy"))
	b.click("Make it")
	b.says("Made the policy")
	b.click("Add people")
	b.do(chromedp.SendKeys(`input[name=who]`, "mira"), chromedp.Click(`input[name=entry][value="mira@contoso.com"]`))
	b.check("add-people")
	b.click("Show what will happen")
	b.says("1 drive will be added")
	b.check("add-people-preview")
	b.click("Add 1 person")
	b.says("Completed") // the page renews itself
	b.check("addition")
	b.open("/console/policies")
	b.click("The browser's policy")
	b.click("Activate")
	b.until("the drive is protected", `document.querySelector("#live-units .status.protected") !== null`)
	b.check("policy")
	b.click("Mira Solano")
	b.says("Complete")
	b.check("unit")

	// Look for a file in the newest point, and take it.
	b.click("Browse the newest")
	b.leaves(func() { b.click("Reports") })
	b.check("browse")
	b.click("picture.png")
	b.until("the picture is shown", `document.querySelector("img.picture")?.naturalWidth === 1`)
	b.click("Reports")
	b.click("2026")
	b.click("Q3 & Q4.txt")
	b.says("What was earned <b>in autumn</b>.")
	b.check("preview")
	if got := eval[string](b, `fetch(document.querySelector("a[download]").href).then((r) => r.text())`); got != "What was earned <b>in autumn</b>.\n" {
		t.Errorf("downloaded %q", got)
	}
	b.click("2026")
	b.do(chromedp.Click(`input[data-choose]`))
	if n := eval[int](b, `document.querySelectorAll("input[name=item]:checked").length`); n != 1 {
		t.Errorf("the box above chooses %d", n)
	}
	if got := eval[string](b, `fetch(document.querySelector("button[formaction]").formAction, {method: "POST", body: new URLSearchParams(new FormData(document.querySelector("main form[method=post]")))}).then((r) => r.blob()).then((z) => z.slice(0, 4).text())`); got != "PK\x03\x04" {
		t.Errorf("the zip begins with %q", got)
	}
	b.click("Restore what is chosen")
	b.says("Nothing that is there now is changed.")
	b.check("restore-items")
	b.click("Restore now")
	b.says("Succeeded")
	b.check("restore-of-a-file")
	back, err := filepath.Glob(filepath.Join(drive, "Restored *", "Q3 & Q4.txt"))
	if err != nil || len(back) != 1 {
		t.Errorf("the file came back as %v, %v", back, err)
	}

	// Somebody loses it all, and the drive becomes again what it was.
	if err := os.RemoveAll(filepath.Join(drive, "Reports")); err != nil {
		t.Fatal(err)
	}
	b.findLost("q3 &", "Reports/2026/Q3 & Q4.txt")
	b.open("/console/units?q=mira")
	b.check("units")
	b.click("Mira Solano")
	b.do(chromedp.Click(`//section//tbody/tr[last()]/th/a`)) // the oldest point
	b.click("Restore the drive")
	b.do(chromedp.Click(`input[value=inPlace]`))
	b.check("restore-where")
	b.click("Show what will happen")
	b.says("This changes the live drive of Mira Solano")
	b.check("restore-drive")
	b.do(chromedp.Click(`input[name=understood]`))
	b.click("Restore now")
	b.until("the restore is completed", `document.querySelector("main .status.completed") !== null`)
	b.check("restore-of-a-drive")
	if text, err := os.ReadFile(report); err != nil || string(text) != "What was earned <b>in autumn</b>.\n" {
		t.Errorf("the drive has %q, %v", text, err)
	}

	// What changed from the first point to the one that was without it all.
	b.open("/console/units?q=mira")
	b.leaves(func() { b.click("Mira Solano") })
	b.do(chromedp.Click(`//section//tbody/tr[last()]/td//input[@name="from"]`), chromedp.Click(`//section//tbody/tr[position()=2]/td//input[@name="to"]`))
	b.check("unit-compare")
	b.leaves(func() { b.click("Show what changed") })
	b.says("Reports/2026/Q3 & Q4.txt")
	b.says("Deleted")
	b.check("changes")

	// Mira has left, and Conrad gets what was hers.
	b.open("/console/units?q=mira")
	b.leaves(func() { b.click("Mira Solano") })
	b.leaves(func() { b.click("Restore the drive") })
	b.do(chromedp.Click(`input[value=other]`), chromedp.SendKeys(`input[name=target]`, "conrad@contoso.com"))
	b.leaves(func() { b.click("Show what will happen") })
	b.says("A new library is made beside the drive of Conrad")
	b.check("restore-elsewhere")
	b.leaves(func() { b.click("Restore now") })
	b.until("the restore is completed", `document.querySelector("main .status.completed") !== null`)
	b.says("conrad@contoso.com")
	if text, err := os.ReadFile(filepath.Join(dev.Drives, "conrad@contoso.com.mira-restored-R0", "Reports", "2026", "Q3 & Q4.txt")); err != nil || string(text) != "What was earned <b>in autumn</b>.\n" {
		t.Errorf("Conrad has %q, %v", text, err)
	}

	b.open("/console/settings")
	b.do(chromedp.SetValue(`textarea[name=recipients]`, "mira@contoso.com\n"), chromedp.Click(`input[name=enabled]`))
	b.click("Save")
	b.says("The settings are changed.")
	b.open("/console/audit?result=succeeded")
	b.says("Changed who is told by mail")
	// The server notes within a minute how it stands.
	for begun := time.Now(); time.Since(begun) < 90*time.Second; time.Sleep(time.Second) {
		if b.open("/console/"); eval[bool](b, `document.querySelector(".heat") !== null`) {
			break
		}
	}
	b.says("In the newest points")
	b.do(chromedp.Click(`details summary`))
	b.check("page-")
	for _, page := range []string{"restores", "jobs", "audit", "health", "settings"} {
		b.open("/console/" + page)
		b.check("page-" + page)
	}

	// By the keyboard alone: past the navigation, and to the search.
	b.open("/console/units")
	b.do(chromedp.KeyEvent("\t"))
	if got := eval[string](b, `document.activeElement.textContent`); got != "Skip to the content" {
		t.Errorf("the first stop of the keyboard is %q", got)
	}
	b.do(chromedp.KeyEvent("/"))
	if got := eval[string](b, `document.activeElement.name`); got != "q" {
		t.Errorf("the key / goes to %q", got)
	}

	b.do(chromedp.Click(`form.who button`))
	b.says("You are signed out")
	b.check("signed-out")
	b.open("/console/units")
	b.says("Sign in to Contoso")
}

// The same for a site, which is named by its address and has a list, and for a
// mailbox, in which a message is found.
func TestSitesAndMailboxesInABrowser(t *testing.T) {
	b := newBrowser(t)
	plan, offer := filepath.Join(dev.Sites, "browser", "libraries", "Documents", "Plans", "plan.txt"), filepath.Join(dev.Sites, "browser", "lists", "Offers", "a.json")
	inbox := filepath.Join(dev.Mail, "noor@contoso.com", "Inbox")
	const message = "From: Conrad <conrad@contoso.com>\r\nTo: noor@contoso.com\r\nSubject: The contract, signed\r\n\r\nAttached.\r\n"
	for path, text := range map[string]string{plan: "the plan", offer: `{"Title": "A big one"}`, filepath.Join(inbox, "1.eml"): message} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b.open("/console/")
	b.do(chromedp.Click(`button[value="lothar@contoso.com"]`))
	b.says("What needs a person")

	// protect makes a policy of some of a workload, and follows it until those are
	// protected.
	protect := func(of, name, add, entries string) {
		t.Helper()
		b.open("/console/policies/new")
		b.do(chromedp.SendKeys(`input[name=name]`, name), chromedp.Click(`input[value=`+of+`]`))
		b.check("new-policy-of-" + of)
		b.click("Make it")
		b.click(add)
		b.do(chromedp.SendKeys(`textarea[name=text]`, entries))
		b.check("add-" + of)
		b.click("Show what will happen")
		b.says("will be added")
		b.check("add-preview-" + of)
		b.click("Add 1")
		b.says("Completed")
		b.open("/console/policies")
		b.click(name)
		b.click("Activate")
		b.until("it is protected", `document.querySelector("#live-units .status.protected") !== null`)
		b.check("policy-of-" + of)
	}
	restored := func(name string) {
		t.Helper()
		b.until("the restore is completed", `document.querySelector("main .status.completed") !== null`)
		b.check("restore-of-" + name)
	}

	protect("sites", "The browser's sites", "Add sites", "https://contoso.sharepoint.com/sites/browser")
	b.click("browser")
	b.says("Complete")
	b.check("unit-site")
	b.click("Browse the newest")
	b.says("Offers")
	b.check("browse-site")
	b.click("Documents")
	b.click("Plans")
	b.do(chromedp.Click(`input[name=item]`))
	b.check("browse-library")
	b.click("Restore what is chosen")
	b.says("Restore from the site browser")
	b.check("restore-items-site")
	b.click("Restore now")
	restored("a-file-of-a-site")
	if back, err := filepath.Glob(filepath.Join(dev.Sites, "browser", "libraries", "Documents", "Restored *", "plan.txt")); err != nil || len(back) != 1 {
		t.Errorf("the file came back as %v, %v", back, err)
	}
	if err := os.WriteFile(offer, []byte(`{"Title": "Nothing"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	b.open("/console/units?of=sites")
	b.check("units-sites")
	b.click("browser")
	b.leaves(func() { b.do(chromedp.Click(`//section//tbody/tr[last()]/th/a`)) }) // the oldest point
	b.check("point-site")
	b.click("Restore the site")
	b.do(chromedp.Click(`input[value=inPlace]`))
	b.check("restore-where-site")
	b.click("Show what will happen")
	b.says("This changes the live site browser")
	b.check("restore-site")
	b.do(chromedp.Click(`input[name=understood]`))
	b.click("Restore now")
	restored("a-site")
	if text, err := os.ReadFile(offer); err != nil || !strings.Contains(string(text), "A big one") {
		t.Errorf("the item of the list is %q, %v", text, err)
	}

	protect("mailboxes", "The browser's mail", "Add people", "noor@contoso.com")
	b.click("Noor Haddad")
	b.says("Complete")
	b.check("unit-mailbox")
	b.click("Look into the newest")
	b.says("Choose a folder")
	b.check("mailbox")
	b.click("Inbox")
	b.check("mailbox-folder")
	b.click("The contract, signed")
	b.says("Attached.")
	b.says("Download as .eml")
	b.check("mailbox-message")
	reader := eval[string](b, `location.pathname + location.search`)
	b.leaves(func() { b.click("Restore this message") })
	b.says("Where to?")
	b.check("restore-where-mail")
	b.do(chromedp.Click(`input[value=inPlace]`))
	b.leaves(func() { b.click("Show what will happen") })
	b.says("Inbox/The contract, signed")
	b.check("restore-mail")
	b.leaves(func() { b.click("Back") })
	b.leaves(func() { b.click("Mail") })
	b.do(chromedp.Click(`tbody input[name=item]`))
	b.leaves(func() { b.click("Restore what is chosen") })
	b.leaves(func() { b.click("Show what will happen") })
	b.click("Restore now")
	restored("chosen-mail")
	if copies, err := filepath.Glob(filepath.Join(dev.Mail, "noor@contoso.com", "Restored*", "Inbox", "*.eml")); err != nil || len(copies) != 1 {
		t.Errorf("what was chosen came back as %v, %v", copies, err)
	}
	b.open(reader)
	b.click("Find mail")
	b.do(chromedp.SendKeys(`main input[name=q]`, "size:5"))
	b.click("Find")
	b.says("is none of them")
	b.check("mail-wrong")
	if err := os.Remove(filepath.Join(inbox, "1.eml")); err != nil {
		t.Fatal(err)
	}
	b.open(eval[string](b, `location.pathname`) + "?q=from:conrad+contract*")
	b.says("2 items") // one is in the folder that it was restored to
	b.check("mail-found")
	b.do(chromedp.Click(`input[value=inPlace]`))
	b.click("Restore 2 items")
	restored("a-message")
	back, err := filepath.Glob(filepath.Join(inbox, "*.eml"))
	if err != nil || len(back) != 1 {
		t.Fatalf("the message came back as %v, %v", back, err)
	}
	if text, err := os.ReadFile(back[0]); err != nil || string(text) != message {
		t.Errorf("the message is %q, %v", text, err)
	}
	b.open("/console/units?of=mailboxes")
	b.click("Noor Haddad")
	b.leaves(func() { b.click("Restore the mailbox") })
	b.check("restore-where-mailbox")
	b.leaves(func() { b.click("Show what will happen") })
	b.check("restore-mailbox")
	b.click("Restore now")
	restored("a-mailbox")
	b.open("/console/units?of=mailboxes")
	b.leaves(func() { b.click("Noor Haddad") })
	b.do(chromedp.Click(`//section//tbody/tr[last()]/td//input[@name="from"]`))
	b.leaves(func() { b.click("Show what changed") })
	b.says("The contract, signed")
	b.says("Added")
	b.check("changes-of-a-mailbox")
	// A policy of all sites there are, but one.
	b.open("/console/policies/new")
	b.do(chromedp.SendKeys(`input[name=name]`, "All sites"), chromedp.Click(`input[value=sites]`), chromedp.Click(`input[name=all]`))
	b.check("new-policy-of-all")
	b.leaves(func() { b.click("Make it") })
	b.says("all sites there are")
	b.check("policy-of-all")
	b.leaves(func() { b.click("Excluded") })
	b.do(chromedp.SendKeys(`textarea[name=text]`, "https://contoso.sharepoint.com/sites/marketing"))
	b.leaves(func() { b.click("Exclude") })
	b.until("the site is excluded", `document.querySelector("input[name=exclusion]") !== null`)
	b.check("excluded")
	b.do(chromedp.Click(`input[name=exclusion]`))
	b.leaves(func() { b.click("Exclude no more") })
	b.says("is excluded no more")
	b.says("Nothing is excluded.")

	for _, page := range []string{"", "units", "policies", "restores", "jobs?of=sites"} {
		b.open("/console/" + page)
		b.check("all-" + strings.Split(page, "?")[0])
	}
}

// findLost finds a file by a part of its name, from the head of any page, and comes to
// where it was and to what its restore would do.
func (b *browser) findLost(name, path string) {
	b.t.Helper()
	b.open("/console/audit")
	b.do(chromedp.SendKeys(`header input[type=search]`, name+"\r"))
	b.says(path)
	b.says("to the end")
	b.check("find")
	b.leaves(func() { b.click("Show") })
	b.until("it is chosen in its folder", `document.querySelector("tr.chosen input:checked") !== null`)
	b.check("found-in-its-folder")
	b.open("/console/units?q=mira")
	b.leaves(func() { b.click("Mira Solano") })
	b.do(chromedp.SendKeys(`main input[type=search]`, "*.txt"))
	b.leaves(func() { b.click("Find") })
	b.check("find-in-a-drive")
	b.leaves(func() { b.click("Restore") })
	b.says("Nothing that is there now is changed.")
}

// onePixel is a picture.
var onePixel = []byte("\x89\x50\x4e\x47\x0d\x0a\x1a\x0a\x00\x00\x00\x0d\x49\x48\x44\x52\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89\x00\x00\x00\x0d\x49\x44\x41\x54\x78\x9c\x63\x90\x8f\x5f\xf1\x1f\x00\x03\xed\x02\x26\x95\x9f\xf2\xeb\x00\x00\x00\x00\x49\x45\x4e\x44\xae\x42\x60\x82")
