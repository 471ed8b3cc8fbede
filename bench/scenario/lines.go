package scenario

import (
	"fmt"
	"slices"
	"time"

	"github.com/seed-7f57ff33/tickwire/bench/entrant"
)

// lineReaders are the entrants of the scenario lines: four libraries with a goroutine for
// each connection, and tickwire's Poller.
var lineReaders = []string{
	"tickwire", "tickwire-opens", "tickwire-blocking",
	"tickwire-poller", "tickwire-poller-opens", "tickwire-poller-spin", "tickwire-poller-moderated",
	"gobwas-low", "gws", "gorilla",
}

// lines is paced over more than one connection. The messages of a second are distributed
// over the connections, and one processor reads all of them.
func lines(p *Plan) error {
	for _, scheme := range []string{"ws", "wss"} {
		for _, rate := range []int{10_000, 100_000} {
			for _, n := range []int{1, 16, 128} {
				if err := linesCase(p, scheme, rate, n); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func linesCase(p *Plan, scheme string, rate, n int) error {
	s := Spec{Size: 200, Every: time.Second / time.Duration(rate), Warmup: rate / 10, Messages: max(10_000, rate/2) * longer(), Check: true, Lines: n}
	if scheme == "wss" {
		s.TLS = "record"
	}
	if p.Quick {
		s.Messages /= 4
	}
	entrants := slices.DeleteFunc(entrant.All(), func(e entrant.Entrant) bool {
		i := e.Info()
		// BlockingReads takes a thread for each connection, so it is not meant for many.
		return !slices.Contains(lineReaders, i.Name) || s.TLS == "" && i.TLS || n > 1 && i.Name == "tickwire-blocking"
	})
	return p.each(LinesCase(scheme, n, rate), entrants, p.rounds(5, 1), 30*time.Second, func(e entrant.Entrant) (map[string]float64, error) {
		s := s
		s.Entrant = e.Info().Name
		return pacedTurn(s)
	})
}

// LinesCase returns the name of a case of the scenario lines.
func LinesCase(scheme string, n, rate int) string {
	connections := "connections"
	if n == 1 {
		connections = "connection"
	}
	return fmt.Sprintf("%s, 200 B, %d %s, %d messages/s in total", scheme, n, connections, rate)
}
