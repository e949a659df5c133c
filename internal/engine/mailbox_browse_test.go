package engine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/backup"
	"holdfast/internal/simtenant"
	"holdfast/internal/vault"
)

// walked is what a folder of a mailbox's point holds, in parts of at most limit, and what
// is in the folders in it.
func (w *world) walked(p backup.Point, folder backup.ItemID, limit int) (lines []string) {
	w.t.Helper()
	for after := ""; ; {
		part, err := w.engine.Mail(w.ctx, p, folder, after, limit)
		w.must(err)
		if len(part.All) > limit || len(lines) > 1000 {
			w.t.Fatalf("a part has %d, after %d others", len(part.All), len(lines))
		}
		for _, held := range part.All {
			again, err := w.engine.MailHeld(w.ctx, p, backup.RefOf(held.ID))
			if err != nil || again.ID != held.ID || again.Path != held.Path || again.MIME != held.MIME || again.Size != held.Size && held.Kind == backup.File {
				w.t.Errorf("by its key it is %+v, %v, want %+v", again, err, held)
			}
			if held.Kind == backup.Folder {
				lines = append(lines, fmt.Sprint(held.Path, "/ ", held.Items))
				lines = append(lines, w.walked(p, held.ID, limit)...)
				continue
			}
			name := "-"
			if held.MIME {
				content, err := w.engine.OpenMail(w.ctx, p, held.ID)
				w.must(err)
				text, err := io.ReadAll(content)
				w.must(err)
				w.must(content.Close())
				name = subjectIn(string(text))
			} else if _, err := w.engine.OpenMail(w.ctx, p, held.ID); !errors.Is(err, backup.ItemNotFound) {
				w.t.Errorf("what is no message opens as MIME: %v", err)
			}
			lines = append(lines, held.Path+" "+name)
		}
		if after = part.Next; after == "" {
			return lines
		}
	}
}

// A mailbox's point is walked folder by folder, each in parts of any size, newest first;
// what is only in the vault is not shown.
func TestAMailboxIsWalked(t *testing.T) {
	w, unit := newPost(t)
	w.post(0, someMail)
	files := map[string]string{}
	for i := range 7 {
		files[fmt.Sprintf("Archive/%d.eml", i)] = letter(fmt.Sprint("number ", i))
	}
	w.post(0, files)
	p := w.backUp(unit)
	root, err := w.engine.MailHeld(w.ctx, p, backup.ItemRef{})
	w.must(err)
	whole := w.walked(p, root.ID, 1000)
	sorted := strings.Join(whole, "\n")
	for line, n := range map[string]int{
		"Inbox/ 2": 1, "Inbox one": 1, "Inbox two": 1, "Inbox/Projects/ 1": 1, "Inbox/Projects plan": 1, "Sent Items sent": 1, "Calendar/ 1": 1, "Calendar -": 1, "Contacts -": 1,
		"Archive/ 7": 1, "Archive number 0": 1, "Archive number 6": 1, "Recoverable Items/ 0": 1,
	} {
		if got := strings.Count("\n"+sorted+"\n", "\n"+line+"\n"); got != n {
			t.Errorf("%q is there %d times, want %d:\n%s", line, got, n, sorted)
		}
	}
	for _, limit := range []int{1, 2, 3, 7} {
		if got := strings.Join(w.walked(p, root.ID, limit), "\n"); got != sorted {
			t.Errorf("in parts of %d it holds\n%s\nwant\n%s", limit, got, sorted)
		}
	}
	inbox := w.folderOf(p, "Inbox")
	for _, id := range []backup.ItemID{folderInfoID(inbox), monthID(inbox, "2026-02"), "no such"} {
		if held, err := w.engine.MailHeld(w.ctx, p, backup.RefOf(id)); !errors.Is(err, backup.ItemNotFound) {
			t.Errorf("%s = %+v, %v", id, held, err)
		}
	}
}

// folderOf is the id of a folder of a mailbox's point.
func (w *world) folderOf(p backup.Point, at string) backup.ItemID {
	w.t.Helper()
	for n, err := range w.vault.Walk(w.ctx, p.Tree) {
		w.must(err)
		if n.Path == at {
			return n.ID
		}
	}
	w.t.Fatalf("there is no %s", at)
	return ""
}

// A message that the vault holds damaged says so where it is opened or read, and what to
// check, and never ends as if it were whole.
func TestADamagedMessageIsNotShown(t *testing.T) {
	w, unit := newPost(t)
	w.ownVault()
	w.post(0, longMail(4))
	p := w.backUp(unit)
	b, err := os.ReadFile(w.blobs("p")[0])
	w.must(err)
	for at := 2000; at < len(b); at += 5000 {
		b[at] ^= 1
	}
	w.must(os.WriteFile(w.blobs("p")[0], b, 0o600))
	failed := 0
	for n, err := range w.vault.Walk(w.ctx, p.Tree) {
		w.must(err)
		if !isMIME(n.ID) {
			continue
		}
		of, _ := splitMailID(n.ID)
		content, err := w.engine.OpenMail(w.ctx, p, of)
		if err == nil {
			_, err = io.Copy(io.Discard, content)
			w.must(content.Close())
		}
		if told, ok := errors.AsType[*backup.Error](err); ok && told.Code == backup.ServiceUnavailable && errors.Is(err, vault.ErrDamaged) && told.Details[0].Code != "" {
			failed++
		} else if err != nil {
			t.Errorf("%s: %v", n.Path, err)
		}
	}
	if failed == 0 {
		t.Error("nothing that is damaged was told")
	}
}

// What a point of a mailbox does not hold as it was is named where it would be, whether it is
// held as it was before or not at all, in parts of any size.
func TestWhatAMailboxLacksIsShown(t *testing.T) {
	w, unit := newPost(t)
	w.post(0, someMail)
	w.post(0, map[string]string{"Inbox/a.bad.eml": letter("before")})
	w.backUp(unit)
	w.post(0, map[string]string{"Inbox/a.bad.eml": letter("now"), "Inbox/b.bad.eml": letter("never"), "Inbox/c.bad.eml": letter("never either"), "Inbox/Projects/d.bad.eml": letter("there")})
	w.faults.Set(func(o *simtenant.Options) { o.Mail.Corrupt = ".bad.eml" })
	p := w.backUp(unit)
	if p.Unread != 4 {
		t.Fatalf("the point lacks %q", w.lacking(p))
	}
	for _, limit := range []int{1, 2, 3, 100} {
		for folder, want := range map[string]string{"Inbox": "folder absent absent held whole whole", "Inbox/Projects": "absent whole", "Sent Items": "whole", "Archive": ""} {
			var got []string
			for after := ""; ; {
				part, err := w.engine.Mail(w.ctx, p, w.folderOf(p, folder), after, limit)
				w.must(err)
				if len(part.All) > limit || len(got) > 20 {
					t.Fatalf("a part has %d, after %d others", len(part.All), len(got))
				}
				for _, held := range part.All {
					again, err := w.engine.MailHeld(w.ctx, p, backup.RefOf(held.ID))
					switch {
					case held.Kind == backup.Folder:
						got = append(got, "folder")
					case held.Lack == nil:
						got = append(got, "whole")
					case held.Lack.Held && held.Lack.Message != "" && err == nil && again.Lack != nil && *again.Lack == *held.Lack:
						got = append(got, "held")
					case !held.Lack.Held && held.Path == folder && errors.Is(err, backup.ItemNotFound):
						got = append(got, "absent")
					default:
						t.Errorf("%s: %+v %+v, by its key %+v, %v", folder, held, held.Lack, again, err)
					}
				}
				if after = part.Next; after == "" {
					break
				}
			}
			slices.SortStableFunc(got, func(a, b string) int { return strings.Compare(order[a], order[b]) })
			if text := strings.Join(got, " "); text != want {
				t.Errorf("in parts of %d %s shows %q, want %q", limit, folder, text, want)
			}
		}
	}
}

// order has items that were made in one second come in one order.
var order = map[string]string{"folder": "1", "absent": "2", "held": "3", "whole": "4"}
