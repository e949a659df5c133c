package database

import (
	"context"
	"fmt"
	"time"
)

// A Process is one that serves on a database.
type Process struct {
	ID      string // of its own, a new one at each start
	Name    string // for people
	Version string // of the program
	Role    string
	Since   time.Time
	Seen    time.Time // when it last said that it is there

	newest int64 // the last migration that it has
}

// SeenEvery is how often a process says that it is there, and silence for how long it may
// not before it counts as gone. The clocks of processes agree to within seconds.
const (
	SeenEvery = 30 * time.Second
	silence   = 3 * time.Minute
)

// Ahead reports whether the database was brought up to date by a newer Holdfast than this
// one, which works on it all the same.
func (db *DB) Ahead() bool { return db.ahead > 0 }

// Seen notes that a process is there at p.Seen, and forgets those that have not been for
// minutes. It fails with ErrNewer if the database has meanwhile been brought to where this
// program does not work on it.
func (db *DB) Seen(ctx context.Context, p Process) error {
	plan, err := db.plan()
	if err != nil {
		return err
	}
	return db.Tx(ctx, func(tx *Tx) error {
		// Whoever raises the floor waits for this row, and then sees the process.
		var floor int64
		if err := tx.QueryRowContext(ctx, `SELECT floor FROM schema_floor`+tx.dialect.ForUpdate()).Scan(&floor); err != nil {
			return fmt.Errorf("note that this process is there: %w", err)
		}
		if floor > plan.newest {
			return tooNew(floor, plan.newest)
		}
		if _, err := tx.ExecContext(ctx, `
			INSERT INTO process (id, name, version, role, newest, since, seen) VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (id) DO UPDATE SET seen = excluded.seen`,
			p.ID, p.Name, p.Version, p.Role, plan.newest, Micros(p.Since), Micros(p.Seen)); err != nil {
			return fmt.Errorf("note that this process is there: %w", err)
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM process WHERE seen < $1`, Micros(p.Seen.Add(-silence))); err != nil {
			return fmt.Errorf("forget processes that are gone: %w", err)
		}
		return nil
	})
}

// Gone notes that a process has stopped.
func (db *DB) Gone(ctx context.Context, id string) error {
	return db.Tx(ctx, func(tx *Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM process WHERE id = $1`, id); err != nil {
			return fmt.Errorf("note that this process has stopped: %w", err)
		}
		return nil
	})
}

// Processes returns those that are there now, the oldest first.
func (db *DB) Processes(ctx context.Context, now time.Time) ([]Process, error) {
	return processes(ctx, db.Read(), now)
}

func processes(ctx context.Context, q Queryer, now time.Time) (all []Process, err error) {
	rows, err := q.QueryContext(ctx, `SELECT id, name, version, role, newest, since, seen FROM process WHERE seen >= $1 ORDER BY since, id`, Micros(now.Add(-silence)))
	if err != nil {
		return nil, fmt.Errorf("list the processes: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var p Process
		var since, seen int64
		if err := rows.Scan(&p.ID, &p.Name, &p.Version, &p.Role, &p.newest, &since, &seen); err != nil {
			return nil, fmt.Errorf("list the processes: %w", err)
		}
		p.Since, p.Seen = Time(since), Time(seen)
		all = append(all, p)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list the processes: %w", err)
	}
	return all, nil
}
