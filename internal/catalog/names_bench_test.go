package catalog_test

import (
	"fmt"
	"iter"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/jobs"
)

// A name among a million is found beside the bare statement that reads the same rows,
// x-bare, and the index of them is written beside an insert of the same rows in the same
// batches; row-bytes is what one takes of the database.
func BenchmarkFindAMillion(b *testing.B) {
	const items = 1_000_000
	benchEach(b, "", func(b *testing.B, d database.Dialect) {
		w := newWorld(b, dbtest.Open(b, d), 0)
		ctx := b.Context()
		u := w.protect(owner(1))
		job := w.claim(jobs.Backup)[string(u.ID)]
		at := w.clock()
		before := w.bytes()
		began := time.Now()
		staged := must[catalog.NamedTree](b)(w.StageNames(ctx, job, catalog.NameStage{Unit: u.ID, Drive: "d", Tree: "t", At: at, Anew: true, Since: at}, millionNames(at, items)))
		_, err := w.CommitPoint(ctx, job, catalog.Commit{Unit: u.ID, State: catalog.DriveState{Drive: "d", Root: "r", Tree: "t"}, Names: []catalog.NamedTree{staged},
			Point: backup.Point{At: at, Tree: "t"}})
		ok(b, err)
		written, room := time.Since(began), w.bytes()-before
		if d == database.Postgres {
			exec(b, w.db, `ANALYZE name_item`)
		}
		u.Workload = backup.OneDrive
		for _, name := range []string{"quarterly report 0777777", "report 0777777", "nothing like it", "quarterly report 07*", "*777.xlsx"} {
			b.Run(name, func(b *testing.B) {
				var longest time.Duration
				for b.Loop() {
					began := time.Now()
					must[catalog.Finding](b)(w.Find(ctx, contoso, u, name, catalog.Page{Limit: 100}))
					longest = max(longest, time.Since(began))
				}
				own := b.Elapsed() / time.Duration(b.N)
				began := time.Now()
				const times = 3
				for range times {
					w.count(`SELECT count(*) FROM name_item WHERE `+d.Position("name", "$1")+` > 0`, "nothing like it")
				}
				bare := time.Since(began) / times
				b.ReportMetric(float64(own)/float64(bare), "x-bare")
				b.ReportMetric(float64(longest.Milliseconds()), "longest-ms")
				b.ReportMetric(written.Seconds(), "write-s")
				b.ReportMetric(float64(room)/items, "row-bytes")
			})
		}
	})
}

func millionNames(at time.Time, n int) iter.Seq2[catalog.NameChange, error] {
	return func(yield func(catalog.NameChange, error) bool) {
		for i := range n {
			if !yield(catalog.NameChange{At: at, Item: backup.ItemID(fmt.Sprintf("01ABCDEFGHIJKLMNOPQRSTUV%010d", i)), To: fmt.Sprintf("Quarterly report %07d.xlsx", i)}, nil) {
				return
			}
		}
	}
}

// bytes is how large the database is.
func (w *world) bytes() (n int64) {
	w.t.Helper()
	text := `SELECT c.page_count * s.page_size FROM pragma_page_count() c, pragma_page_size() s`
	if w.db.Dialect() == database.Postgres {
		text = `SELECT pg_database_size(current_database())`
	}
	ok(w.t, w.db.Read().QueryRowContext(w.t.Context(), text).Scan(&n))
	return n
}
