package engine

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/drive"
	"holdfast/internal/jobs"
)

// inList returns what the source says is in a list of the site: the fields of the
// items, by their numbers.
func (w *world) inList(name string) map[string]map[string]json.RawMessage {
	w.t.Helper()
	site, err := w.source.Site(w.ctx, "root")
	w.must(err)
	at := site.ID
	if below, own, ok := strings.Cut(name, "/"); ok {
		sites, err := w.source.Subsites(w.ctx, site.ID)
		w.must(err)
		i := slices.IndexFunc(sites, func(s drive.Site) bool { return s.Name == below })
		at, name = sites[i].ID, own
	}
	l, ok, err := w.source.FindList(w.ctx, at, name)
	if w.must(err); !ok {
		w.t.Fatalf("there is no list %s\n%s", name, w.log)
	}
	all := map[string]map[string]json.RawMessage{}
	for it, err := range w.source.ListDelta(w.ctx, l.ListRef, "", true).All() {
		if w.must(err); it.Deleted {
			continue
		}
		var f drive.ItemFile
		w.must(json.Unmarshal(it.JSON, &f))
		all[f.ID] = f.Fields
		all[f.ID]["type"], _ = json.Marshal(typeName(&f))
	}
	return all
}

func textOf(raw json.RawMessage) (text string) {
	json.Unmarshal(raw, &text)
	return text
}

// titles are those of a list's items, in order, with the title of what one of their
// lookups names in another list.
func (w *world) titles(name, lookup, into string) (all []string) {
	w.t.Helper()
	others := map[string]map[string]json.RawMessage{}
	if into != "" {
		others = w.inList(into)
	}
	for _, item := range w.inList(name) {
		title := textOf(item["Title"])
		if id := textOf(item[lookup+"LookupId"]); id != "" {
			title += " → " + textOf(others[id]["Title"])
		}
		all = append(all, title)
	}
	slices.Sort(all)
	return all
}

func (w *world) wantTitles(what string, got []string, want ...string) {
	w.t.Helper()
	if !slices.Equal(got, want) {
		w.t.Errorf("%s: the list holds %q, want %q\n%s", what, got, want, w.log)
	}
}

const selfish = `{"columns":[{"name":"Above","lookup":{"listId":"Tree","columnName":"Title"}}]}`

// In place, changed items have their values again, missing ones are made anew, with
// lookups that follow them, and later ones go.
func TestListsAreRestoredInPlace(t *testing.T) {
	w, unit := newSite(t, twoLibraries)
	w.offersAndCustomers()
	w.putList("Tree", map[string]string{"list.json": selfish, "1.json": `{"Title":"leaf","AboveLookupId":2}`, "2.json": `{"Title":"root"}`})
	point := w.backUp(unit)
	w.must(os.Remove(w.siteList("Customers") + "/2.json"))
	w.must(os.Remove(w.siteList("Offers") + "/2.json"))
	w.must(os.Remove(w.siteList("Tree") + "/1.json"))
	w.must(os.Remove(w.siteList("Tree") + "/2.json"))
	w.putList("Offers", map[string]string{"7.json": `{"Title":"Later"}`})
	w.putList("Customers", map[string]string{"1.json": `{"Title":"Ann, changed"}`})
	w.backUp(unit)
	check := func(what string) {
		t.Helper()
		w.wantTitles(what, w.titles("Customers", "", ""), "Ann", `Bob, "Sir"`)
		w.wantTitles(what, w.titles("Offers", "Customer", "Customers"), "Large", `Small → Bob, "Sir"`)
		w.wantTitles(what, w.titles("Tree", "Above", "Tree"), "leaf → root", "root")
	}
	a := w.restored(point, backup.DestinationInPlace)
	check("restored")
	if city := textOf(w.inList("Customers")["1"]["City"]); city != "Bern" {
		t.Errorf("the city is %q", city)
	}
	for _, item := range w.inList("Offers") {
		if tags := cell(item["Tags"]); textOf(item["Title"]) == "Large" && tags != "a; b" {
			t.Errorf("the tags are %s", tags)
		}
	}
	if a.Problem == nil || !slices.ContainsFunc(a.Problem.Details, func(d backup.Detail) bool {
		return d.Target == "Offers" && strings.Contains(d.Message, "1 item") && strings.Contains(d.Message, "who made")
	}) {
		t.Errorf("the artifact says %+v", a.Problem)
	}

	// Once more: nothing is written.
	was := w.inList("Offers")
	w.reset()
	var writes atomic.Int32
	w.onRequest(func(r *http.Request) {
		if r.Method != http.MethodGet && strings.Contains(r.URL.Path, "/lists/") {
			writes.Add(1)
		}
	})
	w.restored(point, backup.DestinationInPlace)
	if check("twice"); writes.Load() > 0 || len(was) != len(w.inList("Offers")) {
		t.Errorf("%d writes were made", writes.Load())
	}
}

// A list that is gone is made again, with its columns and content types; killed at any
// of its writes it goes on, and makes no item twice.
func TestPlayAListThatIsGoneIsMadeAgain(t *testing.T) {
	for _, after := range []int{1, 2, 3, 4, 5, 6, 7, 8} {
		w, unit := newSite(t, twoLibraries)
		w.offersAndCustomers()
		w.putList("Offers", map[string]string{"list.json": strings.Replace(offers, `"columns"`, `"contentTypes":[{"name":"Bid"}],"columns"`, 1), "3.json": `{"Title":"Typed","ContentType":"Bid"}`})
		w.putList("Tree", map[string]string{"list.json": selfish, "1.json": `{"Title":"leaf","AboveLookupId":2}`, "2.json": `{"Title":"root"}`})
		point := w.backUp(unit)
		for _, name := range []string{"Offers", "Customers", "Tree"} {
			w.must(os.RemoveAll(w.siteList(name)))
		}
		w.backUp(unit)
		a := w.activate(point, backup.DestinationInPlace)
		w.stopAtWrite(after, a)
		w.run(jobs.Restore, string(a.ID), w.engine.restore)
		if a = w.artifact(a); a.Status != backup.ArtifactSucceeded {
			t.Fatalf("after %d writes: artifact is %s: %+v\n%s", after, a.Status, a.Problem, w.log)
		}
		w.wantTitles("Customers", w.titles("Customers", "", ""), "Ann", `Bob, "Sir"`)
		w.wantTitles("Offers", w.titles("Offers", "Customer", "Customers"), "Large", `Small → Bob, "Sir"`, "Typed")
		w.wantTitles("Tree", w.titles("Tree", "Above", "Tree"), "leaf → root", "root")
		for _, item := range w.inList("Offers") {
			if is := textOf(item["type"]); textOf(item["Title"]) == "Typed" && is != "Bid" {
				t.Errorf("the content type is %q", is)
			}
		}
	}
}

// stopAtWrite begins a restore, and stops it once it was to write into lists so many
// times: what is written last gets no answer.
func (w *world) stopAtWrite(n int, a backup.Artifact) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	var writes atomic.Int32
	w.onRequest(func(r *http.Request) {
		if r.Method != http.MethodGet && strings.Contains(r.URL.Path, "/lists") && int(writes.Add(1)) == n {
			time.AfterFunc(20*time.Millisecond, cancel)
		}
	})
	defer w.onRequest(nil)
	if err := w.try(ctx, jobs.Restore, string(a.ID), w.engine.restore); err == nil && int(writes.Load()) >= n && w.artifact(a).Status.Final() {
		w.t.Logf("the restore was over after %d writes", writes.Load())
	}
}

// To a new place each list is made anew beside the live one, and lookups go into the
// new ones. The live ones stay, also when the restore is killed and goes on.
func TestPlayListsAreRestoredToANewPlace(t *testing.T) {
	for _, after := range []int{1, 3, 5, 7, 9} {
		w, unit := newSite(t, twoLibraries)
		w.offersAndCustomers()
		w.putList("Team/Notes", map[string]string{"list.json": `{"columns":[{"name":"Text","text":{}}]}`, "n.json": `{"Title":"below","Text":"x"}`})
		point := w.backUp(unit)
		w.must(os.Remove(w.siteList("Customers") + "/1.json"))
		w.putList("Offers", map[string]string{"1.json": `{"Title":"changed"}`})
		live := w.look(w.siteList("Offers"))
		a := w.activate(point, backup.DestinationNew)
		w.stopAtWrite(after, a)
		if after == 5 {
			w.backUp(unit) // the new places are the site's, too
		}
		w.run(jobs.Restore, string(a.ID), w.engine.restore)
		if a = w.artifact(a); a.Status != backup.ArtifactSucceeded || !strings.HasSuffix(a.RestoredSiteName, "R0") {
			t.Fatalf("after %d writes: artifact is %s, %q: %+v\n%s", after, a.Status, a.RestoredSiteName, a.Problem, w.log)
		}
		w.wantTitles("CustomersR0", w.titles("CustomersR0", "", ""), "Ann", `Bob, "Sir"`)
		w.wantTitles("OffersR0", w.titles("OffersR0", "Customer", "CustomersR0"), "Large", `Small → Bob, "Sir"`)
		w.wantTitles("NotesR0", w.titles("Team/NotesR0", "", ""), "below")
		w.same("the live list", live, w.look(w.siteList("Offers")))
		if _, err := os.Stat(w.siteList("OffersR1")); err == nil {
			t.Error("a restore that was killed has made a second place")
		}
	}
}

// A losing source does what it is asked, and says that it failed.
type losing struct {
	mu    sync.Mutex
	loses func(*http.Request) bool
}

func (l *losing) between(sim http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		loses := l.loses != nil && l.loses(r) // one after the other, so that it may count
		l.mu.Unlock()
		if !loses {
			sim.ServeHTTP(rw, r)
			return
		}
		sim.ServeHTTP(httptest.NewRecorder(), r)
		rw.WriteHeader(http.StatusBadGateway)
	})
}

func (l *losing) set(loses func(*http.Request) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loses = loses
}

// What was made although the answer says otherwise is not made a second time: neither
// a list nor an item.
func TestPlayAListRestoreWhoseAnswersAreLost(t *testing.T) {
	l := &losing{}
	w, unit := newSite(t, twoLibraries, l.between)
	w.offersAndCustomers()
	point := w.backUp(unit)
	w.must(os.RemoveAll(w.siteList("Customers")))
	w.must(os.Remove(w.siteList("Offers") + "/2.json"))
	w.backUp(unit)
	lost := map[string]int{}
	l.set(func(r *http.Request) bool {
		if r.Method == http.MethodGet || !strings.Contains(r.URL.Path, "/lists") {
			return false
		}
		lost[r.Method+" "+r.URL.Path]++
		return lost[r.Method+" "+r.URL.Path] <= 2
	})
	w.restored(point, backup.DestinationInPlace)
	w.wantTitles("Customers", w.titles("Customers", "", ""), "Ann", `Bob, "Sir"`)
	w.wantTitles("Offers", w.titles("Offers", "Customer", "Customers"), "Large", `Small → Bob, "Sir"`)
	if len(lost) < 3 {
		t.Errorf("only %v got lost", lost)
	}
}

// What the source does not take is named, and stops nothing else.
func TestPlayAListRestoreOfAHostileSource(t *testing.T) {
	for _, tt := range []struct {
		name   string
		refuse func(*http.Request) (int, string)
		want   map[string]backup.Code // of the details
		offers []string
	}{
		{"items refused", func(r *http.Request) (int, string) {
			if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/items") {
				return http.StatusBadRequest, says("invalidRequest")
			}
			return 0, ""
		}, map[string]backup.Code{"Offers": "", "Offers/1-999/2.json": backup.ArtifactCannotBeRestored}, []string{"Small → Bob, \"Sir\""}},
		{"changes refused", func(r *http.Request) (int, string) {
			if r.Method == http.MethodPatch {
				return http.StatusForbidden, says("accessDenied")
			}
			return 0, ""
		}, map[string]backup.Code{"Offers": "", "Offers/1-999/1.json": backup.AccessDenied}, []string{"Large", "Smaller → Bob, \"Sir\""}},
		{"deletions refused", func(r *http.Request) (int, string) {
			if r.Method == http.MethodDelete {
				return http.StatusForbidden, says("accessDenied")
			}
			return 0, ""
		}, map[string]backup.Code{"Offers": "", "Offers/1-999/7.json": backup.AccessDenied}, []string{"Large", "Later", "Small → Bob, \"Sir\""}},
		{"columns refused", func(r *http.Request) (int, string) {
			if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/columns") {
				return http.StatusForbidden, says("accessDenied")
			}
			return 0, ""
		}, map[string]backup.Code{"Offers": "", "Customers": ""}, []string{"Large", "Small → Bob, \"Sir\""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &refusal{}
			w, unit := newSite(t, twoLibraries, f.between)
			w.offersAndCustomers()
			point := w.backUp(unit)
			w.must(os.Remove(w.siteList("Offers") + "/2.json"))
			w.must(os.WriteFile(w.siteList("Offers")+"/1.json", []byte(`{"Title":"Smaller","Price":1.5,"CustomerLookupId":2}`), 0o644))
			w.must(os.WriteFile(w.siteList("Offers")+"/7.json", []byte(`{"Title":"Later"}`), 0o644))
			w.must(os.WriteFile(w.siteList("Customers")+"/list.json", []byte(`{"columns":[{"name":"Town","text":{}}]}`), 0o644))
			w.backUp(unit)
			later := ""
			for n, item := range w.inList("Offers") {
				if textOf(item["Title"]) == "Later" {
					later = n
				}
			}
			f.set(tt.refuse)
			a := w.activate(point, backup.DestinationInPlace)
			w.run(jobs.Restore, string(a.ID), w.engine.restore)
			a = w.artifact(a)
			got := map[string]backup.Code{}
			if a.Problem != nil {
				for _, d := range a.Problem.Details {
					at := strings.Replace(d.Target, "/"+later+".json", "/7.json", 1)
					if got[at] = d.Code; !strings.Contains(at, "/") {
						got[at] = ""
					}
				}
			}
			delete(got, "Customers")
			delete(tt.want, "Customers")
			if !maps.Equal(got, tt.want) {
				t.Errorf("the artifact is %s: %+v", a.Status, a.Problem)
			}
			w.wantTitles(tt.name, w.titles("Offers", "Customer", "Customers"), tt.offers...)
			f.set(nil)
			w.restored(point, backup.DestinationInPlace)
			w.wantTitles("after", w.titles("Offers", "Customer", "Customers"), "Large", "Small → Bob, \"Sir\"")
			if city := textOf(w.inList("Customers")["1"]["City"]); city != "Bern" {
				t.Errorf("the city is %q", city)
			}
		})
	}
}

// What came into a list, or was changed in it, after the restore had begun stays, also
// when the restore was killed meanwhile.
func TestAListRestoreSparesWhatCameMeanwhile(t *testing.T) {
	w, unit := newSite(t, twoLibraries)
	w.offersAndCustomers()
	point := w.backUp(unit)
	w.putList("Offers", map[string]string{"3.json": `{"Title":"Later"}`, "4.json": `{"Title":"Later, and changed"}`})
	w.must(os.Remove(w.siteList("Offers") + "/1.json"))
	a := w.activate(point, backup.DestinationInPlace)
	w.stopAtWrite(1, a)
	w.putList("Offers", map[string]string{"4.json": `{"Title":"Changed meanwhile"}`, "9.json": `{"Title":"Came meanwhile"}`})
	w.run(jobs.Restore, string(a.ID), w.engine.restore)
	w.wantTitles("Offers", w.titles("Offers", "Customer", "Customers"), "Came meanwhile", "Changed meanwhile", "Large", `Small → Bob, "Sir"`)
	a = w.artifact(a)
	left := 0
	if a.Problem != nil {
		for _, d := range a.Problem.Details {
			if d.Code == backup.LeftAsItIs && strings.HasPrefix(d.Target, "Offers/1-999/") {
				left++
			}
		}
	}
	if left != 2 {
		t.Errorf("the artifact is %s: %+v", a.Status, a.Problem)
	}
}

// A list whose site is archived or locked is named, and the restore is tried again.
func TestAListThatIsLockedIsNotRestored(t *testing.T) {
	f := &refusal{}
	w, unit := newSite(t, twoLibraries, f.between)
	w.offersAndCustomers()
	point := w.backUp(unit)
	w.must(os.Remove(w.siteList("Offers") + "/2.json"))
	w.must(os.Remove(w.siteList("Customers") + "/2.json"))
	w.backUp(unit)
	bad := string(w.partOf(point, "Offers").Drive)
	f.set(func(r *http.Request) (int, string) {
		if strings.Contains(r.URL.Path, "/lists/"+bad) {
			return http.StatusLocked, says("resourceLocked")
		}
		return 0, ""
	})
	a := w.activate(point, backup.DestinationInPlace)
	if err := w.try(w.ctx, jobs.Restore, string(a.ID), w.engine.restore); err == nil {
		t.Error("a restore into a locked list is not tried again")
	}
	w.wantTitles("the other list", w.titles("Customers", "", ""), "Ann", `Bob, "Sir"`)
	f.set(nil)
	w.run(jobs.Restore, string(a.ID), w.engine.restore)
	if a = w.artifact(a); a.Status != backup.ArtifactSucceeded {
		t.Errorf("artifact is %s: %+v", a.Status, a.Problem)
	}
	w.wantTitles("the list", w.titles("Offers", "Customer", "Customers"), "Large", `Small → Bob, "Sir"`)
}

// Items of a list are restored into a new list beside the live one, which all of a
// session share; nothing else is touched.
func TestItemsOfAListAreRestored(t *testing.T) {
	w, unit := newSite(t, twoLibraries)
	w.offersAndCustomers()
	w.backUp(unit)
	w.putList("Offers", map[string]string{"3.json": `{"Title":"Not chosen"}`})
	point := w.backUp(unit)
	w.must(os.Remove(w.siteList("Offers") + "/1.json"))
	live := w.look(w.siteList("Offers"))
	s := w.restoreItems(point, "Offers/1-999/1.json", "Offers/1-999/2.json")
	for _, a := range w.items(s) {
		if a.Status != backup.ArtifactSucceeded || !strings.HasPrefix(a.RestoredPath, "/Offers Restored ") || a.RestoredKey == "" {
			t.Errorf("artifact = %+v: %+v", a, a.Problem)
		}
		w.run(jobs.RestoreItem, string(a.ID), w.engine.restoreItem) // once more
	}
	name := "Offers Restored " + time.Now().UTC().Format(time.DateOnly) + " R0"
	w.wantTitles("the new list", w.titles(name, "Customer", "Customers"), "Large", `Small → Bob, "Sir"`)
	w.same("the live list", live, w.look(w.siteList("Offers")))

	for _, a := range w.items(w.restoreItems(point, "Offers/items.csv")) {
		if a.Status != backup.ArtifactFailed || !strings.Contains(a.Problem.Message, "Choose items") {
			t.Errorf("the table: %s %+v", a.Status, a.Problem)
		}
	}
}
