package replay

import (
	"sync/atomic"
	"time"
)

// blocked is how long an input may take in all: a call that never returns is a finding too.
const blocked = time.Minute

// Watchdog ends the process, with the name in what it says, if stop is not called before an input has taken so much of the
// process's time: a loop is a finding like any other, a machine that has no time for the process is none.
func Watchdog(name string, busy time.Duration) (stop func()) {
	return watch(cpuTime, busy, func(why string) { panic(name + ": " + why) })
}

// watch calls fail if the clock, or time, goes on for too long before stop is called.
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
		case time.Since(start) >= blocked:
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

// wallTime returns the time since this process began.
func wallTime() time.Duration { return time.Since(loaded) }
