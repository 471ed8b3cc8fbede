package redial

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/internal/exchange"
)

// With Dialer.OpenRecords each epoch opens its records, over a rotation as over a drop,
// and each but the first resumes the session of TLS: crypto/tls gets the tickets.
func TestOpenRecordsOverEpochs(t *testing.T) {
	for _, rotation := range []Rotation{Replace, Overlap} {
		config, root, err := exchange.SelfMade("127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(root)
		f := newFeed(t, func(n int, c *conn.Conn) {
			go drain(c)
			for i := 0; n%3 != 0 || i < 50; i++ { // each third session ends without a word
				if text(c, "%d", i) != nil {
					return
				}
				time.Sleep(50 * time.Microsecond)
			}
		})
		f.tls.Store(config)
		c := &Client{
			URL:      "wss://" + f.l.Addr().String(),
			Dialer:   &conn.Dialer{OpenRecords: true, TLSConfig: &tls.Config{RootCAs: roots, ClientSessionCache: tls.NewLRUClientSessionCache(4)}},
			MaxAge:   20 * time.Millisecond,
			Rotation: rotation,
			Backoff:  Backoff{Base: time.Millisecond},
			OnConnect: func(_ context.Context, s *Session) error {
				resumed := s.Conn.NetConn().(*tls.Conn).ConnectionState().DidResume
				if i := s.Conn.TransportInfo(); !i.OpensRecords || resumed != (s.Epoch > 1) {
					t.Errorf("epoch %d: %+v, resumed %v", s.Epoch, i, resumed)
				}
				return nil
			},
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		err = runs(t, ctx, c, func(_ context.Context, m Message) error {
			if m.Epoch >= 8 {
				return errEnough
			}
			return nil
		})
		cancel()
		if !errors.Is(err, errEnough) {
			t.Errorf("%v: %v", rotation, err)
		}
	}
}
