package conn

import (
	"sync/atomic"
	"time"
)

// Stats are counters since the connection began.
type Stats struct {
	MessagesRead    uint64 // delivered to the caller
	MessagesWritten uint64 // taken from the caller, those included that wait for Flush
	BytesRead       uint64 // from the transport, headers and control frames included; under TLS those of the records' content
	BytesWritten    uint64 // to the transport, likewise
	Reads           uint64 // reads of the transport that brought bytes: system calls where a socket is read by its descriptor
	Waits           uint64 // reads that found nothing, and parked unless they were TryRead's or a Poller's, where that can be seen
	Writes          uint64 // writes to the transport
	PingsRead       uint64 // from the peer
	PongsRead       uint64 // from the peer, asked for or not
	PingsWritten    uint64 // by Ping, WriteControl and the keepalive clock
	PongsWritten    uint64 // answers, and those of WriteControl

	// These need Config.Timestamps.

	Stamped    uint64        // reads whose lag is known
	TotalLag   time.Duration // sum of the lags
	MaxLag     time.Duration // the longest lag
	MaxBacklog int           // the most bytes that a read left in the kernel
}

// The holder of the reading side writes its counters; those of the writing side are
// written under the write lock. Any goroutine may read them.
type stats struct {
	bytesRead                  atomic.Uint64
	reads                      atomic.Uint64 // of a transport that is an anyConn
	messagesWritten            atomic.Uint64
	bytesWritten, writes       atomic.Uint64
	pingsRead, pongsRead       atomic.Uint64
	pingsWritten, pongsWritten atomic.Uint64
}

// lagStats are those of reads with stamps.
type lagStats struct {
	reads                   uint64 // seen at the last fill; by the holder of readBusy
	stamped                 atomic.Uint64
	lag, maxLag, maxBacklog atomic.Int64
}

// Stats returns the counters. It may be called at any time.
func (c *Conn) Stats() Stats {
	s := &c.stats
	t := c.transport.Counters()
	direct := c.lock.state.Load() / lockCount // each was one write
	all := Stats{
		MessagesRead:    c.readState.delivered(),
		MessagesWritten: c.messagesWritten(),
		BytesRead:       s.bytesRead.Load(),
		BytesWritten:    s.bytesWritten.Load(),
		Reads:           t.Reads,
		Waits:           t.Waits,
		Writes:          direct + s.writes.Load(),
		PingsRead:       s.pingsRead.Load(),
		PongsRead:       s.pongsRead.Load(),
		PingsWritten:    s.pingsWritten.Load(),
		PongsWritten:    s.pongsWritten.Load(),
	}
	if l := c.lag; l != nil {
		all.Stamped = l.stamped.Load()
		all.TotalLag = time.Duration(l.lag.Load())
		all.MaxLag = time.Duration(l.maxLag.Load())
		all.MaxBacklog = int(l.maxBacklog.Load())
	}
	return all
}

func (c *Conn) messagesWritten() uint64 {
	return c.lock.state.Load()/lockCount + c.stats.messagesWritten.Load()
}

// bump adds n to a counter that others only load.
func bump(p *atomic.Uint64, n int) { publish(p, p.Load()+uint64(n)) }

func storeMax(a *atomic.Int64, v int64) {
	if v > a.Load() {
		a.Store(v)
	}
}
