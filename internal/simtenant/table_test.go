package simtenant

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// rowsOf are a list's items by their numbers.
func (w *world) rowsOf(list string) map[string]string {
	w.t.Helper()
	out := map[string]string{}
	for _, v := range w.must(200, "GET", list+"/items?$expand=fields", nil).body["value"].([]any) {
		f := v.(object)["fields"].(object)
		out[v.(object)["id"].(string)] = fmt.Sprint(f["Title"], " ", f["Price"], " ", f["Done"], " ", f["Code"])
	}
	return out
}

// The rows of items.csv are items, which keep their numbers while the table changes.
func TestATableIsAList(t *testing.T) {
	w := newWorld(t)
	w.put("sales/lists/Offers/list.json", `{"columns":[{"name":"Price","currency":{}},{"name":"Done","boolean":{}},{"name":"Code","text":{}}]}`)
	w.put("sales/lists/Offers/items.csv", "\xef\xbb\xbfTitle,Price,Done,Code\r\nAlpha,9.5,yes,007\r\n\"Beta, the second\",12,no,\r\nGamma,1,,x\r\n")
	w.put("sales/lists/Offers/own.json", `{"Title":"Own"}`)
	list := w.site("sales") + "/lists/Offers"
	first := w.rowsOf(list)
	number := func(title string) string {
		for id, row := range first {
			if strings.HasPrefix(row, title) {
				return id
			}
		}
		t.Fatalf("%s is not among %v", title, first)
		return ""
	}
	alpha, beta, gamma, own := number("Alpha"), number("Beta"), number("Gamma"), number("Own")
	if first[alpha] != "Alpha 9.5 true 007" || first[beta] != "Beta, the second 12 false <nil>" || len(first) != 4 {
		t.Errorf("the items are %v", first)
	}
	link := w.must(200, "GET", list+"/items/delta?token=latest", nil).text("@odata.deltaLink")

	// A client changes one, another program puts a row in front and edits the last.
	w.must(200, "PATCH", list+"/items/"+alpha+"/fields", object{"Price": 10})
	w.restart()
	list = w.site("sales") + "/lists/Offers"
	w.put("sales/lists/Offers/items.csv", "Title;Price;Done;Code\nNew;3;1;\nAlpha;9.5;yes;007\n\"Beta, the second\";12;no;\nGamma;2;;x\n")
	now := w.rowsOf(list)
	if now[alpha] != "Alpha 10 true 007" || now[beta] != first[beta] || now[own] != first[own] || len(now) != 5 {
		t.Errorf("after the change the items are %v", now)
	}
	// Which of the two that are others took the place of Gamma is told by order.
	if now[gamma] != "New 3 true <nil>" {
		t.Errorf("the first other row has not taken Gamma's place: %v", now)
	}
	var told []string
	for _, v := range w.must(200, "GET", w.here(link), nil).body["value"].([]any) {
		told = append(told, v.(object)["id"].(string))
	}
	if slices.Contains(told, beta) || !slices.Contains(told, alpha) || !slices.Contains(told, gamma) {
		t.Errorf("told are %v", told)
	}

	// What is no table leaves the list as it is, and no table has no rows.
	w.put("sales/lists/Offers/items.csv", "Title\n\"torn")
	if got := w.rowsOf(list); len(got) != 5 {
		t.Errorf("a torn table: %v", got)
	}
	w.put("sales/lists/Offers/items.csv", "Title,Price,Done,Code\nAlpha,9.5,yes,007\n")
	if got := w.rowsOf(list); len(got) != 2 || got[alpha] == "" || got[own] == "" {
		t.Errorf("a shorter table: %v", got)
	}
	w.must(204, "DELETE", list+"/items/"+alpha, nil)
	if got := w.rowsOf(list); len(got) != 1 {
		t.Errorf("what a client deleted comes back: %v", got)
	}
}

// Who is killed while a table is taken up makes no row twice.
func TestATableIsTakenUpAfterADeath(t *testing.T) {
	w := newWorld(t)
	w.put("sales/lists/Offers/items.csv", "Title\nAlpha\nBeta\n")
	list := w.site("sales") + "/lists/Offers"
	w.rowsOf(list)
	noted, _ := filepath.Glob(filepath.Join(w.cfg.State, "drives", "*.table.json"))
	if len(noted) != 1 {
		t.Fatalf("noted in %v", noted)
	}
	w.stop()
	// As it is noted when the second row was about to be written.
	data, err := os.ReadFile(noted[0])
	if err != nil {
		t.Fatal(err)
	}
	var begun table
	if err := json.Unmarshal(data, &begun); err != nil {
		t.Fatal(err)
	}
	begun.Mtime, begun.Size, begun.Rows[1].Sum = moment{}, 0, ""
	if data, err = json.Marshal(begun); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(noted[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	w.start()
	if got := w.rowsOf(w.site("sales") + "/lists/Offers"); len(got) != 2 {
		t.Errorf("the items are %v", got)
	}
}
