package tls13

const (
	messageHeader = 4  // RFC 8446 §4: type, length
	typeKeyUpdate = 24 // RFC 8446 §4: key_update

	updateRequested = 1 // RFC 8446 §4.6.3
)

// messages finds the boundaries of handshake messages. A message may span records.
type messages struct {
	header [messageHeader]byte
	got    int  // bytes of the header so far
	left   int  // missing bytes of the body, once the header is whole
	last   byte // of the body so far
}

// walk reads the content of a record. It returns how many KeyUpdates end in it, and
// whether one of them asks for an answer (RFC 8446 §4.6.3).
func (m *messages) walk(b []byte) (updates int, asks bool) {
	for len(b) > 0 {
		if m.got < messageHeader {
			n := copy(m.header[m.got:], b)
			b = b[n:]
			if m.got += n; m.got < messageHeader {
				return updates, asks
			}
			m.left = int(m.header[1])<<16 | int(m.header[2])<<8 | int(m.header[3])
		}
		n := min(m.left, len(b))
		if n > 0 {
			m.last = b[n-1]
		}
		b = b[n:]
		if m.left -= n; m.left > 0 {
			return updates, asks
		}
		if m.header[0] == typeKeyUpdate {
			updates++
			asks = asks || m.last == updateRequested
		}
		m.got = 0
	}
	return updates, asks
}

// incomplete reports whether a message is incomplete.
func (m *messages) incomplete() bool { return m.got > 0 }
