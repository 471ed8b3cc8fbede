package prom_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/seed-7f57ff33/tickwire/conn/metrics"
)

type dashboard struct {
	Title, UID    string
	SchemaVersion int
	Templating    struct {
		List []struct {
			Name, Type, Definition string
			Query                  json.RawMessage
		}
	}
	Panels []panel
}

type panel struct {
	ID          int
	Type, Title string
	GridPos     struct{ H, W, X, Y int }
	Targets     []target
}

type target struct{ RefID, Expr, LegendFormat string }

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	text, err := os.ReadFile("dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

var (
	nameInQuery = regexp.MustCompile(`tickwire_[a-z_]+`)
	selector    = regexp.MustCompile(`\b(tickwire_[a-z_]+)(?:\{([^}]*)\})?`)
	grouping    = regexp.MustCompile(`\bby \(([^)]*)\)`)
	legend      = regexp.MustCompile(`\{\{(\w+)\}\}`)
	matcher     = regexp.MustCompile(`(\w+)(?:=~|=)"[^"]*"`)
)

// exported returns the metrics by the names that stand in queries: a histogram has three.
func exported() map[string]*metrics.Metric {
	names := map[string]*metrics.Metric{}
	for _, m := range metrics.Metrics() {
		if m.Kind != metrics.Histogram {
			names[m.Prometheus()] = m
			continue
		}
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			names[m.Prometheus()+suffix] = m
		}
	}
	return names
}

// Each query of the dashboard names metrics that are exported, by labels that they have;
// counters are asked for by their rate; and no metric is left out.
func TestDashboardQueries(t *testing.T) {
	names, shown := exported(), map[*metrics.Metric]bool{}
	for _, p := range readDashboard(t).Panels {
		for _, q := range p.Targets {
			var labels []string
			uses := selector.FindAllStringSubmatch(q.Expr, -1)
			if len(uses) == 0 {
				t.Errorf("%s: %q asks for nothing", p.Title, q.Expr)
			}
			for _, use := range uses {
				m := names[use[1]]
				if m == nil {
					t.Errorf("%s: %s is not exported", p.Title, use[1])
					continue
				}
				shown[m] = true
				labels = m.Labels
				for _, l := range matcher.FindAllStringSubmatch(use[2], -1) {
					if !slices.Contains(m.Labels, l[1]) {
						t.Errorf("%s: %s has no label %q", p.Title, use[1], l[1])
					}
				}
				rate := regexp.MustCompile(`\b(rate|increase)\(` + regexp.QuoteMeta(use[0]) + `\[\$__(rate_interval|range)\]\)`)
				if sums := m.Kind == metrics.Counter || m.Kind == metrics.Histogram; sums != rate.MatchString(q.Expr) {
					t.Errorf("%s: %s: a rate %v, a counter %v", p.Title, q.Expr, !sums, sums)
				}
			}
			checkGrouping(t, p.Title, q, labels)
		}
	}
	for _, m := range metrics.Metrics() {
		if !shown[m] {
			t.Errorf("no panel shows %s", m.Prometheus())
		}
	}
}

// checkGrouping fails if a query groups by what is no label, or its legend names what it
// does not group by.
func checkGrouping(t *testing.T, title string, q target, labels []string) {
	t.Helper()
	groups := grouping.FindAllStringSubmatch(q.Expr, -1)
	if len(groups) == 0 {
		t.Errorf("%s: %q groups by nothing", title, q.Expr)
		return
	}
	by := strings.Split(groups[0][1], ", ")
	for _, group := range groups {
		if group[1] != groups[0][1] {
			t.Errorf("%s: %q groups by two things", title, q.Expr)
		}
	}
	for _, l := range by {
		if !slices.Contains(labels, l) && l != "le" {
			t.Errorf("%s: %q is no label of %q", title, l, labels)
		}
	}
	for _, l := range legend.FindAllStringSubmatch(q.LegendFormat, -1) {
		if !slices.Contains(by, l[1]) {
			t.Errorf("%s: the legend %q names %s", title, q.LegendFormat, l[1])
		}
	}
	if strings.Count(q.Expr, "(") != strings.Count(q.Expr, ")") {
		t.Errorf("%s: %q has an open bracket", title, q.Expr)
	}
}

// Panels are told apart, lie beside each other on Grafana's 24 columns, and their
// variables ask for what is exported.
func TestDashboardForm(t *testing.T) {
	d := readDashboard(t)
	if d.Title == "" || d.UID == "" || d.SchemaVersion < 36 || len(d.Panels) < 20 {
		t.Errorf("%q %q %d, %d panels", d.Title, d.UID, d.SchemaVersion, len(d.Panels))
	}
	ids, cells := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.ID == 0 || p.Title == "" || p.Type == "" || (p.Type == "row") != (len(p.Targets) == 0) {
			t.Errorf("panel %d %q is wrong", p.ID, p.Title)
		}
		ids[p.ID] = true
		g := p.GridPos
		if g.W <= 0 || g.H <= 0 || g.X+g.W > 24 {
			t.Errorf("%s lies at %+v", p.Title, g)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other := cells[[2]int{x, y}]; other != "" {
					t.Errorf("%s lies on %s", p.Title, other)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
		refs := map[string]bool{}
		for _, q := range p.Targets {
			if refs[q.RefID] || q.RefID == "" {
				t.Errorf("%s has the query %q twice", p.Title, q.RefID)
			}
			refs[q.RefID] = true
		}
	}
	names, asked := exported(), 0
	for _, v := range d.Templating.List {
		for _, name := range nameInQuery.FindAllString(string(v.Query)+v.Definition, -1) {
			if asked++; names[name] == nil {
				t.Errorf("variable %s: %s is not exported", v.Name, name)
			}
		}
	}
	if asked != 2 {
		t.Errorf("the variables ask %d times", asked)
	}
}
