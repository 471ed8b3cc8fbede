//go:build !linux && !race

package conn

// fence returns when every goroutine has been stopped, and gone on, since the call.
func fence() { stopTheWorld() }
