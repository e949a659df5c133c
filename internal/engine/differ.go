package engine

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"path"
	"slices"

	"holdfast/internal/backup"
	"holdfast/internal/vault"
)

// errHeard ends a list that nobody reads on.
var errHeard = errors.New("enough")

// listing yields what list tells of, and then its error. What is told once nobody listens any
// more is answered by errHeard.
func listing[T any](list func(tell func(T) error) error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		err := list(func(t T) error {
			if !yield(t, nil) {
				return errHeard
			}
			return nil
		})
		if err != nil && !errors.Is(err, errHeard) {
			var none T
			yield(none, err)
		}
	}
}

// Changes lists how two points of a unit differ.
func (e *Engine) Changes(ctx context.Context, of backup.Workload, from, to backup.Point) iter.Seq2[backup.Change, error] {
	return listing(func(tell func(backup.Change) error) error {
		_, err := looking(ctx, e, to, func(v *vault.Vault) (struct{}, error) {
			if err := e.inOneVault(ctx, from, to); err != nil {
				return struct{}{}, err
			}
			if of == backup.Exchange {
				return struct{}{}, differTrees(ctx, v, from.Tree, to.Tree, differingMail, differingMail, tell)
			}
			return struct{}{}, differences(ctx, v, from, to, tell)
		})
		return err
	})
}

// inOneVault fails for points that cannot be laid beside each other.
func (e *Engine) inOneVault(ctx context.Context, from, to backup.Point) error {
	if from.Drive == to.Drive {
		return nil
	}
	was, err := e.Catalog.VaultOf(ctx, from.Tenant, from.Drive)
	if err != nil {
		return err
	}
	is, err := e.Catalog.VaultOf(ctx, to.Tenant, to.Drive)
	if err == nil && was != is {
		err = backup.Fail(backup.InvalidRequest, "The restore points are of two drives, and in two vaults: they cannot be compared. Browse both of them instead.")
	}
	return err
}

// differences gives to tell how two points of a drive or a site differ. Of a site, libraries and lists are compared
// one by one, by their ids; one that came or went is told of as the folder that it is
// browsed as, with all that is in it.
func differences(ctx context.Context, v *vault.Vault, from, to backup.Point, tell func(backup.Change) error) error {
	if from.Tree == to.Tree {
		return nil
	}
	was, err := v.Parts(ctx, from.Tree)
	if err != nil {
		return err
	}
	is, err := v.Parts(ctx, to.Tree)
	if err != nil {
		return err
	}
	if len(was)+len(is) == 0 {
		return differTrees(ctx, v, from.Tree, to.Tree, differing(nil), differing(nil), tell)
	}
	pairs := map[backup.DriveID][2]*vault.Part{}
	var order []backup.DriveID
	for side, parts := range [][]vault.Part{shown(was), shown(is)} {
		for i := range parts {
			id := parts[i].Drive
			pair, known := pairs[id]
			if pair[side] = &parts[i]; !known {
				order = append(order, id)
			}
			pairs[id] = pair
		}
	}
	slices.SortFunc(order, func(a, b backup.DriveID) int {
		return cmp.Or(cmp.Compare(partName(pairs[a]), partName(pairs[b])), cmp.Compare(a, b))
	})
	for _, id := range order {
		a, b := pairs[id][0], pairs[id][1]
		var c backup.Change
		var trees [2]string
		if a != nil {
			item := libraryItem(from, *a)
			c.From, trees[0] = &item, a.Tree
		}
		if b != nil {
			item := libraryItem(to, *b)
			c.To, trees[1] = &item, b.Tree
		}
		if a == nil || b == nil || a.Name != b.Name {
			if err := tell(c); err != nil {
				return err
			}
		}
		if err := differTrees(ctx, v, trees[0], trees[1], differing(a), differing(b), tell); err != nil {
			return err
		}
	}
	return nil
}

// partName is what a part is called in the newer of two points that has it.
func partName(pair [2]*vault.Part) string {
	if pair[1] != nil {
		return pair[1].Name
	}
	return pair[0].Name
}

// differTrees is differences of two trees, by what their items are to people: nil for what
// is nothing to them.
func differTrees(ctx context.Context, v *vault.Vault, from, to string, was, is func(*vault.Node) *backup.Item, tell func(backup.Change) error) error {
	for d, err := range v.Diff(ctx, from, to) {
		if err != nil {
			return err
		}
		c := backup.Change{From: was(d.From), To: is(d.To)}
		if c.From != nil && c.To != nil {
			c.Content = d.From.Kind != d.To.Kind || d.To.Kind == backup.File && otherContent(d.From, d.To)
			if !c.Moved() && !c.Content && (d.To.Kind != backup.File || d.From.Modified.Equal(d.To.Modified)) {
				continue // what the source alone makes of it
			}
		}
		if c.From == nil && c.To == nil {
			continue // the root folder is of all points
		}
		if err := tell(c); err != nil {
			return err
		}
	}
	return nil
}

func otherContent(a, b *vault.Node) bool {
	if a.Size != b.Size {
		return true
	}
	if was, is := a.StoredHash(), b.StoredHash(); was != "" && is != "" {
		return was != is
	}
	return a.Content != b.Content
}

// differing makes of an item of a tree one of its point, with its place in a part of a
// site if that is not nil; nil of none and of the root folder.
func differing(part *vault.Part) func(*vault.Node) *backup.Item {
	return func(n *vault.Node) *backup.Item {
		if n == nil || n.Parent == "" {
			return nil
		}
		item := &backup.Item{ID: n.ID, Parent: n.Parent, Name: n.Name, Path: n.Path, Kind: n.Kind, Size: n.Size}
		if part != nil {
			item.Path = part.Name + "/" + n.Path
		}
		return item
	}
}

// differingMail is differing of a mailbox: folders, and items in them. What is only here,
// the folders of months, and what stands beside an item or a folder, is left out.
func differingMail(n *vault.Node) *backup.Item {
	item := differing(nil)(n)
	if item == nil {
		return nil
	}
	_, own := splitMailID(n.ID)
	switch {
	case own == "" && n.Kind == backup.File:
		item.Parent, _ = splitMailID(n.Parent)
		item.Path = path.Join(path.Dir(path.Dir(n.Path)), n.Name)
	case own != "" && (n.Kind != backup.Folder || own != ownRecoverable):
		return nil
	}
	return item
}
