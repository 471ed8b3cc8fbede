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
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

type wayToWait struct {
	name string
	read func(c *Conn, scratch []byte) (n int, err error)
}

// waysToWait are all ways to read. Each reads one message, in as many calls as that takes.
var waysToWait = []wayToWait{
	{"ReadMessage", func(c *Conn, _ []byte) (int, error) { return ways[0].read(c) }},
	{"TakeBatch", func(c *Conn, _ []byte) (int, error) { return ways[1].read(c) }},
	{"NextReader", func(c *Conn, scratch []byte) (int, error) { return readBy(c, scratch[:1024]) }},
	{"NextReader, large", readBy},
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

// readBy reads a message by NextReader into buf, again and again.
func readBy(c *Conn, buf []byte) (int, error) {
	_, r, err := c.NextReader()
	if err != nil {
		return 0, err
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, buf)
	return int(n), err
}

// heapNow returns the bytes of heap objects that are held, without what only pools have.
func heapNow() int {
	runtime.GC()
	return heapSoon()
}

// heapSoon is heapNow for those who look again: what has a finalizer may still be there.
func heapSoon() int {
	var m runtime.MemStats
	for range 2 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// leastHeld waits until no more than most bytes are held beside base, or until that many
// looks have found no less than those before, and returns how many are.
func leastHeld(base, most, looks int) int {
	held := heapSoon() - base // reads park in their own time
	for left := looks; held > most && left > 0; left-- {
		time.Sleep(time.Millisecond)
		if now := heapSoon() - base; now < held {
			held, left = now, looks
		}
	}
	return held
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
	for number, kind := range []string{"socket", "TLS", "any connection", "TLS over any"} {
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
									if (i+j+k+number+int(role))%2 != 0 && !full { // the other role looks at the other half
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
	cut := func(b []byte, n int) (pieces [][]byte) {
		for ; len(b) > n; b = b[n:] {
			pieces = append(pieces, b[:n])
		}
		return append(pieces, b)
	}
	states := map[frame.Role][]halfway{}
	for _, role := range []frame.Role{frame.Client, frame.Server} {
		var list []halfway
		for _, length := range []int{125, 126, 4000, 60_000, 65_536, declared} {
			whole := encoded(role, false, body[:length], length)
			head := len(whole) - length
			for _, n := range []int{1, 2, head, head + 1, 100, 2048, 4095, 4096, 4097, 5000, 8193, 9000, 16384 + head, 16385 + head, 33_000, 65_537, 70_000, 140_000, 300_000, 1<<20 + 20} {
				if n >= len(whole) {
					break
				}
				list = append(list, halfway{name: fmt.Sprintf("%d of a frame of %d", n, length), pieces: [][]byte{whole[:n]}})
				if n > 100 && n < 40_000 {
					list = append(list, halfway{name: fmt.Sprintf("%d of a frame of %d, in parts", n, length), pieces: cut(whole[:n], n/7)})
				}
			}
			for _, n := range []int{1, 200, 5000, 9000, 20_000} {
				if n >= length {
					break
				}
				fragments := encoded(role, false, body[:3*n], n) // the beginning
				n += len(encoded(role, false, body[:n], n)) - n
				list = append(list,
					halfway{name: fmt.Sprintf("a fragment of %d of %d", n, length), pieces: [][]byte{fragments[:n]}},
					halfway{name: fmt.Sprintf("and a header behind %d of %d", n, length), pieces: [][]byte{fragments[:n+2]}})
				ping := frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: frame.Ping, Masked: role == frame.Server}, body[:100])
				list = append(list, halfway{name: fmt.Sprintf("and part of a ping behind %d of %d", n, length), pieces: [][]byte{fragments[:n], ping[:50]}})
			}
		}
		states[role] = list
	}
	// Each state is looked at in one of the blocks, with TICKWIRE_FULL=1 in all of them.
	const blocks = 20
	block, looked := 0, map[int]bool{}
	full := os.Getenv("TICKWIRE_FULL") != ""
	for _, kind := range []string{"socket", "TLS", "any connection"} {
		for _, role := range []frame.Role{frame.Client, frame.Server} {
			for _, readBuffer := range []int{0, 16 << 20} {
				for _, busy := range []bool{false, true} { // was the connection before
					if kind == "TLS" && !busy {
						continue // crypto/tls keeps a buffer for the largest record that came
					}
					t.Run(fmt.Sprintf("%s/%v/%d/busy %v", kind, role, readBuffer, busy), func(t *testing.T) {
						cfg := &Config{ReadBuffer: readBuffer, Frame: frame.Options{MaxMessage: 1 << 30, MaxFrame: 1 << 30}}
						var list []halfway
						block++
						for i, h := range states[role] {
							if (i+block)%blocks == 0 || full {
								h.way, h.slack = waysToWait[(i+block)/blocks%len(waysToWait)], 200 // what the runtime takes now and then
								list, looked[i] = append(list, h), true
							}
						}
						worst, at := 0.0, ""
						heldIn(t, kind, role, cfg, busy, list, func(h halfway, held int) {
							if r := float64(held) / float64(max(2<<10, h.received())); r > worst {
								worst, at = r, h.name
							}
						})
						t.Logf("at most %.2f times what came, and 4 KiB: %s", worst, at)
					})
				}
			}
		}
	}
	if n := len(states[frame.Client]); !t.Failed() && (block != blocks || len(looked) < n || len(states[frame.Server]) != n) {
		t.Errorf("%d of %d states were looked at, in %d blocks", len(looked), n, block)
	}
}

// F78 for compressed messages: what inflates them takes 4 KiB with the first byte of the
// payload, and the window grows with what came.
func TestF78HeldOfCompressedMessages(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("memory is not measured under the race detector")
	}
	const declared = 15 << 20
	stream := storedBlocks(make([]byte, declared))[:declared]
	for _, role := range []frame.Role{frame.Client, frame.Server} {
		for _, readBuffer := range []int{0, 16 << 20} {
			cfg := &Config{ReadBuffer: readBuffer, Deflate: &deflate.Config{}, Frame: frame.Options{MaxMessage: 1 << 30}}
			cfg.agreed = &deflate.Params{}
			whole := encoded(role, true, stream, declared)
			var list []halfway
			for i, n := range []int{0, 1, 100, 3000, 4000, 5000, 8000, 10_000, 17_000, 20_000, 33_000, 40_000, 70_000} {
				n += len(whole) - declared
				list = append(list, halfway{fmt.Sprintf("%v, %d: %d", role, readBuffer, n), [][]byte{whole[:n]}, waysToWait[i%len(waysToWait)], 600})
			}
			heldIn(t, "socket", role, cfg, false, list, func(halfway, int) {})
		}
	}
}

// A halfway is a state of a connection: of a message some has come.
type halfway struct {
	name   string
	pieces [][]byte // the bytes that come, each by a write
	way    wayToWait
	slack  int // that may be held beside
}

func (h *halfway) received() (n int) {
	for _, p := range h.pieces {
		n += len(p)
	}
	return n
}

// heldIn looks in each state at how much each of some connections holds, more than before
// the pieces came: at most twice what those are, or 4 KiB, and the slack. The connections
// of a group of states all wait first, and stay: what is held counts from state to state.
func heldIn(t *testing.T, kind string, role frame.Role, cfg *Config, busy bool, states []halfway, look func(h halfway, held int)) {
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
	for group := range slices.Chunk(states, 16) {
		var lines []*line
		ended := make(chan struct{}, connections*len(group))
		for _, h := range group {
			for range connections {
				lines = append(lines, waitingLine(t, lineOver(t, kind, role, cfg), warm, messages, h.way, ended))
			}
		}
		time.Sleep(time.Millisecond)
		base := heapNow()
		for i, h := range group {
			for _, l := range lines[i*connections : (i+1)*connections] {
				n := l.c.Stats().BytesRead
				for _, p := range h.pieces {
					l.peer.Write(p)
					n += uint64(len(p))
					l.until(t, n)
				}
			}
			most := max(4<<10, 2*h.received()) + h.slack
			held := leastHeld(base, connections*most, 100)
			if held > connections*most {
				t.Errorf("%s: %d bytes held after %d, want at most %d, by %s", h.name, held/connections, h.received(), most, h.way.name)
			}
			look(h, held/connections)
			base += held
		}
		for _, l := range lines {
			l.c.Close()
			<-ended
			if c, ok := l.peer.(net.Conn); ok {
				closerOf(c).Close()
			}
		}
	}
	runtime.KeepAlive(states) // what they and warm have freed would hide what is held
	runtime.KeepAlive(warm)
}

// waitingLine is a line that has read warm, of so many messages, and reads on until it ends.
func waitingLine(t *testing.T, l *line, warm []byte, messages uint64, way wayToWait, ended chan<- struct{}) *line {
	t.Helper()
	go func() {
		defer func() { ended <- struct{}{} }()
		scratch := make([]byte, 100<<10)
		for {
			if _, err := way.read(l.c, scratch); err != nil {
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
	return l
}

// F78 for the heads of handshakes: of a request, of an answer and of a proxy's.
func TestF78HeldForAHandshake(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("memory is not measured under the race detector")
	}
	const connections = 16
	var shortest strings.Builder // lines of 4 bytes, with 36 names
	for i := range 2500 {
		shortest.WriteString(strconv.FormatInt(int64(i%36), 36) + ":\r\n")
	}
	limits := handshake.Limits{Bytes: 1 << 20, Lines: 5000}
	open := func(d *Dialer, url string) func(net.Conn) {
		return func(nc net.Conn) {
			d := *d
			d.Limits, d.HandshakeTimeout = limits, -1 // a timer would keep a pipe that is closed
			d.NetDial = func(context.Context, string, string) (net.Conn, error) { return nc, nil }
			d.Dial(context.Background(), url)
		}
	}
	for _, tt := range []struct {
		name  string
		begin func(net.Conn)
		asks  bool // it writes a request first
		start string
	}{
		{"Accept", func(nc net.Conn) { (&Upgrader{Limits: limits, HandshakeTimeout: -1}).Accept(nc) }, false, "GET / HTTP/1.1\r\nHost: a\r\n"},
		{"Dial", open(&Dialer{}, "ws://a/"), true, "HTTP/1.1 101 Switching Protocols\r\n"},
		{"CONNECT", open(&Dialer{Proxy: through("http://proxy:1")}, "ws://a/"), true, "HTTP/1.1 200 OK\r\n"},
	} {
		for _, lines := range []struct{ name, text string }{
			{"long", strings.Repeat("X-Filler: "+strings.Repeat("f", 100)+"\r\n", 120)},
			{"short", shortest.String()},
		} {
			hold := func(n int, held func() int) int {
				ended := make(chan struct{}, connections)
				near, far := make([]net.Conn, connections), make([]net.Conn, connections)
				for i := range near {
					near[i], far[i] = net.Pipe()
					go func() {
						tt.begin(near[i])
						ended <- struct{}{}
					}()
					if tt.asks {
						request(far[i])
					}
					if _, err := io.WriteString(far[i], (tt.start + lines.text)[:n]); err != nil {
						t.Fatal(err)
					}
				}
				now := held()
				for i := range near {
					far[i].Close()
					<-ended
				}
				return now
			}
			sizes := []int{1, 100, 636, 1023, 1024, 1025, 2048, 2049, 3600, 4096, 4097, 8192, 8193, 10_000}
			hold(sizes[len(sizes)-1], heapNow)
			before := hold(1, func() int { return leastHeld(0, 0, 3) })
			for _, n := range sizes {
				most := 2 * max(2<<10, n)
				held := hold(n, func() int { return leastHeld(before, most*connections, 100) }) / connections
				if held > most {
					t.Errorf("%s of %s lines: %d bytes held after %d, want at most %d", tt.name, lines.name, held, n, most)
				}
			}
		}
	}
}
