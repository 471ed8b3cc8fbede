package metrics

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// A client measures a redial.Client. It hears of what is rare: a connection that begins
// or ends, an attempt that fails.
type client struct {
	meter
	c      *redial.Client
	failed [len(reasons)]atomic.Uint64

	mu   sync.Mutex
	open map[uint64]*conn.Conn // by epoch; those in OnConnect too
	past conn.Stats            // of those that have ended
	last uint64                // the newest epoch that was up
	gone uint64                // the newest epoch of which the attempt failed
	why  error                 // it did
	up   bool                  // there is a session
	down time.Duration         // without one
	from time.Time             // when the present time without one began; zero with a session, and while the Client does not run
}

func newClient(s *Set, feed, line string, c *redial.Client) *client {
	return &client{meter: meter{set: s, feed: feed, line: line}, c: c, open: map[uint64]*conn.Conn{}}
}

// hook puts m before the hooks that the Client has.
func (m *client) hook() {
	change, connect := m.c.OnChange, m.c.OnConnect
	m.c.OnChange = func(ch redial.Change) {
		m.changed(ch)
		if change != nil {
			change(ch)
		}
	}
	m.c.OnConnect = func(ctx context.Context, s *redial.Session) error {
		m.begin(s.Epoch, s.Conn)
		if connect != nil {
			return connect(ctx, s)
		}
		return nil
	}
	var dialer conn.Dialer
	if m.c.Dialer != nil {
		dialer = *m.c.Dialer
	}
	dialer.Config.Observer = &observer{&m.meter, dialer.Config.Observer}
	m.c.Dialer = &dialer
}

// begin is told of a connection on which OnConnect runs.
func (m *client) begin(epoch uint64, c *conn.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if epoch <= m.gone { // the Client has given it up already
		m.end(failedBy(m.why), frame.CodeAbnormal)
		return
	}
	m.leave(epoch, nil) // of an earlier run
	m.open[epoch] = c
}

// leave keeps the counters of a connection whose end no Down has told, and counts the end;
// err is why the attempt failed of which it was. The caller holds mu.
func (m *client) leave(epoch uint64, err error) {
	if c := m.forget(epoch); c != nil {
		side, code := endOf(c.Err())
		if by := failedBy(err); by == redial.ByClock {
			side = by // which has closed it
		}
		m.end(side, code)
	}
}

// forget keeps the counters of a connection that has ended. The caller holds mu.
func (m *client) forget(epoch uint64) *conn.Conn {
	c := m.open[epoch]
	if c != nil {
		delete(m.open, epoch)
		fold(&m.past, c.Stats())
	}
	return c
}

// failedBy tells who has ended the connection of an attempt that failed with err, where the
// connection itself says no more than that this side did.
func failedBy(err error) redial.Side {
	var timeout *redial.TimeoutError
	if errors.As(err, &timeout) {
		return redial.ByClock
	}
	return redial.ByUs
}

// changed is the Client's OnChange: one call at a time.
func (m *client) changed(ch redial.Change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch ch.State {
	case redial.Dialing:
		if !m.up && m.from.IsZero() {
			m.from = time.Now()
		}
	case redial.Failed:
		m.failed[reasonOf(ch.Err)].Add(1)
		if ch.Epoch > m.last { // otherwise there was no connection, and the epoch is that of the last session, which may live
			m.gone, m.why = ch.Epoch, ch.Err
			m.leave(ch.Epoch, ch.Err)
		}
	case redial.Up:
		m.up, m.last = true, ch.Epoch
		m.stopClock()
	case redial.Down:
		m.end(ch.By, ch.Code)
		m.forget(ch.Epoch)
		m.up, m.from = false, time.Now()
	case redial.Stopped:
		for epoch := range m.open { // those of a rotation that was not finished
			m.leave(epoch, nil)
		}
		m.up, m.last, m.gone, m.why = false, 0, 0, nil // epochs begin again with the next run
		m.stopClock()
	}
}

// stopClock ends a time without a session.
func (m *client) stopClock() {
	if !m.from.IsZero() {
		m.down += time.Since(m.from)
		m.from = time.Time{}
	}
}

func (m *client) read(emit Emit) {
	n := m.c.Counts()
	for _, c := range []struct {
		m *Metric
		n uint64
	}{
		{clientDials, n.Dials}, {clientSessions, n.Connections}, {clientRotations, n.Rotations}, {clientDelivered, n.Messages},
		{clientConsumed, n.Consumed}, {clientSent, n.Sent}, {clientRefused, n.Refused},
	} {
		emit(c.m, float64(c.n), m.feed, m.line)
	}
	for i := range m.failed {
		emit(clientFailed, float64(m.failed[i].Load()), m.feed, m.line, reasons[i])
	}
	m.mu.Lock()
	total, open, up, down, from := m.past, len(m.open), m.up, m.down, m.from
	for _, c := range m.open {
		add(&total, c.Stats())
	}
	m.mu.Unlock()
	if !from.IsZero() {
		down += time.Since(from)
	}
	emit(clientDown, down.Seconds(), m.feed, m.line)
	if up {
		emit(clientUp, 1, m.feed, m.line)
	} else {
		emit(clientUp, 0, m.feed, m.line)
	}
	m.meter.read(emit, total, open)
}
