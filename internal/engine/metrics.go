package engine

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/internal/catalog"
)

// metrics count what this process has done since it started. They name no tenant,
// person or file.
type metrics struct {
	points   prometheus.Counter
	failures prometheus.Counter
	unread   prometheus.Counter
	found    prometheus.Counter
	damaged  prometheus.Counter
	healed   prometheus.Counter
	verified prometheus.Counter
}

func newMetrics() metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "holdfast", Name: name, Help: help})
	}
	return metrics{
		points:   counter("restore_points_total", "Restore points made."),
		failures: counter("backup_failures_total", "Backups of drives that failed as a whole."),
		unread:   counter("items_unread_total", "Items that restore points made here do not hold as they were, in all of these points."),
		found:    counter("changes_found_total", "Changes that sources had left out of their deltas and that were found by enumerating or counting."),
		damaged:  counter("vault_damage_found_total", "Things found damaged in vaults."),
		healed:   counter("vault_damage_healed_total", "Damaged contents that were stored anew."),
		verified: counter("vault_verified_bytes_total", "Bytes of contents that were read back from vaults and found whole."),
	}
}

// Collectors returns what the engine counts, for a Prometheus registry.
func (e *Engine) Collectors() []prometheus.Collector {
	m := e.metrics
	return []prometheus.Collector{m.points, m.failures, m.unread, m.found, m.damaged, m.healed, m.verified, rpoCollector{e}}
}

// rpoCollector tells, whenever it is asked, how the drives of the process's
// tenants do by what is promised of their newest points.
type rpoCollector struct{ e *Engine }

var (
	protectedDrives = prometheus.NewDesc("holdfast_protected_drives", "Drives under protection.", nil, nil)
	rpoMissed       = prometheus.NewDesc("holdfast_rpo_missed_drives", "Drives under protection whose newest restore point is older than promised.", nil, nil)
	rpoWorst        = prometheus.NewDesc("holdfast_rpo_worst_seconds", "Age of the newest restore point of the drive that is the longest overdue, or will be next.", nil, nil)
)

func (c rpoCollector) Describe(all chan<- *prometheus.Desc) {
	all <- protectedDrives
	all <- rpoMissed
	all <- rpoWorst
}

func (c rpoCollector) Collect(all chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var sum catalog.RPO
	var worst time.Duration
	for _, tenant := range c.e.Tenants() {
		r, err := c.e.Catalog.RPO(ctx, tenant, 1)
		if err != nil {
			all <- prometheus.NewInvalidMetric(rpoMissed, err)
			return
		}
		sum.Units += r.Units
		sum.Missed += r.Missed
		for _, u := range r.Worst {
			worst = max(worst, c.e.Clock().Sub(u.Newest))
		}
	}
	all <- prometheus.MustNewConstMetric(protectedDrives, prometheus.GaugeValue, float64(sum.Units))
	all <- prometheus.MustNewConstMetric(rpoMissed, prometheus.GaugeValue, float64(sum.Missed))
	all <- prometheus.MustNewConstMetric(rpoWorst, prometheus.GaugeValue, worst.Seconds())
}
