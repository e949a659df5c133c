package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/vault"
)

// runAnew is run for a drive of which the vault no longer gives what the run
// needs: the drive is enumerated as a whole, and every folder is written anew.
// What can still be read of the newest point says what is known, so that its
// contents need not be downloaded, and so that an item which cannot be read now
// stays as it was. Points that cannot be read are marked as lost.
func (p *protection) runAnew(ctx context.Context, why error) (vault.Sealed, []backup.Unread, error) {
	e := p.e
	if _, err := p.vault.Recover(ctx); err != nil {
		return vault.Sealed{}, nil, err // the vault itself may be away
	}
	e.Log.ErrorContext(ctx, "the vault does not give what it should hold of a "+p.unit.Workload.Thing()+"; that begins anew", "tenant", p.job.Tenant, "owner", who(p.unit), "drive", p.drive.ID, "err", why)
	trees, err := e.Catalog.LiveTrees(ctx, p.job.Tenant, p.unit.ID, p.kept())
	if err != nil {
		return vault.Sealed{}, nil, err
	}
	if err := e.markLost(ctx, p.vault, vault.DriveKey{Tenant: p.job.Tenant, Drive: p.kept()}, trees); err != nil {
		return vault.Sealed{}, nil, err
	}
	p.close()
	*p = protection{
		e: e, job: p.job, unit: p.unit, began: p.began, client: p.client, source: p.source, drive: p.drive, vault: p.vault, seeds: p.seeds, of: p.of, finish: p.finish,
		state: p.state, old: map[backup.ItemID]backup.Unread{}, again: map[backup.ItemID]bool{},
		reread: map[backup.ItemID]bool{}, unread: map[backup.ItemID]backup.Unread{},
	}
	p.state.Cursor = ""
	var update *vault.Update
	var newest string
	if p.of == nil {
		update, newest, err = p.vault.BeginAnew(ctx, p.key(), trees...)
	} else if trees, err = p.treesOfPart(ctx, trees); err == nil {
		update, newest, err = p.vault.BeginPartAnew(ctx, p.key(), trees...)
	}
	if err != nil {
		return vault.Sealed{}, nil, err
	}
	p.update = update
	p.stage = &stage{source: p.source, torn: true, old: p.old, dir: p.vault.Scratch(), beside: p.beside()}
	if newest != "" {
		if p.base, err = p.vault.Begin(ctx, p.key(), "", newest); err != nil && !isDamage(err) {
			return vault.Sealed{}, nil, err
		}
		if err != nil {
			p.base = nil
		}
	}
	p.stage.base = p.base
	if err := p.knownDamage(ctx); err != nil {
		return vault.Sealed{}, nil, err
	}
	return p.run(ctx)
}

// treesOfPart returns the trees of the container in the points that are named, the
// newest first.
func (p *protection) treesOfPart(ctx context.Context, points []string) (trees []string, err error) {
	all, err := p.vault.Points(ctx, vault.DriveKey{Tenant: p.job.Tenant, Drive: p.kept()}, points...)
	if err != nil {
		return nil, err
	}
	for _, point := range slices.Backward(all) {
		if point.Err != nil || point.Info.Incomplete {
			continue
		}
		parts, err := p.vault.Parts(ctx, point.Tree)
		if err != nil && !isDamage(err) {
			return nil, err
		}
		for _, part := range parts {
			if part.Drive == p.drive.ID && !slices.Contains(trees, part.Tree) {
				trees = append(trees, part.Tree)
			}
		}
	}
	return trees, nil
}

// markLost marks the points of a drive that the vault cannot give as lost, and
// the others as not lost.
func (e *Engine) markLost(ctx context.Context, v *vault.Vault, key vault.DriveKey, trees []string) error {
	lost, err := v.Lost(ctx, trees)
	if err != nil {
		return err
	}
	there := slices.DeleteFunc(slices.Clone(trees), func(tree string) bool { return slices.Contains(lost, tree) })
	n, err := e.Catalog.MarkLost(ctx, key.Tenant, key.Drive, lost, true)
	if err != nil {
		return err
	}
	if n > 0 {
		e.Log.ErrorContext(ctx, "restore points are lost: the vault does not hold them any more", "tenant", key.Tenant, "drive", key.Drive, "points", n)
	}
	if n, err = e.Catalog.MarkLost(ctx, key.Tenant, key.Drive, there, false); err == nil && n > 0 {
		e.Log.InfoContext(ctx, "restore points that were lost are there again", "tenant", key.Tenant, "drive", key.Drive, "points", n)
	}
	return err
}

// knownDamage reads what is known to be damaged of the drive. What is not one
// file's content is mended by writing every folder anew, which is tried once for
// each time that damage was found.
func (p *protection) knownDamage(ctx context.Context) (err error) {
	began, damaged := p.began, !p.undamaged || p.e.Clock().Sub(p.began) > time.Minute
	if damaged {
		began = p.e.Clock()
		if damaged, err = p.e.Catalog.Damaged(ctx, p.job.Tenant); err != nil {
			return err
		}
	}
	if !damaged { // as it mostly is
		p.vault.Suspect(ctx, began)
		p.damage = nil
		return nil
	}
	if err := p.e.suspect(ctx, p.vault, p.job.Tenant); err != nil {
		return err
	}
	if p.damage, err = p.e.Catalog.OpenDamage(ctx, p.job.Tenant, p.kept()); err != nil || p.stage.torn {
		return err
	}
	for _, d := range p.damage {
		if p.of != nil && !p.of.has(d.Path) {
			continue // another container's is mended with that
		}
		if (d.Item == "" || d.Content == "") && d.Found.After(p.state.Full) {
			return fmt.Errorf("%w: %s %s", vault.ErrDamaged, d.Path, d.Reason)
		}
	}
	return nil
}

// clocks is how far the clocks of two servers may be apart.
const clocks = time.Hour

// suspect tells the vault of what was found damaged in it since it was last told, by this
// server or by another and in whichever drive: what the source has again must not be taken
// from a copy of which it is known that it cannot be read.
func (e *Engine) suspect(ctx context.Context, v *vault.Vault, tenant backup.TenantID) error {
	began, last := e.Clock(), backup.Damage{Found: v.SuspectedUntil().Add(-clocks)}
	for {
		found, err := e.Catalog.DamagedSince(ctx, tenant, last.Found, last.ID)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			v.Suspect(ctx, began)
			return nil
		}
		objects := make([]string, len(found))
		for i, d := range found {
			objects[i] = d.Content
		}
		last = found[len(found)-1]
		v.Suspect(ctx, last.Found, objects...)
	}
}

// tornFiles returns the files of the drive whose contents, as the newest point
// has them, are damaged in the vault: they are downloaded anew.
func (p *protection) tornFiles(ctx context.Context) (map[backup.ItemID]bool, error) {
	torn := map[backup.ItemID]bool{}
	for _, d := range p.damage {
		if d.Item == "" || d.Content == "" || torn[d.Item] {
			continue
		}
		entry, ok, err := p.stage.get(ctx, d.Item)
		if err != nil {
			return nil, err
		}
		if !ok || entry.Content != d.Content {
			continue
		}
		err = p.vault.VerifyObjects(ctx, []string{d.Content}) // which also has the vault know of it
		switch {
		case isDamage(err):
			torn[d.Item] = true
		case err != nil:
			return nil, err
		}
	}
	return torn, nil
}

// healed notes which of the known damage is mended, because what was damaged was
// written anew. It is no part of the backup, and may fail.
func (p *protection) healed(ctx context.Context) {
	if len(p.damage) == 0 {
		return
	}
	if err := p.vault.Flush(ctx); err != nil {
		p.e.Log.WarnContext(ctx, "damaged contents not stored anew", "tenant", p.job.Tenant, "owner", who(p.unit), "err", err)
		return
	}
	var whole []string
	asked := map[string]bool{}
	for _, d := range p.damage {
		if asked[d.Content] || d.Content == "" || !p.again[d.Item] && !p.stage.torn && p.vault.Suspects(ctx, d.Content) {
			continue
		}
		asked[d.Content] = true
		if p.vault.VerifyObjects(ctx, []string{d.Content}) == nil {
			whole = append(whole, d.Content)
		}
	}
	if len(whole) == 0 {
		return
	}
	n, err := p.e.Catalog.HealDamage(ctx, p.job.Tenant, whole, p.e.Clock())
	if err != nil {
		p.e.Log.WarnContext(ctx, "healed damage not noted", "tenant", p.job.Tenant, "owner", who(p.unit), "err", err)
		return
	}
	p.e.metrics.healed.Add(float64(n))
	p.e.Log.InfoContext(ctx, "damage in the vault is healed: the source still had the contents", "tenant", p.job.Tenant, "owner", who(p.unit), "contents", n)
}

// problem is what stands against the unit although a point was made: what that
// lacks, and what is damaged of the points before.
func (p *protection) problem(ctx context.Context, unread []backup.Unread) *backup.Problem {
	problem := notBackedUp(unread)
	left := 0
	var details []backup.Detail
	for _, d := range p.damage {
		if p.again[d.Item] || p.stage.torn || d.Content != "" && !p.vault.Suspects(ctx, d.Content) {
			continue // it has just been tried, and the next run says more
		}
		if left++; left <= maxDetails {
			details = append(details, backup.Detail{Code: backup.VaultDamaged, Message: d.Reason, Target: d.Path})
		}
	}
	if left == 0 {
		return problem
	}
	if problem == nil {
		problem = &backup.Problem{Code: backup.VaultDamaged, Message: fmt.Sprintf("The newest point is whole. Of earlier ones %s cannot be read from the vault, and the source has no such content any more. "+
			"Bring the vault's storage back from a copy, or wait until these points expire.", count(left, "item"))}
	}
	problem.Details = append(problem.Details, details[:min(len(details), maxDetails-min(maxDetails, len(problem.Details)))]...)
	return problem
}

// verifyOne reads all points of a drive back, and notes what is damaged of them.
func (e *Engine) verifyOne(ctx context.Context, d catalog.DriveRoot, tenant backup.TenantID, opt vault.VerifyOptions) (vault.VerifyReport, error) {
	v, err := e.Vaults(ctx, backup.VaultName{Tenant: tenant, Number: d.Vault})
	if err != nil {
		return vault.VerifyReport{}, fmt.Errorf("open the vault: %w", err)
	}
	began := e.Clock()
	key := vault.DriveKey{Tenant: tenant, Drive: d.Drive}
	trees, err := e.Catalog.LiveTrees(ctx, tenant, d.Unit, d.Drive)
	if err != nil {
		return vault.VerifyReport{}, err
	}
	report, err := v.Verify(ctx, trees, opt)
	if err != nil {
		return report, fmt.Errorf("verify drive %s: %w", d.Drive, err)
	}
	if err := e.markLost(ctx, v, key, trees); err != nil {
		return report, err
	}
	bad := map[string]bool{}
	broken := map[string]bool{} // objects
	var found []backup.Damage
	for _, x := range report.Damage {
		broken[x.Object] = true
		for _, tree := range x.Trees {
			bad[tree] = true
		}
		n := backup.Damage{Unit: d.Unit, Drive: d.Drive, Path: x.Path, Content: x.Object, Reason: reasonOf(x)}
		if x.What == vault.FileDamaged {
			n.Item = x.Item
		}
		found = append(found, n)
	}
	e.metrics.verified.Add(float64(report.Bytes))
	e.metrics.damaged.Add(float64(len(found)))
	if err := e.Catalog.NoteDamage(ctx, tenant, found); err != nil {
		return report, err
	}
	if opt.Share >= 1 {
		var whole []string
		for _, tree := range trees {
			if !bad[tree] {
				whole = append(whole, tree)
			}
		}
		if err := e.Catalog.MarkVerified(ctx, tenant, d.Drive, whole, began); err != nil {
			return report, err
		}
		if err := e.unbroken(ctx, tenant, d.Drive, broken); err != nil {
			return report, err
		}
	}
	if len(found) > 0 {
		e.Log.ErrorContext(ctx, "the vault is damaged", "tenant", tenant, "drive", d.Drive, "places", len(found), "first", found[0].Path, "reason", found[0].Reason)
	}
	return report, nil
}

// unbroken notes of what was damaged before that it no longer is: a whole
// verification did not find it so.
func (e *Engine) unbroken(ctx context.Context, tenant backup.TenantID, id backup.DriveID, broken map[string]bool) error {
	open, err := e.Catalog.OpenDamage(ctx, tenant, id)
	if err != nil {
		return err
	}
	var whole []string
	for _, d := range open {
		if !broken[d.Content] {
			whole = append(whole, d.Content)
		}
	}
	if len(whole) == 0 {
		return nil
	}
	_, err = e.Catalog.HealDamage(ctx, tenant, whole, e.Clock())
	return err
}

func reasonOf(d vault.Damage) string {
	switch d.What {
	case vault.FileDamaged:
		return "The file's content cannot be read from the vault."
	case vault.FolderDamaged:
		return "The vault cannot tell what is in the folder."
	case vault.IndexDamaged:
		return "Items of the point cannot be found by their ids."
	}
	return "The restore point as a whole cannot be read."
}

// isDamage reports whether the vault does not give what it should hold.
func isDamage(err error) bool {
	return errors.Is(err, vault.ErrDamaged) || errors.Is(err, vault.ErrNotFound)
}
