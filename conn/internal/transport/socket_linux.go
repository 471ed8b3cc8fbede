//go:build linux && !asan && !msan

package transport

import (
	"io"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rawReadMin is the size of a read from which on SyscallsAuto makes the next one raw.
//
// A message of a busy feed costs 84 ns of CPU with plain calls, 57 with raw ones and 61
// with this rule. (go test -run='^$' -bench=Feed ./conn)
//
// Single messages are read and written with plain calls. A raw call does not tell the
// scheduler, so two processes may stay on two processors. Each message then wakes an idle
// one: an echo took 130 µs instead of 30 (-bench=Echo).
const rawReadMin = 8 << 10

// socket reads and writes a stream socket by its descriptor, without allocation. There is
// one prepared closure for each direction, with its arguments and results in fields. A
// read takes memory only when bytes are there.
type socket struct {
	nc   net.Conn
	rc   syscall.RawConn
	mode Syscalls

	how               How  // of the current Write
	busy              bool // the last successful read had at least rawReadMin bytes
	retryRead         bool // the read has waited within a frame: try it again
	noWaitRead        bool // the current read is FillNow
	tcp               bool
	empty, drained    bool          // empty: the last read found nothing; drained: that, or it did not fill its space
	writeWaits        atomic.Uint32 // how often a write had to wait for room
	writeWaiting      atomic.Bool   // a write waits now
	errno, writeErrno int32

	// Of the goroutine that reads.
	sink    Sink
	readFn  func(fd uintptr) bool
	space   []byte
	n       int
	reads   atomic.Uint64
	parked  atomic.Uint64
	spin    *spin        // nil without Options.Spin and Options.Block
	stamped *stampedRead // nil without Options.Timestamps

	// Of the writer, under the write lock.
	writeFn func(fd uintptr) bool
	out     []byte  // still to be written
	second  *vector // still to be written after out; nil if no write had two pieces
	outLeft int     // bytes of both
}

// vector is for a write of two pieces.
type vector struct {
	more []byte
	iov  [2]unix.Iovec
}

// newSocket returns nil if nc is not a plain stream socket. A type that embeds one may do
// more in Read, so it is not plain.
func newSocket(nc net.Conn, o Options, to Sink) *socket {
	var rc syscall.RawConn
	var err error
	tcp := false
	switch t := nc.(type) {
	case *net.TCPConn:
		tcp = true
		rc, err = t.SyscallConn()
	case *net.UnixConn:
		if a := t.LocalAddr(); a == nil || a.Network() != "unix" {
			return nil
		}
		rc, err = t.SyscallConn()
	default:
		return nil
	}
	if err != nil {
		return nil
	}
	s := &socket{nc: nc, rc: rc, mode: o.Syscalls, sink: to, tcp: tcp}
	s.readFn, s.writeFn = s.reader(), s.writer()
	if o.Spin > 0 || o.Block {
		s.spin = &spin{length: o.Spin}
		s.spin.ended.Store(true) // until startPolling
	}
	if o.Block {
		s.spin.block = newBlock()
	}
	if o.Timestamps && tcp {
		s.stamped = newStampedRead(rc)
	}
	return s
}

// Fill waits for bytes and puts them into the sink, or into dst if the sink says so.
//
// It holds no memory during the wait. After the wait the closure takes memory with
// Refill, which needs little stack. More would double a goroutine's stack of 2 KiB for
// good (TestIdleStack). Within a frame Refill returns nil, and rc.Read is called again.
func (s *socket) Fill(dst []byte) (n int, err error) {
	for {
		s.space = s.sink.SpaceIn(dst)
		s.retryRead = false
		err = s.rc.Read(s.readFn)
		s.space = nil
		switch {
		case err != nil:
			s.sink.Release()
			return 0, err
		case s.retryRead:
		case s.errno == int32(syscall.ETIME): // no read of a socket returns it
			s.sink.Release()
			return 0, os.ErrDeadlineExceeded
		case s.errno != 0:
			return 0, s.opError("read", syscall.Errno(s.errno))
		case s.n == 0:
			return 0, io.EOF
		default:
			s.sink.Filled(s.n)
			return s.n, nil
		}
	}
}

// FillNow reads once and does not wait.
func (s *socket) FillNow(dst []byte) (n int, err error) {
	s.space = s.sink.SpaceIn(dst)
	s.noWaitRead = true
	err = s.rc.Read(s.readFn)
	s.noWaitRead, s.space = false, nil
	switch {
	case err != nil:
	case s.errno == int32(syscall.EAGAIN):
		err = ErrNothing
	case s.errno != 0:
		err = s.opError("read", syscall.Errno(s.errno))
	case s.n == 0:
		err = io.EOF
	default:
		s.sink.Filled(s.n)
		return s.n, nil
	}
	s.sink.Release()
	return 0, err
}

// Drained counts a short read only for TCP: a read of another socket may end at a
// boundary. So may one of TCP at urgent data, and before the end of the stream.
func (s *socket) Drained(exact bool) bool { return s.empty || !exact && s.drained }

func (s *socket) Raw() syscall.RawConn { return s.rc }

func (s *socket) opError(op string, errno syscall.Errno) error {
	e := &net.OpError{Op: op, Source: s.nc.LocalAddr(), Addr: s.nc.RemoteAddr(), Err: os.NewSyscallError(op, errno)}
	if e.Source != nil {
		e.Net = e.Source.Network()
	}
	return e
}

// reader returns the function for rc.Read: true ends the read, false waits for bytes. It
// is a literal because a method value costs another call.
func (s *socket) reader() func(fd uintptr) bool {
	return func(fd uintptr) bool {
		if s.space == nil {
			if s.space = s.sink.Refill(); s.space == nil {
				s.retryRead = true
				return true
			}
		}
		for {
			if s.spin != nil && s.spin.block != nil && s.drained && !s.noWaitRead && s.spin.length <= 0 { // poll reports at once what has come meanwhile
				return s.waitBlocked(fd, false)
			}
			n, errno := s.recv(fd)
			switch {
			case errno == 0:
				s.n, s.errno = n, 0
				s.busy = n >= rawReadMin
				s.empty, s.drained = false, s.tcp && n < len(s.space)
				s.reads.Add(1)
				if s.spin != nil {
					s.spin.until = time.Time{}
				}
				return true
			case errno == syscall.EINTR:
			case errno != syscall.EAGAIN || s.noWaitRead:
				s.n, s.errno = 0, int32(errno)
				s.empty = errno == syscall.EAGAIN
				if s.drained = s.empty; s.empty {
					s.parked.Add(1)
				}
				return true
			case s.spin == nil || !s.spin.goesOn():
				s.drained = true
				if s.spin != nil && s.spin.block != nil {
					return s.waitBlocked(fd, true)
				}
				s.parked.Add(1)
				s.space = nil
				s.sink.Release()
				return false
			}
		}
	}
}

func (s *socket) Ready() bool               { return false }
func (s *socket) Held() (n int, known bool) { return 0, true }
func (s *socket) Free()                     {}
func (s *socket) CloseNotify()              {}
func (s *socket) CutByWrite() bool          { return false }
func (s *socket) Vectored() bool            { return true }

func (s *socket) Info() *Info {
	if s.stamped == nil {
		return nil
	}
	return &s.stamped.info
}

func (s *socket) Counters() Counters {
	return Counters{Reads: s.reads.Load(), Waits: s.parked.Load(), WriteWaits: uint64(s.writeWaits.Load()), Writing: s.writeWaiting.Load()}
}

// SetReadDeadline also sets the deadline of a read that polls or blocks.
func (s *socket) SetReadDeadline(t time.Time) error {
	if s.spin != nil {
		s.spin.setDeadline(t)
		if s.spin.block != nil {
			s.spin.block.setDeadline(t)
		}
	}
	return s.nc.SetReadDeadline(t)
}

// startPolling makes reads poll or block, as Options say.
func (s *socket) startPolling() {
	if s.spin != nil {
		if s.spin.block != nil {
			s.spin.block.start()
		}
		s.spin.ended.Store(false)
	}
}

func (s *socket) StopPolling() {
	if s.spin != nil {
		if s.spin.block != nil {
			s.spin.block.stop()
		}
		s.spin.ended.Store(true)
	}
}

// spin is the polling of Options.Spin.
type spin struct {
	length time.Duration
	block  *block    // nil without Options.Block
	until  time.Time // zero while nothing is polled
	polls  int

	// These end the polling from another goroutine. The runtime's poller wakes a read
	// that waits, but not one that polls.
	ended    atomic.Bool
	deadline atomic.Int64 // Unix time in nanoseconds; 0 means none
}

// spinYield is the number of polls after which other goroutines may run.
const spinYield = 32

// goesOn reports whether to poll an empty socket again.
func (p *spin) goesOn() bool {
	if p.length <= 0 {
		return false
	}
	now := time.Now()
	if p.until.IsZero() {
		p.until = now.Add(p.length)
	}
	at := p.deadline.Load()
	if now.Before(p.until) && !p.ended.Load() && (at == 0 || now.UnixNano() < at) {
		if p.polls++; p.polls%spinYield == 0 {
			runtime.Gosched()
		}
		return true
	}
	p.until = time.Time{}
	return false
}

// setDeadline sets the read deadline, also of polling in progress.
func (p *spin) setDeadline(t time.Time) {
	var at int64
	if !t.IsZero() {
		at = max(t.UnixNano(), 1)
	}
	p.deadline.Store(at)
}

// recv makes one read system call.
func (s *socket) recv(fd uintptr) (int, syscall.Errno) {
	raw := s.mode == SyscallsRaw || s.mode == SyscallsAuto && (s.busy || s.noWaitRead)
	if s.stamped != nil {
		return s.stamped.recv(fd, s.space, raw)
	}
	var n uintptr
	var errno syscall.Errno
	if raw {
		n, _, errno = syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(s.space))), uintptr(len(s.space)))
	} else {
		n, _, errno = syscall.Syscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(s.space))), uintptr(len(s.space)))
	}
	if errno != 0 {
		return 0, errno
	}
	raceWrite(s.space[:n])
	return int(n), 0
}

// Write writes a and then b. With NoWait it stops where it would have to wait. n is the
// number of bytes written.
func (s *socket) Write(a, b []byte, how How) (n int, err error) {
	total := len(a) + len(b)
	raceRead(a)
	raceRead(b)
	s.out, s.outLeft, s.how, s.writeErrno = a, total, how, 0
	if len(b) > 0 {
		if s.second == nil {
			s.second = new(vector)
		}
		s.second.more = b
	}
	err = s.rc.Write(s.writeFn)
	if s.writeWaiting.Load() {
		s.writeWaiting.Store(false)
	}
	s.out = nil
	if len(b) > 0 {
		*s.second = vector{}
	}
	n = total - s.outLeft
	if err == nil && s.writeErrno != 0 {
		err = s.opError("write", syscall.Errno(s.writeErrno))
	}
	return n, err
}

// writer returns the function for rc.Write: true ends the write, false waits for room.
func (s *socket) writer() func(fd uintptr) bool {
	return func(fd uintptr) bool {
		for s.outLeft > 0 {
			n, errno := s.send(fd)
			switch errno {
			case 0:
				s.wrote(n)
			case syscall.EINTR:
			case syscall.EAGAIN:
				if s.how&NoWait != 0 {
					return true
				}
				s.writeWaits.Add(1)
				s.writeWaiting.Store(true)
				s.sink.WriteWaits()
				return false
			default:
				s.writeErrno = int32(errno)
				return true
			}
		}
		return true
	}
}

// wrote removes n bytes from what is still to be written.
func (s *socket) wrote(n int) {
	s.outLeft -= n
	k := min(n, len(s.out))
	s.out = s.out[k:]
	if n > k {
		s.second.more = s.second.more[n-k:]
	}
}

// send makes one write system call.
func (s *socket) send(fd uintptr) (int, syscall.Errno) {
	trap, arg, size := uintptr(syscall.SYS_WRITE), unsafe.Pointer(unsafe.SliceData(s.out)), uintptr(len(s.out))
	if s.outLeft > len(s.out) {
		trap, arg, size = s.second.gather(s.out)
	}
	var n uintptr
	var errno syscall.Errno
	if s.mode == SyscallsRaw || s.mode == SyscallsAuto && s.how&Burst != 0 {
		n, _, errno = syscall.RawSyscall(trap, fd, uintptr(arg), size)
	} else {
		n, _, errno = syscall.Syscall(trap, fd, uintptr(arg), size)
	}
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// gather returns the number and the arguments of the system call for first and v.more.
func (v *vector) gather(first []byte) (trap uintptr, arg unsafe.Pointer, size uintptr) {
	if len(first) == 0 { // one piece needs no list
		return syscall.SYS_WRITE, unsafe.Pointer(unsafe.SliceData(v.more)), uintptr(len(v.more))
	}
	v.iov[0].Base, v.iov[1].Base = &first[0], &v.more[0]
	v.iov[0].SetLen(len(first))
	v.iov[1].SetLen(len(v.more))
	return syscall.SYS_WRITEV, unsafe.Pointer(&v.iov[0]), 2
}
