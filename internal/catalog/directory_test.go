package catalog_test

import (
	"testing"

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
