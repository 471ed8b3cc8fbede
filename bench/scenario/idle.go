package scenario

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/seed-7f57ff33/tickwire/bench/corpus"
	"github.com/seed-7f57ff33/tickwire/bench/entrant"
)

func idle(p *Plan) error {
	n := 10_000
	if p.Quick {
		n = 2_000
	}
	n = min(n, raiseDescriptors(n+spare)-spare)
	entrants := entrant.Libraries()
	return p.each(fmt.Sprintf("%d connections that have carried a message", n), entrants, p.rounds(2, 1), 45*time.Second, func(e entrant.Entrant) (map[string]float64, error) {
		return pair(Spec{Entrant: e.Info().Name, Size: 200, Clients: n, Check: true, Lean: true}, "idle server", "idle clients")
	})
}

// idleServer echoes. It reports its memory before and after: the resident memory, and the
// runtime's account of it.
func idleServer(s *Spec, ch *channel) error {
	before := memoryOf()
	if err := listen(s, ch, func(c entrant.Conn) { c.Echo() }); err != nil {
		return err
	}
	if _, err := ch.receive(); err != nil { // start: all are connected
		return err
	}
	ch.send("going")
	if _, err := ch.receive(); err != nil { // done: each has had its echo
		return err
	}
	after := memoryOf()
	ch.send("reporting")
	each := func(now, then uint64) float64 { return (float64(now) - float64(then)) / float64(s.Clients) }
	return ch.report(map[string]float64{
		"resident B/connection": each(after.resident, before.resident),
		"heap B/connection":     each(after.heap, before.heap),
		"stack B/connection":    each(after.stack, before.stack),
		"unused B/connection":   each(after.unused, before.unused),
		"runtime B/connection":  each(after.runtime, before.runtime),
	})
}

// memory is the memory of a process, in bytes.
type memory struct {
	resident uint64
	heap     uint64 // objects
	stack    uint64 // of goroutines
	unused   uint64 // in spans that have objects
	runtime  uint64 // used by the runtime
}

// memoryOf returns the memory of this process after free memory has gone back to the
// system.
func memoryOf() memory {
	for range 3 { // the second collection empties pools, and each one shrinks stacks
		runtime.GC()
	}
	debug.FreeOSMemory()
	b, _ := os.ReadFile("/proc/self/status")
	kb := uint64(0)
	for line := range strings.Lines(string(b)) {
		fmt.Sscanf(line, "VmRSS: %d kB", &kb)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return memory{kb << 10, m.HeapAlloc, m.StackInuse, m.HeapInuse - m.HeapAlloc, m.MSpanInuse + m.MCacheInuse + m.GCSys + m.OtherSys}
}

// idleClients connects, has one message echoed on each connection, and then does nothing.
func idleClients(s *Spec, ch *channel) error {
	conns, err := open(s)
	if err != nil {
		return err
	}
	ch.send("connected")
	if _, err := ch.receive(); err != nil {
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
	ch.send("echoed")
	ch.receive()
	ch.receive()
	return nil
}

func trip(c net.Conn, request, answer []byte) error {
	if _, err := c.Write(request); err != nil {
		return err
	}
	_, err := io.ReadFull(c, answer)
	return err
}
