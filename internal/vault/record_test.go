package vault

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/kopia/kopia/fs"

	"holdfast/internal/backup"
	"holdfast/internal/jsonscan"
)

// usualDir is a directory as we write it.
func usualDir(t testing.TB, files int) []byte {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)
	records := []record{{Name: "a", Type: dirType, Mode: dirMode, Modified: at, Object: "k1", ID: "D", Checkpoint: true, TrueName: []byte("a\x00"), Summary: &fs.DirectorySummary{TotalFileCount: 3}}}
	for range files {
		records = append(records, record{
			Name: "caf\u00e9 & <b>.txt", Type: fileType, Mode: fileMode, Size: 12, Modified: at, Object: "xb7b71aa60c5ba4d3c5bb9bbf1ed77ed0", ID: "01D6JQORV6Y2GOVW7725BZO354PWSELRRZ",
			Created: at, TrueTime: at.AddDate(-900, 0, 0), CTag: `"c:{0B7CA48B-6C7C-4C0B-8D6F-5A4D8F0C7E11},2"`, Version: "2", Hash: "AAAAAAAAAAAAAAAAAAAAAAAAAAA=", Stored: "s",
		})
	}
	var b bytes.Buffer
	if _, err := encodeDir(&b, pointers(records), at); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A directory is scanned as encoding/json would read it, or not at all.
func FuzzScanDir(f *testing.F) {
	usual := string(usualDir(f, 2))
	if !jsonscan.ScanTogether([]byte(usual), new(dirManifest)) {
		f.Error("a usual directory is not scanned")
	}
	f.Add([]byte(usual))
	for _, old := range []string{`"name"`, `"size":12`, `"mtime":"2026`, `"obj":"x`, `"checkpoint":true`, `"ctag":`, `"summ":`, `"entries":[`, `"stream":`} {
		for _, now := range []string{`"NAME"`, `"size":null`, `"size":1e3`, `"size":-1`, `"mtime":"x`, `"mtime":null,"x":"`, `"Obj":"`, `"checkpoint":1`, `"entries":null,"entries":[`, `"entries":[],"entries":[`, `"x":{"y":[1,"z",null,false]},` + old} {
			f.Add([]byte(strings.Replace(usual, old, now, 1)))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var got, want dirManifest
		if !jsonscan.ScanTogether(b, &got) {
			return
		}
		if err := json.Unmarshal(b, &want); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q is\n%+v, encoding/json has\n%+v, %v", b, got, want, err)
		}
	})
}

// A record is written as encoding/json writes it: kopia would else store each folder anew.
func FuzzWriteRecord(f *testing.F) {
	for _, text := range []string{"", "a b.txt", `"c:{0B7CA48B},2"`, `a\b`, "\x00\x1f\x7f", "<&>", "\u2028caf\u00e9\U0001f600", "\xff"} {
		f.Add(text, int64(0), int64(0), false)
		f.Add(text, int64(1), int64(1_234_567_890_000_000_001), true)
	}
	f.Add("a year that JSON has not", int64(-1), int64(math.MaxInt64), true)
	f.Fuzz(func(t *testing.T, text string, n, at int64, more bool) {
		r := record{Name: text, Type: fileType, Mode: fileMode, Size: n, Object: text, Modified: time.Unix(at/1e9, at%1e9).UTC(), Checkpoint: more}
		if more {
			r.ID, r.CTag, r.Version, r.Hash, r.Stored, r.TrueName = backup.ItemID(text), text, text, text, text, []byte(text)
			r.Created, r.TrueTime, r.Summary = time.Unix(at, 0).UTC(), r.Modified.In(time.FixedZone("", int(n%1e6))), &fs.DirectorySummary{TotalFileSize: n}
		}
		want, wantErr := json.Marshal(&r)
		got, err := r.appendJSON([]byte("before"))
		if (err != nil) != (wantErr != nil) || err == nil && string(got) != "before"+string(want) {
			t.Errorf("%+v is %s, %v, want %s, %v", r, got, err, want, wantErr)
		}
	})
}

// BenchmarkReadDir reads a folder of 1,000 files, beside encoding/json.
func BenchmarkReadDir(b *testing.B) {
	text := usualDir(b, 1000)
	b.Run("scan", func(b *testing.B) {
		for b.Loop() {
			if !jsonscan.ScanTogether(text, new(dirManifest)) {
				b.Fatal("it is not scanned")
			}
		}
	})
	b.Run("json", func(b *testing.B) {
		for b.Loop() {
			if err := json.Unmarshal(text, new(dirManifest)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// What a tag repeats of its item's id is not written, and comes back as it was; any other
// tag is written as it is.
func TestTagsAreTheirOwn(t *testing.T) {
	const id = "01NKDM7HMOJTVYMDOSXFDK2QJDXCDI3WUK"
	const own = `"c:{86EB4C8E-D20D-46B9-AD41-23B8868DDA8A},`
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, row := range []struct{ id, tag, version string }{
		{id, own + `12"`, "12"},
		{id, own + `x{}"`, "x{}"},
		{id, own + `"`, ""},
		{id, own + `1`, ""},
		{id, "", ""},
		{id, strings.ToLower(own) + `1"`, ""},
		{id[:33] + "L", own + `1"`, ""},
		{id[:20] + "\n" + id[21:], own + `1"`, ""},
		{"02" + id[2:], own + `1"`, ""},
		{id + "A", own + `1"`, ""},
		{"mail", own + `1"`, ""},
	} {
		e := Entry{ID: backup.ItemID(row.id), Name: "a", Kind: backup.File, Modified: at, CTag: row.tag}
		r := newRecord(e)
		text, err := r.appendJSON(nil)
		if err != nil {
			t.Fatal(err)
		}
		read, err := (&dir{}).read(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := read.entry("").CTag; got != row.tag || read.Version != row.version {
			t.Errorf("the tag %s of %q came back as %s, by %s", row.tag, row.id, got, text)
		}
		before := r // as it was written before there was Version
		before.CTag, before.Version = row.tag, ""
		if got := before.entry("").CTag; got != row.tag || !before.sameItem(&r) || !r.sameItem(&before) {
			t.Errorf("the tag %s of %q is another than what was written before, %s", row.tag, row.id, got)
		}
		other := newRecord(Entry{ID: e.ID, Name: "a", Kind: backup.File, Modified: at, CTag: own + `13"`})
		if other.sameItem(&r) || other.sameItem(&before) {
			t.Errorf("the tag %s of %q is that of another content", row.tag, row.id)
		}
	}
	// Nothing on disk makes more of a version than there is.
	if got := (&record{ID: "x", Version: "1"}).tag(); got != "" {
		t.Errorf("a version of nothing is %q", got)
	}
}
