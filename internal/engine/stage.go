package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"

	"golang.org/x/text/unicode/norm"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
	"holdfast/internal/vault"
)

// maxResyncs is how often one run begins its enumeration anew when the source
// takes back the token it gave, or its list goes in a circle.
const maxResyncs = 3

// maxInside is how many items below a folder that is denied are asked for, each
// of which would prove the denial wrong.
const maxInside = 3

// lookers is how many items are asked for at a time when many are doubtful.
const lookers = 8

var (
	// errRootGone: the source denies the drive's root folder.
	errRootGone = errors.New("the source says that the drive's root folder is gone")
	// errDenial: the source denies items that are there, so that nothing it
	// says of absence counts.
	errDenial = errors.New("the source denies items that are there")
)

// A stage is what one run was told of a drive. Nothing in it is believed
// before the enumeration has come to its end: entries arrive in no order,
// several times each, children before parents. And what is missing in it, or
// called deleted, is asked for by its id before it counts as gone: see verdict.
type stage struct {
	source *drive.Client
	drive  backup.DriveID
	base   *vault.Update // what was backed up before; nil when nothing is to be compared
	torn   bool          // base is damaged: what cannot be read of it counts as unknown

	items    map[backup.ItemID]drive.Item // the last word on each item
	nameless []drive.Item                 // what was listed without an id
	full     bool                         // all that lives in the drive was listed
	cursor   string                       // where the next run goes on
	root     backup.ItemID
	// told are the items that the delta since the last run spoke of, in a run
	// that enumerates all to find out what the deltas left out; else nil.
	told map[backup.ItemID]bool

	verdicts map[backup.ItemID]verdict
	inside   map[backup.ItemID][]backup.ItemID // some of what was listed, by the folders above; see inhabited
	walking  map[backup.ItemID]bool            // whose verdict is being found, to notice circles
	circled  bool                              // a circle was met since the outermost verdict began

	mu      sync.Mutex // guards what follows
	looked  map[backup.ItemID]look
	doubted int                      // denials since the last witness
	found   map[backup.ItemID]string // what the listing left out, and how that was noticed
}

// A verdict says what becomes of an item.
type verdict int

const (
	// alive: a chain of parents leads from it to the drive's root.
	alive verdict = 1 + iota
	// gone: the source lists it no more, or as deleted, and denies it when it is
	// asked for; or all that is true of a folder above it.
	gone
	// unsure: what the source says does not agree, or cannot be had. What was
	// backed up of it stays where it was.
	unsure
)

// A look is the answer to asking for an item by its id.
type look struct {
	item    drive.Item
	missing bool  // denied twice
	err     error // why there was no answer
}

// read pages through the drive's changes since cursor, or through all of it
// when cursor is empty or the source no longer knows it.
func (s *stage) read(ctx context.Context, cursor string) error {
	for resyncs := 0; ; resyncs++ {
		err := s.readOnce(ctx, cursor)
		again := errors.Is(err, drive.ErrResync) || errors.Is(err, drive.ErrEndless) && cursor != "" || errors.Is(err, errRootGone) && cursor != ""
		if again && resyncs < maxResyncs {
			cursor = ""
			continue
		}
		if err != nil {
			return fmt.Errorf("list changes: %w", err)
		}
		return nil
	}
}

func (s *stage) readOnce(ctx context.Context, cursor string) error {
	s.items = map[backup.ItemID]drive.Item{}
	s.nameless = nil
	s.full = cursor == ""
	s.inside = nil
	s.verdicts, s.walking = map[backup.ItemID]verdict{}, map[backup.ItemID]bool{}
	s.looked, s.found = map[backup.ItemID]look{}, map[backup.ItemID]string{}
	next, err := s.pages(ctx, cursor, s.take)
	if err == nil && s.full {
		// What changed while the pages were being read.
		next, err = s.pages(ctx, next, s.take)
	}
	if err != nil {
		return err
	}
	s.cursor = next
	return s.findRoot(ctx)
}

// reconcile is read for a run that compares all there is with what the deltas
// have told so far: it enumerates everything, and notes in told what the delta
// since cursor speaks of. What differs and is not in there was left out.
func (s *stage) reconcile(ctx context.Context, cursor string) error {
	told := map[backup.ItemID]bool{}
	note := func(item drive.Item) { told[item.ID] = true }
	next, err := s.pages(ctx, cursor, note)
	if err != nil {
		s.told = nil // there is nothing to compare with
		if stopped(ctx, err) || errors.Is(err, drive.ErrPaused) {
			return err
		}
		return s.read(ctx, "")
	}
	if err := s.read(ctx, ""); err != nil {
		return err
	}
	if _, err = s.pages(ctx, next, note); err != nil {
		return fmt.Errorf("list changes: %w", err)
	}
	s.told = told
	return nil
}

func (s *stage) take(item drive.Item) {
	if item.ID == "" {
		s.nameless = append(s.nameless, item)
		return
	}
	s.items[item.ID] = item
}

func (s *stage) pages(ctx context.Context, cursor string, take func(drive.Item)) (string, error) {
	changes := s.source.Delta(ctx, s.drive, cursor)
	for item, err := range changes.All() {
		if err != nil {
			return "", err
		}
		take(item)
	}
	return changes.Cursor(), nil
}

// findRoot finds out which folder is the drive's root. A root that is called
// deleted, or that is not the one that was backed up, is believed only if the
// source also says so when it is asked, and after a whole enumeration.
func (s *stage) findRoot(ctx context.Context) error {
	if s.base != nil {
		s.root = s.base.Root()
	}
	if id, sure := s.listedRoot(); sure {
		s.root = id
		return nil
	}
	root, err := s.source.Root(ctx, s.drive)
	switch {
	case errors.Is(err, drive.ErrNotFound):
		return fmt.Errorf("%w: %w", errRootGone, err)
	case err != nil:
		return fmt.Errorf("read the root: %w", err)
	case root.ID == "" || root.Deleted:
		return errRootGone
	case !s.full:
		return errRootGone // it is there; what the delta says of it is not so
	}
	s.root, s.items[root.ID] = root.ID, root
	return nil
}

// listedRoot returns the root as it was listed, and whether nothing that was
// listed contradicts it, or what is known. A delta need not speak of it.
func (s *stage) listedRoot() (root backup.ItemID, sure bool) {
	root = s.root
	seen := !s.full
	for id, item := range s.items {
		if !item.Root && id != root {
			continue
		}
		known := root == "" && s.full || id == root
		if item.Deleted || !known {
			return "", false
		}
		root, seen = id, true
	}
	return root, seen
}

// ask asks for items by their ids, several at a time, and remembers what the
// source says. An item that is denied is asked for a second time, after all
// others. An answer that concerns one item only is in the look; an error ends
// the run.
func (s *stage) ask(ctx context.Context, ids ...backup.ItemID) error {
	var missing []backup.ItemID
	each := func(ids []backup.ItemID, do func(context.Context, backup.ItemID) error) error {
		group, inGroup := newGroup(ctx)
		group.SetLimit(lookers)
		for _, id := range ids {
			group.Go(func() error { return do(inGroup, id) })
		}
		return group.Wait()
	}
	err := each(ids, func(ctx context.Context, id backup.ItemID) error {
		s.mu.Lock()
		_, known := s.looked[id]
		s.mu.Unlock()
		if known {
			return nil
		}
		l, err := s.askOnce(ctx, id)
		s.mu.Lock()
		defer s.mu.Unlock()
		if err == nil && l.missing {
			missing = append(missing, id)
			return nil
		}
		s.looked[id] = l
		return err
	})
	if err != nil || len(missing) == 0 {
		return err
	}
	err = each(missing, func(ctx context.Context, id backup.ItemID) error {
		l, err := s.askOnce(ctx, id)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.looked[id] = l
		if l.missing {
			s.doubted++
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.witness(ctx)
}

func (s *stage) askOnce(ctx context.Context, id backup.ItemID) (look, error) {
	item, err := s.source.Item(ctx, s.drive, id)
	switch {
	case errors.Is(err, drive.ErrNotFound):
		return look{missing: true}, nil
	case err != nil:
		return look{err: err}, s.ifWhole(ctx, err)
	case item.Deleted:
		return look{missing: true}, nil
	case item.ID != id:
		return look{err: fmt.Errorf("the source answered with item %q when it was asked for %q", item.ID, id)}, nil
	}
	return look{item: item}, nil
}

// ifWhole returns an error that is not of one item alone, but of the source as
// a whole or of this process; else nil.
func (s *stage) ifWhole(ctx context.Context, err error) error {
	if stopped(ctx, err) || !isSource(err) || errors.Is(err, drive.ErrPaused) {
		return err
	}
	if !errors.Is(err, drive.ErrUnavailable) && !errors.Is(err, drive.ErrDenied) {
		return nil
	}
	if _, rootErr := s.source.Root(ctx, s.drive); rootErr != nil {
		return err
	}
	return nil
}

// witness makes sure that the source does not deny everything: the root folder
// is there when it is asked for as those items were that it denied.
func (s *stage) witness(ctx context.Context) error {
	s.mu.Lock()
	doubted := s.doubted
	s.doubted = 0
	s.mu.Unlock()
	if doubted == 0 {
		return nil
	}
	switch root, err := s.source.Item(ctx, s.drive, s.root); {
	case errors.Is(err, drive.ErrNotFound):
		return fmt.Errorf("%w: %w", errDenial, err)
	case err != nil:
		return fmt.Errorf("read the root: %w", err)
	case root.ID != s.root || root.Deleted:
		return errDenial
	}
	return nil
}

// look returns what the source says of one item when it is asked for it.
func (s *stage) look(ctx context.Context, id backup.ItemID) (look, error) {
	if l, ok := s.looked[id]; ok {
		return l, nil
	}
	err := s.ask(ctx, id)
	return s.looked[id], err
}

// refresh stages what the source says of an item when it is asked for it, and
// reports whether it says anything else than the listing did.
func (s *stage) refresh(ctx context.Context, id backup.ItemID) (l look, changed bool, err error) {
	if l, err = s.look(ctx, id); err != nil || l.missing || l.err != nil {
		return l, false, err
	}
	was, listed := s.items[id]
	s.items[id] = l.item
	return l, !listed || was.Deleted != l.item.Deleted || was.Parent != l.item.Parent, nil
}

// settle asks for live siblings of one name: a folder that was deleted and made
// again during an enumeration is listed under both ids, and only the source
// knows which of them is left.
func (s *stage) settle(ctx context.Context) error {
	type place struct {
		parent backup.ItemID
		name   string
	}
	first := make(map[place]backup.ItemID, len(s.items))
	var doubtful []backup.ItemID
	for id, item := range s.items {
		if item.Deleted || id == s.root {
			continue
		}
		at := place{item.Parent, fold(item.Name)}
		if other, taken := first[at]; taken {
			doubtful = append(doubtful, id, other)
			continue
		}
		first[at] = id
	}
	slices.Sort(doubtful)
	doubtful = slices.Compact(doubtful)
	if err := s.ask(ctx, doubtful...); err != nil {
		return err
	}
	for _, id := range doubtful {
		switch l := s.looked[id]; {
		case l.missing:
			item := s.items[id]
			item.Deleted = true
			s.items[id] = item
		case l.err == nil:
			s.items[id] = l.item
		}
	}
	return nil
}

// complete asks for the items that were listed without what every item has.
func (s *stage) complete(ctx context.Context) error {
	var sparse []backup.ItemID
	for id, item := range s.items {
		if item.Unreadable == drive.Incomplete && !item.Deleted {
			sparse = append(sparse, id)
		}
	}
	if err := s.ask(ctx, sparse...); err != nil {
		return err
	}
	for _, id := range sparse {
		if l := s.looked[id]; !l.missing && l.err == nil {
			s.items[id] = l.item
		}
	}
	return nil
}

// judge finds the verdict on every item that was listed, and after a whole
// enumeration on every item that was backed up. It must come before anything is
// staged in the base, which would change what that answers.
func (s *stage) judge(ctx context.Context) error {
	var ids, absent, doubtful []backup.ItemID
	for id, item := range s.items {
		ids = append(ids, id)
		if item.Deleted {
			absent = append(absent, id)
		}
	}
	if s.full {
		for id, err := range s.ids(ctx) {
			if err != nil {
				return err
			}
			if _, listed := s.items[id]; !listed {
				ids, absent = append(ids, id), append(absent, id)
			}
		}
	}
	// Those that a verdict will have to ask for: what is missing although the
	// folder it was in is not.
	for _, id := range absent {
		base, known, err := s.get(ctx, id)
		if err != nil {
			return err
		}
		if !known || id == s.root {
			continue
		}
		if above, listed := s.items[base.Parent]; listed && !above.Deleted || !listed && (!s.full || base.Parent == "") {
			doubtful = append(doubtful, id)
		}
	}
	if err := s.ask(ctx, doubtful...); err != nil {
		return err
	}
	for _, id := range ids {
		if _, err := s.verdict(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// get returns an item as it was backed up.
func (s *stage) get(ctx context.Context, id backup.ItemID) (vault.Entry, bool, error) {
	if s.base == nil {
		return vault.Entry{}, false, nil
	}
	e, ok, err := s.base.Get(ctx, id)
	switch {
	case err != nil && s.torn && isDamage(err):
		return vault.Entry{}, false, nil
	case err != nil:
		err = fmt.Errorf("look up item %s: %w", id, err)
	}
	return e, ok, err
}

// ids lists what was backed up before, as far as it can be read.
func (s *stage) ids(ctx context.Context) iter.Seq2[backup.ItemID, error] {
	return func(yield func(backup.ItemID, error) bool) {
		if s.base == nil {
			return
		}
		for id, err := range s.base.IDs(ctx) {
			if err != nil && s.torn && isDamage(err) {
				return
			}
			if err != nil {
				err = fmt.Errorf("list what was backed up: %w", err)
			}
			if !yield(id, err) {
				return
			}
		}
	}
}

// verdict says what becomes of an item. The listing and the answer to asking
// for the item itself must agree that it is gone; until they do it is not.
func (s *stage) verdict(ctx context.Context, id backup.ItemID) (verdict, error) {
	if v, ok := s.verdicts[id]; ok {
		return v, nil
	}
	if s.walking[id] {
		s.circled = true
		return unsure, nil // for those below; its own verdict is being found
	}
	s.walking[id] = true
	v, err := s.weigh(ctx, id)
	delete(s.walking, id)
	if err != nil {
		return unsure, err
	}
	if len(s.walking) == 0 {
		s.circled = false
	}
	if v != unsure || !s.circled {
		s.verdicts[id] = v
	}
	return v, nil
}

func (s *stage) weigh(ctx context.Context, id backup.ItemID) (verdict, error) {
	if id == s.root {
		return alive, nil
	}
	base, known, err := s.get(ctx, id)
	if err != nil {
		return unsure, err
	}
	item, listed := s.items[id]
	switch {
	case listed && !item.Deleted:
		return s.place(ctx, id)
	case !known && listed:
		return gone, nil // it came and went, and was never held
	case known && !listed && !s.full:
		return s.below(ctx, base.Parent)
	case known && base.Parent != "":
		// Listed as deleted, or not at all. With the folder it was in it goes.
		above, listed := s.items[base.Parent]
		if listed && above.Deleted || !listed && s.full {
			if v, err := s.verdict(ctx, base.Parent); err != nil || v == gone {
				return v, err
			}
		}
	}
	l, changed, err := s.refresh(ctx, id)
	switch {
	case err != nil:
		return unsure, err
	case l.missing && known:
		if lives, err := s.inhabited(ctx, id); err != nil || lives {
			return unsure, err
		}
		return gone, nil
	case l.missing, l.err != nil:
		return unsure, nil
	case changed && !listed && known:
		s.found[id] = "it was not listed"
	}
	return s.place(ctx, id)
}

// inhabited reports whether something that was listed lives below a folder that
// the source denies: it is then the denial that is wrong.
func (s *stage) inhabited(ctx context.Context, folder backup.ItemID) (bool, error) {
	if s.inside == nil {
		if err := s.findInside(ctx); err != nil {
			return false, err
		}
	}
	for _, id := range s.inside[folder] {
		l, err := s.look(ctx, id)
		if err != nil || l.err == nil && !l.missing && l.item.Parent == s.items[id].Parent {
			return err == nil, err
		}
	}
	return false, nil
}

func (s *stage) findInside(ctx context.Context) error {
	s.inside = map[backup.ItemID][]backup.ItemID{}
	for id, item := range s.items {
		if item.Deleted {
			continue
		}
		for folder := item.Parent; folder != "" && folder != s.root && len(s.inside[folder]) < maxInside; {
			s.inside[folder] = append(s.inside[folder], id)
			if above, listed := s.items[folder]; listed && !above.Deleted {
				folder = above.Parent
				continue
			}
			base, _, err := s.get(ctx, folder)
			if err != nil {
				return err
			}
			folder = base.Parent
		}
	}
	return nil
}

// below returns the verdict on what was backed up in a folder and stays in it.
func (s *stage) below(ctx context.Context, folder backup.ItemID) (verdict, error) {
	if folder == "" { // it is the root of before
		return unsure, nil
	}
	v, err := s.verdict(ctx, folder)
	if err != nil || v == gone || v == alive && (folder == s.root || s.items[folder].Kind == backup.Folder) {
		return v, err
	}
	base, known, err := s.get(ctx, folder)
	if err != nil || known && base.Kind == backup.Folder {
		return alive, err // where the folder stays, so does what is in it
	}
	return unsure, nil
}

// place returns the verdict on an item that was listed as living: it follows
// its parent. One that nobody knows, or that is gone, has the item asked for
// once more.
func (s *stage) place(ctx context.Context, id backup.ItemID) (verdict, error) {
	for asked := false; ; asked = true {
		v := unsure
		var err error
		item := s.items[id]
		if item.Name == "" {
			return unsure, nil // it cannot be kept, and so nothing in it
		}
		if parent := item.Parent; parent != "" && parent != id {
			if v, err = s.below(ctx, parent); err != nil || v == alive {
				return v, err
			}
		}
		if asked {
			return unsure, nil
		}
		l, changed, err := s.refresh(ctx, id)
		switch {
		case err != nil:
			return unsure, err
		case l.missing && v == gone:
			return gone, nil
		case !changed:
			return unsure, nil
		}
	}
}

// path returns an item's path below the root, for people to read.
func (s *stage) path(ctx context.Context, id backup.ItemID) string {
	var names []string
	for range 1000 { // deeper than any path may be; moves may make circles
		var name string
		var parent backup.ItemID
		if item, ok := s.items[id]; ok && !item.Deleted && item.Name != "" {
			name, parent = item.Name, item.Parent
		} else if entry, ok, err := s.get(ctx, id); err == nil && ok {
			name, parent = entry.Name, entry.Parent
		}
		if id == s.root || name == "" && parent == "" {
			break
		}
		names = append(names, name)
		id = parent
	}
	slices.Reverse(names)
	return strings.Join(names, "/")
}

// fold returns the form under which the source takes two names for the same.
func fold(name string) string { return strings.ToLower(norm.NFC.String(name)) }
