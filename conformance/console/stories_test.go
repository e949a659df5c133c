package console

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// A help desk adds people from a file, finds the good version of a document by its date
// and looks at it, and brings a drive back into a site.
func TestHelpDeskInABrowser(t *testing.T) {
	b := newBrowser(t)
	drive := filepath.Join(dev.Drives, "amala@contoso.com")
	changed := time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)
	write := func(path string, content []byte, age int) {
		t.Helper()
		at := changed.AddDate(0, 0, -age)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(drive, "Contracts", "contract.pdf"), aPDF(`this.submitForm("`+dev.HTTP+`/console/sign-out"); this.getURL("`+dev.HTTP+`/console/signed-out")`), 0)
	write(filepath.Join(drive, "Contracts", "a page.pdf"), []byte("<html><script>parent.document.title = 'taken'</script></html>"), 3)
	write(filepath.Join(drive, "Contracts", "largest.txt"), bytes.Repeat([]byte("a line of it\n"), 1000), 2)
	write(filepath.Join(drive, "Contracts", "one.txt"), []byte("one"), 1)
	write(filepath.Join(drive, "Contracts", "two.txt"), []byte("two"), 1)
	write(filepath.Join(dev.Sites, "desk", "libraries", "Documents", "there.txt"), []byte("there"), 0)
	people := filepath.Join(t.TempDir(), "people.csv")
	write(people, []byte("Name;E-Mail;Room\r\nAmala;amala@contoso.com;1\r\nAmala again;AMALA@contoso.com;1\r\nNobody;gone@contoso.com;2\r\nRooms;no address;3\r\n"), 0)

	b.open("/console/")
	b.do(chromedp.Click(`button[value="lothar@contoso.com"]`))
	b.says("What needs a person")

	// People by a file, with a look at what it says first.
	b.open("/console/policies/new")
	b.do(chromedp.SendKeys(`input[name=name]`, "Of the help desk"))
	b.leaves(func() { b.click("Make it") })
	b.leaves(func() { b.click("Add people") })
	b.do(chromedp.SetUploadFiles(`input[name=csv]`, []string{people}))
	b.leaves(func() { b.click("Show what will happen") })
	b.says("2 drives will be added")
	b.says("1 entry is named more than once")
	b.says("Line 5")
	if shown := eval[int](b, `document.querySelectorAll("main textarea:not([hidden])").length`); shown != 0 || eval[int](b, `document.querySelector("main textarea").getBoundingClientRect().height`) != 0 {
		t.Error("what is carried along by the form is shown")
	}
	b.check("csv-preview")
	b.leaves(func() { b.click("Add 2 people") })
	b.says("Completed with errors")
	b.says("gone@contoso.com")
	b.check("csv-added")
	b.open("/console/policies")
	b.leaves(func() { b.click("Of the help desk") })
	b.leaves(func() { b.click("Activate") })
	b.until("the drive is protected", `document.querySelector("#live-units .status.protected") !== null`)

	// What was it like, and when was it changed?
	b.leaves(func() { b.click("Amala Rao") })
	b.leaves(func() { b.click("Browse the newest") })
	b.leaves(func() { b.click("Contracts") })
	names := func() string {
		return strings.Join(eval[[]string](b, `[...document.querySelectorAll("a.item")].map((a) => a.textContent)`), ", ")
	}
	for _, o := range []struct{ order, want string }{{"-size", "largest.txt"}, {"-changed", "contract.pdf, one.txt, two.txt, largest.txt, a page.pdf"}, {"changed", "a page.pdf, largest.txt"}} {
		b.do(chromedp.SetValue(`select[name=sort]`, o.order))
		b.leaves(func() { b.click("Show") })
		if got := names(); !strings.HasPrefix(got, o.want) {
			t.Errorf("in the order %q: %s, want %s", o.order, got, o.want)
		}
	}
	if at := eval[string](b, `document.querySelector("tbody time").dateTime`); at != changed.AddDate(0, 0, -3).Format(time.RFC3339) {
		t.Errorf("the first was changed at %s", at)
	}
	b.check("browse-in-order")

	// A PDF is shown by the browser's own viewer, and what is in it does nothing.
	b.leaves(func() { b.click("contract.pdf") })
	const viewer = `document.querySelector("object.pdf")`
	b.until("the PDF has its place", viewer+`?.getBoundingClientRect().height > 300`)
	b.until("the browser's viewer shows it, or there is a link where there is none", viewer+`.querySelector("p").checkVisibility() !== navigator.pdfViewerEnabled`)
	b.check("preview-of-a-pdf")
	got := eval[[]string](b, `fetch(`+viewer+`.data).then(async (r) => [r.headers.get("Content-Type"), r.headers.get("Content-Security-Policy"), r.headers.get("X-Frame-Options"), (await r.text()).slice(0, 5)])`)
	if got[0] != "application/pdf" || !strings.Contains(got[1], "default-src 'none'") || got[2] != "SAMEORIGIN" || got[3] != "%PDF-" {
		t.Errorf("the PDF is sent as %q", got)
	}
	b.open("/console/")
	b.says("Lothar Brandt") // nobody was signed out

	// The drive into a library of a site.
	restore := func(into func()) {
		t.Helper()
		b.open("/console/units?q=amala")
		b.leaves(func() { b.click("Amala Rao") })
		b.leaves(func() { b.click("Restore the drive") })
		into()
		b.leaves(func() { b.click("Show what will happen") })
	}
	restore(func() {
		b.do(chromedp.Click(`input[value=other]`), chromedp.SendKeys(`input[name=target]`, "https://contoso.sharepoint.com/sites/desk"))
	})
	b.says("A new library is made in the site")
	b.check("restore-into-a-site")
	b.leaves(func() { b.click("Restore now") })
	b.until("the restore is completed", `document.querySelector("main .status.completed") !== null`)
	b.check("restored-into-a-site")
	back, err := filepath.Glob(filepath.Join(dev.Sites, "desk", "libraries", "*", "Contracts", "largest.txt"))
	if err != nil || len(back) != 1 {
		t.Errorf("in the site is %v, %v", back, err)
	}

	// Who did that?
	b.open("/console/audit?who=lothar%40&what=restores")
	b.says("Activated the restore session of drives")
	b.says("Backups of the drive of Amala Rao")
	b.check("audit-of-somebody")
	b.open("/console/audit?who=conrad%40&what=restores")
	b.says("There is no such entry.")
}

// aPDF is a PDF of one page that says what it is, and runs a program when it is opened.
func aPDF(program string) []byte {
	var b bytes.Buffer
	var at []int
	b.WriteString("%PDF-1.7\n")
	text := "BT /F1 36 Tf 72 700 Td (The contract) Tj ET"
	for i, of := range []string{
		"<< /Type /Catalog /Pages 2 0 R /OpenAction << /S /JavaScript /JS (" + strings.NewReplacer("(", `\(`, ")", `\)`).Replace(program) + ") >> >>",
		"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
		"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
		fmt.Sprintf("<< /Length %d >>\nstream\n%s\nendstream", len(text), text),
		"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
	} {
		at = append(at, b.Len())
		fmt.Fprintf(&b, "%d 0 obj\n%s\nendobj\n", i+1, of)
	}
	table := b.Len()
	fmt.Fprintf(&b, "xref\n0 %d\n0000000000 65535 f \n", len(at)+1)
	for _, n := range at {
		fmt.Fprintf(&b, "%010d 00000 n \n", n)
	}
	fmt.Fprintf(&b, "trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n", len(at)+1, table)
	return b.Bytes()
}
