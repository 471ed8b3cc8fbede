//go:build !race

package frame

const UnderRace = false
