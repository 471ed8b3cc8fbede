//go:build race

package frame_test

// underRace thins the tests that are many small runs, which the race detector makes ten times slower.
const underRace = true

// thin divides their number of runs.
const thin = 10
