package backup

import "context"

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
