package transport

import (
	"crypto/tls"
	"io"
	"syscall"
	"time"
)

// secure is a Records as a Transport. It reads and writes the tls.Conn above.
type secure Records

// under makes r the Transport of t, the tls.Conn above.
func (r *Records) under(t *tls.Conn, to Sink) *secure {
	r.above, r.sink = t, to
	if r.sock != nil {
		r.sock.startPolling() // not earlier: the handshake has its own deadlines and context
	}
	return (*secure)(r)
}

// gatherSecure is how much data one fill gathers from records that are here. A feed with
// one record a message is then decoded in runs. The first message waits little.
const gatherSecure = 4 << 10

// Fill reads from the tls.Conn. While nothing is there it holds no buffer.
func (s *secure) Fill(dst []byte) (int, error) {
	r, t := (*Records)(s), s.above
	if r.Opens() {
		return r.fillOwn(t, r.sink, dst, gatherSecure)
	}
	if !r.overheadKnown {
		if err := r.handshake(t); err != nil {
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
		for k := 0; err == nil && n < min(gatherSecure, len(space)) && r.ready() && (r.plaintextLeft > 0 || !r.nonData(0)); n += k {
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

// FillNow is Fill with at most one read of the socket, and no wait. If the connection
// below is not a socket, it hands out only what is here.
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

func (s *secure) Held() (n int, known bool) { return s.end - s.pos + s.plaintextLeft, true }

func (s *secure) Info() *Info {
	if s.sock == nil {
		return nil
	}
	return s.sock.Info()
}

func (s *secure) Free() { (*Records)(s).free() }

// Write makes all records leave together.
func (s *secure) Write(a, _ []byte, _ How) (int, error) { return (*Records)(s).writeTo(s.above, a) }

func (s *secure) CloseNotify()     { _ = s.above.CloseWrite() }
func (s *secure) CutByWrite() bool { return true } // crypto/tls cannot continue after a failed write, even if nothing was written
func (s *secure) Vectored() bool   { return false }

func (s *secure) Counters() Counters {
	var c Counters
	if s.sock != nil {
		c = s.sock.Counters()
	} else {
		c.Reads, c.Writing = s.reads.Load(), s.writing.Load()
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
