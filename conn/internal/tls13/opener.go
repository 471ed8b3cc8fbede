// Package tls13 is the reading half of TLS 1.3's record layer (RFC 8446 §5), for a client that leaves all but the opening of data to a
// tls.Conn below: whatever is not data is sealed again for that, as the record that it waits for.
//
// What is sealed here is read by the tls.Conn in this process's memory. It must never be written to anything: its nonces are those
// of the peer's own records.
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

// Span returns the length of the record at the beginning of b, 0 if it has not come whole. Of a record that crypto/tls refuses at its
// header that is the header alone.
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

// refused reports whether crypto/tls refuses a record at its header: for its version or its length.
func refused(b []byte) bool {
	return b[1] != 3 || b[2] != 3 || binary.BigEndian.Uint16(b[3:]) > maxBody
}

// An Opener opens the records that the server sends after its Finished. One goroutine at a time uses it.
type Opener struct {
	suite  suite
	secret []byte
	keys   keys
	nonce  [nonceSize]byte

	seq      uint64 // of the peer's next record
	below    uint64 // of the record that the tls.Conn waits for, under the same key
	messages messages

	counted bool // the tls.Conn has had a record that is not data behind its last data
	opened  bool // data was opened since

	// What the tls.Conn is to be given, one behind the other.
	mark    []byte // a byte of data, nil if none is due
	other   []byte
	updates int // KeyUpdates in other

	markMade  [HeaderSize + 2 + tagSize]byte
	otherMade [HeaderSize + 1 + tagSize]byte
}

// New returns the Opener of a connection whose handshake is done, of which crypto/tls has read nothing behind the server's Finished.
// It keeps no reference to secret.
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

// Open opens a record, as long as Span says. Data goes to dst if that has room for what the record holds, padding included, and
// otherwise stands in the record itself; whole tells which. What of dst is behind the data may be overwritten.
//
// There is no data if the record is for the tls.Conn: see Pending. It is then changed, and stays with the Opener until Passed.
func (o *Opener) Open(dst, record []byte) (data []byte, whole bool) {
	header, body := record[:HeaderSize], record[HeaderSize:]
	switch {
	case refused(header):
		o.pass(header) // the header is all that crypto/tls looks at
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
		into = dst[:0:size] // more is more than the record may write, and less would have Open take other memory
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
		o.updates = o.messages.walk(content)
	}
	o.markDue()
	o.seal(body[:0], inner, header)
	if whole {
		clear(inner)
	}
	o.other = record
	return nil, false
}

// split returns what a record holds, and of which type it is: RFC 8446 §5.4. The type is 0 if there is nothing but padding, and data
// if there is nothing at all, as crypto/tls has it.
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

// spoil leaves to the tls.Conn a record that nobody can open. It must not get the one that came: behind a KeyUpdate both count from 0, and
// the first record sent once more, which is refused here, would be the one that the tls.Conn waits for if it was data.
func (o *Opener) spoil() {
	b := o.otherMade[:]
	header := append(b[:0], typeData, 3, 3, 0, 1+tagSize)
	b[HeaderSize] = typeData
	o.keys.aead.Seal(b[:HeaderSize], o.keys.nonce(&o.nonce, o.below), b[HeaderSize:HeaderSize+1], header)
	b[len(b)-1] ^= 1
	o.other = b
}

// markDue makes a byte of data for the tls.Conn if it has counted records without data and does not know of data behind them: it
// refuses to go on at the seventeenth in a row.
func (o *Opener) markDue() {
	if !o.counted || !o.opened {
		return
	}
	b := o.markMade[:]
	header := append(b[:0], typeData, 3, 3, 0, 2+tagSize)
	b[HeaderSize], b[HeaderSize+1] = 0, typeData
	o.seal(b[:HeaderSize], b[HeaderSize:HeaderSize+2], header)
	o.mark = b
}

// Pending returns what the tls.Conn is to be given because a record was not data: first mark, if there is one, of which it makes one
// byte of data, and then other, of which it makes none.
func (o *Opener) Pending() (mark, other []byte) { return o.mark, o.other }

// Passed says that the tls.Conn has taken what was pending, and whether it has followed a KeyUpdate in it: it does not if it cannot
// write its answer.
func (o *Opener) Passed(followed bool) error {
	o.mark, o.other = nil, nil
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

// Forget clears the secret. The Opener opens nothing more behind a KeyUpdate.
func (o *Opener) Forget() { clear(o.secret) }
