package prom_test

import (
	"context"
	"fmt"
	"log"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/metrics"
	"github.com/seed-7f57ff33/tickwire/conn/metrics/prom"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
)

// A feed, whose metrics are served on /metrics.
func Example() {
	client := &redial.Client{URL: "wss://feed.example/stream", Dialer: &conn.Dialer{Config: conn.Config{Timestamps: true}}}

	var set metrics.Set
	if err := set.Client("feed", client); err != nil {
		log.Fatal(err)
	}
	prometheus.MustRegister(prom.New(&set))
	http.Handle("/metrics", promhttp.Handler())
	go func() { log.Fatal(http.ListenAndServe("127.0.0.1:9100", nil)) }()

	log.Fatal(client.Run(context.Background(), func(_ context.Context, m redial.Message) error {
		fmt.Printf("%s\n", m.Data)
		return nil
	}))
}

// A server tells of its connections, and of the group in which they are.
func Example_server() {
	var set metrics.Set
	var viewers conn.Group
	conns, err := set.Conns("server")
	if err != nil {
		log.Fatal(err)
	}
	if err := set.Group("viewers", &viewers); err != nil {
		log.Fatal(err)
	}
	prometheus.MustRegister(prom.New(&set))

	upgrader := conn.Upgrader{Config: conn.Config{Observer: conns.Observer(nil)}}
	http.HandleFunc("/feed", func(w http.ResponseWriter, r *http.Request) {
		c, err := upgrader.Upgrade(w, r)
		if err != nil {
			return
		}
		defer c.Close()
		defer conns.Add(c)()
		_ = viewers.Add(c)
		for _, err := range c.Messages() {
			if err != nil {
				return
			}
		}
	})
	http.Handle("/metrics", promhttp.Handler())
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", nil))
}
