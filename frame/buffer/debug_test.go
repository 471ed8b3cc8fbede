//go:build tickwiredebug

package buffer

import "testing"

const debugEnabled = true

func panics(f func()) (did bool) {
	defer func() { did = recover() != nil }()
	f()
	return false
}

func TestV13DebugBuildSeesMisuse(t *testing.T) {
	b := Get(100000)
	Put(b)
	if !panics(func() { Put(b) }) {
		t.Error("put back twice: no panic")
	}
	b.B[5] = 1
	if !panics(func() {
		for range 10 {
			Get(100000)
		}
	}) {
		t.Skip("the pool did not lend the buffer again")
	}
}
