//go:build !race

package frame_test

const (
	underRace = false
	thin      = 1
)
