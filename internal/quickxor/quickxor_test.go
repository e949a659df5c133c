package quickxor_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"testing"

	"holdfast/internal/quickxor"
)

func ramp(n, mod int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i % mod)
	}
	return b
}

func TestKnownHashes(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   []byte
		want string
	}{
		{"empty", nil, "AAAAAAAAAAAAAAAAAAAAAAAAAAA="},
		{"00", []byte{0}, "AAAAAAAAAAAAAAAAAQAAAAAAAAA="},
		{"01", []byte{1}, "AQAAAAAAAAAAAAAAAQAAAAAAAAA="},
		{"ff", []byte{0xff}, "/wAAAAAAAAAAAAAAAQAAAAAAAAA="},
		{"a", []byte("a"), "YQAAAAAAAAAAAAAAAQAAAAAAAAA="},
		{"abc", []byte("abc"), "YRDDGAAAAAAAAAAAAwAAAAAAAAA="},
		{"hello world", []byte("hello world"), "aCgDG9jwBhDc4Q1yawMZAAAAAAA="},
		{"fox", []byte("The quick brown fox jumps over the lazy dog"), "bMSlbysmxJL6S75XwfMcQZOpcr4="},
		{"20 zeros", make([]byte, 20), "AAAAAAAAAAAAAAAAFAAAAAAAAAA="},
		{"160 ff", bytes.Repeat([]byte{0xff}, 160), "AAAAAAAAAAAAAAAAoAAAAAAAAAA="},
		{"ramp 160", ramp(160, 256), "/+EGLlnQi0dVs5OErXWhEnz5wg4="},
		{"ramp 161", ramp(161, 256), "X+EGLlnQi0dVs5OErHWhEnz5wg4="},
		{"ramp 256", ramp(256, 256), "QkGEfSisZcA7k+FCh71r2dbCayY="},
		{"ramp 1760", ramp(1760, 251), "vTWo8zUUTrHh3p+tbpjj9Sz71N8="},
		{"ramp 65536", ramp(65536, 251), "QXB5kWN93cxdszFlycj0AHeT63Q="},
		{"ramp 327680", ramp(327680, 251), "dVxjLVlWbbPTEZb19aiSkx+BLpI="},
		{"ramp 1000000", ramp(1000000, 251), "HdE6CZEtWr3VHJPlFJtbLXBwV0c="},
		{"10 MiB of A", bytes.Repeat([]byte{'A'}, 10<<20), "AAAAAAAAAAAAAAAAAACgAAAAAAA="},
	} {
		sum := quickxor.Sum(tt.in)
		if got := quickxor.Encode(sum[:]); got != tt.want {
			t.Errorf("%s: hash = %s, want %s", tt.name, got, tt.want)
		}
	}
}

// slow follows the definition bit by bit.
func slow(p []byte) []byte {
	v := make([]byte, 20)
	for i, b := range p {
		for bit := range 8 {
			if b>>bit&1 == 1 {
				at := (11*i + bit) % 160
				v[at/8] ^= 1 << (at % 8)
			}
		}
	}
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], uint64(len(p)))
	for i := range n {
		v[12+i] ^= n[i]
	}
	return v
}

func TestAnySplitGivesTheDefinedHash(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		p := make([]byte, r.IntN(5000))
		for i := range p {
			p[i] = byte(r.Uint32())
		}
		h := quickxor.New()
		h.Write([]byte("left over"))
		h.Reset()
		for rest := p; len(rest) > 0; {
			k := 1 + r.IntN(len(rest))
			h.Write(rest[:k])
			h.Sum(nil) // asking in between changes nothing
			rest = rest[k:]
		}
		if got, want := h.Sum(nil), slow(p); !bytes.Equal(got, want) {
			t.Fatalf("hash of %d bytes = %x, want %x", len(p), got, want)
		}
	}
}

func BenchmarkHash(b *testing.B) {
	data := ramp(1<<20, 251)
	for name, h := range map[string]hash.Hash{"quickxor": quickxor.New(), "crc32": crc32.NewIEEE(), "sha256": sha256.New()} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				h.Write(data)
			}
			io.Discard.Write(h.Sum(nil))
		})
	}
}
