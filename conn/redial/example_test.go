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
// filter keeps what comes first, by the number that each message has within its symbol. The same filter joins redundant
// lines.
func ExampleFirst() {
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
	first := redial.First[string]()
	for m, err := range c.Messages(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		var trade struct {
			Symbol string
			Seq    uint64
		}
		if json.Unmarshal(m.Data, &trade) == nil && first(trade.Symbol, trade.Seq) {
			fmt.Printf("epoch %d: %s\n", m.Epoch, m.Data)
		}
	}
}
