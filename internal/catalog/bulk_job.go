package catalog

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// NewBulkJob is a bulk addition job to be made.
type NewBulkJob struct {
	Purpose     backup.Purpose // what they are added for; "" is to protect them
	DisplayName string
	Addresses   []string // as they were sent
	IDs         []string // as they were sent
	By          backup.Stamp
}

const bulkColumns = `b.id, b.tenant, b.workload, b.policy, b.purpose, b.display_name, b.status,
	CASE WHEN b.status <> 'active' THEN b.problem END, b.created, b.created_by, b.modified, b.modified_by`

func bulkFields(b *backup.BulkJob) []any {
	return []any{&b.ID, &b.Tenant, &b.Workload, &b.Policy, &b.Purpose, &b.DisplayName, &b.Status, fromJSON{&b.Problem},
		micros{&b.Created.At}, fromJSON{&b.Created.By}, micros{&b.Modified.At}, fromJSON{&b.Modified.By}}
}

func scanBulkJob(r scanner) (b backup.BulkJob, err error) {
	return b, r.Scan(bulkFields(&b)...)
}

// CreateBulkJob makes a bulk addition job of a policy, and the work that does
// it. It keeps the lists as they are. PolicyNotFound; InvalidCreateRequest if the
// policy takes none for this purpose.
func (c *Catalog) CreateBulkJob(ctx context.Context, tenant backup.TenantID, policy backup.PolicyID, n NewBulkJob) (backup.BulkJob, error) {
	if err := checkName(n.DisplayName); err != nil {
		return backup.BulkJob{}, err
	}
	n.By = asStored(n.By)
	b := backup.BulkJob{
		ID: backup.NewID[backup.BulkJobID](), Tenant: tenant, Policy: policy, Purpose: cmp.Or(n.Purpose, backup.ToProtect), DisplayName: n.DisplayName,
		Status: backup.BulkJobActive, Addresses: n.Addresses, IDs: n.IDs, Created: n.By, Modified: n.By,
	}
	err := c.tx(ctx, tenant, func(tx *database.Tx) error {
		p, err := c.readPolicy(ctx, tx, tenant, policy)
		if err != nil {
			return err
		}
		b.Workload = p.Workload
		switch {
		case p.FullService && b.Purpose == backup.ToProtect:
			return backup.OnlyExcludes(backup.InvalidCreateRequest)
		case !p.FullService && b.Purpose == backup.ToExclude:
			return backup.OnlyIncludes(backup.InvalidCreateRequest)
		}
		if err := c.queue.Enqueue(ctx, tx, jobs.Spec{Kind: jobs.BulkAdd, Key: string(b.ID), Tenant: tenant}); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `
			INSERT INTO bulk_job (id, tenant, policy, display_name, status, done, created, created_by, modified, modified_by, workload, purpose)
			VALUES ($1, $2, $3, $4, $5, 0, $6, $7, $8, $9, $10, $11)`,
			string(b.ID), string(tenant), string(policy), b.DisplayName, string(b.Status),
			database.Micros(b.Created.At), toJSON(b.Created.By), database.Micros(b.Modified.At), toJSON(b.Modified.By), string(b.Workload), string(b.Purpose))
		if err != nil {
			return fmt.Errorf("insert bulk job: %w", err)
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO bulk_list (job, addresses, ids) VALUES ($1, $2, $3)`,
			string(b.ID), jsonList(b.Addresses), jsonList(b.IDs))
		if err != nil {
			return fmt.Errorf("insert bulk job's lists: %w", err)
		}
		auditedItem(ctx, fmt.Sprintf("%d named", len(b.Addresses)+len(b.IDs)))
		return nil
	})
	if err != nil {
		return backup.BulkJob{}, fmt.Errorf("create bulk job: %w", err)
	}
	return b, nil
}

// BulkJob returns a bulk addition job with its lists, or ItemNotFound. If
// policy is not "" the job must be of that policy; an unknown policy is
// PolicyNotFound.
func (c *Catalog) BulkJob(ctx context.Context, tenant backup.TenantID, policy backup.PolicyID, id backup.BulkJobID) (backup.BulkJob, error) {
	if policy != "" {
		if _, err := c.Policy(ctx, tenant, policy); err != nil {
			return backup.BulkJob{}, err
		}
	}
	var b backup.BulkJob
	err := c.db.Read().QueryRowContext(ctx, `
		SELECT `+bulkColumns+`, l.addresses, l.ids FROM bulk_job b JOIN bulk_list l ON l.job = b.id
		WHERE b.tenant = $1 AND b.id = $2`,
		string(tenant), string(id)).Scan(append(bulkFields(&b), fromJSON{&b.Addresses}, fromJSON{&b.IDs})...)
	if errors.Is(err, sql.ErrNoRows) || err == nil && (policy != "" && b.Policy != policy || scopeOf(ctx) != nil) {
		return backup.BulkJob{}, backup.Fail(backup.ItemNotFound, "There is no such bulk addition job.").On("id")
	}
	if err != nil {
		return backup.BulkJob{}, fmt.Errorf("read bulk job %s: %w", id, err)
	}
	return b, nil
}

// BulkJobs lists bulk addition jobs of one purpose without their lists: those of a
// policy, which must exist, or with "" all of the tenant's.
func (c *Catalog) BulkJobs(ctx context.Context, tenant backup.TenantID, policy backup.PolicyID, purpose backup.Purpose, page Page) (List[backup.BulkJob], error) {
	q := query{columns: bulkColumns, table: "bulk_job b", tenant: tenant, scope: notListed, time: "b.created", id: "b.id", fields: bulkJobFields,
		within: []equal{{"b.tenant", string(tenant)}, {"b.purpose", string(purpose)}}, indexes: []index{
			{"bulk_job_tenant_page", []string{"b.tenant", "b.purpose", "b.created", "b.id"}},
			{"bulk_job_workload", []string{"b.tenant", "b.workload", "b.purpose", "b.created", "b.id"}},
		}}
	q.of("b.workload", page.Workload)
	if policy != "" {
		if _, err := c.Policy(ctx, tenant, policy); err != nil {
			return List[backup.BulkJob]{}, err
		}
		q.within = []equal{{"b.policy", string(policy)}, {"b.purpose", string(purpose)}}
		q.indexes = []index{{"bulk_job_page", []string{"b.policy", "b.purpose", "b.created", "b.id"}}}
	}
	l, err := list(ctx, c, q, page, scanBulkJob)
	if err != nil {
		return l, fmt.Errorf("list bulk jobs: %w", err)
	}
	return l, nil
}

// BulkJobForWork returns the job that a bulkAdd job names by its key.
func (c *Catalog) BulkJobForWork(ctx context.Context, tenant backup.TenantID, id backup.BulkJobID) (backup.BulkJob, error) {
	return c.BulkJob(ctx, tenant, "", id)
}

// An entry is one of a bulk job's, addresses first, then ids.
type entry struct {
	sent    string
	key     string // what the mirror knows it by; "" if it cannot be that of a subject
	address bool
}

func entriesOf(b backup.BulkJob) []entry {
	entries := make([]entry, 0, len(b.Addresses)+len(b.IDs))
	for _, sent := range b.Addresses {
		e := entry{sent: sent, address: true}
		e.key, _ = b.Workload.ParseAddress(sent)
		entries = append(entries, e)
	}
	for _, sent := range b.IDs {
		e := entry{sent: sent}
		if id, ok := b.Workload.ParseSubject(strings.TrimSpace(sent)); ok {
			e.key = string(id)
		}
		entries = append(entries, e)
	}
	return entries
}

// keyLists returns entries as two lists, one of addresses and one of ids. An
// entry of the other list, or one that cannot be an owner's, is "" there, so
// that an entry's place is the same in both. A list of nothing is nil.
func keyLists(entries []entry) (addresses, ids []string) {
	for i, e := range entries {
		to := &ids
		if e.address {
			to = &addresses
		}
		if e.key == "" {
			continue
		}
		if *to == nil {
			*to = make([]string, len(entries))
		}
		(*to)[i] = e.key
	}
	return addresses, ids
}

// How the mirror knows the owner of an address, or of an id, e.value. The name
// to sign in with goes before the address for mail, should they be two users'.
const (
	ownerOfAddress = `coalesce(
		(SELECT a.id FROM subject a WHERE a.tenant = $1 AND a.address_key = e.value ORDER BY a.id LIMIT 1),
		(SELECT a.id FROM subject a WHERE a.tenant = $1 AND a.mail_key <> '' AND a.mail_key = e.value ORDER BY a.id LIMIT 1))`
	ownerOfID = `(SELECT a.id FROM subject a WHERE a.tenant = $1 AND a.id = e.value)`
)

// resolved is what the mirror and the policies say about one entry.
type resolved struct {
	n     int // the entry
	owner backup.SubjectID
	unit  *backup.Unit // the owner's, or nil
}

// resolve asks the mirror for the owners of entries, and for the units of a
// workload that these have. Entries it does not know are left out.
func resolve(ctx context.Context, tx *database.Tx, tenant backup.TenantID, workload backup.Workload, entries []entry) ([]resolved, error) {
	var all []resolved
	ask := func(owner string, keys []string) error {
		if keys == nil {
			return nil
		}
		rows, err := tx.QueryContext(ctx, `
			WITH r AS MATERIALIZED (SELECT e.n, `+owner+` AS owner FROM `+tx.Dialect().JSONEach("$2")+` AS e WHERE e.value <> '')
			SELECT r.n, r.owner, u.id, u.policy, u.status, u.sources
			FROM r LEFT JOIN unit u ON u.tenant = $1 AND u.workload = $3 AND u.subject = r.owner AND u.status <> 'offboarded'
			WHERE r.owner IS NOT NULL ORDER BY r.n`, string(tenant), jsonList(keys), string(workload))
		found, err := collect(rows, err, func(s scanner) (r resolved, err error) {
			var id, policy, status sql.NullString
			var sources sql.NullInt64
			if err := s.Scan(&r.n, &r.owner, &id, &policy, &status, &sources); err != nil {
				return r, err
			}
			if id.Valid {
				r.unit = &backup.Unit{
					ID: backup.UnitID(id.String), Tenant: tenant, Workload: workload, Policy: backup.PolicyID(policy.String), Subject: r.owner,
					Status: backup.UnitStatus(status.String), Sources: backup.ProtectionSources(sources.Int64),
				}
			}
			return r, nil
		})
		all = append(all, found...)
		return err
	}
	addresses, ids := keyLists(entries)
	if err := ask(ownerOfAddress, addresses); err != nil {
		return nil, err
	}
	if err := ask(ownerOfID, ids); err != nil {
		return nil, err
	}
	return all, nil
}

// UnresolvedBulk returns those of a bulk job's entries that the mirror of the
// directory does not know, as they were sent; what cannot be an address or an
// id is not among them. The source may know them already.
func (c *Catalog) UnresolvedBulk(ctx context.Context, b backup.BulkJob) ([]string, error) {
	entries := entriesOf(b)
	var unknown []string
	ask := func(owner string, keys []string) error {
		if keys == nil {
			return nil
		}
		rows, err := c.db.Read().QueryContext(ctx, `
			SELECT e.n FROM `+c.db.Dialect().JSONEach("$2")+` AS e
			WHERE e.value <> '' AND `+owner+` IS NULL ORDER BY e.n`, string(b.Tenant), jsonList(keys))
		found, err := collect(rows, err, func(s scanner) (n int, err error) { return n, s.Scan(&n) })
		for _, n := range found {
			unknown = append(unknown, entries[n].sent)
		}
		return err
	}
	addresses, ids := keyLists(entries)
	if err := ask(ownerOfAddress, addresses); err != nil {
		return nil, fmt.Errorf("resolve addresses of bulk job %s: %w", b.ID, err)
	}
	if err := ask(ownerOfID, ids); err != nil {
		return nil, fmt.Errorf("resolve ids of bulk job %s: %w", b.ID, err)
	}
	return unknown, nil
}

// EnrollBulk is the work of a bulkAdd job: it resolves the job's entries in
// the mirror of the directory, brings their owners into the policy, and
// finishes the job with one detail for each entry that failed. Owners are put
// under protection if the policy is in force at that moment.
//
// It takes a transaction for each 10,000 entries, in which it also notes how
// far it is. Called again after a crash it goes on from there, so that a unit
// which was removed from the policy meanwhile is not brought back. A job that
// is finished or gone is left as it is. jobs.ErrLost.
//
// Refused says of entries, as they were sent, why the source does not tell what they are.
func (c *Catalog) EnrollBulk(ctx context.Context, j *jobs.Job, b backup.BulkJob, refused map[string]string) error {
	entries := entriesOf(b)
	for finished := false; !finished; {
		err := c.tx(ctx, b.Tenant, func(tx *database.Tx) (err error) {
			finished, err = c.enrollBatch(ctx, tx, j, &b, entries, refused)
			return err
		})
		if err != nil {
			return fmt.Errorf("enroll bulk job %s: %w", b.ID, err)
		}
	}
	return nil
}

// enrollBatch deals with the next entries of b, and reports whether they were
// the last.
func (c *Catalog) enrollBatch(ctx context.Context, tx *database.Tx, j *jobs.Job, b *backup.BulkJob, entries []entry, refused map[string]string) (finished bool, err error) {
	if err := j.Hold(ctx, tx); err != nil {
		return false, err
	}
	var done int
	var problem *backup.Problem
	err = tx.QueryRowContext(ctx, `SELECT done, problem FROM bulk_job WHERE tenant = $1 AND id = $2 AND status = 'active'`,
		string(b.Tenant), string(b.ID)).Scan(&done, fromJSON{&problem})
	if errors.Is(err, sql.ErrNoRows) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("read progress: %w", err)
	}
	p, err := c.readPolicy(ctx, tx, b.Tenant, b.Policy)
	if err != nil {
		return false, err
	}

	chunk := entries[done:min(done+c.batch, len(entries))]
	found, err := resolve(ctx, tx, b.Tenant, p.Workload, chunk)
	if err != nil {
		return false, fmt.Errorf("resolve entries: %w", err)
	}
	m := &membership{
		policy: &p, by: asStored(backup.Stamp{By: b.Created.By, At: c.now()}),
		byOwner: make(map[backup.SubjectID]*backup.Unit, len(chunk)),
		byID:    make(map[backup.UnitID]*backup.Unit, len(chunk)),
	}
	details := make([]*backup.Detail, len(chunk))
	for i, e := range chunk {
		details[i] = unknownEntry(b.Workload, e, refused)
	}
	subjects := make([]backup.SubjectID, len(found))
	for i, r := range found {
		subjects[i], details[r.n] = r.owner, nil
	}
	if b.Purpose == backup.ToExclude {
		if _, err := c.exclude(ctx, tx, &p, m.by, subjects, nil); err != nil {
			return false, err
		}
		found = nil
	} else if err := m.heedExclusions(ctx, tx, subjects); err != nil {
		return false, err
	}
	for _, r := range found {
		if r.unit != nil {
			m.know(r.unit)
		}
		if _, failure := m.add(r.owner); failure != nil {
			details[r.n] = &backup.Detail{Code: failure.Code, Message: failure.Message, Target: chunk[r.n].sent}
		}
	}
	for _, d := range details {
		if d == nil {
			continue
		}
		if problem == nil {
			problem = &backup.Problem{Code: backup.ProtectionResourcesNotFound}
		}
		problem.Details = append(problem.Details, *d)
	}

	if err := c.bringIn(ctx, tx, m); err != nil {
		return false, err
	}

	done += len(chunk)
	status, modified := backup.BulkJobActive, b.Modified
	if finished = done == len(entries); finished {
		status, modified.At = backup.BulkJobCompleted, c.now()
		if problem != nil {
			status = backup.BulkJobCompletedWithErrors
			problem.Message = fmt.Sprintf("%d of %d entries could not be added to the policy; the others were. Each detail names one and says why. Correct them and send them in another job.",
				len(problem.Details), len(entries))
		}
	}
	_, err = tx.ExecContext(ctx, `UPDATE bulk_job SET done = $2, problem = $3, status = $4, modified = $5 WHERE id = $1`,
		string(b.ID), done, problemJSON(problem), string(status), database.Micros(modified.At))
	if err != nil {
		return false, fmt.Errorf("write progress: %w", err)
	}
	return finished, nil
}

// unknownEntry says that an entry names nothing that there is.
func unknownEntry(w backup.Workload, e entry, refused map[string]string) *backup.Detail {
	d := &backup.Detail{Code: backup.DirectoryObjectNotFound, Target: e.sent}
	switch site := w == backup.SharePoint; {
	case refused[e.sent] != "":
		if d.Message = refused[e.sent]; e.address {
			d.Code = backup.SiteURLNotFound
		}
	case site && e.address && e.key == "":
		d.Code, d.Message = backup.SiteURLNotFound, "This is not the address of a site, such as https://contoso.sharepoint.com/sites/team."
	case site && e.address:
		d.Code, d.Message = backup.SiteURLNotFound, "The tenant has no site of this address."
	case site && e.key == "":
		d.Message = "This is not the id of a site: its host, collection and web, or its collection, a GUID."
	case site:
		d.Message = "The tenant has no site of this id."
	case e.address && e.key == "":
		d.Code, d.Message = backup.EmailNotFound, "This is not an e-mail address."
	case e.address:
		d.Code, d.Message = backup.EmailNotFound, "No user of the tenant's directory has this address."
	case e.key == "":
		d.Message = "This is not an object id, which is a GUID."
	default:
		d.Message = "The tenant's directory holds no user with this object id."
	}
	return d
}
