package transport

import (
	"crypto/tls"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/conntest"
	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
)

// written is a transport that notes what each Write brought.
type written struct {
	net.Conn
	mu     sync.Mutex
	pieces []string
	short  bool // a Write loses its last byte and says nothing
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.short {
		p = p[:len(p)-1]
	}
	w.pieces = append(w.pieces, string(p))
	return len(p), nil
}

// What the reader has crypto/tls write meanwhile keeps its place.
func TestGather(t *testing.T) {
	w := &written{}
	r := &Records{Conn: w}
	write := func(s string) {
		if n, err := r.Write([]byte(s)); n != len(s) || err != nil {
			t.Errorf("Write: %d, %v", n, err)
		}
	}
	write("a")
	r.gather(40 << 10)
	write("b")
	write("c")
	if err := r.flush(); err != nil {
		t.Error(err)
	}
	write("d")
	r.gather(1 << 10)
	long := strings.Repeat("e", 5<<10) // longer than what was told
	write("f")
	write(long)
	write("g")
	if err := r.flush(); err != nil {
		t.Error(err)
	}
	if want := []string{"a", "bc", "d", "f", long, "g"}; !slices.Equal(w.pieces, want) {
		t.Errorf("%.40q", w.pieces)
	}
	if r.gathering.lent != nil {
		t.Error("memory is held")
	}

	r.gather(1 << 10)
	write("h")
	w.short = true
	if err := r.flush(); err != io.ErrShortWrite {
		t.Errorf("a short write: %v", err)
	}
	w.short, w.pieces = false, nil
	if _, err := r.Write([]byte("i")); err != io.ErrShortWrite || w.pieces != nil {
		t.Errorf("after it: %v, %q", err, w.pieces)
	}
}

// A write that is long enough to be gathered waits for a handshake, or a renegotiation, that is not done: what that writes leaves at
// once, or no answer would come.
func TestGatherLetsAHandshakePass(t *testing.T) {
	const data = 40 << 10
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			a, b := netsim.Pipe(1 << 20)
			defer a.Close()
			defer b.Close()
			serverTLS, clientTLS := conntest.Certificate(t)
			clientTLS.ServerName, clientTLS.MaxVersion = "localhost", version
			for _, nc := range []net.Conn{a, b} {
				nc.SetDeadline(time.Now().Add(10 * time.Second))
			}
			r := under(a)
			q := under(b)
			server, client := tls.Server(r, serverTLS), tls.Client(q, clientTLS)
			var wg sync.WaitGroup
			for _, side := range []struct {
				r *Records
				t *tls.Conn
			}{{r, server}, {q, client}} {
				wg.Go(func() {
					if n, err := side.r.writeTo(side.t, make([]byte, data)); n != data || err != nil {
						t.Errorf("writing %d bytes: %d, %v", data, n, err)
						a.Close()
						b.Close()
					}
				})
				wg.Go(func() {
					if n, err := io.ReadFull(side.t, make([]byte, data)); err != nil {
						t.Errorf("reading %d bytes: %d, %v", data, n, err)
					}
				})
			}
			wg.Wait()
		})
	}
	t.Run("in its place", func(t *testing.T) {
		w := &written{}
		r := &Records{Conn: w}
		r.gather(40 << 10)
		for _, record := range []string{"\x17data", "\x16handshake", "\x17more", "\x14", "\x17last"} {
			if n, err := r.Write([]byte(record)); n != len(record) || err != nil {
				t.Errorf("Write: %d, %v", n, err)
			}
		}
		if err := r.flush(); err != nil {
			t.Error(err)
		}
		if want := []string{"\x17data\x16handshake", "\x17more\x14", "\x17last"}; !slices.Equal(w.pieces, want) {
			t.Errorf("%q", w.pieces)
		}
	})
}

// Readers have crypto/tls write while messages are gathered and flushed: whole pieces in their order, with no race.
func TestGatherBesideTheReader(t *testing.T) {
	w := &written{}
	r := &Records{Conn: w}
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 1000 {
			r.Write([]byte("[alert]"))
		}
	})
	for range 1000 {
		r.gather(2 << 10)
		r.Write([]byte("[data]"))
		if err := r.flush(); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	all := strings.Join(w.pieces, "")
	if n, m := strings.Count(all, "[alert]"), strings.Count(all, "[data]"); n != 1000 || m != 1000 || len(all) != 1000*len("[alert][data]") {
		t.Errorf("%d alerts and %d data in %d bytes", n, m, len(all))
	}
}
