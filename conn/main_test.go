package conn

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/pprof"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/conntest"
	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/mask"
)

// What the tests of transports need as well.
var (
	testCertificate = conntest.Certificate
	loopback        = conntest.Loopback
)

// TestMain checks that goroutines and file descriptors are back where they were.
func TestMain(m *testing.M) {
	bogoShim()
	goroutines, fds := runtime.NumGoroutine(), countFDs()
	code := m.Run()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	if f := flag.Lookup("test.fuzz"); f != nil && f.Value.String() != "" {
		os.Exit(code) // a campaign has goroutines of its own
	}
	for until := time.Now().Add(5 * time.Second); code == 0; runtime.Gosched() {
		g, f := runtime.NumGoroutine(), countFDs()
		// The runtime's poller keeps descriptors of its own once it is used.
		if g <= goroutines && f <= fds+4 {
			break
		}
		if time.Now().After(until) {
			fmt.Fprintf(os.Stderr, "left behind: goroutines %d → %d, descriptors %d → %d\n", goroutines, g, fds, f)
			_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
			code = 1
		}
	}
	os.Exit(code)
}

// countFDs returns the number of open file descriptors, 0 where that cannot be seen.
func countFDs() int {
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(d)
}

// peer is the other end of a Conn under test, in raw frames.
type peer struct {
	t    testing.TB
	nc   *netsim.Conn
	role frame.Role
	r    *frame.Reader
}

// simulate returns a Conn over a connection in memory, its end of that, and the peer. Clocks are off unless cfg sets them.
func simulate(t testing.TB, role frame.Role, cfg Config, size int) (*Conn, *netsim.Conn, *peer) {
	t.Helper()
	if cfg.KeepAlive == 0 {
		cfg.KeepAlive = -1
	}
	if cfg.StallTimeout == 0 {
		cfg.StallTimeout = -1
	}
	a, b := netsim.Pipe(size)
	p := &peer{t: t, nc: b, role: 1 - role, r: frame.NewReader(b, 1-role, frame.Options{})}
	t.Cleanup(func() { b.CloseWrite() }) // linger waits for it
	return New(a, role, &cfg), a, p
}

// bytesOf returns a frame as the peer sends it.
func (p *peer) frame(h frame.Header, payload []byte) []byte {
	if p.role == frame.Client {
		h.Masked, h.Key = true, mask.Key(0x11223344)
	}
	return frame.AppendFrame(nil, h, payload)
}

func (p *peer) message(op Opcode, payload string) []byte {
	return p.frame(frame.Header{Fin: true, Opcode: op}, []byte(payload))
}

func (p *peer) closing(code frame.CloseCode, reason string) []byte {
	body, err := frame.AppendClose(nil, p.role, code, reason)
	if err != nil {
		p.t.Fatal(err)
	}
	return p.message(frame.Close, string(body))
}

// send writes pieces of the stream; they must fit.
func (p *peer) send(pieces ...[]byte) {
	p.t.Helper()
	if _, err := p.nc.Write(bytes.Join(pieces, nil)); err != nil {
		p.t.Errorf("peer: %v", err)
	}
}

// expect reads the next frame, which must be this.
func (p *peer) expect(op Opcode, payload string) {
	p.t.Helper()
	m, err := p.r.Next()
	if err != nil || m.Opcode != op || string(m.Data) != payload {
		p.t.Errorf("peer got %v %q, %v; want %v %q", m.Opcode, m.Data, err, op, payload)
	}
}

// expectClose reads the next frame, which must be a Close.
func (p *peer) expectClose(code frame.CloseCode) {
	p.t.Helper()
	m, err := p.r.Next()
	if err != nil || m.Opcode != frame.Close {
		p.t.Errorf("peer got %v %q, %v; want close %v", m.Opcode, m.Data, err, code)
		return
	}
	if got, _, _ := frame.ParseClose(m.Data); got != code {
		p.t.Errorf("peer got close %v, want %v", got, code)
	}
}

// expectEnd reads the end of the stream.
func (p *peer) expectEnd() {
	p.t.Helper()
	for {
		if _, err := p.nc.Read(make([]byte, 1024)); err != nil {
			if err != io.EOF {
				p.t.Errorf("peer got %v, want the end", err)
			}
			return
		}
	}
}

// wantMessage reads the next message, which must be this.
func wantMessage(t testing.TB, c *Conn, op Opcode, data string) {
	t.Helper()
	m, err := c.ReadMessage()
	if err != nil || m.Opcode != op || string(m.Data) != data {
		t.Fatalf("got %v %.40q, %v; want %v %.40q", m.Opcode, m.Data, err, op, data)
	}
}

// wantTimeout checks for a passed deadline that ended nothing.
func wantTimeout(t testing.TB, err error) {
	t.Helper()
	var n net.Error
	if !errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) || !errors.As(err, &n) || !n.Timeout() {
		t.Fatalf("got %v, want a passed deadline", err)
	}
}

// wantClock checks for the end by a clock.
func wantClock(t testing.TB, err error, clock Clock) {
	t.Helper()
	var e *TimeoutError
	if !errors.As(err, &e) || e.Clock != clock || !errors.Is(err, net.ErrClosed) {
		t.Fatalf("got %v, want the %s clock", err, clock)
	}
}

// wantTransport checks for the end by the network.
func wantTransport(t testing.TB, err, cause error) {
	t.Helper()
	var e *TransportError
	if !errors.As(err, &e) || !errors.Is(err, cause) || !errors.Is(err, net.ErrClosed) || CloseCode(err) != frame.CodeAbnormal {
		t.Fatalf("got %v, want a transport error of %v", err, cause)
	}
}
