package conn

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// stopped reports whether a deadline stopped a write, and the connection lives.
func stopped(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, net.ErrClosed)
}

// Deadlines that stop writes anywhere, with pings to be answered in between: what a call says was written comes, whole and once, and
// nothing else does. The compressor never refers to what the peer has not got.
func TestR88DeadlinesStopWrites(t *testing.T) {
	messages := ticks(200)
	seeds := uint64(60)
	if raceEnabled {
		seeds = 15
	}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 88))
			role := frame.Role(seed & 1)
			cfg := agreed(deflate.Config{Threshold: -1, History: []int{0, 700}[seed>>1&1]}, frame.Options{})
			cfg.agreed.ServerNoContextTakeover, cfg.agreed.ClientNoContextTakeover = seed%5 == 0, seed%5 == 0
			cfg.WriteBuffer = 1 << (8 + r.IntN(6))
			a, b := netsim.Pipe(4 << 20)
			c, peer := New(a, role, cfg), New(b, 1-role, cfg)
			defer peer.Close()
			defer c.Close()
			var stops atomic.Int32
			faults := rand.New(rand.NewPCG(seed, 89)) // by whoever writes: the goroutine for pongs, too
			a.Script(func(op netsim.Op, _, _ int) netsim.Step {
				if op == netsim.Write && faults.IntN(3) == 0 {
					stops.Add(1)
					return netsim.Step{Max: -1, Err: os.ErrDeadlineExceeded}
				}
				return netsim.Step{}
			})
			var want [][]byte
			for i := range 60 {
				m := messages[(i+int(seed)*7)%len(messages)]
				if r.IntN(3) == 0 {
					b.Write(frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: frame.Ping, Masked: role == frame.Server}, []byte("between")))
					b.Write(frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: Text, Masked: role == frame.Server}, nil))
					if _, err := c.ReadMessage(); err != nil {
						t.Fatal(seed, i, err)
					}
					synctest.Wait() // for the goroutine that answers
				}
				written, err := writeSomehow(c, r.IntN(len(wholeWrites)+1), m, r.IntN)
				if err != nil {
					t.Fatalf("seed %d, message %d: %v", seed, i, err)
				}
				if written {
					want = append(want, m)
				}
			}
			for err := c.Flush(); err != nil; err = c.Flush() {
				if !stopped(err) {
					t.Fatal(seed, err)
				}
			}
			c.Close()
			for i, m := range want {
				got, err := peer.ReadMessage()
				if err != nil || !bytes.Equal(got.Data, m) {
					t.Fatalf("seed %d, message %d of %d: %.60q, %v; want %.60q", seed, i, len(want), got.Data, err, m)
				}
			}
			if m, err := peer.ReadMessage(); !errors.Is(err, io.EOF) {
				t.Fatalf("seed %d, behind the last: %.60q, %v", seed, m.Data, err)
			}
			if stops.Load() == 0 || len(want) == 60 {
				t.Errorf("seed %d: %d stops, all %d messages written", seed, stops.Load(), len(want))
			}
		})
	}
}

// writeSomehow writes a message in one of the wholeWrites, or the way behind them by NextWriter, and reports whether that was done, or a
// deadline stopped it.
func writeSomehow(c *Conn, way int, m []byte, intn func(int) int) (written bool, err error) {
	if way < len(wholeWrites) {
		if err := wholeWrites[way](c, m); !stopped(err) {
			return err == nil, err
		}
		return false, nil
	}
	w, err := c.NextWriter(Text)
	if err != nil {
		return false, err
	}
	for rest := m; len(rest) > 0; {
		n := 1 + intn(len(rest))
		k, err := w.Write(rest[:n])
		if k != n || err != nil && !stopped(err) {
			return false, fmt.Errorf("%d of %d bytes, %w", k, n, err)
		}
		rest = rest[n:]
	}
	for err = w.Close(); stopped(err); err = w.Close() {
		if n, err := w.Write([]byte("more")); n != 0 || err != ErrWriterClosed {
			return false, fmt.Errorf("a write behind the end: %d bytes taken, %v", n, err)
		}
	}
	return err == nil, err
}

// F78: an idle connection gives its compressor back after ReleaseIdle, an eighth late at most, and not before; every message
// arrives as it was. One that is begun and not ended keeps its context.
func TestF78ReleaseIdle(t *testing.T) {
	const limit = 8 * time.Second
	for _, role := range []frame.Role{frame.Client, frame.Server} {
		for _, level := range []int{0, 1} {
			t.Run(fmt.Sprintf("%v, level %d", role, level), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					a, b := netsim.Pipe(1 << 20)
					d := deflate.Config{ReleaseIdle: limit, Level: level}
					c, peer := New(a, role, agreed(d, frame.Options{})), New(b, 1-role, agreed(d, frame.Options{}))
					defer peer.Close()
					defer c.Close()
					m := feedMessage(1, 600)
					size := func() int {
						t.Helper()
						before := c.Stats().BytesWritten
						if err := c.WriteMessage(Text, m); err != nil {
							t.Fatal(err)
						}
						wantMessage(t, peer, Text, string(m))
						return int(c.Stats().BytesWritten - before)
					}
					alone := size()
					for range 3 {
						if n := size(); n > alone/3 {
							t.Fatalf("%d bytes for a message that was just sent, %d alone", n, alone)
						}
						time.Sleep(limit - time.Second)
						if n := size(); n > alone/3 {
							t.Fatalf("%d bytes before the compressor was to be given back, %d alone", n, alone)
						}
						time.Sleep(limit + limit/4) // one look to see the message, and an eighth
						if n := size(); n < alone*9/10 {
							t.Fatalf("%d bytes after the compressor was to be given back, %d alone", n, alone)
						}
					}
					w, err := c.NextWriter(Text)
					if err != nil {
						t.Fatal(err)
					}
					w.Write(m[:300])
					time.Sleep(3 * limit)
					w.Write(m[300:])
					if err := w.Close(); err != nil {
						t.Fatal(err)
					}
					wantMessage(t, peer, Text, string(m))
				})
			})
		}
	}
}
