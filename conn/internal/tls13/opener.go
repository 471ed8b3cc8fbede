// Package tls13 is the reading half of a client's record layer in TLS 1.3 (RFC 8446 §5).
// It decrypts data. Any other record it encrypts again, as the record that a tls.Conn
// waits for, and so leaves it to crypto/tls.
//
// The tls.Conn reads these records from this process's memory. Never write them to a
// network: their nonces are those of the peer's own records.
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

// Span returns the length of the record at the beginning of b, or 0 if it is not whole.
// For a record that crypto/tls refuses at its header it returns the length of the header.
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

// An Opener decrypts the records that a server sends after its Finished message. One
// goroutine at a time may use it.
type Opener struct {
	suite  suite
	secret []byte
	keys   keys
	nonce  [nonceSize]byte

	seq      uint64 // of the peer's next record
	below    uint64 // of the next record for the tls.Conn, with the same key
	messages messages

	counted bool // the tls.Conn got a record without data after its last data
	opened  bool // data was decrypted since then

	// The records for the tls.Conn, in this order.
	mark    []byte // one byte of data; nil if not needed
	other   []byte
	updates int  // number of KeyUpdates in other
	asks    bool // one of them asks for an answer
	fatal   bool // other must end the connection

	markMade  [HeaderSize + 2 + tagSize]byte
	otherMade [HeaderSize + 1 + tagSize]byte
}

// New returns the Opener of a connection after its handshake. crypto/tls must not have
// read anything after the server's Finished message. New keeps no reference to secret.
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

// Open decrypts a record, which must be as long as Span says. The data goes to dst if the
// whole content fits there, padding included. Otherwise it is decrypted in place. whole
// reports which. Open may overwrite the bytes of dst after the data.
//
// A record for the tls.Conn has no data: see Pending. The Opener changes that record, and
// keeps it until Passed.
func (o *Opener) Open(dst, record []byte) (data []byte, whole bool) {
	header, body := record[:HeaderSize], record[HeaderSize:]
	switch {
	case refused(header):
		o.pass(header) // crypto/tls looks at the header only
		o.fatal = true
		return nil, false
	case header[0] == typeChangeCipherSpec:
		o.pass(record) // not protected (RFC 8446 §5)
		return nil, false
	case len(body) < tagSize:
		o.spoil()
		return nil, false
	}
	size := len(body) - tagSize
	into := body[:0:size]
	if whole = len(dst) >= size; whole {
		into = dst[:0:size] // with less room cipher.AEAD.Open would allocate
	}
	inner, err := o.keys.aead.Open(into, o.keys.nonce(&o.nonce, o.seq), body, header)
	if err != nil {
		o.spoil()
		return nil, false
	}
	o.seq++
	content, kind := split(inner)
	if header[0] == typeData && kind == typeData && len(content) > 0 && size <= maxData+1 && !o.messages.incomplete() {
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

// split returns the content and the type of a decrypted record (RFC 8446 §5.4). An empty
// record is data, as in crypto/tls. The type is 0 if there is only padding.
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

// seal encrypts the record that the tls.Conn waits for.
func (o *Opener) seal(dst, inner, header []byte) {
	o.keys.aead.Seal(dst, o.keys.nonce(&o.nonce, o.below), inner, header)
	o.below++
}

// pass leaves b to the tls.Conn unchanged.
func (o *Opener) pass(b []byte) {
	o.markDue()
	o.other = b
}

// spoil gives the tls.Conn a record that nobody can decrypt, instead of the one received.
// The peer may replay a key's first record. It is refused here, but the tls.Conn has seen
// no record of that key and would accept it.
func (o *Opener) spoil() {
	b := o.otherMade[:]
	header := append(b[:0], typeData, 3, 3, 0, 1+tagSize)
	b[HeaderSize] = typeData
	o.keys.aead.Seal(b[:HeaderSize], o.keys.nonce(&o.nonce, o.below), b[HeaderSize:HeaderSize+1], header)
	b[len(b)-1] ^= 1
	o.other, o.fatal = b, true
}

// Probe returns the first record for the tls.Conn to read. The tls.Conn decrypts it to
// the byte Probed. If it cannot, it has other keys, or has read a record after the
// server's Finished message.
func (o *Opener) Probe() []byte { return o.makeMark(Probed) }

// Probed is the content of Probe.
const Probed = 0xA5

// markDue makes a byte of data for the tls.Conn, if that has counted records without data
// and does not know of later data. It would end the connection at the seventeenth in a
// row.
func (o *Opener) markDue() {
	if !o.counted || !o.opened {
		return
	}
	o.mark = o.makeMark(0)
}

// makeMark encrypts a record with a byte of data for the tls.Conn.
func (o *Opener) makeMark(data byte) []byte {
	b := o.markMade[:]
	header := append(b[:0], typeData, 3, 3, 0, 2+tagSize)
	b[HeaderSize], b[HeaderSize+1] = data, typeData
	o.seal(b[:HeaderSize], b[HeaderSize:HeaderSize+2], header)
	return b
}

// Pending returns the records to give to the tls.Conn: mark, unless it is nil, and then
// other. The tls.Conn reads one byte of data from mark and none from other.
func (o *Opener) Pending() (mark, other []byte) { return o.mark, o.other }

// Fatal reports whether the pending records must end the connection. If the tls.Conn
// returns no error, it is out of step.
func (o *Opener) Fatal() bool { return o.fatal }

// Asks reports whether a pending KeyUpdate asks for an answer. If that cannot be written,
// the tls.Conn does not update its key.
func (o *Opener) Asks() bool { return o.asks }

// Passed tells the Opener that the tls.Conn has read the pending records. followed is
// false if the tls.Conn could not write its answer, and so did not update its key.
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

// Forget erases the secret and the key. The Opener must not be used afterwards.
func (o *Opener) Forget() {
	clear(o.secret)
	o.secret, o.keys, o.mark, o.other = nil, keys{}, nil, nil
}
