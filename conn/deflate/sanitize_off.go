//go:build !race && !asan && !msan

package deflate

// No detector is on that would have to be told what the kernel reads and writes.
const sanitize = false

func didRead([]byte)  {}
func didWrite([]byte) {}
