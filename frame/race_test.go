//go:build race

package frame

// UnderRace shortens tests of many small runs, which the race detector makes ten times
// slower.
const UnderRace = true
