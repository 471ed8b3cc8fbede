package conformance

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
	"unicode/utf8"
)

// An Entry is one step on the wire: a write of the suite, or a frame of the agent.
type Entry struct {
	Sent  bool   `json:"sent"` // by the suite
	Bytes int    `json:"bytes"`
	Hex   string `json:"hex"` // of the first bytes
	About string `json:"about,omitempty"`
}

const (
	entryBytes = 48  // kept of an Entry
	maxEntries = 200 // kept of a Result
	maxAbout   = 4096
	maxKept    = 10_000 // frames and events kept of an agent
)

// A session is one connection with an agent, in one case.
type session struct {
	c      *Case
	o      *Options
	nc     net.Conn
	client bool // the suite is the client

	deflate *agreement // nil without permessage-deflate
	in      *inflater
	out     *deflater

	writing sync.Mutex     // a frame is written whole
	replies sync.WaitGroup // the goroutine that sends pong and answers closeToAnswer

	mu              sync.Mutex
	changed         chan struct{} // closed and replaced at each change below
	heard           time.Time     // when bytes last arrived
	events          []event
	kept            int        // bytes of events
	over            bool       // the agent has sent more than is kept: the rest is dropped
	frames          []received // from the agent, without payload
	wire            []Entry
	left            int     // number of entries that are not kept
	faults          []fault // of form, in received frames
	deferred        Verdict // the best verdict still possible, and why
	why             string
	decided         string
	agentClose      *received // the agent's Close frame
	closing         bool      // the suite has sent a Close frame
	closeSentByStep bool      // the steps have sent one
	answered        bool      // the agent's Close frame has been answered, if needed
	ended           error     // of the reader
	replying        bool      // replies is sending pong and answering closeToAnswer
	pong            *piece    // to be sent: answers the last ping (RFC 6455 §5.5.3)
	closeToAnswer   *received // a Close frame to answer
	cutInFrame      bool      // the stream ended within a frame
	bulk            func(i int, e event) bool
	bulked          int

	op      byte // of the current message
	packed  bool
	message []byte
	open    bool
}

// A fault is a rule that the agent has broken.
type fault struct {
	note    string
	decided string
}

func newSession(c *Case, o *Options, nc net.Conn, client bool) *session {
	if t, ok := nc.(interface{ SetNoDelay(bool) error }); ok {
		_ = t.SetNoDelay(true)
	}
	return &session{c: c, o: o, nc: nc, client: client, changed: make(chan struct{})}
}

// agree sets up permessage-deflate.
func (s *session) agree(a *agreement) {
	if s.deflate = a; a == nil {
		return
	}
	s.in, s.out = &inflater{bits: a.clientBits, noContextTakeover: a.clientNoContextTakeover}, &deflater{bits: a.serverBits, noContextTakeover: a.serverNoContextTakeover}
	if s.client {
		s.in, s.out = &inflater{bits: a.serverBits, noContextTakeover: a.serverNoContextTakeover}, &deflater{bits: a.clientBits, noContextTakeover: a.clientNoContextTakeover}
	}
}

func (s *session) note(sent bool, b []byte, about string) {
	s.enter(Entry{sent, len(b), hex.EncodeToString(b[:min(len(b), entryBytes)]), about})
}

// noteRequest records the size of a request. Its bytes may contain secrets, so there is
// no hex.
func (s *session) noteRequest(sent bool, n int, h *head) {
	s.enter(Entry{Sent: sent, Bytes: n, About: "request: " + s.o.shown(withoutQuery(h.first), h.lines)})
}

func (s *session) enter(e Entry) {
	if len(s.wire) >= maxEntries {
		s.left++
		return
	}
	if len(e.About) > maxAbout {
		e.About = e.About[:maxAbout] + "…"
	}
	s.wire = append(s.wire, e)
}

// settle lowers the verdict to v, unless it is lower already.
func (s *session) settle(v Verdict, why, decided string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v > s.deferred {
		s.deferred, s.why, s.decided = v, why, decided
	}
}

func (s *session) tell() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// read reads until the connection ends.
func (s *session) read(early []byte) {
	buffer, chunk := slices.Clone(early), make([]byte, 64<<10)
	for {
		rest := s.take(buffer)
		buffer = buffer[:copy(buffer, buffer[len(buffer)-rest:])]
		n, err := s.nc.Read(chunk)
		buffer = append(buffer, chunk[:n]...)
		if n > 0 {
			s.mu.Lock()
			s.heard = time.Now()
			s.mu.Unlock()
		}
		if err != nil {
			rest := s.take(buffer)
			s.mu.Lock()
			s.ended, s.cutInFrame = err, rest > 0
			s.tell()
			s.mu.Unlock()
			return
		}
	}
}

// take handles the whole frames at the beginning of b. It returns how many bytes are
// left.
func (s *session) take(b []byte) (rest int) {
	for {
		f, n, wrong := parse(b)
		if wrong != "" {
			s.mu.Lock()
			s.fault(wrong, f.head)
			s.tell()
			s.mu.Unlock()
			if n == 0 {
				s.nc.Close()
				return len(b)
			}
		}
		if n == 0 {
			return len(b)
		}
		s.frame(f, b[:n])
		b = b[n:]
	}
}

// fault records a broken rule. The first one decides.
func (s *session) fault(note string, b []byte) {
	if len(s.faults) >= maxEntries {
		return
	}
	s.faults = append(s.faults, fault{note, hex.EncodeToString(b[:min(len(b), entryBytes)])})
}

// frame checks a frame by the rules for senders and handles it.
func (s *session) frame(f received, b []byte) {
	s.mu.Lock()
	reply := s.judgeFrame(f, b)
	f.data = bytes.Clone(f.data[:min(len(f.data), 130)])
	f.head = bytes.Clone(f.head)
	if len(s.frames) < maxKept {
		s.frames = append(s.frames, f)
	} else {
		s.frames[maxKept-1] = f // the last one may decide
	}
	switch {
	case reply != nil:
		s.pong = reply
	case f.op == opClose:
		s.closeToAnswer = &f
	}
	// Not in this goroutine: a write may wait until something is read.
	if !s.replying && (s.pong != nil || s.closeToAnswer != nil) {
		s.replying = true
		s.replies.Go(s.respond)
	}
	over := s.over
	s.tell()
	s.mu.Unlock()
	if over {
		s.nc.Close()
	}
}

// respond sends pongs and answers Close frames until none is due.
func (s *session) respond() {
	for {
		s.mu.Lock()
		pong, bye := s.pong, s.closeToAnswer
		s.pong, s.closeToAnswer = nil, nil
		s.replying = pong != nil || bye != nil
		s.mu.Unlock()
		if pong == nil && bye == nil {
			return
		}
		if pong != nil {
			s.write(pong.append(nil, s.client), "the pong")
		}
		if bye != nil {
			s.answerClose(*bye)
		}
	}
}

// excess ends a connection that has sent more than anything asked for.
func (s *session) excess(note string, b []byte) {
	s.fault(note, b)
	s.over, s.message = true, nil
}

func (s *session) judgeFrame(f received, b []byte) (reply *piece) {
	s.note(false, b, describeFrame(f))
	if s.over {
		return nil
	}
	f.data = bytes.Clone(f.data)
	switch {
	case s.agentClose != nil:
		s.fault("a frame after its Close (RFC 6455 §5.5.1)", b)
		return nil
	case f.masked == s.client:
		s.fault(map[bool]string{true: "a masked frame of a server (RFC 6455 §5.1)", false: "a frame of a client without a mask (RFC 6455 §5.1)"}[f.masked], b)
		return nil
	case f.rsv&3 != 0, f.rsv != 0 && (s.deflate == nil || f.op != opText && f.op != opBinary):
		s.fault("reserved bits that nothing agreed on (RFC 6455 §5.2)", b)
		return nil
	case f.op > opBinary && f.op < opClose || f.op > opPong:
		s.fault("a reserved opcode (RFC 6455 §5.2)", b)
		return nil
	case f.op >= opClose && (!f.fin || len(f.data) > 125):
		s.fault("a control frame that is cut or too long (RFC 6455 §5.5)", b)
		return nil
	}
	switch f.op {
	case opClose:
		s.agentClose = &f
		s.judgeClose(f, b)
	case opPing:
		return &piece{op: opPong, data: f.data}
	case opPong:
		s.happened(event{opPong, f.data}, b)
	default:
		s.part(f, b)
	}
	return nil
}

func (s *session) judgeClose(f received, b []byte) {
	if len(f.data) == 0 {
		return
	}
	if len(f.data) == 1 {
		s.fault("a Close body of one byte (RFC 6455 §5.5.1)", b)
		return
	}
	code := int(binary.BigEndian.Uint16(f.data))
	if s.c.fails == Informational {
		return // the case is about a code that some send back
	}
	if code < 1000 || code > 4999 || code >= 1015 && code < 3000 || code >= 1004 && code <= 1006 || code == 1010 && s.client && !slices.Contains(s.c.codes, 1010) {
		s.fault(fmt.Sprintf("close code %d, which must not be sent (RFC 6455 §7.4)", code), b)
	}
	if !utf8.Valid(f.data[2:]) {
		s.fault("a close reason that is not UTF-8 (RFC 6455 §5.5.1)", b)
	}
}

// part handles a frame of a message.
func (s *session) part(f received, b []byte) {
	switch {
	case f.op == opContinuation && !s.open:
		s.fault("a continuation of nothing (RFC 6455 §5.4)", b)
		return
	case f.op != opContinuation && s.open:
		s.fault("a message within another one (RFC 6455 §5.4)", b)
		return
	case f.op != opContinuation:
		s.op, s.packed, s.message = f.op, f.rsv != 0, nil
	}
	if len(s.message)+len(f.data) > maxReceived {
		s.excess("a message larger than anything asked for", b)
		return
	}
	s.message = append(s.message, f.data...)
	if s.open = !f.fin; s.open {
		return
	}
	data := s.message
	if s.packed {
		var err error
		if data, err = s.in.message(data); err == errTooLong {
			s.excess("a message that inflates to more than anything asked for", s.message)
			return
		}
		if err != nil {
			s.fault("a compressed message that cannot be inflated: "+err.Error()+" (RFC 7692 §7.2)", s.message)
			return
		}
	}
	if s.op == opText && !utf8.Valid(data) {
		s.fault("text that is not UTF-8 (RFC 6455 §8.1)", b)
	}
	s.happened(event{s.op, data}, b)
}

func (s *session) happened(e event, b []byte) {
	if s.bulk == nil || e.op > opBinary {
		if s.kept += len(e.data); len(s.events) == maxKept || s.kept > maxReceived {
			s.excess("more messages than anything asked for", b)
			return
		}
		s.events = append(s.events, e)
		return
	}
	if !s.bulk(s.bulked, e) {
		s.fault(fmt.Sprintf("message %d came back as another one: %v", s.bulked, e), b)
	}
	s.bulked++
}

func describeFrame(f received) string {
	names := map[byte]string{opContinuation: "continuation", opText: "text", opBinary: "binary", opClose: "Close", opPing: "ping", opPong: "pong"}
	name := names[f.op]
	if name == "" {
		name = fmt.Sprintf("opcode %d", f.op)
	}
	s := fmt.Sprintf("%s, %d bytes", name, len(f.data))
	if f.op == opClose && len(f.data) >= 2 {
		s = fmt.Sprintf("Close %d %q", binary.BigEndian.Uint16(f.data), f.data[2:])
	}
	if !f.fin {
		s += ", no FIN"
	}
	if f.rsv != 0 {
		s += fmt.Sprintf(", RSV %03b", f.rsv)
	}
	return s
}

// answerClose answers the agent's Close frame. As a server it also closes TCP first.
func (s *session) answerClose(f received) {
	s.mu.Lock()
	sent := s.closing
	s.mu.Unlock()
	if !sent {
		body := f.data
		if len(body) > 2 {
			body = body[:2]
		}
		s.sendClose(string(body))
	}
	if !s.client && !s.c.lingers {
		s.halfClose()
	}
	s.mu.Lock()
	s.answered = true
	s.tell()
	s.mu.Unlock()
}

func (s *session) sendClose(body string) {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	p := closeBody(body)
	s.write(p.append(nil, s.client), "Close")
}

func (s *session) halfClose() {
	if h, ok := s.nc.(interface{ CloseWrite() error }); ok {
		_ = h.CloseWrite()
	}
}

// write sends bytes. If the agent is gone, the reader finds out.
func (s *session) write(b []byte, about string) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	s.note(true, b, about)
	s.mu.Unlock()
	s.inPieces(b, max(len(b), 1))
}

func (s *session) inPieces(b []byte, size int) {
	for len(b) > 0 {
		n, err := s.nc.Write(b[:min(size, len(b))])
		if err != nil {
			return
		}
		b = b[n:]
	}
}

// wait returns when done is true, when the connection has ended, or when nothing has
// arrived for d. done is called with the lock held.
func (s *session) wait(d time.Duration, done func() bool) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		s.mu.Lock()
		ok, ended, changed := done(), s.ended != nil, s.changed
		s.mu.Unlock()
		if ok || ended {
			return ok
		}
		select {
		case <-changed:
		case <-timer.C:
			s.mu.Lock()
			left := time.Until(s.heard.Add(d))
			s.mu.Unlock()
			if left <= 0 {
				return false
			}
			timer.Reset(left)
		}
	}
}

func (s *session) gone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended != nil || s.agentClose != nil
}

// howEnded describes how TCP ended.
func (s *session) howEnded() string {
	switch {
	case s.ended == nil:
		return "TCP left open"
	case errors.Is(s.ended, io.EOF):
		return "TCP closed"
	case errors.Is(s.ended, net.ErrClosed):
		return "TCP closed by the suite"
	}
	return "TCP reset"
}

// A step is an action of the suite in a case.
type step func(*session)

// together sends pieces in one write, apart in one write each. octets writes n bytes at a
// time.
func together(pieces ...piece) step {
	return func(s *session) { s.write(s.encode(pieces)) }
}

func (s *session) encode(pieces []piece) (b []byte, about string) {
	for i, p := range pieces {
		b = p.append(b, s.client)
		if i < 4 {
			if i > 0 {
				about += "; "
			}
			about += describeFrame(received{fin: !p.more, rsv: p.rsv, op: p.op, data: p.data})
		}
	}
	if slices.ContainsFunc(pieces, func(p piece) bool { return p.op == opClose && p.length == 0 }) {
		s.mu.Lock()
		s.closing = true
		s.mu.Unlock()
	}
	return b, about
}

func apart(pieces ...piece) step {
	return func(s *session) {
		for _, p := range pieces {
			s.write(s.encode([]piece{p}))
		}
	}
}

func octets(n int, pieces ...piece) step {
	return func(s *session) {
		b, about := s.encode(pieces)
		s.writing.Lock()
		defer s.writing.Unlock()
		s.mu.Lock()
		s.note(true, b, about)
		s.mu.Unlock()
		s.inPieces(b, n)
	}
}

func rawBytes(b []byte) step {
	return func(s *session) { s.write(b, "raw bytes") }
}

// packed sends a compressed message, in one frame or in fragments.
func packed(op byte, data []byte, size int) step {
	return func(s *session) { s.sendPacked(op, s.out.message(data), size) }
}

// stream sends any payload as a compressed message.
func stream(op byte, payload []byte) step {
	return func(s *session) { s.sendPacked(op, payload, 0) }
}

func (s *session) sendPacked(op byte, payload []byte, size int) {
	if size == 0 {
		size = max(len(payload), 1)
	}
	pieces := fragments(op, payload, size)
	pieces[0].rsv = 4
	s.write(s.encode(pieces))
}

// hold waits for the end, which must come before the bytes of the next step.
func hold(s *session) {
	if !s.wait(s.o.Patience, func() bool { return s.agentClose != nil }) && !s.gone() {
		s.settle(NonStrict, "the connection is failed only with later bytes", "")
	}
}

// answered waits for n events, which must come before the next step.
func answered(n int, note string) step {
	return func(s *session) {
		if !s.wait(s.o.Patience, func() bool { return len(s.events) >= n }) && !s.gone() {
			s.settle(NonStrict, note, "")
		}
	}
}
