package catalog

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
)

// A tenant's record is what the catalog knows of it and no drive's points
// carry: its policies and their retention, who is in them, its rules and its
// settings. It is kept in the vault, so that a catalog can be made again from
// that alone. It is a file for each table, with a JSON object on each line,
// whose members are the table's columns.

// A recordKind is what values a column of a record has.
type recordKind string

const (
	recordID   recordKind = "a GUID"
	recordText recordKind = "a text"
	recordInt  recordKind = "a whole number"
	recordJSON recordKind = "a text that is JSON"
	recordNull recordKind = "a text that is JSON, or null"
	// The records of before there were several do not say it.
	recordWorkload recordKind = "a workload"
)

// A recordColumn is a column of a record.
type recordColumn struct {
	name string
	kind recordKind
}

// A recordFile is a table of a record.
type recordFile struct {
	name, table string
	key         string // unique among the tenant's rows
	columns     []recordColumn
	where       string // which lines are taken in; "" for all
	from        string // which rows are lines; "" for all
	// page is an index of the tenant's rows by when they were created, and by key: in that
	// order they are read where there may be many, else by key alone.
	page string
}

// recordFiles are the files of a record, in the order in which they are taken
// in.
var recordFiles = []recordFile{
	{"policies", "policy", "id", []recordColumn{
		{"id", recordID}, {"workload", recordText}, {"display_name", recordText}, {"enabled", recordInt}, {"created", recordInt},
		{"created_by", recordJSON}, {"modified", recordInt}, {"modified_by", recordJSON}, {"name_key", recordText}, {"full_service", recordInt}}, "", "", "policy_page"},
	{"units", "unit", "id", []recordColumn{
		{"id", recordID}, {"workload", recordWorkload}, {"policy", recordText}, {"subject", recordID}, {"status", recordText}, {"sources", recordInt}, {"problem", recordNull},
		{"offboard_requested", recordInt}, {"created", recordInt}, {"created_by", recordJSON}, {"modified", recordInt}, {"modified_by", recordJSON},
		{"offboarded", recordInt}, {"name_key", recordText}}, "", "", "unit_page"},
	{"rules", "inclusion_rule", "id", []recordColumn{
		{"id", recordID}, {"workload", recordWorkload}, {"policy", recordID}, {"expression", recordText}, {"dynamic", recordInt}, {"status", recordText}, {"problem", recordNull},
		{"evaluated", recordInt}, {"created", recordInt}, {"created_by", recordJSON}, {"modified", recordInt}, {"modified_by", recordJSON}},
		`EXISTS (SELECT 1 FROM policy p WHERE p.id = e.value->>'policy' AND p.tenant = $2)`, "", "inclusion_rule_tenant_page"},
	{"exclusions", "exclusion", "id", []recordColumn{
		{"id", recordID}, {"workload", recordWorkload}, {"policy", recordID}, {"subject", recordID}, {"source_id", recordText}, {"created", recordInt}, {"created_by", recordJSON}},
		`EXISTS (SELECT 1 FROM policy p WHERE p.id = e.value->>'policy' AND p.tenant = $2)`, "", "exclusion_tenant_page"},
	{"retention", "retention", "policy", []recordColumn{
		{"policy", recordText}, {"kept", recordJSON}, {"pending", recordNull}, {"effective", recordInt}, {"modified", recordInt}, {"modified_by", recordJSON}}, "", "", ""},
	{"service", "service", "tenant", []recordColumn{
		{"status", recordText}, {"disable_reason", recordText}, {"modified", recordInt}, {"modified_by", recordJSON}}, "", "", ""},
	{"apps", "service_app", "id", []recordColumn{
		{"id", recordID}, {"application", recordText}, {"name", recordText}, {"status", recordText}, {"effective", recordInt}, {"removal", recordInt},
		{"created", recordInt}, {"modified", recordInt}, {"modified_by", recordJSON}}, "", "", ""},
	{"email", "email_setting", "tenant", []recordColumn{
		{"enabled", recordInt}, {"events", recordText}, {"role", recordText}, {"recipients", recordJSON}}, "", "", ""},
	{vaultsFile, "vault", "id", []recordColumn{{"number", recordInt}, {"id", recordText}, {"noted", recordInt}}, "", `number > 1 AND id <> ''`, ""},
}

// vaultsFile is the file of a tenant's vaults, which a record has where there are several.
const vaultsFile = "vaults"

// LastVault returns the number of a tenant's last vault, as a record has it.
func LastVault(files map[string]io.Reader) (int, error) {
	last := 1
	if files[vaultsFile] == nil {
		return last, nil
	}
	for lines := json.NewDecoder(files[vaultsFile]); ; {
		var of struct {
			Number int `json:"number"`
		}
		err := lines.Decode(&of)
		if err == io.EOF {
			return last, nil
		}
		if err != nil {
			return last, fmt.Errorf("read the vaults of the tenant's record: %w", err)
		}
		last = max(last, of.Number)
	}
}

var (
	// ErrNotEmpty says that a tenant's catalog holds something already.
	ErrNotEmpty = errors.New("the tenant's catalog is not empty")
	// ErrImporting says that a tenant's catalog does not hold all of its record
	// yet: an import was begun and has to be done again.
	ErrImporting = errors.New("the import of the tenant's record has not come to its end")
)

// Empty reports whether a tenant's catalog holds nothing of what makes a record
// or of what the vault's drives carry, or an import that has not come to its
// end.
func (c *Catalog) Empty(ctx context.Context, tenant backup.TenantID) (bool, error) {
	importing, err := c.importing(ctx, c.db.Read(), tenant)
	if err != nil || importing {
		return importing, err
	}
	return c.empty(ctx, c.db.Read(), tenant)
}

func (c *Catalog) empty(ctx context.Context, db database.Queryer, tenant backup.TenantID) (empty bool, err error) {
	err = db.QueryRowContext(ctx, `
		SELECT NOT EXISTS (SELECT 1 FROM policy WHERE tenant = $1) AND NOT EXISTS (SELECT 1 FROM unit WHERE tenant = $1)
			AND NOT EXISTS (SELECT 1 FROM drive_state WHERE tenant = $1) AND NOT EXISTS (SELECT 1 FROM restore_point WHERE tenant = $1)`,
		string(tenant)).Scan(&empty)
	if err != nil {
		return false, fmt.Errorf("look whether the catalog is empty: %w", err)
	}
	return empty, nil
}

func (c *Catalog) importing(ctx context.Context, db database.Queryer, tenant backup.TenantID) (importing bool, err error) {
	err = db.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM tenant WHERE id = $1 AND importing = 1)`, string(tenant)).Scan(&importing)
	if err != nil {
		return false, fmt.Errorf("look for an import: %w", err)
	}
	return importing, nil
}

// ExportTenant returns the files of a tenant's record by their names, each as
// what writes it. They are read in parts, and while the tenant goes on: what
// changes meanwhile is in the record as it was before or as it is after.
// ErrImporting.
func (c *Catalog) ExportTenant(ctx context.Context, tenant backup.TenantID) (map[string]func(io.Writer) error, error) {
	importing, err := c.importing(ctx, c.db.Read(), tenant)
	if err != nil {
		return nil, err
	}
	if importing {
		return nil, ErrImporting
	}
	if err := c.AdoptRetention(ctx, tenant); err != nil {
		return nil, err
	}
	vaults, err := c.Vaults(ctx, tenant)
	if err != nil {
		return nil, err
	}
	files := make(map[string]func(io.Writer) error, len(recordFiles))
	for _, f := range recordFiles {
		if f.name == vaultsFile && len(vaults) == 1 {
			continue
		}
		files[f.name] = func(w io.Writer) error {
			if err := c.exportFile(ctx, tenant, f, w); err != nil {
				return fmt.Errorf("export %s: %w", f.name, err)
			}
			return nil
		}
	}
	return files, nil
}

// recordPart is how many lines of a record are read or written at a time.
const recordPart = 1000

func (c *Catalog) exportFile(ctx context.Context, tenant backup.TenantID, f recordFile, w io.Writer) error {
	names := make([]string, len(f.columns))
	for i, col := range f.columns {
		names[i] = col.name
	}
	from, by, last := f.table, []string{c.db.Dialect().Bytewise(f.key)}, []any{new(string)}
	if f.page != "" {
		from, by, last = f.table+c.db.Dialect().IndexedBy(f.page), []string{"created", f.key}, []any{new(int64), new(string)}
	}
	order, after, args := strings.Join(by, ", "), "", []any{string(tenant), recordPart}
	out := bufio.NewWriter(w)
	for {
		rows, err := c.db.Read().QueryContext(ctx, `
			SELECT `+order+`, `+strings.Join(names, ", ")+` FROM `+from+`
			WHERE tenant = $1 AND `+cmp.Or(f.from, "true")+after+` ORDER BY `+order+` LIMIT $2`, args...)
		lines, err := collect(rows, err, func(r scanner) ([]byte, error) {
			values := make([]any, len(names))
			into := slices.Clone(last)
			for i := range values {
				into = append(into, &values[i])
			}
			if err := r.Scan(into...); err != nil {
				return nil, err
			}
			return recordLine(names, values)
		})
		if err != nil {
			return err
		}
		for _, line := range lines {
			if _, err := out.Write(line); err != nil {
				return err
			}
		}
		if len(lines) < recordPart {
			return out.Flush()
		}
		after = ` AND (` + order + `) > (` + strings.Join([]string{"$3", "$4"}[:len(last)], ", ") + `)`
		args = append(args[:2:2], last...)
	}
}

// recordLine writes a row as a line of a record.
func recordLine(names []string, values []any) ([]byte, error) {
	var line bytes.Buffer
	for i, v := range values {
		if b, ok := v.([]byte); ok {
			v = string(b)
		}
		text, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		line.WriteString([]string{",", "{"}[bit(i == 0)])
		line.WriteString(strconv.Quote(names[i]) + ":")
		line.Write(text)
	}
	line.WriteString("}\n")
	return line.Bytes(), nil
}

// ImportTenant takes a record, as ExportTenant gave it, into an empty tenant's
// catalog, and sets to work what must go on. A file that is not given is
// passed over. It takes several transactions; an import that was cut off is
// done again from its beginning, with the same files or newer ones. What
// somebody has set of retention before stays, and so does every hold.
// ErrNotEmpty.
func (c *Catalog) ImportTenant(ctx context.Context, tenant backup.TenantID, files map[string]io.Reader) error {
	for name := range files {
		if !slices.ContainsFunc(recordFiles, func(f recordFile) bool { return f.name == name }) {
			return fmt.Errorf("import the tenant's record: %q is not a file of it; it may be of a newer Holdfast", name)
		}
	}
	if err := c.AdoptRetention(ctx, tenant); err != nil {
		return err
	}
	err := c.tx(ctx, tenant, func(tx *database.Tx) error {
		importing, err := c.importing(ctx, tx, tenant)
		if err != nil || importing {
			return err
		}
		empty, err := c.empty(ctx, tx, tenant)
		if err != nil {
			return err
		}
		if !empty {
			return ErrNotEmpty
		}
		_, err = tx.ExecContext(ctx, `UPDATE tenant SET importing = 1 WHERE id = $1`, string(tenant))
		return err
	})
	if err != nil {
		return fmt.Errorf("import the tenant's record: %w", err)
	}
	for _, f := range recordFiles {
		if files[f.name] == nil {
			continue
		}
		if err := c.importFile(ctx, tenant, f, files[f.name]); err != nil {
			return fmt.Errorf("import %s of the tenant's record: %w", f.name, err)
		}
	}
	if err := c.tx(ctx, tenant, func(tx *database.Tx) error { return c.settleImport(ctx, tx, tenant) }); err != nil {
		return fmt.Errorf("end the import of the tenant's record: %w", err)
	}
	return nil
}

func (c *Catalog) importFile(ctx context.Context, tenant backup.TenantID, f recordFile, r io.Reader) error {
	lines := json.NewDecoder(r)
	lines.UseNumber()
	for n := 0; ; {
		var rows []map[string]any
		for len(rows) < recordPart {
			var row map[string]any
			err := lines.Decode(&row)
			if err == io.EOF {
				break
			}
			n++
			if err == nil {
				err = f.check(row)
			}
			if err != nil {
				return fmt.Errorf("line %d: %w", n, err)
			}
			rows = append(rows, row)
		}
		if len(rows) == 0 {
			return nil
		}
		err := c.tx(ctx, tenant, func(tx *database.Tx) error {
			if f.table == "retention" {
				return importRetention(ctx, tx, tenant, rows)
			}
			return f.insert(ctx, tx, tenant, rows)
		})
		if err != nil {
			return fmt.Errorf("lines %d to %d: %w", n-len(rows)+1, n, err)
		}
	}
}

// check says what is wrong with a line of a record, and fills in what a record
// of before did not have.
func (f *recordFile) check(row map[string]any) error {
	if old, there := row["directory"]; there && f.table == "unit" { // so units' subjects were called before there were several workloads
		row["subject"] = old
		delete(row, "directory")
	}
	for name := range row {
		if !slices.ContainsFunc(f.columns, func(c recordColumn) bool { return c.name == name }) {
			return fmt.Errorf("%q is not known; the record may be of a newer Holdfast", name)
		}
	}
	for _, c := range f.columns {
		v, given := row[c.name]
		text, isText := v.(string)
		number, isNumber := v.(json.Number)
		ok := false
		switch c.kind {
		case recordID:
			id, valid := backup.ParseGUID(text)
			ok = valid && id == text
		case recordText:
			ok = isText || !given
			row[c.name] = text
		case recordWorkload:
			ok = isText || !given
			row[c.name] = cmp.Or(text, string(backup.OneDrive))
		case recordInt:
			_, err := number.Int64()
			ok = isNumber && err == nil || !given
			row[c.name] = cmp.Or(number, "0")
		case recordJSON:
			ok = isText && json.Valid([]byte(text))
		case recordNull:
			ok = v == nil || isText && json.Valid([]byte(text))
		}
		if !ok {
			return fmt.Errorf("%s is not %s", c.name, c.kind)
		}
	}
	return nil
}

// insert stores lines of a record that are not there yet.
func (f *recordFile) insert(ctx context.Context, tx *database.Tx, tenant backup.TenantID, rows []map[string]any) error {
	names, values := []string{"tenant"}, []string{"CAST($2 AS TEXT)"}
	for _, c := range f.columns {
		value := `e.value->>'` + c.name + `'`
		if c.kind == recordInt {
			value = `CAST(` + value + ` AS BIGINT)`
		}
		names, values = append(names, c.name), append(values, value)
	}
	if f.key == "id" {
		var foreign int
		err := tx.QueryRowContext(ctx, `
			SELECT count(*) FROM `+tx.Dialect().JSONRows("$1")+` AS e CROSS JOIN `+f.table+` t WHERE t.id = e.value->>'id' AND t.tenant <> $2`,
			jsonList(rows), string(tenant)).Scan(&foreign)
		if err != nil {
			return err
		}
		if foreign > 0 {
			return fmt.Errorf("%d ids are those of another tenant", foreign)
		}
	}
	_, err := tx.ExecContext(ctx, `
		INSERT INTO `+f.table+` (`+strings.Join(names, ", ")+`)
		SELECT `+strings.Join(values, ", ")+` FROM `+tx.Dialect().JSONRows("$1")+` AS e WHERE `+cmp.Or(f.where, "true")+`
		ON CONFLICT DO NOTHING`, jsonList(rows), string(tenant))
	return err
}

// importRetention stores how a tenant's points are kept. What was only taken
// from a configuration gives way; to what somebody has set a hold is added.
func importRetention(ctx context.Context, tx *database.Tx, tenant backup.TenantID, rows []map[string]any) error {
	present, err := readRetentions(ctx, tx, tenant, tx.Dialect().ForUpdate())
	if err != nil {
		return err
	}
	for _, row := range rows {
		var kept backup.Retention
		if err := json.Unmarshal([]byte(row["kept"].(string)), &kept); err != nil {
			return err
		}
		if _, err := backup.NewKeeping(kept); err != nil {
			return fmt.Errorf("kept: %w", err)
		}
		if pending, ok := row["pending"].(string); ok {
			var next backup.Retention
			if err := json.Unmarshal([]byte(pending), &next); err != nil {
				return err
			}
			if _, err := backup.NewKeeping(next); err != nil {
				return fmt.Errorf("pending: %w", err)
			}
		}
		policy := row["policy"].(string)
		if was, there := present[backup.PolicyID(policy)]; there && !was.Modified.At.IsZero() {
			if !kept.LegalHold || was.Kept.LegalHold {
				continue
			}
			was.Kept.LegalHold = true
			_, err := tx.ExecContext(ctx, `UPDATE retention SET kept = $3 WHERE tenant = $1 AND policy = $2`, string(tenant), policy, toJSON(was.Kept))
			if err != nil {
				return err
			}
			continue
		}
		numbers := map[string]int64{}
		for _, name := range []string{"effective", "modified"} {
			if numbers[name], err = row[name].(json.Number).Int64(); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `
			INSERT INTO retention (tenant, policy, kept, pending, effective, modified, modified_by, applied) VALUES ($1, $2, $3, $4, $5, $6, $7, '')
			ON CONFLICT (tenant, policy) DO UPDATE SET kept = excluded.kept, pending = excluded.pending, effective = excluded.effective,
				modified = excluded.modified, modified_by = excluded.modified_by, applied = ''`,
			string(tenant), policy, row["kept"], row["pending"], numbers["effective"], numbers["modified"], row["modified_by"])
		if err != nil {
			return err
		}
	}
	return nil
}

// settleImport ends an import: what was written while the tenant went on is
// brought together, and the work that was under way goes on.
func (c *Catalog) settleImport(ctx context.Context, tx *database.Tx, tenant backup.TenantID) error {
	_, err := tx.ExecContext(ctx, `
		UPDATE unit SET policy = '', sources = 0, problem = NULL,
			status = CASE WHEN status IN ('offboardRequested', 'offboarded', 'cancelOffboardRequested') THEN status ELSE 'unprotected' END
		WHERE tenant = $1 AND policy <> '' AND NOT EXISTS (SELECT 1 FROM policy p WHERE p.id = unit.policy AND p.tenant = unit.tenant)`, string(tenant))
	if err != nil {
		return fmt.Errorf("release units: %w", err)
	}
	_, err = tx.ExecContext(ctx, `
		INSERT INTO retention (tenant, policy, kept, applied)
		SELECT p.tenant, p.id, d.kept, '' FROM policy p JOIN retention d ON d.tenant = p.tenant AND d.policy = '' WHERE p.tenant = $1
		ON CONFLICT DO NOTHING`, string(tenant))
	if err != nil {
		return fmt.Errorf("store how points are kept: %w", err)
	}
	for _, work := range []struct {
		kind jobs.Kind
		keys string
	}{
		{jobs.Settle, `SELECT p.id FROM policy p WHERE p.tenant = $1`},
		{jobs.Backup, `
			SELECT u.id FROM unit u JOIN policy p ON p.id = u.policy AND p.enabled = 1
			WHERE u.tenant = $1 AND u.status IN ('protectRequested', 'protected', 'unprotected')`},
		{jobs.Rule, `
			SELECT r.id FROM inclusion_rule r WHERE r.tenant = $1 AND (r.dynamic = 1 OR r.status = 'active')`},
		{jobs.All, `SELECT p.id FROM policy p WHERE p.tenant = $1 AND p.full_service = 1`},
		{jobs.Offboard, `
			SELECT u.id FROM unit u WHERE u.tenant = $1 AND u.status IN ('offboardRequested', 'offboarded', 'cancelOffboardRequested')`},
	} {
		if err := c.queue.EnqueueSelect(ctx, tx, work.kind, tenant, c.now(), work.keys, string(tenant)); err != nil {
			return err
		}
	}
	if err := c.record(ctx, tx, backup.Activity{Tenant: tenant, Operation: backup.TenantImportedActivity}); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE tenant SET importing = 0 WHERE id = $1`, string(tenant))
	return err
}
