package vault

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"holdfast/internal/backup"
)

// Every item of a drive whose index has split is found by what its key says.
// browse returns all that a folder holds from a place on.
func browse(v *Vault, tree string, folder backup.ItemID, from int64) (all []Listed, err error) {
	for l, err := range v.Browse(context.Background(), tree, folder, from) {
		if err != nil {
			return all, err
		}
		all = append(all, l)
	}
	return all, nil
}

func TestPlayItemsAreFoundByTheirKeys(t *testing.T) {
	v, _ := newVault(t)
	u := begin(t, v, Sealed{})
	u.Put(folder("root", "", "root"))
	u.Put(folder("sub", "root", "sub"))
	u.Put(folder("deep", "sub", "deep"))
	u.Put(file(t, u, "f", "deep", "f.txt", "12345"))
	for i := range 1200 {
		u.Put(folder(fmt.Sprintf("id-%d", i), "root", fmt.Sprintf("n%04d", i)))
	}
	s := seal(t, u, noon)
	total := 0
	for n, err := range v.Walk(t.Context(), s.Tree) {
		if err != nil {
			t.Fatal(err)
		}
		total++
		got, ok, err := v.Find(t.Context(), s.Tree, backup.RefOf(n.ID))
		if err != nil || !ok || got.ID != n.ID || got.Path != n.Path {
			t.Fatalf("Find(%s) = %+v, %v, %v", n.ID, got, ok, err)
		}
	}
	if root, ok, err := v.Find(t.Context(), s.Tree, backup.ItemRef{}); err != nil || !ok || root.ID != "root" || root.Items != int64(total-1) || root.Bytes != 5 {
		t.Errorf("the root folder = %+v, %v, %v", root, ok, err)
	}
	if _, ok, err := v.Find(t.Context(), s.Tree, backup.RefOf("nobody")); ok || err != nil {
		t.Errorf("Find of an unknown item = %v, %v", ok, err)
	}
	in, err := browse(v, s.Tree, "sub", 0)
	if err != nil || len(in) != 1 || in[0].Path != "sub/deep" || in[0].Items != 1 || in[0].Bytes != 5 {
		t.Errorf("Browse(sub) = %+v, %v", in, err)
	}
	for _, id := range []backup.ItemID{"f", "nobody"} {
		if _, err := browse(v, s.Tree, id, 0); !errors.Is(err, ErrNotFound) {
			t.Errorf("Browse(%s) = %v", id, err)
		}
	}
	var below []string
	for n, err := range v.WalkBelow(t.Context(), s.Tree, "sub") {
		if err != nil {
			t.Fatal(err)
		}
		below = append(below, n.Path)
	}
	if fmt.Sprint(below) != "[sub sub/deep sub/deep/f.txt]" {
		t.Errorf("WalkBelow(sub) = %v", below)
	}
	for _, err := range v.WalkBelow(t.Context(), s.Tree, "nobody") {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("WalkBelow(nobody) = %v", err)
		}
	}
}

// What is kept of what was read lately has a bound.
func TestKeepersAreBounded(t *testing.T) {
	k := keeper[leaf]{most: 4}
	for i := range 5 {
		k.add(fmt.Sprint(i), leaf{"a": "x", "b": "y"})
	}
	if _, ok := k.get("4"); !ok || k.items != 4 || len(k.held) != 2 {
		t.Errorf("kept are %v", k.held)
	}
}
