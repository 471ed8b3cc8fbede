package exchange

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// open starts an exchange and returns its URL. It ends with the test, or with stop.
func open(t *testing.T) (url string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- new(Server).Serve(ctx, l) }()
	stopped := false
	stop = func() {
		cancel()
		if stopped {
			return
		}
		stopped = true
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return "ws://" + l.Addr().String() + "/feed", stop
}

// subscribe dials and returns the connection and the exchange's answer.
func subscribe(t *testing.T, url string, request Subscribe) (*conn.Conn, Subscribed) {
	t.Helper()
	c, err := conn.Dial(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, ask(t, c, request)
}

func ask(t *testing.T, c *conn.Conn, request any) (answer Subscribed) {
	t.Helper()
	p, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.WriteMessage(frame.Text, p); err != nil {
		t.Fatal(err)
	}
	m, err := c.ReadMessage()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		t.Fatalf("%v: %q", err, m.Data)
	}
	return answer
}

// follow checks the feed to its end, which must be a normal close, and returns the number of messages.
func follow(t *testing.T, c *conn.Conn, first uint64) (n int64) {
	t.Helper()
	checker := NewChecker(first)
	for {
		m, err := c.ReadMessage()
		var closed *conn.CloseError
		if errors.As(err, &closed) && closed.Code == frame.CodeNormal {
			return n
		}
		if err != nil {
			t.Fatalf("after %d messages: %v", n, err)
		}
		if err := checker.Check(m.Data); err != nil {
			t.Fatal(err)
		}
		if made := time.Unix(0, Made(m.Data)); made.After(time.Now().Add(time.Second)) || time.Since(made) > time.Minute {
			t.Fatalf("made at %v", made)
		}
		n++
	}
}

func TestFeedsAreWhole(t *testing.T) {
	url, _ := open(t)
	for _, request := range []Subscribe{
		{Limit: 1},
		{Limit: 3*cycleLength + 1},
		{Limit: 100_000},
		{Rate: 1e6, Limit: 50_000},
		{Rate: 2000, Limit: 100},
	} {
		request.Op = "subscribe"
		c, answer := subscribe(t, url, request)
		if answer.Op != "subscribed" || answer.First < FirstSequence {
			t.Fatalf("%+v", answer)
		}
		if n := follow(t, c, answer.First); n != request.Limit {
			t.Errorf("%+v: %d messages", request, n)
		}
	}
}

// Two clients with the same rate get the same feed: number for number the same body.
func TestFeedWithARateIsShared(t *testing.T) {
	url, _ := open(t)
	seen := map[uint64][]byte{}
	collect := func() (shared int) {
		c, answer := subscribe(t, url, Subscribe{Op: "subscribe", Rate: 20_000, Limit: 4000})
		checker := NewChecker(answer.First)
		for range 4000 {
			m, err := c.ReadMessage()
			if err != nil {
				t.Error(err)
				return 0
			}
			if err := checker.Check(m.Data); err != nil {
				t.Error(err)
				return 0
			}
			body := bytes.Clone(m.Data[:len(m.Data)-len(tail)])
			if before, ok := seen[Sequence(m.Data)]; ok {
				shared++
				if !bytes.Equal(before, body) {
					t.Errorf("message %d is %q and %q", Sequence(m.Data), before, body)
				}
			}
			seen[Sequence(m.Data)] = body
		}
		return shared
	}
	// The second begins while the first one's numbers are still queued up behind it:
	// both connections are opened before either is read to its end.
	c, answer := subscribe(t, url, Subscribe{Op: "subscribe", Rate: 20_000, Limit: 4000})
	second := collect()
	if second != 0 {
		t.Fatalf("%d shared messages before there is a second feed", second)
	}
	checker := NewChecker(answer.First)
	shared := 0
	for range 4000 {
		m, err := c.ReadMessage()
		if err != nil {
			t.Fatal(err)
		}
		if err := checker.Check(m.Data); err != nil {
			t.Fatal(err)
		}
		if before, ok := seen[Sequence(m.Data)]; ok {
			shared++
			if body := m.Data[:len(m.Data)-len(tail)]; !bytes.Equal(before, body) {
				t.Errorf("message %d is %q and %q", Sequence(m.Data), before, body)
			}
		}
	}
	if shared == 0 {
		t.Error("the feeds have no number in common")
	}
}

func TestRefusals(t *testing.T) {
	url, _ := open(t)
	c, err := conn.Dial(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, request := range []any{
		"a string", 7, map[string]any{}, map[string]any{"op": "unsubscribe"},
		Subscribe{Op: "subscribe", Rate: -1}, Subscribe{Op: "subscribe", Rate: 2 * MaxRate}, Subscribe{Op: "subscribe", Limit: -1},
	} {
		if answer := ask(t, c, request); answer.Op != "error" || answer.Error == "" {
			t.Errorf("%v: %+v", request, answer)
		}
	}
	// After all that the connection still serves.
	answer := ask(t, c, Subscribe{Op: "subscribe", Limit: 10})
	if n := follow(t, c, answer.First); n != 10 {
		t.Errorf("%d messages", n)
	}
}

// mute is a connection whose writes fail after the handshake, while nothing comes to read.
type mute struct {
	net.Conn
	writes int
}

var errMute = errors.New("mute")

func (m *mute) Write(p []byte) (int, error) {
	if m.writes++; m.writes > 1 {
		return 0, errMute
	}
	return m.Conn.Write(p)
}

// An answer that cannot be written ends the client, and is told.
func TestAnswerThatCannotBeWritten(t *testing.T) {
	for _, request := range []string{"nonsense", `{"op":"subscribe"}`} {
		near, far := net.Pipe()
		served := make(chan error, 1)
		go func() { served <- new(Server).serve(t.Context(), &mute{Conn: near}) }()
		d := conn.Dialer{NetDial: func(context.Context, string, string) (net.Conn, error) { return far, nil }}
		c, err := d.Dial(t.Context(), "ws://pipe/")
		if err != nil {
			t.Fatal(err)
		}
		if err := c.WriteMessage(frame.Text, []byte(request)); err != nil {
			t.Fatal(err)
		}
		if err := <-served; !errors.Is(err, errMute) {
			t.Errorf("%s: %v", request, err)
		}
		c.Close()
	}
}

func TestGoodbyes(t *testing.T) {
	url, stop := open(t)
	// The client's, in the middle of a feed at full speed.
	c, answer := subscribe(t, url, Subscribe{Op: "subscribe"})
	checker := NewChecker(answer.First)
	for range 10_000 {
		m, err := c.ReadMessage()
		if err != nil {
			t.Fatal(err)
		}
		if err := checker.Check(m.Data); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Shutdown(t.Context(), frame.CodeNormal, ""); err != nil {
		t.Error(err)
	}
	// The server's, to a client with a feed and to one without.
	feeding, answer := subscribe(t, url, Subscribe{Op: "subscribe", Rate: 1000})
	idle, err := conn.Dial(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		stop()
	}()
	checker = NewChecker(answer.First)
	for {
		m, err := feeding.ReadMessage()
		if err != nil {
			if conn.CloseCode(err) != frame.CodeGoingAway {
				t.Error(err)
			}
			break
		}
		if err := checker.Check(m.Data); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := idle.ReadMessage(); conn.CloseCode(err) != frame.CodeGoingAway {
		t.Error(err)
	}
	<-ended
}
