package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
)

// DirectoryCursor returns where the next read of the source's directory goes
// on, and when the last one ended: "" and the zero time before the first.
func (c *Catalog) DirectoryCursor(ctx context.Context, tenant backup.TenantID) (cursor string, at time.Time, err error) {
	err = c.db.Read().QueryRowContext(ctx, `SELECT directory_cursor, directory_at FROM tenant WHERE id = $1`,
		string(tenant)).Scan(&cursor, micros{&at})
	if errors.Is(err, sql.ErrNoRows) {
		return "", time.Time{}, nil
	}
	if err != nil {
		return "", time.Time{}, fmt.Errorf("read directory cursor: %w", err)
	}
	return cursor, at, nil
}

// SitesCursor returns where the next look at the source's sites goes on, and when all
// of them were listed last: "" and the zero time before the first.
func (c *Catalog) SitesCursor(ctx context.Context, tenant backup.TenantID) (cursor string, listed time.Time, err error) {
	err = c.db.Read().QueryRowContext(ctx, `SELECT sites_cursor, sites_at FROM tenant WHERE id = $1`, string(tenant)).Scan(&cursor, micros{&listed})
	if errors.Is(err, sql.ErrNoRows) {
		return "", time.Time{}, nil
	}
	if err != nil {
		return "", time.Time{}, fmt.Errorf("read cursor of sites: %w", err)
	}
	return cursor, listed, nil
}

// A DirectoryChange is what was learned of a tenant's directory.
type DirectoryChange struct {
	Users   []backup.Subject   // users or, with Sites, sites, as they are now, new or known
	Removed []backup.SubjectID // gone
	Cursor  string             // where the next read of the source goes on; "" leaves that as it is, unless all Sites were listed

	// Sites says that this is of sites, not of users.
	Sites bool

	// Since, if it is not zero, says that this ends a full enumeration which
	// began at that time: users or sites that were not written since then are gone.
	Since time.Time
}

// ApplyDirectory brings the mirror of a tenant's directory up to date. A large
// change takes several transactions; the cursor is in the last, so that a
// change that was cut short is read and applied again.
func (c *Catalog) ApplyDirectory(ctx context.Context, tenant backup.TenantID, ch DirectoryChange) error {
	seen := database.Micros(c.now())
	users := slices.Clone(ch.Users)
	slices.SortStableFunc(users, func(a, b backup.Subject) int { return strings.Compare(string(a.ID), string(b.ID)) })
	// A user may come twice; the last counts.
	slices.Reverse(users)
	users = slices.CompactFunc(users, func(a, b backup.Subject) bool { return a.ID == b.ID })
	for chunk := range slices.Chunk(users, c.batch) {
		err := c.db.Tx(ctx, func(tx *database.Tx) error { return putSubjects(ctx, tx, tenant, chunk, ch.Sites, seen) })
		if err != nil {
			return fmt.Errorf("mirror directory: %w", err)
		}
	}
	if len(ch.Removed) == 0 && ch.Since.IsZero() && ch.Cursor == "" {
		return nil
	}
	err := c.tx(ctx, tenant, func(tx *database.Tx) error {
		if len(ch.Removed) > 0 {
			gone := `SELECT e.value FROM ` + tx.Dialect().JSONEach("$2") + ` AS e`
			if err := nameUnits(ctx, tx, gone, noKeys, string(tenant), jsonList(ch.Removed)); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, `
				DELETE FROM subject WHERE tenant = $1 AND id IN (SELECT e.value FROM `+tx.Dialect().JSONEach("$2")+` AS e)`,
				string(tenant), jsonList(ch.Removed))
			if err != nil {
				return fmt.Errorf("remove users: %w", err)
			}
		}
		if !ch.Since.IsZero() {
			old := `tenant = $1 AND seen < $2 AND site = ` + strconv.Itoa(bit(ch.Sites)) // as the index of sites has it
			if err := nameUnits(ctx, tx, `SELECT d.id FROM subject d WHERE d.`+strings.ReplaceAll(old, " AND ", " AND d."), noKeys, string(tenant), database.Micros(ch.Since)); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, `DELETE FROM subject WHERE `+old, string(tenant), database.Micros(ch.Since))
			if err != nil {
				return fmt.Errorf("remove users: %w", err)
			}
		}
		if ch.Sites && (ch.Cursor != "" || !ch.Since.IsZero()) {
			_, err := tx.ExecContext(ctx, `UPDATE tenant SET sites_cursor = $2, sites_at = CASE WHEN CAST($3 AS BIGINT) > 0 THEN $3 ELSE sites_at END WHERE id = $1`,
				string(tenant), ch.Cursor, database.Micros(ch.Since))
			return err
		}
		if ch.Cursor == "" {
			return nil
		}
		_, err := tx.ExecContext(ctx, `UPDATE tenant SET directory_cursor = $2, directory_at = $3 WHERE id = $1`,
			string(tenant), ch.Cursor, seen)
		return err
	})
	if err != nil {
		return fmt.Errorf("mirror directory: %w", err)
	}
	return nil
}

func putSubjects(ctx context.Context, tx *database.Tx, tenant backup.TenantID, users []backup.Subject, sites bool, seen int64) error {
	rows := make([][9]string, len(users))
	for i, u := range users {
		rows[i] = [9]string{string(u.ID), u.Address, u.Mail, u.DisplayName, backup.FoldAddress(u.Address), backup.FoldAddress(u.Mail), strings.ToLower(u.DisplayName), strconv.FormatInt(database.Micros(u.Modified), 10), u.SourceID}
	}
	_, err := tx.ExecContext(ctx, `
		INSERT INTO subject (tenant, id, address, mail, display_name, address_key, mail_key, name_key, seen, site, modified, source_id)
		SELECT CAST($2 AS TEXT), e.value->>0, e.value->>1, e.value->>2, e.value->>3, e.value->>4, e.value->>5, e.value->>6, CAST($3 AS BIGINT), CAST($4 AS SMALLINT), CAST(e.value->>7 AS BIGINT), e.value->>8
		FROM `+tx.Dialect().JSONRows("$1")+` AS e WHERE true
		ON CONFLICT (tenant, id) DO UPDATE SET address = excluded.address, mail = excluded.mail, display_name = excluded.display_name,
			address_key = excluded.address_key, mail_key = excluded.mail_key, name_key = excluded.name_key, seen = excluded.seen, site = excluded.site, modified = excluded.modified, source_id = excluded.source_id`,
		jsonList(rows), string(tenant), seen, bit(sites))
	if err != nil {
		return fmt.Errorf("write users: %w", err)
	}
	return nameUnits(ctx, tx, `SELECT e.value->>0 FROM `+tx.Dialect().JSONRows("$2")+` AS e`,
		ownerKeys("unit.tenant", "unit.subject"), string(tenant), jsonList(rows))
}

// noKeys are the keys of a unit whose owner the directory does not know, and
// ownerKeys those of one that it may know: of the name, and of the address.
var noKeys = [2]string{`''`, `''`}

func ownerKeys(tenant, owner string) [2]string {
	key := func(expr string) string {
		return `coalesce((SELECT ` + expr + ` FROM subject d WHERE d.tenant = ` + tenant + ` AND d.id = ` + owner + `), '')`
	}
	return [2]string{key(`d.name_key`), key(`coalesce(nullif(d.mail_key, ''), d.address_key)`)}
}

// nameUnits gives the units of owners the name and the address that they have
// now: owners is a query of the tenant $1, keys are expressions.
func nameUnits(ctx context.Context, tx *database.Tx, owners string, keys [2]string, args ...any) error {
	_, err := tx.ExecContext(ctx, `
		UPDATE unit`+tx.Dialect().IndexedBy("unit_subject")+` SET name_key = `+keys[0]+`, address_key = `+keys[1]+`
		WHERE tenant = $1 AND subject IN (`+owners+`) AND (name_key <> `+keys[0]+` OR address_key <> `+keys[1]+`)`, args...)
	if err != nil {
		return fmt.Errorf("name units: %w", err)
	}
	return nil
}

// SitesOf returns those sites of the mirror of a tenant that meet an expression.
func (c *Catalog) SitesOf(ctx context.Context, tenant backup.TenantID, e backup.SiteExpression) (ids []backup.SubjectID, err error) {
	for after := ""; ; {
		rows, err := c.db.Read().QueryContext(ctx, `
			SELECT id, address, display_name, modified FROM subject WHERE tenant = $1 AND site = 1 AND id > $2 ORDER BY id LIMIT 1000`, string(tenant), after)
		sites, err := collect(rows, err, func(r scanner) (s backup.Subject, err error) {
			return s, r.Scan(&s.ID, &s.Address, &s.DisplayName, micros{&s.Modified})
		})
		if err != nil {
			return nil, fmt.Errorf("read sites: %w", err)
		}
		for _, s := range sites {
			if after = string(s.ID); e.Match(s) {
				ids = append(ids, s.ID)
			}
		}
		if len(sites) < 1000 {
			return ids, nil
		}
	}
}

// DirectoryUser returns a user, or a site, as the mirror knows it, and whether it does.
func (c *Catalog) DirectoryUser(ctx context.Context, tenant backup.TenantID, id backup.SubjectID) (backup.Subject, bool, error) {
	var u backup.Subject
	err := c.db.Read().QueryRowContext(ctx, `SELECT id, address, mail, display_name, source_id FROM subject WHERE tenant = $1 AND id = $2`,
		string(tenant), string(id)).Scan(&u.ID, &u.Address, &u.Mail, &u.DisplayName, &u.SourceID)
	if errors.Is(err, sql.ErrNoRows) {
		return u, false, nil
	}
	if err != nil {
		return u, false, fmt.Errorf("read directory user %s: %w", id, err)
	}
	return u, true, nil
}
