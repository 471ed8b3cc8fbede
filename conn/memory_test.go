//go:build linux

package conn

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/frame"
)

const idleEnv = "TICKWIRE_TEST_IDLE"

// idleLimit is the most memory in bytes that an idle server connection may take, its goroutine's stack included.
const idleLimit = int64(4<<10 + 512)

// idleLimitCover is the same where statements are counted, which takes another 2 KiB of stack.
const idleLimitCover = int64(7<<10 + 512)

// idleLimitTLS is the same with TLS.
const idleLimitTLS = int64(16 << 10)

// TestIdleProcess is the clients of TestIdleMemory.
func TestIdleProcess(t *testing.T) {
	spec := os.Getenv(idleEnv)
	if spec == "" {
		t.Skip("run by TestIdleMemory")
	}
	var address string
	var n, compressed int
	var secure, masked bool
	fmt.Sscan(spec, &address, &n, &secure, &compressed, &masked)
	message := frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: Text, Masked: masked, Key: 1}, make([]byte, 300))
	if compressed > 0 {
		message = idleFeed(compressed, masked)
	}
	var conns []net.Conn
	for range n {
		nc, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, nc)
	}
	for i, nc := range conns { // a handshake needs the other end's goroutine
		if secure {
			nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
		}
		nc.Write(message)
		conns[i] = nc
	}
	buf := make([]byte, 16<<10)
	for _, nc := range conns {
		for { // until the other end closes
			if _, err := nc.Read(buf); err != nil {
				break
			}
		}
	}
}

// idleFeed returns n messages of some 4 KiB, each compressed alone.
func idleFeed(n int, masked bool) (stream []byte) {
	r := rand.New(rand.NewPCG(1, 2))
	for range n {
		var m []byte
		for len(m) < 4<<10 {
			m = fmt.Appendf(m, `{"price":%d,"size":%d},`, 60_000+r.IntN(1000), r.IntN(1_000_000))
		}
		p, err := deflate.AppendMessage(nil, m, 15, 0)
		if err != nil {
			panic(err)
		}
		stream = frame.AppendFrame(stream, frame.Header{Fin: true, RSV1: true, Opcode: Text, Masked: masked, Key: 1}, p)
	}
	return stream
}

// An idle connection holds no buffer: 10,000 that have each read and written a message and wait for the next one.
func TestIdleMemory(t *testing.T) {
	most := idleLimit
	if testing.CoverMode() != "" {
		most = idleLimitCover
	}
	idleMemory(t, idleCase{n: 10000, most: most, messages: 1, role: frame.Server})
}

// Under TLS there is crypto/tls's own memory beside, which holds what a connection has read: its buffer for records, which keeps the size that
// the largest needed (TestIdleHoldsNoBufferUnderTLS prints it), the state of the ciphers, the peer's certificates.
// TICKWIRE_FULL=1 has 10,000 connections.
func TestIdleMemoryUnderTLS(t *testing.T) {
	serverTLS, _ := testCertificate(t)
	n := 500
	if os.Getenv("TICKWIRE_FULL") != "" {
		n = 10000
	}
	idleMemory(t, idleCase{n: n, most: idleLimitTLS, messages: 1, role: frame.Server, secure: serverTLS})
}

// idleLimitTakeover and idleLimitAlone are idleLimit where messages are compressed, with context takeover and without, in
// both directions, after so many that both windows are full.
const (
	idleLimitTakeover = int64(64 << 10)
	idleLimitAlone    = int64(8 << 10)
)

// What a connection holds that compresses with the defaults, in both roles: after one message, after many, and after
// ReleaseIdle. TICKWIRE_FULL=1 has 10,000 connections, which take 600 MB.
func TestF78IdleMemoryCompressed(t *testing.T) {
	n := 100
	if os.Getenv("TICKWIRE_FULL") != "" {
		n = 10000
	}
	for _, role := range []frame.Role{frame.Server, frame.Client} {
		for _, c := range []struct {
			name     string
			alone    bool
			release  time.Duration
			messages int
			most     int64
		}{
			{"takeover, one message of 4 KiB", false, 0, 1, 28 << 10},
			{"takeover", false, 0, 20, idleLimitTakeover},
			{"takeover, released", false, 200 * time.Millisecond, 20, idleLimitTakeover - 12<<10},
			{"no takeover", true, 0, 20, idleLimitAlone},
		} {
			t.Run(fmt.Sprintf("%v/%s", role, c.name), func(t *testing.T) {
				cfg := (&Config{KeepAlive: -1, Deflate: &deflate.Config{ReleaseIdle: c.release}}).with(deflate.Params{ServerMaxWindowBits: 15, ClientMaxWindowBits: 15,
					ServerNoContextTakeover: c.alone, ClientNoContextTakeover: c.alone})
				idleMemory(t, idleCase{n: n, most: c.most, messages: c.messages, role: role, cfg: cfg})
			})
		}
	}
}

// An idleCase is n connections that have each read messages and written them back.
type idleCase struct {
	n        int
	most     int64 // bytes that each may hold
	messages int
	secure   *tls.Config
	role     frame.Role
	cfg      *Config // compresses, if it is not nil
}

// idleMemory measures what n connections take that have each read and written messages and wait for the next one.
func idleMemory(t *testing.T, ic idleCase) {
	n, most, secure := ic.n, ic.most, ic.secure
	if raceEnabled || testing.Short() {
		t.Skip("memory is not measured under the race detector")
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	n = min(n, int(limit.Cur)-200)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^TestIdleProcess$")
	compressed := 0
	if ic.cfg != nil {
		compressed = ic.messages
	}
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %v %d %v", idleEnv, l.Addr(), n, secure != nil, compressed, ic.role == frame.Server))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	accepted := make([]net.Conn, 0, n)
	for len(accepted) < n {
		nc, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		accepted = append(accepted, nc)
	}
	smallStacks(t)
	before := memory()
	for range 5 { // what goes only now would hide what connections take
		time.Sleep(time.Millisecond)
		runtime.GC()
		before = min(before, memory())
	}
	conns := make([]*Conn, n)
	answered, ended := make(chan error, n), make(chan struct{}, n)
	for i, nc := range accepted {
		if secure != nil {
			nc = tls.Server(underTLS(nc, &Config{}), secure)
		}
		c := New(nc, ic.role, ic.cfg)
		conns[i] = c
		go func() {
			var err error
			for i := 0; i < ic.messages && err == nil; i++ {
				err = echoReader(c)
			}
			answered <- err
			c.ReadMessage()
			ended <- struct{}{}
		}()
	}
	for range conns {
		if err := <-answered; err != nil {
			t.Fatal(err)
		}
	}
	if ic.cfg != nil && ic.cfg.releaseIdle() == 0 { // no clock is on
		for _, c := range conns {
			c.check(1)
			c.check(2) // nothing was written since
		}
	}
	// The last reads park in their own time.
	each := most + 1
	for until := time.Now().Add(5 * time.Second); each > most && time.Now().Before(until); time.Sleep(time.Millisecond) {
		runtime.GC()
		each = (memory() - before) / int64(n)
	}
	t.Logf("%d bytes for each of %d idle connections", each, n)
	if each > most {
		t.Errorf("%d bytes for each of %d idle connections, want at most %d", each, n, most)
	}
	for _, c := range conns {
		c.Close()
	}
	for range conns {
		<-ended
	}
}

// echoReader is a function of its own, so that the message is gone from the goroutine's stack.
//
//go:noinline
func echoReader(c *Conn) error {
	m, err := c.ReadMessage()
	if err == nil {
		err = c.WriteMessage(m.Opcode, m.Data)
	}
	return err
}

// smallStacks has goroutines begin with 2 KiB of stack while the test runs, as those of a server of many connections do: the runtime begins
// them with what those need on average that a collection finds. Where it finds a test's few, which are deep in calls, that is 4 KiB.
func smallStacks(t *testing.T) {
	for range 3 { // or the crowd would stand between stacks that are free
		runtime.GC()
	}
	var crowd sync.WaitGroup
	end := make(chan struct{})
	for range 1000 {
		crowd.Go(func() { <-end })
	}
	t.Cleanup(func() {
		close(end)
		crowd.Wait()
	})
	runtime.GC()
}

// memory returns the bytes of heap objects and stacks in use.
func memory() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// A client may be given memory that cannot be written (F68): it masks a copy.
func TestF68ReadOnlyMemory(t *testing.T) {
	memory, err := unix.Mmap(-1, 0, 1<<16, unix.PROT_READ, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(memory)
	a, b := loopback(t)
	c, d := New(a, frame.Client, nil), New(b, frame.Server, nil)
	defer c.Close()
	defer d.Close()
	for _, n := range []int{1, 100, 5000, 1 << 16} {
		if err := c.WriteMessage(Binary, memory[:n]); err != nil {
			t.Fatal(err)
		}
		wantMessage(t, d, Binary, string(memory[:n]))
		if err := d.WriteMessage(Binary, memory[:n]); err != nil {
			t.Fatal(err)
		}
		wantMessage(t, c, Binary, string(memory[:n]))
	}
}
