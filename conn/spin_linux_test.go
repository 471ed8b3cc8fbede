//go:build linux && !asan && !msan

package conn

import (
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/frame"
)

// Each read polls for all of Config.Spin, also behind one that has polled and found bytes.
func TestSpinBeginsWithEachRead(t *testing.T) {
	a, b := loopback(t)
	c, d := New(a, frame.Client, &Config{Spin: time.Hour}), New(b, frame.Server, nil)
	defer c.Close()
	defer d.Close()
	for _, text := range []string{"one", "two"} {
		if !c.sock.spin.goesOn() { // as a read that finds nothing at first
			t.Fatal("nothing is polled")
		}
		if err := d.WriteMessage(Text, []byte(text)); err != nil {
			t.Fatal(err)
		}
		wantMessage(t, c, Text, text)
		if until := c.sock.spin.until; !until.IsZero() {
			t.Errorf("behind %q the next read polls for %v only", text, time.Until(until))
		}
	}
}
