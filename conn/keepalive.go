package conn

import (
	"sync/atomic"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/transport"
)

// keepalive checks whether the peer is alive, and takes what is written. It reads
// counters from time to time, so that a message or a read costs nothing. An event may
// have happened at any time since the last check, so a limit is exceeded by an eighth at
// most.
type keepalive struct {
	timer *time.Timer   // nil if no clock is on
	flags atomic.Uint32 // see below

	// What follows is the tick's alone.
	told     bool // the Observer was told that this side does not read
	pinged   bool // since the last byte
	pingGone bool // Config.Outbound, if there is one, has let it go
	spared   byte // looks in a row at which a read call was just taking what would have been too late

	// Seen at the last look; of the messages the lower half of their number, which tells
	// that there was one.
	checkedAt                  monotime
	bytes                      uint64
	messagesRead, messagesSent uint32

	byteAt, dataAt monotime
	ping           uint64
	pingAt         monotime
	stall          *stallWatch // nil while no write waits
}

// The flags of clocks.
const (
	clockIdle    = 1 << iota // timer does not run: see lazyClock; written under Conn.mu
	clockPushing             // stream is being written to, where that is no socket and not over records
)

// A monotime is a time.Time in a third of its memory: how long after epoch.
type monotime time.Duration

var epoch = time.Now()

func monotimeOf(t time.Time) monotime { return monotime(t.Sub(epoch)) }

// since returns the time between two moments.
func (m monotime) since(before monotime) time.Duration { return time.Duration(m - before) }

// checkEvery returns the time between looks, 0 if no clock is on.
func (cfg *Config) checkEvery() (period time.Duration) {
	for _, limit := range [...]time.Duration{cfg.KeepAlive, cfg.DataTimeout, cfg.StallTimeout, cfg.releaseIdle()} {
		if limit > 0 && (period == 0 || limit/8 < period) {
			period = max(limit/8, 1)
		}
	}
	return period
}

// lazyClock reports whether the timer is to run only while a write waits: nothing else
// needs it, and a pending timer makes each wait for bytes slower (see Config.KeepAlive).
func (c *Conn) lazyClock() bool {
	return c.cfg.KeepAlive <= 0 && c.cfg.DataTimeout <= 0 && c.cfg.releaseIdle() <= 0 && c.cfg.StallTimeout > 0
}

func (c *Conn) startClocks() {
	k := &c.keepalive
	period := c.cfg.checkEvery()
	if period == 0 {
		return
	}
	k.byteAt = monotimeOf(time.Now())
	k.dataAt, k.checkedAt = k.byteAt, k.byteAt
	c.mu.Lock() // the first tick may come before timer is set
	defer c.mu.Unlock()
	if c.lazyClock() {
		k.flags.Or(clockIdle)
	} else {
		k.timer = time.AfterFunc(period, c.tick)
	}
}

// wakeClock starts the timer if it is idle.
func (c *Conn) wakeClock() {
	k := &c.keepalive
	if k.flags.Load()&clockIdle == 0 { // so is it with each write but the first while the timer runs
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case k.flags.Load()&clockIdle == 0 || c.err != nil:
		return
	case k.timer == nil:
		k.timer = time.AfterFunc(c.cfg.checkEvery(), c.tick)
	default:
		k.timer.Reset(c.cfg.checkEvery())
	}
	k.flags.And(^uint32(clockIdle))
}

// stopClocks is called with c.mu held.
func (c *Conn) stopClocks() {
	if c.keepalive.timer != nil {
		c.keepalive.timer.Stop()
	}
	if w := c.writeFailure.Load(); w != nil && w.timer != nil {
		w.timer.Stop()
	}
	c.closeState.stopLate()
}

func (c *Conn) tick() {
	now := monotimeOf(time.Now())
	c.passOverSleep(now)
	if err := c.stalled(now); err != nil {
		c.endWriting(err)
	}
	if c.writeFailure.Load() != nil {
		return // what is still to be read has a limit of its own
	}
	next, err := c.check(now)
	if err != nil {
		c.abort(err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
	case c.lazyClock():
		c.keepalive.flags.Or(clockIdle)
		if !c.lock.has(lockHeld) { // after idle was set: a write that begins now sees one of the two
			c.keepalive.stall = nil
			return
		}
		c.keepalive.flags.And(^uint32(clockIdle))
		c.keepalive.timer.Reset(next)
	default:
		c.keepalive.timer.Reset(next)
	}
}

// passOverSleep has time not count in which this process did not run, or too seldom to
// look: it was stopped, say. What the peer did then shows only now.
func (c *Conn) passOverSleep(now monotime) {
	k, period := &c.keepalive, c.cfg.checkEvery()
	if late := now.since(k.checkedAt) - period; late > period {
		k.byteAt += monotime(late)
		k.dataAt += monotime(late)
		k.pingAt += monotime(late)
		if k.stall != nil {
			k.stall.at += monotime(late)
		}
	}
	k.checkedAt = now
}

// check returns when to look again, or the error of the clock that has run out.
func (c *Conn) check(now monotime) (next time.Duration, err error) {
	k := &c.keepalive
	bytes, messages := c.received(), uint32(c.readState.delivered())
	// A reader that is still taking what came before has not listened since: that is no
	// silence of the peer's.
	if bytes != k.bytes || messages != k.messagesRead {
		k.byteAt, k.pinged, k.told = now, false, false
	}
	if messages != k.messagesRead {
		k.dataAt = now
	}
	k.bytes, k.messagesRead = bytes, messages
	c.releaseCompressor(now)
	if sent := uint32(c.messagesWritten()); sent == k.messagesSent {
		c.releaseWriteBuffer()
	} else {
		k.messagesSent = sent
	}
	next, dead := c.silent(now)
	if dead == nil {
		k.spared = 0
		return next, nil
	}
	n, waits, at := c.unread()
	reads := at == readerFills || at == readerWorks && k.byteAt == now
	switch {
	case !waits, reads && k.spared == maxSpared:
		return 0, dead
	case reads: // at the moment of the look: at the next one it has what it takes
		k.spared++
	default:
		k.byteAt, k.dataAt, k.pingAt, k.spared = now, now, now, 0
		c.reportUnread(n)
	}
	return next, nil
}

// maxSpared is how often in a row a clock that has run out waits for the next look
// because of what a read call is taking: a peer that sends without end, but not what the
// clock waits for, gets another limit's time at most.
const maxSpared = 8

// received changes whenever bytes come, under TLS those of records too, and with each
// Ping and Pong that is taken out of them.
func (c *Conn) received() uint64 {
	return c.stats.bytesRead.Load() + c.stats.pingsRead.Load() + c.stats.pongsRead.Load() + c.transport.Counters().Received
}

// silent asks for a ping when it is time, and returns when to look again, and the error
// of the clock that would have run out if nothing that the peer has sent were waiting
// here.
func (c *Conn) silent(now monotime) (next time.Duration, dead error) {
	k := &c.keepalive
	next = c.cfg.checkEvery()
	if limit := c.cfg.DataTimeout; limit > 0 && now.since(k.dataAt) >= limit {
		return next, &TimeoutError{Clock: ClockData, Limit: limit}
	}
	limit := c.cfg.KeepAlive
	if limit <= 0 {
		return next, nil
	}
	if k.ping != 0 {
		c.checkPing(now)
	}
	switch silence := now.since(k.byteAt); {
	case silence >= limit:
		return next, &TimeoutError{Clock: ClockTransport, Limit: limit}
	case silence >= limit/2 && !k.pinged:
		k.pinged = true
		number := c.sendPing(nil)
		if k.ping == 0 {
			k.ping, k.pingAt, k.pingGone = number, now, c.outbound == nil
		}
	}
	if limit := c.cfg.PongTimeout; limit > 0 && k.ping != 0 {
		left := limit - now.since(k.pingAt)
		if left <= 0 {
			return next, &TimeoutError{Clock: ClockPong, Limit: limit}
		}
		next = min(next, left)
	}
	return next, nil
}

// checkPing notes what has become of the ping that PongTimeout waits for.
func (c *Conn) checkPing(now monotime) {
	k := &c.keepalive
	switch state, sentAt := c.pingState(k.ping); state {
	case pingAnswered:
		k.ping = 0
	case pingAsking:
		k.pingAt = now
	case pingRefused:
		k.ping, k.pinged = 0, false
	case pingSent:
		if !k.pingGone {
			k.pingAt, k.pingGone = monotimeOf(sentAt), true
		}
	}
}

// unread reports whether something that the peer has sent waits for this side: in the
// kernel, in the buffers, or in a read call that is at work. n is how many bytes of it
// can be seen. Where the transport cannot be looked into, a side that does not read
// cannot say that nothing came.
func (c *Conn) unread() (n int, waits bool, at readerState) {
	inflating, known := false, true
	s := c.readState.state.Load()
	if s&readClosed != 0 {
		return 0, false, readerAway // what is here will not be read
	}
	away := s&readBusy == 0 && c.readState.take(s, readLooked)
	if away { // no read call runs
		if s&readStarved == 0 || c.transport.Ready() { // otherwise there is the beginning of something at most
			n, known = c.transport.Held()
			n += c.r.Pending() + len(c.msgReader.rest)
			inflating = c.msgReader.compressed && !c.msgReader.framed // nobody knows what is still to come out
		}
		c.addReaders(s&readParked - readBusy - readLooked)
	} else if at = readerFills; !c.deadlines.filling.Load() {
		return 0, true, readerWorks
	}
	more, ok := transport.Unread(c.base)
	ok = ok && known
	return n + more, n+more > 0 || inflating || away && !ok, at
}

// A readerState is what the goroutine that reads is doing.
type readerState byte

const (
	readerAway  readerState = iota // no read call runs
	readerFills                    // it reads from the transport
	readerWorks                    // it is busy with what it has, or in a hook
)

// reportUnread tells the Observer, once, that this side does not read what has come.
func (c *Conn) reportUnread(n int) {
	if c.cfg.Observer == nil || c.keepalive.told {
		return
	}
	c.keepalive.told = true
	c.cfg.Observer.Slow(c, ReadInfo{User: time.Now(), Backlog: n})
}

// stallWatch is how far a write was when that was last seen to change.
type stallWatch struct {
	progress writeProgress
	at       monotime
}

// writeProgress changes with every write that ends, whenever the kernel takes bytes, and
// whenever the peer's kernel does.
type writeProgress struct {
	direct, writes, bytes, below uint64
	waits                        uint64
	unsent                       int
}

// stalled returns the error of the write clock if it has run out: the same write has
// waited for all of StallTimeout without progress.
func (c *Conn) stalled(now monotime) error {
	k, limit := &c.keepalive, c.cfg.StallTimeout
	t := c.transport.Counters()
	if limit <= 0 || !t.Writing {
		k.stall = nil
		return nil
	}
	p := writeProgress{direct: c.lock.state.Load() / lockCount, writes: c.stats.writes.Load(), bytes: c.stats.bytesWritten.Load(),
		below: t.Writes, waits: t.WriteWaits}
	p.unsent, _ = transport.Unsent(belowTunnel(c.base))
	switch {
	case k.stall == nil:
		k.stall = &stallWatch{p, now}
	case k.stall.progress != p:
		*k.stall = stallWatch{p, now}
	case now.since(k.stall.at) >= limit:
		return &TimeoutError{Clock: ClockWrite, Limit: limit}
	}
	return nil
}
