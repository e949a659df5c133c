package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/drive"
	"holdfast/internal/jobs"
	"holdfast/internal/spill"
	"holdfast/internal/vault"
)

// Lists are restored together, for their items look into each other: each after
// those that it looks into, as far as there are no circles. In each pass every list is
// compared with the point anew, and what differs is written; a pass that finds nothing
// to do is the last. An item that is gone comes back under another number; lookups of
// items that have none yet, in a circle or in the list itself, are set in the next pass.
//
// What is made is noted in the catalog before it is asked for, and by which number it
// came. Where a restore is killed in between, what this application has made since then
// and is noted of nothing is taken for it, whichever of the items it is: it is given the
// values that it shall have. Other items of the point whose numbers are not in the list
// are taken to be those that are there beside the point's and hold the same. So a
// restore that was killed, or is done twice, makes no item twice, whatever the source
// makes of what it is sent.
type listRestores struct {
	e        *Engine
	job      *jobs.Job
	unit     backup.Unit
	artifact backup.ArtifactID // whose own the lists are that are restored into; "" in place
	source   *drive.Client
	vault    *vault.Vault
	since    time.Time // when the restore was first begun
	stale    func(name string) bool

	all  []*listRestore          // in the order in which they are restored
	by   map[string]*listRestore // by their ids in the point
	look bool                    // nothing is changed, only counted
	news bool                    // this pass has found what others refer to under another number
}

// A listRestore brings one list of a point back into a list.
type listRestore struct {
	*listRestores
	part  vault.Part
	kept  drive.ListSchema // as it is in the point
	only  backup.ItemID    // what of it is restored, with what is below; "" is all
	order int
	into  drive.ListRef
	exact bool     // it is the list that the point was taken of: what is not in the point goes
	err   error    // why it is no longer worked on
	files *filesOf // of the columns of a library's files; else nil

	now     drive.ListSchema // as it is
	columns []fieldOf        // that are restored

	// Where it is exact, what is in it as it was backed up: now, and when the restore
	// was first begun.
	tree, before string
	unsaved      map[int]string // what could not be backed up, and why

	mu   sync.Mutex // guards what follows
	live *vault.Tree
	// Else what is in it, as the source told of it.
	there *spill.Table

	numbers    *spill.Table // of items of the point in the list, where they are known
	sent       *spill.Table // what was written, by the number in the point, as it is compared
	renumbered bool
	made       int // in all passes
	changed    int
	removed    int

	// Of this pass.
	wants     *spill.Table // contents of the items that may differ, by their numbers in the point
	extra     *spill.Table // tags, with a space, of what is not in the point, by number; "" for what was found to be of it
	paired    int          // items of the point that are there under other numbers
	done      int
	total     int
	said      time.Time
	refused   int // one after the other, with nothing done between
	failed    int
	failures  []backup.Detail
	came      []catalog.ListNumber // what was made, and is to be noted
	unclear   map[int]bool         // what may have been made
	rewritten int
	left      int // extra items that stay
	remarks   map[string]backup.Detail
	absent    int // files that are not there
	damaged   []damaged
	lost      bool // the vault cannot tell all that the point holds
	again     bool // an answer was lost
}

// A fieldOf is a column of a list in the point, and now.
type fieldOf struct {
	kept, now *drive.Column
	late      bool // looks into a list that is restored after this one, or into the list itself
}

func (e *Engine) listRestores(j *jobs.Job, to reachedSite, since time.Time, artifact backup.ArtifactID) *listRestores {
	return &listRestores{e: e, job: j, artifact: artifact, unit: to.unit, source: to.source, vault: to.vault, since: since, stale: to.stale, by: map[string]*listRestore{}}
}

// add has a list of the point restored into a list.
func (s *listRestores) add(ctx context.Context, part vault.Part, into drive.ListRef) (*listRestore, error) {
	l := &listRestore{listRestores: s, part: part, into: into, exact: strings.EqualFold(into.ID, string(part.Drive)),
		numbers: spill.New(s.vault.Scratch()), sent: spill.New(s.vault.Scratch())}
	var err error
	if l.kept, err = keptSchema(ctx, s.vault, part); err != nil {
		l.close()
		return nil, err
	}
	s.by[strings.ToLower(string(part.Drive))] = l
	return l, nil
}

// keptSchema is what a list was at the time of a point.
func keptSchema(ctx context.Context, v *vault.Vault, part vault.Part) (drive.ListSchema, error) {
	is, ok, err := v.Stat(ctx, part.Tree, schemaID(string(part.Drive)))
	if err != nil {
		return drive.ListSchema{}, err
	}
	if !ok {
		return drive.ListSchema{}, fmt.Errorf("%w: a list without its schema", vault.ErrDamaged)
	}
	kept, err := readContent(ctx, v, is.Content)
	if err != nil {
		return drive.ListSchema{}, err
	}
	schema, err := drive.ParseSchema(kept)
	if err != nil {
		err = fmt.Errorf("%w: %w", vault.ErrDamaged, err)
	}
	return schema, err
}

func readContent(ctx context.Context, v *vault.Vault, content string) ([]byte, error) {
	r, err := v.Open(ctx, content)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func (s *listRestores) close() {
	for _, l := range s.by {
		l.close()
	}
}

// each calls fn for each list, in the order of their names.
func (s *listRestores) each(fn func(*listRestore) error) error {
	all := slices.SortedFunc(maps.Values(s.by), func(a, b *listRestore) int { return strings.Compare(a.part.Name, b.part.Name) })
	for _, l := range all {
		if err := fn(l); err != nil {
			return err
		}
	}
	return nil
}

// noteDamage notes what could not be read of the list in the vault.
func (l *listRestore) noteDamage(ctx context.Context, p backup.Point) error {
	r := &restoration{e: l.e, job: l.job, unit: l.unit, point: p, vault: l.vault, damaged: map[string]damaged{}}
	for _, d := range l.damaged {
		d.Path = l.part.Name + "/" + d.Path
		r.damaged[cmp.Or(d.Content, "folder "+string(d.ID))] = d
	}
	return r.noteDamage(ctx)
}

func (l *listRestore) close() {
	l.live.Close()
	if l.files != nil {
		l.files.tree.Close()
	}
	for _, t := range []*spill.Table{l.numbers, l.sent, l.there, l.wants, l.extra} {
		if t != nil {
			t.Close()
		}
	}
}

// inOrder returns lists, each after those that it looks into, as far as can be.
func inOrder(kept map[string]drive.ListSchema) (order []string) {
	seen := map[string]bool{}
	var visit func(id string)
	visit = func(id string) {
		if _, ok := kept[id]; !ok || seen[id] {
			return
		}
		seen[id] = true
		for _, c := range kept[id].Columns {
			visit(strings.ToLower(c.Looks))
		}
		order = append(order, id)
	}
	for _, id := range slices.Sorted(maps.Keys(kept)) {
		visit(id)
	}
	return order
}

// run restores all lists. What ends a list alone is its err; what is returned ends all.
func (s *listRestores) run(ctx context.Context) error {
	kept := map[string]drive.ListSchema{}
	for id, l := range s.by {
		kept[id] = l.kept
	}
	for i, id := range inOrder(kept) {
		s.by[id].order = i
		s.all = append(s.all, s.by[id])
	}
	for pass := 1; ; pass++ {
		if err := s.backUp(ctx, pass == 1); err != nil {
			return err
		}
		more := false
		s.news = false
		for _, l := range s.all {
			if l.err != nil {
				continue
			}
			err := l.pass(ctx)
			if err != nil && (stopped(ctx, err) || !isSource(err) && !isDamage(err)) {
				return err
			}
			l.err = err
			more = more || l.done > 0 || l.again
		}
		if s.look || !more && !s.news || pass > maxPasses {
			return nil
		}
	}
}

// backUp backs the site up, so that what is done to lists of it can be undone, and
// tells the lists what is in them.
func (s *listRestores) backUp(ctx context.Context, whole bool) error {
	if !slices.ContainsFunc(s.all, func(l *listRestore) bool { return l.exact && l.err == nil }) {
		return nil
	}
	var now protected
	err := retryMoved(func() error {
		defer s.e.lock("unit " + string(s.unit.ID))()
		unit, state, err := s.e.Catalog.UnitForRestore(ctx, s.job.Tenant, s.unit.ID)
		if err != nil {
			return err
		}
		for i := range state.Containers {
			c := &state.Containers[i]
			if l := s.by[string(c.Drive)]; whole && !s.look && l != nil && l.exact && l.files == nil && !c.Full.IsZero() {
				c.Full = time.UnixMicro(1) // nothing is taken away on the word of a delta
			}
		}
		now, err = s.e.protectSite(ctx, s.job, unit, state, nil)
		return err
	})
	if err != nil {
		return fmt.Errorf("back up the live site: %w", err)
	}
	for _, l := range s.all {
		if !l.exact || l.err != nil {
			continue
		}
		of := now
		if l.err = of.narrow(l.part.Drive); l.err != nil {
			continue
		}
		l.tree, l.unsaved = of.Point.Tree, map[int]string{}
		for _, u := range of.Pending {
			if n := numberOf(string(l.part.Drive), u.Item); n > 0 {
				l.unsaved[n] = "It could not be backed up before the restore, so that there is no copy of what it is now. " + u.Message
			}
		}
		if l.before == "" {
			r := &restoration{e: s.e, job: s.job, unit: s.unit, vault: s.vault, part: l.part.Drive, since: s.since}
			if l.before, err = r.firstTree(ctx, of.Point); err != nil {
				return err
			}
		}
	}
	return nil
}

// pass compares the list with the point, and writes what differs.
func (l *listRestore) pass(ctx context.Context) error {
	for _, t := range []*spill.Table{l.there, l.wants, l.extra} {
		if t != nil {
			t.Close()
		}
	}
	l.there, l.wants, l.extra = nil, spill.New(l.vault.Scratch()), spill.New(l.vault.Scratch())
	l.paired, l.done, l.total, l.refused, l.failed, l.rewritten, l.left = 0, 0, 0, 0, 0, 0, 0
	l.failures, l.damaged, l.remarks, l.lost, l.again, l.said = nil, nil, map[string]backup.Detail{}, false, false, l.e.Clock()
	steps := []func(context.Context) error{l.fitColumns, l.survey, l.pair, l.write, l.clear}
	if l.files != nil {
		l.absent = 0
		steps = []func(context.Context) error{l.fitColumns, l.survey, l.write}
	}
	for _, step := range steps {
		err := step(ctx)
		if err == nil {
			err = errors.Join(l.wants.Err(), l.extra.Err(), l.numbers.Err(), l.sent.Err())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// remark notes, once, what there is to know of the list.
func (l *listRestore) remark(what, message string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.remarks) < maxDetails {
		l.remarks[what] = backup.Detail{Code: backup.RestoredChanged, Message: message}
	}
}

// fitColumns makes the columns and content types that the list lacks, and finds those
// whose values can be restored.
func (l *listRestore) fitColumns(ctx context.Context) (err error) {
	if l.now, err = l.source.Schema(ctx, l.into); err != nil {
		return err
	}
	made := false
	for i := range l.kept.Columns {
		c := &l.kept.Columns[i]
		if computed[c.Name] || c.ReadOnly && c.Kind != "calculated" || columnNamed(&l.now, c.Name) != nil {
			continue
		}
		raw := aColumn(c, l.looks(c))
		if l.look {
			continue
		}
		if l.files != nil && l.files.only != "" { // the library is not changed for some files of it
			l.remark("column "+c.Name, fmt.Sprintf("The library has no column %q any more: what it held of the files is in the restore point only.", c.Display))
			continue
		}
		err := errors.New("the source does not say of what kind it is")
		if raw != nil {
			err = l.source.AddColumn(ctx, l.into, raw)
		}
		switch {
		case err == nil:
			made = true
		case raw != nil && (stopped(ctx, err) || l.oneItem(ctx, err) != nil):
			return err
		default:
			_, why := whyNot(err)
			l.remark("column "+c.Name, strings.TrimSpace(fmt.Sprintf("The column %q is not in the list any more and could not be made: what items had in it was not restored. %s", c.Display, why)))
		}
	}
	for _, raw := range l.kept.ContentTypes {
		name, of := aContentType(raw)
		if of == nil || l.look || l.files != nil && l.files.only != "" || typeNamed(&l.now, name) != "" {
			continue
		}
		err := l.source.AddContentType(ctx, l.into, of)
		switch {
		case err == nil:
			made = true
		case stopped(ctx, err) || l.oneItem(ctx, err) != nil:
			return err
		default:
			_, why := whyNot(err)
			l.remark("type "+name, strings.TrimSpace(fmt.Sprintf("The content type %q is not in the list any more and could not be made: items of it are of the list's own type. %s", name, why)))
		}
	}
	if made {
		if l.now, err = l.source.Schema(ctx, l.into); err != nil {
			return err
		}
	}
	l.columns = nil
	for i := range l.kept.Columns {
		c := &l.kept.Columns[i]
		now := columnNamed(&l.now, c.Name)
		if !holdsValues(c) || !writableKinds[c.Kind] || now == nil {
			continue
		}
		f := fieldOf{kept: c, now: now}
		switch t := l.by[strings.ToLower(c.Looks)]; {
		case now.Kind != c.Kind || now.Multiple != c.Multiple || now.ReadOnly:
			l.remark("column "+c.Name, fmt.Sprintf("The column %q is of another kind now: what items had in it was not restored.", c.Display))
			continue
		case c.Kind == "lookup" && !strings.EqualFold(now.Looks, l.looks(c)):
			l.remark("column "+c.Name, fmt.Sprintf("The column %q looks into another list now: what items had in it was not restored.", c.Display))
			continue
		case c.Kind == "lookup" && t != nil:
			f.late = t.order >= l.order
		}
		l.columns = append(l.columns, f)
	}
	return nil
}

// looks is the list that a lookup shall look into.
func (l *listRestore) looks(c *drive.Column) string {
	if t := l.by[strings.ToLower(c.Looks)]; t != nil && c.Kind == "lookup" {
		return t.into.ID
	}
	return c.Looks
}

func columnNamed(s *drive.ListSchema, name string) *drive.Column {
	i := slices.IndexFunc(s.Columns, func(c drive.Column) bool { return strings.EqualFold(c.Name, name) })
	if i < 0 {
		return nil
	}
	return &s.Columns[i]
}

// typeNamed is the id of a list's content type.
func typeNamed(s *drive.ListSchema, name string) string {
	for _, raw := range s.ContentTypes {
		var is struct{ ID, Name string }
		if json.Unmarshal(raw, &is) == nil && is.Name == name && name != "" {
			return is.ID
		}
	}
	return ""
}

// survey finds what may differ, and what is in the list and not in the point.
func (l *listRestore) survey(ctx context.Context) error {
	if !l.exact && l.files != nil {
		return l.wantFiles(ctx)
	}
	if !l.exact {
		if err := l.list(ctx); err != nil {
			return err
		}
		return l.wantAll(ctx)
	}
	var err error
	l.live.Close()
	if l.live, err = l.vault.Tree(ctx, l.tree); err != nil {
		return err
	}
	for change, err := range l.vault.Diff(ctx, l.tree, l.part.Tree) {
		if isDamage(err) {
			l.lost = true
			break
		}
		if err != nil {
			return fmt.Errorf("compare with the point: %w", err)
		}
		switch to, from := change.To, change.From; {
		case to != nil:
			l.want(*to)
		case from != nil && l.number(from.ID) > 0:
			l.extra.Put(strconv.Itoa(l.number(from.ID)), from.CTag+" ")
		}
	}
	others := slices.ContainsFunc(l.kept.Columns, func(c drive.Column) bool {
		t := l.by[strings.ToLower(c.Looks)]
		return t != nil && t.renumbered
	})
	if l.lost || others {
		return l.wantAll(ctx)
	}
	return nil
}

func (l *listRestore) number(id backup.ItemID) int { return numberOf(string(l.part.Drive), id) }

func (l *listRestore) want(n vault.Node) {
	if i := l.number(n.ID); i > 0 && n.Kind == backup.File {
		l.wants.Put(strconv.Itoa(i), n.Content)
	}
}

// wantAll wants all that is to be restored of the point.
func (l *listRestore) wantAll(ctx context.Context) error {
	all := l.vault.Walk(ctx, l.part.Tree)
	if l.only != "" {
		all = l.vault.WalkBelow(ctx, l.part.Tree, l.only)
	}
	for n, err := range all {
		switch {
		case isDamage(err) && n.ID != "":
			l.lost = true
			l.fail(n.Path, "It is not known what the folder held.", err)
			l.damaged = append(l.damaged, damaged{n, err})
		case err != nil:
			return fmt.Errorf("list the point: %w", err)
		default:
			l.want(n)
		}
	}
	return nil
}

// list finds what is in a list that is not the point's own.
func (l *listRestore) list(ctx context.Context) error {
	l.there = spill.New(l.vault.Scratch())
	groups := l.now.Groups()
	for it, err := range l.source.ListDelta(ctx, l.into, "", len(groups) == 0).All() {
		if err == nil && it.ID > 0 && !it.Deleted && it.JSON == nil {
			it, err = l.source.ListItem(ctx, l.into, it.ID, groups...)
			if errors.Is(err, drive.ErrNotFound) {
				continue
			}
		}
		if err != nil {
			return err
		}
		if it.ID > 0 {
			key, tag := strconv.Itoa(it.ID), it.ETag+" "
			if it.Deleted {
				it.JSON, tag = nil, ""
			}
			l.there.Put(key, string(it.JSON))
			l.extra.Put(key, tag)
		}
	}
	return l.there.Err()
}

// An oldItem is an item of a list, as it is in the point or now.
type oldItem struct {
	drive.ItemFile
	tag string
}

func parseItem(kept []byte) (it oldItem, err error) {
	if err := json.Unmarshal(kept, &it.ItemFile); err != nil {
		return it, fmt.Errorf("%w: an item of a list: %w", vault.ErrDamaged, err)
	}
	it.tag = it.ETag
	return it, nil
}

// has reports whether the list has an item.
func (l *listRestore) has(ctx context.Context, n int) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hasNow(ctx, n)
}

func (l *listRestore) hasNow(ctx context.Context, n int) (bool, error) {
	if !l.exact {
		if l.there == nil {
			return false, nil
		}
		i, ok := l.there.Find(strconv.Itoa(n))
		if ok {
			_, text := l.there.Get(i)
			ok = text != ""
		}
		return ok, l.there.Err()
	}
	if l.live == nil {
		return false, nil
	}
	_, ok, err := l.live.Node(ctx, itemIDOf(string(l.part.Drive), n))
	return ok, err
}

// is returns an item of the list as it is now.
func (l *listRestore) is(ctx context.Context, n int) (oldItem, error) {
	l.mu.Lock()
	var kept []byte
	var node vault.Node
	var err error
	if l.exact {
		node, _, err = l.live.Node(ctx, itemIDOf(string(l.part.Drive), n))
	} else if i, ok := l.there.Find(strconv.Itoa(n)); ok {
		_, text := l.there.Get(i)
		kept, err = []byte(text), l.there.Err()
	}
	l.mu.Unlock()
	if err == nil && l.exact {
		kept, err = readContent(ctx, l.vault, node.Content)
	}
	if err != nil {
		return oldItem{}, err
	}
	it, err := parseItem(kept)
	if l.exact {
		it.tag = node.CTag
	}
	return it, err
}

// liveNumber is the number that an item of the point has in the list now.
func (l *listRestore) liveNumber(ctx context.Context, n int) (int, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i, ok := l.numbers.Find(strconv.Itoa(n)); ok {
		_, text := l.numbers.Get(i)
		m, _ := strconv.Atoi(text)
		return m, m > 0, l.numbers.Err()
	}
	if !l.exact {
		return 0, false, nil
	}
	ok, err := l.hasNow(ctx, n)
	return n, ok, err
}

func (l *listRestore) know(n, m int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.numbers.Put(strconv.Itoa(n), strconv.Itoa(m))
	if n != m && m != 0 && !l.renumbered {
		l.renumbered, l.news = true, true
	}
}

// A shall is what an item shall hold: a value for each column that is restored.
type shall struct {
	values []any
	open   []bool // it looks up what is not there, or not yet
}

// shallBe is what an item of the point shall hold in the list.
func (l *listRestore) shallBe(ctx context.Context, it *oldItem) (shall, error) {
	s := shall{make([]any, len(l.columns)), make([]bool, len(l.columns))}
	for i, c := range l.columns {
		v := valueOf(c.kept, it.Fields)
		t := l.by[strings.ToLower(c.kept.Looks)]
		if v == nil || c.kept.Kind != "lookup" || t == nil {
			s.values[i] = v
			continue
		}
		ids, several := v.([]int)
		if !several {
			ids = []int{v.(int)}
		}
		var now []int
		for _, n := range ids {
			m, ok, err := t.liveNumber(ctx, n)
			if err != nil {
				return s, err
			}
			if s.open[i] = s.open[i] || !ok; ok {
				now = append(now, m)
			}
		}
		switch {
		case len(now) == 0:
		case several:
			s.values[i] = now
		default:
			s.values[i] = now[0]
		}
	}
	return s, nil
}

// mark tells items apart by what they hold, but for lookups that are set late.
func (l *listRestore) mark(value func(i int) any) string {
	all := make([]string, 0, len(l.columns))
	for i, c := range l.columns {
		if !c.late {
			all = append(all, canon(value(i)))
		}
	}
	return digestOf(all)
}

// place is what the numbers of the list's items are noted under.
func (l *listRestore) place() catalog.ListPlace {
	return catalog.ListPlace{Unit: l.unit.ID, List: l.into.ID, Artifact: l.artifact, Part: string(l.part.Drive)}
}

// A pairing is one search for the items of the point in the list under other numbers.
type pairing struct {
	*listRestore
	point   *vault.Tree
	noted   *spill.Table // numbers in the list, by those in the point; 0 for what was begun
	claimed *spill.Table // numbers in the list that are noted
	marks   *spill.Table // how many items there are of a mark, and their numbers
	orphans []int32      // what this application made, and is noted of nothing
	found   []catalog.ListNumber
}

// pair finds the items of the point that are in the list under other numbers.
func (l *listRestore) pair(ctx context.Context) error {
	p := &pairing{listRestore: l, noted: spill.New(l.vault.Scratch()), claimed: spill.New(l.vault.Scratch()), marks: spill.New(l.vault.Scratch())}
	defer p.noted.Close()
	defer p.claimed.Close()
	defer p.marks.Close()
	defer func() { p.point.Close() }()
	if err := p.recall(ctx); err != nil {
		return err
	}
	begun, missing, err := p.byNumber(ctx)
	if err != nil {
		return err
	}
	if len(begun)+len(missing) > 0 && l.extra.Len() > 0 {
		if err := p.look(ctx, len(begun) > 0); err != nil {
			return err
		}
		// First those that hold all they shall, then those that lack their lookups, then
		// what can be nothing else.
		for _, step := range []func([]int32) ([]int32, error){
			func(all []int32) ([]int32, error) { return p.byMark(ctx, all, orphanMark, false) },
			func(all []int32) ([]int32, error) { return p.byMark(ctx, all, orphanMark, true) },
			func(all []int32) ([]int32, error) { return p.byOrigin(ctx, all) },
		} {
			if begun, err = step(begun); err != nil {
				return err
			}
		}
		missing = append(missing, begun...)
		begun = nil
		for _, bare := range []bool{false, true} {
			if missing, err = p.byMark(ctx, missing, "", bare); err != nil {
				return err
			}
		}
	}
	for _, i := range append(missing, begun...) {
		n, _ := p.wanted(i)
		l.know(n, 0)
	}
	if err := errors.Join(p.noted.Err(), p.claimed.Err(), p.marks.Err()); err != nil {
		return err
	}
	return p.note(ctx, p.found)
}

// note notes numbers, unless nothing is to be changed.
func (l *listRestore) note(ctx context.Context, numbers []catalog.ListNumber, undone ...int) error {
	if l.look {
		return nil
	}
	return l.e.Catalog.NoteListNumbers(ctx, l.job, l.place(), numbers, undone...)
}

// recall reads what was noted of the list.
func (p *pairing) recall(ctx context.Context) error {
	for is, err := range p.e.Catalog.ListNumbers(ctx, p.place()) {
		if err != nil {
			return err
		}
		live := strconv.Itoa(is.Live)
		if is.Own {
			p.noted.Put(strconv.Itoa(is.Item), live)
		}
		if is.Live == 0 {
			continue
		}
		p.claimed.Put(live, "")
		if _, there := p.extra.Find(live); there && !is.Own && p.only != "" {
			p.extra.Put(live, "") // it is another's
		}
	}
	if p.exact && p.noted.Len() > 0 {
		var err error
		if p.point, err = p.vault.Tree(ctx, p.part.Tree); err != nil {
			return err
		}
	}
	return nil
}

// wanted is the number of an item that is wanted, and its content.
func (p *pairing) wanted(i int32) (n int, content string) {
	key, content := p.wants.Get(int(i))
	n, _ = strconv.Atoi(key)
	return n, content
}

// matches notes that item n of the point is item m of the list.
func (p *pairing) matches(n, m int) {
	p.paired++
	p.know(n, m)
	live := strconv.Itoa(m)
	p.extra.Put(live, "")
	if i, ok := p.noted.Find(strconv.Itoa(n)); ok {
		if _, was := p.noted.Get(i); was != live {
			p.found = append(p.found, catalog.ListNumber{Item: n, Live: m})
		}
	}
}

// isFree reports whether an item of the list is none that the point knows, and was not
// found to be any of the point's.
func (p *pairing) isFree(ctx context.Context, m int) (bool, error) {
	there, err := p.has(ctx, m)
	if err != nil || !there {
		return false, err
	}
	if i, ok := p.extra.Find(strconv.Itoa(m)); ok {
		_, tag := p.extra.Get(i)
		return tag != "", nil
	}
	if p.point == nil {
		return false, nil
	}
	_, known, err := p.point.Node(ctx, itemIDOf(string(p.part.Drive), m))
	return !known, err
}

// notedNumber follows what is noted of an item: what came of it may be gone, and have
// been restored itself.
func (p *pairing) notedNumber(ctx context.Context, n int) (m int, begun bool, err error) {
	for range maxDepth {
		i, ok := p.noted.Find(strconv.Itoa(n))
		if !ok {
			return 0, begun, nil
		}
		_, text := p.noted.Get(i)
		if n, _ = strconv.Atoi(text); n == 0 {
			return 0, m == 0, nil
		}
		m = n
		if free, err := p.isFree(ctx, m); err != nil || free {
			return m, false, err
		}
		if !p.exact {
			return 0, false, nil
		}
	}
	return 0, false, nil
}

// byNumber finds what is there under its own number, or that which is noted. It returns
// the positions of the others among the wants: of those whose making was begun, and of
// the rest.
func (p *pairing) byNumber(ctx context.Context) (begun, missing []int32, err error) {
	for i := range p.wants.Len() {
		n, _ := p.wanted(int32(i))
		if p.exact {
			there, err := p.has(ctx, n)
			if err != nil {
				return nil, nil, err
			}
			if there {
				p.know(n, n)
				continue
			}
		}
		m, open, err := p.notedNumber(ctx, n)
		if err == nil && m == 0 {
			if m, _, err = p.liveNumber(ctx, n); err == nil && m > 0 {
				if free, freeErr := p.isFree(ctx, m); freeErr != nil || !free {
					m, err = 0, freeErr
				}
			}
		}
		switch {
		case err != nil:
			return nil, nil, err
		case m > 0:
			p.matches(n, m)
		case open:
			begun = append(begun, int32(i))
		default:
			missing = append(missing, int32(i))
		}
	}
	return begun, missing, nil
}

// orphanMark is what the marks of orphans begin with.
const orphanMark = "orphan "

// look marks what is in the list and not in the point, and finds the orphans in it.
func (p *pairing) look(ctx context.Context, orphans bool) error {
	for i := range p.extra.Len() {
		key, tag := p.extra.Get(i)
		if tag == "" {
			continue
		}
		m, _ := strconv.Atoi(key)
		it, err := p.is(ctx, m)
		if isDamage(err) {
			continue
		}
		if err != nil {
			return err
		}
		mark := p.mark(func(i int) any { return valueOf(p.columns[i].now, it.Fields) })
		p.put(mark, key)
		if _, claimed := p.claimed.Find(key); !orphans || claimed || !p.source.Makes(&it.ItemFile) {
			continue
		}
		if p.exact {
			if _, before, err := p.vault.Stat(ctx, p.before, itemIDOf(string(p.part.Drive), m)); before || isDamage(err) {
				continue
			} else if err != nil {
				return err
			}
		}
		p.put(orphanMark+mark, key)
		p.orphans = append(p.orphans, int32(m))
	}
	return nil
}

func (p *pairing) count(mark string) int {
	i, ok := p.marks.Find(mark)
	if !ok {
		return 0
	}
	_, text := p.marks.Get(i)
	n, _ := strconv.Atoi(text)
	return n
}

func (p *pairing) put(mark, number string) {
	n := p.count(mark)
	p.marks.Put(mark+"#"+strconv.Itoa(n), number)
	p.marks.Put(mark, strconv.Itoa(n+1))
}

// take returns an item of the list that has a mark and was not taken yet; 0 for none.
func (p *pairing) take(mark string) int {
	for n := p.count(mark); n > 0; n-- {
		p.marks.Put(mark, strconv.Itoa(n-1))
		i, _ := p.marks.Find(mark + "#" + strconv.Itoa(n-1))
		_, key := p.marks.Get(i)
		if i, ok := p.extra.Find(key); ok {
			if _, tag := p.extra.Get(i); tag != "" {
				m, _ := strconv.Atoi(key)
				return m
			}
		}
	}
	return 0
}

// shallHold is what an item that is wanted shall hold. It is nothing where the vault
// cannot tell, or the item is a folder, which cannot be made.
func (p *pairing) shallHold(ctx context.Context, i int32) (s shall, ok bool, err error) {
	_, content := p.wanted(i)
	kept, err := readContent(ctx, p.vault, content)
	var it oldItem
	if err == nil {
		it, err = parseItem(kept)
	}
	if err == nil {
		s, err = p.shallBe(ctx, &it)
	}
	if isDamage(err) {
		return s, false, nil
	}
	return s, err == nil && !isListFolder(&it.ItemFile), err
}

// byMark finds items by what they hold, and returns those that it does not find.
func (p *pairing) byMark(ctx context.Context, all []int32, among string, bare bool) (left []int32, err error) {
	for _, i := range all {
		s, ok, err := p.shallHold(ctx, i)
		if err != nil {
			return nil, err
		}
		m := 0
		if ok {
			m = p.take(among + p.mark(func(i int) any {
				if bare && p.columns[i].kept.IsLookup() {
					return nil
				}
				return s.values[i]
			}))
		}
		if m == 0 {
			left = append(left, i)
			continue
		}
		n, _ := p.wanted(i)
		p.matches(n, m)
	}
	return left, nil
}

// byOrigin takes the orphans that are left for what was begun: they hold something
// else, but are to hold it no longer. Each is taken for the item that it is most like.
func (p *pairing) byOrigin(ctx context.Context, all []int32) (left []int32, err error) {
	canons := func(value func(i int) any) (texts []string) {
		for i := range p.columns {
			texts = append(texts, canon(value(i)))
		}
		return texts
	}
	shall := map[int32][]string{} // of what was begun at once, by a restore that was killed
	for _, i := range all {
		s, ok, err := p.shallHold(ctx, i)
		switch {
		case err != nil:
			return nil, err
		case ok:
			shall[i] = canons(func(i int) any { return s.values[i] })
		default:
			left = append(left, i)
		}
	}
	for _, m := range p.orphans {
		if i, ok := p.extra.Find(strconv.Itoa(int(m))); !ok || len(shall) == 0 {
			continue
		} else if _, tag := p.extra.Get(i); tag == "" {
			continue
		}
		it, err := p.is(ctx, int(m))
		if err != nil {
			return nil, err
		}
		is := canons(func(i int) any { return valueOf(p.columns[i].now, it.Fields) })
		best, most := int32(-1), -1
		for _, i := range slices.Sorted(maps.Keys(shall)) {
			alike := 0
			for c, text := range shall[i] {
				if text == is[c] && text != "null" {
					alike++
				}
			}
			if alike > most {
				best, most = i, alike
			}
		}
		n, _ := p.wanted(best)
		p.matches(n, int(m))
		delete(shall, best)
	}
	return append(left, slices.Sorted(maps.Keys(shall))...), nil
}

// itemsAtOnce is how many items are noted together before they are made.
const itemsAtOnce = 200

// write makes the items that are missing, and changes those that differ.
func (l *listRestore) write(ctx context.Context) error {
	l.total = l.wants.Len()
	for from := 0; from < l.total; from += itemsAtOnce {
		if err := l.writeSome(ctx, from, min(from+itemsAtOnce, l.total)); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// writeSome is write for some of the wants.
func (l *listRestore) writeSome(ctx context.Context, from, to int) error {
	var begin []catalog.ListNumber
	for i := from; i < to; i++ {
		key, _ := l.wants.Get(i)
		n, _ := strconv.Atoi(key)
		if n == 0 {
			return l.wants.Err()
		}
		if _, there, err := l.liveNumber(ctx, n); err != nil {
			return err
		} else if !there {
			begin = append(begin, catalog.ListNumber{Item: n})
		}
	}
	if err := l.note(ctx, begin); err != nil {
		return err
	}
	l.came, l.unclear = nil, map[int]bool{}
	group, inGroup := newGroup(ctx)
	group.SetLimit(l.e.Transfers)
	for i := from; i < to; i++ {
		if inGroup.Err() != nil {
			break
		}
		l.mu.Lock()
		key, content := l.wants.Get(i)
		l.mu.Unlock()
		n, _ := strconv.Atoi(key)
		if n == 0 {
			break
		}
		group.Go(func() error {
			done, err := l.item(inGroup, n, content)
			return l.outcome(inGroup, n, content, done, err)
		})
	}
	err := group.Wait()
	var undone []int
	for _, is := range begin {
		if !l.unclear[is.Item] && !slices.ContainsFunc(l.came, func(other catalog.ListNumber) bool { return other.Item == is.Item }) {
			undone = append(undone, is.Item)
		}
	}
	noting := ctx
	if ctx.Err() != nil {
		noting = context.WithoutCancel(ctx) // what has come has come
	}
	return errors.Join(err, l.note(noting, l.came, undone...), l.wants.Err())
}

// maxInRow is how many items may fail one after the other, before any was written,
// until that is taken for the failure of the list.
const maxInRow = 100

// outcome takes what became of an item. It returns only what must end the list's
// restore.
func (l *listRestore) outcome(ctx context.Context, n int, content string, done bool, err error) error {
	if err != nil {
		if err := l.oneItem(ctx, err); err != nil {
			return err
		}
		l.fail(pathOf(n), "It is not as it was.", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil && isDamage(err):
		if len(l.damaged) < maxDetails {
			l.damaged = append(l.damaged, damaged{vault.Node{Entry: vault.Entry{ID: itemIDOf(string(l.part.Drive), n), Kind: backup.File, Content: content}, Path: pathOf(n)}, err})
		}
	case err != nil:
		if l.refused++; l.refused > maxInRow && l.done == 0 {
			return err
		}
	case done:
		l.done++
		l.refused = 0
	}
	if now := l.e.Clock(); now.Sub(l.said) >= progressEvery {
		l.said = now
		l.e.Log.InfoContext(ctx, "restore under way", "tenant", l.job.Tenant, "site", who(l.unit), "list", l.part.Name, "written", l.done, "failed", l.failed, "of", l.total)
	}
	return nil
}

func pathOf(n int) string { return folderName(n) + "/" + strconv.Itoa(n) + ".json" }

// oneItem returns nil if err is the failure of one item, and err if it is that of the
// list, the source or the vault.
func (l *listRestore) oneItem(ctx context.Context, err error) error {
	switch {
	case stopped(ctx, err), errors.Is(err, vault.ErrMissing), errors.Is(err, vault.ErrOther), errors.Is(err, drive.ErrLocked):
		return err
	case isDamage(err), errors.Is(err, errUnsaved), errors.Is(err, errFolderInList):
		return nil
	case !isSource(err):
		return err
	case errors.Is(err, drive.ErrUnavailable):
		if _, away := l.source.List(ctx, l.into); away != nil {
			return err
		}
	}
	return nil
}

// errFolderInList: Graph makes no folders in lists.
var errFolderInList = fmt.Errorf("a folder of a list: %w", drive.ErrContent)

// item brings one item back, and reports whether anything was done.
func (l *listRestore) item(ctx context.Context, n int, content string) (bool, error) {
	kept, err := readContent(ctx, l.vault, content)
	if err != nil {
		return false, err
	}
	it, err := parseItem(kept)
	if err != nil {
		return false, err
	}
	s, err := l.shallBe(ctx, &it)
	if err != nil {
		return false, err
	}
	l.tellOf(&it, s)
	if l.files != nil {
		return l.file(ctx, n, &it, s)
	}
	m, there, err := l.liveNumber(ctx, n)
	if err != nil {
		return false, err
	}
	if !there {
		if isListFolder(&it.ItemFile) {
			return false, errFolderInList
		}
		return true, l.make(ctx, n, s, typeNamed(&l.now, typeName(&it.ItemFile)))
	}
	is, err := l.is(ctx, m)
	if err != nil {
		return false, err
	}
	return l.rewrite(ctx, n, m, &it, s, is)
}

// rewrite gives item m of the list what item n of the point shall hold, and reports
// whether anything was done.
func (l *listRestore) rewrite(ctx context.Context, n, m int, it *oldItem, s shall, is oldItem) (bool, error) {
	typeIs := typeNamed(&l.now, typeName(&it.ItemFile))
	w := drive.ListWrite{Fields: map[string]any{}}
	if typeIs != "" && typeName(&is.ItemFile) != typeName(&it.ItemFile) && !isListFolder(&it.ItemFile) {
		w.ContentType = typeIs
	}
	for i, c := range l.columns {
		if !s.open[i] && canon(s.values[i]) != canon(valueOf(c.now, is.Fields)) {
			put(w.Fields, c.now, s.values[i])
		}
	}
	switch why, unsaved := l.unsaved[m]; {
	case len(w.Fields) == 0 && w.ContentType == "":
		return false, nil
	case unsaved:
		return false, fmt.Errorf("%w: %s", errUnsaved, why)
	case l.wasSent(n, s):
		l.mu.Lock()
		l.rewritten++
		l.mu.Unlock()
		return false, nil
	case l.look:
		return true, nil
	}
	if err := l.writeFields(ctx, m, w, &is); err != nil {
		return false, err
	}
	l.wrote(n, s)
	l.mu.Lock()
	l.changed++
	l.mu.Unlock()
	return true, nil
}

// make makes an item that is missing. Where the source does not take its lookups, it
// is made without them.
func (l *listRestore) make(ctx context.Context, n int, s shall, contentType string) error {
	if l.look {
		return nil
	}
	w := drive.ListWrite{Fields: map[string]any{}}
	if len(l.now.ContentTypes) > 1 {
		w.ContentType = contentType
	}
	looks := false
	for i, c := range l.columns {
		if s.values[i] != nil {
			put(w.Fields, c.now, s.values[i])
			looks = looks || c.now.IsLookup()
		}
	}
	made, unclear, err := l.source.CreateListItem(ctx, l.into, w)
	if e, ok := errors.AsType[*drive.Error](err); ok && !unclear && e.Status == http.StatusBadRequest && looks {
		for _, c := range l.columns {
			if c.now.IsLookup() {
				delete(w.Fields, c.now.Name+"LookupId")
				delete(w.Fields, c.now.Name+"LookupId@odata.type")
			}
		}
		refused := e
		if made, unclear, err = l.source.CreateListItem(ctx, l.into, w); err == nil {
			l.remark("lookups", "Items whose lookups, or people, the source did not take were made without them; the restore point has them. "+refused.Reason())
		}
	}
	l.mu.Lock()
	l.again, l.unclear[n] = l.again || unclear, unclear
	l.mu.Unlock()
	if err != nil {
		return err
	}
	l.know(n, made.ID)
	l.wrote(n, s)
	l.mu.Lock()
	if !slices.ContainsFunc(l.came, func(is catalog.ListNumber) bool { return is.Live == made.ID }) {
		l.came = append(l.came, catalog.ListNumber{Item: n, Live: made.ID})
	}
	l.made++
	l.mu.Unlock()
	return nil
}

func (l *listRestore) digest(s shall) string {
	return digestOf([]string{canon(s.values)})
}

// wrote notes what was sent of an item.
func (l *listRestore) wrote(n int, s shall) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent.Put(strconv.Itoa(n), l.digest(s))
}

func (l *listRestore) wasSent(n int, s shall) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, ok := l.sent.Find(strconv.Itoa(n))
	if !ok {
		return false
	}
	_, was := l.sent.Get(i)
	return was == l.digest(s)
}

// tellOf notes what an item of the point has that is not restored.
func (l *listRestore) tellOf(it *oldItem, s shall) {
	for i := range l.kept.Columns {
		c := &l.kept.Columns[i]
		if holdsValues(c) && !writableKinds[c.Kind] && valueOf(c, it.Fields) != nil {
			l.remark("column "+c.Name, fmt.Sprintf("Graph does not let one write the column %q: what items had in it is in the restore point only.", c.Display))
		}
	}
	if string(it.Fields["Attachments"]) == "true" {
		l.remark("attachments", "Items had attachments, which Graph neither gives nor takes.")
	}
	if slices.Contains(s.open, true) {
		l.remark("open", "Items look up what is not there; these lookups were left out.")
	}
}

// clear takes away what is not in the point and is in the one of before.
func (l *listRestore) clear(ctx context.Context) error {
	if !l.exact {
		return nil
	}
	unread, err := l.vault.Unread(ctx, l.part.Tree)
	if err != nil && !isDamage(err) {
		return err
	}
	unsure := l.lost || err != nil || l.stale(l.part.Name)
	mayHave := map[backup.ItemID]bool{}
	for _, u := range unread {
		mayHave[u.Item] = true
		unsure = unsure || u.Item == ""
	}
	for i := range l.extra.Len() {
		key, tag := l.extra.Get(i)
		m, _ := strconv.Atoi(key)
		if tag == "" {
			continue
		}
		tag = strings.TrimSuffix(tag, " ")
		id := itemIDOf(string(l.part.Drive), m)
		was, before, err := l.vault.Stat(ctx, l.before, id)
		if err != nil && !isDamage(err) {
			return err
		}
		why := ""
		switch unsaved := l.unsaved[m]; {
		case unsure:
			why = "The restore point does not say for sure all that the list held, so that it may belong there."
		case unsaved != "":
			why = unsaved
		case mayHave[id]:
			why = "The restore point says that it could not be read at that time, so that it may have been there."
		case !before || was.CTag != tag:
			why = "It came into the list, or was changed, after the restore had begun."
		}
		if why != "" {
			if l.left++; l.left <= maxDetails {
				l.remarks[pathOf(m)] = backup.Detail{Code: backup.LeftAsItIs, Message: "It is not in the restore point and was left as it is. " + why, Target: pathOf(m)}
			}
			continue
		}
		if l.look {
			l.done++
			continue
		}
		err = l.source.DeleteListItem(ctx, l.into, m, tag)
		if errors.Is(err, drive.ErrNotFound) {
			err = nil
		}
		if err == nil {
			l.removed++
		}
		if err := l.outcome(ctx, m, "", err == nil, err); err != nil {
			return err
		}
	}
	return nil
}

// fail names an item that could not be restored.
func (l *listRestore) fail(target, what string, err error) {
	code, why := whyNot(err)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed++; len(l.failures) < maxDetails {
		l.failures = append(l.failures, backup.Detail{Code: code, Message: strings.TrimSpace(what + " " + why), Target: target})
	}
}

// whyNot says why something could not be written.
func whyNot(err error) (backup.Code, string) {
	switch {
	case errors.Is(err, errUnsaved):
		return backup.LeftAsItIs, "It was left as it is: it could not be backed up before the restore, so that there is no copy of what it is now."
	case errors.Is(err, errFolderInList):
		return backup.NotSupported, "It is a folder, and Graph makes no folders in lists. What was in it is at the list's top."
	}
	code, why := notWritten(err)
	if said := sourceSays(err); said != "" {
		why += " " + said
	}
	return code, why
}

// problem says what could not be restored, and what there is to know of the rest.
func (l *listRestore) problem() *backup.Problem {
	remarks := slices.Collect(maps.Values(l.remarks))
	tell := func(n int, format string) {
		if n > 0 {
			remarks = append(remarks, backup.Detail{Code: backup.RestoredChanged, Message: fmt.Sprintf(format, count(n, "item"))})
		}
	}
	tell(l.made, "Made anew, with new numbers: %s. Graph does not let one say who made them, and when: that is in the restore point.")
	tell(l.changed, "Given their values again: %s. Graph does not let one say who changed them last, and when: that is in the restore point.")
	tell(l.rewritten, "Kept by the source otherwise than they were written: %s.")
	tell(l.absent-maxDetails, "Also not restored, because the files are not there, or are others: what the columns hold of %s.")
	tell(l.left-maxDetails, "Also left as they are, although the restore point does not have them: %s.")
	slices.SortFunc(remarks, func(a, b backup.Detail) int {
		return cmp.Or(strings.Compare(a.Target, b.Target), strings.Compare(a.Message, b.Message))
	})
	switch {
	case l.failed > 0:
		return &backup.Problem{Code: backup.ArtifactCannotBeRestored, Details: slices.Concat(l.failures, remarks), Short: short(l.failed, int(l.part.Files)),
			Message: fmt.Sprintf("%s of the list could not be restored; all else is as it was at the restore point.", count(l.failed, "item"))}
	case len(remarks) > 0:
		return &backup.Problem{Code: backup.RestoredWithRemarks, Details: remarks, Message: "All is as it was at the restore point. " + remarked(len(remarks))}
	}
	return nil
}
