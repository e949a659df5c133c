package vault

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"holdfast/internal/backup"
)

// A Damage is something of a drive that the vault should hold, and does not as it
// was written. Items that share a damaged content are one each.
type Damage struct {
	Trees  []string      // the points that it is in, by their trees
	Item   backup.ItemID // the file or folder; empty for the point itself
	Path   string        // of that, in the first of the points
	Object string
	// Contents are kopia's ids of what is damaged of the object; the object is
	// whole again once they are stored anew.
	Contents []string
	What     What
	Err      error
}

// A What says what kind of thing is damaged.
type What string

const (
	FileDamaged   What = "file"   // that file's content; the rest of the point is whole
	FolderDamaged What = "folder" // what the folder holds cannot be told
	IndexDamaged  What = "index"  // items cannot be found by their ids
	PointDamaged  What = "point"  // the point as a whole
)

// VerifyOptions say how much is read.
type VerifyOptions struct {
	// Share is how much of the files' contents is read, from 0, none, to 1, all.
	// What is left out is chosen by Salt, so that another salt reads others.
	// Folders and indexes are read always.
	Share float64
	Salt  string
	// Progress, if there is one, is told of each object that was read.
	Progress func(bytes int64)
}

// A VerifyReport is what a verification found.
type VerifyReport struct {
	Objects, Bytes int64 // that were read back
	Skipped        int64 // contents that were left out
	Damage         []Damage
}

// Err is the first damage that was found, or nil.
func (r VerifyReport) Err() error {
	if len(r.Damage) == 0 {
		return nil
	}
	d := r.Damage[0]
	return fmt.Errorf("%s %q: %w", d.What, d.Path, d.Err)
}

// Verify reads trees of one drive back from the storage: folders, indexes and
// contents, each once however many trees share it. It goes on past what is
// damaged, and reports all of that. An error means that it could not go on: the
// storage failed, or the context ended.
func (v *Vault) Verify(ctx context.Context, trees []string, opt VerifyOptions) (VerifyReport, error) {
	if err := v.there(ctx); err != nil {
		return VerifyReport{}, fmt.Errorf("verify: %w", err)
	}
	c := &verification{v: v, opt: opt, seen: map[seenKey]bool{}, indexed: map[seenKey]int64{}, bad: map[string]int{}, named: map[damagedItem]int{}}
	for _, tree := range trees {
		if err := c.tree(ctx, tree); err != nil {
			return c.report, fmt.Errorf("verify tree %s: %w", tree, err)
		}
	}
	return c.report, nil
}

type seenKey [16]byte

func keyOf(oid string) (k seenKey) {
	h := sha256.Sum256([]byte(oid))
	copy(k[:], h[:])
	return k
}

type verification struct {
	v       *Vault
	opt     VerifyOptions
	seen    map[seenKey]bool  // objects that were found whole, with all below them
	indexed map[seenKey]int64 // items of parts of indexes that were found whole
	bad     map[string]int    // damaged objects: where each is first in the report
	named   map[damagedItem]int
	report  VerifyReport
}

// A damagedItem is an item with a damaged object, which it may share with others.
type damagedItem struct {
	object string
	item   backup.ItemID
}

// found notes damage, once for each item. It returns only what ends the
// verification.
func (c *verification) found(ctx context.Context, tree string, d Damage) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !unreadable(d.Err) {
		return d.Err
	}
	who := damagedItem{d.Object, d.Item}
	if i, known := c.named[who]; known {
		if trees := &c.report.Damage[i].Trees; (*trees)[len(*trees)-1] != tree {
			*trees = append(*trees, tree)
		}
		return nil
	}
	if i, known := c.bad[d.Object]; known {
		d.Contents = c.report.Damage[i].Contents
	} else {
		d.Contents = c.v.inspect(ctx, d.Object)
		c.v.markDamaged(d.Contents...)
		c.bad[d.Object] = len(c.report.Damage)
	}
	d.Trees = []string{tree}
	c.named[who] = len(c.report.Damage)
	c.report.Damage = append(c.report.Damage, d)
	return nil
}

// tree reads a tree back, or each of its parts.
func (c *verification) tree(ctx context.Context, tree string) error {
	return c.part(ctx, tree, tree, "")
}

// part reads what is at an object of a tree back: all of it, or one of its parts,
// whose paths begin with its name.
func (c *verification) part(ctx context.Context, tree, object, path string) error {
	if c.seen[keyOf(object)] {
		return nil
	}
	before := len(c.report.Damage)
	b, err := c.v.base(ctx, "", object)
	if err != nil {
		bad := object
		if d, ok := errors.AsType[*DamageError](err); ok {
			bad = d.Object
		}
		return c.found(ctx, tree, Damage{Path: path, Object: bad, What: PointDamaged, Err: err})
	}
	if _, err := b.unreadItems(ctx); err != nil {
		if err := c.found(ctx, tree, Damage{Path: path, Object: b.unread, What: PointDamaged, Err: err}); err != nil {
			return err
		}
	}
	for _, p := range b.partList() {
		if err := c.part(ctx, tree, p.Tree, p.Name); err != nil {
			return err
		}
	}
	whole, items := true, int64(0)
	if b.files.ID != "" {
		if whole, err = c.folder(ctx, tree, &b.files, path, &items); err != nil {
			return err
		}
	}
	indexed, err := c.index(ctx, tree, b.trie.root)
	if err != nil {
		return err
	}
	if whole && indexed >= 0 && indexed != items {
		err := c.found(ctx, tree, Damage{Path: path, Object: object, What: IndexDamaged,
			Err: &DamageError{Object: object, Err: fmt.Errorf("there are %d items in its files and %d in its index", items, indexed)}})
		if err != nil {
			return err
		}
	}
	c.seen[keyOf(object)] = len(c.report.Damage) == before
	return nil
}

// folder verifies a folder and all below it. It reports whether it was read
// whole, and counts the items: those of a folder that was seen before, by its
// summary.
func (c *verification) folder(ctx context.Context, tree string, r *record, path string, items *int64) (whole bool, err error) {
	if c.seen[keyOf(r.Object)] {
		if s := r.Summary; s != nil {
			*items += s.TotalFileCount + s.TotalDirCount
		}
		return true, nil
	}
	bad := func(err error) (bool, error) {
		return false, c.found(ctx, tree, Damage{Item: r.ID, Path: path, Object: r.Object, What: FolderDamaged, Err: err})
	}
	l, err := c.v.list(ctx, r.Object)
	c.report.Objects++
	if err != nil {
		return bad(err)
	}
	*items++
	whole = true
	for below, err := range l.records() {
		if err != nil {
			return bad(err)
		}
		at := join(path, below.trueName())
		if below.isDir() {
			ok, err := c.folder(ctx, tree, below, at, items)
			if err != nil {
				return false, err
			}
			whole = whole && ok
			continue
		}
		*items++
		ok, err := c.file(ctx, tree, below, at)
		if err != nil {
			return false, err
		}
		whole = whole && ok
	}
	if whole {
		c.seen[keyOf(r.Object)] = true
	}
	return whole, nil
}

func (c *verification) file(ctx context.Context, tree string, r *record, path string) (bool, error) {
	if i, known := c.bad[r.Object]; known {
		return false, c.found(ctx, tree, Damage{Item: r.ID, Path: path, Object: r.Object, What: FileDamaged, Err: c.report.Damage[i].Err})
	}
	k := keyOf(r.Object)
	if c.seen[k] {
		return true, nil
	}
	if !c.chosen(r.Object) {
		c.report.Skipped++
		return true, nil
	}
	err := c.v.readThrough(ctx, r.Object)
	c.report.Objects++
	if err != nil {
		return false, c.found(ctx, tree, Damage{Item: r.ID, Path: path, Object: r.Object, What: FileDamaged, Err: err})
	}
	c.report.Bytes += r.Size
	if c.opt.Progress != nil {
		c.opt.Progress(r.Size)
	}
	c.seen[k] = true
	return true, nil
}

// chosen reports whether a content is of the share that is read.
func (c *verification) chosen(object string) bool {
	if c.opt.Share >= 1 {
		return true
	}
	h := sha256.Sum256([]byte(c.opt.Salt + object))
	return float64(uint32(h[0])<<16|uint32(h[1])<<8|uint32(h[2]))/(1<<24) < c.opt.Share
}

// index verifies an index and returns how many items it has, or -1 when a part of
// it cannot be read.
func (c *verification) index(ctx context.Context, tree string, r *record) (int64, error) {
	if r == nil {
		return 0, nil
	}
	k := keyOf(r.Object)
	if n, known := c.indexed[k]; known {
		return n, nil
	}
	if !r.isDir() {
		leaf, err := c.v.readLeaf(ctx, r.Object)
		c.report.Objects++
		if err != nil {
			return -1, c.found(ctx, tree, Damage{Object: r.Object, What: IndexDamaged, Err: err})
		}
		c.indexed[k] = int64(len(leaf))
		return int64(len(leaf)), nil
	}
	d, err := c.v.readDir(ctx, r.Object)
	c.report.Objects++
	if err != nil {
		return -1, c.found(ctx, tree, Damage{Object: r.Object, What: IndexDamaged, Err: err})
	}
	total := int64(0)
	for i := range d.records {
		n, err := c.index(ctx, tree, &d.records[i])
		if err != nil {
			return -1, err
		}
		if n < 0 {
			total = -1
		} else if total >= 0 {
			total += n
		}
	}
	if total >= 0 {
		c.indexed[k] = total
	}
	return total, nil
}
