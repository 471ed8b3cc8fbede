package asmtest

import "testing"

// SkipUnlessFull skips what is only for a full run, as a large grid of benchmarks.
func SkipUnlessFull(tb testing.TB) {
	tb.Helper()
	if !Full() {
		tb.Skip("only with TICKWIRE_FULL=1")
	}
}
