package simtenant

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/quickxor"
)

const (
	maxPut       = 262_144_000 // bytes; as much is too much for one PUT
	fragmentUnit = 327_680     // all fragments but the last are multiples of it
	sessionLife  = 15 * time.Minute
)

// uploads are the sessions under way. They end with the process.
type uploads struct {
	mu   sync.Mutex
	byID map[string]*upload
}

// upload is a session: a file that arrives in fragments.
type upload struct {
	mu      sync.Mutex
	id      string
	base    string // of Graph, as whoever began it knows it
	place   place
	wish    wish
	stage   string // name in the staging folder
	total   int64  // -1 until the first fragment
	next    int64  // the first byte that is missing
	expires time.Time
	commit  bool // deferred: wait to be told
	done    bool

	kind uploadKind
	// end gives what arrived its place and answers.
	end func(http.ResponseWriter, *http.Request) error
}

// uploadKind is what fragments have to be like, and how they are answered.
type uploadKind struct {
	unit   int64  // all but the last are multiples of it
	most   int64  // the longest
	status int    // of the answer to one that is not the last
	open   string // how a range without end is written
}

var (
	fileUpload       = uploadKind{fragmentUnit, maxPut, http.StatusAccepted, "-"}
	attachmentUpload = uploadKind{1, maxMIME, http.StatusOK, ""}
)

// split takes the new item's name off an address by path.
func (t target) split() (target, string) {
	if n := len(t.path); n > 0 {
		return target{id: t.id, path: t.path[:n-1], byPath: true}, t.path[n-1]
	}
	return t, ""
}

// wishOf reads where an upload goes from its address.
func wishOf(r *request, t target, how behaviour) (wish, error) {
	u := wish{how: how, by: r.who.key(), ifMatch: r.Header.Get("If-Match"), absent: r.Header.Get("If-None-Match") == "*"}
	u.target, u.name = t.split()
	if u.name != "" {
		return u, checkName(u.name)
	}
	if t.id == "" {
		return u, badRequest("The root has no content: name the file that is to be written.")
	}
	return u, nil
}

// stageFile writes a file into the staging folder and returns what it holds.
func (s *Service) stageFile(name string, from io.Reader) (staged, error) {
	f, err := os.OpenFile(filepath.Join(s.staging, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if err != nil {
		return staged{}, fmt.Errorf("write upload: %w", err)
	}
	quick, strong := quickxor.New(), sha256.New()
	n, err := io.Copy(io.MultiWriter(f, quick, strong), from)
	if err = errors.Join(err, f.Close()); err != nil {
		s.unstage(name)
		return staged{}, err
	}
	return staged{name, n, quickxor.Encode(quick.Sum(nil)), [16]byte(strong.Sum(nil))}, nil
}

func (s *Service) unstage(name string) { os.Remove(filepath.Join(s.staging, name)) }

// fromClient is what a client sends: that it cannot be read to its end is the client's
// affair, and no fault of the disk it is written to.
type fromClient struct{ io.Reader }

func (c fromClient) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	if _, large := errors.AsType[*http.MaxBytesError](err); err != nil && err != io.EOF && !large {
		err = badRequest("The body ended early, or is not what its head says.")
	}
	return n, err
}

// putContent is the upload in one request.
func (s *Service) putContent(r *request, p place, t target) error {
	how, err := conflict(r.query, onConflictReplace)
	if err != nil {
		return err
	}
	u, err := wishOf(r, t, how)
	if err != nil {
		return err
	}
	if r.ContentLength >= maxPut {
		return fail(http.StatusRequestEntityTooLarge, "invalidRequest", "The file is too large for one request. Use an upload session.")
	}
	if err := s.admit(r, p, u); err != nil {
		return err
	}
	name := newStageName()
	up, err := s.stageFile(name, fromClient{http.MaxBytesReader(r.w, r.Body, maxPut-1)})
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return fail(http.StatusRequestEntityTooLarge, "invalidRequest", "The file is too large for one request. Use an upload session.")
	}
	if err != nil {
		return onDisk(err)
	}
	defer s.unstage(name)
	return s.finish(r, p, u, up)
}

// admit refuses an upload before its bytes are sent.
func (s *Service) admit(r *request, p place, u wish) error {
	return s.with(p, func(d *drive) error {
		_, there, _, err := d.resolve(r.Context(), u)
		if err != nil {
			return err
		}
		return u.admit(there)
	})
}

// finish gives an upload its place and answers with the item.
func (s *Service) finish(r *request, p place, u wish, up staged) error {
	return s.on(r, p, func(d *drive) error {
		it, made, err := s.put(r.Context(), d, u, up)
		if err != nil {
			return err
		}
		status := http.StatusOK
		if made {
			status = http.StatusCreated
		}
		s.answerItem(r, d, it, status)
		return nil
	})
}

func (s *Service) createUpload(r *request, p place, t target) error {
	var in struct {
		Item struct {
			Conflict string    `json:"@microsoft.graph.conflictBehavior"`
			Older    string    `json:"@name.conflictBehavior"`
			Name     string    `json:"name"`
			Times    fileTimes `json:"fileSystemInfo"`
		} `json:"item"`
		Deferred bool `json:"deferCommit"`
	}
	if err := body(r.w, r.Request, &in); err != nil {
		return err
	}
	how, err := conflict(r.query, onConflictReplace, in.Item.Conflict, in.Item.Older)
	if err != nil {
		return err
	}
	u, err := wishOf(r, t, how)
	if err != nil {
		return err
	}
	u.times = in.Item.Times
	if in.Item.Name != "" && u.name != "" && in.Item.Name != u.name {
		return badRequest("The name in the body is not that in the address.")
	}
	if err := s.admit(r, p, u); err != nil {
		return err
	}
	up := &upload{base: r.base, place: p, wish: u, kind: fileUpload, total: -1, commit: in.Deferred}
	up.end = func(w http.ResponseWriter, call *http.Request) error {
		st, err := s.measure(up.stage)
		if err != nil {
			return err
		}
		req := &request{Request: call, w: w, base: up.base, arrived: time.Now(), query: url.Values{}}
		return s.finish(req, up.place, up.wish, st)
	}
	if err := s.beginUpload(up); err != nil {
		return err
	}
	out := up.view()
	// The URL's token outlives the session, which every fragment prolongs.
	out["uploadUrl"] = s.address(r.Request, p, uploadPrefix, "upload", up.id, 24*time.Hour)
	out["@odata.context"] = r.base + "/$metadata#microsoft.graph.uploadSession"
	return replyGraph(r.w, http.StatusOK, out)
}

// beginUpload makes room for what is to arrive, and forgets sessions that have expired.
func (s *Service) beginUpload(up *upload) error {
	up.id, up.stage, up.expires = backup.NewID[string](), newStageName(), s.clock().Add(sessionLife)
	f, err := os.OpenFile(filepath.Join(s.staging, up.stage), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if err != nil {
		return onDisk(err)
	}
	if err := f.Close(); err != nil {
		return onDisk(err)
	}
	s.uploads.mu.Lock()
	defer s.uploads.mu.Unlock()
	for id, old := range s.uploads.byID {
		if old.mu.TryLock() {
			if s.clock().After(old.expires) {
				s.unstage(old.stage)
				delete(s.uploads.byID, id)
			}
			old.mu.Unlock()
		}
	}
	s.uploads.byID[up.id] = up
	return nil
}

// view is what a session says of itself.
func (up *upload) view() map[string]any {
	missing := []string{strconv.FormatInt(up.next, 10) + up.kind.open}
	if up.total >= 0 && up.kind.open != "" {
		missing = []string{}
		if up.next < up.total {
			missing = append(missing, fmt.Sprintf("%d-%d", up.next, up.total-1))
		}
	}
	return map[string]any{"expirationDateTime": up.expires.UTC().Format(time.RFC3339), "nextExpectedRanges": missing}
}

// fragment serves an upload session's URL.
func (s *Service) fragment(w http.ResponseWriter, r *http.Request) (err error) {
	var of *tenant
	id, isFile := strings.CutPrefix(r.URL.Path, uploadPrefix)
	if isFile {
		of, err = s.opened(r, "upload "+id, writeFiles)
	} else {
		id = strings.TrimPrefix(r.URL.Path, attachPrefix)
		err = s.unsealed(r.URL.Query().Get("authtoken"), "attach "+id)
	}
	if err != nil {
		return err
	}
	s.uploads.mu.Lock()
	up := s.uploads.byID[id]
	s.uploads.mu.Unlock()
	gone := fail(http.StatusNotFound, "itemNotFound", "The upload session has ended or expired. Start a new one.").because("uploadSessionNotFound")
	if up == nil || of != nil && up.place.tenant != of {
		return gone
	}
	up.mu.Lock()
	defer up.mu.Unlock()
	if up.done || s.clock().After(up.expires) {
		s.endUpload(up)
		return gone
	}
	switch r.Method {
	case http.MethodGet:
		return replyGraph(w, http.StatusOK, up.view())
	case http.MethodDelete:
		s.endUpload(up)
		w.WriteHeader(http.StatusNoContent)
		return nil
	case http.MethodPost:
		if up.commit && up.total >= 0 && up.next == up.total {
			return s.commit(w, r, up)
		}
		return badRequest("The upload is not complete, or its commit was not deferred.")
	case http.MethodPut:
		return s.receive(w, r, up)
	}
	return wrongMethod("PUT", "GET", "DELETE", "POST")
}

// endUpload forgets a session. Callers hold up.mu.
func (s *Service) endUpload(up *upload) {
	up.done = true
	s.unstage(up.stage)
	s.uploads.mu.Lock()
	delete(s.uploads.byID, up.id)
	s.uploads.mu.Unlock()
}

// contentRange reads "bytes a-b/total".
func contentRange(text string) (from, to, total int64, ok bool) {
	text, ok = strings.CutPrefix(strings.TrimSpace(text), "bytes ")
	span, all, ok2 := strings.Cut(text, "/")
	a, b, ok3 := strings.Cut(span, "-")
	if !ok || !ok2 || !ok3 {
		return 0, 0, 0, false
	}
	var errs [3]error
	from, errs[0] = strconv.ParseInt(a, 10, 64)
	to, errs[1] = strconv.ParseInt(b, 10, 64)
	total, errs[2] = strconv.ParseInt(all, 10, 64)
	return from, to, total, errs == [3]error{} && 0 <= from && from <= to && to < total && total < math.MaxInt64
}

// receive takes one fragment. One that does not arrive whole is as if it had
// not been sent.
func (s *Service) receive(w http.ResponseWriter, r *http.Request, up *upload) error {
	from, to, total, ok := contentRange(r.Header.Get("Content-Range"))
	if !ok {
		return badRequest("A fragment needs a header Content-Range of the form 'bytes 0-327679/1000000'.")
	}
	if up.total >= 0 && total != up.total {
		return badRequest("The total length differs from that of earlier fragments.").because("fragmentLengthMismatch")
	}
	length := to - from + 1
	if r.ContentLength >= 0 && r.ContentLength != length {
		return badRequest("The body is not as long as Content-Range says.").because("fragmentLengthMismatch")
	}
	if from < up.next {
		return fail(http.StatusRequestedRangeNotSatisfiable, "invalidRange", "Some of these bytes have arrived already.").because("fragmentOverlap")
	}
	if from > up.next {
		return fail(http.StatusRequestedRangeNotSatisfiable, "invalidRange", "Bytes before these have not arrived yet.").because("fragmentOutOfOrder")
	}
	if to+1 != total && length%up.kind.unit != 0 {
		return badRequest("A fragment's length, but for the last, must be a multiple of 327,680 bytes.").because("fragmentLengthMismatch")
	}
	if length > up.kind.most {
		return fail(http.StatusRequestEntityTooLarge, "invalidRequest", "The fragment is too large.")
	}
	if up.total < 0 && s.faults.options().Quota > 0 { // now it is known how much there is to come
		if err := s.with(up.place, func(d *drive) error { return d.room(total) }); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(filepath.Join(s.staging, up.stage), os.O_WRONLY, 0)
	if err != nil {
		return onDisk(err)
	}
	n, err := io.Copy(io.NewOffsetWriter(f, from), io.LimitReader(fromClient{r.Body}, length+1))
	if n != length {
		err = errors.Join(err, f.Truncate(up.next), f.Close())
		if err == nil {
			return badRequest("The body is not as long as Content-Range says.").because("fragmentLengthMismatch")
		}
		return onDisk(err)
	}
	if err := f.Close(); err != nil {
		return onDisk(err)
	}
	up.total, up.next, up.expires = total, to+1, s.clock().Add(sessionLife)
	if up.next < up.total || up.commit {
		return replyGraph(w, up.kind.status, up.view())
	}
	return s.commit(w, r, up)
}

// commit gives a complete upload its place. Whether or not it gets there, the
// session is over.
func (s *Service) commit(w http.ResponseWriter, r *http.Request, up *upload) error {
	defer s.endUpload(up)
	return up.end(w, r)
}

// measure reads a staged file once to learn what it holds.
func (s *Service) measure(name string) (staged, error) {
	f, err := os.Open(filepath.Join(s.staging, name))
	if err != nil {
		return staged{}, fmt.Errorf("read upload: %w", err)
	}
	defer f.Close()
	quick, strong := quickxor.New(), sha256.New()
	n, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(quick, strong)}, struct{ io.Reader }{f}, make([]byte, 256<<10))
	if err != nil {
		return staged{}, fmt.Errorf("read upload: %w", err)
	}
	return staged{name, n, quickxor.Encode(quick.Sum(nil)), [16]byte(strong.Sum(nil))}, nil
}
