package simtenant

import (
	"bytes"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/quickxor"
)

// newPopulated is a world whose first tenant is made up.
func newPopulated(t *testing.T, p Population) *world {
	w := newWorld(t)
	w.stop()
	w.cfg.Tenants, w.cfg.Population = []Tenant{p.Tenant()}, &p
	w.start()
	return w
}

// told is what a whole enumeration tells of a drive, by id.
func (w *world) told(user string) map[string]string {
	w.t.Helper()
	out := map[string]string{}
	link := w.drive(user) + "/root/delta"
	for link != "" {
		a := w.must(200, "GET", link, nil)
		for _, v := range a.body["value"].([]any) {
			it := v.(object)
			delete(it, "eTag")
			out[it["id"].(string)] = fmt.Sprint(it["name"], it["size"], it["fileSystemInfo"], it["file"], it["parentReference"].(object)["id"])
		}
		link = a.text("@odata.nextLink")
	}
	return out
}

// The same seed makes the same tenant, on any machine and after any restart, and
// nothing of it on disk.
func TestPopulationFollowsFromItsSeed(t *testing.T) {
	p := Population{Seed: 7, Users: 3, Files: 900, Size: 2000}
	w := newPopulated(t, p)
	users := w.cfg.Tenants[0].Users
	first := map[string]map[string]string{}
	files := 0
	for _, u := range users {
		first[u.UserPrincipalName] = w.told(u.UserPrincipalName)
		for _, line := range first[u.UserPrincipalName] {
			if strings.Contains(line, "quickXorHash") {
				files++
			}
		}
	}
	if files != p.Files {
		t.Errorf("there are %d files, want %d", files, p.Files)
	}
	w.restart()
	other := newPopulated(t, p)
	for _, u := range users {
		// The root is a real folder, whose times are the disk's.
		root := w.must(200, "GET", w.drive(u.UserPrincipalName)+"/root", nil).text("id")
		for _, again := range []*world{w, other} {
			got := again.told(u.UserPrincipalName)
			if len(got) != len(first[u.UserPrincipalName]) {
				t.Errorf("%d items, had %d", len(got), len(first[u.UserPrincipalName]))
			}
			for id, line := range first[u.UserPrincipalName] {
				if got[id] != line && id != root {
					t.Errorf("%s is %s, was %s", id, got[id], line)
				}
			}
		}
	}
	size := int64(0)
	for _, dir := range []string{w.cfg.Drives, w.cfg.State} {
		filepath.WalkDir(dir, func(_ string, e os.DirEntry, err error) error {
			if info, ierr := e.Info(); err == nil && ierr == nil && info.Mode().IsRegular() {
				size += info.Size()
			}
			return nil
		})
	}
	if size > 20_000 { // keys, and a line or two for each drive
		t.Errorf("it takes %d bytes on disk", size)
	}
	p.Seed++
	if another := newPopulated(t, p); another.cfg.Tenants[0].Users[0].ID == users[0].ID {
		t.Error("another seed makes the same user")
	}
}

// A made content is the one that its hash is of, in whole and in parts.
func TestMadeContents(t *testing.T) {
	w := newPopulated(t, Population{Seed: 1, Users: 1, Files: 40, Size: 20_000})
	drive := w.drive(w.cfg.Tenants[0].Users[0].UserPrincipalName)
	seen := 0
	for _, v := range w.must(200, "GET", drive+"/root/delta", nil).body["value"].([]any) {
		it := v.(object)
		if it["file"] == nil {
			continue
		}
		seen++
		a := w.must(200, "GET", drive+"/items/"+it["id"].(string)+"/content", nil)
		h := quickxor.New()
		h.Write(a.raw)
		if got := quickxor.Encode(h.Sum(nil)); float64(len(a.raw)) != it["size"] || got != it["file"].(object)["hashes"].(object)["quickXorHash"] {
			t.Errorf("%s: %d bytes of %s, told %v", it["name"], len(a.raw), got, it)
		}
		if from, to := len(a.raw)/3, len(a.raw)*2/3; to > from {
			part := w.must(206, "GET", drive+"/items/"+it["id"].(string)+"/contentStream", nil, "Range", fmt.Sprintf("bytes=%d-%d", from, to))
			if !bytes.Equal(part.raw, a.raw[from:to+1]) {
				t.Errorf("%s: the part is another", it["name"])
			}
		}
	}
	if seen != 40 {
		t.Errorf("%d files", seen)
	}
	it := &item{id: "x", made: 1, size: 10_000}
	c := it.madeContent()
	all, _ := io.ReadAll(c)
	for _, at := range []int64{9999, 0, 4095, 4096, 8191} {
		c.Seek(at, io.SeekStart)
		one := []byte{0}
		if _, err := io.ReadFull(c, one); err != nil || one[0] != all[at] {
			t.Errorf("the byte at %d is %d, %v; want %d", at, one[0], err, all[at])
		}
	}
}

// What clients and other programs do to a made drive is done, and outlives the
// process; the ids stay.
func TestMadeDrivesCanBeChanged(t *testing.T) {
	w := newPopulated(t, Population{Seed: 3, Users: 1, Files: 200, Size: 500})
	user := w.cfg.Tenants[0].Users[0].UserPrincipalName
	drive := w.drive(user)
	c := newReplica(w, user)
	c.follow()
	paths := func() (files, folders []string) {
		for id, it := range c.items {
			if p, ok := c.path(id); ok && id != c.root && !it.folder {
				files = append(files, p)
			} else if ok && id != c.root {
				folders = append(folders, p)
			}
		}
		slices.Sort(files)
		slices.Sort(folders)
		return files, folders
	}
	files, folders := paths()
	at := func(p string) string {
		names := strings.Split(p, "/")
		for i := range names {
			names[i] = url.PathEscape(names[i])
		}
		return drive + "/root:/" + strings.Join(names, "/")
	}
	deep := slices.MaxFunc(files, func(a, b string) int { return strings.Count(a, "/") - strings.Count(b, "/") })
	id := c.id(deep)
	was := string(w.must(200, "GET", at(deep)+":/content", nil).raw)

	w.must(200, "PUT", at(deep)+":/content", "written")
	if got := w.read(user + "/" + deep); got != "written" {
		t.Errorf("on disk, it is %q", got)
	}
	versions := w.must(200, "GET", at(deep)+":/versions", nil)
	old := versions.body["value"].([]any)[1].(object)["id"].(string)
	if got := string(w.must(200, "GET", at(deep)+":/versions/"+old+"/content", nil).raw); got != was {
		t.Errorf("its earlier content is %d bytes, want %d", len(got), len(was))
	}
	w.must(200, "PATCH", at(files[0]), object{"name": "renamed.txt"})
	w.must(200, "PATCH", at(files[1]), object{"parentReference": object{"id": w.must(200, "GET", drive+"/root", nil).text("id")}, "fileSystemInfo": object{"lastModifiedDateTime": "2001-02-03T04:05:06Z"}})
	w.must(201, "POST", at(folders[len(folders)-1])+":/children", object{"name": "new", "folder": object{}})
	w.must(204, "DELETE", at(files[2]), nil)
	gone := c.id(files[2])
	deleted := folders[len(folders)/2]
	w.must(204, "DELETE", at(deleted), nil)
	w.must(202, "POST", at(files[3])+":/copy", object{"name": "copied.txt"})
	w.write(user+"/by another.txt", "program")
	c.follow()
	want := c.tree()
	if c.id(deep) != id && !strings.HasPrefix(deep, deleted+"/") {
		t.Error("a file that was written to has another id")
	}
	w.restart()
	drive = w.drive(user)
	again := newReplica(w, user)
	again.follow()
	for p, line := range want {
		if again.tree()[p] != line {
			t.Errorf("after a restart, %s is %s, was %s", p, again.tree()[p], line)
		}
	}
	if len(again.tree()) != len(want) {
		t.Errorf("after a restart, there are %d items, were %d", len(again.tree()), len(want))
	}
	// A made item that was deleted is in the recycle bin like any other.
	w.must(200, "POST", drive+"/items/"+gone+"/restore", nil)
	if got := w.must(200, "GET", at(files[2]), nil).text("id"); got != gone {
		t.Errorf("restored, it has the id %s, had %s", got, gone)
	}
	// Another program's file takes a made one's place.
	p := files[4]
	w.write(user+"/"+p, "another program's")
	if got := string(w.must(200, "GET", at(p)+":/content", nil).raw); got != "another program's" {
		t.Errorf("%s holds %q", p, got)
	}
	again.rebase()
	again.follow()
	if again.id(p) != c.id(p) {
		t.Error("what another program put in its place has another id")
	}
}

// Churn follows from the seed, and a delta tells all of it.
func TestChurn(t *testing.T) {
	p := Population{Seed: 9, Users: 2, Files: 300, Size: 300}
	trees := []map[string]string{}
	for range 2 {
		w := newPopulated(t, p)
		user := w.cfg.Tenants[0].Users[0].UserPrincipalName
		c := newReplica(w, user)
		c.follow()
		before := len(c.tree())
		if err := w.svc.Churn(400); err != nil {
			t.Fatal(err)
		}
		if changed := c.follow(); len(changed) < 50 {
			t.Errorf("%d items changed", len(changed))
		}
		whole := newReplica(w, user)
		whole.follow()
		for p, line := range whole.tree() {
			if c.tree()[p] != line {
				t.Errorf("%s is %s, followed as %s", p, line, c.tree()[p])
			}
		}
		if n := len(c.tree()); n != len(whole.tree()) || n == before {
			t.Errorf("%d items, followed as %d, before %d", len(whole.tree()), n, before)
		}
		names := map[string]string{}
		for p := range whole.tree() {
			names[p] = whole.id(p)
		}
		trees = append(trees, names)
	}
	if len(trees[0]) != len(trees[1]) {
		t.Errorf("%d items, and %d another time", len(trees[0]), len(trees[1]))
	}
	for p, id := range trees[0] {
		if trees[1][p] != id {
			t.Errorf("%s is %s, and %s another time", p, id, trees[1][p])
		}
	}
	w := newWorld(t)
	if err := w.svc.Churn(1); err == nil {
		t.Error("a tenant of real folders is churned")
	}
}

// Nothing changes while a state is saved: what is saved is of one moment.
func TestNothingIsChurnedWhileAStateIsSaved(t *testing.T) {
	w := newPopulated(t, Population{Seed: 9, Users: 60, Files: 600, Size: 10})
	control, err := NewControl(w.svc)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		for range 10 {
			if err := w.svc.Churn(40); err != nil {
				done <- err
				return
			}
		}
		close(done)
	}()
	for n := 0; ; n++ {
		select {
		case err := <-done:
			if err != nil || n == 0 {
				t.Errorf("saved %d times, %v", n, err)
			}
			return
		default:
		}
		if err := control.Save("again"); err != nil {
			t.Fatal(err)
		}
	}
}
