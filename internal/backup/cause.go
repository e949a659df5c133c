package backup

import (
	"context"
	"log/slog"
	"strings"
)

type causeKey struct{}

// WithCause returns a context in which what is done is known by an id: that of the
// request that caused it, or of a run of a job that no request caused. Whatever it
// logs has the id.
func WithCause(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, causeKey{}, id)
}

// CauseOf returns the id, "" if there is none.
func CauseOf(ctx context.Context) string {
	id, _ := ctx.Value(causeKey{}).(string)
	return id
}

// NameCause returns a handler of which each line names the id as request_id.
func NameCause(h slog.Handler) slog.Handler { return causeNamer{h} }

type causeNamer struct{ slog.Handler }

func (h causeNamer) Handle(ctx context.Context, r slog.Record) error {
	if id := CauseOf(ctx); id != "" {
		r.AddAttrs(slog.String("request_id", id))
		if Tracing() { // the same, as traces write it
			r.AddAttrs(slog.String("trace_id", strings.ReplaceAll(id, "-", "")))
		}
	}
	return h.Handler.Handle(ctx, r)
}

func (h causeNamer) WithAttrs(attrs []slog.Attr) slog.Handler {
	return causeNamer{h.Handler.WithAttrs(attrs)}
}

func (h causeNamer) WithGroup(name string) slog.Handler { return causeNamer{h.Handler.WithGroup(name)} }
