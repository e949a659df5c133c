// Package export writes what a vault holds as plain files: a point, or a part of
// one, into a folder or a zip file. It asks neither a source nor a catalog, so that
// a backup can be read when both are gone.
//
// It promises that nothing that is there already is written over, that every file
// is read back from the vault whole before it has its name, and that what could not
// be exported, or has another name than in the point, is told. It may be ended at any
// line and begun again: what is there as it is in the point is not written twice.
package export

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast/internal/backup"
	"holdfast/internal/vault"
)

// ErrNoPath: the point has nothing at the path that was asked for.
var ErrNoPath = errors.New("the restore point has no such path")

// A Report is what an export did.
type Report struct {
	Files, Folders int   // that are there as they are in the point, folders without the first
	There          int   // files that were there before
	Messages       int   // that Mail has put into the files
	Bytes          int64 // of the files
	Remarks        []Remark
	More           int // remarks beside those
	Failed         int // items that could not be exported
	Unread         int // items that the point itself does not hold as they were
}

// maxRemarks is how many remarks a Report has.
const maxRemarks = 1000

// A Remark is of an item that could not be exported, or not under its name.
type Remark struct {
	Path string // in the point
	As   string // where it is instead; "" of one that could not be exported
	Err  error  // why it could not, or nil
	Note string // what else is to be said of it
}

// A Target is where an export is written to: a Folder or a Zip. Paths are as in the
// point, slashed; a target that cannot have such a name says which it took.
type Target interface {
	// folder makes a folder, unless it is there, and returns its path.
	folder(at string) (string, error)
	// file writes a file, unless it is there, and returns its path.
	file(at string, e vault.Entry, content io.ReadSeeker) (as string, there bool, err error)
	// setTime sets the time of a folder in which nothing is written any more.
	setTime(at string, modified time.Time) error
	// writers is how many files may be written at once.
	writers() int
}

// folders are the folders of a point's parts in what is exported, as they are in the vault.
var folders = map[backup.ContainerKind]string{backup.Library: "libraries", backup.FileColumns: "columns", backup.FilePermissions: "permissions", backup.FileVersions: "versions", backup.SiteList: "lists", backup.SitePages: "pages"}

// Point exports of a point, by its tree, what is at a path, "" for all of it. The
// item at the path has its name in the target, and all of a point none. A point of
// several parts, such as a site's, has them in libraries/NAME, lists/NAME and so on.
// progress, if it is not nil, is told now and then how many files are done with.
//
// What is wrong with one item is in the report, and stops no other. The error is
// ErrNoPath, or says why the export could not go on: the target is full, or the
// vault's storage fails.
func Point(ctx context.Context, v *vault.Vault, tree, at string, to Target, progress func(files int)) (Report, error) {
	x := &export{vault: v, to: to, progress: progress, renamed: map[string]string{}}
	all, err := within(ctx, v, tree, at)
	if err != nil {
		return x.report, err
	}
	for _, p := range all {
		if err := x.tree(ctx, p.tree, p.at, p.below); err != nil {
			return x.report, err
		}
	}
	return x.report, nil
}

// Files is how many files Point finds at a path, told from the folders' summaries without
// going through them. The error is one of Point's.
func Files(ctx context.Context, v *vault.Vault, tree, at string) (files int64, err error) {
	x := &export{vault: v}
	all, err := within(ctx, v, tree, at)
	if err != nil {
		return 0, err
	}
	for _, p := range all {
		id, err := x.find(ctx, p.tree, p.at)
		if err != nil {
			return 0, err
		}
		is, ok, err := v.Find(ctx, p.tree, backup.RefOf(id))
		if err != nil || !ok {
			return 0, fmt.Errorf("read the point: %w", cmp.Or(err, vault.ErrNotFound))
		}
		files += is.Files
	}
	return files, nil
}

// A portion is a tree, or what is at a path of it, and the folder that it has in a target.
type portion struct{ tree, at, below string }

// within are the portions of a point that are at a path.
func within(ctx context.Context, v *vault.Vault, tree, at string) (all []portion, err error) {
	at = strings.Trim(path.Clean("/"+at), "/")
	parts, err := v.Parts(ctx, tree)
	if err != nil {
		return nil, fmt.Errorf("read the point: %w", err)
	}
	if len(parts) == 0 {
		return []portion{{tree, at, ""}}, nil
	}
	for _, p := range parts {
		in := folders[p.Kind] + "/" + p.Name
		rest, inside := strings.CutPrefix(at+"/", in+"/")
		if !inside && at != "" && at != folders[p.Kind] {
			continue
		}
		below := in
		if rest = strings.Trim(rest, "/"); !inside {
			rest = ""
		} else if below = ""; rest == "" {
			below = p.Name
		}
		all = append(all, portion{p.Tree, rest, below})
	}
	if len(all) == 0 {
		return nil, noPart(at)
	}
	return all, nil
}

// List returns what is in the folder at a path of a point, or the file that is there, as
// Point would export it: each by its name, and of a point of several parts what is not in
// one of these by its path.
func List(ctx context.Context, v *vault.Vault, tree, at string) (all []vault.Entry, err error) {
	at = strings.Trim(path.Clean("/"+at), "/")
	parts, err := v.Parts(ctx, tree)
	if err != nil {
		return nil, fmt.Errorf("read the point: %w", err)
	}
	for _, p := range parts {
		in := folders[p.Kind] + "/" + p.Name
		if rest, inside := strings.CutPrefix(at+"/", in+"/"); inside {
			tree, at, parts = p.Tree, strings.Trim(rest, "/"), nil
			break
		}
		if at == "" || at == folders[p.Kind] {
			all = append(all, vault.Entry{ID: backup.ItemID(p.Drive), Name: in, Kind: backup.Folder})
		}
	}
	if len(parts) > 0 && len(all) == 0 {
		return nil, noPart(at)
	}
	if len(parts) > 0 {
		return all, nil
	}
	x := &export{vault: v}
	id, err := x.find(ctx, tree, at)
	if err != nil {
		return nil, err
	}
	is, _, err := v.Stat(ctx, tree, id)
	if err != nil || is.Kind != backup.Folder {
		return []vault.Entry{is}, err
	}
	return listed(v.List(ctx, tree, id))
}

// listed returns a list with all that is in it.
func listed(list iter.Seq2[vault.Entry, error]) (all []vault.Entry, err error) {
	for e, err := range list {
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, nil
}

func noPart(at string) error {
	return fmt.Errorf("%w: %q; it begins with libraries/NAME, columns/NAME, permissions/NAME, versions/NAME, lists/NAME or pages/NAME", ErrNoPath, at)
}

// An export is under way.
type export struct {
	vault    *vault.Vault
	to       Target
	progress func(files int)

	mu      sync.Mutex
	report  Report
	renamed map[string]string // folders that have another path than in the point
}

// batch is how many files are exported in the order in which the vault has them.
const batch = 10_000

// A file of the point, and its path in the target, but for folders that were renamed.
type file struct {
	vault.Node
	at string
}

// tree exports what is at a path of a tree, into a folder of the target.
func (x *export) tree(ctx context.Context, tree, at, below string) error {
	if err := x.lacks(ctx, tree, at, below); err != nil {
		return err
	}
	if below != "" {
		if err := x.folders(below); err != nil {
			return err
		}
	}
	from, err := x.find(ctx, tree, at)
	if err != nil {
		return err
	}
	above := path.Dir(at)
	if above == "." {
		above = ""
	}
	// What is at the path keeps its name, and none of the folders above.
	place := func(n vault.Node) string {
		return path.Join(below, strings.TrimPrefix(strings.TrimPrefix(n.Path, above), "/"))
	}
	var files []file
	for n, err := range x.vault.WalkBelow(ctx, tree, from) {
		switch {
		case err != nil && n.ID != "":
			x.remark(Remark{Path: path.Join(n.Path, "*"), Err: err})
		case err != nil:
			return fmt.Errorf("list the point: %w", err)
		case n.Kind == backup.Folder && place(n) == below:
		case n.Kind == backup.Folder:
			if err := x.folder(place(n)); err != nil {
				return err
			}
		default:
			if files = append(files, file{n, place(n)}); len(files) == batch {
				if err := x.files(ctx, files); err != nil {
					return err
				}
				files = files[:0]
			}
		}
	}
	if err := x.files(ctx, files); err != nil {
		return err
	}
	for n, err := range x.vault.WalkBelow(ctx, tree, from) {
		if err == nil && n.Kind == backup.Folder && place(n) != "" && !n.Modified.IsZero() {
			if err := x.to.setTime(x.where(place(n)), n.Modified); err != nil {
				x.remark(Remark{Path: n.Path, Err: fmt.Errorf("its time could not be set: %w", err)})
			}
		}
	}
	return nil
}

// lacks counts what of a tree the point does not hold as it was.
func (x *export) lacks(ctx context.Context, tree, at, below string) error {
	unread, err := x.vault.Unread(ctx, tree)
	switch {
	case errors.Is(err, vault.ErrDamaged):
		x.remark(Remark{Path: path.Join(below, at), Err: fmt.Errorf("what the point lacks cannot be told: %w", err)})
	case err != nil:
		return fmt.Errorf("read what the point lacks: %w", err)
	}
	for _, u := range backup.Unheld(unread) {
		if at == "" || u.Path == at || strings.HasPrefix(u.Path, at+"/") {
			x.report.Unread++
		}
	}
	return nil
}

// find returns the id of what is at a path of a tree.
func (x *export) find(ctx context.Context, tree, at string) (backup.ItemID, error) {
	root, ok, err := x.vault.Find(ctx, tree, backup.ItemRef{})
	if err != nil {
		return "", fmt.Errorf("read the point: %w", err)
	}
	if !ok {
		return "", fmt.Errorf("%w: it has no root folder", ErrNoPath)
	}
	id := root.ID
	for _, name := range strings.FieldsFunc(at, func(r rune) bool { return r == '/' }) {
		var found backup.ItemID
		for e, err := range x.vault.List(ctx, tree, id) {
			switch {
			case err != nil && !errors.Is(err, vault.ErrNotFound):
				return "", fmt.Errorf("read the point: %w", err)
			case e.Name == name:
				found = e.ID
			}
		}
		id = found
		if id == "" {
			return "", fmt.Errorf("%w: %q", ErrNoPath, at)
		}
	}
	return id, nil
}

// folders makes a folder and those above it.
func (x *export) folders(at string) error {
	for i, c := range at + "/" {
		if c == '/' {
			if err := x.folder(at[:i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (x *export) folder(at string) error {
	want := x.where(path.Dir(at))
	want = path.Join(want, path.Base(at))
	as, err := x.to.folder(want)
	if err != nil {
		if ends(err) {
			return err
		}
		x.remark(Remark{Path: at, Err: err})
		return nil
	}
	x.mu.Lock()
	x.report.Folders++
	if as != at {
		x.renamed[at] = as
	}
	x.mu.Unlock()
	if path.Base(as) != path.Base(at) {
		x.remark(Remark{Path: at, As: as})
	}
	return nil
}

// where is the path in the target of a folder of the point.
func (x *export) where(at string) string {
	if at == "." {
		return ""
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for above := at; above != "." && above != ""; above = path.Dir(above) {
		if as, ok := x.renamed[above]; ok {
			return path.Join(as, strings.TrimPrefix(at, above))
		}
	}
	return at
}

// files exports files in the order in which their contents lie in the vault.
func (x *export) files(ctx context.Context, files []file) error {
	if len(files) == 0 {
		return nil
	}
	contents := make([]string, len(files))
	for i, f := range files {
		contents[i] = f.Content
	}
	s := x.vault.Sequence(ctx, contents)
	group, in := errgroup.WithContext(s.Reading(ctx))
	group.SetLimit(x.to.writers())
	for _, i := range s.Order {
		if in.Err() != nil {
			break
		}
		group.Go(func() error { return x.file(in, files[i]) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

func (x *export) file(ctx context.Context, f file) error {
	at := path.Join(x.where(path.Dir(f.at)), path.Base(f.at))
	as, there, err := x.write(ctx, at, f.Entry)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case ends(err):
		return err
	case err != nil:
		x.remark(Remark{Path: f.Path, Err: err})
	case as != at:
		x.remark(Remark{Path: f.Path, As: as})
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if err == nil {
		x.report.Files++
		x.report.Bytes += f.Size
		if there {
			x.report.There++
		}
	}
	if x.progress != nil {
		x.progress(x.report.Files + x.report.Failed)
	}
	return nil
}

func (x *export) write(ctx context.Context, at string, e vault.Entry) (as string, there bool, err error) {
	if e.Size == 0 {
		return x.to.file(at, e, strings.NewReader(""))
	}
	content, err := x.vault.Open(ctx, e.Content)
	if err != nil {
		return "", false, err
	}
	defer content.Close()
	if content.Size() != e.Size {
		return "", false, fmt.Errorf("%w: it has %d bytes in the vault, and had %d", vault.ErrDamaged, content.Size(), e.Size)
	}
	return x.to.file(at, e, content)
}

func (x *export) remark(r Remark) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if r.Err != nil {
		x.report.Failed++
	}
	if len(x.report.Remarks) == maxRemarks {
		x.report.More++
		return
	}
	x.report.Remarks = append(x.report.Remarks, r)
}

// ends reports whether an error is one that all that follows would meet as well.
func ends(err error) bool {
	return errors.Is(err, errTarget) || errors.Is(err, vault.ErrStorage)
}
