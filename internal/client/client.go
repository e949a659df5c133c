// Package client calls the Backup Storage API as any application does: over
// HTTP, with a token. It knows how requests travel and nothing of what they
// mean.
//
// It promises that a secret goes only where the configuration says, that a
// request which the server put off is sent again when the server said, and that
// what it sends again creates nothing twice.
package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"holdfast/internal/backup"
)

// Root is where the Backup Storage API lives below an origin.
const Root = "/v1.0/solutions/backupRestore"

// Beta begins a path below Root of what only the beta version has.
const Beta = "/beta"

const (
	attempts   = 6               // of one request that is put off or lost
	longest    = 5 * time.Minute // that the client waits when told to come later
	answerSize = 64 << 20
)

// A Client calls one server. It is safe for concurrent use.
type Client struct {
	cfg  Config
	http *http.Client

	mu     sync.Mutex
	scope  string // what the server's tokens are asked for, once it is known
	tokens map[string]token
}

// A token is good for what was asked for with one scope.
type token struct {
	text    Secret
	expires time.Time
}

// New returns a client of the server that cfg names. It calls nobody yet.
func New(cfg Config) (*Client, error) {
	if cfg.Graph == "" {
		cfg.Graph = cfg.URL + "/v1.0"
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = 2 * time.Minute
	if cfg.CA != nil {
		roots, err := x509.SystemCertPool()
		if err != nil {
			roots = x509.NewCertPool()
		}
		if !roots.AppendCertsFromPEM(cfg.CA) {
			return nil, errors.New("HOLDFAST_CA_FILE holds no certificate in PEM form")
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	if cfg.Transport == nil {
		cfg.Transport = transport
	}
	return &Client{cfg: cfg, scope: cfg.Scope, tokens: map[string]token{}, http: &http.Client{
		Transport: cfg.Transport,
		// A redirected POST would be sent as something else, and a token to
		// somebody else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Get reads what is at path below Root into answer.
func (c *Client) Get(ctx context.Context, path string, answer any) error {
	return c.call(ctx, http.MethodGet, path, nil, answer, true)
}

// Create posts body to a collection. Should the answer be lost, it is sent
// again: the server knows a repetition by its client-request-id.
func (c *Client) Create(ctx context.Context, path string, body, answer any) error {
	return c.call(ctx, http.MethodPost, path, body, answer, true)
}

// Act posts to an action that changes something.
func (c *Client) Act(ctx context.Context, path string, body, answer any) error {
	return c.call(ctx, http.MethodPost, path, body, answer, false)
}

// Ask posts to an action that changes nothing.
func (c *Client) Ask(ctx context.Context, path string, body, answer any) error {
	return c.call(ctx, http.MethodPost, path, body, answer, true)
}

// Patch changes what is at path.
func (c *Client) Patch(ctx context.Context, path string, body, answer any) error {
	return c.call(ctx, http.MethodPatch, path, body, answer, false)
}

// Delete removes what is at path.
func (c *Client) Delete(ctx context.Context, path string) error {
	return c.call(ctx, http.MethodDelete, path, nil, nil, false)
}

// Open asks for the bytes at path, the whole or, if part is not empty, the part
// that the header Range says. The answer's body must be closed.
func (c *Client) Open(ctx context.Context, path, part string) (*http.Response, error) {
	token, err := c.signedIn(ctx, c.cfg.URL)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.cfg.URL+Root+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+string(token))
	req.Header.Set("User-Agent", "holdfast")
	if part != "" {
		req.Header.Set("Range", part)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, &Unreachable{URL: req.URL.Scheme + "://" + req.URL.Host, Err: err}
	}
	if res.StatusCode < 200 || res.StatusCode >= 300 {
		defer res.Body.Close()
		data, err := io.ReadAll(io.LimitReader(res.Body, answerSize))
		if err != nil {
			return nil, &Unreachable{URL: req.URL.Scheme + "://" + req.URL.Host, Err: err}
		}
		return nil, refusal(req, res, data)
	}
	return res, nil
}

// A Page is one answer of a collection.
type Page struct {
	Value []json.RawMessage `json:"value"`
	Next  string            `json:"@odata.nextLink"`
	Note  string            `json:"@holdfast.note"`
}

// All yields the members of the collection at path, page after page.
func (c *Client) All(ctx context.Context, path string) iter.Seq2[json.RawMessage, error] {
	return c.AllNoted(ctx, path, func(string) {})
}

// AllNoted is All, and gives to note what the server remarks on each page, if anything.
func (c *Client) AllNoted(ctx context.Context, path string, note func(string)) iter.Seq2[json.RawMessage, error] {
	return c.pages(ctx, note, func(page *Page) error { return c.Get(ctx, path, page) })
}

// largePage is what AllAsked asks for, of a server whose pages of an action are small.
const largePage = "odata.maxpagesize=999"

// AllAsked is All of an action that answers by pages.
func (c *Client) AllAsked(ctx context.Context, path string, body any) iter.Seq2[json.RawMessage, error] {
	return c.pages(ctx, func(string) {}, func(page *Page) error {
		return c.send(ctx, http.MethodPost, c.cfg.URL+Root+path, body, page, true, largePage)
	})
}

func (c *Client) pages(ctx context.Context, note func(string), first func(*Page) error) iter.Seq2[json.RawMessage, error] {
	return func(yield func(json.RawMessage, error) bool) {
		var page Page
		err := first(&page)
		for {
			if err != nil {
				yield(nil, err)
				return
			}
			if page.Note != "" {
				note(page.Note)
			}
			for _, v := range page.Value {
				if !yield(v, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			path, next := "", page.Next
			if path, err = below(next); err == nil {
				page = Page{}
				err = c.Get(ctx, path, &page)
			}
		}
	}
}

// below is what a link of the server's is below Root. Whatever host it names,
// the request goes to the one that was configured, and so does the token.
func below(link string) (string, error) {
	u, err := url.Parse(link)
	if err != nil {
		return "", fmt.Errorf("read a nextLink: %w", err)
	}
	path := u.EscapedPath()
	if len(path) < len(Root) || !strings.EqualFold(path[:len(Root)], Root) {
		return "", fmt.Errorf("the server's nextLink %q leads out of the API", link)
	}
	return path[len(Root):] + "?" + u.RawQuery, nil
}

// User asks the directory of the server's Graph for the object id of a user.
// It reports false when no such user is known there, or nobody answers for the
// directory.
func (c *Client) User(ctx context.Context, address string) (backup.ObjectID, bool, error) {
	var user struct {
		ID backup.ObjectID `json:"id"`
	}
	err := c.send(ctx, http.MethodGet, c.cfg.Graph+"/users/"+url.PathEscape(address)+"?$select=id", nil, &user, true)
	if _, refused := errors.AsType[*Error](err); refused {
		return "", false, nil
	}
	return user.ID, err == nil && user.ID != "", err
}

// Site asks Graph for the id of the site at a path of a host; the empty path is
// that of the host's own. It reports false as User does.
func (c *Client) Site(ctx context.Context, host, path string) (string, bool, error) {
	if path != "" {
		path = ":/" + path
	}
	var site struct{ ID string }
	err := c.send(ctx, http.MethodGet, c.cfg.Graph+"/sites/"+url.PathEscape(host)+path+"?$select=id", nil, &site, true)
	if e, refused := errors.AsType[*Error](err); refused && e.Status != http.StatusUnauthorized {
		return "", false, nil
	}
	return site.ID, err == nil && site.ID != "", err
}

// Sites asks Graph for the addresses of the tenant's sites, by their ids, of
// the first pages of a thousand: it is for showing addresses.
func (c *Client) Sites(ctx context.Context, pages int) (map[string]string, error) {
	return c.named(ctx, "/sites?search=*&$select=id,webUrl&$top=999", pages)
}

// Call sends any request. If it is none that only reads, it is not sent again
// when its answer is lost.
func (c *Client) Call(ctx context.Context, method, path string, body, answer any) error {
	return c.call(ctx, method, path, body, answer, method == http.MethodGet)
}

// Users asks the same directory for the addresses of its users, by their object
// ids, of the first pages of a thousand: it is for showing names.
func (c *Client) Users(ctx context.Context, pages int) (map[string]string, error) {
	return c.named(ctx, "/users?$select=id,userPrincipalName&$top=999", pages)
}

// named reads the first pages of a list of Graph: addresses by ids.
func (c *Client) named(ctx context.Context, path string, pages int) (map[string]string, error) {
	names := map[string]string{}
	address := c.cfg.Graph + path
	for range pages {
		var page struct {
			Value []struct{ ID, UserPrincipalName, WebURL string }
			Next  string `json:"@odata.nextLink"`
		}
		if err := c.send(ctx, http.MethodGet, address, nil, &page, true); err != nil {
			return names, err
		}
		for _, v := range page.Value {
			names[v.ID] = cmp.Or(v.UserPrincipalName, v.WebURL)
		}
		if !strings.HasPrefix(page.Next, c.cfg.Graph+"/") {
			break
		}
		address = page.Next
	}
	return names, nil
}

// A Person is a user of the directory.
type Person struct {
	ID, DisplayName, UserPrincipalName, Mail string
}

// People asks the same directory for the first users whose name or address
// begins with a text.
func (c *Client) People(ctx context.Context, text string, limit int) ([]Person, error) {
	text = "'" + strings.ReplaceAll(text, "'", "''") + "'"
	filter := "startswith(displayName," + text + ") or startswith(userPrincipalName," + text + ") or startswith(mail," + text + ")"
	var page struct{ Value []Person }
	err := c.send(ctx, http.MethodGet, c.cfg.Graph+"/users?$select=id,displayName,userPrincipalName,mail&$top="+strconv.Itoa(limit)+"&$filter="+url.QueryEscape(filter), nil, &page, true)
	return page.Value, err
}

// Groups asks the same directory for the object ids of the groups of a name.
func (c *Client) Groups(ctx context.Context, name string) ([]string, error) {
	var ids []string
	address := c.cfg.Graph + "/groups?$select=id,displayName&$filter=" + url.QueryEscape("displayName eq '"+strings.ReplaceAll(name, "'", "''")+"'")
	for address != "" {
		var page struct {
			Value []struct{ ID, DisplayName string }
			Next  string `json:"@odata.nextLink"`
		}
		err := c.send(ctx, http.MethodGet, address, nil, &page, true)
		if _, refused := errors.AsType[*Error](err); refused {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		for _, g := range page.Value { // a directory may not know the filter
			if g.DisplayName == name {
				ids = append(ids, g.ID)
			}
		}
		if address = page.Next; !strings.HasPrefix(address, c.cfg.Graph+"/") {
			break
		}
	}
	return ids, nil
}

func (c *Client) call(ctx context.Context, method, path string, body, answer any, again bool) error {
	address := c.cfg.URL + Root + path
	if below, beta := strings.CutPrefix(path, Beta); beta {
		address = c.cfg.URL + strings.Replace(Root, "/v1.0", Beta, 1) + below
	}
	return c.send(ctx, method, address, body, answer, again)
}

// send sends one request until it is answered. again says that it may be sent
// once more when nobody knows whether it arrived; prefers is what else the header Prefer says.
func (c *Client) send(ctx context.Context, method, address string, body, answer any, again bool, prefers ...string) error {
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			return err
		}
	}
	id := backup.NewID[string]()
	renewed := false
	for attempt := 1; ; attempt++ {
		token, err := c.signedIn(ctx, address)
		if err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(data))
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+string(token))
		req.Header.Set("Accept", "application/json")
		req.Header.Set("Prefer", strings.Join(append(prefers, "include-unknown-enum-members"), ", "))
		req.Header.Set("User-Agent", "holdfast")
		req.Header.Set("client-request-id", id)
		if body != nil {
			req.Header.Set("Content-Type", "application/json")
		}
		err = c.once(req, answer)
		wait, again := putOff(err, attempt, again)
		if e, ok := errors.AsType[*Error](err); ok && e.Status == http.StatusUnauthorized && !renewed && c.forget(token) {
			renewed, wait, again = true, 0, true
		}
		if !again || attempt == attempts {
			return err
		}
		if end, ok := ctx.Deadline(); ok && time.Until(end) < wait {
			return &PutOff{Why: err, Wait: wait, Err: context.DeadlineExceeded}
		}
		if wait > 0 && c.cfg.Waiting != nil {
			c.cfg.Waiting(err, wait)
		}
		select {
		case <-ctx.Done():
			return &PutOff{Why: err, Wait: wait, Err: context.Cause(ctx)}
		case <-time.After(wait):
		}
	}
}

// putOff reports whether a request that ended with err is to be sent again, and
// how long to wait before.
func putOff(err error, attempt int, lost bool) (time.Duration, bool) {
	wait := time.Second << (attempt - 1)
	wait += rand.N(wait / 4)
	if e, ok := errors.AsType[*Error](err); ok {
		switch e.Status {
		case http.StatusTooManyRequests, http.StatusServiceUnavailable:
			wait = max(wait, e.RetryAfter)
			return wait, wait <= longest
		case http.StatusBadGateway, http.StatusGatewayTimeout:
			return wait, lost
		}
		return 0, false
	}
	// A connection that broke may have carried the request; one that was never
	// made is not worth waiting for.
	broken := errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
	return wait, broken && lost && attempt < 3
}

// once sends req and reads the answer.
func (c *Client) once(req *http.Request, answer any) error {
	res, err := c.http.Do(req)
	if err != nil {
		if req.Context().Err() != nil {
			return context.Cause(req.Context())
		}
		return &Unreachable{URL: req.URL.Scheme + "://" + req.URL.Host, Err: err}
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, answerSize))
	if err != nil {
		if req.Context().Err() != nil {
			return context.Cause(req.Context())
		}
		return &Unreachable{URL: req.URL.Scheme + "://" + req.URL.Host, Err: err}
	}
	if res.StatusCode < 200 || res.StatusCode >= 300 {
		return refusal(req, res, data)
	}
	if answer == nil {
		return nil
	}
	if raw, ok := answer.(*json.RawMessage); ok {
		*raw = data
		if json.Valid(data) {
			return nil
		}
	} else if json.Unmarshal(data, answer) == nil {
		return nil
	}
	return fmt.Errorf("%s answered, but not as the Backup Storage API does: %.80q. Check HOLDFAST_URL", req.URL.Redacted(), data)
}

// An Error is the refusal of a request.
type Error struct {
	Method, Path  string
	Status        int
	Code, Message string
	Target        string
	Details       []backup.Detail
	RequestID     string
	Resource      string // the application that tokens are to be for, where the refusal names it
	RetryAfter    time.Duration
}

// Error says what the server said, and how to find it in the server's log.
func (e *Error) Error() string {
	text := e.Message
	if text == "" {
		text = http.StatusText(e.Status)
	}
	text = strings.TrimSuffix(text, ".") + " (" + strconv.Itoa(e.Status)
	if e.Code != "" {
		text += " " + e.Code
	}
	if e.RequestID != "" {
		text += ", request " + e.RequestID
	}
	return text + ")"
}

// refusal reads an answer that is not the one that was hoped for.
func refusal(req *http.Request, res *http.Response, data []byte) *Error {
	e := &Error{Method: req.Method, Path: req.URL.Path, Status: res.StatusCode, RequestID: res.Header.Get("request-id")}
	if after := res.Header.Get("Retry-After"); after != "" {
		if seconds, err := strconv.Atoi(after); err == nil {
			e.RetryAfter = time.Duration(seconds) * time.Second
		} else if at, err := http.ParseTime(after); err == nil {
			e.RetryAfter = time.Until(at)
		}
	}
	if _, rest, ok := strings.Cut(res.Header.Get("WWW-Authenticate"), `client_id="`); ok {
		e.Resource, _, _ = strings.Cut(rest, `"`)
	}
	var envelope struct {
		Error       json.RawMessage `json:"error"`
		Description string          `json:"error_description"` // of a token endpoint
	}
	var graph struct {
		Code, Message, Target string
		Details               []backup.Detail
	}
	if json.Unmarshal(data, &envelope) != nil {
		return e
	}
	if json.Unmarshal(envelope.Error, &graph) == nil {
		e.Code, e.Message, e.Target, e.Details = graph.Code, graph.Message, graph.Target, graph.Details
	} else if json.Unmarshal(envelope.Error, &e.Code) == nil {
		e.Message, _, _ = strings.Cut(envelope.Description, "\r\n")
	}
	return e
}

// A PutOff says that a request was to be sent again later than there was time for. It is
// the end of that time, and no refusal.
type PutOff struct {
	Why  error         // what the request was answered with
	Wait time.Duration // that was to follow
	Err  error         // how the time ended: a context's
}

func (p *PutOff) Error() string {
	return fmt.Sprintf("to be asked again in %v: %v", p.Wait.Round(time.Second), p.Why)
}

func (p *PutOff) Unwrap() error { return p.Err }

// Unreachable says that no server answered.
type Unreachable struct {
	URL string
	Err error
}

func (u *Unreachable) Error() string {
	err := u.Err
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // without the address, which is said already
	}
	return fmt.Sprintf("no answer from %s: %v", u.URL, err)
}

func (u *Unreachable) Unwrap() error { return u.Err }
