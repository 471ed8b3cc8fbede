package transport

import (
	"crypto/tls"
	"io"
	"sync"

	"github.com/seed-7f57ff33/tickwire/frame/buffer"
)

const (
	maxRecordData = 16 << 10  // RFC 8446 §5.1
	maxGathered   = 128 << 10 // bytes of one write: seven records of the largest size
)

// gathering is the writing half of a Records.
type gathering struct {
	mu     sync.Mutex // the reader may make crypto/tls write an alert or a key update during a flush
	lent   *buffer.Buffer
	n      int
	failed error
}

// writeTo is t.Write, of the tls.Conn above. All records of b leave in few writes, where
// crypto/tls makes one write a record.
func (r *Records) writeTo(t *tls.Conn, b []byte) (int, error) {
	if len(b) <= maxRecordData {
		return t.Write(b)
	}
	r.gather(len(b))
	n, err := t.Write(b)
	if flushed := r.flush(); err == nil {
		err = flushed
	}
	return n, err
}

// gather makes Write keep records until flush: those of size bytes of data, at most
// maxGathered bytes.
func (r *Records) gather(size int) {
	g := &r.gathering
	g.mu.Lock()
	g.lent = buffer.Get(min(size+size/32, maxGathered)) // 1/32: the first records of crypto/tls have little more than 1 KiB
	g.mu.Unlock()
}

// flush writes the gathered records. Write then writes at once again.
func (r *Records) flush() error {
	g := &r.gathering
	g.mu.Lock()
	defer g.mu.Unlock()
	err := r.flushLocked()
	buffer.Put(g.lent)
	g.lent = nil
	return err
}

// flushLocked writes the gathered records and keeps gathering. The caller has mu. An
// error is final: crypto/tls does not know of it, and a record after a gap cannot be
// decrypted.
func (r *Records) flushLocked() error {
	g := &r.gathering
	if g.n == 0 || g.failed != nil {
		return g.failed
	}
	n, err := r.writeThrough(g.lent.B[:g.n])
	if err == nil && n != g.n {
		err = io.ErrShortWrite
	}
	g.n, g.failed = 0, err
	return err
}

// Write writes whole records to the connection below, or keeps them for flush. It never
// keeps records of a handshake: the tls.Conn may wait for the answer before flush is
// called.
func (r *Records) Write(p []byte) (int, error) {
	n, err := r.take(p)
	if err != nil && r.own != nil {
		r.own.unwritten.Add(1)
	}
	return n, err
}

// take is Write without the count of failures.
func (r *Records) take(p []byte) (int, error) {
	g := &r.gathering
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.failed != nil:
		return 0, g.failed
	case g.lent == nil:
		return r.writeThrough(p)
	}
	if g.n+len(p) > len(g.lent.B) {
		if err := r.flushLocked(); err != nil {
			return 0, err
		}
		if len(p) > len(g.lent.B) {
			return r.writeThrough(p)
		}
	}
	g.n += copy(g.lent.B[g.n:], p)
	if len(p) > 0 && p[0] < recordData {
		if err := r.flushLocked(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func (r *Records) writeThrough(p []byte) (int, error) {
	defer r.writes.Add(1)
	if r.sock != nil {
		return r.sock.Write(p, nil, 0)
	}
	r.writing.Store(true)
	defer r.writing.Store(false)
	r.WriteWaits()
	return r.Conn.Write(p)
}
