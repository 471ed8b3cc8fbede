package conn

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// TestPeerInterop speaks with other WebSocket libraries: partners lists them. Each is a
// program in testdata/peers, which runs as
//
//	PROGRAM ARGUMENTS FOLDER
//
// FOLDER has ca.pem, and cert.pem and key.pem for 127.0.0.1. The program reads commands
// from its standard input, a line each, and does one after the other:
//
//	listen SCHEME MODE BITS      accept one connection, as a server
//	dial SCHEME PORT MODE BITS   open one to 127.0.0.1, as a client
//
// SCHEME is ws or wss. MODE says what the program itself does about permessage-deflate:
//
//	none       does not offer or accept it
//	deflate    offers or accepts it
//	alone      also asks both sides for no context takeover
//
// BITS, if not 0, is the window that the program asks of both sides. The programs print
// these lines:
//
//	version TEXT              of the library, first of all
//	port N                    the port, as the answer to listen
//	text SIZE SHA256          a message came; the size in bytes
//	binary SIZE SHA256
//	closed CODE REASON        the Close that came; 0 if the library does not tell
//	error TEXT                instead of closed
//
// They send each message back, after its line. A text "close CODE REASON" is not sent
// back: the program closes with code and reason, with neither if CODE is 1005.
func TestPeerInterop(t *testing.T) { interop(t, partners) }

// TestMorePeers is TestPeerInterop for morePartners.
func TestMorePeers(t *testing.T) { interop(t, morePartners) }

// peersEnv is the folder where a step of .ci/run has put the programs. With it a program
// that is missing is a failure.
const peersEnv = "TICKWIRE_TEST_PEERS"

func interop(t *testing.T, partners []partner) {
	built := os.Getenv(peersEnv)
	if built == "" {
		t.Skip(peersEnv, "is not set: bash .ci/run peers installs the programs, and sets it")
	}
	folder := t.TempDir()
	if err := os.Chmod(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	files := writeChain(t, folder)
	for _, p := range partners {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			s := &partnerRun{partner: p, files: files, program: p.start(t, built, folder)}
			_, s.version = s.program.expect(t, "version")
			for _, why := range []string{p.client, p.server, p.cannot} {
				if why != "" {
					t.Logf("%s: %s", p.name, why)
				}
			}
			if p.server == "" {
				s.all(t, frame.Client)
			}
			if p.client == "" && !t.Failed() {
				s.all(t, frame.Server)
			}
		})
	}
}

// A partnerProgram is a running program: commands in, lines out.
type partnerProgram struct {
	command func(line string)
	lines   chan string
	said    func() string // what else it said
}

// expect returns the rest of the next line, which must begin with one of the words.
func (k *partnerProgram) expect(t *testing.T, words ...string) (word, rest string) {
	t.Helper()
	select {
	case line, ok := <-k.lines:
		if !ok {
			t.Fatalf("the program ended; it said\n%s", k.said())
		}
		word, rest, _ = strings.Cut(line, " ")
		for _, w := range words {
			if word == w {
				return word, rest
			}
		}
		t.Fatalf("the program printed %q where %q is due; it said\n%s", line, words, k.said())
	case <-time.After(60 * time.Second):
		t.Fatalf("the program does not print %q; it said\n%s", words, k.said())
	}
	return "", ""
}

// startPartner runs a program until the test ends.
func startPartner(t *testing.T, env, command []string) *partnerProgram {
	t.Helper()
	path, err := exec.LookPath(command[0])
	if err != nil {
		t.Fatalf("%s is not installed: %v", command[0], err)
	}
	cmd := exec.Command(path, command[1:]...)
	cmd.Env = append(os.Environ(), env...)
	log := new(tail)
	cmd.Stderr = log
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	k := &partnerProgram{lines: make(chan string, 10_000), said: log.String}
	k.command = func(line string) {
		if _, err := io.WriteString(in, line+"\n"); err != nil {
			t.Errorf("%q: %v", line, err)
		}
	}
	go func() {
		defer close(k.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			k.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		in.Close()
		cmd.Process.Kill()
		for range k.lines {
		}
		cmd.Wait()
	})
	return k
}

// writeChain writes ca.pem, cert.pem and key.pem: some libraries take no certificate that
// is its own root. It returns what our side uses.
func writeChain(t *testing.T, folder string) (files chain) {
	t.Helper()
	made := func(template, parent *x509.Certificate, public any, key *ecdsa.PrivateKey) []byte {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	newKey := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	rootKey, key := newKey(), newKey()
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tickwire test root"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	rootDER := made(root, root, &rootKey.PublicKey, rootKey)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "127.0.0.1"},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	files.certificate = tls.Certificate{Certificate: [][]byte{made(leaf, root, &key.PublicKey, rootKey)}, PrivateKey: key}
	public, private := pemOf(t, files.certificate)
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rootDER}))
	for name, text := range map[string]string{"ca.pem": ca, "cert.pem": public, "key.pem": private} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	files.roots = x509.NewCertPool()
	files.roots.AppendCertsFromPEM([]byte(ca))
	return files
}

type chain struct {
	certificate tls.Certificate
	roots       *x509.CertPool
}

// A variant is how a connection is opened, and how much goes over it.
type variant struct {
	tls        uint16 // a version, 0 for none
	mode       string // none, deflate or alone
	bits       int    // of both windows; 0 if nobody asks
	peerAsks   bool   // the peer asks for mode and bits, and not we
	large      bool   // 16 MiB too
	brief      bool   // no sizes, only the end
	peerCloses bool
	code       frame.CloseCode
	reason     string
}

func (v variant) String() string {
	name := "plain"
	if v.tls != 0 {
		name = tls.VersionName(v.tls)
	}
	name += " " + v.mode
	if v.bits != 0 {
		name += " " + strconv.Itoa(v.bits)
	}
	if v.peerAsks {
		name += " asked by the peer"
	}
	side := "us"
	if v.peerCloses {
		side = "the peer"
	}
	return fmt.Sprintf("%s, closed by %s with %d", name, side, v.code)
}

// closings are the codes and reasons with which connections are closed.
var closings = []struct {
	code   frame.CloseCode
	reason string
}{
	{frame.CodeNormal, "done"},
	{frame.CodeGoingAway, "経済 goes away"},
	{frame.CodeNormal, ""},
	{3000, "a"},
	{4999, strings.Repeat("日", 41)}, // 123 bytes, as many as fit
	{frame.CodeNoStatus, ""},
}

// variants are those that the partner can do where our side has the role.
func (p *partner) variants(role frame.Role) []variant {
	var all []variant
	add := func(v variant) {
		g := closings[0]
		// Both sides close in turn, with two codes that everyone can send.
		if v.peerCloses = len(all)%2 == 1; len(all)%4 > 1 {
			g = closings[3]
		}
		v.code, v.reason = g.code, g.reason
		all = append(all, v)
	}
	versions := []uint16{0, tls.VersionTLS12, tls.VersionTLS13}
	can := p.packs(role)
	for _, version := range versions {
		add(variant{tls: version, mode: "none", large: version == 0})
		if can.deflate {
			add(variant{tls: version, mode: "deflate", large: version == tls.VersionTLS13})
		}
		if can.alone {
			add(variant{tls: version, mode: "alone"})
		}
	}
	if can.peerAlone {
		add(variant{mode: "alone", peerAsks: true})
	}
	for bits := 9; bits <= 15; bits++ {
		if can.least > 0 && bits >= can.least {
			add(variant{mode: "deflate", bits: bits})
		}
		if can.peerLeast > 0 && bits >= can.peerLeast {
			add(variant{mode: "deflate", bits: bits, peerAsks: true})
		}
	}
	for _, g := range closings {
		all = append(all, variant{mode: "none", brief: true, code: g.code, reason: g.reason})
		if p.canSend(g.code) {
			all = append(all, variant{mode: "none", brief: true, code: g.code, reason: g.reason, peerCloses: true})
		}
	}
	return all
}

// A partnerRun is a partner with what was done.
type partnerRun struct {
	partner
	files                 chain
	program               *partnerProgram
	version               string
	connections, messages int
}

// all runs every variant where our side has the role.
func (s *partnerRun) all(t *testing.T, role frame.Role) {
	theirs := "server"
	if role == frame.Server {
		theirs = "client"
	}
	s.connections, s.messages = 0, 0
	start := time.Now()
	for _, v := range s.variants(role) {
		t.Run(theirs+", "+v.String(), func(t *testing.T) {
			c := s.open(t, role, v)
			defer c.Close()
			s.agreed(t, c, role, v)
			if !v.brief {
				s.exchange(t, c, v)
			}
			s.end(t, c, v)
			s.connections++
		})
		if t.Failed() {
			return // what the program says next may be about this connection
		}
	}
	t.Logf("%s %s as %s: %d connections, %d messages both ways, %.1f s", s.name, s.version, theirs, s.connections, s.messages, time.Since(start).Seconds())
}

// open opens a connection, by a command to the program.
func (s *partnerRun) open(t *testing.T, role frame.Role, v variant) *Conn {
	t.Helper()
	scheme, mode, bits := "ws", v.mode, 0
	if v.tls != 0 {
		scheme = "wss"
	}
	cfg := Config{}
	if v.mode != "none" {
		cfg.Deflate = &deflate.Config{}
		if s.packs(role).failsPlain {
			cfg.Deflate.Threshold = -1
		}
		if v.peerAsks {
			bits = v.bits
		} else {
			mode = "deflate"
			alone := v.mode == "alone"
			cfg.Deflate.ServerNoContextTakeover, cfg.Deflate.ClientNoContextTakeover = alone, alone
			cfg.Deflate.ServerMaxWindowBits, cfg.Deflate.ClientMaxWindowBits = v.bits, v.bits
		}
	}
	tlsConfig := &tls.Config{MinVersion: v.tls, MaxVersion: v.tls}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	var c *Conn
	if role == frame.Client {
		s.program.command(fmt.Sprintf("listen %s %s %d", scheme, mode, bits))
		_, port := s.program.expect(t, "port")
		tlsConfig.RootCAs = s.files.roots
		d := Dialer{TLSConfig: tlsConfig, Config: cfg, HandshakeTimeout: -1}
		var err error
		if c, err = d.Dial(ctx, scheme+"://127.0.0.1:"+port+"/"); err != nil {
			t.Fatalf("%v; it said\n%s", err, s.program.said())
		}
	} else {
		opened, failed := make(chan *Conn, 1), make(chan error, 1)
		server := &Server{
			Upgrader: Upgrader{Config: cfg, Origins: []string{"http://127.0.0.1:*"}},
			Handler:  func(c *Conn) { opened <- c; <-c.Done() },
			OnError:  func(err error) { failed <- err },
		}
		l := newListener(t)
		_, port, _ := net.SplitHostPort(l.Addr().String())
		if v.tls != 0 {
			tlsConfig.Certificates = []tls.Certificate{s.files.certificate}
			l = tls.NewListener(UnderTLS(l, &server.Upgrader.Config), tlsConfig)
		}
		go server.Serve(l)
		t.Cleanup(func() { server.Close() })
		s.program.command(fmt.Sprintf("dial %s %s %s %d", scheme, port, mode, bits))
		select {
		case c = <-opened:
		case err := <-failed:
			t.Fatalf("%v; it said\n%s", err, s.program.said())
		case line := <-s.program.lines:
			t.Fatalf("the program printed %q; it said\n%s", line, s.program.said())
		case <-ctx.Done():
			t.Fatalf("no connection; it said\n%s", s.program.said())
		}
	}
	if err := c.SetReadDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	return c
}

// agreed checks what the handshakes have agreed on.
func (s *partnerRun) agreed(t *testing.T, c *Conn, role frame.Role, v variant) {
	t.Helper()
	if v.tls != 0 {
		under, ok := c.NetConn().(interface{ ConnectionState() tls.ConnectionState })
		if !ok || under.ConnectionState().Version != v.tls {
			t.Errorf("TLS over %T is not %s", c.NetConn(), tls.VersionName(v.tls))
		}
	}
	p, packed := c.Compression()
	if packed != (v.mode != "none") {
		t.Fatalf("compressed: %v", packed)
	}
	if !packed {
		return
	}
	can, want := s.packs(role), deflate.Params{ServerMaxWindowBits: 15, ClientMaxWindowBits: 15}
	want.ServerNoContextTakeover, want.ClientNoContextTakeover = v.mode == "alone", v.mode == "alone"
	if v.bits != 0 {
		want.ServerMaxWindowBits, want.ClientMaxWindowBits = v.bits, v.bits
	}
	if v.peerAsks && can.peerServerOnly || !v.peerAsks && can.serverOnly {
		want.ClientMaxWindowBits = 15
	}
	if p != want {
		t.Errorf("agreed on %+v, want %+v", p, want)
	}
}

// A sample is a message to be echoed.
type sample struct {
	op   Opcode
	data []byte
	line string // what a program says of it
}

func newSample(op Opcode, data []byte) *sample {
	kind := "text"
	if op == Binary {
		kind = "binary"
	}
	return &sample{op, data, fmt.Sprintf("%s %d %x", kind, len(data), sha256.Sum256(data))}
}

// samples has those of sampleOf, by type and size.
var samples sync.Map

type sampleKey struct {
	op   Opcode
	size int
}

// sampleOf is a message of size bytes that a compressor can make smaller.
func sampleOf(op Opcode, size int) *sample {
	if s, ok := samples.Load(sampleKey{op, size}); ok {
		return s.(*sample)
	}
	b := make([]byte, 0, size+64)
	for i := 0; len(b) < size; i++ {
		if b = fmt.Appendf(b, `{"i":%d,"名":"価格 é","bid":%d.%02d},`, i, i*i%977, i%100); op == Binary {
			b = append(b, 0, 0xff, 0xc0, byte(i))
		}
	}
	b = b[:size]
	if op == Text {
		whole := len(bytes.ToValidUTF8(b, nil)) // but for the rune that was cut
		for i := whole; i < size; i++ {
			b[i] = 'x'
		}
	}
	s, _ := samples.LoadOrStore(sampleKey{op, size}, newSample(op, b))
	return s.(*sample)
}

// exchange sends messages of all sizes and both types one by one, one in pieces, many at
// once, and a ping.
func (s *partnerRun) exchange(t *testing.T, c *Conn, v variant) {
	t.Helper()
	sizes := []int{0, 1, 125, 126, 65_535, 65_536, 1 << 20}
	if v.large {
		sizes = append(sizes, 16<<20)
	}
	can, total := s.packs(c.Role()), 0
	empty := 0
	if can.failsEmpty && v.mode != "none" {
		sizes, empty = sizes[1:], 1
	}
	for _, n := range sizes {
		for _, op := range []Opcode{Text, Binary} {
			m := sampleOf(op, n)
			if err := c.WriteMessage(op, m.data); err != nil {
				t.Fatal(err)
			}
			s.echoed(t, c, m)
			total += n
		}
	}
	in, err := c.NextWriter(Text)
	if err != nil {
		t.Fatal(err)
	}
	m := sampleOf(Text, 10_000)
	for part := m.data; len(part) > 0; { // runes too are cut
		n := min(len(part), 1999)
		if _, err := in.Write(part[:n]); err != nil {
			t.Fatal(err)
		}
		part = part[n:]
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	s.echoed(t, c, m)
	const many = 100
	for i := empty; i < many; i++ {
		if err := c.AppendMessage(Binary, sampleOf(Binary, i).data); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	for i := empty; i < many; i++ {
		s.echoed(t, c, sampleOf(Binary, i))
	}
	if v.mode != "none" {
		if got := c.Stats().BytesRead; (got < uint64(total/2)) == can.sendsPlain {
			t.Errorf("%d bytes of messages came in %d bytes", total, got)
		}
	}
	pinged := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		_, err := c.Ping(ctx)
		pinged <- err
		_ = c.WriteMessage(Text, []byte("after"))
	}()
	s.echoed(t, c, newSample(Text, []byte("after")))
	if err := <-pinged; err != nil {
		t.Errorf("Ping: %v", err)
	}
}

// echoed checks that the peer has told of the message, and sent it back.
func (s *partnerRun) echoed(t *testing.T, c *Conn, want *sample) {
	t.Helper()
	m, err := c.ReadMessage()
	if err != nil {
		t.Fatalf("where %v of %d bytes is due: %v; it said\n%s", want.op, len(want.data), err, s.program.said())
	}
	if m.Opcode != want.op || !bytes.Equal(m.Data, want.data) {
		t.Fatalf("%v of %d bytes came back as %v of %d, %.100q", want.op, len(want.data), m.Opcode, len(m.Data), m.Data)
	}
	s.told(t, want)
}

// told checks what the peer says of a message.
func (s *partnerRun) told(t *testing.T, want *sample) {
	t.Helper()
	word, rest := s.program.expect(t, "text", "binary")
	if said := word + " " + rest; said != want.line {
		t.Fatalf("the peer says %s, want %s", said, want.line)
	}
	s.messages++
}

// end closes the connection from one side, and checks what both have learned of it.
func (s *partnerRun) end(t *testing.T, c *Conn, v variant) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var e *CloseError
	if v.peerCloses {
		order := newSample(Text, fmt.Appendf(nil, "close %d %s", v.code, v.reason))
		if err := c.WriteMessage(Text, order.data); err != nil {
			t.Fatal(err)
		}
		s.told(t, order)
		if _, err := c.ReadMessage(); !errors.As(err, &e) || e.Local || e.Code != v.code || e.Reason != v.reason {
			t.Fatalf("%v, want code %d and reason %q; it said\n%s", err, v.code, v.reason, s.program.said())
		}
	} else {
		if err := c.Shutdown(ctx, v.code, v.reason); err != nil {
			t.Fatalf("Shutdown: %v; it said\n%s", err, s.program.said())
		}
		want := v.code
		if s.answer != 0 {
			want = s.answer
		}
		if v.code == frame.CodeNoStatus && s.bare != 0 {
			want = s.bare
		}
		if err := c.Err(); !errors.As(err, &e) || !e.Local || e.Code != want {
			t.Errorf("%v, want the answer %d", err, want)
		}
	}
	_, rest := s.program.expect(t, "closed")
	number, reason, _ := strings.Cut(rest, " ")
	code, err := strconv.Atoi(number)
	switch {
	case err != nil:
		t.Errorf("the peer says closed %q", rest)
	case v.peerCloses && code != int(e.SentCode) && (code != 0 || !s.untold):
		t.Errorf("the peer says that we answered with %d, we sent %d", code, e.SentCode)
	case !v.peerCloses && (code != int(v.code) || reason != v.reason):
		t.Errorf("the peer says closed %q, we sent %d %q", rest, v.code, v.reason)
	}
}

// A tail keeps the end of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (l *tail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.b = append(l.b, p...); len(l.b) > 1<<16 {
		l.b = bytes.Clone(l.b[len(l.b)-1<<14:])
	}
	return len(p), nil
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.b)
}
