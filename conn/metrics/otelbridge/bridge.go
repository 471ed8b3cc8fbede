// Package otelbridge exports a metrics.Set to OpenTelemetry.
//
//	stop, err := otelbridge.Register(provider.Meter(otelbridge.Scope), &set)
//
// Names and units are Metric.Name and Metric.Unit. Labels are attributes: direction is
// network.io.direction, reason is error.type, and the others have the prefix "tickwire.".
// An empty label is left out.
package otelbridge

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/seed-7f57ff33/tickwire/conn/metrics"
)

// Scope is a name for the Meter: that of this package.
const Scope = "github.com/seed-7f57ff33/tickwire/conn/metrics/otelbridge"

// Register makes the instruments. Values are read when the Meter's reader asks, except
// round trips, which are recorded at once. What is added to the Set later is exported
// too. After stop nothing is exported.
func Register(meter metric.Meter, set *metrics.Set) (stop func() error, err error) {
	b := &bridge{
		ints: map[*metrics.Metric]metric.Int64Observable{}, floats: map[*metrics.Metric]metric.Float64Observable{},
		histograms: map[*metrics.Metric]metric.Float64Histogram{},
	}
	var all []metric.Observable
	for _, m := range metrics.Metrics() {
		o, failed := b.instrument(meter, m)
		if o != nil {
			all = append(all, o)
		}
		err = errors.Join(err, failed)
	}
	if err != nil {
		return nil, err
	}
	registered, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		set.Collect(func(m *metrics.Metric, value float64, labels ...string) { b.observe(o, m, value, labels) })
		return nil
	}, all...)
	if err != nil {
		return nil, err
	}
	deaf := set.Observe(func(m *metrics.Metric, value float64, labels ...string) {
		b.histograms[m].Record(context.Background(), value, metric.WithAttributeSet(attributes(m, labels)))
	})
	return func() error {
		deaf()
		return registered.Unregister()
	}, nil
}

type bridge struct {
	ints       map[*metrics.Metric]metric.Int64Observable
	floats     map[*metrics.Metric]metric.Float64Observable
	histograms map[*metrics.Metric]metric.Float64Histogram
}

// instrument makes the instrument of a metric. Seconds are floating-point numbers, and
// all others are integers.
func (b *bridge) instrument(meter metric.Meter, m *metrics.Metric) (o metric.Observable, err error) {
	help, unit := metric.WithDescription(m.Help), metric.WithUnit(m.Unit)
	seconds := m.Unit == "s"
	switch {
	case m.Kind == metrics.Histogram:
		b.histograms[m], err = meter.Float64Histogram(m.Name, help, unit, metric.WithExplicitBucketBoundaries(m.Bounds...))
		return nil, err
	case m.Kind == metrics.Counter && seconds:
		b.floats[m], err = meter.Float64ObservableCounter(m.Name, help, unit)
	case m.Kind == metrics.UpDown && seconds:
		b.floats[m], err = meter.Float64ObservableUpDownCounter(m.Name, help, unit)
	case seconds:
		b.floats[m], err = meter.Float64ObservableGauge(m.Name, help, unit)
	case m.Kind == metrics.Counter:
		b.ints[m], err = meter.Int64ObservableCounter(m.Name, help, unit)
	case m.Kind == metrics.UpDown:
		b.ints[m], err = meter.Int64ObservableUpDownCounter(m.Name, help, unit)
	default:
		b.ints[m], err = meter.Int64ObservableGauge(m.Name, help, unit)
	}
	if seconds {
		return b.floats[m], err
	}
	return b.ints[m], err
}

func (b *bridge) observe(o metric.Observer, m *metrics.Metric, value float64, labels []string) {
	with := metric.WithAttributeSet(attributes(m, labels))
	if f := b.floats[m]; f != nil {
		o.ObserveFloat64(f, value, with)
	} else {
		o.ObserveInt64(b.ints[m], int64(value), with)
	}
}

func attributes(m *metrics.Metric, labels []string) attribute.Set {
	var list []attribute.KeyValue
	for i, key := range m.Labels {
		if labels[i] != "" {
			list = append(list, attribute.String(attributeKey(key), labels[i]))
		}
	}
	return attribute.NewSet(list...)
}

// attributeKey returns the attribute key for a label: that of the semantic conventions if
// there is one.
func attributeKey(label string) string {
	switch label {
	case metrics.LabelDirection:
		return "network.io.direction"
	case metrics.LabelReason:
		return "error.type"
	}
	return "tickwire." + label
}
