package websocket

import (
	"crypto/tls"
	"errors"
	"math"
	"net"
	"sync/atomic"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/frame/buffer"
)

const (
	defaultWriteBufferSize  = 4096
	defaultCompressionLevel = 1
	minCompressionLevel     = -2
	maxCompressionLevel     = 9
)

// BufferPool is a pool of buffers, such as a *sync.Pool. Only this package uses its
// contents.
type BufferPool interface {
	// Get returns a value from Put, or nil.
	Get() any
	// Put returns a value to the pool.
	Put(any)
}

// Conn is a WebSocket connection.
type Conn struct {
	ws *conn.Conn

	// Of the goroutine that reads.
	reader      *messageReader // of NextReader; nil after the end of its message
	readErr     error          // final
	readErrs    int            // read calls that have returned it
	handled     error          // the last error of control
	handlePing  func(string) error
	handlePong  func(string) error
	handleClose func(int, string) error // nil means the default, for all three

	// Of the goroutine that writes.
	writer            *messageWriter // of NextWriter; nil if none is open
	writeBuf          []byte         // of writer
	lent              *buffer.Buffer // contains writeBuf; nil with a pool
	writePool         BufferPool
	writeBufSize      int
	writeDeadline     time.Time
	compressionAgreed bool
	compressionOn     bool // of EnableWriteCompression
	level             int8

	writing  atomic.Bool           // a write is in progress
	writeErr atomic.Pointer[error] // final
	closed   atomic.Bool
}

// settings are what a Dialer or Upgrader sets for a connection.
type settings struct {
	readBuffer, writeBuffer int
	pool                    BufferPool
	subprotocol             string
	early                   []byte
	deflate                 *deflate.Params // nil if compression was not agreed
	options                 Options
}

// All connections share these: see conn.Config.
var (
	relaxedDeflate = deflate.Config{Level: defaultCompressionLevel, Threshold: -1, KeptTail: true, MaxInflated: -1}
	strictDeflate  = deflate.Config{Level: defaultCompressionLevel, Threshold: -1}
)

// engine returns the Config of the connection below.
func (s *settings) engine() conn.Config {
	cfg := conn.Config{
		UncheckedText: true,
		KeepAlive:     -1,
		StallTimeout:  -1,
		WriteBuffer:   1, // each frame of NextWriter is sent at once
		Control:       control,
		ManualClose:   true,
		ReadBuffer:    max(frame.DefaultMaxBuffer, s.readBuffer),
	}
	packed := &strictDeflate
	if !s.options.Strict {
		packed = &relaxedDeflate
		cfg.Frame = frame.Options{
			MaxMessage: math.MaxInt64, MaxFragments: -1, MaxControlPerMessage: -1, AllowNonMinimal: true, SkipUTF8: true,
		}
	}
	if s.deflate != nil {
		cfg.Deflate = packed
	}
	return cfg
}

// open makes a connection of nc, after its opening handshake.
func open(nc net.Conn, role frame.Role, s *settings) (*Conn, error) {
	if s.writeBuffer <= 0 {
		s.writeBuffer = defaultWriteBufferSize
	}
	c := &Conn{writePool: s.pool, writeBufSize: s.writeBuffer, compressionAgreed: s.deflate != nil, compressionOn: true, level: defaultCompressionLevel}
	cfg := s.engine()
	ws, err := conn.NewAgreed(nc, role, &cfg, conn.Agreed{Subprotocol: s.subprotocol, Deflate: s.deflate, Early: s.early, Value: c})
	c.ws = ws
	return c, err
}

// Subprotocol returns the agreed subprotocol, or "".
func (c *Conn) Subprotocol() string { return c.ws.Subprotocol() }

// LocalAddr returns this side's network address.
func (c *Conn) LocalAddr() net.Addr { return c.ws.LocalAddr() }

// RemoteAddr returns the peer's network address.
func (c *Conn) RemoteAddr() net.Addr { return c.ws.RemoteAddr() }

// NetConn returns the connection below. Do not read it or write to it.
func (c *Conn) NetConn() net.Conn { return c.ws.NetConn() }

// UnderlyingConn is NetConn.
//
// Deprecated: Use NetConn.
func (c *Conn) UnderlyingConn() net.Conn { return c.ws.NetConn() }

// Close closes the connection below at once, without a Close frame. Waiting read and
// write calls return.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return c.opError("close", net.ErrClosed)
	}
	// Send close_notify, unless a write is stuck: crypto/tls would wait for it.
	if t, ok := c.ws.NetConn().(*tls.Conn); ok && c.ws.Err() == nil && !c.writing.Load() {
		err := t.Close()
		_ = c.ws.Close()
		return err
	}
	return c.ws.Close()
}

// SetReadDeadline sets the time at which reads fail with a timeout; zero means never.
// After a timeout all read calls fail.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.ws.SetReadDeadline(t) }

// SetWriteDeadline sets the time at which writes fail with a timeout; zero means never.
// After a timeout all write calls fail. WriteControl has its own deadline.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.writeDeadline = t
	return c.ws.SetWriteDeadline(t)
}

// SetReadLimit bounds the bytes of a message as received, in all its frames. A longer
// message is ErrReadLimit. Zero or less means no limit.
func (c *Conn) SetReadLimit(limit int64) {
	if limit <= 0 {
		limit = math.MaxInt64
	}
	c.ws.SetReadLimit(limit)
}

// EnableWriteCompression turns compression on or off for later text and binary messages.
// It does nothing if compression was not agreed.
func (c *Conn) EnableWriteCompression(enable bool) { c.compressionOn = enable }

// SetCompressionLevel sets the compression level of later messages: a level of package
// compress/flate, from -2 to 9.
func (c *Conn) SetCompressionLevel(level int) error {
	if level < minCompressionLevel || level > maxCompressionLevel {
		return errors.New("websocket: invalid compression level")
	}
	c.level = int8(level)
	return nil
}

// engineLevel returns the level of the next message in the numbering of package conn.
func (c *Conn) engineLevel() int {
	switch {
	case !c.compressionAgreed || !c.compressionOn:
		return conn.Uncompressed
	case c.level == -1:
		return 6 // the level that compress/flate uses
	case c.level == 0:
		return deflate.Stored
	}
	return int(c.level)
}
