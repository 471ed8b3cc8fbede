package main

import (
	"slices"
	"testing"

	"github.com/seed-7f57ff33/tickwire/bench/entrant"
)

// TestPlan: a plan accepts the names of entrants, also those with commas, and refuses
// mistyped ones.
func TestPlan(t *testing.T) {
	var every []string
	list := ""
	for _, e := range entrant.All() {
		every = append(every, e.Info().Name)
		list += "," + e.Info().Name
	}
	for name, c := range map[string]struct {
		pattern, entrants, clients string
		want                       []string
		bad                        bool
	}{
		"nothing":              {},
		"all":                  {entrants: list[1:], want: every},
		"a name in another":    {entrants: "gorilla,gorilla-reuse", want: []string{"gorilla", "gorilla-reuse"}},
		"an unknown entrant":   {entrants: "tickwire,gorila", bad: true},
		"half a name":          {entrants: "limit: parse lengths", bad: true},
		"clients":              {clients: "10,2000"},
		"no clients":           {clients: "0", bad: true},
		"clients in words":     {clients: "ten", bad: true},
		"a broken expression":  {pattern: "(", bad: true},
		"what matches nothing": {pattern: "nothing"},
	} {
		p, err := plan(c.pattern, c.entrants, c.clients)
		if (err != nil) != c.bad {
			t.Errorf("%s: %v", name, err)
		} else if err == nil && !slices.Equal(p.Entrants, c.want) {
			t.Errorf("%s: %q", name, p.Entrants)
		}
	}
}
