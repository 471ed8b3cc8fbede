package conn

import "time"

// Syscalls says how a TCP or Unix socket is read and written on Linux. Elsewhere, and over other connections, it means nothing.
type Syscalls uint8

const (
	// SyscallsAuto reads raw while reads bring much, and plain otherwise; it writes prepared messages raw, and all else plain. A
	// busy feed and a fan-out get nearly all that raw calls save, and an exchange of single messages keeps the even latency of
	// plain calls.
	SyscallsAuto Syscalls = iota
	// SyscallsPlain tells the scheduler of each system call, as package net does.
	SyscallsPlain
	// SyscallsRaw does not: less CPU per call, but nothing else runs on its processor while it lasts.
	SyscallsRaw
)

// sink is where a socket puts what it reads: a frame.Reader, or the buffer under a tls.Conn.
type sink interface {
	SpaceIn(dst []byte) []byte
	Refill() []byte // SpaceIn after a Release, with little of the stack; nil if that takes more
	Filled(n int)
	Release()    // called before the wait for bytes
	WriteWaits() // called when a write has to wait for room
}

// ReadInfo tells of the last read from the socket.
type ReadInfo struct {
	// Kernel is when the kernel received the last segment of what was read. For messages that came in earlier segments
	// of the same read the lag is longer than User minus Kernel. It is zero where the kernel did not stamp, as it does not
	// for a moment after the first socket of the system has asked for it.
	Kernel time.Time
	// User is when the read returned.
	User time.Time
	// Bytes is how many it brought.
	Bytes int
	// Backlog is how many more the kernel held then; -1 if it does not tell.
	Backlog int
}

// Lag returns how long the last bytes waited in the kernel; 0 if that is not known.
func (i ReadInfo) Lag() time.Duration {
	if i.Kernel.IsZero() {
		return 0
	}
	return max(i.User.Sub(i.Kernel), 0)
}

// readCounter counts what a socket did for the reading side.
type readCounter struct{ reads, waits uint64 }

// unreader is a net.Conn that tells how many bytes it could give without waiting; ok is false if it does not know.
type unreader interface {
	Unread() (n int, ok bool)
}

// lowestSocket is the socket that is read and written by its descriptor, also under TLS; nil if there is none.
func (c *Conn) lowestSocket() *socket {
	if c.sock == nil && c.records != nil {
		return c.records.sock
	}
	return c.sock
}

// spinning is the polling of Config.Spin, nil if there is none.
func (c *Conn) spinning() *spin {
	if s := c.lowestSocket(); s != nil {
		return s.spin
	}
	return nil
}

// startSpin lets reads poll. Before there is a Conn nothing would end that: under TLS the handshake has deadlines, and a context, of its own.
func (c *Conn) startSpin() {
	if s := c.spinning(); s != nil {
		s.ended.Store(false)
	}
}

// stopSpin has a read that polls its socket wait, and none poll from then on: closing a socket waits for those who use it.
func (c *Conn) stopSpin() {
	if s := c.spinning(); s != nil {
		s.ended.Store(true)
	}
}
