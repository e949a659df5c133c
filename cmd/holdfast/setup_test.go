package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/identity"
)

// The script for the Azure CLI runs from its first line to its last, and ends with a
// configuration that a server takes. It meets a stand-in here, which knows the
// commands that it uses and what each answers.
func TestSetupScriptRuns(t *testing.T) {
	var script bytes.Buffer
	if err := writeSetup(&script, "az", "Holdfast of Contoso", "oneDriveForBusiness", "exchange"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"az": `#!/bin/sh
echo "$*" >> calls
case "$*" in
*"ad app create --display-name Holdfast of Contoso source "*) echo 00000000-0000-4000-8000-000000000002 ;;
*"ad app create --display-name Holdfast of Contoso "*) echo 00000000-0000-4000-8000-000000000001 ;;
*"ad app show"*) echo 00000000-0000-4000-8000-00000000000f ;;
*"ad sp show"*) echo "$*" | sed "s/.*value=='\([^']*\)'.*/id-of-\1/" ;;
*"credential reset"*) echo s3cret ;;
*"account show"*) echo ` + exampleTenant + ` ;;
*"rest --method PATCH"*) cp holdfast-api.json body ;;
esac
`,
		"sleep": "#!/bin/sh\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "sh")
	cmd.Dir, cmd.Stdin = dir, &script
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	var body struct {
		API struct {
			RequestedAccessTokenVersion int
			Oauth2PermissionScopes      []struct{ ID, Value, Type string }
		}
		AppRoles []struct {
			ID, Value          string
			AllowedMemberTypes []string
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "body"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &body); err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	var scopes, roles []identity.Permission
	var people []string
	for _, s := range body.API.Oauth2PermissionScopes {
		scopes, ids[s.ID] = append(scopes, identity.Permission(s.Value)), true
	}
	for _, r := range body.AppRoles {
		ids[r.ID] = true
		if slices.Equal(r.AllowedMemberTypes, []string{"User"}) {
			people = append(people, r.Value)
		} else {
			roles = append(roles, identity.Permission(r.Value))
		}
	}
	var ofPeople []string
	for _, r := range identity.Roles {
		ofPeople = append(ofPeople, r.Claim())
	}
	if !slices.Equal(scopes, identity.Permissions) || !slices.Equal(roles, identity.Permissions) || !slices.Equal(people, ofPeople) || len(ids) != 2*len(roles)+len(people) || body.API.RequestedAccessTokenVersion != 2 {
		t.Errorf("the API is registered with %s", b)
	}

	calls, err := os.ReadFile(filepath.Join(dir, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range slices.Concat(sourcePermissions, mailPermissions) {
		if !strings.Contains(string(calls), "--api-permissions id-of-"+p+"=Role\n") {
			t.Errorf("the source is not given %s:\n%s", p, calls)
		}
	}
	_, snippet, _ := strings.Cut(string(out), "configuration:\n")
	snippet, _, _ = strings.Cut(snippet, "\n\nWhat calls")
	var cfg map[string]any
	if err := json.Unmarshal([]byte("{"+snippet+"}"), &cfg); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	path := writeConfig(t, func(c map[string]any) {
		delete(c, "issuers")
		c["api"], c["tenants"], c["workloads"] = cfg["api"], cfg["tenants"], cfg["workloads"]
	})
	secret, err := os.ReadFile(filepath.Join(dir, "holdfast-source.secret"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "holdfast-source.secret"), secret, 0o600); err != nil {
		t.Fatal(err)
	}
	if cfg, err := ReadConfig(path); err != nil || !slices.Equal(cfg.Workloads, []backup.Workload{backup.OneDrive, backup.Exchange}) {
		t.Errorf("a server does not take what the script says: %v, %v", cfg.Workloads, err)
	}
}

// Who protects no mailboxes has nobody read them.
func TestSetupAsksForNoMoreThanIsProtected(t *testing.T) {
	for _, shell := range []string{"az", "powershell"} {
		for workloads, mail := range map[string]bool{"oneDriveForBusiness": false, "sharePoint": false, "Exchange": true} {
			var script bytes.Buffer
			if err := writeSetup(&script, shell, "Holdfast", workloads); err != nil {
				t.Fatal(err)
			}
			for _, p := range mailPermissions {
				if strings.Contains(script.String(), p) != mail {
					t.Errorf("for %s of %s the script asks for %s: %v", shell, workloads, p, !mail)
				}
			}
		}
		if err := writeSetup(&bytes.Buffer{}, shell, "Holdfast", "mail"); err == nil || !strings.Contains(err.Error(), "--workloads: give oneDriveForBusiness") {
			t.Errorf("of mail: %v", err)
		}
	}
}

func TestSetupForPowerShell(t *testing.T) {
	var script bytes.Buffer
	if err := writeSetup(&script, "powershell", "Holdfast"); err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(script.String(), "@'\n")
	body, _, _ = strings.Cut(body, "\n'@")
	if want, err := setupBody(); err != nil || body != want {
		t.Errorf("the script holds %s, want %s, %v", body, want, err)
	}
}
