package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/object"
	"github.com/kopia/kopia/repo/splitter"
)

// doubting marks a context in which no stored copy is believed to be whole.
type doubting struct{}

// newWriter returns a writer of an object. Kopia stores nothing of a content that
// it believes to have; so where a stored copy is known to be damaged, or none is
// believed, what is written passes a healer.
func (v *Vault) newWriter(ctx context.Context, w repo.DirectRepositoryWriter, opt object.WriterOptions) object.Writer {
	ctx = once(ctx)
	ow := w.NewObjectWriter(ctx, opt)
	v.damage.Lock()
	suspected := v.damage.suspected
	v.damage.Unlock()
	doubt := ctx.Value(doubting{}) != nil
	split := splitter.GetFactory(v.rep.ObjectFormat().Splitter)
	if suspected == 0 && !doubt || split == nil {
		return ow
	}
	return &healer{Writer: ow, v: v, ctx: ctx, w: w, opt: opt, split: split(), doubt: doubt}
}

// A healer stores anew what is damaged of the contents that pass it. It cuts an
// object as kopia does, so that it has each content in hand, and writes that
// first; the copy in the index is given up only when it cannot be read and these
// bytes take its place.
type healer struct {
	object.Writer
	v     *Vault
	ctx   context.Context
	w     repo.DirectRepositoryWriter
	opt   object.WriterOptions
	split splitter.Splitter
	doubt bool

	chunk  []byte
	chunks []object.ID // as long as kopia's own list of them
}

// wholeChunk is a splitter that leaves the longest content in one piece.
const wholeChunk = "FIXED-8M"

func (h *healer) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		n := h.split.NextSplitPoint(rest)
		if n < 0 {
			h.chunk = append(h.chunk, rest...)
			break
		}
		h.chunk = append(h.chunk, rest[:n]...)
		if err := h.heal(); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return h.Writer.Write(b)
}

func (h *healer) Result() (object.ID, error) {
	if len(h.chunk) > 0 || len(h.chunks) == 0 {
		if err := h.heal(); err != nil {
			return object.EmptyID, err
		}
	}
	id, err := h.Writer.Result()
	if err != nil {
		return id, err
	}
	list, ok := id.IndexObjectID()
	if !ok {
		return id, nil
	}
	// Is it the list of its contents that is damaged?
	struck := false
	for _, c := range madeOf(h.ctx, h.w, list) {
		bad, err := h.v.strike(h.ctx, h.w, c, h.doubt)
		if err != nil {
			return id, err
		}
		struck = struck || bad
	}
	if !struck {
		return id, nil
	}
	ow := h.w.NewObjectWriter(h.ctx, h.opt)
	defer ow.Close()
	for _, chunk := range h.chunks {
		r, err := h.w.OpenObject(h.ctx, chunk)
		if err != nil {
			return id, err
		}
		b := make([]byte, r.Length())
		_, err = io.ReadFull(r, b)
		if err = errors.Join(err, r.Close()); err == nil {
			_, err = ow.Write(b)
		}
		if err != nil {
			return id, err
		}
	}
	return ow.Result()
}

func (h *healer) Close() error {
	h.split.Close()
	return h.Writer.Close()
}

// heal writes the chunk as an object of its own, which is the content that the
// whole object will have in its place.
func (h *healer) heal() error {
	opt := h.opt
	opt.Splitter = wholeChunk
	id, err := writeBytes(h.ctx, h.w, opt, h.chunk)
	if err != nil {
		return err
	}
	if c, _, ok := id.ContentID(); ok {
		struck, err := h.v.strike(h.ctx, h.w, c, h.doubt)
		if err != nil {
			return err
		}
		if struck {
			if _, err := writeBytes(h.ctx, h.w, opt, h.chunk); err != nil {
				return err
			}
			if b, err := h.w.ContentManager().GetContent(h.ctx, c); err != nil || !bytes.Equal(b, h.chunk) {
				return fmt.Errorf("content %s was stored anew and does not read back: %w", c, err)
			}
			h.v.log.InfoContext(h.ctx, "vault: a damaged content was stored anew", "content", c.String())
		}
	}
	h.chunks, h.chunk = append(h.chunks, id), h.chunk[:0]
	return nil
}

// strike takes a content that was noted as damaged, or is doubted, out of the
// index, and reports whether it did: not when it can be read after all.
func (v *Vault) strike(ctx context.Context, w repo.DirectRepositoryWriter, c content.ID, doubt bool) (bool, error) {
	v.damage.Lock()
	defer v.damage.Unlock()
	if !doubt && !v.damage.contents[c] {
		return false, nil
	}
	err := v.fresh(ctx, func() error { _, err := w.ContentManager().GetContent(ctx, c); return err })
	switch {
	case err == nil:
		v.trust(c)
		return false, nil
	case missing(err):
		v.trust(c)
		return true, nil
	case !damaged(err):
		return false, err
	}
	if there := v.there(ctx); there != nil {
		return false, there
	}
	if err := w.ContentManager().DeleteContent(ctx, c); err != nil {
		return false, err
	}
	v.trust(c)
	return true, nil
}

// trust notes of a content that was suspected that it is whole, or will be: the lock is held.
func (v *Vault) trust(c content.ID) {
	if v.damage.contents[c] {
		v.damage.contents[c] = false
		v.damage.suspected--
	}
}
