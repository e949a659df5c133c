package simtenant

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"holdfast/internal/quickxor"
)

// replica is what a client knows of a drive that follows its deltas.
type replica struct {
	w     *world
	drive string
	link  string
	root  string
	items map[string]replicated
}

type replicated struct {
	parent, name, modified, hash, ctag string
	folder                             bool
	size                               float64
}

func newReplica(w *world, user string) *replica {
	return &replica{w: w, drive: w.drive(user), items: map[string]replicated{}}
}

// follow reads a delta to its end. It applies nothing before, since parents
// may come after children.
func (c *replica) follow() (changed map[string]bool) {
	c.w.t.Helper()
	link := c.link
	if link == "" {
		link = c.drive + "/root/delta"
		c.items = map[string]replicated{}
	}
	changed = map[string]bool{}
	last := map[string]map[string]any{}
	for range 10_000 {
		a := c.w.must(200, "GET", link, nil)
		for _, v := range a.body["value"].([]any) {
			v := v.(map[string]any)
			last[v["id"].(string)] = v
			changed[v["id"].(string)] = true
		}
		if link = a.text("@odata.nextLink"); link == "" {
			c.link = a.text("@odata.deltaLink")
			break
		}
	}
	for id, v := range last {
		if v["deleted"] != nil {
			delete(c.items, id)
			continue
		}
		it := replicated{name: v["name"].(string), size: v["size"].(float64)}
		parent := v["parentReference"].(map[string]any)
		it.parent, _ = parent["id"].(string)
		if v["root"] != nil {
			c.root = id
		}
		it.modified = v["fileSystemInfo"].(map[string]any)["lastModifiedDateTime"].(string)
		it.folder = v["folder"] != nil
		if file, ok := v["file"].(map[string]any); ok {
			it.hash, _ = file["hashes"].(map[string]any)["quickXorHash"].(string)
			it.ctag, _ = v["cTag"].(string)
		}
		c.items[id] = it
	}
	return changed
}

// tree writes what the replica knows, by path.
func (c *replica) tree() map[string]string {
	out := map[string]string{}
	for id, it := range c.items {
		if id == c.root {
			out["."] = "folder " + it.modified
			continue
		}
		p, ok := c.path(id)
		if !ok {
			out["lost/"+it.name] = "an item without a place"
			continue
		}
		line := fmt.Sprintf("file %s %v %s", it.modified, it.size, it.hash)
		if it.folder {
			line = "folder " + it.modified
		}
		if other, taken := out[p]; taken {
			line += " and " + other
		}
		out[p] = line
	}
	return out
}

func (c *replica) path(id string) (string, bool) {
	names := []string{}
	for id != c.root {
		it, ok := c.items[id]
		if !ok || len(names) > 100 {
			return "", false
		}
		names = append(names, it.name)
		id = it.parent
	}
	slices.Reverse(names)
	return path.Join(names...), true
}

func (c *replica) id(p string) string {
	for id := range c.items {
		if got, ok := c.path(id); ok && got == p && id != c.root {
			return id
		}
	}
	return ""
}

// realTree writes what really is in a folder, as replica.tree does.
func realTree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		modified := info.ModTime().UTC().Format(time.RFC3339)
		switch {
		case info.IsDir():
			out[rel] = "folder " + modified
		case info.Mode().IsRegular():
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			sum := quickxor.Sum(data)
			out[rel] = fmt.Sprintf("file %s %v %s", modified, float64(len(data)), quickxor.Encode(sum[:]))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// hand is a program, or a person, that changes a folder with no regard for us.
type hand struct {
	t   *testing.T
	rnd *rand.Rand
	dir string
}

// paths lists what is there.
func (h hand) paths(want func(fs.DirEntry) bool) []string {
	var out []string
	filepath.WalkDir(h.dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && want(d) {
			out = append(out, p)
		}
		return nil
	})
	return out
}

func (h hand) folder() string {
	all := h.paths(fs.DirEntry.IsDir)
	return all[h.rnd.IntN(len(all))]
}

func (h hand) file() string {
	all := h.paths(func(d fs.DirEntry) bool { return d.Type().IsRegular() })
	if len(all) == 0 {
		return ""
	}
	return all[h.rnd.IntN(len(all))]
}

func (h hand) name() string {
	return []string{"a", "b", "c", "d", "Übung #1.txt", "100% sure", "e:f", "e\u0301", "\u00e9", "A", "x'y", "emoji 🙂"}[h.rnd.IntN(12)]
}

func (h hand) content() []byte {
	b := make([]byte, h.rnd.IntN(2000))
	for i := range b {
		b[i] = byte(h.rnd.IntN(256))
	}
	return b
}

func (h hand) new() string { return filepath.Join(h.folder(), h.name()) }

// change does one thing. Most things may fail, as they may for anybody.
func (h hand) change() string {
	switch h.rnd.IntN(16) {
	case 0, 1:
		p := h.new()
		return fmt.Sprint("mkdir ", p, os.MkdirAll(p, 0o755))
	case 2, 3, 4:
		p := h.new()
		return fmt.Sprint("write ", p, os.WriteFile(p, h.content(), 0o644))
	case 5: // an editor's save
		p := h.file()
		if p == "" {
			return "save nothing"
		}
		tmp := p + ".tmp"
		return fmt.Sprint("save ", p, os.WriteFile(tmp, h.content(), 0o644), os.Rename(tmp, p))
	case 6:
		p := h.file()
		f, err := os.OpenFile(p, os.O_APPEND|os.O_WRONLY, 0)
		if err == nil {
			f.Write([]byte("more"))
			f.Close()
		}
		return fmt.Sprint("append ", p, err)
	case 7: // an encryptor that covers its traces
		p := h.file()
		info, err := os.Stat(p)
		if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
			return "encrypt nothing"
		}
		b, _ := os.ReadFile(p)
		b[h.rnd.IntN(len(b))] ^= 0x55
		err = os.WriteFile(p, b, 0o644)
		os.Chtimes(p, time.Time{}, info.ModTime())
		return fmt.Sprint("encrypt ", p, err)
	case 8:
		p := h.file()
		return fmt.Sprint("remove ", p, os.Remove(p))
	case 9:
		p := h.folder()
		if p == h.dir || h.rnd.IntN(2) == 0 {
			return "remove nothing"
		}
		return fmt.Sprint("remove all ", p, os.RemoveAll(p))
	case 10, 11:
		from, to := h.file(), h.new()
		return fmt.Sprint("move file ", from, " ", to, os.Rename(from, to))
	case 12, 13:
		from, to := h.folder(), h.new()
		if from == h.dir {
			return "move nothing"
		}
		return fmt.Sprint("move folder ", from, " ", to, os.Rename(from, to))
	case 14: // swap two things
		a, b := h.file(), h.file()
		if h.rnd.IntN(2) == 0 {
			a, b = h.folder(), h.folder()
		}
		if a == h.dir || b == h.dir || a == b || strings.HasPrefix(a, b+"/") || strings.HasPrefix(b, a+"/") {
			return "swap nothing"
		}
		tmp := filepath.Join(h.dir, "swapping")
		return fmt.Sprint("swap ", a, " ", b, os.Rename(a, tmp), os.Rename(b, a), os.Rename(tmp, b))
	default:
		p := h.paths(func(fs.DirEntry) bool { return true })
		at := p[h.rnd.IntN(len(p))]
		when := time.Unix(1_500_000_000+h.rnd.Int64N(1e8), h.rnd.Int64N(1e9))
		return fmt.Sprint("touch ", at, os.Chtimes(at, time.Time{}, when))
	}
}

// api does one thing through the drive.
func (h hand) api(w *world, c *replica) string {
	ids := slices.Sorted(func(yield func(string) bool) {
		for id := range c.items {
			if !yield(id) {
				return
			}
		}
	})
	if len(ids) == 0 {
		return "nothing"
	}
	id := ids[h.rnd.IntN(len(ids))]
	item := c.drive + "/items/" + id
	rename := "?@microsoft.graph.conflictBehavior=" + []string{"fail", "replace", "rename"}[h.rnd.IntN(3)]
	var a answer
	what := ""
	switch h.rnd.IntN(7) {
	case 0:
		what = "PUT content"
		a = w.do("PUT", item+":/"+escapePath(h.name())+":/content"+rename, h.content())
	case 1:
		what = "mkdir"
		a = w.do("POST", item+"/children"+rename, map[string]any{"name": h.name(), "folder": map[string]any{}})
	case 2:
		what = "rename"
		a = w.do("PATCH", item+rename, map[string]any{"name": h.name()})
	case 3:
		what = "move"
		a = w.do("PATCH", item+rename, map[string]any{"parentReference": map[string]any{"id": ids[h.rnd.IntN(len(ids))]}})
	case 4:
		what = "delete"
		a = w.do("DELETE", item, nil)
	case 5:
		what = "times"
		when := time.Unix(1_600_000_000+h.rnd.Int64N(1e8), h.rnd.Int64N(1e9)).UTC().Format(time.RFC3339Nano)
		a = w.do("PATCH", item, map[string]any{"fileSystemInfo": map[string]any{"lastModifiedDateTime": when}})
	default:
		what = "list"
		a = w.do("GET", item+"/children?$top=3", nil)
	}
	if a.status >= 500 {
		h.t.Errorf("%s %s = %d %s", what, item, a.status, a.raw)
	}
	return fmt.Sprint(what, " ", item, " ", a.status)
}

// However a folder is changed, by whomever, and however often the service is
// started anew: who follows the deltas knows exactly what is there.
func TestDeltaFollowsAnyChange(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			h := hand{t, rand.New(rand.NewPCG(seed, 365)), w.folder(amala)}
			w.faults.Set(func(o *Options) {
				o.PageSize = []int{0, 1, 2, 7}[seed%4]
				o.Shuffle, o.Repeat = seed%2 == 1, seed%3 == 1
				o.EmptyPages = seed == 2
				o.NoAncestors = seed == 3
			})
			c := newReplica(w, amala)
			var story []string
			for round := range 60 {
				for range h.rnd.IntN(6) {
					if seed >= 2 && h.rnd.IntN(3) == 0 {
						story = append(story, h.api(w, c))
					} else {
						story = append(story, h.change())
					}
				}
				if h.rnd.IntN(8) == 0 {
					story = append(story, "restart")
					w.restart()
					c.rebase()
				}
				c.follow()
				story = append(story, "delta")
				if diff := gocmp.Diff(realTree(t, h.dir), c.tree()); diff != "" {
					t.Fatalf("round %d: what is there and what the delta tells differ (-there +told):\n%s\nafter\n%s",
						round, diff, strings.Join(story[max(0, len(story)-14):], "\n"))
				}
			}
			fresh := newReplica(w, amala)
			fresh.follow()
			if w.faults.options().NoAncestors { // then the sizes of folders are not told either
				for _, c := range []*replica{c, fresh} {
					for id, it := range c.items {
						if it.folder {
							it.size = 0
							c.items[id] = it
						}
					}
				}
			}
			if diff := gocmp.Diff(c.items, fresh.items, gocmp.AllowUnexported(replicated{})); diff != "" {
				t.Errorf("following and enumerating anew differ:\n%s", diff)
			}
		})
	}
}

// rebase points the replica's link at the address of a service started anew.
func (c *replica) rebase() {
	if i := strings.Index(c.link, "/v1.0/"); i >= 0 {
		c.link = c.w.srv.URL + c.link[i:]
	}
}

// While a program moves things about without pause, items may come late but
// must neither be lost for good nor change their ids.
func TestIdsSurviveMovesDuringScans(t *testing.T) {
	w := newWorld(t)
	dir := w.folder(amala)
	for i := range 40 {
		for j := range 10 {
			w.write(fmt.Sprintf("%s/%d/%d", amala, i, j), fmt.Sprint(i, j))
		}
	}
	c := newReplica(w, amala)
	c.follow()
	want := map[string]bool{}
	for id := range c.items {
		want[id] = true
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		rnd := rand.New(rand.NewPCG(1, 2))
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			files, _ := filepath.Glob(filepath.Join(dir, "*", "*"))
			from := files[rnd.IntN(len(files))]
			os.Rename(from, filepath.Join(dir, fmt.Sprint(rnd.IntN(40)), fmt.Sprint("moved ", n)))
		}
	}()
	for range 30 {
		c.follow()
	}
	close(stop)
	<-stopped
	c.follow()
	if diff := gocmp.Diff(realTree(t, dir), c.tree()); diff != "" {
		t.Errorf("what is there and what the delta tells differ:\n%s", diff)
	}
	fresh := 0
	for id := range c.items {
		if !want[id] {
			fresh++
		}
	}
	if fresh > 0 {
		t.Errorf("%d of %d items have new ids", fresh, len(c.items))
	}
}
