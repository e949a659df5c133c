package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"mime"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A corpus makes the files of the demo and does to them what disasters do. The
// same seed makes the same files.
type corpus struct{ rand *rand.Rand }

func newCorpus(seed uint64) corpus { return corpus{rand.New(rand.NewPCG(seed, 0))} }

// write puts a file of n bytes at dir/path, last changed at some moment of the
// past year, which is a whole number of milliseconds.
func (c corpus) write(dir, path string, n int, binary bool) error {
	name := filepath.Join(dir, filepath.FromSlash(path))
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	data := c.text(n)
	if binary {
		data = c.bytes(n)
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		return err
	}
	const year = 365 * 24 * 60 * 60 * 1000
	at := time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(c.rand.Int64N(year)) * time.Millisecond)
	return os.Chtimes(name, at, at)
}

func (c corpus) bytes(n int) []byte {
	data := make([]byte, (n+7)/8*8)
	for i := 0; i < len(data); i += 8 {
		v := c.rand.Uint64()
		for j := range 8 {
			data[i+j] = byte(v >> (8 * j))
		}
	}
	return data[:n]
}

var words = strings.Fields(`the a of and to in budget invoice report meeting customer
	quarter plan draft review contract delivery invoice order travel project team
	minutes decision offer price answer question letter März Über façade naïve`)

func (c corpus) text(n int) []byte {
	var b bytes.Buffer
	for b.Len() < n {
		b.WriteString(words[c.rand.IntN(len(words))])
		b.WriteByte(" \n"[c.rand.IntN(12)/11])
	}
	return b.Bytes()[:n]
}

// office fills dir with many small files under all kinds of names.
func (c corpus) office(dir string) error {
	odd := []string{
		"Übersicht – März.txt", "日本語/四半期レポート.md", "🎉 Party/guest list 🥳.csv",
		"100 % sure/50%25 discount.txt", "#1 priority/ticket #42.md", "a  b   c.txt",
		"it's + that = this & more; really, (v2) [final] {x}.txt", "no extension", ".hidden", "UPPER/Lower.TXT",
		"percent%20encoded%2Fname.txt", "ﬁnal ａｂｃ.txt", "مرحبا/שלום.txt", "dots.in..the...name.txt",
		"~tilde ^caret `tick`.txt", strings.Repeat("long ", 40) + "name.txt",
	}
	for i, name := range odd {
		if err := c.write(dir, name, 200+i*137, false); err != nil {
			return err
		}
	}
	for i := range 360 {
		name := fmt.Sprintf("Documents/%d/%s %03d.txt", 2019+i%6, words[c.rand.IntN(len(words))], i)
		if err := c.write(dir, name, c.rand.IntN(24_000), false); err != nil {
			return err
		}
	}
	return errors.Join(c.write(dir, "Documents/empty.txt", 0, false), c.write(dir, "Documents/one byte", 1, true))
}

// photos fills dir with a few large files that do not compress.
func (c corpus) photos(dir string) error {
	for i := range 14 {
		if err := c.write(dir, fmt.Sprintf("Pictures/Holiday %d/IMG_%04d.jpg", 2023+i%3, 1000+i), 600_000+c.rand.IntN(800_000), true); err != nil {
			return err
		}
	}
	return c.write(dir, "Videos/first steps.mp4", 7<<20+123, true)
}

// project fills dir with a deep path, empty folders' neighbours and files of
// every size about the borders that storage likes to have.
func (c corpus) project(dir string) error {
	deep := "src"
	for i := range 14 {
		deep += fmt.Sprintf("/level %02d", i+1)
		if err := c.write(dir, deep+"/notes.md", 300, false); err != nil {
			return err
		}
	}
	for _, n := range []int{0, 1, 4095, 4096, 4097, 65_535, 65_536, 327_679, 327_680, 327_681, 1 << 20, 4<<20 + 1} {
		if err := c.write(dir, fmt.Sprintf("sizes/%d bytes.bin", n), n, true); err != nil {
			return err
		}
	}
	for i := range 120 {
		if err := c.write(dir, fmt.Sprintf("src/module %c/file%03d.go", 'a'+i%8, i), 100+c.rand.IntN(9_000), false); err != nil {
			return err
		}
	}
	return nil
}

// library fills dir with what a team shares.
func (c corpus) library(dir string) error {
	for i := range 60 {
		name := fmt.Sprintf("%s/Campaign %d/%s %02d.docx", []string{"Plans", "Briefs – Entwürfe", "Press & PR"}[i%3], 1+i%4, words[c.rand.IntN(len(words))], i)
		if err := c.write(dir, name, c.rand.IntN(60_000), i%2 == 0); err != nil {
			return err
		}
	}
	return nil
}

// offers makes dir a list, with columns, of offers.
func (c corpus) offers(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	write := func(name string, content any) error {
		data, err := asListed(content)
		return errors.Join(err, os.WriteFile(filepath.Join(dir, name), data, 0o644))
	}
	err := write("list.json", map[string]any{"displayName": "Offers", "columns": []map[string]any{
		{"name": "Price", "number": struct{}{}}, {"name": "Customer", "text": struct{}{}},
	}})
	for i := range 40 {
		err = errors.Join(err, write(fmt.Sprintf("offer %02d.json", i), map[string]any{
			"Title": fmt.Sprintf("Offer %d, %s", i, words[c.rand.IntN(len(words))]), "Price": 10 + c.rand.IntN(990), "Customer": c.name(),
		}))
	}
	return err
}

// asListed is the JSON of an item as the simulated tenant writes it.
func asListed(item any) ([]byte, error) {
	data, err := json.MarshalIndent(item, "", "  ")
	return append(data, '\n'), err
}

// reprice sets the prices of a third of the list in dir to nothing, and returns
// how many.
func (c corpus) reprice(dir string) (int, error) {
	files, err := filepath.Glob(filepath.Join(dir, "offer *.json"))
	n := 0
	for i, name := range files {
		if i%3 > 0 {
			continue
		}
		var item map[string]any
		data, e := os.ReadFile(name)
		if err = errors.Join(err, e, json.Unmarshal(data, &item)); err != nil {
			return n, err
		}
		item["Price"] = 0
		if data, err = asListed(item); err == nil {
			err = os.WriteFile(name, data, 0o644)
		}
		n++
	}
	return n, err
}

// demoSubject is the subject of one message of a mailbox, from conrad.
const demoSubject = "The contract, signed"

// mail fills dir, a mailbox, with messages.
func (c corpus) mail(dir string) error {
	at := time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)
	for i := range 60 {
		from, subject := c.name(), strings.TrimSpace(string(c.text(30)))
		if i == 17 {
			from, subject = "conrad", demoSubject
		}
		at = at.Add(time.Duration(1+c.rand.IntN(200_000)) * time.Second)
		text := fmt.Sprintf("Date: %s\r\nFrom: %s <%s@contoso.com>\r\nTo: Amala Rao <amala@contoso.com>\r\nSubject: %s\r\nMessage-ID: <demo-%d@contoso.com>\r\nMIME-Version: 1.0\r\n",
			at.Format(time.RFC1123Z), from, from, mime.QEncoding.Encode("utf-8", strings.ReplaceAll(subject, "\n", " ")), i)
		if i%4 == 0 {
			text += "Content-Type: multipart/mixed; boundary=part\r\n\r\n--part\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + string(c.text(400)) +
				"\r\n--part\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename=\"offer.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
				base64.StdEncoding.EncodeToString(c.bytes(6_000)) + "\r\n--part--\r\n"
		} else {
			text += "Content-Type: text/plain; charset=utf-8\r\n\r\n" + string(c.text(800)) + "\r\n"
		}
		name := filepath.Join(dir, []string{"Inbox", "Inbox/Projects", "Archive"}[i%3], fmt.Sprintf("%02d.eml", i))
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644), os.Chtimes(name, at, at)); err != nil {
			return err
		}
	}
	return nil
}

// name is that of somebody.
func (c corpus) name() string {
	return []string{"conrad", "lothar", "mira", "noor", "pavel"}[c.rand.IntN(5)]
}

// unmail deletes the messages of the inbox of a mailbox in dir, and of what is
// below it, and returns how many.
func (c corpus) unmail(dir string) (int, error) {
	files, err := filesBelow(filepath.Join(dir, "Inbox"))
	for _, name := range files {
		err = errors.Join(err, os.Remove(name))
	}
	return len(files), err
}

// encrypt does what ransomware does: every file below dir is overwritten with
// noise and renamed. It returns how many there were.
func (c corpus) encrypt(dir string) (int, error) {
	files, err := filesBelow(dir)
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			return 0, err
		}
		if err := os.WriteFile(name, c.bytes(int(info.Size())+32), 0o644); err != nil {
			return 0, err
		}
		if err := os.Rename(name, name+".locked"); err != nil {
			return 0, err
		}
	}
	return len(files), err
}

// empty removes everything below dir, and returns how many files there were.
func (c corpus) empty(dir string) (int, error) {
	files, err := filesBelow(dir)
	if err != nil {
		return 0, err
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return len(files), err
}

// edit does what a bad afternoon does: of the files below dir it changes some,
// deletes some, moves some, and adds new ones. It returns how many it touched.
func (c corpus) edit(dir string) (int, error) {
	files, err := filesBelow(dir)
	if err != nil {
		return 0, err
	}
	touched := 0
	for i, name := range files {
		var err error
		switch i % 10 {
		case 1:
			err = os.WriteFile(name, c.text(500), 0o644)
		case 3:
			err = os.Remove(name)
		case 5:
			err = os.Rename(name, filepath.Join(dir, fmt.Sprintf("moved %d %s", i, filepath.Base(name))))
		case 7:
			err = os.WriteFile(name+" (copy)", c.bytes(2_000), 0o644)
		default:
			continue
		}
		if err != nil {
			return 0, err
		}
		touched++
	}
	return touched, os.MkdirAll(filepath.Join(dir, "New folder", "inside"), 0o755)
}

// filesBelow returns the paths of all files below dir, in order.
func filesBelow(dir string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	})
	return files, err
}

// A picture is what a folder holds, by path below it: every folder, and every
// file with its content and the moment of its last change.
type picture map[string]pictured

type pictured struct {
	folder   bool
	size     int64
	hash     [sha256.Size]byte
	modified int64 // seconds, of which drives keep whole ones; 0 for a folder, whose time moves with what is in it
}

// takePicture reads everything below dir.
func takePicture(dir string) (picture, error) {
	p := picture{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil || rel == "." {
			return err
		}
		if d.IsDir() {
			p[filepath.ToSlash(rel)] = pictured{folder: true}
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		h := sha256.New()
		n, err := io.Copy(h, f)
		p[filepath.ToSlash(rel)] = pictured{size: n, hash: [sha256.Size]byte(h.Sum(nil)), modified: info.ModTime().Unix()}
		return err
	})
	return p, err
}

// timeless is p without the moments of changes, which Graph keeps for itself where
// it is of lists.
func (p picture) timeless() picture {
	for path, e := range p {
		e.modified = 0
		p[path] = e
	}
	return p
}

// nameless is the files of p, each named by its content and without its time: those
// of messages have names that are nobody's. Folders are made where mail comes.
func (p picture) nameless() picture {
	all := picture{}
	for name, e := range p.timeless() {
		if !e.folder {
			all[fmt.Sprintf("%s/a message %x", path.Dir(name), e.hash[:6])] = e
		}
	}
	return all
}

// size returns how many files p holds, and how many bytes they are.
func (p picture) size() (files int, bytes int64) {
	for _, e := range p {
		if !e.folder {
			files++
			bytes += e.size
		}
	}
	return files, bytes
}

// differences returns in words, in order of path, where now is not what p was.
func (p picture) differences(now picture) []string {
	var all []string
	for _, path := range slices.Sorted(maps.Keys(p)) {
		was, is := p[path], now[path]
		_, there := now[path]
		switch {
		case !there:
			all = append(all, path+" is missing")
		case was.folder != is.folder:
			all = append(all, path+" is of another kind")
		case was.size != is.size:
			all = append(all, fmt.Sprintf("%s has %d bytes instead of %d", path, is.size, was.size))
		case was.hash != is.hash:
			all = append(all, path+" has other content")
		case was.modified != is.modified:
			all = append(all, fmt.Sprintf("%s was last changed %s instead of %s", path, clockTime(is.modified), clockTime(was.modified)))
		}
	}
	for _, path := range slices.Sorted(maps.Keys(now)) {
		if _, there := p[path]; !there {
			all = append(all, path+" should not be there")
		}
	}
	return all
}

func clockTime(s int64) string { return time.Unix(s, 0).UTC().Format(time.DateTime) }
