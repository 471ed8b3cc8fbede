package entrant

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
)

// A Tripper is a Conn that reads in a loop of its library. It makes round trips from
// within that loop.
type Tripper interface {
	Conn
	// Trips calls next, and again after each message, until next returns false or an
	// error.
	Trips(next func() (more bool, err error)) error
}

// Trips makes round trips on c: in its loop if it has one, otherwise with Receive.
func Trips(c Conn, next func() (more bool, err error)) error {
	if t, ok := c.(Tripper); ok {
		return t.Trips(next)
	}
	var t Tally
	for {
		if more, err := next(); err != nil || !more {
			return err
		}
		if err := c.Receive(1, &t); err != nil {
			return err
		}
	}
}

// A LineReader is an Entrant that reads many connections in one loop. Other entrants use
// one goroutine per connection.
type LineReader interface {
	Entrant
	// ReadLines calls view with each message of any connection, until view returns false.
	ReadLines(conns []Conn, view func(p []byte) (more bool)) error
}

// moderate is the delay of the poller that gathers: it reads together what arrives within
// this time.
const moderate = time.Millisecond

// waiters returns the entrants that do not wait with the Go runtime's poller.
func waiters() []Entrant {
	in := []string{"echo", "lines", "echo-languages"}
	const one = "as tickwire, Add to one Poller that reads all connections"
	info := func(name, calls string) Info {
		return Info{Name: name, Module: tickwireModule, Calls: calls, Check: "library", In: in}
	}
	blocking := tickBlocking{tick{info: info("tickwire-blocking", "as tickwire, Config.BlockingReads, each reader on a thread of its own"), blocking: true}}
	poller := tickPoller{tick: tick{info: info("tickwire-poller", one)}}
	opens := tickPoller{tick: tick{info: info("tickwire-poller-opens", one+"; Dialer.OpenRecords"), opens: true}}
	opens.info.TLS, opens.info.In = true, []string{"lines"}
	spin := tickPoller{tick: tick{info: info("tickwire-poller-spin", one+"; Spin without end")}, spin: -1}
	spin.info.Spin = true
	gather := tickPoller{tick: tick{info: info("tickwire-poller-moderated", one+"; Moderate of 1 ms")}, moderate: moderate}
	gather.info.In = []string{"lines"}
	return []Entrant{blocking, poller, opens, spin, gather}
}

// tickBlocking is tickwire with Config.BlockingReads.
type tickBlocking struct{ tick }

func (t tickBlocking) Dial(o Options) (Conn, error) {
	c, err := t.tick.Dial(o)
	if err != nil {
		return nil, err
	}
	return &blockingConn{tickConn: c.(*tickConn)}, nil
}

func (t tickBlocking) Serve(l net.Listener, o Options, serve func(Conn)) error {
	return t.tick.Serve(l, o, func(c Conn) { serve(&blockingConn{tickConn: c.(*tickConn)}) })
}

// blockingConn locks the reading goroutine to a thread: "It is for one line whose reader
// has called runtime.LockOSThread" (Config.BlockingReads).
type blockingConn struct {
	*tickConn
	locked bool
}

func (c *blockingConn) lock() {
	if !c.locked {
		runtime.LockOSThread()
		c.locked = true
	}
}

func (c *blockingConn) Receive(n int, t *Tally) error {
	c.lock()
	return c.tickConn.Receive(n, t)
}

func (c *blockingConn) View(f func(p []byte)) error {
	c.lock()
	return c.tickConn.View(f)
}

func (c *blockingConn) Echo() error {
	c.lock()
	return c.tickConn.Echo()
}

// tickPoller is tickwire with a conn.Poller.
type tickPoller struct {
	tick
	spin, moderate time.Duration
}

func (t tickPoller) Dial(o Options) (Conn, error) {
	c, err := t.tick.Dial(o)
	if err != nil {
		return nil, err
	}
	return t.polled(c), nil
}

func (t tickPoller) Serve(l net.Listener, o Options, serve func(Conn)) error {
	return t.tick.Serve(l, o, func(c Conn) { serve(t.polled(c)) })
}

func (t tickPoller) polled(c Conn) *polledConn {
	return &polledConn{tickConn: c.(*tickConn), of: t}
}

// read makes a Poller read conns, until handle returns false or an error, or a connection
// fails.
func (t tickPoller) read(conns []*conn.Conn, handle func(c *conn.Conn, m conn.Message) (more bool, err error)) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	over, ended := errors.New("over"), false
	p := &conn.Poller{Spin: t.spin, Moderate: t.moderate}
	p.Handler = func(c *conn.Conn, m conn.Message) {
		if ended { // and Run does not know it yet
			return
		}
		if more, err := handle(c, m); err != nil {
			ended = true
			cancel(err)
		} else if !more {
			ended = true
			cancel(over)
		}
	}
	p.Failed = func(_ *conn.Conn, err error) {
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			cancel(err)
		}
	}
	for _, c := range conns {
		if err := p.Add(c); err != nil {
			return err
		}
	}
	if err := p.Run(ctx); err != over {
		return err
	}
	return nil
}

// ReadLines makes one Poller read all connections.
func (t tickPoller) ReadLines(conns []Conn, view func(p []byte) (more bool)) error {
	var all []*conn.Conn
	for _, c := range conns {
		all = append(all, c.(*polledConn).c)
	}
	return t.read(all, func(_ *conn.Conn, m conn.Message) (bool, error) { return view(m.Data), nil })
}

// polledConn is a connection that a Poller reads, alone or with others.
type polledConn struct {
	*tickConn
	of tickPoller
}

// Trips writes in the handler: "Handler may write to any Conn" (Poller).
func (c *polledConn) Trips(next func() (more bool, err error)) error {
	if more, err := next(); err != nil || !more {
		return err
	}
	return c.of.read([]*conn.Conn{c.c}, func(*conn.Conn, conn.Message) (bool, error) { return next() })
}

func (c *polledConn) Echo() error {
	return c.of.read([]*conn.Conn{c.c}, func(c *conn.Conn, m conn.Message) (bool, error) {
		return true, c.WriteMessage(m.Opcode, m.Data)
	})
}
