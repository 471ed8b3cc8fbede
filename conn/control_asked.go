package conn

import "github.com/seed-7f57ff33/tickwire/frame"

// askControl is handleControl with Config.Control, which decides whether something is
// answered.
func (c *Conn) askControl(op Opcode, data []byte) error {
	c.observe(op, data, false)
	var g *closeState
	switch op {
	case frame.Ping:
		c.stats.pingsRead.Add(1)
	case frame.Pong:
		c.stats.pongsRead.Add(1)
		c.handlePong(data)
	case frame.Close:
		g = c.closeReceived(data, true) // before: what Control sends is then known to come after it
	}
	answer, err := c.cfg.Control(c, op, data[:len(data):len(data)])
	switch {
	case op == frame.Close && answer && c.fills != fillsWait:
		c.mu.Lock()
		g.controlErr = err
		c.mu.Unlock()
		return c.endAside(func() error { return c.closeAsked(g, true, nil) })
	case op == frame.Close:
		return c.closeAsked(g, answer, err)
	}
	if c.readState.has(readLimited) {
		c.limitRead()
	}
	if answer && op == frame.Ping {
		c.answerPing(data)
	}
	if err == nil && c.ended() {
		err = c.Err() // by Control, perhaps: then it expects no message
	}
	return err
}

// closeAsked deals with the peer's Close, about which Config.Control has returned answer
// and err.
func (c *Conn) closeAsked(g *closeState, answer bool, err error) error {
	if answer {
		c.mu.Lock()
		g.asked = false
		c.mu.Unlock()
		c.answerClose(g)
	}
	if closed := c.closeHandled(g, answer); err == nil {
		err = closed
	}
	return err
}
