package tls13

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A sender seals records as a server does.
type sender struct {
	suite  suite
	secret []byte
	keys   keys
	seq    uint64
}

func newSender(t testing.TB, id uint16) (*sender, *Opener) {
	t.Helper()
	s, err := suiteOf(id)
	if err != nil {
		t.Fatal(err)
	}
	secret := bytes.Repeat([]byte{7}, s.size)
	o, err := New(id, secret)
	if err != nil {
		t.Fatal(err)
	}
	k, err := s.keys(secret)
	if err != nil {
		t.Fatal(err)
	}
	return &sender{s, secret, k, 0}, o
}

// record returns a record of the outer type with the content, its type and padding.
func (s *sender) record(outer, kind byte, content []byte, padding int) []byte {
	inner := append(append(slices.Clone(content), kind), make([]byte, padding)...)
	return s.raw(outer, inner)
}

func (s *sender) raw(outer byte, inner []byte) []byte {
	header := []byte{outer, 3, 3, 0, 0}
	binary.BigEndian.PutUint16(header[3:], uint16(len(inner)+tagSize))
	var nonce [nonceSize]byte
	b := s.keys.aead.Seal(slices.Clone(header), s.keys.nonce(&nonce, s.seq), inner, header)
	s.seq++
	return b
}

// update moves on to the next key.
func (s *sender) update(t testing.TB) {
	t.Helper()
	var err error
	if s.secret, err = s.suite.next(s.secret); err == nil {
		s.keys, err = s.suite.keys(s.secret)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.seq = 0
}

// below is where a tls.Conn is: what it is given has to be the record that it waits for.
type below struct{ sender }

func (b *below) open(t testing.TB, record []byte) ([]byte, byte) {
	t.Helper()
	var nonce [nonceSize]byte
	inner, err := b.keys.aead.Open(nil, b.keys.nonce(&nonce, b.seq), record[HeaderSize:], record[:HeaderSize])
	if err != nil {
		t.Fatalf("record %d for the tls.Conn cannot be opened", b.seq)
	}
	b.seq++
	content, kind := split(inner)
	return content, kind
}

// RFC 8448 §3 has the keys that follow from a secret.
func TestKeysOfRFC8448(t *testing.T) {
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	secret := unhex("a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643")
	s, _ := suiteOf(tls.TLS_AES_128_GCM_SHA256)
	key, err := s.expand(secret, "key", s.keySize)
	if want := unhex("9f02283b6c9c07efc26bb9f2ac92e356"); err != nil || !bytes.Equal(key, want) {
		t.Errorf("the key is %x, want %x (%v)", key, want, err)
	}
	k, err := s.keys(secret)
	if err != nil {
		t.Fatal(err)
	}
	var nonce [nonceSize]byte
	if got, want := k.nonce(&nonce, 0), unhex("cf782b88dd83549aadf1e984"); !bytes.Equal(got, want) {
		t.Errorf("the first nonce is %x, want %x", got, want)
	}
	if got, want := k.nonce(&nonce, 0x0102), unhex("cf782b88dd83549aadf1e886"); !bytes.Equal(got, want) {
		t.Errorf("the nonce of 0x0102 is %x, want %x", got, want)
	}
	// The server's record with 50 bytes of data, 0 to 49, is its second: the first is a
	// ticket.
	want := unhex("170303004 32e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb501a59a8fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d")
	o, err := New(tls.TLS_AES_128_GCM_SHA256, secret)
	if err != nil {
		t.Fatal(err)
	}
	o.seq = 1
	data, _ := o.Open(nil, want)
	if len(data) != 50 || data[0] != 0 || data[49] != 49 {
		t.Errorf("opened: %x", data)
	}
}

func TestKeyLog(t *testing.T) {
	secret := strings.Repeat("0a1B", 16)
	var own bytes.Buffer
	k := &KeyLog{To: &own}
	lines := []string{
		"SERVER_HANDSHAKE_TRAFFIC_SECRET 0011 " + strings.Repeat("ff", 32) + "\n",
		"SERVER_TRAFFIC_SECRET_0 0011 " + secret + "\n",
		"CLIENT_TRAFFIC_SECRET_0 0011 " + strings.Repeat("ee", 32) + "\n",
		"SERVER_TRAFFIC_SECRET_1 0011 " + strings.Repeat("dd", 32) + "\n",
	}
	for _, line := range lines {
		if n, err := k.Write([]byte(line)); n != len(line) || err != nil {
			t.Error(n, err)
		}
	}
	if own.String() != strings.Join(lines, "") {
		t.Errorf("the caller's own writer got %q", own.String())
	}
	if want, _ := hex.DecodeString(secret); !bytes.Equal(k.Secret(), want) {
		t.Errorf("the secret is %x, want %x", k.Secret(), want)
	}
	if k.Forget(); len(k.Secret()) != 0 || k.secret != [maxSecret]byte{} {
		t.Error("the secret stays")
	}
	for _, bad := range []string{
		"SERVER_TRAFFIC_SECRET_0 \n", "SERVER_TRAFFIC_SECRET_0 00\n", "SERVER_TRAFFIC_SECRET_0 00 xyz\n", "SERVER_TRAFFIC_SECRET_0 00 abc\n",
		"SERVER_TRAFFIC_SECRET_0 00 " + strings.Repeat("00", 49) + "\n", "",
	} {
		k.Write([]byte(lines[1]))
		k.Write([]byte(bad))
		if _, err := New(tls.TLS_AES_128_GCM_SHA256, k.Secret()); bad != "" && err == nil {
			t.Errorf("%q gave a secret", bad)
		}
	}
	failing := &KeyLog{To: failingWriter{}}
	if _, err := failing.Write([]byte(lines[1])); err != errFailing || len(failing.Secret()) != 32 {
		t.Errorf("%v, %d bytes", err, len(failing.Secret()))
	}
}

var errFailing = errors.New("failing")

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errFailing }

func TestNewRefuses(t *testing.T) {
	for _, tt := range []struct {
		id   uint16
		size int
		want string
	}{
		{tls.TLS_CHACHA20_POLY1305_SHA256, 32, "TLS_CHACHA20_POLY1305_SHA256"},
		{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, 32, "TLS_ECDHE_RSA"},
		{tls.TLS_AES_128_GCM_SHA256, 0, "no secret"},
		{tls.TLS_AES_128_GCM_SHA256, 48, "no secret"},
		{tls.TLS_AES_256_GCM_SHA384, 32, "no secret"},
	} {
		if _, err := New(tt.id, make([]byte, tt.size)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%#x with %d bytes: %v", tt.id, tt.size, err)
		}
	}
}

// Every length, with every cut that can matter.
func TestSpan(t *testing.T) {
	b := make([]byte, HeaderSize+maxBody+10)
	for n := range 1 << 16 {
		copy(b, []byte{typeData, 3, 3, byte(n >> 8), byte(n)})
		for _, have := range []int{0, 1, 4, 5, 6, HeaderSize + n - 1, HeaderSize + n, HeaderSize + n + 1, len(b)} {
			have = min(have, len(b))
			want := 0
			switch {
			case have < HeaderSize:
			case n > maxBody:
				want = HeaderSize
			case have >= HeaderSize+n:
				want = HeaderSize + n
			}
			if got := Span(b[:have]); got != want {
				t.Fatalf("a record of %d bytes, %d of which are here: %d, want %d", HeaderSize+n, have, got, want)
			}
		}
	}
	for _, version := range [][2]byte{{3, 1}, {3, 4}, {2, 3}, {0, 0}} {
		if got := Span([]byte{typeData, version[0], version[1], 0, 100}); got != HeaderSize {
			t.Errorf("version %x: %d", version, got)
		}
	}
}

// FuzzSpan compares with a plain reading of the header, and goes over the input as a
// stream of records, cut at will.
func FuzzSpan(f *testing.F) {
	f.Add([]byte{23, 3, 3, 0, 2, 1, 2, 23, 3, 3, 0, 0, 20, 3, 3, 0, 1, 1}, uint8(3))
	f.Add([]byte{23, 3, 3, 65, 1}, uint8(5))
	f.Fuzz(func(t *testing.T, b []byte, cut uint8) {
		spans := func(step int) (all []int) {
			for at, have := 0, 0; at < len(b); {
				n := Span(b[at:have])
				if n == 0 {
					if have == len(b) {
						break
					}
					have = min(have+step, len(b))
					continue
				}
				if n < HeaderSize || n > HeaderSize+maxBody || at+n > have {
					t.Fatalf("%d at %d of %d", n, at, have)
				}
				all = append(all, n)
				at += n
			}
			return all
		}
		if whole, cut := spans(len(b)), spans(int(cut)+1); !slices.Equal(whole, cut) {
			t.Fatalf("%v whole, %v cut", whole, cut)
		}
	})
}

// updatesIn counts the KeyUpdates of whole handshake messages, and tells whether a
// message is left open.
func updatesIn(b []byte) (n int, open bool) {
	for len(b) >= 4 {
		size := 4 + int(b[1])<<16 + int(b[2])<<8 + int(b[3])
		if len(b) < size {
			return n, true
		}
		if b[0] == typeKeyUpdate {
			n++
		}
		b = b[size:]
	}
	return n, len(b) > 0
}

var ticket = append([]byte{4, 0, 1, 44}, make([]byte, 300)...)

func TestMessagesCutAnywhere(t *testing.T) {
	update := []byte{typeKeyUpdate, 0, 0, 1, 0}
	stream := slices.Concat(ticket, update, []byte{4, 0, 0, 0}, update, ticket[:200])
	for a := range stream {
		for _, b := range []int{a, a + 1, a + 3, a + 4, a + 5, len(stream)} {
			b = min(b, len(stream))
			var m messages
			for i, piece := range [][]byte{stream[:a], stream[a:b], stream[b:]} {
				before, _ := updatesIn(stream[:[]int{0, a, b}[i]])
				after, open := updatesIn(stream[:[]int{a, b, len(stream)}[i]])
				if got, _ := m.walk(piece); got != after-before {
					t.Fatalf("cut at %d and %d: piece %d has %d updates, want %d", a, b, i, got, after-before)
				}
				if m.incomplete() != open {
					t.Fatalf("cut at %d and %d: behind piece %d midway is %v", a, b, i, !open)
				}
			}
		}
	}
}

// A length has 24 bits: crypto/tls takes a message of 65,536 bytes.
func TestLongMessage(t *testing.T) {
	var m messages
	n, _ := m.walk([]byte{4, 1, 0, 0})
	for range 1 << 10 {
		k, _ := m.walk(bytes.Repeat([]byte{typeKeyUpdate}, 64))
		n += k
	}
	if n != 0 || m.incomplete() {
		t.Errorf("%d updates, midway %v", n, m.incomplete())
	}
}

// A KeyUpdate asks for an answer if its body is 1, wherever records cut it.
func TestUpdatesThatAsk(t *testing.T) {
	for body := range byte(3) {
		for cut := range 6 {
			var m messages
			stream := []byte{typeKeyUpdate, 0, 0, 1, body}
			_, first := m.walk(stream[:cut])
			_, second := m.walk(stream[cut:])
			if asks := first || second; asks != (body == updateRequested) {
				t.Errorf("%d, cut at %d: %v", body, cut, asks)
			}
		}
	}
}

// FuzzMessages walks over a stream of handshake messages in pieces.
func FuzzMessages(f *testing.F) {
	f.Add(slices.Concat(ticket, []byte{24, 0, 0, 1, 1}, ticket[:9]), uint8(7))
	f.Add([]byte{24, 0, 0, 0, 24, 255, 255, 255, 24, 0}, uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		var m messages
		n := 0
		for at := 0; at < len(b); at += int(step) + 1 {
			k, _ := m.walk(b[at:min(at+int(step)+1, len(b))])
			n += k
		}
		if want, open := updatesIn(b); n != want || m.incomplete() != open {
			t.Fatalf("%d updates, open %v; want %d, %v", n, m.incomplete(), want, open)
		}
	})
}

func eachSuite(t *testing.T, f func(t *testing.T, s *sender, o *Opener, below *below)) {
	for _, id := range []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384} {
		t.Run(tls.CipherSuiteName(id), func(t *testing.T) {
			s, o := newSender(t, id)
			f(t, s, o, &below{*s})
		})
	}
}

// Data of every length around where it fits dst goes there, and otherwise stays in the
// record; and nothing behind the record's own bytes is touched, nor other memory taken.
func TestOpenStaysInItsMemory(t *testing.T) {
	eachSuite(t, func(t *testing.T, s *sender, o *Opener, _ *below) {
		for _, n := range []int{1, 2, 15, 16, 17, 200, 1000, maxData} {
			for _, padding := range []int{0, 1, 33} {
				padding = min(padding, maxData-n)
				size := n + 1 + padding
				for _, room := range []int{0, 1, n - 1, n, size - 1, size, size + 1, size + 100} {
					content := bytes.Repeat([]byte{byte(n) | 1}, n)
					record := s.record(typeData, typeData, content, padding)
					memory := bytes.Repeat([]byte{0xee}, size+200)
					behind := append(record, 0xee, 0xee, 0xee)
					data, whole := o.Open(memory[:room], behind[:len(record)])
					if !bytes.Equal(data, content) || whole != (room >= size) || cap(data) != len(data) {
						t.Fatalf("%d bytes, padding %d, room for %d: %d bytes with room for %d, whole %v", n, padding, room, len(data), cap(data), whole)
					}
					into := &behind[HeaderSize]
					untouched := memory
					if whole {
						into, untouched = &memory[0], memory[size:]
					}
					if &data[0] != into {
						t.Fatalf("%d bytes, padding %d, room for %d: in other memory", n, padding, room)
					}
					for _, b := range append(untouched, behind[len(record):]...) {
						if b != 0xee {
							t.Fatalf("%d bytes, padding %d, room for %d: written past the record", n, padding, room)
						}
					}
				}
			}
		}
	})
}

// What is not data becomes the record that the tls.Conn waits for, however much data was
// opened before.
func TestOtherRecordsAreSealedAgain(t *testing.T) {
	eachSuite(t, func(t *testing.T, s *sender, o *Opener, below *below) {
		for i, tt := range []struct {
			kind    byte
			content []byte
			padding int
		}{
			{typeHandshake, ticket, 0}, {typeHandshake, ticket, 100}, {21, []byte{1, 90}, 0}, {typeData, nil, 0}, {typeData, nil, 500}, {0, nil, 0}, {99, []byte("?"), 3},
		} {
			for _, room := range []int{0, 5, 20000} {
				for range i {
					if data, _ := o.Open(make([]byte, 100), s.record(typeData, typeData, []byte("data"), 0)); string(data) != "data" {
						t.Fatalf("%q", data)
					}
				}
				record := s.record(typeData, tt.kind, tt.content, tt.padding)
				size := len(record)
				dst := make([]byte, room)
				if data, _ := o.Open(dst, record); data != nil {
					t.Fatalf("%q is data", data)
				}
				for _, b := range dst {
					if b != 0 {
						t.Fatal("what is not data stays in dst")
					}
				}
				mark, other := o.Pending()
				if due := i > 0; (mark != nil) != due {
					t.Fatalf("record %d: a mark %v", i, mark != nil)
				}
				if mark != nil {
					if content, kind := below.open(t, mark); len(content) != 1 || kind != typeData {
						t.Fatalf("a mark of type %d with %q", kind, content)
					}
				}
				content, kind := below.open(t, other)
				if kind != tt.kind || !bytes.Equal(content, tt.content) || len(other) != size {
					t.Fatalf("type %d with %q in %d bytes, want %d with %q in %d", kind, content, len(other), tt.kind, tt.content, size)
				}
				if err := o.Passed(true); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// A record that cannot be opened moves no count, and nothing of it reaches dst; the
// tls.Conn gets one that it cannot open.
func TestBadRecords(t *testing.T) {
	eachSuite(t, func(t *testing.T, s *sender, o *Opener, below *below) {
		good := s.record(typeData, typeData, []byte("some data"), 0)
		next := s.record(typeData, typeData, []byte("and more"), 0)
		var bad [][]byte
		for i := range good {
			if i == 1 || i == 2 || i == 3 || i == 4 || i == 0 {
				continue
			}
			b := slices.Clone(good)
			b[i] ^= 0x40
			bad = append(bad, b)
		}
		other := slices.Clone(good)
		other[0] = 22 // it is authenticated
		bad = append(bad, other, next, []byte{23, 3, 3, 0, 0}, append([]byte{23, 3, 3, 0, 15}, make([]byte, 15)...), append([]byte{23, 3, 3, 0, 16}, make([]byte, 16)...))
		for i, b := range bad {
			dst := bytes.Repeat([]byte{0}, 100)
			if data, _ := o.Open(dst, slices.Clone(b)); data != nil {
				t.Fatalf("%d: %q", i, data)
			}
			if !bytes.Equal(dst, make([]byte, 100)) {
				t.Fatalf("%d: %q stays", i, dst)
			}
			_, pending := o.Pending()
			for _, seq := range []uint64{0, 1, 2} {
				var nonce [nonceSize]byte
				if inner, err := below.keys.aead.Open(nil, below.keys.nonce(&nonce, seq), pending[HeaderSize:], pending[:HeaderSize]); err == nil {
					t.Fatalf("%d: the tls.Conn gets %q", i, inner)
				}
			}
			if o.seq != 0 || o.below != 0 {
				t.Fatalf("%d: the counts are %d and %d", i, o.seq, o.below)
			}
		}
		if data, _ := o.Open(nil, good); string(data) != "some data" {
			t.Errorf("then %q", data)
		}
	})
}

// A KeyUpdate moves both on, once the tls.Conn has followed; and not if it has not.
func TestKeyUpdate(t *testing.T) {
	eachSuite(t, func(t *testing.T, s *sender, o *Opener, below *below) {
		for round := range 3 {
			for range round {
				o.Open(nil, s.record(typeData, typeData, []byte("x"), 0))
			}
			for i, piece := range [][]byte{{24, 0}, {0, 1}, {0}} {
				if data, _ := o.Open(nil, s.record(typeData, typeHandshake, piece, i)); data != nil {
					t.Fatal("data")
				}
				if mark, other := o.Pending(); mark != nil {
					below.open(t, mark)
					below.open(t, other)
				} else {
					below.open(t, other)
				}
				if err := o.Passed(true); err != nil {
					t.Fatal(err)
				}
			}
			s.update(t)
			below.update(t)
			if o.seq != 0 || o.below != 0 {
				t.Fatalf("counts of %d and %d", o.seq, o.below)
			}
			if data, _ := o.Open(nil, s.record(typeData, typeData, []byte("new"), 0)); string(data) != "new" {
				t.Fatalf("round %d: %q", round, data)
			}
		}
		o.Open(nil, s.record(typeData, typeHandshake, []byte{24, 0, 0, 1, 1}, 0))
		o.Passed(false)
		if data, _ := o.Open(nil, s.record(typeData, typeData, []byte("old"), 0)); string(data) != "old" {
			t.Errorf("without following: %q", data)
		}
	})
}

// Data within a handshake message is the tls.Conn's to refuse.
func TestDataWithinAMessage(t *testing.T) {
	s, o := newSender(t, tls.TLS_AES_128_GCM_SHA256)
	o.Open(nil, s.record(typeData, typeHandshake, ticket[:3], 0))
	o.Passed(true)
	if data, _ := o.Open(nil, s.record(typeData, typeData, []byte("x"), 0)); data != nil {
		t.Errorf("%q", data)
	}
	if mark, other := o.Pending(); mark != nil || other == nil {
		t.Error("a mark in front of it")
	}
}

// Lengths: the most that crypto/tls takes, with padding, and one more.
func TestLongestRecords(t *testing.T) {
	s, o := newSender(t, tls.TLS_AES_128_GCM_SHA256)
	for _, tt := range []struct {
		data, padding int
		ok            bool
	}{{maxData, 0, true}, {maxData - 1, 1, true}, {1, maxData - 1, true}, {maxData, 1, false}, {maxData + 1, 0, false}, {1, maxData, false}, {maxData + 239, 0, false}} {
		data, _ := o.Open(nil, s.record(typeData, typeData, make([]byte, tt.data), tt.padding))
		if ok := data != nil; ok != tt.ok || ok && len(data) != tt.data {
			t.Errorf("%d bytes and padding of %d: %d", tt.data, tt.padding, len(data))
		}
	}
}

// What crypto/tls refuses at its header is given to it as no more than that; what is not
// protected as it is.
func TestRecordsLeftAsTheyAre(t *testing.T) {
	_, o := newSender(t, tls.TLS_AES_128_GCM_SHA256)
	for _, b := range [][]byte{{23, 3, 1, 0, 40}, {23, 3, 3, 65, 1}, {20, 3, 3, 0, 1, 1}, {20, 3, 3, 0, 0}} {
		if data, _ := o.Open(nil, slices.Clone(b)); data != nil {
			t.Error("data")
		}
		if _, other := o.Pending(); !bytes.Equal(other, b) {
			t.Errorf("%x of %x", other, b)
		}
	}
}

func TestAllocations(t *testing.T) {
	for _, size := range []int{60, 200, 1000, maxData} {
		s, o := newSender(t, tls.TLS_AES_128_GCM_SHA256)
		record := s.record(typeData, typeData, make([]byte, size), 0)
		again := slices.Clone(record)
		for _, room := range []int{0, maxData + 1} {
			dst := make([]byte, room)
			if n := testing.AllocsPerRun(100, func() {
				copy(again, record)
				o.seq = 0
				if data, _ := o.Open(dst, again); len(data) != size {
					t.Fatal(len(data))
				}
			}); n != 0 {
				t.Errorf("%d bytes, room for %d: %v allocations for a record", size, room, n)
			}
		}
	}
	s, o := newSender(t, tls.TLS_AES_128_GCM_SHA256)
	record := s.record(typeData, typeHandshake, ticket, 0)
	again := slices.Clone(record)
	if n := testing.AllocsPerRun(100, func() {
		copy(again, record)
		o.seq = 0
		o.Open(nil, again)
		o.Passed(true)
	}); n != 0 {
		t.Errorf("%v allocations for a ticket", n)
	}
}

func TestForget(t *testing.T) {
	_, o := newSender(t, tls.TLS_AES_256_GCM_SHA384)
	secret := o.secret
	if o.Forget(); !bytes.Equal(secret, make([]byte, 48)) || o.keys.aead != nil || o.keys.iv != 0 {
		t.Error("the secret or the key stays")
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, size := range []int{60, 200, 1000, 16000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s, o := newSender(b, tls.TLS_AES_128_GCM_SHA256)
			record := s.record(typeData, typeData, make([]byte, size), 0)
			dst := make([]byte, len(record))
			b.ReportAllocs()
			for b.Loop() {
				o.seq = 0
				o.Open(dst, record)
			}
		})
	}
}
