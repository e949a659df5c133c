package console

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"holdfast/internal/client"
)

const (
	browseID = "b0000000-2222-4333-8444-555566667777"
	library  = "11111111-0000-4000-8000-000000000000,22222222-0000-4000-8000-000000000000,33333333-0000-4000-8000-000000000000"
	folder   = "f0000000-0000-4000-8000-000000000000"
	file     = "e0000000-0000-4000-8000-000000000000"
)

// browseWorld is a world with a browse session of a point that has a folder and
// a file in it.
func browseWorld(t *testing.T) *world {
	w := unitWorld(t)
	w.on("GET "+client.Drives.Units, listOf(aUnit))
	w.on("GET "+anyBrowse+"/"+browseID, map[string]any{"id": browseID, "status": "created", "restorePointId": pointID, "directoryObjectId": ownerID,
		"restorePointDateTime": "2026-11-27T07:50:00Z", "error": map[string]any{"message": "2 items are not held as they were."}})
	w.on("POST "+anyBrowse+"/"+browseID+"/browse", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var asked struct {
			BrowseLocationItemKey, Filter string
			Order                         string `json:"@holdfast.orderBy"`
		}
		w.mu.Lock()
		body := w.asked[len(w.asked)-1].Body
		w.mu.Unlock()
		if err := json.Unmarshal([]byte(body), &asked); err != nil {
			t.Error(err)
		}
		items := []any{}
		switch asked.BrowseLocationItemKey {
		case "":
			items = []any{map[string]any{"itemKey": library, "name": "Documents", "type": "documentLibrary"}}
		case library:
			items = []any{map[string]any{"itemKey": library + "," + folder, "name": "a & b", "type": "folder", "sizeInBytes": "1200", "itemsCount": 1}}
		case library + "," + folder:
			items = []any{map[string]any{"itemKey": library + "," + file, "name": "<x>.txt", "type": "file", "sizeInBytes": "5", "@holdfast.lastModifiedDateTime": "2024-02-29T12:00:00Z", "@holdfast.createdDateTime": "2021-03-01T00:00:00Z"}}
			if asked.Order == "lastModifiedDateTimeDsc" {
				items = append(items, map[string]any{"itemKey": library + ",1", "name": "in order", "type": "folder"})
			}
		default:
			t.Errorf("browsed at %q", asked.BrowseLocationItemKey)
		}
		if err := json.NewEncoder(rw).Encode(listOf(items...)); err != nil {
			t.Error(err)
		}
	}))
	return w
}

// content has the file hold a text, and its name be one.
func (w *world) content(name, text string) {
	w.on("GET "+anyBrowse+"/"+browseID+"/holdfast.content/"+library+","+file, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/octet-stream")
		rw.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", name))
		http.ServeContent(rw, r, "", time.Time{}, strings.NewReader(text))
	}))
}

func TestBrowse(t *testing.T) {
	w := browseWorld(t)
	w.on("GET "+anyBrowse, listOf())
	w.on("POST "+client.Drives.Browses, map[string]any{"id": browseID})
	a := w.post("/console/units/"+unitID+"/browse", nil)
	if made := w.calls("POST"); a.to != "/console/browse/"+browseID || made[0].Body != `{"restorePointId":"`+pointID+`"}` {
		t.Fatalf("browse leads to %d %s by %v", a.status, a.to, made)
	}
	w.on("GET "+anyBrowse, listOf(map[string]any{"id": "other", "restorePointId": pointID, "expirationDateTime": "2026-11-27T08:30:00Z"},
		map[string]any{"id": "kept", "restorePointId": pointID, "expirationDateTime": "2026-11-28T08:00:00Z"}))
	if a := w.post("/console/points/"+pointID+"/browse", nil); a.to != "/console/browse/kept" {
		t.Errorf("a second time it leads to %s", a.to)
	}
	page := w.page(a.to)
	for _, want := range []string{">a &amp; b</a>", "1.2 kB", "Amala &lt;Rao&gt;", "2 items are not held as they were.", "Documents"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q:\n%s", want, page)
		}
	}
	page = w.page(between(page, `<a class="item folder" href="`, `"`))
	if !strings.Contains(page, "&lt;x&gt;.txt") || !strings.Contains(page, ">a &amp; b</a>") || !strings.Contains(page, "2024-02-29 12:00 UTC") || !strings.Contains(page, "2021-03-01 00:00 UTC") {
		t.Errorf("in the folder:\n%s", page)
	}
	// The order is in the address, and stays that in all that is looked into from there.
	sorted := w.page("/console/browse/" + browseID + "?sort=-changed")
	if sorted = w.page(between(sorted, `<a class="item folder" href="`, `"`)); !strings.Contains(sorted, "in order") || !strings.Contains(sorted, `<option value="-changed" selected>`) {
		t.Errorf("in order:\n%s", sorted)
	}
	if to := between(sorted, `<ol class="path"><li><a href="`, `"`); to != "/console/browse/"+browseID+"?sort=-changed" {
		t.Errorf("the library is at %s", to)
	}
	if page := w.page("/console/browse/" + browseID + "?sort=strange"); !strings.Contains(page, `<option value="" selected>`) {
		t.Errorf("in a strange order:\n%s", page)
	}
	if page := w.page("/console/browse/" + browseID + "?q=nothing"); !strings.Contains(page, "Nothing in this folder") {
		t.Errorf("filtered:\n%s", page)
	}
	w.content("<x>.txt", "a <b> c")
	preview := w.page(between(page, `<a class="item file" href="`, `"`))
	if !strings.Contains(preview, "a &lt;b&gt; c") || !strings.Contains(preview, "7 B") {
		t.Errorf("preview:\n%s", preview)
	}
	for text, want := range map[string]string{"": "The file is empty.", "a\x00b": "cannot be shown", "\xff\xfe": "cannot be shown", strings.Repeat("é", maxText): "This is the beginning."} {
		w.content("x.txt", text)
		if got := w.page(between(page, `<a class="item file" href="`, `"`)); !strings.Contains(got, want) {
			t.Errorf("a file of %.10q: %.2000s", text, got)
		}
	}
	w.on("GET "+anyBrowse+"/"+browseID, map[string]any{"id": browseID, "status": "creating"})
	if page := w.page("/console/browse/" + browseID); !strings.Contains(page, "being made ready") {
		t.Errorf("while it is made:\n%s", page)
	}
	w.on("GET "+anyBrowse+"/"+browseID, map[string]any{"id": browseID, "status": "failed", "error": map[string]any{"message": "It <failed>."}})
	if page := w.page("/console/browse/" + browseID); !strings.Contains(page, "It &lt;failed&gt;.") {
		t.Errorf("when it failed:\n%s", page)
	}
}

// Nothing of a file is run: a page that somebody had in a drive would act as
// whoever looks at it.
func TestDownload(t *testing.T) {
	w := browseWorld(t)
	at := "/console/browse/" + browseID + "/file?part=" + file
	for name, show := range map[string]string{"x.html": "", "x.svg": "&show=1", "x.html ": "&show=1", "x.png": ""} {
		w.content(name, "<script>alert(1)</script>")
		a := w.get(at + show)
		if a.header.Get("Content-Type") != "application/octet-stream" || !strings.HasPrefix(a.header.Get("Content-Disposition"), "attachment") || a.body != "<script>alert(1)</script>" ||
			!strings.Contains(a.header.Get("Content-Security-Policy"), "sandbox") || a.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s%s = %d %v %s", name, show, a.status, a.header, a.body)
		}
	}
	w.content("x.PNG", "picture")
	if a := w.get(at + "&show=1"); a.header.Get("Content-Type") != "image/png" || a.header.Get("Content-Disposition") != "" || a.body != "picture" || a.header.Get("Content-Length") != "7" {
		t.Errorf("a picture = %d %v", a.status, a.header)
	}
	r, err := http.NewRequestWithContext(t.Context(), "GET", w.srv.URL+"/console/"+tenantID+strings.TrimPrefix(at, "/console"), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Range", "bytes=1-3")
	if a := w.do(r); a.status != http.StatusPartialContent || a.body != "ict" {
		t.Errorf("a part = %d %s", a.status, a.body)
	}
	// What breaks off does not look whole.
	w.on("GET "+anyBrowse+"/"+browseID+"/holdfast.content/"+library+","+file, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Length", "100")
		fmt.Fprint(rw, "half")
		panic("the vault is gone")
	}))
	if res, err := w.browser.Get(w.srv.URL + "/console/" + tenantID + strings.TrimPrefix(at, "/console")); err == nil {
		defer res.Body.Close()
		if _, err := fmt.Fscan(res.Body, new(string)); err == nil || res.ContentLength != 100 {
			t.Errorf("what breaks off is %s, %d bytes long", res.Status, res.ContentLength)
		}
	}
}

// A PDF is framed by its preview alone, is never anything but a PDF, and is bounded: all else of the
// console stays as strict as it was.
func TestPDF(t *testing.T) {
	w := browseWorld(t)
	preview := "/console/browse/" + browseID + "/preview?" + url.Values{"t": {file + ":x.PDF"}}.Encode()
	shown := "/console/browse/" + browseID + "/pdf/x.PDF?part=" + file
	const text = "%PDF-1.7\n<script>alert(1)</script>"
	w.content("x.PDF", text)
	a := w.get(preview)
	if want := `<object class="pdf" type="application/pdf" data="` + shown + `" aria-label="x.PDF">`; !strings.Contains(a.body, want) || !strings.Contains(a.body, "This browser shows no PDF in a page.") {
		t.Errorf("the preview:\n%s", a.body)
	}
	if got := a.header.Get("Content-Security-Policy"); got != policy+"; object-src 'self'; frame-src 'self'" || a.header.Get("X-Frame-Options") != "DENY" {
		t.Errorf("the preview may %s", got)
	}
	before := len(w.calls("GET"))
	r, err := http.NewRequestWithContext(t.Context(), "GET", w.srv.URL+"/console/"+tenantID+strings.TrimPrefix(shown, "/console"), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Range", "bytes=1-3")
	a = w.do(r)
	if a.status != http.StatusOK || a.body != text || a.header.Get("Content-Type") != "application/pdf" || a.header.Get("X-Content-Type-Options") != "nosniff" ||
		a.header.Get("Accept-Ranges") != "" || a.header.Get("Content-Disposition") != "inline; filename=x.PDF" || a.header.Get("X-Frame-Options") != "SAMEORIGIN" {
		t.Errorf("the PDF = %d %v %s", a.status, a.header, a.body)
	}
	if got := a.header.Get("Content-Security-Policy"); !strings.HasPrefix(got, "default-src 'none';") || !strings.HasSuffix(got, "frame-ancestors 'self'") || strings.Contains(got, "script") {
		t.Errorf("the PDF may %s", got)
	}
	reads := 0
	for _, c := range w.calls("GET")[before:] {
		if strings.Contains(c.Path, "holdfast.content") {
			reads++
		}
	}
	if reads != 1 {
		t.Errorf("it was read %d times for one look", reads)
	}
	// What is none, by its name or by what is in it, is not shown as one.
	for _, name := range []string{"x.html", "x.pdf.html", "x", "x.svg"} {
		w.content(name, text)
		if a := w.get(shown); a.status != http.StatusNotFound || strings.Contains(a.body, "alert(1)") {
			t.Errorf("%s is shown: %d %v", name, a.status, a.header)
		}
		page := w.get("/console/browse/" + browseID + "/preview?" + url.Values{"t": {file + ":" + name}}.Encode())
		if !strings.Contains(page.body, "This is a PDF of another name.") || page.header.Get("Content-Security-Policy") != policy {
			t.Errorf("the preview of %s: %v\n%s", name, page.header, page.body)
		}
	}
	w.content("x.pdf", "<html><script>alert(1)</script>")
	if page := w.get(preview); strings.Contains(page.body, "<object") || page.header.Get("Content-Security-Policy") != policy {
		t.Errorf("the preview of a page that is called x.pdf:\n%s", page.body)
	}
	if a := w.get(shown); a.header.Get("Content-Type") != "application/pdf" {
		t.Errorf("a page that is called x.pdf = %v", a.header)
	}
	// One that is too large, or of no stated length, is left to be downloaded.
	for length, want := range map[string]int{fmt.Sprint(maxPDF + 1): http.StatusRequestEntityTooLarge, "": http.StatusRequestEntityTooLarge} {
		w.on("GET "+anyBrowse+"/"+browseID+"/holdfast.content/"+library+","+file, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Disposition", "attachment; filename=x.pdf")
			if r.Header.Get("Range") != "" {
				rw.Header().Set("Content-Range", "bytes 0-8/"+cmp.Or(length, "*"))
				rw.WriteHeader(http.StatusPartialContent)
			} else if length != "" {
				rw.Header().Set("Content-Length", length)
			}
			fmt.Fprint(rw, "%PDF-1.7\n")
		}))
		if a := w.get(shown); a.status != want {
			t.Errorf("of %q bytes: %d %v", length, a.status, a.header)
		}
		if page := w.page(preview); !strings.Contains(page, "This PDF is too large to be shown here.") {
			t.Errorf("the preview of %q bytes:\n%s", length, page)
		}
	}
}

func TestRestoreItems(t *testing.T) {
	w := browseWorld(t)
	at := "/console/browse/" + browseID + "/restore"
	here := url.Values{"t": {folder + ":a & b"}}
	back := "/console/browse/" + browseID + "?" + here.Encode()
	if a := w.post(at, here); a.to != back {
		t.Errorf("nothing chosen leads to %d %s", a.status, a.to)
	}
	chosen := url.Values{"t": {folder + ":a & b"}, "item": {file + ":<x>.txt", folder + ":b"}}
	a := w.post(at, chosen)
	if !strings.Contains(a.body, "2 items are written into it") || !strings.Contains(a.body, "&lt;x&gt;.txt") || len(w.calls("POST")) > 1 {
		t.Errorf("before it begins: %d %v\n%s", a.status, w.calls("POST"), a.body)
	}
	w.on("POST "+client.Drives.Sessions, map[string]any{"id": "s1"})
	w.on("POST "+anySession+"/s1/activate", map[string]any{})
	chosen.Set("step", "go")
	if a := w.post(at, chosen); a.to != "/console/restores/s1" {
		t.Errorf("it leads to %d %s", a.status, a.to)
	}
	made := w.calls("POST")
	if got := made[len(made)-2].Body; got != `{"granularDriveRestoreArtifacts":[{"browseSessionId":"`+browseID+`","id":"`+library+","+file+`"},{"browseSessionId":"`+browseID+`","id":"`+library+","+folder+`"}]}` {
		t.Errorf("the session is made by %s", got)
	}
	chosen["item"] = make([]string, 51)
	for i := range chosen["item"] {
		chosen["item"][i] = file + ":x"
	}
	if a := w.post(at, chosen); !strings.HasPrefix(a.to, "/console/browse/") {
		t.Errorf("too many lead to %d %s", a.status, a.to)
	}
}

// What was of who has left goes to somebody else or into a site, and it is said before what
// that means.
func TestRestoreElsewhere(t *testing.T) {
	w := unitWorld(t)
	at := "/console/points/" + pointID + "/restore"
	says(t, w.page(at), "into a site", "who may be gone", "!Restore now")
	says(t, w.page(at+"?to=other&target="), "Say to whom: the address of a user, or of a site.", "!Restore now")
	says(t, w.page(at+"?to=other&target=<conrad>@contoso.com"), "beside the drive of <b>&lt;conrad&gt;@contoso.com</b>", "named for Amala &lt;Rao&gt;", "Whoever may read there", "Restore now")
	site := "https://contoso.sharepoint.com/sites/team"
	says(t, w.page(at+"?to=other&target="+site), "A new library is made in the site <b>"+site)
	if len(w.calls("POST")) > 0 {
		t.Fatalf("it was begun before it was asked for: %v", w.calls("POST"))
	}
	w.on("POST "+client.Drives.Sessions, refusal{400, "invalidArtifactRequest", "Named by <its> address."})
	a := w.post(at, url.Values{"to": {"other"}, "target": {"nobody"}})
	says(t, a.body, "Named by &lt;its&gt; address.", "Where to?", `value="nobody"`)
	w.on("POST "+client.Drives.Sessions, map[string]any{"id": "s1"})
	w.on("POST "+anySession+"/s1/activate", map[string]any{})
	if a := w.post(at, url.Values{"to": {"other"}, "target": {site}}); a.to != "/console/restores/s1" {
		t.Errorf("it leads to %d %s", a.status, a.to)
	}
	made := w.body("POST", client.Drives.Sessions)
	if made != `{"driveRestoreArtifacts":[{"@holdfast.targetDrive":"`+site+`","destinationType":"new","restorePoint":{"id":"`+pointID+`"}}]}` {
		t.Errorf("the session is made by %s", made)
	}
	w.on("GET "+anySession+"/s1", map[string]any{"id": "s1", "status": "active"})
	w.on("GET "+client.Drives.Sessions+"/s1"+client.Drives.Artifacts, listOf(map[string]any{"status": "inProgress", "destinationType": "new", "@holdfast.targetDrive": site}))
	says(t, w.page("/console/restores/s1"), site)

	// Of a mailbox the same into a mailbox, and of a site nothing.
	w.on("GET "+anyUnit+"/"+unitID, aMailbox)
	says(t, w.page(at), "somebody else’s mailbox", "!into a site")
	w.on("POST "+client.Mailboxes.Sessions, map[string]any{"id": "s1"})
	w.post(at, url.Values{"to": {"other"}, "target": {"conrad@contoso.com"}})
	if made := w.body("POST", client.Mailboxes.Sessions); !strings.Contains(made, `"@holdfast.targetMailbox":"conrad@contoso.com","destinationType":"new"`) {
		t.Errorf("the session is made by %s", made)
	}
	w.on("GET "+anyUnit+"/"+unitID, aSite)
	says(t, w.page(at+"?to=other&target="+site), "!somebody else", "!Restore now")
}

func TestRestoreDrive(t *testing.T) {
	w := unitWorld(t)
	at := "/console/points/" + pointID + "/restore"
	w.page(at)
	if page := w.page(at + "?to=new"); !strings.Contains(page, "Nothing that is there now is changed.") {
		t.Errorf("to a new place:\n%s", page)
	}
	page := w.page(at + "?to=inPlace")
	for _, want := range []string{"This changes the live drive of Amala &lt;Rao&gt;", "recycle bin", "2 items"} {
		if !strings.Contains(page, want) {
			t.Errorf("in place the page does not say %q:\n%s", want, page)
		}
	}
	if a := w.post(at, url.Values{"to": {"inPlace"}}); !strings.Contains(a.body, "Tick the box first") || len(w.calls("POST")) > 0 {
		t.Errorf("without the tick: %d %v", a.status, w.calls("POST"))
	}
	w.on("POST "+client.Drives.Sessions, map[string]any{"id": "s1"})
	w.on("POST "+anySession+"/s1/activate", refusal{409, "x", "Another restore is at work."})
	if a := w.post(at, url.Values{"to": {"inPlace"}, "understood": {"1"}}); a.to != "/console/restores/s1" {
		t.Errorf("it leads to %d %s", a.status, a.to)
	}
	if made := w.calls("POST"); made[0].Body != `{"driveRestoreArtifacts":[{"destinationType":"inPlace","restorePoint":{"id":"`+pointID+`"}}]}` {
		t.Errorf("the session is made by %v", made)
	}
	w.on("GET "+anySession+"/s1", map[string]any{"id": "s1", "status": "draft"})
	if page := w.page("/console/restores/s1"); !strings.Contains(page, "Another restore is at work.") || !strings.Contains(page, "/console/restores/s1/start") {
		t.Errorf("when it could not be started:\n%s", page)
	}
	if a := w.post(at, url.Values{"to": {"elsewhere"}, "understood": {"1"}}); !strings.Contains(a.body, "Where to?") {
		t.Errorf("to nowhere: %d", a.status)
	}
	for what, says := range map[string]string{"pause": "@holdfast.pausedDateTime", "cancel": "@holdfast.cancelledDateTime"} {
		w.on("GET "+anySession+"/s1", map[string]any{"id": "s1", "status": "active", says: "2026-11-27T07:00:00Z"})
		w.on("POST "+anySession+"/s1/holdfast."+what, map[string]any{})
		if a := w.post("/console/restores/s1/"+what, nil); a.to != "/console/restores/s1" {
			t.Errorf("%s leads to %d %s", what, a.status, a.to)
		}
		page := w.page("/console/restores/s1")
		if paused := what == "pause"; strings.Contains(page, "Paused since") != paused || strings.Contains(page, "s1/resume") != paused || strings.Contains(page, "s1/cancel") != paused {
			t.Errorf("after %s:\n%s", what, page)
		}
	}
	if a := w.post("/console/restores/s1/delete", nil); a.status != http.StatusNotFound {
		t.Errorf("deleting what is gone = %d", a.status)
	}
}

func TestRestores(t *testing.T) {
	w := unitWorld(t)
	session := map[string]any{"id": "s1", "status": "completedWithError", "restoreJobType": "standard", "createdDateTime": "2026-11-27T07:00:00Z", "completedDateTime": "2026-11-27T07:30:00Z",
		"restoreSessionArtifactCount": map[string]any{"total": 2, "completed": 1, "failed": 1}, "createdBy": map[string]any{"user": map[string]any{"displayName": "Noor"}}}
	w.on("GET "+anySession, listOf(session))
	if page := w.page("/console/restores?status=completedWithError"); !strings.Contains(page, "Noor") || w.lastQuery(anySession).Get("$filter") != "status eq 'completedWithError'" {
		t.Errorf("restores:\n%s", page)
	}
	if page := w.page("/console/restores"); !strings.Contains(page, `activeWithErrors">In part: 1 of 2 failed<`) {
		t.Errorf("restores:\n%s", page)
	}
	w.on("GET "+anySession+"/s1", session)
	w.on("GET "+pointSet+"/"+pointID+"/protectionUnit", aUnit)
	w.on("GET "+client.Drives.Sessions+"/s1"+client.Drives.Artifacts, listOf(map[string]any{"status": "failed", "destinationType": "new", "restoredSiteWebUrl": "javascript:alert(1)", "restorePoint": aPoint("2026-11-27T07:50:00Z"),
		"@holdfast.isInPart": true, "@holdfast.failedItemCount": 12, "@holdfast.itemCount": 3400, "error": map[string]any{"message": "One item is missing.", "details": []any{map[string]any{"target": "/a/<b>.txt", "message": "It is too large for the place."}}}}))
	page := w.page("/console/restores/s1")
	for _, want := range []string{"1 of 2; 1 failed", "One item is missing.", "/a/&lt;b&gt;.txt", "It is too large for the place.", "Amala &lt;Rao&gt;", `<td><span class="status activeWithErrors">In part: 12 of 3,400 items failed</span>`, ">In part: 1 of 2 failed<"} {
		if !strings.Contains(page, want) {
			t.Errorf("the restore's page does not say %q:\n%s", want, page)
		}
	}
	// Of the only drive that is what the session says, too; what failed by itself has failed.
	session["restoreSessionArtifactCount"], session["status"] = map[string]any{"total": 1, "failed": 1}, "failed"
	session["@holdfast.inPartCount"], session["@holdfast.failedItemCount"], session["@holdfast.itemCount"] = 1, 12, 3400
	if page := w.page("/console/restores/s1"); strings.Count(page, ">In part: 12 of 3,400 items failed<") != 2 || !strings.Contains(page, `data-say="In part: 12 of 3,400 items failed"`) || strings.Contains(page, ">Failed<") {
		t.Errorf("of a restore that is not whole:\n%s", page)
	}
	delete(session, "@holdfast.inPartCount")
	w.on("GET "+client.Drives.Sessions+"/s1"+client.Drives.Artifacts, listOf(map[string]any{"status": "failed", "destinationType": "new", "restorePoint": aPoint("2026-11-27T07:50:00Z"),
		"restoredSiteWebUrl": "https://x/sites/y/R0", "@holdfast.targetDrive": "https://x/sites/y", "error": map[string]any{"message": "The vault is away."}}))
	if page := w.page("/console/restores/s1"); strings.Count(page, ">Failed<") != 2 || strings.Contains(page, "In part") || strings.Contains(page, "https://x/sites/y<") {
		t.Errorf("of a restore that failed:\n%s", page)
	}
	if strings.Contains(page, `href="javascript`) {
		t.Errorf("a link runs what came from outside:\n%s", page)
	}
	session["restoreJobType"], session["status"] = "granular", "active"
	session["error"] = map[string]any{"message": "m", "details": []any{map[string]any{"target": "/x.txt", "code": "thecode"}}}
	w.on("GET "+client.Drives.Sessions+"/s1"+client.Drives.Granular, listOf(map[string]any{"status": "inProgress", "webUrl": "https://x/sites/y/a%20b.txt", "restoredItemPath": "/Restored/a b.txt"}))
	page = w.page("/console/restores/s1")
	for _, want := range []string{"sites/y/a b.txt", "/Restored/a b.txt", "thecode", `<progress max="100" value="100"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page of a restore of items does not say %q:\n%s", want, page)
		}
	}
}
