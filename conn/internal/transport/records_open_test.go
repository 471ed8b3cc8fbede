package transport

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/conntest"
	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
)

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
		var outcomes [bothSides]conntest.Outcome
		for side := range bothSides {
			client, p, a := conntest.Puppets(t, side.client, conntest.SuiteOfScript(int(piece)), int(piece), func(p *conntest.Puppet) { p.Raw = true })
			s := &conntest.Play{Puppet: p, Rand: rand.New(rand.NewPCG(uint64(piece), 4))}
			s.Follow(script[:min(len(script), 80)])
			s.Ends(t)
			o := &outcomes[side]
			r, b, all := Readable(client), make([]byte, int(room)+1), []byte(nil)
			for {
				n, err := r.Read(b)
				if all = append(all, b[:n]...); err != nil {
					o.Got, o.Err = []string{string(all)}, conntest.DescribeError(err)
					break
				}
			}
			n, err := client.Write([]byte("is there someone?"))
			o.After = fmt.Sprint(n, conntest.DescribeError(err))
			a.Close()
			o.Peer = p.Drain()
			p.Conn.Close()
		}
		outcomes[ourTLS].Compare(t, outcomes[plainTLS])
	})
}

// The same for the bytes themselves, before there is a Conn, and for what can still be
// written behind the error.
func TestBytesOpenedLikeCryptoTLS(t *testing.T) {
	for script := range conntest.Scripts() {
		var outcomes [bothSides]conntest.Outcome
		for side := range bothSides {
			room := rand.New(rand.NewPCG(uint64(script), 1)).IntN(600) + 1
			if script%5 == 0 {
				room = 40000
			}
			outcomes[side] = conntest.PlayScript(t, side.client, script, func(p *conntest.Puppet) { p.Raw = true }, func(client *tls.Conn, a *netsim.Conn) (o conntest.Outcome) {
				r := Readable(client)
				p := make([]byte, room)
				var all []byte
				for {
					n, err := r.Read(p)
					all = append(all, p[:n]...)
					if err != nil {
						o.Err = conntest.DescribeError(err)
						break
					}
				}
				o.Got = []string{string(all)}
				n, err := client.Write([]byte("is there someone?"))
				o.After = fmt.Sprint(n, conntest.DescribeError(err))
				client.CloseWrite()
				return o
			})
		}
		t.Run(conntest.ScriptName(script), func(t *testing.T) { outcomes[ourTLS].Compare(t, outcomes[plainTLS]) })
	}
}

// readsAll reads what a puppet has sent to its end, and returns it with the error.
func readsAll(client *tls.Conn) (string, error) {
	b, err := io.ReadAll(Readable(client))
	return string(b), err
}

// With a new key both counters begin at 0. The first record sent once more is refused,
// though the tls.Conn below, which waits for the first, has seen none of it.
func TestTrapFirstRecordTwice(t *testing.T) {
	for name, before := range map[string]func(p *conntest.Play){
		"first key": func(p *conntest.Play) {},
		"next key":  func(p *conntest.Play) { p.Data(""); p.Update(0) },
		"asked":     func(p *conntest.Play) { p.Data(""); p.Update(1) },
	} {
		client, p := conntest.Opened(t, ourTLS.client)
		before(p)
		p.Data("once")
		p.Data(" more")
		p.Put(p.Sent[len(p.Sent)-2])
		p.Ends(t)
		got, err := readsAll(client)
		if got != "once more" || err == nil || err.Error() != "local error: tls: bad record MAC" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// crypto/tls refuses the seventeenth record without data in a row, so it has to learn of
// the data between them.
func TestTrapUselessRecordsAmongData(t *testing.T) {
	for name, useless := range map[string]func(p *conntest.Play){
		"tickets":       func(p *conntest.Play) { p.Inner(22, conntest.NewTicket(30), 0) },
		"key updates":   func(p *conntest.Play) { p.Update(0) },
		"asked updates": func(p *conntest.Play) { p.Update(1) },
		"CCS":           func(p *conntest.Play) { p.Put([]byte{20, 3, 3, 0, 1, 1}) },
		"empty":         func(p *conntest.Play) { p.Inner(23, nil, 0) },
		"warnings":      func(p *conntest.Play) { p.Inner(21, []byte{1, 90}, 0) },
	} {
		for _, each := range []int{1, 5, 16} {
			client, p := conntest.Opened(t, ourTLS.client)
			want := ""
			for i := range 60 {
				for range each {
					useless(p)
				}
				p.Data(fmt.Sprint(i))
				want += fmt.Sprint(i)
			}
			p.Ends(t)
			if got, err := readsAll(client); got != want || err != nil {
				t.Errorf("%s, %d in a row: %q, %v", name, each, got, err)
			}
		}
		client, p := conntest.Opened(t, ourTLS.client)
		p.Data("x")
		for range 17 {
			useless(p)
		}
		p.Data("y")
		p.Ends(t)
		if got, err := readsAll(client); got != "x" || err == nil || !strings.Contains(err.Error(), "too many") {
			t.Errorf("17 %s in a row: %q, %v", name, got, err)
		}
	}
}

// The one difference that may stay: crypto/tls alone looks for an alert that is not
// protected before it returns data. With records opened here the data comes first; the
// error is the same.
func TestTrapUnprotectedAlert(t *testing.T) {
	for side := range bothSides {
		client, p, a := conntest.Puppets(t, side.client, tls.TLS_AES_128_GCM_SHA256, 0, nil)
		s := &conntest.Play{Puppet: p}
		s.Data("data")
		s.Put([]byte{21, 3, 3, 0, 2, 2, 40})
		s.Ends(t)
		if got, err := readsAll(client); got != "data" || err == nil || err.Error() != "local error: tls: bad record MAC" {
			t.Errorf("side %d: %q, %v", side, got, err)
		}
		a.Close()
		p.Conn.Close()
	}
}

// Nothing that was sealed for the tls.Conn is ever written: all that leaves the process
// is what the client's own key opens, and nothing that the server's does.
func TestNothingSealedHereIsWritten(t *testing.T) {
	for script := range conntest.Ends() {
		var wire bytes.Buffer
		a, b := netsim.Pipe(4 << 20)
		p := conntest.NewPuppet(b, conntest.SuiteOfScript(script))
		p.Raw = true
		shaken := make(chan error, 1)
		go func() { shaken <- p.Handshake() }()
		client, err := ourTLS.client(&writesKept{a, &wire})
		if err := errors.Join(err, <-shaken); err != nil {
			t.Fatal(err)
		}
		wire.Reset() // the handshake's
		first := p.Out
		if err := conntest.Perform(p, script); err != nil {
			t.Fatal(err)
		}
		b.CloseWrite()
		r := Readable(client)
		for room := make([]byte, 500); ; {
			if n, err := r.Read(room); n > 0 {
				client.Write(room[:n])
			} else if err != nil {
				break
			}
		}
		client.CloseWrite()
		a.Close()
		said := p.Drain()
		b.Close()
		if last := said[len(said)-1]; last != "end: EOF" {
			t.Errorf("%s: the client's records do not open: %s", conntest.ScriptName(script), last)
		}
		keys := []conntest.PuppetHalf{first}
		for range 25 {
			first.Update()
			keys = append(keys, first)
		}
		for stream := wire.Bytes(); len(stream) > 0; {
			n := 5 + int(binary.BigEndian.Uint16(stream[3:]))
			for _, k := range keys {
				for k.Seq = 0; k.Seq < 64; {
					if _, _, err := k.Open(stream[:n]); err == nil {
						t.Fatalf("%s: a record of the server's key was written", conntest.ScriptName(script))
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
		stream = append(stream, conntest.Long(22, n)...)
		ends[len(stream)] = true
	}
	for _, room := range []int{1, 517, 1000, 70000} {
		a, b := netsim.Pipe(1 << 20)
		r := under(a)
		r.OpenLater(new(tls.Config))
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
		r.freeBuffer()
	}
}

// What comes with the server's Finished, in the same record, is as wrong here as for
// crypto/tls.
func TestTrapBytesWithFinished(t *testing.T) {
	for _, behind := range [][]byte{{4}, {4, 0, 0, 50, 1, 2}, conntest.NewTicket(9), conntest.KeyUpdate(0), {24, 0, 0}} {
		var outcomes [bothSides]conntest.Outcome
		for side := range bothSides {
			a, b := netsim.Pipe(1 << 20)
			p := conntest.NewPuppet(b, tls.TLS_AES_128_GCM_SHA256)
			p.Behind = behind
			p.Early = func(s *conntest.Play) { s.Data("x"); s.Update(0); s.Data("y") }
			go func() {
				p.Handshake()
				b.CloseWrite()
			}()
			client, err := side.client(a)
			o := &outcomes[side]
			if err == nil {
				var got string
				got, err = readsAll(client)
				o.Got = []string{got}
			}
			o.Err = conntest.DescribeError(err)
			a.Close()
			b.Close()
		}
		outcomes[ourTLS].Compare(t, outcomes[plainTLS])
	}
}

// readsAhead stands for a crypto/tls that reads more than it needs: it takes all that has
// come.
type readsAhead struct {
	*Records
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
	n, err := r.Records.Read(p)
	if err == nil && r.on && r.pos < r.end {
		more := make([]byte, r.most)
		k, _ := r.Records.Read(more)
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
			p := conntest.NewPuppet(b, tls.TLS_AES_128_GCM_SHA256)
			p.Early = func(s *conntest.Play) {
				s.Data("first " + strings.Repeat("x", size))
				s.Inner(22, conntest.NewTicket(9), 0)
				s.Data("second ")
				s.Update(0)
				s.Data("third")
			}
			go func() {
				p.Handshake()
				b.CloseWrite()
			}()
			cfg := conntest.PuppetClient()
			r := under(a)
			r.OpenLater(cfg)
			ahead := &readsAhead{Records: r, most: most}
			client := tls.Client(ahead, cfg)
			ahead.on = true
			if err := client.Handshake(); err != nil {
				t.Fatal(err)
			}
			err := r.OpenNow(client)
			var source io.Reader = client
			if r.Opens() {
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
			if r.Opens() && len(got) > 0 {
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
	for name, script := range map[string]func(s *conntest.Play){
		"forged records": func(s *conntest.Play) {
			s.Put([]byte{0x17, 3, 3, 0x41, 0})
			s.Data("one ")
			for range 50 {
				s.Spoiled(-1)
			}
			s.Data("two ")
			s.Inner(21, []byte{1, 0}, 0)
			s.Data("three")
		},
		"close_notify": func(s *conntest.Play) {
			s.Put([]byte{0x17, 3, 3, 0x41, 0})
			s.Data("one ")
			s.Inner(21, []byte{1, 0}, 0)
			s.Data("two")
		},
		"data": func(s *conntest.Play) { s.Data("one "); s.Data("two") },
	} {
		var outcomes [bothSides]conntest.Outcome
		for side := range bothSides {
			a, b := netsim.Pipe(4 << 20)
			p := conntest.NewPuppet(&oldVersion{Conn: b}, tls.TLS_AES_128_GCM_SHA256)
			p.Early = script
			go func() {
				p.Handshake()
				b.CloseWrite()
			}()
			client, err := side.client(a)
			if err != nil && !(side == ourTLS && err.Error() == "crypto/tls has read on") {
				t.Fatal(err)
			}
			got, err := readsAll(client)
			outcomes[side] = conntest.Outcome{Got: []string{got}, Err: conntest.DescribeError(err)}
			a.Close()
			b.Close()
		}
		t.Run(name, func(t *testing.T) { outcomes[ourTLS].Compare(t, outcomes[plainTLS]) })
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
	for name, bad := range map[string]func(p *conntest.Play){
		"forged": func(p *conntest.Play) { p.Spoiled(-1) },
		"header": func(p *conntest.Play) { p.Put(conntest.Long(23, 17<<10)) },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := netsim.Pipe(4 << 20)
			defer a.Close()
			defer b.Close()
			p := conntest.NewPuppet(b, tls.TLS_AES_128_GCM_SHA256)
			shaken := make(chan error, 1)
			go func() { shaken <- p.Handshake() }()
			cfg := conntest.PuppetClient()
			r := under(a)
			r.OpenLater(cfg)
			holds := &holdsPart{Records: r}
			client := tls.Client(holds, cfg)
			if err := errors.Join(client.Handshake(), <-shaken, r.OpenNow(client)); err != nil || !r.Opens() {
				t.Fatal(err)
			}
			holds.part = []byte{0x17, 3, 3, 0x41, 0} // what it gets from now on is the rest of a long record
			s := &conntest.Play{Puppet: p, Rand: rand.New(rand.NewPCG(1, 1))}
			s.Data("one ")
			bad(s)
			s.Data("two")
			s.Ends(t)
			if got, err := io.ReadAll(&ownReader{client, r}); string(got) != "one " || !errors.Is(err, errOutOfStep) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// holdsPart stands for a crypto/tls that has read part of a record.
type holdsPart struct {
	*Records
	part []byte
}

func (h *holdsPart) Read(p []byte) (int, error) {
	if n := copy(p, h.part); n > 0 {
		h.part = h.part[n:]
		return n, nil
	}
	return h.Records.Read(p)
}

// A conntest.KeyUpdate that asks for no answer is followed, whatever happens to writes at
// that time.
func TestKeyUpdateBesideWritesThatFail(t *testing.T) {
	client, p := conntest.Opened(t, ourTLS.client)
	want := ""
	for i := range 200 {
		p.Update(0)
		text := fmt.Sprint(i, " ")
		p.Data(text)
		want += text
	}
	p.Ends(t)
	r := client.NetConn().(*Records)
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
	client, p := conntest.Opened(t, ourTLS.client)
	p.Inner(21, []byte{1, 0}, 0)
	p.Send(t)
	r := Readable(client)
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
	client, p := conntest.Opened(t, ourTLS.client)
	p.Text("cut")
	record := slices.Clone(p.Sent[0])
	p.Bytes = p.Bytes[:len(p.Bytes)-3]
	p.Ends(t)
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
	for name, bad := range map[string]func(p *conntest.Play){
		"a Finished":   func(p *conntest.Play) { p.Inner(22, append([]byte{20, 0, 0, 32}, make([]byte, 32)...), 0) },
		"a spoiled":    func(p *conntest.Play) { p.Spoiled(-1) },
		"close_notify": func(p *conntest.Play) { p.Inner(21, []byte{1, 0}, 0) },
	} {
		client, p := conntest.Opened(t, ourTLS.client)
		p.Data("x")
		bad(p)
		p.Data("y")
		p.Ends(t)
		r := Readable(client)
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

// An answer to a conntest.KeyUpdate that cannot be written has crypto/tls keep the old
// key, and so do we.
func TestKeyUpdateThatCannotBeAnswered(t *testing.T) {
	var outcomes [bothSides]conntest.Outcome
	for side := range bothSides {
		client, p, a := conntest.Puppets(t, side.client, tls.TLS_AES_128_GCM_SHA256, 0, nil)
		s := &conntest.Play{Puppet: p}
		s.Data("old ")
		s.Inner(22, conntest.KeyUpdate(1), 0)
		s.Data("still old ")
		s.Inner(22, conntest.NewTicket(5), 0)
		p.Out.Update()
		s.Data("new")
		s.Ends(t)
		a.Script(func(op netsim.Op, _, _ int) netsim.Step {
			if op == netsim.Write {
				return netsim.Step{Max: -1, Err: errors.New("no")}
			}
			return netsim.Step{}
		})
		got, err := readsAll(client)
		outcomes[side] = conntest.Outcome{Got: []string{got}, Err: conntest.DescribeError(err)}
		a.Close()
		p.Conn.Close()
	}
	outcomes[ourTLS].Compare(t, outcomes[plainTLS])
	if outcomes[plainTLS].Got[0] != "old still old " {
		t.Errorf("crypto/tls alone: %q", outcomes[plainTLS].Got)
	}
}

// Behind the handshake nothing has the secret but the opener.
func TestKeysAreForgotten(t *testing.T) {
	client, _ := conntest.Opened(t, ourTLS.client)
	if secret := client.NetConn().(*Records).own.keys.Secret(); len(secret) != 0 {
		t.Error("the secret was kept in the key log")
	}
}
