package redial

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"
	"unicode/utf8"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// SendPolicy says what Send does while there is no connection.
type SendPolicy uint8

const (
	// WaitWhenDown waits for one, as long as the context allows.
	WaitWhenDown SendPolicy = iota
	// FailWhenDown returns ErrDown.
	FailWhenDown
	// QueueWhenDown keeps copies of up to Client.Queue messages, and then returns
	// ErrQueueFull. They are sent in order after OnConnect has returned. They wait for a
	// slow peer, also with FailFast and WriteTimeout. Messages still queued when Run ends
	// are lost.
	QueueWhenDown
)

// String returns the policy's name in lower case.
func (p SendPolicy) String() string { return name("SendPolicy", uint8(p), "wait", "fail", "queue") }

// MarshalText returns String.
func (p SendPolicy) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// LogValue returns String.
func (p SendPolicy) LogValue() slog.Value { return slog.StringValue(p.String()) }

// Outbound describes what is about to be sent.
type Outbound struct {
	Opcode conn.Opcode     // Text, Binary, frame.Ping or frame.Pong
	Size   int             // of the payload in bytes; -1 for a message of conn.Conn.NextWriter
	Epoch  uint64          // of the session
	Done   <-chan struct{} // closed when the connection has ended: then waiting has no purpose
}

type queued struct {
	op   conn.Opcode
	data []byte
}

// Send sends a message on the current connection. Without one it does what WhenDown says,
// and ctx limits the wait. The Dialer's Config limits how long the write itself may take
// (WriteTimeout, FailFast). Send may be called from any goroutine. It must not be called
// by OnConnect, nor with the context of OnConnect before that has returned: the error is
// ErrInConnect.
//
// An error of the connection is returned as it is. The message may have arrived or not,
// and is not sent again. After a failed write the error may come again for up to
// Config.CloseTimeout: what the peer has sent is still read for that time, before the
// next session begins. With FailWhenDown and QueueWhenDown the connection counts as down
// during it. A handler may return such errors.
func (c *Client) Send(ctx context.Context, op conn.Opcode, data []byte) error {
	for {
		c.mu.Lock()
		s, changed := c.live, c.changed
		hook, connect := c.inHook(ctx)
		switch {
		case c.run == nil:
			c.mu.Unlock()
			return ErrStopped
		case connect, hook && s == nil && c.WhenDown == WaitWhenDown:
			c.mu.Unlock()
			return ErrInConnect
		case s != nil:
			c.mu.Unlock()
			return c.keepUnsent(c.sendOn(s, op, data))
		case c.WhenDown == FailWhenDown:
			c.mu.Unlock()
			return c.keepUnsent(ErrDown)
		case c.WhenDown == QueueWhenDown:
			if err := c.writable(op, data); err != nil { // now, for there is nobody to tell when it is sent
				c.mu.Unlock()
				return err
			}
			full := len(c.queue) >= c.Queue
			if !full {
				c.queue = append(c.queue, queued{op, append([]byte(nil), data...)})
			}
			c.mu.Unlock()
			if full {
				return c.keepUnsent(fullError(c.Queue))
			}
			return nil
		}
		c.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// writable returns the error that writing a message would find before anything else.
func (c *Client) writable(op conn.Opcode, data []byte) error {
	switch {
	case op != conn.Text && op != conn.Binary:
		return frame.ErrOpcode
	case op == conn.Text && (c.Dialer == nil || !c.Dialer.Config.UncheckedText) && !utf8.Valid(data):
		return conn.ErrNotUTF8
	}
	return nil
}

// sendQueued is sendOn for what was queued: a peer that takes it slowly is waited for,
// whatever Config.FailFast and WriteTimeout say. It reports false if the connection
// ended, or was shut down, before the message was written.
func (c *Client) sendQueued(s *Session, q queued) bool {
	for {
		switch err := c.sendOn(s, q.op, q.data); {
		case errors.Is(err, net.ErrClosed), err == conn.ErrShutdown:
			return false
		case !errors.Is(err, conn.ErrWouldBlock) && !errors.Is(err, os.ErrDeadlineExceeded):
			return true // a refusal by Outbound has been counted
		}
		select {
		case <-s.Conn.Done():
			return false
		case <-time.After(queueRetry):
		}
	}
}

// queueRetry is how long a message of the queue waits for the next try.
const queueRetry = 5 * time.Millisecond

// fullError is ErrQueueFull with the limit.
type fullError int

func (e fullError) Error() string {
	return fmt.Sprintf("%v: over the limit of %d (redial.Client.Queue)", ErrQueueFull, int(e))
}
func (e fullError) Unwrap() error { return ErrQueueFull }

// keepUnsent keeps an error of Send that only says that there is no connection, or one
// that can no longer be written: see ownEnd.
func (c *Client) keepUnsent(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, net.ErrClosed), errors.Is(err, conn.ErrShutdown), errors.Is(err, ErrDown), errors.Is(err, ErrQueueFull):
	default:
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, kept := range c.unsent {
		if errors.Is(kept, err) {
			return err
		}
	}
	copy(c.unsent[1:], c.unsent[:])
	c.unsent[0] = err
	return err
}

// saidUnsent reports whether err is one that keepUnsent has kept, or wraps it.
func (c *Client) saidUnsent(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, kept := range c.unsent {
		if kept != nil && errors.Is(err, kept) {
			return true
		}
	}
	return false
}

// ownEnd reports whether an error that the handler has returned for a message of s only
// says that a connection of this client has ended, can no longer be written, or is about
// to be replaced. The client goes on with that: it is no error of the handler's own.
func (c *Client) ownEnd(s *Session, err error) bool {
	if fatal(err) {
		return false
	}
	if c.saidUnsent(err) {
		return true
	}
	if s.due.Load() != nil && passedInConn(err) {
		return true // it is the client's: see retire
	}
	if !errors.Is(err, net.ErrClosed) && !errors.Is(err, conn.ErrShutdown) {
		return false
	}
	if s.Conn.Err() != nil {
		return true
	}
	now := s.Conn.Flush() // reading can go on after the end of writing, and shows no error until it ends
	return now != nil && (errors.Is(now, net.ErrClosed) || errors.Is(now, conn.ErrShutdown))
}

// passedInConn tells a passed deadline of a conn.Conn from one of the system's.
func passedInConn(err error) bool {
	var passed interface {
		Is(error) bool
		Timeout() bool
	}
	return errors.As(err, &passed) && passed.Is(os.ErrDeadlineExceeded) && !errors.Is(err, net.ErrClosed)
}

// sendOn sends on s. A write deadline that somebody has left on its connection fails one
// message, and is undone then. It is known from Config.WriteTimeout by the time: that is
// never early.
func (c *Client) sendOn(s *Session, op conn.Opcode, data []byte) error {
	var began time.Time
	timeout := c.writeTimeout()
	if timeout > 0 {
		began = time.Now()
	}
	if err := s.Conn.WriteMessage(op, data); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) && s.Conn.Err() == nil && (timeout <= 0 || time.Since(began) < timeout) {
			_ = s.Conn.SetWriteDeadline(time.Time{})
		}
		c.failed(s, err)
		return err
	}
	c.count(func(n *Counts) { n.Sent++ })
	return nil
}

// failed has Send do what WhenDown says from now on, if nothing more can be written on s.
// Reading can go on for a while, so with WaitWhenDown each Send returns the error: the
// handler that called it would wait for a connection that comes after it returns.
func (c *Client) failed(s *Session, err error) {
	if c.WhenDown == WaitWhenDown || !errors.Is(err, net.ErrClosed) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live == s {
		c.live = nil
		c.notify()
	}
}

// setLive makes s the session on which messages are sent, after what was queued has gone
// out on it. That is done beside the reading: a peer may take nothing before what it
// sends is taken.
func (r *runner) setLive(s *Session) {
	c := r.c
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case len(c.queue) == 0 && !c.flushing:
		c.live = s
		c.notify()
	case c.current == s: // otherwise adopt sees to it
		c.flushing = true
		s.flushed = make(chan struct{})
		r.helpers.Go(func() { c.flush(s) })
	}
}

// flush sends what was queued. The end of the connection ends it.
func (c *Client) flush(s *Session) {
	defer close(s.flushed)
	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() { c.flushing = false }()
	for len(c.queue) > 0 {
		q := c.queue[0]
		c.queue = c.queue[1:]
		c.mu.Unlock()
		sent := c.sendQueued(s, q)
		c.mu.Lock()
		if !sent {
			// The peer cannot have got the whole of it: the next session sends it again.
			c.queue = append([]queued{q}, c.queue...)
			return
		}
	}
	if !s.lost && s.due.Load() == nil {
		c.live = s
		c.notify()
	}
}

// setCurrent makes s the session that delivers messages.
func (c *Client) setCurrent(s *Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current = s
}

// sessionEpoch returns the epoch of the session that delivers messages; false if there is
// none.
func (c *Client) sessionEpoch() (epoch uint64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == nil {
		return 0, false
	}
	return c.current.Epoch, true
}

// unsetLive makes s no longer the session that delivers messages, nor that on which they
// are sent.
func (c *Client) unsetLive(s *Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.lost = true
	c.current = nil
	if c.live == s {
		c.live = nil
		c.notify()
	}
}

// notify wakes those who wait in Send. The caller holds c.mu.
func (c *Client) notify() {
	if c.changed != nil {
		close(c.changed)
	}
	c.changed = make(chan struct{})
}
