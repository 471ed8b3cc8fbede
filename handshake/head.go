package handshake

import (
	"net/http"
	"net/textproto"
)

// span is a piece of a head, by offsets: the caller may move its bytes between two calls.
type span struct{ from, to int }

// A line is what the scanner found last: a start line (name empty) or a header line.
type line struct {
	name  span
	value span // trimmed; the whole line if it is a start line
}

// scanState is the place of the next byte in the head.
type scanState uint8

const (
	atStart    scanState = iota // in the start line
	atLine                      // the first byte of a header line
	inName                      // in a header's name
	inValue                     // after the colon
	atLF                        // after the CR of a line
	atFinalLF                   // after the CR of the blank line
	inGap                       // in white space after a header's name: Relaxed.OddLines
	inOdd                       // in a line that is skipped: Relaxed.OddLines
	atHead                      // after the blank line
	scanFailed                  // an error was returned
)

// A scanner cuts a head into lines. It looks at each byte once, however the bytes arrive.
// It knows the form of lines (RFC 9112 §2–§5), not their meaning.
type scanner struct {
	limits Limits
	Relaxed
	strict bool // no line of Sec-WebSocket-…, or part of one, is skipped
	pos    int  // the next byte to look at
	start  int  // where this line begins
	lines  int  // header lines of this head
	state  scanState
	first  bool // the current line is the start line
	cur    line
	err    *Error

	looked int // bytes looked at, here and in values; for the tests of linear time
}

// begin makes the scanner ready for a head that begins at its position.
func (s *scanner) begin() {
	s.start, s.lines = s.pos, 0
	s.state, s.first = atStart, true
}

// next scans to the end of a line. It returns true with s.cur set at the end of each
// line, and with s.state at atHead after the blank line. It returns false if b ends
// earlier, or with s.err set.
func (s *scanner) next(b []byte) bool {
	if s.state == scanFailed {
		return false
	}
	for {
		// The nearer limit ends the look-ahead, however many more bytes have arrived. So
		// the error is that of the first byte that breaks a limit.
		end, cut, limit := s.limits.Bytes, ErrHeadTooLarge, s.limits.Bytes
		if s.limits.Line < end-s.start {
			end, cut, limit = s.start+s.limits.Line, ErrLineTooLong, s.limits.Line
		}
		from, line := s.pos, s.start
		ok := s.run(b[:min(len(b), end)])
		s.looked += s.pos - from
		if ok || s.err != nil || len(b) <= end {
			return ok
		}
		if s.start == line {
			s.fail(cut.passed(limit))
			return false
		}
		// A line was skipped (Relaxed.OddLines): the limit is that of the line after it.
	}
}

// run is next within the limits of length.
func (s *scanner) run(b []byte) bool {
	for s.pos < len(b) {
		switch s.state {
		case atStart, inValue:
			i := s.pos
			for i < len(b) && class[b[i]]&classValue != 0 {
				i++
			}
			s.pos = i
			if i == len(b) {
				return false
			}
			switch {
			case b[i] == '\r':
				s.endValue(b)
				s.pos++
				s.state = atLF
			case b[i] == '\n' && s.BareLF:
				s.endValue(b)
				return s.endLine(atLine)
			case b[i] == '\n' || !s.OddLines:
				return s.fail(badByte(b[i]))
			case s.state == atStart: // in the reason of a status line, which has no meaning
				s.pos++
			case !s.odd(b, badByte(b[i])):
				return false
			}
		case atLine:
			if b[s.pos] == '\r' {
				s.state = atFinalLF
				s.pos++
				continue
			}
			if b[s.pos] == '\n' && s.BareLF {
				return s.endLine(atHead)
			}
			folded := b[s.pos] == ' ' || b[s.pos] == '\t'
			if folded && (!s.OddLines || s.named(b, s.cur.name)) {
				return s.fail(ErrFolded)
			}
			if s.lines == s.limits.Lines {
				return s.fail(ErrTooManyLines.passed(s.limits.Lines))
			}
			s.lines++
			s.state = inName
			if folded && !s.odd(b, ErrFolded) {
				return false
			}
		case inName:
			i := s.pos
			for i < len(b) && class[b[i]]&classToken != 0 {
				i++
			}
			s.pos = i
			if i == len(b) {
				return false
			}
			if b[i] != ':' || i == s.start {
				switch {
				case !s.OddLines:
					return s.fail(badName(b[i]))
				case i > s.start && (b[i] == ' ' || b[i] == '\t'):
					s.cur.name = span{s.start, i}
					s.state = inGap
				case !s.odd(b, badName(b[i])):
					return false
				}
				continue
			}
			s.cur.name = span{s.start, i}
			s.beginValue()
		case inGap:
			switch b[s.pos] {
			case ' ', '\t':
				s.pos++
			case ':':
				s.beginValue()
			default:
				if !s.odd(b, ErrFieldName) {
					return false
				}
			}
		case inOdd:
			c := b[s.pos]
			if c == '\n' && !s.BareLF && b[s.pos-1] != '\r' {
				return s.fail(ErrBareLF)
			}
			s.pos++
			if c == '\n' {
				s.start = s.pos
				s.state = atLine
			}
		case atLF:
			if b[s.pos] == '\n' {
				return s.endLine(atLine)
			}
			switch {
			case !s.OddLines:
				return s.fail(ErrBareCR)
			case s.first:
				s.state = atStart
			case !s.odd(b, ErrBareCR):
				return false
			}
		case atFinalLF:
			if b[s.pos] == '\n' {
				return s.endLine(atHead)
			}
			if !s.OddLines || !s.odd(b, ErrBareCR) {
				return s.fail(ErrBareCR)
			}
		}
	}
	return false
}

func (s *scanner) beginValue() {
	s.pos++
	s.cur.value.from = s.pos
	s.state = inValue
}

// endLine continues after the LF of a line.
func (s *scanner) endLine(next scanState) bool {
	s.pos++
	s.start = s.pos
	s.state = next
	return true
}

// odd skips the current line. A line of the handshake itself fails with the rule that it
// breaks.
func (s *scanner) odd(b []byte, rule *Error) bool {
	if s.named(b, span{s.start, s.pos}) {
		return s.fail(rule)
	}
	s.first = false
	s.cur = line{}
	s.state = inOdd
	return true
}

// named reports whether a line that begins so belongs to the handshake itself.
func (s *scanner) named(b []byte, begin span) bool {
	const own = "Sec-WebSocket-"
	return s.strict && begin.to-begin.from >= len(own) && equalFold(b[begin.from:begin.from+len(own)], own)
}

// endValue sets the value, trimmed, at the CR that follows it.
func (s *scanner) endValue(b []byte) {
	if s.state == atStart {
		s.cur = line{value: span{s.start, s.pos}}
		return
	}
	s.first = false
	from, to := s.cur.value.from, s.pos
	for from < to && (b[from] == ' ' || b[from] == '\t') {
		from++
	}
	for from < to && (b[to-1] == ' ' || b[to-1] == '\t') {
		to--
	}
	s.looked += s.pos - s.cur.value.from - (to - from)
	s.cur.value = span{from, to}
}

// fail records the error, with the offset of the byte that decided.
func (s *scanner) fail(rule *Error) bool {
	e := *rule
	e.Offset = s.pos
	s.err, s.state = &e, scanFailed
	return false
}

func badByte(c byte) *Error {
	switch c {
	case '\n':
		return ErrBareLF
	case 0:
		return ErrNUL
	}
	return ErrControl
}

func badName(c byte) *Error {
	switch c {
	case ' ', '\t':
		return ErrSpaceBeforeColon
	case '\n':
		return ErrBareLF
	case 0:
		return ErrNUL
	}
	return ErrFieldName
}

// fieldAt returns the header line at an offset of a complete head, and the offset of the
// next line. name is nil at the blank line.
func fieldAt(head []byte, at int) (name, value []byte, next int) {
	if head[at] == '\r' {
		return nil, nil, at
	}
	colon := at
	for head[colon] != ':' {
		colon++
	}
	end := colon + 1
	for head[end] != '\r' {
		end++
	}
	value = trim(head[colon+1 : end])
	return head[at:colon:colon], value[:len(value):len(value)], end + 2
}

// header returns a copy of the header lines of a complete head, from an offset on. The
// number of lines is known, so the map does not grow.
func (s *scanner) header(b []byte, from int) http.Header {
	head := b[:s.pos]
	if s.Relaxed != (Relaxed{}) {
		return s.relaxedHeader(head, from)
	}
	h := make(http.Header, s.lines)
	values := make([]string, 0, s.lines)
	for at := from; ; {
		raw, v, next := fieldAt(head, at)
		if raw == nil {
			return h
		}
		s.looked += next - at
		at = next
		name, value := textproto.CanonicalMIMEHeaderKey(string(raw)), string(v)
		if before, ok := h[name]; ok {
			h[name] = append(before, value)
			continue
		}
		values = append(values, value)
		h[name] = values[len(values)-1 : len(values) : len(values)]
	}
}

// relaxedHeader is header for lines that may be invalid. It scans the lines again.
func (s *scanner) relaxedHeader(head []byte, from int) http.Header {
	again := scanner{limits: s.limits, Relaxed: s.Relaxed, strict: s.strict, pos: from, start: from, state: atLine}
	h := make(http.Header, s.lines)
	for again.next(head) && again.state != atHead {
		name := textproto.CanonicalMIMEHeaderKey(string(head[again.cur.name.from:again.cur.name.to]))
		h[name] = append(h[name], string(head[again.cur.value.from:again.cur.value.to]))
	}
	s.looked += again.looked
	return h
}
