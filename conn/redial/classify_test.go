package redial

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
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
	"github.com/seed-7f57ff33/tickwire/handshake"
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
				c := &Client{Policy: Strict, Backoff: Backoff{Base: time.Second, MaxAttempts: 3}, OnChange: func(ch Change) {
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

// Both policies, error by error.
func TestPolicies(t *testing.T) {
	dial := func(err error) error { return &conn.DialError{Step: "handshake", URL: "ws://h/", Err: err} }
	refused := func(status int) error {
		return dial(&handshake.Error{Status: status, Rule: handshake.ErrStatus.Rule})
	}
	type row struct {
		err                error
		persistent, strict bool
	}
	rows := []row{
		{dial(handshake.ErrURL), false, false},
		{dial(handshake.ErrValue), false, false},
		{dial(handshake.ErrReserved), false, false},
		{dial(&handshake.Error{Status: 101, Rule: "x", Name: "Sec-WebSocket-Extensions"}), false, false},
		{dial(&handshake.Error{Status: 101, Rule: "x", Name: "Sec-WebSocket-Protocol"}), false, false},
		{dial(&handshake.Error{Status: 101, Rule: "x", Name: "Sec-WebSocket-Accept"}), true, false},
		{dial(handshake.ErrStatusLine), true, true},
		{dial(io.ErrUnexpectedEOF), true, true},
		{dial(&tls.CertificateVerificationError{Err: errDown}), true, false},
		{dial(x509.HostnameError{Certificate: new(x509.Certificate)}), true, false},
		{dial(x509.UnknownAuthorityError{}), true, false},
		{dial(x509.CertificateInvalidError{Reason: x509.Expired}), true, false},
		{&conn.TransportError{Op: "read", Err: io.EOF}, true, true},
		{&conn.TimeoutError{Clock: conn.ClockData}, true, true},
		{&TimeoutError{Clock: ClockWatch}, true, true},
		{&TimeoutError{Clock: ClockConnect, Err: Fatal(errDown)}, true, true},
		{&ReconnectError{errDown}, true, true},
		{&ReconnectError{Fatal(errDown)}, false, false},
		{&DecodeError{errDown}, true, false},
		{Fatal(errDown), false, false},
		{context.Canceled, true, false},
		{context.DeadlineExceeded, true, true},
		{errors.New("a hook's own"), true, true},
		{conn.ErrClosed, true, true},
	}
	for _, s := range []int{200, 301, 302, 400, 401, 403, 404, 407, 410, 418, 426, 451} {
		rows = append(rows, row{refused(s), true, false})
	}
	for _, s := range []int{408, 425, 429, 500, 502, 503, 504, 520, 599} {
		rows = append(rows, row{refused(s), true, true})
	}
	for _, c := range []frame.CloseCode{1000, 1002, 1003, 1007, 1008, 1009, 1010} {
		rows = append(rows, row{&conn.CloseError{Code: c}, true, false}, row{fmt.Errorf("wrapped: %w", &conn.CloseError{Code: c}), true, false})
	}
	for _, c := range []frame.CloseCode{1001, 1005, 1006, 1011, 1012, 1013, 1014, 3000, 4000, 4999} {
		rows = append(rows, row{&conn.CloseError{Code: c}, true, true})
	}
	for _, c := range []frame.CloseCode{1002, 1007, 1009} {
		rows = append(rows, row{&frame.ProtocolError{Code: c}, true, false})
	}
	for _, r := range rows {
		if p, s := Persistent.Classify(r.err), Strict.Classify(r.err); p.Retry != r.persistent || s.Retry != r.strict {
			t.Errorf("%v: persistent %v, strict %v; want %v and %v", r.err, p, s, r.persistent, r.strict)
		}
	}
}

// What a server says of waiting holds whatever its status and whoever decides, up to MaxRetryAfter (F76).
func TestF76RetryAfter(t *testing.T) {
	always := func(error) Decision { return Decision{Retry: true} }
	longer := func(error) Decision { return Decision{Retry: true, After: time.Minute} }
	for _, tt := range []struct {
		status int
		after  string
		limit  time.Duration
		decide func(error) Decision
		want   time.Duration // 0: what the back-off says, which is less than a second
	}{
		{418, "30", 0, nil, 30 * time.Second},
		{403, "30", 0, nil, 30 * time.Second},
		{429, "30", 0, nil, 30 * time.Second},
		{503, "30", 0, nil, 30 * time.Second},
		{200, "30", 0, nil, 30 * time.Second},
		{302, "30", 0, nil, 30 * time.Second},
		{418, "30", 0, always, 30 * time.Second},
		{418, "30", 0, longer, time.Minute},
		{418, "31536000", 0, nil, 5 * time.Minute},
		{418, "31536000", 0, always, 5 * time.Minute},
		{418, "99999999999999999999", 0, nil, 5 * time.Minute},
		{503, "Mon, 23 Nov 2099 12:01:00 GMT", 0, always, 5 * time.Minute},
		{418, "31536000", time.Hour, nil, time.Hour},
		{418, "31536000", time.Second, nil, time.Second},
		{418, "86400", -1, nil, 24 * time.Hour},
		{418, "soon", 0, nil, 0},
		{418, "-5", 0, nil, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &sim{t: t, session: func(n int, c *conn.Conn) { text(c, "data"); drain(c) }, raw: func(n int, nc *netsim.Conn) bool {
				return n == 1 && answer(nc, fmt.Sprintf("HTTP/1.1 %d No\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n", tt.status, tt.after))
			}}
			c := &Client{MaxRetryAfter: tt.limit, Classify: tt.decide}
			err := s.run(t.Context(), c, func(context.Context, Message) error { return errEnough })
			if len(s.dials) != 2 {
				t.Fatalf("%+v: %v after %d dials", tt, err, len(s.dials))
			}
			gap := s.dials[1].Sub(s.dials[0])
			if tt.want != 0 && gap != tt.want || tt.want == 0 && gap >= time.Second {
				t.Errorf("%+v: the next dial came after %v", tt, gap)
			}
		})
	}
}

// A server that refuses for ever, in whichever way, costs no more than the back-off allows; and a feed goes on once it does not.
func TestPersistentGoesOn(t *testing.T) {
	closing := func(code frame.CloseCode) func(*Session, *conn.Conn) {
		return func(_ *Session, c *conn.Conn) { c.Shutdown(context.Background(), code, "") }
	}
	for name, bad := range map[string]func(s *Session, c *conn.Conn){
		"1000": closing(1000), "1002": closing(1002), "1003": closing(1003), "1008": closing(1008), "4001": closing(4001),
		"no goodbye":  func(_ *Session, c *conn.Conn) {},
		"bad UTF-8":   func(_ *Session, c *conn.Conn) { c.NetConn().Write([]byte{0x81, 1, 0xff}); drain(c) },
		"bad frame":   func(_ *Session, c *conn.Conn) { c.NetConn().Write([]byte{0x83, 0}); drain(c) },
		"too long":    func(_ *Session, c *conn.Conn) { c.NetConn().Write([]byte{0x82, 127, 0, 0, 1, 0, 0, 0, 0, 0}); drain(c) },
		"our own":     func(_ *Session, c *conn.Conn) { text(c, "close"); drain(c) },
		"undecodable": func(_ *Session, c *conn.Conn) { text(c, "undecodable"); drain(c) },
		"reconnect":   func(_ *Session, c *conn.Conn) { text(c, "reconnect"); drain(c) },
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			s := &sim{t: t, session: func(n int, c *conn.Conn) {
				if time.Since(start) < 6*time.Hour {
					bad(nil, c)
					return
				}
				text(c, "data")
				drain(c)
			}}
			c := &Client{Decode: func(dst []byte, m conn.Message) ([]byte, error) {
				if string(m.Data) == "undecodable" {
					return nil, errDown
				}
				return m.Data, nil
			}}
			err := s.run(t.Context(), c, func(_ context.Context, m Message) error {
				switch string(m.Data) {
				case "close":
					return m.Session.Conn.StartClose(frame.CodeNormal, "")
				case "reconnect":
					return c.Reconnect(errDown)
				}
				return errEnough
			})
			// Half of the cap of 30 s on average.
			if n := s.dialed(); !errors.Is(err, errEnough) || n > 1700 || n < 1000 || s.most != 1 {
				t.Errorf("%s: %v after %d dials, %d at once", name, err, n, s.most)
			}
		})
	}
}

func TestFinalCodes(t *testing.T) {
	for _, tt := range []struct {
		policy Policy
		list   []frame.CloseCode
		code   frame.CloseCode
		ours   bool
		ends   bool
	}{
		{Persistent, nil, 1000, false, false},
		{Persistent, []frame.CloseCode{1000, 4001}, 1000, false, true},
		{Persistent, []frame.CloseCode{1000, 4001}, 4001, false, true},
		{Persistent, []frame.CloseCode{1000, 4001}, 1008, false, false},
		{Persistent, []frame.CloseCode{1000}, 1000, true, false},
		{Strict, []frame.CloseCode{4001}, 4001, false, true},
		{Strict, []frame.CloseCode{4001}, 1008, false, true},
		{Strict, []frame.CloseCode{4001}, 1012, false, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &sim{t: t, session: func(n int, c *conn.Conn) {
				text(c, "data")
				if n == 1 && !tt.ours {
					c.Shutdown(context.Background(), tt.code, "")
				}
				drain(c)
			}}
			err := s.run(t.Context(), &Client{Policy: tt.policy, FinalCodes: tt.list}, func(_ context.Context, m Message) error {
				if m.Epoch == 2 {
					return errEnough
				}
				if tt.ours {
					return m.Session.Conn.StartClose(tt.code, "")
				}
				return nil
			})
			var closed *conn.CloseError
			if ends := errors.As(err, &closed); ends != tt.ends || !ends && !errors.Is(err, errEnough) {
				t.Errorf("%+v: %v", tt, err)
			}
		})
	}
}

// Every value has a name, in text, JSON and logs, and none panics.
func TestNames(t *testing.T) {
	for want, v := range map[string]interface {
		fmt.Stringer
		MarshalText() ([]byte, error)
		slog.LogValuer
	}{
		"dialing": Dialing, "stopped": Stopped, "State(7)": State(7), "State(255)": State(255),
		"unknown": Unknown, "clock": ByClock, "Side(5)": Side(5),
		"persistent": Persistent, "strict": Strict, "Policy(2)": Policy(2),
		"replace": Replace, "overlap": Overlap, "Rotation(9)": Rotation(9),
		"wait": WaitWhenDown, "fail": FailWhenDown, "queue": QueueWhenDown, "SendPolicy(3)": SendPolicy(3),
		"stop": Decision{After: time.Hour}, "retry": Decision{Retry: true}, "retry after 5s": Decision{Retry: true, After: 5 * time.Second},
	} {
		b, err := json.Marshal(map[string]any{"v": v})
		if v.String() != want || v.LogValue().String() != want || err != nil || string(b) != fmt.Sprintf(`{"v":%q}`, want) {
			t.Errorf("%v, %v, %s; want %s", v.String(), v.LogValue(), b, want)
		}
	}
}

func TestLogChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sim{t: t, session: func(n int, c *conn.Conn) {
			text(c, "data")
			if n == 1 {
				c.Shutdown(context.Background(), frame.CodeServiceRestart, "")
			}
			drain(c)
		}}
		s.dial = func(_ context.Context, n int) error {
			if n == 2 {
				return errDown
			}
			return nil
		}
		var b bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "delay" {
				return slog.Attr{}
			}
			return a
		}}))
		c := &Client{URL: "ws://user:password@sim/listen-key?token=secret", Dialer: s.dialer(), OnChange: LogChanges(logger)}
		err := runs(t, t.Context(), c, func(_ context.Context, m Message) error {
			switch m.Epoch {
			case 2:
				return c.Reconnect(errors.New("stale"))
			case 3:
				return errEnough
			}
			return nil
		})
		s.wg.Wait()
		want := `level=DEBUG msg="feed: dialing" state=dialing epoch=0 attempt=1 host=ws://sim
level=INFO msg="feed: up" state=up epoch=1 attempt=1 host=ws://sim
level=WARN msg="feed: lost" state=down epoch=1 attempt=1 host=ws://sim by=peer code=1012 sent_code=1012 age=0s messages=1 error="conn: closed by peer with 1012 (service restart)"
level=INFO msg="feed: waiting to dial again" state=waiting epoch=1 attempt=1 error="conn: closed by peer with 1012 (service restart)"
level=DEBUG msg="feed: dialing" state=dialing epoch=1 attempt=1 host=ws://sim
level=INFO msg="feed: attempt failed" state=failed epoch=1 attempt=1 host=ws://sim error="conn: dial ws://sim: connect: network is down"
level=INFO msg="feed: waiting to dial again" state=waiting epoch=1 attempt=2 error="conn: dial ws://sim: connect: network is down"
level=DEBUG msg="feed: dialing" state=dialing epoch=1 attempt=2 host=ws://sim
level=INFO msg="feed: up" state=up epoch=2 attempt=2 host=ws://sim
level=WARN msg="feed: given up" state=down epoch=2 attempt=2 host=ws://sim by=us code=1001 sent_code=1001 age=0s messages=1 error="redial: reconnect was asked for: stale"
level=INFO msg="feed: waiting to dial again" state=waiting epoch=2 attempt=1 error="redial: reconnect was asked for: stale"
level=DEBUG msg="feed: dialing" state=dialing epoch=2 attempt=1 host=ws://sim
level=INFO msg="feed: up" state=up epoch=3 attempt=1 host=ws://sim
level=INFO msg="feed: closed" state=down epoch=3 attempt=1 host=ws://sim by=us code=1001 sent_code=1001 age=0s messages=1 error="conn: closed by this side with 1001 (going away), answered with 1001 (going away)"
level=ERROR msg="feed: gave up" state=stopped epoch=3 error="redial: handler in epoch 3 after 1 messages: enough"
`
		if got := b.String(); got != want || !errors.Is(err, errEnough) {
			t.Errorf("%v, wrote\n%swant\n%s", err, got, want)
		}
		for _, secret := range []string{"listen-key", "token", "password"} {
			if strings.Contains(b.String(), secret) {
				t.Errorf("%q was logged", secret)
			}
		}
	})
}
