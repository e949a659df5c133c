package vault

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/format"
)

// otherFormat is a vault's format but for the name of its encryption.
type otherFormat struct{ format.Provider }

func (otherFormat) GetEncryptionAlgorithm() string { return "CHACHA20-POLY1305-HMAC-SHA256" }

// manyKinds fills a vault with contents of each kind, and returns what is known of all
// that is in it.
func manyKinds(t testing.TB, v *Vault) []content.Info {
	t.Helper()
	u := begin(t, v, Sealed{})
	u.Put(folder("root", "", "root"))
	random := rand.New(rand.NewPCG(1, 2))
	for i, n := range []int{1, 2, 100, 4 << 10, short, short + 1, 100_000, blockSize, 1 << 20, 9 << 20} {
		noise := make([]byte, n)
		for k := range noise {
			noise[k] = byte(random.Uint32())
		}
		text := strings.Repeat(fmt.Sprintf("All work %d and no play. ", i), n/20+1)[:n]
		for kind, all := range map[string]string{"noise": string(noise), "text": text, "both": text + string(noise) + text} {
			u.Put(file(t, u, fmt.Sprint(kind, i), "root", fmt.Sprint(kind, i), all))
		}
	}
	seal(t, u, noon)
	var infos []content.Info
	err := v.rep.ContentReader().IterateContents(t.Context(), content.IterateOptions{}, func(i content.Info) error {
		infos = append(infos, i)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return infos
}

// Each content of a vault is opened, and is what kopia makes of it; and whatever is
// changed of it, or of what the index says, it is not opened as something else.
func TestContentsAreOpenedAsKopiaDoes(t *testing.T) {
	v, _ := newVault(t)
	if newOpener(otherFormat{v.rep.ContentReader().ContentFormat()}) != nil {
		t.Error("another form than ours was not left to kopia")
	}
	random := rand.New(rand.NewPCG(3, 4))
	kinds := map[content.ID]int{}
	opened := map[bool]int{}
	for _, info := range manyKinds(t, v) {
		want, err := v.rep.ContentReader().GetContent(t.Context(), info.ContentID)
		if err != nil {
			t.Fatal(err)
		}
		var b buffer
		if err := v.rep.BlobReader().GetBlob(t.Context(), info.PackBlobID, int64(info.PackOffset), int64(info.PackedLength), &b); err != nil {
			t.Fatal(err)
		}
		if got, err := v.opener.open(info, bytes.Clone(b.Bytes())); err != nil || !bytes.Equal(got, want) {
			t.Errorf("content %s of %d bytes is opened as %d, %v", info.ContentID, len(want), len(got), err)
		}
		opened[info.CompressionHeaderID != content.NoCompression]++
		kinds[info.ContentID]++
		for range 20 {
			spoiled, said := bytes.Clone(b.Bytes()), info
			switch random.IntN(5) {
			case 0:
				spoiled = spoiled[:random.IntN(len(spoiled))]
			case 1:
				said.OriginalLength += uint32(random.IntN(3)) + 1
			case 2:
				said.OriginalLength -= min(said.OriginalLength, uint32(random.IntN(3))+1)
			case 3:
				said.CompressionHeaderID ^= 0x1101 // what is compressed is not, or the other way round
			default:
				spoiled[random.IntN(len(spoiled))] ^= 1 << random.IntN(8)
			}
			if got, err := v.opener.open(said, spoiled); err == nil {
				t.Errorf("content %s of %d bytes, spoiled, is opened as %d", info.ContentID, len(want), len(got))
			}
		}
	}
	if opened[true] < 10 || opened[false] < 10 {
		t.Errorf("%v contents were compressed or not: too few to tell", opened)
	}
}

// What is not opened here is read by kopia, which says what is wrong.
func TestKopiaReadsWhatIsNotOpened(t *testing.T) {
	v, _ := newVault(t)
	u := begin(t, v, Sealed{})
	u.Put(folder("root", "", "root"))
	text := strings.Repeat("All work and no play. ", 1000)
	e := file(t, u, "1", "root", "1", text)
	seal(t, u, noon)
	v.opener = newOpener(otherKey{v.rep.ContentReader().ContentFormat()})
	r, err := v.Open(t.Context(), e.Content)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != text {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}

// otherKey is a vault's format with another key.
type otherKey struct{ format.Provider }

func (otherKey) GetMasterKey() []byte { return make([]byte, 32) }

// BenchmarkReadContent reads contents of files beside kopia's reader.
func BenchmarkReadContent(b *testing.B) {
	v, _ := newVault(b)
	infos := slices.DeleteFunc(manyKinds(b, v), func(i content.Info) bool { return i.ContentID.HasPrefix() })
	var size int64
	for _, i := range infos {
		size += int64(i.OriginalLength)
	}
	for name, read := range map[string]func(content.ID) ([]byte, error){
		"holdfast": func(id content.ID) ([]byte, error) { return v.readContent(b.Context(), id) },
		"kopia":    func(id content.ID) ([]byte, error) { return v.rep.ContentReader().GetContent(b.Context(), id) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				for _, i := range infos {
					if got, err := read(i.ContentID); err != nil || len(got) != int(i.OriginalLength) {
						b.Fatalf("%d bytes, %v", len(got), err)
					}
				}
			}
		})
	}
}

// Where a large piece was is used again once nobody has it: what is read, by whomever, and what is
// held stays what it is.
func TestWhatIsReadStaysAsItIs(t *testing.T) {
	v, _ := newVault(t)
	u := begin(t, v, Sealed{})
	r := rand.New(rand.NewPCG(1, 2))
	const files, pieces = 6, 2
	var ids []string
	want := map[string][]byte{}
	for range files {
		b := make([]byte, pieces*(9<<20)) // kopia's pieces are of 8 MB at most
		for i := 0; i < len(b); i += 64 {
			b[i] = byte(r.Uint32()) // which leaves something to be compressed
		}
		c, err := u.Write(t.Context(), "file", bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		ids, want[c.ID] = append(ids, c.ID), b
	}
	if err := v.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for n := range 8 {
		r := rand.New(rand.NewPCG(3, uint64(n)))
		all.Go(func() {
			type held struct {
				is   []byte
				want []byte
			}
			var helds []held
			for range 12 {
				id := ids[r.IntN(files)]
				whole := want[id]
				c, err := v.Open(t.Context(), id)
				if err != nil {
					t.Error(err)
					return
				}
				var parts sync.WaitGroup
				for range 2 {
					off, length := r.Int64N(int64(len(whole))), 1+r.Int64N(3<<20)
					length = min(length, int64(len(whole))-off)
					parts.Go(func() {
						b := make([]byte, length)
						if _, err := c.ReadAt(b, off); err != nil || !bytes.Equal(b, whole[off:off+length]) {
							t.Errorf("%d bytes at %d are others: %v", length, off, err)
						}
					})
				}
				if n%2 == 0 {
					off := r.Int64N(int64(len(whole) - 100))
					if b := c.Held(off, 100); b != nil {
						helds = append(helds, held{b, whole[off : off+100]})
					}
				}
				parts.Wait()
				if n%3 == 0 {
					var b bytes.Buffer
					if _, err := c.(io.WriterTo).WriteTo(&b); err != nil || !bytes.Equal(b.Bytes(), whole) {
						t.Errorf("what is written is another: %v", err)
					}
				}
				c.Close()
				for _, h := range helds {
					if !bytes.Equal(h.is, h.want) {
						t.Error("what is held has changed")
					}
				}
			}
			if n%2 == 0 && len(helds) == 0 {
				t.Error("nothing was held")
			}
		})
	}
	all.Wait()
}
