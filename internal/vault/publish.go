package vault

import (
	"context"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/kopia/kopia/fs"
	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/object"
	"github.com/kopia/kopia/snapshot"
)

// source returns the snapshot source of a drive, as kopia spells it:
// holdfast@tenant:/drives/id.
func (key DriveKey) source() snapshot.SourceInfo {
	return snapshot.SourceInfo{Host: string(key.Tenant), UserName: owner, Path: drivesPath + string(key.Drive)}
}

// Labels of our manifests, beside kopia's own. They are metadata, which a search
// returns without reading the manifests.
const (
	rootLabel  = "tag:holdfast-root"  // the root that the manifest names
	afterLabel = "tag:holdfast-after" // the root before, whose points it has, but for those that were given up
)

// publish makes root the drive's manifest, and returns when that and all that it
// names are in the vault for good. It holds all points of the root before it, but
// for those that the catalog has given up.
//
// After each flush it takes a look at the ids of all that was written of manifests to
// know which are a drive's. So older ones are swept up only when that is worth it: at
// once in a small vault, every few hundred times in one of ten thousand drives. Until
// then an older manifest shows points that the newer one has too, or that have expired.
func (v *Vault) publish(ctx context.Context, key DriveKey, root *record, after string, at time.Time) error {
	saved, err := save(ctx, v.updates, key.source(), root, after, at)
	if err != nil {
		return err
	}
	if after != "" && v.sweepIsDue() {
		if err := v.sweep(ctx, v.updates, saved); unreadable(err) {
			v.log.ErrorContext(ctx, "vault: manifests cannot be read, and older ones stay", "err", err)
		} else if err != nil {
			return err
		}
	}
	return v.flush(ctx)
}

// sweepIsDue counts a manifest that leaves an older one behind.
func (v *Vault) sweepIsDue() bool {
	v.manifests.Lock()
	defer v.manifests.Unlock()
	v.manifests.stale++
	due := v.manifests.stale*8 >= v.manifests.live
	if due {
		v.manifests.stale = 0
	}
	return due
}

// save stages a manifest.
func save(ctx context.Context, w repo.RepositoryWriter, src snapshot.SourceInfo, root *record, after string, at time.Time) (named, error) {
	oid, err := object.ParseID(root.Object)
	if err != nil {
		return named{}, fmt.Errorf("root of %s: %w", src.Path, err)
	}
	when := fs.UTCTimestampFromTime(at)
	tags := map[string]string{rootLabel: root.Object}
	if after != "" {
		tags[afterLabel] = after
	}
	m := &snapshot.Manifest{
		Source: src, Description: "Holdfast: every restore point of the drive", Tags: tags,
		StartTime: when, EndTime: when,
		RootEntry: &snapshot.DirEntry{
			Name: path.Base(src.Path), Type: snapshot.EntryTypeDirectory, Permissions: 0o755,
			ModTime: when, ObjectID: oid, DirSummary: root.Summary,
		},
	}
	id, err := snapshot.SaveSnapshot(once(ctx), w, m)
	return named{id, w.Time(), src.Host, src.Path, root.Object, after}, storageError(err)
}

// sweep deletes the manifests of which a newer one of their source has all
// points; saved are staged, and not there yet.
func (v *Vault) sweep(ctx context.Context, w repo.RepositoryWriter, saved ...named) error {
	bySource, err := v.manifestsBySource(ctx)
	if err != nil {
		return err
	}
	for _, m := range saved {
		bySource[m.source()] = append(bySource[m.source()], m)
	}
	for _, of := range bySource {
		newest := of[len(of)-1]
		if !strings.HasPrefix(newest.path, drivesPath) {
			continue
		}
		if err := v.sweepSource(ctx, w, of[:len(of)-1], newest.root, chain(of, newest.root)); err != nil {
			return err
		}
	}
	v.manifests.Lock()
	v.manifests.live = len(bySource)
	v.manifests.Unlock()
	return nil
}

// chain returns a root and those that it follows, as far as a source's manifests
// tell: it has the points of each, but for those that were given up.
func chain(of []named, root string) map[string]bool {
	after := map[string][]string{} // a root may have been published more than once
	for _, m := range of {
		after[m.root] = append(after[m.root], m.after)
	}
	inside := map[string]bool{}
	for next := []string{root}; len(next) > 0; {
		root, next = next[0], next[1:]
		if root != "" && !inside[root] {
			inside[root] = true
			next = append(next, after[root]...)
		}
	}
	return inside
}

// sweepSource deletes those manifests whose roots are inside another, or whose
// points it all has.
func (v *Vault) sweepSource(ctx context.Context, w repo.RepositoryWriter, of []named, root string, inside map[string]bool) error {
	var held *tops
	for _, m := range of {
		if !inside[m.root] {
			if held == nil {
				held = &tops{v: v}
				if _, err := held.all(ctx, root); unreadable(err) {
					held = &tops{v: v} // it has no points that one could be sure of
				} else if err != nil {
					return err
				}
			}
			contained, whole, err := v.contained(ctx, m.root, held)
			if err != nil {
				return err
			}
			if !whole {
				v.manifests.Lock()
				v.manifests.unread[m.source()] = true
				v.manifests.Unlock()
			}
			if !contained {
				continue
			}
		}
		if err := w.DeleteManifest(once(ctx), m.id); err != nil {
			return storageError(err)
		}
	}
	return nil
}

// contained reports whether all points of a root are surely among others. A root
// or a day that cannot be read may hold any, and is not whole.
func (v *Vault) contained(ctx context.Context, root string, among *tops) (all, whole bool, err error) {
	old := &tops{v: v}
	whole, err = old.all(ctx, root)
	if unreadable(err) || err == nil && !whole {
		return false, false, nil
	}
	if err != nil {
		return false, false, err
	}
	for _, day := range old.days {
		for _, p := range day.points {
			if !p.Checkpoint && !among.has(p.Object) {
				return false, true, nil
			}
		}
	}
	return true, true, nil
}

// Expire drops the points of a drive whose trees keep does not hold, and
// publishes what is left: the drive's new root, which is root when there was
// nothing to drop, and empty when all was dropped. Only points of root are
// dropped: what root does not know of is not for its owner to give up. A point
// that is to be kept and that root lacks, or can no longer give, is looked for in
// the drive's other manifests and by its own tree. Once all that are to be kept
// are found, manifests that cannot be read go too. The space is free some days
// later, when Maintain has found twice that nothing needs it.
func (v *Vault) Expire(ctx context.Context, key DriveKey, root string, keep map[string]bool) (newRoot string, err error) {
	if newRoot, err = v.expire(ctx, key, root, keep); err != nil {
		return "", fmt.Errorf("expire points of drive %s: %w", key.Drive, err)
	}
	return newRoot, nil
}

func (v *Vault) expire(ctx context.Context, key DriveKey, root string, keep map[string]bool) (string, error) {
	left := &tops{v: v}
	whole, unread := left.all(ctx, root)
	if unread != nil && !unreadable(unread) {
		return "", unread
	}
	dropped := left.keep(func(tree string) bool { return keep[tree] })
	lacks := left.lacks(keep)
	if len(lacks) > 0 {
		all, err := v.gather(ctx, key, root, lacks)
		if err != nil {
			return "", err
		}
		for _, day := range all.days {
			for _, p := range day.points {
				if keep[p.Object] && !left.has(p.Object) {
					if err := left.add(ctx, day.Name, p); err != nil {
						return "", err
					}
				}
			}
		}
		missed := len(lacks)
		lacks = left.lacks(keep)
		dropped = dropped || len(lacks) < missed
	}
	// What cannot be read of root, or of other manifests, may hold a point that is
	// to be kept, until all of those were found elsewhere.
	found, forgot := len(lacks) == 0, false
	if found {
		var err error
		if forgot, err = v.forgetUnread(ctx, key, root); err != nil {
			return "", err
		}
	}
	switch {
	case !dropped && unread != nil && !found:
		return "", unread
	case !dropped && (whole || !found) && forgot:
		return root, v.flush(ctx)
	case !dropped && (whole || !found), len(left.days) == 0 && !whole && !found:
		return root, nil
	case len(left.days) == 0:
		if err := v.forgetKnown(ctx, key, root); err != nil {
			return "", err
		}
		return "", v.flush(ctx)
	}
	now := v.rep.Time()
	next, err := left.write(ctx, now)
	if err != nil || next.Object == root {
		return next.Object, err
	}
	after := ""
	if whole || found {
		after = root
	}
	return next.Object, v.publish(ctx, key, &next, after, now)
}

// forgetUnread stages the deletion of the manifests of a drive, but for root's,
// that were seen to be unreadable and still are.
func (v *Vault) forgetUnread(ctx context.Context, key DriveKey, root string) (forgot bool, err error) {
	src := key.source()
	name := src.Host + ":" + src.Path
	v.manifests.Lock()
	seen := v.manifests.unread[name]
	delete(v.manifests.unread, name)
	v.manifests.Unlock()
	if !seen {
		return false, nil
	}
	of, err := v.manifestsOf(ctx, key.source())
	if err != nil {
		return false, err
	}
	for _, m := range of {
		if m.root == root {
			continue
		}
		t := &tops{v: v}
		whole, err := t.all(ctx, m.root)
		if err == nil && whole {
			continue
		}
		if err != nil && !unreadable(err) {
			return false, err
		}
		v.log.WarnContext(ctx, "vault: a manifest that cannot be read is given up, as all points that are wanted are elsewhere", "drive", key.Drive, "root", m.root)
		if err := v.updates.DeleteManifest(once(ctx), m.id); err != nil {
			return false, storageError(err)
		}
		forgot = true
	}
	return forgot, nil
}

// forgetKnown stages the deletion of the manifests of a drive that have nothing
// which root does not have.
func (v *Vault) forgetKnown(ctx context.Context, key DriveKey, root string) error {
	of, err := v.manifestsOf(ctx, key.source())
	if err != nil {
		return err
	}
	return v.sweepSource(ctx, v.updates, of, root, chain(of, root))
}

// Destroy drops all that the vault holds of a drive, also what cannot be read
// any more. The space is free some days later, as with Expire.
func (v *Vault) Destroy(ctx context.Context, key DriveKey) error {
	err := v.forget(ctx, v.updates, key)
	if err == nil {
		err = v.flush(ctx)
	}
	if err != nil {
		return fmt.Errorf("destroy drive %s: %w", key.Drive, err)
	}
	return nil
}

// forget stages the deletion of a drive's manifests.
func (v *Vault) forget(ctx context.Context, w repo.RepositoryWriter, key DriveKey) error {
	found, err := v.manifestsOf(ctx, key.source())
	if err != nil {
		return err
	}
	for _, m := range found {
		if err := w.DeleteManifest(once(ctx), m.id); err != nil {
			return storageError(err)
		}
	}
	return nil
}
