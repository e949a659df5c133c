package console

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// A provider's two tenants. In the first, people have roles by their groups.
const (
	contoso  = "c0a70500-4f6b-4c55-8f0e-c0a7050a0000"
	fabrikam = "fab00000-4f6b-4c55-8f0e-c0a7050a0000"
	amala    = "a3a1a000-4f6b-4c55-8f0e-c0a7050a0001"
	conrad   = "c09dad00-4f6b-4c55-8f0e-c0a7050a0002"
	boss     = "b0550000-4f6b-4c55-8f0e-c0a7050a0003"
	reader   = "4eade400-4f6b-4c55-8f0e-c0a7050a0004"
	desk     = "de500000-4f6b-4c55-8f0e-c0a7050a0005"
	theApp   = "a9900000-4f6b-4c55-8f0e-c0a7050a0006"
	theAPI   = "a9100000-4f6b-4c55-8f0e-c0a7050a0008"
	secret   = "the application's secret"
)

type object = map[string]any

// starts runs the program until the test ends, and returns what it says after a word.
func starts(t *testing.T, word string, args ...string) string {
	t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = t.Output()
	cmd.Env = append(os.Environ(), "HOLDFAST_TEST_SECRET="+secret)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if _, said, ok := strings.Cut(lines.Text(), word); ok {
			go func() {
				for lines.Scan() {
				}
			}()
			return strings.TrimSpace(said)
		}
	}
	t.Fatalf("holdfast %s ended before it said %q", args[0], word)
	return ""
}

func writeJSON(t *testing.T, path string, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err == nil {
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// provider runs a server for both tenants, which protects two drives of the first. It
// returns its origin, that of the tenants, which can be told what goes wrong, and the folder of
// their drives.
func provider(t *testing.T) (origin, entra, drives string) {
	dir := t.TempDir()
	user := func(id, name, display string) object {
		return object{"id": id, "userPrincipalName": name, "mail": name, "displayName": display}
	}
	group := func(id, member string) object {
		return object{"id": strings.Replace(id, "4f6b", "9409", 1), "displayName": id, "members": []string{member}}
	}
	scopes := []string{"BackupRestore-Configuration.ReadWrite.All", "BackupRestore-Control.ReadWrite.All", "BackupRestore-Restore.ReadWrite.All", "BackupRestore-Search.Read.All"}
	apps := []object{{"appId": theApp, "secret": secret, "displayName": "Holdfast", "roles": append([]string{"Files.ReadWrite.All", "Sites.Manage.All", "User.Read.All", "GroupMember.Read.All"}, scopes...)},
		{"appId": theAPI, "secret": secret, "displayName": "Holdfast", "exposes": scopes, "groupClaims": true, "requestedAccessTokenVersion": 2}}
	tenants := writeJSON(t, filepath.Join(dir, "tenants.json"), object{"tenants": []object{
		{"id": contoso, "displayName": "Contoso", "domain": "contoso.com", "apps": apps, "groups": []object{group(boss, boss), group(reader, reader), group(desk, desk)},
			"users": []object{user(amala, "amala@contoso.com", "Amala Rao"), user(conrad, "conrad@contoso.com", "Conrad Nuber"), user(boss, "boss@contoso.com", "Lothar Brandt"),
				user(reader, "rita@contoso.com", "Rita Reader"), user(desk, "dana@contoso.com", "Dana Desk")}},
		{"id": fabrikam, "displayName": "Fabrikam", "domain": "fabrikam.com", "apps": apps, "users": []object{user("f1000000-4f6b-4c55-8f0e-c0a7050a0007", "lothar@fabrikam.com", "Lothar at Fabrikam")}},
	}})
	data := filepath.Join(dir, "dev")
	for _, name := range []string{"amala@contoso.com", "conrad@contoso.com"} {
		drive := filepath.Join(data, "drives", name)
		if err := os.MkdirAll(drive, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{"a.txt", "locked.txt"} {
			if err := os.WriteFile(filepath.Join(drive, file), []byte(file), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	entra, _, _ = strings.Cut(starts(t, `{"url":"`, "tenant", "--control", "--data", data, "--tenant", tenants, "--listen", "127.0.0.1:0"), `"`)
	var of []object
	for id, name := range map[string]string{contoso: "Contoso", fabrikam: "Fabrikam"} {
		one := object{"id": id, "displayName": name, "graph": entra + "/v1.0", "authority": entra, "clientId": theApp, "secretEnv": "HOLDFAST_TEST_SECRET"}
		if id == contoso {
			groups := func(ids ...string) (all []string) {
				for _, id := range ids {
					all = append(all, strings.Replace(id, "4f6b", "9409", 1))
				}
				return all
			}
			one["roles"] = object{"administrator": groups(boss), "reader": groups(reader, desk)}
			one["scopes"] = object{"Finance": object{"owners": []string{amala}, "roles": object{"restorer": groups(desk)}}}
		}
		of = append(of, one)
	}
	if err := os.WriteFile(filepath.Join(dir, "password"), []byte("correct horse\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	origin = strings.TrimSuffix(starts(t, "web pages are at", "serve", "--config", writeJSON(t, filepath.Join(dir, "serve.json"), object{
		"listen": "127.0.0.1:0", "database": "sqlite:" + filepath.Join(dir, "catalog.db"), "vault": object{"dir": filepath.Join(dir, "vault"), "passwordFile": "password"},
		"interval": "5s", "tenants": of, "api": object{"clientId": theAPI}, "anyUserBrowses": true, "console": object{"clientId": theApp, "secretEnv": "HOLDFAST_TEST_SECRET"},
	})), "/console/")

	var token struct {
		Access string `json:"access_token"`
	}
	ask := func(method, address string, body io.Reader, kind string, answer any) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, address, body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", kind)
		r.Header.Set("Authorization", "Bearer "+token.Access)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err == nil && answer != nil {
			err = json.Unmarshal(text, answer)
		}
		if err != nil || res.StatusCode >= 300 {
			t.Fatalf("%s %s = %s, %v\n%s", method, address, res.Status, err, text)
		}
	}
	ask("POST", entra+"/"+contoso+"/oauth2/v2.0/token", strings.NewReader(url.Values{"grant_type": {"client_credentials"}, "client_id": {theApp}, "client_secret": {secret},
		"scope": {"api://" + theAPI + "/.default"}}.Encode()), "application/x-www-form-urlencoded", &token)
	root := origin + "/v1.0/solutions/backupRestore"
	var policy struct{ ID string }
	body, err := json.Marshal(object{"displayName": "Staff", "driveProtectionUnits": []object{{"directoryObjectId": amala}, {"directoryObjectId": conrad}}})
	if err != nil {
		t.Fatal(err)
	}
	ask("POST", root+"/oneDriveForBusinessProtectionPolicies", bytes.NewReader(body), "application/json", &policy)
	ask("POST", root+"/protectionPolicies/"+policy.ID+"/activate", nil, "application/json", nil)
	for begun := time.Now(); time.Since(begun) < time.Minute; time.Sleep(200 * time.Millisecond) {
		var rpo struct{ ProtectedUnitCount int }
		if ask("GET", root+"/holdfast.rpo", nil, "application/json", &rpo); rpo.ProtectedUnitCount == 2 {
			return origin, entra, filepath.Join(data, "drives")
		}
	}
	t.Fatal("the drives are not protected after a minute")
	return "", "", ""
}

// as signs in as somebody at Entra's page.
func (b *browser) as(name string) {
	b.t.Helper()
	b.leaves(func() { b.do(chromedp.Click(`button[value="` + name + `"]`)) })
}

// A provider's person signs in to a second tenant, sees both side by side, and changes
// between them; somebody who reads is offered no restore, and the help desk of Finance
// those of Finance.
func TestTenantsAndRolesInABrowser(t *testing.T) {
	b := newBrowser(t)
	var entra, drives string
	b.at, entra, drives = provider(t)
	b.open("/console/")
	b.as("boss@contoso.com")
	b.says("Staff")
	b.do(chromedp.Click(`details.switch summary`))
	b.check("switch-of-one")
	b.leaves(func() { b.do(chromedp.Click(`//details//a[starts-with(., "All tenants")]`)) })
	b.do(chromedp.SendKeys(`input[name=tenant]:not([type=hidden])`, "fabrikam.com"))
	b.leaves(func() { b.click("Sign in") })
	b.says("Entra ID wants to ask you")
	b.check("tenant-asks")
	b.leaves(func() { b.click("Sign in to fabrikam.com") })
	b.as("lothar@fabrikam.com")
	b.says("Lothar at Fabrikam")
	b.says("Nothing is protected.")

	// The switch, by the keyboard alone.
	eval[bool](b, `document.querySelector("details.switch summary").focus(), true`)
	b.do(chromedp.KeyEvent("\r"))
	b.until("the switch is open", `document.querySelector("details.switch").open`)
	b.check("switch")
	b.do(chromedp.KeyEvent("\x1b"))
	eval[bool](b, `document.querySelector("details.switch summary").focus(), true`)
	b.do(chromedp.KeyEvent("\r"), chromedp.KeyEvent("\t"))
	if got := eval[string](b, `document.activeElement.textContent`); got != "Contoso" {
		t.Errorf("the first stop in the switch is %q", got)
	}
	b.do(chromedp.KeyEvent("\x1b"))
	if got := eval[string](b, `document.activeElement.tagName + document.querySelector("details.switch").open`); got != "SUMMARYfalse" {
		t.Errorf("after Escape: %s", got)
	}
	b.do(chromedp.KeyEvent("\r"), chromedp.KeyEvent("\t"))
	b.leaves(func() { b.do(chromedp.KeyEvent("\r")) })
	b.says("Staff")
	b.open("/console/tenants")
	b.until("both tenants are there", `document.querySelectorAll("#live-tenants tbody tr").length === 2`)
	b.check("tenants")
	b.click("Contoso")
	b.says("Staff")

	// While another window looks at the other tenant, a form acts where its page is of.
	b.leaves(func() { b.click("Staff") })
	if got := eval[string](b, `fetch("/console/`+fabrikam+`/policies").then((r) => r.text())`); !strings.Contains(got, "There is no policy") {
		t.Errorf("the other tenant's policies are %s", got)
	}
	b.do(chromedp.SetValue(`input[name=name]`, "Staff of Contoso"))
	b.leaves(func() { b.click("Rename") })
	b.says("The policy has a new name.")
	if got := eval[string](b, `location.pathname`); !strings.HasPrefix(got, "/console/"+contoso+"/policies/") {
		t.Errorf("the form leads to %s", got)
	}
	b.do(chromedp.Click(`form.who button`))
	b.says("You are signed out")

	unit := func(name string) {
		t.Helper()
		b.open("/console/units")
		b.leaves(func() { b.click(name) })
		b.says("Complete")
	}
	offers := func(text string) bool {
		t.Helper()
		return eval[bool](b, `[...document.querySelectorAll("main a, main button")].some((e) => e.textContent.includes(`+js(text)+`))`)
	}
	b.leaves(func() { b.click("Sign in") })
	b.as("rita@contoso.com")
	unit("Amala Rao")
	b.says("Your role here, reader, does not go so far.")
	for _, text := range []string{"Browse", "Restore the drive", "Remove from the policy"} {
		if offers(text) {
			t.Errorf("a reader is offered %q", text)
		}
	}
	b.check("unit-of-a-reader")
	b.leaves(func() { b.click("Staff of Contoso") })
	if offers("Deactivate") || offers("Rename") {
		t.Error("a reader is offered to change a policy")
	}
	b.check("policy-of-a-reader")
	b.do(chromedp.Click(`form.who button`))
	b.leaves(func() { b.click("Sign in") })
	b.as("dana@contoso.com")
	unit("Conrad Nuber")
	b.says("limited to Finance")
	if offers("Restore the drive") || offers("Browse") {
		t.Error("the help desk of Finance is offered to restore others")
	}
	b.check("unit-of-others")
	unit("Amala Rao")
	if !offers("Restore the drive") || !offers("Browse the newest") || offers("Remove from the policy") {
		t.Error("the help desk of Finance is not offered to restore Finance, or more than that")
	}
	restore := func() {
		t.Helper()
		b.leaves(func() { b.click("Restore the drive") })
		b.leaves(func() { b.click("Show what will happen") })
		b.leaves(func() { b.click("Restore now") })
		b.until("the restore has ended", `document.querySelector("main .status:is(.completed, .activeWithErrors, .failed)") !== null`)
	}
	restore()
	b.says("Completed")

	// A file that cannot be written is named, with why and what to do; the others are back.
	trouble := func(method, what string) {
		t.Helper()
		r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), method, entra+"/_holdfast/trouble", strings.NewReader(what))
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode >= 300 {
			t.Fatalf("trouble: %s", res.Status)
		}
	}
	trouble("POST", `{"faults": [{"path": "locked", "status": 423, "header": {"Content-Type": "application/json"}, "body": "{\"error\":{\"code\":\"resourceLocked\",\"message\":\"It is open.\"}}"}]}`)
	unit("Amala Rao")
	restore()
	b.until("it says so of the drive", `/^In part: 1 of \d+ items failed$/.test(document.querySelector("main td .status.activeWithErrors")?.textContent)`)
	b.says("locked.txt")
	b.says("close it and restore again")
	b.check("restored-but-for-some")

	// A point that lacks something says what, since when, and why.
	lacks := []string{"infected.docx", strings.Repeat("long-and-unbreakable-", 11) + ".docx", "a \u202efdp.<b>docx"}
	trouble("POST", `{"profile": "malware", "victim": "*docx"}`)
	for _, name := range lacks {
		if err := os.WriteFile(filepath.Join(drives, "amala@contoso.com", name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for begun := time.Now(); time.Since(begun) < time.Minute; time.Sleep(time.Second) {
		if unit("Amala Rao"); eval[bool](b, `document.body.innerText.includes("Lacks 3 items")`) {
			break
		}
	}
	b.says("Lacks 3 items")
	b.check("unit-that-lacks")
	b.leaves(func() { b.do(chromedp.Click(`//section//tbody/tr[contains(., "Lacks 3 items")]/th/a`)) })
	b.says("What this point does not hold as it was")
	for _, name := range lacks {
		b.says(strings.ReplaceAll(name, "\u202e", ""))
	}
	b.check("point-that-lacks")
	trouble("DELETE", "")
	b.open("/console/")
	b.says("A restore ended in part: 1 of")
	b.check("overview-after-errors")
}
