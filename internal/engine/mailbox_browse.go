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

	"holdfast/internal/backup"
	"holdfast/internal/vault"
)

// Mail returns a part of what a folder of a mailbox's point holds. Of the months that a
// folder has in the vault only those are read that the part has items of.
func (e *Engine) Mail(ctx context.Context, p backup.Point, folder backup.ItemID, after string, limit int) (backup.MailPart, error) {
	return looking(ctx, e, p, func(v *vault.Vault) (part backup.MailPart, err error) {
		all, err := v.Browse(ctx, p.Tree, folder)
		if err != nil {
			return part, err
		}
		var folders, months []vault.Listed
		for _, l := range all {
			switch _, own := splitMailID(l.ID); {
			case l.Kind != backup.Folder:
			case own == "" || own == ownRecoverable:
				folders = append(folders, l)
			default:
				months = append(months, l)
			}
		}
		slices.SortFunc(months, func(a, b vault.Listed) int { return strings.Compare(b.Name, a.Name) })
		begin, month, name := 0, "", ""
		if n, err := strconv.Atoi(after); err == nil {
			begin = n
		} else if after != "" {
			begin = len(folders)
			month, name, _ = strings.Cut(after, "/")
		}
		for i, l := range folders[min(begin, len(folders)):] {
			if len(part.All) == limit {
				part.Next = strconv.Itoa(begin + i)
				return part, nil
			}
			held, err := mailFolderOf(ctx, v, p, l)
			if err != nil {
				return part, err
			}
			part.All = append(part.All, held)
		}
		if len(part.All) == limit && len(months) > 0 && month == "" {
			part.Next = strconv.Itoa(len(folders))
			return part, nil
		}
		for _, m := range months {
			if month != "" && m.Name > month {
				continue
			}
			items, err := mailOfMonth(ctx, v, p, m)
			if err != nil {
				return part, err
			}
			for _, item := range items {
				if m.Name == month && item.Name >= name {
					continue
				}
				if len(part.All) == limit {
					last := part.All[limit-1]
					part.Next = monthName(months, last.Parent) + "/" + last.Name
					return part, nil
				}
				part.All = append(part.All, item)
			}
		}
		return part, nil
	})
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

// mailFolderOf is a folder, and how many items it holds itself.
func mailFolderOf(ctx context.Context, v *vault.Vault, p backup.Point, l vault.Listed) (held backup.MailHeld, err error) {
	held = backup.MailHeld{Item: itemOf(l)}
	held.Items = 0
	below, err := v.List(ctx, p.Tree, l.ID)
	if err != nil {
		return held, err
	}
	for _, e := range below {
		if _, own := splitMailID(e.ID); e.Kind != backup.Folder || own == "" || own == ownRecoverable {
			continue
		}
		in, err := v.List(ctx, p.Tree, e.ID)
		if err != nil {
			return held, err
		}
		for _, item := range in {
			if _, own := splitMailID(item.ID); item.Kind == backup.File && own == "" {
				held.Items++
			}
		}
	}
	return held, nil
}

// mailOfMonth are the items that a folder got in a month, the newest first.
func mailOfMonth(ctx context.Context, v *vault.Vault, p backup.Point, month vault.Listed) (items []backup.MailHeld, err error) {
	all, err := v.List(ctx, p.Tree, month.ID)
	if err != nil {
		return nil, err
	}
	mimes := map[backup.ItemID]vault.Entry{}
	for _, e := range all {
		if of, own := splitMailID(e.ID); own == mimeEnd {
			mimes[of] = e
		}
	}
	for _, e := range all {
		if _, own := splitMailID(e.ID); e.Kind == backup.File && own == "" {
			items = append(items, mailHeld(e, path.Dir(month.Path), mimes[e.ID]))
		}
	}
	slices.SortFunc(items, func(a, b backup.MailHeld) int { return strings.Compare(b.Name, a.Name) })
	return items, nil
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
		case l.Kind == backup.Folder:
			return backup.MailHeld{Item: itemOf(l)}, nil
		}
		mime, _, err := v.Stat(ctx, p.Tree, mimeID(l.ID))
		return mailHeld(l.Entry, path.Dir(path.Dir(l.Path)), mime), err
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
