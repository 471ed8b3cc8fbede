//go:build !linux

package conn

import (
	"net"
	"testing"
)

func sendUrgent(t *testing.T, _ *net.TCPConn) { t.Skip("of Linux") }
