package simtenant

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// The recycle bin is the folder, beside the users' folders, of what was deleted.
// What is in it is remembered, so that it comes back with its ids.

const recycleBin = ".recycle"

// binTime is how the folder of something deleted says when it was.
const binTime = "2006-01-02T15-04-05.000Z"

// binned is something in the recycle bin of a drive.
type binned struct {
	folder string // of the bin, in which it is the only thing
	name   string
	id     string
	at     time.Time
}

// bin lists what is in the recycle bin of a drive, the oldest first. What is not
// of our making is not listed.
func (s *Service) bin(p place) ([]binned, error) {
	root := path.Join(recycleBin, p.folder())
	dir, err := s.rootOf(p).Open(root)
	if vanished(err) {
		return nil, nil
	}
	if err != nil {
		return nil, onDisk(fmt.Errorf("open the recycle bin: %w", err))
	}
	names, err := dir.Readdirnames(-1)
	dir.Close()
	if err != nil {
		return nil, onDisk(fmt.Errorf("list the recycle bin: %w", err))
	}
	var out []binned
	for _, name := range names {
		if len(name) <= len(binTime)+1 {
			continue
		}
		at, err := time.Parse(binTime, name[:len(binTime)])
		if err != nil {
			continue
		}
		inside, err := s.rootOf(p).Open(path.Join(root, name))
		if err != nil {
			continue // taken out meanwhile
		}
		things, _ := inside.Readdirnames(2)
		inside.Close()
		if len(things) == 1 && utf8.ValidString(things[0]) {
			out = append(out, binned{path.Join(root, name), things[0], name[len(binTime)+1:], at})
		}
	}
	slices.SortFunc(out, func(a, b binned) int { return cmp.Compare(a.folder, b.folder) })
	return out, nil
}

// recycle moves an item to the recycle bin, where a person finds it under its
// owner, the time and its name.
//
// What is made up from a seed is written to disk for that, unless there is much of
// it: then it is gone.
func (s *Service) recycle(d *drive, it *item) error {
	if it.made > 0 {
		if !d.realiseAll(it) {
			d.drop(it)
			return nil
		}
	}
	bin := path.Join(recycleBin, d.place.folder(), s.clock().UTC().Format(binTime)+"-"+it.id)
	if err := s.rootOf(d.place).MkdirAll(bin, 0o755); err != nil {
		return onDisk(fmt.Errorf("make recycle bin: %w", err))
	}
	to, err := s.rootOf(d.place).Open(bin)
	if err != nil {
		return onDisk(fmt.Errorf("open recycle bin: %w", err))
	}
	defer to.Close()
	from, err := d.openFolder(it.parent.path())
	if err != nil {
		return onDisk(err)
	}
	defer from.Close()
	if err := renameAt(from, it.name, to, it.name); err != nil {
		return onDisk(err)
	}
	d.recycling = true
	d.drop(it)
	d.recycling = false
	return nil
}

// unbin takes something out of the recycle bin into a folder.
func (s *Service) unbin(ctx context.Context, d *drive, b binned, parent *item, name string) (*item, error) {
	there, err := d.child(ctx, parent, name)
	if err != nil {
		return nil, err
	}
	if there != nil {
		return nil, nameTaken()
	}
	from, err := s.rootOf(d.place).Open(b.folder)
	if err != nil {
		return nil, onDisk(fmt.Errorf("open the recycle bin: %w", err))
	}
	defer from.Close()
	st, err := statAt(from, b.name)
	if err != nil {
		return nil, onDisk(err)
	}
	if st.kind == isOther {
		return nil, noItem()
	}
	if err := d.allows(parent, name, st.kind, st.size); err != nil {
		return nil, err
	}
	if err := d.realise(parent); err != nil {
		return nil, err
	}
	to, err := d.openFolder(parent.path())
	if err != nil {
		return nil, onDisk(err)
	}
	defer to.Close()
	if err := renameNew(from, b.name, to, name); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil, nameTaken()
		}
		return nil, onDisk(err)
	}
	s.rootOf(d.place).Remove(b.folder)
	if st, err = statAt(to, name); err != nil {
		return nil, onDisk(err)
	}
	dead := map[string]map[string]*item{} // by the parent's id, and by name
	for _, it := range d.items {
		if it.gone && it.binned {
			if dead[it.from] == nil {
				dead[it.from] = map[string]*item{}
			}
			if other := dead[it.from][it.name]; other == nil || other.seq < it.seq {
				dead[it.from][it.name] = it
			}
		}
	}
	it := d.revive(d.items[b.id], parent, name, st, dead)
	d.wrote(parent)
	return it, nil
}

// revive has an item live again that is at a place in a folder, with all that is
// in it. was is what it was, or nil if nobody remembers.
func (d *drive) revive(was, parent *item, name string, st stat, dead map[string]map[string]*item) *item {
	it := was
	if it == nil || !it.gone || it.kind != st.kind {
		it = d.create(parent, name, st)
	} else {
		it.gone, it.binned, it.from = false, false, ""
		d.dead--
		it.inode, it.mtime, it.ctime = st.inode, st.mtime, st.ctime
		it.size = 0
		if it.kind == isFolder {
			it.children = map[string]*item{}
		} else {
			it.size, it.stale = st.size, true
		}
		it.etag++
		d.attach(it, parent, name)
		d.touch(it)
	}
	if it.kind != isFolder {
		return it
	}
	it.unsure = true
	dir, err := d.openFolder(it.path())
	if err != nil {
		return it // the next scan finds what is there
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, below := range names {
		st, err := statAt(dir, below)
		if err == nil && st.kind != isOther && utf8.ValidString(below) {
			d.revive(dead[it.id][below], it, below, st, dead)
		}
	}
	for name, below := range dead[it.id] {
		if below.made > 0 && it.children[name] == nil { // in a real folder, and not on disk
			d.reviveMade(below, it, dead)
		}
	}
	return it
}

// reviveMade has what was made live again in a folder.
func (d *drive) reviveMade(it, parent *item, dead map[string]map[string]*item) {
	it.gone, it.binned, it.from = false, false, ""
	d.dead--
	it.etag++
	if it.kind == isFolder {
		it.size, it.children = 0, map[string]*item{}
	}
	d.attach(it, parent, it.name)
	d.touch(it)
	for _, below := range dead[it.id] {
		d.reviveMade(below, it, dead)
	}
}

// restoreItem takes an item out of the recycle bin: to where it was, or to where
// the call says.
func (s *Service) restoreItem(r *request, p place, t target) error {
	var in struct {
		Name   string `json:"name"`
		Parent struct {
			ID string `json:"id"`
		} `json:"parentReference"`
	}
	if err := body(r.w, r.Request, &in); err != nil {
		return err
	}
	if in.Name != "" {
		if err := checkName(in.Name); err != nil {
			return err
		}
	}
	if t.id == "" || len(t.path) > 0 {
		return badRequest("What was deleted is named by its id.")
	}
	return s.on(r, p, func(d *drive) error {
		it, err := s.restore(r.Context(), d, t.id, in.Parent.ID, in.Name)
		if err != nil {
			return err
		}
		if err := d.settle(r.Context(), it); err != nil {
			return err
		}
		s.answerItem(r, d, it, http.StatusOK)
		return nil
	})
}

func (s *Service) restore(ctx context.Context, d *drive, id, parentID, name string) (*item, error) {
	if it := d.items[id]; it != nil && !it.gone {
		return nil, badRequest("The item is not in the recycle bin.")
	}
	all, err := s.bin(d.place)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(all, func(b binned) bool { return b.id == id })
	if at < 0 {
		return nil, fail(http.StatusNotFound, "itemNotFound", "There is no such item in the recycle bin.")
	}
	if parentID == "" {
		was := d.items[id]
		if was == nil {
			return nil, badRequest("Nobody remembers where the item was: name the folder in parentReference.")
		}
		parentID = was.from
	}
	parent, err := d.findTo(ctx, target{id: parentID}, false)
	if notFound(err) {
		return nil, fail(http.StatusNotFound, "itemNotFound", "The folder that it was in is gone as well: restore that, or name another in parentReference.")
	}
	if err != nil {
		return nil, err
	}
	if parent.kind != isFolder {
		return nil, badRequest("What is to be restored into is not a folder.")
	}
	return s.unbin(ctx, d, all[at], parent, cmp.Or(name, all[at].name))
}

// listBin lists what is in the recycle bins of a site's libraries.
func (s *Service) listBin(r *request, here site) error {
	libraries, err := s.libraries(here)
	if err != nil {
		return err
	}
	list := []any{}
	for _, p := range libraries {
		all, err := s.bin(p)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			continue
		}
		err = s.with(p, func(d *drive) error {
			for _, b := range all {
				was := &item{id: b.id}
				from, size := "", int64(0)
				if it := d.items[b.id]; it != nil {
					was, size = it, it.size
					if parent := d.items[it.from]; parent != nil && !parent.gone {
						from = path.Join(p.library, parent.path())
					}
				}
				list = append(list, project(object{
					"id": strings.ToLower(was.guid()), "name": b.name, "size": size, "deletedDateTime": b.at.Format(time.RFC3339),
					"deletedFromLocation": from, "deletedBy": p.owner(), "driveItemId": b.id, "driveId": p.id(),
				}, selected(r.query)))
			}
			return nil
		})
		if err != nil && !notFound(err) {
			return err
		}
	}
	return s.short(r, "sites('"+here.fullID()+"')/recycleBin/items", list)
}

// fromBin restores or destroys what a body names of a site's recycle bins. Each
// has an outcome of its own.
func (s *Service) fromBin(r *request, here site, do func(d *drive, b binned) error) error {
	var in struct {
		IDs []string `json:"ids"`
	}
	if err := body(r.w, r.Request, &in); err != nil {
		return err
	}
	if len(in.IDs) == 0 || len(in.IDs) > 200 {
		return badRequest("ids must name between 1 and 200 items.")
	}
	libraries, err := s.libraries(here)
	if err != nil {
		return err
	}
	list := []any{}
	for _, id := range in.IDs {
		err := error(fail(http.StatusNotFound, "itemNotFound", "There is no such item in the recycle bin."))
		for _, p := range libraries {
			all, berr := s.bin(p)
			if berr != nil {
				return berr
			}
			at := slices.IndexFunc(all, func(b binned) bool {
				return b.id == id || strings.EqualFold((&item{id: b.id}).guid(), id)
			})
			if at >= 0 {
				err = s.with(p, func(d *drive) error { return do(d, all[at]) })
				break
			}
		}
		one := object{"id": id}
		if e, ok := errors.AsType[*refusal](err); ok {
			one["error"] = object{"code": e.code, "message": e.message}
		} else if err != nil {
			return err
		}
		list = append(list, one)
	}
	return replyGraph(r.w, http.StatusMultiStatus, object{"@odata.context": r.base + "/$metadata#Collection(recycleBinItem)", "value": list})
}

func (s *Service) restoreFromBin(r *request, here site) error {
	return s.fromBin(r, here, func(d *drive, b binned) error {
		_, err := s.restore(r.Context(), d, b.id, "", "")
		return err
	})
}

func (s *Service) deleteFromBin(r *request, here site) error {
	return s.fromBin(r, here, func(d *drive, b binned) error {
		if it := d.items[b.id]; it != nil && it.gone {
			d.dropBinned(it)
		}
		err := s.rootOf(d.place).RemoveAll(b.folder)
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		return onDisk(err)
	})
}

// dropBinned forgets what is kept of something that is in the bin no more, but
// that it was deleted.
func (d *drive) dropBinned(it *item) {
	it.binned = false
	d.dropVersions(it)
	d.write(it)
	for _, other := range d.items {
		if other.gone && other.binned && other.from == it.id {
			d.dropBinned(other)
		}
	}
}
