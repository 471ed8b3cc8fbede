package conn

// SetReadLimit changes the most bytes that a message may have, from the next frame header
// on: as Config.Frame.MaxMessage does, with 0 for frame.DefaultMaxMessage and negative
// for frame.HardMaxMessage. MaxFrame holds beside it only where Config sets it. A message
// that is over the limit ends the connection with frame.ErrMessageTooLarge, which names
// MaxMessage, and the peer is told 1009.
//
// A frame is judged at its header, together with the frames of its message before it;
// what was let in is delivered. Of a message that is compressed the limit bounds the
// inflated bytes too: that one keeps the limit with which it began. With
// deflate.Config.MaxInflated the limit is for what came, and that for what is inflated.
//
// Any goroutine may call it, also in Config.Control. By the goroutine that reads it holds
// from the next read call on, in Control from the next frame on. By another one it holds
// for what is read from the transport later, at the latest.
func (c *Conn) SetReadLimit(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readLimit = n
	c.readers.state.Or(readLimited)
}

// limitRead puts the limit of SetReadLimit in force. The caller has the reading side.
func (c *Conn) limitRead() {
	c.mu.Lock()
	n := c.readLimit
	c.readers.state.And(^uint64(readLimited))
	c.mu.Unlock()
	c.r.SetMaxMessage(n)
	if c.packed != nil && c.cfg.Deflate.MaxInflated == 0 {
		c.packed.limit, c.packed.limited = n, true
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
