package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/relay/internal/engine"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// perBatch is how many records a batch of a test has: number n is record (n-1)%perBatch of
// sequence (n-1)/perBatch+1, if nothing else is in the stream.
const perBatch = 5

// soloEngine starts an engine in this process, and returns its address.
func soloEngine(t testing.TB) string {
	t.Helper()
	s, err := engine.New(engine.Options{Name: "solo", Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s.ClientURL()
}

// source publishes numbered records.
type source struct {
	t      testing.TB
	nc     *nats.Conn
	js     jetstream.JetStream
	stream StreamInfo
	number uint64 // the last one
}

func newSource(t testing.TB, nc *nats.Conn, config StreamConfig) *source {
	t.Helper()
	if config.MaxBytes == 0 {
		config.MaxBytes = 256 << 20 // the engine reserves it
	}
	info, err := CreateStream(t.Context(), nc, config)
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(256))
	if err != nil {
		t.Fatal(err)
	}
	return &source{t: t, nc: nc, js: js, stream: info}
}

// payload is that of a number.
func payload(number uint64) []byte {
	return fmt.Appendf(nil, "%d %0120x", number, number*0x9e3779b97f4a7c15)
}

// batch returns the next batch.
func (s *source) batch() []byte {
	s.t.Helper()
	var records []Record
	for range perBatch {
		s.number++
		records = append(records, Record{Kind: Text, Data: payload(s.number), From: s.number, To: s.number, Received: time.Now().UnixNano()})
	}
	data, err := AppendBatch(nil, BatchHeader{First: records[0].From, Last: s.number}, records...)
	if err != nil {
		s.t.Fatal(err)
	}
	return data
}

// publish publishes n batches, and waits until they are stored.
func (s *source) publish(n int) {
	s.t.Helper()
	var last jetstream.PubAckFuture
	for range n {
		f, err := s.js.PublishAsync(s.stream.Subject, s.batch(), jetstream.WithStallWait(time.Minute))
		if err != nil {
			s.t.Fatal(err)
		}
		last = f
	}
	if last == nil {
		return
	}
	select {
	case <-s.js.PublishAsyncComplete():
	case err := <-last.Err():
		s.t.Fatal(err)
	case <-time.After(time.Minute):
		s.t.Fatal("publishing takes too long")
	}
}

// raw publishes data as it is, and waits until it is stored.
func (s *source) raw(data []byte) {
	s.t.Helper()
	if _, err := s.js.Publish(s.t.Context(), s.stream.Subject, data); err != nil {
		s.t.Fatal(err)
	}
}

func (s *source) at(sequence uint64, index uint16) *Position {
	return &Position{s.stream.Incarnation, sequence, index}
}

// service is a Gateway that runs, under net/http.
type service struct {
	*Gateway
	url    string // ws://…
	http   string
	cancel context.CancelFunc
	done   chan error
}

// run runs a Gateway.
func run(t testing.TB, g *Gateway) *service {
	t.Helper()
	server := httptest.NewServer(g)
	ctx, cancel := context.WithCancel(context.Background())
	r := &service{g, "ws" + strings.TrimPrefix(server.URL, "http"), server.URL, cancel, make(chan error, 1)}
	if g.ShutdownTimeout == 0 {
		g.ShutdownTimeout = time.Second
	}
	go func() { r.done <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-r.done:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Run: %v", err)
			}
			r.done <- err
		case <-time.After(20 * time.Second):
			t.Error("Run does not end")
		}
		server.Close()
	})
	return r
}

// startReady is run, and waits until the Gateway is ready.
func startReady(t testing.TB, g *Gateway) *service {
	t.Helper()
	r := run(t, g)
	waitFor(t, "the gateway to be ready", func() bool { return g.Ready() == nil })
	return r
}

func waitFor(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// peer is a client of the subprotocol that checks all it gets.
type peer struct {
	*conn.Conn
	welcome control
	at      Position // of the last record
	ended   bool     // the last record was the last one of its batch
	last    control  // the last control message
}

// join dials, says hello and reads the welcome. A refusal is an error.
func join(ctx context.Context, url string, hello control) (*peer, error) {
	return joinBy(ctx, &conn.Dialer{}, url, hello)
}

func joinBy(ctx context.Context, d *conn.Dialer, url string, hello control) (*peer, error) {
	d.Subprotocols = []string{Subprotocol}
	c, err := d.Dial(ctx, url)
	if err != nil {
		return nil, err
	}
	p := &peer{Conn: c}
	hello.Type = "hello"
	data, err := json.Marshal(hello)
	if err != nil {
		return nil, err
	}
	if err := c.WriteMessage(conn.Text, data); err != nil {
		return nil, err
	}
	c.SetReadDeadline(time.Now().Add(2 * time.Minute))
	for p.welcome.Type == "" {
		if _, _, err := p.read(); err != nil {
			c.Close()
			return p, err
		}
	}
	p.at, p.ended = *p.welcome.After, true
	if hello.After != nil && *hello.After == p.at {
		p.ended = p.at.Index == EndOfBatch
	}
	return p, nil
}

// errFault is what is wrong with the stream that a peer gets.
var errFault = errors.New("a fault of the stream")

// read reads a message. ok says that it is a record, which follows the one before.
func (p *peer) read() (f dataFrame, ok bool, err error) {
	m, err := p.ReadMessage()
	if err != nil {
		return f, false, err
	}
	if m.Opcode == conn.Text {
		var k control
		if err := json.Unmarshal(m.Data, &k); err != nil {
			return f, false, err
		}
		p.last = k
		if k.Type == "welcome" {
			p.welcome = k
		}
		return f, false, nil
	}
	if f, err = parseFrame(m.Data); err != nil {
		return f, false, err
	}
	if err := p.follows(f); err != nil {
		return f, false, err
	}
	return f, true, nil
}

// follows checks what PROTOCOL.md says of the order, and the content.
func (p *peer) follows(f dataFrame) error {
	before := p.at
	resumed := !p.ended && p.at == *p.welcome.After // whether the batch has more is not known
	ok := f.sequence == p.at.Sequence+1 && f.index == 0 && (p.ended || resumed)
	if !p.ended {
		ok = ok || f.sequence == p.at.Sequence && f.index == p.at.Index+1
	}
	if f.expired {
		ok = f.first == p.at.Sequence+1 || !p.ended && f.first == p.at.Sequence
	}
	p.at, p.ended = Position{before.Incarnation, f.sequence, f.index}, f.last
	if !ok {
		return fmt.Errorf("%w: %d.%d after %v", errFault, f.sequence, f.index, before)
	}
	if f.Kind == Text {
		number := (f.sequence-1)*perBatch + uint64(f.index) + 1
		if want := string(payload(number)); string(f.Data) != want {
			return fmt.Errorf("%w: %d.%d is %.30q instead of %.30q", errFault, f.sequence, f.index, f.Data, want)
		}
	}
	return nil
}

// record reads the next record.
func (p *peer) record() (dataFrame, error) {
	for {
		if f, ok, err := p.read(); ok || err != nil {
			return f, err
		}
	}
}

// until reads records up to a number.
func (p *peer) until(number uint64) error {
	for {
		f, err := p.record()
		if err != nil {
			return fmt.Errorf("at %v, on the way to number %d: %w", p.at, number, err)
		}
		if f.Kind == Text && (f.sequence-1)*perBatch+uint64(f.index)+1 == number {
			return nil
		}
	}
}

// mustJoin is join without an error.
func mustJoin(t testing.TB, url string, hello control) *peer {
	t.Helper()
	p, err := join(t.Context(), url, hello)
	if err != nil {
		t.Fatalf("join: %v, %+v", err, p)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// together runs n functions at once, and reports their errors.
func together(t testing.TB, n int, run func(i int) error) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := run(i); err != nil {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	wg.Wait()
}

// get is a GET request.
func get(t testing.TB, url string) *http.Response {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Body.Close() })
	return r
}

// refusedWith checks that a join is refused with an error message and a Close code.
func refusedWith(t testing.TB, p *peer, err error, code frame.CloseCode) {
	t.Helper()
	if conn.CloseCode(err) != code {
		t.Fatalf("%v, want a Close frame with %d", err, code)
	}
	if p.last.Type != "error" || p.last.Code != code || p.last.Text == "" {
		t.Fatalf("%+v before the Close frame with %d", p.last, code)
	}
}
