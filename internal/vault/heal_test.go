package vault

import (
	"strings"
	"testing"
	"time"
)

// What another process found damaged is stored anew by this one when it is written again,
// and is believed from then on, whoever speaks of the damage once more.
func TestWhatIsSuspectedIsStoredAnew(t *testing.T) {
	v, cfg := newVault(t)
	u := begin(t, v, Sealed{})
	texts := []string{strings.Repeat("damaged ", 500), strings.Repeat("whole ", 500)}
	var objects []string
	u.Put(folder("root", "", ""))
	for i, text := range texts {
		e := file(t, u, []string{"a", "b"}[i], "root", []string{"a", "b"}[i], text)
		objects = append(objects, e.Content)
		u.Put(e)
	}
	seal(t, u, noon)
	bad := whereIs(t, v, objects[0])
	if err := v.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	flipBit(t, cfg, bad.PackBlobID, int(bad.PackOffset)+int(bad.PackedLength)/2)

	cfg.Create, cfg.State = false, t.TempDir()
	v = openVault(t, cfg)
	v.Suspect(t.Context(), noon, append(objects, "", "no object")...)
	if !v.SuspectedUntil().Equal(noon) || !v.Suspects(t.Context(), objects[0]) || !v.Suspects(t.Context(), objects[1]) {
		t.Fatalf("until %v, %v are suspected", v.SuspectedUntil(), v.Damaged())
	}
	u = begin(t, v, Sealed{})
	for _, text := range texts {
		if _, err := u.Write(t.Context(), "x", strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	v.Suspect(t.Context(), noon.Add(-time.Hour), objects...)
	if left := v.Damaged(); len(left) > 0 || !v.SuspectedUntil().Equal(noon) {
		t.Errorf("%v are suspected still, until %v", left, v.SuspectedUntil())
	}
	if err := v.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := v.VerifyObjects(t.Context(), objects); err != nil {
		t.Error(err)
	}
}
