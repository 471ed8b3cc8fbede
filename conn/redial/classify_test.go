package redial

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"testing"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
)

// What no attempt will do better is not tried again: an option that the connection does not have, a proxy that cannot be used.
func TestClassifyWhatCannotWork(t *testing.T) {
	pipe := func(context.Context, string, string) (net.Conn, error) {
		a, _ := netsim.Pipe(0)
		return a, nil
	}
	proxy := func(*http.Request) (*url.URL, error) { return url.Parse("ftp://p") }
	for name, c := range map[string]struct {
		dialer conn.Dialer
		retry  bool
	}{
		"socket option":   {conn.Dialer{NetDial: pipe, SocketOptions: conn.SocketOptions{Nagle: true}}, false},
		"negative option": {conn.Dialer{NetDial: pipe, SocketOptions: conn.SocketOptions{SendBuffer: -1}}, false},
		"proxy":           {conn.Dialer{NetDial: pipe, Proxy: proxy}, false},
		"network": {conn.Dialer{NetDial: func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Err: errors.New("no route")}
		}}, true},
	} {
		_, err := c.dialer.Dial(t.Context(), "ws://h")
		if err == nil {
			t.Fatalf("%s: no error", name)
		}
		for _, p := range []Policy{Persistent, Strict} {
			if d := p.Classify(err); d.Retry != c.retry {
				t.Errorf("%v, %s: %+v of %v", p, name, d, err)
			}
		}
	}
	if d := Persistent.Classify(&conn.SocketOptionError{Option: "BusyPoll", Err: syscall.EPERM}); d.Retry {
		t.Errorf("an option that is not allowed: %+v", d)
	}
}
