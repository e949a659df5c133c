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
		{ID: "P", Parent: "R", Name: "Docs2", Kind: backup.Folder, Size: -1},
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

func TestADeltaThatDoesNotEndHasNoCursor(t *testing.T) {
	for name, answer := range map[string]func(s *source) http.HandlerFunc{
		"no link": func(s *source) http.HandlerFunc { return reply(`{"value":[{"id":"A"}]}`) },
		"same page": func(s *source) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprintf(w, `{"value":[],"@odata.nextLink":"%s/v1.0/drives/D/root/delta?x"}`, s.URL)
			}
		},
	} {
		s := newSource(t)
		s.on(deltaPath, answer(s))
		_, cursor, err := pass(t, s.client(newClock()), "")
		if err == nil || cursor != "" {
			t.Errorf("%s: cursor = %q, err = %v; want an error and no cursor", name, cursor, err)
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
