package vault

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"
)

// Tops are the two uppermost levels of a drive's root: the days, and in them
// the points.
type tops struct {
	v     *Vault
	days  []topDay // by name, which sorts by time
	whole bool     // all days of the root that was asked for could be read
}

type topDay struct {
	record
	points  []record
	loaded  bool
	changed bool
}

// read reads a root, and not yet what is in its days; nothing for "".
func (t *tops) read(ctx context.Context, root string) error {
	days, err := t.v.records(ctx, root)
	if err != nil {
		return err
	}
	for _, day := range days {
		t.days = append(t.days, topDay{record: day})
	}
	return nil
}

// load reads what is in a day.
func (t *tops) load(ctx context.Context, day *topDay) (err error) {
	if day.loaded {
		return nil
	}
	if day.points, err = t.v.records(ctx, day.Object); err == nil {
		day.loaded = true
	}
	return err
}

// all reads a root and all its days. A day that is damaged or not there is left
// out, and whole is then false.
func (t *tops) all(ctx context.Context, root string) (whole bool, err error) {
	if err := t.read(ctx, root); err != nil {
		return false, err
	}
	whole = true
	n := 0
	for i := range t.days {
		switch err := t.load(ctx, &t.days[i]); {
		case unreadable(err):
			whole = false
			continue
		case err != nil:
			return false, err
		}
		t.days[n] = t.days[i]
		n++
	}
	t.days = t.days[:n]
	return whole, nil
}

// unreadable reports whether err says that an object is damaged, or not there.
func unreadable(err error) bool { return errors.Is(err, ErrDamaged) || errors.Is(err, ErrNotFound) }

// has reports whether there is a point of that tree.
func (t *tops) has(tree string) bool {
	return slices.ContainsFunc(t.days, func(d topDay) bool {
		return slices.ContainsFunc(d.points, func(p record) bool { return p.Object == tree })
	})
}

// name returns a name for a new point of a time, and its day's.
func (t *tops) name(ctx context.Context, at time.Time) (day, point string, err error) {
	day, first := at.Format(time.DateOnly), at.Format("15-04-05.000Z")
	d, err := t.day(ctx, day)
	return day, d.free(first), err
}

// free returns name, or one like it that no point of the day has.
func (d *topDay) free(name string) string {
	own := name
	for n := 2; d != nil && slices.ContainsFunc(d.points, func(r record) bool { return r.Name == name }); n++ {
		name = own + "-" + strconv.Itoa(n)
	}
	return name
}

// day returns a day, loaded, or nil if there is none of that name.
func (t *tops) day(ctx context.Context, name string) (*topDay, error) {
	for i := range t.days {
		if t.days[i].Name == name {
			return &t.days[i], t.load(ctx, &t.days[i])
		}
	}
	return nil, nil
}

// add puts a point into a day. If another has its name it gets another.
func (t *tops) add(ctx context.Context, name string, point record) error {
	day, err := t.day(ctx, name)
	if err != nil {
		return err
	}
	if day == nil {
		t.days = append(t.days, topDay{record: record{Name: name}, loaded: true})
		day = &t.days[len(t.days)-1]
	}
	point.Name = day.free(point.Name)
	day.points = append(day.points, point)
	day.changed = true
	return nil
}

// keep drops the points that are not to stay, and reports whether there were
// any.
func (t *tops) keep(stays func(tree string) bool) (dropped bool) {
	for i := range t.days {
		day := &t.days[i]
		n := len(day.points)
		day.points = slices.DeleteFunc(day.points, func(r record) bool { return !stays(r.Object) })
		if len(day.points) < n {
			day.changed, dropped = true, true
		}
	}
	t.days = slices.DeleteFunc(t.days, func(d topDay) bool { return len(d.points) == 0 })
	return dropped
}

// dropCheckpoints drops the points of backups that did not come to their end.
func (t *tops) dropCheckpoints(ctx context.Context) error {
	for i := range t.days {
		day := &t.days[i]
		if !day.Checkpoint {
			continue
		}
		if err := t.load(ctx, day); unreadable(err) {
			continue
		} else if err != nil {
			return err
		}
		day.points = slices.DeleteFunc(day.points, func(r record) bool { return r.Checkpoint })
		day.changed = true
	}
	t.days = slices.DeleteFunc(t.days, func(d topDay) bool { return d.loaded && len(d.points) == 0 })
	return nil
}

// lacks returns those of the trees that are to be kept which no point has.
func (t *tops) lacks(keep map[string]bool) (trees []string) {
	for tree, kept := range keep {
		if kept && tree != "" && !t.has(tree) {
			trees = append(trees, tree)
		}
	}
	return trees
}

// write writes the root, and the days that changed.
func (t *tops) write(ctx context.Context, at time.Time) (record, error) {
	days := make([]record, 0, len(t.days))
	for _, day := range t.days {
		if day.changed {
			written, err := t.v.writeDir(ctx, t.v.updates, day.Name, at, day.points)
			if err != nil {
				return record{}, err
			}
			written.Checkpoint = slices.ContainsFunc(day.points, func(r record) bool { return r.Checkpoint })
			day.record = written
		}
		days = append(days, day.record)
	}
	return t.v.writeDir(ctx, t.v.updates, "", at, days)
}
