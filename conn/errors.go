package conn

import (
	"errors"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// A connection ends with one error, which every later call returns too. It is one of
//
//   - *frame.ProtocolError: the peer broke the protocol, in a frame other than its
//     Close;
//   - *CloseError: the peer sent a Close frame; if that is not valid, it wraps the
//     reason;
//   - *TransportError: the network failed, or the stream ended without a Close
//     frame;
//   - *TimeoutError: a clock ran out, or the close handshake was not completed in
//     time;
//   - ErrClosed, or an error that matches it: this side closed at once;
//   - an error that matches ErrTooSlow: the peer did not take the messages of a
//     Group.
//
// A failed write, or the write clock, does not end the connection at once. Write calls
// return that error from then on, and read calls continue through everything that the
// peer has sent. The connection ends with a *CloseError if a Close frame comes, and
// otherwise with the error of the write.
//
// As a Conn returns them, all match net.ErrClosed. A *frame.ProtocolError is wrapped: use
// errors.As, not a type assertion. A passed deadline, and the errors below except
// ErrClosed and ErrTooSlow, do not end the connection.
var (
	// ErrClosed says that this side called Close, or that the context of Bind ended.
	ErrClosed error = &stateError{"conn: closed by this side", true}
	// ErrTooSlow says that more messages of a Group were queued for the peer than
	// Group.Lag allows. Nothing more is written; what the peer has sent can still be
	// read. The error that matches it has the limit.
	ErrTooSlow error = &stateError{"conn: closed because the peer takes the messages of a Group too slowly", true}
	// ErrShutdown is a write after the Close frame: nothing may follow it (RFC 6455
	// §5.5.1).
	ErrShutdown error = &stateError{"conn: write after the Close frame was sent (RFC 6455 §5.5.1)", false}
	// ErrConcurrentRead is returned by a read call while another one runs. A call that
	// waits for bytes is always noticed. Two calls of ReadMessage that take buffered
	// messages within the same few nanoseconds may miss each other. Then both may return
	// the same message, or none be right, and the connection can end with a false error.
	// Under the race detector they always notice.
	ErrConcurrentRead error = &stateError{"conn: another goroutine is reading", false}
	// ErrNotUTF8 is text that must not be written (RFC 6455 §5.6).
	ErrNotUTF8 error = &stateError{"conn: text to write is not UTF-8 (RFC 6455 §5.6)", false}

	// ErrWriterClosed is returned by the writer of NextWriter after its Close.
	ErrWriterClosed error = &stateError{"conn: write to a message that is finished", false}
	// ErrWouldBlock says, with Config.FailFast, that the peer does not take bytes fast
	// enough. Nothing of the message was written.
	ErrWouldBlock error = &stateError{"conn: the write would have to wait", false}

	errReadDeadline  error = &deadlineError{"conn: read deadline passed"}
	errReadTimeout   error = &deadlineError{"conn: no byte came within the read timeout"}
	errWriteDeadline error = &deadlineError{"conn: write deadline passed before anything was written"}

	errControlDeadline error = &deadlineError{"conn: the deadline of WriteControl passed before anything was written"}
)

type stateError struct {
	text   string
	closed bool
}

func (e *stateError) Error() string        { return e.text }
func (e *stateError) Is(target error) bool { return e.closed && target == net.ErrClosed }

// limitError is one of the errors above with the limit that was passed.
type limitError struct {
	error
	limit int
	field string
}

func (e *limitError) Error() string {
	return e.error.Error() + ": over the limit of " + strconv.Itoa(e.limit) + " (" + e.field + ")"
}
func (e *limitError) Unwrap() error { return e.error }

// deadlineError is a net.Error that matches os.ErrDeadlineExceeded.
type deadlineError struct{ text string }

func (e *deadlineError) Error() string        { return e.text }
func (e *deadlineError) Timeout() bool        { return true }
func (e *deadlineError) Temporary() bool      { return true }
func (e *deadlineError) Is(target error) bool { return target == os.ErrDeadlineExceeded }

// CloseError says that the connection ended with a Close frame from the peer.
type CloseError struct {
	// Code is the peer's; CodeNoStatus if its Close had none. With Err it is as it came,
	// also if no peer may send it.
	Code frame.CloseCode
	// Reason is the peer's. With Err it need not be UTF-8 or whole.
	Reason string
	// SentCode is ours; CodeAbnormal if no Close could be sent, CodeNoStatus if it had no
	// code.
	SentCode frame.CloseCode
	// SentReason is ours.
	SentReason string
	// Local says that our Close went first.
	Local bool
	// Err is what is wrong with the peer's Close, nil if nothing is: the
	// *frame.ProtocolError of the rule that it breaks, which ours has told the peer
	// unless it went first; or the error with which the stream ended within it.
	Err error
}

// Error returns who closed first, and both codes.
func (e *CloseError) Error() string {
	s := "conn: closed by peer with " + closeText(e.Code, e.Reason)
	if e.Local {
		s = "conn: closed by this side with " + closeText(e.SentCode, e.SentReason) + ", answered with " + closeText(e.Code, e.Reason)
	} else if e.SentCode != e.Code {
		s += ", answered with " + closeText(e.SentCode, e.SentReason)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns Err.
func (e *CloseError) Unwrap() error { return e.Err }

// Is matches net.ErrClosed.
func (e *CloseError) Is(target error) bool { return target == net.ErrClosed }

func closeText(code frame.CloseCode, reason string) string {
	if reason == "" {
		return code.String()
	}
	return code.String() + " " + strconv.Quote(reason)
}

// CloseCode returns the code with which the peer ended a connection, from its error err:
// the code of a *CloseError, or CodeAbnormal for every other error, because no Close came
// (RFC 6455 §7.1.5). For nil it returns 0.
func CloseCode(err error) frame.CloseCode {
	var e *CloseError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return e.Code
	}
	return frame.CodeAbnormal
}

// TransportError says that the network failed, or that the stream ended without a Close
// frame.
type TransportError struct {
	// Op is "read" or "write".
	Op string
	// Err is the net or io error; io.ErrUnexpectedEOF if the stream ended within a frame
	// or message.
	Err error
}

// Error tells what failed.
func (e *TransportError) Error() string {
	return "conn: connection lost: " + e.Op + ": " + e.Err.Error()
}

// Unwrap returns Err.
func (e *TransportError) Unwrap() error { return e.Err }

// Is matches net.ErrClosed: the connection is closed.
func (e *TransportError) Is(target error) bool { return target == net.ErrClosed }

// Clock names one of the clocks that end a connection.
type Clock string

// The clocks of Config.
const (
	ClockTransport Clock = "transport" // Config.KeepAlive
	ClockData      Clock = "data"      // Config.DataTimeout
	ClockPong      Clock = "pong"      // Config.PongTimeout
	ClockWrite     Clock = "write"     // Config.StallTimeout
	ClockClose     Clock = "close"     // Config.CloseTimeout, or the context of Shutdown
)

// field returns the field with the clock's limit.
func (c Clock) field() string {
	switch c {
	case ClockTransport:
		return "conn.Config.KeepAlive"
	case ClockData:
		return "conn.Config.DataTimeout"
	case ClockPong:
		return "conn.Config.PongTimeout"
	case ClockWrite:
		return "conn.Config.StallTimeout"
	case ClockClose:
		return "conn.Config.CloseTimeout"
	}
	return ""
}

// TimeoutError says that a clock ended the connection.
type TimeoutError struct {
	// Clock is the one that ran out.
	Clock Clock
	// Limit is the clock's; 0 if it was a context that ended.
	Limit time.Duration
	// Err is that context's cause, nil otherwise.
	Err error
}

// Error returns which clock ran out.
func (e *TimeoutError) Error() string {
	limit := ""
	if e.Limit > 0 {
		limit = " for " + e.Limit.String()
		if field := e.Clock.field(); field != "" {
			limit += " (" + field + ")"
		}
	}
	switch e.Clock {
	case ClockTransport:
		return "conn: judged dead by the transport clock: no byte from the peer" + limit
	case ClockData:
		return "conn: judged dead by the data clock: no message from the peer" + limit
	case ClockPong:
		return "conn: judged dead by the pong clock: no answer to a ping" + limit
	case ClockWrite:
		return "conn: judged dead by the write clock: the peer has taken no byte of a write" + limit
	}
	if e.Err != nil {
		limit = ": " + e.Err.Error()
	}
	return "conn: judged dead by the close clock: the close handshake was not finished" + limit
}

// Unwrap returns Err.
func (e *TimeoutError) Unwrap() error { return e.Err }

// Timeout reports true.
func (e *TimeoutError) Timeout() bool { return true }

// Temporary reports false: the connection is closed.
func (e *TimeoutError) Temporary() bool { return false }

// Is matches net.ErrClosed.
func (e *TimeoutError) Is(target error) bool { return target == net.ErrClosed }
