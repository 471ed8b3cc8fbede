// Package conn is WebSocket connections: dialing and accepting them, reading and writing
// messages, keeping them alive and closing them, on top of packages frame and handshake.
//
// A nil context, connection, listener, request or prepared message is the caller's bug:
// the call panics or returns an error, and nothing of the library's own goroutines does.
// Fields of options may be nil, and so may a *Config.
//
// One goroutine reads; it also answers pings and takes part in the close handshake, so
// one must be reading for as long as the connection is wanted. Any goroutine may write,
// set deadlines, ping, shut down and close.
//
// A Poller reads many connections with one goroutine, on a thread of its own. TryRead is
// for loops that must not wait.
package conn

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/transport"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/frame/buffer"
)

// Message is a whole message. Its Data is a view, valid until the next read call on the
// connection.
type Message = frame.Message

// Opcode is the type of a message.
type Opcode = frame.Opcode

// The two types of messages.
const (
	Text   = frame.Text
	Binary = frame.Binary
)

// Conn is a WebSocket connection.
type Conn struct {
	cfg         *Config  // with its defaults in place; other connections may have the same
	base        net.Conn // the lowest connection known: deadlines are set on it, and closing it ends everything at once
	stream      net.Conn // carries the frames, as it was given: base, or the tls.Conn over it
	transport   transport.Transport
	subprotocol string
	compression *compression // nil if none was agreed
	attached    *any         // see Value

	readState readLock
	r         frame.Reader // by the holder of readBusy
	readErr   error        // came together with bytes: due when they are used up; by the holder of readBusy
	msgReader messageReader

	lock            writeLock
	w               frame.Writer   // under lock
	direct          int16          // the longest message for writeEncoded, -1 if none is
	keepWriteBuffer bool           // w keeps its memory between messages, until releaseWriteBuffer
	closeSent       bool           // a Close frame was sent; under lock
	role            frame.Role     // never changes
	ignoreFailFast  bool           // writers wait, also with Config.FailFast; under lock
	vectored        bool           // transport.Vectored
	fills           fills          // how fill fills; by the holder of readBusy
	msgWriter       *messageWriter // the message that NextWriter has open; under lock
	unsent          *buffer.Buffer // what a write that must not wait has left, for the goroutine that goes on; under lock
	unsentLen       int
	control         controlSlots
	outbound        *outbound // nil without Config.Outbound

	deadlines deadlines
	pings     pings
	keepalive keepalive
	stats     stats
	lag       *lagStats     // nil without Config.Timestamps, or where no read is stamped
	recorder  *connRecorder // nil without Config.Recorder

	mu         sync.Mutex
	err        error       // the connection's last word
	closeState *closeState // nil before the first Close frame
	readLimit  int64       // of SetReadLimit, with readLimited

	writeFailure atomic.Pointer[writeEnd] // set when a write has failed: nothing more can be written
	done         chan struct{}            // closed when err is set; made by the first who asks; under mu
	readFree     chan struct{}            // a token for the goroutine that waits for the reading side, made under mu before readWanted is set
}

// closeState has the Close frames of both sides.
type closeState struct {
	sent, received closeFrame
	local          bool          // ours went first
	asked          bool          // Config.Control says whether the peer's is answered
	held           bool          // and left it unanswered: verdict is what read calls return
	lingering      chan struct{} // closed when linger is done; nil if it has not begun
	late           *time.Timer   // of StartClose, until closeLate
	controlErr     error         // what Config.Control has returned with an answer that is sent aside: the next read call's
	verdict        error         // on the peer's Close, which breaks a rule, while its rest is waited for, or with held: then nothing else is the last word
}

type closeFrame struct {
	done   bool
	code   frame.CloseCode
	reason string
}

// ensureCloseState is called with c.mu held.
func (c *Conn) ensureCloseState() *closeState {
	if c.closeState == nil {
		c.closeState = new(closeState)
	}
	return c.closeState
}

// New makes a connection of nc, on which the opening handshake is complete. cfg may be
// nil. The Conn owns nc from then on. New panics if nc is nil.
func New(nc net.Conn, role frame.Role, cfg *Config) *Conn { return newConn(nc, role, cfg, settled{}) }

// settled is the result of the opening handshake, apart from the compression agreed.
type settled struct {
	early       []byte // came after the handshake; copied
	subprotocol string
	value       any // for Conn.Value
}

// newConn also takes what the opening handshake has settled.
func newConn(nc net.Conn, role frame.Role, cfg *Config, s settled) *Conn {
	if nc == nil {
		panic("conn: New without a connection") // the clocks would find out, in a goroutine of their own
	}
	c := &Conn{role: role, base: nc, stream: nc, subprotocol: s.subprotocol}
	if s.value != nil {
		c.attached = attach(s.value)
	}
	c.configure(cfg)
	if c.transport, c.base = transport.New(nc, c.cfg.transport(), (*inlet)(c)); c.transport == nil {
		c.transport = (*anyConn)(c)
	}
	c.vectored = c.transport.Vectored()
	c.startLag()
	c.msgReader.c = c
	c.r.Reset(nil, role, c.cfg.Frame)
	c.r.SetMaxBuffer(c.cfg.ReadBuffer)
	if c.vectored {
		c.w.Reset((*vectorConnWriter)(c), role)
	} else {
		c.w.Reset((*connWriter)(c), role)
	}
	early := s.early
	c.startRecording(early)
	for len(early) > 0 {
		n := copy(c.r.Space(), early)
		c.r.Filled(n)
		c.stats.bytesRead.Add(uint64(n))
		early = early[n:]
	}
	if c.cfg.Outbound != nil {
		c.outbound = new(outbound)
	}
	if c.cfg.Observer != nil {
		c.control.observed = new(observed)
	}
	c.keepWriteBuffer = role == frame.Client || !c.cfg.FailFast && (c.cfg.KeepAlive > 0 || c.cfg.DataTimeout > 0) // then there is a tick
	c.direct = maxDirect
	if c.cfg.FailFast || c.cfg.WriteTimeout > 0 || c.compression != nil || c.outbound != nil {
		c.direct = -1
	}
	c.startClocks()
	return c
}

// configure settles cfg, of which it makes no copy that another connection has made
// already.
func (c *Conn) configure(cfg *Config) {
	full := cfg.withDefaults()
	c.compression = newCompression(c.role, &full)
	full.agreed = nil // it differs from connection to connection
	c.cfg = full.shared(c.role)
}

// Role returns the role of this endpoint.
func (c *Conn) Role() frame.Role { return c.role }

// Subprotocol returns the subprotocol agreed in the handshake, "" if none.
func (c *Conn) Subprotocol() string { return c.subprotocol }

// Value returns the value that Upgrader.Check attached to the request with
// RequestView.SetValue, or nil.
func (c *Conn) Value() any {
	if c.attached == nil {
		return nil
	}
	return *c.attached
}

// attach is apart so that a Conn without a value allocates nothing for it.
func attach(v any) *any { return &v }

// NetConn returns the underlying connection, as given to Dial, Accept or New. Do not
// read, write or close it.
func (c *Conn) NetConn() net.Conn { return c.stream }

// LocalAddr returns this side's network address.
func (c *Conn) LocalAddr() net.Addr { return c.base.LocalAddr() }

// RemoteAddr returns the peer's network address.
func (c *Conn) RemoteAddr() net.Addr { return c.base.RemoteAddr() }

// Err returns the error that ended the connection, or nil while it is open.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Done returns a channel that is closed when the connection ends. Err then returns why.
func (c *Conn) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.err != nil {
			close(c.done)
		}
	}
	return c.done
}

// ended reports whether the connection has ended, without a lock.
func (c *Conn) ended() bool { return c.readState.has(readDone) }

// setFinalErr makes err the connection's last word if it has none, and returns what that
// is. The transport stays.
func (c *Conn) setFinalErr(err error) (last error, first bool) {
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return c.err, false
	}
	if g := c.closeState; g != nil && g.verdict != nil {
		err = g.verdict
	}
	c.err = err
	c.readState.state.Or(readDone)
	c.lock.set(lockEnded)
	c.transport.StopPolling()
	if c.done != nil {
		close(c.done)
	}
	c.stopClocks()
	c.mu.Unlock()
	c.tellPoller()
	c.endRecording()
	if c.cfg.Observer != nil {
		c.observeEnd(err)
	}
	return err, true
}

// observeEnd tells the Observer of the end. If that panics, nobody will come to close the
// transport but here.
func (c *Conn) observeEnd(err error) {
	returned := false
	defer func() {
		if !returned {
			c.closeTransport()
		}
	}()
	c.cfg.Observer.Ended(c, err)
	returned = true
}

// abort is setFinalErr, and closes the transport.
func (c *Conn) abort(err error) error {
	last, _ := c.setFinalErr(err)
	c.closeTransport()
	return last
}

// closeTransport closes the transport at once: never through tls.Conn, whose Close can
// wait for the peer.
func (c *Conn) closeTransport() error {
	c.transport.StopPolling()
	err := c.base.Close()
	c.tryReleaseWriteSide()
	return err
}
