package redial

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// Policy says which errors are retried. With every policy an error of the handler ends
// Run.
type Policy uint8

const (
	// Persistent retries everything that may improve by itself: a refused handshake with
	// any status, an answer that is no handshake, an invalid certificate, every Close
	// code, a peer that broke the protocol, an end caused by this side. The back-off
	// limits the cost. It gives up only if no attempt can succeed:
	//
	//   - an error wrapped with Fatal, and a sign of life that can never be sent;
	//   - a request that cannot be sent: a bad header value without a HeaderFunc,
	//     or a bad URL of the server or the proxy that URLFunc did not make;
	//   - a socket option that is negative, or that the system or the connection
	//     does not have or allow;
	//   - an answer about our own extensions or subprotocols that is malformed, or
	//     was not offered;
	//   - Client.FinalCodes.
	Persistent Policy = iota
	// Strict retries failures of the network, and what the server says will pass:
	//
	//   - of refused handshakes 408, 425, 429 and 5xx are retried; any other status
	//     is final, and so is an answer that breaks the protocol;
	//   - a certificate that is invalid, or for another host, is final;
	//   - of Close codes from the peer 1000 (it is done), 1002, 1003, 1007, 1008,
	//     1009 and 1010 are final, all others are retried; a peer that broke the
	//     protocol is judged by the code that was sent to it, and one whose message
	//     cannot be decoded by 1007;
	//   - a canceled context is final, and so is everything that ends Run with
	//     Persistent.
	Strict
)

// Decision says what follows an error.
type Decision struct {
	// Retry says that another attempt is made; otherwise Run returns the error.
	Retry bool
	// After is the least wait before it, on top of which Backoff applies only if it is
	// longer. Client.MaxRetryAfter bounds it.
	After time.Duration
}

// Fatal wraps an error so that no policy retries it: one of OnConnect, one of a Dialer's
// hook, or the reason of Reconnect. Fatal(nil) is nil.
func Fatal(err error) error {
	if err == nil {
		return nil
	}
	return &fatalError{err}
}

type fatalError struct{ err error }

func (e *fatalError) Error() string { return e.err.Error() }
func (e *fatalError) Unwrap() error { return e.err }

// madeAnew is a value that cannot be sent, where HeaderFunc makes another one for the
// next attempt.
type madeAnew struct{ error }

func (e madeAnew) Unwrap() error { return e.error }

// Classify returns the policy's decision. After is the Retry-After of a refused
// handshake, whatever its status.
func (p Policy) Classify(err error) Decision {
	return Decision{Retry: p.retries(err), After: retryAfter(err)}
}

func (p Policy) retries(err error) bool {
	var timeout *TimeoutError
	var undecoded *DecodeError
	var refused *handshake.Error
	var anew madeAnew
	switch {
	case askedFor(err):
		return !fatal(err)
	case errors.As(err, &timeout):
		return true
	case isFatal(err):
		return false
	case errors.As(err, &refused) && finalRefusal(refused) && !errors.As(err, &anew):
		return false
	case p != Strict:
		return true
	case errors.Is(err, context.Canceled), badCertificate(err), errors.As(err, &undecoded):
		return false
	case refused != nil:
		return passingRefusal(refused)
	}
	code, ended := endCode(err)
	return !ended || !finalCode(code)
}

// decide is the decision that holds for this Client.
func (c *Client) decide(err error) Decision {
	var d Decision
	code, ended := endCode(err)
	switch {
	case askedFor(err):
		d = Persistent.Classify(err)
	case c.Classify != nil:
		d = c.Classify(err)
	default:
		d = c.Policy.Classify(err)
		if ended && slices.Contains(c.FinalCodes, code) {
			d.Retry = false
		}
	}
	d.After = max(d.After, retryAfter(err))
	if limit := c.MaxRetryAfter; limit >= 0 {
		d.After = min(d.After, orDefault(limit, DefaultMaxRetryAfter))
	}
	return d
}

// retryAfter is how long the answer that refused a handshake asked to wait.
func retryAfter(err error) time.Duration {
	var refused *handshake.Error
	if askedFor(err) || !errors.As(err, &refused) {
		return 0
	}
	after, _ := refused.RetryAfter(time.Now())
	return after
}

// askedFor tells a session that Reconnect has ended. What its reason may be is not the
// end of a connection.
func askedFor(err error) bool {
	var asked *ReconnectError
	return errors.As(err, &asked)
}

// fatal tells what was wrapped with Fatal.
func fatal(err error) bool {
	var fatal *fatalError
	return errors.As(err, &fatal)
}

// isFatal tells what no attempt will do better.
func isFatal(err error) bool {
	var option *conn.SocketOptionError
	return fatal(err) || errors.Is(err, conn.ErrProxyURL) ||
		errors.As(err, &option) && (errors.Is(option, errors.ErrUnsupported) || errors.Is(option, fs.ErrInvalid) || errors.Is(option, fs.ErrPermission))
}

// finalRefusal tells a request that cannot be sent, and an answer to what this side has
// offered that cannot be lived with.
func finalRefusal(e *handshake.Error) bool {
	if errors.Is(e, handshake.ErrURL) || errors.Is(e, handshake.ErrValue) || errors.Is(e, handshake.ErrReserved) {
		return true
	}
	return e.Status == http.StatusSwitchingProtocols && (e.Name == "Sec-WebSocket-Extensions" || e.Name == "Sec-WebSocket-Protocol")
}

// passingRefusal tells a refusal of which the server says that it will pass.
func passingRefusal(e *handshake.Error) bool {
	switch s := e.Status; {
	case s == 0: // cut before there was a status
		return true
	case s == http.StatusRequestTimeout, s == http.StatusTooEarly, s == http.StatusTooManyRequests, s >= 500:
		return true
	}
	return false
}

func badCertificate(err error) bool {
	var certificate *tls.CertificateVerificationError
	var name x509.HostnameError
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	return errors.As(err, &certificate) || errors.As(err, &name) || errors.As(err, &authority) || errors.As(err, &invalid)
}

// endCode returns the Close code by which the end of a connection is judged: the peer's,
// or the one that was sent to a peer which broke the protocol. There is none if our Close
// went first.
func endCode(err error) (code frame.CloseCode, ended bool) {
	var closed *conn.CloseError
	var broken *frame.ProtocolError
	switch {
	case errors.As(err, &closed): // also where something is wrong with it
		return closed.Code, !closed.Local
	case errors.As(err, &broken):
		return broken.Code, true
	}
	return 0, false
}

func finalCode(c frame.CloseCode) bool {
	switch c {
	case frame.CodeNormal, frame.CodeProtocolError, frame.CodeUnsupportedData, frame.CodeInvalidPayload,
		frame.CodePolicyViolation, frame.CodeMessageTooBig, frame.CodeMandatoryExtension:
		return true
	}
	return false
}

// String returns "stop", "retry" or, for example, "retry after 5s".
func (d Decision) String() string {
	switch {
	case !d.Retry:
		return "stop"
	case d.After > 0:
		return "retry after " + d.After.String()
	}
	return "retry"
}

// MarshalText returns String.
func (d Decision) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// LogValue returns String.
func (d Decision) LogValue() slog.Value { return slog.StringValue(d.String()) }

// String returns the policy's name in lower case.
func (p Policy) String() string { return name("Policy", uint8(p), "persistent", "strict") }

// MarshalText returns String.
func (p Policy) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// LogValue returns String.
func (p Policy) LogValue() slog.Value { return slog.StringValue(p.String()) }
