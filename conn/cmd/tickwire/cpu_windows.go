package main

import (
	"syscall"
	"time"
)

// processCPU returns the CPU time of this process in user and kernel mode, without its
// children.
func processCPU() time.Duration {
	self, err := syscall.GetCurrentProcess()
	if err != nil {
		return 0
	}
	var creation, exit, kernel, user syscall.Filetime
	if syscall.GetProcessTimes(self, &creation, &exit, &kernel, &user) != nil {
		return 0
	}
	// Filetime.Nanoseconds is for points in time. These are durations in units of 100 ns.
	units := func(f syscall.Filetime) time.Duration {
		return time.Duration(uint64(f.HighDateTime)<<32 | uint64(f.LowDateTime))
	}
	return (units(kernel) + units(user)) * 100
}
