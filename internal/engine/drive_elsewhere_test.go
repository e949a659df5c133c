package engine

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/jobs"
	"holdfast/internal/simtenant"
)

// toOtherDrive activates the restore of a drive beside another, or into a site.
func (w *world) toOtherDrive(p backup.Point, target string) backup.Artifact {
	w.t.Helper()
	s, err := w.catalog.CreateSession(w.ctx, w.tenant, backup.OneDrive, backup.RestoreStandard,
		[]catalog.NewArtifact{{Point: p.ID, Destination: backup.DestinationNew, Target: target}}, backup.Stamp{})
	w.must(err)
	return w.activateSession(s)
}

// The drive of who has left, whom the directory and the source know no more, comes into a
// new library beside a colleague's drive, or of a site; a restore that is killed goes on
// in the same one, also where the site's own backups know it by then.
func TestTheDriveOfWhoHasLeft(t *testing.T) {
	w := newWorldOf(t, func(sim http.Handler) http.Handler { return sim }, true, "ann", "bob")
	home := w.home(0)
	w.put(home, map[string]string{"a.txt": "a", "folder/b.txt": "b", "folder/deep/c.txt": "c"})
	unit := w.protectAll()[0]
	p := w.backUp(unit)
	want := w.kept(p.Tree)
	site := w.makeSite(map[string]map[string]string{"Documents": {"own.txt": "own"}})
	w.put(w.home(1), map[string]string{"bobs.txt": "bob's"})
	bobs := w.look(w.home(1))
	w.must(os.RemoveAll(home))
	w.faults.Add(simtenant.Fault{Status: 404, Body: `{"error":{"code":"Request_ResourceNotFound","message":"Resource does not exist."}}`, Match: func(r *http.Request) bool {
		return strings.Contains(r.URL.Path, string(unit.Subject)) || strings.Contains(r.URL.Path, string(p.Drive))
	}})
	if err := w.try(w.ctx, jobs.Restore, string(w.activate(p, backup.DestinationNew).ID), w.engine.restore); err == nil {
		t.Fatal("it was restored beside the drive that is gone")
	}
	for _, target := range []string{string(w.users[1].ID), "bob@example.com"} {
		a := w.finish(w.toOtherDrive(p, target))
		if a.Status != backup.ArtifactSucceeded || a.Problem != nil || !strings.HasPrefix(a.RestoredSiteName, "ann-restored-R") || a.RestoredSiteWebURL == "" {
			t.Fatalf("to %s: %+v\n%s", target, a, w.log)
		}
		w.same("the place", want, w.library(backup.Unit{Subject: backup.SubjectID(w.users[1].ID)}, a.RestoredSiteName))
	}
	w.same("what was there", bobs, w.look(w.home(1)))

	a := w.toOtherDrive(p, "https://example.sharepoint.com")
	w.stopAfter("upload", 2, jobs.Restore, string(a.ID), w.engine.restore)
	w.backUp(site)
	if a = w.finish(a); a.Status != backup.ArtifactSucceeded || a.RestoredSiteName != "ann-restored-R0" {
		t.Fatalf("into a site: %+v\n%s", a, w.log)
	}
	w.same("in the site", want, w.look(w.siteLibrary("ann-restored-R0")))
	w.sameSite("the site", w.backUp(site), "Documents", "ann-restored-R0")

	for _, target := range []string{"nobody@example.com", "https://example.sharepoint.com/sites/none"} {
		a := w.toOtherDrive(p, target)
		j := w.claim(jobs.Restore, string(a.ID))
		j.Failures = maxLastingFailures
		if _, err := w.engine.restore(w.ctx, j); err != nil {
			t.Fatal(err)
		}
		if a = w.artifact(a); a.Status != backup.ArtifactFailed || !strings.Contains(a.Problem.Message+detail(a.Problem, ""), "to restore into") {
			t.Errorf("to %s: %s %+v", target, a.Status, a.Problem)
		}
	}
}
