package deflate

import (
	"strconv"
	"time"

	"github.com/seed-7f57ff33/tickwire/handshake"
)

// Name is the extension's token in Sec-WebSocket-Extensions (RFC 7692 §7).
const Name = "permessage-deflate"

// The parameters of RFC 7692 §7.1.
const (
	serverNoContextTakeover = "server_no_context_takeover"
	clientNoContextTakeover = "client_no_context_takeover"
	serverMaxWindowBits     = "server_max_window_bits"
	clientMaxWindowBits     = "client_max_window_bits"
)

const (
	minWindowBits = 8
	maxWindowBits = 15
)

// Config says what an endpoint offers or accepts, and how it compresses what it sends.
// The zero value allows everything, with context takeover in both directions, which
// compresses best. An idle connection then holds at most 60 KiB: see the package comment.
type Config struct {
	// ServerNoContextTakeover has the server compress every message independently. A
	// client that sets it fails the handshake if the server does not agree.
	ServerNoContextTakeover bool
	// ClientNoContextTakeover has the client compress every message independently.
	ClientNoContextTakeover bool
	// ServerMaxWindowBits limits how far back the server's compressor may refer, as a
	// power of two: 8 to 15 for 256 B to 32 KiB. 0 means 15.
	ServerMaxWindowBits int
	// ClientMaxWindowBits is the same for the client's compressor. A server can limit a
	// client only if the client offers it.
	ClientMaxWindowBits int

	// BareOffer has a client offer only the parameters that other fields ask for. If
	// those are zero, the offer is the extension's name alone. It is for servers that
	// refuse parameters. Otherwise the offer lets the server bound the client's window.
	BareOffer bool

	// Level of compression. 0, DefaultLevel, is the package's own compressor, which
	// holds little. Levels 1 (fastest) to 9 (smallest) are a library's. They hold a
	// megabyte for each connection with context takeover. HuffmanOnly looks for no
	// repetitions and holds nothing. Stored compresses nothing. -1 means 0. If a window
	// below 15 bits was agreed, 1 to 9 mean 0 too. conn.Conn.WriteLevel sets the level
	// of one message.
	Level int
	// History limits the bytes of sent messages held between messages, with context
	// takeover. At level 0 it is rounded up to a power of two of at least 1 KiB; a table
	// takes half as much again, and 0 means DefaultHistory. At levels 1 to 9, 0 means
	// that each connection holds the library's compressor. Any other value has the
	// compressor prepared for each message, which takes several times the CPU. See the
	// package comment.
	History int
	// ReleaseIdle, if not 0, is the time without a message sent after which a connection
	// returns all memory of its compressor. The next message is then independent of
	// earlier ones, and so larger. The release may come an eighth later, or when another
	// clock of the connection fires.
	ReleaseIdle time.Duration
	// Threshold is the size in bytes from which messages are compressed. 0 means
	// DefaultThreshold; negative means every message.
	Threshold int
	// MaxRatio limits the inflated bytes of a received message to this multiple of its
	// compressed bytes. It is checked every 32 KiB after the first 64 KiB, and at the
	// end. 0 means no such limit. The limit on a message's size always holds.
	MaxRatio int
	// MaxInflated bounds a received message's inflated bytes. With it
	// frame.Options.MaxMessage, and conn.Conn.SetReadLimit, bound the bytes on the wire
	// alone. 0 means that those two also bound the inflated bytes; negative means
	// frame.HardMaxMessage.
	MaxInflated int64
	// KeptTail accepts messages that still end with the tail 00 00 FF FF, which RFC 7692
	// §7.2.1 has the sender remove. It has an effect only without context takeover: with
	// takeover the tail could make the next message inflate wrongly.
	KeptTail bool
}

// Params is what both sides agreed on, for both directions.
type Params struct {
	ServerNoContextTakeover bool // the server compresses each message alone
	ClientNoContextTakeover bool // the client compresses each message alone
	ServerMaxWindowBits     int  // 8 to 15
	ClientMaxWindowBits     int  // 8 to 15
}

// A NegotiationError says why an offer or an answer is not acceptable (RFC 7692 §5.1,
// §7.1).
type NegotiationError struct {
	Reason string // what is wrong, one clause
	Param  string // the parameter's name, if it is about one
	Value  string // the parameter's value
}

func (e *NegotiationError) Error() string {
	s := "deflate: " + e.Reason
	if e.Param != "" {
		s += ": " + strconv.Quote(e.Param)
	}
	if e.Value != "" {
		s += "=" + strconv.Quote(e.Value)
	}
	return s
}

// Is reports whether target is a NegotiationError of the same reason.
func (e *NegotiationError) Is(target error) bool {
	t, ok := target.(*NegotiationError)
	return ok && t.Reason == e.Reason
}

// The reasons of a NegotiationError.
var (
	ErrUnknownParam   = &NegotiationError{Reason: "unknown parameter"}
	ErrDuplicateParam = &NegotiationError{Reason: "parameter given twice"}
	ErrParamValue     = &NegotiationError{Reason: "invalid parameter value"}
	ErrNotHonoured    = &NegotiationError{Reason: "demand left out of the answer"}
	ErrNotOffered     = &NegotiationError{Reason: "parameter that was not offered"}
	ErrWindowTooLarge = &NegotiationError{Reason: "window larger than offered"}
	ErrTwoAnswers     = &NegotiationError{Reason: "extension answered twice"}
)

// Check returns an error if a field of c is out of range.
func (c *Config) Check() error {
	for _, bits := range [...]int{c.ServerMaxWindowBits, c.ClientMaxWindowBits} {
		if bits != 0 && (bits < minWindowBits || bits > maxWindowBits) {
			return errWindowBits
		}
	}
	if c.History < 0 || c.History > 1<<maxWindowBits {
		return errHistory
	}
	if c.Level < Stored || c.Level > 9 {
		return errLevel
	}
	return nil
}

func orMax(bits int) int {
	if bits == 0 {
		return maxWindowBits
	}
	return bits
}

// Offer returns a client's offer (RFC 7692 §7.1). Unless BareOffer is set, it lets the
// server limit the client's window.
func (c *Config) Offer() handshake.Extension {
	x := handshake.Extension{Name: Name}
	add := func(name, value string) { x.Params = append(x.Params, handshake.Param{Name: name, Value: value}) }
	if c.ServerNoContextTakeover {
		add(serverNoContextTakeover, "")
	}
	if c.ClientNoContextTakeover {
		add(clientNoContextTakeover, "")
	}
	if n := orMax(c.ServerMaxWindowBits); n < maxWindowBits {
		add(serverMaxWindowBits, strconv.Itoa(n))
	}
	if n := orMax(c.ClientMaxWindowBits); n < maxWindowBits {
		add(clientMaxWindowBits, strconv.Itoa(n))
	} else if !c.BareOffer {
		add(clientMaxWindowBits, "")
	}
	return x
}

// Accept checks, for a client, the server's answer to Offer. answer is the server's whole
// list of extensions; other names are ignored. agreed is false if the extension is not in
// the list. An error must fail the connection (RFC 7692 §5.1).
func (c *Config) Accept(answer []handshake.Extension) (p Params, agreed bool, err error) {
	for _, x := range answer {
		if x.Name != Name {
			continue
		}
		if agreed {
			return Params{}, false, ErrTwoAnswers
		}
		if p, err = c.accept(x); err != nil {
			return Params{}, false, err
		}
		agreed = true
	}
	return p, agreed, nil
}

func (c *Config) accept(x handshake.Extension) (Params, error) {
	got, err := parse(x)
	if err != nil {
		return Params{}, err
	}
	// A client that said it would not take context over, or not use more than a window,
	// keeps to that whether or not the answer repeats it (RFC 7692 §7.1.1.2, §7.1.2.2).
	p := Params{
		ServerNoContextTakeover: got.serverAlone,
		ClientNoContextTakeover: got.clientAlone || c.ClientNoContextTakeover,
		ServerMaxWindowBits:     orMax(got.serverBits),
		ClientMaxWindowBits:     orMax(c.ClientMaxWindowBits),
	}
	if c.ServerNoContextTakeover && !got.serverAlone {
		return Params{}, &NegotiationError{Reason: ErrNotHonoured.Reason, Param: serverNoContextTakeover}
	}
	if want := orMax(c.ServerMaxWindowBits); want < maxWindowBits {
		if got.serverBits == 0 {
			return Params{}, &NegotiationError{Reason: ErrNotHonoured.Reason, Param: serverMaxWindowBits}
		}
		if got.serverBits > want {
			return Params{}, &NegotiationError{Reason: ErrWindowTooLarge.Reason, Param: serverMaxWindowBits, Value: strconv.Itoa(got.serverBits)}
		}
	}
	if got.clientBitsSaid {
		if c.BareOffer && orMax(c.ClientMaxWindowBits) == maxWindowBits {
			return Params{}, &NegotiationError{Reason: ErrNotOffered.Reason, Param: clientMaxWindowBits}
		}
		if got.clientBits == 0 {
			return Params{}, &NegotiationError{Reason: ErrParamValue.Reason, Param: clientMaxWindowBits}
		}
		if got.clientBits > p.ClientMaxWindowBits {
			return Params{}, &NegotiationError{Reason: ErrWindowTooLarge.Reason, Param: clientMaxWindowBits, Value: strconv.Itoa(got.clientBits)}
		}
		p.ClientMaxWindowBits = got.clientBits
	}
	return p, nil
}

// Choose takes, for a server, the first of a client's offers that it can accept, and
// returns it with the answer to send. Other names are ignored. If ok is false the
// connection is not compressed.
func (c *Config) Choose(offers []handshake.Extension) (p Params, answer handshake.Extension, ok bool) {
	for _, x := range offers {
		if x.Name != Name {
			continue
		}
		offer, err := parse(x)
		if err != nil {
			continue
		}
		p, answer = c.answer(offer)
		return p, answer, true
	}
	return Params{}, handshake.Extension{}, false
}

// answer agrees to an offer. Whatever it asks can be honoured: the compressor bounds its
// window to any size there is.
func (c *Config) answer(offer params) (Params, handshake.Extension) {
	p := Params{
		ServerNoContextTakeover: offer.serverAlone || c.ServerNoContextTakeover,
		ClientNoContextTakeover: offer.clientAlone || c.ClientNoContextTakeover,
		ServerMaxWindowBits:     min(orMax(offer.serverBits), orMax(c.ServerMaxWindowBits)),
		ClientMaxWindowBits:     maxWindowBits,
	}
	x := handshake.Extension{Name: Name}
	add := func(name, value string) { x.Params = append(x.Params, handshake.Param{Name: name, Value: value}) }
	if p.ServerNoContextTakeover {
		add(serverNoContextTakeover, "")
	}
	if p.ClientNoContextTakeover {
		add(clientNoContextTakeover, "")
	}
	if offer.serverBits != 0 || p.ServerMaxWindowBits < maxWindowBits {
		add(serverMaxWindowBits, strconv.Itoa(p.ServerMaxWindowBits))
	}
	if offer.clientBitsSaid {
		if p.ClientMaxWindowBits = min(orMax(offer.clientBits), orMax(c.ClientMaxWindowBits)); p.ClientMaxWindowBits < maxWindowBits {
			add(clientMaxWindowBits, strconv.Itoa(p.ClientMaxWindowBits))
		}
	}
	return p, x
}

// params are the parameters of one element of a list, as they were sent.
type params struct {
	serverAlone, clientAlone bool
	serverBits               int // 0: not said
	clientBits               int // 0: not said, or said without a value
	clientBitsSaid           bool
}

// parse reads the parameters of an offer or an answer by the rules that both share (RFC
// 7692 §7.1).
func parse(x handshake.Extension) (params, error) {
	var p params
	var seen [4]bool
	for _, q := range x.Params {
		fail := func(reason *NegotiationError) (params, error) {
			return params{}, &NegotiationError{Reason: reason.Reason, Param: q.Name, Value: q.Value}
		}
		var which int
		valid := true
		switch q.Name {
		case serverNoContextTakeover:
			which, p.serverAlone, valid = 0, true, q.Value == ""
		case clientNoContextTakeover:
			which, p.clientAlone, valid = 1, true, q.Value == ""
		case serverMaxWindowBits:
			which = 2
			p.serverBits, valid = windowBits(q.Value)
		case clientMaxWindowBits:
			which, p.clientBitsSaid = 3, true
			if q.Value != "" {
				p.clientBits, valid = windowBits(q.Value)
			}
		default:
			return fail(ErrUnknownParam)
		}
		if seen[which] {
			return fail(ErrDuplicateParam)
		}
		seen[which] = true
		if !valid {
			return fail(ErrParamValue)
		}
	}
	return p, nil
}

// windowBits reads a decimal number from 8 to 15 without sign or leading zeroes (RFC 7692
// §7.1.2.1).
func windowBits(s string) (int, bool) {
	switch {
	case len(s) == 1 && (s[0] == '8' || s[0] == '9'):
		return int(s[0] - '0'), true
	case len(s) == 2 && s[0] == '1' && s[1] >= '0' && s[1] <= '5':
		return 10 + int(s[1]-'0'), true
	}
	return 0, false
}
