package graphapi

import (
	"crypto/sha256"
	"sync"
	"time"

	"holdfast/internal/backup"
)

const (
	replayLife  = 10 * time.Minute
	replayBytes = 32 << 20
)

// replays remembers what was created for which request, for a while. The
// official clients send a POST again when its answer was lost on the way, with
// the same client-request-id and the same body; such a repetition is answered
// as the first one was, and creates nothing. A repetition that comes while the
// first is still at work waits for it.
//
// It is a convenience of one process, not a promise across restarts: to create
// two things alike, send two client-request-ids or none.
type replays struct {
	clock backup.Clock

	mu    sync.Mutex
	known map[replayKey]*replay
	order []*replay // by age
	bytes int
}

type replayKey struct {
	tenant      backup.TenantID
	app, user   string
	request     string // client-request-id
	path        string
	body        [sha256.Size]byte
	minimal     bool
	base, level string // the rest of what forms the answer
}

type replay struct {
	key    replayKey
	done   chan struct{} // closed when reply is there or will not be
	ok     bool
	reply  reply
	expire time.Time
}

func newReplays(clock backup.Clock) *replays {
	return &replays{clock: clock, known: map[replayKey]*replay{}}
}

// once returns what create returned for the same request before, or calls it.
// Failures are not remembered.
func (c *replays) once(x *exchange, create func() (reply, error)) (reply, error) {
	key := replayKey{
		tenant: x.tenant(), app: x.caller.AppID, user: x.caller.UserID,
		request: x.asked, path: x.r.URL.Path, body: sha256.Sum256(x.raw),
		minimal: x.prefer.Minimal, base: x.base, level: string(x.level),
	}
	for {
		c.mu.Lock()
		c.trim()
		first, found := c.known[key]
		if !found {
			first = &replay{key: key, done: make(chan struct{})}
			c.known[key] = first
			c.mu.Unlock()
			return c.first(first, create)
		}
		c.mu.Unlock()
		select {
		case <-first.done:
		case <-x.ctx().Done():
			return reply{}, x.ctx().Err()
		}
		if first.ok {
			return first.reply, nil
		}
	}
}

func (c *replays) first(r *replay, create func() (reply, error)) (answer reply, err error) {
	defer func() { // also when create panics
		c.mu.Lock()
		defer c.mu.Unlock()
		if r.ok {
			c.order = append(c.order, r)
			c.bytes += len(r.reply.body)
		} else {
			delete(c.known, r.key)
		}
		close(r.done)
	}()
	answer, err = create()
	if err == nil {
		r.ok, r.reply, r.expire = true, answer, c.clock().Add(replayLife)
	}
	return answer, err
}

// trim forgets what is old, and the oldest when there is too much. c.mu is held.
func (c *replays) trim() {
	for len(c.order) > 0 && (c.bytes > replayBytes || len(c.order) > 10_000 || !c.clock().Before(c.order[0].expire)) {
		c.drop(0)
	}
}

func (c *replays) drop(i int) {
	r := c.order[i]
	c.order = append(c.order[:i], c.order[i+1:]...)
	c.bytes -= len(r.reply.body)
	delete(c.known, r.key)
}

// forget drops what was created in a tenant: something there was deleted, and
// must not be answered for again.
func (c *replays) forget(tenant backup.TenantID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := len(c.order) - 1; i >= 0; i-- {
		if c.order[i].key.tenant == tenant {
			c.drop(i)
		}
	}
}
