//go:build !linux || asan || msan

package conn

import "net"

// socket reads and writes a stream socket by its descriptor, on Linux. The sanitizers for memory do not see raw system calls.
type socket struct {
	counted readCounter
	stamped *stampedRead
	often   bool
}

type stampedRead struct {
	info  ReadInfo
	stats lagStats
}

func newSocket(net.Conn, *Config, sink) *socket { return nil }

func (*socket) read([]byte) (int, error)               { panic("conn: no socket here") }
func (*socket) write(_, _ []byte, _ bool) (int, error) { panic("conn: no socket here") }
