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
// tokens come, an issuer sees few requests; and however slow it is, only those
// wait for it whose key is not known, for a while.
type keySet struct {
	url   string
	http  *http.Client
	clock backup.Clock

	mu       sync.Mutex // never held while fetching
	keys     map[string]keyfunc.Keyfunc
	fetched  time.Time // of the last success
	tried    time.Time // of the last attempt
	fetching *fetch    // the one under way, if there is one
}

// A fetch is one attempt at the keys, which many may wait for.
type fetch struct {
	done chan struct{} // closed when it is over
	err  error         // then
}

// key returns the public key that t names, and whether the issuer published it
// lately. A key that is known serves also when it is old, while it is asked for
// anew, and when the issuer cannot be reached.
func (s *keySet) key(ctx context.Context, t *jwt.Token) (key any, fresh bool, err error) {
	kid, _ := t.Header["kid"].(string)
	if kid == "" {
		return nil, false, errors.New("the token names no key")
	}
	k, fresh, running := s.look(ctx, kid)
	if k == nil && running != nil {
		select {
		case <-running.done:
		case <-ctx.Done():
			return nil, false, context.Cause(ctx)
		}
		if running.err != nil {
			return nil, false, fmt.Errorf("fetch the issuer's keys: %w", running.err)
		}
		k, fresh = s.known(kid)
	}
	if k == nil {
		return nil, false, errUnknownKey
	}
	key, err = k.Keyfunc(t)
	return key, fresh, err
}

func (s *keySet) known(kid string) (keyfunc.Keyfunc, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys[kid], s.clock().Sub(s.fetched) < keysFresh
}

// look returns the key of that id if it is known, and the fetch under way. It
// begins one if one is due.
func (s *keySet) look(ctx context.Context, kid string) (k keyfunc.Keyfunc, fresh bool, running *fetch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock()
	k = s.keys[kid]
	old := now.Sub(s.fetched) >= keysFresh
	var due bool
	switch {
	case s.tried.IsZero():
		due = true
	case s.fetched.Before(s.tried): // the last attempt failed
		due = now.Sub(s.tried) >= keysAfterError && (k == nil || old)
	case k != nil:
		due = old
	default:
		due = now.Sub(s.fetched) >= keysUnknown
	}
	if due && s.fetching == nil {
		s.tried = now
		s.fetching = &fetch{done: make(chan struct{})}
		// One caller's hanging up must not fail the fetch for those who wait.
		go s.fetch(context.WithoutCancel(ctx), s.fetching, now)
	}
	return k, !old, s.fetching
}

// fetch replaces the keys with what the issuer publishes now.
func (s *keySet) fetch(ctx context.Context, f *fetch, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, keysTimeout)
	defer cancel()
	keys, err := s.read(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.keys, s.fetched = keys, now
	}
	f.err = err
	s.fetching = nil
	close(f.done)
}

// read asks the issuer for its keys. A set without any that we can use is an
// error: it is the issuer's, not the end of all its tokens.
func (s *keySet) read(ctx context.Context) (map[string]keyfunc.Keyfunc, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", s.url, resp.Status)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, keysMaxBytes)).Decode(&set); err != nil {
		return nil, fmt.Errorf("read the key set: %w", err)
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
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s publishes no key that can be used", s.url)
	}
	return keys, nil
}
