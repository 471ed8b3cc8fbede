package redial_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
)

// A feed that is read until Ctrl-C. OnConnect waits for the confirmation of each subscription; trades that cross it reach the handler all
// the same. If one of the symbols falls silent for a minute the client connects anew.
func ExampleClient() {
	symbols := []string{"btcusdt", "ethusdt"}
	client := &redial.Client{
		URL:      "wss://feed.example/stream",
		MaxAge:   23 * time.Hour, // the server ends connections after 24
		Rotation: redial.Overlap,
		LifeSign: &redial.LifeSign{Send: redial.Fixed("ping"), Every: 20 * time.Second, IsAnswer: redial.Prefix("pong"), Timeout: 10 * time.Second},
		OnChange: redial.LogChanges(slog.Default()),
		OnConnect: func(ctx context.Context, s *redial.Session) error {
			for _, symbol := range symbols {
				if err := s.Conn.WriteMessage(conn.Text, fmt.Appendf(nil, `{"op":"subscribe","symbol":%q}`, symbol)); err != nil {
					return err
				}
				s.Watch(symbol, time.Minute)
			}
			for _, symbol := range symbols {
				confirms := func(m conn.Message) bool {
					var answer struct{ Subscribed string }
					return json.Unmarshal(m.Data, &answer) == nil && answer.Subscribed == symbol
				}
				if _, err := s.Await(confirms); err != nil {
					return err
				}
			}
			return nil
		},
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := client.Run(ctx, func(_ context.Context, m redial.Message) error {
		var trade struct {
			Symbol string
			Price  json.Number
		}
		if err := json.Unmarshal(m.Data, &trade); err != nil {
			return client.Reconnect(err)
		}
		m.Session.Alive(trade.Symbol)
		fmt.Println(m.Epoch, trade.Symbol, trade.Price)
		return nil
	})
	log.Print(err)
}

// Three feeds on one loop: the handlers are called by one goroutine, so they share what they
// keep without a lock.
func ExampleClient_poller() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	loop := &conn.Poller{Spin: 50 * time.Microsecond}
	prices := map[string]string{}
	var clients sync.WaitGroup
	for _, symbol := range []string{"btcusdt", "ethusdt", "solusdt"} {
		client := &redial.Client{
			URL:      "wss://feed.example/stream/" + symbol,
			Poller:   loop,
			OnChange: redial.LogChanges(slog.Default()),
		}
		clients.Go(func() {
			err := client.Run(ctx, func(_ context.Context, m redial.Message) error {
				prices[symbol] = string(m.Data)
				return nil
			})
			log.Print(symbol, ": ", err)
		})
	}
	log.Print(loop.Run(ctx)) // until Ctrl-C
	clients.Wait()
}
