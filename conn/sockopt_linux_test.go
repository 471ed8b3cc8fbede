package conn

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
)

// option reads a socket option back from the kernel.
func option(t *testing.T, nc net.Conn, level, number int) (value int) {
	t.Helper()
	raw, err := unwrapAll(nc).(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { value, err = unix.GetsockoptInt(int(fd), level, number) })
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// Each option is on the socket, on the client's side and on the server's; those left alone are as package net has them.
func TestSocketOptionsAreSet(t *testing.T) {
	l := newListener(t)
	accepted := make(chan *Conn)
	options := SocketOptions{
		Nagle: true, ReceiveBuffer: 20_000, SendBuffer: 30_000, QuickAck: true, UserTimeout: 1500 * time.Millisecond,
		KeepAlive: net.KeepAliveConfig{Enable: true, Idle: 7 * time.Second, Interval: 3 * time.Second, Count: 4},
	}
	for _, o := range []SocketOptions{{}, options} {
		go func() {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			c, err := (&Upgrader{SocketOptions: o}).Accept(nc)
			if err != nil {
				t.Error(err)
			}
			accepted <- c
		}()
		client, err := (&Dialer{SocketOptions: o}).Dial(t.Context(), "ws://"+l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		server := <-accepted
		for side, nc := range map[string]net.Conn{"client": client.NetConn(), "server": server.NetConn()} {
			for _, x := range []struct {
				name          string
				level, number int
				set, unset    int
			}{
				{"Nagle", unix.IPPROTO_TCP, unix.TCP_NODELAY, 0, 1},
				{"KeepAlive", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1, 1},
				{"KeepAlive.Idle", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 7, 15},
				{"KeepAlive.Interval", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 3, 15},
				{"KeepAlive.Count", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 4, 9},
				{"ReceiveBuffer", unix.SOL_SOCKET, unix.SO_RCVBUF, 40_000, -1}, // the kernel doubles it
				{"SendBuffer", unix.SOL_SOCKET, unix.SO_SNDBUF, 60_000, -1},
				{"UserTimeout", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 1500, 0},
			} {
				want := x.unset
				if o.Nagle {
					want = x.set
				}
				if got := option(t, nc, x.level, x.number); want >= 0 && got != want {
					t.Errorf("%s: %s is %d, want %d", side, x.name, got, want)
				}
			}
		}
		client.Close()
		server.Close()
	}
}

// Busy polling needs a privilege beyond the system's own value; either way the answer names the option.
func TestSocketOptionBusyPoll(t *testing.T) {
	l := newListener(t)
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	err = (&SocketOptions{BusyPoll: 50 * time.Microsecond}).Set(nc)
	var e *SocketOptionError
	switch {
	case err == nil:
		if got := option(t, nc, unix.SOL_SOCKET, unix.SO_BUSY_POLL); got != 50 {
			t.Errorf("%d µs", got)
		}
	case !errors.As(err, &e) || e.Option != "BusyPoll" || e.Unwrap() == nil:
		t.Error(err)
	}
}

// Options on what is no socket are an error, and the dial ends with it; without options any connection will do.
func TestSocketOptionsWithoutASocket(t *testing.T) {
	a, b := netsim.Pipe(0)
	defer a.Close()
	defer b.Close()
	if err := new(SocketOptions).Set(a); err != nil {
		t.Error(err)
	}
	for want, o := range map[string]SocketOptions{
		"Nagle": {Nagle: true}, "KeepAlive": {KeepAlive: net.KeepAliveConfig{Idle: time.Second}}, "ReceiveBuffer": {ReceiveBuffer: 1}, "SendBuffer": {SendBuffer: 1},
		"QuickAck": {QuickAck: true}, "BusyPoll": {BusyPoll: 1}, "UserTimeout": {UserTimeout: 1},
	} {
		var e *SocketOptionError
		if err := o.Set(a); !errors.As(err, &e) || e.Option != want || !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v", want, err)
		}
		w := &world{hosts: map[string]func(net.Conn){"h:80": echoing(Upgrader{})}}
		if _, err := (&Dialer{NetDial: w.dial, SocketOptions: o}).Dial(context.Background(), "ws://h"); !errors.As(err, &e) {
			t.Errorf("%s: %v", want, err)
		} else {
			w.wantClosed(t)
		}
		if _, err := (&Upgrader{SocketOptions: o}).Accept(b); !errors.As(err, &e) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// A negative option is refused by name, before and after there is a connection.
func TestSocketOptionsNegative(t *testing.T) {
	nc, _ := loopback(t)
	l := newListener(t)
	for want, o := range map[string]SocketOptions{
		"ReceiveBuffer": {ReceiveBuffer: -1}, "SendBuffer": {SendBuffer: -1}, "BusyPoll": {BusyPoll: -1}, "UserTimeout": {UserTimeout: -1},
	} {
		var e *SocketOptionError
		if err := o.Set(nc); !errors.As(err, &e) || e.Option != want || !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v", want, err)
		}
		if _, err := (&Dialer{SocketOptions: o}).Dial(t.Context(), "ws://"+l.Addr().String()); !errors.As(err, &e) || e.Option != want {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// What is longer than the kernel's numbers is the longest of them, not what is left of it in 32 bits.
func TestSocketOptionsAsLongAsCanBe(t *testing.T) {
	for _, d := range []time.Duration{1<<32*time.Millisecond + 1, math.MaxInt64} {
		nc, _ := loopback(t)
		o := SocketOptions{UserTimeout: d, ReceiveBuffer: math.MaxInt, SendBuffer: math.MaxInt}
		if err := o.Set(nc); err != nil {
			t.Errorf("%v: %v", d, err)
		} else if got := option(t, nc, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); got != math.MaxInt32 {
			t.Errorf("%v: %d ms", d, got)
		} else if got := option(t, nc, unix.SOL_SOCKET, unix.SO_RCVBUF); got < 16<<10 {
			t.Errorf("a receive buffer of %d bytes", got)
		}
	}
}
