package simtenant

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What takes the place of an item or a folder is answered as what it is: not there.
func TestWhatTakesAnItemsPlace(t *testing.T) {
	outside := t.TempDir()
	for name, change := range map[string]func(path string) error{
		"a link out of the mailbox": func(path string) error { return os.Symlink(outside, path) },
		"a link to itself":          func(path string) error { return os.Symlink(filepath.Base(path), path) },
		"a pipe":                    func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"nothing":                   func(string) error { return nil },
	} {
		for _, taken := range []string{"Inbox/sub/a.eml", "Inbox/sub"} {
			t.Run(name+" for "+taken, func(t *testing.T) {
				w := newWorld(t)
				w.mail(message("a"), amala, "Inbox", "sub", "a.eml")
				box, me := w.mailbox(amala), "/users/"+amala
				folders, _ := w.all(me + "/mailFolders/inbox/childFolders")
				sub := folders[0]["id"].(string)
				id := w.itemsOf(box, sub)[0]["id"].(string)
				place := w.mailPath(amala, filepath.FromSlash(taken))
				w.rename(place, filepath.Join(t.TempDir(), "away"))
				if err := change(place); err != nil {
					t.Fatal(err)
				}
				w.must(404, "GET", me+"/messages/"+id+"/$value", nil)
				w.must(404, "PATCH", me+"/messages/"+id, object{"isRead": true})
				w.must(404, "POST", me+"/messages/"+id+"/move", object{"destinationId": "archive"})
				w.must(404, "GET", box+"/folders/"+sub+"/items/"+id, nil)
				if e, _ := w.exports(box, id)[0]["error"].(object); e["code"] != "ErrorItemNotFound" {
					t.Errorf("export: %v", e)
				}
			})
		}
	}
}

// A journal of files that is written anew leaves the mailbox at work.
func TestMailboxOutlivesItsFilesJournal(t *testing.T) {
	w := newWorld(t)
	box := w.mailbox(amala)
	w.mail(message("m"), amala, "Inbox", "m.eml")
	link := box + "/folders/inbox/items/delta"
	for n := range 40 {
		for i := range 40 {
			w.mail(message(fmt.Sprint(n)), amala, "Inbox", fmt.Sprintf("%d.eml", i))
		}
		_, last := w.all(link)
		link = last.text("@odata.deltaLink")
	}
}
