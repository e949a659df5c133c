package engine

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
	"holdfast/internal/simtenant"
	"holdfast/internal/vault"
)

// siteList is the folder that is a list of the site, or of one below it.
func (w *world) siteList(name string) string {
	at := w.siteLibrary(name)
	return filepath.Join(filepath.Dir(filepath.Dir(at)), "lists", filepath.Base(at))
}

// putList makes a list, or what is in it, of JSON.
func (w *world) putList(name string, files map[string]string) {
	w.t.Helper()
	w.must(os.MkdirAll(w.siteList(name), 0o755))
	w.put(w.siteList(name), files)
}

// keptFile returns a file of a part of a point.
func (w *world) keptFile(part vault.Part, name string) string {
	w.t.Helper()
	for n, err := range w.vault.Walk(w.ctx, part.Tree) {
		w.must(err)
		if n.Path == name {
			return w.content(n.Content)
		}
	}
	return ""
}

func (w *world) content(id string) string {
	w.t.Helper()
	r, err := w.vault.Open(w.ctx, id)
	w.must(err)
	defer r.Close()
	text, err := io.ReadAll(r)
	w.must(err)
	return string(text)
}

// keptList returns what a point holds of a list: a member of the fields of each item,
// by the item's path.
func (w *world) keptList(part vault.Part, field string) map[string]string {
	w.t.Helper()
	all := map[string]string{}
	for n, err := range w.vault.Walk(w.ctx, part.Tree) {
		w.must(err)
		if n.Kind != backup.File || path.Dir(n.Path) == "." {
			continue
		}
		var f drive.ItemFile
		w.must(json.Unmarshal([]byte(w.content(n.Content)), &f))
		var text string
		json.Unmarshal(f.Fields[field], &text)
		if path.Base(n.Path) != f.ID+".json" || f.ETag == "" || f.Created == nil || f.Modified == nil || f.CreatedBy == nil || f.ContentType == nil {
			w.t.Errorf("%s is of item %+v", n.Path, f)
		}
		all[n.Path] = text
	}
	return all
}

func wantList(t *testing.T, what string, got map[string]string, want ...string) {
	t.Helper()
	var have []string
	for at, text := range got {
		have = append(have, at+" "+text)
	}
	slices.Sort(have)
	if !slices.Equal(have, want) {
		t.Errorf("%s is %q, want %q", what, have, want)
	}
}

const offers = `{"displayName":"Offers","columns":[{"name":"Price","number":{}},{"name":"Customer","lookup":{"listId":"Customers","columnName":"Title"}},{"name":"Tags","choice":{"choices":["a","b"],"displayAs":"checkBoxes"}}]}`

func (w *world) offersAndCustomers() {
	w.putList("Customers", map[string]string{"list.json": `{"columns":[{"name":"City","text":{}}]}`, "1.json": `{"Title":"Ann","City":"Bern"}`, "2.json": `{"Title":"Bob, \"Sir\""}`})
	w.putList("Offers", map[string]string{"list.json": offers, "1.json": `{"Title":"Small","Price":1.5,"CustomerLookupId":2}`, "2.json": `{"Title":"Large","Tags":["a","b"]}`})
}

// Lists are parts of a site's point beside its libraries: a file for each item, the
// schema, and a table. A visit goes by each list's own delta, and reads no item by
// itself.
func TestListsOfASiteAreBackedUp(t *testing.T) {
	w, unit := newSite(t, twoLibraries)
	w.offersAndCustomers()
	w.putList("Team/Notes", map[string]string{"n.json": `{"Title":"of the site below"}`})
	w.putList("Hidden", map[string]string{"list.json": `{"hidden":true}`, "1.json": `{"Title":"secret"}`})
	first := w.backUp(unit)
	if lacks := w.lacking(first); len(lacks) > 0 || w.unit(unit.ID).Problem != nil {
		t.Errorf("the point lacks %q, the unit says %+v\n%s", lacks, w.unit(unit.ID).Problem, w.log)
	}
	parts, err := w.vault.Parts(w.ctx, first.Tree)
	w.must(err)
	var lists []string
	for _, p := range parts {
		if p.Kind == backup.SiteList {
			lists = append(lists, p.Name)
		}
	}
	slices.Sort(lists)
	if want := []string{"Customers", "Offers", "Team/Notes"}; !slices.Equal(lists, want) {
		t.Fatalf("the point has the lists %q, want %q\n%s", lists, want, w.log)
	}
	of := w.partOf(first, "Offers")
	wantList(t, "the list", w.keptList(of, "Title"), "1-999/1.json Small", "1-999/2.json Large")
	wantList(t, "its lookups", w.keptList(of, "CustomerLookupId"), "1-999/1.json 2", "1-999/2.json ")
	s, err := drive.ParseSchema([]byte(w.keptFile(of, "schema.json")))
	w.must(err)
	if s.Name != "Offers" || s.Template != "genericList" || !slices.ContainsFunc(s.Columns, func(c drive.Column) bool { return c.Name == "Customer" && c.Looks != "" }) || len(s.ContentTypes) == 0 {
		t.Errorf("the schema is %+v", s)
	}
	table := w.keptFile(of, "items.csv")
	if rows := strings.Split(strings.TrimSpace(table), "\n"); len(rows) != 3 || !strings.HasPrefix(rows[0], "id,contentType,") || !strings.HasPrefix(rows[1], "1,Item,") || !strings.Contains(rows[2], "Large") || !strings.Contains(rows[2], "a; b") {
		t.Errorf("the table is %q", table)
	}
	if table := w.keptFile(w.partOf(first, "Customers"), "items.csv"); !strings.Contains(table, `"Bob, ""Sir"""`) {
		t.Errorf("the table is %q", table)
	}

	w.reset()
	again := w.backUp(unit)
	if again.Tree != first.Tree {
		t.Error("a point without changes has another tree")
	}

	// An item changed, one deleted and one made; and a column.
	w.putList("Offers", map[string]string{"1.json": `{"Title":"Smaller"}`, "3.json": `{"Title":"New"}`})
	w.must(os.Remove(w.siteList("Offers") + "/2.json"))
	var single atomic.Int32
	w.onRequest(func(r *http.Request) {
		if strings.Contains(r.URL.Path, "/items/") && !strings.HasSuffix(r.URL.Path, "/items/delta") && !strings.HasSuffix(r.URL.Path, "/items/2") {
			single.Add(1)
		}
	})
	second := w.backUp(unit)
	if single.Load() > 0 {
		t.Errorf("%d items were read by themselves", single.Load())
	}
	of = w.partOf(second, "Offers")
	wantList(t, "the changed list", w.keptList(of, "Title"), "1-999/1.json Smaller", "1-999/3.json New")
	if rows := strings.Split(strings.TrimSpace(w.keptFile(of, "items.csv")), "\n"); len(rows) != 3 || !strings.Contains(rows[1], "Smaller") || !strings.HasPrefix(rows[2], "3,") {
		t.Errorf("the table is %q", rows)
	}
	if w.partOf(second, "Customers").Tree != w.partOf(first, "Customers").Tree {
		t.Error("a list without changes has another tree")
	}
	w.putList("Offers", map[string]string{"list.json": strings.Replace(offers, `"Price"`, `"Cost"`, 1)})
	third := w.backUp(unit)
	of = w.partOf(third, "Offers")
	if table := w.keptFile(of, "items.csv"); !strings.Contains(strings.SplitN(table, "\n", 2)[0], "Cost") || strings.Count(table, "\n") != 3 {
		t.Errorf("the table is %q", table)
	}
	wantList(t, "the list", w.keptList(of, "Title"), "1-999/1.json Smaller", "1-999/3.json New")

	// The whole list again, as when its turn comes, finds nothing.
	w.reconcileAt(unit)
	fourth := w.backUp(unit)
	if fourth.Tree != third.Tree || len(w.lacking(fourth)) > 0 {
		t.Errorf("a whole enumeration without changes has another tree, and lacks %q\n%s", w.lacking(fourth), w.log)
	}
	if found, err := w.vault.Verify(w.ctx, []string{first.Tree, fourth.Tree}, vault.VerifyOptions{Share: 1}); err != nil || found.Err() != nil {
		t.Error(err, found.Err())
	}
}

// reconcileAt has the next backup of a unit enumerate all it has.
func (w *world) reconcileAt(unit backup.Unit) {
	w.t.Helper()
	w.skew.Add(int64(2 * w.engine.Reconcile))
}

// A list renamed is the same list; one deleted leaves the points to come; made again
// it is another.
func TestAListRenamedDeletedAndMadeAgain(t *testing.T) {
	w, unit := newSite(t, twoLibraries)
	w.offersAndCustomers()
	first := w.backUp(unit)
	w.must(os.Rename(w.siteList("Offers"), w.siteList("Bids")))
	w.must(os.Remove(w.siteList("Bids") + "/list.json"))
	second := w.backUp(unit)
	was, is := w.partOf(first, "Offers"), w.partOf(second, "Bids")
	if was.Drive != is.Drive {
		t.Error("a renamed list is another")
	}
	wantList(t, "the list", w.keptList(is, "Title"), "1-999/1.json Small", "1-999/2.json Large")

	w.must(os.RemoveAll(w.siteList("Bids")))
	third := w.backUp(unit)
	parts, err := w.vault.Parts(w.ctx, third.Tree)
	w.must(err)
	if slices.ContainsFunc(parts, func(p vault.Part) bool { return p.Drive == is.Drive }) || len(w.lacking(third)) > 0 {
		t.Errorf("the list is still in the point: %+v, %q", parts, w.lacking(third))
	}
	w.putList("Offers", map[string]string{"1.json": `{"Title":"Again"}`})
	fourth := w.backUp(unit)
	again := w.partOf(fourth, "Offers")
	if again.Drive == was.Drive {
		t.Error("a list made again is the one of before")
	}
	wantList(t, "the list", w.keptList(again, "Title"), "1-999/1.json Again")
	wantList(t, "the first point", w.keptList(w.partOf(first, "Offers"), "Title"), "1-999/1.json Small", "1-999/2.json Large")
}

// What the source says of a list is not believed because it said so.
func TestPlayAListOfAHostileSource(t *testing.T) {
	const all = "1-999/1.json Small,1-999/2.json Large"
	for _, tt := range []struct {
		name  string
		when  func(id string) func(*http.Request) (int, string)
		want  string
		named []string
	}{
		{"the cursor is no more", func(id string) func(*http.Request) (int, string) {
			asked := 0
			return func(r *http.Request) (int, string) {
				if strings.Contains(r.URL.Path, id+"/items/delta") && r.URL.Query().Has("token") {
					if asked++; asked == 1 {
						return http.StatusGone, says("resyncChangesApplyDifferences")
					}
				}
				return 0, ""
			}
		}, all, nil},
		{"locked", func(id string) func(*http.Request) (int, string) {
			return func(r *http.Request) (int, string) {
				if strings.Contains(r.URL.Path, "/lists/"+id) {
					return http.StatusLocked, says("resourceLocked")
				}
				return 0, ""
			}
		}, all, []string{"Offers resourceLocked true"}},
		{"denied", func(id string) func(*http.Request) (int, string) {
			return func(r *http.Request) (int, string) {
				if strings.Contains(r.URL.Path, "/lists/"+id) {
					return http.StatusForbidden, says("accessDenied")
				}
				return 0, ""
			}
		}, all, []string{"Offers accessDenied true"}},
		{"404 for what lives", func(id string) func(*http.Request) (int, string) {
			return func(r *http.Request) (int, string) {
				if strings.Contains(r.URL.Path, "/lists/"+id) {
					return http.StatusNotFound, says("itemNotFound")
				}
				return 0, ""
			}
		}, all, []string{"Offers ContentNotFound true"}},
		{"no list of changes", func(id string) func(*http.Request) (int, string) {
			return func(r *http.Request) (int, string) {
				if strings.Contains(r.URL.Path, id+"/items/delta") {
					return http.StatusOK, `{"value":"x"}`
				}
				return 0, ""
			}
		}, all, []string{"Offers DriveUnavailable true"}},
		{"all is listed as deleted, and there", func(id string) func(*http.Request) (int, string) {
			return func(r *http.Request) (int, string) {
				if strings.Contains(r.URL.Path, id+"/items/delta") {
					return http.StatusOK, `{"value":[{"id":"1","deleted":{"state":"deleted"}},{"id":"2","deleted":{"state":"deleted"}}],"@odata.deltaLink":"` + deltaAt(r) + `"}`
				}
				return 0, ""
			}
		}, all, []string{"Offers/1-999/1.json PlaceUnknown true", "Offers/1-999/2.json PlaceUnknown true"}},
		{"items without fields, without a number, and twice", func(id string) func(*http.Request) (int, string) {
			return func(r *http.Request) (int, string) {
				if strings.Contains(r.URL.Path, id+"/items/delta") {
					return http.StatusOK, `{"value":[{"id":"1","eTag":"x","lastModifiedDateTime":"2026-01-01T00:00:00Z"},{"id":"one"},{"eTag":"y"},{"id":"1","eTag":"x","lastModifiedDateTime":"2026-01-01T00:00:00Z"}],"@odata.deltaLink":"` + deltaAt(r) + `"}`
				}
				return 0, ""
			}
		}, all, []string{"Offers ItemIncomplete false"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &refusal{}
			w, unit := newSite(t, twoLibraries, f.between)
			w.offersAndCustomers()
			first := w.backUp(unit)
			id := string(w.partOf(first, "Offers").Drive)
			f.set(tt.when(id))
			w.put(w.siteLibrary("Documents"), map[string]string{"a.txt": "changed"})
			second := w.backUp(unit)
			wantList(t, "the list", w.keptList(w.partOf(second, "Offers"), "Title"), strings.Split(tt.want, ",")...)
			if got := w.lacking(second); !slices.Equal(got, tt.named) {
				t.Errorf("the point names %q, want %q\n%s", got, tt.named, w.log)
			}
			w.same("the library", w.look(w.siteLibrary("Documents")), w.keptSite(second)["Documents"])
			f.set(nil)
			w.reconcileAt(unit)
			third := w.backUp(unit)
			if got := w.lacking(third); len(got) > 0 {
				t.Errorf("the point after names %q\n%s", got, w.log)
			}
			wantList(t, "the list after", w.keptList(w.partOf(third, "Offers"), "Title"), strings.Split(all, ",")...)
		})
	}
}

// deltaAt is a link by which a list of changes goes on.
func deltaAt(r *http.Request) string {
	return fmt.Sprintf("http://%s%s?token=x", r.Host, r.URL.Path)
}

// A list with more lookups than the source answers at once has each item read in
// parts.
func TestAListWithManyLookups(t *testing.T) {
	w, unit := newSite(t, twoLibraries)
	w.putList("Customers", map[string]string{"1.json": `{"Title":"Ann"}`})
	var columns, fields []string
	for i := range 14 {
		columns = append(columns, fmt.Sprintf(`{"name":"L%d","lookup":{"listId":"Customers","columnName":"Title"}}`, i))
		fields = append(fields, fmt.Sprintf(`"L%dLookupId":1`, i))
	}
	w.putList("Wide", map[string]string{"list.json": `{"columns":[` + strings.Join(columns, ",") + `]}`, "1.json": `{"Title":"x",` + strings.Join(fields, ",") + `}`})
	p := w.backUp(unit)
	if got := w.lacking(p); len(got) > 0 {
		t.Fatalf("the point lacks %q\n%s", got, w.log)
	}
	var f drive.ItemFile
	w.must(json.Unmarshal([]byte(w.keptFile(w.partOf(p, "Wide"), "1-999/1.json")), &f))
	for i := range 14 {
		if got := string(f.Fields[fmt.Sprintf("L%dLookupId", i)]); got != `"1"` {
			t.Errorf("lookup %d is %s", i, got)
		}
	}
	if again := w.backUp(unit); again.Tree != p.Tree {
		t.Error("a point without changes has another tree")
	}
}

// A largeList is a list of very many items, of which a tenant is made up.
type largeList struct {
	*world
	unit  backup.Unit
	ref   drive.ListRef
	items int
}

func newLargeList(t testing.TB, items int) *largeList {
	w := prepare(t)
	made := simtenant.Population{Seed: 1, Users: 1, Files: 2, Size: 10, Sites: 1, Items: items}
	tenant := made.Tenant()
	cfg := simConfig(w.dir, "", nil, nil)
	tenant.Apps, w.tenant = cfg.Tenants[0].Apps, tenant.ID
	cfg.Tenants, cfg.Population, cfg.Sites = []simtenant.Tenant{tenant}, &made, w.dir+"/sites"
	sim, err := simtenant.New(cfg)
	w.must(err)
	server := httptest.NewServer(w.watch(sim.Handler()))
	t.Cleanup(func() { server.Close(); sim.Close() })
	w.connect(server.URL)
	l := &largeList{world: w, items: items}
	for s, err := range w.source.Sites(w.ctx) {
		if w.must(err); strings.Contains(s.Address, "/sites/") {
			l.unit = w.protectSite(s.ID)
		}
	}
	site, err := w.source.Site(w.ctx, string(l.unit.Subject))
	w.must(err)
	list, _, err := w.source.FindList(w.ctx, site.ID, "Tracker")
	w.must(err)
	l.ref = list.ListRef
	for _, err := range w.source.ListDelta(w.ctx, l.ref, "", true).All() { // the tenant's own memory
		w.must(err)
	}
	return l
}

// within runs fn, and returns how many requests it made and how many bytes of memory it
// took that were not there before.
func (l *largeList) within(phase string, fn func()) (requests int, grown int64) {
	l.t.Helper()
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	heap := watchHeap(phase)
	l.reset()
	fn()
	return l.asked("all"), int64(heap()) - int64(before.HeapAlloc)
}

// held makes sure that a point holds all of the list, and returns its table.
func (l *largeList) held(p backup.Point) []string {
	l.t.Helper()
	part := l.partOf(p, "Tracker")
	if int(part.Files) != l.items+2 || int(part.Folders) != l.items/1000+1 || len(l.lacking(p)) > 0 {
		l.t.Errorf("the list has %d files and %d folders, and the point lacks %q", part.Files, part.Folders, l.lacking(p))
	}
	rows := strings.Split(l.keptFile(part, "items.csv"), "\n")
	if len(rows) != l.items+2 {
		l.t.Errorf("the table has %d rows", len(rows))
	}
	return rows
}

// titlesOf counts the titles of a list's items.
func (l *largeList) titlesOf(ref drive.ListRef) map[string]int {
	l.t.Helper()
	all := map[string]int{}
	for it, err := range l.source.ListDelta(l.ctx, ref, "", true).All() {
		if l.must(err); !it.Deleted {
			var f drive.ItemFile
			l.must(json.Unmarshal(it.JSON, &f))
			all[textOf(f.Fields["Title"])]++
		}
	}
	return all
}

// all backs the list up, changes some of it, and restores it in place and to a new place.
// What each phase took is told to report.
func (l *largeList) all(report func(phase string, requests int, grown int64)) {
	w, t := l.world, l.t
	was := l.titlesOf(l.ref)
	var first backup.Point
	n, grown := l.within("first", func() { first = w.backUp(l.unit) })
	report("first", n, grown)
	if l.held(first); n > 2*l.items/1000+50 {
		t.Errorf("%d requests were made", n)
	}
	at, title := l.items/2+17, "changed "+l.unit.Name
	w.must(w.source.PatchListItem(w.ctx, l.ref, at, drive.ListWrite{Fields: map[string]any{"Title": title}}, ""))
	var second backup.Point
	n, grown = l.within("change", func() { second = w.backUp(l.unit) })
	report("change", n, grown)
	if rows := l.held(second); n > 20 || !strings.Contains(rows[at], title) {
		t.Errorf("%d requests were made for one change; the row is %q", n, rows[at])
	}
	if got := w.keptFile(w.partOf(second, "Tracker"), pathOf(at)); !strings.Contains(got, title) {
		t.Errorf("the item is %s", got)
	}

	some := l.items / 100
	for i := range some {
		w.must(w.source.DeleteListItem(w.ctx, l.ref, 50+i, ""))
		w.must(w.source.PatchListItem(w.ctx, l.ref, l.items-50-i, drive.ListWrite{Fields: map[string]any{"Title": "spoiled"}}, ""))
	}
	n, grown = l.within("inPlace", func() { w.restored(first, backup.DestinationInPlace) })
	report("inPlace", n, grown)
	// What is gone is asked for twice, by its number, before it is believed.
	if most := 4*some + 1 + 3*(l.items/1000+60); n > most {
		t.Errorf("%d requests were made to restore %d items in place, more than %d", n, 2*some+1, most)
	}
	if got := l.titlesOf(l.ref); !maps.Equal(got, was) {
		t.Errorf("restored in place, %d titles are there, and %d were", len(got), len(was))
	}
	var a backup.Artifact
	n, grown = l.within("new", func() { a = w.restored(first, backup.DestinationNew) })
	report("new", n, grown)
	if most := l.items + 3*(l.items/1000+60); n > most {
		t.Errorf("%d requests were made to restore %d items, more than %d", n, l.items, most)
	}
	beside, _, err := w.source.FindList(w.ctx, l.ref.Site, "Tracker"+suffixOf(a.RestoredSiteName))
	w.must(err)
	if got := l.titlesOf(beside.ListRef); !maps.Equal(got, was) {
		t.Errorf("restored to a new place, %d titles are there, and %d were", len(got), len(was))
	}
}

// A large list comes by its list of changes alone, in memory that does not grow with it;
// one change of it costs next to nothing; and it is restored with a request for each item
// that differs.
func TestPlayALargeList(t *testing.T) {
	newLargeList(t, 1200).all(func(phase string, _ int, grown int64) {
		if grown > 60<<20 {
			t.Errorf("%s: %d MiB of memory were needed", phase, grown>>20)
		}
	})
}

// BenchmarkLargeList is TestPlayALargeList with 30,000 items, or as many as HOLDFAST_ITEMS
// says. The tenant is in the same process.
func BenchmarkLargeList(b *testing.B) {
	items := fromEnv(b, "HOLDFAST_ITEMS", 30_000)
	for b.Loop() {
		began := time.Now()
		newLargeList(b, items).all(func(phase string, requests int, grown int64) {
			b.ReportMetric(float64(requests), phase+"-requests")
			b.ReportMetric(float64(grown>>20), phase+"-MiB")
			b.ReportMetric(time.Since(began).Seconds(), phase+"-s")
			began = time.Now()
		})
	}
}

// A list in a point is looked into as a library is; items of two lists that have the
// same number are told apart.
func TestListsOfASiteAreBrowsed(t *testing.T) {
	w, unit := newSite(t, twoLibraries)
	w.offersAndCustomers()
	p := w.backUp(unit)
	at, err := w.engine.Item(w.ctx, p, backup.ItemRef{})
	w.must(err)
	for _, name := range []string{"Offers", "1-999", "2.json"} {
		below, err := w.children(p, at.ID)
		w.must(err)
		i := slices.IndexFunc(below, func(i backup.Item) bool { return i.Name == name })
		if i < 0 {
			t.Fatalf("%s has no %s: %+v", at.Path, name, below)
		}
		at, err = w.engine.Item(w.ctx, p, backup.RefOf(below[i].ID))
		w.must(err)
	}
	if at.Path != "Offers/1-999/2.json" || at.Kind != backup.File || at.Size == 0 {
		t.Errorf("the item is %+v", at)
	}
}
