package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"holdfast/internal/backup"
	"holdfast/internal/database"
	"holdfast/internal/graphapi"
)

// A presence is this process among those that work on its database.
type presence struct {
	self     database.Process
	stop     func()                 // has it be gone
	aside    chan struct{}          // closed when the database is not for this version any more
	outdated atomic.Pointer[string] // why; nil before
	draining atomic.Bool            // it is about to stop, and wants no more requests
}

// processName is what this process is called where people see it.
func processName() string {
	host, _ := os.Hostname()
	return fmt.Sprintf("%s/%d", host, os.Getpid())
}

// appear has this process be seen in its database, until close.
func (s *server) appear(ctx context.Context) error {
	if s.db.Ahead() {
		s.log.Info("the database was brought up to date by a newer version, which this one works beside; it changes nothing of the schema")
	}
	p := &s.presence
	p.self = database.Process{ID: backup.NewID[string](), Name: processName(), Version: version(), Role: string(cmp.Or(s.cfg.Role, RoleAll)), Since: time.Now()}
	p.self.Seen = p.self.Since
	p.aside = make(chan struct{})
	if s.cfg.Alone { // one that was killed is not there any more
		others, err := s.db.Processes(ctx, p.self.Since)
		if err != nil {
			return err
		}
		for _, other := range others {
			if err := s.db.Gone(ctx, other.ID); err != nil {
				return err
			}
		}
	}
	if err := s.db.Seen(ctx, p.self); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	over := make(chan struct{})
	p.stop = func() {
		cancel()
		<-over
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
		defer cancel()
		if err := s.db.Gone(ctx, p.self.ID); err != nil {
			s.log.Warn("the database was not told that this process stops; it forgets it within minutes", "err", err)
		}
	}
	go func() {
		defer close(over)
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(database.SeenEvery):
			}
			if !s.beSeen(ctx, time.Now()) {
				return
			}
		}
	}()
	return nil
}

// beSeen says that this process is there. It reports whether to go on: where this version
// does not work with the database any more, it stands aside.
func (s *server) beSeen(ctx context.Context, now time.Time) bool {
	self := s.presence.self
	self.Seen = now
	limited, cancel := context.WithTimeout(ctx, database.SeenEvery)
	defer cancel()
	err := s.db.Seen(limited, self)
	switch {
	case errors.Is(err, database.ErrNewer):
		s.log.Error("this process stands aside: stop it", "err", err)
		s.presence.outdated.Store(new("this process is of a version that does not work with the database any more: stop it"))
		close(s.presence.aside)
		return false
	case err == nil:
		s.hush.over("seen")
	case ctx.Err() == nil && s.hush.tell("seen"):
		s.log.Warn("the database was not told that this process is there; it is tried again", "err", err)
	}
	return true
}

// leaving says why no requests are to be sent to this process, "" if they may.
func (p *presence) leaving() string {
	if why := p.outdated.Load(); why != nil {
		return *why
	}
	if p.draining.Load() {
		return "this process stops"
	}
	return ""
}

// drain has the workers stop, and others take their jobs up, while requests are still
// answered: for so long, in which /readyz says that there should be no more of them.
func (s *server) drain(ctx context.Context, long time.Duration) {
	s.presence.draining.Store(true)
	if s.stop != nil {
		s.stop()
	}
	if long <= 0 {
		return
	}
	s.log.Info("stopping; requests are answered meanwhile", "for", long)
	select {
	case <-time.After(long):
	case <-ctx.Done():
	}
}

// versions are those of the processes on the database, and how many each has.
func (s *server) versions(ctx context.Context) ([]graphapi.Version, error) {
	all, err := s.db.Processes(ctx, time.Now())
	if err != nil {
		return nil, err
	}
	var of []graphapi.Version
	for _, p := range all {
		i := slices.IndexFunc(of, func(v graphapi.Version) bool { return v.Name == p.Version })
		if i < 0 {
			i, of = len(of), append(of, graphapi.Version{Name: p.Version})
		}
		of[i].Processes++
	}
	return of, nil
}
