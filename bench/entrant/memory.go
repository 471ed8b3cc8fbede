package entrant

import (
	"net"

	"github.com/seed-7f57ff33/tickwire/bench/corpus"
	"github.com/seed-7f57ff33/tickwire/bench/wire"
)

// Memory opens a connection of e to a stream within the process, as the client that reads
// it or as the server. done closes everything.
func Memory(e Entrant, s *corpus.Stream, o Options, server bool) (c Conn, m *wire.Memory, done func(), err error) {
	m = wire.NewMemory(s.Bytes, !server)
	o.URL = "ws://localhost/"
	o.NetDial = func() (net.Conn, error) { return m, nil }
	o.WireLen = s.WireLen
	if !server {
		if c, err = e.Dial(o); err != nil {
			return nil, nil, nil, err
		}
		return c, m, func() { c.Close(); m.Close() }, nil
	}
	l := wire.NewListener(m)
	opened, finished := make(chan Conn), make(chan struct{})
	failed := make(chan error, 1)
	go func() {
		failed <- e.Serve(l, o, func(c Conn) {
			opened <- c
			<-finished
		})
	}()
	select {
	case c = <-opened:
	case err = <-failed:
		return nil, nil, nil, err
	}
	return c, m, func() { c.Close(); m.Close(); close(finished); l.Close() }, nil
}
