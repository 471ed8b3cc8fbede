// Package fuzz_test holds the fuzz targets over the public API. README.md says how to run them.
package fuzz_test

import (
	"testing"
	"time"
)

// watchdog stops the process if the target has not returned a second later: a loop is a finding like any other (V17). The
// caller defers what it returns.
func watchdog(t *testing.T) (stop func()) {
	name := t.Name()
	timer := time.AfterFunc(time.Second, func() { panic(name + ": an input took longer than a second") })
	return func() { timer.Stop() }
}
