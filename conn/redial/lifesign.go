package redial

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// LifeSign describes a keepalive in messages, for servers that use text or JSON. Messages
// that it takes are not delivered, and do not reset the data clock.
type LifeSign struct {
	// Send appends the sign to dst. Signs are sent at the interval Every; the first one
	// follows after Every has passed. A goroutine of the client calls Send. If Send is
	// nil or Every is 0, no sign is sent. See Fixed.
	Send func(dst []byte) []byte
	// Every is the time between signs.
	Every time.Duration
	// Opcode is the opcode of signs and replies; 0 means Text.
	Opcode conn.Opcode

	// IsAnswer reports whether a message is only the answer to a sign; then it is not
	// delivered. It sees every message, so it should look at few bytes: see Prefix. nil
	// means that every message counts as an answer, and all are delivered.
	IsAnswer func(message []byte) bool
	// Reply answers messages by which the server checks that the client is alive. It
	// appends the reply to dst and reports true; the message is not delivered. The reply
	// is sent before the next message is delivered.
	Reply func(dst, message []byte) (reply []byte, ok bool)
	// Timeout ends the session if no answer (IsAnswer) comes for this long after a sign
	// was sent. The *TimeoutError matches ErrSilent. 0 means never. An answer may wait
	// unread while a call of the handler lasts, and for a quarter of Timeout afterwards.
	Timeout time.Duration

	// With Decode all of these see what that has made of a message. Session.Read has
	// IsAnswer and Reply work during OnConnect: they may be called from two goroutines at
	// once in a rotation with Overlap.
}

// Fixed returns a LifeSign.Send that is always the same.
func Fixed(sign string) func(dst []byte) []byte {
	return func(dst []byte) []byte { return append(dst, sign...) }
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

// check returns what is wrong with l before anything is dialed.
func (l *LifeSign) check() error {
	if l == nil || l.opcode() == conn.Text || l.opcode() == conn.Binary {
		return nil
	}
	return fmt.Errorf("redial: LifeSign.Opcode: %w", frame.ErrOpcode)
}

// consume takes out what LifeSign knows.
func (s *Session) consume(data []byte) (taken bool, err error) {
	c, l := s.c, s.c.LifeSign
	if l.IsAnswer == nil {
		if l.Timeout > 0 {
			s.answered.Store(true)
		}
	} else if l.IsAnswer(data) {
		s.answered.Store(true)
		c.consumed.Add(1)
		return true, nil
	}
	if l.Reply == nil {
		return false, nil
	}
	reply, ok := l.Reply(s.reply[:0], data)
	if !ok {
		return false, nil
	}
	s.reply = reply
	c.consumed.Add(1)
	if err := c.sendOn(s, l.opcode(), reply); err != nil {
		return true, s.unsent("LifeSign.Reply", err)
	}
	return true, nil
}

// sendSign makes and sends a sign of life; one at a time.
func (s *Session) sendSign() error {
	l := s.c.LifeSign
	s.sign = l.Send(s.sign[:0])
	return s.c.sendOn(s, l.opcode(), s.sign)
}

// unsent is the end of a session whose signs of life can never be sent. Other errors are
// left to the connection: what ended it shows at the next read.
func (s *Session) unsent(what string, err error) error {
	if !errors.Is(err, conn.ErrNotUTF8) && !errors.Is(err, frame.ErrOpcode) {
		return nil
	}
	err = Fatal(fmt.Errorf("redial: %s: %w", what, err))
	s.judgedDead(err)
	return err
}
