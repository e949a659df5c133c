package engine

import (
	"context"
	"errors"
	"time"

	"holdfast/internal/drive"
	"holdfast/internal/jobs"
)

// How long a job rests when the source asks to be left alone: as long as it
// says, within these bounds.
const (
	shortestPause = time.Second
	usualPause    = time.Minute // when it does not say
	longestPause  = time.Hour
)

// paused reports whether the source asked to be left alone for longer than a
// worker should wait.
func paused(err error) bool { return errors.Is(err, drive.ErrPaused) }

// pausing is a handler whose job goes back to the queue when the source asks to
// be left alone: the worker is free for others, and it counts as no failure.
func (e *Engine) pausing(h jobs.Handler) jobs.Handler {
	return func(ctx context.Context, j *jobs.Job) (jobs.Result, error) {
		result, err := h(ctx, j)
		if !paused(err) || errors.Is(err, jobs.ErrLost) || ctx.Err() != nil {
			return result, err
		}
		wait := usualPause
		if asked, ok := errors.AsType[*drive.Error](err); ok && asked.RetryAfter > 0 {
			wait = min(max(asked.RetryAfter, shortestPause), longestPause)
		}
		at := e.next(wait, string(j.Kind)+" "+j.Key)
		e.Log.DebugContext(ctx, "work waits: the source asks for a pause", "tenant", j.Tenant, "kind", j.Kind, "key", j.Key, "until", at, "err", err)
		return jobs.Paused(at, err), nil
	}
}
