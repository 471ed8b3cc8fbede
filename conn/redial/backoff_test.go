package redial

import (
	"math"
	"testing"
	"testing/synctest"
	"time"
)

// TestLimiter: no span of Per has more than Dials beginnings, and a bound that is never met takes no memory for it.
func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		l := &Limiter{Dials: 3, Per: time.Minute}
		for i := range 10 {
			if err := l.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if at, want := time.Since(start), time.Duration(i/3)*time.Minute; at != want {
				t.Errorf("dial %d began after %v, want %v", i, at, want)
			}
		}
		if err := (&Limiter{Dials: math.MaxInt, Per: time.Minute}).Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
