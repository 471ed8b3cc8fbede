package conn

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// An outcome is what a client of a puppet has seen, and what the puppet has.
type outcome struct {
	got   []string // messages, or bytes
	err   string   // with the types of what it wraps
	after string   // how a write went behind it
	peer  []string
}

// describeError tells an error and the types of all that it wraps.
func describeError(err error) string {
	if err == nil {
		return "nil"
	}
	s := err.Error()
	for e := err; e != nil; e = errors.Unwrap(e) {
		s += fmt.Sprintf(" < %T", e)
	}
	return s
}

// puppetScripts is how many scripts the tests play: each end several times, behind other
// feeds.
func puppetScripts() int {
	n := 6 * len(puppetEnds)
	if testing.Short() || raceEnabled {
		n = len(puppetEnds)
	}
	return n
}

func suiteOfScript(script int) uint16 {
	return []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384}[script/len(puppetEnds)%2]
}

// pieceOfScript bounds the reads of the socket, so that records come cut.
func pieceOfScript(script int) int {
	return []int{0, 7, 1000, 300}[script/len(puppetEnds)%4]
}

// play has a puppet play a script before read, which reads to the end, and returns what
// came of it.
func playScript(t *testing.T, side puppetClientSide, script int, prepare func(*puppet), read func(*tls.Conn, *netsim.Conn) outcome) outcome {
	t.Helper()
	client, p, a := puppets(t, side, suiteOfScript(script), pieceOfScript(script), prepare)
	if err := perform(p, script); err != nil {
		t.Fatal(err)
	}
	if err := p.nc.(*netsim.Conn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	o := read(client, a)
	a.Close()
	o.peer = p.drain()
	p.nc.Close()
	return o
}

func (o outcome) compare(t *testing.T, want outcome) {
	t.Helper()
	if !slices.Equal(o.got, want.got) {
		t.Errorf("got %d: %.100q\nwant %d: %.100q", len(o.got), o.got, len(want.got), want.got)
	}
	if o.err != want.err {
		t.Errorf("error %s\nwant  %s", o.err, want.err)
	}
	if o.after != want.after {
		t.Errorf("behind it a write: %s, want %s", o.after, want.after)
	}
	if !slices.Equal(o.peer, want.peer) {
		t.Errorf("the peer got  %.100q\nwant %.100q", o.peer, want.peer)
	}
}

// waysToRead are the ways to read a Conn. Each calls got for each message, in order, and
// returns the error.
var waysToRead = map[string]func(c *Conn, got func(string)) error{
	"ReadMessage": func(c *Conn, got func(string)) error {
		for {
			m, err := c.ReadMessage()
			if err != nil {
				return err
			}
			got(string(m.Data))
		}
	},
	"More": func(c *Conn, got func(string)) error {
		for {
			m, err := c.ReadMessage()
			if err != nil {
				return err
			}
			got(string(m.Data))
			c.More()
		}
	},
	"TakeBatch": func(c *Conn, got func(string)) error {
		for {
			b, err := c.TakeBatch()
			if err != nil {
				return err
			}
			for _, m := range b.Messages {
				got(string(m.Data))
			}
			b.Release()
		}
	},
	"NextFrame": func(c *Conn, got func(string)) error {
		s := ""
		for {
			f, err := c.NextFrame()
			if err != nil {
				return err
			}
			if f.Header.Opcode.IsControl() {
				continue
			}
			if s += string(f.Payload); f.Header.Fin {
				got(s)
				s = ""
			}
		}
	},
	"NextReader": func(c *Conn, got func(string)) error {
		for {
			_, r, err := c.NextReader()
			if err != nil {
				return err
			}
			b, err := io.ReadAll(io.MultiReader(io.LimitReader(r, 10), r))
			if err != nil {
				return err
			}
			got(string(b))
		}
	},
}

// FuzzOpenedConversation has a puppet do what the input's bytes say, and compares with
// crypto/tls alone.
func FuzzOpenedConversation(f *testing.F) {
	for script := range 40 {
		rand := rand.New(rand.NewPCG(uint64(script), 3))
		b := make([]byte, 3*script)
		for i := range b {
			b[i] = byte(rand.UintN(256))
		}
		f.Add(b, byte(script), uint16(script*11))
	}
	f.Fuzz(func(t *testing.T, script []byte, piece byte, room uint16) {
		var outcomes [bothSides]outcome
		for side := range bothSides {
			client, p, a := puppets(t, side, suiteOfScript(int(piece)), int(piece), func(p *puppet) { p.raw = true })
			s := &play{puppet: p, rand: rand.New(rand.NewPCG(uint64(piece), 4))}
			s.follow(script[:min(len(script), 80)])
			s.ends(t)
			o := &outcomes[side]
			r, b, all := readable(client), make([]byte, int(room)+1), []byte(nil)
			for {
				n, err := r.Read(b)
				if all = append(all, b[:n]...); err != nil {
					o.got, o.err = []string{string(all)}, describeError(err)
					break
				}
			}
			n, err := client.Write([]byte("is there someone?"))
			o.after = fmt.Sprint(n, describeError(err))
			a.Close()
			o.peer = p.drain()
			p.nc.Close()
		}
		outcomes[ourTLS].compare(t, outcomes[plainTLS])
	})
}

// Whatever a server sends, a Conn that opens records by itself sees and does the same as
// one over crypto/tls alone: messages, the error, what the peer gets and in which order.
func TestOpenedLikeCryptoTLS(t *testing.T) {
	for name, way := range waysToRead {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for script := range puppetScripts() {
				var outcomes [bothSides]outcome
				for side := range bothSides {
					outcomes[side] = playScript(t, side, script, nil, func(client *tls.Conn, _ *netsim.Conn) (o outcome) {
						c := New(client, frame.Client, &Config{KeepAlive: -1})
						defer c.Close()
						if opened := c.TransportInfo().OpensRecords; opened != (side == ourTLS) {
							t.Fatal("opened:", opened)
						}
						o.err = describeError(way(c, func(s string) {
							o.got = append(o.got, s)
							c.WriteMessage(Text, fmt.Appendf(nil, "answer %d", len(o.got)))
						}))
						return o
					})
				}
				t.Run(scriptName(script), func(t *testing.T) { outcomes[ourTLS].compare(t, outcomes[plainTLS]) })
			}
		})
	}
}

// The same for the bytes themselves, before there is a Conn, and for what can still be
// written behind the error.
func TestBytesOpenedLikeCryptoTLS(t *testing.T) {
	for script := range puppetScripts() {
		var outcomes [bothSides]outcome
		for side := range bothSides {
			room := rand.New(rand.NewPCG(uint64(script), 1)).IntN(600) + 1
			if script%5 == 0 {
				room = 40000
			}
			outcomes[side] = playScript(t, side, script, func(p *puppet) { p.raw = true }, func(client *tls.Conn, a *netsim.Conn) (o outcome) {
				r := readable(client)
				p := make([]byte, room)
				var all []byte
				for {
					n, err := r.Read(p)
					all = append(all, p[:n]...)
					if err != nil {
						o.err = describeError(err)
						break
					}
				}
				o.got = []string{string(all)}
				n, err := client.Write([]byte("is there someone?"))
				o.after = fmt.Sprint(n, describeError(err))
				client.CloseWrite()
				return o
			})
		}
		t.Run(scriptName(script), func(t *testing.T) { outcomes[ourTLS].compare(t, outcomes[plainTLS]) })
	}
}

// The tests of what is read under TLS hold for records that are opened here, too.
func TestUnderTLSWithOpenRecords(t *testing.T) {
	secureOpens = true
	defer func() { secureOpens = false }()
	for name, f := range map[string]func(*testing.T){ // none of them runs in parallel to another test
		"reads":          TestReadsUnderTLS,
		"read deadline":  TestReadDeadlineUnderTLS,
		"write deadline": TestF16WriteDeadlineUnderTLS,
		"close":          TestF17CloseUnderTLS,
		"allocations":    TestAllocsUnderTLS,
		"More":           TestMoreUnderTLS,
		"idle":           TestIdleHoldsNoBufferUnderTLS,
		"bad count":      TestImpossibleCountUnderTLS,
		"stamps":         TestStampedOncePerReadUnderTLS,
	} {
		t.Run(name, func(t *testing.T) {
			before := secureOpened.Load()
			if f(t); secureOpened.Load() == before { // f is left by Skip
				t.Error("no connection has opened its records")
			}
		})
	}
}

// A feed whose records are opened here costs no allocation.
func TestOpenRecordsAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	secureOpens = true
	defer func() { secureOpens = false }()
	for size, records := range map[int]int{60: 10_000, 200: 10_000, 1000: 10_000, 4000: 1000, 16200: 400} {
		const parts = 6 // one to warm up, and those of measure
		c, _, messages := recordedMessages(t, tls.VersionTLS13, min(196, size-4), size-4, parts*records)
		read := func() {
			for range messages / parts {
				if _, err := c.ReadMessage(); err != nil {
					t.Fatal(err)
				}
			}
		}
		read()
		if n := measure(read); n != 0 {
			t.Errorf("%d allocations in %d records of %d bytes", n, records, size)
		}
		if !c.TransportInfo().OpensRecords {
			t.Error(c.TransportInfo().Why)
		}
		c.Close()
	}
}

// readsAll reads what a puppet has sent to its end, and returns it with the error.
func readsAll(client *tls.Conn) (string, error) {
	b, err := io.ReadAll(readable(client))
	return string(b), err
}

// opened returns a client that opens records, and the play of its puppet.
func opened(t testing.TB) (*tls.Conn, *play) {
	t.Helper()
	client, p, a := puppets(t, ourTLS, tls.TLS_AES_128_GCM_SHA256, 0, func(p *puppet) { p.raw = true })
	t.Cleanup(func() { a.Close(); p.nc.Close() })
	return client, &play{puppet: p, rand: rand.New(rand.NewPCG(1, 1))}
}

// send sends what was played.
func (p *play) send(t testing.TB) {
	t.Helper()
	if _, err := p.nc.Write(p.out); err != nil {
		t.Fatal(err)
	}
	p.out = nil
}

// ends ends the stream behind what was played.
func (p *play) ends(t testing.TB) {
	t.Helper()
	p.send(t)
	if err := p.nc.(*netsim.Conn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
}

// With a new key both counters begin at 0. The first record sent once more is refused,
// though the tls.Conn below, which waits for the first, has seen none of it.
func TestTrapFirstRecordTwice(t *testing.T) {
	for name, before := range map[string]func(p *play){
		"first key": func(p *play) {},
		"next key":  func(p *play) { p.data(""); p.update(0) },
		"asked":     func(p *play) { p.data(""); p.update(1) },
	} {
		client, p := opened(t)
		before(p)
		p.data("once")
		p.data(" more")
		p.put(p.sent[len(p.sent)-2])
		p.ends(t)
		got, err := readsAll(client)
		if got != "once more" || err == nil || err.Error() != "local error: tls: bad record MAC" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// crypto/tls refuses the seventeenth record without data in a row, so it has to learn of
// the data between them.
func TestTrapUselessRecordsAmongData(t *testing.T) {
	for name, useless := range map[string]func(p *play){
		"tickets":       func(p *play) { p.inner(22, newTicket(30), 0) },
		"key updates":   func(p *play) { p.update(0) },
		"asked updates": func(p *play) { p.update(1) },
		"CCS":           func(p *play) { p.put([]byte{20, 3, 3, 0, 1, 1}) },
		"empty":         func(p *play) { p.inner(23, nil, 0) },
		"warnings":      func(p *play) { p.inner(21, []byte{1, 90}, 0) },
	} {
		for _, each := range []int{1, 5, 16} {
			client, p := opened(t)
			want := ""
			for i := range 60 {
				for range each {
					useless(p)
				}
				p.data(fmt.Sprint(i))
				want += fmt.Sprint(i)
			}
			p.ends(t)
			if got, err := readsAll(client); got != want || err != nil {
				t.Errorf("%s, %d in a row: %q, %v", name, each, got, err)
			}
		}
		client, p := opened(t)
		p.data("x")
		for range 17 {
			useless(p)
		}
		p.data("y")
		p.ends(t)
		if got, err := readsAll(client); got != "x" || err == nil || !strings.Contains(err.Error(), "too many") {
			t.Errorf("17 %s in a row: %q, %v", name, got, err)
		}
	}
}

// What is not data ends the batch: crypto/tls answers it behind what the caller writes in
// answer to the data before it.
func TestTrapAnswersStayInOrder(t *testing.T) {
	for name, tt := range map[string]struct {
		do   func(p *play)
		want string
	}{
		"key update": {func(p *play) { p.update(1) }, "key update 00"},
		"alert":      {func(p *play) { p.spoiled(-1) }, "type 21: 0214"},
		"version":    {func(p *play) { p.put([]byte{23, 3, 1, 0, 40}) }, "type 21: 0246"},
		"unknown":    {func(p *play) { p.inner(99, nil, 0) }, "type 21: 020a"},
	} {
		client, p := opened(t)
		p.raw = false
		c := New(client, frame.Client, &Config{KeepAlive: -1})
		p.text("one")
		p.text("two")
		tt.do(p)
		p.text("three")
		p.ends(t)
		n := 0
		for {
			if _, err := c.ReadMessage(); err != nil {
				break
			}
			n++
			if err := c.WriteMessage(Text, fmt.Appendf(nil, "answer %d", n)); err != nil {
				t.Fatal(err)
			}
		}
		c.Close()
		if said := p.drain(); len(said) < 3 || said[0] != "answer 1" || said[1] != "answer 2" || said[2] != tt.want {
			t.Errorf("%s: the peer got %q", name, said)
		}
	}
}

// The one difference that may stay: crypto/tls alone looks for an alert that is not
// protected before it returns data. With records opened here the data comes first; the
// error is the same.
func TestTrapUnprotectedAlert(t *testing.T) {
	for side := range bothSides {
		client, p, a := puppets(t, side, tls.TLS_AES_128_GCM_SHA256, 0, nil)
		s := &play{puppet: p}
		s.data("data")
		s.put([]byte{21, 3, 3, 0, 2, 2, 40})
		s.ends(t)
		if got, err := readsAll(client); got != "data" || err == nil || err.Error() != "local error: tls: bad record MAC" {
			t.Errorf("side %d: %q, %v", side, got, err)
		}
		a.Close()
		p.nc.Close()
	}
}

// Nothing that was sealed for the tls.Conn is ever written: all that leaves the process
// is what the client's own key opens, and nothing that the server's does.
func TestNothingSealedHereIsWritten(t *testing.T) {
	for script := range puppetEnds {
		var wire bytes.Buffer
		a, b := netsim.Pipe(4 << 20)
		p := newPuppet(b, suiteOfScript(script))
		p.raw = true
		shaken := make(chan error, 1)
		go func() { shaken <- p.handshake() }()
		client, err := clientOf(&writesKept{a, &wire}, ourTLS)
		if err := errors.Join(err, <-shaken); err != nil {
			t.Fatal(err)
		}
		wire.Reset() // the handshake's
		first := p.out
		if err := perform(p, script); err != nil {
			t.Fatal(err)
		}
		b.CloseWrite()
		r := readable(client)
		for room := make([]byte, 500); ; {
			if n, err := r.Read(room); n > 0 {
				client.Write(room[:n])
			} else if err != nil {
				break
			}
		}
		client.CloseWrite()
		a.Close()
		said := p.drain()
		b.Close()
		if last := said[len(said)-1]; last != "end: EOF" {
			t.Errorf("%s: the client's records do not open: %s", scriptName(script), last)
		}
		keys := []puppetHalf{first}
		for range 25 {
			first.update()
			keys = append(keys, first)
		}
		for stream := wire.Bytes(); len(stream) > 0; {
			n := 5 + int(binary.BigEndian.Uint16(stream[3:]))
			for _, k := range keys {
				for k.seq = 0; k.seq < 64; {
					if _, _, err := k.open(stream[:n]); err == nil {
						t.Fatalf("%s: a record of the server's key was written", scriptName(script))
					}
				}
			}
			stream = stream[n:]
		}
	}
}

type writesKept struct {
	net.Conn
	to *bytes.Buffer
}

func (w *writesKept) Write(p []byte) (int, error) {
	w.to.Write(p)
	return w.Conn.Write(p)
}

// During the handshake a Read ends with its record, however many are here and however
// much room there is.
func TestTrapOneRecordARead(t *testing.T) {
	var stream []byte
	ends := map[int]bool{}
	for _, n := range []int{1, 100, 5000, 0, 16000, 30, 30} {
		stream = append(stream, long(22, n)...)
		ends[len(stream)] = true
	}
	for _, room := range []int{1, 517, 1000, 70000} {
		a, b := netsim.Pipe(1 << 20)
		r := underTLS(a, &Config{}).(*records)
		r.openLater(new(tls.Config))
		b.Write(stream)
		b.Close()
		for at := 0; at < len(stream); {
			n, err := r.Read(make([]byte, room))
			if err != nil {
				t.Fatal(err)
			}
			for i := at + 1; i < at+n; i++ {
				if ends[i] {
					t.Fatalf("room for %d: a Read of %d at %d goes over the end of a record at %d", room, n, at, i)
				}
			}
			at += n
		}
		r.drop()
	}
}

// What comes with the server's Finished, in the same record, is as wrong here as for
// crypto/tls.
func TestTrapBytesWithFinished(t *testing.T) {
	for _, behind := range [][]byte{{4}, {4, 0, 0, 50, 1, 2}, newTicket(9), keyUpdate(0), {24, 0, 0}} {
		var outcomes [bothSides]outcome
		for side := range bothSides {
			a, b := netsim.Pipe(1 << 20)
			p := newPuppet(b, tls.TLS_AES_128_GCM_SHA256)
			p.behind = behind
			p.early = func(s *play) { s.data("x"); s.update(0); s.data("y") }
			go func() {
				p.handshake()
				b.CloseWrite()
			}()
			client, err := clientOf(a, side)
			o := &outcomes[side]
			if err == nil {
				var got string
				got, err = readsAll(client)
				o.got = []string{got}
			}
			o.err = describeError(err)
			a.Close()
			b.Close()
		}
		outcomes[ourTLS].compare(t, outcomes[plainTLS])
	}
}

// readsAhead stands for a crypto/tls that reads more than it needs: it takes all that has
// come.
type readsAhead struct {
	*records
	ahead []byte
	most  int // of the bytes behind a record
	on    bool
}

func (r *readsAhead) Read(p []byte) (int, error) {
	if len(r.ahead) > 0 {
		n := copy(p, r.ahead)
		r.ahead = r.ahead[n:]
		return n, nil
	}
	n, err := r.records.Read(p)
	if err == nil && r.on && r.pos < r.end {
		more := make([]byte, r.most)
		k, _ := r.records.Read(more)
		r.ahead = more[:k]
	}
	return n, err
}

// A crypto/tls that reads on gets out of step. That is an error, or it opens the records
// by itself: never other data.
func TestReadingAheadFailsClosed(t *testing.T) {
	for _, most := range []int{1, 4, 5, 20, 1000} {
		for size := range 30 {
			a, b := netsim.Pipe(4 << 20)
			p := newPuppet(b, tls.TLS_AES_128_GCM_SHA256)
			p.early = func(s *play) {
				s.data("first " + strings.Repeat("x", size))
				s.inner(22, newTicket(9), 0)
				s.data("second ")
				s.update(0)
				s.data("third")
			}
			go func() {
				p.handshake()
				b.CloseWrite()
			}()
			cfg := puppetClient()
			r := underTLS(a, &Config{}).(*records)
			r.openLater(cfg)
			ahead := &readsAhead{records: r, most: most}
			client := tls.Client(ahead, cfg)
			ahead.on = true
			if err := client.Handshake(); err != nil {
				t.Fatal(err)
			}
			err := r.openNow(client)
			var source io.Reader = client
			if r.opens() {
				source = &ownReader{client, r}
			}
			if err != nil && !errors.Is(err, errOutOfStep) {
				t.Error(err)
			}
			got, err := io.ReadAll(source)
			whole := "first " + strings.Repeat("x", size) + "second third"
			if whole != string(got) || err != nil {
				if err == nil || !strings.HasPrefix(whole, string(got)) {
					t.Errorf("%d bytes ahead: %q, %v", most, got, err)
				}
			}
			if r.opens() && len(got) > 0 {
				t.Errorf("%d bytes ahead: data though out of step: %q", most, got)
			}
			a.Close()
			b.Close()
		}
	}
}

// During the handshake nothing protects the header of a record. One that only crypto/tls
// takes for a record's must not have crypto/tls get what belongs to the next ones: there
// forged records, and the peer's close_notify, would be passed over.
func TestTrapHeaderOfTheFirstRecord(t *testing.T) {
	for name, script := range map[string]func(s *play){
		"forged records": func(s *play) {
			s.put([]byte{0x17, 3, 3, 0x41, 0})
			s.data("one ")
			for range 50 {
				s.spoiled(-1)
			}
			s.data("two ")
			s.inner(21, []byte{1, 0}, 0)
			s.data("three")
		},
		"close_notify": func(s *play) {
			s.put([]byte{0x17, 3, 3, 0x41, 0})
			s.data("one ")
			s.inner(21, []byte{1, 0}, 0)
			s.data("two")
		},
		"data": func(s *play) { s.data("one "); s.data("two") },
	} {
		var outcomes [bothSides]outcome
		for side := range bothSides {
			a, b := netsim.Pipe(4 << 20)
			p := newPuppet(&oldVersion{Conn: b}, tls.TLS_AES_128_GCM_SHA256)
			p.early = script
			go func() {
				p.handshake()
				b.CloseWrite()
			}()
			client, err := clientOf(a, side)
			if err != nil && !(side == ourTLS && err.Error() == "crypto/tls has read on") {
				t.Fatal(err)
			}
			got, err := readsAll(client)
			outcomes[side] = outcome{got: []string{got}, err: describeError(err)}
			a.Close()
			b.Close()
		}
		t.Run(name, func(t *testing.T) { outcomes[ourTLS].compare(t, outcomes[plainTLS]) })
	}
}

// oldVersion is a connection whose first write begins with a record of another version.
type oldVersion struct {
	net.Conn
	done bool
}

func (o *oldVersion) Write(p []byte) (int, error) {
	if !o.done {
		o.done = true
		p = slices.Clone(p)
		p[1], p[2] = 2, 0
	}
	return o.Conn.Write(p)
}

// A tls.Conn that does not end a connection at a record that must end it is out of step:
// nothing more is delivered.
func TestFatalRecordsAreFatal(t *testing.T) {
	for name, bad := range map[string]func(p *play){
		"forged": func(p *play) { p.spoiled(-1) },
		"header": func(p *play) { p.put(long(23, 17<<10)) },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := netsim.Pipe(4 << 20)
			defer a.Close()
			defer b.Close()
			p := newPuppet(b, tls.TLS_AES_128_GCM_SHA256)
			shaken := make(chan error, 1)
			go func() { shaken <- p.handshake() }()
			cfg := puppetClient()
			r := underTLS(a, &Config{}).(*records)
			r.openLater(cfg)
			holds := &holdsPart{records: r}
			client := tls.Client(holds, cfg)
			if err := errors.Join(client.Handshake(), <-shaken, r.openNow(client)); err != nil || !r.opens() {
				t.Fatal(err)
			}
			holds.part = []byte{0x17, 3, 3, 0x41, 0} // what it gets from now on is the rest of a long record
			s := &play{puppet: p, rand: rand.New(rand.NewPCG(1, 1))}
			s.data("one ")
			bad(s)
			s.data("two")
			s.ends(t)
			if got, err := io.ReadAll(&ownReader{client, r}); string(got) != "one " || !errors.Is(err, errOutOfStep) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// holdsPart stands for a crypto/tls that has read part of a record.
type holdsPart struct {
	*records
	part []byte
}

func (h *holdsPart) Read(p []byte) (int, error) {
	if n := copy(p, h.part); n > 0 {
		h.part = h.part[n:]
		return n, nil
	}
	return h.records.Read(p)
}

// A KeyUpdate that asks for no answer is followed, whatever happens to writes at that time.
func TestKeyUpdateBesideWritesThatFail(t *testing.T) {
	client, p := opened(t)
	want := ""
	for i := range 200 {
		p.update(0)
		text := fmt.Sprint(i, " ")
		p.data(text)
		want += text
	}
	p.ends(t)
	r := client.NetConn().(*records)
	done, failing := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(failing)
		for {
			select {
			case <-done:
				return
			default:
				r.own.unwritten.Add(1)
			}
		}
	}()
	got, _ := readsAll(client)
	close(done)
	<-failing
	if got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// A read behind the end returns what ended, and does not wait for the peer.
func TestNoWaitBehindTheEnd(t *testing.T) {
	client, p := opened(t)
	p.inner(21, []byte{1, 0}, 0)
	p.send(t)
	r := readable(client)
	for range 2 {
		client.SetReadDeadline(time.Now().Add(20 * time.Second))
		if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("%d, %v", n, err)
		}
		client.SetReadDeadline(time.Unix(1, 0))
	}
}

// Of a record that is cut by the end of the stream the tls.Conn gets the length and no
// content: it is not to have what it could open.
func TestTrapNoPartOfARecordIsHandedOn(t *testing.T) {
	client, p := opened(t)
	p.text("cut")
	record := slices.Clone(p.sent[0])
	p.out = p.out[:len(p.out)-3]
	p.ends(t)
	if got, err := readsAll(client); got != "" || err != io.ErrUnexpectedEOF {
		t.Errorf("%q, %v", got, err)
	}
	held := reflect.ValueOf(client).Elem().FieldByName("rawInput").FieldByName("buf").Bytes()
	if !bytes.Contains(held, record[:tlsRecordHeader]) {
		t.Skip("crypto/tls keeps what it has read elsewhere")
	}
	if bytes.Contains(held, record[tlsRecordHeader:tlsRecordHeader+4]) {
		t.Errorf("%x of %x", held, record)
	}
}

// An error is for good, also one behind which crypto/tls would go on: it does behind a
// handshake message of the wrong kind.
func TestTrapErrorsAreForGood(t *testing.T) {
	for name, bad := range map[string]func(p *play){
		"a Finished":   func(p *play) { p.inner(22, append([]byte{20, 0, 0, 32}, make([]byte, 32)...), 0) },
		"a spoiled":    func(p *play) { p.spoiled(-1) },
		"close_notify": func(p *play) { p.inner(21, []byte{1, 0}, 0) },
	} {
		client, p := opened(t)
		p.data("x")
		bad(p)
		p.data("y")
		p.ends(t)
		r := readable(client)
		got, err := io.ReadAll(struct{ io.Reader }{r})
		if err == nil {
			err = io.EOF
		}
		for range 3 {
			n, again := r.Read(make([]byte, 10))
			if string(got) != "x" || n != 0 || again == nil || again.Error() != err.Error() {
				t.Errorf("%s: %q, %v, and then %d, %v", name, got, err, n, again)
			}
		}
	}
}

// Who reads the tls.Conn below gets an error, and so does the Conn then: no data can
// change hands.
func TestReadingTheTLSConnFailsClosed(t *testing.T) {
	client, p := opened(t)
	c := New(client, frame.Client, &Config{KeepAlive: -1})
	defer c.Close()
	p.text("one")
	p.inner(22, newTicket(5), 0)
	p.text("two")
	p.ends(t)
	if n, err := c.NetConn().Read(make([]byte, 100)); n != 0 || err != errNotToRead {
		t.Errorf("%d, %v", n, err)
	}
	wantMessage(t, c, Text, "one")
	if _, err := c.ReadMessage(); !errors.Is(err, errNotToRead) {
		t.Errorf("the Conn got %v", err)
	}
}

// An answer to a KeyUpdate that cannot be written has crypto/tls keep the old key, and so
// do we.
func TestKeyUpdateThatCannotBeAnswered(t *testing.T) {
	var outcomes [bothSides]outcome
	for side := range bothSides {
		client, p, a := puppets(t, side, tls.TLS_AES_128_GCM_SHA256, 0, nil)
		s := &play{puppet: p}
		s.data("old ")
		s.inner(22, keyUpdate(1), 0)
		s.data("still old ")
		s.inner(22, newTicket(5), 0)
		p.out.update()
		s.data("new")
		s.ends(t)
		a.Script(func(op netsim.Op, _, _ int) netsim.Step {
			if op == netsim.Write {
				return netsim.Step{Max: -1, Err: errors.New("no")}
			}
			return netsim.Step{}
		})
		got, err := readsAll(client)
		outcomes[side] = outcome{got: []string{got}, err: describeError(err)}
		a.Close()
		p.nc.Close()
	}
	outcomes[ourTLS].compare(t, outcomes[plainTLS])
	if outcomes[plainTLS].got[0] != "old still old " {
		t.Errorf("crypto/tls alone: %q", outcomes[plainTLS].got)
	}
}

// A deadline that passes anywhere within a record ends nothing, before each byte of a script.
func TestOpenRecordsDeadlineAnywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, p := opened(t)
		c := New(client, frame.Client, &Config{KeepAlive: -1})
		defer c.Close()
		want := []string{}
		for i := range 6 {
			p.pieces(newTicket(40))
			text := fmt.Sprint(i, strings.Repeat("d", 40*i))
			want = append(want, text)
			p.text(text)
			p.update(byte(i % 2))
		}
		got := []string{}
		read := func() {
			for {
				c.SetReadDeadline(time.Now().Add(time.Second))
				m, err := c.ReadMessage()
				if err != nil {
					wantTimeout(t, err)
					return
				}
				got = append(got, string(m.Data))
			}
		}
		for _, b := range p.out {
			p.nc.Write([]byte{b})
			read()
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
	})
}

// A puppet that speaks HTTP: what is not data comes between the bytes of the answer too,
// and a message comes with it.
func TestOpenRecordsDuringTheOpening(t *testing.T) {
	for cut := 1; cut < 138; cut += 3 {
		a, b := netsim.Pipe(1 << 20)
		served := make(chan error, 1)
		go func() {
			p := newPuppet(b, tls.TLS_AES_256_GCM_SHA384)
			p.raw = true
			if err := p.handshake(); err != nil {
				served <- err
				return
			}
			record, err := p.readRecord()
			if err != nil {
				served <- err
				return
			}
			_, request, err := p.in.open(record)
			_, key, _ := strings.Cut(string(request), "Sec-WebSocket-Key: ")
			key, _, _ = strings.Cut(key, "\r\n")
			answer := fmt.Sprintf("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", handshake.AppendAccept(nil, key))
			answer += string(frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: Text}, []byte("with it")))
			s := &play{puppet: p, rand: rand.New(rand.NewPCG(uint64(cut), 2))}
			s.pieces(newTicket(60))
			s.data(answer[:cut])
			s.update(1)
			s.inner(22, newTicket(60)[:20], 0)
			s.inner(22, newTicket(60)[20:], 0)
			s.data(answer[cut:])
			s.text("and behind it")
			_, failed := p.nc.Write(s.out)
			served <- errors.Join(err, failed)
		}()
		tlsConfig := puppetClient()
		d := Dialer{TLSConfig: tlsConfig, OpenRecords: true, NetDial: func(context.Context, string, string) (net.Conn, error) { return a, nil }, Config: Config{KeepAlive: -1}}
		c, err := d.Dial(t.Context(), "wss://puppet/")
		if err := errors.Join(err, <-served); err != nil {
			t.Fatal(err)
		}
		if i := c.TransportInfo(); i != (TransportInfo{OpensRecords: true}) {
			t.Fatalf("%+v", i)
		}
		wantMessage(t, c, Text, "with it")
		wantMessage(t, c, Text, "and behind it")
		c.Close()
		b.Close()
	}
}

// openServer is a server of wss that answers each message with it.
func openServer(t *testing.T, serverTLS *tls.Config) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		nl := l
		if serverTLS != nil {
			nl = tls.NewListener(l, serverTLS)
		}
		acceptEach(nl, &Upgrader{Config: Config{KeepAlive: -1}}, func(c *Conn) { defer c.Close(); echo(c) })
	}()
	t.Cleanup(func() { l.Close(); <-done })
	if serverTLS == nil {
		return "ws://" + l.Addr().String()
	}
	return "wss://" + l.Addr().String()
}

// TransportInfo says whether records are opened here, and why not; whatever it says the
// connection works.
func TestTransportInfo(t *testing.T) {
	serverTLS, clientTLS := testCertificate(t)
	old := serverTLS.Clone()
	old.MaxVersion = tls.VersionTLS12
	wrap := func(ctx context.Context, nc net.Conn, _ TLSHost) (net.Conn, error) {
		c := tls.Client(nc, clientTLS)
		return c, c.HandshakeContext(ctx)
	}
	own := clientTLS.Clone()
	own.ServerName = "localhost"
	for name, tt := range map[string]struct {
		server *tls.Config
		d      Dialer
		want   TransportInfo
	}{
		"on":      {serverTLS, Dialer{OpenRecords: true}, TransportInfo{OpensRecords: true}},
		"off":     {serverTLS, Dialer{}, TransportInfo{Why: "Dialer.OpenRecords is off"}},
		"1.2":     {old, Dialer{OpenRecords: true}, TransportInfo{Why: "the connection has TLS 1.2"}},
		"no TLS":  {nil, Dialer{OpenRecords: true}, TransportInfo{Why: "there is no TLS of crypto/tls"}},
		"WrapTLS": {serverTLS, Dialer{OpenRecords: true, WrapTLS: wrap}, TransportInfo{Why: "TLS was not done by Dialer"}},
	} {
		t.Run(name, func(t *testing.T) {
			tt.d.TLSConfig = clientTLS
			clientTLS.ServerName = "localhost"
			c, err := tt.d.Dial(t.Context(), openServer(t, tt.server))
			if err != nil {
				t.Fatal(err)
			}
			if got := c.TransportInfo(); got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
			roundTrip(t, c)
			if err := c.Shutdown(t.Context(), frame.CodeNormal, ""); err != nil {
				t.Error(err)
			}
		})
	}
}

// The caller's own KeyLogWriter gets its lines, its config is not changed, and its error
// ends the handshake.
func TestOpenRecordsKeepsTheCallersKeyLog(t *testing.T) {
	serverTLS, clientTLS := testCertificate(t)
	var log bytes.Buffer
	clientTLS.KeyLogWriter = &log
	url := openServer(t, serverTLS)
	c, err := (&Dialer{TLSConfig: clientTLS, OpenRecords: true}).Dial(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	roundTrip(t, c)
	c.Close()
	if clientTLS.KeyLogWriter != &log {
		t.Error("the caller's config was changed")
	}
	for _, label := range []string{"CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_HANDSHAKE_TRAFFIC_SECRET", "CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"} {
		if strings.Count(log.String(), label+" ") != 1 {
			t.Errorf("%s is missing in\n%s", label, log.String())
		}
	}
	own := recordsOf(c).own
	if own.keys.Secret(); len(own.keys.Secret()) != 0 {
		t.Error("the secret was kept in the key log")
	}
	clientTLS.KeyLogWriter = refusing{}
	if _, err := (&Dialer{TLSConfig: clientTLS, OpenRecords: true}).Dial(t.Context(), url); !errors.Is(err, errRefusing) {
		t.Errorf("a key log that fails: %v", err)
	}
}

var errRefusing = errors.New("refusing")

type refusing struct{}

func (refusing) Write([]byte) (int, error) { return 0, errRefusing }

// crypto/tls gets the tickets, so that the next connection resumes; and the next opens
// its records too.
func TestOpenRecordsResumes(t *testing.T) {
	serverTLS, clientTLS := testCertificate(t)
	clientTLS.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	clientTLS.ServerName = "localhost"
	url := openServer(t, serverTLS)
	d := &Dialer{TLSConfig: clientTLS, OpenRecords: true}
	for i := range 4 {
		c, err := d.Dial(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		roundTrip(t, c)
		if resumed := c.NetConn().(*tls.Conn).ConnectionState().DidResume; resumed != (i > 0) {
			t.Errorf("connection %d: resumed %v", i, resumed)
		}
		if !c.TransportInfo().OpensRecords {
			t.Errorf("connection %d: %+v", i, c.TransportInfo())
		}
		if err := c.Shutdown(t.Context(), frame.CodeNormal, ""); err != nil {
			t.Error(err)
		}
	}
}

// Behind each kind of proxy the records of the target are opened here; those of an https
// proxy are crypto/tls's.
func TestOpenRecordsBehindAProxy(t *testing.T) {
	proxyCertificate, proxyRoots := certify(t, nil, "p")
	certificate, roots := certify(t, nil, "h")
	for _, kind := range []string{"http://p", "https://p:80", "socks5://u:p@p:80"} {
		w := &world{}
		proxy := connectProxy(w, "")
		switch {
		case strings.HasPrefix(kind, "socks"):
			proxy = socksProxy(w, "u", "p")
		case strings.HasPrefix(kind, "https"):
			proxy = overTLS(&tls.Config{Certificates: []tls.Certificate{proxyCertificate}}, proxy)
		}
		server := func(nc net.Conn) { (&Upgrader{}).serve(nc) }
		w.hosts = map[string]func(net.Conn){"p:80": proxy, "h:443": overTLS(&tls.Config{Certificates: []tls.Certificate{certificate}}, server)}
		d := &Dialer{NetDial: w.dial, Proxy: through(kind), TLSConfig: &tls.Config{RootCAs: roots}, ProxyTLSConfig: &tls.Config{RootCAs: proxyRoots}, OpenRecords: true}
		c, err := d.Dial(t.Context(), "wss://h/")
		if err != nil {
			t.Fatal(err)
		}
		if !c.TransportInfo().OpensRecords {
			t.Errorf("%s: %+v", kind, c.TransportInfo())
		}
		roundTrip(t, c)
		c.Close()
	}
}

// A Recorder gets the same bytes.
func TestOpenRecordsAreRecorded(t *testing.T) {
	var b bytes.Buffer
	recorder := NewRecorder(&b, 0)
	client, p := opened(t)
	c := New(client, frame.Client, &Config{KeepAlive: -1, Recorder: recorder})
	var wire []byte
	for i := range 50 {
		message := frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: Binary}, bytes.Repeat([]byte{byte(i)}, 37*i))
		wire = append(wire, message...)
		p.data(string(message))
		p.useless()
	}
	p.ends(t)
	for range 50 {
		if _, err := c.ReadMessage(); err != nil {
			t.Fatal(err)
		}
	}
	c.Close()
	if err := recorder.Close(); err != nil {
		t.Fatal(err)
	}
	var got []byte
	for _, r := range readAll(t, b.Bytes()) {
		if r.Kind == RecordData {
			got = append(got, r.Data...)
		}
	}
	if !bytes.Equal(got, wire) {
		t.Errorf("%d bytes were recorded of %d", len(got), len(wire))
	}
}

// Compressed messages and large ones, in every size of record that crypto/tls makes of them.
func TestOpenRecordsCompressed(t *testing.T) {
	serverTLS, clientTLS := testCertificate(t)
	clientTLS.ServerName = "localhost"
	a, b := loopback(t)
	served := make(chan error, 1)
	go func() {
		c, err := (&Upgrader{Config: Config{KeepAlive: -1, Deflate: &deflate.Config{}}}).Accept(tls.Server(b, serverTLS))
		if err == nil {
			err = echo(c)
		}
		served <- err
	}()
	d := Dialer{TLSConfig: clientTLS, OpenRecords: true, Config: Config{KeepAlive: -1, Deflate: &deflate.Config{}},
		NetDial: func(context.Context, string, string) (net.Conn, error) { return a, nil }}
	c, err := d.Dial(t.Context(), "wss://localhost")
	if err != nil {
		t.Fatal(err)
	}
	if c.packed == nil || !c.TransportInfo().OpensRecords {
		t.Fatalf("compressed %v, %+v", c.packed != nil, c.TransportInfo())
	}
	random := rand.New(rand.NewPCG(5, 5))
	for i, size := range []int{0, 1, 100, 1000, 5000, 16384, 65536, 300_000, 2_000_000, 10} {
		text := make([]byte, size)
		for j := range text {
			text[j] = 'a' + byte(random.UintN(1+uint(i%3)*12))
		}
		go c.WriteMessage(Text, text)
		m, err := c.ReadMessage()
		if err != nil || !bytes.Equal(m.Data, text) {
			t.Fatalf("%d bytes: %d came back, %v", size, len(m.Data), err)
		}
	}
	c.Close()
	<-served
}

const fipsEnv = "TICKWIRE_TEST_FIPS"

// FIPS 140-3 approves of no AES-GCM with nonces that are given: in a process with that
// mode crypto/tls opens the records.
func TestOpenRecordsUnderFIPS(t *testing.T) {
	if os.Getenv(fipsEnv) == "" {
		for _, mode := range []string{"on", "only"} {
			cmd := exec.Command(os.Args[0], "-test.run=^TestOpenRecordsUnderFIPS$", "-test.v")
			cmd.Env = append(os.Environ(), fipsEnv+"=1", "GODEBUG=fips140="+mode)
			out, err := cmd.CombinedOutput()
			if bytes.HasPrefix(out, []byte("panic: fips140: FIPS 140-3 mode is incompatible with ")) {
				t.Skipf("this build has no such mode: %s", out)
			}
			if err != nil {
				t.Fatalf("%s: %v\n%s", mode, err, out)
			}
			if !bytes.Contains(out, []byte("--- PASS: TestOpenRecordsUnderFIPS")) {
				t.Skipf("it did not run:\n%s", out)
			}
		}
		return
	}
	secureOpens = true
	defer func() { secureOpens = false }()
	a, b := netsim.Pipe(0) // such a process has no SHA-1, and so no opening handshake
	c, server := secureOver(t, a, b, Config{})
	defer c.Close()
	if i := c.TransportInfo(); i.OpensRecords || !strings.Contains(i.Why, "FIPS") {
		t.Errorf("%+v", i)
	}
	server.Write(frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: Text}, []byte("message")))
	wantMessage(t, c, Text, "message")
}
