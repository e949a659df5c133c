package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"holdfast/internal/backup"
)

// A Thing is a kind of what is of a workload, by the table that holds it.
type Thing string

const (
	APolicy        Thing = "policy"
	AUnit          Thing = "unit"
	ARule          Thing = "inclusion_rule"
	ABulkJob       Thing = "bulk_job"
	AnExclusion    Thing = "exclusion"
	ASession       Thing = "restore_session"
	ABrowseSession Thing = "browse_session"
)

// WorkloadOf returns the workload of a thing, "" if there is no such thing.
func (c *Catalog) WorkloadOf(ctx context.Context, tenant backup.TenantID, thing Thing, id string) (w backup.Workload, err error) {
	err = c.db.Read().QueryRowContext(ctx, `SELECT t.workload FROM `+string(thing)+` t WHERE t.id = $2 AND t.tenant = $1`, string(tenant), id).Scan(&w)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the workload of %s %s: %w", thing, id, err)
	}
	return w, nil
}
