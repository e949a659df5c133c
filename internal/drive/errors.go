package drive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// What went wrong, for errors.Is.
var (
	ErrNotFound    = errors.New("not found at the source")
	ErrNoDrive     = errors.New("the user has no drive")
	ErrNoMailbox   = errors.New("the user has no mailbox")
	ErrNotFile     = errors.New("the item has no content to read")
	ErrResync      = errors.New("the cursor is no longer valid: enumerate again")
	ErrExists      = errors.New("the name is taken")
	ErrChanged     = errors.New("changed meanwhile")
	ErrLocked      = errors.New("locked at the source")
	ErrQuota       = errors.New("no space left at the source")
	ErrDenied      = errors.New("access denied by the source")
	ErrMalware     = errors.New("found infected by the source")
	ErrUnavailable = errors.New("the source cannot be used now")
	// ErrPaused: the source asks to be left alone for longer than is worth
	// waiting for. Error.RetryAfter says how long.
	ErrPaused = errors.New("the source asks for a pause")
	// ErrUploading: an upload session for the same file is open, for SessionLife
	// at most.
	ErrUploading = errors.New("an earlier upload of the same file is still open at the source")
	// ErrEndless: a list of the source's does not end, or goes in a circle.
	ErrEndless = errors.New("the source's list does not end")
	// ErrContent: what the source hands out is not the item's content.
	ErrContent = errors.New("the source handed out something else than the content")
	// ErrNobody: the source knows nobody who is meant.
	ErrNobody = errors.New("nobody is known by that name at the source")
)

// An Error is a failure at the source.
type Error struct {
	Op         string // what was being done: "read changes of drive b!x"
	Status     int    // the HTTP status, or 0 when there was no answer
	Code       string // the source's code; may be empty
	Inner      string // its finest code; may be empty
	Message    string // its message; may be empty
	RequestID  string // how the source's support finds the request; may be empty
	RetryAfter time.Duration
	Err        error // why there was no answer

	kind  error // one of the above, or nil
	again bool  // passes by itself
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	b.WriteString(": ")
	if e.kind != nil {
		b.WriteString(e.kind.Error())
	} else {
		b.WriteString("refused by the source")
	}
	if e.kind == ErrPaused {
		b.WriteString(" of " + e.RetryAfter.Round(time.Second).String())
	}
	if e.Status != 0 {
		fmt.Fprintf(&b, ": status %d", e.Status)
	}
	for _, s := range []string{e.Code, e.Inner} {
		if s != "" {
			b.WriteString(" " + s)
		}
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	if e.RequestID != "" {
		b.WriteString(" (request-id " + e.RequestID + ")")
	}
	return b.String()
}

// Is reports whether target is the kind of failure that e is. A source that
// asks for a pause is unavailable too.
func (e *Error) Is(target error) bool {
	return e.kind != nil && target == e.kind || e.kind == ErrPaused && target == ErrUnavailable
}

// Reason is what the source gave as its reason, in a sentence for people: its
// message and its code. It is empty where the source gave none. It holds no
// address, for addresses may hold tokens.
func (e *Error) Reason() string {
	code := e.Inner
	if code == "" {
		code = e.Code
	}
	if e.Code == "" && e.Message == "" {
		return ""
	}
	message := strings.Join(strings.Fields(links.ReplaceAllString(e.Message, "(address)")), " ")
	if r := []rune(message); len(r) > maxReason {
		message = string(r[:maxReason]) + "…"
	}
	switch {
	case message == "":
		return "The source says " + code + "."
	case code == "":
		return "The source says: " + message
	}
	return "The source says: " + strings.TrimRight(message, ".") + " (" + code + ")."
}

// maxReason is how much of a message people are shown.
const maxReason = 300

var links = regexp.MustCompile(`(?i)\bhttps?://\S+`)

func (e *Error) Unwrap() error { return e.Err }

// noAnswer is the failure of a request that got no answer, or only part of one.
func noAnswer(op string, err error) *Error {
	// A url.Error names the URL, whose query may hold a token.
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	return &Error{Op: op, Err: err, kind: ErrUnavailable, again: true}
}

// maxError is how much of an error's body is read.
const maxError = 64 << 10

type wireError struct {
	Code       string
	Message    string
	InnerError *wireInner // spelt innerError or innererror
}

type wireInner struct {
	Code       string
	RequestID  string `json:"request-id"`
	InnerError *wireInner
}

// refusal is the failure that the source answered with.
func refusal(op string, resp *http.Response, body []byte, now time.Time) *Error {
	e := &Error{Op: op, Status: resp.StatusCode, RequestID: resp.Header.Get("request-id")}
	var w struct {
		Error       json.RawMessage
		Description string `json:"error_description"`
	}
	var in wireError
	switch { // some bodies are empty, some HTML
	case json.Unmarshal(body, &w) != nil:
	case json.Unmarshal(w.Error, &e.Code) == nil: // the authority's form
		e.Message = w.Description
	case json.Unmarshal(w.Error, &in) == nil:
		e.Code, e.Message = in.Code, in.Message
		for in := in.InnerError; in != nil; in = in.InnerError {
			if in.Code != "" {
				e.Inner = in.Code
			}
			if e.RequestID == "" {
				e.RequestID = in.RequestID
			}
		}
	}
	e.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), now)
	e.classify()
	if e.Status == http.StatusForbidden && resp.Header.Get("X-Virus-Infected") != "" {
		e.kind = ErrMalware
	}
	return e
}

// has reports whether e carries one of the codes, in any case.
func (e *Error) has(codes ...string) bool {
	for _, c := range codes {
		if strings.EqualFold(e.Code, c) || strings.EqualFold(e.Inner, c) {
			return true
		}
	}
	return false
}

func (e *Error) classify() {
	switch {
	case e.noDrive():
		e.kind = ErrNoDrive
	case e.has("malwareDetected", "virusSuspicious"):
		e.kind = ErrMalware
	case e.has("quotaLimitReached", "ErrorQuotaExceeded"), e.Status == http.StatusInsufficientStorage:
		e.kind = ErrQuota
	case e.has("cannotSnapshotTree"):
		e.kind, e.again = ErrUnavailable, true
	case e.has("resyncRequired", "resyncApplyDifferences", "resyncUploadDifferences",
		"resyncChangesApplyDifferences", "resyncChangesUploadDifferences",
		"syncStateNotFound", "syncStateInvalid"), e.Status == http.StatusGone:
		e.kind = ErrResync
	case e.has("invalid_client", "unauthorized_client", "invalid_grant", "invalid_scope", "invalid_resource"):
		e.kind = ErrDenied
	case e.has("nameAlreadyExists"), e.Status == http.StatusConflict:
		e.kind = ErrExists
	default:
		switch e.Status {
		case http.StatusUnauthorized, http.StatusForbidden:
			e.kind = ErrDenied
		case http.StatusNotFound:
			e.kind = ErrNotFound
		case http.StatusPreconditionFailed:
			e.kind = ErrChanged
		case http.StatusLocked:
			e.kind = ErrLocked
		case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
			http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, 509:
			e.kind, e.again = ErrUnavailable, true
		}
	}
}

// noDrive reports whether e says that a user has no drive. The codes differ
// from case to case and are used for other things too, so that the message is
// all there is to go by.
func (e *Error) noDrive() bool {
	for _, s := range []string{"mysite not found", "retrieve user's mysite", "does not have a SPO license"} {
		if strings.Contains(e.Message, s) {
			return true
		}
	}
	return false
}

// maxRetryAfter bounds what the source may ask for.
const maxRetryAfter = time.Hour

// retryAfter reads the header of that name: seconds, or a date.
func retryAfter(s string, now time.Time) time.Duration {
	if n, err := strconv.Atoi(s); err == nil && n >= 0 {
		return min(time.Duration(min(n, 1<<20))*time.Second, maxRetryAfter)
	}
	if at, err := http.ParseTime(s); err == nil && at.After(now) {
		return min(at.Sub(now), maxRetryAfter)
	}
	return 0
}

// during says what was being done when a context ended.
func during(ctx context.Context, op string) error {
	return fmt.Errorf("%s: %w", op, context.Cause(ctx))
}
