package conn

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
)

var levels = []int{Uncompressed, deflate.Stored, deflate.HuffmanOnly, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9}

// Each message can have a level of its own, in both ways to write one, on connections of
// any level: with and without context takeover, with whole and small windows, among
// messages that are written otherwise. The peer inflates them all.
func TestLevelPerMessage(t *testing.T) {
	for _, own := range []int{0, -1, deflate.HuffmanOnly, deflate.Stored, 6} {
		for _, bits := range []int{15, 10} {
			for _, alone := range []bool{false, true} {
				t.Run(fmt.Sprintf("%d/window %d/alone %v", own, bits, alone), func(t *testing.T) {
					for _, role := range []frame.Role{frame.Client, frame.Server} {
						testLevels(t, role, own, deflate.Params{ServerMaxWindowBits: bits, ClientMaxWindowBits: bits,
							ServerNoContextTakeover: alone, ClientNoContextTakeover: alone})
					}
				})
			}
		}
	}
}

func testLevels(t *testing.T, role frame.Role, own int, params deflate.Params) {
	cfg := Config{Deflate: &deflate.Config{Level: own}, KeepAlive: -1}
	a, b := netsim.Pipe(1 << 20)
	c, peer := New(a, role, cfg.with(params)), New(b, 1-role, cfg.with(params))
	defer c.Close()
	defer peer.Close()
	r := rand.New(rand.NewPCG(uint64(own+10), uint64(params.ServerMaxWindowBits)))
	for i := range 200 {
		level := levels[r.IntN(len(levels))]
		data := bytes.Repeat(fmt.Appendf(nil, "message %d;", i%7), 1+r.IntN(300))
		if i%10 == 0 {
			data = data[:r.IntN(5)]
		}
		var err error
		switch way := r.IntN(5); way {
		case 0, 1:
			err = c.WriteLevel(Text, data, level)
		case 2, 3:
			var w io.WriteCloser
			if w, err = c.NextWriterLevel(Text, level); err == nil {
				for rest := data; len(rest) > 0 && err == nil; {
					n := min(len(rest), 1+r.IntN(1000))
					_, err = w.Write(rest[:n])
					rest = rest[n:]
				}
				w.Close()
			}
		case 4:
			err = c.WriteMessage(Text, data)
		}
		if err != nil {
			t.Fatalf("message %d, level %d: %v", i, level, err)
		}
		m, err := peer.ReadMessage()
		if err != nil || !bytes.Equal(m.Data, data) {
			t.Fatalf("message %d, level %d: %d bytes, %v; want %d", i, level, len(m.Data), err, len(data))
		}
	}
}

// What goes out is of the level asked for, whatever the threshold, and the sizes say so.
func TestWriteLevelOnTheWire(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		c, _, p := simulate(t, role, *agreed(deflate.Config{}, frame.Options{}), 0)
		defer c.Close()
		p.r = frame.NewReader(p.nc, p.role, frame.Options{Compression: true})
		data := []byte(strings.Repeat("abcdefgh", 20))
		for _, level := range levels {
			for _, streamed := range []bool{false, true} {
				for _, data := range [][]byte{data, data[:8]} {
					if streamed {
						w, err := c.NextWriterLevel(Text, level)
						if err != nil {
							t.Fatal(err)
						}
						w.Write(data)
						w.Close()
					} else if err := c.WriteLevel(Text, data, level); err != nil {
						t.Fatal(err)
					}
					m, err := p.r.Next()
					if err != nil || m.Compressed != (level != Uncompressed) {
						t.Fatalf("level %d: %+v, %v", level, m, err)
					}
					n := len(m.Data)
					small := level == -1 || level >= 0
					switch {
					case level == Uncompressed && !bytes.Equal(m.Data, data), level == deflate.Stored && n != len(data)+6,
						len(data) > 100 && small && n > len(data)/3,
						len(data) > 100 && level == deflate.HuffmanOnly && (n > len(data)*3/4 || n < len(data)/3):
						t.Errorf("level %d, streamed %v: %d bytes of %d", level, streamed, n, len(data))
					}
				}
			}
		}
	})
}

// Misuse is told before anything is written. Without compression a level does not matter,
// but must be one.
func TestWriteLevelMisuse(t *testing.T) {
	for _, packed := range []bool{false, true} {
		both(t, func(t *testing.T, role frame.Role) {
			cfg := Config{}
			if packed {
				cfg = *agreed(deflate.Config{}, frame.Options{})
			}
			c, a, p := simulate(t, role, cfg, 0)
			defer c.Close()
			for _, level := range []int{-5, 10, 1 << 30} {
				if err := c.WriteLevel(Text, nil, level); err == nil {
					t.Errorf("level %d is taken", level)
				}
				if _, err := c.NextWriterLevel(Text, level); err == nil {
					t.Errorf("level %d is taken", level)
				}
			}
			for _, level := range levels {
				if err := c.WriteLevel(frame.Ping, nil, level); err != frame.ErrOpcode {
					t.Error(err)
				}
				if _, err := c.NextWriterLevel(frame.Continuation, level); err != frame.ErrOpcode {
					t.Error(err)
				}
				if err := c.WriteLevel(Text, []byte("\xff"), level); err != ErrNotUTF8 {
					t.Error(err)
				}
			}
			if _, writes := a.Calls(); writes != 0 {
				t.Errorf("%d writes", writes)
			}
			if !packed {
				for _, level := range levels {
					if err := c.WriteLevel(Text, []byte("plain"), level); err != nil {
						t.Error(err)
					}
					p.expect(Text, "plain")
					w, err := c.NextWriterLevel(Text, level)
					if err != nil {
						t.Fatal(err)
					}
					fmt.Fprint(w, "plain")
					w.Close()
					p.expect(Text, "plain")
				}
			}
		})
	}
}

// A bare offer is what the server sees, and compression works with it both ways.
func TestBareOfferIsSent(t *testing.T) {
	offers := make(chan string, 1)
	up := Upgrader{Config: Config{Deflate: &deflate.Config{}}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		offers <- r.Header.Get("Sec-WebSocket-Extensions")
		c, err := up.Upgrade(w, r)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		for m, err := range c.Messages() {
			if err != nil {
				return
			}
			c.WriteMessage(m.Opcode, m.Data)
		}
	}))
	defer server.Close()
	d := Dialer{Config: Config{Deflate: &deflate.Config{BareOffer: true}}}
	c, err := d.Dial(t.Context(), "ws"+strings.TrimPrefix(server.URL, "http"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := <-offers; got != "permessage-deflate" {
		t.Errorf("the server saw %q", got)
	}
	if p, ok := c.Compression(); !ok || p.ClientMaxWindowBits != 15 {
		t.Errorf("%+v, %v", p, ok)
	}
	text := strings.Repeat("there and back ", 100)
	if err := c.WriteMessage(Text, []byte(text)); err != nil {
		t.Fatal(err)
	}
	wantMessage(t, c, Text, text)
	if n := c.Stats().BytesWritten; n > uint64(len(text)/2) {
		t.Errorf("%d bytes were written of %d", n, len(text))
	}
}
