package frame

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		Continuation.String(): "continuation", Text.String(): "text", Binary.String(): "binary", Close.String(): "close",
		Ping.String(): "ping", Pong.String(): "pong", Opcode(0xB).String(): "opcode 0xb",
		Client.String(): "client", Server.String(): "server",
		CodeGoingAway.String(): "1001 (going away)", CloseCode(4321).String(): "4321",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestProtocolErrorTellsAll(t *testing.T) {
	r := NewReader(bytes.NewReader(wire(Client, data(Text, true, "ok"), data(Text, true, "bad \xff text"))), Client, Options{})
	r.Next()
	_, err := r.Next()
	const want = "frame: invalid UTF-8 (RFC 6455 §8.1) at byte 10 in a text frame of 10 bytes"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if !errors.Is(err, ErrInvalidUTF8) || errors.Is(err, ErrTruncatedUTF8) || errors.Is(err, ErrControlPayload) {
		t.Error("errors.Is confuses the rules")
	}
}

func TestParseClose(t *testing.T) {
	for _, tt := range []struct {
		body   string
		code   CloseCode
		reason string
		err    error
	}{
		{"", CodeNoStatus, "", nil},
		{"\x03\xe8", 1000, "", nil},
		{"\x0f\xa0why", 4000, "why", nil},
		{"\x03\xe8" + strings.Repeat("r", 123), 1000, strings.Repeat("r", 123), nil},
		{"\x03", 0, "", ErrCloseBodyLength},
		{"\x03\xec", 0, "", ErrCloseCode},
		{"\x03\xe8\xc3", 0, "", ErrInvalidUTF8},
		{"\x03\xe8" + strings.Repeat("r", 124), 0, "", ErrControlTooLong},
	} {
		code, reason, err := ParseClose([]byte(tt.body))
		if code != tt.code || string(reason) != tt.reason || !errors.Is(err, tt.err) {
			t.Errorf("%q: %v %q %v, want %v %q %v", tt.body, code, reason, err, tt.code, tt.reason, tt.err)
		}
	}
}

func TestLimitsOff(t *testing.T) {
	if n := byteLimit(-1, 1); n != HardMaxMessage {
		t.Errorf("off: %d", n)
	}
	if n := byteLimit(5, 1); n != 5 {
		t.Errorf("5: %d", n)
	}
	// V5: with the limits off the rules and HardMaxMessage still hold.
	o := Options{MaxMessage: -1, MaxFrame: -1, MaxFragments: -1, MaxControlPerMessage: -1}
	d := NewDecoder(Client, o)
	if _, _, err := d.Next(AppendHeader(nil, Header{Fin: true, Opcode: Binary, Length: HardMaxMessage + 1})); !errors.Is(err, ErrFrameTooLarge) {
		t.Errorf("over the hard bound: %v", err)
	}
	d = NewDecoder(Client, o)
	b := AppendFrame(nil, Header{Opcode: Text}, nil)
	for range DefaultMaxFragments + DefaultMaxControlPerMessage {
		b = b[:2]
		if _, _, err := d.Next(b); err != nil {
			t.Fatal(err)
		}
		b[0] = byte(Continuation)
	}
}

func TestR16FragmentsAreCounted(t *testing.T) {
	for _, empty := range []bool{true, false} {
		payload := "x"
		if empty {
			payload = ""
		}
		b := wire(Client, data(Binary, false, payload), data(Continuation, false, payload), data(Ping, true, ""), data(Continuation, true, payload), data(Continuation, true, payload))
		d := NewReader(bytes.NewReader(b), Client, Options{MaxFragments: 2})
		_, err := d.Next()
		if err == nil {
			_, err = d.Next()
		}
		if !errors.Is(err, ErrTooManyFragments) {
			t.Errorf("third fragment of two: %v", err)
		}
		if m, err := NewReader(bytes.NewReader(b[:len(b)-2-len(payload)]), Client, Options{MaxFragments: 3}).Next(); err != nil || m.Opcode != Ping {
			t.Errorf("three of three: %v", err)
		}
	}
}

func TestMoreWithinFrames(t *testing.T) {
	b := wire(Client, data(Text, true, strings.Repeat("a", 200)), data(Text, false, "b"), data(Ping, true, "p"), data(Continuation, true, "c"))
	for cut := range b {
		r := NewReader(nil, Client, Options{})
		r.Filled(copy(r.Space(), b[:cut]))
		if _, ok, _ := r.Buffered(); ok {
			continue
		}
		// The first message has begun. Once its rest is buffered, More is true until the
		// last message is taken.
		for rest := b[cut:]; len(rest) > 0; {
			n := copy(r.Space(), rest)
			r.Filled(n)
			rest = rest[n:]
		}
		for i, want := range []bool{true, true, false} {
			if _, ok, err := r.Buffered(); !ok || err != nil {
				t.Fatalf("cut %d, message %d: %v %v", cut, i, ok, err)
			}
			if r.More() != want {
				t.Fatalf("cut %d, message %d: more %v, want %v", cut, i, r.More(), want)
			}
		}
	}
	// The rest of a message that is read in pieces is not a message.
	r := NewReader(nil, Client, Options{})
	r.Filled(copy(r.Space(), wire(Client, data(Text, false, "a"), data(Continuation, true, "b"))))
	if p, ok, err := r.BufferedPiece(); !ok || err != nil || string(p.Data) != "a" || r.More() {
		t.Fatal(p, ok, err, r.More())
	}
}

// Compressed is right from the first byte of a message, however the stream is cut.
// FrameAt tells the frame of each piece. Pieces of a compressed message are never
// gathered.
func TestR77CompressedIsKnownFromTheFirstByte(t *testing.T) {
	compressed := func(op Opcode, fin bool, payload string) Frame {
		f := data(op, fin, payload)
		f.Header.RSV1 = op != Continuation
		return f
	}
	long := strings.Repeat("long ", 30_000)
	for _, role := range []Role{Client, Server} {
		frames := []Frame{
			data(Text, true, "plain"), compressed(Text, true, "one"), data(Ping, true, "p"), compressed(Binary, false, "tw"), data(Ping, true, ""),
			data(Continuation, false, ""), data(Continuation, true, "o"), data(Text, false, "pl"), data(Ping, true, "q"), data(Continuation, true, "ain"),
			compressed(Text, true, ""), compressed(Text, true, long), compressed(Text, false, ""), data(Continuation, true, long), data(Binary, true, "plain"),
		}
		stream := wire(role, frames...)
		at := map[uint64]uint64{} // of payloads: their lengths
		for n := 0; n < len(stream); {
			h, head := ParseHeader(stream[n:])
			at[uint64(n+head)] = h.Length
			n += head + int(h.Length)
		}
		messages := []string{"plain", "one", "two", "plain", "", long, long, "plain"}
		packed := []bool{false, true, true, false, true, true, true, false}
		for _, most := range []int{1 << 20, 5000, 7, 3, 2, 1} {
			r := NewReader(nil, role, Options{Compression: true})
			rest := bytes.Clone(stream)
			var joined []byte
			for i := 0; i < len(messages); {
				var ok, last bool
				var payload []byte
				var op Opcode
				wasCompressed := r.Compressed()
				if wasCompressed {
					p, got, err := r.BufferedPiece()
					if err != nil {
						t.Fatal(err)
					}
					ok, last, payload, op = got, p.Last, p.Data, p.Opcode
					if h, place := r.FrameAt(); ok && !op.IsControl() && (at[place] != h.Length || place > r.Decoder().Offset()-uint64(len(payload))) {
						t.Fatalf("reads of %d, message %d: a piece of a frame of %d bytes at %d", most, i, h.Length, place)
					}
					if r.message != nil {
						t.Fatal("gathered")
					}
				} else {
					m, got, err := r.Buffered()
					if err != nil {
						t.Fatal(err)
					}
					ok, last, payload, op = got, true, m.Data, m.Opcode
				}
				switch {
				case !ok:
					n := copy(r.SpaceIn([]byte{}), rest[:min(most, len(rest))])
					r.Filled(n)
					rest = rest[n:]
				case op.IsControl():
				default:
					if joined = append(joined, payload...); last {
						if string(joined) != messages[i] || wasCompressed != packed[i] {
							t.Fatalf("reads of %d, message %d: %.20q, compressed %v", most, i, joined, wasCompressed)
						}
						joined = joined[:0]
						i++
					}
				}
			}
			if len(rest) > 0 || r.Compressed() {
				t.Fatalf("%d bytes are left", len(rest))
			}
		}
	}
}

func TestPieceTakesOverWhatNextBegan(t *testing.T) {
	for _, frames := range [][]Frame{
		{data(Text, false, "begun "), data(Continuation, true, "and done, in full length")},
		{data(Text, true, strings.Repeat("in place ", 20))},
	} {
		b := wire(Server, frames...)
		var want string
		for _, f := range frames {
			want += string(f.Payload)
		}
		for cut := range len(b) {
			s := &script{reads: []string{string(b[:cut])}, err: errTimeout}
			if cut == 0 {
				s.reads = nil
			}
			r := NewReader(s, Server, Options{})
			if _, err := r.Next(); err != errTimeout {
				t.Fatal(err)
			}
			s.reads = []string{string(b[cut:])}
			var got []byte
			for last := false; !last; {
				p, err := r.NextPiece(nil)
				if err != nil {
					t.Fatal(err)
				}
				got, last = append(got, p.Data...), p.Last
			}
			if string(got) != want {
				t.Fatalf("cut at %d: %q", cut, got)
			}
		}
	}
}
