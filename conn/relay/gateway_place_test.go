package relay

import (
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// Positions that have expired continue with the oldest record, and say so; the strict
// are refused. What was deleted in the middle is told in its place.
func TestGatewayExpired(t *testing.T) {
	nc := connectTo(t, soloEngine(t))
	s := newSource(t, nc, StreamConfig{Name: "expired"})
	s.publish(300)
	stream, err := s.js.Stream(t.Context(), "expired")
	if err != nil {
		t.Fatal(err)
	}
	for sequence := uint64(190); sequence < 200; sequence++ { // over the end of a chunk
		if err := stream.DeleteMsg(t.Context(), sequence); err != nil {
			t.Fatal(err)
		}
	}
	g := startReady(t, &Gateway{Conn: nc, Streams: []string{"expired"}})
	whole := mustJoin(t, g.url, control{Stream: "expired", Start: startAfter, After: s.at(180, 1), Strict: true})
	gone := 0
	for whole.at.Sequence < 200 {
		f, err := whole.record()
		if err != nil {
			t.Fatal(err)
		}
		if f.expired {
			gone += int(f.sequence - f.first + 1)
		}
	}
	if gone != 10 {
		t.Errorf("%d batches are told to be gone", gone)
	}
	s.purge(151)
	fresh := startReady(t, &Gateway{Conn: nc, Streams: []string{"expired"}}) // without a cache
	for _, at := range []*Position{s.at(0, EndOfBatch), s.at(1, 0), s.at(149, perBatch-1), s.at(149, EndOfBatch), s.at(150, 1), s.at(195, 3)} {
		if p, err := join(t.Context(), fresh.url, control{Stream: "expired", Start: startAfter, After: at, Strict: true}); true {
			refusedWith(t, p, err, CloseExpired)
		}
		p := mustJoin(t, fresh.url, control{Stream: "expired", Start: startAfter, After: at})
		want := *s.at(150, EndOfBatch)
		if at.Sequence == 195 {
			want = *s.at(199, EndOfBatch)
		}
		if *p.welcome.Recovered || *p.welcome.After != want {
			t.Errorf("after %v: %+v", at, p.welcome)
		}
		if err := p.until(s.number); err != nil {
			t.Error(err)
		}
	}
	p := mustJoin(t, fresh.url, control{Stream: "expired", Start: startAfter, After: s.at(150, EndOfBatch), Strict: true})
	oldest := mustJoin(t, fresh.url, control{Stream: "expired", Start: startOldest})
	for _, one := range []*peer{p, oldest} {
		if *one.welcome.After != *s.at(150, EndOfBatch) || !*one.welcome.Recovered {
			t.Errorf("%+v", one.welcome)
		}
		if err := one.until(s.number); err != nil {
			t.Error(err)
		}
	}
	s.purge(301)
	empty := startReady(t, &Gateway{Conn: nc, Streams: []string{"expired"}})
	var all []*peer
	for _, hello := range []control{{Start: startOldest}, {Start: startNow}, {Start: startAfter, After: s.at(7, 2)}, {Start: startAfter, After: s.at(300, EndOfBatch), Strict: true}} {
		hello.Stream = "expired"
		p := mustJoin(t, empty.url, hello)
		if *p.welcome.After != *s.at(300, EndOfBatch) || *p.welcome.Recovered == (hello.After != nil && hello.After.Sequence == 7) {
			t.Errorf("%+v", p.welcome)
		}
		all = append(all, p)
	}
	s.publish(1)
	for _, p := range all {
		if err := p.until(s.number); err != nil {
			t.Error(err)
		}
	}
}

// remake deletes the stream and makes it anew.
func (s *source) remake() {
	s.t.Helper()
	if err := s.js.DeleteStream(s.t.Context(), s.stream.Name); err != nil {
		s.t.Fatal(err)
	}
	info, err := CreateStream(s.t.Context(), s.nc, StreamConfig{Name: s.stream.Name, MaxBytes: 256 << 20})
	if err != nil {
		s.t.Fatal(err)
	}
	s.stream, s.number = info, 0
}

// A stream that is made anew ends its clients with 4409, however it compares with the one
// before; nothing of the new one passes for the old one.
func TestGatewayIncarnation(t *testing.T) {
	t.Parallel()
	nc := connectTo(t, soloEngine(t))
	for name, sizes := range map[string][2]int{"shorter": {100, 10}, "longer": {3, 100}, "from empty": {0, 50}, "to empty": {50, 0}} {
		t.Run(name, func(t *testing.T) {
			s := newSource(t, nc, StreamConfig{Name: "anew-" + strings.ReplaceAll(name, " ", "-")})
			s.publish(sizes[0])
			stream := s.stream.Name
			g := startReady(t, &Gateway{Conn: nc, Streams: []string{stream}})
			p := mustJoin(t, g.url, control{Stream: stream, Start: startOldest})
			c := dialPlain(t, g.url+"?stream="+stream)
			old := s.at(uint64(sizes[0]), EndOfBatch)
			s.remake()
			s.publish(sizes[1])
			for {
				_, err := p.record()
				if err == nil && p.at.Sequence <= old.Sequence {
					continue
				}
				refusedWith(t, p, err, CloseIncarnation)
				break
			}
			if m, err := c.ReadMessage(); conn.CloseCode(err) != CloseIncarnation {
				t.Errorf("plain: %q, %v", m.Data, err)
			}
			waitFor(t, "the new stream", func() bool { return g.Counts().Streams[0].Incarnation == s.stream.Incarnation })
			p, err := join(t.Context(), g.url, control{Stream: stream, Start: startAfter, After: old})
			refusedWith(t, p, err, CloseIncarnation)
			p = mustJoin(t, g.url, control{Stream: stream, Start: startOldest})
			s.publish(1)
			if err := p.until(s.number); err != nil {
				t.Error(err)
			}
		})
	}
}

// A stream that has lost batches is told of: by a leader that knows less for long, and by
// another batch of the same sequence.
func TestGatewayWentBack(t *testing.T) {
	nc := connectTo(t, soloEngine(t))
	s := newSource(t, nc, StreamConfig{Name: "back"})
	g := startReady(t, &Gateway{Conn: nc, Streams: []string{"back"}})
	s.publish(20)
	waitFor(t, "the head", func() bool { return g.Counts().Streams[0].Head == 20 })
	f := g.byName["back"].feed
	g.cancel()
	err := <-g.done
	g.done <- err
	// Nobody follows the feed now.
	info := StreamInfo{Incarnation: s.stream.Incarnation, Last: 19}
	if err := f.check(info, nil, 19); err != nil || !f.back.IsZero() {
		t.Errorf("a leader that knows what this gateway did: %v", err)
	}
	if err := f.check(info, nil, 20); err != nil || f.back.IsZero() {
		t.Errorf("a leader that is new: %v", err)
	}
	f.back = f.back.Add(-staleAfter)
	if err := f.check(info, nil, 20); !errors.Is(err, ErrIncarnation) {
		t.Errorf("a leader that has less for long: %v", err)
	}
	other := s.batch()
	s.number -= 2 * perBatch
	for sequence, want := range map[uint64]error{19: errWentBack, 20: errWentBack, 1: errWentBack} {
		if err := f.duplicate(stored{sequence: sequence, data: other}); err != want {
			t.Errorf("another batch %d: %v", sequence, err)
		}
	}
	if err := f.duplicate(stored{sequence: 20, data: s.batch()}); err != errWentBack {
		// The stamps differ, so it is not the batch that was stored.
		t.Errorf("a batch made again: %v", err)
	}
	got, err := directGet(t.Context(), nc, "back", 20, 1, readBytes)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.duplicate(got[0]); err != nil {
		t.Errorf("the same batch: %v", err)
	}
}

// Positions that are of no use are refused: another stream's, one beyond the end, one
// beyond its batch.
func TestGatewayForged(t *testing.T) {
	t.Parallel()
	nc := connectTo(t, soloEngine(t))
	s, other := newSource(t, nc, StreamConfig{Name: "forged"}), newSource(t, nc, StreamConfig{Name: "other"})
	s.publish(100)
	other.publish(100)
	g := startReady(t, &Gateway{Conn: nc, Streams: []string{"forged", "other"}, patience: 300 * time.Millisecond})
	for _, test := range []struct {
		after *Position
		code  frame.CloseCode
	}{
		{other.at(50, 1), CloseIncarnation},
		{&Position{}, CloseIncarnation},
		{s.at(101, 0), frame.CodeTryAgainLater},
		{s.at(101, EndOfBatch), frame.CodeTryAgainLater},
		{s.at(math.MaxUint64, EndOfBatch), frame.CodeTryAgainLater},
		{s.at(math.MaxUint64, 0), frame.CodeTryAgainLater},
		{s.at(50, perBatch), CloseBadHello},
		{s.at(100, EndOfBatch-1), CloseBadHello},
	} {
		p, err := join(t.Context(), g.url, control{Stream: "forged", Start: startAfter, After: test.after})
		refusedWith(t, p, err, test.code)
	}
	// Both of a client's streams are their own.
	a := mustJoin(t, g.url, control{Stream: "forged", Start: startAfter, After: s.at(90, 4)})
	b := mustJoin(t, g.url, control{Stream: "other", Start: startAfter, After: other.at(80, 0)})
	s.publish(10)
	other.publish(20)
	if err := errors.Join(a.until(s.number), b.until(other.number)); err != nil {
		t.Error(err)
	}
	// A client that is ahead of its gateway waits until that has come up.
	g.patience = 10 * time.Second // no client reads it now
	ahead := make(chan error, 1)
	go func() {
		p, err := join(t.Context(), g.url, control{Stream: "forged", Start: startAfter, After: s.at(112, 2)})
		if err == nil {
			err = p.until(115 * perBatch)
			p.Close()
		}
		ahead <- err
	}()
	time.Sleep(50 * time.Millisecond)
	s.publish(5)
	if err := <-ahead; err != nil {
		t.Error(err)
	}
}

// What the hello itself can have wrong.
func TestGatewayHello(t *testing.T) {
	t.Parallel()
	nc := connectTo(t, soloEngine(t))
	newSource(t, nc, StreamConfig{Name: "hello"})
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "foreign", Subjects: []string{"foreign"}}); err != nil {
		t.Fatal(err)
	}
	g := run(t, &Gateway{Conn: nc, Streams: []string{"hello", "later", "foreign"}, helloTimeout: 200 * time.Millisecond, patience: 300 * time.Millisecond})
	waitFor(t, "the streams", func() bool {
		n := g.Counts()
		return n.Streams[0].Ready && errors.Is(g.Ready(), ErrStreamNotFound) && errors.Is(g.Ready(), ErrStreamConfig)
	})
	for name, test := range map[string]struct {
		op   conn.Opcode
		data string
		code frame.CloseCode
	}{
		"late":        {0, "", CloseHelloLate},
		"binary":      {conn.Binary, "{}", CloseBadHello},
		"not JSON":    {conn.Text, "hello", CloseBadHello},
		"no type":     {conn.Text, `{"stream":"hello","start":"now"}`, CloseBadHello},
		"no stream":   {conn.Text, `{"type":"hello","start":"now"}`, CloseBadHello},
		"no start":    {conn.Text, `{"type":"hello","stream":"hello"}`, CloseBadHello},
		"no after":    {conn.Text, `{"type":"hello","stream":"hello","start":"after"}`, CloseBadHello},
		"not a place": {conn.Text, `{"type":"hello","stream":"hello","start":"after","after":"1.2"}`, CloseBadHello},
		"unknown":     {conn.Text, `{"type":"hello","stream":"nobody","start":"now"}`, CloseUnknown},
		"not there":   {conn.Text, `{"type":"hello","stream":"later","start":"now"}`, frame.CodeTryAgainLater},
		"foreign":     {conn.Text, `{"type":"hello","stream":"foreign","start":"now"}`, frame.CodeTryAgainLater},
		"too long":    {conn.Text, strings.Repeat(" ", MaxHello+1), frame.CodeMessageTooBig},
	} {
		t.Run(name, func(t *testing.T) {
			d := conn.Dialer{Subprotocols: []string{Subprotocol}}
			c, err := d.Dial(t.Context(), g.url)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if test.op != 0 {
				if err := c.WriteMessage(test.op, []byte(test.data)); err != nil {
					t.Fatal(err)
				}
			}
			p := &peer{Conn: c}
			if _, err := p.record(); test.code >= 4000 {
				refusedWith(t, p, err, test.code)
			} else if conn.CloseCode(err) != test.code {
				t.Error(err)
			}
		})
	}
	// Fields and messages that nobody knows are ignored, after the hello too.
	d := conn.Dialer{Subprotocols: []string{"other", Subprotocol}}
	c, err := d.Dial(t.Context(), g.url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, text := range []string{`{"type":"hello","stream":"hello","start":"now","color":1}`, "{", `{"type":"hello"}`} {
		if err := c.WriteMessage(conn.Text, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if m, err := c.ReadMessage(); err != nil || !strings.Contains(string(m.Data), "welcome") {
		t.Errorf("%q, %v", m.Data, err)
	}
}

// Who may have what is asked at every connection, before the upgrade.
func TestGatewayAuthorize(t *testing.T) {
	t.Parallel()
	nc := connectTo(t, soloEngine(t))
	s := newSource(t, nc, StreamConfig{Name: "mine"})
	newSource(t, nc, StreamConfig{Name: "yours"})
	s.publish(20)
	time.Sleep(10 * time.Millisecond)
	var since atomic.Pointer[time.Time] // what is recent
	now := time.Now()
	since.Store(&now)
	time.Sleep(10 * time.Millisecond)
	s.publish(20)
	var told []error
	g := startReady(t, &Gateway{Conn: nc, Streams: []string{"mine", "yours"}, OnError: func(err error) { told = append(told, err) },
		Authorize: func(r *http.Request) (Grant, error) {
			switch r.Header.Get("Authorization") {
			case "Bearer me":
				return Grant{User: "me", Streams: []string{"mine", "gone"}}, nil
			case "Bearer recent":
				return Grant{Streams: []string{"*"}, MaxAge: time.Since(*since.Load())}, nil
			case "":
				return Grant{}, &handshake.Error{Status: http.StatusUnauthorized, Rule: "who are you", Header: http.Header{"Www-Authenticate": {"Bearer"}}}
			case "Bearer nothing":
				return Grant{}, nil
			}
			return Grant{}, errors.New("the secret reason")
		}})
	by := func(token string) *conn.Dialer {
		return &conn.Dialer{Header: http.Header{"Authorization": {"Bearer " + token}}}
	}
	var refused *handshake.Error
	if _, err := join(t.Context(), g.url, control{Stream: "mine", Start: startNow}); !errors.As(err, &refused) || refused.Status != http.StatusUnauthorized || refused.Header.Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("%v", err)
	}
	refused = nil
	if _, err := joinBy(t.Context(), by("other"), g.url, control{Stream: "mine", Start: startNow}); !errors.As(err, &refused) || refused.Status != http.StatusForbidden || strings.Contains(string(refused.Body), "secret") {
		t.Errorf("%v", err)
	}
	if len(told) != 2 || !strings.Contains(told[1].Error(), "secret") {
		t.Errorf("told: %v", told)
	}
	texts := map[string]bool{}
	for _, stream := range []string{"yours", "nobody's"} {
		for _, token := range []string{"me", "nothing"} {
			p, err := joinBy(t.Context(), by(token), g.url, control{Stream: stream, Start: startNow})
			refusedWith(t, p, err, CloseNotGranted)
			texts[p.last.Text] = true
		}
	}
	if len(texts) != 1 {
		t.Errorf("a stream that is there is refused in another way: %v", texts)
	}
	p, err := joinBy(t.Context(), by("me"), g.url, control{Stream: "gone", Start: startNow})
	refusedWith(t, p, err, CloseUnknown)
	// How far back.
	hello := control{Stream: "mine", Start: startAfter, After: s.at(10, 1)}
	p, err = joinBy(t.Context(), by("recent"), g.url, hello)
	refusedWith(t, p, err, CloseNotGranted)
	if p, err = joinBy(t.Context(), by("me"), g.url, hello); err == nil {
		err = p.until(s.number)
	}
	if err != nil {
		t.Error(err)
	}
	p, err = joinBy(t.Context(), by("recent"), g.url, control{Stream: "mine", Start: startOldest})
	if err != nil || *p.welcome.After != *s.at(20, EndOfBatch) {
		t.Fatalf("%+v, %v", p, err)
	}
	later := time.Now()
	since.Store(&later)
	// Everything is too old now, and a client that has everything may still return.
	if p, err = joinBy(t.Context(), by("recent"), g.url, control{Stream: "mine", Start: startOldest}); err != nil || *p.welcome.After != *s.at(40, EndOfBatch) {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err = joinBy(t.Context(), by("recent"), g.url, control{Stream: "mine", Start: startAfter, After: s.at(40, perBatch-1)}); err != nil {
		t.Errorf("%+v, %v", p, err)
	}
	n := g.Counts()
	if n.Refused[401] != 1 || n.Refused[403] != 1 || n.Refused[int(CloseNotGranted)] != 5 || n.Refused[int(CloseUnknown)] != 1 {
		t.Errorf("%v", n.Refused)
	}
}

// Under a conn.Server, without net/http.
func TestGatewayHandle(t *testing.T) {
	nc := connectTo(t, soloEngine(t))
	s := newSource(t, nc, StreamConfig{Name: "handle"})
	g := &Gateway{Conn: nc, Streams: []string{"handle"}, MaxClients: 2, Authorize: func(r *http.Request) (Grant, error) {
		if r.URL.Query().Get("token") != "x" {
			return Grant{}, errors.New("no")
		}
		return Grant{Streams: []string{"handle"}}, nil
	}}
	startReady(t, g)
	server := &conn.Server{Upgrader: g.ServerUpgrader(), RequestHandler: g.Handle}
	l := httptest.NewUnstartedServer(nil).Listener
	go server.Serve(l)
	defer server.Close()
	url := "ws://" + l.Addr().String()
	p := mustJoin(t, url+"?token=x", control{Stream: "handle", Start: startNow})
	mustJoin(t, url+"?token=x", control{Stream: "handle", Start: startNow})
	s.publish(5)
	if err := p.until(s.number); err != nil {
		t.Error(err)
	}
	full, err := join(t.Context(), url+"?token=x", control{Stream: "handle", Start: startNow})
	refusedWith(t, full, err, frame.CodeTryAgainLater)
	p.Close()
	waitFor(t, "room", func() bool { return g.Counts().Clients == 1 })
	refused, err := join(t.Context(), url, control{Stream: "handle", Start: startNow})
	refusedWith(t, refused, err, CloseNotGranted)
}

// A batch that is malformed is told of, and does not stop the others.
func TestGatewayBadBatch(t *testing.T) {
	nc := connectTo(t, soloEngine(t))
	s := newSource(t, nc, StreamConfig{Name: "bad"})
	told := make(chan error, 10)
	g := startReady(t, &Gateway{Conn: nc, Streams: []string{"bad"}, OnError: func(err error) { told <- err }})
	p := mustJoin(t, g.url, control{Stream: "bad", Start: startNow})
	s.publish(3)
	s.raw([]byte("not a batch"))
	s.number += perBatch
	s.publish(3)
	if err := p.until(s.number); err != nil {
		t.Error(err)
	}
	if err := <-told; !errors.Is(err, ErrBatch) || !strings.Contains(err.Error(), "batch 4") {
		t.Error(err)
	}
	if n := g.Counts().Streams[0]; n.Bad != 1 || n.Gone != 0 {
		t.Errorf("%+v", n)
	}
	fresh := startReady(t, &Gateway{Conn: nc, Streams: []string{"bad"}})
	late := mustJoin(t, fresh.url, control{Stream: "bad", Start: startOldest})
	if err := late.until(s.number); err != nil {
		t.Error(err)
	}
}
