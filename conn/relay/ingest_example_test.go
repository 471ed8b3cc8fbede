package relay_test

import (
	"context"
	"encoding/json"
	"log"

	"github.com/seed-7f57ff33/tickwire/conn/redial"
	"github.com/seed-7f57ff33/tickwire/conn/relay"
)

// Two lines of a numbered feed go into a stream. The same program may run on two machines:
// one appends, and the other takes over when that ends.
func ExampleIngester() {
	nc, err := relay.Connect("nats://10.0.0.1,nats://10.0.0.2,nats://10.0.0.3")
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	ctx := context.Background()
	if _, err := relay.CreateStream(ctx, nc, relay.StreamConfig{Name: "btc", Replicas: 3}); err != nil {
		log.Fatal(err)
	}
	in := &relay.Ingester{
		Conn:   nc,
		Stream: "btc",
		Clients: []*redial.Client{
			{URL: "wss://a.feed.example/btc"},
			{URL: "wss://b.feed.example/btc"},
		},
		Number: func(data []byte) (from, to uint64, ok bool) {
			var trade struct{ Seq *uint64 }
			if json.Unmarshal(data, &trade) != nil || trade.Seq == nil {
				return 0, 0, false
			}
			return *trade.Seq, *trade.Seq, true
		},
		OnState: func(s relay.IngestState) { log.Println("ingester:", s) },
	}
	log.Fatal(in.Run(ctx))
}
