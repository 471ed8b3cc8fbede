package metrics

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// A meter has the counters of connections under one name. It counts only rare events;
// other values are read from the connections.
type meter struct {
	set        *Set
	feed, line string

	ended [numSides][numCodes]atomic.Uint64
	slow  atomic.Uint64
	rtts  histogram
}

func (m *meter) end(side redial.Side, code frame.CloseCode) {
	m.ended[sideIndex(side)][codeIndex(code)].Add(1)
}

// read emits the values of connections. total are their sums, open is how many are open.
func (m *meter) read(emit Emit, total conn.Stats, open int) {
	count := func(of *Metric, n uint64) { emit(of, float64(n), m.feed, m.line) }
	both := func(of *Metric, in, out uint64) {
		emit(of, float64(in), m.feed, m.line, receive)
		emit(of, float64(out), m.feed, m.line, transmit)
	}
	both(connMessages, total.MessagesRead, total.MessagesWritten)
	both(connIO, total.BytesRead, total.BytesWritten)
	both(connPings, total.PingsRead, total.PingsWritten)
	both(connPongs, total.PongsRead, total.PongsWritten)
	count(connReads, total.Reads)
	count(connWaits, total.Waits)
	count(connWrites, total.Writes)
	count(connStamped, total.Stamped)
	count(connOpen, uint64(open))
	count(connSlow, m.slow.Load())
	count(connMaxBacklog, uint64(total.MaxBacklog))
	emit(connLag, total.TotalLag.Seconds(), m.feed, m.line)
	emit(connMaxLag, total.MaxLag.Seconds(), m.feed, m.line)
	for side := range m.ended {
		for code := range m.ended[side] {
			if n := m.ended[side][code].Load(); n > 0 {
				emit(connClosed, float64(n), m.feed, m.line, redial.Side(side).String(), codeNames[code])
			}
		}
	}
}

// add adds a connection's counters to a sum. For maxima it keeps the larger one.
func add(sum *conn.Stats, s conn.Stats) {
	sum.MessagesRead += s.MessagesRead
	sum.MessagesWritten += s.MessagesWritten
	sum.BytesRead += s.BytesRead
	sum.BytesWritten += s.BytesWritten
	sum.Reads += s.Reads
	sum.Waits += s.Waits
	sum.Writes += s.Writes
	sum.PingsRead += s.PingsRead
	sum.PongsRead += s.PongsRead
	sum.PingsWritten += s.PingsWritten
	sum.PongsWritten += s.PongsWritten
	sum.Stamped += s.Stamped
	sum.TotalLag += s.TotalLag
	sum.MaxLag = max(sum.MaxLag, s.MaxLag)
	sum.MaxBacklog = max(sum.MaxBacklog, s.MaxBacklog)
}

// fold adds the counters of a connection that has ended. It drops the maxima.
func fold(sum *conn.Stats, s conn.Stats) {
	s.MaxLag, s.MaxBacklog = 0, 0
	add(sum, s)
}

// observer is a meter's conn.Observer.
type observer struct {
	m    *meter
	next conn.Observer // may be nil
}

func (o *observer) Control(c *conn.Conn, op frame.Opcode, payload []byte, sent bool) {
	if o.next != nil {
		o.next.Control(c, op, payload, sent)
	}
}

func (o *observer) RoundTrip(c *conn.Conn, rtt time.Duration) {
	o.m.rtts.add(rtt)
	o.m.set.tell(connRoundTrip, rtt, o.m.feed, o.m.line)
	if o.next != nil {
		o.next.RoundTrip(c, rtt)
	}
}

func (o *observer) Slow(c *conn.Conn, i conn.ReadInfo) {
	o.m.slow.Add(1)
	if o.next != nil {
		o.next.Slow(c, i)
	}
}

func (o *observer) Ended(c *conn.Conn, err error) {
	if o.next != nil {
		o.next.Ended(c, err)
	}
}

// Conns are connections without a redial.Client. Add each one after it opens, and remove
// it after its reader and writers have ended:
//
//	defer conns.Add(c)()
//
// With Observer, round trips and slow reads are measured too.
type Conns struct {
	meter

	mu   sync.Mutex
	open map[*conn.Conn]bool
	past conn.Stats
}

// Add measures c until remove is called. remove counts the end of c.
func (s *Conns) Add(c *conn.Conn) (remove func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[c] = true
	return func() { s.remove(c) }
}

func (s *Conns) remove(c *conn.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[c] {
		delete(s.open, c)
		fold(&s.past, c.Stats())
		s.end(endOf(c.Err()))
	}
}

// Observer returns a value for conn.Config.Observer. It calls next, which may be nil, as
// the connection would.
func (s *Conns) Observer(next conn.Observer) conn.Observer { return &observer{&s.meter, next} }

func (s *Conns) read(emit Emit) {
	s.mu.Lock()
	total, open := s.past, len(s.open)
	for c := range s.open {
		add(&total, c.Stats())
	}
	s.mu.Unlock()
	s.meter.read(emit, total, open)
}
