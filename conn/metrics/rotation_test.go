package metrics

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
)

// Rotations with Overlap, in which two connections are open at once, leave out no counter of a
// connection and count none twice; nor does a second run of the Client, whose epochs begin again.
func TestRotations(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := conn.Upgrade(w, r)
		if err != nil {
			return
		}
		defer c.Close()
		for err == nil {
			err = c.WriteMessage(conn.Text, []byte("m"))
			if err == nil {
				_, err = c.ReadMessage()
			}
		}
	}))
	defer server.Close()
	var set Set
	var conns []*conn.Conn
	enough := errors.New("enough")
	c := &redial.Client{
		URL: "ws" + strings.TrimPrefix(server.URL, "http"), MaxAge: 5 * time.Millisecond, Rotation: redial.Overlap, CloseWait: time.Minute,
		OnConnect: func(_ context.Context, s *redial.Session) error {
			conns = append(conns, s.Conn)
			return nil
		},
	}
	if err := set.Client("f", c); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		err := c.Run(t.Context(), func(_ context.Context, m redial.Message) error {
			if m.Epoch == 4 {
				return enough
			}
			_ = m.Session.Conn.WriteMessage(conn.Text, m.Data) // an error if its Close has gone
			return nil
		})
		if !errors.Is(err, enough) {
			t.Fatal(err)
		}
	}
	got, sum := values(t, &set), conn.Stats{}
	for _, c := range conns {
		add(&sum, c.Stats())
	}
	n := c.Counts()
	ends := 0.0
	for k, v := range got {
		if strings.HasPrefix(k, "conn.closed ") {
			ends += v
		}
	}
	want := map[string]float64{
		"conn.open f 0": 0, "client.up f 0": 0,
		"conn.messages f 0 receive": float64(sum.MessagesRead), "conn.messages f 0 transmit": float64(sum.MessagesWritten),
		"conn.io f 0 receive": float64(sum.BytesRead), "conn.io f 0 transmit": float64(sum.BytesWritten),
		"client.rotations f 0": float64(n.Rotations), "client.sessions f 0": float64(n.Connections), "client.dials f 0": float64(n.Dials),
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s is %v, not %v", k, got[k], v)
		}
	}
	if n.Rotations < 6 || ends < 8 {
		t.Errorf("%+v, %v ends", n, ends)
	}
}
