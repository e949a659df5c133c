package conformance

import (
	"os"
	"os/exec"
	"testing"
)

func TestJavaScriptClientTellsItsStories(t *testing.T) {
	if _, err := exec.LookPath("npm"); err != nil {
		t.Fatal("Microsoft's JavaScript client was not tested: Node.js and npm are missing (Debian: apt-get install nodejs npm)")
	}
	install := exec.CommandContext(t.Context(), "npm", "ci", "--no-audit", "--no-fund")
	install.Dir = "js"
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	for _, name := range []string{"story.mjs", "workloads.mjs", "tenant.mjs"} {
		story := exec.CommandContext(t.Context(), "node", name)
		story.Dir = "js"
		story.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+dev.CA, "HOLDFAST_URL="+dev.HTTPS,
			"HOLDFAST_TENANT="+dev.Tenant, "HOLDFAST_APP="+dev.App, "HOLDFAST_SECRET="+dev.Secret, "HOLDFAST_DRIVES="+dev.Drives, "HOLDFAST_SITES="+dev.Sites, "HOLDFAST_MAIL="+dev.Mail)
		if out, err := story.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
