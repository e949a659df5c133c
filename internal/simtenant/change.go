package simtenant

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"holdfast/internal/backup"
)

// behaviour is what a call wants done when a name is taken.
type behaviour string

const (
	onConflictFail    behaviour = "fail"
	onConflictReplace behaviour = "replace"
	onConflictRename  behaviour = "rename"
)

// conflict returns the behaviour asked for in the query or in a body, or preset.
func conflict(q url.Values, preset behaviour, inBody ...string) (behaviour, error) {
	text := q.Get("@microsoft.graph.conflictBehavior")
	if text == "" {
		text = q.Get("@name.conflictBehavior")
	}
	for _, b := range inBody {
		if text == "" {
			text = b
		}
	}
	switch b := behaviour(strings.ToLower(text)); b {
	case "":
		return preset, nil
	case onConflictFail, onConflictReplace, onConflictRename:
		return b, nil
	}
	return "", badRequest("The conflict behaviour must be fail, replace or rename.").because("badArgument")
}

// fileTimes are those that a client gives a file.
type fileTimes struct {
	Created  *time.Time `json:"createdDateTime"`
	Modified *time.Time `json:"lastModifiedDateTime"`
}

// checkName refuses what cannot name a file. OneDrive's own rules are stricter
// (see allows); but what lies in the folder must be able to come back there.
func checkName(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") || !utf8.ValidString(name) {
		return badRequest("The name cannot be that of a file or folder.").because("invalidPath")
	}
	return nil
}

func tooLong(err error) bool { return errors.Is(err, syscall.ENAMETOOLONG) }

// onDisk turns what the file system said into an answer.
func onDisk(err error) error {
	switch {
	case err == nil:
		return nil
	case tooLong(err):
		return badRequest("The name is too long for the file system.").because("pathIsTooLong")
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fail(http.StatusForbidden, "accessDenied", "The file system does not allow the change.")
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fail(http.StatusInsufficientStorage, "quotaLimitReached", "The disk is full.")
	case errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ENOTEMPTY):
		return nameTaken() // by something that came just now
	case errors.Is(err, syscall.EXDEV):
		return fail(http.StatusNotImplemented, "notSupported", "The user's folder lies on another file system than the folder of drives; it can be read, but not written to.")
	case vanished(err):
		return noItem()
	}
	if cause, ok := errors.AsType[syscall.Errno](err); ok {
		e := fail(http.StatusServiceUnavailable, "serviceNotAvailable", "The disk did not answer: "+cause.Error()+".")
		e.header = http.Header{"Retry-After": {"1"}}
		return e
	}
	return err
}

func nameTaken() error {
	return fail(http.StatusConflict, "nameAlreadyExists", "The folder has an item of that name already.")
}

// numbered is name with a number before its extension.
func numbered(name string, n int) string {
	ext := path.Ext(name)
	if ext == name {
		ext = ""
	}
	return strings.TrimSuffix(name, ext) + " " + strconv.Itoa(n) + ext
}

// wrote takes down what became of a folder in which we changed something.
func (d *drive) wrote(folder *item) {
	dir, err := d.openFolder(folder.path())
	if err != nil {
		return // the next scan will tell
	}
	defer dir.Close()
	st, err := statOf(dir)
	if err == nil {
		d.look(folder, st)
		// Another program may have put something there in the same instant.
		folder.unsure = true
	}
}

// makeFolder makes a folder. With replace, one that is there is taken as it is.
func (d *drive) makeFolder(ctx context.Context, parent *item, name string, how behaviour) (it *item, made bool, err error) {
	wanted := name
	for n := 1; ; n++ {
		there, err := d.child(ctx, parent, name)
		if err != nil {
			return nil, false, err
		}
		switch {
		case there == nil:
			if err := d.allows(parent, name, isFolder, 0); err != nil {
				return nil, false, err
			}
			if err := d.realise(parent); err != nil {
				return nil, false, err
			}
			err := d.top.Mkdir(path.Join(parent.path(), name), 0o777)
			if errors.Is(err, fs.ErrExist) {
				d.scanned = time.Time{}
				if n > 1000 {
					return nil, false, nameTaken()
				}
				continue // made by another program just now
			}
			if err != nil {
				return nil, false, onDisk(err)
			}
			st, err := d.statChild(parent, name)
			if err != nil || st.kind != isFolder {
				return nil, false, errors.Join(fs.ErrNotExist, err)
			}
			it := d.create(parent, name, st)
			it.unsure = true
			d.wrote(parent)
			return it, true, nil
		case how == onConflictReplace && there.kind == isFolder:
			return there, false, d.visit(ctx, there, false)
		case how == onConflictRename && n <= 1000:
			name = numbered(wanted, n)
		default:
			return nil, false, nameTaken()
		}
	}
}

func (s *Service) createFolder(r *request, p place, t target) error {
	var in struct {
		Name     string    `json:"name"`
		Folder   *struct{} `json:"folder"`
		Conflict string    `json:"@microsoft.graph.conflictBehavior"`
		Older    string    `json:"@name.conflictBehavior"`
		Times    fileTimes `json:"fileSystemInfo"`
	}
	if err := body(r.w, r.Request, &in); err != nil {
		return err
	}
	if in.Folder == nil {
		return badRequest("Only folders are made this way: the body needs a member 'folder'. Files are uploaded.")
	}
	if err := checkName(in.Name); err != nil {
		return err
	}
	how, err := conflict(r.query, onConflictFail, in.Conflict, in.Older)
	if err != nil {
		return err
	}
	return s.on(r, p, func(d *drive) error {
		parent, err := d.findTo(r.Context(), t, false)
		if err != nil {
			return err
		}
		if parent.kind != isFolder {
			return badRequest("A file has no children.")
		}
		it, made, err := d.makeFolder(r.Context(), parent, in.Name, how)
		if err != nil {
			return err
		}
		if made {
			if err := d.setTimes(it, in.Times); err != nil {
				return err
			}
			s.answerItem(r, d, it, http.StatusCreated)
			return nil
		}
		s.answerItem(r, d, it, http.StatusOK)
		return nil
	})
}

// setTimes gives an item the times that a client names.
func (d *drive) setTimes(it *item, times fileTimes) error {
	changed := false
	if times.Modified != nil && it.kind == isFolder && !it.kept {
		it.kept = true
		d.write(it)
	}
	if times.Modified != nil && momentOf(*times.Modified) != it.mtime && it.made > 0 {
		it.mtime, changed = momentOf(*times.Modified), true
	}
	if times.Modified != nil && momentOf(*times.Modified) != it.mtime {
		if err := d.setTime(it, *times.Modified); err != nil {
			return onDisk(err)
		}
		st, err := d.statSelf(it)
		if err != nil {
			return onDisk(err)
		}
		it.inode, it.mtime, it.ctime = st.inode, st.mtime, st.ctime
		it.unsure = true // our own change may cover another's
		changed = true
	}
	if times.Created != nil && momentOf(*times.Created) != it.created {
		it.created = momentOf(*times.Created)
		changed = true
	}
	if changed {
		it.etag++
		d.touch(it)
	}
	return nil
}

// setTime sets an item's time of modification in its file system.
func (d *drive) setTime(it *item, t time.Time) error {
	folder, name := ".", "."
	if it.parent != nil {
		folder, name = it.parent.path(), it.name
	}
	dir, err := d.openFolder(folder)
	if err != nil {
		return err
	}
	defer dir.Close()
	return setTime(dir, name, t)
}

func (d *drive) statSelf(it *item) (stat, error) {
	if it.parent == nil {
		dir, err := d.openFolder(".")
		if err != nil {
			return stat{}, err
		}
		defer dir.Close()
		return statOf(dir)
	}
	return d.statChild(it.parent, it.name)
}

func (s *Service) patchItem(r *request, p place, t target) error {
	var in struct {
		Name   string `json:"name"`
		Parent *struct {
			DriveID string `json:"driveId"`
			ID      string `json:"id"`
			Path    string `json:"path"`
		} `json:"parentReference"`
		Times fileTimes `json:"fileSystemInfo"`
	}
	if err := body(r.w, r.Request, &in); err != nil {
		return err
	}
	how, err := conflict(r.query, onConflictFail)
	if err != nil {
		return err
	}
	if in.Name != "" {
		if err := checkName(in.Name); err != nil {
			return err
		}
	}
	return s.on(r, p, func(d *drive) error {
		ctx := r.Context()
		it, err := d.findTo(ctx, t, false)
		if err != nil {
			return err
		}
		if err := it.expected(r.Header.Get("If-Match")); err != nil {
			return err
		}
		if err := it.free(r.who.key()); err != nil {
			return err
		}
		parent, name := it.parent, it.name
		if in.Parent != nil {
			if in.Parent.DriveID != "" && in.Parent.DriveID != p.id() {
				return badRequest("An item cannot be moved to another drive.")
			}
			to := target{id: in.Parent.ID}
			if _, below, ok := strings.Cut(in.Parent.Path, "/root:"); ok && in.Parent.ID == "" {
				if to, _, err = parseTarget("root:" + below); err != nil {
					return err
				}
			}
			if in.Parent.ID != "" || in.Parent.Path != "" {
				if parent, err = d.findTo(ctx, to, false); err != nil {
					return err
				}
				if parent.kind != isFolder {
					return badRequest("The new parent is not a folder.")
				}
			}
		}
		if in.Name != "" {
			name = in.Name
		}
		if parent != it.parent || name != it.name {
			if it == d.root {
				return fail(http.StatusForbidden, "accessDenied", "The root can be neither renamed nor moved.")
			}
			if parent.below(it) {
				return badRequest("A folder cannot be moved into itself.")
			}
			if err := s.move(ctx, d, it, parent, name, how); err != nil {
				return err
			}
		}
		if err := d.setTimes(it, in.Times); err != nil {
			return err
		}
		s.answerItem(r, d, it, http.StatusOK)
		return nil
	})
}

// rehang takes down that an item has another place or name.
func (d *drive) rehang(it, parent *item, name string) {
	old := it.parent
	d.detach(it)
	d.attach(it, parent, name)
	it.etag++
	d.touch(it)
	d.touch(old)
}

// move gives an item another place or name.
func (s *Service) move(ctx context.Context, d *drive, it, parent *item, name string, how behaviour) error {
	wanted := name
	for n := 1; ; n++ {
		there, err := d.child(ctx, parent, name)
		if err != nil {
			return err
		}
		switch {
		case it.gone || parent.gone:
			return noItem()
		case there == nil, there == it: // itself, where case makes no difference
		case how == onConflictRename && n <= 1000:
			name = numbered(wanted, n)
			continue
		case how == onConflictReplace && there.kind == it.kind && !it.below(there):
			if err := s.recycle(d, there); err != nil {
				return err
			}
		default:
			return nameTaken()
		}
		if err := d.allows(parent, name, it.kind, 0); err != nil {
			return err
		}
		if it.made > 0 {
			d.rehang(it, parent, name)
			return nil
		}
		if err := d.realise(parent); err != nil {
			return err
		}
		from, err := d.openFolder(it.parent.path())
		if err != nil {
			return onDisk(err)
		}
		to, err := d.openFolder(parent.path())
		if err != nil {
			from.Close()
			return onDisk(err)
		}
		if there == it {
			err = renameAt(from, it.name, to, name)
		} else {
			err = renameNew(from, it.name, to, name)
		}
		from.Close()
		to.Close()
		if errors.Is(err, fs.ErrExist) && n <= 1000 {
			d.scanned = time.Time{}
			continue // taken by another program just now
		}
		if err != nil {
			return onDisk(err)
		}
		old := it.parent
		d.rehang(it, parent, name)
		if st, err := d.statSelf(it); err == nil && st.kind == it.kind {
			if st.mtime != it.mtime || st.size != it.size {
				d.look(it, st)
			}
			// A rename changes the time by which changes are noticed.
			it.inode, it.ctime, it.unsure = st.inode, st.ctime, true
		}
		d.wrote(old)
		if parent != old {
			d.wrote(parent)
		}
		return nil
	}
}

// drop takes down that an item is gone from the folder.
func (d *drive) drop(it *item) {
	parent := it.parent
	d.detach(it)
	d.bury(it)
	d.touch(parent) // its size is another, even if its time stamp is not
	d.wrote(parent)
}

func (s *Service) deleteItem(r *request, p place, t target, forever bool) error {
	return s.on(r, p, func(d *drive) error {
		it, err := d.findTo(r.Context(), t, false)
		if err != nil {
			return err
		}
		if it == d.root {
			return fail(http.StatusForbidden, "accessDenied", "The root cannot be deleted.")
		}
		if err := it.expected(r.Header.Get("If-Match")); err != nil {
			return err
		}
		if err := it.free(r.who.key()); err != nil {
			return err
		}
		if !forever {
			err = s.recycle(d, it)
		} else if err = onDisk(d.top.RemoveAll(it.path())); err == nil {
			d.drop(it)
		} else {
			d.scanned = time.Time{}
		}
		if err != nil {
			return err
		}
		r.status = http.StatusNoContent
		return nil
	})
}

// staged is a finished upload that waits for its place.
type staged struct {
	name   string // in the staging folder
	size   int64
	hash   string
	strong [16]byte
}

// wish says where an upload goes, and on what terms.
type wish struct {
	target  target
	name    string // the new item's; empty where target is the item itself
	how     behaviour
	ifMatch string
	absent  bool // nothing may be there yet
	times   fileTimes
	by      string // who uploads; see caller.key
}

// resolve finds the folder that an upload goes to, making missing ones on the
// way, and the file that is there already.
func (d *drive) resolve(ctx context.Context, u wish) (parent, there *item, name string, err error) {
	if u.name == "" {
		if there, err = d.find(ctx, u.target); err != nil {
			return nil, nil, "", err
		}
		if there.kind != isFile {
			return nil, nil, "", fail(http.StatusConflict, "nameAlreadyExists", "A folder cannot be replaced by a file.")
		}
		return there.parent, there, there.name, nil
	}
	if parent, err = d.base(u.target); err != nil {
		return nil, nil, "", err
	}
	if err := d.visit(ctx, parent, false); err != nil {
		return nil, nil, "", err
	}
	for _, step := range u.target.path {
		next, err := d.step(ctx, parent, step)
		if e, ok := errors.AsType[*refusal](err); ok && e.status == http.StatusNotFound && parent.kind == isFolder && !parent.gone {
			next, _, err = d.makeFolder(ctx, parent, step, onConflictReplace)
		}
		if err != nil {
			return nil, nil, "", err
		}
		parent = next
	}
	if parent.kind != isFolder {
		return nil, nil, "", badRequest("A file has no children.")
	}
	if there, err = d.child(ctx, parent, u.name); err != nil {
		return nil, nil, "", err
	}
	if there != nil {
		if err := d.visit(ctx, there, false); err != nil {
			return nil, nil, "", err
		}
		return parent, there, there.name, nil
	}
	return parent, nil, u.name, nil
}

// admit refuses an upload that cannot end well as things are.
func (u wish) admit(there *item) error {
	if there == nil {
		if u.ifMatch != "" {
			return fail(http.StatusPreconditionFailed, "resourceModified", "The item that was to be replaced is gone.").because("entityTagDoesNotMatch")
		}
		return nil
	}
	if u.absent {
		return fail(http.StatusPreconditionFailed, "resourceModified", "There is an item of that name already.").because("entityTagDoesNotMatch")
	}
	if err := there.expected(u.ifMatch); err != nil {
		return err
	}
	if u.how == onConflictReplace {
		if err := there.free(u.by); err != nil {
			return err
		}
	}
	if u.how == onConflictFail || there.kind != isFile && u.how == onConflictReplace {
		return nameTaken()
	}
	return nil
}

// put gives a staged upload its place in one step: the file is there whole, or
// as it was.
func (s *Service) put(ctx context.Context, d *drive, u wish, up staged) (it *item, made bool, err error) {
	stage, err := os.Open(s.staging)
	if err != nil {
		return nil, false, fmt.Errorf("open upload folder: %w", err)
	}
	defer stage.Close()
	full := path.Join(s.staging, up.name)
	rewritten := false
	for n := 0; ; n++ {
		parent, there, name, err := d.resolve(ctx, u)
		if err != nil {
			return nil, false, err
		}
		if err := u.admit(there); err != nil {
			return nil, false, err
		}
		if there != nil && u.how == onConflictRename {
			for k := 1; there != nil; k++ {
				if name = numbered(u.name, k); k > 1000 {
					return nil, false, nameTaken()
				}
				if there, err = d.child(ctx, parent, name); err != nil {
					return nil, false, err
				}
			}
		}
		if more := s.faults.options().Rewrite; more != "" && isOffice(name) && !rewritten {
			rewritten = true
			if up, err = s.append(up, more); err != nil {
				return nil, false, err
			}
		}
		more := up.size
		if there != nil {
			more -= there.size
		}
		if err := d.allows(parent, name, isFile, more); err != nil {
			return nil, false, err
		}
		if there != nil {
			if info, err := d.top.Lstat(there.path()); err == nil {
				if err := os.Chmod(full, info.Mode().Perm()); err != nil {
					return nil, false, onDisk(err)
				}
			}
		}
		if u.times.Modified != nil {
			if err := setTime(stage, up.name, *u.times.Modified); err != nil {
				return nil, false, onDisk(err)
			}
		}
		if err := d.realise(parent); err != nil {
			return nil, false, err
		}
		dir, err := d.openFolder(parent.path())
		if err != nil {
			return nil, false, onDisk(err)
		}
		if there != nil {
			if there.strong != up.strong || there.ctag == 0 {
				d.keep(there, dir, name)
			}
			err = renameAt(stage, up.name, dir, name)
		} else {
			err = renameNew(stage, up.name, dir, name)
		}
		var st stat
		if err == nil {
			st, err = statAt(dir, name)
		}
		dir.Close()
		if errors.Is(err, fs.ErrExist) && n < 10 {
			d.scanned = time.Time{}
			continue // taken by another program just now
		}
		if err != nil {
			return nil, false, onDisk(err)
		}
		it, made := there, there == nil
		if made {
			it = d.create(parent, name, st)
		} else {
			it.etag++
			it.made = 0
			d.touch(it)
			it.stale = true // already told: know need not tell again
			grow(it, st.size-it.size)
			it.mtime = st.mtime
		}
		d.know(it, st, up.hash, up.strong)
		it.unsure = true
		if u.times.Created != nil {
			it.created = momentOf(*u.times.Created)
		}
		d.wrote(parent)
		return it, made, nil
	}
}

// isOffice reports whether a file is one that SharePoint writes into.
func isOffice(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".docx", ".xlsx", ".pptx":
		return true
	}
	return false
}

// append adds to a staged upload.
func (s *Service) append(up staged, more string) (staged, error) {
	f, err := os.OpenFile(path.Join(s.staging, up.name), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return up, onDisk(err)
	}
	_, err = f.WriteString(more)
	if err = errors.Join(err, f.Close()); err != nil {
		return up, onDisk(err)
	}
	return s.measure(up.name)
}

// newStageName names an upload that no other has.
func newStageName() string { return backup.NewID[string]() }
