package engine

import "github.com/prometheus/client_golang/prometheus"

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
	return []prometheus.Collector{m.points, m.failures, m.unread, m.found, m.damaged, m.healed, m.verified}
}
