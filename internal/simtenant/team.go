package simtenant

import (
	"bufio"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"unicode/utf8"

	"holdfast/internal/backup"
)

// A team site is a folder of the folder of sites, and what is in it are folders as
// well: libraries/NAME for each document library, lists/NAME for each list, pages
// for the site's pages, and sites/NAME for each site below it. The site NAME is at
// /sites/NAME; that of the name root is at the top of the host, and is made if it is
// missing. With several tenants, each has a folder of sites that is named by its
// domain.
//
// A folder keeps its identity when it is renamed or moved; one that was removed and
// made again is another, as it is at the service.

// The parts of a site's folder.
const (
	librariesPart = "libraries"
	listsPart     = "lists"
	pagesPart     = "pages"
	subsitesPart  = "sites"
)

const (
	rootSite  = "root"
	sitePages = "Site Pages" // the library that pages are in
	maxDepth  = 10           // of sites below sites
)

// team is what tells a team site from others.
type team struct {
	path  string   // of its folder, below Config.Sites
	names string   // its name, behind those of the sites that it is below
	key   [16]byte // the web's GUID
	top   [16]byte // the site collection's
}

func (t team) name() string { return path.Base(t.names) }

// address is the path of the site's URL.
func (t team) address() string {
	if first, below, ok := strings.Cut(t.names, "/"); first == rootSite {
		if !ok {
			return ""
		}
		return "/" + below
	}
	return "/sites/" + t.names
}

// known is a folder that has an identity: a site's, a library's, a list's, or that
// of the pages.
type known struct {
	key    [16]byte
	path   string // below Config.Sites
	inode  inode
	seq    int64   // of a site: the last change
	grants []grant // of a site collection
	gone   bool
}

// knownRecord is known as it stands in the journal.
type knownRecord struct {
	Key    string  `json:"k"`
	Path   string  `json:"p"`
	Dev    uint64  `json:"v,omitempty"`
	Ino    uint64  `json:"o,omitempty"`
	Birth  int64   `json:"b,omitempty"`
	Seq    int64   `json:"s,omitempty"`
	Grants []grant `json:"g,omitempty"`
	Gone   bool    `json:"x,omitempty"`
}

// teams is what is known of the folders of team sites. Its journal is a file of
// JSON lines: a header, and then the folders as they became known.
type teams struct {
	mu         sync.Mutex
	root       *os.Root // Config.Sites; nil without
	journal    *os.File
	generation string // of the tokens
	seq        int64
	byKey      map[[16]byte]*known
	byInode    map[inode]*known
	in         map[string]map[string]*known // by the path of the folder that they are in, and by name
	warned     map[string]bool
}

type teamsHeader struct {
	Version    int    `json:"holdfastSites"`
	Generation string `json:"generation"`
}

func (s *Service) teamsJournal() string { return filepath.Join(s.cfg.State, "sites.jsonl") }

// openTeams opens the folder of sites, and reads what is known of it. With adopt,
// what lies at a known path is what was known there, whatever its inode: a saved
// state was put back.
func (s *Service) openTeams(adopt bool) (err error) {
	if s.cfg.Sites == "" {
		return nil
	}
	g := &s.teams
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.root == nil {
		if g.root, err = os.OpenRoot(s.cfg.Sites); err != nil {
			return fmt.Errorf("open the folder of sites: %w", err)
		}
	}
	g.byKey, g.byInode, g.in, g.warned = map[[16]byte]*known{}, map[inode]*known{}, map[string]map[string]*known{}, map[string]bool{}
	g.generation, g.seq = backup.NewID[string](), 0
	if err := g.read(s.teamsJournal(), adopt); err != nil {
		s.log.Error("the journal of sites is damaged; they are as if new", "err", err)
		clear(g.byKey)
	}
	for _, k := range g.byKey {
		g.seq = max(g.seq, k.seq)
		g.attach(k)
	}
	if err := g.rewrite(s.teamsJournal()); err != nil {
		return fmt.Errorf("write the journal of sites: %w", err)
	}
	if err := s.makeTeams(); err != nil {
		return err
	}
	return s.makeMadeSites()
}

// makeTeams makes the folders of the sites that every tenant has: the root's, and
// those of its groups that have one.
func (s *Service) makeTeams() error {
	for _, t := range s.byOrder {
		names := []string{rootSite}
		for _, g := range t.Groups {
			if g.unified() {
				names = append(names, g.MailNickname)
			}
		}
		for _, name := range names {
			dir := path.Join(s.teamsOf(t), name)
			if _, err := s.teams.root.Lstat(dir); err == nil {
				continue
			}
			if err := s.teams.root.MkdirAll(path.Join(dir, librariesPart, documents), 0o755); err != nil {
				return fmt.Errorf("make a site's folder: %w", err)
			}
		}
	}
	return nil
}

func (g *teams) close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.root == nil {
		return nil
	}
	err := g.root.Close()
	if g.journal != nil {
		err = errors.Join(err, g.journal.Close())
	}
	g.root, g.journal = nil, nil
	return err
}

// read reads the journal. A line torn by a crash ends it.
func (g *teams) read(name string, adopt bool) error {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	dec := json.NewDecoder(bufio.NewReaderSize(f, 64<<10))
	var h teamsHeader
	if err := dec.Decode(&h); err != nil || h.Version != 1 || h.Generation == "" {
		return errors.Join(errors.New("the header is not understood"), err)
	}
	g.generation = h.Generation
	for {
		var r knownRecord
		err := dec.Decode(&r)
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
		key, ok := guidBytes(r.Key)
		if !ok || !fs.ValidPath(r.Path) {
			return fmt.Errorf("%q is not understood", r.Key)
		}
		k := &known{key: key, path: r.Path, inode: inode{r.Dev, r.Ino, r.Birth}, seq: r.Seq, grants: r.Grants, gone: r.Gone}
		if adopt {
			k.inode = inode{}
		}
		g.byKey[key] = k
	}
}

// rewrite writes the journal anew, and keeps it open.
func (g *teams) rewrite(name string) error {
	f, err := os.OpenFile(name+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 64<<10)
	enc := json.NewEncoder(w)
	err = enc.Encode(teamsHeader{1, g.generation})
	for _, k := range g.byKey {
		err = errors.Join(err, enc.Encode(k.record()))
	}
	if err = errors.Join(err, w.Flush()); err == nil {
		err = os.Rename(name+".new", name)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if g.journal != nil {
		g.journal.Close()
	}
	g.journal = f
	return nil
}

func (k *known) record() knownRecord {
	return knownRecord{guidText(k.key), k.path, k.inode.dev, k.inode.ino, k.inode.birth, k.seq, k.grants, k.gone}
}

// write takes down what became known.
func (g *teams) write(k *known) error {
	line, err := json.Marshal(k.record())
	if err != nil {
		return err
	}
	if _, err := g.journal.Write(append(line, '\n')); err != nil {
		return onDisk(fmt.Errorf("write the journal of sites: %w", err))
	}
	return nil
}

// attach has k be found.
func (g *teams) attach(k *known) {
	if k.inode != (inode{}) {
		g.byInode[k.inode] = k
	}
	if k.gone {
		return
	}
	dir := path.Dir(k.path)
	if g.in[dir] == nil {
		g.in[dir] = map[string]*known{}
	}
	g.in[dir][path.Base(k.path)] = k
}

// lose takes down that k, and what is in it, is not where it was.
func (g *teams) lose(k *known) error {
	k.gone = true
	delete(g.in[path.Dir(k.path)], path.Base(k.path))
	if err := g.write(k); err != nil {
		return err
	}
	for _, dir := range []string{k.path, path.Join(k.path, librariesPart), path.Join(k.path, listsPart), path.Join(k.path, subsitesPart)} {
		for _, below := range g.in[dir] {
			if err := g.lose(below); err != nil {
				return err
			}
		}
	}
	return nil
}

// stat looks at a folder.
func (g *teams) stat(name string) (stat, error) {
	dir, err := g.root.OpenFile(path.Dir(name), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_DIRECTORY, 0)
	if err != nil {
		return stat{}, err
	}
	defer dir.Close()
	return statAt(dir, path.Base(name))
}

// there reports whether k lies where it was.
func (g *teams) there(k *known) bool {
	if k.gone {
		return false
	}
	st, err := g.stat(k.path)
	return err == nil && st.kind == isFolder && k.is(st)
}

// is reports whether what lies at k's place is k: its inode says so, or it lies on
// another disk than it did, so that all was moved there.
func (k *known) is(st stat) bool {
	return k.inode == st.inode || k.inode.dev != st.dev
}

// look lists the folders in dir, of which only counts if it is not empty, by name.
// A site's folder is listed as one, so that it is told when it changes.
func (s *Service) look(t *tenant, dir, only string, sites bool) ([]*known, error) {
	g := &s.teams
	f, err := g.root.OpenFile(dir, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_DIRECTORY, 0)
	var names []string
	if err == nil {
		names, err = f.Readdirnames(-1)
		defer f.Close()
	}
	if err != nil && !vanished(err) {
		return nil, onDisk(fmt.Errorf("list a folder of sites: %w", err))
	}
	type folder struct {
		name string
		st   stat
		k    *known
	}
	var found []folder
	stay := map[string]bool{}
	for _, name := range names {
		if only != "" && name != only || !utf8.ValidString(name) || name[0] == '.' || strings.ContainsAny(name, ":\\") {
			continue
		}
		st, err := statAt(f, name)
		if err != nil || st.kind != isFolder {
			continue // gone meanwhile, or no folder
		}
		k := g.in[dir][name]
		if k != nil && k.is(st) {
			stay[name] = true
			if k.inode != st.inode {
				k.inode = st.inode
				g.byInode[k.inode] = k
				if err := g.write(k); err != nil {
					return nil, err
				}
			}
		} else {
			k = nil
		}
		found = append(found, folder{name, st, k})
	}
	slices.SortFunc(found, func(a, b folder) int { return cmp.Compare(a.name, b.name) })
	for name, k := range g.in[dir] {
		if !stay[name] && (only == "" || name == only) {
			if err := g.lose(k); err != nil {
				return nil, err
			}
		}
	}
	out := make([]*known, 0, len(found))
	for _, at := range found {
		k := at.k
		if k == nil {
			if k = g.byInode[at.st.inode]; k != nil && !k.gone {
				if g.there(k) {
					k = nil
				} else if err := g.lose(k); err != nil { // it came from there
					return nil, err
				}
			}
			where := path.Join(dir, at.name)
			if k == nil {
				k = &known{key: g.free(t, strings.TrimPrefix(where, s.teamsOf(t)+"/"))}
				g.byKey[k.key] = k
			}
			k.path, k.inode, k.gone = where, at.st.inode, false
			if sites {
				g.seq++
				k.seq = g.seq
			}
			g.attach(k)
			if err := g.write(k); err != nil {
				return nil, err
			}
		}
		out = append(out, k)
	}
	return out, nil
}

// free is a key for what appears at a place: the same for the first there, whenever
// and wherever it is.
func (g *teams) free(t *tenant, where string) [16]byte {
	for n := 0; ; n++ {
		key := derive("team", string(t.ID), where, fmt.Sprint(n))
		if g.byKey[key] == nil {
			return key
		}
	}
}

// teamsOf is the folder of a tenant's sites.
func (s *Service) teamsOf(t *tenant) string {
	if len(s.byOrder) == 1 {
		return "."
	}
	return strings.ToLower(t.Domain)
}

// site is the team site whose folder k is. Callers hold g.mu.
func (s *Service) site(t *tenant, k *known) site {
	base := s.teamsOf(t)
	rest := strings.TrimPrefix(k.path, base+"/")
	names := strings.ReplaceAll(rest, "/"+subsitesPart+"/", "/")
	top := k.key
	if first, _, below := strings.Cut(rest, "/"); below {
		if above := s.teams.in[base][first]; above != nil {
			top = above.key
		}
	}
	return site{tenant: t, team: team{k.path, names, k.key, derive("collection", guidText(top))}}
}

// teamSites returns the team sites of a tenant, each before those below it.
func (s *Service) teamSites(t *tenant) ([]site, error) {
	g := &s.teams
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.root == nil {
		return nil, nil
	}
	return s.sitesIn(t, s.teamsOf(t), maxDepth)
}

func (s *Service) sitesIn(t *tenant, dir string, depth int) (out []site, err error) {
	if depth == 0 {
		return nil, nil
	}
	all, err := s.look(t, dir, "", true)
	if err != nil {
		return nil, err
	}
	for _, k := range all {
		out = append(out, s.site(t, k))
		if depth > 1 {
			below, err := s.sitesIn(t, path.Join(k.path, subsitesPart), depth-1)
			if err != nil {
				return nil, err
			}
			out = append(out, below...)
		}
	}
	return out, nil
}

// sitesBelow returns the sites right below one.
func (s *Service) sitesBelow(here site) ([]site, error) {
	g := &s.teams
	if here.user != nil || g.root == nil {
		return nil, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return s.sitesIn(here.tenant, path.Join(here.team.path, subsitesPart), 1)
}

// teamSite finds a site by its web's GUID, wherever its folder is by now.
func (s *Service) teamSite(t *tenant, key [16]byte) (here site, ok bool, err error) {
	g := &s.teams
	if g.root == nil {
		return here, false, nil
	}
	g.mu.Lock()
	k := g.byKey[key]
	if k != nil && g.there(k) {
		here, ok = s.site(t, k), s.within(t, k.path)
		g.mu.Unlock()
		return here, ok, nil
	}
	g.mu.Unlock()
	if k == nil {
		return here, false, nil
	}
	all, err := s.teamSites(t)
	at := slices.IndexFunc(all, func(other site) bool { return other.team.key == key })
	if err != nil || at < 0 {
		return here, false, err
	}
	return all[at], true, nil
}

// within reports whether a folder is of a tenant's sites.
func (s *Service) within(t *tenant, where string) bool {
	base := s.teamsOf(t)
	return base == "." || strings.HasPrefix(where, base+"/")
}

// teamPlaces returns the libraries of a team site, that of the pages being the last,
// or its lists.
func (s *Service) teamPlaces(here site, part string) (out []place, err error) {
	g := &s.teams
	if g.root == nil {
		return nil, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	all, err := s.look(here.tenant, path.Join(here.team.path, part), "", false)
	if err != nil {
		return nil, err
	}
	for _, k := range all {
		out = append(out, place{site: here, library: path.Base(k.path), in: part, key: k.key})
	}
	if part != librariesPart {
		return out, nil
	}
	slices.SortStableFunc(out, func(a, b place) int { return -boolCompare(a.library == documents, b.library == documents) })
	if all, err = s.look(here.tenant, here.team.path, pagesPart, false); err != nil {
		return nil, err
	}
	for _, k := range all {
		out = append(out, place{site: here, library: sitePages, in: pagesPart, key: k.key})
	}
	return out, nil
}

// boolCompare orders false before true.
func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// teamPlace finds a library or list of a team site by its GUID.
func (s *Service) teamPlace(here site, key [16]byte) (place, bool, error) {
	g := &s.teams
	g.mu.Lock()
	if k := g.byKey[key]; k != nil && strings.HasPrefix(k.path, here.team.path+"/") && g.there(k) {
		in, name, ok := strings.Cut(strings.TrimPrefix(k.path, here.team.path+"/"), "/")
		if in == pagesPart && !ok {
			name, ok = sitePages, true
		}
		if ok && in != subsitesPart && !strings.Contains(name, "/") {
			g.mu.Unlock()
			return place{site: here, library: name, in: in, key: key}, true, nil
		}
	}
	g.mu.Unlock()
	for _, part := range []string{librariesPart, listsPart} {
		all, err := s.teamPlaces(here, part)
		if err != nil {
			return place{}, false, err
		}
		for _, p := range all {
			if p.key == key {
				return p, true, nil
			}
		}
	}
	return place{}, false, nil
}

// siteFile is what the file site.json in a site's folder may say of it.
type siteFile struct {
	DisplayName string `json:"displayName"`
	Description string `json:"description"`
	Archived    string `json:"archived"` // recentlyArchived, fullyArchived or reactivating: nothing in it can be had
	Locked      bool   `json:"locked"`   // the same, and nothing says why
}

// about reads a site's site.json. One that is not understood says nothing.
func (s *Service) about(here site) (out siteFile) {
	err := s.readTeamFile(path.Join(here.team.path, "site.json"), &out)
	if err != nil {
		out = siteFile{}
	}
	return out
}

// maxTeamFile is how large a file may be that says something of a site or a list.
const maxTeamFile = 4 << 20

// readTeamFile reads a JSON file below the folder of sites. It is no error if there
// is none.
func (s *Service) readTeamFile(name string, v any) error {
	f, err := s.teams.root.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if vanished(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if st, err := statOf(f); err != nil || st.kind != isFile {
		return err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxTeamFile))
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		g := &s.teams
		g.mu.Lock()
		defer g.mu.Unlock()
		if !g.warned[name] && len(g.warned) < 10_000 {
			g.warned[name] = true
			s.log.Warn("a file of a site is not understood, and taken for empty", "path", name, "err", err)
		}
	}
	return err
}

// guidBytes reads a GUID.
func guidBytes(text string) (g [16]byte, ok bool) {
	text, ok = backup.ParseGUID(text)
	if !ok {
		return g, false
	}
	n, err := hex.Decode(g[:], []byte(strings.ReplaceAll(text, "-", "")))
	return g, n == len(g) && err == nil
}
