package main

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// What watches a server asks for figures that it gives.
func TestDeployedFiguresAreServed(t *testing.T) {
	d := startTestDev(t, nil)
	answer := httptest.NewRecorder()
	d.server.metrics.ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	served := answer.Body.String()
	for _, d := range []*prometheus.Desc{rpoUnit, sourceUnits, sourceLimit, sourcePause, vaultBytes, vaultIndex, vaultWrites} { // once something was asked of a source, and a vault looked at
		served += "# TYPE " + figure.FindString(d.String()) + " gauge\n"
	}
	for _, name := range []string{"prometheus/alerts.yml", "grafana/holdfast.json"} {
		text, err := os.ReadFile(filepath.Join("../../deploy", name))
		if err != nil {
			t.Fatal(err)
		}
		asked := figure.FindAllString(string(text), -1)
		if len(asked) == 0 {
			t.Errorf("%s asks for nothing", name)
		}
		for _, f := range asked {
			if !strings.Contains(served, "# TYPE "+f+" ") {
				t.Errorf("%s asks for %s, which is not served", name, f)
			}
		}
		if strings.HasSuffix(name, ".json") && !json.Valid(text) {
			t.Errorf("%s is no JSON", name)
		}
	}
}

// made is what a template puts there.
var made = regexp.MustCompile(`\{\{.*?\}\}`)

var figure = regexp.MustCompile(`\bholdfast_[a-z0-9_]+`)

// Commands that people are sent to by the alerts, and the one that the unit of
// systemd starts, are there, with their flags.
func TestDeployedCommandsAreThere(t *testing.T) {
	var lines []string
	for name, command := range map[string]*regexp.Regexp{
		"prometheus/alerts.yml":               regexp.MustCompile(`'holdfast ([^']+)'`),
		"grafana/holdfast.json":               regexp.MustCompile(`'holdfast ([^']+)'`),
		"systemd/holdfast.service":            regexp.MustCompile(`(?m)^ExecStart=\S+/holdfast (.+)$`),
		"systemd/holdfast-backup.service":     regexp.MustCompile(`(?m)^ExecStart=\S+/holdfast (.+)$`),
		"compose/compose.yaml":                regexp.MustCompile(`command: \[([^\]]+)\]`),
		"helm/holdfast/templates/backup.yaml": regexp.MustCompile(`args: \[(.+)\]\n`),
	} {
		text, err := os.ReadFile(filepath.Join("../../deploy", name))
		if err != nil {
			t.Fatal(err)
		}
		found := command.FindAllStringSubmatch(string(text), -1)
		if len(found) == 0 {
			t.Errorf("%s names no command", name)
		}
		for _, m := range found {
			line := m[1]
			if strings.HasSuffix(name, ".yaml") {
				line = strings.NewReplacer(",", "", `"`, "").Replace(made.ReplaceAllString(line, "14"))
			}
			lines = append(lines, line)
		}
	}
	for _, line := range lines {
		cmd, rest, err := newRoot().Find(strings.Fields(line))
		if err == nil {
			err = cmd.ParseFlags(rest)
		}
		if err == nil && cmd.HasSubCommands() {
			err = unknown(cmd, line)
		}
		if err != nil {
			t.Errorf("holdfast %s: %v", line, err)
		}
	}
}
