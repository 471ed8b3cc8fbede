package entrant

import (
	"net"
	"slices"
	"testing"

	"github.com/seed-7f57ff33/tickwire/bench/corpus"
	"github.com/seed-7f57ff33/tickwire/bench/wire"
)

// TestEveryEntrantReadsEveryMessage reads a stream with each entrant, as a client and as
// a server. It compares the received messages with those sent.
func TestEveryEntrantReadsEveryMessage(t *testing.T) {
	const n = 700
	for _, e := range All() {
		info := e.Info()
		if info.Name == LimitParseRaw || info.Name == LimitAccept || info.Name == LimitHijack || info.Limit && info.TLS {
			continue // they need sockets, or read no messages
		}
		for _, size := range corpus.Sizes {
			for _, server := range []bool{false, true} {
				for _, check := range []bool{false, true} {
					s := corpus.NewStream(corpus.Messages(corpus.CJK, size, 64), server)
					o := Options{CheckUTF8: check, WireLen: s.WireLen}
					c, _, done := openMemory(t, e, s, o, server)
					var tally Tally
					for range 2 {
						if err := c.Receive(n/2, &tally); err != nil {
							t.Fatalf("%s, %d B, server %v: %v", info.Name, size, server, err)
						}
					}
					bytes, sum := s.Sum(0, n)
					if tally.Messages != n || !info.Limit && (tally.Bytes != bytes || tally.Sum != sum) {
						t.Errorf("%s, %d B, server %v, check %v: %+v, want %d messages of %d bytes, sum %d", info.Name, size, server, check, tally, n, bytes, sum)
					}
					done()
				}
			}
		}
	}
}

// TestViewersSeeEveryMessage: View shows the sent messages, one by one, also between
// calls of Receive.
func TestViewersSeeEveryMessage(t *testing.T) {
	s := corpus.NewStream(corpus.Messages(corpus.ASCII, 200, 64), false)
	var names []string
	for _, e := range Libraries() {
		if !slices.Contains([]string{"tickwire", "gobwas-low", "gws", "gorilla", "coder"}, e.Info().Name) {
			continue
		}
		names = append(names, e.Info().Name)
		c, _, done := openMemory(t, e, s, Options{CheckUTF8: true}, false)
		var got, rest Tally
		for i := range 200 {
			if err := c.(Viewer).View(got.Take); err != nil || got.Messages != i+1 {
				t.Fatalf("%s: message %d: %d seen, %v", e.Info().Name, i, got.Messages, err)
			}
		}
		if err := c.Receive(100, &rest); err != nil {
			t.Fatal(err)
		}
		bytes, sum := s.Sum(0, 200)
		more, moreSum := s.Sum(200, 100)
		if got != (Tally{200, bytes, sum}) || rest != (Tally{100, more, moreSum}) {
			t.Errorf("%s: %+v, then %+v", e.Info().Name, got, rest)
		}
		done()
	}
	if len(names) != 5 {
		t.Errorf("only %v", names)
	}
}

// TestCheckRefuses: each library or its adapter checks UTF-8 if it is asked to, and only
// then.
func TestCheckRefuses(t *testing.T) {
	for _, e := range Libraries() {
		for _, check := range []bool{false, true} {
			m := corpus.Messages(corpus.CJK, 200, 8)
			m[5] = append([]byte{}, m[5]...)
			m[5][100] = 0xFF
			s := corpus.NewStream(m, false)
			c, _, done := openMemory(t, e, s, Options{CheckUTF8: check}, false)
			var tally Tally
			err := c.Receive(8, &tally)
			if (err != nil) != check {
				t.Errorf("%s, check %v: error %v after %d messages", e.Info().Name, check, err, tally.Messages)
			}
			done()
		}
	}
}

// TestEveryEntrantSends reads back the messages that each entrant writes.
func TestEveryEntrantSends(t *testing.T) {
	messages := corpus.Messages(corpus.ASCII, 200, 16)
	for _, e := range Libraries() {
		t.Run(e.Info().Name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go e.Serve(l, Options{CheckUTF8: true}, func(c Conn) { c.Echo() })
			c, err := e.Dial(Options{URL: "ws://" + l.Addr().String() + "/", CheckUTF8: true})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.Send(len(messages), messages); err != nil {
				t.Fatal(err)
			}
			var tally Tally
			if err := c.Receive(len(messages), &tally); err != nil {
				t.Fatal(err)
			}
			s := corpus.NewStream(messages, false)
			if bytes, sum := s.Sum(0, len(messages)); tally.Bytes != bytes || tally.Sum != sum {
				t.Errorf("%+v, want %d bytes, sum %d", tally, bytes, sum)
			}
		})
	}
}

// openMemory is Memory for tests.
func openMemory(t testing.TB, e Entrant, s *corpus.Stream, o Options, server bool) (Conn, *wire.Memory, func()) {
	t.Helper()
	c, m, done, err := Memory(e, s, o, server)
	if err != nil {
		t.Fatalf("%s: %v", e.Info().Name, err)
	}
	return c, m, done
}
