package simtenant

import (
	"strings"
	"testing"
)

// The id of an item spells the GUID that its tags have, as in what the real service
// answers; all ids of a drive begin alike.
func TestItemIDsSpellTheirGUIDs(t *testing.T) {
	if got := (&item{id: "01NKDM7HMOJTVYMDOSXFDK2QJDXCDI3WUK"}).guid(); got != "86EB4C8E-D20D-46B9-AD41-23B8868DDA8A" {
		t.Errorf("the GUID is %s", got)
	}
	w := newWorld(t)
	var ids []string
	for _, name := range []string{"a.txt", "b.txt"} {
		put := w.must(201, "PUT", w.drive(amala)+"/root:/"+name+":/content", "x")
		id := put.text("id")
		if guid := (&item{id: id}).guid(); guid[14] != '4' || !strings.Contains(put.text("cTag"), "{"+guid+"}") {
			t.Errorf("the tag %s is not of %s, %s", put.text("cTag"), id, guid)
		}
		ids = append(ids, id)
	}
	if len(ids[0]) != 34 || ids[0][:8] != ids[1][:8] || ids[0][8:] == ids[1][8:] {
		t.Errorf("the ids of a drive are %q", ids)
	}
	// An id from before has its own GUID all the same.
	old := (&item{id: "01" + strings.Repeat("A", 32)}).guid()
	if other := (&item{id: "01" + strings.Repeat("A", 31) + "B"}).guid(); len(old) != 36 || old == other {
		t.Errorf("the GUIDs are %s and %s", old, other)
	}
}
