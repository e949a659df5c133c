package simtenant

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// listener is an application's address for notifications.
type listener struct {
	*httptest.Server
	came   chan object
	status atomic.Int32              // of its answers; 0 is 202
	echo   func(token string) string // what it answers to a validation; nil is the token
	kind   string
}

func listen(t *testing.T) *listener {
	l := &listener{came: make(chan object, 100), kind: "text/plain"}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if token := r.URL.Query().Get("validationToken"); token != "" {
			if l.echo != nil {
				token = l.echo(token)
			}
			w.Header().Set("Content-Type", l.kind)
			io.WriteString(w, token)
			return
		}
		var in struct{ Value []object }
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			t.Errorf("a notification: %v", err)
		}
		status := int(l.status.Load())
		if status == 0 {
			status = 202
		}
		w.WriteHeader(status)
		for _, one := range in.Value {
			l.came <- one
		}
	}))
	t.Cleanup(l.Close)
	return l
}

func TestSubscriptions(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	w.cfg.Clock = func() time.Time { return now }
	w.restart()
	w.svc.subs.retries = []time.Duration{time.Millisecond}
	l, fate := listen(t), listen(t)
	drive := w.drive(amala)
	w.must(201, "PUT", drive+"/root:/before:/content", "x")
	ask := func(set ...any) object {
		in := object{
			"changeType": "updated", "notificationUrl": l.URL + "/here?x=1", "lifecycleNotificationUrl": fate.URL, "resource": drive + "/root",
			"expirationDateTime": now.Add(time.Hour).UTC().Format(time.RFC3339), "clientState": "a secret",
		}
		for i := 0; i < len(set); i += 2 {
			in[set[i].(string)] = set[i+1]
		}
		return in
	}
	for what, in := range map[string]object{
		"a created":       ask("changeType", "created"),
		"a message":       ask("resource", "/users/"+amala+"/messages"),
		"no time":         ask("expirationDateTime", "soon"),
		"the past":        ask("expirationDateTime", now.Add(-time.Minute).Format(time.RFC3339)),
		"a year":          ask("expirationDateTime", now.Add(365*24*time.Hour).Format(time.RFC3339)),
		"a long state":    ask("clientState", strings.Repeat("x", 129)),
		"another machine": ask("notificationUrl", "https://example.com/"),
		"no URL":          ask("notificationUrl", "here"),
		"a control":       ask("notificationUrl", w.srv.URL+"/_holdfast/reset"),
		"nobody there":    ask("notificationUrl", "http://127.0.0.1:1/"),
		"what changed":    ask("includeResourceData", true, "encryptionCertificateId", "x"),
		"nonsense":        ask("nonsense", 1),
	} {
		if a := w.do("POST", "/subscriptions", in); a.status != 400 {
			t.Errorf("to %s = %d %s", what, a.status, a.raw)
		}
	}
	l.echo = func(token string) string { return token + "!" }
	w.must(400, "POST", "/subscriptions", ask())
	l.echo, l.kind = nil, "text/html"
	w.must(400, "POST", "/subscriptions", ask())
	l.kind = "text/plain; charset=utf-8"

	a := w.must(201, "POST", "/subscriptions", ask("@odata.type", "#microsoft.graph.subscription", "includeResourceData", false, "encryptionCertificate", nil))
	id := a.text("id")
	w.must(400, "PATCH", "/subscriptions/"+id, object{"clientState": "another"})
	if a.text("clientState") != "a secret" || a.text("notificationUrl") != l.URL+"/here?x=1" {
		t.Errorf("the subscription is %s", a.raw)
	}
	next := func(from *listener) object {
		t.Helper()
		select {
		case one := <-from.came:
			return one
		case <-time.After(20 * time.Second):
			t.Fatal("nothing was told")
			return nil
		}
	}
	// A client's change, and what another program does, are told; other drives'
	// changes are not.
	w.must(201, "PUT", w.drive(conrad)+"/root:/x:/content", "x")
	w.must(201, "PUT", drive+"/root:/a:/content", "x")
	one := next(l)
	if one["subscriptionId"] != id || one["clientState"] != "a secret" || one["changeType"] != "updated" || one["tenantId"] != string(w.cfg.Tenants[0].ID) || one["resource"] != strings.Trim(drive, "/")+"/root" {
		t.Errorf("the notification is %v", one)
	}
	w.write(amala+"/b", "x")
	w.svc.lookAt(place{site: w.svc.folders[amala], library: documents})
	next(l)
	if len(l.came) > 0 {
		t.Errorf("there is more: %v", <-l.came)
	}

	// What is not taken is told again; then, that something was missed.
	l.status.Store(503)
	w.must(200, "PUT", drive+"/root:/a:/content", "y")
	next(l)
	next(l)
	if one := next(fate); one["lifecycleEvent"] != "missed" || one["subscriptionId"] != id {
		t.Errorf("the fate is %v", one)
	}
	l.status.Store(0)

	// It is its application's own.
	other := w.form("contoso.com/oauth2/v2.0/token", "grant_type", "authorization_code", "client_id", elsewhere, "redirect_uri", w.srv.URL+"/console/signed-in?x=1",
		"code", w.back(w.asked("client_id", elsewhere, "user", amala, "scope", "Files.ReadWrite.All")).Get("code"), "code_verifier", verifier).text("access_token")
	w.must(404, "DELETE", "/subscriptions/"+id, nil, "Authorization", "Bearer "+other)
	if got := w.must(200, "GET", "/subscriptions", nil, "Authorization", "Bearer "+other); len(got.body["value"].([]any)) != 0 {
		t.Errorf("another application sees %s", got.raw)
	}

	// Shortly before its end it wants renewing; renewed, it goes on.
	now = now.Add(50 * time.Minute)
	if got := values(w.must(200, "GET", "/subscriptions", nil), "id"); len(got) != 1 || got[0] != id {
		t.Errorf("the subscriptions are %v", got)
	}
	if one := next(fate); one["lifecycleEvent"] != "reauthorizationRequired" {
		t.Errorf("the fate is %v", one)
	}
	w.must(204, "POST", "/subscriptions/"+id+"/reauthorize", nil)
	w.must(400, "PATCH", "/subscriptions/"+id, object{"expirationDateTime": now.Add(60 * 24 * time.Hour).Format(time.RFC3339)})
	w.must(200, "PATCH", "/subscriptions/"+id, object{"expirationDateTime": now.Add(time.Hour).Format(time.RFC3339)})
	w.token = w.signInAsApp()
	now = now.Add(30 * time.Minute)
	w.must(200, "PUT", drive+"/root:/a:/content", "z")
	next(l)
	now = now.Add(25 * time.Minute)
	w.must(200, "PUT", drive+"/root:/a:/content", "zz")
	next(l)
	next(fate)
	now = now.Add(10 * time.Minute)
	w.token = w.signInAsApp()
	w.must(200, "PUT", drive+"/root:/a:/content", "zzz")
	w.must(404, "GET", "/subscriptions/"+id, nil)

	id = w.must(201, "POST", "/subscriptions", ask()).text("id")
	w.must(204, "DELETE", "/subscriptions/"+id, nil)
	w.must(404, "PATCH", "/subscriptions/"+id, object{"expirationDateTime": now.Add(time.Hour).Format(time.RFC3339)})
	w.must(200, "PUT", drive+"/root:/a:/content", "zzzz")
	w.stop() // which waits for what is being told
	if len(l.came) > 0 {
		t.Errorf("after its end, it was told %v", <-l.came)
	}
}

func (w *world) signInAsApp() string {
	w.t.Helper()
	app := w.cfg.Tenants[0].Apps[0]
	return w.form("contoso.com/oauth2/v2.0/token", "grant_type", "client_credentials", "client_id", app.AppID, "client_secret", app.Secret, "scope", ".default").text("access_token")
}
