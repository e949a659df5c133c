package engine

import (
	"cmp"
	"container/heap"
	"context"
	"iter"
	"slices"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/jobs"
	"holdfast/internal/spill"
	"holdfast/internal/vault"
)

// A naming writes which names a point has that the one before had not, of one drive or
// library, so that they are found. Where the index is of another tree than the run began
// with, it is made anew of all points there are: after an upgrade, or when the catalog
// was made again from the vault.
//
// A point is made without, should the vault not give what it takes; the index is then
// made anew by the next run that changes something.
type naming struct {
	e           *Engine
	job         *jobs.Job
	unit        backup.Unit
	vault       *vault.Vault
	drive       backup.DriveID
	points      backup.DriveID // that its points are kept under
	named       string         // the tree that the index is of
	before, now string         // the trees that the run began with and ends with; "" where there is no drive
	same        bool           // all that is in them has the name that it had
	at          time.Time      // of the point that the run makes
}

// indexNames has the index of names be of the drive as it is now.
func (p *protection) indexNames(ctx context.Context, sealed vault.Sealed) ([]catalog.NamedTree, error) {
	if p.unit.Workload != backup.OneDrive {
		return nil, nil
	}
	n := naming{p.e, p.job, p.unit, p.vault, p.drive.ID, p.drive.ID, p.state.Named, p.state.Tree, sealed.Tree, !sealed.Named, p.at}
	return n.index(ctx, nil)
}

// indexNames has the index of names be of each library as it is now.
func (s *siteRun) indexNames(ctx context.Context) (all []catalog.NamedTree, err error) {
	libraries := map[backup.DriveID]catalog.Container{}
	for _, of := range []map[backup.DriveID]catalog.Container{s.known, s.now} {
		for id, c := range of {
			if c.Kind == backup.Library {
				libraries[id] = s.known[id]
			}
		}
	}
	gone := false
	for id, c := range libraries {
		gone = gone || c.Named == "" && s.now[id].Tree != "" && s.state.Tree != ""
		n := naming{s.e, s.job, s.unit, s.vault, id, s.state.Drive, c.Named, c.Tree, s.now[id].Tree, s.same[id], s.at}
		if all, err = n.index(ctx, all); err != nil {
			return nil, err
		}
	}
	if !gone {
		return all, nil
	}
	// One that the index lacks is new, or the catalog is. Then it also lacks those that
	// are gone, which only points know of.
	indexed, err := s.e.Catalog.NamedDrives(ctx, s.job.Tenant, s.unit.ID)
	if err != nil {
		return nil, err
	}
	for _, id := range indexed {
		libraries[id] = catalog.Container{}
	}
	for p, err := range s.e.Catalog.PointTrees(ctx, s.job.Tenant, s.unit.ID, s.state.Drive) {
		if err != nil {
			return nil, err
		}
		parts, err := s.vault.Parts(ctx, p.Tree)
		if err != nil && (stopped(ctx, err) || !isDamage(err)) {
			return nil, err
		}
		for _, part := range parts {
			if _, known := libraries[part.Drive]; known || part.Kind != backup.Library {
				continue
			}
			libraries[part.Drive] = catalog.Container{}
			n := naming{s.e, s.job, s.unit, s.vault, part.Drive, s.state.Drive, "", part.Tree, "", false, s.at}
			if all, err = n.anew(ctx, all); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// index adds to all what the index is of from now on, if that is another tree.
func (n naming) index(ctx context.Context, all []catalog.NamedTree) ([]catalog.NamedTree, error) {
	switch {
	case n.now == n.named:
		return all, nil
	case n.before == "" || n.named != n.before:
		return n.anew(ctx, all)
	case n.same:
		return append(all, catalog.NamedTree{Drive: n.drive, Tree: n.now}), nil
	}
	return n.stage(ctx, all, catalog.NameStage{}, n.changed(ctx, n.before, n.now, n.at))
}

// anew is index of all points there are.
func (n naming) anew(ctx context.Context, all []catalog.NamedTree) ([]catalog.NamedTree, error) {
	next, stop := iter.Pull2(n.e.Catalog.PointTrees(ctx, n.job.Tenant, n.unit.ID, n.points))
	defer stop()
	oldest, err, more := next()
	if err != nil {
		return nil, err
	}
	since := n.at
	if more {
		since = oldest.At
	}
	points := func(yield func(catalog.PointTree, error) bool) {
		for p, err, more := oldest, error(nil), more; more && yield(p, err); p, err, more = next() {
		}
	}
	return n.stage(ctx, all, catalog.NameStage{Anew: true, Since: since}, n.history(ctx, points))
}

func (n naming) stage(ctx context.Context, all []catalog.NamedTree, s catalog.NameStage, changes iter.Seq2[catalog.NameChange, error]) ([]catalog.NamedTree, error) {
	s.Unit, s.Drive, s.At, s.Tree, s.Alone = n.unit.ID, n.drive, n.at, n.now, n.drive == n.points
	named, err := n.e.Catalog.StageNames(ctx, n.job, s, changes)
	switch {
	case err == nil:
		return append(all, named), nil
	case stopped(ctx, err), !isDamage(err):
		return nil, err
	}
	n.e.Log.WarnContext(ctx, "the index of names was not written; it is made anew later", "tenant", n.job.Tenant, "owner", who(n.unit), "drive", n.drive, "err", err)
	return all, nil
}

// changed are the names that two trees do not have in common, in the order of the names.
// It yields none where the trees cannot be read to their ends.
func (n naming) changed(ctx context.Context, from, to string, at time.Time) iter.Seq2[catalog.NameChange, error] {
	return func(yield func(catalog.NameChange, error) bool) {
		known := byName{table: spill.New(n.vault.Scratch())}
		defer known.table.Close()
		for c, err := range n.vault.Diff(ctx, from, to) {
			if err != nil {
				yield(catalog.NameChange{}, err)
				return
			}
			var change catalog.NameChange
			if c.From != nil && c.From.Parent != "" {
				change.Item, change.From = c.From.ID, c.From.Name
			}
			if c.To != nil && c.To.Parent != "" {
				change.Item, change.To = c.To.ID, c.To.Name
			}
			if change.From != change.To {
				known.add(change)
			}
		}
		for c := range known.all() {
			if known.table.Err() != nil {
				break
			}
			c.At = at
			if !yield(c, nil) {
				return
			}
		}
		if err := known.table.Err(); err != nil {
			yield(catalog.NameChange{}, err)
		}
	}
}

// history are the names that came and went with each of the points, and with the one
// that the run makes. Points that the vault does not give are passed over.
func (n naming) history(ctx context.Context, points iter.Seq2[catalog.PointTree, error]) iter.Seq2[catalog.NameChange, error] {
	return func(yield func(catalog.NameChange, error) bool) {
		was, more := "", true
		tell := func(tree string, at time.Time) error {
			if tree == was {
				return nil
			}
			for c, err := range n.changed(ctx, was, tree, at) {
				if err != nil {
					return err
				}
				if more = yield(c, nil); !more {
					return nil
				}
			}
			was = tree
			return nil
		}
		for p, err := range points {
			var tree string
			if err == nil {
				tree, err = n.treeIn(ctx, p.Tree)
			}
			if err == nil {
				err = tell(tree, p.At)
			}
			switch {
			case err != nil && (stopped(ctx, err) || !isDamage(err)):
				yield(catalog.NameChange{}, err)
				return
			case err != nil:
				n.e.Log.WarnContext(ctx, "a point is not in the index of names", "tenant", n.job.Tenant, "owner", who(n.unit), "point", p.At, "err", err)
			case !more:
				return
			}
		}
		if err := tell(n.now, n.at); err != nil {
			yield(catalog.NameChange{}, err)
		}
	}
}

// treeIn is the drive's tree in a point, "" if that has none.
func (n naming) treeIn(ctx context.Context, point string) (string, error) {
	if n.points == n.drive {
		return point, nil
	}
	parts, err := n.vault.Parts(ctx, point)
	for _, p := range parts {
		if p.Drive == n.drive {
			return p.Tree, err
		}
	}
	return "", err
}

// A byName puts changes into the order of their names, on disk: an index of a million
// names is written ten times as fast in its own order as in any other.
type byName struct {
	table *spill.Table
	held  []keyed // not in the table yet
	runs  []int   // where what is in order begins in the table
}

// A keyed change has the name of the row that it makes in the index, or ends.
type keyed struct {
	catalog.NameChange
	key string
}

func withKey(c catalog.NameChange) keyed { return keyed{c, fold(cmp.Or(c.To, c.From))} }

// runLength is how many changes are put into order in memory.
const runLength = 20_000

func (b *byName) add(c catalog.NameChange) {
	if b.held = append(b.held, withKey(c)); len(b.held) == runLength {
		b.flush()
	}
}

func (b *byName) flush() {
	slices.SortFunc(b.held, func(c, d keyed) int { return strings.Compare(c.key, d.key) })
	b.runs = append(b.runs, b.table.Len())
	for _, c := range b.held {
		var w spill.Writer
		w.Text(c.From)
		w.Text(c.To)
		b.table.Put(string(c.Item), string(w))
	}
	b.held = b.held[:0]
}

// A sortedRun is a part of what is in a table that is in order, and what comes next of it.
type sortedRun struct {
	next, end int
	keyed
}

type sortedRuns []sortedRun

func (r sortedRuns) Len() int           { return len(r) }
func (r sortedRuns) Less(i, j int) bool { return r[i].key < r[j].key }
func (r sortedRuns) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
func (r *sortedRuns) Push(x any)        { *r = append(*r, x.(sortedRun)) }
func (r *sortedRuns) Pop() any {
	last := (*r)[len(*r)-1]
	*r = (*r)[:len(*r)-1]
	return last
}

// all are the changes in the order of their names.
func (b *byName) all() iter.Seq[catalog.NameChange] {
	return func(yield func(catalog.NameChange) bool) {
		b.flush()
		read := func(r *sortedRun) {
			id, value := b.table.Get(r.next)
			text := spill.Reader(value)
			r.keyed = withKey(catalog.NameChange{Item: backup.ItemID(id), From: text.Text(), To: text.Text()})
			r.next++
		}
		var open sortedRuns
		for i, begin := range b.runs {
			end := b.table.Len()
			if i+1 < len(b.runs) {
				end = b.runs[i+1]
			}
			if r := (sortedRun{next: begin, end: end}); begin < end {
				read(&r)
				open = append(open, r)
			}
		}
		heap.Init(&open)
		for len(open) > 0 {
			r := &open[0]
			if !yield(r.NameChange) {
				return
			}
			if r.next == r.end {
				heap.Pop(&open)
				continue
			}
			read(r)
			heap.Fix(&open, 0)
		}
	}
}
