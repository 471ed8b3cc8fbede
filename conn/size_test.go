package conn

import (
	"strconv"
	"testing"
	"unsafe"
)

// A Conn fills a size class of the allocator: 1,024 bytes, of which 8 are the
// allocator's. What is needed by few connections, or only now and then, stands behind a
// pointer.
func TestConnSize(t *testing.T) {
	if strconv.IntSize != 64 {
		t.Skip("of 64-bit machines")
	}
	if n := unsafe.Sizeof(Conn{}); n > 1024-8 {
		t.Errorf("a Conn takes %d bytes", n)
	}
	t.Log(unsafe.Sizeof(Conn{}))
}
