package conn

import "github.com/seed-7f57ff33/tickwire/frame"

// Observer hears of what happens on connections. Its methods are called by the goroutine in which it happens, within a call that
// reads or writes: they must return soon, and of the connection's methods may call Stats and Close only.
type Observer interface {
	// Control is a ping, pong or Close that was received, or sent.
	Control(c *Conn, op frame.Opcode, sent bool)
	// Slow is a read that passed Config.LagLimit or Config.BacklogLimit: this side is the slow consumer. It comes again
	// only after a read that stayed below both.
	//
	// It is also told, once until this side reads on and from a goroutine of its own, when a clock of Config would have judged
	// the peer dead, and bytes of the peer's wait unread. Backlog is then how many of them can be seen, Bytes 0.
	Slow(c *Conn, i ReadInfo)
	// Ended is the end of the connection, with its last error: as Conn.Err returns.
	Ended(c *Conn, err error)
}

// LastRead tells of the last read from the socket, if Config.Timestamps is set and the system can tell; otherwise it is the zero
// ReadInfo. It is for the goroutine that reads.
func (c *Conn) LastRead() ReadInfo {
	if s := c.stampedRead(); s != nil {
		return s.info
	}
	return ReadInfo{}
}

func (c *Conn) stampedRead() *stampedRead {
	switch {
	case c.sock != nil:
		return c.sock.stamped
	case c.records != nil && c.records.sock != nil:
		return c.records.sock.stamped
	}
	return nil
}

// stamped looks at the stamps of the read just done.
func (c *Conn) stamped() {
	s := c.stampedRead()
	if s == nil {
		return
	}
	lag := s.info.Lag()
	storeMax(&s.stats.maxBacklog, int64(s.info.Backlog))
	if !s.info.Kernel.IsZero() {
		storeMax(&s.stats.maxLag, int64(lag))
		s.stats.lag.Add(int64(lag))
		s.stats.stamped.Add(1)
	}
	late := c.cfg.LagLimit > 0 && lag >= c.cfg.LagLimit || c.cfg.BacklogLimit > 0 && s.info.Backlog >= c.cfg.BacklogLimit
	if late && !c.slow && c.cfg.Observer != nil {
		c.cfg.Observer.Slow(c, s.info)
	}
	c.slow = late
}

// observe tells the Observer of a control frame.
func (c *Conn) observe(op frame.Opcode, sent bool) {
	if c.cfg.Observer != nil {
		c.cfg.Observer.Control(c, op, sent)
	}
}
