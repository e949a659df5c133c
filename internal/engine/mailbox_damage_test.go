package engine

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/jobs"
)

// longMail is mail of which each has a content of its own in the vault.
func longMail(n int) map[string]string {
	rnd := rand.New(rand.NewPCG(1, 2))
	all := map[string]string{}
	for i := range n {
		b := make([]byte, 12_000)
		for at := range b {
			b[at] = byte(rnd.Uint32())
		}
		all[fmt.Sprintf("Inbox/Folder %d/%02d.eml", i%4, i)] = letter(fmt.Sprint("number ", i), base64.StdEncoding.EncodeToString(b), "\r\n")
	}
	return all
}

// wantSound reports what of a point does not open.
func (w *world) wantSound(what string, p backup.Point, want map[string]string, mimes int) {
	w.t.Helper()
	w.wantMail(what, p, want)
	if got := w.mimes(p); len(got) != mimes {
		w.t.Errorf("%s: %d messages as MIME, want %d", what, len(got), mimes)
	}
}

// What is damaged of streams or MIME is found by the rotation, named, and read again
// while the source still has it; every point that shares it is whole again.
func TestDamageOfAMailboxIsFoundAndHealed(t *testing.T) {
	w, unit := newPost(t)
	w.ownVault()
	w.post(0, longMail(16))
	first := w.backUp(unit)
	mail := map[string]string{}
	for folder, subjects := range w.keptMail(first) {
		if len(subjects) > 0 {
			mail[folder] = strings.Join(subjects, ",")
		}
	}
	w.post(0, map[string]string{"Sent Items/new.eml": letter("new")})
	w.backUp(unit)
	b, err := os.ReadFile(w.blobs("p")[0])
	w.must(err)
	for at := 2000; at < len(b); at += 20_000 {
		b[at] ^= 1
	}
	w.must(os.WriteFile(w.blobs("p")[0], b, 0o600))

	w.skew.Add(int64(31 * 24 * time.Hour))
	w.run(jobs.Verify, string(w.tenant), w.engine.verify)
	streams, mimes := 0, 0
	for _, d := range w.openDamage(unit) {
		switch {
		case d.Item == "" || !strings.HasPrefix(d.Path, "Inbox/Folder "):
			t.Errorf("damage is %+v", d)
		case isMIME(d.Item):
			mimes++
		default:
			streams++
		}
	}
	if streams == 0 || mimes == 0 {
		t.Fatalf("%d streams and %d messages as MIME are damaged\n%s", streams, mimes, w.log)
	}
	w.reset()
	w.backUp(unit)
	if left := w.openDamage(unit); len(left) != 0 {
		t.Errorf("damage is left: %+v", left)
	}
	w.wantAsked("mime", mimes)
	w.wantSound("the first point", first, mail, 16)
	w.skew.Add(int64(31 * 24 * time.Hour))
	w.run(jobs.Verify, string(w.tenant), w.engine.verify)
	if left := w.openDamage(unit); len(left) != 0 || w.unit(unit.ID).Problem != nil {
		t.Errorf("damage is found again: %+v, the unit says %+v", left, w.unit(unit.ID).Problem)
	}
}

// A mailbox of whose folders the vault cannot tell begins anew, and what contents it still
// has is not read again.
func TestDamagedFoldersOfAMailboxAreWrittenAnew(t *testing.T) {
	w, unit := newPost(t)
	w.ownVault()
	w.post(0, someMail)
	w.backUp(unit)
	for _, blob := range w.blobs("q") {
		b, err := os.ReadFile(blob)
		w.must(err)
		if len(b) > 3000 {
			b[200] ^= 1
			w.must(os.WriteFile(blob, b, 0o600))
		}
	}
	w.must(w.vault.Close(w.ctx))
	w.ownVault() // which remembers nothing
	w.post(0, map[string]string{"Inbox/new.eml": letter("new"), "Archive/old.eml": letter("old")})
	w.backUp(unit)
	w.skew.Add(int64(31 * 24 * time.Hour))
	w.run(jobs.Verify, string(w.tenant), w.engine.verify) // which finds what that did not look into
	p := w.backUp(unit)
	w.wantSound("the new point", p, map[string]string{"Inbox": "new,one,two", "Archive": "old", "Inbox/Projects": "plan", "Sent Items": "sent", "Calendar": "meet", "Contacts": "Bob", "Notes": "remember"}, 6)
	if lacks := w.lacking(p); len(lacks) > 0 {
		t.Errorf("it lacks %q", lacks)
	}
}

// Points whose time is over go; what later ones need stays, of streams and of MIME. Out of
// its policy a mailbox keeps its points, and can be restored; offboarded it has none, and
// nothing of it is found.
func TestPointsOfAMailboxExpireAndAreOffboarded(t *testing.T) {
	w, unit := newPost(t)
	w.ownVault()
	w.post(0, someMail)
	w.backUp(unit)
	w.post(0, map[string]string{"Inbox/one.eml": letter("one, changed")})
	gone := w.backUp(unit) // neither the newest, nor the week's first
	w.must(os.Remove(w.box(0) + "/Inbox/two.eml"))
	w.skew.Store(int64(13 * 24 * time.Hour))
	last := w.backUp(unit)
	w.skew.Store(int64(15 * 24 * time.Hour))
	w.run(jobs.Expire, string(w.tenant), w.engine.expire)
	w.run(jobs.Maintain, string(w.tenant), w.engine.maintain)
	if _, err := w.catalog.Point(w.ctx, w.tenant, gone.ID); err == nil {
		t.Fatal("the point has not expired")
	}
	held := map[string]string{"Inbox": "one, changed", "Inbox/Projects": "plan", "Sent Items": "sent", "Calendar": "meet", "Contacts": "Bob", "Notes": "remember"}
	w.wantSound("the last point", last, held, 3)
	if n := w.finds(last, "Subject -like 'changed'"); n != 1 {
		t.Errorf("%d items are found", n)
	}

	by := backup.Stamp{At: w.engine.Clock()}
	_, _, err := w.catalog.UpdatePolicy(w.ctx, w.tenant, unit.Policy, catalog.PolicyPatch{Units: []catalog.UnitChange{{Remove: unit.ID}}, By: by})
	w.must(err)
	w.run(jobs.Settle, string(unit.Policy), w.engine.settle)
	w.must(os.RemoveAll(w.box(0) + "/Inbox/Projects"))
	w.restored(last, backup.DestinationInPlace)
	if got := w.inBox(0); strings.Join(got["Inbox/Projects"], ",") != "plan" {
		t.Errorf("out of its policy it was restored to %v\n%s", got, w.log)
	}
	_, err = w.catalog.OffboardUnit(w.ctx, w.tenant, unit.ID, by)
	w.must(err)
	w.skew.Add(int64(91 * 24 * time.Hour))
	w.run(jobs.Offboard, string(unit.ID), w.engine.offboard)
	if got := w.unit(unit.ID); got.Status != backup.UnitOffboarded {
		t.Fatalf("the unit is %s", got.Status)
	}
	if _, err := w.catalog.Point(w.ctx, w.tenant, last.ID); !errors.Is(err, backup.InvalidRestorePoint) {
		t.Errorf("its point: %v", err)
	}
	for id, err := range w.catalog.FoundMail(w.ctx, backup.Artifact{Tenant: w.tenant, Point: last, Query: "Subject -like 'changed'"}) {
		if err == nil {
			t.Errorf("item %s is found", id)
		}
	}
	w.run(jobs.Maintain, string(w.tenant), w.engine.maintain)
}
