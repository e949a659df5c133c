package simtenant

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// A mailClient uses a mailbox as a person does who is not alone in it: what it was
// about may be gone. Anything but a refusal that says so is noted.
type mailClient struct {
	w     *world
	token string
	wrong func(format string, args ...any)
}

func (c *mailClient) ask(method, address string, body any) (int, object) {
	if !strings.HasPrefix(address, "http") {
		address = c.w.srv.URL + "/v1.0" + address
	}
	data, _ := json.Marshal(body)
	r, err := http.NewRequest(method, address, bytes.NewReader(data))
	if err != nil {
		c.wrong("%s %s: %v", method, address, err)
		return 0, nil
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	resp, err := c.w.client.Do(r)
	if err != nil {
		c.wrong("%s %s: %v", method, address, err)
		return 0, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	var out object
	json.Unmarshal(text, &out)
	switch {
	case err != nil:
		c.wrong("%s %s: %v", method, address, err)
	case resp.StatusCode < 300, resp.StatusCode == 404, resp.StatusCode == 409, resp.StatusCode == 412:
	default:
		c.wrong("%s %s = %d %s", method, address, resp.StatusCode, text)
	}
	return resp.StatusCode, out
}

// one returns one of an answer's values.
func one(random *rand.Rand, answer object) (object, bool) {
	list, _ := answer["value"].([]any)
	if len(list) == 0 {
		return nil, false
	}
	v, _ := list[random.IntN(len(list))].(object)
	return v, true
}

// step does one thing to the mailbox at box of the user at me.
func (c *mailClient) step(random *rand.Rand, box, me string) {
	_, folders := c.ask("GET", box+"/folders?$top=100", nil)
	f, ok := one(random, folders)
	if !ok {
		return
	}
	folder := url.PathEscape(f["id"].(string))
	_, messages := c.ask("GET", me+"/mailFolders/"+folder+"/messages?$top=50", nil)
	m, ok := one(random, messages)
	if !ok {
		return
	}
	message := me + "/messages/" + url.PathEscape(m["id"].(string))
	other, _ := one(random, folders)
	switch random.IntN(8) {
	case 0, 1:
		c.ask("PATCH", message, object{"isRead": random.IntN(2) == 0, "flag": object{"flagStatus": []string{"flagged", "notFlagged", "complete"}[random.IntN(3)]}})
	case 2, 3:
		if other["type"] == "IPF.Note" {
			c.ask("POST", message+"/move", object{"destinationId": other["id"]})
		}
	case 4:
		c.ask("POST", message+"/copy", object{"destinationId": other["id"]})
	case 5:
		c.ask("DELETE", message, nil)
	case 6:
		if f["wellKnownName"] == nil && random.IntN(2) == 0 {
			c.ask("PATCH", box+"/folders/"+folder, object{"displayName": fmt.Sprint("renamed ", random.IntN(5))})
		} else {
			c.ask("POST", box+"/folders/"+folder+"/childFolders", object{"displayName": fmt.Sprint("made ", random.IntN(5)), "type": "IPF.Note"})
		}
	case 7:
		status, out := c.ask("POST", box+"/exportItems", object{"itemIds": []any{m["id"]}})
		v, ok := one(random, out)
		if status != 200 || !ok || v["data"] == nil {
			return
		}
		_, session := c.ask("POST", box+"/createImportSession", nil)
		c.ask("POST", fmt.Sprint(session["importUrl"]), object{"FolderId": other["id"], "Mode": "create", "Data": v["data"]})
	}
}

// disturb does one thing to a mailbox's files, as a program does that knows nothing
// of the mailbox.
func disturb(random *rand.Rand, dir string, n int) {
	at := func(elem ...string) string { return filepath.Join(append([]string{dir}, elem...)...) }
	pick := func(pattern string) string {
		found, _ := filepath.Glob(at(pattern))
		if len(found) == 0 {
			return ""
		}
		return found[random.IntN(len(found))]
	}
	write := func(path, content string) {
		os.MkdirAll(filepath.Dir(path), 0o755)
		os.WriteFile(path, []byte(content), 0o644)
	}
	text := message(fmt.Sprint("written ", n), strings.Repeat("X-Filler: x\r\n", random.IntN(20))+"X-Last: y")
	switch random.IntN(9) {
	case 0, 1:
		write(at("Inbox", fmt.Sprint(random.IntN(20), ".eml")), text)
	case 2:
		write(at("Inbox", "tmp", fmt.Sprint(n, ".host")), text)
		os.MkdirAll(at("Inbox", "new"), 0o755)
		os.Rename(at("Inbox", "tmp", fmt.Sprint(n, ".host")), at("Inbox", "new", fmt.Sprint(n, ".host")))
	case 3:
		if from := pick("Inbox/new/*"); from != "" {
			os.MkdirAll(at("Inbox", "cur"), 0o755)
			os.Rename(from, at("Inbox", "cur", filepath.Base(from)+":2,S"))
		}
	case 4:
		if from := pick("Inbox/cur/*:2,*"); from != "" {
			base, _, _ := strings.Cut(from, ":2,")
			os.Rename(from, base+":2,"+[]string{"", "F", "FS", "RS"}[random.IntN(4)])
		}
	case 5:
		tree := fmt.Sprint("tree ", random.IntN(3))
		for i := range 3 {
			write(at("Archive", tree, "deep", fmt.Sprint(i, ".eml")), text)
		}
		write(at("Calendar", fmt.Sprint(random.IntN(5), ".ics")), "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nSUMMARY:"+tree+"\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n")
	case 6:
		os.RemoveAll(at("Archive", fmt.Sprint("tree ", random.IntN(3))))
	case 7:
		if from := pick("Archive/*"); from != "" {
			os.Rename(from, at([]string{"Inbox", "Archive"}[random.IntN(2)], fmt.Sprint("moved ", random.IntN(4), filepath.Ext(from))))
		}
	case 8:
		if path := pick("Inbox/*.eml"); path != "" {
			if random.IntN(2) == 0 {
				os.Remove(path)
			} else {
				os.Rename(path, at("Archive", filepath.Base(path)))
			}
		}
	}
}

// contents returns the files that a replica's items are, by folder, as exports have
// them.
func (c *mailReplica) contents() map[string][]string {
	c.w.t.Helper()
	out := map[string][]string{}
	for folder, items := range c.items {
		for id := range items {
			for _, v := range c.w.exports(c.box, id) {
				text, _ := v["data"].(string)
				data, err := base64.StdEncoding.DecodeString(text)
				_, file, ok := readStream(data)
				if err != nil || !ok {
					c.w.t.Fatalf("export of %v in %s: %v", items[id], c.path(folder), v["error"])
				}
				out[c.path(folder)] = append(out[c.path(folder)], string(file))
			}
		}
		slices.Sort(out[c.path(folder)])
	}
	return out
}

// filesOf are the same from disk.
func filesOf(t *testing.T, dir string, tree map[string][]string) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for folder := range tree {
		for _, pattern := range []string{"*.eml", "*.ics", "*.vcf", "cur/*", "new/*"} {
			found, _ := filepath.Glob(filepath.Join(dir, folder, pattern))
			for _, path := range found {
				info, err := os.Lstat(path)
				if err != nil || !info.Mode().IsRegular() {
					continue
				}
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				out[folder] = append(out[folder], string(b))
			}
		}
		slices.Sort(out[folder])
	}
	return out
}

// While people and programs change a mailbox at the same time, no call fails that
// should not, and who follows the deltas knows in the end what is there.
func TestPlayMailboxUnderChange(t *testing.T) {
	w := newWorld(t)
	w.faults.Set(func(o *Options) { o.Mail.Concurrency, o.Mail.Requests, o.Mail.Upload = 100, 1<<30, 1<<40 })
	dir := w.mailPath(amala)
	replicas := []*mailReplica{newMailReplica(w, amala, false), newMailReplica(w, amala, true)}
	for _, c := range replicas {
		c.follow()
	}
	for round := range 3 {
		var busy sync.WaitGroup
		var mu sync.Mutex
		wrong := func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			t.Errorf(format, args...)
		}
		const steps = 60
		for worker := range 2 {
			busy.Go(func() {
				random := rand.New(rand.NewPCG(uint64(round), uint64(worker)))
				client := &mailClient{w, w.token, wrong}
				for range steps {
					client.step(random, replicas[0].box, "/users/"+amala)
				}
			})
			busy.Go(func() {
				random := rand.New(rand.NewPCG(uint64(round), uint64(worker+10)))
				for n := range 4 * steps {
					disturb(random, dir, (round*10+worker)*1000+n)
				}
			})
		}
		done := make(chan struct{})
		go func() { busy.Wait(); close(done) }()
		for quiet := false; !quiet; {
			select {
			case <-done:
				quiet = true
			default:
			}
			for _, c := range replicas {
				c.follow() // once more when it is quiet
			}
		}
		for i, c := range replicas {
			c.check(amala)
			tree := c.tree()
			if diff := gocmp.Diff(filesOf(t, dir, tree), c.contents()); diff != "" {
				t.Fatalf("replica %d: what is exported differs from the files (-files +exports):\n%s", i, diff)
			}
		}
		if t.Failed() {
			return
		}
	}
	if n := len(replicas[1].folders); n < 15 {
		t.Errorf("there are %d folders only: little can have happened", n)
	}
}
