package scenario

import (
	"io"
	"testing"
	"time"

	"github.com/seed-7f57ff33/tickwire/bench/entrant"
	"github.com/seed-7f57ff33/tickwire/bench/internal/probe"
)

// TestMedianOfTripsAtFullSpeed: the median is of clean batches, or of the fastest tenth
// if these are too few. The other figures are of all trips.
func TestMedianOfTripsAtFullSpeed(t *testing.T) {
	for name, c := range map[string]struct {
		atSpeed   bool
		good      int // batches of 1 µs, clean; the others are of 9 µs
		p50, p999 float64
		forced    float64
	}{
		"clean ones":       {true, cleanBatches, 1, 9, 0},
		"too few":          {true, cleanBatches - 1, 1, 9, 1},
		"far too few":      {true, 2, 9, 9, 1},
		"all, undisturbed": {false, cleanBatches, 9, 9, 0},
	} {
		var ts trips
		ts.reset()
		for i := range 10 * cleanBatches {
			d, clean := 9*time.Microsecond, i < c.good
			if clean {
				d = time.Microsecond
				ts.cleanCount++
			}
			for range tripBatch {
				ts.times = append(ts.times, d)
			}
			ts.clean = append(ts.clean, clean)
		}
		m := make(map[string]float64)
		ts.percentiles(c.atSpeed, m)
		if m["p50 µs"] != c.p50 || m["p99.9 µs"] != c.p999 || m["forced"] != c.forced {
			t.Errorf("%s: %v", name, m)
		}
	}
}

func TestTurnOfTripsEnds(t *testing.T) {
	for name, c := range map[string]struct {
		trips, good int
		length      time.Duration
		atSpeed     bool
		want        bool
	}{
		"too few trips":       {995, 1000, time.Hour, true, false},
		"too few clean":       {1000, cleanBatches - 1, 0, true, false},
		"enough clean":        {1000, cleanBatches, 0, true, true},
		"long enough":         {1000, 0, longTurn + 1, true, true},
		"speed does not tell": {1000, 0, 0, false, true},
		"no more room":        {mostTrips, 0, 0, true, true},
	} {
		ts := trips{times: make([]time.Duration, c.trips), cleanCount: c.good}
		if got := ts.enough(&Spec{Messages: 1000, AtSpeed: c.atSpeed}, c.length); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestTripsWithoutALook: without AtSpeed no time is spent on checking the speed, and none
// is subtracted.
func TestTripsWithoutALook(t *testing.T) {
	probe.Calibrate(time.Millisecond)
	for _, look := range []bool{false, true} {
		const warm, measured = 3, 10 * tripBatch
		s := &Spec{Messages: measured, AtSpeed: look}
		var ts trips
		ts.reset()
		ts.cleanCount = cleanBatches // then the turn ends when it has its trips
		sent := 0
		turn := tripTurn{trips: &ts, s: s, warm: warm, send: func() error { sent++; return nil }}
		for more := true; more; {
			var err error
			if more, err = turn.next(); err != nil {
				t.Fatal(err)
			}
			if turn.begun && sent == warm+1 {
				ts.cleanCount = cleanBatches
			}
		}
		looks, took := 0, 0.
		if look {
			looks, took = 10, 2*float64(probe.Best())/tripBatch
		}
		if sent != warm+measured || len(ts.times) != measured || len(ts.clean) != looks || ts.cleanCount > cleanBatches+looks || ts.checkCost() != took || turn.used["cpu ns/message"] <= 0 {
			t.Errorf("look %v: %d sent, %d trips, %d looks, %d good, %v ns each", look, sent, len(ts.times), len(ts.clean), ts.cleanCount, ts.checkCost())
		}
	}
}

// TestTripsFail: an error of a write ends the turn.
func TestTripsFail(t *testing.T) {
	var ts trips
	turn := tripTurn{trips: &ts, s: &Spec{Messages: 10}, send: func() error { return io.ErrClosedPipe }}
	if err := entrant.Trips(nil, turn.next); err != io.ErrClosedPipe {
		t.Error(err)
	}
}
