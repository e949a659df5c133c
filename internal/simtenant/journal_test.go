package simtenant

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"holdfast/internal/jsonscan"
)

// A line says what encoding/json would, which reads it.
func TestJournalLines(t *testing.T) {
	for _, rec := range []record{
		{},
		{Seq: 7, ID: "01A", Noticed: -1},
		{Seq: 7, ID: "01A", Parent: "01B", Was: isFolder},
		{
			Seq: 1 << 60, ID: "01A", Parent: "01B", Name: "a <b> \"c\" \\ \x01 ü \u2028 \x7f.txt", Kind: isFile, Size: 12, Mtime: moment{1, 2}, Ctime: -5,
			Dev: 1 << 63, Ino: 9, Birth: 8, Created: moment{simple + 1, 7}, Noticed: 3, Hash: "a/b+c=", Strong: []byte("0123456789abcdef"),
			ETag: 3, CTag: 4, Stale: true, Unsure: true, Denied: true, Kept: true,
		},
		{
			Seq: 1 << 60, ID: "01A", Parent: "01B", Name: "a <b> \"c\" \\ \x01 ü \u2028 \x7f.txt", Kind: isFile, Size: 12, Mtime: moment{-7, 5e8}, Ctime: -5,
			Dev: 1 << 63, Ino: 9, Birth: 8, Created: moment{simple - 1, 999_999_999}, Noticed: 3, Hash: "a/b+c=", Strong: []byte("0123456789abcdef"),
			ETag: 3, CTag: 4, Stale: true, Unsure: true, Denied: true, Kept: true, Holder: "h", Maker: "m", Binned: true, Made: 3, Num: 1 << 30,
			Columns: object{"Title": "x"}, Versions: []version{{N: 1, Size: 3, At: 9}},
		},
	} {
		line := rec.line(nil)
		var got record
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if fmt.Sprint(got) != fmt.Sprint(rec) {
			t.Errorf("%s is read as %+v, was %+v", line, got, rec)
		}
		var scanned record
		if simple := rec.Created.sec < simple; jsonscan.Scan(line, &scanned) != simple || simple && fmt.Sprint(scanned) != fmt.Sprint(rec) {
			t.Errorf("%s is scanned as %+v, was %+v", line, scanned, rec)
		}
		if strings.Count(string(line), "\n") != 1 {
			t.Errorf("%q is more than a line", line)
		}
	}
}

// A drive with more items than may be idle in memory stays there while it is
// read page by page; one that nobody has used for long goes.
func TestLargeDrivesStayWhileTheyAreRead(t *testing.T) {
	w := newWorld(t)
	w.svc.keepItems = 10
	for _, user := range []string{amala, conrad} {
		for i := range 30 {
			w.write(fmt.Sprintf("%s/%d", user, i), "x")
		}
	}
	w.faults.Set(func(o *Options) { o.PageSize = 4 })
	loaded := map[string]*drive{}
	links := map[string]string{}
	for _, user := range []string{amala, conrad} {
		links[user] = w.drive(user) + "/root/delta"
	}
	for page := range 8 {
		for user, link := range links { // in turns
			a := w.must(200, "GET", link, nil)
			links[user] = a.text("@odata.nextLink")
			id := w.svc.folders[user]
			w.svc.mu.Lock()
			d := w.svc.drives[place{site: id, library: documents}.id()]
			w.svc.mu.Unlock()
			if loaded[user] != nil && loaded[user] != d {
				t.Fatalf("page %d: the drive of %s was let go and read anew", page, user)
			}
			loaded[user] = d
		}
	}
	w.svc.mu.Lock()
	for _, d := range w.svc.drives {
		d.used = d.used.Add(-2 * momentAgo)
	}
	w.svc.mu.Unlock()
	w.drive(conrad)
	w.svc.mu.Lock()
	defer w.svc.mu.Unlock()
	if len(w.svc.drives) != 1 {
		t.Errorf("%d drives stay, want the one in use", len(w.svc.drives))
	}
}

// A time that a client gave a folder stays when clients and other programs put things
// into it, and take them out; what another program sets it to shows.
func TestTimesOfFoldersStay(t *testing.T) {
	w := newWorld(t)
	drive := w.drive(amala)
	const when = "2019-03-04T05:06:07Z"
	folder := drive + "/items/" + w.must(201, "POST", drive+"/root/children", object{"name": "f", "folder": object{}}).text("id")
	w.must(200, "PATCH", folder, object{"fileSystemInfo": object{"lastModifiedDateTime": when}})
	file := w.must(201, "PUT", folder+":/a.txt:/content", "a").text("id")
	w.must(201, "POST", folder+"/children", object{"name": "sub", "folder": object{}})
	w.must(200, "PATCH", drive+"/items/"+file, object{"name": "b.txt"})
	w.restart()
	w.must(204, "DELETE", drive+"/items/"+file, nil)
	c := newReplica(w, amala)
	c.follow()
	if got := w.must(200, "GET", folder, nil).text("fileSystemInfo", "lastModifiedDateTime"); got != when {
		t.Errorf("after things came and went, the folder's time is %s", got)
	}
	for _, change := range []func(path string) error{
		func(path string) error { return os.WriteFile(path, nil, 0o644) },
		os.Remove,
		func(path string) error { return os.Mkdir(path, 0o755) },
	} {
		if err := change(filepath.Join(w.folder(amala), "f", "c.txt")); err != nil {
			t.Fatal(err)
		}
		c.follow()
		if got := w.must(200, "GET", folder, nil).text("fileSystemInfo", "lastModifiedDateTime"); got != when {
			t.Errorf("after another program's changes, the folder's time is %s", got)
		}
		if diff := gocmp.Diff(realTree(t, w.folder(amala)), c.tree()); diff != "" {
			t.Errorf("what is there and what the delta tells differ (-there +told):\n%s", diff)
		}
	}
	if err := os.Chtimes(filepath.Join(w.folder(amala), "f"), time.Time{}, time.Unix(1e9, 0)); err != nil {
		t.Fatal(err)
	}
	if got := w.must(200, "GET", folder, nil).text("fileSystemInfo", "lastModifiedDateTime"); got != "2001-09-09T01:46:40Z" {
		t.Errorf("another program set the folder's time, and it is %s", got)
	}
}
