// Echo is an echo server with a page to try it from a browser.
//
// The server runs on this machine, where a browser can reach it. So it accepts only
// requests for its own names. A page with a name that its attacker resolves to 127.0.0.1
// is refused.
//
//	echo -addr 127.0.0.1:8080
//
// Then open http://127.0.0.1:8080/. Ctrl-C closes all connections properly.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

//go:embed page.html
var page []byte

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "`address` to listen on")
	compress := flag.Bool("deflate", false, "compress messages for clients that can")
	flag.Parse()
	if err := run(*addr, *compress); err != nil {
		log.Fatal(err)
	}
}

func run(addr string, compress bool) error {
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
	server := &conn.Server{Handler: echo, OnError: func(err error) { slog.Warn("a client", "error", err) }}
	server.Upgrader.Check = ownNames("localhost:"+port, "127.0.0.1:"+port)
	if compress {
		server.Upgrader.Config.Deflate = &deflate.Config{}
	}
	mux := http.NewServeMux()
	mux.Handle("/echo", server)
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

func echo(c *conn.Conn) {
	for m, err := range c.Messages() {
		if err != nil {
			slog.Info("ended", "client", c.RemoteAddr(), "error", err)
			return
		}
		if c.WriteMessage(m.Opcode, m.Data) != nil {
			return
		}
	}
}

// ownNames refuses requests for other host names.
func ownNames(names ...string) func(*handshake.RequestView) (http.Header, error) {
	return func(r *handshake.RequestView) (http.Header, error) {
		for _, name := range names {
			if string(r.Host()) == name {
				return nil, nil
			}
		}
		return nil, &handshake.Error{Status: http.StatusMisdirectedRequest, Rule: "this server has another name"}
	}
}
