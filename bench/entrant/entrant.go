// Package entrant puts WebSocket libraries behind one small interface, each used the way its own documentation calls
// fastest; a comment at each call says why it was chosen. Beside them stand limits: programs without a protocol, which do
// only the part of the work that nobody can leave out.
package entrant

import (
	"crypto/tls"
	"errors"
	"net"
	"time"
)

// Entrant is one way of using one library.
type Entrant interface {
	// Info says what it is.
	Info() Info
	// Dial opens a connection as a client.
	Dial(o Options) (Conn, error)
	// Serve accepts connections as a server, until the listener closes, and calls serve with each on a goroutine of its
	// own. When serve returns the connection is closed.
	Serve(l net.Listener, o Options, serve func(Conn)) error
}

// Conn is an open connection, client or server.
type Conn interface {
	// Receive reads n messages and takes each into t.
	Receive(n int, t *Tally) error
	// Send writes n messages, in turn from messages, each given to the transport by itself.
	Send(n int, messages [][]byte) error
	// Echo answers each message with itself, until the connection ends.
	Echo() error
	// Close drops the connection.
	Close() error
}

// Queuer is a Conn that can queue messages.
type Queuer interface {
	Conn
	// SendQueued is Send, with all given to the transport at once.
	SendQueued(n int, messages [][]byte) error
}

// Viewer is a Conn whose messages can be looked at one by one.
type Viewer interface {
	Conn
	// View reads one message and calls f with it. The message is f's until that returns.
	View(f func(p []byte)) error
}

// view is View by a function that reads one message.
func view(read func() ([]byte, error), f func(p []byte)) error {
	p, err := read()
	if err == nil {
		f(p)
	}
	return err
}

// Broadcaster is an Entrant that can send one message to many connections.
type Broadcaster interface {
	Entrant
	// Broadcast writes p as a text message to every connection, one after the other, or has it written by others before long.
	Broadcast(conns []Conn, p []byte) error
}

// Gatherer is a Broadcaster whose library keeps the connections of a broadcast together.
type Gatherer interface {
	Broadcaster
	// Gather returns what writes a text message to every one of conns, instead of Broadcast.
	Gather(conns []Conn) (func(p []byte) error, error)
}

// Info says what an entrant is. The texts go into the report.
type Info struct {
	Name   string // in tables and results
	Module string // whose version is printed; empty for a limit
	Calls  string // which calls of the library are used
	Check  string // who checks UTF-8 when checking is on
	Limit  bool
	// Deflate says that the library negotiates permessage-deflate with context takeover.
	Deflate bool
	// Spin says that the entrant is the library with a wait in a loop before it sleeps: only measured where that matters.
	Spin bool
	// TLS says that the entrant is the library as it may be called under TLS: only
	// measured there.
	TLS bool
	// Raw says that Serve does without net/http.
	Raw bool
	// In names the scenarios that this way of use is for; nil means all.
	In []string
	// Version is that of what is no Go module.
	Version string
}

// Options are how a connection is opened.
type Options struct {
	URL     string // ws or wss
	NetDial func() (net.Conn, error)
	TLS     *tls.Config
	// CheckUTF8 asks that text is refused if it is not UTF-8: by the library where it can, else by unicode/utf8 on the
	// message that came.
	CheckUTF8 bool
	// Deflate asks for permessage-deflate with context takeover.
	Deflate bool
	// Lean asks for what the library's documentation tells for many connections with little traffic, instead of what it
	// tells for speed.
	Lean bool
	// WireLen tells a limit how many bytes n messages take.
	WireLen func(n int) int
}

// ReadBuffer is the read buffer that every library gets whose documentation has a knob for it: the size that tickwire
// takes by itself.
const ReadBuffer = 64 << 10

// writeBuffer is the write buffer, for the libraries that have a knob and cut messages that are longer into several frames and
// writes. It holds every scenario's messages.
const writeBuffer = 16 << 10

// leanBuffer is the read buffer, and the write buffer, with Options.Lean, for the libraries that have a knob. It holds the scenario's messages.
const leanBuffer = 1 << 10

// ErrUTF8 is what an adapter returns where it checks UTF-8 for its library.
var ErrUTF8 = errors.New("entrant: text is not UTF-8")

var errUnsupported = errors.New("entrant: not offered by this library")

// Tally counts messages, and sums bytes of them, so that a message that was not read or not unmasked is noticed.
type Tally struct {
	Messages, Bytes int
	Sum             uint64
}

// Take counts p.
func (t *Tally) Take(p []byte) {
	t.Messages++
	t.Bytes += len(p)
	if len(p) > 0 {
		t.Sum += uint64(p[0]) + uint64(p[len(p)-1])
	}
}

// All returns the entrants, tickwire first, the limits last.
func All() []Entrant {
	return append(Libraries(), Limits()...)
}

// ByName returns the entrant of that name, nil if there is none.
func ByName(name string) Entrant {
	for _, e := range All() {
		if e.Info().Name == name {
			return e
		}
	}
	return nil
}

// dialTCP is the NetDial of an Options without one.
func (o Options) netDial(address string) (net.Conn, error) {
	if o.NetDial != nil {
		return o.NetDial()
	}
	return (&net.Dialer{Timeout: 10 * time.Second}).Dial("tcp", address)
}
