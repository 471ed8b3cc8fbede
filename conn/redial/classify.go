package redial

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net/http"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// Decision is what follows from an error.
type Decision struct {
	// Retry says that another attempt is made; otherwise Run returns the error.
	Retry bool
	// After is the least wait before it, on top of which Backoff applies only if it is longer.
	After time.Duration
}

// Fatal wraps an error of OnConnect, or of a Dialer's hook, so that Classify does not retry it. Fatal(nil) is nil.
func Fatal(err error) error {
	if err == nil {
		return nil
	}
	return &fatalError{err}
}

type fatalError struct{ err error }

func (e *fatalError) Error() string { return e.err.Error() }
func (e *fatalError) Unwrap() error { return e.err }

// Classify is the decision that holds where Client.Classify is nil:
//   - a refused handshake: 408, 425, 429 and 5xx are retried, after the Retry-After of the answer if it has one; every other status
//     is final, as are an answer that breaks the protocol, a request that cannot be sent and a proxy's URL that cannot be used;
//   - a socket option that the system or the connection does not have or allow, or that is negative, is final;
//   - a certificate that is not valid or not the host's is final;
//   - a Close from the peer: 1000 (it is done), 1002, 1003, 1007, 1008, 1009 and 1010 are final, all else is retried, also where
//     something is wrong with it, as a code that no peer may send; a peer that broke the protocol in any other frame is judged
//     by the code that was sent to it;
//   - Fatal is final, and so is a context that was canceled;
//   - everything else, the network's failures above all, is retried.
func Classify(err error) Decision {
	var refused *handshake.Error
	var closed *conn.CloseError
	var broken *frame.ProtocolError
	var option *conn.SocketOptionError
	switch {
	case isFatal(err):
		return Decision{}
	case errors.As(err, &option) && (errors.Is(option, errors.ErrUnsupported) || errors.Is(option, fs.ErrInvalid) || errors.Is(option, fs.ErrPermission)):
		return Decision{}
	case errors.As(err, &refused):
		return classifyRefusal(refused)
	case errors.As(err, &closed):
		return Decision{Retry: !finalCode(closed.Code)}
	case errors.As(err, &broken):
		return Decision{Retry: !finalCode(broken.Code)}
	}
	return Decision{Retry: true}
}

func isFatal(err error) bool {
	var fatal *fatalError
	var certificate *tls.CertificateVerificationError
	var name x509.HostnameError
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	return errors.As(err, &fatal) || errors.Is(err, context.Canceled) ||
		errors.As(err, &certificate) || errors.As(err, &name) || errors.As(err, &authority) || errors.As(err, &invalid)
}

func classifyRefusal(e *handshake.Error) Decision {
	after, _ := e.RetryAfter(time.Now())
	switch s := e.Status; {
	case errors.Is(e, handshake.ErrURL), errors.Is(e, handshake.ErrValue), errors.Is(e, handshake.ErrReserved), errors.Is(e, conn.ErrProxyURL):
		return Decision{}
	case s == 0: // cut before there was a status
		return Decision{Retry: true}
	case s == http.StatusRequestTimeout, s == http.StatusTooEarly, s == http.StatusTooManyRequests, s >= 500:
		return Decision{Retry: true, After: after}
	}
	return Decision{}
}

func finalCode(c frame.CloseCode) bool {
	switch c {
	case frame.CodeNormal, frame.CodeProtocolError, frame.CodeUnsupportedData, frame.CodeInvalidPayload,
		frame.CodePolicyViolation, frame.CodeMessageTooBig, frame.CodeMandatoryExtension:
		return true
	}
	return false
}
