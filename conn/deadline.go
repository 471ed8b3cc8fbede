package conn

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// deadlines are those of the caller, and those that Config and the close handshake put
// beside them.
type deadlines struct {
	mu                  sync.Mutex
	times               *deadlineTimes // nil while none was ever set
	changed             chan struct{}
	readDeadlineDropped bool        // Shutdown or linger reads: the caller's read deadline does not count
	owned               bool        // own is in force: see ownWrites
	filling             atomic.Bool // a read call waits for the transport: not under mu
}

type deadlineTimes struct {
	read, write time.Time // the caller's
	closing     time.Time // the end of the close handshake: from its start on the caller's write deadline does not count
	armedRead   time.Time // what Config.ReadTimeout has set
	armedWrite  time.Time // what Config.WriteTimeout has set
	own         time.Time // of who has the write lock, in the place of the caller's write deadline
	line        *pollLine // nil without a Poller
}

// lock takes mu, and returns the times under it.
func (d *deadlines) lock() *deadlineTimes {
	d.mu.Lock()
	if d.times == nil {
		d.times = new(deadlineTimes)
	}
	return d.times
}

// readUntil returns the caller's read deadline, zero where it does not count. The caller
// has mu.
func (d *deadlines) readUntil() time.Time {
	if d.times == nil || d.readDeadlineDropped {
		return time.Time{}
	}
	return d.times.read
}

// SetReadDeadline sets the time at which read calls fail with an error that matches
// os.ErrDeadlineExceeded. The zero time means never. It holds until it is set again. A
// passed deadline does not end the connection: with a later one reading continues where
// it stopped, even in the middle of a frame.
func (c *Conn) SetReadDeadline(t time.Time) error {
	d := &c.deadlines
	times := d.lock()
	defer d.mu.Unlock()
	times.read = t
	w := c.writeFailure.Load()
	switch {
	case d.readDeadlineDropped:
		return nil
	case w != nil && w.over.Load():
		t = earlier(t, time.Now().Add(lastWait)) // a read that waits is not to wait longer
	}
	return c.setReadDeadline(earlier(t, times.armedRead)) // a read that waits keeps its ReadTimeout
}

// setReadDeadline puts a deadline on the transport. The caller has deadlines.mu.
func (c *Conn) setReadDeadline(t time.Time) error {
	times := c.deadlines.times
	if times == nil || times.line == nil {
		return c.transport.SetReadDeadline(t)
	}
	l := times.line
	err := c.transport.SetReadDeadline(l.deadline(t))
	if l.halted.Load() {
		l.post(newsDeadline) // not before: a feeder would meet the old one once more
	}
	return err
}

// setWriteDeadline puts a deadline on the transport. When nothing more can be written it
// stays in the past, so that no write waits. The caller has deadlines.mu.
func (c *Conn) setWriteDeadline(t time.Time) error {
	if c.writeFailure.Load() != nil {
		t = past
	}
	return c.base.SetWriteDeadline(t)
}

// SetWriteDeadline sets the time at which write calls fail with an error that matches
// os.ErrDeadlineExceeded. The zero time means never. It holds until it is set again. If
// it passes when a part of a frame was written, the connection ends. Pings are answered
// even after it has passed, and WriteControl has its own deadline.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	d := &c.deadlines
	times := d.lock()
	defer d.mu.Unlock()
	times.write, times.armedWrite = t, time.Time{}
	if !times.closing.IsZero() {
		return nil
	}
	d.wakeWaiters()
	if d.owned {
		return nil // it comes to the transport with disownWrites
	}
	return c.setWriteDeadline(t)
}

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

func (d *deadlines) wakeWaiters() {
	if d.changed != nil {
		close(d.changed)
		d.changed = nil
	}
}

// startClosing bounds writes by the end of the close handshake, which is returned. The
// earliest of several calls counts.
func (c *Conn) startClosing(until time.Time) time.Time {
	d := &c.deadlines
	times := d.lock()
	defer d.mu.Unlock()
	if times.closing.IsZero() || until.Before(times.closing) {
		times.closing = until
		d.wakeWaiters()
		_ = c.setWriteDeadline(d.writeUntil())
	}
	return times.closing
}

// dropReadDeadline puts a deadline of its own in the place of the caller's read
// deadlines, from now on.
func (c *Conn) dropReadDeadline(until time.Time) {
	d := &c.deadlines
	d.mu.Lock()
	defer d.mu.Unlock()
	d.readDeadlineDropped = true
	_ = c.setReadDeadline(until)
}

// writeTimer returns what ends a wait for the write lock: a timer, nil if there is no
// deadline, and a channel that is closed when the deadline changes.
func (d *deadlines) writeTimer(timeout time.Duration) (timer *time.Timer, changed <-chan struct{}, over bool) {
	times := d.lock()
	defer d.mu.Unlock()
	until := times.write
	if !times.closing.IsZero() {
		until = times.closing
	} else if timeout > 0 {
		until = earlier(until, time.Now().Add(timeout))
	}
	if !until.IsZero() {
		left := time.Until(until)
		if left <= 0 {
			return nil, nil, true
		}
		timer = time.NewTimer(left)
	}
	if d.changed == nil {
		d.changed = make(chan struct{})
	}
	return timer, d.changed, false
}

// armRead puts Config.ReadTimeout on the transport, if what is set there is not near
// enough.
func (c *Conn) armRead() {
	d := &c.deadlines
	now := time.Now()
	times := d.lock()
	defer d.mu.Unlock()
	if d.readDeadlineDropped {
		return
	}
	if at, ok := arm(times.armedRead, now, c.cfg.ReadTimeout); ok {
		times.armedRead = at
		_ = c.setReadDeadline(earlier(times.read, at))
	}
}

// armWrite is armRead for Config.WriteTimeout.
func (c *Conn) armWrite() {
	d := &c.deadlines
	now := time.Now()
	times := d.lock()
	defer d.mu.Unlock()
	if !times.closing.IsZero() || d.owned {
		return
	}
	if at, ok := arm(times.armedWrite, now, c.cfg.WriteTimeout); ok {
		times.armedWrite = at
		_ = c.setWriteDeadline(earlier(times.write, at))
	}
}

// writeUntil returns the write deadline in force. The caller has mu.
func (d *deadlines) writeUntil() time.Time {
	t := d.times
	switch {
	case t == nil:
		return time.Time{}
	case d.owned:
		return earlier(t.own, t.closing)
	case !t.closing.IsZero():
		return t.closing
	}
	return earlier(t.write, t.armedWrite)
}

// ownWrites puts a deadline, zero for none, in the place of the caller's write deadlines,
// until disownWrites: for control frames, which a passed deadline is not to hold back.
// The caller has the write lock, so that nobody else's write is concerned. The error is
// that of a transport that has no deadlines.
func (c *Conn) ownWrites(until time.Time) error {
	d := &c.deadlines
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.writeUntil()
	if d.times == nil && !until.IsZero() {
		d.times = new(deadlineTimes)
	}
	if d.times != nil {
		d.times.own = until
	}
	d.owned = true
	return c.changeWriteDeadline(before)
}

// disownWrites ends ownWrites.
func (c *Conn) disownWrites() {
	d := &c.deadlines
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.writeUntil()
	d.owned = false
	_ = c.changeWriteDeadline(before)
}

// changeWriteDeadline puts the deadline in force on the transport, if it is not that
// before. The caller has deadlines.mu.
func (c *Conn) changeWriteDeadline(before time.Time) error {
	until := c.deadlines.writeUntil()
	if until.Equal(before) {
		return nil
	}
	return c.setWriteDeadline(until)
}

// writePassed reports whether the caller's write deadline is in force and has passed.
func (d *deadlines) writePassed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.times != nil && d.times.closing.IsZero() && passed(d.times.write)
}

// arm returns when a timeout that starts now is to fire, if that is not what is set
// already: an eighth late at most.
func arm(set, now time.Time, timeout time.Duration) (time.Time, bool) {
	late := timeout + timeout/8
	if late < timeout { // no time.Duration is so long: the longest, 292 years, means never
		late = math.MaxInt64
	}
	if !set.Before(now.Add(timeout)) && !set.After(now.Add(late)) {
		return set, false
	}
	return now.Add(late), true
}

// earlier returns the earlier of two deadlines, of which zero means none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// readPassed reports whether the caller's read deadline has passed.
func (d *deadlines) readPassed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return passed(d.readUntil())
}

// passed reports whether a deadline has passed; zero means none.
func passed(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

// readDeadlinePassed returns the error for a read that a deadline ended.
func (c *Conn) readDeadlinePassed() error {
	d := &c.deadlines
	times := d.lock()
	defer d.mu.Unlock()
	if times.armedRead.IsZero() || passed(d.readUntil()) {
		return errReadDeadline
	}
	times.armedRead = time.Time{}
	return errReadTimeout
}

// open reports whether the close handshake has not begun.
func (d *deadlines) open() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.times == nil || d.times.closing.IsZero()
}
