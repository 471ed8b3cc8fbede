package websocket

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
)

var (
	// ErrCloseSent is returned by writes after the Close frame was sent.
	ErrCloseSent = errors.New("websocket: close sent")
	// ErrReadLimit is returned for a message over the limit of SetReadLimit. The peer
	// gets a Close frame with code 1009.
	ErrReadLimit = errors.New("websocket: read limit exceeded")
	// ErrBadHandshake is returned if the server's answer does not open a WebSocket.
	ErrBadHandshake = errors.New("websocket: bad handshake")
)

var (
	errWriteTimeout        = &netError{text: "websocket: write timeout", timeout: true, temporary: true, cause: os.ErrDeadlineExceeded}
	errUnexpectedEOF       = &CloseError{Code: CloseAbnormalClosure, Text: io.ErrUnexpectedEOF.Error()}
	errBadWriteOpCode      = errors.New("websocket: bad write message type")
	errWriteClosed         = errors.New("websocket: write closed")
	errInvalidControlFrame = errors.New("websocket: invalid control frame")
)

// netError is a net.Error.
type netError struct {
	text               string
	timeout, temporary bool
	cause              error
}

func (e *netError) Error() string   { return e.text }
func (e *netError) Timeout() bool   { return e.timeout }
func (e *netError) Temporary() bool { return e.temporary }
func (e *netError) Unwrap() error   { return e.cause }

var _ net.Error = (*netError)(nil)

// lasting returns err as an error that is not temporary, because it is final.
func lasting(err error) error {
	if isTemporary(err) {
		return &netError{text: err.Error(), timeout: err.(net.Error).Timeout(), cause: err}
	}
	return err
}

// isTemporary reports whether err is a net.Error that says so.
func isTemporary(err error) bool {
	e, ok := err.(interface {
		net.Error
		Temporary() bool
	})
	return ok && e.Temporary()
}

// CloseError is the peer's Close frame.
type CloseError struct {
	// Code is a code of RFC 6455 §7.4. It is CloseNoStatusReceived if the frame had none,
	// and CloseAbnormalClosure if there was no Close frame.
	Code int
	// Text is the reason, which may be empty.
	Text string
}

var closeNames = map[int]string{
	CloseNormalClosure:           "normal",
	CloseGoingAway:               "going away",
	CloseProtocolError:           "protocol error",
	CloseUnsupportedData:         "unsupported data",
	CloseNoStatusReceived:        "no status",
	CloseAbnormalClosure:         "abnormal closure",
	CloseInvalidFramePayloadData: "invalid payload data",
	ClosePolicyViolation:         "policy violation",
	CloseMessageTooBig:           "message too big",
	CloseMandatoryExtension:      "mandatory extension missing",
	CloseInternalServerErr:       "internal server error",
	CloseTLSHandshake:            "TLS handshake error",
}

// Error returns the code, its meaning if known, and the text.
func (e *CloseError) Error() string {
	s := "websocket: close " + strconv.Itoa(e.Code)
	if name := closeNames[e.Code]; name != "" {
		s += " (" + name + ")"
	}
	if e.Text != "" {
		s += ": " + e.Text
	}
	return s
}

// IsCloseError reports whether err is a *CloseError with one of the codes.
func IsCloseError(err error, codes ...int) bool {
	e, ok := err.(*CloseError)
	return ok && e.among(codes)
}

// IsUnexpectedCloseError reports whether err is a *CloseError with none of the codes.
func IsUnexpectedCloseError(err error, expectedCodes ...int) bool {
	e, ok := err.(*CloseError)
	return ok && !e.among(expectedCodes)
}

func (e *CloseError) among(codes []int) bool {
	for _, code := range codes {
		if e.Code == code {
			return true
		}
	}
	return false
}

// HandshakeError is returned for a request that Upgrade has refused.
type HandshakeError struct {
	message string
}

// Error returns the reason.
func (e HandshakeError) Error() string { return e.message }

// protocolError is a frame that breaks a rule.
type protocolError struct {
	text  string
	cause error
}

func (e *protocolError) Error() string { return "websocket: " + e.text }
func (e *protocolError) Unwrap() error { return e.cause }

// readError converts an error of the engine's read calls for the caller.
func (c *Conn) readError(err error) error {
	if c.handled != nil { // by control; the engine passes it on unchanged
		err, c.handled = c.handled, nil
		return lasting(err)
	}
	var (
		broken *frame.ProtocolError
		closed *conn.CloseError
		lost   *conn.TransportError
	)
	said := errors.As(err, &closed)
	switch {
	case errors.As(err, &broken):
		return brokenRule(broken, closed, err)
	case said && closed.Err == nil:
		return &CloseError{Code: int(closed.Code), Text: closed.Reason}
	case said:
		return errUnexpectedEOF // the stream ended within the Close frame
	case errors.As(err, &lost):
		cause := lost.Err
		if both, ok := cause.(interface{ Unwrap() []error }); ok { // a write failed, and that ended reading
			cause = both.Unwrap()[1]
		}
		if cause == io.EOF || cause == io.ErrUnexpectedEOF {
			return errUnexpectedEOF
		}
		return lasting(cause)
	case errors.Is(err, conn.ErrClosed):
		return c.opError("read", net.ErrClosed)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return lasting(c.opError("read", os.ErrDeadlineExceeded))
	}
	return lasting(err)
}

// brokenRule is readError for a frame that breaks a rule. If that is the peer's Close
// frame, closed is not nil.
func brokenRule(broken *frame.ProtocolError, closed *conn.CloseError, err error) error {
	text := broken.Rule
	switch {
	case broken.Code == frame.CodeMessageTooBig, broken.Is(frame.ErrLengthTopBit):
		return ErrReadLimit
	case broken.Is(frame.ErrReservedOpcode):
		text = "bad opcode " + strconv.Itoa(int(broken.Opcode))
	case broken.Is(frame.ErrFragmentedControl):
		text = "FIN not set on control"
	case broken.Is(frame.ErrUnexpectedContinuation):
		text = "continuation after FIN"
	case broken.Is(frame.ErrUnfinishedMessage):
		text = "data before FIN"
	case broken.Is(frame.ErrUnmaskedClientFrame), broken.Is(frame.ErrMaskedServerFrame):
		text = "bad MASK"
	case broken.Is(frame.ErrControlTooLong):
		text = "len > 125 for control"
	case broken.Is(frame.ErrCloseCode) && closed != nil:
		text = fmt.Sprintf("bad close code %d", uint16(closed.Code))
	case broken.Is(frame.ErrInvalidUTF8) && broken.Opcode == frame.Close:
		text = "invalid utf8 payload in close frame"
	}
	return &protocolError{text, err}
}

// writeError converts an error of the engine's write calls for the caller.
func (c *Conn) writeError(err error) error {
	var (
		broken *frame.ProtocolError
		closed *conn.CloseError
		lost   *conn.TransportError
	)
	switch {
	case c.closed.Load(): // by Close: an earlier ErrCloseSent is kept and does not get here
		return c.opError("write", net.ErrClosed)
	case err == conn.ErrShutdown, errors.As(err, &broken), errors.As(err, &closed):
		return ErrCloseSent
	case errors.As(err, &lost) && lost.Op == "write":
		return lasting(lost.Err)
	case errors.As(err, &lost), errors.Is(err, conn.ErrClosed): // it has ended, and was closed
		return c.opError("write", net.ErrClosed)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return lasting(c.opError("write", os.ErrDeadlineExceeded))
	}
	return lasting(err)
}

// opError returns an error like those of package net.
func (c *Conn) opError(op string, err error) error {
	e := &net.OpError{Op: op, Source: c.ws.LocalAddr(), Addr: c.ws.RemoteAddr(), Err: err}
	if e.Source != nil {
		e.Net = e.Source.Network()
	}
	return e
}
