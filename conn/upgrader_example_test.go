package conn_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// A server on localhost takes requests only by its own names. A page of another name that resolves to it, and that is of
// the same origin for that reason, is refused.
func ExampleUpgrader_ownNames() {
	upgrader := conn.Upgrader{Check: func(r *handshake.RequestView) (http.Header, error) {
		switch strings.ToLower(string(r.Host())) {
		case "localhost:8080", "127.0.0.1:8080", "[::1]:8080":
			return nil, nil
		}
		return nil, &handshake.Error{Status: http.StatusMisdirectedRequest, Rule: "this server has another name"}
	}}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := upgrader.Upgrade(w, r); err == nil {
			c.Close()
		}
	}))
	defer srv.Close()
	for _, host := range []string{"localhost:8080", "rebound.example:8080"} {
		r, _ := http.NewRequest("GET", srv.URL, nil)
		r.Host = host
		r.Header = http.Header{"Origin": {"http://" + host}, "Connection": {"Upgrade"}, "Upgrade": {"websocket"},
			"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			fmt.Println(err)
			return
		}
		answer.Body.Close()
		fmt.Println(host, answer.StatusCode)
	}
	// Output:
	// localhost:8080 101
	// rebound.example:8080 421
}
