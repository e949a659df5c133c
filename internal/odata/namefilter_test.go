package odata

import (
	"errors"
	"strings"
	"testing"

	"holdfast/internal/backup"
)

func TestNameFilter(t *testing.T) {
	names := []string{"Report.docx", "annual report", "O'Neil.txt", "budget.xlsx", "Ärger.txt"}
	for filter, want := range map[string]string{
		"":                                 "01234",
		"(name -contains 'report')":        "01",
		"NAME  -Contains'REPORT'":          "01",
		"name -eq 'report.DOCX'":           "0",
		"name -ne 'report.docx'":           "1234",
		"name -contains 'o''n'":            "2",
		"name -like '*.txt'":               "24",
		"name -like 'b?dget*'":             "3",
		"name -like '*'":                   "01234",
		"name -like ''":                    "",
		"name -like 'ä*'":                  "4",
		"name -like '*r*r*'":               "014",
		"-not (name -contains 'report')":   "234",
		"name -eq 'x' -or name -like 'b*'": "3",
		"((name -like '*t*') -and (name -like '*.txt'))":                           "24",
		"name -like 'b*' -or name -like '*.txt' -and name -like 'o*'":              "23",
		"(name -like 'b*' -or name -like '*.txt') -and -not name -contains 'neil'": "34",
	} {
		f, err := ParseNameFilter(filter)
		got := ""
		for i, n := range names {
			if err == nil && f.Match(n) {
				got += string(rune('0' + i))
			}
		}
		if err != nil || got != want {
			t.Errorf("%s chooses %q, want %q (%v)", filter, got, want, err)
		}
	}
	for _, filter := range []string{"name", "name -eq", "name -eq x", "name -eq 'x", "name eq 'x'", "(name -eq 'x'", "name -eq 'x')", "size -eq '1'", "name -ge 'x'",
		"name -eq 'x' and name -eq 'y'", "-and", "()", "names -eq 'x'", "name -equal 'x'", "name -eq 'x' -or", strings.Repeat("(", 40) + "name -eq 'x'" + strings.Repeat(")", 40),
		"name -eq '" + strings.Repeat("x", 1100) + "'"} {
		if _, err := ParseNameFilter(filter); !errors.Is(err, backup.InvalidRequest) {
			t.Errorf("%.60s = %v, want %s", filter, err, backup.InvalidRequest)
		}
	}
}

func FuzzNameFilter(f *testing.F) {
	for _, s := range []string{"(name -contains 'report')", "name -like '*a?b*' -or -not name -ne 'x''y' -and (name -eq '')", "((((", "name -eq '\xff"} {
		f.Add(s, "Report.docx")
	}
	f.Fuzz(func(t *testing.T, filter, name string) {
		got, err := ParseNameFilter(filter)
		if err != nil {
			if !errors.Is(err, backup.InvalidRequest) {
				t.Errorf("%q = %v", filter, err)
			}
			return
		}
		if not, err := ParseNameFilter("-not (" + filter + ")"); err == nil && strings.TrimSpace(filter) != "" && not.Match(name) == got.Match(name) {
			t.Errorf("%q and its opposite agree on %q", filter, name)
		}
	})
}
