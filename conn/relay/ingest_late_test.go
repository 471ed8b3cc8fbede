package relay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
)

// lateNetwork carries connections to an engine. What the first one sends can be held back:
// it reaches the engine when the client has another connection.
type lateNetwork struct {
	url     string
	to      string
	first   chan net.Conn // the client's side
	release chan struct{} // closed: what was held back goes on

	mu   sync.Mutex
	hold bool
	held []byte
}

func newLateNetwork(t *testing.T, server string) *lateNetwork {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	n := &lateNetwork{
		url: "nats://" + l.Addr().String(), to: u.Host,
		first: make(chan net.Conn, 1), release: make(chan struct{}),
	}
	go func() {
		for first := true; ; first = false {
			client, err := l.Accept()
			if err != nil {
				return
			}
			n.carry(client, first)
		}
	}()
	return n
}

func (n *lateNetwork) carry(client net.Conn, first bool) {
	server, err := net.Dial("tcp", n.to)
	if err != nil {
		client.Close()
		return
	}
	if first {
		n.first <- client
	}
	go func() {
		io.Copy(client, server)
		client.Close()
		io.Copy(io.Discard, server) // answers that nobody waits for
	}()
	go func() {
		defer server.Close()
		buf := make([]byte, 64<<10)
		for {
			k, err := client.Read(buf)
			if first && n.holds(buf[:k]) {
				if err == nil {
					continue
				}
				<-n.release
				server.Write(n.held)
				return
			}
			if _, failed := server.Write(buf[:k]); failed != nil || err != nil {
				return
			}
		}
	}()
}

// holds reports whether p is held back.
func (n *lateNetwork) holds(p []byte) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hold {
		n.held = append(n.held, p...)
	}
	return n.hold
}

// begin holds back what the first connection sends from now on.
func (n *lateNetwork) begin() {
	n.mu.Lock()
	n.hold = true
	n.mu.Unlock()
}

// has reports whether text is held back.
func (n *lateNetwork) has(text string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return bytes.Contains(n.held, []byte(text))
}

// sentLate returns an appender that has sent the messages 1 to 30 in batches of ten, as
// many as may be out, and has found that the stream has none of them. They are stored
// when late is called.
func sentLate(t *testing.T, number func([]byte) (from, to uint64, ok bool)) (a *appender, admin *nats.Conn, late func()) {
	t.Helper()
	admin = oneStream(t)
	network := newLateNetwork(t, admin.ConnectedUrl())
	nc := connectTo(t, network.url)
	first := <-network.first
	a = chainAppender(t, nc, number)
	burst(a.s, 1, 30)
	network.begin()
	a.sendAllOf(t)
	if len(a.flight) != 3 {
		t.Fatal(len(a.flight), "batches are out")
	}
	again := make(chan struct{})
	nc.SetReconnectHandler(func(*nats.Conn) { close(again) })
	if err := nc.Publish("after.them", nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "they are held back", func() bool { return network.has("PUB after.them") })
	first.(*net.TCPConn).CloseWrite() // the client connects again
	<-again
	a.resumeOf(t)
	return a, admin, func() {
		close(network.release)
		eventually(t, "they are stored", func() bool { return lastSequence(t, admin) == 3 })
	}
}

// resumeOf resumes after a broken chain, as the only ingester.
func (a *appender) resumeOf(t *testing.T) {
	t.Helper()
	a.window, a.previous = 1, ""
	if ours, err := a.resume(t.Context()); !ours || err != nil {
		t.Fatal(ours, err)
	}
}

// finish appends what is left, and expects the messages 1 to n in the stream.
func (a *appender) finish(t *testing.T, admin *nats.Conn, n uint64) {
	t.Helper()
	burst(a.s, 31, n)
	close(a.over)
	if err := a.chain(t.Context()); !errors.Is(err, errAppended) {
		t.Fatal(err)
	}
	expectRecords(t, admin, fmt.Sprintf("1-%d", n))
	if c := a.in.totals.appended.Load() + a.s.covered; c != n || a.s.held != 0 {
		t.Errorf("appended %d, covered %d, held %d", a.in.totals.appended.Load(), a.s.covered, a.s.held)
	}
}

var lateFeeds = map[string]func([]byte) (from, to uint64, ok bool){"numbered": feedNumber, "without numbers": nil}

// Batches are stored after the ingester has given up waiting, and has asked what the
// stream has. Each record is there once, whatever the next chain had out meanwhile.
func TestIngestLateBatches(t *testing.T) {
	t.Parallel()
	for feed, number := range lateFeeds {
		for _, sent := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, sent again %t", feed, sent), func(t *testing.T) {
				t.Parallel()
				a, admin, late := sentLate(t, number)
				late()
				if sent { // one batch, of three that are there and are answered too
					a.sendAllOf(t)
					if err := a.awaitAnswers(t, 4); !errors.Is(err, errRefused) {
						t.Fatal(err)
					}
				}
				a.resumeOf(t)
				a.finish(t, admin, 45)
			})
		}
	}
}
