package conn

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// WritePreparedLevel sends a message at its own level, also with context takeover, where
// messages before and after it are read as they were.
func TestWritePreparedLevel(t *testing.T) {
	data := bytes.Repeat([]byte("a message that repeats itself, "), 30)
	p, err := Prepare(Text, data)
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range []frame.Role{frame.Client, frame.Server} {
		a, b := netsim.Pipe(1 << 20)
		c, peer := New(a, role, agreed(deflate.Config{}, frame.Options{})), New(b, 1-role, agreed(deflate.Config{}, frame.Options{}))
		size := map[int]int{}
		for _, level := range []int{deflate.Stored, deflate.HuffmanOnly, -1, 0, 1, 6, 9, Uncompressed, 0, 9} {
			before := c.Stats().BytesWritten
			if err := c.WritePreparedLevel(p, level); err != nil {
				t.Fatal(level, err)
			}
			n := int(c.Stats().BytesWritten - before)
			if size[level] == 0 {
				size[level] = n
			}
			if size[level] != n {
				t.Errorf("level %d: %d bytes, and %d before", level, n, size[level])
			}
			wantMessage(t, peer, Text, string(data))
			if err := c.WriteMessage(Text, data); err != nil {
				t.Fatal(err)
			}
			wantMessage(t, peer, Text, string(data))
		}
		if size[Uncompressed] < len(data) || size[deflate.Stored] < len(data) || size[deflate.HuffmanOnly] >= len(data) || size[9] > size[1] || size[9] > len(data)/4 {
			t.Errorf("%v: sizes by level: %v", role, size)
		}
		for _, level := range []int{-5, 10} {
			if err := c.WritePreparedLevel(p, level); err == nil {
				t.Errorf("level %d", level)
			}
		}
		c.Close()
		peer.Close()
	}
	c, _, far := simulate(t, frame.Server, Config{}, 0)
	defer c.Close()
	if err := c.WritePreparedLevel(p, 9); err != nil { // nothing was agreed
		t.Error(err)
	}
	far.expect(Text, string(data))
}

// PrepareUnchecked takes text that is not UTF-8, and no other opcode than Prepare.
func TestPrepareUnchecked(t *testing.T) {
	if _, err := Prepare(Text, []byte("\xff")); err != ErrNotUTF8 {
		t.Error(err)
	}
	if _, err := PrepareUnchecked(frame.Ping, nil); err != frame.ErrOpcode {
		t.Error(err)
	}
	p, err := PrepareUnchecked(Text, []byte("\xff"))
	if err != nil {
		t.Fatal(err)
	}
	a, b := netsim.Pipe(0)
	c := New(a, frame.Server, &Config{KeepAlive: -1})
	defer c.Close()
	defer b.Close()
	if err := c.WritePrepared(p); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 3)
	if _, err := b.Read(got); err != nil || string(got) != "\x81\x01\xff" {
		t.Errorf("%q, %v", got, err)
	}
}

// MaxInflated bounds what a message inflates to; the limits of messages then bound what
// comes, also one that is set later.
func TestMaxInflated(t *testing.T) {
	const inflated = 100_000
	in := packed(t, make([]byte, inflated)) // about a hundred bytes
	for _, tt := range []struct {
		most, message, later int64
		want                 error
	}{
		{0, inflated, 0, nil},
		{0, inflated - 1, 0, frame.ErrMessageTooLarge},
		{0, 0, inflated - 1, frame.ErrMessageTooLarge},
		{inflated, int64(len(in)), 0, nil},
		{inflated, 0, int64(len(in)), nil},
		{-1, int64(len(in)), 0, nil},
		{-1, 0, int64(len(in)), nil},
		{inflated - 1, 0, 0, frame.ErrMessageTooLarge},
		{inflated - 1, 0, inflated, frame.ErrMessageTooLarge},
		{inflated, int64(len(in)) - 1, 0, frame.ErrMessageTooLarge},
		{inflated, 0, int64(len(in)) - 1, frame.ErrMessageTooLarge},
	} {
		for _, stream := range []bool{false, true} {
			c, _, p := simulate(t, frame.Client, *agreed(deflate.Config{MaxInflated: tt.most}, frame.Options{MaxMessage: tt.message}), 1<<20)
			if tt.later != 0 {
				c.SetReadLimit(tt.later)
			}
			p.send(p.frame(frame.Header{Fin: true, RSV1: true, Opcode: Binary}, in))
			err := readWhole(c, stream)
			if (err == nil) != (tt.want == nil) || err != nil && !errors.Is(err, tt.want) {
				t.Errorf("%+v, by a reader %v: %v", tt, stream, err)
			}
			field := "frame.Options.MaxMessage"
			if tt.most == inflated-1 {
				field = "deflate.Config.MaxInflated"
			}
			if broken := new(frame.ProtocolError); errors.As(err, &broken) && broken.Field != field {
				t.Errorf("%+v, by a reader %v: the error names %s", tt, stream, broken.Field)
			}
			c.Close()
		}
	}
}

// readWhole reads a message, by a reader or whole.
func readWhole(c *Conn, stream bool) error {
	if !stream {
		_, err := c.ReadMessage()
		return err
	}
	_, r, err := c.NextReader()
	if err == nil {
		_, err = io.Copy(io.Discard, r)
	}
	return err
}
