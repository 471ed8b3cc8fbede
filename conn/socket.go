package conn

import (
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/transport"
)

// Syscalls says how a TCP or Unix socket is read and written on Linux. Elsewhere, and
// over other connections, it has no effect.
type Syscalls uint8

const (
	// SyscallsAuto reads raw while reads bring much, and plain otherwise; it writes
	// prepared messages raw, and all else plain. A busy feed and a fan-out get nearly all
	// that raw calls save, and an exchange of single messages keeps the even latency of
	// plain calls.
	SyscallsAuto = Syscalls(transport.SyscallsAuto)
	// SyscallsPlain tells the scheduler of each system call, as package net does.
	SyscallsPlain = Syscalls(transport.SyscallsPlain)
	// SyscallsRaw does not: less CPU per call, but nothing else runs on its processor
	// while it lasts.
	SyscallsRaw = Syscalls(transport.SyscallsRaw)
)

// ReadInfo describes the last read from the socket.
type ReadInfo struct {
	// Kernel is when the kernel received the last segment of what was read. For messages
	// that came in earlier segments of the same read the lag is longer than User minus
	// Kernel. It is zero where the kernel did not stamp, as it does not for a moment
	// after the first socket of the system has asked for it.
	Kernel time.Time
	// User is when the read returned.
	User time.Time
	// Bytes is how many it brought.
	Bytes int
	// Backlog is how many more the kernel held then; -1 if it does not tell.
	Backlog int
}

// Lag returns how long the last bytes waited in the kernel, or 0 if that is not known.
func (i ReadInfo) Lag() time.Duration {
	if i.Kernel.IsZero() {
		return 0
	}
	return max(i.User.Sub(i.Kernel), 0)
}
