package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"holdfast/internal/backup"
)

// A Point is a point of a drive as the vault has it.
type Point struct {
	Tree                  string
	At                    time.Time
	Files, Folders, Bytes int64
	Info                  PointInfo // without Unread
	Unread                int       // how many items it does not hold as they were
	// Err says why the point cannot be read, as far as its uppermost folders
	// tell; what is below those only Verify finds out. The rest is then zero.
	Err error
}

// PointInfo returns what was sealed with a tree, and when.
func (v *Vault) PointInfo(ctx context.Context, tree string) (PointInfo, time.Time, error) {
	b, err := v.base(ctx, "", tree)
	if err != nil {
		return PointInfo{}, time.Time{}, fmt.Errorf("read point %s: %w", tree, err)
	}
	info := b.point.info()
	if info.Unread, err = b.unreadItems(ctx); err != nil {
		err = fmt.Errorf("read point %s: %w", tree, err)
	}
	return info, b.point.Time, err
}

// Unread returns the items that a tree does not hold as they were.
func (v *Vault) Unread(ctx context.Context, tree string) ([]backup.Unread, error) {
	info, _, err := v.PointInfo(ctx, tree)
	return info.Unread, err
}

func (b *base) unreadItems(ctx context.Context) (list []backup.Unread, err error) {
	if b.unread == "" {
		return nil, nil
	}
	raw, err := b.v.readObject(ctx, b.unread)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, &DamageError{Object: b.unread, Err: fmt.Errorf("it is no unread.json: %w", err)}
	}
	return list, nil
}

// A Stored is a drive that the vault has points of.
type Stored struct {
	Key  DriveKey
	Root string // of the newest manifest
	More bool   // older manifests may have points that it has not
}

// drivesPath begins the paths of drives' sources.
const drivesPath = "/drives/"

type refreshed struct{}

// Refreshed returns a context for looking at many of the drives that [Vault.Drives] has just
// listed: it is not asked again for each what others have published since, which takes a
// list of all blobs of the index.
func Refreshed(ctx context.Context) context.Context { return context.WithValue(ctx, refreshed{}, true) }

// Drives lists the drives that the vault has points of, in no order.
func (v *Vault) Drives(ctx context.Context) iter.Seq2[Stored, error] {
	return func(yield func(Stored, error) bool) {
		err := v.there(ctx)
		if err == nil {
			err = storageError(v.rep.Refresh(once(ctx)))
		}
		var bySource map[string][]named
		if err == nil {
			bySource, err = v.manifestsBySource(ctx)
		}
		if err != nil {
			yield(Stored{}, fmt.Errorf("list drives of the vault: %w", err))
			return
		}
		for _, of := range bySource {
			newest := of[len(of)-1]
			id, ok := strings.CutPrefix(newest.path, drivesPath)
			if !ok {
				continue
			}
			s := Stored{Key: DriveKey{Tenant: backup.TenantID(newest.host), Drive: backup.DriveID(id)}, Root: newest.root}
			inside := chain(of, newest.root)
			for _, m := range of {
				s.More = s.More || !inside[m.root]
			}
			if !yield(s, nil) {
				return
			}
		}
	}
}

// Latest returns the newest point of a drive that can be read and that a backup came
// to its end with; ErrNotFound if it has none.
func (v *Vault) Latest(ctx context.Context, s Stored) (Point, error) {
	all := &tops{v: v}
	err := all.read(ctx, s.Root)
	for i := len(all.days) - 1; i >= 0 && err == nil; i-- {
		if err = all.load(ctx, &all.days[i]); unreadable(err) {
			err = nil
		}
		for _, r := range slices.Backward(all.days[i].points) {
			p := v.point(ctx, r.Object)
			if p.Err == nil && !p.Info.Incomplete {
				return p, nil
			}
			if p.Err != nil && !unreadable(p.Err) {
				err = p.Err
			}
		}
	}
	if err == nil {
		err = ErrNotFound
	}
	return Point{}, fmt.Errorf("find the newest point of drive %s: %w", s.Key.Drive, err)
}

// Points lists the points of a drive that any of its manifests has, or that are
// at those trees; each tree once, the oldest first.
func (v *Vault) Points(ctx context.Context, key DriveKey, trees ...string) ([]Point, error) {
	all, err := v.gather(ctx, key, "", trees)
	if err != nil {
		return nil, fmt.Errorf("list points of drive %s: %w", key.Drive, err)
	}
	var points []Point
	for _, day := range all.days {
		for _, r := range day.points {
			points = append(points, v.point(ctx, r.Object))
		}
	}
	for _, p := range points {
		if p.Err != nil && !unreadable(p.Err) {
			return nil, fmt.Errorf("list points of drive %s: %w", key.Drive, p.Err)
		}
	}
	slices.SortStableFunc(points, func(a, b Point) int { return a.At.Compare(b.At) })
	return points, nil
}

// Lost returns which of the trees the vault does not hold as points any more: those
// whose uppermost folders cannot be read. It asks no manifest.
func (v *Vault) Lost(ctx context.Context, trees []string) (lost []string, err error) {
	if err := v.there(ctx); err != nil {
		return nil, fmt.Errorf("look for points: %w", err)
	}
	for _, tree := range trees {
		err := ErrNotFound
		if tree != "" {
			err = v.point(ctx, tree).Err
		}
		if unreadable(err) {
			lost = append(lost, tree)
		} else if err != nil {
			return nil, fmt.Errorf("look for point %s: %w", tree, err)
		}
	}
	return lost, nil
}

// point reads the uppermost folders of a tree.
func (v *Vault) point(ctx context.Context, tree string) Point {
	p := Point{Tree: tree}
	b, err := v.base(ctx, "", tree)
	if err == nil && b.files.Object != "" {
		_, err = v.readDir(ctx, b.files.Object)
	}
	if p.Err = err; err != nil {
		return p
	}
	p.At, p.Files, p.Folders, p.Bytes = b.point.Time, b.point.Files, b.point.Folders, b.point.Bytes
	p.Info, p.Unread = b.point.info(), b.point.Unread
	return p
}

// gather brings together what all manifests of a drive have, what a root has if
// one is given, and the trees that are named.
func (v *Vault) gather(ctx context.Context, key DriveKey, given string, trees []string) (*tops, error) {
	if err := v.there(ctx); err != nil {
		return nil, err
	}
	if ctx.Value(refreshed{}) == nil {
		if err := v.rep.Refresh(once(ctx)); err != nil {
			return nil, storageError(err)
		}
	}
	found, err := v.manifestsOf(ctx, key.source())
	if unreadable(err) {
		v.log.ErrorContext(ctx, "vault: manifests cannot be read", "drive", key.Drive, "err", err)
	} else if err != nil {
		return nil, err
	}
	roots := []string{given}
	for _, m := range slices.Backward(found) {
		roots = append(roots, m.root)
	}
	all := &tops{v: v}
	seen := map[string]bool{"": true}
	for _, root := range roots {
		if seen[root] {
			continue
		}
		seen[root] = true
		some := &tops{v: v}
		whole, err := some.all(ctx, root)
		if unreadable(err) {
			continue
		} else if err != nil {
			return nil, err
		}
		if root == given {
			all.whole = whole
		}
		if len(all.days) == 0 {
			all.days = some.days
			continue
		}
		for _, day := range some.days {
			for _, p := range day.points {
				if !all.has(p.Object) {
					if err := all.add(ctx, day.Name, p); err != nil {
						return nil, err
					}
				}
			}
		}
	}
	for _, tree := range trees {
		if tree == "" || all.has(tree) {
			continue
		}
		d, err := v.readDir(ctx, tree)
		if unreadable(err) {
			continue
		}
		p := v.point(ctx, tree)
		if err = errors.Join(err, p.Err); unreadable(err) {
			continue
		} else if err != nil {
			return nil, err
		}
		at := p.At.UTC()
		r := record{Name: at.Format("15-04-05.000Z"), Type: dirType, Mode: dirMode, Modified: at, Object: tree, Summary: summarize(d.records, at)}
		if err := all.add(ctx, at.Format(time.DateOnly), r); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Merge publishes a root of a drive that has the points of root, and of the trees
// that are named those which can be found, in whichever manifest or by themselves.
// It returns the new root; it is root if that has all of them, and empty if there
// are none. Other points stay where they are: in a root that somebody owns who does
// not know of them they would be taken for expired.
func (v *Vault) Merge(ctx context.Context, key DriveKey, root string, trees ...string) (string, error) {
	merged, err := v.merge(ctx, key, root, trees)
	if err != nil {
		return "", fmt.Errorf("bring together the points of drive %s: %w", key.Drive, err)
	}
	return merged, nil
}

func (v *Vault) merge(ctx context.Context, key DriveKey, root string, trees []string) (string, error) {
	all, err := v.gather(ctx, key, root, trees)
	if err != nil || len(all.days) == 0 {
		return "", err
	}
	named := map[string]bool{}
	for _, tree := range trees {
		named[tree] = true
	}
	own := &tops{v: v}
	if _, err := own.all(ctx, root); err != nil && !unreadable(err) {
		return "", err
	}
	all.keep(func(tree string) bool { return named[tree] || own.has(tree) })
	// A point that cannot be read has no place in the new root. The manifest that
	// names it stays, should it be whole again one day.
	var failed error
	dropped := all.keep(func(tree string) bool {
		p := v.point(ctx, tree)
		if p.Err != nil && !unreadable(p.Err) {
			failed = p.Err
		}
		return p.Err == nil
	})
	if failed != nil {
		return "", failed
	}
	if len(all.days) == 0 {
		return "", nil
	}
	now := v.rep.Time()
	slices.SortFunc(all.days, func(a, b topDay) int { return strings.Compare(a.Name, b.Name) })
	next, err := all.write(ctx, now)
	if err != nil {
		return "", err
	}
	after := root
	if !all.whole || dropped || next.Object == root {
		after = "" // the root before has more, whatever that is, or is this one
	}
	if err := v.publishOnce(ctx, key, &next, after, now); err != nil {
		return "", err
	}
	return next.Object, v.flush(ctx)
}

// publishOnce publishes a root, unless the drive's newest manifest has it already,
// and stages the deletion of those whose points it has.
func (v *Vault) publishOnce(ctx context.Context, key DriveKey, root *record, after string, at time.Time) error {
	of, err := v.manifestsOf(ctx, key.source())
	if err != nil && !unreadable(err) {
		return err
	}
	if err != nil || len(of) == 0 || of[len(of)-1].root != root.Object {
		saved, err := save(ctx, v.updates, key.source(), root, after, at)
		if err != nil {
			return err
		}
		of = append(of, saved)
	}
	// The root is read before what it replaces goes.
	if flushed := v.flush(ctx); flushed != nil {
		return flushed
	}
	if unreadable(err) {
		return nil // they stay
	}
	if err != nil {
		return err
	}
	for i, m := range slices.Backward(of) { // by a clock that went back it is not the last
		if m.root == root.Object {
			return v.sweepSource(ctx, v.updates, slices.Delete(slices.Clone(of), i, i+1), root.Object, chain(of, root.Object))
		}
	}
	return nil
}

// BeginAnew is Begin for a drive whose root or tree cannot be read: the points of
// the trees that are named, as far as they can be read, are brought together under
// one root, and the update starts from that and from an empty tree, so that
// it writes every folder anew, and believes no stored copy of what it writes before
// it has read it. It returns the newest tree of these of a backup which came to its end,
// which may be damaged further down, or "": of what the vault has besides nobody has said
// that it was ever read back.
func (v *Vault) BeginAnew(ctx context.Context, key DriveKey, trees ...string) (u *Update, newest string, err error) {
	root, err := v.Merge(ctx, key, "", trees...)
	if err != nil {
		return nil, "", err
	}
	points, err := v.Points(ctx, key, trees...)
	if err != nil {
		return nil, "", err
	}
	for _, p := range points {
		if p.Err == nil && !p.Info.Incomplete && slices.Contains(trees, p.Tree) {
			newest = p.Tree
		}
	}
	if u, err = v.Begin(ctx, key, root, ""); err == nil {
		u.doubt = true
	}
	return u, newest, err
}
