package conn

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// Without descriptors Dial says so, and a Server goes on: it serves those who have waited
// as soon as there are descriptors again.
func TestF51OutOfDescriptors(t *testing.T) {
	if inFault() == "" {
		rerun(t, "TestF51OutOfDescriptors", "descriptors", func(*exec.Cmd) {})
		return
	}
	told := make(chan error, 100)
	server := &Server{Handler: func(c *Conn) { echo(c) }, OnError: func(err error) {
		select {
		case told <- err:
		default:
		}
	}}
	l := newListener(t)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	url := "ws://" + l.Addr().String()

	early := connectRaw(t, l.Addr()) // its handshake is done, and it stays open
	shakeHands(t, early)
	free := takeDescriptors(t)
	_, err := Dial(t.Context(), url)
	var dial *DialError
	if !errors.As(err, &dial) || !errors.Is(err, syscall.EMFILE) {
		t.Errorf("Dial without descriptors: %v", err)
	}
	free(1) // for the other end of one connection, which Serve cannot accept
	late := connectRaw(t, l.Addr())
	select {
	case err := <-told:
		if !errors.Is(err, syscall.EMFILE) {
			t.Errorf("OnError: %v", err)
		}
	case err := <-served:
		t.Fatalf("Serve has ended: %v", err)
	case <-time.After(20 * time.Second):
		t.Fatal("nobody was told")
	}
	free(-1)
	shakeHands(t, late)
	for _, nc := range []net.Conn{early, late} {
		client := New(nc, frame.Client, nil)
		if err := client.WriteMessage(Text, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		wantMessage(t, client, Text, "hello")
		client.Close()
	}
	server.Close()
	if err := <-served; !errors.Is(err, ErrServerClosed) {
		t.Error(err)
	}
}

func connectRaw(t *testing.T, a net.Addr) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", a.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return nc
}

// takeDescriptors opens files until no descriptor is left. free closes so many of them; -1
// all.
func takeDescriptors(t *testing.T) (free func(n int)) {
	t.Helper()
	limit := syscall.Rlimit{Cur: 128, Max: 128}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	var taken []*os.File
	for {
		f, err := os.Open(os.DevNull)
		if errors.Is(err, syscall.EMFILE) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, f)
	}
	return func(n int) {
		for ; n != 0 && len(taken) > 0; n-- {
			taken[0].Close()
			taken = taken[1:]
		}
	}
}

// shakeHands opens a WebSocket on a connection by hand.
func shakeHands(t *testing.T, nc net.Conn) {
	t.Helper()
	fmt.Fprintf(nc, "GET / HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", nc.RemoteAddr())
	nc.SetReadDeadline(time.Now().Add(20 * time.Second))
	defer nc.SetReadDeadline(time.Time{})
	for line, b := "", make([]byte, 1); !strings.HasSuffix(line, "\r\n\r\n"); line += string(b) {
		if _, err := nc.Read(b); err != nil {
			t.Fatalf("%v after %q", err, line)
		}
	}
}

const (
	bombLimit   = 64 << 20 // GOMEMLIMIT
	bombConns   = 32
	bombMessage = 1 << 20 // Options.MaxMessage
	// bombResident is the most memory that the process may have needed: Go's limit does
	// not count the program and its stacks.
	bombResident = bombLimit + 64<<20
)

// Bombs of 1 GiB on 32 connections at once: each ends with the limit's error, and the
// memory stays under GOMEMLIMIT.
func TestF52Bombs(t *testing.T) {
	if inFault() == "" {
		rerun(t, "TestF52Bombs", "bombs", func(cmd *exec.Cmd) {
			cmd.Env = append(cmd.Env, "GOMEMLIMIT="+strconv.Itoa(bombLimit))
		})
		return
	}
	if got := debug.SetMemoryLimit(-1); got != bombLimit {
		t.Fatalf("GOMEMLIMIT is %d", got)
	}
	bomb := deflateBomb(t)
	var all sync.WaitGroup
	for range bombConns {
		all.Add(1)
		go func() {
			defer all.Done()
			a, b := loopback(t)
			cfg := Config{KeepAlive: -1, Frame: frame.Options{MaxMessage: bombMessage}}
			server, err := NewAgreed(b, frame.Server, &cfg, Agreed{Deflate: &deflate.Params{}})
			if err != nil {
				t.Error(err)
				return
			}
			defer server.Close()
			go func() { a.Write(bomb); a.Read(make([]byte, 64)); a.Close() }()
			var broken *frame.ProtocolError
			if _, err := server.ReadMessage(); !errors.As(err, &broken) || broken.Code != frame.CodeMessageTooBig {
				t.Errorf("a bomb ended with %v", err)
			}
		}()
	}
	all.Wait()
	if most := mostResident(t); most > bombResident && !raceEnabled {
		t.Errorf("%d MiB were resident, of a limit of %d", most>>20, bombResident>>20)
	} else {
		t.Logf("%d MiB were resident at most", most>>20)
	}
}

// mostResident is the most memory that this process has had. What getrusage says also
// counts its parent before the exec.
func mostResident(t *testing.T) (bytes int) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &bytes); n == 1 {
			return bytes << 10
		}
	}
	t.Fatal("the kernel does not tell VmHWM")
	return 0
}

// deflateBomb returns a masked frame with a compressed message of 1 GiB of zeros.
func deflateBomb(t *testing.T) []byte {
	t.Helper()
	// A block of the same bytes again and again: what 1 MiB becomes, repeated, is a valid
	// stream, since each piece ends on a byte and refers to itself only.
	piece, err := deflate.AppendMessage(nil, make([]byte, bombMessage), 15, 9)
	if err != nil {
		t.Fatal(err)
	}
	var payload []byte
	for range 1 << 30 / bombMessage {
		payload = append(payload, piece...)
		payload = append(payload, 0, 0, 0xff, 0xff)
	}
	return frame.AppendFrame(nil, frame.Header{Fin: true, RSV1: true, Opcode: Binary, Masked: true, Key: 7}, payload)
}

// A process that is stopped for longer than its own clock goes on where it was: the bytes
// that have come meanwhile are read before a clock may judge. Its peer, whose clock is
// shorter than the stop, ends the connection by it.
func TestF53StoppedProcess(t *testing.T) {
	if fault := inFault(); fault != "" {
		stoppedClient(t, fault)
		return
	}
	for _, x := range []struct {
		name string
		// keepAlive is the parent's; the child's is stoppedClock.
		keepAlive time.Duration
		lives     bool
	}{{"patient peer", time.Minute, true}, {"impatient peer", stoppedClock, false}} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			stoppedChild(t, x.keepAlive, x.lives)
		})
	}
}

// stoppedClock is the KeepAlive of the process that is stopped.
const stoppedClock = 3 * time.Second

// stoppedChild serves a child that is stopped for twice its own clock.
func stoppedChild(t *testing.T, keepAlive time.Duration, lives bool) {
	l := newListener(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestF53StoppedProcess$", "-test.v", "-test.count=1", "-test.timeout=50s")
	cmd.Env = append(os.Environ(), faultEnv+"="+l.Addr().String())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Signal(syscall.SIGCONT); cmd.Process.Kill(); cmd.Wait() }()
	l.(*net.TCPListener).SetDeadline(time.Now().Add(20 * time.Second))
	nc, err := l.Accept()
	if err != nil {
		t.Fatalf("the child has not dialed: %v\n%s", err, &stderr)
	}
	server, err := (&Upgrader{Config: Config{KeepAlive: keepAlive}}).Accept(nc)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() { // reads, so that its clock runs
		for _, err := range server.Messages() {
			if err != nil {
				return
			}
		}
	}()
	write := func(from, to int) error {
		for i := from; i < to; i++ {
			if err := server.WriteMessage(Text, fmt.Appendf(nil, "%d", i)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := write(0, 100); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "got 99" {
	}
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := write(100, 200); err != nil {
		t.Fatal(err)
	}
	if !lives {
		select {
		case <-server.Done():
			wantClock(t, server.Err(), ClockTransport)
		case <-time.After(20 * time.Second):
			t.Error("the peer's clock did not end the connection")
		}
		return
	}
	time.Sleep(2 * stoppedClock)
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() && lines.Text() != "got 199" {
	}
	if err := server.Err(); err != nil {
		t.Errorf("the connection has ended: %v", err)
	}
	if err := write(200, 201); err != nil {
		t.Error(err)
	}
	for lines.Scan() && lines.Text() != "got 200" {
	}
	if !strings.Contains(lines.Text(), "got 200") {
		t.Error("the child did not go on")
	}
}

// stoppedClient reads numbered messages, and prints each number once it is in its place.
func stoppedClient(t *testing.T, address string) {
	c, err := (&Dialer{Config: Config{KeepAlive: stoppedClock}}).Dial(t.Context(), "ws://"+address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := 0; ; i++ {
		m, err := c.ReadMessage()
		if err != nil {
			fmt.Println("ended", err)
			return
		}
		if string(m.Data) != strconv.Itoa(i) {
			t.Fatalf("got %q, want %d", m.Data, i)
		}
		fmt.Println("got", i)
		runtime.Gosched()
	}
}
