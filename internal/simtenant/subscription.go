package simtenant

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"holdfast/internal/backup"
)

// A subscription has the tenant tell an application, at an address on this
// machine, that something changed in a drive. It does not say what: the
// application asks for the delta. Subscriptions end with the process.
type subscription struct {
	id        string
	owner     caller
	place     place
	resource  string // as it was asked for
	to        string // where changes are told
	lifecycle string // where the subscription's own fate is told; empty: nowhere
	state     string // what the application wants to hear with each
	expires   time.Time

	pending bool // there is something to tell
	sending bool // somebody tells it
	warned  bool // that it expires soon
}

// subscriptions are those that there are.
type subscriptions struct {
	mu      sync.Mutex
	byID    map[string]*subscription
	looking bool // somebody looks whether drives changed
	retries []time.Duration

	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup
}

const (
	maxSubscription  = 42_300 * time.Minute // how long one may live
	maxSubscriptions = 1000
	lookEvery        = time.Second
	expiresSoon      = 15 * time.Minute
	notifyLimit      = 10 * time.Second
)

func (x *subscriptions) begin() {
	x.byID = map[string]*subscription{}
	x.retries = []time.Duration{time.Second, 5 * time.Second, 30 * time.Second}
	x.ctx, x.stop = context.WithCancel(context.Background())
}

// end has nothing more be told, and waits until nothing is.
func (x *subscriptions) end() {
	x.stop()
	x.running.Wait()
}

func (x *subscriptions) clear() {
	x.mu.Lock()
	defer x.mu.Unlock()
	clear(x.byID)
}

// toHere is the client that tells. It follows nothing, and takes any certificate,
// since it speaks to this machine only.
var toHere = &http.Client{
	Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// here checks an address that is to be told something: a simulated tenant calls
// this machine only, and nobody's control.
func here(member, text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Fragment != "" {
		return badRequest(member + " is no URL that can be called.").because("invalidRequest")
	}
	ip := net.ParseIP(u.Hostname())
	if !strings.EqualFold(u.Hostname(), "localhost") && (ip == nil || !ip.IsLoopback()) {
		return badRequest(member + " must be on this machine, such as http://127.0.0.1:8080/: a simulated tenant calls no other.").because("invalidRequest")
	}
	if strings.HasPrefix(u.Path, strings.TrimSuffix(controlPrefix, "/")) {
		return badRequest(member + " is where a tenant is controlled.").because("invalidRequest")
	}
	return nil
}

// validate asks an address whether it wants to be told.
func (x *subscriptions) validate(ctx context.Context, member, text string) error {
	if err := here(member, text); err != nil {
		return err
	}
	u, err := url.Parse(text)
	if err != nil {
		return err
	}
	q, token := u.Query(), "Validation: Testing client application reachability for subscription Request-Id: "+rand.Text()
	q.Set("validationToken", token)
	u.RawQuery = q.Encode()
	ctx, cancel := context.WithTimeout(ctx, notifyLimit)
	defer cancel()
	invalid := func(why string) error {
		return fail(http.StatusBadRequest, "ValidationError", "Subscription validation request failed. "+member+" "+why+".")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), nil)
	if err != nil {
		return invalid("cannot be called")
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	resp, err := toHere.Do(req)
	if err != nil {
		return invalid("did not answer in time")
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	switch {
	case resp.StatusCode != http.StatusOK:
		return invalid(fmt.Sprintf("must respond with 200 OK to this request, and answered %d", resp.StatusCode))
	case strings.TrimSpace(kind) != "text/plain":
		return invalid("must respond with the Content-Type text/plain")
	case strings.TrimSpace(string(body)) != token:
		return invalid("must respond with the validationToken that it was sent, decoded")
	}
	return nil
}

// subscribable finds the drive that a subscription's resource names.
func (s *Service) subscribable(who caller, resource string) (p place, err error) {
	parts := strings.Split(strings.Trim(resource, "/"), "/")
	if len(parts) > 0 && strings.EqualFold(parts[len(parts)-1], "root") {
		parts = parts[:len(parts)-1]
	}
	drive := len(parts) > 1 && strings.EqualFold(parts[len(parts)-1], "drive")
	switch first := strings.ToLower(parts[0]); {
	case first == "drives" && len(parts) == 2:
		return s.placeByID(who, parts[1])
	case first == "me" && len(parts) == 2 && drive && who.user != nil:
		return place{site: site{tenant: who.tenant, user: who.user}, library: documents}, nil
	case first == "users" && len(parts) == 3 && drive:
		if u := who.tenant.users[strings.ToLower(parts[1])]; u != nil {
			return place{site: site{tenant: who.tenant, user: u}, library: documents}, nil
		}
		return p, noItem()
	}
	return p, badRequest("The resource " + quoted(resource) + " cannot be subscribed to here: name a drive's root, such as /drives/{id}/root.").because("notSupported")
}

func (x *subscription) view() object {
	v := object{
		"id": x.id, "resource": x.resource, "applicationId": x.owner.app.AppID, "changeType": "updated", "clientState": nil,
		"notificationUrl": x.to, "lifecycleNotificationUrl": orNull(x.lifecycle), "expirationDateTime": x.expires.UTC().Format(time.RFC3339),
		"creatorId": x.owner.key(), "latestSupportedTlsVersion": "v1_2",
	}
	return v
}

// until reads when a subscription is to end.
func (s *Service) until(text string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339Nano, text)
	now := s.clock()
	switch {
	case err != nil:
		return at, badRequest("expirationDateTime is no time in the form 2027-04-01T00:00:00Z.")
	case !at.After(now):
		return at, badRequest("Subscription expiration must be in the future.").because("invalidRequest")
	case at.After(now.Add(maxSubscription)):
		return at, badRequest("Subscription expiration can only be 42300 minutes in the future.").because("invalidRequest")
	}
	return at, nil
}

// subscriptionBody reads a body into v. What it says of a subscription beyond names
// is refused, since it would have no effect.
func subscriptionBody(r *request, v any, names ...string) error {
	var all map[string]json.RawMessage
	if err := body(r.w, r.Request, &all); err != nil {
		return err
	}
	for name, value := range all {
		if empty := string(value) == "null" || string(value) == "false"; !empty && !strings.Contains(name, "@") && !slices.Contains(names, name) {
			return badRequest("The property '" + name + "' does not exist on type 'microsoft.graph.subscription', or has no effect here.").because("notSupported")
		}
	}
	data, err := json.Marshal(all)
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		return badRequest("The body is not the JSON object that this call takes.")
	}
	return nil
}

func (s *Service) subscribe(r *request) error {
	var in struct {
		ChangeType string `json:"changeType"`
		To         string `json:"notificationUrl"`
		Lifecycle  string `json:"lifecycleNotificationUrl"`
		Resource   string `json:"resource"`
		Expires    string `json:"expirationDateTime"`
		State      string `json:"clientState"`
	}
	// HTTPS is spoken in the newest way there is.
	if err := subscriptionBody(r, &in, "changeType", "notificationUrl", "lifecycleNotificationUrl", "resource", "expirationDateTime", "clientState", "latestSupportedTlsVersion"); err != nil {
		return err
	}
	if !strings.EqualFold(in.ChangeType, "updated") {
		return badRequest("A drive can be subscribed to for the changeType updated only.").because("invalidRequest")
	}
	if len(in.State) > 128 {
		return badRequest("clientState is longer than 128 characters.").because("invalidRequest")
	}
	p, err := s.subscribable(r.who, in.Resource)
	if err != nil {
		return err
	}
	expires, err := s.until(in.Expires)
	if err != nil {
		return err
	}
	if err := s.subs.validate(r.Context(), "notificationUrl", in.To); err != nil {
		return err
	}
	if in.Lifecycle != "" {
		if err := s.subs.validate(r.Context(), "lifecycleNotificationUrl", in.Lifecycle); err != nil {
			return err
		}
	}
	// What there is already is not told.
	if err := s.with(p, func(d *drive) error { return d.fresh(r.Context(), r.arrived) }); err != nil {
		return err
	}
	x := &subscription{
		id: backup.NewID[string](), owner: r.who, place: p, resource: in.Resource, to: in.To, lifecycle: in.Lifecycle, state: in.State, expires: expires,
	}
	s.subs.mu.Lock()
	defer s.subs.mu.Unlock()
	s.expire()
	if len(s.subs.byID) >= maxSubscriptions {
		return fail(http.StatusForbidden, "ExtensionError", "There are too many subscriptions.")
	}
	s.subs.byID[x.id] = x
	if !s.subs.looking {
		s.subs.looking = true
		s.subs.running.Go(s.lookOut)
	}
	v := x.view()
	v["clientState"] = orNull(x.state)
	v["@odata.context"] = r.base + "/$metadata#subscriptions/$entity"
	return replyGraph(r.w, http.StatusCreated, v)
}

// expire forgets the subscriptions that are over, and says of those that soon will
// be that they want renewing. Callers hold s.subs.mu.
func (s *Service) expire() {
	now := s.clock()
	for id, x := range s.subs.byID {
		switch left := x.expires.Sub(now); {
		case left <= 0:
			delete(s.subs.byID, id)
		case left < expiresSoon && !x.warned:
			x.warned = true
			s.tellFate(x, "reauthorizationRequired")
		}
	}
}

// subscribed finds a subscription of the caller's. Callers hold s.subs.mu.
func (s *Service) subscribed(r *request) (*subscription, error) {
	s.expire()
	x := s.subs.byID[strings.ToLower(r.vars["subscription"])]
	if x == nil || x.owner.tenant != r.who.tenant || x.owner.app.AppID != r.who.app.AppID {
		return nil, fail(http.StatusNotFound, "ResourceNotFound", "The application has no such subscription.")
	}
	return x, nil
}

func (s *Service) listSubscriptions(r *request) error {
	s.subs.mu.Lock()
	s.expire()
	list := []any{}
	for _, x := range s.subs.byID {
		if x.owner.tenant == r.who.tenant && x.owner.app.AppID == r.who.app.AppID {
			list = append(list, x.view())
		}
	}
	s.subs.mu.Unlock()
	slices.SortFunc(list, func(a, b any) int { return cmp.Compare(a.(object)["id"].(string), b.(object)["id"].(string)) })
	return replyGraph(r.w, http.StatusOK, object{"@odata.context": r.base + "/$metadata#subscriptions", "value": list})
}

func (s *Service) getSubscription(r *request) error {
	s.subs.mu.Lock()
	x, err := s.subscribed(r)
	var v object
	if err == nil {
		v = x.view()
	}
	s.subs.mu.Unlock()
	if err != nil {
		return err
	}
	return replyGraph(r.w, http.StatusOK, project(v, selected(r.query)))
}

func (s *Service) renewSubscription(r *request) error {
	var in struct {
		Expires string `json:"expirationDateTime"`
		To      string `json:"notificationUrl"`
	}
	if err := subscriptionBody(r, &in, "expirationDateTime", "notificationUrl"); err != nil {
		return err
	}
	var expires time.Time
	var err error
	if in.Expires != "" || in.To == "" {
		if expires, err = s.until(in.Expires); err != nil {
			return err
		}
	}
	if in.To != "" {
		if err := s.subs.validate(r.Context(), "notificationUrl", in.To); err != nil {
			return err
		}
	}
	s.subs.mu.Lock()
	x, err := s.subscribed(r)
	var v object
	if err == nil {
		if in.To != "" {
			x.to = in.To
		}
		if !expires.IsZero() {
			x.expires, x.warned = expires, false
		}
		v = x.view()
	}
	s.subs.mu.Unlock()
	if err != nil {
		return err
	}
	return replyGraph(r.w, http.StatusOK, v)
}

func (s *Service) reauthorize(r *request) error {
	s.subs.mu.Lock()
	_, err := s.subscribed(r)
	s.subs.mu.Unlock()
	if err == nil {
		r.w.WriteHeader(http.StatusNoContent)
	}
	return err
}

func (s *Service) unsubscribe(r *request) error {
	s.subs.mu.Lock()
	x, err := s.subscribed(r)
	if err == nil {
		delete(s.subs.byID, x.id)
	}
	s.subs.mu.Unlock()
	if err == nil {
		r.w.WriteHeader(http.StatusNoContent)
	}
	return err
}

// changed tells those who subscribed to a drive that something changed in it.
func (s *Service) changed(p place) {
	s.subs.mu.Lock()
	defer s.subs.mu.Unlock()
	if len(s.subs.byID) == 0 || s.subs.ctx.Err() != nil {
		return
	}
	s.expire()
	for _, x := range s.subs.byID {
		if x.place != p {
			continue
		}
		x.pending = true
		if !x.sending {
			x.sending = true
			s.subs.running.Go(func() { s.tell(x) })
		}
	}
}

// tell tells of changes until there are no more to tell of. What comes while one
// is told is told together.
func (s *Service) tell(x *subscription) {
	for {
		s.subs.mu.Lock()
		if !x.pending || s.subs.byID[x.id] != x || s.subs.ctx.Err() != nil {
			x.sending = false
			s.subs.mu.Unlock()
			return
		}
		x.pending = false
		to, what := x.to, object{
			"subscriptionId": x.id, "subscriptionExpirationDateTime": x.expires.UTC().Format(time.RFC3339), "clientState": orNull(x.state),
			"changeType": "updated", "resource": strings.Trim(x.resource, "/"), "tenantId": string(x.owner.tenant.ID),
			"resourceData": object{"@odata.type": "#Microsoft.Graph.driveItem"},
		}
		s.subs.mu.Unlock()
		if err := s.subs.post(to, what); err != nil && s.subs.ctx.Err() == nil {
			s.log.Warn("a change could not be told", "subscription", x.id, "to", to, "err", err)
			s.subs.mu.Lock()
			s.tellFate(x, "missed")
			s.subs.mu.Unlock()
		}
	}
}

// tellFate tells an application what becomes of a subscription. Callers hold
// s.subs.mu.
func (s *Service) tellFate(x *subscription, event string) {
	if x.lifecycle == "" || s.subs.ctx.Err() != nil {
		return
	}
	to, what := x.lifecycle, object{
		"subscriptionId": x.id, "subscriptionExpirationDateTime": x.expires.UTC().Format(time.RFC3339), "clientState": orNull(x.state),
		"tenantId": string(x.owner.tenant.ID), "lifecycleEvent": event,
	}
	s.subs.running.Go(func() {
		if err := s.subs.post(to, what); err != nil && s.subs.ctx.Err() == nil {
			s.log.Warn("a subscription's fate could not be told", "subscription", x.id, "event", event, "to", to, "err", err)
		}
	})
}

// post sends a notification, some more times if it is not taken.
func (x *subscriptions) post(to string, what object) error {
	data, err := json.Marshal(object{"value": []object{what}})
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		if err = x.postOnce(to, data); err == nil || n == len(x.retries) {
			return err
		}
		wait := time.NewTimer(x.retries[n])
		select {
		case <-wait.C:
		case <-x.ctx.Done():
			wait.Stop()
			return x.ctx.Err()
		}
	}
}

func (x *subscriptions) postOnce(to string, data []byte) error {
	ctx, cancel := context.WithTimeout(x.ctx, notifyLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	resp, err := toHere.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("it was answered %s", resp.Status)
	}
	return nil
}

// lookOut looks at the drives that somebody subscribed to, for what other programs
// do there, as long as there are such. A drive that takes long to look at is
// looked at seldom.
func (s *Service) lookOut() {
	next := map[place]time.Time{}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.subs.ctx.Done():
			return
		case <-tick.C:
		}
		places := s.lookedFor()
		if places == nil {
			return
		}
		for _, p := range places {
			began := time.Now()
			if began.Before(next[p]) {
				continue
			}
			s.lookAt(p)
			next[p] = time.Now().Add(20 * time.Since(began))
		}
	}
}

// lookedFor returns the drives that somebody subscribed to. If there are none,
// nobody looks any more.
func (s *Service) lookedFor() []place {
	s.subs.mu.Lock()
	defer s.subs.mu.Unlock()
	s.expire()
	places := map[place]bool{}
	for _, x := range s.subs.byID {
		places[x.place] = true
	}
	if len(places) == 0 {
		s.subs.looking = false
		return nil
	}
	out := make([]place, 0, len(places))
	for p := range places {
		out = append(out, p)
	}
	return out
}

// lookAt finds out whether a drive changed; if so, run tells.
func (s *Service) lookAt(p place) {
	s.gate.RLock()
	defer s.gate.RUnlock()
	if err := s.with(p, func(d *drive) error { return d.scan(s.subs.ctx) }); err != nil && s.subs.ctx.Err() == nil && !notFound(err) {
		s.log.Warn("a drive could not be looked at", "drive", p.folder(), "err", err)
	}
}
