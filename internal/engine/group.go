package engine

import (
	"context"
	"fmt"
	"runtime/debug"

	"golang.org/x/sync/errgroup"
)

// A group does parts of one handler's work at the same time. It is an
// errgroup.Group, but that a panic in a part fails the work, as one in the
// handler itself does: alone, it would end the process, and all other work
// with it.
type group struct{ *errgroup.Group }

func newGroup(ctx context.Context) (group, context.Context) {
	g, inGroup := errgroup.WithContext(ctx)
	return group{g}, inGroup
}

// Go has a part of the work done.
func (g group) Go(part func() error) {
	g.Group.Go(func() (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
		}()
		return part()
	})
}
