package simtenant

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/odata"
)

// What calls to mailboxes ask of their caller. The names without All are a
// person's, for the own mailbox.
var (
	readMailSettings = permission{"ErrorAccessDenied", []string{"MailboxSettings.Read", "MailboxSettings.ReadWrite"}}
	readMailFolders  = permission{"ErrorAccessDenied", []string{"MailboxFolder.Read.All", "MailboxFolder.ReadWrite.All", "MailboxFolder.Read", "MailboxFolder.ReadWrite"}}
	readMailItems    = permission{"ErrorAccessDenied", []string{"MailboxItem.Read.All", "MailboxItem.Read"}}
)

// How many folders or items a page holds.
const (
	mailPage    = 10
	mailPageMax = 1000
)

// prefers returns the value of a preference, without quotes.
func (r *request) prefers(name string) (value string, ok bool) {
	for _, line := range r.Header.Values("Prefer") {
		for part := range strings.SplitSeq(line, ",") {
			key, value, _ := strings.Cut(part, "=")
			if strings.EqualFold(strings.TrimSpace(key), name) {
				return strings.Trim(strings.TrimSpace(value), `"`), true
			}
		}
	}
	return "", false
}

// immutable reports whether the caller wants ids that outlast a move.
func (r *request) immutable() bool {
	value, ok := r.prefers("IdType")
	if ok && strings.EqualFold(value, "ImmutableId") {
		r.w.Header().Set("Preference-Applied", `IdType="ImmutableId"`)
		return true
	}
	return false
}

// mailPageSize is $top, or what the caller prefers.
func (s *Service) mailPageSize(r *request) (int, error) {
	if option(r.query, "top") == "" {
		if text, ok := r.prefers("odata.maxpagesize"); ok {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 {
				return 0, badRequest("The preferred page size must be a whole number of at least 1.")
			}
			if most := s.faults.options().PageSize; most > 0 {
				n = min(n, most)
			}
			return min(n, mailPageMax), nil
		}
	}
	return s.pageSize(r.query, mailPage, mailPageMax)
}

// onMailbox serves a call to a mailbox within the mailbox's limits, and answers
// with what fn left in r.
func onMailbox(fn func(*Service, *request, *mailbox) error) func(*Service, *request) error {
	return func(s *Service, r *request) error {
		if id := r.vars["message"]; id != "" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			r.aboutItems(id)
		}
		return s.admitted(r, func() error { return s.onMail(r, func(m *mailbox) error { return fn(s, r, m) }) })
	}
}

// onMail runs fn on the mailbox that r is about, and answers with what fn left in
// r.
func (s *Service) onMail(r *request, fn func(*mailbox) error) error {
	if err := s.withMailbox(r, r.place, fn); err != nil {
		return err
	}
	for _, mail := range r.sent {
		s.deliver(r, mail)
	}
	if r.answer == nil {
		r.w.WriteHeader(r.status)
		return nil
	}
	return replyGraph(r.w, r.status, r.answer)
}

// admitted runs fn if the caller may use the mailbox now.
func (s *Service) admitted(r *request, fn func() error) error {
	if r.place.user == nil || s.mailRoot == nil {
		return noMailbox()
	}
	if opts := s.faults.options().Mail; slices.ContainsFunc(opts.Denied, func(name string) bool { return strings.EqualFold(name, r.place.user.UserPrincipalName) }) ||
		r.who.user != nil && r.who.user != r.place.user {
		return fail(http.StatusForbidden, "ErrorAccessDenied", "Access is denied. Check credentials and try again.")
	}
	leave, err := s.mailLimits.enter(s, r.who.app.AppID, r.place)
	if err != nil {
		return err
	}
	defer leave()
	return fn()
}

// folderView is a folder as the import and export API shows it.
func (m *mailbox) folderView(r *request, f *mailFolder, children map[*mailFolder]int) map[string]any {
	v := map[string]any{
		"id": m.folderID(f), "displayName": f.name, "type": f.class(), "childFolderCount": children[f], "totalItemCount": f.count,
		"wellKnownName": orNull(f.well), "parentFolderId": nil,
		"parentMailboxUrl": r.base + "/admin/exchange/mailboxes/" + m.d.place.mailboxID(),
	}
	if f.parent != nil {
		v["parentFolderId"] = m.folderID(f.parent)
	}
	return v
}

// children counts the folders in each folder.
func (m *mailbox) children() map[*mailFolder]int {
	out := make(map[*mailFolder]int, len(m.folders))
	for _, f := range m.folders {
		if f.parent != nil {
			out[f.parent]++
		}
	}
	return out
}

// list returns the folders that keep says, in the order in which they came.
func (m *mailbox) list(keep func(*mailFolder) bool) []*mailFolder {
	var out []*mailFolder
	for _, f := range m.folders {
		if keep(f) {
			out = append(out, f)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].num < out[j].num })
	return out
}

// shown cuts the part of n things that a list's $skip and $top ask for, and
// returns the link to the next, if there is one.
func (s *Service) shown(r *request, n int, path string) (from, to int, next string, err error) {
	size, err := s.mailPageSize(r)
	if err != nil {
		return 0, 0, "", err
	}
	if text := option(r.query, "skip"); text != "" {
		if from, err = strconv.Atoi(text); err != nil || from < 0 {
			return 0, 0, "", badRequest("$skip must be a whole number of at least 0.")
		}
	}
	from = min(from, n)
	to = min(from+size, n)
	if to < n {
		q := url.Values{}
		for k, v := range r.query {
			if !strings.EqualFold(strings.TrimPrefix(k, "$"), "skip") {
				q[k] = v
			}
		}
		q.Set("$skip", strconv.Itoa(to))
		next = r.base + path + "?" + q.Encode()
	}
	return from, to, next, nil
}

// answerList answers with a page of a list.
func (s *Service) answerList(r *request, context, path string, n int, view func(i int) any) error {
	return s.answerListOf(r, context, path, n, selected(r.query), view)
}

// answerListOf is answerList of so many properties of each.
func (s *Service) answerListOf(r *request, context, path string, n int, names map[string]bool, view func(i int) any) error {
	from, to, next, err := s.shown(r, n, path)
	if err != nil {
		return err
	}
	list := make([]any, 0, to-from)
	for i := from; i < to; i++ {
		list = append(list, project(view(i), names))
	}
	out := map[string]any{"@odata.context": r.base + "/$metadata#" + context, "value": list}
	if strings.EqualFold(option(r.query, "count"), "true") {
		out["@odata.count"] = n
	}
	if next != "" {
		out["@odata.nextLink"] = next
	}
	r.status, r.answer = http.StatusOK, out
	return nil
}

// here is a path below the mailbox, as links name it.
func (r *request) here(parts ...string) string {
	b := "/admin/exchange/mailboxes/" + r.place.mailboxID()
	for _, p := range parts {
		b += "/" + url.PathEscape(p)
	}
	return b
}

func (s *Service) getExchangeSettings(r *request) error {
	r.place = mailboxOf(r.site)
	return s.admitted(r, func() error {
		if info, err := s.mailRoot.Lstat(r.place.folder()); err != nil || !info.IsDir() {
			return noMailbox()
		}
		return replyGraph(r.w, http.StatusOK, map[string]any{
			"@odata.context":   r.base + "/$metadata#users('" + url.PathEscape(r.user.UserPrincipalName) + "')/settings/exchange/$entity",
			"primaryMailboxId": r.place.mailboxID(),
		})
	})
}

var folderType = regexp.MustCompile(`^\s*type\s+eq\s+'([^']*)'\s*$`)

func (s *Service) listMailboxFolders(r *request, m *mailbox) error {
	within := m.top
	var parent *mailFolder
	path := r.here("folders")
	if id := r.vars["folder"]; id != "" {
		var err error
		if parent, err = m.folder(id); err != nil {
			return err
		}
		path = r.here("folders", id, "childFolders")
	}
	class := ""
	if text := option(r.query, "filter"); text != "" {
		match := folderType.FindStringSubmatch(text)
		if match == nil {
			return badRequest("Folders are filtered by their type only, as in type eq 'IPF.Note'.").because("ErrorInvalidUrlQueryFilter")
		}
		class = match[1]
	}
	topOnly := s.faults.options().Mail.TopFolders
	list := m.list(func(f *mailFolder) bool {
		switch {
		case class != "" && !strings.EqualFold(f.class(), class):
			return false
		case parent != nil:
			return f.parent == parent
		case topOnly:
			return f.parent == within
		}
		return f != within && f.within(within)
	})
	children := m.children()
	return s.answerList(r, "admin/exchange/mailboxes('"+r.place.mailboxID()+"')/folders", path, len(list), func(i int) any { return m.folderView(r, list[i], children) })
}

func (s *Service) getMailboxFolder(r *request, m *mailbox) error {
	f, err := m.folder(r.vars["folder"])
	if err != nil {
		return err
	}
	v := m.folderView(r, f, m.children())
	v["@odata.context"] = r.base + "/$metadata#admin/exchange/mailboxes('" + r.place.mailboxID() + "')/folders/$entity"
	r.status, r.answer = http.StatusOK, project(v, selected(r.query))
	return nil
}

// syncStateNotFound is the refusal of a token whose changes are no longer known.
func syncStateNotFound() error {
	return fail(http.StatusGone, "SyncStateNotFound", "The sync state generation is not found; enumerate the folder again.")
}

// token reads a delta's token. The changes after it must still be known.
func (m *mailbox) token(r *request, scope string, floor int64) (c cursor, err error) {
	text := option(r.query, "deltatoken")
	if text == "" {
		text = option(r.query, "skiptoken")
	}
	scope = m.generation + "." + scope
	if text == "" {
		return cursor{generation: scope, full: true, since: m.seq}, nil
	}
	c, ok := parseCursor(text)
	if !ok {
		return c, fail(http.StatusBadRequest, "ErrorInvalidUrlQuery", "Badly formed token.").because("SyncStateInvalid")
	}
	oldest := c.after
	if c.full {
		oldest = c.since
	}
	if c.generation != scope || c.after > m.seq || oldest < floor {
		return c, syncStateNotFound()
	}
	return c, nil
}

// answerDelta answers with a page of a delta.
func (r *request) answerDelta(context, path string, list []any, c cursor, more, empty bool) {
	out := map[string]any{"@odata.context": r.base + "/$metadata#" + context, "value": list}
	if more {
		c.blank = empty && len(list) > 0
		out["@odata.nextLink"] = r.link(path, "$skiptoken", c.String())
	} else {
		out["@odata.deltaLink"] = r.link(path, "$deltatoken", cursor{generation: c.generation, after: c.after}.String())
	}
	r.status, r.answer = http.StatusOK, out
}

// removed is a tombstone.
func removed(id string, moved bool) map[string]any {
	reason := "deleted"
	if moved {
		reason = "changed"
	}
	return map[string]any{"id": id, "@removed": map[string]any{"reason": reason}}
}

// folderDelta tells the changes of a set of folders: those in parent, or all
// below the top.
func (s *Service) folderDelta(r *request, m *mailbox, parent *mailFolder, context, path string, show func(*mailFolder) bool, view func(*mailFolder) any) error {
	size, err := s.mailPageSize(r)
	if err != nil {
		return err
	}
	scope := "f"
	in := func(f *mailFolder) bool { return f != m.top && !f.gone && f.within(m.top) }
	left := func(c folderChange) bool { return c.from.within(m.top) || c.from.gone }
	if parent != nil {
		scope = "f" + strconv.FormatUint(parent.num, 36)
		in = func(f *mailFolder) bool { return !f.gone && f.parent == parent }
		left = func(c folderChange) bool { return c.was == parent.num }
	}
	c, err := m.token(r, scope, m.floor)
	if err != nil {
		return err
	}
	names := selected(r.query)
	list, more := make([]any, 0, size), false
	if c.blank {
		c.blank, more = false, true
	} else {
		first := sort.Search(len(m.log), func(i int) bool { return m.log[i].seq > c.after })
		for _, e := range m.log[first:] {
			var v any
			switch {
			case e.from == nil && e.f.seq == e.seq && in(e.f) && show(e.f):
				v = project(view(e.f), names)
			case e.from != nil && left(e) && !in(e.f) && !(c.full && e.seq <= c.since):
				v = removed(m.folderID(e.f), !e.f.gone)
			default:
				continue
			}
			if len(list) == size {
				more = true
				break
			}
			list = append(list, v)
			c.after = e.seq
		}
		if !more {
			c.after = max(c.after, m.seq)
		}
	}
	r.answerDelta(context, path, list, c, more, s.faults.options().EmptyPages)
	return nil
}

func (s *Service) mailboxFoldersDelta(r *request, m *mailbox) error {
	var parent *mailFolder
	path := r.here("folders", "delta")
	if id := r.vars["folder"]; id != "" {
		var err error
		if parent, err = m.folder(id); err != nil {
			return err
		}
		path = r.here("folders", id, "childFolders", "delta")
	}
	children := m.children()
	all := func(*mailFolder) bool { return true }
	return s.folderDelta(r, m, parent, "Collection(microsoft.graph.mailboxFolder)", path, all, func(f *mailFolder) any { return m.folderView(r, f, children) })
}

// itemView is an item as the import and export API shows it.
func (m *mailbox) itemView(st *stay, immutable bool) map[string]any {
	it := st.it
	categories := it.categories
	if categories == nil {
		categories = []string{}
	}
	return map[string]any{
		"@odata.type": "#microsoft.graph.mailboxItem", "@odata.etag": `W/"` + st.changeKey() + `"`,
		"id": m.stayID(st, immutable), "changeKey": st.changeKey(), "type": it.class, "size": it.size, "categories": categories,
		"createdDateTime": it.created.second(), "lastModifiedDateTime": it.changed.second(),
	}
}

// receivedFilter is what a filter by the time of receipt lets through.
type receivedFilter func(*mailItem) bool

var receivedTerm = regexp.MustCompile(`^\s*receivedDateTime\s+(ge|gt)\s+(\S+)\s*$`)

// readReceived reads such a filter, which a delta may have.
func readReceived(text string) (receivedFilter, error) {
	if text == "" {
		return func(*mailItem) bool { return true }, nil
	}
	var terms []receivedFilter
	for term := range strings.SplitSeq(text, " and ") {
		match := receivedTerm.FindStringSubmatch(term)
		if match == nil {
			return nil, fail(http.StatusBadRequest, "ErrorInvalidUrlQueryFilter", "The filter may only be receivedDateTime with ge gt.")
		}
		when, err := time.Parse(time.RFC3339, match[2])
		if err != nil {
			return nil, fail(http.StatusBadRequest, "ErrorInvalidUrlQueryFilter", "The filter's time is not of the form 2026-01-02T15:04:05Z.")
		}
		terms = append(terms, func(it *mailItem) bool {
			at := time.Unix(it.received.sec, 0)
			return at.After(when) || match[1] == "ge" && at.Equal(when)
		})
	}
	return func(it *mailItem) bool {
		return !slices.ContainsFunc(terms, func(t receivedFilter) bool { return !t(it) })
	}, nil
}

// itemsDelta tells the changes of a folder's items, oldest first, each as it is
// now. A page stands for itself, as in a drive's delta.
func (s *Service) itemsDelta(r *request, m *mailbox, f *mailFolder, context, path string, show func(*mailItem) bool, view func(*stay) (any, error)) error {
	size, err := s.mailPageSize(r)
	if err != nil {
		return err
	}
	opts := s.faults.options()
	if opts.Mail.Full {
		return mailboxFull()
	}
	keep, err := readReceived(option(r.query, "filter"))
	if err != nil {
		return err
	}
	c, err := m.token(r, strconv.FormatUint(f.num, 36), f.floor)
	if err != nil {
		return err
	}
	immutable, ctx := r.immutable(), r.Context()
	names := selected(r.query)
	list, more := make([]any, 0, size), false
	if c.blank {
		c.blank, more = false, true
	} else {
		first := sort.Search(len(f.log), func(i int) bool { return f.log[i].seq > c.after })
		for _, e := range f.log[first:] {
			st := e.st
			home := st.it.at != nil && st.it.at.in == f // where an immutable id is at home
			switch {
			case st.seq != e.seq, st.gone && c.full && e.seq <= c.since:
				continue
			case immutable && opts.Mail.LoseReturns && !c.full && st.back:
				continue // the service's own gap
			case immutable && st.gone && home && !(opts.Mail.LoseReturns && st.it.at.back):
				continue // it is here again, and told as what it is
			}
			if len(list) >= size {
				more = true
				break
			}
			if st.gone {
				list = append(list, removed(m.stayID(st, immutable), st.moved))
				c.after = e.seq
				continue
			}
			if err := m.settle(ctx, st.it); err != nil {
				return err
			}
			c.after = e.seq
			if !show(st.it) || !keep(st.it) {
				continue
			}
			v, err := view(st)
			if err != nil {
				return err
			}
			one, ok := v.(several)
			if !ok {
				one = several{v}
			}
			for _, v := range one {
				list = append(list, project(v, names))
			}
		}
		if !more {
			c.after = max(c.after, m.seq)
		}
	}
	if opts.Shuffle {
		s.faults.shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	if opts.Repeat && len(list) > 1 {
		list = append(list, list[0])
	}
	r.answerDelta(context, path, list, c, more, opts.EmptyPages)
	return nil
}

func (s *Service) mailboxItemsDelta(r *request, m *mailbox) error {
	f, err := m.folder(r.vars["folder"])
	if err != nil {
		return err
	}
	immutable := r.immutable()
	all := func(*mailItem) bool { return true }
	return s.itemsDelta(r, m, f, "Collection(microsoft.graph.mailboxItem)", r.here("folders", r.vars["folder"], "items", "delta"), all,
		func(st *stay) (any, error) { return m.itemView(st, immutable), nil })
}

// items returns the items of a folder, in the order in which they came.
func (f *mailFolder) items() []*mailItem {
	out := make([]*mailItem, 0, f.count)
	for _, c := range f.log {
		if c.seq == c.st.seq && !c.st.gone {
			out = append(out, c.st.it)
		}
	}
	before := func(i, j int) bool { return out[i].num < out[j].num }
	if !sort.SliceIsSorted(out, before) { // as most folders are, for each page of their lists
		sort.Slice(out, before)
	}
	return out
}

// itemsWithin returns the items of a folder and of those below it.
func (m *mailbox) itemsWithin(top *mailFolder) (out []*mailItem) {
	for _, it := range m.items {
		if it.at != nil && it.at.in.within(top) {
			out = append(out, it)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].num < out[j].num })
	return out
}

// itemList is a list of items, as a call tells it.
type itemList struct {
	context, path string
	names         map[string]bool      // what of each is told
	show          func(*mailItem) bool // whether it is one that the call tells
	view          func(*mailItem) (any, error)
	of            []odata.Property        // what it may be filtered and ordered by
	read          func(*mailItem) members // where these are read
	asFiltered    bool                    // an order must be by what a filter begins with
	search        odata.Expr              // what is searched for
	searched      func(*mailItem) members
}

// listItems answers with a page of the items that the filter and the search let through.
func (s *Service) listItems(r *request, m *mailbox, all []*mailItem, l itemList) error {
	q, err := listQueryOf(r, l.of, l.asFiltered)
	if err != nil {
		return err
	}
	if !q.none() || l.search != nil {
		if err := m.settle(r.Context(), all...); err != nil {
			return err
		}
	}
	all = slices.DeleteFunc(all, func(it *mailItem) bool { return !l.show(it) })
	all, err = apply(r.Context(), q, all, func(it *mailItem) (members, error) { return l.read(it), nil })
	if err != nil {
		return err
	}
	if l.search != nil {
		// The latest that were sent come first.
		q = listQuery{filter: l.search, order: []odata.Order{{Property: odata.Property{Name: "sent"}, Desc: true}}}
		if all, err = apply(r.Context(), q, all, func(it *mailItem) (members, error) { return l.searched(it), nil }); err != nil {
			return err
		}
		all = all[:min(len(all), maxFound)]
	}
	var failed error
	err = s.answerListOf(r, l.context, l.path, len(all), l.names, func(i int) any {
		if err := m.settle(r.Context(), all[i]); err != nil {
			failed = err
		}
		v, err := l.view(all[i])
		if err != nil {
			failed = err
		}
		return v
	})
	if failed != nil {
		return failed
	}
	return err
}

func (s *Service) listMailboxItems(r *request, m *mailbox) error {
	f, err := m.folder(r.vars["folder"])
	if err != nil {
		return err
	}
	wanted, err := extended(r)
	if err != nil {
		return err
	}
	immutable := r.immutable()
	return s.listItems(r, m, f.items(), itemList{
		context: "admin/exchange/mailboxes('" + r.place.mailboxID() + "')/folders/items", path: r.here("folders", r.vars["folder"], "items"), names: selected(r.query),
		show: func(*mailItem) bool { return true }, view: func(it *mailItem) (any, error) { return m.extendedView(it, immutable, wanted) },
		of: itemTimes, read: func(it *mailItem) members { return m.readItem(it, nil) },
	})
}

// inFolder finds an item that lies in the folder that the address names.
func (m *mailbox) inFolder(r *request) (*mailItem, error) {
	f, err := m.folder(r.vars["folder"])
	if err != nil {
		return nil, err
	}
	it, err := m.item(r.vars["message"])
	if err != nil {
		return nil, err
	}
	if it.at.in != f {
		return nil, noMailItem()
	}
	return it, nil
}

func (s *Service) getMailboxItem(r *request, m *mailbox) error {
	it, err := m.inFolder(r)
	if err != nil {
		return err
	}
	wanted, err := extended(r)
	if err != nil {
		return err
	}
	if err := m.settle(r.Context(), it); err != nil {
		return err
	}
	if s.corrupt(it) {
		return corruptItem()
	}
	v, err := m.extendedView(it, r.immutable(), wanted)
	if err != nil {
		return err
	}
	v["@odata.context"] = r.base + "/$metadata#admin/exchange/mailboxes('" + r.place.mailboxID() + "')/folders/items/$entity"
	r.status, r.answer = http.StatusOK, project(v, selected(r.query))
	return nil
}

var (
	extendedExpand = regexp.MustCompile(`^singleValueExtendedProperties\s*\(\s*\$filter\s*=\s*(.*)\)$`)
	extendedTerm   = regexp.MustCompile(`^\s*\(?\s*id\s+eq\s+'([^']+)'\s*\)?\s*$`)
)

// extended returns the ids of the extended properties that are asked for.
func extended(r *request) ([]string, error) { return extendedIn(option(r.query, "expand"), "") }

// extendedIn reads them out of $expand; also is what else can be expanded.
func extendedIn(text, also string) ([]string, error) {
	if text = strings.TrimSpace(text); text == "" {
		return nil, nil
	}
	match := extendedExpand.FindStringSubmatch(text)
	if match == nil {
		return nil, fail(http.StatusBadRequest, "ErrorInvalidUrlQuery", "$expand="+text+" is not supported here: only "+also+"singleValueExtendedProperties($filter=id eq '…' or id eq '…') can be expanded.")
	}
	var ids []string
	for term := range strings.SplitSeq(match[1], " or ") {
		id := extendedTerm.FindStringSubmatch(term)
		if id == nil {
			return nil, fail(http.StatusBadRequest, "ErrorInvalidUrlQueryFilter", "Extended properties are chosen by their ids, as in id eq 'String 0x0037'.")
		}
		ids = append(ids, id[1])
	}
	return ids, nil
}

// extendedView is itemView with extended properties.
func (m *mailbox) extendedView(it *mailItem, immutable bool, wanted []string) (map[string]any, error) {
	v := m.itemView(it.at, immutable)
	if wanted == nil {
		return v, nil
	}
	var list []any
	head, err := m.head(it)
	if err != nil {
		head = &mailHead{class: it.class} // the rest is known without the file
	}
	for _, id := range wanted {
		id, text, ok := m.property(it, head, id)
		if ok {
			list = append(list, map[string]any{"id": id, "value": text})
		}
	}
	if list != nil {
		v[extendedProperties] = list
	}
	return v, nil
}

var (
	taggedID = regexp.MustCompile(`(?i)^(\w+)\s+0x0*([0-9a-f]+)$`)
	namedID  = regexp.MustCompile(`(?i)^(\w+)\s+\{([0-9a-f-]+)\}\s+id\s+0x0*([0-9a-f]+)$`)
)

// property returns an extended property of an item, under its id as the service
// writes it: without leading zeros.
func (m *mailbox) property(it *mailItem, h *mailHead, id string) (canonical, value string, ok bool) {
	text := func(s string) (string, bool) { return s, s != "" }
	at := func(t time.Time) (string, bool) { return t.UTC().Format(time.RFC3339), !t.IsZero() }
	if t := namedID.FindStringSubmatch(id); t != nil {
		canonical = fmt.Sprintf("%s {%s} Id 0x%s", t[1], strings.ToLower(t[2]), strings.ToLower(t[3]))
		switch strings.ToLower(t[1] + t[2] + t[3]) {
		case "systemtime00062002-0000-0000-c000-000000000046820d":
			value, ok = at(h.start)
		case "systemtime00062002-0000-0000-c000-000000000046820e":
			value, ok = at(h.end)
		}
		return canonical, value, ok
	}
	t := taggedID.FindStringSubmatch(id)
	if t == nil {
		return id, "", false
	}
	canonical = t[1] + " 0x" + strings.ToLower(t[2])
	switch strings.ToLower(t[1] + " " + t[2]) {
	case "string 37":
		value, ok = text(h.subject)
	case "string 1a":
		value, ok = text(it.class)
	case "string c1a":
		if h.from != nil {
			value, ok = text(cmp.Or(h.from.Name, h.from.Address))
		}
	case "string c1f", "string 5d01":
		if h.from != nil {
			value, ok = text(h.from.Address)
		}
	case "string e04":
		value, ok = text(namesOf(h.to))
	case "string e03":
		value, ok = text(namesOf(h.cc))
	case "string 1035":
		value, ok = text(h.messageID)
	case "systemtime e06":
		value, ok = it.received.second(), true
	case "systemtime 39":
		value, ok = at(h.sent)
	case "integer e07":
		n := 0
		if it.flags&isRead != 0 {
			n |= 1
		}
		if it.draft() {
			n |= 8
		}
		if h.attached {
			n |= 16
		}
		value, ok = strconv.Itoa(n), true
	case "binary 300b":
		value, ok = base64.StdEncoding.EncodeToString(it.search[:]), it.search != [16]byte{}
	}
	return canonical, value, ok
}

// namesOf lists people as a message's head line does.
func namesOf(list []*mail.Address) string {
	names := make([]string, 0, len(list))
	for _, a := range list {
		names = append(names, cmp.Or(a.Name, a.Address))
	}
	return strings.Join(names, "; ")
}

// draft reports whether a message was never sent.
func (it *mailItem) draft() bool {
	return it.flags&isDraft != 0 || it.at != nil && it.at.in.well == "drafts"
}

// corrupt reports whether an item is one that can be listed and never be read.
func (s *Service) corrupt(it *mailItem) bool {
	end := s.faults.options().Mail.Corrupt
	base, _ := maildirName(it.file.name)
	return it.file.denied || end != "" && strings.HasSuffix(base, end)
}

func mailboxFull() error {
	return fail(http.StatusInsufficientStorage, "ErrorQuotaExceeded", "The mailbox is full.")
}
