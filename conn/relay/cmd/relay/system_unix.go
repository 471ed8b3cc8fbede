//go:build unix

package main

import (
	"os/signal"
	"syscall"
	"time"
)

// processCPU returns the CPU time that this process has used, in user and kernel mode.
// Its children are not in it.
func processCPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// ignoreBrokenPipes has a write to a pipe that nobody reads fail, as on other systems:
// the signal would end the process.
func ignoreBrokenPipes() { signal.Ignore(syscall.SIGPIPE) }
