package simtenant

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// While another program makes and removes whole trees, every call is answered,
// and none as though something had gone wrong.
func TestPlayNothingOnDiskMakesAnError(t *testing.T) {
	w := newWorld(t)
	drive := w.drive(amala)
	dir := w.folder(amala)
	stop, stopped := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(stop); <-stopped })
	go func() {
		defer close(stopped)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			top := filepath.Join(dir, "tree")
			for i := range 60 {
				sub := filepath.Join(top, fmt.Sprint(i), "a", "b")
				os.MkdirAll(sub, 0o755)
				os.WriteFile(filepath.Join(sub, "c.txt"), fmt.Append(nil, n), 0o644)
			}
			os.RemoveAll(top)
		}
	}()
	link := drive + "/root/delta"
	for n := range 60 {
		a := w.do("GET", link, nil)
		if a.status != 200 {
			t.Fatalf("delta %d = %d %s", n, a.status, a.raw)
		}
		if link = a.text("@odata.nextLink"); link == "" {
			link = a.text("@odata.deltaLink")
		}
		path := fmt.Sprintf("%s/root:/tree/%d/a/b", drive, n%60)
		for _, call := range []struct {
			method, address string
			body            any
		}{
			{"GET", path + ":/children", nil},
			{"GET", path + "/c.txt", nil},
			{"GET", path + "/c.txt:/contentStream", nil},
			{"GET", drive + "/root:/tree:/children", nil},
			{"PUT", path + "/d.txt:/content", "mine"},
			{"PATCH", path + "/d.txt", object{"name": "e.txt"}},
			{"DELETE", path + "/c.txt", nil},
		} {
			switch a := w.do(call.method, call.address, call.body); a.status {
			case 200, 201, 204, 404, 409:
			default:
				t.Fatalf("%s %s = %d %s", call.method, call.address, a.status, a.raw)
			}
		}
	}
}

// What takes the place of a folder while it is at hand is answered as what it
// is: not there.
func TestWhatTakesAFoldersPlace(t *testing.T) {
	outside := t.TempDir()
	for name, change := range map[string]func(path string) error{
		"a link out of the drive": func(path string) error { return os.Symlink(outside, path) },
		"a link into the drive":   func(path string) error { return os.Symlink("other", path) },
		"a link to itself":        func(path string) error { return os.Symlink("folder", path) },
		"a pipe":                  func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"a file":                  func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) },
		"nothing":                 func(string) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.write(amala+"/folder/deeper/a.txt", "a")
			w.write(amala+"/other/deeper/a.txt", "b")
			drive := w.drive(amala)
			ids := map[string]string{}
			for _, path := range []string{"folder", "folder/deeper", "folder/deeper/a.txt"} {
				ids[path] = w.must(200, "GET", drive+"/root:/"+path, nil).text("id")
			}
			link := w.must(200, "GET", drive+"/root/delta?token=latest", nil).text("@odata.deltaLink")
			place := filepath.Join(w.folder(amala), "folder")
			away := filepath.Join(t.TempDir(), "away")
			if err := os.Rename(place, away); err != nil {
				t.Fatal(err)
			}
			if err := change(place); err != nil {
				t.Fatal(err)
			}
			w.must(404, "GET", drive+"/items/"+ids["folder/deeper"]+"/children", nil)
			w.must(404, "GET", drive+"/items/"+ids["folder/deeper/a.txt"]+"/contentStream", nil)
			w.must(404, "GET", drive+"/items/"+ids["folder/deeper/a.txt"], nil)
			w.must(404, "GET", drive+"/root:/folder/deeper/a.txt", nil)
			a := w.must(200, "GET", link, nil)
			gone := 0
			for _, v := range a.body["value"].([]any) {
				if v.(object)["deleted"] != nil {
					gone++
				}
			}
			if gone != 3 {
				t.Errorf("the delta tells of %d deleted items, want 3: %s", gone, a.raw)
			}
		})
	}
}

// ending is a context that ends after it was asked a few times.
type ending struct {
	context.Context
	asked int
}

func (c *ending) Err() error {
	if c.asked--; c.asked < 0 {
		return context.Canceled
	}
	return nil
}

// A look at a drive that is broken off, wherever that is, makes nothing lost and
// nothing another item.
func TestALookThatIsBrokenOff(t *testing.T) {
	w := newWorld(t)
	dir := w.folder(amala)
	for i := range 30 {
		w.write(fmt.Sprintf("%s/%d/deeper/a.txt", amala, i), fmt.Sprint(i))
	}
	for i := range fewNames + 100 {
		w.write(fmt.Sprintf("%s/many/%d", amala, i), "")
	}
	look := func(ctx context.Context) error {
		return w.svc.with(place{site: w.svc.folders[amala], library: documents}, func(d *drive) error { return d.scan(ctx) })
	}
	for n := 0; ; n += 7 {
		err := look(&ending{t.Context(), n})
		if err == nil {
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	c := newReplica(w, amala)
	c.follow()
	was := maps.Clone(c.items)
	for n := range 40 {
		from, to := fmt.Sprint(n%30), fmt.Sprint((n+1)%30)
		if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to, "below")); err != nil {
			t.Fatal(err)
		}
		if err := look(&ending{t.Context(), 3 * n}); err == nil && n < 20 {
			t.Errorf("look %d was not broken off", n)
		}
		if err := os.Rename(filepath.Join(dir, to, "below"), filepath.Join(dir, from)); err != nil {
			t.Fatal(err)
		}
	}
	c.follow()
	if diff := gocmp.Diff(realTree(t, dir), c.tree()); diff != "" {
		t.Errorf("what is there and what the delta tells differ (-there +told):\n%s", diff)
	}
	for id := range c.items {
		if _, known := was[id]; !known {
			t.Errorf("%s is another item than before", id)
		}
	}
}
