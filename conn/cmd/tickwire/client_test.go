package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/internal/exchange"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// within runs a command in this process, and returns what it prints and its exit code.
func within(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs locked
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	code = execute(ctx, &streams{in: strings.NewReader(stdin), out: &out, err: &errs}, args)
	if ctx.Err() != nil {
		t.Errorf("tickwire %v does not end", args)
	}
	return out.String(), errs.String(), code
}

// locked is a buffer that many goroutines write to.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// echoing serves an echo that ends with Close 1000 when it is told "bye".
func echoing(t *testing.T, upgrader conn.Upgrader) (url string) {
	return accept(t, func(nc net.Conn) { echoOn(nc, upgrader) })
}

func echoOn(nc net.Conn, upgrader conn.Upgrader) {
	c, err := upgrader.Accept(nc)
	if err != nil {
		return
	}
	defer c.Close()
	for {
		m, err := c.ReadMessage()
		if err != nil {
			return
		}
		if string(m.Data) == "bye" {
			c.Shutdown(context.Background(), frame.CodeNormal, "")
			return
		}
		if err := c.WriteMessage(m.Opcode, m.Data); err != nil {
			return
		}
	}
}

// Lines of standard input are sent, each as a message, and the end of the input ends
// nothing else.
func TestTailSendsLines(t *testing.T) {
	t.Parallel()
	url := echoing(t, conn.Upgrader{})
	long := strings.Repeat("ü", 100_000)
	for _, test := range []struct{ stdin, stdout, stderr string }{
		{"one\ntwo\nbye\n", "one\ntwo\n", "2 messages"},
		{"one\r\n\nlast\nbye", "one\n\nlast\n", "3 messages"},
		{long + "\nbye\n", long + "\n", "1 messages, 200000 bytes"},
	} {
		for _, flags := range [][]string{nil, {"-deflate"}} {
			stdout, stderr, code := within(t, test.stdin, append(append([]string{"tail"}, flags...), url)...)
			if code != exitOK || stdout != test.stdout || !strings.Contains(stderr, test.stderr) {
				t.Errorf("%.20q: exit code %d, %.100q, %q", test.stdin, code, stdout, stderr)
			}
		}
	}
	if stdout, stderr, code := within(t, "", "connect", "-text", "x", "-n", "1", url); code != exitOK || stdout != "x\n" {
		t.Errorf("no input: exit code %d, %q, %q", code, stdout, stderr)
	}
}

// Lines that come while there is no connection wait for the next one.
func TestTailSendsLinesOnEachConnection(t *testing.T) {
	t.Parallel()
	var opened atomic.Int64
	url := accept(t, func(nc net.Conn) { // one message a connection
		c, err := new(conn.Upgrader).Accept(nc)
		if err != nil {
			return
		}
		defer c.Close()
		opened.Add(1)
		if m, err := c.ReadMessage(); err == nil {
			c.WriteMessage(conn.Text, m.Data)
			c.Shutdown(context.Background(), frame.CodeGoingAway, "")
		}
	})
	in, lines := io.Pipe()
	var out locked
	var ended sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended.Go(func() {
		if code := execute(ctx, &streams{in: in, out: &out, err: io.Discard}, []string{"tail", "-reconnect", "-n", "3", url}); code != exitOK {
			t.Errorf("exit code %d", code)
		}
	})
	for i, line := range []string{"one\n", "two\n", "three\n"} {
		for opened.Load() <= int64(i) { // on the one that ends it would be lost
			time.Sleep(time.Millisecond)
		}
		io.WriteString(lines, line)
		for strings.Count(out.String(), "\n") == i {
			time.Sleep(time.Millisecond)
		}
	}
	ended.Wait()
	if got := out.String(); got != "one\ntwo\nthree\n" {
		t.Errorf("%q", got)
	}
}

// On a terminal there is a prompt, below what comes.
func TestTailPrompt(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	tail := &tail{out: bufio.NewWriter(&out), plain: true, prompt: "> "}
	tail.askNext()
	tail.take(conn.Message{Opcode: conn.Text, Data: []byte("one \x1b[2J\u202e")}, 1, true)
	tail.take(conn.Message{Opcode: conn.Text, Data: []byte("two")}, 1, false)
	want := "> \r\x1b[Kone \\x1b[2J\\u202e\ntwo\n> "
	if got := out.String(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// speaks serves one text and one binary message, a ping, and goodbye.
func speaks(t *testing.T) string {
	return accept(t, func(nc net.Conn) {
		c, err := new(conn.Upgrader).Accept(nc)
		if err != nil {
			return
		}
		defer c.Close()
		c.WriteMessage(conn.Text, []byte("<text>\n"))
		c.WriteControl(frame.Ping, []byte("\x1b[2J"), time.Time{})
		c.WriteMessage(conn.Binary, []byte{0, 0x1b, 0xff})
		c.Shutdown(context.Background(), frame.CodeNormal, "done")
	})
}

func TestTailFormats(t *testing.T) {
	t.Parallel()
	url := speaks(t)
	for flag, want := range map[string]string{
		"hex":    "<text>\n\nbinary, 3 bytes: 001bff\n",
		"base64": "<text>\n\nbinary, 3 bytes: ABv/\n",
		"raw":    "<text>\n\n\x00\x1b\xff",
	} {
		if stdout, stderr, code := within(t, "", "tail", "-binary", flag, url); code != exitOK || stdout != want {
			t.Errorf("-binary %s: exit code %d, %q, %q", flag, code, stdout, stderr)
		}
	}
	for flag, encoding := range map[string]string{"hex": "001bff", "base64": "ABv/"} {
		began := time.Now()
		stdout, stderr, code := within(t, "", "tail", "-json", "-binary", flag, url)
		lines := strings.Split(stdout, "\n")
		if code != exitOK || len(lines) != 3 || !strings.Contains(stdout, "<text>") {
			t.Fatalf("exit code %d, %q, %q", code, stdout, stderr)
		}
		for i, want := range []printed{{Epoch: 1, Type: "text", Data: "<text>\n"}, {Epoch: 1, Type: "binary", Encoding: flag, Data: encoding}} {
			var got printed
			if err := json.Unmarshal([]byte(lines[i]), &got); err != nil {
				t.Fatal(err)
			}
			if got.Time.Before(began.Add(-time.Second)) || got.Time.After(time.Now().Add(time.Second)) {
				t.Errorf("the time is %v", got.Time)
			}
			if got.Time = (time.Time{}); got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
		}
	}
	if _, stderr, _ := within(t, "", "tail", "-pings", url); !strings.Contains(stderr, "ping received, 4 bytes: 1b5b324a\n") ||
		!strings.Contains(stderr, "pong sent, 4 bytes: 1b5b324a\n") || !strings.Contains(stderr, `close received, 6 bytes, 1000`) {
		t.Errorf("-pings: %q", stderr)
	}
	onTerminal := &tail{binary: "raw", plain: true}
	if err := onTerminal.check(); err == nil || !strings.Contains(err.Error(), "terminal") {
		t.Errorf("-binary raw on a terminal: %v", err)
	}
}

// A proxy joins whoever connects to a server, whatever name they ask for.
func proxied(t *testing.T, server string, seen *locked) (address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(seen, r.Method+" "+r.Host+" "+r.Header.Get("Proxy-Authorization")+"\n")
		to, err := net.Dial("tcp", server)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		from, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			to.Close()
			return
		}
		io.WriteString(from, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { io.Copy(to, from); to.Close() }()
		io.Copy(from, to)
		from.Close()
	}))
	return l.Addr().String()
}

func TestTailProxies(t *testing.T) {
	server := strings.Trim(strings.TrimPrefix(speaks(t), "ws://"), "/")
	var seen locked
	proxy := proxied(t, server, &seen)
	t.Setenv("HTTP_PROXY", "http://user:hunter2secret@"+proxy)
	t.Setenv("http_proxy", "")
	t.Setenv("NO_PROXY", "")
	// net/http reads the environment once: so another process does it.
	if stdout, stderr, code := run(t, "tail", "-v", "ws://feed.invalid/x"); code != exitOK || !strings.HasPrefix(stdout, "<text>") || strings.Contains(stderr, "hunter2secret") ||
		!strings.Contains(stderr, "> CONNECT feed.invalid:80 HTTP/1.1\n") || !strings.Contains(stderr, "< HTTP/1.1 200 OK\n") ||
		!strings.Contains(stderr, "> GET /x HTTP/1.1\n") || !strings.Contains(stderr, "< HTTP/1.1 101 Switching Protocols\n") {
		t.Errorf("HTTP_PROXY: exit code %d, %q, %q", code, stdout, stderr)
	}
	if stdout, stderr, code := run(t, "feed", "-duration", "100ms", "-url", "ws://feed.invalid/"); !strings.Contains(seen.String(), "CONNECT feed.invalid:80 Basic ") {
		t.Errorf("feed: exit code %d, %q, %q", code, stdout, stderr)
	}
	if _, stderr, code := run(t, "tail", "-timeout", "5s", "-proxy", "none", "ws://feed.invalid/"); code != exitUsage || !strings.Contains(stderr, "feed.invalid") {
		t.Errorf("-proxy none: exit code %d, %q", code, stderr)
	}
	if stdout, stderr, code := run(t, "tail", "-proxy", "http://"+proxy, "ws://other.invalid/"); code != exitOK || stdout == "" || !strings.Contains(seen.String(), "CONNECT other.invalid:80 \n") {
		t.Errorf("-proxy: exit code %d, %q, %q", code, stdout, stderr)
	}
}

// The handshake is shown in both directions, and its secrets are not.
func TestTailVerbose(t *testing.T) {
	t.Parallel()
	url := speaks(t)
	_, stderr, code := within(t, "", "tail", "-v", "-header", "X-Token: hunter2secret", "-origin", "https://page.example", "-host", "front.example", url)
	if code != exitUsage || !strings.Contains(stderr, "> Origin: https://page.example\n") || !strings.Contains(stderr, "< HTTP/1.1 403 ") {
		t.Errorf("another origin: exit code %d, %q", code, stderr)
	}
	stdout, stderr, code := within(t, "", "tail", "-v", "-header", "X-Token: hunter2secret", "-origin", "http://front.example", "-host", "front.example", url)
	for _, want := range []string{"> GET / HTTP/1.1\n", "> Host: front.example\n", "> Origin: http://front.example\n", "> X-Token: xxxxx\n", "< HTTP/1.1 101 Switching Protocols\n", "< \n"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("no %q in %q", want, stderr)
		}
	}
	if code != exitOK || !strings.HasPrefix(stdout, "<text>") || strings.Contains(stderr, "hunter2secret") || strings.Contains(stderr, "<text>") {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
}

// secureEcho serves over TLS with a config, and returns the file with its root.
func secureEcho(t *testing.T, change func(*tls.Config)) (url, root string) {
	config, text, err := exchange.SelfMade("127.0.0.1", "feed.example")
	if err != nil {
		t.Fatal(err)
	}
	root = filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(root, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	change(config)
	url = accept(t, func(nc net.Conn) {
		secure := tls.Server(nc, config)
		defer secure.Close()
		echoOn(secure, conn.Upgrader{})
	})
	return strings.Replace(url, "ws:", "wss:", 1), root
}

func TestTailTLS(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	pool := x509.NewCertPool()
	certificate, key := clientCertificate(t, pool)
	url, root := secureEcho(t, func(c *tls.Config) {
		c.ClientAuth, c.ClientCAs, c.MaxVersion = tls.RequireAndVerifyClientCert, pool, tls.VersionTLS12
		c.VerifyConnection = func(s tls.ConnectionState) error {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, s.ServerName)
			return nil
		}
	})
	keys := filepath.Join(t.TempDir(), "keys")
	t.Setenv("SSLKEYLOGFILE", keys)
	base := []string{"tail", "-ca", root, "-cert", certificate, "-key", key}
	if stdout, stderr, code := within(t, "x\nbye\n", append(base, "-v", "-sni", "feed.example", url)...); code != exitOK || stdout != "x\n" ||
		!strings.Contains(stderr, "* TLS 1.2, ") || !strings.Contains(stderr, "> GET / HTTP/1.1\n") || !strings.Contains(stderr, "< HTTP/1.1 101 ") {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
	if log, err := os.ReadFile(keys); err != nil || !bytes.HasPrefix(log, []byte("CLIENT_RANDOM ")) {
		t.Errorf("SSLKEYLOGFILE: %q, %v", log, err)
	}
	mu.Lock()
	if len(asked) != 1 || asked[0] != "feed.example" {
		t.Errorf("-sni: %q", asked)
	}
	mu.Unlock()
	for _, test := range []struct {
		flags []string
		want  string
	}{
		{append(base, "-sni", "other.example"), "other.example"},
		{append(base, "-tls-min", "1.3"), "version"},
		{[]string{"tail", "-ca", root}, "tls: "},
		{append(base, "-tls-min", "2"), "-tls-min"},
		{[]string{"tail", "-key", key}, "-cert"},
		{[]string{"tail", "-cert", root, "-key", key}, "-cert"},
		{[]string{"tail", "-proxy", "ftp://user:hunter2secret@x"}, "-proxy"},
		{[]string{"tail", "-timeout", "0s"}, "-timeout"},
		{[]string{"tail", "-binary", "octal"}, "-binary"},
		{[]string{"tail", "-json", "-binary", "raw"}, "-json"},
	} {
		if _, stderr, code := within(t, "", append(test.flags, url)...); code == exitOK || !strings.Contains(stderr, test.want) || strings.Contains(stderr, "hunter2secret") {
			t.Errorf("%v: exit code %d, %q", test.flags, code, stderr)
		}
	}
}

// clientCertificate writes a certificate and its key, and adds who vouches for it.
func clientCertificate(t *testing.T, pool *x509.CertPool) (certificate, key string) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	chain, err := x509.CreateCertificate(rand.Reader, about, about, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	own, err := x509.ParseCertificate(chain)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(own)
	chain = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: chain})
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certificate, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := os.WriteFile(certificate, chain, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return certificate, key
}

// A server that never answers is given up after -timeout.
func TestTailTimeout(t *testing.T) {
	t.Parallel()
	url := accept(t, func(nc net.Conn) {
		io.Copy(io.Discard, nc)
		nc.Close()
	})
	_, stderr, code := within(t, "", "tail", "-timeout", "50ms", url)
	if code != exitUsage || !strings.Contains(stderr, "50ms") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}
