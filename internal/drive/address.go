package drive

import (
	"sync"
	"time"

	"holdfast/internal/backup"
)

// addresses are where contents can be had, as far as listings said so: with one
// of them a content takes one call of the source's, and without it two. They are
// as good as keys, so they are kept in memory only, and each is used once.
type addresses struct {
	mu     sync.Mutex
	of     map[backup.DriveID]map[backup.ItemID]address
	size   int       // of all, in bytes
	swept  time.Time // when those that are too old were last dropped
	barred time.Time // those that were given by then are no longer taken
}

type address struct {
	url   string
	given time.Time
}

const (
	// addressesHeld is how much of memory they may take. What a listing gives
	// beyond that is asked for when it is wanted.
	addressesHeld = 16 << 20
	// addressSize is what one takes beside its text.
	addressSize = 200
	// maxAddress is more than servers take.
	maxAddress = 8 << 10
	// addressLife is how long one is tried. The service says that they last an
	// hour, and elsewhere that they last minutes.
	addressLife = 45 * time.Minute
	// sweepEvery is how often those that are older are looked for where there is no room.
	sweepEvery = time.Minute
)

// give keeps an address, if there is room.
func (a *addresses) give(d backup.DriveID, id backup.ItemID, url string, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.drop(d, id)
	if a.size+len(url)+addressSize > addressesHeld && now.Sub(a.swept) >= sweepEvery {
		a.sweep(now)
	}
	if a.size+len(url)+addressSize > addressesHeld {
		return
	}
	if a.of == nil {
		a.of = map[backup.DriveID]map[backup.ItemID]address{}
	}
	if a.of[d] == nil {
		a.of[d] = map[backup.ItemID]address{}
	}
	a.of[d][id] = address{url, now}
	a.size += len(url) + addressSize
}

// sweep drops what is not worth a try any more: of a listing whose reader has ended
// without a word, which would keep the room for ever.
func (a *addresses) sweep(now time.Time) {
	a.swept = now
	for d, of := range a.of {
		for id, at := range of {
			if now.Sub(at.given) > addressLife {
				a.drop(d, id)
			}
		}
		if len(of) == 0 {
			delete(a.of, d)
		}
	}
}

// take returns an address once, with the time when it was given; "" if there is
// none that is worth a try.
func (a *addresses) take(d backup.DriveID, id backup.ItemID, now time.Time) address {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := a.drop(d, id)
	if age := now.Sub(at.given); age < 0 || age > addressLife || !at.given.After(a.barred) {
		return address{}
	}
	return at
}

func (a *addresses) drop(d backup.DriveID, id backup.ItemID) address {
	at, ok := a.of[d][id]
	if ok {
		delete(a.of[d], id)
		a.size -= len(at.url) + addressSize
	}
	return at
}

// bar notes that an address was refused as a key that does not fit: those that
// are as old are not tried.
func (a *addresses) bar(given time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if given.After(a.barred) {
		a.barred = given
	}
}

// forget drops a drive's.
func (a *addresses) forget(d backup.DriveID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id := range a.of[d] {
		a.drop(d, id)
	}
	delete(a.of, d)
}

// Forget drops what the client remembers of the files that a delta of the drive
// listed. Whoever has read what a delta listed calls it; to be without it costs
// calls, and nothing else.
func (c *Client) Forget(d backup.DriveID) { c.addresses.forget(d) }
