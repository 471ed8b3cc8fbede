package transport

import (
	"crypto/tls"
	"errors"
	"net"

	"github.com/seed-7f57ff33/tickwire/conn/internal/conntest"
)

// A clientSide is how a client of a puppet reads.
type clientSide int

const (
	plainTLS  clientSide = iota // crypto/tls on the connection
	ourTLS                      // over records that open by themselves
	bothSides                   // how many there are
)

// client does a client's handshake.
func (side clientSide) client(nc net.Conn) (*tls.Conn, error) {
	cfg := conntest.PuppetClient()
	if side == plainTLS {
		client := tls.Client(nc, cfg)
		return client, client.Handshake()
	}
	r := under(nc)
	r.OpenLater(cfg)
	client := tls.Client(r, cfg)
	err := client.Handshake()
	if err == nil {
		if err = r.OpenNow(client); err == nil && !r.Opens() {
			err = errors.New(r.own.reason)
		}
	}
	return client, err
}

// under returns records over nc, as a Conn has them.
func under(nc net.Conn) *Records { return UnderTLS(nc, Options{ReadBuffer: 64 << 10}) }
