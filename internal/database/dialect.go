package database

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// A Dialect is one of the two databases. Its methods are all that must be
// spelled differently in a statement for the one and the other.
type Dialect string

const (
	SQLite   Dialect = "sqlite"
	Postgres Dialect = "postgres"
)

// JSONEach returns a table, to stand after FROM or JOIN with an alias of the
// caller's, of the strings in the JSON array that param holds: value TEXT, and
// n BIGINT, its place from 0. Thus a list of any length is one parameter:
//
//	"SELECT e.value FROM " + d.JSONEach("$1") + " AS e ORDER BY e.n"
func (d Dialect) JSONEach(param string) string {
	if d == Postgres {
		return `(SELECT value, n - 1 AS n FROM jsonb_array_elements_text(CAST(` + param + ` AS jsonb)) WITH ORDINALITY AS j(value, n))`
	}
	return `(SELECT value, key AS n FROM json_each(` + param + `))`
}

// JSONRows is JSONEach for an array of objects: value is an object whose
// members are read by e.value->>'name', which gives text; a number is cast,
// CAST(e.value->>'at' AS BIGINT).
func (d Dialect) JSONRows(param string) string {
	if d == Postgres {
		return `(SELECT value, n - 1 AS n FROM jsonb_array_elements(CAST(` + param + ` AS jsonb)) WITH ORDINALITY AS j(value, n))`
	}
	return `(SELECT value, key AS n FROM json_each(` + param + `))`
}

// Bytewise returns a text expression that is ordered by its bytes, which is how
// SQLite orders text, and PostgreSQL only when it is told to.
func (d Dialect) Bytewise(expr string) string {
	if d == Postgres {
		return `(` + expr + `) COLLATE "C"`
	}
	return expr
}

// IndexedBy stands behind a table, and its alias, in a FROM. SQLite, which may
// know nothing of how the values of the table are spread, then uses the index
// of that name, and fails if it cannot.
func (d Dialect) IndexedBy(index string) string {
	if d == Postgres {
		return ""
	}
	return " INDEXED BY " + index
}

// Position returns where in a text another begins: 1 at its start, 0 for
// nowhere.
func (d Dialect) Position(text, part string) string {
	if d == Postgres {
		return "strpos(" + text + ", " + part + ")"
	}
	return "instr(" + text + ", " + part + ")"
}

// ForUpdate ends a SELECT whose rows must not change until the transaction
// ends. SQLite has one writer at a time and needs nothing.
func (d Dialect) ForUpdate() string {
	if d == Postgres {
		return " FOR UPDATE"
	}
	return ""
}

// SkipLocked ends a SELECT that takes rows for itself and passes over those
// another transaction has taken. SQLite has one writer at a time and needs
// nothing.
func (d Dialect) SkipLocked() string {
	if d == Postgres {
		return " FOR UPDATE SKIP LOCKED"
	}
	return ""
}

// IsUniqueViolation reports whether err says that a row with the same unique
// key exists.
func IsUniqueViolation(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code == "23505"
	}
	if lite, ok := errors.AsType[*sqlite.Error](err); ok {
		return lite.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || lite.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
	}
	return false
}

// IsFull reports whether err says that there is no space left for the
// database. Nothing of the transaction was kept.
func IsFull(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code == "53100" // the others of class 53 are memory and connections
	}
	if lite, ok := errors.AsType[*sqlite.Error](err); ok {
		return lite.Code()&0xff == sqlite3.SQLITE_FULL
	}
	return errors.Is(err, syscall.ENOSPC)
}

// advised adds to an error of opening a database what to do about it.
func advised(err error) error {
	if lite, ok := errors.AsType[*sqlite.Error](err); ok {
		switch lite.Code() & 0xff {
		case sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT:
			return fmt.Errorf("%w; the file is damaged, or no database: put it back from a copy, or move it away and have 'holdfast catalog rebuild' make it again from the vaults", err)
		case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM:
			return fmt.Errorf("%w; this user must be able to write the file and its folder", err)
		}
	}
	return err
}

// isConflict reports whether err says that a transaction failed only because
// others ran at the same time, so that it may succeed if it is run again.
func isConflict(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		// A serialization failure, a deadlock, and a statement that was prepared before the
		// schema changed, which is prepared anew.
		return pg.Code == "40001" || pg.Code == "40P01" || isStale(pg)
	}
	if lite, ok := errors.AsType[*sqlite.Error](err); ok {
		return lite.Code()&0xff == sqlite3.SQLITE_BUSY // also BUSY_SNAPSHOT, 517
	}
	return false
}

// isStale reports whether err says that the rows of a prepared statement are other ones
// since the schema changed.
func isStale(err *pgconn.PgError) bool {
	return err.Code == "0A000" && err.Routine == "RevalidateCachedQuery"
}

// Unavailable reports whether err says that the database cannot be reached, or does
// not work, such as one that restarts, or whose disk is full: what failed may succeed
// later as it is.
func Unavailable(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		// Connections, resources, an operator's intervention, its system, and a standby
		// that was not promoted yet.
		return slices.Contains([]string{"08", "53", "57", "58"}, pg.Code[:min(2, len(pg.Code))]) && pg.Code != "57014" || pg.Code == "25006" || isConnect(err)
	}
	if lite, ok := errors.AsType[*sqlite.Error](err); ok {
		return slices.Contains([]int{sqlite3.SQLITE_BUSY, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN}, lite.Code()&0xff)
	}
	_, network := errors.AsType[net.Error](err)
	return network || isConnect(err) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.EPIPE)
}

func isConnect(err error) bool {
	_, ok := errors.AsType[*pgconn.ConnectError](err)
	return ok
}
