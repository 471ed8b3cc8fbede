// Chat is a server for a chat room, with a page for the browser.
//
// conn.Group sends a message to all clients. It encodes the message once. A client that
// reads too slowly is ended, and does not delay the others.
//
//	chat -addr 127.0.0.1:8080
//
// Open http://127.0.0.1:8080/ in two windows. Ctrl-C closes all connections properly.
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

//go:embed page.html
var page []byte

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "`address` to listen on")
	flag.Parse()
	if err := run(*addr); err != nil {
		log.Fatal(err)
	}
}

// A room contains everybody. The zero value is ready to use.
type room struct{ everybody conn.Group }

// A said is what clients send and get. Only the server sets From and In.
type said struct {
	From string `json:"from,omitempty"`
	Text string `json:"text,omitempty"`
	In   int    `json:"in,omitempty"` // how many are in the room
}

func run(addr string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return err
	}
	var r room
	server := &conn.Server{Upgrader: conn.Upgrader{Check: ownNames("localhost:"+port, "127.0.0.1:"+port)}}
	server.Upgrader.Config.Frame = frame.Options{MaxMessage: 4096} // a longer message is refused with code 1009
	mux := http.NewServeMux()
	mux.Handle("/chat", server.HTTPHandler(r.join))
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write(page)
	})
	web := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { web.Close() })
	slog.Info("listening", "url", "http://"+listener.Addr().String()+"/")
	if err := web.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return server.Shutdown(context.Background()) // within CloseTimeout
}

// join keeps a client in the room until it goes.
func (r *room) join(c *conn.Conn, request *http.Request) {
	name := request.URL.Query().Get("name")
	if name == "" || len(name) > 40 {
		c.StartClose(frame.CodePolicyViolation, "a name of 1 to 40 bytes is wanted")
		for range c.Messages() { // until the client has answered
		}
		return
	}
	if r.everybody.Add(c) != nil {
		return
	}
	r.tell(said{From: name, Text: "is here", In: r.everybody.Len()})
	defer func() {
		r.everybody.Remove(c)
		r.tell(said{From: name, Text: "has left", In: r.everybody.Len()})
	}()
	for {
		var s said
		switch err := c.ReadJSON(&s); {
		case c.Err() != nil:
			slog.Info("left", "name", name, "error", c.Err())
			return
		case err != nil: // of the JSON: the connection goes on
			c.WriteJSON(said{Text: "that was not understood: " + err.Error()})
		case s.Text != "":
			r.tell(said{From: name, Text: s.Text})
		}
	}
}

// tell sends to everybody.
func (r *room) tell(s said) {
	data, err := json.Marshal(s)
	if err == nil {
		r.everybody.WriteMessage(conn.Text, data)
	}
}

// ownNames refuses requests for other host names. A page could otherwise use a name that
// its attacker resolves to this machine.
func ownNames(names ...string) func(*handshake.RequestView) (http.Header, error) {
	return func(r *handshake.RequestView) (http.Header, error) {
		if slices.Contains(names, string(r.Host())) {
			return nil, nil
		}
		return nil, &handshake.Error{Status: http.StatusMisdirectedRequest, Rule: "this server has another name"}
	}
}
