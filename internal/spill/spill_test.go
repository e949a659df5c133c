package spill

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"
)

// small returns a table that has most of what it has in files.
func small(dir string) *Table {
	t := New(dir)
	t.listed, t.index.fresh, t.at.most = 1000, 3000, 1000
	return t
}

// A table says what a map would, whether it is in memory or in the file, and keeps
// the order in which keys came.
func TestTable(t *testing.T) {
	for _, keys := range []int{0, 1, 100, 20_000} {
		table := small(t.TempDir())
		defer table.Close()
		r := rand.New(rand.NewPCG(1, uint64(keys)))
		want := map[string]string{}
		var order []string
		for range 2 * keys {
			key := fmt.Sprintf("key %d", r.IntN(keys))
			value := strings.Repeat(key, r.IntN(4)*r.IntN(4))
			if r.IntN(500) == 0 {
				value = strings.Repeat("long ", r.IntN(20_000))
			}
			_, known := want[key]
			if _, found := table.Find(key); found != known {
				t.Fatalf("%d keys: Find(%s) = %v, want %v", keys, key, found, known)
			}
			i := table.Put(key, value)
			if !known {
				order = append(order, key)
			}
			if order[i] != key {
				t.Fatalf("%d keys: %s has the number %d, which is that of %s", keys, key, i, order[i])
			}
			want[key] = value
			if other := r.IntN(len(order)); other != i && table.Order(other) >= table.Order(i) {
				t.Fatalf("%d keys: %s was put last and does not come last", keys, key)
			}
		}
		if table.Len() != len(want) {
			t.Errorf("%d keys: Len() = %d, want %d", keys, table.Len(), len(want))
		}
		for _, in := range []string{"order", "no order"} {
			for n := range order {
				if in == "no order" {
					n = r.IntN(len(order))
				}
				if key, value := table.Get(n); key != order[n] || value != want[key] {
					t.Fatalf("%d keys in %s: Get(%d) = %.20q, %.20q, want %.20q, %.20q", keys, in, n, key, value, order[n], want[order[n]])
				}
			}
		}
		for _, n := range []int{-1, len(order)} {
			if key, value := table.Get(n); key+value != "" {
				t.Errorf("%d keys: Get(%d) = %q, %q", keys, n, key, value)
			}
		}
		if err := table.Err(); err != nil {
			t.Errorf("%d keys: %v", keys, err)
		}
	}
}

// A table that cannot write, or cannot read what it wrote, has nothing and says so:
// a key that is not found is no word on that key.
func TestFailedTable(t *testing.T) {
	dir := t.TempDir()
	full := New(dir + "/is not there")
	for i := range 10_000 {
		full.Put(fmt.Sprint(i), strings.Repeat("x", 100))
	}
	if _, found := full.Find("1"); found || full.Err() == nil {
		t.Errorf("without a folder it finds %v, and its error is %v", found, full.Err())
	}

	torn := New(dir)
	for i := range 10_000 {
		torn.Put(fmt.Sprint(i), strings.Repeat("x", 100))
	}
	if torn.Err() != nil || torn.file == nil {
		t.Fatalf("the file is %v, the error %v", torn.file, torn.Err())
	}
	if err := torn.file.Truncate(1000); err != nil {
		t.Fatal(err)
	}
	if _, value := torn.Get(5000); value != "" || torn.Err() == nil {
		t.Errorf("of a torn file it returns %q, and its error is %v", value, torn.Err())
	}
	if _, found := torn.Find("9999"); found {
		t.Error("a table that failed finds what is still in memory")
	}
	torn.Close()
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("it left %v, %v", files, err)
	}
	if torn.Put("key", "value"); torn.Err() == nil {
		t.Error("a closed table has no error")
	}
}

// What a file system gives back for what was written is not believed.
func TestRottenTable(t *testing.T) {
	table := New(t.TempDir())
	defer table.Close()
	for i := range 10_000 {
		table.Put(fmt.Sprint("key ", i), strings.Repeat("x", 100))
	}
	if _, err := table.file.WriteAt([]byte("y"), 50); err != nil { // in the value of the first
		t.Fatal(err)
	}
	if key, value := table.Get(0); key+value != "" || table.Err() == nil {
		t.Errorf("it returns %q, %q, and its error is %v", key, value, table.Err())
	}
}

// Nor is what it gives back of where records are.
func TestRottenIndex(t *testing.T) {
	for name, of := range map[string]func(*Table) *list{
		"where records are": func(t *Table) *list { return t.at }, "keys' numbers": func(t *Table) *list { return t.index.sorted },
	} {
		for _, how := range []string{"rots", "is cut", "is another page"} {
			table := small(t.TempDir())
			defer table.Close()
			for i := range 20_000 {
				table.Put(fmt.Sprint("key ", i), "")
			}
			file := of(table).file
			if file == nil || table.Err() != nil {
				t.Fatalf("%s: the file is %v, the error %v", name, file, table.Err())
			}
			var err error
			switch how {
			case "rots":
				for at := int64(0); at < 150*pageSize && err == nil; at += pageSize {
					_, err = file.WriteAt([]byte("y"), at+100)
				}
			case "is cut":
				err = file.Truncate(1000)
			default:
				page := make([]byte, pageSize)
				_, err = file.ReadAt(page, 0)
				for at := int64(1); at < 150 && err == nil; at++ {
					_, err = file.WriteAt(page, at*pageSize)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i < 20_000 && table.Err() == nil; i += 100 {
				if _, found := table.Find(fmt.Sprint("key ", i)); !found && table.Err() == nil {
					t.Fatalf("%s %s: key %d is not found, and there is no error", name, how, i)
				}
			}
			if table.Err() == nil {
				t.Errorf("%s %s, and there is no error", name, how)
			}
		}
	}
}

// Where there is no folder for them, a table fails when it would need one.
func TestNoRoomForIndex(t *testing.T) {
	for _, records := range []bool{true, false} {
		table := small(t.TempDir())
		if records {
			table.write()
		}
		table.dir = "is/not/there"
		table.at.dir = table.dir
		for i := range 20_000 {
			table.Put(fmt.Sprint("key ", i), "")
		}
		if _, found := table.Find("key 1"); found || table.Err() == nil {
			t.Errorf("it finds %v, and its error is %v", found, table.Err())
		}
		table.Close()
	}
}

func TestValue(t *testing.T) {
	at := time.Date(2024, 2, 3, 4, 5, 6, 789, time.UTC)
	var w Writer
	for _, n := range []int64{0, -1, math.MinInt64, math.MaxInt64} {
		w.Int(n)
	}
	w.Text("")
	w.Text("text \xff\x00")
	w.Bool(true)
	w.Bool(false)
	w.Time(time.Time{})
	w.Time(at.In(time.FixedZone("", 3600)))
	w.Time(at.AddDate(-1000, 0, 0))
	r := Reader(w)
	got := []any{r.Int(), r.Int(), r.Int(), r.Int(), r.Text(), r.Text(), r.Bool(), r.Bool(), r.Time(), r.Time(), r.Time()}
	want := []any{int64(0), int64(-1), int64(math.MinInt64), int64(math.MaxInt64), "", "text \xff\x00", true, false, time.Time{}, at, at.AddDate(-1000, 0, 0)}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("part %d is %v, want %v", i, got[i], want[i])
		}
	}
	if r != "" || r.Int() != 0 || r.Text() != "" || r.Bool() || !r.Time().IsZero() {
		t.Errorf("beyond the end is something: %q", r)
	}
	for _, broken := range []Reader{"\xff", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "\x7fx"} {
		r := broken
		if got := r.Text(); len(got) > 1 || r.Int() != 0 {
			t.Errorf("of %q it takes %q", broken, got)
		}
	}
}

func BenchmarkTable(b *testing.B) {
	const keys = 300_000
	table := New(b.TempDir())
	defer table.Close()
	value := strings.Repeat("x", 200)
	for i := range keys {
		table.Put(fmt.Sprintf("01ABCDEFGHIJKLMNOPQRS%013d", i), value)
	}
	b.Run("random", func(b *testing.B) {
		for b.Loop() {
			table.Find(fmt.Sprintf("01ABCDEFGHIJKLMNOPQRS%013d", rand.IntN(keys)))
		}
	})
	b.Run("one after the other", func(b *testing.B) {
		i := 0
		for b.Loop() {
			table.Get(i % keys)
			i++
		}
	})
}
