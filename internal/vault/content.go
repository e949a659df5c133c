package vault

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/kopia/kopia/repo/compression"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/encryption"
	"github.com/kopia/kopia/repo/format"
)

// An opener makes of a content as it lies in a pack what was written. Kopia copies each
// from buffer to buffer five times meanwhile, and unpacks it as a stream; without that a
// restore takes a fifteenth to a sixth less of the processor. It knows the form in which
// contents are written here, kopia's AES256-GCM-HMAC-SHA256 and [compressed]; whatever
// else may be in a vault, kopia reads.
type opener struct {
	keys sync.Pool // of hash.Hash, which make the keys of contents
}

// newOpener returns nil where all is in a form for kopia to read.
func newOpener(f format.Provider) *opener {
	secret, err := hkdf.Key(sha256.New, f.GetMasterKey(), []byte("encryption"), "", sha256.Size)
	if err != nil || f.GetEncryptionAlgorithm() != encryption.DefaultAlgorithm || f.GetECCOverheadPercent() != 0 {
		return nil
	}
	return &opener{sync.Pool{New: func() any { return hmac.New(sha256.New, secret) }}}
}

// aead is the cipher of a content, and what it authenticates besides.
func (o *opener) aead(id content.ID) (cipher.AEAD, []byte, error) {
	hashed := id.Hash()
	iv := hashed[len(hashed)-aes.BlockSize:]
	h := o.keys.Get().(hash.Hash)
	defer o.keys.Put(h)
	h.Reset()
	h.Write(iv)
	var key [sha256.Size]byte
	block, err := aes.NewCipher(h.Sum(key[:0]))
	if err != nil {
		return nil, nil, err
	}
	gcm, err := cipher.NewGCM(block)
	return gcm, iv, err
}

// buffers are for parts of packs, and for what comes out of them.
var buffers = sync.Pool{New: func() any { return new(buffer) }}

// unpacker copies by sixteen bytes where it has unpackRoom more than it needs; else it
// takes twice as long.
var unpacker, _ = zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(1<<30))

const unpackRoom = blockSize + 16

// readContent reads a content. What is not as it should be kopia reads once more, and
// says what is wrong with it.
func (v *Vault) readContent(ctx context.Context, id content.ID) ([]byte, error) {
	if v.opener != nil && !(id.HasPrefix() && v.place.Remote()) { // which kopia keeps on disk
		if info, err := v.rep.ContentInfo(ctx, id); err == nil && info.EncryptionKeyID == 0 &&
			(info.CompressionHeaderID == content.NoCompression || info.CompressionHeaderID == compression.HeaderZstdFastest) {
			b := buffers.Get().(*buffer)
			defer buffers.Put(b)
			if err := v.rep.BlobReader().GetBlob(ctx, info.PackBlobID, int64(info.PackOffset), int64(info.PackedLength), b); err != nil {
				return nil, fmt.Errorf("read pack %s: %w", info.PackBlobID, err)
			}
			if plain, err := v.opener.open(info, b.Bytes()); err == nil {
				return plain, nil
			}
		}
	}
	return v.rep.ContentReader().GetContent(ctx, id)
}

// open opens a content in its own place, and returns it in another.
func (o *opener) open(info content.Info, sealed []byte) ([]byte, error) {
	gcm, iv, err := o.aead(info.ContentID)
	if err != nil {
		return nil, err
	}
	n := gcm.NonceSize()
	if len(sealed) < n+gcm.Overhead() {
		return nil, fmt.Errorf("%d bytes are no content", len(sealed))
	}
	var plain []byte
	if info.CompressionHeaderID == content.NoCompression {
		plain, err = gcm.Open(nil, sealed[:n], sealed[n:], iv)
	} else if sealed, err = gcm.Open(sealed[n:n], sealed[:n], sealed[n:], iv); err == nil {
		if len(sealed) < 4 || binary.BigEndian.Uint32(sealed) != uint32(info.CompressionHeaderID) {
			return nil, errors.New("it is compressed otherwise than its index says")
		}
		plain, err = unpack(sealed[4:], int(info.OriginalLength))
	}
	if err == nil && len(plain) != int(info.OriginalLength) {
		err = fmt.Errorf("it is %d bytes, and not %d", len(plain), info.OriginalLength)
	}
	return plain, err
}

// unpack unpacks what is as long as is said.
func unpack(b []byte, size int) ([]byte, error) {
	if size >= largePiece {
		return unpacker.DecodeAll(b, takeRoom(size+unpackRoom))
	}
	room := buffers.Get().(*buffer)
	defer buffers.Put(room)
	room.Reset()
	room.Grow(size + unpackRoom)
	plain, err := unpacker.DecodeAll(b, room.AvailableBuffer())
	return bytes.Clone(plain), err
}

// largeRooms are for what is unpacked of large pieces, of which each would otherwise be memory to
// be found, cleared and collected.
var largeRooms sync.Pool

func takeRoom(size int) []byte {
	if room, ok := largeRooms.Get().(*[]byte); ok && cap(*room) >= size {
		return *room
	}
	return make([]byte, 0, size)
}

// giveBack has what a large piece is in be used again. Nobody else may have it.
func giveBack(b []byte) {
	if cap(b) >= largePiece {
		b = b[:0]
		largeRooms.Put(&b)
	}
}
