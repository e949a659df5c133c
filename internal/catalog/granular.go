package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// NewGranular is a file or folder to be restored.
type NewGranular struct {
	Browse backup.BrowseSession
	Key    backup.ItemKey
	Item   backup.Item
	WebURL string
}

// A GranularChange is one item of a session's delta: Remove is set, or Add.
type GranularChange struct {
	Add    NewGranular
	Remove backup.ItemKey
}

// A GranularResult is what became of one GranularChange: the artifact added or
// removed, or why not.
type GranularResult struct {
	Artifact backup.GranularArtifact
	Err      *backup.Error
}

// CreateGranularSession makes a restore session, a draft, of files and
// folders. It makes all or nothing: DuplicateArtifactInList for one that is
// named twice, InvalidArtifactRequest for those of several owners.
func (c *Catalog) CreateGranularSession(ctx context.Context, tenant backup.TenantID, workload backup.Workload, items []NewGranular, by backup.Stamp) (backup.Session, error) {
	by = asStored(by)
	s := backup.Session{
		ID: backup.NewID[backup.SessionID](), Tenant: tenant, Workload: workload, JobType: backup.RestoreGranular,
		Status: backup.SessionDraft, Created: by, Modified: by,
	}
	s.Counts.Total = len(items)
	changes := make([]GranularChange, len(items))
	for i, n := range items {
		changes[i].Add = n
	}
	err := c.tx(ctx, tenant, func(tx *database.Tx) error {
		_, d, err := c.changeGranular(ctx, tx, &s, changes, by)
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

// PatchGranular is PatchSession for files and folders.
func (c *Catalog) PatchGranular(ctx context.Context, tenant backup.TenantID, id backup.SessionID, changes []GranularChange, by backup.Stamp) (backup.Session, []GranularResult, error) {
	by = asStored(by)
	var s backup.Session
	var results []GranularResult
	err := c.tx(ctx, tenant, func(tx *database.Tx) (err error) {
		if s, err = c.readSession(ctx, tx, tenant, id); err != nil {
			return err
		}
		if err := s.Editable(); err != nil {
			return err
		}
		if err := s.Take(backup.RestoreGranular); err != nil {
			return err
		}
		var d *granularDelta
		if results, d, err = c.changeGranular(ctx, tx, &s, changes, by); err != nil {
			return err
		}
		failed, first := failures(results, func(r GranularResult) *backup.Error { return r.Err })
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

// A granularDelta is what a request does to a draft's files and folders.
type granularDelta struct {
	added   []backup.GranularArtifact
	removed []backup.ArtifactID
}

// audited says in the audit log whose backups are to be restored: what, into a new folder
// of the same drive.
func (d *granularDelta) audited(ctx context.Context) {
	for _, a := range d.added {
		AuditedUnits(ctx, a.Point.Unit)
		auditedItem(ctx, a.Name)
		auditedTo(ctx, backup.DestinationNew)
	}
}

// changeGranular works out what changes do to s; nothing is written yet.
func (c *Catalog) changeGranular(ctx context.Context, tx *database.Tx, s *backup.Session, changes []GranularChange, by backup.Stamp) ([]GranularResult, *granularDelta, error) {
	rows, err := tx.QueryContext(ctx, `SELECT `+granularColumns+` FROM granular_artifact g WHERE g.session = $1`, string(s.ID))
	held, err := collect(rows, err, scanGranular)
	if err != nil {
		return nil, nil, fmt.Errorf("read artifacts: %w", err)
	}
	byKey := map[backup.ItemKey]backup.GranularArtifact{}
	for _, a := range held {
		byKey[a.Key] = a
	}
	d := &granularDelta{}
	results := make([]GranularResult, len(changes))
	for i, ch := range changes {
		if ch.Remove == "" {
			continue
		}
		a, ok := byKey[ch.Remove]
		if !ok {
			results[i].Err = notInSession()
			continue
		}
		delete(byKey, a.Key)
		d.removed = append(d.removed, a.ID)
		results[i].Artifact = a
	}
	var owner backup.SubjectID
	names := map[string]bool{}
	for _, a := range byKey {
		owner = a.Owner
		names[foldName(a.Name)] = true
	}
	listed := map[backup.ItemKey]bool{}
	for i, ch := range changes {
		if ch.Remove != "" {
			continue
		}
		n := ch.Add
		if owner != "" && owner != n.Browse.Owner {
			return nil, nil, backup.Fail(backup.InvalidArtifactRequest, "A session restores files and folders of one owner. Make a session for each owner.").On("browseSessionId")
		}
		owner = n.Browse.Owner
		if err := n.Browse.Point.Restorable(); err != nil {
			return nil, nil, err
		}
		if listed[n.Key] {
			return nil, nil, backup.Fail(backup.DuplicateArtifactInList, "The same file or folder is named twice. Name each once; nothing was changed.").On(string(n.Key))
		}
		listed[n.Key] = true
		if _, ok := byKey[n.Key]; ok {
			results[i].Err = backup.Fail(backup.DuplicateArtifactRestore, "The session restores this file or folder already.").On("id")
			continue
		}
		a := backup.GranularArtifact{
			ID: backup.NewID[backup.ArtifactID](), Session: s.ID, Tenant: s.Tenant, Browse: n.Browse.ID, Key: n.Key, Item: n.Item.ID,
			Name: freeName(n.Item.Name, names), Owner: owner, Point: n.Browse.Point, WebURL: n.WebURL,
			Status: backup.ArtifactAdded, Created: by.At.Add(time.Duration(len(d.added)) * time.Microsecond),
		}
		d.added = append(d.added, a)
		results[i].Artifact = a
	}
	return results, d, nil
}

// foldName returns the form under which a drive takes two names for the same:
// neither case nor the way in which accents are written makes them two.
func foldName(name string) string { return strings.ToLower(norm.NFC.String(name)) }

// freeName returns name, or one like it that is not among names, to which it
// is added.
func freeName(name string, names map[string]bool) string {
	free := name
	ext := path.Ext(name)
	for n := 1; names[foldName(free)]; n++ {
		free = fmt.Sprintf("%s (%d)%s", strings.TrimSuffix(name, ext), n, ext)
	}
	names[foldName(free)] = true
	return free
}

func (d *granularDelta) write(ctx context.Context, tx *database.Tx) error {
	if len(d.removed) > 0 {
		_, err := tx.ExecContext(ctx, `DELETE FROM granular_artifact WHERE id IN (SELECT e.value FROM `+tx.Dialect().JSONEach("$1")+` AS e)`,
			jsonList(d.removed))
		if err != nil {
			return fmt.Errorf("delete artifacts: %w", err)
		}
	}
	for _, a := range d.added { // 50 at most
		_, err := tx.ExecContext(ctx, `
			INSERT INTO granular_artifact (id, tenant, session, browse, item_key, item, name, owner, point, unit, drive, at, tree, web_url,
				status, created, started, completed, restored_key, restored_path, restored_web_url)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 'added', $15, 0, 0, '', '', '')`,
			string(a.ID), string(a.Tenant), string(a.Session), string(a.Browse), string(a.Key), string(a.Item), a.Name, string(a.Owner),
			string(a.Point.ID), string(a.Point.Unit), string(a.Point.Drive), database.Micros(a.Point.At), a.Point.Tree, a.WebURL, database.Micros(a.Created))
		if err != nil {
			return fmt.Errorf("insert artifact: %w", err)
		}
	}
	return nil
}

var granularColumns = `g.id, g.tenant, g.session, g.browse, g.item_key, g.item, g.name, g.owner, g.point, g.tenant, g.unit, g.drive, g.at, g.tree,
	g.web_url, g.status, g.problem, g.created, g.started, g.completed, g.restored_key, g.restored_path, g.restored_web_url,
	` + pointNow("g") + `, g.items_failed, g.items_of`

func scanGranular(r scanner) (a backup.GranularArtifact, err error) {
	failed := 0
	return a, r.Scan(&a.ID, &a.Tenant, &a.Session, &a.Browse, &a.Key, &a.Item, &a.Name, &a.Owner, &a.Point.ID, &a.Point.Tenant, &a.Point.Unit,
		&a.Point.Drive, micros{&a.Point.At}, &a.Point.Tree, &a.WebURL, &a.Status, fromJSON{&a.Problem}, micros{&a.Created}, micros{&a.Started},
		micros{&a.Finished}, &a.RestoredKey, &a.RestoredPath, &a.RestoredWebURL,
		micros{&a.Point.Verified}, &a.Point.Lost, &failed, shortfall{&a.Short, &failed})
}

// GranularArtifacts lists a session's files and folders. RestoreSessionNotFound.
func (c *Catalog) GranularArtifacts(ctx context.Context, tenant backup.TenantID, session backup.SessionID, page Page) (List[backup.GranularArtifact], error) {
	if _, err := c.Session(ctx, tenant, session); err != nil {
		return List[backup.GranularArtifact]{}, err
	}
	q := query{columns: granularColumns, table: "granular_artifact g", tenant: tenant, scope: ofParent, time: "g.created", id: "g.id",
		within: []equal{{"g.session", string(session)}}, indexes: []index{{"granular_artifact_page", []string{"g.session", "g.created", "g.id"}}}}
	l, err := list(ctx, c, q, page, scanGranular)
	if err != nil {
		return l, fmt.Errorf("list granular artifacts: %w", err)
	}
	return l, nil
}

// GranularArtifact returns a session's file or folder by its key.
// RestoreSessionNotFound, ItemNotFound.
func (c *Catalog) GranularArtifact(ctx context.Context, tenant backup.TenantID, session backup.SessionID, k backup.ItemKey) (backup.GranularArtifact, error) {
	if _, err := c.Session(ctx, tenant, session); err != nil {
		return backup.GranularArtifact{}, err
	}
	return c.granular(ctx, `g.tenant = $1 AND g.session = $2 AND g.item_key = $3`, string(tenant), string(session), string(k))
}

// GranularForWork returns the file or folder that a restoreItem job names by
// its key, or ItemNotFound. One that cannot be restored, because its browse
// session was over when the restore was asked for or because its point is lost,
// has its Problem.
func (c *Catalog) GranularForWork(ctx context.Context, tenant backup.TenantID, id backup.ArtifactID) (backup.GranularArtifact, error) {
	a, err := c.granular(ctx, `g.tenant = $1 AND g.id = $2`, string(tenant), string(id))
	if lost, ok := errors.AsType[*backup.Error](a.Point.Restorable()); ok && a.Problem == nil {
		a.Problem = &lost.Problem
	}
	return a, err
}

func (c *Catalog) granular(ctx context.Context, where string, args ...any) (backup.GranularArtifact, error) {
	a, err := scanGranular(c.db.Read().QueryRowContext(ctx, `SELECT `+granularColumns+` FROM granular_artifact g WHERE `+where, args...))
	if errors.Is(err, sql.ErrNoRows) {
		return a, artifactNotFound()
	}
	if err != nil {
		return a, fmt.Errorf("read granular artifact: %w", err)
	}
	return a, nil
}

// activateGranular schedules a session's files and folders. Those whose browse
// session is over have their problem from now on, with which they will end.
func (c *Catalog) activateGranular(ctx context.Context, tx *database.Tx, s *backup.Session) error {
	err := c.queue.EnqueueSelect(ctx, tx, jobs.RestoreItem, s.Tenant, c.now(),
		`SELECT g.id FROM granular_artifact g WHERE g.session = $1`, string(s.ID))
	if err != nil {
		return err
	}
	lapsed := backup.Problem{Code: backup.InvalidRestoreTime,
		Message: "The browse session had ended when the restore was asked for, so nothing was restored. Create another and choose the file or folder there."}
	_, err = tx.ExecContext(ctx, `
		UPDATE granular_artifact SET status = 'scheduled', problem = CASE
			WHEN EXISTS (SELECT 1 FROM browse_session b WHERE b.id = granular_artifact.browse AND b.expires > $2) THEN NULL ELSE CAST($3 AS TEXT) END
		WHERE session = $1`, string(s.ID), database.Micros(c.now()), toJSON(lapsed))
	if err != nil {
		return fmt.Errorf("schedule granular artifacts: %w", err)
	}
	return nil
}

// StartGranular notes that the restore of a file or folder has begun; it may
// be called again when it is begun anew. jobs.ErrLost. On one that is finished
// it does nothing. It fails with ErrBusy as long as the drive is being restored
// in place.
func (c *Catalog) StartGranular(ctx context.Context, j *jobs.Job, id backup.ArtifactID) error {
	err := c.tx(ctx, j.Tenant, func(tx *database.Tx) error {
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		var busy bool
		err := tx.QueryRowContext(ctx, `
			SELECT EXISTS (
				SELECT 1 FROM granular_artifact g JOIN restore_artifact o ON o.unit = g.unit AND o.status = 'inProgress' AND o.destination = 'inPlace'
				WHERE g.tenant = $1 AND g.id = $2 AND g.status = 'scheduled')`, string(j.Tenant), string(id)).Scan(&busy)
		if err != nil {
			return fmt.Errorf("look for a restore of the drive: %w", err)
		}
		if busy {
			return ErrBusy
		}
		n, err := affected(tx.ExecContext(ctx, `
			UPDATE granular_artifact SET status = 'inProgress', started = CASE WHEN started = 0 THEN $3 ELSE started END
			WHERE tenant = $1 AND id = $2 AND status IN ('scheduled', 'inProgress')`,
			string(j.Tenant), string(id), database.Micros(c.now())))
		if err != nil || n == 0 {
			return err
		}
		_, err = tx.ExecContext(ctx, `
			UPDATE restore_session SET status = 'active'
			WHERE id = (SELECT session FROM granular_artifact WHERE id = $1) AND status = 'activating'`, string(id))
		return err
	})
	if err != nil {
		return fmt.Errorf("start granular artifact %s: %w", id, err)
	}
	return nil
}

// ReserveFolder notes that a session restores into the folder of that name in
// a drive's root, and returns the name that is noted: another, if the session
// has one there already, or "" if the name is another session's. jobs.ErrLost.
func (c *Catalog) ReserveFolder(ctx context.Context, j *jobs.Job, session backup.SessionID, drive backup.DriveID, name string) (string, error) {
	var noted string
	err := c.db.Tx(ctx, func(tx *database.Tx) error {
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		if name != "" {
			_, err := tx.ExecContext(ctx, `INSERT INTO restore_folder (tenant, drive, name, session) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
				string(j.Tenant), string(drive), name, string(session))
			if err != nil {
				return fmt.Errorf("insert folder: %w", err)
			}
		}
		err := tx.QueryRowContext(ctx, `SELECT name FROM restore_folder WHERE session = $1 AND drive = $2`, string(session), string(drive)).Scan(&noted)
		if errors.Is(err, sql.ErrNoRows) {
			noted, err = "", nil
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("reserve a folder for session %s: %w", session, err)
	}
	return noted, nil
}

// RestoredItem says what a file or folder was restored as.
type RestoredItem struct {
	Key          backup.ItemKey
	Path, WebURL string
}

// NoteGranular records where a file or folder is being restored to, once anything
// of it is there. jobs.ErrLost.
func (c *Catalog) NoteGranular(ctx context.Context, j *jobs.Job, id backup.ArtifactID, r RestoredItem) error {
	err := c.db.Tx(ctx, func(tx *database.Tx) error {
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `
			UPDATE granular_artifact SET restored_key = $3, restored_path = $4, restored_web_url = $5
			WHERE tenant = $1 AND id = $2 AND status = 'inProgress'`, string(j.Tenant), string(id), string(r.Key), r.Path, r.WebURL)
		return err
	})
	if err != nil {
		return fmt.Errorf("note the place of granular artifact %s: %w", id, err)
	}
	return nil
}

// FinishGranular is FinishArtifact for a file or folder. Once the last has
// ended, the session's error names each that failed or has remarks: the
// artifacts have no room for their own.
func (c *Catalog) FinishGranular(ctx context.Context, j *jobs.Job, id backup.ArtifactID, r RestoredItem, problem *backup.Problem) error {
	err := c.db.Tx(ctx, func(tx *database.Tx) error {
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		var session backup.SessionID
		itemsFailed, itemsOf := asColumns(problem)
		err := tx.QueryRowContext(ctx, `
			UPDATE granular_artifact SET status = $3, problem = $4, completed = $5, restored_key = $6, restored_path = $7, restored_web_url = $8,
				items_failed = $9, items_of = $10
			WHERE tenant = $1 AND id = $2 AND status IN ('scheduled', 'inProgress')
			RETURNING session`,
			string(j.Tenant), string(id), string(backup.Ended(problem)), problemJSON(problem), database.Micros(c.now()),
			string(r.Key), r.Path, r.WebURL, itemsFailed, itemsOf).Scan(&session)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("update artifact: %w", err)
		}
		end, err := c.countEnd(ctx, tx, j.Tenant, session, problem)
		if err != nil || !end.Final() {
			return err
		}
		return explainSession(ctx, tx, session)
	})
	if err != nil {
		return fmt.Errorf("finish granular artifact %s: %w", id, err)
	}
	return nil
}

// maxSessionDetails is how many details a session's error has at most.
const maxSessionDetails = 500

// explainSession writes into a session's error which of its files and folders
// failed or have remarks, and why. What lies below a folder is named by its
// path.
func explainSession(ctx context.Context, tx *database.Tx, session backup.SessionID) error {
	rows, err := tx.QueryContext(ctx, `
		SELECT `+granularColumns+` FROM granular_artifact g WHERE g.session = $1 AND g.problem IS NOT NULL
		ORDER BY CASE g.status WHEN 'failed' THEN 0 ELSE 1 END, g.created, g.id`, string(session))
	told, err := collect(rows, err, scanGranular)
	if err != nil {
		return fmt.Errorf("read what became of artifacts: %w", err)
	}
	if len(told) == 0 {
		return nil
	}
	failed, cancelled := 0, 0
	var p backup.Problem
	for _, a := range told {
		if a.Problem.Code == backup.RestoreCancelled {
			cancelled++
		}
		if a.Status == backup.ArtifactFailed {
			failed++
		}
		p.Details = append(p.Details, backup.Detail{Code: a.Problem.Code, Message: a.Problem.Message, Target: string(a.Key)})
		p.Details = append(p.Details, a.Problem.Details...)
	}
	p.Details = p.Details[:min(len(p.Details), maxSessionDetails)]
	p.Code, p.Message = backup.RestoredWithRemarks, "The session's files and folders were restored. The details say what to know of some of them."
	if failed > 0 {
		p.Code = backup.ArtifactCannotBeRestored
		p.Message = fmt.Sprintf("%d of the session's files and folders could not be restored as they were. The details name each by its id and say why.", failed)
	}
	if cancelled > 0 {
		p.Code = backup.RestoreCancelled
		p.Message = fmt.Sprintf("The restore was cancelled before %d of its files and folders were restored as they were. The details name each by its id and say how far it came.", failed)
	}
	_, err = tx.ExecContext(ctx, `UPDATE restore_session SET problem = $2 WHERE id = $1`, string(session), toJSON(p))
	return err
}
