package conformance

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"
)

// A server is a server under test.
type server struct {
	o       *Options
	address string
	host    string
	target  string // of the request
	secure  bool
	deflate bool // it agrees to permessage-deflate
}

// TestServer tests a server that echoes every message. An error means that it cannot be
// tested at all.
func TestServer(ctx context.Context, agent, rawURL string, options Options) (*Report, error) {
	t, err := newServer(rawURL, options)
	if err != nil {
		return nil, err
	}
	if t.deflate, err = t.probe(ctx); err != nil {
		return nil, err
	}
	cases := t.o.cases(Server)
	report := &Report{Agent: agent, Role: Server.String(), Started: time.Now().UTC().Truncate(time.Second), Results: make([]Result, len(cases))}
	next := make(chan int)
	var wg sync.WaitGroup
	for range t.o.Parallel {
		wg.Go(func() {
			for i := range next {
				start := time.Now()
				r := t.run(ctx, cases[i])
				r.Duration = time.Since(start)
				report.Results[i] = r
				if t.o.Done != nil {
					t.o.Done(agent, r)
				}
			}
		})
	}
	for i := range cases {
		if ctx.Err() != nil {
			break
		}
		next <- i
	}
	close(next)
	wg.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return report, nil
}

func newServer(rawURL string, options Options) (*server, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, err
	}
	scheme := strings.ToLower(u.Scheme)
	if scheme != "ws" && scheme != "wss" || u.Host == "" {
		return nil, errors.New("want a ws or wss URL")
	}
	t := &server{o: options.withDefaults(), host: u.Host, address: u.Host, target: u.RequestURI(), secure: scheme == "wss"}
	if u.Port() == "" {
		t.address = net.JoinHostPort(u.Hostname(), map[bool]string{false: "80", true: "443"}[t.secure])
	}
	return t, nil
}

func (t *server) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, t.o.Timeout)
	defer cancel()
	if !t.secure {
		return new(net.Dialer).DialContext(ctx, "tcp", t.address)
	}
	config := new(tls.Config)
	if t.o.TLS != nil {
		config = t.o.TLS.Clone()
	}
	config.NextProtos = []string{"http/1.1"}
	return (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", t.address)
}

// request returns a request that opens a WebSocket, and its key.
func (t *server) request() (h *head, key string) {
	key = newKey()
	h = &head{first: "GET " + t.target + " HTTP/1.1"}
	h.add("Host", t.host).add("Upgrade", "websocket").add("Connection", "Upgrade")
	h.add("Sec-WebSocket-Key", key).add("Sec-WebSocket-Version", "13")
	h.lines = append(h.lines, t.o.Header...)
	return h, key
}

// probe finds out whether there is a WebSocket server, and whether it compresses.
func (t *server) probe(ctx context.Context) (deflate bool, err error) {
	nc, err := t.dial(ctx)
	if err != nil {
		return false, err
	}
	defer nc.Close()
	defer t.o.bound(nc)()
	h, key := t.request()
	h.add("Sec-WebSocket-Extensions", extensionName)
	if _, err := nc.Write(h.bytes()); err != nil {
		return false, err
	}
	answer, _, err := readHead(nc, t.o.Timeout)
	if err != nil {
		return false, fmt.Errorf("no answer to a request: %w", err)
	}
	if err := checkAnswer(answer, key); err != nil {
		return false, err
	}
	return answer.value("Sec-WebSocket-Extensions") != "", nil
}

// run plays one case.
func (t *server) run(ctx context.Context, c *Case) Result {
	nc, err := t.dial(ctx)
	if err != nil {
		return c.result(Failed, "it cannot be connected to: "+err.Error())
	}
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()
	defer nc.Close()
	defer t.o.bound(nc)()
	s := newSession(c, t.o, nc, true)
	h, key := t.request()
	if c.offer != "" {
		h.add("Sec-WebSocket-Extensions", c.offer)
	}
	q := c.request
	if q == nil {
		q = new(requestCase)
	}
	if q.edit != nil {
		q.edit(h)
	}
	answer, early, err := s.ask(h, q.cut)
	if err != nil {
		return s.unopened(q.unanswered(c), err.Error())
	}
	if r, ok := q.refusal(s, answer); ok {
		return r
	}
	if keys := h.values("Sec-WebSocket-Key"); len(keys) == 1 {
		key = keys[0]
	}
	if err := checkAnswer(answer, key); err != nil {
		return s.unopened(c.worst(), err.Error())
	}
	if q.check != nil {
		if v, note := q.check(answer); v != OK {
			s.settle(v, note, "")
		}
	}
	return t.open(s, h, answer, early)
}

// open goes on after the switch of protocols.
func (t *server) open(s *session, h, answer *head, early []byte) Result {
	offered := h.value("Sec-WebSocket-Extensions")
	switch got := answer.value("Sec-WebSocket-Extensions"); {
	case got != "":
		a, err := parseAgreement(got, offered)
		if err != nil {
			return s.unopened(Failed, err.Error())
		}
		if err := a.honours(s.c.offer); err != nil && !strings.Contains(s.c.offer, ",") {
			return s.unopened(Failed, err.Error())
		}
		s.agree(a)
	case s.c.offer != "" && (s.c.request == nil || s.c.request.agrees):
		if !t.deflate || s.c.request == nil {
			return s.unopened(Unimplemented, "it does not agree to "+s.c.offer)
		}
		return s.unopened(s.c.worst(), "it agrees to "+extensionName+", but not to "+s.c.offer)
	}
	return s.play(early)
}

// unopened returns the result of a case that never exchanged frames.
func (s *session) unopened(v Verdict, note string) Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.c.result(v, note)
	r.Wire, r.End = s.wire, "not opened"
	for _, e := range s.wire {
		if !e.Sent && e.Hex != "" {
			r.Decided = e.Hex
		}
	}
	return r
}

// ask sends a request, in two writes if cut is not 0, and reads the answer.
func (s *session) ask(h *head, cut int) (answer *head, early []byte, err error) {
	b := h.bytes()
	s.noteRequest(true, len(b), h)
	if cut > 0 && cut < len(b) {
		if _, err = s.nc.Write(b[:cut]); err == nil {
			_, err = s.nc.Write(b[cut:])
		}
	} else {
		_, err = s.nc.Write(b)
	}
	answer, early, got := readHead(s.nc, s.o.Patience)
	if got != nil {
		if err == nil {
			err = got
		}
		return nil, nil, fmt.Errorf("no answer: %w", err)
	}
	s.note(false, []byte(answer.first), "answer: "+s.o.shown(answer.first, answer.lines))
	return answer, early, nil
}
