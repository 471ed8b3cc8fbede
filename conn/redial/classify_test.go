package redial

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
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
		if d := Classify(err); d.Retry != c.retry {
			t.Errorf("%s: %+v of %v", name, d, err)
		}
	}
	if d := Classify(&conn.SocketOptionError{Option: "BusyPoll", Err: syscall.EPERM}); d.Retry {
		t.Errorf("an option that is not allowed: %+v", d)
	}
}

// A Close of the server's that breaks a rule is judged as a Close, by the code that stands in it, and not by the 1002 with which it
// is answered (F79). What is no Close is judged by that, as ever.
func TestF79BrokenCloseIsJudgedAsTheServers(t *testing.T) {
	for name, x := range map[string]struct {
		wire  string
		code  frame.CloseCode
		by    Side
		retry bool
	}{
		"code out of range":            {"\x88\x13\xEA\x6Fidle for too long", 60015, ByPeer, true},
		"code 1006":                    {"\x88\x02\x03\xEE", 1006, ByPeer, true},
		"one byte":                     {"\x88\x01\x03", frame.CodeNoStatus, ByPeer, true},
		"1001 and a reason in Latin-1": {"\x88\x06\x03\xE9\xFCber", 1001, ByPeer, true},
		"1000 and a reason in Latin-1": {"\x88\x06\x03\xE8\xFCber", 1000, ByPeer, false},
		"1013, masked":                 {"\x88\x82\x00\x00\x00\x00\x03\xF5", 1013, ByPeer, true},
		"1008, without FIN":            {"\x08\x02\x03\xF0", 1008, ByPeer, false},
		"1012, too long":               {"\x88\x7E\x00\x80\x03\xF4" + strings.Repeat("r", 126), 1012, ByPeer, true},
		"1012, cut":                    {"\x88\x09\x03\xF4rest", 1012, ByPeer, true},
		"1000, cut":                    {"\x88\x09\x03\xE8done", 1000, ByPeer, false},
		"cut in its code":              {"\x88\x02\x03", frame.CodeAbnormal, ByNetwork, true},
		"no Close":                     {"\x81\x02\xFF\xFF", frame.CodeAbnormal, ByPeer, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &sim{t: t, session: func(n int, c *conn.Conn) {
					nc := c.NetConn().(*netsim.Conn)
					if _, err := nc.Write([]byte(x.wire)); err != nil {
						t.Error(err)
					}
					nc.CloseWrite()
					for b := make([]byte, 100); ; {
						if _, err := nc.Read(b); err != nil {
							return
						}
					}
				}}
				var down []Change
				c := &Client{Backoff: Backoff{Base: time.Second, MaxAttempts: 3}, OnChange: func(ch Change) {
					if ch.State == Down {
						down = append(down, ch)
					}
				}}
				err := s.run(t.Context(), c, func(context.Context, Message) error { return nil })
				want := 1
				if x.retry {
					want = 3
				}
				if len(down) != want || s.dialed() != want {
					t.Fatalf("%d sessions of %d dials, want %d; %v", len(down), s.dialed(), want, err)
				}
				for _, ch := range down {
					if ch.Code != x.code || ch.By != x.by {
						t.Errorf("ended by %v with %v, want %v and %v: %v", ch.By, ch.Code, x.by, x.code, ch.Err)
					}
				}
				var e *Error
				if !errors.As(err, &e) || conn.CloseCode(err) != x.code {
					t.Fatalf("%v", err)
				}
				limit := "the limit of 3 reached (redial.Backoff.MaxAttempts)"
				if x.retry != (e.Limit == 3) || x.retry != strings.Contains(err.Error(), limit) {
					t.Errorf("limit %d: %v", e.Limit, err)
				}
			})
		})
	}
}
