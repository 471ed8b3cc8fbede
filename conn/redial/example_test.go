package redial_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
)

// A feed that ends every connection after 24 hours is read over overlapping connections. What both of them deliver comes twice; the
// arbiter keeps what comes first, by the number that each message has within its symbol, and tells what is missing.
func ExampleArbiter() {
	c := &redial.Client{
		URL:      "wss://feed.example/stream",
		MaxAge:   23 * time.Hour,
		Rotation: redial.Overlap,
		OnConnect: func(ctx context.Context, s *redial.Session) error {
			if err := s.Conn.WriteMessage(conn.Text, []byte(`{"op":"subscribe"}`)); err != nil {
				return err
			}
			_, err := s.Await(func(m conn.Message) bool { return string(m.Data) == `{"result":null}` })
			return err // confirmed: from here on nothing is missed
		},
	}
	a := &redial.Arbiter[string]{
		Deliver: func(d redial.Delivery[string]) error {
			fmt.Printf("epoch %d: %s\n", d.Epoch, d.Data)
			return nil
		},
		OnGap: func(g redial.Gap[string]) { fmt.Printf("%s: %d to %d are missing\n", g.Key, g.From, g.To) },
	}
	for m, err := range c.Messages(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		var trade struct {
			Symbol string
			Seq    uint64
		}
		if json.Unmarshal(m.Data, &trade) == nil {
			_ = a.Offer(0, trade.Symbol, trade.Seq, trade.Seq, m)
		}
	}
}
