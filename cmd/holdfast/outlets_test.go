package main

import (
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
)

func TestAuditConfigSaysAllThatIsWrong(t *testing.T) {
	path := writeConfig(t, func(cfg map[string]any) {
		cfg["audit"] = map[string]any{"to": []any{
			map[string]any{"name": "a/b", "file": "none/audit.jsonl"},
			map[string]any{"name": "s", "syslog": map[string]any{"network": "carrier", "address": "siem"}, "file": "audit.jsonl"},
			map[string]any{"name": "s", "syslog": map[string]any{"address": "siem:1", "caFile": "none", "certFile": "none"}, "tenants": []string{"contoso.com"}},
			map[string]any{"name": "u", "syslog": map[string]any{"network": "unix", "keyFile": "k"}},
			map[string]any{"name": "h", "webhook": map[string]any{"url": "http://hook.example/?key=hunter2"}},
		}}
	})
	_, err := ReadConfig(path)
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		`audit.to[0].name: "a/b" is not possible`,
		"audit.to[0].file: its folder cannot be used",
		`audit.to[1].syslog.network: "carrier" is not possible`,
		"audit.to[1]: names 2 places",
		`audit.to[2].name: "s" is there twice`,
		"audit.to[2].syslog.caFile: open ",
		"audit.to[2].syslog: the certificate and its key cannot be used",
		`audit.to[2].tenants: "contoso.com" is none of the tenants`,
		"audit.to[3].syslog.address: is missing",
		`audit.to[3].syslog: has certificates, which only "tls" uses`,
		"audit.to[4].webhook.url: is not a web address",
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

// A server hands the log on to a file as it is configured; what is not taken is in
// the figures.
func TestServeHandsTheAuditLogOn(t *testing.T) {
	path := writeConfig(t, func(cfg map[string]any) {
		cfg["audit"] = map[string]any{"to": []any{
			map[string]any{"name": "disk", "file": "audit.jsonl"},
			map[string]any{"name": "closed", "syslog": map[string]any{"network": "tcp", "address": "127.0.0.1:1"}},
		}}
	})
	cfg, err := ReadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := openServer(t.Context(), cfg, newLog(io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if err := s.catalog.Record(t.Context(), backup.Activity{Tenant: exampleTenant, Operation: "UpdatePolicy", Request: "the request"}); err != nil {
		t.Fatal(err)
	}
	if err := s.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	figures := func() string {
		w := httptest.NewRecorder()
		s.handler(nil).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		return w.Body.String()
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		data, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "audit.jsonl"))
		text := figures()
		if strings.Contains(string(data), `"requestId":"the request"`) &&
			strings.Contains(text, `holdfast_audit_waiting{outlet="disk",tenant="`+exampleTenant+`"} 0`) && strings.Contains(text, `holdfast_audit_failing_seconds{outlet="closed"`) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the file: %s\nthe figures: %s", data, text)
		}
	}
}
