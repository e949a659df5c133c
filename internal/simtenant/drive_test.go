package simtenant

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/quickxor"
)

// chdir opens a user's folder, for a program that changes it.
func (w *world) chdir(user string) *os.Root {
	w.t.Helper()
	root, err := os.OpenRoot(w.folder(user))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { root.Close() })
	return root
}

func TestItemsKeepTheirIds(t *testing.T) {
	w := newWorld(t)
	w.write(amala+"/a/one.txt", "one")
	w.write(amala+"/a/sub/two.txt", "two")
	w.write(amala+"/three.txt", "three")
	c := newReplica(w, amala)
	c.follow()
	root := w.chdir(amala)
	try := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		name     string
		do       func()
		from, to string // the item, before and after
		kept     bool
	}{
		{"rename", func() { try(root.Rename("three.txt", "drei.txt")) }, "three.txt", "drei.txt", true},
		{"move", func() { try(root.Rename("drei.txt", "a/sub/drei.txt")) }, "drei.txt", "a/sub/drei.txt", true},
		{"rename a folder", func() { try(root.Rename("a", "b")) }, "a/sub/two.txt", "b/sub/two.txt", true},
		{"move a folder into a new one", func() { try(root.MkdirAll("x/y", 0o755), root.Rename("b", "x/y/b")) }, "b/sub", "x/y/b/sub", true},
		{"turn folders inside out", func() { try(root.Rename("x/y", "y"), root.Rename("x", "y/x")) }, "x", "y/x", true},
		{"save as editors do", func() {
			try(root.WriteFile("y/.tmp", []byte("ONE"), 0o644), root.Rename("y/.tmp", "y/b/one.txt"))
		}, "y/b/one.txt", "y/b/one.txt", true},
		{"save and keep a copy of the old", func() {
			try(root.Rename("y/b/one.txt", "y/b/one.txt~"), root.WriteFile("y/b/one.txt", []byte("won"), 0o644))
		}, "y/b/one.txt", "y/b/one.txt", true},
		{"move and change", func() {
			try(root.Rename("y/b/one.txt", "one.txt"), root.WriteFile("one.txt", []byte("something longer"), 0o644))
		}, "y/b/one.txt", "one.txt", true},
		{"file becomes folder", func() { try(root.Remove("one.txt"), root.Mkdir("one.txt", 0o755)) }, "one.txt", "one.txt", false},
		{"one goes, another comes", func() {
			try(root.Remove("y/b/sub/two.txt"), root.WriteFile("another.txt", []byte("two"), 0o644))
		}, "y/b/sub/two.txt", "another.txt", false},
	} {
		before := c.id(step.from)
		if before == "" {
			t.Fatalf("%s: %s is not known", step.name, step.from)
		}
		step.do()
		c.follow()
		after := c.id(step.to)
		if after == "" || (after == before) != step.kept {
			t.Errorf("%s: %s had id %s, %s has %s", step.name, step.from, before, step.to, after)
		}
	}
}

func TestContentChangesAreFound(t *testing.T) {
	w := newWorld(t)
	root := w.chdir(amala)
	file := filepath.Join(w.folder(amala), "ledger.xls")
	w.write(amala+"/ledger.xls", strings.Repeat("A", 4096))
	when := time.Date(2024, 5, 1, 10, 0, 0, 123456789, time.UTC)
	set := func() {
		if err := root.Chtimes("ledger.xls", time.Time{}, when); err != nil {
			t.Fatal(err)
		}
	}
	set()
	drive := w.drive(amala)
	get := func() answer { return w.must(200, "GET", drive+"/root:/ledger.xls", nil) }
	a := get()
	if got := a.text("fileSystemInfo", "lastModifiedDateTime"); got != "2024-05-01T10:00:00Z" {
		t.Errorf("lastModifiedDateTime = %s", got)
	}
	link := w.must(200, "GET", drive+"/root/delta?token=latest", nil).text("@odata.deltaLink")
	changed := func() (out []string) {
		a := w.must(200, "GET", link, nil)
		link = a.text("@odata.deltaLink")
		for _, name := range values(a, "name") {
			if name != "root" {
				out = append(out, name)
			}
		}
		return out
	}
	// Nothing happens.
	if got := changed(); got != nil {
		t.Errorf("nothing happened, but the delta tells %v", got)
	}
	// Same size, same time, other content: what an encryptor does that hides.
	w.write(amala+"/ledger.xls", strings.Repeat("B", 4096))
	set()
	if got := changed(); !slices.Equal(got, []string{"ledger.xls"}) {
		t.Errorf("after an encryption the delta tells %v", got)
	}
	b := get()
	if b.text("cTag") == a.text("cTag") || b.text("eTag") == a.text("eTag") || b.text("id") != a.text("id") {
		t.Errorf("tags after an encryption: %s, were %s", b.raw, a.raw)
	}
	// Blocks that change places leave quickXorHash as it was, but not the cTag.
	swapped := []byte(strings.Repeat("C", 160) + strings.Repeat("D", 160))
	if err := os.WriteFile(file, swapped, 0o644); err != nil {
		t.Fatal(err)
	}
	set()
	c := get()
	if err := os.WriteFile(file, append(slices.Clone(swapped[160:]), swapped[:160]...), 0o644); err != nil {
		t.Fatal(err)
	}
	set()
	d := get()
	if c.text("file", "hashes", "quickXorHash") != d.text("file", "hashes", "quickXorHash") || c.text("cTag") == d.text("cTag") {
		t.Errorf("after a swap of blocks: %s, was %s", d.raw, c.raw)
	}
	// Only the permissions change: nobody needs to know.
	changed()
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := changed(); got != nil {
		t.Errorf("after chmod the delta tells %v", got)
	}
	// Only the time changes: the content's tag stays.
	when = when.Add(time.Hour)
	set()
	if got := changed(); !slices.Equal(got, []string{"ledger.xls"}) {
		t.Errorf("after touch the delta tells %v", got)
	}
	if e := get(); e.text("cTag") != d.text("cTag") || e.text("eTag") == d.text("eTag") {
		t.Errorf("tags after touch: %s, were %s", e.raw, d.raw)
	}
}

func TestDeltaTokens(t *testing.T) {
	w := newWorld(t)
	for i := range 10 {
		w.write(fmt.Sprintf("%s/d/%d", amala, i), "x")
	}
	drive := w.drive(amala)
	root := w.must(200, "GET", drive+"/root", nil).text("id")
	for _, address := range []string{
		"/root/delta", "/root/delta()", "/items/root/delta", "/items/" + root + "/delta()", "/items('" + root + "')/delta",
		"/root/microsoft.graph.delta()", "/root/delta?token=", "/root:/:/delta",
	} {
		if a := w.must(200, "GET", drive+address, nil); len(values(a, "id")) != 12 || a.text("@odata.deltaLink") == "" {
			t.Errorf("%s tells %d items", address, len(values(a, "id")))
		}
	}
	a := w.must(200, "GET", drive+"/root/delta?%24top=4&select=id,name", nil)
	next := a.text("@odata.nextLink")
	if next == "" || !strings.Contains(next, "root/delta?") || a.text("@odata.deltaLink") != "" {
		t.Fatalf("first page = %s", a.raw)
	}
	for _, v := range a.body["value"].([]any) {
		if m := v.(map[string]any); m["name"] == nil || m["size"] != nil {
			t.Errorf("selected item = %v", m)
		}
	}
	latest := w.must(200, "GET", drive+"/root/delta(token='latest')", nil)
	if len(values(latest, "id")) != 0 {
		t.Errorf("latest tells %s", latest.raw)
	}
	instant := time.Now().UTC().Add(time.Millisecond).Format(time.RFC3339Nano)
	for time.Now().UTC().Format(time.RFC3339Nano) <= instant {
	}
	w.write(amala+"/late.txt", "x")
	for _, link := range []string{latest.text("@odata.deltaLink"), drive + "/root/delta?token=" + instant} {
		if got := values(w.must(200, "GET", link, nil), "name"); !slices.Contains(got, "late.txt") || slices.Contains(got, "3") {
			t.Errorf("%s tells %v", link, got)
		}
	}
	if a := w.must(400, "GET", drive+"/root/delta?token=nonsense", nil); a.text("error", "code") != "invalidRequest" {
		t.Errorf("a token that is none = %s", a.raw)
	}
	w.must(501, "GET", drive+"/root:/d:/delta", nil)

	// A drive whose journal is lost, or whose tombstones are, cannot go on.
	link := latest.text("@odata.deltaLink")
	w.stop()
	journals, err := filepath.Glob(filepath.Join(w.cfg.State, "drives", "*.jsonl"))
	if err != nil || len(journals) == 0 {
		t.Fatal("no journals", err)
	}
	for _, j := range journals {
		if err := os.WriteFile(j, []byte("not a journal\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.start()
	_, query, _ := strings.Cut(link, "?")
	gone := w.must(410, "GET", drive+"/root/delta?"+query, nil)
	if gone.text("error", "code") != "resyncRequired" || !strings.HasSuffix(gone.header.Get("Location"), "/root/delta") {
		t.Errorf("410 = %s, Location %q", gone.raw, gone.header.Get("Location"))
	}
	w.must(200, "GET", gone.header.Get("Location"), nil)
}

func TestTombstonesAreForgottenAtLast(t *testing.T) {
	w := newWorld(t)
	w.write(amala+"/x", "x")
	c := newReplica(w, amala)
	c.follow()
	p := place{site: w.svc.folders[amala], library: documents}
	err := w.svc.with(p, func(d *drive) error {
		st, err := d.statSelf(d.root)
		if err != nil {
			return err
		}
		for i := range keepTombstones + 2 {
			st.kind = isFile
			it := d.create(d.root, "gone "+strconv.Itoa(i), st)
			d.detach(it)
			d.bury(it)
		}
		return d.compact()
	})
	if err != nil {
		t.Fatal(err)
	}
	w.must(410, "GET", c.link, nil)
	w.restart()
	c.link = ""
	c.follow()
	if got := len(c.items); got != 2 {
		t.Errorf("%d items, want 2", got)
	}
	c.follow()
}

func TestTornJournal(t *testing.T) {
	w := newWorld(t)
	w.write(amala+"/a/x", "x")
	c := newReplica(w, amala)
	c.follow()
	id := c.id("a/x")
	w.stop()
	journals, err := filepath.Glob(filepath.Join(w.cfg.State, "drives", "*.jsonl"))
	if err != nil || len(journals) != 1 {
		t.Fatal(journals, err)
	}
	f, err := os.OpenFile(journals[0], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"s":99,"i":"01TORN`); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		w.start()
		w.write(amala+"/a/y", "y")
		c.rebase()
		c.follow()
		if got := c.id("a/x"); got != id || c.id("a/y") == "" {
			t.Errorf("a/x has id %s, had %s", got, id)
		}
		w.stop()
	}
}

func TestNoDrive(t *testing.T) {
	w := newWorld(t)
	drive := w.drive(conrad)
	w.write(conrad+"/x", "x")
	w.must(200, "GET", drive+"/root:/x", nil)
	if err := os.Rename(w.folder(conrad), w.folder("elsewhere")); err != nil {
		t.Fatal(err)
	}
	if a := w.must(404, "GET", "/users/"+conrad+"/drive", nil); a.text("error", "code") != "ResourceNotFound" || a.text("error", "message") != "User's mysite not found." {
		t.Errorf("no drive = %s", a.raw)
	}
	w.must(404, "GET", drive+"/root/delta", nil)
	if err := os.Symlink(w.folder(amala), w.folder(conrad)); err != nil {
		t.Fatal(err)
	}
	w.must(404, "GET", drive+"/root", nil)
	if err := errors.Join(os.Remove(w.folder(conrad)), os.Rename(w.folder("elsewhere"), w.folder(conrad))); err != nil {
		t.Fatal(err)
	}
	w.must(200, "GET", drive+"/root:/x", nil)
}

func TestWhatIsNotShown(t *testing.T) {
	w := newWorld(t)
	w.write("outside.txt", "secret")
	w.write(amala+"/real/file.txt", "x")
	dir := w.folder(amala)
	if err := errors.Join(
		os.Symlink("../outside.txt", filepath.Join(dir, "link.txt")),
		os.Symlink("..", filepath.Join(dir, "up")),
		os.Symlink("real", filepath.Join(dir, "inside")),
		os.WriteFile(filepath.Join(dir, "bad\xff.txt"), []byte("x"), 0o644),
	); err != nil {
		t.Fatal(err)
	}
	c := newReplica(w, amala)
	c.follow()
	if got := fmt.Sprint(len(c.items)); got != "3" {
		t.Errorf("%s items: %v", got, c.items)
	}
	for _, p := range []string{"link.txt", "up/outside.txt", "up", "inside", "inside/file.txt"} {
		if a := w.do("GET", c.drive+"/root:/"+p, nil); a.status == 200 {
			t.Errorf("%s is shown: %s", p, a.raw)
		}
	}
	// Nor can they be overwritten.
	if a := w.do("PUT", c.drive+"/root:/link.txt:/content", "mine"); a.status != 409 {
		t.Errorf("PUT over a link = %d %s", a.status, a.raw)
	}
	if a := w.do("PUT", c.drive+"/root:/up/outside.txt:/content", "mine"); a.status < 400 {
		t.Errorf("PUT through a link = %d", a.status)
	}
	if got := w.read("outside.txt"); got != "secret" {
		t.Errorf("outside.txt = %q", got)
	}
}

func TestUnreadableFilesAreShown(t *testing.T) {
	w := newWorld(t)
	w.write(amala+"/locked.txt", "x")
	p := place{site: w.svc.folders[amala], library: documents}
	err := w.svc.with(p, func(d *drive) error {
		if err := d.scan(t.Context()); err != nil {
			return err
		}
		it := d.root.children["locked.txt"]
		denied := &reading{it: it, path: "locked.txt", err: &fs.PathError{Op: "open", Path: "locked.txt", Err: fs.ErrPermission}}
		if err := d.learn(denied); err != nil {
			return err
		}
		v := (&viewer{d: d, delta: true}).view(it)
		if v.Name != "locked.txt" || v.File.Hashes["quickXorHash"] != "" || v.CTag != "" {
			t.Errorf("an unreadable file is shown as %+v", v)
		}
		seq := d.seq
		if err := d.learn(denied); err != nil {
			return err
		}
		if d.seq != seq {
			t.Error("an unreadable file is told again though nothing changed")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	c := newReplica(w, amala)
	c.follow() // by now it can be read
	if it := c.items[c.id("locked.txt")]; it.hash == "" || it.ctag == "" {
		t.Errorf("once it can be read: %+v", it)
	}
}

func TestAddresses(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"plain.txt", "Ünï/100% #1.txt", "a:b/c:d.txt", "o'neil (1).txt", "x/children/y.txt", "root:/z.txt", "NFC-\u00e9.txt"} {
		w.write(amala+"/"+name, name)
	}
	drive := w.drive(amala)
	id := func(p string) string {
		t.Helper()
		return w.must(200, "GET", drive+"/root:/"+p, nil).text("id")
	}
	x := id("x")
	for _, c := range []struct{ address, name string }{
		{"/root", "root"}, {"/items/root", "root"}, {"/root:/", "root"}, {"/root:", "root"},
		{"/root:/plain.txt", "plain.txt"}, {"/root:/plain.txt:", "plain.txt"}, {"/root:/PLAIN.TXT", "plain.txt"},
		{"/root:/%C3%9Cn%C3%AF/100%25%20%231.txt", "100% #1.txt"}, {"/root:/%c3%9cn%c3%af%2F100%25%20%231.txt", "100% #1.txt"},
		{"/root:/.%2Fplain.txt", "plain.txt"}, {"/root:/./x//children/y.txt", "y.txt"},
		{"/root:/a:b/c:d.txt", "c:d.txt"}, {"/root:/a%3Ab/c%3Ad.txt:", "c:d.txt"},
		{"/root:/o'neil%20(1).txt", "o'neil (1).txt"}, {"/root:/root:/z.txt", "z.txt"},
		{"/root:/NFC-e%CC%81.txt", "NFC-\u00e9.txt"},
		{"/items/" + x, "x"}, {"/items('" + x + "')", "x"}, {"/items/" + x + ":", "x"}, {"/items/" + x + ":/", "x"},
		{"/items/" + x + ":/children/y.txt", "y.txt"}, {"/items/" + x + ":/children/y.txt:", "y.txt"},
		{"/items/root:/plain.txt", "plain.txt"},
		{"/root%3A%2Fplain.txt", "plain.txt"}, {"/root%3A%2Fplain.txt%3A", "plain.txt"}, {"/root%3a%2fplain.txt%3a", "plain.txt"},
		{"/items/root%3A%2F%C3%9Cn%C3%AF%2F100%25%20%231.txt%3A", "100% #1.txt"}, {"/items/" + x + "%3A%2Fchildren%2Fy.txt%3A", "y.txt"},
		{"/items/root%3A%2Fa%3Ab%2Fc%3Ad.txt%3A", "c:d.txt"}, {"/root:%2Fplain.txt:", "plain.txt"}, {"/root%3A/x/children/y.txt%3A", "y.txt"},
		{"/items/root%3A", "root"}, {"/items/" + x + "%3A%2F", "x"}, {"/items('root%3A%2Fplain.txt%3A')", "plain.txt"},
	} {
		if a := w.do("GET", drive+c.address, nil); a.status != 200 || a.text("name") != c.name {
			t.Errorf("GET %s = %d %s, want %s", c.address, a.status, a.raw, c.name)
		}
	}
	for _, address := range []string{"/root:/plain.txt:/content", "/items/root%3A%2Fplain.txt%3A/content", "/root%3A%2Fplain.txt%3A/microsoft.graph.contentStream"} {
		if got := w.do("GET", drive+address, nil); got.status != 200 || string(got.raw) != "plain.txt" {
			t.Errorf("GET %s = %d %s", address, got.status, got.raw)
		}
	}
	w.must(201, "PUT", drive+"/items/root%3A%2Fnew%2Fby%20an%20SDK.txt%3A/content", "sdk")
	if got := w.read(amala + "/new/by an SDK.txt"); got != "sdk" {
		t.Errorf("what an SDK wrote is %q", got)
	}
	for address, status := range map[string]int{
		"/root%3A%2Fmissing.txt%3A": 404, "/root%3A%2F..%2Famala%3A": 400,
		"/root:/missing.txt": 404, "/root:/../amala": 400, "/root:/plain.txt/below": 404, "/items/01NOSUCH": 404, "/items": 404,
		"/root:/plain.txt:/children": 404, "/root/analytics": 501, "/root:/plain.txt:/preview": 501, "/root/nonsense": 404, "/special/nonsense": 404,
	} {
		if a := w.do("GET", drive+address, nil); a.status != status || a.text("error", "code") == "" {
			t.Errorf("GET %s = %d %s, want %d", address, a.status, a.raw, status)
		}
	}
	for _, prefix := range []string{"/V1.0", "/beta", "/_api/v2.0", "/_api/v2.1"} {
		w.must(200, "GET", w.srv.URL+prefix+drive+"/root:/plain.txt", nil)
	}
	for _, other := range []string{
		strings.Replace(drive, "!", "%21", 1), "/drives('" + strings.TrimPrefix(drive, "/drives/") + "')", drive + "/",
		"/users/" + amala + "/drive", "/users/" + amala + "/drives/" + strings.TrimPrefix(drive, "/drives/"),
	} {
		w.must(200, "GET", other, nil)
		w.must(200, "GET", strings.TrimSuffix(other, "/")+"/root:/plain.txt", nil)
	}
	if a := w.do("DELETE", drive, nil); a.status != 405 || a.header.Get("Allow") == "" {
		t.Errorf("DELETE of a drive = %d", a.status)
	}
	// The exact name comes before one that differs in case.
	w.write(amala+"/Plain.txt", "other")
	if id("Plain.txt") == id("plain.txt") {
		t.Error("two names that differ in case are one item")
	}
}

func TestSelect(t *testing.T) {
	w := newWorld(t)
	w.write(amala+"/x.txt", "x")
	drive := w.drive(amala)
	a := w.must(200, "GET", drive+"/root:/x.txt?$select=Name,size,sharepointIds,content.downloadUrl", nil)
	if a.text("name") != "x.txt" || a.text("eTag") != "" || a.text("@microsoft.graph.downloadUrl") == "" || a.text("sharepointIds", "tenantId") != string(w.cfg.Tenants[0].ID) {
		t.Errorf("selected = %s", a.raw)
	}
	a = w.must(200, "GET", drive+"/?select=quota", nil)
	if a.text("quota", "used") != "1" || a.text("name") != "" {
		t.Errorf("quota = %s", a.raw)
	}
	a = w.must(200, "GET", drive+"/root/delta?$select=id,@microsoft.graph.downloadUrl", nil)
	if got := values(a, "@microsoft.graph.downloadUrl"); !slices.ContainsFunc(got, func(u string) bool { return strings.Contains(u, "tempauth=") }) {
		t.Errorf("URLs in a delta = %v", got)
	}
}

func TestDownload(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	w.stop()
	w.cfg.Clock = func() time.Time { return now }
	w.start()
	w.write(amala+"/data.bin", "0123456789")
	drive := w.drive(amala)
	direct := *w.client
	direct.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	w.client = &direct
	a := w.must(302, "GET", drive+"/root:/data.bin:/content", nil)
	where := a.header.Get("Location")
	if !strings.HasPrefix(where, w.srv.URL) || !strings.Contains(where, "tempauth=") {
		t.Fatalf("Location = %q", where)
	}
	if b := w.must(200, "GET", where, nil, "Authorization", ""); string(b.raw) != "0123456789" || b.header.Get("Content-Length") != "10" {
		t.Errorf("content = %q, %v", b.raw, b.header)
	}
	if b := w.must(206, "GET", where, nil, "Range", "bytes=3-5"); string(b.raw) != "345" || b.header.Get("Content-Range") != "bytes 3-5/10" {
		t.Errorf("range = %q, %v", b.raw, b.header)
	}
	w.must(416, "GET", where, nil, "Range", "bytes=10-")
	w.must(200, "GET", where, nil, "Authorization", "Bearer "+w.token)
	item := w.must(200, "GET", drive+"/root:/data.bin", nil)
	for _, tag := range []string{item.text("eTag"), item.text("cTag"), "*"} {
		w.must(304, "GET", drive+"/root:/data.bin:/content", nil, "If-None-Match", tag)
	}
	if b := w.must(401, "GET", where[:len(where)-4]+"AAAA", nil); b.text("error", "code") != "unauthenticated" {
		t.Errorf("a forged URL = %s", b.raw)
	}
	// The URL goes with the item, not with its place; a new state has a new body.
	if err := os.Rename(filepath.Join(w.folder(amala), "data.bin"), filepath.Join(w.folder(amala), "moved.bin")); err != nil {
		t.Fatal(err)
	}
	w.must(200, "GET", where, nil)
	now = now.Add(2 * time.Hour)
	if b := w.must(401, "GET", where, nil); b.text("error", "innerError", "code") != "expiredToken" {
		t.Errorf("an expired URL = %s", b.raw)
	}
	now = now.Add(-2 * time.Hour)
	w.must(400, "GET", drive+"/root/content", nil)
	w.must(404, "GET", drive+"/root:/nothing:/content", nil)

	w.faults.Set(func(o *Options) { o.StreamContent = true })
	if b := w.must(206, "GET", drive+"/root:/moved.bin:/content", nil, "Range", "bytes=-2"); string(b.raw) != "89" {
		t.Errorf("range in one answer = %q", b.raw)
	}
	w.faults.Set(func(o *Options) { o.IgnoreRange = true })
	if b := w.must(200, "GET", where, nil, "Range", "bytes=-2"); string(b.raw) != "0123456789" {
		t.Errorf("an ignored range = %q", b.raw)
	}
}

func TestFaults(t *testing.T) {
	w := newWorld(t)
	w.write(amala+"/data.bin", strings.Repeat("x", 100_000))
	drive := w.drive(amala)
	deltas := func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/delta") }
	w.faults.Add(Fault{Match: deltas, Skip: 1, Times: 2, Status: 429, Header: http.Header{"Retry-After": {"7"}}, Body: `{"error":{"code":"activityLimitReached"}}`})
	for i, want := range []int{200, 429, 429, 200} {
		a := w.do("GET", drive+"/root/delta", nil)
		if a.status != want || want == 429 && (a.header.Get("Retry-After") != "7" || a.text("error", "code") != "activityLimitReached") {
			t.Errorf("delta %d = %d %s, want %d", i, a.status, a.raw, want)
		}
	}
	w.faults.Add(Fault{Status: 503})
	if a := w.do("GET", drive, nil); a.status != 503 || len(a.raw) != 0 {
		t.Errorf("a fault without a body = %d %s", a.status, a.raw)
	}
	w.faults.Clear()
	url := w.must(200, "GET", drive+"/root:/data.bin", nil).text("@microsoft.graph.downloadUrl")
	w.faults.Add(Fault{Match: func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, downloadPrefix) }, Times: 1, Truncate: 1000})
	resp, err := w.client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 200_000)
	n := 0
	for err == nil {
		var k int
		k, err = resp.Body.Read(buf[n:])
		n += k
	}
	resp.Body.Close()
	if n != 1000 || err.Error() == "EOF" {
		t.Errorf("a truncated download has %d bytes and ends with %v", n, err)
	}
	w.must(200, "GET", url, nil)
	w.faults.Set(func(o *Options) { *o = Options{OmitCTag: true, OmitHash: true, OmitPath: true, PageSize: 1} })
	a := w.must(200, "GET", w.must(200, "GET", drive+"/root/delta", nil).text("@odata.nextLink"), nil)
	for _, what := range []string{"cTag", "parentReference/path", "file/hashes/quickXorHash"} {
		if got := values(a, strings.Split(what, "/")...); strings.Join(got, "") != "" {
			t.Errorf("%s is told: %v", what, got)
		}
	}
}

func TestChangesByClients(t *testing.T) {
	w := newWorld(t)
	drive := w.drive(amala)
	times := map[string]any{"createdDateTime": "2019-01-02T03:04:05Z", "lastModifiedDateTime": "2020-01-02T03:04:05.5+01:00"}
	a := w.must(201, "POST", drive+"/root/children", map[string]any{"name": "Docs", "folder": map[string]any{"childCount": 0}, "fileSystemInfo": times})
	docs := a.text("id")
	if a.text("fileSystemInfo", "lastModifiedDateTime") != "2020-01-02T02:04:05Z" || a.text("createdDateTime") != "2019-01-02T03:04:05Z" {
		t.Errorf("a new folder = %s", a.raw)
	}
	// Names that are taken.
	mkdir := func(how string) answer {
		return w.do("POST", drive+"/root/children", map[string]any{"name": "Docs", "folder": map[string]any{}, "@microsoft.graph.conflictBehavior": how})
	}
	if a := mkdir(""); a.status != 409 || a.text("error", "code") != "nameAlreadyExists" {
		t.Errorf("mkdir again = %d %s", a.status, a.raw)
	}
	if a := mkdir("replace"); a.status != 200 || a.text("id") != docs {
		t.Errorf("mkdir with replace = %d %s", a.status, a.raw)
	}
	for _, want := range []string{"Docs 1", "Docs 2"} {
		if a := mkdir("rename"); a.status != 201 || a.text("name") != want {
			t.Errorf("mkdir with rename = %d %s", a.status, a.raw)
		}
	}
	w.must(400, "POST", drive+"/root/children", map[string]any{"name": "x/y", "folder": map[string]any{}})
	w.must(400, "POST", drive+"/root/children", map[string]any{"name": "x"})
	w.must(404, "POST", drive+"/items/01NOSUCH/children", map[string]any{"name": "x", "folder": map[string]any{}})
	w.must(400, "POST", drive+"/root/children", map[string]any{"name": strings.Repeat("n", 300), "folder": map[string]any{}})

	// Small uploads.
	put := w.must(201, "PUT", drive+"/items/"+docs+":/f.txt:/content", "one")
	id, tag := put.text("id"), put.text("eTag")
	if got := w.must(200, "PUT", drive+"/items/"+id+"/content", "two", "If-Match", tag); got.text("id") != id || got.text("cTag") == put.text("cTag") {
		t.Errorf("a second upload = %s", got.raw)
	}
	if a := w.must(412, "PUT", drive+"/items/"+id+"/content", "three", "If-Match", tag); a.text("error", "code") != "resourceModified" {
		t.Errorf("an upload with an old tag = %s", a.raw)
	}
	w.must(409, "PUT", drive+"/root:/Docs/f.txt:/content?@microsoft.graph.conflictBehavior=fail", "x")
	if a := w.must(201, "PUT", drive+"/root:/Docs/f.txt:/content?@microsoft.graph.conflictBehavior=rename", "x"); a.text("name") != "f 1.txt" {
		t.Errorf("an upload with rename = %s", a.raw)
	}
	w.must(409, "PUT", drive+"/root:/Docs:/content", "x")
	w.must(412, "PUT", drive+"/root:/new.txt:/content", "x", "If-Match", tag)
	w.must(412, "PUT", drive+"/root:/Docs/f.txt:/content", "x", "If-None-Match", "*")
	w.must(201, "PUT", drive+"/root:/Docs/first.txt:/content", "x", "If-None-Match", "*")
	w.must(201, "PUT", drive+"/root:/empty:/content", nil)
	w.must(200, "PUT", drive+"/root:/Docs/f.txt:/content", "three")
	if got := w.read(amala + "/Docs/f.txt"); got != "three" {
		t.Errorf("the file holds %q", got)
	}

	// Rename, move, times.
	old := w.must(200, "GET", drive+"/items/"+id, nil)
	a = w.must(200, "PATCH", drive+"/items/"+id, map[string]any{
		"name": "g.txt", "parentReference": map[string]any{"id": w.must(200, "GET", drive+"/root", nil).text("id"), "path": "", "driveType": ""},
		"fileSystemInfo": times,
	}, "If-Match", old.text("eTag"))
	if a.text("name") != "g.txt" || a.text("cTag") != old.text("cTag") || a.text("eTag") == old.text("eTag") || a.text("fileSystemInfo", "createdDateTime") != "2019-01-02T03:04:05Z" {
		t.Errorf("PATCH = %s, was %s", a.raw, old.raw)
	}
	info, err := os.Stat(filepath.Join(w.folder(amala), "g.txt"))
	if err != nil || !info.ModTime().Equal(time.Date(2020, 1, 2, 2, 4, 5, 5e8, time.UTC)) {
		t.Errorf("the file's time is %v, %v", info, err)
	}
	w.must(409, "PATCH", drive+"/items/"+id, map[string]any{"name": "Docs"})
	w.must(400, "PATCH", drive+"/items/"+docs, map[string]any{"parentReference": map[string]any{"id": docs}})
	w.must(400, "PATCH", drive+"/items/"+id, map[string]any{"parentReference": map[string]any{"driveId": "b!other"}})
	w.must(403, "PATCH", drive+"/root", map[string]any{"name": "x"})
	w.must(412, "PATCH", drive+"/items/"+id, map[string]any{"name": "x"}, "If-Match", `"{X},1"`)
	w.must(200, "PATCH", drive+"/items/"+id, map[string]any{"name": "G.TXT"})
	w.must(400, "PATCH", drive+"/items/"+id, `{"fileSystemInfo":{"lastModifiedDateTime":"yesterday"}}`)
	if a := w.must(200, "PATCH", drive+"/items/"+docs, map[string]any{"parentReference": map[string]any{"path": "/drive/root:/Docs%201"}}); a.text("parentReference", "name") != "Docs 1" {
		t.Errorf("a move by path = %s", a.raw)
	}

	// What is deleted goes to the bin, whole.
	w.must(412, "DELETE", drive+"/items/"+docs, nil, "If-Match", `"{X},1"`)
	w.must(204, "DELETE", drive+"/items/"+docs, nil)
	w.must(404, "GET", drive+"/items/"+docs, nil)
	w.must(404, "DELETE", drive+"/items/"+docs, nil)
	w.must(403, "DELETE", drive+"/root", nil)
	if binned, _ := filepath.Glob(filepath.Join(w.cfg.Drives, ".recycle", amala, "*-"+docs, "Docs", "f 1.txt")); len(binned) != 1 {
		t.Errorf("in the bin: %v", binned)
	}
	w.must(204, "POST", drive+"/items/"+id+"/permanentDelete", nil)
	if binned, _ := filepath.Glob(filepath.Join(w.cfg.Drives, ".recycle", amala, "*-"+id)); len(binned) != 0 {
		t.Errorf("in the bin after permanentDelete: %v", binned)
	}
}

// The real service takes names for one that differ in case or in the spelling
// of accents, writes into Office files, and states of some what they are not.
func TestHabitsOfWriting(t *testing.T) {
	w := newWorld(t)
	drive := w.drive(amala)
	w.faults.Set(func(o *Options) { *o = Options{FoldNames: true, Rewrite: "!", Misstate: ".heic"} })
	first := w.must(201, "PUT", drive+"/root:/%C3%84.txt:/content", "one")
	w.must(409, "PUT", drive+"/root:/A%CC%88.TXT:/content?@microsoft.graph.conflictBehavior=fail", "two")
	if again := w.must(200, "PUT", drive+"/root:/a%CC%88.txt:/content", "two"); again.text("id") != first.text("id") || again.text("name") != "Ä.txt" {
		t.Errorf("under another spelling = %s", again.raw)
	}
	w.must(409, "POST", drive+"/root/children", map[string]any{"name": "ä.TXT", "folder": map[string]any{}})
	docs := w.must(201, "PUT", drive+"/root:/a.docx:/content", "four")
	if got := w.read(amala + "/a.docx"); got != "four!" || docs.body["size"] != 5.0 {
		t.Errorf("the document holds %q, stated as %s", got, docs.raw)
	}
	if photo := w.must(201, "PUT", drive+"/root:/a.heic:/content", "photograph"); photo.body["size"] != 5.0 || photo.text("file", "hashes", "quickXorHash") != misstated {
		t.Errorf("the photo is stated as %s", photo.raw)
	}
	if got := w.read(amala + "/a.heic"); got != "photograph" {
		t.Errorf("the photo holds %q", got)
	}
}

// A file system keeps times that nanoseconds in one number do not; so does a
// drive, and its journal.
func TestTimesFarAway(t *testing.T) {
	w := newWorld(t)
	drive := w.drive(amala)
	for name, at := range map[string]string{"late.txt": "2300-01-02T03:04:05.25Z", "later.txt": "2444-12-31T23:59:59Z", "usual.txt": "2020-01-02T03:04:05Z"} {
		put := w.must(201, "PUT", drive+"/root:/"+name+":/content", "x")
		times := map[string]any{"createdDateTime": "1601-01-02T03:04:05Z", "lastModifiedDateTime": at}
		w.must(200, "PATCH", drive+"/items/"+put.text("id"), map[string]any{"fileSystemInfo": times})
		for _, when := range []string{"set", "read from the journal"} {
			got := w.must(200, "GET", drive+"/items/"+put.text("id"), nil)
			if got.text("fileSystemInfo", "lastModifiedDateTime") != strings.Replace(at, ".25", "", 1) || got.text("fileSystemInfo", "createdDateTime") != times["createdDateTime"] {
				t.Errorf("%s, %s: %s", name, when, got.raw)
			}
			w.stop()
			w.start()
			drive = w.drive(amala)
		}
		info, err := os.Stat(filepath.Join(w.folder(amala), name))
		if err != nil || info.ModTime().UTC().Format(time.RFC3339Nano) != at {
			t.Errorf("the file's time is %v, %v", info.ModTime().UTC(), err)
		}
	}
}

// What an earlier version wrote into a journal is still read.
func TestMoment(t *testing.T) {
	for text, want := range map[string]time.Time{
		"1600000000500000000": time.Unix(1_600_000_000, 500_000_000), "-1": time.Unix(-1, 999_999_999), "0": time.Unix(0, 0),
		"[10413792000,7]": time.Date(2300, 1, 1, 0, 0, 0, 7, time.UTC), "[-11644473600,0]": time.Date(1601, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		var m moment
		if err := json.Unmarshal([]byte(text), &m); err != nil || !m.time().Equal(want) {
			t.Errorf("%s is %v, %v, want %v", text, m.time(), err, want)
		}
		if again, err := json.Marshal(momentOf(want)); err != nil || string(again) != text {
			t.Errorf("%v is written as %s, %v", want, again, err)
		}
	}
}

// A client that sends all before it reads hears why it was refused.
func TestARefusalIsHeardByWhoIsStillSending(t *testing.T) {
	w := newWorld(t)
	up := w.must(200, "POST", w.drive(amala)+"/root:/big.bin:/createUploadSession", nil).text("uploadUrl")
	u, err := url.Parse(up)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const n = 32 << 20 // more than any buffer on the way
	if _, err := fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: %s\r\nContent-Range: bytes 1-%d/%d\r\nContent-Length: %d\r\n\r\n", u.RequestURI(), u.Host, n, n+1, n); err != nil {
		t.Fatal(err)
	}
	if sent, err := conn.Write(make([]byte, n)); err != nil {
		t.Fatalf("the connection was closed after %d bytes: %v", sent, err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || answer.StatusCode != 416 {
		t.Errorf("it answered %v, %v", answer, err)
	}
}

func TestUploadSession(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	w.stop()
	w.cfg.Clock = func() time.Time { return now }
	w.start()
	drive := w.drive(amala)
	data := make([]byte, 2*fragmentUnit+1000)
	rand.Read(data)
	start := func(address string, body any, headers ...string) string {
		t.Helper()
		a := w.must(200, "POST", drive+address+"/createUploadSession", body, headers...)
		if got := a.body["nextExpectedRanges"].([]any)[0]; got != "0-" {
			t.Errorf("nextExpectedRanges = %v", got)
		}
		return a.text("uploadUrl")
	}
	send := func(to string, from, end, total int) answer {
		t.Helper()
		return w.do("PUT", to, data[from:end], "Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, end-1, total))
	}
	up := start("/root:/deep/er/big.bin:", map[string]any{"item": map[string]any{
		"@microsoft.graph.conflictBehavior": "fail", "name": "big.bin",
		"fileSystemInfo": map[string]any{"createdDateTime": "2018-01-01T00:00:00Z", "lastModifiedDateTime": "2018-02-01T00:00:00.25Z"},
	}})
	n := len(data)
	check := func(what string, a answer, status int, inner string) {
		t.Helper()
		if a.status != status || a.text("error", "innerError", "code") != inner {
			t.Errorf("%s = %d %s, want %d %s", what, a.status, a.raw, status, inner)
		}
	}
	check("a late fragment", send(up, fragmentUnit, n, n), 416, "fragmentOutOfOrder")
	check("an odd fragment", send(up, 0, 1000, n), 400, "fragmentLengthMismatch")
	check("the first fragment", send(up, 0, fragmentUnit, n), 202, "")
	check("the first fragment again", send(up, 0, fragmentUnit, n), 416, "fragmentOverlap")
	check("another total", send(up, fragmentUnit, 2*fragmentUnit, n+1), 400, "fragmentLengthMismatch")
	check("no range", w.do("PUT", up, data), 400, "")
	if a := w.must(200, "GET", up, nil); fmt.Sprint(a.body["nextExpectedRanges"]) != fmt.Sprintf("[%d-%d]", fragmentUnit, n-1) {
		t.Errorf("the session says %s", a.raw)
	}
	// A body that ends early is as if it had not been sent.
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "PUT", up, &cutShort{data: data[fragmentUnit : fragmentUnit+100], cancel: cancel})
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = fragmentUnit
	req.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", fragmentUnit, 2*fragmentUnit-1, n))
	if resp, err := w.client.Do(req); err == nil {
		resp.Body.Close()
		t.Error("a request that was cut off was answered")
	}
	if _, err := os.Stat(filepath.Join(w.folder(amala), "deep/er/big.bin")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is there before the upload has ended: %v", err)
	}
	check("the second fragment", send(up, fragmentUnit, 2*fragmentUnit, n), 202, "")
	done := send(up, 2*fragmentUnit, n, n)
	check("the last fragment", done, 201, "")
	sum := quickxor.Sum(data)
	if done.text("file", "hashes", "quickXorHash") != quickxor.Encode(sum[:]) || done.text("fileSystemInfo", "lastModifiedDateTime") != "2018-02-01T00:00:00Z" ||
		done.text("fileSystemInfo", "createdDateTime") != "2018-01-01T00:00:00Z" {
		t.Errorf("uploaded %s", done.raw)
	}
	if w.read(amala+"/deep/er/big.bin") != string(data) {
		t.Error("the file holds something else")
	}
	check("a session that has ended", w.do("GET", up, nil), 404, "uploadSessionNotFound")
	id := done.text("id")

	// Into an item that is there: its id stays.
	up = start("/items/"+id, nil, "If-Match", done.text("eTag"))
	if a := send(up, 0, 100, 100); a.status != 200 || a.text("id") != id {
		t.Errorf("an upload into an item = %d %s", a.status, a.raw)
	}
	w.must(412, "POST", drive+"/items/"+id+"/createUploadSession", nil, "If-Match", done.text("eTag"))
	w.must(409, "POST", drive+"/root:/deep/er/big.bin:/createUploadSession", map[string]any{"item": map[string]any{"@microsoft.graph.conflictBehavior": "fail"}})
	w.must(400, "POST", drive+"/root:/x:/createUploadSession", map[string]any{"item": map[string]any{"name": "y"}})
	w.must(400, "POST", drive+"/root/createUploadSession", nil)
	// A name taken while bytes were sent.
	up = start("/root:/late.bin:", map[string]any{"item": map[string]any{"@name.conflictBehavior": "fail"}})
	w.write(amala+"/late.bin", "mine")
	check("a name taken meanwhile", send(up, 0, 100, 100), 409, "")
	// A commit that waits to be told.
	up = start("/root:/wait.bin:", map[string]any{"deferCommit": true})
	check("the last fragment of a deferred commit", send(up, 0, 100, 100), 202, "")
	w.must(404, "GET", drive+"/root:/wait.bin", nil)
	w.must(201, "POST", up, nil)
	w.must(200, "GET", drive+"/root:/wait.bin", nil)
	// Cancelled, expired, and lost with the process.
	up = start("/root:/never.bin:", nil)
	w.must(204, "DELETE", up, nil)
	check("a cancelled session", send(up, 0, 100, 100), 404, "uploadSessionNotFound")
	up = start("/root:/never.bin:", nil)
	now = now.Add(sessionLife + time.Second)
	check("an expired session", send(up, 0, 100, 100), 404, "uploadSessionNotFound")
	w.token = w.signIn("contoso.com", url.Values{"grant_type": {"client_credentials"}, "scope": {".default"},
		"client_id": {w.cfg.Tenants[0].Apps[0].AppID}, "client_secret": {w.cfg.Tenants[0].Apps[0].Secret}})
	up = start("/root:/never.bin:", nil)
	w.restart()
	check("a session of another process", send(w.srv.URL+up[strings.Index(up, uploadPrefix):], 0, 100, 100), 404, "uploadSessionNotFound")
	if left, _ := os.ReadDir(w.svc.staging); len(left) != 0 {
		t.Errorf("left in the upload folder: %v", left)
	}
}

// cutShort is a body that breaks off.
type cutShort struct {
	data   []byte
	cancel func()
}

func (c *cutShort) Read(p []byte) (int, error) {
	if len(c.data) == 0 {
		c.cancel()
		return 0, context.Canceled
	}
	n := copy(p, c.data)
	c.data = c.data[n:]
	return n, nil
}

func TestPlayManyFilesInOneFolder(t *testing.T) {
	w := newWorld(t)
	dir := w.folder(amala)
	want := map[string]bool{}
	for i := range 5000 {
		name := fmt.Sprintf("file %d.txt", i)
		want[name] = true
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	drive := w.drive(amala)
	for _, address := range []string{"/root/children", "/root/children?$top=1000", "/root/delta?$top=999"} {
		got := map[string]bool{}
		for link := drive + address; link != ""; {
			a := w.must(200, "GET", link, nil)
			names, hashes := values(a, "name"), values(a, "file", "hashes", "quickXorHash")
			for i, name := range names {
				if want[name] && hashes[i] != "" {
					got[name] = true
				}
			}
			if len(names) > 1001 {
				t.Errorf("a page of %d items", len(names))
			}
			link = a.text("@odata.nextLink")
		}
		if len(got) != len(want) {
			t.Errorf("%s gave %d of %d files", address, len(got), len(want))
		}
	}
	w.must(400, "GET", drive+"/root/children?$skiptoken=!", nil)
	a := w.must(200, "GET", drive+"/root", nil)
	if a.text("folder", "childCount") != "5000" {
		t.Errorf("childCount = %s", a.text("folder", "childCount"))
	}
	// A file that has just come is listed, and counted.
	w.write(amala+"/0 new", "x")
	if got := values(w.must(200, "GET", drive+"/root/children?$top=1", nil), "name"); !slices.Equal(got, []string{"0 new"}) {
		t.Errorf("first child = %v", got)
	}
	if a := w.must(200, "GET", drive+"/root", nil); a.text("folder", "childCount") != "5001" {
		t.Errorf("childCount = %s", a.text("folder", "childCount"))
	}
}

func TestLibraries(t *testing.T) {
	w := newWorld(t)
	drive := w.drive(amala)
	siteID := w.must(200, "GET", drive+"/root", nil).text("parentReference", "siteId")
	site := "/sites/" + siteID
	make := func(name string) answer {
		return w.do("POST", site+"/lists", map[string]any{"displayName": name, "list": map[string]any{"template": "documentLibrary"}})
	}
	a := make("DocumentsR0")
	if a.status != 201 || a.text("webUrl") != "https://contoso-my.sharepoint.com/personal/amala_contoso_com/DocumentsR0" {
		t.Fatalf("a new library = %d %s", a.status, a.raw)
	}
	lib := w.must(200, "GET", site+"/lists/"+a.text("id")+"/drive", nil)
	if lib.text("name") != "DocumentsR0" || lib.text("id") == strings.TrimPrefix(drive, "/drives/") {
		t.Errorf("its drive = %s", lib.raw)
	}
	w.must(201, "PUT", "/drives/"+lib.text("id")+"/root:/x.txt:/content", "x")
	if got := w.read(amala + ".DocumentsR0/x.txt"); got != "x" {
		t.Errorf("the library's file holds %q", got)
	}
	w.must(404, "GET", drive+"/root:/x.txt", nil)
	w.restart()
	w.must(200, "GET", "/drives/"+lib.text("id")+"/root:/x.txt", nil)
	for _, address := range []string{"/users/" + amala + "/drives", site + "/drives", "/sites/" + strings.Split(siteID, ",")[1] + "/drives"} {
		if got := values(w.must(200, "GET", address, nil), "name"); !slices.Equal(got, []string{"OneDrive", "DocumentsR0"}) {
			t.Errorf("%s = %v", address, got)
		}
	}
	if got := values(w.must(200, "GET", site+"/lists", nil), "displayName"); !slices.Equal(got, []string{"Documents", "DocumentsR0"}) {
		t.Errorf("lists = %v", got)
	}
	for name, status := range map[string]int{"DocumentsR0": 409, "documentsr0": 409, "Documents": 409, "": 400, "a/b": 400, ".x": 400} {
		if a := make(name); a.status != status {
			t.Errorf("a library named %q = %d %s, want %d", name, a.status, a.raw, status)
		}
	}
	w.must(501, "POST", site+"/lists", map[string]any{"displayName": "x", "list": map[string]any{"template": "genericList"}})
	w.must(404, "GET", site+"/lists/nothing/drive", nil)
	if err := os.RemoveAll(w.folder(amala + ".DocumentsR0")); err != nil {
		t.Fatal(err)
	}
	w.must(404, "GET", "/drives/"+lib.text("id")+"/root", nil)
}

// A user's name may begin with another's.
func TestLibrariesOfUsersWithLikeNames(t *testing.T) {
	w := newWorld(t)
	w.stop()
	tenant := &w.cfg.Tenants[0]
	tenant.Users = append(tenant.Users, User{ID: "dddddddd-0000-4000-8000-000000000001", UserPrincipalName: amala + ".au"})
	w.start()
	w.must(200, "GET", "/users/"+amala+".au/drive", nil)
	if got := values(w.must(200, "GET", "/users/"+amala+"/drives", nil), "name"); !slices.Equal(got, []string{"OneDrive"}) {
		t.Errorf("drives = %v", got)
	}
	site := site{tenant: w.svc.byOrder[0], user: w.svc.byOrder[0].users[amala]}
	for _, name := range []string{"au", "au.x"} {
		if a := w.do("POST", "/sites/"+site.id()+"/lists", map[string]any{"displayName": name, "list": map[string]any{"template": "documentLibrary"}}); a.status != 409 {
			t.Errorf("library %q = %d %s", name, a.status, a.raw)
		}
	}
}

func TestDrivesWorkSideBySide(t *testing.T) {
	w := newWorld(t)
	var wg sync.WaitGroup
	for _, u := range w.cfg.Tenants[0].Users {
		upn := u.UserPrincipalName
		for range 2 {
			wg.Go(func() {
				drive := w.do("GET", "/users/"+upn+"/drive", nil).text("id")
				for i := range 10 {
					a := w.do("PUT", "/drives/"+drive+"/root:/"+strconv.Itoa(i)+":/content", upn)
					b := w.do("GET", "/drives/"+drive+"/root/delta", nil)
					if a.status >= 300 || b.status != 200 {
						t.Errorf("%d %s, %d", a.status, a.raw, b.status)
					}
				}
			})
		}
	}
	wg.Wait()
}

// Clients tell a deleted folder from a deleted file by the facet, also after
// the service was started anew.
func TestDeletedItemsCarryTheirFacet(t *testing.T) {
	w := newWorld(t)
	w.write(amala+"/folder/file.txt", "x")
	c := newReplica(w, amala)
	c.follow()
	folder, file := c.id("folder"), c.id("folder/file.txt")
	link := c.link
	w.must(204, "DELETE", c.drive+"/items/"+folder, nil)
	told := func() map[string]object {
		t.Helper()
		out := map[string]object{}
		for _, v := range w.must(200, "GET", link, nil).body["value"].([]any) {
			if v := v.(object); v["deleted"] != nil {
				out[v["id"].(string)] = v
			}
		}
		return out
	}
	for range 2 {
		got := told()
		if v := got[folder]; v["folder"] == nil || v["file"] != nil || v["name"] != nil {
			t.Errorf("the deleted folder is told as %v", v)
		}
		if v := got[file]; v["file"] == nil || v["folder"] != nil || v["name"] != nil {
			t.Errorf("the deleted file is told as %v", v)
		}
		w.restart()
		c.link = link
		c.rebase()
		link = c.link
	}
	w.faults.Set(func(o *Options) { o.BareTombstones = true })
	for id, v := range told() {
		if v["file"] != nil || v["folder"] != nil {
			t.Errorf("with bare tombstones, %s is told as %v", id, v)
		}
	}
}

// Bodies may come compressed, as Microsoft's Go client sends them.
func TestCompressedBodies(t *testing.T) {
	w := newWorld(t)
	pack := func(text string) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write([]byte(text))
		z.Close()
		return b.Bytes()
	}
	drive := w.drive(amala)
	w.must(201, "POST", drive+"/root/children", pack(`{"name":"dir","folder":{}}`), "Content-Encoding", "gzip", "Content-Type", "application/json")
	w.must(201, "PUT", drive+"/root:/dir/a.txt:/content", pack("hello"), "Content-Encoding", "gzip")
	if got := w.read(amala + "/dir/a.txt"); got != "hello" {
		t.Errorf("the file is %q", got)
	}
	up := w.must(200, "POST", drive+"/root:/dir/b.txt:/createUploadSession", pack(`{}`), "Content-Encoding", "gzip")
	w.must(201, "PUT", up.text("uploadUrl"), pack("fragment"), "Content-Encoding", "gzip", "Content-Range", "bytes 0-7/8")
	if a := w.must(200, "POST", "/$batch", pack(`{"requests":[{"id":"1","method":"GET","url":"`+drive+`"}]}`), "Content-Encoding", "gzip"); !strings.Contains(string(a.raw), `"status":200`) {
		t.Errorf("the batch: %s", a.raw)
	}
	for _, body := range []string{"", "no gzip"} {
		r := httptest.NewRequest("POST", "/v1.0/$batch", strings.NewReader(body))
		r.Header.Set("Content-Encoding", "gzip")
		if paths, ok := ReadBatch(r); ok {
			t.Errorf("of %q a batch was read: %v", body, paths)
		}
	}
	r := httptest.NewRequest("POST", "/v1.0/$batch", bytes.NewReader(pack(`{"requests":[{"id":"1","method":"GET","url":"/users"}]}`)))
	r.Header.Set("Content-Encoding", "gzip")
	if paths, ok := ReadBatch(r); !ok || len(paths) != 1 || paths[0] != "/v1.0/users" {
		t.Errorf("of a batch that is compressed were read %v", paths)
	}
	w.must(400, "POST", drive+"/root/children", `{"name":"x","folder":{}}`, "Content-Encoding", "gzip")
	w.must(400, "PUT", drive+"/root:/dir/c.txt:/content", pack("hello")[:12], "Content-Encoding", "gzip")
	w.must(415, "POST", drive+"/root/children", `{"name":"x","folder":{}}`, "Content-Encoding", "br")
}
