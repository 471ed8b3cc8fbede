package scenario

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/seed-7f57ff33/tickwire/bench/corpus"
	"github.com/seed-7f57ff33/tickwire/bench/entrant"
)

func idle(p *Plan) error {
	n := 9_000 // and the harness's own descriptors, where 10,000 are allowed
	if descriptors() >= 12_000 {
		n = 10_000
	}
	if p.Quick {
		n = 2_000
	}
	entrants := entrant.Libraries()
	return p.each(fmt.Sprintf("%d connections that have carried a message", n), entrants, p.rounds(2, 1), func(e entrant.Entrant) (map[string]float64, error) {
		return pair(Spec{Entrant: e.Info().Name, Size: 200, Clients: n, Check: true, Lean: true}, "idle server", "idle clients")
	})
}

// idleServer echoes, and tells its resident memory before and after.
func idleServer(s *Spec, ch *channel) error {
	before := resident()
	if err := listen(s, ch, func(c entrant.Conn) { c.Echo() }); err != nil {
		return err
	}
	if _, err := ch.hear(); err != nil { // go: all are connected
		return err
	}
	ch.say("going")
	if _, err := ch.hear(); err != nil { // done: each has had its echo
		return err
	}
	after := resident()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	ch.say("reporting")
	n := float64(s.Clients)
	return ch.report(map[string]float64{
		"resident B/connection": float64(after-before) / n,
		"heap B/connection":     float64(m.HeapAlloc) / n,
		"stack B/connection":    float64(m.StackInuse) / n,
	})
}

// resident returns the resident memory of this process in bytes, after what is free has gone back to the system.
func resident() int {
	for range 3 { // pools are emptied by the second collection, stacks shrink at each
		runtime.GC()
	}
	debug.FreeOSMemory()
	b, _ := os.ReadFile("/proc/self/status")
	kb := 0
	for line := range strings.Lines(string(b)) {
		fmt.Sscanf(line, "VmRSS: %d kB", &kb)
	}
	return kb << 10
}

// idleClients connects, has one message echoed on each connection, and then holds still.
func idleClients(s *Spec, ch *channel) error {
	conns, err := open(s)
	if err != nil {
		return err
	}
	ch.say("connected")
	if _, err := ch.hear(); err != nil {
		return err
	}
	m := corpus.Messages(corpus.ASCII, s.Size, 1)
	request, answer := corpus.NewStream(m, true).Bytes, corpus.NewStream(m, false).Bytes
	back := make([]byte, len(answer))
	for _, c := range conns {
		if err := trip(c, request, back); err != nil {
			return err
		}
		if string(back) != string(answer) {
			return fmt.Errorf("not an echo: %q", back)
		}
	}
	ch.say("echoed")
	ch.hear()
	ch.hear()
	return nil
}

func trip(c net.Conn, request, answer []byte) error {
	if _, err := c.Write(request); err != nil {
		return err
	}
	_, err := io.ReadFull(c, answer)
	return err
}
