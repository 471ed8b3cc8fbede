package conn

import (
	"bytes"
	"context"
	"crypto/cipher"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"reflect"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/conn/internal/transport"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// secureOpens has the clients of secureOver and clientUnderTLS open TLS 1.3 records by
// themselves. It is for tests that run beside no other: TestUnderTLSWithOpenRecords.
// secureOpened counts those that do.
var (
	secureOpens  bool
	secureOpened atomic.Int32
)

// clientUnderTLS returns a client over records. Its handshake is for shakeClient.
func clientUnderTLS(nc net.Conn, cfg *Config, clientTLS *tls.Config) *tls.Conn {
	r := underTLS(nc, cfg)
	if secureOpens {
		clientTLS = clientTLS.Clone()
		r.OpenLater(clientTLS)
	}
	return tls.Client(r, clientTLS)
}

// shakeClient does a client's handshake, as Dial does.
func shakeClient(client *tls.Conn) error {
	err := client.Handshake()
	if err == nil {
		r := client.NetConn().(*transport.Records)
		if err = r.OpenNow(client); r.Opens() {
			secureOpened.Add(1)
		}
	}
	return err
}

// secureOver returns a client's Conn and the server's tls.Conn over two ends of a connection.
func secureOver(t testing.TB, a, b net.Conn, cfg Config) (*Conn, *tls.Conn) {
	t.Helper()
	serverTLS, clientTLS := testCertificate(t)
	clientTLS.ServerName = "localhost"
	server := tls.Server(b, serverTLS)
	shaken := make(chan error, 1)
	go func() { shaken <- server.Handshake() }()
	client := clientUnderTLS(a, &cfg, clientTLS)
	if err := errors.Join(shakeClient(client), <-shaken); err != nil {
		t.Fatal(err)
	}
	if cfg.KeepAlive == 0 {
		cfg.KeepAlive = -1
	}
	return New(client, frame.Client, &cfg), server
}

// tlsOf returns the tls.Conn of a connection under TLS.
func tlsOf(c *Conn) *tls.Conn { return c.stream.(*tls.Conn) }

// recordsOf returns the records under it.
func recordsOf(c *Conn) *transport.Records { return tlsOf(c).NetConn().(*transport.Records) }

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
		before := c.Stats().Reads
		for range messages {
			wantMessage(t, c, Text, strings.Repeat("t", 100))
		}
		reads := c.Stats().Reads - before
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

// single is a listener to which one connection comes.
type single struct {
	net.Conn
	taken sync.Once
	ended chan struct{}
}

func (s *single) Accept() (nc net.Conn, err error) {
	s.taken.Do(func() { nc = s.Conn })
	if nc == nil {
		<-s.ended
		err = net.ErrClosed
	}
	return nc, err
}

func (s *single) Close() error   { return nil }
func (s *single) Addr() net.Addr { return s.LocalAddr() }

// A server's connections read large pieces over a listener of UnderTLS, be they opened by net/http or by Server.Serve.
func TestReadsUnderTLSOfServers(t *testing.T) {
	const messages = 5000
	serverTLS, clientTLS := testCertificate(t)
	message := frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: Text, Masked: true, Key: 77}, []byte(strings.Repeat("t", 100)))
	for name, serve := range map[string]func(s *Server, l net.Listener){
		"Serve":    func(s *Server, l net.Listener) { s.Serve(tls.NewListener(l, serverTLS)) },
		"ServeTLS": func(s *Server, l net.Listener) { (&http.Server{Handler: s, TLSConfig: serverTLS}).ServeTLS(l, "", "") },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := loopback(t)
			wrote, done := make(chan struct{}), make(chan struct{})
			s := &Server{Handler: func(c *Conn) {
				defer close(done)
				<-wrote
				before := c.Stats().Reads
				for range messages {
					wantMessage(t, c, Text, strings.Repeat("t", 100))
				}
				bytes := messages * (len(message) + 22)
				if reads, limit := c.Stats().Reads-before, uint64(bytes/(32<<10))+8; reads > limit {
					t.Errorf("%d reads for %d bytes, want at most %d", reads, bytes, limit)
				}
			}}
			l := &single{Conn: a, ended: make(chan struct{})}
			served := make(chan struct{})
			go func() {
				defer close(served)
				serve(s, UnderTLS(l, &s.Upgrader.Config))
			}()
			d := Dialer{TLSConfig: clientTLS, NetDial: func(context.Context, string, string) (net.Conn, error) { return b, nil }}
			c, err := d.Dial(t.Context(), "wss://localhost")
			if err != nil {
				t.Fatal(err)
			}
			for range messages {
				if _, err := tlsOf(c).Write(message); err != nil {
					t.Fatal(err)
				}
			}
			close(wrote)
			<-done
			c.Close()
			close(l.ended)
			<-served
		})
	}
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
	client := clientUnderTLS(a, &Config{}, clientTLS)
	if err := errors.Join(shakeClient(client), <-shaken); err != nil {
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

// recordedConn is a connection whose far end has sent everything beforehand.
type recordedConn struct {
	net.Conn
	sent  bytes.Buffer
	held  bool
	reads int
}

func (c *recordedConn) Write(p []byte) (int, error) {
	if c.held {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

func (c *recordedConn) Read(p []byte) (int, error) {
	if !c.held {
		return c.Conn.Read(p)
	}
	c.reads++
	return c.sent.Read(p)
}

// sender is the far end: what it writes once told to hold goes to the other.
type sender struct {
	net.Conn
	to *recordedConn
}

func (s *sender) Write(p []byte) (int, error) {
	if s.to.held {
		return s.to.sent.Write(p)
	}
	return s.Conn.Write(p)
}

// recordedFeed returns a client to which count records of size bytes or a little more, each of whole messages of 200 B or a little less, come as fast as it
// reads.
func recordedFeed(t testing.TB, version uint16, size, count int) (c *Conn, near *recordedConn, messages int) {
	t.Helper()
	return recordedMessages(t, version, 196, size, count)
}

// recordedMessages is recordedFeed with messages of so much text.
func recordedMessages(t testing.TB, version uint16, text, size, count int) (c *Conn, near *recordedConn, messages int) {
	t.Helper()
	a, b := netsim.Pipe(0)
	near = &recordedConn{Conn: a}
	serverTLS, clientTLS := testCertificate(t)
	serverTLS.DynamicRecordSizingDisabled = true
	serverTLS.MaxVersion = version
	clientTLS.ServerName = "localhost"
	client, server := clientUnderTLS(near, &Config{}, clientTLS), tls.Server(&sender{b, near}, serverTLS)
	shaken := make(chan error, 1)
	go func() { shaken <- server.Handshake() }()
	if err := errors.Join(shakeClient(client), <-shaken); err != nil {
		t.Fatal(err)
	}
	// The session tickets are still in the pipe; they come first.
	b.Close()
	rest, err := io.ReadAll(a)
	if err != nil {
		t.Fatal(err)
	}
	near.sent.Write(rest)
	near.held = true
	var run []byte
	for len(run) < size {
		run = frame.AppendFrame(run, frame.Header{Fin: true, Opcode: Text}, bytes.Repeat([]byte("r"), text))
		messages++
	}
	for range count {
		if _, err := server.Write(run); err != nil {
			t.Fatal(err)
		}
	}
	return New(client, frame.Client, &Config{KeepAlive: -1}), near, messages * count
}

// tlsRoom returns the memory that a tls.Conn keeps for records.
func tlsRoom(t *tls.Conn) int {
	return reflect.ValueOf(t).Elem().FieldByName("rawInput").FieldByName("buf").Cap()
}

// crypto/tls allocates for each call of its socket's Read (readFromUntil). It makes no more of them than the records need that fit its room
// together: 1 for 7 records of 200 B with a certificate as small as the test's, 1 for 2 of the largest; and we allocate nothing.
func TestAllocsUnderTLS(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, tt := range []struct {
		size int
		most float64 // allocations for a record
	}{{200, 0.16}, {1000, 0.36}, {4000, 0.56}, {16200, 0.52}} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(fmt.Sprintf("%d bytes/%s", tt.size, tls.VersionName(version)), func(t *testing.T) {
				const records = 800
				defer debug.SetGCPercent(debug.SetGCPercent(-1))
				least := math.Inf(1)
				for range 3 { // what an earlier test has left behind allocates too
					each := allocsOfRecords(t, version, tt.size, records)
					if least = min(least, each); least <= tt.most {
						return
					}
				}
				t.Errorf("%.3f allocations for a record, want at most %.2f", least, tt.most)
			})
		}
	}
}

// allocsOfRecords reads a feed of so many records and returns the allocations for each of
// the second half.
func allocsOfRecords(t *testing.T, version uint16, size, records int) float64 {
	c, near, messages := recordedFeed(t, version, size, records)
	defer c.Close()
	read := func() {
		for range messages / 2 {
			if _, err := c.ReadMessage(); err != nil {
				t.Fatal(err)
			}
		}
	}
	read()
	near.reads = 0
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	read()
	runtime.ReadMemStats(&after)
	each := float64(after.Mallocs-before.Mallocs) / float64(records/2)
	t.Logf("%.3f allocations and %.3f reads for a record, %.4f allocations for a message; the tls.Conn has room for %d bytes",
		each, float64(near.reads)/float64(records/2), each*float64(records)/float64(messages), tlsRoom(tlsOf(c)))
	return each
}

// More tells of messages that are here, in whatever way their records fit the memory they are read into.
func TestMoreUnderTLS(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		a, b := netsim.Pipe(1 << 20)
		serverTLS, clientTLS := testCertificate(t)
		serverTLS.MaxVersion, clientTLS.ServerName = version, "localhost"
		client, server := clientUnderTLS(a, &Config{}, clientTLS), tls.Server(b, serverTLS)
		go server.Handshake()
		if err := shakeClient(client); err != nil {
			t.Fatal(err)
		}
		c := New(client, frame.Client, &Config{KeepAlive: -1})
		for size := 1; size < 13000; size += 1 + size/3 {
			for _, size := range []int{size, 4092, 8188, 1020} { // with the header powers of two
				for _, count := range []int{1, 2, 3, 9} {
					for range count {
						server.Write(frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: Binary}, make([]byte, size)))
					}
					for i := range count {
						if _, err := c.ReadMessage(); err != nil {
							t.Fatal(err)
						}
						// What is still in the kernel is not here.
						if more, last := c.More(), i == count-1; more && last || !more && !last && size*count < 3000 {
							t.Fatalf("%s: %v behind message %d of %d of %d bytes", tls.VersionName(version), more, i+1, count, size)
						}
					}
				}
			}
		}
		c.Close()
		b.Close()
	}
}

// A connection that waits under TLS holds no buffer of ours, whatever came before.
func TestIdleHoldsNoBufferUnderTLS(t *testing.T) {
	a, b := loopback(t)
	c, server := secureOver(t, a, b, Config{})
	defer c.Close()
	r := recordsOf(c)
	if runtime.GOOS != "linux" {
		t.Skip("this system's sockets are read by package net, into memory taken beforehand")
	}
	for _, size := range []int{0, 100, 4092, 20000, 200000} {
		server.Write(frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: Binary}, make([]byte, size)))
		wantMessage(t, c, Binary, string(make([]byte, size)))
		held := func() bool { return c.r.Buffer() != 0 || r.Buffer() != 0 }
		for range 100 { // a deadline that has passed before the call waits leaves all as it is
			c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
			_, err := c.ReadMessage()
			wantTimeout(t, err)
			if !held() {
				break
			}
		}
		c.SetReadDeadline(time.Time{})
		if held() {
			t.Errorf("behind %d bytes: %d bytes of read buffer, under TLS one: %v", size, c.r.Buffer(), r.Buffer() != 0)
		}
		t.Logf("behind %d bytes the tls.Conn keeps %d", size, tlsRoom(tlsOf(c)))
	}
}

// sealAlert returns an alert of level warning as s, the server of a TLS 1.2 connection with AES-GCM, would send it. No server of
// crypto/tls sends one, so that its state is used; where that has other names there is no alert.
func sealAlert(s *tls.Conn, alert byte) []byte {
	out := reflect.ValueOf(s).Elem().FieldByName("out")
	if !out.IsValid() || !out.FieldByName("seq").IsValid() || !out.FieldByName("cipher").IsValid() {
		return nil
	}
	seq := (*[8]byte)(unsafe.Pointer(out.FieldByName("seq").UnsafeAddr()))
	aead, ok := (*(*any)(unsafe.Pointer(out.FieldByName("cipher").UnsafeAddr()))).(cipher.AEAD)
	if !ok {
		return nil
	}
	body := aead.Seal(nil, seq[:], []byte{1, alert}, append(seq[:len(seq):len(seq)], 21, 3, 3, 0, 2))
	record := append([]byte{21, 3, 3, 0, byte(len(seq) + len(body))}, seq[:]...)
	binary.BigEndian.PutUint64(seq[:], binary.BigEndian.Uint64(seq[:])+1)
	return append(record, body...)
}

// A warning between records does not have a fill forget what the tls.Conn holds: that looks behind the data it returns for an alert.
func TestWarningBetweenRecords(t *testing.T) {
	for _, first := range []int{50, 500, 1000, 2000, 5000} {
		synctest.Test(t, func(t *testing.T) {
			a, b := netsim.Pipe(1 << 20)
			serverTLS, clientTLS := testCertificate(t)
			serverTLS.MaxVersion, clientTLS.ServerName = tls.VersionTLS12, "localhost"
			serverTLS.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
			client, server := clientUnderTLS(a, &Config{}, clientTLS), tls.Server(b, serverTLS)
			go server.Handshake()
			if err := shakeClient(client); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			c := New(client, frame.Client, &Config{KeepAlive: -1})
			defer c.Close()
			defer b.Close()
			server.Write(frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: Binary}, make([]byte, first)))
			warning := sealAlert(server, 90)
			if warning == nil {
				t.Skip("crypto/tls keeps its state under other names")
			}
			b.Write(warning)
			server.Write(frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: Binary}, make([]byte, 100)))
			for i := range 2 {
				c.SetReadDeadline(time.Now().Add(time.Second))
				if _, err := c.ReadMessage(); err != nil {
					t.Fatalf("behind %d bytes: message %d: %v", first, i, err)
				}
			}
		})
	}
}

// overcounting says that it has read more than there was room for.
type overcounting struct {
	net.Conn
	on bool
}

func (o *overcounting) Read(p []byte) (int, error) {
	n, err := o.Conn.Read(p)
	if o.on {
		n = len(p) + 1
	}
	return n, err
}

func TestImpossibleCountUnderTLS(t *testing.T) {
	a, b := netsim.Pipe(1 << 20)
	o := &overcounting{Conn: a}
	c, server := secureOver(t, o, b, Config{})
	defer b.Close()
	defer c.Close()
	o.on = true
	server.Write(make([]byte, 100))
	if _, err := c.ReadMessage(); !errors.Is(err, transport.ErrReadCount) {
		t.Errorf("%v", err)
	}
}

// A read of the socket counts once among the stamped, however many records it brought.
func TestStampedOncePerReadUnderTLS(t *testing.T) {
	a, b := loopback(t)
	c, server := secureOver(t, a, b, Config{Timestamps: true})
	defer c.Close()
	if c.lag == nil {
		t.Skip("there are no stamps here")
	}
	exchange := func(n int) {
		for range n {
			server.Write(frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: Binary}, make([]byte, 1000)))
		}
		for range n {
			if _, err := c.ReadMessage(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 1000 { // the kernel begins to stamp a while after the first socket has asked for it
		if exchange(1); c.Stats().Stamped > 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	before := c.Stats()
	exchange(200)
	s := c.Stats()
	if stamped, reads := s.Stamped-before.Stamped, s.Reads-before.Reads; stamped > reads || stamped == 0 {
		t.Errorf("%d stamped of %d reads", stamped, reads)
	}
}
