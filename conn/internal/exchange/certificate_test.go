package exchange

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"testing"
)

func TestSelfMadeVerifiesAgainstItsOwnRootOnly(t *testing.T) {
	config, root, err := SelfMade("127.0.0.1", "localhost")
	if err != nil {
		t.Fatal(err)
	}
	own := x509.NewCertPool()
	if !own.AppendCertsFromPEM(root) {
		t.Fatalf("no certificate in %q", root)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			tls.Server(c, config).Handshake() // its error is the client's, seen below
			c.Close()
		}
	}()
	for _, test := range []struct {
		name  string
		roots *x509.CertPool
		ok    bool
	}{
		{"127.0.0.1", own, true},
		{"localhost", own, true},
		{"example.com", own, false},
		{"localhost", x509.NewCertPool(), false},
	} {
		client, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: test.roots, ServerName: test.name})
		if err == nil {
			client.Close()
		}
		var verification *tls.CertificateVerificationError
		if test.ok && err != nil || !test.ok && !errors.As(err, &verification) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}
