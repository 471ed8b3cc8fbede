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

// A client measures a redial.Client. It is called for rare events only: a connection that
// begins or ends, an attempt that fails.
type client struct {
	meter
	c      *redial.Client
	failed [len(reasons)]atomic.Uint64

	mu   sync.Mutex
	open map[uint64]*conn.Conn // by epoch; also during OnConnect
	past conn.Stats            // of the connections that have ended
	last uint64                // the newest epoch with a session
	gone uint64                // the newest epoch whose attempt failed
	why  error                 // the reason for that
	up   bool                  // there is a session
	down time.Duration         // time without a session
	from time.Time             // start of the current time without a session; zero during a session, and while the Client does not run
}

func newClient(s *Set, feed, line string, c *redial.Client) *client {
	return &client{meter: meter{set: s, feed: feed, line: line}, c: c, open: map[uint64]*conn.Conn{}}
}

// hook calls m before the hooks of the Client.
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

// begin is called with a connection when OnConnect starts.
func (m *client) begin(epoch uint64, c *conn.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if epoch <= m.gone { // the Client has already given it up
		m.end(failedBy(m.why), frame.CodeAbnormal)
		return
	}
	m.leave(epoch, nil) // of an earlier run
	m.open[epoch] = c
}

// leave adds the counters of a connection for which there was no Down, and counts its
// end. err is why its attempt failed. The caller has mu.
func (m *client) leave(epoch uint64, err error) {
	if c := m.forget(epoch); c != nil {
		side, code := endOf(c.Err())
		if by := failedBy(err); by == redial.ByClock {
			side = by // it has closed the connection
		}
		m.end(side, code)
	}
}

// forget adds the counters of a connection that has ended. The caller has mu.
func (m *client) forget(epoch uint64) *conn.Conn {
	c := m.open[epoch]
	if c != nil {
		delete(m.open, epoch)
		fold(&m.past, c.Stats())
	}
	return c
}

// failedBy returns who ended the connection of an attempt that failed with err. The
// connection itself only says that this side did.
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
		if ch.Epoch > m.last { // otherwise there was no connection, and the epoch is that of the last session, which may still be open
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
		for epoch := range m.open { // those of an unfinished rotation
			m.leave(epoch, nil)
		}
		m.up, m.last, m.gone, m.why = false, 0, 0, nil // epochs start again with the next run
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
