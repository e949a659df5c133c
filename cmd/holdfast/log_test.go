package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/backup"
)

// A sharedBuffer may be written and read at once.
type sharedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *sharedBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *sharedBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// One id leads from a request, by its answer, the audit log and the jobs that it
// caused, to the restore point.
func TestOneIDFromRequestToPoint(t *testing.T) {
	var log sharedBuffer
	d, err := startDev(t.Context(), devOptions{listen: "127.0.0.1:0", data: t.TempDir(), interval: time.Hour, sample: true}, logOptions{json: true, level: slog.LevelDebug}.open(&log))
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	c := signedIn(t, d, d.origin)
	const policy = "/oneDriveForBusinessProtectionPolicies/71633878-8321-4950-bfaf-ed285bdd1461"
	if err := c.Call(t.Context(), http.MethodPatch, policy, json.RawMessage(`{"driveProtectionUnits@delta": [{"directoryObjectId": "a3a1a000-4f6b-4c55-8f0e-c0a7050a0001"}]}`), nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Call(t.Context(), http.MethodPost, "/protectionPolicies/71633878-8321-4950-bfaf-ed285bdd1461/activate", nil, nil); err != nil {
		t.Fatal(err)
	}
	line := func(want string) (found map[string]any) {
		for text := range strings.Lines(log.String()) {
			var l map[string]any
			if err := json.Unmarshal([]byte(text), &l); err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			if l["msg"] == want && (want != "request" || strings.HasSuffix(l["path"].(string), "/activate")) {
				found = l
			}
		}
		return found
	}
	if err := poll(t.Context(), 20*time.Millisecond, func() (bool, error) { return line("restore point made") != nil, nil }); err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	request, point := line("request"), line("restore point made")
	id, _ := request["request_id"].(string)
	if id == "" || point["request_id"] != id || point["level"] != "INFO" || point["point"] == "" {
		t.Errorf("the request: %v\nthe point: %v", request, point)
	}
	audited := false
	if err := d.catalog.ExportActivities(t.Context(), "", time.Time{}, func(a backup.Activity) error {
		audited = audited || a.Request == id
		return nil
	}); err != nil || !audited {
		t.Errorf("the audit log has the request: %v, %v", audited, err)
	}
}

// Text for people has the day and the zone, and no more than is asked for.
func TestLogOptions(t *testing.T) {
	var b bytes.Buffer
	log := logOptions{level: slog.LevelWarn}.open(&b)
	log.Info("quiet")
	log.WarnContext(backup.WithCause(t.Context(), "r"), "loud", "n", 1)
	first, rest, _ := strings.Cut(b.String(), " ")
	if _, err := time.Parse("time="+time.RFC3339, first); err != nil || rest != "level=WARN msg=loud n=1 request_id=r\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
	for _, flag := range []string{"--log=xml", "--log-level=loud"} {
		var out bytes.Buffer
		if code := execute(t.Context(), []string{"serve", flag}, &out, &out); code != exitUsage {
			t.Errorf("%s exits with %d: %s", flag, code, &out)
		}
	}
}
