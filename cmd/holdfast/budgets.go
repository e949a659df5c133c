package main

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/internal/backup"
	"holdfast/internal/budget"
	"holdfast/internal/catalog"
)

// budgets tells Prometheus what was asked of the source of each tenant that is served,
// by all processes that share the database.
type budgets struct {
	catalog *catalog.Catalog
	serves  func(backup.TenantID) bool
}

var (
	sourceUnits = prometheus.NewDesc("holdfast_source_units", "Resource units that all processes spent at the tenant's source in the last minute or day.", []string{"tenant", "span"}, nil)
	sourceLimit = prometheus.NewDesc("holdfast_source_units_limit", "Resource units that the tenant's source allows in a minute or day.", []string{"tenant", "span"}, nil)
	sourcePause = prometheus.NewDesc("holdfast_source_pause_seconds", "For how long the tenant's source wants to be left alone.", []string{"tenant"}, nil)
)

// scrapeTime is how long a look at the budgets may take.
const scrapeTime = 5 * time.Second

func (b budgets) Describe(ch chan<- *prometheus.Desc) {
	ch <- sourceUnits
	ch <- sourceLimit
	ch <- sourcePause
}

func (b budgets) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
	defer cancel()
	states, err := b.catalog.Budgets(ctx)
	if err != nil {
		return // an error would take all other metrics with it
	}
	now := time.Now()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for t, state := range states {
		if !b.serves(t) {
			continue // others serve it, or nobody any more
		}
		u := budget.UsageOf(state, now)
		gauge(sourceUnits, float64(u.Minute), string(t), "minute")
		gauge(sourceUnits, float64(u.Day), string(t), "day")
		if u.PerMinute > 0 {
			gauge(sourceLimit, float64(u.PerMinute), string(t), "minute")
		}
		if u.PerDay > 0 {
			gauge(sourceLimit, float64(u.PerDay), string(t), "day")
		}
		gauge(sourcePause, max(0, u.Paused.Sub(now).Seconds()), string(t))
	}
}
