package conn

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"sync"
	"time"
)

// pingSize is the payload of our pings: a number that starts at random and counts up, so that an unsolicited pong answers
// none (R21) and the answer to a newer ping answers the older ones too (RFC 6455 §5.5.3).
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
	done   chan struct{} // closed when it is answered
}

// Ping sends a ping and waits for its answer, and returns the time between. Another goroutine must be reading. A ping that
// cannot be written yet waits, and goes out before any message.
func (c *Conn) Ping(ctx context.Context) (time.Duration, error) {
	if err := c.writable(); err != nil {
		return 0, err
	}
	done := make(chan struct{})
	start := time.Now()
	number := c.sendPing(done)
	select {
	case <-done:
		return time.Since(start), nil
	case <-c.done:
		c.forgetPing(number)
		return 0, c.Err()
	case <-ctx.Done():
		c.forgetPing(number)
		return 0, context.Cause(ctx)
	}
}

// sendPing has the next ping written, and done closed when it is answered; done may be nil.
func (c *Conn) sendPing(done chan struct{}) (number uint64) {
	p := &c.pings
	p.mu.Lock()
	if p.last == 0 {
		var b [pingSize]byte
		rand.Read(b[:])
		p.last = binary.BigEndian.Uint64(b[:])>>1 + 1
		p.answered = p.last
	}
	p.last++
	number = p.last
	if done != nil {
		p.waiting = append(p.waiting, pingWaiter{number, done})
	}
	var payload [pingSize]byte
	binary.BigEndian.PutUint64(payload[:], number)
	c.control.setPing(payload) // within the lock, so that the newest stays in the slot
	p.mu.Unlock()
	c.kick()
	return number
}

// takePong looks which pings a pong answers.
func (c *Conn) takePong(payload []byte) {
	if len(payload) != pingSize {
		return
	}
	p := &c.pings
	number := binary.BigEndian.Uint64(payload)
	p.mu.Lock()
	defer p.mu.Unlock()
	if number <= p.answered || number > p.last {
		return
	}
	p.answered = number
	rest := p.waiting[:0]
	for _, w := range p.waiting {
		if w.number <= number {
			close(w.done)
		} else {
			rest = append(rest, w)
		}
	}
	clear(p.waiting[len(rest):])
	p.waiting = rest
}

func (c *Conn) forgetPing(number uint64) {
	p := &c.pings
	p.mu.Lock()
	defer p.mu.Unlock()
	rest := p.waiting[:0]
	for _, w := range p.waiting {
		if w.number != number {
			rest = append(rest, w)
		}
	}
	clear(p.waiting[len(rest):])
	p.waiting = rest
}

// pingAnswered reports whether a ping was answered.
func (c *Conn) pingAnswered(number uint64) bool {
	c.pings.mu.Lock()
	defer c.pings.mu.Unlock()
	return c.pings.answered >= number
}
