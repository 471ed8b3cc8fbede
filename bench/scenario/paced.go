package scenario

import (
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-7f57ff33/tickwire/bench/corpus"
	"github.com/seed-7f57ff33/tickwire/bench/entrant"
	"github.com/seed-7f57ff33/tickwire/bench/wire"
)

// paced is how most feeds run: the reader sleeps until the next message.
//
// The sender writes the time into each message, just before encryption. The reader takes
// the time when its library has returned the message. Both use CLOCK_MONOTONIC, which is
// one clock for all processes.
//
// The sender polls on a CPU of its own, so that no timer of its process makes it late. A
// message that is late nevertheless delays those after it: two never follow each other at
// once.
func paced(p *Plan) error {
	names := []string{"tickwire", "tickwire-opens", "tickwire-noclock", "gobwas-low", "gws", "gorilla", "coder"}
	for _, scheme := range []string{"ws", "wss"} {
		s := Spec{Size: 200, Every: 100 * time.Microsecond, Warmup: 1000, Messages: 10_000 * longer(), Check: true}
		if scheme == "wss" {
			s.TLS = "record"
		}
		if p.Quick {
			s.Messages /= 4
		}
		entrants := slices.DeleteFunc(entrant.All(), func(e entrant.Entrant) bool {
			i := e.Info()
			return !slices.Contains(names, i.Name) || s.TLS == "" && i.TLS
		})
		name := fmt.Sprintf("%s, 200 B, %d messages/s, one at a time", scheme, time.Second/s.Every)
		err := p.each(name, entrants, p.rounds(9, 1), 75*time.Second, func(e entrant.Entrant) (map[string]float64, error) {
			s := s
			s.Entrant = e.Info().Name
			return pacedTurn(s)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// A turn has kept the pace if about as many messages have come as were to be sent. If
// none of pacedTurns has, the closest one counts. A sender that loses its CPU sends less.
// A reader that has lost its CPU reads more, because messages have waited. Both change
// the cost and the latency.
const (
	pacedTurns = 3
	paceKept   = 0.03
)

func pacedTurn(s Spec) (best map[string]float64, err error) {
	return nearest(s.Every, func() (map[string]float64, error) { return pacedPair(s) })
}

// nearest measures until a turn has kept the pace, at most pacedTurns times. It returns
// the closest one.
func nearest(every time.Duration, turn func() (map[string]float64, error)) (best map[string]float64, err error) {
	off := func(m map[string]float64) float64 { return math.Abs(m["messages/s"]*every.Seconds() - 1) }
	for range pacedTurns {
		m, err := turn()
		if err != nil {
			return nil, err
		}
		if best == nil || off(m) < off(best) {
			best = m
		}
		if off(best) <= paceKept {
			break
		}
	}
	return best, nil
}

// pacedPair runs a sender and a reader, each on its own CPU.
func pacedPair(s Spec) (map[string]float64, error) {
	s.Role, s.CPU = "pacer", 1
	sender, err := start(s)
	if err != nil {
		return nil, err
	}
	defer sender.end()
	if s.Addr, err = sender.receive(); err != nil {
		return nil, err
	}
	s.Role, s.CPU = "paced reader", 2
	reader, err := start(s)
	if err != nil {
		return nil, err
	}
	defer reader.end()
	return reader.metrics()
}

// A paced message is a JSON text that begins with the time, in hexadecimal digits.
const (
	stampHead   = `{"t":"`
	stampDigits = 16
)

func putStamp(p []byte, t uint64) {
	var b [stampDigits / 2]byte
	binary.BigEndian.PutUint64(b[:], t)
	hex.Encode(p[len(stampHead):], b[:])
}

func stampOf(p []byte) uint64 {
	var b [stampDigits / 2]byte
	_, _ = hex.Decode(b[:], p[len(stampHead):][:stampDigits])
	return binary.BigEndian.Uint64(b[:])
}

// monotonic is a clock that all processes share. It is read through the process's own
// clock, which needs no system call.
type monotonic struct {
	start time.Time
	at    time.Duration
}

func newMonotonic() (monotonic, error) {
	var best monotonic
	narrow := time.Duration(1 << 62)
	for range 100 { // a reading of one clock between two of the other
		var t unix.Timespec
		start := time.Now()
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
			return best, err
		}
		if d := time.Since(start); d < narrow {
			narrow, best = d, monotonic{start, time.Duration(t.Nano()) - d/2}
		}
	}
	return best, nil
}

func (m monotonic) now() time.Duration { return m.at + time.Since(m.start) }

// pacer is a child that sends paced messages to its client.
func pacer(s *Spec, ch *channel) error {
	clock, err := newMonotonic()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ch.send(l.Addr().String())
	var lines []net.Conn
	for range max(s.Lines, 1) {
		nc, err := pacedLine(l, s.TLS != "")
		if err != nil {
			return err
		}
		defer nc.Close()
		lines = append(lines, nc)
		go io.Copy(io.Discard, nc)
	}
	var frames, payloads [][]byte
	for _, m := range corpus.Messages(corpus.ASCII, s.Size-len(stampHead)-stampDigits-2, 64) {
		p := slices.Concat([]byte(stampHead), make([]byte, stampDigits), []byte(`",`), m[1:])
		frame := corpus.AppendFrame(nil, 0x81, p, false, 0)
		frames, payloads = append(frames, frame), append(payloads, frame[len(frame)-len(p):])
	}
	due := clock.now()
	for i := range s.Warmup + s.Messages {
		due += s.Every
		now := clock.now()
		if now > due+s.Every {
			due = now
		}
		for now < due {
			now = clock.now()
		}
		putStamp(payloads[i%len(payloads)], uint64(now))
		if _, err := lines[i%len(lines)].Write(frames[i%len(frames)]); err != nil {
			return err
		}
	}
	ch.receive() // the reader has gone
	return nil
}

// pacedReader is a child that reads paced messages.
func pacedReader(s *Spec, ch *channel) error {
	clock, err := newMonotonic()
	if err != nil {
		return err
	}
	o := entrant.Options{URL: "ws://" + s.Addr + "/", CheckUTF8: s.Check}
	if s.TLS != "" {
		o.URL, o.TLS = "wss://"+s.Addr+"/", wire.ClientTLS()
	}
	e := entrant.ByName(s.Entrant)
	var conns []entrant.Conn
	for range max(s.Lines, 1) {
		c, err := e.Dial(o)
		if err != nil {
			return err
		}
		defer c.Close()
		conns = append(conns, c)
	}
	t := newPacedTimes(s, clock, len(conns))
	if err := t.read(e, conns); err != nil {
		return err
	}
	all := slices.Concat(t.lines...)
	if len(all) != s.Messages || slices.Min(all) <= 0 {
		return errors.New("a message came before it was sent, or not at all")
	}
	m := t.used
	m["p50 µs"], m["p99 µs"], m["p99.9 µs"] = quantile(all, .5), quantile(all, .99), quantile(all, .999)
	return ch.report(m)
}

// pacedLine accepts a connection and does the opening handshake.
func pacedLine(l net.Listener, encrypted bool) (net.Conn, error) {
	nc, err := l.Accept()
	if err != nil {
		return nil, err
	}
	if encrypted {
		config, err := wire.ServerTLS()
		if err != nil {
			return nil, err
		}
		nc = tls.Server(nc, config)
	}
	return nc, wire.Answer(nc, false)
}

// pacedTimes are the latencies on some lines, after the first messages.
type pacedTimes struct {
	s        *Spec
	clock    monotonic
	received atomic.Int64      // on all lines
	lines    [][]time.Duration // each one is written by the goroutine that reads the line
	before   usage
	used     map[string]float64 // set when all have come
}

func newPacedTimes(s *Spec, clock monotonic, lines int) *pacedTimes {
	t := &pacedTimes{s: s, clock: clock, lines: make([][]time.Duration, lines)}
	for i := range t.lines {
		t.lines[i] = make([]time.Duration, 0, s.Messages) // untouched memory costs nothing
	}
	return t
}

// view takes a message of a line. It returns false after the last one of all lines.
func (t *pacedTimes) view(line int, p []byte) (more bool) {
	took := t.clock.now() - time.Duration(stampOf(p))
	n := int(t.received.Add(1))
	if n > t.s.Warmup {
		t.lines[line] = append(t.lines[line], took)
	}
	switch n {
	case t.s.Warmup:
		t.before = used()
	case t.s.Warmup + t.s.Messages:
		t.used = t.before.since(t.s.Messages)
		return false
	}
	return true
}

// read reads all lines: in the entrant's loop if it has one, otherwise with a goroutine
// for each connection.
func (t *pacedTimes) read(e entrant.Entrant, conns []entrant.Conn) error {
	if one, ok := e.(entrant.LineReader); ok {
		return one.ReadLines(conns, func(p []byte) bool { return t.view(0, p) })
	}
	failed := make(chan error, len(conns))
	for line, c := range conns {
		viewer, ok := c.(entrant.Viewer)
		if !ok {
			return errors.New("the entrant has no View")
		}
		n := (t.s.Warmup + t.s.Messages - line + len(conns) - 1) / len(conns)
		go func() { failed <- readLine(viewer, n, func(p []byte) { t.view(line, p) }) }()
	}
	for range conns {
		if err := <-failed; err != nil {
			return err
		}
	}
	return nil
}

func readLine(c entrant.Viewer, n int, view func(p []byte)) error {
	for range n {
		if err := c.View(view); err != nil {
			return err
		}
	}
	return nil
}
