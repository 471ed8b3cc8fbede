//go:build unix

package main

import (
	"os/signal"
	"syscall"
)

// ignoreBrokenPipes has a write to a pipe that nobody reads fail, as on other systems:
// the signal would end the process, and a recording with it.
func ignoreBrokenPipes() { signal.Ignore(syscall.SIGPIPE) }
