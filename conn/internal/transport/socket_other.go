//go:build !linux || asan || msan

package transport

import (
	"net"
	"syscall"
	"time"
)

// socket reads and writes a stream socket by its descriptor, on Linux only. Memory
// sanitizers do not see raw system calls, so it is not built with them.
type socket struct{}

func newSocket(net.Conn, Options, Sink) *socket { return nil }

const noSocket = "transport: no socket here"

func (*socket) Fill([]byte) (int, error)              { panic(noSocket) }
func (*socket) FillNow([]byte) (int, error)           { panic(noSocket) }
func (*socket) Drained(bool) bool                     { panic(noSocket) }
func (*socket) Raw() syscall.RawConn                  { panic(noSocket) }
func (*socket) Ready() bool                           { panic(noSocket) }
func (*socket) Held() (n int, known bool)             { panic(noSocket) }
func (*socket) Info() *Info                           { panic(noSocket) }
func (*socket) Free()                                 { panic(noSocket) }
func (*socket) Write(_, _ []byte, _ How) (int, error) { panic(noSocket) }
func (*socket) CloseNotify()                          { panic(noSocket) }
func (*socket) CutByWrite() bool                      { panic(noSocket) }
func (*socket) Vectored() bool                        { panic(noSocket) }
func (*socket) Counters() Counters                    { panic(noSocket) }
func (*socket) SetReadDeadline(time.Time) error       { panic(noSocket) }
func (*socket) StopPolling()                          { panic(noSocket) }
func (*socket) startPolling()                         { panic(noSocket) }
