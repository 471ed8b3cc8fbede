//go:build !linux

package conn

import "net"

// unreadBytes and unsentBytes look into a socket, on Linux.
func unreadBytes(nc net.Conn) (n int, ok bool) {
	if u, ok := nc.(unreader); ok {
		return u.Unread()
	}
	return 0, false
}

func unsentBytes(net.Conn) (n int, ok bool) { return 0, false }
