package simtenant

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A version is a content that a file had before one that a client uploaded. It
// lies in a folder beside the drives. What another program overwrites leaves no
// version: nobody knows of it before it is gone.
type version struct {
	N    int32 `json:"n"` // the count of contents that it was
	Size int64 `json:"z"`
	At   int64 `json:"a"` // when it came, in Unix nanoseconds
}

// keepVersions is how many contents of a file are kept beside the present one.
const keepVersions = 100

func versionID(n int32) string { return strconv.Itoa(int(max(n, 1))) + ".0" }

// versionsOf is the folder of an item's versions.
func (d *drive) versionsOf(it *item) string {
	return filepath.Join(d.svc.versions, guidText(d.place.list()), it.id)
}

// keep puts a file's present content, which is about to be replaced, among its
// versions. It costs no copy: the file gets a second name.
func (d *drive) keep(it *item, dir *os.File, name string) {
	it.ctag = max(it.ctag, 1) // of a file that nobody could read
	folder := d.versionsOf(it)
	err := os.MkdirAll(folder, 0o700)
	var to *os.File
	if err == nil {
		to, err = os.Open(folder)
	}
	if err == nil && it.made > 0 {
		defer to.Close()
		err = d.writeMade(it, filepath.Join(folder, versionID(it.ctag)))
	} else if err == nil {
		defer to.Close()
		err = ignoringEINTR(func() error {
			return unix.Linkat(int(dir.Fd()), name, int(to.Fd()), versionID(it.ctag), 0)
		})
	}
	if err != nil && !errors.Is(err, os.ErrExist) {
		d.warn(it.path(), "a file's version is not kept", err)
		return
	}
	kept := append(it.extra().versions, version{it.ctag, it.size, it.noticed})
	for len(kept) > keepVersions {
		os.Remove(filepath.Join(folder, versionID(kept[0].N)))
		kept = kept[1:]
	}
	it.extend(func(x *extras) { x.versions = kept })
	d.write(it)
}

// dropVersions destroys the versions of what is gone for good.
func (d *drive) dropVersions(it *item) {
	if len(it.extra().versions) == 0 {
		return
	}
	if err := os.RemoveAll(d.versionsOf(it)); err != nil {
		d.warn(it.name, "the versions of a file that is gone could not be removed", err)
	}
	it.extend(func(x *extras) { x.versions = nil })
}

// ofFile is the file that a call on versions is about.
func (d *drive) ofFile(r *request, t target) (*item, error) {
	it, err := d.find(r.Context(), t)
	if err != nil {
		return nil, err
	}
	if it.kind != isFile {
		return nil, badRequest("A folder has no versions.")
	}
	return it, nil
}

// versionAt finds a version of it by its id; -1 is the present content.
func (it *item) versionAt(id string) (int, error) {
	if id == versionID(it.ctag) || strings.EqualFold(id, "current") {
		return -1, nil
	}
	at := slices.IndexFunc(it.extra().versions, func(v version) bool { return versionID(v.N) == id })
	if at < 0 {
		return 0, fail(http.StatusNotFound, "itemNotFound", "The file has no such version.")
	}
	return at, nil
}

// versionViews are a file's versions, the newest first.
func (v *viewer) versionViews(it *item) []any {
	list := []any{object{"id": versionID(it.ctag), "lastModifiedDateTime": stamp(it.noticed), "lastModifiedBy": v.owner, "size": it.size}}
	for _, old := range slices.Backward(it.extra().versions) {
		list = append(list, object{"id": versionID(old.N), "lastModifiedDateTime": stamp(old.At), "lastModifiedBy": v.owner, "size": old.Size})
	}
	return list
}

// listVersions serves a file's versions page by page.
func (s *Service) listVersions(r *request, p place, t target) error {
	size, err := s.pageSize(r.query, itemsPage, itemsPageMax)
	if err != nil {
		return err
	}
	before := int64(math.MaxInt64)
	if token := option(r.query, "skiptoken"); token != "" {
		if before, err = strconv.ParseInt(token, 10, 32); err != nil {
			return badRequest("Invalid paging token.")
		}
	}
	return s.on(r, p, func(d *drive) error {
		it, err := d.ofFile(r, t)
		if err != nil {
			return err
		}
		v := s.viewer(r, d)
		out := object{"@odata.context": r.base + "/$metadata#Collection(driveItemVersion)"}
		var list []any
		last := int32(0)
		for i, view := range v.versionViews(it) {
			n := max(it.ctag, 1)
			if kept := it.extra().versions; i > 0 {
				n = kept[len(kept)-i].N
			}
			if int64(n) >= before {
				continue
			}
			if len(list) == size {
				out["@odata.nextLink"] = r.link("/drives/"+v.driveID+"/items/"+it.id+"/versions", "$skiptoken", strconv.Itoa(int(last)))
				break
			}
			list, last = append(list, project(view, selected(r.query))), n
		}
		out["value"] = list
		r.status, r.answer = http.StatusOK, out
		return nil
	})
}

func (s *Service) getVersion(r *request, p place, t target) error {
	return s.on(r, p, func(d *drive) error {
		it, err := d.ofFile(r, t)
		if err != nil {
			return err
		}
		at, err := it.versionAt(r.vars["version"])
		if err != nil {
			return err
		}
		list := s.viewer(r, d).versionViews(it)
		if at >= 0 {
			list = list[len(it.extra().versions)-at:]
		}
		r.status, r.answer = http.StatusOK, project(list[0], selected(r.query))
		return nil
	})
}

// openVersion opens what a file was.
func (d *drive) openVersion(it *item, at int) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(d.versionsOf(it), versionID(it.extra().versions[at].N)), os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fail(http.StatusNotFound, "itemNotFound", "The version's content is gone.")
	}
	if err != nil {
		return nil, onDisk(fmt.Errorf("open version: %w", err))
	}
	return f, nil
}

func (s *Service) getVersionContent(r *request, p place, t target) error {
	var f *os.File
	var it item
	n := int32(0)
	err := s.with(p, func(d *drive) error {
		found, err := d.ofFile(r, t)
		if err != nil {
			return err
		}
		at, err := found.versionAt(r.vars["version"])
		if err != nil {
			return err
		}
		if at < 0 {
			return badRequest("The content of the current version is that of the file: ask for it there.")
		}
		it, n = *found, found.extra().versions[at].N
		f, err = d.openVersion(found, at)
		return err
	})
	if err != nil {
		return err
	}
	defer f.Close()
	if opts := s.faults.options(); !opts.StreamContent && !opts.retired() {
		what := p.id() + "/" + it.id + "/" + versionID(n)
		r.w.Header().Set("Location", s.address(r.Request, p, downloadPrefix, "download", what, urlLife))
		r.w.WriteHeader(http.StatusFound)
		return nil
	}
	s.send(r.w, r.Request, f, &it)
	return nil
}

func (s *Service) restoreVersion(r *request, p place, t target) error {
	var up staged
	var id string
	err := s.with(p, func(d *drive) error {
		it, err := d.ofFile(r, t)
		if err != nil {
			return err
		}
		id = it.id
		at, err := it.versionAt(r.vars["version"])
		if err != nil {
			return err
		}
		if at < 0 {
			return badRequest("The version is the current one.")
		}
		f, err := d.openVersion(it, at)
		if err != nil {
			return err
		}
		defer f.Close()
		up, err = s.stageFile(newStageName(), f)
		return onDisk(err)
	})
	if err != nil {
		return err
	}
	defer s.unstage(up.name)
	return s.on(r, p, func(d *drive) error {
		if _, _, err := s.put(r.Context(), d, wish{target: target{id: id}, how: onConflictReplace, by: r.who.key()}, up); err != nil {
			return err
		}
		r.status = http.StatusNoContent
		return nil
	})
}

func (s *Service) deleteVersion(r *request, p place, t target) error {
	return s.on(r, p, func(d *drive) error {
		it, err := d.ofFile(r, t)
		if err != nil {
			return err
		}
		at, err := it.versionAt(r.vars["version"])
		if err != nil {
			return err
		}
		if at < 0 {
			return badRequest("The current version cannot be deleted.")
		}
		if err := os.Remove(filepath.Join(d.versionsOf(it), versionID(it.extra().versions[at].N))); err != nil && !errors.Is(err, os.ErrNotExist) {
			return onDisk(err)
		}
		it.extend(func(x *extras) { x.versions = slices.Delete(slices.Clone(x.versions), at, at+1) })
		d.write(it)
		r.status = http.StatusNoContent
		return nil
	})
}
