package entrant

import "runtime/debug"

const tickwireModule = "github.com/seed-7f57ff33/tickwire"

// Libraries returns the entrants of tickwire and of the other libraries.
func Libraries() []Entrant {
	return append(append(ticks(), waiters()...),
		gobwasLow{}, gobwas{},
		gwsLib{},
		gorilla{reuse: true}, gorilla{}, dropIn{}, gorillaDefault{}, dropInDefault{},
		fast{},
		coder{reuse: true}, coder{},
		xnet{},
	)
}

// Version returns the version of a module in this binary, from debug.ReadBuildInfo. It
// returns "head" for tickwire itself.
func Version(module string) string {
	if module == "" {
		return ""
	}
	if module == tickwireModule {
		return "head"
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == module {
				return m.Version
			}
		}
	}
	return "unknown"
}
