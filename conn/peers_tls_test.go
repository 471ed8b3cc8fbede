package conn

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"slices"
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

// It tells of each record.
func startOpenSSL(t *testing.T, version string, more ...string) *openssl {
	return runOpenSSL(t, version, append(more, "-msg")...)
}

func runOpenSSL(t *testing.T, version string, more ...string) *openssl {
	p, path := newProgram(t, "openssl")
	serverTLS, _ := testCertificate(t)
	certificate, key := pemOf(t, serverTLS.Certificates[0])
	args := []string{"s_server", "-accept", "127.0.0.1:0", "-" + version, "-cert", p.file(t, "cert.pem", certificate), "-key", p.file(t, "key.pem", key)}
	cmd := exec.Command(path, append(args, more...)...)
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
	server.updateKeys(Dialer{TLSConfig: &tls.Config{InsecureSkipVerify: true}}, "")
}

// updateKeys is TestPeerF20KeyUpdate for a Dialer, of which TransportInfo is to say why
// crypto/tls opens the records.
func (s *openssl) updateKeys(d Dialer, why string) {
	t, server := s.t, s
	t.Helper()
	pings := make(pinged, 1)
	d.Config = Config{Observer: pings, KeepAlive: -1}
	c := server.dial(d)
	defer c.Close()
	if i := c.TransportInfo(); d.OpenRecords && (i.OpensRecords != (why == "") || !strings.Contains(i.Why, why)) {
		t.Fatalf("%+v", i)
	}
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
		if _, err := fmt.Fprintf(tlsOf(c), "\nunderstood %d\n", i); err != nil {
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

// Records opened by the engine, of each cipher suite, with padding and with tickets: key
// updates of both kinds between any two bytes, and the next connection resumes.
func TestPeerOpenRecords(t *testing.T) {
	for _, tt := range []struct {
		suite string
		why   string
		flags []string
	}{
		{"TLS_AES_128_GCM_SHA256", "", nil},
		{"TLS_AES_256_GCM_SHA384", "", nil},
		{"TLS_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256", nil},
		{"TLS_AES_128_GCM_SHA256", "", []string{"-record_padding", "512"}},
		{"TLS_AES_256_GCM_SHA384", "", []string{"-record_padding", "16384", "-num_tickets", "5"}},
		{"TLS_AES_128_GCM_SHA256", "", []string{"-num_tickets", "0"}},
		{"TLS_AES_128_GCM_SHA256", "", []string{"-num_tickets", "12", "-max_send_frag", "512"}},
	} {
		t.Run(strings.Join(append([]string{tt.suite}, tt.flags...), " "), func(t *testing.T) {
			server := startOpenSSL(t, "tls1_3", append([]string{"-ciphersuites", tt.suite}, tt.flags...)...)
			d := Dialer{TLSConfig: &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1)}, OpenRecords: true}
			server.updateKeys(d, tt.why)
			c := server.dial(d)
			defer c.Close()
			resumed := !slices.Contains(tt.flags, "0")
			if tt.why == "" {
				wantOpened(t, c, resumed)
			} else if s := c.NetConn().(*tls.Conn).ConnectionState(); s.DidResume != resumed || c.TransportInfo().OpensRecords {
				t.Errorf("the second connection resumed: %v, want %v; %+v", s.DidResume, resumed, c.TransportInfo())
			}
			server.send(frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: Text}, []byte("the very last")))
			wantMessage(t, c, Text, "the very last")
		})
	}
	t.Run("TLS 1.2", func(t *testing.T) {
		c := startOpenSSL(t, "tls1_2").dial(Dialer{TLSConfig: &tls.Config{InsecureSkipVerify: true}, OpenRecords: true})
		defer c.Close()
		if i := c.TransportInfo(); i != (TransportInfo{Why: "the connection has TLS 1.2"}) {
			t.Errorf("%+v", i)
		}
	})
}

// A long feed of records of 512 bytes at most, each message in two or more of them, or
// several in one.
func TestPeerManyOpenRecords(t *testing.T) {
	records := openedRecords(50_000)
	for _, suite := range []string{"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"} {
		t.Run(suite, func(t *testing.T) {
			server := runOpenSSL(t, "tls1_3", "-ciphersuites", suite, "-max_send_frag", "512")
			c := server.dial(Dialer{TLSConfig: &tls.Config{InsecureSkipVerify: true}, OpenRecords: true, Config: Config{KeepAlive: -1}})
			defer c.Close()
			if i := c.TransportInfo(); !i.OpensRecords {
				t.Fatalf("%+v", i)
			}
			payload := bytes.Repeat([]byte("0123456789"), 100)
			var run []byte
			const inRun = 64
			for i := range inRun { // no line begins with a letter
				run = frame.AppendFrame(run, frame.Header{Fin: true, Opcode: Text}, payload[:100+14*i])
			}
			runs := records * 512 / len(run)
			sent := make(chan error, 1)
			go func() {
				for range runs {
					if _, err := server.in.Write(run); err != nil {
						sent <- err
						return
					}
				}
				sent <- nil
			}()
			for i := range runs * inRun {
				m, err := c.ReadMessage()
				if err != nil || string(m.Data) != string(payload[:100+14*(i%inRun)]) {
					t.Fatalf("message %d: %d bytes, %v", i, len(m.Data), err)
				}
			}
			if err := <-sent; err != nil {
				t.Error(err)
			}
			t.Logf("%d messages, %d bytes, %d reads", runs*inRun, c.Stats().BytesRead, c.Stats().Reads)
		})
	}
}
