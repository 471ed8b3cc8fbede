// Package exchange is a loopback server that sends trades like an exchange.
package exchange

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// Trade returns trade i in the format of the feed.
func Trade(i int) []byte {
	return fmt.Appendf(nil, `{"e":"aggTrade","E":%d,"s":"BTCUSDT","a":%d,"p":"%d.%02d000000","q":"0.%05d000","f":%d,"l":%d,"T":%d,"m":%t,"M":true}`,
		1700000000000+i, i, 60000+i%977, i%100, i%99991, 2*i, 2*i+1, 1700000000000+i, i%3 == 0)
}

// Certificate makes a certificate for loopback, and writes it to a file for the client to
// trust.
func Certificate(file string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "exchange"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, os.WriteFile(file, text, 0o600)
}

// Serve sends n trades to each client that connects to l, with a ping after each hundred,
// and then a Close frame with code 1001. If compressed is set it agrees to compression
// without context takeover. It calls told with the number of pongs received, and whether
// the connection was compressed.
func Serve(l net.Listener, n int, compressed bool, told func(pongs int, compressed bool)) error {
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		pongs := make(chan struct{}, n)
		u := conn.Upgrader{Config: conn.Config{Control: func(_ *conn.Conn, op conn.Opcode, _ []byte) (bool, error) {
			if op == frame.Pong {
				pongs <- struct{}{}
			}
			return true, nil
		}}}
		if compressed {
			u.Config.Deflate = &deflate.Config{ServerNoContextTakeover: true, ClientNoContextTakeover: true, Threshold: -1}
		}
		c, err := u.Upgrade(w, r)
		if err != nil {
			return
		}
		_, packed := c.Compression()
		go func() {
			defer c.Close()
			for i := range n {
				if err := c.WriteMessage(conn.Text, Trade(i)); err != nil {
					return
				}
				if i%100 == 99 {
					_ = c.WriteControl(frame.Ping, fmt.Appendf(nil, "%d", i), time.Time{})
				}
			}
			_ = c.StartClose(frame.CodeGoingAway, "the end")
			for err = nil; err == nil; {
				_, err = c.ReadMessage()
			}
			told(len(pongs), packed)
		}()
	}))
}
