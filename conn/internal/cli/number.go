package cli

import "strconv"

// Quantity returns v with three figures or more, and k or M.
func Quantity(v float64) string {
	switch {
	case v >= 999_500:
		return strconv.FormatFloat(v/1e6, 'f', 2, 64) + " M"
	case v >= 9_995:
		return strconv.FormatFloat(v/1e3, 'f', 1, 64) + " k"
	default:
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
}

// Duration returns ns nanoseconds in a unit that needs about three figures, from
// microseconds on.
func Duration[T int | int64 | float64](ns T) string {
	switch v := float64(ns); {
	case v >= 999_500_000:
		return strconv.FormatFloat(v/1e9, 'f', 2, 64) + " s"
	case v >= 999_500:
		return strconv.FormatFloat(v/1e6, 'f', 2, 64) + " ms"
	default:
		return strconv.FormatFloat(v/1e3, 'f', 1, 64) + " µs"
	}
}
