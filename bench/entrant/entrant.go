// Package entrant wraps WebSocket libraries in one small interface. Each is used in the
// way that its documentation calls fastest; a comment at each call says why.
//
// There are also limits: programs without a protocol, which do only the part of the work
// that every library must do.
package entrant

import (
	"crypto/tls"
	"errors"
	"net"
	"time"
)

// Entrant is one way to use one library.
type Entrant interface {
	// Info describes the entrant.
	Info() Info
	// Dial opens a connection as a client.
	Dial(o Options) (Conn, error)
	// Serve accepts connections as a server until the listener closes. It calls serve
	// with each in its own goroutine. After serve the connection is closed.
	Serve(l net.Listener, o Options, serve func(Conn)) error
}

// Conn is an open connection of a client or a server.
type Conn interface {
	// Receive reads n messages and counts each in t.
	Receive(n int, t *Tally) error
	// Send writes n messages, taken from messages in turn. Each is written by itself.
	Send(n int, messages [][]byte) error
	// Echo echoes each message until the connection ends.
	Echo() error
	// Close closes the connection at once.
	Close() error
}

// Queuer is a Conn that can queue messages.
type Queuer interface {
	Conn
	// SendQueued is Send, but writes all messages at once.
	SendQueued(n int, messages [][]byte) error
}

// Viewer is a Conn that shows its messages one by one.
type Viewer interface {
	Conn
	// View reads one message and calls f with it. f may use it until it returns.
	View(f func(p []byte)) error
}

// view implements View with a function that reads one message.
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
	// Broadcast writes p as a text message to every connection, or makes other goroutines
	// write it soon.
	Broadcast(conns []Conn, p []byte) error
}

// Gatherer is a Broadcaster whose library keeps the connections of a broadcast together.
type Gatherer interface {
	Broadcaster
	// Gather returns a function that writes a text message to all conns. It replaces
	// Broadcast.
	Gather(conns []Conn) (func(p []byte) error, error)
}

// Info describes an entrant. The texts go into the report.
type Info struct {
	Name   string // in tables and results
	Module string // its version is printed; empty for a limit
	Calls  string // the calls of the library that are used
	Check  string // who checks UTF-8 if that is on
	Limit  bool
	// Deflate reports whether the library negotiates permessage-deflate with context
	// takeover.
	Deflate bool
	// Spin marks a library that polls before it sleeps. It is measured only where that
	// matters.
	Spin bool
	// TLS marks a way to use a library under TLS. It is measured only there.
	TLS bool
	// Raw reports whether Serve does without net/http.
	Raw bool
	// In names the scenarios of this entrant; nil means all.
	In []string
	// Version is the version of something that is not a Go module.
	Version string
}

// Options say how to open a connection.
type Options struct {
	URL     string // ws or wss
	NetDial func() (net.Conn, error)
	TLS     *tls.Config
	// CheckUTF8 refuses text that is not UTF-8. The library checks it if it can;
	// otherwise unicode/utf8 checks the received message.
	CheckUTF8 bool
	// Deflate asks for permessage-deflate with context takeover.
	Deflate bool
	// Lean follows the library's documentation for many connections with little traffic,
	// instead of its advice for speed.
	Lean bool
	// WireLen tells a limit how many bytes n messages have as frames.
	WireLen func(n int) int
}

// ReadBuffer is the read buffer for every library that has an option for it. It is
// tickwire's default.
const ReadBuffer = 64 << 10

// writeBuffer is the write buffer for libraries that have an option for it, and split
// longer messages into several frames and writes. It holds the messages of every
// scenario.
const writeBuffer = 16 << 10

// leanBuffer is the read and write buffer with Options.Lean, for libraries that have an
// option for it. It holds the scenario's messages.
const leanBuffer = 1 << 10

// ErrUTF8 is returned by an adapter that checks UTF-8 for its library.
var ErrUTF8 = errors.New("entrant: text is not UTF-8")

var errUnsupported = errors.New("entrant: not offered by this library")

// Tally counts messages, and sums some of their bytes. So a message that was not read or
// not unmasked is noticed.
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

// All returns the entrants, tickwire first and the limits last.
func All() []Entrant {
	return append(Libraries(), Limits()...)
}

// ByName returns the entrant with that name, or nil.
func ByName(name string) Entrant {
	for _, e := range All() {
		if e.Info().Name == name {
			return e
		}
	}
	return nil
}

// netDial dials with NetDial, or over TCP if that is nil.
func (o Options) netDial(address string) (net.Conn, error) {
	if o.NetDial != nil {
		return o.NetDial()
	}
	return (&net.Dialer{Timeout: 10 * time.Second}).Dial("tcp", address)
}
