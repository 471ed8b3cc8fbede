package main

import (
	"errors"
	"os"
	"runtime"
	"syscall"
	"unsafe"
)

func thisKernel() kernel {
	return kernel{gro: readGRO, coalesce: readCoalescing, stamps: tryStamps, routes: readRoutes}
}

// Read-only commands from <linux/sockios.h> and <linux/ethtool.h>.
const (
	siocEthtool      = 0x8946
	ethtoolGCoalesce = 0x0000000e
	ethtoolGGRO      = 0x0000002b
)

// ethtool sends a command to an interface's driver. data begins with the command, and
// receives the answer.
func ethtool(name string, data unsafe.Pointer) error {
	var request struct {
		name [16]byte
		data unsafe.Pointer
		_    [16]byte // the kernel copies a whole struct ifreq
	}
	if len(name) >= len(request.name) {
		return errors.New("the name is too long")
	}
	copy(request.name[:], name)
	request.data = data
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer syscall.Close(fd)
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), siocEthtool, uintptr(unsafe.Pointer(&request)))
	runtime.KeepAlive(data)
	switch errno {
	case 0:
		return nil
	case syscall.EOPNOTSUPP:
		return errors.New("the driver does not tell")
	}
	return os.NewSyscallError("ioctl", errno)
}

func readGRO(name string) (on bool, err error) {
	value := &[2]uint32{ethtoolGGRO}
	err = ethtool(name, unsafe.Pointer(value))
	return value[1] != 0, err
}

func readCoalescing(name string) (coalescing, error) {
	value := &[23]uint32{ethtoolGCoalesce} // struct ethtool_coalesce
	err := ethtool(name, unsafe.Pointer(value))
	return coalescing{usecs: value[1], frames: value[2], adaptive: value[10] != 0}, err
}

// tryStamps enables receive timestamps on a socket, as conn.Config.Timestamps does.
func tryStamps() error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer syscall.Close(fd)
	return os.NewSyscallError("setsockopt", syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_TIMESTAMPNS, 1))
}

func readRoutes() (quick, all int, err error) {
	rib, err := syscall.NetlinkRIB(syscall.RTM_GETROUTE, syscall.AF_UNSPEC)
	if err != nil {
		return 0, 0, os.NewSyscallError("netlink", err)
	}
	return countRoutes(rib)
}

// countRoutes counts the unicast routes to other hosts, and those that have the metric
// quickack.
func countRoutes(rib []byte) (quick, all int, err error) {
	messages, err := syscall.ParseNetlinkMessage(rib)
	if err != nil {
		return 0, 0, os.NewSyscallError("netlink", err)
	}
	for i := range messages {
		m := &messages[i]
		if m.Header.Type != syscall.RTM_NEWROUTE || len(m.Data) < syscall.SizeofRtMsg {
			continue
		}
		route := (*syscall.RtMsg)(unsafe.Pointer(&m.Data[0]))
		if route.Type != syscall.RTN_UNICAST {
			continue
		}
		attributes, err := syscall.ParseNetlinkRouteAttr(m)
		if err != nil {
			return 0, 0, os.NewSyscallError("netlink", err)
		}
		all++
		for _, a := range attributes {
			if a.Attr.Type == syscall.RTA_METRICS && hasQuickAck(a.Value) {
				quick++
			}
		}
	}
	return quick, all, nil
}

// hasQuickAck looks for RTAX_QUICKACK in a list of metrics. Each metric is an attribute.
func hasQuickAck(metrics []byte) bool {
	const quickAck = 15
	for len(metrics) >= syscall.SizeofRtAttr {
		a := (*syscall.RtAttr)(unsafe.Pointer(&metrics[0]))
		n := int(a.Len)
		if n < syscall.SizeofRtAttr || n > len(metrics) {
			return false
		}
		if value := metrics[syscall.SizeofRtAttr:n]; a.Type == quickAck && len(value) >= 4 {
			return *(*uint32)(unsafe.Pointer(&value[0])) != 0
		}
		metrics = metrics[min((n+3)&^3, len(metrics)):]
	}
	return false
}
