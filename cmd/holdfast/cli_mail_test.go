package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A mailbox's point is read from a shell: page after page, a message as text, and files of
// it by names that lead nowhere else.
func TestMailIsReadFromAShell(t *testing.T) {
	pages := 0
	answers := map[string]http.HandlerFunc{
		"mail": func(w http.ResponseWriter, r *http.Request) {
			pages++
			top, n := r.FormValue("$top"), 0
			fmt.Sscan(r.FormValue("$skiptoken"), &n)
			var size int
			fmt.Sscan(top, &size)
			page := map[string]any{}
			var value []any
			for ; len(value) < size && n < 450; n++ {
				value = append(value, map[string]any{"itemKey": fmt.Sprint("k", n), "type": "email", "name": fmt.Sprint("Nr ", n), "sender": "A\x1b[2J"})
			}
			if page["value"] = value; n < 450 {
				page["@odata.nextLink"] = fmt.Sprint("http://", r.Host, r.URL.Path, "?%24skiptoken=", n)
			}
			if err := json.NewEncoder(w).Encode(page); err != nil {
				t.Error(err)
			}
		},
		"message/k1": func(w http.ResponseWriter, _ *http.Request) {
			if err := json.NewEncoder(w).Encode(map[string]any{"itemKey": "k1", "subject": "Re: \u202egpj", "path": "Inbox", "from": []string{"A <a@x>"}, "text": "One\tcell\r\n\x1b]0;title\x07two", "isTextCut": true, "isBroken": true,
				"attachments": []any{map[string]any{"id": "1", "name": "a.txt", "sizeInBytes": "3"}, map[string]any{"id": "2", "name": "b", "sizeInBytes": "9"}}}); err != nil {
				t.Error(err)
			}
		},
		"mime/k1": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Disposition", `attachment; filename="../../etc/pass:wd.eml"`)
			fmt.Fprint(w, "Subject: x\r\n\r\n")
		},
		"attachment/k1/1": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Disposition", `attachment; filename="C:\\a\\..\\.bashrc"`)
			fmt.Fprint(w, "abc")
		},
		"attachment/k1/2": func(w http.ResponseWriter, _ *http.Request) { // it breaks off
			w.Header().Set("Content-Length", "9")
			fmt.Fprint(w, "half")
			panic(http.ErrAbortHandler)
		},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, function, _ := strings.Cut(r.URL.Path, "/restorePoints/p/holdfast.")
		if answer := answers[function]; answer != nil {
			answer(w, r)
			return
		}
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"error":{"code":"itemNotFound","message":"There is none."}}`)
	}))
	defer server.Close()
	t.Setenv("HOLDFAST_URL", server.URL)
	t.Setenv("HOLDFAST_TOKEN", "token")
	c := &caller{t, nil}

	for args, want := range map[string]struct {
		rows, pages int
		more        string
	}{"--limit 0": {450, 3, ""}, "": {100, 1, "--next 100"}, "--limit 250": {250, 2, "--next 250"}, "--limit 100 --next 400": {50, 1, ""}} {
		pages = 0
		out, all, code := c.run("mail ls --point p " + args)
		if lines := strings.Count(out, "\n"); code != 0 || lines != want.rows+1 || pages != want.pages || strings.Contains(all, "--next") != (want.more != "") || !strings.Contains(all, want.more) || strings.Contains(all, "\x1b") {
			t.Errorf("mail ls %s: exit code %d, %d lines in %d pages\n%.300s", args, code, lines, pages, all)
		}
	}
	if out, _, _ := c.run("mail ls --point p --limit 2 --json"); !json.Valid([]byte(out)) || strings.Count(out, "itemKey") != 2 {
		t.Errorf("as JSON it prints %s", out)
	}
	out, all, code := c.run("mail show --point p k1")
	if code != 0 || !strings.Contains(out, "One    cell\n") || !strings.Contains(out, "a.txt, 3 B") || strings.ContainsAny(all, "\x1b\x07\u202e") || !strings.Contains(all, "goes on") || !strings.Contains(all, "not as mail should be") {
		t.Errorf("the message is shown as %d\n%q", code, all)
	}

	dir := filepath.Join(t.TempDir(), "new", "saved")
	c.kept = map[string]string{"TO": dir}
	if _, all, code := c.run("mail save --point p k1 k1 --to $TO"); code != 0 {
		t.Errorf("saving ends with %d\n%s", code, all)
	}
	_, all, code = c.run("mail save --point p k1 --attachments --to $TO")
	if code == 0 || !strings.Contains(all, "C__a_.._.bashrc") {
		t.Errorf("saving what breaks off ends with %d\n%s", code, all)
	}
	if _, all, code := c.run("mail save --point p k2 --to $TO"); code != exitNotFound || strings.Contains(all, "point list") {
		t.Errorf("saving what is not there ends with %d\n%s", code, all)
	}
	var got []string
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s %d", f.Name(), len(data)))
	}
	want := []string{"_.._etc_pass_wd (2).eml 14", "_.._etc_pass_wd (3).eml 14", "_.._etc_pass_wd.eml 14", "C__a_.._.bashrc 3"}
	slices.Sort(want)
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("saved are %q, want %q", got, want)
	}
}
