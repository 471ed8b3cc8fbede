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

// busyRead is how many bytes a read must have brought for the next one to be raw with SyscallsAuto.
//
// Of a busy feed of 160 B messages over loopback (go test -run='^$' -bench=Feed ./conn, medians of 5 on 2 virtual processors) a message
// cost the reader 84 ns of CPU with plain calls, 57 with raw ones and 61 with this rule. In an echo of single messages
// (-bench=Echo) plain calls took 30 µs in the median and 90 to 110 at the 99th percentile, run after run. With raw calls two
// states were seen: the same 30 µs, with the ends taking turns on one processor (400 preemptions per 1000 messages), and 130 µs, p99 260 to 450,
// with an end on each (10 preemptions): a process whose one thread never seems to leave its processor is not moved to
// its peer's, and every message wakes an idle one. So single messages are read and written with plain calls.
const busyRead = 8 << 10

// socket reads and writes a stream socket by its descriptor, without an allocation: one prepared closure for each direction,
// whose arguments and results are its fields. Reading takes memory only when bytes are there.
type socket struct {
	nc   net.Conn
	rc   syscall.RawConn
	mode Syscalls

	how               How  // of Write
	busy              bool // the last read that brought bytes brought many
	woken             bool // the read waited within a frame, and is to be tried again
	now               bool // the read is FillNow
	tcp               bool
	empty, drained    bool          // the last read found nothing; that, or less than it had room for
	waits             atomic.Uint32 // how often a write has waited for room
	waiting           atomic.Bool   // a write does
	errno, writeErrno int32

	// Reading, by one goroutine.
	sink    Sink
	readFn  func(fd uintptr) bool
	space   []byte
	n       int
	reads   atomic.Uint64
	parked  atomic.Uint64
	spin    *spin        // nil without Options.Spin and Options.Block
	stamped *stampedRead // nil without Options.Timestamps

	// Writing, under the write lock.
	writeFn func(fd uintptr) bool
	out     []byte  // what is not written yet
	behind  *vector // what comes behind it, nil if nothing ever did
	left    int     // the bytes of both
}

// vector is for writes of two pieces.
type vector struct {
	more []byte
	iov  [2]unix.Iovec
}

// newSocket returns nil if nc is not a plain stream socket. A type that embeds one is not: its Read may do more.
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

// Fill waits for bytes and puts them into the sink; into dst if the sink finds that they
// can be.
//
// While it waits no memory is held that has no bytes in it. Behind the wait the closure takes new memory by the shortest way there is,
// Refill, since it is called deep in the stack: a goroutine's first 2 KiB become 4 for as long as it lives if more is needed
// (TestIdleStack). Within a frame that takes more, and a second call of rc.Read.
func (s *socket) Fill(dst []byte) (n int, err error) {
	for {
		s.space = s.sink.SpaceIn(dst)
		s.woken = false
		err = s.rc.Read(s.readFn)
		s.space = nil
		switch {
		case err != nil:
			s.sink.Release()
			return 0, err
		case s.woken:
		case s.errno == int32(syscall.ETIME): // no read of a socket has it
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

// FillNow reads once, without waiting.
func (s *socket) FillNow(dst []byte) (n int, err error) {
	s.space = s.sink.SpaceIn(dst)
	s.now = true
	err = s.rc.Read(s.readFn)
	s.now, s.space = false, nil
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

// Drained goes by a short read of TCP only: of other sockets reads end at borders, too. So do
// those of TCP at urgent data, and before the end of the stream.
func (s *socket) Drained(exact bool) bool { return s.empty || !exact && s.drained }

func (s *socket) Raw() syscall.RawConn { return s.rc }

func (s *socket) opError(op string, errno syscall.Errno) error {
	e := &net.OpError{Op: op, Source: s.nc.LocalAddr(), Addr: s.nc.RemoteAddr(), Err: os.NewSyscallError(op, errno)}
	if e.Source != nil {
		e.Net = e.Source.Network()
	}
	return e
}

// reader returns what rc.Read calls: true ends the read, false has it wait for bytes. It is a literal, since a method value is
// another call.
func (s *socket) reader() func(fd uintptr) bool {
	return func(fd uintptr) bool {
		if s.space == nil {
			if s.space = s.sink.Refill(); s.space == nil {
				s.woken = true
				return true
			}
		}
		for {
			if s.spin != nil && s.spin.block != nil && s.drained && !s.now && s.spin.length <= 0 { // of what has come since poll tells at once
				return s.waitBlocked(fd, false)
			}
			n, errno := s.recv(fd)
			switch {
			case errno == 0:
				s.n, s.errno = n, 0
				s.busy = n >= busyRead
				s.empty, s.drained = false, s.tcp && n < len(s.space)
				s.reads.Add(1)
				if s.spin != nil {
					s.spin.until = time.Time{}
				}
				return true
			case errno == syscall.EINTR:
			case errno != syscall.EAGAIN || s.now:
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
	return Counters{Reads: s.reads.Load(), Waits: s.parked.Load(), WriteWaits: uint64(s.waits.Load()), Writing: s.waiting.Load()}
}

// SetReadDeadline sets that of a read that polls, too.
func (s *socket) SetReadDeadline(t time.Time) error {
	if s.spin != nil {
		s.spin.setDeadline(t)
		if s.spin.block != nil {
			s.spin.block.setDeadline(t)
		}
	}
	return s.nc.SetReadDeadline(t)
}

// startPolling has reads poll or block, as Options say.
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

	// What ends it from outside, where the runtime's poller would wake a read that waits.
	ended    atomic.Bool
	deadline atomic.Int64 // Unix time in nanoseconds; 0 means none
}

// spinYield is after how many polls others may run on this processor.
const spinYield = 32

// goesOn reports whether to look again at a socket where nothing is.
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

// setDeadline tells of the read deadline of the connection.
func (p *spin) setDeadline(t time.Time) {
	var at int64
	if !t.IsZero() {
		at = max(t.UnixNano(), 1)
	}
	p.deadline.Store(at)
}

// recv is one read system call.
func (s *socket) recv(fd uintptr) (int, syscall.Errno) {
	raw := s.mode == SyscallsRaw || s.mode == SyscallsAuto && (s.busy || s.now)
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

// Write writes a and then b. With NoWait it stops where it would have to wait; n tells
// how far it came.
func (s *socket) Write(a, b []byte, how How) (n int, err error) {
	total := len(a) + len(b)
	raceRead(a)
	raceRead(b)
	s.out, s.left, s.how, s.writeErrno = a, total, how, 0
	if len(b) > 0 {
		if s.behind == nil {
			s.behind = new(vector)
		}
		s.behind.more = b
	}
	err = s.rc.Write(s.writeFn)
	if s.waiting.Load() {
		s.waiting.Store(false)
	}
	s.out = nil
	if len(b) > 0 {
		*s.behind = vector{}
	}
	n = total - s.left
	if err == nil && s.writeErrno != 0 {
		err = s.opError("write", syscall.Errno(s.writeErrno))
	}
	return n, err
}

// writer returns what rc.Write calls: true ends the write, false has it wait for room.
func (s *socket) writer() func(fd uintptr) bool {
	return func(fd uintptr) bool {
		for s.left > 0 {
			n, errno := s.send(fd)
			switch errno {
			case 0:
				s.wrote(n)
			case syscall.EINTR:
			case syscall.EAGAIN:
				if s.how&NoWait != 0 {
					return true
				}
				s.waits.Add(1)
				s.waiting.Store(true)
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

// wrote takes n bytes from what is not written yet.
func (s *socket) wrote(n int) {
	s.left -= n
	k := min(n, len(s.out))
	s.out = s.out[k:]
	if n > k {
		s.behind.more = s.behind.more[n-k:]
	}
}

// send is one write system call.
func (s *socket) send(fd uintptr) (int, syscall.Errno) {
	trap, arg, size := uintptr(syscall.SYS_WRITE), unsafe.Pointer(unsafe.SliceData(s.out)), uintptr(len(s.out))
	if s.left > len(s.out) {
		trap, arg, size = s.behind.gather(s.out)
	}
	var n uintptr
	var errno syscall.Errno
	if s.mode == SyscallsRaw || s.mode == SyscallsAuto && s.how&Often != 0 {
		n, _, errno = syscall.RawSyscall(trap, fd, uintptr(arg), size)
	} else {
		n, _, errno = syscall.Syscall(trap, fd, uintptr(arg), size)
	}
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// gather returns the system call for first and v.more, and its arguments.
func (v *vector) gather(first []byte) (trap uintptr, arg unsafe.Pointer, size uintptr) {
	if len(first) == 0 { // the kernel has no list to fetch
		return syscall.SYS_WRITE, unsafe.Pointer(unsafe.SliceData(v.more)), uintptr(len(v.more))
	}
	v.iov[0].Base, v.iov[1].Base = &first[0], &v.more[0]
	v.iov[0].SetLen(len(first))
	v.iov[1].SetLen(len(v.more))
	return syscall.SYS_WRITEV, unsafe.Pointer(&v.iov[0]), 2
}
