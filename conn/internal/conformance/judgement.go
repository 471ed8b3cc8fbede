package conformance

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"time"
)

// A Result is the result of one case for an agent.
type Result struct {
	ID       string        `json:"id"`
	Title    string        `json:"title"`
	Covers   []string      `json:"covers"`
	Verdict  Verdict       `json:"verdict"`
	Note     string        `json:"note,omitempty"`
	Decided  string        `json:"decided,omitempty"` // the bytes that decided, in hex
	End      string        `json:"end,omitempty"`     // how the connection ended
	Duration time.Duration `json:"ns"`
	Wire     []Entry       `json:"wire,omitempty"`
	Left     int           `json:"left_out,omitempty"` // number of wire entries that were not kept
}

func (c *Case) result(v Verdict, note string) Result {
	return Result{ID: c.ID, Title: c.Title, Covers: c.Covers, Verdict: v, Note: note}
}

// play runs the case on an open connection, and judges the agent.
func (s *session) play(early []byte) Result {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.read(early)
	}()
	s.act()
	s.finish()
	s.nc.Close()
	<-done
	s.replies.Wait()
	s.out.free()
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.judge()
	r.End, r.Wire, r.Left = s.howClosed(), s.wire, s.left
	return r
}

func (s *session) act() {
	if s.c.bulk != nil {
		s.c.bulk(s)
		return
	}
	for _, step := range s.c.steps {
		if s.gone() {
			return
		}
		step(s)
	}
}

// fence is a ping that the agent answers if it goes on after a fault.
const fence = "still there?"

// finish ends the connection.
func (s *session) finish() {
	if s.c.end == endFails {
		// The fence shows at once that an agent goes on. It is not sent to one that has
		// failed the connection.
		closed := func() bool { return s.agentClose != nil }
		if s.closeSentByStep = s.closeHandshakeDone(); s.closeSentByStep {
			s.wait(s.o.Patience, closed)
		} else if !s.wait(s.o.Patience/10, closed) && !s.gone() {
			p := ping(fence)
			s.write(p.append(nil, s.client), "ping, to see whether it goes on")
			s.wait(s.o.Patience, func() bool { return s.agentClose != nil || s.passedFence() })
		}
	} else if s.c.end == endClean && s.c.bulk == nil {
		s.wait(s.o.Patience, func() bool { return s.agentClose != nil || complete(s.events, s.c.want) })
	}
	if s.c.end != endClose && !s.gone() {
		s.sendClose("\x03\xE8")
	}
	// The server closes TCP first (RFC 6455 §7.1.1). As a server the suite does so after
	// the close handshake; as a client it waits.
	s.wait(s.o.Patience, func() bool { return s.ended != nil || s.agentClose != nil })
	if s.c.lingers {
		// A client that closes TCP does so long before it gives up waiting for the
		// server.
		s.wait(s.o.Patience/10, func() bool { return s.ended != nil })
		s.mu.Lock()
		early := s.ended != nil
		s.mu.Unlock()
		if early {
			s.settle(NonStrict, "the client closes TCP, and does not wait for the server to do it (RFC 6455 §7.1.1)", "")
		}
	}
	s.wait(s.o.Patience, func() bool { return s.agentClose == nil || s.answered })
	if !s.client {
		s.halfClose()
	}
	s.wait(s.o.Patience, func() bool { return s.ended != nil })
}

func (s *session) closeHandshakeDone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

func (s *session) passedFence() bool {
	return slices.ContainsFunc(s.events, func(e event) bool { return e.op == opPong && string(e.data) == fence })
}

func (s *session) howClosed() string {
	h := "no Close"
	if s.agentClose != nil {
		h = "Close without a code"
		if len(s.agentClose.data) >= 2 {
			h = describeFrame(*s.agentClose)
		}
	}
	return h + ", " + s.howEnded()
}

// judge returns the verdict and the reason that decided first.
func (s *session) judge() Result {
	c := s.c
	if len(s.faults) > 0 {
		r := c.result(Failed, s.faults[0].note)
		r.Decided = s.faults[0].decided
		return r
	}
	verdict, note := s.judgeEvents()
	if v, n := s.judgeEnd(); v > verdict && !s.passedFence() {
		verdict, note = v, n
	}
	if c.check != nil && verdict < Failed {
		c.check(s)
	}
	r := c.result(verdict, note)
	if s.deferred > verdict {
		r.Verdict, r.Note, r.Decided = s.deferred, s.why, s.decided
	}
	if r.Decided == "" {
		r.Decided = s.lastOctets()
	}
	return r
}

// lastOctets returns the bytes of the agent's last frame, or of the one before it if the
// last is a Close frame. They show a verdict that nothing else explains.
func (s *session) lastOctets() string {
	if len(s.frames) == 0 {
		return ""
	}
	f := s.frames[len(s.frames)-1]
	b := slices.Concat(f.head, f.data)
	return hex.EncodeToString(b[:min(len(b), entryBytes)])
}

func (s *session) judgeEvents() (Verdict, string) {
	c, got := s.c, s.events
	if s.passedFence() {
		if c.lax != OK {
			return c.lax, "it goes on, where it has to fail the connection"
		}
		return Failed, "it goes on, where it has to fail the connection"
	}
	if c.bulk != nil || sameEvents(got, c.want) {
		return OK, ""
	}
	for _, o := range c.others {
		if sameEvents(got, o.events) {
			return o.verdict, o.note
		}
	}
	if c.end == endFails && beginning(got, c.want) {
		return NonStrict, "it fails the connection before it has answered what was right: " + listed(got) + " came of " + listed(c.want)
	}
	return c.worst(), fmt.Sprintf("%s came, where it has to be %s", listed(got), listed(c.want))
}

// beginning reports whether got is a prefix of want.
func beginning(got, want []event) bool {
	messages, pongs := split(got)
	wantMessages, wantPongs := split(want)
	return len(messages) <= len(wantMessages) && len(pongs) <= len(wantPongs) &&
		slices.EqualFunc(messages, wantMessages[:len(messages)], sameEvent) && slices.EqualFunc(pongs, wantPongs[:len(pongs)], sameEvent)
}

func (s *session) judgeEnd() (Verdict, string) {
	switch s.c.end {
	case endFails:
		return s.judgeFailure()
	case endAny:
		if s.agentClose == nil && !s.endedByAgent() {
			return s.c.worst(), "it does not end the connection"
		}
		return OK, ""
	}
	switch {
	case s.agentClose == nil && s.endedByAgent() && s.cutInFrame:
		return s.c.worst(), "it ends TCP within a frame"
	case s.agentClose == nil:
		return s.c.worst(), "it does not answer a Close (RFC 6455 §5.5.1)"
	}
	if v, note := s.judgeCode(); v != OK {
		return v, note
	}
	return s.judgeTCP()
}

func (s *session) endedByAgent() bool {
	return s.ended != nil && s.howEnded() != "TCP closed by the suite"
}

// judgeFailure judges an agent that must fail the connection.
func (s *session) judgeFailure() (Verdict, string) {
	switch {
	case s.agentClose == nil && !s.endedByAgent():
		return s.c.worst(), "it does not fail the connection"
	case s.agentClose == nil:
		return NonStrict, "it fails the connection without a Close (RFC 6455 §7.1.7)"
	}
	if v, note := s.judgeCode(); v != OK {
		// If the agent was sent a broken Close frame, only its code shows that it
		// noticed.
		if s.closeSentByStep && !slices.Contains([]int{1002, 1003, 1007, 1008, 1009, 1011}, s.code()) {
			return s.c.worst(), note
		}
		return NonStrict, note
	}
	return s.judgeTCP()
}

func (s *session) code() int {
	if len(s.agentClose.data) < 2 {
		return 0
	}
	return int(binary.BigEndian.Uint16(s.agentClose.data))
}

func (s *session) judgeCode() (Verdict, string) {
	code := s.code()
	want := s.c.codes
	if want == nil && s.c.end == endClean {
		want = []int{0, 1000}
	}
	if len(want) == 0 || slices.Contains(want, code) {
		return OK, ""
	}
	if code == 0 {
		return NonStrict, fmt.Sprintf("its Close has no code, where %v is to be", want)
	}
	return s.c.worst(), fmt.Sprintf("its Close has code %d, where %v is to be", code, want)
}

// judgeTCP judges a server that must close TCP first.
func (s *session) judgeTCP() (Verdict, string) {
	if s.client && !s.endedByAgent() {
		return NonStrict, "the server does not close TCP when both sides have said goodbye (RFC 6455 §7.1.1)"
	}
	return OK, ""
}
