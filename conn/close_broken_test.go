package conn

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// brokenClose is a Close frame that breaks a rule, and what is to be told of it.
type brokenClose struct {
	name  string
	first byte // octet
	form  int  // bits of the length, 7 if 0
	wrong bool // masked by a server, or not masked by a client
	body  string

	rule   *frame.ProtocolError // nil for that of the wrong mask
	offset [2]uint64            // of the byte that decides, from the frame's first: for a client, for a server
	code   frame.CloseCode      // 0 if nothing is told: then the error is the rule's
	reason string
}

const idle = "idle for too long"

var brokenCloses = []brokenClose{
	{"code out of range", 0x88, 0, false, "\xEA\x6F" + idle, frame.ErrCloseCode, [2]uint64{3, 7}, 60015, idle},
	{"code 1005", 0x88, 0, false, "\x03\xEDnone", frame.ErrCloseCode, [2]uint64{3, 7}, 1005, "none"},
	{"code 1006", 0x88, 0, false, "\x03\xEE", frame.ErrCloseCode, [2]uint64{3, 7}, 1006, ""},
	{"code 1015 and bad UTF-8", 0x88, 0, false, "\x03\xF7\xFF", frame.ErrCloseCode, [2]uint64{3, 7}, 1015, "\xFF"},
	{"one byte", 0x88, 0, false, "\x03", frame.ErrCloseBodyLength, [2]uint64{1, 1}, 1005, ""},
	{"reason not UTF-8", 0x88, 0, false, "\x03\xE8a\xFCber", frame.ErrInvalidUTF8, [2]uint64{5, 9}, 1000, "a\xFCber"},
	{"reason cut in a character", 0x88, 0, false, "\x0F\xA0abc\xE2\x82", frame.ErrTruncatedUTF8, [2]uint64{9, 13}, 4000, "abc\xE2\x82"},
	{"RSV1", 0xC8, 0, false, "\x03\xE9" + idle, frame.ErrReservedBits, [2]uint64{}, 1001, idle},
	{"RSV2 and RSV3", 0xB8, 0, false, "\x03\xE9" + idle, frame.ErrReservedBits, [2]uint64{}, 1001, idle},
	{"no FIN", 0x08, 0, false, "\x03\xE9" + idle, frame.ErrFragmentedControl, [2]uint64{}, 1001, idle},
	{"no FIN and no body", 0x08, 0, false, "", frame.ErrFragmentedControl, [2]uint64{}, 1005, ""},
	{"wrong mask", 0x88, 0, true, "\x03\xF1" + idle, nil, [2]uint64{1, 1}, 1009, idle},
	{"wrong mask and no body", 0x88, 0, true, "", nil, [2]uint64{1, 1}, 1005, ""},
	{"wrong mask and code out of range", 0x88, 0, true, "\xEA\x6F" + idle, nil, [2]uint64{1, 1}, 60015, idle},
	{"length in 16 bits", 0x88, 16, false, "\x03\xE9" + idle, frame.ErrControlTooLong, [2]uint64{1, 1}, 1001, idle},
	{"length in 64 bits", 0x88, 64, false, "\x03\xE9" + idle, frame.ErrControlTooLong, [2]uint64{1, 1}, 1001, idle},
	{"too long", 0x88, 16, false, "\x03\xE9" + strings.Repeat("é", 100), frame.ErrControlTooLong, [2]uint64{1, 1}, 1001, strings.Repeat("é", 61)},
	{"text out of step", 'h', 0, false, "ello world, this is no frame at all", frame.ErrReservedBits, [2]uint64{}, 0, ""},
}

// bytes returns the frame as the peer of the given role sends it.
func (b *brokenClose) bytes(peer frame.Role) []byte {
	if b.first == 'h' {
		return append([]byte{b.first}, b.body...)
	}
	p := []byte{b.first, byte(len(b.body))}
	switch b.form {
	case 16:
		p[1] = 126
		p = binary.BigEndian.AppendUint16(p, uint16(len(b.body)))
	case 64:
		p[1] = 127
		p = binary.BigEndian.AppendUint64(p, uint64(len(b.body)))
	}
	if (peer == frame.Client) == b.wrong {
		return append(p, b.body...)
	}
	p[1] |= 0x80
	key := [4]byte{0x31, 0x52, 0x73, 0x94}
	p = append(p, key[:]...)
	for i := range len(b.body) {
		p = append(p, b.body[i]^key[i%4])
	}
	return p
}

// check holds what the connection ends with. sent is our Close if it went first.
func (b *brokenClose) check(t *testing.T, how string, role frame.Role, before int, err error, sent *CloseError) {
	t.Helper()
	rule, offset := b.rule, b.offset[1]
	switch {
	case rule == nil && role == frame.Server:
		rule = frame.ErrUnmaskedClientFrame
	case rule == nil:
		rule = frame.ErrMaskedServerFrame
	}
	if role == frame.Client {
		offset = b.offset[0]
	}
	var broken *frame.ProtocolError
	if !errors.As(err, &broken) || !errors.Is(err, rule) || broken.Offset != uint64(before)+offset || !errors.Is(err, net.ErrClosed) {
		t.Errorf("%s, %s: %v, want %s at byte %d", b.name, how, err, rule.Rule, uint64(before)+offset)
		return
	}
	var closed *CloseError
	switch ok := errors.As(err, &closed); {
	case b.code == 0:
		if ok || CloseCode(err) != frame.CodeAbnormal {
			t.Errorf("%s, %s: %v, want no Close", b.name, how, err)
		}
		return
	case !ok:
		t.Errorf("%s, %s: %v, want a CloseError", b.name, how, err)
		return
	}
	want := CloseError{Code: b.code, Reason: b.reason, SentCode: rule.Code, SentReason: rule.Rule, Err: broken}
	if sent != nil {
		want.SentCode, want.SentReason, want.Local = sent.SentCode, sent.SentReason, true
	}
	if *closed != want || CloseCode(err) != b.code {
		t.Errorf("%s, %s: %#v, want %#v", b.name, how, *closed, want)
	}
	if s := err.Error(); !strings.Contains(s, broken.Error()) || !strings.Contains(s, closeText(b.code, b.reason)) || strings.Contains(s, "\xFF") {
		t.Errorf("%s, %s: %q", b.name, how, s)
	}
}

// A Close that breaks a rule tells its code and reason beside the rule: in each way to read, in both roles, and however its
// bytes are cut; the peer is told the rule's code (F79).
func TestF79BrokenClose(t *testing.T) {
	ways := append(calls[:0:0], calls...)
	ways = append(ways, struct {
		name        string
		read, write bool
		f           func(c *Conn) error
	}{"Read", true, false, nil})
	for _, b := range brokenCloses {
		both(t, func(t *testing.T, role frame.Role) {
			for _, way := range ways {
				if !way.read {
					continue
				}
				for _, size := range []int{1, 2, 5, 1000} {
					c, _, p := simulate(t, role, Config{}, 0)
					f, stream := way.f, []byte(nil)
					if f == nil { // between the fragments of a message that is read in parts
						stream = p.frame(frame.Header{Opcode: Text}, []byte("part"))
						p.send(stream)
						_, r, err := c.NextReader()
						if err != nil {
							t.Fatal(err)
						}
						f = func(*Conn) error { _, err := io.ReadAll(r); return err }
					}
					before := len(stream)
					if before == 0 {
						first := p.message(Text, "first")
						p.send(first)
						wantMessage(t, c, Text, "first")
						before = len(first)
					}
					ended := make(chan error, 1)
					go func() { ended <- f(c) }()
					for rest := b.bytes(p.role); len(rest) > 0; {
						n := min(size, len(rest))
						p.send(rest[:n])
						rest = rest[n:]
						synctest.Wait()
					}
					if b.code == 0 {
						p.nc.CloseWrite() // it is no Close: nobody can say how long it is
					}
					err := <-ended
					how := way.name
					b.check(t, how, role, before, err, nil)
					if _, again := c.ReadMessage(); again != err || c.Err() != err {
						t.Errorf("%s, %s: then %v", b.name, how, again)
					}
					if rule := b.rule; rule == nil {
						p.expectClose(frame.CodeProtocolError)
					} else {
						p.expectClose(rule.Code)
					}
					c.Close()
				}
			}
		})
	}
}

// So is the answer to our Close, by Shutdown and by StartClose; Shutdown returns the error then.
func TestF79BrokenAnswer(t *testing.T) {
	sent := &CloseError{SentCode: frame.CodeGoingAway, SentReason: "enough"}
	for _, b := range brokenCloses {
		both(t, func(t *testing.T, role frame.Role) {
			for _, shutdown := range []bool{true, false} {
				c, _, p := simulate(t, role, Config{}, 0)
				wire := b.bytes(p.role)
				go func() {
					p.expectClose(frame.CodeGoingAway)
					p.send(wire[:1])
					synctest.Wait()
					p.send(wire[1:])
					if b.code == 0 {
						p.nc.CloseWrite()
					}
				}()
				var err error
				if shutdown {
					err = c.Shutdown(t.Context(), frame.CodeGoingAway, "enough")
				} else if err = c.StartClose(frame.CodeGoingAway, "enough"); err == nil {
					_, err = c.ReadMessage()
				}
				b.check(t, "answer", role, 0, err, sent)
				if c.Err() != err {
					t.Errorf("%s: then %v", b.name, c.Err())
				}
				c.Close()
			}
		})
	}
}

// On sockets, plain and under TLS, with a handler's Close behind, and on a connection that compresses.
func TestF79BrokenCloseOnSockets(t *testing.T) {
	for _, b := range brokenCloses {
		for name, open := range map[string]func() (*Conn, net.Conn){
			"client": func() (*Conn, net.Conn) {
				x, y := loopback(t)
				return New(x, frame.Client, &Config{KeepAlive: -1}), y
			},
			"server": func() (*Conn, net.Conn) {
				x, y := loopback(t)
				return New(x, frame.Server, &Config{KeepAlive: -1}), y
			},
			"compressed": func() (*Conn, net.Conn) {
				x, y := loopback(t)
				return New(x, frame.Client, agreed(deflate.Config{}, frame.Options{})), y
			},
			"TLS": func() (*Conn, net.Conn) {
				x, y := loopback(t)
				c, s := secureOver(t, x, y, Config{})
				return c, s
			},
		} {
			for _, pieces := range []bool{false, true} {
				c, p := open()
				wire := b.bytes(1 - c.Role())
				go func() {
					if !pieces {
						p.Write(wire)
					}
					for i := 0; pieces && i < len(wire); i++ {
						p.Write(wire[i : i+1])
					}
					if b.code == 0 {
						p.(interface{ CloseWrite() error }).CloseWrite()
					}
				}()
				_, err := c.ReadMessage()
				c.Close()
				b.check(t, name, c.Role(), 0, err, nil)
				p.Close()
			}
		}
	}
}

// A Close within which the stream ends tells what came of it, once its code has; the network is named beside (F79, R29).
func TestF79CutClose(t *testing.T) {
	for _, reset := range []bool{false, true} {
		both(t, func(t *testing.T, role frame.Role) {
			for _, local := range []bool{false, true} {
				_, _, p := simulate(t, role, Config{}, 0)
				wire := p.closing(frame.CodeTryAgainLater, "später")
				head := len(wire) - len("\x03\xF5später")
				for cut := 1; cut < len(wire); cut++ {
					c, _, p := simulate(t, role, Config{}, 0)
					p.send(wire[:cut])
					want := CloseError{Code: frame.CodeTryAgainLater, SentCode: frame.CodeAbnormal}
					if local {
						if err := c.StartClose(frame.CodeNormal, "done"); err != nil {
							t.Fatal(err)
						}
						want.SentCode, want.SentReason, want.Local = frame.CodeNormal, "done", true
					}
					synctest.Wait()
					got := make(chan error, 1)
					go func() { _, err := c.ReadMessage(); got <- err }()
					synctest.Wait()
					cause := io.ErrUnexpectedEOF
					if reset {
						cause = errReset
						p.nc.Reset()
					} else {
						p.nc.CloseWrite()
					}
					err := <-got
					var lost *TransportError
					if !errors.As(err, &lost) || lost.Op != "read" || !errors.Is(err, cause) || !errors.Is(err, net.ErrClosed) {
						t.Fatalf("cut at %d: %v", cut, err)
					}
					if cut < head+2 {
						wantTransport(t, err, cause)
						continue
					}
					want.Err = lost
					want.Reason = strings.ToValidUTF8("später"[:cut-head-2], "")
					if e, ok := err.(*CloseError); !ok || *e != want || CloseCode(err) != want.Code {
						t.Errorf("cut at %d: %#v, want %#v", cut, err, want)
					}
				}
			}
		})
	}
}

// So it does where writing had ended before, and nothing more comes.
func TestF79CutCloseBehindAFailedWrite(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, a, p := simulate(t, role, Config{}, 0)
		a.Script(func(op netsim.Op, _, _ int) netsim.Step {
			if op == netsim.Write {
				return netsim.Step{Max: -1, Err: errReset}
			}
			return netsim.Step{}
		})
		if err := c.WriteMessage(Text, []byte("lost")); !errors.Is(err, errReset) {
			t.Fatal(err)
		}
		wire := p.closing(frame.CodeTryAgainLater, "later")
		p.send(wire[:len(wire)-2])
		_, err := c.ReadMessage()
		var e *CloseError
		if !errors.As(err, &e) || e.Code != frame.CodeTryAgainLater || e.Reason != "lat" || !errors.Is(err, errReset) {
			t.Errorf("%#v", err)
		}
		p.nc.Close()
	})
}

// What is to come of a broken Close is waited for, but no longer than for the close handshake; what ends the wait is not taken for
// the cause.
func TestF79BrokenCloseStalls(t *testing.T) {
	cause := errors.New("enough")
	for name, end := range map[string]struct {
		after time.Duration
		do    func(c *Conn, p *peer)
	}{
		"CloseTimeout":  {2 * time.Second, func(*Conn, *peer) {}},
		"read deadline": {time.Second, func(c *Conn, _ *peer) { c.SetReadDeadline(time.Now()) }},
		"end":           {time.Second, func(_ *Conn, p *peer) { p.nc.CloseWrite() }},
		"reset":         {time.Second, func(_ *Conn, p *peer) { p.nc.Reset() }},
		"Close":         {time.Second, func(c *Conn, _ *peer) { c.Close() }},
		"context": {time.Second, func(c *Conn, _ *peer) {
			ctx, cancel := context.WithCancelCause(context.Background())
			c.Bind(ctx)
			cancel(cause)
		}},
	} {
		both(t, func(t *testing.T, role frame.Role) {
			b := brokenClose{name, 0x88, 0, false, "\xEA\x6Fidle, \xC3\xBCber", frame.ErrCloseCode, [2]uint64{3, 7}, 60015, "idle, "}
			c, _, p := simulate(t, role, Config{CloseTimeout: 2 * time.Second}, 0)
			wire := b.bytes(p.role)
			start := time.Now()
			p.send(wire[:len(wire)-4])
			time.AfterFunc(time.Second, func() { end.do(c, p) })
			got := make(chan error, 1)
			go func() { _, err := c.ReadMessage(); got <- err }()
			synctest.Wait()
			p.expectClose(frame.CodeProtocolError) // at once
			if d := time.Since(start); d != 0 {
				t.Errorf("%s: told after %v", name, d)
			}
			b.check(t, name, role, 0, <-got, nil)
			if d := time.Since(start); d != end.after {
				t.Errorf("%s: ended after %v, want %v", name, d, end.after)
			}
			c.Close()
		})
	}
}

// The rest of a broken Close that answers ours is waited for as long as Shutdown's context lasts; the error is the same.
func TestF79BrokenAnswerStalls(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		b := brokenClose{"stall", 0x88, 0, false, "\xEA\x6F" + idle, frame.ErrCloseCode, [2]uint64{3, 7}, 60015, idle[:4]}
		c, _, p := simulate(t, role, Config{}, 0)
		wire := b.bytes(p.role)
		p.send(wire[:len(wire)-len(idle)+4])
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := c.Shutdown(ctx, frame.CodeGoingAway, "enough")
		b.check(t, "Shutdown", role, 0, err, &CloseError{SentCode: frame.CodeGoingAway, SentReason: "enough"})
	})
}

// A Recorder has all of a broken Close.
func TestF79BrokenCloseIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tape bytes.Buffer
		r := NewRecorder(&tape, 0)
		c, _, p := simulate(t, frame.Client, Config{Recorder: r}, 0)
		b := &brokenCloses[0]
		wire := b.bytes(p.role)
		go func() {
			for i := range wire {
				p.send(wire[i : i+1])
				synctest.Wait()
			}
		}()
		_, err := c.ReadMessage()
		b.check(t, "recorded", frame.Client, 0, err, nil)
		c.Close()
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		recording, err := ReadRecording(&tape)
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		for {
			record, err := recording.Next()
			if err != nil {
				break
			}
			if record.Kind == RecordData {
				got = append(got, record.Data...)
			}
		}
		if !bytes.Equal(got, wire) {
			t.Errorf("recorded % x, want % x", got, wire)
		}
		if n := c.Stats().BytesRead; n != uint64(len(wire)) {
			t.Errorf("%d bytes counted of %d", n, len(wire))
		}
	})
}
