package simtenant

import (
	"net/http"
	"strings"
	"testing"
)

// When addresses open by themselves no more, contents come from Graph, and what
// is on the host of files wants a token of that host.
func TestAddressesThatWantAToken(t *testing.T) {
	w := newWorld(t)
	w.faults.Set(func(o *Options) { o.PreAuth = "retired" })
	app := w.cfg.Tenants[0].Apps[0]
	token := func(resource string) string {
		a := w.form("contoso.com/oauth2/v2.0/token", "grant_type", "client_credentials", "client_id", app.AppID, "client_secret", app.Secret, "scope", resource+"/.default")
		return a.text("access_token")
	}
	there := strings.Replace(w.srv.URL, "127.0.0.1", "localhost", 1)
	w.write(amala+"/a.txt", "aaa")
	drive := w.drive(amala)
	if got := w.must(200, "GET", drive+"/root:/a.txt:/content", nil); string(got.raw) != "aaa" {
		t.Errorf("the content is %q", got.raw)
	}
	download := w.must(200, "GET", drive+"/root:/a.txt", nil).text("@microsoft.graph.downloadUrl")
	if !strings.HasPrefix(download, w.srv.URL+"/v1.0"+drive) {
		t.Errorf("downloadUrl = %s", download)
	}
	w.must(401, "GET", download, nil, "Authorization", "")
	if got := w.must(206, "GET", download, nil, "Range", "bytes=1-1"); string(got.raw) != "a" {
		t.Errorf("a part is %q", got.raw)
	}

	session := func() string {
		t.Helper()
		u := w.must(200, "POST", drive+"/root:/b.txt:/createUploadSession", nil).text("uploadUrl")
		if !strings.HasPrefix(u, there) || strings.Contains(u, "tempauth") {
			t.Fatalf("uploadUrl = %s", u)
		}
		return u
	}
	w.must(202, "POST", drive+"/root:/a.txt:/copy", object{"name": "c.txt"}) // whose monitor is there, too
	for _, resource := range []string{there, "https://contoso-my.sharepoint.com"} {
		u, auth := session(), "Bearer "+token(resource)
		w.must(401, "PUT", u, "b", "Content-Range", "bytes 0-0/1", "Authorization", "")
		w.must(401, "PUT", u, "b", "Content-Range", "bytes 0-0/1") // Graph's
		w.must(200, "GET", u, nil, "Authorization", auth)
		if a := w.do("PUT", u, "b", "Content-Range", "bytes 0-0/1", "Authorization", auth); a.status/100 != 2 || !strings.HasPrefix(a.text("@microsoft.graph.downloadUrl"), w.srv.URL) {
			t.Errorf("the upload with a token for %s = %d %s", resource, a.status, a.raw)
		}
	}
	// SharePoint's own front is the host of its files.
	w.must(401, "GET", w.srv.URL+"/_api/v2.0"+drive+"/root", nil)
	auth := "Bearer " + token("https://contoso-my.sharepoint.com")
	a := w.must(200, "POST", w.srv.URL+"/_api/v2.0"+drive+"/root:/d.txt:/createUploadSession", nil, "Authorization", auth)
	if !strings.HasPrefix(a.text("uploadUrl"), w.srv.URL) {
		t.Errorf("uploadUrl = %s", a.raw)
	}
	w.must(204, "DELETE", a.text("uploadUrl"), nil, "Authorization", auth)

	// An application's secret is not enough for SharePoint.
	w.faults.Set(func(o *Options) { o.NoSecrets = true })
	w.must(401, "GET", session(), nil, "Authorization", "Bearer "+token(there))
	w.must(401, "GET", w.srv.URL+"/_api/v2.0"+drive+"/root", nil, "Authorization", auth)
	w.must(200, "GET", drive+"/root", nil)
}

// Under the service's own names, files are at SharePoint's.
func TestRealNames(t *testing.T) {
	w := newWorld(t)
	w.write(amala+"/a.txt", "aaa")
	drive := w.drive(amala)
	ask := func(host, method, path string) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequest(method, w.srv.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		req.Header.Set("Authorization", "Bearer "+w.token)
		client := *w.client
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp, resp.Header.Get("Location")
	}
	if resp, at := ask("graph.microsoft.com", "GET", "/v1.0"+drive+"/root:/a.txt:/content"); resp.StatusCode != 302 || !strings.HasPrefix(at, "https://contoso-my.sharepoint.com/") {
		t.Errorf("content = %s at %s", resp.Status, at)
	}
	if resp, _ := ask("contoso-my.sharepoint.com", "GET", "/_api/v2.0"+drive+"/root"); resp.StatusCode != 401 {
		t.Errorf("with a token for Graph, SharePoint says %s", resp.Status)
	}
}
