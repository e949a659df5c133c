package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"holdfast/internal/database"
)

// One sees which processes there are, and of which versions.
func TestProcessesAreShown(t *testing.T) {
	d := startTestDev(t, nil)
	asDev(t, d)
	if text := hf(t, 0, "status"); strings.Contains(text, "Processes") {
		t.Errorf("of one process alone it says:\n%s", text)
	}
	now := time.Now()
	other := database.Process{ID: "other", Name: "elsewhere/7", Version: "holdfast v9", Role: "all", Since: now, Seen: now}
	if err := d.server.db.Seen(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	if text := hf(t, 0, "status"); !strings.Contains(text, "1 of "+version()+", 1 of holdfast v9") {
		t.Errorf("it does not say which processes there are:\n%s", text)
	}
	var service struct {
		Versions []struct {
			Version      string
			ProcessCount int
		} `json:"@holdfast.versions"`
	}
	if err := json.Unmarshal([]byte(hf(t, 0, "status", "--json")), &service); err != nil || len(service.Versions) != 2 || service.Versions[1].ProcessCount != 1 {
		t.Errorf("the API says %v, %v", service, err)
	}
	answer := httptest.NewRecorder()
	d.server.metrics.ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	if !strings.Contains(answer.Body.String(), `holdfast_processes{version="holdfast v9"} 1`) {
		t.Error("/metrics does not say it")
	}
}

// Who is about to stop is not ready, and still answers; its jobs are free at once.
func TestDraining(t *testing.T) {
	d := startTestDev(t, nil)
	handler := d.server.handler(nil)
	ask := func(path string) *http.Response {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequest("GET", path, nil))
		return answer.Result()
	}
	if got := ask("/readyz"); got.StatusCode != http.StatusOK || got.Header.Get("Connection") != "" {
		t.Fatalf("before, /readyz is %d", got.StatusCode)
	}
	drained := make(chan bool)
	go func() {
		d.server.drain(t.Context(), time.Hour)
		close(drained)
	}()
	<-d.server.stopped
	if got := ask("/readyz"); got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Connection") != "close" {
		t.Errorf("draining, /readyz is %d, Connection %q", got.StatusCode, got.Header.Get("Connection"))
	}
	for path, status := range map[string]int{"/healthz": 200, "/v1.0/solutions/backupRestore": 401} { // nobody is signed in
		if got := ask(path); got.StatusCode != status {
			t.Errorf("draining, %s is %d, want %d", path, got.StatusCode, status)
		}
	}
	select {
	case <-drained:
		t.Error("it was not waited for")
	default:
	}
}

// A process that slept while the database was brought to where it does not work any more
// does nothing more on it.
func TestAProcessOfBeforeStandsAside(t *testing.T) {
	d := startTestDev(t, nil)
	s := d.server
	if !s.beSeen(t.Context(), time.Now()) {
		t.Fatal("it stands aside where nothing has changed")
	}
	err := s.db.Tx(t.Context(), func(tx *database.Tx) error {
		_, err := tx.ExecContext(t.Context(), `UPDATE schema_floor SET floor = 99999`)
		return err
	})
	if err != nil || s.beSeen(t.Context(), time.Now()) {
		t.Fatalf("it goes on, %v", err)
	}
	<-s.stopped
	answer := httptest.NewRecorder()
	s.handler(nil).ServeHTTP(answer, httptest.NewRequest("GET", "/readyz", nil))
	if text := answer.Body.String(); answer.Code != http.StatusServiceUnavailable || !strings.Contains(text, "does not work with the database any more: stop it") {
		t.Errorf("/readyz is %d %s", answer.Code, text)
	}
}
