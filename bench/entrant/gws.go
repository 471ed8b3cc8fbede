package entrant

import (
	"bufio"
	"io"
	"iter"
	"net"
	"net/http"

	"github.com/lxzan/gws"
)

// gwsLib is github.com/lxzan/gws. It delivers messages by callback from ReadLoop.
type gwsLib struct{}

func (gwsLib) Info() Info {
	return Info{
		Name: "gws", Module: "github.com/lxzan/gws", Deflate: true, Raw: true,
		Calls: "ReadLoop with OnMessage and Message.Close, WriteMessage, Broadcaster, Server.RunListener",
		Check: "library (CheckUtf8Enabled)",
	}
}

// gwsDeflate turns on context takeover in both directions, if the peer agrees.
func gwsDeflate(o Options) gws.PermessageDeflate {
	return gws.PermessageDeflate{Enabled: o.Deflate, ServerContextTakeover: o.Deflate, ClientContextTakeover: o.Deflate}
}

func (gwsLib) Dial(o Options) (Conn, error) {
	h := new(gwsHandler)
	c, _, err := gws.NewClient(h, &gws.ClientOption{
		Addr:              o.URL,
		ReadBufferSize:    ReadBuffer,
		CheckUtf8Enabled:  o.CheckUTF8,
		TlsConfig:         o.TLS,
		PermessageDeflate: gwsDeflate(o),
		NewDialer:         func() (gws.Dialer, error) { return gwsDialer(o), nil },
	})
	if err != nil {
		return nil, err
	}
	return &gwsConn{c: c, h: h}, nil
}

type gwsDialer Options

func (d gwsDialer) Dial(_, address string) (net.Conn, error) { return Options(d).netDial(address) }

// Serve uses the library's own server, without net/http.Server.
func (gwsLib) Serve(l net.Listener, o Options, serve func(Conn)) error {
	option := &gws.ServerOption{ReadBufferSize: ReadBuffer, CheckUtf8Enabled: o.CheckUTF8, PermessageDeflate: gwsDeflate(o)}
	if o.Lean {
		option.ReadBufferSize = leanBuffer
	}
	h := new(gwsHandler)
	s := gws.NewServer(h, option)
	s.OnError = func(net.Conn, error) {}
	s.OnRequest = func(nc net.Conn, br *bufio.Reader, r *http.Request) {
		c, err := s.GetUpgrader().UpgradeFromConn(nc, br, r)
		if err != nil {
			return
		}
		serveHere(&gwsConn{c: c, h: h}, o, serve)
	}
	// RunListener does not end: it accepts again after any error.
	once := &onceListener{Listener: l, ended: make(chan error)}
	go s.RunListener(once)
	return <-once.ended
}

// onceListener sends its first error to ended and never returns it.
type onceListener struct {
	net.Listener
	ended chan error
}

func (l *onceListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		l.ended <- err
		select {}
	}
	return c, nil
}

// Broadcast uses a Broadcaster, which frames the message once. It writes in one goroutine
// per connection.
func (gwsLib) Broadcast(conns []Conn, p []byte) error {
	b := gws.NewBroadcaster(gws.OpcodeText, p)
	defer b.Close()
	for _, c := range conns {
		if err := b.Broadcast(c.(*gwsConn).c); err != nil {
			return err
		}
	}
	return nil
}

// gwsHandler gets the messages of a client's one connection, or of all connections of a
// server. It echoes them, or counts those of the connection that has called Receive.
type gwsHandler struct {
	gws.BuiltinEventHandler
	tally *Tally
	view  func(p []byte) // gets each message instead of the tally
	left  int
	yield func(struct{}) bool
}

// OnMessage returns each message to the library's pool, as its examples do.
func (h *gwsHandler) OnMessage(c *gws.Conn, m *gws.Message) {
	if h.yield == nil {
		_ = c.WriteMessage(m.Opcode, m.Bytes())
		_ = m.Close()
		return
	}
	if h.tally != nil {
		h.tally.Take(m.Bytes())
	} else if h.view != nil {
		h.view(m.Bytes())
	}
	_ = m.Close()
	if h.left--; h.left == 0 && !h.yield(struct{}{}) {
		h.tally, h.view = nil, nil
	}
}

type gwsConn struct {
	c    *gws.Conn
	h    *gwsHandler
	turn func() (struct{}, bool)
	stop func()
	next int
}

// Receive runs ReadLoop as a coroutine, which the callback suspends after n messages.
// That costs a tenth of a microsecond for all n.
func (g *gwsConn) Receive(n int, t *Tally) error {
	g.h.tally, g.h.view, g.h.left = t, nil, n
	return g.resume()
}

// View reads one message.
func (g *gwsConn) View(f func(p []byte)) error {
	g.h.tally, g.h.view, g.h.left = nil, f, 1
	return g.resume()
}

// resume runs ReadLoop until all wanted messages have come.
func (g *gwsConn) resume() error {
	if g.turn == nil {
		g.turn, g.stop = iter.Pull(func(yield func(struct{}) bool) {
			g.h.yield = yield
			g.c.ReadLoop()
		})
	}
	if _, ok := g.turn(); !ok {
		return io.ErrUnexpectedEOF
	}
	return nil
}

func (g *gwsConn) Send(n int, messages [][]byte) error {
	for range n {
		if err := g.c.WriteMessage(gws.OpcodeText, messages[g.next]); err != nil {
			return err
		}
		if g.next++; g.next == len(messages) {
			g.next = 0
		}
	}
	return nil
}

func (g *gwsConn) Echo() error {
	g.c.ReadLoop()
	return io.EOF
}

func (g *gwsConn) Close() error {
	err := g.c.NetConn().Close()
	if g.stop != nil {
		g.h.tally, g.h.view, g.h.left = nil, nil, -1
		g.stop()
	}
	return err
}
