package deflate

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/seed-7f57ff33/tickwire/handshake"
)

// Messages of level Stored, whole and in pieces, are what they are in stored blocks: for
// the Inflater, for compress/flate, and within Bound.
func TestStored(t *testing.T) {
	for _, bits := range []int{8, 12, 15} {
		for _, alone := range []bool{false, true} {
			d, err := NewDeflater(DeflateOptions{WindowBits: bits, NoContextTakeover: alone, Level: Stored})
			if err != nil {
				t.Fatal(err)
			}
			in, err := NewInflater(InflateOptions{WindowBits: bits, NoContextTakeover: alone})
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range []int{0, 1, 100, 65534, 65535, 65536, 200_000} {
				for _, piece := range []int{n, 1000, 65536} {
					message := bytes.Repeat([]byte("stored!"), n/7+1)[:n]
					var got []byte
					rest := message
					for piece > 0 && len(rest) > piece {
						got = d.Append(got, rest[:piece], false)
						rest = rest[piece:]
					}
					got = d.Append(got, rest, true)
					if piece == n && len(got) > Bound(n) {
						t.Errorf("%d bytes of %d, over the bound", len(got), n)
					}
					if len(got) < n+1 {
						t.Errorf("%d bytes of %d: compressed", len(got), n)
					}
					if back, err := in.Message(got, false); err != nil || !bytes.Equal(back, message) {
						t.Fatalf("window %d, %d bytes in pieces of %d: %d bytes, %v", bits, n, piece, len(back), err)
					}
					std, _ := io.ReadAll(flate.NewReader(bytes.NewReader(append(got, 0, 0, 0xFF, 0xFF))))
					if !bytes.Equal(std, message) {
						t.Errorf("compress/flate: %d bytes of %d", len(std), n)
					}
				}
			}
		}
	}
	if got, err := AppendMessage(nil, []byte("ab"), 15, Stored); err != nil || string(got) != "\x00\x02\x00\xfd\xffab\x00" {
		t.Errorf("%q, %v", got, err)
	}
}

// Level -1 is DefaultLevel.
func TestLevelMinusOne(t *testing.T) {
	message := bytes.Repeat([]byte("level"), 1000)
	one, err := NewDeflater(DeflateOptions{Level: -1})
	if err != nil {
		t.Fatal(err)
	}
	two, _ := NewDeflater(DeflateOptions{})
	for range 3 {
		if a, b := one.Append(nil, message, true), two.Append(nil, message, true); !bytes.Equal(a, b) {
			t.Errorf("%d bytes, %d of DefaultLevel", len(a), len(b))
		}
	}
	a, err := AppendMessage(nil, message, 15, -1)
	if b, _ := AppendMessage(nil, message, 15, DefaultLevel); err != nil || !bytes.Equal(a, b) {
		t.Errorf("%d bytes, %d of DefaultLevel, %v", len(a), len(b), err)
	}
}

// A bare offer has what other fields ask for and no more, and its answer is judged by that.
func TestBareOffer(t *testing.T) {
	for _, tt := range []struct {
		c      Config
		offer  string
		answer string
		want   Params
		err    error
	}{
		{Config{}, "", "", Params{false, false, 15, 15}, nil},
		{Config{}, "", "server_no_context_takeover; client_no_context_takeover", Params{true, true, 15, 15}, nil},
		{Config{}, "", "server_max_window_bits=9", Params{false, false, 9, 15}, nil},
		{Config{}, "", "client_max_window_bits=9", Params{}, ErrNotOffered},
		{Config{}, "", "client_max_window_bits=15", Params{}, ErrNotOffered},
		{Config{}, "", "client_max_window_bits", Params{}, ErrNotOffered},
		{Config{ServerNoContextTakeover: true, ClientNoContextTakeover: true}, "server_no_context_takeover; client_no_context_takeover",
			"server_no_context_takeover; client_no_context_takeover", Params{true, true, 15, 15}, nil},
		{Config{ServerNoContextTakeover: true}, "server_no_context_takeover", "", Params{}, ErrNotHonoured},
		{Config{ServerMaxWindowBits: 10, ClientMaxWindowBits: 11}, "server_max_window_bits=10; client_max_window_bits=11",
			"server_max_window_bits=9; client_max_window_bits=9", Params{false, false, 9, 9}, nil},
	} {
		t.Run(fmt.Sprint(tt.offer, "/", tt.answer), func(t *testing.T) {
			tt.c.BareOffer = true
			if err := tt.c.Check(); err != nil {
				t.Fatal(err)
			}
			if got := text(tt.c.Offer()); got != tt.offer {
				t.Errorf("offers %q, want %q", got, tt.offer)
			}
			p, agreed, err := tt.c.Accept([]handshake.Extension{extension(tt.answer)})
			if p != tt.want || agreed != (tt.err == nil) || !errors.Is(err, tt.err) {
				t.Errorf("%+v, %v, %v", p, agreed, err)
			}
		})
	}
	server := Config{BareOffer: true} // does not concern one
	if _, answer, ok := server.Choose(list("client_max_window_bits=12")); !ok || text(answer) != "client_max_window_bits=12" {
		t.Errorf("answers %q", text(answer))
	}
}
