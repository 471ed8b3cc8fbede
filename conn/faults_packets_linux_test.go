package conn

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// Programs of classic BPF: a packet of which 0 bytes are kept is dropped.
var (
	dropAll   = []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}
	dropFifth = []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 1<<32 - 0x1000 + 56}, // SKF_AD_OFF + SKF_AD_RANDOM
		{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: (1<<32 - 1) / 5 * 4, Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 1<<32 - 1},
		{Code: unix.BPF_RET | unix.BPF_K},
	}
)

// filter has the kernel judge every packet that comes for a socket, acknowledgements too, by a program; nil is none. Neither side
// hears of what is dropped, as with a network that loses packets without a word; but it works on loopback and without a privilege.
func filter(t testing.TB, c *Conn, program []unix.SockFilter) {
	t.Helper()
	raw, err := c.base.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	e := raw.Control(func(fd uintptr) {
		if len(program) > 0 {
			err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
		} else {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
		}
	})
	if err := errors.Join(e, err); err != nil {
		t.Skip("this kernel attaches no socket filter: ", err)
	}
}

// unacknowledged is how many segments of c's the kernel still sends again and again.
func unacknowledged(t testing.TB, c *Conn) (n uint32) {
	t.Helper()
	raw, err := c.base.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	e := raw.Control(func(fd uintptr) {
		var info *unix.TCPInfo
		if info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n = info.Unacked
		}
	})
	if err := errors.Join(e, err); err != nil {
		t.Fatal(err)
	}
	return n
}

// connected returns both ends of a connection over loopback TCP. The server's clocks are off.
func connected(t *testing.T, d Dialer, secure bool) (client, server *Conn) {
	t.Helper()
	return connectedWith(t, d, Upgrader{Config: Config{KeepAlive: -1}}, secure)
}

func connectedWith(t *testing.T, d Dialer, u Upgrader, secure bool) (client, server *Conn) {
	t.Helper()
	l := newListener(t)
	url := "ws://" + l.Addr().String()
	var serverTLS *tls.Config
	if secure {
		serverTLS, d.TLSConfig = testCertificate(t)
		url = strings.Replace(url, "ws:", "wss:", 1)
	}
	accepted := make(chan *Conn, 1)
	go func() {
		defer close(accepted)
		nc, err := l.Accept()
		if err != nil {
			return
		}
		if secure {
			nc = tls.Server(nc, serverTLS)
		}
		c, err := u.Accept(nc)
		if err != nil {
			t.Error(err)
			return
		}
		accepted <- c
	}()
	client, err := d.Dial(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	server = <-accepted
	if server == nil {
		t.Fatal("no server")
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// readOut reads to the end of the connection.
func readOut(c *Conn) error {
	for _, err := range c.Messages() {
		if err != nil {
			return err
		}
	}
	return nil
}

// writeOut writes until that fails.
func writeOut(c *Conn) error {
	m := make([]byte, 64<<10)
	for {
		if err := c.WriteMessage(Binary, m); err != nil {
			return err
		}
	}
}

func clock(want Clock) func(*testing.T, error) {
	return func(t *testing.T, err error) { t.Helper(); wantClock(t, err, want) }
}

func network(cause error) func(*testing.T, error) {
	return func(t *testing.T, err error) { t.Helper(); wantTransport(t, err, cause) }
}

// A connection whose packets are dropped after 64 KiB, in both directions, is ended by the clock that is on, which its error names, or by
// the kernel where that was asked to. Only the order of things is judged, not how long they take.
func TestF43BlackHole(t *testing.T) {
	var alone SocketOptions
	probes := SocketOptions{KeepAlive: net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 1}}
	off := Config{KeepAlive: -1}
	var judge []func() // all wait at the same time
	for _, x := range []struct {
		name    string
		secure  bool
		cfg     Config
		options SocketOptions
		run     func(c *Conn) error
		want    func(*testing.T, error)
	}{
		{"transport clock", false, Config{KeepAlive: time.Second}, alone, readOut, clock(ClockTransport)},
		{"transport clock, TLS", true, Config{KeepAlive: time.Second}, alone, readOut, clock(ClockTransport)},
		{"transport clock, plain system calls", false, Config{KeepAlive: time.Second, Syscalls: SyscallsPlain}, alone, readOut, clock(ClockTransport)},
		{"transport clock, raw system calls", false, Config{KeepAlive: time.Second, Syscalls: SyscallsRaw}, alone, readOut, clock(ClockTransport)},
		{"data clock", false, Config{KeepAlive: -1, DataTimeout: time.Second}, alone, readOut, clock(ClockData)},
		{"data clock, TLS", true, Config{KeepAlive: -1, DataTimeout: time.Second}, alone, readOut, clock(ClockData)},
		// The ping goes out after two seconds, and the transport clock would end it two later.
		{"pong clock", false, Config{KeepAlive: 4 * time.Second, PongTimeout: 200 * time.Millisecond}, alone, readOut, clock(ClockPong)},
		{"a blocked write, transport clock", false, Config{KeepAlive: time.Second}, alone, writeOut, clock(ClockTransport)},
		{"a blocked write, transport clock, TLS", true, Config{KeepAlive: time.Second}, alone, writeOut, clock(ClockTransport)},
		{"a blocked write, WriteTimeout", false, Config{KeepAlive: -1, WriteTimeout: 300 * time.Millisecond}, alone, writeOut, network(os.ErrDeadlineExceeded)},
		{"Shutdown, close clock", false, Config{KeepAlive: -1, CloseTimeout: 300 * time.Millisecond}, alone, func(c *Conn) error {
			return c.Shutdown(context.Background(), frame.CodeNormal, "")
		}, clock(ClockClose)},
		{"StartClose, close clock", false, Config{KeepAlive: -1, CloseTimeout: 300 * time.Millisecond}, alone, func(c *Conn) error {
			return errors.Join(c.StartClose(frame.CodeNormal, ""), readOut(c))
		}, clock(ClockClose)},
		{"TCP_USER_TIMEOUT", false, off, SocketOptions{UserTimeout: 500 * time.Millisecond}, func(c *Conn) error {
			return errors.Join(c.WriteMessage(Text, []byte("lost")), readOut(c))
		}, network(syscall.ETIMEDOUT)},
		{"TCP keepalive probes", false, off, probes, readOut, network(syscall.ETIMEDOUT)},
	} {
		client, server := connected(t, Dialer{Config: x.cfg, SocketOptions: x.options}, x.secure)
		before := make([]byte, 256)
		for range 64 << 10 / len(before) {
			if err := server.WriteMessage(Binary, before); err != nil {
				t.Fatal(err)
			}
			wantMessage(t, client, Binary, string(before))
		}
		filter(t, client, dropAll)
		filter(t, server, dropAll)
		if err := server.WriteMessage(Text, []byte("lost")); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- x.run(client) }()
		judge = append(judge, func() {
			t.Run(x.name, func(t *testing.T) {
				select {
				case err := <-ended:
					x.want(t, err)
				case <-time.After(time.Minute):
					t.Error("the call has not returned")
				}
				select {
				case <-client.Done():
				case <-time.After(time.Minute):
					t.Error("the connection lives")
				}
				if n := client.Stats().MessagesRead; n != 256 {
					t.Errorf("%d messages were read, want the 256 from before", n)
				}
				if unacknowledged(t, server) == 0 {
					t.Error("nothing was lost on the way")
				}
			})
		})
	}
	for _, f := range judge {
		f()
	}
}

// A black hole that ends before a clock does has cost time and nothing else: TCP sends again what was lost.
func TestF41SilenceThenData(t *testing.T) {
	client, server := connected(t, Dialer{Config: Config{ReadTimeout: 200 * time.Millisecond}}, false)
	silenceThenData(t, client, server, func() { filter(t, client, dropAll) }, func() { filter(t, client, nil) })
}

// silenceThenData has messages written between drop and restore, and reads them after both.
func silenceThenData(t *testing.T, client, server *Conn, drop, restore func()) {
	t.Helper()
	roundTripWith(t, client, server)
	drop()
	const n = 1000
	for i := range n {
		if err := server.WriteMessage(Text, fmt.Appendf(nil, "message %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := client.ReadMessage()
	wantTimeout(t, err)
	restore()
	for i := 0; i < n; {
		m, err := client.ReadMessage()
		if errors.Is(err, os.ErrDeadlineExceeded) && client.Err() == nil {
			continue // the kernel takes its time to send again
		}
		if want := fmt.Sprintf("message %d", i); err != nil || string(m.Data) != want {
			t.Fatalf("got %q, %v; want %q", m.Data, err, want)
		}
		i++
	}
	roundTripWith(t, client, server)
}

// Of a network that loses a fifth of all packets, each way, the messages know nothing.
func TestF45Loss(t *testing.T) {
	client, server := connected(t, Dialer{Config: Config{KeepAlive: -1}}, false)
	filter(t, client, dropFifth)
	filter(t, server, dropFifth)
	talk(t, client, server, 200)
}

// talk sends n messages of all sizes each way at the same time, with pings between, and checks every one. Passed deadlines of reads
// are waited out.
func talk(t *testing.T, client, server *Conn, n int) {
	t.Helper()
	message := func(i int) []byte {
		size := i * 37 % 3000
		if i%100 == 99 {
			size = 150_000
		}
		return bytes.Repeat([]byte{'a' + byte(i%26)}, size)
	}
	failed := make(chan error, 4)
	for _, c := range []*Conn{client, server} {
		go func() {
			for i := range n {
				if i%10 == 0 {
					c.sendPing(nil)
				}
				if err := c.WriteMessage(Text, message(i)); err != nil {
					failed <- fmt.Errorf("%v writes message %d: %w", c.Role(), i, err)
					return
				}
			}
			failed <- nil
		}()
		go func() {
			for i := 0; i < n; {
				m, err := c.ReadMessage()
				switch {
				case errors.Is(err, os.ErrDeadlineExceeded) && c.Err() == nil:
				case err != nil || !bytes.Equal(m.Data, message(i)):
					failed <- fmt.Errorf("%v reads message %d: %d bytes, %w", c.Role(), i, len(m.Data), err)
					return
				default:
					i++
				}
			}
			failed <- nil
		}()
	}
	for range cap(failed) {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
}

// roundTripWith sends a message each way.
func roundTripWith(t *testing.T, a, b *Conn) {
	t.Helper()
	for range 2 {
		if err := a.WriteMessage(Text, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		wantMessage(t, b, Text, "hello")
		a, b = b, a
	}
}
