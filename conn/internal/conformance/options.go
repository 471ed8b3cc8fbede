package conformance

import (
	"crypto/tls"
	"net"
	"slices"
	"time"
)

// Options say how an agent is tried.
type Options struct {
	// Patience is how long the suite waits for what an agent has to do. Only an agent
	// that does not do it is waited for. 0 means 3 s.
	Patience time.Duration
	// Timeout bounds one case, from its connection on. 0 means 10 times Patience.
	Timeout time.Duration
	// Parallel is how many cases run at once against a server. 0 means 8.
	Parallel int
	Volume   Volume
	// Include and Exclude are patterns of Select.
	Include, Exclude []string
	only             func(*Case) bool // of those, if not nil
	// TLS is used for wss.
	TLS *tls.Config
	// Header are lines for the request, as they stand: "Name: value".
	Header []string
	// Done, if not nil, hears of each result, by many goroutines.
	Done func(agent string, r Result)
}

// cases returns those that are to be run.
func (o *Options) cases(role Role) []*Case {
	all := Select(Cases(role, o.Volume), o.Include, o.Exclude)
	if o.only != nil {
		all = slices.DeleteFunc(all, func(c *Case) bool { return !o.only(c) })
	}
	return all
}

func (o Options) withDefaults() *Options {
	if o.Patience <= 0 {
		o.Patience = 3 * time.Second
	}
	if o.Timeout <= 0 {
		o.Timeout = 10 * o.Patience
	}
	if o.Parallel <= 0 {
		o.Parallel = 8
	}
	return &o
}

// bound closes a connection after Timeout, whatever waits for it; stop undoes that.
func (o *Options) bound(nc net.Conn) (stop func() bool) {
	return time.AfterFunc(o.Timeout, func() { nc.Close() }).Stop
}
