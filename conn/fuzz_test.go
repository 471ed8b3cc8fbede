package conn

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// FuzzConn plays any use of a connection on synthetic time: options choose the side and the configuration, stream is what the peer sends,
// faults say how each I/O call goes, program is the calls. Nothing panics or hangs; what is delivered is a prefix of what
// frame.Reader finds in the stream; what is written is a prefix of a legal stream; the last error sticks.
func FuzzConn(f *testing.F) {
	hello := frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: Text}, []byte("hello"))
	masked := frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: Text, Masked: true, Key: 7}, []byte("hello"))
	ping := frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: frame.Ping}, []byte("p"))
	closing := frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: frame.Close}, []byte("\x03\xe8"))
	for op := range byte(20) {
		f.Add(byte(0), append(append(append([]byte{}, hello...), ping...), closing...), []byte{}, []byte{op, op | 0x80, 0, 1})
		f.Add(byte(1), masked, []byte{0, 0, 200 + op}, []byte{op, 2, op | 0x80, 3})
		f.Add(op*8, hello, []byte{op + 200, op + 201}, []byte{0, op, 0})
	}
	f.Fuzz(func(t *testing.T, options byte, stream, faults, program []byte) {
		if len(stream) > 1<<16 || len(program) > 100 {
			return
		}
		synctest.Test(t, func(t *testing.T) { playProgram(t, options, stream, faults, program) })
	})
}

func playProgram(t *testing.T, options byte, stream, faults, program []byte) {
	role := frame.Role(options & 1)
	cfg := Config{
		FailFast: options&2 != 0, UncheckedText: options&4 != 0, CloseTimeout: 50 * time.Millisecond,
		KeepAlive: time.Duration(int(options&8)-4) * 10 * time.Millisecond,
		Frame:     frame.Options{AllowNonMinimal: options&64 != 0},
	}
	if options&16 != 0 {
		cfg.ReadTimeout, cfg.WriteTimeout = 5*time.Millisecond, 5*time.Millisecond
	}
	c, a, p := simulate(t, role, cfg, 1<<16+int(options)*100)
	var mu sync.Mutex
	a.Script(func(netsim.Op, int, int) netsim.Step {
		mu.Lock()
		defer mu.Unlock()
		if len(faults) == 0 {
			return netsim.Step{}
		}
		b := faults[0]
		faults = faults[1:]
		if b < 200 {
			return netsim.Step{}
		}
		return failures[int(b-200)%len(failures)].step
	})
	p.nc.Write(stream)
	if options&32 != 0 {
		p.nc.CloseWrite()
	}
	peerSaw := make(chan error, 1)
	go func() {
		for {
			if _, err := p.r.Next(); err != nil {
				peerSaw <- err
				return
			}
		}
	}()
	g := &playing{t: t, c: c, want: frame.NewReader(bytes.NewReader(stream), role, cfg.Frame)}
	for _, b := range program {
		g.call(b)
	}
	g.wg.Wait()
	before := c.Err()
	c.Close()
	last := c.Err() // a clock may have been faster than Close
	if last == nil || before != nil && before != last {
		t.Errorf("the connection ended with %v, then with %v", before, last)
	}
	for _, call := range calls {
		if err := call.f(c); err != last {
			t.Errorf("%s returns %v, the connection ended with %v", call.name, err, last)
		}
	}
	if !errors.Is(last, net.ErrClosed) {
		t.Errorf("%v does not match net.ErrClosed", last)
	}
	p.nc.CloseWrite()
	var broken *frame.ProtocolError
	if err := <-peerSaw; errors.As(err, &broken) {
		t.Errorf("the peer saw %v", err)
	}
	p.nc.Close()
}

// playing is a program that runs.
type playing struct {
	t     *testing.T
	c     *Conn
	wg    sync.WaitGroup
	want  *frame.Reader
	mixed bool // something was read in another way than by messages: they are not compared any more
}

// call does what one byte says; with its top bit set in a goroutine of its own, unless it reads.
func (g *playing) call(b byte) {
	c := g.c
	c.SetDeadline(time.Now().Add(time.Duration(b>>5) * time.Millisecond))
	if op := b & 31; op < 6 {
		g.read(op)
		return
	}
	f := func() {
		switch b & 31 {
		case 6:
			c.WriteMessage(Text, []byte("text"))
		case 7:
			c.WriteMessage(Binary, make([]byte, 30000))
		case 8:
			c.AppendMessage(Text, []byte("queued"))
		case 9:
			c.Flush()
		case 10:
			if w, err := c.NextWriter(Text); err == nil {
				io.WriteString(w, "part")
				io.WriteString(w, strings.Repeat("\x00", 70000))
				w.Close()
			}
		case 11:
			c.WriteOwned(Binary, make([]byte, HeaderRoom+10))
		case 12:
			m, _ := Prepare(Text, make([]byte, 100))
			c.WritePrepared(m)
		case 13:
			c.Shutdown(g.t.Context(), frame.CodeNormal, "fuzz")
		case 14:
			c.StartClose(frame.CodeGoingAway, "")
		case 15:
			c.Close()
		case 16:
			c.SetReadDeadline(time.Now().Add(2 * time.Millisecond)) // also for a read that runs
		case 17:
			time.Sleep(time.Duration(b>>5) * 10 * time.Millisecond)
		case 18:
			c.More()
			c.Stats()
			c.LastRead()
		default:
			ctx, cancel := context.WithTimeout(g.t.Context(), time.Millisecond)
			c.Ping(ctx)
			cancel()
		}
	}
	if b&0x80 != 0 && b&31 != 18 {
		g.wg.Go(f)
	} else {
		f()
	}
}

func (g *playing) read(op byte) {
	c := g.c
	switch op {
	case 0, 1:
		if m, err := c.ReadMessage(); err == nil {
			g.check(m)
		} else {
			g.failed(err)
		}
	case 2:
		for m, err := range c.Messages() {
			if err != nil {
				g.failed(err)
				return
			}
			g.check(m)
		}
	case 3:
		b, err := c.TakeBatch()
		if err != nil {
			g.failed(err)
			return
		}
		for _, m := range b.Messages {
			g.check(m)
		}
		b.Release()
	case 4:
		g.mixed = true
		if _, r, err := c.NextReader(); err == nil {
			io.CopyN(io.Discard, r, 100)
		}
	case 5:
		g.mixed = true
		c.NextFrame()
	}
}

func (g *playing) check(m Message) {
	if g.mixed {
		return
	}
	for {
		want, err := g.want.Next()
		if err != nil {
			g.t.Fatalf("delivered %v %q, where the stream has %v", m.Opcode, m.Data, err)
		}
		if want.Opcode.IsControl() {
			continue
		}
		if want.Opcode != m.Opcode || string(want.Data) != string(m.Data) {
			g.t.Fatalf("delivered %v %q, want %v %q", m.Opcode, m.Data, want.Opcode, want.Data)
		}
		return
	}
}

// failed checks that only a passed deadline leaves the connection alive.
func (g *playing) failed(err error) {
	if g.c.Err() == nil && !errors.Is(err, os.ErrDeadlineExceeded) && err != ErrConcurrentRead {
		g.t.Fatalf("the connection lives after %v", err)
	}
}
