package guide

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The two lines by which docs/tenant.md has other languages start a tenant start one.
func TestTheTwoLinesOfOtherLanguages(t *testing.T) {
	doc, err := os.ReadFile("../../docs/tenant.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(doc), "In other languages, start the program and read its line:")
	if !ok {
		t.Fatal("docs/tenant.md does not say how other languages start a tenant")
	}
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "holdfast"), "./cmd/holdfast")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	for language, around := range map[string]struct{ program, arg, before, behind string }{
		"js": {
			"node", "--input-type=module",
			"import { spawn } from \"node:child_process\";\nimport { once } from \"node:events\";\nimport { createInterface } from \"node:readline\";\n",
			"console.log((await fetch(tenant.control)).status, tenant.tenants[0].domain);\nchild.kill();\n",
		},
		"python": {
			"python3", "-",
			"import json, subprocess, urllib.request\n",
			"print(urllib.request.urlopen(tenant[\"control\"]).status, tenant[\"tenants\"][0][\"domain\"])\nchild.terminate()\nchild.wait()\n",
		},
	} {
		t.Run(language, func(t *testing.T) {
			if _, err := exec.LookPath(around.program); err != nil {
				t.Fatalf("the lines were not tested: %s is missing", around.program)
			}
			lines := regexp.MustCompile("(?s)```" + language + "\n(.*?)```\n").FindStringSubmatch(after)
			if lines == nil || strings.Count(lines[1], "\n") != 2 {
				t.Fatalf("there are no two lines of %s", language)
			}
			cmd := exec.CommandContext(t.Context(), around.program, around.arg)
			cmd.Env = append(os.Environ(), "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"))
			cmd.Stdin = strings.NewReader(around.before + lines[1] + around.behind)
			if out, err := cmd.CombinedOutput(); err != nil || string(out) != "200 contoso.com\n" {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
