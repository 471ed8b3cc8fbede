package fuzz_test

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/fuzz/replay"
)

const syncTail = "\x00\x00\xff\xff"

// deflateSeeds returns lists of compressed messages. A byte of options comes first; each
// message follows its length in two bytes.
func deflateSeeds() (seeds [][]byte) {
	list := func(options byte, messages ...[]byte) {
		p := []byte{options}
		for _, m := range messages {
			p = append(binary.LittleEndian.AppendUint16(p, uint16(len(m))), m...)
		}
		seeds = append(seeds, p)
	}
	trade := []byte(`{"e":"trade","s":"BTCUSDT","p":"64123.45","q":"0.00123","T":1700000000123,"m":true}`)
	for _, level := range []int{-2, 0, 1, 6, 9} {
		for options := range byte(4) {
			var messages [][]byte
			var b bytes.Buffer
			w, _ := flate.NewWriter(&b, level)
			for i := range 3 {
				w.Write(bytes.Repeat(trade, 1+5*i))
				w.Flush()
				messages = append(messages, bytes.Clone(b.Bytes()[:b.Len()-4]))
				b.Reset()
			}
			list(options|byte(level+2)<<2, messages...)
		}
	}
	// The examples of RFC 7692 §7.2.3, and handmade blocks.
	list(0, []byte("\xf2\x48\xcd\xc9\xc9\x07\x00"), []byte("\xf2\x00\x11\x00\x00"))
	list(1, []byte("\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"))
	list(2, []byte("\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), []byte("\xf3\x48\xcd\xc9\xc9\x07\x00"), []byte("\xf2\x48\xcd\xc9\xc9\x07\x00"))
	list(3, []byte("\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"))
	list(0, []byte{0}, []byte{1}, []byte{3, 0}, nil)
	list(0, []byte{6})
	list(0, []byte{0, 1, 0, 1, 0, 'a', 0})
	list(0, []byte{4, 0xC0, 0x81, 8, 0, 0, 0, 0, 0x20, 0x7F, 0xEB, 0x0B, 0, 0})
	list(0x40, []byte("\x12\xFF\xFF\xFF\xFF"))
	return seeds
}

// FuzzInflate inflates messages in four ways: whole, pushed in pieces, streamed, and
// pushed up to some byte and then streamed. The four must agree. So must the standard
// library, where it can be compared.
func FuzzInflate(f *testing.F) {
	for _, s := range deflateSeeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		defer replay.Watchdog(t.Name(), time.Second)()
		s := script{p}
		first := s.next()
		o := deflate.InflateOptions{NoContextTakeover: first&1 != 0, MaxMessage: 1 << 20}
		if first&2 != 0 {
			o.WindowBits = 8 + first>>2&7
		}
		text, step := first&0x20 != 0, 1+first>>6*7
		var in [4]*deflate.Inflater
		for i := range in {
			var err error
			if in[i], err = deflate.NewInflater(o); err != nil {
				t.Fatal(err)
			}
		}
		var history []byte
		for !s.done() {
			n := s.next() | s.next()<<8
			m := s.rest[:min(n, len(s.rest))]
			s.rest = s.rest[len(m):]
			before := bytes.Clone(m)
			got, err := in[0].Message(m, text)
			pushed, pushedErr := push(in[1], m, step, text)
			streamed, streamedErr := stream(in[2], m, 0, step, text)
			turned, turnedErr := stream(in[3], m, n*step%(len(m)+1), step, text)
			if !bytes.Equal(m, before) {
				t.Fatal("the payload was changed")
			}
			if pushedErr != err || streamedErr != err || !bytes.Equal(got, pushed) || !bytes.Equal(got, streamed) {
				t.Fatalf("whole %.60q, %v; pushed %.60q, %v; streamed %.60q, %v", got, err, pushed, pushedErr, streamed, streamedErr)
			}
			if turnedErr != err || !bytes.Equal(got, turned) {
				t.Fatalf("whole %.60q, %v; pushed up to %d, then streamed %.60q, %v", got, err, n*step%(len(m)+1), turned, turnedErr)
			}
			if o.NoContextTakeover {
				history = nil
			}
			want, wantErr := standard(m, history)
			if err != nil {
				if got != nil {
					t.Fatal("delivered beside an error")
				}
				// A message that the standard library inflates completely fails here only
				// by a rule that the standard library does not have.
				if wantErr == nil && !known(err) {
					t.Fatalf("%v, but the standard library inflates %.60q", err, want)
				}
				return
			}
			if wantErr != nil || !bytes.Equal(got, want) {
				t.Fatalf("%.60q, by the standard library %.60q, %v", got, want, wantErr)
			}
			history = append(history, got...)
			history = history[max(0, len(history)-1<<15):]
		}
	})
}

// known reports whether an error is about a rule that the standard library does not have:
// where a message ends, what text is, how far distances reach, how long messages may be,
// and codes with gaps.
func known(err error) bool {
	for _, e := range []error{deflate.ErrMessageEnd, deflate.ErrDistance, deflate.ErrTooLarge, deflate.ErrCodeLengths, frame.ErrInvalidUTF8, frame.ErrTruncatedUTF8} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// standard inflates a message with the standard library. A message that ends within a
// block is no error there.
func standard(p, history []byte) (out []byte, err error) {
	r := bytes.NewReader(append(bytes.Clone(p), syncTail...))
	for {
		d := flate.NewReaderDict(r, history)
		got, err := io.ReadAll(io.LimitReader(d, 2<<20))
		out = append(out, got...)
		history = append(bytes.Clone(history), got...)
		history = history[max(0, len(history)-1<<15):]
		switch {
		case errors.Is(err, io.ErrUnexpectedEOF), err == nil && r.Len() <= len(syncTail):
			return out, nil
		case err != nil:
			return nil, err
		}
		// A final block in the middle: the next one starts at the next byte.
	}
}

func push(d *deflate.Inflater, p []byte, n int, text bool) ([]byte, error) {
	if err := d.Begin(text); err != nil {
		return nil, err
	}
	for len(p) > n {
		if err := d.Push(p[:n:n], false); err != nil {
			return nil, err
		}
		p = p[n:]
	}
	if err := d.Push(p, true); err != nil {
		return nil, err
	}
	return d.Bytes(), nil
}

// stream pushes the first bytes and feeds the rest in pieces of n.
func stream(d *deflate.Inflater, p []byte, pushed, n int, text bool) (out []byte, err error) {
	if err := d.Begin(text); err != nil {
		return nil, err
	}
	if pushed > 0 {
		if err := d.Push(p[:pushed:pushed], false); err != nil {
			return nil, err
		}
		p = p[pushed:]
	}
	for {
		piece, err := d.Next()
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if len(piece) == 0 {
			k := min(n, len(p))
			if err := d.Feed(p[:k:k], k == len(p)); err != nil {
				return nil, err
			}
			p = p[k:]
		}
		out = append(out, piece...)
	}
}

// FuzzDeflateRoundTrip compresses messages in every mode, whole and in pieces, with
// prepared messages between them. The Inflater and the standard library must return them.
func FuzzDeflateRoundTrip(f *testing.F) {
	text := []byte(strings.Repeat(`{"e":"depthUpdate","b":[["64123.45","0.00123"],["64123.40","1.5"]]}`, 40))
	for i := range byte(48) {
		f.Add(append([]byte{i, i * 5}, text[:50*int(i)]...))
	}
	f.Add([]byte{0x80, 7})
	f.Fuzz(func(t *testing.T, p []byte) {
		defer replay.Watchdog(t.Name(), time.Second)()
		s := script{p}
		mode, cut := s.next(), s.next()
		o := deflate.DeflateOptions{Level: [...]int{0, 1, 3, 6, 9, deflate.HuffmanOnly, 2, 5}[mode&7], NoContextTakeover: mode&8 != 0}
		if mode&16 != 0 {
			o.WindowBits = 8 + mode>>5
		}
		if mode&32 != 0 {
			o.History = 1 << (cut & 15)
		}
		out, err := deflate.NewDeflater(o)
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		in, err := deflate.NewInflater(deflate.InflateOptions{WindowBits: o.WindowBits, NoContextTakeover: o.NoContextTakeover})
		if err != nil {
			t.Fatal(err)
		}
		var history []byte
		check := func(c, m []byte) {
			got, err := in.Message(c, false)
			if err != nil || !bytes.Equal(got, m) {
				t.Fatalf("%+v: %.60q inflates to %.60q, %v", o, m, got, err)
			}
			if want, err := standard(c, history); err != nil || !bytes.Equal(want, m) {
				t.Fatalf("%+v: %.60q inflates to %.60q, %v, by the standard library", o, m, want, err)
			}
			if history = append(history, m...); o.NoContextTakeover {
				history = nil
			}
			history = history[max(0, len(history)-1<<15):]
		}
		var wire []byte
		for range 12 {
			n := min(s.size(), 4*len(s.rest))
			m := bytes.Repeat(s.rest[:min(n, len(s.rest))], 1+s.next()%5)
			s.rest = s.rest[min(n, len(s.rest)):]
			if cut&16 != 0 && len(m)%3 == 0 {
				c, err := deflate.AppendMessage(nil, m, o.WindowBits, o.Level)
				if err != nil {
					t.Fatal(err)
				}
				check(c, m)
				out.Forget()
			}
			wire = wire[:0]
			rest := m
			for cut&32 != 0 && len(rest) > cut {
				wire = out.Append(wire, rest[:cut], false)
				rest = rest[cut:]
			}
			wire = out.Append(wire, rest, true)
			check(wire, m)
			if cut&32 == 0 && len(wire) > deflate.Bound(len(m)) {
				t.Fatalf("%+v: %d bytes became %d, over Bound", o, len(m), len(wire))
			}
		}
	})
}
