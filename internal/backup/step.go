package backup

import (
	"context"
	"sync/atomic"
)

// A Step is a part of what is done, as traces show it: a request, a job, a call. What is
// said of it names no person, no file and no secret.
type Step interface {
	// Note says something of it: a text or a number.
	Note(name string, value any)
	End(failed bool)
}

// A Tracer begins steps; the context that it returns is of what is done in one.
type Tracer func(ctx context.Context, name string) (context.Context, Step)

var tracer atomic.Pointer[Tracer]

// TraceBy has all steps be begun by t, nil for none.
func TraceBy(t Tracer) {
	if t == nil {
		tracer.Store(nil)
		return
	}
	tracer.Store(&t)
}

// Tracing reports whether steps are traced.
func Tracing() bool { return tracer.Load() != nil }

// BeginStep begins a step, which costs next to nothing where nobody traces.
func BeginStep(ctx context.Context, name string) (context.Context, Step) {
	if t := tracer.Load(); t != nil {
		return (*t)(ctx, name)
	}
	return ctx, noStep{}
}

type noStep struct{}

func (noStep) Note(string, any) {}
func (noStep) End(bool)         {}
