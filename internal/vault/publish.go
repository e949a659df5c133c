package vault

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
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
// To find a drive's older manifests kopia reads every manifest of the vault.
// So they are swept up only when that is worth it: at once in a small vault,
// every few hundred times in one of ten thousand drives. Until then an older
// manifest shows points that the newer one has too, or that have expired.
func (v *Vault) publish(ctx context.Context, key DriveKey, root *record, after string, at time.Time) error {
	if err := save(ctx, v.updates, key.source(), root, after, at); err != nil {
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

// save stages a manifest.
func save(ctx context.Context, w repo.RepositoryWriter, src snapshot.SourceInfo, root *record, after string, at time.Time) error {
	oid, err := object.ParseID(root.Object)
	if err != nil {
		return fmt.Errorf("root of %s: %w", src.Path, err)
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
	_, err = snapshot.SaveSnapshot(ctx, w, m)
	return storageError(err)
}

var snapshots = map[string]string{manifest.TypeLabelKey: snapshot.ManifestType}

// A named is one of our manifests.
type named struct {
	*manifest.EntryMetadata
	root string // what it names
}

// manifestsBySource returns all our manifests by their source, the oldest first.
func manifestsBySource(ctx context.Context, w repo.Repository, labels map[string]string) (map[string][]named, error) {
	found, err := w.FindManifests(ctx, labels)
	if err != nil {
		return nil, storageError(err)
	}
	bySource := map[string][]named{}
	for _, m := range found {
		l := m.Labels
		if l[snapshot.UsernameLabel] != owner {
			continue // what somebody else keeps in the repository is left alone
		}
		src := l[snapshot.HostnameLabel] + ":" + l[snapshot.PathLabel]
		n := named{m, l[rootLabel]}
		if n.root == "" { // of before version 1 of the format
			s, err := snapshot.LoadSnapshot(ctx, w, m.ID)
			if err != nil {
				return nil, storageError(err)
			}
			n.root = s.RootObjectID().String()
		}
		bySource[src] = append(bySource[src], n)
	}
	for _, of := range bySource {
		slices.SortStableFunc(of, func(a, b named) int { return a.ModTime.Compare(b.ModTime) })
	}
	return bySource, nil
}

// manifestsOf returns a drive's manifests, the oldest first.
func manifestsOf(ctx context.Context, w repo.Repository, key DriveKey) ([]named, error) {
	src := key.source()
	all, err := manifestsBySource(ctx, w, map[string]string{
		manifest.TypeLabelKey: snapshot.ManifestType, snapshot.UsernameLabel: src.UserName,
		snapshot.HostnameLabel: src.Host, snapshot.PathLabel: src.Path,
	})
	return all[src.Host+":"+src.Path], err
}

// sweep deletes the manifests of which a newer one of their source has all
// points.
func (v *Vault) sweep(ctx context.Context, w repo.RepositoryWriter) error {
	bySource, err := manifestsBySource(ctx, w, snapshots)
	if err != nil {
		return err
	}
	for _, of := range bySource {
		if len(of) < 2 || !strings.HasPrefix(of[0].Labels[snapshot.PathLabel], drivesPath) {
			continue
		}
		if err := v.sweepSource(ctx, w, of, of[len(of)-1]); err != nil {
			return err
		}
	}
	v.manifests.Lock()
	v.manifests.live = len(bySource)
	v.manifests.Unlock()
	return nil
}

// sweepSource deletes those of a source's manifests whose points are all in the
// one that stays.
func (v *Vault) sweepSource(ctx context.Context, w repo.RepositoryWriter, of []named, stays named) error {
	byRoot := map[string]named{}
	for _, m := range of {
		byRoot[m.root] = m
	}
	inside := map[string]bool{}
	for root := stays.root; root != "" && !inside[root]; root = byRoot[root].label(afterLabel) {
		inside[root] = true
	}
	var held *tops
	for _, m := range of {
		if m.ID == stays.ID {
			continue
		}
		if !inside[m.root] {
			if held == nil {
				held = &tops{v: v}
				if _, err := held.all(ctx, stays.root); unreadable(err) {
					return nil // it has no points that one could be sure of
				} else if err != nil {
					return err
				}
			}
			contained, err := v.contained(ctx, m.root, held)
			if err != nil {
				return err
			}
			if !contained {
				continue
			}
		}
		if err := w.DeleteManifest(ctx, m.ID); err != nil {
			return storageError(err)
		}
	}
	return nil
}

func (n named) label(name string) string {
	if n.EntryMetadata == nil {
		return ""
	}
	return n.Labels[name]
}

// contained reports whether all points of a root are surely among others. A root
// or a day that cannot be read may hold any.
func (v *Vault) contained(ctx context.Context, root string, among *tops) (bool, error) {
	old := &tops{v: v}
	whole, err := old.all(ctx, root)
	if unreadable(err) || err == nil && !whole {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, day := range old.days {
		for _, p := range day.points {
			if !among.has(p.Object) {
				return false, nil
			}
		}
	}
	return true, nil
}

// Expire drops the points of a drive whose trees keep does not hold, and
// publishes what is left: the drive's new root, which is root when there was
// nothing to drop, and empty when all was dropped. Only points of root are
// dropped: what root does not know of is not for its owner to give up. The space
// is free some days later, when Maintain has found twice that nothing needs it.
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
	left := &tops{v: v}
	for _, day := range days {
		d := topDay{record: day}
		if err := left.load(ctx, &d); err != nil {
			return "", err
		}
		left.days = append(left.days, d)
	}
	if !left.keep(func(tree string) bool { return keep[tree] }) {
		return root, nil
	}
	if len(left.days) == 0 {
		if err := v.forget(ctx, v.updates, key); err != nil {
			return "", err
		}
		return "", v.flush(ctx)
	}
	now := v.rep.Time()
	next, err := left.write(ctx, now)
	if err != nil {
		return "", err
	}
	return next.Object, v.publish(ctx, key, &next, root, now)
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
// A drive whose root cannot be read keeps the manifests that it has, and is
// returned; the others are maintained. As long as a manifest names what cannot
// be read kopia collects nothing, and the error is ErrDamaged or ErrNotFound.
func (v *Vault) Maintain(ctx context.Context, roots map[DriveKey]string) (unread []DriveKey, err error) {
	if unread, err = v.maintain(ctx, roots, maintenance.ModeAuto); err != nil {
		err = fmt.Errorf("maintain vault: %w", err)
	}
	return unread, err
}

func (v *Vault) maintain(ctx context.Context, roots map[DriveKey]string, mode maintenance.Mode) ([]DriveKey, error) {
	if err := v.there(ctx); err != nil {
		return nil, err
	}
	if err := v.rep.Refresh(ctx); err != nil {
		return nil, storageError(err)
	}
	w, err := v.session(ctx, "maintain")
	if err != nil {
		return nil, err
	}
	defer w.Close(context.WithoutCancel(ctx))
	unread, err := v.repair(ctx, w, roots)
	if err != nil {
		return nil, err
	}
	if p, err := maintenance.GetParams(ctx, w); err != nil {
		return unread, storageError(err)
	} else if p.Owner != w.ClientOptions().UsernameAtHost() {
		// Else a stock kopia that connects would take it upon itself.
		p.Owner = w.ClientOptions().UsernameAtHost()
		if err := maintenance.SetParams(ctx, w, p); err != nil {
			return unread, storageError(err)
		}
	}
	if err := w.Flush(ctx); err != nil {
		return unread, storageError(err)
	}
	err = snapshotmaintenance.Run(ctx, w, mode, false, v.safety)
	return unread, storageError(errors.Join(err, w.Flush(ctx)))
}

// grace is how long a manifest newer than the catalog's is taken for one that
// is being published.
const grace = 24 * time.Hour

// repair stages, for each drive of roots, a manifest of its root where there
// is none, and the deletion of those whose points that one has. It returns the
// drives whose roots cannot be read.
func (v *Vault) repair(ctx context.Context, w repo.RepositoryWriter, roots map[DriveKey]string) (unread []DriveKey, err error) {
	bySource, err := manifestsBySource(ctx, w, snapshots)
	if err != nil {
		return nil, err
	}
	now := v.rep.Time()
	for key, root := range roots {
		src := key.source()
		of := bySource[src.Host+":"+src.Path]
		if root == "" {
			for _, m := range of {
				if now.Sub(m.ModTime) > grace {
					if err := w.DeleteManifest(ctx, m.ID); err != nil {
						return nil, storageError(err)
					}
				}
			}
			continue
		}
		i := slices.IndexFunc(of, func(m named) bool { return m.root == root })
		if i >= 0 {
			older := of[:i+1]
			if len(older) > 1 {
				if err := v.sweepSource(ctx, w, older, of[i]); err != nil {
					return nil, err
				}
			}
			continue
		}
		v.log.WarnContext(ctx, "vault: manifest disagrees with the catalog and is put right", "drive", key.Drive, "root", root)
		d, err := v.readDir(ctx, root)
		if unreadable(err) {
			unread = append(unread, key)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("root of drive %s: %w", key.Drive, err)
		}
		if err := save(ctx, w, src, &record{Object: root, Summary: summarize(d.records, now)}, "", now); err != nil {
			return nil, err
		}
	}
	return unread, nil
}
