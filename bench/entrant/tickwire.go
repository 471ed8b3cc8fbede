package entrant

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/frame"

	"github.com/seed-7f57ff33/tickwire/bench/wire"
)

// tick is this module's package conn.
type tick struct {
	info     Info
	syscalls conn.Syscalls
	spin     time.Duration
	batch    bool // TakeBatch instead of ReadMessage
	loop     bool // Messages instead of ReadMessage
	noClock  bool // no keepalive pings
	http     bool // in net/http instead of on the accepted connection
	opens    bool // Dialer.OpenRecords
	blocking bool // Config.BlockingReads
}

func ticks() []Entrant {
	const calls = "conn.Dial, Upgrader.Accept, ReadMessage, WriteMessage, Group"
	all := []tick{
		{info: Info{Name: "tickwire", Calls: calls, Raw: true}},
		{info: Info{Name: "tickwire-batch", Calls: "TakeBatch, Batch.Release", In: []string{"decode", "feed"}}, batch: true},
		{info: Info{Name: "tickwire-messages", Calls: "Messages", In: []string{"decode", "feed"}}, loop: true},
		{info: Info{Name: "tickwire-prepared", Calls: "as tickwire, WritePrepared to one connection after the other", In: []string{"fanout"}}},
		{info: Info{Name: "tickwire-plain", Calls: "as tickwire, SyscallsPlain", In: []string{"feed"}}, syscalls: conn.SyscallsPlain},
		{info: Info{Name: "tickwire-raw", Calls: "as tickwire, SyscallsRaw", In: []string{"feed"}}, syscalls: conn.SyscallsRaw},
		{info: Info{Name: "tickwire-opens", Calls: "as tickwire, Dialer.OpenRecords", In: []string{"feed", "paced", "lines", "feed-languages"}, TLS: true}, opens: true},
		{info: Info{Name: "tickwire-spin", Calls: "as tickwire, Config.Spin of 50 µs", In: []string{"echo"}, Spin: true}, spin: 50 * time.Microsecond},
		{info: Info{Name: "tickwire-noclock", Calls: "as tickwire, KeepAlive off: no other library here has a clock by itself", In: []string{"echo", "paced", "echo-languages"}, Raw: true}, noClock: true},
		{info: Info{Name: "tickwire-http", Calls: "conn.Upgrade in a net/http handler", In: []string{"handshake", "idle"}}, http: true},
	}
	var entrants []Entrant
	for _, t := range all {
		t.info.Module, t.info.Check, t.info.Deflate = tickwireModule, "library", t.info.Name == "tickwire"
		if t.info.Name == "tickwire" {
			entrants = append(entrants, tickGroup{t})
		} else {
			entrants = append(entrants, t)
		}
	}
	return append(entrants, tickFrame{})
}

func (t tick) Info() Info { return t.info }

// config uses the defaults, except for what the scenario asks for. If the scenario does
// not check UTF-8, written text is not checked either, as with the others.
func (t tick) config(o Options) conn.Config {
	c := conn.Config{
		Frame:         frame.Options{SkipUTF8: !o.CheckUTF8},
		UncheckedText: !o.CheckUTF8,
		Syscalls:      t.syscalls,
		Spin:          t.spin,
		BlockingReads: t.blocking,
	}
	if t.noClock {
		c.KeepAlive = -1
	}
	if o.Deflate {
		c.Deflate = new(deflate.Config) // the zero value asks for context takeover
	}
	return c
}

func (t tick) Dial(o Options) (Conn, error) {
	config := t.config(o)
	if o.NetDial != nil { // a connection within the process: no Dialer
		nc, err := o.NetDial()
		if err != nil {
			return nil, err
		}
		if err := wire.Open(nc); err != nil {
			return nil, err
		}
		return t.over(conn.New(nc, frame.Client, &config)), nil
	}
	d := &conn.Dialer{TLSConfig: o.TLS, Config: config, OpenRecords: t.opens}
	c, err := d.Dial(context.Background(), o.URL)
	if err != nil {
		return nil, err
	}
	if i := c.TransportInfo(); t.opens && o.TLS != nil && !i.OpensRecords {
		c.Close()
		return nil, errors.New(i.Why)
	}
	return t.over(c), nil
}

func (t tick) Serve(l net.Listener, o Options, serve func(Conn)) error {
	u := &conn.Upgrader{Config: t.config(o)}
	if t.http {
		return serveHTTP(l, func(w http.ResponseWriter, r *http.Request) {
			if c, err := u.Upgrade(w, r); err == nil {
				handOver(t.over(c), serve)
			}
		})
	}
	for {
		nc, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			c, err := u.Accept(nc)
			if err != nil {
				return
			}
			serveHere(t.over(c), o, serve)
		}()
	}
}

func (t tick) over(c *conn.Conn) *tickConn { return &tickConn{c: c, batch: t.batch, loop: t.loop} }

// Broadcast prepares the message once.
func (tick) Broadcast(conns []Conn, p []byte) error {
	m, err := conn.Prepare(conn.Text, p)
	if err != nil {
		return err
	}
	for _, c := range conns {
		if err := c.(*tickConn).c.WritePrepared(m); err != nil {
			return err
		}
	}
	return nil
}

// tickGroup is tickwire with a Group for broadcasts: "It is the fastest way to do that"
// (Group).
type tickGroup struct{ tick }

// Gather makes a Group of the connections. The Group writes in its own goroutine.
func (tickGroup) Gather(conns []Conn) (func(p []byte) error, error) {
	g := new(conn.Group)
	for _, c := range conns {
		if err := g.Add(c.(*tickConn).c); err != nil {
			return nil, err
		}
	}
	return func(p []byte) error { return g.WriteMessage(conn.Text, p) }, nil
}

type tickConn struct {
	c     *conn.Conn
	batch bool
	loop  bool
	left  *conn.Batch // taken but not yet received
	used  int
	next  int
}

func (c *tickConn) Receive(n int, t *Tally) error {
	switch {
	case c.batch:
		return c.receiveBatches(n, t)
	case c.loop:
		return c.receiveLoop(n, t)
	}
	for range n {
		m, err := c.c.ReadMessage()
		if err != nil {
			return err
		}
		t.Take(m.Data)
	}
	return nil
}

func (c *tickConn) receiveLoop(n int, t *Tally) error {
	for m, err := range c.c.Messages() {
		if err != nil {
			return err
		}
		t.Take(m.Data)
		if n--; n == 0 {
			break
		}
	}
	return nil
}

// View reads one message.
func (c *tickConn) View(f func(p []byte)) error {
	m, err := c.c.ReadMessage()
	if err == nil {
		f(m.Data)
	}
	return err
}

func (c *tickConn) receiveBatches(n int, t *Tally) error {
	for n > 0 {
		if c.left == nil {
			b, err := c.c.TakeBatch()
			if err != nil {
				return err
			}
			c.left, c.used = b, 0
		}
		some := c.left.Messages[c.used:]
		some = some[:min(len(some), n)]
		for _, m := range some {
			t.Take(m.Data)
		}
		n -= len(some)
		if c.used += len(some); c.used == len(c.left.Messages) {
			c.left.Release()
			c.left = nil
		}
	}
	return nil
}

func (c *tickConn) Send(n int, messages [][]byte) error {
	for range n {
		if err := c.c.WriteMessage(conn.Text, messages[c.next]); err != nil {
			return err
		}
		if c.next++; c.next == len(messages) {
			c.next = 0
		}
	}
	return nil
}

func (c *tickConn) SendQueued(n int, messages [][]byte) error {
	for range n {
		if err := c.c.AppendMessage(conn.Text, messages[c.next]); err != nil {
			return err
		}
		if c.next++; c.next == len(messages) {
			c.next = 0
		}
	}
	return c.c.Flush()
}

func (c *tickConn) Echo() error {
	for {
		m, err := c.c.ReadMessage()
		if err != nil {
			return err
		}
		if err := c.c.WriteMessage(m.Opcode, m.Data); err != nil {
			return err
		}
	}
}

func (c *tickConn) Close() error { return c.c.Close() }

// tickFrame is tickwire's frame engine alone. The harness does the handshake.
type tickFrame struct{}

func (tickFrame) Info() Info {
	return Info{
		Name: "tickwire/frame", Module: tickwireModule, Raw: true, In: []string{"decode", "encode"},
		Calls: "frame.Reader.Next, frame.Writer.Write", Check: "library",
	}
}

func (tickFrame) Dial(o Options) (Conn, error) {
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, err
	}
	nc, err := o.netDial(u.Host)
	if err != nil {
		return nil, err
	}
	if err := wire.Open(nc); err != nil {
		return nil, err
	}
	return newTickFrameConn(nc, frame.Client, o), nil
}

func (tickFrame) Serve(l net.Listener, o Options, serve func(Conn)) error {
	for {
		nc, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer nc.Close()
			if wire.Answer(nc, false) == nil {
				serve(newTickFrameConn(nc, frame.Server, o))
			}
		}()
	}
}

type tickFrameConn struct {
	nc   net.Conn
	r    *frame.Reader
	w    *frame.Writer
	next int
}

func newTickFrameConn(nc net.Conn, role frame.Role, o Options) *tickFrameConn {
	return &tickFrameConn{nc: nc, r: frame.NewReader(nc, role, frame.Options{SkipUTF8: !o.CheckUTF8}), w: frame.NewWriter(nc, role)}
}

func (c *tickFrameConn) Receive(n int, t *Tally) error {
	for range n {
		m, err := c.r.Next()
		if err != nil {
			return err
		}
		t.Take(m.Data)
	}
	return nil
}

func (c *tickFrameConn) Send(n int, messages [][]byte) error {
	for range n {
		if err := c.w.Write(frame.Text, messages[c.next]); err != nil {
			return err
		}
		if c.next++; c.next == len(messages) {
			c.next = 0
		}
	}
	return nil
}

func (c *tickFrameConn) SendQueued(n int, messages [][]byte) error {
	for range n {
		if err := c.w.Append(frame.Text, messages[c.next]); err != nil {
			return err
		}
		if c.next++; c.next == len(messages) {
			c.next = 0
		}
	}
	return c.w.Flush()
}

func (c *tickFrameConn) Echo() error {
	for {
		m, err := c.r.Next()
		if err != nil {
			return err
		}
		if err := c.w.Write(frame.Text, m.Data); err != nil {
			return err
		}
	}
}

func (c *tickFrameConn) Close() error { return c.nc.Close() }
