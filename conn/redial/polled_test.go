package redial

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// What holds with a goroutine for each Client holds on a Poller: these tests run a second
// time, with the one that runs and runLines give them.
func TestOnPoller(t *testing.T) {
	for name, test := range map[string]func(*testing.T){
		"messages allocate nothing":                 TestMessagesAllocateNothing,
		"send allocates nothing":                    TestSendAllocatesNothing,
		"decode allocates nothing":                  TestDecodeAllocatesNothing,
		"subscription is never confirmed":           TestF73SubscriptionIsNeverConfirmed,
		"connect timeout can be none":               TestConnectTimeoutCanBeNone,
		"hooks that never return":                   TestF73HooksThatNeverReturn,
		"hooks that ignore the end":                 TestK15HooksThatIgnoreTheEnd,
		"hooks do not run beside each other":        TestHooksDoNotRunBesideEachOther,
		"overlap":                                   TestF73Overlap,
		"connect timeout is retried":                TestConnectTimeoutIsRetriedWhateverTheHookSays,
		"hook panics":                               TestHookPanics,
		"context of OnConnect":                      TestContextOfOnConnect,
		"URLFunc":                                   TestURLFunc,
		"clients that cannot run":                   TestClientsThatCannotRun,
		"Send in OnConnect":                         TestSendInOnConnect,
		"HeaderFunc":                                TestHeaderFuncMayDoBetter,
		"what cannot work":                          TestClassifyWhatCannotWork,
		"broken Close":                              TestF79BrokenCloseIsJudgedAsTheServers,
		"Retry-After":                               TestF76RetryAfter,
		"Persistent goes on":                        TestPersistentGoesOn,
		"final codes":                               TestFinalCodes,
		"log of changes":                            TestLogChanges,
		"reconnects":                                TestReconnects,
		"final errors":                              TestFinalErrors,
		"rotation":                                  TestRotation,
		"send policies":                             TestSendPolicies,
		"LifeSign without IsAnswer":                 TestLifeSignWithoutIsAnswer,
		"LifeSigns closer than Timeout":             TestLifeSignsCloserThanTimeout,
		"the queue loses nothing":                   TestQueueLosesNothing,
		"the queue over two sessions":               TestQueueOverTwoSessions,
		"reply":                                     TestReply,
		"heartbeats cost no messages":               TestF69HeartbeatsCostNoMessages,
		"the queue after a failed write":            TestQueueBehindAFailedWrite,
		"queue and feed in each other's way":        TestQueueAndFeedInEachOthersWay,
		"heartbeats are not data":                   TestF74HeartbeatsAreNotData,
		"busy handler is no silence":                TestBusyHandlerIsNoSilence,
		"Watch":                                     TestWatch,
		"Watch later":                               TestWatchLater,
		"LifeSign func":                             TestLifeSignFunc,
		"sign that is not taken":                    TestSignThatIsNotTaken,
		"deadlines left behind":                     TestDeadlinesLeftBehind,
		"write deadline left behind":                TestWriteDeadlineLeftBehind,
		"ReadTimeout is no end":                     TestReadTimeoutIsNoEnd,
		"graceful end":                              TestGracefulEnd,
		"Watch often":                               TestWatchOftenStopsNoClock,
		"signs that are never made":                 TestF73SignsThatAreNeverMade,
		"busy handler is no lost answer":            TestBusyHandlerIsNoLostAnswer,
		"a day":                                     TestADay,
		"a day on two lines":                        TestADayOnTwoLines,
		"lines":                                     TestLines,
		"gap in silence":                            TestLinesGapInSilence,
		"one line down":                             TestLinesOneDown,
		"handler error of lines":                    TestLinesHandlerError,
		"misuse of lines":                           TestLinesMisuse,
		"snapshot":                                  TestLinesSnapshot,
		"other":                                     TestLinesOther,
		"lines allocate nothing":                    TestLinesAllocations,
		"Each winds clocks":                         TestLinesEachWindsClocks,
		"handler returns the end of a line":         TestLinesHandlerReturnsTheEndOfALine,
		"handler returns the end of another":        TestLinesHandlerReturnsTheEndOfAnotherLine,
		"keys":                                      TestLinesKeys,
		"restart":                                   TestLinesRestart,
		"open records over epochs":                  TestOpenRecordsOverEpochs,
		"Retry-After in a rotation":                 TestF76RetryAfterInARotation,
		"gap in a rotation":                         TestGapInARotation,
		"gap in a drain":                            TestGapInADrain,
		"rotation and the back-off":                 TestRotationAndTheBackoff,
		"gap of a handler that is behind":           TestGapOfAHandlerThatIsBehind,
		"MaxAge counts from the dial":               TestMaxAgeCountsFromTheDial,
		"Rotating is not told after Down":           TestRotatingIsNotToldAfterDown,
		"Await keeps what crosses":                  TestAwaitKeepsWhatCrosses,
		"Unread":                                    TestUnread,
		"handler gets the session":                  TestHandlerGetsTheSession,
		"Reconnect":                                 TestReconnect,
		"Reconnect whatever the reason":             TestReconnectWhateverTheReason,
		"OverlapWait":                               TestOverlapWait,
		"Change tells the epoch":                    TestChangeTellsTheEpoch,
		"gzip":                                      TestDecodeGzip,
		"Unread counts small messages":              TestUnreadCountsSmallMessages,
		"Send in OnChange":                          TestSendInOnChange,
		"view outlives the goodbye":                 TestViewOutlivesTheGoodbye,
		"TakeBatch":                                 TestSessionTakeBatch,
		"handler returns the end of its connection": TestHandlerReturnsTheEndOfItsConnection,
		"outages":                                   TestR54K5Outages,
		"accept, then drop":                         TestK4AcceptThenDropFor24Hours,
		"cancel in every state":                     TestK15CancelInEveryState,
		"reconnects leave nothing":                  TestK6ReconnectsLeaveNothing,
		"files":                                     TestK6FilesOnLoopback,
		"scenarios":                                 TestScenarios,
	} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && slices.Contains(longOnPoller, name) {
				t.Skip("takes long")
			}
			test(t)
		})
	}
}

// longOnPoller are thinned out: many messages in memory, each by way of two goroutines.
var longOnPoller = []string{"OverlapWait", "Persistent goes on", "a day on two lines", "accept, then drop"}

// runs is Run of c, in TestOnPoller with a Poller.
func runs(t testing.TB, ctx context.Context, c *Client, handler func(context.Context, Message) error) error {
	if onPoller(t) {
		p, stop := polls(t)
		defer stop()
		c.Poller = p
	}
	return c.Run(ctx, handler)
}

// runLines is Run of l, in TestOnPoller with one Poller for all of its lines.
func runLines[K comparable](t testing.TB, ctx context.Context, l *Lines[K], handler func(context.Context, Delivery[K]) error) error {
	if onPoller(t) {
		p, stop := polls(t)
		defer stop()
		for _, c := range l.Clients {
			c.Poller = p
		}
	}
	return l.Run(ctx, handler)
}

func onPoller(t testing.TB) bool { return strings.HasPrefix(t.Name(), "TestOnPoller/") }

// polls returns a Poller that runs until stop is called.
func polls(t testing.TB) (p *conn.Poller, stop func()) {
	p = &conn.Poller{
		Handler: func(*conn.Conn, conn.Message) { t.Error("a message for the Poller's own handler") },
		Failed:  func(_ *conn.Conn, err error) { t.Errorf("for the Poller's own handler: %v", err) },
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended) // also if a handler ends the goroutine
		if err := p.Run(ctx); err != context.Canceled {
			t.Error(err)
		}
	}()
	return p, func() { cancel(); <-ended }
}

// readers returns how many goroutines wait for the bytes of a socket.
func readers() int {
	b := make([]byte, 1<<20)
	for {
		n := runtime.Stack(b, true)
		if n < len(b) {
			return strings.Count(string(b[:n]), "[IO wait")
		}
		b = make([]byte, 2*len(b))
	}
}

// Without a Poller each Client has a goroutine that waits for bytes. With one none has, and
// all handlers are called by one goroutine, for what OnConnect has kept as well.
func TestPollerReadsForAll(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs epoll")
	}
	const clients, messages = 40, 3
	for name, polled := range map[string]bool{"a goroutine each": false, "a Poller": true} {
		t.Run(name, func(t *testing.T) {
			before := goroutines()
			var idle sync.WaitGroup
			idle.Add(clients)
			servers, stopServers := polls(t) // no goroutine of a server's reads either
			servers.Handler = func(c *conn.Conn, m conn.Message) {
				if string(m.Data) == "subscribe" {
					text(c, "kept")
					text(c, "subscribed")
					text(c, "last")
					return
				}
				idle.Done()
			}
			servers.Failed = nil
			f := newFeed(t, func(_ int, c *conn.Conn) {
				if err := servers.Add(c); err != nil {
					t.Error(err)
				}
				<-c.Done()
			})
			p, stop := polls(t)
			var callers sync.Map
			ctx, cancel := context.WithCancel(t.Context())
			var runs sync.WaitGroup
			for range clients {
				c := &Client{URL: f.url(), OnConnect: subscribe}
				if polled {
					c.Poller = p
				}
				runs.Go(func() {
					err := c.Run(ctx, func(ctx context.Context, m Message) error {
						callers.Store(string(goroutine()), true)
						if string(m.Data) == "last" {
							return text(m.Session.Conn, "got")
						}
						return nil
					})
					if err != context.Canceled {
						t.Error(err)
					}
					if n := c.Counts(); n.Messages != 2 {
						t.Errorf("%+v", n)
					}
				})
			}
			idle.Wait()
			const listener = 1
			want := map[bool]int{false: clients + listener, true: listener}[polled]
			for until := time.Now().Add(20 * time.Second); readers() != want; runtime.Gosched() {
				if time.Now().After(until) {
					t.Errorf("%d goroutines wait for bytes, want %d", readers(), want)
					break
				}
			}
			n := 0
			callers.Range(func(any, any) bool { n++; return true })
			if want := map[bool]int{false: clients, true: 1}[polled]; n != want {
				t.Errorf("%d goroutines have called handlers, want %d", n, want)
			}
			cancel()
			runs.Wait()
			stop()
			f.l.Close()
			f.wg.Wait()
			stopServers()
			nothingLeft(t, before)
		})
	}
}

// nothingLeft fails if there are more goroutines than before.
func nothingLeft(t *testing.T, before int) {
	t.Helper()
	for until := time.Now().Add(20 * time.Second); goroutines() > before; runtime.Gosched() {
		if time.Now().After(until) {
			debug.SetTraceback("all")
			t.Errorf("%d goroutines, %d before", goroutines(), before)
			return
		}
	}
}

// Until the Poller runs nothing is delivered. When it ends so do the Clients, in whatever
// state they are, with a goodbye.
func TestPollerComesAndGoes(t *testing.T) {
	hang := func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }
	stay := func(_ int, c *conn.Conn) {
		text(c, "early")
		drain(c)
	}
	for name, tt := range map[string]struct {
		sim     *sim
		client  *Client
		got     int
		goodbye bool
	}{
		"idle":     {sim: &sim{session: stay}, got: 1, goodbye: true},
		"dial":     {sim: &sim{dial: hang}},
		"back-off": {sim: &sim{dial: func(context.Context, int) error { return errDown }}},
		"hook": {sim: &sim{session: stay}, client: &Client{ConnectTimeout: -1, OnConnect: func(ctx context.Context, _ *Session) error {
			<-ctx.Done()
			return ctx.Err()
		}}},
		"rotation": {sim: &sim{session: stay, dial: func(ctx context.Context, n int) error {
			if n > 1 {
				return hang(ctx, n)
			}
			return nil
		}}, client: &Client{MaxAge: 10 * time.Second, Rotation: Overlap}, got: 1, goodbye: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, c := tt.sim, tt.client
				if c == nil {
					c = new(Client)
				}
				var said error
				if session := s.session; session != nil {
					s.session = func(n int, c *conn.Conn) { session(n, c); said = c.Err() }
				}
				s.t, s.cfg.KeepAlive = t, -1
				got, ended := 0, make(chan error, 1)
				var stopped time.Time
				p := &conn.Poller{}
				c.URL, c.Dialer, c.Poller = "ws://sim/", s.dialer(), p
				var last Change
				c.OnChange = func(ch Change) { last = ch }
				go func() {
					ended <- c.Run(t.Context(), func(context.Context, Message) error { got++; return nil })
				}()
				time.Sleep(5 * time.Second)
				if got != 0 {
					t.Error("delivered before the Poller ran")
				}
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Minute+time.Millisecond/2, func() { stopped = time.Now(); cancel() })
				if err := p.Run(ctx); err != context.Canceled {
					t.Error(err)
				}
				err := <-ended
				var e *Error
				if !errors.As(err, &e) || !errors.Is(err, ErrPollerEnded) || e.Op != "read" || int(e.Number) != tt.got || last.Err != err {
					t.Errorf("ended with %v, told %v", err, last.Err)
				}
				if took := time.Since(stopped); took > 50*time.Millisecond || got != tt.got {
					t.Errorf("%d messages; it ended after %v", got, took)
				}
				s.wg.Wait()
				var closed *conn.CloseError
				if tt.goodbye && (!errors.As(said, &closed) || closed.Code != frame.CodeGoingAway) {
					t.Errorf("the server has seen %v", said)
				}
			})
		})
	}
}

// A Poller that cannot run ends its Clients too.
func TestPollerCannotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sim{t: t, session: func(_ int, c *conn.Conn) { drain(c) }}
		p := &conn.Poller{CPUs: []int{-1}}
		var wrong *conn.PollerError
		time.AfterFunc(time.Minute, func() {
			if err := p.Run(t.Context()); !errors.As(err, &wrong) {
				t.Error(err)
			}
		})
		if err := s.run(t.Context(), &Client{Poller: p}, nil); !errors.Is(err, ErrPollerEnded) {
			t.Error(err)
		}
	})
}

// What panics on the Poller panics in Run of the Client whose handler or hook it was. The
// others go on.
func TestPollerAndPanics(t *testing.T) {
	boom := errors.New("boom")
	explode := func() error { panic(boom) }
	for name, bomb := range map[string]*Client{
		"handler":   {},
		"kept":      {OnConnect: func(_ context.Context, s *Session) error { return s.Unread(conn.Message{Opcode: conn.Text}) }},
		"Decode":    {Decode: func([]byte, conn.Message) ([]byte, error) { return nil, explode() }},
		"IsAnswer":  {LifeSign: &LifeSign{IsAnswer: func([]byte) bool { return explode() == nil }}},
		"Goexit":    {},
		"the error": {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &conn.Poller{}
				pollerEnded := make(chan struct{})
				ctx, cancel := context.WithCancel(t.Context())
				go func() { defer close(pollerEnded); p.Run(ctx) }()
				ticks := func(_ int, c *conn.Conn) {
					for range 100 {
						time.Sleep(time.Second)
						if text(c, "tick") != nil {
							return
						}
					}
					drain(c)
				}
				other, one := &sim{t: t, session: ticks}, &sim{t: t, session: ticks}
				var others sync.WaitGroup
				got := 0
				var otherErr error
				others.Go(func() {
					otherErr = other.run(ctx, &Client{Poller: p}, func(context.Context, Message) error {
						if got++; got == 50 {
							return errEnough
						}
						return nil
					})
				})
				time.Sleep(10 * time.Second)
				bomb.Poller = p
				var err error
				v := func() (v any) {
					defer func() { v = recover() }()
					err = one.run(ctx, bomb, func(context.Context, Message) error {
						switch name {
						case "Goexit":
							runtime.Goexit()
						case "the error":
							return boom
						}
						return explode()
					})
					return nil
				}()
				one.wg.Wait()
				panicked, _ := v.(error)
				var e *Error
				switch name {
				case "Goexit":
					if !errors.As(err, &e) || e.Op != "handler" || !errors.Is(err, errHandlerExit) || v != nil {
						t.Errorf("%v, panic %v", err, v)
					}
				case "the error":
					if !errors.As(err, &e) || e.Op != "handler" || e.Number != 1 || !errors.Is(err, boom) || v != nil {
						t.Errorf("%v, panic %v", err, v)
					}
				default:
					if !errors.Is(panicked, boom) || !strings.Contains(panicked.Error(), "polled_test.go") {
						t.Errorf("%v, panic %v", err, v)
					}
				}
				others.Wait()
				if name == "Goexit" {
					if !errors.Is(otherErr, ErrPollerEnded) {
						t.Errorf("the other has ended with %v", otherErr)
					}
				} else if !errors.Is(otherErr, errEnough) || got != 50 {
					t.Errorf("the other has ended with %v after %d messages", otherErr, got)
				}
				cancel()
				<-pollerEnded
			})
		})
	}
}

// A handler that waits in Send of another Client on the same loop waits for a new session of
// that, which does not need the loop.
func TestPollerHandlerSendsToTheOthers(t *testing.T) {
	for name, end := range map[string]func(m Message) error{
		"by the server": func(Message) error { return nil },
		"Reconnect":     func(m Message) error { return m.Session.c.Reconnect(nil) },
		"Close":         func(m Message) error { return m.Session.Conn.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const rounds = 300
				p, stop := polls(t)
				defer stop()
				ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
				defer cancel()
				dropping := &sim{t: t, session: func(_ int, c *conn.Conn) {
					go drain(c)
					time.Sleep(time.Millisecond)
					text(c, "x")
				}}
				steady := &sim{t: t, session: func(_ int, c *conn.Conn) {
					for text(c, "x") == nil {
						time.Sleep(time.Millisecond)
					}
				}}
				var runs sync.WaitGroup
				one := &Client{Poller: p, Backoff: Backoff{StableMessages: 1, Floor: time.Millisecond}}
				runs.Go(func() {
					if err := dropping.run(ctx, one, func(_ context.Context, m Message) error { return end(m) }); err != context.Canceled {
						t.Error(err)
					}
				})
				sent := 0
				err := steady.run(ctx, &Client{Poller: p}, func(ctx context.Context, _ Message) error {
					if one.Send(ctx, conn.Text, nil) == nil {
						sent++
					}
					if sent >= rounds && dropping.dialed() > rounds/10 {
						return errEnough
					}
					return ctx.Err()
				})
				if !errors.Is(err, errEnough) {
					t.Errorf("%v after %d messages over %d connections", err, sent, dropping.dialed())
				}
				cancel()
				runs.Wait()
			})
		})
	}
}

// Clients come and go while others are fed at full speed, in every way that there is. Each
// gets its messages in order, and all of them on one goroutine: the race detector looks.
func TestPollerClientsComeAndGo(t *testing.T) {
	clients, runsEach := 6, 12
	if testing.Short() {
		runsEach = 4
	}
	before := goroutines()
	f := newFeed(t, func(n int, c *conn.Conn) {
		go drain(c)
		for i := 1; n%3 != 0 || i <= 500; i++ {
			if text(c, "%d", i) != nil {
				return
			}
		}
	})
	p, stop := polls(t)
	delivered := 0 // by the loop alone
	var all sync.WaitGroup
	for id := range clients {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(id), 1))
			for range runsEach {
				want, how := 200+random.IntN(2000), random.IntN(4)
				ctx, cancel := context.WithCancel(t.Context())
				c := &Client{URL: f.url(), Poller: p, Backoff: Backoff{StableMessages: 1, Floor: time.Microsecond}}
				if how == 3 {
					c.MaxAge, c.Rotation = 5*time.Millisecond, Overlap
				}
				got, epoch, number := 0, uint64(0), uint64(0)
				err := c.Run(ctx, func(_ context.Context, m Message) error {
					delivered++
					if m.Epoch < epoch || m.Epoch == epoch && m.Number != number+1 || m.Epoch > epoch && m.Number != 1 {
						t.Errorf("message %d of epoch %d after %d of %d", m.Number, m.Epoch, number, epoch)
					}
					epoch, number = m.Epoch, m.Number
					if string(m.Data) != fmt.Sprint(number) {
						t.Errorf("%.20q, want %d", m.Data, number)
					}
					if got++; got < want {
						return nil
					}
					switch {
					case how == 0:
						cancel()
					case how == 1 && epoch == 1:
						return c.Reconnect(nil)
					default:
						return errEnough
					}
					return nil
				})
				cancel()
				if !errors.Is(err, errEnough) && (how != 0 || err != context.Canceled) {
					t.Errorf("way %d: %v", how, err)
				}
			}
		})
	}
	all.Wait()
	stop()
	f.l.Close()
	f.wg.Wait()
	nothingLeft(t, before)
	t.Logf("%d messages", delivered)
}

// Reading sockets on a Poller allocates nothing, with all options that look at each message.
func TestPollerOfSocketsAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	var quit atomic.Bool
	f := newFeed(t, func(_ int, c *conn.Conn) {
		go drain(c)
		a, beat := []byte("a message"), []byte("beat")
		for !quit.Load() && c.WriteMessage(conn.Text, a) == nil && c.WriteMessage(conn.Text, beat) == nil {
		}
	})
	defer quit.Store(true)
	p, stop := polls(t)
	defer stop()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	const window, clients = 20000, 4
	var before, after runtime.MemStats
	least, total := uint64(1<<62), 0
	for range clients {
		c := endlessClient()
		c.URL, c.Dialer.NetDial, c.Poller = f.url(), nil, p
		wg.Go(func() {
			err := c.Run(ctx, func(_ context.Context, m Message) error {
				m.Session.Alive("key")
				if total++; total%window != 0 {
					return nil
				}
				runtime.ReadMemStats(&after)
				if total > window {
					least = min(least, after.Mallocs-before.Mallocs)
				}
				if total >= 20*window || least == 0 {
					cancel()
				}
				runtime.ReadMemStats(&before)
				return nil
			})
			if err != context.Canceled {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if least != 0 {
		t.Errorf("%d allocations in %d messages", least, window)
	}
}

// TestADayOnAPoller is the day of several Clients, each with its own troubles, on one loop.
func TestADayOnAPoller(t *testing.T) {
	const clients = 6
	synctest.Test(t, func(t *testing.T) {
		d := &day{t: t, start: time.Now(), burst: 1}
		p, stop := polls(t)
		defer stop()
		var runs sync.WaitGroup
		inside := 0
		for id := range clients {
			windows, _ := troubles(rand.New(rand.NewPCG(uint64(id), 3)), time.Duration(id)*time.Hour/2)
			l := d.newLine(uint64(100+id), windows)
			l.client.Poller = p
			b := &book{t: t, last: map[string]int64{}, from: map[string]uint64{}}
			pace := d.pace(windows)
			runs.Go(func() {
				l.run(func(m Message) {
					inside++
					key, fresh := b.take(m)
					m.Session.Alive(key)
					if fresh {
						pace.step()
					}
				})
				what := fmt.Sprintf("client %d", id)
				n := l.client.Counts()
				t.Logf("%s: %d dials, %d sessions, %d rotations, %d messages, %d gaps", what, n.Dials, n.Connections, n.Rotations, n.Messages, b.gaps)
				if n.Dials > 1000 || l.most > 2 || n.Rotations < 2 || n.Messages < 24000 || b.gaps < 8 {
					t.Errorf("%s: %+v, %d gaps, %d connections at once", what, n, b.gaps, l.most)
				}
				pace.check(what)
				l.checkChanges()
			})
		}
		runs.Wait()
		if inside < clients*24000 {
			t.Errorf("%d messages on the loop", inside)
		}
	})
}

// A handler of the Poller's that is busy is no silence of the other Clients' servers.
func TestPollerBusyHandlerOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, stop := polls(t)
		defer stop()
		ticks := func(_ int, c *conn.Conn) {
			go drain(c)
			for text(c, "tick") == nil {
				time.Sleep(500 * time.Millisecond)
			}
		}
		a, b := &sim{t: t, session: ticks}, &sim{t: t, session: ticks, cfg: conn.Config{KeepAlive: -1, DataTimeout: 2 * time.Second}}
		var others sync.WaitGroup
		others.Go(func() {
			err := a.run(t.Context(), &Client{Poller: p}, func(_ context.Context, m Message) error {
				switch m.Number {
				case 3, 20:
					time.Sleep(30 * time.Second)
				case 40:
					return errEnough
				}
				return nil
			})
			if !errors.Is(err, errEnough) || a.dialed() != 1 {
				t.Errorf("%v after %d dials", err, a.dialed())
			}
		})
		one := &Client{
			Poller:    p,
			OnConnect: func(_ context.Context, s *Session) error { s.Watch("tick", 3*time.Second); return nil },
			LifeSign: &LifeSign{Send: Fixed("alive?"), Every: 5 * time.Second, Timeout: 4 * time.Second,
				IsAnswer: nil}, // every message is an answer
		}
		err := b.run(t.Context(), one, func(_ context.Context, m Message) error {
			m.Session.Alive("tick")
			if m.Number == 200 {
				return errEnough
			}
			return nil
		})
		others.Wait()
		if !errors.Is(err, errEnough) || b.dialed() != 1 {
			t.Errorf("%v after %d dials", err, b.dialed())
		}
		pollers.Lock()
		defer pollers.Unlock()
		if n := pollers.turns[p]; n != nil {
			t.Errorf("%d runs are left", n.runs)
		}
	})
}
