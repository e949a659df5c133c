package engine

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/jobs"
)

// toOther activates the restore of a point into the mailbox of somebody else.
func (w *world) toOther(p backup.Point, target, query string) backup.Artifact {
	w.t.Helper()
	n := catalog.NewArtifact{Point: p.ID, Destination: backup.DestinationNew, Target: target}
	if query != "" {
		n.Unit, n.Search, n.Query = p.Unit, "s", query
	}
	s, err := w.catalog.CreateSession(w.ctx, w.tenant, backup.Exchange, backup.RestoreStandard, []catalog.NewArtifact{n}, backup.Stamp{})
	w.must(err)
	return w.activateSession(s)
}

// wantOther compares the mailbox of the second user with what it held and what was
// restored into a folder of it.
func (w *world) wantOther(a backup.Artifact, held, restored map[string]string) {
	w.t.Helper()
	want := map[string]string{}
	for folder, subjects := range held {
		want[folder] = subjects
	}
	for folder, subjects := range restored {
		want[a.RestoredSiteName+"/"+folder] = subjects
	}
	got := w.inBox(1)
	for folder, subjects := range got {
		if have := strings.Join(subjects, ","); have != want[folder] {
			w.t.Errorf("%s holds %q, want %q\n%s", folder, have, want[folder], w.log)
		}
	}
	for folder, subjects := range want {
		if got[folder] == nil {
			w.t.Errorf("%s holds nothing, want %q", folder, subjects)
		}
	}
}

var allMail = map[string]string{"Inbox": "one,two", "Inbox/Projects": "plan", "Sent Items": "sent", "Calendar": "meet", "Contacts": "Bob", "Notes": "remember"}

// The mailbox of who has left comes into a folder of a colleague's, named for the owner,
// by the colleague's id or address; in whole or what a search finds. Nothing else is
// touched, and nothing is made twice by a second restore's folder.
func TestAMailboxIsRestoredIntoAnother(t *testing.T) {
	w, unit := newPost(t)
	w.post(0, someMail)
	w.post(1, map[string]string{"Inbox/own.eml": letter("own")})
	p := w.backUp(unit)
	w.must(os.RemoveAll(w.box(0)))
	a := w.toOther(p, string(w.users[1].ID), "")
	w.run(jobs.Restore, string(a.ID), w.engine.restore)
	if a = w.artifact(a); a.Status != backup.ArtifactSucceeded || a.Problem != nil || a.RestoredItems != 7 || !strings.HasPrefix(a.RestoredSiteName, "ann@example.com restored ") {
		t.Fatalf("artifact is %+v\n%s", a, w.log)
	}
	w.wantOther(a, map[string]string{"Inbox": "own"}, allMail)
	w.must(os.RemoveAll(filepath.Join(w.box(1), a.RestoredSiteName)))
	b := w.toOther(p, "bob@example.com", "MessageKind -eq 'Calendar'")
	w.run(jobs.Restore, string(b.ID), w.engine.restore)
	if b = w.artifact(b); b.Status != backup.ArtifactSucceeded || b.RestoredItems != 1 {
		t.Fatalf("artifact is %+v\n%s", b, w.log)
	}
	w.wantOther(b, map[string]string{"Inbox": "own"}, map[string]string{"Calendar": "meet"})
}

// Killed at any import, before or after the source has done it, and begun again, it makes
// nothing twice and leaves nothing out.
func TestPlayAMailboxIsRestoredIntoAnotherAfterEachKill(t *testing.T) {
	lose := &loss{}
	w, unit := newPost(t, lose.between)
	w.post(0, someMail)
	p := w.backUp(unit)
	for n := 1; n <= 7; n += 2 {
		for _, answered := range []bool{false, true} {
			a := w.toOther(p, string(w.users[1].ID), "")
			ctx, cancel := context.WithCancel(w.ctx)
			lose.set(n, answered, cancel)
			if err := w.try(ctx, jobs.Restore, string(a.ID), w.engine.restore); err == nil {
				t.Fatal("a restore that was stopped succeeded")
			}
			cancel()
			w.run(jobs.Restore, string(a.ID), w.engine.restore)
			if a = w.artifact(a); a.Status != backup.ArtifactSucceeded || a.Problem != nil || a.RestoredItems != 7 {
				t.Errorf("artifact is %s: %+v, %d items\n%s", a.Status, a.Problem, a.RestoredItems, w.log)
			}
			w.wantOther(a, nil, allMail)
			w.must(os.RemoveAll(filepath.Join(w.box(1), a.RestoredSiteName)))
		}
	}
}

// What the colleague moves out of the folder meanwhile is not put there again.
func TestWhatIsMovedMeanwhileIsNotRestoredTwice(t *testing.T) {
	lose := &loss{}
	w, unit := newPost(t, lose.between)
	w.post(0, someMail)
	w.engine.Transfers = 1
	p := w.backUp(unit)
	a := w.toOther(p, string(w.users[1].ID), "")
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	lose.set(5, false, cancel)
	if err := w.try(ctx, jobs.Restore, string(a.ID), w.engine.restore); err == nil {
		t.Fatal("a restore that was stopped succeeded")
	}
	place := w.artifact(a).RestoredSiteName
	moved := ""
	for folder := range w.inBox(1) {
		if strings.HasPrefix(folder, place+"/Inbox") && moved == "" {
			moved = strings.TrimPrefix(folder, place+"/")
			w.must(os.MkdirAll(w.box(1)+"/Archive", 0o755))
			files, err := filepath.Glob(filepath.Join(w.box(1), folder, "*.eml"))
			w.must(err)
			more, err := filepath.Glob(filepath.Join(w.box(1), folder, "cur", "*"))
			w.must(err)
			for _, f := range append(files, more...) {
				w.must(os.Rename(f, filepath.Join(w.box(1), "Archive", strings.ReplaceAll(filepath.Base(f), ":2,", ""))))
			}
		}
	}
	if moved == "" {
		t.Fatal("nothing of the inbox had come")
	}
	w.run(jobs.Restore, string(a.ID), w.engine.restore)
	a = w.artifact(a)
	total := 0
	for _, subjects := range w.inBox(1) {
		total += len(subjects)
	}
	if total != 7 || a.Status != backup.ArtifactSucceeded || a.Problem == nil || a.Problem.Code != backup.RestoredWithRemarks {
		t.Errorf("%d items are there; artifact is %s: %+v\n%v", total, a.Status, a.Problem, w.inBox(1))
	}
}

// A user without a mailbox, and nobody of the tenant, is refused in words, and nothing is
// changed.
func TestAMailboxIsNotRestoredIntoNone(t *testing.T) {
	w, unit := newPost(t)
	w.post(0, someMail)
	p := w.backUp(unit)
	before := w.inBox(1)
	for _, target := range []string{"20000000-0000-4000-8000-000000000099", "eve@elsewhere.example"} {
		a := w.toOther(p, target, "")
		w.giveUp(jobs.Restore, string(a.ID), w.engine.restore)
		a = w.artifact(a)
		if a.Status != backup.ArtifactFailed || a.Problem == nil || a.Problem.Code != backup.ArtifactNotFound || !strings.Contains(a.Problem.Details[0].Message, "no mailbox") {
			t.Errorf("artifact is %s: %+v\n%s", a.Status, a.Problem, w.log)
		}
	}
	if got := w.inBox(1); len(got) != len(before) {
		t.Errorf("the mailbox holds %v", got)
	}
}
