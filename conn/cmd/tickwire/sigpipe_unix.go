//go:build unix

package main

import (
	"os/signal"
	"syscall"
)

// ignoreBrokenPipes has a write to a pipe that nobody reads fail, as on other systems:
// the signal would end the process, and a recording with it.
func ignoreBrokenPipes() { signal.Ignore(syscall.SIGPIPE) }

// ignoreTerminalInput has a read of the terminal fail where this process is in the
// background: the signal would stop it, and what it prints.
func ignoreTerminalInput() { signal.Ignore(syscall.SIGTTIN) }
