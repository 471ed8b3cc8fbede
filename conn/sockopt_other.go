//go:build !linux

package conn

import (
	"errors"
	"net"
)

// setBefore tells what only Linux has; the rest is set through package net.
func (o *SocketOptions) setBefore(uintptr) error {
	switch {
	case o.BusyPoll != 0:
		return &SocketOptionError{"BusyPoll", errors.ErrUnsupported}
	case o.UserTimeout != 0:
		return &SocketOptionError{"UserTimeout", errors.ErrUnsupported}
	}
	return nil
}

func (o *SocketOptions) setAfter(t *net.TCPConn) error {
	if o.QuickAck {
		return &SocketOptionError{"QuickAck", errors.ErrUnsupported}
	}
	if o.ReceiveBuffer != 0 {
		if err := t.SetReadBuffer(o.ReceiveBuffer); err != nil {
			return &SocketOptionError{"ReceiveBuffer", err}
		}
	}
	if o.SendBuffer != 0 {
		if err := t.SetWriteBuffer(o.SendBuffer); err != nil {
			return &SocketOptionError{"SendBuffer", err}
		}
	}
	return nil
}

// toldOfReset is what only Linux tells.
func toldOfReset(net.Conn) bool { return false }
