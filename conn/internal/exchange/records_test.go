package exchange

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"net"
	"testing"

	"github.com/seed-7f57ff33/tickwire/conn"
)

// countedRecords counts the TLS records of data that it reads.
type countedRecords struct {
	net.Conn
	n      *int
	header []byte
	left   int
}

func (c *countedRecords) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	for b := p[:n]; len(b) > 0; {
		if k := min(c.left, len(b)); k > 0 {
			b, c.left = b[k:], c.left-k
			continue
		}
		c.header = append(c.header, b[0])
		b = b[1:]
		if len(c.header) == 5 {
			c.left = int(binary.BigEndian.Uint16(c.header[3:]))
			if c.header[0] == 23 {
				*c.n++
			}
			c.header = c.header[:0]
		}
	}
	return n, err
}

// Over RecordPerMessage each message is a record, which the engine opens or crypto/tls;
// otherwise many are in one.
func TestRecordPerMessage(t *testing.T) {
	const messages = 3000
	config, root, err := SelfMade("localhost")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(root)
	for _, each := range []bool{false, true} {
		for _, opens := range []bool{false, true} {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			address := l.Addr().String()
			if each {
				l = RecordPerMessage(l, config)
			} else {
				l = tls.NewListener(l, config)
			}
			ctx, cancel := context.WithCancel(t.Context())
			served := make(chan error, 1)
			go func() { served <- new(Server).Serve(ctx, l) }()
			records := 0
			d := conn.Dialer{TLSConfig: &tls.Config{RootCAs: roots}, OpenRecords: opens, NetDial: func(ctx context.Context, _, _ string) (net.Conn, error) {
				nc, err := new(net.Dialer).DialContext(ctx, "tcp", address)
				return &countedRecords{Conn: nc, n: &records}, err
			}}
			c, err := d.Dial(t.Context(), "wss://localhost")
			if err != nil {
				t.Fatal(err)
			}
			check := NewChecker(ask(t, c, Subscribe{Op: "subscribe", Limit: messages}).First)
			for range messages {
				m, err := c.ReadMessage()
				if err != nil {
					t.Fatal(err)
				}
				if err := check.Check(m.Data); err != nil {
					t.Fatal(err)
				}
			}
			if each && (records < messages || records > messages+20) || !each && records > messages/4 {
				t.Errorf("a record each %v, opened by the engine %v: %d records for %d messages", each, opens, records, messages)
			}
			c.Close()
			cancel()
			if err := <-served; err != nil {
				t.Error(err)
			}
		}
	}
}
