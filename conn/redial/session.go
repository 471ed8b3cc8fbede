package redial

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// Message is a message and where it comes from.
type Message struct {
	conn.Message // a view, valid until the handler returns or the next message is asked for
	Epoch        uint64
	Number       uint64 // of the message within its epoch, from 1
	// Session is where the message came. Until the handler returns the reading side of
	// Session.Conn is the handler's: it may ask for LastRead, or take what else is there
	// with Session.TakeBatch. What it takes is not counted, decoded or shown to LifeSign.
	// A handler that waits in a read of Session.Conn is under no clock of the client's.
	// That read can end with a passed deadline of the client's own, when the connection
	// is to be replaced.
	Session *Session
}

// Session is one connection of a Client.
type Session struct {
	// Conn is the connection. Its reading side belongs to OnConnect, then to the Client,
	// and to the handler while that runs. A read deadline that OnConnect or the handler
	// leaves on it is undone. A write deadline that the handler leaves holds for
	// Client.Send too: the first one after it has passed fails, with nothing written, and
	// undoes it. Until then no Ping is answered.
	Conn *conn.Conn
	// Epoch counts the connections on which OnConnect ran, from 1.
	Epoch uint64
	// URL is what was dialed.
	URL string
	// Attempt counts the dials since the last session, from 1.
	Attempt int
	// Began is when the connection was made.
	Began time.Time
	// GapBegan is when the session before it was seen to end, zero for the first one. A handler that works when the connection
	// ends has that seen when it returns: what is missing begins after the last message that was delivered.
	//
	// In a rotation with Overlap OnConnect sees zero. The handler sees zero as well if
	// the old session brought all that it had: its answer to our Close, which comes last,
	// was read. Otherwise something may be missing, and the handler sees when the old
	// session ended. So it is if that ended by itself or by Reconnect, if a slow handler
	// did not get all of it, or if the server did not answer the Close within
	// Client.OverlapWait or not with its code.
	GapBegan time.Time
	// Last is the error that ended the session before it, or the attempt before it; nil in a rotation, unless that left a gap.
	Last error

	c   *Client                 // nil in one that a caller made for a test of his OnConnect
	end context.CancelCauseFunc // ends the context of OnConnect

	messages uint64 // delivered; by the reading goroutine
	kept     []conn.Message
	keptSize int
	decoded  []byte // memory for Decode
	reply    []byte // memory for LifeSign.Reply
	sign     []byte // memory for LifeSign.Send

	answered atomic.Bool               // since the sign of life was sent from which keep counts
	cause    atomic.Pointer[error]     // why it is to end, where this side has decided so
	sent     atomic.Uint32             // the code of our Close, 0 if none is known to have gone
	due      atomic.Pointer[time.Time] // when it was replaced, for its age
	drain    draining                  // by the reading goroutine
	lost     bool                      // the reading goroutine has seen its end; under Client.mu
	poller   *conn.Poller              // has read it; nil without; by the goroutine of Run
	flushed  chan struct{}             // closed when the queue has gone out, or cannot; nil if there was none; by the reading goroutine
	clocks   clocks
}

// Read returns the next message, for OnConnect: it is decoded, and what LifeSign knows is answered and taken out. The message is a view,
// valid until the next Read.
func (s *Session) Read() (conn.Message, error) {
	for {
		m, err := s.Conn.ReadMessage()
		if err != nil {
			return conn.Message{}, err
		}
		m, ok, err := s.take(m)
		if ok || err != nil {
			return m, err
		}
	}
}

// Await reads until is reports true of a message, and returns that: the answer to a log-in or a subscription, for OnConnect. What comes
// before it is kept as with Unread. A message that an Await before has kept is looked at first, so answers may come in any order.
func (s *Session) Await(is func(conn.Message) bool) (conn.Message, error) {
	for i, m := range s.kept {
		if is(m) {
			s.kept = slices.Delete(s.kept, i, i+1)
			s.keptSize -= keptSize(m)
			return m, nil
		}
	}
	for {
		m, err := s.Read()
		if err != nil || is(m) {
			return m, err
		}
		if err := s.Unread(m); err != nil {
			return conn.Message{}, err
		}
	}
}

// Unread keeps a copy of a message that OnConnect has read and that is not for it: the handler gets it as it is, before what comes
// after OnConnect, in the order of the calls. Read does not return it again. The error is ErrUnreadFull.
func (s *Session) Unread(m conn.Message) error {
	limit := DefaultMaxUnread
	if s.c != nil && s.c.MaxUnread > 0 {
		limit = s.c.MaxUnread
	}
	size := keptSize(m)
	if size > limit-s.keptSize {
		return ErrUnreadFull
	}
	s.keptSize += size
	m.Data = append(make([]byte, 0, len(m.Data)), m.Data...)
	s.kept = append(s.kept, m)
	return nil
}

// keptSize is what a message counts for in MaxUnread: one without data takes memory as well.
func keptSize(m conn.Message) int { return len(m.Data) + 64 }

// More reports whether another message is already here, so that the one in hand need not be the newest. It may be one that LifeSign
// takes. It is for the handler.
func (s *Session) More() bool { return len(s.kept) > 0 || s.Conn.More() }

// TakeBatch returns the whole messages that are here already, for the handler: it waits
// for nothing. Without any it returns nil and no error, and so it does where the
// connection has ended, which the client deals with. Release the batch after use. What
// OnConnect has kept comes first, as messages: until all of that is delivered there is no
// batch. The messages are not counted, decoded or shown to LifeSign. The error is one of
// misuse, as conn.ErrConcurrentRead.
func (s *Session) TakeBatch() (*conn.Batch, error) {
	if !s.More() || len(s.kept) > 0 {
		return nil, nil
	}
	_ = s.Conn.SetReadDeadline(time.Unix(1, 0)) // what is here may be a part of a message; the next read sets what is to be
	b, err := s.Conn.TakeBatch()
	_ = s.Conn.SetReadDeadline(time.Time{})
	if err != nil && (s.Conn.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded)) {
		err = nil
	}
	return b, err
}

// next returns the next message for the handler; ok is false if there was one that is not for it.
func (s *Session) next() (m conn.Message, ok bool, err error) {
	if len(s.kept) > 0 {
		return s.nextKept(), true, nil
	}
	m, err = s.Conn.ReadMessage()
	if err != nil || s.c.Decode == nil && s.c.LifeSign == nil {
		return m, err == nil, err
	}
	return s.take(m)
}

// nextKept takes out the first message that OnConnect has kept.
func (s *Session) nextKept() (m conn.Message) {
	m, s.kept[0] = s.kept[0], conn.Message{}
	s.keptSize -= keptSize(m)
	if s.kept = s.kept[1:]; len(s.kept) == 0 {
		s.kept = nil
	}
	return m
}

// take decodes a message, and takes out what LifeSign knows.
func (s *Session) take(m conn.Message) (decoded conn.Message, ok bool, err error) {
	c := s.c
	if c == nil {
		return m, true, nil
	}
	if c.Decode != nil {
		if m.Data, err = s.decode(m); err != nil {
			return conn.Message{}, false, err
		}
	}
	if c.LifeSign != nil {
		taken, err := s.consume(m.Data)
		if taken || err != nil {
			return conn.Message{}, false, err
		}
	}
	return m, true, nil
}

// condemn makes err what ends the session, if nothing else has. It does not end the connection.
func (s *Session) condemn(err error) { s.cause.CompareAndSwap(nil, &err) }

// judgedDead ends the session because a clock has run out: no goodbye would be heard.
func (s *Session) judgedDead(err error) {
	s.condemn(err)
	_ = s.Conn.Close()
}

// part says goodbye, waits for the answer for a short time, and closes.
func (s *Session) part(code frame.CloseCode) {
	ctx, cancel := context.WithTimeout(context.Background(), orDefault(s.c.CloseWait, DefaultCloseWait))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = s.Conn.Close() }) // StartClose can wait for a peer that does not read
	defer stop()
	if s.Conn.StartClose(code, "") == nil {
		s.sent.Store(uint32(code))
	}
	_ = s.Conn.Shutdown(ctx, code, "")
	_ = s.Conn.Close()
}
