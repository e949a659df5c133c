package vault

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/content/index"
	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/repo/object"
	"github.com/kopia/kopia/snapshot"

	"holdfast/internal/jsonscan"
)

// How manifests are found and deleted. Kopia's own manager reads every manifest of the
// vault for that, and once more after each flush: to destroy one drive of twenty
// thousand took as much as to back up fifty. So Holdfast reads what kopia has written of
// manifests by itself, each content of them once, and keeps of a manifest of ours what
// it is called by, as long as somebody asks. A manifest is deleted as kopia does it, by an
// entry that says so. Kopia's manager writes them, and puts their contents together.

// A named is one of our manifests.
type named struct {
	id          manifest.ID
	at          time.Time
	host, path  string // of its source
	root, after string // what it names, and what that follows; see afterLabel
}

func (n named) source() string { return n.host + ":" + n.path }

// manifestsKept is how long the index of manifests is kept when nobody asks it.
const manifestsKept = time.Minute

// A manifestIndex is what is known of the vault's manifests.
type manifestIndex struct {
	mu     sync.Mutex
	at     int64               // the revision of the index of contents, as of which this is
	read   map[content.ID]bool // contents of manifests; nil if nothing is known
	newest map[manifest.ID]written
	of     map[string][]named            // ours that are there, by source, in no order
	others map[manifest.ID]manifestEntry // those that are there and name no snapshot: kopia's notes, and the marks of the format
	reads  int                           // contents that were read in all
	drop   *time.Timer
}

// A written is the newest entry of a manifest.
type written struct {
	at     time.Time
	source string // "" of one that is deleted, or not ours
	gone   bool   // it says that the manifest is deleted
}

// contents are those of the vault, of which one knows whether there are others since.
type contents interface {
	Revision() int64
	IterateContents(context.Context, content.IterateOptions, content.IterateCallback) error
	getter
}

// A getter reads contents.
type getter interface {
	GetContent(context.Context, content.ID) ([]byte, error)
}

// asked has the index know what is in the vault, as far as this process's index of
// contents does, and asks it.
func (v *Vault) asked(ctx context.Context, ask func(*manifestIndex)) error {
	m := v.manifests.index
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := v.rep.ContentReader().(contents)
	if !ok {
		return fmt.Errorf("%w: kopia's contents have no revision", errors.ErrUnsupported)
	}
	if at := r.Revision(); m.read == nil || m.at != at {
		if err := v.fresh(ctx, func() error { return m.update(once(ctx), r) }); err != nil {
			m.read = nil // what was read is not all
			return storageError(err)
		}
		m.at = at // or of a later one, which then has nothing new
	}
	if m.drop == nil {
		m.drop = time.AfterFunc(manifestsKept, m.forget)
	} else {
		m.drop.Reset(manifestsKept)
	}
	ask(m)
	return nil
}

// forget gives back what the index takes: it is read again when it is asked.
func (m *manifestIndex) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.read, m.newest, m.of, m.others = nil, nil, nil, nil
}

// update reads what has come since.
func (m *manifestIndex) update(ctx context.Context, r contents) error {
	if m.read == nil {
		m.read, m.newest, m.of, m.others = map[content.ID]bool{}, map[manifest.ID]written{}, map[string][]named{}, map[manifest.ID]manifestEntry{}
	}
	var news []content.ID
	known := 0
	err := r.IterateContents(ctx, content.IterateOptions{Range: index.PrefixRange(manifest.ContentPrefix)}, func(i content.Info) error {
		if m.read[i.ContentID] {
			known++
		} else {
			news = append(news, i.ContentID)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if known < len(m.read) { // kopia has put some together, or they were mended
		m.read = nil
		return m.update(ctx, r)
	}
	for _, id := range news {
		entries, err := readManifests(ctx, r, id)
		if err != nil {
			return err
		}
		m.reads++
		for i := range entries {
			m.add(&entries[i])
		}
		m.read[id] = true
	}
	return nil
}

// add takes an entry up, unless a newer one of the same manifest is known.
func (m *manifestIndex) add(e *manifestEntry) {
	before, ok := m.newest[e.ID]
	if ok && !e.Modified.After(before.at) {
		return
	}
	if before.source != "" {
		m.of[before.source] = slices.DeleteFunc(m.of[before.source], func(n named) bool { return n.id == e.ID })
		if len(m.of[before.source]) == 0 {
			delete(m.of, before.source)
		}
	}
	delete(m.others, e.ID)
	w := written{at: e.Modified, gone: e.Deleted}
	switch {
	case e.Deleted:
	case e.Labels[manifest.TypeLabelKey] != snapshot.ManifestType:
		m.others[e.ID] = *e
	case e.Labels[snapshot.UsernameLabel] == owner: // what is somebody else's is left alone
		n := named{e.ID, e.Modified, e.Labels[snapshot.HostnameLabel], e.Labels[snapshot.PathLabel], e.Labels[rootLabel], e.Labels[afterLabel]}
		if n.root == "" { // of before version 1 of the format
			var s struct{ RootEntry struct{ Obj string } }
			if json.Unmarshal(e.Data, &s) == nil {
				n.root = s.RootEntry.Obj
			}
		}
		w.source = n.source()
		m.of[w.source] = append(m.of[w.source], n)
	}
	m.newest[e.ID] = w
}

// A manifestEntry is what kopia writes of a manifest; see manifestEntry of its package
// manifest.
type manifestEntry struct {
	ID       manifest.ID       `json:"id"`
	Labels   map[string]string `json:"labels"`
	Modified time.Time         `json:"modified"`
	Deleted  bool              `json:"deleted,omitempty"`
	Data     json.RawMessage   `json:"data"`
}

// metadata is what kopia tells of a manifest beside what it holds.
func (e *manifestEntry) metadata() *manifest.EntryMetadata {
	return &manifest.EntryMetadata{ID: e.ID, Length: len(e.Data), Labels: maps.Clone(e.Labels), ModTime: e.Modified}
}

// labelled reports whether a manifest has labels, and maybe others.
func (e *manifestEntry) labelled(with map[string]string) bool {
	for name, value := range with {
		if e.Labels[name] != value {
			return false
		}
	}
	return true
}

type manifestEntries struct {
	Entries []manifestEntry `json:"entries"`
}

var (
	manifestsNames = []string{"entries"}
	manifestNames  = []string{"id", "labels", "modified", "deleted", "data"}
)

func (m *manifestEntries) Scan(s *jsonscan.Scanner) {
	s.Object(func(key []byte) {
		if string(key) != "entries" {
			s.Other(key, manifestsNames)
			return
		}
		m.Entries = jsonscan.Elements(s, func(e *manifestEntry) { e.scan(s) })
	})
}

func (e *manifestEntry) scan(s *jsonscan.Scanner) {
	s.Object(func(key []byte) {
		switch string(key) {
		case "id":
			s.Text((*string)(&e.ID))
		case "labels":
			s.Members(func(key []byte) {
				if e.Labels == nil {
					e.Labels = map[string]string{}
				}
				var value string
				name := string(key)
				s.Text(&value)
				e.Labels[name] = value
			})
		case "modified":
			var text string
			s.Text(&text)
			if e.Modified.UnmarshalText([]byte(text)) != nil {
				s.Off()
			}
		case "deleted":
			switch string(s.Raw()) {
			case "true":
				e.Deleted = true
			case "false":
				e.Deleted = false
			default:
				s.Off()
			}
		case "data":
			if data := s.Raw(); e.Labels[manifest.TypeLabelKey] != snapshot.ManifestType || e.Labels[rootLabel] == "" {
				e.Data = bytes.Clone(data)
			}
		default:
			s.Other(key, manifestNames)
		}
	})
}

// readManifests reads a content of manifests.
func readManifests(ctx context.Context, r contents, id content.ID) ([]manifestEntry, error) {
	text, err := manifestText(ctx, r, id)
	if err != nil {
		return nil, err
	}
	var m manifestEntries
	if !jsonscan.Scan(text, &m) {
		m = manifestEntries{}
		if err := json.Unmarshal(text, &m); err != nil {
			return nil, fmt.Errorf("unable to parse manifest %v: %w", id, err)
		}
	}
	return m.Entries, nil
}

func manifestText(ctx context.Context, r getter, id content.ID) ([]byte, error) {
	packed, err := r.GetContent(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("read manifests: %w", err)
	}
	unzip, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("unable to unpack manifest data %v: %w", id, err)
	}
	text, err := io.ReadAll(unzip)
	if err != nil {
		return nil, fmt.Errorf("unable to unpack manifest data %v: %w", id, err)
	}
	return text, nil
}

// manifestsBySource returns all our manifests by their source, the oldest first.
func (v *Vault) manifestsBySource(ctx context.Context) (all map[string][]named, err error) {
	err = v.asked(ctx, func(m *manifestIndex) {
		all = make(map[string][]named, len(m.of))
		for source, of := range m.of {
			all[source] = inOrder(of)
		}
	})
	return all, err
}

// manifestsOf returns a source's manifests, the oldest first.
func (v *Vault) manifestsOf(ctx context.Context, src snapshot.SourceInfo) (of []named, err error) {
	err = v.asked(ctx, func(m *manifestIndex) { of = inOrder(m.of[src.Host+":"+src.Path]) })
	return of, err
}

func inOrder(of []named) []named {
	of = slices.Clone(of)
	slices.SortStableFunc(of, func(a, b named) int { return a.at.Compare(b.at) })
	return of
}

// gone is the entry by which a manifest is deleted. It is newer than what it deletes,
// also by a clock that went back.
func (v *Vault) gone(id manifest.ID) manifestEntry {
	m := v.manifests.index
	m.mu.Lock()
	defer m.mu.Unlock()
	at := v.rep.Time().UTC()
	if before := m.newest[id].at; !at.After(before) {
		at = before.Add(1)
	}
	return manifestEntry{ID: id, Modified: at, Deleted: true}
}

// otherManifests returns the manifests that name no snapshot and fit, the oldest first.
func (v *Vault) otherManifests(ctx context.Context, fits func(*manifestEntry) bool) (some []manifestEntry, err error) {
	err = v.asked(ctx, func(m *manifestIndex) {
		for _, e := range m.others {
			if fits(&e) {
				some = append(some, e)
			}
		}
	})
	slices.SortFunc(some, func(a, b manifestEntry) int { return a.Modified.Compare(b.Modified) })
	return some, err
}

const (
	// entriesOfOne is how many entries are written into one content, and bytesOfOne how long
	// they are together, but for one that is longer: which they fit into.
	entriesOfOne, bytesOfOne = 5000, 4 << 20
	// scattered is of how many contents of manifests fewer are made. Of sixteen that it reads
	// kopia's manager makes one, which it has in memory as a whole.
	scattered = 12
)

// writeEntries writes entries of manifests as kopia does, and returns the contents they
// are in.
func writeEntries(ctx context.Context, w repo.RepositoryWriter, entries iter.Seq2[json.RawMessage, error]) (in map[content.ID]bool, err error) {
	in = map[content.ID]bool{}
	var some []json.RawMessage
	length := 0
	write := func() error {
		ow := w.NewObjectWriter(ctx, object.WriterOptions{Description: "MANIFESTS", Prefix: manifest.ContentPrefix, Splitter: "FIXED-8M"})
		defer ow.Close()
		zip := gzip.NewWriter(ow)
		if err := json.NewEncoder(zip).Encode(rawEntries{some}); err != nil {
			return err
		}
		if err := zip.Close(); err != nil {
			return err
		}
		object, err := ow.Result()
		if err != nil {
			return err
		}
		id, _, ok := object.ContentID()
		if !ok {
			return fmt.Errorf("manifests of %d bytes are not in one content", length)
		}
		in[id], some, length = true, nil, 0
		return nil
	}
	for e, err := range entries {
		if err != nil {
			return in, err
		}
		if len(some) == entriesOfOne || length > 0 && length+len(e) > bytesOfOne {
			if err := write(); err != nil {
				return in, err
			}
		}
		some, length = append(some, e), length+len(e)
	}
	if len(some) == 0 {
		return in, nil
	}
	return in, write()
}

type rawEntries struct {
	Entries []json.RawMessage `json:"entries"`
}

// gatherManifests has all manifests in few contents, if they are in many. Those that are deleted
// are in none then. What takes the contents before away comes to the index with what has taken
// their place.
func (v *Vault) gatherManifests(ctx context.Context, w *session) error {
	many := false
	err := v.asked(ctx, func(m *manifestIndex) { many = len(m.read) >= scattered+2*len(m.newest)/entriesOfOne })
	if err != nil || !many {
		return err
	}
	from, there, err := v.allManifests(ctx)
	if err != nil {
		return err
	}
	to := w.ContentManager()
	to.DisableIndexFlush(ctx)
	in, err := writeEntries(ctx, w.DirectRepositoryWriter, takeEntries(ctx, to, from, there))
	if err == nil {
		err = noneLeft(there)
	}
	for _, id := range from {
		if err == nil && !in[id] {
			err = to.DeleteContent(ctx, id)
		}
	}
	to.EnableIndexFlush(ctx)
	if err != nil {
		return storageError(err)
	}
	return storageError(w.Flush(ctx))
}

// allManifests returns the contents of manifests, and when each was written that is there.
func (v *Vault) allManifests(ctx context.Context) (in []content.ID, there map[manifest.ID]time.Time, err error) {
	there = map[manifest.ID]time.Time{}
	err = v.asked(ctx, func(m *manifestIndex) {
		in = slices.Collect(maps.Keys(m.read))
		for id, w := range m.newest {
			if !w.gone {
				there[id] = w.at
			}
		}
	})
	return in, there, err
}

// noneLeft returns an error if not all entries were found.
func noneLeft(there map[manifest.ID]time.Time) error {
	if len(there) > 0 {
		return fmt.Errorf("%d manifests are in none of the contents that had them", len(there))
	}
	return nil
}

// A root is what a snapshot names.
type root struct {
	id   object.ID
	kind snapshot.EntryType
}

// roots returns what all snapshots name that are there, ours and others'. If one cannot be read
// it fails, where kopia would go on without that.
func (v *Vault) roots(ctx context.Context) (all []root, err error) {
	err = v.fresh(ctx, func() error {
		all = nil
		in, there, err := v.allManifests(ctx)
		if err != nil {
			return err
		}
		for raw, err := range takeEntries(ctx, v.rep.ContentReader(), in, there) {
			if err != nil {
				return err
			}
			var e struct {
				ID     manifest.ID
				Labels map[string]string
				Data   json.RawMessage
			}
			var s struct{ RootEntry *snapshot.DirEntry }
			if err = json.Unmarshal(raw, &e); err == nil && e.Labels[manifest.TypeLabelKey] == snapshot.ManifestType {
				if err = json.Unmarshal(e.Data, &s); err == nil && (s.RootEntry == nil || s.RootEntry.ObjectID == object.EmptyID) {
					err = errors.New("it names no root")
				}
			}
			if err != nil {
				return fmt.Errorf("manifest %s: %w", e.ID, err)
			}
			if s.RootEntry != nil {
				all = append(all, root{s.RootEntry.ObjectID, s.RootEntry.Type})
			}
		}
		return noneLeft(there)
	})
	return all, err
}

// takeEntries passes over the entries of contents that there names, by when they were written, as
// they are written. It takes each that it finds from there, for two contents may have it.
func takeEntries(ctx context.Context, r getter, from []content.ID, there map[manifest.ID]time.Time) iter.Seq2[json.RawMessage, error] {
	return func(yield func(json.RawMessage, error) bool) {
		for _, id := range from {
			fail := func(err error) { yield(nil, fmt.Errorf("manifests %v: %w", id, err)) }
			text, err := manifestText(ctx, r, id)
			if err != nil {
				fail(err)
				return
			}
			var all rawEntries
			if err := json.Unmarshal(text, &all); err != nil {
				fail(err)
				return
			}
			for _, raw := range all.Entries {
				var e struct {
					ID       manifest.ID
					Modified time.Time
				}
				if err := json.Unmarshal(raw, &e); err != nil {
					fail(err)
					return
				}
				if at, ok := there[e.ID]; !ok || !at.Equal(e.Modified) {
					continue
				}
				delete(there, e.ID)
				if !yield(raw, nil) {
					return
				}
			}
		}
	}
}
