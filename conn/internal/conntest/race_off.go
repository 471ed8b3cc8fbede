//go:build !race

package conntest

// RaceEnabled says whether the race detector runs.
const RaceEnabled = false
