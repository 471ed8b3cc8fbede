package conn

import "time"

// clocks judge whether the peer is alive. They look at counters from time to time, so that nothing is paid per message or read; what is
// seen at a look may have happened since the one before, so a limit is exceeded by an eighth at most.
type clocks struct {
	timer  *time.Timer // nil if no clock is on
	period time.Duration

	// What follows is the tick's alone.
	written         uint64 // messages
	bytes, messages uint64 // seen at the last look
	byteAt, dataAt  time.Time
	pinged          bool // since the last byte
	ping            uint64
	pingAt          time.Time
	pingGone        bool // Config.Outbound, if there is one, has let it go
}

func (c *Conn) startClocks() {
	k := &c.clocks
	for _, limit := range []time.Duration{c.cfg.KeepAlive, c.cfg.DataTimeout} {
		if limit > 0 && (k.period == 0 || limit/8 < k.period) {
			k.period = max(limit/8, 1)
		}
	}
	if k.period == 0 {
		return
	}
	now := time.Now()
	k.byteAt, k.dataAt = now, now
	c.mu.Lock() // the first tick may come before timer is set
	defer c.mu.Unlock()
	k.timer = time.AfterFunc(k.period, c.tick)
}

// stopClocks is called with c.mu held.
func (c *Conn) stopClocks() {
	if c.clocks.timer != nil {
		c.clocks.timer.Stop()
	}
}

func (c *Conn) tick() {
	next, err := c.look(time.Now())
	if err != nil {
		c.end(err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.clocks.timer.Reset(next)
	}
}

// look returns when to look again, or the error of the clock that has run out.
func (c *Conn) look(now time.Time) (next time.Duration, err error) {
	k := &c.clocks
	next = k.period
	bytes, messages := c.stats.bytesRead.Load(), c.readers.Load()/readCount
	// A reader that is still taking what came before has not listened since: that is no silence of the peer's.
	if bytes != k.bytes || messages != k.messages {
		k.byteAt, k.pinged = now, false
	}
	if messages != k.messages {
		k.dataAt = now
	}
	k.bytes, k.messages = bytes, messages
	if limit := c.cfg.DataTimeout; limit > 0 && now.Sub(k.dataAt) >= limit {
		return 0, &TimeoutError{Clock: ClockData, Limit: limit}
	}
	if written := c.messagesWritten(); written == k.written {
		c.restQueue()
	} else {
		k.written = written
	}
	limit := c.cfg.KeepAlive
	if limit <= 0 {
		return next, nil
	}
	if k.ping != 0 {
		switch state, sentAt := c.pingState(k.ping); state {
		case pingAnswered:
			k.ping = 0
		case pingAsking:
			k.pingAt = now
		case pingRefused:
			k.ping, k.pinged = 0, false
		case pingSent:
			if !k.pingGone {
				k.pingAt, k.pingGone = sentAt, true
			}
		}
	}
	switch silence := now.Sub(k.byteAt); {
	case silence >= limit:
		return 0, &TimeoutError{Clock: ClockTransport, Limit: limit}
	case silence >= limit/2 && !k.pinged:
		k.pinged = true
		number := c.sendPing(nil)
		if k.ping == 0 {
			k.ping, k.pingAt, k.pingGone = number, now, c.outbound == nil
		}
	}
	if limit := c.cfg.PongTimeout; limit > 0 && k.ping != 0 {
		left := limit - now.Sub(k.pingAt)
		if left <= 0 {
			return 0, &TimeoutError{Clock: ClockPong, Limit: limit}
		}
		next = min(next, left)
	}
	return next, nil
}
