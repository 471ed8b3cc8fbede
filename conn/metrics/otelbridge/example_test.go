package otelbridge_test

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"strconv"

	"go.opentelemetry.io/otel"

	"github.com/seed-7f57ff33/tickwire/conn/metrics"
	"github.com/seed-7f57ff33/tickwire/conn/metrics/otelbridge"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
)

// Two lines of a feed, told to the MeterProvider that the program has set up.
func Example() {
	lines := &redial.Lines[string]{
		Clients: []*redial.Client{{URL: "wss://north.example/"}, {URL: "wss://south.example/"}},
		Number: func(data []byte) (symbol string, from, to uint64, ok bool) {
			digits, ok := bytes.CutPrefix(data, []byte("BTC "))
			n, err := strconv.ParseUint(string(digits), 10, 64)
			return "BTC", n, n, ok && err == nil
		},
	}

	var set metrics.Set
	if err := metrics.Lines(&set, "btc", lines); err != nil {
		log.Fatal(err)
	}
	stop, err := otelbridge.Register(otel.Meter(otelbridge.Scope), &set)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = stop() }()

	err = lines.Run(context.Background(), func(_ context.Context, d redial.Delivery[string]) error {
		fmt.Printf("%s\n", d.Data)
		return nil
	})
	log.Print(err)
}
