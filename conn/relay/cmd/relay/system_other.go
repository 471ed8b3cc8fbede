//go:build !unix

package main

import "time"

// processCPU returns 0: it is not known here.
func processCPU() time.Duration { return 0 }

func ignoreBrokenPipes() {}
