package drive_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
)

const deltaPath = "GET /v1.0/drives/D/root/delta"

func pass(t *testing.T, c *drive.Client, cursor string) (items []drive.Item, next string, err error) {
	t.Helper()
	x := c.Delta(t.Context(), "D", cursor)
	for it, e := range x.All() {
		if e != nil {
			return items, x.Cursor(), e
		}
		items = append(items, it)
	}
	return items, x.Cursor(), nil
}

func TestDeltaYieldsEverythingAsItComes(t *testing.T) {
	s := newSource(t)
	s.answers(deltaPath,
		// A child before its parent, then an empty page, then repeats.
		reply(`{"value":[
			{"id":"F","name":"a b\u0301.txt","size":3,"cTag":"c1","eTag":"e1","parentReference":{"id":"P","path":"/never/read"},
			 "createdDateTime":"2020-01-01T00:00:00Z","lastModifiedDateTime":"2021-01-01T00:00:00Z",
			 "fileSystemInfo":{"createdDateTime":"2019-05-06T07:08:09.1234567Z","lastModifiedDateTime":"2019-05-06T09:08:09.5+02:00"},
			 "file":{"mimeType":"x","hashes":{"quickXorHash":"aCgDG9jwBhDc4Q1yawMZAAAAAAA="}}},
			{"id":"P","name":"Docs","size":3,"folder":{"childCount":1},"parentReference":{"id":"R"},"createdDateTime":"","lastModifiedDateTime":null}],
			"@odata.nextLink":"%s/v1.0/drives/D/root/delta?$skiptoken=a%%2Fb&x=1"}`, s.URL),
		reply(`{"value":[],"@odata.nextLink":"%s/v1.0/drives/D/root/delta(token='q')"}`, s.URL))
	s.on("GET /v1.0/drives/D/root/delta(token='q')", reply(`{"value":[
			{"id":"P","name":"Docs2","folder":{},"parentReference":{"id":"R"}},
			{"id":"G","size":0,"deleted":{"state":"deleted"},"parentReference":{"id":"R"},"lastModifiedDateTime":"0001-01-01T00:00:00Z"},
			{"id":"N","name":"Notes","package":{"type":"oneNote"},"parentReference":{"id":"R"}},
			{"id":"L","name":"Link","remoteItem":{"id":"X","folder":{}},"folder":{},"parentReference":{"id":"R"}},
			{"id":"M","name":"bad.exe","size":9,"file":{},"malware":{"description":"x"},"parentReference":{"id":"R"}},
			{"id":"Q","name":"what","parentReference":{"id":"R"}},
			{"id":"R","name":"root","root":{},"folder":{"childCount":2},"parentReference":{"driveId":"D"}}],
			"@odata.deltaLink":"%s/v1.0/drives/D/root/delta(token='z')"}`, s.URL))

	got, cursor, err := pass(t, s.client(newClock()), "")
	if err != nil {
		t.Fatal(err)
	}
	want := []drive.Item{
		{ID: "F", Parent: "P", Name: "a b\u0301.txt", Kind: backup.File, Size: 3, CTag: "c1", ETag: "e1", Hash: "aCgDG9jwBhDc4Q1yawMZAAAAAAA=",
			Created: time.Date(2019, 5, 6, 7, 8, 9, 123456700, time.UTC), Modified: time.Date(2019, 5, 6, 7, 8, 9, 500000000, time.UTC)},
		{ID: "P", Parent: "R", Name: "Docs", Kind: backup.Folder, Size: 3, ChildCount: 1},
		{ID: "P", Parent: "R", Name: "Docs2", Kind: backup.Folder, Size: -1, ChildCount: -1},
		{ID: "G", Parent: "R", Deleted: true},
		{ID: "N", Parent: "R", Name: "Notes", Kind: backup.Folder, Size: -1, Unreadable: drive.Package},
		{ID: "L", Parent: "R", Name: "Link", Kind: backup.File, Size: -1, Unreadable: drive.Shortcut},
		{ID: "M", Parent: "R", Name: "bad.exe", Kind: backup.File, Size: 9, Unreadable: drive.Malware},
		{ID: "Q", Parent: "R", Name: "what", Size: -1, Unreadable: drive.Incomplete},
		{ID: "R", Name: "root", Kind: backup.Folder, Size: -1, ChildCount: 2, Root: true},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if want := s.URL + "/v1.0/drives/D/root/delta(token='z')"; cursor != want {
		t.Errorf("cursor = %q, want %q", cursor, want)
	}
}

func TestLinksAreFollowedUnchanged(t *testing.T) {
	s := newSource(t)
	const query = "$skiptoken=b%2Ba%20b&token=%41&z=1&a=2"
	var got string
	s.answers(deltaPath,
		reply(`{"value":[],"@odata.nextLink":"%s/v1.0/drives/D/root/delta?%s"}`, s.URL, query),
		func(w http.ResponseWriter, r *http.Request) {
			got = r.URL.RawQuery
			fmt.Fprintf(w, `{"value":[],"@odata.deltaLink":"%s/v1.0/drives/D/root/delta?token=1"}`, s.URL)
		})
	if _, _, err := pass(t, s.client(newClock()), ""); err != nil || got != query {
		t.Errorf("query = %q, %v; want %q", got, err, query)
	}
}

func TestACursorOutlivesAMoveOfTheSource(t *testing.T) {
	s := newSource(t)
	var auth string
	s.on(deltaPath, func(w http.ResponseWriter, r *http.Request) {
		auth = r.Header.Get("Authorization")
		fmt.Fprintf(w, `{"value":[],"@odata.deltaLink":"%s/v1.0/drives/D/root/delta?token=2"}`, s.URL)
	})
	_, _, err := pass(t, s.client(newClock()), "http://127.0.0.1:1/v1.0/drives/D/root/delta?token=1")
	if err != nil || auth != "Bearer token-1" {
		t.Errorf("err = %v, authorization %q", err, auth)
	}
}

// What an entry lacks makes it incomplete, and nothing of it is lost: no entry,
// and no page for the sake of one.
func TestItemsThatLackWhatEveryItemHasAreIncomplete(t *testing.T) {
	const parent = `"parentReference":{"id":"P"}`
	incomplete := func(it drive.Item) drive.Item {
		it.Unreadable = drive.Incomplete
		return it
	}
	file := drive.Item{ID: "F", Parent: "P", Name: "f", Kind: backup.File, Size: 3}
	for _, tt := range []struct {
		name, json string
		want       drive.Item
	}{
		{"whole", `{"id":"F","name":"f","size":3,"file":{},` + parent + `}`, file},
		{"no id", `{"name":"f","size":3,"file":{},` + parent + `}`, incomplete(drive.Item{Parent: "P", Name: "f", Kind: backup.File, Size: 3})},
		{"no name", `{"id":"F","size":3,"file":{},` + parent + `}`, incomplete(drive.Item{ID: "F", Parent: "P", Kind: backup.File, Size: 3})},
		{"no parent", `{"id":"F","name":"f","size":3,"file":{}}`, incomplete(drive.Item{ID: "F", Name: "f", Kind: backup.File, Size: 3})},
		{"a parent that has no id", `{"id":"F","name":"f","size":3,"file":{},"parentReference":{"driveId":"D"}}`, incomplete(drive.Item{ID: "F", Name: "f", Kind: backup.File, Size: 3})},
		{"no facet", `{"id":"F","name":"f","size":3,` + parent + `}`, incomplete(drive.Item{ID: "F", Parent: "P", Name: "f", Size: 3})},
		{"file and folder", `{"id":"F","name":"f","size":3,"file":{},"folder":{"childCount":1},` + parent + `}`, incomplete(drive.Item{ID: "F", Parent: "P", Name: "f", Size: 3, ChildCount: 1})},
		{"the alias of the root", `{"id":"Root","name":"f","file":{},` + parent + `}`, incomplete(drive.Item{Parent: "P", Name: "f", Kind: backup.File, Size: -1})},
		{"a root that is a file", `{"id":"F","name":"f","size":3,"root":{},"file":{}}`, incomplete(drive.Item{ID: "F", Name: "f", Kind: backup.Folder, Size: 3, Root: true})},
		{"a root without name", `{"id":"F","size":3,"root":{},"folder":{}}`, drive.Item{ID: "F", Kind: backup.Folder, Size: 3, ChildCount: -1, Root: true}},
		{"deleted", `{"id":"F","size":0,"deleted":{}}`, drive.Item{ID: "F", Deleted: true}},
		{"deleted without id", `{"size":0,"deleted":{},` + parent + `}`, incomplete(drive.Item{Parent: "P"})},
		{"deleted, half said", `{"id":"F","deleted":true,"size":0}`, incomplete(drive.Item{ID: "F"})},
		{"null", `null`, incomplete(drive.Item{Size: -1})},
		{"a text", `"F"`, incomplete(drive.Item{Size: -1})},
		{"a name that is a number", `{"id":"F","name":7,"size":3,"file":{},` + parent + `}`, incomplete(drive.Item{ID: "F", Parent: "P", Kind: backup.File, Size: 3})},
		{"a parent that is a text", `{"id":"F","name":"f","size":3,"file":{},"parentReference":"P"}`, incomplete(drive.Item{ID: "F", Name: "f", Kind: backup.File, Size: 3})},
		{"hashes that are a list", `{"id":"F","name":"f","size":3,"file":{"hashes":[1]},` + parent + `}`, incomplete(file)},
		{"no size", `{"id":"F","name":"f","file":{},` + parent + `}`, drive.Item{ID: "F", Parent: "P", Name: "f", Kind: backup.File, Size: -1}},
		{"a size of null", `{"id":"F","name":"f","size":null,"file":{},` + parent + `}`, drive.Item{ID: "F", Parent: "P", Name: "f", Kind: backup.File, Size: -1}},
		{"a size in quotes", `{"id":"F","name":"f","size":"3","file":{},` + parent + `}`, file},
		{"a negative size", `{"id":"F","name":"f","size":-3,"file":{},` + parent + `}`, drive.Item{ID: "F", Parent: "P", Name: "f", Kind: backup.File, Size: -1}},
		{"a size beyond all", `{"id":"F","name":"f","size":1e30,"file":{},` + parent + `}`, drive.Item{ID: "F", Parent: "P", Name: "f", Kind: backup.File, Size: -1}},
		{"times that are none", `{"id":"F","name":"f","size":3,"file":{},"createdDateTime":{},"lastModifiedDateTime":"soon",` + parent + `}`, file},
	} {
		s := newSource(t)
		s.on(deltaPath, reply(`{"value":[{"id":"A","name":"a","size":1,"file":{},%s},%s,{"id":"Z","name":"z","size":2,"file":{},%s}],"@odata.deltaLink":"%s/v1.0/x"}`,
			parent, tt.json, parent, s.URL))
		got, _, err := pass(t, s.client(newClock()), "")
		if err != nil || len(got) != 3 || got[0].ID != "A" || got[2].ID != "Z" || got[2].Unreadable != "" {
			t.Errorf("%s: %+v, %v; want three entries", tt.name, got, err)
			continue
		}
		if d := cmp.Diff(tt.want, got[1]); d != "" {
			t.Errorf("%s: %s", tt.name, d)
		}
	}
}

func TestTimesOfAnyYearAreRead(t *testing.T) {
	for text, want := range map[string]time.Time{
		"0001-01-01T00:00:00Z":           {},
		"0001-01-01T00:00:00-08:00":      {},
		"0001-06-01T00:00:00Z":           time.Date(1, 6, 1, 0, 0, 0, 0, time.UTC),
		"1601-01-01T00:00:00Z":           time.Date(1601, 1, 1, 0, 0, 0, 0, time.UTC),
		"2500-02-03T04:05:06.789+02:00":  time.Date(2500, 2, 3, 2, 5, 6, 789e6, time.UTC),
		"9999-12-31T23:59:59.999999999Z": time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC),
	} {
		s := newSource(t)
		s.on(itemPath, reply(`{"id":"F","name":"f","file":{},"parentReference":{"id":"P"},"fileSystemInfo":{"createdDateTime":%q,"lastModifiedDateTime":%q}}`, text, text))
		it, err := s.client(newClock()).Item(t.Context(), "D", "F")
		if err != nil || !it.Created.Equal(want) || !it.Modified.Equal(want) {
			t.Errorf("%s: created %v, modified %v, %v", text, it.Created, it.Modified, err)
		}
	}
}

func TestADeltaThatDoesNotEndHasNoCursor(t *testing.T) {
	item := func(n int) string {
		return fmt.Sprintf(`{"id":"I%d","name":"i","file":{},"parentReference":{"id":"P"}}`, n)
	}
	for _, tt := range []struct {
		name string
		page func(base string, n int) string // of the nth request
		want error
		most int // requests
	}{
		{"no link", func(base string, n int) string { return `{"value":[{"id":"A"}]}` }, drive.ErrUnavailable, 1},
		{"same page", func(base string, n int) string {
			return fmt.Sprintf(`{"value":[%s],"@odata.nextLink":"%s/v1.0/drives/D/root/delta?x"}`, item(n), base)
		}, drive.ErrEndless, 2},
		{"two pages that point to each other", func(base string, n int) string {
			return fmt.Sprintf(`{"value":[%s],"@odata.nextLink":"%s/v1.0/drives/D/root/delta?page=%d"}`, item(n), base, n%2)
		}, drive.ErrEndless, 3},
		{"back to the beginning", func(base string, n int) string {
			return fmt.Sprintf(`{"value":[%s],"@odata.nextLink":"%s/v1.0/drives/D/root/delta?page=%d"}`, item(n), base, n%7)
		}, drive.ErrEndless, 8},
		{"empty pages without end", func(base string, n int) string {
			return fmt.Sprintf(`{"value":[],"@odata.nextLink":"%s/v1.0/drives/D/root/delta?page=%d"}`, base, n)
		}, drive.ErrEndless, 1000},
		{"the same items without end", func(base string, n int) string {
			return fmt.Sprintf(`{"value":[%s,%s],"@odata.nextLink":"%s/v1.0/drives/D/root/delta?page=%d"}`, item(n%2), item(2), base, n)
		}, drive.ErrEndless, 1003},
		{"a next page elsewhere", func(base string, n int) string {
			return `{"value":[],"@odata.nextLink":"https://elsewhere.example/v1.0/drives/D/root/delta?page=2"}`
		}, drive.ErrUnavailable, 1},
		{"an end elsewhere", func(base string, n int) string {
			return `{"value":[],"@odata.deltaLink":"https://elsewhere.example/v1.0/drives/D/root/delta?token=2"}`
		}, drive.ErrUnavailable, 1},
		{"an end that is no address", func(base string, n int) string { return `{"value":[],"@odata.deltaLink":"::"}` }, drive.ErrUnavailable, 1},
		{"no list", func(base string, n int) string { return string(jsonDoc) }, drive.ErrUnavailable, 8},
		{"null", func(base string, n int) string {
			return fmt.Sprintf(`{"value":null,"@odata.deltaLink":"%s/v1.0/x"}`, base)
		}, drive.ErrUnavailable, 8},
	} {
		s := newSource(t)
		n := 0
		s.on(deltaPath, func(w http.ResponseWriter, r *http.Request) {
			n++
			fmt.Fprint(w, tt.page(s.URL, n))
		})
		_, cursor, err := pass(t, s.client(newClock()), "")
		if !errors.Is(err, tt.want) || cursor != "" {
			t.Errorf("%s: cursor = %q, err = %v; want %v and no cursor", tt.name, cursor, err, tt.want)
		}
		if n > tt.most {
			t.Errorf("%s: %d requests, want %d at most", tt.name, n, tt.most)
		}
	}
	s := newSource(t)
	s.on(deltaPath, reply(`{"value":[{"id":"A"},{"id":"B"}],"@odata.deltaLink":"%s/v1.0/x"}`, s.URL))
	x := s.client(newClock()).Delta(t.Context(), "D", "")
	for range x.All() {
		break
	}
	if x.Cursor() != "" {
		t.Errorf("cursor after a break = %q, want none", x.Cursor())
	}
}

// As long as there is a next page, the list goes on, whatever else it says.
func TestANextLinkGoesBeforeADeltaLink(t *testing.T) {
	s := newSource(t)
	s.answers(deltaPath,
		reply(`{"value":[],"@odata.nextLink":"%s/v1.0/drives/D/root/delta?page=2","@odata.deltaLink":"%s/v1.0/x?token=early"}`, s.URL, s.URL),
		reply(`{"value":[%s],"@odata.deltaLink":"%s/v1.0/x?token=late"}`, fileJSON("F", "c", nil), s.URL))
	if got, cursor, err := pass(t, s.client(newClock()), ""); err != nil || len(got) != 1 || !strings.HasSuffix(cursor, "late") {
		t.Errorf("%d items, cursor %q, %v", len(got), cursor, err)
	}
}

func TestAnErrorThatCallsItselfASuccessIsNoEmptyFolder(t *testing.T) {
	s := newSource(t)
	s.on("GET /v1.0/drives/D/items/P/children", reply("%s", jsonDoc))
	for it, err := range s.client(newClock()).Children(t.Context(), "D", "P") {
		if !errors.Is(err, drive.ErrUnavailable) {
			t.Errorf("%+v, %v; want ErrUnavailable", it, err)
		}
	}
	if s.count("GET /v1.0/drives/D/items/P/children") == 0 {
		t.Error("the folder was not asked for")
	}
}

func TestRefusedCursorsMeanEnumerateAgain(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		root   http.HandlerFunc
		want   error
	}{
		{"gone", refuse(410, "resyncRequired", "", ""), rootJSON, drive.ErrResync},
		{"gone, empty", status(410, "Location", "/elsewhere"), rootJSON, drive.ErrResync},
		{"inner", refuse(400, "invalidRequest", "resyncApplyDifferences", ""), rootJSON, drive.ErrResync},
		{"unknown state", refuse(404, "SyncStateNotFound", "", ""), rootJSON, drive.ErrResync},
		{"bad token", refuse(400, "invalidRequest", "", "Invalid paging token"), rootJSON, drive.ErrResync},
		{"not found, drive there", status(404), rootJSON, drive.ErrResync},
		{"not found, drive gone", status(404), status(404), drive.ErrNotFound},
		{"broken for good", status(500), rootJSON, drive.ErrResync},
		{"source down", status(503), status(503), drive.ErrUnavailable},
		{"busy", refuse(410, "x", "cannotSnapshotTree", ""), rootJSON, drive.ErrUnavailable},
	} {
		s := newSource(t)
		s.on(deltaPath, tt.answer)
		s.on(rootPath, tt.root)
		c := s.client(newClock())
		if _, cursor, err := pass(t, c, s.URL+"/v1.0/drives/D/root/delta?token=1"); !errors.Is(err, tt.want) || cursor != "" {
			t.Errorf("%s: cursor = %q, err = %v, want %v", tt.name, cursor, err, tt.want)
		}
	}
	s := newSource(t)
	if _, _, err := pass(t, s.client(newClock()), "not a cursor"); !errors.Is(err, drive.ErrResync) {
		t.Errorf("err = %v, want ErrResync", err)
	}
	s.on(deltaPath, status(404))
	if _, _, err := pass(t, s.client(newClock()), ""); !errors.Is(err, drive.ErrNotFound) {
		t.Errorf("without a cursor: err = %v, want ErrNotFound", err)
	}
}

func TestChildrenFollowsPages(t *testing.T) {
	s := newSource(t)
	s.answers("GET /v1.0/drives/D/items/P/children",
		reply(`{"value":[{"id":"A","file":{}}],"@odata.nextLink":"%s/v1.0/drives/D/items/P/children?$skiptoken=2"}`, s.URL),
		reply(`{"value":[{"id":"B","folder":{}}]}`))
	var got []backup.ItemID
	for it, err := range s.client(newClock()).Children(t.Context(), "D", "P") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, it.ID)
	}
	if d := cmp.Diff([]backup.ItemID{"A", "B"}, got); d != "" {
		t.Error(d)
	}
}

// deltaPages are n items on pages of 1,000, as the service gives them.
func deltaPages(n int, base string) []string {
	var pages []string
	for at := 0; at < n; at += 1000 {
		var b strings.Builder
		b.WriteString(`{"@odata.context":"x","value":[`)
		for i := at; i < min(n, at+1000); i++ {
			if i > at {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `{"id":"01D6JQORV6Y2GOVW7725BZO%011d","name":"file %d.docx","size":%d,"eTag":"\"{0C6B1FDB-0000-0000-0000-%012d},3\"","cTag":"\"c:{0C6B1FDB-0000-0000-0000-%012d},2\"","createdDateTime":"2024-05-01T10:00:00Z","lastModifiedDateTime":"2024-05-02T10:00:00Z","parentReference":{"driveId":"b!aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","driveType":"business","id":"01D6JQORV6Y2GOVW7725BZO354PWSELRRZ"},"fileSystemInfo":{"createdDateTime":"2024-05-01T10:00:00Z","lastModifiedDateTime":"2024-05-02T10:00:00Z"},"file":{"mimeType":"text/plain","hashes":{"quickXorHash":"aCgDG9jwBhDc4Q1yawMZAAAAAAA="}}}`, i, i, i*7, i, i)
		}
		if at+1000 >= n {
			fmt.Fprintf(&b, `],"@odata.deltaLink":"%s/v1.0/drives/D/root/delta?token=end"}`, base)
		} else {
			fmt.Fprintf(&b, `],"@odata.nextLink":"%s/v1.0/drives/D/root/delta?page=%d"}`, base, at/1000+1)
		}
		pages = append(pages, b.String())
	}
	return pages
}

func BenchmarkDelta100k(b *testing.B) {
	const n = 100_000
	s := newSource(b)
	pages := deltaPages(n, s.URL)
	var size int64
	for _, p := range pages {
		size += int64(len(p))
	}
	s.on(deltaPath, func(w http.ResponseWriter, r *http.Request) {
		i := 0
		fmt.Sscan(r.URL.Query().Get("page"), &i)
		w.Header().Set("Content-Length", fmt.Sprint(len(pages[i])))
		w.Write([]byte(pages[i]))
	})
	c := s.client(newClock())
	b.Run("delta", func(b *testing.B) {
		b.SetBytes(size)
		b.ReportAllocs()
		for b.Loop() {
			got := 0
			for _, err := range c.Delta(b.Context(), "D", "").All() {
				if err != nil {
					b.Fatal(err)
				}
				got++
			}
			if got != n {
				b.Fatalf("items = %d", got)
			}
		}
	})
	b.Run("bare json", func(b *testing.B) {
		type entry struct {
			ID, Name, ETag, CTag string
			Size                 int64
			CreatedDateTime      time.Time
			LastModifiedDateTime time.Time
			ParentReference      struct{ ID string }
			FileSystemInfo       struct{ CreatedDateTime, LastModifiedDateTime time.Time }
			File                 *struct{ Hashes struct{ QuickXorHash string } }
		}
		b.SetBytes(size)
		b.ReportAllocs()
		for b.Loop() {
			for _, p := range pages {
				var v struct{ Value []entry }
				if err := json.Unmarshal([]byte(p), &v); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
