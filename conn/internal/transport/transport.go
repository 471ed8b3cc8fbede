// Package transport carries the bytes of connections. On Linux it reads and writes
// sockets by their descriptor, with timestamps and polling. Under TLS it reads the socket
// in large pieces, and can decrypt the records itself.
package transport

import (
	"crypto/tls"
	"errors"
	"net"
	"syscall"
	"time"
)

// Sink receives what a transport reads. It is a frame.Reader, or the buffer under a
// tls.Conn.
type Sink interface {
	SpaceIn(dst []byte) []byte
	Refill() []byte // SpaceIn after a Release, using little stack; nil if it needs more
	Filled(n int)
	Release()    // called before a wait for bytes
	WriteWaits() // called when a write must wait for room
}

// How says how to write bytes.
type How uint8

// The bits of How.
const (
	NoWait How = 1 << iota // do not wait: leave what cannot be written at once
	Burst                  // the call is one of many in a row, to different connections
)

// Transport carries the bytes of a connection. One goroutine may read and one may write
// at the same time. Any goroutine may call the methods of the last group.
type Transport interface {
	// Fill waits for bytes and puts them into the sink, or into dst if the sink says so.
	Fill(dst []byte) (n int, err error)
	// FillNow is Fill without a wait: it reads the connection below at most once. It
	// returns ErrNothing if there were no bytes but more may come.
	FillNow(dst []byte) (n int, err error)
	// Drained reports whether the last read of a socket emptied the kernel's buffer, so
	// that later bytes cause a new event. If exact is false, a read that did not fill its
	// space also counts.
	Drained(exact bool) bool
	// Raw returns the socket below, or nil if FillNow cannot read one.
	Raw() syscall.RawConn
	// Ready reports whether Fill may have bytes without a read of the connection below.
	Ready() bool
	// Held returns how many bytes were read and are not in the sink yet. known is false
	// if that is unknown.
	Held() (n int, known bool)
	// Info describes the last read. It is nil if nothing is known.
	Info() *Info
	// Free returns the read memory to its pool, after the last read.
	Free()

	// Write writes a and then b. b is empty unless the Transport is Vectored.
	Write(a, b []byte, how How) (n int, err error)
	// CloseNotify sends the TLS alert close_notify, if there is TLS.
	CloseNotify()
	// CutByWrite reports whether no write can follow a failed one, even if nothing of it
	// was written.
	CutByWrite() bool
	// Vectored reports whether Write takes two pieces, and can write without waiting.
	Vectored() bool

	// Counters returns the counts of reads and writes.
	Counters() Counters
	// SetReadDeadline is as in net.Conn.
	SetReadDeadline(t time.Time) error
	// StopPolling ends polling and blocking reads, one in progress too. Reads then wait
	// in the runtime's poller. Closing a socket waits for its users, so call StopPolling
	// first.
	StopPolling()
}

// Counters are the counts of a Transport.
type Counters struct {
	Reads, Waits uint64 // reads that brought bytes; reads that found nothing
	Received     uint64 // bytes received under TLS
	Writes       uint64 // writes made under TLS
	WriteWaits   uint64 // how often a write had to wait for room
	Writing      bool   // a write waits for room; of a connection that is no socket: a write is in progress
}

// Looks returns how often the connection below was read.
func (c Counters) Looks() uint64 { return c.Reads + c.Waits }

// Info describes the last read of a socket.
type Info struct {
	Kernel  time.Time // when the kernel received the last segment; zero if unknown
	User    time.Time // when the read returned
	Bytes   int       // the bytes of the read
	Backlog int       // bytes that the kernel still held; -1 if unknown
}

// Syscalls says how a socket is read and written on Linux.
type Syscalls uint8

// The values of Syscalls.
const (
	SyscallsAuto  Syscalls = iota // raw after large reads and for frequent writes, otherwise plain
	SyscallsPlain                 // the scheduler is told of each call, as in package net
	SyscallsRaw                   // the scheduler is not told
)

// Options say how a transport works.
type Options struct {
	Syscalls   Syscalls
	Timestamps bool          // Linux records when it receives bytes
	Spin       time.Duration // how long a read polls an empty socket before it waits
	Block      bool          // a read blocks its thread in poll(2) while it waits, on Linux
	ReadBuffer int           // under TLS the buffer grows to twice this; over a socket the Sink has the buffer
}

// ErrNothing is returned by FillNow if it would have to wait.
var ErrNothing = errors.New("the transport has nothing now")

// What a connection below must not do.
var (
	ErrReadCount  = errors.New("the transport returned an impossible count from Read")
	ErrWriteCount = errors.New("the transport returned an impossible count from Write")
)

// MaxEmptyReads is how many reads in a row may return (0, nil). The next one is
// io.ErrNoProgress.
const MaxEmptyReads = 100

// New returns the Transport of nc, and the lowest known connection. t is nil unless nc is
// a socket that can be used by its descriptor, or a tls.Conn over Records. For any other
// nc the caller must be the Transport itself: a third type here would cost an allocation.
func New(nc net.Conn, o Options, to Sink) (t Transport, base net.Conn) {
	if t, ok := nc.(*tls.Conn); ok {
		base := t.NetConn()
		if r, ok := base.(*Records); ok {
			return r.under(t, to), r.Conn
		}
		return nil, base
	}
	if s := newSocket(nc, o, to); s != nil {
		s.startPolling()
		return s, nc
	}
	return nil, nc
}

// unreader is a net.Conn that knows how many bytes it could return without waiting. ok is
// false if it does not know.
type unreader interface {
	Unread() (n int, ok bool)
}
