package relay

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// Subprotocol is the WebSocket subprotocol between a Gateway and its clients. PROTOCOL.md
// specifies it.
const Subprotocol = "tickwire.relay.v1"

// The Close codes of the subprotocol.
const (
	CloseBadHello    frame.CloseCode = 4400 // the first message is not a hello
	CloseNotGranted  frame.CloseCode = 4403 // the stream, or the position in it, is not granted
	CloseUnknown     frame.CloseCode = 4404 // none of Gateway.Streams
	CloseIncarnation frame.CloseCode = 4409 // the position is of another incarnation
	CloseExpired     frame.CloseCode = 4410 // the position is too old, and the client is strict
	CloseHelloLate   frame.CloseCode = 4408 // no hello in time
)

const (
	// MaxHello is the most bytes of a hello.
	MaxHello = 4096

	frameHeader = 19
	// lastOfBatch is set in the first byte of a frame that ends its batch.
	lastOfBatch = 0x80
	// expiredFrame is the kind of a frame that tells of batches the stream has no more.
	expiredFrame = 4
)

// ErrFrame says that a message from a gateway is not one of the subprotocol.
var ErrFrame = errors.New("relay: malformed message from the gateway")

// start says where a client wants to begin.
type start string

const (
	startNow    start = "now"
	startOldest start = "oldest"
	startAfter  start = "after"
)

// control is a text message of the subprotocol, in either direction.
type control struct {
	Type string `json:"type"` // hello; welcome, error, bye

	// hello
	Start  start `json:"start,omitempty"`
	Strict bool  `json:"strict,omitempty"`
	// hello with Start after; welcome: the place before the first record; bye: the last
	// record sent
	After *Position `json:"after,omitempty"`

	Stream    string          `json:"stream,omitempty"`    // hello, welcome
	Recovered *bool           `json:"recovered,omitempty"` // welcome
	Code      frame.CloseCode `json:"code,omitempty"`      // error
	Text      string          `json:"text,omitempty"`      // error, bye
}

// parseHello parses the first message of a client.
func parseHello(data []byte) (control, error) {
	var c control
	if len(data) > MaxHello {
		return c, fmt.Errorf("hello: %d bytes, more than %d", len(data), MaxHello)
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("hello: %w", err)
	}
	switch {
	case c.Type != "hello":
		return c, fmt.Errorf("hello: type %q", c.Type)
	case c.Stream == "":
		return c, errors.New("hello: no stream")
	case c.Start != startNow && c.Start != startOldest && c.Start != startAfter:
		return c, fmt.Errorf("hello: start %q", c.Start)
	case (c.Start == startAfter) != (c.After != nil):
		return c, errors.New("hello: a position belongs to start \"after\", and to nothing else")
	}
	return c, nil
}

// appendFrame appends the message that carries a record.
func appendFrame(dst []byte, r *Record, sequence uint64, index int, last bool) []byte {
	kind := byte(r.Kind)
	if last {
		kind |= lastOfBatch
	}
	dst = append(dst, kind)
	dst = binary.BigEndian.AppendUint16(dst, uint16(index))
	dst = binary.BigEndian.AppendUint64(dst, sequence)
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.Received))
	if r.Kind == Gap {
		dst = append(dst, byte(r.Reason))
		dst = binary.BigEndian.AppendUint64(dst, r.From)
		return binary.BigEndian.AppendUint64(dst, r.To)
	}
	return append(dst, r.Data...)
}

// appendExpired appends the message that says that the batches from..to are gone.
func appendExpired(dst []byte, from, to uint64) []byte {
	dst = append(dst, expiredFrame|lastOfBatch)
	dst = binary.BigEndian.AppendUint16(dst, EndOfBatch)
	dst = binary.BigEndian.AppendUint64(dst, to)
	dst = binary.BigEndian.AppendUint64(dst, 0)
	return binary.BigEndian.AppendUint64(dst, from)
}

// dataFrame is a parsed message that carries a record.
type dataFrame struct {
	Record
	sequence uint64
	index    uint16
	last     bool   // of its batch
	expired  bool   // Record is a Gap; batches first..sequence are gone
	first    uint64 // of expired
}

// parseFrame parses a binary message from a gateway. Data is a view.
func parseFrame(data []byte) (f dataFrame, err error) {
	if len(data) < frameHeader {
		return f, ErrFrame
	}
	f.last = data[0]&lastOfBatch != 0
	f.index = binary.BigEndian.Uint16(data[1:])
	f.sequence = binary.BigEndian.Uint64(data[3:])
	f.Received = int64(binary.BigEndian.Uint64(data[11:]))
	rest := data[frameHeader:]
	switch kind := data[0] &^ lastOfBatch; {
	case f.sequence == 0:
		return f, ErrFrame
	case kind == expiredFrame && f.last && f.index == EndOfBatch && len(rest) == 8:
		f.expired, f.Kind, f.Reason = true, Gap, Expired
		if f.first = binary.BigEndian.Uint64(rest); f.first == 0 || f.first > f.sequence {
			return f, ErrFrame
		}
		return f, nil
	case f.index == EndOfBatch:
		return f, ErrFrame
	case Kind(kind) == Text, Kind(kind) == Binary:
		f.Kind, f.Data = Kind(kind), rest
		return f, nil
	case Kind(kind) == Gap && len(rest) == 17:
		f.Kind, f.Reason = Gap, Reason(rest[0])
		f.From, f.To = binary.BigEndian.Uint64(rest[1:]), binary.BigEndian.Uint64(rest[9:])
		if f.Reason < Missing || f.Reason > TooLong {
			return f, ErrFrame
		}
		return f, nil
	}
	return f, ErrFrame
}
