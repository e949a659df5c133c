// Package quickxor computes quickXorHash, the only content hash that OneDrive
// for Business gives. It is a change indicator, not a content address: two
// contents that differ only in the order of blocks of 160 bytes have the same
// hash, so it is to be compared together with size and tags, and never used to
// find duplicates.
package quickxor

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"hash"
)

// Size is the length of a hash in bytes.
const Size = 20

// BlockSize is the period of the hash: bytes whose positions are equal modulo
// BlockSize fall on the same bits.
const BlockSize = 160

const (
	bits  = 8 * Size
	shift = 11 // bits between the places of two consecutive bytes

	// Bytes are folded into several periods at a time, since one long XOR is
	// several times as fast as many short ones.
	fold = 8 * BlockSize
)

type digest struct {
	acc [fold]byte
	n   uint64
}

// New returns a hash.Hash computing quickXorHash.
func New() hash.Hash { return new(digest) }

// Sum returns the hash of data.
func Sum(data []byte) [Size]byte {
	var d digest
	d.Write(data)
	return d.sum()
}

// Encode returns a hash in the form the service writes it: base64 with padding.
func Encode(sum []byte) string { return base64.StdEncoding.EncodeToString(sum) }

// Write adds p to the hash. It never fails.
func (d *digest) Write(p []byte) (int, error) {
	n := len(p)
	at := int(d.n % fold)
	d.n += uint64(n)
	for len(p) > 0 {
		k := subtle.XORBytes(d.acc[at:], d.acc[at:], p)
		p, at = p[k:], 0
	}
	return n, nil
}

// Sum appends the hash of what was written so far to b; more may be written
// afterwards.
func (d *digest) Sum(b []byte) []byte {
	s := d.sum()
	return append(b, s[:]...)
}

func (d *digest) sum() (out [Size]byte) {
	var period [BlockSize]byte
	for i := 0; i < fold; i += BlockSize {
		subtle.XORBytes(period[:], period[:], d.acc[i:i+BlockSize])
	}
	for k, b := range period {
		at := k * shift % bits
		v := uint16(b) << (at % 8)
		out[at/8] ^= byte(v)
		out[(at/8+1)%Size] ^= byte(v >> 8)
	}
	tail := out[Size-8:]
	binary.LittleEndian.PutUint64(tail, binary.LittleEndian.Uint64(tail)^d.n)
	return out
}

func (d *digest) Reset()       { *d = digest{} }
func (*digest) Size() int      { return Size }
func (*digest) BlockSize() int { return BlockSize }
