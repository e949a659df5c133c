package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
	"holdfast/internal/jobs"
	"holdfast/internal/vault"
)

// withPeople is newSite with ann, bob and cy, whose permissions are kept.
func withPeople(t *testing.T, between ...func(http.Handler) http.Handler) (*world, backup.Unit) {
	t.Helper()
	wrap := func(sim http.Handler) http.Handler { return sim }
	if len(between) > 0 {
		wrap = between[0]
	}
	w := newWorldOf(t, wrap, true, "ann", "bob", "cy")
	unit := w.makeSite(map[string]map[string]string{"Documents": {"a.txt": "a", "folder/b.txt": "b", "folder/c.txt": "c"}, "Papers": {"p.txt": "p"}})
	w.engine.Permissions = func(backup.TenantID) bool { return true }
	return w, unit
}

// call asks the source for something, as people's programs do.
func (w *world) call(method, at string, body any) (answer map[string]any) {
	w.t.Helper()
	resp, err := http.PostForm(w.url+"/"+string(w.tenant)+"/oauth2/v2.0/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {testApp}, "client_secret": {testSecret}, "scope": {"https://graph.microsoft.com/.default"}})
	w.must(err)
	var token struct {
		Token string `json:"access_token"`
	}
	w.must(json.NewDecoder(resp.Body).Decode(&token))
	resp.Body.Close()
	var in io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		w.must(err)
		in = bytes.NewReader(text)
	}
	req, err := http.NewRequest(method, w.url+"/v1.0"+at, in)
	w.must(err)
	req.Header.Set("Authorization", "Bearer "+token.Token)
	req.Header.Set("Prefer", `IdType="ImmutableId"`)
	req.Header.Set("Content-Type", "application/json")
	resp, err = http.DefaultClient.Do(req)
	w.must(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	w.must(err)
	if resp.StatusCode >= 300 {
		w.t.Fatalf("%s %s = %d %s", method, at, resp.StatusCode, text)
	}
	if len(text) > 0 {
		w.must(json.Unmarshal(text, &answer))
	}
	return answer
}

func (w *world) itemAt(library, at string) string {
	return "/drives/" + string(w.libraryNow(library).ID) + "/root:/" + at + ":"
}

// share lets people do something with an item, by their addresses.
func (w *world) share(library, at, role string, who ...string) {
	w.t.Helper()
	var to []map[string]any
	for _, address := range who {
		if !strings.Contains(address, "@") {
			address += "@example.com"
		}
		to = append(to, map[string]any{"email": address})
	}
	w.call("POST", w.itemAt(library, at)+"/invite", map[string]any{"recipients": to, "roles": []string{role}, "requireSignIn": true, "sendInvitation": false})
}

// toldOf says who may do what, in a line.
func toldOf(all []drive.Permission) string {
	var says []string
	for _, p := range all {
		who := []string{}
		for _, g := range append([]drive.Grantee{*or(p.To)}, p.ToSeveral...) {
			for _, i := range []*drive.Identity{g.User, g.Group, g.SiteGroup} {
				if i != nil {
					who = append(who, i.Name)
					break
				}
			}
		}
		if p.Link != nil {
			who = append(who, p.Link.Type, p.Link.Scope)
		}
		if p.Expires != "" {
			who = append(who, "until "+p.Expires)
		}
		one := strings.Join(who, " ") + ": " + strings.Join(p.Roles, ",")
		says = append(says, one)
	}
	slices.SortFunc(says, func(a, b string) int {
		if (a == owners) != (b == owners) {
			a, b = strings.TrimPrefix(a, owners), strings.TrimPrefix(b, owners)
		}
		return strings.Compare(a, b)
	})
	return strings.Join(says, "; ")
}

func or(g *drive.Grantee) *drive.Grantee {
	if g == nil {
		return &drive.Grantee{}
	}
	return g
}

// keptPermissions is what a point holds of the permissions in a library, by path.
func (w *world) keptPermissions(p backup.Point, library string) map[string]string {
	w.t.Helper()
	part, of := w.partOf(p, library+" (permissions)"), w.partOf(p, library)
	if part.Kind != backup.FilePermissions || part.Library != of.Drive {
		w.t.Errorf("the permissions are %+v, of %+v", part, of)
	}
	all := map[string]string{}
	for n, err := range w.vault.Walk(w.ctx, part.Tree) {
		w.must(err)
		if n.Kind == backup.Folder {
			continue
		}
		text := w.content(n.Content)
		var f drive.ItemPermissions
		w.must(json.Unmarshal([]byte(text), &f))
		at, ok, err := w.vault.Path(w.ctx, of.Tree, f.Item)
		w.must(err)
		if !ok || !strings.HasPrefix(path.Base(n.Path), path.Base(at)+"-") {
			w.t.Errorf("%s is of %q", n.Path, at)
		}
		for _, secret := range []string{"http", "shareId", "webUrl", "/:u:/"} {
			if strings.Contains(text, secret) {
				w.t.Errorf("what is kept of %s has %q in it: %s", at, secret, text)
			}
		}
		all[at] = toldOf(f.Permissions)
	}
	return all
}

const owners = "root Owners: owner"

func (w *world) wantPermissions(p backup.Point, library string, want map[string]string) {
	w.t.Helper()
	if got := w.keptPermissions(p, library); !maps.Equal(got, want) {
		w.t.Errorf("the permissions are %q,\nwant %q\n%s", got, want, w.log)
	}
}

// listed counts the lists of permissions that are asked for.
func (w *world) listed() *atomic.Int64 {
	n := new(atomic.Int64)
	w.onRequest(func(r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/permissions") && r.Method == http.MethodGet {
			n.Add(1)
		}
	})
	return n
}

// What has permissions of its own has them in the point, and a request each. A
// permission that changed alone makes a point, and nothing is downloaded for it; what is
// as its folder again has none of its own any more. Nothing that is kept opens a file.
func TestPermissionsAreBackedUp(t *testing.T) {
	w, unit := withPeople(t)
	w.share("Documents", "a.txt", "write", "ann", "guest@elsewhere.example")
	w.call("POST", w.itemAt("Documents", "a.txt")+"/createLink", map[string]any{"type": "view", "scope": "anonymous", "expirationDateTime": "2030-01-01T00:00:00Z"})
	w.share("Documents", "folder", "read", "bob")
	n := w.listed()
	first := w.backUp(unit)
	if lacks := w.lacking(first); len(lacks) > 0 || w.unit(unit.ID).Problem != nil || first.Files != 4 || n.Load() != 2 {
		t.Errorf("the point lacks %q and counts %d files, %d lists were read, the unit says %+v\n%s", lacks, first.Files, n.Load(), w.unit(unit.ID).Problem, w.log)
	}
	want := map[string]string{
		"a.txt":  owners + "; ann: write; guest@elsewhere.example edit users: write; view anonymous until 2030-01-01T00:00:00Z: read",
		"folder": owners + "; bob: read",
	}
	w.wantPermissions(first, "Documents", want)
	w.wantPermissions(first, "Papers", map[string]string{})
	if again := w.backUp(unit); again.Tree != first.Tree || n.Load() != 2 {
		t.Errorf("a point without changes has another tree, or %d lists were read", n.Load())
	}

	// Shared once more, and alone.
	w.share("Documents", "folder/b.txt", "write", "cy")
	w.reset()
	second := w.backUp(unit)
	w.wantAsked("download", 0)
	want["folder/b.txt"] = owners + "; bob: read; cy: write"
	w.wantPermissions(second, "Documents", want)
	if n.Load() != 3 {
		t.Errorf("%d lists were read, want 3", n.Load())
	}

	// No longer shared, renamed, deleted.
	w.onRequest(nil)
	for _, p := range w.call("GET", w.itemAt("Documents", "folder/b.txt")+"/permissions", nil)["value"].([]any) {
		p := p.(map[string]any)
		if strings.Contains(fmt.Sprint(p["grantedToV2"]), "cy@") {
			w.call("DELETE", w.itemAt("Documents", "folder/b.txt")+"/permissions/"+p["id"].(string), nil)
		}
	}
	w.call("PATCH", w.itemAt("Documents", "a.txt"), map[string]any{"name": "renamed.txt"})
	w.call("DELETE", strings.TrimSuffix(w.itemAt("Documents", "folder"), ":"), nil)
	third := w.backUp(unit)
	w.wantPermissions(third, "Documents", map[string]string{"renamed.txt": want["a.txt"]})
	w.wantPermissions(second, "Documents", want)

	// A whole enumeration finds the same.
	w.skew.Add(int64(8 * 24 * time.Hour))
	if whole := w.backUp(unit); !maps.Equal(w.keptPermissions(whole, "Documents"), w.keptPermissions(third, "Documents")) || len(w.lacking(whole)) > 0 {
		t.Errorf("enumerated, the permissions are %q, and %q is lacking", w.keptPermissions(whole, "Documents"), w.lacking(whole))
	}

	// Who does not want them any more has points without.
	w.engine.Permissions = nil
	last := w.backUp(unit)
	parts, err := w.vault.Parts(w.ctx, last.Tree)
	w.must(err)
	if slices.ContainsFunc(parts, func(p vault.Part) bool { return p.Kind == backup.FilePermissions }) {
		t.Error("the point has permissions")
	}
}

// Who does not ask for permissions pays nothing for them.
func TestPermissionsAreKeptOnDemand(t *testing.T) {
	w, unit := withPeople(t)
	w.engine.Permissions = nil
	w.share("Documents", "a.txt", "write", "ann")
	w.onRequest(func(r *http.Request) {
		if strings.Contains(r.Header.Get("Prefer"), "sharing") || strings.HasSuffix(r.URL.Path, "/permissions") {
			t.Errorf("%s %s was asked for", r.Method, r.URL)
		}
	})
	w.backUp(unit)
}

// Permissions that the source does not tell are named, and what was held of them stays.
// An application that is not told of all says so once, and has points all the same.
func TestPermissionsThatAreNotTold(t *testing.T) {
	var refuse atomic.Pointer[func(http.ResponseWriter, *http.Request) bool]
	w, unit := withPeople(t, func(sim http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if f := refuse.Load(); f != nil && (*f)(rw, r) {
				return
			}
			sim.ServeHTTP(rw, r)
		})
	})
	w.share("Documents", "a.txt", "write", "ann")
	w.share("Documents", "folder", "read", "bob")
	want := map[string]string{"a.txt": owners + "; ann: write", "folder": owners + "; bob: read"}
	first := w.backUp(unit)
	w.wantPermissions(first, "Documents", want)

	onList := func(status int, body string) *func(http.ResponseWriter, *http.Request) bool {
		f := func(rw http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/permissions") {
				return false
			}
			rw.Header().Set("Content-Type", "application/json")
			rw.WriteHeader(status)
			io.WriteString(rw, body)
			return true
		}
		return &f
	}
	for _, tt := range []struct {
		status int
		body   string
		code   backup.Code
	}{
		{http.StatusForbidden, says("accessDenied"), backup.AccessDenied},
		{http.StatusNotFound, says("itemNotFound"), backup.ContentNotFound},
		{http.StatusOK, `{"value":[]}`, backup.AccessDenied},
		{http.StatusOK, `{"value":[{"id":7,"roles":"all"}]}`, backup.ContentNotConfirmed},
	} {
		w.share("Documents", "a.txt", "write", "cy")
		refuse.Store(onList(tt.status, tt.body))
		p := w.backUp(unit)
		refuse.Store(nil)
		w.wantPermissions(p, "Documents", want)
		lacks := w.lacking(p)
		if len(lacks) != 1 || !strings.HasPrefix(lacks[0], "Documents (permissions)/") || !strings.HasSuffix(lacks[0], string(tt.code)+" true") {
			t.Errorf("after %d %s, the point lacks %q", tt.status, tt.body, lacks)
		}
		w.skew.Add(int64(24 * time.Hour))
		want["a.txt"] = owners + "; ann: write; cy: write"
		healed := w.backUp(unit)
		w.wantPermissions(healed, "Documents", want)
		if lacks := w.lacking(healed); len(lacks) > 0 {
			t.Errorf("told again, the point lacks %q", lacks)
		}
	}

	// The scan as a whole.
	noScan := func(rw http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.Header.Get("Prefer"), "hierarchicalsharing") {
			return false
		}
		rw.WriteHeader(http.StatusForbidden)
		io.WriteString(rw, says("accessDenied"))
		return true
	}
	refuse.Store(&noScan)
	p := w.backUp(unit)
	w.wantPermissions(p, "Documents", want)
	if got := w.lacking(p); len(got) != 2 || !slices.Contains(got, "Documents (permissions) accessDenied true") || w.unit(unit.ID).Status != backup.UnitProtected {
		t.Errorf("without a scan, the point lacks %q", got)
	}
	refuse.Store(nil)

	// The application has not the right to it.
	with := w.source
	w.source = drive.New(drive.Config{Graph: w.url + "/v1.0", Authority: w.url, Tenant: w.tenant, ClientID: modestApp, Credential: drive.Secret(testSecret)})
	w.share("Papers", "p.txt", "write", "ann")
	n := w.listed()
	p = w.backUp(unit)
	w.wantPermissions(p, "Documents", want)
	w.wantPermissions(p, "Papers", map[string]string{})
	if got := w.lacking(p); len(got) != 1 || got[0] != "(permissions) accessDenied false" || n.Load() > 0 {
		t.Errorf("without the right, the point lacks %q, and %d lists were read", got, n.Load())
	}
	w.onRequest(nil)
	w.source = with
	p = w.backUp(unit)
	w.wantPermissions(p, "Papers", map[string]string{"p.txt": owners + "; ann: write"})
	if got := w.lacking(p); len(got) > 0 || w.unit(unit.ID).Problem != nil {
		t.Errorf("with the right, the point lacks %q", got)
	}
}

// A run that is killed reads what it lacks, and no list of permissions that has pages is
// taken for whole at the first.
func TestPermissionsInPagesAndAKill(t *testing.T) {
	var pages, fail atomic.Bool
	w, unit := withPeople(t, func(sim http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if !strings.HasSuffix(r.URL.Path, "/permissions") || !pages.Load() {
				sim.ServeHTTP(rw, r)
				return
			}
			if fail.Load() {
				panic(http.ErrAbortHandler)
			}
			at := 0
			fmt.Sscan(r.URL.Query().Get("$skiptoken"), &at)
			r.URL.RawQuery = ""
			retell(t, sim, rw, r, func(all *struct {
				Value []json.RawMessage `json:"value"`
				Next  string            `json:"@odata.nextLink,omitempty"`
			}) {
				if at+1 < len(all.Value) {
					all.Next = fmt.Sprintf("http://%s%s?$skiptoken=%d", r.Host, r.URL.EscapedPath(), at+1)
				}
				all.Value = all.Value[at : at+1]
			})
		})
	})
	pages.Store(true)
	w.share("Documents", "a.txt", "write", "ann", "bob", "cy")
	ctx, kill := context.WithCancel(w.ctx)
	w.onRequest(func(r *http.Request) {
		if r.URL.Query().Get("$skiptoken") == "2" {
			kill()
		}
	})
	if err := w.try(ctx, jobs.Backup, string(unit.ID), w.engine.backup); err == nil {
		t.Error("the run came to its end")
	}
	w.onRequest(nil)
	want := map[string]string{"a.txt": owners + "; ann: write; bob: write; cy: write"}
	w.wantPermissions(w.backUp(unit), "Documents", want)

	// The connection breaks each time.
	w.share("Documents", "a.txt", "read", "cy")
	fail.Store(true)
	p := w.backUp(unit)
	w.wantPermissions(p, "Documents", want)
	if lacks := w.lacking(p); len(lacks) != 1 || !strings.HasSuffix(lacks[0], string(backup.DriveUnavailable)+" true") {
		t.Errorf("the point lacks %q", lacks)
	}
	fail.Store(false)
	w.skew.Add(int64(24 * time.Hour))
	want["a.txt"] = owners + "; ann: write; bob: write; cy: read"
	w.wantPermissions(w.backUp(unit), "Documents", want)
}

// That the source tells of an item without saying that it is shared by itself may mean
// that this did not change: what is held is asked for, and stays.
func TestPermissionsOfAScanThatSaysLess(t *testing.T) {
	var less atomic.Bool
	w, unit := withPeople(t, func(sim http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if !less.Load() || !strings.Contains(r.Header.Get("Prefer"), "hierarchicalsharing") {
				sim.ServeHTTP(rw, r)
				return
			}
			retell(t, sim, rw, r, func(all *map[string]any) {
				told, _ := (*all)["value"].([]any)
				for _, v := range told {
					delete(v.(map[string]any), "shared")
				}
			})
		})
	})
	w.share("Documents", "a.txt", "write", "ann")
	w.share("Documents", "folder", "read", "bob")
	want := map[string]string{"a.txt": owners + "; ann: write", "folder": owners + "; bob: read"}
	w.wantPermissions(w.backUp(unit), "Documents", want)
	less.Store(true)
	w.call("PATCH", w.itemAt("Documents", "a.txt"), map[string]any{"name": "b.txt"})
	want["b.txt"] = want["a.txt"]
	delete(want, "a.txt")
	for range 2 {
		p := w.backUp(unit)
		w.wantPermissions(p, "Documents", want)
		if lacks := w.lacking(p); len(lacks) > 0 {
			t.Errorf("the point lacks %q", lacks)
		}
		w.skew.Add(int64(8 * 24 * time.Hour)) // and enumerated as a whole
	}
	w.unshare("Documents", "folder")
	delete(want, "folder")
	w.wantPermissions(w.backUp(unit), "Documents", want)
}
