package reference

// Rule is one requirement for the bytes, with the close code for its violation.
type Rule struct {
	Name string
	Code uint16
	RFC  string // the section with the sentence
}

// The rules, in the order in which a frame is checked.
var (
	ReservedBits           = &Rule{"reserved bits", 1002, "RFC 6455 §5.2"}
	ReservedOpcode         = &Rule{"reserved opcode", 1002, "RFC 6455 §5.2"}
	FragmentedControl      = &Rule{"fragmented control frame", 1002, "RFC 6455 §5.5"}
	UnexpectedContinuation = &Rule{"unexpected continuation", 1002, "RFC 6455 §5.4"}
	UnfinishedMessage      = &Rule{"unfinished message", 1002, "RFC 6455 §5.4"}
	TooManyFragments       = &Rule{"too many fragments", 1009, "RFC 6455 §10.4"}
	TooManyControls        = &Rule{"too many control frames", 1008, "RFC 6455 §10.4"}
	UnmaskedClientFrame    = &Rule{"unmasked client frame", 1002, "RFC 6455 §5.1"}
	MaskedServerFrame      = &Rule{"masked server frame", 1002, "RFC 6455 §5.1"}
	ControlTooLong         = &Rule{"control frame too long", 1002, "RFC 6455 §5.5"}
	CloseBodyOneByte       = &Rule{"close body of one byte", 1002, "RFC 6455 §5.5.1"}
	LengthTopBit           = &Rule{"length top bit", 1002, "RFC 6455 §5.2"}
	LengthNotMinimal       = &Rule{"length not minimal", 1002, "RFC 6455 §5.2"}
	FrameTooLarge          = &Rule{"frame too large", 1009, "RFC 6455 §10.4"}
	MessageTooLarge        = &Rule{"message too large", 1009, "RFC 6455 §10.4"}
	InvalidCloseCode       = &Rule{"invalid close code", 1002, "RFC 6455 §7.4"}
	InvalidUTF8            = &Rule{"invalid UTF-8", 1007, "RFC 6455 §8.1"}
	TruncatedUTF8          = &Rule{"truncated UTF-8", 1007, "RFC 6455 §8.1"}
)

type class uint8

const (
	reserved class = iota
	continuation
	data
	control
)

const (
	opText  = 1
	opClose = 8
)

// classes by opcode, RFC 6455 §5.2.
var classes = [16]class{
	0: continuation,
	1: data, 2: data,
	8: control, 9: control, 10: control,
}

// shortest is the first length that needs the form (R10).
var shortest = map[byte]uint64{126: 126, 127: 65536}

type check struct {
	rule   *Rule
	broken func(p *Parser) bool
}

// firstByteRules check FIN, RSV and opcode (R6, R7, R13, R14, R19, R77) and the counts
// (V7).
var firstByteRules = []check{
	{ReservedBits, func(p *Parser) bool { return p.rsv()&3 != 0 }},
	{ReservedBits, func(p *Parser) bool { return p.rsv()&4 != 0 && !p.opt.Compression }},
	{ReservedBits, func(p *Parser) bool { return p.rsv()&4 != 0 && p.class() == control }},
	{ReservedBits, func(p *Parser) bool { return p.rsv()&4 != 0 && p.class() == continuation }},
	{ReservedOpcode, func(p *Parser) bool { return p.class() == reserved }},
	{FragmentedControl, func(p *Parser) bool { return p.class() == control && !p.fin() }},
	{UnexpectedContinuation, func(p *Parser) bool { return p.class() == continuation && !p.open }},
	{UnfinishedMessage, func(p *Parser) bool { return p.class() == data && p.open }},
	{TooManyFragments, func(p *Parser) bool { return p.class() == continuation && p.frames+1 > p.opt.MaxFragments }},
	{TooManyControls, func(p *Parser) bool {
		return p.class() == control && p.open && p.controls+1 > p.opt.MaxControlPerMessage
	}},
}

// maskBitRules check the first bit of the second byte (R1, R2).
var maskBitRules = []check{
	{UnmaskedClientFrame, func(p *Parser) bool { return p.role == Server && p.key[0] == 0 }},
	{MaskedServerFrame, func(p *Parser) bool { return p.role == Client && p.key[0] != 0 }},
}

// controlLengthRules check the 7-bit length of a control frame (R19, R22).
var controlLengthRules = []check{
	{ControlTooLong, func(p *Parser) bool { return p.class() == control && p.len7 > 125 }},
	{CloseBodyOneByte, func(p *Parser) bool { return p.first&0x0F == opClose && p.len7 == 1 }},
}

// limitRules check the length of a data frame (R12), without a sum that could overflow
// (V1).
var limitRules = []check{
	{FrameTooLarge, func(p *Parser) bool { return p.length > p.opt.MaxFrame }},
	{MessageTooLarge, func(p *Parser) bool { return p.length > p.opt.MaxMessage-p.msgTotal }},
}

// ValidCloseCode reports whether a peer may send the code (R23).
func ValidCloseCode(code int) bool {
	for _, r := range [][2]int{{1000, 1003}, {1007, 1014}, {3000, 4999}} {
		if r[0] <= code && code <= r[1] {
			return true
		}
	}
	return false
}

// utf8State is the position in a sequence, named by what must follow.
type utf8State uint8

const (
	textStart utf8State = iota // between sequences
	textTail1                  // one more continuation byte
	textTail2                  // two more
	textTail3                  // three more
	textAfterE0
	textAfterED
	textAfterF0
	textAfterF4
	textBroken
)

// utf8Rows is the grammar of RFC 3629 §4, one row per range.
var utf8Rows = []struct {
	from     utf8State
	lo, hi   byte
	to       utf8State
	sequence string
}{
	{textStart, 0x00, 0x7F, textStart, "UTF8-1"},
	{textStart, 0xC2, 0xDF, textTail1, "UTF8-2"},
	{textStart, 0xE0, 0xE0, textAfterE0, "UTF8-3, not over-long"},
	{textStart, 0xE1, 0xEC, textTail2, "UTF8-3"},
	{textStart, 0xED, 0xED, textAfterED, "UTF8-3, not a surrogate"},
	{textStart, 0xEE, 0xEF, textTail2, "UTF8-3"},
	{textStart, 0xF0, 0xF0, textAfterF0, "UTF8-4, not over-long"},
	{textStart, 0xF1, 0xF3, textTail3, "UTF8-4"},
	{textStart, 0xF4, 0xF4, textAfterF4, "UTF8-4, not above U+10FFFF"},
	{textAfterE0, 0xA0, 0xBF, textTail1, "UTF8-3, not over-long"},
	{textAfterED, 0x80, 0x9F, textTail1, "UTF8-3, not a surrogate"},
	{textAfterF0, 0x90, 0xBF, textTail2, "UTF8-4, not over-long"},
	{textAfterF4, 0x80, 0x8F, textTail2, "UTF8-4, not above U+10FFFF"},
	{textTail3, 0x80, 0xBF, textTail2, "UTF8-tail"},
	{textTail2, 0x80, 0xBF, textTail1, "UTF8-tail"},
	{textTail1, 0x80, 0xBF, textStart, "UTF8-tail"},
}

// utf8Table is utf8Rows by state and byte.
var utf8Table = func() (t [textBroken + 1][256]utf8State) {
	for s := range t {
		for b := range t[s] {
			t[s][b] = textBroken
		}
	}
	for _, r := range utf8Rows {
		for b := int(r.lo); b <= int(r.hi); b++ {
			t[r.from][b] = r.to
		}
	}
	return t
}()

func (s utf8State) next(b byte) utf8State { return utf8Table[s][b] }

// CheckText returns the index of the first byte that cannot occur there in UTF-8 text, or
// -1, and whether the text is complete.
func CheckText(text []byte) (bad int, complete bool) {
	s := textStart
	for i, b := range text {
		if s = s.next(b); s == textBroken {
			return i, false
		}
	}
	return -1, s == textStart
}
