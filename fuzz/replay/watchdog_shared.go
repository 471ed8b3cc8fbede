//go:build libfuzzer

package replay

import (
	"sync"
	"time"
)

var guard sync.Once

// Watchdog does what it does elsewhere, for the inputs of one target, one after the
// other. One goroutine looks at all of them: a timer and a system call for each input
// would take longer than a small input. A loop is found up to a quarter of busy later.
func Watchdog(name string, busy time.Duration) (stop func()) {
	guard.Do(func() { go look(cpuTime, busy, func(why string) { panic(name + ": " + why) }) })
	borders.Add(1)
	return ended
}
