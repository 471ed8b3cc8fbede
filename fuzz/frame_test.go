// Package fuzz_test has the fuzz targets for the public API. README.md says how to run
// them.
package fuzz_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/fuzz/reference"
	"github.com/seed-7f57ff33/tickwire/fuzz/replay"
	"github.com/seed-7f57ff33/tickwire/mask"
)

// FuzzHeader reads a header with ParseHeader and with headerByHand, and writes it again.
func FuzzHeader(f *testing.F) {
	for _, v := range reference.Golden() {
		f.Add(v.Wire[:min(len(v.Wire), 14)])
	}
	for _, h := range reference.Grid() {
		if h.Opcode < 3 && h.RSV == 0 || h.RSV == 7 && h.Opcode == 15 {
			s, at := h.Stream()
			f.Add(s[at:min(len(s), at+14)])
		}
	}
	for bit := range 64 {
		f.Add(binary.BigEndian.AppendUint64([]byte{0x82, 127}, 1<<bit))
		f.Add(append(binary.BigEndian.AppendUint64([]byte{0x82, 255}, 1<<bit), 1, 2, 3, 4))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		defer replay.Watchdog(t.Name(), time.Second)()
		h, n := frame.ParseHeader(p)
		want, length, key := headerByHand(p)
		if n != want {
			t.Fatalf("%x: %d bytes, want %d", p, n, want)
		}
		if n == 0 {
			if h != (frame.Header{}) {
				t.Fatalf("%x: %+v of a cut header", p, h)
			}
			return
		}
		for i := range n {
			if _, k := frame.ParseHeader(p[:i]); k != 0 {
				t.Fatalf("%x: whole after %d of %d bytes", p, i, n)
			}
		}
		if h.Length != length || h.Masked != (p[1] >= 0x80) || h.Key != key || byte(h.Opcode) != p[0]&0xF || h.Fin != (p[0] >= 0x80) ||
			h.RSV1 != (p[0]&0x40 != 0) || h.RSV2 != (p[0]&0x20 != 0) || h.RSV3 != (p[0]&0x10 != 0) {
			t.Fatalf("%x: %+v", p, h)
		}
		b := frame.AppendHeader([]byte("front"), h)
		if string(b[:5]) != "front" || len(b)-5 != h.Size() {
			t.Fatalf("%x: appended %x, Size %d", p, b, h.Size())
		}
		if n == h.Size() && !bytes.Equal(b[5:], p[:n]) {
			t.Fatalf("%x: written back as %x", p[:n], b[5:])
		}
		if again, k := frame.ParseHeader(b[5:]); again != h || k != h.Size() || k > n {
			t.Fatalf("%x: %+v, read again as %+v", p, h, again)
		}
	})
}

// headerByHand returns the length of a header, 0 if it is cut, and the numbers in it.
func headerByHand(p []byte) (n int, length uint64, key mask.Key) {
	if len(p) < 2 {
		return 0, 0, 0
	}
	n = 2
	length = uint64(p[1] & 0x7F)
	extended := map[byte]int{126: 2, 127: 8}[p[1]&0x7F]
	if len(p) < n+extended {
		return 0, 0, 0
	}
	if extended > 0 {
		length = 0
		for _, b := range p[2 : 2+extended] {
			length = length<<8 | uint64(b)
		}
	}
	n += extended
	if p[1] < 0x80 {
		return n, length, 0
	}
	if len(p) < n+4 {
		return 0, 0, 0
	}
	for i := range 4 {
		key |= mask.Key(p[n+i]) << (8 * i)
	}
	return n + 4, length, key
}

// The option bits of FuzzDecoder.
const (
	bitServer = 1 << iota
	bitCompression
	bitNonMinimal
	bitSkipUTF8
	bitSmallBytes  // limits that short streams reach
	bitSmallCounts // counts that short streams reach
	bitMasking     // the stream is unmasked and gets its masks here, so that a mutation reaches the payload
)

func decoderOptions(bits uint8) (reference.Role, reference.Options) {
	o := reference.Options{Compression: bits&bitCompression != 0, AllowNonMinimal: bits&bitNonMinimal != 0, SkipUTF8: bits&bitSkipUTF8 != 0}
	if bits&bitSmallBytes != 0 {
		o.MaxFrame, o.MaxMessage = 130, 200
	}
	if bits&bitSmallCounts != 0 {
		o.MaxFragments, o.MaxControlPerMessage = 3, 2
	}
	if bits&bitServer != 0 {
		return reference.Server, o
	}
	return reference.Client, o
}

// recorded returns what a client received from the exchange's feed, a few frames at a
// time. To renew it, with the exchange running: tickwire record -text
// '{"op":"subscribe","limit":300}' URL fuzz/testdata/feed.rec
func recorded(f *testing.F) (pieces [][]byte) {
	file, err := os.Open("testdata/feed.rec")
	if err != nil {
		f.Fatal(err)
	}
	defer file.Close()
	recording, err := conn.ReadRecording(file)
	if err != nil {
		f.Fatal(err)
	}
	var stream []byte
	for {
		r, err := recording.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			f.Fatal(err)
		}
		if r.Kind == conn.RecordData {
			stream = append(stream, r.Data...)
		}
	}
	for begin, end, n := 0, 0, 1; end < len(stream); n++ {
		h, size := frame.ParseHeader(stream[end:])
		end += size + int(h.Length)
		if n%20 == 0 || end == len(stream) {
			pieces = append(pieces, stream[begin:end])
			begin = end
		}
	}
	return pieces
}

// FuzzDecoder compares the engine, in every way to read, with the reference parser. The
// last argument has the lengths of the pieces, in turn.
func FuzzDecoder(f *testing.F) {
	add := func(role reference.Role, o reference.Options, stream []byte, pieces []byte) {
		bits := uint8(0)
		for bit, set := range map[uint8]bool{bitServer: role == reference.Server, bitCompression: o.Compression, bitNonMinimal: o.AllowNonMinimal,
			bitSkipUTF8: o.SkipUTF8, bitSmallBytes: o.MaxFrame+o.MaxMessage > 0, bitSmallCounts: o.MaxFragments+o.MaxControlPerMessage > 0} {
			if set {
				bits |= bit
			}
		}
		f.Add(bits, stream, pieces)
	}
	for _, role := range []reference.Role{reference.Server, reference.Client} {
		for i, s := range reference.Streams(role) {
			add(role, s.Options, s.Bytes, []byte{byte(i % 7)})
			if role == reference.Client {
				f.Add(uint8(bitServer|bitMasking), s.Bytes, []byte{byte(i % 5), 3})
			}
		}
	}
	for _, v := range reference.Golden() {
		if len(v.Wire) < 1000 {
			add(v.To, v.Options, v.Wire, []byte{1})
		}
	}
	for i, frames := range recorded(f) {
		add(reference.Client, reference.Options{}, frames, []byte{byte(i), 200})
	}
	f.Fuzz(func(t *testing.T, bits uint8, stream, pieces []byte) {
		if len(stream) > 20_000 || len(pieces) > 100 {
			return
		}
		defer replay.Watchdog(t.Name(), time.Second)()
		role, o := decoderOptions(bits)
		if bits&bitMasking != 0 {
			stream = replay.Masked(stream)
		}
		r := replay.New(role, o, stream)
		cuts := replay.Cuts(len(stream), pieces)
		if err := errors.Join(r.All(), r.All(cuts...)); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzClose passes a body to ParseClose, to AppendClose and, in a frame cut in two, to
// the decoder of each role.
func FuzzClose(f *testing.F) {
	for _, x := range reference.Texts {
		f.Add(append([]byte{3, 232}, x.Text...), uint8(3))
	}
	for _, code := range []uint16{0, 999, 1000, 1003, 1004, 1005, 1006, 1007, 1010, 1014, 1015, 1016, 2999, 3000, 4999, 5000, 65535} {
		f.Add(binary.BigEndian.AppendUint16(nil, code), uint8(1))
		f.Add(append(binary.BigEndian.AppendUint16(nil, code), "reason"...), uint8(5))
	}
	f.Add([]byte{}, uint8(0))
	f.Add([]byte{3}, uint8(0))
	f.Add(make([]byte, 126), uint8(9))
	f.Fuzz(func(t *testing.T, body []byte, cut uint8) {
		if len(body) > 300 {
			return
		}
		defer replay.Watchdog(t.Name(), time.Second)()
		wire := reference.Piece{First: 0x88, Payload: body}.Append(nil, reference.Client)
		verdict := reference.Parse(reference.Client, reference.Options{}, wire).Err
		code, reason, err := frame.ParseClose(body)
		if (err == nil) != (verdict == nil) {
			t.Fatalf("ParseClose: %v, the reference: %+v", err, verdict)
		}
		for _, role := range []reference.Role{reference.Client, reference.Server} {
			wire := reference.Piece{First: 0x88, Payload: body}.Append(nil, role)
			r := replay.New(role, reference.Options{}, wire)
			if err := errors.Join(r.All(), r.All(int(cut)%len(wire))); err != nil {
				t.Fatal(err)
			}
		}
		for _, role := range []frame.Role{frame.Client, frame.Server} {
			again, e := frame.AppendClose(nil, role, code, string(reason))
			switch {
			case err != nil:
			case code == frame.CodeMandatoryExtension && role == frame.Server:
				if e == nil {
					t.Fatalf("a server sends %v", code)
				}
			case e != nil || !bytes.Equal(again, body):
				t.Fatalf("%v %q is appended as %x (%v), was %x", code, reason, again, e, body)
			}
		}
		// Any code and reason: a peer accepts what AppendClose makes.
		if len(body) >= 2 {
			made, e := frame.AppendClose(nil, frame.Client, frame.CloseCode(binary.BigEndian.Uint16(body)), string(body[2:]))
			if e == nil {
				if _, _, err := frame.ParseClose(made); err != nil {
					t.Fatalf("AppendClose made %x: %v", made, err)
				}
			} else if err == nil {
				t.Fatalf("%x is received and not sent: %v", body, e)
			}
		}
	})
}
