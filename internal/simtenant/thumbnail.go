package simtenant

import (
	"bytes"
	"context"
	"image"
	"image/color"
	_ "image/gif"
	"image/jpeg"
	_ "image/png"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Thumbnails are small pictures of files: of a picture, that picture; of any other
// file, a sheet whose colour follows from its content.

const thumbnailPrefix = "/_sharepoint/thumbnail/"

// thumbnailSizes are how large the long side of each is.
var thumbnailSizes = map[string]int{"small": 96, "medium": 176, "large": 800}

// A picture with more pixels, or in a larger file, is not looked into.
const (
	maxPixels  = 20 << 20
	maxPicture = 64 << 20
)

// thumbnailSize reads a size: one by name, or one that a client asks for, as in
// c300x200.
func thumbnailSize(name string) (w, h int, err error) {
	name = strings.ToLower(name)
	if side := thumbnailSizes[name]; side > 0 {
		return side, side, nil
	}
	rest, _ := strings.CutPrefix(name, "c")
	rest, _, _ = strings.Cut(rest, "_") // _crop
	a, b, _ := strings.Cut(rest, "x")
	w, errA := strconv.Atoi(a)
	h, errB := strconv.Atoi(b)
	if errA != nil || errB != nil || w < 1 || h < 1 || w > 2000 || h > 2000 || !strings.HasPrefix(name, "c") {
		return 0, 0, badRequest("A thumbnail is small, medium or large, or of a size such as c300x200.")
	}
	return w, h, nil
}

// fit is how large a picture is that keeps its shape within a frame.
func fit(w, h, frameW, frameH int) (int, int) {
	if w <= frameW && h <= frameH {
		return w, h
	}
	if w*frameH > h*frameW {
		return frameW, max(1, h*frameW/w)
	}
	return max(1, w*frameH/h), frameH
}

// shape is how large the picture in a file is; a sheet's for other files.
func shape(f io.ReadSeeker, size int64) (w, h int, picture bool) {
	if size <= maxPicture {
		if c, _, err := image.DecodeConfig(f); err == nil && c.Width > 0 && c.Height > 0 && c.Width*c.Height <= maxPixels {
			return c.Width, c.Height, true
		}
	}
	return 800, 1035, false
}

func (s *Service) thumbnailAddress(r *request, p place, it *item, size string) string {
	if s.faults.options().retired() {
		return r.base + "/drives/" + p.id() + "/items/" + it.id + "/thumbnails/0/" + size + "/content"
	}
	return s.address(r.Request, p, thumbnailPrefix, "thumbnail", p.id()+"/"+it.id+"/"+size, urlLife)
}

// ofPicture runs fn on a file that is open.
func (s *Service) ofPicture(ctx context.Context, p place, t target, fn func(f io.ReadSeeker, it *item) error) error {
	var f content
	var it item
	err := s.with(p, func(d *drive) (err error) {
		f, it, err = d.contentOf(ctx, t)
		return err
	})
	if err != nil {
		return err
	}
	defer f.Close()
	return fn(f, &it)
}

// thumbnailSet describes the thumbnails of a file in the named sizes.
func (s *Service) thumbnailSet(r *request, p place, f io.ReadSeeker, it *item, sizes []string) (object, error) {
	w, h, _ := shape(f, it.size)
	set := object{"id": "0"}
	for _, size := range sizes {
		frameW, frameH, err := thumbnailSize(size)
		if err != nil {
			return nil, err
		}
		tw, th := fit(w, h, frameW, frameH)
		set[size] = object{"width": tw, "height": th, "url": s.thumbnailAddress(r, p, it, size)}
	}
	return set, nil
}

// sizesAsked are the sizes that $select names, or all that have a name.
func sizesAsked(r *request) []string {
	text := option(r.query, "select")
	if text == "" {
		return []string{"small", "medium", "large"}
	}
	var sizes []string
	for name := range strings.SplitSeq(text, ",") {
		if name = strings.TrimSpace(name); !strings.EqualFold(name, "id") {
			sizes = append(sizes, name)
		}
	}
	return sizes
}

func (s *Service) listThumbnails(r *request, p place, t target) error {
	list := []any{}
	err := s.ofPicture(r.Context(), p, t, func(f io.ReadSeeker, it *item) error {
		set, err := s.thumbnailSet(r, p, f, it, sizesAsked(r))
		list = append(list, set)
		return err
	})
	if err != nil {
		return err
	}
	return replyGraph(r.w, http.StatusOK, object{"@odata.context": r.base + "/$metadata#Collection(thumbnailSet)", "value": list})
}

func onlySet(r *request) error {
	if r.vars["set"] != "0" {
		return fail(http.StatusNotFound, "itemNotFound", "The item has one set of thumbnails, whose id is 0.")
	}
	return nil
}

func (s *Service) getThumbnailSet(r *request, p place, t target) error {
	if err := onlySet(r); err != nil {
		return err
	}
	return s.ofPicture(r.Context(), p, t, func(f io.ReadSeeker, it *item) error {
		set, err := s.thumbnailSet(r, p, f, it, sizesAsked(r))
		if err != nil {
			return err
		}
		return replyGraph(r.w, http.StatusOK, set)
	})
}

func (s *Service) getThumbnail(r *request, p place, t target) error {
	if err := onlySet(r); err != nil {
		return err
	}
	size := r.vars["size"]
	return s.ofPicture(r.Context(), p, t, func(f io.ReadSeeker, it *item) error {
		set, err := s.thumbnailSet(r, p, f, it, []string{size})
		if err != nil {
			return err
		}
		return replyGraph(r.w, http.StatusOK, set[size])
	})
}

func (s *Service) getThumbnailContent(r *request, p place, t target) error {
	if err := onlySet(r); err != nil {
		return err
	}
	size := r.vars["size"]
	return s.ofPicture(r.Context(), p, t, func(f io.ReadSeeker, it *item) error {
		if !s.faults.options().retired() {
			if _, _, err := thumbnailSize(size); err != nil {
				return err
			}
			r.w.Header().Set("Location", s.thumbnailAddress(r, p, it, size))
			r.w.WriteHeader(http.StatusFound)
			return nil
		}
		return sendThumbnail(r.w, r.Request, f, it, size)
	})
}

// thumbnail serves the address of a thumbnail.
func (s *Service) thumbnail(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return wrongMethod("GET")
	}
	what := strings.TrimPrefix(r.URL.Path, thumbnailPrefix)
	of, err := s.opened(r, "thumbnail "+what, readFiles)
	if err != nil {
		return err
	}
	parts := strings.Split(what, "/")
	if len(parts) != 3 {
		return noRoute()
	}
	if of == nil {
		if of = s.tenantOfDrive(parts[0]); of == nil {
			return noRoute()
		}
	}
	p, err := s.placeByID(caller{tenant: of}, parts[0])
	if err != nil {
		return err
	}
	return s.ofPicture(r.Context(), p, target{id: parts[1]}, func(f io.ReadSeeker, it *item) error {
		return sendThumbnail(w, r, f, it, parts[2])
	})
}

func sendThumbnail(w http.ResponseWriter, r *http.Request, f io.ReadSeeker, it *item, size string) error {
	frameW, frameH, err := thumbnailSize(size)
	if err != nil {
		return err
	}
	width, height, picture := shape(f, it.size)
	var from image.Image
	if picture {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return onDisk(err)
		}
		if from, _, err = image.Decode(io.LimitReader(f, maxPicture)); err != nil {
			width, height, picture = 800, 1035, false // its head promised more than it holds
		}
	}
	if !picture {
		from = image.NewUniform(color.RGBA{192 | it.strong[0]>>2, 192 | it.strong[1]>>2, 192 | it.strong[2]>>2, 255})
	}
	tw, th := fit(width, height, frameW, frameH)
	var b bytes.Buffer
	if err := jpeg.Encode(&b, scaled(from, picture, tw, th), nil); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "image/jpeg")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b.Bytes()))
	return nil
}

// scaled is a picture in another size: each point is that of the original nearest
// to it.
func scaled(from image.Image, picture bool, w, h int) image.Image {
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	b := from.Bounds()
	for y := range h {
		for x := range w {
			at := image.Pt(x, y)
			if picture {
				at = image.Pt(b.Min.X+x*b.Dx()/w, b.Min.Y+y*b.Dy()/h)
			}
			out.Set(x, y, from.At(at.X, at.Y))
		}
	}
	return out
}
