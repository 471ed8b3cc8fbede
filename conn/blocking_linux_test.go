//go:build !asan && !msan

package conn

import (
	"os"
	"runtime"
	"strings"
	"testing"
)

// eventfds counts the eventfds of this process.
func eventfds(t *testing.T) (n int) {
	dir, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	for _, d := range dir {
		if to, err := os.Readlink("/proc/self/fd/" + d.Name()); err == nil && strings.Contains(to, "[eventfd]") {
			n++
		}
	}
	return n
}

// A blocking read has a descriptor of its own while the connection lives, and none before
// it waits or after the end. A message that comes alone costs one read of the socket, and
// none that finds nothing.
func TestBlockingReads(t *testing.T) {
	for _, by := range carriers {
		t.Run(by.name, func(t *testing.T) {
			first, far := carried(t, carrier{}, Config{}) // for the runtime to have its own
			far.send(message(Text, "m"))
			wantMessage(t, first, Text, "m")
			before := eventfds(t)
			c, e := carried(t, by, Config{BlockingReads: true})
			if n := eventfds(t); n != before {
				t.Errorf("%d eventfds, %d before", n, before)
			}
			got := make(chan error, 1)
			next := make(chan struct{})
			go func() {
				runtime.LockOSThread()
				for range next {
					_, err := c.ReadMessage()
					got <- err
				}
			}()
			read := func(i int) {
				next <- struct{}{}
				for c.Stats().Waits < uint64(i) { // it waits before there is something
					runtime.Gosched()
				}
				e.send(message(Text, "m"))
				if err := <-got; err != nil {
					t.Fatal(err)
				}
			}
			const messages = 50
			read(1)
			if n := eventfds(t); n != before+1 {
				t.Errorf("%d eventfds, %d before", n, before)
			}
			start := c.Stats()
			for i := range messages {
				read(int(start.Waits) + i + 1)
			}
			if s := c.Stats(); s.Reads-start.Reads != messages || s.Waits-start.Waits != messages {
				t.Errorf("%d reads and %d waits for %d messages", s.Reads-start.Reads, s.Waits-start.Waits, messages)
			}
			next <- struct{}{}
			for c.Stats().Waits < start.Waits+messages+1 {
				runtime.Gosched()
			}
			c.Close()
			if err := <-got; err != ErrClosed {
				t.Error(err)
			}
			close(next)
			if n := eventfds(t); n != before {
				t.Errorf("%d eventfds, %d before", n, before)
			}
		})
	}
}
