package conn

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"sync"
	"time"
)

// pingSize is the payload of our pings: a number that starts at random and counts up, so
// that an unsolicited pong answers none (R21) and the answer to a newer ping answers the
// older ones too (RFC 6455 §5.5.3).
const pingSize = 8

// pings are our pings on their way.
type pings struct {
	mu       sync.Mutex
	last     uint64 // the number of the newest, 0 before the first
	answered uint64 // the number of the newest that was answered
	waiting  []pingWaiter
}

type pingWaiter struct {
	number uint64
	start  time.Time
	done   chan pingResult // has a place for it
}

type pingResult struct {
	rtt time.Duration
	err error
}

// Ping sends a ping, waits for its answer, and returns the round-trip time. Another
// goroutine must be reading. A ping that cannot be written yet waits, and goes before any
// message. An error of Config.Outbound is returned unchanged; the time that call takes
// does not count.
func (c *Conn) Ping(ctx context.Context) (time.Duration, error) {
	if err := c.writable(); err != nil {
		return 0, err
	}
	if err := c.heldClose(); err != nil {
		return 0, err // no answer can come
	}
	done := make(chan pingResult, 1)
	number := c.sendPing(done)
	err := c.writeErr()
	if err == nil {
		err = c.heldClose()
	}
	if err != nil { // who ended the writing, or the reading, may not have seen this one
		c.forgetPing(number)
		return 0, err
	}
	select {
	case r := <-done:
		return r.rtt, r.err
	case <-c.Done():
		c.forgetPing(number)
		return 0, c.Err()
	case <-ctx.Done():
		c.forgetPing(number)
		return 0, context.Cause(ctx)
	}
}

// sendPing has the next ping written, once Config.Outbound lets it, and done told when it
// is answered; done may be nil.
func (c *Conn) sendPing(done chan pingResult) (number uint64) {
	p := &c.pings
	p.mu.Lock()
	if p.last == 0 {
		var b [pingSize]byte
		rand.Read(b[:])
		p.last = binary.BigEndian.Uint64(b[:])>>1 + 1
		p.answered = p.last
		if c.outbound != nil {
			c.outbound.asked, c.outbound.sent = p.last, p.last
		}
	}
	p.last++
	number = p.last
	c.control.observed.pinged()
	if done != nil {
		p.waiting = append(p.waiting, pingWaiter{number, time.Now(), done})
	}
	// Within the lock, so that the newest stays in the slot.
	if c.outbound != nil {
		c.outbound.putPing(c, number)
		p.mu.Unlock()
		return number
	}
	c.setPing(number)
	p.mu.Unlock()
	c.scheduleControlFlush()
	return number
}

// handlePong looks which pings a pong answers.
func (c *Conn) handlePong(payload []byte) {
	if len(payload) != pingSize {
		return
	}
	if c.pings.answeredBy(binary.BigEndian.Uint64(payload)) {
		c.control.observed.answered(c)
	}
}

// answeredBy tells those who wait for the answer that a pong with that number is. It
// reports whether that is one to the newest ping.
func (p *pings) answeredBy(number uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if number <= p.answered || number > p.last {
		return false
	}
	p.answered = number
	p.settle(func(w pingWaiter) bool {
		if w.number > number {
			return false
		}
		w.done <- pingResult{rtt: time.Since(w.start)}
		return true
	})
	return number == p.last
}

// refusePings tells those who wait for the answer to a ping that there will be none.
func (c *Conn) refusePings(err error) {
	p := &c.pings
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settle(func(w pingWaiter) bool {
		w.done <- pingResult{err: err}
		return true
	})
}

func (c *Conn) forgetPing(number uint64) {
	p := &c.pings
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settle(func(w pingWaiter) bool { return w.number == number })
}

// settle takes those out of waiting for whom done reports true. The caller holds mu.
func (p *pings) settle(done func(pingWaiter) bool) {
	rest := p.waiting[:0]
	for _, w := range p.waiting {
		if !done(w) {
			rest = append(rest, w)
		}
	}
	clear(p.waiting[len(rest):])
	p.waiting = rest
}

// allowed has the ping of that number, and with it the older ones that were not asked
// about, go out; or tells those who wait for them that it was refused.
func (c *Conn) allowed(number uint64, refusal error) {
	p, o := &c.pings, c.outbound
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	from := o.asked
	o.asked = number
	if refusal == nil {
		o.sent, o.sentAt = number, now
		if number == p.last {
			c.control.observed.pinged()
		}
		for i := range p.waiting {
			if w := &p.waiting[i]; w.number > from && w.number <= number {
				w.start = now
			}
		}
		return
	}
	p.settle(func(w pingWaiter) bool {
		if w.number <= from || w.number > number {
			return false
		}
		w.done <- pingResult{err: refusal}
		return true
	})
}

// A pingState is what has become of a ping.
type pingState uint8

const (
	pingSent pingState = iota
	pingAnswered
	pingAsking // Config.Outbound has not decided
	pingRefused
)

// pingState tells what has become of the ping of that number, and with Config.Outbound
// when the newest one went. One that was refused counts as sent once a newer one was: the
// answer to that answers it.
func (c *Conn) pingState(number uint64) (state pingState, sentAt time.Time) {
	p := &c.pings
	p.mu.Lock()
	defer p.mu.Unlock()
	o := c.outbound
	if o != nil {
		sentAt = o.sentAt
	}
	switch {
	case p.answered >= number:
		return pingAnswered, sentAt
	case o == nil || number <= o.sent:
		return pingSent, sentAt
	case number <= o.asked:
		return pingRefused, sentAt
	}
	return pingAsking, sentAt
}
