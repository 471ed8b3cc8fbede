package metrics_test

import (
	"fmt"
	"log"
	"strings"

	"github.com/seed-7f57ff33/tickwire/conn/metrics"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
)

// Values for an exporter of one's own.
func ExampleSet_Collect() {
	var set metrics.Set
	if err := set.Client("feed", &redial.Client{URL: "wss://feed.example/stream"}); err != nil {
		log.Fatal(err)
	}
	set.Collect(func(m *metrics.Metric, value float64, labels ...string) {
		if strings.HasPrefix(m.Name, "tickwire.client.messages.") {
			fmt.Println(m.Name, m.Labels, labels, value)
		}
	})
	// Output:
	// tickwire.client.messages.delivered [feed line] [feed 0] 0
	// tickwire.client.messages.consumed [feed line] [feed 0] 0
	// tickwire.client.messages.sent [feed line] [feed 0] 0
}
