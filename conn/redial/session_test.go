package redial

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// What crosses the confirmations is handed on in order, before what comes after OnConnect; life signs are answered meanwhile, and answers
// may come in another order than they are waited for.
func TestAwaitKeepsWhatCrosses(t *testing.T) {
	for _, rotation := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := &sim{t: t, session: func(n int, c *conn.Conn) {
				text(c, "ping")
				if m, err := c.ReadMessage(); err != nil || string(m.Data) != "pong" {
					t.Errorf("a life sign was answered with %q, %v", m.Data, err)
				}
				for i := range 3 {
					text(c, "%d.%d", n, i)
				}
				text(c, "beat")
				text(c, "subscribed B")
				text(c, "%d.3", n)
				text(c, "subscribed A")
				time.Sleep(time.Second)
				text(c, "%d.4", n)
				drain(c)
			}}
			c := &Client{LifeSign: &LifeSign{IsAnswer: Prefix("beat"), Reply: func(dst, m []byte) ([]byte, bool) { return append(dst, "pong"...), string(m) == "ping" }}}
			if rotation {
				c.MaxAge, c.Rotation = time.Minute, Overlap
			}
			c.OnConnect = func(_ context.Context, s *Session) error {
				for _, want := range []string{"subscribed A", "subscribed B"} {
					m, err := s.Await(is(want))
					if err != nil || string(m.Data) != want {
						return fmt.Errorf("%q, %v", m.Data, err)
					}
				}
				return nil
			}
			var got []string
			err := s.run(t.Context(), c, func(_ context.Context, m Message) error {
				got = append(got, fmt.Sprintf("%d/%s", m.Number, m.Data))
				if last := string(m.Data); last == "2.4" || last == "1.4" && !rotation {
					return errEnough
				}
				if more := m.Session.More(); more != (m.Number < 4) {
					t.Errorf("more after message %d: %v", m.Number, more)
				}
				return nil
			})
			want := "[1/1.0 2/1.1 3/1.2 4/1.3 5/1.4]"
			if rotation {
				want = "[1/1.0 2/1.1 3/1.2 4/1.3 5/1.4 1/2.0 2/2.1 3/2.2 4/2.3 5/2.4]"
			}
			if !errors.Is(err, errEnough) || fmt.Sprint(got) != want {
				t.Errorf("%v, got %v", err, got)
			}
		})
	}
}

// What OnConnect reads by itself can be handed on as well, and no more than MaxUnread.
func TestUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sim{t: t, session: func(n int, c *conn.Conn) {
			for range 10 {
				c.WriteMessage(conn.Binary, []byte{1, 2, 3})
			}
			text(c, "subscribed")
			drain(c)
		}}
		c := &Client{MaxUnread: 9 * (3 + 64)}
		full := 0
		c.OnConnect = func(_ context.Context, s *Session) error {
			if s.Epoch == 1 {
				_, err := s.Await(is("subscribed"))
				if errors.Is(err, ErrUnreadFull) {
					full++
				}
				return err
			}
			for range 9 {
				m, err := s.Conn.ReadMessage()
				if err != nil {
					return err
				}
				if err := s.Unread(m); err != nil {
					return err
				}
				m.Data[0] = 9 // it was a view
			}
			if _, err := s.Read(); err != nil {
				return err
			}
			_, err := s.Read()
			return err
		}
		err := s.run(t.Context(), c, func(_ context.Context, m Message) error {
			if m.Opcode != conn.Binary || !bytes.Equal(m.Data, []byte{1, 2, 3}) || m.Epoch != 2 {
				t.Errorf("%v", m)
			}
			if m.Number == 9 {
				return errEnough
			}
			return nil
		})
		if !errors.Is(err, errEnough) || full != 1 {
			t.Errorf("%v; full %d times", err, full)
		}
	})
	// A test of a hook needs no Client.
	synctest.Test(t, func(t *testing.T) {
		s := &sim{t: t, session: confirming(1)}
		nc, err := s.dialer().Dial(t.Context(), "ws://sim/")
		if err != nil {
			t.Fatal(err)
		}
		if err := subscribe(t.Context(), &Session{Conn: nc}); err != nil {
			t.Error(err)
		}
		nc.Close()
		s.wg.Wait()
	})
}

// The handler reaches the connection, and may take what else is there.
func TestHandlerGetsTheSession(t *testing.T) {
	f := newFeed(t, func(n int, c *conn.Conn) {
		c.ReadMessage() // what comes with the handshake has no read of its own
		for i := range 100 {
			c.AppendMessage(conn.Text, fmt.Append(nil, i))
		}
		c.Flush()
		drain(c)
	})
	c := &Client{URL: f.url(), Dialer: &conn.Dialer{Config: conn.Config{Timestamps: true}}}
	c.OnConnect = func(_ context.Context, s *Session) error { return text(s.Conn, "subscribe") }
	next := 0
	err := runs(t, t.Context(), c, func(_ context.Context, m Message) error {
		s := m.Session
		if s.Epoch != m.Epoch || s.URL != f.url() || s.Conn.Stats().MessagesRead == 0 || s.Began.IsZero() {
			t.Errorf("%+v", s)
		}
		if runtime.GOOS == "linux" && s.Conn.LastRead().User.IsZero() {
			t.Error("nothing is known of the last read")
		}
		if string(m.Data) != fmt.Sprint(next) {
			t.Fatalf("%q, want %d", m.Data, next)
		}
		for next++; s.More() && next < 100; {
			b, err := s.Conn.TakeBatch()
			if err != nil {
				return err
			}
			for _, m := range b.Messages {
				if string(m.Data) != fmt.Sprint(next) {
					t.Fatalf("%q in a batch, want %d", m.Data, next)
				}
				next++
			}
			b.Release()
		}
		if next == 100 {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Error(err)
	}
}

func TestReconnect(t *testing.T) {
	reason := errors.New("the book does not add up")
	for name, ask := range map[string]func(c *Client){
		"by the handler": func(c *Client) {
			if err := c.Reconnect(reason); err != nil {
				panic(err)
			}
		},
		"from elsewhere": func(c *Client) {
			done := make(chan error)
			go func() { done <- c.Reconnect(reason) }()
			if err := <-done; err != nil {
				panic(err)
			}
		},
		"while it waits": func(c *Client) {
			time.AfterFunc(500*time.Millisecond, func() { c.Reconnect(reason); c.Reconnect(errDown) })
		},
	} {
		for _, answers := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				s := &sim{t: t, session: func(n int, c *conn.Conn) {
					if answers {
						go drain(c)
					}
					for range 3 {
						text(c, "data")
					}
					time.Sleep(time.Minute)
				}}
				c := &Client{Backoff: Backoff{Base: time.Second, Cap: time.Second, Floor: time.Second}}
				var last error
				c.OnConnect = func(_ context.Context, s *Session) error { last = s.Last; return nil }
				told := newTold(c)
				seen := map[uint64]int{}
				err := s.run(t.Context(), c, func(_ context.Context, m Message) error {
					if m.Epoch == 2 {
						return errEnough
					}
					if seen[m.Epoch]++; m.Number == 2 {
						ask(c)
					}
					return nil
				})
				want := 2
				if name == "while it waits" {
					want = 3
				}
				var e *ReconnectError
				ch, at := told.first(Down)
				if !errors.As(ch.Err, &e) || e.Reason != reason || ch.By != ByUs || ch.SentCode != frame.CodeGoingAway || at > 600*time.Millisecond {
					t.Errorf("%s: %+v after %v", name, ch, at)
				}
				if code := map[bool]frame.CloseCode{true: 1001, false: 1006}[answers]; ch.Code != code {
					t.Errorf("%s: answered with %v, want %v", name, ch.Code, code)
				}
				if !errors.Is(err, errEnough) || seen[1] != want || !errors.Is(last, reason) || s.dialed() != 2 || s.most != 1 {
					t.Errorf("%s: %v, %v messages, last %v, %d dials", name, err, seen, last, s.dialed())
				}
			})
		}
	}
	c := &Client{}
	if err := c.Reconnect(nil); err != ErrStopped {
		t.Errorf("before Run: %v", err)
	}
	synctest.Test(t, func(t *testing.T) {
		s := &sim{t: t, session: func(n int, c *conn.Conn) { text(c, "data"); drain(c) }}
		c := new(Client)
		c.OnConnect = func(context.Context, *Session) error {
			if err := c.Reconnect(nil); err != ErrDown {
				t.Errorf("without a session: %v", err)
			}
			return nil
		}
		err := s.run(t.Context(), c, func(_ context.Context, m Message) error { return errEnough })
		if !errors.Is(err, errEnough) || s.dialed() != 1 {
			t.Error(err)
		}
	})
}

// A reconnect that was asked for is one whatever its reason: no policy looks into that,
// except for Fatal.
func TestReconnectWhateverTheReason(t *testing.T) {
	closed := &conn.CloseError{Code: frame.CodePolicyViolation, SentCode: frame.CodePolicyViolation}
	refused := &handshake.Error{Status: 403, Header: http.Header{"Retry-After": {"60"}}}
	never := func(error) Decision { return Decision{} }
	for _, stable := range []bool{false, true} {
		for name, tt := range map[string]struct {
			client *Client
			reason error
			final  bool
		}{
			"strict, a context":            {&Client{Policy: Strict}, context.Canceled, false},
			"strict, a refusal":            {&Client{Policy: Strict}, refused, false},
			"strict, a certificate":        {&Client{Policy: Strict}, x509.HostnameError{}, false},
			"a socket option":              {&Client{}, &conn.SocketOptionError{Err: errors.ErrUnsupported}, false},
			"a final code":                 {&Client{FinalCodes: []frame.CloseCode{frame.CodePolicyViolation}}, closed, false},
			"Classify":                     {&Client{Classify: never}, errDown, false},
			"no reason":                    {&Client{Policy: Strict}, nil, false},
			"fatal":                        {&Client{}, Fatal(errDown), true},
			"fatal, and a clock":           {&Client{}, Fatal(&TimeoutError{Clock: ClockWatch}), true},
			"fatal, in a rotation's drain": {&Client{MaxAge: time.Minute, Rotation: Overlap}, Fatal(errDown), true},
		} {
			t.Run(fmt.Sprintf("%s, stable %v", name, stable), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := &sim{t: t, session: func(n int, c *conn.Conn) {
						if stable && n == 1 {
							time.Sleep(40 * time.Second)
						}
						text(c, "data")
						drain(c)
					}}
					c := tt.client
					start := time.Now()
					err := s.run(t.Context(), c, func(_ context.Context, m Message) error {
						if m.Epoch == 2 {
							return errEnough
						}
						if c.MaxAge > 0 {
							time.Sleep(2 * c.MaxAge) // the next session is there
						}
						return c.Reconnect(tt.reason)
					})
					if tt.final && (!errors.Is(err, tt.reason) || c.Counts().Messages != 1) || !tt.final && !errors.Is(err, errEnough) {
						t.Errorf("ended with %v", err)
					}
					if took := time.Since(start); c.MaxAge == 0 && took > 41*time.Second {
						t.Errorf("after %v", took)
					}
				})
			})
		}
	}
}

// The new epoch waits for what the old connection still brings, and no longer than OverlapWait for what does not come.
func TestOverlapWait(t *testing.T) {
	for name, tt := range map[string]struct {
		wait    time.Duration
		answers bool // the old connection's Close
		talks   bool // it goes on sending
		slow    time.Duration
		least   time.Duration
		most    time.Duration
	}{
		"answered":             {0, true, false, 0, drainPause, drainPause},
		"silent":               {0, false, false, 0, 100 * time.Millisecond, 100 * time.Millisecond},
		"goes on":              {0, false, true, 0, 100 * time.Millisecond, 101 * time.Millisecond},
		"shorter":              {20 * time.Millisecond, false, true, 0, 20 * time.Millisecond, 21 * time.Millisecond},
		"longer":               {2 * time.Second, false, false, 0, 2 * time.Second, 2 * time.Second},
		"no longer than Close": {time.Hour, false, true, 0, 3*time.Second + drainMost, 3*time.Second + drainMost + 10*time.Millisecond},
		// The handler is behind: what has come before the Close's answer is delivered, however long it takes.
		"behind": {0, true, false, 20 * time.Millisecond, 900 * time.Millisecond, 1100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var retired time.Time
				s := &sim{t: t, cfg: conn.Config{CloseTimeout: 3 * time.Second}}
				s.session = func(n int, c *conn.Conn) {
					if n == 2 { // the old connection is retired as soon as this is read
						retired = time.Now()
						text(c, "subscribed")
						text(c, "new")
						drain(c)
						return
					}
					text(c, "subscribed")
					if tt.answers {
						go drain(c)
					}
					for i := 0; tt.talks && text(c, "old %d", i) == nil; i++ {
						time.Sleep(time.Millisecond + 7*time.Microsecond) // no message comes at the very time at which a clock runs out
					}
					if tt.slow > 0 {
						for i := range 50 { // a burst just before it
							time.Sleep(time.Duration(1-min(i, 1)) * (time.Minute - time.Millisecond))
							text(c, "old %d", i)
						}
					}
					time.Sleep(10 * time.Minute)
				}
				c := &Client{MaxAge: time.Minute, Rotation: Overlap, OverlapWait: tt.wait, OnConnect: subscribe0}
				if tt.slow > 0 {
					c.MaxAge = time.Minute * 10 / 9 // not before the burst
				}
				var last uint64
				var took time.Duration
				var gap time.Time
				told := newTold(c)
				err := s.run(t.Context(), c, func(_ context.Context, m Message) error {
					if m.Epoch == 2 {
						took, gap = time.Since(retired), m.Session.GapBegan
						return errEnough
					}
					if last = m.Number; string(m.Data) != fmt.Sprintf("old %d", last-1) {
						t.Errorf("message %d is %q", last, m.Data)
					}
					if tt.slow > 0 && m.Number == 1 {
						time.Sleep(12 * time.Second) // until the rotation has begun
					}
					time.Sleep(tt.slow)
					return nil
				})
				if tt.slow > 0 && last != 50 {
					t.Errorf("%d messages of the old connection", last)
				}
				if !errors.Is(err, errEnough) || tt.slow == 0 && (took < tt.least || took > tt.most) {
					t.Errorf("%v; the new epoch waited for %v, want %v", err, took, tt.most)
				}
				if gap.IsZero() != tt.answers {
					t.Errorf("told a gap since %v", gap)
				}
				if ch, _ := told.first(Down); ch.By != ByUs || tt.answers && (ch.Code != 1000 || ch.SentCode != 1000) || !tt.answers && ch.SentCode != 1000 {
					t.Errorf("told %+v", ch)
				}
			})
		})
	}
}

// subscribe0 waits for a confirmation that was not asked for.
func subscribe0(_ context.Context, s *Session) error {
	_, err := s.Await(is("subscribed"))
	return err
}

// Change tells the epoch in every state.
func TestChangeTellsTheEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sim{t: t, session: func(n int, c *conn.Conn) {
			if n == 2 {
				return // OnConnect fails
			}
			text(c, "subscribed")
			if n == 3 {
				time.Sleep(time.Second)
				return
			}
			drain(c)
		}}
		s.dial = func(_ context.Context, n int) error {
			if n == 1 {
				return errDown
			}
			return nil
		}
		c := &Client{OnConnect: subscribe0, MaxAge: time.Minute, Rotation: Overlap}
		told := newTold(c)
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		s.run(ctx, c, nil)
		var got []string
		for _, ch := range told.changes {
			got = append(got, fmt.Sprintf("%v %d", ch.State, ch.Epoch))
		}
		want := "dialing 0, failed 0, waiting 0, dialing 0, failed 1, waiting 1, dialing 1, up 2, down 2, waiting 2, dialing 2, up 3, rotating 3, dialing 3, down 3, up 4, down 4, stopped 4"
		if s := strings.Join(got, ", "); s != want {
			t.Errorf("told %s\nwant %s", s, want)
		}
	})
}

func gzipped(t testing.TB, s string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write([]byte(s))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Each message is decoded once, before LifeSign and OnConnect see it.
func TestDecodeGzip(t *testing.T) {
	long := strings.Repeat("long ", 1<<20)
	synctest.Test(t, func(t *testing.T) {
		s := &sim{t: t, session: func(n int, c *conn.Conn) {
			send := func(s string) { c.WriteMessage(conn.Binary, gzipped(t, s)) }
			if n == 2 {
				b := gzipped(t, "cut")
				c.WriteMessage(conn.Binary, b[:len(b)-9])
				drain(c)
				return
			}
			send(`{"ping":7}`)
			if m, err := c.ReadMessage(); err != nil || string(m.Data) != `{"pong":7}` {
				t.Errorf("answered with %q, %v", m.Data, err)
			}
			send("crosses")
			send("subscribed")
			send("first")
			text(c, "plain")
			send(long)
			send("last")
			if n == 1 {
				send(long + "x") // more than the limit
			}
			drain(c)
		}}
		calls := 0
		gunzip := Gunzip(len(long))
		c := &Client{OnConnect: subscribe0, LifeSign: &LifeSign{Reply: func(dst, m []byte) ([]byte, bool) {
			id, ok := bytes.CutPrefix(m, []byte(`{"ping":`))
			return append(append(dst, `{"pong":`...), id...), ok
		}}}
		c.Decode = func(dst []byte, m conn.Message) ([]byte, error) { calls++; return gunzip(dst, m) }
		told := newTold(c)
		var got []string
		err := s.run(t.Context(), c, func(_ context.Context, m Message) error {
			if string(m.Data) == long {
				m.Data = []byte("long")
			}
			if got = append(got, string(m.Data)); m.Epoch == 3 {
				return errEnough
			}
			return nil
		})
		if want := []string{"crosses", "first", "plain", "long", "last", "crosses"}; !slices.Equal(got, want) || !errors.Is(err, errEnough) {
			t.Errorf("%v, got %q", err, got)
		}
		ch, _ := told.first(Down)
		var bad *DecodeError
		if !errors.As(ch.Err, &bad) || !errors.Is(ch.Err, ErrDecodedSize) || ch.By != ByPeer || ch.SentCode != frame.CodeInvalidPayload {
			t.Errorf("ended with %+v", ch)
		}
		if calls != 8+1+3 {
			t.Errorf("%d messages were decoded", calls)
		}
		if ch, _ := told.first(Failed); !errors.As(ch.Err, &bad) {
			t.Errorf("a message that is cut, in OnConnect: %v", ch.Err)
		}
	})
}

// What inflates to far more than it is costs no more memory than the limit, and its length field is not believed.
func TestGunzipIsBounded(t *testing.T) {
	bomb := gzipped(t, strings.Repeat("\x00", 64<<20))
	f := Gunzip(1 << 20)
	b, err := f(nil, conn.Message{Data: bomb})
	if b != nil || err != ErrDecodedSize {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	for n := range 40 { // of the trailer and the head, any byte
		b := gzipped(t, "some text that is long enough")
		b[n%len(b)] ^= 0x55
		if got, err := f(nil, conn.Message{Data: b}); err == nil && n > 9 {
			t.Errorf("byte %d is wrong: %q", n, got)
		}
	}
	if b, err := f([]byte("before "), conn.Message{Data: gzipped(t, "x")}); string(b) != "before x" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	exact := strings.Repeat("y", 1<<20)
	if b, err := f(nil, conn.Message{Data: gzipped(t, exact)}); string(b) != exact || err != nil {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

// In the long run a decoded message allocates nothing.
func TestDecodeAllocatesNothing(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	f := Gunzip(0)
	s := &Session{c: &Client{Decode: f, LifeSign: &LifeSign{IsAnswer: Prefix("beat")}}}
	m := conn.Message{Opcode: conn.Binary, Data: gzipped(t, strings.Repeat("some text ", 100))}
	step := func() {
		if got, ok, err := s.take(m); !ok || err != nil || len(got.Data) != 1000 {
			t.Fatal(got, ok, err)
		}
	}
	step()
	if n := testing.AllocsPerRun(1000, step); n != 0 && !raceEnabled {
		t.Errorf("%v allocations", n)
	}
}

// Small messages take memory as well.
func TestUnreadCountsSmallMessages(t *testing.T) {
	for _, data := range [][]byte{nil, {1}} {
		s := &Session{c: &Client{MaxUnread: 64 << 10}}
		n := 0
		for ; n < 1<<20; n++ {
			if err := s.Unread(conn.Message{Data: data}); err != nil {
				break
			}
		}
		if n > 1024 || n < 256 {
			t.Errorf("%d messages of %d bytes are kept in 64 KiB", n, len(data))
		}
	}
}

// OnChange may call Send: at Up it works, and where it would have to wait for what comes after it, it says so.
func TestSendInOnChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sim{t: t, session: func(n int, c *conn.Conn) {
			m, err := c.ReadMessage()
			if err == nil {
				text(c, "got %s", m.Data)
			}
			if n == 2 {
				drain(c)
			}
		}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		c := &Client{}
		var errs []error
		var states []State
		c.OnChange = func(ch Change) {
			states, errs = append(states, ch.State), append(errs, c.Send(ctx, conn.Text, []byte("subscribe")))
		}
		err := s.run(ctx, c, func(_ context.Context, m Message) error {
			if string(m.Data) != "got subscribe" {
				t.Errorf("%q", m.Data)
			}
			if m.Epoch == 2 {
				return errEnough
			}
			return nil
		})
		if !errors.Is(err, errEnough) {
			t.Error(err)
		}
		for i, state := range states {
			want := ErrInConnect
			switch state {
			case Up:
				want = nil
			case Stopped:
				want = ErrStopped
			}
			if errs[i] != want && !(state == Down && i == len(states)-2) {
				t.Errorf("%d: Send at %v: %v, want %v", i, state, errs[i], want)
			}
		}
		if len(states) < 8 {
			t.Errorf("%v", states)
		}
	})
}

// The handler's message stays as it is until the handler returns, also if Reconnect or the end of Run says goodbye meanwhile, which
// reads on.
func TestViewOutlivesTheGoodbye(t *testing.T) {
	for name, decode := range map[string]func([]byte, conn.Message) ([]byte, error){
		"as it came": nil,
		"decoded":    func(dst []byte, m conn.Message) ([]byte, error) { return append(dst, m.Data...), nil },
	} {
		for _, how := range []string{"reconnect", "end"} {
			t.Run(name+" "+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := &sim{t: t, session: func(n int, c *conn.Conn) {
						for i := byte('a'); ; i++ {
							if c.WriteMessage(conn.Text, bytes.Repeat([]byte{'a' + i%26}, 3000)) != nil {
								return
							}
							time.Sleep(time.Millisecond)
						}
					}}
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					c := &Client{Decode: decode, CloseWait: time.Second, Backoff: Backoff{Cap: time.Millisecond}}
					_ = s.run(ctx, c, func(_ context.Context, m Message) error {
						before := bytes.Clone(m.Data)
						if how == "end" {
							cancel()
						} else if c.Reconnect(nil) != nil {
							t.Error("no session")
						}
						time.Sleep(2 * time.Second)
						if !bytes.Equal(before, m.Data) {
							t.Error("the message has changed under the handler")
						}
						return errEnough
					})
				})
			})
		}
	}
}

// TakeBatch takes what is here and waits for nothing, also while the connection is being
// replaced and when it has ended: a handler may return its error.
func TestSessionTakeBatch(t *testing.T) {
	for _, rotation := range []Rotation{Replace, Overlap} {
		synctest.Test(t, func(t *testing.T) {
			s := &sim{t: t, session: func(n int, c *conn.Conn) {
				go drain(c)
				for i := 0; ; i += 3 {
					var b []byte
					for j := range 3 {
						b = frame.AppendFrame(b, frame.Header{Fin: true, Opcode: frame.Text}, fmt.Appendf(nil, "%d", i+j))
					}
					part := frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: frame.Text}, []byte("rest"))
					if _, err := c.NetConn().Write(append(b, part[:3]...)); err != nil {
						return
					}
					time.Sleep(time.Second)
					if _, err := c.NetConn().Write(part[3:]); err != nil {
						return
					}
				}
			}}
			c := &Client{MaxAge: time.Minute, Rotation: rotation}
			next, taken := map[uint64]int{}, 0
			take := func(epoch uint64, data []byte) {
				if string(data) == "rest" {
					return
				}
				if want := fmt.Sprint(next[epoch]); string(data) != want {
					t.Fatalf("%v: %q in epoch %d, want %s", rotation, data, epoch, want)
				}
				next[epoch]++
			}
			err := s.run(t.Context(), c, func(_ context.Context, m Message) error {
				if m.Epoch == 5 {
					return errEnough
				}
				take(m.Epoch, m.Data)
				at := time.Now()
				b, err := m.Session.TakeBatch()
				if b != nil {
					for _, m2 := range b.Messages {
						take(m.Epoch, m2.Data)
						taken++
					}
					b.Release()
				}
				if again, err := m.Session.TakeBatch(); again != nil || err != nil || !time.Now().Equal(at) {
					t.Errorf("again %v %v after %v", again, err, time.Since(at))
				}
				if m.Number == 3 {
					c.live.Conn.Close()
					if b, err := m.Session.TakeBatch(); b != nil || err != nil {
						t.Errorf("at the end %v, %v", b, err)
					}
				}
				return err
			})
			if !errors.Is(err, errEnough) || taken < 4 {
				t.Errorf("%v: %v, %d taken", rotation, err, taken)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) { // after what OnConnect has kept
		s := &sim{t: t, session: func(n int, c *conn.Conn) {
			for _, m := range []string{"0", "1", "subscribed", "2", "3", "4"} {
				text(c, "%s", m)
			}
			drain(c)
		}}
		c := &Client{OnConnect: subscribe0}
		var got string
		err := s.run(t.Context(), c, func(_ context.Context, m Message) error {
			synctest.Wait()
			got += string(m.Data)
			b, err := m.Session.TakeBatch()
			if b != nil {
				got += "+"
				for _, m := range b.Messages {
					got += string(m.Data)
				}
				b.Release()
			}
			if strings.HasSuffix(got, "4") {
				return errEnough
			}
			return err
		})
		if !errors.Is(err, errEnough) || got != "012+34" && got != "01+234" {
			t.Errorf("got %s: %v", got, err)
		}
	})
}

// A handler that returns the error of a connection of the client's keeps the feed from
// nothing; its own errors end Run.
func TestHandlerReturnsTheEndOfItsConnection(t *testing.T) {
	foreign := func() *conn.Conn { // somebody else's connection, which has ended
		nc, _ := netsim.Pipe(0)
		c := conn.New(nc, frame.Client, nil)
		c.Close()
		return c
	}
	for name, tt := range map[string]struct {
		client *Client
		handle func(ctx context.Context, c *Client, m Message, peer *conn.Conn) error
		want   error // ends Run; nil: it goes on
	}{
		"Send": {&Client{}, func(ctx context.Context, c *Client, m Message, peer *conn.Conn) error {
			peer.NetConn().(*netsim.Conn).Reset()
			return untilError(func() error { return c.Send(ctx, conn.Text, nil) })
		}, nil},
		"Send, wrapped": {&Client{}, func(ctx context.Context, c *Client, m Message, peer *conn.Conn) error {
			peer.NetConn().(*netsim.Conn).Reset()
			return fmt.Errorf("cannot order: %w", untilError(func() error { return c.Send(ctx, conn.Text, nil) }))
		}, nil},
		"Send, down": {&Client{WhenDown: FailWhenDown}, func(ctx context.Context, c *Client, m Message, peer *conn.Conn) error {
			peer.NetConn().(*netsim.Conn).Reset()
			untilError(func() error { return c.Send(ctx, conn.Text, nil) })
			err := c.Send(ctx, conn.Text, nil)
			if err != ErrDown {
				t.Errorf("Send: %v", err)
			}
			return err
		}, nil},
		"Send, the queue is full": {&Client{WhenDown: QueueWhenDown}, func(ctx context.Context, c *Client, m Message, peer *conn.Conn) error {
			peer.NetConn().(*netsim.Conn).Reset()
			untilError(func() error { return c.Send(ctx, conn.Text, nil) })
			return c.Send(ctx, conn.Text, nil)
		}, nil},
		"a write": {&Client{}, func(ctx context.Context, c *Client, m Message, peer *conn.Conn) error {
			peer.NetConn().(*netsim.Conn).Reset()
			return untilError(func() error { return m.Session.Conn.WriteMessage(conn.Text, nil) })
		}, nil},
		"a write after our Close": {&Client{}, func(ctx context.Context, c *Client, m Message, peer *conn.Conn) error {
			m.Session.Conn.StartClose(frame.CodeNormal, "")
			return m.Session.Conn.WriteMessage(conn.Text, nil)
		}, nil},
		"a read": {&Client{}, func(ctx context.Context, c *Client, m Message, peer *conn.Conn) error {
			peer.StartClose(frame.CodeGoingAway, "")
			_, err := m.Session.Conn.ReadMessage()
			return err
		}, nil},
		"a batch": {&Client{}, func(ctx context.Context, c *Client, m Message, peer *conn.Conn) error {
			peer.NetConn().(*netsim.Conn).Reset()
			_, err := m.Session.Conn.TakeBatch()
			return err
		}, nil},
		"a read in a rotation": {&Client{MaxAge: time.Minute}, func(ctx context.Context, c *Client, m Message, peer *conn.Conn) error {
			_, err := m.Session.Conn.ReadMessage()
			return err
		}, nil},
		"a read in a rotation with Overlap": {&Client{MaxAge: time.Minute, Rotation: Overlap}, func(ctx context.Context, c *Client, m Message, peer *conn.Conn) error {
			_, err := m.Session.Conn.ReadMessage()
			return err
		}, nil},
		"its own":     {&Client{}, func(context.Context, *Client, Message, *conn.Conn) error { return errDown }, errDown},
		"its context": {&Client{}, func(context.Context, *Client, Message, *conn.Conn) error { return context.Canceled }, context.Canceled},
		"fatal": {&Client{}, func(ctx context.Context, c *Client, m Message, peer *conn.Conn) error {
			m.Session.Conn.Close()
			return Fatal(m.Session.Conn.Err())
		}, conn.ErrClosed},
		"that of another connection": {&Client{}, func(ctx context.Context, c *Client, m Message, peer *conn.Conn) error {
			return foreign().WriteMessage(conn.Text, nil)
		}, conn.ErrClosed},
		"that of another socket": {&Client{}, func(context.Context, *Client, Message, *conn.Conn) error { return net.ErrClosed }, net.ErrClosed},
		"a deadline of its own in a rotation": {&Client{MaxAge: time.Minute}, func(ctx context.Context, c *Client, m Message, peer *conn.Conn) error {
			time.Sleep(2 * time.Minute)
			return fmt.Errorf("my store: %w", os.ErrDeadlineExceeded)
		}, os.ErrDeadlineExceeded},
		"a deadline that it has set": {&Client{}, func(ctx context.Context, c *Client, m Message, peer *conn.Conn) error {
			m.Session.Conn.SetReadDeadline(time.Now().Add(time.Second))
			_, err := m.Session.Conn.ReadMessage()
			return err
		}, os.ErrDeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				peers := map[int]*conn.Conn{}
				s := &sim{t: t, session: func(n int, c *conn.Conn) {
					peers[n] = c
					text(c, "data")
					drain(c)
				}}
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				told := newTold(tt.client)
				err := s.run(ctx, tt.client, func(ctx context.Context, m Message) error {
					if m.Epoch == 2 {
						return errEnough
					}
					return tt.handle(ctx, tt.client, m, peers[1])
				})
				want := tt.want
				if want == nil {
					want = errEnough
				}
				if !errors.Is(err, want) || tt.want != nil && errors.Is(err, errEnough) {
					t.Errorf("Run returned %v, want %v; told %+v", err, want, told.changes)
				}
			})
		})
	}
}

// untilError calls f until it fails: the first write to a peer that is gone need not.
func untilError(f func() error) error {
	for {
		if err := f(); err != nil {
			return err
		}
		time.Sleep(time.Second)
	}
}

// An error of Decode is one, also where it looks like a passed deadline.
func TestDecodeErrorThatLooksLikeADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sim{t: t, session: func(n int, c *conn.Conn) {
			text(c, "%d", n)
			drain(c)
		}}
		c := &Client{Decode: func(_ []byte, m conn.Message) ([]byte, error) {
			if string(m.Data) == "1" {
				return nil, os.ErrDeadlineExceeded
			}
			return m.Data, nil
		}}
		told := newTold(c)
		err := s.run(t.Context(), c, func(_ context.Context, m Message) error {
			if m.Epoch != 2 {
				t.Errorf("%q of epoch %d", m.Data, m.Epoch)
			}
			return errEnough
		})
		var undecoded *DecodeError
		if ch, _ := told.first(Down); !errors.Is(err, errEnough) || !errors.As(ch.Err, &undecoded) {
			t.Errorf("%v, down by %v", err, ch.Err)
		}
	})
}
