package redial

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// A trouble is what an exchange does to its clients for a while.
type trouble uint8

const (
	flapping    trouble = iota // connections last seconds, and end in any way
	maintenance                // pages instead of handshakes
	banned                     // 418 with Retry-After, and dialing before that has passed is told
	unconfirmed                // no answer to a subscription
	deaf                       // no answer to the handshake
	silent                     // one of the subscriptions brings nothing
	beating                    // heartbeats only
	unanswered                 // signs of life have no answer
	broken                     // frames that no one may send
	unreachable                // dials fail
	parted                     // the network carries nothing, and says nothing
)

// A window is a trouble and its time, from the beginning of the day.
type window struct {
	trouble  trouble
	from, to time.Duration
	breaks   bool // the connections at its beginning
}

// day is an exchange with two numbered feeds, a and b, each with a message every tick: the number of the ticks since the start. Several
// lines can lead to it, each with its own troubles.
type day struct {
	t     *testing.T
	start time.Time
}

const dayTick = 5 * time.Second

func (d *day) now() time.Duration { return time.Since(d.start) }

// A line is one way to the exchange, with the client at its end.
type line struct {
	*sim
	day     *day
	client  *Client
	windows []window

	mu      sync.Mutex
	rand    *rand.Rand
	until   time.Time // of the ban
	changes []Change
}

// newLine returns a line whose client does all that a consumer would have it do.
func (d *day) newLine(seed uint64, windows []window) *line {
	l := &line{day: d, windows: windows, rand: rand.New(rand.NewPCG(seed, 1))}
	l.sim = &sim{t: d.t, cfg: conn.Config{KeepAlive: 20 * time.Second, DataTimeout: time.Minute}, raw: l.refuse, session: l.serve, dial: l.reach}
	l.client = &Client{
		URL: "ws://sim/", Dialer: l.dialer(), MaxAge: 4 * time.Hour, Rotation: Overlap,
		LifeSign: &LifeSign{Send: Fixed("ping"), Every: 15 * time.Second, IsAnswer: Prefix("pong"), Timeout: 10 * time.Second},
		OnConnect: func(ctx context.Context, s *Session) error {
			s.Watch("a", 30*time.Second)
			s.Watch("b", 30*time.Second)
			return subscribe(ctx, s)
		},
		OnChange: func(ch Change) { l.changes = append(l.changes, ch) },
	}
	return l
}

// in reports whether the line is in trouble.
func (l *line) in(what trouble) (left time.Duration, in bool) {
	at := l.day.now()
	for _, w := range l.windows {
		if w.trouble == what && at >= w.from && at < w.to {
			return w.to - at, true
		}
	}
	return 0, false
}

func (l *line) intN(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rand.IntN(n)
}

func (l *line) reach(ctx context.Context, _ int) error {
	if _, in := l.in(parted); in {
		<-ctx.Done()
		return ctx.Err()
	}
	if _, in := l.in(unreachable); in {
		return errDown
	}
	return nil
}

// refuse is what stands before the handshake.
func (l *line) refuse(_ int, nc *netsim.Conn) bool {
	if _, in := l.in(maintenance); in {
		page := "<html>We are back soon</html>"
		status := []string{"200 OK", "302 Found", "403 Forbidden", "404 Not Found", "502 Bad Gateway", "503 Service Unavailable"}[l.intN(6)]
		return answer(nc, fmt.Sprintf("HTTP/1.1 %s\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s", status, len(page), page))
	}
	if left, in := l.in(banned); in {
		l.mu.Lock()
		if time.Now().Before(l.until) {
			l.t.Errorf("dialed %v before the ban was over", time.Until(l.until))
		}
		wait := min(left, 2*time.Minute).Truncate(time.Second) + time.Second
		l.until = time.Now().Add(wait)
		l.mu.Unlock()
		return answer(nc, fmt.Sprintf("HTTP/1.1 418 I'm a teapot\r\nRetry-After: %d\r\nContent-Length: 0\r\n\r\n", wait/time.Second))
	}
	if left, in := l.in(deaf); in {
		nc.SetReadDeadline(time.Now().Add(left))
		for b := make([]byte, 4096); ; {
			if _, err := nc.Read(b); err != nil {
				return true
			}
		}
	}
	return false
}

// serve is a session on the exchange.
func (l *line) serve(_ int, c *conn.Conn) {
	limit := time.AfterFunc(4*time.Hour+10*time.Minute, func() { l.t.Error("a connection reached the server's limit") })
	defer limit.Stop()
	if m, err := c.ReadMessage(); err != nil || string(m.Data) != "subscribe" {
		return
	}
	if _, in := l.in(unconfirmed); in {
		drain(c)
		return
	}
	text(c, "subscribed")
	c.NetConn().(*netsim.Conn).Script(func(netsim.Op, int, int) netsim.Step {
		_, in := l.in(parted)
		return netsim.Step{Block: in}
	})
	for _, w := range l.windows { // in the end a server notices as well
		if left := w.to - l.day.now(); w.trouble == parted && left > 0 {
			t := time.AfterFunc(left, func() { c.Close() })
			defer t.Stop()
		}
	}
	go func() {
		for {
			m, err := c.ReadMessage()
			if err != nil {
				return
			}
			if _, in := l.in(unanswered); !in && string(m.Data) == "ping" {
				text(c, "pong")
			}
		}
	}()
	end := time.Duration(1 << 62)
	if _, in := l.in(flapping); in {
		end = l.day.now() + time.Duration(l.intN(20))*time.Second
	}
	for {
		tick := l.day.now()/dayTick + 1
		select {
		case <-time.After(tick*dayTick - l.day.now()):
		case <-c.Done():
			return
		}
		_, beats := l.in(beating)
		_, mute := l.in(silent)
		if beats {
			text(c, "pong")
			continue
		}
		text(c, "a %d", tick)
		if !mute {
			text(c, "b %d", tick)
		}
		if _, in := l.in(broken); in {
			c.NetConn().Write([]byte{0x83, 0})
		}
		if l.day.now() >= end {
			l.part(c)
			return
		}
	}
}

// part ends a session in any way.
func (l *line) part(c *conn.Conn) {
	switch code := []frame.CloseCode{0, 0, 1000, 1001, 1008, 1011, 1012, 4000}[l.intN(8)]; {
	case code != 0:
		c.Shutdown(context.Background(), code, "")
	case l.intN(2) == 0:
		c.NetConn().(*netsim.Conn).Reset()
	}
}

// run reads the line for 24 hours.
func (l *line) run(handler func(Message)) {
	ctx, cancel := context.WithDeadline(context.Background(), l.day.start.Add(24*time.Hour))
	defer cancel()
	err := l.client.Run(ctx, func(_ context.Context, m Message) error { handler(m); return nil })
	if err != context.DeadlineExceeded {
		l.t.Errorf("the line ended with %v after %v", err, l.day.now())
	}
	l.wg.Wait()
}

// A book is what a consumer knows of the feeds.
type book struct {
	t    *testing.T
	last map[string]int64  // number
	from map[string]uint64 // epoch
	at   time.Time         // of the last message
	gaps int
	most time.Duration // between two messages
}

// take checks a message that is not one that came before.
func (b *book) take(m Message) (key string, fresh bool) {
	var number int64
	key, rest, _ := strings.Cut(string(m.Data), " ")
	if _, err := fmt.Sscan(rest, &number); err != nil {
		b.t.Fatalf("delivered %q", m.Data)
	}
	if number <= b.last[key] {
		if m.Epoch == b.from[key] || b.last[key]-number > 1 {
			b.t.Fatalf("%s %d after %d, in epoch %d", key, number, b.last[key], m.Epoch)
		}
		return key, false
	}
	if b.last[key] != 0 && number != b.last[key]+1 {
		b.gaps++
		if m.Epoch == b.from[key] || m.Session.GapBegan.IsZero() {
			b.t.Errorf("a gap in %s from %d to %d is not told: epoch %d after %d, gap from %v", key, b.last[key], number, m.Epoch, b.from[key], m.Session.GapBegan)
		}
	}
	b.last[key], b.from[key] = number, m.Epoch
	return key, true
}

// TestADay reads a feed for 24 hours, in which all goes wrong that can: no message comes twice or out of order, every gap is told, the
// feed goes on as soon as the exchange does, and the exchange is not asked too often.
func TestADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &day{t: t, start: time.Now()}
		at := func(hour, minute int) time.Duration {
			return time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute
		}
		l := d.newLine(1, []window{
			{flapping, at(0, 30), at(1, 30), true},
			{maintenance, at(2, 0), at(2, 45), true},
			{banned, at(3, 0), at(3, 10), true},
			{silent, at(4, 0), at(4, 20), false},
			{unconfirmed, at(5, 0), at(5, 30), true},
			{deaf, at(6, 0), at(6, 10), true},
			{beating, at(6, 30), at(6, 40), false},
			{unanswered, at(7, 0), at(7, 10), false},
			{broken, at(8, 0), at(8, 10), false},
			{unreachable, at(8, 30), at(9, 0), true},
			{parted, at(9, 30), at(9, 40), false},
			{unconfirmed, at(13, 0), at(13, 39), false}, // at the time of a rotation, which takes longer then
		})
		for _, w := range l.windows {
			if w.breaks {
				time.AfterFunc(w.from, func() {
					for _, nc := range l.connections() {
						nc.Reset()
					}
				})
			}
		}
		b := &book{t: t, last: map[string]int64{}, from: map[string]uint64{}, at: time.Now()}
		longest := map[trouble]time.Duration{}
		outside := time.Duration(0)
		quiet := 0 // gaps before the last hours, in which there are rotations only
		time.AfterFunc(at(9, 45), func() { quiet = b.gaps })
		l.run(func(m Message) {
			key, fresh := b.take(m)
			m.Session.Alive(key)
			if !fresh {
				return
			}
			gap := time.Since(b.at)
			b.at = time.Now()
			// Troubles that end within the gap explain it up to there; the rest is ours.
			for _, w := range l.windows {
				if to := d.start.Add(w.to); to.After(b.at.Add(-gap)) && d.start.Add(w.from).Before(b.at) {
					gap = min(gap, max(time.Since(to), 0))
					longest[w.trouble] = max(longest[w.trouble], gap)
				}
			}
			outside = max(outside, gap)
		})
		n := l.client.Counts()
		t.Logf("%d dials, %d sessions, %d rotations, %d messages, %d gaps; after the troubles %v, outside of them %v", n.Dials, n.Connections, n.Rotations, n.Messages, b.gaps, longest, outside)
		// 4.4 hours of troubles at half of the back-off's cap would be some 1,000 dials.
		if n.Dials > 1000 || l.most > 2 {
			t.Errorf("%d dials, %d connections at once", n.Dials, l.most)
		}
		if n.Rotations < 2 || n.Messages < 29000 || b.gaps < 8 {
			t.Errorf("%+v, %d gaps: the day was too quiet", n, b.gaps)
		}
		// A retry may have begun just before a trouble's end, and then takes ConnectTimeout and a wait.
		most := DefaultConnectTimeout + DefaultCap + 2*dayTick
		for what, still := range longest {
			outside = max(outside, still)
			if still > most {
				t.Errorf("after trouble %v the feed stood still for %v", what, still)
			}
		}
		if outside > most {
			t.Errorf("the feed stood still for %v with no reason, at most %v", outside, most)
		}
		if b.gaps != quiet {
			t.Errorf("%d gaps by rotations", b.gaps-quiet)
		}
		l.checkChanges()
	})
}

// connections returns the client's ends that are open.
func (s *sim) connections() []*netsim.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*netsim.Conn(nil), s.open...)
}

// checkChanges looks whether each trouble has shown as what it is.
func (l *line) checkChanges() {
	var timeout, dead, refused, closed, noData, noAnswer int
	for _, ch := range l.changes {
		var e *conn.TimeoutError
		switch err := ch.Err; {
		case ch.State != Down && ch.State != Failed:
		case errors.Is(err, ErrConnectTimeout):
			timeout++
		case errors.Is(err, ErrNoData):
			noData++
		case errors.Is(err, ErrSilent):
			noAnswer++
		case errors.As(err, &e):
			dead++
		case ch.State == Failed:
			refused++
		default:
			closed++
		}
	}
	l.t.Logf("%d connect timeouts, %d silent subscriptions, %d lost answers, %d by the clocks of conn, %d refused, %d closed", timeout, noData, noAnswer, dead, refused, closed)
	if timeout == 0 || noData == 0 || noAnswer == 0 || refused == 0 || closed == 0 {
		l.t.Error("a trouble did not show as what it is")
	}
}
