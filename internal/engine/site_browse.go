package engine

import (
	"context"
	"slices"

	"holdfast/internal/backup"
	"holdfast/internal/vault"
)

// A point of a site is browsed as a folder of its libraries, each a folder by its
// drive's id, below which all is as in a drive. Items are known by their ids, which
// are one library's only; where two have the same, neither is shown for the other.

// shown are the parts of a point that are browsed: what is kept beside libraries is not.
func shown(parts []vault.Part) []vault.Part {
	return slices.DeleteFunc(slices.Clone(parts), func(p vault.Part) bool { return p.Kind.Beside() })
}

func errTwice() error {
	return backup.Fail(backup.ItemNotFound, "Two libraries of the restore point hold an item of this id, so that it cannot be told which is meant. Restore the point to a new place.")
}

// siteItem is the point of a site itself.
func siteItem(p backup.Point, parts []vault.Part) backup.Item {
	return backup.Item{ID: backup.ItemID(p.Drive), Kind: backup.Folder, Size: p.Bytes, Items: p.Files + p.Folders + int64(len(parts))}
}

func libraryItem(p backup.Point, part vault.Part) backup.Item {
	return backup.Item{ID: backup.ItemID(part.Drive), Parent: backup.ItemID(p.Drive), Name: part.Name, Path: part.Name,
		Kind: backup.Folder, Size: part.Bytes, Items: part.Files + part.Folders}
}

// inLibrary is an item of a library as one of its point.
func inLibrary(l vault.Listed, part vault.Part, root backup.ItemID) backup.Item {
	item := itemOf(l)
	item.Path = part.Name + "/" + l.Path
	if item.Parent == root {
		item.Parent = backup.ItemID(part.Drive)
	}
	return item
}

// rootOf returns the root folder's id of a part, "" where it has none.
func rootOf(ctx context.Context, v *vault.Vault, part vault.Part) (backup.ItemID, error) {
	root, _, err := v.Find(ctx, part.Tree, backup.ItemRef{})
	return root.ID, err
}

// findInSite is Item for a point of a site.
func findInSite(ctx context.Context, v *vault.Vault, p backup.Point, parts []vault.Part, ref backup.ItemRef) (backup.Item, error) {
	parts = shown(parts)
	if ref == (backup.ItemRef{}) || ref == backup.RefOf(backup.ItemID(p.Drive)) {
		return siteItem(p, parts), nil
	}
	for _, part := range parts {
		if backup.RefOf(backup.ItemID(part.Drive)) == ref {
			return libraryItem(p, part), nil
		}
	}
	var found backup.Item
	var damage error
	for _, part := range parts {
		l, ok, err := v.Find(ctx, part.Tree, ref)
		switch {
		case isDamage(err):
			damage = err // it may be in another
			continue
		case err != nil:
			return found, err
		case !ok:
			continue
		case found.ID != "":
			return backup.Item{}, errTwice()
		case l.Parent == "":
			found = libraryItem(p, part)
			continue
		}
		root, err := rootOf(ctx, v, part)
		if err != nil {
			return found, err
		}
		found = inLibrary(l, part, root)
	}
	switch {
	case found.ID != "":
		return found, nil
	case damage != nil:
		return found, damage
	}
	return found, noItem()
}

// listInSite is Children for a point of a site.
func listInSite(ctx context.Context, v *vault.Vault, p backup.Point, parts []vault.Part, folder backup.ItemID, from int64, tell func(backup.Item) error) (err error) {
	parts = shown(parts)
	if folder == backup.ItemID(p.Drive) {
		for i := max(from-1, 0); i < int64(len(parts)); i++ {
			item := libraryItem(p, parts[i])
			item.At = i + 1
			if err := tell(item); err != nil {
				return err
			}
		}
		return nil
	}
	var in vault.Part
	for _, part := range parts {
		if folder == backup.ItemID(part.Drive) {
			in = part
		}
	}
	at := folder
	if in.Tree == "" {
		if in, err = partHolding(ctx, v, parts, folder); err != nil {
			return err
		}
	}
	root, err := rootOf(ctx, v, in)
	if err != nil {
		return err
	}
	if folder == backup.ItemID(in.Drive) {
		if at = root; root == "" {
			return nil // nothing was in it
		}
	}
	for l, err := range v.Browse(ctx, in.Tree, at, from) {
		if err == nil {
			err = tell(inLibrary(l, in, root))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// partHolding returns the library of a point that holds an item.
func partHolding(ctx context.Context, v *vault.Vault, parts []vault.Part, id backup.ItemID) (in vault.Part, err error) {
	var damage error
	for _, part := range shown(parts) {
		_, ok, err := v.Stat(ctx, part.Tree, id)
		switch {
		case isDamage(err):
			damage = err
		case err != nil:
			return in, err
		case ok && in.Tree != "":
			return in, errTwice()
		case ok:
			in = part
		}
	}
	switch {
	case in.Tree != "":
		return in, nil
	case damage != nil:
		return in, damage
	}
	return in, noItem()
}
