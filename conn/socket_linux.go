//go:build linux && !asan && !msan

package conn

import (
	"io"
	"net"
	"os"
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
	spin time.Duration

	// Reading, by one goroutine.
	readFn  func(fd uintptr) bool
	sink    sink
	dst     []byte
	n       int
	errno   syscall.Errno
	busy    bool // the last read that brought bytes brought many
	counted readCounter
	stamped *stampedRead // nil without Config.Timestamps

	// Writing, under the write lock.
	writeFn    func(fd uintptr) bool
	out        [2][]byte // what is not written yet
	left       int       // its bytes
	iov        [2]unix.Iovec
	noWait     bool
	often      bool // the write is one of many in a row, to other sockets
	writeErrno syscall.Errno
}

// newSocket returns nil if nc is not a plain stream socket. A type that embeds one is not: its Read may do more.
func newSocket(nc net.Conn, cfg *Config) *socket {
	var rc syscall.RawConn
	var err error
	tcp := false
	switch t := nc.(type) {
	case *net.TCPConn:
		tcp = true
		rc, err = t.SyscallConn()
	case *net.UnixConn:
		if t.LocalAddr().Network() != "unix" {
			return nil
		}
		rc, err = t.SyscallConn()
	default:
		return nil
	}
	if err != nil {
		return nil
	}
	s := &socket{nc: nc, rc: rc, mode: cfg.Syscalls, spin: cfg.Spin}
	s.readFn, s.writeFn = s.tryRead, s.tryWrite
	if cfg.Timestamps && tcp {
		s.stamped = newStampedRead(rc)
	}
	return s
}

// read waits for bytes and puts them into the sink.
func (s *socket) read(to sink, dst []byte) (n int, err error) {
	s.sink, s.dst = to, dst
	err = s.rc.Read(s.readFn)
	s.sink, s.dst = nil, nil
	switch {
	case err != nil:
		return 0, err
	case s.errno != 0:
		return 0, s.opError("read", s.errno)
	case s.n == 0:
		return 0, io.EOF
	}
	return s.n, nil
}

func (s *socket) opError(op string, errno syscall.Errno) error {
	return &net.OpError{
		Op: op, Net: s.nc.LocalAddr().Network(), Source: s.nc.LocalAddr(), Addr: s.nc.RemoteAddr(),
		Err: os.NewSyscallError(op, errno),
	}
}

func (s *socket) tryRead(fd uintptr) bool {
	var spinUntil time.Time
	for {
		space := s.sink.SpaceIn(s.dst)
		n, errno := s.recv(fd, space)
		switch errno {
		case 0:
			s.n, s.errno = n, 0
			s.busy = n >= busyRead
			s.counted.reads++
			if n > 0 {
				s.sink.Filled(n)
			}
			return true
		case syscall.EINTR:
		case syscall.EAGAIN:
			if s.spin > 0 {
				now := time.Now()
				if spinUntil.IsZero() {
					spinUntil = now.Add(s.spin)
				}
				if now.Before(spinUntil) {
					continue
				}
			}
			s.counted.waits++
			s.sink.Release()
			return false
		default:
			s.n, s.errno = 0, errno
			return true
		}
	}
}

// recv is one read system call.
func (s *socket) recv(fd uintptr, p []byte) (int, syscall.Errno) {
	if s.stamped != nil {
		return s.stamped.recv(fd, p, s.rawRead())
	}
	var n uintptr
	var errno syscall.Errno
	if s.rawRead() {
		n, _, errno = syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	} else {
		n, _, errno = syscall.Syscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	}
	if errno != 0 {
		return 0, errno
	}
	raceWrite(p[:n])
	return int(n), 0
}

func (s *socket) rawRead() bool { return s.mode == SyscallsRaw || s.mode == SyscallsAuto && s.busy }

// write writes a and then b. With noWait it stops where it would have to wait; n tells how far it came.
func (s *socket) write(a, b []byte, noWait bool) (n int, err error) {
	total := len(a) + len(b)
	raceRead(a)
	raceRead(b)
	s.out = [2][]byte{a, b}
	s.left, s.noWait, s.writeErrno = total, noWait, 0
	err = s.rc.Write(s.writeFn)
	s.out, s.iov = [2][]byte{}, [2]unix.Iovec{}
	n = total - s.left
	if err == nil && s.writeErrno != 0 {
		err = s.opError("write", s.writeErrno)
	}
	return n, err
}

func (s *socket) tryWrite(fd uintptr) bool {
	for s.left > 0 {
		n, errno := s.writeOnce(fd)
		switch errno {
		case 0:
			s.left -= n
			k := min(n, len(s.out[0]))
			s.out[0], s.out[1] = s.out[0][k:], s.out[1][n-k:]
		case syscall.EINTR:
		case syscall.EAGAIN:
			return s.noWait
		default:
			s.writeErrno = errno
			return true
		}
	}
	return true
}

// writeOnce is one write system call.
func (s *socket) writeOnce(fd uintptr) (int, syscall.Errno) {
	pieces := 0
	for _, p := range s.out {
		if len(p) > 0 {
			s.iov[pieces].Base = &p[0]
			s.iov[pieces].SetLen(len(p))
			pieces++
		}
	}
	trap, arg, size := uintptr(syscall.SYS_WRITEV), unsafe.Pointer(&s.iov[0]), uintptr(pieces)
	if pieces == 1 { // the kernel has no list to fetch
		trap, arg, size = syscall.SYS_WRITE, unsafe.Pointer(s.iov[0].Base), uintptr(s.iov[0].Len)
	}
	var n uintptr
	var errno syscall.Errno
	if s.mode == SyscallsRaw || s.mode == SyscallsAuto && s.often {
		n, _, errno = syscall.RawSyscall(trap, fd, uintptr(arg), size)
	} else {
		n, _, errno = syscall.Syscall(trap, fd, uintptr(arg), size)
	}
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
