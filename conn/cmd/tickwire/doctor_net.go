package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A burst is what a feed of 40 MB/s sends while a program does not read for 100 ms. A
// receive buffer must be twice as large, because the kernel counts its bookkeeping too.
const burst = 4 << 20

const netCore, netIPv4 = "/proc/sys/net/core/", "/proc/sys/net/ipv4/"

// setting reads a number below /proc/sys.
func (h *host) setting(f *finding, path string) (int64, bool) {
	n, ok := h.number(f, path)
	if !ok {
		f.explain("The network namespace of a container may not show it: run this on its host.")
	}
	return n, ok
}

func checkReceiveMax(h *host, f *finding) {
	if n, ok := h.setting(f, netCore+"rmem_max"); ok && n < burst {
		f.better("conn.SocketOptions.ReceiveBuffer is cut at this. A pause of 100 ms of a feed of 40 MB/s needs 4 MiB.",
			fmt.Sprintf("sudo sysctl -w net.core.rmem_max=%d", burst))
	}
	f.ok()
}

func checkReceiveTCP(h *host, f *finding) {
	const path = netIPv4 + "tcp_rmem"
	s, err := h.file(path)
	var size [3]int64
	fields := strings.Fields(s)
	if err == nil && len(fields) != 3 {
		err = &garbage{"three numbers", s}
	}
	for i := range size {
		if err == nil {
			size[i], err = whole(fields[i])
		}
	}
	const first = 131072
	switch {
	case err != nil:
		f.failed(path, err)
	case size[1] < first || size[2] < 2*burst:
		f.read(path, s)
		f.better("A receive buffer begins with the second number and grows up to the third. A burst beyond it waits at the sender.",
			fmt.Sprintf("sudo sysctl -w net.ipv4.tcp_rmem=%q", fmt.Sprintf("%d %d %d", size[0], max(size[1], first), max(size[2], 4*burst))))
	default:
		f.read(path, s)
	}
	for _, name := range []string{"tcp_moderate_rcvbuf", "tcp_window_scaling"} {
		if n, ok := h.setting(f, netIPv4+name); ok && n == 0 {
			why := "Receive buffers do not grow."
			if name == "tcp_window_scaling" {
				why = "No more than 64 KiB can be under way to this host."
			}
			f.better(why, "sudo sysctl -w net.ipv4."+name+"=1")
		}
	}
	f.ok()
}

func checkReceiveDefault(h *host, f *finding) {
	if _, ok := h.setting(f, netCore+"rmem_default"); ok {
		f.explain("TCP does not use it: see tcp_rmem.")
	}
	f.info()
}

// counters returns one group of /proc/net/netstat. A group is a line of names and a line
// of values.
func (h *host) counters(group string) (map[string]uint64, error) {
	s, err := h.file(netstat)
	if err != nil {
		return nil, err
	}
	var names []string
	for line := range strings.Lines(s) {
		rest, ok := strings.CutPrefix(line, group+":")
		if !ok {
			continue
		}
		if names == nil {
			names = strings.Fields(rest)
			continue
		}
		values := strings.Fields(rest)
		if len(values) != len(names) {
			break
		}
		all := map[string]uint64{}
		for i, name := range names {
			n, err := strconv.ParseUint(values[i], 10, 64)
			if err != nil {
				return nil, &garbage{"a number for " + name, values[i]}
			}
			all[name] = n
		}
		return all, nil
	}
	return nil, &garbage{"two lines " + group, s}
}

const netstat = "/proc/net/netstat"

func checkReceiveDrops(h *host, f *finding) {
	all, err := h.counters("TcpExt")
	if err != nil {
		f.failed(netstat, err)
		return
	}
	var parts []string
	dropped := uint64(0)
	for _, name := range []string{"RcvPruned", "TCPRcvQDrop", "TCPBacklogDrop", "TCPZeroWindowDrop"} {
		if n, ok := all[name]; ok {
			parts = append(parts, fmt.Sprintf("%s %d", name, n))
			dropped += n
		}
	}
	if len(parts) == 0 {
		f.failed(netstat, errors.New("it counts no drops"))
		return
	}
	f.read(netstat, strings.Join(parts, ", "))
	if dropped > 0 {
		f.better("Since boot, the kernel dropped segments for which a receive buffer had no room. Programs read too slowly, or their buffers are small: see tcp_rmem.",
			"nstat -az TcpExtRcvPruned TcpExtTCPRcvQDrop TcpExtTCPBacklogDrop TcpExtTCPZeroWindowDrop  # whether it goes on")
	}
	f.ok()
}

// More than one in this many packets: polls of a card ran out of budget too often.
const maxSqueeze = 10_000

func checkSoftnet(h *host, f *finding) {
	const path = "/proc/net/softnet_stat"
	s, err := h.file(path)
	if err == nil && s == "" {
		err = &garbage{"a line for each processor", s}
	}
	var packets, dropped, squeezed uint64
	for line := range strings.Lines(s) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			err = &garbage{"three numbers or more", line}
			break
		}
		for i, sum := range []*uint64{&packets, &dropped, &squeezed} {
			n, e := strconv.ParseUint(fields[i], 16, 64)
			if e != nil {
				err = &garbage{"a number", fields[i]}
			}
			*sum += n
		}
	}
	if err != nil {
		f.failed(path, err)
		return
	}
	f.read(path, fmt.Sprintf("%d packets, %d dropped, %d times out of budget, since boot", packets, dropped, squeezed))
	if dropped > 0 {
		if n, ok := h.setting(f, netCore+"netdev_max_backlog"); ok {
			f.better("Packets were dropped as a processor's queue was full.", fmt.Sprintf("sudo sysctl -w net.core.netdev_max_backlog=%d", max(2*n, 10_000)))
		} else {
			f.better("Packets were dropped as a processor's queue was full.")
		}
	}
	if squeezed > packets/maxSqueeze {
		if n, ok := h.setting(f, netCore+"netdev_budget"); ok {
			f.better("Polls of a card ended with packets left in it.", fmt.Sprintf("sudo sysctl -w net.core.netdev_budget=%d", max(2*n, 600)))
		} else {
			f.better("Polls of a card ended with packets left in it.")
		}
	}
	f.ok()
}

func checkBusyPoll(h *host, f *finding) {
	if n, ok := h.setting(f, netCore+"busy_poll"); ok && n <= 0 {
		f.better("A thread that waits for many sockets sleeps until the card interrupts. With 50 it asks the card for 50 µs first, and uses a processor.",
			"sudo sysctl -w net.core.busy_poll=50")
	}
	f.ok()
}

func checkBusyRead(h *host, f *finding) {
	if n, ok := h.setting(f, netCore+"busy_read"); ok && n <= 0 {
		f.better("A read of one socket does not ask the card either. A program may set it for itself, with CAP_NET_ADMIN.",
			"in the program: conn.SocketOptions{BusyPoll: 50 * time.Microsecond}", "sudo sysctl -w net.core.busy_read=50")
	}
	f.ok()
}

func checkQuickAck(h *host, f *finding) {
	const path = "netlink RTM_GETROUTE"
	quick, all, err := h.kernel.routes()
	if err != nil {
		f.failed(path, err)
	} else {
		f.read(path, fmt.Sprintf("%d of %d routes with quickack", quick, all))
	}
	if counters, err := h.counters("TcpExt"); err == nil {
		if n, ok := counters["DelayedACKs"]; ok {
			f.read(netstat, fmt.Sprintf("DelayedACKs %d", n))
		}
	}
	if err == nil && quick < all {
		f.better("An acknowledgement may wait up to 40 ms. A sender with little in flight waits for it.",
			"in the program: conn.SocketOptions{QuickAck: true}  # at the beginning of a connection",
			"sudo ip route change ROUTE quickack 1  # for all; ip route show lists them")
	}
	f.ok()
}

func checkAutocorking(h *host, f *finding) {
	if n, ok := h.setting(f, netIPv4+"tcp_autocorking"); ok && n != 0 {
		f.better("A small write may wait until the card has sent the last one, to go in one segment with the next.",
			"sudo sysctl -w net.ipv4.tcp_autocorking=0")
	}
	f.ok()
}

func checkSlowStart(h *host, f *finding) {
	if n, ok := h.setting(f, netIPv4+"tcp_slow_start_after_idle"); ok && n != 0 {
		f.better("A server's burst after a pause is sent in small pieces, as on a new connection. It matters where this host sends.",
			"sudo sysctl -w net.ipv4.tcp_slow_start_after_idle=0")
	}
	f.ok()
}

func checkStamps(h *host, f *finding) {
	const path = "setsockopt SO_TIMESTAMPNS"
	if err := h.kernel.stamps(); err != nil {
		f.failed(path, err)
		f.explain("conn.Config.Timestamps has nothing to go by then.")
	} else {
		f.read(path, "yes")
	}
	if n, ok := h.setting(f, netCore+"netdev_tstamp_prequeue"); ok && n == 0 {
		f.better("A packet that another processor handles is stamped there, after it has waited.",
			"sudo sysctl -w net.core.netdev_tstamp_prequeue=1")
	}
	f.ok()
}
