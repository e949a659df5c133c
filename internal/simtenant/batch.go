package simtenant

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"time"
)

// What a batch may hold.
const (
	maxBatch     = 20
	maxBatchBody = 32 << 20
)

// A batched is one request of a batch.
type batched struct {
	ID        string            `json:"id"`
	Method    string            `json:"method"`
	URL       string            `json:"url"`
	Headers   map[string]string `json:"headers"`
	Body      json.RawMessage   `json:"body"`
	DependsOn []string          `json:"dependsOn"`
	// Depends is the same as Microsoft's client for Python says it.
	Depends []string `json:"depends_on"`
}

// A batchAnswer is one answer of a batch.
type batchAnswer struct {
	ID      string            `json:"id"`
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers,omitempty"`
	Body    any               `json:"body,omitempty"`
}

// isBatch returns the version that a batch is for, as in /v1.0.
func isBatch(path string) (base string, ok bool) {
	for _, base := range []string{"/v1.0", "/beta"} {
		if strings.EqualFold(strings.TrimSuffix(path, "/"), base+"/$batch") {
			return base, true
		}
	}
	return "", false
}

// ReadBatch returns the paths that a batch asks for, without their query, and
// leaves r's body as it was. ok is false for what is no batch that can be read.
func ReadBatch(r *http.Request) (paths []string, ok bool) {
	base, ok := isBatch(r.URL.Path)
	if !ok || r.Method != http.MethodPost {
		return nil, false
	}
	if unpack(r) != nil {
		return nil, false // whoever serves it says so
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, maxBatchBody+1))
	r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(data), r.Body))
	var in struct {
		Requests []batched `json:"requests"`
	}
	if err != nil || json.Unmarshal(data, &in) != nil {
		return nil, false
	}
	for _, b := range in.Requests {
		path, _, _ := strings.Cut(b.URL, "?")
		paths = append(paths, base+"/"+strings.TrimPrefix(path, "/"))
	}
	return paths, true
}

// Batch serves /v1.0/$batch and /beta/$batch by asking next for each of their
// requests, one after another, as though it had come by itself. All else goes
// to next.
func Batch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		base, ok := isBatch(r.URL.Path)
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		mark(w, r)
		err := unpack(r)
		if err == nil {
			err = batch(w, r, base, next)
		}
		if err != nil {
			if e, ok := errors.AsType[*refusal](err); ok {
				e.write(w, r, time.Now())
			}
		}
	})
}

// batch serves one. What is wrong with it as a whole is found before anything
// is done.
func batch(w http.ResponseWriter, r *http.Request, base string, next http.Handler) error {
	if r.Method != http.MethodPost {
		return wrongMethod(http.MethodPost)
	}
	var in struct {
		Requests []batched `json:"requests"`
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBatchBody))
	if err != nil || json.Unmarshal(data, &in) != nil {
		return badRequest("The body of a batch is a JSON object with a list 'requests'.")
	}
	switch n := len(in.Requests); {
	case n == 0:
		return badRequest("The batch has no requests.")
	case n > maxBatch:
		return badRequest(fmt.Sprintf("A batch may have at most %d requests.", maxBatch))
	}
	known := map[string]bool{}
	for i := range in.Requests {
		b := &in.Requests[i]
		b.DependsOn = append(b.DependsOn, b.Depends...)
		for _, origin := range ownOrigins(r) { // which Microsoft's client for Python leaves before it
			if own, ok := strings.CutPrefix(b.URL, origin+base+"/"); ok {
				b.URL = own
			}
		}
		switch {
		case b.ID == "" || b.Method == "" || b.URL == "":
			return badRequest("Each request of a batch has an id, a method and a url.")
		case known[b.ID]:
			return badRequest("Two requests of the batch have the id " + quoted(b.ID) + ".")
		case strings.Contains(b.URL, "://"):
			return badRequest("The url of a request of a batch is relative, such as /me/drive.")
		}
		known[b.ID] = true
	}
	for _, b := range in.Requests {
		for _, id := range b.DependsOn {
			if !known[id] {
				return badRequest("A request of the batch depends on " + quoted(id) + ", which is not in it.")
			}
		}
	}
	order, ok := ordered(in.Requests)
	if !ok {
		return badRequest("Requests of the batch depend on each other in a circle.")
	}
	status := map[string]int{}
	answers := make([]batchAnswer, 0, len(order))
	for _, b := range order {
		a := b.refuse(http.StatusFailedDependency, "FailedDependency", "A request that this one depends on failed, so it was not made.")
		if !slices.ContainsFunc(b.DependsOn, func(id string) bool { return status[id] >= 400 }) {
			a = b.run(r, base, next)
		}
		status[b.ID] = a.Status
		answers = append(answers, a)
	}
	return reply(w, http.StatusOK, map[string]any{"responses": answers})
}

// ordered puts each request behind those that it depends on. It reports false
// if there is no such order.
func ordered(all []batched) (order []batched, ok bool) {
	done := map[string]bool{}
	for left := all; len(left) > 0; {
		var wait []batched
		for _, b := range left {
			if slices.ContainsFunc(b.DependsOn, func(id string) bool { return !done[id] }) {
				wait = append(wait, b)
				continue
			}
			done[b.ID] = true
			order = append(order, b)
		}
		if len(wait) == len(left) {
			return nil, false
		}
		left = wait
	}
	return order, true
}

func (b batched) refuse(status int, code, message string) batchAnswer {
	return batchAnswer{ID: b.ID, Status: status, Body: map[string]any{"error": map[string]any{"code": code, "message": message}}}
}

// run makes one request as the one who sent the batch.
func (b batched) run(outer *http.Request, base string, next http.Handler) (a batchAnswer) {
	u, err := url.Parse(base + "/" + strings.TrimPrefix(b.URL, "/"))
	if err != nil {
		return b.refuse(http.StatusBadRequest, "BadRequest", "The url of the request is not well formed.")
	}
	if _, ok := isBatch(u.Path); ok {
		return b.refuse(http.StatusBadRequest, "BadRequest", "A batch cannot be part of a batch.")
	}
	r := outer.Clone(outer.Context())
	r.Method, r.URL, r.RequestURI, r.Form, r.PostForm = strings.ToUpper(b.Method), u, u.RequestURI(), nil, nil
	r.Header = http.Header{}
	for _, name := range []string{"Authorization", "User-Agent", "Client-Request-Id"} {
		if v := outer.Header.Values(name); v != nil {
			r.Header[name] = v
		}
	}
	for name, v := range b.Headers {
		r.Header.Set(name, v)
	}
	content, err := b.content(r.Header.Get("Content-Type"))
	if err != nil {
		return b.refuse(http.StatusBadRequest, "BadRequest", "The body of the request is neither JSON nor base64.")
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(content)), int64(len(content))
	r.TransferEncoding = nil
	rec := httptest.NewRecorder()
	func() {
		defer func() {
			if what := recover(); what == http.ErrAbortHandler {
				rec = nil // the connection would have broken
			} else if what != nil {
				panic(what)
			}
		}()
		next.ServeHTTP(rec, r)
	}()
	if rec == nil {
		return b.refuse(http.StatusBadGateway, "BadGateway", "The answer to the request broke off.")
	}
	return b.answer(rec)
}

// content is the body that a request is to have: JSON as it stands, and
// anything else from base64.
func (b batched) content(kind string) ([]byte, error) {
	if len(b.Body) == 0 || string(b.Body) == "null" {
		return nil, nil
	}
	var text string
	if json.Unmarshal(b.Body, &text) != nil || isJSON(kind) {
		return b.Body, nil
	}
	text = strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(text), "=")
	return base64.RawStdEncoding.DecodeString(text)
}

func isJSON(kind string) bool {
	kind, _, _ = strings.Cut(strings.ToLower(kind), ";")
	return strings.TrimSpace(kind) == "application/json"
}

func (b batched) answer(rec *httptest.ResponseRecorder) batchAnswer {
	a := batchAnswer{ID: b.ID, Status: rec.Code, Headers: map[string]string{}}
	for name, v := range maps.All(rec.Header()) {
		a.Headers[name] = strings.Join(v, ", ")
	}
	delete(a.Headers, "Content-Length")
	switch body := rec.Body.Bytes(); {
	case len(body) == 0:
	case isJSON(rec.Header().Get("Content-Type")) && json.Valid(body):
		a.Body = json.RawMessage(body)
	default:
		a.Body = base64.StdEncoding.EncodeToString(body)
	}
	return a
}
