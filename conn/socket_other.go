//go:build !linux || asan || msan

package conn

import (
	"net"
	"sync/atomic"
	"time"
)

// socket reads and writes a stream socket by its descriptor, on Linux. The sanitizers for memory do not see raw system calls.
type socket struct {
	counted readCounter
	stamped *stampedRead
	spin    *spin
	often   bool
	waits   atomic.Uint32
	waiting atomic.Bool
}

type spin struct{ ended atomic.Bool }

func (*spin) setDeadline(time.Time) {}

type stampedRead struct {
	info  ReadInfo
	stats lagStats
}

func newSocket(net.Conn, *Config, sink) *socket { return nil }

func (*socket) Fill([]byte) (int, error)               { panic("conn: no socket here") }
func (*socket) write(_, _ []byte, _ bool) (int, error) { panic("conn: no socket here") }
