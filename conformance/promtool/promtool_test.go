// Package promtool holds no code. Its tests have Prometheus's own program and parser read
// what is in deploy/ for it and for Grafana.
package promtool

import (
	"encoding/json"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

const alerts = "../../deploy/prometheus/alerts.yml"

// program builds promtool, without the discovery of anybody's cloud, which takes minutes
// the first time.
func program(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "promtool")
	build := exec.Command("go", "build", "-tags", "remove_all_sd", "-o", name, "github.com/prometheus/prometheus/cmd/promtool")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return name
}

// The rules are in order, and each alert comes when it shall and only then.
func TestAlerts(t *testing.T) {
	promtool := program(t)
	for _, args := range [][]string{{"check", "rules", "--lint=all", "--lint-fatal", alerts}, {"test", "rules", "testdata/alerts.yml"}} {
		if text, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, text)
		}
	}
	rules, err := os.ReadFile(alerts)
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile("testdata/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(string(rules), -1) {
		of := regexp.MustCompile(`alertname: `+m[1]+`\n\s+exp_alerts:( \[\]|\n)`).FindAllStringSubmatch(string(tests), -1)
		comes := slices.ContainsFunc(of, func(m []string) bool { return m[1] == "\n" })
		stays := slices.ContainsFunc(of, func(m []string) bool { return m[1] == " []" })
		if !comes || !stays {
			t.Errorf("of %s it is not tested that it comes, and that it does not", m[1])
		}
	}
}

// The rules are such as Prometheus takes.
func TestRules(t *testing.T) {
	text, err := os.ReadFile(alerts)
	if err != nil {
		t.Fatal(err)
	}
	groups, errs := rulefmt.Parse(text, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Error(err)
	}
	if len(errs) == 0 && len(groups.Groups) == 0 {
		t.Error("there are no rules")
	}
}

// Every query of the dashboard is one.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile("../../deploy/grafana/holdfast.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil || len(board.Panels) == 0 {
		t.Fatalf("%d panels, %v", len(board.Panels), err)
	}
	queries := parser.NewParser(parser.Options{})
	for _, p := range board.Panels {
		if len(p.Targets) == 0 {
			t.Errorf("%q asks for nothing", p.Title)
		}
		for _, q := range p.Targets {
			if _, err := queries.ParseExpr(q.Expr); err != nil {
				t.Errorf("%q: %s: %v", p.Title, q.Expr, err)
			}
		}
	}
}
