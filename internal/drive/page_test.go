package drive

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
)

// What begins neither as a tag nor as an object is no page, as the slower look at all
// of its beginning would find.
func TestWhatBeginsOtherwiseIsNoPage(t *testing.T) {
	for _, space := range []string{"", " \t\r\n\f", "\v", "\u0085\u00a0", "\xef\xbb\xbf"} {
		for _, text := range []string{"<html>", "<!DOCTYPE html>", "<script>", "<!-- x -->", "<p>", `{"error":1}`, `{ "odata.error":1}`, "<?xml ?><Error/>", "<?xml ?><html>"} {
			if !pageLike([]byte(space + text)) {
				// A browser passes over fewer kinds of space.
				if head := strings.TrimPrefix(space+text, "\xef\xbb\xbf"); strings.HasPrefix(http.DetectContentType([]byte(head)), "text/html") || text[0] == '{' {
					t.Errorf("%q is no page", space+text)
				}
			}
		}
	}
	for _, text := range []string{"", " ", "text", "PK\x03\x04<html>", "[1]", "x{", `{"value":1}`, "<svg>", string(bytes.Repeat([]byte{0xff}, 512))} {
		if pageLike([]byte(text)) {
			t.Errorf("%q is a page", text)
		}
	}
}
