// Package peers reads one stream of bytes with several WebSocket libraries and notes what each makes of it: the data
// messages, and whether the stream was refused. The libraries are oracles for tickwire's tests and fuzz targets; each is used
// through its public API, with its documented options for checks and limits, behind a handshake in memory.
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

// Outcome is what a library makes of a stream.
type Outcome struct {
	Messages []Message
	Refused  error // nil if the stream ended by its end or by a Close frame
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
	// Read reads the stream as an endpoint of the role, with UTF-8 checks on and message limits of 16 MiB where the library
	// has them. Compression is off.
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
