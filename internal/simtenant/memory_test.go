package simtenant

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"unsafe"
)

// A drive of a million items has a million of these.
func TestAnItemIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(item{}); size > 240 {
		t.Errorf("an item takes %d bytes", size)
	}
}

// What stands before a service learns of a large drive what it may tell again, and
// no more.
func TestHostileLearnsSoMuch(t *testing.T) {
	page := 0
	hostile := NewHostile(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"value":[`)
		for i := range 1000 {
			if i > 0 {
				fmt.Fprint(w, ",")
			}
			fmt.Fprintf(w, `{"id":"%d","name":"%d.txt","size":%d}`, page*1000+i, i, page)
		}
		page++
		fmt.Fprint(w, `],"@odata.nextLink":"…"}`)
	}))
	ask := func() {
		hostile.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/v1.0/drives/x/root/delta?token=y", nil))
	}
	for range learnNames/1000 + 3 {
		ask()
	}
	if len(hostile.items) != learnItems || len(hostile.names) != learnNames {
		t.Errorf("it has learnt %d items and %d names", len(hostile.items), len(hostile.names))
	}
	before := hostile.items["7"]["size"]
	page = 0
	ask()
	if after := hostile.items["7"]["size"]; fmt.Sprint(before) != "0" || fmt.Sprint(after) != "0" {
		t.Errorf("an item that it knows was of size %v and is of %v", before, after)
	}
	page = 0
	hostile.items["7"]["size"] = 3
	ask()
	if fmt.Sprint(hostile.items["7"]["size"]) != "0" {
		t.Error("it does not learn what an item is now that it knows")
	}
}
