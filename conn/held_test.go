package conn

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// waysToWait are all ways to read. Each reads one message, in as many calls as that takes.
var waysToWait = []struct {
	name string
	read func(c *Conn, scratch []byte) (n int, err error)
}{
	{"ReadMessage", func(c *Conn, _ []byte) (int, error) { return ways[0].read(c) }},
	{"TakeBatch", func(c *Conn, _ []byte) (int, error) { return ways[1].read(c) }},
	{"NextReader", func(c *Conn, _ []byte) (int, error) { return ways[2].read(c) }},
	{"NextReader, large", func(c *Conn, scratch []byte) (int, error) {
		_, r, err := c.NextReader()
		if err != nil {
			return 0, err
		}
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, scratch)
		return int(n), err
	}},
	{"Messages", func(c *Conn, _ []byte) (int, error) {
		for m, err := range c.Messages() {
			return len(m.Data), err
		}
		return 0, io.ErrUnexpectedEOF
	}},
	{"NextFrame", func(c *Conn, _ []byte) (n int, err error) {
		for {
			f, err := c.NextFrame()
			if n += len(f.Payload); err != nil || f.Header.Fin && !f.Header.Opcode.IsControl() {
				return n, err
			}
		}
	}},
}

// heapNow returns the bytes of heap objects that are held, without what only pools have.
func heapNow() int {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// wantHeld waits until no more than most bytes are held beside base, and returns how many are.
func wantHeld(t *testing.T, base, most int) int {
	t.Helper()
	held := heapNow() - base // reads park in their own time
	for until := time.Now().Add(5 * time.Second); held > most && time.Now().Before(until); {
		time.Sleep(time.Millisecond)
		held = heapNow() - base
	}
	if held > most {
		t.Errorf("%d bytes are held, want at most %d", held, most)
	}
	return held
}

// A line is a Conn and the other end, to which its peer writes bytes as they are.
type line struct {
	c    *Conn
	peer io.Writer
}

// lineOver makes a line of a kind, for the Conn's role.
func lineOver(t *testing.T, kind string, role frame.Role, cfg *Config) *line {
	t.Helper()
	full := *cfg
	full.KeepAlive = -1
	switch kind {
	case "socket":
		a, b := loopback(t)
		return &line{c: New(a, role, &full), peer: b}
	case "any connection":
		a, b := net.Pipe()
		t.Cleanup(func() { a.Close(); b.Close() })
		go io.Copy(io.Discard, b) // it has no room for what comes
		return &line{c: New(a, role, &full), peer: b}
	}
	a, b := net.Conn(nil), net.Conn(nil)
	if kind == "TLS" {
		a, b = loopback(t)
	} else {
		a, b = net.Pipe()
		t.Cleanup(func() { a.Close(); b.Close() })
	}
	serverTLS, clientTLS := testCertificate(t)
	clientTLS.ServerName = "localhost"
	near, far := clientUnderTLS(a, &full, clientTLS), tls.Server(b, serverTLS)
	if role == frame.Server {
		near, far = tls.Server(underTLS(a, &full), serverTLS), tls.Client(b, clientTLS)
	}
	shaken := make(chan error, 1)
	go func() {
		shaken <- far.Handshake()
		io.Copy(io.Discard, far) // a pipe has no room for what comes
	}()
	shake := near.Handshake
	if role == frame.Client {
		shake = func() error { return shakeClient(near) }
	}
	if err := errors.Join(shake(), <-shaken); err != nil {
		t.Fatal(err)
	}
	return &line{c: New(near, role, &full), peer: far}
}

// until waits until the Conn has taken n bytes.
func (l *line) until(t *testing.T, n uint64) {
	t.Helper()
	for until := time.Now().Add(10 * time.Second); l.c.Stats().BytesRead < n; time.Sleep(50 * time.Microsecond) {
		if time.Now().After(until) {
			t.Fatalf("%d of %d bytes were taken", l.c.Stats().BytesRead, n)
		}
	}
}

// encoded returns a message in frames as role receives it, of which each but the last is of the size of a piece.
func encoded(role frame.Role, rsv1 bool, payload []byte, piece int) (b []byte) {
	op := Binary
	for first := true; first || len(payload) > 0; first = false {
		n := min(piece, len(payload))
		h := frame.Header{Fin: n == len(payload), Opcode: op, RSV1: rsv1, Masked: role == frame.Server, Key: 0x01020304}
		b = frame.AppendFrame(b, h, payload[:n])
		payload, op, rsv1 = payload[n:], frame.Continuation, false
	}
	return b
}

// F77: behind a message of any size, however it came and was read, a connection that waits holds what it held before.
func TestF77RestsBehindLargeMessages(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("memory is not measured under the race detector")
	}
	sizes := []int{1 << 20, 9<<20 + 1}
	full := os.Getenv("TICKWIRE_FULL") != ""
	if full {
		sizes = append(sizes, 4<<20, 33<<20, 64<<20)
	}
	largest := sizes[len(sizes)-1] + 64<<20
	body := bytes.Repeat([]byte("0123456789abcdef"), largest/16)
	squeezed := map[int][]byte{}
	for _, n := range append(sizes, 300_000) {
		squeezed[n] = packed(t, body[:n])
	}
	for _, kind := range []string{"socket", "TLS", "any connection", "TLS over any"} {
		for _, role := range []frame.Role{frame.Client, frame.Server} {
			for _, compressed := range []bool{false, true} {
				for _, readBuffer := range []int{0, 16 << 20} {
					if readBuffer != 0 && (kind == "TLS over any" || compressed) {
						continue
					}
					t.Run(fmt.Sprintf("%s/%v/compressed %v/%d", kind, role, compressed, readBuffer), func(t *testing.T) {
						cfg := &Config{ReadBuffer: readBuffer, Frame: frame.Options{MaxMessage: int64(largest), MaxFrame: int64(largest)}}
						if compressed {
							cfg.Deflate = &deflate.Config{MaxRatio: -1}
							cfg.agreed = &deflate.Params{}
						}
						l := lineOver(t, kind, role, cfg)
						defer l.c.Close()
						scratch := make([]byte, 100<<10)
						slack := 0
						rest := func(way func(*Conn, []byte) (int, error), size, piece, base int) int {
							payload := body[:size]
							if compressed && size > 1000 {
								payload = squeezed[size]
							}
							wire := encoded(role, compressed && size > 1000, payload, piece)
							small := encoded(role, false, body[:10], 10)
							read := make(chan error, 1)
							go func() {
								n, err := way(l.c, scratch)
								if err == nil && n != size && n != len(payload) {
									err = fmt.Errorf("%d bytes of %d", n, size)
								}
								read <- err
								_, err = way(l.c, scratch)
								read <- err
							}()
							if _, err := l.peer.Write(wire); err != nil {
								t.Fatal(err)
							}
							if err := <-read; err != nil {
								t.Fatal(err)
							}
							wire = nil
							if base < 0 {
								time.Sleep(20 * time.Millisecond) // the more is held, the less the test demands
								base = heapNow()
							}
							wantHeld(t, base, slack)
							l.peer.Write(small)
							if err := <-read; err != nil {
								t.Fatal(err)
							}
							return base
						}
						slack = 16 << 10
						if strings.HasPrefix(kind, "TLS") {
							slack = 48 << 10 // crypto/tls keeps a buffer of two or three records
						}
						base := rest(waysToWait[0].read, 300_000, 300_000, -1) // a window is kept
						for i, way := range waysToWait {
							for j, size := range sizes {
								for k, piece := range []int{1 << 30, 700_001, 40_000} {
									if (i+j+k)%2 != 0 && !full { // the rest comes in the other kinds
										continue
									}
									if rest(way.read, size, piece, base); t.Failed() { // a test in a test would keep memory of its own
										t.Fatalf("%s: behind %d bytes in frames of %d, by %s", t.Name(), size, piece, way.name)
									}
								}
							}
						}
					})
				}
			}
		}
	}
}

// F78: whatever a peer has sent of a message, what is held for it is at most twice that, or 4 KiB.
func TestF78HeldIsInProportion(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("memory is not measured under the race detector")
	}
	const declared = 15 << 20
	body := bytes.Repeat([]byte("0123456789abcdef"), declared/16)
	type state struct {
		name   string
		pieces [][]byte // the bytes that come, each by a write
	}
	cut := func(b []byte, n int) (pieces [][]byte) {
		for ; len(b) > n; b = b[n:] {
			pieces = append(pieces, b[:n])
		}
		return append(pieces, b)
	}
	block := 0
	for _, kind := range []string{"socket", "TLS", "any connection"} {
		for _, role := range []frame.Role{frame.Client, frame.Server} {
			var states []state
			for _, length := range []int{125, 126, 4000, 60_000, 65_536, declared} {
				whole := encoded(role, false, body[:length], length)
				head := len(whole) - length
				for _, n := range []int{1, 2, head, head + 1, 100, 2048, 4095, 4096, 4097, 5000, 8193, 9000, 16384 + head, 16385 + head, 33_000, 65_537, 70_000, 140_000, 300_000, 1<<20 + 20} {
					if n >= len(whole) {
						break
					}
					states = append(states, state{fmt.Sprintf("%d of a frame of %d", n, length), [][]byte{whole[:n]}})
					if n > 100 && n < 40_000 {
						states = append(states, state{fmt.Sprintf("%d of a frame of %d, in parts", n, length), cut(whole[:n], n/7)})
					}
				}
				for _, n := range []int{1, 200, 5000, 9000, 20_000} {
					if n >= length {
						break
					}
					fragments := encoded(role, false, body[:length], n)
					n += len(encoded(role, false, body[:n], n)) - n
					states = append(states,
						state{fmt.Sprintf("a fragment of %d of %d", n, length), [][]byte{fragments[:n]}},
						state{fmt.Sprintf("and a header behind %d of %d", n, length), [][]byte{fragments[:n+2]}})
					ping := frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: frame.Ping, Masked: role == frame.Server}, body[:100])
					states = append(states, state{fmt.Sprintf("and part of a ping behind %d of %d", n, length), [][]byte{fragments[:n], ping[:50]}})
				}
			}
			for _, readBuffer := range []int{0, 16 << 20} {
				for _, busy := range []bool{false, true} { // was the connection before
					if kind == "TLS" && !busy {
						continue // crypto/tls keeps a buffer for the largest record that came
					}
					t.Run(fmt.Sprintf("%s/%v/%d/busy %v", kind, role, readBuffer, busy), func(t *testing.T) {
						cfg := &Config{ReadBuffer: readBuffer, Frame: frame.Options{MaxMessage: 1 << 30, MaxFrame: 1 << 30}}
						worst, at := 0.0, ""
						for i, s := range states {
							if block++; block%11 != 0 && os.Getenv("TICKWIRE_FULL") == "" {
								continue
							}
							held, n := heldIn(t, kind, role, cfg, busy, s.pieces, waysToWait[i%len(waysToWait)].read)
							if most := max(4<<10, 2*n); held > most+200 { // what the runtime takes now and then
								t.Errorf("%s: %d bytes held after %d, by %s", s.name, held, n, waysToWait[i%len(waysToWait)].name)
							}
							if r := float64(held) / float64(max(2<<10, n)); r > worst {
								worst, at = r, s.name
							}
						}
						t.Logf("at most %.2f times what came, and 4 KiB: %s", worst, at)
					})
				}
			}
		}
	}
}

// F78 for compressed messages: what inflates them takes 4 KiB with the first byte of the payload, and the window that was agreed
// beside what came.
func TestF78HeldOfCompressedMessages(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("memory is not measured under the race detector")
	}
	const declared = 15 << 20
	stream := storedBlocks(make([]byte, declared))[:declared]
	for _, role := range []frame.Role{frame.Client, frame.Server} {
		for _, readBuffer := range []int{0, 16 << 20} {
			for i, n := range []int{0, 1, 100, 3000, 5000, 20_000, 70_000} {
				whole := encoded(role, true, stream, declared)
				n += len(whole) - declared
				cfg := &Config{ReadBuffer: readBuffer, Deflate: &deflate.Config{}, Frame: frame.Options{MaxMessage: 1 << 30}}
				cfg.agreed = &deflate.Params{}
				way := waysToWait[i%3]
				held, received := heldIn(t, "socket", role, cfg, false, [][]byte{whole[:n]}, way.read)
				most := max(4<<10, 2*received) + 600
				if received > 2000 {
					most += 32 << 10
				}
				if held > most {
					t.Errorf("%v, %d: %d bytes held after %d, by %s", role, readBuffer, held, received, way.name)
				}
			}
		}
	}
}

// A record that has not come whole has a buffer of at most twice as much while the rest is waited for.
func TestF78RecordsGrowWithWhatCame(t *testing.T) {
	for _, waits := range []bool{false, true} {
		for _, step := range []int{1, 7, 500, 4096, 1 << 20} {
			r := &records{size: minRecords, max: 128 << 10}
			r.size = r.max // as a busy feed has left it
			for came := 0; came < maxRecord; {
				space := r.space(waits)
				if waits {
					if held := len(r.lent.B); held > max(minRecords, 2*came) {
						t.Fatalf("%d bytes held for %d, in steps of %d", held, came, step)
					}
				}
				n := min(step, len(space), maxRecord-came)
				r.Filled(n)
				came += n
				r.Release()
				if held := len(r.lent.B); !waits && held > 2*max(came, leastRecords) {
					t.Fatalf("%d bytes held behind a Release for %d, in steps of %d", held, came, step)
				}
			}
			r.drop()
		}
	}
}

// heldIn returns how much each of some connections holds after the pieces have come, more than before, and how long those are.
func heldIn(t *testing.T, kind string, role frame.Role, cfg *Config, busy bool, pieces [][]byte, way func(*Conn, []byte) (int, error)) (held, received int) {
	t.Helper()
	const connections = 4
	small := encoded(role, false, make([]byte, 100), 100)
	warm, messages := small, uint64(1)
	if busy {
		messages = 302
		warm = bytes.Repeat(encoded(role, false, make([]byte, 1000), 1000), 300)
		warm = append(warm, encoded(role, false, make([]byte, 1<<20), 1<<20)...)
		warm = append(warm, small...)
	}
	for _, p := range pieces {
		received += len(p)
	}
	lines := make([]*line, connections)
	ended := make(chan struct{}, connections)
	for i := range lines {
		l := lineOver(t, kind, role, cfg)
		lines[i] = l
		go func() {
			defer func() { ended <- struct{}{} }()
			scratch := make([]byte, 100<<10)
			for {
				if _, err := way(l.c, scratch); err != nil {
					return
				}
			}
		}()
		if _, err := l.peer.Write(warm); err != nil {
			t.Fatal(err)
		}
		for until := time.Now().Add(20 * time.Second); l.c.Stats().MessagesRead < messages; time.Sleep(100 * time.Microsecond) {
			if time.Now().After(until) {
				t.Fatalf("%d of %d messages were read", l.c.Stats().MessagesRead, messages)
			}
		}
	}
	time.Sleep(time.Millisecond)
	base := heapNow()
	for _, l := range lines {
		n := l.c.Stats().BytesRead
		for _, p := range pieces {
			l.peer.Write(p)
			n += uint64(len(p))
			l.until(t, n)
		}
	}
	most := connections * max(4<<10, 2*received)
	held = heapNow() - base
	for until := time.Now().Add(100 * time.Millisecond); held > most && time.Now().Before(until); {
		time.Sleep(time.Millisecond)
		held = heapNow() - base
	}
	for _, l := range lines {
		l.c.Close()
		<-ended
		if c, ok := l.peer.(net.Conn); ok {
			lowest(c).Close()
		}
	}
	return held / connections, received
}

// F78 for the heads of handshakes: of a request, of an answer and of a proxy's.
func TestF78HeldForAHandshake(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("memory is not measured under the race detector")
	}
	const connections = 16
	filler := strings.Repeat("X-Filler: "+strings.Repeat("f", 100)+"\r\n", 120)
	answer := "HTTP/1.1 101 Switching Protocols\r\n" + filler
	limits := handshake.Limits{Bytes: 1 << 20, Lines: 1000}
	open := func(d *Dialer, url string) func(net.Conn) {
		return func(nc net.Conn) {
			d := *d
			d.Limits, d.HandshakeTimeout = limits, -1 // a timer would keep a pipe that is closed
			d.NetDial = func(context.Context, string, string) (net.Conn, error) { return nc, nil }
			d.Dial(context.Background(), url)
		}
	}
	for _, tt := range []struct {
		name   string
		begin  func(net.Conn)
		asks   bool // it writes a request first
		stream string
		times  int // held per received
	}{
		{"Accept", func(nc net.Conn) { (&Upgrader{Limits: limits, HandshakeTimeout: -1}).Accept(nc) }, false, "GET / HTTP/1.1\r\nHost: a\r\n" + filler, 2},
		{"Dial", open(&Dialer{}, "ws://a/"), true, answer, 4}, // the lines of its header are kept as strings, too
		{"CONNECT", open(&Dialer{Proxy: through("http://proxy:1")}, "ws://a/"), true, "HTTP/1.1 200 OK\r\n" + filler, 4},
	} {
		for _, n := range []int{1, 100, 1023, 1024, 1025, 2048, 2049, 3600, 4096, 4097, 8192, 8193, 10_000} {
			t.Run(fmt.Sprintf("%s/%d", tt.name, n), func(t *testing.T) {
				ended := make(chan struct{}, connections)
				near, far := make([]net.Conn, connections), make([]net.Conn, connections)
				hold := func(n, before, most int) int {
					for i := range near {
						near[i], far[i] = net.Pipe()
						go func() {
							tt.begin(near[i])
							ended <- struct{}{}
						}()
						if tt.asks {
							request(far[i])
						}
						if _, err := io.WriteString(far[i], tt.stream[:n]); err != nil {
							t.Fatal(err)
						}
					}
					held := (heapNow() - before) / connections
					for until := time.Now().Add(200 * time.Millisecond); held > most && time.Now().Before(until); {
						time.Sleep(time.Millisecond)
						held = (heapNow() - before) / connections
					}
					for i := range near {
						far[i].Close()
						<-ended
					}
					return held
				}
				hold(n, 0, 1<<30)
				before := hold(1, 0, 0) * connections
				most := tt.times * max(2<<10, n)
				if held := hold(n, before, most); held > most {
					t.Errorf("%d bytes held after %d, want at most %d", held, n, most)
				}
			})
		}
	}
}
