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

// Config says what an endpoint offers or accepts, and how it compresses what it sends. The zero value allows everything
// the extension has, with context takeover both ways, which compresses best. An idle connection
// then holds 60 KiB at most, see the package comment.
type Config struct {
	// ServerNoContextTakeover and ClientNoContextTakeover ask that the server, or the client, compresses every message
	// alone. A wish about the other side is a demand where the protocol has one: a client that asks for the first fails
	// the handshake if the server does not promise it.
	ServerNoContextTakeover bool
	ClientNoContextTakeover bool
	// ServerMaxWindowBits and ClientMaxWindowBits bound how far back the server's, or the client's, compressor may
	// refer: 2 to so many bytes, 8 to 15. 0 means 15. A server can bound a client only if the client offers it.
	ServerMaxWindowBits int
	ClientMaxWindowBits int

	// BareOffer has a client offer no parameter that no other field asks for: with those
	// at zero, the extension's name alone. It is for servers that refuse parameters.
	// Otherwise the offer lets the server bound the client's window.
	BareOffer bool

	// Level of compression. 0, DefaultLevel, is the package's own compressor, which holds
	// little. 1 (fastest) to 9 (smallest) are those of a library, and hold a megabyte for
	// each connection that takes its context over. HuffmanOnly looks for no repetitions
	// and holds nothing, Stored compresses nothing, and -1 is as 0. Where a window below
	// 15 bits was agreed, 1 to 9 are as 0. conn.Conn.WriteLevel has one for a message.
	Level int
	// History is how many bytes of what was sent are held between messages at most, to refer to, where the context is
	// taken over. At level 0 it is rounded up to a power of two from 1 KiB on; half of it is held beside for a table,
	// and 0 means DefaultHistory. At levels 1 to 9 the library's compressor is not held then, but made ready for each
	// message, which takes some times the CPU; 0 holds it. See the package comment.
	History int
	// ReleaseIdle, if it is not 0, is the time without a message sent after which a connection gives back all that its
	// compressor holds. The next message then refers to none before it, so that it is larger. It may take an eighth
	// longer, or until the next look of another clock.
	ReleaseIdle time.Duration
	// Threshold is the size in bytes from which a message is compressed. 0 means DefaultThreshold, negative every
	// message.
	Threshold int
	// MaxRatio bounds a received message's inflated bytes to so many times the compressed bytes they came of, once it has
	// inflated to over 64 KiB: judged at every 32 KiB, and at its end. 0 means no such limit; the limit on a message's size
	// holds always.
	MaxRatio int
	// MaxInflated bounds a received message's inflated bytes, as frame.Options.MaxMessage
	// does otherwise, which then counts the bytes that came; so for conn.Conn.SetReadLimit.
	// 0 means that those bound both, negative frame.HardMaxMessage.
	MaxInflated int64
	// KeptTail gives up a rule for what is received, for peers that one has to live with:
	// a message may still end with the tail 00 00 FF FF, which RFC 7692 §7.2.1 has its
	// sender take off. It counts only where no context is carried over: otherwise the
	// next message would be read in another way than its sender meant.
	KeptTail bool
}

// Params are what was agreed, for both directions.
type Params struct {
	ServerNoContextTakeover bool
	ClientNoContextTakeover bool
	ServerMaxWindowBits     int // 8 to 15
	ClientMaxWindowBits     int // 8 to 15
}

// A NegotiationError says why an offer or an answer cannot be agreed to (RFC 7692 §5.1, §7.1).
type NegotiationError struct {
	Reason string
	Param  string // the parameter's name, if it is about one
	Value  string
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

// Check reports what in a Config is out of range.
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

// Offer returns what a client offers (RFC 7692 §7.1). It lets the server bound the
// client's window, unless BareOffer is set.
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

// Accept judges, for a client, the server's answer to what Offer returned. The answer is the whole list of the server's
// extensions; those of other names are not looked at. agreed is false if the extension is not among them. An error fails the
// connection (RFC 7692 §5.1).
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
	// A client that said it would not take context over, or not use more than a window, keeps to that whether or not the
	// answer repeats it (RFC 7692 §7.1.1.2, §7.1.2.2).
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

// Choose takes, for a server, the first of a client's offers that it can honour exactly, and returns it with the answer to
// send. Extensions of other names are not looked at. ok is false if there is none: then the connection is not compressed.
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

// answer agrees to an offer. Whatever it asks can be honoured: the compressor bounds its window to any size there is.
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

// params are the parameters of one element of a list, as they stand there.
type params struct {
	serverAlone, clientAlone bool
	serverBits               int // 0: not said
	clientBits               int // 0: not said, or said without a value
	clientBitsSaid           bool
}

// parse reads the parameters of an offer or an answer by the rules that both share (RFC 7692 §7.1).
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

// windowBits reads a decimal number from 8 to 15 without sign or leading zeroes (RFC 7692 §7.1.2.1).
func windowBits(s string) (int, bool) {
	switch {
	case len(s) == 1 && (s[0] == '8' || s[0] == '9'):
		return int(s[0] - '0'), true
	case len(s) == 2 && s[0] == '1' && s[1] >= '0' && s[1] <= '5':
		return 10 + int(s[1]-'0'), true
	}
	return 0, false
}
