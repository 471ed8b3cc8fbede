//go:build !unix && !windows

package main

import "time"

// processCPU is not known here.
func processCPU() time.Duration { return 0 }
