// Package reference is a slow, independent WebSocket frame parser that fuzz targets and
// the tests of frame compare with. It reads one byte at a time and keeps its rules in
// tables. It implements the requirements (RFC 6455 §5, §7.4, §8.1; RFC 7692 §6) and
// imports nothing of tickwire. It only judges streams: do not use it to serve
// connections.
//
// Verdicts are in the order of the bytes. The offset of a [Violation] is that of the
// first byte that decides.
package reference

// Role is the role of the receiver.
type Role uint8

// The roles.
const (
	Server Role = iota // receives masked frames from a client
	Client             // receives unmasked frames from a server
)

func (r Role) String() string {
	if r == Server {
		return "server"
	}
	return "client"
}

// The limits for zero fields of [Options].
const (
	DefaultMaxMessage           = 16 << 20
	DefaultMaxFrame             = 16 << 20
	DefaultMaxFragments         = 131072
	DefaultMaxControlPerMessage = 65536
)

// Options is what was negotiated and configured. The zero value means no compression,
// every rule, and the default limits.
type Options struct {
	Compression          bool   // permessage-deflate was negotiated: RSV1 is allowed on the first frame of a message
	MaxMessage           uint64 // payload bytes of one message as received; 0 means the default
	MaxFrame             uint64 // payload bytes of one data frame; 0 means that only MaxMessage bounds it
	MaxFragments         int    // frames of one message, including empty ones; 0 means the default
	MaxControlPerMessage int    // control frames within one fragmented message; 0 means the default
	AllowNonMinimal      bool   // drops R10: longer length forms than needed are counted, not refused
	SkipUTF8             bool   // drops R31–R33 for text messages; Close reasons are always checked
}

func (o Options) withDefaults() Options {
	if o.MaxFrame == 0 {
		o.MaxFrame = 1<<64 - 1
		if o.MaxMessage == 0 {
			o.MaxFrame = DefaultMaxFrame
		}
	}
	if o.MaxMessage == 0 {
		o.MaxMessage = DefaultMaxMessage
	}
	if o.MaxFragments == 0 {
		o.MaxFragments = DefaultMaxFragments
	}
	if o.MaxControlPerMessage == 0 {
		o.MaxControlPerMessage = DefaultMaxControlPerMessage
	}
	return o
}

// Kind distinguishes the two events.
type Kind uint8

// The events: every complete frame and, after a message's last frame, the message.
const (
	FrameEvent Kind = iota
	MessageEvent
)

// Event is a complete frame or a complete message. The events of a stream do not depend
// on how it is cut. They compare with ==.
type Event struct {
	Kind   Kind
	Offset uint64 // of the first byte of the frame, or of the message's first frame
	Opcode byte   // of a message: that of its first frame
	Fin    bool   // always true for a message
	RSV1   bool   // of a message: compressed
	Data   string // unmasked
}

// IsControl reports whether e is a control frame.
func (e Event) IsControl() bool { return e.Opcode >= 8 }

// Violation is the verdict on a broken stream.
type Violation struct {
	Rule   *Rule
	Offset uint64 // of the first byte that decides, or of the end of the last frame if a text is incomplete
	Opcode byte   // of the frame
	Length uint64 // declared by the frame; 0 before its length field is complete and its mask bit accepted
}

// State is the position in the protocol at which the bytes ended.
type State uint8

// The states at the end of a stream that matter for R29.
const (
	BetweenMessages State = iota
	InsideHeader
	InsidePayload
	InsideMessage // between the frames of a fragmented message
	Closed        // after a complete Close frame: the rest is not judged (R27)
	Failed
)

// Result is everything that a stream contains.
type Result struct {
	Events     []Event
	Err        *Violation // nil if nothing is wrong so far
	End        State
	NonMinimal int    // lengths accepted by AllowNonMinimal
	Partial    string // received payload of an incomplete frame
	Broken     *Close // of a Close frame that is the violation or is incomplete; nil if nothing is known
}

// Close is the content of a Close frame that is wrong or incomplete.
type Close struct {
	Code   uint16 // 1005 if there is none
	Reason string
	Whole  bool // more bytes would add nothing
}

// Parse reads a stream as a receiver with the given role.
func Parse(role Role, o Options, stream []byte) Result {
	p := NewParser(role, o)
	for _, b := range stream {
		p.Next(b)
	}
	return p.Result()
}

// Parser is the state machine. Use NewParser.
type Parser struct {
	role Role
	opt  Options

	step   step
	offset uint64 // of the current byte
	out    Result
	closed bool

	// The frame.
	start    uint64
	first    byte
	len7     byte
	length   uint64 // 0 until its field is complete
	declared uint64 // as far as read
	extended int    // missing bytes of the extended length or of the key
	key      [4]byte
	payload  []byte
	wire     []byte // the frame as received; continues after a violation

	// The message.
	open      bool
	msgStart  uint64
	msgOpcode byte
	msgRSV1   bool
	msgTotal  uint64
	frames    int
	controls  int
	data      []byte
	text      utf8State
	reason    utf8State
}

type step uint8

const (
	stepFirst step = iota
	stepSecond
	stepLength
	stepKey
	stepPayload
)

// NewParser returns a parser at the first byte of a stream.
func NewParser(role Role, o Options) *Parser { return &Parser{role: role, opt: o.withDefaults()} }

// Next takes one byte. After a violation it only completes [Result.Broken]. After a
// complete Close frame it does nothing.
func (p *Parser) Next(b byte) {
	if p.closed {
		return
	}
	if p.out.Err == nil && p.step == stepFirst {
		p.wire = p.wire[:0]
	}
	if len(p.wire) < 14+125 {
		p.wire = append(p.wire, b)
	}
	if p.out.Err != nil {
		return
	}
	switch p.step {
	case stepFirst:
		p.firstByte(b)
	case stepSecond:
		p.secondByte(b)
	case stepLength:
		p.lengthByte(b)
	case stepKey:
		p.key[4-p.extended] = b
		p.extended--
		if p.extended == 0 {
			p.toPayload()
		}
	case stepPayload:
		p.payloadByte(b)
	}
	p.offset++
	if p.out.Err == nil && p.step == stepPayload && uint64(len(p.payload)) == p.length {
		p.endFrame()
	}
}

// Result returns what the bytes so far contain.
func (p *Parser) Result() Result {
	r := p.out
	r.End = p.end()
	if r.End == Failed || r.End == InsidePayload {
		r.Broken = brokenClose(p.wire, r.End == Failed)
	}
	if p.step == stepPayload && !p.closed {
		r.Partial = string(p.payload)
	}
	return r
}

func (p *Parser) end() State {
	switch {
	case p.out.Err != nil:
		return Failed
	case p.closed:
		return Closed
	case p.step == stepPayload:
		return InsidePayload
	case p.step != stepFirst:
		return InsideHeader
	case p.open:
		return InsideMessage
	}
	return BetweenMessages
}

func (p *Parser) fail(r *Rule) {
	p.out.Err = &Violation{Rule: r, Offset: p.offset, Opcode: p.first & 0x0F, Length: p.length}
}

// judge applies the rules of a table in order and reports whether all are kept.
func (p *Parser) judge(table []check) bool {
	for _, c := range table {
		if c.broken(p) {
			p.fail(c.rule)
			return false
		}
	}
	return true
}

func (p *Parser) class() class { return classes[p.first&0x0F] }
func (p *Parser) fin() bool    { return p.first&0x80 != 0 }
func (p *Parser) rsv() byte    { return p.first >> 4 & 7 }

func (p *Parser) firstByte(b byte) {
	p.start, p.first = p.offset, b
	p.len7, p.length, p.declared, p.payload = 0, 0, 0, nil
	if !p.judge(firstByteRules) {
		return
	}
	switch p.class() {
	case control:
		p.controls++
	case data:
		p.open, p.msgStart, p.msgOpcode, p.msgRSV1 = true, p.start, b&0x0F, b&0x40 != 0
		p.msgTotal, p.frames, p.controls = 0, 1, 0
		p.data, p.text = nil, textStart
	case continuation:
		p.frames++
	}
	p.step = stepSecond
}

func (p *Parser) secondByte(b byte) {
	p.len7 = b & 0x7F
	p.key = [4]byte{b & 0x80} // stored here for the rule about the mask bit
	if !p.judge(maskBitRules) {
		return
	}
	if p.len7 < 126 {
		p.length = uint64(p.len7)
	}
	if !p.judge(controlLengthRules) {
		return
	}
	switch p.len7 {
	case 126:
		p.step, p.extended = stepLength, 2
	case 127:
		p.step, p.extended = stepLength, 8
	default:
		p.lengthKnown()
	}
}

func (p *Parser) lengthByte(b byte) {
	if p.len7 == 127 && p.extended == 8 && b&0x80 != 0 {
		p.fail(LengthTopBit)
		return
	}
	p.declared = p.declared<<8 | uint64(b)
	p.extended--
	if p.extended > 0 {
		return
	}
	p.length = p.declared
	if p.length < shortest[p.len7] {
		if !p.opt.AllowNonMinimal {
			p.fail(LengthNotMinimal)
			return
		}
		p.out.NonMinimal++
	}
	p.lengthKnown()
}

func (p *Parser) lengthKnown() {
	if p.class() != control {
		if !p.judge(limitRules) {
			return
		}
		p.msgTotal += p.length
	}
	p.reason = textStart
	if p.role == Server {
		p.step, p.extended = stepKey, 4
		return
	}
	p.key = [4]byte{}
	p.toPayload()
}

func (p *Parser) toPayload() { p.step = stepPayload }

func (p *Parser) payloadByte(b byte) {
	i := len(p.payload)
	b ^= p.key[i%4]
	p.payload = append(p.payload, b)
	switch {
	case p.first&0x0F == opClose && i == 1:
		if code := int(p.payload[0])<<8 | int(b); !ValidCloseCode(code) {
			p.fail(InvalidCloseCode)
		}
	case p.first&0x0F == opClose && i > 1:
		if p.reason = p.reason.next(b); p.reason == textBroken {
			p.fail(InvalidUTF8)
		}
	case p.checksText():
		if p.text = p.text.next(b); p.text == textBroken {
			p.fail(InvalidUTF8)
		}
	}
}

func (p *Parser) checksText() bool {
	return p.class() != control && p.msgOpcode == opText && !p.msgRSV1 && !p.opt.SkipUTF8
}

// endFrame is called with offset at the byte after the frame.
func (p *Parser) endFrame() {
	isClose := p.first&0x0F == opClose
	if isClose && p.reason != textStart || p.fin() && p.checksText() && p.text != textStart {
		p.fail(TruncatedUTF8)
		return
	}
	p.out.Events = append(p.out.Events, Event{
		Kind: FrameEvent, Offset: p.start, Opcode: p.first & 0x0F, Fin: p.fin(), RSV1: p.rsv()&4 != 0, Data: string(p.payload),
	})
	p.closed = isClose
	p.step = stepFirst
	if p.class() == control {
		return
	}
	p.data = append(p.data, p.payload...)
	if p.fin() {
		p.out.Events = append(p.out.Events, Event{
			Kind: MessageEvent, Offset: p.msgStart, Opcode: p.msgOpcode, Fin: true, RSV1: p.msgRSV1, Data: string(p.data),
		})
		p.open = false
	}
}
