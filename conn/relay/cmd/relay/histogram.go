package main

import (
	"math/bits"
	"slices"
	"time"
)

// A histogram counts durations, each to within a sixteenth. The zero value is ready.
type histogram struct {
	counts [976]uint64
	total  uint64
}

func bucket(v uint64) int {
	if v < 32 {
		return int(v)
	}
	e := bits.Len64(v) - 5
	return e*16 + int(v>>e)
}

// bucketEnd returns the highest value of a bucket.
func bucketEnd(i int) uint64 {
	if i < 32 {
		return uint64(i)
	}
	e := i/16 - 1
	return uint64(i-e*16+1)<<e - 1
}

func (h *histogram) add(d time.Duration) {
	h.counts[bucket(uint64(max(d, 0)))]++
	h.total++
}

func (h *histogram) merge(other *histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.total += other.total
}

// quantile returns the duration that a part of all are at most; 0 if there is none.
func (h *histogram) quantile(part float64) time.Duration {
	rank := uint64(part * float64(h.total))
	var sum uint64
	for i, n := range h.counts {
		if sum += n; sum > rank || sum == h.total && sum > 0 {
			return time.Duration(bucketEnd(i))
		}
	}
	return 0
}

// median returns the middle value of several, the lower one of two.
func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	return values[(len(values)-1)/2]
}
