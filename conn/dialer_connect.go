package conn

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// attemptDelay is how long an attempt to connect goes on alone before the next begins
// (RFC 8305 §8: 250 ms).
const attemptDelay = 250 * time.Millisecond

// netDial makes a TCP connection to a name or an address with its port.
func (d *Dialer) netDial(ctx context.Context, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	addresses := []string{address}
	if _, err := netip.ParseAddr(host); err != nil {
		resolver := d.Resolver
		if resolver == nil {
			resolver = net.DefaultResolver
		}
		found, err := resolver.LookupIPAddr(ctx, host)
		if err == nil && len(found) == 0 {
			err = &net.DNSError{Err: "no address", Name: host, IsNotFound: true}
		}
		if err != nil {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
		}
		addresses = interleaved(found, port)
	}
	nd := net.Dialer{Control: d.SocketOptions.beforeConnect()}
	return stagger(ctx, addresses, func(ctx context.Context, address string) (net.Conn, error) {
		return nd.DialContext(ctx, "tcp", address)
	})
}

// interleaved returns the addresses in the resolver's order, each once, with the families
// in turn: that of the first begins (RFC 8305 §4).
func interleaved(found []net.IPAddr, port string) []string {
	var families [2][]string // the first address's, the other
	seen := make(map[string]bool, len(found))
	v4 := found[0].IP.To4() != nil
	for _, a := range found {
		address := net.JoinHostPort(a.String(), port)
		if seen[address] {
			continue
		}
		seen[address] = true
		other := 0
		if (a.IP.To4() != nil) != v4 {
			other = 1
		}
		families[other] = append(families[other], address)
	}
	list := make([]string, 0, len(seen))
	for i := range max(len(families[0]), len(families[1])) {
		for _, f := range families {
			if i < len(f) {
				list = append(list, f[i])
			}
		}
	}
	return list
}

// An attempt is how connecting to one address went.
type attempt struct {
	address string
	nc      net.Conn
	err     error // nil, and no nc: there was no answer when the context ended
	panics  any   // of a hook of the context's trace
}

// A race is attempts to connect to several addresses of one host, the first success of
// which counts.
type race struct {
	addresses []string
	dial      func(ctx context.Context, address string) (net.Conn, error)
	begun     []*attempt
	running   int
	ended     chan *attempt
}

// stagger connects to the first address that answers (RFC 8305 §5). An attempt begins
// when the one before it has failed, or has gone on for attemptDelay; the earlier ones go
// on. When it returns all have ended, and what the slower ones have connected is closed.
func stagger(ctx context.Context, addresses []string, dial func(ctx context.Context, address string) (net.Conn, error)) (net.Conn, error) {
	if len(addresses) == 1 {
		nc, err := dial(ctx, addresses[0])
		if err != nil && ctx.Err() != nil {
			err = &connectError{attempts: []*attempt{{address: addresses[0]}}}
		}
		return nc, err
	}
	r := &race{addresses: addresses, dial: dial, ended: make(chan *attempt)}
	return r.run(ctx)
}

func (r *race) run(outer context.Context) (net.Conn, error) {
	ctx, cancel := context.WithCancel(outer)
	defer cancel()
	timer := time.NewTimer(attemptDelay)
	defer timer.Stop()
	var won net.Conn
	var panics any
	r.begin(ctx)
	for r.running > 0 {
		select {
		case a := <-r.ended:
			r.running--
			switch {
			case a.panics != nil:
				panics = a.panics
				cancel()
			case a.nc != nil && (won != nil || panics != nil):
				a.nc.Close()
			case a.nc != nil:
				won = a.nc
				cancel()
			case ctx.Err() != nil:
				a.err = nil
			case len(r.begun) < len(r.addresses):
				r.begin(ctx)
				timer.Reset(attemptDelay)
			}
		case <-timer.C:
			if ctx.Err() == nil && len(r.begun) < len(r.addresses) {
				r.begin(ctx)
				timer.Reset(attemptDelay)
			}
		}
	}
	if panics != nil {
		if won != nil {
			won.Close()
		}
		panic(panics)
	}
	if won == nil {
		return nil, &connectError{attempts: r.begun, left: len(r.addresses) - len(r.begun)}
	}
	return won, nil
}

// begin begins the next attempt.
func (r *race) begin(ctx context.Context) {
	a := &attempt{address: r.addresses[len(r.begun)], err: errNothing}
	r.begun = append(r.begun, a)
	r.running++
	go func() {
		defer func() {
			a.panics = recover()
			r.ended <- a
		}()
		a.nc, a.err = r.dial(ctx, a.address)
	}()
}

// connectError is no connection to any address of a host.
type connectError struct {
	cause    error // of the context's end, if that ended the attempts
	attempts []*attempt
	left     int // addresses that were not tried
}

// Error tells the cause and how each attempt ended, the first of them in full.
func (e *connectError) Error() string {
	const most = 8
	var how []string
	for i, a := range e.attempts {
		if i == most {
			how = append(how, "and "+strconv.Itoa(len(e.attempts)-most)+" more")
			break
		}
		if a.err == nil {
			how = append(how, "no answer from "+a.address)
		} else {
			how = append(how, a.err.Error())
		}
	}
	if e.left > 0 {
		how = append(how, "not tried: "+strconv.Itoa(e.left)+" more")
	}
	s := strings.Join(how, "; ")
	if e.cause != nil {
		s = e.cause.Error() + " (" + s + ")"
	}
	return s
}

// Unwrap returns the cause and the errors of the attempts.
func (e *connectError) Unwrap() []error {
	var all []error
	if e.cause != nil {
		all = append(all, e.cause)
	}
	for _, a := range e.attempts {
		if a.err != nil {
			all = append(all, a.err)
		}
	}
	return all
}

// Timeout reports whether time ran out: the context's, or that of every attempt.
func (e *connectError) Timeout() bool {
	if e.cause != nil {
		return isTimeout(e.cause)
	}
	for _, a := range e.attempts {
		if a.err != nil && !isTimeout(a.err) {
			return false
		}
	}
	return true
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}
