package conn

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// The tests of this file run real programs as peers, on loopback, each started and ended by its test: nginx (Debian: nginx-light), haproxy,
// caddy, tinyproxy, squid and microsocks. A test skips if its program is not there.

// A program listens on an address.
type program struct {
	dir, address string
	env          []string // besides ours
	chatty       bool     // its standard output is not kept
	log          bytes.Buffer
	done         chan struct{}
}

// newProgram finds the program and a port, or skips.
func newProgram(t *testing.T, name string) (*program, string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path = filepath.Join("/usr/sbin", name) // not in everybody's PATH
		if _, err := os.Stat(path); err != nil {
			t.Skip(name, "is not installed")
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	dir, err := os.MkdirTemp("", "tickwire-"+filepath.Base(name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { // squid gives root away and still has to read
		t.Fatal(err)
	}
	return &program{dir: dir, address: address, done: make(chan struct{})}, path
}

func (p *program) port() string {
	_, port, _ := net.SplitHostPort(p.address)
	return port
}

// file writes a file into the peer's directory and returns its path.
func (p *program) file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// start runs the program until the test ends, and returns when it listens.
func (p *program) start(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = p.dir, append(os.Environ(), p.env...)
	cmd.Stderr = &p.log
	if !p.chatty {
		cmd.Stdout = &p.log
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("%s said:\n%s", name, p.log.Bytes())
		}
	})
	giveUp := time.After(20 * time.Second)
	for {
		if nc, err := net.DialTimeout("tcp", p.address, time.Second); err == nil {
			nc.Close()
			return
		}
		select {
		case <-p.done:
			t.Fatalf("%s ended", name)
		case <-giveUp:
			t.Fatalf("%s does not listen", name)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// pemOf returns the certificate and its key as files have them.
func pemOf(t *testing.T, c tls.Certificate) (certificate, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// backend is a server of our own: echoOrFeed.
func backend(t *testing.T) (address string) {
	t.Helper()
	l := newListener(t)
	s := &Server{Handler: echoOrFeed, Upgrader: Upgrader{Config: Config{Deflate: &deflate.Config{}}}}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return l.Addr().String()
}

// converse exchanges messages of many sizes from two goroutines' sides, a ping, and the close handshake. inTurn says that a proxy between
// copies both ways in turn, reading neither while it writes: it and our echo would hold each other up if more were
// under way than the sockets hold in any case, 20 small messages or a large one.
func converse(t *testing.T, c *Conn, inTurn bool) {
	t.Helper()
	sizes := []int{0, 1, 125, 126, 1000, 65_535, 65_536, 300_000}
	const places = 20
	under := make(chan struct{}, places*len(sizes))
	if inTurn {
		under = make(chan struct{}, places)
	}
	shape := func(n int) (times, takes int) {
		switch {
		case !inTurn || n <= 1000:
			return 20, 1
		case testing.Short(): // one takes a fifth of a second
			return 4, places
		}
		return 20, places
	}
	var writer sync.WaitGroup
	writer.Go(func() {
		for _, n := range sizes {
			times, takes := shape(n)
			for range times {
				for range takes {
					under <- struct{}{}
				}
				if err := c.WriteMessage(Text, bytes.Repeat([]byte("x"), n)); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	for _, n := range sizes {
		times, takes := shape(n)
		for range times {
			m, err := c.ReadMessage()
			if err != nil || m.Opcode != Text || len(m.Data) != n || bytes.Count(m.Data, []byte("x")) != n {
				t.Fatalf("%d bytes came back as %d: %v", n, len(m.Data), err)
			}
			for range takes {
				<-under
			}
		}
	}
	writer.Wait()
	read := make(chan error, 1)
	go func() {
		_, err := c.ReadMessage()
		read <- err
	}()
	if _, err := c.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := c.Shutdown(ctx, frame.CodeNormal, "done"); err != nil {
		t.Error(err)
	}
	if err := <-read; CloseCode(err) != frame.CodeNormal {
		t.Error(err)
	}
}

// terminated dials through a peer that ends TLS before our server, and one whose backend is gone.
func terminated(t *testing.T, p *program, roots *x509.CertPool, gone string) {
	t.Helper()
	for range 3 {
		c, err := (&Dialer{TLSConfig: &tls.Config{RootCAs: roots}, Subprotocols: []string{"unknown"}}).Dial(t.Context(), "wss://"+p.address+"/")
		if err != nil {
			t.Fatal(err)
		}
		if s := c.NetConn().(*tls.Conn).ConnectionState(); s.NegotiatedProtocol != "http/1.1" {
			t.Errorf("ALPN chose %q", s.NegotiatedProtocol)
		}
		converse(t, c, false)
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, packing := range []*deflate.Config{
			nil, {}, {ServerNoContextTakeover: true, ClientNoContextTakeover: true}, {ServerMaxWindowBits: 9, ClientMaxWindowBits: 9},
		} {
			d := Dialer{TLSConfig: &tls.Config{RootCAs: roots, MinVersion: version, MaxVersion: version}, Config: Config{Deflate: packing}}
			c, err := d.Dial(t.Context(), "wss://"+p.address+"/")
			if err != nil {
				t.Fatal(err)
			}
			if agreed, ok := c.Compression(); ok != (packing != nil) || ok && packing.ServerMaxWindowBits > 0 && agreed.ServerMaxWindowBits != packing.ServerMaxWindowBits {
				t.Errorf("agreed on %+v, %v", agreed, ok)
			}
			converse(t, c, false)
		}
	}
	dialResumed(t, "wss://"+p.address+"/", &tls.Config{RootCAs: roots}, func(i int, c *Conn) {
		if i == 1 {
			readFeed(t, c, openedRecords(20_000))
		}
		converse(t, c, false)
	})
	_, err := (&Dialer{TLSConfig: &tls.Config{RootCAs: roots}}).Dial(t.Context(), "wss://"+p.address+gone)
	if e := refusal(t, err); e.Status < 500 || len(e.Body) == 0 || len(e.Body) > DefaultMaxBody {
		t.Errorf("%v, body %q", err, e.Body)
	}
	_, err = Dial(t.Context(), "wss://"+p.address+"/")
	wantDialError(t, err, "TLS")
	// TLS is spoken there, and we do not: an answer that cannot be one, or none.
	if _, err := Dial(t.Context(), "ws://"+p.address+"/"); err == nil {
		t.Error("a WebSocket without TLS")
	}
}

func TestPeerNginx(t *testing.T) {
	p, path := newProgram(t, "nginx")
	certificate, roots := certify(t, nil, "127.0.0.1")
	public, private := pemOf(t, certificate)
	p.file(t, "c.pem", public)
	p.file(t, "k.pem", private)
	conf := p.file(t, "nginx.conf", fmt.Sprintf(`daemon off; master_process off; pid nginx.pid; error_log stderr warn;
events { worker_connections 64; }
http {
  access_log off;
  client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  proxy_http_version 1.1; proxy_buffer_size 512; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade"; proxy_set_header Host $http_host;
  server {
    listen %s ssl http2; ssl_certificate c.pem; ssl_certificate_key k.pem; ssl_protocols TLSv1.2 TLSv1.3;
    location / { proxy_pass http://%s; }
    location /gone { proxy_pass http://127.0.0.1:1; }
  }
}
`, p.address, backend(t)))
	p.start(t, path, "-p", p.dir, "-c", conf)
	terminated(t, p, roots, "/gone")
}

func TestPeerHAProxy(t *testing.T) {
	p, path := newProgram(t, "haproxy")
	certificate, roots := certify(t, nil, "127.0.0.1")
	public, private := pemOf(t, certificate)
	p.file(t, "both.pem", public+private)
	conf := p.file(t, "haproxy.cfg", fmt.Sprintf(`global
  maxconn 64
  tune.ssl.maxrecord 512
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  timeout tunnel 1h
  retries 0
frontend in
  bind %s ssl crt %s/both.pem alpn h2,http/1.1
  use_backend gone if { path /gone }
  default_backend ours
backend ours
  server one %s
backend gone
  server none 127.0.0.1:1
`, p.address, p.dir, backend(t)))
	p.start(t, path, "-db", "-f", conf)
	terminated(t, p, roots, "/gone")
}

func TestPeerCaddy(t *testing.T) {
	p, path := newProgram(t, "caddy")
	certificate, roots := certify(t, nil, "127.0.0.1")
	public, private := pemOf(t, certificate)
	conf := p.file(t, "Caddyfile", fmt.Sprintf(`{
	admin off
	auto_https off
}
https://%s {
	tls %s %s {
		protocols tls1.2 tls1.3
	}
	handle /gone {
		reverse_proxy 127.0.0.1:1
	}
	handle {
		reverse_proxy %s
	}
	handle_errors {
		respond "gone"
	}
}
`, p.address, p.file(t, "c.pem", public), p.file(t, "k.pem", private), backend(t)))
	p.env = []string{"HOME=" + p.dir, "XDG_DATA_HOME=" + p.dir, "XDG_CONFIG_HOME=" + p.dir}
	p.start(t, path, "run", "--config", conf, "--adapter", "caddyfile")
	terminated(t, p, roots, "/gone")
}

// tunneled dials a plain and a TLS server through a proxy that wants user and password.
func tunneled(t *testing.T, scheme, address string, inTurn bool) {
	t.Helper()
	certificate, roots := certify(t, nil, "localhost", "127.0.0.1")
	l := newListener(t)
	s := &Server{Handler: func(c *Conn) { echo(c) }}
	go s.Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{certificate}}))
	t.Cleanup(func() { s.Close() })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	good := through(scheme + "://user:secret@" + address)
	for _, target := range []string{"ws://" + backend(t), "wss://127.0.0.1:" + port, "wss://localhost:" + port} {
		c, err := (&Dialer{Proxy: good, TLSConfig: &tls.Config{RootCAs: roots}}).Dial(t.Context(), target)
		if err != nil {
			t.Fatalf("%s: %v", target, err)
		}
		converse(t, c, inTurn)
	}
	for name, proxy := range map[string]string{"wrong password": "://user:wrong@", "no password": "://"} {
		_, err := (&Dialer{Proxy: through(scheme + proxy + address)}).Dial(t.Context(), "ws://"+l.Addr().String())
		wantDialError(t, err, "proxy")
		if scheme == "http" {
			// tinyproxy 1.11 answers a wrong password with 401.
			e := refusal(t, err)
			if !errors.Is(e, ErrProxy) || e.Status != 407 && (e.Status != 401 || name == "no password") {
				t.Errorf("%s: %v", name, err)
			}
		}
		if strings.Contains(err.Error(), "wrong") {
			t.Errorf("a password in %q", err)
		}
	}
	_, err := (&Dialer{Proxy: good}).Dial(t.Context(), "ws://127.0.0.1:1")
	wantDialError(t, err, "proxy")
}

func TestPeerTinyproxy(t *testing.T) {
	p, path := newProgram(t, "tinyproxy")
	conf := p.file(t, "tinyproxy.conf", "Port "+p.port()+"\nListen 127.0.0.1\nTimeout 60\nAllow 127.0.0.1\nMaxClients 20\nBasicAuth user secret\nLogLevel Warning\n")
	p.start(t, path, "-d", "-c", conf)
	tunneled(t, "http", p.address, false)
}

func TestPeerSquid(t *testing.T) {
	p, path := newProgram(t, "squid")
	helper := p.file(t, "auth.sh", `while read -r user password rest; do
  if [ "$user $password" = "user secret" ]; then echo OK; else echo ERR; fi
done
`)
	conf := p.file(t, "squid.conf", "http_port "+p.address+`
auth_param basic program /bin/sh `+helper+`
auth_param basic children 2
auth_param basic realm test
acl known proxy_auth REQUIRED
http_access allow known
http_access deny all
cache deny all
access_log none
cache_log /dev/null
cache_store_log none
pid_filename none
netdb_filename none
pinger_enable off
dns_nameservers 127.0.0.1
shutdown_lifetime 0 seconds
max_filedescriptors 1024
coredump_dir `+p.dir+"\n")
	p.start(t, path, "-N", "-f", conf)
	tunneled(t, "http", p.address, false)
}

func TestPeerMicrosocks(t *testing.T) {
	p, path := newProgram(t, "microsocks")
	p.start(t, path, "-i", "127.0.0.1", "-p", p.port(), "-u", "user", "-P", "secret")
	tunneled(t, "socks5", p.address, true)
}
