package conn

import (
	"errors"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// sendUrgent sends a byte out of band.
func sendUrgent(t *testing.T, nc *net.TCPConn) {
	raw, err := nc.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			if err := unix.Sendto(int(fd), []byte{'!'}, unix.MSG_OOB, nil); err != nil {
				t.Error(err)
			}
		})
	}
	if err != nil {
		t.Error(err)
	}
}

// The thread of Run stays where it may run, and goes back to where it might before.
func TestPollerCPUs(t *testing.T) {
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		t.Skip(err)
	}
	last := -1
	for i := range 1024 {
		if before.IsSet(i) {
			last = i
		}
	}
	c, e := carried(t, carrier{}, Config{})
	got := make(chan unix.CPUSet, 1)
	p := &Poller{CPUs: []int{last}, Handler: func(*Conn, Message) {
		var s unix.CPUSet
		if err := unix.SchedGetaffinity(0, &s); err != nil {
			t.Error(err)
		}
		got <- s
	}}
	p.Add(c)
	run(t, p)
	e.send(message(Text, "where"))
	if s := <-got; s.Count() != 1 || !s.IsSet(last) {
		t.Errorf("%v", s)
	}
}

// What a Poller adds polls the card.
func TestPollerBusyPoll(t *testing.T) {
	c, e := carried(t, carrier{}, Config{})
	got := make(chan string, 1)
	p := &Poller{BusyPoll: 50 * time.Microsecond, Handler: func(_ *Conn, m Message) { got <- string(m.Data) }}
	if err := p.Add(c); errors.Is(err, os.ErrPermission) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	raw, err := c.base.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		if n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BUSY_POLL); n != 50 || err != nil {
			t.Errorf("%d µs, %v", n, err)
		}
	})
	run(t, p)
	e.send(message(Text, "polled"))
	if s := <-got; s != "polled" {
		t.Error(s)
	}
}

// Reads of Unix sockets end at borders, where descriptors were sent along: what follows
// is read too.
func TestPollerUnixSocket(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socket")
		nc, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		ends[i] = nc.(*net.UnixConn)
	}
	// All three are there before the first read.
	for i, s := range []string{"one", "two", "three"} {
		var rights []byte
		if i == 1 {
			rights = unix.UnixRights(0)
		}
		if _, _, err := ends[1].WriteMsgUnix(message(Text, s), rights, nil); err != nil {
			t.Fatal(err)
		}
	}
	c := New(ends[0], frame.Client, nil)
	defer c.Close()
	got := make(chan string, 10)
	p := &Poller{Handler: func(_ *Conn, m Message) { got <- string(m.Data) }}
	p.Add(c)
	run(t, p)
	for _, want := range []string{"one", "two", "three"} {
		if s := <-got; s != want {
			t.Errorf("%q, want %q", s, want)
		}
	}
	runtime.KeepAlive(ends)
}
