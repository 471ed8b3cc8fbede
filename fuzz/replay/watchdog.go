package replay

import (
	"sync/atomic"
	"time"
)

// hangTimeout is how long an input may take in all: a call that never returns is a bug
// too.
const hangTimeout = time.Minute

// Watchdog ends the process unless stop is called before an input has used busy of CPU
// time. Its message has the name. An endless loop is a bug; a machine that has no time
// for the process is not.
func Watchdog(name string, busy time.Duration) (stop func()) {
	return watch(cpuTime, busy, func(why string) { panic(name + ": " + why) })
}

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

var loaded = time.Now()

// wallTime returns the time since the start of this process.
func wallTime() time.Duration { return time.Since(loaded) }
