package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"

	"github.com/seed-7f57ff33/tickwire/bench/corpus"
	"github.com/seed-7f57ff33/tickwire/bench/wire"
)

// count is what a burst of 100 messages takes: nothing here is a time, so nothing here needs statistics. Counted are 100 bursts,
// and what is no whole one for each is dropped: the runtime allocates now and then by itself.
type count struct {
	Allocs int `json:"allocs"`
	Reads  int `json:"reads"`  // system calls
	Writes int `json:"writes"` // system calls
}

const (
	burst  = 100 // messages that come at once
	bursts = 100
)

// exactCase opens something and returns a step of burst messages.
type exactCase struct {
	name string
	open func() (step func() error, err error)
}

var exactCases = []exactCase{
	{"frame.Reader, 200 B", func() (func() error, error) { return frameReader(frame.Client) }},
	{"frame.Reader, 200 B, masked", func() (func() error, error) { return frameReader(frame.Server) }},
	{"frame.Writer, 200 B, client", func() (func() error, error) { return frameWriter(frame.Client) }},
	{"frame.Writer, 200 B, server", func() (func() error, error) { return frameWriter(frame.Server) }},
	{"ReadMessage over TCP, bursts of 100", func() (func() error, error) { return tcpReader(nil) }},
	{"ReadMessage over TCP, bursts of 100, plain system calls", func() (func() error, error) {
		return tcpReader(&conn.Config{Syscalls: conn.SyscallsPlain})
	}},
	{"ReadMessage over TLS, a record per message, bursts of 100", tlsReader},
	{"WriteMessage over TCP, client", func() (func() error, error) {
		return tcpWriter(frame.Client, func(c *conn.Conn, m []byte) error { return c.WriteMessage(conn.Text, m) })
	}},
	{"WriteMessage over TCP, server", func() (func() error, error) {
		return tcpWriter(frame.Server, func(c *conn.Conn, m []byte) error { return c.WriteMessage(conn.Text, m) })
	}},
	{"AppendMessage of ten, Flush, over TCP, client", func() (func() error, error) {
		n := 0
		return tcpWriter(frame.Client, func(c *conn.Conn, m []byte) error {
			if err := c.AppendMessage(conn.Text, m); err != nil {
				return err
			}
			if n++; n%10 == 0 {
				return c.Flush()
			}
			return nil
		})
	}},
	{"WritePrepared over TCP, server", func() (func() error, error) {
		p, err := conn.Prepare(conn.Text, messages()[0])
		if err != nil {
			return nil, err
		}
		return tcpWriter(frame.Server, func(c *conn.Conn, _ []byte) error { return c.WritePrepared(p) })
	}},
}

func messages() [][]byte { return corpus.Messages(corpus.ASCII, 200, burst) }

// exact counts all cases.
func exact() (map[string]count, error) {
	counts := make(map[string]count)
	for _, c := range exactCases {
		step, err := c.open()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		n, err := take(step)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		counts[c.name] = n
	}
	return counts, nil
}

// take counts what the bursts of one case take: the least of five, since the runtime calls and allocates by itself now and
// then.
func take(step func() error) (least count, err error) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for range bursts {
		if err := step(); err != nil { // buffers grow to their size
			return least, err
		}
	}
	for try := range 5 {
		runtime.GC()
		before := now()
		for range bursts {
			if err := step(); err != nil {
				return least, err
			}
		}
		after := now()
		n := count{after.Allocs - before.Allocs, after.Reads - before.Reads, after.Writes - before.Writes}
		if try == 0 {
			least = n
		}
		least = count{min(least.Allocs, n.Allocs), min(least.Reads, n.Reads), min(least.Writes, n.Writes)}
	}
	idle := now()
	again := now()
	least.Reads -= again.Reads - idle.Reads // what looking takes
	least.Allocs -= again.Allocs - idle.Allocs
	return count{least.Allocs / bursts, least.Reads / bursts, least.Writes / bursts}, nil
}

// now returns the counts of this process since its start.
func now() count {
	var n count
	if b, err := os.ReadFile("/proc/self/io"); err == nil {
		for line := range strings.Lines(string(b)) {
			fmt.Sscanf(line, "syscr: %d", &n.Reads)
			fmt.Sscanf(line, "syscw: %d", &n.Writes)
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	n.Allocs = int(m.Mallocs)
	return n
}

func frameReader(role frame.Role) (func() error, error) {
	m := wire.NewMemory(corpus.NewStream(messages(), role == frame.Server).Bytes, true)
	if err := wire.Open(m); err != nil {
		return nil, err
	}
	r := frame.NewReader(m, role, frame.Options{})
	return func() error {
		for range burst {
			if _, err := r.Next(); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

func frameWriter(role frame.Role) (func() error, error) {
	m := wire.NewMemory([]byte{0}, true)
	if err := wire.Open(m); err != nil {
		return nil, err
	}
	w, all := frame.NewWriter(m, role), messages()
	return func() error {
		for _, p := range all {
			if err := w.Write(frame.Text, p); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// tcpPair returns the two ends of a loopback connection.
func tcpPair() (ours, peer *net.TCPConn, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	p, err := l.Accept()
	if err != nil {
		return nil, nil, err
	}
	return c.(*net.TCPConn), p.(*net.TCPConn), nil
}

// tcpReader reads bursts that have come whole before the first read: how many reads that takes does not depend on time.
func tcpReader(cfg *conn.Config) (func() error, error) {
	ours, peer, err := tcpPair()
	if err != nil {
		return nil, err
	}
	c := conn.New(ours, frame.Client, cfg)
	return burstReader(c, peer, corpus.NewStream(messages(), false).Bytes)
}

func burstReader(c *conn.Conn, peer *net.TCPConn, bytes []byte) (func() error, error) {
	send, err := newArrival(peer)
	if err != nil {
		return nil, err
	}
	return func() error {
		if err := send.write(bytes); err != nil {
			return err
		}
		return readBurst(c)
	}, nil
}

func readBurst(c *conn.Conn) error {
	for range burst {
		if _, err := c.ReadMessage(); err != nil {
			return err
		}
	}
	return nil
}

// arrival writes, and waits until all has left its own kernel queue: over loopback it is then in that of the other end.
type arrival struct {
	nc   *net.TCPConn
	raw  syscall.RawConn
	look func(fd uintptr)
	left int
	err  error
}

func newArrival(nc *net.TCPConn) (*arrival, error) {
	a := &arrival{nc: nc}
	a.look = func(fd uintptr) { a.left, a.err = unix.IoctlGetInt(int(fd), unsent) }
	var err error
	a.raw, err = nc.SyscallConn()
	return a, err
}

// unsent is SIOCOUTQNSD of linux/sockios.h.
const unsent = 0x894B

func (a *arrival) write(b []byte) error {
	if _, err := a.nc.Write(b); err != nil {
		return err
	}
	for {
		if err := errors.Join(a.raw.Control(a.look), a.err); err != nil || a.left == 0 {
			return err
		}
		runtime.Gosched()
	}
}

// tlsReader reads bursts of records. All that the server sends is encrypted beforehand.
func tlsReader() (func() error, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	type loaded struct {
		peer  *net.TCPConn
		bytes []byte
		err   error
	}
	server := make(chan loaded, 1)
	all := corpus.NewStream(messages(), false)
	go func() {
		nc, err := l.Accept()
		if err != nil {
			server <- loaded{err: err}
			return
		}
		b, err := wire.Load(nc, wire.Feed{Stream: all, Count: 6 * burst * bursts, Records: "record"})
		server <- loaded{nc.(*net.TCPConn), b, err}
	}()
	d := &conn.Dialer{TLSConfig: &tls.Config{InsecureSkipVerify: true}}
	c, err := d.Dial(context.Background(), "wss://"+l.Addr().String()+"/")
	if err != nil {
		return nil, err
	}
	s := <-server
	if s.err != nil {
		return nil, s.err
	}
	send, err := newArrival(s.peer)
	if err != nil {
		return nil, err
	}
	// Each step sends the records of one burst, found by their headers (RFC 8446 §5.1).
	return func() error {
		end := 0
		for range burst {
			end += 5 + int(s.bytes[end+3])<<8 + int(s.bytes[end+4])
		}
		if err := send.write(s.bytes[:end]); err != nil {
			return err
		}
		s.bytes = s.bytes[end:]
		return readBurst(c)
	}, nil
}

// tcpWriter writes a burst and takes it from the other end, by one read that waits for nothing.
func tcpWriter(role frame.Role, write func(c *conn.Conn, m []byte) error) (func() error, error) {
	ours, peer, err := tcpPair()
	if err != nil {
		return nil, err
	}
	c, all := conn.New(ours, role, nil), messages()
	back := make([]byte, 1<<20)
	return func() error {
		for _, m := range all {
			if err := write(c, m); err != nil {
				return err
			}
		}
		_, err := peer.Read(back)
		return err
	}, nil
}
