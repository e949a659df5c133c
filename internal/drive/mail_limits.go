package drive

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"holdfast/internal/backup"
)

// mailCalls is how many calls the service serves of one application in one mailbox at a
// time. It also counts them, and what is sent, by mailbox, and then asks for a pause,
// which is that mailbox's alone.
const mailCalls = 4

// mailboxes are those that are being asked for something.
type mailboxes struct {
	mu sync.Mutex
	of map[backup.DriveID]*mailboxCalls
}

type mailboxCalls struct {
	slots  chan struct{}
	users  int       // calls at work, or waiting
	closed time.Time // until when it asked to be left alone
}

// enter waits until a mailbox may be asked for something. Whoever enters leaves.
func (x *mailboxes) enter(ctx context.Context, m backup.DriveID) (leave func(), err error) {
	x.mu.Lock()
	b := x.of[m]
	if b == nil {
		if x.of == nil {
			x.of = map[backup.DriveID]*mailboxCalls{}
		}
		b = &mailboxCalls{slots: make(chan struct{}, mailCalls)}
		x.of[m] = b
	}
	b.users++
	x.mu.Unlock()
	done := func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		if b.users--; b.users == 0 {
			delete(x.of, m)
		}
	}
	select {
	case b.slots <- struct{}{}:
		return func() { <-b.slots; done() }, nil
	case <-ctx.Done():
		done()
		return nil, ctx.Err()
	}
}

// close has a mailbox be left alone until a time; open says how long that is still.
func (x *mailboxes) close(m backup.DriveID, until time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if b := x.of[m]; b != nil && until.After(b.closed) {
		b.closed = until
	}
}

func (x *mailboxes) rest(m backup.DriveID, now time.Time) time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	if b := x.of[m]; b != nil {
		return b.closed.Sub(now)
	}
	return 0
}

// passMail waits until k's mailbox no longer asks to be left alone.
func (c *Client) passMail(ctx context.Context, k *call) error {
	for {
		d := c.mail.rest(k.mailbox, c.cfg.Clock())
		switch {
		case d <= 0:
			return nil
		case d > c.cfg.MaxPause:
			return &Error{Op: k.op, RetryAfter: d, kind: ErrPaused}
		}
		if err := c.sleep(ctx, k.op, d); err != nil {
			return err
		}
	}
}

// throttledMail reports whether a call failed because its mailbox was asked for too
// much, and is to be tried again, which waits. The mailbox may ask for a pause that
// nobody waits for here.
func (c *Client) throttledMail(ctx context.Context, k *call, failure error) (again bool, paused error) {
	e, ok := errors.AsType[*Error](failure)
	if !ok || k.mailbox == "" || e.Status != http.StatusTooManyRequests || !e.has("MailboxConcurrency", "ApplicationThrottled") {
		return false, nil
	}
	d := e.RetryAfter
	if d <= 0 {
		d = 10 * time.Second
	}
	c.cfg.Log.InfoContext(ctx, "a mailbox was asked for too much, will be tried again", "err", e, "in", d)
	c.mail.close(k.mailbox, c.cfg.Clock().Add(d))
	if d > c.cfg.MaxPause {
		long := *e
		long.kind, long.again, long.RetryAfter = ErrPaused, false, d
		return false, &long
	}
	return true, nil // the next try waits
}
