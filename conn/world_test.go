package conn

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// A world is hosts in memory: what a Dialer dials and a test answers for.
type world struct {
	mu     sync.Mutex
	hosts  map[string]func(net.Conn)
	script func(op netsim.Op, call int, n int) netsim.Step // of the dialing ends
	dialed []string
	ends   []*netsim.Conn
}

// dial is a Dialer's NetDial.
func (w *world) dial(ctx context.Context, _, address string) (net.Conn, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dialed = append(w.dialed, address)
	host := w.hosts[address]
	if host == nil {
		return nil, errors.New("nobody at " + address)
	}
	a, b := netsim.Pipe(0)
	a.Script(w.script)
	w.ends = append(w.ends, a)
	go func() {
		defer b.Close()
		host(b)
	}()
	return a, nil
}

// wantClosed fails if an end that was dialed is still open.
func (w *world) wantClosed(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, a := range w.ends {
		if !a.Closed() {
			t.Errorf("the connection to %s is open", w.dialed[i])
		}
	}
}

// request reads a request as net/http does, and returns what came behind it too.
func request(nc net.Conn) (*http.Request, *bufio.Reader) {
	br := bufio.NewReader(nc)
	r, err := http.ReadRequest(br)
	if err != nil {
		return nil, br
	}
	return r, br
}

// switching is the answer that agrees to a request.
func switching(r *http.Request, lines ...string) string {
	return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
		string(handshake.AppendAccept(nil, r.Header.Get("Sec-WebSocket-Key"))) + "\r\n" + strings.Join(append(lines, ""), "\r\n") + "\r\n"
}

// answering is a host that gives every request the same answer, and then waits for the end.
func answering(answer string) func(net.Conn) {
	return func(nc net.Conn) {
		if r, _ := request(nc); r != nil {
			io.WriteString(nc, answer)
			io.Copy(io.Discard, nc)
		}
	}
}

// accepting is a host that opens connections and sends back what comes.
func echoing(u Upgrader) func(net.Conn) {
	return func(nc net.Conn) {
		if c, err := u.Accept(nc); err == nil {
			echo(c)
		}
	}
}

// roundTrip fails unless the connection echoes.
func roundTrip(t *testing.T, c *Conn) {
	t.Helper()
	if err := c.WriteMessage(Text, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	m, err := c.ReadMessage()
	if err != nil || string(m.Data) != "hello" {
		t.Fatalf("%q, %v", m.Data, err)
	}
}

// wantDialError fails unless err is a *DialError of the step.
func wantDialError(t *testing.T, err error, step string) *DialError {
	t.Helper()
	var e *DialError
	if !errors.As(err, &e) || e.Step != step {
		t.Fatalf("%v, want an error of the step %s", err, step)
	}
	return e
}

// refusal is the *handshake.Error in err.
func refusal(t *testing.T, err error) *handshake.Error {
	t.Helper()
	var e *handshake.Error
	if !errors.As(err, &e) {
		t.Fatalf("%v is no *handshake.Error", err)
	}
	return e
}

// certify makes a certificate that is its own root, for the names, changed by change.
func certify(t testing.TB, change func(*x509.Certificate), names ...string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		}
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// overTLS puts TLS before a host.
func overTLS(cfg *tls.Config, host func(net.Conn)) func(net.Conn) {
	return func(nc net.Conn) {
		t := tls.Server(nc, cfg)
		if t.Handshake() == nil {
			host(t)
		}
	}
}

func newJar() http.CookieJar {
	jar, _ := cookiejar.New(nil)
	return jar
}

// status is an answer that refuses.
func status(code int, lines ...string) string {
	return fmt.Sprintf("HTTP/1.1 %d %s\r\n%s\r\n", code, http.StatusText(code), strings.Join(append(lines, ""), "\r\n"))
}
