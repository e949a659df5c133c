package graphapi

import (
	"fmt"
	"strings"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/identity"
)

// holdfast.changes says how two points of a unit differ, page by page; of whoever may look
// into backups.
func TestChanges(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.app(contoso)
		newest, older := w.fast(c, ownerN(1), ownerN(2))
		to, from := newest[1], older
		at := "/restorePoints('" + string(to.ID) + "')/holdfast.changes(since='" + string(from.ID) + "')"
		var lines []string
		total := 0.0
		for next := at + "?$top=4&$count=true"; next != ""; {
			page := c.do("GET", next, nil).want(200)
			for _, v := range page.list("value") {
				v := v.(obj)
				lines = append(lines, fmt.Sprint(v["change"], " ", v["path"], " ", v["previousPath"], " ", v["isContentChanged"]))
			}
			total, _ = page.json["@odata.count"].(float64)
			link, _ := page.json["@odata.nextLink"].(string)
			if _, next, _ = strings.Cut(link, root); len(lines) > 50 {
				t.Fatal("there is no end of pages")
			}
		}
		if len(lines) != len(shelved)-1 || int(total) != len(lines) || lines[0] != "deleted a <nil> <nil>" || lines[1] != "moved b b old false" || lines[2] != "changed 100% #1.txt <nil> true" || lines[3] != "added a/00.txt <nil> <nil>" {
			t.Errorf("%v changes: %q", total, lines)
		}
		if got := c.do("GET", "/restorePoints/"+string(to.ID)+"/holdfast.changes/"+string(to.ID), nil).want(200); len(got.list("value")) > 0 {
			t.Errorf("a point differs from itself: %s", got.text)
		}
		c.do("GET", "/restorePoints/"+string(to.ID)+"/holdfast.changes/"+string(newest[0].ID), nil).want(400, backup.InvalidRequest)
		c.do("GET", "/restorePoints/"+string(to.ID)+"/holdfast.changes/x", nil).want(404, backup.ItemNotFound)
		c.do("GET", "/restorePoints/"+string(to.ID)+"/holdfast.changes/"+backup.NewID[string](), nil).want(400, backup.InvalidRestorePoint)
		w.app(fabrikam).do("GET", at, nil).want(404)
		w.app(contoso, identity.SearchRead).do("GET", at, nil).want(403, backup.AuthorizationDenied)
		// Of a mailbox an item is called by its subject, as far as the index knows it.
		_, mail := w.mailbox(c, ownerN(3))
		for unit := range mail {
			if c.do("GET", "/protectionUnits/"+unit, nil).want(200).str("@odata.type") != "#microsoft.graph.mailboxProtectionUnit" {
				continue
			}
			points, err := w.catalog.Points(t.Context(), contoso, catalog.PointQuery{Unit: backup.UnitID(unit)})
			if err != nil || len(points.Items) < 2 {
				t.Fatalf("the mailbox has %d points, %v", len(points.Items), err)
			}
			lines = nil
			at := "/restorePoints/" + string(points.Items[0].ID) + "/holdfast.changes/" + string(points.Items[1].ID)
			for next := at + "?$top=2"; next != ""; {
				page := c.do("GET", next, nil).want(200)
				for _, v := range page.list("value") {
					v := v.(obj)
					lines = append(lines, fmt.Sprint(v["change"], " ", v["type"], " ", v["path"], " ", v["previousPath"], " ", v["sender"]))
				}
				link, _ := page.json["@odata.nextLink"].(string)
				_, next, _ = strings.Cut(link, root)
			}
			if got := strings.Join(lines, "\n"); got != "added email Inbox/Invoice 5/2026 <nil> Amala Rao <amala@contoso.com>\nmoved email Old/Invoice 6/2026 Inbox/Invoice 6/2026 Amala Rao <amala@contoso.com>\n"+
				"deleted calendar Calendar/Lunch <nil> Amala Rao <amala@contoso.com>\nchanged item Inbox/d.fts <nil> <nil>\nadded folder Inbox/Projects <nil> <nil>" {
				t.Errorf("the mailbox changed by\n%s", got)
			}
		}
	})
}
