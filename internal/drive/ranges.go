package drive

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
)

// A long content whose hash was listed is asked for a range at a time, and the next
// ranges while one is read: a single connection to the service brings less than a
// machine can take. What is read is in order all the same, and proved as a whole.
//
// Whatever a range answers but itself, all of itself and of the same version ends
// that: the rest is read as if there were no ranges. And they are never asked for
// by Download, which is how a content is read that did not have its hash.
const (
	// rangeSize is how much is asked for at once. Each range is a call of the
	// source's, of which a minute allows fewer than an hour's bytes would be in
	// shorter ones.
	rangeSize = 8 << 20
	// rangesAhead is how many of one content are asked for ahead, and rangesHeld how
	// many of all contents: so much of memory they may take.
	rangesAhead = 2
	rangesHeld  = 4
)

// noRanges are the answers of a source that knows no ranges, or not this one: the
// content is asked for without.
var noRanges = map[int]bool{
	http.StatusBadRequest: true, http.StatusMethodNotAllowed: true, http.StatusPreconditionFailed: true,
	http.StatusRequestedRangeNotSatisfiable: true, http.StatusNotImplemented: true,
}

// A piece is a range that was asked for ahead.
type piece struct {
	from int64
	stop context.CancelFunc
	done chan struct{}
	body []byte // all of the range, once done; nil if it did not come as it should
}

// ranges are those of one content.
type ranges struct {
	may   bool // the content was listed with its hash, and ranges are not refused
	on    bool
	where address // that answered
	etag  string
	ahead []*piece // in order, without gaps
}

// begin decides whether a content is to be read in ranges, and returns the first.
func (x *Download) begin() (header string) {
	if !x.ranges.may || x.read > 0 || x.whole || x.Item.Size <= rangeSize || len(x.c.ranges) == cap(x.c.ranges) {
		return ""
	}
	x.ranges.on = true
	return rangeFrom(0, x.Item.Size)
}

func rangeFrom(from, size int64) string {
	return fmt.Sprintf("bytes=%d-%d", from, min(from+rangeSize, size)-1)
}

// began learns from the first answer how the others have to be.
func (x *Download) began(resp *http.Response, ends int64) {
	r := &x.ranges
	if resp.StatusCode != http.StatusPartialContent || x.total != x.Item.Size || ends != rangeSize {
		r.on = false
		return
	}
	r.etag = resp.Header.Get("ETag")
	if resp.Request != nil && resp.Request.URL != nil {
		r.where = address{resp.Request.URL.String(), x.c.cfg.Clock()}
	}
	x.askAhead(ends)
}

// askAhead asks for ranges from there on, as many as there may be.
func (x *Download) askAhead(from int64) {
	r := &x.ranges
	if n := len(r.ahead); n > 0 {
		from = r.ahead[n-1].from + rangeSize
	}
	for ; r.on && from < x.total && len(r.ahead) < rangesAhead; from += rangeSize {
		select {
		case x.c.ranges <- struct{}{}:
		default:
			return
		}
		ctx, cancel := context.WithCancel(x.ctx)
		p := &piece{from: from, stop: cancel, done: make(chan struct{})}
		r.ahead = append(r.ahead, p)
		k := x.call(cancel)
		k.header.Set("Range", rangeFrom(from, x.total))
		k.direct = r.where
		go func() {
			defer close(p.done)
			p.body = x.c.piece(ctx, k, p, min(rangeSize, x.total-p.from), x.total, r.etag)
		}()
	}
}

// piece returns a range, or nil.
func (c *Client) piece(ctx context.Context, k *call, p *piece, length, of int64, etag string) []byte {
	resp, err := c.do(ctx, k, nil)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	begin, ends, total, err := place(resp)
	if is := resp.Header.Get("ETag"); err != nil || begin != p.from || ends != p.from+length || total != of || is != etag {
		return nil
	}
	b := make([]byte, length)
	body := &patient{ReadCloser: resp.Body, stop: p.stop, clock: c.cfg.Clock}
	if _, err := io.ReadFull(body, b); err != nil {
		return nil
	}
	if n, err := body.Read(make([]byte, 1)); n > 0 || err != io.EOF {
		return nil
	}
	return b
}

// next takes the range that reading has come to, if it was asked for and came.
func (x *Download) next() bool {
	r := &x.ranges
	if len(r.ahead) == 0 || x.whole || r.ahead[0].from != x.read {
		x.alone()
		return false
	}
	p := r.ahead[0]
	select {
	case <-p.done:
	case <-x.ctx.Done():
		return false
	}
	if p.body == nil {
		x.alone()
		return false
	}
	r.ahead = r.ahead[1:]
	x.body, x.stop, x.ends = &held{*bytes.NewReader(p.body), p, x.c}, p.stop, p.from+int64(len(p.body))
	x.askAhead(x.ends)
	return true
}

// held is a range that is being read.
type held struct {
	bytes.Reader
	p *piece
	c *Client
}

func (h *held) Close() error {
	if h.p != nil {
		h.p, h.Reader = nil, bytes.Reader{}
		<-h.c.ranges
	}
	return nil
}

// alone gives up what was asked for ahead: reading goes on without.
func (x *Download) alone() {
	r := &x.ranges
	r.on = false
	for _, p := range r.ahead {
		p.stop()
		go func() {
			<-p.done
			<-x.c.ranges
		}()
	}
	r.ahead = nil
}
