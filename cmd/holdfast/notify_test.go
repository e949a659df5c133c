package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"holdfast/internal/engine"
)

// What is wrong with the configuration of notifications is said.
func TestNotificationsConfig(t *testing.T) {
	for given, want := range map[string]bool{
		"https://backup.example.com": true, "https://backup.example.com/": true, "http://127.0.0.1:8365": true,
		"": false, "backup.example.com": false, "http://backup.example.com": false, "https://backup.example.com/x": false,
		"https://backup.example.com?x": false, "https://u@backup.example.com": false,
	} {
		c := Config{Notifications: &NotificationsConfig{URL: given}}
		err := c.complete(t.TempDir())
		if got := !strings.Contains(err.Error(), "notifications.url"); got != want {
			t.Errorf("%q is taken: %v; want %v", given, got, want)
		}
	}
	c := Config{Notifications: &NotificationsConfig{URL: "https://backup.example.com"}, Database: "postgres://localhost/x"}
	if err := c.complete(t.TempDir()); !strings.Contains(err.Error(), "pageTokenKeyFile or") {
		t.Errorf("processes whose keys differ are taken: %v", err)
	}
}

// Only where it is configured does a server listen to notifications.
func TestNotificationsAreServed(t *testing.T) {
	for _, configured := range []bool{false, true} {
		s := &server{api: http.NotFoundHandler(), notifications: engine.New(engine.Config{}).ServeNotifications()}
		if configured {
			s.cfg.Notifications = &NotificationsConfig{}
			s.notifications = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusAccepted) })
		}
		r := httptest.NewRequest(http.MethodPost, engine.NotifyPath+"x", nil)
		w := httptest.NewRecorder()
		s.handler(nil).ServeHTTP(w, r)
		if got := w.Code == http.StatusAccepted; got != configured {
			t.Errorf("configured: %v; answered %d", configured, w.Code)
		}
	}
}
