package conn

import (
	"crypto/tls"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/transport"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// transport returns what of cfg is for the transport.
func (cfg *Config) transport() transport.Options {
	return transport.Options{Syscalls: transport.Syscalls(cfg.Syscalls), Timestamps: cfg.Timestamps, Spin: cfg.Spin, Block: cfg.BlockingReads, ReadBuffer: cfg.ReadBuffer}
}

// underTLS is transport.UnderTLS.
func underTLS(nc net.Conn, cfg *Config) *transport.Records {
	full := cfg.withDefaults()
	return transport.UnderTLS(nc, full.transport())
}

// UnderTLS returns a listener to pass to tls.NewListener, or to ServeTLS of an
// http.Server, instead of l. Connections that an Upgrader opens over it read their
// sockets in large pieces, and hold no read buffer while they wait, like those of Dial.
// cfg is the Upgrader's; nil means the defaults. UnderTLS panics if l is nil.
func UnderTLS(l net.Listener, cfg *Config) net.Listener {
	if l == nil {
		panic("conn: UnderTLS without a listener")
	}
	return &listenerUnderTLS{l, cfg}
}

// UnderTLSConn is UnderTLS for one connection. Pass its result to tls.Server or
// tls.Client instead of nc. It panics if nc is nil.
func UnderTLSConn(nc net.Conn, cfg *Config) net.Conn {
	if nc == nil {
		panic("conn: UnderTLSConn without a connection")
	}
	return underTLS(nc, cfg)
}

type listenerUnderTLS struct {
	net.Listener
	cfg *Config
}

func (l *listenerUnderTLS) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err == nil && nc == nil {
		err = errNothing
	}
	if err != nil {
		return nil, err
	}
	return underTLS(nc, l.cfg), nil
}

// TransportInfo is the result of Conn.TransportInfo.
type TransportInfo struct {
	// OpensRecords says that the engine opens the records of TLS: see Dialer.OpenRecords.
	OpensRecords bool
	// Why says why it does not; "" if it does.
	Why string
}

// TransportInfo says how the connection's transport is read. It does not change during
// the life of the connection.
func (c *Conn) TransportInfo() TransportInfo {
	t, ok := c.stream.(*tls.Conn)
	switch {
	case !ok:
		return TransportInfo{Why: "there is no TLS of crypto/tls"}
	case c.role == frame.Server:
		return TransportInfo{Why: "this is the server's side"}
	}
	opens, why := transport.OpensRecords(t)
	return TransportInfo{OpensRecords: opens, Why: why}
}

// inlet is a Conn as its transport reads into it. While the reader waits no buffer is
// held in either direction.
type inlet Conn

func (i *inlet) SpaceIn(dst []byte) []byte { return i.r.SpaceIn(dst) }
func (i *inlet) Refill() []byte            { return i.r.Refill() }
func (i *inlet) Filled(n int)              { i.r.Filled(n) }
func (i *inlet) WriteWaits()               { (*Conn)(i).wakeClock() }

func (i *inlet) Release() {
	i.r.Release()
	(*Conn)(i).releaseWriteBuffer()
}

// anyConn is a Conn as its own transport, over what is no socket and no tls.Conn over
// transport.Records: a third type in that package would cost an allocation
// (TestAcceptAllocatesNothingBesideTheConn).
type anyConn Conn

// maxStreamWrite is how much is given at once to a connection of which nobody can see how
// far it is: see stalled.
const maxStreamWrite = 1 << 20

// Fill reads from any net.Conn.
func (a *anyConn) Fill(dst []byte) (int, error) {
	(*Conn)(a).releaseWriteBuffer()
	for range transport.MaxEmptyReads {
		space := a.r.WaitSpace(dst)
		n, err := a.stream.Read(space)
		a.stats.reads.Add(1)
		if n < 0 || n > len(space) {
			return 0, transport.ErrReadCount
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

// FillNow cannot know whether a read would wait.
func (a *anyConn) FillNow([]byte) (int, error) { return 0, transport.ErrNothing }
func (a *anyConn) Drained(bool) bool           { return true }
func (a *anyConn) Raw() syscall.RawConn        { return nil }

func (a *anyConn) Ready() bool           { return false }
func (a *anyConn) Info() *transport.Info { return nil }
func (a *anyConn) Free()                 {}
func (a *anyConn) Vectored() bool        { return false }

// overTLS reports whether the stream is TLS: crypto/tls holds bytes that nobody can see,
// and cannot go on after a write that failed.
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

func (a *anyConn) Counters() transport.Counters {
	return transport.Counters{Reads: a.stats.reads.Load(), Writing: a.lock.has(lockDirect) || a.keepalive.flags.Load()&clockPushing != 0}
}

func (a *anyConn) SetReadDeadline(t time.Time) error { return a.base.SetReadDeadline(t) }
func (a *anyConn) StopPolling()                      {}

// Write writes b: a long one in pieces that are counted and have a timeout each.
func (a *anyConn) Write(b, _ []byte, _ transport.How) (int, error) {
	if a.lock.has(lockDirect) { // which means clockPushing here; writeEncoded looks at n
		(*Conn)(a).wakeClock()
		return a.stream.Write(b)
	}
	return a.writePieces(b)
}

func (a *anyConn) writePieces(b []byte) (n int, err error) {
	for {
		piece := b[:min(len(b), maxStreamWrite)]
		k, err := a.writePiece(piece)
		if k < 0 || k > len(piece) {
			return n, transport.ErrWriteCount
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

func (a *anyConn) writePiece(b []byte) (int, error) {
	a.keepalive.flags.Or(clockPushing)
	defer a.keepalive.flags.And(^uint32(clockPushing))
	(*Conn)(a).wakeClock()
	return a.stream.Write(b)
}
