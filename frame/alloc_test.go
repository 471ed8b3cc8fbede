//go:build !race && !tickwiredebug

package frame

import (
	"io"
	"testing"

	"github.com/seed-7f57ff33/tickwire/frame/buffer/buffertest"
)

// mallocs returns how many objects f allocates after a first run.
func mallocs(t *testing.T, f func()) uint64 {
	t.Helper()
	f()
	return buffertest.Mallocs(f)
}

// One run is 10,000 messages and many buffer fills, so that one allocation per fill also
// shows.
const perRun = 10000

func TestReadAllocatesNothing(t *testing.T) {
	long := string(make([]byte, 3000))
	for _, role := range []Role{Client, Server} {
		for name, frames := range map[string][]Frame{
			"text":       {data(Text, true, "message")},
			"binary":     {data(Binary, true, long)},
			"pings":      {data(Text, true, "message"), data(Ping, true, "p")},
			"fragmented": {data(Text, false, long), data(Ping, true, "p"), data(Continuation, false, ""), data(Continuation, true, "end")},
			"large":      {data(Text, true, long+long+long+long+long+long+long+long+long+long+long+long+long+long+long+long+long+long+long+long+long+long+long+long)},
		} {
			t.Run(role.String()+"/"+name, func(t *testing.T) {
				var b []byte
				for len(b) < 300<<10 {
					b = append(b, wire(role, frames...)...)
				}
				if role == Server { // the reader unmasks in its own memory: the source stays as it is
					b = append([]byte(nil), b...)
				}
				times := perRun
				if name == "large" { // it takes buffers of several sizes, each up to once a message
					times = perRun / 5
					buffertest.Calibrate(t)
				}
				r := NewReader(&blaster{frames: b}, role, Options{})
				if n := mallocs(t, func() {
					for range times {
						if _, err := r.Next(); err != nil {
							t.Fatal(err)
						}
					}
				}); n != 0 {
					t.Errorf("%d allocations in %d messages", n, times)
				}
			})
		}
	}
}

func TestReadOtherWaysAllocateNothing(t *testing.T) {
	b := wire(Client, data(Text, true, "message"), data(Text, false, string(make([]byte, 40000))), data(Continuation, true, "end"))
	dst := make([]byte, 32<<10)
	for name, step := range map[string]func(r *Reader) error{
		"piece": func(r *Reader) error { _, err := r.NextPiece(dst); return err },
		"frame": func(r *Reader) error { _, err := r.NextFrame(); return err },
		"batch": func(r *Reader) error {
			b, err := r.NextBatch()
			if err == nil {
				b.Release()
			}
			return err
		},
		"release": func(r *Reader) error { _, err := r.Next(); r.Release(); return err },
	} {
		t.Run(name, func(t *testing.T) {
			r := NewReader(&blaster{frames: b}, Client, Options{})
			if n := mallocs(t, func() {
				for range perRun {
					if err := step(r); err != nil {
						t.Fatal(err)
					}
				}
			}); n != 0 {
				t.Errorf("%d allocations in %d steps", n, perRun)
			}
		})
	}
}

func TestWriteAllocatesNothing(t *testing.T) {
	small, large := make([]byte, 200), make([]byte, 40000)
	p, _ := Prepare(Text, small, false)
	owned := make([]byte, MaxHeaderSize+200)
	for _, role := range []Role{Client, Server} {
		for name, step := range map[string]func(w *Writer) error{
			"small": func(w *Writer) error { return w.Write(Text, small) },
			"large": func(w *Writer) error { return w.Write(Binary, large) },
			"queued": func(w *Writer) error {
				w.Append(Text, small)
				w.AppendControl(Pong, small[:125])
				return w.Write(Text, small)
			},
			"prepared": func(w *Writer) error { return w.WritePrepared(p) },
			"owned":    func(w *Writer) error { return w.WriteOwned(Text, owned) },
			"close":    func(w *Writer) error { w.AppendClose(CodeNormal, "bye"); return w.Flush() },
			"release":  func(w *Writer) error { err := w.Write(Text, small); w.Release(); return err },
		} {
			for _, dst := range []io.Writer{io.Discard, nullVector{}} {
				w := NewWriter(dst, role)
				if n := mallocs(t, func() {
					for range perRun {
						if err := step(w); err != nil {
							t.Fatal(err)
						}
					}
				}); n != 0 {
					t.Errorf("%v/%s to %T: %d allocations in %d messages", role, name, dst, n, perRun)
				}
			}
		}
	}
}

type nullVector struct{}

func (nullVector) Write(p []byte) (int, error) { return len(p), nil }

func (nullVector) WriteV(pieces [][]byte) (n int64, err error) {
	for _, p := range pieces {
		n += int64(len(p))
	}
	return n, nil
}

func TestDecoderAllocatesNothing(t *testing.T) {
	b := wire(Server, data(Text, true, "message"), data(Binary, false, "x"), data(Ping, true, "p"), data(Continuation, true, "y"))
	d := NewDecoder(Server, Options{})
	var buf [256]byte
	if n := mallocs(t, func() {
		for i := range perRun {
			copy(buf[:], b)
			p := buf[:len(b)]
			for cut := i % len(b); len(p) > 0; cut = len(p) {
				for q := p[:max(cut, 1)]; len(q) > 0; {
					_, n, err := d.Next(q)
					if err != nil {
						t.Fatal(err)
					}
					q, p = q[n:], p[n:]
				}
			}
		}
	}); n != 0 {
		t.Errorf("%d allocations in %d streams", n, perRun)
	}
}
