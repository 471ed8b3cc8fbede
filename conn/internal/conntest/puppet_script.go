package conntest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// A Play is what a puppet sends.
type Play struct {
	*Puppet
	Rand  *rand.Rand
	Bytes []byte
}

// Put sends a record unchanged.
func (p *Play) Put(record []byte) { p.Bytes = append(p.Bytes, record...) }

// Inner sends content as an encrypted record of the given type.
func (p *Play) Inner(kind byte, content []byte, padding int) {
	p.Put(p.Puppet.Out.Seal(23, append(append(slices.Clone(content), kind), make([]byte, padding)...)))
}

// Data sends data, and notes the record.
func (p *Play) Data(content string) {
	record := p.Puppet.Out.Seal(23, append([]byte(content), 23))
	p.Sent = append(p.Sent, record)
	p.Put(record)
}

// Text sends a message in its own record.
func (p *Play) Text(s string) {
	p.Data(string(frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: frame.Text}, []byte(s))))
}

// Update sends a KeyUpdate, and then uses the new key.
func (p *Play) Update(request byte) {
	p.Inner(22, KeyUpdate(request), p.padding())
	p.Puppet.Out.Update()
}

func KeyUpdate(request byte) []byte { return []byte{24, 0, 0, 1, request} }

// NewTicket returns a NewSessionTicket message (RFC 8446 §4.6.1).
func NewTicket(size int) []byte {
	body := append([]byte{0, 0, 28, 32, 1, 2, 3, 4}, sized(1, []byte{byte(size)})...)
	body = append(body, sized(2, bytes.Repeat([]byte{'t'}, size))...)
	body = append(body, 0, 0)
	return append([]byte{4, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
}

func (p *Play) padding() int {
	if p.Rand.IntN(3) > 0 {
		return 0
	}
	return p.Rand.IntN(300)
}

// Pieces sends a handshake message in one record or in several.
func (p *Play) Pieces(message []byte) {
	for len(message) > 0 {
		n := 1 + p.Rand.IntN(len(message))
		p.Inner(22, message[:n], p.padding())
		message = message[n:]
	}
}

// Useless sends something that is not data and ends nothing.
func (p *Play) Useless() {
	switch p.Rand.IntN(7) {
	case 0:
		p.Pieces(NewTicket(1 + p.Rand.IntN(400)))
	case 1:
		p.Inner(22, slices.Concat(NewTicket(30), NewTicket(40)), p.padding()) // two messages in one record
	case 2:
		p.Update(byte(p.Rand.IntN(2)))
	case 3:
		p.Put([]byte{20, 3, 3, 0, 1, 1})
	case 4:
		p.Inner(21, []byte{byte(1 + p.Rand.IntN(2)), 90}, p.padding()) // user_canceled
	case 5:
		p.Inner(23, nil, p.padding())
	case 6:
		update := KeyUpdate(byte(p.Rand.IntN(2)))
		n := p.Rand.IntN(4)
		p.Inner(22, update[:n+1], 0)
		p.Inner(22, update[n+1:], p.padding())
		p.Puppet.Out.Update()
	}
}

// Feed sends messages in records cut anywhere, with useless records between them.
func (p *Play) Feed() {
	var stream []byte
	for i := range p.Rand.IntN(30) {
		n := p.Rand.IntN(300)
		switch p.Rand.IntN(20) {
		case 0:
			n = p.Rand.IntN(40000)
		case 1:
			n = p.Rand.IntN(5000)
		}
		text := fmt.Appendf(nil, "%d %s", i, bytes.Repeat([]byte{'a' + byte(i%26)}, n))
		if p.Rand.IntN(5) == 0 {
			cut := p.Rand.IntN(len(text))
			stream = frame.AppendFrame(stream, frame.Header{Opcode: frame.Text}, text[:cut])
			stream = frame.AppendFrame(stream, frame.Header{Fin: true, Opcode: frame.Continuation}, text[cut:])
			continue
		}
		stream = frame.AppendFrame(stream, frame.Header{Fin: true, Opcode: frame.Text}, text)
	}
	for len(stream) > 0 {
		n := 1 + p.Rand.IntN(400)
		switch p.Rand.IntN(12) {
		case 0:
			n = 16384
		case 1:
			n = 1 + p.Rand.IntN(16384)
		case 2:
			n = 1
		}
		n = min(n, len(stream))
		record := p.Puppet.Out.Seal(23, append(append(slices.Clone(stream[:n]), 23), make([]byte, min(p.padding(), 16384-n))...))
		p.Sent = append(p.Sent, record)
		p.Put(record)
		stream = stream[n:]
		for p.Rand.IntN(4) == 0 {
			p.Useless()
		}
	}
}

// Spoiled sends a data record with a flipped bit.
func (p *Play) Spoiled(at int) {
	record := p.Puppet.Out.Seal(23, append(bytes.Repeat([]byte{'s'}, 50), 23))
	record[(at+len(record))%len(record)] ^= 1
	p.Put(record)
}

// Long returns a header that announces size bytes, and those bytes.
func Long(kind byte, size int) []byte {
	b := append([]byte{kind, 3, 3, 0, 0}, make([]byte, size)...)
	binary.BigEndian.PutUint16(b[3:], uint16(size))
	return b
}

// An end is how a script ends. Data follows, which nobody may receive, unless last is
// set.
type end struct {
	name string
	do   func(p *Play)
	last bool // nothing follows
}

var puppetEnds = []end{
	{"the stream ends", func(p *Play) {}, true},
	{"close_notify", func(p *Play) { p.Inner(21, []byte{1, 0}, p.padding()) }, false},
	{"close_notify of level fatal", func(p *Play) { p.Inner(21, []byte{2, 0}, 0) }, false},
	{"fatal alert", func(p *Play) { p.Inner(21, []byte{2, 40}, p.padding()) }, false},
	{"an alert that nobody knows", func(p *Play) { p.Inner(21, []byte{1, 200}, 0) }, false},
	{"an alert of 1 byte", func(p *Play) { p.Inner(21, []byte{1}, 0) }, false},
	{"an alert of 3 bytes", func(p *Play) { p.Inner(21, []byte{1, 0, 0}, 0) }, false},
	{"an empty alert", func(p *Play) { p.Inner(21, nil, 0) }, false},
	{"cut in a header", func(p *Play) { p.Put([]byte{23, 3, 3}) }, true},
	{"cut behind a header", func(p *Play) { p.Put([]byte{23, 3, 3, 0, 50}) }, true},
	{"cut in a record", func(p *Play) { p.Text("cut"); p.Bytes = p.Bytes[:len(p.Bytes)-1-p.Rand.IntN(20)] }, true},
	{"cut in the middle of a ticket", func(p *Play) { p.Inner(22, NewTicket(100)[:50], 0) }, true},
	{"tampered data", func(p *Play) { p.Spoiled(5 + p.Rand.IntN(50)) }, false},
	{"tampered tag", func(p *Play) { p.Spoiled(-1 - p.Rand.IntN(16)) }, false},
	{"tampered type", func(p *Play) { p.Spoiled(0) }, false},
	{"tampered length", func(p *Play) {
		p.Text("length")
		p.Bytes[len(p.Bytes)-len(p.Sent[len(p.Sent)-1])+4]--
	}, false},
	{"a record twice", func(p *Play) { p.Text("twice"); p.Put(p.Sent[len(p.Sent)-1]) }, false},
	{"an old record", func(p *Play) { p.Text("old"); p.Text("new"); p.Put(p.Sent[len(p.Sent)-2]) }, false},
	{"the first record of a key twice", func(p *Play) { p.Update(0); p.Text("first"); p.Put(p.Sent[len(p.Sent)-1]) }, false},
	{"the first record of a key again, later", func(p *Play) {
		p.Update(1)
		p.Text("first")
		first := p.Sent[len(p.Sent)-1]
		p.Text("second")
		p.Pieces(NewTicket(20))
		p.Text("third")
		p.Put(first)
	}, false},
	{"a ticket twice", func(p *Play) {
		n := len(p.Bytes)
		p.Inner(22, NewTicket(50), 0)
		p.Put(slices.Clone(p.Bytes[n:]))
	}, false},
	{"a KeyUpdate twice", func(p *Play) {
		n := len(p.Bytes)
		p.Update(0)
		p.Put(slices.Clone(p.Bytes[n:]))
	}, false},
	{"a record left out", func(p *Play) { p.Puppet.Out.Seal(23, []byte("left out\x17")) }, false},
	{"a ticket left out", func(p *Play) { p.Puppet.Out.Seal(23, append(NewTicket(9), 22)) }, false},
	{"too long at the header", func(p *Play) { p.Put(Long(23, 16384+257)) }, false},
	{"too long at the header, and nothing behind", func(p *Play) { p.Put([]byte{23, 3, 3, 255, 255}) }, true},
	{"too long, data", func(p *Play) { p.Inner(23, make([]byte, 16385), 0) }, false},
	{"too long, padding", func(p *Play) { p.Inner(23, make([]byte, 100), 16384-99) }, false},
	{"too long, a ticket", func(p *Play) { p.Inner(22, NewTicket(100), 16384) }, false},
	{"the longest, then too long", func(p *Play) { p.Inner(23, pong(16384), 0); p.Inner(23, pong(16385), 0) }, false},
	{"another version", func(p *Play) { p.Put([]byte{23, 3, 1, 0, 40}) }, false},
	{"a version of no TLS", func(p *Play) { p.Put([]byte{23, 4, 3, 0, 40, 1, 2}) }, false},
	{"outer type 22", func(p *Play) { p.Put(p.Puppet.Out.Seal(22, []byte("x\x17"))) }, false},
	{"outer type 99", func(p *Play) { p.Put(p.Puppet.Out.Seal(99, []byte("x\x17"))) }, false},
	{"outer type 22, not protected", func(p *Play) { p.Put(Long(22, 30)) }, false},
	{"inner type 99", func(p *Play) { p.Inner(99, []byte("x"), 0) }, false},
	{"inner type 20", func(p *Play) { p.Inner(20, []byte{1}, 0) }, false},
	{"inner type 24", func(p *Play) { p.Inner(24, []byte{1}, 9) }, false},
	{"padding only", func(p *Play) { p.Inner(0, nil, 40) }, false},
	{"a single zero", func(p *Play) { p.Inner(0, nil, 0) }, false},
	{"shorter than a tag", func(p *Play) { p.Put(Long(23, p.Rand.IntN(16))) }, false},
	{"no more than a tag", func(p *Play) { p.Put(Long(23, 16)) }, false},
	{"an empty handshake record", func(p *Play) { p.Inner(22, nil, p.padding()) }, false},
	{"flood of empty records", func(p *Play) {
		for range 20 {
			p.Inner(23, nil, p.padding())
		}
	}, false},
	{"flood of records of a tag", func(p *Play) {
		for range 20 {
			p.Put(p.Puppet.Out.Seal(23, nil))
		}
	}, false},
	{"flood of tickets", func(p *Play) {
		for range 20 {
			p.Inner(22, NewTicket(20), 0)
		}
	}, false},
	{"flood of tickets in one record", func(p *Play) { p.Inner(22, bytes.Repeat(NewTicket(20), 20), 0) }, false},
	{"flood of key updates", func(p *Play) {
		for i := range 20 {
			p.Update(byte(i % 2))
		}
	}, false},
	{"flood of CCS", func(p *Play) {
		for range 20 {
			p.Put([]byte{20, 3, 3, 0, 1, 1})
		}
	}, false},
	{"flood of warnings", func(p *Play) {
		for range 20 {
			p.Inner(21, []byte{1, 90}, 0)
		}
	}, false},
	{"flood of all", func(p *Play) {
		for i := range 40 {
			if p.Useless(); i%7 == 6 {
				p.Inner(23, nil, 0)
			}
		}
	}, false},
	{"data within a KeyUpdate", func(p *Play) { p.Inner(22, KeyUpdate(0)[:3], 0); p.Text("x"); p.Inner(22, KeyUpdate(0)[3:], 0) }, false},
	{"data within a header of a message", func(p *Play) { p.Inner(22, NewTicket(9)[:1], 0) }, false},
	{"an alert within a ticket", func(p *Play) { p.Inner(22, NewTicket(9)[:9], 0); p.Inner(21, []byte{1, 0}, 0) }, false},
	{"CCS within a ticket", func(p *Play) { p.Inner(22, NewTicket(9)[:9], 0); p.Put([]byte{20, 3, 3, 0, 1, 1}) }, false},
	{"an empty record within a ticket", func(p *Play) { p.Inner(22, NewTicket(9)[:9], 0); p.Inner(23, nil, 0) }, false},
	{"tampered within a ticket", func(p *Play) { p.Inner(22, NewTicket(9)[:9], 0); p.Spoiled(20) }, false},
	{"two KeyUpdates in a record", func(p *Play) {
		p.Inner(22, slices.Concat(KeyUpdate(0), KeyUpdate(1)), 0)
		p.Puppet.Out.Update()
		p.Puppet.Out.Update()
	}, false},
	{"a ticket behind a KeyUpdate in a record", func(p *Play) {
		p.Inner(22, slices.Concat(KeyUpdate(1), NewTicket(7)), 0)
		p.Puppet.Out.Update()
	}, false},
	{"the beginning of a message behind a KeyUpdate", func(p *Play) {
		p.Inner(22, append(KeyUpdate(0), 4, 0), 0)
		p.Puppet.Out.Update()
	}, false},
	{"a KeyUpdate that asks for 2", func(p *Play) { p.Update(2) }, false},
	{"an empty KeyUpdate", func(p *Play) { p.Inner(22, []byte{24, 0, 0, 0}, 0); p.Puppet.Out.Update() }, false},
	{"a KeyUpdate of 2 bytes", func(p *Play) { p.Inner(22, []byte{24, 0, 0, 2, 0, 0}, 0); p.Puppet.Out.Update() }, false},
	{"the old key behind a KeyUpdate", func(p *Play) { p.Inner(22, KeyUpdate(1), 0) }, false},
	{"a new key without KeyUpdate", func(p *Play) { p.Puppet.Out.Update() }, false},
	{"the key of two updates", func(p *Play) { p.Update(0); p.Puppet.Out.Update() }, false},
	{"a message of an unknown type", func(p *Play) { p.Inner(22, []byte{77, 0, 0, 1, 0}, 0) }, false},
	{"a Finished", func(p *Play) { p.Inner(22, append([]byte{20, 0, 0, 32}, make([]byte, 32)...), 0) }, false},
	{"a CertificateRequest", func(p *Play) { p.Inner(22, []byte{13, 0, 0, 12, 0, 0, 9, 0, 13, 0, 5, 0, 3, 4, 3, 4}, 0) }, false},
	{"a HelloRequest", func(p *Play) { p.Inner(22, []byte{0, 0, 0, 0}, 0) }, false},
	{"a bad ticket", func(p *Play) { p.Inner(22, []byte{4, 0, 0, 2, 1, 2}, 0) }, false},
	{"a message too long", func(p *Play) { p.Inner(22, []byte{4, 1, 0, 1, 9, 9}, 0) }, false},
	{"a CCS of 2", func(p *Play) { p.Put([]byte{20, 3, 3, 0, 1, 2}) }, false},
	{"a CCS of 2 bytes", func(p *Play) { p.Put([]byte{20, 3, 3, 0, 2, 1, 1}) }, false},
	{"an empty CCS", func(p *Play) { p.Put([]byte{20, 3, 3, 0, 0}) }, false},
	{"a CCS too long", func(p *Play) { p.Put(Long(20, 16384+257)) }, false},
	{"no TLS", func(p *Play) { p.Put([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) }, false},
}

// pong returns n bytes of data that a Conn skips: pongs, the last one as long as what is
// left.
func pong(n int) (b []byte) {
	for n > 0 {
		k := min(n-2, frame.MaxControlPayload)
		if rest := n - 2 - k; rest == 1 {
			k--
		}
		b = frame.AppendFrame(b, frame.Header{Fin: true, Opcode: frame.Pong}, make([]byte, k))
		n -= 2 + k
	}
	return b
}

// Perform makes the puppet play the script with a number: a feed, and its end.
func Perform(p *Puppet, script int) error {
	rand := rand.New(rand.NewPCG(uint64(script), 15))
	a := &Play{Puppet: p, Rand: rand}
	a.Feed()
	e := puppetEnds[script%len(puppetEnds)]
	if rand.IntN(2) == 0 {
		a.Text("before the end")
	}
	e.do(a)
	if !e.last {
		a.Text("behind the end")
		a.Data(string(pong(20)))
	}
	_, err := p.Conn.Write(a.Bytes)
	return err
}

func ScriptName(script int) string {
	return fmt.Sprintf("%d %s", script, puppetEnds[script%len(puppetEnds)].name)
}

// Follow plays the bytes of a script, two for each step. It skips alerts that are not
// protected: see TestTrapUnprotectedAlert.
func (p *Play) Follow(script []byte) {
	for ; len(script) >= 2; script = script[2:] {
		arg := script[1]
		switch what := script[0]; {
		case what < 100:
			p.Inner(23, bytes.Repeat([]byte{arg}, 1+int(what)*int(arg)/16), int(arg)%7)
		case what < 110:
			p.Update(arg % 2)
		case what < 120:
			p.Inner(22, NewTicket(int(arg)), int(what)-110)
		case what < 130:
			p.Pieces(NewTicket(int(arg)))
		case what < 135:
			p.Put([]byte{20, 3, 3, 0, 1, 1})
		case what < 140:
			p.Inner(23, nil, int(arg))
		case what < 145:
			p.Inner(21, []byte{1, 90}, int(arg))
		case what < 150:
			p.Inner(22, KeyUpdate(arg)[:1+int(arg)%4], 0)
			p.Inner(22, KeyUpdate(arg)[1+int(arg)%4:], int(arg))
			p.Puppet.Out.Update()
		case what < 170: // any message
			p.Inner(22, append([]byte{arg, 0, 0, what - 150}, make([]byte, what-150)...), 0)
		case what < 190: // any inner type
			p.Inner(arg, make([]byte, what-170), int(arg))
		case what < 200: // any outer type
			if arg != 21 {
				p.Put(p.Puppet.Out.Seal(arg, []byte("outer\x17")))
			}
		case what < 205:
			p.Spoiled(int(arg)%70 + 5)
		case what < 210:
			if len(p.Sent) > 0 {
				p.Put(p.Sent[int(arg)%len(p.Sent)])
			}
		case what < 215: // any header
			p.Put(Long(23, int(arg)*80))
		case what < 220:
			p.Puppet.Out.Seq += uint64(arg)
		case what < 225:
			p.Puppet.Out.Update()
		case what < 230:
			p.Data(string(bytes.Repeat([]byte{arg}, 1+int(arg))))
		case what < 235:
			p.Inner(22, bytes.Repeat(KeyUpdate(1), 1+int(arg)%3), 0)
			p.Puppet.Out.Update()
		case what < 240:
			p.Inner(23, make([]byte, 16384-int(arg)%3), int(arg)%5)
		default: // any bytes
			if arg != 21 {
				p.Put(append([]byte{arg}, script...))
			}
		}
	}
}

// Send sends everything played so far.
func (p *Play) Send(t testing.TB) {
	t.Helper()
	if _, err := p.Conn.Write(p.Bytes); err != nil {
		t.Fatal(err)
	}
	p.Bytes = nil
}

// Ends ends the stream after what was played.
func (p *Play) Ends(t testing.TB) {
	t.Helper()
	p.Send(t)
	if err := p.Conn.(*netsim.Conn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
}

// Ends is the number of endings that scripts take in turn.
func Ends() int { return len(puppetEnds) }
