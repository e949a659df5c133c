package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/drive"
	"holdfast/internal/jobs"
)

// invitations sees whom the source is asked to let in, and answers in its place.
type invitations struct {
	mu     sync.Mutex
	seen   []string
	answer func(rw http.ResponseWriter, who string) bool
}

func (n *invitations) between(sim http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/invite") || r.Header.Get("User-Agent") == "Go-http-client/1.1" { // as people's programs do
			if strings.HasSuffix(r.URL.Path, "/createLink") && r.Header.Get("User-Agent") != "Go-http-client/1.1" {
				n.add("a link")
			}
			sim.ServeHTTP(rw, r)
			return
		}
		text, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(text))
		var in struct {
			Recipients             []struct{ ObjectID, Email string }
			RequireSignIn          bool
			SendInvitation, Retain *bool
		}
		json.Unmarshal(text, &in)
		who := ""
		for _, one := range in.Recipients {
			who += one.ObjectID + one.Email
		}
		if !in.RequireSignIn || in.SendInvitation == nil || *in.SendInvitation || in.Retain != nil || len(in.Recipients) != 1 {
			who = "wrong: " + string(text)
		}
		n.mu.Lock()
		answer := n.answer
		n.mu.Unlock()
		n.add(who)
		if answer == nil || !answer(rw, who) {
			sim.ServeHTTP(rw, r)
		}
	})
}

func (n *invitations) add(who string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen = append(n.seen, who)
}

// take returns whom the source was asked to let in since, and how it answers from now on.
func (n *invitations) take(answer func(rw http.ResponseWriter, who string) bool) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.answer = answer
	seen := n.seen
	n.seen = nil
	slices.Sort(seen)
	return seen
}

// activatePermissions starts the restore of a point with who may do what.
func (w *world) activatePermissions(p backup.Point, to backup.Destination) backup.Artifact {
	w.t.Helper()
	s, err := w.catalog.CreateSession(w.ctx, w.tenant, backup.SharePoint, backup.RestoreStandard, []catalog.NewArtifact{{Point: p.ID, Destination: to, Permissions: true}}, backup.Stamp{})
	w.must(err)
	a := w.activateSession(s)
	if !a.Permissions {
		w.t.Error("the artifact has forgotten the permissions")
	}
	return a
}

func (w *world) permissionsNow(library, at string) string {
	w.t.Helper()
	d := w.libraryNow(library)
	item, err := w.source.ItemAt(w.ctx, d.ID, at)
	w.must(err)
	all, err := w.source.Permissions(w.ctx, d.ID, item.ID)
	w.must(err)
	return toldOf(all)
}

func (w *world) wantNow(library string, want map[string]string) {
	w.t.Helper()
	for at, want := range want {
		if got := w.permissionsNow(library, at); got != want {
			w.t.Errorf("%s in %s: %q, want %q", at, library, got, want)
		}
	}
}

// unshare takes all permissions of an item's own away.
func (w *world) unshare(library, at string) {
	w.t.Helper()
	for _, p := range w.call("GET", w.itemAt(library, at)+"/permissions", nil)["value"].([]any) {
		if id := p.(map[string]any)["id"].(string); id != "owner" {
			w.call("DELETE", w.itemAt(library, at)+"/permissions/"+id, nil)
		}
	}
}

// sharedSite is withPeople whose files are shared in each way, and a point of it.
func sharedSite(t *testing.T, n *invitations) (*world, backup.Unit, backup.Point) {
	w, unit := withPeople(t, n.between)
	w.share("Documents", "a.txt", "write", "ann", "guest@elsewhere.example")
	w.call("POST", w.itemAt("Documents", "a.txt")+"/createLink", map[string]any{"type": "view", "scope": "anonymous"})
	w.call("POST", w.itemAt("Documents", "a.txt")+"/createLink", map[string]any{"type": "edit", "scope": "organization"})
	w.share("Documents", "folder", "read", "bob")
	w.call("POST", w.itemAt("Documents", "folder")+"/invite", map[string]any{"recipients": []map[string]any{{"objectId": testGroup}}, "roles": []string{"read"}})
	w.share("Documents", "folder/b.txt", "write", "cy")
	w.call("POST", w.itemAt("Papers", "p.txt")+"/invite", map[string]any{"recipients": []map[string]any{{"email": "bob@example.com"}}, "roles": []string{"read"}, "expirationDateTime": "2040-01-01T00:00:00Z"})
	return w, unit, w.backUp(unit)
}

var sharedWas = map[string]string{
	"a.txt":        owners + "; ann: write; guest@elsewhere.example edit users: write",
	"folder":       owners + "; Readers: read; bob: read",
	"folder/b.txt": owners + "; Readers: read; bob: read; cy: write",
	"folder/c.txt": owners + "; Readers: read; bob: read",
}

// Who could read and write files is let do so again where that is asked for, and nowhere
// else: without mail, once, and without taking anything away. Links are named.
func TestPermissionsAreRestored(t *testing.T) {
	n := &invitations{}
	w, _, point := sharedSite(t, n)
	w.unshare("Documents", "a.txt")
	w.unshare("Papers", "p.txt")
	w.share("Papers", "p.txt", "write", "ann")
	w.must(os.RemoveAll(w.siteLibrary("Documents") + "/folder"))

	n.take(nil)
	w.restored(point, backup.DestinationInPlace)
	if got := n.take(nil); len(got) > 0 {
		t.Errorf("without being asked for, a restore lets in %q", got)
	}
	w.wantNow("Documents", map[string]string{"a.txt": owners, "folder": owners, "folder/b.txt": owners})

	for round := range 2 {
		a := w.finish(w.activatePermissions(point, backup.DestinationInPlace))
		if a.Status != backup.ArtifactSucceeded || a.Problem == nil || len(a.Problem.Details) != 3 || a.Problem.Details[0].Target != "Documents/a.txt" ||
			!strings.Contains(a.Problem.Details[0].Message+a.Problem.Details[1].Message, "never made again") || !strings.HasPrefix(a.Problem.Details[2].Message, "ann (ann@example.com) can change the item, which was not so") {
			t.Errorf("round %d: the artifact is %s: %+v\n%s", round, a.Status, a.Problem, w.log)
		}
		w.wantNow("Documents", sharedWas)
		w.wantNow("Papers", map[string]string{"p.txt": owners + "; ann: write; bob until 2040-01-01T00:00:00Z: read"})
		want := []string{string(w.users[0].ID), string(w.users[1].ID), string(w.users[1].ID), string(w.users[2].ID), testGroup, "guest@elsewhere.example"}
		if round > 0 {
			want = nil
		}
		if got := n.take(nil); !slices.Equal(got, want) {
			t.Errorf("round %d: asked to let in %q, want %q", round, got, want)
		}
	}

	// To a new place.
	if a := w.finish(w.activatePermissions(point, backup.DestinationNew)); a.Status != backup.ArtifactSucceeded || len(a.Problem.Details) != 2 {
		t.Errorf("to a new place, the artifact is %s: %+v", a.Status, a.Problem)
	}
	w.wantNow("DocumentsR0", sharedWas)
	w.wantNow("PapersR0", map[string]string{"p.txt": owners + "; bob until 2040-01-01T00:00:00Z: read"})
	w.wantNow("Documents", sharedWas)
}

// A restore that is killed at any invitation goes on and gives nothing twice.
func TestPermissionsAreRestoredAfterAKill(t *testing.T) {
	n := &invitations{}
	w, _, point := sharedSite(t, n)
	for _, at := range []string{"a.txt", "folder", "folder/b.txt"} {
		w.unshare("Documents", at)
	}
	w.unshare("Papers", "p.txt")
	n.take(nil)
	a := w.activatePermissions(point, backup.DestinationInPlace)
	killed := 0
	for range 20 {
		ctx, kill := context.WithCancel(w.ctx)
		left := 1
		n.take(func(rw http.ResponseWriter, _ string) bool {
			n.mu.Lock()
			defer n.mu.Unlock()
			if left--; left < 0 {
				kill()
			}
			return false
		})
		err := w.try(ctx, jobs.Restore, string(a.ID), w.engine.restore)
		kill()
		if err == nil {
			break
		}
		killed++
	}
	n.take(nil)
	a = w.artifact(a)
	if a.Status != backup.ArtifactSucceeded || killed == 0 {
		t.Errorf("after %d kills the artifact is %s: %+v", killed, a.Status, a.Problem)
	}
	w.wantNow("Documents", sharedWas)
}

// Whom the source knows no more, does not let in, or says to have let in, is named, and
// so is what points have no permissions of.
func TestPermissionsThatAreNotRestored(t *testing.T) {
	n := &invitations{}
	w, unit, point := sharedSite(t, n)
	w.unshare("Documents", "a.txt")
	says := func(status int, body string) func(rw http.ResponseWriter, who string) bool {
		return func(rw http.ResponseWriter, who string) bool {
			if who != string(w.users[0].ID) {
				return false
			}
			rw.Header().Set("Content-Type", "application/json")
			rw.WriteHeader(status)
			io.WriteString(rw, body)
			return true
		}
	}
	for _, tt := range []struct {
		status int
		body   string
		want   backup.ArtifactStatus
		named  string
	}{
		{400, `{"error":{"code":"invalidRequest","message":"x","innerError":{"code":"noResolvedUsers"}}}`, backup.ArtifactSucceeded, "ann (ann@example.com) is not known any more"},
		{403, `{"error":{"code":"accessDenied","message":"Sharing is off."}}`, backup.ArtifactFailed, "ann (ann@example.com) was not let in again: The source refused it; sharing may be restricted there. The source says: Sharing is off"},
		{404, `{"error":{"code":"itemNotFound","message":"Gone."}}`, backup.ArtifactFailed, "ann (ann@example.com) was not let in again: It vanished"},
		{503, `{"error":{"code":"serviceNotAvailable","message":"Busy."}}`, backup.ArtifactFailed, "ann (ann@example.com) was not let in again: The source could not do it"},
		{200, `{"value":[]}`, backup.ArtifactFailed, "although the source did not refuse it"},
	} {
		n.take(says(tt.status, tt.body))
		a := w.finish(w.activatePermissions(point, backup.DestinationInPlace))
		named := false
		if a.Problem != nil {
			for _, d := range a.Problem.Details {
				named = named || d.Target == "Documents/a.txt" && strings.Contains(d.Message, tt.named)
			}
		}
		if a.Status != tt.want || !named {
			t.Errorf("after %d, the artifact is %s: %+v", tt.status, a.Status, a.Problem)
		}
		if got := w.permissionsNow("Documents", "a.txt"); got != owners+"; guest@elsewhere.example edit users: write" {
			t.Errorf("after %d, %q may", tt.status, got)
		}
	}
	n.take(nil)

	w.engine.Permissions = nil
	without := w.backUp(unit)
	a := w.finish(w.activatePermissions(without, backup.DestinationInPlace))
	if a.Status != backup.ArtifactSucceeded || a.Problem == nil || len(a.Problem.Details) != 2 || !strings.Contains(a.Problem.Details[0].Message, "was not kept then") {
		t.Errorf("of a point without permissions, the artifact is %s: %+v", a.Status, a.Problem)
	}
}

// Permissions as the service writes them: who they are for, whether they can be given
// again, and that nothing is kept by which a link can be opened.
func TestPermissionsOfTheService(t *testing.T) {
	const id = "22222222-0000-4000-8000-000000000001"
	for _, tt := range []struct{ json, who, unfit string }{
		{`{"id":"aTow","roles":["write"],"shareId":"u!SECRET","grantedTo":{"user":{"displayName":"Ann"}},"grantedToV2":{"user":{"displayName":"Ann","email":"ann@x.org","id":"` + id + `"},"siteUser":{"displayName":"Ann","email":"ann@x.org","id":"5","loginName":"i:0#.f|membership|ann@x.org"}},"inheritedFrom":null}`,
			"user " + id + " ann@x.org", ""},
		{`{"id":"1","roles":["read"],"grantedToV2":{"siteUser":{"displayName":"Bob","id":"6","loginName":"i:0#.f|membership|bob@x.org"}}}`, "user  bob@x.org", ""},
		{`{"id":"1","roles":["read"],"grantedToV2":{"siteUser":{"displayName":"Legal","id":"7","loginName":"c:0t.c|tenant|` + id + `"}}}`, "group " + id + " ", ""},
		{`{"id":"1","roles":["read"],"grantedToV2":{"group":{"displayName":"Team","id":"` + id + `","email":"team@x.org"},"siteUser":{"displayName":"Team","id":"8","loginName":"c:0o.c|federateddirectoryclaimprovider|` + id + `"}}}`, "group " + id + " team@x.org", ""},
		{`{"id":"1","roles":["write"],"grantedToV2":{"siteGroup":{"displayName":"Members","id":"9","loginName":"Members"}},"grantedTo":{"user":{"displayName":"Members"}},"inheritedFrom":{}}`, "site group 9 ", "Graph does not let"},
		{`{"id":"1","roles":["sp.full control"],"grantedToV2":{"user":{"displayName":"Cy","email":"cy@x.org","id":"` + id + `"}}}`, "user " + id + " cy@x.org", "another role"},
		{`{"id":"1","roles":[],"grantedToV2":{"siteUser":{"displayName":"Everyone","id":"4","loginName":"c:0-.f|rolemanager|spo-grid-all-users/x"}}}`, "user  ", "another role"},
		{`{"id":"1","roles":["read"],"link":{"scope":"users","type":"view","webUrl":"https://SECRET","preventsDownload":false},"hasPassword":false,"grantedToIdentitiesV2":[{"user":{"displayName":"guest@y.org","email":"guest@y.org"},"siteUser":{"loginName":"urn%3aspo%3aguest#guest@y.org"}}],"expirationDateTime":"0001-01-01T00:00:00Z"}`,
			"user  guest@y.org", ""},
		{`{"id":"1","roles":["read"],"link":{"scope":"users","type":"blocksDownload","webUrl":"https://SECRET","webHtml":"<SECRET>","preventsDownload":true},"grantedToIdentitiesV2":[{"user":{"displayName":"Dan","email":"dan@y.org"}}]}`, "user  dan@y.org", "in a way that a permission cannot give"},
		{`{"id":"SECRET","shareId":"SECRET","roles":["write"],"link":{"scope":"anonymous","type":"edit","webUrl":"https://SECRET"},"hasPassword":true}`, "  ", "never made again"},
		{`{"id":"1","roles":["read"],"link":{"scope":"organization","type":"view","webUrl":"https://SECRET"},"grantedToIdentitiesV2":[{"user":{"email":"eve@x.org"}}]}`, "  ", "in the organization"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", "application/json")
			if strings.HasSuffix(r.URL.Path, "/token") {
				io.WriteString(rw, `{"access_token":"x","expires_in":3600}`)
				return
			}
			io.WriteString(rw, `{"value":[`+tt.json+`,`+tt.json+`]}`)
		}))
		source := drive.New(drive.Config{Graph: server.URL + "/v1.0", Authority: server.URL, Tenant: "t", ClientID: "c", Credential: drive.Secret("s")})
		all, err := source.Permissions(t.Context(), "d", "i")
		server.Close()
		if err != nil {
			t.Fatal(err)
		}
		kept, err := drive.ItemPermissions{Item: "i", Permissions: all}.Encode()
		if err != nil || strings.Contains(string(kept), "SECRET") {
			t.Errorf("of %s, kept is %s, %v", tt.json, kept, err)
		}
		var f drive.ItemPermissions
		if err := json.Unmarshal(kept, &f); err != nil {
			t.Fatal(err)
		}
		got := grantsOf(f.Permissions)
		if len(got) != 1 || got[0].who.kind+" "+got[0].who.id+" "+got[0].who.address != tt.who {
			t.Errorf("%s is for %+v, want %q", tt.json, got, tt.who)
			continue
		}
		if why := got[0].unfit(); !strings.Contains(why, tt.unfit) || (why == "") != (tt.unfit == "") {
			t.Errorf("%s cannot be given, since %q, want %q", tt.json, why, tt.unfit)
		}
		if !holds(got, got[0]) {
			t.Errorf("%s does not give itself", tt.json)
		}
	}
}
