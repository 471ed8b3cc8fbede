package conn

import (
	"math"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// setBefore sets what has to be there before the connection is made, or can be.
func (o *SocketOptions) setBefore(fd uintptr) error {
	for _, s := range [...]struct {
		option        string
		level, number int
		value         int
	}{
		{"ReceiveBuffer", unix.SOL_SOCKET, unix.SO_RCVBUF, o.ReceiveBuffer},
		{"SendBuffer", unix.SOL_SOCKET, unix.SO_SNDBUF, o.SendBuffer},
		{"BusyPoll", unix.SOL_SOCKET, unix.SO_BUSY_POLL, units(o.BusyPoll, time.Microsecond)},
		{"UserTimeout", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, units(o.UserTimeout, time.Millisecond)},
	} {
		if s.value == 0 {
			continue
		}
		if err := unix.SetsockoptInt(int(fd), s.level, s.number, min(s.value, math.MaxInt32)); err != nil { // the kernel's is an int32
			return &SocketOptionError{s.option, err}
		}
	}
	return nil
}

// units is d in a kernel's units, rounded up, or the most that the kernel can be told.
func units(d, unit time.Duration) int {
	n := d / unit
	if d%unit > 0 {
		n++
	}
	return int(min(n, math.MaxInt32))
}

func (o *SocketOptions) setAfter(t *net.TCPConn) error {
	if !o.QuickAck {
		return nil
	}
	raw, err := t.SyscallConn()
	if err == nil {
		if e := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1) }); e != nil {
			err = e
		}
	}
	if err != nil {
		return &SocketOptionError{"QuickAck", err}
	}
	return nil
}

// toldOfReset reports whether the kernel has dropped the connection, and some call was
// told why. Nobody was if the peer had ended the stream before the reset came.
func toldOfReset(nc net.Conn) bool {
	raw, err := rawSocket(nc)
	if err != nil {
		return false
	}
	told := false
	_ = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil || info.State != unix.BPF_TCP_CLOSE {
			return
		}
		left, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		told = err == nil && left == 0
	})
	return told
}
