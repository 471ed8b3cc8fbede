package frame_test

import (
	"bytes"
	"testing"

	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/fuzz/reference"
	"github.com/seed-7f57ff33/tickwire/fuzz/replay"
)

// TestR3R4R8R35GoldenVectors reads the examples of the RFCs with every method, cut at
// every byte. Then it encodes them again.
func TestR3R4R8R35GoldenVectors(t *testing.T) {
	for _, v := range reference.Golden() {
		t.Run(v.Section+"/"+v.Meaning, func(t *testing.T) {
			r := replay.New(v.To, v.Options, v.Wire)
			if err := r.All(); err != nil {
				t.Error(err)
			}
			for cut := 1; cut < len(v.Wire); cut += 1 + cut/50 {
				if err := r.All(cut); err != nil {
					t.Error(err)
				}
			}
			readFrames(t, v)
			if got := writeBack(t, v.Wire); !bytes.Equal(got, v.Wire) {
				t.Errorf("written back: %.60x, want %.60x", got, v.Wire)
			}
		})
	}
}

// readFrames compares the frames that a reader returns with the vector, not with the
// reference parser.
func readFrames(t *testing.T, v reference.Vector) {
	role := roleOf(v.To)
	o := frame.Options{Compression: v.Options.Compression}
	rd := frame.NewReader(bytes.NewReader(v.Wire), role, o)
	for _, want := range v.Frames {
		f, err := rd.NextFrame()
		if err != nil {
			t.Fatal(err)
		}
		h := f.Header
		if byte(h.Opcode) != want.Opcode || h.Fin != want.Fin || h.RSV1 != want.RSV1 || string(f.Payload) != want.Data {
			t.Errorf("got %+v %.40q, want %+v", h, f.Payload, want)
		}
	}
	rd = frame.NewReader(bytes.NewReader(v.Wire), role, o)
	m, err := rd.Next()
	if err != nil {
		t.Fatal(err)
	}
	if m.Opcode.IsControl() {
		v.Message = v.Frames[0].Data
	}
	if string(m.Data) != v.Message || m.Compressed != v.Frames[0].RSV1 {
		t.Errorf("message %.40q, compressed %t", m.Data, m.Compressed)
	}
}

// writeBack parses each header and encodes the frame again with the same key.
func writeBack(t *testing.T, wire []byte) []byte {
	var out []byte
	for len(wire) > 0 {
		h, n := frame.ParseHeader(wire)
		if n == 0 || n != h.Size() {
			t.Fatalf("header of %d bytes, Size %d", n, h.Size())
		}
		payload := append([]byte(nil), wire[n:n+int(h.Length)]...)
		if h.Masked {
			for i := range payload {
				payload[i] ^= wire[n-4+i%4]
			}
		}
		out = frame.AppendFrame(out, h, payload)
		wire = wire[n+int(h.Length):]
	}
	return out
}
