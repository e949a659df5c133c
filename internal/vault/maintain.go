package vault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/content/index"
	"github.com/kopia/kopia/repo/maintenance"
	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/snapshot/snapshotmaintenance"

	"holdfast/internal/backup"
)

// Roots reads the root of each drive that the catalog has in a vault, as of now.
type Roots func(context.Context) (map[DriveKey]string, error)

// Maintain puts the manifests of drives right that disagree with the roots the
// catalog has, and then runs what kopia's schedule says is due: quick
// maintenance hourly, and daily the full one, which collects what nothing has
// needed for longer than any update may take to publish. A drive that roots
// does not name, or has no root of, is left as it is, and so is one that is backed up
// meanwhile: another root is read of it after the manifests than was before. One
// process should maintain a vault at a time.
//
// A drive whose root cannot be read keeps the manifests that it has, and is
// returned; the others are maintained. While a root is damaged, and may be mended,
// nothing is collected; one that is not even in the packs is no reason to wait. Nor
// is anything collected in a round that finds contents which no index had, and which
// the caller cannot have known of. As long as a manifest names what cannot be read
// kopia collects nothing, and the error is ErrDamaged or ErrNotFound.
func (v *Vault) Maintain(ctx context.Context, roots Roots) (unread []DriveKey, err error) {
	if unread, err = v.maintain(ctx, roots, maintenance.ModeAuto); err != nil {
		err = fmt.Errorf("maintain vault: %w", err)
	}
	return unread, err
}

// quickCycle is how often kopia may do what keeps an index short: whenever a vault is
// maintained, which is once an hour, a moment sooner or later.
const quickCycle = 30 * time.Minute

func (v *Vault) maintain(ctx context.Context, roots Roots, mode maintenance.Mode) (unread []DriveKey, err error) {
	ctx, end := context.WithCancel(ctx)
	defer end()
	whole := &attempt{Context: ctx, end: end}
	ctx = whole
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
	// Before anything else, which may fail and be put off: locks run out.
	if _, unlocked := v.locks.extend(ctx, v.rep, w.BlobStorage(), v.rep.Time()); unlocked != nil {
		defer func() { err = errors.Join(err, storageError(unlocked)) }()
	}
	before, err := roots(ctx)
	if err != nil {
		return nil, err
	}
	found, err := v.manifestsBySource(ctx)
	if unreadable(err) {
		if err = v.mendManifests(ctx, w, before); err == nil {
			found, err = v.manifestsBySource(ctx)
		}
	}
	if err != nil {
		return nil, err
	}
	p, err := maintenance.GetParams(ctx, w) // before anything is staged
	if err != nil {
		return nil, storageError(err)
	}
	bad, err := v.repair(ctx, w, found, before, roots)
	if err != nil {
		return nil, err
	}
	hold := false
	for key, why := range bad {
		unread = append(unread, key)
		hold = hold || errors.Is(why, ErrDamaged)
	}
	if us := w.ClientOptions().UsernameAtHost(); p.Owner != us || p.QuickCycle.Interval != quickCycle {
		// Else a stock kopia that connects would take it upon itself.
		p.Owner, p.QuickCycle.Interval = us, quickCycle
		if err := maintenance.SetParams(ctx, w, p); err != nil {
			return unread, storageError(err)
		}
	}
	if err := w.Flush(ctx); err != nil {
		return unread, storageError(err)
	}
	if err := v.gatherManifests(ctx, w); err != nil {
		v.log.WarnContext(ctx, "vault: kopia puts its manifests together, which takes more memory", "err", err)
	}
	if err := v.clear(ctx, w); err != nil {
		return unread, err
	}
	if err := v.dropNotes(ctx, w.BlobStorage()); err != nil {
		return unread, storageError(err)
	}
	collects, err := v.collects(ctx, w, mode, p.FullCycle.Interval)
	if err == nil && collects && !hold {
		hold, err = v.reindex(ctx)
	}
	if err != nil {
		return unread, storageError(err)
	}
	if hold {
		mode = maintenance.ModeQuick // which keeps the index short and takes nothing away
	}
	if err := v.settle(ctx); err != nil && !errors.Is(err, errLong) {
		v.log.WarnContext(ctx, "vault: what was written to its index hours ago is made one by kopia, which takes more memory", "err", err)
	}
	// Else a damaged content that nothing needs any more would keep kopia from ever
	// forgetting any: it moves what is left of packs before that.
	if err := os.Setenv("KOPIA_IGNORE_MAINTENANCE_REWRITE_ERROR", "1"); err != nil {
		return unread, err
	}
	c := collector{DirectRepositoryWriter: w, vault: v, kept: new(atomic.Pointer[error]), walk: newWalk(), fullPack: int64(v.rep.FormatManager().GetCachedMutableParameters().MaxPackSize)}
	err = snapshotmaintenance.Run(ctx, c, mode, false, v.safety)
	if why := c.kept.Load(); why != nil {
		err = errors.Join(err, *why)
	}
	if err == nil && collects && !hold {
		err = v.dropSettled(ctx)
	}
	if failed := whole.failure(); err != nil && failed != nil {
		return unread, errors.Join(failed, err)
	}
	if err != nil && strings.Contains(err.Error(), "failed to rewrite") {
		err = fmt.Errorf("%w: what is still needed of a pack cannot be moved: %w", ErrDamaged, err)
	}
	return unread, storageError(errors.Join(err, w.Flush(ctx)))
}

// collects reports whether maintenance of a mode would collect now. A vault that is new has
// nothing to collect, which would still take some fifty megabytes: its first time is set
// for when the cycle's interval is over.
func (v *Vault) collects(ctx context.Context, w repo.DirectRepositoryWriter, mode maintenance.Mode, interval time.Duration) (bool, error) {
	if mode != maintenance.ModeAuto {
		return mode == maintenance.ModeFull, nil
	}
	s, err := maintenance.GetSchedule(ctx, w)
	if err != nil {
		return false, err
	}
	if s.NextFullMaintenanceTime.IsZero() {
		s.NextFullMaintenanceTime = w.Time().Add(interval)
		return false, maintenance.SetSchedule(ctx, w, s)
	}
	return !w.Time().Before(s.NextFullMaintenanceTime), nil
}

// reindex puts back into the index what it should have of packs from which collection
// would take that, and reports whether there was anything. It may be all that knows
// of a drive whose catalog was lost too, so nothing is collected before the catalog
// could be compared with it.
func (v *Vault) reindex(ctx context.Context) (found bool, err error) {
	r, err := v.recoverFrom(ctx, doomedPacks)
	return r.Contents > 0, err
}

// clear takes away what is damaged of kopia's notes on its own work, and would keep
// it from ever finishing: when maintenance ran, and the marks of sessions. A mark
// keeps what its session has written and not yet named from being collected, so one
// that is young may still be needed.
func (v *Vault) clear(ctx context.Context, w repo.DirectRepositoryWriter) error {
	const schedule = "kopia.maintenance"
	if _, err := maintenance.GetSchedule(ctx, w); err != nil {
		if !damaged(err) {
			return storageError(err)
		}
		v.log.ErrorContext(ctx, "vault: kopia's schedule is damaged, and begins anew", "blob", schedule, "err", err)
		if err := w.BlobStorage().DeleteBlob(ctx, schedule); err != nil {
			return storageError(err)
		}
	}
	for {
		_, err := w.ContentManager().ListActiveSessions(ctx)
		if err == nil {
			return nil
		}
		m := sessionMark.FindStringSubmatch(err.Error())
		if m == nil || !damaged(err) {
			return storageError(err)
		}
		mark := blob.ID(m[1])
		info, err := w.BlobReader().GetMetadata(ctx, mark)
		if errors.Is(err, blob.ErrBlobNotFound) {
			continue // its session has ended
		}
		if err != nil {
			return storageError(err)
		}
		if until := info.Timestamp.Add(v.safety.SessionExpirationAge); w.Time().Before(until) {
			return fmt.Errorf("%w: the session mark %s cannot be read, so nothing is collected before its session must have ended, at %s", ErrDamaged, mark, until.UTC().Format(time.RFC3339))
		}
		v.log.ErrorContext(ctx, "vault: the mark of a session that must have ended is damaged, and is taken away", "blob", mark)
		if err := w.BlobStorage().DeleteBlob(ctx, mark); err != nil {
			return storageError(err)
		}
	}
}

// sessionMark finds the blob that kopia could not read, which only its words tell.
var sessionMark = regexp.MustCompile(`error decrypting session: (s[0-9a-zA-Z_-]+)`)

// onTheWay is how long a root that follows the catalog's may have been published without
// being the catalog's, until somebody must have died in between.
const onTheWay = time.Hour

// repair stages, for each drive of before, a manifest of its root where there
// is none and roots still says that it is the root, and the deletion of those whose
// points that one has. It returns the drives whose roots cannot be read, and why.
func (v *Vault) repair(ctx context.Context, w repo.DirectRepositoryWriter, bySource map[string][]named, before map[DriveKey]string, roots Roots) (bad map[DriveKey]error, err error) {
	now := v.rep.Time()
	bad = map[DriveKey]error{}
	recovered := false
	var after map[DriveKey]string // once one disagrees
	for key, root := range before {
		if root == "" {
			continue
		}
		src := key.source()
		of := bySource[src.Host+":"+src.Path]
		if i := slices.IndexFunc(of, func(m named) bool { return m.root == root }); i >= 0 {
			if err := v.sweepSource(ctx, w, of[:i], root, chain(of, root)); err != nil {
				return nil, err
			}
			continue
		}
		if after == nil {
			if after, err = roots(ctx); err != nil {
				return nil, err
			}
		}
		if after[key] != root {
			continue // it was backed up since the roots were read before
		}
		if slices.ContainsFunc(of, func(m named) bool { return m.after == root && now.Sub(m.at) < onTheWay }) {
			continue // a run that has published its root is about to tell the catalog
		}
		v.log.WarnContext(ctx, "vault: manifest disagrees with the catalog and is put right", "drive", key.Drive, "root", root)
		d, err := v.readDir(ctx, root)
		if errors.Is(err, ErrNotFound) && !recovered && v.absent(root) {
			// Before it counts as gone: has the index lost it?
			recovered = true
			if _, err := v.Recover(ctx); err != nil {
				v.present(root)
				return nil, err
			}
			d, err = v.readDir(ctx, root)
		}
		if unreadable(err) {
			bad[key] = err
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("root of drive %s: %w", key.Drive, err)
		}
		if _, err := save(ctx, w, src, &record{Object: root, Summary: summarize(d.records, now)}, "", now); err != nil {
			return nil, err
		}
	}
	return bad, nil
}

// absent notes a root that the vault does not have, and reports whether that is
// new.
func (v *Vault) absent(root string) bool {
	v.manifests.Lock()
	defer v.manifests.Unlock()
	if v.manifests.absent[root] {
		return false
	}
	v.manifests.absent[root] = true
	return true
}

// present takes back that a root is absent: not all packs could be searched.
func (v *Vault) present(root string) {
	v.manifests.Lock()
	defer v.manifests.Unlock()
	delete(v.manifests.absent, root)
}

// mendManifests gives up contents of kopia's in which manifests are stored, and
// which are damaged: as long as there is one, kopia reads no manifest at all. The
// catalog has the roots of its drives; those of others are looked for among all
// directories.
func (v *Vault) mendManifests(ctx context.Context, w repo.DirectRepositoryWriter, roots map[DriveKey]string) error {
	var all, bad []content.ID
	err := w.ContentReader().IterateContents(ctx, content.IterateOptions{Range: index.PrefixRange(manifest.ContentPrefix)}, func(i content.Info) error {
		all = append(all, i.ContentID)
		return nil
	})
	if err != nil {
		return storageError(err)
	}
	for _, c := range all {
		_, err := w.ContentReader().GetContent(ctx, c)
		if err != nil && damaged(err) { // and a second time, for certain
			_, err = w.ContentReader().GetContent(ctx, c)
		}
		switch {
		case err == nil || missing(err):
		case damaged(err):
			bad = append(bad, c)
		default:
			return storageError(err)
		}
	}
	if err := v.there(ctx); err != nil {
		return err
	}
	tenant := backup.TenantID("")
	for key := range roots {
		tenant = key.Tenant
	}
	if len(bad) == 0 || tenant == "" {
		return fmt.Errorf("%w: manifests cannot be read", ErrDamaged)
	}
	found, err := v.findRoots(ctx, w, tenant, roots)
	if err != nil {
		return err
	}
	for _, c := range bad {
		v.log.ErrorContext(ctx, "vault: manifests are damaged, and are made anew", "content", c.String())
		if err := w.ContentManager().DeleteContent(ctx, c); err != nil {
			return storageError(err)
		}
	}
	now := v.rep.Time()
	for key, points := range found {
		root, err := points.write(ctx, now)
		if err == nil {
			_, err = save(ctx, v.updates, key.source(), &root, "", now)
		}
		if err != nil {
			return err
		}
	}
	if err := w.Flush(ctx); err != nil {
		return storageError(err)
	}
	return v.flush(ctx)
}

// findRoots looks for the points of drives that known does not name, among all
// directories of the vault.
func (v *Vault) findRoots(ctx context.Context, w repo.DirectRepositoryWriter, tenant backup.TenantID, known map[DriveKey]string) (map[DriveKey]*tops, error) {
	var dirs []string
	err := w.ContentReader().IterateContents(ctx, content.IterateOptions{Range: index.PrefixRange(dirPrefix)}, func(i content.Info) error {
		dirs = append(dirs, i.ContentID.String())
		return nil
	})
	if err != nil {
		return nil, storageError(err)
	}
	found := map[DriveKey]*tops{}
	for _, oid := range dirs {
		d, err := v.readDir(ctx, oid)
		if unreadable(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if len(d.records) == 0 || slices.ContainsFunc(d.records, func(r record) bool {
			_, err := time.Parse(time.DateOnly, r.Name)
			return err != nil || !r.isDir() || r.ID != ""
		}) {
			continue
		}
		t := &tops{v: v}
		if _, err := t.all(ctx, oid); err != nil {
			return nil, err
		}
		for _, day := range t.days {
			for _, p := range day.points {
				b, err := v.base(ctx, "", p.Object)
				if unreadable(err) {
					continue
				}
				if err != nil {
					return nil, err
				}
				key := DriveKey{tenant, b.point.Drive}
				if _, ok := known[key]; ok || key.Drive == "" {
					continue
				}
				if found[key] == nil {
					found[key] = &tops{v: v}
				}
				if !found[key].has(p.Object) {
					if err := found[key].add(ctx, day.Name, p); err != nil {
						return nil, err
					}
				}
			}
		}
	}
	return found, nil
}
