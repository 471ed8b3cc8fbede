package conn

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// secureOver returns a client's Conn and the server's tls.Conn over two ends of a connection.
func secureOver(t testing.TB, a, b net.Conn, cfg Config) (*Conn, *tls.Conn) {
	t.Helper()
	serverTLS, clientTLS := testCertificate(t)
	clientTLS.ServerName = "localhost"
	server := tls.Server(b, serverTLS)
	shaken := make(chan error, 1)
	go func() { shaken <- server.Handshake() }()
	client := tls.Client(underTLS(a, &cfg), clientTLS)
	if err := errors.Join(client.Handshake(), <-shaken); err != nil {
		t.Fatal(err)
	}
	if cfg.KeepAlive == 0 {
		cfg.KeepAlive = -1
	}
	return New(client, frame.Client, &cfg), server
}

// loopback returns the two ends of a TCP connection with large buffers.
func loopback(t testing.TB) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	x, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	y, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close(); y.Close() })
	a, b = x.(*net.TCPConn), y.(*net.TCPConn)
	for _, c := range []*net.TCPConn{a, b} {
		c.SetReadBuffer(4 << 20)
		c.SetWriteBuffer(4 << 20)
	}
	return a, b
}

// A feed with one record per message needs at most one read of the socket per 32 KiB.
func TestReadsUnderTLS(t *testing.T) {
	const messages = 10000
	message := frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: Text}, []byte(strings.Repeat("t", 100)))
	run := func(t *testing.T, a, b net.Conn) {
		c, server := secureOver(t, a, b, Config{})
		defer c.Close()
		wrote := make(chan error, 1)
		go func() {
			for range messages {
				if _, err := server.Write(message); err != nil {
					wrote <- err
					return
				}
			}
			wrote <- nil
		}()
		if err := <-wrote; err != nil {
			t.Fatal(err)
		}
		before := c.stats.reads.Load()
		for range messages {
			wantMessage(t, c, Text, strings.Repeat("t", 100))
		}
		reads := c.stats.reads.Load() - before
		bytes := messages * (len(message) + 22) // a TLS 1.3 record is 22 bytes longer than what it holds
		if limit := uint64(bytes/(32<<10)) + 8; reads > limit {
			t.Errorf("%d reads for %d bytes, want at most %d", reads, bytes, limit)
		} else {
			t.Logf("%d reads for %d bytes", reads, bytes)
		}
	}
	t.Run("socket", func(t *testing.T) {
		a, b := loopback(t)
		run(t, a, b)
	})
	t.Run("net.Conn", func(t *testing.T) {
		a, b := netsim.Pipe(4 << 20)
		run(t, a, b)
	})
}

// Under TLS a passed read deadline ends nothing either, at whatever byte of a record it falls.
func TestReadDeadlineUnderTLS(t *testing.T) {
	a, b := netsim.Pipe(0)
	middle, far := netsim.Pipe(0)
	serverTLS, clientTLS := testCertificate(t)
	clientTLS.ServerName = "localhost"
	server := tls.Server(far, serverTLS)
	// What the server sends is passed on in its own time.
	go io.Copy(middle, b)
	go func() {
		buf := make([]byte, 1024)
		for {
			n, err := middle.Read(buf)
			if err != nil {
				return
			}
			for i := range n {
				b.Write(buf[i : i+1])
				runtime.Gosched()
			}
		}
	}()
	shaken := make(chan error, 1)
	go func() { shaken <- server.Handshake() }()
	client := tls.Client(underTLS(a, &Config{}), clientTLS)
	if err := errors.Join(client.Handshake(), <-shaken); err != nil {
		t.Fatal(err)
	}
	c := New(client, frame.Client, &Config{KeepAlive: -1})
	defer func() { c.Close(); b.Close(); middle.Close(); far.Close() }()
	timeouts := 0
	for i := range 50 {
		text := strings.Repeat("d", 10*i)
		go server.Write(frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: Text}, []byte(text)))
		for {
			c.SetReadDeadline(time.Now().Add(20 * time.Microsecond))
			m, err := c.ReadMessage()
			if err == nil {
				if string(m.Data) != text {
					t.Fatalf("message %d: %q", i, m.Data)
				}
				break
			}
			wantTimeout(t, err)
			timeouts++
		}
	}
	if timeouts == 0 {
		t.Error("no deadline passed")
	}
}

// A write deadline that passes under TLS ends the connection: crypto/tls cannot go on (F16).
func TestF16WriteDeadlineUnderTLS(t *testing.T) {
	a, b := netsim.Pipe(0)
	c, _ := secureOver(t, a, b, Config{})
	a.Script(func(op netsim.Op, _, _ int) netsim.Step { return netsim.Step{Block: op == netsim.Write} })
	c.SetWriteDeadline(time.Now().Add(time.Millisecond))
	err := c.WriteMessage(Text, []byte("x"))
	wantTransport(t, err, os.ErrDeadlineExceeded)
	c.SetWriteDeadline(time.Time{})
	if again := c.WriteMessage(Text, []byte("x")); again != err {
		t.Errorf("then %v", again)
	}
	b.Close()
}

// Close never waits for crypto/tls, and Shutdown is bounded, whatever the peer does (F17); the end of the stream with no close-notify and no
// Close frame is no normal end (F18).
func TestF17CloseUnderTLS(t *testing.T) {
	t.Run("Close", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, b := netsim.Pipe(0)
			c, _ := secureOver(t, a, b, Config{})
			a.Script(func(op netsim.Op, _, _ int) netsim.Step { return netsim.Step{Block: op == netsim.Write} })
			wrote := make(chan error, 1)
			go func() { wrote <- c.WriteMessage(Text, []byte("x")) }()
			synctest.Wait()
			start := time.Now()
			c.Close()
			if err := <-wrote; err != ErrClosed {
				t.Error(err)
			}
			if d := time.Since(start); d != 0 {
				t.Errorf("Close took %v", d)
			}
		})
	})
	for _, stuck := range []bool{false, true} {
		t.Run("Shutdown", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := netsim.Pipe(0)
				c, _ := secureOver(t, a, b, Config{CloseTimeout: time.Second})
				a.Script(func(op netsim.Op, _, _ int) netsim.Step { return netsim.Step{Block: stuck && op == netsim.Write} })
				start := time.Now()
				wantClock(t, c.Shutdown(t.Context(), frame.CodeNormal, ""), ClockClose)
				if d := time.Since(start); d != time.Second {
					t.Errorf("Shutdown took %v", d)
				}
				time.Sleep(10 * time.Second)
			})
		})
	}
	t.Run("Shutdown, answered and never closed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, b := netsim.Pipe(0)
			c, server := secureOver(t, a, b, Config{CloseTimeout: time.Second})
			server.Write(frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: frame.Close}, nil))
			start := time.Now()
			if err := c.Shutdown(t.Context(), frame.CodeNormal, ""); err != nil || time.Since(start) != 0 {
				t.Errorf("%v after %v", err, time.Since(start))
			}
			time.Sleep(2 * time.Second)
			if !a.Closed() {
				t.Error("still open")
			}
		})
	})
	t.Run("cut", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, b := netsim.Pipe(0)
			c, server := secureOver(t, a, b, Config{})
			server.Write(frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: Text}, []byte("x")))
			b.Close()
			wantMessage(t, c, Text, "x")
			_, err := c.ReadMessage()
			wantTransport(t, err, io.EOF)
		})
	})
}

// Records cut anywhere give the same bytes; none is handed out before the one in hand was taken.
func TestRecordsHandOutOneByOne(t *testing.T) {
	var stream, want []byte
	sizes := []int{0, 1, 4, 5, 100, 5000, 17000}
	for i, n := range sizes {
		record := append([]byte{23, 3, 3, byte(n >> 8), byte(n)}, strings.Repeat(string(rune('a'+i)), n)...)
		stream = append(stream, record...)
	}
	want = stream
	for _, piece := range []int{1, 2, 3, 7, 64, 4096, 100000} {
		a, b := netsim.Pipe(1 << 20)
		b.Write(stream)
		a.Script(func(netsim.Op, int, int) netsim.Step { return netsim.Step{Max: piece} })
		r := underTLS(a, &Config{}).(*records)
		var got []byte
		border, next := 0, 0
		p := make([]byte, 3000)
		for len(got) < len(want) {
			n, err := r.Read(p[:1+len(got)%3000])
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, p[:n]...)
			for border < len(got) && next < len(sizes) {
				if border += 5 + sizes[next]; border < len(got) {
					t.Fatalf("pieces of %d: a read went over the border at %d", piece, border)
				}
				next++
			}
		}
		if string(got) != string(want) {
			t.Errorf("pieces of %d: other bytes", piece)
		}
		if !r.empty() {
			t.Errorf("pieces of %d: not empty", piece)
		}
		r.Release()
	}
}
