package engine

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/spill"
	"holdfast/internal/vault"
)

// What a plan passes over, and what it only notes as missing, is what it would find so
// if it had all in memory.
func TestAPlanSievesWhatIsSimple(t *testing.T) {
	simple, moved, going, folds := 0, 0, 0, map[string]int{}
	for seed := range uint64(400) {
		random := rand.New(rand.NewPCG(seed, 7))
		sieved, whole := newPlan(t.TempDir()), newPlan(t.TempDir())
		made := newDeeds(t.TempDir())
		for _, p := range []*plan{sieved, whole} {
			p.elsewhere, p.made = seed%3 == 0, made
			p.unsaved, p.apart = map[backup.ItemID]string{}, map[backup.ItemID]string{}
		}
		at, paths := time.Unix(1_700_000_000, 0), map[string]string{}
		node := func(id string, side string, folders []string, kind backup.ItemKind) vault.Node {
			n := vault.Node{Entry: vault.Entry{ID: backup.ItemID(id), Kind: kind, Modified: at}}
			parent := folders[random.IntN(len(folders))]
			n.Parent = backup.ItemID(side + "root")
			if parent != "" {
				n.Parent = backup.ItemID(side + parent)
			}
			n.Name = []string{"a", "A", "b", "c", "c (2)", "d", "e"}[random.IntN(7)]
			n.Path = paths[parent] + "/" + n.Name + "/" + id
			if kind == backup.File {
				n.Size = 3
				n.Hash = []string{"one", "one", "one", "two", ""}[random.IntN(5)]
				n.Content = n.Hash
				n.Modified = at.Add(time.Duration(random.IntN(5)/4) * time.Hour)
			}
			return n
		}
		side := ""
		if sieved.elsewhere {
			side = "live "
		}
		root := vault.Entry{ID: backup.ItemID(side + "root"), Kind: backup.Folder}
		for _, p := range []*plan{sieved, whole} {
			p.addRoot(vault.Node{Entry: vault.Entry{ID: "root", Kind: backup.Folder}}, root)
		}
		wants, taken := map[backup.ItemID]bool{}, map[string]bool{}
		free := func(side string, n vault.Node) bool { // no folder holds two of one name
			at := fmt.Sprint(side, "/", n.Parent, "/", n.Name)
			was := taken[at]
			taken[at] = true
			return !was
		}
		lives := func(live vault.Node, one int) { // in so many is not to be touched
			sieved.addLive(live)
			whole.lives[live.ID] = &live
			if random.IntN(one) == 0 {
				sieved.unsaved[live.ID], whole.unsaved[live.ID] = "for a reason", "for a reason"
			}
			if random.IntN(one) == 0 {
				sieved.apart[live.ID], whole.apart[live.ID] = "for a reason", "for a reason"
			}
		}
		folders, lived := []string{""}, []string{""} // in the point, and live
		var lost []string                            // in the point, and not where they shall be
		for i := range 2 + random.IntN(6) {
			name := fmt.Sprint("folder", i)
			w := node(name, "", folders, backup.Folder)
			live := w
			live.ID, live.Parent = backup.ItemID(side)+w.ID, backup.ItemID(side)+w.Parent
			if !free("point", w) {
				continue
			}
			sieved.addWant(w)
			addWhole(whole, w)
			folders, paths[name] = append(folders, name), w.Path
			there := slices.Contains(lived, strings.TrimPrefix(string(w.Parent), "root")) || w.Parent == "root"
			another := false
			switch random.IntN(10) {
			case 0, 1:
				if random.IntN(3) == 0 { // and it was taken away again
					made.makes(w.ID, "gone "+w.ID)
				} else {
					lost = append(lost, name)
				}
				continue
			case 2:
				live.Name = "elsewhere"
			case 3:
				live.Modified = at.Add(time.Hour)
			case 4: // with nothing that says what it is
				live.ID = backup.ItemID("another " + name)
			case 5, 6: // another that is there
				if another = len(lost) > 0; another {
					live.ID = backup.ItemID(side + lost[0])
					if sieved.elsewhere || random.IntN(2) == 0 {
						live.ID = backup.ItemID("made " + lost[0])
						made.makes(backup.ItemID(lost[0]), live.ID)
					}
				}
			}
			if !there || !free("live", live) {
				continue
			}
			if sieved.elsewhere && !another && random.IntN(4) > 0 {
				made.makes(w.ID, live.ID)
			}
			if live.ID == backup.ItemID(side+name) {
				lived = append(lived, name)
			}
			if lives(live, 24); another {
				lost = lost[1:]
			}
		}
		for i := range 12 {
			w := node(fmt.Sprint("file", i), "", folders, backup.File)
			if !free("point", w) {
				continue
			}
			wants[w.ID] = true
			sieved.addWant(w)
			addWhole(whole, w)
			live := node(fmt.Sprint(side, "file", i+random.IntN(2)*20), side, lived, backup.File)
			switch random.IntN(6) {
			case 4, 5: // written over, and perhaps renamed
				name, hash := live.Name, live.Hash
				live = w
				live.ID, live.Parent, live.Hash, live.Content = backup.ItemID(side)+w.ID, backup.ItemID(side)+w.Parent, hash, hash
				if random.IntN(2) == 0 {
					live.Name = name
				}
			case 0, 1: // as it shall be
				id := live.ID
				live = w
				live.ID, live.Parent = id, backup.ItemID(side)+w.Parent
				if random.IntN(2) == 0 {
					made.makes(w.ID, id)
				}
			case 2:
				continue
			}
			if !free("live", live) {
				continue
			}
			lives(live, 12)
		}
		whole.matchLoaded()
		if err := sieved.match(func(*vault.Node, backup.ItemID) error { return nil }); err != nil {
			t.Fatal(err)
		}
		var order []backup.ItemID
		sieved.eachFolder(2, func(ws []*want) error {
			for _, w := range ws {
				order = append(order, w.ID)
			}
			return nil
		})
		up := 0
		sieved.eachFolderUp(2, func(ws []*want) error {
			up += len(ws)
			return nil
		})
		late := map[backup.ItemID]bool{}
		sieved.eachLate(2, func(ws []*want) error {
			for _, w := range ws {
				if late[w.ID] = true; w.live == nil || w.id() != whole.byID[w.ID].id() || !w.aged() || sieved.misplaced(w) {
					t.Errorf("seed %d: %s is not late: %+v", seed, w.ID, w.live)
				}
			}
			return nil
		})
		remade := map[backup.ItemID]backup.ItemID{}
		if err := sieved.eachRemade(func(w *want) { remade[w.ID] = w.id() }); err != nil || up != len(order) {
			t.Errorf("seed %d: %v; %d folders down, and %d up", seed, err, len(order), up)
		}
		for _, name := range folders[1:] {
			id := backup.ItemID(name)
			is, should := sieved.byID[id], whole.byID[id]
			number := slices.Index(order, id)
			d, differs := whole.differs(should)
			switch {
			case number >= 0 && is == nil && should.live == nil && differs && should.other == "":
				// What it is in is there, or was made before.
				above := slices.Index(order, should.Parent)
				if above > number || above < 0 && (whole.liveID(should.Parent) == "" || sieved.liveID(should.Parent) != whole.liveID(should.Parent)) {
					t.Errorf("seed %d: %s is to be made, %d, in %s, %d", seed, id, number, should.Parent, above)
				}
				if sieved.liveID(id) != "" {
					t.Errorf("seed %d: %s is missing, and is %s", seed, id, sieved.liveID(id))
				}
				folds["missing"]++
			case number < 0 && is != nil && is.id() == should.id() && is.other == should.other:
				folds["loaded"]++
			case number < 0 && is == nil && late[id] && should.aged() && !whole.misplaced(should) && sieved.liveID(id) == should.id() && sieved.lives[should.id()] == nil:
				folds["late"]++
			case number < 0 && is == nil && !late[id] && !differs && sieved.liveID(id) == should.id() && sieved.lives[should.id()] == nil:
				if found := made.live(id) == "" && (sieved.elsewhere || should.id() != id); found {
					folds["found"]++
				} else if (remade[id] != "") != (made.live(id) == should.id()) {
					t.Errorf("seed %d: %s was made anew as %q", seed, id, remade[id])
				}
				if remade[id] != "" && remade[id] != should.id() {
					t.Errorf("seed %d: %s was made anew as %q", seed, id, remade[id])
				}
				folds["passed"]++
			default:
				t.Errorf("seed %d: folder %s is %+v, missing: %v, and should be %+v, live %+v, since %+v", seed, id, is, number >= 0, should, should.live, d)
			}
		}
		steps, gone := map[backup.ItemID]backup.ItemID{}, map[backup.ItemID]bool{}
		sieved.eachStep(3, func(ws []*want) error {
			for _, w := range ws {
				steps[w.ID] = w.id()
				moved += min(len(w.id()), 1)
			}
			return nil
		})
		sieved.eachGone(3, func(lives []*vault.Node) error {
			for _, live := range lives {
				gone[live.ID] = true
			}
			return nil
		})
		if n := len(order) + len(late) + len(steps) + len(gone); n != sieved.simple() {
			t.Errorf("seed %d: %d items are simple, not %d", seed, sieved.simple(), n)
		}
		occupied := map[place][]backup.ItemID{}
		for id, live := range whole.lives {
			occupied[placeOf(live.Entry)] = append(occupied[placeOf(live.Entry)], id)
		}
		shall := map[place]map[backup.ItemID]bool{}
		for id := range wants {
			is, should := sieved.byID[id], whole.byID[id]
			step, isStep := steps[id]
			at := place{whole.liveID(should.Parent), fold(should.Name)}
			if is != nil || isStep {
				if shall[at] == nil {
					shall[at] = map[backup.ItemID]bool{}
				}
				shall[at][id] = true
			}
			d, differs := whole.differs(should)
			switch {
			case is != nil && !isStep && is.id() == should.id() && is.other == should.other:
			case is == nil && isStep && differs && step == should.id() && should.other == "" &&
				!slices.ContainsFunc(occupied[at], func(other backup.ItemID) bool { return other != step }):
				simple++
			case is == nil && !isStep && should.live != nil && whole.asItShallBe(&should.Node, should.live):
				simple++
			default:
				t.Errorf("seed %d: %s is %+v, a step from %q: %v, and should be %+v, live %+v, since %+v", seed, id, is, step, isStep, should, should.live, d)
			}
		}
		// Nothing that is but taken away, or changed, is in the way of another.
		for id := range gone {
			going++
			if at := placeOf(whole.lives[id].Entry); len(shall[at]) > 0 {
				t.Errorf("seed %d: %s but goes, and is where %v shall be", seed, id, shall[at])
			}
		}
		for id, live := range steps {
			if live == "" {
				continue
			}
			for other := range shall[placeOf(whole.lives[live].Entry)] {
				if other != id {
					t.Errorf("seed %d: %s is simple, and is where %s shall be", seed, id, other)
				}
			}
		}
		is := slices.Sorted(maps.Keys(sieved.extra))
		for id := range gone {
			if sieved.extra[id] != nil {
				t.Errorf("seed %d: %s goes twice", seed, id)
			}
			is = append(is, id)
		}
		slices.Sort(is)
		if should := slices.Sorted(maps.Keys(whole.extra)); !slices.Equal(is, should) {
			t.Errorf("seed %d: beside the point are %q, and not %q", seed, is, should)
		}
		for id := range gone { // and those that stay after all
			sieved.keep(id, "for a reason")
			if sieved.extra[id] == nil || sieved.kept[id] == "" || sieved.lives[id] == nil {
				t.Errorf("seed %d: %s does not stay", seed, id)
			}
		}
		if sieved.simple() != len(steps)+len(order)+len(late) {
			t.Errorf("seed %d: %d are simple where only the steps are", seed, sieved.simple())
		}
		sieved.close()
		made.close()
	}
	if simple < 1000 || moved < 100 || going < 100 || folds["missing"] < 100 || folds["loaded"] < 100 || folds["passed"] < 100 || folds["late"] < 50 || folds["found"] < 50 {
		t.Errorf("only %d files were simple, %d of them there, and %d to go; of folders %v", simple, moved, going, folds)
	}
}

// addWhole adds an item of the point to what a plan has in memory.
func addWhole(p *plan, n vault.Node) {
	w := &want{Node: n}
	p.wants = append(p.wants, w)
	p.byID[n.ID] = w
}

// Files that are but missing come in runs, each once, and none stays in the plan.
func TestAPlanGivesWhatIsMissingInRuns(t *testing.T) {
	p := newPlan(t.TempDir())
	p.addRoot(vault.Node{Entry: vault.Entry{ID: "root", Kind: backup.Folder}}, vault.Entry{ID: "live root", Kind: backup.Folder})
	p.elsewhere = true
	for i := range 2500 {
		p.addWant(vault.Node{Entry: vault.Entry{ID: backup.ItemID(fmt.Sprint(i)), Parent: "root", Kind: backup.File, Name: fmt.Sprint(i)}, Path: fmt.Sprint(i)})
	}
	if err := p.match(nil); err != nil || len(p.wants)+len(p.byID) != 1 {
		t.Fatalf("%v; %d files are in memory", err, len(p.wants))
	}
	var runs []int
	seen := map[backup.ItemID]bool{}
	err := p.eachStep(1000, func(ws []*want) error {
		runs = append(runs, len(ws))
		for _, w := range ws {
			seen[w.ID] = true
		}
		return nil
	})
	if err != nil || len(seen) != 2500 || !slices.Equal(runs, []int{1000, 1000, 500}) {
		t.Errorf("%v; %d files in runs of %d", err, len(seen), runs)
	}
	p.close()
	if err := p.eachStep(1000, func([]*want) error { return nil }); err == nil {
		t.Error("the files are lost, and nobody said so")
	}
}

// Folders that are but missing, and those that were made, are not in the plan either.
func TestAPlanGivesFoldersThatAreMissing(t *testing.T) {
	made := newDeeds(t.TempDir())
	defer made.close()
	for pass := range 2 {
		p := newPlan(t.TempDir())
		p.addRoot(vault.Node{Entry: vault.Entry{ID: "root", Kind: backup.Folder}}, vault.Entry{ID: "live root", Kind: backup.Folder})
		p.elsewhere, p.made = true, made
		var add func(above backup.ItemID, way string, depth int)
		folders, files := 0, 0
		add = func(above backup.ItemID, way string, depth int) {
			for i := range 6 {
				n := vault.Node{Entry: vault.Entry{ID: above + backup.ItemID(fmt.Sprint("/", i)), Parent: above, Kind: backup.Folder, Name: fmt.Sprint(i)}, Path: path.Join(way, fmt.Sprint(i))}
				if depth == 4 {
					n.Kind = backup.File
					files++
				} else {
					folders++
				}
				p.addWant(n)
				if pass == 1 && depth < 4 {
					n.ID, n.Parent = "live "+n.ID, "live "+n.Parent
					p.addLive(n)
				}
				if depth < 4 {
					add(above+backup.ItemID(fmt.Sprint("/", i)), path.Join(way, fmt.Sprint(i)), depth+1)
				}
			}
		}
		add("root", "", 0)
		if err := p.match(nil); err != nil || len(p.wants) > 0 || len(p.byID) != 1 || len(p.lives) > 0 {
			t.Fatalf("%v; %d items are in memory, and %d folders that are live", err, len(p.wants), len(p.lives))
		}
		if pass == 0 && p.simple() != folders+files || pass == 1 && p.simple() != files {
			t.Errorf("%d items are simple, of %d folders and %d files", p.simple(), folders, files)
		}
		err := p.eachFolder(100, func(ws []*want) error {
			if len(ws) > 100 {
				t.Errorf("%d at once", len(ws))
			}
			for _, w := range ws {
				if in := p.liveID(w.Parent); in != "live "+w.Parent {
					t.Errorf("%s is to be made in %q", w.ID, in)
				}
			}
			for _, w := range ws {
				made.makes(w.ID, "live "+w.ID)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		p.close()
		if err := p.eachFolder(100, func([]*want) error { return nil }); err == nil && pass == 0 {
			t.Error("the folders are lost, and nobody said so")
		}
		if in := p.liveID("root/0"); in != "" {
			t.Errorf("it is lost, and %q is taken for it", in)
		}
		if err := p.eachRemade(func(*want) {}); err == nil && pass == 1 {
			t.Error("what was made is lost, and nobody said so")
		}
	}
}

// A plan whose files cannot be read back says so, and is not taken for one of less.
func TestAPlanThatIsLostSaysSo(t *testing.T) {
	for name, lose := range map[string]func(*files){
		"what shall be": func(f *files) { f.wants.Close() },
		"what is":       func(f *files) { f.lives.Close() },
	} {
		p := newPlan(t.TempDir())
		p.made = newDeeds(t.TempDir())
		for i := range 100 {
			n := vault.Node{Entry: vault.Entry{ID: backup.ItemID(fmt.Sprint(i)), Parent: "root", Kind: backup.File, Name: fmt.Sprint(i)}, Path: fmt.Sprint(i)}
			p.addWant(n)
			p.addLive(n)
		}
		lose(p.files)
		if err := p.match(func(*vault.Node, backup.ItemID) error { return nil }); err == nil {
			t.Errorf("%s was lost, and nobody said so", name)
		}
	}
	d := newDeeds(t.TempDir())
	d.makes("a", "b")
	d.sends("b", nil)
	if d.live("a") != "b" || !d.wasSent("b") || d.wasSent("a") || d.err() != nil {
		t.Errorf("what was done is not what was noted: %v", d.err())
	}
	d.made = spill.New("")
	d.made.Close()
	if d.err() == nil {
		t.Error("what was done is lost, and nobody said so")
	}
}
