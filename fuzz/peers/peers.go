// Package peers reads a stream of bytes with several WebSocket libraries. It records the
// result of each: the data messages, and whether it refused the stream. Tests and fuzz
// targets compare tickwire with these libraries. Each is used through its public API,
// with its documented options for checks and limits, after a handshake in memory.
package peers

import (
	"fmt"

	"github.com/seed-7f57ff33/tickwire/fuzz/reference"
)

// Message is a data message.
type Message struct {
	Binary bool
	Data   string
}

// Outcome is the result of a library for a stream.
type Outcome struct {
	Messages []Message
	Refused  error // nil if the stream ended, or a Close frame came
}

func (o Outcome) String() string {
	if o.Refused != nil {
		return fmt.Sprintf("%d messages, then %v", len(o.Messages), o.Refused)
	}
	return fmt.Sprintf("%d messages", len(o.Messages))
}

// Peer is a library.
type Peer struct {
	Name string
	// Read reads the stream as an endpoint with the role. UTF-8 checks are on, and
	// message limits are 16 MiB where the library has them. Compression is off.
	Read func(role reference.Role, stream []byte) Outcome
}

// All returns the libraries, tickwire first.
func All() []Peer {
	return []Peer{
		{"tickwire", readTickwire},
		{"gorilla/websocket", readGorilla},
		{"coder/websocket", readCoder},
		{"gobwas/ws", readGobwas},
	}
}
