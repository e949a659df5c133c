package drive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/jsonscan"
	"holdfast/internal/quickxor"
)

// A Target is where content goes: into an item that exists, or under a name
// that does not.
type Target struct {
	Item    backup.ItemID // replace this file's content, or
	Parent  backup.ItemID // create a file in this folder
	Name    string        // by this name; if it is taken, ErrExists
	IfMatch string        // with Item: an eTag or cTag; if the item's is another, ErrChanged
	Session *Session      // with Parent: one that was opened ahead for this file, or nil
	Unclear bool          // with Parent: an earlier try may have written it, of which nothing is known
}

func (to Target) String() string {
	if to.Item != "" {
		return "item " + string(to.Item)
	}
	return "a new file in folder " + string(to.Parent)
}

// fragment is how much of a file is sent at a time. The source wants a multiple
// of 320 KiB.
const fragment = 10 << 20

// fragmentTries is how often a part is sent that does not arrive: more often
// than other things of a single item are tried, for much may have been sent.
const fragmentTries = 5

// maxSessions is how often an upload whose session is lost begins anew.
const maxSessions = 3

// maxStalls is how many parts of a file an upload session may answer, one after
// the other, without having gone forward by half of what was sent.
const maxStalls = 10

// SessionLife is how long the source keeps an upload session in which nothing
// happens: a quarter of an hour, and a while to clear it away.
const SessionLife = 20 * time.Minute

// Upload writes size bytes of r to a file, with the times given, and returns
// the item as it then is. It goes on where a connection broke, and finds out
// whether something took effect whose answer was lost, so that nothing is
// written twice. It no longer reads r when it returns.
//
// The source rewrites some documents as they arrive: success does not mean that
// the item has the size and hash of what was sent. Compare them.
//
// While an upload session is open, the source gives no other for the same file,
// which is ErrUploading. One that a killed process has left behind lives for
// SessionLife at most.
func (c *Client) Upload(ctx context.Context, d backup.DriveID, to Target, r io.ReaderAt, size int64, t Times) (Item, error) {
	u := &upload{c: c, d: d, to: to, r: r, size: size, times: t, op: "upload to " + to.String() + " of drive " + string(d)}
	if to.Item != "" && to.IfMatch == "" {
		// Without a tag only the item itself can tell whether it was replaced.
		var err error
		if u.before, err = c.Item(ctx, d, to.Item); err != nil {
			return Item{}, err
		}
	}
	if to.Unclear {
		u.sent = true
		if it, ok := u.arrived(ctx); ok {
			return u.dated(ctx, it)
		}
		u.sent = false
	}
	if size == 0 {
		return u.empty(ctx)
	}
	for n := 1; ; n++ {
		it, err := u.session(ctx)
		lost := errors.Is(err, errSessionLost)
		if err == nil || !lost && n == 1 {
			return it, err
		}
		// A session may be gone because it was finished.
		if it, ok := u.arrived(ctx); ok {
			return u.dated(ctx, it)
		}
		if ctx.Err() != nil {
			return Item{}, during(ctx, u.op)
		}
		if !lost {
			return it, err
		}
		if n == maxSessions && errors.Is(err, ErrDenied) {
			return Item{}, err // it is not the session that is refused
		}
		if n == maxSessions {
			return Item{}, &Error{Op: u.op, Err: err, kind: ErrUnavailable}
		}
	}
}

type upload struct {
	c      *Client
	d      backup.DriveID
	to     Target
	before Item // with to.Item and no tag of it
	r      io.ReaderAt
	size   int64
	times  Times
	op     string
	hash   string // of the whole, once it was needed
	parts  string // see part
	sent   bool   // all of it, in a session or without one: the end may have taken effect
}

var errSessionLost = errors.New("the source has lost the upload")

func (u *upload) address(action string) string {
	if u.to.Item != "" {
		return u.c.at("drives", string(u.d), "items", string(u.to.Item), action)
	}
	return u.c.below(u.d, u.to.Parent, u.to.Name) + ":/" + action
}

func (u *upload) conflict() string {
	if u.to.Item != "" {
		return "replace"
	}
	return "fail"
}

// empty writes a file without content, for which there are no sessions.
func (u *upload) empty(ctx context.Context) (Item, error) {
	h := ifMatch(u.to.IfMatch)
	h.Set("Content-Type", "application/octet-stream")
	k := &call{
		op:     u.op,
		method: http.MethodPut,
		url:    u.address("content") + "?@microsoft.graph.conflictBehavior=" + u.conflict(),
		header: h,
		json:   []byte{},
		cost:   costWrite,
		itemOf: u.d,
	}
	var w wireItem
	_, err := u.c.do(ctx, k, &w)
	it := w.item()
	if err != nil {
		var ok bool
		if u.sent = k.unclear; !u.sent {
			return it, err
		}
		if it, ok = u.arrived(ctx); !ok {
			return it, err
		}
	}
	return u.landed(ctx, it)
}

// landed returns what was uploaded, with its times, when the source has
// answered that it is it. The answer may be about something else, which must
// not be taken for what was uploaded: then the item itself is asked for.
func (u *upload) landed(ctx context.Context, it Item) (Item, error) {
	if u.to.Item != "" && strings.EqualFold(string(it.ID), string(u.to.Item)) || u.to.Item == "" && it.isAt(u.to.Parent, u.to.Name) && it.Kind == backup.File {
		return u.dated(ctx, it)
	}
	u.sent = true
	if is, ok := u.arrived(ctx); ok {
		return u.dated(ctx, is)
	}
	if u.to.Item == "" && it.ID != "" {
		// It may be there by another name than was asked for.
		is, err := u.c.Item(ctx, u.d, it.ID)
		if err == nil && is.Kind == backup.File && is.Parent == u.to.Parent && is.Size == u.size && u.size > 0 && u.times.Fits(is) {
			if h, err := u.digest(); err == nil && is.Hash == h {
				return u.c.Patch(ctx, u.d, is.ID, Patch{Name: u.to.Name, Times: &u.times})
			}
		}
	}
	return Item{}, &Error{Op: u.op, Err: errOtherItem, kind: ErrUnavailable}
}

// dated returns it with the times of the upload.
func (u *upload) dated(ctx context.Context, it Item) (Item, error) {
	if u.times.Fits(it) {
		return it, nil
	}
	return u.c.Patch(ctx, u.d, it.ID, Patch{Times: &u.times})
}

// arrived reports whether the target has what was sent. What the source has
// rewritten, or has no hash of, is known by the times that we gave it: it has
// them only if the upload took effect, for whatever else changes a file's
// content sets other times.
func (u *upload) arrived(ctx context.Context) (it Item, ok bool) {
	var err error
	if u.to.Item != "" {
		it, err = u.c.Item(ctx, u.d, u.to.Item)
	} else {
		it, err = u.c.named(ctx, u.d, u.to.Parent, u.to.Name)
	}
	if err != nil || it.Kind != backup.File {
		return it, false
	}
	if u.sent && u.replaced(it) && (!u.times.Modified.IsZero() && u.times.Fits(it) || it.Hash == "" && it.Size == u.size) {
		return it, true
	}
	if it.Size >= 0 && it.Size != u.size {
		return it, false
	}
	if u.size == 0 {
		return it, it.Size == 0
	}
	h, err := u.digest()
	return it, err == nil && it.Hash == h
}

// digest returns the hash of the whole that is uploaded.
func (u *upload) digest() (string, error) {
	if u.hash == "" {
		h := quickxor.New()
		if _, err := io.Copy(h, io.NewSectionReader(u.r, 0, u.size)); err != nil {
			return "", err
		}
		u.hash = quickxor.Encode(h.Sum(nil))
	}
	return u.hash, nil
}

// replaced reports whether the target is no longer what it was before.
func (u *upload) replaced(it Item) bool {
	switch {
	case u.to.Item == "":
		return true // there was nothing of its name
	case u.to.IfMatch != "":
		return u.to.IfMatch != it.CTag && u.to.IfMatch != it.ETag
	}
	return !unchanged(u.before, it)
}

type wireSession struct {
	UploadURL          string
	NextExpectedRanges []string
}

// A span is a part of a file, from its first byte to the one after its last.
type span struct{ from, to int64 }

// next returns what a session of size bytes wants next, and whether it says.
func (s *wireSession) next(size int64) (span, bool) {
	if len(s.NextExpectedRanges) == 0 {
		return span{}, false
	}
	from, to, _ := strings.Cut(s.NextExpectedRanges[0], "-")
	begin, err := strconv.ParseInt(from, 10, 64)
	if err != nil || begin < 0 || begin >= size {
		return span{}, false
	}
	next := span{begin, min(begin+fragment, size)}
	// What comes after a gap is there already.
	if last, err := strconv.ParseInt(to, 10, 64); err == nil && len(s.NextExpectedRanges) > 1 && last >= begin {
		next.to = min(next.to, last+1)
	}
	return next, true
}

// A wireOpening is what asks for an upload session.
type wireOpening struct {
	Item wireOpened `json:"item"`
}

type wireOpened struct {
	Conflict string     `json:"@microsoft.graph.conflictBehavior"`
	Name     string     `json:"name,omitempty"`
	Times    *wireTimes `json:"fileSystemInfo,omitempty"`
}

func (u *upload) opening() wireOpening {
	return wireOpening{wireOpened{u.conflict(), u.to.Name, u.times.wire()}}
}

// open begins an upload session.
func (u *upload) open(ctx context.Context) (s wireSession, err error) {
	k := &call{
		op:     u.op,
		method: http.MethodPost,
		url:    u.address("createUploadSession"),
		header: ifMatch(u.to.IfMatch),
		cost:   costWrite,
		itemOf: u.d,
		json:   u.opening(),
	}
	_, err = u.c.do(ctx, k, &s)
	if err == nil {
		switch {
		case s.UploadURL == "":
			err = &Error{Op: u.op, Err: errors.New("the source gave no address to upload to"), kind: ErrUnavailable}
		case !u.c.uploadsTo(s.UploadURL):
			err = &Error{Op: u.op, Err: errors.New("the address to upload to is not one by HTTPS")}
		}
	}
	if e, ok := errors.AsType[*Error](err); ok && e.Status == http.StatusConflict && u.blocked(ctx, e) {
		e.kind = ErrUploading
	}
	return s, err
}

// uploadsTo reports whether an address may be uploaded to: by HTTPS, if Graph is.
func (c *Client) uploadsTo(address string) bool {
	to, err := url.Parse(address)
	return err == nil && (to.Scheme == "https" || c.graph == nil || c.graph.Scheme != "https")
}

// blocked reports whether a session was refused because another is open. The
// source says that the name is taken then, too; its message may tell, and else
// what has the name: nothing, or the very item that is to be replaced.
func (u *upload) blocked(ctx context.Context, e *Error) bool {
	message := strings.ToLower(e.Message)
	if u.to.Item != "" || strings.Contains(message, "upload session") || strings.Contains(message, "being uploaded") {
		return true
	}
	_, err := u.c.named(ctx, u.d, u.to.Parent, u.to.Name)
	return errors.Is(err, ErrNotFound)
}

// session uploads through one upload session.
func (u *upload) session(ctx context.Context) (_ Item, err error) {
	s := wireSession{UploadURL: u.to.Session.take()}
	if s.UploadURL == "" {
		if s, err = u.open(ctx); err != nil {
			return Item{}, err
		}
	}
	defer func() {
		if err != nil && !errors.Is(err, errSessionLost) {
			ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer stop()
			u.c.cancel(ctx, u.op, s.UploadURL)
		}
	}()

	tries, since := 0, uint64(0)
	stalls, reached := 0, int64(0) // how far it had come when it last went forward by much
	part := span{0, min(fragment, u.size)}
	for {
		answer, err := u.send(ctx, s.UploadURL, part)
		if err == nil && answer.finished {
			return u.landed(ctx, answer.item)
		}
		if err == nil && answer.next.from > part.from {
			if forward := answer.next.from - reached; 2*forward >= part.to-part.from {
				reached, stalls, tries = answer.next.from, 0, 0
			} else if stalls++; stalls > maxStalls {
				return Item{}, u.stuck()
			}
			part = answer.next
			continue
		}
		// Whatever went wrong, the session knows how far we are.
		e, _ := errors.AsType[*Error](err)
		switch {
		case ctx.Err() != nil:
			return Item{}, during(ctx, u.op)
		case err == nil: // it wants what it was sent, or nothing and yet is not finished
			e = u.stuck()
			u.sent = u.sent || part.to == u.size
		case e == nil:
			return Item{}, err
		case e.Status == http.StatusNotFound, e.Status == http.StatusGone, e.Status == http.StatusUnauthorized:
			return Item{}, fmt.Errorf("%w: %w", errSessionLost, err)
		case e.again:
			u.sent = u.sent || part.to == u.size && e.Status != http.StatusTooManyRequests
		case e.Status != http.StatusRequestedRangeNotSatisfiable:
			if u.sent {
				if it, ok := u.arrived(ctx); ok {
					return u.dated(ctx, it)
				}
			}
			return Item{}, err
		}
		if tries++; tries == 1 {
			since = u.c.pulse.Load()
		}
		if e.Status != http.StatusRequestedRangeNotSatisfiable || tries > 1 {
			if err := u.c.again(ctx, &call{op: u.op, itemOf: u.d, tries: fragmentTries, about: u.part()}, e, tries, since); err != nil {
				return Item{}, err
			}
		}
		var state wireSession
		look := &call{op: u.op, method: http.MethodGet, url: s.UploadURL, cost: costGet, itemOf: u.d}
		if _, err := u.c.do(ctx, look, &state); err != nil {
			if e, ok := errors.AsType[*Error](err); ok && !e.again {
				return Item{}, fmt.Errorf("%w: %w", errSessionLost, err)
			}
			return Item{}, err
		}
		var ok bool
		if part, ok = state.next(u.size); !ok {
			return Item{}, errSessionLost // or finished, which is found out next
		}
	}
}

func (u *upload) stuck() *Error {
	return &Error{Op: u.op, Err: errors.New("the upload does not advance"), kind: ErrUnavailable}
}

// part tells the parts of this file from all else that is asked for, whatever
// session they are sent to.
func (u *upload) part() string {
	if u.parts == "" {
		u.parts = "part of " + u.address("content")
	}
	return u.parts
}

// An uploadAnswer is what the source says to a fragment.
type uploadAnswer struct {
	finished bool
	item     Item // when finished
	next     span // else
}

// A wireFragment is the answer to a fragment: the item, or what is missing.
type wireFragment struct {
	wireItem
	wireSession
}

func (w *wireFragment) take(body []byte) error {
	if it := (wireItem{}); jsonscan.Scan(body, &it) {
		*w = wireFragment{wireItem: it}
		return nil
	}
	err := json.Unmarshal(body, w)
	if _, wrong := errors.AsType[*json.UnmarshalTypeError](err); wrong && w.ID != "" {
		w.malformed()
		return nil
	}
	return err
}

// send sends a part of the file.
func (u *upload) send(ctx context.Context, address string, part span) (uploadAnswer, error) {
	if err := u.c.moved(ctx, u.op, 0, part.to-part.from); err != nil {
		return uploadAnswer{}, err
	}
	body := &section{r: u.r, at: part.from, n: part.to - part.from}
	defer body.release()
	var w wireFragment
	k := &call{
		op:     u.op,
		method: http.MethodPut,
		url:    address,
		header: http.Header{"Content-Range": {fmt.Sprintf("bytes %d-%d/%d", part.from, part.to-1, u.size)}},
		body:   body,
		cost:   costWrite,
		limit:  longCall,
		single: true,
		about:  u.part(),
	}
	resp, err := u.c.do(ctx, k, &w)
	if err != nil {
		if body.failed() != nil {
			err = fmt.Errorf("%s: read what is to be uploaded: %w", u.op, body.failed())
		}
		return uploadAnswer{}, err
	}
	if resp.StatusCode != http.StatusAccepted {
		if w.ID == "" || part.to != u.size {
			return uploadAnswer{}, noAnswer(u.op, errors.New("the source calls the upload finished, but names no item or had not all of it"))
		}
		return uploadAnswer{finished: true, item: w.item()}, nil
	}
	next, ok := w.next(u.size)
	if !ok && len(w.NextExpectedRanges) == 0 && part.to < u.size {
		next = span{part.to, min(part.to+fragment, u.size)}
	}
	return uploadAnswer{next: next}, nil
}

// cancel tells the source that nothing more will come. It need not know.
func (c *Client) cancel(ctx context.Context, op, address string) {
	k := &call{op: op, method: http.MethodDelete, url: address, single: true}
	if to, err := url.Parse(address); err == nil {
		// Also while Graph asks for a pause, or the session stays in our way.
		k.anonymous = c.tokensFor(to) == nil
	}
	c.do(ctx, k, nil)
}

// A section is a part of a reader as the body of a request. A transport may
// still read a body after its answer came; once released, it no longer can.
type section struct {
	r     io.ReaderAt
	at, n int64

	mu   sync.Mutex
	done bool
	err  error // of r
}

func (s *section) attach(req *http.Request) {
	req.ContentLength = s.n
	req.GetBody = func() (io.ReadCloser, error) {
		return &sectionReader{s, io.NewSectionReader(s.r, s.at, s.n)}, nil
	}
	req.Body, _ = req.GetBody()
}

func (s *section) release() {
	s.mu.Lock()
	s.done = true
	s.mu.Unlock()
}

func (s *section) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

type sectionReader struct {
	s *section
	r *io.SectionReader
}

func (b *sectionReader) Read(p []byte) (int, error) {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	if b.s.done {
		return 0, errors.New("the request is over")
	}
	n, err := b.r.Read(p)
	if err != nil && err != io.EOF {
		b.s.err = err
	}
	return n, err
}

func (b *sectionReader) Close() error { return nil }
