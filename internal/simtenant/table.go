package simtenant

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
)

// The rows of a list's items.csv are items as well: each becomes a file of its own
// beside it, which is the item from then on, with its number, changes and history.
// When the table changes, so do the items whose rows did; what clients changed
// meanwhile stays where the row stayed.

// table is what is known of an items.csv.
type table struct {
	Mtime moment     `json:"mtime"`
	Size  int64      `json:"size"`
	Rows  []tableRow `json:"rows"`
	Last  int        `json:"last"` // the number in the name of the newest file
}

type tableRow struct {
	Sum  string `json:"sum"`
	File string `json:"file"`
}

// maxTable is how long an items.csv may be.
const maxTable = 64 << 20

func (d *drive) tablePath() string {
	return strings.TrimSuffix(d.journalPath(), ".jsonl") + ".table.json"
}

// takeRows has the files of items follow items.csv, if it changed.
func (d *drive) takeRows() error {
	var known table
	data, err := os.ReadFile(d.tablePath())
	if err == nil {
		err = json.Unmarshal(data, &known)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read what is known of a list's table: %w", err)
	}
	there := err == nil
	f, err := d.top.Open(itemsCSV)
	switch {
	case vanished(err) && !there:
		return nil
	case vanished(err):
		return d.keepRows(known, table{Last: known.Last}, nil)
	case err != nil:
		return fmt.Errorf("open a list's table: %w", err)
	}
	defer f.Close()
	st, err := statOf(f)
	if err != nil {
		return fmt.Errorf("look at a list's table: %w", err)
	}
	now := table{Mtime: st.mtime, Size: st.size, Last: known.Last}
	if st.kind != isFile || there && known.Mtime == now.Mtime && known.Size == now.Size {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(f, maxTable))
	if err != nil {
		return fmt.Errorf("read a list's table: %w", err)
	}
	rows, err := readRows(text, d.svc.schemaOf(d.place))
	if err != nil {
		return err
	}
	return d.keepRows(known, now, rows)
}

// readRows reads the rows of a table, each as an item's file holds it.
func readRows(text []byte, x schema) ([][]byte, error) {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	r := csv.NewReader(bytes.NewReader(text))
	if first, _, _ := bytes.Cut(text, []byte("\n")); bytes.Count(first, []byte(";")) > bytes.Count(first, []byte(",")) {
		r.Comma = ';'
	}
	r.FieldsPerRecord = -1
	all, err := r.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("the table is not CSV: %w", err)
	}
	if len(all) == 0 {
		return nil, nil
	}
	var rows [][]byte
	for _, cells := range all[1:] {
		fields := object{}
		for i, cell := range cells {
			if i < len(all[0]) && all[0][i] != "" && cell != "" {
				fields[all[0][i]] = x.cell(all[0][i], cell)
			}
		}
		row, err := json.Marshal(fields)
		if err != nil {
			return nil, fmt.Errorf("a row of the table: %w", err)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// cell is the value that a text stands for in a column.
func (x *schema) cell(name, text string) any {
	base, lookup := strings.CutSuffix(name, "LookupId")
	c, known := x.column(base)
	if known && c.multiple {
		var all []any
		for part := range strings.SplitSeq(text, ";") {
			one := c
			one.multiple = false
			all = append(all, one.value(strings.TrimSpace(part), lookup))
		}
		return all
	}
	if !known {
		if n, err := strconv.ParseFloat(text, 64); err == nil && strconv.FormatFloat(n, 'f', -1, 64) == text {
			return json.Number(text) // a number, and none of those that are names
		}
		return text
	}
	return c.value(text, lookup)
}

func (c column) value(text string, lookup bool) any {
	switch {
	case lookup, c.facet == "number", c.facet == "currency":
		if _, err := strconv.ParseFloat(text, 64); err == nil && json.Valid([]byte(text)) {
			return json.Number(text)
		}
	case c.facet == "boolean":
		switch strings.ToLower(text) {
		case "true", "yes", "1":
			return true
		case "false", "no", "0":
			return false
		}
	}
	return text
}

// keepRows writes the files of rows that are new or became others, and removes
// those of rows that are gone. A row that is the same as one before is that one,
// wherever it stands; others take the place of those that are left, in their order.
func (d *drive) keepRows(known, now table, rows [][]byte) error {
	same := map[string][]string{}
	for _, row := range known.Rows {
		same[row.Sum] = append(same[row.Sum], row.File)
	}
	now.Rows = make([]tableRow, len(rows))
	for i, row := range rows {
		sum := sha256.Sum256(row)
		now.Rows[i].Sum = hex.EncodeToString(sum[:])
		if files := same[now.Rows[i].Sum]; len(files) > 0 {
			now.Rows[i].File, same[now.Rows[i].Sum] = files[0], files[1:]
		}
	}
	var left []string
	for _, row := range known.Rows {
		if files := same[row.Sum]; len(files) > 0 {
			left = append(left, files[0])
			same[row.Sum] = files[1:]
		}
	}
	var write []int
	for i := range rows {
		if now.Rows[i].File != "" {
			continue
		}
		write = append(write, i)
		if len(left) > 0 {
			now.Rows[i].File, left = left[0], left[1:]
		}
		for now.Rows[i].File == "" {
			now.Last++
			name := fmt.Sprintf("items-%d.json", now.Last)
			if _, err := d.top.Lstat(name); vanished(err) {
				now.Rows[i].File = name
			} else if err != nil {
				return fmt.Errorf("look for a row's file: %w", err)
			}
		}
	}
	// Who is killed in the midst of it finds, next time, which files are the table's.
	begun := table{Rows: slices.Clone(now.Rows), Last: now.Last}
	for _, i := range write {
		begun.Rows[i].Sum = ""
	}
	for _, name := range left {
		begun.Rows = append(begun.Rows, tableRow{File: name})
	}
	if err := d.noteTable(begun); err != nil {
		return err
	}
	for _, i := range write {
		if err := d.top.WriteFile(now.Rows[i].File, rows[i], 0o644); err != nil {
			return fmt.Errorf("write a row's file: %w", err)
		}
	}
	for _, name := range left {
		if err := d.top.Remove(name); err != nil && !vanished(err) {
			return fmt.Errorf("remove a row's file: %w", err)
		}
	}
	return d.noteTable(now)
}

func (d *drive) noteTable(t table) error {
	data, err := json.Marshal(t)
	if err == nil {
		err = os.WriteFile(d.tablePath(), data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("note what a list's table holds: %w", err)
	}
	return nil
}
