package relay

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-7f57ff33/tickwire/conn/redial"
)

// clientOf returns a client of real gateways.
func clientOf(stream string, urls ...string) *Client {
	return &Client{
		Redial: &redial.Client{URLs: urls, Backoff: redial.Backoff{Base: time.Millisecond, Cap: 50 * time.Millisecond, StableMessages: 1}},
		Stream: stream, Start: FromOldest,
	}
}

// follow runs a client until it has all messages from one number to another, in order.
func follow(ctx context.Context, c *Client, from, to uint64) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	next, done := from, false
	err := c.Run(ctx, func(_ context.Context, m Message) error {
		if want := string(payload(next)); string(m.Data) != want {
			return fmt.Errorf("at %v came %v %.30q, due was %.30q", m.Position, m.Kind, m.Data, want)
		}
		if next == to {
			done = true
			cancel()
		}
		next++
		return nil
	})
	if done && errors.Is(err, context.Canceled) {
		return nil
	}
	return fmt.Errorf("message %d is due: %w", next, err)
}

// Clients of two gateways, of which one goes away and another comes, whose connections
// are lost again and again: each gets everything once, in order.
func TestClientOfGateways(t *testing.T) {
	nc := connectTo(t, soloEngine(t))
	s := newSource(t, nc, StreamConfig{Name: "btc"})
	first := startReady(t, &Gateway{Conn: nc, Streams: []string{"btc"}})
	second := startReady(t, &Gateway{Conn: nc, Streams: []string{"btc"}})
	const batches = 600
	urls := []string{first.url, second.url}
	clients := make([]*Client, 20)
	for i := range clients {
		clients[i] = clientOf("btc", urls[i%2], urls[1-i%2])
	}
	stop := make(chan struct{})
	var disturbing sync.WaitGroup
	disturbing.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				clients[rand.IntN(len(clients))].Redial.Reconnect(errors.New("the test asks for it"))
			}
		}
	})
	disturbing.Go(func() {
		for i := range batches {
			if i == batches/2 {
				first.cancel()
			}
			s.publish(1)
			time.Sleep(time.Millisecond)
		}
	})
	together(t, len(clients), func(i int) error { return follow(t.Context(), clients[i], 1, batches*perBatch) })
	close(stop)
	disturbing.Wait()
	var sum ClientCounts
	for _, c := range clients {
		n := c.Counts()
		sum.Resumed += n.Resumed
		sum.Byes += n.Byes
		if n.Duplicates+n.Jumps+n.Malformed+n.Gaps > 0 {
			t.Errorf("%+v", n)
		}
	}
	if sum.Resumed < 20 || sum.Byes == 0 {
		t.Errorf("%d resumed, %d byes", sum.Resumed, sum.Byes)
	}
	t.Logf("%d resumed, %d byes", sum.Resumed, sum.Byes)
}

// A position is good at every gateway, in another process too, and in a batch as well.
func TestClientContinuesElsewhere(t *testing.T) {
	nc := connectTo(t, soloEngine(t))
	s := newSource(t, nc, StreamConfig{Name: "btc"})
	s.publish(4)
	var at Position
	next := uint64(1)
	for last := uint64(4 * perBatch); next <= last; {
		g := startReady(t, &Gateway{Conn: nc, Streams: []string{"btc"}})
		c := clientOf("btc", g.url)
		c.After = at
		if err := follow(t.Context(), c, next, min(next+2, last)); err != nil {
			t.Fatal(err)
		}
		at, next = c.Position(), next+3
	}
}

// What a client has missed for good is told, with the batches that are gone.
func TestClientOfExpired(t *testing.T) {
	nc := connectTo(t, soloEngine(t))
	s := newSource(t, nc, StreamConfig{Name: "btc"})
	s.publish(10)
	g := startReady(t, &Gateway{Conn: nc, Streams: []string{"btc"}})
	c := clientOf("btc", g.url)
	if err := follow(t.Context(), c, 1, 2*perBatch); err != nil {
		t.Fatal(err)
	}
	stream, err := s.js.Stream(t.Context(), "btc")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context(), jetstream.WithPurgeSequence(7)); err != nil { // keeps 7 to 10
		t.Fatal(err)
	}
	g = startReady(t, &Gateway{Conn: nc, Streams: []string{"btc"}}) // that has nothing in memory
	c.Redial.URLs = []string{g.url}
	strict := clientOf("btc", g.url)
	strict.After, strict.Strict = c.Position(), true
	if err := follow(t.Context(), strict, 1, 1); !errors.Is(err, ErrExpired) {
		t.Errorf("strict: %v", err)
	}
	got := 0
	err = c.Run(t.Context(), func(_ context.Context, m Message) error {
		if got++; got == 1 {
			if m.Reason != Expired || m.First != 3 || m.Last != 6 || m.Position != (Position{s.stream.Incarnation, 6, EndOfBatch}) {
				t.Errorf("%+v", m)
			}
			return nil
		}
		if m.Position.Sequence != 7 || m.Position.Index != 0 {
			t.Errorf("the first record is at %v", m.Position)
		}
		return errTestEnough
	})
	if !errors.Is(err, errTestEnough) {
		t.Error(err)
	}
}

// What a gateway refuses for good ends Run, with an error that says what it is.
func TestClientRefusedByGateways(t *testing.T) {
	nc := connectTo(t, soloEngine(t))
	s := newSource(t, nc, StreamConfig{Name: "btc"})
	newSource(t, nc, StreamConfig{Name: "eth"})
	s.publish(3)
	g := startReady(t, &Gateway{Conn: nc, Streams: []string{"btc", "eth"}, Authorize: func(*http.Request) (Grant, error) {
		return Grant{Streams: []string{"btc"}}, nil
	}})
	for _, test := range []struct {
		name string
		edit func(*Client)
		want error
	}{
		{"not granted", func(c *Client) { c.Stream = "eth" }, ErrNotGranted},
		{"a foreign incarnation", func(c *Client) { c.After = Position{1, 1, 1} }, ErrIncarnation},
		{"unknown", func(c *Client) {
			c.Redial.URLs = []string{startReady(t, &Gateway{Conn: nc, Streams: []string{"eth"}}).url}
		}, ErrStreamNotFound},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := clientOf("btc", g.url)
			test.edit(c)
			if err := follow(t.Context(), c, 1, 1); !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
		})
	}
}

// A stream that is made anew ends the clients of the old one.
func TestClientOfStreamMadeAnew(t *testing.T) {
	nc := connectTo(t, soloEngine(t))
	s := newSource(t, nc, StreamConfig{Name: "btc"})
	s.publish(3)
	g := startReady(t, &Gateway{Conn: nc, Streams: []string{"btc"}})
	c := clientOf("btc", g.url)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := c.Run(ctx, func(_ context.Context, m Message) error {
		if m.Position.Incarnation != s.stream.Incarnation {
			t.Errorf("came %v", m.Position)
		}
		if m.Position == *s.at(3, perBatch-1) {
			if err := s.js.DeleteStream(ctx, "btc"); err != nil {
				return err
			}
			newSource(t, nc, StreamConfig{Name: "btc"}).publish(5)
		}
		return nil
	})
	if !errors.Is(err, ErrIncarnation) || ctx.Err() != nil {
		t.Errorf("%v after %v", err, c.Position())
	}
	if text := err.Error(); !strings.Contains(text, "made anew") {
		t.Error(text)
	}
}
