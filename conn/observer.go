package conn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// Observer is told of events on connections. The goroutine of the event calls its
// methods, inside a read or write call, so several may run at once. They must return
// soon. Of the connection's methods they may call only Stats and Close.
type Observer interface {
	// Control is called for each ping, pong or Close received or sent. payload is a view,
	// valid until Control returns.
	Control(c *Conn, op frame.Opcode, payload []byte, sent bool)
	// RoundTrip is called for the answer to the newest ping, of Conn.Ping or of the
	// keepalive, with the time since it was sent. It comes after Control for the pong.
	// Pongs that answer none of our pings do not count.
	RoundTrip(c *Conn, rtt time.Duration)
	// Slow is called for a read that exceeded Config.LagLimit or Config.BacklogLimit:
	// this side is the slow consumer. It comes again only after a read below both limits.
	//
	// It is also called, once until this side reads again and from its own goroutine,
	// when a clock of Config would have ended the connection but bytes from the peer wait
	// unread. Backlog is then how many of them are known, and Bytes is 0.
	Slow(c *Conn, i ReadInfo)
	// Ended is called at the end of the connection, with the error that Conn.Err returns.
	Ended(c *Conn, err error)
}

// LastRead describes the last read from the socket, if Config.Timestamps is set and the
// system supports it; otherwise it returns the zero ReadInfo. Only the reading goroutine
// may call it.
func (c *Conn) LastRead() ReadInfo {
	if i := c.transport.Info(); i != nil {
		return ReadInfo(*i)
	}
	return ReadInfo{}
}

// startLag has the stamps of reads looked at, if there are any.
func (c *Conn) startLag() {
	if c.cfg.Timestamps && c.transport.Info() != nil {
		c.lag = &lagStats{reads: c.transport.Counters().Reads}
	}
}

// stamped looks at the stamp of the last read, if that is a new one: under TLS a fill
// need not read the socket.
func (c *Conn) stamped() {
	s := c.lag
	reads := c.transport.Counters().Reads
	if reads == s.reads {
		return
	}
	s.reads = reads
	info := c.LastRead()
	lag := info.Lag()
	storeMax(&s.maxBacklog, int64(info.Backlog))
	if !info.Kernel.IsZero() {
		storeMax(&s.maxLag, int64(lag))
		s.lag.Add(int64(lag))
		s.stamped.Add(1)
	}
	if c.cfg.Observer == nil {
		return
	}
	late := c.cfg.LagLimit > 0 && lag >= c.cfg.LagLimit || c.cfg.BacklogLimit > 0 && info.Backlog >= c.cfg.BacklogLimit
	if late && !c.control.observed.lagReported {
		c.cfg.Observer.Slow(c, info)
	}
	c.control.observed.lagReported = late
}

// observe tells the Observer of a control frame.
func (c *Conn) observe(op frame.Opcode, payload []byte, sent bool) {
	if c.cfg.Observer != nil {
		c.cfg.Observer.Control(c, op, payload[:len(payload):len(payload)], sent)
	}
}

// observeClose is observe for our Close frame.
func (c *Conn) observeClose(code frame.CloseCode, reason string) {
	if c.cfg.Observer == nil {
		return
	}
	var body [frame.MaxControlPayload]byte
	payload, _ := frame.AppendClose(body[:0], c.role, code, reason)
	c.observe(frame.Close, payload, true)
}

// observed is what the Observer is told of control frames, and what of that is no longer
// in the slots then.
type observed struct {
	ping    [pingSize]byte // the last two that were taken from the slots; under the write lock
	pong    [frame.MaxControlPayload]byte
	pongLen int

	pingedAt atomic.Int64 // the moment of the newest ping

	lagReported bool // the Observer was told of the lag; by the holder of readBusy
}

// keep keeps what is taken from the slots. The caller holds the write lock, and s.mu.
func (o *observed) keep(s *controlSlots) {
	if o == nil {
		return
	}
	if s.hasPing {
		o.ping = s.ping
	}
	if s.hasPong {
		o.pongLen = copy(o.pong[:], s.pong)
	}
}

// tell tells of what was sent. The caller holds the write lock.
func (o *observed) tell(c *Conn, ping, pong bool) {
	if ping {
		c.observe(frame.Ping, o.ping[:], true)
	}
	if pong {
		c.observe(frame.Pong, o.pong[:o.pongLen], true)
	}
}

// pinged is told that the newest ping goes out now.
func (o *observed) pinged() {
	if o != nil {
		o.pingedAt.Store(int64(monotimeOf(time.Now())))
	}
}

// answered is told that the newest ping was answered.
func (o *observed) answered(c *Conn) {
	if o != nil {
		c.cfg.Observer.RoundTrip(c, monotimeOf(time.Now()).since(monotime(o.pingedAt.Load())))
	}
}

// LogObserver returns an Observer that logs to logger: Warn for a late read and a lost
// connection, Info for a closed one, Debug for control frames and round trips.
func LogObserver(logger *slog.Logger) Observer { return &logObserver{logger} }

type logObserver struct{ logger *slog.Logger }

func (l *logObserver) log(level slog.Level, c *Conn, text string, attrs ...slog.Attr) {
	ctx := context.Background()
	if !l.logger.Enabled(ctx, level) {
		return
	}
	if peer := c.RemoteAddr(); peer != nil { // a transport that is no socket may have none
		attrs = append(attrs, slog.String("peer", fmt.Sprint(peer))) // not String, which may panic for a nil pointer
	}
	l.logger.LogAttrs(ctx, level, text, attrs...)
}

func (l *logObserver) Control(c *Conn, op frame.Opcode, payload []byte, sent bool) {
	if !l.logger.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	attrs := []slog.Attr{slog.String("frame", op.String()), slog.Bool("sent", sent), slog.Int("bytes", len(payload))}
	if op == frame.Close {
		code, reason, _ := frame.ParseClose(payload)
		attrs = append(attrs, slog.Int("code", int(code)), slog.String("reason", string(reason)))
	}
	l.log(slog.LevelDebug, c, "websocket: control frame", attrs...)
}

func (l *logObserver) RoundTrip(c *Conn, rtt time.Duration) {
	l.log(slog.LevelDebug, c, "websocket: ping answered", slog.Duration("rtt", rtt))
}

func (l *logObserver) Slow(c *Conn, i ReadInfo) {
	l.log(slog.LevelWarn, c, "websocket: read late", slog.Duration("lag", i.Lag()), slog.Int("backlog", i.Backlog))
}

func (l *logObserver) Ended(c *Conn, err error) {
	var closed *CloseError
	level, text := slog.LevelWarn, "websocket: lost"
	if errors.As(err, &closed) || errors.Is(err, ErrClosed) {
		level, text = slog.LevelInfo, "websocket: closed"
	}
	l.log(level, c, text, slog.String("error", err.Error()))
}
