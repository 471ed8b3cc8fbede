package frame

import (
	"errors"
	"math"
	"testing"
)

// SetMaxMessage holds for the next header, also when called inside it. That is so with
// and without MaxFrame, for frames on the fast path and for others.
func TestSetMaxMessage(t *testing.T) {
	for _, split := range []int{1, 2, 3, 1000} {
		d := NewDecoder(Client, Options{MaxMessage: 10})
		feed := func(b []byte) error {
			for len(b) > 0 {
				part := b[:min(split, len(b))]
				b = b[len(part):]
				for {
					ev, n, err := d.Next(part)
					if err != nil {
						return err
					}
					if part = part[n:]; len(part) == 0 && ev.none() || len(part) == 0 && ev.End {
						break
					}
				}
			}
			return nil
		}
		message := func(n int, fin bool, op Opcode) []byte {
			return AppendFrame(nil, Header{Fin: fin, Opcode: op}, make([]byte, n))
		}
		for _, step := range []struct {
			limit int64
			n     int
		}{{10, 10}, {200, 200}, {70_000, 70_000}, {0, 100_000}, {-1, 100_000}, {math.MaxInt64, 100_000}, {20, 20}} {
			d.SetMaxMessage(step.limit)
			for range 2 {
				if err := feed(message(step.n, true, Binary)); err != nil {
					t.Fatalf("limit %d: %v", step.limit, err)
				}
			}
		}
		if err := feed(message(20, false, Binary)); err != nil {
			t.Fatal(err)
		}
		d.SetMaxMessage(30)
		if err := feed(message(10, false, Continuation)); err != nil {
			t.Fatal(err)
		}
		d.SetMaxMessage(10) // frames accepted earlier count
		if err := feed(message(0, false, Continuation)); !errors.Is(err, ErrMessageTooLarge) {
			t.Errorf("split %d: %v", split, err)
		}
	}
	// If both are set, each holds separately. If neither was set, MaxFrame follows
	// MaxMessage.
	for _, tt := range []struct {
		o     Options
		limit int64
		n     int
		want  error
	}{
		{Options{MaxFrame: 50}, 100, 51, ErrFrameTooLarge},
		{Options{MaxFrame: 50}, 40, 41, ErrMessageTooLarge},
		{Options{}, DefaultMaxFrame + 10, DefaultMaxFrame + 10, nil},
		{Options{}, DefaultMaxFrame + 10, DefaultMaxFrame + 11, ErrMessageTooLarge},
		{Options{MaxMessage: 10}, 0, DefaultMaxFrame + 1, ErrFrameTooLarge},
	} {
		r := NewReader(nil, Client, tt.o)
		r.SetMaxMessage(tt.limit)
		h := AppendHeader(nil, Header{Fin: true, Opcode: Binary, Length: uint64(tt.n)})
		r.Filled(copy(r.Space(), h))
		if _, ok, err := r.Buffered(); ok || !errors.Is(err, tt.want) {
			t.Errorf("%+v, limit %d, %d bytes: %v, want %v", tt.o, tt.limit, tt.n, err, tt.want)
		}
	}
}
