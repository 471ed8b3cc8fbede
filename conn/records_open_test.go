package conn

import (
	"crypto/tls"
	"net"
	"testing"

	"github.com/seed-7f57ff33/tickwire/frame"
)

func TestOpenRecords(t *testing.T) {
	serverTLS, clientTLS := testCertificate(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go acceptEach(tls.NewListener(l, serverTLS), &Upgrader{}, func(c *Conn) {
		for range 1000 {
			if err := c.WriteMessage(Text, make([]byte, 200)); err != nil {
				t.Error(err)
			}
		}
		c.Shutdown(t.Context(), frame.CodeNormal, "done")
	})
	d := Dialer{TLSConfig: clientTLS, OpenRecords: true}
	c, err := d.Dial(t.Context(), "wss://"+l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Log(c.TransportInfo())
	for i := 0; ; i++ {
		m, err := c.ReadMessage()
		if err != nil {
			t.Log(i, err)
			break
		}
		if len(m.Data) != 200 {
			t.Fatal()
		}
	}
}
