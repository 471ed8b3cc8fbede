package replay

import (
	"sync/atomic"
	"time"
)

// hangTimeout is how long an input may take in all: a call that never returns is a bug
// too.
const hangTimeout = time.Minute

// watch calls fail if an input uses too much of clock, or too much time, before stop is
// called.
func watch(clock func() time.Duration, busy time.Duration, fail func(why string)) (stop func()) {
	var stopped atomic.Bool
	begin, start := clock(), time.Now()
	var look func()
	look = func() {
		used := clock() - begin
		switch {
		case stopped.Load():
		case used >= busy:
			fail("an input took longer than " + busy.String())
		case time.Since(start) >= hangTimeout:
			fail("an input did not return within a minute")
		default:
			time.AfterFunc(busy-used, look)
		}
	}
	first := time.AfterFunc(busy, look)
	return func() {
		stopped.Store(true)
		first.Stop()
	}
}

// borders counts inputs begun and ended, for look: it is odd while one runs.
var borders atomic.Uint64

func ended() { borders.Add(1) }

// look calls fail when an input uses too much of clock, or too much time.
func look(clock func() time.Duration, busy time.Duration, fail func(why string)) {
	for {
		seen, begin, start := borders.Load(), clock(), time.Now()
		for {
			time.Sleep(busy / 4)
			if seen%2 == 0 || borders.Load() != seen {
				break
			}
			if clock()-begin >= busy {
				fail("an input took longer than " + busy.String())
				return
			}
			if time.Since(start) >= hangTimeout {
				fail("an input did not return within a minute")
				return
			}
		}
	}
}

var loaded = time.Now()

// wallTime returns the time since the start of this process.
func wallTime() time.Duration { return time.Since(loaded) }
