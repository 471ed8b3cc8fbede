package conn_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// A client that subscribes to a feed and prints it until Ctrl-C. Then it says goodbye, and
// prints what still comes until the server has answered.
func ExampleDial() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	c, err := conn.Dial(ctx, "ws://127.0.0.1:8080/feed")
	if err != nil {
		log.Fatal(err)
	}
	context.AfterFunc(ctx, func() { c.StartClose(frame.CodeGoingAway, "") })
	c.WriteMessage(conn.Text, []byte(`{"op":"subscribe"}`)) // an error of it ends the loop too
	for m, err := range c.Messages() {
		if err != nil {
			log.Print(err) // who ended the connection, and why
			return
		}
		fmt.Printf("%s\n", m.Data) // a view: valid until the next message
	}
}

// A server that returns what it gets, until Ctrl-C. Then it says goodbye to each client, and
// waits until their handlers have returned.
func ExampleServer_untilInterrupt() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	s := &conn.Server{Handler: func(c *conn.Conn) {
		for m, err := range c.Messages() {
			if err != nil || c.WriteMessage(m.Opcode, m.Data) != nil {
				return // the connection is closed when the handler returns
			}
		}
	}}
	web := &http.Server{Addr: "127.0.0.1:8080", Handler: s}
	context.AfterFunc(ctx, func() { web.Close() })
	log.Print(web.ListenAndServe())
	log.Print(s.Shutdown(context.Background()))
}

// A handler of net/http that returns what it gets.
func ExampleUpgrade() {
	http.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		c, err := conn.Upgrade(w, r)
		if err != nil {
			return // the client has been told
		}
		defer c.Close()
		for m, err := range c.Messages() {
			if err != nil || c.WriteMessage(m.Opcode, m.Data) != nil {
				return
			}
		}
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", nil))
}

// A server that sends the same to all its clients.
func ExampleGroup() {
	var clients conn.Group
	http.HandleFunc("/feed", func(w http.ResponseWriter, r *http.Request) {
		c, err := conn.Upgrade(w, r)
		if err != nil {
			return // the client has been told
		}
		defer c.Close()
		if clients.Add(c) != nil {
			return
		}
		defer clients.Remove(c)
		for range c.Messages() { // answers pings, and hears when the client goes
		}
	})
	go func() {
		for now := range time.Tick(time.Second) {
			clients.WriteMessage(conn.Text, now.AppendFormat(nil, time.RFC3339))
		}
	}()
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", nil))
}

// Many feeds on one thread, which spins: no message waits for a goroutine to wake up.
func ExamplePoller() {
	ctx := context.Background()
	p := conn.Poller{
		Spin: -1,
		Handler: func(c *conn.Conn, m conn.Message) {
			fmt.Printf("%s: %s\n", c.RemoteAddr(), m.Data) // a view: valid until Handler returns
		},
		Failed: func(c *conn.Conn, err error) {
			log.Print(c.RemoteAddr(), ": ", err)
		},
	}
	for _, url := range []string{"ws://127.0.0.1:8080/trades", "ws://127.0.0.1:8080/quotes"} {
		c, err := conn.Dial(ctx, url)
		if err != nil {
			log.Fatal(err)
		}
		defer c.Close()
		if err := p.Add(c); err != nil {
			log.Fatal(err)
		}
	}
	log.Print(p.Run(ctx))
}

// A server over TLS.
func ExampleUnderTLS() {
	certificate, err := tls.LoadX509KeyPair("cert.pem", "key.pem")
	if err != nil {
		log.Fatal(err)
	}
	l, err := net.Listen("tcp", ":443")
	if err != nil {
		log.Fatal(err)
	}
	s := &conn.Server{Handler: func(c *conn.Conn) {
		for m, err := range c.Messages() {
			if err != nil || c.WriteMessage(m.Opcode, m.Data) != nil {
				return
			}
		}
	}}
	l = conn.UnderTLS(l, &s.Upgrader.Config)
	log.Fatal(s.Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{certificate}})))
}
