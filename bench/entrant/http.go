package entrant

import (
	"net"
	"net/http"
)

// serveHTTP runs a net/http server for the libraries that upgrade behind one.
func serveHTTP(l net.Listener, handle http.HandlerFunc) error {
	return (&http.Server{Handler: handle}).Serve(l)
}

// handOver gives an upgraded connection to serve on a goroutine of its own, so that net/http's goroutine, its stack and the
// request can go: all libraries allow that, and it is what they tell for many connections.
func handOver(c Conn, serve func(Conn)) {
	go func() {
		defer c.Close()
		serve(c)
	}()
}

// serveHere serves a connection on the goroutine that has opened it, as a server without net/http can; with Options.Lean on one of its
// own all the same: the opening handshake makes a stack grow, and a stack does not shrink below what it needs while it waits.
func serveHere(c Conn, o Options, serve func(Conn)) {
	if o.Lean {
		handOver(c, serve)
		return
	}
	defer c.Close()
	serve(c)
}
