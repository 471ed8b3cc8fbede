package fuzz_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/asm"
	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/frame/buffer"
	"github.com/seed-7f57ff33/tickwire/handshake"
	"github.com/seed-7f57ff33/tickwire/mask"
	"github.com/seed-7f57ff33/tickwire/utf8"
)

// The results of a call with a nil: no error, an error with a text, or a panic. A panic
// in another goroutine ends the test.
const (
	fine   = ""
	panics = "panics"
)

// nilCall is a call with a nil argument, or with a nil in a field.
type nilCall struct {
	name string
	want string
	call func() error
}

// none wraps a call that returns nothing.
func none(call func()) func() error { return func() error { call(); return nil } }

// second returns the error of a call with another result.
func second[T any](_ T, err error) error { return err }

// try makes the calls one after the other. After each, ok checks that nothing is locked
// or broken.
func try(t *testing.T, calls []nilCall, ok func() error) {
	t.Helper()
	for _, c := range calls {
		got := make(chan string, 1)
		go func() {
			defer func() {
				if v := recover(); v != nil {
					got <- panics
				}
			}()
			if err := c.call(); err != nil {
				got <- "error: " + err.Error()
				return
			}
			got <- fine
		}()
		select {
		case got := <-got:
			if got != c.want && (c.want == fine || c.want == panics || !strings.Contains(got, "error: ") || !strings.Contains(got, c.want)) {
				t.Errorf("%s: %q, want %q", c.name, got, c.want)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%s hangs", c.name)
		}
		if ok == nil {
			continue
		}
		after := make(chan error, 1)
		go func() { after <- ok() }()
		select {
		case err := <-after:
			if err != nil {
				t.Fatalf("after %s: %v", c.name, err)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("after %s nothing goes on", c.name)
		}
	}
}

// echo serves connections on loopback until the test ends.
func echo(t *testing.T, config conn.Config) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &conn.Server{Upgrader: conn.Upgrader{Config: config}, Handler: func(c *conn.Conn) {
		for m, err := range c.Messages() {
			if err != nil || c.WriteMessage(m.Opcode, m.Data) != nil {
				return
			}
		}
	}}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return "ws://" + l.Addr().String() + "/"
}

// dialed returns a connection to an echo server, and a function that has a message
// echoed.
func dialed(t *testing.T, d *conn.Dialer, url string) (*conn.Conn, func() error) {
	t.Helper()
	c, err := d.Dial(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	n := 0
	return c, func() error {
		n++
		want := fmt.Sprintf("message %d", n)
		if err := c.WriteMessage(conn.Text, []byte(want)); err != nil {
			return err
		}
		for m, err := range c.Messages() {
			if err != nil {
				return err
			}
			if string(m.Data) == want { // what the call has written may come before it
				return nil
			}
		}
		return io.ErrUnexpectedEOF
	}
}

// nothing is a listener whose Accept returns nil and no error.
type nothing struct{ net.Listener }

func (nothing) Accept() (net.Conn, error) { return nil, nil }
func (nothing) Close() error              { return nil }

// A nil that cannot be used causes an error or a panic in the caller's goroutine. It
// never causes a panic in a goroutine of the library, nor a call that does not return.
func TestNilInConn(t *testing.T) {
	ctx, noContext := t.Context(), context.Context(nil)
	at := echo(t, conn.Config{})
	c, echoed := dialed(t, new(conn.Dialer), at)
	packed, echoedPacked := dialed(t, &conn.Dialer{Config: conn.Config{Deflate: new(deflate.Config)}}, echo(t, conn.Config{Deflate: new(deflate.Config)}))
	ofConn := func(c *conn.Conn) []nilCall {
		return []nilCall{
			{"Conn.Ping", panics, func() error { return second(c.Ping(noContext)) }},
			{"Conn.Shutdown", panics, func() error { return c.Shutdown(noContext, frame.CodeNormal, "") }},
			{"Conn.Bind", panics, none(func() { c.Bind(noContext) })},
			{"Conn.WritePrepared", panics, func() error { return c.WritePrepared(nil) }},
			{"Conn.WritePrepared of a zero one", panics, func() error { return c.WritePrepared(new(conn.Prepared)) }},
			{"Conn.WriteMessage", fine, func() error { return c.WriteMessage(conn.Text, nil) }},
			{"Conn.AppendMessage", fine, func() error { return c.AppendMessage(conn.Binary, nil) }},
			{"Conn.WriteUncompressed", fine, func() error { return c.WriteUncompressed(conn.Text, nil) }},
			{"Conn.WriteOwned", "opcode", func() error { return c.WriteOwned(conn.Text, nil) }},
			{"Conn.NextWriter", fine, func() error {
				w, err := c.NextWriter(conn.Text)
				if err == nil {
					_, err = w.Write(nil)
				}
				return errors.Join(err, w.Close())
			}},
		}
	}
	try(t, ofConn(c), echoed)
	try(t, ofConn(packed), echoedPacked)

	dial := func(d conn.Dialer, url string) func() error {
		return func() error {
			c, err := d.Dial(ctx, url)
			if err == nil {
				c.Close()
			}
			return err
		}
	}
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	noReader, noFile, noBuffer := io.Reader(nil), (*os.File)(nil), (*bytes.Buffer)(nil)
	options := conn.SocketOptions{Nagle: true}
	try(t, []nilCall{
		{"New for a client", panics, none(func() { conn.New(nil, frame.Client, nil) })},
		{"New for a server", panics, none(func() { conn.New(nil, frame.Server, &conn.Config{}) })},
		{"New of a nil *tls.Conn", panics, none(func() { conn.New((*tls.Conn)(nil), frame.Client, nil) })},
		{"Dial", panics, func() error { return second(conn.Dial(noContext, at)) }},
		{"Dialer.Dial without a timeout", panics, func() error { return second((&conn.Dialer{HandshakeTimeout: -1}).Dial(noContext, at)) }},
		{"a nil Dialer", panics, func() error { return second((*conn.Dialer)(nil).Dial(ctx, at)) }},
		{"Dial of nothing", "URL", func() error { return second(conn.Dial(ctx, "")) }},
		{"NetDial returns nothing", "neither", dial(conn.Dialer{NetDial: func(context.Context, string, string) (net.Conn, error) { return nil, nil }}, at)},
		{"WrapTLS returns nothing", "neither", dial(conn.Dialer{WrapTLS: func(context.Context, net.Conn, conn.TLSHost) (net.Conn, error) { return nil, nil }}, "wss"+at[2:])},
		{"Proxy returns nothing", fine, dial(conn.Dialer{Proxy: func(*http.Request) (*url.URL, error) { return nil, nil }}, at)},
		{"HeaderFunc returns nothing", fine, dial(conn.Dialer{HeaderFunc: func(context.Context, *handshake.URL) (http.Header, error) { return nil, nil }}, at)},
		{"a header without values", fine, dial(conn.Dialer{Header: http.Header{"X-None": nil}}, at)},
		{"Accept", "neither", func() error { return second(new(conn.Upgrader).Accept(nil)) }},
		{"Upgrade", panics, func() error { return second(conn.Upgrade(nil, nil)) }},
		{"Upgrade without a request", panics, func() error { return second(conn.Upgrade(httptest.NewRecorder(), nil)) }},
		{"Upgrade without a ResponseWriter", panics, func() error { return second(conn.Upgrade(nil, request)) }},
		{"UnderTLS", panics, none(func() { conn.UnderTLS(nil, nil) })},
		{"UnderTLS over nothing", "neither", func() error { return second(conn.UnderTLS(nothing{}, nil).Accept()) }},
		{"SocketOptions.Set", "unsupported", func() error { return options.Set(nil) }},
		{"SocketOptions.Set of none", fine, func() error { return new(conn.SocketOptions).Set(nil) }},
		{"Prepare", fine, func() error { return second(conn.Prepare(conn.Text, nil)) }},
		{"CloseCode", fine, none(func() { conn.CloseCode(nil) })},
		{"NewRecorder", panics, none(func() { conn.NewRecorder(nil, 0) })},
		{"NewRecorder of a nil *bytes.Buffer", "panicked", func() error { return conn.NewRecorder(noBuffer, 0).Close() }},
		{"NewRecorder of a nil *os.File", "invalid", func() error { return conn.NewRecorder(noFile, 0).Close() }},
		{"a zero Recorder", "NewRecorder has not made", new(conn.Recorder).Close},
		{"a connection with a zero Recorder", fine, dial(conn.Dialer{Config: conn.Config{Recorder: new(conn.Recorder)}}, at)},
		{"ReadRecording", "no reader", func() error { return second(conn.ReadRecording(noReader)) }},
		{"ReadRecording of a nil *os.File", "invalid", func() error { return second(conn.ReadRecording(noFile)) }},
		{"a zero Recording", panics, func() error { return second(new(conn.Recording).Next()) }},
	}, echoed)
}

func TestNilInServer(t *testing.T) {
	serve := func(s *conn.Server) (url string, served <-chan error) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- s.Serve(l) }()
		return "ws://" + l.Addr().String() + "/", done
	}
	bare := new(conn.Server) // without Handler and OnError
	at, served := serve(bare)
	blocked := make(chan struct{})
	busy := &conn.Server{Handler: func(*conn.Conn) { <-blocked }}
	busyAt, busyServed := serve(busy)
	c, err := conn.Dial(t.Context(), busyAt)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for busy.Len() == 0 {
		time.Sleep(time.Millisecond)
	}
	try(t, []nilCall{
		{"Serve", "without a listener", func() error { return new(conn.Server).Serve(nil) }},
		{"Serve of a listener that accepts nothing", "neither", func() error { return new(conn.Server).Serve(nothing{}) }},
		{"ServeHTTP", panics, none(func() { new(conn.Server).ServeHTTP(nil, nil) })},
		{"no Handler", "EOF", func() error {
			c, err := conn.Dial(t.Context(), at)
			if err == nil {
				_, err = c.ReadMessage()
			}
			return err
		}},
		{"no OnError", "EOF", func() error { // an invalid request
			nc, err := net.Dial("tcp", at[len("ws://"):len(at)-1])
			if err != nil {
				return err
			}
			defer nc.Close()
			nc.(*net.TCPConn).CloseWrite()
			return second(nc.Read(make([]byte, 1)))
		}},
		{"Server.Shutdown", panics, func() error { return busy.Shutdown(context.Context(nil)) }},
	}, func() error { return c.WriteMessage(conn.Text, nil) })
	close(blocked)
	if err := errors.Join(bare.Close(), busy.Close()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != conn.ErrServerClosed {
		t.Error(err)
	}
	if err := <-busyServed; err != conn.ErrServerClosed {
		t.Error(err)
	}
}

func TestNilInGroup(t *testing.T) {
	for name, packed := range map[string]*deflate.Config{"plain": nil, "compressed": {Threshold: 1}} {
		t.Run(name, func(t *testing.T) {
			var g conn.Group
			calls := []nilCall{
				{"Group.Add", panics, func() error { return g.Add(nil) }},
				{"Group.Remove", fine, none(func() { g.Remove(nil) })},
				{"Group.WriteMessage", fine, func() error { return g.WriteMessage(conn.Text, nil) }},
				{"Group.WritePrepared", panics, func() error { return g.WritePrepared(nil) }},
				{"Group.WritePrepared of a zero one", panics, func() error { return g.WritePrepared(new(conn.Prepared)) }},
				{"Group.Flush", panics, func() error { return g.Flush(context.Context(nil)) }},
			}
			try(t, calls, func() error { return g.Flush(t.Context()) }) // without members
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			in := make(chan error)
			s := &conn.Server{Upgrader: conn.Upgrader{Config: conn.Config{Deflate: packed}}, Handler: func(c *conn.Conn) {
				in <- g.Add(c)
				c.ReadMessage()
			}}
			go s.Serve(l)
			defer s.Close()
			c, err := (&conn.Dialer{Config: conn.Config{Deflate: packed}}).Dial(t.Context(), "ws://"+l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := <-in; err != nil {
				t.Fatal(err)
			}
			n := 0
			try(t, calls, func() error {
				n++
				want := fmt.Sprintf("message %d", n)
				if err := g.WriteMessage(conn.Text, []byte(want)); err != nil {
					return err
				}
				for m, err := range c.Messages() {
					if err != nil || string(m.Data) == want {
						return err
					}
				}
				return io.ErrUnexpectedEOF
			})
		})
	}
}

func TestNilInRedial(t *testing.T) {
	ctx, noContext := t.Context(), context.Context(nil)
	at := echo(t, conn.Config{})
	dials := 0
	client := &redial.Client{URL: at, Dialer: &conn.Dialer{NetDial: func(context.Context, string, string) (net.Conn, error) {
		dials++
		return nil, errors.New("not wanted")
	}}}
	handler := func(context.Context, redial.Message) error { return nil }
	stop := errors.New("enough")
	fatal := func(error) redial.Decision { return redial.Decision{} }
	try(t, []nilCall{
		{"Run without a handler", "redial: no handler", func() error { return client.Run(ctx, nil) }},
		{"Run without a context", panics, func() error { return client.Run(noContext, handler) }},
		{"Messages without a context", panics, none(func() {
			for range client.Messages(noContext) {
			}
		})},
		{"Run without anything", redial.ErrNoURL.Error(), func() error { return new(redial.Client).Run(ctx, handler) }},
		{"Send without a run", redial.ErrStopped.Error(), func() error { return client.Send(noContext, conn.Text, nil) }},
		{"a nil Limiter", fine, func() error { return (*redial.Limiter)(nil).Wait(ctx) }},
		{"Limiter.Wait", panics, func() error { return new(redial.Limiter).Wait(noContext) }},
		{"Fatal", fine, func() error { return redial.Fatal(nil) }},
		{"Classify", fine, none(func() { redial.Strict.Classify(nil) })},
		{"OnConnect returns Fatal(nil), an empty LifeSign, no Dialer", stop.Error(), func() error {
			c := &redial.Client{URL: at, LifeSign: new(redial.LifeSign), OnConnect: func(_ context.Context, s *redial.Session) error {
				return redial.Fatal(s.Conn.WriteMessage(conn.Text, nil))
			}}
			return c.Run(ctx, func(context.Context, redial.Message) error { return stop })
		}},
		{"a LifeSign that only expects", stop.Error(), func() error {
			c := &redial.Client{URL: at, LifeSign: &redial.LifeSign{Every: time.Millisecond, Timeout: time.Minute}}
			go c.Run(ctx, func(context.Context, redial.Message) error { return stop })
			for {
				if err := c.Send(ctx, conn.Text, nil); err == nil {
					return stop
				} else if err != redial.ErrStopped {
					return err
				}
			}
		}},
		{"a hook that returns nothing", "neither", func() error {
			c := &redial.Client{URL: at, Classify: fatal, Dialer: &conn.Dialer{NetDial: func(context.Context, string, string) (net.Conn, error) { return nil, nil }}}
			return c.Run(ctx, handler)
		}},
	}, nil)
	if dials != 0 {
		t.Errorf("%d dials for runs that cannot begin", dials)
	}
}

// These have no goroutines: a nil that cannot be used panics in the caller.
func TestNilInFrames(t *testing.T) {
	var b frame.Batch
	try(t, []nilCall{
		{"NewReader", panics, func() error { return second(frame.NewReader(nil, frame.Client, frame.Options{}).Next()) }},
		{"NewWriter", panics, func() error { return frame.NewWriter(nil, frame.Client).Write(frame.Text, []byte("x")) }},
		{"Writer.AppendPrepared", panics, func() error { return frame.NewWriter(io.Discard, frame.Client).AppendPrepared(nil) }},
		{"Writer.WritePrepared", panics, func() error { return frame.NewWriter(io.Discard, frame.Server).WritePrepared(nil) }},
		{"Writer.WriteOwned", "opcode", func() error { return frame.NewWriter(io.Discard, frame.Client).WriteOwned(frame.Text, nil) }},
		{"Writer.Write", fine, func() error { return frame.NewWriter(io.Discard, frame.Client).Write(frame.Text, nil) }},
		{"Prepare", fine, func() error { return second(frame.Prepare(frame.Text, nil, false)) }},
		{"Decoder.Next", fine, none(func() { frame.NewDecoder(frame.Client, frame.Options{}).Next(nil) })},
		{"ParseHeader", fine, none(func() { frame.ParseHeader(nil) })},
		{"ParseClose", fine, func() error { _, _, err := frame.ParseClose(nil); return err }},
		{"AppendFrame", fine, none(func() { frame.AppendFrame(nil, frame.Header{}, nil) })},
		{"Batch", fine, none(func() { b.Own(nil); b.Release(); b.Release() })},
		{"buffer.Put", fine, none(func() { buffer.Put(nil) })},
		{"deflate.AppendMessage", fine, func() error { return second(deflate.AppendMessage(nil, nil, 15, 1)) }},
		{"deflate.Config.Choose", fine, none(func() { new(deflate.Config).Choose(nil) })},
		{"deflate.Config.Accept", fine, func() error { _, _, err := new(deflate.Config).Accept(nil); return err }},
		{"a nil deflate.Config", panics, func() error { return (*deflate.Config)(nil).Check() }},
		{"Deflater.Append", fine, func() error {
			d, err := deflate.NewDeflater(deflate.DeflateOptions{})
			if err == nil {
				d.Append(nil, nil, true)
				d.Close()
			}
			return err
		}},
		{"Inflater.Message", "message", func() error {
			i, err := deflate.NewInflater(deflate.InflateOptions{})
			if err == nil {
				_, err = i.Message(nil, true)
				i.Close()
			}
			return err
		}},
	}, nil)
}

func TestNilInHandshakes(t *testing.T) {
	try(t, []nilCall{
		{"AppendRequest", panics, func() error { return second(handshake.AppendRequest(nil, nil)) }},
		{"AppendResponse", "Sec-WebSocket-Key", func() error { return second(handshake.AppendResponse(nil, "", nil)) }},
		{"AppendResponse with a key", panics, func() error { return second(handshake.AppendResponse(nil, "dGhlIHNhbXBsZSBub25jZQ==", nil)) }},
		{"AppendError", panics, none(func() { handshake.AppendError(nil, nil) })},
		{"AppendExtensions", fine, func() error { return second(handshake.AppendExtensions(nil, nil)) }},
		{"ParseRequest", panics, func() error { return second(handshake.ParseRequest(nil, nil)) }},
		{"ParseRequest of nothing", fine, func() error { return second(handshake.ParseRequest(new(handshake.RequestView), nil)) }},
		{"ParseResponse", panics, func() error { return second(handshake.ParseResponse(nil, nil, nil)) }},
		{"ParseResponse of nothing", fine, func() error {
			return second(handshake.ParseResponse(new(handshake.Response), new(handshake.Request), nil))
		}},
		{"ParseExtensions", "malformed", func() error { return second(handshake.ParseExtensions(nil, "")) }},
		{"ParseURL", "URL", func() error { return second(handshake.ParseURL("")) }},
		{"CheckOrigin", panics, func() error { return handshake.CheckOrigin(nil, false, nil) }},
		{"MatchOrigin", fine, none(func() { handshake.MatchOrigin("", []byte(nil)) })},
		{"a zero RequestView", fine, none(func() {
			v := new(handshake.RequestView)
			v.Header("Host")
			v.Offered("")
			v.Subprotocol(nil)
			v.Extensions(nil)
			v.Reset()
		})},
		{"a nil URL", panics, none(func() { _ = (*handshake.URL)(nil).String() })},
	}, nil)
}

func TestNilInKernels(t *testing.T) {
	try(t, []nilCall{
		{"mask.XOR", fine, none(func() { mask.XOR(nil, 1) })},
		{"mask.Copy", fine, none(func() { mask.Copy(nil, nil, 1) })},
		{"a zero mask.Source", fine, none(func() { new(mask.Source).Next() })},
		{"utf8.Valid", fine, none(func() { utf8.Valid(nil) })},
		{"utf8.Unmask", fine, none(func() { utf8.Unmask(nil, 1) })},
		{"a zero utf8.Validator", fine, none(func() {
			v := new(utf8.Validator)
			v.Push(nil)
			v.Unmask(nil, 1)
			v.Done()
		})},
		{"asm.Follow", panics, none(func() { asm.Follow(nil) })},
	}, nil)
}
