package conn

import (
	"sync"
	"time"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// outbound is where pings and pongs wait for Config.Outbound, before they come into the
// slots of control: the newest of each. A goroutine that lives as long as any does asks,
// with no lock held.
type outbound struct {
	mu      sync.Mutex
	asking  bool // there is a goroutine
	hasPong bool
	ping    uint64 // its number, 0 if there is none
	pongLen int
	pong    [frame.MaxControlPayload]byte

	// Of our pings the newest that it was asked about, and the newest that it let go;
	// under pings.mu.
	asked, sent uint64
	sentAt      time.Time
}

// ask asks Config.Outbound about a message of size bytes, unless it cannot be written
// anyway.
func (c *Conn) ask(op Opcode, size int) error {
	if op != Text && op != Binary {
		return frame.ErrOpcode
	}
	if err := c.writable(); err != nil {
		return err
	}
	return c.cfg.Outbound(c, op, size)
}

func (o *outbound) putPong(c *Conn, data []byte) {
	o.mu.Lock()
	o.pongLen, o.hasPong = copy(o.pong[:], data), true
	o.start(c)
}

func (o *outbound) putPing(c *Conn, number uint64) {
	o.mu.Lock()
	o.ping = max(o.ping, number)
	o.start(c)
}

// start has somebody ask. It gives mu back.
func (o *outbound) start(c *Conn) {
	run := !o.asking
	o.asking = true
	o.mu.Unlock()
	if run {
		go o.run(c)
	}
}

// run asks about what waits, a pong and a ping in turn, and has written what is allowed.
func (o *outbound) run(c *Conn) {
	var pong [frame.MaxControlPayload]byte
	for {
		o.mu.Lock()
		hasPong, ping := o.hasPong, o.ping
		n := copy(pong[:], o.pong[:o.pongLen])
		o.hasPong, o.ping = false, 0
		if !hasPong && ping == 0 || c.ended() {
			o.asking = false
			o.mu.Unlock()
			return
		}
		o.mu.Unlock()
		if hasPong && c.writable() == nil && c.cfg.Outbound(c, frame.Pong, n) == nil {
			c.setPong(pong[:n])
			c.scheduleControlFlush()
		}
		if ping != 0 && c.writable() == nil {
			err := c.cfg.Outbound(c, frame.Ping, pingSize)
			c.allowed(ping, err)
			if err == nil {
				c.setPing(ping)
				c.scheduleControlFlush()
			}
		}
	}
}
