package graphapi

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/identity"
	"holdfast/internal/odata"
)

// root is where the API hangs below the version.
const root = "solutions/backupRestore"

const (
	bodyLimit = 4 << 20
	// bulkBodyLimit has room for 50,000 addresses of the longest kind that are
	// met in practice.
	bulkBodyLimit = 16 << 20
)

// A route is one method at one address.
type route struct {
	method  string
	path    string    // below root or, with a slash in front, whole; keys in braces
	beta    bool      // it is of the beta version, if its path is not whole
	of      *workload // whose words it speaks; nil where it is of all workloads, or of none
	op      identity.Operation
	access  access
	handle  func(*Server, *exchange) (reply, error)
	entity  *entityType // what it shows; its properties may be selected
	options []odata.Option
	keys    []key
	body    bodyRule
	limit   int64
	badBody backup.Code // of a body that is not well formed; "" is invalidRequest
	fault   backup.Code // of a failure of ours; "" is generalException
	plain   bool        // it answers in text/plain
	action  bool        // its last segment is the name of a bound operation
	params  []string    // parameters of an action whose body is optional
	browses bool        // users need a directory role for it
	raw     bool        // it answers with bytes, of whatever media type
	audited bool        // the audit log has it although it changes nothing
	creates bool        // a repetition of the same request must not create again
}

// A key is a part of the address that must be a GUID, and the code of one that
// is not.
type key struct {
	name string
	code backup.Code
}

// An access says who may use a route.
type access int

const (
	byPermission access = iota // who has what the permission table asks
	anyToken                   // whoever is known
	anybody
)

type bodyRule int

const (
	noBody       bodyRule = iota // whatever is sent is not read
	optionalBody                 // absent, empty or an object
	requiredBody
)

// A resource is all routes of one address.
type resource struct {
	server *Server
	routes map[string]*route
	allow  string
}

// route builds the router from the table.
func (s *Server) route() error {
	var patterns, actions []string
	resources := map[string]*resource{}
	table := routes(s.workloads)
	inBeta := slices.Concat(inBeta(table), beta(s.workloads))
	s.operations = map[identity.Operation][]*route{}
	s.metadata = map[string][]byte{"/v1.0": metadata(table, theSchema()), "/beta": metadata(inBeta, betaSchema())}
	for _, r := range slices.Concat(table, inBeta, outside()) {
		if _, ok := identity.Table[r.op]; r.access == byPermission && !ok {
			return fmt.Errorf("route %s %s: the permission table has no operation %q", r.method, r.path, r.op)
		}
		if r.access == byPermission && identity.Reaches[r.op] == 0 {
			return fmt.Errorf("route %s %s: nobody said how far %q goes for whoever is limited to a scope", r.method, r.path, r.op)
		}
		if r.writes() && identity.Approvals[r.op] == "" {
			return fmt.Errorf("route %s %s: nobody said whether another person may have to approve %q", r.method, r.path, r.op)
		}
		pattern := r.pattern()
		res := resources[pattern]
		if res == nil {
			res = &resource{server: s, routes: map[string]*route{}}
			resources[pattern] = res
			patterns = append(patterns, pattern)
		}
		if res.routes[r.method] != nil {
			return fmt.Errorf("route %s %s occurs twice", r.method, r.path)
		}
		res.routes[r.method] = &r
		if r.access == byPermission {
			s.operations[r.op] = append(s.operations[r.op], &r)
		}
		if r.method == http.MethodGet {
			res.routes[http.MethodHead] = &r
		}
		if r.action {
			actions = append(actions, pattern)
		}
	}
	s.vocabulary = odata.NewVocabulary(patterns, actions)
	s.mux = http.NewServeMux()
	for pattern, res := range resources {
		methods := []string{http.MethodOptions}
		for m := range res.routes {
			methods = append(methods, m)
		}
		slices.Sort(methods)
		res.allow = strings.Join(methods, ", ")
		s.mux.Handle(pattern, res)
	}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(r.Context().Value(exchangeKey{}).(*exchange), s.unknownRoute(r.URL.Path))
	})
	return nil
}

// versions are what addresses begin with. All of the first is in the second.
var versions = []string{"/v1.0", "/beta"}

// version is the first part of the address of r.
func (r *route) version() string {
	if r.beta || r.path == "/beta" || strings.HasPrefix(r.path, "/beta/") {
		return "/beta"
	}
	return "/v1.0"
}

// inBeta is a table of routes of v1.0 as the beta version has them.
func inBeta(table []route) []route {
	all := slices.Clone(table)
	for i := range all {
		all[i].beta, all[i].entity = true, all[i].entity.inBeta()
	}
	return all
}

// inBeta reports whether the request is one of the beta version.
func (x *exchange) inBeta() bool { return x.route.version() == "/beta" }

// pattern is the address of r.
func (r *route) pattern() string {
	if strings.HasPrefix(r.path, "/") {
		return r.path
	}
	return strings.TrimSuffix(r.version()+"/"+root+"/"+r.path, "/")
}

// ServeHTTP takes a request that found its address through the rest of the
// checks to its handler.
func (res *resource) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s, x := res.server, r.Context().Value(exchangeKey{}).(*exchange)
	x.r = r
	x.route = res.routes[r.Method]
	switch {
	case r.Method == http.MethodOptions:
		w.Header().Set("Allow", res.allow)
		s.send(x, reply{status: http.StatusNoContent})
		return
	case x.route == nil:
		w.Header().Set("Allow", res.allow)
		s.fail(x, backup.Fail(backup.NotAllowed, "This resource does not allow "+printable(r.Method, 16)+". It allows "+res.allow+"."))
		return
	}
	x.base = strings.TrimSuffix(x.base, "/v1.0") + x.route.version()
	answer, err := s.serve(x)
	if err != nil {
		s.fail(x, err)
		return
	}
	s.send(x, answer)
}

// serve checks a request, in the order that every route shares, and handles it.
func (s *Server) serve(x *exchange) (reply, error) {
	err := s.admit(x)
	switch {
	case x.route.writes() || x.route.audited:
		return s.audited(x, err)
	case err != nil:
		return reply{}, err
	}
	return s.admitted(x)
}

// admitted checks and handles a request whose caller may make it.
func (s *Server) admitted(x *exchange) (reply, error) {
	if err := x.negotiate(); err != nil {
		return reply{}, err
	}
	if err := x.query(); err != nil {
		return reply{}, err
	}
	for _, k := range x.route.keys {
		id, ok := backup.ParseGUID(x.r.PathValue(k.name))
		if !ok {
			return reply{}, backup.Fail(k.code, "The id in the address is not a GUID.").On(k.name)
		}
		x.r.SetPathValue(k.name, id)
	}
	if err := x.readBody(); err != nil {
		return reply{}, err
	}
	if err := s.ofItsWorkload(x); err != nil {
		return reply{}, err
	}
	if err := s.serviceAllows(x); err != nil {
		return reply{}, err
	}
	if !x.route.creates || x.asked == "" {
		return x.route.handle(s, x)
	}
	return s.replays.once(x, func() (reply, error) { return x.route.handle(s, x) })
}

// admit lets in who may use the route, as often as it may.
func (s *Server) admit(x *exchange) error {
	if x.route.access == anybody {
		return nil
	}
	if err := s.authenticate(x); err != nil {
		return err
	}
	// A personal account is of no tenant that could be served; May refuses it.
	if x.caller.Tenant != identity.PersonalTenant && s.cfg.Tenants != nil && !s.cfg.Tenants(x.tenant()) {
		return s.refuseToken(x, identity.ErrToken)
	}
	if x.route.access == anyToken { // each of its requests is asked and counted by itself
		return nil
	}
	if err := s.permit(x.caller, x.route); err != nil {
		return err
	}
	s.limit(x)
	return s.throttle.take(x.w, x.tenant(), x.caller.AppID)
}

// permit says why a caller may not use a route; nil if they may, within their scopes if
// their role for it is limited.
func (s *Server) permit(c identity.Caller, r *route) error {
	if !c.May(r.op) {
		return backup.Fail(backup.AuthorizationDenied, "The token does not carry a permission that this operation needs, or is of the wrong kind. Ask an administrator to grant it, and get a new token.")
	}
	if err := c.CheckRole(r.op); err != nil {
		return err
	}
	if c.Shell() && identity.Table[r.op].NoShell {
		return backup.Fail(backup.Forbidden, "PowerShell clients may not do this. Use an application of your own.")
	}
	if r.browses {
		return s.mayBrowse(c)
	}
	return nil
}

// limit has the request see nothing but what the caller's scopes have, if their role for
// it is limited.
func (s *Server) limit(x *exchange) {
	names, limited := x.caller.Scopes(x.route.op)
	if !limited || identity.Reaches[x.route.op] == identity.OfTheTenant {
		return
	}
	x.r = x.r.WithContext(catalog.WithScope(x.ctx(), s.scope(x, names)))
}

// scope is all that scopes of the caller's tenant have, by their names.
func (s *Server) scope(x *exchange, names []string) *catalog.Scope {
	all := catalog.Scope{Caller: x.caller.Identities().Actor()}
	if s.cfg.Scope != nil {
		for _, name := range names {
			one := s.cfg.Scope(x.tenant(), name)
			all.Policies = append(all.Policies, one.Policies...)
			all.Groups = append(all.Groups, one.Groups...)
			all.Owners = append(all.Owners, one.Owners...)
		}
	}
	return &all
}

// authenticate finds out who is asking.
func (s *Server) authenticate(x *exchange) error {
	scheme, token, _ := strings.Cut(strings.TrimSpace(x.r.Header.Get("Authorization")), " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return s.refuseToken(x, nil)
	}
	caller, err := s.cfg.Verifier.Verify(x.ctx(), token)
	if err != nil {
		s.log.DebugContext(x.ctx(), "token refused", "err", err)
		return s.refuseToken(x, err)
	}
	x.caller = caller
	return nil
}

// refuseToken refuses a request for what is wrong with its token; nil is that it has
// none.
func (s *Server) refuseToken(x *exchange, wrong error) error {
	challenge := `Bearer realm="", authorization_uri="` + s.cfg.AuthorizationURI + `", client_id="` + s.cfg.Resource + `"`
	message := "The request has no access token. Send the header Authorization: Bearer with one."
	switch {
	case errors.Is(wrong, identity.ErrGraphToken):
		challenge += `, error="invalid_token"`
		message = "The access token is one for Microsoft Graph, which nobody but Microsoft Graph can verify. Get one for this server instead: ask for the scope " + s.cfg.Resource + "/.default."
	case wrong != nil:
		challenge += `, error="invalid_token"`
		message = "The access token is not valid here: it is malformed, expired, or of another issuer, audience or tenant. Get a new one."
	}
	x.w.Header().Set("WWW-Authenticate", challenge)
	return backup.Fail(backup.InvalidAuthenticationToken, message)
}

// negotiate agrees on the form of body and answer.
func (x *exchange) negotiate() (err error) {
	if x.route.body != noBody && x.r.ContentLength != 0 {
		if err := odata.CheckContentType(x.r.Header); err != nil {
			return err
		}
	}
	if x.route.raw {
		return nil
	}
	x.prefer = odata.ParsePreferences(x.r.Header)
	x.level, err = odata.ParseAccept(x.r.Header, x.route.plain)
	return err
}

// query reads the options of the URL, and the version of OData that is asked
// for.
func (x *exchange) query() (err error) {
	for _, h := range []string{"OData-Version", "OData-MaxVersion"} {
		if v := x.r.Header.Get(h); v != "" && v != "4.0" && v != "4.01" {
			return backup.Fail(backup.InvalidRequest, "The server speaks OData 4.0 and 4.01 only.").On(h)
		}
	}
	if x.options, err = odata.ParseOptions(x.r.URL.RawQuery, x.route.options...); err != nil {
		return err
	}
	entity := x.route.entity
	if entity == nil {
		return nil
	}
	if err := x.options.Selecting(entity.properties); err != nil {
		return err
	}
	if x.options.Has(odata.Expand) && entity.expands != nil {
		if x.expand, err = odata.ParseExpands(x.options.Expand, entity.expands); err != nil {
			return err
		}
	}
	if entity.listed == nil {
		return nil
	}
	if x.options.Has(odata.Filter) {
		if x.filter, err = odata.ParseFilter(x.options.Filter, entity.listed); err != nil {
			return err
		}
	}
	if x.options.Has(odata.OrderBy) {
		x.order, err = odata.ParseOrder(x.options.OrderBy, entity.listed)
	}
	return err
}

func (x *exchange) readBody() (err error) {
	if x.route.body == noBody {
		return nil
	}
	limit := x.route.limit
	if limit == 0 {
		limit = bodyLimit
	}
	if x.raw, err = odata.ReadBody(x.w, x.r, limit); err != nil {
		return err
	}
	if x.route.body == optionalBody && len(x.raw) == 0 {
		return nil
	}
	code := x.route.badBody
	if code == "" {
		code = backup.InvalidRequest
	}
	x.body, err = odata.ParseObject(x.raw, code)
	if err == nil && x.route.action && x.route.body == optionalBody {
		err = x.body.Only("", x.route.params...)
	}
	return err
}

// area is what requests of r change, which the service's status may forbid. It
// follows from the permission that they need.
func (r *route) area() backup.Area {
	if !r.writes() {
		return backup.AreaNone
	}
	switch identity.Table[r.op].Least() {
	case identity.ConfigurationWrite:
		return backup.AreaProtection
	case identity.RestoreWrite:
		return backup.AreaRestore
	}
	return backup.AreaNone
}

// writes reports whether requests of r are to change something.
func (r *route) writes() bool {
	if r.method == http.MethodGet || r.access != byPermission {
		return false
	}
	need := identity.Table[r.op]
	switch need.Least() {
	case identity.ConfigurationWrite, identity.RestoreWrite, identity.ControlWrite:
		return !need.Reads
	}
	return false
}

// guid is a part of the address that route.keys has checked.
func guid[T ~string](x *exchange, name string) T { return T(x.r.PathValue(name)) }
