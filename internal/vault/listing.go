package vault

import (
	"context"
	"iter"
	"slices"

	"holdfast/internal/backup"
)

// A listing is a directory whose records are passed over: in memory, or, where it is longer than
// one piece, read piece by piece. A folder may hold a million files.
type listing struct {
	dir    *dir
	pieces *pieced // nil unless it is long
}

// list opens a directory.
func (v *Vault) list(ctx context.Context, oid string) (listing, error) {
	r, err := v.openObject(ctx, oid)
	if err != nil {
		return listing{}, err
	}
	if f := (&pieced{r}); len(r.pieces) > 1 {
		if usual, err := f.usual(); err != nil || usual {
			return listing{pieces: f}, err
		}
	}
	d, err := r.dir()
	return listing{dir: d}, err
}

// lookList is list, but for what was read lately in a context that keeps it.
func (v *Vault) lookList(ctx context.Context, oid string) (listing, error) {
	k, _ := ctx.Value(keeping{}).(*keepers)
	if k == nil {
		return v.list(ctx, oid)
	}
	if d, ok := k.dirs.get(oid); ok {
		return listing{dir: &dir{object: oid, records: d.records}}, nil // find changes it
	}
	l, err := v.list(ctx, oid)
	if err == nil && l.dir != nil {
		k.dirs.add(oid, &dir{object: oid, records: l.dir.records})
	}
	return l, err
}

// records are those of the directory, as they are in it. They are not to be changed.
func (l listing) records() iter.Seq2[*record, error] {
	if l.pieces != nil {
		return l.pieces.records()
	}
	return pointers(l.dir.records)
}

// ids are those of records, by their numbers in the directory.
func (l listing) ids(numbers []int32) (map[int32]backup.ItemID, error) {
	ids := make(map[int32]backup.ItemID, len(numbers))
	slices.Sort(numbers)
	at := int32(-1)
	for r, err := range l.records() {
		if err != nil {
			return nil, err
		}
		if at++; at == numbers[len(ids)] {
			if ids[at] = r.ID; len(ids) == len(numbers) {
				break
			}
		}
	}
	return ids, nil
}

// object names the directory.
func (l listing) object() string {
	if l.pieces != nil {
		return l.pieces.oid
	}
	return l.dir.object
}

// whole returns the directory with all its records in memory.
func (l listing) whole() (*dir, error) {
	if l.pieces == nil {
		return l.dir, nil
	}
	return l.pieces.dir()
}

// records are all of a directory that is read piece by piece.
func (f *pieced) records() iter.Seq2[*record, error] {
	return func(yield func(*record, error) bool) {
		on := true
		err := f.walk(0, func(b []byte, _ int64) bool {
			r, err := f.scan(b)
			on = yield(&r, err) && err == nil
			return on
		})
		if err != nil && on {
			yield(nil, err)
		}
	}
}
