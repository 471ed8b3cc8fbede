package tls13

const (
	messageHeader = 4  // RFC 8446 §4: type, length
	typeKeyUpdate = 24 // RFC 8446 §4: key_update
)

// messages follows the boundaries of handshake messages. Records may cut them anywhere.
type messages struct {
	header [messageHeader]byte
	got    int // of the header
	left   int // of the body, once the header is whole
}

// walk takes the content of a record and returns how many KeyUpdates end in it.
func (m *messages) walk(b []byte) (updates int) {
	for len(b) > 0 {
		if m.got < messageHeader {
			n := copy(m.header[m.got:], b)
			b = b[n:]
			if m.got += n; m.got < messageHeader {
				return updates
			}
			m.left = int(m.header[1])<<16 | int(m.header[2])<<8 | int(m.header[3])
		}
		n := min(m.left, len(b))
		b = b[n:]
		if m.left -= n; m.left > 0 {
			return updates
		}
		if m.header[0] == typeKeyUpdate {
			updates++
		}
		m.got = 0
	}
	return updates
}

// midway reports whether the last message has not come whole.
func (m *messages) midway() bool { return m.got > 0 }
