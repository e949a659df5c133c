package main

import (
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// What a request causes is one trace, under the id of its answer and of the log: the
// request, the backup, its calls of the source and its write to the vault. No file,
// person or secret is in it.
func TestTraces(t *testing.T) {
	var mu sync.Mutex
	spans := map[string][]*otlp.Span{} // by their trace
	var all strings.Builder
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var sent collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &sent)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			http.Error(w, "no traces", http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		all.WriteString(sent.String())
		for _, r := range sent.ResourceSpans {
			for _, s := range r.ScopeSpans {
				for _, span := range s.Spans {
					id := hex.EncodeToString(span.TraceId)
					spans[id] = append(spans[id], span)
				}
			}
		}
	}))
	defer receiver.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.URL)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
	log := &logBuffer{}
	stop, err := startTraces(t.Context(), newLog(log))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()

	d := startTestDev(t, nil)
	if err := os.WriteFile(filepath.Join(d.drives, "amala@contoso.com", "takeover-plan.txt"), []byte("secret words"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := signedIn(t, d, d.origin)
	const policy = "71633878-8321-4950-bfaf-ed285bdd1461"
	if err := c.Call(t.Context(), http.MethodPatch, "/oneDriveForBusinessProtectionPolicies/"+policy, json.RawMessage(`{"driveProtectionUnits@delta": [{"directoryObjectId": "a3a1a000-4f6b-4c55-8f0e-c0a7050a0001"}]}`), nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Call(t.Context(), http.MethodPost, "/protectionPolicies/"+policy+"/activate", nil, nil); err != nil {
		t.Fatal(err)
	}
	// Of one trace: the request that activates, the job that backs up, and below that the rest.
	whole := func() bool {
		mu.Lock()
		defer mu.Unlock()
		for _, of := range spans {
			var backup []byte
			names := map[string]bool{}
			for _, s := range of {
				names[s.Name] = true
				if s.Name == "job backup" {
					backup = s.SpanId
				}
			}
			below := map[string]bool{}
			for _, s := range of {
				if string(s.ParentSpanId) == string(backup) {
					below[s.Name] = true
				}
			}
			if names["request POST"] && len(backup) > 0 && below["source GET"] && below["vault write"] {
				return true
			}
		}
		return false
	}
	if !comes(whole) {
		t.Error("no trace has a request, its backup, a call of the source and a write to the vault")
	}
	mu.Lock()
	defer mu.Unlock()
	for _, hidden := range []string{"takeover", "amala", "secret", "Bearer", d.tenants[0].Apps[0].Secret, d.data.path()} {
		if strings.Contains(all.String(), hidden) {
			t.Errorf("the traces tell of %q", hidden)
		}
	}
	if strings.Contains(log.String(), "could not be sent") {
		t.Errorf("the log says %s", log)
	}
}
