package drive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/quickxor"
)

// A Target is where content goes: into an item that exists, or under a name
// that does not.
type Target struct {
	Item    backup.ItemID // replace this file's content, or
	Parent  backup.ItemID // create a file in this folder
	Name    string        // by this name; if it is taken, ErrExists
	IfMatch string        // with Item: an eTag or cTag; if the item's is another, ErrChanged
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

// maxSessions is how often an upload whose session is lost begins anew.
const maxSessions = 3

// Upload writes size bytes of r to a file, with the times given, and returns
// the item as it then is. It goes on where a connection broke, and finds out
// whether something took effect whose answer was lost, so that nothing is
// written twice. It no longer reads r when it returns.
func (c *Client) Upload(ctx context.Context, d backup.DriveID, to Target, r io.ReaderAt, size int64, t Times) (Item, error) {
	u := &upload{c: c, d: d, to: to, r: r, size: size, times: t, op: "upload to " + to.String() + " of drive " + string(d)}
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
		if n == maxSessions {
			return Item{}, &Error{Op: u.op, Err: err, kind: ErrUnavailable}
		}
	}
}

type upload struct {
	c     *Client
	d     backup.DriveID
	to    Target
	r     io.ReaderAt
	size  int64
	times Times
	op    string
	hash  string // of the whole, once it was needed
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
	}
	var w wireItem
	_, err := u.c.do(ctx, k, &w)
	it := w.item()
	if err != nil {
		var ok bool
		if !k.unclear {
			return it, err
		}
		if it, ok = u.arrived(ctx); !ok {
			return it, err
		}
	}
	return u.dated(ctx, it)
}

// dated returns it with the times of the upload.
func (u *upload) dated(ctx context.Context, it Item) (Item, error) {
	if u.times.fits(it) {
		return it, nil
	}
	return u.c.Patch(ctx, u.d, it.ID, Patch{Times: &u.times})
}

// arrived reports whether the target has our content.
func (u *upload) arrived(ctx context.Context) (it Item, ok bool) {
	var err error
	if u.to.Item != "" {
		it, err = u.c.Item(ctx, u.d, u.to.Item)
	} else {
		it, err = u.c.named(ctx, u.d, u.to.Parent, u.to.Name)
	}
	if err != nil || it.Kind != backup.File || it.Size != u.size {
		return it, false
	}
	if u.size == 0 {
		return it, true
	}
	if u.hash == "" {
		h := quickxor.New()
		if _, err := io.Copy(h, io.NewSectionReader(u.r, 0, u.size)); err != nil {
			return it, false
		}
		u.hash = quickxor.Encode(h.Sum(nil))
	}
	return it, it.Hash == u.hash
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

// session uploads through one upload session.
func (u *upload) session(ctx context.Context) (_ Item, err error) {
	type item struct {
		Conflict string     `json:"@microsoft.graph.conflictBehavior"`
		Name     string     `json:"name,omitempty"`
		Times    *wireTimes `json:"fileSystemInfo,omitempty"`
	}
	var s wireSession
	k := &call{
		op:     u.op,
		method: http.MethodPost,
		url:    u.address("createUploadSession"),
		header: ifMatch(u.to.IfMatch),
		cost:   costWrite,
		json: struct {
			Item item `json:"item"`
		}{item{u.conflict(), u.to.Name, u.times.wire()}},
	}
	if _, err := u.c.do(ctx, k, &s); err != nil {
		return Item{}, err
	}
	if s.UploadURL == "" {
		return Item{}, &Error{Op: u.op, Err: errors.New("the source gave no address to upload to"), kind: ErrUnavailable}
	}
	defer func() {
		if err != nil && !errors.Is(err, errSessionLost) {
			u.cancel(ctx, s.UploadURL)
		}
	}()

	unclear := false // whether something sent may have finished the upload
	tries := 0
	part := span{0, min(fragment, u.size)}
	for {
		answer, err := u.send(ctx, s.UploadURL, part)
		if err == nil && answer.finished {
			return u.dated(ctx, answer.item)
		}
		if err == nil && answer.next.from > part.from {
			part, tries = answer.next, 0
			continue
		}
		// Whatever went wrong, the session knows how far we are.
		e, _ := errors.AsType[*Error](err)
		switch {
		case ctx.Err() != nil:
			return Item{}, during(ctx, u.op)
		case err == nil: // it wants what it was sent, or nothing and yet is not finished
			e = &Error{Op: u.op, Err: errors.New("the upload does not advance"), kind: ErrUnavailable}
		case e == nil:
			return Item{}, err
		case e.Status == http.StatusNotFound, e.Status == http.StatusGone, e.Status == http.StatusUnauthorized:
			return Item{}, errSessionLost
		case e.again:
			unclear = true
		case e.Status != http.StatusRequestedRangeNotSatisfiable:
			if unclear {
				if it, ok := u.arrived(ctx); ok {
					return u.dated(ctx, it)
				}
			}
			return Item{}, err
		}
		if tries++; tries >= u.c.cfg.Tries {
			return Item{}, e
		}
		if e.Status != http.StatusRequestedRangeNotSatisfiable || tries > 1 {
			if err := u.c.pause(ctx, u.op, e, tries); err != nil {
				return Item{}, err
			}
		}
		var state wireSession
		look := &call{op: u.op, method: http.MethodGet, url: s.UploadURL, cost: costGet}
		if _, err := u.c.do(ctx, look, &state); err != nil {
			if e, ok := errors.AsType[*Error](err); ok && !e.again {
				return Item{}, errSessionLost
			}
			return Item{}, err
		}
		var ok bool
		if part, ok = state.next(u.size); !ok {
			return Item{}, errSessionLost // or finished, which is found out next
		}
	}
}

// An uploadAnswer is what the source says to a fragment.
type uploadAnswer struct {
	finished bool
	item     Item // when finished
	next     span // else
}

// send sends a part of the file.
func (u *upload) send(ctx context.Context, address string, part span) (uploadAnswer, error) {
	body := &section{r: u.r, at: part.from, n: part.to - part.from}
	defer body.release()
	var w struct {
		wireItem
		wireSession
	}
	k := &call{
		op:     u.op,
		method: http.MethodPut,
		url:    address,
		header: http.Header{"Content-Range": {fmt.Sprintf("bytes %d-%d/%d", part.from, part.to-1, u.size)}},
		body:   body,
		cost:   costWrite,
		limit:  longCall,
		single: true,
	}
	resp, err := u.c.do(ctx, k, &w)
	if err != nil {
		if body.failed() != nil {
			err = fmt.Errorf("%s: read what is to be uploaded: %w", u.op, body.failed())
		}
		return uploadAnswer{}, err
	}
	if resp.StatusCode != http.StatusAccepted {
		return uploadAnswer{finished: true, item: w.item()}, nil
	}
	next, ok := w.next(u.size)
	if !ok && len(w.NextExpectedRanges) == 0 && part.to < u.size {
		next = span{part.to, min(part.to+fragment, u.size)}
	}
	return uploadAnswer{next: next}, nil
}

// cancel tells the source that nothing more will come. It need not know.
func (u *upload) cancel(ctx context.Context, address string) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer stop()
	u.c.do(ctx, &call{op: u.op, method: http.MethodDelete, url: address, single: true}, nil)
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
	req.GetBody = func() (io.ReadCloser, error) {
		return &sectionReader{s, io.NewSectionReader(s.r, s.at, s.n)}, nil
	}
	req.Body, _ = req.GetBody()
	req.ContentLength = s.n
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
