package redial

import (
	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// guard shows the pings and pongs of a connection to Client.Outbound. They cannot be kept back: the peer waits for them.
type guard struct {
	outbound func(Outbound) error
	epoch    uint64
	next     conn.Observer // the caller's, may be nil
}

func (g *guard) Control(c *conn.Conn, op frame.Opcode, sent bool) {
	if sent && op != frame.Close {
		_ = g.outbound(Outbound{Opcode: op, Epoch: g.epoch})
	}
	if g.next != nil {
		g.next.Control(c, op, sent)
	}
}

func (g *guard) Slow(c *conn.Conn, i conn.ReadInfo) {
	if g.next != nil {
		g.next.Slow(c, i)
	}
}

func (g *guard) Ended(c *conn.Conn, err error) {
	if g.next != nil {
		g.next.Ended(c, err)
	}
}
