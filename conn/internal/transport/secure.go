package transport

import (
	"crypto/tls"
	"io"
	"syscall"
	"time"
)

// secure is a Records as a Transport: it reads and writes the tls.Conn above.
type secure Records

// under has t, the tls.Conn above, read and written from now on.
func (r *Records) under(t *tls.Conn, to Sink) *secure {
	r.above, r.sink = t, to
	if r.sock != nil {
		r.sock.startPolling() // not before: the handshake has deadlines, and a context, of its own
	}
	return (*secure)(r)
}

// gatherSecure is how much data a fill puts together from records that are here: those of
// a feed with a record per message are decoded in runs, and the first of them is not held
// up for long.
const gatherSecure = 4 << 10

// Fill reads from the tls.Conn. While nothing is there no buffer is held.
func (s *secure) Fill(dst []byte) (int, error) {
	r, t := (*Records)(s), s.above
	if r.Opens() {
		return r.fillOwn(t, r.sink, dst, gatherSecure)
	}
	if !r.shaken {
		if err := r.shake(t); err != nil {
			return 0, err
		}
	}
	for range MaxEmptyReads {
		if !r.ready() {
			r.sink.Release()
			if err := r.wait(); err != nil {
				return 0, err
			}
		}
		space := r.sink.SpaceIn(dst)
		n, err := r.readFrom(t, space)
		for k := 0; err == nil && n < min(gatherSecure, len(space)) && r.ready() && (r.held > 0 || !r.odd(0)); n += k {
			k, err = r.readFrom(t, space[n:])
		}
		if err == errNoWait {
			err = nil
		}
		if n > 0 {
			r.sink.Filled(n)
			return n, err
		}
		if err != nil {
			r.sink.Release()
			return 0, err
		}
	}
	return 0, io.ErrNoProgress
}

// FillNow is Fill, for which Records.wait reads the socket once and does not wait. Above
// what is no socket it gives what is here.
func (s *secure) FillNow(dst []byte) (int, error) {
	r := (*Records)(s)
	r.now = readOnce
	if r.sock == nil {
		r.now = readNever
	}
	n, err := s.Fill(dst)
	r.now = readWaits
	if n == 0 && err == errNoWait {
		err = ErrNothing
	}
	return n, err
}

func (s *secure) Drained(exact bool) bool { return s.sock == nil || s.sock.Drained(exact) }

func (s *secure) Raw() syscall.RawConn {
	if s.sock == nil {
		return nil
	}
	return s.sock.Raw()
}

// Ready reports whether the tls.Conn may have data, or a whole record is here.
func (s *secure) Ready() bool { return (*Records)(s).ready() }

func (s *secure) Held() (n int, known bool) { return s.end - s.pos + s.held, true }

func (s *secure) Info() *Info {
	if s.sock == nil {
		return nil
	}
	return s.sock.Info()
}

func (s *secure) Free() { (*Records)(s).finish() }

// Write has the records leave together.
func (s *secure) Write(a, _ []byte, _ How) (int, error) { return (*Records)(s).writeTo(s.above, a) }

func (s *secure) CloseNotify()     { _ = s.above.CloseWrite() }
func (s *secure) CutByWrite() bool { return true } // crypto/tls cannot go on after a write that failed, whatever it had written
func (s *secure) Vectored() bool   { return false }

func (s *secure) Counters() Counters {
	var c Counters
	if s.sock != nil {
		c = s.sock.Counters()
	} else {
		c.Reads, c.Writing = s.reads.Load(), s.pushing.Load()
	}
	c.Received, c.Writes = s.received.Load(), s.writes.Load()
	return c
}

func (s *secure) SetReadDeadline(t time.Time) error {
	if s.sock != nil {
		return s.sock.SetReadDeadline(t)
	}
	return s.Conn.SetReadDeadline(t)
}

func (s *secure) StopPolling() {
	if s.sock != nil {
		s.sock.StopPolling()
	}
}
