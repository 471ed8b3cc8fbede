package conformance

import (
	"crypto/tls"
	"net"
	"slices"
	"time"
)

// Options configure how agents are tested.
type Options struct {
	// Patience is how long the suite waits for something that an agent must do. The wait
	// is this long only if the agent fails. 0 means 3 s.
	Patience time.Duration
	// Timeout bounds one case, from the connection on. 0 means 10 times Patience.
	Timeout time.Duration
	// Parallel is how many cases run at the same time against a server. 0 means 8.
	Parallel int
	Volume   Volume
	// Include and Exclude are patterns for Select.
	Include, Exclude []string
	only             func(*Case) bool // selects among those, if not nil
	// TLS is used for wss.
	TLS *tls.Config
	// Header are header lines of the request, unchanged: "Name: value".
	Header []string
	// Done, if not nil, is called with each result, from many goroutines.
	Done func(agent string, r Result)
}

// cases returns the cases to run.
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

// bound closes a connection after Timeout, whatever waits for it. stop cancels that.
func (o *Options) bound(nc net.Conn) (stop func() bool) {
	return time.AfterFunc(o.Timeout, func() { nc.Close() }).Stop
}
