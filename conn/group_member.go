package conn

import (
	"slices"
	"sync"
	"sync/atomic"
)

// member is a connection in a Group.
type member struct {
	g        *Group
	c        *Conn
	index    int // in g.members; under g.mu
	encoding int

	// The next batch, if the member is new. It does not get the first skipped messages,
	// of skip bytes. Used by the broadcast.
	firstBatch    *batch
	skip, skipped int

	gone atomic.Bool // it gets nothing more

	// The member that has the backlog for c: this one, or an earlier one for c that was
	// removed while it drained. Its bytes come first, and count for Lag. Used by the
	// broadcast.
	backlogOwner *member

	// What a slow connection has not taken.
	mu       sync.Mutex
	drainFn  func()
	waiting  []piece // the first one that drain takes may begin within a frame
	size     int     // bytes of them, and of the one that drain has taken
	draining bool
	held     bool // drain begins with the write lock
}

// piece is what drain writes before it gives the write lock back, for pings and pongs,
// and what is written to the connection otherwise, to go in between.
type piece struct {
	frames
	messages int
}

// pieceSize is the size up to which a piece takes the messages after it.
const pieceSize = 64 << 10

// take writes the member's part of a batch, as far as that can be done without waiting.
// It reports whether the member stays.
func (m *member) take(now *batch) bool {
	var b []byte
	messages := now.messages
	if m.encoding < len(now.byEncoding) {
		b = now.byEncoding[m.encoding].bytes()
	}
	if m.firstBatch != nil {
		if m.firstBatch == now {
			b, messages = b[m.skip:], messages-m.skipped
		}
		m.firstBatch = nil
		m.backlogOwner = m.g.slowest(m)
	}
	s := m.backlogOwner
	switch {
	case m.gone.Load() || s.gone.Load() || m.c.cannotWrite() || m.c.lock.has(lockClosing):
		m.gone.Store(true)
		return false
	case len(b) == 0:
		return true
	}
	s.mu.Lock()
	if s.draining {
		kept := s.keep(b, messages)
		s.mu.Unlock()
		if !kept {
			m.gone.Store(true)
			m.g.tooSlow.Add(1)
			go m.c.endWriting(&limitError{ErrTooSlow, m.g.lag(), "conn.Group.Lag"}) // not here: it may wait for others
		}
		return kept
	}
	s.mu.Unlock()
	n, held, err := m.c.tryWriteRaw(b, messages)
	switch {
	case err != nil:
		m.gone.Store(true)
		return false
	case n == len(b):
		return true
	}
	s.mu.Lock()
	s.keep(b[n:], messages)
	s.draining, s.held = true, held
	if s.drainFn == nil {
		s.drainFn = s.drain
	}
	s.mu.Unlock()
	s.g.mu.Lock()
	s.g.draining[m.c] = s
	s.g.mu.Unlock()
	go s.drainFn()
	return true
}

// keep has b wait, if not too much would. The caller has mu.
func (m *member) keep(b []byte, messages int) bool {
	if m.size > 0 && m.size+len(b) > m.g.lag() {
		return false
	}
	m.size += len(b)
	last := len(m.waiting) - 1
	if last < 0 || m.waiting[last].size+len(b) > pieceSize {
		m.waiting = append(m.waiting, piece{})
		last++
	}
	p := &m.waiting[last]
	p.size += copy(p.room(len(b)), b)
	p.messages += messages
	return true
}

// lag returns Lag, or its default.
func (g *Group) lag() int {
	if g.Lag <= 0 {
		return DefaultGroupLag
	}
	return g.Lag
}

// drain is a goroutine that writes what waits, until nothing does.
func (m *member) drain() {
	for {
		m.mu.Lock()
		if m.draining = len(m.waiting) > 0; !m.draining {
			m.mu.Unlock()
			break
		}
		p, held := m.waiting[0], m.held
		m.waiting, m.held = slices.Delete(m.waiting, 0, 1), false
		m.mu.Unlock()
		if m.c.writeRaw(p.bytes(), p.messages, held) != nil {
			m.gone.Store(true)
		}
		m.mu.Lock()
		m.size -= p.size
		m.mu.Unlock()
		p.release()
	}
	m.g.mu.Lock()
	m.mu.Lock()
	if !m.draining { // it may have begun again
		delete(m.g.draining, m.c)
	}
	m.mu.Unlock()
	m.g.change.Broadcast()
	m.g.mu.Unlock()
}
