package conformance

import (
	"fmt"
	"slices"
	"strings"
)

// show returns a case of messages that are echoed.
func show(id, title, covers string, want []event, steps ...step) *Case {
	return &Case{ID: id, Title: title, Covers: strings.Fields(covers), steps: steps, want: want}
}

// broken returns a case in which the agent must fail the connection with one of the
// codes.
func broken(id, title, covers string, codes []int, want []event, steps ...step) *Case {
	return &Case{ID: id, Title: title, Covers: strings.Fields(covers), steps: steps, want: want, end: endFails, codes: codes}
}

// protocolError is the code for nearly every rule.
var protocolError = []int{1002}

func none() []event { return nil }

// payload returns n bytes of text.
func payload(n int) string { return strings.Repeat("*", n) }

// framingCases are family 1: all length forms, text and binary.
func framingCases(Volume) []*Case {
	var all []*Case
	for f, op := range []byte{opText, opBinary} {
		name := [...]string{"text", "binary"}[f]
		for i, size := range []int{0, 125, 126, 127, 128, 65535, 65536, 65536} {
			p := piece{op: op, data: []byte(payload(size))}
			if op == opBinary {
				p.data = []byte(strings.Repeat("\xFE", size))
			}
			send, title := together(p), fmt.Sprintf("%s of %d bytes", name, size)
			if i == 7 {
				send, title = octets(997, p), title+", in writes of 997"
			}
			all = append(all, show(fmt.Sprintf("1.%d.%d", f+1, i+1), title, "R8 R35", []event{{op, p.data}}, send))
		}
	}
	return all
}

// pingCases are family 2: pings and pongs.
func pingCases(Volume) []*Case {
	long := strings.Repeat("\xFE", 125)
	odd := "\x00\xFF\xFE\xFD\xFC\xFB\x00\xFF"
	ten, answers := []piece{}, []event{}
	for i := range 10 {
		s := fmt.Sprintf("payload-%d", i)
		ten, answers = append(ten, ping(s)), append(answers, echoed(opPong, s))
	}
	pong := func(s string) []event { return []event{echoed(opPong, s)} }
	return []*Case{
		show("2.1", "a ping without payload", "R20", pong(""), together(ping(""))),
		show("2.2", "a ping with text", "R20", pong("Hello, world!"), together(ping("Hello, world!"))),
		show("2.3", "a ping with bytes that are no text", "R20", pong(odd), together(ping(odd))),
		show("2.4", "a ping of 125 bytes", "R20", pong(long), together(ping(long))),
		broken("2.5", "a ping of 126 bytes", "R19", protocolError, none(), together(ping(long+"\xFE"))),
		show("2.6", "a ping of 125 bytes, byte by byte", "R20", pong(long), octets(1, ping(long))),
		show("2.7", "a pong that nobody asked for", "R21", none(), together(piece{op: opPong})),
		show("2.8", "a pong with a payload that nobody asked for", "R21", none(), together(piece{op: opPong, data: []byte("unsolicited")})),
		show("2.9", "a pong that nobody asked for, and a ping", "R21", pong("ping payload"),
			together(piece{op: opPong, data: []byte("unsolicited")}, ping("ping payload"))),
		show("2.10", "ten pings in one write", "R20", answers, together(ten...)),
		show("2.11", "ten pings, byte by byte", "R20", answers, octets(1, ten...)),
	}
}

// reservedCases are family 3: reserved bits.
func reservedCases(Volume) []*Case {
	good, goodEcho := text(payload(16)), []event{echoed(opText, payload(16))}
	with := func(p piece, rsv byte) piece {
		p.rsv = rsv
		return p
	}
	return []*Case{
		broken("3.1", "text with RSV 1", "R6 R30", protocolError, none(), together(with(good, 1))),
		broken("3.2", "a message, text with RSV 2, a ping", "R6 R30", protocolError, goodEcho, together(good, with(good, 2), ping(""))),
		broken("3.3", "the same with RSV 3, frame by frame", "R6 R30", protocolError, goodEcho, apart(good, with(good, 3), ping(""))),
		broken("3.4", "the same with RSV 4, byte by byte", "R6 R30", protocolError, goodEcho, octets(1, good, with(good, 4), ping(""))),
		broken("3.5", "binary with RSV 5", "R6", protocolError, none(), together(with(binaryOf([]byte("\x00\xFF\xFE")), 5))),
		broken("3.6", "a ping with RSV 6", "R6", protocolError, none(), together(with(ping("x"), 6))),
		broken("3.7", "a Close with RSV 7", "R6", protocolError, none(), together(with(closing(1000, ""), 7))),
	}
}

// opcodeCases are family 4: reserved opcodes.
func opcodeCases(Volume) []*Case {
	good, goodEcho := text(payload(16)), []event{echoed(opText, payload(16))}
	var all []*Case
	for f, first := range []byte{3, 11} {
		for i := range byte(5) {
			op := first + i
			p := piece{op: op}
			if i%2 == 1 {
				p.data = []byte("reserved opcode payload")
			}
			title, want, send := fmt.Sprintf("opcode %d, %d bytes", op, len(p.data)), none(), together(p)
			switch i {
			case 2, 3:
				title, want, send = "a message, "+title+", a ping", goodEcho, together(good, p, ping(""))
			case 4:
				title, want, send = "a message, "+title+", a ping, byte by byte", goodEcho, octets(1, good, p, ping(""))
			}
			all = append(all, broken(fmt.Sprintf("4.%d.%d", f+1, i+1), title, "R7 R30", protocolError, want, send))
		}
	}
	return all
}

// fragmentCases are family 5: fragments, and control frames between them.
func fragmentCases(Volume) []*Case {
	one, two := begin(opText, "fragment1"), last("fragment2")
	both := []event{echoed(opText, "fragment1fragment2")}
	pinged := append([]event{echoed(opPong, "ping payload")}, both...)
	whole := text("Hello, world!")
	p := ping("ping payload")
	cut := func(op byte) []piece {
		return []piece{{op: op, more: true, data: []byte("frag")}, {op: opContinuation, data: []byte("ment")}}
	}
	five := []piece{begin(opText, "fragment1"), middle("fragment2"), ping("pongme 1!"), middle("fragment3"), middle("fragment4"), ping("pongme 2!"), last("fragment5")}
	fiveEcho := []event{echoed(opPong, "pongme 1!"), echoed(opPong, "pongme 2!"), echoed(opText, "fragment1fragment2fragment3fragment4fragment5")}
	all := []*Case{
		broken("5.1", "a ping in two frames", "R19", protocolError, none(), together(cut(opPing)...)),
		broken("5.2", "a pong in two frames", "R19", protocolError, none(), together(cut(opPong)...)),
		show("5.3", "text in two frames, one write", "R16 R35", both, together(one, two)),
		show("5.4", "text in two frames, two writes", "R16 R35", both, apart(one, two)),
		show("5.5", "text in two frames, byte by byte", "R16 R35", both, octets(1, one, two)),
		show("5.6", "a ping between two frames", "R15", pinged, together(one, p), answered(1, "the pong comes only after the message"), together(two)),
		show("5.7", "a ping between two frames, three writes", "R15", pinged, apart(one, p), answered(1, "the pong comes only after the message"), together(two)),
		show("5.8", "a ping between two frames, byte by byte", "R15", pinged, octets(1, one, p), answered(1, "the pong comes only after the message"), octets(1, two)),
	}
	for f, more := range []bool{false, true} {
		stray := piece{more: more, data: []byte("non-continuation payload")}
		for i, send := range []func(...piece) step{together, apart, func(p ...piece) step { return octets(1, p...) }} {
			how := [...]string{"in one write", "frame by frame", "byte by byte"}[i]
			title := fmt.Sprintf("a continuation of nothing with FIN %t, and text, %s", !more, how)
			all = append(all, broken(fmt.Sprintf("5.%d", 9+3*f+i), title, "R13 R30", protocolError, none(), send(stray, whole)))
		}
	}
	return append(all,
		broken("5.15", "text in two frames, a continuation of nothing, text", "R13", protocolError, both, together(one, two, last("fragment3"), text("fragment4"))),
		broken("5.16", "twice a continuation of nothing without FIN, and text in two frames", "R13", protocolError, none(),
			together(middle("fragment1"), begin(opText, "fragment2"), last("fragment3"), middle("fragment1"), begin(opText, "fragment2"), last("fragment3"))),
		broken("5.17", "twice a continuation of nothing with FIN, and text in two frames", "R13", protocolError, none(),
			together(last("fragment1"), begin(opText, "fragment2"), last("fragment3"), last("fragment1"), begin(opText, "fragment2"), last("fragment3"))),
		broken("5.18", "text within text", "R14", protocolError, none(), together(one, text("fragment2"))),
		show("5.19", "text in five frames, pings between", "R15 R35", fiveEcho, together(five[:3]...), answered(1, "the pong comes only after the message"),
			together(five[3:6]...), answered(2, "the pong comes only after the message"), together(five[6:]...)),
		show("5.20", "text in five frames, pings between, frame by frame", "R15 R35", fiveEcho, apart(five[:3]...), answered(1, "the pong comes only after the message"),
			apart(five[3:6]...), answered(2, "the pong comes only after the message"), apart(five[6:]...)),
	)
}

// performanceCases are family 9: large messages, many fragments, small writes, round
// trips.
func performanceCases(v Volume) []*Case {
	const kib, mib = 1 << 10, 1 << 20
	shrink := 1
	if v == Small {
		shrink = 64
	}
	var all []*Case
	for f, op := range []byte{opText, opBinary} {
		name := [...]string{"text", "binary"}[f]
		add := func(group, i int, title string, data []byte, send func() step) {
			id := fmt.Sprintf("9.%d.%d", group+f, i+1)
			all = append(all, show(id, name+" of "+sizeName(len(data))+title, "R8 R35", []event{{op, data}}, func(s *session) { send()(s) }))
		}
		for i, size := range []int{64 * kib, 256 * kib, mib, 4 * mib, 8 * mib, 16 * mib} {
			data := []byte(payload(size / shrink))
			add(1, i, "", data, func() step { return together(piece{op: op, data: data}) })
		}
		for i, size := range []int{64, 256, kib, 4 * kib, 16 * kib, 64 * kib, 256 * kib, mib, 4 * mib} {
			data := []byte(payload(4 * mib / shrink))
			add(3, i, " in frames of "+sizeName(size), data, func() step { return together(fragments(op, data, size)...) })
		}
		for i, size := range []int{64, 128, 256, 512, kib, 2 * kib} {
			data := []byte(payload(mib / shrink))
			add(5, i, " in writes of "+sizeName(size), data, func() step { return octets(size, piece{op: op, data: data}) })
		}
		for i, size := range []int{0, 16, 64, 256, kib, 4 * kib} {
			n := 1000
			if v == Small {
				n = 20
			}
			c := show(fmt.Sprintf("9.%d.%d", 7+f, i+1), fmt.Sprintf("%d round trips of %s of %s", n, name, sizeName(size)), "R8 R35", nil)
			c.bulk = roundTrips(op, []byte(payload(size)), n)
			all = append(all, c)
		}
	}
	slices.SortStableFunc(all, func(a, b *Case) int { return strings.Compare(a.ID[:3], b.ID[:3]) })
	return all
}

func sizeName(n int) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}

// roundTrips sends a message, waits for its echo, and repeats that.
func roundTrips(op byte, data []byte, n int) func(*session) {
	return func(s *session) {
		s.expect(func(_ int, e event) bool { return sameEvent(e, event{op, data}) })
		for i := range n {
			if s.gone() {
				break
			}
			together(piece{op: op, data: data})(s)
			if !s.came(i + 1) {
				break
			}
		}
		s.bulkDone(n)
	}
}

// expect makes messages be judged as they come, and not kept.
func (s *session) expect(same func(i int, e event) bool) {
	s.mu.Lock()
	s.bulk = same
	s.mu.Unlock()
}

// came waits for n messages. It gives up when no more come.
func (s *session) came(n int) bool {
	for {
		s.mu.Lock()
		before := s.bulked
		s.mu.Unlock()
		if s.wait(s.o.Patience, func() bool { return s.bulked >= n || len(s.faults) > 0 }) {
			return true
		}
		s.mu.Lock()
		stuck := s.bulked == before || s.ended != nil
		s.mu.Unlock()
		if stuck {
			return false
		}
	}
}

// bulkDone reports how many messages should have been echoed.
func (s *session) bulkDone(n int) {
	s.mu.Lock()
	got := s.bulked
	s.mu.Unlock()
	if got != n {
		s.settle(Failed, fmt.Sprintf("%d messages came back, of %d", got, n), "")
	}
}

// autoFragmentCases are family 10: a message in as many frames as needed.
func autoFragmentCases(Volume) []*Case {
	data := payload(65536)
	return []*Case{show("10.1.1", "text of 65536 bytes in frames of 1300", "R16 R17 R35", []event{echoed(opText, data)},
		apart(fragments(opText, []byte(data), 1300)...))}
}
