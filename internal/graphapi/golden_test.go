package graphapi

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
)

var update = flag.Bool("update", false, "rewrite testdata/*.http from what the server answers now")

// The ids of Microsoft's two pages. As the sample tenant has them, so that the
// pages' requests can be sent as they stand.
const (
	pagePolicy   = "845457dc-4bb2-4815-bef3-8628ebd1952e" // of the page on PATCH
	pageBulk     = "71633878-8321-4950-bfaf-ed285bdd1461" // of the page on bulk jobs
	pageUnit     = "3667e382-71a9-4c07-bef7-bda97e09c0d2" // which the PATCH removes
	pageOwner    = "5767e382-71a9-4c07-bef7-bda97e09c0d2"
	pageLotharID = "1fec4e78-bce4-4aaf-ab1b-5451cc387264"
)

// TestGolden replays conversations: each file of testdata is requests and
// their answers in turn. Ids that the server made are shown as ID1, ID2 and so
// on, in the order of their appearance, and can be used in later requests, and
// so can TOKEN, which is that of the next page, and SEARCH, the id of the last search
// of a mailbox. A line "### work" lets the jobs
// run that are due.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.http")
	if err != nil || len(files) < 2 {
		t.Fatal("no conversations", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			w := sqlite(t)
			w.seedPages()
			w.groups = map[backup.ObjectID][]backup.SubjectID{
				research: {"1b014d8c-71fe-4d00-a01a-31850bc5b32c", "2b014d8c-71fe-4d00-a01a-31850bc5b32c"},
				sales:    {pageLotharID},
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := w.converse(t, string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s (-want +got; -update rewrites it):\n%s", file, diff)
			}
		})
	}
}

// seedPages puts in what the pages' requests speak of.
func (w *world) seedPages() {
	w.t.Helper()
	ctx := w.t.Context()
	by := backup.Stamp{By: backup.IdentitySet{Application: backup.Identity{ID: appID}}, At: w.clock()}
	users := []backup.Subject{
		{ID: "1b014d8c-71fe-4d00-a01a-31850bc5b32c", Address: "amala@contoso.com", Mail: "amala@contoso.com", DisplayName: "Amala"},
		{ID: "2b014d8c-71fe-4d00-a01a-31850bc5b32c", Address: "conrad@contoso.com", Mail: "conrad@contoso.com", DisplayName: "Conrad"},
		{ID: pageLotharID, Address: "lothar@contoso.com", Mail: "lothar@contoso.com", DisplayName: "Lothar"},
	}
	if err := w.catalog.ApplyDirectory(ctx, contoso, catalog.DirectoryChange{Users: users}); err != nil {
		w.t.Fatal(err)
	}
	err := w.catalog.Seed(ctx, contoso, []catalog.SeedPolicy{
		{ID: pagePolicy, DisplayName: "OneDrive Policy", Units: []catalog.SeedUnit{{ID: pageUnit, Subject: pageOwner}}},
		{ID: pageBulk, DisplayName: "Bulk"},
	}, by)
	if err != nil {
		w.t.Fatal(err)
	}
}

var madeID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// converse sends the requests of a conversation and returns it with the
// answers that came.
func (w *world) converse(t *testing.T, text string) string {
	c := w.user(contoso)
	names, ids := map[string]string{}, map[string]string{}
	for _, id := range madeID.FindAllString(text, -1) { // those that the file itself names are kept
		names[id] = id
	}
	hide := func(s string) string {
		return madeID.ReplaceAllStringFunc(s, func(id string) string {
			if names[id] == "" && id != userID && id != appID {
				name := fmt.Sprintf("ID%d", len(ids)+1)
				names[id], ids[name] = name, id
			}
			if n := names[id]; n != "" {
				return n
			}
			return id
		})
	}
	var out strings.Builder
	token := regexp.MustCompile(`\$skiptoken=[\w-]+`)
	next := "$skiptoken=TOKEN"
	search := regexp.MustCompile(`("searchResponseId": ")([\w-]{64,})"`)
	found := "SEARCH"
	for n, part := range strings.Split("\n"+text, "\n### ")[1:] {
		title, rest, _ := strings.Cut(part, "\n")
		if n > 0 {
			out.WriteString("\n")
		}
		out.WriteString("### " + title + "\n")
		if title == "work" {
			w.work()
			continue
		}
		request, _, _ := strings.Cut(rest, "\nHTTP/1.1 ")
		request = strings.TrimSpace(request) + "\n"
		out.WriteString(request)
		for name, id := range ids {
			request = regexp.MustCompile(`\b`+name+`\b`).ReplaceAllString(request, id)
		}
		request = strings.ReplaceAll(request, "$skiptoken=TOKEN", next)
		request = strings.ReplaceAll(request, "SEARCH", found)
		head, body, _ := strings.Cut(request, "\n\n")
		// http.ReadRequest wants what the files leave out.
		line, headers, _ := strings.Cut(strings.TrimSpace(head), "\n")
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(line + " HTTP/1.1\r\n" + strings.ReplaceAll(headers+"\n", "\n", "\r\n") + "\r\n")))
		if err != nil {
			t.Fatalf("%s: %v", title, err)
		}
		sent := httptest.NewRequest(r.Method, r.URL.String(), strings.NewReader(body))
		sent.Header = r.Header
		sent.Header.Set("Authorization", "Bearer "+c.token)
		rec := httptest.NewRecorder()
		w.server.ServeHTTP(rec, sent)
		a := w.answer(title, sent, rec.Result())
		fmt.Fprintf(&out, "\nHTTP/1.1 %d %s\n", a.status, http.StatusText(a.status))
		for _, h := range []string{"Content-Type", "Content-Location", "Location", "Allow", "Retry-After", "Preference-Applied"} {
			if v := a.header.Get(h); v != "" {
				out.WriteString(h + ": " + hide(v) + "\n")
			}
		}
		if a.text != "" {
			shown := strings.NewReplacer(a.header.Get("request-id"), "REQUEST-ID", a.header.Get("client-request-id"), "CLIENT-REQUEST-ID").Replace(a.text)
			var pretty bytes.Buffer
			if json.Indent(&pretty, []byte(shown), "", "  ") != nil {
				pretty.WriteString(shown)
			}
			shown = regexp.MustCompile(`("[^"]*Date(Time)?": ")20[^"]*"|("date": ")20[^"]*"`).ReplaceAllString(pretty.String(), `$1${3}TIME"`)
			if t := token.FindString(shown); t != "" {
				next = t
			}
			if id := search.FindStringSubmatch(shown); id != nil {
				found = id[2]
			}
			shown = search.ReplaceAllString(shown, `${1}SEARCH"`)
			shown = regexp.MustCompile(`("@holdfast.contentTag": ")[0-9a-f]+"`).ReplaceAllString(shown, `${1}TAG"`)
			shown = token.ReplaceAllString(shown, "$$skiptoken=TOKEN")
			out.WriteString("\n" + hide(shown) + "\n")
		}
	}
	return out.String()
}
