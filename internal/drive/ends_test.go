package drive

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// When the application's own secret ends is told by Graph, where the application may ask.
func TestSecretEnds(t *testing.T) {
	ends := time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	for what, row := range map[string]struct {
		status int
		body   string
		known  bool
	}{
		"told": {200, fmt.Sprintf(`{"passwordCredentials":[{"hint":"xyz","endDateTime":"2030-01-01T00:00:00Z"},{"hint":"s3c","endDateTime":"2026-01-01T00:00:00Z"},
			{"hint":"s3c","endDateTime":%q},{"hint":null,"endDateTime":"2031-01-01T00:00:00Z"}]}`, ends.Format(time.RFC3339)), true},
		"another's":   {200, `{"passwordCredentials":[{"hint":"xyz","endDateTime":"2030-01-01T00:00:00Z"}]}`, false},
		"not allowed": {403, `{"error":{"code":"Authorization_RequestDenied"}}`, false},
		"nonsense":    {200, `{"passwordCredentials":{}}`, false},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if strings.HasSuffix(r.URL.Path, "/token") {
				io.WriteString(w, `{"token_type":"Bearer","expires_in":3600,"access_token":"t"}`)
				return
			}
			if r.URL.Path != "/v1.0/applications(appId='an app')" {
				t.Errorf("asked for %s", r.URL.Path)
			}
			w.WriteHeader(row.status)
			io.WriteString(w, row.body)
		}))
		c := New(Config{Graph: s.URL + "/v1.0", Authority: s.URL, Tenant: "t", ClientID: "an app", Credential: Secret("s3cret"), Tries: 1})
		at, known := c.SecretEnds(t.Context())
		if known != row.known || known && !at.Equal(ends) {
			t.Errorf("%s: %v, %v", what, at, known)
		}
		s.Close()
	}
}
