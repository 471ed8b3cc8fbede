package redial

import (
	"errors"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// State is where a Client stands.
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
	return [...]string{"dialing", "failed", "up", "rotating", "down", "waiting", "stopped"}[s]
}

// Change is a step from one state to the next.
type Change struct {
	State   State
	Epoch   uint64 // of the session that it is about, or of the last one
	Attempt int    // since the last session, from 1
	URL     string
	Delay   time.Duration // Waiting
	Err     error         // Failed, Down, Waiting and Stopped: why

	// The rest is told of Down: how the connection ended.
	By       Side            // who ended it
	Code     frame.CloseCode // the peer's, as it came; CodeAbnormal if no Close did
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
	ByUs           // our Close came first, or Run ended
	ByNetwork      // an error of the network
	ByClock        // one of conn's clocks judged it dead
)

// String returns the side's name.
func (s Side) String() string {
	return [...]string{"unknown", "peer", "us", "network", "clock"}[s]
}

// endedBy tells who ended a connection with the error err.
func endedBy(err error) Side {
	var closed *conn.CloseError
	var broken *frame.ProtocolError
	var dead *conn.TimeoutError
	var lost *conn.TransportError
	switch {
	case err == ErrSilent:
		return ByClock
	case errors.As(err, &closed):
		if closed.Local {
			return ByUs
		}
		return ByPeer
	case errors.As(err, &broken):
		return ByPeer
	case errors.As(err, &dead):
		return ByClock
	case errors.As(err, &lost):
		return ByNetwork
	case errors.Is(err, conn.ErrClosed):
		return ByUs
	}
	return Unknown
}

// Counts are totals over the life of a Client.
type Counts struct {
	Dials       uint64 // attempts begun
	Connections uint64 // of these, with OnConnect done: the epochs
	Rotations   uint64 // connections replaced at MaxAge
	Messages    uint64 // delivered
	Consumed    uint64 // answers and pings that LifeSign took
	Sent        uint64 // by Send and LifeSign
	Refused     uint64 // by Outbound
}

// Counts returns the totals so far.
func (c *Client) Counts() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.counts
	n.Messages, n.Consumed = c.messages.Load(), c.consumed.Load()
	return n
}
