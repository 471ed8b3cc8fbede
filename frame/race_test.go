//go:build race

package frame

// UnderRace thins the tests that are many small runs, which the race detector makes ten times slower.
const UnderRace = true
