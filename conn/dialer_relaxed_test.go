package conn

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/seed-7f57ff33/tickwire/handshake"
)

// A Dialer takes an answer of odd lines only where it is told to, and the connection then
// works.
func TestDialerRelaxed(t *testing.T) {
	w := &world{hosts: map[string]func(net.Conn){"h:80": func(nc net.Conn) {
		r, _ := request(nc)
		io.WriteString(nc, strings.ReplaceAll(strings.Replace(switching(r), "\r\n", "\r\nodd line\r\nX-A : b\r\n", 1), "\r\n", "\n")+"\x81\x05hello")
		io.Copy(io.Discard, nc)
	}}}
	for _, c := range []struct {
		relaxed handshake.Relaxed
		want    error
	}{{handshake.Relaxed{}, handshake.ErrBareLF}, {handshake.Relaxed{OddLines: true}, handshake.ErrBareLF}, {handshake.Relaxed{BareLF: true}, handshake.ErrSpaceBeforeColon}, {handshake.Relaxed{BareLF: true, OddLines: true}, nil}} {
		var seen string
		d := &Dialer{NetDial: w.dial, Relaxed: c.relaxed, OnResponse: func(r *handshake.Response) error { seen = r.Header.Get("X-A"); return nil }}
		conn, err := d.Dial(t.Context(), "ws://h")
		if !errors.Is(err, c.want) {
			t.Fatalf("%+v: %v, want %v", c.relaxed, err, c.want)
		}
		if err != nil {
			continue
		}
		if m, err := conn.ReadMessage(); err != nil || string(m.Data) != "hello" || seen != "b" {
			t.Errorf("%q, %v; X-A is %q", m.Data, err, seen)
		}
		conn.Close()
	}
}
