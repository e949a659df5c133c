package simtenant

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/quickxor"
)

// A Population is a tenant that is made up from a seed: its users, what their
// drives hold, and what becomes of it. The same seed makes the same ids, names,
// times and contents everywhere.
//
// The items that it makes are nowhere on disk, and their contents are computed
// when they are read. What a client or another program writes is real, as in any
// drive: a made file that is written to is a real one from then on, and a made
// folder in which something real is put becomes a real folder.
type Population struct {
	Seed  uint64 `json:"seed"`
	Users int    `json:"users"`
	Files int    `json:"files"` // in all drives together; if there are sites, half of them in theirs
	Size  int64  `json:"size"`  // of a file, on average
	Sites int    `json:"sites"` // team sites, each with a library, a list and a few pages
	Items int    `json:"items"` // in all their lists together
	// Messages is how many items there are in all mailboxes together.
	Messages int `json:"messages,omitempty"`
}

const (
	maxUsers = 1_000_000
	maxFiles = 100_000_000
	maxSites = 100_000
	maxMade  = 1 << 30 // bytes of one made file
	// averageSize is how large a made file is, unless the population says.
	averageSize = 16 << 10
)

// Check says what is wrong with p.
func (p Population) Check() error {
	switch {
	case p.Users < 1 || p.Users > maxUsers:
		return fmt.Errorf("users: %d is not between 1 and %d", p.Users, maxUsers)
	case p.Files < 0 || p.Files > maxFiles:
		return fmt.Errorf("files: %d is not between 0 and %d", p.Files, maxFiles)
	case p.Sites < 0 || p.Sites > maxSites:
		return fmt.Errorf("sites: %d is not between 0 and %d", p.Sites, maxSites)
	case p.Items < 0 || p.Items > maxFiles:
		return fmt.Errorf("items: %d is not between 0 and %d", p.Items, maxFiles)
	case p.Messages < 0 || p.Messages > maxFiles:
		return fmt.Errorf("messages: %d is not between 0 and %d", p.Messages, maxFiles)
	case p.Size < 0 || p.Size > maxMade/16:
		return fmt.Errorf("size: %d is not between 0 and %d", p.Size, maxMade/16)
	}
	return nil
}

// dice are a source of chance that follows from the seed and what it is for.
func (p Population) dice(what ...string) *rand.Rand {
	g := derive(append([]string{"population", fmt.Sprint(p.Seed)}, what...)...)
	return rand.New(rand.NewPCG(binary.LittleEndian.Uint64(g[:8]), binary.LittleEndian.Uint64(g[8:])))
}

var (
	givenNames = strings.Fields("Adele Amir Anna Aroha Bao Carla Chidi Dana Diego Elif Emil Fatima Grace Hana Ivan Jonas Kaja Kofi Lena Luca Mateo Mei Nadia Nils Noor Olga Omar Priya Rosa Sami Tariq Uma Vera Wen Yara Zoe")
	surnames   = strings.Fields("Abebe Becker Chen Costa Dubois Eriksen Farah Garcia Haddad Ito Jensen Kaya Kim Lind Marino Mensah Moreau Nguyen Novak Okafor Patel Quinn Rossi Sato Silva Singh Smit Tanaka Torres Ueda Vance Weber Yilmaz Zhang")
	firstWords = strings.Fields("Annual Budget Client Contract Customer Design Draft Final Forecast Invoice Meeting Monthly Offer Project Quarterly Release Research Review Sales Summary Team Travel Weekly Workshop")
	lastWords  = strings.Fields("agenda analysis brief checklist figures list minutes notes outline overview photos plan proposal protocol report results schedule sheet slides survey text update")
	extensions = strings.Fields(".docx .docx .docx .xlsx .xlsx .pdf .pdf .pdf .pptx .jpg .jpg .png .txt .csv .zip .msg .mp4")
)

// Tenant makes the tenant: its users, a group for each fifty, and the built-in
// application.
func (p Population) Tenant() Tenant {
	t := Sample()[0]
	t.Users, t.Groups = make([]User, p.Users), nil
	for i := range t.Users {
		d := p.dice("user", fmt.Sprint(i))
		given, surname := givenNames[d.IntN(len(givenNames))], surnames[d.IntN(len(surnames))]
		name := fmt.Sprintf("%s.%s.%d@%s", strings.ToLower(given), strings.ToLower(surname), i+1, t.Domain)
		t.Users[i] = User{
			ID: backup.ObjectID(guidText(derive("population", fmt.Sprint(p.Seed), "object", fmt.Sprint(i)))), UserPrincipalName: name, Mail: name, DisplayName: given + " " + surname,
		}
		if i%50 == 0 {
			n := fmt.Sprint(len(t.Groups) + 1)
			t.Groups = append(t.Groups, Group{ID: backup.ObjectID(guidText(derive("population", fmt.Sprint(p.Seed), "group", n))), DisplayName: "Department " + n})
		}
		last := &t.Groups[len(t.Groups)-1]
		last.Members = append(last.Members, t.Users[i].ID)
	}
	return t
}

// portion is how many of n things are the i-th of several: some have much, most
// little.
func portion(n, i, several int) int {
	upTo := func(i int) int { return int(float64(n) * math.Sqrt(float64(i)/float64(several))) }
	return upTo(i+1) - upTo(i)
}

// siteFiles is how many files are in sites' libraries.
func (p Population) siteFiles() int {
	if p.Sites == 0 {
		return 0
	}
	return p.Files / 2
}

// itemID is the id of the n-th thing of a drive.
func (p Population) itemID(place place, n int) string { return p.ids(place)(n) }

// ids returns what makes the ids of a drive's things: there may be a million.
func (p Population) ids(place place) func(n int) string {
	prefix := fmt.Appendf(nil, "population %d %s ", p.Seed, place.id())
	mark := place.mark()
	return func(n int) string {
		sum := sha256.Sum256(strconv.AppendInt(prefix[:len(prefix):len(prefix)], int64(n), 10))
		return itemID{mark, [16]byte(sum[:])}.String()
	}
}

// fill makes what a drive holds at first: items that are not yet linked, each of
// which names the folder that it is in.
func (p Population) fill(place place, files int, add func(*item)) {
	d := p.dice("drive", place.id())
	began := time.Date(2016, 1, 1, 8, 0, 0, 0, time.UTC)
	id := p.ids(place)
	folders := []string{id(0)} // the root's
	depth := []int{0}
	n := 0
	put := func(it item) *item {
		n++
		it.id, it.etag, it.made, it.native, it.pristine = id(n), 1, 1, true, true
		if place.user == nil {
			it.num = int32(n)
		}
		at := moment{began.Unix() + d.Int64N(10*365*24*3600), 0}
		it.mtime, it.created, it.noticed = at, moment{at.sec - d.Int64N(90*24*3600), 0}, at.sec*1e9
		add(&it)
		return &it
	}
	for i := range files {
		if i%20 == 0 { // there is a folder for each twenty files, more or less
			in := d.IntN(len(folders))
			for depth[in] > 5 {
				in = d.IntN(len(folders))
			}
			it := put(item{kind: isFolder, from: folders[in], name: fmt.Sprintf("%s %s %d", firstWords[d.IntN(len(firstWords))], lastWords[d.IntN(len(lastWords))], i/20+1), children: map[string]*item{}})
			folders, depth = append(folders, it.id), append(depth, depth[in]+1)
		}
		it := put(item{kind: isFile, from: folders[max(0, len(folders)-1-d.IntN(min(len(folders), 8)))], ctag: 1, stale: true, size: p.someSize(d),
			name: fmt.Sprintf("%s %s %d%s", firstWords[d.IntN(len(firstWords))], lastWords[d.IntN(len(lastWords))], i+1, extensions[d.IntN(len(extensions))])})
		it.strong = it.madeStrong()
	}
}

// someSize is the size of a file: most are small, some large, and the average is
// what is asked for.
func (p Population) someSize(d *rand.Rand) int64 {
	average := float64(p.Size)
	if average == 0 {
		average = averageSize
	}
	// A logarithmic normal distribution whose average is that.
	const spread = 1.5
	size := average * math.Exp(spread*d.NormFloat64()-spread*spread/2)
	return int64(min(size, maxMade))
}

// madeStrong stands for the hash of a made content.
func (it *item) madeStrong() [16]byte {
	sum := sha256.Sum256(binary.BigEndian.AppendUint32([]byte(it.id), uint32(it.made)))
	return [16]byte(sum[:16])
}

// unreal is what the file system would say of a made item if it were there.
func (it *item) unreal() stat {
	st := stat{kind: it.kind, mtime: it.mtime, ctime: it.ctime}
	if it.kind == isFile {
		st.size = it.size
	}
	return st
}

// A made content is computed block by block, from the item's id, how often it
// changed, and the block's number. It cannot be compressed.
type madeContent struct {
	seed [2]uint64
	size int64
	at   int64
	n    int64 // of the block that is in block, plus one
	have [madeBlock]byte
}

const madeBlock = 4096

func (it *item) madeContent() *madeContent {
	g := derive("content", it.id, fmt.Sprint(it.made))
	return &madeContent{seed: [2]uint64{binary.LittleEndian.Uint64(g[:8]), binary.LittleEndian.Uint64(g[8:])}, size: it.size}
}

func (c *madeContent) Read(p []byte) (int, error) {
	if c.at >= c.size {
		return 0, io.EOF
	}
	if n := c.at/madeBlock + 1; n != c.n {
		source := rand.NewPCG(c.seed[0], c.seed[1]+uint64(n))
		for i := 0; i < madeBlock && int64(i) < c.size-(n-1)*madeBlock; i += 8 {
			binary.LittleEndian.PutUint64(c.have[i:], source.Uint64())
		}
		c.n = n
	}
	from := c.at % madeBlock
	k := copy(p, c.have[from:min(madeBlock, from+c.size-c.at)])
	c.at += int64(k)
	return k, nil
}

func (c *madeContent) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += c.at
	case io.SeekEnd:
		offset += c.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the beginning")
	}
	c.at = offset
	return offset, nil
}

func (c *madeContent) Close() error { return nil }

// madeText is a content that is made at once.
type madeText struct{ *bytes.Reader }

func (madeText) Close() error { return nil }

// madeContent is what a made file of d holds.
func (d *drive) madeContent(it *item) content {
	if data := d.madeText(it); data != nil {
		return madeText{bytes.NewReader(data)}
	}
	return it.madeContent()
}

// madeHash computes the hash of a made content.
func (d *drive) madeHash(it *item, buf []byte) string {
	quick := quickxor.New()
	if data := d.madeText(it); data != nil {
		quick.Write(data)
		return quickxor.Encode(quick.Sum(nil))
	}
	io.CopyBuffer(struct{ io.Writer }{quick}, struct{ io.Reader }{it.madeContent()}, buf)
	return quickxor.Encode(quick.Sum(nil))
}

// writeMade writes a made content to a file that is not there yet.
func (d *drive) writeMade(it *item, name string) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, d.madeContent(it))
	return errors.Join(err, f.Close())
}

// populate gives a drive what the population makes, unlinked; it reports false for
// a drive that is none of its.
func (d *drive) populate() bool {
	p := d.svc.cfg.Population
	if p == nil {
		return false
	}
	seq := int64(1) // the root's
	add := func(it *item) {
		seq++
		it.seq = seq
		d.items[it.id] = it
	}
	if d.place.user == nil {
		i, ok := d.svc.madeSites[d.place.key]
		switch {
		case !ok:
			return false
		case d.place.in == librariesPart:
			p.fill(d.place, portion(p.siteFiles(), i, p.Sites), add)
		case d.place.in == listsPart:
			p.fillTexts(d.place, portion(p.Items, i, p.Sites), func(n int) string { return fmt.Sprintf("%d.json", n) }, add)
		default:
			p.fillTexts(d.place, len(madePages), func(n int) string { return madePages[n-1] + ".json" }, add)
		}
	} else {
		user, ok := d.svc.populated[d.place.folder()]
		if ok && d.place.isMailbox() && p.Messages > 0 {
			p.fillMail(d.place, portion(p.Messages, user, p.Users), add)
			d.seq = max(d.seq, seq)
			return true
		}
		if !ok || d.place.library != documents {
			return false
		}
		p.fill(d.place, portion(p.Files-p.siteFiles(), user, p.Users), add)
	}
	d.seq = max(d.seq, seq)
	return true
}

// beginMade puts into a new drive what the population makes.
func (d *drive) beginMade() error {
	if !d.populate() {
		return nil
	}
	p, root := d.svc.cfg.Population, d.root
	delete(d.items, root.id)
	root.id = p.itemID(d.place, 0)
	d.items[root.id] = root
	d.generation = guidText(derive("generation", root.id))
	d.root, d.dirty = nil, nil
	root.dirty = false
	if err := d.link(); err != nil {
		return err
	}
	d.write(d.root)
	return nil
}

// maxRealised is how many made items are written to disk to be put into the
// recycle bin.
const maxRealised = 1000

// realiseAll writes a made item to disk with all that is in it, unless that is more
// than maxRealised items. It reports whether it did.
func (d *drive) realiseAll(it *item) bool {
	var count func(*item) int
	count = func(it *item) int {
		n := 1
		for _, child := range it.children {
			if n += count(child); n > maxRealised {
				break
			}
		}
		return n
	}
	if count(it) > maxRealised {
		return false
	}
	var write func(*item) error
	write = func(it *item) error {
		if it.kind == isFile {
			return d.realiseFile(it)
		}
		if err := d.realise(it); err != nil {
			return err
		}
		for _, child := range it.children {
			if err := write(child); err != nil {
				return err
			}
		}
		return nil
	}
	if err := write(it); err != nil {
		d.warn(it.path(), "a made item could not be written for the recycle bin", err)
		return false
	}
	return true
}

// realise has a made folder be a real one, so that something can be put into it.
func (d *drive) realise(folder *item) error {
	if folder.made == 0 {
		return nil
	}
	if err := d.realise(folder.parent); err != nil {
		return err
	}
	if err := d.top.Mkdir(folder.path(), 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return onDisk(err)
	}
	folder.kept = true
	if err := d.becomeReal(folder); err != nil {
		return err
	}
	d.wrote(folder.parent)
	return nil
}

// becomeReal takes down that something made lies on disk now, at the time that it
// had.
func (d *drive) becomeReal(it *item) error {
	it.made = 0
	if err := d.setTime(it, it.mtime.time()); err != nil {
		return onDisk(err)
	}
	st, err := d.statSelf(it)
	if err != nil {
		return onDisk(err)
	}
	it.inode, it.mtime, it.ctime = st.inode, st.mtime, st.ctime
	it.unsure = true
	d.write(it)
	return nil
}

// realiseFile writes a made file to its place on disk.
func (d *drive) realiseFile(it *item) error {
	if it.made == 0 {
		return nil
	}
	if err := d.realise(it.parent); err != nil {
		return err
	}
	f, err := d.top.OpenFile(it.path(), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if err != nil {
		return onDisk(err)
	}
	_, err = io.Copy(f, d.madeContent(it))
	if err = errors.Join(err, f.Close()); err != nil {
		return onDisk(err)
	}
	if err := d.becomeReal(it); err != nil {
		return err
	}
	d.wrote(it.parent)
	return nil
}

// Churn changes n things in the made drives, as people do: most are contents,
// some are new, renamed, moved or deleted. What it does follows from the seed and
// from how much was done before.
func (s *Service) Churn(n int) error {
	p := s.cfg.Population
	if p == nil {
		return badRequest("Only a tenant that is made up from a seed can be churned: start it with holdfast tenant generate.")
	}
	s.gate.RLock() // nothing changes while a state is saved or loaded
	defer s.gate.RUnlock()
	s.churning.Lock()
	defer s.churning.Unlock()
	done, err := s.churned()
	if err != nil {
		return err
	}
	for range n {
		done++
		dice := p.dice("churn", fmt.Sprint(done))
		here, err := s.somewhere(*p, dice)
		if err == nil {
			if here.isMailbox() {
				err = s.churnMail(*p, here, dice, done)
			} else {
				err = s.with(here, func(d *drive) error { return d.churn(*p, dice, done) })
			}
		}
		if err != nil && !notFound(err) {
			return err
		}
	}
	return os.WriteFile(filepath.Join(s.cfg.State, churnedFile), strconv.AppendInt(nil, done, 10), 0o600)
}

// churnedFile says how many changes were made. It is part of the tenant's state.
const churnedFile = "churned"

func (s *Service) churned() (int64, error) {
	data, err := os.ReadFile(filepath.Join(s.cfg.State, churnedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read how much changed: %w", err)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read how much changed: %w", err)
	}
	return n, nil
}

// pick chooses a made item, or nothing if there is none at hand.
func (d *drive) pick(dice *rand.Rand, fits func(*item) bool) *item {
	for range 50 {
		c := d.log[dice.IntN(len(d.log))]
		if it := c.it; c.seq == it.seq && !it.gone && it.made > 0 && fits(it) {
			return it
		}
	}
	return nil
}

func (d *drive) churn(p Population, dice *rand.Rand, count int64) error {
	folder := d.pick(dice, func(it *item) bool { return it.kind == isFolder })
	file := d.pick(dice, func(it *item) bool { return it.kind == isFile && it.extra().holder == "" })
	if folder == nil {
		folder = d.root
	}
	now := momentOf(d.svc.clock())
	now.nsec = 0
	if d.place.in == listsPart || d.place.in == pagesPart {
		d.churnTexts(p, dice, count, file, now)
		return nil
	}
	free := func(name string) bool { return folder.children[name] == nil }
	named := fmt.Sprintf("%s %s c%d", firstWords[dice.IntN(len(firstWords))], lastWords[dice.IntN(len(lastWords))], count)
	what := dice.IntN(100)
	if file == nil && what >= 15 {
		what = 0
	}
	switch {
	case what < 15: // something new
		it := &item{id: p.itemID(d.place, -int(count)), kind: isFile, made: 1, etag: 1, ctag: 1, stale: true, size: p.someSize(dice), mtime: now, created: now}
		name := named + extensions[dice.IntN(len(extensions))]
		if what < 2 {
			it.kind, it.ctag, it.stale, it.size, it.children, name = isFolder, 0, false, 0, map[string]*item{}, named
		} else {
			it.strong = it.madeStrong()
		}
		if d.items[it.id] != nil || !free(name) {
			return nil
		}
		d.items[it.id] = it
		d.attach(it, folder, name)
		d.touch(it)
		d.touch(folder)
	case what < 75:
		size := p.someSize(dice)
		grow(file, size-file.size)
		file.made++
		file.etag++
		file.ctag++
		file.mtime, file.stale, file.hash, file.strong = now, true, "", file.madeStrong()
		d.touch(file)
	case what < 90:
		to, name := file.parent, named+path.Ext(file.name)
		if what >= 82 && folder != file.parent { // into another folder
			to, name = folder, file.name
		}
		if to.children[name] != nil {
			return nil
		}
		d.rehang(file, to, name)
	default:
		d.drop(file)
	}
	return nil
}
