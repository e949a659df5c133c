package backup

import (
	"errors"
	"strings"
	"testing"
)

// Every state of a bulk restore request, and of a browse session.
func TestRequestAndBrowseMoves(t *testing.T) {
	for status, want := range map[BulkRequestStatus]Code{
		BulkRequestActive: InvalidBulkRequestDeletion, BulkRequestCompleted: "", BulkRequestCompletedWithErrors: "",
	} {
		r := BulkRequest{Status: status}
		if err := r.Deletable(); want == "" && err != nil || want != "" && !errors.Is(err, want) {
			t.Errorf("delete a request that is %s = %v", status, err)
		}
	}
	for status, want := range map[BrowseStatus]Code{BrowseCreating: InvalidRequest, BrowseFailed: InvalidRequest, BrowseCreated: ""} {
		s := BrowseSession{Status: status}
		if err := s.Browsable(); want == "" && err != nil || want != "" && !errors.Is(err, want) {
			t.Errorf("browse a session that is %s = %v", status, err)
		}
	}
	for tags, want := range map[PointTags]Code{TagNone: InvalidRestorePoint, TagFastRestore: ""} {
		p := Point{Tags: tags}
		if err := p.Browsable(); want == "" && err != nil || want != "" && !errors.Is(err, want) {
			t.Errorf("browse a point of tags %s = %v", tags, err)
		}
	}
}

func TestItemKeys(t *testing.T) {
	library := LibraryKey("t", "d")
	for _, id := range []ItemID{"01ABC", "x", ItemID(strings.Repeat("long", 100)), "Ü,\"'"} {
		k := KeyOf("t", "d", id)
		parsed, ok := ParseItemKey(strings.ToUpper(string(k)))
		if !ok || parsed != k || strings.Count(string(k), ",") != 3 {
			t.Errorf("the key of %q is %s, parsed %s, %v", id, k, parsed, ok)
		}
		if ref, ok := k.Below(library); !ok || ref != RefOf(id) {
			t.Errorf("%s names %x, %v", k, ref, ok)
		}
		for _, other := range []ItemKey{LibraryKey("t", "e"), LibraryKey("u", "d"), SiteKey("t", "d")} {
			if _, ok := k.Below(other); ok {
				t.Errorf("%s is below %s", k, other)
			}
		}
	}
	if _, ok := library.Below(library); ok {
		t.Error("a library is below itself")
	}
	guid := NewID[string]()
	for _, s := range []string{"", "x", guid, guid + ",", guid + "," + "x", strings.Repeat(guid+",", 4) + guid} {
		if k, ok := ParseItemKey(s); ok {
			t.Errorf("ParseItemKey(%q) = %s", s, k)
		}
	}
	for path, want := range map[string]string{"": "https://x/D", "a b/100% #1?.txt": "https://x/D/a%20b/100%25%20%231%3F.txt"} {
		if got := WebURL("https://x/D", path); got != want {
			t.Errorf("WebURL(%q) = %s", path, got)
		}
	}
	if got := WebURL("", "a"); got != "" {
		t.Errorf("of a drive that is not known: %s", got)
	}
}
