package entrant

import (
	"net"
	"net/http"
)

// serveHTTP runs a net/http server, for libraries that upgrade its connections.
func serveHTTP(l net.Listener, handle http.HandlerFunc) error {
	return (&http.Server{Handler: handle}).Serve(l)
}

// handOver calls serve with an upgraded connection in its own goroutine. net/http's
// goroutine, its stack and the request are then freed. All libraries allow that, and
// recommend it for many connections.
func handOver(c Conn, serve func(Conn)) {
	go func() {
		defer c.Close()
		serve(c)
	}()
}

// serveHere serves a connection in the goroutine that has opened it, as a server without
// net/http can. With Options.Lean it uses a new goroutine: the opening handshake makes a
// stack grow, and it does not shrink below what a waiting goroutine needs.
func serveHere(c Conn, o Options, serve func(Conn)) {
	if o.Lean {
		handOver(c, serve)
		return
	}
	defer c.Close()
	serve(c)
}
