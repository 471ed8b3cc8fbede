//go:build unix

package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/relay/internal/engine"
)

// line carries TCP connections to an engine, and can be cut.
type line struct {
	listener net.Listener
	to       string

	mu    sync.Mutex
	down  bool
	conns []net.Conn
}

func newLine(t testing.TB, url string) *line {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	one := &line{listener: l, to: strings.TrimPrefix(url, "nats://")}
	go one.run()
	return one
}

func (l *line) url() string { return "nats://" + l.listener.Addr().String() }

func (l *line) run() {
	for {
		in, err := l.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", l.to)
		l.mu.Lock()
		if err != nil || l.down {
			in.Close()
		} else {
			l.conns = append(l.conns, in, out)
			go func() { io.Copy(in, out); in.Close() }()
			go func() { io.Copy(out, in); out.Close() }()
		}
		l.mu.Unlock()
	}
}

// cut cuts the line, or mends it.
func (l *line) cut(down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down = down; down {
		for _, c := range l.conns {
			c.Close()
		}
		l.conns = nil
	}
}

// What is published while the gateway is away from the engine is filled, in order;
// meanwhile it is not ready. What has expired by then is told.
func TestGatewayOutage(t *testing.T) {
	t.Parallel()
	nc := connectTo(t, soloEngine(t))
	l := newLine(t, nc.ConnectedUrl())
	s := newSource(t, nc, StreamConfig{Name: "outage"})
	s.publish(10)
	g := startReady(t, &Gateway{Conn: connectTo(t, l.url()), Streams: []string{"outage"}})
	p := mustJoin(t, g.url, control{Stream: "outage", Start: startNow})
	plain := dialPlain(t, g.url+"?stream=outage")
	if status := get(t, g.http+"/healthz").StatusCode; status != http.StatusOK {
		t.Errorf("health: %d", status)
	}
	for range 3 {
		l.cut(true)
		waitFor(t, "the gateway to notice", func() bool { return g.Ready() != nil })
		if status := get(t, g.http+"/healthz").StatusCode; status != http.StatusServiceUnavailable {
			t.Errorf("health without the engine: %d", status)
		}
		s.publish(100)
		l.cut(false)
		if err := p.until(s.number); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the gateway to be ready", func() bool { return g.Ready() == nil })
	}
	if n := g.Counts().Streams[0]; n.Fills != 300 || n.Gone != 0 || n.Head != 310 {
		t.Errorf("%+v", n)
	}
	l.cut(true)
	waitFor(t, "the gateway to notice", func() bool { return g.Ready() != nil })
	s.publish(100)
	s.purge(361)
	l.cut(false)
	f, err := p.record()
	if err != nil || !f.expired || f.first != 311 || f.sequence != 360 {
		t.Fatalf("%+v, %v", f, err)
	}
	if err := p.until(s.number); err != nil {
		t.Fatal(err)
	}
	late := mustJoin(t, g.url, control{Stream: "outage", Start: startAfter, After: s.at(300, 2)})
	if err := late.until(s.number); err == nil || late.at != *s.at(360, EndOfBatch) && *late.welcome.After != *s.at(360, EndOfBatch) {
		// From the ring: the records up to 310, then the expired message.
		if err != nil {
			t.Error(err)
		}
	}
	if n := g.Counts().Streams[0]; n.Gone != 50 {
		t.Errorf("%+v", n)
	}
	for number := uint64(10*perBatch + 1); number <= s.number; number++ {
		if number == 310*perBatch+1 {
			number = 360*perBatch + 1
		}
		m, err := plain.ReadMessage()
		if err != nil || string(m.Data) != string(payload(number)) {
			t.Fatalf("plain: %.20q, %v, want %d", m.Data, err, number)
		}
	}
}

// While the gateway is away, the engine loses its newest batches and gets others. Nothing of
// them passes for what follows the lost ones: the clients are told that the incarnation is
// over.
func TestGatewayOutageWentBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cluster, err := engine.Start(1, dir+"/engine", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	node := cluster.Nodes[0]
	s := newSource(t, connectTo(t, cluster.Servers()), StreamConfig{Name: "outage"})
	s.publish(10)
	node.Kill()
	if err := os.CopyFS(dir+"/copy", os.DirFS(node.Dir)); err != nil {
		t.Fatal(err)
	}
	start := func() {
		t.Helper()
		if err := node.Start(); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the engine", func() bool { _, err := s.lookup(); return err == nil })
	}
	start()
	l := newLine(t, node.URL())
	g := startReady(t, &Gateway{Conn: connectTo(t, l.url()), Streams: []string{"outage"}})
	p := mustJoin(t, g.url, control{Stream: "outage", Start: startNow})
	s.publish(10)
	if err := p.until(s.number); err != nil {
		t.Fatal(err)
	}
	l.cut(true)
	node.Kill()
	if err := errors.Join(os.RemoveAll(node.Dir), os.Rename(dir+"/copy", node.Dir)); err != nil {
		t.Fatal(err)
	}
	start()
	if info, err := s.lookup(); err != nil || info.Last != 10 || info.Incarnation != s.stream.Incarnation {
		t.Fatalf("%+v, %v", info, err)
	}
	s.publish(15) // sequences 11 to 25
	l.cut(false)
	f, err := p.record()
	if conn.CloseCode(err) != CloseIncarnation {
		t.Errorf("%+v, %v", f, err)
	}
	if n := g.Counts().Streams[0]; n.Fills != 0 {
		t.Errorf("%+v", n)
	}
}

// purge deletes the batches before a sequence.
func (s *source) purge(before uint64) {
	s.t.Helper()
	stream, err := s.js.Stream(s.t.Context(), s.stream.Name)
	if err == nil {
		err = stream.Purge(s.t.Context(), jetstream.WithPurgeSequence(before))
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// A leader that is killed, and a node that stops under the gateway, lose nothing of what
// was stored.
func TestGatewayCluster(t *testing.T) {
	t.Parallel()
	c, err := engine.Start(3, t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	first := connectTo(t, c.Servers())
	info, err := CreateStream(t.Context(), first, StreamConfig{Name: "cluster", Replicas: 3, MaxBytes: 256 << 20})
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the first leader", func() bool {
		info, err = LookupStream(t.Context(), first, "cluster")
		return err == nil && c.Node(info.Leader) != nil
	})
	leader := c.Node(info.Leader)
	under := c.Nodes[0] // of the gateway
	if under == leader {
		under = c.Nodes[1]
	}
	s := newSource(t, connectTo(t, leader.URL()), StreamConfig{Name: "cluster", Replicas: 3})
	g := startReady(t, &Gateway{Conn: connectTo(t, under.URL()), Streams: []string{"cluster"}})
	p := mustJoin(t, g.url, control{Stream: "cluster", Start: startNow})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	total := make(chan uint64, 1)
	go func() { total <- s.steadily(ctx) }()
	read := make(chan error, 1)
	var end atomic.Uint64 // sequence
	go func() {
		var err error
		p.SetReadDeadline(time.Now().Add(90 * time.Second))
		for err == nil && (end.Load() == 0 || p.at.Sequence <= end.Load()) {
			_, err = p.record()
		}
		read <- err
	}()
	waitFor(t, "messages", func() bool { return g.Counts().Streams[0].Head > 100 })
	if err := under.Pause(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the gateway to leave the node", func() bool { return g.Conn.IsConnected() && nodeOf(c, g.Conn.ConnectedUrl()) != under })
	if err := under.Resume(); err != nil {
		t.Fatal(err)
	}
	head := g.Counts().Streams[0].Head
	waitFor(t, "messages", func() bool { return g.Counts().Streams[0].Head > head+100 })
	waitFor(t, "a leader to kill", func() bool {
		info, err = s.lookup()
		return err == nil && c.Node(info.Leader) != nil
	})
	c.Node(info.Leader).Kill()
	waitFor(t, "a new leader", func() bool { return g.Counts().Streams[0].Head > info.Last+200 })
	cancel()
	end.Store(<-total / perBatch)
	s.publishSafely() // the reader looks after each record
	if err := <-read; err != nil {
		t.Error(err)
	}
	n := g.Counts().Streams[0]
	t.Logf("%+v", n)
	if n.Gone != 0 || n.Bad != 0 || n.Fills == 0 {
		t.Errorf("%+v", n)
	}
}

func nodeOf(c *engine.Cluster, url string) *engine.Node {
	for _, n := range c.Nodes {
		if n.URL() == url {
			return n
		}
	}
	return nil
}

// steadily publishes a batch every few milliseconds until ctx ends.
func (s *source) steadily(ctx context.Context) uint64 {
	for ctx.Err() == nil {
		s.publishSafely()
		time.Sleep(2 * time.Millisecond)
	}
	return s.number
}

// publishSafely publishes a batch once, whatever happens to the engine.
func (s *source) publishSafely() {
	before := s.number / perBatch
	data := s.batch()
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		_, err := s.js.Publish(ctx, s.stream.Subject, data, jetstream.WithExpectLastSequence(before), jetstream.WithRetryAttempts(0))
		cancel()
		if err == nil {
			return
		}
		var api *jetstream.APIError
		if errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence {
			if info, err := s.lookup(); err == nil && info.Last == before+1 {
				return // an earlier attempt
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (s *source) lookup() (StreamInfo, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return LookupStream(ctx, s.nc, s.stream.Name)
}
