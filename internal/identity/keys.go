package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"

	"holdfast/internal/backup"
)

const (
	keysFresh      = time.Hour        // keys are fetched again after this long
	keysUnknown    = 15 * time.Second // at most one fetch per this long for key ids we do not know
	keysAfterError = time.Second      // at most one attempt per this long while the issuer cannot be reached
	keysTimeout    = 10 * time.Second
	keysMaxBytes   = 1 << 20
)

var errUnknownKey = errors.New("the token is signed with a key that its issuer does not publish")

// keySet is the published keys of one issuer. They are fetched when first
// needed, so that the server may start before the issuer does, and again when
// they have grown old or a token names one that is not there. However many bad
// tokens come, an issuer sees few requests.
type keySet struct {
	url   string
	http  *http.Client
	clock backup.Clock

	mu      sync.Mutex // also held while fetching: the others wait for the answer
	keys    map[string]keyfunc.Keyfunc
	fetched time.Time // of the last success
	tried   time.Time // of the last attempt
}

// key returns the public key that t names.
func (s *keySet) key(ctx context.Context, t *jwt.Token) (any, error) {
	kid, _ := t.Header["kid"].(string)
	if kid == "" {
		return nil, errors.New("the token names no key")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock()
	k, known := s.keys[kid]
	failed := s.fetched.Before(s.tried)
	var due bool
	switch {
	case s.tried.IsZero():
		due = true
	case failed:
		due = now.Sub(s.tried) >= keysAfterError && (!known || now.Sub(s.fetched) >= keysFresh)
	case known:
		due = now.Sub(s.fetched) >= keysFresh
	default:
		due = now.Sub(s.fetched) >= keysUnknown
	}
	var err error
	if due {
		err = s.fetch(ctx, now)
		k, known = s.keys[kid]
	}
	switch {
	case known: // a set that could not be renewed still serves
		return k.Keyfunc(t)
	case err != nil:
		return nil, fmt.Errorf("fetch the issuer's keys: %w", err)
	}
	return nil, errUnknownKey
}

// fetch replaces the keys with what the issuer publishes now.
func (s *keySet) fetch(ctx context.Context, now time.Time) error {
	s.tried = now
	// One caller's hanging up must not fail the fetch for those who wait.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keysTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return err
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", s.url, resp.Status)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, keysMaxBytes)).Decode(&set); err != nil {
		return fmt.Errorf("read the key set: %w", err)
	}
	keys := map[string]keyfunc.Keyfunc{}
	for _, raw := range set.Keys {
		var head struct {
			ID   string `json:"kid"`
			Type string `json:"kty"`
			Use  string `json:"use"`
		}
		if json.Unmarshal(raw, &head) != nil || head.Type != "RSA" || head.Use == "enc" {
			continue
		}
		// A key we cannot read is not a reason to refuse those we can.
		if k, err := keyfunc.NewJWKJSON(raw); err == nil {
			keys[head.ID] = k
		}
	}
	s.keys, s.fetched = keys, now
	return nil
}
