//go:build linux && !asan && !msan

package transport

import (
	"strconv"
	"testing"
	"time"
	"unsafe"

	"github.com/seed-7f57ff33/tickwire/conn/internal/conntest"
)

// A socket fills a size class of the allocator, 192 bytes. What is needed by few, or only
// now and then, is behind a pointer.
func TestSocketSize(t *testing.T) {
	if strconv.IntSize != 64 {
		t.Skip("of 64-bit machines")
	}
	if n := unsafe.Sizeof(socket{}); n > 192 {
		t.Errorf("a socket takes %d bytes", n)
	}
	t.Log(unsafe.Sizeof(socket{}))
}

// room is a Sink that keeps what came last.
type room struct {
	b [64]byte
	n int
}

func (r *room) SpaceIn([]byte) []byte { return r.b[:] }
func (r *room) Refill() []byte        { return r.b[:] }
func (r *room) Filled(n int)          { r.n = n }
func (r *room) Release()              {}
func (r *room) WriteWaits()           {}

// Each read polls for all of Options.Spin, also behind one that has polled and found bytes.
func TestSpinBeginsWithEachRead(t *testing.T) {
	a, b := conntest.Loopback(t)
	to := new(room)
	over, _ := New(a, Options{Spin: time.Hour}, to)
	s := over.(*socket)
	for _, text := range []string{"one", "two"} {
		if !s.spin.goesOn() { // as a read that finds nothing at first
			t.Fatal("nothing is polled")
		}
		if _, err := b.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if n, err := s.Fill(nil); n != len(text) || err != nil || string(to.b[:to.n]) != text {
			t.Fatalf("%d, %v: %q", n, err, to.b[:to.n])
		}
		if until := s.spin.until; !until.IsZero() {
			t.Errorf("behind %q the next read polls for %v only", text, time.Until(until))
		}
	}
}
