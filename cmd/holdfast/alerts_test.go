package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/alert"
)

func TestAlertsConfigSaysAllThatIsWrong(t *testing.T) {
	path := writeConfig(t, func(cfg map[string]any) {
		cfg["alerts"] = map[string]any{
			"mail":    map[string]any{"server": "smtp.example.com", "tls": "none", "from": "nobody", "user": "u", "passwordEnv": "HOLDFAST_TEST_NOT_SET"},
			"failing": "5s", "report": "daily",
			"to": []any{
				map[string]any{"name": "a/b", "mail": []string{"ops"}},
				map[string]any{"name": "hook", "webhook": map[string]any{"url": "http://hook.example/?key=hunter2"}, "teams": map[string]any{"urlFile": "none"}},
				map[string]any{"name": "hook", "tenants": []string{"contoso.com"}},
			},
		}
	})
	_, err := ReadConfig(path)
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		`alerts.mail.server: "smtp.example.com" is not an address`,
		`alerts.mail.from: "nobody" is not an address`,
		"alerts.mail.passwordFile: is empty: set the environment variable HOLDFAST_TEST_NOT_SET",
		"alerts.failing: 5s is too short", `alerts.report: "daily" is not possible`,
		`alerts.to[0].name: "a/b" is not possible`,
		`alerts.to[0].mail: "ops" is not an address`,
		"alerts.to[1].webhook.url: is not a web address",
		"alerts.to[1].teams.urlFile: cannot be read",
		"alerts.to[1]: names 2 ways",
		`alerts.to[2].name: "hook" is there twice`,
		`alerts.to[2].tenants: "contoso.com" is none of the tenants`,
		"alerts.to[2]: names 0 ways",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q", want)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Error("the error tells a secret")
	}
	if t.Failed() {
		t.Log(err)
	}
}

// A server whose tenant's source cannot be reached says so to a webhook; the
// commands list that, and test where messages go.
func TestPlayServeTellsPeople(t *testing.T) {
	told := make(chan string, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		select {
		case told <- string(b):
		default:
		}
	}))
	defer hook.Close()
	path := writeConfig(t, func(cfg map[string]any) {
		cfg["listen"] = "127.0.0.1:0"
		cfg["tenants"].([]any)[0].(map[string]any)["graph"] = "http://127.0.0.1:1/v1.0"
		cfg["tenants"].([]any)[0].(map[string]any)["authority"] = "http://127.0.0.1:1"
		cfg["alerts"] = map[string]any{"to": []any{
			map[string]any{"name": "hook", "webhook": map[string]any{"url": hook.URL, "secretFile": "hook.secret"}},
			map[string]any{"name": "closed", "webhook": map[string]any{"url": "http://127.0.0.1:1/hunter2"}},
		}}
	})
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "hook.secret"), []byte("s3cret"), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (int, string) {
		var out bytes.Buffer
		code := execute(t.Context(), append(args, "--config", path), &out, &out)
		return code, out.String()
	}
	if code, out := run("alert", "list"); code == 0 || !strings.Contains(out, "there is no catalog") {
		t.Errorf("list before there is a catalog: %d %s", code, out)
	}
	cfg, err := ReadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := openServer(t.Context(), cfg, newLog(io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	defer func() {
		if !closed {
			s.close()
		}
	}()
	s.outlook.note("the source of tenant "+exampleTenant, s.tenant(exampleTenant).source.Check(t.Context()))
	if err := s.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	var m alert.Message
	select {
	case body := <-told:
		if err := json.Unmarshal([]byte(body), &m); err != nil || len(m.Alerts) != 1 || m.Alerts[0].Kind != "sourceRefused" || len(m.Alerts[0].Examples) != 1 {
			t.Errorf("told: %s", body)
		}
	case <-time.After(time.Minute):
		t.Fatal("nobody is told")
	}
	closed = true
	if err := s.close(); err != nil {
		t.Error(err)
	}
	code, text := run("alert", "list", "--all")
	if code != 0 || !strings.Contains(text, "sourceRefused  The source cannot be used as it is configured, since ") || strings.Contains(text, "hunter2") || !strings.Contains(text, "to closed  ") {
		t.Errorf("list: %d\n%s", code, text)
	}
	if code, text := run("alert", "test"); code != exitPartial || !strings.Contains(text, "hook  taken") || !strings.Contains(text, "closed  not taken: ") || strings.Contains(text, "hunter2") {
		t.Errorf("test: %d\n%s", code, text)
	}
	if code, text := run("alert", "test", "--to", "hook"); code != 0 {
		t.Errorf("test of one: %d\n%s", code, text)
	}
	for len(told) > 0 {
		<-told
	}
	if code, text := run("alert", "test", "--to", "hook", "--report"); code != 0 {
		t.Errorf("test of a report: %d\n%s", code, text)
	}
	var week alert.Message
	if body := <-told; json.Unmarshal([]byte(body), &week) != nil || week.Type != "report" || week.Report.Before != -1 || len(week.Report.Alerts) != 1 || week.Report.Alerts[0].Kind != "sourceRefused" {
		t.Errorf("as report came: %s", body)
	}
	if code, text := run("alert", "test", "--to", "nobody"); code != exitNotFound {
		t.Errorf("test of none: %d\n%s", code, text)
	}
}
