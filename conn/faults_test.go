package conn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// session is a scripted use of a connection. What it delivers is noted, so that runs can be compared.
type session struct {
	t         *testing.T
	c         *Conn
	p         *peer
	delivered []string
}

func (s *session) note(format string, args ...any) {
	s.delivered = append(s.delivered, fmt.Sprintf(format, args...))
}

func (s *session) read(n int) error {
	for range n {
		m, err := s.c.ReadMessage()
		if err != nil {
			return err
		}
		s.note("%v %d %.20s", m.Opcode, len(m.Data), m.Data)
	}
	return nil
}

var sessions = []struct {
	name string
	send func(p *peer) [][]byte
	run  func(s *session) error
}{
	{"text", func(p *peer) [][]byte {
		return [][]byte{p.message(Text, "one"), p.message(Text, "two"), p.message(Text, "three")}
	},
		func(s *session) error { return s.read(3) }},
	{"fragments", func(p *peer) [][]byte {
		return [][]byte{p.frame(frame.Header{Opcode: Text}, []byte("a")), p.frame(frame.Header{}, nil), p.frame(frame.Header{Fin: true}, []byte("b")), p.message(Binary, "c")}
	}, func(s *session) error { return s.read(2) }},
	{"pings between", func(p *peer) [][]byte {
		return [][]byte{p.message(frame.Ping, "1"), p.frame(frame.Header{Opcode: Text}, []byte("a")), p.message(frame.Ping, "2"), p.frame(frame.Header{Fin: true}, []byte("b")), p.message(frame.Pong, "3"), p.message(Text, "c")}
	}, func(s *session) error { return s.read(2) }},
	{"large", func(p *peer) [][]byte {
		return [][]byte{p.message(Binary, strings.Repeat("l", 200000)), p.message(Text, strings.Repeat("m", 70000))}
	}, func(s *session) error { return s.read(2) }},
	{"large fragments", func(p *peer) [][]byte {
		return [][]byte{p.frame(frame.Header{Opcode: Text}, []byte(strings.Repeat("l", 100000))), p.frame(frame.Header{Fin: true}, []byte(strings.Repeat("m", 70000)))}
	}, func(s *session) error { return s.read(1) }},
	{"range", func(p *peer) [][]byte { return [][]byte{p.message(Text, "a"), p.message(Text, "b")} }, func(s *session) error {
		for m, err := range s.c.Messages() {
			if err != nil {
				return err
			}
			if s.note("%s", m.Data); len(s.delivered) == 2 {
				return nil
			}
		}
		return errors.New("the range ended without an error")
	}},
	{"batches", func(p *peer) [][]byte {
		return [][]byte{p.message(Text, "a"), p.message(Text, "b"), p.message(frame.Ping, "x"), p.message(Text, "c")}
	}, func(s *session) error {
		for len(s.delivered) < 3 {
			b, err := s.c.TakeBatch()
			if err != nil {
				return err
			}
			for _, m := range b.Messages {
				s.note("%s", m.Data)
			}
			b.Release()
		}
		return nil
	}},
	{"NextReader", func(p *peer) [][]byte {
		return [][]byte{p.message(Text, strings.Repeat("r", 50000)), p.frame(frame.Header{Opcode: Binary}, []byte("a")), p.message(frame.Ping, ""), p.frame(frame.Header{Fin: true}, []byte("b")), p.message(Text, "skipped"), p.message(Text, "end")}
	}, func(s *session) error {
		for i := range 4 {
			op, r, err := s.c.NextReader()
			if err != nil {
				return err
			}
			if i == 2 {
				continue
			}
			data, err := io.ReadAll(r)
			if err != nil {
				return err
			}
			s.note("%v %d", op, len(data))
		}
		return nil
	}},
	{"NextFrame", func(p *peer) [][]byte {
		return [][]byte{p.frame(frame.Header{Opcode: Text}, []byte("a")), p.message(frame.Ping, "1"), p.frame(frame.Header{Fin: true}, []byte("b"))}
	}, func(s *session) error {
		for range 3 {
			f, err := s.c.NextFrame()
			if err != nil {
				return err
			}
			s.note("%v %s", f.Header.Opcode, f.Payload)
		}
		return nil
	}},
	{"closed by peer", func(p *peer) [][]byte {
		return [][]byte{p.message(Text, "a"), p.closing(1001, "going"), p.message(Text, "no")}
	},
		func(s *session) error { return s.read(3) }},
	{"protocol broken", func(p *peer) [][]byte {
		return [][]byte{p.message(Text, "a"), []byte("\xff\xff\xff"), p.message(Text, "no")}
	},
		func(s *session) error { return s.read(3) }},
	{"bad text", func(p *peer) [][]byte {
		return [][]byte{p.message(Text, "a"), p.message(Text, "\xff"), p.message(Text, "no")}
	},
		func(s *session) error { return s.read(3) }},
	{"write", nil, func(s *session) error {
		return errors.Join(s.c.WriteMessage(Text, []byte("1")), s.c.WriteMessage(Binary, make([]byte, 300)))
	}},
	{"write large", nil, func(s *session) error { return s.c.WriteMessage(Binary, make([]byte, 100000)) }},
	{"cork", nil, func(s *session) error {
		for range 3 {
			if err := s.c.AppendMessage(Text, []byte("q")); err != nil {
				return err
			}
		}
		return s.c.Flush()
	}},
	{"cork over the bound", nil, func(s *session) error {
		for range 3 {
			if err := s.c.AppendMessage(Binary, make([]byte, 40000)); err != nil {
				return err
			}
		}
		return s.c.Flush()
	}},
	{"NextWriter", nil, func(s *session) error {
		w, err := s.c.NextWriter(Text)
		if err != nil {
			return err
		}
		for range 3 {
			if _, err := io.WriteString(w, strings.Repeat("w", 30000)); err != nil {
				return err
			}
		}
		return w.Close()
	}},
	{"prepared", nil, func(s *session) error {
		m, err := Prepare(Text, []byte(strings.Repeat("p", 20000)))
		if err != nil {
			return err
		}
		return errors.Join(s.c.WritePrepared(m), s.c.WritePrepared(m))
	}},
	{"owned", nil, func(s *session) error { return s.c.WriteOwned(Binary, make([]byte, HeaderRoom+500)) }},
	{"echo", func(p *peer) [][]byte { return [][]byte{p.message(Text, "a"), p.message(Text, "b")} }, func(s *session) error {
		for range 2 {
			m, err := s.c.ReadMessage()
			if err != nil {
				return err
			}
			s.note("%s", m.Data)
			if err := s.c.WriteMessage(m.Opcode, m.Data); err != nil {
				return err
			}
		}
		return nil
	}},
	{"ping", func(p *peer) [][]byte { return nil }, func(s *session) error {
		ctx, cancel := context.WithTimeout(s.t.Context(), time.Second)
		defer cancel()
		go s.c.ReadMessage()
		_, err := s.c.Ping(ctx)
		return err
	}},
	{"Shutdown", func(p *peer) [][]byte { return [][]byte{p.message(Text, "dropped")} }, func(s *session) error {
		return s.c.Shutdown(s.t.Context(), frame.CodeNormal, "bye")
	}},
	{"StartClose", func(p *peer) [][]byte { return [][]byte{p.message(Text, "a")} }, func(s *session) error {
		if err := s.c.StartClose(frame.CodeNormal, "bye"); err != nil {
			return err
		}
		return s.read(5)
	}},
	{"both directions", func(p *peer) [][]byte {
		return [][]byte{p.message(Text, "a"), p.message(frame.Ping, "p"), p.message(Text, "b"), p.message(Text, "c")}
	}, func(s *session) error {
		wrote := make(chan error, 1)
		go func() {
			for range 3 {
				if err := s.c.WriteMessage(Text, []byte("w")); err != nil {
					wrote <- err
					return
				}
			}
			wrote <- nil
		}()
		err := s.read(3)
		return errors.Join(err, <-wrote)
	}},
	{"deadlines", func(p *peer) [][]byte { return [][]byte{p.message(Text, "a"), p.message(Text, "b")} }, func(s *session) error {
		s.c.SetDeadline(time.Now().Add(time.Second))
		if err := s.read(2); err != nil {
			return err
		}
		if err := s.read(1); !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		s.c.SetDeadline(time.Time{})
		return s.c.WriteMessage(Text, []byte("w"))
	}},
}

var errBoom = errors.New("boom")

// failures are the ways in which one I/O call goes wrong (F1–F12).
var failures = []struct {
	name string
	step netsim.Step
	soft bool // nothing is lost: the session can end as ever
}{
	{"error", netsim.Step{Err: errBoom}, false},
	{"a byte and an error (F5)", netsim.Step{Max: 1, Err: errBoom}, false},
	{"three bytes and an error (F10)", netsim.Step{Max: 3, Err: errBoom}, false},
	{"all and an error", netsim.Step{Max: 1 << 30, Err: errBoom}, false},
	{"reset (F7)", netsim.Step{Err: syscall.ECONNRESET}, false},
	{"broken pipe (F12)", netsim.Step{Err: syscall.EPIPE}, false},
	{"end (F6)", netsim.Step{Err: io.EOF}, false},
	{"a byte and the end (F4)", netsim.Step{Max: 1, Err: io.EOF}, false},
	{"closed elsewhere", netsim.Step{Err: net.ErrClosed}, false},
	{"deadline (F8)", netsim.Step{Err: os.ErrDeadlineExceeded}, true},
	{"a byte and a deadline", netsim.Step{Max: 1, Err: os.ErrDeadlineExceeded}, true},
	{"one byte (F1)", netsim.Step{Max: 1}, true},
	{"seven bytes (F2)", netsim.Step{Max: 7}, true},
	{"nothing (F3)", netsim.Step{Max: -1, Short: true}, true},
	{"short write (F11)", netsim.Step{Max: 1, Short: true}, false},
}

// runSession plays a session with the N-th I/O call failing (0: none) and returns what it delivered and how many calls it made.
func runSession(t *testing.T, role frame.Role, i, failAt int, step netsim.Step) (s *session, made int, err error) {
	s = &session{t: t}
	var a *netsim.Conn
	s.c, a, s.p = simulate(t, role, Config{CloseTimeout: time.Second}, 1<<20)
	a.Script(func(op netsim.Op, call, n int) netsim.Step {
		if call == failAt {
			return step
		}
		return netsim.Step{}
	})
	if send := sessions[i].send; send != nil {
		for _, b := range send(s.p) {
			s.p.nc.Write(b)
		}
	}
	// The peer answers pings and Close frames, and reads everything.
	go func() {
		for {
			m, err := s.p.r.Next()
			switch {
			case err != nil:
				s.p.nc.CloseWrite()
				return
			case m.Opcode == frame.Ping:
				s.p.nc.Write(s.p.message(frame.Pong, string(m.Data)))
			case m.Opcode == frame.Close:
				s.p.nc.Write(s.p.message(frame.Close, string(m.Data)))
			}
		}
	}()
	err = sessions[i].run(s)
	synctest.Wait()
	if last := s.c.Err(); last != nil {
		// One error, returned by every call from then on.
		for _, call := range calls {
			if got := call.f(s.c); got != last {
				t.Errorf("%s returns %v, the connection ended with %v", call.name, got, last)
			}
		}
		if !errors.Is(last, net.ErrClosed) {
			t.Errorf("%v does not match net.ErrClosed", last)
		}
	}
	r, w := a.Calls()
	s.c.Close()
	s.p.nc.Close()
	return s, r + w, err
}

// Each I/O call of each session fails once, in each way: one sticky error, nothing delivered that would not have been, nothing twice, and
// nothing left behind (the bubble waits for every goroutine).
func TestF1FailEachCall(t *testing.T) {
	if len(sessions) < 20 {
		t.Fatal("too few sessions")
	}
	for i := range sessions {
		for _, role := range []frame.Role{frame.Client, frame.Server} {
			t.Run(sessions[i].name+"/"+role.String(), func(t *testing.T) {
				var whole []string
				synctest.Test(t, func(t *testing.T) {
					s, _, _ := runSession(t, role, i, 0, netsim.Step{})
					whole = s.delivered
				})
				for _, f := range failures {
					for n := 1; ; n++ {
						made := 0
						synctest.Test(t, func(t *testing.T) {
							var s *session
							var err error
							s, made, err = runSession(t, role, i, n, f.step)
							if len(s.delivered) > len(whole) || !slices.Equal(s.delivered, whole[:len(s.delivered)]) {
								t.Errorf("%s at call %d: delivered %q, not %q", f.name, n, s.delivered, whole)
							}
							if err == nil && len(s.delivered) < len(whole) {
								t.Errorf("%s at call %d: %q missing, without an error", f.name, n, whole[len(s.delivered):])
							}
						})
						if made < n || t.Failed() {
							break
						}
					}
				}
			})
		}
	}
}
