package engine

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	runmetrics "runtime/metrics"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/jobs"
	"holdfast/internal/quickxor"
	"holdfast/internal/vault"
)

// BenchmarkLargeDrive backs up drives of very many tiny files that are nowhere
// but computed, then finds nothing changed, and then has the source take back its
// token, so that all is listed and compared. It reports the processor time, the
// most memory that was live, and that the process was resident in, for each phase.
// HOLDFAST_ITEMS says how many items each drive has, HOLDFAST_AT_ONCE how many
// drives are backed up at once, and HOLDFAST_HEAP where to leave a profile of each
// phase's fullest heap.
func BenchmarkLargeDrive(b *testing.B) {
	items, drives := 30_000, 1
	for name, n := range map[string]*int{"HOLDFAST_ITEMS": &items, "HOLDFAST_AT_ONCE": &drives} {
		if text := os.Getenv(name); text != "" {
			var err error
			if *n, err = strconv.Atoi(text); err != nil {
				b.Fatal(err)
			}
		}
	}
	for b.Loop() {
		var names []string
		for i := range drives {
			names = append(names, fmt.Sprint("user", i))
		}
		w := prepare(b, names...)
		w.startChild("ENGINE_TEST_ITEMS=" + strconv.Itoa(items))
		v, err := vault.Open(w.ctx, vault.Config{Dir: w.dir + "/vault", State: w.dir + "/state", Create: true, Password: "for tests only"})
		w.must(err)
		w.vault = v
		units := w.protectAll()
		m := measures{b: b, got: map[string]float64{}}
		for _, phase := range []string{"first", "unchanged", "resync"} {
			if phase == "resync" {
				_, err := http.Post(w.url+"/expire", "", nil)
				w.must(err)
			}
			heap := watchHeap(phase)
			before := cpu(b)
			m.phase(phase, func() {
				claimed := w.claimAll(units)
				var all sync.WaitGroup
				for _, u := range units {
					all.Go(func() {
						if _, err := w.engine.backup(w.ctx, claimed[string(u.ID)]); err != nil {
							b.Error(err)
							return
						}
						if p := w.latest(u); p.Unread != 0 || p.Files+p.Folders != int64(items) {
							b.Errorf("the point has %d files, %d folders, and lacks %d", p.Files, p.Folders, p.Unread)
						}
					})
				}
				all.Wait()
			})
			used, live := cpu(b)-before, heap()
			b.ReportMetric(used.Seconds()*1e6/float64(items*drives), phase+"-cpu-µs/item")
			b.ReportMetric(float64(live)/float64(items*drives), phase+"-live-B/item")
			b.ReportMetric(float64(peak(b)>>10), phase+"-MiB")
		}
		w.must(v.Close(w.ctx))
	}
}

// claimAll claims the backups of units together: a claim of one would take the others
// away from who is at work on them.
func (w *world) claimAll(units []backup.Unit) map[string]*jobs.Job {
	w.t.Helper()
	w.must(w.db.Tx(w.ctx, func(tx *database.Tx) error {
		for _, u := range units {
			if err := w.queue.Enqueue(w.ctx, tx, jobs.Spec{Kind: jobs.Backup, Key: string(u.ID), Tenant: w.tenant}); err != nil {
				return err
			}
		}
		return nil
	}))
	claimed, err := w.queue.Claim(w.ctx, jobs.Backup, len(units), 0, "test")
	w.must(err)
	byKey := map[string]*jobs.Job{}
	for _, j := range claimed {
		byKey[j.Key] = j
	}
	if len(byKey) != len(units) {
		w.t.Fatalf("%d jobs were claimed, want %d", len(byKey), len(units))
	}
	return byKey
}

// watchHeap returns a function that returns the most memory that was live until
// it was called.
func watchHeap(phase string) func() uint64 {
	ctx, cancel := context.WithCancel(context.Background())
	most, done := new(atomic.Uint64), make(chan struct{})
	go func() {
		defer close(done)
		profiled := uint64(0)
		for ctx.Err() == nil {
			sample := []runmetrics.Sample{{Name: "/gc/heap/live:bytes"}}
			runmetrics.Read(sample)
			if live := sample[0].Value.Uint64(); live > most.Load() {
				most.Store(live)
				if dir := os.Getenv("HOLDFAST_HEAP"); dir != "" && live > profiled+profiled/20 {
					profiled = live
					if f, err := os.Create(filepath.Join(dir, phase+".heap")); err == nil {
						pprof.WriteHeapProfile(f)
						f.Close()
					}
				}
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	runtime.GC()
	return func() uint64 {
		cancel()
		<-done
		return most.Load()
	}
}

// A generated source serves drives of n items each: folders of a hundred files,
// twenty folders in each.
type generated struct {
	n       int
	expired atomic.Bool
}

const inFolder = 101 // with the folder itself

func serveGenerated(items string) error {
	n, err := strconv.Atoi(items)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("http://" + l.Addr().String())
	go http.Serve(l, &generated{n: n})
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func (g *generated) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	const base = "/v1.0/drives/"
	rest, ofDrive := strings.CutPrefix(r.URL.Path, base)
	number, rest, _ := strings.Cut(rest, "/")
	id, content := strings.CutSuffix(strings.TrimPrefix(rest, "items/"), "/content")
	i, _ := strconv.Atoi(id[max(0, len(id)-11):])
	switch {
	case strings.HasSuffix(r.URL.Path, "/token"):
		fmt.Fprint(rw, `{"token_type":"Bearer","expires_in":36000,"access_token":"x"}`)
	case r.URL.Path == "/expire":
		g.expired.Store(true)
	case strings.HasSuffix(r.URL.Path, "/drive"):
		user := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/v1.0/users/"), "/drive")
		fmt.Fprintf(rw, `{"id":"drive%s","driveType":"business","owner":{"user":{"id":%q}}}`, user[len(user)-4:], user)
	case ofDrive && rest == "root/delta":
		g.delta(rw, r, number)
	case ofDrive && content:
		fmt.Fprint(rw, g.content(number, i))
	case ofDrive && rest == "root":
		fmt.Fprint(rw, g.item(number, -1))
	case ofDrive && strings.HasPrefix(rest, "items/"):
		fmt.Fprint(rw, g.item(number, i))
	default:
		http.Error(rw, `{"error":{"code":"itemNotFound"}}`, http.StatusNotFound)
	}
}

// delta serves a page. A token is the number of the first item, and a text before
// it.
func (g *generated) delta(rw http.ResponseWriter, r *http.Request, number string) {
	const size = 200
	token := r.URL.Query().Get("token")
	if token == "end" && g.expired.Load() {
		rw.WriteHeader(http.StatusGone)
		fmt.Fprint(rw, `{"error":{"code":"resyncChangesApplyDifferences"}}`)
		return
	}
	link := "http://" + r.Host + r.URL.Path + "?token="
	if strings.HasSuffix(token, "end") {
		fmt.Fprintf(rw, `{"value":[%s],"@odata.deltaLink":"%s%s"}`, g.item(number, -1), link, token)
		return
	}
	from, _ := strconv.Atoi(token)
	var page []string
	if from == 0 {
		page = append(page, g.item(number, -1))
	}
	for i := from; i < min(from+size, g.n); i++ {
		page = append(page, g.item(number, i))
	}
	next := fmt.Sprintf(`"@odata.nextLink":"%s%d"`, link, from+size)
	if from+size >= g.n {
		next = fmt.Sprintf(`"@odata.deltaLink":"%s%s"`, link, map[bool]string{false: "end", true: "later-end"}[g.expired.Load()])
	}
	fmt.Fprintf(rw, `{"value":[%s],%s}`, strings.Join(page, ","), next)
}

func (g *generated) content(number string, i int) string {
	return strings.Repeat(fmt.Sprintf("file %d of %s\n", i, number), 5)
}

func (g *generated) id(number string, i int) string {
	if i < 0 {
		return "01" + number + "ROOT"
	}
	return fmt.Sprintf("01ABCDEFGHIJKL%s%011d", number, i)
}

// item describes the root, for -1, or an item.
func (g *generated) item(number string, i int) string {
	const times = `"fileSystemInfo":{"createdDateTime":"2024-03-01T10:00:00Z","lastModifiedDateTime":"2025-04-02T11:12:13Z"}`
	folders := (g.n + inFolder - 1) / inFolder
	if i < 0 {
		return fmt.Sprintf(`{"id":%q,"name":"root",%s,"root":{},"folder":{"childCount":1}}`, g.id(number, i), times)
	}
	k, at := i/inFolder, i%inFolder
	if at == 0 {
		parent := -1
		if k > 0 {
			parent = (k - 1) / 20 * inFolder
		}
		children := min(g.n-i, inFolder) - 1 + max(0, min(20*k+21, folders)-(20*k+1))
		return fmt.Sprintf(`{"id":%q,"name":"folder %d","eTag":"\"{e%d},1\"","cTag":"\"c:{%d},1\"",%s,"parentReference":{"id":%q},"folder":{"childCount":%d}}`,
			g.id(number, i), k, i, i, times, g.id(number, parent), children)
	}
	content := g.content(number, i)
	sum := quickxor.New()
	io.WriteString(sum, content)
	return fmt.Sprintf(`{"id":%q,"name":"file %06d of a drive.txt","size":%d,"eTag":"\"{AF3B1D7A-0000-4E5F-%012d},2\"","cTag":"\"c:{AF3B1D7A-0000-4E5F-%012d},1\"",%s,"parentReference":{"id":%q},"file":{"mimeType":"text/plain","hashes":{"quickXorHash":%q}}}`,
		g.id(number, i), i, len(content), i, i, times, g.id(number, k*inFolder), quickxor.Encode(sum.Sum(nil)))
}
