package transport

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Unread returns how many bytes have arrived that were not read from nc. ok is false if
// that is unknown.
func Unread(nc net.Conn) (n int, ok bool) {
	if u, ok := nc.(unreader); ok {
		return u.Unread()
	}
	return askSocket(nc, unix.TIOCINQ)
}

// Unsent returns how many bytes the kernel holds that the peer has not acknowledged. ok
// is false if that is unknown.
func Unsent(nc net.Conn) (n int, ok bool) {
	return askSocket(nc, unix.SIOCOUTQ)
}

// askSocket calls an ioctl that returns a number.
func askSocket(nc net.Conn, request uint) (n int, ok bool) {
	switch nc.(type) {
	case *net.TCPConn, *net.UnixConn:
	default: // it may have a buffer of its own
		return 0, false
	}
	rc, err := nc.(syscall.Conn).SyscallConn()
	if err != nil {
		return 0, false
	}
	err = rc.Control(func(fd uintptr) {
		var failed error
		n, failed = unix.IoctlGetInt(int(fd), request)
		ok = failed == nil
	})
	return n, ok && err == nil
}
