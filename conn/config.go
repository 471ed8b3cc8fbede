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

// Config is what Dialer, Upgrader and New share. The zero value is ready: all rules and limits on, a ping after 30 s of
// silence and the end after 60, the end after 60 s without progress of a write, no other timeout.
type Config struct {
	// Frame are the limits and relaxed rules for what is received. Its Compression is set by the handshake.
	Frame frame.Options
	// Deflate, if not nil, has messages compressed if the peer agrees: a client offers
	// it, a server accepts it (RFC 7692). It is for Dialer and Upgrader; New has no
	// handshake to agree in, and NewAgreed is told what was agreed.
	Deflate *deflate.Config
	// UncheckedText gives up the check that written text is UTF-8 (RFC 6455 §5.6), which is ErrNotUTF8 otherwise.
	UncheckedText bool

	// ReadBuffer bounds the read buffer in bytes; 0 means frame.DefaultMaxBuffer. The buffer starts small and grows while
	// reads fill it. Under TLS there is another, of twice the size, for records.
	//
	// A connection that waits holds at most twice the bytes that have come of a message, or 4 KiB, whatever length was
	// declared; none between messages if it reads a socket itself, as on Linux. What inflates messages has its window
	// beside that, and crypto/tls a buffer for the largest records that came.
	ReadBuffer int
	// WriteBuffer is how many bytes AppendMessage lets wait for Flush before it flushes by itself; 0 means
	// DefaultWriteBuffer.
	WriteBuffer int

	// KeepAlive is the transport clock: any byte from the peer resets it, a ping goes out after half of it, and after the
	// whole the connection is dead (*TimeoutError). 0 means DefaultKeepAlive, negative none.
	//
	// A goroutine, or a Poller, must be reading. While bytes of the peer's wait to be
	// read no clock judges the peer dead, whatever its limit: Observer.Slow tells that
	// this side does not read. On Linux the socket is looked into; another net.Conn can
	// have a method Unread() (n int, ok bool), and without it is not judged but while a
	// goroutine reads.
	//
	// With a timer pending, whosever it is, the Go runtime takes longer to wait for bytes: of a round trip of 28 µs on one
	// processor that is some 1.6 (tickwire and tickwire-noclock in GOWORK=off go -C bench run ./cmd/compare -run '^echo/128 B, both').
	KeepAlive time.Duration
	// DataTimeout is the data clock: only messages reset it. 0 means none.
	DataTimeout time.Duration
	// PongTimeout is how long the answer to a ping of KeepAlive may take. Any other byte from the peer does not count.
	// 0 means none: then only the transport clock judges.
	PongTimeout time.Duration
	// StallTimeout is the write clock: when a write has waited for so long and the kernels have taken no byte of it, nothing
	// more is written, and the connection ends with a *TimeoutError once what has come is read. It judges progress, not how
	// long a write takes; WriteTimeout bounds that. 0 means DefaultStallTimeout, negative none.
	StallTimeout time.Duration
	// CloseTimeout bounds the whole close handshake; 0 means DefaultCloseTimeout.
	CloseTimeout time.Duration
	// ReadTimeout ends a read call for which no byte has come for so long, with an error that matches
	// os.ErrDeadlineExceeded; reading can go on. It is armed once per read from the socket at most and may fire an eighth
	// late. 0 means none.
	ReadTimeout time.Duration
	// WriteTimeout bounds each write to the socket in the same way. 0 means none.
	WriteTimeout time.Duration

	// FailFast has write calls fail with ErrWouldBlock where they would wait for the peer, or for another write. A message
	// that was begun goes out whole in the background.
	FailFast bool

	// Outbound, if not nil, is asked before anything goes out but the Close frame: op is Text, Binary, Ping or Pong, and size that
	// of the payload, -1 for a message of NextWriter. It is for peers that limit what they receive. It may wait, best no longer
	// than until c.Done is closed. An error refuses: a message is not written, and its write call returns the error; so Ping; a ping
	// of KeepAlive is asked about again an eighth of that later; a pong is left out, which the peer may take for a sign of death.
	//
	// About a message it is asked by the write call, about pings and pongs in a goroutine of their own, one at a time; always
	// with no lock held, so neither the reader nor other writers wait for it. Of the pings that come meanwhile the newest is
	// answered. It must not call the connection's methods that read, write or ping.
	Outbound func(c *Conn, op Opcode, size int) error

	// Control, if not nil, is asked about each ping, pong and Close that comes, before it
	// is answered: by the goroutine that reads, within its read call, whichever that is.
	// payload is a view, valid until Control returns, and not to be changed. It is not
	// asked once Shutdown waits for the peer's Close: nothing is answered then.
	//
	// answer says whether a ping is answered with a pong, and a Close with a Close. A
	// pong counts as the answer to a ping of ours in any case. An error ends the read
	// call, which returns it as it is. The frame is used up, and the next read call goes
	// on after it.
	//
	// After a Close that is not answered read calls return the *CloseError, and write
	// calls go on. The connection ends, with a *CloseError that has both codes, once our
	// Close was sent, by WriteControl, StartClose or Shutdown; with Close; or with a
	// clock, that of KeepAlive at the latest.
	//
	// Control may call all methods that do not read or wait for a pong or the peer's
	// Close: not Ping, not Shutdown. The reader waits while it runs.
	Control func(c *Conn, op Opcode, payload []byte) (answer bool, err error)

	// ManualClose leaves the end of the connection to the caller. After both Close frames
	// it stays open: read calls return the *CloseError, write calls ErrShutdown, until
	// Close, Shutdown, StartClose or a clock ends it. Close closes the transport at once,
	// also after our own Close frame. WriteControl writes the payload of a Close as it is,
	// with no check of its code and reason.
	ManualClose bool

	// Syscalls says how a socket is read and written on Linux.
	Syscalls Syscalls
	// Timestamps has Linux stamp what it receives: see LastRead. The stamp costs a clock reading per read of the socket.
	Timestamps bool
	// LagLimit and BacklogLimit, with Timestamps, are the lag and the bytes left in the kernel from which the Observer
	// hears that this side reads too slowly. 0 means never.
	LagLimit     time.Duration
	BacklogLimit int
	// Observer, if not nil, hears of what happens on the connection.
	Observer Observer
	// Spin is how long a read polls an empty socket before it parks in the runtime's poller. It saves a wake-up and costs a
	// processor: nothing else runs there meanwhile. Linux only; 0 means none.
	Spin time.Duration

	// BlockingReads has a read that waits block its thread in the kernel, instead of
	// handing the goroutine to the runtime's poller. It is for one line whose reader has
	// called runtime.LockOSThread: the bytes wake that thread, and no scheduler stands
	// between. Close, Shutdown, deadlines and clocks end the wait as ever, with a
	// descriptor more for each such connection. While it waits the runtime has a thread
	// less on that processor, until it finds out. Linux only; elsewhere, and over what
	// is no socket, it changes nothing.
	BlockingReads bool

	// Recorder, if not nil, keeps all that is received, with the times at which it was read.
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

// lastConfigs are the Configs that the newest client and the newest server have, for as long as any connection has them: all
// connections of one Dialer or Upgrader share one, unless others come between that have another.
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

// same reports whether two Configs are the same in each byte: functions, and what Observer may hold, cannot be compared otherwise.
// Between fields there are bytes without a meaning, but a difference there costs no more than the sharing.
func (cfg *Config) same(other *Config) bool {
	type bytes = [unsafe.Sizeof(*cfg)]byte
	return *(*bytes)(unsafe.Pointer(cfg)) == *(*bytes)(unsafe.Pointer(other))
}
