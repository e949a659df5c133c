package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/backup"
)

// A list of a table and of files of JSON is protected with its site, spoiled, and brought
// back: a single item of it into a new list, and all of it in place.
func TestAListIsProtectedAndRestored(t *testing.T) {
	d := startTestDev(t, func(o *devOptions) {
		o.workloads = []string{string(backup.SharePoint)}
	})
	clientEnv(t, d)
	s := &shell{t: t, dev: d, ids: map[string]int{}}
	lists := filepath.Join(d.data.root, "sites", "marketing", "lists")
	put := func(name, text string) {
		t.Helper()
		file := filepath.Join(lists, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// titles are those of a list's items, as its files hold them.
	titles := func(list string) (all []string) {
		t.Helper()
		files, err := filepath.Glob(filepath.Join(lists, list, "*.json"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var item struct{ Title, City string }
			if filepath.Base(name) != "list.json" && json.Unmarshal(text, &item) == nil {
				all = append(all, item.Title+" of "+item.City)
			}
		}
		slices.Sort(all)
		return all
	}
	run := func(command string, says ...string) string {
		t.Helper()
		out := s.run(command)
		for _, want := range says {
			if !strings.Contains(out, want) {
				t.Fatalf("%s\n%s\nit does not say %q", command, out, want)
			}
		}
		return out
	}
	put("Customers/list.json", `{"columns":[{"name":"City","text":{}}]}`)
	put("Customers/items.csv", "Title,City\nAnn,Bern\n\"Bob, Sir\",Basel\n")
	put("Customers/c.json", `{"Title":"Cy","City":"Chur"}`)
	put("../libraries/Documents/a.txt", "every site has a library")

	const site = "https://contoso.sharepoint.com/sites/marketing"
	run("holdfast policy create Sites --workload sharePoint", "inactive")
	run("holdfast site add --policy Sites "+site, "1 site is in Sites")
	run("holdfast policy activate Sites --wait", "1 protected")
	want := []string{"Ann of Bern", "Bob, Sir of Basel", "Cy of Chur"}
	if got := titles("Customers"); !slices.Equal(got, want) {
		t.Fatalf("the table has become %q", got)
	}
	run("holdfast browse ls "+site, "Customers")
	numbers := run("holdfast browse ls "+site+" Customers/1-999", "1.json", "2.json", "3.json")
	if strings.Count(numbers, ".json") != 3 {
		t.Errorf("the list holds\n%s", numbers)
	}
	// An item is changed, one is taken out of the table, and one comes.
	put("Customers/c.json", `{"Title":"Cy","City":"spoiled"}`)
	put("Customers/items.csv", "Title,City\nAnn,Bern\n")
	put("Customers/new.json", `{"Title":"Later"}`)
	run("holdfast browse get "+site+" Customers/1-999/1.json", "Lists/Customers%20Restored")
	beside, err := filepath.Glob(filepath.Join(lists, "Customers Restored *"))
	if err != nil || len(beside) != 1 {
		t.Fatalf("the item came back into %q, %v", beside, err)
	}
	if got := titles(filepath.Base(beside[0])); len(got) != 1 || !slices.Contains(want, got[0]) {
		t.Errorf("the new list holds %q", got)
	}
	run("holdfast restore run --site "+site+" --to inPlace --yes", "succeeded")
	if got := titles("Customers"); !slices.Equal(got, want) {
		t.Errorf("restored in place, the list holds %q, want %q", got, want)
	}
	// The site is found by its collection alone.
	shown := run("holdfast site show " + site)
	_, collection, ok := strings.Cut(shown, "contoso.sharepoint.com,")
	collection, _, _ = strings.Cut(collection, ",")
	if again := run("holdfast site show " + collection); !ok || again != shown {
		t.Errorf("by its address the site is\n%s\nby its collection %s\n%s", shown, collection, again)
	}
}
