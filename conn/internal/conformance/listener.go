package conformance

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Listener tests clients that echo every message. A client that knows the public suite
// asks for /getCaseCount, then for /runCase?case=1&agent=NAME and so on, and at last for
// /updateReports?agent=NAME. Any other path gets the next case for the client, which its
// User-Agent names.
type Listener struct {
	o     *Options
	cases []*Case

	mu     sync.Mutex
	agents map[string]*tried
	names  []string
	idle   *sync.Cond  // with mu: signals the end of a case
	ended  chan string // the names of agents that are done
}

// tried is what is known about an agent.
type tried struct {
	report *Report
	done   []bool
	left   int
	next   int
	keys   map[string]bool // of its requests

	running int // number of cases in progress
}

// NewListener returns a Listener. Ended tells which agents have gone through all cases.
func NewListener(options Options) *Listener {
	l := &Listener{o: options.withDefaults(), agents: map[string]*tried{}, ended: make(chan string, 64)}
	l.cases, l.idle = l.o.cases(Client), sync.NewCond(&l.mu)
	return l
}

// Cases returns the number of cases.
func (l *Listener) Cases() int { return len(l.cases) }

// Ended returns a channel that gets the name of each agent that is done: it has asked for
// its report, or has gone through all cases without using a path.
func (l *Listener) Ended() <-chan string { return l.ended }

// Reports returns the reports of all agents, in the order of their first connection.
func (l *Listener) Reports() []*Report {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []*Report
	for _, name := range l.names {
		t := l.agents[name]
		r := *t.report
		r.Results = nil
		for i, ok := range t.done {
			if ok {
				r.Results = append(r.Results, t.report.Results[i])
			}
		}
		all = append(all, &r)
	}
	return all
}

// Serve tests each client that connects, until ctx ends.
func (l *Listener) Serve(ctx context.Context, nl net.Listener) error {
	stop := context.AfterFunc(ctx, func() { nl.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		nc, err := nl.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		wg.Go(func() {
			stop := context.AfterFunc(ctx, func() { nc.Close() })
			defer stop()
			defer nc.Close()
			l.serve(nc)
		})
	}
}

func (l *Listener) serve(nc net.Conn) {
	h, early, err := readHead(nc, l.o.Timeout)
	if err != nil {
		return // not a request: there is no agent to judge
	}
	defer l.o.bound(nc)()
	parts := strings.Split(h.first, " ")
	if len(parts) != 3 {
		return
	}
	u, err := url.ParseRequestURI(parts[1])
	if err != nil {
		return
	}
	query := u.Query()
	agent := shortened(cmp.Or(query.Get("agent"), h.value("User-Agent"), "client"), 200)
	switch u.Path {
	case "/getCaseCount":
		l.say(nc, h, early, strconv.Itoa(len(l.cases)))
	case "/updateReports":
		l.mu.Lock()
		t := l.agent(agent)
		l.mu.Unlock()
		if t == nil {
			tooMany(nc)
			return
		}
		l.say(nc, h, early, "")
		l.mu.Lock()
		for t.running > 0 { // a client can finish a case before the suite does
			l.idle.Wait()
		}
		l.mu.Unlock()
		l.end(agent)
	case "/runCase":
		i, err := strconv.Atoi(query.Get("case"))
		if err != nil || i < 1 || i > len(l.cases) {
			l.say(nc, h, early, "")
			return
		}
		l.run(nc, h, early, agent, i-1)
	default:
		if i := l.take(agent); i < 0 {
			tooMany(nc)
		} else if i < len(l.cases) {
			if l.run(nc, h, early, agent, i) {
				l.end(agent)
			}
		} else {
			l.say(nc, h, early, "")
		}
	}
}

// say opens a WebSocket, sends a text unless it is empty, and closes.
func (l *Listener) say(nc net.Conn, h *head, early []byte, s string) {
	c := &Case{end: endClean}
	if s != "" {
		c.steps = []step{together(text(s))}
	}
	session := newSession(c, l.o, nc, false)
	if _, err := nc.Write(opened(h).bytes()); err == nil {
		session.play(early)
	}
}

// opened returns the answer that opens a WebSocket.
func opened(request *head) *head {
	h := &head{first: "HTTP/1.1 101 Switching Protocols"}
	h.add("Upgrade", "websocket").add("Connection", "Upgrade")
	return h.add("Sec-WebSocket-Accept", acceptOf(request.value("Sec-WebSocket-Key")))
}

// The limits of what a Listener stores.
const (
	maxAgents = 64
	maxKeys   = 1 << 16 // of one agent
)

// tooMany refuses a client because there is no room for its name.
func tooMany(nc net.Conn) {
	_, _ = io.WriteString(nc, "HTTP/1.1 503 Too Many Agents\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
}

// agent returns what is known about a name, or nil if there is no room for a new one.
func (l *Listener) agent(name string) *tried {
	t := l.agents[name]
	if t == nil && len(l.agents) < maxAgents {
		t = &tried{done: make([]bool, len(l.cases)), left: len(l.cases), keys: map[string]bool{},
			report: &Report{Agent: name, Role: Client.String(), Started: time.Now().UTC().Truncate(time.Second), Results: make([]Result, len(l.cases))}}
		l.agents[name] = t
		l.names = append(l.names, name)
	}
	return t
}

// take returns the next case for an agent that asks for none, or -1 if there is no room
// for the agent.
func (l *Listener) take(name string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.agent(name)
	if t == nil {
		return -1
	}
	t.next++
	return t.next - 1
}

// end notes that an agent is done.
func (l *Listener) end(agent string) {
	select {
	case l.ended <- agent:
	default: // nobody reads the channel
	}
}

// run plays a case, and reports whether it was the agent's last.
func (l *Listener) run(nc net.Conn, h *head, early []byte, agent string, i int) (all bool) {
	start := time.Now()
	l.mu.Lock()
	t := l.agent(agent)
	if t == nil {
		l.mu.Unlock()
		tooMany(nc)
		return false
	}
	t.running++
	defer func() {
		l.mu.Lock()
		t.running--
		l.idle.Broadcast()
		l.mu.Unlock()
	}()
	key := h.value("Sec-WebSocket-Key")
	again := t.keys[key]
	if len(t.keys) >= maxKeys {
		clear(t.keys)
	}
	if len(key) == keyLength { // any other key is refused
		t.keys[key] = true
	}
	l.mu.Unlock()
	r := l.play(nc, h, early, l.cases[i], again)
	r.Duration = time.Since(start)
	l.mu.Lock()
	t.report.Results[i] = r
	if !t.done[i] {
		t.done[i] = true
		t.left--
	}
	all = t.left == 0
	l.mu.Unlock()
	if l.o.Done != nil {
		l.o.Done(agent, r)
	}
	return all
}

// play sends the answer of the case and goes on.
func (l *Listener) play(nc net.Conn, h *head, early []byte, c *Case, again bool) Result {
	s := newSession(c, l.o, nc, false)
	s.noteRequest(false, len(h.first), h)
	if err := checkRequest(h, again); err != nil {
		return s.unopened(Failed, err.Error())
	}
	if len(early) > 0 {
		return s.unopened(Failed, "frames before the answer to the request (RFC 6455 §4.1)")
	}
	answer, a := opened(h), c.answer
	if c.grant != "" {
		offered := h.value("Sec-WebSocket-Extensions")
		if !slices.ContainsFunc(strings.Split(offered, ","), func(x string) bool {
			name, _, _ := strings.Cut(x, ";")
			return strings.TrimSpace(name) == extensionName
		}) {
			return s.unopened(Unimplemented, "it does not offer "+extensionName)
		}
		if strings.Contains(c.grant, "client_max_window_bits") && !strings.Contains(offered, "client_max_window_bits") {
			return s.unopened(Unimplemented, "it does not offer client_max_window_bits")
		}
		answer.add("Sec-WebSocket-Extensions", c.grant)
		if a == nil || !a.refused {
			agreement, err := parseAgreement(c.grant, offered)
			if err != nil {
				return s.unopened(Failed, err.Error())
			}
			s.agree(agreement)
		}
	}
	if a == nil {
		a = new(answerCase)
	}
	if a.edit != nil {
		a.edit(answer, h)
	}
	if err := s.reply(answer, a); err != nil && !a.refused {
		return s.unopened(c.worst(), "it does not wait for the answer: "+err.Error())
	}
	if a.refused {
		return s.refused()
	}
	return s.play(nil)
}

// checkRequest returns an error if the request breaks RFC 6455 §4.1 (R38, R39).
func checkRequest(h *head, again bool) error {
	parts := strings.Split(h.first, " ")
	if parts[0] != "GET" || parts[2] != "HTTP/1.1" {
		return fmt.Errorf("the request is %.200q", withoutQuery(h.first))
	}
	// Upgrade and Connection are lists, so they may have several lines.
	for _, name := range []string{"Host", "Sec-WebSocket-Key", "Sec-WebSocket-Version"} {
		if n := len(h.values(name)); n != 1 {
			return fmt.Errorf("%s stands %d times in the request", name, n)
		}
	}
	key := h.value("Sec-WebSocket-Key")
	nonce, err := base64.StdEncoding.DecodeString(key)
	switch {
	case !h.hasToken("Upgrade", "websocket") || !h.hasToken("Connection", "upgrade"):
		return errors.New("the request does not ask for a WebSocket")
	case h.value("Sec-WebSocket-Version") != "13":
		return fmt.Errorf("Sec-WebSocket-Version is %.100q", h.value("Sec-WebSocket-Version"))
	case err != nil || len(nonce) != 16:
		return fmt.Errorf("Sec-WebSocket-Key %.100q is not 16 bytes in base64", key)
	case again:
		return errors.New("Sec-WebSocket-Key is one that came before")
	}
	return nil
}
