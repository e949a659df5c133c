package main

import (
	"fmt"
	"html"
	"strings"
)

// The colours of a table's columns: they can be told apart, and be seen on white and
// on black.
var colours = []string{"#2f81f7", "#e5793b", "#8b949e"}

// chart draws a table as bars, each with its figure, in groups of a row. A bar's
// length is in proportion to the largest of its column's kind: all of the table
// where they are of one unit.
func (f Figures) chart(t table) string {
	const (
		left, width, right = 250, 400, 70
		bar, gap, head     = 16, 14, 56
	)
	var rows []row
	for _, r := range t.rows {
		for i := range t.columns {
			if _, ok := f.value(r, i); ok {
				rows = append(rows, r)
				break
			}
		}
	}
	columns := t.columns
	if t.mixed {
		columns = columns[:1]
	}
	most, bars := 0.0, 0
	for _, r := range rows {
		for i := range columns {
			if v, ok := f.value(r, i); ok {
				most = max(most, v)
				bars++
			}
		}
	}
	height := head + bars*bar + len(rows)*gap + 6
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img">`+"\n", left+width+right, height)
	fmt.Fprintf(&b, "<title>%s</title>\n", html.EscapeString(t.title))
	b.WriteString("<style>text { font: 13px sans-serif; fill: #6e7781 } .title { font-weight: bold } @media (prefers-color-scheme: dark) { text { fill: #9198a1 } }</style>\n")
	unit := t.unit
	if t.mixed {
		unit = columns[0]
	}
	fmt.Fprintf(&b, `<text class="title" x="0" y="16">%s, %s</text>`+"\n", html.EscapeString(t.title), html.EscapeString(unit))
	x := left
	if len(columns) > 1 {
		for i, name := range columns {
			fmt.Fprintf(&b, `<rect x="%d" y="28" width="12" height="12" fill="%s"/><text x="%d" y="39">%s</text>`+"\n", x, colours[i], x+17, html.EscapeString(name))
			x += 40 + 8*len(name)
		}
	}
	y := head
	for _, r := range rows {
		first := y
		for i := range columns {
			v, ok := f.value(r, i)
			if !ok {
				continue
			}
			long := 1.0
			if most > 0 {
				long = max(1, v/most*width)
			}
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/><text x="%.1f" y="%d">%s</text>`+"\n",
				left, y, long, bar-3, colours[i], left+long+5, y+bar-5, number(v))
			y += bar
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", left-10, (first+y)/2+3, html.EscapeString(r.label))
		y += gap
	}
	b.WriteString("</svg>\n")
	return b.String()
}
