//go:build race

package redial

const raceEnabled = true
