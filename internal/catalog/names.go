package catalog

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// nameHistory is the index of the names in drives and libraries. It has names only, and
// from when until when: what content an item had, and in which folder it was, the vault
// tells of the few that are found. So nothing is written where contents change, and one
// row where a folder is renamed, however much is in it.
var nameHistory = history{index: "name_index", items: "name_item", place: "place", key: "name, item"}

const (
	// nameBatch is how many names are written in a transaction.
	nameBatch = 1000
	// fewNames is how many may be written in the one that commits their point.
	fewNames = 200
	// maxName is how much is kept of a name, in bytes.
	maxName = 1000
	// findTime is how long a name may be looked for. A million names are gone through
	// in a part of a second.
	findTime = 30 * time.Second
)

// A NameStage says of what drive, or library of a site, the changes of names are written.
type NameStage struct {
	Unit  backup.UnitID
	Drive backup.DriveID
	At    time.Time // of the point that the run will commit
	Tree  string    // of the drive in it; "" where it has none
	// Alone says that the point has no other drive: a few names need not be written
	// ahead of it.
	Alone bool
	// Anew says that the changes are all that there were, from the point of the time
	// Since on: what was known is forgotten.
	Anew  bool
	Since time.Time
}

// A NameChange says that an item has a name, or another name, or none any more, from a
// point on. "" is no name.
type NameChange struct {
	At       time.Time // the point's
	Item     backup.ItemID
	From, To string
}

// A NamedTree says of which tree of a drive the index of names is.
type NamedTree struct {
	Drive  backup.DriveID
	Tree   string
	staged int64 // as its names were staged; 0 where they were not
	few    *few  // what is written with the point instead; nil for nothing
}

// A few names are written with the point that they are of.
type few struct {
	NameStage
	was     indexed // the index as it was found, with nothing staged in it
	changes []NameChange
}

// StageNames writes which names changed in a drive into the index, ahead of the point
// that a run is about to commit: the Commit whose Names have what it returns makes it
// count. Until then nobody finds any of it, and a later StageNames takes it back. A few
// changes of a drive that is alone are not written ahead, but in that Commit. The changes
// come in the order of their points, those of an item once for each. jobs.ErrLost, and what
// changes fails with.
func (c *Catalog) StageNames(ctx context.Context, j *jobs.Job, s NameStage, changes iter.Seq2[NameChange, error]) (of NamedTree, err error) {
	var x indexed
	var batch []NameChange
	put := func(tx *database.Tx, x indexed) error { return writeNames(ctx, tx, x.place, s.At, x.staged, batch) }
	write := func() (err error) {
		wrote := len(batch) == 0 && !s.Anew
		if x.place == 0 && !wrote {
			x, wrote, err = nameHistory.begin(ctx, c, j, indexing{unit: s.Unit, drive: s.Drive, at: s.At, anew: s.Anew, since: s.since()}, put)
		}
		if !wrote && len(batch) > 0 && err == nil {
			err = c.db.Tx(ctx, func(tx *database.Tx) error {
				if err := j.Hold(ctx, tx); err != nil {
					return err
				}
				if err := nameHistory.hold(ctx, tx, x); err != nil {
					return err
				}
				return put(tx, x)
			})
		}
		batch = batch[:0]
		return err
	}
	for change, failed := range changes {
		if err == nil {
			err = failed
		}
		if err == nil && len(batch) > 0 && (len(batch) == nameBatch || !batch[0].At.Equal(change.At)) {
			err = write()
		}
		if err != nil {
			break
		}
		change.From, change.To = nameKey(change.From), nameKey(change.To)
		if change.From != change.To {
			batch = append(batch, change)
		}
	}
	of = NamedTree{Drive: s.Drive, Tree: s.Tree}
	if err == nil && x.place == 0 && s.Alone && len(batch) <= fewNames && (s.Anew || len(batch) > 0) {
		var was indexed
		was, err = nameHistory.read(ctx, c.db.Read(), j.Tenant, s.Unit, s.Drive)
		if err == nil && was.staged == 0 && s.Anew == (was.place == 0) {
			of.few = &few{s, was, batch}
			return of, nil
		}
	}
	if err == nil {
		err = write()
	}
	if err != nil {
		return of, fmt.Errorf("write the index of names of drive %s: %w", s.Drive, err)
	}
	of.staged = x.staged
	return of, nil
}

// since is the time that the index goes back to, if it is made anew.
func (s NameStage) since() int64 {
	if s.Since.IsZero() {
		return notYet
	}
	return database.Micros(s.Since)
}

// commit writes a few names with their point. Where the index is not what it was, another
// run has begun to write it: it is made anew by the next.
func (f *few) commit(ctx context.Context, tx *database.Tx, p backup.Point) error {
	at, place := database.Micros(f.At), f.was.place
	if at <= f.was.at {
		at = f.was.at + 1 // the clock was put back
	}
	var n int64
	var err error
	if place == 0 {
		place = rand.Int64N(1<<48) + 1
		n, err = affected(tx.ExecContext(ctx, `
			INSERT INTO name_index (place, unit, drive, tenant, tree, since, at, staged) VALUES ($1, $2, $3, $4, $5, $6, $7, 0) ON CONFLICT DO NOTHING`,
			place, string(p.Unit), string(f.Drive), string(p.Tenant), f.Tree, min(f.since(), at), at))
	} else {
		n, err = affected(tx.ExecContext(ctx, `UPDATE name_index SET tree = $2, at = $3 WHERE place = $1 AND tree = $4 AND at = $5 AND staged = 0`,
			place, f.Tree, at, f.was.tree, f.was.at))
	}
	switch {
	case err != nil:
		return err
	case n == 0:
		_, err = tx.ExecContext(ctx, `UPDATE name_index SET tree = '' WHERE unit = $1 AND drive = $2 AND tenant = $3`, string(p.Unit), string(f.Drive), string(p.Tenant))
		return err
	}
	return writeNames(ctx, tx, place, f.At, at, f.changes)
}

// NamedDrives returns the drives, and libraries, of a unit whose names are indexed.
func (c *Catalog) NamedDrives(ctx context.Context, tenant backup.TenantID, unit backup.UnitID) ([]backup.DriveID, error) {
	rows, err := c.db.Read().QueryContext(ctx, `SELECT drive FROM name_index WHERE unit = $1 AND staged = 0 AND tenant || '' = $2`, string(unit), string(tenant))
	all, err := collect(rows, err, func(r scanner) (d backup.DriveID, err error) { return d, r.Scan(&d) })
	if err != nil {
		return nil, fmt.Errorf("list what is indexed of unit %s: %w", unit, err)
	}
	return all, nil
}

// nameKey is a name as it is looked for.
func nameKey(name string) string { return foldName(bounded(name, maxName)) }

// writeNames writes what changed with a point: the one of the time run, which the index has
// under the time as, or one before.
func writeNames(ctx context.Context, tx *database.Tx, place int64, run time.Time, as int64, changes []NameChange) error {
	if len(changes) == 0 {
		return nil
	}
	at := as
	if !changes[0].At.Equal(run) {
		at = min(database.Micros(changes[0].At), as)
	}
	var over, fresh [][2]string
	for _, c := range changes {
		if c.From != "" {
			over = append(over, [2]string{c.From, string(c.Item)})
		}
		if c.To != "" {
			fresh = append(fresh, [2]string{c.To, string(c.Item)})
		}
	}
	if len(over) > 0 {
		_, err := tx.ExecContext(ctx, `
			UPDATE name_item SET until = $3 WHERE (place, name, item, since) IN (
				SELECT n.place, n.name, n.item, n.since FROM `+tx.Dialect().JSONRows("$2")+` AS e CROSS JOIN name_item n
				WHERE n.place = $1 AND n.name = e.value->>0 AND n.item = e.value->>1 AND n.until = 9223372036854775807)`, place, jsonList(over), at)
		if err != nil {
			return fmt.Errorf("end names: %w", err)
		}
	}
	if len(fresh) > 0 {
		_, err := tx.ExecContext(ctx, `
			INSERT INTO name_item (place, name, item, since, until)
			SELECT CAST($1 AS BIGINT), e.value->>0, e.value->>1, CAST($3 AS BIGINT), 9223372036854775807 FROM `+tx.Dialect().JSONRows("$2")+` AS e`, place, jsonList(fresh), at)
		if err != nil {
			return fmt.Errorf("insert names: %w", err)
		}
	}
	return nil
}

// commitNames has the index of names be of what a point holds.
func commitNames(ctx context.Context, tx *database.Tx, p backup.Point, names []NamedTree) error {
	for _, n := range names {
		var err error
		switch {
		case n.few != nil:
			err = n.few.commit(ctx, tx, p)
		case n.staged != 0:
			err = nameHistory.commit(ctx, tx, p, n.Drive, n.Tree, n.staged)
		default:
			_, err = tx.ExecContext(ctx, `
				UPDATE name_index SET tree = $4, at = CASE WHEN staged = 0 AND at < $5 THEN $5 ELSE at END WHERE unit = $1 AND drive = $2 AND tenant = $3`,
				string(p.Unit), string(n.Drive), string(p.Tenant), n.Tree, database.Micros(p.At))
		}
		if err != nil {
			return fmt.Errorf("commit the index of names: %w", err)
		}
	}
	return nil
}

// A PointTree is the tree of a point.
type PointTree struct {
	At   time.Time
	Tree string
}

// PointTrees lists the trees of the points that are kept under a drive, the oldest
// first, but for those that are lost. Of points that follow each other without a change
// it has the first.
func (c *Catalog) PointTrees(ctx context.Context, tenant backup.TenantID, unit backup.UnitID, drive backup.DriveID) iter.Seq2[PointTree, error] {
	return func(yield func(PointTree, error) bool) {
		const part = 200
		for from, id := int64(-1), ""; ; {
			type row struct {
				PointTree
				id string
			}
			rows, err := c.db.Read().QueryContext(ctx, `
				SELECT r.at, r.id, r.tree FROM restore_point r WHERE r.unit = $1 AND r.at >= $4 AND (r.at > $4 OR r.id > $5)
					AND r.tenant || '' = $2 AND r.drive = $3 AND r.lost = 0 ORDER BY r.at, r.id LIMIT $6`,
				string(unit), string(tenant), string(drive), from, id, part)
			all, err := collect(rows, err, func(r scanner) (p row, err error) { return p, r.Scan(micros{&p.At}, &p.id, &p.Tree) })
			if err != nil {
				yield(PointTree{}, fmt.Errorf("list the points of drive %s: %w", drive, err))
				return
			}
			for _, p := range all {
				if !yield(p.PointTree, nil) {
					return
				}
				from, id = database.Micros(p.At), p.id
			}
			if len(all) < part {
				return
			}
		}
	}
}

// A Found is an item that was found by its name, or by its subject.
type Found struct {
	Item        backup.ItemID
	Name        string           // in lower case
	Mail        *backup.MailItem // of a mailbox: what there is to know of it
	First, Last backup.Point     // of those that are left, the oldest and the newest that hold it by that name
	Browsable   *backup.Point    // the newest of those that can be looked into, if one can
	Newest      bool             // the newest point there is holds it
}

// A Finding is a page of what was found.
type Finding struct {
	List[Found]
	// Unsearched says that there are points that the index does not have, or not yet.
	Unsearched bool
}

// Find finds what a unit's points hold, or held, by its name: where it has no * and no
// ?, all names that contain it; else those that it describes as a whole, * being any
// text and ? any sign. Case never counts. Of a mailbox it finds subjects, by their words.
// It is in the order of names, drive by drive. InvalidRequest for what cannot be looked
// for; an unknown unit holds nothing.
func (c *Catalog) Find(ctx context.Context, tenant backup.TenantID, u backup.Unit, name string, p Page) (f Finding, err error) {
	bound, cancel := context.WithTimeout(ctx, findTime)
	defer cancel()
	if p.Limit <= 0 {
		p.Limit = 100
	}
	if u.Workload == backup.Exchange {
		f, err = c.findMail(bound, tenant, u, name, p)
	} else {
		f, err = c.findNames(bound, tenant, u, name, p)
	}
	if bound.Err() != nil && ctx.Err() == nil {
		return f, backup.Fail(backup.InvalidRequest, "The search took longer than 30 seconds and was stopped. Name more of what you look for, or try again when the server has less to do.").On("name")
	}
	if err != nil {
		return f, fmt.Errorf("find by name in unit %s: %w", u.ID, err)
	}
	return f, nil
}

// A namePlace is where a page of what was found ends.
type namePlace struct {
	Drive, Name, Item string
	Since             int64
}

func (c *Catalog) findNames(ctx context.Context, tenant backup.TenantID, u backup.Unit, name string, p Page) (f Finding, err error) {
	match, args, err := nameCondition(c.db.Dialect(), name, 4)
	if err != nil {
		return f, err
	}
	var after namePlace
	if p.After != "" {
		if err := json.Unmarshal([]byte(p.After), &after); err != nil {
			return f, err
		}
	}
	state, err := c.lastDrive(ctx, tenant, u)
	if err != nil {
		return f, err
	}
	trees := map[backup.DriveID][2]string{state.Drive: {state.Named, state.Tree}} // as indexed, and as they are
	if u.Workload == backup.SharePoint {
		clear(trees)
		for _, s := range state.Containers {
			if s.Kind == backup.Library {
				trees[s.Drive] = [2]string{s.Named, s.Tree}
			}
		}
		f.Unsearched = state.Tree != "" && len(state.Containers) == 0
	}
	for _, t := range trees {
		f.Unsearched = f.Unsearched || t[0] != t[1]
	}
	newest, err := c.pointOf(ctx, tenant, PointSearch{Units: []backup.UnitID{u.ID}})
	if err != nil || newest == nil {
		return f, err
	}
	type drive struct {
		indexed
		id backup.DriveID
	}
	rows, err := c.db.Read().QueryContext(ctx, `SELECT drive, place, tree, since, at, staged FROM name_index WHERE unit = $1 AND tenant || '' = $2`, string(u.ID), string(tenant))
	drives, err := collect(rows, err, func(r scanner) (d drive, err error) {
		return d, r.Scan(&d.id, &d.place, &d.tree, &d.since, &d.at, &d.staged)
	})
	if err != nil {
		return f, err
	}
	slices.SortFunc(drives, func(a, b drive) int { return strings.Compare(string(a.id), string(b.id)) })
	oldest, err := c.pointOf(ctx, tenant, PointSearch{Units: []backup.UnitID{u.ID}, Oldest: true})
	if err != nil || oldest == nil {
		return f, err
	}
	f.Unsearched = f.Unsearched || !slices.ContainsFunc(drives, func(d drive) bool { return d.since <= database.Micros(oldest.At) })
	for _, d := range drives {
		if string(d.id) < after.Drive {
			continue
		}
		of := PointSearch{Units: []backup.UnitID{u.ID}}
		if u.Workload != backup.SharePoint {
			of.Drive = d.id
		}
		is := trees[d.id]
		current := is[0] == is[1] && is[0] == d.tree
		from := after
		if string(d.id) != after.Drive {
			from = namePlace{Drive: string(d.id)}
		}
		known := map[[2]int64]*Found{} // by from when until when
		for more := true; more; {
			limit := p.Limit + 1 - len(f.Items)
			text, all := `SELECT n.name, n.item, n.since, n.until FROM name_item n WHERE n.place = $1 AND n.since <= $2 AND `+match, slices.Concat([]any{d.place, d.at, limit}, args)
			if from.Name != "" { // which costs something for each row
				i := len(all)
				text += fmt.Sprintf(` AND n.name >= $%d AND (n.name, n.item, n.since) > ($%[1]d, $%d, $%d)`, i+1, i+2, i+3)
				all = append(all, from.Name, from.Item, from.Since)
			}
			rows, err := c.db.Read().QueryContext(ctx, text+` ORDER BY n.name, n.item, n.since LIMIT $3`, all...)
			type row struct {
				namePlace
				until int64
			}
			hits, err := collect(rows, err, func(r scanner) (x row, err error) { return x, r.Scan(&x.Name, &x.Item, &x.Since, &x.until) })
			if err != nil {
				return f, err
			}
			more = len(hits) == limit
			for _, x := range hits {
				same, ok := known[[2]int64{x.Since, x.until}]
				if !ok {
					if same, err = c.seen(ctx, tenant, of, x.Since, x.until, d.indexed, current, newest); err != nil {
						return f, err
					}
					if len(known) < 1000 {
						known[[2]int64{x.Since, x.until}] = same
					}
				}
				if ok = same != nil; ok && len(f.Items) == p.Limit {
					f.Next = toJSON(from)
					return f, nil
				}
				if ok {
					found := *same
					found.Item, found.Name = backup.ItemID(x.Item), x.Name
					f.Items = append(f.Items, found)
				}
				from.Name, from.Item, from.Since = x.Name, x.Item, x.Since
			}
		}
	}
	return f, nil
}

// seen says which points hold what a row of a history is of; nil if none does that is
// left.
func (c *Catalog) seen(ctx context.Context, tenant backup.TenantID, of PointSearch, since, until int64, x indexed, current bool, newest *backup.Point) (*Found, error) {
	of.From = database.Time(since)
	switch {
	case until <= x.at:
		of.To = database.Time(until - 1)
	case !current:
		of.To = database.Time(x.at)
	}
	last, err := c.pointOf(ctx, tenant, of)
	if err != nil || last == nil {
		return nil, err
	}
	first := of
	first.Oldest = true
	one, err := c.pointOf(ctx, tenant, first)
	if err != nil || one == nil {
		return nil, err
	}
	f := &Found{First: *one, Last: *last, Newest: last.ID == newest.ID}
	if f.Browsable = last; last.Tags != backup.TagFastRestore {
		of.Tags = backup.TagFastRestore
		f.Browsable, err = c.pointOf(ctx, tenant, of)
	}
	return f, err
}

// pointOf is onePoint for one unit; nil if it has none.
func (c *Catalog) pointOf(ctx context.Context, tenant backup.TenantID, s PointSearch) (*backup.Point, error) {
	found, err := c.onePoint(ctx, c.db.Read(), tenant, s)
	if p, ok := found[s.Units[0]]; ok && err == nil {
		return &p, nil
	}
	return nil, err
}

// nameCondition returns a condition on n.name that is met where a name is looked for,
// and its parameters, the first of which has a number.
func nameCondition(d database.Dialect, name string, number int) (string, []any, error) {
	const most = 256
	wrong := func(message string) error { return backup.Fail(backup.InvalidRequest, message).On("name") }
	key := nameKey(name)
	switch {
	case strings.TrimSpace(key) == "":
		return "", nil, wrong("Say what to look for: a part of a name, or a whole one with * for any text and ? for any sign.")
	case len(name) > most:
		return "", nil, wrong("The name is longer than 256 bytes. Send a shorter one.")
	case strings.Count(key, "*") > 5:
		return "", nil, wrong("A name may have five * at most.")
	}
	param := func(i int) string { return fmt.Sprint("$", number+i) }
	if !strings.ContainsAny(key, "*?") {
		return d.Position("n.name", param(0)) + " > 0", []any{key}, nil
	}
	like := strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`, `*`, `%`, `?`, `_`).Replace(key)
	condition, args := `n.name LIKE `+param(0)+` ESCAPE '\'`, []any{like}
	if begin := key[:strings.IndexAny(key, "*?")]; begin != "" {
		// U+10FFFF is behind whatever may follow.
		condition += ` AND n.name >= ` + param(1) + ` AND n.name <= ` + param(2)
		args = append(args, begin, begin+"\U0010FFFF")
	}
	return condition, args, nil
}

func (c *Catalog) findMail(ctx context.Context, tenant backup.TenantID, u backup.Unit, text string, p Page) (f Finding, err error) {
	q := backup.MailQuery{Property: backup.MailSubject, Match: backup.MailWords, Text: text}
	if cut, begun := strings.CutSuffix(text, "*"); begun {
		q.Match, q.Text = backup.MailBegun, cut
	}
	if strings.TrimSpace(wordsOf(q.Text)) == "" {
		return f, backup.Fail(backup.InvalidRequest, "Say what to look for: one or more words of the subject; a * at the end lets the last go on.").On("name")
	}
	var after namePlace
	if p.After != "" {
		if err := json.Unmarshal([]byte(p.After), &after); err != nil {
			return f, err
		}
	}
	state, err := c.lastDrive(ctx, tenant, u)
	if err != nil {
		return f, err
	}
	x, err := mailHistory.read(ctx, c.db.Read(), tenant, u.ID, state.Drive)
	if err != nil {
		return f, err
	}
	of := PointSearch{Units: []backup.UnitID{u.ID}, Drive: state.Drive}
	newest, err := c.pointOf(ctx, tenant, of)
	if err != nil || newest == nil {
		return f, err
	}
	current := x.tree != "" && x.tree == state.Tree
	f.Unsearched = !current
	if !f.Unsearched {
		before := of
		before.Oldest = true
		oldest, err := c.pointOf(ctx, tenant, before)
		if err != nil {
			return f, err
		}
		f.Unsearched = oldest != nil && database.Micros(oldest.At) < x.since
	}
	cond, args := mailCondition(c.db.Dialect(), q, []any{x.place, x.at, after.Item, after.Since, p.Limit + 1})
	for {
		args[2], args[3], args[4] = after.Item, after.Since, p.Limit+1-len(f.Items)
		rows, err := c.db.Read().QueryContext(ctx, `
			SELECT m.item, m.since, m.until, m.folder, m.kind, m.subject, m.sender, m.at, m.size, m.attachment FROM mail_item m
			WHERE m.mailbox = $1 AND m.since <= $2 AND (m.item, m.since) > ($3, $4) AND `+cond+` ORDER BY m.item, m.since LIMIT $5`, args...)
		type row struct {
			backup.MailItem
			since, until int64
		}
		all, err := collect(rows, err, func(r scanner) (m row, err error) {
			return m, r.Scan(&m.ID, &m.since, &m.until, &m.Folder, &m.Kind, &m.Subject, &m.Sender.Name, micros{&m.At}, &m.Size, &m.Attachment)
		})
		if err != nil {
			return f, err
		}
		for _, m := range all {
			found, err := c.seen(ctx, tenant, of, m.since, m.until, x, current, newest)
			if err != nil {
				return f, err
			}
			if found != nil && len(f.Items) == p.Limit {
				f.Next = toJSON(after)
				return f, nil
			}
			if found != nil {
				found.Item, found.Mail = m.ID, &m.MailItem
				f.Items = append(f.Items, *found)
			}
			after.Item, after.Since = string(m.ID), m.since
		}
		if len(all) < args[4].(int) {
			return f, nil
		}
	}
}
