package conn

import (
	"sync"
	"sync/atomic"
	"time"
)

// writeLock is a lock whose waiters can give up: a word for the uncontended case, and a one-place channel to wait at.
type writeLock struct {
	state atomic.Uint32 // 0 free, 1 held, 2 held and perhaps waited for
	once  sync.Once
	free  chan struct{} // made by the first who waits, before it sets 2
}

func (l *writeLock) tryLock() bool { return l.state.CompareAndSwap(0, 1) }

// unlock may be called by another goroutine than that which locked.
func (l *writeLock) unlock() {
	if l.state.Swap(0) == 2 {
		select {
		case l.free <- struct{}{}:
		default: // a token lies there already: whoever takes it looks again
		}
	}
}

// lockOr waits for the lock until stop is closed, timer fires or changed is closed; it then returns false.
func (l *writeLock) lockOr(stop <-chan struct{}, timer <-chan time.Time, changed <-chan struct{}) bool {
	l.once.Do(func() { l.free = make(chan struct{}, 1) })
	for l.state.Swap(2) != 0 {
		select {
		case <-l.free:
		case <-stop:
			return false
		case <-timer:
			return false
		case <-changed:
			return false
		}
	}
	return true
}
