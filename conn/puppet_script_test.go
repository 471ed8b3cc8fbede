package conn

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// A play is what a puppet sends.
type play struct {
	*puppet
	rand *rand.Rand
	out  []byte
}

// put sends a record as it is.
func (p *play) put(record []byte) { p.out = append(p.out, record...) }

// inner sends a record of that type.
func (p *play) inner(kind byte, content []byte, padding int) {
	p.put(p.puppet.out.seal(23, append(append(slices.Clone(content), kind), make([]byte, padding)...)))
}

// data sends data, and keeps the record.
func (p *play) data(content string) {
	record := p.puppet.out.seal(23, append([]byte(content), 23))
	p.sent = append(p.sent, record)
	p.put(record)
}

// text sends a message in a record of its own.
func (p *play) text(s string) {
	p.data(string(frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: Text}, []byte(s))))
}

// update sends a KeyUpdate, and uses the new key.
func (p *play) update(request byte) {
	p.inner(22, keyUpdate(request), p.padding())
	p.puppet.out.update()
}

func keyUpdate(request byte) []byte { return []byte{24, 0, 0, 1, request} }

// newTicket is a NewSessionTicket (RFC 8446 §4.6.1).
func newTicket(size int) []byte {
	body := append([]byte{0, 0, 28, 32, 1, 2, 3, 4}, sized(1, []byte{byte(size)})...)
	body = append(body, sized(2, bytes.Repeat([]byte{'t'}, size))...)
	body = append(body, 0, 0)
	return append([]byte{4, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
}

func (p *play) padding() int {
	if p.rand.IntN(3) > 0 {
		return 0
	}
	return p.rand.IntN(300)
}

// pieces sends a handshake message in so many records, or a few.
func (p *play) pieces(message []byte) {
	for len(message) > 0 {
		n := 1 + p.rand.IntN(len(message))
		p.inner(22, message[:n], p.padding())
		message = message[n:]
	}
}

// useless sends something that is no data and ends nothing.
func (p *play) useless() {
	switch p.rand.IntN(7) {
	case 0:
		p.pieces(newTicket(1 + p.rand.IntN(400)))
	case 1:
		p.inner(22, slices.Concat(newTicket(30), newTicket(40)), p.padding()) // two in one
	case 2:
		p.update(byte(p.rand.IntN(2)))
	case 3:
		p.put([]byte{20, 3, 3, 0, 1, 1})
	case 4:
		p.inner(21, []byte{byte(1 + p.rand.IntN(2)), 90}, p.padding()) // user_canceled
	case 5:
		p.inner(23, nil, p.padding())
	case 6:
		update := keyUpdate(byte(p.rand.IntN(2)))
		n := p.rand.IntN(4)
		p.inner(22, update[:n+1], 0)
		p.inner(22, update[n+1:], p.padding())
		p.puppet.out.update()
	}
}

// feed sends messages, in records that are cut anywhere, and what is useless between them.
func (p *play) feed() {
	var stream []byte
	for i := range p.rand.IntN(30) {
		n := p.rand.IntN(300)
		switch p.rand.IntN(20) {
		case 0:
			n = p.rand.IntN(40000)
		case 1:
			n = p.rand.IntN(5000)
		}
		text := fmt.Appendf(nil, "%d %s", i, bytes.Repeat([]byte{'a' + byte(i%26)}, n))
		if p.rand.IntN(5) == 0 {
			cut := p.rand.IntN(len(text))
			stream = frame.AppendFrame(stream, frame.Header{Opcode: Text}, text[:cut])
			stream = frame.AppendFrame(stream, frame.Header{Fin: true, Opcode: frame.Continuation}, text[cut:])
			continue
		}
		stream = frame.AppendFrame(stream, frame.Header{Fin: true, Opcode: Text}, text)
	}
	for len(stream) > 0 {
		n := 1 + p.rand.IntN(400)
		switch p.rand.IntN(12) {
		case 0:
			n = 16384
		case 1:
			n = 1 + p.rand.IntN(16384)
		case 2:
			n = 1
		}
		n = min(n, len(stream))
		record := p.puppet.out.seal(23, append(append(slices.Clone(stream[:n]), 23), make([]byte, min(p.padding(), 16384-n))...))
		p.sent = append(p.sent, record)
		p.put(record)
		stream = stream[n:]
		for p.rand.IntN(4) == 0 {
			p.useless()
		}
	}
}

// spoiled sends data with a bit of the record turned.
func (p *play) spoiled(at int) {
	record := p.puppet.out.seal(23, append(bytes.Repeat([]byte{'s'}, 50), 23))
	record[(at+len(record))%len(record)] ^= 1
	p.put(record)
}

// long is a header that announces a record of so many bytes, and that many.
func long(kind byte, size int) []byte {
	b := append([]byte{kind, 3, 3, 0, 0}, make([]byte, size)...)
	binary.BigEndian.PutUint16(b[3:], uint16(size))
	return b
}

// An end is how a script ends. All but those of which that is said have data behind,
// which nobody may get.
type end struct {
	name string
	do   func(p *play)
	last bool // nothing comes behind
}

var puppetEnds = []end{
	{"the stream ends", func(p *play) {}, true},
	{"close_notify", func(p *play) { p.inner(21, []byte{1, 0}, p.padding()) }, false},
	{"close_notify of level fatal", func(p *play) { p.inner(21, []byte{2, 0}, 0) }, false},
	{"fatal alert", func(p *play) { p.inner(21, []byte{2, 40}, p.padding()) }, false},
	{"an alert that nobody knows", func(p *play) { p.inner(21, []byte{1, 200}, 0) }, false},
	{"an alert of 1 byte", func(p *play) { p.inner(21, []byte{1}, 0) }, false},
	{"an alert of 3 bytes", func(p *play) { p.inner(21, []byte{1, 0, 0}, 0) }, false},
	{"an empty alert", func(p *play) { p.inner(21, nil, 0) }, false},
	{"cut in a header", func(p *play) { p.put([]byte{23, 3, 3}) }, true},
	{"cut behind a header", func(p *play) { p.put([]byte{23, 3, 3, 0, 50}) }, true},
	{"cut in a record", func(p *play) { p.text("cut"); p.out = p.out[:len(p.out)-1-p.rand.IntN(20)] }, true},
	{"cut in the middle of a ticket", func(p *play) { p.inner(22, newTicket(100)[:50], 0) }, true},
	{"tampered data", func(p *play) { p.spoiled(5 + p.rand.IntN(50)) }, false},
	{"tampered tag", func(p *play) { p.spoiled(-1 - p.rand.IntN(16)) }, false},
	{"tampered type", func(p *play) { p.spoiled(0) }, false},
	{"tampered length", func(p *play) {
		p.text("length")
		p.out[len(p.out)-len(p.sent[len(p.sent)-1])+4]--
	}, false},
	{"a record twice", func(p *play) { p.text("twice"); p.put(p.sent[len(p.sent)-1]) }, false},
	{"an old record", func(p *play) { p.text("old"); p.text("new"); p.put(p.sent[len(p.sent)-2]) }, false},
	{"the first record of a key twice", func(p *play) { p.update(0); p.text("first"); p.put(p.sent[len(p.sent)-1]) }, false},
	{"the first record of a key again, later", func(p *play) {
		p.update(1)
		p.text("first")
		first := p.sent[len(p.sent)-1]
		p.text("second")
		p.pieces(newTicket(20))
		p.text("third")
		p.put(first)
	}, false},
	{"a ticket twice", func(p *play) {
		n := len(p.out)
		p.inner(22, newTicket(50), 0)
		p.put(slices.Clone(p.out[n:]))
	}, false},
	{"a KeyUpdate twice", func(p *play) {
		n := len(p.out)
		p.update(0)
		p.put(slices.Clone(p.out[n:]))
	}, false},
	{"a record left out", func(p *play) { p.puppet.out.seal(23, []byte("left out\x17")) }, false},
	{"a ticket left out", func(p *play) { p.puppet.out.seal(23, append(newTicket(9), 22)) }, false},
	{"too long at the header", func(p *play) { p.put(long(23, 16384+257)) }, false},
	{"too long at the header, and nothing behind", func(p *play) { p.put([]byte{23, 3, 3, 255, 255}) }, true},
	{"too long, data", func(p *play) { p.inner(23, make([]byte, 16385), 0) }, false},
	{"too long, padding", func(p *play) { p.inner(23, make([]byte, 100), 16384-99) }, false},
	{"too long, a ticket", func(p *play) { p.inner(22, newTicket(100), 16384) }, false},
	{"the longest, then too long", func(p *play) { p.inner(23, pong(16384), 0); p.inner(23, pong(16385), 0) }, false},
	{"another version", func(p *play) { p.put([]byte{23, 3, 1, 0, 40}) }, false},
	{"a version of no TLS", func(p *play) { p.put([]byte{23, 4, 3, 0, 40, 1, 2}) }, false},
	{"outer type 22", func(p *play) { p.put(p.puppet.out.seal(22, []byte("x\x17"))) }, false},
	{"outer type 99", func(p *play) { p.put(p.puppet.out.seal(99, []byte("x\x17"))) }, false},
	{"outer type 22, not protected", func(p *play) { p.put(long(22, 30)) }, false},
	{"inner type 99", func(p *play) { p.inner(99, []byte("x"), 0) }, false},
	{"inner type 20", func(p *play) { p.inner(20, []byte{1}, 0) }, false},
	{"inner type 24", func(p *play) { p.inner(24, []byte{1}, 9) }, false},
	{"padding only", func(p *play) { p.inner(0, nil, 40) }, false},
	{"a single zero", func(p *play) { p.inner(0, nil, 0) }, false},
	{"shorter than a tag", func(p *play) { p.put(long(23, p.rand.IntN(16))) }, false},
	{"no more than a tag", func(p *play) { p.put(long(23, 16)) }, false},
	{"an empty handshake record", func(p *play) { p.inner(22, nil, p.padding()) }, false},
	{"flood of empty records", func(p *play) {
		for range 20 {
			p.inner(23, nil, p.padding())
		}
	}, false},
	{"flood of records of a tag", func(p *play) {
		for range 20 {
			p.put(p.puppet.out.seal(23, nil))
		}
	}, false},
	{"flood of tickets", func(p *play) {
		for range 20 {
			p.inner(22, newTicket(20), 0)
		}
	}, false},
	{"flood of tickets in one record", func(p *play) { p.inner(22, bytes.Repeat(newTicket(20), 20), 0) }, false},
	{"flood of key updates", func(p *play) {
		for i := range 20 {
			p.update(byte(i % 2))
		}
	}, false},
	{"flood of CCS", func(p *play) {
		for range 20 {
			p.put([]byte{20, 3, 3, 0, 1, 1})
		}
	}, false},
	{"flood of warnings", func(p *play) {
		for range 20 {
			p.inner(21, []byte{1, 90}, 0)
		}
	}, false},
	{"flood of all", func(p *play) {
		for i := range 40 {
			if p.useless(); i%7 == 6 {
				p.inner(23, nil, 0)
			}
		}
	}, false},
	{"data within a KeyUpdate", func(p *play) { p.inner(22, keyUpdate(0)[:3], 0); p.text("x"); p.inner(22, keyUpdate(0)[3:], 0) }, false},
	{"data within a header of a message", func(p *play) { p.inner(22, newTicket(9)[:1], 0) }, false},
	{"an alert within a ticket", func(p *play) { p.inner(22, newTicket(9)[:9], 0); p.inner(21, []byte{1, 0}, 0) }, false},
	{"CCS within a ticket", func(p *play) { p.inner(22, newTicket(9)[:9], 0); p.put([]byte{20, 3, 3, 0, 1, 1}) }, false},
	{"an empty record within a ticket", func(p *play) { p.inner(22, newTicket(9)[:9], 0); p.inner(23, nil, 0) }, false},
	{"tampered within a ticket", func(p *play) { p.inner(22, newTicket(9)[:9], 0); p.spoiled(20) }, false},
	{"two KeyUpdates in a record", func(p *play) {
		p.inner(22, slices.Concat(keyUpdate(0), keyUpdate(1)), 0)
		p.puppet.out.update()
		p.puppet.out.update()
	}, false},
	{"a ticket behind a KeyUpdate in a record", func(p *play) {
		p.inner(22, slices.Concat(keyUpdate(1), newTicket(7)), 0)
		p.puppet.out.update()
	}, false},
	{"the beginning of a message behind a KeyUpdate", func(p *play) {
		p.inner(22, append(keyUpdate(0), 4, 0), 0)
		p.puppet.out.update()
	}, false},
	{"a KeyUpdate that asks for 2", func(p *play) { p.update(2) }, false},
	{"an empty KeyUpdate", func(p *play) { p.inner(22, []byte{24, 0, 0, 0}, 0); p.puppet.out.update() }, false},
	{"a KeyUpdate of 2 bytes", func(p *play) { p.inner(22, []byte{24, 0, 0, 2, 0, 0}, 0); p.puppet.out.update() }, false},
	{"the old key behind a KeyUpdate", func(p *play) { p.inner(22, keyUpdate(1), 0) }, false},
	{"a new key without KeyUpdate", func(p *play) { p.puppet.out.update() }, false},
	{"the key of two updates", func(p *play) { p.update(0); p.puppet.out.update() }, false},
	{"a message of an unknown type", func(p *play) { p.inner(22, []byte{77, 0, 0, 1, 0}, 0) }, false},
	{"a Finished", func(p *play) { p.inner(22, append([]byte{20, 0, 0, 32}, make([]byte, 32)...), 0) }, false},
	{"a CertificateRequest", func(p *play) { p.inner(22, []byte{13, 0, 0, 12, 0, 0, 9, 0, 13, 0, 5, 0, 3, 4, 3, 4}, 0) }, false},
	{"a HelloRequest", func(p *play) { p.inner(22, []byte{0, 0, 0, 0}, 0) }, false},
	{"a bad ticket", func(p *play) { p.inner(22, []byte{4, 0, 0, 2, 1, 2}, 0) }, false},
	{"a message too long", func(p *play) { p.inner(22, []byte{4, 1, 0, 1, 9, 9}, 0) }, false},
	{"a CCS of 2", func(p *play) { p.put([]byte{20, 3, 3, 0, 1, 2}) }, false},
	{"a CCS of 2 bytes", func(p *play) { p.put([]byte{20, 3, 3, 0, 2, 1, 1}) }, false},
	{"an empty CCS", func(p *play) { p.put([]byte{20, 3, 3, 0, 0}) }, false},
	{"a CCS too long", func(p *play) { p.put(long(20, 16384+257)) }, false},
	{"no TLS", func(p *play) { p.put([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) }, false},
}

// pong is data of n bytes that a Conn passes over: pongs, and one of the length that is left.
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

// perform has the puppet send the script of a number: a feed, and its end.
func perform(p *puppet, script int) error {
	rand := rand.New(rand.NewPCG(uint64(script), 15))
	a := &play{puppet: p, rand: rand}
	a.feed()
	e := puppetEnds[script%len(puppetEnds)]
	if rand.IntN(2) == 0 {
		a.text("before the end")
	}
	e.do(a)
	if !e.last {
		a.text("behind the end")
		a.data(string(pong(20)))
	}
	_, err := p.nc.Write(a.out)
	return err
}

func scriptName(script int) string {
	return fmt.Sprintf("%d %s", script, puppetEnds[script%len(puppetEnds)].name)
}

// follow does what the bytes of a script say, two for each step. An alert that is not
// protected is left out: see TestTrapUnprotectedAlert.
func (p *play) follow(script []byte) {
	for ; len(script) >= 2; script = script[2:] {
		arg := script[1]
		switch what := script[0]; {
		case what < 100:
			p.inner(23, bytes.Repeat([]byte{arg}, 1+int(what)*int(arg)/16), int(arg)%7)
		case what < 110:
			p.update(arg % 2)
		case what < 120:
			p.inner(22, newTicket(int(arg)), int(what)-110)
		case what < 130:
			p.pieces(newTicket(int(arg)))
		case what < 135:
			p.put([]byte{20, 3, 3, 0, 1, 1})
		case what < 140:
			p.inner(23, nil, int(arg))
		case what < 145:
			p.inner(21, []byte{1, 90}, int(arg))
		case what < 150:
			p.inner(22, keyUpdate(arg)[:1+int(arg)%4], 0)
			p.inner(22, keyUpdate(arg)[1+int(arg)%4:], int(arg))
			p.puppet.out.update()
		case what < 170: // any message
			p.inner(22, append([]byte{arg, 0, 0, what - 150}, make([]byte, what-150)...), 0)
		case what < 190: // any inner type
			p.inner(arg, make([]byte, what-170), int(arg))
		case what < 200: // any outer type
			if arg != 21 {
				p.put(p.puppet.out.seal(arg, []byte("outer\x17")))
			}
		case what < 205:
			p.spoiled(int(arg)%70 + 5)
		case what < 210:
			if len(p.sent) > 0 {
				p.put(p.sent[int(arg)%len(p.sent)])
			}
		case what < 215: // any header
			p.put(long(23, int(arg)*80))
		case what < 220:
			p.puppet.out.seq += uint64(arg)
		case what < 225:
			p.puppet.out.update()
		case what < 230:
			p.data(string(bytes.Repeat([]byte{arg}, 1+int(arg))))
		case what < 235:
			p.inner(22, bytes.Repeat(keyUpdate(1), 1+int(arg)%3), 0)
			p.puppet.out.update()
		case what < 240:
			p.inner(23, make([]byte, 16384-int(arg)%3), int(arg)%5)
		default: // any bytes
			if arg != 21 {
				p.put(append([]byte{arg}, script...))
			}
		}
	}
}
