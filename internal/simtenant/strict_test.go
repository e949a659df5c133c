package simtenant

import (
	"net/url"
	"strings"
	"testing"
)

// Where the habits ask for it, the service's rules for names hold; without,
// those of the file system.
func TestStrictNames(t *testing.T) {
	w := newWorld(t)
	drive := w.drive(amala)
	long := strings.Repeat("x", 200)
	refused := map[string]string{
		"CON": "", "nul": "", "com7": "", "Desktop.ini": "", "~$a.docx": "", "a_vti_b": "", "a<b": "", `a"b`: "", "a|b": "", " a": "", "a.": "", ".lock": "",
		"\x01": "", strings.Repeat("ü", 256): "long",
	}
	for _, strict := range []bool{false, true} {
		w.faults.Set(func(o *Options) { o.Strict = strict })
		for name, what := range refused {
			if what == "long" && !strict {
				continue
			}
			want := 201
			if strict {
				want = 400
			}
			a := w.do("PUT", drive+"/root:/"+url.PathEscape(name)+":/content", "x")
			if a.status != want && (strict || a.status != 200) {
				t.Errorf("strict %v: a file %q = %d %s", strict, name, a.status, a.raw)
			}
		}
	}
	for _, name := range []string{"COM77", "CONsole", "a#b%c", "~draft.txt", "LPT0.txt"} {
		w.must(201, "PUT", drive+"/root:/"+url.PathEscape(name)+":/content", "x")
	}
	w.must(400, "POST", drive+"/root/children", object{"name": "~temp", "folder": object{}})
	w.must(400, "POST", drive+"/root/children", object{"name": "Forms", "folder": object{}})
	w.must(400, "PATCH", drive+"/root:/COM77", object{"name": "aux"})
	w.must(201, "PUT", drive+"/root:/"+long+"/"+long[:199]+":/content", "x")
	w.must(400, "PUT", drive+"/root:/"+long+"/"+long+":/content", "x")

	// Names that differ in case only are one.
	w.must(201, "PUT", drive+"/root:/Case.txt:/content?@microsoft.graph.conflictBehavior=fail", "x")
	w.must(409, "PUT", drive+"/root:/CASE.txt:/content?@microsoft.graph.conflictBehavior=fail", "x")
	w.must(200, "PATCH", drive+"/root:/case.txt", object{"name": "CASE.txt"})
}

func TestQuota(t *testing.T) {
	w := newWorld(t)
	w.faults.Set(func(o *Options) { o.Quota = 100 })
	drive := w.drive(amala)
	full := func(want string) {
		t.Helper()
		if got := w.must(200, "GET", drive, nil).text("quota", "state"); got != want {
			t.Errorf("the drive is %s, want %s", got, want)
		}
	}
	w.must(201, "PUT", drive+"/root:/a:/content", strings.Repeat("x", 80))
	full("normal")
	w.must(507, "PUT", drive+"/root:/b:/content", strings.Repeat("x", 21))
	w.must(200, "PUT", drive+"/root:/a:/content", strings.Repeat("x", 95))
	full("nearing")
	u := w.must(200, "POST", drive+"/root:/c:/createUploadSession", nil).text("uploadUrl")
	w.must(507, "PUT", u, "xxxxxx", "Content-Range", "bytes 0-5/6", "Authorization", "")
	w.must(202, "POST", drive+"/root:/a:/copy", object{"name": "copy"})
	w.must(404, "GET", drive+"/root:/copy", nil)
	w.must(201, "PUT", drive+"/root:/b:/content", "xxxxx")
	full("exceeded")
	w.must(204, "DELETE", drive+"/root:/a", nil)
	full("normal")
}
