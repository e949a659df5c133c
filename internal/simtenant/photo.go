package simtenant

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image"
	"image/jpeg"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
)

// The photo of a user is a file of the mailbox's folder, which is no item: a JPEG, PNG
// or GIF picture under this name. A contact's is the line PHOTO of its file.
const photoFile = ".photo.jpg"

// maxPhoto is how many bytes a photo may have.
const maxPhoto = 4 << 20

// photoSizes are the sizes in which the service keeps a photo, if it is as large.
var photoSizes = []int{48, 64, 96, 120, 240, 360, 432, 504, 648}

func photoRoutes() []Route {
	of := func(serve func(*Service, *request, photo) error) func(*Service, *request) error {
		return func(s *Service, r *request) error {
			p, err := s.photoOf(r)
			if err != nil {
				return err
			}
			return serve(s, r, p)
		}
	}
	routes := []Route{
		{"GET", "{user}/photo", "What is known of a user's photo: the file .photo.jpg of the mailbox's folder.", "Groups' photos; writing.", "select", readUsers, of((*Service).getPhoto)},
		{"GET", "{user}/photo/$value", "Its bytes.", "", "", readUsers, of((*Service).getPhotoBytes)},
		{"GET", "{user}/photos", "The sizes that it is had in, up to its own.", "", "select", readUsers, of((*Service).listPhotos)},
		{"GET", "{user}/photos/{size}", "One of them, such as 48x48.", "", "select", readUsers, of((*Service).getPhoto)},
		{"GET", "{user}/photos/{size}/$value", "Its bytes, a JPEG picture.", "", "", readUsers, of((*Service).getPhotoBytes)},
	}
	for _, contact := range []string{"{user}/contacts/{message}", "{user}/contactFolders/{folder}/contacts/{message}"} {
		routes = append(routes,
			Route{"GET", contact + "/photo", "What is known of a contact's photo: PHOTO in its file.", "", "select", readContacts, onContactPhoto((*Service).getPhoto)},
			Route{"GET", contact + "/photo/$value", "Its bytes.", "", "", readContacts, onContactPhoto((*Service).getPhotoBytes)},
			Route{"PUT", contact + "/photo/$value", "Gives a contact a photo of less than 4 MB.", "", "", writeContacts, onUserContent((*Service).putContactPhoto)},
		)
	}
	return routes
}

// photo is a picture of somebody.
type photo struct {
	data          []byte
	kind          string
	width, height int
}

func noPhoto() error {
	return fail(http.StatusNotFound, "ImageNotFound", "The photo wasn't found.")
}

// photoIn takes a picture's head down.
func photoIn(data []byte) (p photo, ok bool) {
	c, format, err := image.DecodeConfig(bytes.NewReader(data))
	if err != nil || c.Width < 1 || c.Height < 1 || c.Width*c.Height > maxPixels {
		return p, false
	}
	return photo{data, "image/" + format, c.Width, c.Height}, true
}

// photoOf is the photo of the user that the address names.
func (s *Service) photoOf(r *request) (photo, error) {
	if s.mailRoot == nil {
		return photo{}, noPhoto()
	}
	name := path.Join(mailboxOf(r.site).folder(), photoFile)
	info, err := s.mailRoot.Lstat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxPhoto {
		return photo{}, noPhoto()
	}
	data, err := s.mailRoot.ReadFile(name)
	if err != nil {
		return photo{}, noPhoto()
	}
	p, ok := photoIn(data)
	if !ok {
		return p, noPhoto()
	}
	return p, nil
}

// onContactPhoto serves a call about the photo of a contact.
func onContactPhoto(serve func(*Service, *request, photo) error) func(*Service, *request) error {
	return func(s *Service, r *request) error {
		r.place = mailboxOf(r.site)
		return s.admitted(r, func() error {
			var p photo
			r.aboutItems(r.vars["message"])
			err := s.withMailbox(r, r.place, func(m *mailbox) error {
				it, err := m.paper(r, contactKind)
				if err != nil {
					return err
				}
				c, err := m.cards(it)
				if err != nil {
					return err
				}
				if lines := contactKind.of(c).paper()["PHOTO"]; len(lines) > 0 {
					text := lines[0].value
					if _, data, ok := strings.Cut(text, ";base64,"); ok { // as vCard 4 has it, data:image/jpeg;base64,…
						text = data
					}
					if data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), "")); err == nil {
						var ok bool
						if p, ok = photoIn(data); ok {
							return nil
						}
					}
				}
				return noPhoto()
			})
			if err != nil {
				return err
			}
			return serve(s, r, p)
		})
	}
}

func (s *Service) putContactPhoto(r *request, m *mailbox) error {
	p, ok := photoIn(r.content)
	if !ok || len(r.content) > maxPhoto {
		return fail(http.StatusBadRequest, "ErrorInvalidImage", "A photo is a JPEG, PNG or GIF picture of less than 4 MB.")
	}
	it, err := m.paper(r, contactKind)
	if err != nil {
		return err
	}
	root, err := m.cards(it)
	if err != nil {
		return err
	}
	one := contactKind.of(root)
	if one == nil {
		return corruptItem()
	}
	one.set("PHOTO", "PHOTO;ENCODING=b;TYPE="+strings.ToUpper(strings.TrimPrefix(p.kind, "image/"))+":"+base64.StdEncoding.EncodeToString(p.data))
	s.stamp(one)
	r.status = http.StatusOK
	return m.rewrite(r, it, root.text(), it.flags)
}

// sized is the photo in the size that the address names, if it names one.
func (p photo) sized(r *request) (photo, error) {
	size := r.vars["size"]
	if size == "" {
		return p, nil
	}
	for _, n := range p.sizes() {
		if !strings.EqualFold(size, fmt.Sprintf("%dx%d", n, n)) {
			continue
		}
		from, _, err := image.Decode(bytes.NewReader(p.data))
		if err != nil {
			return p, noPhoto() // its head promised more than it holds
		}
		var b bytes.Buffer
		if err := jpeg.Encode(&b, scaled(from, true, n, n), nil); err != nil {
			return p, err
		}
		return photo{b.Bytes(), "image/jpeg", n, n}, nil
	}
	return p, noPhoto()
}

// sizes are those that a photo is had in.
func (p photo) sizes() (list []int) {
	for _, n := range photoSizes {
		if n <= min(p.width, p.height) {
			list = append(list, n)
		}
	}
	return list
}

func photoView(kind string, width, height int) object {
	return object{"@odata.mediaContentType": kind, "id": fmt.Sprintf("%dx%d", width, height), "width": width, "height": height}
}

func (s *Service) getPhoto(r *request, p photo) error {
	p, err := p.sized(r)
	if err != nil {
		return err
	}
	v := photoView(p.kind, p.width, p.height)
	of := ""
	if id := r.vars["message"]; id != "" {
		of = "contacts('" + url.PathEscape(id) + "')/"
	}
	v["@odata.mediaEtag"] = `"` + guidText(derive(string(p.data))) + `"`
	v["@odata.context"] = r.base + "/$metadata#users('" + string(r.user.ID) + "')/" + of + "photo/$entity"
	return replyGraph(r.w, http.StatusOK, project(v, selected(r.query)))
}

func (s *Service) listPhotos(r *request, p photo) error {
	names, list := selected(r.query), []any{}
	for _, n := range p.sizes() {
		list = append(list, project(photoView("image/jpeg", n, n), names))
	}
	return replyGraph(r.w, http.StatusOK, object{"@odata.context": r.base + "/$metadata#users('" + string(r.user.ID) + "')/photos", "value": list})
}

func (s *Service) getPhotoBytes(r *request, p photo) error {
	p, err := p.sized(r)
	if err != nil {
		return err
	}
	return replyBytes(r, p.kind, p.data)
}

// replyBytes answers with a content of a type.
func replyBytes(r *request, kind string, data []byte) error {
	h := r.w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(data)))
	r.w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		r.w.Write(data)
	}
	return nil
}
