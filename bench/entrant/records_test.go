package entrant

import (
	"bytes"
	"net"
	"testing"

	"github.com/seed-7f57ff33/tickwire/bench/corpus"
	"github.com/seed-7f57ff33/tickwire/bench/wire"
)

// TestRecordLimits: the limits that parse records themselves read all bytes to the end.
// The records that they decrypt are those sent.
func TestRecordLimits(t *testing.T) {
	const n = 4000
	s := corpus.NewStream(corpus.Messages(corpus.ASCII, 200, 1000), false)
	for _, records := range []string{"large", "record"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for {
				nc, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					wire.Blast(nc, wire.Feed{Stream: s, Count: n, Records: records})
					nc.Close()
				}()
			}
		}()
		o := Options{URL: "wss://" + l.Addr().String() + "/", TLS: wire.ClientTLS(), WireLen: s.WireLen}
		open := func(e Entrant) *recordConn {
			c, err := e.Dial(o)
			if err != nil {
				t.Fatalf("%s, %s: %v", e.Info().Name, records, err)
			}
			t.Cleanup(func() { c.Close() })
			return c.(*recordConn)
		}
		for _, e := range recordLimits() {
			c := open(e)
			var tally Tally
			for range 4 {
				if err := c.Receive(n/4, &tally); err != nil {
					t.Fatalf("%s, %s: %v", c.name, records, err)
				}
			}
			if tally.Messages != n || c.read && c.taken != s.WireLen(n) {
				t.Errorf("%s, %s: %d messages, %d bytes of %d", c.name, records, tally.Messages, c.taken, s.WireLen(n))
			}
		}
		c := open(ByName(LimitReadOpen))
		var got []byte
		for len(got) < s.WireLen(n) {
			record, err := c.next()
			if err != nil {
				t.Fatal(err)
			}
			if got, err = c.opened(got, record); err != nil {
				t.Fatal(err)
			}
			got = got[:len(got)-1] // the type
			c.seq++
		}
		if !bytes.Equal(got, bytes.Repeat(s.Bytes, n/len(s.Ends))) {
			t.Errorf("%s: what was opened is not what was sent", records)
		}
		alone := open(ByName(LimitOpen))
		alone.alone[100] ^= 1
		if err := alone.Receive(n, new(Tally)); err == nil {
			t.Error("a record that was changed is opened")
		}
	}
}
