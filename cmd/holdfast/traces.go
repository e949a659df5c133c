package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	api "go.opentelemetry.io/otel/trace"

	"holdfast/internal/backup"
)

// traceTime is how long it may take to send the last spans.
const traceTime = 3 * time.Second

// startTraces sends traces to where the variables of OpenTelemetry say, by OTLP over
// HTTP, until stop; without them it does nothing.
func startTraces(ctx context.Context, log *slog.Logger) (stop func(), err error) {
	if os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT")+os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" || os.Getenv("OTEL_SDK_DISABLED") == "true" {
		return func() {}, nil
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces could not be sent", "err", err) }))
	sender, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("traces cannot be sent as the variables OTEL_EXPORTER_OTLP_… say: %w", err)
	}
	// What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say comes before ours. Nothing
	// else of the machine or the command line is told.
	about, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "holdfast"), attribute.String("service.version", version())), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("traces cannot be sent as the variables OTEL_… say: %w", err)
	}
	provider := trace.NewTracerProvider(trace.WithBatcher(sender), trace.WithResource(about), trace.WithIDGenerator(byCause{}))
	tracer := provider.Tracer("holdfast")
	backup.TraceBy(func(ctx context.Context, name string) (context.Context, backup.Step) {
		ctx, s := tracer.Start(ctx, name)
		return ctx, step{s}
	})
	return func() {
		backup.TraceBy(nil)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), traceTime)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			log.Warn("the last traces could not be sent", "err", err)
		}
	}, nil
}

// step is a span of OpenTelemetry.
type step struct{ api.Span }

func (s step) Note(name string, value any) {
	switch v := value.(type) {
	case string:
		s.SetAttributes(attribute.String(name, v))
	case int:
		s.SetAttributes(attribute.Int(name, v))
	}
}

func (s step) End(failed bool) {
	if failed { // why is in the log, which may name what traces must not
		s.SetStatus(codes.Error, "")
	}
	s.Span.End()
}

// byCause gives a trace the id of the request that caused it, which the log, the jobs
// and the answer have too. So what a request causes is one trace, whichever process does it.
type byCause struct{}

func (byCause) NewIDs(ctx context.Context) (id api.TraceID, first api.SpanID) {
	cause, err := hex.DecodeString(strings.ReplaceAll(backup.CauseOf(ctx), "-", ""))
	if err != nil || len(cause) != len(id) {
		cause = cause[:0]
	}
	if copy(id[:], cause) == 0 {
		rand.Read(id[:])
	}
	rand.Read(first[:])
	return id, first
}

func (byCause) NewSpanID(context.Context, api.TraceID) (id api.SpanID) {
	rand.Read(id[:])
	return id
}
