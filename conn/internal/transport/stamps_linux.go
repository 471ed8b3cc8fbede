//go:build linux && !asan && !msan

package transport

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tcpInq is TCP_INQ: each recvmsg returns how many bytes the kernel still holds (Linux
// 4.18).
const tcpInq = 36

// stampedRead reads with recvmsg. That also returns when the kernel received the bytes
// and how many it still holds.
type stampedRead struct {
	info    Info
	msg     unix.Msghdr
	iov     unix.Iovec
	control [16]uint64 // for two control messages, aligned
	call    recvmsgArgs
}

// newStampedRead returns nil if the kernel does not take the option.
func newStampedRead(rc syscall.RawConn) *stampedRead {
	var stampErr error
	err := rc.Control(func(fd uintptr) {
		stampErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, tcpInq, 1)
	})
	if err != nil || stampErr != nil {
		return nil
	}
	return &stampedRead{info: Info{Backlog: -1}}
}

func (r *stampedRead) recv(fd uintptr, p []byte, raw bool) (int, syscall.Errno) {
	r.iov.Base = unsafe.SliceData(p)
	r.iov.SetLen(len(p))
	r.msg.Iov = &r.iov
	r.msg.SetIovlen(1)
	r.msg.Control = (*byte)(unsafe.Pointer(&r.control[0]))
	r.msg.SetControllen(int(unsafe.Sizeof(r.control)))
	n, errno := recvmsg(fd, &r.msg, &r.call, raw)
	r.iov.Base, r.msg.Iov, r.msg.Control = nil, nil, nil
	if errno != 0 {
		return 0, errno
	}
	raceWrite(p[:n])
	r.parse(n, int(r.msg.Controllen))
	return n, 0
}

// parse reads the control messages.
func (r *stampedRead) parse(n, size int) {
	r.info = Info{User: time.Now(), Bytes: n, Backlog: -1}
	base := unsafe.Pointer(&r.control[0])
	for at := 0; at+unix.SizeofCmsghdr <= size; {
		h := (*unix.Cmsghdr)(unsafe.Add(base, at))
		data := unsafe.Add(base, at+unix.CmsgLen(0))
		switch {
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SCM_TIMESTAMPNS && int(h.Len) >= unix.CmsgLen(int(unsafe.Sizeof(unix.Timespec{}))):
			t := (*unix.Timespec)(data)
			r.info.Kernel = time.Unix(t.Unix())
		case h.Level == unix.IPPROTO_TCP && h.Type == tcpInq && int(h.Len) >= unix.CmsgLen(4):
			r.info.Backlog = int(*(*int32)(data))
		}
		if int(h.Len) < unix.SizeofCmsghdr {
			return
		}
		at += unix.CmsgSpace(int(h.Len) - unix.CmsgLen(0))
	}
}
