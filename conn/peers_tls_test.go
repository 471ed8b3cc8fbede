package conn

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// openssl is a TLS server that sends what it is given on its standard input: `openssl s_server`, which takes a line of one letter
// that it reads by itself as a command.
type openssl struct {
	t     *testing.T
	in    io.Writer
	lines chan string // what it says
	url   string
}

func startOpenSSL(t *testing.T, version string) *openssl {
	p, path := newProgram(t, "openssl")
	serverTLS, _ := testCertificate(t)
	certificate, key := pemOf(t, serverTLS.Certificates[0])
	cmd := exec.Command(path, "s_server", "-accept", "127.0.0.1:0", "-"+version, "-msg",
		"-cert", p.file(t, "cert.pem", certificate), "-key", p.file(t, "key.pem", key))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &openssl{t: t, in: in, lines: make(chan string, 1<<16)}
	go func() {
		defer close(s.lines)
		b := bufio.NewReader(out)
		for {
			line, err := b.ReadString('\n')
			if err != nil {
				return
			}
			s.lines <- line
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		for range s.lines {
		}
		cmd.Wait()
	})
	s.url = "wss://" + s.expect(`^ACCEPT (\S+)`)
	return s
}

// expect waits for a line and returns what its first group matches.
func (s *openssl) expect(pattern string) string {
	s.t.Helper()
	want := regexp.MustCompile("(?m)" + pattern)
	var said []string
	giveUp := time.After(20 * time.Second)
	for {
		select {
		case line, ok := <-s.lines:
			if m := want.FindStringSubmatch(line); m != nil {
				return m[len(m)-1]
			}
			if said = append(said, line); !ok {
				s.t.Fatalf("openssl ended without %q; it said\n%s", pattern, strings.Join(said, ""))
			}
		case <-giveUp:
			s.t.Fatalf("openssl does not say %q; it said\n%s", pattern, strings.Join(said, ""))
		}
	}
}

// send has b sent, or a command done.
func (s *openssl) send(b []byte) {
	s.t.Helper()
	if _, err := s.in.Write(b); err != nil {
		s.t.Fatal(err)
	}
}

// dial opens a connection; what openssl has to answer is given to it.
func (s *openssl) dial(d Dialer) *Conn {
	s.t.Helper()
	opened := make(chan *Conn, 1)
	go func() {
		c, err := d.Dial(s.t.Context(), s.url)
		if err != nil {
			s.t.Error(err)
		}
		opened <- c
	}()
	key := strings.TrimSpace(s.expect(`(?i)^Sec-WebSocket-Key: (\S+)`))
	s.send(fmt.Appendf(nil, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", handshake.AppendAccept(nil, key)))
	c := <-opened
	if c == nil {
		s.t.FailNow()
	}
	return c
}

// pinged tells of the pings and pongs that came.
type pinged chan struct{}

func (p pinged) Control(_ *Conn, op Opcode, _ []byte, sent bool) {
	if op != frame.Close && !sent {
		p <- struct{}{}
	}
}
func (p pinged) Ended(*Conn, error)             {}
func (p pinged) RoundTrip(*Conn, time.Duration) {}
func (p pinged) Slow(*Conn, ReadInfo)           {}

// A TLS key update between any two bytes of a frame changes nothing, whether the peer asks for ours too or not (F20): messages arrive whole,
// those that follow too, and what we send is understood.
func TestPeerF20KeyUpdate(t *testing.T) {
	server := startOpenSSL(t, "tls1_3")
	pings := make(pinged, 1)
	c := server.dial(Dialer{TLSConfig: &tls.Config{InsecureSkipVerify: true}, Config: Config{Observer: pings, KeepAlive: -1}})
	defer c.Close()
	type result struct {
		data []byte
		err  error
	}
	for i, at := range []int{0, 1, 3, 4, 5, 100, 2000, 3000 + 4 - 1} {
		update := []string{"k", "K"}[i%2]
		payload := bytes.Repeat([]byte{'0' + byte(i)}, 3000)
		whole := frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: Text}, payload)
		got := make(chan result, 1)
		go func() {
			m, err := c.ReadMessage()
			got <- result{m.Clone().Data, err}
		}()
		// When the ping is here, openssl has taken what came with it, and will take the letter by itself.
		ping := frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: frame.Ping}, nil)
		server.send(append(ping, whole[:at]...))
		<-pings
		server.send([]byte(update + "\n"))
		server.expect(`^>>> .*KeyUpdate`)
		server.send(whole[at:])
		r := <-got
		if r.err != nil || !bytes.Equal(r.data, payload) {
			t.Fatalf("%s behind %d bytes of a frame: %d bytes, %v", update, at, len(r.data), r.err)
		}
		if update == "K" {
			server.expect(`^<<< .*KeyUpdate`)
		}
		// A frame is masked; this can be read where openssl prints it.
		if _, err := fmt.Fprintf(c.secure, "\nunderstood %d\n", i); err != nil {
			t.Fatal(err)
		}
		server.expect(fmt.Sprintf(`^understood %d$`, i))
	}
	server.send(frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: Text}, []byte("the last")))
	wantMessage(t, c, Text, "the last")
}

// A renegotiation, which TLS 1.2 has and a client must ask for, is done between messages.
func TestPeerRenegotiation(t *testing.T) {
	server := startOpenSSL(t, "tls1_2")
	pings := make(pinged, 1)
	c := server.dial(Dialer{
		TLSConfig: &tls.Config{InsecureSkipVerify: true, Renegotiation: tls.RenegotiateFreelyAsClient},
		Config:    Config{Observer: pings, KeepAlive: -1},
	})
	defer c.Close()
	for i := range 3 {
		text := fmt.Sprintf("message %d", i)
		got := make(chan error, 1)
		go func() {
			m, err := c.ReadMessage()
			if err == nil && string(m.Data) != text {
				err = fmt.Errorf("%q", m.Data)
			}
			got <- err
		}()
		// A pong wants no answer: crypto/tls refuses to write while it negotiates.
		server.send(frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: frame.Pong}, nil))
		<-pings
		server.send([]byte("r\n"))
		server.expect(`^<<< .*Finished`)
		server.send(frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: Text}, []byte(text)))
		if err := <-got; err != nil {
			t.Fatal(err)
		}
	}
}
