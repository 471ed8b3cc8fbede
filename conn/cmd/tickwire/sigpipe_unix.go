//go:build unix

package main

import (
	"os/signal"
	"syscall"
)

// ignoreBrokenPipes makes a write to a pipe without a reader fail, as on other systems.
// The signal would end the process, and with it a recording.
func ignoreBrokenPipes() { signal.Ignore(syscall.SIGPIPE) }

// ignoreTerminalInput makes a read of the terminal fail if this process is in the
// background. The signal would stop the process and its output.
func ignoreTerminalInput() { signal.Ignore(syscall.SIGTTIN) }
