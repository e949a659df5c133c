package graphapi

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
)

// TestPointsSayWhatTheyLack: a point shows how many items it does not hold as
// they were, when it was verified and whether it is lost; holdfast.unread lists
// the items in pages; a browse session names the first of them.
func TestPointsSayWhatTheyLack(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.app(contoso)
		points, _ := w.fast(c, ownerN(1), ownerN(2), ownerN(3))
		lacking, lost, whole := points[0], points[1], points[2]
		set := func(id backup.PointID, what string) {
			t.Helper()
			err := w.db.Tx(t.Context(), func(tx *database.Tx) error {
				_, err := tx.ExecContext(t.Context(), `UPDATE restore_point SET `+what+` WHERE id = $1`, string(id))
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		set(lacking.ID, "unread = 150, verified = 1795000000000000")
		set(lost.ID, "lost = 1")

		got := c.do("GET", "/restorePoints/"+string(lacking.ID), nil).want(200)
		if got.json["@holdfast.unreadItemCount"] != 150.0 || got.json["@holdfast.verifiedDateTime"] != "2026-11-18T11:06:40Z" || got.json["@holdfast.isLost"] != nil {
			t.Errorf("the point that lacks items: %s", got.text)
		}
		if got := c.do("GET", "/restorePoints/"+string(lost.ID), nil).want(200); got.json["@holdfast.isLost"] != true {
			t.Errorf("the lost point: %s", got.text)
		}
		if got := c.do("GET", "/restorePoints/"+string(whole.ID), nil).want(200); got.json["@holdfast.unreadItemCount"] != nil || got.json["@holdfast.isLost"] != nil || got.json["@holdfast.fileCount"] != 3.0 || got.json["@holdfast.size"] != 1.0 {
			t.Errorf("the whole point: %s", got.text)
		}

		var paths []string
		at := "/restorePoints/" + string(lacking.ID) + "/holdfast.unread?$count=true"
		for pages := 0; at != "" && pages < 10; pages++ {
			got := c.do("GET", at, nil).want(200)
			for _, v := range got.list("value") {
				paths = append(paths, v.(obj)["path"].(string))
			}
			if pages == 0 && got.json["@odata.count"] != 150.0 {
				t.Errorf("the count: %s", got.text)
			}
			next, _ := got.json["@odata.nextLink"].(string)
			at = strings.TrimPrefix(next, host+"/v1.0/"+root)
		}
		if len(paths) != 150 || paths[149] != "a/149.txt" {
			t.Errorf("%d items are listed, the last is %q", len(paths), paths[len(paths)-1])
		}
		w.app(fabrikam).do("GET", "/restorePoints/"+string(lacking.ID)+"/holdfast.unread", nil).want(404)

		session := c.do("POST", "/"+driveBrowseSet, obj{"restorePointId": lacking.ID}).want(201)
		problem, _ := session.json["error"].(obj)
		details, _ := problem["details"].([]any)
		if problem["code"] != string(backup.ItemsNotBackedUp) || len(details) != 100 || !strings.Contains(problem["message"].(string), "150 items") {
			t.Errorf("the browse session's error is %v", problem["message"])
		}
		for _, at := range []string{"/browseSessions", "/" + driveBrowseSet + "?$select=id,error&$top=1"} {
			listed := c.do("GET", at, nil).want(200)
			if listed.str("value.0.error.code") != string(backup.ItemsNotBackedUp) || !strings.HasPrefix(listed.str("value.0.error.message"), "150 items could not be backed up as they are") {
				t.Errorf("%s = %s", at, listed.text)
			}
		}
		c.do("POST", "/"+driveBrowseSet, obj{"restorePointId": lost.ID}).want(400, backup.InvalidRestorePoint)
	})
}

// TestTheServiceSaysHowItsPointsStand: what is damaged and not healed, when all
// drives were last verified, and that the retention is not the configuration's.
func TestTheServiceSaysHowItsPointsStand(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.app(contoso)
		if got := c.do("GET", "", nil).want(200); strings.Contains(got.text, "holdfast.") {
			t.Errorf("with nothing to say: %s", got.text)
		}
		points, _ := w.fast(c, ownerN(1))
		p := points[0]
		for _, content := range []string{"one", "two"} {
			if err := w.server.catalog.NoteDamage(t.Context(), contoso, []backup.Damage{{Unit: p.Unit, Drive: p.Drive, Item: "i", Path: "a", Content: content, Reason: "flipped"}}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.server.catalog.HealDamage(t.Context(), contoso, []string{"two"}, time.Time{}); err != nil {
			t.Fatal(err)
		}
		err := w.db.Tx(t.Context(), func(tx *database.Tx) error {
			_, err := tx.ExecContext(t.Context(), `UPDATE drive_state SET verified = 1795000000000000`)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.server.catalog.AdoptRetention(t.Context(), contoso); err != nil {
			t.Fatal(err)
		}
		if err := w.server.catalog.SetRetention(backup.RetentionPlan{Default: backup.Retention{LegalHold: true}}); err != nil {
			t.Fatal(err)
		}
		w.server.cfg.Vault = func(_ context.Context, tenant backup.TenantID) string {
			return map[backup.TenantID]string{contoso: "It is away."}[tenant]
		}
		w.server.cfg.Source = func(_ context.Context, tenant backup.TenantID) ([]string, bool) {
			return map[backup.TenantID][]string{contoso: {"It is mute.", "It is deaf."}}[tenant], true
		}
		got := c.do("GET", "", nil).want(200)
		if got.json["@holdfast.sourceProblem"] != "It is mute. It is deaf." || got.json["@holdfast.vaultProblem"] != "It is away." || got.json["@holdfast.openDamageCount"] != 1.0 || got.json["@holdfast.verifiedDateTime"] != "2026-11-18T11:06:40Z" || !strings.Contains(fmt.Sprint(got.json["@holdfast.retentionDisagreement"]), "under a legal hold") {
			t.Errorf("the service: %s", got.text)
		}
		if got := w.app(fabrikam).do("GET", "", nil).want(200); strings.Contains(got.text, "holdfast.openDamage") || strings.Contains(got.text, "holdfast.vault") || strings.Contains(got.text, "holdfast.source") {
			t.Errorf("another tenant's: %s", got.text)
		}
	})
}
