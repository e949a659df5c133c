package graphapi

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strconv"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/odata"
)

// A reply is an answer that is ready to be sent.
type reply struct {
	status   int
	body     []byte            // nil: none
	plain    bool              // text, not JSON
	media    string            // of a body that is neither
	stream   io.ReadSeekCloser // the body, instead; parts of it may be asked for
	name     string            // of the file that stream is
	location string            // of what was created: its path below the service root
	content  string            // of what the body shows: likewise
	paged    bool              // a page size had a meaning
	wrote    bool              // return=… had a meaning
}

// send writes r.
func (s *Server) send(x *exchange, r reply) {
	h := x.w.Header()
	h.Set("request-id", x.id)
	h.Set("client-request-id", x.clientID)
	h.Set("OData-Version", "4.0")
	h.Set("Cache-Control", "no-store")
	if r.stream != nil {
		defer r.stream.Close()
		h.Set("Content-Type", "application/octet-stream") // whatever is in it, nobody is to run it from here
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": r.name}))
		http.ServeContent(x.w, x.r, "", time.Time{}, r.stream)
		return
	}
	if r.location != "" {
		h.Set("Location", x.base+"/"+r.location)
	}
	if r.content != "" && r.body != nil {
		h.Set("Content-Location", x.base+"/"+r.content)
	}
	if applied := x.prefer.Applied(r.paged, r.wrote); applied != "" {
		h.Set("Preference-Applied", applied)
	}
	if r.body == nil {
		if r.location != "" {
			h.Set("OData-EntityId", x.base+"/"+r.location)
		}
		if r.status != http.StatusNoContent {
			h.Set("Content-Length", "0")
		}
		x.w.WriteHeader(r.status)
		return
	}
	switch {
	case r.media != "":
		h.Set("Content-Type", r.media)
	case r.plain:
		h.Set("Content-Type", "text/plain; charset=utf-8")
	default:
		h.Set("Content-Type", "application/json;odata.metadata="+string(x.level)+";odata.streaming=true;IEEE754Compatible=false;charset=utf-8")
	}
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(r.body)))
	x.w.WriteHeader(r.status)
	if x.r.Method != http.MethodHead {
		x.w.Write(r.body)
	}
}

const generalMessage = "The server could not answer because of a failure of its own. Try again; if it stays, give the operator the request-id."

// fail answers with an error. What a caller may be told is a *backup.Error;
// everything else is logged in full and answered in general terms.
func (s *Server) fail(x *exchange, err error) {
	e := errorOf(err)
	ok := e != nil
	a, known := answers[codeOf(e)]
	level := slog.LevelError
	switch {
	case ok && known:
		if a.status < 500 || e.Err == nil { // what is meant to be told needs no log
			level = slog.LevelDebug
		}
	case x.r.Context().Err() != nil: // the client has gone; nobody will read this
		e, a, level = backup.Fail(backup.ServiceUnavailable, generalMessage), answers[backup.ServiceUnavailable], slog.LevelDebug
	case errors.Is(err, context.DeadlineExceeded):
		e, a = backup.Fail(backup.ServiceUnavailable, "The server was too busy to answer in time. Try again."), answers[backup.ServiceUnavailable]
	case catalog.Unavailable(err):
		e, a = backup.Fail(backup.ServiceUnavailable, "The server's database does not answer, or cannot be written to. Try again."), answers[backup.ServiceUnavailable]
	default:
		code := backup.GeneralException
		if x.route != nil && x.route.fault != "" {
			code = x.route.fault
		}
		e, a = backup.Fail(code, generalMessage), answers[code]
	}
	s.log.Log(x.r.Context(), level, "request failed", "method", x.r.Method, "path", x.r.URL.Path, "status", a.status, "err", err)
	code := a.code
	if code == "" {
		code = e.Code
	}
	if a.retry > 0 && x.w.Header().Get("Retry-After") == "" {
		x.w.Header().Set("Retry-After", strconv.Itoa(a.retry))
	}
	x.prefer = odata.Preferences{} // none was applied
	s.send(x, reply{
		status: a.status,
		body:   odata.Error(e.Problem, code, s.clock(), x.id, x.clientID),
	})
}

// errorOf is what a caller may be told of err, or nil.
func errorOf(err error) *backup.Error {
	e, _ := errors.AsType[*backup.Error](err)
	return e
}

func codeOf(e *backup.Error) backup.Code {
	if e == nil {
		return ""
	}
	return e.Code
}
