package vault

import (
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress"
	"github.com/klauspost/compress/zstd"
	"github.com/kopia/kopia/repo/compression"
)

// compressed is what contents are given to kopia to be compressed by. The name is
// kopia's, and so is the form of what comes out, which its command reads, whatever
// went into it and however hard it was tried: see compressor.
const compressed compression.Name = "zstd-fastest"

// A compressor takes the place of kopia's own of that name for this process. It
// looks at each content, passes over what is packed already, and compresses the rest, and
// what repeats nothing too, as hard as kopia's "zstd" and restic do: a first backup takes
// a tenth to a seventh more of the processor for it, and all that is stored some hundredths
// less room for as long as it is kept.
//
// Kopia's compresses each block in a goroutine of its own, looks farther back, adds
// a checksum to what is authenticated anyway, and is made anew after each collection
// of garbage, with eight megabytes to be cleared.
type compressor struct {
	compression.Compressor // kopia's, which reads
	header                 []byte
	turns                  chan struct{} // as many as can be at work at once

	mu   sync.Mutex
	idle []*press // the next is the one last used, whose tables are in the processor's cache
}

// A press compresses one content at a time.
type press struct {
	zstd *zstd.Encoder // made when first needed
	buf  [blockSize]byte
}

// blockSize is the most that a block of a frame may hold, and window how far is looked
// back.
const blockSize, window = 128 << 10, 1 << 20

// Nothing compresses before all packages are initialised, and nothing changes
// kopia's tables thereafter.
func init() {
	kopias := compression.ByName[compressed]
	id := kopias.HeaderID()
	c := &compressor{Compressor: kopias, header: binary.BigEndian.AppendUint32(nil, uint32(id)), turns: make(chan struct{}, runtime.NumCPU())}
	compression.ByName[compressed], compression.ByHeaderID[id] = c, c
}

func (c *compressor) Compress(output io.Writer, input io.Reader) error {
	if _, err := output.Write(c.header); err != nil {
		return err
	}
	p := c.take()
	defer c.leave(p)
	pays, err := p.pays(input)
	switch {
	case err != nil:
		return err
	case pays:
		return p.compress(output, input)
	}
	return p.wrap(output, input)
}

func (c *compressor) take() *press {
	c.turns <- struct{}{}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.idle) == 0 {
		return new(press)
	}
	p := c.idle[len(c.idle)-1]
	c.idle = c.idle[:len(c.idle)-1]
	return p
}

func (c *compressor) leave(p *press) {
	c.mu.Lock()
	c.idle = append(c.idle, p)
	c.mu.Unlock()
	<-c.turns
}

func (p *press) compress(output io.Writer, input io.Reader) (err error) {
	if p.zstd == nil {
		if p.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithAllLitEntropyCompression(true),
			zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithWindowSize(window)); err != nil {
			return err
		}
	}
	p.zstd.Reset(output)
	_, err = p.zstd.ReadFrom(input)
	return errors.Join(err, p.zstd.Close())
}

// wrap writes a content as a frame of blocks that are not compressed. That is longer
// than the content, so that kopia stores that in its place.
func (p *press) wrap(output io.Writer, input io.Reader) error {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 7 << 3} // the frame's header: a window of one block
	for more := true; more; b = b[:0] {
		n, err := io.ReadFull(input, p.buf[:])
		last := byte(0)
		if more = err == nil; !more {
			last = 1
		}
		if !more && err != io.EOF && err != io.ErrUnexpectedEOF {
			return err
		}
		if _, err := output.Write(append(b, last|byte(n<<3), byte(n>>5), byte(n>>13))); err != nil {
			return err
		}
		if _, err := output.Write(p.buf[:n]); err != nil {
			return err
		}
	}
	return nil
}

const (
	// short is up to which length a content is compressed without a look at a sample:
	// kopia keeps it as it is when that does not make it smaller.
	short = 64 << 10
	// sampleSize is how much is looked at in each of some places of a longer one, and
	// worthwhile an estimate in any of them from which on the whole becomes smaller:
	// noise and what was packed as a whole have 0.07 at most, archives of which some
	// hundredths can be saved 0.1 and more in one place or another, and text and
	// programs 0.3 everywhere.
	sampleSize = 4 << 10
	worthwhile = 0.08
)

// pays reports whether a content, which is not yet read, becomes smaller when it is
// compressed. Where it cannot be read in places, as kopia's can, that is tried.
func (p *press) pays(input io.Reader) (bool, error) {
	content, ok := input.(io.ReadSeeker)
	if !ok {
		return true, nil
	}
	size, err := content.Seek(0, io.SeekEnd)
	pays := size <= short
	if err == nil && !pays {
		pays, err = p.sample(content, size)
	}
	if err == nil {
		_, err = content.Seek(0, io.SeekStart)
	}
	return pays, err
}

// sample looks at the beginning, the end and two places between, and at one more for
// each 512 KB, until it finds something worthwhile.
func (p *press) sample(content io.ReadSeeker, size int64) (bool, error) {
	for i, last := int64(0), 3+size>>19; i <= last; i++ {
		if _, err := content.Seek((size-sampleSize)*i/last, io.SeekStart); err != nil {
			return false, err
		}
		if _, err := io.ReadFull(content, p.buf[:sampleSize]); err != nil {
			return false, err
		}
		if compress.Estimate(p.buf[:sampleSize]) >= worthwhile {
			return true, nil
		}
	}
	return false, nil
}
