package graphapi

import (
	"testing"
	"time"

	"holdfast/internal/backup"
)

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
			got.str("worst.0.protectionUnitId") != string(points[0].Unit) || got.str("worst.0.directoryObjectId") != ownerN(1) ||
			got.str("worst.0.promised") != "PT20M" || got.json["worst"].([]any)[0].(obj)["isMissed"] != true {
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
