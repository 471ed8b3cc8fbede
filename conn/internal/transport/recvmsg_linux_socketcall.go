//go:build linux && (386 || s390x) && !asan && !msan

package transport

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// recvmsgArgs are the arguments that socketcall(2) gets a pointer to.
type recvmsgArgs struct {
	fd    uintptr
	msg   *unix.Msghdr
	flags uintptr
}

const socketcallRecvmsg = 17

func recvmsg(fd uintptr, msg *unix.Msghdr, args *recvmsgArgs, raw bool) (int, syscall.Errno) {
	*args = recvmsgArgs{fd: fd, msg: msg}
	var n uintptr
	var errno syscall.Errno
	if raw {
		n, _, errno = syscall.RawSyscall(syscall.SYS_SOCKETCALL, socketcallRecvmsg, uintptr(unsafe.Pointer(args)), 0)
	} else {
		n, _, errno = syscall.Syscall(syscall.SYS_SOCKETCALL, socketcallRecvmsg, uintptr(unsafe.Pointer(args)), 0)
	}
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
