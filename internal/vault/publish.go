package vault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kopia/kopia/fs"
	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/maintenance"
	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/repo/object"
	"github.com/kopia/kopia/snapshot"
	"github.com/kopia/kopia/snapshot/snapshotmaintenance"
)

// source returns the snapshot source of a drive, as kopia spells it:
// holdfast@tenant:/drives/id.
func (key DriveKey) source() snapshot.SourceInfo {
	return snapshot.SourceInfo{Host: string(key.Tenant), UserName: owner, Path: "/drives/" + string(key.Drive)}
}

// publish makes root the drive's manifest, and returns when that and all that it
// names are in the vault for good.
//
// To find a drive's older manifests kopia reads every manifest of the vault.
// So they are swept up only when that is worth it: at once in a small vault,
// every few hundred times in one of ten thousand drives. Until then an older
// manifest shows points that the newer one has too, or that have expired.
func (v *Vault) publish(ctx context.Context, key DriveKey, root *record, at time.Time) error {
	if err := save(ctx, v.updates, key, root, at); err != nil {
		return err
	}
	v.manifests.Lock()
	v.manifests.stale++
	due := v.manifests.stale*16 >= v.manifests.live
	if due {
		v.manifests.stale = 0
	}
	v.manifests.Unlock()
	if due {
		if err := v.sweep(ctx, v.updates); err != nil {
			return err
		}
	}
	return v.flush(ctx)
}

// save stages a manifest of a drive.
func save(ctx context.Context, w repo.RepositoryWriter, key DriveKey, root *record, at time.Time) error {
	oid, err := object.ParseID(root.Object)
	if err != nil {
		return fmt.Errorf("root of drive %s: %w", key.Drive, err)
	}
	when := fs.UTCTimestampFromTime(at)
	m := &snapshot.Manifest{
		Source: key.source(), Description: "Holdfast: every restore point of the drive",
		StartTime: when, EndTime: when,
		RootEntry: &snapshot.DirEntry{
			Name: string(key.Drive), Type: snapshot.EntryTypeDirectory, Permissions: 0o755,
			ModTime: when, ObjectID: oid, DirSummary: root.Summary,
		},
	}
	_, err = snapshot.SaveSnapshot(ctx, w, m)
	return storageError(err)
}

var snapshots = map[string]string{manifest.TypeLabelKey: snapshot.ManifestType}

// sweep deletes all manifests but the newest of each drive.
func (v *Vault) sweep(ctx context.Context, w repo.RepositoryWriter) error {
	found, err := w.FindManifests(ctx, snapshots)
	if err != nil {
		return storageError(err)
	}
	bySource := map[string][]*manifest.EntryMetadata{}
	for _, m := range found {
		if s, ours := sourceOf(m); ours {
			bySource[s] = append(bySource[s], m)
		}
	}
	for _, of := range bySource {
		newest := slices.MaxFunc(of, func(a, b *manifest.EntryMetadata) int { return a.ModTime.Compare(b.ModTime) })
		for _, m := range of {
			if m != newest {
				if err := w.DeleteManifest(ctx, m.ID); err != nil {
					return storageError(err)
				}
			}
		}
	}
	v.manifests.Lock()
	v.manifests.live = len(bySource)
	v.manifests.Unlock()
	return nil
}

// sourceOf returns the source that a manifest is of, and whether we wrote it:
// what somebody else keeps in the repository is left alone.
func sourceOf(m *manifest.EntryMetadata) (string, bool) {
	l := m.Labels
	return l[snapshot.HostnameLabel] + ":" + l[snapshot.PathLabel], l[snapshot.UsernameLabel] == owner
}

// Expire drops the points of a drive whose trees keep does not hold, and
// publishes what is left: the drive's new root, which is root when there was
// nothing to drop, and empty when all was dropped. The space is free some
// days later, when Maintain has found twice that nothing needs it.
func (v *Vault) Expire(ctx context.Context, key DriveKey, root string, keep map[string]bool) (newRoot string, err error) {
	if newRoot, err = v.expire(ctx, key, root, keep); err != nil {
		return "", fmt.Errorf("expire points of drive %s: %w", key.Drive, err)
	}
	return newRoot, nil
}

func (v *Vault) expire(ctx context.Context, key DriveKey, root string, keep map[string]bool) (string, error) {
	days, err := v.records(ctx, root)
	if err != nil {
		return "", err
	}
	w := v.updates
	var kept []record
	changed := false
	for _, day := range days {
		points, err := v.records(ctx, day.Object)
		if err != nil {
			return "", err
		}
		n := len(points)
		points = slices.DeleteFunc(points, func(r record) bool { return !keep[r.Object] })
		if len(points) < n {
			changed = true
			if len(points) == 0 {
				continue
			}
			if day, err = v.writeDir(ctx, w, day.Name, day.Modified, points); err != nil {
				return "", err
			}
		}
		kept = append(kept, day)
	}
	switch {
	case !changed:
		return root, nil
	case len(kept) == 0:
		if err := v.forget(ctx, w, key); err != nil {
			return "", err
		}
		return "", v.flush(ctx)
	}
	now := v.rep.Time()
	next, err := v.writeDir(ctx, w, "", now, kept)
	if err != nil {
		return "", err
	}
	return next.Object, v.publish(ctx, key, &next, now)
}

// manifestsOf returns a drive's manifests, oldest first.
func manifestsOf(ctx context.Context, w repo.RepositoryWriter, key DriveKey) ([]*snapshot.Manifest, error) {
	found, err := snapshot.ListSnapshots(ctx, w, key.source())
	if err != nil {
		return nil, storageError(err)
	}
	return found, nil
}

// forget stages the deletion of a drive's manifests.
func (v *Vault) forget(ctx context.Context, w repo.RepositoryWriter, key DriveKey) error {
	found, err := manifestsOf(ctx, w, key)
	if err != nil {
		return err
	}
	for _, m := range found {
		if err := w.DeleteManifest(ctx, m.ID); err != nil {
			return storageError(err)
		}
	}
	return nil
}

// Maintain puts the manifests of drives right that disagree with the roots the
// catalog has, and then runs what kopia's schedule says is due: quick
// maintenance hourly, and daily the full one, which collects what nothing has
// needed for longer than any update may take to publish. A drive that roots
// does not name is left as it is; one whose root is empty has no points, and
// its manifests go within a day. One process should maintain a vault at a time.
//
// When a root is not in the vault nothing is collected, and the error is
// ErrNotFound.
func (v *Vault) Maintain(ctx context.Context, roots map[DriveKey]string) error {
	if err := v.maintain(ctx, roots, maintenance.ModeAuto); err != nil {
		return fmt.Errorf("maintain vault: %w", err)
	}
	return nil
}

func (v *Vault) maintain(ctx context.Context, roots map[DriveKey]string, mode maintenance.Mode) error {
	if err := v.rep.Refresh(ctx); err != nil {
		return storageError(err)
	}
	w, err := v.session(ctx, "maintain")
	if err != nil {
		return err
	}
	defer w.Close(context.WithoutCancel(ctx))
	if err := v.repair(ctx, w, roots); err != nil {
		return err
	}
	if p, err := maintenance.GetParams(ctx, w); err != nil {
		return storageError(err)
	} else if p.Owner != w.ClientOptions().UsernameAtHost() {
		// Else a stock kopia that connects would take it upon itself.
		p.Owner = w.ClientOptions().UsernameAtHost()
		if err := maintenance.SetParams(ctx, w, p); err != nil {
			return storageError(err)
		}
	}
	if err := w.Flush(ctx); err != nil {
		return storageError(err)
	}
	err = snapshotmaintenance.Run(ctx, w, mode, false, v.safety)
	return storageError(errors.Join(err, w.Flush(ctx)))
}

// grace is how long a manifest newer than the catalog's is taken for one that
// is being published.
const grace = 24 * time.Hour

// repair stages, for each drive of roots, a manifest of its root where there
// is none, and the deletion of older ones.
func (v *Vault) repair(ctx context.Context, w repo.RepositoryWriter, roots map[DriveKey]string) error {
	found, err := w.FindManifests(ctx, snapshots)
	if err != nil {
		return storageError(err)
	}
	bySource := map[string][]*manifest.EntryMetadata{} // oldest first
	for _, m := range found {
		if s, ours := sourceOf(m); ours {
			bySource[s] = append(bySource[s], m)
		}
	}
	now := v.rep.Time()
	for key, root := range roots {
		src := key.source()
		var right time.Time // of the newest manifest that has the root
		of := bySource[src.Host+":"+src.Path]
		wrong := of[:0]
		for _, m := range of {
			s, err := snapshot.LoadSnapshot(ctx, w, m.ID)
			if err != nil {
				return storageError(err)
			}
			if root != "" && s.RootObjectID().String() == root {
				right = m.ModTime
				continue
			}
			wrong = append(wrong, m)
		}
		if root != "" && right.IsZero() {
			v.log.WarnContext(ctx, "vault: manifest disagrees with the catalog and is put right", "drive", key.Drive, "root", root)
			d, err := v.readDir(ctx, root)
			if err != nil {
				return fmt.Errorf("root of drive %s: %w", key.Drive, err)
			}
			if err := save(ctx, w, key, &record{Object: root, Summary: summarize(d.records, now)}, now); err != nil {
				return err
			}
			right = now.Add(-grace)
		}
		for _, m := range wrong {
			if m.ModTime.Before(right) || now.Sub(m.ModTime) > grace {
				if err := w.DeleteManifest(ctx, m.ID); err != nil {
					return storageError(err)
				}
			}
		}
	}
	return nil
}
