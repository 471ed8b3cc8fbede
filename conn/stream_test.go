package conn

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/frame/buffer/buffertest"
)

// streamPair is two ends of a connection over loopback, opened by Dialer and Upgrader.
func streamPair(t *testing.T, op Opcode, secure bool, z *deflate.Config) (client, server *Stream) {
	t.Helper()
	serverTLS, clientTLS := testCertificate(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan *Conn, 1)
	s := &Server{Upgrader: Upgrader{Config: Config{Deflate: z}}, Handler: func(c *Conn) { got <- c; <-c.Done() }}
	url := "ws://" + l.Addr().String()
	if secure {
		url = "wss" + strings.TrimPrefix(url, "ws")
		go s.Serve(tls.NewListener(UnderTLS(l, nil), serverTLS))
	} else {
		go s.Serve(l)
	}
	t.Cleanup(func() { s.Close() })
	c, err := (&Dialer{TLSConfig: clientTLS, Config: Config{Deflate: z}}).Dial(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return NewStream(c, op), NewStream(<-got, op)
}

// What is written on one end in pieces of any size comes out on the other in order and
// whole, both ways at once, and then the end.
func TestStreamCarriesAllBytes(t *testing.T) {
	z := &deflate.Config{Threshold: -1}
	for name, tt := range map[string]struct {
		op     Opcode
		secure bool
		z      *deflate.Config
	}{"binary": {Binary, false, nil}, "text": {Text, false, nil}, "TLS": {Binary, true, nil}, "compressed": {Binary, false, z}, "text, compressed, TLS": {Text, true, z}} {
		t.Run(name, func(t *testing.T) {
			a, b := streamPair(t, tt.op, tt.secure, tt.z)
			want := []byte(strings.Repeat("aé€😀 ", 40_000))
			if tt.op == Binary {
				for i := range want {
					want[i] = byte(rand.Uint32())
				}
			}
			var all sync.WaitGroup
			for _, w := range []*Stream{a, b} {
				all.Go(func() {
					rest := want
					for len(rest) > 0 {
						n, err := w.Write(rest[:min(len(rest), rand.IntN(1<<rand.IntN(18))+1)])
						if err != nil {
							t.Error(err)
							return
						}
						rest = rest[n:]
					}
				})
			}
			readAll := func(r *Stream) {
				got := make([]byte, 0, len(want))
				for len(got) < len(want) {
					n, err := r.Read(got[len(got):min(cap(got), len(got)+rand.IntN(1<<rand.IntN(16))+1)])
					if err != nil || n == 0 {
						t.Errorf("%d, %v after %d bytes", n, err, len(got))
						return
					}
					got = got[:len(got)+n]
				}
				if !bytes.Equal(got, want) {
					t.Error("other bytes came")
				}
			}
			all.Go(func() { readAll(a) })
			all.Go(func() { readAll(b) })
			all.Wait()
			if err := a.CloseWrite(); err != nil {
				t.Error(err)
			}
			for _, r := range []*Stream{b, a, b, a} {
				if n, err := r.Read(make([]byte, 10)); n != 0 || err != io.EOF {
					t.Errorf("at the end: %d, %v", n, err)
				}
			}
			if _, err := a.Write([]byte("x")); err == nil {
				t.Error("a write after CloseWrite")
			}
		})
	}
}

// streamOf is a Stream over one end of a pipe in memory, and the other end with frames of
// its peer.
func streamOf(t *testing.T, op Opcode, role frame.Role) (*Stream, net.Conn) {
	a, b := netsim.Pipe(0)
	c := New(a, role, &Config{KeepAlive: -1, StallTimeout: -1})
	t.Cleanup(func() { c.Close(); b.Close() })
	return NewStream(c, op), b
}

// The end is io.EOF after a clean close alone. Everything else is an error that is not
// io.EOF by any test, time after time.
func TestStreamEnds(t *testing.T) {
	masked := func(h frame.Header, p string) []byte { h.Masked = true; return frame.AppendFrame(nil, h, []byte(p)) }
	text := func(fin bool, op frame.Opcode, p string) []byte { return masked(frame.Header{Fin: fin, Opcode: op}, p) }
	bye := func(code frame.CloseCode) []byte {
		b, err := frame.AppendClose(nil, frame.Client, code, "")
		if err != nil {
			t.Fatal(err)
		}
		return text(true, frame.Close, string(b))
	}
	for name, tt := range map[string]struct {
		send  []byte
		clean bool
		is    error // nil: a *CloseError
	}{
		"1000":                      {bye(frame.CodeNormal), true, nil},
		"no code":                   {text(true, frame.Close, ""), true, nil},
		"1001":                      {bye(frame.CodeGoingAway), false, nil},
		"1011":                      {bye(frame.CodeInternalError), false, nil},
		"a broken Close":            {text(true, frame.Close, "x"), false, net.ErrClosed},
		"no Close":                  {nil, false, io.ErrUnexpectedEOF},
		"the end within a frame":    {text(true, frame.Binary, "12345")[:9], false, io.ErrUnexpectedEOF},
		"the end within a message":  {text(false, frame.Binary, "12345"), false, io.ErrUnexpectedEOF},
		"1000 within a message":     {append(text(false, frame.Binary, "12345"), bye(frame.CodeNormal)...), false, io.ErrUnexpectedEOF},
		"an unmasked frame":         {frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: frame.Binary}, []byte("1")), false, net.ErrClosed},
		"text that is none":         {text(true, frame.Text, "\xff"), false, net.ErrClosed},
		"1000 after empty messages": {append(bytes.Repeat(text(true, frame.Binary, ""), 10_000), bye(frame.CodeNormal)...), true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, peer := streamOf(t, Binary, frame.Server)
				go io.Copy(io.Discard, peer)
				go func() { peer.Write(append(text(true, frame.Text, "ok"), tt.send...)); peer.(*netsim.Conn).CloseWrite() }()
				got, err := io.ReadAll(s)
				if !bytes.HasPrefix(got, []byte("ok")) || tt.clean && (err != nil || len(got) != 2) {
					t.Fatalf("%q, %v", got, err)
				}
				for range 3 {
					n, err := s.Read(make([]byte, 8))
					var op *net.OpError
					var closed *CloseError
					switch {
					case n != 0:
						t.Errorf("%d bytes after the end", n)
					case tt.clean && err != io.EOF:
						t.Errorf("a clean close is %v", err)
					case !tt.clean && (errors.Is(err, io.EOF) || !errors.As(err, &op) || tt.is != nil && !errors.Is(err, tt.is) || tt.is == nil && !errors.As(err, &closed)):
						t.Errorf("%v, want %v", err, tt.is)
					}
				}
				if _, err := s.Write([]byte("x")); err == nil || errors.Is(err, io.EOF) {
					t.Error("a write after the end:", err)
				}
			})
		})
	}
}

// A peer of empty messages that never ends keeps a Read waiting, which its deadline ends:
// nothing is returned without bytes.
func TestStreamOfEmptyMessages(t *testing.T) {
	a, b := streamPair(t, Binary, false, nil)
	stop := make(chan struct{})
	var w sync.WaitGroup
	w.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if err := a.Conn().WriteMessage(Binary, nil); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	b.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := b.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d, %v", n, err)
	}
	b.SetReadDeadline(time.Time{})
	close(stop)
	done := make(chan struct{})
	go func() {
		defer close(done)
		p := make([]byte, 10)
		if n, err := b.Read(p); err != nil || string(p[:n]) != "bytes" {
			t.Errorf("%q, %v", p[:n], err)
		}
	}()
	w.Wait()
	if _, err := a.Write([]byte("bytes")); err != nil {
		t.Error(err)
	}
	<-done
}

// Deadlines wake a Read that waits, fall before bytes that are here, and end nothing: the
// stream goes on in the middle of a message.
func TestStreamReadDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, peer := streamOf(t, Binary, frame.Client)
		send := func(fin bool, op frame.Opcode, p string) {
			if _, err := peer.Write(frame.AppendFrame(nil, frame.Header{Fin: fin, Opcode: op}, []byte(p))); err != nil {
				t.Fatal(err)
			}
		}
		p := make([]byte, 2)
		wantTimeout := func(err error) {
			t.Helper()
			if e, ok := err.(net.Error); !ok || !e.Timeout() || !errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
				t.Fatalf("%v", err)
			}
		}
		waiting := make(chan error)
		go func() { _, err := s.Read(p); waiting <- err }()
		synctest.Wait()
		s.SetDeadline(time.Now().Add(time.Second))
		start := time.Now()
		wantTimeout(<-waiting)
		if d := time.Since(start); d != time.Second {
			t.Error(d)
		}
		send(false, frame.Binary, "abc") // and the deadline has passed
		synctest.Wait()
		_, err := s.Read(p)
		wantTimeout(err)
		s.SetReadDeadline(time.Time{})
		n, err := s.Read(p)
		if string(p[:n]) != "ab" || err != nil {
			t.Fatalf("%q, %v", p[:n], err)
		}
		s.SetReadDeadline(time.Now())
		_, err = s.Read(p) // a byte is here
		wantTimeout(err)
		s.SetReadDeadline(time.Time{})
		if n, err = s.Read(p); string(p[:n]) != "c" || err != nil {
			t.Fatalf("%q, %v", p[:n], err)
		}
		go func() { _, err := s.Read(p); waiting <- err }()
		synctest.Wait()
		s.SetReadDeadline(past)
		wantTimeout(<-waiting)
		s.SetReadDeadline(time.Now().Add(time.Hour))
		send(true, frame.Continuation, "d")
		if n, err = s.Read(p); string(p[:n]) != "d" || err != nil {
			t.Fatalf("%q, %v", p[:n], err)
		}
	})
}

// Text goes out in whole characters, whatever the borders of the writes are, and what is
// no text is refused without a loss.
func TestStreamText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, peer := streamOf(t, Text, frame.Server)
		other := New(peer, frame.Client, nil)
		defer other.Close()
		read := func() string {
			t.Helper()
			m, err := other.ReadMessage()
			if err != nil || m.Opcode != Text {
				t.Fatal(m.Opcode, err)
			}
			return string(m.Data)
		}
		write := func(p string, n int, want error) {
			t.Helper()
			if got, err := s.Write([]byte(p)); got != n || !errors.Is(err, want) {
				t.Fatalf("%q: %d, %v", p, got, err)
			}
		}
		write("\xe2", 1, nil)
		write("\x82", 1, nil)
		write("\xac!", 2, nil)
		if got := read(); got != "€!" {
			t.Errorf("%q", got)
		}
		write("a\xf0\x9f", 3, nil)
		if got := read(); got != "a" {
			t.Errorf("%q", got)
		}
		write("b", 0, ErrNotUTF8) // not within a character
		if err := s.CloseWrite(); !errors.Is(err, ErrNotUTF8) {
			t.Error(err)
		}
		write("\x98\x80", 2, nil)
		if got := read(); got != "😀" {
			t.Errorf("%q", got)
		}
		write("\xff", 0, ErrNotUTF8)
		write("\xc0", 0, ErrNotUTF8)
		long := strings.Repeat("€", maxStreamMessage) // three bytes do not divide the longest message
		go func() {
			write(long, len(long), nil)
			if err := s.CloseWrite(); err != nil {
				t.Error(err)
			}
		}()
		got, err := io.ReadAll(NewStream(other, Text))
		if err != nil || string(got) != long {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
}

// Close ends Reads and Writes that wait, and says goodbye where no Write is in the middle
// of something.
func TestStreamClose(t *testing.T) {
	for name, blocked := range map[string]bool{"idle": false, "within a write": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, peer := streamOf(t, Binary, frame.Client)
				ended := make(chan error, 2)
				go func() { _, err := s.Read(make([]byte, 1)); ended <- err }()
				if blocked {
					go func() { _, err := s.Write(make([]byte, 64<<20)); ended <- err }()
				} else {
					ended <- net.ErrClosed
				}
				synctest.Wait()
				start := time.Now()
				if err := s.Close(); err != nil || time.Since(start) != 0 {
					t.Errorf("%v after %v", err, time.Since(start))
				}
				for range 2 {
					if err := <-ended; !errors.Is(err, net.ErrClosed) {
						t.Error(err)
					}
				}
				other := New(peer, frame.Server, nil)
				n, err := io.Copy(io.Discard, NewStream(other, Binary))
				if blocked == (err == nil) || !blocked && n != 0 {
					t.Errorf("the peer got %d bytes, %v", n, err)
				}
				if err := s.Close(); err != nil {
					t.Error("a second time:", err)
				}
				if _, err := s.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
				if _, err := s.Write(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
				if err := s.SetDeadline(time.Time{}); !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
				time.Sleep(time.Minute)
			})
		})
	}
}

// A Stream costs no allocation per message, in either direction.
func TestStreamAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for name, op := range map[string]Opcode{"binary": Binary, "text": Text} {
		t.Run(name, func(t *testing.T) {
			a, b := streamPair(t, op, false, nil)
			out, in := []byte("€"+strings.Repeat("é€", 40)), make([]byte, 600)
			round := func() {
				for range 500 {
					for _, cut := range [][2]int{{0, len(out)}, {0, 1}, {1, 2}, {2, len(out)}} { // within a character
						if _, err := a.Write(out[cut[0]:cut[1]]); err != nil {
							t.Fatal(err)
						}
					}
					for want := 2 * len(out); want > 0; {
						n, err := b.Read(in[:min(want, len(in))])
						if err != nil {
							t.Fatal(err)
						}
						want -= n
					}
				}
			}
			round()
			if n := buffertest.Mallocs(round); n != 0 {
				t.Errorf("%d allocations in 2000 messages", n)
			}
		})
	}
}

// A write deadline that passes within a message, with any transport, loses nothing: what
// Write has counted arrives, what it has not does not, and the stream goes on. A deadline
// that is set while a Write waits wakes it.
func TestStreamWriteDeadline(t *testing.T) {
	z := &deflate.Config{Threshold: -1}
	for name, tt := range map[string]struct {
		op     Opcode
		secure bool
		z      *deflate.Config
	}{"binary": {Binary, false, nil}, "TLS": {Binary, true, nil}, "compressed": {Binary, false, z}, "text, TLS": {Text, true, nil}} {
		t.Run(name, func(t *testing.T) {
			a, b := streamPair(t, tt.op, tt.secure, tt.z)
			var sent bytes.Buffer
			write := func() error {
				p := []byte(strings.Repeat("é", 100_001))[sent.Len()%2:] // goes on within a character
				if tt.op == Binary {
					for i := range p {
						p[i] = byte(rand.Uint32())
					}
				}
				n, err := a.Write(p)
				sent.Write(p[:n])
				return err
			}
			wantTimeout := func(err error) {
				t.Helper()
				if e, ok := err.(net.Error); !ok || !e.Timeout() || !errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
					t.Fatal(err)
				}
			}
			for i := range 3 {
				if i < 2 {
					a.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
				} else {
					a.SetWriteDeadline(time.Time{})
					time.AfterFunc(20*time.Millisecond, func() { a.SetWriteDeadline(past) })
				}
				var err error
				for err == nil {
					err = write()
				}
				wantTimeout(err)
				if err := a.CloseWrite(); err == nil {
					t.Fatal("closed with a message in the way")
				}
			}
			a.SetWriteDeadline(time.Time{})
			got := make(chan []byte)
			go func() {
				all, err := io.ReadAll(b)
				if err != nil {
					t.Error(err)
				}
				got <- all
			}()
			if err := write(); err != nil {
				t.Error(err)
			}
			if err := a.CloseWrite(); err != nil {
				t.Error(err)
			}
			if all := <-got; !bytes.Equal(all, sent.Bytes()) {
				t.Errorf("%d bytes came, %d were written", len(all), sent.Len())
			}
		})
	}
}

// What a Write has counted and was then refused is told by the next, and by all after it:
// there is a hole in the stream.
func TestStreamTellsOfALoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := netsim.Pipe(0)
		defer b.Close()
		refused := errors.New("refused")
		c := New(a, frame.Client, &Config{KeepAlive: -1, Outbound: func(*Conn, Opcode, int) error { time.Sleep(time.Second); return refused }})
		defer c.Close()
		s := NewStream(c, Binary)
		s.SetWriteDeadline(time.Now().Add(time.Millisecond))
		if n, err := s.Write([]byte("12")); n != 2 || err != nil {
			t.Fatal(n, err)
		}
		s.SetWriteDeadline(time.Time{})
		for range 2 {
			if n, err := s.Write([]byte("34")); n != 0 || !errors.Is(err, refused) {
				t.Error(n, err)
			}
		}
		if err := s.CloseWrite(); !errors.Is(err, refused) {
			t.Error(err)
		}
	})
}

// A Stream waits for room, also with Config.FailFast, and Config.Outbound is asked once for
// each message.
func TestStreamWaitsUnderFailFast(t *testing.T) {
	for _, packed := range []bool{false, true} {
		asked := 0
		c, e := carried(t, carrier{packed: packed}, Config{FailFast: true, Outbound: func(*Conn, Opcode, int) error { asked++; return nil }})
		s := NewStream(c, frame.Binary)
		const n, size = 200, 64 << 10
		written := make(chan error, 1)
		go func() {
			b := make([]byte, size)
			for i := range b {
				b[i] = byte(i * i >> 3)
			}
			for range n {
				if _, err := s.Write(b); err != nil {
					written <- err
					return
				}
			}
			written <- nil
		}()
		cfg := &Config{}
		if packed {
			cfg.Deflate = &deflate.Config{}
			cfg = cfg.with(deflate.Params{ServerMaxWindowBits: 15, ClientMaxWindowBits: 15})
		}
		peer := New(e.nc, frame.Server, cfg)
		total := 0
		for total < n*size {
			m, err := peer.ReadMessage()
			if err != nil {
				t.Fatal(err)
			}
			total += len(m.Data)
		}
		if err := <-written; err != nil {
			t.Fatal(err)
		}
		if st := c.Stats(); asked != int(st.MessagesWritten) || asked == 0 {
			t.Errorf("packed %v: asked %d times for %d messages", packed, asked, st.MessagesWritten)
		}
		peer.Close()
		c.Close()
	}
}
