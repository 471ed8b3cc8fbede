package conn

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/conn/internal/transport"
	"github.com/seed-7f57ff33/tickwire/frame"
	"github.com/seed-7f57ff33/tickwire/handshake"
)

// Two ends that are told the same speak as after a handshake: compressed as agreed, with
// the bytes that came early, over TLS too.
func TestNewAgreed(t *testing.T) {
	serverTLS, clientTLS := testCertificate(t)
	for _, secure := range []bool{false, true} {
		for _, p := range []*deflate.Params{nil, {}, {ServerMaxWindowBits: 9, ClientMaxWindowBits: 8}, {ServerNoContextTakeover: true, ClientNoContextTakeover: true, ServerMaxWindowBits: 15}} {
			t.Run(fmt.Sprint(secure, p), func(t *testing.T) {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				a, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				b, err := l.Accept()
				if err != nil {
					t.Fatal(err)
				}
				if secure {
					clientTLS = clientTLS.Clone()
					clientTLS.ServerName = "127.0.0.1"
					a, b = tls.Client(UnderTLSConn(a, nil), clientTLS), tls.Server(UnderTLSConn(b, nil), serverTLS)
					for _, nc := range []net.Conn{a, b} {
						if _, ok := nc.(*tls.Conn).NetConn().(*transport.Records); !ok {
							t.Error("there are no records below TLS")
						}
					}
				}
				early := frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: frame.Text, Masked: true, Key: 7}, []byte("early"))
				cut := len(early) - 3
				server, err := NewAgreed(b, frame.Server, nil, Agreed{Subprotocol: "v1", Deflate: p, Early: early[:cut], Value: 5})
				if err != nil {
					t.Fatal(err)
				}
				defer server.Close()
				rest := append([]byte{}, early[cut:]...)
				clear(early) // it was copied
				sent := make(chan error, 1)
				go func() { _, err := a.Write(rest); sent <- err }()
				if m, err := server.ReadMessage(); err != nil || string(m.Data) != "early" {
					t.Fatalf("%q, %v", m.Data, err)
				}
				if err := <-sent; err != nil {
					t.Fatal(err)
				}
				client, err := NewAgreed(a, frame.Client, &Config{Deflate: &deflate.Config{Threshold: -1}}, Agreed{Deflate: p})
				if err != nil {
					t.Fatal(err)
				}
				defer client.Close()
				if server.Subprotocol() != "v1" || server.Value() != 5 || client.Subprotocol() != "" || client.Value() != nil {
					t.Error(server.Subprotocol(), server.Value(), client.Subprotocol(), client.Value())
				}
				for _, c := range []*Conn{client, server} {
					got, ok := c.Compression()
					if ok != (p != nil) {
						t.Fatal("compression:", ok)
					}
					if ok {
						want := *p
						if want.ServerMaxWindowBits == 0 {
							want.ServerMaxWindowBits = 15
						}
						if want.ClientMaxWindowBits == 0 {
							want.ClientMaxWindowBits = 15
						}
						if got != want {
							t.Errorf("%+v, want %+v", got, want)
						}
					}
				}
				go echo(server)
				text := strings.Repeat("the same again, ", 2000)
				before := client.Stats().BytesWritten
				for range 3 {
					if err := client.WriteMessage(Text, []byte(text)); err != nil {
						t.Fatal(err)
					}
					if m, err := client.ReadMessage(); err != nil || string(m.Data) != text {
						t.Fatal(len(m.Data), err)
					}
				}
				if n := client.Stats().BytesWritten - before; (n < uint64(len(text))) != (p != nil) {
					t.Errorf("%d bytes were written", n)
				}
			})
		}
	}
}

// What cannot have been agreed is an error, and the connection stays the caller's.
func TestNewAgreedRefuses(t *testing.T) {
	for _, c := range []struct {
		cfg *Config
		p   deflate.Params
	}{{nil, deflate.Params{ServerMaxWindowBits: 7}}, {nil, deflate.Params{ClientMaxWindowBits: 16}}, {nil, deflate.Params{ClientMaxWindowBits: -1}}, {&Config{Deflate: &deflate.Config{Level: 99}}, deflate.Params{}}} {
		a, b := net.Pipe()
		if _, err := NewAgreed(a, frame.Client, c.cfg, Agreed{Deflate: &c.p}); !errors.Is(err, handshake.ErrValue) {
			t.Errorf("%+v: %v", c, err)
		}
		go a.Write([]byte("x"))
		if _, err := b.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
		a.Close()
	}
}

// A tail that was left on is taken with Config.KeptTail where no context is carried over,
// in every way to read; by no other.
func TestKeptTail(t *testing.T) {
	out, err := deflate.NewDeflater(deflate.DeflateOptions{NoContextTakeover: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, alone := range []bool{true, false} {
		for _, kept := range []bool{true, false} {
			for _, pieces := range []int{1, 2, 1000} {
				cfg := &Config{KeepAlive: -1, Deflate: &deflate.Config{KeptTail: kept}}
				var stream []byte
				texts := []string{"hello", "", strings.Repeat("much of it, ", 500), "end"}
				for _, text := range texts {
					z := append(out.Append(nil, []byte(text), true), 0, 0, 0xff, 0xff)
					for i, step := 0, len(z)/pieces+1; i < len(z); i += step {
						end := min(i+step, len(z))
						h := frame.Header{Fin: end == len(z), RSV1: i == 0, Opcode: frame.Text}
						if i > 0 {
							h.Opcode = frame.Continuation
						}
						stream = frame.AppendFrame(stream, h, z[i:end])
					}
				}
				for _, streaming := range []bool{false, true} {
					a, b := netsim.Pipe(0)
					if _, err := b.Write(stream); err != nil {
						t.Fatal(err)
					}
					c, err := NewAgreed(a, frame.Client, cfg, Agreed{Deflate: &deflate.Params{ServerNoContextTakeover: alone}})
					if err != nil {
						t.Fatal(err)
					}
					for i, text := range texts {
						got, err := readEither(c, streaming)
						if alone && kept && (err != nil || got != text) {
							t.Errorf("pieces %d, streaming %v, message %d: %.20q, %v", pieces, streaming, i, got, err)
						}
						if !alone || !kept {
							if !errors.Is(err, deflate.ErrMessageEnd) {
								t.Errorf("alone %v, kept %v: %.20q, %v", alone, kept, got, err)
							}
							break
						}
					}
					c.Close()
					b.Close()
				}
			}
		}
	}
	// What ends otherwise is refused as ever: nothing at all, half a tail, half a block,
	// a stored block with bytes.
	for _, z := range []string{"", "\x00\x00\x00\xff", "\x00\x00\x00\xff\xff\x00\x00", "\x4a", "\x00\x01\x00\xfe\xffa"} {
		in, err := deflate.NewInflater(deflate.InflateOptions{NoContextTakeover: true, KeptTail: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := in.Message([]byte("\x00\x00\x00\xff\xff"), true); err != nil {
			t.Fatal(err)
		}
		if p, err := in.Message([]byte(z), false); err == nil {
			t.Errorf("%q is %q", z, p)
		}
	}
}

func readEither(c *Conn, streaming bool) (string, error) {
	if !streaming {
		m, err := c.ReadMessage()
		return string(m.Data), err
	}
	_, r, err := c.NextReader()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	p := make([]byte, 7)
	for {
		n, err := r.Read(p)
		b.Write(p[:n])
		if err != nil {
			if err.Error() == "EOF" {
				err = nil
			}
			return b.String(), err
		}
	}
}
