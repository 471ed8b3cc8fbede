package transport

import (
	"crypto/fips140"
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"

	"github.com/seed-7f57ff33/tickwire/conn/internal/tls13"
)

// ownRecords is the state of a Records that decrypts the peer's records itself:
// Dialer.OpenRecords.
//
// During the handshake crypto/tls gets one record at a time, so it reads nothing after
// the handshake. A record that is not data is encrypted again for the tls.Conn. So
// crypto/tls still does everything else, and every alert and error is its own.
type ownRecords struct {
	keys   tls13.KeyLog
	opener *tls13.Opener // nil before the end of the handshake, and if crypto/tls decrypts
	reason string        // the reason why crypto/tls decrypts

	data     int // bytes left of a record that was decrypted in place, from Records.pos on
	trailing int // bytes of the record after its data
	pending  int // length of a record that the tls.Conn must get

	given     []byte // what Read returns to the tls.Conn
	last      error  // the error that Read returns after given
	giving    bool
	oneByte   [1]byte
	readAhead bool          // crypto/tls got more than one record at once
	err       error         // final
	unwritten atomic.Uint64 // failed writes of the tls.Conn
}

var errOutOfStep = errors.New("conn: crypto/tls is not where its records are opened (Dialer.OpenRecords)")

// ErrNotToRead is returned by a tls.Conn that is read while its Transport is.
var ErrNotToRead = errors.New("conn: the tls.Conn of a Conn was read (Dialer.OpenRecords)")

// OpenLater prepares for OpenNow. Call it before the handshake, with the configuration of
// this connection only.
func (r *Records) OpenLater(cfg *tls.Config) {
	r.own = &ownRecords{reason: "the handshake is not done"}
	r.own.keys.To = cfg.KeyLogWriter
	cfg.KeyLogWriter = &r.own.keys
	r.oneAtATime = true
}

// OpenNow starts to decrypt records, after the handshake of t, the tls.Conn above.
// Without OpenLater it does nothing. After an error t cannot be used: crypto/tls has read
// too much or too little.
func (r *Records) OpenNow(t *tls.Conn) error {
	o := r.own
	if o == nil {
		return nil
	}
	r.oneAtATime = false
	defer o.keys.Forget()
	s := t.ConnectionState()
	switch {
	case s.Version != tls.VersionTLS13:
		o.reason = "the connection has " + tls.VersionName(s.Version)
		return nil
	case fips140.Enabled():
		o.reason = "FIPS 140-3 mode is on" // the mode does not approve nonces from outside the module
		return nil
	case r.partialLeft > 0 || o.readAhead:
		o.reason = "crypto/tls has read on"
		return nil
	}
	opener, err := tls13.New(s.CipherSuite, o.keys.Secret())
	if err != nil {
		o.reason = err.Error()
		return nil
	}
	o.opener, o.reason = opener, ""
	r.plaintextLeft = 0
	if n, err := o.feed(t, opener.Probe(), nil); n != 1 || err != nil || o.oneByte[0] != tls13.Probed {
		o.err = errOutOfStep
		opener.Forget()
		return errors.Join(errOutOfStep, err)
	}
	return nil
}

// ForgetKeys erases what OpenLater has prepared, after a failed handshake.
func (r *Records) ForgetKeys() {
	if r.own != nil {
		r.own.keys.Forget()
	}
}

// Opens reports whether records are decrypted here.
func (r *Records) Opens() bool { return r.own != nil && r.own.opener != nil }

// end clears the state and the keys.
func (o *ownRecords) end() {
	o.data, o.trailing, o.pending, o.given = 0, 0, 0, nil
	if o.err == nil {
		o.err = net.ErrClosed
	}
	if o.opener != nil {
		o.opener.Forget()
	}
}

// readGiven is Read for the tls.Conn. It returns the arguments of feed, and nothing else.
func (o *ownRecords) readGiven(p []byte) (int, error) {
	if !o.giving {
		return 0, ErrNotToRead
	}
	if n := copy(p, o.given); n > 0 {
		o.given = o.given[n:]
		return n, nil
	}
	if o.last != nil {
		return 0, o.last
	}
	return 0, errNoWait
}

// feed has t read b, and then the error last if that is not nil. A tls.Conn that does not
// take all of b is out of step.
func (o *ownRecords) feed(t *tls.Conn, b []byte, last error) (n int, err error) {
	o.given, o.last, o.giving = b, last, true
	n, err = t.Read(o.oneByte[:])
	if len(o.given) > 0 && (err == nil || err == errNoWait) {
		err = errOutOfStep
	}
	o.given, o.last, o.giving = nil, nil, false
	return n, err
}

// readOwn fills p with the data of whole records, until it has enough bytes.
//
// It stops before a record that is not data; the next call handles that. So crypto/tls
// answers it only after the caller has answered the data. If there is nothing to hand
// out, n is 0 and err nil.
func (r *Records) readOwn(t *tls.Conn, p []byte, enough int) (n int, err error) {
	o := r.own
	for o.err == nil && n < min(enough, len(p)) {
		switch {
		case o.data > 0:
			k := copy(p[n:], r.lent.B[r.pos:r.pos+o.data])
			n += k
			r.pos += k
			if o.data -= k; o.data == 0 {
				r.pos += o.trailing
				o.trailing = 0
			}
			continue
		case o.pending > 0:
			if n > 0 {
				return n, nil
			}
			o.err = r.passOn(t)
			continue
		}
		k := r.recordLen(r.pos)
		if k == 0 {
			if n == 0 && r.hasFinalErr() {
				o.err = r.passEnd(t)
				break
			}
			return n, nil
		}
		switch data, whole := o.opener.Open(p[n:], r.lent.B[r.pos:r.pos+k]); {
		case data == nil:
			o.pending = k
		case whole:
			n += len(data)
			r.pos += k
		default:
			r.pos += tlsRecordHeader
			o.data, o.trailing = len(data), k-tlsRecordHeader-len(data)
		}
	}
	if n > 0 {
		return n, nil
	}
	return 0, o.err
}

// passOn gives the tls.Conn a record that is not data.
func (r *Records) passOn(t *tls.Conn) error {
	o := r.own
	mark, other := o.opener.Pending()
	if mark != nil {
		if n, err := o.feed(t, mark, nil); err != nil && err != errNoWait {
			return err
		} else if n != 1 || err != nil {
			return errOutOfStep
		}
	}
	before := o.unwritten.Load()
	n, err := o.feed(t, other, nil)
	switch {
	case n != 0 || err == nil || err == errNoWait && o.opener.Fatal():
		return errOutOfStep
	case err != errNoWait:
		return err
	}
	r.pos += o.pending
	o.pending = 0
	// A write that fails now is most likely the answer. If it is not, the answer fails as
	// well.
	return o.opener.Passed(!o.opener.Asks() || o.unwritten.Load() == before)
}

// passEnd gives the tls.Conn a partial record and then the last error. Only the header
// and the length are real. crypto/tls looks at nothing else, and must not get bytes that
// it could decrypt.
func (r *Records) passEnd(t *tls.Conn) error {
	var part []byte
	if r.end > r.pos {
		part = r.lent.B[r.pos:r.end]
		clear(part[min(tlsRecordHeader, len(part)):])
	}
	last := r.err
	r.err = nil
	if n, err := r.own.feed(t, part, last); n == 0 && err != nil && err != errNoWait {
		return err
	}
	return errOutOfStep
}

// fillOwn waits for records, and puts data into the sink until it has enough bytes.
func (r *Records) fillOwn(t *tls.Conn, to Sink, dst []byte, enough int) (int, error) {
	if err := r.own.err; err != nil {
		to.Release()
		return 0, err
	}
	for { // each turn takes a record, waits or ends; crypto/tls bounds the records without data
		if !r.ready() {
			to.Release()
			if err := r.wait(); err != nil {
				return 0, err
			}
		}
		n, err := r.readOwn(t, to.SpaceIn(dst), enough)
		if n > 0 {
			to.Filled(n)
			return n, nil
		}
		if err != nil {
			to.Release()
			return 0, err
		}
	}
}

// ownReader reads a tls.Conn with fillOwn, until there is a Conn.
type ownReader struct {
	*tls.Conn
	r *Records
}

// Readable returns the connection to read instead of nc.
func Readable(nc net.Conn) net.Conn {
	if t, ok := nc.(*tls.Conn); ok {
		if r, ok := t.NetConn().(*Records); ok && r.Opens() {
			return &ownReader{t, r}
		}
	}
	return nc
}

func (o *ownReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, o.r.own.err
	}
	return o.r.fillOwn(o.Conn, o, p, 1)
}

// SpaceIn, Refill, Filled, Release and WriteWaits make o the Sink of its own Read.
func (o *ownReader) SpaceIn(p []byte) []byte { return p }
func (o *ownReader) Refill() []byte          { return nil }
func (o *ownReader) Filled(int)              {}
func (o *ownReader) Release()                {}
func (o *ownReader) WriteWaits()             {}

// OpensRecords reports whether records of a client's TLS are decrypted here, and if not,
// why.
func OpensRecords(t *tls.Conn) (opens bool, why string) {
	r, ok := t.NetConn().(*Records)
	switch {
	case !ok:
		return false, "TLS was not done by Dialer"
	case r.own == nil:
		return false, "Dialer.OpenRecords is off"
	}
	return r.Opens(), r.own.reason
}
