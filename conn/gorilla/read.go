package websocket

import (
	"io"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// answerWait is how long the default handlers may take to answer.
const answerWait = time.Second

// maxReadErrors is how many read calls may fail. A program that goes on is in an endless
// loop.
const maxReadErrors = 1000

// ReadMessage returns the next message and its type, TextMessage or BinaryMessage. The
// bytes belong to the caller. Errors are final: see NextReader.
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

// own returns the copy for ReadMessage of a view. It is a function of its own so that the
// stack of a waiting connection stays small.
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

// NextReader returns the type of the next message and a reader of its bytes. The reader
// is valid until the next call of NextReader or ReadMessage, which skips the rest. An
// error is final: all later read calls return it, and the thousandth panics.
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

// fail keeps the error of a failed read call.
func (c *Conn) fail(err error) error {
	if err == conn.ErrConcurrentRead {
		return err // the view is the other call's
	}
	c.readErr = c.readError(err)
	c.readErrs++
	return c.readErr
}

// failAgain is a read call after a failed one.
func (c *Conn) failAgain() error {
	if c.readErrs++; c.readErrs >= maxReadErrors {
		panic("repeated read on failed websocket connection")
	}
	return c.readErr
}

// messageReader reads one message.
type messageReader struct {
	c  *Conn
	in io.Reader // the engine's reader, which serves all messages
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

// withinMessage converts an error of a message that has not ended. A handler may return
// io.EOF, which would mean that it has.
func withinMessage(err error) error {
	if err == io.EOF {
		return errUnexpectedEOF
	}
	return err
}

// control is conn.Config.Control. It calls the handlers.
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

// SetPingHandler sets the function to call for each ping, within the read call. nil means
// the default, which answers with a pong. An error of h ends reading.
func (c *Conn) SetPingHandler(h func(appData string) error) { c.handlePing = h }

// PongHandler returns the handler of pongs.
func (c *Conn) PongHandler() func(appData string) error {
	if c.handlePong != nil {
		return c.handlePong
	}
	return func(string) error { return nil }
}

// SetPongHandler sets the function to call for each pong, within the read call. nil means
// the default, which does nothing. An error of h ends reading.
func (c *Conn) SetPongHandler(h func(appData string) error) { c.handlePong = h }

// CloseHandler returns the handler of Close frames.
func (c *Conn) CloseHandler() func(code int, text string) error {
	if c.handleClose != nil {
		return c.handleClose
	}
	return c.answerClose
}

// SetCloseHandler sets the function to call for the peer's Close frame, within the read
// call. That call then returns the *CloseError, or the handler's error. nil means the
// default, which answers with a Close frame of the same code. code is
// CloseNoStatusReceived if the frame has none.
func (c *Conn) SetCloseHandler(h func(code int, text string) error) { c.handleClose = h }
