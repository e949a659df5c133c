package engine

import (
	"errors"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/vault"
)

// A site that came back in part says of how many items failed, also where some of its libraries
// and lists came back whole, or not at all.
func TestShortfallOfASite(t *testing.T) {
	library, other := vault.Part{Drive: "a", Files: 3000, Folders: 100}, vault.Part{Drive: "b", Files: 200}
	list, columns := vault.Part{Kind: backup.SiteList, Drive: "l", Files: 100}, vault.Part{Kind: backup.FileColumns, Drive: "c", Library: "a", Files: 3000}
	failed := func(s *backup.Shortfall) *backup.Problem {
		return &backup.Problem{Code: backup.ArtifactCannotBeRestored, Short: s}
	}
	away := errors.New("it is away")
	remark := &backup.Problem{Code: backup.RestoredWithRemarks}
	type step struct {
		part vault.Part
		p    *backup.Problem
		err  error
	}
	for name, c := range map[string]struct {
		steps []step
		want  *backup.Shortfall
	}{
		"some of a library":         {[]step{{library, failed(&backup.Shortfall{Failed: 12, Of: 3100}), nil}, {other, nil, nil}, {list, remark, nil}}, &backup.Shortfall{Failed: 12, Of: 3400}},
		"a whole list":              {[]step{{library, nil, nil}, {other, nil, nil}, {list, nil, away}}, &backup.Shortfall{Failed: 100, Of: 3400}},
		"a list that says so":       {[]step{{library, nil, nil}, {list, failed(nil), nil}}, &backup.Shortfall{Failed: 100, Of: 3200}},
		"permissions of some":       {[]step{{library, nil, nil}, {list, nil, nil}, {library, failed(&backup.Shortfall{Failed: 7}), nil}}, &backup.Shortfall{Failed: 7, Of: 3200}},
		"of what failed before too": {[]step{{library, failed(&backup.Shortfall{Failed: 9, Of: 3100}), nil}, {library, failed(&backup.Shortfall{Failed: 7}), nil}}, &backup.Shortfall{Failed: 9, Of: 3100}},
		"all permissions":           {[]step{{library, nil, nil}, {library, nil, away}}, &backup.Shortfall{Of: 3100}}, // the items are there
		"columns":                   {[]step{{library, nil, nil}, {columns, nil, away}}, &backup.Shortfall{Of: 3100}},
		"what is beside the point":  {[]step{{other, failed(&backup.Shortfall{Failed: 210, Of: 230}), nil}}, &backup.Shortfall{Failed: 210, Of: 230}},
		"nothing came back":         {[]step{{library, nil, away}, {list, failed(nil), nil}}, nil},
	} {
		var all outcomes
		for _, s := range c.steps {
			all.add(s.part, s.p, s.err)
		}
		got := all.problem().Short
		if (got == nil) != (c.want == nil) || got != nil && *got != *c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
