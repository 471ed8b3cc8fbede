package redial

import (
	"errors"
	"log/slog"
	"strconv"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// State is the state of a Client.
type State uint8

// The states, in the order in which they follow each other.
const (
	Dialing  State = iota // an attempt begins
	Failed                // it failed, or OnConnect did
	Up                    // OnConnect has returned: messages follow
	Rotating              // MaxAge is reached
	Down                  // the connection ended
	Waiting               // before the next attempt, for Change.Delay
	Stopped               // Run returns
)

// String returns the state's name in lower case.
func (s State) String() string {
	return name("State", uint8(s), "dialing", "failed", "up", "rotating", "down", "waiting", "stopped")
}

// MarshalText returns String.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue returns String.
func (s State) LogValue() slog.Value { return slog.StringValue(s.String()) }

// name returns names[i], and for values that have none what they are.
func name(of string, i uint8, names ...string) string {
	if int(i) < len(names) {
		return names[i]
	}
	return of + "(" + strconv.Itoa(int(i)) + ")"
}

// Change is a step from one state to the next.
type Change struct {
	State   State         // the new one
	Epoch   uint64        // of the session that it is about, or of the last one; 0 before the first
	Attempt int           // since the last session, from 1
	URL     string        // of the attempt or the session
	Delay   time.Duration // Waiting
	Err     error         // Failed, Down, Waiting and Stopped: why

	// The rest is told of Down: how the connection ended.
	By       Side            // who ended it
	Code     frame.CloseCode // the peer's, as it came; CodeAbnormal if no Close did
	SentCode frame.CloseCode // ours; CodeAbnormal if no Close is known to have gone
	Age      time.Duration   // of the connection
	Messages uint64          // delivered
	Stats    conn.Stats      // of the connection, when it ended
}

// Side is who ended a connection.
type Side uint8

// The sides.
const (
	Unknown   Side = iota
	ByPeer         // its Close came first, right or wrong, or it broke the protocol or cut the stream
	ByUs           // our Close came first, or Run ended, or Reconnect was called
	ByNetwork      // an error of the network
	ByClock        // one of the clocks judged it dead
)

// String returns the side's name.
func (s Side) String() string {
	return name("Side", uint8(s), "unknown", "peer", "us", "network", "clock")
}

// MarshalText returns String.
func (s Side) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue returns String.
func (s Side) LogValue() slog.Value { return slog.StringValue(s.String()) }

// endedBy tells who ended a connection with the error err.
func endedBy(err error) Side {
	var asked *ReconnectError
	var undecoded *DecodeError
	var timeout *TimeoutError
	var closed *conn.CloseError
	var broken *frame.ProtocolError
	var dead *conn.TimeoutError
	var lost *conn.TransportError
	switch {
	case errors.As(err, &asked):
		return ByUs
	case errors.As(err, &timeout):
		return ByClock
	case errors.As(err, &closed): // also where something is wrong with it
		if closed.Local {
			return ByUs
		}
		return ByPeer
	case errors.As(err, &broken), errors.As(err, &undecoded):
		return ByPeer
	case errors.As(err, &dead):
		if dead.Clock == conn.ClockClose {
			return ByUs // our Close came first, and was not answered
		}
		return ByClock
	case errors.As(err, &lost):
		return ByNetwork
	case errors.Is(err, conn.ErrClosed):
		return ByUs
	}
	return Unknown
}
