package vault

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/backup"
)

// library seals a part: a root folder and the files that are named, whose ids are
// the same in each library, as may be at the source.
func library(t *testing.T, v *Vault, id backup.DriveID, tree string, at time.Time, files ...string) Part {
	t.Helper()
	u, err := v.BeginPart(t.Context(), DriveKey{key.Tenant, id}, tree)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	u.Put(folder("root", "", "root"))
	for _, name := range files {
		u.Put(file(t, u, name, "root", name, "of "+string(id)+": "+name))
	}
	s := seal(t, u, at)
	if s.Root != "" {
		t.Errorf("a part has the root %s", s.Root)
	}
	return Part{Drive: id, Tree: s.Tree, Files: s.Files, Folders: s.Folders, Bytes: s.Bytes}
}

func TestAPointOfParts(t *testing.T) {
	v, cfg := newVault(t)
	one, two := library(t, v, "b!one", "", noon, "a.txt"), library(t, v, "b!two", "", noon, "a.txt", "b.txt")
	one.Name, two.Name = "Documents", "sub/Documents"
	site := DriveKey{key.Tenant, "site"}
	info := PointInfo{Unit: "unit", Workload: backup.SharePoint, Unread: []backup.Unread{{Item: "x", Path: "Documents/x", Code: backup.ResourceLocked}}}
	first, err := v.SealParts(t.Context(), site, "", "", noon, info, []Part{two, one})
	if err != nil || !first.Changed || first.Files != 3 || first.Bytes != one.Bytes+two.Bytes {
		t.Fatalf("SealParts = %+v, %v", first, err)
	}
	again, err := v.SealParts(t.Context(), site, first.Root, first.Tree, noon.Add(time.Hour), info, []Part{one, two})
	if err != nil || again.Changed || again.Root != first.Root || again.Tree != first.Tree {
		t.Errorf("SealParts of the same = %+v, %v", again, err)
	}

	changed := library(t, v, "b!one", one.Tree, noon.Add(2*time.Hour), "c.txt")
	changed.Name = "Papers" // and renamed
	second, err := v.SealParts(t.Context(), site, first.Root, first.Tree, noon.Add(2*time.Hour), PointInfo{Unit: "unit", Workload: backup.SharePoint}, []Part{changed})
	if err != nil || !second.Changed {
		t.Fatalf("SealParts = %+v, %v", second, err)
	}

	// Another process reads it.
	cfg.State = t.TempDir()
	v = openVault(t, cfg)
	for _, tt := range []struct {
		tree string
		want []Part
	}{
		{first.Tree, []Part{one, two}}, {second.Tree, []Part{changed}},
	} {
		got, err := v.Parts(t.Context(), tt.tree)
		if err != nil || !cmp.Equal(got, tt.want) {
			t.Errorf("Parts = %v, %s", err, cmp.Diff(tt.want, got))
		}
	}
	if got := names(t, v, two.Tree); !slices.Equal(got, []string{"", "a.txt", "b.txt"}) {
		t.Errorf("the second library = %q", got)
	}
	if got := names(t, v, changed.Tree); !slices.Equal(got, []string{"", "a.txt", "c.txt"}) {
		t.Errorf("the first library, changed = %q", got)
	}
	for _, err := range v.Walk(t.Context(), first.Tree) {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("Walk of a tree of parts = %v", err)
		}
	}
	points, err := v.Points(t.Context(), site)
	if err != nil || len(points) != 2 || points[0].Tree != first.Tree || points[0].Err != nil || points[0].Unread != 1 || points[0].Info.Workload != backup.SharePoint || points[1].Files != 2 {
		t.Errorf("Points = %+v, %v", points, err)
	}
	if _, err := v.Maintain(t.Context(), fixed(map[DriveKey]string{site: second.Root})); err != nil {
		t.Error(err)
	}
	if found := verified(t, v, first.Tree, second.Tree); len(found) > 0 {
		t.Errorf("damaged: %q", found)
	}
	if root, err := v.Expire(t.Context(), site, second.Root, map[string]bool{second.Tree: true}); err != nil || root == second.Root {
		t.Errorf("Expire = %s, %v", root, err)
	}
}

// A damaged file is found by the library that it is in, a library whose own folders
// are damaged leaves the point and its other libraries readable, and begins anew
// from what can be read of it.
func TestADamagedPart(t *testing.T) {
	v, cfg := newVault(t)
	older := library(t, v, "b!one", "", noon, "a.txt")
	one := library(t, v, "b!one", older.Tree, noon, "new.txt")
	two := library(t, v, "b!two", "", noon, "a.txt", "b.txt")
	one.Name, two.Name = "Documents", "Papers"
	site := DriveKey{key.Tenant, "site"}
	s, err := v.SealParts(t.Context(), site, "", "", noon, PointInfo{}, []Part{one, two})
	if err != nil {
		t.Fatal(err)
	}
	bad := paths(t, v, two.Tree)["b.txt"].Content
	for _, object := range []string{bad, one.Tree} {
		info := whereIs(t, v, object)
		flipBit(t, cfg, info.PackBlobID, int(info.PackOffset+info.PackedLength/2))
	}
	cfg.State = t.TempDir()
	v = openVault(t, cfg)
	if found := verified(t, v, s.Tree); !slices.Equal(found, []string{"file b.txt Papers/b.txt", "point  Documents"}) {
		t.Errorf("damaged: %q", found)
	}
	if points, err := v.Points(t.Context(), site); err != nil || len(points) != 1 || points[0].Err != nil {
		t.Errorf("Points = %+v, %v", points, err)
	}
	if parts, err := v.Parts(t.Context(), s.Tree); err != nil || len(parts) != 2 {
		t.Errorf("Parts = %+v, %v", parts, err)
	}
	// What cannot be read is carried on, and what could not be taken over from
	// the point before is refused.
	if next, err := v.SealParts(t.Context(), site, s.Root, s.Tree, noon.Add(time.Hour), PointInfo{}, []Part{one, two}); err != nil || next.Changed {
		t.Errorf("SealParts beside a damaged part = %+v, %v", next, err)
	}
	if _, err := v.SealParts(t.Context(), site, "", "", noon.Add(time.Hour), PointInfo{}, []Part{one, two}); !errors.Is(err, ErrDamaged) {
		t.Errorf("SealParts of a damaged part = %v, want ErrDamaged", err)
	}
	u, newest, err := v.BeginPartAnew(t.Context(), DriveKey{key.Tenant, "b!one"}, one.Tree, older.Tree)
	if err != nil || newest != older.Tree {
		t.Fatalf("BeginPartAnew = %s, %v", newest, err)
	}
	u.Close()
}
