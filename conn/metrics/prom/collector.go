// Package prom exports a metrics.Set to Prometheus.
//
//	prometheus.MustRegister(prom.New(&set))
//
// Names are those of Metric.Prometheus, and labels those of Metric.Labels. The folder has
// a dashboard for Grafana with them, dashboard.json.
package prom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-7f57ff33/tickwire/conn/metrics"
)

// Collector is a prometheus.Collector. It reads the values when it is asked.
type Collector struct {
	set   *metrics.Set
	descs map[*metrics.Metric]*prometheus.Desc
}

// New returns the collector of a Set. What is added to the Set later is exported too. To
// distinguish several Sets in one registry, wrap the registerer:
// prometheus.WrapRegistererWith.
func New(set *metrics.Set) *Collector {
	c := &Collector{set, map[*metrics.Metric]*prometheus.Desc{}}
	for _, m := range metrics.Metrics() {
		c.descs[m] = prometheus.NewDesc(m.Prometheus(), m.Help, m.Labels, nil)
	}
	return c
}

// Describe sends the descriptions of all metrics.
func (c *Collector) Describe(to chan<- *prometheus.Desc) {
	for _, m := range metrics.Metrics() {
		to <- c.descs[m]
	}
}

// Collect sends all current values.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	c.set.Collect(func(m *metrics.Metric, value float64, labels ...string) {
		kind := prometheus.GaugeValue
		if m.Kind == metrics.Counter {
			kind = prometheus.CounterValue
		}
		to <- prometheus.MustNewConstMetric(c.descs[m], kind, value, labels...)
	})
	c.set.Histograms(func(m *metrics.Metric, b metrics.Buckets, labels ...string) {
		below := make(map[float64]uint64, len(m.Bounds))
		for i, bound := range m.Bounds {
			below[bound] = b.Below[i]
		}
		to <- prometheus.MustNewConstHistogram(c.descs[m], b.Count, b.Sum, below, labels...)
	})
}
