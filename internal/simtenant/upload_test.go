package simtenant

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
)

// A body that cannot be read is the client's fault, and never a 500.
func TestUploadsOfBrokenBodies(t *testing.T) {
	w := newWorld(t)
	drive := w.drive(amala)
	session := w.must(200, "POST", drive+"/root:/b.bin:/createUploadSession", object{}).text("uploadUrl")
	for name, c := range map[string][2]string{
		"in one request": {w.srv.URL + "/v1.0" + drive + "/root:/a.bin:/content", ""},
		"a fragment":     {session, "Content-Range: bytes 0-9/10\r\n"},
	} {
		host, path, _ := strings.Cut(strings.TrimPrefix(c[0], "http://"), "/")
		conn, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "PUT /%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n%sTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\nno length\r\n", path, host, w.token, c[1])
		r, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != 400 {
			t.Errorf("%s: %s", name, r.Status)
		}
	}
}
