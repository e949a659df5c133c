package main

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestDataFolderIsHeldByOne(t *testing.T) {
	dir := t.TempDir()
	first, err := openData(dir)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := openData(dir); err == nil {
		second.close()
		t.Fatal("two hold the data folder at once")
	} else if !strings.Contains(err.Error(), "another holdfast is running on "+dir) {
		t.Errorf("the error is %q", err)
	}
	if err := first.close(); err != nil {
		t.Fatal(err)
	}
	again, err := openData(dir)
	if err != nil {
		t.Fatalf("after the first let go: %v", err)
	}
	again.close()
}

func TestKeysAreMadeOnceForTheOwnerOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys", "vault")
	var keys [2]string
	for i := range keys {
		if err := keyFile(path); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		keys[i] = string(data)
	}
	if keys[0] != keys[1] || len(keys[0]) != 65 {
		t.Errorf("the key was %q, then %q", keys[0], keys[1])
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("its mode is %v, %v", info.Mode(), err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("beside it lies something: %v, %v", entries, err)
	}
}

func TestLocalCA(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	ca, err := openLocalCA(dir, now, "backup.example", "0.0.0.0")
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(ca.root)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatal("the root certificate cannot be read")
	}
	leaf := func(ca *localCA, at time.Time) *tls.Certificate {
		t.Helper()
		c, err := ca.certificate(at)
		if err != nil {
			t.Fatal(err)
		}
		for _, host := range []string{"localhost", "127.0.0.1", "::1", "backup.example"} {
			if _, err := c.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: at}); err != nil {
				t.Errorf("as %s: %v", host, err)
			}
		}
		return c
	}
	first := leaf(ca, now)
	if leaf(ca, now.Add(leafLife-leafMargin-time.Hour)) != first {
		t.Error("the certificate was made anew before it needed to be")
	}
	if leaf(ca, now.Add(leafLife-leafMargin)) == first {
		t.Error("the certificate was not made anew near its end")
	}

	again, err := openLocalCA(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	if !again.cert.Equal(ca.cert) {
		t.Error("a restart made another authority")
	}
	if info, err := os.Stat(filepath.Join(dir, "ca-key.pem")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the authority's key has mode %v, %v", info.Mode(), err)
	}
	later, err := openLocalCA(dir, now.Add(caLife))
	if err != nil {
		t.Fatal(err)
	}
	if later.cert.Equal(ca.cert) {
		t.Error("the authority was kept past its end")
	}
}
