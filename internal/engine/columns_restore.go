package engine

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
	"holdfast/internal/jobs"
	"holdfast/internal/spill"
	"holdfast/internal/vault"
)

// The columns of files are restored after the files, as the items of lists are: in each
// pass what differs from the point is written, until nothing does. But nothing is made
// and nothing goes: an item is the file that it was, if that is there, or the one that
// the restore has put in its place.

// filesOf is the library whose columns a listRestore restores.
type filesOf struct {
	part vault.Part     // as it is in the point
	into backup.DriveID // as it is
	// Where what is restored begins: its path in the point, and there.
	from, to string
	only     backup.ItemID // what of it is restored, with what is below; "" is all

	mu   sync.Mutex
	tree *vault.Tree // of part
}

// node is a file of the point, and its path in the library now.
func (f *filesOf) node(ctx context.Context, v *vault.Vault, id backup.ItemID) (n vault.Node, at string, ok bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tree == nil {
		if f.tree, err = v.Tree(ctx, f.part.Tree); err != nil {
			return n, "", false, err
		}
	}
	n, ok, err = f.tree.Node(ctx, id)
	if err != nil || !ok || n.Parent == "" {
		return n, "", false, err
	}
	return n, strings.Trim(f.to+strings.TrimPrefix(n.Path, f.from), "/"), true, nil
}

// addColumns has the columns of the files of a point's libraries restored.
func (s *listRestores) addColumns(ctx context.Context, a backup.Artifact, to reachedSite, beside newPlaces, all *outcomes) error {
	for _, part := range to.parts {
		i := slices.IndexFunc(to.parts, func(p vault.Part) bool { return p.Kind == backup.Library && p.Drive == part.Library })
		if part.Kind != backup.FileColumns || i < 0 {
			continue
		}
		library := to.parts[i]
		into, elsewhere := beside.libraries[library.Drive]
		var err error
		if !elsewhere {
			if into, err = s.e.liveLibrary(ctx, s.job.Tenant, to, library); errors.Is(err, drive.ErrNotFound) {
				continue // the library is named
			}
		}
		if err == nil {
			_, err = s.addColumnsOf(ctx, to, part, library, into)
		}
		if endsAll(ctx, err) {
			return err
		}
		if err != nil {
			all.add(part, nil, err)
		}
	}
	return nil
}

// addColumnsOf has the columns that a part holds of a library's files restored.
func (s *listRestores) addColumnsOf(ctx context.Context, to reachedSite, part, library vault.Part, into drive.Drive) (*listRestore, error) {
	id, err := s.source.ListOf(ctx, into.ID)
	if err != nil {
		return nil, err
	}
	site := into.SiteID
	if strings.EqualFold(id, string(part.Drive)) || site == "" {
		site = to.siteOf(part)
	}
	l, err := s.add(ctx, part, drive.ListRef{Site: site, ID: id})
	if err == nil {
		l.files = &filesOf{part: library, into: into.ID}
	}
	return l, err
}

// restoreColumnsBelow restores the columns of what an artifact has restored of a library
// to a path of the live one. Columns that the library has no more are not made again.
func (e *Engine) restoreColumnsBelow(ctx context.Context, j *jobs.Job, a backup.GranularArtifact, to reachedSite, library vault.Part, live drive.Drive, at string) (*backup.Problem, error) {
	i := slices.IndexFunc(to.parts, func(p vault.Part) bool { return p.Kind == backup.FileColumns && p.Library == library.Drive })
	if i < 0 {
		return nil, nil
	}
	from, ok, err := to.vault.Path(ctx, library.Tree, a.Item)
	if err != nil || !ok {
		return nil, err
	}
	s := e.listRestores(j, to, a.Started, a.ID)
	defer s.close()
	l, err := s.addColumnsOf(ctx, to, to.parts[i], library, live)
	if err != nil {
		return nil, err
	}
	l.exact = false // the items are others
	l.files.only, l.files.from, l.files.to = a.Item, from, at
	if err := s.run(ctx); err != nil {
		return nil, err
	}
	return l.problem(), errors.Join(l.err, l.noteDamage(ctx, a.Point))
}

// wantFiles wants the columns of the files that are restored.
func (l *listRestore) wantFiles(ctx context.Context) error {
	if l.files.only == "" {
		return l.wantAll(ctx)
	}
	chosen := spill.New(l.vault.Scratch())
	defer chosen.Close()
	for n, err := range l.vault.WalkBelow(ctx, l.files.part.Tree, l.files.only) {
		if err != nil && !isDamage(err) { // that was named with the files
			return fmt.Errorf("list the point: %w", err)
		}
		chosen.Put(string(n.ID), "")
	}
	for n, err := range l.vault.Walk(ctx, l.part.Tree) {
		file := fileIn(n.Name)
		switch {
		case isDamage(err):
			l.lost = true
			l.fail(n.Path, "It is not known what the folder held.", err)
			continue
		case err != nil:
			return fmt.Errorf("list the point: %w", err)
		case n.Kind == backup.Folder || l.number(n.ID) == 0:
			continue
		case file == "": // it was listed without its file, and asked for
			kept, err := readContent(ctx, l.vault, n.Content)
			if err != nil && !isDamage(err) {
				return err
			}
			it, _ := parseItem(kept)
			file = it.File
		}
		if _, ok := chosen.Find(string(file)); ok {
			l.want(n)
		}
	}
	return chosen.Err()
}

// file brings the columns of one file back, and reports whether anything was done.
func (l *listRestore) file(ctx context.Context, n int, it *oldItem, s shall) (bool, error) {
	m, is, there, err := l.liveFile(ctx, n, it, l.isBare(it, s))
	if err != nil {
		return false, err
	}
	if !there {
		l.know(n, 0)
		return false, nil
	}
	l.know(n, m)
	done, err := l.rewrite(ctx, n, m, it, s, is)
	if l.look && !l.exact && !done && err == nil {
		l.mu.Lock()
		l.paired++
		l.mu.Unlock()
	}
	return done, err
}

// isBare reports whether there is nothing to write of a file's columns, and nothing that
// looks for it.
func (l *listRestore) isBare(it *oldItem, s shall) bool {
	id := strings.ToLower(string(l.part.Drive))
	for _, other := range l.by {
		if slices.ContainsFunc(other.kept.Columns, func(c drive.Column) bool { return strings.ToLower(c.Looks) == id }) {
			return false
		}
	}
	own := isListFolder(&it.ItemFile) || len(l.now.ContentTypes) == 0 || typeNamed(&l.now, typeName(&it.ItemFile)) == typeNamed(&l.now, nameOf(l.now.ContentTypes[0]))
	return own && !slices.Contains(s.open, true) && !slices.ContainsFunc(s.values, func(v any) bool { return v != nil })
}

// liveFile returns the number of a file of the point in the list now, and its columns. A
// bare one that is not there by its own number is not looked for.
func (l *listRestore) liveFile(ctx context.Context, n int, it *oldItem, bare bool) (m int, is oldItem, there bool, err error) {
	if l.exact {
		if there, err = l.has(ctx, n); err != nil || there {
			if err == nil {
				is, err = l.is(ctx, n)
			}
			return n, is, there, err
		}
	}
	if bare || it.File == "" {
		return 0, is, false, nil
	}
	node, at, ok, err := l.files.node(ctx, l.vault, it.File)
	if isDamage(err) || err == nil && !ok {
		return 0, is, false, nil // the library was restored without it, which was named if it should not
	}
	if err != nil {
		return 0, is, false, err
	}
	live, err := l.source.ItemAt(ctx, l.files.into, at)
	if err == nil && isTheFile(live, node.Entry) {
		var got drive.ListItem
		if got, err = l.source.ColumnsOf(ctx, l.files.into, live.ID, l.now.Groups()...); err == nil {
			is, err = parseItem(got.JSON)
			is.tag = got.ETag
			return got.ID, is, err == nil, err
		}
	}
	if err != nil && !errors.Is(err, drive.ErrNotFound) {
		return 0, is, false, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.absent++; l.absent <= maxDetails {
		l.remarks[at] = backup.Detail{Code: backup.RestoredChanged, Target: path.Join(path.Dir(l.part.Name), at), Message: "What the columns hold of it was not restored: it is not there, or is another."}
	}
	return 0, is, false, nil
}

// isTheFile reports whether a live item, which is where a restored one shall be, is that:
// whatever else changes a file sets another time.
func isTheFile(live drive.Item, want vault.Entry) bool {
	switch {
	case live.Deleted || kindOf(live) != want.Kind:
		return false
	case want.Kind == backup.Folder || !want.Modified.IsZero() && sameSecond(live.Modified, want.Modified):
		return true
	}
	return live.Size == want.Size && (live.Hash == "" || live.Hash == want.StoredHash())
}

// writeFields changes fields of an item. A file keeps its times.
func (l *listRestore) writeFields(ctx context.Context, m int, w drive.ListWrite, is *oldItem) error {
	if l.files == nil || is.File == "" {
		return l.source.PatchListItem(ctx, l.into, m, w, is.tag)
	}
	before, err := l.source.Item(ctx, l.files.into, is.File)
	if err != nil {
		return err
	}
	if err := l.source.PatchListItem(ctx, l.into, m, w, is.tag); err != nil {
		return err
	}
	after, err := l.source.Item(ctx, l.files.into, is.File)
	if err != nil || sameSecond(before.Modified, after.Modified) && sameSecond(before.Created, after.Created) {
		return err
	}
	_, err = l.source.Patch(ctx, l.files.into, is.File, drive.Patch{Times: &drive.Times{Created: before.Created, Modified: before.Modified}})
	return err
}
