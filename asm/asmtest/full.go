package asmtest

import "testing"

// SkipUnlessFull skips tb except in a full run (see Full). It is for tests and benchmarks
// that take long, such as a large grid.
func SkipUnlessFull(tb testing.TB) {
	tb.Helper()
	if !Full() {
		tb.Skip("only with TICKWIRE_FULL=1")
	}
}
