package graphapi

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/database"
	"holdfast/internal/identity"
	"holdfast/internal/jobs"
	"holdfast/internal/odata"
)

// A shelf is what every restore point of the tests holds: folders "a" with 23
// files and "b b" with a folder in it, and a file.
type shelf struct{}

var shelved = func() (items []backup.Item) {
	add := func(id, parent, path string, kind backup.ItemKind, size, below int64) {
		items = append(items, backup.Item{ID: backup.ItemID(id), Parent: backup.ItemID(parent), Name: path[strings.LastIndexByte(path, '/')+1:], Path: path, Kind: kind, Size: size, Items: below,
			Created: start, Modified: start.Add(time.Duration(len(items)*7%5) * time.Hour)}) // in another order than the names
	}
	add("root", "", "", backup.Folder, 2300, 27)
	add("a", "root", "a", backup.Folder, 230, 23)
	add("b", "root", "b b", backup.Folder, 0, 1)
	add("f", "root", "100% #1.txt", backup.File, 7, 0)
	for i := range 23 {
		add(fmt.Sprint("a", i), "a", fmt.Sprintf("a/%02d.txt", i), backup.File, 10, 0)
	}
	add("c", "b", "b b/c", backup.Folder, 0, 0)
	return items
}()

func (shelf) Item(_ context.Context, _ backup.Point, ref backup.ItemRef) (backup.Item, error) {
	for _, i := range shelved {
		if ref == backup.RefOf(i.ID) || ref == (backup.ItemRef{}) {
			return i, nil
		}
	}
	return backup.Item{}, backup.Fail(backup.ItemNotFound, "Unknown.")
}

func (shelf) Unread(_ context.Context, p backup.Point) (unread []backup.Unread, _ error) {
	for i := range int(p.Unread) {
		unread = append(unread, backup.Unread{Item: "i", Path: fmt.Sprintf("a/%03d.txt", i), Code: backup.ResourceLocked, Message: "The file is locked.", Since: p.At, Held: i%2 == 0})
	}
	return unread, nil
}

// mailed are changes of a mailbox: items that the index knows, one that it does not, and
// a folder.
var mailed = []backup.Change{
	{To: &backup.Item{ID: "item0", Parent: "in", Name: "a.fts", Path: "Inbox/a.fts", Kind: backup.File, Size: 5}},
	{From: &backup.Item{ID: "item1", Parent: "in", Name: "b.fts", Path: "Inbox/b.fts", Kind: backup.File}, To: &backup.Item{ID: "item1", Parent: "old", Name: "b.fts", Path: "Old/b.fts", Kind: backup.File}},
	{From: &backup.Item{ID: "item2", Parent: "cal", Name: "c.fts", Path: "Calendar/c.fts", Kind: backup.File}},
	{From: &backup.Item{ID: "unknown", Parent: "in", Name: "d.fts", Path: "Inbox/d.fts", Kind: backup.File}, To: &backup.Item{ID: "unknown", Parent: "in", Name: "d.fts", Path: "Inbox/d.fts", Kind: backup.File}, Content: true},
	{To: &backup.Item{ID: "f", Parent: "in", Name: "Projects", Path: "Inbox/Projects", Kind: backup.Folder}},
}

// Changes has each item of the shelf added, but for one that is deleted, one that was moved
// and one that has another content.
func (shelf) Changes(_ context.Context, of backup.Workload, from, to backup.Point) iter.Seq2[backup.Change, error] {
	return func(yield func(backup.Change, error) bool) {
		if from.Tree == to.Tree {
			return
		}
		if of == backup.Exchange {
			for _, c := range mailed {
				if !yield(c, nil) {
					return
				}
			}
			return
		}
		for i, item := range shelved[1:] {
			c := backup.Change{To: &item}
			was := item
			switch i {
			case 0:
				c = backup.Change{From: &item}
			case 1:
				was.Name, was.Path = "old", "old"
				c.From = &was
			case 2:
				was.Size++
				c.From, c.Content = &was, true
			}
			if !yield(c, nil) {
				return
			}
		}
	}
}

func (shelf) Children(_ context.Context, _ backup.Point, folder backup.ItemID, from int64) iter.Seq2[backup.Item, error] {
	return func(yield func(backup.Item, error) bool) {
		for n, i := range shelved {
			if i.At = int64(n) + 1; i.Parent == folder && i.At >= from && !yield(i, nil) {
				return
			}
		}
	}
}

func (shelf) Open(_ context.Context, _ backup.Point, file backup.ItemID) (io.ReadSeekCloser, error) {
	for _, i := range shelved {
		if i.ID == file && i.Kind == backup.File {
			return closing{strings.NewReader("this is " + i.Name)}, nil
		}
	}
	return nil, backup.Fail(backup.ItemNotFound, "Unknown.")
}

// posted is what a mailbox's point of the shelf holds: folders, messages as MIME, one of which
// the vault gives no more, and what is none.
var posted = []backup.MailHeld{
	{Item: backup.Item{ID: "in", Parent: "root", Name: "Inbox", Path: "Inbox", Kind: backup.Folder, Items: 4}},
	{Item: backup.Item{ID: "sub", Parent: "in", Name: "Projects", Path: "Inbox/Projects", Kind: backup.Folder}},
	{Item: backup.Item{ID: "never", Parent: "in", Name: "e.fts", Path: "Inbox", Kind: backup.File}, Lack: &backup.Unread{Item: "never", Code: backup.ResourceLocked, Message: "It never came.", Since: start}},
	{Item: backup.Item{ID: "item0", Parent: "in", Name: "d.fts", Path: "Inbox", Kind: backup.File, Size: 900}, Made: start, MIME: true},
	{Item: backup.Item{ID: "new", Parent: "in", Name: "c.fts", Path: "Inbox", Kind: backup.File, Size: 9}, Made: start, MIME: true, Old: true,
		Lack: &backup.Unread{Item: "new", Code: backup.ResourceLocked, Message: "It is locked.", Held: true}},
	{Item: backup.Item{ID: "bad", Parent: "in", Name: "b.fts", Path: "Inbox", Kind: backup.File, Size: 9}, Made: start, MIME: true},
	{Item: backup.Item{ID: "item2", Parent: "in", Name: "a.fts", Path: "Inbox", Kind: backup.File, Size: 70}, Made: start},
}

func (shelf) Mail(_ context.Context, _ backup.Point, folder backup.ItemID, after string, limit int) (part backup.MailPart, _ error) {
	for i, held := range posted {
		if n, _ := strconv.Atoi(after); held.Parent != folder || i < n {
			continue
		}
		if len(part.All) == limit {
			part.Next = strconv.Itoa(i)
			break
		}
		part.All = append(part.All, held)
	}
	return part, nil
}

func (shelf) MailHeld(_ context.Context, _ backup.Point, ref backup.ItemRef) (backup.MailHeld, error) {
	if ref == (backup.ItemRef{}) {
		return backup.MailHeld{Item: backup.Item{ID: "root", Kind: backup.Folder}}, nil
	}
	for _, held := range posted {
		if backup.RefOf(held.ID) == ref && (held.Lack == nil || held.Lack.Held) {
			return held, nil
		}
	}
	return backup.MailHeld{}, backup.Fail(backup.ItemNotFound, "Unknown.")
}

// OpenMail gives the message that posted has as MIME; of another only its begin.
func (shelf) OpenMail(_ context.Context, _ backup.Point, item backup.ItemID) (io.ReadSeekCloser, error) {
	switch item {
	case "bad":
		return torn{closing{strings.NewReader("Subject: x\r\n")}}, nil
	case "new":
		return closing{strings.NewReader("Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhalf")}, nil
	}
	return closing{strings.NewReader(strings.ReplaceAll(`From: =?utf-8?q?J=C3=BCrgen?= <j@contoso.com>
To: Amala <amala@contoso.com>, conrad@contoso.com
Cc: noor@contoso.com
Date: Fri, 27 Nov 2026 10:00:00 +0100
Subject: Invoice 5/2026
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/html; charset=utf-8

<script>alert(1)</script><p>The <b>invoice</b><img src="https://tracker/x.png"></p>
--b
Content-Type: application/pdf
Content-Disposition: attachment; filename="../invoice.pdf"
Content-Transfer-Encoding: base64

QUJDREVG
--b--
`, "\n", "\r\n"))}, nil
}

// A torn content cannot be read to its end.
type torn struct{ closing }

func (t torn) Read(b []byte) (int, error) {
	n, err := t.closing.Read(b)
	if err == io.EOF {
		err = backup.Fail(backup.ServiceUnavailable, "The vault is damaged.")
	}
	return n, err
}

type closing struct{ *strings.Reader }

func (closing) Close() error { return nil }

// The bytes of a file are there for whoever may browse, in whole and in part,
// and the audit log says who read what.
func TestContent(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.app(contoso)
		points, _ := w.fast(c, ownerN(1))
		at := "/browseSessions/" + c.do("POST", "/"+driveBrowseSet, obj{"restorePointId": points[0].ID}).want(201).str("id")
		key := func(id string) string { return string(backup.KeyOf(contoso, points[0].Drive, backup.ItemID(id))) }
		raw := func(c *client, key string, headers ...string) *http.Response {
			r := httptest.NewRequest("GET", host+"/v1.0/"+root+at+"/holdfast.content/"+key, nil)
			r.Header.Set("Authorization", "Bearer "+c.token)
			for i := 0; i < len(headers); i += 2 {
				r.Header.Set(headers[i], headers[i+1])
			}
			rec := httptest.NewRecorder()
			w.server.ServeHTTP(rec, r)
			return rec.Result()
		}
		text := func(r *http.Response) string {
			data, err := io.ReadAll(r.Body)
			if err != nil {
				t.Fatal(err)
			}
			return string(data)
		}
		got := raw(c, key("f"), "Accept", "image/png")
		if body := text(got); got.StatusCode != 200 || body != "this is 100% #1.txt" || got.Header.Get("Content-Type") != "application/octet-stream" ||
			got.Header.Get("Content-Disposition") != `attachment; filename="100% #1.txt"` || got.Header.Get("request-id") == "" {
			t.Errorf("content = %d %v %q", got.StatusCode, got.Header, body)
		}
		if got := raw(c, key("f"), "Range", "bytes=8-10"); got.StatusCode != 206 || text(got) != "100" {
			t.Errorf("a part = %d %v", got.StatusCode, got.Header)
		}
		for _, k := range []string{key("a"), key("root"), key("none"), "x", string(backup.LibraryKey(contoso, points[0].Drive)), string(backup.KeyOf(fabrikam, points[0].Drive, "f"))} {
			c.do("GET", at+"/holdfast.content/"+k, nil).want(404, backup.ItemNotFound)
		}
		w.app(fabrikam).do("GET", at+"/holdfast.content/"+key("f"), nil).want(404, backup.ItemNotFound)
		w.app(contoso, identity.SearchRead).do("GET", at+"/holdfast.content/"+key("f"), nil).want(403, backup.AuthorizationDenied)
		var read, refused int
		var log []backup.Activity
		err := w.catalog.ExportActivities(t.Context(), contoso, time.Time{}, func(a backup.Activity) error { log = append(log, a); return nil })
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range log {
			if a.Operation == string(identity.ReadContent) && a.Result == backup.ActivitySucceeded && strings.Contains(a.Target, "(100% #1.txt)") {
				read++
			} else if a.Operation == string(identity.ReadContent) && a.Result == backup.ActivityFailed {
				refused++
			}
		}
		if read != 2 || refused != 7 {
			t.Errorf("the audit log has %d reads and %d refusals: %+v", read, refused, log)
		}
	})
}

func names(r *response) string {
	var all []string
	for _, v := range r.want(200).list("value") {
		all = append(all, v.(obj)["name"].(string))
	}
	return strings.Join(all, ",")
}

// fast returns the newest point of each owner, which can be browsed, and an
// older one that cannot.
func (w *world) fast(c *client, owners ...string) (newest []backup.Point, slow backup.Point) {
	w.t.Helper()
	for _, points := range w.protected(c, 3, owners...) {
		newest, slow = append(newest, points[2]), points[1]
	}
	return newest, slow
}

func TestBrowseSessions(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.app(contoso)
		points, slow := w.fast(c, ownerN(1))
		point := points[0]
		made := c.do("POST", "/"+driveBrowseSet, obj{"restorePointId": point.ID}).want(201)
		id := made.str("id")
		if made.str("status") != "created" || made.str("restorePointId") != string(point.ID) || made.str("backupSizeInBytes") != "1" || made.str("directoryObjectId") != ownerN(1) {
			t.Errorf("created = %s", made.text)
		}
		from, _ := time.Parse(time.RFC3339, made.str("createdDateTime"))
		if to, _ := time.Parse(time.RFC3339, made.str("expirationDateTime")); to.Sub(from) != 72*time.Hour {
			t.Errorf("it lives %v", to.Sub(from))
		}
		for _, at := range []string{"/browseSessions/" + id, "/" + driveBrowseSet + "('" + id + "')", "/browseSessions/" + id + "/graph." + driveBrowse} {
			if got := c.do("GET", at, nil).want(200); got.str("id") != id {
				t.Errorf("%s = %s", at, got.text)
			}
		}
		for _, at := range []string{"/browseSessions", "/" + driveBrowseSet, "/browseSessions/graph." + driveBrowse, "/browseSessions?$filter=status%20eq%20'created'&$orderby=createdDateTime%20desc"} {
			if got := c.do("GET", at, nil).want(200); len(got.list("value")) != 1 {
				t.Errorf("%s = %s", at, got.text)
			}
		}
		if got := c.do("GET", "/browseSessions/$count", nil).want(200); got.text != "1" {
			t.Errorf("count = %s", got.text)
		}
		for name, row := range map[string]struct {
			body any
			code backup.Code
		}{
			"a slow point": {obj{"restorePointId": slow.ID}, backup.InvalidRestorePoint},
			"unknown":      {obj{"restorePointId": backup.NewID[string]()}, backup.InvalidRestorePoint},
			"malformed":    {obj{"restorePointId": "x"}, backup.InvalidRestorePoint},
			"no point":     {obj{}, backup.InvalidRestorePoint},
			"no body":      {"", backup.InvalidCreateRequest},
			"strange":      {obj{"restorePointId": point.ID, "x": 1}, backup.InvalidRequest},
		} {
			if got := c.do("POST", "/"+driveBrowseSet, row.body); got.status != 400 || got.code() != row.code {
				t.Errorf("%s: %d %s", name, got.status, got.text)
			}
		}
		c.do("GET", "/browseSessions/"+id+"?$select=id", nil).want(400, backup.InvalidRequest)
		for _, r := range [][2]string{{"PATCH", "/browseSessions/" + id}, {"POST", "/browseSessions"}, {"PUT", "/browseSessions/" + id + "/browse"}} {
			c.do(r[0], r[1], "{}").want(405, backup.NotAllowed)
		}

		// What is of another tenant, or gone, is unknown.
		other := w.app(fabrikam)
		gone := func(c *client) {
			t.Helper()
			for _, r := range [][2]string{{"GET", ""}, {"DELETE", ""}, {"POST", "/browse"}, {"GET", "/browse?$skiptoken=x"}, {"GET", "/browse(nextFetchToken='x')"}} {
				c.do(r[0], "/browseSessions/"+id+r[1], nil).want(404, backup.ItemNotFound)
			}
		}
		other.do("POST", "/"+driveBrowseSet, obj{"restorePointId": point.ID}).want(400, backup.InvalidRestorePoint)
		gone(other)
		c.do("GET", "/browseSessions/nonsense", nil).want(404, backup.ItemNotFound)
		second := c.do("POST", "/"+driveBrowseSet, obj{"restorePointId": point.ID}).want(201).str("id")
		c.do("DELETE", "/browseSessions/"+second, nil).want(204)
		c.do("DELETE", "/browseSessions/"+second, nil).want(404, backup.ItemNotFound)
		w.wait(72*time.Hour - time.Minute)
		c = w.app(contoso)
		c.do("GET", "/browseSessions/"+id, nil).want(200)
		w.wait(time.Minute)
		gone(c)
		if got := c.do("GET", "/browseSessions", nil).want(200); len(got.list("value")) != 0 {
			t.Errorf("after 72 h there are %s", got.text)
		}
		var rows int
		if err := w.db.Read().QueryRow(`SELECT count(*) FROM browse_session`).Scan(&rows); err != nil || rows != 1 {
			t.Errorf("%d rows, %v", rows, err)
		}
		w.run(jobs.Expire, string(contoso), w.catalog.ExpireBrowseSessions)
		if err := w.db.Read().QueryRow(`SELECT count(*) FROM browse_session`).Scan(&rows); err != nil || rows != 0 {
			t.Errorf("%d rows after removal, %v", rows, err)
		}
	})
}

// claim takes the jobs of a kind that are due.
func (w *world) claim(kind jobs.Kind) []*jobs.Job {
	w.t.Helper()
	claimed, err := w.queue.Claim(w.t.Context(), kind, 1000, time.Minute, "test")
	if err != nil {
		w.t.Fatal(err)
	}
	return claimed
}

// run claims a job, which it makes, and does it.
func (w *world) run(kind jobs.Kind, key string, do func(context.Context, *jobs.Job) error) {
	w.t.Helper()
	err := w.db.Tx(w.t.Context(), func(tx *database.Tx) error {
		return w.queue.Enqueue(w.t.Context(), tx, jobs.Spec{Kind: kind, Key: key, Tenant: contoso})
	})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, j := range w.claim(kind) {
		if j.Key == key {
			if err := do(w.t.Context(), j); err != nil {
				w.t.Fatal(err)
			}
			return
		}
	}
	w.t.Fatalf("no job %s %s", kind, key)
}

func TestBrowse(t *testing.T) {
	w := sqlite(t)
	c := w.app(contoso)
	points, _ := w.fast(c, ownerN(1))
	id := c.do("POST", "/"+driveBrowseSet, obj{"restorePointId": points[0].ID}).want(201).str("id")
	at := "/" + driveBrowseSet + "/" + id + "/browse"

	top := c.do("POST", at, nil).want(200)
	if top.get("value.0.type") != "documentLibrary" || top.get("value.0.name") != "Documents" || top.get("@odata.count") != nil && top.json["@odata.count"] != 1.0 ||
		top.json["@odata.context"] != host+"/v1.0/$metadata#Collection(microsoft.graph.browseQueryResponseItem)" || top.get("value.0.itemsCount") != 27.0 || top.get("value.0.sizeInBytes") != "2300" {
		t.Errorf("top = %s", top.text)
	}
	library := top.str("value.0.itemKey")
	if strings.Count(library, ",") != 2 {
		t.Errorf("the library's key is %s", library)
	}
	for _, body := range []any{"", "{}", obj{"browseLocationItemKey": nil, "browseResourceType": "none"}, obj{"browseResourceType": "site"}, obj{"browseLocationItemKey": library[:73], "browseResourceType": "site"}} {
		if got := c.do("POST", at, body); names(got) != "Documents" {
			t.Errorf("%v = %s", body, got.text)
		}
	}
	in := c.do("POST", at, obj{"browseLocationItemKey": strings.ToUpper(library), "browseResourceType": "documentLibrary"})
	if names(in) != "a,b b,100% #1.txt" || in.str("value.0.type") != "folder" || in.str("value.2.type") != "file" || in.get("value.0.itemsCount") != 23.0 ||
		in.get("value.2.itemsCount") != nil || in.str("value.2.sizeInBytes") != "7" || strings.Count(in.str("value.2.itemKey"), ",") != 3 {
		t.Errorf("the library holds %s", in.text)
	}
	a, file := in.str("value.0.itemKey"), in.str("value.2.itemKey")
	if again := c.do("POST", "/browseSessions/"+c.do("POST", "/"+driveBrowseSet, obj{"restorePointId": points[0].ID}).want(201).str("id")+"/microsoft.graph.browse", obj{"browseLocationItemKey": library}); again.str("value.0.itemKey") != a {
		t.Errorf("another session calls it %s", again.text)
	}

	// Pages of ten.
	page := c.do("POST", at, obj{"browseLocationItemKey": a, "browseResourceType": "folder", "orderBy": "nameDsc", "filter": "(name -like '*.txt')"})
	if page.json["@odata.count"] != 10.0 || !strings.HasPrefix(names(page), "22.txt,21.txt") {
		t.Errorf("the first page = %s", page.text)
	}
	next := page.json["@odata.nextLink"].(string)
	if !strings.HasPrefix(next, host+"/v1.0/"+root+at+"?$skiptoken=") {
		t.Errorf("next = %s", next)
	}
	_, token, _ := strings.Cut(next, "=")
	second := c.do("GET", next, nil)
	for _, form := range []string{at + "(nextFetchToken='" + token + "')", "/browseSessions('" + id + "')/microsoft.graph.browse(nextFetchToken='" + token + "')", "/browseSessions/" + id + "/browse?skiptoken=" + token} {
		if got := c.do("GET", form, nil); names(got) != names(second) {
			t.Errorf("%s = %s", form, got.text)
		}
	}
	third := c.do("GET", second.json["@odata.nextLink"].(string), nil)
	if third.json["@odata.count"] != 3.0 || third.json["@odata.nextLink"] != nil || names(third) != "02.txt,01.txt,00.txt" {
		t.Errorf("the last page = %s", third.text)
	}
	// A token is good for its tenant and session only.
	foreign := c.do("POST", "/"+driveBrowseSet, obj{"restorePointId": points[0].ID}).want(201).str("id")
	c.do("GET", "/browseSessions/"+foreign+"/browse?$skiptoken="+token, nil).want(400, backup.InvalidRequest)
	c.do("GET", at+"?$skiptoken="+token[1:], nil).want(400, backup.InvalidRequest)
	c.do("GET", at, nil).want(400, backup.InvalidRequest)
	c.do("GET", at+"?$top=1", nil).want(400, backup.InvalidRequest)
	policies := "/" + policySet + "?$skiptoken=" + token
	c.do("GET", policies, nil).want(400, backup.InvalidRequest)

	for filter, want := range map[string]string{"name -contains '1'": "100% #1.txt", "(name -eq 'A')": "a", "name -like 'x*'": ""} {
		if got := names(c.do("POST", at, obj{"browseLocationItemKey": library, "filter": filter})); got != want {
			t.Errorf("%s chooses %q, want %q", filter, got, want)
		}
	}
	for order, want := range map[string]string{"nameAsc": "100% #1.txt,a,b b", "PATHDSC": "b b,a,100% #1.txt"} {
		if got := names(c.do("POST", at, obj{"browseLocationItemKey": library, "orderBy": order})); got != want {
			t.Errorf("%s = %q, want %q", order, got, want)
		}
	}
	// Ours: the date of each, and orders by that and by size, in which equal ones stay in their order.
	for order, want := range map[string]string{"sizeAsc": "b b,100% #1.txt,a", "SizeDsc": "a,100% #1.txt,b b", "lastModifiedDateTimeAsc": "100% #1.txt,a,b b", "lastModifiedDateTimeDsc": "b b,a,100% #1.txt"} {
		if got := names(c.do("POST", at, obj{"browseLocationItemKey": library, "@holdfast.orderBy": order})); got != want {
			t.Errorf("%s = %q, want %q", order, got, want)
		}
	}
	if same := names(c.do("POST", at, obj{"browseLocationItemKey": a, "@holdfast.orderBy": "sizeDsc"})); !strings.HasPrefix(same, "00.txt,01.txt") {
		t.Errorf("of equal sizes, %s", same)
	}
	if got := in.json["value"].([]any)[0].(map[string]any); got["@holdfast.createdDateTime"] != odata.FormatTime(start) || got["@holdfast.lastModifiedDateTime"] != odata.FormatTime(start.Add(2*time.Hour)) {
		t.Errorf("the dates of a folder: %v", got)
	}
	// Larger pages for who asks for them, once.
	large := c.do("POST", at, obj{"browseLocationItemKey": a}, "Prefer", "odata.maxpagesize=20").want(200)
	if rest := c.do("GET", large.json["@odata.nextLink"].(string), nil); large.json["@odata.count"] != 20.0 || rest.json["@odata.count"] != 3.0 || large.header.Get("Preference-Applied") != "odata.maxpagesize=20" {
		t.Errorf("pages of twenty: %v, %s", large.header, rest.text)
	}
	for name, body := range map[string]any{
		"both orders": obj{"orderBy": "nameAsc", "@holdfast.orderBy": "sizeAsc"}, "a strange order of ours": obj{"@holdfast.orderBy": "nameAsc"},
		"a malformed key": obj{"browseLocationItemKey": "x"}, "an unknown key": obj{"browseLocationItemKey": library + "," + backup.NewID[string]()},
		"another library": obj{"browseLocationItemKey": backup.LibraryKey(contoso, "other")}, "a file": obj{"browseLocationItemKey": file},
		"another kind": obj{"browseLocationItemKey": library, "browseResourceType": "folder"}, "a strange kind": obj{"browseResourceType": "drawer"},
		"a bad filter": obj{"filter": "name eq 'x'"}, "a bad order": obj{"orderBy": "size"}, "a strange member": obj{"x": 1}, "no object": "[]", "a number": obj{"filter": 1},
		"a long filter": obj{"filter": strings.Repeat("x", 2000)}, "an unknown future": obj{"orderBy": "unknownFutureValue"},
	} {
		if got := c.do("POST", at, body); got.status != 400 || got.code() != backup.InvalidRequest {
			t.Errorf("%s: %d %s", name, got.status, got.text)
		}
	}
}

// Users need the directory role where it is asked for; applications do not.
func TestBrowsingNeedsARole(t *testing.T) {
	w := sqlite(t, func(c *Config) { c.BrowseRole = identity.SharePointBackupAdministrator })
	with := func(wids ...string) *client {
		c := w.claims(contoso)
		c["scp"], c["oid"], c["wids"] = string(identity.RestoreWrite), userID, wids
		return &client{w, sign(t, jwt.MapClaims(c))}
	}
	plain, admin := with("f28a1f50-f6e7-4571-818b-6a12f2af6b6c"), with(strings.ToUpper(identity.SharePointBackupAdministrator))
	session := admin.do("POST", "/"+driveSessionSet, "{}").want(201).str("id")
	asked := 0
	for _, r := range requests() {
		if !r.browses {
			continue
		}
		asked++
		plain.do(r.method, r.url, nil).want(403, backup.AccessDenied)
		if got := admin.do(r.method, r.url, nil); got.status == 403 {
			t.Errorf("%s = %s", got.what, got.text)
		}
		if got := w.app(contoso).do(r.method, r.url, nil); got.status == 403 {
			t.Errorf("%s by an application = %s", got.what, got.text)
		}
	}
	if asked < 15 {
		t.Errorf("%d routes ask for the role", asked)
	}
	item := []obj{{"browseSessionId": "x", "id": "y"}}
	plain.do("POST", "/"+driveSessionSet, obj{granularSet: item}).want(403, backup.AccessDenied)
	plain.do("PATCH", "/"+driveSessionSet+"/"+session, obj{granularDelta: item}).want(403, backup.AccessDenied)
	admin.do("PATCH", "/"+driveSessionSet+"/"+session, obj{granularDelta: item}).want(400, backup.InvalidArtifactRequest)
	plain.do("GET", "/restoreSessions/"+session, nil).want(200)
}

func TestGranularSessions(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.app(contoso)
		points, _ := w.fast(c, ownerN(1), ownerN(2))
		browse := func(p backup.Point) string {
			return c.do("POST", "/"+driveBrowseSet, obj{"restorePointId": p.ID}).want(201).str("id")
		}
		b1, b2 := browse(points[0]), browse(points[1])
		key := func(p backup.Point, item string) string {
			return string(backup.KeyOf(contoso, p.Drive, backup.ItemID(item)))
		}
		item := func(name string) obj { return obj{"browseSessionId": b1, "id": key(points[0], name)} }
		made := c.do("POST", "/"+driveSessionSet, obj{granularSet: []obj{item("f")}}, "Prefer", "include-unknown-enum-members").want(201)
		if made.str("status") != "draft" || made.str("restoreJobType") != "granular" || made.get("restoreSessionArtifactCount.total") != 1.0 {
			t.Errorf("created = %s", made.text)
		}
		at := "/" + driveSessionSet + "/" + made.str("id")
		one := c.do("GET", at+"/"+granularSet, nil).want(200)
		if one.str("value.0.id") != key(points[0], "f") || one.str("value.0.browseSessionId") != b1 || one.str("value.0.status") != "added" ||
			one.get("value.0.restoredItemKey") != "" || one.get("value.0.restoredItemPath") != "" || one.get("value.0.restoredItemWebUrl") != "" ||
			one.get("value.0.startDateTime") != "0001-01-01T00:00:00Z" || one.get("value.0.completionDateTime") != "0001-01-01T00:00:00Z" {
			t.Errorf("listed = %s", one.text)
		}
		for _, option := range []string{"$top=1", "$select=id", "$count=true", "$filter=id%20eq%20'x'"} {
			c.do("GET", at+"/"+granularSet+"?"+option, nil).want(400, backup.InvalidRequest)
		}
		patched := c.do("PATCH", at, obj{granularDelta: []obj{
			{"browseSessionId": b1, "itemKey": strings.ToUpper(key(points[0], "a")), "@contentId": "x"},
			item("f"),
			{"@removed": obj{"reason": "changed"}, "id": key(points[0], "c")},
		}}).want(200)
		items := patched.list(granularDelta)
		if len(items) != 3 || patched.json["@context"] != "#$delta" || patched.str("id") != made.str("id") {
			t.Fatalf("patched = %s", patched.text)
		}
		exception := func(i int) obj { e, _ := items[i].(obj)["@Core.DataModificationException"].(obj); return e }
		if a := items[0].(obj); a["status"] != "added" || a["id"] != key(points[0], "a") || a["@contentId"] != "x" || a["restoredItemPath"] != "" {
			t.Errorf("added = %v", a)
		}
		if e := exception(1); e == nil || e["failedOperation"] != "add" || e["responseCode"] != 409.0 || e["info"].(obj)["code"] != "DuplicateArtifactRestoreRequest" {
			t.Errorf("once more = %v", items[1])
		}
		if e := exception(2); e == nil || e["failedOperation"] != "remove" || e["info"].(obj)["code"] != "Invalid" {
			t.Errorf("what it has not = %v", items[2])
		}
		gone := c.do("PATCH", at, obj{granularDelta: []obj{{"@removed": obj{"reason": "changed"}, "id": key(points[0], "a")}}}).want(200)
		if a := gone.list(granularDelta)[0].(obj); a["id"] != key(points[0], "a") || a["@removed"].(obj)["reason"] != "changed" {
			t.Errorf("removed = %v", a)
		}
		if got := c.do("GET", at+"/"+granularSet+"/$count", nil).want(200); got.text != "1" {
			t.Errorf("count = %s", got.text)
		}
		if got := c.do("GET", at+"/"+granularSet+"/"+url.PathEscape(key(points[0], "f")), nil).want(200); got.str("id") != key(points[0], "f") {
			t.Errorf("one = %s", got.text)
		}
		c.do("GET", at+"/"+granularSet+"/nonsense", nil).want(404, backup.ItemNotFound)

		many := make([]obj, 51)
		for i := range many {
			many[i] = item("f")
		}
		standard := obj{"restorePoint": obj{"id": points[0].ID}, "destinationType": "inPlace"}
		for name, row := range map[string]struct {
			body   []obj
			post   int
			code   backup.Code
			onPost bool
		}{
			"51":                 {many, 413, backup.RestoreArtifactsLimitBreached, true},
			"twice":              {[]obj{item("a"), item("a")}, 400, backup.DuplicateArtifactInList, true},
			"two owners":         {[]obj{item("a"), {"browseSessionId": b2, "id": key(points[1], "a")}}, 400, backup.InvalidArtifactRequest, true},
			"another's key":      {[]obj{{"browseSessionId": b1, "id": key(points[1], "a")}}, 400, backup.InvalidArtifactRequest, true},
			"an unknown key":     {[]obj{{"browseSessionId": b1, "id": key(points[0], "zzz")}}, 400, backup.InvalidArtifactRequest, true},
			"a malformed key":    {[]obj{{"browseSessionId": b1, "id": "x"}}, 400, backup.InvalidArtifactRequest, true},
			"no key":             {[]obj{{"browseSessionId": b1}}, 400, backup.InvalidArtifactRequest, true},
			"an unknown session": {[]obj{{"browseSessionId": backup.NewID[string](), "id": key(points[0], "a")}}, 400, backup.InvalidArtifactRequest, true},
			"the library":        {[]obj{{"browseSessionId": b1, "id": backup.LibraryKey(contoso, points[0].Drive)}}, 400, backup.InvalidArtifactRequest, true},
			"a strange member":   {[]obj{{"browseSessionId": b1, "id": key(points[0], "a"), "x": 1}}, 400, backup.InvalidRequest, true},
			"empty":              {[]obj{}, 400, backup.InvalidArtifactRequest, false},
		} {
			if got := c.do("POST", "/"+driveSessionSet, obj{granularSet: row.body}); got.status != row.post || got.code() != row.code {
				t.Errorf("POST %s: %d %s", name, got.status, got.text)
			}
			if !row.onPost {
				continue
			}
			if got := c.do("PATCH", at, obj{granularDelta: row.body}); got.status != 400 || got.code() != row.code {
				t.Errorf("PATCH %s: %d %s", name, got.status, got.text)
			}
		}
		c.do("PATCH", at, obj{artifactDelta: []obj{standard}}).want(400, backup.InvalidArtifactRequest)
		whole := c.do("POST", "/"+driveSessionSet, obj{artifactSet: []obj{standard}}).want(201).str("id")
		c.do("PATCH", "/"+driveSessionSet+"/"+whole, obj{granularDelta: []obj{item("a")}}).want(400, backup.InvalidArtifactRequest)
		empty := c.do("POST", "/"+driveSessionSet, "{}").want(201).str("id")
		c.do("PATCH", "/"+driveSessionSet+"/"+empty, obj{granularDelta: []obj{item("a")}}).want(200)

		other := w.app(fabrikam)
		other.do("GET", at+"/"+granularSet, nil).want(404, backup.RestoreSessionNotFound)
		other.do("PATCH", at, obj{granularDelta: []obj{item("a")}}).want(404, backup.RestoreSessionNotFound)
		other.do("POST", "/"+driveSessionSet, obj{granularSet: []obj{item("a")}}).want(400, backup.InvalidArtifactRequest)
		c.do("GET", "/"+driveSessionSet+"/x/"+granularSet, nil).want(400, backup.InvalidRestoreSessionID)

		started := c.do("POST", at+"/activate", nil).want(200)
		if started.str("status") != "activating" || started.get("restoreSessionArtifactCount.inProgress") != 1.0 {
			t.Errorf("activated = %s", started.text)
		}
		c.do("PATCH", at, obj{granularDelta: []obj{item("a")}}).want(403, backup.RestoreSessionActionNotAllowed)
		c.do("PATCH", at, obj{granularDelta: []obj{{"browseSessionId": "x"}}}).want(403, backup.RestoreSessionActionNotAllowed)

		// A browse session that is over when the session is activated.
		w.wait(73 * time.Hour)
		c = w.app(contoso)
		c.do("POST", "/"+driveSessionSet+"/"+empty+"/activate", nil).want(200)
		for _, j := range w.claim(jobs.RestoreItem) {
			a, err := w.catalog.GranularForWork(t.Context(), contoso, backup.ArtifactID(j.Key))
			if err != nil {
				t.Fatal(err)
			}
			if err := w.catalog.StartGranular(t.Context(), j, a.ID); err != nil {
				t.Fatal(err)
			}
			if lapsed := string(a.Session) == empty; lapsed != (a.Problem != nil) {
				t.Errorf("artifact of session %s: %+v", a.Session, a.Problem)
			}
			if err := w.catalog.FinishGranular(t.Context(), j, a.ID, catalog.RestoredItem{Path: "/p"}, a.Problem); err != nil {
				t.Fatal(err)
			}
		}
		if got := c.do("GET", at, nil).want(200); got.str("status") != "completed" || got.get("error") != nil || got.str("completedDateTime") == "" {
			t.Errorf("finished = %s", got.text)
		}
		if got := c.do("GET", at+"/"+granularSet, nil).want(200); got.str("value.0.status") != "succeeded" || got.str("value.0.restoredItemPath") != "/p" {
			t.Errorf("finished = %s", got.text)
		}
		failed := c.do("GET", "/restoreSessions/"+empty, nil, "Prefer", "include-unknown-enum-members").want(200)
		if failed.str("status") != "failed" || failed.str("error.details.0.code") != "InvalidRestoreTime" || failed.str("error.details.0.target") != key(points[0], "a") {
			t.Errorf("lapsed = %s", failed.text)
		}
		if got := c.do("GET", "/"+driveSessionSet+"/"+empty+"/"+granularSet, nil).want(200); got.str("value.0.status") != "failed" {
			t.Errorf("lapsed = %s", got.text)
		}
	})
}

func TestBulkRestoreRequests(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.app(contoso)
		w.fast(c, ownerN(1), ownerN(2))
		session := func() string {
			return "/" + driveSessionSet + "/" + c.do("POST", "/"+driveSessionSet, "{}").want(201).str("id")
		}
		period := obj{"startDateTime": "2026-11-01T00:00:00Z", "endDateTime": "2030-01-01T00:00:00Z"}
		body := func(change obj) obj {
			b := obj{"displayName": "All", "directoryObjectIds": []string{ownerN(1), strings.ToUpper(ownerN(2)), ownerN(1)}, "drives": []string{"nobody@contoso.com"},
				"protectionTimePeriod": period, "destinationType": "inPlace", "tags": "fastRestore", "restorePointPreference": "latest", "protectionUnitIds": []string{}}
			for k, v := range change {
				if b[k] = v; v == nil {
					delete(b, k)
				}
			}
			return b
		}
		at := session()
		requests := at + "/" + bulkRestoreSet
		made := c.do("POST", requests, body(nil)).want(201)
		if made.str("status") != "active" || len(made.list("drives")) != 0 || made.get("drives") == nil || made.get("directoryObjectIds") == nil || made.str("restorePointPreference") != "latest" ||
			made.str("destinationType") != "inPlace" || made.str("tags") != "fastRestore" || made.str("protectionTimePeriod.startDateTime") != "2026-11-01T00:00:00Z" {
			t.Errorf("created = %s", made.text)
		}
		one := requests + "/" + made.str("id")
		if got := c.do("GET", requests, nil).want(200); got.str("value.0.id") != made.str("id") || got.get("value.0.drives") == nil {
			t.Errorf("listed = %s", got.text)
		}
		if got := c.do("GET", at, nil).want(200); got.str("restoreJobType") != "bulk" || got.str("status") != "draft" {
			t.Errorf("its session = %s", got.text)
		}
		if got := c.do("GET", requests+"/$count", nil).want(200); got.text != "1" {
			t.Errorf("count = %s", got.text)
		}
		c.do("GET", one, nil).want(200)
		c.do("GET", one+"?$select=id", nil).want(400, backup.InvalidRequest)
		c.do("GET", requests+"?$top=1", nil).want(400, backup.InvalidRequest)
		c.do("PATCH", one, "{}").want(405, backup.NotAllowed)
		c.do("DELETE", one, nil).want(403, backup.InvalidBulkRequestDeletion)
		c.do("POST", requests, body(nil)).want(400, backup.BulkRestoreInvalidCreate)
		c.do("GET", requests+"/x", nil).want(400, backup.InvalidBulkRestoreArtifactID)
		c.do("GET", "/"+driveSessionSet+"/x/"+bulkRestoreSet, nil).want(400, backup.InvalidBulkRestoreArtifactID)
		c.do("GET", requests+"/"+backup.NewID[string](), nil).want(404, backup.BulkRestoreArtifactsNotFound)
		c.do("DELETE", requests+"/"+backup.NewID[string](), nil).want(404, backup.BulkRestoreArtifactsNotFound)
		c.do("GET", session()+"/"+bulkRestoreSet+"/"+made.str("id"), nil).want(404, backup.BulkRestoreArtifactsNotFound)
		c.do("POST", "/"+driveSessionSet+"/"+backup.NewID[string]()+"/"+bulkRestoreSet, body(nil)).want(404, backup.RestoreSessionNotFound)
		w.app(fabrikam).do("GET", one, nil).want(404, backup.RestoreSessionNotFound)
		standard := []obj{{"restorePoint": obj{"id": backup.NewID[string]()}, "destinationType": "inPlace"}}
		c.do("PATCH", at, obj{artifactDelta: standard}).want(403, backup.RestoreSessionActionNotAllowed)
		c.do("PATCH", at, obj{granularDelta: []obj{}}).want(403, backup.RestoreSessionActionNotAllowed)

		many := slices.Repeat([]string{ownerN(1)}, backup.MaxBulkRestoreEntries+1)
		fresh := session() + "/" + bulkRestoreSet
		for name, row := range map[string]struct {
			change obj
			code   backup.Code
		}{
			"10,001":           {obj{"directoryObjectIds": many, "drives": nil}, backup.BulkRestoreTooManyEntries},
			"nobody":           {obj{"directoryObjectIds": nil, "drives": []string{}}, backup.BulkRestoreInvalidCreate},
			"no address":       {obj{"drives": []string{"nobody"}}, backup.BulkRestoreInvalidEmail},
			"no id":            {obj{"directoryObjectIds": []string{"x"}}, backup.BulkRestoreInvalidCreate},
			"units":            {obj{"protectionUnitIds": []string{ownerN(1)}}, backup.BulkRestoreInvalidCreate},
			"no period":        {obj{"protectionTimePeriod": nil}, backup.BulkRestoreInvalidCreate},
			"an empty period":  {obj{"protectionTimePeriod": obj{}}, backup.BulkRestoreInvalidCreate},
			"backwards":        {obj{"protectionTimePeriod": obj{"startDateTime": "2026-11-02T00:00:00Z", "endDateTime": "2026-11-01T00:00:00Z"}}, backup.BulkRestoreInvalidCreate},
			"a bad time":       {obj{"protectionTimePeriod": obj{"startDateTime": "now"}}, backup.BulkRestoreInvalidCreate},
			"no destination":   {obj{"destinationType": nil}, backup.BulkRestoreInvalidCreate},
			"nowhere":          {obj{"destinationType": "nowhere"}, backup.BulkRestoreInvalidCreate},
			"a bad preference": {obj{"restorePointPreference": "best"}, backup.BulkRestoreInvalidCreate},
			"a bad tag":        {obj{"tags": "slow"}, backup.BulkRestoreInvalidCreate},
			"a long name":      {obj{"displayName": strings.Repeat("x", 1025)}, backup.BulkRestoreInvalidCreate},
			"a strange member": {obj{"x": 1}, backup.InvalidRequest},
		} {
			if got := c.do("POST", fresh, body(row.change)); got.status != 400 || got.code() != row.code {
				t.Errorf("%s: %d %s", name, got.status, got.text)
			}
		}
		c.do("POST", fresh, "").want(400, backup.BulkRestoreInvalidCreate)

		// After activation it finds out what is meant.
		if got := c.do("POST", at+"/activate", nil).want(200); got.str("status") != "activating" {
			t.Errorf("activated = %s", got.text)
		}
		c.do("POST", requests, body(nil)).want(403, backup.RestoreSessionActionNotAllowed)
		c.do("DELETE", one, nil).want(403, backup.InvalidBulkRequestDeletion)
		none := session()
		c.do("POST", none+"/"+bulkRestoreSet, body(obj{"directoryObjectIds": []string{ownerN(3)}, "drives": nil})).want(201)
		old := session()
		c.do("POST", old+"/"+bulkRestoreSet, body(obj{"tags": "none, fastRestore", "restorePointPreference": "OLDEST", "destinationType": "New", "drives": nil})).want(201)
		c.do("POST", none+"/activate", nil).want(200)
		c.do("POST", old+"/activate", nil).want(200)
		for _, j := range w.claim(jobs.BulkRestore) {
			b, err := w.catalog.BulkRestoreForWork(t.Context(), j.Tenant, backup.BulkRequestID(j.Key))
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second time as after a crash
				if err := w.catalog.ResolveBulkRestore(t.Context(), j, b); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got := c.do("GET", at, nil).want(200); got.str("status") != "active" || got.get("restoreSessionArtifactCount.total") != 2.0 || got.get("restoreSessionArtifactCount.inProgress") != 2.0 {
			t.Errorf("resolved = %s", got.text)
		}
		artifacts := c.do("GET", at+"/"+artifactSet, nil).want(200)
		if len(artifacts.list("value")) != 2 || artifacts.str("value.0.status") != "scheduled" || artifacts.str("value.0.destinationType") != "inPlace" || artifacts.str("value.0.restorePoint.tags") != "fastRestore" {
			t.Errorf("artifacts = %s", artifacts.text)
		}
		done := c.do("GET", one, nil).want(200)
		if done.str("status") != "completedWithErrors" || done.str("error.code") != "BulkRestoreArtifactsNotResolved" || len(done.list("error.details")) != 1 ||
			done.str("error.details.0.code") != "UserNotBackedup" || done.str("error.details.0.target") != "nobody@contoso.com" {
			t.Errorf("the request = %s", done.text)
		}
		failed := c.do("GET", none, nil, "Prefer", "include-unknown-enum-members").want(200)
		if failed.str("status") != "failed" || failed.str("error.code") != "BulkRestoreArtifactsNotResolved" || failed.str("completedDateTime") == "" {
			t.Errorf("nothing resolved = %s", failed.text)
		}
		oldest := c.do("GET", old+"/"+artifactSet, nil).want(200)
		if len(oldest.list("value")) != 2 || oldest.str("value.0.destinationType") != "new" || oldest.str("value.0.restorePoint.protectionDateTime") >= artifacts.str("value.0.restorePoint.protectionDateTime") {
			t.Errorf("the oldest = %s", oldest.text)
		}
		if got := c.do("GET", old+"/"+bulkRestoreSet, nil).want(200); got.str("value.0.status") != "completed" || got.get("value.0.error") != nil {
			t.Errorf("its request = %s", got.text)
		}
		c.do("DELETE", one, nil).want(204)
		c.do("DELETE", one, nil).want(404, backup.BulkRestoreArtifactsNotFound)
		if got := c.do("GET", requests, nil).want(200); len(got.list("value")) != 0 {
			t.Errorf("after the deletion = %s", got.text)
		}
		c.do("GET", at, nil).want(200)
	})
}
