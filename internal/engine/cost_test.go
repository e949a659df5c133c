package engine

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"holdfast/internal/drive"
	"holdfast/internal/jobs"
	"holdfast/internal/simtenant"
)

// What is counted by the source is what limits how many drives a tenant may have.
func TestAFileCostsOneCallAndAnUnchangedDriveOne(t *testing.T) {
	w := newWorld(t, "ann")
	home := w.home(0)
	files := map[string]string{}
	for i := range 50 {
		files[fmt.Sprintf("%d/f%d.txt", i%7, i)] = fmt.Sprint("content ", i)
	}
	w.put(home, files)
	unit := w.protectAll()[0]
	w.same("the first point", w.look(home), w.kept(w.backUp(unit).Tree))
	if n, most := w.asked("all"), len(files)+6; n > most {
		t.Errorf("%d requests for a first backup of %d files, want %d at most", n, len(files), most)
	}
	w.wantAsked("download", len(files))

	w.reset()
	w.backUp(unit)
	w.wantAsked("delta", 1)
	w.wantAsked("all", 1)

	w.put(home, map[string]string{"0/f0.txt": "edited"})
	w.reset()
	w.same("the next point", w.look(home), w.kept(w.backUp(unit).Tree))
	w.wantAsked("all", 3) // the change, the file, and whether there is more

	w.skew.Add(int64(askEvery * w.engine.Interval))
	w.reset()
	w.backUp(unit)
	w.wantAsked("drive", 1)
	w.wantAsked("all", 2)
}

// A drive that is remembered, and does not answer any more, is asked for at once.
func TestARememberedDriveThatIsGoneIsLookedFor(t *testing.T) {
	w := newWorld(t, "ann", "bob")
	w.put(w.home(0), map[string]string{"a.txt": "old drive"})
	w.put(w.home(1), map[string]string{"b.txt": "new drive"})
	unit := w.protectAll()[0]
	w.backUp(unit)
	var drives []drive.Drive
	for _, u := range w.users {
		d, err := w.source.UserDrive(w.ctx, u.ID)
		w.must(err)
		drives = append(drives, d)
	}
	w.faults.Add(simtenant.Fault{Status: 404, Body: notFound, Match: func(r *http.Request) bool {
		return strings.Contains(r.URL.Path, "/drives/"+string(drives[0].ID))
	}})
	isUsers := func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/"+string(unit.Directory)+"/drive") }

	none := simtenant.Fault{Times: 1, Status: 404, Body: `{"error":{"code":"ResourceNotFound","message":"User's mysite not found."}}`, Match: isUsers}
	w.faults.Add(none)
	w.try(w.ctx, jobs.Backup, string(unit.ID), w.engine.backup)
	if p := w.unit(unit.ID).Problem; p == nil || !strings.Contains(p.Message, "OneDrive") {
		t.Errorf("an owner without a drive: the unit says %+v", p)
	}

	w.faults.Add(simtenant.Fault{Status: 200, Body: fmt.Sprintf(`{"id":%q,"name":"OneDrive"}`, drives[1].ID), Match: isUsers})
	w.same("the new drive's point", w.look(w.home(1)), w.kept(w.backUp(unit).Tree))
}
