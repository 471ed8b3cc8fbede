package conn

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/frame/buffer/buffertest"
	"github.com/seed-7f57ff33/tickwire/mask"
)

// allocMessages is how many messages one measurement covers: many fills of the read buffer, so that an allocation per fill shows.
const allocMessages = 10000

// feederEnv tells the helper process where to feed what: see TestFeederProcess.
const feederEnv = "TICKWIRE_TEST_FEEDER"

// The peer of an allocation test runs in another process, so that what it allocates is not counted.
func TestFeederProcess(t *testing.T) {
	spec := os.Getenv(feederEnv)
	if spec == "" {
		t.Skip("run by the allocation tests")
	}
	var address, kind string
	var role int
	fmt.Sscan(spec, &address, &role, &kind)
	nc, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	stream := feedStream(frame.Role(role), kind)
	if kind == "tls-mib" {
		out := tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
		for {
			if _, err := out.Write(stream); err != nil {
				return
			}
		}
	}
	if kind == "tls" {
		feedRecords(tls.Client(newCorked(nc), &tls.Config{InsecureSkipVerify: true}), stream)
		return
	}
	go io.Copy(io.Discard, nc)
	for {
		if _, err := nc.Write(stream); err != nil {
			return
		}
	}
}

// feedRecords writes each message in a record of its own.
func feedRecords(nc net.Conn, stream []byte) {
	for {
		for rest := stream; len(rest) > 0; {
			h, n := frame.ParseHeader(rest)
			n += int(h.Length)
			if _, err := nc.Write(rest[:n]); err != nil {
				return
			}
			rest = rest[n:]
		}
	}
}

// corked gathers small writes, but for those of a handshake.
type corked struct {
	net.Conn
	w *bufio.Writer
}

func newCorked(nc net.Conn) *corked { return &corked{nc, bufio.NewWriterSize(nc, 64<<10)} }

func (c *corked) Write(p []byte) (int, error) { return c.w.Write(p) }

func (c *corked) Read(p []byte) (int, error) {
	if err := c.w.Flush(); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// feedStream is some messages of a kind as the peer of that role sends them, over and over.
func feedStream(role frame.Role, kind string) []byte {
	var b []byte
	add := func(h frame.Header, n int) {
		h.Masked, h.Key = role == frame.Client, mask.Key(len(b))
		b = frame.AppendFrame(b, h, []byte(strings.Repeat("é", n/2)))
	}
	for i := range 200 {
		switch kind {
		case "text", "tls":
			add(frame.Header{Fin: true, Opcode: Text}, 60+i)
		case "binary":
			add(frame.Header{Fin: true, Opcode: Binary}, 60+i)
		case "pings":
			add(frame.Header{Fin: true, Opcode: Text}, 60+i)
			add(frame.Header{Fin: true, Opcode: frame.Ping}, 20)
		case "fragments":
			add(frame.Header{Opcode: Text}, 60+i)
			add(frame.Header{Opcode: frame.Continuation}, 0)
			add(frame.Header{Fin: true, Opcode: frame.Continuation}, 60+i)
		case "large":
			if i%20 == 0 {
				add(frame.Header{Fin: true, Opcode: Binary}, 200000)
			}
		case "mib", "tls-mib":
			if i%20 == 0 {
				add(frame.Header{Fin: true, Opcode: Binary}, 1<<20)
			}
		case "mib-fragments":
			first := i%16 == 0
			op := frame.Continuation
			if first {
				op = Binary
			}
			if i < 192 {
				add(frame.Header{Fin: i%16 == 15, Opcode: op}, 64<<10)
			}
		}
	}
	return b
}

// fed returns a Conn that another process feeds.
func fed(t testing.TB, role frame.Role, kind string, cfg Config) *Conn {
	t.Helper()
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^TestFeederProcess$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s", feederEnv, l.Addr(), 1-role, kind))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(kind, "tls") {
		server, _ := testCertificate(t)
		nc = tls.Server(underTLS(nc, &cfg), server)
	}
	c := New(nc, role, &cfg)
	t.Cleanup(func() {
		c.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	return c
}

// Reading allocates nothing, in all ways and for all kinds of traffic.
func TestReadAllocatesNothing(t *testing.T) {
	read := func(t *testing.T, c *Conn, n int) {
		for range n {
			if _, err := c.ReadMessage(); err != nil {
				t.Fatal(err)
			}
		}
	}
	scratch := make([]byte, 64<<10)
	tests := []struct {
		name string
		kind string
		cfg  Config
		read func(t *testing.T, c *Conn, n int)
	}{
		{"text", "text", Config{}, read},
		{"binary", "binary", Config{}, read},
		{"pings between", "pings", Config{}, read},
		{"pings between, asked about", "pings", Config{Control: func(*Conn, Opcode, []byte) (bool, error) { return true, nil }}, read},
		{"pings between, answered by WriteControl", "pings", Config{Control: func(c *Conn, _ Opcode, payload []byte) (bool, error) {
			return false, c.WriteControl(frame.Pong, payload, time.Now().Add(time.Minute))
		}}, read},
		{"fragments", "fragments", Config{}, read},
		{"large", "large", Config{}, func(t *testing.T, c *Conn, n int) { read(t, c, n/50) }},
		{"plain system calls", "text", Config{Syscalls: SyscallsPlain}, read},
		{"raw system calls", "text", Config{Syscalls: SyscallsRaw}, read},
		{"stamps", "text", Config{Timestamps: true}, read},
		{"read timeout", "text", Config{ReadTimeout: time.Second}, read},
		{"deadline for each", "text", Config{}, func(t *testing.T, c *Conn, n int) {
			for range n {
				c.SetReadDeadline(time.Now().Add(time.Minute))
				if _, err := c.ReadMessage(); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"range", "text", Config{}, func(t *testing.T, c *Conn, n int) {
			i := 0
			for _, err := range c.Messages() {
				if err != nil {
					t.Fatal(err)
				}
				if i++; i == n {
					break
				}
			}
		}},
		{"batches", "text", Config{}, func(t *testing.T, c *Conn, n int) {
			for i := 0; i < n; {
				b, err := c.TakeBatch()
				if err != nil {
					t.Fatal(err)
				}
				i += len(b.Messages)
				b.Release()
			}
		}},
		{"frames", "fragments", Config{}, func(t *testing.T, c *Conn, n int) {
			for range n {
				if _, err := c.NextFrame(); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"NextReader", "large", Config{}, func(t *testing.T, c *Conn, n int) {
			for range n / 50 {
				_, r, err := c.NextReader()
				for err == nil {
					_, err = r.Read(scratch)
				}
				if err != io.EOF {
					t.Fatal(err)
				}
			}
		}},
		{"blocking", "text", Config{BlockingReads: true}, read},
		{"TryRead", "pings", Config{ReadTimeout: time.Minute}, func(t *testing.T, c *Conn, n int) {
			for n > 0 {
				_, ok, err := c.TryRead()
				if err != nil {
					t.Fatal(err)
				}
				if ok {
					n--
				} else {
					runtime.Gosched()
				}
			}
		}},
		{"conflating", "text", Config{}, func(t *testing.T, c *Conn, n int) {
			for range n {
				if _, err := c.ReadMessage(); err != nil {
					t.Fatal(err)
				}
				c.More()
			}
		}},
	}
	for _, tt := range tests {
		for _, role := range []frame.Role{frame.Client, frame.Server} {
			t.Run(tt.name+"/"+role.String(), func(t *testing.T) {
				c := fed(t, role, tt.kind, tt.cfg)
				tt.read(t, c, allocMessages)
				if n := buffertest.Mallocs(func() { tt.read(t, c, allocMessages) }); n != 0 {
					t.Errorf("%d allocations for %d messages", n, allocMessages)
				}
			})
		}
	}
}

// Under TLS nothing is allocated by us: what crypto/tls allocates for the same records is measured beside.
func TestReadAllocatesNothingUnderTLS(t *testing.T) {
	c := fed(t, frame.Client, "tls", Config{})
	loop := func() {
		for range allocMessages {
			if _, err := c.ReadMessage(); err != nil {
				t.Fatal(err)
			}
		}
	}
	loop()
	before := c.stats.bytesRead.Load()
	loop()
	size := int(c.stats.bytesRead.Load() - before)
	n := buffertest.Mallocs(loop)
	p := make([]byte, 16<<10)
	own := buffertest.Mallocs(func() {
		for left := size; left > 0; {
			k, err := tlsOf(c).Read(p)
			if err != nil {
				t.Fatal(err)
			}
			left -= k
		}
	})
	t.Logf("%d allocations for %d messages, crypto/tls alone %d", n, allocMessages, own)
	if n > own+own/20+2 {
		t.Errorf("%d allocations for %d messages, crypto/tls alone makes %d", n, allocMessages, own)
	}
}

// Writing allocates nothing.
func TestWriteAllocatesNothing(t *testing.T) {
	text := []byte(strings.Repeat("é", 100))
	large := make([]byte, 64<<10)
	owned := make([]byte, HeaderRoom+200)
	prepared, err := Prepare(Text, text)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		cfg   Config
		count int
		write func(c *Conn) error
	}{
		{"text", Config{}, allocMessages, func(c *Conn) error { return c.WriteMessage(Text, text) }},
		{"binary", Config{}, allocMessages, func(c *Conn) error { return c.WriteMessage(Binary, text) }},
		{"large", Config{}, 500, func(c *Conn) error { return c.WriteMessage(Binary, large) }},
		{"raw", Config{Syscalls: SyscallsRaw}, allocMessages, func(c *Conn) error { return c.WriteMessage(Text, text) }},
		{"write timeout", Config{WriteTimeout: time.Minute}, allocMessages, func(c *Conn) error { return c.WriteMessage(Text, text) }},
		{"deadline for each", Config{}, allocMessages, func(c *Conn) error {
			c.SetWriteDeadline(time.Now().Add(time.Minute))
			return c.WriteMessage(Text, text)
		}},
		{"prepared", Config{}, allocMessages, func(c *Conn) error { return c.WritePrepared(prepared) }},
		{"owned", Config{}, allocMessages, func(c *Conn) error { return c.WriteOwned(Binary, owned) }},
		{"batch", Config{}, allocMessages / 20, func(c *Conn) error {
			for range 20 {
				if err := c.AppendMessage(Text, text); err != nil {
					return err
				}
			}
			return c.Flush()
		}},
	}
	for _, tt := range tests {
		for _, role := range []frame.Role{frame.Client, frame.Server} {
			t.Run(tt.name+"/"+role.String(), func(t *testing.T) {
				c := fed(t, role, "nothing", tt.cfg)
				loop := func() {
					for range tt.count {
						if err := tt.write(c); err != nil {
							t.Fatal(err)
						}
					}
				}
				loop()
				if n := buffertest.Mallocs(loop); n != 0 {
					t.Errorf("%d allocations", n)
				}
			})
		}
	}
}
