package vault

import (
	"context"
	"fmt"
	"slices"

	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/object"

	"holdfast/internal/backup"
)

// What tests look at and nobody else needs.

// Damaged returns the contents that MarkDamaged has noted, or that were found
// damaged by reading them, and were not stored anew since.
func (v *Vault) Damaged() []string {
	v.damage.Lock()
	defer v.damage.Unlock()
	all := make([]string, 0, len(v.damage.contents))
	for c, bad := range v.damage.contents {
		if bad {
			all = append(all, c.String())
		}
	}
	return all
}

// ContentsOf returns kopia's ids of the contents that an object is made of.
func (v *Vault) ContentsOf(ctx context.Context, oid string) ([]string, error) {
	id, err := object.ParseID(oid)
	if err != nil {
		return nil, fmt.Errorf("%w: %q names no object", ErrNotFound, oid)
	}
	var found []content.ID
	err = v.fresh(ctx, func() (err error) { found, err = v.rep.VerifyObject(ctx, id); return err })
	if err != nil {
		return nil, storageError(err)
	}
	all := make([]string, len(found))
	for i, c := range found {
		all[i] = c.String()
	}
	return all, nil
}

// Tenants lists the tenants that the vault has points or a record of.
func (v *Vault) Tenants(ctx context.Context) ([]backup.TenantID, error) {
	if err := v.rep.Refresh(ctx); err != nil {
		return nil, storageError(err)
	}
	bySource, err := v.manifestsBySource(ctx)
	if err != nil {
		return nil, fmt.Errorf("list tenants of the vault: %w", err)
	}
	var tenants []backup.TenantID
	for _, of := range bySource {
		tenants = append(tenants, backup.TenantID(of[0].host))
	}
	slices.Sort(tenants)
	return slices.Compact(tenants), nil
}
