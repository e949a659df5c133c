package drive_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
	"holdfast/internal/simtenant"
)

// A tenancy is a client of the simulated tenant, and one user's drive in it.
type tenancy struct {
	*drive.Client
	t      *testing.T
	faults *simtenant.Faults
	user   simtenant.User
	drive  backup.DriveID
	root   backup.ItemID
	folder string // the user's, on disk
}

func newTenancy(t *testing.T, opts simtenant.Options) *tenancy {
	t.Helper()
	dir := t.TempDir()
	x := &tenancy{t: t, faults: new(simtenant.Faults)}
	x.faults.Set(func(o *simtenant.Options) { *o = opts })
	contoso := simtenant.Sample()[0]
	x.user = contoso.Users[0]
	sim, err := simtenant.New(simtenant.Config{
		State: filepath.Join(dir, "state"), Drives: filepath.Join(dir, "drives"),
		Tenants: []simtenant.Tenant{contoso}, Faults: x.faults,
	})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(sim.Handler())
	t.Cleanup(func() {
		srv.Close()
		sim.Close()
	})
	x.folder = filepath.Join(dir, "drives", x.user.UserPrincipalName)
	clk := newClock()
	x.Client = drive.New(drive.Config{
		Graph: srv.URL + "/v1.0", Authority: srv.URL, Tenant: contoso.ID,
		ClientID: contoso.Apps[0].AppID, Credential: drive.Secret(contoso.Apps[0].Secret),
		HTTP: srv.Client(), Clock: clk.Now, Sleep: clk.Sleep,
	})
	d, err := x.UserDrive(t.Context(), x.user.ID)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x.Root(t.Context(), d.ID)
	if err != nil {
		t.Fatal(err)
	}
	x.drive, x.root = d.ID, root.ID
	return x
}

func (x *tenancy) write(name string, content []byte) {
	x.t.Helper()
	path := filepath.Join(x.folder, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, content, 0o644)); err != nil {
		x.t.Fatal(err)
	}
}

func (x *tenancy) move(from, to string) {
	x.t.Helper()
	if err := os.Rename(filepath.Join(x.folder, from), filepath.Join(x.folder, to)); err != nil {
		x.t.Fatal(err)
	}
}

// A mirror is a drive as its deltas tell.
type mirror struct {
	items  map[backup.ItemID]drive.Item
	cursor string
}

// follow takes the changes since m's cursor into m: the last entry of an item
// counts, and a deleted folder takes what still hangs below it.
func (x *tenancy) follow(m *mirror) {
	x.t.Helper()
	if m.items == nil {
		m.items = map[backup.ItemID]drive.Item{}
	}
	last := map[backup.ItemID]drive.Item{}
	changes := x.Delta(x.t.Context(), x.drive, m.cursor)
	for it, err := range changes.All() {
		if err != nil {
			x.t.Fatal(err)
		}
		last[it.ID] = it
	}
	m.cursor = changes.Cursor()
	for id, it := range last {
		if it.Deleted {
			delete(m.items, id)
		} else {
			m.items[id] = it
		}
	}
	for id := range m.items {
		if _, ok := m.path(id); !ok {
			delete(m.items, id)
		}
	}
}

func (m *mirror) path(id backup.ItemID) (string, bool) {
	it, ok := m.items[id]
	if !ok {
		return "", false
	}
	if it.Root {
		return "", true
	}
	up, ok := m.path(it.Parent)
	return up + "/" + it.Name, ok
}

// paths returns what is in m by path: a file's size, or -1.
func (m *mirror) paths() map[string]int64 {
	out := map[string]int64{}
	for id, it := range m.items {
		p, _ := m.path(id)
		switch {
		case it.Root:
		case it.Kind == backup.File:
			out[p] = it.Size
		default:
			out[p] = -1
		}
	}
	return out
}

// disk is what paths is to be.
func (x *tenancy) disk() map[string]int64 {
	x.t.Helper()
	out := map[string]int64{}
	err := filepath.WalkDir(x.folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == x.folder {
			return err
		}
		rel := "/" + filepath.ToSlash(strings.TrimPrefix(path, x.folder+string(filepath.Separator)))
		if d.IsDir() {
			out[rel] = -1
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		out[rel] = info.Size()
		return nil
	})
	if err != nil {
		x.t.Fatal(err)
	}
	return out
}

func (m *mirror) id(path string) backup.ItemID {
	for id := range m.items {
		if p, _ := m.path(id); p == path {
			return id
		}
	}
	return ""
}

// habits are those of the real service that must make no difference.
var habits = map[string]simtenant.Options{
	"plain":    {},
	"awkward":  {PageSize: 3, Shuffle: true, Repeat: true, EmptyPages: true},
	"sparse":   {PageSize: 5, NoAncestors: true, OmitCTag: true, OmitHash: true, OmitPath: true},
	"straight": {StreamContent: true, IgnoreRange: true},
	"retired":  {PreAuth: "retired"},
}

func eachHabit(t *testing.T, f func(t *testing.T, x *tenancy)) {
	for name, opts := range habits {
		t.Run(name, func(t *testing.T) { f(t, newTenancy(t, opts)) })
	}
}

func TestSimTenantDeltaTellsTheFolder(t *testing.T) {
	eachHabit(t, func(t *testing.T, x *tenancy) {
		var m mirror
		check := func(what string) {
			t.Helper()
			x.follow(&m)
			if d := cmp.Diff(x.disk(), m.paths()); d != "" {
				t.Fatalf("%s: %s", what, d)
			}
			if m.cursor == "" {
				t.Fatalf("%s: no cursor", what)
			}
		}
		for i := range 12 {
			x.write(fmt.Sprintf("Docs/Deep/file %d.txt", i), content(i*100))
		}
		x.write("a#b%c 'd'.txt", content(5))
		x.write("Ünïcode/e\u0301 and \u00e9.txt", content(6))
		check("first")
		file := m.id("/Docs/Deep/file 3.txt")
		folder := m.id("/Docs/Deep")
		check("nothing")

		x.write("Docs/Deep/file 3.txt", content(777))
		x.move("Docs/Deep", "Deeper")
		x.move("Deeper/file 4.txt", "file 4 renamed.txt")
		x.write("Docs/new.txt", content(8))
		check("changes and moves")
		if m.id("/Deeper") != folder || m.id("/Deeper/file 3.txt") != file {
			t.Error("a moved item has another id")
		}

		if err := os.RemoveAll(filepath.Join(x.folder, "Deeper")); err != nil {
			t.Fatal(err)
		}
		x.move("Docs", "Deeper")
		check("deletion, and another folder in its place")
	})
}

func TestSimTenantDownloads(t *testing.T) {
	eachHabit(t, func(t *testing.T, x *tenancy) {
		body := content(3 << 20)
		straight := strings.HasSuffix(t.Name(), "/straight") || strings.HasSuffix(t.Name(), "/retired")
		x.write("big.bin", body)
		x.write("empty.bin", nil)
		var m mirror
		x.follow(&m)
		for _, cut := range []int64{0, 1, 1 << 20} {
			if cut > 0 {
				x.faults.Add(simtenant.Fault{
					Match: func(r *http.Request) bool {
						// The file's bytes: after the redirection, or in its place.
						return r.URL.Query().Has("tempauth") || straight && strings.HasSuffix(r.URL.Path, "/content")
					},
					Times:    1,
					Truncate: cut,
				})
			}
			dl, err := x.Download(t.Context(), x.drive, m.id("/big.bin"))
			if err != nil {
				t.Fatal(err)
			}
			got, err := readAll(t, dl)
			if err != nil || !bytes.Equal(got, body) || dl.Proof() != drive.Confirmed {
				t.Errorf("cut at %d: read %d bytes, proof %q, %v", cut, len(got), dl.Proof(), err)
			}
			x.faults.Clear()
		}
		dl, err := x.Download(t.Context(), x.drive, m.id("/empty.bin"))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := readAll(t, dl); err != nil || len(got) != 0 {
			t.Errorf("empty: read %d bytes, %v", len(got), err)
		}
		if _, err := x.Download(t.Context(), x.drive, x.root); !errors.Is(err, drive.ErrNotFile) {
			t.Errorf("root: err = %v, want ErrNotFile", err)
		}
	})
}

func TestSimTenantUploads(t *testing.T) {
	for _, habit := range []string{"plain", "retired"} {
		t.Run(habit, func(t *testing.T) { testUploads(t, newTenancy(t, habits[habit])) })
	}
}

func testUploads(t *testing.T, x *tenancy) {
	ctx := t.Context()
	when := drive.Times{Created: time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC), Modified: time.Date(2011, 2, 3, 4, 5, 6, 0, time.UTC)}
	sub, err := x.CreateFolder(ctx, x.drive, drive.NewItem{Parent: x.root, Name: "new folder", Times: when})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.CreateFolder(ctx, x.drive, drive.NewItem{Parent: x.root, Name: "new folder", Times: when}); !errors.Is(err, drive.ErrExists) {
		t.Errorf("a second folder of that name: err = %v, want ErrExists", err)
	}
	for _, size := range []int{0, 1, 100_000, 10 << 20, 20<<20 + 1} {
		name := fmt.Sprintf("f %d #%%.bin", size)
		body := content(size)
		to := drive.Target{Parent: sub.ID, Name: name}
		it, err := x.Upload(ctx, x.drive, to, bytes.NewReader(body), int64(size), when)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(x.folder, "new folder", name))
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("%s: on disk %d bytes, %v", name, len(got), err)
		}
		if it.Name != name || it.Parent != sub.ID || it.Size != int64(size) || !it.Modified.Equal(when.Modified) {
			t.Errorf("%s: item = %+v", name, it)
		}
		if _, err := x.Upload(ctx, x.drive, to, bytes.NewReader(body), int64(size), when); !errors.Is(err, drive.ErrExists) {
			t.Errorf("%s again: err = %v, want ErrExists", name, err)
		}
		// The content is replaced; the item stays.
		body = content(size + 3)
		over := drive.Target{Item: it.ID, IfMatch: it.ETag}
		next, err := x.Upload(ctx, x.drive, over, bytes.NewReader(body), int64(len(body)), when)
		if err != nil || next.ID != it.ID || next.Hash != hashOf(body) {
			t.Errorf("%s replaced: item = %+v, %v", name, next, err)
		}
		if _, err := x.Upload(ctx, x.drive, over, bytes.NewReader(body), int64(len(body)), when); !errors.Is(err, drive.ErrChanged) {
			t.Errorf("%s replaced by an old tag: err = %v, want ErrChanged", name, err)
		}
	}
}

func TestSimTenantUploadUnderFaults(t *testing.T) {
	x := newTenancy(t, simtenant.Options{})
	body := content(20<<20 + 1)
	put := func(r *http.Request) bool { return r.Method == http.MethodPut }
	x.faults.Add(simtenant.Fault{Match: put, Times: 1, Status: 503})
	x.faults.Add(simtenant.Fault{Match: put, Skip: 1, Times: 1, Status: 429, Header: http.Header{"Retry-After": {"5"}}})
	x.faults.Add(simtenant.Fault{Match: func(r *http.Request) bool { return r.Method == http.MethodPost }, Times: 2, Status: 503})
	it, err := x.Upload(t.Context(), x.drive, drive.Target{Parent: x.root, Name: "big"}, bytes.NewReader(body), int64(len(body)), drive.Times{})
	if err != nil || it.Hash != hashOf(body) {
		t.Errorf("item = %+v, %v", it, err)
	}
}

func TestSimTenantChangesItems(t *testing.T) {
	x := newTenancy(t, simtenant.Options{})
	ctx := t.Context()
	x.write("a.txt", content(10))
	x.write("sub/b.txt", content(20))
	var m mirror
	x.follow(&m)
	a, sub := m.id("/a.txt"), m.id("/sub")
	when := drive.Times{Modified: time.Date(2005, 6, 7, 8, 9, 10, 0, time.UTC)}
	it, err := x.Patch(ctx, x.drive, a, drive.Patch{Name: "A.txt", Parent: sub, Times: &when, IfMatch: m.items[a].ETag})
	if err != nil || it.ID != a || it.Name != "A.txt" || it.Parent != sub || !it.Modified.Equal(when.Modified) {
		t.Errorf("Patch = %+v, %v", it, err)
	}
	if _, err := x.Patch(ctx, x.drive, a, drive.Patch{Name: "x", IfMatch: m.items[a].ETag}); !errors.Is(err, drive.ErrChanged) {
		t.Errorf("by an old tag: err = %v, want ErrChanged", err)
	}
	if _, err := x.Patch(ctx, x.drive, a, drive.Patch{Name: "b.txt"}); !errors.Is(err, drive.ErrExists) {
		t.Errorf("to a taken name: err = %v, want ErrExists", err)
	}
	var names []string
	for it, err := range x.Children(ctx, x.drive, sub) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, it.Name)
	}
	if len(names) != 2 {
		t.Errorf("children = %v", names)
	}
	if err := x.Delete(ctx, x.drive, sub, ""); err != nil {
		t.Error(err)
	}
	if _, err := x.Item(ctx, x.drive, a); !errors.Is(err, drive.ErrNotFound) {
		t.Errorf("below a deleted folder: err = %v, want ErrNotFound", err)
	}
	x.follow(&m)
	if d := cmp.Diff(x.disk(), m.paths()); d != "" {
		t.Error(d)
	}
}

func TestSimTenantDirectory(t *testing.T) {
	x := newTenancy(t, simtenant.Options{PageSize: 2})
	ctx := t.Context()
	want := map[backup.SubjectID]backup.Subject{}
	for _, u := range simtenant.Sample()[0].Users {
		id := backup.SubjectID(u.ID)
		want[id] = backup.Subject{ID: id, Address: u.UserPrincipalName, Mail: u.Mail, DisplayName: u.DisplayName}
	}
	pass := func(cursor string) (map[backup.SubjectID]backup.Subject, string) {
		t.Helper()
		got := map[backup.SubjectID]backup.Subject{}
		changes := x.Users(ctx, cursor)
		for u, err := range changes.All() {
			if err != nil {
				t.Fatal(err)
			}
			got[u.User.ID] = u.User
		}
		return got, changes.Cursor()
	}
	got, cursor := pass("")
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if again, _ := pass(cursor); len(again) != 0 {
		t.Errorf("nothing changed, yet came %v", again)
	}
	found, err := x.FindUsers(ctx, []string{strings.ToUpper(string(x.user.ID)), "Conrad@Contoso.com", "nobody@contoso.com", "00000000-0000-0000-0000-000000000000"})
	if err != nil || len(found) != 2 || found["Conrad@Contoso.com"].DisplayName != "Conrad Nuber" {
		t.Errorf("FindUsers = %v, %v", found, err)
	}
	research := simtenant.Sample()[0].Groups[0]
	var members []backup.ObjectID
	for u, err := range x.GroupMembers(ctx, research.ID) {
		if err != nil {
			t.Fatal(err)
		}
		if u != want[u.ID] {
			t.Errorf("member %+v, want %+v", u, want[u.ID])
		}
		members = append(members, backup.ObjectID(u.ID))
	}
	if d := cmp.Diff(research.Members, members); d != "" {
		t.Error(d)
	}
	for u, err := range x.GroupMembers(ctx, "00000000-0000-0000-0000-000000000000") {
		if !errors.Is(err, drive.ErrNotFound) {
			t.Errorf("members of no group: %v, err = %v, want ErrNotFound", u, err)
		}
	}
	if _, err := x.UserDrive(ctx, "00000000-0000-0000-0000-000000000000"); !errors.Is(err, drive.ErrNotFound) {
		t.Errorf("drive of nobody: err = %v, want ErrNotFound", err)
	}
}

func TestSimTenantLibraries(t *testing.T) {
	x := newTenancy(t, simtenant.Options{})
	ctx := t.Context()
	if _, ok, err := x.FindLibrary(ctx, x.drive, "Restored 1"); ok || err != nil {
		t.Errorf("FindLibrary before = %v, %v", ok, err)
	}
	d, err := x.CreateLibrary(ctx, x.drive, "Restored 1")
	if err != nil {
		t.Fatal(err)
	}
	if d.ID == "" || d.ID == x.drive || d.Name != "Restored 1" || d.SiteID == "" || d.WebURL == "" {
		t.Errorf("CreateLibrary = %+v", d)
	}
	if _, err := x.CreateLibrary(ctx, x.drive, "Restored 1"); !errors.Is(err, drive.ErrExists) {
		t.Errorf("a second one: err = %v, want ErrExists", err)
	}
	if found, ok, err := x.FindLibrary(ctx, x.drive, "restored 1"); !ok || err != nil || found.ID != d.ID {
		t.Errorf("FindLibrary = %+v, %v, %v", found, ok, err)
	}
	root, err := x.Root(ctx, d.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.Upload(ctx, d.ID, drive.Target{Parent: root.ID, Name: "f"}, bytes.NewReader(content(9)), 9, drive.Times{}); err != nil {
		t.Error(err)
	}
}
