package drive_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"holdfast/internal/drive"
	"holdfast/internal/simtenant"
)

// realNames is a transport to which a server has every name.
func realNames(srv *httptest.Server) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, srv.Listener.Addr().String())
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
}

// What is at SharePoint's host gets a token of that host, when addresses open by
// themselves no more.
func TestFilesWantATokenOfTheirHost(t *testing.T) {
	dir := t.TempDir()
	faults := new(simtenant.Faults)
	faults.Set(func(o *simtenant.Options) { o.PreAuth = "retired" })
	sim, err := simtenant.New(simtenant.Config{State: filepath.Join(dir, "state"), Drives: filepath.Join(dir, "drives"), Tenants: simtenant.Sample(), Faults: faults})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	hosts := map[string]int{}
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		hosts[r.Host]++
		mu.Unlock()
		sim.Handler().ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		srv.Close()
		sim.Close()
	})
	contoso, clk := simtenant.Sample()[0], newClock()
	c := drive.New(drive.Config{
		Tenant: contoso.ID, ClientID: contoso.Apps[0].AppID, Credential: drive.Secret(contoso.Apps[0].Secret),
		HTTP: realNames(srv), Clock: clk.Now, Sleep: clk.Sleep,
	})
	d, err := c.UserDrive(t.Context(), contoso.Users[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	root, err := c.Root(t.Context(), d.ID)
	if err != nil {
		t.Fatal(err)
	}
	body := content(11 << 20) // by a session
	it, err := c.Upload(t.Context(), d.ID, drive.Target{Parent: root.ID, Name: "big"}, bytes.NewReader(body), int64(len(body)), drive.Times{})
	if err != nil {
		t.Fatal(err)
	}
	dl, err := c.Download(t.Context(), d.ID, it.ID)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := readAll(t, dl); err != nil || !bytes.Equal(got, body) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if hosts["contoso-my.sharepoint.com"] == 0 || hosts["graph.microsoft.com"] == 0 || hosts["login.microsoftonline.com"] < 2 || len(hosts) != 3 {
		t.Errorf("the hosts that were asked: %v", hosts)
	}
}

// A token goes to who it is for, and to nobody who only looks like it.
func TestTokensStayWithTheirHosts(t *testing.T) {
	var mu sync.Mutex
	said := map[string]string{}
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case r.Host == "login.microsoftonline.com":
			r.ParseForm()
			w.Write([]byte(`{"access_token":"for ` + r.PostForm.Get("scope") + `","expires_in":3600}`))
		case strings.HasSuffix(r.URL.Path, "/content"):
			http.Redirect(w, r, "https://"+r.URL.Query().Get("to"), http.StatusFound)
		case r.Host == "graph.microsoft.com":
			w.Write([]byte(fileJSON("F", "c1", []byte("x"))))
		default:
			said[r.Host] = r.Header.Get("Authorization")
			w.Write([]byte("x"))
		}
	}))
	defer srv.Close()
	for host, want := range map[string]string{
		"contoso-my.sharepoint.com":           "Bearer for https://contoso-my.sharepoint.com/.default",
		"Contoso.SharePoint.com":              "Bearer for https://contoso.sharepoint.com/.default",
		"contoso-my.sharepoint.com.evil.test": "",
		"evilsharepoint.com":                  "",
		"sharepoint.com":                      "",
		"localhost":                           "",
		"127.0.0.1":                           "",
	} {
		clk := newClock()
		transport := realNames(srv).Transport
		c := drive.New(drive.Config{
			Tenant: "t", ClientID: "c", Credential: drive.Secret("s"), Clock: clk.Now, Sleep: clk.Sleep, Tries: 1,
			HTTP: &http.Client{Transport: sending{transport, host}},
		})
		dl, err := c.Download(t.Context(), "D", "F")
		if err == nil {
			_, err = readAll(t, dl)
		}
		mu.Lock()
		if got, asked := said[host]; !asked || got != want {
			t.Errorf("%s got %q (asked: %v, %v), want %q", host, got, asked, err, want)
		}
		mu.Unlock()
	}
}

// sending has contents be at a host.
type sending struct {
	http.RoundTripper
	host string
}

func (s sending) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/content") {
		r = r.Clone(r.Context())
		r.URL.RawQuery = url.Values{"to": {s.host + "/f"}}.Encode()
	}
	return s.RoundTripper.RoundTrip(r)
}
