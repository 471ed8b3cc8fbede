package relay

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// A gateway that ends tells each client its position, whatever the client is doing, and
// another one continues there.
func TestGatewayShutdown(t *testing.T) {
	nc := connectTo(t, soloEngine(t))
	s := newSource(t, nc, StreamConfig{Name: "bye"})
	s.publish(100)
	g := startReady(t, &Gateway{Conn: nc, Streams: []string{"bye"}, ShutdownTimeout: 3 * time.Second, Authorize: func(r *http.Request) (Grant, error) {
		grant := Grant{Streams: []string{"*"}}
		if r.URL.Query().Has("slow") {
			grant.Rate = 1000
		}
		return grant, nil
	}})
	live := mustJoin(t, g.url, control{Stream: "bye", Start: startNow})
	late := mustJoin(t, g.url, control{Stream: "bye", Start: startAfter, After: s.at(50, 2)})
	replaying := mustJoin(t, g.url+"?slow", control{Stream: "bye", Start: startOldest})
	plain := dialPlain(t, g.url+"?stream=bye")
	silent, err := (&conn.Dialer{Subprotocols: []string{Subprotocol}}).Dial(t.Context(), g.url)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if err := late.until(s.number); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the clients", func() bool {
		n := g.Counts()
		return n.Clients == 5 && n.Streams[0].Live == 2 && n.Streams[0].Replaying == 1 && n.Streams[0].Plain == 1
	})
	s.publish(20)
	waitFor(t, "the head", func() bool { return g.Counts().Streams[0].Head == 120 })
	g.cancel()
	for name, p := range map[string]*peer{"live": live, "late": late, "replaying": replaying} {
		for err = nil; err == nil; {
			_, err = p.record()
		}
		if conn.CloseCode(err) != frame.CodeServiceRestart || p.last.Type != "bye" {
			t.Errorf("%s: %v after %+v", name, err, p.last)
			continue
		}
		if want := *s.at(p.at.Sequence, EndOfBatch); !p.ended || *p.last.After != want {
			t.Errorf("%s: bye after %v, the last record is %v", name, p.last.After, p.at)
		}
		if p != replaying && p.at.Sequence != 120 {
			t.Errorf("%s: the last record is %v", name, p.at)
		}
	}
	for err = nil; err == nil; {
		_, err = plain.ReadMessage()
	}
	if conn.CloseCode(err) != frame.CodeServiceRestart {
		t.Errorf("plain: %v", err)
	}
	if _, err := silent.ReadMessage(); conn.CloseCode(err) != frame.CodeServiceRestart {
		t.Errorf("before its hello: %v", err)
	}
	err = <-g.done
	g.done <- err
	if n := g.Counts(); n.Clients != 0 {
		t.Errorf("%+v", n)
	}
	var refused *handshake.Error
	if _, err := join(t.Context(), g.url, control{Stream: "bye", Start: startNow}); !errors.As(err, &refused) || refused.Status != http.StatusServiceUnavailable {
		t.Errorf("after the end: %v", err)
	}
	if !errors.Is(g.Ready(), ErrGatewayDown) || !errors.Is(g.Run(t.Context()), ErrGatewayRan) {
		t.Errorf("%v", g.Ready())
	}
	next := startReady(t, &Gateway{Conn: nc, Streams: []string{"bye"}})
	p := mustJoin(t, next.url, control{Stream: "bye", Start: startAfter, After: replaying.last.After, Strict: true})
	if err := p.until(s.number); err != nil || !*p.welcome.Recovered {
		t.Error(err)
	}
}

// Clients that do not read do not hold up the end, and the others get their bye.
func TestGatewayShutdownStuck(t *testing.T) {
	t.Parallel()
	nc := connectTo(t, soloEngine(t))
	s := newSource(t, nc, StreamConfig{Name: "stuck"})
	s.big(300)
	g := startReady(t, &Gateway{Conn: nc, Streams: []string{"stuck"}, ShutdownTimeout: 2 * time.Second, GroupLag: 64 << 20})
	mustJoin(t, g.url, control{Stream: "stuck", Start: startOldest}) // stuck in its replay
	mustJoin(t, g.url, control{Stream: "stuck", Start: startNow})    // stuck in the group
	other := mustJoin(t, g.url, control{Stream: "stuck", Start: startNow})
	read := make(chan error, 1)
	go func() {
		for {
			if _, err := other.record(); err != nil {
				read <- err
				return
			}
		}
	}()
	s.big(300)
	waitFor(t, "the clients to be stuck", func() bool {
		n := g.Counts().Streams[0]
		return n.Replaying == 1 && n.Slow == 1 && n.Head == 600
	})
	begun := time.Now()
	g.cancel()
	err := <-g.done
	g.done <- err
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("the end took %v", took)
	}
	if err := <-read; conn.CloseCode(err) != frame.CodeServiceRestart || other.last.Type != "bye" || *other.last.After != *s.at(600, EndOfBatch) {
		t.Errorf("%v, %+v", err, other.last)
	}
}

// Run ends with the connection to the engine, and says bye then too.
func TestGatewayConnClosed(t *testing.T) {
	nc := connectTo(t, soloEngine(t))
	newSource(t, nc, StreamConfig{Name: "closed"})
	own := connectTo(t, nc.ConnectedUrl())
	g := &Gateway{Conn: own, Streams: []string{"closed"}}
	done := make(chan error, 1)
	go func() { done <- g.Run(t.Context()) }()
	waitFor(t, "the gateway", func() bool { return g.Ready() == nil })
	server := httptest.NewServer(g)
	defer server.Close()
	p := mustJoin(t, "ws"+server.URL[len("http"):], control{Stream: "closed", Start: startNow})
	own.Close()
	if _, err := p.record(); conn.CloseCode(err) != frame.CodeServiceRestart || p.last.Type != "bye" {
		t.Errorf("%v, %+v", err, p.last)
	}
	if err := <-done; !errors.Is(err, nats.ErrConnectionClosed) {
		t.Error(err)
	}
	if err := new(Gateway).Run(t.Context()); err == nil {
		t.Error("Run without a connection")
	}
}
