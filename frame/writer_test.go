package frame

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/seed-7f57ff33/tickwire/mask"
)

// sink counts calls and keeps what was written.
type sink struct {
	bytes.Buffer
	writes int
	fail   func(n int) (int, error) // the result of a write of n bytes; nil means success
}

func (s *sink) Write(p []byte) (int, error) {
	s.writes++
	if s.fail != nil {
		n, err := s.fail(len(p))
		s.Buffer.Write(p[:n])
		return n, err
	}
	return s.Buffer.Write(p)
}

// vectorSink is a sink with WriteV.
type vectorSink struct {
	sink
	vectors int
	seen    [][]byte // the pieces, not copied
}

func (s *vectorSink) WriteV(pieces [][]byte) (n int64, err error) {
	s.vectors++
	s.seen = append([][]byte(nil), pieces...)
	for _, p := range pieces {
		s.Buffer.Write(p)
		n += int64(len(p))
	}
	if s.fail != nil {
		k, err := s.fail(int(n))
		return int64(k), err
	}
	return n, nil
}

// parseAll splits b into frames, unmasked.
func parseAll(t *testing.T, b []byte) (frames []Frame) {
	t.Helper()
	for len(b) > 0 {
		h, n := ParseHeader(b)
		if n == 0 || h.Length > uint64(len(b)-n) {
			t.Fatalf("cut frame: %x", b[:min(len(b), 20)])
		}
		p := bytes.Clone(b[n : n+int(h.Length)])
		if h.Masked {
			mask.XOR(p, h.Key)
		}
		if n != h.Size() {
			t.Fatalf("header of %d bytes for a length of %d", n, h.Length)
		}
		frames = append(frames, Frame{h, p})
		b = b[n+int(h.Length):]
	}
	return frames
}

func TestR3R4EveryFrameMaskedByClientsNoneByServers(t *testing.T) {
	for _, role := range []Role{Client, Server} {
		var s vectorSink
		w := NewWriter(&s, role)
		big := make([]byte, zeroCopyMin+1)
		p, err := Prepare(Text, []byte("prepared"), false)
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{
			w.Append(Text, nil), w.Append(Binary, []byte("b")), w.AppendControl(Ping, nil), w.AppendControl(Pong, []byte("x")), w.Flush(),
			w.AppendFrame(Header{Opcode: Text}, []byte("f")), w.AppendFrame(Header{Fin: true}, nil), w.Flush(),
			w.Write(Binary, big), w.WritePrepared(p), w.AppendPrepared(p), w.WriteOwned(Text, make([]byte, MaxHeaderSize+3)),
			w.AppendClose(CodeNormal, "bye"), w.Flush(),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		frames := parseAll(t, s.Bytes())
		if len(frames) != 11 {
			t.Fatalf("%v: %d frames, want 11", role, len(frames))
		}
		for i, f := range frames {
			if f.Header.Masked != (role == Client) {
				t.Errorf("%v: frame %d (%v): masked %v", role, i, f.Header.Opcode, f.Header.Masked)
			}
		}
	}
}

func TestR5EveryFrameHasItsOwnKey(t *testing.T) {
	var s sink
	w := NewWriter(&s, Client)
	p, _ := Prepare(Text, []byte("same"), false)
	const n = 20000
	for range n {
		w.AppendPrepared(p)
	}
	w.Flush()
	seen := map[mask.Key]int{}
	for _, f := range parseAll(t, s.Bytes()) {
		seen[f.Header.Key]++
	}
	// Of 20,000 random keys of 32 bits 0.05 pairs are equal on average. Ten pairs are not
	// chance.
	if len(seen) < n-10 {
		t.Fatalf("%d different keys in %d frames", len(seen), n)
	}
}

func TestR8R9ShortestLengthForEverySize(t *testing.T) {
	payload := bytes.Repeat([]byte{'x'}, 70001)
	var b []byte
	for _, role := range []Role{Client, Server} {
		for n := 0; n <= 70000; n++ {
			if n > 300 && (n < 65300 || n > 65700) && n%97 != 0 {
				continue
			}
			h := Header{Fin: true, Opcode: Binary, Masked: role == Client, Key: 0x01020304}
			b = AppendFrame(b[:0], h, payload[:n])
			got, size := ParseHeader(b)
			h.Length = uint64(n)
			want := 2
			if n > 125 {
				want = 4
			}
			if n > 65535 {
				want = 10
			}
			if role == Client {
				want += 4
			} else {
				h.Key = 0
			}
			if got != h || size != want || h.Size() != want {
				t.Fatalf("%d bytes: header %+v of %d bytes, want %d", n, got, size, want)
			}
		}
	}
}

func TestR24R25CloseBodiesRefused(t *testing.T) {
	for code := range 1 << 16 {
		for _, role := range []Role{Client, Server} {
			c := CloseCode(code)
			ok := code >= 1000 && code <= 1003 || code >= 1007 && code <= 1014 || code >= 3000 && code <= 4999
			if code == 1010 && role == Server {
				ok = false
			}
			body, err := AppendClose(nil, role, c, "r")
			if ok != (err == nil) || !ok && (!errors.Is(err, ErrCloseCodeUnsendable) || len(body) != 0) {
				t.Fatalf("%v sends %d: %v", role, code, err)
			}
		}
	}
	if b, err := AppendClose(nil, Client, CodeNoStatus, ""); err != nil || len(b) != 0 {
		t.Errorf("no status: %x, %v; want the empty body", b, err)
	}
	if _, err := AppendClose(nil, Client, CodeNormal, strings.Repeat("x", 124)); err != ErrCloseReasonTooLong {
		t.Errorf("124 bytes of reason: %v", err)
	}
	if _, err := AppendClose(nil, Client, CodeNormal, "\xc3"); err != ErrCloseReasonNotUTF8 {
		t.Errorf("reason cut inside a rune: %v", err)
	}
	w := NewWriter(io.Discard, Server)
	if err := w.AppendClose(CodeAbnormal, ""); err != ErrCloseCodeUnsendable || w.Queued() != 0 {
		t.Errorf("1006 on the wire: %v, %d queued", err, w.Queued())
	}
}

func TestWriterOneWritePerFlush(t *testing.T) {
	for _, role := range []Role{Client, Server} {
		var s sink
		w := NewWriter(&s, role)
		for i := range 500 {
			if err := w.Append(Text, fmt.Appendf(nil, "message %d %s", i, strings.Repeat("x", i))); err != nil {
				t.Fatal(err)
			}
		}
		if s.writes != 0 {
			t.Fatal("written before the flush")
		}
		if err := w.Flush(); err != nil || s.writes != 1 {
			t.Fatalf("%d writes, %v; want 1", s.writes, err)
		}
		if err := w.Flush(); err != nil || s.writes != 1 {
			t.Fatalf("an empty flush wrote (%d writes, %v)", s.writes, err)
		}
		if n := len(parseAll(t, s.Bytes())); n != 500 {
			t.Fatalf("%d frames", n)
		}
	}
}

func TestWriterLargePayloadByReference(t *testing.T) {
	var s vectorSink
	w := NewWriter(&s, Server)
	payload := bytes.Repeat([]byte("z"), zeroCopyMin)
	w.Append(Text, []byte("queued"))
	if err := w.Write(Binary, payload); err != nil {
		t.Fatal(err)
	}
	if s.vectors != 1 || s.writes != 0 || &s.seen[1][0] != &payload[0] {
		t.Fatalf("%d vectors, %d writes, by reference %v", s.vectors, s.writes, &s.seen[1][0] == &payload[0])
	}
	if f := parseAll(t, s.Bytes()); len(f) != 2 || !bytes.Equal(f[1].Payload, payload) {
		t.Fatal("wrong frames")
	}
	var plain sink // without WriteV: one Write
	w = NewWriter(&plain, Server)
	w.Append(Text, []byte("queued"))
	if err := w.Write(Binary, payload); err != nil || plain.writes != 1 {
		t.Fatalf("%d writes, %v", plain.writes, err)
	}
	if f := parseAll(t, plain.Bytes()); len(f) != 2 || !bytes.Equal(f[1].Payload, payload) {
		t.Fatal("wrong frames")
	}
}

func TestWriterLeavesCallersBytes(t *testing.T) {
	payload := []byte(strings.Repeat("do not touch ", 5000))
	keep := bytes.Clone(payload)
	w := NewWriter(io.Discard, Client)
	w.Write(Text, payload)
	w.AppendFrame(Header{Fin: true, Opcode: Binary}, payload)
	w.AppendControl(Ping, payload[:125])
	w.Flush()
	if !bytes.Equal(payload, keep) {
		t.Fatal("the caller's bytes were changed")
	}
}

func TestWriterOwned(t *testing.T) {
	for _, role := range []Role{Client, Server} {
		for _, n := range []int{0, 1, 125, 126, 65535, 65536, 1 << 20} {
			for _, dst := range []interface {
				io.Writer
				Bytes() []byte
			}{new(sink), new(vectorSink)} {
				w := NewWriter(dst, role)
				w.Append(Text, []byte("first"))
				b := make([]byte, MaxHeaderSize+n)
				for i := range n {
					b[MaxHeaderSize+i] = byte(i * 7)
				}
				want := bytes.Clone(b[MaxHeaderSize:])
				if err := w.WriteOwned(Binary, b); err != nil {
					t.Fatal(err)
				}
				if f := parseAll(t, dst.Bytes()); len(f) != 2 || string(f[0].Payload) != "first" || !bytes.Equal(f[1].Payload, want) {
					t.Fatalf("%v, %d bytes: wrong frames", role, n)
				}
			}
		}
	}
	if err := NewWriter(io.Discard, Client).WriteOwned(Text, make([]byte, MaxHeaderSize-1)); err == nil {
		t.Error("no room for a header: no error")
	}
}

func TestWriterControlOvertakes(t *testing.T) {
	for _, role := range []Role{Client, Server} {
		var s sink
		w := NewWriter(&s, role)
		w.Append(Text, []byte("queued"))
		for i := range 5 {
			if err := w.AppendControl(Ping, []byte(strings.Repeat(fmt.Sprint(i), 125))); err != nil {
				t.Fatal(err)
			}
		}
		w.Flush()
		frames := parseAll(t, s.Bytes())
		if len(frames) != 6 {
			t.Fatalf("%d frames", len(frames))
		}
		at := -1
		for i, f := range frames {
			if f.Header.Opcode == Text {
				at = i
			}
		}
		if at < 3 {
			t.Errorf("%v: %d control frames before the message, want at least 3", role, at)
		}
	}
}

func TestWriterFailures(t *testing.T) {
	broken := errors.New("broken")
	t.Run("nothing written", func(t *testing.T) {
		s := sink{fail: func(int) (int, error) { return 0, broken }}
		w := NewWriter(&s, Client)
		w.Append(Text, []byte("kept"))
		if err := w.Flush(); err != broken || w.Err() != nil {
			t.Fatal(err, w.Err())
		}
		s.fail = nil
		if err := w.Flush(); err != nil || string(parseAll(t, s.Bytes())[0].Payload) != "kept" {
			t.Fatal(err)
		}
	})
	t.Run("nothing of a payload by reference", func(t *testing.T) {
		s := vectorSink{sink: sink{fail: func(int) (int, error) { return 0, broken }}}
		w := NewWriter(&s, Server)
		if err := w.Write(Text, make([]byte, zeroCopyMin)); err != broken || w.Queued() != 0 || w.Err() != nil {
			t.Fatal(err, w.Queued(), w.Err())
		}
	})
	for k := 1; k < 9; k++ {
		s := sink{fail: func(int) (int, error) { return k, broken }}
		w := NewWriter(&s, Server)
		w.Append(Text, []byte("1234567"))
		for _, err := range []error{w.Flush(), w.Flush(), w.Err(), w.Append(Text, nil), w.AppendControl(Ping, nil), w.Write(Text, nil), w.WriteOwned(Text, make([]byte, 20)), w.AppendClose(CodeNormal, "")} {
			if err != broken {
				t.Fatalf("after a cut at %d: %v", k, err)
			}
		}
		if s.writes != 1 {
			t.Fatalf("%d writes", s.writes)
		}
	}
	s := sink{fail: func(n int) (int, error) { return n - 1, nil }}
	w := NewWriter(&s, Server)
	w.Append(Text, []byte("x"))
	if err := w.Flush(); err != io.ErrShortWrite || w.Err() != io.ErrShortWrite {
		t.Fatalf("short write without error: %v", err)
	}
}

func TestWriterMisuse(t *testing.T) {
	w := NewWriter(io.Discard, Client)
	for name, err := range map[string]error{
		"message of opcode ping":        w.Append(Ping, nil),
		"write of opcode close":         w.Write(Close, nil),
		"owned continuation":            w.WriteOwned(Continuation, make([]byte, 20)),
		"reserved opcode":               w.AppendFrame(Header{Fin: true, Opcode: 3}, nil),
		"opcode 16":                     w.AppendFrame(Header{Fin: true, Opcode: 17}, nil),
		"long ping":                     w.AppendControl(Ping, make([]byte, 126)),
		"control text":                  w.AppendControl(Text, nil),
		"R19 fragmented ping":           w.AppendFrame(Header{Opcode: Ping}, nil),
		"R19 long close":                w.AppendFrame(Header{Fin: true, Opcode: Close}, make([]byte, 126)),
		"R77 RSV1 on a continuation":    w.AppendFrame(Header{Fin: true, RSV1: true}, nil),
		"R77 RSV1 on a control frame":   w.AppendFrame(Header{Fin: true, RSV1: true, Opcode: Ping}, nil),
		"large server write of a close": NewWriter(&vectorSink{}, Server).Write(Close, make([]byte, zeroCopyMin)),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if w.Queued() != 0 {
		t.Error("a refused frame was queued")
	}
	if _, err := Prepare(Ping, nil, false); err == nil {
		t.Error("prepared ping: no error")
	}
}

func TestWriterDropAndRelease(t *testing.T) {
	var s sink
	w := NewWriter(&s, Client)
	w.Append(Text, []byte("kept"))
	n := w.Queued()
	w.Append(Text, []byte("dropped"))
	w.Drop(n)
	w.Release() // something is queued: nothing happens
	w.Flush()
	w.Release()
	w.Release()
	w.Append(Text, []byte("again"))
	w.Flush()
	f := parseAll(t, s.Bytes())
	if len(f) != 2 || string(f[0].Payload) != "kept" || string(f[1].Payload) != "again" {
		t.Fatalf("%d frames", len(f))
	}
}

// Encode returns the bytes that Write would write, or nil if other frames must be written
// first.
func TestWriterEncode(t *testing.T) {
	for _, role := range []Role{Client, Server} {
		prepared, err := Prepare(Binary, make([]byte, 300), false)
		if err != nil {
			t.Fatal(err)
		}
		var s sink
		w := NewWriter(&s, role)
		for _, n := range []int{0, 1, 125, 126, 127, 5000, 65535, 65536, 200000} {
			payload := bytes.Repeat([]byte("x"), n)
			f := parseAll(t, w.Encode(Text, payload))
			if len(f) != 1 || f[0].Header.Opcode != Text || !f[0].Header.Fin || f[0].Header.Masked != (role == Client) || !bytes.Equal(f[0].Payload, payload) {
				t.Errorf("%v, %d bytes: %d frames", role, n, len(f))
			}
		}
		if f := parseAll(t, w.EncodePrepared(prepared)); len(f) != 1 || f[0].Header.Opcode != Binary || len(f[0].Payload) != 300 {
			t.Errorf("%v, prepared: %d frames", role, len(f))
		}
		if w.Queued() != 0 || w.Encode(Ping, nil) != nil {
			t.Errorf("%v: %d bytes queued", role, w.Queued())
		}
		w.Append(Text, []byte("first"))
		if w.Encode(Text, nil) != nil || w.EncodePrepared(prepared) != nil {
			t.Errorf("%v: a frame before what is queued", role)
		}
		w.AppendControl(Ping, []byte("p"))
		w.DropFront(w.Queued() - len(AppendFrame(nil, Header{Fin: true, Opcode: Text, Masked: role == Client}, []byte("first"))))
		w.Flush()
		if f := parseAll(t, s.Bytes()); len(f) != 1 || string(f[0].Payload) != "first" {
			t.Errorf("%v: %d frames after DropFront", role, len(f))
		}
	}
}

// Two Writers must not use one supply of keys after Release has lent it out again. One
// key could then mask two frames (RFC 6455 §5.3).
func TestR5ReleaseGivesTheKeysAway(t *testing.T) {
	w := NewWriter(io.Discard, Client)
	if err := w.Write(Text, []byte("tick")); err != nil {
		t.Fatal(err)
	}
	if w.keys == nil {
		t.Fatal("a client without keys")
	}
	if w.Release(); w.keys != nil {
		t.Error("the keys are lent out, and kept")
	}
}

// R3: each write method masks a client's first frame, and the first after Release, with a
// key of its own.
func TestR3FirstFrameAfterReleaseIsMasked(t *testing.T) {
	ways := map[string]func(w *Writer, dst *bytes.Buffer) error{
		"Append":        func(w *Writer, _ *bytes.Buffer) error { return w.Append(Text, []byte("tick")) },
		"AppendFrame":   func(w *Writer, _ *bytes.Buffer) error { return w.AppendFrame(Header{Opcode: Text}, []byte("tick")) },
		"AppendControl": func(w *Writer, _ *bytes.Buffer) error { return w.AppendControl(Pong, []byte("tick")) },
		"AppendClose":   func(w *Writer, _ *bytes.Buffer) error { return w.AppendClose(1000, "ck") },
		"Write":         func(w *Writer, _ *bytes.Buffer) error { return w.Write(Text, []byte("tick")) },
		"WriteOwned": func(w *Writer, _ *bytes.Buffer) error {
			return w.WriteOwned(Text, append(make([]byte, MaxHeaderSize), "tick"...))
		},
		"Encode": func(w *Writer, dst *bytes.Buffer) error {
			_, err := dst.Write(w.Encode(Text, []byte("tick")))
			return err
		},
	}
	seen := map[uint32]string{}
	for name, write := range ways {
		var dst bytes.Buffer
		w := NewWriter(&dst, Client)
		for range 3 {
			dst.Reset()
			if err := write(w, &dst); err != nil {
				t.Fatal(name, err)
			}
			w.Flush()
			w.Release()
			h, n := ParseHeader(dst.Bytes())
			if !h.Masked || h.Length != 4 || dst.Len() != n+4 {
				t.Fatalf("%s: % x is no masked frame of four bytes", name, dst.Bytes())
			}
			payload := dst.Bytes()[n:]
			mask.XOR(payload, h.Key)
			if s := string(payload); s != "tick" && s != "\x03\xe8ck" {
				t.Errorf("%s: %q", name, s)
			}
			if other := seen[uint32(h.Key)]; other != "" {
				t.Errorf("%s has a key that %s had", name, other)
			}
			seen[uint32(h.Key)] = name
		}
	}
}
