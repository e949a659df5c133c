// Package graphapi serves Microsoft Graph's Backup Storage API: one route
// table, one file for each resource, the views that show them, and one
// description of each workload, whose words all of these take from there.
//
// It decides nothing about backup: a handler reads the request, makes one call
// of the catalog, and shows the result. It sees neither drives nor the vault;
// what restore points hold a backup.Browser tells it.
//
// It promises that each request is checked in one order (route, method, token,
// permission, throttle, media types, query options, ids, body, existence,
// state, meaning), that every answer carries its request's id, and that no
// input is answered by a 500 or ends the process.
package graphapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/identity"
	"holdfast/internal/odata"
)

// A Verifier tells who a token speaks for. Every error of it is identity.ErrToken.
type Verifier interface {
	Verify(ctx context.Context, token string) (identity.Caller, error)
}

// A Config is what a Server is made of.
type Config struct {
	Catalog  *catalog.Catalog // required
	Verifier Verifier         // required
	Browser  backup.Browser   // shows what restore points hold; required
	PageKey  []byte           // seals page tokens; at least 16 bytes, secret, and the same in all processes; required
	Log      *slog.Logger     // nil: slog.Default
	Clock    backup.Clock     // nil: time.Now

	// Workloads are those that are served: what the engine can back up. nil: OneDrive
	// alone.
	Workloads []backup.Workload

	// Tenants tells which tenants are served. A token of another is refused.
	// nil: every tenant that a trusted issuer speaks for.
	Tenants func(backup.TenantID) bool

	// Scope returns the part of a tenant to which a scope of that name limits roles. nil:
	// there are none.
	Scope func(tenant backup.TenantID, name string) catalog.Scope

	// TenantName returns what a tenant is called, for people. nil: nothing is said of that.
	TenantName func(backup.TenantID) string

	// Vault tells why a tenant's vault cannot be used now, in words, or "". nil:
	// nothing is said of that.
	Vault func(context.Context, backup.TenantID) string

	// Source tells in words what is wrong with a tenant's source, and whether it was looked
	// at. nil: nothing is said of that.
	Source func(context.Context, backup.TenantID) (wrong []string, known bool)

	// Configuration tells in words why what this process was configured with last is
	// not what it works by, or "". nil: nothing is said of that.
	Configuration func() string
	// Versions are those of the processes that work on the database; nil where nobody
	// counts them.
	Versions func(context.Context) ([]Version, error)

	// BaseURL is the origin of the links in answers, such as
	// "https://backup.example.com". Empty: that of the request.
	BaseURL string

	// TrustedProxies may say by X-Forwarded-Host and X-Forwarded-Proto what the
	// client asked for. Others are not believed.
	TrustedProxies []netip.Prefix

	// AuthorizationURI is where a client that was refused is told to get a token.
	// Empty: Entra's common endpoint.
	AuthorizationURI string
	// Resource is the id of the application that this API is, for which tokens are
	// asked with the scope "{id}/.default". Default: Microsoft Graph's.
	Resource string

	// RestoreSearchLimit is how many points one search returns. 0: 5, as
	// Microsoft's.
	RestoreSearchLimit int

	// RequestsPer10s is how many requests each application may make in a tenant
	// within ten seconds. 0: as many as it likes.
	RequestsPer10s int

	// BrowseRole is the directory role, by its template id, that a user needs to
	// browse restore points and to restore parts of them. Empty: none. It is
	// not asked of applications.
	BrowseRole string

	// RealEnums sends the members of enumerations that old clients do not know
	// without being asked for by Prefer: include-unknown-enum-members.
	RealEnums bool
}

// A Server is the API as an http.Handler. It is safe for concurrent use.
type Server struct {
	cfg        Config
	catalog    *catalog.Catalog
	log        *slog.Logger
	clock      backup.Clock
	tokens     *odata.Tokens
	vocabulary *odata.Vocabulary
	mux        *http.ServeMux
	workloads  []*workload       // that are served
	metadata   map[string][]byte // by the version
	operations map[identity.Operation][]*route
	replays    *replays
	throttle   *throttle
}

// New returns a server. It fails when the configuration lacks something, or a
// route names an operation that the permission table does not know.
func New(cfg Config) (*Server, error) {
	if cfg.Catalog == nil || cfg.Verifier == nil || cfg.Browser == nil {
		return nil, errors.New("the API needs a catalog, a browser of restore points and a verifier of tokens")
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.RestoreSearchLimit == 0 {
		cfg.RestoreSearchLimit = 5
	}
	if cfg.Resource == "" {
		cfg.Resource = identity.GraphAppID
	}
	if cfg.AuthorizationURI == "" {
		cfg.AuthorizationURI = "https://login.microsoftonline.com/common/oauth2/v2.0/authorize"
	}
	if cfg.Workloads == nil {
		cfg.Workloads = []backup.Workload{backup.OneDrive}
	}
	workloads, err := served(cfg.Workloads)
	if err != nil {
		return nil, err
	}
	tokens, err := odata.NewTokens(cfg.PageKey, cfg.Clock)
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, catalog: cfg.Catalog, log: cfg.Log, clock: cfg.Clock, tokens: tokens, workloads: workloads,
		replays: newReplays(cfg.Clock), throttle: newThrottle(cfg.RequestsPer10s, cfg.Clock),
	}
	return s, s.route()
}

// An exchange is one request on its way to an answer.
type exchange struct {
	r        *http.Request // its URL in the one form, its path values set
	w        http.ResponseWriter
	route    *route
	id       string // request-id
	clientID string // client-request-id, as we echo it
	asked    string // client-request-id, as it was sent; "" if it was not
	named    string // what the address means in words, for the audit log
	note     string // what a person should know of the collection that is shown
	base     string // https://host/v1.0

	caller  identity.Caller
	options odata.Options
	filter  odata.Expr    // $filter, nil for none
	order   []odata.Order // $orderby
	expand  []string      // $expand
	prefer  odata.Preferences
	level   odata.Metadata
	raw     []byte        // the body as sent, inflated
	body    *odata.Object // nil for a request without one
}

func (x *exchange) ctx() context.Context    { return x.r.Context() }
func (x *exchange) tenant() backup.TenantID { return x.caller.Tenant }
func (x *exchange) form() odata.Form {
	return odata.Form{Base: x.base, Level: x.level, Select: x.options.Select, Expand: x.expand, Note: x.note}
}

// stamp says that the caller does something now.
func (s *Server) stamp(x *exchange) backup.Stamp {
	return backup.Stamp{By: x.caller.Identities(), At: s.clock()}
}

// ServeHTTP answers one request. It answers every path: one that is not the
// API's with 404.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	x := &exchange{r: r, w: w, id: backup.NewID[string](), asked: r.Header.Get("client-request-id"), level: odata.MetadataMinimal}
	if x.clientID = printable(x.asked, 128); x.clientID == "" {
		x.clientID = backup.NewID[string]()
	}
	ctx, span := backup.BeginStep(backup.WithCause(r.Context(), x.id), "request "+method(r.Method))
	r = r.WithContext(ctx)
	x.r = r
	x.base = s.origin(r) + "/v1.0"
	rec := &recorder{ResponseWriter: w}
	x.w = rec
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			s.log.ErrorContext(r.Context(), "request panicked", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
			if rec.status == 0 {
				s.fail(x, backup.Fail(backup.GeneralException, generalMessage))
			}
		}
		if x.route != nil {
			span.Note("holdfast.operation", string(x.route.op))
		}
		span.Note("holdfast.tenant", string(x.caller.Tenant))
		span.Note("http.response.status_code", rec.status)
		span.End(rec.status >= http.StatusInternalServerError)
		s.log.DebugContext(r.Context(), "request", "method", r.Method, "path", r.URL.Path,
			"status", rec.status, "tenant", x.caller.Tenant, "app", x.caller.AppID, "took", time.Since(began))
	}()

	path, raw, ok := s.vocabulary.Canonical(r.URL.EscapedPath())
	if !ok {
		s.fail(x, s.unknownRoute(r.URL.Path))
		return
	}
	u := *r.URL
	u.Path, u.RawPath = path, raw
	r2 := *r
	r2.URL = &u
	x.r = r2.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
	s.mux.ServeHTTP(rec, x.r)
}

// method is a method as traces name it: not what a client has made up.
func method(of string) string {
	switch of {
	case http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodDelete, http.MethodPut, http.MethodHead:
		return of
	}
	return "other"
}

type exchangeKey struct{}

// A recorder remembers the status that was sent.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.MaxBytesReader reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// origin is scheme and host of the links in the answer.
func (s *Server) origin(r *http.Request) string {
	if s.cfg.BaseURL != "" {
		return strings.TrimSuffix(s.cfg.BaseURL, "/")
	}
	scheme, host := "http", r.Host
	if r.TLS != nil {
		scheme = "https"
	}
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil && slices.ContainsFunc(s.cfg.TrustedProxies, func(p netip.Prefix) bool {
		return p.Contains(peer.Addr().Unmap())
	}) {
		if v := strings.ToLower(firstOf(r.Header.Get("X-Forwarded-Proto"))); v == "http" || v == "https" {
			scheme = v
		}
		if v := firstOf(r.Header.Get("X-Forwarded-Host")); v != "" {
			if u, err := url.Parse("//" + v); err == nil && u.Host == v {
				host = v
			}
		}
	}
	return scheme + "://" + host
}

// firstOf is the first of a header's list: what the client itself asked for.
func firstOf(list string) string {
	first, _, _ := strings.Cut(list, ",")
	return strings.TrimSpace(first)
}

// printable is s without what does not belong in a header or a log, cut to n
// characters.
func printable(s string, n int) string {
	out := make([]rune, 0, min(len(s), n))
	for _, r := range s {
		if len(out) == n {
			break
		}
		if r >= ' ' && r < 0x7f {
			out = append(out, r)
		}
	}
	return strings.TrimSpace(string(out))
}

func (s *Server) unknownRoute(path string) error {
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	first := segments[0]
	if len(first) > 1 && (first[0] == 'v' || first[0] == 'V') && '0' <= first[1] && first[1] <= '9' && !strings.EqualFold(first, "v1.0") {
		return backup.Fail(backup.BadRequest, "There is no such version of the API. This server has v1.0.")
	}
	for _, w := range described {
		if !slices.Contains(s.workloads, w) && slices.ContainsFunc(segments, w.names) {
			return backup.Fail(backup.ItemNotFound, "There is no resource at this address: this server protects no "+w.things+", as its configuration does not name the workload "+string(w.kind)+".")
		}
	}
	return backup.Fail(backup.ItemNotFound, "There is no resource at this address.")
}
