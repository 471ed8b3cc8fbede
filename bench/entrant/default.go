package entrant

import (
	"net"
	"net/http"

	"github.com/gorilla/websocket"

	dropin "github.com/seed-7f57ff33/tickwire/conn/gorilla"
)

// gorillaDefault and dropInDefault are servers with the zero Upgrader, as in most
// programs. The library chooses the sizes of buffers, and who holds them.
type (
	gorillaDefault struct{ gorilla }
	dropInDefault  struct{ dropIn }
)

func (g gorillaDefault) Info() Info {
	i := g.gorilla.Info()
	i.Name, i.Calls, i.In = "gorilla-default", "as gorilla, the zero Upgrader", []string{"idle"}
	return i
}

func (g gorillaDefault) Serve(l net.Listener, o Options, serve func(Conn)) error {
	return serveHTTP(l, func(w http.ResponseWriter, r *http.Request) {
		c, err := new(websocket.Upgrader).Upgrade(w, r, nil)
		if err == nil {
			handOver(&gorillaConn{c: c, check: o.CheckUTF8}, serve)
		}
	})
}

func (d dropInDefault) Info() Info {
	i := d.dropIn.Info()
	i.Name, i.Calls, i.In = "tickwire-gorilla-default", "as tickwire-gorilla, the zero Upgrader", []string{"idle"}
	return i
}

func (d dropInDefault) Serve(l net.Listener, o Options, serve func(Conn)) error {
	return serveHTTP(l, func(w http.ResponseWriter, r *http.Request) {
		c, err := new(dropin.Upgrader).Upgrade(w, r, nil)
		if err == nil {
			handOver(&dropInConn{c: c, check: o.CheckUTF8}, serve)
		}
	})
}
