package metrics

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// The package comment lists each metric with its unit, labels and help. After a change
// that is meant, write the list anew:
//
//	TICKWIRE_UPDATE_METRICS=1 go test -run TestPackageCommentListsTheMetrics .
func TestPackageCommentListsTheMetrics(t *testing.T) {
	var list strings.Builder
	for _, m := range Metrics() {
		fmt.Fprintf(&list, "//   - %s (%s; %s)\n//     %s\n", m.Name, m.Unit, strings.Join(m.Labels, ", "), m.Help)
	}
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	doc := strings.ReplaceAll(string(text), "\r\n", "\n")
	if os.Getenv("TICKWIRE_UPDATE_METRICS") != "" {
		lines := regexp.MustCompile(`(?m)^//   - tickwire\.|^package`)
		at := lines.FindStringIndex(doc)[0]
		doc = doc[:at] + list.String() + doc[strings.Index(doc, "package metrics"):]
		if err := os.WriteFile("doc.go", []byte(doc), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.Contains(doc, "//\n"+list.String()+"package metrics") {
		t.Errorf("the package comment does not end with this list:\n%s", list.String())
	}
}

// Names are unique and of the form that both ecosystems ask for; a name is not the
// beginning of another's path.
func TestNames(t *testing.T) {
	dotted := regexp.MustCompile(`^tickwire(\.[a-z]+(_[a-z]+)*)+$`)
	unit := regexp.MustCompile(`^(s|By|\{[a-z]+\})$`)
	seen := map[string]bool{}
	for _, m := range Metrics() {
		if !dotted.MatchString(m.Name) || !unit.MatchString(m.Unit) || m.Help == "" || len(m.Labels) == 0 {
			t.Errorf("%+v", m)
		}
		if seen[m.Prometheus()] {
			t.Errorf("%s is there twice", m.Prometheus())
		}
		seen[m.Prometheus()] = true
	}
	if n := len(seen); n != 40 {
		t.Errorf("%d metrics", n)
	}
}

func TestPrometheusNames(t *testing.T) {
	for _, test := range []struct {
		m    *Metric
		want string
	}{
		{clientDials, "tickwire_client_dials_total"},
		{clientUp, "tickwire_client_up"},
		{clientDown, "tickwire_client_down_time_seconds_total"},
		{connIO, "tickwire_conn_io_bytes_total"},
		{connMaxLag, "tickwire_conn_receive_lag_max_seconds"},
		{connMaxBacklog, "tickwire_conn_receive_backlog_max_bytes"},
		{connRoundTrip, "tickwire_conn_round_trip_duration_seconds"},
		{arbiterBytes, "tickwire_arbiter_waiting_size_bytes"},
		{groupConnections, "tickwire_group_connections"},
		{groupWaiting, "tickwire_group_waiting_size_bytes"},
		{groupMost, "tickwire_group_waiting_max_bytes"},
		{groupRemoved, "tickwire_group_removed_total"},
	} {
		if got := test.m.Prometheus(); got != test.want {
			t.Errorf("%s is %s, not %s", test.m.Name, got, test.want)
		}
	}
}
