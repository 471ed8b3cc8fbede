package redial_test

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"os/signal"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
)

// A feed that is read until Ctrl-C, over as many connections as it takes. An attempt
// counts only once the server has confirmed the subscription.
func ExampleClient_feed() {
	client := &redial.Client{
		URL: "wss://feed.example/stream",
		OnConnect: func(ctx context.Context, s *redial.Session) error {
			if err := s.Conn.WriteMessage(conn.Text, []byte(`{"op":"subscribe","id":1}`)); err != nil {
				return err
			}
			_, err := s.Await(func(m conn.Message) bool { return bytes.Contains(m.Data, []byte(`"id":1`)) })
			return err // nil: the server has confirmed. Otherwise another attempt follows.
		},
		OnChange: redial.LogChanges(slog.Default()), // each loss and its cause, each attempt
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	log.Print(client.Run(ctx, func(ctx context.Context, m redial.Message) error {
		_, err := fmt.Printf("%d %s\n", m.Epoch, m.Data) // a view: valid until the handler returns
		return err
	}))
}
