package scenario

import (
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-7f57ff33/tickwire/bench/corpus"
	"github.com/seed-7f57ff33/tickwire/bench/entrant"
	"github.com/seed-7f57ff33/tickwire/bench/wire"
)

// paced is how most feeds run: the reader sleeps until the next message is there.
//
// The sender puts the time into each message, just before it is encrypted and written; the
// reader takes the time when its library has handed the message out. Both are of
// CLOCK_MONOTONIC, which is one clock for all processes. The sender waits in a loop, on a
// CPU of its own, so that no timer of its process makes it late. A message that is late all
// the same moves those after it: two never follow each other at once.
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

// A turn has kept the pace if so much of it has come; where none of pacedTurns has, the one
// that came nearest counts. A sender whose CPU is taken away sends less, and a reader that
// gets less for its time has another cost.
const (
	pacedTurns = 3
	paceKept   = 0.97
)

func pacedTurn(s Spec) (best map[string]float64, err error) {
	for range pacedTurns {
		m, err := pacedPair(s)
		if err != nil {
			return nil, err
		}
		if best == nil || m["messages/s"] > best["messages/s"] {
			best = m
		}
		if best["messages/s"]*s.Every.Seconds() >= paceKept {
			break
		}
	}
	return best, nil
}

// pacedPair runs a sender and a reader, each on its CPU.
func pacedPair(s Spec) (map[string]float64, error) {
	s.Role, s.CPU = "pacer", 1
	sender, err := start(s)
	if err != nil {
		return nil, err
	}
	defer sender.end()
	if s.Addr, err = sender.hear(); err != nil {
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

// A paced message is a text of JSON that begins with the time, in hexadecimal digits.
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

// monotonic is a clock that all processes share. It is read as the process's own, which
// takes no system call.
type monotonic struct {
	start time.Time
	at    time.Duration
}

func newMonotonic() (monotonic, error) {
	var best monotonic
	narrow := time.Duration(1 << 62)
	for range 100 { // between two looks at the one clock stands one at the other
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

// pacer is a child that sends paced messages to the one who connects.
func pacer(s *Spec, ch *channel) error {
	clock, err := newMonotonic()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ch.say(l.Addr().String())
	nc, err := l.Accept()
	if err != nil {
		return err
	}
	defer nc.Close()
	if s.TLS != "" {
		config, err := wire.ServerTLS()
		if err != nil {
			return err
		}
		nc = tls.Server(nc, config)
	}
	if err := wire.Answer(nc, false); err != nil {
		return err
	}
	go io.Copy(io.Discard, nc)
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
		if _, err := nc.Write(frames[i%len(frames)]); err != nil {
			return err
		}
	}
	ch.hear() // the reader has gone
	return nil
}

// pacedReader is a child that reads paced messages.
func pacedReader(s *Spec, ch *channel) error {
	runtime.GOMAXPROCS(1) // as in a program that is begun on one CPU
	clock, err := newMonotonic()
	if err != nil {
		return err
	}
	o := entrant.Options{URL: "ws://" + s.Addr + "/", CheckUTF8: s.Check}
	if s.TLS != "" {
		o.URL, o.TLS = "wss://"+s.Addr+"/", wire.ClientTLS()
	}
	c, err := entrant.ByName(s.Entrant).Dial(o)
	if err != nil {
		return err
	}
	defer c.Close()
	viewer, ok := c.(entrant.Viewer)
	if !ok {
		return errors.New("the entrant's messages cannot be looked at")
	}
	times := make([]time.Duration, 0, s.Warmup+s.Messages)
	view := func(p []byte) { times = append(times, clock.now()-time.Duration(stampOf(p))) }
	for range s.Warmup {
		if err := viewer.View(view); err != nil {
			return err
		}
	}
	times = times[:0]
	u := used()
	for range s.Messages {
		if err := viewer.View(view); err != nil {
			return err
		}
	}
	m := u.since(len(times))
	if slices.Min(times) <= 0 || len(times) != s.Messages {
		return errors.New("a message came before it was sent, or not at all")
	}
	m["p50 µs"], m["p99 µs"] = quantile(times, .5), quantile(times, .99)
	return ch.report(m)
}
