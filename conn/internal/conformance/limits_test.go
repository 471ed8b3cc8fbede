package conformance

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// piped returns a session with a server, and the server's end of the connection.
func piped(t *testing.T, c *Case, patience time.Duration) (agent net.Conn, s *session) {
	t.Helper()
	ours, agent := net.Pipe()
	t.Cleanup(func() { ours.Close(); agent.Close() })
	go io.Copy(io.Discard, agent)
	return agent, newSession(c, Options{Patience: patience}.withDefaults(), ours, true)
}

// flood has an agent send the same octets until the connection ends, and returns the
// verdict on it.
func flood(t *testing.T, s *session, agent net.Conn, b []byte) Result {
	t.Helper()
	go func() {
		for {
			if _, err := agent.Write(b); err != nil {
				return
			}
		}
	}()
	return s.play(nil)
}

// What an agent sends has bounds: more is a fault, and ends the connection.
func TestMemoryIsBounded(t *testing.T) {
	part := piece{op: opContinuation, more: true, data: make([]byte, 1<<20)}
	whole := binaryOf(part.data)
	small := pong("x")
	for _, test := range []struct {
		title string
		first piece
		then  piece
		want  string
	}{
		{"a message that never ends", begin(opBinary, ""), part, "a message larger than"},
		{"messages without end", whole, whole, "more messages than"},
		{"pongs without end", small, small, "more messages than"},
	} {
		agent, s := piped(t, &Case{}, 10*time.Second)
		agent.SetWriteDeadline(time.Now().Add(time.Minute))
		go agent.Write(test.first.append(nil, false))
		time.Sleep(10 * time.Millisecond) // nobody reads: it is the first
		r := flood(t, s, agent, test.then.append(nil, false))
		if r.Verdict != Failed || !strings.Contains(r.Note, test.want) {
			t.Errorf("%s: %v, %q (%s)", test.title, r.Verdict, r.Note, r.End)
		}
		if len(s.events) > maxKept || len(s.frames) > maxKept || len(s.message) > maxReceived || s.kept > maxReceived+len(whole.data) {
			t.Errorf("%s: %d events, %d frames, %d bytes", test.title, len(s.events), len(s.frames), s.kept)
		}
	}
}

// A message that inflates to more than any case asks for is a fault.
func TestInflatedMemoryIsBounded(t *testing.T) {
	z := &deflater{bits: 15}
	defer z.free()
	_, s := piped(t, &Case{}, time.Second)
	s.agree(&agreement{serverBits: 15, clientBits: 15})
	p := piece{op: opBinary, rsv: 4, data: z.message(make([]byte, maxReceived+1<<20))}
	b := p.append(nil, false)
	f, _, _ := parse(b)
	s.frame(f, b)
	if !s.over || len(s.faults) != 1 || !strings.Contains(s.faults[0].note, "inflates to more") || len(s.events) != 0 {
		t.Errorf("over: %v, %v", s.over, s.faults)
	}
}

// Pings without end are answered one at a time: a pong that cannot go out is replaced.
func TestPingsWithoutEnd(t *testing.T) {
	ours, agent := net.Pipe() // the agent does not read
	defer agent.Close()
	s := newSession(&Case{}, Options{Patience: time.Second}.withDefaults(), ours, true)
	p := ping("x")
	b := p.append(nil, false)
	f, _, _ := parse(b)
	for range maxKept + 10 {
		s.frame(f, b)
	}
	s.mu.Lock()
	if !s.replying || s.pong == nil || len(s.frames) != maxKept || len(s.wire) > maxEntries {
		t.Errorf("replying: %v, %v, %d frames, %d entries", s.replying, s.pong, len(s.frames), len(s.wire))
	}
	s.mu.Unlock()
	ours.Close()
	s.replies.Wait()
}

func request(target string, lines ...string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " +
		newKey() + "\r\n" + strings.Join(append(lines, "", ""), "\r\n")
}

// A client that stops reading is given up after Timeout.
func TestClientThatStopsReading(t *testing.T) {
	for _, target := range []string{"/runCase?case=1&agent=x", "/getCaseCount", "/updateReports?agent=x", "/"} {
		l := NewListener(Options{Patience: time.Minute, Timeout: 200 * time.Millisecond, Include: []string{"R49.1"}})
		ours, agent := net.Pipe()
		defer agent.Close()
		done := make(chan struct{})
		go func() {
			l.serve(ours)
			close(done)
		}()
		io.WriteString(agent, request(target))
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: still there", target)
		}
	}
}

// A server that stops reading, or goes on for ever, is given up after Timeout.
func TestServerThatGoesOnForEver(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				h, _, err := readHead(nc, time.Minute)
				if err != nil {
					return
				}
				nc.Write(opened(h).bytes())
				p := ping("")
				for b := p.append(nil, false); err == nil; time.Sleep(time.Millisecond) {
					_, err = nc.Write(b)
				}
			}()
		}
	}()
	start := time.Now()
	r, err := TestServer(t.Context(), "x", "ws://"+l.Addr().String(), Options{Patience: 200 * time.Millisecond, Timeout: time.Second, Include: []string{"1.1.2"}})
	if err != nil {
		t.Fatal(err)
	}
	if x := r.Results[0]; x.Verdict != Failed || time.Since(start) > 20*time.Second {
		t.Errorf("%v after %v: %s", x.Verdict, time.Since(start), x.Note)
	}
}

// Only so many names are known; one more is refused.
func TestAgentsAreBounded(t *testing.T) {
	l := NewListener(Options{Include: []string{"1.1.1"}})
	l.mu.Lock()
	for i := range maxAgents {
		l.agent(fmt.Sprint(i))
	}
	l.mu.Unlock()
	for _, target := range []string{"/runCase?case=1&agent=x", "/updateReports?agent=x", "/"} {
		ours, agent := net.Pipe()
		defer agent.Close()
		go func() {
			l.serve(ours)
			ours.Close()
		}()
		io.WriteString(agent, request(target))
		if r, err := http.ReadResponse(bufio.NewReader(agent), nil); err != nil || r.StatusCode != 503 {
			t.Errorf("%s: %v, %v", target, r, err)
		}
	}
	if n := len(l.Reports()); n != maxAgents {
		t.Errorf("%d agents", n)
	}
}

// A client may ask for its report while its cases run, and run more: nothing panics, and
// each case that was begun is in the report.
func TestReportWhileCasesRun(t *testing.T) {
	nl, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := NewListener(Options{Patience: 10 * time.Second, Include: []string{"1.1.1"}})
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- l.Serve(ctx, nl) }()
	var wg sync.WaitGroup
	for range 8 {
		for _, target := range []string{"/runCase?case=1&agent=x", "/updateReports?agent=x"} {
			wg.Go(func() {
				for range 10 {
					defect("").dial(t, "ws://"+nl.Addr().String()+target)
				}
			})
		}
	}
	wg.Wait()
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if r := l.Reports(); len(r) != 1 || r[0].Summary() != "1 cases, 1 OK" {
		t.Errorf("%+v", r)
	}
}
