package owners

import (
	"slices"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	const id = "1fec4e78-bce4-4aaf-ab1b-5451cc387264"
	for _, row := range []struct {
		name, csv, column string
		want              []Owner
		fails             string
	}{
		{"bare", "a@b.com\nc@d.com\n", "", []Owner{{1, "a@b.com"}, {2, "c@d.com"}}, ""},
		{"header", "Owner\na@b.com", "", []Owner{{2, "a@b.com"}}, ""},
		{"second column", "Name,Id\nA," + id + "\nB, x@y.org ", "", []Owner{{2, id}, {3, "x@y.org"}}, ""},
		{"named column", "mail,Backup\na@b.com,c@d.com\n", "backup", []Owner{{2, "c@d.com"}}, ""},
		{"numbered column, no header", "a@b.com,c@d.com\n", "2", []Owner{{1, "c@d.com"}}, ""},
		{"numbered column, header", "A,B\na@b.com,c@d.com\n", "2", []Owner{{2, "c@d.com"}}, ""},
		{"semicolons", "Name;Mail\n\"A; B\";a@b.com\n", "", []Owner{{2, "a@b.com"}}, ""},
		{"tabs and CRLF", "Name\tMail\r\nA\ta@b.com\r\n", "", []Owner{{2, "a@b.com"}}, ""},
		{"UTF-8 mark", "\ufeffa@b.com\n", "", []Owner{{1, "a@b.com"}}, ""},
		{"UTF-16", "\xff\xfea\x00@\x00b\x00.\x00c\x00\n\x00", "", []Owner{{1, "a@b.c"}}, ""},
		{"lines of a cell count", "Name,Mail\n\"A\nB\",a@b.com\nC,c@d.com\n", "", []Owner{{2, "a@b.com"}, {4, "c@d.com"}}, ""},
		{"short and empty rows", "Name,Mail\nA,a@b.com\nB\n\n,\nC,c@d.com\n", "", []Owner{{2, "a@b.com"}, {3, ""}, {6, "c@d.com"}}, ""},
		{"nonsense stays for the server to judge", "Mail\na@b.com\nx\n", "", []Owner{{2, "a@b.com"}, {3, "x"}}, ""},
		{"empty", "", "", nil, ""},
		{"no such column", "Mail\na@b.com\n", "Owner", nil, `no column "Owner"; it has Mail`},
		{"no owners", "Name\nA\nB\n", "", nil, "line 2 has none"},
		{"column 0", "a@b.com\n", "0", nil, "numbered from 1"},
	} {
		got, err := Read(strings.NewReader(row.csv), row.column, Is)
		if row.fails != "" {
			if err == nil || !strings.Contains(err.Error(), row.fails) {
				t.Errorf("%s: %v, want %q", row.name, err, row.fails)
			}
		} else if err != nil || !slices.Equal(got, row.want) {
			t.Errorf("%s: %v, %v, want %v", row.name, got, err, row.want)
		}
	}
}
