package deflate

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"testing"
	"weak"

	"github.com/seed-7f57ff33/tickwire/frame/buffer/buffertest"
)

// 10,000 messages of 200 bytes each way after the first thousand, in every mode, and fewer of larger ones, allocate nothing.
// On one processor: pools keep something for each, so that a goroutine that moves meets pools that are still empty.
func TestNoAllocations(t *testing.T) {
	if instrumented {
		t.Skip("instrumentation allocates, and the race detector makes pools forget")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, size := range []int{200, 1000, 40_000} {
		n := 10_000
		if size > 200 {
			n = 300_000 / size * 10
		}
		messages := feed(300, size)
		for _, o := range []DeflateOptions{{Level: 1}, {}, {NoContextTakeover: true}, {History: 2048, Level: 1}, {History: 2048}, {Level: HuffmanOnly}, {WindowBits: 10}} {
			t.Run(fmt.Sprintf("%d/%+v", size, o), func(t *testing.T) {
				d := newDeflater(t, o)
				defer d.Close()
				in := newInflater(t, InflateOptions{WindowBits: o.WindowBits, NoContextTakeover: o.NoContextTakeover})
				stream := newInflater(t, InflateOptions{WindowBits: o.WindowBits, NoContextTakeover: o.NoContextTakeover})
				wire := make([]byte, 0, Bound(2*size))
				var sent, got int
				pass := func(n int) {
					for i := range n {
						m := messages[i%len(messages)]
						wire = d.Append(wire[:0], m, true)
						p, err := in.Message(wire, true)
						if err != nil || !bytes.Equal(p, m) {
							t.Fatal(i, err)
						}
						sent += len(m)
						if i%16 == 0 {
							in.Release()
						}
						stream.Begin(true)
						stream.Feed(wire, true)
						for {
							p, err := stream.Next()
							if err != nil {
								break
							}
							got += len(p)
						}
					}
				}
				// The first pass fills the pools, and no collection empties them. None of
				// them calibrates itself in either pass.
				defer debug.SetGCPercent(debug.SetGCPercent(-1))
				buffertest.Calibrate(t)
				pass(max(n/10, 300))
				if allocated := buffertest.Mallocs(func() { pass(n) }); allocated != 0 {
					t.Errorf("%d allocations in %d messages", allocated, n)
				}
				if got != sent {
					t.Errorf("streamed %d of %d bytes", got, sent)
				}
			})
		}
	}
}

// What a message came in is not kept, not even by an end of it: a connection that is idle would hold a whole read buffer.
func TestInputIsNotKept(t *testing.T) {
	compressed := stdCompress(t, feed(2, 3000), 6, true)
	broken := append(bytes.Clone(compressed[0][:len(compressed[0])-1]), 6)
	for name, inflate := range map[string]func(d *Inflater, p []byte){
		"whole":    func(d *Inflater, p []byte) { d.Message(p, true) },
		"in part":  func(d *Inflater, p []byte) { d.Begin(true); d.Push(p[:len(p)/2], false) },
		"pieces":   func(d *Inflater, p []byte) { d.Begin(true); d.Push(p[:100], false); d.Push(p[100:], true) },
		"streamed": func(d *Inflater, p []byte) { d.Begin(true); d.Feed(p, true); io.Copy(io.Discard, nexts{d}) },
		"broken":   func(d *Inflater, p []byte) { d.Message(p[:copy(p, broken)], true) },
	} {
		for _, n := range []int{100, 1, 0} { // of room behind the message
			for _, m := range [][]byte{compressed[0], stdCompress(t, feed(1, 200), 6, true)[0]} {
				d := newInflater(t, InflateOptions{})
				input := make([]byte, 64<<10)
				place := weak.Make(&input[0])
				at := len(input) - n - len(m)
				copy(input[at:], m)
				inflate(d, input[at:at+len(m):at+len(m)])
				input = nil
				runtime.GC()
				if place.Value() != nil {
					t.Errorf("%s: %d bytes are kept", name, 64<<10)
				}
				runtime.KeepAlive(d)
			}
		}
	}
}

// nexts reads what Next returns of a message that was fed whole.
type nexts struct{ d *Inflater }

func (r nexts) Read(p []byte) (int, error) {
	piece, err := r.d.Next()
	return copy(p, piece), err
}

// idle returns the heap bytes that a connection's codec holds between messages, after 1 MiB of feed.
func idle(t testing.TB, make func() (use func(messages, compressed [][]byte))) int {
	const connections = 8
	messages := feed(1<<20/250, 250)
	compressed := stdCompress(t, messages, 1, true)
	heap := func() int {
		var m runtime.MemStats
		for range 3 {
			runtime.GC()
		}
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	keep := []func([][]byte, [][]byte){}
	before := heap()
	for range connections {
		use := make()
		use(messages, compressed)
		keep = append(keep, use)
	}
	held := heap() - before
	runtime.KeepAlive(keep)
	runtime.KeepAlive(messages)
	runtime.KeepAlive(compressed)
	return held / connections
}

func idleDeflater(t testing.TB, o DeflateOptions) int {
	return idle(t, func() func([][]byte, [][]byte) {
		d := newDeflater(t, o)
		return func(messages, _ [][]byte) {
			var wire []byte
			for _, m := range messages {
				wire = d.Append(wire[:0], m, true)
			}
		}
	})
}

func idleInflater(t testing.TB, o InflateOptions) int {
	return idle(t, func() func([][]byte, [][]byte) {
		d := newInflater(t, o)
		alone := stdCompress(t, feed(1, 250), 1, false)[0]
		return func(_, compressed [][]byte) {
			for _, c := range compressed {
				if o.NoContextTakeover || o.WindowBits != 0 {
					c = alone
				}
				if _, err := d.Message(c, true); err != nil {
					t.Fatal(err)
				}
			}
			d.Release()
		}
	})
}

// The package comment states what an idle connection holds. A mode that holds more makes this fail.
func TestIdleMemory(t *testing.T) {
	if instrumented {
		t.Skip("instrumentation holds memory of its own")
	}
	for _, c := range []struct {
		name  string
		got   int
		limit int // bytes
	}{
		{"Inflater, takeover", idleInflater(t, InflateOptions{}), 42 << 10},
		{"Inflater, takeover, 12 bits", idleInflater(t, InflateOptions{WindowBits: 12}), 10 << 10},
		{"Inflater, takeover, 9 bits", idleInflater(t, InflateOptions{WindowBits: 9}), 6 << 10},
		{"Inflater, no takeover", idleInflater(t, InflateOptions{NoContextTakeover: true}), 1200},
		{"Deflater, takeover, level 1", idleDeflater(t, DeflateOptions{Level: 1}), 820 << 10},
		{"Deflater, takeover, level 5", idleDeflater(t, DeflateOptions{Level: 5}), 1080 << 10},
		{"Deflater, takeover, level 5, history of 2 KiB", idleDeflater(t, DeflateOptions{Level: 5, History: 2048}), 5 << 10},
		{"Deflater, takeover", idleDeflater(t, DeflateOptions{}), 13 << 10},
		{"Deflater, takeover, history of 2 KiB", idleDeflater(t, DeflateOptions{History: 2048}), 4 << 10},
		{"Deflater, takeover, history of 32 KiB", idleDeflater(t, DeflateOptions{History: 32768}), 50 << 10},
		{"Deflater, takeover, 10 bits", idleDeflater(t, DeflateOptions{WindowBits: 10}), 4 << 10},
		{"Deflater, no takeover", idleDeflater(t, DeflateOptions{NoContextTakeover: true}), 1 << 10},
	} {
		t.Logf("%-46s %8.1f KiB", c.name, float64(c.got)/1024)
		if c.got > c.limit {
			t.Errorf("%s: %d bytes, stated are %d", c.name, c.got, c.limit)
		}
	}
}
