package conn

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
)

func both(t *testing.T, f func(t *testing.T, role frame.Role)) {
	for _, role := range []frame.Role{frame.Client, frame.Server} {
		t.Run(role.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, role) })
		})
	}
}

// A passed read deadline ends nothing, wherever in a frame it falls: reading goes on there (F15, F41).
func TestF41ReadDeadlineResumes(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, _, p := simulate(t, role, Config{}, 0)
		defer c.Close()
		stream := append(p.frame(frame.Header{Opcode: Text}, []byte("frag")), p.message(frame.Ping, "ping")...)
		stream = append(stream, p.frame(frame.Header{Fin: true, Opcode: frame.Continuation}, []byte(strings.Repeat("x", 300)))...)
		for i, b := range stream {
			c.SetReadDeadline(time.Now().Add(time.Second))
			start := time.Now()
			if _, err := c.ReadMessage(); time.Since(start) != time.Second {
				t.Fatalf("byte %d: deadline fired after %v", i, time.Since(start))
			} else {
				wantTimeout(t, err)
			}
			if _, err := c.ReadMessage(); err == nil || time.Since(start) != time.Second {
				t.Fatalf("byte %d: the deadline does not stick: %v", i, err)
			}
			p.send([]byte{b})
		}
		c.SetReadDeadline(time.Time{})
		wantMessage(t, c, Text, "frag"+strings.Repeat("x", 300))
		p.expect(frame.Pong, "ping")
	})
}

func TestReadDeadlineWhileReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, _ := simulate(t, frame.Client, Config{}, 0)
		defer c.Close()
		start := time.Now()
		time.AfterFunc(time.Second, func() { c.SetReadDeadline(time.Now().Add(time.Second)) })
		_, err := c.ReadMessage()
		wantTimeout(t, err)
		if d := time.Since(start); d != 2*time.Second {
			t.Errorf("fired after %v", d)
		}
	})
}

// Config.ReadTimeout fires when no byte came for so long, an eighth late at most.
func TestReadTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 8 * time.Second
		c, _, p := simulate(t, frame.Client, Config{ReadTimeout: limit}, 0)
		defer c.Close()
		for i := range 40 {
			time.AfterFunc(time.Duration(i%30)*time.Second/4, func() { p.send(p.message(Text, "tick")) })
			wantMessage(t, c, Text, "tick")
		}
		for range 3 {
			start := time.Now()
			_, err := c.ReadMessage()
			wantTimeout(t, err)
			if d := time.Since(start); d < limit || d > limit+limit/8 {
				t.Errorf("fired after %v", d)
			}
		}
		c.SetReadDeadline(time.Now().Add(time.Second))
		start := time.Now()
		_, err := c.ReadMessage()
		wantTimeout(t, err)
		if d := time.Since(start); d != time.Second {
			t.Errorf("the caller's own deadline fired after %v", d)
		}
		c.SetReadDeadline(time.Time{})
		p.send(p.message(Text, "late"))
		wantMessage(t, c, Text, "late")
	})
}

// The caller's deadline may be set while a read waits: the earlier of it and Config.ReadTimeout counts.
func TestReadTimeoutBesideDeadline(t *testing.T) {
	const limit, set = 8 * time.Second, 3 * time.Second
	for _, tt := range []struct {
		name     string
		deadline time.Duration // from the start; 0 for none
		want     error
		from, to time.Duration
	}{
		{"none", 0, errReadTimeout, limit, limit + limit/8},
		{"later", time.Hour, errReadTimeout, limit, limit + limit/8},
		{"earlier", 5 * time.Second, errReadDeadline, 5 * time.Second, 5 * time.Second},
		{"past", time.Second, errReadDeadline, set, set},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, _, p := simulate(t, frame.Client, Config{ReadTimeout: limit}, 0)
				defer c.Close()
				start := time.Now()
				until := time.Time{}
				if tt.deadline > 0 {
					until = start.Add(tt.deadline)
				}
				time.AfterFunc(set, func() { c.SetReadDeadline(until) })
				_, err := c.ReadMessage()
				if d := time.Since(start); err != tt.want || d < tt.from || d > tt.to {
					t.Errorf("%v after %v, want %v after %v to %v", err, d, tt.want, tt.from, tt.to)
				}
				c.SetReadDeadline(time.Time{})
				time.AfterFunc(limit/2, func() { p.send(p.message(Text, "late")) })
				wantMessage(t, c, Text, "late")
			})
		})
	}
}

// A write deadline that passes before the first byte ends nothing; one that passes later ends the connection (F13–F15).
func TestF14WriteDeadline(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, _, p := simulate(t, role, Config{}, 1000)
		defer c.Close()
		text := strings.Repeat("m", 1000-16)
		if err := c.WriteMessage(Text, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if n := p.nc.Buffered(); n < 1000 {
			if err := c.WriteMessage(Binary, make([]byte, 1000-n-2-4*int(1-role))); err != nil {
				t.Fatal(err)
			}
		}
		start := time.Now()
		c.SetWriteDeadline(start.Add(time.Second))
		wantTimeout(t, c.WriteMessage(Text, []byte("lost")))
		if d := time.Since(start); d != time.Second {
			t.Errorf("fired after %v", d)
		}
		c.AppendMessage(Text, []byte("kept"))
		wantTimeout(t, c.Flush())
		c.SetWriteDeadline(time.Time{})
		go func() {
			p.expect(Text, text)
			if m, err := p.r.Next(); err != nil || m.Opcode != Binary {
				t.Errorf("%v, %v", m.Opcode, err)
			}
			p.expect(Text, "kept")
			p.expect(Text, "next")
		}()
		if err := c.WriteMessage(Text, []byte("next")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		c.SetWriteDeadline(time.Now().Add(time.Second))
		err := c.WriteMessage(Binary, make([]byte, 5000))
		var e *TransportError
		if !errors.As(err, &e) || e.Op != "write" || !errors.Is(err, net.ErrClosed) {
			t.Fatalf("a deadline in the middle of a frame: %v", err)
		}
		c.SetWriteDeadline(time.Time{})
		if again := c.WriteMessage(Text, nil); again != err {
			t.Errorf("then %v", again)
		}
		if _, again := c.ReadMessage(); again != err {
			t.Errorf("reading: %v", again)
		}
	})
}

// Writers that wait for another writer give up at their deadline, also if that is set while they wait, and at the end.
func TestWriteLockDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, a, _ := simulate(t, frame.Client, Config{}, 0)
		a.Script(func(op netsim.Op, _, _ int) netsim.Step { return netsim.Step{Block: op == netsim.Write} })
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { first <- c.WriteMessage(Text, []byte("first")) }()
		synctest.Wait()
		start := time.Now()
		go func() { second <- c.WriteMessage(Text, []byte("second")) }()
		time.Sleep(time.Second)
		c.SetWriteDeadline(time.Now().Add(time.Second))
		wantTimeout(t, <-first)
		wantTimeout(t, <-second)
		if d := time.Since(start); d != 2*time.Second {
			t.Errorf("after %v", d)
		}
		c.SetWriteDeadline(time.Time{})
		for _, ch := range []chan error{first, second} {
			go func() { ch <- c.WriteMessage(Text, []byte("blocked")) }()
		}
		synctest.Wait()
		c.Close()
		if err := <-first; err != ErrClosed {
			t.Error(err)
		}
		if err := <-second; err != ErrClosed {
			t.Error(err)
		}
	})
}

// The transport clock: a ping after half the silence, the end after all of it and an eighth more at most (K1, K14, F42).
func TestF42TransportClock(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		const limit = 80 * time.Second
		c, _, p := simulate(t, role, Config{KeepAlive: limit}, 0)
		defer c.Close()
		var pinged []time.Duration
		last := time.Now()
		go func() {
			for i := 0; ; i++ {
				m, err := p.r.Next()
				if err != nil {
					return
				}
				pinged = append(pinged, time.Since(last))
				if i < 3 {
					p.send(p.message(frame.Pong, string(m.Data)))
					last = time.Now()
				}
			}
		}()
		time.Sleep(7 * time.Second)
		p.send(p.message(Text, "x"))
		last = time.Now()
		wantMessage(t, c, Text, "x")
		_, err := c.ReadMessage()
		wantClock(t, err, ClockTransport)
		synctest.Wait()
		if d := time.Since(last); d < limit || d > limit+limit/8 {
			t.Errorf("dead %v after the last byte", d)
		}
		if len(pinged) != 4 {
			t.Errorf("%d pings", len(pinged))
		}
		for _, d := range pinged {
			if d < limit/2 || d > limit/2+limit/8 {
				t.Errorf("pinged after %v of silence", d)
			}
		}
	})
}

// The default is on (K1): nothing configured, a silent peer is found dead.
func TestKeepAliveDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := netsim.Pipe(0)
		c := New(a, frame.Client, nil)
		_, err := c.ReadMessage()
		wantClock(t, err, ClockTransport)
		if s := c.Stats(); s.PingsWritten != 1 {
			t.Errorf("%d pings", s.PingsWritten)
		}
	})
}

// A reader that takes its time over what came is not a silent peer; a reader that never comes back is (F37, F39).
func TestF39ClockAndSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, p := simulate(t, frame.Client, Config{KeepAlive: 8 * time.Second}, 0)
		for range 20 {
			p.send(p.message(Text, "slow"))
		}
		for range 20 {
			wantMessage(t, c, Text, "slow")
			time.Sleep(5 * time.Second)
		}
		time.Sleep(10 * time.Second)
		wantClock(t, c.Err(), ClockTransport)
	})
}

// The data clock runs although pongs come (K2, K3).
func TestDataClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 40 * time.Second
		c, _, p := simulate(t, frame.Client, Config{KeepAlive: 8 * time.Second, DataTimeout: limit}, 0)
		go func() {
			for {
				m, err := p.r.Next()
				if err != nil {
					return
				}
				p.send(p.message(frame.Pong, string(m.Data)))
			}
		}()
		time.AfterFunc(30*time.Second, func() { p.send(p.message(Binary, "data")) })
		wantMessage(t, c, Binary, "data")
		start := time.Now()
		_, err := c.ReadMessage()
		wantClock(t, err, ClockData)
		if d := time.Since(start); d < limit || d > limit+limit/8 {
			t.Errorf("dead after %v", d)
		}
	})
}

// The pong clock wants the answer to our own ping; any other pong does not count (R21).
func TestR21PongClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, p := simulate(t, frame.Client, Config{KeepAlive: 8 * time.Second, PongTimeout: 3 * time.Second}, 0)
		var at time.Time
		go func() {
			for i := 0; ; i++ {
				m, err := p.r.Next()
				if err != nil {
					return
				}
				if i < 2 {
					time.Sleep(2 * time.Second)
					p.send(p.message(frame.Pong, string(m.Data)))
					continue
				}
				at = time.Now()
				p.send(p.message(frame.Pong, string(m.Data[:7])))
				p.send(p.message(frame.Pong, "unasked!"))
				p.send(p.message(frame.Pong, ""))
			}
		}()
		_, err := c.ReadMessage()
		wantClock(t, err, ClockPong)
		synctest.Wait()
		if d := time.Since(at); d != 3*time.Second {
			t.Errorf("dead %v after the ping", d)
		}
	})
}

func TestF32Ping(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, _, p := simulate(t, role, Config{}, 0)
		ended := make(chan error, 1)
		go func() { _, err := c.ReadMessage(); ended <- err }()
		go func() {
			m, _ := p.r.Next()
			time.Sleep(30 * time.Millisecond)
			p.send(p.message(frame.Pong, string(m.Data)))
		}()
		if rtt, err := c.Ping(t.Context()); err != nil || rtt != 30*time.Millisecond {
			t.Errorf("%v, %v", rtt, err)
		}
		// The answer to the newest of two answers both (RFC 6455 §5.5.3); a late one answers nothing (F33).
		results := make(chan error, 2)
		go func() { _, err := c.Ping(t.Context()); results <- err }()
		synctest.Wait()
		first, _ := p.r.Next()
		stale := string(first.Data)
		go func() { _, err := c.Ping(t.Context()); results <- err }()
		synctest.Wait()
		second, _ := p.r.Next()
		p.send(p.message(frame.Pong, string(second.Data)))
		if err := errors.Join(<-results, <-results); err != nil {
			t.Error(err)
		}
		p.send(p.message(frame.Pong, stale))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if _, err := c.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a stale pong answered: %v", err)
		}
		cancel()
		// A ping outstanding when the connection ends (F32).
		go func() { _, err := c.Ping(t.Context()); results <- err }()
		synctest.Wait()
		p.nc.Close()
		wantTransport(t, <-ended, io.EOF)
		wantTransport(t, <-results, io.EOF)
		if _, err := c.Ping(t.Context()); err != c.Err() {
			t.Errorf("Ping after the end: %v", err)
		}
	})
}

// Pings come while nothing can be written: the reader does not wait, and the newest is answered (R20, F34, F35, K10).
func TestF35PongNeverBlocks(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, a, p := simulate(t, role, Config{}, 0)
		blocked := true
		release := make(chan struct{})
		a.Script(func(op netsim.Op, _, _ int) netsim.Step {
			if op == netsim.Write && blocked {
				<-release
			}
			return netsim.Step{}
		})
		written := make(chan error, 1)
		go func() { written <- c.WriteMessage(Text, []byte("stuck")) }()
		synctest.Wait()
		for range 1000 {
			p.send(p.message(frame.Ping, "old"))
			p.send(p.message(Text, "data"))
			wantMessage(t, c, Text, "data")
		}
		p.send(p.message(frame.Ping, "new"), p.message(Text, "end"))
		wantMessage(t, c, Text, "end")
		blocked = false
		close(release)
		if err := <-written; err != nil {
			t.Fatal(err)
		}
		p.expect(Text, "stuck")
		p.expect(frame.Pong, "new")
		if s := c.Stats(); s.PingsRead != 1001 || s.PongsWritten != 1 {
			t.Errorf("%d pings, %d pongs", s.PingsRead, s.PongsWritten)
		}
		c.Close()
		p.expectEnd()
	})
}

// Each of ten pings in a row with time between is answered with its payload, of any size and content (R20).
func TestR20Pongs(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, _, p := simulate(t, role, Config{}, 0)
		defer c.Close()
		go c.ReadMessage()
		for _, payload := range []string{"", "x", "\xff\xfe\x00", strings.Repeat("p", 125)} {
			for range 10 {
				p.send(p.message(frame.Ping, payload))
				p.expect(frame.Pong, payload)
			}
		}
		c.Close()
	})
}

// A pong overtakes queued messages, and goes out between the parts of a message of ours.
func TestPongOvertakes(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, _, p := simulate(t, role, Config{}, 0)
		defer c.Close()
		c.AppendMessage(Text, []byte("queued"))
		p.send(p.message(frame.Ping, "1"), p.message(Text, "a"))
		wantMessage(t, c, Text, "a")
		p.expect(frame.Pong, "1")
		w, err := c.NextWriter(Text)
		if err != nil {
			t.Fatal(err)
		}
		w.Write([]byte("part"))
		p.send(p.message(frame.Ping, "2"), p.message(Text, "b"))
		wantMessage(t, c, Text, "b")
		p.expect(frame.Pong, "2")
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		p.expect(Text, "queued")
		p.expect(Text, "part")
	})
}

// A peer that drips a message keeps the transport clock content, not the data clock (F40).
func TestF40SlowLoris(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 40 * time.Second
		c, _, p := simulate(t, frame.Client, Config{KeepAlive: 8 * time.Second, DataTimeout: limit}, 0)
		gone := make(chan struct{})
		defer func() { <-gone }()
		go func() {
			defer close(gone)
			time.Sleep(time.Second / 2) // no byte comes at the very moment of a look
			for _, b := range p.message(Text, strings.Repeat("d", 10000)) {
				if _, err := p.nc.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		start := time.Now()
		_, err := c.ReadMessage()
		wantClock(t, err, ClockData)
		if d := time.Since(start); d < limit || d > limit+limit/8 {
			t.Errorf("dead after %v", d)
		}
		if n := c.Stats().PingsWritten; n != 0 {
			t.Errorf("%d pings although bytes came", n)
		}
	})
}

// The peer ends its half while a message of ours is on its way (F22): what was written before arrives whole.
func TestF22HalfClose(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, _, p := simulate(t, role, Config{}, 1000)
		wrote := make(chan error, 1)
		go func() {
			if err := c.WriteMessage(Text, []byte("first")); err != nil {
				t.Error(err)
			}
			wrote <- c.WriteMessage(Binary, make([]byte, 5000))
		}()
		synctest.Wait()
		p.nc.CloseWrite()
		_, err := c.ReadMessage()
		wantTransport(t, err, io.EOF)
		if again := <-wrote; again != err {
			t.Errorf("the writer got %v", again)
		}
		p.expect(Text, "first")
		if _, err := p.r.Next(); err != io.ErrUnexpectedEOF {
			t.Errorf("the peer got %v", err)
		}
	})
}
