package engine

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/backup"
	"holdfast/internal/jobs"
	"holdfast/internal/simtenant"
)

// truthMail returns what a mailbox holds, as keptMail tells of points.
func (w *world) truthMail() (all []string) {
	for folder, subjects := range w.inBox(0) {
		for _, s := range subjects {
			all = append(all, folder+": "+s)
		}
	}
	slices.Sort(all)
	return all
}

func (w *world) heldMail(p backup.Point) (all []string) {
	for folder, subjects := range w.keptMail(p) {
		for _, s := range subjects {
			all = append(all, folder+": "+s)
		}
	}
	slices.Sort(all)
	return all
}

// Whatever a source says, a point holds a mailbox as it is, or says what it lacks, or
// there is none; and when the source is sound again, so is the next.
func TestPlayAMailboxOfAMisleadingSource(t *testing.T) {
	var hostile *simtenant.Hostile
	w, unit := newPost(t, func(sim http.Handler) http.Handler {
		hostile = simtenant.NewHostile(sim)
		return hostile
	})
	w.faults.Set(func(o *simtenant.Options) { o.PageSize, o.Mail.Requests, o.Mail.Upload = 3, 1_000_000, 1<<40 })
	w.post(0, map[string]string{"Inbox/Projects/deep/plan.eml": letter("plan")})
	long := strings.Repeat("A line of a letter that is long enough.\r\n", 60)
	letter := func(subject string) string { return letter(subject, long) }
	for i, profile := range simtenant.MailProfiles() {
		if profile.Restoring || profile.Name == otherIDs {
			continue
		}
		for _, of := range []string{"Archive/*.eml", "Inbox/victim new*", "victim folder/other*"} {
			all, err := filepath.Glob(filepath.Join(w.box(0), of))
			w.must(err)
			for _, at := range all {
				w.must(os.Remove(at))
			}
		}
		files := map[string]string{"victim folder/inside.eml": letter(fmt.Sprint("inside ", i)), "victim other/other.eml": letter(fmt.Sprint("beside ", i))}
		for n := range 3 {
			files[fmt.Sprint("Inbox/victim ", n, ".eml")] = letter(fmt.Sprint("victim ", i, ",", n))
			files[fmt.Sprint("Inbox/other ", n, ".eml")] = letter(fmt.Sprint("other ", i, ",", n))
		}
		w.post(0, files)
		before := w.backUp(unit)
		if i%2 == 1 {
			w.reconcileAt(unit)
		}
		w.post(0, map[string]string{"Inbox/victim 0.eml": letter(fmt.Sprint("victim changed ", i)), fmt.Sprint("Inbox/victim new ", i, ".eml"): letter(fmt.Sprint("new ", i)),
			"Inbox/Projects/victim.eml": letter(fmt.Sprint("in projects ", i)), "Sent Items/other.eml": letter(fmt.Sprint("sent ", i))})
		w.must(os.Rename(w.box(0)+"/Inbox/victim 1.eml", w.box(0)+fmt.Sprint("/Archive/victim ", i, ".eml")))
		w.must(os.Rename(w.box(0)+"/Inbox/other 1.eml", w.box(0)+fmt.Sprint("/victim folder/other ", i, ".eml")))
		w.must(os.Remove(w.box(0) + "/Inbox/other 2.eml"))
		w.must(os.RemoveAll(w.box(0) + "/victim other"))
		hostile.Play(profile, isVictim)
		err := w.try(w.ctx, jobs.Backup, string(unit.ID), w.engine.backup)
		hits := hostile.Stop()
		if testing.Verbose() {
			t.Log(profile.Name, "hits", hits, "err", err)
		}
		p := w.latest(unit)
		if p.At.After(before.At) {
			truth, held := w.truthMail(), w.heldMail(p)
			if lacks := w.lacking(p); len(lacks) == 0 && !slices.Equal(truth, held) && !untold[profile.Name] {
				t.Errorf("%s: the point says nothing of how it differs from the mailbox:\n%s", profile.Name, cmp.Diff(truth, held))
			}
		}
		w.wait.Add(int64(24 * time.Hour))
		w.reconcileAt(unit)
		p = w.backUp(unit)
		if truth, held := w.truthMail(), w.heldMail(p); !slices.Equal(truth, held) || len(w.lacking(p)) > 0 {
			t.Errorf("%s: the point after differs from the mailbox, and lacks %q:\n%s", profile.Name, w.lacking(p), cmp.Diff(truth, held))
		}
	}
}

// untold are what nobody can tell from the truth before all is enumerated again.
var untold = map[string]bool{
	"changes that are not told":          true,
	"mail items of one id":               true,
	"mail folders whose names are paths": true, // which they may be
}

// otherIDs has a source know no ids that outlast a move.
const otherIDs = "ids that change with every move"

// Where ids change with every move, what moved is another item.
func TestAMailboxWhoseIDsChange(t *testing.T) {
	var hostile *simtenant.Hostile
	w, unit := newPost(t, func(sim http.Handler) http.Handler {
		hostile = simtenant.NewHostile(sim)
		return hostile
	})
	for _, profile := range simtenant.MailProfiles() {
		if profile.Name == otherIDs {
			hostile.Play(profile, isVictim)
		}
	}
	w.post(0, someMail)
	w.backUp(unit)
	w.must(os.Rename(w.box(0)+"/Inbox/two.eml", w.box(0)+"/Archive/two.eml"))
	w.must(os.Rename(w.box(0)+"/Inbox/Projects", w.box(0)+"/Deleted Items/Projects"))
	for range 2 {
		p := w.backUp(unit)
		if truth, held := w.truthMail(), w.heldMail(p); !slices.Equal(truth, held) || len(w.lacking(p)) > 0 {
			t.Errorf("the point holds %q and lacks %q, of %q", held, w.lacking(p), truth)
		}
		w.reconcileAt(unit)
	}
	if hostile.Stop() == 0 {
		t.Error("nothing was changed")
	}
}

// Whatever a source says while a mailbox is restored, nothing is there twice, and what
// is not there is named.
func TestPlayAMailboxIsRestoredToAMisleadingSource(t *testing.T) {
	for _, profile := range simtenant.MailProfiles() {
		if !profile.Restoring {
			continue
		}
		var hostile *simtenant.Hostile
		w, unit := newPost(t, func(sim http.Handler) http.Handler {
			hostile = simtenant.NewHostile(sim)
			return hostile
		})
		w.post(0, someMail)
		w.post(0, map[string]string{"Inbox/victim.eml": letter("victim"), "Inbox/Projects/victim.eml": letter("victim project")})
		p := w.backUp(unit)
		w.harm()
		w.must(os.Remove(w.box(0) + "/Inbox/victim.eml"))
		want := map[string]string{}
		for folder, subjects := range mended {
			want[folder] = subjects
		}
		want["Inbox"], want["Inbox/Projects"] = "later,one,two,victim", "plan,victim project"
		a := w.activate(p, backup.DestinationInPlace)
		hostile.Play(profile, func(name string) bool { return isVictim(name) || strings.Contains(name, "Projects") })
		err := w.try(w.ctx, jobs.Restore, string(a.ID), w.engine.restore)
		hits := hostile.Stop()
		w.wait.Add(int64(time.Hour))
		if err != nil {
			w.run(jobs.Restore, string(a.ID), w.engine.restore)
		}
		a, _ = w.catalog.Artifact(w.ctx, w.tenant, a.Session, a.ID)
		if testing.Verbose() {
			t.Log(profile.Name, "hits", hits, "err", err, a.Status)
		}
		if a.Status == backup.ArtifactSucceeded {
			w.wantBox(profile.Name, want)
		}
		if a.Status != backup.ArtifactSucceeded {
			w.restored(p, backup.DestinationInPlace)
			w.wantBox(profile.Name+", again", want)
		}
	}
}
