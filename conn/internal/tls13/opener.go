// Package tls13 is the reading half of the record layer of TLS 1.3 (RFC 8446 §5), for a
// client. It opens data. Everything else it leaves to a tls.Conn: it seals such a record
// again, as the record that the tls.Conn waits for.
//
// The tls.Conn reads what is sealed here from this process's memory. It must never be
// written to anything: its nonces are those of the peer's own records.
package tls13

import "encoding/binary"

// RFC 8446 §5.1 and §5.2.
const (
	HeaderSize = 5
	maxData    = 16 << 10
	maxBody    = maxData + 256

	typeChangeCipherSpec = 20
	typeHandshake        = 22
	typeData             = 23
)

// Span returns the length of the record at the beginning of b, 0 if it has not come whole. If
// crypto/tls refuses the record at its header, that is the length of the header.
func Span(b []byte) int {
	if len(b) < HeaderSize {
		return 0
	}
	if refused(b) {
		return HeaderSize
	}
	n := HeaderSize + int(binary.BigEndian.Uint16(b[3:]))
	if n > len(b) {
		return 0
	}
	return n
}

// refused reports whether crypto/tls refuses a record at its header: for its version or
// its length.
func refused(b []byte) bool {
	return b[1] != 3 || b[2] != 3 || binary.BigEndian.Uint16(b[3:]) > maxBody
}

// An Opener opens the records that a server sends after its Finished. One goroutine at a
// time may use it.
type Opener struct {
	suite  suite
	secret []byte
	keys   keys
	nonce  [nonceSize]byte

	seq      uint64 // of the peer's next record
	below    uint64 // of the record that the tls.Conn waits for, with the same key
	messages messages

	counted bool // the tls.Conn got a record that is not data after its last data
	opened  bool // data was opened since

	// What the tls.Conn must be given, in this order.
	mark    []byte // a byte of data, nil if none is due
	other   []byte
	updates int  // KeyUpdates in other
	asks    bool // one of them asks for an answer
	fatal   bool // other must end the connection

	markMade  [HeaderSize + 2 + tagSize]byte
	otherMade [HeaderSize + 1 + tagSize]byte
}

// New returns the Opener of a connection whose handshake is done. crypto/tls must not
// have read anything after the server's Finished. New keeps no reference to secret.
func New(cipherSuite uint16, secret []byte) (*Opener, error) {
	s, err := suiteOf(cipherSuite)
	if err != nil {
		return nil, err
	}
	if len(secret) != s.size {
		return nil, errSecret
	}
	o := &Opener{suite: s, secret: append([]byte(nil), secret...)}
	if o.keys, err = s.keys(o.secret); err != nil {
		return nil, err
	}
	return o, nil
}

// Open opens a record, which is as long as Span says. Data goes to dst if all that the
// record holds fits there, with its padding; otherwise it stands in the record itself.
// whole tells which. Open may overwrite what follows the data in dst.
//
// There is no data if the record is for the tls.Conn: see Pending. The Opener then changes the
// record, and keeps it until Passed.
func (o *Opener) Open(dst, record []byte) (data []byte, whole bool) {
	header, body := record[:HeaderSize], record[HeaderSize:]
	switch {
	case refused(header):
		o.pass(header) // the header is all that crypto/tls looks at
		o.fatal = true
		return nil, false
	case header[0] == typeChangeCipherSpec:
		o.pass(record) // it is not protected (RFC 8446 §5)
		return nil, false
	case len(body) < tagSize:
		o.spoil()
		return nil, false
	}
	size := len(body) - tagSize
	into := body[:0:size]
	if whole = len(dst) >= size; whole {
		into = dst[:0:size] // with less room Open would take other memory, in silence
	}
	inner, err := o.keys.aead.Open(into, o.keys.nonce(&o.nonce, o.seq), body, header)
	if err != nil {
		o.spoil()
		return nil, false
	}
	o.seq++
	content, kind := split(inner)
	if header[0] == typeData && kind == typeData && len(content) > 0 && size <= maxData+1 && !o.messages.midway() {
		o.opened = true
		return content[:len(content):len(content)], whole
	}
	if header[0] == typeData && kind == typeHandshake && size <= maxData+1 {
		o.updates, o.asks = o.messages.walk(content)
	}
	o.markDue()
	o.seal(body[:0], inner, header)
	if whole {
		clear(inner)
	}
	o.other = record
	return nil, false
}

// split returns what a record holds, and its type (RFC 8446 §5.4). Like crypto/tls it
// takes a record with nothing at all for data. The type is 0 if there is only padding.
func split(inner []byte) (content []byte, kind byte) {
	for i := len(inner) - 1; i >= 0; i-- {
		if inner[i] != 0 {
			return inner[:i], inner[i]
		}
	}
	if len(inner) == 0 {
		kind = typeData
	}
	return nil, kind
}

// seal makes the record that the tls.Conn waits for.
func (o *Opener) seal(dst, inner, header []byte) {
	o.keys.aead.Seal(dst, o.keys.nonce(&o.nonce, o.below), inner, header)
	o.below++
}

// pass leaves b to the tls.Conn as it is.
func (o *Opener) pass(b []byte) {
	o.markDue()
	o.other = b
}

// spoil leaves to the tls.Conn a record that nobody can open. It must not get the record
// that came. Say the first record of a key was data, and comes again: it is refused here,
// but the tls.Conn has seen none of that key and would take it.
func (o *Opener) spoil() {
	b := o.otherMade[:]
	header := append(b[:0], typeData, 3, 3, 0, 1+tagSize)
	b[HeaderSize] = typeData
	o.keys.aead.Seal(b[:HeaderSize], o.keys.nonce(&o.nonce, o.below), b[HeaderSize:HeaderSize+1], header)
	b[len(b)-1] ^= 1
	o.other, o.fatal = b, true
}

// Probe returns a record for the tls.Conn to read before anything else. It makes of it
// the byte Probed, unless it has read anything after the server's Finished, or has other
// keys.
func (o *Opener) Probe() []byte { return o.makeMark(Probed) }

// Probed is what the tls.Conn reads of Probe.
const Probed = 0xA5

// markDue makes a byte of data for the tls.Conn if that has counted records without data
// and does not know of the data after them. It ends the connection at the seventeenth in
// a row.
func (o *Opener) markDue() {
	if !o.counted || !o.opened {
		return
	}
	o.mark = o.makeMark(0)
}

// makeMark makes a record with a byte of data for the tls.Conn.
func (o *Opener) makeMark(data byte) []byte {
	b := o.markMade[:]
	header := append(b[:0], typeData, 3, 3, 0, 2+tagSize)
	b[HeaderSize], b[HeaderSize+1] = data, typeData
	o.seal(b[:HeaderSize], b[HeaderSize:HeaderSize+2], header)
	return b
}

// Pending returns what the tls.Conn must be given because a record was not data: first
// mark, unless it is nil, then other. Of mark it makes one byte of data, of other none.
func (o *Opener) Pending() (mark, other []byte) { return o.mark, o.other }

// Fatal reports whether what is pending must end the connection: the tls.Conn has not
// taken it if it does not return an error.
func (o *Opener) Fatal() bool { return o.fatal }

// Asks reports whether a KeyUpdate in what is pending asks for an answer. If that cannot
// be written the tls.Conn does not follow the update.
func (o *Opener) Asks() bool { return o.asks }

// Passed says that the tls.Conn has taken what was pending, and whether it has followed a
// KeyUpdate in it. It does not if it cannot write its answer.
func (o *Opener) Passed(followed bool) error {
	o.mark, o.other, o.asks = nil, nil, false
	o.counted, o.opened = true, false
	updates := o.updates
	o.updates = 0
	if !followed {
		return nil
	}
	for range updates {
		secret, err := o.suite.next(o.secret)
		if err != nil {
			return err
		}
		clear(o.secret)
		o.secret = secret
		if o.keys, err = o.suite.keys(secret); err != nil {
			return err
		}
		o.seq, o.below = 0, 0
	}
	return nil
}

// Forget gives up the secret and the key. The Opener must not be used after it.
func (o *Opener) Forget() {
	clear(o.secret)
	o.secret, o.keys, o.mark, o.other = nil, keys{}, nil, nil
}
