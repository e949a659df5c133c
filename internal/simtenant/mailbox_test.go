package simtenant

import (
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// mailbox is the address of a user's mailbox.
func (w *world) mailbox(user string) string {
	w.t.Helper()
	return "/admin/exchange/mailboxes/" + url.PathEscape(w.must(200, "GET", "/users/"+user+"/settings/exchange", nil).text("primaryMailboxId"))
}

// mailPath is a path in a user's mailbox.
func (w *world) mailPath(elem ...string) string {
	return filepath.Join(append([]string{w.cfg.Mail}, elem...)...)
}

// mail writes a message where a program would, and gives it a name.
func (w *world) mail(content string, elem ...string) {
	w.t.Helper()
	w.putFile(w.mailPath(elem...), content)
}

// putFile writes a file, and makes its folders.
func (w *world) putFile(path, content string) {
	w.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) rename(from, to string) {
	w.t.Helper()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(from, to); err != nil {
		w.t.Fatal(err)
	}
}

// message is a small mail.
func message(subject string, lines ...string) string {
	head := append([]string{
		"Received: from a.example by b.example; Thu, 5 Feb 2026 10:00:05 +0000",
		"From: Conrad Nuber <conrad@contoso.com>", "To: amala@contoso.com, Lothar <lothar@contoso.com>",
		"Date: Thu, 5 Feb 2026 10:00:00 +0000", "Subject: " + subject, "Message-ID: <" + subject + "@contoso.com>",
	}, lines...)
	return strings.Join(head, "\r\n") + "\r\n\r\nHello.\r\n"
}

// all follows a list or a delta to its end, and returns its values and the last
// answer.
func (w *world) all(address string, headers ...string) (values []object, last answer) {
	w.t.Helper()
	values, last, there := w.allThere(address, headers...)
	if !there {
		w.t.Fatalf("%s is not found", address)
	}
	return values, last
}

// allThere is all of what may not be found.
func (w *world) allThere(address string, headers ...string) (values []object, last answer, there bool) {
	w.t.Helper()
	for range 10_000 {
		last = w.do("GET", address, nil, headers...)
		switch last.status {
		case 404:
			return nil, last, false
		case 200:
		default:
			w.t.Fatalf("GET %s = %d %s", address, last.status, last.raw)
		}
		for _, v := range last.body["value"].([]any) {
			values = append(values, v.(object))
		}
		if address = last.text("@odata.nextLink"); address == "" {
			return values, last, true
		}
	}
	w.t.Fatalf("%s does not end", address)
	return nil, last, false
}

// mailReplica is what a client knows of a mailbox that follows its deltas.
type mailReplica struct {
	w         *world
	box       string
	immutable bool
	link      string
	folders   map[string]object
	links     map[string]string
	items     map[string]map[string]object // by folder and id
}

func newMailReplica(w *world, user string, immutable bool) *mailReplica {
	return &mailReplica{w: w, box: w.mailbox(user), immutable: immutable, folders: map[string]object{}, links: map[string]string{}, items: map[string]map[string]object{}}
}

func (c *mailReplica) headers() []string {
	h := "odata.maxpagesize=3"
	if c.immutable {
		h += `, IdType="ImmutableId"`
	}
	return []string{"Prefer", h}
}

func (c *mailReplica) follow() {
	c.w.t.Helper()
	if c.link == "" {
		c.link = c.box + "/folders/delta"
	}
	values, last := c.w.all(c.link, c.headers()...)
	c.link = last.text("@odata.deltaLink")
	for _, v := range values {
		id := v["id"].(string)
		if v["@removed"] != nil {
			delete(c.folders, id)
			delete(c.links, id)
			delete(c.items, id)
			continue
		}
		c.folders[id] = v
	}
	for id := range c.folders {
		if c.links[id] == "" {
			c.links[id] = c.box + "/folders/" + url.PathEscape(id) + "/items/delta"
			c.items[id] = map[string]object{}
		}
		values, last, there := c.w.allThere(c.links[id], c.headers()...)
		if !there {
			continue // the next delta of folders says so
		}
		c.links[id] = last.text("@odata.deltaLink")
		for _, v := range values {
			item := v["id"].(string)
			if v["@removed"] != nil {
				delete(c.items[id], item)
				continue
			}
			c.items[id][item] = v
		}
	}
}

// path is a folder's, by the names that are shown.
func (c *mailReplica) path(id string) string {
	f := c.folders[id]
	if f == nil {
		return ""
	}
	return strings.TrimPrefix(c.path(f["parentFolderId"].(string))+"/"+f["displayName"].(string), "/")
}

// tree writes what the replica knows: each folder with the sizes and classes of
// its items.
func (c *mailReplica) tree() map[string][]string {
	out := map[string][]string{}
	for id := range c.folders {
		lines := []string{}
		for _, v := range c.items[id] {
			lines = append(lines, fmt.Sprint(v["type"], " ", v["size"]))
		}
		slices.Sort(lines)
		out[c.path(id)] = lines
	}
	return out
}

// realMail writes what is on disk in the same form. It is for trees whose
// directories are folders of the names that they have.
func realMail(t *testing.T, dir string) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		if e.IsDir() {
			if rel == "Recoverable Items" || e.Name() == "tmp" {
				return filepath.SkipDir
			}
			if rel != "." && e.Name() != "cur" && e.Name() != "new" {
				out[rel] = append(out[rel], []string{}...)
				if out[rel] == nil {
					out[rel] = []string{}
				}
			}
			return nil
		}
		folder, kind := filepath.Dir(rel), "IPM.Note"
		maildir := filepath.Base(folder) == "cur" || filepath.Base(folder) == "new"
		switch ext := filepath.Ext(rel); {
		case maildir:
			folder = filepath.Dir(folder)
		case ext == ".ics":
			kind = "IPM.Appointment"
		case ext == ".vcf":
			kind = "IPM.Contact"
		case ext != ".eml":
			return nil
		}
		if folder == "." {
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		out[folder] = append(out[folder], fmt.Sprint(kind, " ", info.Size()))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for folder := range out {
		slices.Sort(out[folder])
	}
	return out
}

func (c *mailReplica) check(user string) {
	c.w.t.Helper()
	if diff := gocmp.Diff(realMail(c.w.t, c.w.mailPath(user)), c.tree()); diff != "" {
		c.w.t.Fatalf("the replica differs from the files (-files +replica):\n%s", diff)
	}
}

// A new mailbox has the folders that every mailbox has, and mail that any
// program puts there shows.
func TestMailFolders(t *testing.T) {
	w := newWorld(t)
	box := w.mailbox(amala)
	values, _ := w.all(box + "/folders")
	got := map[string]string{}
	for _, v := range values {
		got[fmt.Sprint(v["wellKnownName"])] = fmt.Sprint(v["displayName"], " ", v["type"])
	}
	want := map[string]string{
		"inbox": "Inbox IPF.Note", "drafts": "Drafts IPF.Note", "sentitems": "Sent Items IPF.Note", "deleteditems": "Deleted Items IPF.Note",
		"outbox": "Outbox IPF.Note", "junkemail": "Junk Email IPF.Note", "archive": "Archive IPF.Note", "calendar": "Calendar IPF.Appointment",
		"contacts": "Contacts IPF.Contact", "tasks": "Tasks IPF.Task", "notes": "Notes IPF.StickyNote",
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// Recoverable Items have a root of their own.
	values, _ = w.all(box + "/folders/recoverableitemsroot/childFolders")
	names := []string{}
	for _, v := range values {
		names = append(names, v["wellKnownName"].(string))
	}
	if slices.Sort(names); strings.Join(names, " ") != "recoverableitemsdeletions recoverableitemspurges recoverableitemsversions" {
		t.Errorf("recoverable items: %v", names)
	}

	c := newMailReplica(w, amala, false)
	c.follow()
	c.check(amala)
	w.mail(message("plain"), amala, "Inbox", "a.eml")
	w.mail(message("maildir"), amala, "Inbox", "new", "1.host")
	w.mail("not yet", amala, "Inbox", "tmp", "2.host")
	w.mail("BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nSUMMARY:Lunch\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n", amala, "Calendar", "lunch.ics")
	w.mail("BEGIN:VCARD\r\nFN:Lothar\r\nEND:VCARD\r\n", amala, "Contacts", "lothar.vcf")
	w.mail(message("deep"), amala, "Inbox", "Projekte", "2026", "b.eml")
	w.mail("no mail", amala, "Inbox", "readme.md")
	c.follow()
	c.check(amala)
	w.restart()
	c = &mailReplica{w: w, box: w.mailbox(amala), link: w.here(c.link), folders: c.folders, links: c.links, items: c.items}
	for id, link := range c.links {
		c.links[id] = w.here(link)
	}
	c.follow()
	c.check(amala)
}

// here is a link as it is after a restart, when the port is another.
func (w *world) here(link string) string {
	u, err := url.Parse(link)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.srv.URL + u.RequestURI()
}

// What a program does to a Maildir is a change of the item that it was.
func TestMailFlags(t *testing.T) {
	w := newWorld(t)
	w.mail(message("m"), amala, "Inbox", "new", "1.host")
	box := w.mailbox(amala)
	c := newMailReplica(w, amala, false)
	c.follow()
	inbox := w.must(200, "GET", box+"/folders/inbox", nil).text("id")
	one := func() (id, key string) {
		t.Helper()
		c.follow()
		if len(c.items[inbox]) != 1 {
			t.Fatalf("the inbox has %v", c.items[inbox])
		}
		for id, v := range c.items[inbox] {
			return id, v["changeKey"].(string)
		}
		return
	}
	flags := func(id string) string {
		t.Helper()
		a := w.must(200, "GET", box+"/folders/inbox/items/"+url.PathEscape(id)+"?$expand="+url.QueryEscape("singleValueExtendedProperties($filter=id eq 'Integer 0x0E07')"), nil)
		return a.body["singleValueExtendedProperties"].([]any)[0].(object)["value"].(string)
	}
	id, key := one()
	if got := flags(id); got != "0" {
		t.Errorf("a new message has the flags %s", got)
	}
	at := w.mailPath(amala, "Inbox", "new", "1.host")
	for _, step := range []struct{ to, flags string }{{"1.host:2,", "0"}, {"1.host:2,S", "1"}, {"1.host:2,FRS", "1"}, {"1.host:2,DS", "9"}} {
		to := w.mailPath(amala, "Inbox", "cur", step.to)
		w.rename(at, to)
		at = to
		nextID, nextKey := one()
		if nextID != id {
			t.Fatalf("%s: the id became another", step.to)
		}
		if changed := step.to != "1.host:2,"; changed != (nextKey != key) {
			t.Errorf("%s: the changeKey went from %s to %s", step.to, key, nextKey)
		}
		key = nextKey
		if got := flags(id); got != step.flags {
			t.Errorf("%s: flags %s, want %s", step.to, got, step.flags)
		}
	}
}

// A message that moves has another default id and the same immutable one.
func TestMailMoves(t *testing.T) {
	for _, immutable := range []bool{false, true} {
		w := newWorld(t)
		w.mail(message("m"), amala, "Inbox", "a.eml")
		c := newMailReplica(w, amala, immutable)
		c.follow()
		ids := map[string]bool{}
		folder := map[string]string{}
		for id := range c.folders {
			folder[c.path(id)] = id
		}
		at := "Inbox"
		for range 2 {
			for _, to := range []string{"Archive", "Inbox"} {
				ids[slices.Collect(maps.Keys(c.items[folder[at]]))[0]] = true
				w.rename(w.mailPath(amala, at, "a.eml"), w.mailPath(amala, to, "a.eml"))
				c.follow()
				c.check(amala)
				at = to
			}
		}
		if want := map[bool]int{false: 4, true: 1}[immutable]; len(ids) != want {
			t.Errorf("immutable=%v: %d ids, want %d", immutable, len(ids), want)
		}
	}
}
