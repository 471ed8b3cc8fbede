// Package transport carries the bytes of connections: it reads and writes sockets by their
// descriptor on Linux, with stamps and polling, and TLS over a layer that reads the socket in
// large pieces and can open the records by itself.
package transport

import (
	"crypto/tls"
	"errors"
	"net"
	"syscall"
	"time"
)

// Sink is where a transport puts what it reads: a frame.Reader, or the buffer under a
// tls.Conn.
type Sink interface {
	SpaceIn(dst []byte) []byte
	Refill() []byte // SpaceIn after a Release, with little of the stack; nil if that takes more
	Filled(n int)
	Release()    // called before the wait for bytes
	WriteWaits() // called when a write has to wait for room
}

// How says how bytes are written.
type How uint8

// The bits of How.
const (
	NoWait How = 1 << iota // what cannot be written at once is left
	Often                  // the call is one of many in a row, to other connections
)

// Transport carries the bytes of a connection. One goroutine reads, one writes, and any
// may call the methods of the last group.
type Transport interface {
	// Fill waits for bytes and puts them into the sink; into dst if that finds that they
	// can be.
	Fill(dst []byte) (n int, err error)
	// FillNow is Fill that does not wait: it reads the connection below once at most. The
	// error is ErrNothing if the sink got no byte, and others may come.
	FillNow(dst []byte) (n int, err error)
	// Drained reports whether the last read of a socket left nothing in the kernel, so that
	// whatever comes next shows as an edge. Without exact it also goes by a read that
	// brought less than it had room for.
	Drained(exact bool) bool
	// Raw returns the socket below, nil if FillNow cannot read one.
	Raw() syscall.RawConn
	// Ready reports whether Fill may have bytes without reading the connection below.
	Ready() bool
	// Held returns how many bytes have been read and are not in the sink. known is false
	// if that cannot be seen.
	Held() (n int, known bool)
	// Info tells of the last read; nil if this cannot be told.
	Info() *Info
	// Free gives the memory of the reading side back, when nothing more is read.
	Free()

	// Write writes a and then b, which is for those that are vectored.
	Write(a, b []byte, how How) (n int, err error)
	// CloseNotify tells the peer's TLS, if there is any, that nothing more comes.
	CloseNotify()
	// CutByWrite reports whether a write that fails is the last, whatever was written of it.
	CutByWrite() bool
	// Vectored reports whether Write takes two pieces, and need not wait.
	Vectored() bool

	// Counters tells how far reading and writing are.
	Counters() Counters
	// SetReadDeadline is that of net.Conn.
	SetReadDeadline(t time.Time) error
	// StopPolling ends polling and blocking reads: one that runs goes on to wait in the
	// runtime's poller, and later ones do so at once. Closing a socket waits for those
	// who use it.
	StopPolling()
}

// Counters are what a transport has counted.
type Counters struct {
	Reads, Waits uint64 // reads that brought bytes, and that found nothing
	Received     uint64 // bytes under TLS
	Writes       uint64 // writes under TLS
	WriteWaits   uint64 // how often a write has waited for room
	Writing      bool   // a write waits for room, or might: of what is not a socket that is all the time in which it writes
}

// Looks is how often the connection below was read.
func (c Counters) Looks() uint64 { return c.Reads + c.Waits }

// Info tells of the last read from a socket.
type Info struct {
	Kernel  time.Time // when the kernel received the last segment; zero where it did not stamp
	User    time.Time // when the read returned
	Bytes   int       // how many it brought
	Backlog int       // how many more the kernel held then; -1 if it does not tell
}

// Syscalls says how a socket is read and written on Linux.
type Syscalls uint8

// The ways.
const (
	SyscallsAuto  Syscalls = iota // raw while reads bring much, and to write often; plain otherwise
	SyscallsPlain                 // the scheduler is told of each, as package net does
	SyscallsRaw                   // it is not
)

// Options say how a transport works.
type Options struct {
	Syscalls   Syscalls
	Timestamps bool          // have Linux stamp what it receives
	Spin       time.Duration // how long a read polls an empty socket before it parks
	Block      bool          // a read that waits blocks its thread in poll(2), on Linux
	ReadBuffer int           // bounds the buffer under TLS, which is twice as large; over a socket the Sink has one
}

// ErrNothing says that FillNow would have to wait.
var ErrNothing = errors.New("the transport has nothing now")

// What a connection below must not do.
var (
	ErrReadCount  = errors.New("the transport returned an impossible count from Read")
	ErrWriteCount = errors.New("the transport returned an impossible count from Write")
)

// MaxEmptyReads is how many reads of (0, nil) there may be in a row, before io.ErrNoProgress.
const MaxEmptyReads = 100

// New returns the Transport of nc, and the lowest connection known. t is nil if nc is
// neither a socket that can be read and written by its descriptor nor a tls.Conn over
// Records. What else is to be known of nc, its owner knows: one that is its own Transport
// costs no allocation, where a third type here would.
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

// unreader is a net.Conn that tells how many bytes it could give without waiting; ok is
// false if it does not know.
type unreader interface {
	Unread() (n int, ok bool)
}
