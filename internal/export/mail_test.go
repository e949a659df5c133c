package export

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/backup"
	"holdfast/internal/vault"
)

// letters are messages of a mailbox, by folder and subject; "" of one without MIME.
var letters = map[string]map[string]string{
	"Inbox": {
		"plain":  "Return-Path: <bob@contoso.com>\r\nSubject: plain\r\n\r\nHello\r\n",
		"From":   "From: Ann <ann@contoso.com>\r\nSubject: From\r\n\r\nFrom here\r\n>From there\r\n>>From nowhere\r\n From far\r\nFrom: not\r\n\r\nFrom the end",
		"long":   "Subject: long\r\n\r\n" + strings.Repeat("From x ", 40_000) + "\r\nFrom y\r\n",
		"binary": "Subject: binary\r\n\r\n\x00\xff lone\rcr\nlone lf\r\n\r\n\r\n",
		"none":   "",
	},
	"Inbox/Plans/2026": {"plan": "Subject: plan\r\nFrom: nobody\r\n\r\nA plan.\r\n"},
	"Sent Items":       {"sent": "Subject: sent\r\n\r\n"},
	"Empty":            {},
	"Calendar":         {"event": "", "other event": ""},
}

// mailbox puts letters into a vault as a mailbox is there, and returns the point's tree.
// Those that are damaged are longer by what the vault says than they are.
func (w *world) mailbox(damaged ...string) string {
	u, err := w.v.Begin(w.Context(), drive, "", "")
	w.must(err)
	defer u.Close()
	folder := func(id, parent backup.ItemID, name string) {
		u.Put(vault.Entry{ID: id, Parent: parent, Name: name, Kind: backup.Folder, Modified: modified})
	}
	content := func(text string) (string, int64) {
		c, err := u.Write(w.Context(), "x", strings.NewReader(text))
		w.must(err)
		return c.ID, int64(len(text))
	}
	put := func(e vault.Entry, text string) {
		e.Kind, e.Created, e.Modified = backup.File, modified, modified
		e.Content, e.Size = content(text)
		if slices.Contains(damaged, e.Name) {
			e.Size += 7
		}
		u.Put(e)
	}
	folder("top", "", "root")
	made := map[string]bool{}
	for at, in := range letters {
		parent := backup.ItemID("top")
		path := ""
		for name := range strings.SplitSeq(at, "/") {
			path += "/" + name
			id := backup.ItemID("folder " + path)
			if !made[path] {
				made[path] = true
				folder(id, parent, name)
				class := "IPF.Note"
				if name == "Calendar" {
					class = "IPF.Appointment"
				}
				put(vault.Entry{ID: id + ",folder", Parent: id, Name: "folder.json"}, `{"type":"`+class+`"}`)
			}
			parent = id
		}
		for subject, text := range in {
			month := "2026-0" + string('1'+rune(len(subject)%3))
			if !made[path+month] {
				made[path+month] = true
				folder(parent+backup.ItemID(","+month), parent, month)
			}
			in := parent + backup.ItemID(","+month)
			id := backup.ItemID(at + " " + subject)
			stream, _ := content("stream of " + subject)
			put(vault.Entry{ID: id, Parent: in, Name: subject + ".fts"}, "stream of "+subject)
			if text != "" {
				put(vault.Entry{ID: id + ",eml", Parent: in, Name: subject + ".eml", CTag: stream}, text)
			}
		}
	}
	s, err := u.Seal(w.Context(), modified, vault.PointInfo{Workload: backup.Exchange})
	w.must(err)
	return s.Tree
}

// asUnix is a message with the ends of lines that an mbox has.
func asUnix(text string) string {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text
}

var quoted = regexp.MustCompile(`(?m)^>(>*From )`)

// readMbox reads an mbox, and wants of each message that its first line says from whom.
func (w *world) readMbox(name string) (all []string) {
	w.Helper()
	data, err := os.ReadFile(name)
	w.must(err)
	if !strings.HasSuffix(string(data), "\n\n") {
		w.Errorf("%s ends as %q", name, data[max(0, len(data)-20):])
	}
	for part := range strings.SplitSeq(strings.TrimSuffix(strings.TrimPrefix(string(data), "From "), "\n\n"), "\n\nFrom ") {
		first, text, _ := strings.Cut(part, "\n")
		from, date, _ := strings.Cut(first, " ")
		if at, err := time.Parse(time.ANSIC, date); err != nil || !at.Equal(modified) || from == "" {
			w.Errorf("%s: a message begins with %q", name, first)
		}
		all = append(all, quoted.ReplaceAllString(text+"\n", "$1"))
	}
	slices.Sort(all)
	return all
}

// python reads an mbox by Python's own module, which does not take the quotes away.
const python = `import mailbox, sys, json, re
print(json.dumps(sorted(re.sub(rb'(?m)^>(>*From )', rb'\1', box.get_bytes(k)).decode('latin-1') for box in [mailbox.mbox(sys.argv[1])] for k, m in box.items())))`

func (w *world) pythonReads(name string) (all []string) {
	w.Helper()
	out, err := exec.Command("python3", "-c", python, name).Output()
	w.must(err)
	w.must(json.Unmarshal(out, &all))
	return all
}

func (w *world) mail(tree string, m Messages) (Report, string) {
	w.Helper()
	dir := filepath.Join(w.TempDir(), "out")
	to, err := OpenFolder(dir)
	w.must(err)
	defer to.Close()
	m.Temp = filepath.Dir(dir)
	r, err := Mail(w.Context(), w.v, tree, m, to, nil)
	w.must(err)
	if left, err := filepath.Glob(filepath.Join(m.Temp, partial+"*")); err != nil || len(left) > 0 {
		w.Errorf("it leaves %v", left)
	}
	return r, dir
}

// A mailbox becomes an mbox for each folder, which others read; what has no MIME is named.
func TestMailIsExportedAsMbox(t *testing.T) {
	w := newWorld(t)
	tree := w.mailbox()
	r, dir := w.mail(tree, Messages{Form: Mbox})
	if r.Messages != 6 || r.Files != 3 || r.Failed != 1 || len(r.Remarks) != 2 {
		t.Errorf("the report is %+v", r)
	}
	for _, m := range r.Remarks {
		if m.Path == "Inbox/none.fts" && !errors.Is(m.Err, errNoMIME) || m.Path == "Calendar/*" && !strings.HasPrefix(m.Note, "2 items are no messages") {
			t.Errorf("it remarks %+v", m)
		}
	}
	for at, in := range letters {
		var want []string
		for _, text := range in {
			if text != "" {
				want = append(want, asUnix(text))
			}
		}
		name := filepath.Join(dir, at+".mbox")
		if slices.Sort(want); want == nil {
			if _, err := os.Stat(name); err == nil {
				t.Errorf("%s is there", name)
			}
			continue
		}
		if diff := cmp.Diff(want, w.readMbox(name)); diff != "" {
			t.Errorf("%s: %s", at, diff)
		}
		if _, err := exec.LookPath("python3"); err == nil {
			latin := make([]string, len(want))
			for i, text := range want {
				var s []rune
				for _, b := range []byte(text) {
					s = append(s, rune(b))
				}
				latin[i] = string(s)
			}
			slices.Sort(latin)
			if diff := cmp.Diff(latin, w.pythonReads(name)); diff != "" {
				t.Errorf("%s, by Python: %s", at, diff)
			}
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, "Inbox.mbox"))
	w.must(err)
	for _, line := range []string{"From bob@contoso.com Sun Mar  1 12:30:10 2026\n", "From ann@contoso.com Sun", "From - Sun"} {
		if !strings.Contains(string(data), line) {
			t.Errorf("the mbox has no line %q", line)
		}
	}

	// Once more, and nothing is written again.
	to, err := OpenFolder(dir)
	w.must(err)
	defer to.Close()
	if r, err = Mail(w.Context(), w.v, tree, Messages{Form: Mbox, Temp: w.TempDir()}, to, nil); err != nil || r.There != 3 {
		t.Errorf("the second time the report is %+v, %v", r, err)
	}
}

// What is chosen is exported: a folder, or what a search found, into one file or as files.
func TestMailIsChosen(t *testing.T) {
	w := newWorld(t)
	tree := w.mailbox()
	r, dir := w.mail(tree, Messages{At: "Inbox/Plans", Form: Mbox})
	if got := w.readMbox(filepath.Join(dir, "Plans/2026.mbox")); r.Messages != 1 || r.Files != 1 || len(got) != 1 {
		t.Errorf("of a folder: %+v, %q", r, got)
	}
	found := func(id backup.ItemID) (bool, error) {
		return id == "Inbox none" || id == "Inbox plain" || id == "Sent Items sent" || id == "Calendar event", nil
	}
	r, dir = w.mail(tree, Messages{Form: Mbox, One: "all.mbox", Only: found})
	if got := w.readMbox(filepath.Join(dir, "all.mbox")); r.Messages != 2 || r.Files != 1 || r.Failed != 2 || len(got) != 2 {
		t.Errorf("of a search: %+v, %q", r, got)
	}
	r, dir = w.mail(tree, Messages{Form: EML, Only: found})
	if got, err := os.ReadFile(filepath.Join(dir, "Inbox/plain.eml")); err != nil || string(got) != letters["Inbox"]["plain"] || r.Messages != 2 || r.Files != 2 || r.Failed != 2 {
		t.Errorf("as files: %+v, %q, %v", r, got, err)
	}
	if _, err := Mail(w.Context(), w.v, tree, Messages{At: "Inbox/2026-01", Form: EML}, nil, nil); !errors.Is(err, ErrNoPath) {
		t.Errorf("of a month: %v", err)
	}
}

// A message that is damaged in the vault is named, and the mbox has the others whole.
func TestDamagedMailIsNamed(t *testing.T) {
	w := newWorld(t)
	r, dir := w.mail(w.mailbox("long.eml"), Messages{At: "Inbox", Form: Mbox})
	if got := w.readMbox(filepath.Join(dir, "Inbox.mbox")); r.Failed != 2 || r.Messages != 4 || len(got) != 3 {
		t.Errorf("the report is %+v, and the mbox has %d messages", r, len(got))
	}
	if !slices.ContainsFunc(r.Remarks, func(m Remark) bool { return m.Path == "Inbox/long.fts" && errors.Is(m.Err, vault.ErrDamaged) }) {
		t.Errorf("it remarks %+v", r.Remarks)
	}
}
