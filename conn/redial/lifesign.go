package redial

import (
	"bytes"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
)

// LifeSign is a sign of life in messages, for servers whose keepalive is text or JSON.
type LifeSign struct {
	// Send is sent every Every, first after Every has passed; nil or 0 sends none.
	Send   []byte
	Every  time.Duration
	Opcode conn.Opcode // of Send and of replies; 0 means Text

	// IsAnswer tells whether a message is only the answer to Send: it is taken out and not delivered. It sees every message, so it
	// should look at few bytes: see Prefix. nil means that every message is an answer, and none is taken out.
	IsAnswer func(message []byte) bool
	// Reply answers messages that the server sends to see whether the client is alive: it appends the reply to dst and reports
	// true, and the message is not delivered. The reply is sent before the next message is delivered.
	Reply func(dst, message []byte) (reply []byte, ok bool)
	// Timeout ends the connection when no answer (IsAnswer) has come for so long after a sign was sent; 0 means never.
	Timeout time.Duration
}

// Prefix returns a matcher for messages that begin with p.
func Prefix(p string) func(message []byte) bool {
	prefix := []byte(p)
	return func(m []byte) bool { return bytes.HasPrefix(m, prefix) }
}

func (l *LifeSign) opcode() conn.Opcode {
	if l.Opcode == 0 {
		return conn.Text
	}
	return l.Opcode
}
