package odata

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"time"

	"holdfast/internal/backup"
)

const (
	tokenVersion = 1
	// tokenLife is how long the next page may be asked for.
	tokenLife = 24 * time.Hour
	// maxToken is more than any token that we make: an order by a long name
	// carries that name.
	maxToken = 8192
)

// Tokens makes and reads page tokens. A token is sealed: it cannot be read or
// made without the server's key, and is bound to whose it is and what was
// asked, so that it opens nothing else.
type Tokens struct {
	aead  cipher.AEAD
	clock backup.Clock
}

// NewTokens returns tokens under a key of at least 16 bytes, kept secret and
// stable: processes that serve the same tenants share it.
func NewTokens(key []byte, clock backup.Clock) (*Tokens, error) {
	if len(key) < 16 {
		return nil, errors.New("the key of page tokens is shorter than 16 bytes")
	}
	derived, err := hkdf.Key(sha256.New, key, nil, "holdfast page token", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &Tokens{aead, clock}, nil
}

// Seal returns a token that brings the caller behind after, for the owner's
// listing of path with these options.
func (t *Tokens) Seal(owner, path string, o Options, after string) string {
	plain := binary.BigEndian.AppendUint64(nil, uint64(t.clock().Add(tokenLife).Unix()))
	plain = append(plain, after...)
	sealed := t.aead.Seal([]byte{tokenVersion}, nil, plain, binding(owner, path, o))
	return base64.RawURLEncoding.EncodeToString(sealed)
}

// Open returns the place that o.SkipToken stands for, or "" if there is none.
func (t *Tokens) Open(owner, path string, o Options) (after string, err error) {
	if o.SkipToken == "" {
		return "", nil
	}
	refused := SkipToken.wrong("is not one that this server gave for this request, or it has expired. Start again without it")
	if len(o.SkipToken) > maxToken {
		return "", refused
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(o.SkipToken)
	if err != nil || len(sealed) < 1 || sealed[0] != tokenVersion {
		return "", refused
	}
	plain, err := t.aead.Open(nil, nil, sealed[1:], binding(owner, path, o))
	if err != nil || len(plain) < 8 {
		return "", refused
	}
	if expires := time.Unix(int64(binary.BigEndian.Uint64(plain)), 0); t.clock().After(expires) {
		return "", refused
	}
	return string(plain[8:]), nil
}

// NextLink returns the absolute URL of the page behind after.
func (t *Tokens) NextLink(owner, base, path string, o Options, after string) string {
	return base + path + "?" + o.query(t.Seal(owner, path, o, after))
}

func binding(owner, path string, o Options) []byte {
	h := sha256.New()
	for _, part := range []string{owner, path, o.binding()} {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write([]byte(part))
	}
	return append([]byte{tokenVersion}, h.Sum(nil)...)
}
