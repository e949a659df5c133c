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

// Of the newest units of a policy those are known that the mirror has no name for.
func TestNameless(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		p := must[backup.Policy](t)(w.CreatePolicy(ctx, contoso, catalog.NewPolicy{Workload: backup.Exchange, DisplayName: "Mail", Units: []backup.SubjectID{owner(1), owner(2)}, By: w.by()}))
		ok(t, w.ApplyDirectory(ctx, contoso, catalog.DirectoryChange{Users: []backup.Subject{{ID: owner(1), Address: "one@contoso.com", DisplayName: "One"}}}))
		checkPlans(t, w.db, "units without a name", func(ctx context.Context) error {
			_, err := w.Nameless(ctx, contoso, p.ID)
			return err
		}, 1)
		got := must[map[backup.Workload][]string](t)(w.Nameless(ctx, contoso, p.ID))
		if len(got) != 1 || len(got[backup.Exchange]) != 1 || got[backup.Exchange][0] != string(owner(2)) {
			t.Errorf("without a name are %v", got)
		}
		if got := must[map[backup.Workload][]string](t)(w.Nameless(ctx, fabrikam, p.ID)); len(got) > 0 {
			t.Errorf("of another tenant, without a name are %v", got)
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
