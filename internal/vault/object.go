package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"
	"sync"

	"github.com/kopia/kopia/repo/object"
)

// A Reader reads one content. ReadAt may be called by many goroutines, and
// does not move what Read reads.
type Reader interface {
	io.ReadSeekCloser
	io.ReaderAt
	Size() int64
	// Held returns a part that is in memory as a whole, or nil. It is not to be
	// changed, and stays as it is when the reader is closed.
	Held(off, n int64) []byte
}

// Open opens a content for reading, by the id that its entry has. It must be
// closed. What is read has been verified.
func (v *Vault) Open(ctx context.Context, content string) (Reader, error) {
	r, err := v.openObject(ctx, content)
	if err != nil {
		return nil, fmt.Errorf("open content %s: %w", content, err)
	}
	return r, nil
}

// An objectReader reads an object a piece at a time, as kopia has cut and verifies
// it, and keeps the piece that it read last: kopia's own reader copies each of them
// once more. It goes on in a pack's new place when another process has moved it. Its
// errors have their kinds.
type objectReader struct {
	v      *Vault
	ctx    context.Context
	oid    string
	size   int64
	pieces []object.IndirectObjectEntry // in order, without gaps

	mu   sync.Mutex
	at   int    // which piece data is
	data []byte // nil if there is none
	lent bool   // somebody has some of data, for as long as he likes
	pos  int64  // where Read goes on
}

// openObject opens an object. One that is not where the index has it may have
// been written or moved by another process a moment ago, so the index is read
// anew once.
func (v *Vault) openObject(ctx context.Context, oid string) (*objectReader, error) {
	id, err := object.ParseID(oid)
	if err != nil || id == object.EmptyID {
		return nil, fmt.Errorf("%w: %q names no object", ErrNotFound, oid)
	}
	v.objectsRead.Add(1)
	r := &objectReader{v: v, ctx: once(ctx), oid: oid}
	if err := v.fresh(ctx, func() error { return r.open(id) }); err != nil {
		return nil, v.objectError(ctx, oid, err)
	}
	return r, nil
}

func (r *objectReader) open(id object.ID) error {
	list, ok := id.IndexObjectID()
	if !ok {
		b, err := r.v.readPiece(r.ctx, id)
		r.size, r.data = int64(len(b)), b
		r.pieces = []object.IndirectObjectEntry{{Length: r.size, Object: id}}
		return err
	}
	b, err := r.v.readPiece(r.ctx, list)
	if err != nil {
		return err
	}
	var parts struct{ Entries []object.IndirectObjectEntry }
	if err := json.Unmarshal(b, &parts); err != nil {
		return fmt.Errorf("%w: %w", errList, err)
	}
	r.pieces, r.size = parts.Entries, 0
	for _, p := range parts.Entries {
		if p.Start != r.size || p.Length < 0 {
			return errList
		}
		r.size += p.Length
	}
	return nil
}

// errList is said in kopia's words of a long object's list of its pieces.
var errList = errors.New("invalid indirect object")

// largeReads is how many pieces of largePiece bytes and more are read at once: each
// is in memory twice meanwhile, as it lies in its pack and as it is, and where kopia
// reads it three times.
const largeReads, largePiece = 4, 1 << 20

// readPiece reads an object of one piece, or of few: a list of many may be long
// itself.
func (v *Vault) readPiece(ctx context.Context, id object.ID) ([]byte, error) {
	if c, packed, ok := id.ContentID(); ok && !packed {
		return v.readContent(ctx, c)
	}
	r, err := v.rep.OpenObject(ctx, id)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b := make([]byte, r.Length())
	_, err = io.ReadFull(r, b)
	return b, err
}

// load returns the piece that a position is in, from there on; nothing at the end.
// Callers hold mu, and what it returns is only theirs as long as they do.
func (r *objectReader) load(off int64) ([]byte, error) {
	if off >= r.size {
		return nil, nil
	}
	i := sort.Search(len(r.pieces), func(i int) bool { return r.pieces[i].Start+r.pieces[i].Length > off })
	p := &r.pieces[i]
	if r.at != i || r.data == nil {
		r.drop() // and not two pieces at once
		r.at = i
		err := r.v.fresh(r.ctx, func() (err error) {
			if p.Length >= largePiece {
				select {
				case r.v.reads <- struct{}{}:
					defer func() { <-r.v.reads }()
				case <-r.ctx.Done():
					return r.ctx.Err()
				}
			}
			r.data, err = r.v.readPiece(r.ctx, p.Object)
			return err
		})
		if err == nil && int64(len(r.data)) != p.Length {
			err = fmt.Errorf("unexpected chunk length %d, not %d", len(r.data), p.Length)
		}
		if err != nil {
			r.data = nil
			return nil, fmt.Errorf("read content: %w", r.v.objectError(r.ctx, r.oid, err))
		}
	}
	return r.data[off-p.Start:], nil
}

// drop gives up the piece that is in memory. Callers hold mu.
func (r *objectReader) drop() {
	if !r.lent {
		giveBack(r.data)
	}
	r.data, r.lent = nil, false
}

// piece returns the piece that a position is in, from there on; nothing at the end.
// What it returns is not to be changed, and stays as it is.
func (r *objectReader) piece(off int64) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	some, err := r.load(off)
	r.lent = r.lent || len(some) > 0
	return some, err
}

// copyTo copies what is at a position, no more than the piece has that it is in, and
// nothing at the end.
func (r *objectReader) copyTo(b []byte, off int64) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	some, err := r.load(off)
	return copy(b, some), err
}

// whole returns all of a small object. It is not to be changed.
func (r *objectReader) whole() ([]byte, error) {
	if len(r.pieces) == 1 {
		return r.piece(0)
	}
	b := make([]byte, r.size)
	_, err := r.ReadAt(b, 0)
	if err == io.EOF {
		err = nil
	}
	return b, err
}

func (r *objectReader) Held(off, n int64) []byte {
	if off < 0 || n < 1 || off+n > r.size {
		return nil
	}
	some, err := r.piece(off)
	if err != nil || int64(len(some)) < n {
		return nil // who reads it is told
	}
	return some[:n]
}

func (r *objectReader) Size() int64 { return r.size }

// Close gives back what is in memory. What is read after it is read again.
func (r *objectReader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop()
	return nil
}

func (r *objectReader) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	n, err := r.copyTo(b, r.pos)
	if n == 0 && err == nil {
		err = io.EOF
	}
	r.pos += int64(n)
	return n, err
}

// WriteTo writes what is left to read. Nobody else reads meanwhile.
func (r *objectReader) WriteTo(w io.Writer) (written int64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		some, err := r.load(r.pos)
		if err != nil || len(some) == 0 {
			return written, err
		}
		n, err := w.Write(some)
		r.pos += int64(n)
		written += int64(n)
		if err != nil {
			return written, err
		}
	}
}

func (r *objectReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.pos
	case io.SeekEnd:
		offset += r.size
	}
	if offset < 0 {
		return r.pos, errors.New("vault: seek before the content's beginning")
	}
	r.pos = offset
	return offset, nil
}

func (r *objectReader) ReadAt(b []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("vault: ReadAt before the content's beginning")
	}
	for n < len(b) {
		some, err := r.copyTo(b[n:], off+int64(n))
		if err == nil && some == 0 {
			err = io.EOF
		}
		if err != nil {
			return n, err
		}
		n += some
	}
	return n, nil
}
