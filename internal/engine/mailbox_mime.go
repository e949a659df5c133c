package engine

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/budget"
	"holdfast/internal/drive"
	"holdfast/internal/jobs"
	"holdfast/internal/vault"
)

// Beside the stream of a message its MIME is kept, so that it can be read without
// Exchange and without us:
//
//	Inbox/2026-02/20260205-100000-5be1c9a02f77.fts the item
//	Inbox/2026-02/20260205-100000-5be1c9a02f77.eml the same as a mail program has it
//
// It is for reading: a restore takes the stream. It is of exactly one stream, which its
// tag names, so that it is read again when that is another, and not because the message
// moved. It takes a request for each message, where an export takes one for twenty, so
// that no point waits long for it: a run reads no longer than an interval, and no more
// than leaves the mailbox's limit to other work; those after it go on.
const mimeEnd = "eml"

// mimeRequests is how many messages a run reads as MIME at most: half of what the source
// answers of a mailbox in ten minutes.
const mimeRequests = 5000

func mimeID(item backup.ItemID) backup.ItemID { return item + "," + mimeEnd }

func isMIME(id backup.ItemID) bool {
	_, own := splitMailID(id)
	return own == mimeEnd
}

func mimeName(stream string) string { return strings.TrimSuffix(stream, ".fts") + "." + mimeEnd }

// maxNoMIME is how many messages of a mailbox are named one by one for want of their MIME.
// Where more fail there is something wrong with all.
const maxNoMIME = maxRetried

// isNote reports whether it is no error that messages have no MIME: they are held, and only
// for want of a permission can a person do something about it.
func isNote(u backup.Unread) bool { return u.Code != backup.AccessDenied }

// A mimeRun brings the MIME of messages into what a run has staged.
type mimeRun struct {
	p      *protection
	source *mailSource
	on     bool
	until  time.Time // when the run has to come to its end
	behind bool      // not every message has its MIME, besides those that are named
	todo   []number

	mu    sync.Mutex // guards what follows
	over  bool       // no more is read in this run
	asked int
	named int
	brief *backup.Unread // what stands against all of them

	look sync.Once
	may  error // set by look: why the source gives no message at all
}

// keepMIME is the last step of a run over a mailbox.
func keepMIME(ctx context.Context, p *protection) error {
	source := p.source.(*mailSource)
	c := &mimeRun{p: p, source: source, on: p.e.MIME == nil || p.e.MIME(p.job.Tenant), until: p.e.Clock().Add(p.e.Interval)}
	cursor, err := parseMailCursor(p.stage.cursor)
	if err != nil {
		return err
	}
	c.behind = !c.on || !cursor.MIME && !p.stage.full
	c.over = !c.on || p.job.Kind != jobs.Backup // no restore waits for it: what it put there has that of its point
	if err := c.run(ctx); err != nil {
		return fmt.Errorf("keep messages as MIME: %w", err)
	}
	if cursor.MIME != !c.behind {
		cursor.MIME = !c.behind
		p.stage.cursor, err = cursor.encode()
	}
	return err
}

func (c *mimeRun) run(ctx context.Context) error {
	p := c.p
	if err := c.before(ctx); err != nil {
		return err
	}
	for i, item := range p.stage.items.all() {
		if err := c.consider(ctx, i, item.ID); err != nil {
			return err
		}
	}
	for _, i := range p.stage.absent {
		if err := c.consider(ctx, i, p.stage.items.id(i)); err != nil {
			return err
		}
	}
	if err := c.recall(ctx); err != nil {
		return err
	}
	if p.stage.full {
		if err := c.sweep(ctx); err != nil {
			return err
		}
	}
	asks := p.asking(ctx, budget.FirstBackups)
	if err := c.read(asks); err != nil {
		return err
	}
	if c.behind && !c.over {
		if err := c.catchUp(asks); err != nil {
			return err
		}
	}
	return c.after(ctx)
}

// all is the id by which it is named what stands against all messages.
func (c *mimeRun) all() backup.ItemID { return mimeID(c.p.stage.root) }

// before looks at what stood against all messages before.
func (c *mimeRun) before(context.Context) error {
	old, ok := c.p.old[c.all()]
	if ok && c.on && old.Next.After(c.p.at) {
		c.brief, c.over = &old, true
	}
	return nil
}

// consider has the MIME of an item that was told of go with it, and notes the message
// of which it is to be read.
func (c *mimeRun) consider(ctx context.Context, i number, id backup.ItemID) error {
	if _, own := splitMailID(id); own != "" || id == "" {
		return nil
	}
	p := c.p
	is, there, err := p.update.Get(ctx, id)
	if err != nil {
		return err
	}
	if there && is.Kind != backup.File {
		return nil
	}
	was, held, err := p.stage.get(ctx, mimeID(id))
	if err == nil && held && p.stage.torn {
		held, err = p.update.Holds(ctx, was)
	}
	if err != nil {
		return err
	}
	switch {
	case !there:
		if held {
			p.update.Delete(mimeID(id))
		}
		return nil
	case held && was.CTag == is.Content && !p.again[mimeID(id)]:
		c.put(is, was)
		return nil
	}
	if seed, ok := p.seeds.seed(mimeID(id)); ok && seed.CTag == is.Content && c.on && !p.stage.torn {
		p.update.Put(mimeOf(is, seed)) // a restore put the message there, and the point that it is of has this
		return nil
	}
	isMail := held || p.again[mimeID(id)]
	if !isMail {
		c.source.mu.Lock()
		t, _ := c.source.toldOf(id)
		c.source.mu.Unlock()
		isMail = backup.MailKindOf(t.class) == backup.MailEmail
	}
	_, failed := p.old[mimeID(id)]
	switch {
	case isMail && !c.over:
		c.todo = append(c.todo, i)
	case failed && c.on: // it stays named
		c.keepNamed(is, was, held)
	case held:
		p.update.Delete(mimeID(id)) // it is of another stream
	}
	if isMail && c.over {
		c.behind = true
	}
	return nil
}

// mimeOf is a MIME that is held, beside the item that it is of.
func mimeOf(is, mime vault.Entry) vault.Entry {
	mime.ID, mime.Parent, mime.Name, mime.Created, mime.Modified = mimeID(is.ID), is.Parent, mimeName(is.Name), is.Created, is.Modified
	return mime
}

// put has a MIME that is held be beside the item that it is of.
func (c *mimeRun) put(is, was vault.Entry) {
	entry := mimeOf(is, was)
	if c.p.stage.torn || !sameEntry(entry, was) {
		c.p.update.Put(entry)
	}
}

// keepNamed carries over what was named before, with what is held of it.
func (c *mimeRun) keepNamed(is, was vault.Entry, held bool) {
	if held {
		c.put(is, was)
	}
	if old, ok := c.p.old[mimeID(is.ID)]; ok {
		c.p.unread[old.Item] = old
		c.named++
	}
}

// recall looks at the messages whose MIME failed before, or is damaged in the vault, and
// which nothing was told of.
func (c *mimeRun) recall(ctx context.Context) error {
	p := c.p
	ids := map[backup.ItemID]bool{}
	for id := range p.again {
		ids[id] = true
	}
	for id := range p.old {
		ids[id] = true
	}
	for id := range ids {
		item, _ := splitMailID(id)
		if !isMIME(id) || id == c.all() || p.stage.items.has(item) {
			continue
		}
		is, there, err := p.update.Get(ctx, item)
		if err != nil {
			return err
		}
		was, held, err := p.stage.get(ctx, id)
		if err != nil {
			return err
		}
		old, failed := p.old[id]
		switch {
		case !there || !c.on:
		case c.over || failed && old.Next.After(p.at) && !p.again[id]:
			c.keepNamed(is, was, held)
		default:
			c.todo = append(c.todo, p.stage.items.number(item))
		}
	}
	return p.stage.items.err()
}

// sweep takes away what is beside nothing.
func (c *mimeRun) sweep(ctx context.Context) error {
	if c.p.base == nil {
		return nil
	}
	for e, err := range c.p.base.Entries(ctx) {
		id := e.ID
		if err != nil {
			if c.p.stage.torn && isDamage(err) {
				return nil
			}
			return err
		}
		if !isMIME(id) {
			continue
		}
		item, _ := splitMailID(id)
		_, there, err := c.p.update.Get(ctx, item)
		if err != nil {
			return err
		}
		if !there {
			c.p.update.Delete(id)
		}
	}
	return nil
}

// read reads what is to be read.
func (c *mimeRun) read(ctx context.Context) error {
	group, in := newGroup(ctx)
	group.SetLimit(c.p.e.Transfers)
	for _, i := range c.todo {
		if in.Err() != nil {
			break
		}
		id := c.p.stage.items.id(i)
		group.Go(func() error { return c.one(in, id) })
	}
	err := group.Wait()
	c.todo = c.todo[:0]
	if err == nil {
		err = context.Cause(ctx)
	}
	return errors.Join(err, c.p.stage.items.err())
}

// atOnce is how many messages of those of before are looked for at a time.
const atOnce = 500

// catchUp reads the MIME of messages that earlier runs did not come to, as the index of
// the mailbox knows them.
func (c *mimeRun) catchUp(ctx context.Context) error {
	p := c.p
	tree, err := p.e.Catalog.MailIndexTree(ctx, p.job.Tenant, p.unit.ID, p.drive.ID)
	if err != nil || tree == "" || tree != p.state.Tree {
		return err // once there is one
	}
	point := backup.Point{Unit: p.unit.ID, Drive: p.drive.ID, At: p.at, Tree: tree}
	for id, err := range p.e.Catalog.FoundMail(ctx, backup.Artifact{Tenant: p.job.Tenant, Point: point, Query: "MessageKind -eq 'Email'"}) {
		if err != nil {
			return err
		}
		is, there, err := p.update.Get(ctx, id)
		if err != nil {
			return err
		}
		was, held, err := p.update.Get(ctx, mimeID(id))
		if err != nil {
			return err
		}
		if _, named := p.unread[mimeID(id)]; named || !there || held && was.CTag == is.Content {
			continue
		}
		if c.todo = append(c.todo, p.stage.items.number(id)); len(c.todo) == atOnce {
			if err := c.read(ctx); err != nil || c.over {
				return err
			}
		}
	}
	if err := c.read(ctx); err != nil {
		return err
	}
	c.behind = c.over
	return nil
}

// one reads the MIME of one message.
func (c *mimeRun) one(ctx context.Context, id backup.ItemID) error {
	p := c.p
	is, there, err := p.update.Get(ctx, id)
	if err != nil || !there {
		return err
	}
	was, held, err := p.update.Get(ctx, mimeID(id))
	if err != nil {
		return err
	}
	c.mu.Lock()
	if c.asked++; c.asked > mimeRequests || p.e.Clock().After(c.until) {
		c.over = true
	}
	over := c.over
	c.mu.Unlock()
	if over {
		return c.leave(is, was, held)
	}
	if p.again[mimeID(id)] {
		ctx = p.asking(ctx, budget.Verification)
	}
	x, err := c.source.mime(ctx, id, is.Size)
	if err != nil {
		return c.failed(ctx, is, was, held, err)
	}
	defer x.Close()
	reader := &markedReader{r: x, size: x.Size()}
	content, err := p.update.Write(ctx, mimeName(is.Name), reader)
	if reader.err != nil {
		return reader.err
	}
	if err != nil {
		return err
	}
	entry := vault.Entry{
		ID: mimeID(id), Parent: is.Parent, Name: mimeName(is.Name), Kind: backup.File, Created: is.Created, Modified: is.Modified,
		CTag: is.Content, Content: content.ID, Size: content.Size,
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.update.Put(entry)
	p.fetched++
	p.bytes += entry.Size
	p.sample(entry)
	return nil
}

// leave leaves a message to a later run. A MIME that is of another stream than the one
// that is held now goes until then, unless it is named.
func (c *mimeRun) leave(is, was vault.Entry, held bool) error {
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	if old, named := c.p.old[mimeID(is.ID)]; named {
		c.p.unread[old.Item] = old
	} else {
		c.behind = true
		if held && was.CTag != is.Content {
			c.p.update.Delete(mimeID(is.ID))
		}
	}
	return nil
}

// failed names a message whose MIME could not be read. It returns only what must end
// the run: the items are held, whatever becomes of this.
func (c *mimeRun) failed(ctx context.Context, is, was vault.Entry, held bool, err error) error {
	p := c.p
	if ctx.Err() != nil || !isSource(err) && !paused(err) {
		return err
	}
	code, why := unreadable(drive.Item{}, err)
	switch {
	case paused(err):
		c.stop(nil)
		return c.leave(is, was, held)
	case errors.Is(err, drive.ErrDenied):
		switch may := c.mayRead(ctx); {
		case may == nil: // but not this one
			code = backup.DriveUnavailable
		case !errors.Is(may, drive.ErrDenied):
			c.stop(nil)
			return c.leave(is, was, held)
		default:
			c.stop(&backup.Unread{Code: code, Message: "The source refuses to give messages as MIME (.eml). They are held as Exchange exports them. " +
				"Give the application the permission Mail.Read, or have the server keep no MIME: \"mime\": false."})
			return c.leave(is, was, held)
		}
	case errors.Is(err, drive.ErrUnavailable):
		if whole := p.stage.ifWhole(ctx, err); whole != nil {
			c.stop(nil)
			return c.leave(is, was, held)
		}
	}
	c.mu.Lock()
	c.named++
	many := c.named > maxNoMIME
	c.mu.Unlock()
	if many {
		c.stop(&backup.Unread{Code: code, Message: "The source does not give messages as MIME (.eml), of which the first are named. They are held as Exchange exports them, and are asked for again later."})
		return c.leave(is, was, held)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if held {
		c.put(is, was)
	}
	at := p.stage.path(ctx, is.ID)
	p.note(ctx, mimeID(is.ID), code, "The message is held as Exchange exports it, and not as MIME (.eml), by which it could be read without Exchange. "+why)
	u := p.unread[mimeID(is.ID)]
	u.Path = mimeName(at)
	p.unread[u.Item] = u
	return nil
}

// mayRead returns why the source gives no message of the mailbox at all; nil if it does,
// so that what it refuses is one of them.
func (c *mimeRun) mayRead(ctx context.Context) error {
	c.look.Do(func() {
		c.may = c.source.client.MayReadMail(ctx, c.source.box, backup.ObjectID(c.p.unit.Subject))
	})
	return c.may
}

// stop has no more be read in this run, for a reason that stands against all messages
// if there is one.
func (c *mimeRun) stop(why *backup.Unread) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over = true; why != nil && c.brief == nil {
		c.brief = why
	}
}

// after names what stands against all messages.
func (c *mimeRun) after(ctx context.Context) error {
	p := c.p
	if c.brief == nil || !c.on {
		return nil
	}
	c.behind = true
	if c.brief.Item == "" {
		p.note(ctx, c.all(), c.brief.Code, c.brief.Message)
		u := p.unread[c.all()]
		u.Path = "*." + mimeEnd
		c.brief = &u
	}
	p.unread[c.all()] = *c.brief
	return nil
}

// mime reads a message as MIME. One that may have been cut is read again: what comes
// twice the same is what the source has.
func (s *mailSource) mime(ctx context.Context, id backup.ItemID, size int64) (*drive.MIME, error) {
	var before [sha256.Size]byte
	for try := 1; ; try++ {
		x, err := s.client.MailMIME(ctx, s.box, backup.ObjectID(s.run.unit.Subject), id, s.dir)
		if err != nil {
			return nil, err
		}
		if x.Ends && x.Size() >= size/leastMIME || x.Sum == before {
			return x, nil
		}
		before = x.Sum
		x.Close()
		if try > maxTries {
			return nil, fmt.Errorf("%w: it is another one each time", drive.ErrContent)
		}
	}
}

// leastMIME is how many times shorter a message may be as MIME than as a stream before
// it is doubted that all of it came.
const leastMIME = 4
