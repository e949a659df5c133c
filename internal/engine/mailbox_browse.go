package engine

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/vault"
)

// Mail returns a part of what a folder of a mailbox's point holds. Of the months that a
// folder has in the vault only those are read that the part has items of, and of each of
// these from the newest item that is wanted to the oldest.
func (e *Engine) Mail(ctx context.Context, p backup.Point, folder backup.ItemID, after string, limit int) (backup.MailPart, error) {
	return looking(ctx, e, p, func(v *vault.Vault) (part backup.MailPart, err error) {
		var folders, months []vault.Listed
		for l, err := range v.Browse(ctx, p.Tree, folder, 0) {
			switch {
			case err != nil:
				return part, err
			case l.Kind != backup.Folder:
			case isMonth(l):
				months = append(months, l)
			default:
				folders = append(folders, l)
			}
		}
		slices.SortFunc(months, func(a, b vault.Listed) int { return strings.Compare(b.Name, a.Name) })
		lacks, err := lacksOf(ctx, v, p)
		if err != nil {
			return part, err
		}
		var absent []backup.MailHeld
		if len(lacks) > 0 {
			at, _, err := v.Path(ctx, p.Tree, folder)
			if err != nil {
				return part, err
			}
			absent = lacks.absentIn(at)
		}
		// A place is the number of a folder, or of what is absent behind a stroke, or a month
		// and a name.
		begin, from, month, name := 0, 0, "", ""
		if n, err := strconv.Atoi(after); err == nil {
			begin = n
		} else if after != "" {
			begin = len(folders)
			if month, name, _ = strings.Cut(after, "/"); month != "" {
				from = len(absent)
			} else if n, err := strconv.Atoi(name); err == nil {
				from = n
			}
		}
		most, last := maxCounted, vault.Entry{}
		for i, l := range folders[min(max(begin, 0), len(folders)):] {
			if len(part.All) == limit {
				part.Next = strconv.Itoa(begin + i)
				return part, nil
			}
			held := backup.MailHeld{Item: itemOf(l)}
			if held.Items, err = e.mailIn(ctx, v, l, &most); err != nil {
				return part, err
			}
			held.Lack = lacks.of(l.ID)
			part.All = append(part.All, held)
		}
		for i, held := range absent[min(max(from, 0), len(absent)):] {
			if len(part.All) == limit {
				part.Next = "/" + strconv.Itoa(from+i)
				return part, nil
			}
			part.All = append(part.All, held)
		}
		if len(part.All) == limit && len(months) > 0 && month == "" {
			part.Next = "/" + strconv.Itoa(len(absent))
			return part, nil
		}
		for _, m := range months {
			if month != "" && m.Name > month {
				continue
			}
			before := ""
			if m.Name == month {
				before = name
			}
			for entry, err := range v.Before(ctx, m, before) {
				of, own := splitMailID(entry.ID)
				switch {
				case err != nil:
					return part, err
				case own == mimeEnd && len(part.All) > 0 && part.All[len(part.All)-1].ID == of:
					// Its MIME, which is called as it is, and so comes right behind it.
					held := mailHeld(last, path.Dir(m.Path), entry)
					held.Lack = lacks.of(last.ID)
					part.All[len(part.All)-1] = held
					continue
				case own != "":
					continue
				case len(part.All) == limit:
					part.Next = monthName(months, last.Parent) + "/" + last.Name
					return part, nil
				}
				last = entry
				held := mailHeld(entry, path.Dir(m.Path), vault.Entry{})
				held.Lack = lacks.of(entry.ID)
				part.All = append(part.All, held)
			}
		}
		return part, nil
	})
}

// lacks are what a point of a mailbox does not hold as it was, by what is meant.
type lacks []backup.Unread

// lacksOf reads those of a point, if it has any.
func lacksOf(ctx context.Context, v *vault.Vault, p backup.Point) (lacks, error) {
	if p.Unread == 0 {
		return nil, nil
	}
	all, err := v.Unread(ctx, p.Tree)
	return backup.Unheld(all), err
}

// of is what is said of an item or a folder; nil if nothing is.
func (l lacks) of(id backup.ItemID) *backup.Unread {
	for i := range l {
		if l[i].Item == id {
			return &l[i]
		}
	}
	return nil
}

// absentIn are what is not held of a folder, by its path: the last that were made first, as
// far as their names say when that was.
func (l lacks) absentIn(folder string) (all []backup.MailHeld) {
	for i, u := range l {
		dir, name := path.Split(strings.Trim(u.Path, "/"))
		dir = strings.Trim(dir, "/")
		if at, month := path.Split(dir); isMonthName(month) {
			dir = strings.Trim(at, "/")
		}
		if _, own := splitMailID(u.Item); !u.Held && own == "" && dir == folder && name != "" {
			made, _ := time.Parse(madeForm, name[:min(len(madeForm), len(name))]) // the zero time if it does not say
			all = append(all, backup.MailHeld{Item: backup.Item{ID: u.Item, Name: name, Path: folder, Kind: backup.File}, Made: made, Lack: &l[i]})
		}
	}
	slices.SortStableFunc(all, func(a, b backup.MailHeld) int { return strings.Compare(b.Name, a.Name) })
	return all
}

// isMonthName reports whether a folder is called as those of months are.
func isMonthName(name string) bool {
	_, err := time.Parse("2006-01", name)
	return err == nil || name == undated
}

// isMonth reports whether a folder is one of a month, in which are the items of the folder
// that it is in.
func isMonth(l vault.Listed) bool {
	_, own := splitMailID(l.ID)
	return l.Kind == backup.Folder && own != "" && own != ownRecoverable
}

// monthName is the name of the month that an item is in.
func monthName(months []vault.Listed, id backup.ItemID) string {
	for _, m := range months {
		if m.ID == id {
			return m.Name
		}
	}
	return ""
}

// maxCounted is how many items are counted anew for one part of what a mailbox holds. Where
// there are more, the folders that come later have no number in that part, and one in the
// next that is asked for.
const maxCounted = 1_000_000

// mailIn is how many items a folder holds itself; -1 if that was not counted, since most are
// counted already. What a directory of the vault holds never changes, so that it is counted
// once.
func (e *Engine) mailIn(ctx context.Context, v *vault.Vault, folder vault.Listed, most *int) (n int64, err error) {
	if n, ok := e.counted.get(folder.Object); ok {
		return n, nil
	}
	below, err := v.Below(ctx, folder)
	if err != nil {
		return 0, err
	}
	for _, m := range below {
		if !isMonth(m) {
			continue
		}
		in, ok := e.counted.get(m.Object)
		if !ok {
			if *most <= 0 {
				return -1, nil
			}
			*most -= int(m.Items)
			if in, err = v.CountNamed(ctx, m, ".fts"); err != nil {
				return 0, err
			}
			e.counted.put(m.Object, in)
		}
		n += in
	}
	e.counted.put(folder.Object, n)
	return n, nil
}

// A counted is how many items the directories of vaults hold that were counted last.
type counted struct {
	mu sync.Mutex
	of map[string]int64 // by their objects
}

// maxKnown is of how many directories it is known: some 10 MB of them.
const maxKnown = 100_000

func (c *counted) get(object string) (n int64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, ok = c.of[object]
	return n, ok
}

func (c *counted) put(object string, n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil || len(c.of) >= maxKnown {
		c.of = map[string]int64{}
	}
	c.of[object] = n
}

// mailHeld is an item in a folder, beside which there may be its MIME.
func mailHeld(e vault.Entry, folder string, mime vault.Entry) backup.MailHeld {
	return backup.MailHeld{
		Item: backup.Item{ID: e.ID, Parent: e.Parent, Name: e.Name, Path: folder, Kind: e.Kind, Size: cmp.Or(mime.Size, e.Size)},
		Made: e.Created, MIME: mime.ID != "", Old: mime.ID != "" && mime.CTag != e.Content,
	}
}

// MailHeld returns an item of a mailbox's point, or a folder.
func (e *Engine) MailHeld(ctx context.Context, p backup.Point, ref backup.ItemRef) (backup.MailHeld, error) {
	return looking(ctx, e, p, func(v *vault.Vault) (held backup.MailHeld, err error) {
		l, ok, err := v.Find(ctx, p.Tree, ref)
		if err != nil {
			return held, err
		}
		_, own := splitMailID(l.ID)
		switch {
		case !ok || own != "" && own != ownRecoverable: // what is only here is nothing of the mailbox
			return held, noItem()
		}
		lacks, err := lacksOf(ctx, v, p)
		if err != nil {
			return held, err
		}
		if l.Kind == backup.Folder {
			return backup.MailHeld{Item: itemOf(l), Lack: lacks.of(l.ID)}, nil
		}
		mime, _, err := v.Stat(ctx, p.Tree, mimeID(l.ID))
		held = mailHeld(l.Entry, path.Dir(path.Dir(l.Path)), mime)
		held.Lack = lacks.of(l.ID)
		return held, err
	})
}

// OpenMail opens an item of a mailbox's point as MIME. Whatever is the matter with the vault
// while it is read, the error says what to check, as looking does.
func (e *Engine) OpenMail(ctx context.Context, p backup.Point, item backup.ItemID) (io.ReadSeekCloser, error) {
	content, err := e.Open(ctx, p, mimeID(item))
	if err != nil {
		return nil, err
	}
	return lookedInto{content, ctx, p}, nil
}

// A lookedInto is a content of a point whose errors say what to check.
type lookedInto struct {
	io.ReadSeekCloser
	ctx context.Context
	p   backup.Point
}

func (l lookedInto) Read(b []byte) (n int, err error) {
	n, err = l.ReadSeekCloser.Read(b)
	if err != nil && err != io.EOF {
		err = lookingFailed(l.ctx, l.p, true, fmt.Errorf("read an item of a mailbox: %w", err))
	}
	return n, err
}
