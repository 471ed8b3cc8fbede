package conn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// messageWays are the ways to read, each to the end of a message.
var messageWays = []struct {
	name string
	read func(c *Conn) (string, error)
}{
	{"ReadMessage", func(c *Conn) (string, error) {
		m, err := c.ReadMessage()
		return string(m.Data), err
	}},
	{"Messages", func(c *Conn) (string, error) {
		for m, err := range c.Messages() {
			return string(m.Data), err
		}
		return "", errors.New("no step")
	}},
	{"TakeBatch", func(c *Conn) (string, error) {
		b, err := c.TakeBatch()
		if err != nil {
			return "", err
		}
		defer b.Release()
		var all string
		for _, m := range b.Messages {
			all += string(m.Data)
		}
		return all, nil
	}},
	{"NextReader", func(c *Conn) (string, error) {
		_, r, err := c.NextReader()
		if err != nil {
			return "", err
		}
		b, err := io.ReadAll(r)
		return string(b), err
	}},
	{"NextFrame", func(c *Conn) (string, error) {
		var all []byte
		for {
			f, err := c.NextFrame()
			if err != nil {
				return "", err
			}
			if f.Header.Opcode.IsControl() {
				continue
			}
			all = append(all, f.Payload...)
			if f.Header.Fin {
				return string(all), nil
			}
		}
	}},
}

// askedConfig is for a connection whose Control keeps what it is asked about.
func askedConfig(packed bool, heard *[]string, control func(c *Conn, op Opcode, payload []byte) (bool, error)) Config {
	var cfg Config
	if packed {
		cfg = *agreed(deflate.Config{}, frame.Options{})
	}
	cfg.Control = func(c *Conn, op Opcode, payload []byte) (bool, error) {
		*heard = append(*heard, fmt.Sprintf("%v %q", op, payload))
		return control(c, op, payload)
	}
	return cfg
}

// Control is asked in every way to read, before the answer, between messages and
// fragments, and what it declines is not answered.
func TestControlIsAskedInEveryWayToRead(t *testing.T) {
	for _, way := range messageWays {
		for _, packed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/compressed %v", way.name, packed), func(t *testing.T) {
				both(t, func(t *testing.T, role frame.Role) {
					var heard []string
					cfg := askedConfig(packed, &heard, func(c *Conn, op Opcode, payload []byte) (bool, error) {
						if n := c.Stats().PongsWritten; n != 0 && len(heard) == 1 {
							t.Errorf("%d pongs before it was asked", n)
						}
						if cap(payload) != len(payload) {
							t.Errorf("%d bytes of payload have room for %d", len(payload), cap(payload))
						}
						return string(payload) != "no", nil
					})
					c, _, p := simulate(t, role, cfg, 0)
					defer c.Close()
					p.send(p.message(frame.Ping, "yes"), p.message(frame.Pong, "unasked"),
						p.frame(frame.Header{Opcode: Text}, []byte("a")), p.message(frame.Ping, "no"),
						p.frame(frame.Header{Fin: true}, []byte("b")))
					if got, err := way.read(c); got != "ab" && way.name != "NextFrame" || err != nil {
						t.Errorf("%q, %v", got, err)
					}
					synctest.Wait()
					if packed {
						b := deflated(t, "compressed")
						p.send(p.frame(frame.Header{RSV1: true, Opcode: Text}, b[:3]), p.message(frame.Ping, "no"), p.message(frame.Ping, "last"),
							p.frame(frame.Header{Fin: true}, b[3:]))
						if got, err := way.read(c); got != "compressed" && way.name != "NextFrame" || err != nil {
							t.Errorf("%q, %v", got, err)
						}
						synctest.Wait()
					}
					p.expect(frame.Pong, "yes")
					want := []string{`ping "yes"`, `pong "unasked"`, `ping "no"`}
					if packed {
						want = append(want, `ping "no"`, `ping "last"`)
						p.expect(frame.Pong, "last")
					}
					if !slices.Equal(heard, want) {
						t.Errorf("asked about %q, want %q", heard, want)
					}
					if p.nc.Buffered() != 0 {
						t.Errorf("%d bytes more were written", p.nc.Buffered())
					}
				})
			})
		}
	}
}

func deflated(t *testing.T, text string) []byte {
	b, err := deflate.AppendMessage(nil, []byte(text), 15, 0)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// An error of Control ends the read call in every way to read. The frame is used up, its
// answer goes as Control has said, and the next read call goes on after it.
func TestControlErrorEndsTheRead(t *testing.T) {
	refused := errors.New("refused")
	for _, way := range messageWays {
		for _, packed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/compressed %v", way.name, packed), func(t *testing.T) {
				both(t, func(t *testing.T, role frame.Role) {
					var heard []string
					cfg := askedConfig(packed, &heard, func(_ *Conn, _ Opcode, payload []byte) (bool, error) {
						if strings.HasPrefix(string(payload), "bad") {
							return string(payload) == "bad, answered", refused
						}
						return true, nil
					})
					c, _, p := simulate(t, role, cfg, 0)
					defer c.Close()
					p.send(p.message(frame.Ping, "bad, answered"), p.message(frame.Pong, "bad"), p.message(Text, "first"))
					for range 2 {
						if got, err := way.read(c); got != "" || err != refused {
							t.Errorf("%q, %v", got, err)
						}
					}
					if got, err := way.read(c); got != "first" || err != nil {
						t.Errorf("%q, %v", got, err)
					}
					p.send(p.frame(frame.Header{Opcode: Text}, []byte("a")), p.message(frame.Ping, "bad"), p.frame(frame.Header{Fin: true}, []byte("b")),
						p.message(Text, "next"))
					got, err := way.read(c)
					if err != refused {
						t.Errorf("%q, %v", got, err)
					}
					want := "ab"
					switch way.name {
					case "NextReader":
						want = "next" // the rest is passed over
					case "NextFrame":
						want = "b"
					case "TakeBatch":
						want = "abnext"
					}
					if got, err := way.read(c); got != want || err != nil {
						t.Errorf("%q, %v; want %q", got, err, want)
					}
					synctest.Wait()
					p.expect(frame.Pong, "bad, answered")
					if c.Err() != nil || p.nc.Buffered() != 0 {
						t.Errorf("%v, %d bytes more", c.Err(), p.nc.Buffered())
					}
				})
			})
		}
	}
}

// A Close that Control declines ends reading and leaves writing open, until our Close is
// sent by whatever call sends one.
func TestCloseLeftUnanswered(t *testing.T) {
	for _, end := range []struct {
		name string
		f    func(c *Conn) error
		sent frame.CloseCode // in the last word
	}{
		{"WriteControl", func(c *Conn) error {
			return c.WriteControl(frame.Close, []byte("\x0f\xa0later"), time.Time{})
		}, 4000},
		{"StartClose", func(c *Conn) error {
			if err := c.StartClose(4000, "later"); CloseCode(err) != frame.CodeGoingAway {
				return fmt.Errorf("StartClose: %v", err)
			}
			return nil
		}, 4000},
		{"Shutdown", func(c *Conn) error {
			if err := c.Shutdown(context.Background(), 4000, "later"); CloseCode(err) != frame.CodeGoingAway {
				return fmt.Errorf("Shutdown: %v", err)
			}
			return nil
		}, 4000},
		{"Close", (*Conn).Close, frame.CodeAbnormal},
	} {
		for _, way := range messageWays {
			t.Run(end.name+"/"+way.name, func(t *testing.T) {
				both(t, func(t *testing.T, role frame.Role) {
					var heard []string
					cfg := askedConfig(false, &heard, func(*Conn, Opcode, []byte) (bool, error) { return false, nil })
					c, _, p := simulate(t, role, cfg, 0)
					pinged := make(chan error, 1)
					go func() { _, err := c.Ping(t.Context()); pinged <- err }()
					synctest.Wait()
					if m, err := p.r.Next(); m.Opcode != frame.Ping || err != nil {
						t.Fatal(m, err)
					}
					p.send(p.closing(frame.CodeGoingAway, "bye"))
					_, first := way.read(c)
					var e *CloseError
					if !errors.As(first, &e) || e.Code != frame.CodeGoingAway || e.Reason != "bye" || e.Local || e.SentCode != frame.CodeAbnormal {
						t.Fatalf("%+v", first)
					}
					if err := <-pinged; err != first {
						t.Errorf("Ping: %v", err)
					}
					if _, err := way.read(c); err != first || c.Err() != nil || !errors.Is(err, net.ErrClosed) {
						t.Errorf("%v, %v", err, c.Err())
					}
					time.Sleep(time.Hour) // no clock is on, so nothing bounds it
					if err := c.WriteMessage(Text, []byte("last words")); err != nil {
						t.Error(err)
					}
					p.expect(Text, "last words")
					if err := end.f(c); err != nil {
						t.Error(err)
					}
					if end.sent != frame.CodeAbnormal {
						p.expect(frame.Close, "\x0f\xa0later")
					}
					if !errors.As(c.Err(), &e) || e.Code != frame.CodeGoingAway || e.Local || e.SentCode != end.sent {
						t.Errorf("%+v", c.Err())
					}
					if err := c.WriteMessage(Text, nil); err != c.Err() {
						t.Error(err)
					}
					if _, err := way.read(c); err != c.Err() {
						t.Error(err)
					}
					if !slices.Equal(heard, []string{`close "\x03\xe9bye"`}) {
						t.Errorf("asked about %q", heard)
					}
					p.nc.Close()
				})
			})
		}
	}
}

// Control can send the Close itself, and write before it. Then both went, and nothing waits.
func TestControlAnswersTheCloseItself(t *testing.T) {
	for _, answer := range []bool{false, true} {
		both(t, func(t *testing.T, role frame.Role) {
			var heard []string
			mine := errors.New("mine")
			cfg := askedConfig(false, &heard, func(c *Conn, op Opcode, payload []byte) (bool, error) {
				if err := c.WriteMessage(Text, []byte("before")); err != nil {
					t.Error(err)
				}
				if err := c.WriteControl(op, []byte("\x0f\xa0"), time.Time{}); err != nil {
					t.Error(err)
				}
				if err := c.WriteMessage(Text, []byte("after")); err != ErrShutdown {
					t.Error(err)
				}
				return answer, mine
			})
			c, _, p := simulate(t, role, cfg, 0)
			p.send(p.closing(frame.CodeGoingAway, "bye"), p.message(Text, "never"))
			if _, err := c.ReadMessage(); err != mine {
				t.Error(err)
			}
			p.expect(Text, "before")
			p.expect(frame.Close, "\x0f\xa0")
			var e *CloseError
			if _, err := c.ReadMessage(); !errors.As(err, &e) || err != c.Err() || e.Local || e.SentCode != 4000 || e.Code != frame.CodeGoingAway {
				t.Errorf("%+v", err)
			}
			p.nc.Close()
		})
	}
}

// The clock of KeepAlive bounds what was left unanswered, also where bytes came after the
// Close; the last word is the *CloseError.
func TestCloseLeftUnansweredEndsWithTheClock(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		var heard []string
		cfg := askedConfig(false, &heard, func(*Conn, Opcode, []byte) (bool, error) { return false, nil })
		cfg.KeepAlive = time.Minute
		c, _, p := simulate(t, role, cfg, 0)
		p.send(p.closing(frame.CodeNormal, ""), p.message(Text, "never read"))
		if _, err := c.ReadMessage(); CloseCode(err) != frame.CodeNormal {
			t.Error(err)
		}
		p.send(p.message(Text, "nor this"))
		start := time.Now()
		<-c.Done()
		if took := time.Since(start); took > 2*time.Minute || CloseCode(c.Err()) != frame.CodeNormal {
			t.Errorf("%v after %v", c.Err(), took)
		}
		p.nc.Close()
	})
}

// Shutdown drops what comes and asks nobody; StartClose leaves that to the reader, who asks.
func TestControlWhileClosing(t *testing.T) {
	both(t, func(t *testing.T, role frame.Role) {
		var heard []string
		cfg := askedConfig(false, &heard, func(*Conn, Opcode, []byte) (bool, error) { return true, errors.New("not here") })
		c, _, p := simulate(t, role, cfg, 0)
		p.send(p.message(frame.Ping, "dropped"), p.closing(frame.CodeNormal, ""))
		if err := c.Shutdown(t.Context(), frame.CodeNormal, ""); err != nil || len(heard) != 0 {
			t.Errorf("%v, asked about %q", err, heard)
		}
		p.nc.Close()
	})
	both(t, func(t *testing.T, role frame.Role) {
		var heard []string
		cfg := askedConfig(false, &heard, func(*Conn, Opcode, []byte) (bool, error) { return true, nil })
		c, _, p := simulate(t, role, cfg, 0)
		if err := c.StartClose(frame.CodeNormal, ""); err != nil {
			t.Fatal(err)
		}
		p.send(p.message(frame.Ping, "too late for an answer"), p.closing(frame.CodeNormal, ""))
		if _, err := c.ReadMessage(); CloseCode(err) != frame.CodeNormal {
			t.Error(err)
		}
		if !slices.Equal(heard, []string{`ping "too late for an answer"`, `close "\x03\xe8"`}) || c.Stats().PongsWritten != 0 {
			t.Errorf("asked about %q", heard)
		}
		p.nc.Close()
	})
}

// Control may close the connection: no message is delivered after it.
func TestControlCloses(t *testing.T) {
	for _, way := range messageWays {
		both(t, func(t *testing.T, role frame.Role) {
			var heard []string
			cfg := askedConfig(false, &heard, func(c *Conn, _ Opcode, _ []byte) (bool, error) { return true, c.Close() })
			c, _, p := simulate(t, role, cfg, 0)
			p.send(p.message(frame.Ping, ""), p.message(Text, "never"))
			if got, err := way.read(c); got != "" || err != ErrClosed {
				t.Errorf("%s: %q, %v", way.name, got, err)
			}
		})
	}
}
