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

// block is the waiting of Options.Block: in ppoll, on the socket and an eventfd that ends the
// wait from outside.
type block struct {
	mu       sync.Mutex
	bell     int  // the eventfd; -1 before the first wait, and at the end
	waits    bool // a read does
	rung     bool
	on       bool
	deadline time.Time
	cleanup  runtime.Cleanup

	// By the goroutine that reads.
	fds     [2]unix.PollFd
	timeout unix.Timespec
	timed   bool // there is one
}

func newBlock() *block { return &block{bell: -1} }

// start has reads block.
func (b *block) start() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.on = true
}

// stop ends a wait, and has none begin.
func (b *block) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.on = false
	if b.waits {
		b.ring() // and then the read closes the eventfd
		return
	}
	b.close()
}

// setDeadline tells of the read deadline of the connection.
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

// begin prepares for a wait. It returns false if there must be none; late says that the
// deadline has passed.
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
		b.cleanup = runtime.AddCleanup(b, func(fd int) { unix.Close(fd) }, fd) // of a connection that nobody has closed
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

// done is the end of a wait.
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

// waitBlocked waits for bytes in the kernel. It is the end of a call of readFn: true ends
// the read, which is to be tried again or has met the deadline; false parks it. tried says
// that this call has found nothing: otherwise it must not park.
//
// A read that was short is the last before the wait, so a message costs two system calls.
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
		s.woken = !tried
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
	s.woken = true
	return true
}
