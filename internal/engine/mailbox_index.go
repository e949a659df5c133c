package engine

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/catalog"
	"holdfast/internal/drive"
	"holdfast/internal/spill"
	"holdfast/internal/vault"
)

// errMailbox: the mailbox itself cannot be looked into.
var errMailbox = errors.New("the mailbox cannot be looked into")

// findMailbox returns the mailbox of a unit's owner.
func findMailbox(ctx context.Context, source *drive.Client, unit backup.Unit) (drive.Drive, error) {
	id, err := source.UserMailbox(ctx, backup.ObjectID(unit.Subject))
	switch {
	case errors.Is(err, drive.ErrNotFound) && !errors.Is(err, drive.ErrNoMailbox):
		return drive.Drive{}, fmt.Errorf("%w: %w", errNoOwner, err)
	case err != nil:
		return drive.Drive{}, fmt.Errorf("%w: find it: %w", errMailbox, err)
	}
	return drive.Drive{ID: id}, nil
}

// indexMail writes what people find the items of a mailbox by, as far as they differ
// from those of the point before, and returns as what that is staged, 0 if it is not.
// A point is made without, should the source not tell: the index is then made anew by
// a later run.
func (p *protection) indexMail(ctx context.Context, tree string) (int64, error) {
	source, ok := p.source.(*mailSource)
	if !ok {
		return 0, nil
	}
	from, err := p.e.Catalog.MailIndexTree(ctx, p.job.Tenant, p.unit.ID, p.drive.ID)
	if err != nil {
		return 0, err
	}
	stage := catalog.MailStage{Unit: p.unit.ID, Drive: p.drive.ID, At: p.at}
	if from == "" || from != p.state.Tree {
		from, stage.Anew = "", true
	}
	x := &mailIndexing{p: p, source: source, known: spill.New(p.vault.Scratch()), missed: map[backup.ItemID]int{}, anew: stage.Anew}
	defer x.known.Close()
	staged, err := p.e.Catalog.StageMail(ctx, p.job, stage, x.changes(ctx, from, tree))
	switch {
	case err == nil:
		return staged, nil
	case stopped(ctx, err) && !paused(err), !isSource(err) && !isDamage(err):
		return 0, err
	}
	p.e.Log.WarnContext(ctx, "the index of a mailbox was not written; it is made anew later", "tenant", p.job.Tenant, "owner", who(p.unit), "err", err)
	return 0, nil
}

// A mailIndexing finds out what people find items by.
//
// No list of changes says it. Items are asked for one by one, or, where many of one
// folder are to be known, the folder is listed.
type mailIndexing struct {
	p      *protection
	source *mailSource
	anew   bool
	known  *spill.Table          // properties by id
	missed map[backup.ItemID]int // by folder, what was asked for by itself; -1 once the folder was listed
}

func (x *mailIndexing) changes(ctx context.Context, from, to string) func(func(catalog.MailChange, error) bool) {
	return func(yield func(catalog.MailChange, error) bool) {
		for c, err := range x.p.vault.Diff(ctx, from, to) {
			if err != nil {
				yield(catalog.MailChange{}, err)
				return
			}
			change, ok, err := x.change(ctx, c)
			if err != nil {
				yield(catalog.MailChange{}, err)
				return
			}
			if ok && !yield(change, nil) {
				return
			}
		}
	}
}

// change is what is to be written of an item that differs, if anything is.
func (x *mailIndexing) change(ctx context.Context, c vault.Change) (change catalog.MailChange, ok bool, err error) {
	is := c.To
	if is == nil {
		_, own := splitMailID(c.From.ID)
		change.ID, change.Gone = c.From.ID, true
		return change, c.From.Kind == backup.File && own == "", nil
	}
	if _, own := splitMailID(is.ID); is.Kind != backup.File || own != "" {
		return change, false, nil
	}
	if c.From != nil && c.From.CTag == is.CTag && c.From.Parent == is.Parent && c.From.Content == is.Content {
		return change, false, nil
	}
	folder, _ := splitMailID(is.Parent)
	it, err := x.properties(ctx, folder, is.ID)
	if err != nil {
		return change, false, err
	}
	m := backup.MailItem{
		ID: is.ID, Folder: path.Dir(path.Dir(is.Path)), Kind: backup.MailKindOf(it.Class), Subject: it.Subject, Sender: backup.Person{Name: it.Sender, Address: it.Address},
		At: firstTime(it.Starts, it.Received, it.Sent, is.Created), Attachment: it.Flags&hasAttachment != 0, Size: is.Size,
	}
	for _, line := range []string{it.To, it.Cc} {
		for name := range strings.SplitSeq(line, ";") {
			if name = strings.TrimSpace(name); name != "" {
				m.Recipients = append(m.Recipients, personOf(name))
			}
		}
	}
	change.MailItem = m
	return change, true, nil
}

// hasAttachment is the flag of an item with attachments.
const hasAttachment = 16

// personOf is who a head line names: by a name, or an address.
func personOf(name string) backup.Person {
	if strings.Contains(name, "@") && !strings.ContainsAny(name, " <>") {
		return backup.Person{Address: name}
	}
	return backup.Person{Name: name}
}

func firstTime(all ...time.Time) time.Time {
	for _, t := range all {
		if !t.IsZero() {
			return t
		}
	}
	return time.Time{}
}

// properties returns what the source says of an item; of one that it does not tell of
// by now, as much as is known.
func (x *mailIndexing) properties(ctx context.Context, folder, id backup.ItemID) (drive.MailItem, error) {
	if it, ok := x.find(id); ok {
		return it, x.known.Err()
	}
	if x.missed[folder] >= 0 {
		if x.missed[folder]++; x.missed[folder] > x.bearable(folder) {
			x.missed[folder] = -1
			if err := x.list(ctx, folder); err != nil {
				return drive.MailItem{}, err
			}
			if it, ok := x.find(id); ok {
				return it, x.known.Err()
			}
		}
	}
	it, err := x.source.client.MailItem(ctx, x.source.box, x.source.real(folder), id)
	if err == nil {
		return it, x.known.Err()
	}
	if stopped(ctx, err) || !isSource(err) {
		return it, err
	}
	if !errors.Is(err, drive.ErrNotFound) {
		if _, failed := x.source.client.MailFolder(ctx, x.source.box, drive.MailRoot); failed != nil {
			return it, err
		}
	}
	x.source.mu.Lock()
	defer x.source.mu.Unlock()
	t, _ := x.source.toldOf(id)
	return drive.MailItem{ID: id, Class: t.class}, nil
}

// bearable is how many items of a folder are asked for one by one: as many as listing
// it all takes requests, or a few more.
func (x *mailIndexing) bearable(folder backup.ItemID) int {
	if x.anew {
		return 0
	}
	x.source.mu.Lock()
	defer x.source.mu.Unlock()
	return 20 + max(0, x.source.folders[folder].Items)/mailListPage
}

// mailListPage is about how many items a page of a list has.
const mailListPage = 500

// list keeps what a list of a folder says of its items.
func (x *mailIndexing) list(ctx context.Context, folder backup.ItemID) error {
	for it, err := range x.source.client.ListMail(ctx, x.source.box, x.source.real(folder)) {
		if err != nil {
			if errors.Is(err, drive.ErrNotFound) {
				return nil
			}
			return err
		}
		var w spill.Writer
		for _, text := range []string{it.Class, it.Subject, it.Sender, it.Address, it.To, it.Cc} {
			w.Text(text)
		}
		w.Time(it.Received)
		w.Time(it.Sent)
		w.Time(it.Starts)
		w.Int(int64(it.Flags))
		x.known.Put(string(it.ID), string(w))
	}
	return x.known.Err()
}

func (x *mailIndexing) find(id backup.ItemID) (it drive.MailItem, ok bool) {
	i, ok := x.known.Find(string(id))
	if !ok {
		return it, false
	}
	_, value := x.known.Get(i)
	r := spill.Reader(value)
	it.ID = id
	for _, text := range []*string{&it.Class, &it.Subject, &it.Sender, &it.Address, &it.To, &it.Cc} {
		*text = r.Text()
	}
	it.Received, it.Sent, it.Starts, it.Flags = r.Time(), r.Time(), r.Time(), int(r.Int())
	return it, true
}
