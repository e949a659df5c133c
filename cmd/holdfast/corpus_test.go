package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPictureTellsDifferences(t *testing.T) {
	dir := t.TempDir()
	c := newCorpus(7)
	for _, name := range []string{"same", "content", "size", "time", "gone", "kind", "a/b/deep"} {
		if err := c.write(dir, name, 100, true); err != nil {
			t.Fatal(err)
		}
	}
	before, err := takePicture(dir)
	if err != nil {
		t.Fatal(err)
	}
	if d := before.differences(before); len(d) != 0 {
		t.Fatalf("a picture differs from itself: %v", d)
	}
	path := func(name string) string { return filepath.Join(dir, name) }
	keepTime := func(name string, do func()) {
		info, err := os.Stat(path(name))
		if err != nil {
			t.Fatal(err)
		}
		do()
		if err := os.Chtimes(path(name), info.ModTime(), info.ModTime()); err != nil {
			t.Fatal(err)
		}
	}
	keepTime("content", func() { os.WriteFile(path("content"), c.bytes(100), 0o600) })
	keepTime("size", func() { os.WriteFile(path("size"), c.bytes(99), 0o600) })
	keepTime("kind", func() { os.Remove(path("kind")); os.Mkdir(path("kind"), 0o700) })
	at := time.Unix(before["time"].modified+1, 0)
	os.Chtimes(path("time"), at, at)
	os.Remove(path("gone"))
	os.Mkdir(path("new"), 0o700)

	after, err := takePicture(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"content has other content",
		"gone is missing",
		"kind is of another kind",
		"size has 99 bytes instead of 100",
		"time was last changed " + clockTime(before["time"].modified+1) + " instead of " + clockTime(before["time"].modified),
		"new should not be there",
	}
	if diff := cmp.Diff(want, before.differences(after)); diff != "" {
		t.Error(diff)
	}
}

func TestPlayCorpusIsTheSameEachTime(t *testing.T) {
	var pictures [2]picture
	for i := range pictures {
		dir := t.TempDir()
		c := newCorpus(1)
		for _, make := range []func(string) error{c.office, c.project} {
			if err := make(dir); err != nil {
				t.Fatal(err)
			}
		}
		var err error
		if pictures[i], err = takePicture(dir); err != nil {
			t.Fatal(err)
		}
	}
	if d := pictures[0].differences(pictures[1]); len(d) > 0 {
		t.Errorf("%d differences, such as %s", len(d), d[0])
	}
}

func TestPlayDisastersLeaveNothingAsItWas(t *testing.T) {
	for name, harm := range map[string]func(corpus, string) (int, error){
		"encrypt": corpus.encrypt, "empty": corpus.empty, "edit": corpus.edit,
	} {
		dir := t.TempDir()
		c := newCorpus(3)
		if err := c.office(dir); err != nil {
			t.Fatal(err)
		}
		before, err := takePicture(dir)
		if err != nil {
			t.Fatal(err)
		}
		n, err := harm(c, dir)
		if err != nil || n == 0 {
			t.Fatalf("%s touched %d files, %v", name, n, err)
		}
		after, err := takePicture(dir)
		if err != nil {
			t.Fatal(err)
		}
		if d := before.differences(after); len(d) < n {
			t.Errorf("%s touched %d files, and %d things differ", name, n, len(d))
		}
		files, err := filesBelow(dir)
		if err != nil {
			t.Fatal(err)
		}
		locked := slices.ContainsFunc(files, func(f string) bool { return filepath.Ext(f) == ".locked" })
		if locked != (name == "encrypt") {
			t.Errorf("%s: locked files: %v", name, locked)
		}
	}
}

// Messages are the same under other names of their files and at other times, and
// not in other folders or with other content.
func TestMessagesAreComparedByContent(t *testing.T) {
	was := picture{"Inbox": {folder: true}, "Inbox/a.eml": {size: 1, hash: [32]byte{1}, modified: 5}}
	for name, now := range map[string]struct {
		picture
		differences int
	}{
		"another name and time": {picture{"Inbox/b.eml": {size: 1, hash: [32]byte{1}, modified: 6}, "Drafts": {folder: true}}, 0},
		"another content":       {picture{"Inbox/a.eml": {size: 1, hash: [32]byte{2}, modified: 5}}, 2},
		"another folder":        {picture{"Archive/a.eml": {size: 1, hash: [32]byte{1}, modified: 5}}, 2},
	} {
		if got := was.nameless().differences(now.nameless()); len(got) != now.differences {
			t.Errorf("%s: %d differences, want %d: %q", name, len(got), now.differences, got)
		}
	}
}
