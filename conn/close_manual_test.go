package conn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// With ManualClose the connection stays open after both Close frames, whichever went first
// and whoever answered, until Close ends it at once.
func TestManualClose(t *testing.T) {
	control := func(answer bool) func(*Conn, Opcode, []byte) (bool, error) {
		return func(*Conn, Opcode, []byte) (bool, error) { return answer, nil }
	}
	for name, tt := range map[string]struct {
		control  func(*Conn, Opcode, []byte) (bool, error)
		first    bool // ours goes first
		byCaller bool // ours goes by WriteControl
	}{
		"answered by the engine": {}, "Control answers": {control: control(true)}, "the caller answers": {control: control(false), byCaller: true},
		"the caller goes first": {first: true, byCaller: true},
	} {
		both(t, func(t *testing.T, role frame.Role) {
			c, _, p := simulate(t, role, Config{ManualClose: true, Control: tt.control}, 0)
			ours := func() {
				if err := c.WriteControl(frame.Close, []byte("\x03\xe9"), time.Time{}); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			if tt.first {
				ours()
			}
			p.send(p.closing(frame.CodeGoingAway, "bye"))
			wantClose := func() {
				t.Helper()
				var e *CloseError
				if _, err := c.ReadMessage(); !errors.As(err, &e) || e.Code != frame.CodeGoingAway || e.Reason != "bye" || e.Local != tt.first {
					t.Fatalf("%s: %v", name, err)
				}
			}
			wantClose()
			if tt.byCaller && !tt.first {
				if err := c.WriteMessage(Text, []byte("last")); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				p.expect(Text, "last")
				ours()
			}
			p.expectClose(frame.CodeGoingAway)
			time.Sleep(time.Hour)
			wantClose()
			for _, err := range []error{c.WriteMessage(Text, nil), c.WriteControl(frame.Ping, nil, time.Time{}), c.WriteControl(frame.Close, nil, time.Time{})} {
				if err != ErrShutdown {
					t.Errorf("%s: %v", name, err)
				}
			}
			if err := c.Err(); err != nil {
				t.Errorf("%s: it has ended: %v", name, err)
			}
			p.nc.SetReadDeadline(time.Now().Add(time.Second))
			if n, err := p.nc.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: the peer got %d bytes, %v", name, n, err)
			}
			p.nc.SetReadDeadline(time.Time{})
			start := time.Now()
			if err := c.Close(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			p.expectEnd()
			if took := time.Since(start); took != 0 {
				t.Errorf("%s: the end took %v", name, took)
			}
			var e *CloseError
			if err := c.Err(); !errors.As(err, &e) || !errors.Is(err, net.ErrClosed) || e.SentCode != frame.CodeGoingAway {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

// Shutdown, StartClose and a clock still end it.
func TestManualCloseEnds(t *testing.T) {
	for name, end := range map[string]func(c *Conn, p *peer) error{
		"Shutdown": func(c *Conn, p *peer) error {
			return c.Shutdown(context.Background(), frame.CodeNormal, "")
		},
		"Shutdown, after a Close": func(c *Conn, p *peer) error {
			p.send(p.closing(frame.CodeNormal, ""))
			if _, err := c.ReadMessage(); c.Err() != nil {
				return err
			}
			return c.Shutdown(context.Background(), frame.CodeNormal, "")
		},
		"StartClose": func(c *Conn, p *peer) error {
			if err := c.StartClose(frame.CodeNormal, ""); err != nil {
				return err
			}
			p.send(p.closing(frame.CodeNormal, ""))
			_, err := c.ReadMessage()
			return err
		},
		"a clock": func(c *Conn, p *peer) error {
			p.send(p.closing(frame.CodeNormal, ""))
			_, err := c.ReadMessage()
			return err
		},
	} {
		both(t, func(t *testing.T, role frame.Role) {
			cfg := Config{ManualClose: true}
			if name == "a clock" {
				cfg.KeepAlive = time.Minute
			}
			c, _, p := simulate(t, role, cfg, 0)
			if name == "Shutdown" {
				go func() {
					p.expectClose(frame.CodeNormal)
					p.send(p.closing(frame.CodeNormal, ""))
				}()
			}
			start := time.Now()
			_ = end(c, p)
			<-c.Done()
			if most := 2 * time.Minute; time.Since(start) > most {
				t.Errorf("%s: it has ended after %v", name, time.Since(start))
			}
			p.nc.Close()
		})
	}
}

// The payload of a Close goes as it is.
func TestManualClosePayload(t *testing.T) {
	for _, payload := range []string{"", "\x03", "\x03\xed", "\x03\xee", "\x03\xe8\xff", "\x00\x00reason"} {
		both(t, func(t *testing.T, role frame.Role) {
			heard := new(noted)
			c, _, p := simulate(t, role, Config{ManualClose: true, Observer: heard}, 0)
			defer c.Close()
			if err := c.WriteControl(frame.Close, []byte(payload), time.Time{}); err != nil {
				t.Errorf("%q: %v", payload, err)
			}
			want := p.message(frame.Close, payload)
			got := make([]byte, 2+len(payload))
			if role == frame.Client {
				got = make([]byte, 6+len(payload))
			}
			if _, err := p.nc.Read(got); err != nil || got[0] != want[0] || int(got[1]&0x7f) != len(payload) {
				t.Errorf("%q: %q, %v", payload, got, err)
			}
			if len(heard.lines) != 1 || heard.lines[0] != fmt.Sprintf("close %q true", payload) {
				t.Errorf("%q: heard %v", payload, heard.lines)
			}
			p.nc.Close()
		})
	}
}
