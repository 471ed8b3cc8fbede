package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
	"github.com/seed-7f57ff33/tickwire/conn/internal/exchange"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// A holding connection sends what it holds in one write.
type holding struct {
	net.Conn
	mu   sync.Mutex
	on   bool
	held []byte
}

func (h *holding) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.on {
		h.held = append(h.held, p...)
		return len(p), nil
	}
	return h.Conn.Write(p)
}

// together sends what do writes in one piece.
func (h *holding) together(do func()) {
	h.mu.Lock()
	h.on = true
	h.mu.Unlock()
	do()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.on = false
	h.Conn.Write(h.held)
	h.held = nil
}

// one is long enough for the record after it to be opened later.
var one = strings.Repeat("1", 8<<10)

// A record of TLS that comes with a message may hold none: the echo does not wait.
func TestServeDoesNotWaitForAMessage(t *testing.T) {
	t.Parallel()
	s := start(t, "serve", "-tls")
	roots := x509.NewCertPool()
	var text []byte
	for !bytes.Contains(text, []byte("END CERTIFICATE")) {
		line, err := s.out.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, line...)
	}
	roots.AppendCertsFromPEM(text)
	var h *holding
	d := &conn.Dialer{TLSConfig: &tls.Config{RootCAs: roots}}
	d.NetDial = func(ctx context.Context, network, address string) (net.Conn, error) {
		nc, err := new(net.Dialer).DialContext(ctx, network, address)
		h = &holding{Conn: nc}
		return h, err
	}
	c, err := d.Dial(t.Context(), s.url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 20 {
		h.together(func() {
			c.WriteMessage(conn.Text, []byte(one))
			c.WriteControl(frame.Pong, nil, time.Time{})
		})
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if m, err := c.ReadMessage(); err != nil || string(m.Data) != one {
			t.Fatalf("%.20q, %v", m.Data, err)
		}
	}
	h.together(func() {
		c.WriteMessage(conn.Text, []byte("two"))
		c.WriteMessage(conn.Text, []byte("three"))
	})
	for _, want := range []string{"two", "three"} {
		if m, err := c.ReadMessage(); err != nil || string(m.Data) != want {
			t.Fatalf("%q, %v", m.Data, err)
		}
	}
	if err := c.Shutdown(t.Context(), frame.CodeNormal, ""); err != nil {
		t.Error(err)
	}
}

// Nor does tail, over one connection or many.
func TestTailDoesNotWaitForAMessage(t *testing.T) {
	t.Parallel()
	config, text, err := exchange.SelfMade("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(root, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	printed := make(chan struct{})
	url := accept(t, func(nc net.Conn) {
		h := &holding{Conn: nc}
		c, err := new(conn.Upgrader).Accept(tls.Server(h, config))
		if err != nil {
			return
		}
		defer c.Close()
		for range 20 {
			h.together(func() {
				c.WriteMessage(conn.Text, []byte(one))
				c.WriteControl(frame.Pong, nil, time.Time{})
			})
			select {
			case <-printed:
			case <-time.After(10 * time.Second):
				t.Error("a message is not printed")
				return
			}
		}
		h.together(func() {
			c.WriteMessage(conn.Text, []byte("two"))
			c.WriteMessage(conn.Text, []byte("three"))
		})
		c.ReadMessage()
	})
	url = strings.Replace(url, "ws:", "wss:", 1)
	for _, flag := range []string{"-reconnect=false", "-reconnect"} {
		out, in := io.Pipe()
		var ended sync.WaitGroup
		ended.Go(func() {
			args := []string{"tail", flag, "-ca", root, "-n", "22", url}
			if code := execute(t.Context(), &streams{out: in, err: io.Discard}, args); code != exitOK {
				t.Errorf("%s: exit code %d", flag, code)
			}
			in.Close()
		})
		lines := bufio.NewReader(out)
		for range 20 {
			if line, err := lines.ReadString('\n'); err != nil || line != one+"\n" {
				t.Fatalf("%s: %.20q, %v", flag, line, err)
			}
			select {
			case printed <- struct{}{}:
			case <-time.After(10 * time.Second):
				t.Fatalf("%s: the server has gone", flag)
			}
		}
		if rest, err := io.ReadAll(lines); err != nil || string(rest) != "two\nthree\n" {
			t.Errorf("%s: %q, %v", flag, rest, err)
		}
		ended.Wait()
	}
}

// Nothing in the JSON on a terminal commands it; what it says stays the same.
func TestTailJSONOnATerminal(t *testing.T) {
	t.Parallel()
	const text = "\x1b[2J \x7f \u0085 \u009b \u202a\u202e \u2066\u2069 \u00a0\u00fc\u2028 \\ \" \t\n\U0001F600"
	for _, plain := range []bool{true, false} {
		var out bytes.Buffer
		tail := &tail{out: bufio.NewWriter(&out), plain: plain, json: true}
		tail.take(conn.Message{Opcode: conn.Text, Data: []byte(text)}, 1, false)
		line, ended := strings.CutSuffix(out.String(), "\n")
		var got printed
		if err := json.Unmarshal([]byte(line), &got); err != nil || got.Data != text || !ended {
			t.Errorf("%v, %q", err, line)
		}
		if safe := cli.Printable(line) == line; safe != plain {
			t.Errorf("on a terminal %t: %q", plain, line)
		}
	}
}

// A server that does not answer the Close spoils neither -n nor Ctrl-C.
func TestTailEndsWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	url := accept(t, func(nc net.Conn) {
		defer nc.Close()
		if c, err := new(conn.Upgrader).Accept(nc); err == nil {
			c.WriteMessage(conn.Text, []byte("tick"))
			io.Copy(io.Discard, nc)
		}
	})
	var ended sync.WaitGroup
	for _, flags := range [][]string{{"-n", "1"}, {"-n", "0"}, {"-reconnect", "-n", "1"}, {"-reconnect", "-n", "0"}} {
		ended.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stdin, typed := io.Pipe() // stays open
			defer typed.Close()
			out, in := io.Pipe()
			go func() {
				bufio.NewReader(out).ReadString('\n')
				if flags[len(flags)-1] == "0" {
					cancel() // Ctrl-C
				}
				io.Copy(io.Discard, out)
			}()
			var stderr locked
			args := append(append([]string{"tail"}, flags...), url)
			code := execute(ctx, &streams{in: stdin, out: in, err: &stderr}, args)
			if code != exitOK || !strings.HasSuffix(stderr.String(), "; done\n") {
				t.Errorf("%q: exit code %d, %q", flags, code, stderr.String())
			}
		})
	}
	ended.Wait()
}

// Lines that are not sent are counted, and not a success.
func TestTailCountsUnsentLines(t *testing.T) {
	t.Parallel()
	url := echoing(t, conn.Upgrader{})
	long := strings.Repeat("x", maxLine+1)
	for _, test := range []struct{ stdin, stdout, unsent string }{
		{"bad \xFF\ngood\n\xFE\nbye", "good\n", "2 lines"},
		{long + "\ngood\nbye\n", "good\n", "1 lines"},
		{long[:maxLine-1] + "\nbye", long[:maxLine-1] + "\n", ""},
	} {
		stdout, stderr, code := within(t, test.stdin, "tail", url)
		if stdout != test.stdout {
			t.Errorf("%.20q: %.20q", test.stdin, stdout)
		}
		if test.unsent == "" {
			if code != exitOK || strings.Contains(stderr, "not sent") {
				t.Errorf("%.20q: exit code %d, %q", test.stdin, code, stderr)
			}
			continue
		}
		if code != exitFailed || !strings.HasSuffix(stderr, "tickwire tail: "+test.unsent+" were not sent\n") {
			t.Errorf("%.20q: exit code %d, %q", test.stdin, code, stderr)
		}
	}
	if _, long, err := readLine(bufio.NewReader(strings.NewReader(long))); !long || err != io.EOF {
		t.Errorf("a long line without an end: %t, %v", long, err)
	}
}

// What comes on standard input after our Close is held, and counted.
func TestTailCountsHeldLines(t *testing.T) {
	t.Parallel()
	closing, came := make(chan struct{}), make(chan struct{})
	url := accept(t, func(nc net.Conn) {
		defer nc.Close()
		c, err := new(conn.Upgrader).Accept(nc)
		if err != nil {
			return
		}
		c.WriteMessage(conn.Text, []byte("tick"))
		io.ReadFull(nc, make([]byte, 8)) // its Close
		close(closing)
		<-came
		time.Sleep(200 * time.Millisecond)
		nc.Write([]byte{0x88, 2, 3, 0xe8})
	})
	in := readerFunc(func(p []byte) (int, error) {
		<-closing
		select {
		case <-came:
			return 0, io.EOF
		default:
			close(came)
			return copy(p, "a\nb\nc\n"), nil
		}
	})
	var stderr locked
	code := execute(t.Context(), &streams{in: in, out: io.Discard, err: &stderr}, []string{"tail", "-n", "1", url})
	if code != exitOK || !strings.Contains(stderr.String(), "3 lines were not sent") { // -n has ended it
		t.Errorf("exit code %d, %q", code, stderr.String())
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// The prompt ends with the input: its line is ended, and no message brings it back.
func TestTailPromptEndsWithTheInput(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	tail := &tail{out: bufio.NewWriter(&out), plain: true, prompt: "> "}
	tail.askNext()
	over := make(chan struct{})
	readInput(strings.NewReader(""), nil, nil, func() {
		tail.stopAsking()
		close(over)
	})
	<-over
	if err := tail.take(conn.Message{Opcode: conn.Text, Data: []byte("one")}, 1, false); err != nil {
		t.Fatal(err)
	}
	tail.askNext()
	if want := "> \none\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

// The prompt is shown again after a complaint.
func TestTailPromptsAfterAComplaint(t *testing.T) {
	t.Parallel()
	c, err := new(conn.Dialer).Dial(t.Context(), echoing(t, conn.Upgrader{}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var mu sync.Mutex
	var said []string
	say := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		said = append(said, what)
	}
	complain := func(format string, args ...any) { say(format) }
	next := func() { say("> ") }
	in := readInput(strings.NewReader("\xFF\n"+strings.Repeat("x", maxLine+1)+"\n"), complain, next, func() {})
	in.send(c, complain, next)
	mu.Lock()
	defer mu.Unlock()
	prompts := 0
	for _, s := range said {
		if s == "> " {
			prompts++
		}
	}
	if len(said) != 4 || prompts != 2 || said[3] != "> " {
		t.Errorf("%q", said)
	}
	if err := in.unsent(); err == nil || err.Error() != "2 lines were not sent" {
		t.Errorf("%v", err)
	}
}
