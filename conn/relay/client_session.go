package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/utf8"
)

// equip sets the fields of Redial, once.
func (c *Client) equip() {
	r := c.Redial
	if c.equipped == r {
		return
	}
	c.equipped = r
	dialer := conn.Dialer{}
	if r.Dialer != nil {
		dialer = *r.Dialer
	}
	dialer.Subprotocols = append([]string{Subprotocol}, dialer.Subprotocols...)
	r.Dialer = &dialer
	c.connect, r.OnConnect = r.OnConnect, c.greet
	r.FinalCodes = slices.AppendSeq(slices.Clone(r.FinalCodes), maps.Keys(refusals))
	if classify := r.Classify; classify != nil {
		r.Classify = func(err error) redial.Decision {
			if finalRefusal(err) {
				return redial.Decision{}
			}
			return classify(err)
		}
	}
}

// greet is the OnConnect of Redial: it sends the hello, and reads the answer.
func (c *Client) greet(ctx context.Context, s *redial.Session) error {
	if s.Conn.Subprotocol() != Subprotocol {
		return ErrSubprotocol
	}
	if c.connect != nil {
		if err := c.connect(ctx, s); err != nil {
			return err
		}
	}
	c.mu.Lock()
	at := c.at
	c.mu.Unlock()
	hello, err := json.Marshal(c.hello(at))
	if err != nil {
		return redial.Fatal(err)
	}
	if err := s.Conn.WriteMessage(frame.Text, hello); err != nil {
		return err
	}
	answer, err := awaitWelcome(s)
	if err == nil {
		err = c.welcomed(s, at, answer)
	}
	return c.judge(err)
}

func (c *Client) hello(at place) control {
	h := control{Type: "hello", Stream: c.Stream, Start: start(c.Start)}
	switch {
	case !at.IsZero():
		after := at.told()
		h.Start, h.After, h.Strict = startAfter, &after, c.Strict
	case c.Start == "":
		h.Start = startNow
	}
	return h
}

// judge counts an error of a session, and makes a final one final.
func (c *Client) judge(err error) error {
	var refused *RefusedError
	switch {
	case errors.As(err, &refused):
		c.counts.refused.Add(1)
		if refused.final() {
			return redial.Fatal(err)
		}
	case errors.Is(err, ErrFrame):
		c.counts.malformed.Add(1)
	case errors.Is(err, ErrJump):
		c.counts.jumps.Add(1)
	}
	return err
}

// awaitWelcome reads the answer to a hello.
func awaitWelcome(s *redial.Session) (control, error) {
	for {
		m, err := s.Read()
		if err != nil {
			return control{}, err
		}
		if m.Opcode != frame.Text {
			return control{}, fmt.Errorf("%w: a record before the welcome", ErrFrame)
		}
		answer, err := parseControl(m.Data)
		if err != nil {
			return control{}, err
		}
		switch answer.Type {
		case "welcome":
			return answer, nil
		case "error":
			return control{}, &RefusedError{answer.Code, answer.Text}
		case "bye":
			return control{}, errors.New("relay: the gateway is going away")
		}
	}
}

// parseControl parses a control message of a gateway. The error matches ErrFrame.
func parseControl(data []byte) (control, error) {
	var k control
	if err := json.Unmarshal(data, &k); err != nil {
		return control{}, fmt.Errorf("%w: %w", ErrFrame, err)
	}
	return k, nil
}

// welcomed checks an answer to a hello with the position at, and notes where the session
// begins.
func (c *Client) welcomed(s *redial.Session, at place, k control) error {
	if k.Stream != c.Stream || k.After == nil || k.After.Incarnation == 0 || k.Recovered == nil {
		return fmt.Errorf("%w: a welcome to another hello", ErrFrame)
	}
	begin := placeAfter(*k.After)
	if !at.IsZero() {
		var err error
		if begin, err = c.resumed(s, at, begin, *k.Recovered); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.welcomes[s.Epoch] = begin
	if c.at.IsZero() {
		c.at = begin // the next session continues here, even if nothing comes
	}
	return nil
}

// resumed returns the place before the first record, where at was asked for and begin is
// the gateway's answer.
func (c *Client) resumed(s *redial.Session, at, begin place, recovered bool) (place, error) {
	switch {
	case begin.Incarnation != at.Incarnation:
		return place{}, &RefusedError{CloseIncarnation, "the gateway continues another incarnation"}
	case begin.Position == at.Position, begin.Position == at.told():
		begin = at // and what is known of its batch
	case at.covers(begin):
	case recovered && begin.Sequence == at.Sequence && begin.rest == restNone && at.rest == restUnknown:
	case recovered:
		return place{}, fmt.Errorf("%w: it continues after %v instead of %v", ErrJump, begin, at)
	case begin.rest != restNone:
		return place{}, fmt.Errorf("%w: a welcome in the middle of a batch", ErrFrame)
	default: // the handler gets what an expired message would tell, first
		first := at.firstGone(at.Sequence)
		data := appendExpired(nil, first, begin.Sequence)
		if err := s.Unread(conn.Message{Opcode: frame.Binary, Data: data}); err != nil {
			return place{}, err
		}
		begin = at
	}
	if recovered {
		c.counts.resumed.Add(1)
	} else if c.Strict {
		return place{}, &RefusedError{CloseExpired, "the gateway continues with the oldest record"}
	}
	return begin, nil
}

// take deals with a message of a session, and passes what is new to handler.
func (c *Client) take(m redial.Message, handler func(Message) error) error {
	if !c.handling.IsZero() { // Run went on although the handler returned an error
		if err := c.handled(); err != nil {
			return err
		}
	}
	if m.Epoch != c.epoch {
		c.enter(m.Epoch)
	}
	if m.Opcode == frame.Text {
		return c.handleControl(m.Data)
	}
	f, err := parseFrame(m.Data)
	if err == nil && f.Kind == Text && !utf8.Valid(f.Data) {
		err = fmt.Errorf("%w: text that is not UTF-8", ErrFrame)
	}
	if err != nil {
		return c.leave(err)
	}
	switch c.chain.order(&f) {
	case orderRepeated:
		c.counts.duplicates.Add(1)
		return nil
	case orderJumped:
		return c.leave(fmt.Errorf("%w: %d.%d came after %d.%d", ErrJump, f.sequence, f.index, c.chain.Sequence, c.chain.Index))
	}
	c.chain = placeOf(c.chain.Incarnation, &f)
	if c.at.covers(c.chain) { // only this goroutine changes it now
		c.counts.duplicates.Add(1)
		return nil
	}
	return c.deliver(m.Session, &f, handler)
}

// enter begins with the messages of an epoch.
func (c *Client) enter(epoch uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch, c.chain = epoch, c.welcomes[epoch]
	for e := range c.welcomes {
		if e <= epoch {
			delete(c.welcomes, e)
		}
	}
}

// handleControl deals with a control message after the welcome.
func (c *Client) handleControl(data []byte) error {
	k, err := parseControl(data)
	switch {
	case err != nil:
		return c.leave(err)
	case k.Type == "welcome":
		return c.leave(fmt.Errorf("%w: a second welcome", ErrFrame))
	case k.Type == "error":
		return c.leave(&RefusedError{k.Code, k.Text})
	case k.Type == "bye":
		c.counts.byes.Add(1)
	}
	return nil
}

// leave ends the session. It returns an error that ends Run.
func (c *Client) leave(err error) error {
	var refused *RefusedError
	if err = c.judge(err); errors.As(err, &refused) && refused.final() {
		return refused
	}
	_ = c.Redial.Reconnect(err) // it fails only if the session is over anyway
	return nil
}

// deliver passes a record to the handler.
func (c *Client) deliver(s *redial.Session, f *dataFrame, handler func(Message) error) error {
	m := Message{Record: f.Record, Position: c.chain.Position, Session: s}
	if f.expired {
		if c.Strict {
			return c.leave(&RefusedError{CloseExpired, "the stream no longer has what follows the position"})
		}
		m.First, m.Last = c.at.firstGone(f.first), f.sequence
		c.counts.expired.Add(1)
	}
	if m.Kind == Gap {
		c.counts.gaps.Add(1)
	}
	c.handling = c.chain
	if err := handler(m); err != nil {
		return err
	}
	return c.handled()
}

// handled makes the message that the handler had the last one.
func (c *Client) handled() error {
	c.mu.Lock()
	c.at = c.handling
	c.mu.Unlock()
	c.handling = place{}
	c.counts.messages.Add(1)
	if c.Save == nil || c.SaveCount <= 0 {
		return nil
	}
	if c.unsaved++; c.unsaved < c.SaveCount {
		return nil
	}
	c.unsaved = 0
	return c.save()
}
