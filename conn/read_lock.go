package conn

import (
	"runtime"
	"sync/atomic"
)

// readLock says who has the reading side. A read call that may wait takes it with
// readBusy, and gives it back, each with a locked instruction. Between the messages of a
// burst that is too dear: there a locked instruction costs as much as all else that is
// done for a short message. So ReadMessage, TryRead and a Poller leave the side parked,
// and take a message that is buffered by three plain memory accesses: see enter.
type readLock struct {
	state atomic.Uint64 // the flags below; the rest counts messages delivered by calls that had readBusy
	quick atomic.Uint64 // quickBusy; the rest counts messages delivered without; written by the reader alone
}

// The flags in readLock.state.
const (
	readBusy    = 1 << iota // a read call runs
	readDone                // err is set
	readWanted              // Shutdown, or linger, waits for readBusy to go
	readLooked              // and the keepalive has readBusy, for a moment
	readParked              // no read call runs but quick ones
	readClosed              // the peer's Close is left unanswered: nothing more is read
	readLimited             // SetReadLimit was called: limitRead is due
	readStarved             // nor any, and the last was a TryRead that found nothing whole
	readCount               // one message
)

const (
	quickBusy  = 1 << iota // a quick call runs
	quickCount             // one message
)

// enter begins a quick call if the side is parked; n is for leave, which has to follow,
// with nothing between that can panic or wait.
//
// Who takes the side from a reader that has parked it clears readParked, and then calls
// settle. Its fence comes either before the store of quickBusy here or after it. If
// before, the load after that store sees that the side is taken; if after, settle sees
// the call.
func (l *readLock) enter() (n uint64, ok bool) {
	n = l.quick.Load()
	if n&quickBusy != 0 || !claim(&l.quick, n, n|quickBusy) {
		return 0, false
	}
	if l.state.Load()&(readCount-1) == readParked {
		return n, true
	}
	publish(&l.quick, n)
	return 0, false
}

// leave ends a quick call; n is what enter gave, and quickCount more if a message was
// delivered.
func (l *readLock) leave(n uint64) { publish(&l.quick, n) }

// settle returns when no quick call runs. The caller has cleared readParked, and set
// readBusy.
func (l *readLock) settle() {
	fence()
	for l.quickRuns() {
		runtime.Gosched() // it waits for nothing
	}
}

// take sets readBusy, and what else flags has, if state still is s, in which readBusy is
// not set. Then no read call runs.
func (l *readLock) take(s, flags uint64) bool {
	if !l.state.CompareAndSwap(s, s&^readParked|readBusy|flags) {
		return false
	}
	if s&readParked != 0 {
		l.settle()
	}
	return true
}

// delivered is how many messages read calls have returned.
func (l *readLock) delivered() uint64 {
	return l.state.Load()/readCount + l.quick.Load()/quickCount
}

// quickRuns reports whether a quick call runs, as far as it is seen.
func (l *readLock) quickRuns() bool { return l.quick.Load()&quickBusy != 0 }

func (l *readLock) has(flag uint64) bool { return l.state.Load()&flag != 0 }
