package console

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"sync"
)

// A within is a way for requests to a handler of this process: the API, as if
// it were somewhere else. What the handler writes is read as it comes, so that a
// file need not fit into memory.
type within struct{ handler http.Handler }

// RoundTrip has the handler answer.
func (t within) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	in := r.Clone(ctx)
	in.RequestURI = r.URL.RequestURI()
	in.RemoteAddr = "127.0.0.1:0"
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	read, write := io.Pipe()
	a := &arriving{header: http.Header{}, pipe: write, begun: make(chan struct{})}
	go func() {
		defer cancel()
		err := errors.New("the server broke off its answer")
		defer func() {
			// A handler that panics ends its own answer only, as http.Server has it.
			if recover() == nil {
				err = nil
			}
			a.WriteHeader(http.StatusOK)
			write.CloseWithError(err)
		}()
		t.handler.ServeHTTP(a, in)
	}()
	select {
	case <-a.begun:
	case <-ctx.Done():
		<-a.begun // the handler ends with its context, and always begins by its end
	}
	if err := r.Context().Err(); err != nil {
		read.Close()
		return nil, err
	}
	return &http.Response{
		Status: http.StatusText(a.status), StatusCode: a.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: a.sent, Body: body{read, cancel}, ContentLength: -1, Request: r,
	}, nil
}

// A body ends the handler's work when its reader has enough.
type body struct {
	*io.PipeReader
	cancel context.CancelFunc
}

func (b body) Close() error {
	b.cancel()
	return b.PipeReader.Close()
}

// An arriving is an answer as the handler writes it.
type arriving struct {
	header, sent http.Header
	status       int
	pipe         *io.PipeWriter
	once         sync.Once
	begun        chan struct{}
}

func (a *arriving) Header() http.Header { return a.header }

func (a *arriving) WriteHeader(status int) {
	if status < 200 { // there is more to come
		return
	}
	a.once.Do(func() {
		a.status, a.sent = status, maps.Clone(a.header)
		close(a.begun)
	})
}

func (a *arriving) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.pipe.Write(b)
}
