package buffer_test

import (
	"fmt"

	"github.com/seed-7f57ff33/tickwire/frame/buffer"
)

func Example() {
	b := buffer.Get(5)
	b.B = append(b.B[:0], "hello"...)
	b = buffer.Grow(b, 5, 100) // keeps the first 5 bytes
	fmt.Println(string(b.B[:5]), cap(b.B) >= 100)
	buffer.Put(b) // once, and b.B is not used after it
	// Output: hello true
}
