package simtenant

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/backup"
)

// refusal is an answer that is not the one hoped for.
type refusal struct {
	status  int
	code    string
	inner   string // a finer code, or empty
	message string
	header  http.Header
}

func (e *refusal) Error() string { return fmt.Sprintf("%d %s: %s", e.status, e.code, e.message) }

// notFound reports whether err says that what was asked for is not there.
func notFound(err error) bool {
	e, ok := errors.AsType[*refusal](err)
	return ok && e.status == http.StatusNotFound
}

func fail(status int, code, message string) *refusal {
	return &refusal{status: status, code: code, message: message}
}

func (e *refusal) because(inner string) *refusal {
	e.inner = inner
	return e
}

func noItem() error {
	return fail(http.StatusNotFound, "itemNotFound", "There is no such item in the drive.")
}

func noDrive() error {
	return fail(http.StatusNotFound, "ResourceNotFound", "User's mysite not found.")
}

// noDrive says that p's folder is not there.
func (p place) noDrive() error {
	if p.user == nil {
		return noItem()
	}
	return noDrive()
}

func noRoute() error {
	return fail(http.StatusNotFound, "itemNotFound", "There is nothing at this address.")
}

func badRequest(message string) *refusal {
	return fail(http.StatusBadRequest, "invalidRequest", message)
}

func notSupported(what string) error {
	return fail(http.StatusNotImplemented, "notSupported", "The simulated tenant does not serve "+what+".")
}

// reply writes v as JSON.
func reply(w http.ResponseWriter, status int, v any) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
	}
	w.Header().Set("Content-Length", strconv.Itoa(buf.Len()))
	w.WriteHeader(status)
	w.Write(buf.Bytes())
	return nil
}

// replyGraph is reply with Graph's content type.
func replyGraph(w http.ResponseWriter, status int, v any) error {
	w.Header().Set("Content-Type", "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8")
	return reply(w, status, v)
}

// refuse answers with err.
func (s *Service) refuse(w http.ResponseWriter, r *http.Request, err error) {
	e, ok := errors.AsType[*refusal](err)
	if !ok {
		if r.Context().Err() != nil {
			return // nobody is there to read it
		}
		s.log.Error("the simulated tenant could not answer a request", "method", r.Method, "path", r.URL.Path, "err", err)
		e, ok = errors.AsType[*refusal](onDisk(err))
	}
	if !ok {
		e = fail(http.StatusInternalServerError, "generalException", "Something went wrong inside the simulated tenant; its log says what.")
	}
	e.write(w, r, s.clock())
}

// write writes e in Graph's error envelope.
func (e *refusal) write(w http.ResponseWriter, r *http.Request, now time.Time) {
	for k, v := range e.header {
		w.Header()[k] = v
	}
	if e.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="", authorization_uri="`+originOf(r)+`/common/oauth2/v2.0/authorize", client_id="00000003-0000-0000-c000-000000000000"`)
	}
	inner := map[string]any{
		"date":              now.UTC().Format("2006-01-02T15:04:05"),
		"request-id":        w.Header().Get("request-id"),
		"client-request-id": w.Header().Get("client-request-id"),
	}
	if e.inner != "" {
		inner["code"] = e.inner
	}
	replyGraph(w, e.status, map[string]any{"error": map[string]any{"code": e.code, "message": e.message, "innerError": inner}})
}

// option returns a system query option, with or without its dollar sign.
func option(q url.Values, name string) string {
	for k, v := range q {
		if strings.EqualFold(strings.TrimPrefix(k, "$"), name) && len(v) > 0 {
			return v[0]
		}
	}
	return ""
}

// selected returns the names of $select in lower case; nil is all.
func selected(q url.Values) map[string]bool {
	text := option(q, "select")
	if text == "" {
		return nil
	}
	names := map[string]bool{}
	for name := range strings.SplitSeq(text, ",") {
		names[strings.ToLower(strings.TrimSpace(name))] = true
	}
	if names["*"] {
		return nil
	}
	return names
}

// extendedProperties are there only where $expand asks for them, which $select need not.
const extendedProperties = "singleValueExtendedProperties"

// project returns v with only the selected members. Annotations of control
// stay, as does id.
func project(v any, names map[string]bool) any {
	if names == nil {
		return v
	}
	data, err := json.Marshal(v)
	if err != nil {
		return v
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(data, &all); err != nil {
		return v
	}
	for k := range all {
		if !names[strings.ToLower(k)] && k != "id" && k != extendedProperties && !strings.HasPrefix(k, "@odata.") {
			delete(all, k)
		}
	}
	return all
}

// pageSize returns $top, bounded by most; preset where it is not given.
func (s *Service) pageSize(q url.Values, preset, most int) (int, error) {
	if n := s.faults.options().PageSize; n > 0 {
		preset, most = n, min(n, most)
	}
	text := option(q, "top")
	if text == "" {
		return preset, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, badRequest("$top must be a whole number of at least 1.")
	}
	return min(n, most), nil
}

// body decodes a JSON request body into v. An empty body leaves v alone.
func body(w http.ResponseWriter, r *http.Request, v any) error {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
	if err := dec.Decode(v); err != nil {
		if errors.Is(err, io.EOF) {
			return nil
		}
		return badRequest("The body is not the JSON object that this call takes.")
	}
	return nil
}

// mark gives the answer its request ids.
func mark(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	id := backup.NewID[string]()
	h.Set("request-id", id)
	client := r.Header.Get("client-request-id")
	if client == "" {
		client = id
	}
	h.Set("client-request-id", client)
}
