//go:build !unix && !windows

package main

import "time"

// processCPU is not implemented for this system.
func processCPU() time.Duration { return 0 }
