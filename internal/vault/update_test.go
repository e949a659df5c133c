package vault

import (
	"crypto/rand"
	"strings"
	"testing"

	"github.com/kopia/kopia/repo/compression"
)

// What is compressed already is not compressed again: by its name, and by a sample
// where the name says nothing.
func TestWhatIsCompressed(t *testing.T) {
	text := []byte(strings.Repeat("All work and no play. ", 1490))
	noise := make([]byte, len(text))
	rand.Read(noise)
	for _, tt := range []struct {
		name   string
		sample []byte
		more   bool
		want   compression.Name
	}{
		{"plain.txt", text, true, fastest},
		{"plain.txt", text, false, fastest},
		{"plain.txt", noise, true, ""},
		{"photo.JPG", text, true, ""},
		{"photo.JPG", text, false, ""},
		{"a.zip.txt", text, true, fastest},
		{"zip", text, true, fastest},
		{"", text, true, fastest},
	} {
		if got := compressor(tt.name, tt.sample, tt.more); got != tt.want {
			t.Errorf("%s, more %v: it is compressed by %q, want %q", tt.name, tt.more, got, tt.want)
		}
	}
}
