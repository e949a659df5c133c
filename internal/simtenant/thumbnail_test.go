package simtenant

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"testing"
)

func TestThumbnails(t *testing.T) {
	w := newWorld(t)
	picture := image.NewRGBA(image.Rect(0, 0, 400, 200))
	for x := range 400 {
		for y := range 200 {
			picture.Set(x, y, color.RGBA{255, 0, 0, 255})
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, picture); err != nil {
		t.Fatal(err)
	}
	w.write(amala+"/red.png", b.String())
	w.write(amala+"/half.png", b.String()[:b.Len()/2])
	w.write(amala+"/text.txt", "a text")
	drive := w.drive(amala)
	get := func(address, auth string) image.Image {
		t.Helper()
		a := w.must(200, "GET", address, nil, "Authorization", auth)
		out, err := jpeg.Decode(bytes.NewReader(a.raw))
		if err != nil || a.header.Get("Content-Type") != "image/jpeg" {
			t.Fatalf("%s: %v", address, err)
		}
		return out
	}
	for _, retired := range []bool{false, true} {
		auth := ""
		if retired {
			w.faults.Set(func(o *Options) { o.PreAuth = "retired" })
			auth = "Bearer " + w.token
		}
		set := w.must(200, "GET", drive+"/root:/red.png:/thumbnails", nil).body["value"].([]any)[0].(object)
		for size, want := range map[string][2]float64{"small": {96, 48}, "medium": {176, 88}, "large": {400, 200}} {
			one := set[size].(object)
			if one["width"] != want[0] || one["height"] != want[1] {
				t.Errorf("%s is %v", size, one)
			}
			got := get(one["url"].(string), auth)
			if size := got.Bounds().Size(); float64(size.X) != want[0] || float64(size.Y) != want[1] {
				t.Errorf("the picture is %v, want %v", size, want)
			}
			if r, g, _, _ := got.At(5, 5).RGBA(); r>>8 < 240 || g>>8 > 15 {
				t.Errorf("the picture is not red: %v", got.At(5, 5))
			}
		}
		get(drive+"/root:/red.png:/thumbnails/0/c50x50/content", "Bearer "+w.token)
		for _, name := range []string{"text.txt", "half.png"} {
			get(w.must(200, "GET", drive+"/root:/"+name+":/thumbnails/0/small", nil).text("url"), auth)
		}
	}
	if a := w.must(200, "GET", drive+"/root:/red.png:/thumbnails/0?$select=c30x30_crop", nil); a.text("c30x30_crop", "width") != "30" || a.body["small"] != nil {
		t.Errorf("a size of one's own is %s", a.raw)
	}
	w.must(400, "GET", drive+"/root:/red.png:/thumbnails/0/huge", nil)
	w.must(400, "GET", drive+"/root:/red.png:/thumbnails/0/c99999x1", nil)
	w.must(404, "GET", drive+"/root:/red.png:/thumbnails/1", nil)
	w.must(400, "GET", drive+"/root/thumbnails", nil)
}
