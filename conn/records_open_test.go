package conn

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"testing"

	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// An outcome is what a client of a puppet has seen, and what the puppet has.
type outcome struct {
	got   []string // messages, or bytes
	err   string   // with the types of what it wraps
	after string   // how a write went behind it
	peer  []string
}

// describeError tells an error and the types of all that it wraps.
func describeError(err error) string {
	if err == nil {
		return "nil"
	}
	s := err.Error()
	for e := err; e != nil; e = errors.Unwrap(e) {
		s += fmt.Sprintf(" < %T", e)
	}
	return s
}

// puppetScripts is how many scripts the tests play: each end several times, behind other feeds.
func puppetScripts() int {
	n := 6 * len(puppetEnds)
	if testing.Short() || raceEnabled {
		n = len(puppetEnds)
	}
	return n
}

func suiteOfScript(script int) uint16 {
	return []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384}[script/len(puppetEnds)%2]
}

// pieceOfScript bounds the reads of the socket, so that records come cut.
func pieceOfScript(script int) int {
	return []int{0, 7, 1000, 300}[script/len(puppetEnds)%4]
}

// play has a puppet play a script before read, which reads to the end, and returns what came of it.
func playScript(t *testing.T, side puppetClientSide, script int, prepare func(*puppet), read func(*tls.Conn, *netsim.Conn) outcome) outcome {
	t.Helper()
	client, p, a := puppets(t, side, suiteOfScript(script), pieceOfScript(script), prepare)
	if err := perform(p, script); err != nil {
		t.Fatal(err)
	}
	if err := p.nc.(*netsim.Conn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	o := read(client, a)
	a.Close()
	o.peer = p.drain()
	p.nc.Close()
	return o
}

func (o outcome) compare(t *testing.T, want outcome) {
	t.Helper()
	if !slices.Equal(o.got, want.got) {
		t.Errorf("got %d: %.100q\nwant %d: %.100q", len(o.got), o.got, len(want.got), want.got)
	}
	if o.err != want.err {
		t.Errorf("error %s\nwant  %s", o.err, want.err)
	}
	if o.after != want.after {
		t.Errorf("behind it a write: %s, want %s", o.after, want.after)
	}
	if !slices.Equal(o.peer, want.peer) {
		t.Errorf("the peer got  %.100q\nwant %.100q", o.peer, want.peer)
	}
}

// waysToRead are the ways to read a Conn. Each calls got for each message, in order, and returns the error.
var waysToRead = map[string]func(c *Conn, got func(string)) error{
	"ReadMessage": func(c *Conn, got func(string)) error {
		for {
			m, err := c.ReadMessage()
			if err != nil {
				return err
			}
			got(string(m.Data))
		}
	},
	"More": func(c *Conn, got func(string)) error {
		for {
			m, err := c.ReadMessage()
			if err != nil {
				return err
			}
			got(string(m.Data))
			c.More()
		}
	},
	"TakeBatch": func(c *Conn, got func(string)) error {
		for {
			b, err := c.TakeBatch()
			if err != nil {
				return err
			}
			for _, m := range b.Messages {
				got(string(m.Data))
			}
			b.Release()
		}
	},
	"NextFrame": func(c *Conn, got func(string)) error {
		s := ""
		for {
			f, err := c.NextFrame()
			if err != nil {
				return err
			}
			if f.Header.Opcode.IsControl() {
				continue
			}
			if s += string(f.Payload); f.Header.Fin {
				got(s)
				s = ""
			}
		}
	},
	"NextReader": func(c *Conn, got func(string)) error {
		for {
			_, r, err := c.NextReader()
			if err != nil {
				return err
			}
			b, err := io.ReadAll(io.MultiReader(io.LimitReader(r, 10), r))
			if err != nil {
				return err
			}
			got(string(b))
		}
	},
}

// Whatever a server sends, a Conn that opens records by itself sees and does the same as one over crypto/tls alone: messages, the error, what
// the peer gets and in which order.
func TestOpenedLikeCryptoTLS(t *testing.T) {
	for name, way := range waysToRead {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for script := range puppetScripts() {
				var outcomes [bothSides]outcome
				for side := range bothSides {
					outcomes[side] = playScript(t, side, script, nil, func(client *tls.Conn, _ *netsim.Conn) (o outcome) {
						c := New(client, frame.Client, &Config{KeepAlive: -1})
						defer c.Close()
						if opened := c.TransportInfo().OpensRecords; opened != (side == ourTLS) {
							t.Fatal("opened:", opened)
						}
						o.err = describeError(way(c, func(s string) {
							o.got = append(o.got, s)
							c.WriteMessage(Text, fmt.Appendf(nil, "answer %d", len(o.got)))
						}))
						return o
					})
				}
				t.Run(scriptName(script), func(t *testing.T) { outcomes[ourTLS].compare(t, outcomes[plainTLS]) })
			}
		})
	}
}

// The same for the bytes themselves, before there is a Conn, and for what can still be written behind the error.
func TestBytesOpenedLikeCryptoTLS(t *testing.T) {
	for script := range puppetScripts() {
		var outcomes [bothSides]outcome
		for side := range bothSides {
			room := rand.New(rand.NewPCG(uint64(script), 1)).IntN(600) + 1
			if script%5 == 0 {
				room = 40000
			}
			outcomes[side] = playScript(t, side, script, func(p *puppet) { p.raw = true }, func(client *tls.Conn, a *netsim.Conn) (o outcome) {
				r := readable(client)
				p := make([]byte, room)
				var all []byte
				for {
					n, err := r.Read(p)
					all = append(all, p[:n]...)
					if err != nil {
						o.err = describeError(err)
						break
					}
				}
				o.got = []string{string(all)}
				n, err := client.Write([]byte("is there someone?"))
				o.after = fmt.Sprint(n, describeError(err))
				client.CloseWrite()
				return o
			})
		}
		t.Run(scriptName(script), func(t *testing.T) { outcomes[ourTLS].compare(t, outcomes[plainTLS]) })
	}
}

func TestOpenRecords(t *testing.T) {
	serverTLS, clientTLS := testCertificate(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go acceptEach(tls.NewListener(l, serverTLS), &Upgrader{}, func(c *Conn) {
		for range 1000 {
			if err := c.WriteMessage(Text, make([]byte, 200)); err != nil {
				t.Error(err)
			}
		}
		c.Shutdown(t.Context(), frame.CodeNormal, "done")
	})
	d := Dialer{TLSConfig: clientTLS, OpenRecords: true}
	c, err := d.Dial(t.Context(), "wss://"+l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Log(c.TransportInfo())
	for i := 0; ; i++ {
		m, err := c.ReadMessage()
		if err != nil {
			t.Log(i, err)
			break
		}
		if len(m.Data) != 200 {
			t.Fatal()
		}
	}
}
