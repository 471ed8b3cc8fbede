package redial

import (
	"github.com/seed-7f57ff33/tickwire/conn"
)

// guarded returns the Dialer for the next epoch: its connection asks Client.Outbound, and then what the caller's own Dialer has
// there, before anything goes out.
func (r *runner) guarded(dialer *conn.Dialer) *conn.Dialer {
	c := r.c
	if c.Outbound == nil {
		return dialer
	}
	d := *dialer
	epoch, next := r.epoch+1, dialer.Config.Outbound
	d.Config.Outbound = func(nc *conn.Conn, op conn.Opcode, size int) error {
		err := c.Outbound(Outbound{Opcode: op, Size: size, Epoch: epoch, Done: nc.Done()})
		if err != nil {
			c.count(func(n *Counts) { n.Refused++ })
		} else if next != nil {
			err = next(nc, op, size)
		}
		return err
	}
	return &d
}
