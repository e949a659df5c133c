package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/vault"
)

// An asker asks a server's API once, without the client's patience.
type asker struct {
	t             *testing.T
	origin, token string
}

func newAsker(t *testing.T, d *devServer) *asker {
	t.Helper()
	a := &asker{t: t, origin: d.origin}
	tenant := d.tenants[0]
	res, err := http.PostForm(d.origin+"/"+string(tenant.ID)+"/oauth2/v2.0/token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {tenant.Apps[0].AppID}, "client_secret": {tenant.Apps[0].Secret}, "scope": {"https://graph.microsoft.com/.default"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || answer.Token == "" {
		t.Fatalf("no token: %d, %v", res.StatusCode, err)
	}
	a.token = answer.Token
	return a
}

// do asks for a path below the service, or for a whole address.
func (a *asker) do(method, at, body string) (*http.Response, string) {
	a.t.Helper()
	if strings.HasPrefix(at, "/") {
		at = a.origin + "/v1.0/solutions/backupRestore" + at
	}
	req, err := http.NewRequestWithContext(a.t.Context(), method, at, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return res, string(text)
}

// ask is do for what succeeds.
func (a *asker) ask(method, at, body string, answer any) {
	a.t.Helper()
	res, text := a.do(method, at, body)
	if res.StatusCode >= 300 {
		a.t.Fatalf("%s %s = %d %s", method, at, res.StatusCode, text)
	}
	if err := json.Unmarshal([]byte(text), answer); err != nil {
		a.t.Fatal(err)
	}
}

// Whatever is the matter with a tenant's vault, what reads it for an answer says so
// by an error of its kind, with words that tell what to check; it never speaks of a
// failure of the server's own. What needs no vault answers as always.
func TestWhatReadsTheVaultSaysWhatIsTheMatterWithIt(t *testing.T) {
	d := startTestDev(t, nil)
	asDev(t, d)
	home := filepath.Join(d.drives, "amala@contoso.com")
	for i := range 25 {
		if err := os.WriteFile(filepath.Join(home, fmt.Sprintf("%02d.txt", i)), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	hf(t, 0, "drive", "add", "--policy", "OneDrive Policy", "amala@contoso.com")
	hf(t, 0, "policy", "activate", "OneDrive Policy", "--wait")
	point := strings.TrimSpace(hf(t, 0, "point", "list", "amala@contoso.com", "-q"))

	a := newAsker(t, d)
	var session struct{ ID string }
	a.ask("POST", "/oneDriveForBusinessBrowseSessions", `{"restorePointId": "`+point+`"}`, &session)
	type page struct {
		Next  string `json:"@odata.nextLink"`
		Value []struct{ ItemKey, Name string }
	}
	var root, library page
	browse := "/browseSessions/" + session.ID + "/browse"
	a.ask("POST", browse, "", &root)
	a.ask("POST", browse, `{"browseLocationItemKey": "`+root.Value[0].ItemKey+`"}`, &library)
	artifact := `{"browseSessionId": "` + session.ID + `", "id": "` + library.Value[0].ItemKey + `"}`
	var restore struct{ ID string }
	a.ask("POST", "/oneDriveForBusinessRestoreSessions", `{"granularDriveRestoreArtifacts": [`+artifact+`]}`, &restore)

	type request struct{ method, at, body string }
	reading := map[string]request{
		"browse the site":         {"POST", browse, ""},
		"browse the library":      {"POST", browse, `{"browseLocationItemKey": "` + root.Value[0].ItemKey + `"}`},
		"browse with a filter":    {"POST", browse, `{"browseLocationItemKey": "` + root.Value[0].ItemKey + `", "filter": "(name -contains '0')"}`},
		"browse a folder":         {"POST", browse, `{"browseLocationItemKey": "` + library.Value[0].ItemKey + `"}`},
		"browse the next page":    {"GET", library.Next, ""},
		"restore a file":          {"POST", "/oneDriveForBusinessRestoreSessions", `{"granularDriveRestoreArtifacts": [` + artifact + `]}`},
		"restore one file more":   {"PATCH", "/oneDriveForBusinessRestoreSessions/" + restore.ID, `{"granularDriveRestoreArtifacts@delta": [` + artifact + `]}`},
		"list what a point lacks": {"GET", "/restorePoints/" + point + "/holdfast.unread", ""},
	}
	others := map[string]request{
		"create a session": {"POST", "/oneDriveForBusinessBrowseSessions", `{"restorePointId": "` + point + `"}`},
		"show the session": {"GET", "/browseSessions/" + session.ID, ""},
		"list sessions":    {"GET", "/browseSessions", ""},
		"show the point":   {"GET", "/restorePoints/" + point, ""},
	}

	check := func(t *testing.T, status int, code, words string) {
		t.Helper()
		for name, r := range reading {
			res, text := a.do(r.method, r.at, r.body)
			var answer struct {
				Error struct {
					Code, Message string
				}
			}
			if err := json.Unmarshal([]byte(text), &answer); err != nil || res.StatusCode != status || answer.Error.Code != code || !strings.Contains(answer.Error.Message, words) || strings.Contains(text, d.data.path("")) {
				t.Errorf("%s = %d %s, want %d %s and %q", name, res.StatusCode, text, status, code, words)
			}
			if retry := res.Header.Get("Retry-After"); (retry != "") != (status == http.StatusServiceUnavailable) {
				t.Errorf("%s is to be tried again after %q", name, retry)
			}
		}
		for name, r := range others {
			if res, text := a.do(r.method, r.at, r.body); res.StatusCode >= 300 {
				t.Errorf("%s = %d %s", name, res.StatusCode, text)
			}
		}
	}

	v := d.vaults.all.Load().of[backup.FirstVault(d.tenants[0].ID)]
	for _, test := range []struct {
		err   error
		words string
	}{
		{vault.ErrStorage, "Check that its storage can be reached"},
		{vault.ErrPassword, "Check the vault's password"},
		{vault.ErrMissing, "Check that its volume is mounted"},
		{vault.ErrOther, "Check that the right volume is mounted"},
		{vault.ErrNewer, "Run the newer version"},
		{vault.ErrDamaged, "Check the vault's storage"},
		{vault.ErrNotFound, "Check that its storage can be reached"},
		{errOpening, "Check that its storage can be reached"},
		{errors.New("open the vault: panic"), "Check that its storage can be reached"},
	} {
		t.Run(test.err.Error(), func(t *testing.T) {
			v.mu.Lock()
			open := v.vault
			v.vault, v.err, v.tried = nil, fmt.Errorf("open the vault in %s: %w", d.data.path("vault"), test.err), time.Now()
			v.mu.Unlock()
			check(t, http.StatusServiceUnavailable, "serviceNotAvailable", test.words)
			v.mu.Lock()
			v.vault, v.err = open, nil
			v.mu.Unlock()
		})
	}

	dir := d.vaultDir(backup.FirstVault(d.tenants[0].ID))
	t.Run("not mounted while it is open", func(t *testing.T) {
		if err := errors.Join(os.Rename(dir, dir+".away"), os.Mkdir(dir, 0o700)); err != nil {
			t.Fatal(err)
		}
		check(t, http.StatusServiceUnavailable, "serviceNotAvailable", "Check that its volume is mounted")
		if out := hf(t, 0, "status"); !strings.Contains(out, "There is no vault where the tenant's should be") {
			t.Errorf("status says nothing of the vault: %s", out)
		}
		if err := errors.Join(os.Remove(dir), os.Rename(dir+".away", dir)); err != nil {
			t.Fatal(err)
		}
	})
	if out := hf(t, 0, "status"); strings.Contains(out, "Vault") {
		t.Errorf("status speaks of the vault, which is well: %s", out)
	}
	t.Run("its folders damaged while it is open", func(t *testing.T) {
		whole := spoil(t, filepath.Join(dir, "q"))
		check(t, http.StatusServiceUnavailable, "serviceNotAvailable", "The vault is damaged")
		for path, b := range whole {
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("a point that it does not hold", func(t *testing.T) {
		for _, table := range []string{"browse_session", "restore_point"} {
			if err := d.db.Tx(t.Context(), func(tx *database.Tx) error {
				_, err := tx.ExecContext(t.Context(), `UPDATE `+table+` SET tree = $1`, "k"+strings.Repeat("0", 32))
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		check(t, http.StatusBadRequest, string(backup.InvalidRestorePoint), "The vault no longer holds this restore point")
	})
}

// spoil turns a bit of each file below a folder, and returns what they were.
func spoil(t *testing.T, dir string) (whole map[string][]byte) {
	t.Helper()
	whole = map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		whole[path] = b
		bad := bytes.Clone(b)
		for i := range bad {
			bad[i] ^= 1
		}
		return os.WriteFile(path, bad, 0o600)
	})
	if err != nil || len(whole) == 0 {
		t.Fatalf("nothing in %s: %v", dir, err)
	}
	return whole
}
