package scenario

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/seed-7f57ff33/tickwire/asm/asmtest"

	"github.com/seed-7f57ff33/tickwire/bench/corpus"
	"github.com/seed-7f57ff33/tickwire/bench/entrant"
	"github.com/seed-7f57ff33/tickwire/bench/internal/probe"
)

// streamBytes is the length of the streams in memory: longer than any buffer, and within
// the second-level cache.
const streamBytes = 256 << 10

// batch is the length of one batch: two fills of a 64 KiB buffer with 200 B messages, for
// all but the slowest.
const batch = 100 * time.Microsecond

type memoryCase struct {
	name   string
	kind   corpus.Kind
	size   int
	server bool // the entrant is the server: it receives masked frames
	check  bool
}

func decodeCases() []memoryCase {
	var cases []memoryCase
	for _, size := range corpus.Sizes {
		for _, server := range []bool{false, true} {
			for _, check := range []bool{true, false} {
				cases = append(cases, memoryCase{kind: corpus.ASCII, size: size, server: server, check: check})
			}
		}
	}
	for _, server := range []bool{false, true} {
		cases = append(cases, memoryCase{kind: corpus.CJK, size: 200, server: server, check: true})
	}
	for i, c := range cases {
		side, check, kind := "unmasked", "unchecked", ""
		if c.server {
			side = "masked"
		}
		if c.check {
			check = "UTF-8 checked"
		}
		if c.kind == corpus.CJK {
			kind = " with 13 % CJK"
		}
		cases[i].name = fmt.Sprintf("%d B%s, %s, %s", c.size, kind, side, check)
	}
	return cases
}

func decode(p *Plan) error {
	entrants := slices.DeleteFunc(entrant.All(), func(e entrant.Entrant) bool {
		i := e.Info()
		return i.Limit && i.Name != entrant.LimitParse && i.Name != entrant.LimitParseKernel
	})
	for _, c := range decodeCases() {
		some := entrants
		if !c.check {
			some = slices.DeleteFunc(slices.Clone(entrants), func(e entrant.Entrant) bool { return e.Info().Name == entrant.LimitParseKernel })
		}
		s := corpus.NewStream(corpus.Messages(c.kind, c.size, streamBytes/c.size), c.server)
		err := p.memory(c.name, some, func(e entrant.Entrant) (step func(n int) error, done func(), err error) {
			conn, _, done, err := entrant.Memory(e, s, entrant.Options{CheckUTF8: c.check}, c.server)
			if err != nil {
				return nil, nil, err
			}
			var t entrant.Tally
			return func(n int) error { return conn.Receive(n, &t) }, done, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func encode(p *Plan) error {
	entrants := slices.DeleteFunc(entrant.All(), func(e entrant.Entrant) bool {
		return e.Info().Limit && e.Info().Name != entrant.LimitParse
	})
	for _, size := range corpus.Sizes {
		messages := corpus.Messages(corpus.ASCII, size, 64<<10/size)
		for _, server := range []bool{false, true} {
			side := "client"
			if server {
				side = "server"
			}
			s := corpus.NewStream(messages, server)
			err := p.memory(fmt.Sprintf("%d B, %s", size, side), entrants, func(e entrant.Entrant) (step func(n int) error, done func(), err error) {
				conn, _, done, err := entrant.Memory(e, s, entrant.Options{}, server)
				if err != nil {
					return nil, nil, err
				}
				return func(n int) error { return conn.Send(n, messages) }, done, nil
			})
			if err != nil {
				return err
			}
		}
	}
	return encodeQueued(p)
}

// encodeQueued is write for entrants that can queue messages: 100 in one write.
func encodeQueued(p *Plan) error {
	entrants := []entrant.Entrant{entrant.ByName("tickwire"), entrant.ByName("tickwire/frame")}
	messages := corpus.Messages(corpus.ASCII, 200, 64<<10/200)
	for _, server := range []bool{false, true} {
		name := "200 B, client, 100 queued and flushed"
		if server {
			name = "200 B, server, 100 queued and flushed"
		}
		s := corpus.NewStream(messages, server)
		err := p.memory(name, entrants, func(e entrant.Entrant) (step func(n int) error, done func(), err error) {
			conn, _, done, err := entrant.Memory(e, s, entrant.Options{}, server)
			if err != nil {
				return nil, nil, err
			}
			q := conn.(entrant.Queuer)
			return func(n int) error {
				for ; n > 0; n -= 100 {
					if err := q.SendQueued(min(n, 100), messages); err != nil {
						return err
					}
				}
				return nil
			}, done, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// memory measures one case in this process. All entrants take turns in short batches.
func (p *Plan) memory(name string, entrants []entrant.Entrant, open func(entrant.Entrant) (step func(n int) error, done func(), err error)) error {
	if !p.wants(name) {
		return nil
	}
	var cases []probe.Case
	var opened []entrant.Entrant
	var failed error
	allocs := make(map[string]float64)
	for _, e := range p.pick(entrants) {
		step, done, err := open(e)
		if err == nil {
			defer done()
			err = step(1000) // warm-up
		}
		if err != nil {
			if err := p.leaveOut(name, e, err); err != nil {
				return err
			}
			continue
		}
		if ProfileDir != "" {
			if err := p.profileSteps(name, e, step); err != nil {
				return err
			}
			continue
		}
		allocs[e.Info().Name] = allocations(step)
		opened = append(opened, e)
		cases = append(cases, probe.Case{
			Name:   e.Info().Name,
			Before: asmtest.CleanUpper,
			Run: func(n int) {
				if err := step(n); err != nil {
					failed = fmt.Errorf("%s: %w", e.Info().Name, err)
				}
			},
		})
	}
	limit := 3 * time.Second
	if p.Quick {
		limit = time.Second
	}
	for round := range p.rounds(3, 1) {
		if p.interrupted() || len(cases) == 0 {
			return nil
		}
		start := time.Now()
		for i, r := range probe.Measure(cases, probe.Options{Batch: batch, Limit: limit, Slack: 0.05}) {
			if failed != nil {
				return failed
			}
			forced := 0.
			if r.Forced {
				forced = 1
			}
			err := p.emit(name, opened[i], round, map[string]float64{"ns/message": r.NS, "allocs/message": allocs[r.Name], "forced": forced})
			if err != nil {
				return err
			}
		}
		p.say("%s/%s: round %d, %.1f s", p.env.Scenario, name, round+1, time.Since(start).Seconds())
	}
	return nil
}

// allocations returns the allocations of one message, over 10,000. It takes the lower of
// two counts, since the runtime allocates by itself now and then.
func allocations(step func(n int) error) float64 {
	const n = 10_000
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	least := -1.
	for range 2 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if step(n) != nil {
			return -1
		}
		runtime.ReadMemStats(&after)
		if a := float64(after.Mallocs-before.Mallocs) / n; least < 0 || a < least {
			least = a
		}
	}
	return least
}
