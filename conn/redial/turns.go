package redial

import (
	"sync"
	"sync/atomic"

	"github.com/seed-7f57ff33/tickwire/conn"
)

// turns counts the calls of handlers on one Poller, twice each: it is odd while one runs.
// No session of the Poller is read meanwhile, so their clocks look at it. All Runs on the
// Poller share one; nil means that there is no Poller.
type turns struct {
	watched atomic.Bool // a clock looks at n
	n       atomic.Uint64
	runs    int // under pollers
}

// pollers are the Pollers of all Runs.
var pollers struct {
	sync.Mutex
	turns map[*conn.Poller]*turns
}

func takeTurns(p *conn.Poller) *turns {
	if p == nil {
		return nil
	}
	pollers.Lock()
	defer pollers.Unlock()
	t := pollers.turns[p]
	if t == nil {
		t = new(turns)
		if pollers.turns == nil {
			pollers.turns = map[*conn.Poller]*turns{}
		}
		pollers.turns[p] = t
	}
	t.runs++
	return t
}

func (t *turns) release(p *conn.Poller) {
	if t == nil {
		return
	}
	pollers.Lock()
	defer pollers.Unlock()
	if t.runs--; t.runs == 0 {
		delete(pollers.turns, p)
	}
}

// watch has begin and end count from now on.
func (t *turns) watch() {
	if t != nil && !t.watched.Load() {
		t.watched.Store(true)
	}
}

// begin and end are called by the goroutine of the Poller. They need not come in pairs.
func (t *turns) begin() {
	if t.watched.Load() {
		t.n.Store(t.n.Load() | 1)
	}
}

func (t *turns) end() {
	if t.watched.Load() {
		t.n.Store((t.n.Load() | 1) + 1)
	}
}

// now returns the count.
func (t *turns) now() uint64 {
	if t == nil {
		return 0
	}
	return t.n.Load()
}
