package graphapi

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"holdfast/internal/backup"
	"holdfast/internal/odata"
)

const (
	maxBatch = 20
	// maxBatchAnswer is how long the answers of one batch may be together. It
	// has room for twenty full pages of units.
	maxBatchAnswer = 32 << 20
)

// A batched is one request of a batch.
type batched struct {
	id      string
	request *http.Request
	refused error    // why it cannot be made
	after   []string // the ids of those that it depends on
}

// A batchAnswer is one answer of a batch.
type batchAnswer struct {
	ID      string            `json:"id"`
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers,omitempty"`
	Body    any               `json:"body,omitempty"` // json.RawMessage, or text in base64url
}

func wrongBatch(message, target string) error {
	return backup.Fail(backup.InvalidRequest, message+" Nothing of the batch was done.").On(target)
}

// batch serves $batch. Each request of it goes the way of any other: it is
// asked for its permission, throttled and answered by itself, one after
// another. What is wrong with the batch as such is found before any is made.
func (s *Server) batch(x *exchange) (reply, error) {
	all, err := s.readBatch(x)
	if err != nil {
		return reply{}, err
	}
	status := map[string]int{}
	room := maxBatchAnswer
	answers := make([]batchAnswer, len(all))
	for i, b := range all {
		if err := x.ctx().Err(); err != nil {
			return reply{}, err
		}
		switch {
		case slices.ContainsFunc(b.after, func(id string) bool { return status[id] >= 400 }):
			answers[i] = s.batchFailure(x, backup.Fail(backup.FailedDependency, "A request that this one depends on failed, so it was not made."))
		case b.refused != nil:
			answers[i] = s.batchFailure(x, b.refused)
		default:
			answers[i] = s.makeBatched(x, b, &room)
		}
		answers[i].ID, status[b.id] = b.id, answers[i].Status
	}
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	err = enc.Encode(map[string]any{"responses": answers})
	return reply{status: http.StatusOK, body: body.Bytes()}, err
}

// readBatch reads the requests of a batch and finds what is wrong with it as a
// whole. It returns them in an order in which each comes behind those that it
// depends on.
func (s *Server) readBatch(x *exchange) ([]*batched, error) {
	if err := x.body.Only("", "requests"); err != nil {
		return nil, err
	}
	items, given, err := x.body.Objects("requests")
	if err != nil {
		return nil, err
	}
	switch {
	case !given || len(items) == 0:
		return nil, wrongBatch("The batch has no requests.", "requests")
	case len(items) > maxBatch:
		return nil, wrongBatch("A batch may have at most 20 requests.", "requests")
	}
	var bodies struct {
		Requests []struct {
			Body json.RawMessage `json:"body"`
		} `json:"requests"`
	}
	if err := json.Unmarshal(x.raw, &bodies); err != nil || len(bodies.Requests) != len(items) {
		return nil, wrongBatch("The batch is not well formed.", "requests")
	}
	all := make([]*batched, len(items))
	place := map[string]int{}
	for i, item := range items {
		b, err := s.readBatched(x, item, bodies.Requests[i].Body)
		if err != nil {
			return nil, err
		}
		if _, twice := place[b.id]; twice {
			return nil, wrongBatch("Two requests of the batch have the same id.", "id")
		}
		place[b.id], all[i] = i, b
	}
	return ordered(all, place)
}

// ordered puts requests behind those that they depend on. It refuses a
// dependency on what is not in the batch, and circles.
func ordered(all []*batched, place map[string]int) ([]*batched, error) {
	const (
		unseen = iota
		above
		settled
	)
	state := make([]int, len(all))
	order := make([]*batched, 0, len(all))
	var visit func(i int) error
	visit = func(i int) error {
		switch state[i] {
		case above:
			return wrongBatch("Requests of the batch depend on each other in a circle.", "dependsOn")
		case settled:
			return nil
		}
		state[i] = above
		for _, id := range all[i].after {
			n, ok := place[id]
			if !ok {
				return wrongBatch("A request of the batch depends on one that is not in it.", "dependsOn")
			}
			if err := visit(n); err != nil {
				return err
			}
		}
		state[i] = settled
		order = append(order, all[i])
		return nil
	}
	for i := range all {
		if err := visit(i); err != nil {
			return nil, err
		}
	}
	return order, nil
}

func (s *Server) readBatched(x *exchange, item *odata.Object, body json.RawMessage) (*batched, error) {
	if err := item.Only("", "id", "method", "url", "headers", "body", "dependsOn", "depends_on"); err != nil {
		return nil, err
	}
	b := &batched{}
	var method, address string
	for name, to := range map[string]*string{"id": &b.id, "method": &method, "url": &address} {
		var err error
		if *to, _, err = item.String(name); err != nil {
			return nil, err
		}
		if *to == "" {
			return nil, wrongBatch("Each request of a batch has an id, a method and a url.", name)
		}
	}
	for _, name := range []string{"dependsOn", "depends_on"} { // the latter is what Microsoft's client for Python says
		if item.Has(name) {
			after, _, err := item.Strings(name)
			if err != nil {
				return nil, err
			}
			b.after = append(b.after, after...)
		}
	}
	header := http.Header{}
	headers, given, err := item.Object("headers")
	if err != nil {
		return nil, err
	}
	if given {
		for _, name := range headers.Names() {
			v, _, err := headers.String(name)
			if err != nil {
				return nil, err
			}
			header.Set(name, v)
		}
	}
	// Who asks, and from where, is said once for all.
	header.Del("Authorization")
	for _, name := range []string{"Authorization", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if v := x.r.Header.Values(name); len(v) > 0 {
			header[name] = v
		}
	}
	content, err := batchedBody(body, header)
	if err != nil {
		b.refused = err
	}
	// Microsoft's client for Python leaves the origin before it.
	if own, ok := strings.CutPrefix(address, x.base+"/"); ok {
		address = own
	}
	u, err := url.Parse(x.route.version() + "/" + strings.TrimPrefix(address, "/"))
	if err != nil || strings.HasPrefix(address, "//") || strings.Contains(strings.SplitN(address, "?", 2)[0], "://") {
		return nil, wrongBatch("The url of a request of a batch is relative to the version, such as /solutions/backupRestore/protectionPolicies.", "url")
	}
	if path, _, ok := s.vocabulary.Canonical(u.EscapedPath()); ok && path == x.route.version()+batchPath {
		return nil, wrongBatch("A batch cannot hold another.", "url")
	}
	u.Fragment = ""
	b.request, err = http.NewRequestWithContext(x.ctx(), method, u.String(), bytes.NewReader(content))
	if err != nil {
		return nil, wrongBatch("The method or url of a request of the batch is not well formed.", "method")
	}
	b.request.Header, b.request.Host, b.request.RemoteAddr, b.request.TLS = header, x.r.Host, x.r.RemoteAddr, x.r.TLS
	return b, nil
}

// batchedBody is the body of one request: a JSON value as it stands, anything
// else as base64url.
func batchedBody(body json.RawMessage, header http.Header) ([]byte, error) {
	switch {
	case len(body) == 0 || string(body) == "null":
		return nil, nil
	case body[0] != '"':
		if header.Get("Content-Type") == "" {
			return nil, backup.Fail(backup.InvalidRequest, "A request of a batch that has a JSON body needs the header Content-Type: application/json.").On("Content-Type")
		}
		return body, nil
	}
	var text string
	if err := json.Unmarshal(body, &text); err == nil {
		text = strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(text, "="))
		if content, err := base64.RawURLEncoding.DecodeString(text); err == nil {
			return content, nil
		}
	}
	return nil, backup.Fail(backup.InvalidRequest, "A body that is not JSON is sent in a batch as base64url.").On("body")
}

// makeBatched makes one request of a batch. room is how much may still be
// answered.
func (s *Server) makeBatched(x *exchange, b *batched, room *int) batchAnswer {
	rec := &batchRecorder{header: http.Header{}, room: *room}
	s.ServeHTTP(rec, b.request)
	if rec.overflow {
		return s.batchFailure(x, backup.Fail(backup.RequestTooLarge, "The answers of the batch are together longer than 32 MiB. Ask for less at once."))
	}
	*room -= rec.body.Len()
	a := batchAnswer{Status: rec.status, Headers: map[string]string{}}
	for name, values := range rec.header {
		if name != "Content-Length" {
			a.Headers[name] = strings.Join(values, ", ")
		}
	}
	switch {
	case rec.body.Len() == 0:
	case strings.HasPrefix(rec.header.Get("Content-Type"), "application/json"):
		a.Body = json.RawMessage(rec.body.Bytes())
	default:
		a.Body = base64.RawURLEncoding.EncodeToString(rec.body.Bytes())
	}
	return a
}

// batchFailure answers a request of a batch that was not made.
func (s *Server) batchFailure(x *exchange, err error) batchAnswer {
	rec := &batchRecorder{header: http.Header{}, room: maxBatchAnswer}
	s.fail(&exchange{r: x.r, w: rec, id: backup.NewID[string](), clientID: x.clientID, base: x.base, level: odata.MetadataMinimal}, err)
	return batchAnswer{Status: rec.status, Headers: map[string]string{"Content-Type": rec.header.Get("Content-Type")}, Body: json.RawMessage(rec.body.Bytes())}
}

// A batchRecorder keeps an answer, up to a length.
type batchRecorder struct {
	header   http.Header
	status   int
	body     bytes.Buffer
	room     int
	overflow bool
}

func (r *batchRecorder) Header() http.Header { return r.header }

func (r *batchRecorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

func (r *batchRecorder) Write(b []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	if len(b) > r.room-r.body.Len() {
		r.overflow = true
		return len(b), nil
	}
	return r.body.Write(b)
}
