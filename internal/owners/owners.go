// Package owners reads lists of drives' owners as people have them: CSV files out
// of spreadsheets and directories.
package owners

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"

	"holdfast/internal/backup"
)

// An Owner is whom a line names, by address or object id.
type Owner struct {
	Line int
	Text string // empty: the line names nobody
}

// A ColumnError says that the column that was asked for is none.
type ColumnError string

func (e ColumnError) Error() string { return string(e) }

// Read returns the owners that a CSV names, each with its line, in UTF-8 or UTF-16
// and with commas, semicolons or tabs. The column that holds them is found, or
// named by its header or its number; is tells a cell that it may hold, as Is does of
// owners. A line that names nobody has no text.
func Read(in io.Reader, column string, is func(cell string) bool) ([]Owner, error) {
	// Spreadsheets write UTF-8 and UTF-16, with a mark in front that says which.
	buffered := bufio.NewReaderSize(transform.NewReader(in, unicode.BOMOverride(encoding.Nop.NewDecoder())), 64<<10)
	r := csv.NewReader(buffered)
	r.FieldsPerRecord, r.LazyQuotes, r.TrimLeadingSpace, r.ReuseRecord = -1, true, true, true
	r.Comma = delimiter(buffered)
	at, first := -1, true
	if n, err := strconv.Atoi(column); err == nil {
		if n < 1 {
			return nil, ColumnError("columns are numbered from 1")
		}
		at = n - 1
	}
	var entries []Owner
	var skipped int
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		line, _ := r.FieldPos(0)
		named := slices.IndexFunc(record, is)
		if first {
			first = false
			if column != "" && at < 0 {
				at = slices.IndexFunc(record, func(cell string) bool { return strings.EqualFold(strings.TrimSpace(cell), column) })
				if at < 0 {
					return nil, ColumnError(fmt.Sprintf("the first line has no column %q; it has %s", column, strings.Join(record, ", ")))
				}
				continue
			}
			if named < 0 && (at < 0 || at >= len(record) || !is(record[at])) {
				skipped = line // a header
				continue
			}
		}
		if at < 0 {
			if at = named; at < 0 {
				if strings.TrimSpace(strings.Join(record, "")) == "" {
					continue
				}
				return nil, fmt.Errorf("no column holds addresses or object ids: line %d has none. Say which column with --column", line)
			}
		}
		text := ""
		if at < len(record) {
			text = strings.TrimSpace(record[at])
		}
		if text == "" && strings.TrimSpace(strings.Join(record, "")) == "" {
			continue // spreadsheets end in such lines
		}
		entries = append(entries, Owner{line, strings.Clone(text)})
	}
	if len(entries) == 0 && skipped > 0 {
		return nil, fmt.Errorf("no column holds addresses or object ids, nor does line %d", skipped)
	}
	return entries, nil
}

// Is reports whether a cell looks like an address or an object id.
func Is(cell string) bool {
	cell = strings.TrimSpace(cell)
	if _, ok := backup.ParseGUID(cell); ok {
		return true
	}
	name, domain, ok := strings.Cut(cell, "@")
	return ok && name != "" && strings.Contains(domain, ".") && !strings.ContainsAny(cell, " \t")
}

// delimiter is what parts the first line: commas, unless it has others only.
func delimiter(r *bufio.Reader) rune {
	head, _ := r.Peek(64 << 10) // an error shows again when it is read
	line, _, _ := bytes.Cut(head, []byte("\n"))
	for _, c := range []rune{',', ';', '\t'} {
		if bytes.ContainsRune(line, c) {
			return c
		}
	}
	return ','
}
