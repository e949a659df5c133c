package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// A localCA makes certificates for this machine's own names, which whoever
// trusts its root certificate accepts. It is kept in a folder and made the
// first time; the certificates it signs live in memory only, and are made anew
// well before they expire.
type localCA struct {
	root  string // path of the root certificate, for clients
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	hosts []string

	mu   sync.Mutex
	leaf *tls.Certificate
}

const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 90 * 24 * time.Hour
	// leafMargin is how long before its end a certificate is made anew.
	leafMargin = 30 * 24 * time.Hour
)

// openLocalCA opens the authority in dir for localhost and the hosts named.
func openLocalCA(dir string, now time.Time, hosts ...string) (*localCA, error) {
	ca := &localCA{root: filepath.Join(dir, "ca.pem"), hosts: []string{"localhost", "127.0.0.1", "::1"}}
	for _, h := range hosts {
		if ip := net.ParseIP(h); h != "" && !(ip != nil && ip.IsUnspecified()) && !slices.Contains(ca.hosts, h) {
			ca.hosts = append(ca.hosts, h)
		}
	}
	keyFile := filepath.Join(dir, "ca-key.pem")
	err := ca.load(keyFile)
	if err == nil && now.Add(leafLife).Before(ca.cert.NotAfter) {
		return ca, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the local certificate authority: %w; remove %s to have a new one made", err, dir)
	}
	if err := ca.create(keyFile, now); err != nil {
		return nil, fmt.Errorf("make a local certificate authority: %w", err)
	}
	return ca, nil
}

func (ca *localCA) load(keyFile string) error {
	pair, err := tls.LoadX509KeyPair(ca.root, keyFile)
	if err != nil {
		return err
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return errors.New("its key is of an unknown kind")
	}
	ca.cert, ca.key = pair.Leaf, key
	return nil
}

func (ca *localCA) create(keyFile string, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "Holdfast local authority " + now.UTC().Format(time.DateOnly)},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(caLife),
		IsCA:                  true,
		MaxPathLenZero:        true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	// The key first: a certificate without it would be found and be of no use.
	if err := writeFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600); err != nil {
		return err
	}
	if err := writeFile(ca.root, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return err
	}
	ca.key = key
	ca.cert, err = x509.ParseCertificate(der)
	return err
}

// certificate returns a certificate that is good for a while yet.
func (ca *localCA) certificate(now time.Time) (*tls.Certificate, error) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if ca.leaf != nil && now.Add(leafMargin).Before(ca.leaf.Leaf.NotAfter) {
		return ca.leaf, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: ca.hosts[0]},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(leafLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range ca.hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	ca.leaf = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	return ca.leaf, nil
}

// config returns the TLS settings of a listener that shows ca's certificates.
func (ca *localCA) config() *tls.Config {
	return &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return ca.certificate(time.Now()) },
	}
}

func serial() *big.Int {
	var b [16]byte
	rand.Read(b[:])
	return new(big.Int).SetBytes(b[:])
}

// A certificateFile is a certificate and its key in two files, read again when
// either changes, so that a renewal needs no restart.
type certificateFile struct {
	certFile, keyFile string

	mu       sync.Mutex
	modified [2]time.Time
	pair     *tls.Certificate
}

func openCertificateFile(certFile, keyFile string) (*certificateFile, error) {
	c := &certificateFile{certFile: certFile, keyFile: keyFile}
	_, err := c.certificate()
	return c, err
}

// certificate returns what the files hold; while they cannot be read as a pair,
// as in the middle of a renewal, what they held last.
func (c *certificateFile) certificate() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var modified [2]time.Time
	for i, name := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return c.kept(err)
		}
		modified[i] = info.ModTime()
	}
	if c.pair != nil && modified == c.modified {
		return c.pair, nil
	}
	pair, err := readPair(c.certFile, c.keyFile)
	if err != nil {
		return c.kept(err)
	}
	c.pair, c.modified = &pair, modified
	return c.pair, nil
}

// readPair reads a certificate and its key, both in PEM. What is wrong with them is said
// in words for people.
func readPair(certFile, keyFile string) (pair tls.Certificate, err error) {
	cert, err := os.ReadFile(certFile)
	if err != nil {
		return pair, err
	}
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return pair, err
	}
	cert, key = bytes.TrimPrefix(cert, byteOrderMark), bytes.TrimPrefix(key, byteOrderMark)
	kinds := func(data []byte) (kinds []string) {
		for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
			kinds = append(kinds, block.Type)
			if block.Headers["DEK-Info"] != "" {
				kinds = append(kinds, "ENCRYPTED PRIVATE KEY")
			}
		}
		return kinds
	}
	isKey := func(kind string) bool { return strings.HasSuffix(kind, "PRIVATE KEY") }
	switch inKey := kinds(key); {
	case !slices.Contains(kinds(cert), "CERTIFICATE"):
		return pair, fmt.Errorf("%s holds no certificate in PEM form: it begins with -----BEGIN CERTIFICATE-----", certFile)
	case slices.Contains(inKey, "ENCRYPTED PRIVATE KEY"):
		return pair, fmt.Errorf("the key in %s has a passphrase: take it away, with openssl pkcs8 -topk8 -nocrypt", keyFile)
	case !slices.ContainsFunc(inKey, isKey):
		return pair, fmt.Errorf("%s holds no private key in PEM form", keyFile)
	}
	pair, err = tls.X509KeyPair(cert, key)
	if err != nil && strings.Contains(err.Error(), "private key does not match") {
		return pair, fmt.Errorf("the key in %s is that of another certificate than the first in %s", keyFile, certFile)
	}
	return pair, err
}

// inTime says whether the certificate holds at a time, and what to do if it does not.
func (c *certificateFile) inTime(now time.Time) error {
	pair, err := c.certificate()
	switch {
	case err != nil:
		return err
	case now.After(pair.Leaf.NotAfter):
		return fmt.Errorf("the certificate in %s ended at %s: put a new one there, and its key into %s", c.certFile, pair.Leaf.NotAfter.UTC().Format(time.RFC3339), c.keyFile)
	case now.Before(pair.Leaf.NotBefore):
		return fmt.Errorf("the certificate in %s begins at %s, which is to come: look at the clock of this machine, or put one there that holds", c.certFile, pair.Leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

func (c *certificateFile) kept(err error) (*tls.Certificate, error) {
	if c.pair != nil {
		return c.pair, nil
	}
	return nil, err
}

func (c *certificateFile) config() *tls.Config {
	return &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.certificate() },
	}
}
