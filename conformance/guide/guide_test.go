// Package guide does what the guide to testing an app says.
package guide

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// What docs/testing-your-app.md, the GitHub Action and the container recipe say is
// run as it is written.
func TestTheGuideIsGreen(t *testing.T) {
	if _, err := exec.LookPath("node"); err != nil {
		t.Fatal("the guide was not tested: Node.js is missing (Debian: apt-get install nodejs)")
	}
	dir := t.TempDir()
	source, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(source, filepath.Join(dir, "holdfast-source")); err != nil {
		t.Fatal(err)
	}
	guide, err := os.ReadFile("../../docs/testing-your-app.md")
	if err != nil {
		t.Fatal(err)
	}
	files := regexp.MustCompile("(?s)\n`([a-z.]+mjs)`\n\n```js\n(.*?)```\n").FindAllSubmatch(guide, -1)
	if len(files) != 2 {
		t.Fatalf("the guide has %d files, want 2", len(files))
	}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(dir, string(f[1])), f[2], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	action, err := os.ReadFile("../../examples/github-action.yml")
	if err != nil {
		t.Fatal(err)
	}
	steps := regexp.MustCompile(`(?m)^        run: (.+)$`).FindAllSubmatch(action, -1)
	if len(steps) != 2 {
		t.Fatalf("the action has %d steps to run, want 2", len(steps))
	}
	for _, step := range steps {
		cmd := exec.CommandContext(t.Context(), "bash", "-ec", string(step[1]))
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", step[1], err, out)
		}
		if strings.Contains(string(step[1]), "node") && !strings.Contains(string(out), "# pass 3\n") {
			t.Errorf("%s:\n%s", step[1], out)
		}
	}
	// What the guide has people type is what the action runs.
	for _, typed := range []string{"go build -o holdfast ./cmd/holdfast", "node --test"} {
		if !strings.Contains(string(guide), "\n"+typed+"\n") {
			t.Errorf("the guide does not say %q", typed)
		}
	}
}

func TestTheContainersProgramServes(t *testing.T) {
	recipe, err := os.ReadFile("../../examples/Containerfile")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	build := regexp.MustCompile(`(?m)^RUN (.+)$`).FindSubmatch(recipe)
	entry := regexp.MustCompile(`(?m)^ENTRYPOINT (.+)$`).FindSubmatch(recipe)
	if build == nil || entry == nil {
		t.Fatal("the recipe builds or starts nothing")
	}
	in := strings.NewReplacer("/holdfast ", dir+"/holdfast ", `"/holdfast"`, `"`+dir+`/holdfast"`, `"/data"`, `"`+dir+`/data"`)
	cmd := exec.CommandContext(t.Context(), "bash", "-ec", in.Replace(string(build[1])))
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", build[1], err, out)
	}
	var args []string
	if err := json.Unmarshal([]byte(in.Replace(string(entry[1]))), &args); err != nil {
		t.Fatal(err)
	}
	for i := range args {
		if args[i] == "127.0.0.1:8365" { // which something else may have here
			args[i] = "127.0.0.1:0"
		}
	}
	serve := exec.CommandContext(t.Context(), args[0], args[1:]...)
	serve.Env = []string{} // as in an empty container
	serve.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	serve.Stderr = t.Output()
	out, err := serve.StdoutPipe()
	if err == nil {
		err = serve.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		serve.Process.Signal(syscall.SIGTERM)
		if err := serve.Wait(); err != nil {
			t.Errorf("it ended with %v", err)
		}
	}()
	var said struct{ Control string }
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &said)
	}
	if err != nil {
		t.Fatalf("it says %q: %v", line, err)
	}
	resp, err := http.Get(said.Control)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("its control answers %s", resp.Status)
	}
}
