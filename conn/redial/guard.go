package redial

import (
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
)

// dialerFor returns the Dialer for an epoch. Its connection asks Client.Outbound, and
// then what the caller's own Dialer has there, before anything goes out; and it leaves
// the data clock to the session.
func (c *Client) dialerFor(epoch uint64) *conn.Dialer {
	dialer := c.Dialer
	if dialer == nil {
		dialer = new(conn.Dialer)
	}
	if c.Outbound == nil && dialer.Config.DataTimeout == 0 {
		return dialer
	}
	d := *dialer
	d.Config.DataTimeout = 0
	if c.Outbound == nil {
		return &d
	}
	next := dialer.Config.Outbound
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

func (c *Client) dataTimeout() time.Duration {
	if c.Dialer == nil {
		return 0
	}
	return max(c.Dialer.Config.DataTimeout, 0)
}

func (c *Client) writeTimeout() time.Duration {
	if c.Dialer == nil {
		return 0
	}
	return c.Dialer.Config.WriteTimeout
}
