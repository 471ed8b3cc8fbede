//go:build !unix

package replay

import "time"

// cpuTime returns the elapsed time, which bounds the CPU time of this process.
func cpuTime() time.Duration { return wallTime() }
