package conn

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"testing"

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

// A bomb is a message in frames that inflates to ten times the limit or more.
type bomb struct {
	name   string
	frames [][]byte
}

func bombs(t *testing.T, limit int) []bomb {
	pack := func(p []byte) []byte {
		c, err := deflate.AppendMessage(nil, p, 15, 9)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	cut := func(p []byte, n int) (out [][]byte) {
		for ; len(p) > n; p = p[n:] {
			out = append(out, p[:n])
		}
		return append(out, p)
	}
	run := pack(make([]byte, 10*limit))
	half := pack(make([]byte, limit/2))
	halves := [][]byte{}
	for range 20 {
		halves = append(halves, append(bytes.Clone(half), 0, 0, 0xFF, 0xFF)) // a block's end inside the message keeps its tail
	}
	halves = append(halves, []byte{0})
	var stored []byte // as much as the limit lets in, then the run
	for len(stored) < limit-1<<17 {
		stored = append(stored, 0, 0xFF, 0xFF, 0, 0)
		stored = append(stored, make([]byte, 0xFFFF)...)
	}
	stored = append(stored, run...)
	return []bomb{
		{"one frame", [][]byte{run}},
		{"fragments", cut(run, 100)},
		{"fragments below the limit each", halves},
		{"stored blocks before it", [][]byte{stored}},
		{"stored blocks before it, in fragments", cut(stored, 1000)},
	}
}

// R87: a message that inflates past the limit ends the connection with 1009, and until then takes no more memory than the
// limit and 64 KiB, besides what the compressed bytes take that ReadMessage joins first: those the limit bounds as well. A
// message that is streamed never takes the limit.
func TestR87V8BombsThroughTheConnection(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates, and makes pools forget")
	}
	const limit = 1 << 20
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // so that all that is allocated is an upper bound of the peak
	for _, bomb := range bombs(t, limit) {
		for _, way := range []struct {
			name string
			read func(*Conn) error
			hold int // bytes, besides what reading takes: a joined message grows by doubling
		}{
			{"ReadMessage", func(c *Conn) error {
				m, err := c.ReadMessage()
				if m.Data != nil {
					t.Errorf("delivered %d bytes", len(m.Data))
				}
				return err
			}, limit + 64<<10},
			{"TakeBatch", func(c *Conn) error {
				b, err := c.TakeBatch()
				if b != nil {
					t.Errorf("delivered %d messages", len(b.Messages))
				}
				return err
			}, limit + 64<<10},
			{"NextReader", func(c *Conn) error {
				_, r, err := c.NextReader()
				if err == nil {
					_, err = io.Copy(io.Discard, r)
				}
				return err
			}, 2 * 64 << 10},
		} {
			t.Run(fmt.Sprintf("%s/%s", bomb.name, way.name), func(t *testing.T) {
				a, b := netsim.Pipe(4 << 20)
				c := New(a, frame.Server, agreed(deflate.Config{}, frame.Options{MaxMessage: limit}))
				defer c.Close()
				w := frame.NewWriter(b, frame.Client)
				compressed := 0
				for i, p := range bomb.frames {
					op := frame.Continuation
					if i == 0 {
						op = frame.Binary
					}
					if err := w.AppendFrame(frame.Header{Fin: i == len(bomb.frames)-1, RSV1: i == 0, Opcode: op}, bytes.Clone(p)); err != nil {
						t.Fatal(err)
					}
					compressed += len(p)
				}
				if err := w.Flush(); err != nil {
					t.Fatal(err)
				}
				if compressed > limit {
					t.Fatalf("%d compressed bytes: the limit would be met before inflating", compressed)
				}
				runtime.GC()
				runtime.GC() // the second empties what pools kept of the first: nothing is there that the bomb could use
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				err := way.read(c)
				runtime.ReadMemStats(&after)
				var broken *frame.ProtocolError
				if !errors.Is(err, frame.ErrMessageTooLarge) || !errors.As(err, &broken) || broken.Code != frame.CodeMessageTooBig {
					t.Fatal(err)
				}
				took := int(after.TotalAlloc - before.TotalAlloc)
				t.Logf("%d bytes compressed, %d allocated", compressed, took)
				if most := way.hold + 4*compressed + 32<<10; took > most {
					t.Errorf("%d bytes allocated, at most %d expected", took, most)
				}
			})
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
