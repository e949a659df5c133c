package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A shellBlock is a block of a document that is meant to be pasted into a shell.
type shellBlock struct {
	text  string
	needs string // what it takes to run it that no test has
}

// shellBlocks returns the blocks of a document, also those in lists.
func shellBlocks(t *testing.T, file string) (blocks []shellBlock) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var block strings.Builder
	indent, in, needs := "", false, ""
	for line := range strings.Lines(string(b)) {
		text := strings.TrimLeft(line, " ")
		switch {
		case !in && text == "```sh\n":
			indent, in = strings.TrimSuffix(line, text), true
		case in && text == "```\n":
			blocks, in, needs = append(blocks, shellBlock{block.String(), needs}), false, ""
			block.Reset()
		case in:
			block.WriteString(strings.TrimPrefix(line, indent))
		default:
			needs = ""
			if remark, is := strings.CutPrefix(strings.TrimSpace(text), "<!-- not run by the tests: "); is {
				needs = strings.TrimSuffix(remark, " -->")
			}
		}
	}
	if in {
		t.Fatalf("a block of %s does not end", file)
	}
	return blocks
}

// shellNeeds skips a test where a program is missing that pasted blocks need.
func shellNeeds(t *testing.T, programs ...string) {
	t.Helper()
	for _, needed := range programs {
		if _, err := exec.LookPath(needed); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
}

// built returns a folder with the program in it.
func built(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", filepath.Join(bin, "holdfast"), ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return bin
}

// exports are the lines that dev prints for the client's commands.
func exports(ctx context.Context, d *devServer) (lines string) {
	var printed bytes.Buffer
	d.print(ctx, &printed)
	for line := range strings.Lines(printed.String()) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "export ") {
			lines += line + "\n"
		}
	}
	return lines
}

// What the README says is pasted by people who have never seen this before. So its
// blocks are run as they are printed, one after another, on one server. Only the
// address is another, and the program is built once.
func TestPlayTheREADMERunsAsPrinted(t *testing.T) {
	shellNeeds(t, "bash", "curl")
	home, bin := t.TempDir(), built(t)
	data := filepath.Join(home, ".local/state/holdfast") // where the README says
	d, err := startDev(t.Context(), devOptions{listen: "127.0.0.1:0", data: data, interval: time.Minute, sample: true, files: true, workloads: allWorkloads}, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	script := "set -eu -o pipefail\ncurl() { command curl --fail-with-body \"$@\"; }\n" + exports(t.Context(), d)
	// What the reader does by looking.
	const waits = `
until_says() { for i in $(seq 300); do if "$2" | grep -q "$1"; then return; fi; sleep 0.2; done; echo "never: $1" >&2; "$2" >&2; return 1; }
units() { curl -s -H "Authorization: Bearer $TOKEN" "$ORIGIN/v1.0/solutions/backupRestore/oneDriveForBusinessProtectionPolicies/71633878-8321-4950-bfaf-ed285bdd1461/driveProtectionUnits" | grep -o '"status":"protected"' | tr -d '\n'; }
session() { curl -s -H "Authorization: Bearer $TOKEN" "$ORIGIN/v1.0/solutions/backupRestore/restoreSessions/$SESSION"; }
`
	script += "ORIGIN=" + d.origin + "\n" + waits
	ran := 0
	for _, b := range shellBlocks(t, "../../README.md") {
		block := b.text
		switch {
		case b.needs != "":
			t.Fatalf("a block of the README is not run for want of %s", b.needs)
		case block == "make demo\n", block == "make test\n", strings.HasPrefix(block, "go run ./cmd/holdfast dev"):
			continue // the first has a test of its own, the second is this, the third runs
		}
		block = strings.ReplaceAll(block, "http://127.0.0.1:8365", d.origin)
		script += strings.ReplaceAll(block, "go install ./cmd/holdfast\n", "")
		ran++
		switch {
		case strings.Contains(block, "/protectionPolicies/71633878-8321-4950-bfaf-ed285bdd1461/activate"):
			script += "until_says '\\(\"status\":\"protected\"\\)\\{3\\}' units\n"
		case strings.Contains(block, "/activate") && strings.Contains(block, "SESSION="):
			script += "until_says '\"status\":\"completed\"' session\n"
		}
	}
	if ran < 7 {
		t.Fatalf("only %d blocks of the README are run", ran)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "HOME="+home, "PATH="+bin+":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if plans, err := os.ReadDir(filepath.Join(data, "sites/marketing/libraries/Documents/Plans")); err != nil || len(plans) == 0 {
		t.Errorf("of the site came back %v, %v", plans, err)
	}
	if messages, err := filepath.Glob(filepath.Join(data, "mail/amala@contoso.com/Archive/*.eml")); err != nil || len(messages) != 20 {
		t.Errorf("the folder of mail has %d messages, %v", len(messages), err)
	}
	if diff := cmp.Diff(plain(t, "../../docs"), plain(t, filepath.Join(data, "drives/amala@contoso.com/docs"))); diff != "" {
		t.Errorf("the folder did not come back (-docs +drive)\n%s", diff)
	}
}
