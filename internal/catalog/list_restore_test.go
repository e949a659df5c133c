package catalog_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
	"holdfast/internal/jobs"
)

func TestListNumbers(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		m := w.mailbox() // any unit
		here := catalog.ListPlace{Unit: m.unit, List: "LIST", Part: "Was"}
		beside := here
		beside.Artifact = "artifact"
		read := func(p catalog.ListPlace) (all []catalog.ListNumber) {
			t.Helper()
			for n, err := range w.ListNumbers(ctx, p) {
				ok(t, err)
				all = append(all, n)
			}
			slices.SortFunc(all, func(a, b catalog.ListNumber) int { return a.Item - b.Item })
			return all
		}
		want := func(p catalog.ListPlace, all ...catalog.ListNumber) {
			t.Helper()
			if got := read(p); !slices.Equal(got, all) {
				t.Errorf("noted are %+v, want %+v", got, all)
			}
		}
		ok(t, w.NoteListNumbers(ctx, m.job, here, []catalog.ListNumber{{Item: 1}, {Item: 2}, {Item: 3}}))
		want(here, catalog.ListNumber{Item: 1, Own: true}, catalog.ListNumber{Item: 2, Own: true}, catalog.ListNumber{Item: 3, Own: true})
		ok(t, w.NoteListNumbers(ctx, m.job, here, []catalog.ListNumber{{Item: 1, Live: 11}}, 2))
		// What is another's already is not noted once more.
		ok(t, w.NoteListNumbers(ctx, m.job, here, []catalog.ListNumber{{Item: 3, Live: 11}}))
		ok(t, w.NoteListNumbers(ctx, m.job, beside, []catalog.ListNumber{{Item: 5, Live: 11}, {Item: 6, Live: 16}}))
		here.List, here.Part = "list", "WAS"
		want(here, catalog.ListNumber{Item: 1, Live: 11, Own: true}, catalog.ListNumber{Item: 3, Own: true}, catalog.ListNumber{Item: 6, Live: 16})
		want(beside, catalog.ListNumber{Item: 1, Live: 11}, catalog.ListNumber{Item: 3}, catalog.ListNumber{Item: 6, Live: 16, Own: true})
		// It may come under another number later.
		ok(t, w.NoteListNumbers(ctx, m.job, here, []catalog.ListNumber{{Item: 1, Live: 21}}))
		ok(t, w.ForgetListNumbers(ctx, m.job, "artifact"))
		ok(t, w.ForgetListNumbers(ctx, m.job, ""))
		want(here, catalog.ListNumber{Item: 1, Live: 21, Own: true}, catalog.ListNumber{Item: 3, Own: true})
		ok(t, w.ForgetDrive(ctx, m.job, catalog.DriveRoot{Unit: m.unit, Drive: "d"}))
		want(here)

		w.pass(time.Hour)
		w.claim(jobs.Backup)
		if err := w.NoteListNumbers(ctx, m.job, here, []catalog.ListNumber{{Item: 1}}); !errors.Is(err, jobs.ErrLost) {
			t.Errorf("noted by who lost the job: %v", err)
		}
	})
}

// What is noted of a list is read by index, and in parts.
func TestPlayListNumbersReadAnIndex(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w := newWorld(t, db, 0)
		many(t, db, 20_000, `INSERT INTO list_number (unit, list, artifact, part, item, live)`, `SELECT 'u' || (n.i % 3), 'l', '', 'p', n.i + 1, n.i + 1 FROM n`)
		place := catalog.ListPlace{Unit: backup.UnitID("u1"), List: "l", Part: "p"}
		n := 0
		checkPlans(t, db, "the numbers of a list", func(ctx context.Context) error {
			for _, err := range w.ListNumbers(ctx, place) {
				if err != nil {
					return err
				}
				n++
			}
			return nil
		}, 5)
		if n != 6667 {
			t.Errorf("%d items are noted", n)
		}
	})
}
