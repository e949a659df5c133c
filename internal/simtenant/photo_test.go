package simtenant

import (
	"bytes"
	"encoding/base64"
	"image"
	"image/jpeg"
	"os"
	"slices"
	"strings"
	"testing"
)

// picture is a JPEG of a size.
func picture(t testing.TB, width, height int) string {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, image.NewGray(image.Rect(0, 0, width, height)), nil); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A user's photo is a file, and a contact's lies in the contact's file.
func TestPhotos(t *testing.T) {
	w := newWorld(t)
	me := "/users/" + amala
	for _, address := range []string{"/photo", "/photo/$value", "/photos", "/photos/48x48/$value"} {
		if a := w.do("GET", me+address, nil); a.status != 404 || a.text("error", "code") != "ImageNotFound" {
			t.Errorf("without a photo, %s is %d %s", address, a.status, a.raw)
		}
	}
	w.mail("no picture", amala, ".photo.jpg")
	w.must(404, "GET", me+"/photo", nil)
	mine := picture(t, 300, 250)
	w.mail(mine, amala, ".photo.jpg")
	if a := w.must(200, "GET", me+"/photo", nil); a.text("id") != "300x250" || a.text("@odata.mediaContentType") != "image/jpeg" {
		t.Errorf("the photo is %s", a.raw)
	}
	if a := w.do("GET", me+"/photo/$value", nil); a.status != 200 || string(a.raw) != mine || a.header.Get("Content-Type") != "image/jpeg" {
		t.Errorf("its bytes are %d, %d %v", a.status, len(a.raw), a.header)
	}
	if got := values(w.must(200, "GET", me+"/photos", nil), "id"); !slices.Equal(got, []string{"48x48", "64x64", "96x96", "120x120", "240x240"}) {
		t.Errorf("its sizes are %v", got)
	}
	a := w.do("GET", me+"/photos/120X120/$value", nil)
	if c, err := jpeg.DecodeConfig(bytes.NewReader(a.raw)); err != nil || c.Width != 120 || c.Height != 120 {
		t.Errorf("a size of it is %v, %v", c, err)
	}
	w.must(404, "GET", me+"/photos/360x360", nil)
	w.must(404, "GET", me+"/photos/7x7", nil)
	os.Remove(w.mailPath(amala, ".photo.jpg"))
	if err := os.Mkdir(w.mailPath(amala, ".photo.jpg"), 0o755); err != nil {
		t.Fatal(err)
	}
	w.must(404, "GET", me+"/photo", nil)

	contact := w.must(201, "POST", me+"/contacts", object{"givenName": "Lothar"}).text("id")
	at := me + "/contacts/" + contact + "/photo"
	w.must(404, "GET", at, nil)
	w.must(400, "PUT", at+"/$value", "no picture", "Content-Type", "image/jpeg")
	theirs := picture(t, 600, 400)
	w.must(200, "PUT", at+"/$value", theirs, "Content-Type", "image/jpeg")
	if a := w.do("GET", at+"/$value", nil); string(a.raw) != theirs {
		t.Errorf("the contact's photo is %d %d bytes, not %d", a.status, len(a.raw), len(theirs))
	}
	w.must(200, "PATCH", me+"/contacts/"+contact, object{"surname": "Brandt"})
	if a := w.must(200, "GET", me+"/contactFolders/contacts/contacts/"+contact+"/photo", nil); a.text("id") != "600x400" || !strings.Contains(a.text("@odata.context"), "/contacts(") {
		t.Errorf("after a change it is %s", a.raw)
	}
	w.mail("BEGIN:VCARD\r\nVERSION:4.0\r\nFN:Four\r\nPHOTO:data:image/jpeg;base64,"+base64.StdEncoding.EncodeToString([]byte(picture(t, 9, 9)))+"\r\nEND:VCARD\r\n", amala, "Contacts", "four.vcf")
	w.mail("BEGIN:VCARD\r\nFN:Five\r\nPHOTO;VALUE=uri:https://example.org/x.jpg\r\nEND:VCARD\r\n", amala, "Contacts", "five.vcf")
	for name, status := range map[string]int{"Four": 200, "Five": 404} {
		id := values(w.must(200, "GET", me+"/contacts?$filter=displayName%20eq%20'"+name+"'", nil), "id")[0]
		w.must(status, "GET", me+"/contacts/"+id+"/photo", nil)
	}
}
