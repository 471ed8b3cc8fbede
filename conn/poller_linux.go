package conn

import (
	"encoding/binary"
	"io/fs"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// epoll is an epoll instance, edge-triggered, beside that of the runtime. A socket may be
// in both.
//
// A line is found by its slot, never by the descriptor's number. A late event of a socket
// that is gone finds another generation of the slot. The number is used only inside
// RawConn.Control, which fails once the socket is closed; closing removes it from the
// instance.
type epoll struct {
	fd, bell int
	slots    []pollSlot
	free     []int32
	events   [128]unix.EpollEvent
	bells    [1]unix.PollFd
	pause    unix.Timespec
}

type pollSlot struct {
	l    *pollLine
	turn int32
}

// pollEvents are what a line is watched for. The end of the stream, and urgent data, have
// reads end short.
const pollEvents = unix.EPOLLIN | unix.EPOLLPRI | unix.EPOLLRDHUP | unix.EPOLLET

const bellSlot = -1

// newEpoll returns nil if the system gives none.
func newEpoll() *epoll {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil
	}
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(fd)
		return nil
	}
	e := &epoll{fd: fd, bell: bell}
	e.bells[0] = unix.PollFd{Fd: int32(bell), Events: unix.POLLIN}
	if unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, bell, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: bellSlot}) != nil {
		e.close()
		return nil
	}
	return e
}

// close is called when nobody rings any more.
func (e *epoll) close() {
	unix.Close(e.bell)
	unix.Close(e.fd)
}

// ring implements pollBell.
func (e *epoll) ring() {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(e.bell, one[:])
}

// add watches a socket. It returns false if the kernel refuses; one that is closed is not
// refused.
func (e *epoll) add(l *pollLine, raw syscall.RawConn) bool {
	if len(e.free) == 0 {
		e.free = append(e.free, int32(len(e.slots)))
		e.slots = append(e.slots, pollSlot{})
	}
	at := e.free[len(e.free)-1]
	s := &e.slots[at]
	var refused error
	err := raw.Control(func(fd uintptr) {
		refused = unix.EpollCtl(e.fd, unix.EPOLL_CTL_ADD, int(fd), &unix.EpollEvent{Events: pollEvents, Fd: at, Pad: s.turn})
	})
	if err == nil && refused != nil {
		return false
	}
	e.free = e.free[:len(e.free)-1]
	s.l, l.slot = l, at
	return true
}

// remove is add undone.
func (e *epoll) remove(l *pollLine) {
	if raw := l.c.transport.Raw(); raw != nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.EpollCtl(e.fd, unix.EPOLL_CTL_DEL, int(fd), nil) })
	}
	s := &e.slots[l.slot]
	s.l = nil
	s.turn++
	e.free = append(e.free, l.slot)
	l.slot = -1
}

// poll looks for bytes, without waiting.
func (e *epoll) poll(p *Poller) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(e.fd), uintptr(unsafe.Pointer(&e.events[0])), uintptr(len(e.events)), 0, 0, 0)
	if errno == 0 {
		e.found(p, int(n))
	}
}

// block waits for bytes, or for the bell.
func (e *epoll) block(p *Poller) {
	n, err := unix.EpollWait(e.fd, e.events[:], -1)
	if err == nil {
		e.found(p, n)
	}
}

// sleep waits for the bell, for d at most.
func (e *epoll) sleep(d time.Duration) {
	e.pause = unix.NsecToTimespec(int64(d))
	_, _ = unix.Ppoll(e.bells[:], &e.pause, nil)
}

// found looks at n events.
func (e *epoll) found(p *Poller, n int) {
	for i := range e.events[:n] {
		ev := &e.events[i]
		if ev.Fd == bellSlot {
			var count [8]byte
			_, _ = unix.Read(e.bell, count[:])
			continue
		}
		s := &e.slots[ev.Fd]
		if s.l == nil || s.turn != ev.Pad {
			continue
		}
		s.l.drained = false
		if ev.Events&^unix.EPOLLIN != 0 {
			s.l.exact = true
		}
		p.makeReady(s.l)
	}
}

// runOn has this thread run on these processors only. restore undoes that; if it returns
// false the thread must not be used for anything else.
func runOn(cpus []int) (restore func() bool, err error) {
	restore = func() bool { return true }
	if cpus == nil {
		return restore, nil
	}
	var before, set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return restore, &PollerError{"CPUs", err}
	}
	for _, n := range cpus {
		if n < 0 || n >= 8*int(unsafe.Sizeof(set)) {
			return restore, &PollerError{"CPUs", fs.ErrInvalid}
		}
		set.Set(n)
	}
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return restore, &PollerError{"CPUs", err}
	}
	return func() bool { return unix.SchedSetaffinity(0, &before) == nil }, nil
}
