package relay

import (
	"errors"
	"fmt"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// The errors that a RefusedError matches, besides ErrStreamNotFound and ErrIncarnation.
var (
	// ErrBadHello says that the gateway did not understand the hello (4400).
	ErrBadHello = errors.New("relay: the hello was not understood")
	// ErrNotGranted says that the stream, or so old a position, is not granted (4403).
	ErrNotGranted = errors.New("relay: not granted")
	// ErrExpired says that the stream no longer has what follows the position (4410).
	ErrExpired = errors.New("relay: the position has expired")
)

// ErrSubprotocol says that a server does not speak the subprotocol of a relay. The Client
// dials again: another gateway may.
var ErrSubprotocol = errors.New("relay: the server does not speak " + Subprotocol)

// ErrJump says that a gateway has skipped records. The Client dials again.
var ErrJump = errors.New("relay: the gateway skipped records")

// RefusedError is an error that a gateway has sent. It matches the error of its code.
// 4400, 4403, 4404, 4409 and 4410 are final: they end Client.Run.
type RefusedError struct {
	Code frame.CloseCode // CloseBadHello, CloseNotGranted, …
	Text string          // the gateway's, for people
}

// Error tells the code and the text.
func (e *RefusedError) Error() string {
	s := fmt.Sprintf("relay: the gateway refused with %d", uint16(e.Code))
	if kind := e.kind(); kind != nil {
		s = fmt.Sprintf("%v (%d)", kind, uint16(e.Code))
	}
	if e.Text != "" {
		s += fmt.Sprintf(": %.200q", e.Text)
	}
	return s
}

// Is reports whether target is the error of the code: ErrBadHello, ErrNotGranted,
// ErrStreamNotFound, ErrIncarnation or ErrExpired.
func (e *RefusedError) Is(target error) bool { return target == e.kind() && target != nil }

// refusals are the errors of the codes after which no attempt with the same hello can
// succeed.
var refusals = map[frame.CloseCode]error{
	CloseBadHello:    ErrBadHello,
	CloseNotGranted:  ErrNotGranted,
	CloseUnknown:     ErrStreamNotFound,
	CloseIncarnation: ErrIncarnation,
	CloseExpired:     ErrExpired,
}

// kind returns the error of the code. Only final codes have one.
func (e *RefusedError) kind() error { return refusals[e.Code] }

func (e *RefusedError) final() bool { return e.kind() != nil }

// finalRefusal reports whether err says that no attempt can succeed.
func finalRefusal(err error) bool {
	refused := &RefusedError{Code: conn.CloseCode(err)}
	errors.As(err, &refused)
	return refused.final()
}

// asRefused adds a RefusedError to the end of a connection with a final code, if the
// message that comes before the Close did not.
func asRefused(err error) error {
	var refused *RefusedError
	var closed *conn.CloseError
	if errors.As(err, &refused) || !errors.As(err, &closed) {
		return err
	}
	if refused = (&RefusedError{closed.Code, closed.Reason}); !refused.final() {
		return err
	}
	return fmt.Errorf("%w: %w", refused, err)
}
