package sdk

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/olahol/melody"
)

// melody broadcasts to all its sessions, and closes them, once they are known to be there.
func TestMelodyBroadcasts(t *testing.T) {
	const clients = 20
	m := melody.New()
	connected, gone := make(chan struct{}, clients), make(chan struct{}, clients)
	m.HandleConnect(func(*melody.Session) { connected <- struct{}{} })
	m.HandleDisconnect(func(*melody.Session) { gone <- struct{}{} })
	m.HandleMessage(func(s *melody.Session, p []byte) { m.BroadcastOthers(append([]byte("others: "), p...), s) })
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.HandleRequest(w, r) }))
	defer s.Close()
	var conns []*websocket.Conn
	for range clients {
		c, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(s.URL, "http"), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
		<-connected
	}
	want := func(message string, but int) {
		t.Helper()
		for i, c := range conns {
			if i == but {
				continue
			}
			if op, p, err := c.ReadMessage(); op != websocket.TextMessage || string(p) != message || err != nil {
				t.Fatalf("client %d: %d %q, %v; want %q", i, op, p, err, message)
			}
		}
	}
	for i := range 50 {
		if err := m.Broadcast(fmt.Appendf(nil, "all: %d", i)); err != nil {
			t.Fatal(err)
		}
		want(fmt.Sprintf("all: %d", i), -1)
		if err := conns[i%clients].WriteMessage(websocket.TextMessage, fmt.Appendf(nil, "%d", i)); err != nil {
			t.Fatal(err)
		}
		want(fmt.Sprintf("others: %d", i), i%clients)
	}
	if err := m.CloseWithMsg(websocket.FormatCloseMessage(websocket.CloseGoingAway, "bye")); err != nil {
		t.Fatal(err)
	}
	for i, c := range conns {
		if _, _, err := c.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseGoingAway) {
			t.Errorf("client %d: %v", i, err)
		}
	}
	for range clients {
		<-gone
	}
}
