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

// Message is a message with its origin.
type Message struct {
	conn.Message        // a view, valid until the handler returns or the next message is asked for
	Epoch        uint64 // of the session that brought it
	Number       uint64 // of the message within its epoch, from 1
	// Session is the session that brought the message. Until the handler returns, the
	// reading side of Session.Conn belongs to it. It may call LastRead, or take more
	// messages with Session.TakeBatch. Messages taken so are not counted, decoded or
	// shown to LifeSign. The client's clocks do not run while the handler waits in a
	// read of Session.Conn. When the connection is to be replaced, that read can fail
	// with a deadline that the client has set.
	Session *Session
}

// Session is one connection of a Client.
type Session struct {
	// Conn is the connection. Its reading side belongs to OnConnect, then to the Client,
	// and to the handler while that runs. A read deadline that OnConnect or the handler
	// leaves on it is reset. A write deadline that the handler leaves also holds for
	// Client.Send: the first call after it has passed fails, writes nothing, and resets
	// it. Until then no ping is answered.
	Conn *conn.Conn
	// Epoch counts the connections on which OnConnect ran, from 1.
	Epoch uint64
	// URL is what was dialed.
	URL string
	// Attempt counts the dials since the last session, from 1.
	Attempt int
	// Began is when the connection was made.
	Began time.Time
	// GapBegan is when the previous session was seen to end, and zero for the first
	// session. If the connection ends while the handler works, the client sees it when
	// the handler returns. What is missing begins after the last delivered message.
	//
	// In a rotation with Overlap OnConnect sees zero. The handler sees zero too if
	// everything of the old session came: its answer to our Close, which comes last, was
	// read. Otherwise something may be missing, and the handler sees when the old session
	// ended. That is so if it ended by itself or by Reconnect, if a slow handler did not
	// get all of it, or if the server did not answer the Close within Client.OverlapWait,
	// or with another code.
	GapBegan time.Time
	// Last is the error that ended the previous session, or the previous attempt. It is
	// nil in a rotation that left no gap.
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

// Read returns the next message, for OnConnect. It is decoded; LifeSign answers and
// removes its own. The message is a view, valid until the next Read.
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

// Await reads until is reports true for a message, and returns it. It is for OnConnect,
// to wait for the answer to a log-in or a subscription. Messages before it are kept as
// with Unread. Kept messages are looked at first, so answers may come in any order.
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

// Unread keeps a copy of a message that OnConnect read but does not need. The handler
// gets it unchanged, before the messages that come after OnConnect, in the order of the
// calls. Read does not return it again. The error is ErrUnreadFull.
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

// keptSize is what a message counts for in MaxUnread: one without data takes memory as
// well.
func keptSize(m conn.Message) int { return len(m.Data) + 64 }

// More reports whether another message has already come, so that the current one may not
// be the newest. It may be one that LifeSign takes. It is for the handler.
func (s *Session) More() bool { return len(s.kept) > 0 || s.Conn.More() }

// TakeBatch returns the whole messages that have already come, for the handler. It does
// not wait. If there is none, or if the connection has ended, it returns nil without an
// error; the client deals with the end. Call Release on the batch after use.
//
// There is no batch while messages that OnConnect kept are still to be delivered.
// Messages of a batch are not counted, decoded or shown to LifeSign. An error means
// misuse, such as conn.ErrConcurrentRead.
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

// next returns the next message for the handler; ok is false if there was one that is not
// for it.
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

// condemn makes err what ends the session, if nothing else has. It does not end the
// connection.
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
