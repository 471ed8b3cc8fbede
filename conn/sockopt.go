package conn

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"
	"time"
)

// SocketOptions are options of a TCP socket, named by their purpose. The zero value
// leaves the defaults of package net and of the system: no delay, keepalive probes every
// 15 s. An option that the system or the connection does not support is a
// *SocketOptionError that matches errors.ErrUnsupported. A negative one is a
// *SocketOptionError that matches fs.ErrInvalid.
type SocketOptions struct {
	// Nagle has the kernel hold a small segment back while an earlier one is not
	// acknowledged: fewer packets, up to a round trip or a delayed acknowledgement (40 ms
	// on Linux) later. Without it TCP_NODELAY is set.
	Nagle bool
	// KeepAlive are the kernel's probes of an idle connection (SO_KEEPALIVE,
	// TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT). They notice a peer that is gone, not one
	// that hangs: the kernel answers them. Config.KeepAlive is asked of the peer's
	// program.
	KeepAlive net.KeepAliveConfig
	// ReceiveBuffer is bytes of SO_RCVBUF. Linux doubles the value for its own
	// bookkeeping, cuts it at net.core.rmem_max, and no longer tunes that buffer by
	// itself. It has to be set before the connection is made for its window to be
	// announced.
	ReceiveBuffer int
	// SendBuffer is bytes of SO_SNDBUF. Linux treats it likewise, with
	// net.core.wmem_max.
	SendBuffer int

	// QuickAck has segments acknowledged at once instead of up to 40 ms later
	// (TCP_QUICKACK, Linux). The kernel falls back by its own judgement: the option is
	// for the beginning of a connection.
	QuickAck bool
	// BusyPoll has a blocking call poll the network card's queue for so long, in whole
	// microseconds, instead of sleeping until its interrupt (SO_BUSY_POLL, Linux): some
	// microseconds less, for a busy processor. More than net.core.busy_read takes
	// CAP_NET_ADMIN, and the card's driver must have it.
	BusyPoll time.Duration
	// UserTimeout is how long sent data may go unacknowledged, in whole milliseconds,
	// before the kernel gives the connection up (TCP_USER_TIMEOUT, Linux); otherwise that
	// takes it a quarter of an hour. It also bounds the probes of KeepAlive.
	UserTimeout time.Duration
}

// SocketOptionError says that an option could not be set.
type SocketOptionError struct {
	Option string // the field of SocketOptions
	Err    error  // what the system answered
}

// Error returns the option and the cause.
func (e *SocketOptionError) Error() string {
	return "conn: socket option " + e.Option + ": " + e.Err.Error()
}

// Unwrap returns Err.
func (e *SocketOptionError) Unwrap() error { return e.Err }

// Set sets the options on an existing connection: TCP, or TLS over TCP.
func (o *SocketOptions) Set(nc net.Conn) error {
	if *o == (SocketOptions{}) {
		return nil
	}
	if err := o.check(); err != nil {
		return err
	}
	raw, err := rawSocket(nc)
	if err != nil {
		return &SocketOptionError{o.first(), err}
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = o.setBefore(fd) }); err != nil {
		return &SocketOptionError{o.first(), err}
	}
	if failed != nil {
		return failed
	}
	return o.afterConnect(nc)
}

// check refuses what is negative, which the kernel would take for something else.
func (o *SocketOptions) check() error {
	switch {
	case o.ReceiveBuffer < 0:
		return &SocketOptionError{"ReceiveBuffer", errNegative}
	case o.SendBuffer < 0:
		return &SocketOptionError{"SendBuffer", errNegative}
	case o.BusyPoll < 0:
		return &SocketOptionError{"BusyPoll", errNegative}
	case o.UserTimeout < 0:
		return &SocketOptionError{"UserTimeout", errNegative}
	}
	return nil
}

var errNegative = fmt.Errorf("a negative value: %w", fs.ErrInvalid)

// first names an option that is set.
func (o *SocketOptions) first() string {
	switch {
	case o.Nagle:
		return "Nagle"
	case o.KeepAlive != net.KeepAliveConfig{}:
		return "KeepAlive"
	case o.ReceiveBuffer != 0:
		return "ReceiveBuffer"
	case o.SendBuffer != 0:
		return "SendBuffer"
	case o.QuickAck:
		return "QuickAck"
	case o.BusyPoll != 0:
		return "BusyPoll"
	}
	return "UserTimeout"
}

// beforeConnect is a net.Dialer's Control, nil if there is nothing to do then.
func (o *SocketOptions) beforeConnect() func(network, address string, c syscall.RawConn) error {
	if o.ReceiveBuffer == 0 && o.SendBuffer == 0 && o.BusyPoll == 0 && o.UserTimeout == 0 {
		return nil
	}
	return func(_, _ string, c syscall.RawConn) error {
		failed := o.check()
		if failed != nil {
			return failed
		}
		if err := c.Control(func(fd uintptr) { failed = o.setBefore(fd) }); err != nil {
			return err
		}
		return failed
	}
}

// afterConnect sets what package net would otherwise set later, and what does not last.
func (o *SocketOptions) afterConnect(nc net.Conn) error {
	if *o == (SocketOptions{}) {
		return nil
	}
	t, ok := unwrapAll(nc).(*net.TCPConn)
	if !ok {
		return &SocketOptionError{o.first(), errors.ErrUnsupported}
	}
	if o.Nagle {
		if err := t.SetNoDelay(false); err != nil {
			return &SocketOptionError{"Nagle", err}
		}
	}
	if o.KeepAlive != (net.KeepAliveConfig{}) {
		if err := t.SetKeepAliveConfig(o.KeepAlive); err != nil {
			return &SocketOptionError{"KeepAlive", err}
		}
	}
	return o.setAfter(t)
}

// unwrapAll returns the innermost connection of those that have a NetConn method.
func unwrapAll(nc net.Conn) net.Conn {
	for {
		below, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			return nc
		}
		nc = below.NetConn()
	}
}

func rawSocket(nc net.Conn) (syscall.RawConn, error) {
	s, ok := unwrapAll(nc).(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return s.SyscallConn()
}
