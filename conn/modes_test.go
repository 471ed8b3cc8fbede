package conn

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// A readMode is a way to read a connection, for the tests of what all of them promise.
type readMode struct {
	name string
	cfg  func(*Config)
	// start begins to read. next returns the next message, copied, or an error.
	start func(t *testing.T, c *Conn) (next func() (Message, error))
	// endless says that no call waits, so that Config.ReadTimeout is not for it.
	endless bool
}

var readModes = []readMode{
	{name: "ReadMessage", start: func(_ *testing.T, c *Conn) func() (Message, error) { return c.ReadMessage }},
	{name: "TryRead", endless: true, start: func(_ *testing.T, c *Conn) func() (Message, error) {
		return func() (Message, error) {
			for {
				if m, ok, err := c.TryRead(); ok || err != nil {
					return m, err
				}
				runtime.Gosched()
			}
		}
	}},
	{name: "BlockingReads", cfg: func(cfg *Config) { cfg.BlockingReads = true }, start: func(t *testing.T, c *Conn) func() (Message, error) {
		type result struct {
			m   Message
			err error
		}
		ask, results := make(chan struct{}), make(chan result)
		t.Cleanup(func() { close(ask) })
		go func() {
			runtime.LockOSThread()
			for range ask {
				m, err := c.ReadMessage()
				results <- result{m, err}
			}
		}()
		return func() (Message, error) {
			ask <- struct{}{}
			r := <-results
			return r.m, r.err
		}
	}},
	polled("Poller", &Poller{}),
	polled("Poller, spinning", &Poller{Spin: -1}),
	polled("Poller, spinning at first", &Poller{Spin: 100 * time.Microsecond}),
	polled("Poller, moderated", &Poller{Moderate: time.Millisecond}),
	polled("Poller, fed", &Poller{fedOnly: true}),
}

// stamps are what handlers of Pollers have seen of LastRead, by the connection.
var stamps sync.Map

// polled is to be read by a Poller.
func polled(name string, options *Poller) readMode {
	return readMode{name: name, start: func(t *testing.T, c *Conn) func() (Message, error) {
		type result struct {
			m   Message
			err error
		}
		results := make(chan result, 1000)
		p := &Poller{Spin: options.Spin, Moderate: options.Moderate, fedOnly: options.fedOnly}
		p.Handler = func(of *Conn, m Message) {
			if c.cfg.Timestamps {
				stamps.Store(c, c.LastRead())
			}
			if of != c {
				t.Error("a message of another connection")
			}
			results <- result{m: m.Clone()}
		}
		p.Failed = func(_ *Conn, err error) { results <- result{err: err} }
		run(t, p)
		if err := p.Add(c); err != nil {
			t.Fatal(err)
		}
		var last error
		return func() (Message, error) {
			if last != nil {
				return Message{}, last
			}
			r := <-results
			if errors.Is(r.err, net.ErrClosed) {
				last = r.err
			}
			return r.m, r.err
		}
	}}
}

// run has p run until the test has ended.
func run(t testing.TB, p *Poller) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != context.Canceled {
			t.Error(err)
		}
	})
}

// A carrier is what carries a connection of the tests.
type carrier struct {
	name                  string
	secure, opens, packed bool
}

var carriers = []carrier{{name: "plain"}, {name: "compressed", packed: true}, {name: "TLS", secure: true}, {name: "TLS, opened", secure: true, opens: true}, {name: "TLS, compressed", secure: true, packed: true}}

// farEnd is the peer of a connection over a socket, in raw frames: a server.
type farEnd struct {
	t    testing.TB
	nc   net.Conn
	sock *net.TCPConn
	r    *frame.Reader
}

// carried returns a client's connection and its peer.
func carried(t testing.TB, by carrier, cfg Config) (*Conn, *farEnd) {
	t.Helper()
	if cfg.KeepAlive == 0 {
		cfg.KeepAlive = -1
	}
	if by.packed {
		cfg.Deflate = &deflate.Config{}
		cfg = *cfg.with(deflate.Params{ServerMaxWindowBits: 15, ClientMaxWindowBits: 15})
	}
	a, b := loopback(t)
	far := &farEnd{t: t, nc: b, sock: b}
	var c *Conn
	if by.secure {
		serverTLS, clientTLS := testCertificate(t)
		clientTLS.ServerName = "localhost"
		server := tls.Server(b, serverTLS)
		far.nc = server
		shaken := make(chan error, 1)
		go func() { shaken <- server.Handshake() }()
		r := underTLS(a, &cfg)
		if by.opens {
			clientTLS = clientTLS.Clone()
			r.OpenLater(clientTLS)
		}
		client := tls.Client(r, clientTLS)
		if err := errors.Join(client.Handshake(), <-shaken, r.OpenNow(client)); err != nil {
			t.Fatal(err)
		}
		c = New(client, frame.Client, &cfg)
	} else {
		c = New(a, frame.Client, &cfg)
	}
	far.r = frame.NewReader(far.nc, frame.Server, frame.Options{Compression: by.packed})
	t.Cleanup(func() { b.Close(); c.Close() })
	return c, far
}

func (f *farEnd) send(pieces ...[]byte) {
	f.t.Helper()
	if _, err := f.nc.Write(bytes.Join(pieces, nil)); err != nil {
		f.t.Errorf("peer: %v", err)
	}
}

// dribble sends b in pieces of n bytes, each in a segment, and a record, of its own.
func (f *farEnd) dribble(b []byte, n int) {
	for len(b) > 0 {
		k := min(n, len(b))
		f.send(b[:k])
		b = b[k:]
		runtime.Gosched()
	}
}

func (f *farEnd) expect(op Opcode, payload string) {
	f.t.Helper()
	f.nc.SetReadDeadline(time.Now().Add(20 * time.Second))
	if m, err := f.r.Next(); err != nil || m.Opcode != op || string(m.Data) != payload {
		f.t.Errorf("peer got %v %.60q, %v; want %v %.60q", m.Opcode, m.Data, err, op, payload)
	}
}

func (f *farEnd) expectClose(code frame.CloseCode) {
	f.t.Helper()
	f.nc.SetReadDeadline(time.Now().Add(20 * time.Second))
	m, err := f.r.Next()
	if got, _, _ := frame.ParseClose(m.Data); err != nil || m.Opcode != frame.Close || got != code {
		f.t.Errorf("peer got %v %q, %v; want close %v", m.Opcode, m.Data, err, code)
	}
}

// message is a whole message of the peer's.
func message(op Opcode, payload string) []byte {
	return frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: op}, []byte(payload))
}

// fragments is a text message of the peer's in pieces.
func fragments(pieces ...string) (b []byte) {
	for i, piece := range pieces {
		h := frame.Header{Fin: i == len(pieces)-1, Opcode: Text}
		if i > 0 {
			h.Opcode = frame.Continuation
		}
		b = frame.AppendFrame(b, h, []byte(piece))
	}
	return b
}

// goodbye is the peer's Close.
func goodbye(code frame.CloseCode, reason string) []byte {
	body, err := frame.AppendClose(nil, frame.Server, code, reason)
	if err != nil {
		panic(err)
	}
	return message(frame.Close, string(body))
}

// errAsked is what Config.Control returns in the tests of modes.
var errAsked = errors.New("said by Control")

// A modeTest is what a connection promises, however it is read.
type modeTest struct {
	name  string
	cfg   Config
	waits bool // it is of a call that waits
	// with adds to cfg what belongs to one run.
	with func(t *testing.T, cfg *Config)
	run  func(t *testing.T, c *Conn, p *farEnd, next func() (Message, error))
}

func wantNext(t testing.TB, next func() (Message, error), op Opcode, data string) {
	t.Helper()
	if m, err := next(); err != nil || m.Opcode != op || string(m.Data) != data {
		t.Fatalf("got %v %.40q, %v; want %v %.40q", m.Opcode, m.Data, err, op, data)
	}
}

func wantEnd(t testing.TB, next func() (Message, error), target error) error {
	t.Helper()
	m, err := next()
	if !errors.Is(err, target) {
		t.Fatalf("got %v %.40q, %v; want %v", m.Opcode, m.Data, err, target)
	}
	return err
}

// wantGoodbye reads the end by Close frames.
func wantGoodbye(t testing.TB, next func() (Message, error), code, sent frame.CloseCode, local bool) {
	t.Helper()
	var e *CloseError
	if _, err := next(); !errors.As(err, &e) || e.Code != code || e.SentCode != sent || e.Local != local || e.Err != nil {
		t.Fatalf("got %v, want a close with %v, ours %v, local %v", err, code, sent, local)
	}
}

var modeTests = []modeTest{
	{name: "messages", run: func(t *testing.T, c *Conn, p *farEnd, next func() (Message, error)) {
		big := strings.Repeat("é", 40_000)
		fragments := bytes.Join([][]byte{
			frame.AppendFrame(nil, frame.Header{Opcode: Text}, []byte("frag")),
			message(frame.Ping, "between"),
			frame.AppendFrame(nil, frame.Header{Opcode: frame.Continuation}, []byte("men")),
			frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: frame.Continuation}, []byte("ted")),
		}, nil)
		go func() {
			p.send(message(Text, "one"), message(frame.Ping, "first"), message(Binary, ""), fragments)
			p.dribble(message(Text, "two, in pieces"), 1)
			p.dribble(fragments, 3)
			p.send(message(Text, big), message(Text, "last"))
		}()
		wantNext(t, next, Text, "one")
		wantNext(t, next, Binary, "")
		wantNext(t, next, Text, "fragmented")
		wantNext(t, next, Text, "two, in pieces")
		wantNext(t, next, Text, "fragmented")
		wantNext(t, next, Text, big)
		wantNext(t, next, Text, "last")
		s := c.Stats()
		if s.MessagesRead != 7 || s.PingsRead != 3 || c.compression == nil && s.BytesRead < uint64(len(big)) || s.Reads == 0 {
			t.Errorf("%+v", s)
		}
		if m, err := p.r.Next(); err != nil || m.Opcode != frame.Pong {
			t.Errorf("peer got %v %q, %v", m.Opcode, m.Data, err)
		}
	}},
	{name: "compressed", run: func(t *testing.T, c *Conn, p *farEnd, next func() (Message, error)) {
		if c.compression == nil {
			t.Skip("nothing is")
		}
		text := strings.Repeat("one two three ", 500)
		b := framed(Text, cutUp(packed(t, []byte(text)), 5)...)
		go func() {
			p.send(b, message(Text, "as it is"))
			p.dribble(b, 2)
		}()
		wantNext(t, next, Text, text)
		wantNext(t, next, Text, "as it is")
		wantNext(t, next, Text, text)
	}},
	{name: "what is echoed", run: func(t *testing.T, c *Conn, p *farEnd, next func() (Message, error)) {
		for i := range 50 {
			s := fmt.Sprint("message ", i)
			p.send(message(Text, s))
			wantNext(t, next, Text, s)
			if err := c.WriteMessage(Text, []byte("got "+s)); err != nil {
				t.Fatal(err)
			}
			if c.compression == nil {
				p.expect(Text, "got "+s)
			}
		}
	}},
	{name: "the peer closes", run: func(t *testing.T, c *Conn, p *farEnd, next func() (Message, error)) {
		p.send(message(Text, "last"), goodbye(frame.CodeGoingAway, "bye"), []byte("and more"))
		wantNext(t, next, Text, "last")
		wantGoodbye(t, next, frame.CodeGoingAway, frame.CodeGoingAway, false)
		p.expectClose(frame.CodeGoingAway)
		wantEnd(t, next, net.ErrClosed)
		if err := c.WriteMessage(Text, nil); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	}},
	{name: "StartClose", run: func(t *testing.T, c *Conn, p *farEnd, next func() (Message, error)) {
		if err := c.StartClose(frame.CodeNormal, ""); err != nil {
			t.Fatal(err)
		}
		p.expectClose(frame.CodeNormal)
		p.send(message(Text, "late"), goodbye(frame.CodeNormal, ""))
		wantNext(t, next, Text, "late")
		wantGoodbye(t, next, frame.CodeNormal, frame.CodeNormal, true)
	}},
	{name: "StartClose of the deaf", cfg: Config{CloseTimeout: 20 * time.Millisecond}, run: func(t *testing.T, c *Conn, p *farEnd, next func() (Message, error)) {
		if err := c.StartClose(frame.CodeNormal, ""); err != nil {
			t.Fatal(err)
		}
		_, err := next()
		wantClock(t, err, ClockClose)
	}},
	{name: "Shutdown", run: func(t *testing.T, c *Conn, p *farEnd, next func() (Message, error)) {
		p.send(message(Text, "before"))
		wantNext(t, next, Text, "before")
		done := make(chan error, 1)
		go func() { done <- c.Shutdown(context.Background(), frame.CodeNormal, "") }()
		p.expectClose(frame.CodeNormal)
		p.send(goodbye(frame.CodeNormal, ""))
		wantGoodbye(t, next, frame.CodeNormal, frame.CodeNormal, true)
		if err := <-done; err != nil {
			t.Error(err)
		}
	}},
	{name: "Shutdown, by its context", run: func(t *testing.T, c *Conn, p *farEnd, next func() (Message, error)) {
		ctx, cancel := context.WithCancelCause(context.Background())
		enough := errors.New("enough")
		done := make(chan error, 1)
		go func() { done <- c.Shutdown(ctx, frame.CodeNormal, "") }()
		p.expectClose(frame.CodeNormal)
		cancel(enough)
		_, err := next()
		wantClock(t, err, ClockClose)
		if e := <-done; !errors.Is(err, enough) || e != err {
			t.Error(err, e)
		}
	}},
	{name: "Shutdown, both at once", run: func(t *testing.T, c *Conn, p *farEnd, next func() (Message, error)) {
		p.send(message(Text, "before"))
		wantNext(t, next, Text, "before")
		done := make(chan error, 1)
		go func() { done <- c.Shutdown(context.Background(), frame.CodeNormal, "") }()
		p.expectClose(frame.CodeNormal)
		p.send(message(Text, "late"), message(frame.Ping, ""), goodbye(frame.CodeGoingAway, ""))
		m, err := next()
		if err == nil && string(m.Data) == "late" { // who read before Shutdown did may get it
			_, err = next()
		}
		var e *CloseError
		if !errors.As(err, &e) || e.Code != frame.CodeGoingAway || e.SentCode != frame.CodeNormal || !e.Local {
			t.Errorf("got %q, %v", m.Data, err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	}},
	{name: "Close", run: func(t *testing.T, c *Conn, p *farEnd, next func() (Message, error)) {
		go c.Close()
		wantEnd(t, next, ErrClosed)
		wantEnd(t, next, ErrClosed)
	}},
	{name: "Bind", run: func(t *testing.T, c *Conn, p *farEnd, next func() (Message, error)) {
		ctx, cancel := context.WithCancelCause(context.Background())
		c.Bind(ctx)
		cause := errors.New("enough")
		go cancel(cause)
		wantEnd(t, next, cause)
	}},
	{name: "Bind, when it has ended", run: func(t *testing.T, c *Conn, p *farEnd, next func() (Message, error)) {
		ctx, cancel := context.WithCancelCause(context.Background())
		cause := errors.New("long ago")
		cancel(cause)
		c.Bind(ctx)
		if err := wantEnd(t, next, cause); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}},
	{name: "read deadline", run: func(t *testing.T, c *Conn, p *farEnd, next func() (Message, error)) {
		whole := message(Text, "in two parts")
		p.send(whole[:5])
		for range 2 {
			c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
			_, err := next()
			wantTimeout(t, err)
		}
		c.SetReadDeadline(time.Time{})
		p.send(whole[5:])
		wantNext(t, next, Text, "in two parts")
		go c.SetReadDeadline(time.Unix(1, 0))
		_, err := next()
		wantTimeout(t, err)
		c.SetReadDeadline(time.Now().Add(time.Hour))
		p.send(message(Text, "then"))
		wantNext(t, next, Text, "then")
	}},
	{name: "ReadTimeout", cfg: Config{ReadTimeout: 20 * time.Millisecond}, waits: true, run: func(t *testing.T, c *Conn, p *farEnd, next func() (Message, error)) {
		for range 3 {
			if _, err := next(); err != errReadTimeout {
				t.Fatal(err)
			}
		}
		go p.send(message(Text, "then"))
		for {
			m, err := next()
			if err == nil && string(m.Data) == "then" {
				break
			}
			if err != errReadTimeout {
				t.Fatal(err)
			}
		}
	}},
	{name: "KeepAlive", cfg: Config{KeepAlive: 20 * time.Millisecond}, run: func(t *testing.T, c *Conn, p *farEnd, next func() (Message, error)) {
		_, err := next()
		wantClock(t, err, ClockTransport)
		p.r.Next() // the ping, as long as that can be read
	}},
	{name: "KeepAlive within a frame", cfg: Config{KeepAlive: 20 * time.Millisecond}, run: func(t *testing.T, c *Conn, p *farEnd, next func() (Message, error)) {
		p.send(message(Text, "never whole")[:5])
		_, err := next()
		wantClock(t, err, ClockTransport)
	}},
	{name: "KeepAlive with answers", cfg: Config{KeepAlive: 100 * time.Millisecond}, run: func(t *testing.T, c *Conn, p *farEnd, next func() (Message, error)) {
		got := make(chan struct{})
		go func() {
			defer close(got)
			for range 3 {
				m, err := p.r.Next()
				if err != nil || m.Opcode != frame.Ping {
					t.Error(m.Opcode, err)
					return
				}
				p.send(message(frame.Pong, string(m.Data)))
			}
			p.send(message(Text, "alive"))
		}()
		wantNext(t, next, Text, "alive")
		if s := c.Stats(); s.PongsRead != 3 {
			t.Errorf("%+v", s)
		}
		<-got
	}},
	{name: "DataTimeout", cfg: Config{DataTimeout: 20 * time.Millisecond}, run: func(t *testing.T, c *Conn, p *farEnd, next func() (Message, error)) {
		p.send(message(frame.Ping, "no data"))
		_, err := next()
		wantClock(t, err, ClockData)
	}},
	{name: "PongTimeout", cfg: Config{KeepAlive: 20 * time.Second, PongTimeout: 20 * time.Millisecond}, run: func(t *testing.T, c *Conn, p *farEnd, next func() (Message, error)) {
		go func() { // the clock of KeepAlive asks after half of it: here, who asks is Ping
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			if rtt, err := c.Ping(ctx); err != nil || rtt <= 0 {
				t.Error(rtt, err)
			}
			p.send(message(Text, "pinged"))
		}()
		go func() {
			if m, err := p.r.Next(); err == nil {
				p.send(message(frame.Pong, string(m.Data)))
			}
		}()
		wantNext(t, next, Text, "pinged")
	}},
	{name: "limit", cfg: Config{Frame: frame.Options{MaxMessage: 1000}}, run: func(t *testing.T, c *Conn, p *farEnd, next func() (Message, error)) {
		p.send(message(Text, "small"), message(Text, strings.Repeat("x", 1001)))
		wantNext(t, next, Text, "small")
		wantEnd(t, next, frame.ErrMessageTooLarge)
		p.expectClose(frame.CodeMessageTooBig)
	}},
	{name: "limit of a frame", cfg: Config{Frame: frame.Options{MaxFrame: 100}}, run: func(t *testing.T, c *Conn, p *farEnd, next func() (Message, error)) {
		p.send(message(Text, "small"), frame.AppendFrame(nil, frame.Header{Opcode: Text}, make([]byte, 101)))
		wantNext(t, next, Text, "small")
		wantEnd(t, next, frame.ErrFrameTooLarge)
		p.expectClose(frame.CodeMessageTooBig)
	}},
	{name: "limit of fragments", cfg: Config{Frame: frame.Options{MaxFragments: 3}}, run: func(t *testing.T, c *Conn, p *farEnd, next func() (Message, error)) {
		p.send(fragments("one ", "two ", "three"))
		wantNext(t, next, Text, "one two three")
		p.send(fragments("one ", "two ", "three ", "four"))
		wantEnd(t, next, frame.ErrTooManyFragments)
		p.expectClose(frame.CodeMessageTooBig)
	}},
	{name: "limit of what is inflated", cfg: Config{Frame: frame.Options{MaxMessage: 1000}}, run: func(t *testing.T, c *Conn, p *farEnd, next func() (Message, error)) {
		if c.compression == nil {
			t.Skip("nothing is")
		}
		p.send(framed(Text, packed(t, make([]byte, 1000))), framed(Text, packed(t, make([]byte, 1001))))
		wantNext(t, next, Text, string(make([]byte, 1000)))
		wantEnd(t, next, frame.ErrMessageTooLarge)
		p.expectClose(frame.CodeMessageTooBig)
	}},
	{name: "SetReadLimit", run: func(t *testing.T, c *Conn, p *farEnd, next func() (Message, error)) {
		p.send(message(Text, "as long as any"))
		wantNext(t, next, Text, "as long as any")
		c.SetReadLimit(5)
		p.send(message(Text, "short"), message(Text, "longer"))
		wantNext(t, next, Text, "short")
		wantEnd(t, next, frame.ErrMessageTooLarge)
		p.expectClose(frame.CodeMessageTooBig)
	}},
	{name: "Control", with: func(t *testing.T, cfg *Config) {
		cfg.Control = func(_ *Conn, op Opcode, payload []byte) (bool, error) { return string(payload) != "no", nil }
	}, run: func(t *testing.T, c *Conn, p *farEnd, next func() (Message, error)) {
		p.send(message(frame.Ping, "no"), message(frame.Ping, "yes"), message(Text, "one"))
		wantNext(t, next, Text, "one")
		p.expect(frame.Pong, "yes")
		p.send(message(Text, "two"), goodbye(frame.CodeGoingAway, ""))
		wantNext(t, next, Text, "two")
		wantGoodbye(t, next, frame.CodeGoingAway, frame.CodeGoingAway, false)
		p.expectClose(frame.CodeGoingAway)
	}},
	{name: "Control and a Close", with: func(t *testing.T, cfg *Config) {
		cfg.Control = func(*Conn, Opcode, []byte) (bool, error) { return true, errAsked }
	}, run: func(t *testing.T, c *Conn, p *farEnd, next func() (Message, error)) {
		p.send(message(Text, "one"), goodbye(frame.CodeGoingAway, ""))
		wantNext(t, next, Text, "one")
		if _, err := next(); err != errAsked {
			t.Error(err)
		}
		p.expectClose(frame.CodeGoingAway)
		var e *CloseError
		if err := c.Err(); !errors.As(err, &e) || e.SentCode != frame.CodeGoingAway {
			t.Error(err)
		}
	}},
	{name: "Control leaves a Close unanswered", with: func(t *testing.T, cfg *Config) {
		cfg.Control = func(*Conn, Opcode, []byte) (bool, error) { return false, nil }
	}, run: func(t *testing.T, c *Conn, p *farEnd, next func() (Message, error)) {
		p.send(goodbye(frame.CodeGoingAway, ""))
		wantGoodbye(t, next, frame.CodeGoingAway, frame.CodeAbnormal, false)
		if err := c.WriteMessage(Text, []byte("still")); err != nil {
			t.Error(err)
		}
		if err := c.StartClose(frame.CodeNormal, ""); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		if c.compression == nil {
			p.expect(Text, "still")
			p.expectClose(frame.CodeNormal)
		}
	}},
	{name: "Recorder", with: func(t *testing.T, cfg *Config) {
		var b bytes.Buffer
		r := NewRecorder(&b, 0)
		cfg.Recorder = r
		t.Cleanup(func() {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			var got []byte
			for _, rec := range readAll(t, b.Bytes()) {
				if rec.Kind == RecordData {
					got = append(got, rec.Data...)
				}
			}
			want := slices.Concat(message(Text, "one"), message(frame.Ping, ""), message(Text, "two"), goodbye(frame.CodeNormal, ""))
			if !bytes.Equal(got, want) {
				t.Errorf("recorded %q, want %q", got, want)
			}
		})
	}, run: func(t *testing.T, c *Conn, p *farEnd, next func() (Message, error)) {
		p.send(message(Text, "one"), message(frame.Ping, ""))
		wantNext(t, next, Text, "one")
		p.send(message(Text, "two"), goodbye(frame.CodeNormal, ""))
		wantNext(t, next, Text, "two")
		wantGoodbye(t, next, frame.CodeNormal, frame.CodeNormal, false)
	}},
	{name: "broken frame", run: func(t *testing.T, c *Conn, p *farEnd, next func() (Message, error)) {
		p.send(message(Text, "good"), []byte{0x83, 0})
		wantNext(t, next, Text, "good")
		var e *frame.ProtocolError
		if _, err := next(); !errors.As(err, &e) || e.Offset != 6 || !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v at %d", err, e.Offset)
		}
		p.expectClose(frame.CodeProtocolError)
	}},
	{name: "broken Close", cfg: Config{CloseTimeout: 50 * time.Millisecond}, run: func(t *testing.T, c *Conn, p *farEnd, next func() (Message, error)) {
		p.send([]byte{0x88, 0x7E, 0x00}) // too long, and never whole
		var e *frame.ProtocolError
		if _, err := next(); !errors.As(err, &e) {
			t.Error(err)
		}
		p.expectClose(frame.CodeProtocolError)
	}},
	{name: "the end within a frame", run: func(t *testing.T, c *Conn, p *farEnd, next func() (Message, error)) {
		p.send(message(Text, "whole"), message(Text, "half of it")[:5])
		p.sock.CloseWrite()
		wantNext(t, next, Text, "whole")
		_, err := next()
		wantTransport(t, err, io.ErrUnexpectedEOF)
	}},
	{name: "reset", run: func(t *testing.T, c *Conn, p *farEnd, next func() (Message, error)) {
		p.sock.SetLinger(0)
		p.sock.Close()
		var e *TransportError
		if _, err := next(); !errors.As(err, &e) || e.Op != "read" {
			t.Error(err)
		}
	}},
	{name: "write deadline within a frame", cfg: Config{CloseTimeout: 50 * time.Millisecond}, run: func(t *testing.T, c *Conn, p *farEnd, next func() (Message, error)) {
		c.base.(*net.TCPConn).SetWriteBuffer(4 << 10)
		p.sock.SetReadBuffer(4 << 10)
		big := make([]byte, 8<<20)
		for i := range big { // what does not deflate
			big[i] = byte(uint32(i*i) * 2654435761 >> 24)
		}
		go func() {
			for !c.transport.Counters().Writing {
				runtime.Gosched()
			}
			c.SetWriteDeadline(time.Unix(1, 0))
		}()
		if err := c.WriteMessage(Binary, big); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		p.send(message(Text, "what has come"))
		wantNext(t, next, Text, "what has come")
		wantEnd(t, next, os.ErrDeadlineExceeded)
		if c.Err() == nil {
			t.Error("it has not ended")
		}
	}},
	{name: "stamps", cfg: Config{Timestamps: true}, run: func(t *testing.T, c *Conn, p *farEnd, next func() (Message, error)) {
		p.send(message(Text, "stamped"))
		wantNext(t, next, Text, "stamped")
		var i ReadInfo
		if v, ok := stamps.LoadAndDelete(c); ok {
			i = v.(ReadInfo)
		} else {
			i = c.LastRead()
		}
		if runtime.GOOS == "linux" && c.transport.Info() != nil && (i.Bytes == 0 || i.User.IsZero() || i.Backlog != 0) {
			t.Errorf("%+v", i)
		}
	}},
}

// What a Conn promises holds in every way to read it, over all that can carry it.
func TestReadModes(t *testing.T) {
	for i, by := range carriers {
		if testing.Short() && i%3 != 0 { // plain, and TLS whose records are opened
			continue
		}
		for _, mode := range readModes {
			for _, tt := range modeTests {
				t.Run(by.name+"/"+mode.name+"/"+tt.name, func(t *testing.T) {
					if mode.endless && tt.waits {
						t.Skip("no call waits")
					}
					cfg := tt.cfg
					if mode.cfg != nil {
						mode.cfg(&cfg)
					}
					if tt.with != nil {
						tt.with(t, &cfg)
					}
					c, p := carried(t, by, cfg)
					watch := time.AfterFunc(60*time.Second, func() { debug.SetTraceback("all"); panic("stuck in " + t.Name()) })
					defer watch.Stop()
					tt.run(t, c, p, mode.start(t, c))
				})
			}
		}
	}
}
