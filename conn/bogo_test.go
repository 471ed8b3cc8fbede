package conn

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-7f57ff33/tickwire/conn/internal/transport"
)

// The tests' own program is a shim for BoGo, the TLS test runner of BoringSSL, if bogoEnv is
// set: "plain" for crypto/tls alone, "opens" for records that are opened above the socket.
// It is a client only. The runner is started by hand, in its own folder ssl/test/runner,
// once with each; both have to give the same results, test for test:
//
//	TICKWIRE_BOGO=opens go test . -shim-path CONN.TEST -allow-unimplemented -loose-errors \
//		-shim-config GOROOT/src/crypto/tls/bogo_config.json -json-output RESULTS
//
// bogoLogEnv names a file that grows by a byte with each connection that opens its records.
const (
	bogoEnv    = "TICKWIRE_BOGO"
	bogoLogEnv = "TICKWIRE_BOGO_LOG"
)

// bogoUnimplemented is the exit status that tells the runner so.
const bogoUnimplemented = 89

// bogoClient does the client's handshake. Read is called on r, anything else on t.
func bogoClient(nc net.Conn, cfg *tls.Config) (t *tls.Conn, r io.Reader, err error) {
	if os.Getenv(bogoEnv) != "opens" {
		t = tls.Client(nc, cfg)
		return t, t, t.Handshake()
	}
	under := underTLS(nc, &Config{})
	cfg = cfg.Clone()
	under.OpenLater(cfg)
	t = tls.Client(under, cfg)
	if err := t.Handshake(); err != nil {
		return t, t, err
	}
	if err := under.OpenNow(t); err != nil {
		return t, t, err
	}
	if name := os.Getenv(bogoLogEnv); name != "" && under.Opens() {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
		if err == nil {
			_, err = f.Write([]byte{'.'})
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			return t, t, err
		}
	}
	return t, transport.Readable(t), nil
}

// bogoList is a flag that comes several times.
type bogoList []int

func (l *bogoList) String() string { return fmt.Sprint(*l) }

func (l *bogoList) Set(s string) error {
	n, err := strconv.Atoi(s)
	*l = append(*l, n)
	return err
}

// bogoBytes is a flag in base64.
type bogoBytes []byte

func (b *bogoBytes) String() string { return base64.StdEncoding.EncodeToString(*b) }

func (b *bogoBytes) Set(s string) (err error) {
	*b, err = base64.StdEncoding.DecodeString(s)
	return err
}

// bogo is the shim's flags, as the runner names them.
type bogo struct {
	port, keyFile, certFile, trustCert, hostName             string
	advertiseALPN, expectALPN, expectServerName, expectRetry string
	shimID                                                   uint64
	minVersion, maxVersion, expectVersion, resumes, curve    int
	server, handshaker, writesFirst, declineALPN, rejectALPN bool
	sessionMiss, expectNoRetry, ipv6                         bool
	expectECH, expectECHAtFirst, expectECHOnResume           bool
	without                                                  [4]bool // TLS 1.0 to 1.3
	curves, signing, peerAlgorithms                          bogoList
	echConfig, echConfigOnResume                             bogoBytes
}

// bogoIgnored are flags that ask for nothing of a client, or for what Go, or Go 1.25, has no
// way to see.
var bogoIgnored = struct{ bools, values []string }{
	[]string{
		"expect-no-ech-name-override", "reverify-on-resume", "on-resume-expect-reject-early-data",
		"on-resume-expect-no-ech-name-override", "enable-early-data", "on-resume-expect-accept-early-data",
		"expect-ticket-supports-early-data", "expect-hrr", "expect-no-hrr", "on-resume-shim-writes-first", "verify-peer", "use-custom-verify-callback",
	},
	[]string{"expect-ech-name-override", "expect-peer-signature-algorithm", "ocsp-response"},
}

func (s *bogo) flags() *flag.FlagSet {
	f := flag.NewFlagSet("shim", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	for name, p := range map[string]*string{
		"port": &s.port, "key-file": &s.keyFile, "cert-file": &s.certFile, "trust-cert": &s.trustCert, "host-name": &s.hostName,
		"advertise-alpn": &s.advertiseALPN, "expect-alpn": &s.expectALPN, "expect-server-name": &s.expectServerName,
		"expect-ech-retry-configs": &s.expectRetry,
	} {
		f.StringVar(p, name, "", "")
	}
	for name, p := range map[string]*int{
		"expect-version": &s.expectVersion, "resume-count": &s.resumes, "expect-curve-id": &s.curve,
	} {
		f.IntVar(p, name, 0, "")
	}
	for name, p := range map[string]*bool{
		"ipv6": &s.ipv6, "server": &s.server, "is-handshaker-supported": &s.handshaker, "shim-writes-first": &s.writesFirst,
		"decline-alpn": &s.declineALPN, "reject-alpn": &s.rejectALPN, "expect-session-miss": &s.sessionMiss,
		"expect-no-ech-retry-configs": &s.expectNoRetry,
		"expect-ech-accept":           &s.expectECH, "on-initial-expect-ech-accept": &s.expectECHAtFirst, "on-resume-expect-ech-accept": &s.expectECHOnResume,
		"no-tls1": &s.without[0], "no-tls11": &s.without[1], "no-tls12": &s.without[2], "no-tls13": &s.without[3],
	} {
		f.BoolVar(p, name, false, "")
	}
	for name, v := range map[string]flag.Value{
		"curves": &s.curves, "signing-prefs": &s.signing, "expect-peer-verify-pref": &s.peerAlgorithms,
		"ech-config-list": &s.echConfig, "on-resume-ech-config-list": &s.echConfigOnResume,
	} {
		f.Var(v, name, "")
	}
	f.Uint64Var(&s.shimID, "shim-id", 0, "")
	f.IntVar(&s.minVersion, "min-version", tls.VersionTLS10, "")
	f.IntVar(&s.maxVersion, "max-version", tls.VersionTLS13, "")
	for _, name := range bogoIgnored.bools {
		f.Bool(name, false, "")
	}
	for _, name := range bogoIgnored.values {
		f.String(name, "", "")
	}
	return f
}

// bogoShim is the shim, if the environment asks for it; it does not return then.
func bogoShim() {
	if os.Getenv(bogoEnv) == "" {
		return
	}
	var s bogo
	if err := s.flags().Parse(os.Args[1:]); err != nil || s.server {
		os.Exit(bogoUnimplemented)
	}
	if s.handshaker {
		fmt.Println("No")
		os.Exit(0)
	}
	if err := s.run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// config is the client's configuration for all connections.
func (s *bogo) config() (*tls.Config, error) {
	cfg := &tls.Config{ServerName: "test", ClientSessionCache: tls.NewLRUClientSessionCache(0)}
	if s.hostName != "" {
		cfg.ServerName = s.hostName
	}
	for _, suite := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		cfg.CipherSuites = append(cfg.CipherSuites, suite.ID)
	}
	// What the flags leave is a range: from the first version that is not left out to the
	// next that is.
	cfg.MinVersion, cfg.MaxVersion = uint16(s.minVersion), uint16(s.maxVersion)
	first := slices.Index(s.without[:], false)
	if first < 0 {
		return nil, errors.New("no version is left")
	}
	last := len(s.without) - 1
	if i := slices.Index(s.without[first:], true); i >= 0 {
		last = first + i - 1
	}
	cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS10+uint16(first))
	cfg.MaxVersion = min(cfg.MaxVersion, tls.VersionTLS10+uint16(last))
	for alpn := s.advertiseALPN; alpn != ""; {
		n := 1 + int(alpn[0])
		cfg.NextProtos, alpn = append(cfg.NextProtos, alpn[1:n]), alpn[n:]
	}
	switch {
	case s.rejectALPN:
		cfg.NextProtos = []string{"unnegotiableprotocol"}
	case s.declineALPN:
		cfg.NextProtos = nil
	}
	for _, id := range s.curves {
		cfg.CurvePreferences = append(cfg.CurvePreferences, tls.CurveID(id))
	}
	if s.echConfig != nil {
		cfg.EncryptedClientHelloConfigList, cfg.MinVersion = s.echConfig, tls.VersionTLS13
	}
	return cfg, errors.Join(s.trust(cfg), s.identify(cfg))
}

// trust takes the root that the runner's certificates have.
func (s *bogo) trust(cfg *tls.Config) error {
	if s.trustCert == "" {
		return nil
	}
	file, err := os.ReadFile(s.trustCert)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(file)
	if block == nil {
		return errors.New("no certificate to trust")
	}
	root, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	cfg.RootCAs = x509.NewCertPool()
	cfg.RootCAs.AddCert(root)
	return nil
}

// identify takes the client's certificate, which is sent whether the server seems to like
// it or not.
func (s *bogo) identify(cfg *tls.Config) error {
	if s.keyFile == "" && s.certFile == "" {
		return nil
	}
	certificate, err := tls.LoadX509KeyPair(s.certFile, s.keyFile)
	if err != nil {
		return err
	}
	for _, id := range s.signing {
		certificate.SupportedSignatureAlgorithms = append(certificate.SupportedSignatureAlgorithms, tls.SignatureScheme(id))
	}
	cfg.GetClientCertificate = func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		var got bogoList
		for _, a := range r.SignatureSchemes {
			got = append(got, int(a))
		}
		if s.peerAlgorithms != nil && !slices.Equal(got, s.peerAlgorithms) {
			return nil, fmt.Errorf("signature algorithms %v, want %v", got, s.peerAlgorithms)
		}
		return &certificate, nil
	}
	return nil
}

// run makes the connections, one after the other.
func (s *bogo) run() error {
	cfg, err := s.config()
	if err != nil {
		return err
	}
	for i := range s.resumes + 1 {
		if i > 0 && s.echConfigOnResume != nil {
			cfg.EncryptedClientHelloConfigList = s.echConfigOnResume
		}
		host := "127.0.0.1"
		if s.ipv6 {
			host = "::1"
		}
		nc, err := net.Dial("tcp", net.JoinHostPort(host, s.port))
		if err != nil {
			return err
		}
		defer nc.Close()
		if _, err := nc.Write(binary.LittleEndian.AppendUint64(nil, s.shimID)); err != nil {
			return err
		}
		t, err := s.converse(nc, cfg, i == 0 && s.writesFirst)
		if err == io.EOF {
			err = s.check(t.ConnectionState(), i)
		} else {
			// The runner may still be writing, and is to see our alert.
			tcp := nc.(*net.TCPConn)
			tcp.CloseWrite()
			io.Copy(io.Discard, tcp)
			err = errors.Join(err, s.checkRejection(err))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// converse answers all bytes with their complement.
func (s *bogo) converse(nc net.Conn, cfg *tls.Config, first bool) (*tls.Conn, error) {
	t, r, err := bogoClient(nc, cfg)
	if err == nil && first {
		_, err = t.Write([]byte("hello"))
	}
	for b := make([]byte, 500); err == nil; {
		var n int
		if n, err = r.Read(b); err != nil {
			break
		}
		for i := range b[:n] {
			b[i] ^= 0xff
		}
		_, err = t.Write(b[:n])
	}
	return t, err
}

// checkRejection checks what a server that refused ECH has offered instead.
func (s *bogo) checkRejection(err error) error {
	var rejection *tls.ECHRejectionError
	if !errors.As(err, &rejection) {
		return nil
	}
	want, err := base64.StdEncoding.DecodeString(s.expectRetry)
	switch {
	case err != nil:
		return err
	case s.expectNoRetry && len(rejection.RetryConfigList) > 0, s.expectRetry != "" && !bytes.Equal(want, rejection.RetryConfigList):
		return fmt.Errorf("retry configurations %x, want %x", rejection.RetryConfigList, want)
	}
	return nil
}

// check checks the state of connection i.
func (s *bogo) check(state tls.ConnectionState, i int) error {
	if s.curve != 0 && state.CurveID != tls.CurveID(s.curve) {
		return fmt.Errorf("curve %v", state.CurveID)
	}
	if !state.HandshakeComplete {
		return nil
	}
	ech := s.expectECH || i == 0 && s.expectECHAtFirst || i > 0 && s.expectECHOnResume
	var wrong []string
	for what, bad := range map[string]bool{
		"protocol":      s.expectALPN != "" && state.NegotiatedProtocol != s.expectALPN || s.declineALPN && state.NegotiatedProtocol != "",
		"version":       s.expectVersion != 0 && int(state.Version) != s.expectVersion,
		"ECH":           ech && !state.ECHAccepted || i == 0 && !ech && state.ECHAccepted,
		"resumed":       s.sessionMiss && state.DidResume,
		"server's name": s.expectServerName != "" && state.ServerName != s.expectServerName,
	} {
		if bad {
			wrong = append(wrong, what)
		}
	}
	if wrong != nil {
		return fmt.Errorf("unexpected %s: %+v", strings.Join(wrong, ", "), state)
	}
	return nil
}
