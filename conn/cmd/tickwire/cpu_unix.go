//go:build unix

package main

import (
	"syscall"
	"time"
)

// processCPU returns the CPU time of this process in user and kernel mode, without its
// children.
func processCPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
