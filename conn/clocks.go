package conn

import "time"

// clocks judge whether the peer is alive. They look at counters from time to time, so that nothing is paid per message or read; what is
// seen at a look may have happened since the one before, so a limit is exceeded by an eighth at most.
type clocks struct {
	timer *time.Timer // nil if no clock is on

	// What follows is the tick's alone.
	written         uint64 // messages
	bytes, messages uint64 // seen at the last look
	byteAt, dataAt  moment
	ping            uint64
	pingAt          moment
	pinged          bool // since the last byte
	pingGone        bool // Config.Outbound, if there is one, has let it go
}

// A moment is a time.Time in a third of its memory: how long after epoch.
type moment time.Duration

var epoch = time.Now()

func momentOf(t time.Time) moment { return moment(t.Sub(epoch)) }

// since returns the time between two moments.
func (m moment) since(before moment) time.Duration { return time.Duration(m - before) }

// lookEvery returns the time between looks, 0 if no clock is on.
func (cfg *Config) lookEvery() (period time.Duration) {
	for _, limit := range [...]time.Duration{cfg.KeepAlive, cfg.DataTimeout, cfg.releaseIdle()} {
		if limit > 0 && (period == 0 || limit/8 < period) {
			period = max(limit/8, 1)
		}
	}
	return period
}

func (c *Conn) startClocks() {
	k := &c.clocks
	period := c.cfg.lookEvery()
	if period == 0 {
		return
	}
	k.byteAt = momentOf(time.Now())
	k.dataAt = k.byteAt
	c.mu.Lock() // the first tick may come before timer is set
	defer c.mu.Unlock()
	k.timer = time.AfterFunc(period, c.tick)
}

// stopClocks is called with c.mu held.
func (c *Conn) stopClocks() {
	if c.clocks.timer != nil {
		c.clocks.timer.Stop()
	}
}

func (c *Conn) tick() {
	next, err := c.look(momentOf(time.Now()))
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
func (c *Conn) look(now moment) (next time.Duration, err error) {
	k := &c.clocks
	next = c.cfg.lookEvery()
	bytes, messages := c.stats.bytesRead.Load(), c.readers.Load()/readCount
	// A reader that is still taking what came before has not listened since: that is no silence of the peer's.
	if bytes != k.bytes || messages != k.messages {
		k.byteAt, k.pinged = now, false
	}
	if messages != k.messages {
		k.dataAt = now
	}
	k.bytes, k.messages = bytes, messages
	if limit := c.cfg.DataTimeout; limit > 0 && now.since(k.dataAt) >= limit {
		return 0, &TimeoutError{Clock: ClockData, Limit: limit}
	}
	c.restCompressor(now)
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
				k.pingAt, k.pingGone = momentOf(sentAt), true
			}
		}
	}
	switch silence := now.since(k.byteAt); {
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
		left := limit - now.since(k.pingAt)
		if left <= 0 {
			return 0, &TimeoutError{Clock: ClockPong, Limit: limit}
		}
		next = min(next, left)
	}
	return next, nil
}
