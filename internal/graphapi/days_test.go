package graphapi

import (
	"testing"

	"holdfast/internal/database"
	"holdfast/internal/identity"
	"holdfast/internal/jobs"
)

// holdfast.days tells how the tenant stood on each day; to who may read the configuration, and
// to no other tenant.
func TestDaysAreTold(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.app(contoso)
		w.fast(c, ownerN(1))
		if got := c.do("GET", "/holdfast.days", nil).want(200).list("value"); len(got) > 0 {
			t.Errorf("before anything was measured: %v", got)
		}
		err := w.db.Tx(t.Context(), func(tx *database.Tx) error {
			return w.queue.Enqueue(t.Context(), tx, jobs.Spec{Kind: jobs.Measure, Key: string(contoso), Tenant: contoso})
		})
		if err != nil {
			t.Fatal(err)
		}
		if promised, err := w.catalog.MeasureDay(t.Context(), w.claim(jobs.Measure)[0]); err != nil || !promised {
			t.Fatal(promised, err)
		}
		got := c.do("GET", "/holdfast.days?$top=5", nil).want(200)
		all := got.list("value")
		if len(all) != 1 {
			t.Fatalf("days: %s", got.text)
		}
		if d := all[0].(obj); d["day"] != w.clock().UTC().Format("2006-01-02") || d["workload"] != "oneDriveForBusiness" || d["measureCount"] != 1.0 || d["promisedCount"] != 1.0 || d["missedCount"] != 0.0 || d["size"] != 1.0 {
			t.Errorf("the day is %v", d)
		}
		if other := w.app(fabrikam).do("GET", "/holdfast.days", nil).want(200).list("value"); len(other) > 0 {
			t.Errorf("another tenant is told %v", other)
		}
		w.app(contoso, identity.RestoreRead).do("GET", "/holdfast.days", nil).want(403)
	})
}
