package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/frame"

	"github.com/seed-7f57ff33/tickwire/bench/corpus"
	"github.com/seed-7f57ff33/tickwire/bench/wire"
)

// count is the cost of 100 bursts of 100 messages. It contains no times, so it needs no
// statistics.
type count struct {
	Allocs int `json:"allocs"`
	Reads  int `json:"reads"`  // system calls
	Writes int `json:"writes"` // system calls
}

const (
	burst  = 100 // messages that arrive together
	bursts = 100

	// noise is the largest increase that does not fail: the runtime allocates and reads
	// by itself now and then. Something done once for 2,000 messages counts five.
	noise = 4
)

// above reports whether one of the counts is higher than before.
func (n count) above(before count) bool {
	return n.Allocs > before.Allocs+noise || n.Reads > before.Reads+noise || n.Writes > before.Writes+noise
}

// exactCase opens something and returns a step that handles burst messages.
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
	{"ReadMessage over TCP, three fragments each, bursts of 100", fragmentReader},
	{"ReadMessage over TCP, deflate with takeover, bursts of 100", deflateReader},
	{"TakeBatch over TCP, bursts of 100", batchReader},
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
	{"WriteMessage over TCP, deflate with takeover, server", deflateWriter},
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
		n, err := countBursts(step)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		counts[c.name] = n
	}
	return counts, nil
}

// countBursts counts the bursts of one case. It returns the minimum of five runs, since
// the runtime allocates and reads by itself now and then.
func countBursts(step func() error) (least count, err error) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // a sync.Pool has one pool per processor
	for range bursts {
		if err := step(); err != nil { // buffers grow to their size
			return least, err
		}
	}
	var look count // the cost of counting
	for try := range 5 {
		runtime.GC()
		if err := step(); err != nil { // the pools fill again
			return least, err
		}
		before, err := currentCount()
		if err != nil {
			return least, err
		}
		for range bursts {
			if err := step(); err != nil {
				return least, err
			}
		}
		after, err := currentCount()
		if err != nil {
			return least, err
		}
		again, err := currentCount()
		if err != nil {
			return least, err
		}
		n, l := after.minus(before), again.minus(after)
		if try == 0 {
			least, look = n, l
		}
		least, look = least.least(n), look.least(l)
	}
	return least.minus(look), nil
}

func (n count) least(m count) count {
	return count{min(n.Allocs, m.Allocs), min(n.Reads, m.Reads), min(n.Writes, m.Writes)}
}

func (n count) minus(m count) count {
	return count{n.Allocs - m.Allocs, n.Reads - m.Reads, n.Writes - m.Writes}
}

// currentCount returns the counts since the start of this process.
func currentCount() (n count, err error) {
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return n, fmt.Errorf("system calls cannot be counted here: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		fmt.Sscanf(line, "syscr: %d", &n.Reads)
		fmt.Sscanf(line, "syscw: %d", &n.Writes)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	n.Allocs = int(m.Mallocs)
	return n, nil
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

// tcpReader reads bursts that have arrived whole before the first read. So the number of
// reads does not depend on time.
func tcpReader(cfg *conn.Config) (func() error, error) {
	ours, peer, err := tcpPair()
	if err != nil {
		return nil, err
	}
	c := conn.New(ours, frame.Client, cfg)
	return burstReader(c, peer, corpus.NewStream(messages(), false).Bytes)
}

func burstReader(c *conn.Conn, peer *net.TCPConn, bytes []byte) (func() error, error) {
	return burstsBy(peer, bytes, func() error { return readBurst(c) })
}

// burstsBy reads each burst with a function.
func burstsBy(peer *net.TCPConn, bytes []byte, read func() error) (func() error, error) {
	send, err := newArrival(peer)
	if err != nil {
		return nil, err
	}
	return func() error {
		if err := send.write(bytes); err != nil {
			return err
		}
		return read()
	}, nil
}

// fragmentReader reads messages of three fragments each.
func fragmentReader() (func() error, error) {
	ours, peer, err := tcpPair()
	if err != nil {
		return nil, err
	}
	var stream []byte
	for _, m := range messages() {
		third := len(m) / 3
		stream = corpus.AppendFrame(stream, 0x01, m[:third], false, 0)
		stream = corpus.AppendFrame(stream, 0x00, m[third:2*third], false, 0)
		stream = corpus.AppendFrame(stream, 0x80, m[2*third:], false, 0)
	}
	return burstReader(conn.New(ours, frame.Client, nil), peer, stream)
}

// batchReader takes each burst as batches.
func batchReader() (func() error, error) {
	ours, peer, err := tcpPair()
	if err != nil {
		return nil, err
	}
	c := conn.New(ours, frame.Client, nil)
	return burstsBy(peer, corpus.NewStream(messages(), false).Bytes, func() error {
		for n := 0; n < burst; {
			b, err := c.TakeBatch()
			if err != nil {
				return err
			}
			n += len(b.Messages)
			b.Release()
		}
		return nil
	})
}

// deflatePair returns a connection that has agreed on compression, and its peer.
func deflatePair(role frame.Role) (c *conn.Conn, peer *net.TCPConn, err error) {
	ours, peer, err := tcpPair()
	if err != nil {
		return nil, nil, err
	}
	cfg := conn.Config{Deflate: new(deflate.Config)}
	if role == frame.Server {
		if _, err := peer.Write(wire.AppendRequest(nil, "localhost", "/", "permessage-deflate")); err != nil {
			return nil, nil, err
		}
		if c, err = (&conn.Upgrader{Config: cfg}).Accept(ours); err != nil {
			return nil, nil, err
		}
		_, err = http.ReadResponse(bufio.NewReaderSize(peer, 16), nil) // nothing follows the request before the answer
		return c, peer, err
	}
	answered := make(chan error, 1)
	go func() { answered <- wire.Answer(peer, true) }()
	d := &conn.Dialer{Config: cfg, NetDial: func(context.Context, string, string) (net.Conn, error) { return ours, nil }}
	if c, err = d.Dial(context.Background(), "ws://localhost/"); err != nil {
		return nil, nil, err
	}
	return c, peer, <-answered
}

// deflateReader reads compressed messages.
func deflateReader() (func() error, error) {
	c, peer, err := deflatePair(frame.Client)
	if err != nil {
		return nil, err
	}
	stream, err := wire.Compress(messages())
	if err != nil {
		return nil, err
	}
	return burstReader(c, peer, stream.Bytes)
}

// deflateWriter writes compressed messages.
func deflateWriter() (func() error, error) {
	c, peer, err := deflatePair(frame.Server)
	if err != nil {
		return nil, err
	}
	return burstWriter(c, peer, func(c *conn.Conn, m []byte) error { return c.WriteMessage(conn.Text, m) }), nil
}

func readBurst(c *conn.Conn) error {
	for range burst {
		if _, err := c.ReadMessage(); err != nil {
			return err
		}
	}
	return nil
}

// arrival writes, and waits until its own kernel queue is empty. On loopback the bytes
// are then in the queue of the other end.
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

// tlsReader reads bursts of TLS records. All of them are encrypted beforehand.
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
		b, err := wire.Load(nc, wire.Feed{Stream: all, Count: (6*bursts + 5) * burst, Records: "record"})
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
	// Each step sends the records of one burst. Their headers give their lengths (RFC
	// 8446 §5.1).
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

// tcpWriter writes bursts to a connection with a role.
func tcpWriter(role frame.Role, write func(c *conn.Conn, m []byte) error) (func() error, error) {
	ours, peer, err := tcpPair()
	if err != nil {
		return nil, err
	}
	return burstWriter(conn.New(ours, role, nil), peer, write), nil
}

// burstWriter writes a burst and reads it from the other end, with one read that does not
// wait.
func burstWriter(c *conn.Conn, peer *net.TCPConn, write func(c *conn.Conn, m []byte) error) func() error {
	all, back := messages(), make([]byte, 1<<20)
	return func() error {
		for _, m := range all {
			if err := write(c, m); err != nil {
				return err
			}
		}
		_, err := peer.Read(back)
		return err
	}
}
