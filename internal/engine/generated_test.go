package engine

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/internal/quickxor"
)

// A generated source serves drives of n items each: folders of a hundred files,
// twenty folders in each. What is restored into them, or into libraries beside them, it
// keeps but for the contents.
type generated struct {
	n       int
	expired atomic.Bool
	emptied atomic.Bool  // all that was generated is gone
	phase   atomic.Int64 // 1: a fortieth of the files is another; 2: and is written over
	locked  atomic.Bool  // each file is another, and has another name
	swapped atomic.Bool  // each file is gone, and another is there by another name

	mu        sync.Mutex
	made      map[string]*writtenTo // by the number of the drive
	libraries []string              // their names
	over      map[int]bool          // the files that were written over
	named     map[int]bool          // those that have their own names again
	gone      map[int]bool          // those that are gone again, of those that came for others
	goneIn    map[int]int           // how many of them, by the folder
}

// What was written into a drive.
type writtenTo struct {
	items    []writtenItem
	children map[string]int // by the id of the folder
}

type writtenItem struct {
	parent, name, hash, times string
	size                      int
	folder                    bool
}

var (
	// inFolder is how many items are in each folder, with the folder itself: HOLDFAST_FOLDER.
	inFolder, badFolder = numberFrom("HOLDFAST_FOLDER", 101)
	// longer is by how many characters all names are longer: HOLDFAST_NAMES.
	longer, badNames = numberFrom("HOLDFAST_NAMES", 0)
)

// tail is what makes the name of an item longer.
func tail(i int) string {
	if longer == 0 {
		return ""
	}
	letters, random := make([]byte, longer), rand.New(rand.NewPCG(1, uint64(i)))
	for k := range letters {
		letters[k] = 'a' + byte(random.IntN(26))
	}
	return " " + string(letters)
}

func serveGenerated(items string) error {
	n, err := strconv.Atoi(items)
	if err := errors.Join(err, badFolder, badNames); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("http://" + l.Addr().String())
	go http.Serve(l, &generated{n: n, made: map[string]*writtenTo{}})
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func (g *generated) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasSuffix(r.URL.Path, "/token"):
		fmt.Fprint(rw, `{"token_type":"Bearer","expires_in":36000,"access_token":"x"}`)
	case r.URL.Path == "/expire":
		g.expired.Store(true)
	case r.URL.Path == "/empty":
		g.emptied.Store(true)
	case r.URL.Path == "/change":
		g.phase.Store(1)
	case r.URL.Path == "/lock":
		g.mu.Lock()
		g.over, g.named = map[int]bool{}, map[int]bool{}
		g.mu.Unlock()
		g.locked.Store(true)
		g.phase.Store(3)
	case r.URL.Path == "/swap":
		g.mu.Lock()
		g.gone, g.goneIn = map[int]bool{}, map[int]int{}
		g.mu.Unlock()
		g.locked.Store(false)
		g.swapped.Store(true)
		g.phase.Store(5)
	case r.URL.Path == "/v1.0/$batch":
		g.batch(rw, r)
	default:
		body, _ := io.ReadAll(r.Body)
		status, answer := g.answer(r, r.Method, r.URL, body, r.Header.Get("If-Match"))
		rw.WriteHeader(status)
		io.WriteString(rw, answer)
	}
}

func (g *generated) batch(rw http.ResponseWriter, r *http.Request) {
	var in struct {
		Requests []struct {
			ID, Method, URL string
			Headers         map[string]string
			Body            json.RawMessage
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	var answers []string
	for _, q := range in.Requests {
		at, err := url.Parse("/v1.0" + q.URL)
		status, answer := http.StatusBadRequest, "{}"
		if err == nil {
			var text string
			if json.Unmarshal(q.Body, &text) == nil {
				q.Body, _ = base64.URLEncoding.DecodeString(text)
			}
			status, answer = g.answer(r, q.Method, at, q.Body, q.Headers["If-Match"])
		}
		answers = append(answers, fmt.Sprintf(`{"id":%q,"status":%d,"body":%s}`, q.ID, status, answer))
	}
	fmt.Fprintf(rw, `{"responses":[%s]}`, strings.Join(answers, ","))
}

const notThere = `{"error":{"code":"itemNotFound"}}`

// answer answers a request that takes effect on what has the tag, unless that is "".
func (g *generated) answer(r *http.Request, method string, at *url.URL, body []byte, tag string) (int, string) {
	const base = "/v1.0/drives/"
	rest, ofDrive := strings.CutPrefix(at.Path, base)
	number, rest, _ := strings.Cut(rest, "/")
	number = strings.TrimPrefix(number, "drive")
	rest = strings.TrimPrefix(rest, "items/")
	id, action, _ := strings.Cut(rest, "/")
	switch {
	case strings.HasSuffix(at.Path, "/drive") && strings.HasPrefix(at.Path, "/v1.0/users/"):
		user := strings.TrimSuffix(strings.TrimPrefix(at.Path, "/v1.0/users/"), "/drive")
		return 200, fmt.Sprintf(`{"id":"drive%s","name":"Documents","driveType":"business","webUrl":"https://x/s/Documents","owner":{"user":{"id":%q}}}`, user[len(user)-4:], user)
	case strings.HasPrefix(at.Path, "/v1.0/sites/"):
		return g.library(method, at.Path, body)
	case strings.HasPrefix(at.Path, "/up/"):
		number, id, _ := strings.Cut(strings.TrimPrefix(at.Path, "/up/"), "/")
		if folder, name, isNew := strings.Cut(id, "/"); isNew {
			return 201, g.makeFile(number, folder, name, body, at.Query().Get("times"))
		}
		i, _ := strconv.Atoi(id)
		return 201, g.writeOver(number, i)
	case !ofDrive:
		return 404, notThere
	case rest == "root/delta":
		return g.delta(r, at, number)
	case rest == "root":
		return 200, g.item(number, -1)
	}
	if folder, name, ok := strings.Cut(rest, ":/"); ok { // by its name
		name, action, _ := strings.Cut(name, ":/")
		if action == "createUploadSession" {
			var in struct {
				Item struct {
					Times json.RawMessage `json:"fileSystemInfo"`
				}
			}
			json.Unmarshal(body, &in)
			up := url.URL{Scheme: "http", Host: r.Host, Path: "/up/" + number + "/" + folder + "/" + name, RawQuery: url.Values{"times": {string(in.Item.Times)}}.Encode()}
			return 200, fmt.Sprintf(`{"uploadUrl":%q}`, up.String())
		}
		now := time.Now().UTC().Format(time.RFC3339)
		return 201, g.makeFile(number, folder, name, body, fmt.Sprintf(`{"createdDateTime":%q,"lastModifiedDateTime":%q}`, now, now))
	}
	i, _ := strconv.Atoi(id[max(0, len(id)-11):])
	there := strings.HasPrefix(id, "01LIB") || !g.emptied.Load()
	if strings.HasPrefix(id, "01LIB") {
		i += g.n
	} else if there && g.swapped.Load() && i%inFolder > 0 {
		there = strings.HasPrefix(id, "01SWAP") && !g.isGone(i)
	}
	switch {
	case !there && id != g.id(number, -1):
		return 404, notThere
	case action == "content" && method == http.MethodPut:
		if tag != "" && !strings.Contains(g.item(number, i), fmt.Sprintf(`"cTag":%q`, tag)) {
			return 412, `{"error":{"code":"resourceModified"}}`
		}
		return 200, g.writeOver(number, i)
	case action == "content":
		return 200, g.content(number, i)
	case method == http.MethodDelete:
		g.mu.Lock()
		g.gone[i] = true
		g.goneIn[i/inFolder]++
		g.mu.Unlock()
		g.phase.Store(6)
		return 204, ""
	case action == "versions" && !strings.HasPrefix(id, "01LIB") && g.version(i) == 3:
		return 200, `{"value":[{"id":"3.0"},{"id":"2.0"},{"id":"1.0"}]}`
	case action == "versions" && !strings.HasPrefix(id, "01LIB") && g.version(i) == 2:
		return 200, `{"value":[{"id":"2.0"},{"id":"1.0"}]}`
	case action == "versions":
		return 200, `{"value":[{"id":"1.0"}]}`
	case action == "children" && method == http.MethodPost:
		var in struct {
			Name  string
			Times json.RawMessage `json:"fileSystemInfo"`
		}
		json.Unmarshal(body, &in)
		return 201, g.make(number, writtenItem{parent: id, name: in.Name, times: string(in.Times), folder: true})
	case action == "children":
		return 200, g.children(number, id, i)
	case action == "createUploadSession":
		return 200, fmt.Sprintf(`{"uploadUrl":"http://%s/up/%s/%d"}`, r.Host, number, i)
	case method == http.MethodPatch:
		var in struct {
			Times json.RawMessage `json:"fileSystemInfo"`
		}
		json.Unmarshal(body, &in)
		g.mu.Lock()
		if i < g.n && g.named != nil {
			g.named[i] = true
		} else if i >= g.n {
			g.made[number].items[i-g.n].times = string(in.Times)
		}
		g.mu.Unlock()
		return 200, g.item(number, i)
	case id == g.id(number, -1):
		return 200, g.item(number, -1)
	}
	return 200, g.item(number, i)
}

func (g *generated) library(method, path string, body []byte) (int, string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case strings.HasSuffix(path, "/lists"):
		var in struct {
			Name string `json:"displayName"`
		}
		json.Unmarshal(body, &in)
		g.libraries = append(g.libraries, in.Name)
		return 201, fmt.Sprintf(`{"id":"list%d"}`, len(g.libraries)-1)
	case strings.HasSuffix(path, "/drives"):
		var all []string
		for i := range g.libraries {
			all = append(all, g.libraryDrive(i))
		}
		return 200, fmt.Sprintf(`{"value":[%s]}`, strings.Join(all, ","))
	}
	_, rest, _ := strings.Cut(path, "/lists/list")
	i, _ := strconv.Atoi(strings.TrimSuffix(rest, "/drive"))
	return 200, g.libraryDrive(i)
}

// libraryDrive describes a library, whose drive's number begins with an L: nothing is
// generated in it.
func (g *generated) libraryDrive(i int) string {
	return fmt.Sprintf(`{"id":"driveL%d","name":%q,"driveType":"documentLibrary","webUrl":"https://x/s/%s"}`, i, g.libraries[i], g.libraries[i])
}

func (g *generated) makeFile(number, folder, name string, content []byte, times string) string {
	sum := quickxor.New()
	sum.Write(content)
	return g.make(number, writtenItem{parent: folder, name: name, size: len(content), hash: quickxor.Encode(sum.Sum(nil)), times: times})
}

func (g *generated) make(number string, item writtenItem) string {
	g.mu.Lock()
	w := g.made[number]
	if w == nil {
		w = &writtenTo{children: map[string]int{}}
		g.made[number] = w
	}
	w.items = append(w.items, item)
	w.children[item.parent]++
	i := g.n + len(w.items) - 1
	g.mu.Unlock()
	return g.item(number, i)
}

// delta serves a page of a drive: what is generated and then what was written. A token
// is p and the number of the first item, or d and how much had been written.
func (g *generated) delta(r *http.Request, at *url.URL, number string) (int, string) {
	const size = 200
	token := at.Query().Get("token")
	if strings.HasPrefix(token, "d") && g.expired.Load() {
		return http.StatusGone, `{"error":{"code":"resyncChangesApplyDifferences"}}`
	}
	g.mu.Lock()
	end := g.n
	if w := g.made[number]; w != nil {
		end += len(w.items)
	}
	g.mu.Unlock()
	from := 0
	var page []string
	switch {
	case token == "":
		if page = append(page, g.item(number, -1)); g.emptied.Load() || number[0] == 'L' {
			from = g.n
		}
	case token[0] == 'p':
		from, _ = strconv.Atoi(token[1:])
	default:
		text, _, _ := strings.Cut(token[1:], "-")
		written, _ := strconv.Atoi(text)
		from = g.n + written
		page = append(page, g.item(number, -1))
		if news := !strings.HasSuffix(token, g.told()) && !g.emptied.Load(); news && (g.locked.Load() || g.swapped.Load()) {
			from = 0
		} else if news {
			for i := 1; i < g.n; i += 40 {
				if i%inFolder > 0 {
					page = append(page, g.item(number, i))
				}
			}
		}
	}
	to := min(from+size, end)
	for i := from; i < to; i++ {
		if g.swapped.Load() && i < g.n && i%inFolder > 0 {
			page = append(page, fmt.Sprintf(`{"id":%q,"deleted":{},"file":{}}`, strings.Replace(g.id(number, i), "SWAP", "ABCD", 1)))
			if g.isGone(i) {
				page = append(page, fmt.Sprintf(`{"id":%q,"deleted":{},"file":{}}`, g.id(number, i)))
				continue
			}
		}
		page = append(page, g.item(number, i))
	}
	link := "http://" + r.Host + at.Path + "?token="
	next := fmt.Sprintf(`"@odata.nextLink":"%sp%d"`, link, to)
	if to >= end {
		next = fmt.Sprintf(`"@odata.deltaLink":"%s%s%d%s"`, link, map[bool]string{false: "d", true: "later"}[g.expired.Load()], end-g.n, g.told())
	}
	return 200, fmt.Sprintf(`{"value":[%s],%s}`, strings.Join(page, ","), next)
}

// told is how a token ends whose holder knows of all changes.
func (g *generated) told() string { return fmt.Sprint("-", g.phase.Load()) }

// isGone reports whether a file is gone that came for another.
func (g *generated) isGone(i int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.gone[i]
}

// version is how often a file has been another.
func (g *generated) version(i int) int {
	if i >= 0 && i < g.n && g.swapped.Load() {
		return 2
	}
	if i >= 0 && i < g.n && g.locked.Load() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.over[i] {
			return 3
		}
		return 2
	}
	if i >= 0 && i < g.n && i%40 == 1 {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.over[i] {
			return 3
		}
		return min(int(g.phase.Load()), 1) + 1
	}
	return 1
}

func (g *generated) writeOver(number string, i int) string {
	g.mu.Lock()
	if g.over == nil {
		g.over = map[int]bool{}
	}
	g.over[i] = true
	g.mu.Unlock()
	g.phase.Store(map[bool]int64{false: 2, true: 4}[g.locked.Load()])
	return g.item(number, i)
}

// children lists what is in a folder that was generated; of any other nothing, which is
// asked of a new library only.
func (g *generated) children(number, id string, i int) string {
	var all []string
	switch {
	case number[0] == 'L' || g.emptied.Load():
	case id == g.id(number, -1):
		all = append(all, g.item(number, 0))
	case i%inFolder == 0:
		for k := i + 1; k < min(g.n, i+inFolder); k++ {
			if !g.isGone(k) {
				all = append(all, g.item(number, k))
			}
		}
		for k := 20*(i/inFolder) + 1; k <= 20*(i/inFolder)+20 && k*inFolder < g.n; k++ {
			all = append(all, g.item(number, k*inFolder))
		}
	}
	return fmt.Sprintf(`{"value":[%s]}`, strings.Join(all, ","))
}

func (g *generated) content(number string, i int) string {
	if g.version(i) == 2 {
		return fmt.Sprintf("file %d of %s is another\n", i, number)
	}
	return strings.Repeat(fmt.Sprintf("file %d of %s\n", i, number), 5)
}

func (g *generated) id(number string, i int) string {
	switch {
	case i < 0:
		return "01" + number + "ROOT"
	case i >= g.n:
		return fmt.Sprintf("01LIBEFGHIJKL%s%011d", number, i-g.n)
	case i%inFolder > 0 && g.swapped.Load():
		return fmt.Sprintf("01SWAPEFGHIJKL%s%011d", number, i)
	}
	return fmt.Sprintf("01ABCDEFGHIJKL%s%011d", number, i)
}

// item describes the root, for -1, or an item.
func (g *generated) item(number string, i int) string {
	const times = `"fileSystemInfo":{"createdDateTime":"2024-03-01T10:00:00Z","lastModifiedDateTime":"2025-04-02T11:12:13Z"}`
	folders := (g.n + inFolder - 1) / inFolder
	if i < 0 {
		children := 1
		if g.emptied.Load() || number[0] == 'L' {
			g.mu.Lock()
			if children = 0; g.made[number] != nil {
				children = g.made[number].children[g.id(number, -1)]
			}
			g.mu.Unlock()
		}
		return fmt.Sprintf(`{"id":%q,"name":"root",%s,"root":{},"sharepointIds":{"siteId":"site"},"folder":{"childCount":%d}}`, g.id(number, i), times, children)
	}
	if i >= g.n {
		g.mu.Lock()
		w := g.made[number]
		is, children := w.items[i-g.n], w.children[g.id(number, i)]
		g.mu.Unlock()
		if is.folder {
			return fmt.Sprintf(`{"id":%q,"name":%q,"eTag":"\"{L%d},1\"","fileSystemInfo":%s,"parentReference":{"id":%q},"folder":{"childCount":%d}}`,
				g.id(number, i), is.name, i, is.times, is.parent, children)
		}
		return fmt.Sprintf(`{"id":%q,"name":%q,"size":%d,"eTag":"\"{L%d},1\"","cTag":"\"c:{L%d},1\"","fileSystemInfo":%s,"parentReference":{"id":%q},"file":{"hashes":{"quickXorHash":%q}}}`,
			g.id(number, i), is.name, is.size, i, i, is.times, is.parent, is.hash)
	}
	k, at := i/inFolder, i%inFolder
	if at == 0 {
		parent := -1
		if k > 0 {
			parent = (k - 1) / 20 * inFolder
		}
		children := min(g.n-i, inFolder) - 1 + max(0, min(20*k+21, folders)-(20*k+1))
		g.mu.Lock()
		if children -= g.goneIn[k]; g.made[number] != nil {
			children += g.made[number].children[g.id(number, i)]
		}
		g.mu.Unlock()
		return fmt.Sprintf(`{"id":%q,"name":"folder %d%s","eTag":"\"{e%d},1\"","cTag":"\"c:{%d},1\"",%s,"parentReference":{"id":%q},"folder":{"childCount":%d}}`,
			g.id(number, i), k, tail(i), i, i, times, g.id(number, parent), children)
	}
	content, name := g.content(number, i), fmt.Sprintf("file %06d of a drive%s.txt", i, tail(i))
	g.mu.Lock()
	if g.swapped.Load() || g.locked.Load() && !g.named[i] {
		name += ".locked"
	}
	g.mu.Unlock()
	sum := quickxor.New()
	io.WriteString(sum, content)
	return fmt.Sprintf(`{"id":%q,"name":%q,"size":%d,"eTag":"\"{AF3B1D7A-0000-4E5F-%012d},2\"","cTag":"\"c:{AF3B1D7A-0000-4E5F-%012d},%d\"",%s,"parentReference":{"id":%q},"file":{"mimeType":"text/plain","hashes":{"quickXorHash":%q}}}`,
		g.id(number, i), name, len(content), i, i, g.version(i), times, g.id(number, k*inFolder), quickxor.Encode(sum.Sum(nil)))
}
