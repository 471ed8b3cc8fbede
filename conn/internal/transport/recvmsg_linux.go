//go:build linux && !386 && !s390x && !asan && !msan

package transport

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

type recvmsgArgs struct{}

func recvmsg(fd uintptr, msg *unix.Msghdr, _ *recvmsgArgs, raw bool) (int, syscall.Errno) {
	var n uintptr
	var errno syscall.Errno
	if raw {
		n, _, errno = syscall.RawSyscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(msg)), 0)
	} else {
		n, _, errno = syscall.Syscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(msg)), 0)
	}
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
