//go:build !libfuzzer

package replay

import "time"

// Watchdog ends the process unless stop is called before an input has used busy of CPU
// time. Its message has the name. An endless loop is a bug; a machine that has no time
// for the process is not.
func Watchdog(name string, busy time.Duration) (stop func()) {
	return watch(cpuTime, busy, func(why string) { panic(name + ": " + why) })
}
