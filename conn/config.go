package conn

import (
	"sync"
	"time"
	"unsafe"
	"weak"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// The defaults of Config.
const (
	DefaultKeepAlive    = 60 * time.Second
	DefaultStallTimeout = 60 * time.Second
	DefaultCloseTimeout = 5 * time.Second
	DefaultWriteBuffer  = 64 << 10
)

// Config holds the options that Dialer, Upgrader and New share. With the zero value all
// rules and limits hold, a ping is sent after 30 s of silence, and the connection ends
// after 60 s of silence or 60 s without progress of a write. There is no other timeout.
type Config struct {
	// Frame holds the limits and relaxed rules for received messages. The handshake sets
	// its Compression.
	Frame frame.Options
	// Deflate, if not nil, compresses messages if the peer agrees: a client offers it,
	// and a server accepts it (RFC 7692). It is for Dialer and Upgrader. New has no
	// handshake; NewAgreed takes what was agreed.
	Deflate *deflate.Config
	// UncheckedText turns off the check that written text is UTF-8 (RFC 6455 §5.6). With
	// the check such text is ErrNotUTF8.
	UncheckedText bool

	// ReadBuffer limits the read buffer in bytes. 0 means frame.DefaultMaxBuffer. The
	// buffer starts small, and grows while reads fill it. Under TLS there is another one
	// for records, of twice the size.
	//
	// An idle connection holds at most twice the bytes received of a message, or 4 KiB,
	// whatever length was declared. Between messages it holds none if it reads a socket
	// itself, as on Linux. The window of decompression, and crypto/tls's buffer for the
	// largest records received, come in addition.
	ReadBuffer int
	// WriteBuffer is how many bytes AppendMessage queues before it flushes by itself. 0
	// means DefaultWriteBuffer.
	WriteBuffer int

	// KeepAlive is the transport clock. Any byte from the peer resets it. After half of
	// it a ping is sent; after all of it the connection ends (*TimeoutError). 0 means
	// DefaultKeepAlive; negative means none.
	//
	// A goroutine, or a Poller, must be reading. While bytes from the peer wait to be
	// read no clock ends the connection; Observer.Slow reports that this side does not
	// read. On Linux the socket is asked for waiting bytes. Another net.Conn can have a
	// method Unread() (n int, ok bool); without it the clocks act only while a goroutine
	// reads.
	//
	// A pending timer makes each wait for bytes slower: 1.6 µs of a 28 µs round trip
	// (tickwire and tickwire-noclock in GOWORK=off go -C bench run ./cmd/compare -run
	// '^echo/128 B, both').
	KeepAlive time.Duration
	// DataTimeout is the data clock: only messages reset it. 0 means none.
	DataTimeout time.Duration
	// PongTimeout limits the wait for the answer to a ping of KeepAlive. Other bytes from
	// the peer do not count. 0 means none; then only the transport clock holds.
	PongTimeout time.Duration
	// StallTimeout is the write clock. If a write waits this long without progress,
	// nothing more is written, and the connection ends with a *TimeoutError after what
	// has come is read. A slow write that progresses does not trigger it; WriteTimeout
	// limits the whole write. 0 means DefaultStallTimeout; negative means none.
	StallTimeout time.Duration
	// CloseTimeout limits the whole close handshake. 0 means DefaultCloseTimeout.
	CloseTimeout time.Duration
	// ReadTimeout ends a read call if no byte comes for this long. The error matches
	// os.ErrDeadlineExceeded, and reading can continue. It is set at most once per read
	// from the socket, and may fire an eighth late. 0 means none.
	ReadTimeout time.Duration
	// WriteTimeout limits each write to the socket in the same way. 0 means none.
	WriteTimeout time.Duration

	// FailFast has write calls return ErrWouldBlock instead of waiting for the peer or
	// for another write. A message already begun is written completely in the background.
	FailFast bool

	// Outbound, if not nil, is asked before anything except a Close frame is sent, for
	// peers that limit what they receive. op is Text, Binary, Ping or Pong. size is the
	// size of the payload, or -1 for a message of NextWriter. It may wait, preferably not
	// after c.Done is closed.
	//
	// An error refuses. The write call, or Ping, returns it, and nothing is written. A
	// refused keepalive ping is retried after KeepAlive/8. A refused pong is dropped; the
	// peer may then close the connection.
	//
	// The write call asks about its message. Pings and pongs are asked about in a
	// goroutine of their own, one at a time. No lock is held, so neither the reader nor
	// other writers wait. If several pings come meanwhile, the newest is answered.
	// Outbound must not call the connection's methods that read, write or ping.
	Outbound func(c *Conn, op Opcode, size int) error

	// Control, if not nil, is asked about each ping, pong and Close from the peer, before
	// it is answered. The reading goroutine calls it inside its read call, whichever that
	// is. payload is a view, valid until Control returns, and must not be changed. Once
	// Shutdown waits for the peer's Close, nothing is answered and Control is not called.
	//
	// answer says whether to answer a ping with a pong, and a Close with a Close. A pong
	// always counts as the answer to our ping. An error ends the read call, which returns
	// it unchanged. The frame is consumed, and the next read call continues after it.
	//
	// After an unanswered Close read calls return the *CloseError, and write calls
	// continue to work. The connection ends, with a *CloseError that has both codes, when
	// our Close is sent by WriteControl, StartClose or Shutdown. It also ends with Close,
	// or by a clock, at the latest that of KeepAlive.
	//
	// Control may call all methods that do not read, and do not wait for a pong or the
	// peer's Close: not Ping, not Shutdown. The reader waits while it runs.
	Control func(c *Conn, op Opcode, payload []byte) (answer bool, err error)

	// ManualClose leaves the end of the connection to the caller. It stays open after
	// both Close frames: read calls return the *CloseError, and write calls ErrShutdown,
	// until Close, Shutdown, StartClose or a clock ends it. Close closes the transport at
	// once, even after our own Close frame. WriteControl does not check the code and
	// reason of a Close. TryRead and a Poller still end the connection after the peer's
	// Close.
	ManualClose bool

	// Syscalls says how a socket is read and written on Linux.
	Syscalls Syscalls
	// Timestamps has Linux stamp received bytes: see LastRead. The stamp costs a clock
	// reading for each read of the socket.
	Timestamps bool
	// LagLimit, with Timestamps, is the lag from which the Observer is told that this
	// side reads too slowly. 0 means never.
	LagLimit time.Duration
	// BacklogLimit does the same for the unread bytes in the kernel.
	BacklogLimit int
	// Observer, if not nil, is told of events on the connection.
	Observer Observer
	// Spin is how long a read polls an empty socket before it waits in the runtime's
	// poller. It saves a wake-up, and keeps a processor busy meanwhile. Linux only; 0
	// means none.
	Spin time.Duration

	// BlockingReads has a waiting read block its thread in the kernel, instead of waiting
	// in the runtime's poller. It is for one connection whose reader has called
	// runtime.LockOSThread: the bytes wake that thread without a scheduler in between.
	// Close, Shutdown, deadlines and clocks end the wait as usual; that takes one more
	// descriptor for each connection. While it waits, the runtime has one thread less on
	// that processor, until it notices. Linux only; elsewhere, and without a socket, it
	// has no effect.
	BlockingReads bool

	// Recorder, if not nil, records everything received, with the time of each read.
	Recorder *Recorder

	agreed *deflate.Params // by the handshake
}

// withDefaults returns cfg with its zero fields replaced; cfg may be nil.
func (cfg *Config) withDefaults() Config {
	var c Config
	if cfg != nil {
		c = *cfg
	}
	if c.agreed != nil {
		c.Frame.Compression = true
	}
	if c.ReadBuffer <= 0 {
		c.ReadBuffer = frame.DefaultMaxBuffer
	}
	if c.WriteBuffer <= 0 {
		c.WriteBuffer = DefaultWriteBuffer
	}
	if c.KeepAlive == 0 {
		c.KeepAlive = DefaultKeepAlive
	}
	if c.StallTimeout == 0 {
		c.StallTimeout = DefaultStallTimeout
	}
	if c.CloseTimeout <= 0 {
		c.CloseTimeout = DefaultCloseTimeout
	}
	return c
}

// lastConfigs are the Configs that the newest client and the newest server have, for as
// long as any connection has them: all connections of one Dialer or Upgrader share one,
// unless others come between that have another.
var lastConfigs [2]struct {
	sync.Mutex
	last weak.Pointer[Config]
}

// shared returns a copy of cfg that nobody changes.
func (cfg *Config) shared(role frame.Role) *Config {
	l := &lastConfigs[role&1]
	l.Lock()
	defer l.Unlock()
	c := l.last.Value()
	if c == nil || !c.same(cfg) {
		c = new(Config)
		*c = *cfg
		l.last = weak.Make(c)
	}
	return c
}

// same reports whether two Configs are the same in each byte: functions, and what
// Observer may hold, cannot be compared otherwise. Between fields there are bytes without
// a meaning, but a difference there costs no more than the sharing.
func (cfg *Config) same(other *Config) bool {
	type bytes = [unsafe.Sizeof(*cfg)]byte
	return *(*bytes)(unsafe.Pointer(cfg)) == *(*bytes)(unsafe.Pointer(other))
}
