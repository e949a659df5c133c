package catalog_test

import (
	"context"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
)

// To learn of owners is part of each first backup, so it costs no more than to write
// them down.
func TestLearningOfOwnersWritesThemOnly(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		sent := func(ch catalog.DirectoryChange) int64 {
			before := w.db.Statements()
			ok(t, w.ApplyDirectory(t.Context(), contoso, ch))
			return w.db.Statements() - before
		}
		learned := catalog.DirectoryChange{Users: []backup.Subject{user(1)}}
		read := catalog.DirectoryChange{Users: []backup.Subject{user(2)}, Cursor: "next"}
		if n, all := sent(learned), sent(read); n > all-2 {
			t.Errorf("to write down an owner took %d statements, and with a cursor %d", n, all)
		}
		if n := sent(catalog.DirectoryChange{}); n != 0 {
			t.Errorf("to write down nothing took %d statements", n)
		}
	})
}

// Of a policy's units those are known that the mirror has no name for, the newest first.
func TestNameless(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		const known, all = 7, 620
		var units []backup.SubjectID
		for i := range all {
			units = append(units, owner(i))
		}
		p := must[backup.Policy](t)(w.CreatePolicy(ctx, contoso, catalog.NewPolicy{Workload: backup.Exchange, DisplayName: "Mail", Units: units, By: w.by()}))
		ok(t, w.ApplyDirectory(ctx, contoso, catalog.DirectoryChange{Users: []backup.Subject{{ID: owner(known), Address: "one@contoso.com", DisplayName: "One"}}}))
		met, times := map[string]int{}, 0
		for after := backup.UnitID(""); ; times++ {
			nameless, last, err := w.Nameless(ctx, contoso, p.ID, after)
			ok(t, err)
			for workload, subjects := range nameless {
				for _, s := range subjects {
					met[string(workload)+s]++
				}
			}
			checkPlans(t, w.db, "units without a name", func(ctx context.Context) error {
				_, _, err := w.Nameless(ctx, contoso, p.ID, after)
				return err
			}, 1)
			if after = last; after == "" {
				break
			}
		}
		if len(met) != all-1 || met[string(backup.Exchange)+string(owner(known))] > 0 || times != 2 {
			t.Errorf("without a name are %d after %d more looks", len(met), times)
		}
		for s, n := range met {
			if n != 1 {
				t.Errorf("%s was met %d times", s, n)
			}
		}
		if got, last, err := w.Nameless(ctx, fabrikam, p.ID, ""); err != nil || len(got) > 0 || last != "" {
			t.Errorf("of another tenant, without a name are %v, %q, %v", got, last, err)
		}
	})
}

// It is known when all sites were listed last, also after looks at what has changed since.
func TestWhenSitesWereListed(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		at := w.by().At
		change := func(cursor string, since time.Time, want time.Time) {
			t.Helper()
			ok(t, w.ApplyDirectory(ctx, contoso, catalog.DirectoryChange{Users: []backup.Subject{{ID: owner(9002), Address: "https://contoso.sharepoint.com"}}, Sites: true, Cursor: cursor, Since: since}))
			got, listed, err := w.SitesCursor(ctx, contoso)
			if err != nil || got != cursor || !listed.Equal(want) {
				t.Errorf("the cursor is %q, all were listed at %v, %v; want %q and %v", got, listed, err, cursor, want)
			}
		}
		change("first", at, at)
		change("second", time.Time{}, at)
		change("third", at.Add(time.Microsecond), at.Add(time.Microsecond))
	})
}
