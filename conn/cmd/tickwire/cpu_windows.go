package main

import (
	"syscall"
	"time"
)

// processCPU returns the CPU time this process has used, in user and kernel
// mode together. Its children are not in it.
func processCPU() time.Duration {
	self, err := syscall.GetCurrentProcess()
	if err != nil {
		return 0
	}
	var creation, exit, kernel, user syscall.Filetime
	if syscall.GetProcessTimes(self, &creation, &exit, &kernel, &user) != nil {
		return 0
	}
	// Filetime.Nanoseconds is for points in time; these are durations of 100 ns units.
	units := func(f syscall.Filetime) time.Duration {
		return time.Duration(uint64(f.HighDateTime)<<32 | uint64(f.LowDateTime))
	}
	return (units(kernel) + units(user)) * 100
}
