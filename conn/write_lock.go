package conn

import (
	"sync"
	"sync/atomic"
	"time"
)

// writeLock is a lock whose waiters can give up: a word for the uncontended case, and a one-place channel to wait at. The word also
// carries what a writer must look at once it has the lock, so that a message that finds none of it takes the lock, and gives it back,
// with one atomic operation each.
type writeLock struct {
	state  atomic.Uint64
	making sync.Mutex    // of free
	free   chan struct{} // made by the first who waits, before it sets lockWaited
}

// The flags in writeLock.state; the rest of it counts messages that were written by writeEncoded.
const (
	lockHeld    = 1 << iota
	lockWaited  // perhaps
	lockPending // control frames wait in the slots
	lockClosing // a Close frame waits for the lock, or was sent: writers of messages must not take it from under its nose
	lockOpen    // the message that NextWriter has begun is not finished
	lockEnded   // the connection has ended
	lockDirect  // by writeEncoded, which does nothing but encode and write
	lockCount   // one message
)

func (l *writeLock) tryLock() bool { return l.state.Or(lockHeld)&lockHeld == 0 }

// tryLockClear takes the lock if it is free and no flag is set, and sets more flags.
func (l *writeLock) tryLockClear(more uint64) bool {
	s := l.state.Load()
	return s&(lockCount-1) == 0 && l.state.CompareAndSwap(s, s|lockHeld|more)
}

func (l *writeLock) set(flag uint64)      { l.state.Or(flag) }
func (l *writeLock) clear(flag uint64)    { l.state.And(^flag) }
func (l *writeLock) has(flag uint64) bool { return l.state.Load()&flag != 0 }

// unlock gives the lock back and returns the flags that were set then. Another goroutine than that which locked may call it.
func (l *writeLock) unlock() (flags uint64) {
	flags = l.state.Add(^uint64(lockHeld - 1))
	if flags&lockWaited != 0 {
		l.wake()
	}
	return flags & (lockCount - 1)
}

// wake has one of those who wait try again; who fails sets lockWaited again.
func (l *writeLock) wake() {
	l.state.And(^uint64(lockWaited))
	select {
	case l.free <- struct{}{}:
	default: // a token lies there already: whoever takes it looks again
	}
}

// lockOr waits for the lock until stop is closed, timer fires or changed is closed; it then returns false.
func (l *writeLock) lockOr(stop <-chan struct{}, timer <-chan time.Time, changed <-chan struct{}) bool {
	l.making.Lock()
	if l.free == nil {
		l.free = make(chan struct{}, 1)
	}
	l.making.Unlock()
	for l.state.Or(lockHeld|lockWaited)&lockHeld != 0 {
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
