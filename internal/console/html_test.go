package console

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// checkPage reports what is wrong with a page: tags that do not match, and what
// keeps people out who read with a screen reader or without a mouse, as far as it
// can be told from the text alone.
func checkPage(t *testing.T, name, page string) {
	t.Helper()
	for _, fault := range faults(page) {
		t.Errorf("%s: %s", name, fault)
	}
}

var void = []string{"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}

// faults are those of a page.
func faults(page string) (all []string) {
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if !strings.HasPrefix(page, "<!DOCTYPE html>") {
		say("it does not begin with a doctype")
	}
	z := html.NewTokenizer(strings.NewReader(page))
	var open []string
	for {
		kind := z.Next()
		if kind == html.ErrorToken {
			break
		}
		tok := z.Token()
		switch kind {
		case html.StartTagToken:
			if !slices.Contains(void, tok.Data) {
				open = append(open, tok.Data)
			}
		case html.EndTagToken:
			if len(open) == 0 || open[len(open)-1] != tok.Data {
				say("</%s> ends what is not open: %v", tok.Data, open)
				return all
			}
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		say("not ended: %v", open)
	}
	doc, err := html.Parse(strings.NewReader(page))
	if err != nil {
		say("%v", err)
		return all
	}
	ids, refs, labelled := map[string]bool{}, map[string]string{}, map[string]bool{}
	h1, level := 0, 0
	var walk func(n *html.Node)
	attr := func(n *html.Node, name string) string {
		for _, a := range n.Attr {
			if a.Key == name {
				return a.Val
			}
		}
		return ""
	}
	within := func(n *html.Node, tag string) bool {
		for p := n.Parent; p != nil; p = p.Parent {
			if p.Data == tag {
				return true
			}
		}
		return false
	}
	var text func(n *html.Node) string
	text = func(n *html.Node) string {
		if n.Type == html.TextNode {
			return n.Data
		}
		out := ""
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			out += text(c)
		}
		return strings.TrimSpace(out)
	}
	var inputs []*html.Node
	walk = func(n *html.Node) {
		if n.Type == html.ElementNode {
			for _, a := range n.Attr {
				switch {
				case a.Key == "id" && ids[a.Val]:
					say("the id %q occurs twice", a.Val)
				case a.Key == "id":
					ids[a.Val] = true
				case a.Key == "style" || strings.HasPrefix(a.Key, "on"):
					say("<%s> has %s, which the content security policy forbids", n.Data, a.Key)
				case a.Key == "aria-labelledby" || a.Key == "aria-describedby" || a.Key == "list" || a.Key == "for":
					for _, id := range strings.Fields(a.Val) {
						refs[id] = n.Data
					}
					if a.Key == "for" {
						labelled[a.Val] = true
					}
				case a.Key == "tabindex" && a.Val > "0":
					say("<%s> has a tabindex of its own order", n.Data)
				}
			}
			switch n.Data {
			case "html":
				if attr(n, "lang") == "" {
					say("the page has no language")
				}
			case "title":
				if text(n) == "" {
					say("the page has no title")
				}
			case "script":
				if attr(n, "src") == "" {
					say("a script is in the page itself")
				}
			case "style":
				say("a style is in the page itself")
			case "h1", "h2", "h3", "h4":
				l := int(n.Data[1] - '0')
				if l > level+1 {
					say("<%s> %q follows a heading of level %d", n.Data, text(n), level)
				}
				level = l
				if l == 1 {
					h1++
				}
			case "input", "select", "textarea":
				if attr(n, "type") != "hidden" {
					inputs = append(inputs, n)
				}
			case "a", "button":
				if text(n) == "" && attr(n, "aria-label") == "" {
					say("a <%s> has no text", n.Data)
				}
			case "th":
				if attr(n, "scope") == "" {
					say("the <th> %q has no scope", text(n))
				}
			case "img":
				if !slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == "alt" }) {
					say("an <img> has no alt")
				}
			case "svg":
				if attr(n, "aria-hidden") != "true" && attr(n, "role") != "img" && attr(n, "role") != "group" {
					say("an <svg> is neither hidden nor an image or a group")
				}
			case "form":
				if attr(n, "method") == "post" {
					if !strings.Contains(render(n), `name="csrf"`) {
						say("a form to %s carries nothing against forgery", attr(n, "action"))
					}
				}
			}
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			walk(c)
		}
	}
	walk(doc)
	for id, tag := range refs {
		if !ids[id] {
			say("a <%s> refers to %q, which is not there", tag, id)
		}
	}
	for _, n := range inputs {
		if !within(n, "label") && !labelled[attr(n, "id")] && attr(n, "aria-label") == "" && attr(n, "aria-labelledby") == "" {
			say("the <%s> %q has no label", n.Data, attr(n, "name"))
		}
	}
	if h1 != 1 {
		say("it has %d headings of level 1", h1)
	}
	return all
}

func render(n *html.Node) string {
	var b strings.Builder
	if err := html.Render(&b, n); err != nil {
		return ""
	}
	return b.String()
}

// The check finds what it is for.
func TestCheckPageFindsFaults(t *testing.T) {
	const good = `<!DOCTYPE html><html lang="en"><head><title>x</title></head><body><h1>x</h1>%s</body></html>`
	if all := faults(fmt.Sprintf(good, "")); len(all) > 0 {
		t.Fatalf("a good page has %q", all)
	}
	for _, part := range []string{
		`<p>`, `<b><i></b></i>`, `<input name="a">`, `<p id="a"></p><p id="a"></p>`, `<p style="x"></p>`, `<button></button>`, `<script>1</script>`,
		`<p onclick="x"></p>`, `<h3>x</h3>`, `<h1>x</h1>`, `<form method="post"></form>`, `<div aria-labelledby="none"></div>`, `<img src="x">`, `<svg></svg>`,
		`<table><tr><th>x</th></tr></table>`,
	} {
		if len(faults(fmt.Sprintf(good, part))) == 0 {
			t.Errorf("nothing is found in %s", part)
		}
	}
}

func TestUnturned(t *testing.T) {
	const page = "<p title=\"a\u202eb\">a\u202eb\u2066c\u2069 “d” é <input value=\"\u202e\"> \u200fש</p>\u202d"
	const want = "<p title=\"a\u202eb\">abc “d” é <input value=\"\u202e\"> \u200fש</p>"
	if got := string(unturned([]byte(page))); got != want {
		t.Errorf("%q becomes %q, want %q", page, got, want)
	}
}
