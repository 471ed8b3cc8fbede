package metrics

import (
	"sync/atomic"
	"time"
)

// roundTripBounds reach from a local network to a connection that hardly works.
var roundTripBounds = [...]float64{
	0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
}

// Buckets is a distribution.
type Buckets struct {
	Count uint64  // of the values
	Sum   float64 // of the values
	// Below counts the values up to each of Metric.Bounds: it rises from one to the next.
	Below []uint64
}

// Several goroutines fill a histogram without a lock.
type histogram struct {
	buckets [len(roundTripBounds) + 1]atomic.Uint64
	sum     atomic.Int64 // nanoseconds
}

func (h *histogram) add(d time.Duration) {
	i, v := 0, d.Seconds()
	for i < len(roundTripBounds) && v > roundTripBounds[i] {
		i++
	}
	h.sum.Add(int64(d))
	h.buckets[i].Add(1)
}

// read returns the current values. A value that is being added may be in Sum but not in
// Count.
func (h *histogram) read() Buckets {
	b := Buckets{Below: make([]uint64, len(roundTripBounds))}
	for i := range h.buckets {
		b.Count += h.buckets[i].Load()
		if i < len(b.Below) {
			b.Below[i] = b.Count
		}
	}
	b.Sum = time.Duration(h.sum.Load()).Seconds()
	return b
}
