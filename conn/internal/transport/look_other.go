//go:build !linux

package transport

import "net"

// Unread and Unsent inspect a socket, on Linux only.
func Unread(nc net.Conn) (n int, ok bool) {
	if u, ok := nc.(unreader); ok {
		return u.Unread()
	}
	return 0, false
}

func Unsent(net.Conn) (n int, ok bool) { return 0, false }
