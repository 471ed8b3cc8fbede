//go:build !linux

package conn

import (
	"errors"
	"syscall"
	"time"
)

// epoll is an epoll instance, on Linux.
type epoll struct{}

func newEpoll() *epoll { return nil }

const noEpoll = "conn: no epoll here"

func (*epoll) close()                              { panic(noEpoll) }
func (*epoll) ring()                               { panic(noEpoll) }
func (*epoll) add(*pollLine, syscall.RawConn) bool { panic(noEpoll) }
func (*epoll) remove(*pollLine)                    { panic(noEpoll) }
func (*epoll) poll(*Poller)                        { panic(noEpoll) }
func (*epoll) block(*Poller)                       { panic(noEpoll) }
func (*epoll) sleep(time.Duration)                 { panic(noEpoll) }

// runOn cannot choose processors.
func runOn(cpus []int) (restore func() bool, err error) {
	restore = func() bool { return true }
	if cpus != nil {
		return restore, &PollerError{"CPUs", errors.ErrUnsupported}
	}
	return restore, nil
}
