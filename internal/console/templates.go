package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"holdfast/internal/backup"
	"holdfast/internal/client"
)

//go:embed templates static
var files embed.FS

// pages are the templates, each with the layout around it. They are parsed for the
// first page: most commands show none, and would wait for it.
var pages = sync.OnceValue(parsePages)

func parsePages() map[string]*template.Template {
	all := map[string]*template.Template{}
	layout := template.Must(template.New("").Funcs(funcs).ParseFS(files, "templates/layout.html", "templates/parts.html"))
	names, err := fs.Glob(files, "templates/*.html")
	if err != nil {
		panic(err) // the pattern is above
	}
	for _, name := range names {
		base := strings.TrimSuffix(path.Base(name), ".html")
		if base != "layout" && base != "parts" {
			all[base] = template.Must(template.Must(layout.Clone()).ParseFS(files, name))
		}
	}
	return all
}

var funcs = template.FuncMap{
	"static": staticURL, "ago": ago, "when": when, "moment": moment, "plain": plain, "plural": plural, "number": number, "bytes": size, "iso": iso, "short": short, "period": period,
	"list":       func(all ...string) []string { return all },
	"times":      func(a, b int) int { return a * b },
	"stripWidth": func(s strip) int { return 20 * len(s.Cells) },
	"decide":     func(v view, a approvalAnswer) deciding { return deciding{v, a} },
	"sections":   func() []section { return sections },
	"sorts": func() []section {
		return []section{{"added", "Newest first"}, {"changed", "Last changed first"}, {"name", "Name"}, {"-name", "Name, backwards"}}
	},
	"words":  inWords,
	"orders": func() any { return orders },
	"lacksBrowse": func(points []pointAnswer) bool {
		return slices.ContainsFunc(points, func(p pointAnswer) bool { return !p.Browsable() && !p.Lost })
	},
	"pager":   func(total int, first, next, one, many string) pager { return pager{total, first, next, one, many} },
	"last":    func(i int, all []link) bool { return i == len(all)-1 },
	"place":   place,
	"added":   func(total, failed, more int) int { return max(0, total-failed-more) },
	"title":   func(w *client.Workload) string { return titles[w] },
	"heading": capital,
	"has":     func(all []string, one string) bool { return slices.Contains(all, one) },
}

// A pager leads through the pages of a list.
type pager struct {
	Total                  int
	First, Next, One, Many string
}

// A section is a page of the navigation, and those below it.
type section struct{ Path, Name string }

var sections = []section{{"", "Overview"}, {"policies", "Policies"}, {"units", "Units"}, {"restores", "Restores"}, {"approvals", "Approvals"}, {"jobs", "Jobs"}, {"audit", "Audit"}, {"health", "Health"}, {"settings", "Settings"}}

// staticHash tells versions of the static files apart, so that browsers may keep
// each for good.
var staticHash = func() string {
	h := sha256.New()
	names, err := fs.Glob(files, "static/*")
	if err != nil {
		panic(err) // the pattern is above
	}
	for _, name := range names {
		data, err := files.ReadFile(name)
		if err != nil {
			panic(err) // it is in the binary
		}
		h.Write(data)
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}()

func staticURL(name string) string { return "/console/static/" + name + "?v=" + staticHash }

var types = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

// static serves the style sheet, the script and the icon.
func (c *Console) static(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	data, err := files.ReadFile("static/" + name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	if r.URL.Query().Get("v") == staticHash {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	w.Header().Set("Content-Type", types[path.Ext(name)])
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(data))
}

// when is a time for people; script makes it one of their own zone.
func when(t time.Time) template.HTML {
	if t.IsZero() {
		return "never"
	}
	return template.HTML(`<time datetime="` + iso(t) + `">` + t.UTC().Format("2006-01-02 15:04") + ` UTC</time>`) // nothing of it is from outside
}

// moment is when, with seconds where they are wanted.
func moment(t time.Time, seconds bool) template.HTML {
	if !seconds || t.IsZero() {
		return when(t)
	}
	return template.HTML(`<time datetime="` + iso(t) + `" data-seconds>` + plain(t) + `</time>`) // nothing of it is from outside
}

// plain is a time where there can be no tags.
func plain(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

func iso(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.999Z") }

// ago says how long before now a time is, in one unit.
func ago(now, t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := now.Sub(t)
	switch {
	case d < -time.Minute:
		return "in " + span(-d)
	case d < time.Minute:
		return "just now"
	}
	return span(d) + " ago"
}

func span(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return "1 min"
	case d < time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", d/time.Hour)
	}
	return fmt.Sprintf("%d days", d/(24*time.Hour))
}

// capital begins a text with a capital.
func capital(s string) string { return strings.ToUpper(s[:min(1, len(s))]) + s[min(1, len(s)):] }

// plural is a number of things.
func plural(n any, one, many string) string {
	text := number(n)
	if text == "1" {
		return "1 " + one
	}
	return text + " " + many
}

// number is a number for people, whatever type has it; what is none stays as it is.
func number(n any) string {
	if p, ok := n.(*int); ok {
		n = *p
	}
	text := fmt.Sprint(n)
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return backup.Number(n)
	}
	return text
}

// size is a number of bytes for people.
func size(text string) string {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return ""
	}
	for _, unit := range []string{"B", "kB", "MB", "GB", "TB"} {
		if n < 1000 || unit == "TB" {
			if unit == "B" {
				return text + " B"
			}
			return fmt.Sprintf("%.1f %s", n, unit)
		}
		n /= 1000
	}
	return text
}

// place is an address as a person reads it: what is below the site.
func place(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Path == "" {
		return address
	}
	return strings.TrimPrefix(u.Path, "/")
}

// short is the beginning of an id, enough to tell it from its neighbours.
func short(id string) string {
	head, _, _ := strings.Cut(id, "-")
	return head
}

var isoPeriod = regexp.MustCompile(`^(?:R/)?P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?$`)

// period is an ISO 8601 duration in words.
func period(text string) string {
	m := isoPeriod.FindStringSubmatch(text)
	if m == nil {
		return text
	}
	var parts []string
	for i, unit := range []string{"year", "month", "week", "day", "hour", "minute", "second"} {
		if n := m[i+1]; n != "" && n != "0" {
			parts = append(parts, plural(n, unit, unit+"s"))
		}
	}
	if len(parts) == 0 {
		return text
	}
	return strings.Join(parts, " ")
}

// unturned is a page without what turns the order of letters around, in what people read of
// it: what is called "bill fdp.exe", with such a sign before the f, would read as a PDF. What
// forms and links hold stays as it is.
func unturned(page []byte) []byte {
	if !bytes.Contains(page, []byte("\xe2\x80")) && !bytes.Contains(page, []byte("\xe2\x81")) {
		return page
	}
	out, tag := page[:0], false
	for i := 0; i < len(page); {
		switch c := page[i]; {
		case c == '<' || c == '>': // both only begin and end tags: html/template writes all others otherwise
			tag = c == '<'
		case c == 0xe2 && !tag:
			if r, _ := utf8.DecodeRune(page[i:]); r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
				i += 3
				continue
			}
		}
		out = append(out, page[i])
		i++
	}
	return out
}
