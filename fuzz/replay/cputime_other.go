//go:build !unix

package replay

import "time"

// cpuTime returns the time that has passed, which is the most that this process can have worked.
func cpuTime() time.Duration { return wallTime() }
