package simtenant

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// MailOptions are habits of Exchange that clients must survive, and its limits.
// The zero value is the service as it is documented.
type MailOptions struct {
	// Corrupt is the end of the names of files that are listed, and never read.
	Corrupt string `json:"corrupt,omitempty"`
	// Denied are the addresses of mailboxes that an access policy keeps the
	// applications from.
	Denied []string `json:"denied,omitempty"`
	// Full says that mailboxes are full: deltas of items are refused.
	Full bool `json:"full,omitempty"`
	// LoseReturns has deltas with immutable ids keep silent about what left a
	// folder and came back.
	LoseReturns bool `json:"loseReturns,omitempty"`
	// TopFolders has the list of all folders name the top ones only.
	TopFolders bool `json:"topFolders,omitempty"`

	// The limits of each application and mailbox; 0 is the service's own.
	Concurrency int `json:"concurrency,omitempty"` // requests at a time
	Requests    int `json:"requests,omitempty"`    // in ten minutes
	// Upload is how many bytes may be sent to a mailbox in five minutes.
	Upload int64 `json:"upload,omitempty"`
}

// The limits of the service.
const (
	mailConcurrency = 4
	mailRequests    = 10_000
	mailRequestSpan = 10 * time.Minute
	mailUpload      = 150 << 20 // bytes
	mailUploadSpan  = 5 * time.Minute
)

// mailLimits counts what applications do with mailboxes.
type mailLimits struct {
	mu sync.Mutex
	by map[mailUser]*mailUse
}

// mailUser is an application in a mailbox.
type mailUser struct{ app, mailbox string }

type mailUse struct {
	now      int // requests at work
	requests window
	uploaded window
}

// window is a sum over the last stretch of time, in tenths of it.
type window struct {
	slots [10]int64
	at    int64 // number of the newest slot since 1970
}

// sum is what was added in the last span before t.
func (w *window) sum(t time.Time, span time.Duration) (total int64) {
	w.turn(t, span)
	for _, n := range w.slots {
		total += n
	}
	return total
}

func (w *window) add(t time.Time, span time.Duration, n int64) {
	w.turn(t, span)
	w.slots[w.at%10] += n
}

func (w *window) turn(t time.Time, span time.Duration) {
	now := t.UnixNano() / int64(span/10)
	if now-w.at >= 10 || now < w.at {
		*w = window{at: now}
	}
	for ; w.at < now; w.at++ {
		w.slots[(w.at+1)%10] = 0
	}
}

// wait is how long it takes until the sum falls below most.
func (w *window) wait(t time.Time, span time.Duration, most int64) time.Duration {
	total := w.sum(t, span)
	for i := int64(1); i <= 10; i++ {
		total -= w.slots[(w.at+i)%10]
		if total < most {
			return time.Unix(0, (w.at+i)*int64(span/10)).Sub(t)
		}
	}
	return span
}

// enter counts a request. The caller calls leave when it is over.
func (l *mailLimits) enter(s *Service, app string, p place) (leave func(), err error) {
	opts, now := s.faults.options().Mail, s.clock()
	l.mu.Lock()
	defer l.mu.Unlock()
	use := l.of(now, mailUser{app, p.id()})
	if most := int64(orElse(opts.Requests, mailRequests)); use.requests.sum(now, mailRequestSpan) >= most {
		return nil, throttled("ApplicationThrottled", "Application is over its request limit of this mailbox.", use.requests.wait(now, mailRequestSpan, most))
	}
	use.requests.add(now, mailRequestSpan, 1)
	if use.now >= orElse(opts.Concurrency, mailConcurrency) {
		return nil, throttled("MailboxConcurrency", "Application is over its MailboxConcurrency limit.", time.Second)
	}
	use.now++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		use.now--
	}, nil
}

// upload counts n bytes that are sent to a mailbox. What is larger than the limit
// may come when nothing else did.
func (l *mailLimits) upload(s *Service, app string, p place, n int64) error {
	most, now := orElse(s.faults.options().Mail.Upload, mailUpload), s.clock()
	l.mu.Lock()
	defer l.mu.Unlock()
	use := l.of(now, mailUser{app, p.id()})
	if have := use.uploaded.sum(now, mailUploadSpan); have > 0 && have+n > most {
		return throttled("ApplicationThrottled", "Application is over its upload limit of this mailbox.", use.uploaded.wait(now, mailUploadSpan, max(1, most-n)))
	}
	use.uploaded.add(now, mailUploadSpan, n)
	return nil
}

// keepUses is how many applications in mailboxes are counted before those that
// have been idle are forgotten.
const keepUses = 10_000

func (l *mailLimits) of(now time.Time, user mailUser) *mailUse {
	if use := l.by[user]; use != nil {
		return use
	}
	if l.by == nil {
		l.by = map[mailUser]*mailUse{}
	}
	if len(l.by) >= keepUses {
		for key, use := range l.by {
			if use.now == 0 && use.requests.sum(now, mailRequestSpan) == 0 {
				delete(l.by, key)
			}
		}
	}
	use := &mailUse{}
	l.by[user] = use
	return use
}

func orElse[T int | int64 | time.Duration](n, preset T) T {
	if n != 0 {
		return n
	}
	return preset
}

func throttled(code, message string, wait time.Duration) error {
	e := fail(http.StatusTooManyRequests, code, message)
	e.header = http.Header{"Retry-After": {strconv.Itoa(max(1, int((wait+time.Second-1)/time.Second)))}}
	return e
}

// mailIncoming is the folder, beside the mailboxes, where what is imported is
// put together.
const mailIncoming = ".incoming"

func (s *Service) incoming() string { return filepath.Join(s.cfg.Mail, mailIncoming) }

// makeMail makes the folder of mailboxes, and those that come with it.
func (s *Service) makeMail() error {
	if s.cfg.Mail == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Join(s.cfg.State, "mailboxes"), 0o700); err != nil {
		return fmt.Errorf("make the simulated tenant's state folder: %w", err)
	}
	if err := os.MkdirAll(s.cfg.Mail, 0o755); err != nil {
		return fmt.Errorf("make the folder of mailboxes: %w", err)
	}
	return nil
}

// openMail opens the folder of mailboxes.
func (s *Service) openMail() (err error) {
	if s.cfg.Mail == "" {
		return nil
	}
	if s.mailRoot, err = os.OpenRoot(s.cfg.Mail); err != nil {
		return fmt.Errorf("open the folder of mailboxes: %w", err)
	}
	for _, here := range s.folders {
		s.mailboxes[mailboxOf(here).mailboxGUID()] = here
	}
	if err := s.emptyIncoming(); err != nil {
		return err
	}
	if err := os.Mkdir(s.incoming(), 0o700); err != nil {
		return fmt.Errorf("make the folder of imports: %w", err)
	}
	return nil
}

// emptyIncoming removes what was to be imported.
func (s *Service) emptyIncoming() error {
	if s.mailRoot == nil {
		return nil
	}
	if err := os.RemoveAll(s.incoming()); err != nil {
		return fmt.Errorf("empty the folder of imports: %w", err)
	}
	return nil
}

// makeMailboxes makes the mailboxes of users who have none.
func (s *Service) makeMailboxes() error {
	if s.mailRoot == nil {
		return nil
	}
	entries, err := os.ReadDir(s.cfg.Mail)
	if err != nil {
		return fmt.Errorf("list the folder of mailboxes: %w", err)
	}
	have := make(map[string]bool, len(entries))
	for _, e := range entries {
		have[e.Name()] = true
	}
	for folder := range s.folders {
		if have[folder] {
			continue
		}
		if err := s.mailRoot.Mkdir(folder, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make a user's mailbox: %w", err)
		}
	}
	return nil
}

// rootOf is the folder in which a place's folder is.
func (s *Service) rootOf(p place) *os.Root {
	switch {
	case p.isMailbox():
		return s.mailRoot
	case p.user == nil:
		return s.teams.root
	}
	return s.root
}
