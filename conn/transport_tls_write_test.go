package conn

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// What a flush writes leaves with one write under TLS too, in however many records, and a
// long message with one for each seven records.
func TestWritesUnderTLS(t *testing.T) {
	const maxRecordData = 16 << 10 // RFC 8446 §5.1
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
			// The first 128 KiB leave in short records, and how many those are is
			// crypto/tls's own affair.
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

// A write that fails, wherever in a long message, ends the connection, and nothing
// follows on the wire: not the rest of what was gathered, nor an alert.
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
