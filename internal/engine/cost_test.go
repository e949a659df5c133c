package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/budget"
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
	isUsers := func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/"+string(unit.Subject)+"/drive") }

	none := simtenant.Fault{Times: 1, Status: 404, Body: `{"error":{"code":"ResourceNotFound","message":"User's mysite not found."}}`, Match: isUsers}
	w.faults.Add(none)
	w.try(w.ctx, jobs.Backup, string(unit.ID), w.engine.backup)
	if p := w.unit(unit.ID).Problem; p == nil || !strings.Contains(p.Message, "OneDrive") {
		t.Errorf("an owner without a drive: the unit says %+v", p)
	}

	w.faults.Add(simtenant.Fault{Status: 200, Body: fmt.Sprintf(`{"id":%q,"name":"OneDrive"}`, drives[1].ID), Match: isUsers})
	w.same("the new drive's point", w.look(w.home(1)), w.kept(w.backUp(unit).Tree))
}

// When a day's units come to an end, what comes first goes on, and nothing fails.
func TestTheEndOfADaysUnitsIsForWhatComesFirst(t *testing.T) {
	w := newWorld(t, "ann", "bob")
	home := w.home(0)
	w.put(home, map[string]string{"a.txt": "a", "b.txt": "b"})
	w.put(w.home(1), map[string]string{"c.txt": "c"})
	units := w.protectAll()
	const day = 100_000
	b := budget.New(budget.Config{Limits: func(context.Context) (budget.Limits, error) { return budget.Limits{PerDay: day}, nil }})
	w.source = drive.New(drive.Config{Graph: w.url + "/v1.0", Authority: w.url, Tenant: w.tenant, ClientID: testApp, Credential: drive.Secret(testSecret), Budget: b})
	work := w.engine.Work()
	point := w.backUp(units[0])

	b.Charge(day * 90 / 100) // more than an enumeration may use up
	w.skew.Add(int64(8 * 24 * time.Hour))
	w.put(home, map[string]string{"a.txt": "edited"})
	w.same("the point when it was time to enumerate", w.look(home), w.kept(w.backUp(units[0]).Tree))
	if strings.Count(w.log.String(), "enumerated=true") != 1 { // the first time
		t.Error("the drive was enumerated")
	}

	b.Charge(day * 3 / 100) // more than a first backup may
	result, err := work[jobs.Backup].Handler(w.ctx, w.claim(jobs.Backup, string(units[1].ID)))
	if err != nil || result == jobs.Done {
		t.Fatalf("a first backup = %v, %v, want a pause", result, err)
	}
	if p := w.unit(units[1].ID).Problem; p == nil || !strings.Contains(p.Message, "pause") {
		t.Errorf("the unit that waits for its first backup says %+v", p)
	}
	w.put(home, map[string]string{"b.txt": "edited"})
	w.same("the point of a drive with changes", w.look(home), w.kept(w.backUp(units[0]).Tree))

	b.Charge(day * 3 / 100) // more than that of a drive with changes
	want := w.look(home)
	if err := w.try(w.ctx, jobs.Backup, string(units[0].ID), w.engine.backup); !errors.Is(err, drive.ErrPaused) {
		t.Errorf("a backup = %v, want a pause", err)
	}
	if p := w.unit(units[0].ID).Problem; p != nil {
		t.Errorf("the unit that is backed up says %+v", p)
	}
	a := w.activate(point, backup.DestinationInPlace)
	if _, err := work[jobs.Restore].Handler(w.ctx, w.claim(jobs.Restore, string(a.ID))); err != nil {
		t.Errorf("the restore failed: %v", err)
	}
	if now := w.look(home); now["a.txt"] == want["a.txt"] {
		t.Errorf("nothing was restored: %v", now)
	}
}
