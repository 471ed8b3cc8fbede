package conn

import (
	"errors"
	"os"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// Pings come and writes fail because the transport takes nothing in time: one pong waits,
// the newest, however often (invariant of R20).
func TestR20OnePongWaits(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, a, p := simulate(t, role, Config{}, 0)
		blocked := true
		a.Script(func(op netsim.Op, _, _ int) netsim.Step {
			if op == netsim.Write && blocked {
				return netsim.Step{Max: -1, Err: os.ErrDeadlineExceeded}
			}
			return netsim.Step{}
		})
		c.SetWriteDeadline(time.Now().Add(-time.Second))
		if err := c.AppendMessage(Text, []byte("kept")); err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			p.send(p.message(frame.Ping, strings.Repeat("p", i)), p.message(Text, "x"))
			wantMessage(t, c, Text, "x")
			synctest.Wait()
			wantTimeout(t, c.WriteMessage(Text, []byte("dropped")))
			wantTimeout(t, c.Flush())
			synctest.Wait()
			if err := c.WriteMessage(frame.Ping, nil); err != frame.ErrOpcode {
				t.Error(err)
			}
		}
		synctest.Wait()
		blocked = false
		c.SetWriteDeadline(time.Time{})
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
		p.expect(frame.Pong, strings.Repeat("p", 99))
		p.expect(Text, "kept")
		if s := c.Stats(); s.PongsWritten != 1 || p.nc.Buffered() != 0 {
			t.Errorf("%d pongs, %d bytes more", s.PongsWritten, p.nc.Buffered())
		}
		c.Close()
		p.nc.Close()
	})
}

// A pong that a part of a compressed message has found waiting goes out with it or by itself, not with the next part.
func TestPongWithinACompressedMessage(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		cfg := agreed(deflate.Config{}, frame.Options{})
		cfg.WriteBuffer = 100
		c, _, p := simulate(t, role, *cfg, 0)
		w, err := c.NextWriter(Text)
		if err != nil {
			t.Fatal(err)
		}
		c.lock.tryLock() // so that the pong waits for whoever writes next
		p.send(p.message(frame.Ping, "1"), p.message(Text, "x"))
		wantMessage(t, c, Text, "x")
		c.lock.unlock()
		if _, err := w.Write([]byte(strings.Repeat("a", 1000))); err != nil { // compresses to little, which is not flushed
			t.Fatal(err)
		}
		p.expect(frame.Pong, "1")
		c.Close()
		p.nc.Close()
	})
}

// With a peer that pings without end there is one goroutine at most that answers, under TLS too, and none when it has stopped.
func TestPongsTakeOneGoroutine(t *testing.T) {
	a, b := loopback(t)
	c, peer := secureOver(t, a, b, Config{})
	defer c.Close()
	ping := frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: frame.Ping}, make([]byte, 100))
	go func() {
		for range 2000 {
			if _, err := peer.Write(ping); err != nil {
				return
			}
		}
		peer.Write(frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: Text}, nil))
	}()
	go func() {
		scratch := make([]byte, 4096)
		for {
			if _, err := peer.Read(scratch); err != nil {
				return
			}
		}
	}()
	stop := make(chan struct{})
	var watching sync.WaitGroup
	most := 0
	watching.Go(func() {
		stacks := make([]byte, 1<<20)
		for {
			text := string(stacks[:runtime.Stack(stacks, true)])
			most = max(most, strings.Count(text, ").flushControls("))
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	wantMessage(t, c, Text, "")
	close(stop)
	watching.Wait()
	if most > 1 {
		t.Errorf("%d goroutines answered", most)
	}
	peer.NetConn().Close()
}

// Whoever holds the write lock when the connection ends gives the writing side's memory back, wherever it is then.
func TestEndGivesTheQueueBack(t *testing.T) {
	if raceEnabled {
		t.Skip("slow there; TestF23EverythingAgainstClose is for races")
	}
	for i := range 20000 {
		a, b := netsim.Pipe(0)
		c := New(a, frame.Client, &Config{KeepAlive: -1})
		var writer sync.WaitGroup
		writer.Go(func() { c.WriteMessage(Text, []byte("data")) })
		for range i % 4 {
			runtime.Gosched()
		}
		c.Close()
		writer.Wait()
		if !c.lock.tryLock() {
			t.Fatal("the lock is held for ever")
		}
		if !reflect.ValueOf(&c.w).Elem().FieldByName("queue").IsNil() {
			t.Fatalf("round %d: the queue was left to the collector", i)
		}
		b.Close()
	}
}

// A server that writes keeps its queue, and gives it back when nothing was written from one look at the clocks to the next.
func TestServerQueueGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, p := simulate(t, frame.Server, Config{KeepAlive: 80 * time.Second}, 0)
		held := func() bool {
			if !c.lock.tryLock() {
				t.Fatal("the lock is held")
			}
			defer c.lock.unlock()
			return !reflect.ValueOf(&c.w).Elem().FieldByName("queue").IsNil()
		}
		read := make(chan error, 1)
		go func() { _, err := c.ReadMessage(); read <- err }()
		synctest.Wait()
		for range 5 {
			time.Sleep(6 * time.Second)
			if err := c.WriteMessage(Text, []byte("data")); err != nil {
				t.Fatal(err)
			}
			p.expect(Text, "data")
			if !held() {
				t.Error("a busy server took memory for one message")
			}
		}
		time.Sleep(21 * time.Second) // the look of a time that saw a message, and the next
		if held() {
			t.Error("an idle server holds a queue")
		}
		c.Close()
		<-read
		p.nc.Close()
	})
}

// A pong that went out is not sent again because the message behind it did not.
func TestPongOnceWithWriteOwned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, a, p := simulate(t, frame.Client, Config{KeepAlive: -1}, 1<<20)
		c.lock.tryLock()
		c.setPong([]byte("pong"))
		c.lock.unlock()
		n := 0
		a.Script(func(op netsim.Op, _, _ int) netsim.Step {
			if op == netsim.Write {
				n++
				return netsim.Step{Block: n == 2}
			}
			return netsim.Step{}
		})
		c.SetWriteDeadline(time.Now().Add(time.Second))
		err := c.WriteOwned(Binary, make([]byte, HeaderRoom+4))
		if !errors.Is(err, os.ErrDeadlineExceeded) || c.Err() != nil {
			t.Fatal(err)
		}
		c.SetWriteDeadline(time.Time{})
		if err := c.WriteMessage(Text, []byte("next")); err != nil {
			t.Fatal(err)
		}
		p.expect(frame.Pong, "pong")
		p.expect(Text, "next")
		if s := c.Stats(); s.PongsWritten != 1 {
			t.Errorf("%d pongs counted", s.PongsWritten)
		}
		c.Close()
		p.nc.Close()
	})
}
