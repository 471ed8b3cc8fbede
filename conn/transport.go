package conn

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// sink is where a transport puts what it reads: a frame.Reader, or the buffer under a tls.Conn.
type sink interface {
	SpaceIn(dst []byte) []byte
	Refill() []byte // SpaceIn after a Release, with little of the stack; nil if that takes more
	Filled(n int)
	Release()    // called before the wait for bytes
	WriteWaits() // called when a write has to wait for room
}

// how says how bytes are written.
type how uint8

const (
	writeNoWait how = 1 << iota // what cannot be written at once is left
	writeOften                  // the call is one of many in a row, to other connections
)

// transport carries the bytes of a connection. One goroutine reads, one writes, and any may call the methods of the last group.
type transport interface {
	// Fill waits for bytes and puts them into the sink; into dst if that finds that they can be.
	Fill(dst []byte) (n int, err error)
	// Ready reports whether Fill may have bytes without reading the connection below.
	Ready() bool
	// Held returns how many bytes have been read and are not in the sink. known is false if that cannot be seen.
	Held() (n int, known bool)
	// Info tells of the last read; nil if this cannot be told.
	Info() *ReadInfo
	// Free gives the memory of the reading side back, when nothing more is read.
	Free()

	// Write writes a and then b, which is for those that are vectored.
	Write(a, b []byte, how how) (n int, err error)
	// CloseNotify tells the peer's TLS, if there is any, that nothing more comes.
	CloseNotify()
	// CutByWrite reports whether a write that fails is the last, whatever was written of it.
	CutByWrite() bool
	// Vectored reports whether Write takes two pieces, and need not wait.
	Vectored() bool

	// Counters tells how far reading and writing are.
	Counters() counters
	// SetReadDeadline is that of net.Conn.
	SetReadDeadline(t time.Time) error
	// StopPolling has a read that polls wait, and none poll from then on: closing a socket waits for those who use it.
	StopPolling()
}

// counters are what a transport has counted.
type counters struct {
	Reads, Waits uint64 // reads that brought bytes, and that found nothing and parked
	Received     uint64 // bytes under TLS
	Writes       uint64 // writes under TLS
	WriteWaits   uint64 // how often a write has waited for room
	Writing      bool   // a write waits for room, or might: of what is not a socket that is all the time in which it writes
}

// newTransport returns nil if nc is neither a socket that can be read and written by its descriptor nor TLS over records. base is the
// lowest connection known.
func newTransport(nc net.Conn, cfg *Config, to sink) (t transport, base net.Conn) {
	if t, ok := nc.(*tls.Conn); ok {
		base := t.NetConn()
		if r, ok := base.(*records); ok {
			return r.under(t, to), r.Conn
		}
		return nil, base
	}
	if s := newSocket(nc, cfg, to); s != nil {
		s.startPolling()
		return s, nc
	}
	return nil, nc
}

// TransportInfo is what Conn.TransportInfo tells.
type TransportInfo struct {
	// OpensRecords says that the engine opens the records of TLS: see Dialer.OpenRecords.
	OpensRecords bool
	// Why says why it does not; "" if it does.
	Why string
}

// TransportInfo tells how the connection's transport is read. It stays the same for the
// life of the connection.
func (c *Conn) TransportInfo() TransportInfo {
	t, ok := c.stream.(*tls.Conn)
	switch {
	case !ok:
		return TransportInfo{Why: "there is no TLS of crypto/tls"}
	case c.role == frame.Server:
		return TransportInfo{Why: "this is the server's side"}
	}
	opens, why := opensRecords(t)
	return TransportInfo{OpensRecords: opens, Why: why}
}

// anyConn is a Conn as its own transport, over what is no socket and no tls.Conn over records: a third type would have newTransport
// allocate (TestAcceptAllocatesNothingBesideTheConn).
type anyConn Conn

const (
	maxEmptyReads  = 100     // reads of (0, nil) in a row before io.ErrNoProgress
	maxStreamWrite = 1 << 20 // how much is given at once to a connection of which nobody can see how far it is: see stalled
)

var (
	errReadCount  = errors.New("the transport returned an impossible count from Read")
	errWriteCount = errors.New("the transport returned an impossible count from Write")
)

// Fill reads from any net.Conn.
func (a *anyConn) Fill(dst []byte) (int, error) {
	(*Conn)(a).restQueue()
	for range maxEmptyReads {
		space := a.r.WaitSpace(dst)
		n, err := a.stream.Read(space)
		a.stats.reads.Add(1)
		if n < 0 || n > len(space) {
			return 0, errReadCount
		}
		if n > 0 {
			a.r.Filled(n)
			return n, err
		}
		if err != nil {
			a.r.Release()
			return 0, err
		}
	}
	return 0, io.ErrNoProgress
}

func (a *anyConn) Ready() bool     { return false }
func (a *anyConn) Info() *ReadInfo { return nil }
func (a *anyConn) Free()           {}
func (a *anyConn) Vectored() bool  { return false }

// overTLS reports whether the stream is TLS: crypto/tls holds bytes that nobody can see, and cannot go on after a write that failed.
func (a *anyConn) overTLS() bool {
	_, ok := a.stream.(*tls.Conn)
	return ok
}

func (a *anyConn) Held() (n int, known bool) { return 0, !a.overTLS() }
func (a *anyConn) CutByWrite() bool          { return a.overTLS() }

func (a *anyConn) CloseNotify() {
	if t, ok := a.stream.(*tls.Conn); ok {
		_ = t.CloseWrite()
	}
}

func (a *anyConn) Counters() counters {
	return counters{Reads: a.stats.reads.Load(), Writing: a.lock.has(lockDirect) || a.clocks.flags.Load()&clockPushing != 0}
}

func (a *anyConn) SetReadDeadline(t time.Time) error { return a.base.SetReadDeadline(t) }
func (a *anyConn) StopPolling()                      {}

// Write writes b, in pieces that are counted and have a timeout each.
func (a *anyConn) Write(b, _ []byte, _ how) (n int, err error) {
	for {
		piece := b[:min(len(b), maxStreamWrite)]
		k, err := a.writePiece(piece)
		if k < 0 || k > len(piece) {
			return n, errWriteCount
		}
		n += k
		if b = b[k:]; err != nil || k < len(piece) || len(b) == 0 {
			return n, err
		}
		a.stats.writes.Add(1)
		if a.cfg.WriteTimeout > 0 {
			(*Conn)(a).armWrite()
		}
	}
}

// writePiece has lockDirect in the place of clockPushing where writeEncoded writes.
func (a *anyConn) writePiece(b []byte) (int, error) {
	if !a.lock.has(lockDirect) {
		a.clocks.flags.Or(clockPushing)
		defer a.clocks.flags.And(^uint32(clockPushing))
	}
	(*Conn)(a).wakeClock()
	return a.stream.Write(b)
}
