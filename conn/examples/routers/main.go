// Routers has the same WebSocket in four routers: net/http, chi, gin and echo.
//
// A router reuses its context after the route's handler has returned, and a Server's
// ServeHTTP returns as soon as the connection is open. So read the route's parameters,
// here the room, before ServeHTTP, and pass them to the connection's handler.
//
//	routers -router chi -addr 127.0.0.1:8080
//
// Each message to ws://127.0.0.1:8080/rooms/NAME is echoed with the room's name.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/labstack/echo/v4"

	"github.com/seed-7f57ff33/tickwire/conn"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "`address` to listen on")
	router := flag.String("router", "net/http", "net/http, chi, gin or echo")
	flag.Parse()
	routers := map[string]func(rooms) http.Handler{"net/http": standard, "chi": ofChi, "gin": ofGin, "echo": ofEcho}
	build, ok := routers[*router]
	if !ok {
		log.Fatalf("there is no router %q here", *router)
	}
	if err := run(*addr, build); err != nil {
		log.Fatal(err)
	}
}

func run(addr string, router func(rooms) http.Handler) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	server := &conn.Server{}
	web := &http.Server{Handler: router(rooms{server}), ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { web.Close() })
	slog.Info("listening", "url", "http://"+listener.Addr().String()+"/")
	if err := web.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return server.Shutdown(context.Background()) // knows the connections of every router
}

// rooms has the handlers of the route.
type rooms struct{ server *conn.Server }

// handler returns the handler of one request, for the room in its path.
func (r rooms) handler(room string) http.Handler {
	return r.server.HTTPHandler(func(c *conn.Conn, _ *http.Request) {
		for m, err := range c.Messages() {
			if err != nil || c.WriteMessage(conn.Text, fmt.Appendf(nil, "%s: %s", room, m.Data)) != nil {
				return
			}
		}
	})
}

func standard(r rooms) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /rooms/{room}", func(w http.ResponseWriter, request *http.Request) {
		r.handler(request.PathValue("room")).ServeHTTP(w, request)
	})
	return mux
}

func ofChi(r rooms) http.Handler {
	mux := chi.NewRouter()
	mux.Use(middleware.RequestID, middleware.Recoverer)
	mux.Get("/rooms/{room}", func(w http.ResponseWriter, request *http.Request) {
		r.handler(chi.URLParam(request, "room")).ServeHTTP(w, request)
	})
	return mux
}

func ofGin(r rooms) http.Handler {
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.Use(gin.Recovery())
	engine.GET("/rooms/:room", func(c *gin.Context) {
		r.handler(c.Param("room")).ServeHTTP(c.Writer, c.Request)
	})
	return engine
}

func ofEcho(r rooms) http.Handler {
	e := echo.New()
	e.GET("/rooms/:room", func(c echo.Context) error {
		r.handler(c.Param("room")).ServeHTTP(c.Response(), c.Request())
		return nil
	})
	return e
}
