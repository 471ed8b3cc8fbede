package conn

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// noted is an Observer that keeps what it hears.
type noted struct {
	mu    sync.Mutex
	lines []string
	rtts  []time.Duration
}

func (n *noted) Control(_ *Conn, op frame.Opcode, payload []byte, sent bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, fmt.Sprintf("%v %q %v", op, payload, sent))
	if cap(payload) != len(payload) {
		n.lines = append(n.lines, "with room behind the payload")
	}
}
func (n *noted) RoundTrip(_ *Conn, rtt time.Duration) { n.rtts = append(n.rtts, rtt) }
func (n *noted) Slow(*Conn, ReadInfo)                 {}
func (n *noted) Ended(_ *Conn, err error)             { n.lines = append(n.lines, err.Error()) }

// The Observer gets the payload of each control frame, as it was on the wire, in both directions.
func TestObserverGetsPayloads(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		heard := new(noted)
		c, _, p := simulate(t, role, Config{Observer: heard, KeepAlive: -1}, 0)
		for _, b := range [][]byte{p.message(frame.Ping, "1"), p.message(frame.Pong, "unasked"), p.message(frame.Ping, "")} {
			p.send(b, p.message(Text, "x"))
			wantMessage(t, c, Text, "x")
			synctest.Wait() // a pong waits for the goroutine that writes it
		}
		p.send(p.message(frame.Close, "\x03\xe9bye"))
		if _, err := c.ReadMessage(); CloseCode(err) != frame.CodeGoingAway {
			t.Error(err)
		}
		want := []string{
			`ping "1" false`, `pong "1" true`, `pong "unasked" false`, `ping "" false`, `pong "" true`,
			`close "\x03\xe9bye" false`, `close "\x03\xe9" true`, `conn: closed by peer with 1001 (going away) "bye"`,
		}
		got := strings.Join(heard.lines, "\n")
		if got != strings.Join(want, "\n") {
			t.Errorf("heard\n%s", got)
		}
		p.nc.Close()
	})
}

// A pong that waits while others come is told with the payload that went out, alone and before messages.
func TestObserverGetsThePongThatWasSent(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		heard := new(noted)
		c, a, p := simulate(t, role, Config{Observer: heard, KeepAlive: -1}, 0)
		blocked := true
		a.Script(func(op netsim.Op, _, _ int) netsim.Step {
			if op == netsim.Write && blocked {
				return netsim.Step{Max: -1, Err: os.ErrDeadlineExceeded}
			}
			return netsim.Step{}
		})
		c.SetWriteDeadline(time.Now().Add(-time.Second))
		for i := range 3 {
			p.send(p.message(frame.Ping, fmt.Sprint(i)), p.message(Text, "x"))
			wantMessage(t, c, Text, "x")
			synctest.Wait()
			wantTimeout(t, c.WriteMessage(Text, []byte("dropped")))
			synctest.Wait()
		}
		blocked = false
		c.SetWriteDeadline(time.Time{})
		if err := c.WriteMessage(Text, []byte("y")); err != nil {
			t.Error(err)
		}
		p.expect(frame.Pong, "2")
		p.expect(Text, "y")
		if got := strings.Join(heard.lines, ", "); got != `ping "0" false, ping "1" false, ping "2" false, pong "2" true` {
			t.Errorf("heard %s", got)
		}
		c.Close()
		p.nc.Close()
	})
}

// The round trip of each ping is told: of Conn.Ping and of the keepalive, with and without Config.Outbound, whose time does not count.
func TestObserverRoundTrip(t *testing.T) {
	for _, guarded := range []bool{false, true} {
		both(t, func(t *testing.T, role frame.Role) {
			heard := new(noted)
			cfg := Config{Observer: heard, KeepAlive: 20 * time.Second}
			if guarded {
				cfg.Outbound = func(*Conn, Opcode, int) error { time.Sleep(time.Second); return nil }
			}
			c, _, p := simulate(t, role, cfg, 0)
			go func() {
				for {
					if _, err := c.ReadMessage(); err != nil {
						return
					}
				}
			}()
			nextPing := func() string {
				m, err := p.r.Next()
				if err != nil || m.Opcode != frame.Ping {
					t.Fatalf("%v, %v", m, err)
				}
				return string(m.Data)
			}
			result := make(chan time.Duration, 1)
			go func() {
				rtt, err := c.Ping(context.Background())
				if err != nil {
					t.Error(err)
				}
				result <- rtt
			}()
			payload := nextPing()
			time.Sleep(30 * time.Millisecond)
			p.send(p.message(frame.Pong, payload), p.message(frame.Pong, payload)) // the second answers nothing
			if rtt := <-result; rtt != 30*time.Millisecond {
				t.Errorf("Ping returned %v", rtt)
			}
			payload = nextPing() // that of the keepalive
			time.Sleep(70 * time.Millisecond)
			p.send(p.message(frame.Pong, payload))
			synctest.Wait()
			if fmt.Sprint(heard.rtts) != "[30ms 70ms]" {
				t.Errorf("guarded %v: round trips %v", guarded, heard.rtts)
			}
			c.Close()
			p.nc.Close()
		})
	}
}

func TestLogObserver(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		for level, want := range map[slog.Level]string{
			slog.LevelDebug: `level=DEBUG msg="websocket: control frame" frame=ping sent=false bytes=1 peer="peer of a"
level=DEBUG msg="websocket: control frame" frame=pong sent=true bytes=1 peer="peer of a"
level=DEBUG msg="websocket: control frame" frame=close sent=false bytes=5 code=1001 reason=bye peer="peer of a"
level=DEBUG msg="websocket: control frame" frame=close sent=true bytes=2 code=1001 reason="" peer="peer of a"
level=INFO msg="websocket: closed" error="conn: closed by peer with 1001 (going away) \"bye\"" peer="peer of a"
`,
			slog.LevelWarn: "",
		} {
			var b bytes.Buffer
			logger := slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			}}))
			c, _, p := simulate(t, role, Config{Observer: LogObserver(logger), KeepAlive: -1}, 0)
			p.send(p.message(frame.Ping, "1"), p.message(Text, "x"))
			wantMessage(t, c, Text, "x")
			synctest.Wait()
			p.send(p.message(frame.Close, "\x03\xe9bye"))
			c.ReadMessage()
			if got := b.String(); got != want {
				t.Errorf("wrote\n%swant\n%s", got, want)
			}
			p.nc.Close()
		}
	})
}

// addressless is a transport that is no socket: its address is nil, or a nil pointer
// whose String cannot be called.
type addressless struct {
	net.Conn
	addr net.Addr
}

func (a addressless) RemoteAddr() net.Addr { return a.addr }
func (a addressless) LocalAddr() net.Addr  { return a.addr }

type nameless struct{ name string }

func (*nameless) Network() string  { return "none" }
func (n *nameless) String() string { return n.name }

// LogObserver writes of connections that have no address as of others, in all that it hears.
func TestLogObserverWithoutAddress(t *testing.T) {
	for want, addr := range map[string]net.Addr{"": nil, " peer=<nil>": (*nameless)(nil), " peer=here": &nameless{"here"}} {
		both(t, func(t *testing.T, role frame.Role) {
			var b bytes.Buffer
			o := LogObserver(slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug})))
			a, far := netsim.Pipe(1 << 10)
			c := New(addressless{a, addr}, role, &Config{Observer: o, KeepAlive: -1})
			o.Slow(c, ReadInfo{Backlog: 7})
			o.RoundTrip(c, time.Second)
			o.Control(c, frame.Ping, []byte("1"), true)
			c.Close()
			far.Close()
			lines := strings.Split(strings.TrimSpace(b.String()), "\n")
			if len(lines) != 4 {
				t.Errorf("wrote\n%s", b.String())
			}
			for _, line := range lines {
				if _, after, found := strings.Cut(line, " peer="); found != (want != "") || found && " peer="+after != want {
					t.Errorf("%q does not end with %q", line, want)
				}
			}
		})
	}
}
