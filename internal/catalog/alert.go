package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// AlertTimes say how long things may be wrong until people are told.
type AlertTimes struct {
	RPO     time.Duration // after a newest point has become older than promised
	Failing time.Duration // since a unit's runs began to fail
	Unread  time.Duration // since an item could not be read
	Waiting time.Duration // since a job was due
}

const (
	// maxAlerted is how many things of one kind are counted.
	maxAlerted = 10_000
	// alertExamples is how many of them are named.
	alertExamples = 5
	// Resolved alerts and messages that have ended are kept so long.
	keepAlerts, keepMessages = 365 * 24 * time.Hour, 90 * 24 * time.Hour
)

// unitName is how people know a unit u with its owner d.
const unitName = `coalesce(nullif(d.mail, ''), nullif(d.address, ''), nullif(d.display_name, ''), u.subject)`

// Conditions tells what of the kinds that the catalog knows of stands in a tenant
// now. Each is counted and its first things are found by an index.
func (c *Catalog) Conditions(ctx context.Context, tenant backup.TenantID, times AlertTimes, kinds []jobs.Kind) (all []backup.Condition, err error) {
	now := c.now()
	since := func(d time.Duration) int64 { return database.Micros(now.Add(-d)) }
	withReason := func(r scanner) (e backup.AlertExample, err error) {
		var p backup.Problem
		err = r.Scan(&e.Name, micros{&e.Since}, fromJSON{&p})
		e.Text = p.Message
		return e, err
	}
	for _, look := range []struct {
		kind            backup.AlertKind
		count, examples string
		before          int64
		scan            func(scanner) (backup.AlertExample, error)
	}{
		{backup.AlertApprovalWaits, // the newest first, of which nobody was told yet
			`SELECT 1 FROM approval p WHERE p.tenant = $1 AND p.state = 'waiting' AND p.asked <= $2`,
			`SELECT p.what, p.asked, p.asked_by, p.expires FROM approval p WHERE p.tenant = $1 AND p.state = 'waiting' AND p.asked <= $2 ORDER BY p.asked DESC, p.id DESC LIMIT $3`,
			database.Micros(now), func(r scanner) (e backup.AlertExample, err error) {
				var by backup.IdentitySet
				var expires time.Time
				err = r.Scan(&e.Name, micros{&e.Since}, fromJSON{&by}, micros{&expires})
				e.Text = "Asked for by " + by.Who() + ". It can be approved or denied until " + expires.UTC().Format("2006-01-02 15:04 MST") + "."
				return e, err
			}},
		{backup.AlertVaultDamaged,
			`SELECT 1 FROM damage WHERE tenant = $1 AND healed = 0 AND found + 0 <= $2`,
			`SELECT coalesce(` + unitName + `, ''), x.path, x.found, x.reason FROM damage x LEFT JOIN unit u ON u.id = x.unit` + ownersOfUnits + `
				WHERE x.tenant = $1 AND x.healed = 0 AND x.found + 0 <= $2 ORDER BY x.tenant, x.drive, x.found, x.id LIMIT $3`,
			database.Micros(now), func(r scanner) (e backup.AlertExample, err error) {
				var owner, path string
				err = r.Scan(&owner, &path, micros{&e.Since}, &e.Text)
				if e.Name = path; owner != "" {
					e.Name = owner + ": " + path
				}
				return e, err
			}},
		{backup.AlertRPOMissed,
			`SELECT 1 FROM rpo WHERE tenant = $1 AND due < $2`,
			`SELECT ` + unitName + `, r.newest FROM rpo r JOIN unit u ON u.id = r.unit` + ownersOfUnits + ` WHERE r.tenant = $1 AND r.due < $2 ORDER BY r.due, r.unit LIMIT $3`,
			since(times.RPO), func(r scanner) (e backup.AlertExample, err error) {
				e.Text = "This is the newest restore point."
				return e, r.Scan(&e.Name, micros{&e.Since})
			}},
		{backup.AlertUnitsFailing,
			`SELECT 1 FROM unit u WHERE u.tenant = $1 AND u.problem IS NOT NULL AND u.failed_since > 0 AND u.failed_since < $2 AND u.policy <> ''`,
			`SELECT ` + unitName + `, u.failed_since, u.problem FROM unit u` + ownersOfUnits + `
				WHERE u.tenant = $1 AND u.problem IS NOT NULL AND u.failed_since > 0 AND u.failed_since < $2 AND u.policy <> '' ORDER BY u.failed_since, u.id LIMIT $3`,
			since(times.Failing), withReason},
		{backup.AlertItemsUnread,
			`SELECT 1 FROM unit u WHERE u.tenant = $1 AND u.problem IS NOT NULL AND u.unread_since > 0 AND u.unread_since < $2 AND u.policy <> ''`,
			`SELECT ` + unitName + `, u.unread_since, u.problem FROM unit u` + ownersOfUnits + `
				WHERE u.tenant = $1 AND u.problem IS NOT NULL AND u.unread_since > 0 AND u.unread_since < $2 AND u.policy <> '' ORDER BY u.unread_since, u.id LIMIT $3`,
			since(times.Unread), withReason},
	} {
		found := backup.Condition{Kind: look.kind}
		err := c.db.Read().QueryRowContext(ctx, `SELECT count(*) FROM (`+look.count+` LIMIT $3) AS c`, string(tenant), look.before, maxAlerted+1).Scan(&found.Count)
		if err != nil {
			return nil, fmt.Errorf("count for the alert %s: %w", look.kind, err)
		}
		if found.Count == 0 {
			continue
		}
		if found.More = found.Count > maxAlerted; found.More {
			found.Count = maxAlerted
		}
		rows, err := c.db.Read().QueryContext(ctx, look.examples, string(tenant), look.before, alertExamples)
		if found.Examples, err = collect(rows, err, look.scan); err != nil {
			return nil, fmt.Errorf("read for the alert %s: %w", look.kind, err)
		}
		all = append(all, found)
	}
	waits, err := c.JobsWaiting(ctx, []backup.TenantID{tenant}, kinds, now.Add(-times.Waiting))
	if err != nil {
		return nil, err
	}
	if waiting := waits[tenant]; len(waiting) > 0 {
		all = append(all, backup.Condition{Kind: backup.AlertWorkWaits, Count: int64(len(waiting)), Examples: waiting})
	}
	return all, nil
}

// JobsWaiting tells of which kinds jobs of each of the tenants are due since before a time,
// and since when; first backups may wait for long, and are not asked for. It is one
// statement, however many there are.
func (c *Catalog) JobsWaiting(ctx context.Context, tenants []backup.TenantID, kinds []jobs.Kind, before time.Time) (map[backup.TenantID][]backup.AlertExample, error) {
	// Mostly no tenant's jobs wait, which one look for each kind finds out.
	d := c.db.Dialect()
	rows, err := c.db.Read().QueryContext(ctx, `
		WITH late AS MATERIALIZED (
			SELECT e.value AS kind FROM `+d.JSONEach("$1")+` AS e
			WHERE (SELECT 1 FROM job WHERE kind = e.value AND patient = 0 AND run_at < $3 LIMIT 1) IS NOT NULL
		)
		SELECT w.tenant, w.kind, w.since FROM (
			SELECT e.value AS tenant, c.kind,
				(SELECT run_at FROM job WHERE kind = c.kind AND tenant = e.value AND patient = 0 AND run_at < $3 ORDER BY run_at LIMIT 1) AS since
			FROM late AS c CROSS JOIN `+d.JSONEach("$2")+` AS e
		) AS w WHERE w.since IS NOT NULL`,
		jsonList(kinds), jsonList(tenants), database.Micros(before))
	if err != nil {
		return nil, fmt.Errorf("look for jobs that wait: %w", err)
	}
	defer rows.Close()
	all := map[backup.TenantID][]backup.AlertExample{}
	for rows.Next() {
		e := backup.AlertExample{Text: "Jobs of this kind are due since then, and nobody does them."}
		var tenant backup.TenantID
		if err := rows.Scan(&tenant, &e.Name, micros{&e.Since}); err != nil {
			return nil, fmt.Errorf("look for jobs that wait: %w", err)
		}
		all[tenant] = append(all[tenant], e)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("look for jobs that wait: %w", err)
	}
	for _, of := range all {
		slices.SortFunc(of, func(a, b backup.AlertExample) int { return strings.Compare(a.Name, b.Name) })
	}
	return all, nil
}

const alertColumns = `a.id, a.tenant, a.kind, a.raised, a.resolved, a.absent, a.count, a.more, a.examples, a.told, a.tell_of`

func scanAlert(r scanner) (a backup.Alert, err error) {
	return a, r.Scan(&a.ID, &a.Tenant, &a.Kind, micros{&a.Raised}, micros{&a.Resolved}, micros{&a.Absent}, &a.Count, &a.More, fromJSON{&a.Examples}, micros{&a.Told}, &a.TellOf)
}

// An AlertNews is an alert of which people are to be told, and why.
type AlertNews struct {
	backup.Alert
	News backup.News
}

// KeepAlerts brings a tenant's alerts to what stands now of the kinds that were
// looked at; the others stay as they are. What people are to be told, as compose
// has it, is stored in the same transaction, with the jobs that send it.
// jobs.ErrLost.
func (c *Catalog) KeepAlerts(ctx context.Context, j *jobs.Job, looked []backup.AlertKind, standing []backup.Condition, compose func([]AlertNews) []backup.Message) error {
	err := c.db.Tx(ctx, func(tx *database.Tx) error {
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		now := asStored(backup.Stamp{At: c.now()}).At
		rows, err := tx.QueryContext(ctx, `SELECT `+alertColumns+` FROM alert a WHERE a.tenant = $1 AND a.resolved = 0`, string(j.Tenant))
		open, err := collect(rows, err, scanAlert)
		if err != nil {
			return err
		}
		var news []AlertNews
		for _, kind := range looked {
			i := slices.IndexFunc(standing, func(s backup.Condition) bool { return s.Kind == kind })
			k := slices.IndexFunc(open, func(a backup.Alert) bool { return a.Kind == kind })
			if i < 0 && k < 0 {
				continue
			}
			a := backup.Alert{ID: backup.NewID[backup.AlertID](), Tenant: j.Tenant, Kind: kind, Raised: now}
			if k >= 0 {
				a = open[k]
			}
			var seen *backup.Condition
			if i >= 0 {
				seen = &standing[i]
			}
			if why := a.See(seen, now); why != "" {
				news = append(news, AlertNews{a, why})
			}
			_, err := tx.ExecContext(ctx, `
				INSERT INTO alert (id, tenant, kind, raised, resolved, absent, count, more, examples, told, tell_of)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
				ON CONFLICT (id) DO UPDATE SET resolved = excluded.resolved, absent = excluded.absent, count = excluded.count, more = excluded.more,
					examples = excluded.examples, told = excluded.told, tell_of = excluded.tell_of`,
				string(a.ID), string(a.Tenant), string(a.Kind), database.Micros(a.Raised), database.Micros(a.Resolved), database.Micros(a.Absent),
				a.Count, bit(a.More), jsonList(a.Examples), database.Micros(a.Told), a.TellOf)
			if err != nil {
				return fmt.Errorf("write an alert: %w", err)
			}
		}
		for _, over := range []struct {
			text string
			age  time.Duration
		}{
			{`DELETE FROM alert WHERE tenant = $1 AND resolved > 0 AND resolved < $2`, keepAlerts},
			{`DELETE FROM message WHERE tenant = $1 AND ended > 0 AND ended < $2`, keepMessages},
		} {
			if _, err := tx.ExecContext(ctx, over.text, string(j.Tenant), database.Micros(now.Add(-over.age))); err != nil {
				return err
			}
		}
		return c.addMessages(ctx, tx, j.Tenant, compose(news))
	})
	if err != nil {
		return fmt.Errorf("keep alerts: %w", err)
	}
	return nil
}

// addMessages stores messages and has them be sent.
func (c *Catalog) addMessages(ctx context.Context, tx *database.Tx, tenant backup.TenantID, all []backup.Message) error {
	now := database.Micros(c.now())
	var specs []jobs.Spec
	for _, m := range all {
		_, err := tx.ExecContext(ctx, `
			INSERT INTO message (id, tenant, destination, recipient, body, created, due, tries, state, ended, problem)
			VALUES ($1, $2, $3, $4, $5, $6, $6, 0, 'waiting', 0, '')`,
			string(m.ID), string(tenant), m.Destination, m.Recipient, m.Body, now)
		if err != nil {
			return fmt.Errorf("write a message: %w", err)
		}
		specs = append(specs, jobs.Spec{Kind: jobs.Tell, Key: string(tenant) + "/" + m.Destination, Tenant: tenant, Args: m.Destination})
	}
	return c.queue.Enqueue(ctx, tx, specs...)
}

const messageColumns = `m.id, m.tenant, m.destination, m.recipient, m.body, m.created, m.due, m.tries, m.state, m.ended, m.problem`

func scanMessage(r scanner) (m backup.Message, err error) {
	return m, r.Scan(&m.ID, &m.Tenant, &m.Destination, &m.Recipient, &m.Body, micros{&m.Created}, micros{&m.Due}, &m.Tries, &m.State, micros{&m.Ended}, &m.Problem)
}

// WaitingMessages lists up to n messages to a destination that are not sent, those
// first that are to be tried first.
func (c *Catalog) WaitingMessages(ctx context.Context, tenant backup.TenantID, destination string, n int) ([]backup.Message, error) {
	rows, err := c.db.Read().QueryContext(ctx, `
		SELECT `+messageColumns+` FROM message m WHERE m.tenant = $1 AND m.destination = $2 AND m.state = 'waiting' ORDER BY m.due, m.id LIMIT $3`,
		string(tenant), destination, n)
	all, err := collect(rows, err, scanMessage)
	if err != nil {
		return nil, fmt.Errorf("list messages that wait: %w", err)
	}
	return all, nil
}

// SaveMessage stores how a message stands that waited. jobs.ErrLost.
func (c *Catalog) SaveMessage(ctx context.Context, j *jobs.Job, m backup.Message) error {
	err := c.db.Tx(ctx, func(tx *database.Tx) error {
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `
			UPDATE message SET due = $3, tries = $4, state = $5, ended = $6, problem = $7 WHERE id = $1 AND tenant = $2 AND state = 'waiting'`,
			string(m.ID), string(j.Tenant), database.Micros(m.Due), m.Tries, string(m.State), database.Micros(m.Ended), m.Problem)
		return err
	})
	if err != nil {
		return fmt.Errorf("store a message: %w", err)
	}
	return nil
}

// Alerts lists a tenant's alerts, the newest first: those that stand, or all.
func (c *Catalog) Alerts(ctx context.Context, tenant backup.TenantID, all bool, n int) ([]backup.Alert, error) {
	where := ` AND a.resolved = 0`
	if all {
		where = ``
	}
	rows, err := c.db.Read().QueryContext(ctx, `SELECT `+alertColumns+` FROM alert a WHERE a.tenant = $1`+where+` ORDER BY a.raised DESC, a.id DESC LIMIT $2`, string(tenant), n)
	list, err := collect(rows, err, scanAlert)
	if err != nil {
		return nil, fmt.Errorf("list alerts: %w", err)
	}
	return list, nil
}

// Messages lists a tenant's messages, the newest first.
func (c *Catalog) Messages(ctx context.Context, tenant backup.TenantID, n int) ([]backup.Message, error) {
	rows, err := c.db.Read().QueryContext(ctx, `SELECT `+messageColumns+` FROM message m WHERE m.tenant = $1 ORDER BY m.created DESC, m.id DESC LIMIT $2`, string(tenant), n)
	list, err := collect(rows, err, scanMessage)
	if err != nil {
		return nil, fmt.Errorf("list messages: %w", err)
	}
	return list, nil
}

// A Week is how a tenant stands, and what stood in the week before.
type Week struct {
	From, To  time.Time
	Protected int64 // units that are
	Others    int64 // units that are in a policy and are not protected, such as those that wait for their first point
	Failing   int64 // of all these
	Missed    int64 // whose newest point is older than promised
	Damage    int64 // open in the vault, at most ten thousand
	Bytes     int64 // in the newest points of those that are protected
	Before    int64 // Bytes of the last such report; -1 if there was none
	Alerts    []backup.Alert
}

// maxWeekAlerts is how many alerts a week names.
const maxWeekAlerts = 100

// KeepWeek stores the messages that compose makes of a tenant's last week, if none
// was told since a time; the first time there is nothing to tell. jobs.ErrLost.
func (c *Catalog) KeepWeek(ctx context.Context, j *jobs.Job, since time.Time, compose func(Week) []backup.Message) error {
	last, before, err := c.lastReport(ctx, j.Tenant)
	if err != nil {
		return err
	}
	first := last == 0
	if !first && last >= database.Micros(since) {
		return nil
	}
	w, err := c.week(ctx, j.Tenant, before)
	if err != nil {
		return err
	}
	err = c.db.Tx(ctx, func(tx *database.Tx) error {
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `
			INSERT INTO alert_report (tenant, last, bytes, units) VALUES ($1, $2, $3, $4)
			ON CONFLICT (tenant) DO UPDATE SET last = excluded.last, bytes = excluded.bytes, units = excluded.units`,
			string(j.Tenant), database.Micros(w.To), w.Bytes, w.Protected)
		if err != nil || first {
			return err
		}
		return c.addMessages(ctx, tx, j.Tenant, compose(w))
	})
	if err != nil {
		return fmt.Errorf("keep the week's report: %w", err)
	}
	return nil
}

// Week is the report of a tenant as it stands now. Nothing is kept of it.
func (c *Catalog) Week(ctx context.Context, tenant backup.TenantID) (Week, error) {
	_, before, err := c.lastReport(ctx, tenant)
	if err != nil {
		return Week{}, err
	}
	return c.week(ctx, tenant, before)
}

// lastReport is when a tenant had its last report, 0 if it had none, and what was
// protected then.
func (c *Catalog) lastReport(ctx context.Context, tenant backup.TenantID) (at, bytes int64, err error) {
	err = c.db.Read().QueryRowContext(ctx, `SELECT last, bytes FROM alert_report WHERE tenant = $1`, string(tenant)).Scan(&at, &bytes)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, 0, fmt.Errorf("look for the last report: %w", err)
	}
	return at, bytes, nil
}

// week reads how a tenant stands, where before was protected at its last report, 0 for
// what is not known. Once a week it may look at each unit.
func (c *Catalog) week(ctx context.Context, tenant backup.TenantID, before int64) (w Week, err error) {
	w.Before = before
	if before == 0 {
		w.Before = -1
	}
	w.To = asStored(backup.Stamp{At: c.now()}).At
	w.From = w.To.AddDate(0, 0, -7)
	db := c.db.Read()
	err = db.QueryRowContext(ctx, `
		SELECT CAST(coalesce(sum(CASE WHEN status = 'protected' THEN n ELSE 0 END), 0) AS BIGINT),
			CAST(coalesce(sum(CASE WHEN status <> 'protected' THEN n ELSE 0 END), 0) AS BIGINT),
			CAST(coalesce(sum(CASE WHEN failing = 1 THEN n ELSE 0 END), 0) AS BIGINT)
		FROM unit_count WHERE tenant = $1 AND policy <> ''`, string(tenant)).Scan(&w.Protected, &w.Others, &w.Failing)
	if err != nil {
		return w, fmt.Errorf("count units: %w", err)
	}
	r, err := c.RPO(ctx, tenant, 0)
	if err != nil {
		return w, err
	}
	h, err := c.Health(ctx, tenant)
	if err != nil {
		return w, err
	}
	w.Missed, w.Damage = r.Missed, h.Damage
	err = db.QueryRowContext(ctx, `
		SELECT CAST(coalesce(sum((SELECT r.bytes FROM restore_point r WHERE r.unit = x.unit ORDER BY r.at DESC, r.id DESC LIMIT 1)), 0) AS BIGINT)
		FROM rpo x WHERE x.tenant = $1`, string(tenant)).Scan(&w.Bytes)
	if err != nil {
		return w, fmt.Errorf("sum up what is protected: %w", err)
	}
	rows, err := db.QueryContext(ctx, `
		SELECT `+alertColumns+` FROM alert a WHERE a.tenant = $1 AND a.resolved = 0
		UNION ALL SELECT `+alertColumns+` FROM alert a WHERE a.tenant = $1 AND a.resolved > 0 AND a.resolved > $2 LIMIT $3`,
		string(tenant), database.Micros(w.From), maxWeekAlerts)
	if w.Alerts, err = collect(rows, err, scanAlert); err != nil {
		return w, fmt.Errorf("list the week's alerts: %w", err)
	}
	slices.SortFunc(w.Alerts, func(a, b backup.Alert) int { return a.Raised.Compare(b.Raised) })
	return w, nil
}
