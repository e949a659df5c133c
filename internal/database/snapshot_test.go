package database_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/database"
	"holdfast/internal/database/dbtest"
)

// dumped is a database in JSON: the tables in their order, and each row of each, sorted.
type dumped struct {
	version int64
	tables  []database.Table
	rows    map[string][]string
	sums    map[string]string
}

func dump(t *testing.T, db *database.DB) dumped {
	t.Helper()
	d := dumped{rows: map[string][]string{}, sums: map[string]string{}}
	err := db.Snapshot(t.Context(), func(s *database.Snapshot) error {
		d.version, d.tables = s.Version, s.Tables
		for _, table := range s.Tables {
			var sum database.Sum
			for row, err := range s.Rows(t.Context(), table) {
				if err != nil {
					return err
				}
				text, err := json.Marshal(row)
				if err != nil {
					return err
				}
				sum.Add(text)
				d.rows[table.Name] = append(d.rows[table.Name], string(text))
			}
			slices.Sort(d.rows[table.Name])
			d.sums[table.Name] = sum.String()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// load makes a database of what was dumped.
func load(t *testing.T, url string, d dumped) *database.DB {
	t.Helper()
	db, err := database.OpenEmpty(t.Context(), url, d.version)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if err := fill(t.Context(), db, d); err != nil {
		t.Fatal(err)
	}
	return db
}

func fill(ctx context.Context, db *database.DB, d dumped) error {
	return db.Fill(ctx, func(put func(database.Table, database.Row) error) error {
		for _, table := range d.tables {
			for _, text := range d.rows[table.Name] {
				var row database.Row
				if err := json.Unmarshal([]byte(text), &row); err != nil {
					return err
				}
				if err := put(table, row); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// everything puts rows into each table of the schema: more than one statement takes, with
// texts of all kinds and the largest numbers. Of a row all texts are one, so that what
// refers to another refers to it.
func everything(t *testing.T, db *database.DB) {
	t.Helper()
	const rows = 450
	limited := map[string]any{"approval.state": "approved", "restore_session.succeeded": int64(0), "audit.actor": `{"user":{"displayName":"Éva \"A\""}}`} // by what else is in the row
	check := regexp.MustCompile(`(\w+)\s+IN\s+\(\s*'(\w+)'`)
	statements, err := db.Read().QueryContext(t.Context(), `SELECT name, sql FROM sqlite_master WHERE type = 'table'`)
	if err != nil {
		t.Fatal(err)
	}
	defer statements.Close()
	for statements.Next() {
		var table, statement string
		if err := statements.Scan(&table, &statement); err != nil {
			t.Fatal(err)
		}
		for _, m := range check.FindAllStringSubmatch(statement, -1) {
			if limited[table+"."+m[1]] == nil {
				limited[table+"."+m[1]] = m[2]
			}
		}
	}
	if err := statements.Err(); err != nil {
		t.Fatal(err)
	}
	type column struct {
		name, kind string
		must       bool
	}
	of := map[string][]column{}
	kinds, err := db.Read().QueryContext(t.Context(), `
		SELECT m.name, c.name, c.type, c."notnull" OR c.pk > 0 FROM sqlite_master m JOIN pragma_table_xinfo(m.name) c
		WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' AND c.hidden = 0`)
	if err != nil {
		t.Fatal(err)
	}
	defer kinds.Close()
	for kinds.Next() {
		var table string
		var c column
		if err := kinds.Scan(&table, &c.name, &c.kind, &c.must); err != nil {
			t.Fatal(err)
		}
		of[table] = append(of[table], c)
	}
	if err := kinds.Err(); err != nil {
		t.Fatal(err)
	}
	for _, made := range []string{"goose_db_version", "schema_floor", "process", "unit_count", "audit_count", "sign_in"} { // by the migrations and triggers
		if of[made] == nil {
			t.Errorf("there is no table %s any more", made)
		}
		delete(of, made)
	}
	d := dump(t, db)
	if len(d.tables) != len(of) {
		t.Errorf("a snapshot has %d tables, and the schema %d", len(d.tables), len(of))
	}
	for _, table := range d.tables {
		if len(of[table.Name]) == 0 {
			t.Fatalf("the table %s of a snapshot is not in the schema", table.Name)
		}
		table.Columns = nil
		for _, c := range of[table.Name] {
			table.Columns = append(table.Columns, c.name)
		}
		for n := range rows {
			var row database.Row
			for _, c := range of[table.Name] {
				only := limited[table.Name+"."+c.name]
				switch {
				case !c.must && n%3 == 0:
					row = append(row, nil)
				case only != nil:
					row = append(row, only)
				case c.kind == "TEXT":
					row = append(row, fmt.Sprintf("%d <é漢\U0001F600> \\ \" '' \t\n\u2028 {\"a\": [1]}", n))
				case c.kind == "SMALLINT":
					row = append(row, int64(1))
				case c.kind == "BIGINT" && n == 1:
					row = append(row, int64(math.MaxInt64))
				case c.kind == "BIGINT" && n == 2:
					row = append(row, int64(-1))
				case c.kind == "BIGINT":
					row = append(row, int64(n+1)<<32)
				default:
					t.Fatalf("%s.%s is of the type %s: a backup carries TEXT, BIGINT and SMALLINT", table.Name, c.name, c.kind)
				}
			}
			text, err := json.Marshal(row)
			if err != nil {
				t.Fatal(err)
			}
			d.rows[table.Name] = append(d.rows[table.Name], string(text))
		}
	}
	for i, table := range d.tables {
		d.tables[i].Columns = nil
		for _, c := range of[table.Name] {
			d.tables[i].Columns = append(d.tables[i].Columns, c.name)
		}
	}
	if err := fill(t.Context(), db, d); err != nil {
		t.Fatal(err)
	}
}

// counts are those that triggers keep.
func counts(t *testing.T, db *database.DB) string {
	t.Helper()
	var all strings.Builder
	for _, query := range []string{`SELECT tenant || workload || policy || status || failing, n FROM unit_count WHERE n > 0`, `SELECT tenant || result, n FROM audit_count WHERE n > 0`} {
		rows, err := db.Read().QueryContext(t.Context(), `SELECT k, n FROM (`+strings.Replace(query, ", n", " AS k, n", 1)+`) AS c ORDER BY `+db.Dialect().Bytewise("k"))
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var key string
			var n int
			if err := rows.Scan(&key, &n); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintln(&all, key, n)
		}
	}
	return all.String()
}

// What is in a database of one kind comes into one of the other, and back, row for row:
// of each table there is, so that none is forgotten.
func TestASnapshotFillsTheOtherDatabase(t *testing.T) {
	first := dbtest.Open(t, database.SQLite)
	everything(t, first)
	want, counted := dump(t, first), counts(t, first)
	if counted == "" {
		t.Error("nothing is counted")
	}
	for table, rows := range want.rows {
		if len(rows) < 400 {
			t.Errorf("%s has %d rows", table, len(rows))
		}
	}
	for _, d := range append(dbtest.Dialects(t), database.SQLite) {
		db := load(t, dbtest.EmptyURL(t, d), want)
		got := dump(t, db)
		if got.version != want.version {
			t.Errorf("%s: the schema has version %d, and had %d", d, got.version, want.version)
		}
		for i, table := range want.tables {
			if !slices.Equal(got.rows[table.Name], want.rows[table.Name]) || got.sums[table.Name] != want.sums[table.Name] {
				t.Errorf("%s: the table %s has %d rows with the sum %s, and had %d with %s", d, table.Name, len(got.rows[table.Name]), got.sums[table.Name], len(want.rows[table.Name]), want.sums[table.Name])
			}
			if got.tables[i].Name != table.Name {
				t.Errorf("%s: the tables come in another order", d)
			}
		}
		if c := counts(t, db); c != counted {
			t.Errorf("%s counts\n%.200s\nand not\n%.200s", d, c, counted)
		}
		want = got
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A snapshot is of one moment, whatever is written meanwhile, and nobody waits for it.
func TestASnapshotIsOfOneMoment(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		for i := range 100 {
			if err := db.Tx(ctx, func(tx *database.Tx) error { return job(ctx, tx, fmt.Sprint(i)) }); err != nil {
				t.Fatal(err)
			}
		}
		err := db.Snapshot(ctx, func(s *database.Snapshot) error {
			err := db.Tx(ctx, func(tx *database.Tx) error {
				if _, err := tx.ExecContext(ctx, `DELETE FROM job WHERE key < '5'`); err != nil {
					return err
				}
				return job(ctx, tx, "new")
			})
			if err != nil {
				return err
			}
			i := slices.IndexFunc(s.Tables, func(table database.Table) bool { return table.Name == "job" })
			n := 0
			for row, err := range s.Rows(ctx, s.Tables[i]) {
				if err != nil {
					return err
				}
				if slices.Contains(row, any("new")) {
					t.Error("what came later is in the snapshot")
				}
				n++
			}
			if n != 100 {
				t.Errorf("the snapshot has %d jobs, want 100", n)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// What is to be filled holds nothing, and holds nothing once that has failed.
func TestOnlyAnEmptyDatabaseIsFilled(t *testing.T) {
	for _, d := range dbtest.Dialects(t) {
		t.Run(string(d), func(t *testing.T) {
			ctx := t.Context()
			u := dbtest.EmptyURL(t, d)
			db, err := database.OpenEmpty(ctx, u, 217)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			table := database.Table{Name: "budget", Columns: []string{"state", "tenant"}}
			full := errors.New("a source that breaks off")
			for name, fn := range map[string]func(put func(database.Table, database.Row) error) error{
				"breaks off": func(put func(database.Table, database.Row) error) error {
					return errors.Join(put(table, database.Row{"s", "t"}), full)
				},
				"twice the same": func(put func(database.Table, database.Row) error) error {
					return errors.Join(put(table, database.Row{"s", "t"}), put(table, database.Row{"s", "t"}))
				},
				"no table": func(put func(database.Table, database.Row) error) error {
					return put(database.Table{Name: "sqlite_master"}, nil)
				},
				"no column": func(put func(database.Table, database.Row) error) error {
					return put(database.Table{Name: "budget", Columns: []string{"state", "x"}}, database.Row{"s", "t"})
				},
				"a short row": func(put func(database.Table, database.Row) error) error { return put(table, database.Row{"s"}) },
			} {
				if err := db.Fill(ctx, fn); err == nil {
					t.Errorf("%s: it was filled", name)
				}
			}
			again, err := database.OpenEmpty(ctx, u, 217)
			if err != nil {
				t.Fatalf("a database that was not filled is not empty: %v", err)
			}
			err = again.Fill(ctx, func(put func(database.Table, database.Row) error) error { return put(table, database.Row{"s", "t"}) })
			if err := errors.Join(err, again.Close()); err != nil {
				t.Fatal(err)
			}
			if _, err := database.OpenEmpty(ctx, u, 217); !errors.Is(err, database.ErrNotEmpty) {
				t.Errorf("a database with a row: %v", err)
			}
			if _, err := database.OpenEmpty(ctx, u, 211); !errors.Is(err, database.ErrNotEmpty) {
				t.Errorf("a database of another version: %v", err)
			}
			if _, err := database.OpenEmpty(ctx, u, 999_999); !errors.Is(err, database.ErrNewer) {
				t.Errorf("a version of later: %v", err)
			}
		})
	}
	path := filepath.Join(t.TempDir(), "other.db")
	if _, err := database.OpenEmpty(t.Context(), "sqlite:"+path, 216); err == nil {
		t.Error("a version that there never was was made")
	}
	if s, err := os.Stat(path); err == nil && s.Size() > 0 {
		t.Error("something is in the database that was refused")
	}
}

// Text that SQLite holds though it is none comes back as it was.
func TestARowIsAsItWas(t *testing.T) {
	row := database.Row{nil, "", "a", "\xff\x00<", int64(math.MinInt64), int64(math.MaxInt64), `{"base64":"x"}`}
	text, err := json.Marshal(row)
	if err != nil {
		t.Fatal(err)
	}
	var got database.Row
	if err := json.Unmarshal(text, &got); err != nil || !slices.Equal(got, row) {
		t.Errorf("%s is %q, %v", text, got, err)
	}
	for _, wrong := range []string{`[1.5]`, `[true]`, `[{}]`, `[{"base64":"!"}]`, `[[1]]`, `{}`, `[9223372036854775808]`, `[`} {
		if err := json.Unmarshal([]byte(wrong), &got); err == nil {
			t.Errorf("%s is a row", wrong)
		}
	}
}
