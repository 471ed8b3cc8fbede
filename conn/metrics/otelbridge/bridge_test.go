package otelbridge_test

import (
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/seed-7f57ff33/tickwire/conn/metrics"
	"github.com/seed-7f57ff33/tickwire/conn/metrics/internal/world"
	"github.com/seed-7f57ff33/tickwire/conn/metrics/otelbridge"
)

// A reader of clients and a server that run is told, value by value, what their own
// counters say; so is one after the end.
func TestCollect(t *testing.T) {
	var set metrics.Set
	reader := sdk.NewManualReader()
	provider := sdk.NewMeterProvider(sdk.WithReader(reader))
	stop, err := otelbridge.Register(provider.Meter(otelbridge.Scope), &set)
	if err != nil {
		t.Fatal(err)
	}
	w := world.Start(t, &set)
	collect := func() map[string]world.Value { return collect(t, reader) }
	w.Compare(t, false, collect)
	w.Stop()
	w.Compare(t, true, collect)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if err := provider.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// labels are the keys of Prometheus for those of attributes.
var labels = map[attribute.Key]string{
	"tickwire.feed": "feed", "tickwire.line": "line", "tickwire.group": "group", "network.io.direction": "direction",
	"tickwire.side": "side", "tickwire.code": "code", "error.type": "reason", "tickwire.outcome": "outcome",
}

// collect returns what the reader is told, under the names of Prometheus: so the values
// of both exporters are compared with the same.
func collect(t *testing.T, reader sdk.Reader) map[string]world.Value {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	got := map[string]world.Value{}
	for _, scope := range all.ScopeMetrics {
		if scope.Scope.Name != otelbridge.Scope {
			t.Errorf("scope %q", scope.Scope.Name)
		}
		for _, m := range scope.Metrics {
			of := described(t, m)
			keep := func(set attribute.Set, value float64, count uint64) {
				v := world.Value{Prom: of.Prometheus(), OTel: m.Name, Labels: map[string]string{}, Value: value, Count: count}
				for _, a := range set.ToSlice() {
					if labels[a.Key] == "" {
						t.Errorf("%s has the attribute %s", m.Name, a.Key)
					}
					v.Labels[labels[a.Key]] = a.Value.AsString()
				}
				got[v.Key()] = v
			}
			points(t, m, of.Kind, keep)
		}
	}
	withEmptyHistograms(got)
	return got
}

// described returns the metric that an instrument is of: the name, unit and help must be
// the same.
func described(t *testing.T, m metricdata.Metrics) *metrics.Metric {
	t.Helper()
	for _, of := range metrics.Metrics() {
		if of.Name == m.Name && of.Unit == m.Unit && of.Help == m.Description {
			return of
		}
	}
	t.Fatalf("%s (%s) is no metric", m.Name, m.Unit)
	return nil
}

// points gives each point to keep, if it is of the kind.
func points(t *testing.T, m metricdata.Metrics, kind metrics.Kind, keep func(attribute.Set, float64, uint64)) {
	t.Helper()
	sum := func(monotonic bool, temporality metricdata.Temporality) {
		if monotonic != (kind == metrics.Counter) || kind > metrics.UpDown || temporality != metricdata.CumulativeTemporality {
			t.Errorf("%s: monotonic %v, %v", m.Name, monotonic, temporality)
		}
	}
	switch data := m.Data.(type) {
	case metricdata.Sum[int64]:
		sum(data.IsMonotonic, data.Temporality)
		for _, p := range data.DataPoints {
			keep(p.Attributes, float64(p.Value), 0)
		}
	case metricdata.Sum[float64]:
		sum(data.IsMonotonic, data.Temporality)
		for _, p := range data.DataPoints {
			keep(p.Attributes, p.Value, 0)
		}
	case metricdata.Gauge[int64]:
		for _, p := range data.DataPoints {
			keep(p.Attributes, float64(p.Value), 0)
		}
	case metricdata.Gauge[float64]:
		for _, p := range data.DataPoints {
			keep(p.Attributes, p.Value, 0)
		}
	case metricdata.Histogram[float64]:
		for _, p := range data.DataPoints {
			keep(p.Attributes, p.Sum, p.Count)
		}
	default:
		t.Errorf("%s is a %T", m.Name, m.Data)
	}
}

// withEmptyHistograms adds the histograms into which nothing has gone: OpenTelemetry has
// no point for them, Prometheus has.
func withEmptyHistograms(got map[string]world.Value) {
	for _, of := range []map[string]string{{"feed": "server"}, {"feed": "lines", "line": "0"}, {"feed": "lines", "line": "1"}} {
		v := world.Value{Prom: "tickwire_conn_round_trip_duration_seconds", OTel: "tickwire.conn.round_trip.duration", Labels: of}
		if _, ok := got[v.Key()]; !ok {
			got[v.Key()] = v
		}
	}
}

// After stop nothing is told, round trips neither, and the Set can be registered again.
func TestStop(t *testing.T) {
	var set metrics.Set
	conns, err := set.Conns("server")
	if err != nil {
		t.Fatal(err)
	}
	reader := sdk.NewManualReader()
	meter := sdk.NewMeterProvider(sdk.WithReader(reader)).Meter(otelbridge.Scope)
	trip := conns.Observer(nil)
	for i := range 3 {
		stop, err := otelbridge.Register(meter, &set)
		if err != nil {
			t.Fatal(err)
		}
		trip.RoundTrip(nil, 1e9)
		got := collect(t, reader)
		rtt := world.Value{Prom: "tickwire_conn_round_trip_duration_seconds", Labels: map[string]string{"feed": "server"}}
		open := world.Value{Prom: "tickwire_conn_open", Labels: rtt.Labels}
		if v := got[rtt.Key()]; v.Count != uint64(i+1) || v.Value != float64(i+1) {
			t.Errorf("round trips: %+v", v)
		}
		if _, ok := got[open.Key()]; !ok {
			t.Errorf("%s is not told", open.Key())
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		trip.RoundTrip(nil, 1e9)
		got = collect(t, reader)
		if v := got[rtt.Key()]; v.Count != uint64(i+1) {
			t.Errorf("round trips after stop: %+v", v)
		}
		if v, ok := got[open.Key()]; ok {
			t.Errorf("told after stop: %+v", v)
		}
	}
}
