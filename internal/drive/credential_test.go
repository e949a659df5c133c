package drive_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/drive"
	"holdfast/internal/simtenant"
)

// sample is a certificate with its key, each in PEM.
func sample(t *testing.T, ends time.Time) (cert, key string) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Holdfast source"}, NotBefore: ends.Add(-10 * 365 * 24 * time.Hour), NotAfter: ends}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return inPEM("CERTIFICATE", raw), inPEM("PRIVATE KEY", der)
}

func inPEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// From April 2027 files are at SharePoint's host, which takes no application's
// token that was got with a secret. With a certificate all works, also after it
// was renewed.
func TestACertificateOpensFiles(t *testing.T) {
	clk := newClock()
	first, firstKey := sample(t, clk.Now().Add(24*time.Hour))
	second, secondKey := sample(t, clk.Now().Add(365*24*time.Hour))
	dir := t.TempDir()
	file := filepath.Join(dir, "source.pem")
	write(t, file, first+firstKey)
	contoso := simtenant.Sample()[0]
	contoso.Apps[0].Certificates = []string{first, second}
	faults := new(simtenant.Faults)
	faults.Set(func(o *simtenant.Options) { o.PreAuth, o.NoSecrets = "retired", true })
	sim, err := simtenant.New(simtenant.Config{State: filepath.Join(dir, "state"), Drives: filepath.Join(dir, "drives"), Tenants: []simtenant.Tenant{contoso}, Faults: faults, Clock: clk.Now})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewTLSServer(sim.Handler())
	t.Cleanup(func() {
		srv.Close()
		sim.Close()
	})
	client := func(c drive.Credential) *drive.Client {
		return drive.New(drive.Config{Tenant: contoso.ID, ClientID: contoso.Apps[0].AppID, Credential: c, HTTP: realNames(srv), Clock: clk.Now, Sleep: clk.Sleep, Tries: 2})
	}
	roundTrip := func(c *drive.Client, name string) error {
		d, err := c.UserDrive(t.Context(), contoso.Users[0].ID)
		if err != nil {
			return err
		}
		root, err := c.Root(t.Context(), d.ID)
		if err != nil {
			return err
		}
		body := content(5 << 20)
		it, err := c.Upload(t.Context(), d.ID, drive.Target{Parent: root.ID, Name: name}, strings.NewReader(string(body)), int64(len(body)), drive.Times{})
		if err != nil {
			return err
		}
		dl, err := c.Download(t.Context(), d.ID, it.ID)
		if err != nil {
			return err
		}
		_, err = readAll(t, dl)
		return err
	}
	if err := roundTrip(client(drive.Secret(contoso.Apps[0].Secret)), "by a secret"); !errors.Is(err, drive.ErrDenied) {
		t.Errorf("with a secret: %v", err)
	}
	cert, err := drive.NewCertificate(file)
	if err != nil {
		t.Fatal(err)
	}
	c := client(cert)
	if err := roundTrip(c, "by a certificate"); err != nil {
		t.Fatal(err)
	}
	ends, err := cert.NotAfter()
	if err != nil {
		t.Fatal(err)
	}
	clk.Sleep(t.Context(), 25*time.Hour)
	if !ends.Before(clk.Now()) {
		t.Errorf("the certificate is said to end at %v", ends)
	}
	if err := roundTrip(c, "too late"); err == nil || !strings.Contains(err.Error(), "register a new one") {
		t.Errorf("with a certificate that has ended: %v", err)
	}
	write(t, file, second+secondKey)
	clk.Sleep(t.Context(), time.Hour)
	if err := roundTrip(c, "renewed"); err != nil {
		t.Errorf("with the renewed one: %v", err)
	}
}

func TestAWorkloadIdentityIsReadForEachToken(t *testing.T) {
	s, clk := newSource(t), newClock()
	s.on(rootPath, rootJSON)
	var forms []url.Values
	s.on("POST /"+tenant+"/oauth2/v2.0/token", func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		forms = append(forms, r.PostForm)
		w.Write([]byte(`{"access_token":"a","expires_in":3600}`))
	})
	file := filepath.Join(t.TempDir(), "token")
	write(t, file, "a.b.c\n")
	credential, err := drive.NewFederatedToken(file)
	if err != nil {
		t.Fatal(err)
	}
	c := s.client(clk, func(cfg *drive.Config) { cfg.Credential = credential })
	for _, want := range []string{"a.b.c", "d.e.f"} {
		write(t, file, want)
		if _, err := c.Root(t.Context(), "D"); err != nil {
			t.Fatal(err)
		}
		last := forms[len(forms)-1]
		if last.Get("client_assertion") != want || !strings.HasSuffix(last.Get("client_assertion_type"), "jwt-bearer") || last.Has("client_secret") {
			t.Errorf("it asked with %v, want %s", last, want)
		}
		clk.Sleep(t.Context(), 2*time.Hour)
	}
	if len(forms) != 2 {
		t.Errorf("%d tokens were asked for", len(forms))
	}
}

func TestWhatIsNoCredentialIsRefused(t *testing.T) {
	ends := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	cert, key := sample(t, ends)
	_, other := sample(t, ends)
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "source.pem")
	for _, row := range []struct{ text, want string }{
		{"", "no certificate"},
		{key, "no certificate"},
		{cert, "no private key"},
		{cert + other, "the key of another one"},
		{cert + inPEM("PRIVATE KEY", curve), "not RSA"},
		{cert + inPEM("ENCRYPTED PRIVATE KEY", []byte("x")), "without a passphrase"},
		{cert + inPEM("PRIVATE KEY", []byte("x")), "cannot be understood"},
		{inPEM("CERTIFICATE", []byte("x")) + key, "cannot be understood"},
		{"\x30\x82\x09\xff", "is not PEM, which is text"},
		{"\xff\xfe-\x00-\x00", "is not PEM, which is text"},
	} {
		write(t, file, row.text)
		if _, err := drive.NewCertificate(file); err == nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), key) {
			t.Errorf("%.40q: %v, want %q", row.text, err, row.want)
		}
		if _, err := drive.NewFederatedToken(file); err == nil || !strings.Contains(err.Error(), "no token") {
			t.Errorf("%.40q as a token: %v", row.text, err)
		}
	}
	write(t, file, "\uFEFF"+key+cert) // in any order
	held, err := drive.NewCertificate(file)
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[time.Time]string{ends.Add(-time.Hour): "", ends.Add(time.Hour): "register a new one", ends.Add(-11 * 365 * 24 * time.Hour): "which is to come"} {
		if err := held.InTime(at); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("at %v: %v, want %q", at, err, want)
		}
	}
	if _, err := drive.NewCertificate(file + " that is not there"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if _, err := drive.NewFederatedToken(file + " that is not there"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
