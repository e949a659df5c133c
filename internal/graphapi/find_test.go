package graphapi

import (
	"fmt"
	"iter"
	"net/url"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/identity"
	"holdfast/internal/jobs"
)

// name commits a point of a unit at which items came by their names, or went.
func (w *world) name(unit string, changes ...catalog.NameChange) backup.Point {
	w.t.Helper()
	w.wait(time.Hour)
	var job *jobs.Job
	for _, j := range w.claim(jobs.Backup) {
		if j.Key == unit {
			job = j
		}
	}
	if job == nil {
		w.t.Fatal("no backup is due")
	}
	ctx, at := w.t.Context(), w.clock()
	_, s, err := w.catalog.UnitForBackup(ctx, contoso, backup.UnitID(unit))
	if err != nil {
		w.t.Fatal(err)
	}
	prev, from := s.Root, s.Named
	s.Drive, s.Root, s.Tree = backup.DriveID("drive-"+unit), backup.NewID[string](), at.Format(time.RFC3339Nano)
	var all iter.Seq2[catalog.NameChange, error] = func(yield func(catalog.NameChange, error) bool) {
		for _, c := range changes {
			if c.At = at; !yield(c, nil) {
				return
			}
		}
	}
	oldest, err := w.catalog.Points(ctx, contoso, catalog.PointQuery{Unit: backup.UnitID(unit), Oldest: true})
	if err != nil {
		w.t.Fatal(err)
	}
	staged, err := w.catalog.StageNames(ctx, job, catalog.NameStage{Unit: backup.UnitID(unit), Drive: s.Drive, Tree: s.Tree, At: at, Alone: true, Anew: from == "", Since: oldest.Items[0].At}, all)
	if err != nil {
		w.t.Fatal(err)
	}
	p, err := w.catalog.CommitPoint(ctx, job, catalog.Commit{Unit: backup.UnitID(unit), PrevRoot: prev, State: s, Promise: promise, Every: time.Minute,
		Names: []catalog.NamedTree{staged}, Point: backup.Point{At: at, Tree: s.Tree}})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.queue.Reclaim(ctx); err != nil {
		w.t.Fatal(err)
	}
	return p
}

// holdfast.find says of what has a name which points hold it, and how it is got back; to
// whoever may look into backups, and to nobody of another tenant.
func TestFind(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.app(contoso)
		points, _ := w.fast(c, ownerN(1))
		unit := string(points[0].Unit)
		at := "/protectionUnits('" + unit + "')/holdfast.find"
		if got := c.do("GET", at+"(name='txt')", nil).want(200); len(got.list("value")) > 0 || !strings.Contains(fmt.Sprint(got.json["@holdfast.note"]), "cannot be searched") {
			t.Errorf("before there is an index: %s", got.text)
		}
		came := []catalog.NameChange{{Item: "f", To: "100% #1.txt"}, {Item: "a", To: "a"}, {Item: "lost", To: "O'Neil/x.txt"}}
		first := w.name(unit, came...)
		second := w.name(unit, catalog.NameChange{Item: "f", From: "100% #1.txt"})
		got := c.do("GET", at+"(name='100%25')", nil).want(200).list("value")
		if len(got) != 1 {
			t.Fatalf("found %v", got)
		}
		f := got[0].(obj)
		if f["name"] != "100% #1.txt" || f["path"] != "100% #1.txt" || f["type"] != "file" || f["sizeInBytes"] != "7" || f["isInNewest"] != false ||
			f["restorePointId"] != string(first.ID) || f["lastSeenDateTime"] != first.At.Format(time.RFC3339Nano) || f["firstSeenDateTime"] != f["lastSeenDateTime"] ||
			f["itemKey"] != string(backup.KeyOf(contoso, first.Drive, "f")) || f["browsableRestorePointId"] != nil {
			t.Errorf("found %v, of point %+v", f, first)
		}
		if f := c.do("GET", at+"(name='A')?$top=1", nil).want(200).list("value")[0].(obj); f["restorePointId"] != string(second.ID) || f["browsableRestorePointId"] != string(second.ID) || f["isInNewest"] != true {
			t.Errorf("found %v, want it in %+v", f, second)
		}
		// What the vault does not give is named all the same.
		answer := c.do("GET", at+"(name='o''neil%2Fx.*')", nil).want(200)
		if all := answer.list("value"); len(all) != 1 || all[0].(obj)["name"] != "o'neil/x.txt" || all[0].(obj)["path"] != nil || !strings.Contains(fmt.Sprint(answer.json["@holdfast.note"]), "vault") {
			t.Errorf("found %s", answer.text)
		}
		names := 0
		for next := at + "/" + url.PathEscape("*") + "?$top=1"; next != ""; {
			page := c.do("GET", next, nil).want(200)
			names += len(page.list("value"))
			link, _ := page.json["@odata.nextLink"].(string)
			if _, next, _ = strings.Cut(link, root); names > 5 {
				t.Fatal("there is no end of pages")
			}
		}
		if names != 3 {
			t.Errorf("%d items in pages of one", names)
		}
		for _, name := range []string{"%20", "a*b*c*d*e*f*g", strings.Repeat("a", 300)} {
			c.do("GET", at+"/"+name, nil).want(400, backup.InvalidRequest)
		}
		c.do("GET", "/protectionUnits/"+backup.NewID[string]()+"/holdfast.find/a", nil).want(404, backup.ProtectionUnitNotFound)
		w.app(fabrikam).do("GET", at+"/a", nil).want(404, backup.ProtectionUnitNotFound)
		w.app(contoso, identity.SearchRead).do("GET", at+"/a", nil).want(403, backup.AuthorizationDenied)

		_, mail := w.mailbox(c, ownerN(2))
		for unit, point := range mail {
			if c.do("GET", "/protectionUnits/"+unit, nil).want(200).str("directoryObjectId") != ownerN(2) {
				continue
			}
			got := c.do("GET", "/protectionUnits/"+unit+"/holdfast.find(name='INVOICE')", nil).want(200)
			all := got.list("value")
			if len(all) != 2 || all[0].(obj)["name"] != "Invoice 5/2026" || all[0].(obj)["path"] != "Inbox" || all[0].(obj)["restorePointId"] != string(point) || got.json["@holdfast.note"] != nil {
				t.Errorf("mail found: %s", got.text)
			}
		}
	})
}
