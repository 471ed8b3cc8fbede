package websocket

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// When a write has failed, the end of reading is told as such: as an abnormal closure, or
// as an error of the network.
func TestReadAfterAFailedWrite(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, p := opened(t, role, settings{})
		p.nc.Close()
		for c.WriteMessage(TextMessage, make([]byte, 1000)) == nil {
		}
		_, _, err := c.ReadMessage()
		if _, ok := err.(net.Error); !ok && !IsCloseError(err, CloseAbnormalClosure) {
			t.Errorf("%T: %v", err, err)
		}
	})
}

// A handler's io.EOF within a message does not make it look whole, and stays.
func TestHandlerEndsWithinAMessage(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, p := opened(t, role, settings{})
		c.SetPingHandler(func(string) error { return io.EOF })
		p.send(p.frame(frame.Header{Opcode: frame.Text}, "a"), p.message(PingMessage, ""),
			p.frame(frame.Header{Fin: true, Opcode: frame.Continuation}, "b"))
		_, r, err := c.NextReader()
		if err != nil {
			t.Fatal(err)
		}
		if data, err := io.ReadAll(r); err != errUnexpectedEOF {
			t.Errorf("%q, %v", data, err)
		}
		if _, err := r.Read(make([]byte, 1)); err != errUnexpectedEOF {
			t.Errorf("again: %v", err)
		}
		if _, _, err := c.NextReader(); err != io.EOF {
			t.Errorf("the handler's error has not stayed: %v", err)
		}
	})
}

// A write after Close says that, if no Close frame was sent.
func TestWriteAfterCloseWithoutAnswer(t *testing.T) {
	c, p := opened(t, frame.Server, settings{})
	c.SetCloseHandler(func(int, string) error { return nil })
	p.send(p.message(CloseMessage, "\x03\xe8"))
	if _, _, err := c.ReadMessage(); !IsCloseError(err, CloseNormalClosure) {
		t.Fatal(err)
	}
	c.Close()
	if err := c.WriteMessage(TextMessage, nil); err == ErrCloseSent || !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

// Without a bound of the caller's, what NetDialContext makes lives on with the caller's
// context.
func TestContextOfNetDial(t *testing.T) {
	s := newServer(t, nil)
	d := &Dialer{NetDialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		nc, err := net.Dial(network, address)
		if err == nil {
			context.AfterFunc(ctx, func() { nc.Close() })
		}
		return nc, err
	}}
	c := s.dial(t, false, d, nil)
	if err := c.WriteMessage(TextMessage, []byte("lives")); err != nil {
		t.Fatal(err)
	}
	wantMessage(t, c, TextMessage, "lives")
}

// picky counts how often it is decoded.
type picky struct{ times int }

func (p *picky) UnmarshalJSON([]byte) error {
	p.times++
	return json.Unmarshal([]byte("{"), new(any))
}

func TestReadJSONDecodesOnce(t *testing.T) {
	c, p := opened(t, frame.Server, settings{})
	p.send(p.message(TextMessage, `{"a":1}`))
	var v picky
	var syntax *json.SyntaxError
	if err := c.ReadJSON(&v); !errors.As(err, &syntax) || v.times != 1 {
		t.Errorf("%v, decoded %d times", err, v.times)
	}
}
