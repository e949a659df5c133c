package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

const sessionColumns = `s.id, s.tenant, s.workload, s.status, s.job_type, s.total, s.succeeded, s.failed, s.problem, s.completed, s.wish, s.wished,
	s.created, s.created_by, s.modified, s.modified_by, s.in_part, s.items_failed, s.items_of, p.id`

// approvalsOfSessions is what these are read from, besides.
const approvalsOfSessions = ` LEFT JOIN approval p ON p.session = s.id`

func scanSession(r scanner) (s backup.Session, err error) {
	var approval sql.NullString
	err = r.Scan(&s.ID, &s.Tenant, &s.Workload, &s.Status, &s.JobType, &s.Counts.Total, &s.Counts.Completed, &s.Counts.Failed,
		fromJSON{&s.Problem}, micros{&s.Completed}, &s.Wish, micros{&s.Wished}, micros{&s.Created.At}, fromJSON{&s.Created.By}, micros{&s.Modified.At}, fromJSON{&s.Modified.By},
		&s.Counts.InPart, &s.Counts.Short.Failed, &s.Counts.Short.Of, &approval)
	if approval.Valid {
		s.Approval = &backup.Approval{ID: backup.ApprovalID(approval.String)} // see withApprovals
	}
	if s.Status != backup.SessionDraft {
		s.Counts.InProgress = s.Counts.Total - s.Counts.Completed - s.Counts.Failed
	}
	return s, err
}

func (c *Catalog) readSession(ctx context.Context, db database.Queryer, tenant backup.TenantID, id backup.SessionID) (backup.Session, error) {
	s, err := scanSession(db.QueryRowContext(ctx, `SELECT `+sessionColumns+` FROM restore_session s`+approvalsOfSessions+` WHERE s.tenant = $1 AND s.id = $2`,
		string(tenant), string(id)))
	if errors.Is(err, sql.ErrNoRows) {
		return s, sessionNotFound()
	}
	if err != nil {
		return s, fmt.Errorf("read session %s: %w", id, err)
	}
	if s.Approval != nil {
		one := []backup.Session{s}
		if err := withApprovals(ctx, db, c.db.Dialect(), one); err != nil {
			return s, err
		}
		s = one[0]
	}
	return s, c.only(ctx, db, tenant, sessionNotFound(), func(sc scoped, arg func(any) string) string {
		return `SELECT 1 FROM restore_session s WHERE s.id = ` + arg(string(id)) + ` AND ` + sc.session("s.id", "s.creator", "CAST("+arg(sc.Caller)+" AS TEXT)")
	})
}

func sessionNotFound() error {
	return backup.Fail(backup.RestoreSessionNotFound, "There is no such restore session.").On("id")
}

// Session returns a restore session, or RestoreSessionNotFound.
func (c *Catalog) Session(ctx context.Context, tenant backup.TenantID, id backup.SessionID) (backup.Session, error) {
	return c.readSession(ctx, c.db.Read(), tenant, id)
}

// Sessions lists a tenant's restore sessions.
func (c *Catalog) Sessions(ctx context.Context, tenant backup.TenantID, page Page) (List[backup.Session], error) {
	q := query{columns: sessionColumns, table: "restore_session s", join: approvalsOfSessions, tenant: tenant, scope: sessionsWithin, time: "s.created", id: "s.id", fields: sessionFields,
		within: []equal{{"s.tenant", string(tenant)}}, indexes: []index{
			{"restore_session_page", []string{"s.tenant", "s.created", "s.id"}},
			{"restore_session_modified", []string{"s.tenant", "s.modified", "s.id"}},
			{"restore_session_status", []string{"s.tenant", "s.status", "s.created", "s.id"}},
			{"restore_session_type", []string{"s.tenant", "s.job_type", "s.created", "s.id"}},
			{"restore_session_workload", []string{"s.tenant", "s.workload", "s.created", "s.id"}},
		}}
	q.of("s.workload", page.Workload)
	l, err := list(ctx, c, q, page, scanSession)
	if err == nil {
		err = withApprovals(ctx, c.db.Read(), c.db.Dialect(), l.Items)
	}
	if err != nil {
		return l, fmt.Errorf("list sessions: %w", err)
	}
	return l, nil
}

// NewArtifact is one restore point to be restored, in whole or, of a mailbox, what a
// search found in it or a person picked.
type NewArtifact struct {
	Point       backup.PointID
	Destination backup.Destination
	// Of a search: the unit that was searched, as the client names the search, what it
	// asked for, and how many items it counted; of what was picked likewise, as
	// backup.Artifact has them.
	Unit          backup.UnitID
	Search, Query string
	Hits          int64
	Target        string // as backup.Artifact has it
	Permissions   bool   // likewise
}

// CreateSession makes a restore session, a draft, with the artifacts given. It
// makes all or nothing: InvalidRestorePoint for a point that is unknown, has
// expired or is lost, DuplicateArtifactInList for two of one unit, and
// DifferentRestoreDestination.
func (c *Catalog) CreateSession(ctx context.Context, tenant backup.TenantID, workload backup.Workload, jobType backup.RestoreJobType, artifacts []NewArtifact, by backup.Stamp) (backup.Session, error) {
	by = asStored(by)
	s := backup.Session{
		ID: backup.NewID[backup.SessionID](), Tenant: tenant, Workload: workload, JobType: jobType,
		Status: backup.SessionDraft, Created: by, Modified: by,
	}
	s.Counts.Total = len(artifacts)
	err := c.tx(ctx, tenant, func(tx *database.Tx) error {
		changes := make([]ArtifactChange, len(artifacts))
		for i, a := range artifacts {
			changes[i].Add = a
		}
		_, d, err := c.changeArtifacts(ctx, tx, &s, changes, by)
		if err != nil {
			return err
		}
		if err := insertSession(ctx, tx, s); err != nil {
			return err
		}
		audited(ctx, s.ID)
		d.audited(ctx)
		return d.write(ctx, tx)
	})
	if err != nil {
		return backup.Session{}, fmt.Errorf("create session: %w", err)
	}
	return s, nil
}

func insertSession(ctx context.Context, tx *database.Tx, s backup.Session) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO restore_session (id, tenant, workload, status, job_type, total, succeeded, failed, completed, created, created_by, modified, modified_by, creator)
		VALUES ($1, $2, $3, $4, $5, $6, 0, 0, 0, $7, $8, $9, $10, $11)`,
		string(s.ID), string(s.Tenant), string(s.Workload), string(s.Status), string(s.JobType), s.Counts.Total,
		database.Micros(s.Created.At), toJSON(s.Created.By), database.Micros(s.Modified.At), toJSON(s.Modified.By), s.Created.By.Actor())
	if err != nil {
		return fmt.Errorf("insert session: %w", err)
	}
	return nil
}

// editSession stores what may change of a draft.
func editSession(ctx context.Context, tx *database.Tx, s backup.Session) error {
	_, err := tx.ExecContext(ctx, `UPDATE restore_session SET job_type = $2, total = $3, modified = $4, modified_by = $5 WHERE id = $1`,
		string(s.ID), string(s.JobType), s.Counts.Total, database.Micros(s.Modified.At), toJSON(s.Modified.By))
	if err != nil {
		return fmt.Errorf("update session: %w", err)
	}
	return nil
}

// An ArtifactChange is one item of a session's delta: Remove is set, or Add.
type ArtifactChange struct {
	Add    NewArtifact
	Remove backup.ArtifactID
}

// An ArtifactResult is what became of one ArtifactChange: the artifact added
// or removed, or why not.
type ArtifactResult struct {
	Artifact backup.Artifact
	Err      *backup.Error
}

// PatchSession changes a draft, which is or becomes one of jobType, and returns it, with one result per change in
// the same order. What is removed makes room for what is added. A point that
// the session holds already is an item's DuplicateArtifactRestore, an artifact
// that it does not hold an item's InvalidUnit. Of the whole request, which then
// changes nothing: RestoreSessionNotFound, RestoreSessionActionNotAllowed, and
// the failures of CreateSession.
func (c *Catalog) PatchSession(ctx context.Context, tenant backup.TenantID, id backup.SessionID, jobType backup.RestoreJobType, changes []ArtifactChange, by backup.Stamp) (backup.Session, []ArtifactResult, error) {
	by = asStored(by)
	var s backup.Session
	var results []ArtifactResult
	err := c.tx(ctx, tenant, func(tx *database.Tx) (err error) {
		if s, err = c.readSession(ctx, tx, tenant, id); err != nil {
			return err
		}
		if err := s.Editable(); err != nil {
			return err
		}
		if err := s.Take(jobType); err != nil {
			return err
		}
		var d *artifactDelta
		if results, d, err = c.changeArtifacts(ctx, tx, &s, changes, by); err != nil {
			return err
		}
		failed, first := failures(results, func(r ArtifactResult) *backup.Error { return r.Err })
		auditedItems(ctx, len(results), failed, first)
		d.audited(ctx)
		if err := d.write(ctx, tx); err != nil {
			return err
		}
		s.Counts.Total += len(d.added) - len(d.removed)
		s.Modified = by
		return editSession(ctx, tx, s)
	})
	if err != nil {
		return backup.Session{}, nil, fmt.Errorf("update session: %w", err)
	}
	return s, results, nil
}

// An artifactDelta is what a request does to a draft's artifacts.
type artifactDelta struct {
	added   []backup.Artifact
	removed []backup.ArtifactID
}

// audited says in the audit log whose backups are to be restored, and where to.
func (d *artifactDelta) audited(ctx context.Context) {
	for _, a := range d.added {
		AuditedUnits(ctx, a.Point.Unit)
		if _, picked := backup.PickedOf(a.Query); picked {
			auditedItem(ctx, a.Search)
		}
		auditedTo(ctx, a.Destination)
	}
}

// changeArtifacts works out what changes do to s; nothing is written yet.
func (c *Catalog) changeArtifacts(ctx context.Context, tx *database.Tx, s *backup.Session, changes []ArtifactChange, by backup.Stamp) ([]ArtifactResult, *artifactDelta, error) {
	if len(changes) == 0 {
		return nil, &artifactDelta{}, nil
	}
	rows, err := tx.QueryContext(ctx, `SELECT `+artifactColumns+` FROM restore_artifact a WHERE a.session = $1`, string(s.ID))
	held, err := collect(rows, err, scanArtifact)
	if err != nil {
		return nil, nil, fmt.Errorf("read artifacts: %w", err)
	}
	byID := map[backup.ArtifactID]backup.Artifact{}
	for _, a := range held {
		byID[a.ID] = a
	}
	var ids []backup.PointID
	for _, ch := range changes {
		if ch.Remove == "" {
			ids = append(ids, ch.Add.Point)
		}
	}
	points, err := c.pointsByID(ctx, tx, tx.Dialect(), s.Tenant, ids, c.now())
	if err != nil {
		return nil, nil, fmt.Errorf("read points: %w", err)
	}
	if err := onlyOf(ctx, tx, s.Workload, points); err != nil {
		return nil, nil, err
	}

	d := &artifactDelta{}
	results := make([]ArtifactResult, len(changes))
	for i, ch := range changes {
		if ch.Remove == "" {
			continue
		}
		a, ok := byID[ch.Remove]
		if !ok {
			results[i].Err = notInSession()
			continue
		}
		delete(byID, a.ID)
		d.removed = append(d.removed, a.ID)
		results[i].Artifact = a
	}
	var destination backup.Destination
	// A unit is restored in whole to one point, and in part by as many searches as
	// there are.
	type restored struct {
		unit  backup.UnitID
		point backup.PointID
		query string
	}
	of := func(p backup.Point, query string) restored {
		if query == "" {
			return restored{unit: p.Unit}
		}
		return restored{p.Unit, p.ID, query}
	}
	stored := map[restored]backup.PointID{}
	for _, a := range byID {
		stored[of(a.Point, a.Query)] = a.Point.ID
		destination = a.Destination
	}
	listed := map[restored]bool{}
	for i, ch := range changes {
		if ch.Remove != "" {
			continue
		}
		p, ok := points[ch.Add.Point]
		if !ok {
			return nil, nil, invalidPoint(ch.Add.Point)
		}
		if err := p.Restorable(); err != nil {
			return nil, nil, err
		}
		if ch.Add.Query != "" && ch.Add.Unit != p.Unit {
			return nil, nil, backup.Fail(backup.InvalidArtifactRequest, "The search was one of another mailbox than the restore point is of. Name a point of the mailbox that was searched.").On("searchResponseId")
		}
		if destination != "" && destination != ch.Add.Destination {
			return nil, nil, backup.Fail(backup.DifferentRestoreDestination,
				"A session restores everything in place, or everything to a new place. Make a session for each.").On("destinationType")
		}
		destination = ch.Add.Destination
		what := of(p, ch.Add.Query)
		if listed[what] || stored[what] != "" && stored[what] != p.ID {
			return nil, nil, backup.Fail(backup.DuplicateArtifactInList,
				"A session restores each "+s.Workload.Thing()+" to one restore point, and this "+s.Workload.Thing()+" is named twice. Choose one; nothing was changed.").On(string(p.ID))
		}
		listed[what] = true
		if stored[what] == p.ID {
			results[i].Err = backup.Fail(backup.DuplicateArtifactRestore, "The session restores this point already.").On("restorePoint")
			continue
		}
		results[i].Artifact = backup.Artifact{
			ID: backup.NewID[backup.ArtifactID](), Session: s.ID, Tenant: s.Tenant, Point: p, Destination: ch.Add.Destination,
			Status: backup.ArtifactAdded, Created: by.At.Add(time.Duration(len(d.added)) * time.Microsecond),
			Search: ch.Add.Search, Query: ch.Add.Query, Hits: ch.Add.Hits, Target: ch.Add.Target, Permissions: ch.Add.Permissions,
		}
		d.added = append(d.added, results[i].Artifact)
	}
	return results, d, nil
}

// onlyOf leaves of points those that are of units of a workload.
func onlyOf(ctx context.Context, tx *database.Tx, workload backup.Workload, points map[backup.PointID]backup.Point) error {
	units := make([]backup.UnitID, 0, len(points))
	for _, p := range points {
		units = append(units, p.Unit)
	}
	rows, err := tx.QueryContext(ctx, `
		SELECT u.id FROM `+tx.Dialect().JSONEach("$1")+` AS e CROSS JOIN unit u WHERE u.id = e.value AND u.workload <> $2`, jsonList(units), string(workload))
	others, err := collect(rows, err, func(r scanner) (id backup.UnitID, err error) { return id, r.Scan(&id) })
	if err != nil {
		return fmt.Errorf("read units of points: %w", err)
	}
	maps.DeleteFunc(points, func(_ backup.PointID, p backup.Point) bool { return slices.Contains(others, p.Unit) })
	return nil
}

func (d *artifactDelta) write(ctx context.Context, tx *database.Tx) error {
	if len(d.removed) > 0 {
		_, err := tx.ExecContext(ctx, `DELETE FROM restore_artifact WHERE id IN (SELECT e.value FROM `+tx.Dialect().JSONEach("$1")+` AS e)`,
			jsonList(d.removed))
		if err != nil {
			return fmt.Errorf("delete artifacts: %w", err)
		}
	}
	if len(d.added) > 0 {
		a := d.added[0]
		type row struct {
			ID, Point, Tags, Search, Query, Target string
			At, Expires, Hits, Permissions         int64
		}
		rows := make([]row, len(d.added))
		for i, a := range d.added {
			rows[i] = row{string(a.ID), string(a.Point.ID), string(a.Point.Tags), a.Search, a.Query, a.Target, database.Micros(a.Point.At), database.Micros(a.Point.Expires), a.Hits, int64(bit(a.Permissions))}
		}
		_, err := tx.ExecContext(ctx, `
			INSERT INTO restore_artifact (id, tenant, session, point, unit, drive, at, expires, tags, tree, files, folders, bytes, unread,
				destination, status, created, started, completed, site_id, site_name, site_web_url, search, query, hits, target, permissions)
			SELECT e.value->>'ID', r.tenant, CAST($2 AS TEXT), e.value->>'Point', r.unit, r.drive, CAST(e.value->>'At' AS BIGINT), CAST(e.value->>'Expires' AS BIGINT),
				e.value->>'Tags', r.tree, r.files, r.folders, r.bytes, r.unread, CAST($3 AS TEXT), 'added', CAST($4 AS BIGINT) + e.n, 0, 0, '', '', '',
				e.value->>'Search', e.value->>'Query', CAST(e.value->>'Hits' AS BIGINT), e.value->>'Target', CAST(e.value->>'Permissions' AS SMALLINT)
			FROM `+tx.Dialect().JSONRows("$1")+` AS e CROSS JOIN restore_point r WHERE r.id = `+periodOf("e.value->>'Point'"),
			jsonList(rows), string(a.Session), string(a.Destination), database.Micros(a.Created))
		if err != nil {
			return fmt.Errorf("insert artifacts: %w", err)
		}
	}
	return nil
}

// DeleteSession deletes a draft with its artifacts. RestoreSessionNotFound,
// RestoreSessionActionNotAllowed.
func (c *Catalog) DeleteSession(ctx context.Context, tenant backup.TenantID, id backup.SessionID) error {
	err := c.tx(ctx, tenant, func(tx *database.Tx) error {
		s, err := c.readSession(ctx, tx, tenant, id)
		if err != nil {
			return err
		}
		if err := s.Deletable(); err != nil {
			return err
		}
		if err := auditedSession(ctx, tx, id); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM restore_session WHERE id = $1`, string(id)) // its artifacts go with it
		return err
	})
	if err != nil {
		return fmt.Errorf("delete session: %w", err)
	}
	return nil
}

// scheduleArtifacts enqueues a restore job for each artifact of a session.
func (c *Catalog) scheduleArtifacts(ctx context.Context, tx *database.Tx, s *backup.Session) error {
	err := c.queue.EnqueueSelect(ctx, tx, jobs.Restore, s.Tenant, c.now(),
		`SELECT a.id FROM restore_artifact a WHERE a.session = $1`, string(s.ID))
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `UPDATE restore_artifact SET status = 'scheduled' WHERE session = $1`, string(s.ID)); err != nil {
		return fmt.Errorf("schedule artifacts: %w", err)
	}
	return nil
}

// ActivateSession sets a draft to work: a restore job for each artifact, or one
// to find out which artifacts a bulk restore request means. One that restores in place
// waits for another person's approval instead, where the tenant's rule says so.
// RestoreSessionNotFound, RestoreSessionActionNotAllowed, and
// TooManyActiveRestoreSessions.
func (c *Catalog) ActivateSession(ctx context.Context, tenant backup.TenantID, id backup.SessionID, by backup.Stamp) (backup.Session, error) {
	by = asStored(by)
	var s backup.Session
	err := c.tx(ctx, tenant, func(tx *database.Tx) (err error) {
		if s, err = c.readSession(ctx, tx, tenant, id); err != nil {
			return err
		}
		made, changed := s.Created.By.Actor(), s.Modified.By.Actor()
		if err := s.Activate(by); err != nil {
			return err
		}
		if err := auditedSession(ctx, tx, id); err != nil {
			return err
		}
		waits, err := c.askRestore(ctx, tx, &s, by, made, changed)
		if err != nil {
			return err
		}
		if !waits {
			if err := c.room(ctx, tx, tenant); err != nil {
				return err
			}
			if err := c.begin(ctx, tx, &s); err != nil {
				return err
			}
		}
		_, err = tx.ExecContext(ctx, `UPDATE restore_session SET status = $2, modified = $3, modified_by = $4 WHERE id = $1`,
			string(id), string(s.Status), database.Micros(by.At), toJSON(by.By))
		return err
	})
	if err != nil {
		return backup.Session{}, fmt.Errorf("activate session: %w", err)
	}
	return s, nil
}

// room refuses a session more than may be at work. One that waits for an approval is not.
func (c *Catalog) room(ctx context.Context, tx *database.Tx, tenant backup.TenantID) error {
	var working int
	err := tx.QueryRowContext(ctx, `
		SELECT count(*) FROM restore_session s WHERE s.tenant = $1 AND s.status IN ('activating', 'active')
			AND NOT EXISTS (SELECT 1 FROM approval p WHERE p.session = s.id AND p.state = 'waiting')`,
		string(tenant)).Scan(&working)
	if err != nil {
		return fmt.Errorf("count active sessions: %w", err)
	}
	if working >= backup.MaxActiveSessions {
		return backup.Fail(backup.TooManyActiveRestoreSessions, strconv.Itoa(working)+
			" restore sessions are at work, which is as many as may be. Try again when one has ended.")
	}
	return nil
}

// begin enqueues the jobs of a session that is activated.
func (c *Catalog) begin(ctx context.Context, tx *database.Tx, s *backup.Session) error {
	switch s.JobType {
	case backup.RestoreStandard, backup.RestoreGranular: // what was searched for is in artifacts, too
		if err := c.scheduleArtifacts(ctx, tx, s); err != nil {
			return err
		}
		return c.activateGranular(ctx, tx, s)
	case backup.RestoreBulk:
		return c.queue.EnqueueSelect(ctx, tx, jobs.BulkRestore, s.Tenant, c.now(), `SELECT b.id FROM bulk_restore b WHERE b.session = $1`, string(s.ID))
	}
	return nil
}

// PauseSession has a session's restores stop where they are, which their workers do
// within moments, and wait. RestoreSessionNotFound, RestoreSessionActionNotAllowed.
func (c *Catalog) PauseSession(ctx context.Context, tenant backup.TenantID, id backup.SessionID, by backup.Stamp) (backup.Session, error) {
	return c.askSession(ctx, tenant, id, by, (*backup.Session).Pause, nil)
}

// ResumeSession has the restores of a paused session go on. RestoreSessionNotFound,
// RestoreSessionActionNotAllowed.
func (c *Catalog) ResumeSession(ctx context.Context, tenant backup.TenantID, id backup.SessionID, by backup.Stamp) (backup.Session, error) {
	return c.askSession(ctx, tenant, id, by, (*backup.Session).Resume, unfinished)
}

// CancelSession has the restores of a session end where they are: those at work, and
// those that have not begun. RestoreSessionNotFound, RestoreSessionActionNotAllowed.
func (c *Catalog) CancelSession(ctx context.Context, tenant backup.TenantID, id backup.SessionID, by backup.Stamp) (backup.Session, error) {
	return c.askSession(ctx, tenant, id, by, (*backup.Session).Cancel, unfinished)
}

// unfinished are the restores of a session that are not at their end, by the kind of
// their jobs.
var unfinished = map[jobs.Kind]string{
	jobs.Restore:     `SELECT a.id FROM restore_artifact a WHERE a.session = $1 AND a.status IN ('scheduled', 'inProgress')`,
	jobs.RestoreItem: `SELECT g.id FROM granular_artifact g WHERE g.session = $1 AND g.status IN ('scheduled', 'inProgress')`,
}

// askSession asks something of a session, of which the jobs to wake are to know at once.
func (c *Catalog) askSession(ctx context.Context, tenant backup.TenantID, id backup.SessionID, by backup.Stamp, ask func(*backup.Session, backup.Stamp) error, wake map[jobs.Kind]string) (backup.Session, error) {
	by = asStored(by)
	var s backup.Session
	err := c.tx(ctx, tenant, func(tx *database.Tx) (err error) {
		if _, err := c.readSession(ctx, tx, tenant, id); err != nil {
			return err
		}
		if err := auditedSession(ctx, tx, id); err != nil {
			return err
		}
		for _, kind := range slices.Sorted(maps.Keys(wake)) {
			if err := c.queue.EnqueueSelect(ctx, tx, kind, tenant, c.now(), wake[kind], string(id)); err != nil {
				return err
			}
		}
		// A restore that comes to its end has the row first, or sees what was asked.
		if _, err := tx.ExecContext(ctx, `UPDATE restore_session SET wish = wish WHERE tenant = $1 AND id = $2`, string(tenant), string(id)); err != nil {
			return fmt.Errorf("lock session: %w", err)
		}
		if s, err = c.readSession(ctx, tx, tenant, id); err != nil {
			return err
		}
		if err := ask(&s, by); err != nil {
			return err
		}
		if s.Wish == backup.WishCancel && s.Waits() { // no job will come that could end it
			if _, err := c.withdraw(ctx, tx, tenant, backup.ApprovalRestore, string(id), by); err != nil {
				return err
			}
			s, err = c.readSession(ctx, tx, tenant, id)
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE restore_session SET wish = $2, wished = $3, problem = $4, modified = $5, modified_by = $6 WHERE id = $1`,
			string(id), string(s.Wish), database.Micros(s.Wished), problemJSON(s.Problem), database.Micros(s.Modified.At), toJSON(s.Modified.By))
		return err
	})
	if err != nil {
		return backup.Session{}, fmt.Errorf("ask session %s: %w", id, err)
	}
	return s, nil
}

// Wish returns what was asked of a session at work.
func (c *Catalog) Wish(ctx context.Context, tenant backup.TenantID, id backup.SessionID) (wish backup.Wish, err error) {
	err = c.db.Read().QueryRowContext(ctx, `SELECT wish FROM restore_session WHERE tenant = $1 AND id = $2`, string(tenant), string(id)).Scan(&wish)
	if errors.Is(err, sql.ErrNoRows) {
		return backup.WishNone, nil
	}
	if err != nil {
		return "", fmt.Errorf("read what was asked of session %s: %w", id, err)
	}
	return wish, nil
}

var artifactColumns = `a.point, a.tenant, a.unit, a.drive, a.at, a.expires, a.tags, a.tree, a.files, a.folders, a.bytes, a.unread,
	` + pointNow("a") + `,
	a.id, a.tenant, a.session, a.destination, a.status, a.problem, a.created, a.started, a.completed, a.site_id, a.site_name, a.site_web_url, a.search, a.query, a.items, a.hits, a.target, a.permissions,
	a.items_failed, a.items_of`

// A shortfall reads two columns: what is known of how much an artifact lacks, whose second
// is negative for nothing.
type shortfall struct {
	to    **backup.Shortfall
	first *int
}

func (s shortfall) Scan(v any) error {
	of, ok := v.(int64)
	if !ok {
		return fmt.Errorf("a number is stored as %T", v)
	}
	if of >= 0 {
		*s.to = &backup.Shortfall{Failed: *s.first, Of: int(of)}
	}
	return nil
}

// asColumns are what a problem of an artifact says for these columns.
func asColumns(p *backup.Problem) (failed, of int) {
	if p == nil || p.Short == nil || backup.Ended(p) != backup.ArtifactFailed {
		return 0, -1
	}
	return p.Short.Failed, p.Short.Of
}

func scanArtifact(r scanner) (a backup.Artifact, err error) {
	failed := 0
	err = r.Scan(append(pointFields(&a.Point), &a.ID, &a.Tenant, &a.Session, &a.Destination, &a.Status, fromJSON{&a.Problem},
		micros{&a.Created}, micros{&a.Started}, micros{&a.Completed}, &a.RestoredSiteID, &a.RestoredSiteName, &a.RestoredSiteWebURL,
		&a.Search, &a.Query, &a.RestoredItems, &a.Hits, &a.Target, &a.Permissions,
		&failed, shortfall{&a.Short, &failed})...)
	if !a.Status.Final() {
		a.Problem = nil // see NoteDetails
	}
	return a, err
}

// Artifacts lists a session's artifacts. RestoreSessionNotFound.
func (c *Catalog) Artifacts(ctx context.Context, tenant backup.TenantID, session backup.SessionID, page Page) (List[backup.Artifact], error) {
	if _, err := c.Session(ctx, tenant, session); err != nil {
		return List[backup.Artifact]{}, err
	}
	q := query{columns: artifactColumns, table: "restore_artifact a", tenant: tenant, scope: ofParent, time: "a.created", id: "a.id", fields: artifactFields,
		within: []equal{{"a.session", string(session)}}, indexes: []index{
			{"restore_artifact_page", []string{"a.session", "a.created", "a.id"}},
			{"restore_artifact_started", []string{"a.session", "a.started", "a.id"}},
			{"restore_artifact_status", []string{"a.session", "a.status", "a.created", "a.id"}},
			{"restore_artifact_destination", []string{"a.session", "a.destination", "a.created", "a.id"}},
		}}
	l, err := list(ctx, c, q, page, scanArtifact)
	if err != nil {
		return l, fmt.Errorf("list artifacts: %w", err)
	}
	return l, nil
}

// Artifact returns an artifact of a session. RestoreSessionNotFound, ItemNotFound.
func (c *Catalog) Artifact(ctx context.Context, tenant backup.TenantID, session backup.SessionID, id backup.ArtifactID) (backup.Artifact, error) {
	if _, err := c.Session(ctx, tenant, session); err != nil {
		return backup.Artifact{}, err
	}
	a, err := c.ArtifactForWork(ctx, tenant, id)
	if err == nil && a.Session != session {
		return backup.Artifact{}, artifactNotFound()
	}
	return a, err
}

func artifactNotFound() error {
	return backup.Fail(backup.ItemNotFound, "There is no such restore artifact.").On("id")
}

// ArtifactForWork returns the artifact that a restore job names by its key, or
// ItemNotFound.
func (c *Catalog) ArtifactForWork(ctx context.Context, tenant backup.TenantID, id backup.ArtifactID) (backup.Artifact, error) {
	a, err := scanArtifact(c.db.Read().QueryRowContext(ctx, `SELECT `+artifactColumns+` FROM restore_artifact a WHERE a.tenant = $1 AND a.id = $2`,
		string(tenant), string(id)))
	if errors.Is(err, sql.ErrNoRows) {
		return backup.Artifact{}, artifactNotFound()
	}
	if err != nil {
		return backup.Artifact{}, fmt.Errorf("read artifact %s: %w", id, err)
	}
	return a, nil
}

// ErrBusy: another restore works on the drive, and this one has to wait until
// that has ended.
var ErrBusy = errors.New("another restore is at work on the drive")

// StartArtifact notes that a restore has begun; it may be called again when it
// is begun anew. jobs.ErrLost. On an artifact that is finished it does nothing.
//
// It fails with InvalidRestoreTime if the artifact's point has gone meanwhile,
// with InvalidRestorePoint if it is lost, and with DuplicateArtifactRestore if another artifact is bringing the same
// drive back in place: the two would undo each other's work. Their Problem is
// for FinishArtifact. It fails with ErrBusy as long as files or folders are
// being restored into the drive that it would bring back in place, and one of what
// was searched for, or beside such a one, as long as the other is at work in place.
func (c *Catalog) StartArtifact(ctx context.Context, j *jobs.Job, id backup.ArtifactID) error {
	err := c.tx(ctx, j.Tenant, func(tx *database.Tx) error {
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		var there, lost, busy, other, filling bool
		err := tx.QueryRowContext(ctx, `
			SELECT EXISTS (SELECT 1 FROM restore_point r WHERE r.id = `+periodOf("a.point")+`),
				EXISTS (SELECT 1 FROM restore_point r WHERE r.id = `+periodOf("a.point")+` AND r.lost = 1),
				a.status = 'scheduled' AND a.destination = 'inPlace' AND a.query = '' AND EXISTS (
					SELECT 1 FROM restore_artifact o
					WHERE o.unit = a.unit AND o.status = 'inProgress' AND o.destination = 'inPlace' AND o.id <> a.id AND o.query = ''),
				a.status = 'scheduled' AND a.destination = 'inPlace' AND EXISTS (
					SELECT 1 FROM restore_artifact o
					WHERE o.unit = a.unit AND o.status = 'inProgress' AND o.destination = 'inPlace' AND o.id <> a.id AND (a.query <> '' OR o.query <> '')),
				a.status = 'scheduled' AND a.destination = 'inPlace' AND EXISTS (
					SELECT 1 FROM restore_session s JOIN granular_artifact g ON g.session = s.id
					WHERE s.tenant = a.tenant AND s.status = 'active' AND g.unit = a.unit AND g.status = 'inProgress')
			FROM restore_artifact a WHERE a.tenant = $1 AND a.id = $2`, string(j.Tenant), string(id)).Scan(&there, &lost, &busy, &other, &filling)
		if errors.Is(err, sql.ErrNoRows) {
			return artifactNotFound()
		}
		if err != nil {
			return fmt.Errorf("look for the artifact's point: %w", err)
		}
		if !there {
			return backup.Fail(backup.InvalidRestoreTime, "The restore point expired before its restore began, so nothing was restored. Choose a later point in a new session.")
		}
		if lost {
			return (&backup.Point{Lost: true}).Restorable()
		}
		if busy {
			return backup.Fail(backup.DuplicateArtifactRestore, "It is being restored in place by another session, so this one did nothing. Wait until that has ended, and restore again if it is not as it shall be.")
		}
		if other || filling {
			return ErrBusy
		}
		n, err := affected(tx.ExecContext(ctx, `
			UPDATE restore_artifact SET status = 'inProgress', started = CASE WHEN started = 0 THEN $3 ELSE started END
			WHERE tenant = $1 AND id = $2 AND status IN ('scheduled', 'inProgress')`,
			string(j.Tenant), string(id), database.Micros(c.now())))
		if err != nil || n == 0 {
			return err
		}
		_, err = tx.ExecContext(ctx, `
			UPDATE restore_session SET status = 'active'
			WHERE id = (SELECT session FROM restore_artifact WHERE id = $1) AND status = 'activating'`, string(id))
		return err
	})
	if err != nil {
		return fmt.Errorf("start artifact %s: %w", id, err)
	}
	return nil
}

// Restored says where a drive was restored to: of a mailbox, to which folder of it
// (SiteID and SiteName are the folder's), and how many items.
type Restored struct {
	SiteID, SiteName, SiteWebURL string
	Items                        int64
}

// ReserveLibrary notes that an artifact is restored to a new library of that
// name, before that is made, and reports whether it is: not if another artifact
// at work is restored beside the same drive by that name. jobs.ErrLost.
func (c *Catalog) ReserveLibrary(ctx context.Context, j *jobs.Job, id backup.ArtifactID, name string) (bool, error) {
	var n int64
	err := c.tx(ctx, j.Tenant, func(tx *database.Tx) (err error) {
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		n, err = affected(tx.ExecContext(ctx, `
			UPDATE restore_artifact SET site_id = '', site_name = $3, site_web_url = ''
			WHERE tenant = $1 AND id = $2 AND NOT EXISTS (
				SELECT 1 FROM restore_artifact o
				WHERE o.unit = restore_artifact.unit AND o.status IN ('scheduled', 'inProgress') AND o.destination = 'new'
					AND lower(o.site_name) = lower($3) AND o.id <> $2)`, string(j.Tenant), string(id), name))
		return err
	})
	if err != nil {
		return false, fmt.Errorf("reserve a library for artifact %s: %w", id, err)
	}
	return n > 0, nil
}

// NoteArtifact records where an artifact is being restored to, before anything is
// changed there, so that a restore that is begun anew goes on there, and one that
// fails says where it was at work. jobs.ErrLost.
func (c *Catalog) NoteArtifact(ctx context.Context, j *jobs.Job, id backup.ArtifactID, r Restored) error {
	err := c.db.Tx(ctx, func(tx *database.Tx) error {
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `
			UPDATE restore_artifact SET site_id = $3, site_name = $4, site_web_url = $5, items = $6 WHERE tenant = $1 AND id = $2`,
			string(j.Tenant), string(id), r.SiteID, r.SiteName, r.SiteWebURL, r.Items)
		return err
	})
	if err != nil {
		return fmt.Errorf("note the place of artifact %s: %w", id, err)
	}
	return nil
}

// NoteDetails records what an artifact has to say should its restore not come to
// an end that says more. Nobody is shown it until then. jobs.ErrLost.
func (c *Catalog) NoteDetails(ctx context.Context, j *jobs.Job, id backup.ArtifactID, details []backup.Detail) error {
	err := c.db.Tx(ctx, func(tx *database.Tx) error {
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `UPDATE restore_artifact SET problem = $3 WHERE tenant = $1 AND id = $2 AND status = 'inProgress'`,
			string(j.Tenant), string(id), toJSON(backup.Problem{Details: details}))
		return err
	})
	if err != nil {
		return fmt.Errorf("note details of artifact %s: %w", id, err)
	}
	return nil
}

// NotedDetails returns what NoteDetails has recorded of an artifact at work.
func (c *Catalog) NotedDetails(ctx context.Context, tenant backup.TenantID, id backup.ArtifactID) ([]backup.Detail, error) {
	var p *backup.Problem
	err := c.db.Read().QueryRowContext(ctx, `SELECT problem FROM restore_artifact WHERE tenant = $1 AND id = $2 AND status = 'inProgress'`,
		string(tenant), string(id)).Scan(fromJSON{&p})
	if errors.Is(err, sql.ErrNoRows) || err == nil && p == nil {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read details of artifact %s: %w", id, err)
	}
	return p.Details, nil
}

// FinishArtifact records the end of a restore, which backup.Ended says how it
// came to. The session ends with its last artifact. On an
// artifact that is finished already it does nothing. jobs.ErrLost.
func (c *Catalog) FinishArtifact(ctx context.Context, j *jobs.Job, id backup.ArtifactID, r Restored, problem *backup.Problem) error {
	err := c.db.Tx(ctx, func(tx *database.Tx) error {
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		var session backup.SessionID
		itemsFailed, itemsOf := asColumns(problem)
		err := tx.QueryRowContext(ctx, `
			UPDATE restore_artifact SET status = $3, problem = $4, completed = $5, site_id = $6, site_name = $7, site_web_url = $8, items = $9,
				items_failed = $10, items_of = $11
			WHERE tenant = $1 AND id = $2 AND status IN ('scheduled', 'inProgress')
			RETURNING session`,
			string(j.Tenant), string(id), string(backup.Ended(problem)), problemJSON(problem), database.Micros(c.now()), r.SiteID, r.SiteName, r.SiteWebURL, r.Items, itemsFailed, itemsOf).Scan(&session)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("update artifact: %w", err)
		}
		_, err = c.countEnd(ctx, tx, j.Tenant, session, problem)
		return err
	})
	if err != nil {
		return fmt.Errorf("finish artifact %s: %w", id, err)
	}
	return nil
}

// countEnd counts an artifact that has ended in its session, which ends with
// the last one, and returns where the session stands. problem is the
// artifact's, or nil.
func (c *Catalog) countEnd(ctx context.Context, tx *database.Tx, tenant backup.TenantID, session backup.SessionID, problem *backup.Problem) (backup.SessionStatus, error) {
	// The row is locked by the addition, so that of two artifacts that end at
	// once the second sees both.
	var n backup.ArtifactCounts
	itemsFailed, itemsOf := asColumns(problem)
	failed := backup.Ended(problem) == backup.ArtifactFailed
	if !failed {
		problem = nil
	}
	var workload backup.Workload
	err := tx.QueryRowContext(ctx, `
		UPDATE restore_session SET succeeded = succeeded + $2, failed = failed + $3, in_part = in_part + $4,
			items_failed = CASE WHEN $4 = 0 THEN items_failed WHEN items_failed < 0 OR $5 = 0 THEN -1 ELSE items_failed + $5 END,
			items_of = CASE WHEN $4 = 0 THEN items_of WHEN items_of < 0 OR $6 = 0 THEN -1 ELSE items_of + $6 END
		WHERE id = $1 RETURNING total, succeeded, failed, in_part, workload`,
		string(session), bit(!failed), bit(failed), bit(itemsOf >= 0), itemsFailed, itemsOf).Scan(&n.Total, &n.Completed, &n.Failed, &n.InPart, &workload)
	if err != nil {
		return "", fmt.Errorf("count artifact: %w", err)
	}
	end, completed := n.Settle(), int64(0)
	if end.Final() {
		completed = database.Micros(c.now())
		if err := c.recordEnd(ctx, tx, tenant, workload, session, end, n.InPart > 0, problem); err != nil {
			return "", err
		}
	}
	// One that was cancelled when all of it had been done has nothing to say of what was not.
	_, err = tx.ExecContext(ctx, `UPDATE restore_session SET status = $2, completed = $3,
			problem = CASE WHEN wish = $4 AND $5 = 1 THEN NULL ELSE problem END WHERE id = $1`,
		string(session), string(end), completed, string(backup.WishCancel), bit(end == backup.SessionCompleted))
	return end, err
}

// notInSession is the answer to the removal of an artifact that a session does
// not hold.
func notInSession() *backup.Error {
	e := backup.Fail(backup.InvalidUnit, "The session holds no such artifact. Nothing was removed; list the session's artifacts to see which it holds.").On("id")
	e.Details = []backup.Detail{{Code: backup.ArtifactNotFound, Message: "The artifact is not in the session.", Target: "id"}}
	return e
}
