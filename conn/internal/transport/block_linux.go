//go:build linux && !asan && !msan

package transport

import (
	"encoding/binary"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// block waits for bytes as Options.Block says: in ppoll, on the socket and on an eventfd.
// Another goroutine ends the wait with the eventfd.
type block struct {
	mu       sync.Mutex
	bell     int  // the eventfd; -1 before the first wait, and at the end
	waits    bool // a read waits
	rung     bool
	on       bool
	deadline time.Time
	cleanup  runtime.Cleanup

	// Used by the goroutine that reads.
	fds     [2]unix.PollFd
	timeout unix.Timespec
	timed   bool // timeout is set
}

func newBlock() *block { return &block{bell: -1} }

// start lets reads block from now on.
func (b *block) start() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.on = true
}

// stop ends a wait and prevents later ones.
func (b *block) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.on = false
	if b.waits {
		b.ring() // the read then closes the eventfd
		return
	}
	b.close()
}

// setDeadline sets the read deadline, also of a wait in progress.
func (b *block) setDeadline(t time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deadline = t
	b.ring()
}

// ring ends a wait. The caller has mu.
func (b *block) ring() {
	if !b.waits || b.rung {
		return
	}
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(b.bell, one[:])
	b.rung = true
}

// close closes the eventfd. The caller has mu.
func (b *block) close() {
	if b.bell >= 0 {
		b.cleanup.Stop()
		unix.Close(b.bell)
		b.bell = -1
	}
}

// begin prepares a wait. It returns wait false if the read must not wait here. late
// reports that the deadline has passed.
func (b *block) begin() (wait, late bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.on {
		return false, false
	}
	if b.bell < 0 {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			b.on = false
			return false, false
		}
		b.bell = fd
		b.cleanup = runtime.AddCleanup(b, func(fd int) { unix.Close(fd) }, fd) // for a connection that is never closed
	}
	if b.timed = !b.deadline.IsZero(); b.timed {
		left := time.Until(b.deadline)
		if left <= 0 {
			return false, true
		}
		b.timeout = unix.NsecToTimespec(int64(left))
	}
	b.waits = true
	return true, false
}

// done ends what begin began.
func (b *block) done() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waits = false
	if b.rung {
		var count [8]byte
		_, _ = unix.Read(b.bell, count[:])
		b.rung = false
	}
	if !b.on {
		b.close()
	}
}

// waitBlocked waits for bytes in the kernel and returns the result of readFn. True ends
// the read: it is tried again, or the deadline has passed. False parks the read. tried
// says that this call has found the socket empty. Otherwise the read must not park.
//
// A short read is the last one before the wait, so a message costs two system calls.
func (s *socket) waitBlocked(fd uintptr, tried bool) bool {
	b := s.spin.block
	s.space = nil
	s.sink.Release()
	s.parked.Add(1)
	wait, late := b.begin()
	switch {
	case late:
		s.n, s.errno = 0, int32(syscall.ETIME)
		return true
	case !wait:
		s.drained = false
		s.retryRead = !tried
		return !tried
	}
	b.fds[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	b.fds[1] = unix.PollFd{Fd: int32(b.bell), Events: unix.POLLIN}
	var timeout *unix.Timespec
	if b.timed {
		timeout = &b.timeout
	}
	n, err := unix.Ppoll(b.fds[:], timeout, nil)
	if err == nil && n > 0 && b.fds[0].Revents != 0 {
		s.drained = false
	}
	b.done()
	s.retryRead = true
	return true
}
