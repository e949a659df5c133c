package graphapi

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
)

// holdfast.coverage tells how each unit stands, and who has none; names to people only.
func TestCoverageIsTold(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.app(contoso)
		w.fast(c, ownerN(1))
		c.policy("idle", ownerN(2))
		mirror := catalog.DirectoryChange{}
		for n := range 3 {
			mirror.Users = append(mirror.Users, backup.Subject{ID: backup.SubjectID(ownerN(n + 1)), DisplayName: "Owner", Address: fmt.Sprint("owner", n+1, "@contoso.com")})
		}
		if err := w.catalog.ApplyDirectory(t.Context(), contoso, mirror); err != nil {
			t.Fatal(err)
		}
		w.wait(31 * 24 * time.Hour)
		c = w.app(contoso)
		var rows []obj
		for next := "/holdfast.coverage?$top=3"; next != ""; {
			page := w.user(contoso).do("GET", next, nil).want(200)
			for _, row := range page.list("value") {
				rows = append(rows, row.(obj))
			}
			link, _ := page.json["@odata.nextLink"].(string)
			_, next, _ = strings.Cut(link, "/solutions/backupRestore")
		}
		of := map[string]obj{}
		for _, row := range rows {
			key := row["workload"].(string) + " " + row["subjectId"].(string)
			if of[key] != nil {
				t.Errorf("%s is there twice", key)
			}
			of[key] = row
		}
		drive := func(n int) obj { return of["oneDriveForBusiness "+ownerN(n)] }
		if r := drive(1); r["status"] != "protected" || r["isMissed"] != true || r["pointCount"] != 2.0 || r["sizeMonthAgo"] == nil || r["newestDateTime"] == nil || r["address"] == nil {
			t.Errorf("the protected one: %v", r)
		}
		if r := drive(2); r["status"] != "unprotected" || r["policyName"] != "idle" || r["newestDateTime"] != nil {
			t.Errorf("the one that is not protected: %v", r)
		}
		if r := drive(3); r["status"] != "none" || r["protectionUnitId"] != nil || of["exchange "+ownerN(1)]["status"] != "none" {
			t.Errorf("those without a unit: %v, %v", r, of["exchange "+ownerN(1)])
		}
		if got := c.do("GET", "/holdfast.coverage", nil).want(200); strings.Contains(got.text, "address") || strings.Contains(got.text, "displayName") {
			t.Errorf("an application is told names: %s", got.text)
		}
		if got := w.app(fabrikam).do("GET", "/holdfast.coverage", nil).want(200); strings.Contains(got.text, ownerN(1)) {
			t.Errorf("another tenant is shown %s", got.text)
		}
	})
}

// holdfast.rpo tells whose newest point is older than promised.
func TestRPOIsShown(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.app(contoso)
		if got := c.do("GET", "/holdfast.rpo", nil).want(200); got.json["protectedUnitCount"] != 0.0 || len(got.list("worst")) != 0 {
			t.Errorf("before there is a point: %s", got.text)
		}
		points, _ := w.fast(c, ownerN(1))
		w.wait(promise + 30*time.Minute)
		got := c.do("GET", "/holdfast.rpo", nil).want(200)
		if got.json["protectedUnitCount"] != 1.0 || got.json["missedUnitCount"] != 1.0 || len(got.list("worst")) != 1 ||
			got.str("worst.0.protectionUnitId") != string(points[0].Unit) || got.str("worst.0.directoryObjectId") != ownerN(1) || got.str("worst.0.workload") != "oneDriveForBusiness" ||
			got.str("lastDateTime") == "" || got.str("worst.0.promised") != "PT20M" || got.json["worst"].([]any)[0].(obj)["isMissed"] != true {
			t.Errorf("holdfast.rpo = %s", got.text)
		}
		age, err := backup.ParseSpan(got.str("worst.0.age"))
		if err != nil || age.Time < 50*time.Minute {
			t.Errorf("the age is %v, %v", age, err)
		}
		if got := w.app(fabrikam).do("GET", "/holdfast.rpo", nil).want(200); len(got.list("worst")) != 0 {
			t.Errorf("another tenant is shown %s", got.text)
		}
	})
}
