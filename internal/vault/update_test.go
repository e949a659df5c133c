package vault

import (
	"crypto/rand"
	"slices"
	"strings"
	"testing"

	"github.com/kopia/kopia/repo/compression"
)

// What is compressed already is not compressed again: by its name, and by a sample
// where the name says nothing.
func TestWhatIsCompressed(t *testing.T) {
	text := []byte(strings.Repeat("All work and no play. ", 1500))
	noise := make([]byte, len(text))
	rand.Read(noise)
	for _, tt := range []struct {
		name  string
		begin []byte
		want  compression.Name
	}{
		{"plain.txt", text, fastest},
		{"plain.txt", text[:100], fastest},
		{"plain.txt", noise, ""},
		{"plain.txt", noise[:100], fastest}, // is tried
		{"archive", append(slices.Clone(noise), text...), fastest},
		{"photo.JPG", text, ""},
		{"photo.JPG", text[:100], ""},
		{"a.zip.txt", text, fastest},
		{"zip", text, fastest},
		{"", text, fastest},
	} {
		if got := compressor(tt.name, tt.begin); got != tt.want {
			t.Errorf("%s, %d bytes: it is compressed by %q, want %q", tt.name, len(tt.begin), got, tt.want)
		}
	}
}
