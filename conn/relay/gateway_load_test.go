package relay

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/frame"
)

func dialPlain(t testing.TB, url string) *conn.Conn {
	t.Helper()
	c, err := conn.Dial(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetReadDeadline(time.Now().Add(2 * time.Minute))
	time.Sleep(50 * time.Millisecond) // nothing tells when it has joined
	return c
}

// A thousand clients that return at once: the gateway reads each chunk once.
func TestGatewayThousandReturn(t *testing.T) {
	const chunks = 4
	clients := 1000
	if raceEnabled {
		clients = 200
	}
	nc := connectTo(t, soloEngine(t))
	s := newSource(t, nc, StreamConfig{Name: "thousand"})
	s.publish(chunks * chunkBatches)
	g := startReady(t, &Gateway{Conn: nc, Streams: []string{"thousand"}, MaxReplays: 100, helloTimeout: time.Minute, patience: time.Minute})
	together(t, clients, func(i int) error {
		hello := control{Stream: "thousand", Start: startAfter, After: s.at(uint64(i%(chunks*chunkBatches)), uint16(i%perBatch))}
		p, err := joinBy(t.Context(), &conn.Dialer{HandshakeTimeout: time.Minute}, g.url, hello)
		if err != nil {
			return err
		}
		defer p.Close()
		return p.until(s.number)
	})
	n := g.Counts().Streams[0]
	if n.Fetches != chunks || n.Fetched != chunks*chunkBatches || n.Resumes != uint64(clients) {
		t.Errorf("%+v", n)
	}
}

// Clients that begin at the oldest record at once: the engine is asked once where that
// is, for each age that is granted, and once for each chunk.
func TestGatewayManyOldest(t *testing.T) {
	t.Parallel()
	const chunks, clients = 2, 200
	nc := connectTo(t, soloEngine(t))
	s := newSource(t, nc, StreamConfig{Name: "many"})
	s.publish(chunks * chunkBatches)
	g := startReady(t, &Gateway{Conn: nc, Streams: []string{"many"}, originLife: time.Hour, helloTimeout: time.Minute, patience: time.Minute,
		Authorize: func(r *http.Request) (Grant, error) {
			age, err := time.ParseDuration(r.URL.Query().Get("age"))
			return Grant{Streams: []string{"*"}, MaxAge: age}, err
		}})
	requests, err := nc.SubscribeSync("$JS.API.DIRECT.GET.many")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	together(t, clients, func(i int) error {
		age := []string{"1h", "2h"}[i%2]
		p, err := joinBy(t.Context(), &conn.Dialer{HandshakeTimeout: time.Minute}, g.url+"?age="+age, control{Stream: "many", Start: startOldest})
		if err != nil {
			return err
		}
		defer p.Close()
		if *p.welcome.After != *s.at(0, EndOfBatch) {
			return fmt.Errorf("begins after %v", p.welcome.After)
		}
		return p.until(s.number)
	})
	if err := nc.Flush(); err != nil { // what the gateway asked has arrived here too
		t.Fatal(err)
	}
	ages, reads := 0, 0
	for {
		m, err := requests.NextMsg(100 * time.Millisecond)
		if errors.Is(err, nats.ErrTimeout) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(m.Data), "start_time") {
			ages++
		} else {
			reads++
		}
	}
	if ages != 2 || reads != chunks {
		t.Errorf("%d questions about ages, %d reads", ages, reads)
	}
}

// What has become too old since another client asked is left out.
func TestGatewaySharedOldest(t *testing.T) {
	t.Parallel()
	nc := connectTo(t, soloEngine(t))
	s := newSource(t, nc, StreamConfig{Name: "shared"})
	s.publish(10)
	g := startReady(t, &Gateway{Conn: nc, Streams: []string{"shared"}, originLife: time.Hour})
	g.byName["shared"].mu.Lock()
	f := g.byName["shared"].feed
	g.byName["shared"].mu.Unlock()
	<-f.origin(time.Hour).done
	time.Sleep(10 * time.Millisecond)
	begun := time.Now()
	s.publish(5)
	waitFor(t, "the new batches", func() bool { return f.position() == 15 })
	// The answer of an hour's grant, for a grant that has none of the first batches.
	c := &client{g: g.Gateway, feed: f, grant: Grant{MaxAge: time.Since(begun)}}
	f.mu.Lock()
	f.origins[c.grant.MaxAge] = f.origins[time.Hour]
	f.mu.Unlock()
	next, err := c.oldest(t.Context(), f)
	if err != nil || next < 11 {
		t.Errorf("begins with %d, %v", next, err)
	}
}

// Chunks that do not fit into the cache are dropped, those that were used last stay.
func TestGatewayCacheBound(t *testing.T) {
	nc := connectTo(t, soloEngine(t))
	s := newSource(t, nc, StreamConfig{Name: "bound"})
	s.publish(8 * chunkBatches)
	one, _ := packetOf(stored{sequence: 1, data: s.batch()})
	s.number -= perBatch
	limit := 3 * chunkBatches * one.size()
	g := startReady(t, &Gateway{Conn: nc, Streams: []string{"bound"}, CacheBytes: limit})
	for range 2 {
		p := mustJoin(t, g.url, control{Stream: "bound", Start: startOldest})
		if err := p.until(s.number); err != nil {
			t.Fatal(err)
		}
	}
	if n := g.Counts(); n.CacheBytes > limit || n.CacheBytes < limit/3 || n.Streams[0].Fetches != 16 {
		t.Errorf("%+v, limit %d", n, limit)
	}
}

// big publishes n batches of one record of 64 KiB.
func (s *source) big(n int) {
	s.t.Helper()
	for range n {
		s.number++
		data, err := AppendBatch(nil, BatchHeader{}, Record{Kind: Binary, Data: fmt.Appendf(make([]byte, 64<<10), "%d", s.number)})
		if err != nil {
			s.t.Fatal(err)
		}
		if _, err := s.js.PublishAsync(s.stream.Subject, data, jetstream.WithStallWait(time.Minute)); err != nil {
			s.t.Fatal(err)
		}
	}
	<-s.js.PublishAsyncComplete()
}

// A client that does not read is dropped, the others go on, and it resumes.
func TestGatewaySlowClient(t *testing.T) {
	t.Parallel()
	nc := connectTo(t, soloEngine(t))
	s := newSource(t, nc, StreamConfig{Name: "slow"})
	g := startReady(t, &Gateway{Conn: nc, Streams: []string{"slow"}, GroupLag: 512 << 10, RingBytes: 1 << 20})
	slow := mustJoin(t, g.url, control{Stream: "slow", Start: startNow})
	fast := mustJoin(t, g.url, control{Stream: "slow", Start: startNow})
	read := make(chan error, 1)
	var want uint64
	go func() {
		for {
			f, err := fast.record()
			if err != nil || string(f.Data[64<<10:]) == "end" {
				read <- err
				return
			}
		}
	}()
	waitFor(t, "one to be too slow", func() bool {
		s.big(10)
		return g.Counts().Streams[0].Live == 1
	})
	data, err := AppendBatch(nil, BatchHeader{}, Record{Kind: Binary, Data: fmt.Appendf(make([]byte, 64<<10), "end")})
	if err != nil {
		t.Fatal(err)
	}
	s.raw(data)
	if err := <-read; err != nil {
		t.Errorf("the other client: %v", err)
	}
	waitFor(t, "its end", func() bool { return g.Counts().TooSlow == 1 }) // 5 s, in which the peer could still send
	for err == nil {
		_, err = slow.record()
	}
	if errors.Is(err, errFault) {
		t.Fatal(err)
	}
	again := mustJoin(t, g.url, control{Stream: "slow", Start: startAfter, After: &slow.at, Strict: true})
	for {
		f, err := again.record()
		if err != nil {
			t.Fatal(err)
		}
		if text := string(f.Data[64<<10:]); text == "end" {
			break
		} else if want = f.sequence; text != fmt.Sprint(want) {
			t.Fatalf("%s in %d", text, want)
		}
	}
}

// Each replay has no more than its rate.
func TestGatewayRate(t *testing.T) {
	t.Parallel()
	nc := connectTo(t, soloEngine(t))
	s := newSource(t, nc, StreamConfig{Name: "rate"})
	s.publish(40)
	g := startReady(t, &Gateway{Conn: nc, Streams: []string{"rate"}, MaxReplays: 1, Authorize: grantAll(60_000)})
	begun := time.Now()
	together(t, 2, func(int) error {
		p, err := join(t.Context(), g.url, control{Stream: "rate", Start: startOldest})
		if err != nil {
			return err
		}
		defer p.Close()
		return p.until(s.number)
	})
	n := g.Counts().Streams[0]
	if least := time.Duration(n.Bytes/2) * time.Second / 60_000 * 8 / 10; time.Since(begun) < least {
		t.Errorf("%d bytes in %v", n.Bytes, time.Since(begun))
	}
}

// Nobody who catches up waits for a client that does not read, nor for one that is
// throttled. The first is cut.
func TestGatewayTurns(t *testing.T) {
	t.Parallel()
	nc := connectTo(t, soloEngine(t))
	s := newSource(t, nc, StreamConfig{Name: "turns"})
	s.big(400)
	g := startReady(t, &Gateway{Conn: nc, Streams: []string{"turns"}, MaxReplays: 1, turnTime: time.Second,
		Upgrader: conn.Upgrader{Config: conn.Config{StallTimeout: time.Hour}},
		Authorize: func(r *http.Request) (Grant, error) {
			rate, _ := strconv.Atoi(r.URL.Query().Get("rate"))
			return Grant{Streams: []string{"*"}, Rate: rate}, nil
		}})
	oldest := control{Stream: "turns", Start: startOldest}
	idle := mustJoin(t, g.url, oldest)
	waitFor(t, "the idle one's turn", func() bool { return g.Counts().Streams[0].Replayed > 0 })
	throttled, err := join(t.Context(), g.url+"?rate=1", oldest)
	if err != nil {
		t.Fatal(err)
	}
	defer throttled.Close()
	if _, err := throttled.record(); err != nil {
		t.Fatal(err)
	}
	quick := mustJoin(t, g.url, oldest)
	for range 400 {
		if _, err := quick.record(); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, "the quick one to be live", func() bool { return g.Counts().Streams[0].Live == 1 })
	if n := g.Counts(); n.TooSlow != 1 || n.Replays != 1 {
		t.Errorf("%+v", n)
	}
	for err = nil; err == nil; {
		_, err = idle.record()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || idle.at.Sequence == 400 {
		t.Errorf("the idle one, at %v: %v", idle.at, err)
	}
}

// Clients without the subprotocol get the plain payloads, and no gaps.
func TestGatewayPlain(t *testing.T) {
	nc := connectTo(t, soloEngine(t))
	s := newSource(t, nc, StreamConfig{Name: "plain"})
	s.publish(3)
	g := startReady(t, &Gateway{Conn: nc, Streams: []string{"plain"}})
	c := dialPlain(t, g.url+"/any/path?stream=plain")
	waitFor(t, "the client", func() bool { return g.Counts().Streams[0].Plain == 1 })
	data, err := AppendBatch(nil, BatchHeader{}, Record{Kind: Text, Data: []byte("text")}, Record{Kind: Gap, Reason: Missing, From: 1, To: 2}, Record{Kind: Binary, Data: []byte{1, 2}})
	if err != nil {
		t.Fatal(err)
	}
	s.raw(data)
	for _, want := range []frame.Message{{Opcode: frame.Text, Data: []byte("text")}, {Opcode: frame.Binary, Data: []byte{1, 2}}} {
		if m, err := c.ReadMessage(); err != nil || m.Opcode != want.Opcode || string(m.Data) != string(want.Data) {
			t.Errorf("%v %q, %v", m.Opcode, m.Data, err)
		}
	}
	for query, code := range map[string]frame.CloseCode{"": CloseBadHello, "?stream=nobody": CloseUnknown} {
		if m, err := dialPlain(t, g.url+query).ReadMessage(); conn.CloseCode(err) != code {
			t.Errorf("%q: %q, %v", query, m.Data, err)
		}
	}
}

// The same over TLS, where every message waits for a goroutine that encrypts it.
func TestGatewayTLS(t *testing.T) {
	nc := connectTo(t, soloEngine(t))
	s := newSource(t, nc, StreamConfig{Name: "tls"})
	s.publish(100)
	g := &Gateway{Conn: nc, Streams: []string{"tls"}}
	startReady(t, g)
	server := httptest.NewTLSServer(g)
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	url := "wss" + strings.TrimPrefix(server.URL, "https")
	var all []*peer
	for i := range 20 {
		p, err := joinBy(t.Context(), &conn.Dialer{TLSConfig: &tls.Config{RootCAs: roots}}, url, control{Stream: "tls", Start: startAfter, After: s.at(uint64(5*i), 3)})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		all = append(all, p)
	}
	go func() {
		for range 10 {
			s.publish(50)
		}
	}()
	together(t, len(all), func(i int) error { return all[i].until(600 * perBatch) })
	if n := g.Counts(); n.TooSlow > 0 {
		t.Errorf("%+v", n)
	}
}

// grantAll grants everything, at a rate.
func grantAll(rate int) func(*http.Request) (Grant, error) {
	return func(*http.Request) (Grant, error) { return Grant{Streams: []string{"*"}, Rate: rate}, nil }
}

// Clients that agree on compression get the same.
func TestGatewayDeflate(t *testing.T) {
	nc := connectTo(t, soloEngine(t))
	s := newSource(t, nc, StreamConfig{Name: "deflate"})
	s.publish(100)
	config := conn.Config{Deflate: &deflate.Config{}}
	g := startReady(t, &Gateway{Conn: nc, Streams: []string{"deflate"}, Upgrader: conn.Upgrader{Config: config}})
	var all []*peer
	for i := range 10 {
		d := &conn.Dialer{}
		if i%2 == 0 {
			d.Config = config
		}
		p, err := joinBy(t.Context(), d, g.url, control{Stream: "deflate", Start: startAfter, After: s.at(uint64(10*i), 2)})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		all = append(all, p)
	}
	s.publish(100)
	together(t, len(all), func(i int) error { return all[i].until(s.number) })
}
