package console

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// press presses keys, or types a text.
func (b *browser) press(keys string) { b.t.Helper(); b.do(chromedp.KeyEvent(keys)) }

// focused says what has the focus. Whoever has no mouse sees what that is: it is somewhere,
// it is marked, and it is on the screen.
func (b *browser) focused() string {
	b.t.Helper()
	got := eval[[]string](b, `(() => {
		const e = document.activeElement;
		if (!e || e === document.body || e === document.documentElement) return ["", "it is nowhere"];
		const s = getComputedStyle(e), at = e.getBoundingClientRect(), name = (e.getAttribute("aria-label") || (e.labels && e.labels[0] || e).innerText || e.name || e.tagName).trim();
		if (!(s.outlineStyle !== "none" && parseFloat(s.outlineWidth) > 0 || s.boxShadow !== "none")) return [name, "it is not marked"];
		if (at.bottom <= 0 || at.top >= innerHeight || at.right <= 0 || at.left >= innerWidth) return [name, "it is not on the screen"];
		return [name, ""];
	})()`)
	if got[1] != "" {
		b.fail("of the focus, on %q: %s", got[0], got[1])
	}
	return got[0]
}

// tabTo goes by the key Tab to what is called so.
func (b *browser) tabTo(name string) {
	b.t.Helper()
	var passed []string
	for range 60 {
		b.press(kb.Tab)
		at := b.focused()
		if strings.HasPrefix(at, name) {
			return
		}
		passed = append(passed, at)
	}
	b.fail("there is no %q among %q", name, passed)
}

// Somebody without a mouse signs in, finds a file that was lost, looks at it, brings it
// back and sees where it is. The focus is always to be seen, and stays where it is when a
// part of the page is renewed.
func TestByKeyboardInABrowser(t *testing.T) {
	b := newBrowser(t)
	drive := filepath.Join(dev.Drives, "conrad@contoso.com")
	lost := filepath.Join(drive, "Letters", "keyboard story.txt")
	if err := os.MkdirAll(filepath.Dir(lost), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(lost, []byte("Typed, never clicked.\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	holdfast := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), binary, args...)
		cmd.Env = append(os.Environ(), "HOLDFAST_URL="+dev.HTTP, "HOLDFAST_TENANT="+dev.Tenant, "HOLDFAST_CLIENT_ID="+dev.App, "HOLDFAST_CLIENT_SECRET="+dev.Secret)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("holdfast %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	holdfast("policy", "create", "By keyboard")
	holdfast("drive", "add", "--policy", "By keyboard", "conrad@contoso.com")
	holdfast("policy", "activate", "By keyboard", "--wait")
	if err := os.RemoveAll(filepath.Dir(lost)); err != nil {
		t.Fatal(err)
	}
	for !strings.Contains(holdfast("find", "conrad@contoso.com", "keyboard st"), "gone") {
		time.Sleep(time.Second) // until a point is made without it
	}
	b.open("/console/")
	b.leaves(func() {
		b.tabTo("Lothar Brandt")
		b.press(kb.Enter)
	})
	b.says("What needs a person")

	// From the overview to the search, and to what is gone only by an arrow.
	b.tabTo("Find a name in all backups")
	b.leaves(func() { b.press("keyboard st" + kb.Enter) })
	b.says("to the end")
	b.tabTo("Which")
	b.press(kb.ArrowDown)
	b.focused()
	b.leaves(func() {
		b.tabTo("Find")
		b.press(kb.Enter)
	})
	b.says("Letters/keyboard story.txt")
	b.leaves(func() {
		b.tabTo("Show")
		b.press(kb.Enter)
	})
	b.until("it is chosen in its folder", `document.querySelector("tr.chosen input:checked") !== null`)
	b.leaves(func() {
		b.tabTo("keyboard story.txt")
		b.press(kb.Enter)
	})
	b.says("Typed, never clicked.")
	b.tabTo("The text of keyboard story.txt")
	b.leaves(func() { // back from the text
		for b.focused() != "Restore" {
			b.do(chromedp.KeyEvent(kb.Tab, chromedp.KeyModifiers(chromedp.ModifierShift)))
		}
		b.press(kb.Enter)
	})
	b.says("Nothing that is there now is changed.")
	b.leaves(func() {
		b.tabTo("Restore now")
		b.press(kb.Enter)
	})
	b.tabTo("Who has done what with it") // in what is renewed
	b.says("Succeeded")
	if at := b.focused(); at != "Who has done what with it" {
		t.Errorf("when the restore has ended the focus is on %q", at)
	}
	b.until("it was told to who does not see it", `document.getElementById("heard").textContent === "Completed"`)
	b.tabTo("personal/conrad_contoso_com/Documents/Restored")
	back, err := filepath.Glob(filepath.Join(drive, "Restored *", "keyboard story.txt"))
	if err != nil || len(back) != 1 {
		t.Errorf("the file came back as %v, %v", back, err)
	}

	// Where that which has the focus is gone with what was renewed, it is on what came.
	b.leaves(func() {
		for b.focused() != "Overview" {
			b.do(chromedp.KeyEvent(kb.Tab, chromedp.KeyModifiers(chromedp.ModifierShift)))
		}
		b.press(kb.Enter)
	})
	b.tabTo(eval[string](b, `document.querySelector("#live-restores tbody a").innerText`))
	eval[bool](b, `(() => {
		const page = document.documentElement.outerHTML.replace(/<section[^>]*id="live-restores"[^]*?<.section>/, '<section id="live-restores" aria-label="All restores" data-live="5"><p>It was renewed.</p></section>');
		window.fetch = async () => new Response(page);
		return true;
	})()`)
	b.says("It was renewed.")
	if at := b.focused(); at != "All restores" {
		t.Errorf("the focus is on %q", at)
	}
}
