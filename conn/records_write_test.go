package conn

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// What a flush writes leaves with one write under TLS too, in however many records, and a long message with one for each
// maxGathered bytes.
func TestWritesUnderTLS(t *testing.T) {
	for _, tt := range []struct {
		messages, size, writes int
	}{
		{1, 100, 1},
		{1, maxRecordData - 100, 1},
		{1, maxRecordData, 1},
		{200, 300, 1},
		{300, 300, 1},
		{1, 100 << 10, 1},
		{1, 1 << 20, 10}, // seven records each
	} {
		t.Run(fmt.Sprintf("%d of %d bytes", tt.messages, tt.size), func(t *testing.T) {
			a, b := netsim.Pipe(4 << 20)
			c, server := secureOver(t, a, b, Config{WriteBuffer: 1 << 20})
			defer c.Close()
			peer := New(server, frame.Server, &Config{KeepAlive: -1})
			defer peer.Close()
			text := strings.Repeat("w", tt.size)
			// The first 128 KiB leave in short records, and how many those are is crypto/tls's own affair.
			warm := strings.Repeat("v", 200<<10)
			if err := c.WriteMessage(Text, []byte(warm)); err != nil {
				t.Fatal(err)
			}
			wantMessage(t, peer, Text, warm)
			_, before := a.Calls()
			for range tt.messages {
				if err := c.AppendMessage(Text, []byte(text)); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.Flush(); err != nil {
				t.Fatal(err)
			}
			if _, after := a.Calls(); after-before != tt.writes {
				t.Errorf("%d writes, want %d", after-before, tt.writes)
			}
			for range tt.messages {
				wantMessage(t, peer, Text, text)
			}
		})
	}
	t.Run("the first", func(t *testing.T) {
		a, b := netsim.Pipe(4 << 20)
		c, server := secureOver(t, a, b, Config{})
		defer c.Close()
		peer := New(server, frame.Server, &Config{KeepAlive: -1})
		defer peer.Close()
		_, before := a.Calls()
		text := strings.Repeat("w", 40<<10)
		if err := c.WriteMessage(Text, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, after := a.Calls(); after-before != 1 {
			t.Errorf("%d writes, want 1", after-before)
		}
		wantMessage(t, peer, Text, text)
	})
}

// A write that fails, wherever in a long message, ends the connection, and nothing follows on the wire: not the rest of what was
// gathered, nor an alert.
func TestWriteFailsUnderTLS(t *testing.T) {
	for fail := 1; fail <= 4; fail++ { // a message of 300 KiB is three writes
		for _, most := range []int{-1, 1, 20000} {
			a, b := netsim.Pipe(4 << 20)
			c, _ := secureOver(t, a, b, Config{CloseTimeout: 1})
			writes, failed := 0, false
			a.Script(func(op netsim.Op, _, _ int) netsim.Step {
				if op != netsim.Write {
					return netsim.Step{}
				}
				if failed {
					t.Error("a write after the one that failed")
				}
				if writes++; writes == fail {
					failed = true
					return netsim.Step{Max: most, Err: syscall.ENOBUFS}
				}
				return netsim.Step{}
			})
			err := c.WriteMessage(Text, []byte(strings.Repeat("w", 300<<10)))
			if fail <= 3 {
				wantTransport(t, err, syscall.ENOBUFS)
				if again := c.WriteMessage(Text, []byte("x")); again != err {
					t.Errorf("then %v", again)
				}
			} else if err != nil {
				t.Error(err)
			}
			c.Close()
			b.Close()
		}
	}
}

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
	r := &records{Conn: w}
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
			serverTLS, clientTLS := testCertificate(t)
			clientTLS.ServerName, clientTLS.MaxVersion = "localhost", version
			for _, nc := range []net.Conn{a, b} {
				nc.SetDeadline(time.Now().Add(10 * time.Second))
			}
			r := underTLS(a, nil).(*records)
			q := underTLS(b, nil).(*records)
			server, client := tls.Server(r, serverTLS), tls.Client(q, clientTLS)
			var wg sync.WaitGroup
			for _, side := range []struct {
				r *records
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
		r := &records{Conn: w}
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
	r := &records{Conn: w}
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

// A failing transport's error is the one that is told, not one of crypto/tls's.
func TestWriteErrorUnderTLS(t *testing.T) {
	a, b := netsim.Pipe(4 << 20)
	defer b.Close()
	c, _ := secureOver(t, a, b, Config{CloseTimeout: 1})
	defer c.Close()
	broken := errors.New("broken")
	a.Script(func(op netsim.Op, _, _ int) netsim.Step {
		if op == netsim.Write {
			return netsim.Step{Max: -1, Err: broken}
		}
		return netsim.Step{}
	})
	if err := c.WriteMessage(Binary, bytes.Repeat([]byte{1}, 40<<10)); !errors.Is(err, broken) {
		t.Error(err)
	}
}
