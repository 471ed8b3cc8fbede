package conn

// SetReadLimit changes the limit on the bytes of a message from the next frame header on,
// like Config.Frame.MaxMessage: 0 means frame.DefaultMaxMessage, negative means
// frame.HardMaxMessage. MaxFrame holds in addition only if Config sets it. A larger
// message ends the connection with frame.ErrMessageTooLarge, which names MaxMessage, and
// the peer is sent 1009.
//
// A frame is judged at its header, together with the earlier frames of its message.
// Frames accepted before are delivered. The limit also holds for the inflated bytes of a
// compressed message, with the value at its beginning. With deflate.Config.MaxInflated it
// holds only for the bytes received, and MaxInflated for the inflated ones.
//
// Any goroutine may call it, also Config.Control. Called by the reading goroutine it
// takes effect with the next read call, and in Control with the next frame. Called by
// another one it takes effect at the latest for what is read from the transport
// afterwards.
func (c *Conn) SetReadLimit(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readLimit = n
	c.readState.state.Or(readLimited)
}

// limitRead puts the limit of SetReadLimit in force. The caller has the reading side.
func (c *Conn) limitRead() {
	c.mu.Lock()
	n := c.readLimit
	c.readState.state.And(^uint64(readLimited))
	c.mu.Unlock()
	c.r.SetMaxMessage(n)
	if c.compression != nil && c.cfg.Deflate.MaxInflated == 0 {
		c.compression.limit, c.compression.limited = n, true
	}
}

// beginInflate begins a message of the inflater's.
func (z *compression) beginInflate(text bool) error {
	if z.limited {
		z.in.SetMaxMessage(z.limit)
		z.limited = false
	}
	return z.in.Begin(text)
}
