package websocket_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	websocket "github.com/seed-7f57ff33/tickwire/conn/gorilla"
)

// The calls are those of gorilla/websocket, on both sides.
func Example() {
	upgrader := websocket.Upgrader{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		kind, message, err := c.ReadMessage()
		if err == nil {
			c.WriteMessage(kind, message)
		}
	}))
	defer server.Close()

	c, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(server.URL, "http"), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	if err := c.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
		fmt.Println(err)
		return
	}
	_, message, err := c.ReadMessage()
	fmt.Println(string(message), err)
	// Output: hello <nil>
}
