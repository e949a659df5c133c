package engine

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
	"holdfast/internal/jobs"
	"holdfast/internal/spill"
	"holdfast/internal/vault"
)

func TestItemsComeBackAsTheyWereListed(t *testing.T) {
	at := time.Date(2025, 1, 2, 3, 4, 5, 600, time.UTC)
	for _, item := range []drive.Item{
		{ID: "a", Deleted: true},
		{ID: "a", Parent: "b", Name: "n\xffame", Kind: backup.File, Size: -1, Created: at, Modified: at.AddDate(-400, 0, 0), CTag: "c", ETag: "e", Hash: "h", ChildCount: -1, Root: true, Unreadable: drive.Malware},
	} {
		if got := decodeItem("a", encodeItem(item)); got != item {
			t.Error(cmp.Diff(item, got))
		}
	}
	x := newItems(t.TempDir())
	defer x.close()
	x.judge("folder", gone)
	if _, listed := x.get("folder"); listed || x.has("folder") || x.listed != 0 || x.verdict("folder") != gone || x.verdict("other") != 0 {
		t.Error("a verdict on an item makes it listed, or is lost")
	}
	for range 2 {
		x.set(drive.Item{ID: "folder", Name: "n"})
	}
	if item, listed := x.get("folder"); !listed || item.Name != "n" || x.listed != 1 || x.verdict("folder") != gone {
		t.Errorf("it is listed as %v, %v, judged %v, and %d are listed", item, listed, x.verdict("folder"), x.listed)
	}

	// What is known of how it was backed up is of how it was listed then.
	x.holds(0, vault.Entry{ID: "folder", Kind: backup.Folder}, true, true)
	x.set(drive.Item{ID: "folder", Name: "another"})
	if x.states[0].same || x.held("folder") != heldFolder {
		t.Errorf("listed anew it is as it was: %v; it was held as %v", x.states[0].same, x.held("folder"))
	}
	x.missing(vault.Entry{ID: "file", Parent: "folder", Kind: backup.File})
	if folder, known := x.wasIn("file"); folder != "folder" || !known || x.has("file") {
		t.Errorf("what was not listed was in %q, %v, and is listed: %v", folder, known, x.has("file"))
	}
	if x.set(drive.Item{ID: "file", Parent: "elsewhere"}); x.of("file").Parent != "elsewhere" {
		t.Error("what was found although it was not listed has no place")
	}
	if folder, known := x.wasIn("file"); known {
		t.Errorf("what was found was in %q", folder)
	}
}

// A drive that does not fit into what is kept of it in memory is backed up as any
// other, and nothing is found to differ when all of it is listed again. Where the
// disk fails that the rest is on, there is no point: what could not be read back
// is not taken for gone.
func TestPlayDriveThatDoesNotFitIntoMemory(t *testing.T) {
	w := prepare(t, "ann")
	source := &generated{n: 3500}
	server := httptest.NewServer(source)
	defer server.Close()
	w.connect(server.URL)
	state := w.dir + "/state"
	var err error
	w.vault, err = vault.Open(w.ctx, vault.Config{Dir: w.dir + "/vault", State: state, Create: true, Password: "for tests only"})
	w.must(err)
	defer func() { w.must(w.vault.Close(w.ctx)) }()
	unit := w.protectAll()[0]
	away := func(is bool) {
		t.Helper()
		from, to := state, state+" away"
		if !is {
			from, to = to, from
		}
		w.must(os.Rename(from, to))
	}

	away(true)
	if err := w.try(w.ctx, jobs.Backup, string(unit.ID), w.engine.backup); !errors.Is(err, spill.ErrDisk) {
		t.Errorf("without a place for what does not fit into memory the backup ends with %v", err)
	}
	away(false)
	first := w.backUp(unit)
	if first.Files+first.Folders != 3500 || first.Unread != 0 {
		t.Errorf("the point has %d files and %d folders, and lacks %d", first.Files, first.Folders, first.Unread)
	}

	_, err = http.Post(server.URL+"/expire", "", nil)
	w.must(err)
	away(true)
	if err := w.try(w.ctx, jobs.Backup, string(unit.ID), w.engine.backup); !errors.Is(err, spill.ErrDisk) {
		t.Errorf("without that place the second backup ends with %v", err)
	}
	away(false)
	before := w.vault.Counters()
	if again := w.backUp(unit); again.Tree != first.Tree {
		t.Error("listed again the drive differs")
	}
	if n := w.vault.Counters().ObjectsWritten - before.ObjectsWritten; n != 0 {
		t.Errorf("%d objects were written although nothing differs", n)
	}
}
