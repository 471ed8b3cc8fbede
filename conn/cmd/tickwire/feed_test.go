package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
	"github.com/seed-7f57ff33/tickwire/conn/internal/exchange"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// accept serves each client of a new listener with the function and returns the URL.
func accept(t *testing.T, serve func(nc net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go serve(nc)
		}
	}()
	return "ws://" + l.Addr().String() + "/"
}

// relay passes the feed of a real exchange on through spoil, which changes the
// message, drops it (nil), or ends the connection and returns false.
func relay(t *testing.T, spoil func(n int, p []byte, to *conn.Conn) ([]byte, bool)) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- new(exchange.Server).Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		<-served
	})
	return accept(t, func(nc net.Conn) {
		to, err := new(conn.Upgrader).Accept(nc)
		if err != nil {
			return
		}
		defer to.Close()
		from, err := conn.Dial(ctx, "ws://"+l.Addr().String()+"/")
		if err != nil {
			return
		}
		defer from.Close()
		go func() { // the subscription, and at the end the goodbye
			for {
				m, err := to.ReadMessage()
				if err != nil {
					from.Close()
					return
				}
				from.WriteMessage(m.Opcode, m.Data)
			}
		}()
		for n := 0; ; n++ {
			m, err := from.ReadMessage()
			if err != nil {
				return
			}
			p, ok := spoil(n, m.Data, to)
			if !ok {
				return
			}
			if p != nil && to.WriteMessage(m.Opcode, p) != nil {
				return
			}
		}
	})
}

// consume runs a feed against url as if the exchange there were the embedded one.
func consume(t *testing.T, url string, o feedOptions) (s summary, err error) {
	t.Helper()
	o.json = true
	var out bytes.Buffer
	std := &streams{in: strings.NewReader(""), out: &out, err: &bytes.Buffer{}}
	f := &feed{options: o, dialer: new(conn.Dialer), url: url, meter: newMeter(), display: cli.NewDisplay(std.err)}
	err = f.run(t.Context(), std)
	if err := json.Unmarshal(out.Bytes(), &s); err != nil {
		t.Fatalf("%v: %s", err, out.Bytes())
	}
	return s, err
}

func TestFeedFindsFaults(t *testing.T) {
	const at = 777 // the message that is spoilt; 0 is the answer to the subscription
	for _, test := range []struct {
		name  string
		spoil func(p []byte, to *conn.Conn) ([]byte, bool)
		want  error
	}{
		{"gap", func([]byte, *conn.Conn) ([]byte, bool) { return nil, true }, exchange.ErrGap},
		{"changed byte", func(p []byte, _ *conn.Conn) ([]byte, bool) {
			p = bytes.Clone(p)
			p[len(p)/2] ^= 1
			return p, true
		}, exchange.ErrChecksum},
		{"twice", func(p []byte, to *conn.Conn) ([]byte, bool) {
			to.WriteMessage(frame.Text, p)
			return p, true
		}, exchange.ErrGap},
		{"cut", func(p []byte, _ *conn.Conn) ([]byte, bool) { return p[:10], true }, exchange.ErrMessage},
		{"goodbye", func(_ []byte, to *conn.Conn) ([]byte, bool) {
			to.Shutdown(context.Background(), frame.CodeInternalError, "enough")
			return nil, false
		}, net.ErrClosed},
		{"lost connection", func(_ []byte, to *conn.Conn) ([]byte, bool) {
			to.Close()
			return nil, false
		}, net.ErrClosed},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			url := relay(t, func(n int, p []byte, to *conn.Conn) ([]byte, bool) {
				if n == at {
					return test.spoil(p, to)
				}
				return p, true
			})
			s, err := consume(t, url, feedOptions{duration: time.Minute, rate: 5000, conns: 1})
			var bad *cli.UsageError
			if !errors.Is(err, test.want) || errors.As(err, &bad) {
				t.Fatalf("%v, want %v with exit code 1", err, test.want)
			}
			if s.Verified || s.Error == "" || len(s.Phases) != 1 {
				t.Fatalf("%+v", s)
			}
			// All messages before the fault were good ones.
			if n := s.Phases[0].Messages; n < at-1 || n > at {
				t.Errorf("%d messages", n)
			}
		})
	}
}

// A relay that spoils nothing is no fault: the test above tests what it says.
func TestFeedPassesThroughRelay(t *testing.T) {
	t.Parallel()
	url := relay(t, func(_ int, p []byte, _ *conn.Conn) ([]byte, bool) { return p, true })
	s, err := consume(t, url, feedOptions{duration: 300 * time.Millisecond, rate: 5000, conns: 2})
	if err != nil || !s.Verified || len(s.Phases) != 1 || s.Phases[0].Messages == 0 {
		t.Errorf("%v, %+v", err, s)
	}
}

// With -url any server will do, also one that is silent: the run ends in time.
func TestFeedFromElsewhere(t *testing.T) {
	t.Parallel()
	url := accept(t, func(nc net.Conn) {
		c, err := new(conn.Upgrader).Accept(nc)
		if err != nil {
			return
		}
		defer c.Close()
		for {
			m, err := c.ReadMessage()
			if err != nil {
				return
			}
			for range 3 {
				c.WriteMessage(m.Opcode, m.Data)
			}
		}
	})
	for _, test := range []struct {
		flags []string
		want  int64
	}{
		{[]string{"-text", "hello"}, 3},
		{nil, 0},
	} {
		stdout, stderr, code := run(t, append(append([]string{"feed", "-json", "-duration", "200ms"}, test.flags...), "-url", url)...)
		var s summary
		if err := json.Unmarshal([]byte(stdout), &s); err != nil || code != exitOK {
			t.Fatalf("exit code %d, %v, %s%s", code, err, stdout, stderr)
		}
		if s.Verified || len(s.Phases) != 1 || s.Phases[0].Messages != test.want || s.Phases[0].Bytes != 5*test.want {
			t.Errorf("%+v", s)
		}
	}
}

// With -reconnect the end of a connection is a line, and the feed goes on.
func TestFeedReconnects(t *testing.T) {
	t.Parallel()
	url := accept(t, func(nc net.Conn) {
		c, err := new(conn.Upgrader).Accept(nc)
		if err != nil {
			return
		}
		m, err := c.ReadMessage()
		if err == nil {
			c.WriteMessage(m.Opcode, m.Data)
		}
		c.Close() // without a goodbye
	})
	stdout, stderr, code := run(t, "feed", "-json", "-duration", "700ms", "-reconnect", "-text", "hello", "-url", url)
	var s summary
	if err := json.Unmarshal([]byte(stdout), &s); err != nil || code != exitOK {
		t.Fatalf("exit code %d, %v, %s%s", code, err, stdout, stderr)
	}
	sessions := int64(strings.Count(stderr, "ended by the network"))
	if r := s.Phases[0]; sessions < 2 || r.Messages < 2 || r.Messages > sessions+1 || r.Bytes != 5*r.Messages {
		t.Errorf("%d sessions ended, %+v\n%s", sessions, r, stderr)
	}
}

func TestFigures(t *testing.T) {
	for want, got := range map[string]string{
		"0": cli.Quantity(0), "999": cli.Quantity(999), "9994": cli.Quantity(9994), "10.0 k": cli.Quantity(9995), "50.0 k": cli.Quantity(50_000),
		"999.4 k": cli.Quantity(999_400), "1.00 M": cli.Quantity(999_500), "12.35 M": cli.Quantity(12_345_678),
		"0.0 µs": cli.Duration(1), "1.5 µs": cli.Duration(1500), "999.4 µs": cli.Duration(999_400), "1.00 ms": cli.Duration(999_500),
		"999.40 ms": cli.Duration(999_400_000), "1.00 s": cli.Duration(999_500_000), "100.00 s": cli.Duration(100e9),
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestDisplay(t *testing.T) {
	var b bytes.Buffer
	d := cli.NewTerminalDisplay(&b)
	d.Show("a long line")
	d.Show("short")
	d.End()
	d.End()
	if got, want := b.String(), "\ra long line\rshort      \n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	b.Reset()
	d = cli.NewDisplay(&b)
	d.Show("one")
	d.Show("two")
	d.End()
	if got, want := b.String(), "one\ntwo\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
