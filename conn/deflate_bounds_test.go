package conn

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// agreed is a Config as a handshake leaves it that agreed on compression with whole windows and takeover.
func agreed(d deflate.Config, f frame.Options) *Config {
	cfg := Config{Deflate: &d, Frame: f, KeepAlive: -1}
	return cfg.with(deflate.Params{ServerMaxWindowBits: 15, ClientMaxWindowBits: 15})
}

// R89: compression can be left out of one message, in each way to write and in both directions, and of all by the threshold.
// What is left out stands on the wire as it is, and messages before and behind it refer to each other.
func TestR89CompressionPerMessage(t *testing.T) {
	for _, role := range []frame.Role{frame.Client, frame.Server} {
		t.Run(role.String(), func(t *testing.T) {
			a, b := netsim.Pipe(1 << 20)
			c, peer := New(a, role, agreed(deflate.Config{}, frame.Options{})), New(b, 1-role, agreed(deflate.Config{}, frame.Options{}))
			defer c.Close()
			defer peer.Close()
			secret := bytes.Repeat([]byte("token=0123456789abcdef;"), 20)
			packed := func(_ Opcode, p []byte) error { return c.WriteMessage(Text, p) }
			for i, step := range []struct {
				write func(Opcode, []byte) error
				data  []byte
				rsv1  bool
			}{
				{packed, secret, true},
				{c.WriteUncompressed, secret, false},
				{packed, secret, true},
				{packed, secret[:deflate.DefaultThreshold-1], false},
				{packed, secret[:2*deflate.DefaultThreshold], true},
				{c.WriteUncompressed, secret[:10], false},
				{c.WriteUncompressed, nil, false},
				{packed, secret, true},
			} {
				if err := step.write(Text, step.data); err != nil {
					t.Fatal(i, err)
				}
				f, err := peer.NextFrame()
				if err != nil || f.Header.RSV1 != step.rsv1 || !f.Header.Fin {
					t.Fatalf("step %d: %+v, %v", i, f.Header, err)
				}
				if plain := bytes.Equal(f.Payload, step.data); plain == step.rsv1 {
					t.Errorf("step %d: plain on the wire: %v", i, plain)
				}
				if i > 0 && step.rsv1 && len(f.Payload) > len(step.data)/4 {
					t.Errorf("step %d: %d bytes; the context is lost", i, len(f.Payload))
				}
				if err := step.write(Text, step.data); err != nil {
					t.Fatal(i, err)
				}
				if m, err := peer.ReadMessage(); err != nil || !bytes.Equal(m.Data, step.data) {
					t.Fatalf("step %d, read: %.60q, %v", i, m.Data, err)
				}
			}
		})
	}
}

// source is a transport that hands out what it has in reads of at most so many bytes, then io.EOF. What is written goes to the
// net.Conn within.
type source struct {
	net.Conn
	mu     sync.Mutex
	rest   []byte
	most   func() int
	before func() // each read of something
}

func (s *source) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.rest) == 0 {
		return 0, io.EOF
	}
	if s.before != nil {
		s.before()
	}
	n := copy(p[:min(len(p), s.most())], s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// stop is the end of what there is.
func (s *source) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rest = nil
}

// reading returns a client that reads the stream in portions of at most most bytes, and its transport.
func reading(t testing.TB, cfg *Config, stream []byte, most int) (*Conn, *source) {
	a, _ := netsim.Pipe(0)
	s := &source{Conn: a, rest: stream, most: func() int { return most }}
	c := New(s, frame.Client, cfg)
	t.Cleanup(func() { c.Close() })
	return c, s
}

// framed returns a compressed message in frames.
func framed(op Opcode, frames ...[]byte) (stream []byte) {
	for i, p := range frames {
		h := frame.Header{Fin: i == len(frames)-1, RSV1: i == 0, Opcode: op}
		if i > 0 {
			h.Opcode = frame.Continuation
		}
		stream = frame.AppendFrame(stream, h, p)
	}
	return stream
}

func packed(t testing.TB, p []byte) []byte {
	c, err := deflate.AppendMessage(nil, p, 15, 9)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// cutUp returns p in pieces of n bytes.
func cutUp(p []byte, n int) (out [][]byte) {
	for ; len(p) > n; p = p[n:] {
		out = append(out, p[:n])
	}
	return append(out, p)
}

// storedBlocks returns p in stored blocks, with no end of the message.
func storedBlocks(p []byte) (out []byte) {
	for _, block := range cutUp(p, 0xFFFF) {
		n := len(block)
		out = append(append(out, 0, byte(n), byte(n>>8), ^byte(n), ^byte(n>>8)), block...)
	}
	return out
}

// A bomb is a message in frames that inflates to more than the limit, all but the last ten times as much.
type bomb struct {
	name   string
	frames [][]byte
}

func bombs(t *testing.T, limit int) []bomb {
	run := packed(t, make([]byte, 10*limit))
	half := packed(t, make([]byte, limit/2))
	halves := [][]byte{}
	for range 20 {
		halves = append(halves, append(bytes.Clone(half), 0, 0, 0xFF, 0xFF)) // a block's end inside the message keeps its tail
	}
	halves = append(halves, []byte{0})
	// As much as the limit lets in, then the run.
	stored := append(storedBlocks(make([]byte, limit-len(run)-100)), run...)
	noise := make([]byte, limit-100)
	for i := range noise {
		noise[i] = "0123456789abcdef"[i*i>>4&15]
	}
	return []bomb{
		{"one frame", [][]byte{run}},
		{"fragments", cutUp(run, 100)},
		{"fragments below the limit each", halves},
		{"stored blocks before it", [][]byte{stored}},
		{"stored blocks before it, in fragments", cutUp(stored, 1000)},
		{"text before it", [][]byte{append(append(packed(t, noise), 0, 0, 0xFF, 0xFF), packed(t, make([]byte, 101))...)}},
	}
}

// peak is the most heap that a connection takes: at each read the collector takes all that is held by nobody, pools' memory too,
// and until the next read it does not run, so that what is allocated then is never less than what was held at once.
type peak struct{ base, most int }

func (p *peak) heap() int {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

func (p *peak) sample() { p.most = max(p.most, p.heap()-p.base) }

func (p *peak) collect() {
	runtime.GC()
	runtime.GC() // the second empties what pools kept of the first
}

// ways are the ways to read, with the bytes that they may hold of a message that inflates to n bytes.
var ways = []struct {
	name string
	read func(*Conn) (n int, err error)
	hold func(limit int) int
}{
	{"ReadMessage", func(c *Conn) (int, error) {
		m, err := c.ReadMessage()
		return len(m.Data), err
	}, func(limit int) int { return limit + limit/4 + 64<<10 }},
	{"TakeBatch", func(c *Conn) (n int, err error) {
		b, err := c.TakeBatch()
		if b != nil {
			n = len(b.Messages[0].Data)
			b.Release()
		}
		return n, err
	}, func(limit int) int { return limit + limit/4 + 64<<10 }},
	{"NextReader", func(c *Conn) (int, error) {
		_, r, err := c.NextReader()
		if err != nil {
			return 0, err
		}
		buf := make([]byte, 1024)
		for n := 0; ; {
			k, err := r.Read(buf)
			n += k
			if err == io.EOF {
				err = nil
				return n, err
			}
			if err != nil {
				return 0, err // what was read of it is known to be of a broken message
			}
		}
	}, func(int) int { return 80 << 10 }},
}

// R87: a message that inflates past the limit ends the connection with 1009, and until then takes no more memory than the
// limit, a quarter of it and 64 KiB, the window of takeover included, and the read buffer: whether it comes in one frame or in many, in large
// reads or small ones. A message that is streamed never takes the limit.
func TestR87V8BombsThroughTheConnection(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("memory is not measured under the race detector")
	}
	const limit = 1 << 19
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	// What the connection has read before: the window is full, and nothing else is held of it.
	var history []byte
	for range 4 {
		history = append(history, framed(Binary, storedBlocks(make([]byte, 30_000)), []byte{0})...)
	}
	for _, bomb := range bombs(t, limit) {
		stream := framed(Binary, bomb.frames...)
		if compressed := len(bytes.Join(bomb.frames, nil)); compressed > limit {
			t.Fatalf("%s: %d compressed bytes: the limit would be met before inflating", bomb.name, compressed)
		}
		for _, way := range ways {
			for _, takeover := range []bool{true, false} {
				for _, most := range []int{64 << 10, 30_000} {
					t.Run(fmt.Sprintf("%s/%s/takeover %v/reads of %d", bomb.name, way.name, takeover, most), func(t *testing.T) {
						cfg := agreed(deflate.Config{}, frame.Options{MaxMessage: limit})
						cfg.agreed.ServerNoContextTakeover = !takeover
						all := slices.Concat(history, stream)
						c, s := reading(t, cfg, all, most)
						p := peak{}
						p.collect()
						p.base = p.heap()
						for range 4 {
							if n, err := way.read(c); n != 30_000 || err != nil {
								t.Fatal(n, err)
							}
						}
						p.most = 0
						p.collect()
						buffered := c.r.Buffer()
						s.before = func() {
							p.sample()
							buffered = max(buffered, c.r.Buffer())
							p.collect()
						}
						n, err := way.read(c)
						p.sample()
						s.stop()
						var broken *frame.ProtocolError
						if n != 0 || !errors.Is(err, frame.ErrMessageTooLarge) || !errors.As(err, &broken) || broken.Code != frame.CodeMessageTooBig {
							t.Fatalf("%d bytes, %v", n, err)
						}
						t.Logf("%d KiB at the peak, read buffer %d KiB", p.most>>10, buffered>>10)
						// The read buffer, and what a connection is in itself and others leave behind. Without takeover the window's buffer grows in
						// this message, perhaps between two reads: then the smaller ones count that went back to their pool.
						// With it, the resting one does.
						hold := way.hold(limit) + buffered + 16<<10
						if takeover {
							hold += 40 << 10
						} else {
							hold += 60 << 10
						}
						if p.most > hold {
							t.Errorf("%d bytes at the peak, at most %d expected: %d more", p.most, hold, p.most-hold)
						}
					})
				}
			}
		}
	}
}

// A connection that waits for the next message holds the window of context takeover and nothing else of what it has read, in
// whatever way that was.
func TestR87IdleMemoryOfEachWay(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("memory is not measured under the race detector")
	}
	const connections = 8
	body := make([]byte, 50_000)
	for i, r := 0, rand.New(rand.NewPCG(1, 2)); i < len(body); i++ {
		body[i] = 'a' + byte(r.IntN(16))
	}
	plain := frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: Binary}, body)
	inFrames := ways[len(ways)-1]
	inFrames.name, inFrames.read = "NextFrame", func(c *Conn) (int, error) {
		f, err := c.NextFrame()
		return len(f.Payload), err
	}
	for _, way := range append(slices.Clone(ways), inFrames) {
		for _, takeover := range []bool{true, false} {
			for name, stream := range map[string][]byte{"compressed": framed(Binary, packed(t, body)), "plain": plain} {
				t.Run(fmt.Sprintf("%s/takeover %v/%s", way.name, takeover, name), func(t *testing.T) {
					cfg := agreed(deflate.Config{}, frame.Options{})
					cfg.agreed.ServerNoContextTakeover = !takeover
					p := peak{}
					p.collect()
					p.base = p.heap()
					ended := make(chan struct{}, connections)
					var conns []*Conn
					for range connections {
						here, there := loopback(t)
						defer there.Close()
						c := New(here, frame.Client, cfg)
						conns = append(conns, c)
						read := make(chan error, 1)
						go func() {
							defer func() { ended <- struct{}{} }()
							n, err := way.read(c)
							if n == 0 && err == nil {
								err = io.ErrUnexpectedEOF
							}
							read <- err
							way.read(c)
						}()
						there.Write(stream)
						if err := <-read; err != nil {
							t.Fatal(err)
						}
						p.collect() // the next has to take memory of its own
					}
					most := 14 << 10
					if takeover && name == "compressed" {
						most += 64 << 10
					}
					// The last reads park in their own time.
					held := most + 1
					for until := time.Now().Add(5 * time.Second); held > most && time.Now().Before(until); {
						p.collect()
						held = (p.heap() - p.base) / connections
					}
					if held > most {
						t.Errorf("%d bytes are held, at most %d expected", held, most)
					}
					for _, c := range conns {
						c.Close()
						<-ended
					}
				})
			}
		}
	}
}

// More compressed bytes than the limit are refused before they are inflated: at the header, or at the fragment that passes it.
func TestR87CompressedBytesAreLimited(t *testing.T) {
	const limit = 1 << 16
	for _, size := range []int{limit + 1, 1000} {
		a, b := netsim.Pipe(4 << 20)
		c := New(a, frame.Server, agreed(deflate.Config{}, frame.Options{MaxMessage: limit}))
		w := frame.NewWriter(b, frame.Client)
		empty := bytes.Repeat([]byte{0, 0, 0, 0xFF, 0xFF}, size/5+1)[:size/5*5+5] // blocks that inflate to nothing
		for i := range limit/size + 1 {
			h := frame.Header{RSV1: i == 0, Opcode: frame.Continuation}
			if i == 0 {
				h.Opcode = frame.Binary
			}
			w.AppendFrame(h, bytes.Clone(empty))
		}
		w.Flush()
		if _, err := c.ReadMessage(); !errors.Is(err, frame.ErrMessageTooLarge) {
			t.Errorf("in frames of %d bytes: %v", size, err)
		}
		c.Close()
	}
}
