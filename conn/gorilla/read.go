package websocket

import (
	"io"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// answerWait is how long the default handlers may take to answer.
const answerWait = time.Second

// maxReadErrors is how many read calls may fail: a program that goes on is in a loop.
const maxReadErrors = 1000

// ReadMessage returns the next message and its type, TextMessage or BinaryMessage. The
// bytes are the caller's. Errors stay: see NextReader.
func (c *Conn) ReadMessage() (messageType int, p []byte, err error) {
	if c.reader != nil {
		c.reader = nil
	}
	if c.readErr != nil {
		return noFrame, nil, c.failAgain()
	}
	m, err := c.ws.ReadMessage()
	if err != nil {
		return noFrame, nil, c.fail(err)
	}
	return int(m.Opcode), own(m.Data), nil
}

// own is what ReadMessage returns of a view. It is apart for the stack of a connection that
// waits, which is as small as the functions that wait let it be.
//
//go:noinline
func own(view []byte) []byte {
	p := make([]byte, len(view)) // the compiler joins both lines: nothing is cleared first
	copy(p, view)
	return p
}

// next returns the next message as a view.
func (c *Conn) next() (conn.Message, error) {
	c.reader = nil
	if c.readErr != nil {
		return conn.Message{}, c.failAgain()
	}
	m, err := c.ws.ReadMessage()
	if err != nil {
		err = c.fail(err)
	}
	return m, err
}

// NextReader returns the type of the next message and a reader of its bytes, which is
// valid until the next call of NextReader or ReadMessage; what it has not read is then
// passed over. An error stays: all read calls return it from then on, and the thousandth
// panics.
func (c *Conn) NextReader() (messageType int, r io.Reader, err error) {
	c.reader = nil
	if c.readErr != nil {
		return noFrame, nil, c.failAgain()
	}
	op, in, err := c.ws.NextReader()
	if err != nil {
		return noFrame, nil, c.fail(err)
	}
	c.reader = &messageReader{c, in}
	return int(op), c.reader, nil
}

// fail keeps the error with which a read call has failed.
func (c *Conn) fail(err error) error {
	if err == conn.ErrConcurrentRead {
		return err // the other call's view is not this one's to end
	}
	c.readErr = c.readError(err)
	c.readErrs++
	return c.readErr
}

// failAgain is a read call after one that has failed.
func (c *Conn) failAgain() error {
	if c.readErrs++; c.readErrs >= maxReadErrors {
		panic("repeated read on failed websocket connection")
	}
	return c.readErr
}

// messageReader reads one message.
type messageReader struct {
	c  *Conn
	in io.Reader // the engine's, which it has for all messages
}

// Read implements io.Reader.
func (r *messageReader) Read(p []byte) (int, error) {
	c := r.c
	switch {
	case c.reader != r:
		return 0, io.EOF
	case c.readErr != nil:
		return 0, withinMessage(c.readErr)
	}
	n, err := r.in.Read(p)
	switch {
	case err == io.EOF && c.handled == nil:
		c.reader = nil
	case err != nil:
		err = withinMessage(c.fail(err))
	}
	return n, err
}

// withinMessage is an error of a message that has not ended: io.EOF, which a handler may
// return, would say that it has.
func withinMessage(err error) error {
	if err == io.EOF {
		return errUnexpectedEOF
	}
	return err
}

// control is conn.Config.Control: it has the handlers called.
func control(ws *conn.Conn, op conn.Opcode, payload []byte) (answer bool, err error) {
	c := ws.Value().(*Conn)
	switch op {
	case frame.Ping:
		if c.handlePing != nil {
			err = c.handlePing(string(payload))
		} else {
			err = c.answerPing(payload)
		}
	case frame.Pong:
		if c.handlePong != nil {
			err = c.handlePong(string(payload))
		}
	case frame.Close:
		code, text := parseCloseMessage(payload)
		if c.handleClose != nil {
			err = c.handleClose(code, text)
		} else {
			err = c.answerClose(code, text)
		}
		if err == nil {
			err = &CloseError{Code: code, Text: text}
		}
	}
	c.handled = err
	return false, err
}

// answerPing is the default handler of pings.
func (c *Conn) answerPing(payload []byte) error {
	err := c.WriteControl(PongMessage, payload, time.Now().Add(answerWait))
	if err == ErrCloseSent || isTemporary(err) {
		return nil
	}
	return err
}

// answerClose is the default handler of Close frames.
func (c *Conn) answerClose(code int, _ string) error {
	_ = c.WriteControl(CloseMessage, FormatCloseMessage(code, ""), time.Now().Add(answerWait))
	return nil
}

// PingHandler returns the handler of pings.
func (c *Conn) PingHandler() func(appData string) error {
	if c.handlePing != nil {
		return c.handlePing
	}
	return func(appData string) error { return c.answerPing([]byte(appData)) }
}

// SetPingHandler sets what is called for each ping, within the read call that meets it. The
// default, which nil stands for, answers with a pong. An error of it ends reading.
func (c *Conn) SetPingHandler(h func(appData string) error) { c.handlePing = h }

// PongHandler returns the handler of pongs.
func (c *Conn) PongHandler() func(appData string) error {
	if c.handlePong != nil {
		return c.handlePong
	}
	return func(string) error { return nil }
}

// SetPongHandler sets what is called for each pong, within the read call that meets it. The
// default, which nil stands for, does nothing. An error of it ends reading.
func (c *Conn) SetPongHandler(h func(appData string) error) { c.handlePong = h }

// CloseHandler returns the handler of Close frames.
func (c *Conn) CloseHandler() func(code int, text string) error {
	if c.handleClose != nil {
		return c.handleClose
	}
	return c.answerClose
}

// SetCloseHandler sets what is called for the peer's Close, within the read call that meets
// it, which then returns the *CloseError, or the handler's error. The default, which nil
// stands for, answers with a Close of the same code. code is CloseNoStatusReceived where
// the Close has none.
func (c *Conn) SetCloseHandler(h func(code int, text string) error) { c.handleClose = h }
