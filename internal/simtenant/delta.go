package simtenant

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// cursor is what a delta token means: how far in the order of change its holder
// has read.
type cursor struct {
	generation string
	full       bool  // an enumeration of the present state
	after      int64 // the last change that was told
	since      int64 // of an enumeration: when it began; older tombstones are not told
	blank      bool  // an empty page comes first
}

func (c cursor) String() string {
	text := "1_" + c.generation + "_" + strconv.FormatInt(c.after, 36) + "_" + strconv.FormatInt(c.since, 36)
	if c.full {
		text += "_f"
	}
	if c.blank {
		text += "_b"
	}
	return base64.RawURLEncoding.EncodeToString([]byte(text))
}

func parseCursor(token string) (c cursor, ok bool) {
	data, err := base64.RawURLEncoding.DecodeString(token)
	parts := strings.Split(string(data), "_")
	if err != nil || len(parts) < 4 || parts[0] != "1" {
		return c, false
	}
	c.generation = parts[1]
	var err2 error
	c.after, err = strconv.ParseInt(parts[2], 36, 64)
	c.since, err2 = strconv.ParseInt(parts[3], 36, 64)
	c.full, c.blank = slices.Contains(parts[4:], "f"), slices.Contains(parts[4:], "b")
	return c, err == nil && err2 == nil
}

// deltaToken finds a delta's token in any of its forms.
func deltaToken(r *request) string {
	if name, arg, ok := strings.Cut(r.arg, "="); ok && strings.EqualFold(strings.TrimSpace(name), "token") {
		if text, err := url.PathUnescape(arg); err == nil {
			return strings.Trim(strings.TrimSpace(text), "'")
		}
	}
	for _, name := range []string{"token", "skiptoken", "deltatoken"} {
		if text := option(r.query, name); text != "" {
			return text
		}
	}
	return ""
}

// delta tells the changes of a drive since a token, oldest first, each item as
// it is now, with the folders above it. A page stands for itself: nothing is
// kept for it on the server, and what changes while pages are read comes at the
// end.
func (s *Service) delta(r *request, p place, t target) error {
	size, err := s.pageSize(r.query, itemsPage, itemsPageMax)
	if err != nil {
		return err
	}
	opts := s.faults.options()
	if strings.Contains(strings.ToLower(r.Header.Get("Prefer")), "deltaexcludeparent") || r.Header.Get("deltaExcludeParent") != "" {
		opts.NoAncestors = true
	}
	token := deltaToken(r)
	prefer := strings.ToLower(strings.Join(r.Header.Values("Prefer"), ","))
	resharing := strings.Contains(prefer, "deltashowsharingchanges")
	if resharing && !(strings.Contains(prefer, "deltashowremovedasdeleted") && strings.Contains(prefer, "deltatraversepermissiongaps")) {
		return badRequest("Must also prefer deltashowremovedasdeleted and deltatraversepermissiongaps when preferring deltashowsharingchanges for a user request.")
	}
	return s.on(r, p, func(d *drive) error {
		ctx := r.Context()
		start, err := d.base(t)
		if err != nil {
			return err
		}
		if start != d.root || len(t.path) > 0 {
			return fail(http.StatusNotImplemented, "notSupported", "view.delta can only be called on the root.")
		}
		here := "/drives/" + p.id() + "/root/delta"
		c, err := d.cursor(ctx, r, token, here)
		if err != nil {
			return err
		}
		v := s.viewer(r, d)
		v.hierarchical = strings.Contains(prefer, "hierarchicalsharing")
		if resharing && !c.full {
			v.reshared = c.after
		}
		page, more, err := d.nextPage(ctx, &c, size)
		if err != nil {
			return err
		}
		list := d.tell(v, page, opts)
		if opts.Shuffle {
			s.faults.shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		}
		out := map[string]any{"@odata.context": r.base + "/$metadata#Collection(driveItem)", "value": list}
		c.link(r, out, here, more, opts.EmptyPages && len(page) > 0)
		r.status, r.answer = http.StatusOK, out
		return nil
	})
}

// cursor reads the token of a delta that is at an address, and has the drive be
// looked at where the token asks for the present state.
func (d *drive) cursor(ctx context.Context, r *request, token, here string) (c cursor, err error) {
	instant, timeErr := time.Parse(time.RFC3339, token)
	if token == "" || token == "latest" || timeErr == nil {
		if err := d.fresh(ctx, r.arrived); err != nil {
			return c, err
		}
		c = cursor{generation: d.generation, since: d.seq}
		switch {
		case token == "":
			c.full = true
		case token == "latest":
			c.after = d.seq
		default:
			c.after = d.before(instant.UnixNano())
		}
		return c, nil
	}
	c, ok := parseCursor(token)
	if !ok {
		return c, badRequest("The token is not one that this drive gave. Start anew without one.").because("syncStateInvalid")
	}
	oldest := c.after
	if c.full {
		oldest = c.since
	}
	if c.generation != d.generation || c.after > d.seq || oldest < d.floor {
		e := fail(http.StatusGone, "resyncRequired", "The changes since this token are no longer known. Enumerate the drive anew and compare.")
		e.header = http.Header{"Location": {r.base + here}}
		return c, e.because("resyncChangesApplyDifferences")
	}
	if paging := c.full || c.blank || c.since > 0; !paging {
		err = d.fresh(ctx, r.arrived)
	}
	return c, err
}

// nextPage returns what changed after c, at most size items, and moves c behind it.
func (d *drive) nextPage(ctx context.Context, c *cursor, size int) (page []*item, more bool, err error) {
	if c.blank {
		c.blank = false
		return nil, true, nil
	}
	page, more = d.changes(c, size)
	if err := d.settle(ctx, page...); err != nil {
		return nil, false, err
	}
	if !more {
		// Reading contents may have shown further changes.
		_, more = d.changes(new(*c), 1)
	}
	return page, more, nil
}

// link says in an answer where the next page is, or the next changes.
func (c cursor) link(r *request, out map[string]any, here string, more, blank bool) {
	if more {
		c.since = max(c.since, 1) // says that pages follow one another
		c.blank = blank
		out["@odata.nextLink"] = r.link(here, "token", c.String())
	} else {
		out["@odata.deltaLink"] = r.link(here, "token", cursor{generation: c.generation, after: c.after}.String())
	}
}

// before returns the last change noticed before an instant.
func (d *drive) before(instant int64) int64 {
	for _, c := range d.log {
		if c.it.seq == c.seq && c.it.noticed >= instant {
			return c.seq - 1
		}
	}
	return d.seq
}

// changes returns the items changed after c, at most n of them, and moves c
// behind the last. more says that there are others.
func (d *drive) changes(c *cursor, n int) (page []*item, more bool) {
	first := sort.Search(len(d.log), func(i int) bool { return d.log[i].seq > c.after })
	for _, e := range d.log[first:] {
		if e.it.seq != e.seq || c.full && e.it.gone && e.seq <= c.since {
			continue
		}
		if len(page) == n {
			return page, true
		}
		page = append(page, e.it)
		c.after = e.seq
	}
	c.after = max(c.after, d.seq)
	return page, false
}

// tell writes a page: each item after the folders that it is in.
func (d *drive) tell(v *viewer, page []*item, opts Options) []any {
	v.delta = true
	list := make([]any, 0, len(page)+8)
	told := make(map[*item]bool, len(page)+8)
	var add func(it *item)
	add = func(it *item) {
		if it == nil || told[it] {
			return
		}
		told[it] = true
		if !opts.NoAncestors {
			add(it.parent)
		}
		list = append(list, v.view(it))
	}
	for _, it := range page {
		add(it)
	}
	if len(page) > 0 {
		add(d.root)
	}
	if opts.Repeat && len(page) > 1 {
		list = append(list, v.view(page[0]))
	}
	return list
}
