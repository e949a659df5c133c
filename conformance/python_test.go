package conformance

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestPythonClientTellsAnAdministratorsStory(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Fatal("Microsoft's Python client was not tested: Python is missing (Debian: apt-get install python3-venv)")
	}
	// What installs it speaks to others than our server.
	outside := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "SSL_CERT_FILE=") })
	run := func(env []string, program string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Dir, cmd.Env = "python", env
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", cmd, err, out)
		}
	}
	run(outside, "python3", "-m", "venv", ".venv") // Debian: apt-get install python3-venv
	run(outside, ".venv/bin/pip", "install", "--quiet", "--requirement", "requirements.txt")
	env := append(os.Environ(), "HOLDFAST_URL="+dev.HTTPS, "HOLDFAST_TENANT="+dev.Tenant, "HOLDFAST_APP="+dev.App, "HOLDFAST_SECRET="+dev.Secret,
		"HOLDFAST_DRIVES="+dev.Drives, "HOLDFAST_SITES="+dev.Sites, "HOLDFAST_MAIL="+dev.Mail)
	for _, story := range []string{"story.py", "workloads.py"} {
		run(env, ".venv/bin/python", story)
	}
}
