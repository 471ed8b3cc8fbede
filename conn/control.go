package conn

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/mask"
)

// controlSlots hold the control frames that wait for the write lock: one pong, the newest, and one ping. Whoever holds the lock
// writes them before giving it back.
type controlSlots struct {
	pending atomic.Bool // something waits
	flush   func()      // Conn.flushControls, made once

	mu      sync.Mutex
	pong    [frame.MaxControlPayload]byte
	pongLen int
	hasPong bool
	ping    [pingSize]byte
	hasPing bool

	out [3 * (2 + 4 + frame.MaxControlPayload)]byte // frames on their way; under the write lock
}

// controlKeys mask the control frames of clients: they do not go through the Writer's queue.
var controlKeys struct {
	sync.Mutex
	mask.Source
}

// takeControl deals with a control frame that has come.
func (c *Conn) takeControl(op Opcode, data []byte) error {
	switch op {
	case frame.Ping:
		c.stats.pingsRead.Add(1)
		c.control.setPong(data)
		c.kick()
	case frame.Pong:
		c.stats.pongsRead.Add(1)
		c.takePong(data)
	case frame.Close:
		return c.takeClose(data)
	}
	return nil
}

// setPong makes data what is answered next: RFC 6455 §5.5.3 allows to answer the newest ping only.
func (s *controlSlots) setPong(data []byte) {
	s.mu.Lock()
	s.pongLen = copy(s.pong[:], data)
	s.hasPong = true
	s.pending.Store(true)
	s.mu.Unlock()
}

func (s *controlSlots) setPing(payload [pingSize]byte) {
	s.mu.Lock()
	s.ping = payload
	s.hasPing = true
	s.pending.Store(true)
	s.mu.Unlock()
}

// kick has what waits in the slots written, without waiting for anything itself.
func (c *Conn) kick() {
	if c.lock.tryLock() { // otherwise its holder sees that something is pending
		go c.control.flush()
	}
}

// flushControls is a goroutine that got the write lock with its start.
func (c *Conn) flushControls() { c.unlockWrite() }

// queueControls puts what waits in the slots before the queue of the Writer. The caller has the write lock.
func (c *Conn) queueControls() {
	s := &c.control
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hasPing {
		_ = c.w.AppendControl(frame.Ping, s.ping[:])
		c.stats.pingsWritten.Add(1)
	}
	if s.hasPong {
		_ = c.w.AppendControl(frame.Pong, s.pong[:s.pongLen])
		c.stats.pongsWritten.Add(1)
	}
	s.hasPing, s.hasPong = false, false
	s.pending.Store(false)
}

// writeControls writes what waits in the slots, past the queue of the Writer. It reports whether that could be done; if not, it waits
// on, or the connection has ended. The caller has the write lock.
func (c *Conn) writeControls() bool {
	s := &c.control
	b := s.out[:0]
	s.mu.Lock()
	ping, pong := s.hasPing, s.hasPong
	if ping {
		b = c.appendControl(b, frame.Ping, s.ping[:])
	}
	if pong {
		b = c.appendControl(b, frame.Pong, s.pong[:s.pongLen])
	}
	s.hasPing, s.hasPong = false, false
	s.pending.Store(false)
	s.mu.Unlock()
	if len(b) == 0 {
		return true
	}
	n, err := (*outlet)(c).Write(b)
	if err == nil && n != len(b) {
		err = io.ErrShortWrite
	}
	switch {
	case err == nil:
		c.stats.pingsWritten.Add(bit(ping))
		c.stats.pongsWritten.Add(bit(pong))
		return true
	case c.ended():
	case n == 0 && c.secure == nil && errors.Is(err, os.ErrDeadlineExceeded):
		s.mu.Lock()
		s.hasPing = s.hasPing || ping
		s.hasPong = s.hasPong || pong
		s.pending.Store(true)
		s.mu.Unlock()
	default:
		c.end(&TransportError{Op: "write", Err: err})
	}
	return false
}

func (c *Conn) appendControl(b []byte, op frame.Opcode, payload []byte) []byte {
	h := frame.Header{Fin: true, Opcode: op}
	if c.role == frame.Client {
		controlKeys.Lock()
		h.Masked, h.Key = true, controlKeys.Next()
		controlKeys.Unlock()
	}
	return frame.AppendFrame(b, h, payload)
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
