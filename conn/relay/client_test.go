package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// A scriptedGateway serves connection i by script i, and the last one from then on. A
// script gets the hello; when it returns the connection is cut, unless it has said
// goodbye.
type scriptedGateway struct {
	t       *testing.T
	url     string
	scripts []func(c *conn.Conn, hello control)

	mu     sync.Mutex
	hellos []control
}

func serveScripts(t *testing.T, scripts ...func(c *conn.Conn, hello control)) *scriptedGateway {
	t.Helper()
	g := &scriptedGateway{t: t, scripts: scripts}
	s := &conn.Server{Upgrader: conn.Upgrader{Subprotocols: []string{Subprotocol}}, Handler: g.serve}
	h := httptest.NewServer(s)
	t.Cleanup(func() {
		s.Close()
		h.Close()
	})
	g.url = "ws" + strings.TrimPrefix(h.URL, "http")
	return g
}

func (g *scriptedGateway) serve(c *conn.Conn) {
	defer c.Close()
	m, err := c.ReadMessage()
	if err != nil {
		return
	}
	hello, err := parseHello(m.Data)
	if err != nil {
		g.t.Errorf("the client sent %q: %v", m.Data, err)
		return
	}
	g.mu.Lock()
	script := g.scripts[min(len(g.hellos), len(g.scripts)-1)]
	g.hellos = append(g.hellos, hello)
	g.mu.Unlock()
	script(c, hello)
}

func (g *scriptedGateway) helloed() []control {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.hellos)
}

// The steps of scripts.

const testIncarnation = 0x18a1b2c3d4e5f607

func testPosition(sequence uint64, index uint16) Position {
	return Position{testIncarnation, sequence, index}
}

func sendControl(c *conn.Conn, k control) {
	data, err := json.Marshal(k)
	if err != nil {
		panic(err)
	}
	c.WriteMessage(frame.Text, data)
}

func sendWelcome(c *conn.Conn, hello control, after Position, recovered bool) {
	sendControl(c, control{Type: "welcome", Stream: hello.Stream, After: &after, Recovered: &recovered})
}

// sendTexts sends texts "sequence.index" from one index to another, the last one ends the
// batch if that is said.
func sendTexts(c *conn.Conn, sequence uint64, from, to int, last bool) {
	for i := from; i <= to; i++ {
		r := Record{Kind: Text, Data: fmt.Appendf(nil, "%d.%d", sequence, i), Received: int64(sequence)}
		c.WriteMessage(frame.Binary, appendFrame(nil, &r, sequence, i, last && i == to))
	}
}

// sendError sends an error and its Close.
func sendError(c *conn.Conn, code frame.CloseCode, text string) {
	sendControl(c, control{Type: "error", Code: code, Text: text})
	sendClose(c, code)
}

func sendClose(c *conn.Conn, code frame.CloseCode) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c.Shutdown(ctx, code, "")
}

// readOn reads until the client has gone.
func readOn(c *conn.Conn) {
	for {
		if _, err := c.ReadMessage(); err != nil {
			return
		}
	}
}

// serveOrdinary serves batches 1 to 3 of two records, from where the hello says.
func serveOrdinary(c *conn.Conn, hello control) {
	after := testPosition(0, EndOfBatch)
	if hello.After != nil {
		after = *hello.After
	}
	sendWelcome(c, hello, after, true)
	for sequence := uint64(1); sequence <= 3; sequence++ {
		for i := range 2 {
			if testPosition(sequence, uint16(i)).Compare(after) > 0 {
				sendTexts(c, sequence, i, i, i == 1)
			}
		}
	}
	readOn(c)
}

// scriptedClient returns a client of a gateway, without waits between attempts.
func scriptedClient(urls ...string) *Client {
	return &Client{
		Redial: &redial.Client{URLs: urls, Backoff: redial.Backoff{Base: time.Microsecond, Cap: time.Millisecond}},
		Stream: "btc", Start: FromOldest,
	}
}

// describeMessage tells a message in a word.
func describeMessage(m Message) string {
	switch {
	case m.Reason == Expired:
		return fmt.Sprintf("expired %d-%d", m.First, m.Last)
	case m.Kind == Gap:
		return fmt.Sprintf("%v %d-%d", m.Reason, m.From, m.To)
	}
	return string(m.Data)
}

var ordinaryTexts = []string{"1.0", "1.1", "2.0", "2.1", "3.0", "3.1"}

// errTestEnough ends a Run that has what it wants.
var errTestEnough = errors.New("enough")

// runClient runs a client until it has n messages or ends.
func runClient(t *testing.T, c *Client, n int) (got []string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err = c.Run(ctx, func(_ context.Context, m Message) error {
		got = append(got, describeMessage(m))
		if len(got) == n {
			cancel() // this one is handled
		}
		return nil
	})
	if n > 0 && len(got) == n && err == context.Canceled {
		err = nil
	}
	return got, err
}

// Whatever a gateway does wrong, every message comes once and in order.
func TestClientOfBadGateways(t *testing.T) {
	jump := func(f func(c *conn.Conn)) func(*conn.Conn, control) {
		return func(c *conn.Conn, hello control) {
			sendWelcome(c, hello, testPosition(0, EndOfBatch), true)
			sendTexts(c, 1, 0, 1, true)
			f(c)
			readOn(c)
		}
	}
	binary := func(data string) func(c *conn.Conn) {
		return func(c *conn.Conn) { c.WriteMessage(frame.Binary, []byte(data)) }
	}
	text := func(data string) func(c *conn.Conn) {
		return func(c *conn.Conn) { c.WriteMessage(frame.Text, []byte(data)) }
	}
	for _, test := range []struct {
		name  string
		first func(c *conn.Conn, hello control)
		want  ClientCounts
	}{
		{"nothing", serveOrdinary, ClientCounts{}},
		{"cut before the welcome", func(*conn.Conn, control) {}, ClientCounts{}},
		{"cut after the welcome", func(c *conn.Conn, hello control) {
			sendWelcome(c, hello, testPosition(0, EndOfBatch), true)
		}, ClientCounts{Resumed: 1}},
		{"cut in a batch", func(c *conn.Conn, hello control) {
			sendWelcome(c, hello, testPosition(0, EndOfBatch), true)
			sendTexts(c, 1, 0, 1, true)
			sendTexts(c, 2, 0, 0, false)
		}, ClientCounts{Resumed: 1}},
		{"cut after a batch", jump(func(c *conn.Conn) { c.Close() }), ClientCounts{Resumed: 1}},
		{"a batch skipped", jump(func(c *conn.Conn) { sendTexts(c, 3, 0, 1, true) }), ClientCounts{Resumed: 1, Jumps: 1}},
		{"the begin of a batch skipped", jump(func(c *conn.Conn) { sendTexts(c, 2, 1, 1, true) }), ClientCounts{Resumed: 1, Jumps: 1}},
		{"the middle of a batch skipped", jump(func(c *conn.Conn) {
			sendTexts(c, 2, 0, 0, false)
			sendTexts(c, 2, 2, 2, true)
		}), ClientCounts{Resumed: 1, Jumps: 1}},
		{"the end of a batch skipped", jump(func(c *conn.Conn) {
			sendTexts(c, 2, 0, 0, false)
			sendTexts(c, 3, 0, 1, true)
		}), ClientCounts{Resumed: 1, Jumps: 1}},
		{"a record after the last of its batch", jump(func(c *conn.Conn) { sendTexts(c, 1, 2, 2, true) }), ClientCounts{Resumed: 1, Jumps: 1}},
		{"expired beyond the next batch", jump(func(c *conn.Conn) {
			c.WriteMessage(frame.Binary, appendExpired(nil, 3, 4))
		}), ClientCounts{Resumed: 1, Jumps: 1}},
		{"records twice", func(c *conn.Conn, hello control) {
			sendWelcome(c, hello, testPosition(0, EndOfBatch), true)
			sendTexts(c, 1, 0, 1, true)
			sendTexts(c, 1, 0, 1, true)
			sendTexts(c, 2, 0, 1, true)
			sendTexts(c, 2, 1, 1, true)
			sendTexts(c, 3, 0, 1, true)
			readOn(c)
		}, ClientCounts{Duplicates: 3}},
		{"a short record", jump(binary("x")), ClientCounts{Resumed: 1, Malformed: 1}},
		{"no record", jump(binary("")), ClientCounts{Resumed: 1, Malformed: 1}},
		{"a record of an unknown kind", jump(binary("\x09" + strings.Repeat("\x01", 18))), ClientCounts{Resumed: 1, Malformed: 1}},
		{"text that is none", jump(func(c *conn.Conn) {
			c.WriteMessage(frame.Binary, appendFrame(nil, &Record{Kind: Text, Data: []byte{0xff}}, 2, 0, false))
		}), ClientCounts{Resumed: 1, Malformed: 1}},
		{"control that is no JSON", jump(text("hello")), ClientCounts{Resumed: 1, Malformed: 1}},
		{"a second welcome", jump(text(`{"type":"welcome"}`)), ClientCounts{Resumed: 1, Malformed: 1}},
		{"an unknown control message", func(c *conn.Conn, hello control) {
			text(`{"type":"advice","level":3}`)(c)
			sendWelcome(c, hello, testPosition(0, EndOfBatch), true)
			text(`{"type":"advice"}`)(c)
			for sequence := uint64(1); sequence <= 3; sequence++ {
				sendTexts(c, sequence, 0, 1, true)
			}
			readOn(c)
		}, ClientCounts{}},
		{"a record before the welcome", func(c *conn.Conn, hello control) {
			sendTexts(c, 1, 0, 1, true)
			readOn(c)
		}, ClientCounts{Malformed: 1}},
		{"a welcome that is no JSON", func(c *conn.Conn, hello control) {
			text("welcome")(c)
			readOn(c)
		}, ClientCounts{Malformed: 1}},
		{"a welcome without a position", func(c *conn.Conn, hello control) {
			text(`{"type":"welcome","stream":"btc","recovered":true}`)(c)
			readOn(c)
		}, ClientCounts{Malformed: 1}},
		{"a welcome with a malformed position", func(c *conn.Conn, hello control) {
			text(`{"type":"welcome","stream":"btc","recovered":true,"after":"1.2"}`)(c)
			readOn(c)
		}, ClientCounts{Malformed: 1}},
		{"a welcome without an testIncarnation", func(c *conn.Conn, hello control) {
			text(`{"type":"welcome","stream":"btc","recovered":true,"after":"0.0.0"}`)(c)
			readOn(c)
		}, ClientCounts{Malformed: 1}},
		{"a welcome to another stream", func(c *conn.Conn, hello control) {
			text(`{"type":"welcome","stream":"eth","recovered":true,"after":"1.0.0"}`)(c)
			readOn(c)
		}, ClientCounts{Malformed: 1}},
		{"no hello in time", func(c *conn.Conn, hello control) { sendError(c, CloseHelloLate, "late") }, ClientCounts{Refused: 1}},
		{"no room", func(c *conn.Conn, hello control) { sendError(c, frame.CodeTryAgainLater, "full") }, ClientCounts{Refused: 1}},
		{"no room, after a record", jump(func(c *conn.Conn) { sendError(c, frame.CodeTryAgainLater, "full") }), ClientCounts{Refused: 1, Resumed: 1}},
		{"going away instead of a welcome", func(c *conn.Conn, hello control) {
			text(`{"type":"bye"}`)(c)
			sendClose(c, frame.CodeServiceRestart)
		}, ClientCounts{}},
		{"going away", jump(func(c *conn.Conn) {
			p := testPosition(1, 1)
			sendControl(c, control{Type: "bye", After: &p})
			sendClose(c, frame.CodeServiceRestart)
		}), ClientCounts{Byes: 1, Resumed: 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := scriptedClient(serveScripts(t, test.first, serveOrdinary).url)
			got, err := runClient(t, c, len(ordinaryTexts))
			if err != nil || !slices.Equal(got, ordinaryTexts) {
				t.Errorf("messages %q, error %v; want %q", got, err, ordinaryTexts)
			}
			test.want.Messages = uint64(len(ordinaryTexts))
			if n := c.Counts(); n != test.want {
				t.Errorf("counts %+v\nwant %+v", n, test.want)
			}
			if p := c.Position(); p != testPosition(3, EndOfBatch) {
				t.Errorf("position %v", p)
			}
		})
	}
}

// The answers to a hello with a position, and what comes of them.
func TestClientResumes(t *testing.T) {
	serve := func(after Position, recovered bool, f func(c *conn.Conn)) func(*conn.Conn, control) {
		return func(c *conn.Conn, hello control) {
			if hello.After == nil || *hello.After != testPosition(5, 1) {
				t.Errorf("the hello asks for %v", hello.After)
			}
			sendWelcome(c, hello, after, recovered)
			f(c)
			readOn(c)
		}
	}
	for _, test := range []struct {
		name   string
		script func(*conn.Conn, control)
		want   []string
		counts ClientCounts
	}{
		{"in the batch", serve(testPosition(5, 1), true, func(c *conn.Conn) { sendTexts(c, 5, 2, 2, true) }), []string{"5.2"}, ClientCounts{Resumed: 1}},
		{"after the batch", serve(testPosition(5, 1), true, func(c *conn.Conn) { sendTexts(c, 6, 0, 0, true) }), []string{"6.0"}, ClientCounts{Resumed: 1}},
		{"after the batch, in other words", serve(testPosition(5, EndOfBatch), true, func(c *conn.Conn) {
			sendTexts(c, 6, 0, 0, true)
		}), []string{"6.0"}, ClientCounts{Resumed: 1}},
		{"from earlier", serve(testPosition(4, EndOfBatch), true, func(c *conn.Conn) { sendTexts(c, 5, 0, 2, true) }), []string{"5.2"}, ClientCounts{Resumed: 1, Duplicates: 2}},
		{"expired, by the welcome", serve(testPosition(9, EndOfBatch), false, func(c *conn.Conn) {
			sendTexts(c, 10, 0, 0, true)
		}), []string{"expired 5-9", "10.0"}, ClientCounts{Gaps: 1, Expired: 1}},
		{"expired, by a message", serve(testPosition(5, 1), false, func(c *conn.Conn) {
			c.WriteMessage(frame.Binary, appendExpired(nil, 6, 9))
			sendTexts(c, 10, 0, 0, true)
		}), []string{"expired 6-9", "10.0"}, ClientCounts{Gaps: 1, Expired: 1}},
		{"expired, by both", serve(testPosition(9, EndOfBatch), false, func(c *conn.Conn) {
			c.WriteMessage(frame.Binary, appendExpired(nil, 6, 9))
			sendTexts(c, 10, 0, 0, true)
		}), []string{"expired 5-9", "10.0"}, ClientCounts{Gaps: 1, Expired: 1, Duplicates: 1}},
		{"expired in the replay", serve(testPosition(5, 1), true, func(c *conn.Conn) {
			sendTexts(c, 5, 2, 3, false)
			c.WriteMessage(frame.Binary, appendExpired(nil, 5, 7))
			sendTexts(c, 8, 0, 0, true)
		}), []string{"5.2", "5.3", "expired 5-7", "8.0"}, ClientCounts{Gaps: 1, Expired: 1, Resumed: 1}},
		{"expired in the middle of a batch, told late", serve(testPosition(5, 1), true, func(c *conn.Conn) {
			sendTexts(c, 5, 2, 2, true)
			c.WriteMessage(frame.Binary, appendExpired(nil, 6, 6))
			sendTexts(c, 7, 0, 0, true)
		}), []string{"5.2", "expired 6-6", "7.0"}, ClientCounts{Gaps: 1, Expired: 1, Resumed: 1}},
		{"a gap of the feed", serve(testPosition(5, EndOfBatch), true, func(c *conn.Conn) {
			c.WriteMessage(frame.Binary, appendFrame(nil, &Record{Kind: Gap, Reason: Missing, From: 7, To: 9}, 6, 0, true))
		}), []string{"missing 7-9"}, ClientCounts{Gaps: 1, Resumed: 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := scriptedClient(serveScripts(t, test.script).url)
			c.After = testPosition(5, 1)
			got, err := runClient(t, c, len(test.want))
			if err != nil || !slices.Equal(got, test.want) {
				t.Errorf("messages %q, error %v; want %q", got, err, test.want)
			}
			test.counts.Messages = uint64(len(test.want))
			if n := c.Counts(); n != test.counts {
				t.Errorf("counts %+v\nwant %+v", n, test.counts)
			}
		})
	}
}

// The last record of a batch is told as its end: with Strict too nothing is missing when
// that batch has expired.
func TestClientResumesAfterExpiredBatch(t *testing.T) {
	g := serveScripts(t,
		func(c *conn.Conn, hello control) {
			sendWelcome(c, hello, testPosition(4, EndOfBatch), true)
			sendTexts(c, 5, 0, 1, true)
		},
		func(c *conn.Conn, hello control) { // 5 is gone
			if hello.After == nil || *hello.After != testPosition(5, EndOfBatch) {
				t.Errorf("the hello asks for %v", hello.After)
				sendError(c, CloseExpired, "")
				return
			}
			sendWelcome(c, hello, *hello.After, true)
			sendTexts(c, 6, 0, 1, true)
			readOn(c)
		})
	c := scriptedClient(g.url)
	c.Strict = true
	var saved []Position
	c.SaveCount, c.SaveEvery, c.Save = 1, -1, func(p Position) error { saved = append(saved, p); return nil }
	got, err := runClient(t, c, 4)
	if want := []string{"5.0", "5.1", "6.0", "6.1"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("messages %q, error %v; want %q", got, err, want)
	}
	want := []Position{testPosition(5, 0), testPosition(5, EndOfBatch), testPosition(6, 0), testPosition(6, EndOfBatch)}
	if !slices.Equal(saved, want) {
		t.Errorf("saved %v, want %v", saved, want)
	}
	if n := c.Counts(); n.Gaps != 0 || n.Resumed != 1 || n.Jumps != 0 {
		t.Errorf("%+v", n)
	}
}

// A welcome that skips records although it says that nothing is missing is not believed.
func TestClientWelcomeThatSkips(t *testing.T) {
	g := serveScripts(t,
		func(c *conn.Conn, hello control) {
			sendWelcome(c, hello, testPosition(1, 1), true)
			sendTexts(c, 2, 0, 1, true)
			readOn(c)
		},
		func(c *conn.Conn, hello control) { sendWelcome(c, hello, testPosition(1, 1), false); readOn(c) },
		serveOrdinary)
	c := scriptedClient(g.url)
	c.After = testPosition(1, 0)
	got, err := runClient(t, c, 5)
	if want := ordinaryTexts[1:]; err != nil || !slices.Equal(got, want) {
		t.Errorf("messages %q, error %v; want %q", got, err, want)
	}
	if n := c.Counts(); n.Jumps != 1 || n.Malformed != 1 {
		t.Errorf("counts %+v", n)
	}
}

// Refusals that no attempt can mend end Run, before the welcome and after it, also if
// only a Close frame tells.
func TestClientFinalRefusals(t *testing.T) {
	for code, want := range map[frame.CloseCode]error{
		CloseBadHello: ErrBadHello, CloseNotGranted: ErrNotGranted, CloseUnknown: ErrStreamNotFound,
		CloseIncarnation: ErrIncarnation, CloseExpired: ErrExpired,
	} {
		for name, script := range map[string]func(*conn.Conn, control){
			"error": func(c *conn.Conn, hello control) { sendError(c, code, "told") },
			"Close": func(c *conn.Conn, hello control) { sendClose(c, code) },
			"later, error": func(c *conn.Conn, hello control) {
				sendWelcome(c, hello, testPosition(1, 1), true)
				sendError(c, code, "told")
			},
			"later, Close": func(c *conn.Conn, hello control) { sendWelcome(c, hello, testPosition(1, 1), true); sendClose(c, code) },
			"error, no end": func(c *conn.Conn, hello control) {
				sendControl(c, control{Type: "error", Code: code, Text: "told"})
				readOn(c)
			},
		} {
			t.Run(fmt.Sprintf("%d %s", code, name), func(t *testing.T) {
				t.Parallel()
				for _, classify := range []func(error) redial.Decision{nil, func(error) redial.Decision { return redial.Decision{Retry: true} }} {
					c := scriptedClient(serveScripts(t, script, serveOrdinary).url)
					c.Redial.Classify = classify
					got, err := runClient(t, c, 1)
					var refused *RefusedError
					if len(got) > 0 || !errors.As(err, &refused) || refused.Code != code || !errors.Is(err, want) {
						t.Fatalf("messages %q, error %v; want %v", got, err, want)
					}
					if strings.HasSuffix(name, "error") && refused.Text != "told" {
						t.Errorf("text %q", refused.Text)
					}
				}
			})
		}
	}
}

func TestRefusedErrorText(t *testing.T) {
	for _, test := range []struct {
		err  RefusedError
		want string
	}{
		{RefusedError{CloseNotGranted, ""}, "relay: not granted (4403)"},
		{RefusedError{CloseUnknown, "btc\n"}, `relay: no such stream (4404): "btc\n"`},
		{RefusedError{CloseHelloLate, "late"}, `relay: the gateway refused with 4408: "late"`},
	} {
		if got := test.err.Error(); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
	if errors.Is(&RefusedError{Code: CloseHelloLate}, nil) {
		t.Error("it matches nil")
	}
}

// The gateway serves another incarnation, and says so only by its welcome.
func TestClientOtherIncarnation(t *testing.T) {
	c := scriptedClient(serveScripts(t, func(c *conn.Conn, hello control) { sendWelcome(c, hello, testPosition(2, 3), true); readOn(c) }).url)
	c.After = Position{1, 2, 3}
	if got, err := runClient(t, c, 1); len(got) > 0 || !errors.Is(err, ErrIncarnation) {
		t.Errorf("messages %q, error %v", got, err)
	}
}

// With Strict no message is missing because it expired.
func TestClientStrict(t *testing.T) {
	for name, script := range map[string]func(*conn.Conn, control){
		"by the welcome": func(c *conn.Conn, hello control) {
			if !hello.Strict {
				t.Error("the hello is not strict")
			}
			sendWelcome(c, hello, testPosition(9, EndOfBatch), false)
			sendTexts(c, 10, 0, 0, true)
			readOn(c)
		},
		"by a message": func(c *conn.Conn, hello control) {
			sendWelcome(c, hello, *hello.After, true)
			c.WriteMessage(frame.Binary, appendExpired(nil, 6, 9))
			sendTexts(c, 10, 0, 0, true)
			readOn(c)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := scriptedClient(serveScripts(t, script).url)
			c.After, c.Strict = testPosition(5, 1), true
			if got, err := runClient(t, c, 1); len(got) > 0 || !errors.Is(err, ErrExpired) {
				t.Errorf("messages %q, error %v", got, err)
			}
		})
	}
}

// What the first hello asks for.
func TestClientHello(t *testing.T) {
	after := testPosition(7, 7)
	for _, test := range []struct {
		name string
		edit func(*Client)
		want control
	}{
		{"nothing", func(c *Client) { c.Start = "" }, control{Start: startNow}},
		{"now", func(c *Client) { c.Start, c.Strict = FromNow, true }, control{Start: startNow}},
		{"oldest", func(c *Client) { c.Start = FromOldest }, control{Start: startOldest}},
		{"after", func(c *Client) { c.After, c.Strict = after, true }, control{Start: startAfter, After: &after, Strict: true}},
		{"loaded", func(c *Client) {
			c.After, c.Load = testPosition(1, 1), func() (Position, error) { return after, nil }
		}, control{Start: startAfter, After: &after}},
		{"nothing loaded", func(c *Client) {
			c.After, c.Load = after, func() (Position, error) { return Position{}, nil }
		}, control{Start: startAfter, After: &after}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			g := serveScripts(t, serveOrdinary)
			g.scripts[0] = func(c *conn.Conn, hello control) { sendError(c, CloseNotGranted, "") }
			c := scriptedClient(g.url)
			test.edit(c)
			runClient(t, c, 0)
			test.want.Type, test.want.Stream = "hello", "btc"
			got, _ := json.Marshal(g.helloed()[0])
			if want, _ := json.Marshal(test.want); string(got) != string(want) {
				t.Errorf("hello %s, want %s", got, want)
			}
		})
	}
}

// A connection lost before the first message of "now" loses nothing.
func TestClientResumesFromNow(t *testing.T) {
	g := serveScripts(t, func(c *conn.Conn, hello control) { sendWelcome(c, hello, testPosition(1, EndOfBatch), true) }, serveOrdinary)
	c := scriptedClient(g.url)
	c.Start = FromNow
	got, err := runClient(t, c, 4)
	if want := ordinaryTexts[2:]; err != nil || !slices.Equal(got, want) {
		t.Errorf("messages %q, error %v; want %q", got, err, want)
	}
}

// A server without the subprotocol is left, and the next one asked.
func TestClientWithoutSubprotocol(t *testing.T) {
	s := &conn.Server{Handler: readOn}
	h := httptest.NewServer(s)
	defer h.Close()
	defer s.Close()
	c := scriptedClient("ws"+strings.TrimPrefix(h.URL, "http"), serveScripts(t, serveOrdinary).url)
	var failed []error
	c.Redial.OnChange = func(ch redial.Change) {
		if ch.State == redial.Failed {
			failed = append(failed, ch.Err)
		}
	}
	got, err := runClient(t, c, len(ordinaryTexts))
	if err != nil || !slices.Equal(got, ordinaryTexts) || len(failed) != 1 || !errors.Is(failed[0], ErrSubprotocol) {
		t.Errorf("messages %q, error %v, attempts failed with %v", got, err, failed)
	}
}

// A message whose handler failed comes again in the next run, and no other.
func TestClientContinuesAfterTheHandler(t *testing.T) {
	c := scriptedClient(serveScripts(t, serveOrdinary).url)
	var got []string
	for range 2 {
		err := c.Run(t.Context(), func(_ context.Context, m Message) error {
			if got = append(got, describeMessage(m)); len(got) == 3 || len(got) == 7 {
				return errTestEnough
			}
			return nil
		})
		if !errors.Is(err, errTestEnough) {
			t.Fatal(err)
		}
	}
	if want := []string{"1.0", "1.1", "2.0", "2.0", "2.1", "3.0", "3.1"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if c.Position() != testPosition(3, 0) {
		t.Errorf("position %v", c.Position())
	}
}

// If the handler returns the error of a connection that has ended, the feed continues,
// and the message counts as handled.
func TestClientContinuesAfterAnEndedConnection(t *testing.T) {
	c := scriptedClient(serveScripts(t, serveOrdinary).url)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []string
	err := c.Run(ctx, func(ctx context.Context, m Message) error {
		switch got = append(got, describeMessage(m)); len(got) {
		case 3:
			m.Session.Conn.Close()
			return m.Session.Conn.WriteMessage(frame.Text, []byte("ignored"))
		case len(ordinaryTexts):
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || !slices.Equal(got, ordinaryTexts) || c.Counts().Messages != 6 {
		t.Errorf("messages %q, error %v, counts %+v", got, err, c.Counts())
	}
}

func TestClientMessages(t *testing.T) {
	c := scriptedClient(serveScripts(t, serveOrdinary).url)
	var got []string
	for m, err := range c.Messages(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, describeMessage(m)); len(got) == 2 {
			break // so this one comes again
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	for m, err := range c.Messages(ctx) {
		if last = err; err != nil {
			break
		}
		if got = append(got, describeMessage(m)); len(got) == 7 {
			cancel()
		}
	}
	if want := slices.Insert(slices.Clone(ordinaryTexts), 1, "1.1"); !slices.Equal(got, want) || !errors.Is(last, context.Canceled) {
		t.Errorf("%q, %v; want %q", got, last, want)
	}
}

// The old connection brings more while the new one is made: nothing comes twice.
func TestClientRotates(t *testing.T) {
	c := scriptedClient(serveScripts(t,
		func(c *conn.Conn, hello control) {
			sendWelcome(c, hello, testPosition(0, EndOfBatch), true)
			go readOn(c)
			for sequence := uint64(1); c.Err() == nil; sequence++ {
				sendTexts(c, sequence, 0, 0, true)
				time.Sleep(time.Millisecond)
			}
		},
		func(c *conn.Conn, hello control) {
			sendWelcome(c, hello, *hello.After, true)
			go readOn(c)
			for sequence := hello.After.Sequence + 1; c.Err() == nil; sequence++ {
				sendTexts(c, sequence, 0, 0, true)
				time.Sleep(time.Millisecond)
			}
		}).url)
	c.Redial.MaxAge, c.Redial.Rotation = 50*time.Millisecond, redial.Overlap
	got, err := runClient(t, c, 300)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range got {
		if want := fmt.Sprintf("%d.0", i+1); m != want {
			t.Fatalf("message %d is %s", i, m)
		}
	}
	if n := c.Redial.Counts(); n.Rotations == 0 {
		t.Errorf("no rotation: %+v", n)
	}
	t.Logf("%+v", c.Counts())
}

// Many clients on one loop.
func TestClientsOnPoller(t *testing.T) {
	poller := new(conn.Poller)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- poller.Run(ctx) }()
	g := serveScripts(t, serveOrdinary)
	var clients sync.WaitGroup
	for range 10 {
		clients.Go(func() {
			c := scriptedClient(g.url)
			c.Redial.Poller = poller
			got, err := runClient(t, c, len(ordinaryTexts))
			if err != nil || !slices.Equal(got, ordinaryTexts) {
				t.Errorf("messages %q, error %v", got, err)
			}
		})
	}
	clients.Wait()
	cancel()
	<-ended
}

// The hook of the caller runs first; its error fails the attempt.
func TestClientHook(t *testing.T) {
	c := scriptedClient(serveScripts(t, serveOrdinary).url)
	calls := 0
	c.Redial.OnConnect = func(context.Context, *redial.Session) error {
		if calls++; calls == 1 {
			return errTestEnough
		}
		return nil
	}
	for i := range 2 { // the hook is not wrapped twice
		if _, err := runClient(t, c, 1); err != nil || calls != i+2 {
			t.Errorf("error %v, calls %d", err, calls)
		}
	}
}

func TestClientMisuse(t *testing.T) {
	nothing := func(context.Context, Message) error { return nil }
	running := scriptedClient(serveScripts(t, serveOrdinary).url)
	err := running.Run(t.Context(), func(ctx context.Context, m Message) error {
		if err := running.Run(ctx, nothing); !errors.Is(err, redial.ErrRunning) {
			t.Errorf("a second Run: %v", err)
		}
		return errTestEnough
	})
	if !errors.Is(err, errTestEnough) {
		t.Error(err)
	}
	for name, c := range map[string]*Client{
		"no Redial":  {Stream: "btc"},
		"no URL":     {Stream: "btc", Redial: &redial.Client{}},
		"no Stream":  {Redial: &redial.Client{URL: "ws://127.0.0.1:1"}},
		"bad Start":  {Stream: "btc", Start: "tomorrow", Redial: &redial.Client{URL: "ws://127.0.0.1:1"}},
		"bad Load":   {Stream: "btc", Load: func() (Position, error) { return Position{}, errTestEnough }, Redial: &redial.Client{URL: "ws://127.0.0.1:1"}},
		"no handler": {Stream: "btc", Redial: &redial.Client{URL: "ws://127.0.0.1:1"}},
	} {
		handler := nothing
		if name == "no handler" {
			handler = nil
		}
		if err := c.Run(t.Context(), handler); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// The position goes from one process to the next.
func TestClientSaves(t *testing.T) {
	file := FilePosition(filepath.Join(t.TempDir(), "btc"))
	g := serveScripts(t, serveOrdinary)
	var got []string
	for _, n := range []int{2, 1, 3} {
		c := scriptedClient(g.url)
		c.Load, c.Save, c.SaveEvery = file.Load, file.Save, -1
		part, err := runClient(t, c, n)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, part...)
		if p, err := file.Load(); err != nil || p != c.Position() || c.Counts().Saves != 1 {
			t.Errorf("the file has %v, %v; the client is at %v, %+v", p, err, c.Position(), c.Counts())
		}
	}
	if !slices.Equal(got, ordinaryTexts) {
		t.Errorf("%q, want %q", got, ordinaryTexts)
	}
}

// With SaveCount 1 the position never lags by more than the message in hand. With
// SaveEvery it is saved although nothing comes.
func TestClientSavesOften(t *testing.T) {
	c := scriptedClient(serveScripts(t, serveOrdinary).url)
	saved := make(chan Position, 100)
	c.Save = func(p Position) error { saved <- p; return nil }
	c.SaveCount, c.SaveEvery = 1, -1
	var handled []Position
	err := c.Run(t.Context(), func(_ context.Context, m Message) error {
		if len(saved) != len(handled) {
			t.Errorf("%d positions saved before message %d", len(saved), len(handled))
		}
		if handled = append(handled, m.Position); len(handled) == 4 {
			return errTestEnough
		}
		return nil
	})
	if !errors.Is(err, errTestEnough) || len(saved) != 3 {
		t.Errorf("error %v, %d saved", err, len(saved))
	}

	c = scriptedClient(serveScripts(t, serveOrdinary).url)
	c.SaveEvery = time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c.Save = func(p Position) error {
		if p == testPosition(3, EndOfBatch) {
			cancel()
		}
		return nil
	}
	if err := c.Run(ctx, func(context.Context, Message) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A position that cannot be saved ends Run: in time, by count, and at the end.
func TestClientCannotSave(t *testing.T) {
	for name, edit := range map[string]func(*Client){
		"in time":    func(c *Client) { c.SaveEvery = time.Millisecond },
		"by count":   func(c *Client) { c.SaveCount, c.SaveEvery = 1, -1 },
		"at the end": func(c *Client) { c.SaveEvery = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := scriptedClient(serveScripts(t, serveOrdinary).url)
			c.Save = func(Position) error { return os.ErrPermission }
			edit(c)
			n := 0
			if name == "at the end" {
				n = 6
			}
			_, err := runClient(t, c, n)
			if !errors.Is(err, os.ErrPermission) || strings.Count(err.Error(), "save the position") != 1 {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestFilePosition(t *testing.T) {
	dir := t.TempDir()
	f := FilePosition(filepath.Join(dir, "p"))
	if p, err := f.Load(); err != nil || !p.IsZero() {
		t.Errorf("without a file: %v, %v", p, err)
	}
	for _, p := range []Position{testPosition(1, 2), testPosition(3, 4)} {
		if err := f.Save(p); err != nil {
			t.Fatal(err)
		}
		if got, err := f.Load(); err != nil || got != p {
			t.Errorf("%v, %v; want %v", got, err, p)
		}
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "*")); len(names) != 1 {
		t.Errorf("files %v", names)
	}
	for _, text := range []string{"", "1.2", "1.2.3\n\n", "1.2.3 ", "x"} {
		if err := os.WriteFile(string(f), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Load(); !errors.Is(err, ErrPosition) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := FilePosition(filepath.Join(dir, "none", "p")).Save(testPosition(1, 2)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a folder: %v", err)
	}
	if _, err := FilePosition(dir).Load(); err == nil {
		t.Error("a folder is no position")
	}
}

// What may follow what, by every kind of place.
func TestPlaceOrder(t *testing.T) {
	record := func(sequence uint64, index uint16) dataFrame { return dataFrame{sequence: sequence, index: index} }
	gone := func(first, last uint64) dataFrame {
		return dataFrame{expired: true, first: first, sequence: last, index: EndOfBatch}
	}
	for _, test := range []struct {
		p    place
		f    dataFrame
		want order
	}{
		{place{testPosition(0, 0), restNone}, record(1, 0), orderNext},
		{place{testPosition(0, 0), restNone}, record(2, 0), orderJumped},
		{place{testPosition(0, 0), restNone}, gone(1, 5), orderNext},
		{place{testPosition(5, 2), restMore}, record(5, 3), orderNext},
		{place{testPosition(5, 2), restMore}, record(6, 0), orderJumped},
		{place{testPosition(5, 2), restMore}, record(5, 2), orderRepeated},
		{place{testPosition(5, 2), restMore}, record(4, 9), orderRepeated},
		{place{testPosition(5, 2), restMore}, record(5, 4), orderJumped},
		{place{testPosition(5, 2), restMore}, gone(5, 5), orderNext},
		{place{testPosition(5, 2), restMore}, gone(6, 7), orderNext},
		{place{testPosition(5, 2), restMore}, gone(4, 7), orderJumped},
		{place{testPosition(5, 2), restMore}, gone(7, 7), orderJumped},
		{place{testPosition(5, 2), restNone}, record(6, 0), orderNext},
		{place{testPosition(5, 2), restNone}, record(6, 1), orderJumped},
		{place{testPosition(5, 2), restNone}, record(5, 3), orderJumped},
		{place{testPosition(5, 2), restNone}, gone(5, 5), orderRepeated},
		{place{testPosition(5, 2), restNone}, gone(6, 6), orderNext},
		{place{testPosition(5, 2), restNone}, gone(3, 4), orderRepeated},
		{place{testPosition(5, 2), restUnknown}, record(5, 3), orderNext},
		{place{testPosition(5, 2), restUnknown}, record(6, 0), orderNext},
		{place{testPosition(5, 2), restUnknown}, gone(6, 6), orderNext},
		{place{testPosition(5, EndOfBatch), restNone}, record(5, 9), orderRepeated},
		{place{testPosition(5, EndOfBatch), restNone}, record(6, 0), orderNext},
		{place{testPosition(5, EndOfBatch-1), restMore}, record(5, EndOfBatch), orderNext}, // parseFrame refuses it
		{place{Position{1, 1<<64 - 1, 0}, restNone}, record(1, 0), orderRepeated},
	} {
		if got := test.p.order(&test.f); got != test.want {
			t.Errorf("%+v then %+v: %d, want %d", test.p, test.f, got, test.want)
		}
	}
}

// A request as gateways see it offers the subprotocol first, and what the caller has.
func TestClientOffersSubprotocols(t *testing.T) {
	offered := make(chan []string, 1)
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		offered <- r.Header.Values("Sec-WebSocket-Protocol")
		http.Error(w, "no", http.StatusForbidden)
	}))
	defer h.Close()
	dialer := &conn.Dialer{Subprotocols: []string{"bearer.secret"}}
	c := scriptedClient("ws" + strings.TrimPrefix(h.URL, "http"))
	c.Redial.Dialer, c.Redial.Policy = dialer, redial.Strict
	if _, err := runClient(t, c, 1); err == nil {
		t.Error("no error")
	}
	if got := strings.Join(<-offered, ", "); got != Subprotocol+", bearer.secret" {
		t.Errorf("offered %q", got)
	}
	if len(dialer.Subprotocols) != 1 {
		t.Error("the caller's Dialer was changed")
	}
}
