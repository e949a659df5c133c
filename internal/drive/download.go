package drive

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/quickxor"
)

// A Download is the content of a file as it is being read. It is not for use by
// many goroutines. Close it, read to the end or not.
type Download struct {
	// Item is the file as it was just before its content.
	Item  Item
	proof Proof

	c    *Client
	ctx  context.Context
	d    backup.DriveID
	op   string
	hash hash.Hash

	body  io.ReadCloser
	stop  context.CancelFunc
	stall *time.Timer
	read  int64 // bytes handed over
	total int64 // of the content, or -1 while not known
	tries int   // that failed since the last byte
	err   error // the end
}

// A Proof says how far a content that was read to its end is known to be the
// item's.
type Proof int

const (
	// Unstated: the source states neither hash nor size to compare with.
	Unstated Proof = iota
	// Confirmed: it has the hash that the source states, or where there is none
	// the size.
	Confirmed
	// Mismatch: it has not the hash or size that the source states although the
	// item did not change meanwhile. The source rewrites some documents after
	// they are stored, and keeps the old hash.
	Mismatch
)

// Proof says, once Read has returned io.EOF, what the content was compared with.
func (x *Download) Proof() Proof { return x.proof }

// Sum returns the quickXorHash of what was read so far.
func (x *Download) Sum() string { return x.sum() }

// stalled is how long a content may bring nothing before it is asked for anew.
const stalled = time.Minute

// Download returns the item as it is now, and its content. Reading goes on
// where a connection broke, as long as the item's content stays the same; when
// it does not, Read fails with ErrChanged, as it does at the end when the whole
// does not have the item's hash because the item changed. Reading to io.EOF
// without an error means that the content is complete.
func (c *Client) Download(ctx context.Context, d backup.DriveID, id backup.ItemID) (*Download, error) {
	it, err := c.Item(ctx, d, id)
	if err != nil {
		return nil, err
	}
	x := &Download{Item: it, c: c, ctx: ctx, d: d, op: onItem("download item", d, id), hash: quickxor.New(), total: -1}
	switch {
	case it.Unreadable == Malware:
		return nil, &Error{Op: x.op, kind: ErrMalware}
	case it.Kind != backup.File || it.Unreadable != "":
		return nil, &Error{Op: x.op, kind: ErrNotFile}
	case it.Size == 0 && (it.Hash == "" || it.Hash == x.sum()):
		x.err = io.EOF // there is nothing to ask for
		return x, nil
	}
	for {
		if err = x.open(); err == nil {
			return x, nil
		}
		if err = x.again(err); err != nil {
			x.Close()
			return nil, err
		}
	}
}

func (x *Download) sum() string { return quickxor.Encode(x.hash.Sum(nil)) }

// Read reads the next part of the content.
func (x *Download) Read(p []byte) (int, error) {
	for x.err == nil {
		if x.body == nil {
			switch err := x.open(); {
			case err == errEnd:
				x.err = x.verify()
				continue
			case err != nil:
				x.err = x.again(err)
				continue
			}
		}
		x.stall.Reset(stalled)
		n, err := x.body.Read(p)
		x.stall.Stop()
		if n > 0 {
			x.read += int64(n)
			x.hash.Write(p[:n])
			x.tries = 0
		}
		switch {
		case err == nil:
		case err != io.EOF || x.total >= 0 && x.read < x.total:
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			x.err = x.again(noAnswer(x.op, err))
		default:
			x.err = x.verify()
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, x.err
}

// errEnd says that there is nothing beyond what was read.
var errEnd = errors.New("no more content")

// open asks for the content from where reading stands.
func (x *Download) open() error {
	ctx, cancel := context.WithCancel(x.ctx)
	k := &call{
		op:     x.op,
		method: http.MethodGet,
		url:    x.c.at("drives", string(x.d), "items", string(x.Item.ID), "content"),
		// Anything else than the bytes as they are would break ranges and hash.
		header: http.Header{"Accept": {"*/*"}, "Accept-Encoding": {"identity"}},
		cost:   costGet,
		single: true,
		stop:   cancel,
	}
	if x.read > 0 {
		k.header.Set("Range", fmt.Sprintf("bytes=%d-", x.read))
	}
	resp, err := x.c.do(ctx, k, nil)
	if err != nil {
		late := ctx.Err() != nil && x.ctx.Err() == nil
		cancel()
		if late {
			return noAnswer(x.op, errors.New("no answer in time"))
		}
		if e, ok := errors.AsType[*Error](err); ok && e.Status == http.StatusRequestedRangeNotSatisfiable && x.read > 0 {
			return errEnd
		}
		return err
	}
	stall := time.AfterFunc(stalled, cancel)
	stall.Stop()
	skip, total, err := x.place(resp)
	if err == nil && skip > 0 {
		stall.Reset(stalled)
		_, err = io.CopyN(io.Discard, resp.Body, skip)
		stall.Stop()
	}
	if err != nil {
		resp.Body.Close()
		cancel()
		return noAnswer(x.op, err)
	}
	x.body, x.stop, x.stall, x.total = resp.Body, cancel, stall, total
	return nil
}

// place returns how far before the wanted place an answer begins, and how long
// the whole content is, or -1.
func (x *Download) place(resp *http.Response) (skip, total int64, err error) {
	if resp.StatusCode != http.StatusPartialContent {
		return x.read, resp.ContentLength, nil
	}
	span, whole, ok := strings.Cut(strings.TrimPrefix(resp.Header.Get("Content-Range"), "bytes "), "/")
	from, _, ok2 := strings.Cut(span, "-")
	begin, err := strconv.ParseInt(from, 10, 64)
	if !ok || !ok2 || err != nil || begin > x.read {
		return 0, 0, errors.New("the answer is not of the range asked for")
	}
	if total, err = strconv.ParseInt(whole, 10, 64); err != nil {
		if total = -1; resp.ContentLength >= 0 {
			total = begin + resp.ContentLength
		}
	}
	return x.read - begin, total, nil
}

// again decides what follows a failure: nil when reading may go on with a new
// request, else the error to return.
func (x *Download) again(err error) error {
	x.drop()
	if x.ctx.Err() != nil {
		return during(x.ctx, x.op)
	}
	e, ok := errors.AsType[*Error](err)
	if !ok || !e.again {
		return err
	}
	x.tries++
	if x.tries >= x.c.cfg.Tries {
		return err
	}
	if err := x.c.pause(x.ctx, x.op, e, x.tries); err != nil {
		return err
	}
	if now, err := x.c.Item(x.ctx, x.d, x.Item.ID); err != nil {
		return err
	} else if !sameContent(x.Item, now) {
		return &Error{Op: x.op, kind: ErrChanged}
	}
	return nil
}

// verify decides what the end of the content means: io.EOF when it is complete.
func (x *Download) verify() error {
	x.drop()
	if x.Item.Hash != "" && x.Item.Hash == x.sum() {
		x.proof = Confirmed
		return io.EOF
	}
	if x.total < 0 && x.read < x.Item.Size && x.tries == 0 {
		// Nobody said how long it would be; it may have been cut off. If there
		// is more, it comes when it is asked for.
		return x.again(noAnswer(x.op, io.ErrUnexpectedEOF))
	}
	// There was no hash, or another one: did the item change meanwhile?
	now, err := x.c.Item(x.ctx, x.d, x.Item.ID)
	switch {
	case err != nil:
		return err
	case !sameContent(x.Item, now):
		return &Error{Op: x.op, kind: ErrChanged}
	case now.Hash != "" && now.Hash == x.sum(), now.Hash == "" && x.read == x.Item.Size:
		x.proof = Confirmed
	case now.Hash != "" || x.Item.Size >= 0:
		x.proof = Mismatch
	}
	return io.EOF
}

func (x *Download) drop() {
	if x.body != nil {
		x.stall.Stop()
		x.body.Close()
		x.stop()
		x.body = nil
	}
}

// Close ends the download. It may be called at any time, and twice.
func (x *Download) Close() error {
	x.drop()
	if x.err == nil {
		x.err = errors.New("download: read after close")
	}
	return nil
}
