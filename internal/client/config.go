package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// Secret is a text that is never shown.
type Secret string

const redacted = "[redacted]"

// String hides the secret.
func (Secret) String() string { return redacted }

// GoString hides the secret.
func (Secret) GoString() string { return redacted }

// LogValue hides the secret.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// DefaultURL is where holdfast dev listens unless told otherwise.
const DefaultURL = "http://127.0.0.1:8365"

// graphScope asks for all that was granted on Graph.
const graphScope = "https://graph.microsoft.com/.default"

// A Config says which server to call, and as whom.
type Config struct {
	URL   string // origin of the API, such as https://backup.example.com
	Graph string // where users are looked up by address; empty: below URL. It gets tokens of its own.

	Token Secret // good as it is; else the rest gets one

	Authority    string // origin of the token endpoint
	Tenant       string
	ClientID     string
	ClientSecret Secret
	User         string // the user to act for; empty: the application acts for itself
	Password     Secret
	Scope        string // empty: all that was granted on the application that the server says it is

	CA        []byte            // certificates in PEM form to trust besides the system's
	Transport http.RoundTripper // what requests travel by; nil: HTTP that trusts CA

	// Waiting is told why a request has to be sent again, and how long the client
	// waits before it does. May be nil.
	Waiting func(why error, wait time.Duration)
}

// ErrNoCredentials says that the environment does not tell as whom to call.
var ErrNoCredentials = errors.New("there is no token and no application to get one for")

// FromEnv reads the configuration from the environment. When only the
// credentials are missing the error is ErrNoCredentials, and the rest is there.
func FromEnv(getenv func(string) string) (Config, error) {
	cfg := Config{
		URL: getenv("HOLDFAST_URL"), Graph: strings.TrimSuffix(getenv("HOLDFAST_GRAPH"), "/"), Token: Secret(getenv("HOLDFAST_TOKEN")),
		Authority: strings.TrimSuffix(getenv("HOLDFAST_AUTHORITY"), "/"), Tenant: getenv("HOLDFAST_TENANT"),
		ClientID: getenv("HOLDFAST_CLIENT_ID"), User: getenv("HOLDFAST_USER"), Scope: getenv("HOLDFAST_SCOPE"),
	}
	var wrong []error
	if cfg.URL == "" {
		cfg.URL = DefaultURL
	}
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return cfg, fmt.Errorf("HOLDFAST_URL: %q is not an address such as %s", cfg.URL, DefaultURL)
	}
	if path := strings.TrimSuffix(u.Path, "/"); path != "" && !strings.EqualFold(path, Root) && !strings.EqualFold(path, "/v1.0") {
		wrong = append(wrong, fmt.Errorf("HOLDFAST_URL: give the origin alone, such as %s://%s", u.Scheme, u.Host))
	}
	cfg.URL = u.Scheme + "://" + u.Host
	if u.Scheme == "http" && !loopback(u) && getenv("HOLDFAST_ALLOW_HTTP") != "1" {
		wrong = append(wrong, fmt.Errorf("HOLDFAST_URL: %s would send tokens in plain text; use https://, or set HOLDFAST_ALLOW_HTTP=1 in a network that you trust", cfg.URL))
	}
	if cfg.Authority == "" {
		cfg.Authority = "https://login.microsoftonline.com"
		if loopback(u) {
			cfg.Authority = cfg.URL
		}
	}
	if cfg.Graph == "" && strings.HasSuffix(cfg.Authority, "//login.microsoftonline.com") {
		cfg.Graph = "https://graph.microsoft.com/v1.0"
	}
	for _, other := range []struct{ name, address string }{{"HOLDFAST_GRAPH", cfg.Graph}, {"HOLDFAST_AUTHORITY", cfg.Authority}} {
		o, err := url.Parse(other.address)
		switch {
		case other.address == "":
		case err != nil || o.Host == "" || o.Scheme != "http" && o.Scheme != "https":
			wrong = append(wrong, fmt.Errorf("%s: %q is not an address", other.name, other.address))
		case o.Scheme == "http" && !loopback(o) && getenv("HOLDFAST_ALLOW_HTTP") != "1":
			wrong = append(wrong, fmt.Errorf("%s: %s would send secrets in plain text; use https://", other.name, other.address))
		}
	}
	if file := getenv("HOLDFAST_CA_FILE"); file != "" {
		if cfg.CA, err = os.ReadFile(file); err != nil {
			wrong = append(wrong, fmt.Errorf("HOLDFAST_CA_FILE: %w", err))
		}
	}
	secret := func(name string) Secret {
		value, file := getenv(name), getenv(name+"_FILE")
		if value != "" || file == "" {
			return Secret(value)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s_FILE: %w", name, err))
		}
		return Secret(strings.TrimRight(string(data), "\r\n"))
	}
	cfg.ClientSecret, cfg.Password = secret("HOLDFAST_CLIENT_SECRET"), secret("HOLDFAST_PASSWORD")
	if cfg.Token == "" && len(wrong) == 0 {
		if cfg.Tenant == "" && cfg.ClientID == "" && cfg.ClientSecret == "" {
			return cfg, ErrNoCredentials
		}
		for _, needed := range []struct {
			name    string
			missing bool
		}{
			{"HOLDFAST_TENANT", cfg.Tenant == ""}, {"HOLDFAST_CLIENT_ID", cfg.ClientID == ""},
			{"HOLDFAST_CLIENT_SECRET or HOLDFAST_CLIENT_SECRET_FILE", cfg.ClientSecret == ""},
			{"HOLDFAST_PASSWORD or HOLDFAST_PASSWORD_FILE, for HOLDFAST_USER", cfg.User != "" && cfg.Password == ""},
		} {
			if needed.missing {
				wrong = append(wrong, fmt.Errorf("%s is not set", needed.name))
			}
		}
	}
	return cfg, errors.Join(wrong...)
}

// Loopback reports whether the server is on this machine.
func (c Config) Loopback() bool {
	u, err := url.Parse(c.URL)
	return err == nil && loopback(u)
}

func loopback(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return strings.EqualFold(u.Hostname(), "localhost") || ip != nil && ip.IsLoopback()
}

// SignIn gets a token, so that a failure to do so shows now.
func (c *Client) SignIn(ctx context.Context) error {
	_, err := c.signedIn(ctx, c.cfg.URL)
	return err
}

// scopeFor returns what a token for an address is asked for. Which application the
// server is, it says itself when it refuses a request without a token.
func (c *Client) scopeFor(ctx context.Context, address string) (string, error) {
	if c.cfg.Graph != c.cfg.URL+"/v1.0" && strings.HasPrefix(address, c.cfg.Graph) {
		if u, err := url.Parse(c.cfg.Graph); err == nil && !loopback(u) {
			return "https://" + u.Host + "/.default", nil
		}
		return graphScope, nil
	}
	if c.scope != "" {
		return c.scope, nil
	}
	err := c.patiently(ctx, func() error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.cfg.URL+Root, nil)
		if err != nil {
			return err
		}
		req.Header.Set("User-Agent", "holdfast")
		return c.once(req, nil)
	})
	e, refused := errors.AsType[*Error](err)
	switch {
	case err != nil && !refused:
		return "", err
	case !refused || e.Status != http.StatusUnauthorized || e.Resource == "":
		return graphScope, nil // it does not say
	}
	c.scope = e.Resource + "/.default"
	return c.scope, nil
}

// patiently does a request that may be sent again until it is not put off.
func (c *Client) patiently(ctx context.Context, do func() error) error {
	for attempt := 1; ; attempt++ {
		err := do()
		wait, again := putOff(err, attempt, true)
		if !again || attempt == attempts {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// signedIn returns a token for a request to an address, and gets one first if there
// is none that is good for another minute.
func (c *Client) signedIn(ctx context.Context, address string) (Secret, error) {
	if c.cfg.Token != "" {
		return c.cfg.Token, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	scope, err := c.scopeFor(ctx, address)
	if err != nil {
		return "", err
	}
	if t := c.tokens[scope]; t.text != "" && time.Until(t.expires) > time.Minute {
		return t.text, nil
	}
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {c.cfg.ClientID}, "client_secret": {string(c.cfg.ClientSecret)}, "scope": {scope},
	}
	if c.cfg.User != "" {
		form.Set("grant_type", "password")
		form.Set("username", c.cfg.User)
		form.Set("password", string(c.cfg.Password))
	}
	var answer struct {
		Token   Secret `json:"access_token"`
		Expires int    `json:"expires_in"`
	}
	err = c.patiently(ctx, func() error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.cfg.Authority+"/"+url.PathEscape(c.cfg.Tenant)+"/oauth2/v2.0/token", strings.NewReader(form.Encode()))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return c.once(req, &answer)
	})
	if e, ok := errors.AsType[*Error](err); ok {
		return "", &SignInError{e}
	}
	if err != nil {
		return "", err
	}
	if answer.Token == "" {
		return "", fmt.Errorf("%s answered without a token; check HOLDFAST_AUTHORITY", c.cfg.Authority)
	}
	c.tokens[scope] = token{answer.Token, time.Now().Add(time.Duration(answer.Expires) * time.Second)}
	return answer.Token, nil
}

// forget drops a token that was refused, and reports whether another can be
// got.
func (c *Client) forget(refused Secret) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cfg.Token != "" {
		return false
	}
	maps.DeleteFunc(c.tokens, func(_ string, t token) bool { return t.text == refused })
	return true
}

// A SignInError says that the token endpoint gave no token.
type SignInError struct{ Refusal *Error }

func (e *SignInError) Error() string { return "no token: " + e.Refusal.Error() }

// Unwrap returns the refusal.
func (e *SignInError) Unwrap() error { return e.Refusal }
