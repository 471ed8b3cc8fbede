package replay

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestWatch: an input may take a second of CPU time, and a minute of time in all.
func TestWatch(t *testing.T) {
	for name, c := range map[string]struct {
		share float64 // the share of the elapsed time that the process gets
		takes time.Duration
		why   string // part of the message; "" if the input is in time
	}{
		"in time":             {1, 999 * time.Millisecond, ""},
		"a loop":              {1, time.Hour, "longer than 1s"},
		"slow machine":        {0.05, 15 * time.Second, ""},
		"loop, slow machine":  {0.05, 25 * time.Second, "longer than 1s"},
		"blocked":             {0, time.Hour, "within a minute"},
		"blocked for a while": {0, 59 * time.Second, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			start, said := time.Now(), ""
			stop := watch(func() time.Duration { return time.Duration(c.share * float64(time.Since(start))) }, time.Second, func(why string) { said = why })
			time.Sleep(c.takes)
			stop()
			time.Sleep(time.Hour) // the watchdog looks once more
			synctest.Wait()
			if (said == "") != (c.why == "") || !strings.Contains(said, c.why) {
				t.Errorf("%s: %q", name, said)
			}
		})
	}
}

// TestLook: inputs in time pass, and one that does not end is found, also after them.
func TestLook(t *testing.T) {
	for name, c := range map[string]struct {
		share float64 // the share of the elapsed time that the process gets
		in    time.Duration
		why   string
	}{
		"a loop":  {1, 1300 * time.Millisecond, "longer than 1s"},
		"slow":    {0.05, 20300 * time.Millisecond, "longer than 1s"},
		"blocked": {0, 60300 * time.Millisecond, "within a minute"},
	} {
		synctest.Test(t, func(t *testing.T) {
			start, said := time.Now(), ""
			clock := func() time.Duration { return time.Duration(c.share * float64(time.Since(start))) }
			go look(clock, time.Second, func(why string) { said = why })
			for range 100 {
				borders.Add(1)
				time.Sleep(700 * time.Millisecond)
				ended()
			}
			time.Sleep(time.Minute)
			if said != "" {
				t.Errorf("%s: inputs in time: %q", name, said)
			}
			borders.Add(1)
			time.Sleep(c.in)
			synctest.Wait()
			if !strings.Contains(said, c.why) {
				t.Errorf("%s: %q", name, said)
			}
			ended()
		})
	}
}

// TestCPUTimeGoesOn: the clock of CPU time advances. Otherwise a loop would be found only
// after a minute.
func TestCPUTimeGoesOn(t *testing.T) {
	begin := cpuTime()
	for n := uint64(1); cpuTime() == begin; n++ {
		if n == 0 {
			t.Fatal("never")
		}
	}
}
