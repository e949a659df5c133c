package drive

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"holdfast/internal/backup"
)

// A Credential is how an application proves to the authority who it is: by a
// Secret, a *Certificate or a FederatedToken.
type Credential interface {
	// prove puts the proof into the request for a token that is sent to endpoint.
	prove(form url.Values, clientID, endpoint string, now time.Time) error
}

// A Secret is text that must not be shown. It prints as redacted.
type Secret string

const redacted = "[redacted]"

func (Secret) String() string               { return redacted }
func (Secret) GoString() string             { return redacted }
func (Secret) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

func (s Secret) prove(form url.Values, _, _ string, _ time.Time) error {
	form.Set("client_secret", string(s))
	return nil
}

// A Certificate is a certificate that is registered with an application, and
// its private key. What is read from its file is read again for each token, so
// that a renewed certificate needs no restart.
type Certificate struct {
	file string
}

// NewCertificate returns the certificate that is in a file, with its private key:
// both in PEM, the key unencrypted and RSA, which is what Entra ID takes.
func NewCertificate(file string) (*Certificate, error) {
	c := &Certificate{file}
	_, _, err := c.read()
	return c, err
}

// InTime says whether the certificate that is in the file holds at a time, and what to do
// if it does not.
func (c *Certificate) InTime(now time.Time) error {
	cert, _, err := c.read()
	if err != nil {
		return err
	}
	return c.inTime(cert, now)
}

func (c *Certificate) inTime(cert *x509.Certificate, now time.Time) error {
	switch {
	case now.After(cert.NotAfter):
		return fmt.Errorf("the certificate in %s ended at %s: register a new one with the application, and put it with its key into that file", c.file, cert.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(cert.NotBefore):
		return fmt.Errorf("the certificate in %s begins at %s, which is to come: look at the clock of this machine, or put one that holds with its key into that file", c.file, cert.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

// NotAfter is when the certificate ends.
func (c *Certificate) NotAfter() (time.Time, error) {
	cert, _, err := c.read()
	if err != nil {
		return time.Time{}, err
	}
	return cert.NotAfter, nil
}

// assertionLife is how long the statement of an application about itself is
// valid: long enough for clocks that differ, too short to be of use to a thief.
const assertionLife = 10 * time.Minute

func (c *Certificate) prove(form url.Values, clientID, endpoint string, now time.Time) error {
	cert, key, err := c.read()
	if err != nil {
		return err
	}
	if err := c.inTime(cert, now); err != nil {
		return err
	}
	token := jwt.NewWithClaims(jwt.SigningMethodPS256, jwt.RegisteredClaims{
		Issuer: clientID, Subject: clientID, Audience: jwt.ClaimStrings{endpoint}, ID: backup.NewID[string](),
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now.Add(-assertionLife / 2)), ExpiresAt: jwt.NewNumericDate(now.Add(assertionLife)),
	})
	short, long := sha1.Sum(cert.Raw), sha256.Sum256(cert.Raw)
	token.Header["x5t"] = base64.RawURLEncoding.EncodeToString(short[:]) // for authorities that know no other
	token.Header["x5t#S256"] = base64.RawURLEncoding.EncodeToString(long[:])
	signed, err := token.SignedString(key)
	if err != nil {
		return err
	}
	assert(form, signed)
	return nil
}

func (c *Certificate) read() (*x509.Certificate, *rsa.PrivateKey, error) {
	data, err := os.ReadFile(c.file)
	if err != nil {
		return nil, nil, fmt.Errorf("the application's certificate cannot be read: %w", err)
	}
	data = bytes.TrimPrefix(data, []byte("\uFEFF")) // as editors of Windows write it
	var cert *x509.Certificate
	var key crypto.PrivateKey
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		switch kind := block.Type; {
		case kind == "CERTIFICATE" && cert == nil: // what follows are those that vouch for it
			cert, err = x509.ParseCertificate(block.Bytes)
		case kind == "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case kind == "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case strings.HasSuffix(kind, "PRIVATE KEY"):
			return nil, nil, fmt.Errorf("%s holds a key in the form %q: convert it to an RSA key without a passphrase, with openssl pkcs8 -topk8 -nocrypt", c.file, kind)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s holds a %s that cannot be understood: %w", c.file, strings.ToLower(block.Type), err)
		}
	}
	private, isRSA := key.(*rsa.PrivateKey)
	switch {
	case cert == nil && key == nil && !utf8.Valid(data):
		return nil, nil, fmt.Errorf("%s is not PEM, which is text: make it of a .pfx or .p12 with openssl pkcs12 -in FILE -nodes, or save it as UTF-8", c.file)
	case cert == nil:
		return nil, nil, fmt.Errorf("%s holds no certificate in PEM form: it begins with -----BEGIN CERTIFICATE-----", c.file)
	case key == nil:
		return nil, nil, fmt.Errorf("%s holds no private key in PEM form: put it behind the certificate", c.file)
	case !isRSA:
		return nil, nil, fmt.Errorf("%s holds a key that is not RSA, which Entra ID does not take", c.file)
	case !private.PublicKey.Equal(cert.PublicKey):
		return nil, nil, fmt.Errorf("%s holds a certificate and the key of another one", c.file)
	}
	return cert, private, nil
}

// A FederatedToken names the file of a token by which another authority, such as
// a Kubernetes cluster, says who the program is. It is read for each token, since
// such files are renewed.
type FederatedToken string

// NewFederatedToken returns the token that is in a file.
func NewFederatedToken(file string) (FederatedToken, error) {
	f := FederatedToken(file)
	_, err := f.read()
	return f, err
}

func (f FederatedToken) prove(form url.Values, _, _ string, _ time.Time) error {
	text, err := f.read()
	if err == nil {
		assert(form, text)
	}
	return err
}

func (f FederatedToken) read() (string, error) {
	data, err := os.ReadFile(string(f))
	if err != nil {
		return "", fmt.Errorf("the token of the workload's identity cannot be read: %w", err)
	}
	text := strings.TrimSpace(string(data))
	if strings.Count(text, ".") != 2 || len(text) > maxToken {
		return "", fmt.Errorf("%s holds no token of a workload's identity", string(f))
	}
	return text, nil
}

func assert(form url.Values, assertion string) {
	form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	form.Set("client_assertion", assertion)
}
