package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/text/unicode/norm"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
	"holdfast/internal/spill"
	"holdfast/internal/vault"
)

// maxResyncs is how often one run begins its enumeration anew when the source
// takes back the token it gave, or its list goes in a circle.
const maxResyncs = 3

// maxInside is how many items below a folder that is denied are asked for, each
// of which would prove the denial wrong.
const maxInside = 3

// maxLeft is how many items that denied folders held, besides the first maxInside
// of each, one run asks for.
const maxLeft = 200

// maxDepth is how many folders may be in each other. The service allows paths of
// 400 characters.
const maxDepth = 1000

const (
	// lookers is how many requests are made at a time when many items are doubtful.
	lookers = 8
	// manyFrom is from how many items on several are asked for in one request.
	manyFrom = 100
)

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
	source source
	base   *vault.Update                   // what was backed up before; nil when nothing is to be compared
	torn   bool                            // base is damaged: what cannot be read of it counts as unknown
	old    map[backup.ItemID]backup.Unread // what was not backed up as it was by the run before
	top    int64                           // how many items were in the root folder when that run counted; -1 if that is not known
	dir    string                          // where what does not fit into memory goes
	// beside says of what is kept beside an item, which the source knows nothing of, and
	// which goes with that. May be nil.
	beside func(backup.ItemID) bool

	items    *items                 // the last word on each item, and the verdicts
	twice    map[backup.ItemID]bool // listed as one thing and then as another; true if as deleted too
	nameless map[drive.Item]bool    // what was listed without an id
	full     bool                   // all that lives in the drive was listed
	absent   []number               // by their numbers: listed as deleted, or not at all where all was
	cursor   string                 // where the next run goes on
	root     backup.ItemID
	// told are the items that the delta since the last run spoke of, in a run
	// that enumerates all to find out what the deltas left out; else nil.
	told *spill.Table

	denied   map[backup.ItemID]bool            // living when asked for, and listed as deleted or not at all
	unlisted map[backup.ItemID]error           // folders that do not hold what they say, and could not be listed
	inside   map[backup.ItemID][]backup.ItemID // some of what was listed, by the folders above; see inhabited
	sought   int                               // see left
	walking  map[backup.ItemID]bool            // whose verdict is being found, to notice circles
	found    int                               // how many items the listing left out
	said     []gap                             // the first of them
	circled  bool                              // a circle was met since the outermost verdict began

	mu      sync.Mutex             // guards what follows
	answers map[backup.ItemID]look // of those that were asked for, but
	missing *spill.Table           // those that were denied
	doubted int                    // denials since the last witness
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
//
// A source that refuses each token that it gives as soon as it is used is taken
// at its list: that came to its end, and the next run enumerates anew.
func (s *stage) read(ctx context.Context, cursor string) error {
	for resyncs := 0; ; resyncs++ {
		err := s.readOnce(ctx, cursor, resyncs == maxResyncs)
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

func (s *stage) readOnce(ctx context.Context, cursor string, last bool) error {
	s.close()
	s.items, s.absent = newItems(s.dir), nil
	s.twice, s.nameless = map[backup.ItemID]bool{}, map[drive.Item]bool{}
	s.full = cursor == ""
	s.inside, s.sought = nil, 0
	s.walking = map[backup.ItemID]bool{}
	s.denied, s.unlisted = map[backup.ItemID]bool{}, map[backup.ItemID]error{}
	s.answers, s.missing, s.found, s.said = map[backup.ItemID]look{}, spill.New(s.dir), 0, nil
	// A pass that brought something is followed by another, which brings what
	// changed meanwhile, or what comes after an end that was told too early.
	next, news := cursor, true
	for pass := 0; news && pass < maxReads; pass++ {
		news = false
		after, err := s.pages(ctx, next, func(item drive.Item) { news = s.take(item) || news })
		if errors.Is(err, drive.ErrResync) && pass > 0 && s.full && last {
			break
		}
		if err != nil {
			return err
		}
		next = after
	}
	s.cursor = next
	if err := s.findRoot(ctx); err != nil {
		return err
	}
	return s.items.err()
}

// close gives back what the stage has on disk.
func (s *stage) close() {
	s.items.close()
	for _, t := range []*spill.Table{s.missing, s.told} {
		if t != nil {
			t.Close()
		}
	}
	s.told = nil
}

// maxReads is how often one run reads the changes since the pass before.
const maxReads = 20

// reconcile is read for a run that compares all there is with what the deltas
// have told so far: it enumerates everything, and notes in told what the delta
// since cursor speaks of. What differs and is not in there was left out.
func (s *stage) reconcile(ctx context.Context, cursor string) error {
	told := spill.New(s.dir)
	defer func() {
		if s.told != told {
			told.Close()
		}
	}()
	note := func(item drive.Item) { told.Put(string(item.ID), "") }
	next, err := s.pages(ctx, cursor, note)
	if err != nil {
		// There is nothing to compare with.
		if stopped(ctx, err) || errors.Is(err, drive.ErrPaused) {
			return err
		}
		return s.read(ctx, "")
	}
	if err := s.read(ctx, ""); err != nil {
		return err
	}
	switch _, err = s.pages(ctx, next, note); {
	case err == nil:
		s.told = told
	case stopped(ctx, err) || errors.Is(err, drive.ErrPaused):
		return fmt.Errorf("list changes: %w", err)
	}
	return told.Err()
}

// A gap is an item that the listing left out, and how that was noticed.
type gap struct {
	id  backup.ItemID
	how string
}

// finds notes a gap, once for each item.
func (s *stage) finds(id backup.ItemID, how string) {
	if !s.items.finds(id) {
		return
	}
	if s.found++; len(s.said) < maxSaid {
		s.said = append(s.said, gap{id, how})
	}
}

// leftOut reports whether an item is one that no delta spoke of, where all was
// enumerated to find that out.
func (s *stage) leftOut(id backup.ItemID) bool {
	if s.told == nil {
		return false
	}
	_, spoken := s.told.Find(string(id))
	return !spoken && s.told.Err() == nil
}

// take notes an item that was listed, and reports whether it says anything new.
func (s *stage) take(item drive.Item) (news bool) {
	if item.ID == "" {
		news = !s.nameless[item]
		s.nameless[item] = true
		return news
	}
	was, listed := s.items.get(item.ID)
	if listed && was == item {
		return false
	}
	s.items.set(item)
	if listed && contradicts(was, item) {
		s.twice[item.ID] = s.twice[item.ID] || was.Deleted || item.Deleted
	}
	return true
}

// contradicts reports whether two entries of one item cannot both be of it as it
// is now. A folder's tags and size follow what it holds.
func contradicts(a, b drive.Item) bool {
	if a.Deleted != b.Deleted || a.Kind != b.Kind && !a.Deleted {
		return true
	}
	return !a.Deleted && (a.Name != b.Name || a.Parent != b.Parent || !a.Modified.Equal(b.Modified) || !a.Created.Equal(b.Created) ||
		a.Kind == backup.File && version(a) != version(b))
}

// version is what tells a content from those that the file had before and has
// later, as far as the source says.
func version(item drive.Item) string {
	switch {
	case item.CTag != "":
		return item.CTag
	case item.Hash != "":
		return item.Hash
	}
	return fmt.Sprint(item.Size, item.Modified)
}

func (s *stage) pages(ctx context.Context, cursor string, take func(drive.Item)) (string, error) {
	changes, next := s.source.Changes(ctx, cursor)
	for item, err := range changes {
		if err != nil {
			return "", err
		}
		take(item)
	}
	return next(), nil
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
	root, err := s.source.Root(ctx)
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
	s.root = root.ID
	s.items.set(root)
	return nil
}

// listedRoot returns the root as it was listed, and whether nothing that was
// listed contradicts it, or what is known. A delta need not speak of it.
func (s *stage) listedRoot() (root backup.ItemID, sure bool) {
	root = s.root
	seen := !s.full
	before, listed := s.items.find(root)
	for _, item := range s.items.those(func(i number, is trait) bool { return is&isRoot != 0 || listed && i == before }) {
		known := root == "" && s.full || item.ID == root
		if item.Deleted || !known {
			return "", false
		}
		root, seen = item.ID, true
	}
	return root, seen
}

// ask asks for items by their ids, several at a time, and remembers what the
// source says. An item that is denied is asked for a second time, after all
// others. An answer that concerns one item only is in the look; an error ends
// the run.
func (s *stage) ask(ctx context.Context, ids ...backup.ItemID) error {
	ids = slices.DeleteFunc(slices.Clone(ids), func(id backup.ItemID) bool {
		_, known := s.looked(id)
		return known
	})
	var missing []backup.ItemID
	err := s.askEach(ctx, ids, func(id backup.ItemID, l look) {
		if l.missing {
			missing = append(missing, id)
		} else {
			s.answers[id] = l
		}
	})
	if err != nil || len(missing) == 0 {
		return cmp.Or(err, s.missing.Err())
	}
	err = s.askEach(ctx, missing, func(id backup.ItemID, l look) {
		if l.missing {
			s.missing.Put(string(id), "denied")
			s.doubted++
		} else {
			s.answers[id] = l
		}
	})
	if err := cmp.Or(err, s.missing.Err()); err != nil {
		return err
	}
	return s.witness(ctx)
}

// looked returns the answer to asking for an item, if it was asked for.
func (s *stage) looked(id backup.ItemID) (look, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l, ok := s.answers[id]; ok || s.missing == nil {
		return l, ok
	}
	i, ok := s.missing.Find(string(id))
	if ok {
		_, denied := s.missing.Get(i)
		ok = denied != ""
	}
	return look{missing: ok, err: s.missing.Err()}, ok
}

// forget has an item be asked for anew.
func (s *stage) forget(id backup.ItemID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.answers, id)
	if _, ok := s.missing.Find(string(id)); ok {
		s.missing.Put(string(id), "")
	}
}

// askEach asks for items by their ids once, many in one request where the source does so.
func (s *stage) askEach(ctx context.Context, ids []backup.ItemID, take func(backup.ItemID, look)) error {
	group, inGroup := newGroup(ctx)
	group.SetLimit(lookers)
	many, _ := s.source.(manySource)
	size := 1
	if many != nil && len(ids) >= manyFrom {
		size = drive.MaxAhead
	}
	for ids := range slices.Chunk(ids, size) {
		if inGroup.Err() != nil {
			break
		}
		group.Go(func() error {
			var found []drive.Found
			if size > 1 {
				found = many.Items(inGroup, ids)
			}
			for i, id := range ids {
				var l look
				switch {
				case found != nil && found[i].There && !found[i].Item.Deleted && found[i].Item.ID == id:
					l.item = found[i].Item
				case found != nil && found[i].Missing:
					l.missing = true
				default:
					var err error
					if l, err = s.askOnce(inGroup, id); err != nil {
						return err
					}
				}
				s.mu.Lock()
				take(id, l)
				s.mu.Unlock()
			}
			return nil
		})
	}
	return group.Wait()
}

func (s *stage) askOnce(ctx context.Context, id backup.ItemID) (look, error) {
	item, err := s.source.Item(ctx, id)
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
	if _, rootErr := s.source.Root(ctx); rootErr != nil {
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
	switch root, err := s.source.Item(ctx, s.root); {
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
	if l, ok := s.looked(id); ok {
		return l, nil
	}
	err := s.ask(ctx, id)
	l, _ := s.looked(id)
	return l, err
}

// refresh stages what the source says of an item when it is asked for it, and
// reports whether it says anything else than the listing did.
func (s *stage) refresh(ctx context.Context, id backup.ItemID) (l look, changed bool, err error) {
	if l, err = s.look(ctx, id); err != nil || l.missing || l.err != nil {
		return l, false, err
	}
	was, listed := s.items.get(id)
	s.items.set(l.item)
	return l, !listed || was.Deleted != l.item.Deleted || was.Parent != l.item.Parent, nil
}

// settle asks for live siblings of one name: a folder that was deleted and made
// again during an enumeration is listed under both ids, and only the source
// knows which of them is left.
func (s *stage) settle(ctx context.Context) error {
	// A hash of each item's folder and name, and the item's number: what has a
	// place of its own has a hash of its own.
	type hashed struct {
		hash uint64
		i    number
	}
	seed := maphash.MakeSeed()
	places := make([]hashed, 0, s.items.listed)
	into := arrivals{seed: seed, state: map[backup.ItemID]entered{}}
	for i, item := range s.items.all() {
		if item.Deleted || item.ID == s.root {
			continue
		}
		hash := siblingOf(item).hash(seed)
		places = append(places, hashed{hash, i})
		if s.full {
			continue
		}
		if err := s.arrives(ctx, item, hash, &into); err != nil {
			return err
		}
	}
	slices.SortFunc(places, func(a, b hashed) int { return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.i, b.i)) })
	var doubtful []backup.ItemID
	for len(places) > 0 {
		n := 1
		for n < len(places) && places[n].hash == places[0].hash {
			n++
		}
		alike := places[:n]
		places = places[n:]
		if n == 1 {
			continue
		}
		first := map[sibling]backup.ItemID{}
		for _, h := range alike {
			item, _ := s.items.at(h.i)
			at := siblingOf(item)
			if other, taken := first[at]; taken {
				doubtful = append(doubtful, item.ID, other)
			} else {
				first[at] = item.ID
			}
		}
	}
	if err := s.displaced(ctx, into); err != nil {
		return err
	}
	slices.Sort(doubtful)
	doubtful = slices.Compact(doubtful)
	if err := s.ask(ctx, doubtful...); err != nil {
		return err
	}
	for _, id := range doubtful {
		switch l, _ := s.looked(id); {
		case l.missing:
			item := s.items.of(id)
			item.Deleted = true
			s.items.set(item)
		case l.err == nil:
			s.items.set(l.item)
		}
	}
	return nil
}

// A sibling is a name in a folder, as far as the source tells names apart.
type sibling struct {
	folder backup.ItemID
	name   string
}

func siblingOf(item drive.Item) sibling { return sibling{item.Parent, fold(item.Name)} }

func (at sibling) hash(seed maphash.Seed) uint64 { return maphash.Comparable(seed, at) }

// Arrivals are the places that something came into, in folders that were there before,
// by the hashes of what they are called: there may be millions.
type arrivals struct {
	seed    maphash.Seed
	places  []uint64
	folders []backup.ItemID // in the order in which they were first come into
	state   map[backup.ItemID]entered
}

// Entered says of a folder what arrivals know of it.
type entered uint8

const (
	isNew     entered = 1 + iota // it was not there before
	untouched                    // nothing new was seen in it
	comeInto                     // it is among the folders
)

// arrives notes an item's place if it is new there.
func (s *stage) arrives(ctx context.Context, item drive.Item, hash uint64, into *arrivals) error {
	is := into.state[item.Parent]
	if is == 0 {
		_, known, err := s.get(ctx, item.Parent)
		if err != nil {
			return err
		}
		if is = isNew; known {
			is = untouched
		}
		into.state[ownText(item.Parent)] = is
	}
	if is == isNew {
		return nil
	}
	switch was, known, err := s.getIn(ctx, item.ID, item.Parent); {
	case err != nil:
		return err
	case known && !movedFrom(was, item):
		return nil
	}
	into.places = append(into.places, hash)
	if is == untouched {
		folder := ownText(item.Parent)
		into.state[folder] = comeInto
		into.folders = append(into.folders, folder)
	}
	return nil
}

// ownText is an id that does not keep the whole item in memory which it was read with.
func ownText(id backup.ItemID) backup.ItemID { return backup.ItemID(strings.Clone(string(id))) }

// displaced stages what had a name that something else has come into, and of
// which no delta spoke: it was moved, renamed or deleted.
func (s *stage) displaced(ctx context.Context, into arrivals) error {
	slices.Sort(into.places)
	var doubtful []backup.ItemID
	for _, folder := range into.folders {
		for e, err := range s.children(ctx, folder) {
			if err != nil {
				return err
			}
			if s.items.has(e.ID) {
				continue
			}
			if _, taken := slices.BinarySearch(into.places, sibling{folder, fold(e.Name)}.hash(into.seed)); taken {
				doubtful = append(doubtful, e.ID)
			}
		}
	}
	if err := s.ask(ctx, doubtful...); err != nil {
		return err
	}
	for _, id := range doubtful {
		switch l, _ := s.looked(id); {
		case l.err != nil:
			s.items.set(drive.Item{ID: id, Deleted: true}) // which it may be
		case l.missing:
			s.items.set(drive.Item{ID: id, Deleted: true})
			s.finds(id, "another item has its name")
		case !s.moved(ctx, l.item):
			s.items.set(l.item)
			s.denied[id] = true
		default:
			s.items.set(l.item)
			s.finds(id, "another item has its name")
		}
	}
	return nil
}

// moved reports whether an item is elsewhere, or called otherwise, than it was
// when it was backed up.
func (s *stage) moved(ctx context.Context, item drive.Item) bool {
	was, known, err := s.get(ctx, item.ID)
	return err == nil && known && movedFrom(was, item)
}

func movedFrom(was vault.Entry, item drive.Item) bool {
	return item.Parent != was.Parent || fold(item.Name) != fold(was.Name)
}

// complete asks for the items that were listed without what every item has, and
// for those that were listed as one thing and then as another: a page may come
// again, and be of yesterday.
func (s *stage) complete(ctx context.Context) error {
	sparse := slices.Collect(maps.Keys(s.twice))
	for _, item := range s.items.those(func(_ number, is trait) bool { return is&isSparse != 0 }) {
		if _, twice := s.twice[item.ID]; !item.Deleted && !twice {
			sparse = append(sparse, item.ID)
		}
	}
	if err := s.ask(ctx, sparse...); err != nil {
		return err
	}
	for _, id := range sparse {
		tombstone, twice := s.twice[id]
		switch l, _ := s.looked(id); {
		case l.missing && tombstone:
			s.items.set(drive.Item{ID: id, Deleted: true})
		case l.missing && twice:
			s.items.judge(id, unsure)
		case !l.missing && l.err == nil:
			s.items.set(l.item)
		}
	}
	return nil
}

// judge finds the verdict on every item that was listed, and after a whole
// enumeration on every item that was backed up. It must come before anything is
// staged in the base, which would change what that answers.
func (s *stage) judge(ctx context.Context) error {
	var doubtful []number
	// A verdict will have to ask for what is missing although the folder it was in is not.
	doubt := func(i number, base vault.Entry) {
		if base.ID == s.root {
			return
		}
		if above, listed := s.items.get(base.Parent); listed && !above.Deleted || !listed && (!s.full || base.Parent == "") {
			doubtful = append(doubtful, i)
		}
	}
	known := int64(0)
	for i, item := range s.items.all() {
		base, held, err := s.getIn(ctx, item.ID, item.Parent)
		if err != nil {
			return err
		}
		s.items.holds(i, base, held, held && s.asHeld(item, base))
		if held {
			known++
		}
		if item.Deleted {
			s.absent = append(s.absent, i)
			if held {
				doubt(i, base)
			}
		}
	}
	if s.full && !s.isAll(known) {
		for base, err := range s.entries(ctx) {
			if err != nil {
				return err
			}
			if !s.items.has(base.ID) {
				i := s.items.missing(base)
				s.absent = append(s.absent, i)
				doubt(i, base)
			}
		}
	}
	for some := range slices.Chunk(doubtful, doubtedAtOnce) {
		if err := s.ask(ctx, slices.Collect(s.items.ids(some))...); err != nil {
			return err
		}
	}
	for _, item := range s.items.all() {
		if _, err := s.verdict(ctx, item.ID); err != nil {
			return err
		}
	}
	for _, i := range s.absent {
		if _, err := s.verdict(ctx, s.items.id(i)); err != nil {
			return err
		}
	}
	return cmp.Or(s.items.err(), s.missing.Err())
}

// doubtedAtOnce is how many that are missing are asked for in one go.
const doubtedAtOnce = 10_000

// isAll reports whether so many different items are all that was backed up.
func (s *stage) isAll(n int64) bool {
	return s.base == nil || s.beside == nil && !s.torn && n == s.base.Count()
}

// get returns an item as it was backed up.
func (s *stage) get(ctx context.Context, id backup.ItemID) (vault.Entry, bool, error) {
	return s.getIn(ctx, id, "")
}

// getIn is get of what was listed in a folder, in which it mostly was before.
func (s *stage) getIn(ctx context.Context, id, folder backup.ItemID) (vault.Entry, bool, error) {
	if s.base == nil {
		return vault.Entry{}, false, nil
	}
	e, ok, err := s.base.GetIn(ctx, id, folder)
	switch {
	case err != nil && s.torn && isDamage(err):
		return vault.Entry{}, false, nil
	case err != nil:
		err = fmt.Errorf("look up item %s: %w", id, err)
	}
	return e, ok, err
}

// asHeld reports whether an item was listed as it was backed up, so that nothing is to be
// staged of it where it lives: see decide.
func (s *stage) asHeld(item drive.Item, base vault.Entry) bool {
	kind := kindOf(item)
	if kind != base.Kind || item.Deleted || item.Unreadable != "" {
		return false
	}
	entry := entryOf(item, kind)
	if item.ID == s.root {
		entry.Parent = ""
	}
	if kind == backup.File {
		if !sameContent(entry, base) {
			return false
		}
		entry = heldAs(entry, base)
	}
	return sameEntry(entry, base)
}

// was returns in which folder an item was backed up, and whether it was.
func (s *stage) was(ctx context.Context, id backup.ItemID) (backup.ItemID, bool, error) {
	if folder, known := s.items.wasIn(id); known {
		return folder, true, nil
	}
	base, known, err := s.get(ctx, id)
	return base.Parent, known, err
}

// entries lists what was backed up before, as far as it can be read.
func (s *stage) entries(ctx context.Context) iter.Seq2[vault.Entry, error] {
	return func(yield func(vault.Entry, error) bool) {
		if s.base == nil {
			return
		}
		for e, err := range s.base.Entries(ctx) {
			if err != nil && s.torn && isDamage(err) {
				continue
			}
			if err != nil {
				err = fmt.Errorf("list what was backed up: %w", err)
			} else if s.beside != nil && s.beside(e.ID) {
				continue
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// verdict says what becomes of an item. The listing and the answer to asking
// for the item itself must agree that it is gone; until they do it is not.
func (s *stage) verdict(ctx context.Context, id backup.ItemID) (verdict, error) {
	if v := s.items.verdict(id); v != 0 {
		return v, nil
	}
	if s.walking[id] || len(s.walking) == maxDepth {
		s.circled = true
		return unsure, nil // for those below; its own verdict is being found
	}
	s.walking[id] = true
	was, listed := s.items.get(id)
	v, err := s.weigh(ctx, id)
	if now, found := s.items.get(id); err == nil && v == gone && (!listed || was.Deleted) && found && !now.Deleted {
		v, err = s.place(ctx, id) // it was found elsewhere, looking for what its folder held
	}
	delete(s.walking, id)
	if err != nil {
		return unsure, err
	}
	if len(s.walking) == 0 {
		s.circled = false
	}
	if v != unsure || !s.circled {
		s.items.judge(id, v)
	}
	return v, s.items.err()
}

func (s *stage) weigh(ctx context.Context, id backup.ItemID) (verdict, error) {
	if id == s.root {
		return alive, nil
	}
	item, listed := s.items.get(id)
	if listed && !item.Deleted {
		return s.place(ctx, id)
	}
	folder, known, err := s.was(ctx, id)
	switch {
	case err != nil:
		return unsure, err
	case !known && listed && item.Name == "":
		// It came and went, and was never held.
		if lives, err := s.inhabited(ctx, id); err != nil || lives {
			return unsure, err
		}
		return gone, nil
	case known && !listed && !s.full:
		return s.below(ctx, folder)
	case known && folder != "":
		// Listed as deleted, or not at all. With the folder it was in it goes.
		above, listed := s.items.get(folder)
		if listed && above.Deleted || !listed && s.full {
			if v, err := s.verdict(ctx, folder); err != nil || v == gone {
				return v, err
			}
		}
	}
	l, changed, err := s.refresh(ctx, id)
	switch {
	case err != nil:
		return unsure, err
	case l.missing && (known || listed):
		if lives, err := s.inhabited(ctx, id); err != nil || lives {
			return unsure, err
		}
		return gone, nil
	case l.missing, l.err != nil:
		return unsure, nil
	case changed && !listed && known:
		s.finds(id, "it was not listed")
	}
	s.denied[id] = true
	return s.place(ctx, id)
}

// inhabited reports whether something lives below a folder that the source
// denies, of what was listed or of what it held before: it is then the denial
// that is wrong. What it held and is found elsewhere stays, whoever left out
// that it had moved.
func (s *stage) inhabited(ctx context.Context, folder backup.ItemID) (bool, error) {
	if s.inside == nil {
		if err := s.findInside(ctx); err != nil {
			return false, err
		}
	}
	if lives, err := s.left(ctx, folder); err != nil || lives {
		return lives, err
	}
	for _, id := range s.inside[folder] {
		l, err := s.look(ctx, id)
		if err != nil {
			return false, err
		}
		if l.err != nil || l.missing || l.item.Parent != s.items.of(id).Parent {
			continue
		}
		// A folder in between may have been found elsewhere meanwhile.
		if in, err := s.isBelow(ctx, id, folder); err != nil || in {
			return in, err
		}
	}
	return false, nil
}

// isBelow reports whether the way up from an item, as it was listed or else
// backed up, leads to a folder.
func (s *stage) isBelow(ctx context.Context, id, folder backup.ItemID) (bool, error) {
	for range maxDepth {
		if item, listed := s.items.get(id); listed && !item.Deleted {
			id = item.Parent
		} else {
			base, _, err := s.get(ctx, id)
			if err != nil {
				return false, err
			}
			id = base.Parent
		}
		if id == folder || id == "" {
			break
		}
	}
	return id == folder && id != "", nil
}

// left looks for what a folder held that is denied, where nothing was listed of
// it, folders first: with one that was moved all that it holds stays. It stages
// what it finds elsewhere, and reports whether something is where it was.
func (s *stage) left(ctx context.Context, folder backup.ItemID) (lives bool, err error) {
	for folders := []backup.ItemID{folder}; len(folders) > 0; folders = folders[1:] {
		at := folders[0]
		if at != folder && s.sought >= maxLeft {
			break
		}
		s.sought++
		var unlisted []backup.ItemID
		below := map[backup.ItemID]bool{} // whether it is a folder
		for e, err := range s.children(ctx, at) {
			if err != nil {
				return false, err
			}
			item, listed := s.items.get(e.ID)
			switch {
			case listed && item.Deleted && e.Kind == backup.Folder:
				folders = append(folders, e.ID)
			case listed:
			case at == folder && len(unlisted) < maxInside, s.sought < maxLeft:
				unlisted, below[e.ID] = append(unlisted, e.ID), e.Kind == backup.Folder
				s.sought++
			}
		}
		if err := s.ask(ctx, unlisted...); err != nil {
			return false, err
		}
		for _, id := range unlisted {
			switch l, _ := s.looked(id); {
			case l.err != nil:
			case l.missing && below[id]:
				folders = append(folders, id)
			case l.missing:
			case l.item.Parent == at:
				return true, nil
			default:
				if err := s.stageFound(ctx, l.item, "it has moved"); err != nil {
					return false, err
				}
			}
		}
	}
	return false, nil
}

func (s *stage) findInside(ctx context.Context) error {
	s.inside = map[backup.ItemID][]backup.ItemID{}
	for _, item := range s.items.all() {
		if item.Deleted {
			continue
		}
		for folder := item.Parent; folder != "" && folder != s.root && len(s.inside[folder]) < maxInside; {
			s.inside[folder] = append(s.inside[folder], item.ID)
			if above, listed := s.items.get(folder); listed && !above.Deleted {
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
	switch {
	case err != nil || v == gone:
		return v, err
	case s.items.depth(folder) >= maxDepth:
		return unsure, nil
	case v == alive && (folder == s.root || s.items.of(folder).Kind == backup.Folder):
		return v, nil
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
		item := s.items.of(id)
		if item.Name == "" {
			return unsure, nil // it cannot be kept, and so nothing in it
		}
		if ok, err := s.sameKind(ctx, item); err != nil || !ok {
			return unsure, err
		}
		if parent := item.Parent; parent != "" && parent != id {
			if v, err = s.below(ctx, parent); err != nil || v == alive {
				if item.Kind == backup.Folder {
					s.items.setDepth(id, s.items.depth(parent)+1)
				}
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

// sameKind reports whether an item is of the kind as which it was backed up, if
// it was, or is believed to be of another now. Items never change their kind: one
// of both was wrong, and what a whole listing, or a second run, and the item
// itself agree on is taken for the truth. A folder that holds something stays.
func (s *stage) sameKind(ctx context.Context, item drive.Item) (bool, error) {
	if held := s.items.held(item.ID); held == notHeld || held == heldFile && kindOf(item) == backup.File || held == heldFolder && kindOf(item) == backup.Folder {
		return true, nil
	}
	base, known, err := s.get(ctx, item.ID)
	if err != nil || !known || base.Kind == kindOf(item) {
		return true, err
	}
	if item.Unreadable != "" || !s.full && s.old[item.ID].Code != backup.ItemIncomplete {
		return false, nil
	}
	l, err := s.look(ctx, item.ID)
	if err != nil || l.missing || l.err != nil || kindOf(l.item) != kindOf(item) {
		return false, err
	}
	if base.Kind != backup.Folder {
		return true, nil
	}
	for _, err := range s.children(ctx, item.ID) {
		return false, err
	}
	return true, nil
}

// kindOf is what an item is kept as.
func kindOf(item drive.Item) backup.ItemKind {
	if item.Kind == backup.Folder {
		return backup.Folder
	}
	return backup.File
}

// above returns the folder that an item will be in, as things stand.
func (s *stage) above(ctx context.Context, id backup.ItemID) (backup.ItemID, error) {
	if item, listed := s.items.get(id); listed && !item.Deleted && s.items.verdict(id) == alive {
		return item.Parent, nil
	}
	base, _, err := s.get(ctx, id)
	return base.Parent, err
}

// untangle finds folders that were listed in what they themselves hold, by way
// of some that were not listed: those are where they were. They are asked for,
// and if that does not help, stay where they were too. It must come when all
// verdicts are found, and before anything is staged in the base.
func (s *stage) untangle(ctx context.Context) error {
	var sound marks // what leads to the root, or to nothing
	for i, item := range s.items.those(func(_ number, is trait) bool { return is&isFolder != 0 }) {
		id := item.ID
		if s.items.verdictAt(i) != alive {
			continue
		}
		for {
			circle, err := s.circle(ctx, id, &sound)
			if err != nil {
				return err
			}
			if circle == nil {
				break
			}
			if err := s.unwind(ctx, circle); err != nil {
				return err
			}
		}
	}
	return s.items.err()
}

// circle returns the folders on the way up from one that lead back to a folder
// on that way. If there are none, the way is sound.
func (s *stage) circle(ctx context.Context, id backup.ItemID, sound *marks) ([]backup.ItemID, error) {
	var way []backup.ItemID
	on := map[backup.ItemID]bool{}
	for at := id; at != "" && at != s.root && !sound.has(s.items.number(at)); {
		if on[at] {
			return way[slices.Index(way, at):], nil
		}
		way, on[at] = append(way, at), true
		var err error
		if at, err = s.above(ctx, at); err != nil {
			return nil, err
		}
	}
	for _, at := range way {
		sound.set(s.items.number(at))
	}
	return nil, nil
}

// unwind has the folders of a circle be where they are when they are asked for;
// or, if none of them is elsewhere than listed, those that moved where they were.
func (s *stage) unwind(ctx context.Context, circle []backup.ItemID) error {
	moved := false
	for _, id := range circle {
		_, changed, err := s.refresh(ctx, id)
		if err != nil {
			return err
		}
		if changed {
			moved = true
			s.items.judge(id, 0)
			if _, err := s.verdict(ctx, id); err != nil {
				return err
			}
		}
	}
	if moved {
		return nil
	}
	for _, id := range circle {
		base, _, err := s.get(ctx, id)
		if err != nil {
			return err
		}
		if s.items.verdict(id) == alive && s.items.of(id).Parent != base.Parent {
			s.items.judge(id, unsure)
		}
	}
	return nil
}

// path returns an item's path below the root, for people to read.
func (s *stage) path(ctx context.Context, id backup.ItemID) string {
	var names []string
	for range maxDepth { // moves may make circles
		var name string
		var parent backup.ItemID
		if item, ok := s.items.get(id); ok && !item.Deleted && item.Name != "" {
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
