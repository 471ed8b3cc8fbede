package redial

import (
	"errors"
	"fmt"
	"net"
	"time"
)

var (
	// ErrRunning is returned by Run of a Client that already runs.
	ErrRunning = errors.New("redial: the client is running already")
	// ErrStopped is returned by Send of a Client that does not run.
	ErrStopped = errors.New("redial: the client is not running")
	// ErrDown is returned by Send with FailWhenDown if there is no connection, and by
	// Reconnect if there is no session.
	ErrDown = errors.New("redial: no connection")
	// ErrQueueFull is returned by Send if there is no connection and Queue messages
	// wait. It is wrapped in an error that has the value of Queue.
	ErrQueueFull = errors.New("redial: no connection, and the queue is full")
	// ErrInConnect is returned by Send if OnConnect calls it: write on Session.Conn
	// there. OnChange and the other hooks of an attempt get it if Send would have to
	// wait until they return.
	ErrInConnect = errors.New("redial: Send within the attempt to connect: write on Session.Conn")
	// ErrUnreadFull is returned by Session.Unread and Await if the messages kept for the
	// handler would exceed Client.MaxUnread.
	ErrUnreadFull = errors.New("redial: more was read past in OnConnect than MaxUnread allows")
	// ErrNoURL is returned by Run of a Client without a URL.
	ErrNoURL = errors.New("redial: no URL")
	// ErrPollerEnded is Run with a Client.Poller whose own Run has returned.
	ErrPollerEnded = errors.New("redial: the Poller has ended")
	// ErrNoHandler is returned by Run without a handler.
	ErrNoHandler = errors.New("redial: no handler")

	// ErrConnectTimeout matches an attempt that took longer than ConnectTimeout.
	ErrConnectTimeout = errors.New("redial: no session within ConnectTimeout")
	// ErrSilent matches the error of a session that ended because no answer to a
	// LifeSign came.
	ErrSilent = errors.New("redial: no answer to a sign of life")
	// ErrNoData matches the error of a session that ended because no message came for a
	// key of Session.Watch.
	ErrNoData = errors.New("redial: no message for a watched key")
)

// Error says why a Client ended. It wraps the error of the handler, of a hook, of the
// dial or of the connection.
type Error struct {
	// Op is "URL", "dial", "connect hook", "read" or "handler"; of Lines "handler" or
	// "key".
	Op string
	// Epoch is the session's, 0 if there was none yet.
	Epoch uint64
	// Number is the number of the last message delivered in the epoch.
	Number uint64
	// Attempts is how many attempts had failed in a row.
	Attempts int
	// Limit is Backoff.MaxAttempts if Run gave up only because of it, and 0 otherwise.
	Limit int
	// Err is the cause.
	Err error
}

// Error returns what failed, and when.
func (e *Error) Error() string {
	s := "redial: " + e.Op
	if e.Epoch > 0 {
		s += fmt.Sprintf(" in epoch %d after %d messages", e.Epoch, e.Number)
	}
	if e.Attempts > 1 {
		s += fmt.Sprintf(", %d attempts", e.Attempts)
	}
	if e.Limit > 0 {
		s += fmt.Sprintf(", the limit of %d reached (redial.Backoff.MaxAttempts)", e.Limit)
	}
	return s + ": " + e.Err.Error()
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Clock names one of the clocks of a Client. The connection has its own: see conn.Clock.
type Clock string

// The clocks.
const (
	ClockConnect Clock = "connect" // Client.ConnectTimeout
	ClockAnswer  Clock = "answer"  // LifeSign.Timeout
	ClockWatch   Clock = "watch"   // Session.Watch
)

// TimeoutError says that a clock of the Client ended an attempt or a session. It matches
// ErrConnectTimeout, ErrSilent or ErrNoData. Both policies retry it.
type TimeoutError struct {
	// Clock is the clock that ran out.
	Clock Clock
	// Limit is the clock's time.
	Limit time.Duration
	// Key is the key of Session.Watch, for ClockWatch.
	Key string
	// Op is the step that ClockConnect ended: "URL", "dial" or "connect hook".
	Op string
	// Err is what Op returned then, nil if it did not return.
	Err error
}

// Error tells which clock ran out.
func (e *TimeoutError) Error() string {
	s := e.sentinel().Error()
	if e.Clock == ClockWatch {
		s += fmt.Sprintf(" (%q)", e.Key)
	}
	s += " for " + e.Limit.String()
	if e.Clock == ClockConnect {
		s = "redial: no session within " + e.Limit.String() + ", in the " + e.Op
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *TimeoutError) sentinel() error {
	switch e.Clock {
	case ClockConnect:
		return ErrConnectTimeout
	case ClockAnswer:
		return ErrSilent
	}
	return ErrNoData
}

// Is matches the clock's own error, and net.ErrClosed: the connection is closed.
func (e *TimeoutError) Is(target error) bool {
	return target == e.sentinel() || target == net.ErrClosed
}

// Unwrap returns Err.
func (e *TimeoutError) Unwrap() error { return e.Err }

// Timeout reports true.
func (e *TimeoutError) Timeout() bool { return true }

// Temporary reports false: the connection is closed.
func (e *TimeoutError) Temporary() bool { return false }

// ReconnectError says that Client.Reconnect ended the session.
type ReconnectError struct {
	Reason error // as it was given, may be nil
}

// Error tells the reason.
func (e *ReconnectError) Error() string {
	if e.Reason == nil {
		return "redial: reconnect was asked for"
	}
	return "redial: reconnect was asked for: " + e.Reason.Error()
}

// Unwrap returns Reason.
func (e *ReconnectError) Unwrap() error { return e.Reason }

// DecodeError says that Client.Decode failed for a message. It ends the session.
type DecodeError struct {
	Err error // what Decode returned
}

// Error tells what Decode returned.
func (e *DecodeError) Error() string { return "redial: a message cannot be decoded: " + e.Err.Error() }

// Unwrap returns Err.
func (e *DecodeError) Unwrap() error { return e.Err }
