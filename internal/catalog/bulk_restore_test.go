package catalog_test

import (
	"fmt"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/jobs"
)

// manyPoints makes n units with a point at each of several hours.
func (w *world) manyPoints(n, points int) {
	w.t.Helper()
	bareInsert(w, "p", 0, n)
	ok(w.t, w.db.Tx(w.t.Context(), func(tx *database.Tx) error {
		for i := range points {
			at := database.Micros(w.clock().Add(-time.Duration(i) * time.Hour))
			_, err := tx.ExecContext(w.t.Context(), `
				INSERT INTO restore_point (id, tenant, unit, drive, at, expires, weekly, tags, tree, files, folders, bytes)
				SELECT u.id || CAST($1 AS TEXT), u.tenant, u.id, 'd', CAST($2 AS BIGINT), CAST($2 AS BIGINT) + 1000000000000, 0, 'none', 't', 0, 0, 0 FROM unit u`,
				fmt.Sprint("-", i), at)
			if err != nil {
				return err
			}
		}
		return nil
	}))
}

func (w *world) bulkRestore(b backup.BulkRequest) (backup.BulkRequest, *jobs.Job) {
	w.t.Helper()
	ctx := w.t.Context()
	s := must[backup.Session](w.t)(w.CreateSession(ctx, contoso, backup.OneDrive, backup.RestoreStandard, nil, w.by()))
	b.Session, b.Destination = s.ID, backup.DestinationInPlace
	b = must[backup.BulkRequest](w.t)(w.CreateBulkRestore(ctx, contoso, b, w.by()))
	must[backup.Session](w.t)(w.ActivateSession(ctx, contoso, s.ID, w.by()))
	return must[backup.BulkRequest](w.t)(w.BulkRestoreForWork(ctx, contoso, b.ID)), w.claim(jobs.BulkRestore)[string(b.ID)]
}

// A request picks each owner's point by its period and preference, and each
// once.
func TestBulkRestorePicksPoints(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.manyPoints(5, 4)
		now := w.clock()
		for _, row := range []struct {
			from, to int // hours ago; 0: open
			oldest   bool
			want     string
		}{
			{0, 0, false, "-0"}, {0, 0, true, "-3"}, {2, 1, false, "-1"}, {2, 1, true, "-2"}, {0, 2, false, "-2"}, {9, 5, false, ""},
		} {
			b := backup.BulkRequest{Oldest: row.oldest, IDs: []string{string(owner(1)), string(owner(3)), string(owner(1)), string(owner(99))}}
			if row.from > 0 {
				b.From = now.Add(-time.Duration(row.from) * time.Hour)
			}
			if row.to > 0 {
				b.To = now.Add(-time.Duration(row.to) * time.Hour)
			}
			b, j := w.bulkRestore(b)
			ok(t, w.ResolveBulkRestore(t.Context(), j, b))
			ok(t, w.ResolveBulkRestore(t.Context(), j, b)) // as after a crash
			got := w.artifacts(b.Session)
			want := 2
			if row.want == "" {
				want = 0
			}
			if len(got) != want {
				t.Fatalf("%+v: %d artifacts, want %d", row, len(got), want)
			}
			for _, a := range got {
				if id := string(a.Point.ID); id[len(id)-2:] != row.want || a.Status != backup.ArtifactScheduled {
					t.Errorf("%+v: point %s, %s", row, id, a.Status)
				}
			}
			done := must[backup.BulkRequest](t)(w.BulkRestore(t.Context(), contoso, b.Session, b.ID))
			if done.Status != backup.BulkRequestCompletedWithErrors || done.Problem.Details[len(done.Problem.Details)-1].Target != string(owner(99)) {
				t.Errorf("%+v: %+v", row, done)
			}
			w.free()
			fails(t, "resolve by a worker that lost its lease", w.ResolveBulkRestore(t.Context(), j, b), jobs.ErrLost)
		}
		restores := w.claim(jobs.Restore)
		if len(restores) != 10 {
			t.Errorf("%d restore jobs, want one for each artifact", len(restores))
		}
	})
}

// A request of 10,000 owners who have 20 points each, beside the insertion of
// as many rows.
func BenchmarkBulkRestore10k(b *testing.B) {
	benchEach(b, "", func(b *testing.B, d database.Dialect) {
		w := newWorld(b, dbtest.Open(b, d), 0)
		w.manyPoints(backup.MaxBulkRestoreEntries, 20)
		var ids []string
		for i := range backup.MaxBulkRestoreEntries {
			ids = append(ids, string(owner(i)))
		}
		request, j := w.bulkRestore(backup.BulkRequest{IDs: ids})
		began := time.Now()
		ok(b, w.ResolveBulkRestore(b.Context(), j, request))
		took := time.Since(began)
		if n := len(must[catalog.List[backup.Artifact]](b)(w.Artifacts(b.Context(), contoso, request.Session, catalog.Page{Limit: 100_000})).Items); n != len(ids) {
			b.Fatalf("%d artifacts", n)
		}
		began = time.Now()
		bareInsert(w, "q", backup.MaxBulkRestoreEntries, backup.MaxBulkRestoreEntries)
		b.ReportMetric(took.Seconds(), "s/request")
		b.ReportMetric(float64(took)/float64(time.Since(began)), "x-bare")
	})
}
