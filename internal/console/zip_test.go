package console

import (
	"archive/zip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// holds has the point of browseWorld hold items, by the key of what they are in, and files
// have contents, by their ids.
func (w *world) holds(in map[string][]any, contents map[string]any) {
	w.on("POST "+anyBrowse+"/"+browseID+"/browse", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var asked struct{ BrowseLocationItemKey string }
		w.mu.Lock()
		body := w.asked[len(w.asked)-1].Body
		w.mu.Unlock()
		if err := json.Unmarshal([]byte(body), &asked); err != nil {
			w.t.Error(err)
		}
		items, ok := in[asked.BrowseLocationItemKey]
		if asked.BrowseLocationItemKey == "" {
			items = []any{map[string]any{"itemKey": library, "name": "Documents", "type": "documentLibrary"}}
		} else if !ok {
			w.t.Errorf("browsed at %q", asked.BrowseLocationItemKey)
		}
		if err := json.NewEncoder(rw).Encode(listOf(items...)); err != nil {
			w.t.Error(err)
		}
	}))
	for id, content := range contents {
		if text, ok := content.(string); ok {
			content = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { io.WriteString(rw, text) })
		}
		w.on("GET "+anyBrowse+"/"+browseID+"/holdfast.content/"+library+","+id, content)
	}
}

func anItem(id, kind, name string) any {
	return map[string]any{"itemKey": library + "," + id, "name": name, "type": kind}
}

// unzipped are the files of a zip by their names, and its folders with a slash.
func unzipped(t *testing.T, a answer) map[string]string {
	t.Helper()
	if a.status != http.StatusOK || a.header.Get("Content-Type") != "application/zip" {
		t.Fatalf("the zip = %d %s\n%s", a.status, a.to, a.body)
	}
	z, err := zip.NewReader(strings.NewReader(a.body), int64(len(a.body)))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := all[f.Name]; twice {
			t.Errorf("%s is in it twice", f.Name)
		}
		all[f.Name] = string(text)
	}
	return all
}

func TestDownloadAsZip(t *testing.T) {
	w := browseWorld(t)
	long := strings.Repeat("0123456789", 100_000)
	turn := 0
	w.holds(map[string][]any{
		library: {anItem("d1", "folder", "a & b"), anItem("f1", "file", "top.txt"), anItem("f9", "file", "not chosen")},
		library + ",d1": {anItem("f2", "file", "<x>.txt"), anItem("f3", "file", ".."), anItem("f4", "file", "../../up/evil"), anItem("f5", "file", "Same.txt"),
			anItem("f6", "file", "same.txt"), anItem("d2", "folder", "empty"), anItem("d3", "folder", ".")},
		library + ",d2": {}, library + ",d3": {anItem("f7", "file", "large")},
	}, map[string]any{"f1": "top", "f2": "angular", "f3": "dots", "f4": "evil", "f5": "one", "f6": "two", "f7": http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if turn++; turn == 1 { // asked to come later, it does
			rw.Header().Set("Retry-After", "1")
			rw.WriteHeader(http.StatusTooManyRequests)
			io.WriteString(rw, `{"error":{"code":"tooManyRequests","message":"Later."}}`)
			return
		}
		io.WriteString(rw, long)
	})})
	want := map[string]string{"a & b/": "", "a & b/_x_.txt": "angular", "a & b/_..": "dots", "a & b/.._.._up_evil": "evil", "a & b/Same.txt": "one",
		"a & b/same (2).txt": "two", "a & b/empty/": "", "a & b/_./": "", "a & b/_./large": long}

	// A folder by its link, which the page has.
	page := w.page("/console/browse/" + browseID)
	link := strings.ReplaceAll(between(page, `<a href="/console/browse/`+browseID+"/zip?", `"`), "&amp;", "&")
	a := w.get("/console/browse/" + browseID + "/zip?" + link)
	if got := unzipped(t, a); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the folder is %.2000v", got)
	}
	if name := a.header.Get("Content-Disposition"); name != `attachment; filename="a & b.zip"` {
		t.Errorf("it is called %s", name)
	}

	// Several by the form.
	want["top.txt"] = "top"
	form := url.Values{"item": {"d1:a & b", "f1:top.txt"}}
	if got := unzipped(t, w.post("/console/browse/"+browseID+"/zip", form)); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("what is chosen is %.2000v", got)
	}

	for _, c := range []struct {
		form   url.Values
		status int
		says   string
	}{
		{url.Values{"item": {"other:x"}}, http.StatusNotFound, "choose anew"},
		{url.Values{}, http.StatusSeeOther, ""},
	} {
		if a := w.post("/console/browse/"+browseID+"/zip", c.form); a.status != c.status || !strings.Contains(a.body, c.says) {
			t.Errorf("%v = %d\n%s", c.form, a.status, a.body)
		}
	}
	if page := w.page("/console/browse/" + browseID); !strings.Contains(page, "Choose the files and folders to download first.") {
		t.Error("who has chosen nothing is not told so")
	}
}

// What cannot be read is named in the zip, and all else is in it; a file that breaks off
// breaks the zip off.
func TestAZipThatIsNotWhole(t *testing.T) {
	w := browseWorld(t)
	w.holds(map[string][]any{library: {anItem("f1", "file", "good"), anItem("f2", "file", "NOT IN HERE.txt"), anItem("f3", "file", "bad"), anItem("f4", "file", "torn")}},
		map[string]any{"f1": "good", "f2": "of a user", "f3": refusal{404, "itemNotFound", "It is damaged."}, "f4": http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			io.WriteString(rw, "the first half")
			rw.(interface{ Flush() }).Flush()
			panic(http.ErrAbortHandler)
		})})
	got := unzipped(t, w.post("/console/browse/"+browseID+"/zip", url.Values{"item": {"f1:good", "f2:NOT IN HERE.txt", "f3:bad"}}))
	if got["good"] != "good" || got["NOT IN HERE (2).txt"] != "of a user" || !strings.Contains(got[notInHere], "bad\tIt is damaged.") || len(got) != 3 {
		t.Errorf("the zip holds %v", got)
	}

	mark := w.csrf("/console/")
	r, err := http.NewRequestWithContext(t.Context(), "POST", w.srv.URL+at(tenantID, "/console/browse/"+browseID+"/zip"), strings.NewReader(url.Values{"csrf": {mark}, "item": {"f1:good", "f4:torn"}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := w.browser.Do(r)
	if err == nil {
		_, err = io.ReadAll(res.Body)
		res.Body.Close()
	}
	if err == nil {
		t.Error("a zip that broke off looks like a whole one")
	}
}

// A folder that takes long is sent with tokens that are renewed meanwhile.
func TestAZipOutlivesItsToken(t *testing.T) {
	w := browseWorld(t)
	w.holds(map[string][]any{library: {anItem("f1", "file", "one"), anItem("f2", "file", "two")}}, map[string]any{"f2": "two", "f1": http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.wait(2 * time.Hour)
		io.WriteString(rw, "one")
	})})
	before := w.tokens
	got := unzipped(t, w.get("/console/browse/"+browseID+"/zip?item=f1:one&item=f2:two"))
	calls := w.calls("GET")
	i := slices.IndexFunc(calls, func(c call) bool { return strings.HasSuffix(c.Path, ",f2") })
	if got["one"] != "one" || got["two"] != "two" || w.tokens != before+1 || calls[i].Token != fmt.Sprintf("Bearer access-%d", w.tokens) {
		t.Errorf("%v, by %s", got, calls[i].Token)
	}
}
