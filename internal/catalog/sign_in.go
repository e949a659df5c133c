package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// Sign-ins at the console are of a browser, which may be signed in to several tenants. It is
// known by what only its cookie leads to, which stands for the tenant's name in the methods
// here.

// maxSignIns is how many sign-ins there may be, of all people. Beyond, those that were not
// used for the longest time end.
const maxSignIns = 10_000

// SignIns returns the sign-ins of a browser whose time is not over, in the order in which
// they began, without their tokens.
func (c *Catalog) SignIns(ctx context.Context, browser string) (all []backup.SignIn, err error) {
	rows, err := c.db.Read().QueryContext(ctx, `
		SELECT browser, tenant, about, notes, created, used, expires FROM sign_in
		WHERE browser = $1 AND expires > $2 ORDER BY created, tenant`, browser, database.Micros(c.now()))
	if err != nil {
		return nil, fmt.Errorf("read the sign-ins: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var s backup.SignIn
		if err := rows.Scan(&s.Browser, &s.Tenant, &s.About, &s.Notes, micros{&s.Created}, micros{&s.Used}, micros{&s.Expires}); err != nil {
			return nil, fmt.Errorf("read the sign-ins: %w", err)
		}
		all = append(all, s)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the sign-ins: %w", err)
	}
	return all, nil
}

// SignInTokens returns the tokens of a sign-in, "" if that has ended.
func (c *Catalog) SignInTokens(ctx context.Context, browser string, tenant backup.TenantID) (tokens string, err error) {
	err = c.db.Read().QueryRowContext(ctx, `SELECT tokens FROM sign_in WHERE browser = $1 AND tenant = $2 AND expires > $3`,
		browser, string(tenant), database.Micros(c.now())).Scan(&tokens)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read a sign-in's tokens: %w", err)
	}
	return tokens, nil
}

// BeginSignIns has the sign-ins fresh begin, and those of a browser of go on, "" for none, as
// they are in kept. All of the browser's end that are in neither; and of kept those do not go
// on that have ended meanwhile.
func (c *Catalog) BeginSignIns(ctx context.Context, of string, kept, fresh []backup.SignIn) error {
	err := c.db.Tx(ctx, func(tx *database.Tx) error {
		there := map[backup.TenantID]bool{}
		rows, err := tx.QueryContext(ctx, `DELETE FROM sign_in WHERE browser = $1 RETURNING tenant`, of)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var tenant backup.TenantID
			if err := rows.Scan(&tenant); err != nil {
				return err
			}
			there[tenant] = true
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return err
		}
		begin := func(s backup.SignIn) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO sign_in (browser, tenant, about, tokens, notes, created, used, expires) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
				s.Browser, string(s.Tenant), s.About, s.Tokens, s.Notes, database.Micros(s.Created), database.Micros(s.Used), database.Micros(s.Expires))
			return err
		}
		for _, s := range kept {
			if there[s.Tenant] {
				if err := begin(s); err != nil {
					return err
				}
			}
		}
		for _, s := range fresh {
			if err := begin(s); err != nil {
				return err
			}
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM sign_in WHERE used < (SELECT used FROM sign_in ORDER BY used DESC LIMIT 1 OFFSET $1)`, maxSignIns-1)
		return err
	})
	if err != nil {
		return fmt.Errorf("begin sign-ins: %w", err)
	}
	return nil
}

// ChangeSignIn has a sign-in that was read as was be as is: its tokens and its notes if they
// are those of was still, when it was used and ends if that is later. One that has ended
// stays so.
func (c *Catalog) ChangeSignIn(ctx context.Context, was, is backup.SignIn) error {
	err := c.db.Tx(ctx, func(tx *database.Tx) error {
		_, err := tx.ExecContext(ctx, `
			UPDATE sign_in SET
				tokens = CASE WHEN tokens = $3 THEN $4 ELSE tokens END, notes = CASE WHEN notes = $5 THEN $6 ELSE notes END,
				used = CASE WHEN used < $7 THEN $7 ELSE used END, expires = CASE WHEN used < $7 THEN $8 ELSE expires END
			WHERE browser = $1 AND tenant = $2`,
			was.Browser, string(was.Tenant), was.Tokens, is.Tokens, was.Notes, is.Notes, database.Micros(is.Used), database.Micros(is.Expires))
		return err
	})
	if err != nil {
		return fmt.Errorf("change a sign-in: %w", err)
	}
	return nil
}

// EndSignIns ends a browser's sign-in to a tenant, "" for all.
func (c *Catalog) EndSignIns(ctx context.Context, browser string, tenant backup.TenantID) error {
	err := c.db.Tx(ctx, func(tx *database.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM sign_in WHERE browser = $1 AND (tenant = $2 OR $2 = '')`, browser, string(tenant))
		return err
	})
	if err != nil {
		return fmt.Errorf("end sign-ins: %w", err)
	}
	return nil
}

// ExpireSignIns removes the sign-ins whose time is over: of all tenants, since some may be
// of one that is served no more. jobs.ErrLost.
func (c *Catalog) ExpireSignIns(ctx context.Context, j *jobs.Job) error {
	err := c.db.Tx(ctx, func(tx *database.Tx) error {
		if err := j.Hold(ctx, tx); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM sign_in WHERE expires <= $1`, database.Micros(c.now()))
		return err
	})
	if err != nil {
		return fmt.Errorf("expire sign-ins: %w", err)
	}
	return nil
}
