package frame_test

import (
	"errors"
	"testing"

	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/fuzz/reference"
	"github.com/seed-7f57ff33/tickwire/fuzz/replay"
)

// TestR1R2R6R7R10R13R14R18R19R77HeaderGrid checks every combination of opcode, FIN, RSV,
// mask bit, length form, open message, compression and role. Each is sent in one piece
// and byte by byte. The expected verdicts are from a table that shares nothing with the
// decoder.
func TestR1R2R6R7R10R13R14R18R19R77HeaderGrid(t *testing.T) {
	grid := reference.Grid()
	if len(grid) != 12288 {
		t.Fatalf("%d headers", len(grid))
	}
	refused := map[string]int{}
	for i, h := range grid {
		if i%thin() != 0 {
			continue
		}
		stream, at := h.Stream()
		rule, index := h.Verdict()
		refused[rule]++
		if rule != "" {
			// Only the two bytes that decide are sent: the rest may never come.
			stream = stream[:at+index+1]
		}
		r := replay.New(h.Role, reference.Options{Compression: h.Compression}, stream)
		if got := decode(roleOf(h.Role), frame.Options{Compression: h.Compression}, stream); rule == "" && got != nil || rule != "" &&
			(got == nil || got.Rule != rule || got.Offset != uint64(at+index) || got.Code != frame.CodeProtocolError) {
			t.Fatalf("%v: got %v, want %q at byte %d", h, got, rule, at+index)
		}
		err := r.Decoder()
		if err == nil {
			err = r.Messages()
		}
		if err == nil && (rule != "" || h.Form != reference.Form64) {
			err = errors.Join(r.Decoder(replay.Drip(len(stream))...), r.Messages(replay.Drip(len(stream))...))
		}
		if err != nil {
			t.Fatalf("%v: %v", h, err)
		}
	}
	if len(refused) != 9 && thin() == 1 {
		t.Errorf("the grid met %d verdicts, want 9: %v", len(refused), refused)
	}
}

// roleOf turns a role of the reference parser into a frame.Role.
func roleOf(r reference.Role) frame.Role {
	if r == reference.Server {
		return frame.Server
	}
	return frame.Client
}

// decode returns the error of a stream in one piece, or nil.
func decode(role frame.Role, o frame.Options, stream []byte) *frame.ProtocolError {
	d := frame.NewDecoder(role, o)
	p := append([]byte(nil), stream...)
	for len(p) > 0 {
		_, n, err := d.Next(p)
		if err != nil {
			return err.(*frame.ProtocolError)
		}
		p = p[n:]
	}
	return nil
}

// TestR7R12VerdictAtTheHeader gives a decoder only the header of a frame that breaks a
// rule. The frame is refused there, whatever length it declares (V14).
func TestR7R12VerdictAtTheHeader(t *testing.T) {
	for _, length := range []uint64{0, 1, 125, 126, 65536, 1 << 40} {
		for op := range byte(16) {
			if !frame.Opcode(op).IsReserved() {
				continue
			}
			for _, fin := range []byte{0, 0x80} {
				for _, role := range roles {
					p := reference.Piece{First: fin | op, Declared: &length}
					r := replay.New(role, reference.Options{}, p.Append(nil, role))
					if r.Want.Err == nil || r.Want.Err.Offset != 0 {
						t.Fatalf("opcode %X is not refused by the reference", op)
					}
					if err := r.All(); err != nil {
						t.Errorf("%v, opcode %X, length %d: %v", role, op, length, err)
					}
				}
			}
		}
	}
}
