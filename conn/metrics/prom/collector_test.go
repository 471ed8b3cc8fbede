package prom_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	dto "github.com/prometheus/client_model/go"

	"github.com/seed-7f57ff33/tickwire/conn/metrics"
	"github.com/seed-7f57ff33/tickwire/conn/metrics/internal/world"
	"github.com/seed-7f57ff33/tickwire/conn/metrics/prom"
)

// A scrape over HTTP of clients and a server that run tells, value by value, what their
// own counters say; so does one after the end.
func TestScrape(t *testing.T) {
	var set metrics.Set
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(prom.New(&set))
	server := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}))
	defer server.Close()
	w := world.Start(t, &set)
	scrape := func() map[string]world.Value { return scrape(t, server.URL) }
	w.Compare(t, false, scrape)
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	w.Stop()
	w.Compare(t, true, scrape)
}

// scrape asks for the text format, and returns what it holds.
func scrape(t *testing.T, url string) map[string]world.Value {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "text/plain;version=0.0.4")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatal(answer.Status)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]dto.MetricType{}
	for _, m := range metrics.Metrics() {
		kinds[m.Prometheus()] = map[metrics.Kind]dto.MetricType{
			metrics.Counter: dto.MetricType_COUNTER, metrics.Histogram: dto.MetricType_HISTOGRAM,
		}[m.Kind]
		if m.Kind == metrics.UpDown || m.Kind == metrics.Gauge {
			kinds[m.Prometheus()] = dto.MetricType_GAUGE
		}
	}
	got := map[string]world.Value{}
	for name, family := range families {
		if kind, ok := kinds[name]; !ok || family.GetType() != kind {
			t.Errorf("%s is a %v, not a %v", name, family.GetType(), kind)
		}
		for _, m := range family.Metric {
			v := world.Value{Prom: name, Labels: map[string]string{}, Value: m.GetCounter().GetValue() + m.GetGauge().GetValue()}
			if h := m.GetHistogram(); h != nil {
				v.Value, v.Count = h.GetSampleSum(), h.GetSampleCount()
				if last := h.Bucket[len(h.Bucket)-1]; last.GetCumulativeCount() != v.Count {
					t.Errorf("%s: %v in the buckets, %d in all", name, h.Bucket, v.Count)
				}
			}
			for _, l := range m.Label {
				if l.GetValue() != "" {
					v.Labels[l.GetName()] = l.GetValue()
				}
			}
			got[v.Key()] = v
		}
	}
	return got
}

// Nothing is told, and nothing is wrong, of an empty Set; and two collectors of one
// registry are told apart by labels.
func TestRegistries(t *testing.T) {
	var one, two metrics.Set
	registry := prometheus.NewPedanticRegistry()
	for name, set := range map[string]*metrics.Set{"one": &one, "two": &two} {
		wrapped := prometheus.WrapRegistererWith(prometheus.Labels{"set": name}, registry)
		if err := wrapped.Register(prom.New(set)); err != nil {
			t.Fatal(err)
		}
	}
	if families, err := registry.Gather(); err != nil || len(families) != 0 {
		t.Errorf("%v, %v", families, err)
	}
	wrapped := prometheus.WrapRegistererWith(prometheus.Labels{"set": "one"}, registry)
	if err := wrapped.Register(prom.New(&two)); err == nil {
		t.Error("two collectors have the same labels")
	}
}
