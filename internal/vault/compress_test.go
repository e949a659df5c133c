package vault

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/kopia/kopia/repo/compression"
)

// A content is compressed where a sample shows that it becomes smaller, wherever in it
// that is, and left as it is where it does not. Either way kopia's own reader reads
// what came out.
func TestWhatIsCompressed(t *testing.T) {
	text := func(n int) []byte { return []byte(strings.Repeat("All work and no play. ", n/22+1))[:n] }
	noise := func(n int) []byte {
		b := make([]byte, n)
		rand.NewChaCha8([32]byte{}).Read(b)
		return b
	}
	c := compression.ByName[compressed].(*compressor)
	for i, tt := range []struct {
		content []byte
		smaller bool
		longer  bool // and not even tried
	}{
		{nil, false, false},
		{text(1), false, false},
		{text(100), true, false},
		{text(short), true, false},
		{text(5 << 20), true, false},
		{noise(100), false, false},
		{noise(short), false, false},
		{noise(short + 1), false, true},
		{noise(blockSize), false, true},
		{noise(5<<20 + 7), false, true},
		{append(noise(200_000), text(20_000)...), true, false},
		{slices.Concat(noise(2<<20), text(1<<20), noise(2<<20)), true, false},
	} {
		t.Run(fmt.Sprint(i, len(tt.content)), func(t *testing.T) {
			for name, input := range map[string]interface {
				Read([]byte) (int, error)
			}{"places": bytes.NewReader(tt.content), "stream": bytes.NewBuffer(slices.Clone(tt.content))} {
				var out, back bytes.Buffer
				if err := c.Compress(&out, input); err != nil {
					t.Fatal(err)
				}
				if got := out.Len() < len(tt.content); got != tt.smaller {
					t.Errorf("%s: %d bytes became %d", name, len(tt.content), out.Len())
				}
				if whole := bytes.Contains(out.Bytes(), tt.content[:min(len(tt.content), 1000)]); name == "places" && tt.longer && !whole {
					t.Error("what is packed was compressed")
				}
				if err := c.Compressor.Decompress(&back, &out, true); err != nil || !bytes.Equal(back.Bytes(), tt.content) {
					t.Errorf("%s: kopia reads %d bytes back, %v", name, back.Len(), err)
				}
			}
		})
	}
}
